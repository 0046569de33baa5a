"""docs/bundle.md: its application, packed by its commands, says what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Server

from redbarrel_lite import testing

PAGE = (ROOT / "docs" / "bundle.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```(?:rbr|python)\n# (\w+\.\w+)\n(.*?)```", PAGE, re.DOTALL))
# Each command with the lines that it prints.
SHOWN = [
    (lines[0], lines[1:])
    for block in re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    for lines in (one.strip().split("\n") for one in re.split(r"^\$ ", block, flags=re.M)[1:])
]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def command(text: str) -> list[str]:
    python, *words = shlex.split(text)
    assert python == "python3"
    return [sys.executable, *words]


def alike(lines: list[str]) -> list[str]:
    """Without sizes and versions, which change."""
    return [re.sub(r"\d[\d.]* [kM]B|RedBarrel Lite [\w.]+", "…", line) for line in lines]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name in ("page.html", "static/a.css", "static/b.css", "static/.env", "notes/opening.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"this is {name}")
    return tmp_path


def test_commands_do_what_the_page_shows(shop: Path) -> None:
    (pack, packed), (serve, served), *others = SHOWN
    assert set(FILES) == {"shop.rbr", "shop.py"}
    for text, lines in [(pack, packed), *others]:
        done = subprocess.run(
            command(text), cwd=shop, env=ENVIRONMENT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if lines:  # of the one that writes the framework, only that it does
            assert alike((done.stdout + done.stderr).splitlines()) == alike(lines)
    assert (served, serve.partition(" --")[0]) == ([], "python3 -S -I shop.pyz")
    for name in ("shop.py", "shop.rbr", "page.html"):
        (shop / name).unlink()
    words = command(serve.replace("--host 0.0.0.0 --port 80", "--port 0"))
    server = Server(["env", "-C", str(shop), *words], dict(os.environ))
    with testing.client(server.url) as client:
        assert client.get("/").text == "this is page.html"
        assert client.get("/static/b.css").text == "this is static/b.css"
        assert client.get("/note").text == "this is notes/opening.txt"
    server.stop()


def test_options_of_the_command_are_on_the_page() -> None:
    done = subprocess.run(
        command("python3 -m redbarrel_lite bundle --help"),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    offered = set(re.findall(r"--[a-z]+", done.stdout)) - {"--help"}
    assert offered == {"--with"}
    assert "`--with PATH`" in PAGE
