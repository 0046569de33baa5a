"""The archive: what is in it, the same each time, and what runs first when Python is given it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from redbarrel_lite import pyz
from redbarrel_lite.bundled import Rooms
from redbarrel_lite.packed import path_at
from redbarrel_lite.pyz import TooLarge, as_one, blanked, write

# The release: it is to be fetched by a slow line, and kept in a repository.
MAX_RELEASE_BYTES = 300_000


def run(
    archive: Path, *args: str, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """As on a machine where there is nothing but Python, from another folder."""
    bare = [sys.executable, "-S", "-I", "-W", "error", *options, str(archive), *args]
    return subprocess.run(bare, capture_output=True, text=True, encoding="utf-8", cwd="/")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The release, in a folder that can't be written into."""
    folder = tmp_path_factory.mktemp("release")
    path = folder / "redbarrel_lite.pyz"
    write(path, {})
    path.chmod(0o444)
    folder.chmod(0o555)
    yield path
    folder.chmod(0o755)


def test_release_is_small(release: Path) -> None:
    assert release.stat().st_size < MAX_RELEASE_BYTES


def test_pages_lose_what_is_for_readers_and_the_client_does_not(release: Path) -> None:
    with zipfile.ZipFile(release) as archive:
        for name in ("wire.js", "docpage.js", "reload.js", "wire.css", "docpage.css", "status.css"):
            page = archive.read(f"redbarrel_lite/static/{name}").decode()
            source = (ROOT / "redbarrel_lite/static" / name).read_text(encoding="utf-8")
            lines = [line for line in map(str.strip, source.split("\n")) if line]
            assert len(page) < len(source)
            assert not re.search(r"^ |^//|  //|^/\*", page, re.MULTILINE)
            for line in filter(None, page.split("\n")):
                assert any(one.startswith(line) for one in lines), line
        client = archive.read("redbarrel_lite/static/socket.io.js")
    assert client == (ROOT / "redbarrel_lite/static/socket.io.js").read_bytes()


def test_release_knows_its_commands(release: Path) -> None:
    told = run(release, "check", "--help", options=("-OO",)).stdout
    assert told.startswith("usage: python3 redbarrel_lite.pyz check ")
    assert "Say what is wrong with an .rbr file" in told
    chat = str(ROOT / "examples/chat/chat.rbr")
    assert "<title>" in run(release, "doc", chat).stdout


def test_release_packs_what_its_source_packs(release: Path, tmp_path: Path) -> None:
    """Byte for byte: an archive of an archive is no copy of a copy."""
    again = tmp_path / "again.pyz"
    done = run(release, "bundle", "-o", str(again))
    assert (done.returncode, done.stderr.partition(",")[0]) == (0, f"Wrote {again}")
    assert again.read_bytes() == release.read_bytes()


def test_archive_depends_on_no_date_right_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for number, mask in enumerate((0o022, 0o077)):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = {f"app/{name}": folder / name for name in ("ab"[::-1] if number else "ab")}
        before = os.umask(mask)
        try:
            for path in files.values():
                path.write_text("same")
                os.utime(path, (number * 1e9, number * 1e9))
            monkeypatch.chdir(folder)
            write(Path("x.pyz"), files)
        finally:
            os.umask(before)
        written.append(folder / "x.pyz")
        assert written[-1].stat().st_mode & 0o777 == 0o777 & ~mask
    assert written[0].read_bytes() == written[1].read_bytes()
    assert written[0].read_bytes().startswith(b"#!/usr/bin/env python3\nPK")


def test_files_are_stored_and_texts_compressed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"x" * 1000)
    write(tmp_path / "x.pyz", {"app/a/page.html": page, "app/b.py": b"y" * 1000})
    with zipfile.ZipFile(tmp_path / "x.pyz") as archive:
        sizes = {one.filename: (one.compress_size, one.file_size) for one in archive.infolist()}
        assert archive.testzip() is None
    assert sizes["app/a/page.html"] == (1000, 1000)
    assert sizes["app/b.py"][0] < 50
    assert sizes["app/"] == sizes["app/a/"] == (0, 0)


def test_archive_that_can_not_be_written_leaves_that_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "x.pyz"
    output.write_text("before")
    with pytest.raises(FileNotFoundError):
        write(output, {"app/none": tmp_path / "none"})
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    with pytest.raises(TooLarge):
        write(output, {})
    assert output.read_text() == "before"
    assert list(tmp_path.iterdir()) == [output]


# -- blanking --------------------------------------------------------------------------------


