"""The README keeps its promises: its application runs, its tables and links are true."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Serve

from redbarrel_lite import testing

README = ROOT / "README.md"
LINES = README.read_text(encoding="utf-8").splitlines()
TEXT = "\n".join(LINES)
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)
COMMANDS = [code.strip() for language, code in BLOCKS if language == "sh"]


def named_blocks() -> dict[str, str]:
    """The blocks whose first line names a file, by that name."""
    codes = [code for language, code in BLOCKS if language != "sh"]
    names = [re.search(r"[\w.]+\.(rbr|py|html)", code.splitlines()[0]) for code in codes]
    assert all(names), "a block must name its file, so that a test can run it"
    return {name[0]: code for name, code in zip(names, codes, strict=True) if name}


def test_readme_is_short() -> None:
    assert len(LINES) < 150


def test_first_thirty_lines_hold_an_application_and_a_command() -> None:
    head = "\n".join(LINES[:30])
    assert re.findall(r"^```(\w+)$", head, re.M) == ["rbr", "python", "html", "sh"]
    assert head.count("```") == 8


def test_first_command_runs_the_chat(serve: Serve) -> None:
    start = "python3 -m redbarrel_lite "
    assert COMMANDS[0].startswith(start)
    server = serve(COMMANDS[0].removeprefix(start))
    with urllib.request.urlopen(server.url, timeout=30) as page:
        assert page.read() == (ROOT / "examples/chat/chat.html").read_bytes()


def test_readme_application_runs(serve: Serve, tmp_path: Path) -> None:
    files = named_blocks()
    assert set(files) == {"shout.rbr", "shout.py", "shout.html"}
    for name, code in files.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    server = serve(tmp_path / "shout.rbr")
    with urllib.request.urlopen(server.url, timeout=30) as page:
        assert page.read().decode() == files["shout.html"]
    with testing.connect(server.url) as one, testing.connect(server.url) as other:
        one.send("hello")
        assert other.recv() == ["hello"]


def test_option_table_is_the_help_text() -> None:
    command = [sys.executable, "-m", "redbarrel_lite", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0
    offered = set(re.findall(r"--[a-z][a-z-]*", run.stdout)) - {"--help"}
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`--[^|]+) \|", page, re.M)
    assert set(re.findall(r"`(--[a-z-]+)", " ".join(rows))) == offered


def test_commands_of_the_help_text_are_in_the_table() -> None:
    command = [sys.executable, "-m", "redbarrel_lite", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = re.search(r"Other commands: ([^;]+);", " ".join(told.split()))
    assert names is not None
    rows = re.findall(r"^\| `python3 -m redbarrel_lite ([a-z-]+)", TEXT, re.M)
    assert rows == names[1].split(", ")


def test_source_table_names_every_room() -> None:
    table = TEXT[TEXT.index("| floor |") :].split("\n\n")[0]
    named = set(re.findall(r"`(\w+\.py)`", table))
    there = {path.name for path in (ROOT / "redbarrel_lite").glob("*.py")}
    language = {name for name in there if name.startswith("rbr_")}  # `rbr_*.py` in the table
    assert named == there - language - {"__init__.py"}


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_link_leads_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists(), target
