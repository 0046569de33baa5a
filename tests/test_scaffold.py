"""``new``: what it asks, what it writes, and that the application it writes runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from redbarrel_lite.rbr import parse
from redbarrel_lite.rbr_check import examine
from redbarrel_lite.rbr_format import format as format_rbr
from redbarrel_lite.scaffold import QUESTIONS, Project, complete, files_of, new

ROOT = Path(__file__).resolve().parent.parent
NASTY = 'A "quoted" \\ $name <b>\n& é 你 """ \'\'\' \x7f'


def test_new_application_runs_and_its_test_passes(tmp_path: Path) -> None:
    assert new({"name": "Demo", "title": NASTY, "description": NASTY}, tmp_path) == 0
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "discover", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr


def test_next_commands_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new({"name": "demo"}, tmp_path) == 0
    assert capsys.readouterr().out == (
        "Written to demo/. Run it, and test it:\n"
        "  python3 -m redbarrel_lite demo/demo.rbr\n"
        "  python3 -m unittest discover demo\n"
    )


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-1").write_text("mine")
    assert new({"name": "demo"}, tmp_path) == 0
    assert list((tmp_path / "demo").iterdir()) == []
    assert (tmp_path / "demo-1").read_text() == "mine"
    assert (tmp_path / "demo-2" / "demo.rbr").is_file()
    assert capsys.readouterr().out.startswith("Written to demo-2/.")


@pytest.mark.parametrize("name", ["", "9lives", "a b", "../a", "a/b", "é", "a.b"])
def test_name_that_cannot_be_one_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new({"name": name}, tmp_path) == 2
    assert capsys.readouterr().err == (
        f"error: '{name}' cannot be the name of a project: "
        "it is made of letters, digits, '_' and '-', and starts with a letter\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert new({"name": "demo"}, tmp_path / "file") == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/file/demo: Not a directory\n"


def test_only_what_is_not_given_is_asked() -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return {"Author: ": " Me "}.get(question, "")

    project = complete({"name": "Demo", "version": "2.0.1"}, ask)
    assert asked == ["Title [demo]: ", "Description [A service and a socket]: ", "Author: "]
    assert project == Project("demo", "demo", "A service and a socket", "2.0.1", "Me")


def test_without_anybody_to_ask_the_defaults_are_taken() -> None:
    project = complete({"name": "demo"}, None)
    assert project == Project("demo", "demo", "A service and a socket", "1.0", "")
    assert list(QUESTIONS) == ["name", "title", "description", "version", "author"]


@pytest.mark.parametrize("version", ["1.10", "2.0.1-beta", NASTY])
def test_nasty_words_arrive_as_they_are(version: str) -> None:
    files = files_of(Project("demo", NASTY, NASTY, version, NASTY))
    meta = parse(files["demo.rbr"]).meta
    assert [meta.text(key) for key in ("title", "description", "version")] == [
        NASTY,
        NASTY,
        version,
    ]
    assert format_rbr(parse(files["demo.rbr"])) == files["demo.rbr"]
    assert examine(files["demo.rbr"])[1] == ()
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert (project["version"], project["description"]) == (version, NASTY)
    assert project["authors"] == [{"name": NASTY}]
    assert "<b>" not in files["index.html"]
    for name in ("app.py", "test_app.py"):
        compile(files[name], name, "exec")


def test_project_without_an_author_names_none() -> None:
    files = files_of(Project("demo", "t", "d", "1.0", ""))
    assert tomllib.loads(files["pyproject.toml"])["project"]["authors"] == []
