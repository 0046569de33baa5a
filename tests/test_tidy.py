"""``check`` and ``fmt`` on real files: what they print, what they leave, how they exit."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
from rbr_corpus import FOLDER

from redbarrel_lite.rbr import parse
from redbarrel_lite.rbr_json import tree
from redbarrel_lite.tidy import check_file, format_file

BEGINNERS = sorted((FOLDER / "beginner").glob("*.rbr"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_modules: None) -> Path:
    """A copy of the beginners' folder to stand in; their modules are forgotten behind it."""

    home = tmp_path / "home"
    shutil.copytree(FOLDER / "beginner", home)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return home


@pytest.mark.parametrize("name", [path.stem for path in BEGINNERS])
def test_beginner_is_told_exactly_this(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_file(Path(f"{name}.rbr")) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(str(folder), "FOLDER") == (folder / f"{name}.err").read_text()


GOOD = """\
path hello (
    url /,
    use python:app.hello
);
socket app.chat;
"""


def test_good_file_is_ok(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("good.rbr").write_text(GOOD)
    assert check_file(Path("good.rbr")) == 0
    assert capsys.readouterr() == ("Syntax OK.\n", "")


@pytest.mark.parametrize(
    ("text", "code", "syntax"),
    [
        ('path a ( url /, use app.hello, response-headers ( set "a b" "c" ) );', "RBR042", 1),
        ("path a ( url /, use app.hello, on error return 101 );", "RBR033", 1),
        ("path a ( url /, use app.hello, response-body ( alter with app.four ) );", "RBR047", 0),
        ("type t app.number;", "RBR047", 0),
        ("type t app.Fails;", "RBR047", 0),
    ],
)
def test_what_would_not_start_is_not_ok(
    folder: Path, text: str, code: str, syntax: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("app.py").open("a") as module:
        module.write(
            "\ndef four(a, b, c, d): pass\nnumber = 3\n"
            "class Fails:\n    def __init__(self):\n        raise OSError('no disk')\n"
        )
    Path("stuck.rbr").write_text(text)
    assert check_file(Path("stuck.rbr")) == 1
    out, err = capsys.readouterr()
    assert (out, f"error {code}: " in err) == ("", True)
    assert ("no disk" in err) == ("Fails" in text)
    assert check_file(Path("stuck.rbr"), syntax_only=True) == syntax


def test_warnings_alone_are_ok(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("warned.rbr").write_text("path a (url /);\npath b (use app.hello);\n")
    assert check_file(Path("warned.rbr")) == 0
    out, err = capsys.readouterr()
    assert out == "Syntax OK.\n"
    assert err.endswith("\n2 warnings\n")


def test_syntax_only_looks_at_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.rbr").write_text(
        'path a (url /, use nowhere.nothing, colour red);\ninclude "nothing.rbr";\n'
    )
    assert check_file(Path("text.rbr"), syntax_only=True) == 0
    assert "warning RBR012" in capsys.readouterr().err
    assert check_file(Path("text.rbr")) == 1
    assert capsys.readouterr().err.endswith("\n3 errors\n")


def test_file_that_cannot_be_read_is_another_status(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_file(Path("nothing.rbr")) == 2
    assert format_file(Path("nothing.rbr")) == 2
    line = "error: nothing.rbr: No such file or directory\n"
    assert capsys.readouterr() == ("", line * 2)


def test_failing_module_shows_its_own_frames(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text("def f():\n    1 / 0\n\nf()\n")
    Path("a.rbr").write_text("path a (url /, use broken.f);\n")
    assert check_file(Path("a.rbr")) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert 'broken.py", line 2, in f' in err
    assert "locations.py" not in err
    assert "a.rbr:1:20: error RBR040" in err


def test_included_files_are_checked_from_their_own_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("admin").mkdir()
    Path("admin/page.html").write_text("hello")
    Path("admin/admin.rbr").write_text("path a (url /, use file:page.html, colour red);\n")
    Path("main.rbr").write_text('include "admin/admin.rbr" at /admin;\n')
    assert check_file(Path("main.rbr")) == 1
    err = capsys.readouterr().err
    assert err.startswith("admin/admin.rbr:1:36: error RBR012")
    assert err.endswith("\n1 error\n")


def test_files_that_include_each_other_are_told_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.rbr").write_text('include "b.rbr";\n')
    Path("b.rbr").write_text('include "a.rbr" at /b;\n')
    assert check_file(Path("a.rbr")) == 1
    assert capsys.readouterr().err == (
        "b.rbr:1:9: error RBR046: 'a.rbr' includes this file, directly or through others\n"
        '  1 | include "a.rbr" at /b;\n'
        "    |         ^^^^^^^\n"
        "  help: remove one of the 'include' lines\n"
        "1 error\n"
    )


def test_json_holds_tree_and_diagnostics(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_file(Path("13-misspelt-key.rbr"), as_json=True) == 1
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert (found["errors"], found["warnings"]) == (1, 0)
    assert found["diagnostics"] == [
        {
            "code": "RBR012",
            "severity": "error",
            "message": "unknown field 'metod' in path 'hello'",
            "help": "did you mean 'method'?",
            "notes": ["path 'hello' starts at 1:1"],
            "file": "13-misspelt-key.rbr",
            "start": {"line": 2, "column": 5, "offset": 17},
            "end": {"line": 2, "column": 10, "offset": 22},
        }
    ]
    assert [one["file"] for one in found["files"]] == ["13-misspelt-key.rbr"]


def test_tree_as_json_has_every_node_and_place() -> None:
    found = tree(parse("# a\nroot /r; # b\nsocket a.b;\n# c\n", "x.rbr"))
    assert found == {
        "node": "Rbr",
        "file": "x.rbr",
        "definitions": [
            {
                "node": "Root",
                "span": {
                    "start": {"line": 2, "column": 1, "offset": 4},
                    "end": {"line": 2, "column": 8, "offset": 11},
                },
                "lead": ["# a"],
                "trail": "# b",
                "url": {
                    "node": "Url",
                    "span": {
                        "start": {"line": 2, "column": 6, "offset": 9},
                        "end": {"line": 2, "column": 8, "offset": 11},
                    },
                    "lead": [],
                    "trail": "",
                    "text": "/r",
                },
            },
            {
                "node": "Socket",
                "span": {
                    "start": {"line": 3, "column": 1, "offset": 17},
                    "end": {"line": 3, "column": 11, "offset": 27},
                },
                "lead": [],
                "trail": "",
                "name": None,
                "use": {
                    "node": "Location",
                    "span": {
                        "start": {"line": 3, "column": 8, "offset": 24},
                        "end": {"line": 3, "column": 11, "offset": 27},
                    },
                    "lead": [],
                    "trail": "",
                    "kind": "python",
                    "target": "a.b",
                    "written": "a.b",
                    "target_span": {
                        "start": {"line": 3, "column": 8, "offset": 24},
                        "end": {"line": 3, "column": 11, "offset": 27},
                    },
                },
            },
        ],
        "tail": ["# c"],
    }  # fmt: skip


UNTIDY = "root   /a ;\r\n"
TIDY = "root /a;\n"


def test_format_writes_the_canonical_text_and_keeps_the_mode(folder: Path) -> None:
    file = Path("a.rbr")
    file.write_bytes(UNTIDY.encode())
    file.chmod(0o640)
    link = Path("link.rbr")
    link.symlink_to(file)
    assert format_file(link) == 0
    assert file.read_bytes() == TIDY.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_format_leaves_a_canonical_file_alone(folder: Path) -> None:
    file = Path("a.rbr")
    file.write_text(TIDY)
    before = file.stat()
    assert format_file(file) == 0
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_format_can_only_look(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("a.rbr")
    file.write_bytes(b"\xef\xbb\xbfroot   /a;\n")
    assert format_file(file, check=True) == 1
    assert capsys.readouterr().err == (
        "--- a.rbr\n+++ a.rbr (canonical)\n@@ -1 +1 @@\n-root   /a;\n+root /a;\n"
    )
    assert format_file(file, to_stdout=True) == 0
    assert capsys.readouterr().out == TIDY
    assert file.read_bytes() == b"\xef\xbb\xbfroot   /a;\n"
    file.write_text(TIDY)
    assert format_file(file, check=True) == 0
    assert capsys.readouterr() == ("", "")


def test_format_does_not_touch_a_faulty_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("a.rbr")
    file.write_text("root a;")
    assert format_file(file) == 1
    assert file.read_text() == "root a;"
    assert capsys.readouterr().err.startswith("a.rbr:1:6: error RBR018")
