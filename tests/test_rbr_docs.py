"""docs/rbr.md and docs/errors.md: their listings are run, their made parts compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rbr_docs import PARTS, ROOT, productions, renewed

from redbarrel_lite.rbr_check import examine
from redbarrel_lite.rbr_keys import DEFINITIONS, OPERATIONS

PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in PARTS}


def listings(language: str) -> list[str]:
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [found for text in PAGES.values() for found in fence.findall(text)]


@pytest.mark.parametrize("name", list(PARTS))
def test_made_parts_are_up_to_date(name: str) -> None:
    assert PAGES[name] == renewed(name, PAGES[name]), "run: python tests/rbr_docs.py"


def test_grammar_is_complete() -> None:
    """Every name that a production uses is one itself, or is explained on the page."""
    named = {production.split(" = ")[0] for production in productions()}
    bare = [re.sub(r"\"[^\"]*\"|'[^']*'", "", production) for production in productions()]
    used = {word for text in bare for word in re.findall(r"[A-Za-z]+", text)}
    explained = {"letter", "digit", "character", "escape", "path", "uri", "any", "but"}
    assert used - named == (used - named) & (explained | {"white", "space", "and"})
    assert {"file", *DEFINITIONS, *OPERATIONS} - {"define"} <= named


@pytest.mark.parametrize("text", listings("rbr"))
def test_listing_has_nothing_wrong(text: str) -> None:
    found = examine(text)[1]
    assert [one.picture for one in found if one.code != "RBR051"] == []


@pytest.mark.parametrize("code", listings("python"))
def test_python_listing_runs(code: str) -> None:
    exec(compile(code, "docs/rbr.md", "exec"), {})


def test_example_of_a_message_is_one() -> None:
    (shown,) = listings("text")
    text = "path chat (\n    metod SOCKETIO,\n    url /,\n    use file:x\n);\n"
    (found,) = examine(text, "chat.rbr", lambda _: None)[1]
    assert found.picture + "\n" == shown


def test_pages_link_only_to_what_is_there() -> None:
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (Path(ROOT / name).parent / target).exists(), target
