"""THREATS.md and SECURITY.md: the tests that are named exist, and the command can be given."""

from __future__ import annotations

import ast
import functools
import re
import shlex

import pytest
from conftest import ROOT

from redbarrel_lite import cli

TEXT = (ROOT / "THREATS.md").read_text(encoding="utf-8")
# The threat, our answer, and the tests.
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", TEXT, re.M)
THREATS = [row for row in ROWS if row[0] not in ("threat", "---")]
NAMED = sorted({name for _, _, tests in THREATS for name in re.findall(r"`([^`]+)`", tests)})


@functools.cache
def defined_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_is_named_exists(name: str) -> None:
    file, _, test = name.partition("::")
    assert test.startswith("test_")
    assert test in defined_in(file)


def test_each_threat_has_a_test() -> None:
    assert len(THREATS) > 50
    assert len(THREATS) == len(re.findall(r"^\| (?!threat|---)", TEXT, re.M))
    for threat, _, tests in THREATS:
        assert re.fullmatch(r"(`test_\w+\.py::test_\w+` ?)+", tests), threat


def test_command_for_where_strangers_are_is_one() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:3] == ["python3", "-m", "redbarrel_lite"]
    options = cli._parser(words[3:]).parse_intermixed_args(words[3:])
    assert (options.max_per_address, options.allow_host) == (100, ["chat.example"])


@pytest.mark.parametrize("page", ["THREATS.md", "SECURITY.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / target.partition("#")[0]).is_file(), target
