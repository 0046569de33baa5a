"""Files and folders: what is served, in which form, and above all what is not."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import os
import re
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Serve
from wire import Live, Wire, ask, live, run

from redbarrel_lite import files
from redbarrel_lite.files import (
    STRONG_DATE_S,
    content_type,
    directory_service,
    file_service,
    is_served,
)
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.request import Request
from redbarrel_lite.response import FileContent, Response

CSS = b"body { color: red }\n" * 10
BIG = 200 * 1024  # more than is read at once
CUT = Path("/sys/devices/system/cpu/online")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder to serve, with things beside it that must not be."""
    root = tmp_path / "static"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / ".git").mkdir()
    (root / "a.css").write_bytes(CSS)
    (root / "index.html").write_text("<h1>top</h1>")
    (root / "sub" / "index.html").write_text("<h1>sub</h1>")
    (root / "sub" / "b.txt").write_text("b")
    (root / "big.bin").write_bytes(bytes(range(256)) * (BIG // 256))
    (root / "nothing.txt").touch()
    for hidden in (".env", ".git/config", "sub/.htpasswd"):
        (root / hidden).write_text("SECRET")
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "static-secret").mkdir()
    (tmp_path / "static-secret" / "x.txt").write_text("SECRET")
    return root


def request(name: str, method: str = "GET", target: str | None = None, **fields: str) -> Request:
    pairs = [(key.replace("_", "-"), value) for key, value in fields.items()]
    asked = Request(method, target or "/static/", pairs)
    asked.match = {"name": name}
    return asked


def content(response: Response) -> bytes:
    """What the server would send; closes it as the server does."""

    async def collect(stream: Any) -> bytes:
        return b"".join([part async for part in stream])

    stream = response.stream
    if stream is None:
        return response.body
    if isinstance(stream, FileContent):
        with stream.file as file:
            file.seek(stream.offset)
            body = file.read(stream.count)
    else:
        body = asyncio.run(collect(stream))
        asyncio.run(stream.aclose())  # type: ignore[attr-defined]
    assert response.length == len(body)
    return body


@pytest.fixture
def get(root: Path) -> Callable[..., tuple[int, Response, bytes]]:
    service = directory_service(root, "name")

    def get(name: str, **how: str) -> tuple[int, Response, bytes]:
        response = service(request(name, **how))
        return response.status, response, content(response)

    return get


Get = Callable[..., tuple[int, Response, bytes]]


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() <= before  # fewer, if another test's were collected meanwhile


def descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


# -- which file ----------------------------------------------------------------


def test_file_is_answered_with_what_is_known_of_it(get: Get, root: Path) -> None:
    os.utime(root / "a.css", (0, 784_111_777))
    status, response, body = get("a.css")
    assert (status, body) == (200, CSS)
    assert response.header("content-type") == "text/css; charset=utf-8"
    assert response.header("last-modified") == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response.header("accept-ranges") == "bytes"
    assert re.fullmatch('"[0-9a-f]+-c8"', response.header("etag") or "")
    assert response.header("vary") is None


def test_large_file_is_handed_to_the_server_unread(root: Path) -> None:
    response = directory_service(root, "name")(request("big.bin"))
    assert isinstance(response.stream, FileContent)
    assert (response.body, response.length) == (b"", BIG)
    response.stream.file.close()


def test_file_is_opened_anew_for_each_request(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("1")
    serve = file_service(page)
    first = serve(request(""))
    page.write_text("22")
    second = serve(request(""))
    assert (first.body, second.body) == (b"1", b"22")
    assert first.header("etag") != second.header("etag")
    page.unlink()
    assert serve(request("")).status == 404


def test_file_that_the_author_names_may_be_hidden_or_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to(root / "index.html")
    assert file_service(tmp_path / "link.html")(request("")).body == b"<h1>top</h1>"
    assert file_service(root / ".env")(request("")).status == 200


def test_folder_is_its_index_and_has_a_slash(get: Get, root: Path) -> None:
    assert get("")[2] == b"<h1>top</h1>"
    assert get("sub/")[2] == b"<h1>sub</h1>"
    status, response, _ = get("sub", target="/static/sub?a=1&b=%2f")
    assert (status, response.header("location")) == (301, "/static/sub/?a=1&b=%2f")
    assert get("empty")[0] == get("empty/")[0] == 404
    (root / "empty" / "index.html").mkdir()
    assert get("empty/")[0] == 404
    assert get("a.css/")[0] == 404


@pytest.mark.parametrize(
    "target", ["//evil.com/sub", "/\\evil.com/sub", "///evil.com/sub", "/%5cevil.com/sub"]
)
def test_redirect_never_leads_to_another_host(get: Get, target: str) -> None:
    status, response, _ = get("sub", target=target)
    assert status == 301
    location = response.header("location") or ""
    assert location.startswith("/")
    assert location[1] not in "/\\"


@pytest.mark.parametrize(
    "name",
    [
        "nowhere.txt",
        "nowhere/a.css",
        "../secret.txt",
        "sub/../../secret.txt",
        "sub/../a.css",
        "./a.css",
        "..",
        ".",
        "/etc/passwd",
        "//etc/passwd",
        "sub//b.txt",
        "%2e%2e/secret.txt",
        "../static-secret/x.txt",
        "-secret/x.txt",
        ".env",
        ".git/config",
        "sub/.htpasswd",
        ".git/",
        "a\0.css",
        "a.css\0",
        "..\\secret.txt",
        "sub\\b.txt",
        "C:a.css",
        "C:\\a.css",
        "\\\\srv\\share",
        "a.css::$DATA",
        "a.css.",
        "a.css ",
        "sub./b.txt",
        "CON",
        "nul.txt",
        "sub/AUX",
        "com1.tar.gz",
        "LPT¹",
        "prn .txt",
        "CONIN$",
        "a\r\nx: y",
        "\x7f",
        "a" * 300,
        "a" * 10_000,
        "a" * 253,  # with .gz behind it is too long
        "a/" * 3000,
        "\udcff",
    ],
)
def test_what_is_not_to_be_served_is_not_found(get: Get, root: Path, name: str) -> None:
    for decoy in ("CON", "nul.txt", "com1.tar.gz", "a.css.", "a.css ", "C:a.css", "sub\\b.txt"):
        (root / decoy).write_text("SECRET")
    status, response, body = get(name)
    assert (status, body) == (404, b"404 no such file\n")
    assert response.header("content-type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", ["a.css", "ünï çødé.txt", "console.js", "com10.txt", "a~1", "-"])
def test_ordinary_names_are_served(get: Get, root: Path, name: str) -> None:
    (root / name).write_text("x")
    assert is_served(name)
    assert get(name)[2] == b"x"


# -- links ---------------------------------------------------------------------

OPENERS = [files._open_beneath, files._open_by_name]


@pytest.mark.parametrize("open_beneath", OPENERS)
def test_links_that_stay_inside_are_followed_and_others_are_not(
    root: Path, tmp_path: Path, open_beneath: Callable[[Path, Sequence[str]], int]
) -> None:
    links: dict[str, str | Path] = {
        "inside.css": "a.css",
        "absolute.css": root / "a.css",
        "folder": "sub",
        "sub/up.css": "../a.css",
        "outside.txt": "../secret.txt",
        "etc": "/etc",
        "parent": "..",
        "here": ".",
        "loop": "loop",
        "hidden.txt": ".env",
        "git": ".git",
        "sibling": tmp_path / "static-secret",
        "dangling": "nowhere",
        "sub/far": "folder/../../secret.txt",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (tmp_path / "current").symlink_to(root)  # the root itself may be one

    def opens(*names: str) -> bool:
        try:
            descriptor = open_beneath(tmp_path / "current", names)
        except (OSError, ValueError):
            return False
        os.close(descriptor)
        return True

    for names in (
        "a.css",
        "inside.css",
        "absolute.css",
        "folder/b.txt",
        "sub/up.css",
        "here/a.css",
    ):
        assert opens(*names.split("/")), names
    for names in (
        "outside.txt", "etc/passwd", "parent/secret.txt", "here", "loop", "loop/x", "hidden.txt",
        "git/config", "sibling/x.txt", "dangling", "sub/far", "parent/static/a.css/x",
    ):  # fmt: skip
        assert not opens(*names.split("/")), names


def test_folder_swapped_for_a_link_on_the_way_is_not_followed(root: Path, tmp_path: Path) -> None:
    """The race itself: another process swaps while we open, as fast as it can."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.txt").write_text("SECRET")
    swap = f"""
import os
os.chdir({str(root)!r})
os.symlink({str(tmp_path / "outside")!r}, "link")
print("ready", flush=True)
while True:
    os.rename("sub", "real"); os.rename("link", "sub")
    os.rename("sub", "link"); os.rename("real", "sub")
"""
    service = directory_service(root, "name")
    command = [sys.executable, "-c", swap]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as swapping:
        assert swapping.stdout is not None
        swapping.stdout.readline()
        found = {service(request("sub/b.txt")).body for _ in range(5000)}
        swapping.kill()
    assert found <= {b"b", b"404 no such file\n"}
    assert b"b" in found


def test_folder_that_can_be_passed_but_not_listed_is_passed(root: Path) -> None:
    with as_nobody(root) as served:
        (served / "sub").chmod(0o711)
        with nobody():
            assert directory_service(served, "name")(request("sub/b.txt")).body == b"b"


@contextlib.contextmanager
def as_nobody(root: Path) -> Iterator[Path]:
    """A copy of a folder where everybody may go: pytest's own are for the tester alone."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        yield Path(shutil.copytree(root, folder / "static"))
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Root may read everything, so that a test of permissions must be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_file_is_as_if_it_were_not_there(root: Path) -> None:
    with as_nobody(root) as served:
        (served / "a.css").chmod(0)
        (served / "sub").chmod(0)
        with nobody():
            service = directory_service(served, "name")
            assert service(request("a.css")).status == 404
            assert service(request("sub/b.txt")).status == 404
            assert file_service(served / "a.css")(request("")).status == 404
        (served / "sub").chmod(0o755)


def test_what_is_no_regular_file_is_not_found_and_does_not_block(get: Get, root: Path) -> None:
    os.mkfifo(root / "fifo")
    os.mkfifo(root / "a.css.gz")
    (root / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "socket"))
        for name in ("fifo", "null", "socket", "empty"):
            assert get(name)[0] == 404
            assert file_service(root / name)(request("")).status == 404
    if os.geteuid() == 0:
        os.mknod(root / "device", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        assert get("device")[0] == 404
    assert get("a.css", accept_encoding="gzip")[2] == CSS


def test_trouble_of_our_own_is_no_404(get: Get, caplog: pytest.LogCaptureFixture) -> None:
    """With no descriptor left, a 404 would be a lie, and caches would keep it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first_free = os.open("/", os.O_RDONLY)
    os.close(first_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, hard))
    try:
        status, response, body = get("a.css")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (status, response.header("retry-after")) == (503, "1")
    assert body == b"503 the file can't be read now\n"
    (record,) = caplog.records
    assert record.getMessage() == "GET '/static/': it can't be read: Too many open files"


def test_file_that_is_cut_while_it_is_read_is_no_whole_answer(root: Path) -> None:
    service = directory_service(root, "name")
    response = service(request("big.bin", range="bytes=0-9,200000-200009"))
    os.truncate(root / "big.bin", 100)
    with pytest.raises(OSError, match="shorter"):
        content(response)
    asyncio.run(response.stream.aclose())  # type: ignore[union-attr]


@pytest.mark.skipif(not CUT.is_file(), reason="no sysfs, whose files are shorter than they say")
def test_small_file_that_is_cut_meanwhile_is_our_trouble(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert CUT.stat().st_size > len(CUT.read_bytes())
    assert file_service(CUT)(request("")).status == 503
    assert caplog.messages == ["GET '/static/': it can't be read: the file has become shorter"]


# -- in which form -----------------------------------------------------------------


@pytest.fixture
def packed(root: Path) -> bytes:
    """a.css, compressed, beside it."""
    packed = gzip.compress(CSS)
    (root / "a.css.gz").write_bytes(packed)
    return packed


def test_compressed_file_beside_is_sent_to_who_takes_it(get: Get, packed: bytes) -> None:
    _, plain, body = get("a.css")
    assert body == CSS
    _, small, body = get("a.css", accept_encoding="gzip")
    assert body == packed
    assert small.header("content-encoding") == "gzip"
    assert plain.header("content-encoding") is None
    assert small.header("content-type") == plain.header("content-type")
    assert small.header("vary") == plain.header("vary") == "Accept-Encoding"
    assert small.header("etag") != plain.header("etag")
    assert get("a.css", accept_encoding="gzip;q=0.5, identity")[2] == CSS


def test_each_form_has_conditions_of_its_own(get: Get, packed: bytes) -> None:
    etag = get("a.css", accept_encoding="gzip")[1].header("etag") or ""
    status, response, _ = get("a.css", accept_encoding="gzip", if_none_match=etag)
    assert (status, response.header("vary")) == (304, "Accept-Encoding")
    assert response.header("content-encoding") is None
    assert get("a.css", if_none_match=etag)[0] == 200
    status, response, body = get("a.css", accept_encoding="gzip", range="bytes=1-3", if_range=etag)
    assert (status, body) == (206, packed[1:4])
    assert response.header("content-range") == f"bytes 1-3/{len(packed)}"


def test_compressed_file_is_itself_under_its_own_name(get: Get, packed: bytes) -> None:
    _, response, body = get("a.css.gz", accept_encoding="gzip")
    assert body == packed
    assert response.header("content-type") == "application/gzip"
    assert response.header("content-encoding") is None


def test_compressed_file_of_an_earlier_version_is_not_sent(
    get: Get, root: Path, packed: bytes
) -> None:
    made = (root / "a.css").stat().st_mtime
    os.utime(root / "a.css.gz", (made - 1, made - 1))  # the clock of a file system may be coarse
    assert get("a.css", accept_encoding="gzip")[2] == packed
    os.utime(root / "a.css.gz", (made - 3, made - 3))
    assert get("a.css", accept_encoding="gzip")[2] == CSS


def test_compressed_file_elsewhere_is_not_sent(get: Get, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt.gz").write_text("SECRET")
    (root / "a.css.gz").symlink_to(tmp_path / "secret.txt.gz")
    assert get("a.css", accept_encoding="gzip")[2] == CSS


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("A.HTML", "text/html; charset=utf-8"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.js.map", "application/json; charset=utf-8"),
        ("a.webmanifest", "application/manifest+json; charset=utf-8"),
        ("a.svg", "image/svg+xml; charset=utf-8"),
        ("a.rbr", "text/plain; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.webp", "image/webp"),
        ("a.woff2", "font/woff2"),
        ("a.wasm", "application/wasm"),
        ("a.pdf", "application/pdf"),
        ("a.tar.gz", "application/gzip"),
        ("a.tar.bz2", "application/x-bzip2"),
        ("a.tar.xz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("data:text.html", "text/html; charset=utf-8"),
    ],
)
def test_type_of_a_name(name: str, kind: str) -> None:
    assert content_type(name) == kind


# -- whether, and what part of it ----------------------------------------------------


def test_client_that_has_it_gets_304(get: Get, root: Path) -> None:
    _, first, _ = get("a.css")
    etag, modified = first.header("etag") or "", first.header("last-modified") or ""
    for fields in ({"if_none_match": etag}, {"if_modified_since": modified}):
        status, response, body = get("a.css", **fields)
        assert (status, body) == (304, b"")
        assert response.header("etag") == etag
        assert response.header("last-modified") == modified
        assert response.header("content-type") is None
    assert get("a.css", if_none_match=etag, range="bytes=0-1")[0] == 304
    os.utime(root / "a.css", (0, 0))
    assert get("a.css", if_none_match=etag)[0] == 200


def test_file_changed_within_a_second_has_another_etag(get: Get, root: Path) -> None:
    os.utime(root / "a.css", ns=(0, 10**18))
    _, first, _ = get("a.css")
    os.utime(root / "a.css", ns=(0, 10**18 + 1))
    _, second, _ = get("a.css")
    assert first.header("last-modified") == second.header("last-modified")
    assert first.header("etag") != second.header("etag")


def test_file_from_the_future_or_from_before_all_time_is_served(get: Get, root: Path) -> None:
    os.utime(root / "a.css", (2**33, 2**33))
    _, response, body = get("a.css")
    assert body == CSS
    assert (response.header("last-modified") or "") <= formatdate(usegmt=True)
    os.utime(root / "a.css", (0, -5))
    assert get("a.css")[1].header("last-modified") == "Thu, 01 Jan 1970 00:00:00 GMT"


def test_condition_that_fails_is_412(get: Get) -> None:
    status, response, _ = get("a.css", if_match='"other"')
    assert status == 412
    assert response.header("etag") == get("a.css")[1].header("etag")


def test_one_range(get: Get, root: Path) -> None:
    whole = (root / "big.bin").read_bytes()
    for value, part in {
        "bytes=0-0": whole[:1],
        "bytes=1-": whole[1:],
        "bytes=-7": whole[-7:],
        "bytes=100000-100099": whole[100000:100100],
        "bytes=-99999999": whole,
    }.items():
        status, response, body = get("big.bin", range=value)
        assert (status, body) == (206, part), value
        assert response.header("content-type") == "application/octet-stream"
        first, last, size = re.fullmatch(  # type: ignore[union-attr]
            r"bytes (\d+)-(\d+)/(\d+)", response.header("content-range") or ""
        ).groups()
        assert whole[int(first) : int(last) + 1] == part
        assert int(size) == BIG


def split_multipart(response: Response, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart body by the grammar of RFC 2046, each with its fields."""
    kind = response.header("content-type") or ""
    boundary = kind.removeprefix("multipart/byteranges; boundary=").encode()
    before, *parts, after = body.split(b"\r\n--" + boundary)
    assert (before, after) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[0] == ""
        found.append((dict(line.split(": ", 1) for line in lines[1:]), content))
    return found


def test_several_ranges(get: Get, root: Path) -> None:
    whole = (root / "big.bin").read_bytes()
    status, response, body = get("big.bin", range="bytes=0-1,100-170000,-1,900000-")
    assert status == 206
    assert response.header("content-range") is None
    kind = "application/octet-stream"
    assert split_multipart(response, body) == [
        ({"content-type": kind, "content-range": f"bytes 0-1/{BIG}"}, whole[:2]),
        ({"content-type": kind, "content-range": f"bytes 100-170000/{BIG}"}, whole[100:170001]),
        ({"content-type": kind, "content-range": f"bytes {BIG - 1}-{BIG - 1}/{BIG}"}, whole[-1:]),
    ]


def test_ranges_that_are_refused_or_ignored(get: Get) -> None:
    status, response, _ = get("big.bin", range=f"bytes={BIG}-")
    assert (status, response.header("content-range")) == (416, f"bytes */{BIG}")
    assert get("nothing.txt", range="bytes=0-")[0] == 416
    assert get("nothing.txt", range="bytes=-5")[0] == 200
    assert get("a.css", range="bytes=-0")[0] == 416
    for value in ("bytes=5-2", "abc-xyz", "bytes=" + "0-," * 2600, "bytes=0-,0-"):
        assert get("a.css", range=value)[::2] == (200, CSS), value
    for method in ("HEAD", "POST"):
        assert get("a.css", method=method, range="bytes=0-1")[0] == 200


def test_if_range_with_a_date_is_for_a_file_that_rests(get: Get, root: Path) -> None:
    def resumed() -> int:
        date = get("a.css")[1].header("last-modified") or ""
        return get("a.css", range="bytes=0-1", if_range=date)[0]

    for ago, status in ((STRONG_DATE_S * 2, 206), (STRONG_DATE_S / 2, 200), (-9, 200)):
        when = time.time() - ago
        os.utime(root / "a.css", (when, when))
        assert resumed() == status, ago


def test_if_range_must_be_the_very_version(get: Get, root: Path) -> None:
    os.utime(root / "a.css", (0, 784_111_777))
    _, first, _ = get("a.css")
    etag, modified = first.header("etag") or "", first.header("last-modified") or ""
    for value, status in {
        etag: 206,
        modified: 206,
        f"W/{etag}": 200,
        '"other"': 200,
        "Thu, 01 Jan 1970 00:00:00 GMT": 200,
        "Fri, 31 Dec 9999 23:59:59 GMT": 200,
        "": 200,
        '"' * 8000: 200,
    }.items():
        assert get("a.css", range="bytes=0-1", if_range=value)[0] == status, value


# -- over TCP ------------------------------------------------------------------------

RBR = """
    path page ( url /page, use file:static/index.html );
    path top ( url /, use directory:static );
    path static ( url /static/{name:.*}, use directory:static );
    path one ( url /version/{number}/{name}, use directory:static );
    path chat ( method SOCKETIO, use python:MODULE.chat );
"""
SOURCE = "def chat(request): pass"


def site(
    root: Path, limits: TimeLimits | None = None
) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(root.parent, RBR, SOURCE, limits)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, byte by byte, and cut behind each CR."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    yield re.findall(rb"[^\r]*\r|[^\r]+", data)


async def verdict(server: Live, data: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to a request, the same however it is cut."""
    answers = []
    for pieces in cuts(data):
        wire = await Wire.open(server.url)
        wire.writer.transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        for piece in pieces:
            await wire.send(piece)
        status, headers, body = await wire.answer(head=data.startswith(b"HEAD"))
        headers.pop("date", None)
        answers.append((status, headers, body))
        wire.close()
    assert answers[0] == answers[1] == answers[2]
    return answers[0]


BAD_TARGETS = [
    "/static/../../etc/passwd",
    "/static/../secret.txt",
    "/static/%2e%2e/secret.txt",
    "/static/%2e%2e/%2e%2e/etc/passwd",
    "/static/..%2f..%2fetc/passwd",
    "/static/%2e%2e%2fsecret.txt",
    "/static/..%5csecret.txt",
    "/static/%252e%252e%252fsecret.txt",
    "/static/a%00.html",
    "/static/%00",
    "/static//etc/passwd",
    "/static/%2fetc/passwd",
    "/static/%c0%ae%c0%ae/secret.txt",
    "/static/%ff",
    "/static/outside.txt",
    "/static/outside/passwd",
    "/static/.env",
    "/static/%2eenv",
    "/static/sub/.htpasswd",
    "/static/CON",
    "/static/nul.txt",
    "/static/a/AUX",
    "/static/C:x",
    "/static/%5c%5csrv%5cshare",
    "/static/a.css::$DATA",
    "/static/a.css.",
    "/static/a.css%20",
    "/static/../static-secret/x.txt",
    "/static-secret/x.txt",
    "/static/%3Cscript%3E",
    "/static/" + "a" * 256,
    "/static/" + "a" * 8000,
    "/version/../secret.txt",
    "/version/1/..%2fsecret.txt",
    "//evil.com/%2e%2e",
    "/static/fifo",
]


@pytest.mark.parametrize("target", BAD_TARGETS, ids=lambda target: target[:40])
def test_bad_target_is_refused_however_it_is_cut(
    root: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    (root / "outside.txt").symlink_to(root.parent / "secret.txt")
    (root / "outside").symlink_to("/etc")
    os.mkfifo(root / "fifo")

    async def test() -> None:
        async with site(root) as server:
            data = f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            status, headers, body = await verdict(server, data)
            assert status in (400, 404), target
            assert "location" not in headers
            assert b"<script" not in body
            assert b"SECRET" not in body
            await server.serves()

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    for record in caplog.records:
        assert "Traceback" not in record.getMessage()
        assert len(record.getMessage()) <= 500


GOOD = [  # a field of the request, and the status of its answer
    ("Range: bytes=1-3", 206),
    ("Range: bytes=0-0,5-9", 206),
    ("Range: bytes=999999-", 416),
    ("Range: bytes=" + "0-," * 2500, 200),
    ("Range: bytes=" + "9" * 8000 + "-", 416),
    ("Range: bytes=0-0," + "0-0," * 1000, 200),
    ("Range: abc-xyz", 200),
    ("Range: bytes=5-2", 200),
    ("If-None-Match: " + '"' * 8000, 200),
    ("If-None-Match: *", 304),
    ("If-Modified-Since: Sun, 06 Nov 99999 08:49:37 GMT", 200),
    ("If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT", 304),
    ("If-Match: " + '"' * 8000, 412),
    ("If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", 412),
    ("Accept-Encoding: " + "," * 8000, 200),
    ("Accept-Encoding: gzip", 200),
]


@pytest.mark.parametrize(("field", "status"), GOOD, ids=[field[:30] for field, _ in GOOD])
def test_fields_of_selection_over_the_wire(root: Path, field: str, status: int) -> None:
    async def test() -> None:
        async with site(root) as server:
            for method in ("GET", "HEAD"):
                head = f"{method} /static/a.css HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode()
                wire = await Wire.open(server.url)
                await wire.send(head * 2)  # framed right, the second is answered as the first
                answers = [await wire.answer(head=method == "HEAD") for _ in "12"]
                wire.close()
                expected = 200 if method == "HEAD" and field.startswith("Range") else status
                assert [answer[0] for answer in answers] == [expected] * 2
                assert ("content-length" in answers[0][1]) is (expected != 304)
                for _, fields, _ in answers:
                    del fields["date"]  # a second may go by in between
                if "0-0,5" not in field:  # whose boundary is another one each time
                    assert answers[0] == answers[1]
                    assert (await verdict(server, head))[0] == expected

    run(test())


def test_nobody_is_sent_to_a_folder_that_the_url_does_not_take(root: Path) -> None:
    rbr = """
        path flat ( url /flat/{name}, use directory:. );
        path deep ( url /deep/{name:.*}, use directory:. );
    """

    async def test() -> None:
        async with live(root, rbr) as server:
            for target, status in {
                "/flat/sub": 404,
                "/flat/a.css": 200,
                "/deep/sub": 301,
                "/deep/sub/": 200,
            }.items():
                assert (await ask(server.url, "GET", target))[0] == status, target

    run(test())


def test_urls_lead_to_files(root: Path) -> None:
    (root / "a b%41.txt").write_text("odd")

    async def test() -> None:
        async with site(root) as server:
            for target, body in {
                "/page": b"<h1>top</h1>",
                "/": b"<h1>top</h1>",
                "/static/": b"<h1>top</h1>",
                "/static/sub/": b"<h1>sub</h1>",
                "/static/sub/b.txt": b"b",
                "/static/sub%2Fb.txt": b"b",
                "/static/a%20b%2541.txt": b"odd",
                "/version/7/a.css": CSS,
            }.items():
                status, _, found = await ask(server.url, "GET", target)
                assert (status, found) == (200, body), target
            status, headers, _ = await ask(server.url, "GET", "/static/sub?x=1")
            assert (status, headers["location"]) == (301, "/static/sub/?x=1")
            status, headers, body = await ask(server.url, "HEAD", "/static/big.bin")
            assert (status, headers["content-length"], body) == (200, str(BIG), b"")
            status, headers, body = await ask(server.url, "GET", "/static/big.bin")
            assert body == (root / "big.bin").read_bytes()
            assert (await ask(server.url, "DELETE", "/static/a.css"))[0] == 405

    run(test())


def test_client_script_is_asked_for_once(root: Path) -> None:
    script = (ROOT / "redbarrel_lite/static/socket.io.js").read_bytes()

    async def test() -> None:
        async with site(root) as server:
            url = "/socket.io/socket.io.js"
            status, headers, body = await ask(server.url, "GET", url)
            assert (status, body) == (200, script)
            assert headers["content-type"] == "text/javascript; charset=utf-8"
            again = await ask(server.url, "GET", url, If_None_Match=headers["etag"])
            assert (again[0], again[2]) == (304, b"")

    run(test())


def test_client_that_goes_at_any_moment_leaves_no_file_open(root: Path) -> None:
    with (root / "huge.bin").open("wb") as file:
        file.truncate(100_000_000)

    async def test() -> None:
        async with site(root) as server:
            before = descriptors()
            for field in ("", "Range: bytes=0-60000000,70000000-90000000\r\n"):
                for read in (0, 100, 1_000_000):
                    wire = await Wire.open(server.url)
                    await wire.send(f"GET /static/huge.bin HTTP/1.1\r\nHost: a\r\n{field}\r\n")
                    if read:
                        await wire.reader.readexactly(read)
                    wire.reset()
            await server.empties()
            while server.server._tasks:
                await asyncio.wait(server.server._tasks)
            assert descriptors() == before
            await server.serves()

    run(test())


def test_gigabyte_streams_in_constant_memory(serve: Serve, tmp_path: Path) -> None:
    size = 2**30
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(size)
    (tmp_path / "app.rbr").write_text("path a ( url /, use file:huge.bin );")
    server = serve(tmp_path / "app.rbr")

    def memory(what: str) -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1])  # type: ignore[index]

    before = memory("VmRSS")
    buffer = bytearray(1024 * 1024)
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        head, _, rest = client.recv(65536).partition(b"\r\n\r\n")
        assert b"content-length: %d\r\n" % size in head + b"\r\n"
        got = len(rest)
        while count := client.recv_into(buffer):
            got += count
    assert got == size
    assert memory("VmHWM") - before < 8 * 1024


def test_listings_of_the_page_do_what_it_says(tmp_path: Path) -> None:
    """Each request of docs/files.md gets the answer that stands below it."""
    page = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
    (rbr,) = re.findall(r"^```rbr\n(.*?)^```$", page, re.M | re.S)
    exchanges = re.findall(r"^```http\n(.*?)\n\n(.*?)^```$", page, re.M | re.S)
    assert len(exchanges) >= 5
    (tmp_path / "static" / "guide").mkdir(parents=True)
    (tmp_path / "static" / "guide" / "index.html").write_text("<h1>Guide</h1>")
    (tmp_path / "static" / "style.css").write_text("body { margin: 0 }\n")
    (tmp_path / "static" / "style.css.gz").write_bytes(gzip.compress(b"body { margin: 0 }\n"))
    (tmp_path / "static" / ".env").write_text(secrets.token_hex())
    (tmp_path / "front.html").write_text("<h1>Front</h1>")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1_700_000_000, 1_700_000_000))

    async def test() -> None:
        async with live(tmp_path, rbr) as server:
            for asked, answer in exchanges:
                wire = await Wire.open(server.url)
                await wire.send(asked.replace("\n", "\r\n") + "\r\nHost: a\r\n\r\n")
                status, headers, _ = await wire.answer(head=asked.startswith("HEAD"))
                line, *fields = answer.strip().splitlines()
                assert int(line.split()[1]) == status, asked
                for field in fields:
                    name, value = field.split(": ", 1)
                    assert headers[name.lower()] == value, (asked, field)

    run(test())
