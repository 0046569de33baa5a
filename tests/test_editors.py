"""The colours of editors: held against the table of keys and the trees of our files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rbr_corpus import GOOD

from redbarrel_lite.rbr import parse
from redbarrel_lite.rbr_keys import (
    DEFINITIONS,
    LOCATION_KINDS,
    OPERATIONS,
    TRANSPORTS,
    VERBS,
    all_keys,
    is_custom,
)
from redbarrel_lite.rbr_nodes import Field, Location, Name, Node, Number, Rbr, Section, Text, Url
from redbarrel_lite.rbr_nodes import Path as PathNode

EDITORS = Path(__file__).resolve().parent.parent / "editors"
GRAMMAR = json.loads((EDITORS / "vscode/syntaxes/rbr.tmLanguage.json").read_text(encoding="utf-8"))
VIM = EDITORS / "vim/syntax/rbr.vim"


def colours(text: str) -> list[str]:
    """A scope for each character, found as an editor does: by line, first rule that fits first."""
    found: list[str] = []
    inside: dict[str, Any] | None = None
    for line in text.splitlines(keepends=True):
        pos = 0
        while pos < len(line):
            if inside is not None:
                end = re.compile(inside["end"]).search(line, escaped_to(inside, line, pos))
                stop = end.end() if end else len(line)
                found += [inside["name"]] * (stop - pos)
                inside = None if end else inside
                pos = max(stop, pos)
                continue
            rule, match = next_rule(line, pos)
            if match is None:
                found += [""] * (len(line) - pos)
                break
            found += [""] * (match.start() - pos)
            found += scopes(rule, match)
            inside = rule if "begin" in rule else None
            pos = match.end()
    return found


def escaped_to(rule: dict[str, Any], line: str, pos: int) -> int:
    """Where the end of a region may be looked for: behind the escapes before it."""
    while True:
        end = re.compile(rule["end"]).search(line, pos)
        inner = [re.compile(one["match"]).search(line, pos) for one in rule.get("patterns", ())]
        first = min((m for m in inner if m), key=lambda m: m.start(), default=None)
        if first is None or (end and end.start() <= first.start()):
            return pos
        pos = first.end()


def next_rule(line: str, pos: int) -> tuple[dict[str, Any], re.Match[str] | None]:
    best: tuple[dict[str, Any], re.Match[str] | None] = ({}, None)
    for rule in GRAMMAR["patterns"]:
        match = re.compile(rule.get("match") or rule["begin"]).search(line, pos)
        if match and match.group() and (best[1] is None or match.start() < best[1].start()):
            best = (rule, match)
    return best


def scopes(rule: dict[str, Any], match: re.Match[str]) -> list[str]:
    scope = [rule.get("name", "")] * len(match.group())
    for group, capture in rule.get("captures", {}).items():
        if match[int(group)] is not None:
            start, end = match.span(int(group))
            scope[start - match.start() : end - match.start()] = [capture["name"]] * (end - start)
    return scope


def nodes_of(node: object) -> list[Node]:
    found = [node] if isinstance(node, Node) else []
    for name in getattr(node, "__dataclass_fields__", ()):
        inner = getattr(node, name)
        for child in inner if isinstance(inner, tuple) else [inner]:
            found += nodes_of(child)
    return found


def expected(rbr: Rbr) -> list[tuple[int, int, str]]:
    """What is known of the text from its tree."""
    found: list[tuple[int, int, str]] = []
    for node in nodes_of(rbr):
        if isinstance(node, Text):
            found.append((node.start, node.end, "string.quoted"))
        elif isinstance(node, Number):
            found.append((node.start, node.end, "constant.numeric"))
        elif isinstance(node, Url):
            # Between quotes it is longer than its text.
            is_quoted = node.end - node.start > len(node.text)
            found.append(
                (node.start, node.end, "string.quoted" if is_quoted else "string.unquoted.url")
            )
        elif isinstance(node, Location) and '"' not in node.written:
            found.append((node.end - 1, node.end, "string.unquoted.location"))
        elif isinstance(node, PathNode):
            found.append((node.name.start, node.name.end, "entity.name"))
        elif isinstance(node, Field) and node.key.text in all_keys() and node.key.text != "use":
            found.append((node.key.start, node.key.end, "support.type.property-name"))
        elif isinstance(node, Field) and is_custom(node.key.text):
            found.append((node.key.start, node.key.end, "support.type.property-name.custom"))
        elif isinstance(node, Name) and node.text in VERBS:
            found.append((node.start, node.end, "constant.language"))
    return found


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_textmate_colours_agree_with_the_tree(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    scope = colours(text)
    assert len(scope) == len(text)
    for start, end, wanted in expected(parse(text)):
        assert {s.startswith(wanted) for s in scope[start:end]} == {True}, (
            f"{path.name}: {text[start:end]!r} is {set(scope[start:end])}, not {wanted}"
        )


def test_textmate_colours_comments_and_rules() -> None:
    text = "path a ( # 'say \"\n    unless type is json return 400\n);\n"
    scope = colours(text)
    assert scope[text.index("#")] == "comment.line.number-sign.rbr"
    assert scope[text.index("say")] == "comment.line.number-sign.rbr"
    for word in ("unless", "type", "is", "return"):
        assert scope[text.index(word)] == "keyword.control.rbr"
    assert scope[0] == "keyword.declaration.rbr"


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z][A-Za-z-]*[A-Za-z]|[A-Za-z]", text)) | set(
        re.findall(r"[a-z-]+3", text)
    )


@pytest.mark.parametrize("source", ["textmate", "vim"])
def test_every_word_of_the_language_is_coloured(source: str) -> None:
    text = VIM.read_text() if source == "vim" else json.dumps(GRAMMAR)
    known = words_of(text)
    for word in (*all_keys(), *DEFINITIONS, *OPERATIONS, *VERBS, *TRANSPORTS, *LOCATION_KINDS):
        assert word in known, word


def test_vscode_package_points_at_files_that_are_there() -> None:
    folder = EDITORS / "vscode"
    package = json.loads((folder / "package.json").read_text())["contributes"]
    (language,), (grammar,) = package["languages"], package["grammars"]
    assert (folder / language["configuration"]).is_file()
    assert json.loads((folder / grammar["path"]).read_text())["scopeName"] == grammar["scopeName"]


@pytest.mark.skipif(not shutil.which("vim"), reason="vim is not installed")
def test_vim_reads_the_syntax_file(tmp_path: Path) -> None:
    report = tmp_path / "report"
    command = f"let g:id = synIDattr(synID(1, 1, 1), 'name') | call writefile([g:id], '{report}')"
    subprocess.run(
        ["vim", "-u", "NONE", "-es", "-c", "syntax on", "-c", f"source {VIM}", "-c", command,
         "-c", "qa!", str(GOOD[0])],
        check=False, timeout=20,
    )  # fmt: skip
    assert report.read_text().strip() == "rbrDefinition"


def test_sections_are_part_of_the_samples() -> None:
    kinds = {type(node) for path in GOOD for node in nodes_of(parse(path.read_bytes()))}
    assert {Section, Text, Url, Number, Location, Field, PathNode} <= kinds
