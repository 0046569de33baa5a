"""Files inside of an archive: found, read and served where they lie."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite import packed, testing
from redbarrel_lite.packed import Archive, PackedPath, open_archive, path_at

pytestmark = pytest.mark.usefixtures("own_modules")

BIG = bytes(range(256)) * 1024  # more than is read at once
MEMBERS = {
    "app/shop.rbr": b"""
        global motto file:motto.txt;
        path motto ( url /motto, use python:shop.motto );
        path late ( url /late, use python:late.late );
        path fails ( url /fails, use python:late.fails );
        path page ( url /, use file:page.html );
        path files ( url /files/{name:.*}, use directory:static );
        include "more/more.rbr" at /more;
    """,
    "app/shop.py": b"import helper\ndef motto(globs, request):\n    return helper.loud(globs)\n",
    "app/late.py": b"def late(request):\n    import slow.word\n    return slow.word.WORD\n"
    b"def fails(request):\n    raise LookupError  # on this line\n",
    "app/slow/__init__.py": b"",
    "app/slow/word.py": b"WORD = 'late'\n",
    "app/space/deep/word.py": b"WORD = 'deep'\n",
    "app/helper.py": b"def loud(globs):\n    return globs['motto'].upper()\n",
    "app/motto.txt": b"fine\r\ngoods\n",
    "app/page.html": b"<p>page</p>",
    "app/page.html.gz": b"packed",
    "app/static/big.bin": BIG,
    "app/static/index.html": b"top",
    "app/static/sub/index.html": b"sub",
    "app/static/.env": b"SECRET",
    "app/more/more.rbr": b"path m ( url /, use python:helper.say );",
    "app/more/helper.py": b"import other\ndef say(globs, request):\n    return other.WORD\n",
    "app/more/other.py": b"WORD = 'more'\n",
    "other/page.html": b"OUTSIDE",
}
DEFLATED = ("app/motto.txt", "app/page.html")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive that is open, as if we ran from it."""
    path = tmp_path / "app.pyz"
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("app/empty/", b"")
        for name, data in MEMBERS.items():
            new.writestr(name, data, 8 if name in DEFLATED or name.endswith(".py") else 0)
    monkeypatch.setattr(packed, "_archives", {})
    before = set(Path("/proc/self/fd").iterdir())
    open_archive(str(path))
    yield path
    (one,) = packed._archives.values()
    os.close(one._descriptor)
    assert set(Path("/proc/self/fd").iterdir()) <= before


def at(archive: Path, name: str) -> PackedPath:
    found = path_at(f"{archive}/{name}")
    assert isinstance(found, PackedPath)
    return found


def test_path_on_disk_is_a_plain_one(archive: Path) -> None:
    for where in (archive, archive.with_name("app.pyzz") / "x", Path("README.md")):
        assert type(path_at(str(where))) is type(where)
    assert path_at("README.md") == Path("README.md")


def test_relative_and_linked_paths_lead_into_the_archive(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive.parent)
    Path("link.pyz").symlink_to("app.pyz")
    for where in ("app.pyz/app/page.html", "link.pyz/app/page.html", "x/../app.pyz/app/page.html"):
        assert path_at(where).read_bytes() == b"<p>page</p>"


def test_members_and_folders_are_told_apart(archive: Path) -> None:
    for name, kind in {
        "app/page.html": (True, False, True),
        "app": (False, True, True),
        "app/static/sub": (False, True, True),
        "app/empty": (False, True, True),
        "app/none": (False, False, False),
        "app/page": (False, False, False),
    }.items():
        one = at(archive, name)
        assert (one.is_file(), one.is_dir(), one.exists()) == kind, name
    static = at(archive, "app/static")
    assert [one.name for one in static.iterdir()] == [".env", "big.bin", "index.html", "sub"]
    assert list(at(archive, "app/none").iterdir()) == list(at(archive, "app/empty").iterdir()) == []


def test_what_is_made_of_a_packed_path_is_packed(archive: Path) -> None:
    app = at(archive, "app")
    for one in (app / "static" / ".." / "page.html", (app / "x").with_name("page.html")):
        assert one.read_bytes() == b"<p>page</p>"
    assert (app / "static").parent.is_dir()
    assert (app / "page.html").resolve() == app / "page.html" == archive / "app" / "page.html"
    assert app.joinpath("motto.txt").read_text(encoding="utf-8") == "fine\ngoods\n"


def test_nothing_outside_of_the_archive_is_found(archive: Path) -> None:
    (archive.parent / "beside.txt").write_text("SECRET")
    out = at(archive, "app") / ".." / ".." / "beside.txt"
    assert (out.exists(), out.is_file()) == (False, False)
    with pytest.raises(FileNotFoundError) as raised:
        out.read_bytes()
    assert raised.value.filename == str(out)


def test_member_that_was_altered_is_an_error(archive: Path) -> None:
    data = archive.read_bytes()
    with archive.open("r+b") as file:
        file.seek(data.index(b"packed"))
        file.write(b"paXked")
    with pytest.raises(OSError, match="Input/output error"):
        at(archive, "app/page.html.gz").read_bytes()
    name = "app/page.html"
    with zipfile.ZipFile(archive) as read:
        start = read.getinfo(name).header_offset + 30 + len(name)
    with archive.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff")  # a block of deflate's reserved type
    with pytest.raises(OSError, match="Input/output error"):
        at(archive, name).read_bytes()


