"""What users read: every message, hint and position, as files beside their cause."""

from __future__ import annotations

from pathlib import Path

import pytest
from rbr_corpus import BAD, picture

from redbarrel_lite.rbr_diagnostics import CODES, clip, closest, did_you_mean, listed


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_faulty_file_gets_exactly_this_picture(path: Path) -> None:
    assert picture(path) == path.with_suffix(".err").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", list(CODES))
def test_code_has_an_example(code: str) -> None:
    examples = [path for path in BAD if path.name.startswith(code) and code in picture(path)]
    # RBR046 needs two files (test_tidy.py), the others an application (test_app, test_bundle).
    assert examples or code in ("RBR046", "RBR047", "RBR048")


def test_no_picture_is_left_without_its_file() -> None:
    folder = BAD[0].parent
    assert {path.stem for path in folder.glob("*.err")} == {path.stem for path in BAD}


def test_every_error_says_what_to_do() -> None:
    for path in BAD:
        text = path.with_suffix(".err").read_text(encoding="utf-8")
        said = text.count(" error RBR") + text.count(" warning RBR")
        assert text.count("  help: ") == said, path.name


def test_words_are_clipped_at_their_limit() -> None:
    assert clip("x" * 40) == "x" * 40
    assert clip("x" * 41) == "x" * 39 + "…"


def test_closest_forgives_case_but_not_everything() -> None:
    assert closest("GTE", ("GET", "PUT")) == "GET"
    assert closest("Method", ("method", "meta")) == "method"
    assert closest("zebra", ("method", "meta")) == ""
    assert did_you_mean("zebra", ("method",), "no") == "no"


def test_words_are_listed_as_people_do() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a or b"
    assert listed("abc", "and") == "a, b and c"
