"""Bodies, above all on disk: none stays open once its request is answered, whatever was raised.

Python's collector of cycles is off here: who counts on it has open files until it runs, which
in an idle server it does not.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire import SOCKET_IO, Live, Wire, ask, live, run, until

from redbarrel_lite.patience import TimeLimits

FILES = Path("/proc/self/fd")
pytestmark = pytest.mark.skipif(not FILES.exists(), reason="the system lists no open files")

RBR = """
    path form ( url /form/{how}, method POST, max-body 2000000, use python:MODULE.form );
    path aform ( url /aform/{how}, method POST, max-body 2000000, use python:MODULE.aform );
    path parts ( url /parts/{how}, method POST, max-body 2000000, use python:MODULE.parts );
    path aparts ( url /aparts/{how}, method POST, max-body 2000000, use python:MODULE.aparts );
    path wsgi ( url /wsgi/{how:.*}, max-body 2000000, use wsgi:MODULE.application );
    path keep ( url /keep, method POST, max-body 2000000, use python:MODULE.keep );
    path kept ( url /kept, use python:MODULE.kept );
    path drop ( url /drop, use python:MODULE.drop );
    path wait ( url /wait, method GET|POST, max-body 2000000, use python:MODULE.wait );
    path await ( url /await, method GET|POST, max-body 2000000, use python:MODULE.wait_here );
    path stubborn ( url /stubborn, method POST, max-body 2000000, use python:MODULE.stubborn );
    path mark ( url /mark, method POST, use python:MODULE.mark );
    path marked ( url /marked, use python:MODULE.marked );
    path marks ( url /marks/{kind}, use python:MODULE.marks );
    path late ( url /late, method POST, max-body 2000000, use python:MODULE.late );
    path checked ( url /checked, method POST, max-body 2000000, use python:MODULE.drop,
        request-body ( unless type is checked return 422 ) );
    type checked python:MODULE.check;
    path chat ( method SOCKETIO, max-payload 2000000, use python:MODULE.chat,
        request-headers ( unless Host validates with python:MODULE.look return 403 ) );
    path engine ( method ENGINEIO, url /engine, max-payload 2000000, use python:MODULE.chat );
    path raw ( method WEBSOCKET, url /raw, max-payload 2000000, use python:MODULE.chat );
"""
SOURCE = """
    import asyncio
    import threading
    import weakref

    from redbarrel_lite import exc

    entered, release = threading.Event(), threading.Event()

    held = []

    def read(how, request):
        if how == "raw":
            return len(request.body_file.read())
        if how == "unread":
            return 0
        size = request.POST["file"].size
        file = request.POST["file"].file
        if how == "raises":
            raise LookupError(file)
        if how == "refuses":
            raise exc.HTTPConflict("no")
        return size

    def form(globs, request, how):
        return {"size": read(how, request)}

    async def aform(globs, request, how):
        if how != "raw":
            await asyncio.sleep(0)
        return {"size": read(how, request)}

    def parts(globs, request, how):
        yield "size "
        yield str(read(how, request))

    async def aparts(globs, request, how):
        yield "size "
        yield str(read(how, request))

    def application(environ, start_response):
        source = environ["wsgi.input"]
        start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"].endswith("raises"):
            raise LookupError(source.read(10))
        return (part for part in iter(lambda: source.read(65536), b""))

    def keep(globs, request):
        held.append(request.POST["file"])
        held.append(request)

    def kept(globs, request):
        upload, earlier = held
        try:
            earlier.json
        except ValueError as error:
            said = str(error)
        return {"size": len(upload.value), "file": len(upload.file.read()), "said": said}

    class Mark:
        pass

    def mark(globs, request):
        request.environ["mark"] = mark = Mark()
        held.append(weakref.ref(mark))

    class Parts(Mark):
        def __init__(self):
            held.append(weakref.ref(self))
            self.left = [b"some"]

        def __iter__(self):
            return self

        def __next__(self):
            if not self.left:
                raise StopIteration
            return self.left.pop()

    class ToCome(Parts):
        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    def marks(globs, request, kind):
        return Parts() if kind == "plain" else ToCome()

    def marked(globs, request):
        return {"kept": held[0]() is not None}

    def drop(globs, request):
        held.clear()

    def wait(globs, request):
        file = request.POST["file"].file
        entered.set()
        release.wait()
        raise LookupError(file)

    async def wait_here(globs, request):
        file = request.POST["file"].file
        await asyncio.to_thread(wait, globs, request)

    def late(globs, request):
        yield "begun"
        wait(globs, request)

    async def stubborn(globs, request):
        yield "begun"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            entered.set()

    def check(globs, request, value):
        raise LookupError(request.POST["file"].file)

    def look(globs, request, value):
        return request.environ

    def chat(globs, request):
        pass
