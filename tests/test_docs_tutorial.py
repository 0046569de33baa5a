"""docs/tutorial.md: each step of it is taken, in its order, and shows what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from redbarrel_lite import testing

PAGE = ROOT / "docs" / "tutorial.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
FILES: dict[str, str] = {}  # a second listing of a name is added to the first
for kind, code in BLOCKS:
    if kind in ("rbr", "python", "html"):
        first, rest = code.split("\n", 1)
        name = re.sub(r"^(# |<!-- )| -->$", "", first)
        FILES[name] = FILES.get(name, "") + rest
COMMANDS = [code for kind, code in BLOCKS if kind == "sh" and code.startswith("$ ")]
STEPS = re.split(r"^## \d\. ", TEXT, flags=re.M)[1:]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's folder, with all files that the page has them write."""
    for name, code in FILES.items():
        # So that columns and lines are those of the page, its first line stays.
        head = f"# {name}\n" if name.endswith(".rbr") else ""
        (tmp_path / name).write_text(head + code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_page_has_its_files() -> None:
    assert set(FILES) == {
        *("short.rbr", "short.py", "short.html", "guarded.rbr", "guarded.py"),
        *("live.py", "live.html", "test_short.py"),
    }
    assert len(COMMANDS) == 3


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.split("\n")[0][-9:])
def test_command_prints_what_the_page_shows(folder: Path, block: str) -> None:
    mistyped = FILES["short.rbr"].replace("method", "metod", 1)
    (folder / "typo.rbr").write_text(f"# short.rbr\n{mistyped}", encoding="utf-8")
    command, shown = block.removeprefix("$ ").split("\n", 1)
    done = subprocess.run(
        command.replace("python3", f'"{sys.executable}"', 1),
        shell=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout + done.stderr == shown


@pytest.mark.parametrize(("application", "step"), [("short", STEPS[2]), ("guarded", STEPS[3])])
def test_answers_are_those_of_the_page(folder: Path, application: str, step: str) -> None:
    (block,) = re.findall(r"^```http\n(.*?)^```$", step, re.M | re.S)
    with testing.client(folder / f"{application}.rbr") as client:
        for shown in re.split(r"^> ", block, flags=re.M)[1:]:
            line, answer, *body = shown.rstrip("\n").split("\n")
            method, target, header = [*line.split(" ", 2), ""][:3]
            name, _, value = header.partition(": ")
            got = client.request(method, target, headers={name: value} if name else {})
            assert f"{got.status} {got.headers['content-type']}" == answer, got.text
            if body:
                assert got.text.rstrip("\n") == "\n".join(body)


def test_request_of_curl_makes_a_link(folder: Path) -> None:
    (command,) = re.findall(r"^```sh\n(curl .*)\n```$", TEXT, re.M)
    _, _, header, _, field, url = shlex.split(command)
    with testing.client(folder / "guarded.rbr") as client:
        sent = dict([field.split("=")]), dict([header.split(": ")])
        answer = client.post(urlsplit(url).path, data=sent[0], headers=sent[1])
        assert client.get(f"/v/{answer.json['code']}").headers["location"] == sent[0]["url"]


def test_links_of_the_page_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert [one for one in targets if not (PAGE.parent / one).exists()] == []