def shape(source: str) -> tuple[str, list[int]]:
    """What a module says, less what blanking takes away, and where that stands."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [one for one in body if not (pyz._is_text(one) or isinstance(one, ast.Pass))]
            node.body = kept  # type: ignore[attr-defined]
        for block in () if isinstance(node, ast.ClassDef) else ("body", "orelse", "finalbody"):
            lines = getattr(node, block, None)
            if isinstance(lines, list):
                lines[:] = map(untyped, lines)
    nodes = (one for one in ast.walk(tree) if isinstance(one, ast.stmt | ast.expr))
    return ast.dump(tree), [one.lineno for one in nodes]


def untyped(statement: ast.stmt) -> ast.stmt:
    """An assignment without the type of its variable."""
    if not isinstance(statement, ast.AnnAssign) or statement.value is None:
        return statement
    return ast.copy_location(ast.Assign([statement.target], statement.value), statement)


def test_blanked_rooms_say_the_same_on_the_same_lines() -> None:
    """As they are packed."""
    for name, short in pyz._sources().items():
        compile(short, name, "exec")
    for name, short in sorted(pyz._sources().items())[::8]:  # all would take seconds
        source = (ROOT / "redbarrel_lite" / name).read_text(encoding="utf-8")
        assert shape(short) == shape(source), name
        assert short.count("\n") == source.count("\n")


def test_blanking_takes_what_runs_nowhere() -> None:
    source = '''"""Doc."""
x = "# no comment"  # a comment
def f(a: int, *b: str, c: list[str] = ["->"], **d: "->") -> None:
    """Doc
    of two lines."""
class C:
    """Doc."""
    z: int = 3
    def h(self): self.a: "int" = 4; b: int
    async def g(
        self, é: int, ü: str
    ) -> dict[
        str, int]: return lambda: -1
    y = """a text
# that stays"""
    "stands for nothing"
Q: Final[int] = 5
'''
    assert (
        blanked(source)
        == '''
x = "# no comment"
def f(a, *b, c = ["->"], **d):
    pass

class C:

    z: int = 3
    def h(self): self.a = 4; b: int
    async def g(
        self, é: int, ü: str
    ) -> dict[
        str, int]: return lambda: -1
    y = """a text
# that stays"""

Q = 5
'''
    )
    assert blanked(blanked(source)) == blanked(source)


def test_sources_are_read_as_they_were_written() -> None:
    for sources in (
        {"a.py": ""},
        {"odd.py": "x = '… ², ½ or \u00e9\U0001f600'  \n\ty\n" * 3, "b.py": "     five\n"},
        {"many.py": "\n".join(f"word{n:05} word{n:05}" for n in range(5000))},
        pyz._sources(),
    ):
        text = as_one(sources)
        assert Rooms("", text).sources == sources
        assert as_one(dict(reversed(sources.items()))) == text


# -- what runs first -------------------------------------------------------------------------


def test_traceback_of_a_packed_room_shows_its_line(tmp_path: Path) -> None:
    text = as_one({"__init__.py": "", "a.py": "\n\ndef f():\n    1 / 0  \n"})
    rooms = Rooms("/there.pyz", text)
    assert rooms.find_spec("other") is None
    assert rooms.find_spec("redbarrel_lite.none") is None
    package = rooms.find_spec("redbarrel_lite")
    assert package is not None
    assert package.submodule_search_locations is not None
    spec = rooms.find_spec("redbarrel_lite.a")
    assert spec is not None
    assert (spec.origin, spec.has_location) == ("/there.pyz/redbarrel_lite/a.py", True)
    assert rooms.get_source("redbarrel_lite.a").splitlines()[3] == "    1 / 0  "
    assert rooms.get_code("redbarrel_lite.a").co_filename == spec.origin


def test_failure_of_ours_is_shown_with_its_source(release: Path, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("import redbarrel_lite.errors as e\ne.Span('x').nothing\n")
    (tmp_path / "app.rbr").write_text("path a ( url /, use python:fails.f );")
    told = run(release, str(tmp_path / "app.rbr")).stderr
    assert f'File "{tmp_path}/fails.py", line 2' in told
    assert "redbarrel_lite.pyz/" not in told  # frames of ours are none of the user's


def test_old_python_is_told_what_it_lacks(release: Path) -> None:
    program = (
        "import runpy, sys; sys.version_info = (3, 10); sys.path.insert(0, sys.argv[1]);"
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    old = [sys.executable, "-S", "-I", "-c", program, str(release)]
    told = subprocess.run(old, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (
        1,
        "error: RedBarrel Lite needs Python 3.11 or newer\n",
    )


def test_rooms_on_disk_are_at_plain_paths() -> None:
    assert type(path_at(pyz.__file__)) is type(Path())