"""

LARGE = b"x" * 400_000
FIELD = b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
FILE = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
GOOD = FILE + LARGE + b"\r\n--XX--\r\n"
CUT = FILE + LARGE  # 400: there is no boundary at its end
CUT_BEHIND_A_FILE = FILE + LARGE + b"\r\n" + FILE + LARGE
TOO_MUCH = FIELD + 3 * LARGE + b"\r\n--XX--\r\n"  # 413: fields have 1 MiB
MULTIPART = "multipart/form-data; boundary=XX"
URLENCODED = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()  # what other tests left is no concern of these
    gc.disable()
    yield
    gc.enable()


def open_spools() -> int:
    """Files of this process that have no name."""
    count = 0
    for one in FILES.iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one by which these are listed
            count += str(one.readlink()).endswith(" (deleted)")
    return count


def request(line: str, body: bytes, content: str, fields: str = "") -> bytes:
    head = f"{line} HTTP/1.1\r\nHost: a\r\n{fields}Content-Type: {content}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def all_closed(server: Live, before: int) -> None:
    await server.empties()
    await until(lambda: open_spools() == before)


@pytest.mark.parametrize("kind", ["form", "aform", "parts", "aparts", "wsgi"])
@pytest.mark.parametrize(
    ("how", "status", "content", "body"),
    [
        ("read", 200, MULTIPART, GOOD),
        ("raw", 200, MULTIPART, GOOD),
        ("unread", 200, MULTIPART, GOOD),
        ("raises", 500, MULTIPART, GOOD),
        ("refuses", 409, MULTIPART, GOOD),
        ("missing", 500, MULTIPART, GOOD.replace(b"file", b"flie")),
        ("cut", 400, MULTIPART, CUT),
        ("cut later", 400, MULTIPART, CUT_BEHIND_A_FILE),
        ("long", 413, MULTIPART, TOO_MUCH),
        ("long", 413, URLENCODED, 3 * LARGE),
    ],
)
def test_files_of_answered_forms_are_closed(
    tmp_path: Path, kind: str, how: str, status: int, content: str, body: bytes
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            before = open_spools()
            target = f"/{kind}/{how.replace(' ', '_')}"
            for _ in range(3):
                if kind in ("parts", "aparts") and status != 200:
                    wire = await Wire.open(server.url)  # breaks off behind the first part
                    await wire.send(request(f"POST {target}", body, content))
                    assert b"size " in await wire.rest()
                    wire.close()
                else:
                    answer = await ask(server.url, "POST", target, body, Content_Type=content)
                    wanted = 200 if kind == "wsgi" and how != "raises" else status
                    assert answer[0] == wanted
            await all_closed(server, before)

    run(test())


def test_files_of_bodies_that_are_never_whole_are_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            before = open_spools()
            for end in (Wire.reset, Wire.close):
                wire = await Wire.open(server.url)
                head = "POST /form/read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                await wire.send(head.encode() + b"%x\r\n" % len(LARGE) + LARGE + b"\r\n")
                await until(lambda: open_spools() == before + 1)
                end(wire)
                await all_closed(server, before)

    run(test())


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("target", ["/wait", "/await"])
def test_files_of_who_leaves_before_the_answer_are_closed(
    tmp_path: Path, method: str, target: str
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, TimeLimits(half_closed=0.1)) as server:
            server.server.app.pool._max_threads = 1  # one is at work, two wait
            before = open_spools()
            wires = [await Wire.open(server.url) for _ in range(3)]
            for wire in wires:
                await wire.send(request(f"{method} {target}", GOOD, MULTIPART))
            await until(lambda: open_spools() == before + 3)
            await until(server.module.entered.is_set)
            for wire in wires:
                wire.reset()
            await until(lambda: not server.server.connections)
            server.module.release.set()
            await all_closed(server, before)

    run(test())


def test_file_of_who_leaves_before_a_part_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, TimeLimits(half_closed=0.1)) as server:
            before = open_spools()
            wire = await Wire.open(server.url)
            await wire.send(request("POST /late", GOOD, MULTIPART))
            await wire.reader.readuntil(b"begun")
            await until(server.module.entered.is_set)
            wire.reset()
            await until(lambda: not server.server.connections)
            server.module.release.set()
            await all_closed(server, before)

    run(test())


@pytest.mark.parametrize("fields", ["", "Connection: close\r\n"])
def test_file_of_who_leaves_as_the_answer_ends_is_closed(
    tmp_path: Path, fields: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, TimeLimits(half_closed=0.1)) as server:
            before = open_spools()
            wire = await Wire.open(server.url)
            await wire.send(request("POST /stubborn", GOOD, MULTIPART, fields))
            await wire.reader.readuntil(b"begun")
            wire.reset()
            await until(server.module.entered.is_set)
            await all_closed(server, before)

    run(test())
    gc.collect()  # what nobody has looked at is told then
    assert not caplog.messages


def test_file_of_a_body_that_a_rule_fails_at_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            before = open_spools()
            answer = await ask(server.url, "POST", "/checked", GOOD, Content_Type=MULTIPART)
            assert answer[0] == 422
            await all_closed(server, before)

    run(test())


POLLING = "EIO=4&transport=polling"
TO_WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    ("line", "fields", "status"),
    [
        (f"GET {SOCKET_IO}&transport=polling", "", 200),
        (f"GET {SOCKET_IO}&transport=websocket", TO_WEBSOCKET + KEY, 101),
        (f"GET /engine/?{POLLING}", "", 200),
        ("GET /raw", TO_WEBSOCKET + KEY, 101),
        (f"GET /engine/?{POLLING}&sid=nobody", "", 400),
        (f"POST /engine/?{POLLING}&sid=nobody", "", 400),
    ],
)
def test_body_of_a_request_for_a_socket_ends_with_its_answer(
    tmp_path: Path, line: str, fields: str, status: int
) -> None:
    """While its connection stays, and the session that it began."""

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            before = open_spools()
            wire = await Wire.open(server.url)
            await wire.send(request(line, LARGE, "text/plain", fields))
            assert (await wire.answer())[0] == status
            await until(lambda: open_spools() == before)
            wire.close()

    run(test())


def test_file_of_a_form_that_is_put_aside_outlives_its_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            before = open_spools()
            assert (await ask(server.url, "POST", "/keep", GOOD, Content_Type=MULTIPART))[0] == 204
            await server.empties()
            assert open_spools() == before + 1
            _, _, body = await ask(server.url, "GET", "/kept")
            said = b"a body on disk is gone once its request is answered"
            assert body == b'{"size": 400000, "file": 400000, "said": "%s"}' % said
            await ask(server.url, "GET", "/drop")
            await all_closed(server, before)

    run(test())


def test_request_of_a_connection_that_waits_for_another_is_let_go(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(request("POST /mark", LARGE[:200_000], "text/plain"))
            assert (await wire.answer())[0] == 204
            assert (await ask(server.url, "GET", "/marked"))[2] == b'{"kept": false}'
            wire.close()

    run(test())


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_iterator_of_an_answer_is_let_go(tmp_path: Path, kind: str) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET /marks/{kind} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await wire.rest()).endswith(b"4\r\nsome\r\n0\r\n\r\n")
            await server.empties()
            assert (await ask(server.url, "GET", "/marked"))[2] == b'{"kept": false}'

    run(test())
