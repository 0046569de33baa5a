"""The parts of docs/rbr.md and docs/errors.md that are made from the source.

``python tests/rbr_docs.py`` writes them anew, between their marks; a test fails
while they differ.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from rbr_corpus import BAD, resolve  # noqa: E402

from redbarrel_lite.rbr_check import examine  # noqa: E402
from redbarrel_lite.rbr_diagnostics import CODES  # noqa: E402
from redbarrel_lite.rbr_keys import META_KEYS, PATH_KEYS, RULE_KEYS, Key  # noqa: E402

_NUMBERS = ("number", "bytes", "count", "seconds")
_PRODUCTION = re.compile(r"^\s*(\w+ = .*?;)$", re.MULTILINE | re.DOTALL)


def productions() -> Iterator[str]:
    """The grammar lines of the parser's docstrings, in the order of the source."""
    for room in ("rbr", "rbr_values", "rbr_tokens"):
        tree = ast.parse((ROOT / "redbarrel_lite" / f"{room}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                for match in _PRODUCTION.finditer(ast.get_docstring(node) or ""):
                    yield match[1]


def grammar() -> str:
    lines: list[str] = []
    for production in productions():
        name, rest = production.split(" = ", 1)
        first, *more = rest.splitlines()
        lines.append(f"{name:<10} = {first}")
        lines += [f"{'':<10} {line.strip()}" for line in more]
    return "```ebnf\n" + "\n".join(lines) + "\n```\n"


def keys(table: dict[str, Key]) -> str:
    rows = ["| key | takes | default | what it is |", "|---|---|---|---|"]
    for key in table.values():
        default = f"`{key.default}`".replace("|", "\\|") if key.default else ""
        bounds = f", {key.low:.12g} to {key.high:.12g}" if key.kind in _NUMBERS else ""
        remark = "; may be repeated" if key.is_repeated else ""
        help_ = key.help.replace("|", "\\|")
        rows.append(f"| `{key.name}` | {key.kind}{bounds} | {default} | {help_}{remark} |")
    return "\n".join(rows) + "\n"


def path_keys() -> str:
    return keys({name: key for name, key in PATH_KEYS.items() if not key.only_sockets})


def socket_keys() -> str:
    return keys({name: key for name, key in PATH_KEYS.items() if key.only_sockets})


def codes() -> str:
    examples: dict[str, tuple[str, str]] = {
        "RBR046": (
            "'a.rbr' includes this file, directly or through others",
            "remove one of the 'include' lines",
        ),
        "RBR048": (
            "shop.py:3 imports 'flask', which is not beside the application",
            "put it there: python3 -m pip install --target /srv/shop flask",
        ),
        "RBR047": (
            "global 'db' fails: OSError: no such database",
            "mend it where the traceback points",
        ),
    }
    for path in BAD:
        for one in examine(path.read_bytes(), path.name, resolve)[1]:
            if path.name.startswith(one.code):
                examples.setdefault(one.code, (one.message, one.help))
    rows = ["| code | what it means | for instance | the cure |", "|---|---|---|---|"]
    for code, meaning in CODES.items():
        message, cure = (_cell(text) for text in examples[code])
        rows.append(f"| {code} | {meaning} | {message} | {cure} |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    """A text inside of a table: as code, so that nothing in it is Markdown."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}".replace("|", "\\|")


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/rbr.md": {
        "grammar": grammar,
        "meta": lambda: keys(META_KEYS),
        "path": path_keys,
        "socket": socket_keys,
        "rules": lambda: keys(RULE_KEYS),
    },
    "docs/errors.md": {"codes": codes},
}


def renewed(name: str, text: str) -> str:
    """A page with its made parts as they should be."""
    for part, make in PARTS[name].items():
        begin, end = f"<!-- made: {part} -->\n", f"<!-- end: {part} -->"
        before, _, rest = text.partition(begin)
        after = rest.partition(end)[2]
        text = f"{before}{begin}{make()}{end}{after}"
    return text


if __name__ == "__main__":
    for name in PARTS:
        page = ROOT / name
        page.write_text(renewed(name, page.read_text(encoding="utf-8")), encoding="utf-8")
