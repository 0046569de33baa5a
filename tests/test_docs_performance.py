"""docs/performance.md says what the results say: its tables and pictures are made of them."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted((ROOT / "bench/results").glob("*.json"))


@pytest.fixture
def chart() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        yield importlib.import_module("chart")
    finally:
        sys.path.remove(str(ROOT / "bench"))


def test_page_has_the_tables_and_pictures_of_the_results(chart: Any) -> None:
    told, pictures = chart.made()
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert chart.filled(page, told) == page, "python bench/chart.py fills it"
    for name, drawing in pictures.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == drawing
        ElementTree.fromstring(drawing)
        assert f"]({name})" in page
    assert set(re.findall(r"<!-- (?!end)(\S+) -->", page)) == set(told)


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_result_says_of_what_it_is(file: Path) -> None:
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["versions"]["Python"].startswith(file.stem.rpartition("-")[2] + ".")
    assert result["platform"]


def test_there_are_results_of_the_oldest_and_the_newest_python() -> None:
    names = {file.stem for file in RESULTS}
    kinds = ("", "hello-", "growth-", "profile-")
    assert names == {kind + version for kind in kinds for version in ("3.11", "3.13")}