def test_file_is_served_from_where_it_lies(archive: Path) -> None:
    with testing.client(at(archive, "app/shop.rbr")) as client:
        assert client.get("/motto").text == "FINE\nGOODS\n"
        assert client.get("/more/").text == "more"
        assert client.get("/").body == b"<p>page</p>"
        assert client.get("/files/").body == b"top"
        assert client.get("/files/sub").status == 301
        assert client.get("/files/sub/").body == b"sub"
        answer = client.get("/files/big.bin")
        assert (answer.body, answer.headers["accept-ranges"]) == (BIG, "bytes")
        for name in (".env", "none", "sub/none", "../page.html", "..%2fpage.html", "empty"):
            assert client.get(f"/files/{name}").status == 404, name


def test_ranges_of_a_member_are_its_own(archive: Path) -> None:
    with testing.client(at(archive, "app/shop.rbr")) as client:
        for first, last in ((0, 0), (255, 300), (1000, 200_000), (len(BIG) - 1, len(BIG) - 1)):
            answer = client.get("/files/big.bin", headers={"Range": f"bytes={first}-{last}"})
            assert (answer.status, answer.body) == (206, BIG[first : last + 1])
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(BIG)}"
        several = client.get("/files/big.bin", headers={"Range": "bytes=0-1,300-99999,-2"})
        assert several.status == 206
        assert BIG[300:100_000] in several.body
        assert client.get("/", headers={"Range": "bytes=3-6"}).body == b"page"
        assert client.get("/files/big.bin", headers={"Range": "bytes=999999-"}).status == 416


def test_validator_is_of_the_content_and_no_date_is_told(archive: Path) -> None:
    with testing.client(at(archive, "app/shop.rbr")) as client:
        first = client.get("/")
        etag = first.headers["etag"]
        assert "last-modified" not in first.headers
        assert client.get("/", headers={"If-None-Match": etag}).status == 304
        assert client.get("/", headers={"If-Match": '"x"'}).status == 412
        date = "Fri, 01 Jan 2038 00:00:00 GMT"
        for name in ("If-Modified-Since", "If-Unmodified-Since"):
            assert client.get("/", headers={name: date}).status == 200
        for told, status in ((etag, 206), (date, 200), ("nonsense", 200)):
            headers = {"Range": "bytes=0-0", "If-Range": told}
            assert client.get("/", headers=headers).status == status
        gz = client.get("/", headers={"Accept-Encoding": "gzip"})
        assert (gz.headers["content-encoding"], gz.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert gz.headers["etag"].endswith('-gzip"')


def test_new_archive_in_its_place_changes_nothing(archive: Path) -> None:
    page = at(archive, "app/static/big.bin")
    new = archive.with_name("new")
    new.write_bytes(b"nothing of the kind")
    new.replace(archive)
    assert page.read_bytes() == BIG


@pytest.mark.parametrize("new", [b"nothing of the kind", b""])
def test_new_archive_in_its_place_changes_no_module(
    archive: Path, new: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither what is imported later, nor the lines that a traceback shows."""
    with testing.client(at(archive, "app/shop.rbr")) as client:
        assert client.get("/motto").status == 200
        if new:
            archive.with_name("new").write_bytes(new)
            archive.with_name("new").replace(archive)
        else:
            archive.unlink()
        importlib.invalidate_caches()
        assert client.get("/late").text == "late"
        assert client.get("/fails").status == 500
    assert "raise LookupError  # on this line" in caplog.text


def test_modules_are_found_as_python_asks_for_them(archive: Path) -> None:
    sys.path.insert(0, str(at(archive, "app")))
    late, slow = importlib.import_module("late"), importlib.import_module("slow")
    assert late.__file__ == f"{archive}/app/late.py"
    assert pkgutil.get_data("late", "motto.txt") == MEMBERS["app/motto.txt"]
    assert resources.files("slow").joinpath("word.py").read_bytes() == MEMBERS["app/slow/word.py"]
    assert [one.name for one in pkgutil.iter_modules(slow.__path__)] == ["word"]
    assert importlib.import_module("space.deep.word").WORD == "deep"
    loader: Any = late.__loader__
    assert loader.is_package("late") is False
    for ask in (loader.get_source, loader.get_code, loader.is_package):
        with pytest.raises(ImportError, match="can't find module 'none'"):
            ask("none")
    with pytest.raises(FileNotFoundError):
        loader.get_data(f"{archive}/app/none")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("late.none")


def test_readers_of_one_archive_do_not_disturb_each_other(archive: Path) -> None:
    opened = Archive(str(archive))
    one, other = opened.reader(), opened.reader()
    with one, other:
        assert one.read(4) == other.read(4) == b"PK\3\4"
        assert one.seek(-1, os.SEEK_END) == archive.stat().st_size - 1
        assert (len(one.read()), other.seek(-2, os.SEEK_CUR)) == (1, 2)
        assert other.read(2) == b"\3\4"
    os.close(opened._descriptor)
