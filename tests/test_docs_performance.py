"""docs/performance.md says what the results say: its tables and pictures are made of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
RESULTS = sorted((ROOT / "bench/results").glob("*.json"))


def test_page_has_the_tables_and_pictures_of_the_results() -> None:
    check = [sys.executable, str(ROOT / "bench/chart.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_page_shows_its_pictures_and_has_no_empty_place() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    pictures = {file.name for file in (ROOT / "docs").glob("performance*.svg")}
    assert set(re.findall(r"\]\((\S+\.svg)\)", page)) == pictures
    for name in pictures:
        ElementTree.parse(ROOT / "docs" / name)
    stems = {file.stem for file in RESULTS if not file.stem.startswith("workers")}
    marks = set(re.findall(r"<!-- (?!end)(\S+) -->", page))
    assert marks == stems | {"latency-3.11", "latency-3.13"}
    assert not re.search(r"<!-- \S+ -->\n\n?<!-- end -->", page)


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_result_says_of_what_it_is(file: Path) -> None:
    result = json.loads(file.read_text(encoding="utf-8"))
    assert result["versions"]["Python"].startswith(file.stem.rpartition("-")[2] + ".")
    assert result["platform"]


def test_there_are_results_of_the_oldest_and_the_newest_python() -> None:
    names = {file.stem for file in RESULTS}
    kinds = ("", "hello-", "growth-", "profile-", "workers-")
    assert names == {kind + version for kind in kinds for version in ("3.11", "3.13")}
