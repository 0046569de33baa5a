"""`wsgi:` over real sockets: every habit that PEP 3333 allows, and some that it does not."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from wire import PATIENCE_S, Wire, ask, live, run, socketio, until

from redbarrel_lite import testing
from redbarrel_lite.errors import RbrError
from redbarrel_lite.mesh import Seat
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.request import Request
from redbarrel_lite.upstream import Upstream
from redbarrel_lite.wsgi import Answer

RBR = """
    path demo ( url /demo, use wsgi:MODULE.checked_demo );
    path seen ( url /seen/{rest:.*}, use wsgi:MODULE.seen );
    path only ( method GET, url /only, use wsgi:MODULE.seen );
    path odd ( url /odd, use wsgi:MODULE.odd );
    path sent ( url /ruled, use wsgi:MODULE.seen, response-headers ( set X-Seen "yes" ) );
    path doubled ( method POST|PUT, url /doubled, use wsgi:MODULE.seen,
        request-body ( alter with python:MODULE.double ) );
    path late ( url /late, use wsgi:MODULE.late );
    path nothing ( url /nothing, use wsgi:MODULE.late_and_empty );
    path socket ( method SOCKETIO, use python:MODULE.listen );
    path all ( url /, use wsgi:MODULE.seen );
"""
SOURCE = """
    import io, json, sys, threading
    from wsgiref.simple_server import demo_app
    from wsgiref.validate import validator

    checked_demo = validator(demo_app)
    closed = []
    entered, going = threading.Event(), threading.Event()

    def listen(request):
        for message in request.socketio:
            pass

    def described(environ, start_response):
        shown = {k: v for k, v in environ.items() if isinstance(v, (str, bool, tuple))}
        shown["body"] = environ["wsgi.input"].read(1000).decode("latin-1")
        environ["wsgi.errors"].write("told to stderr")
        shown["thread"] = threading.current_thread().name
        environ["redbarrel.server"].broadcast("seen " + environ["PATH_INFO"])
        body = json.dumps(shown).encode()
        size = str(len(body))
        kind = ("Content-Type", "application/json")
        start_response("200 OK", [kind, ("Content-Length", size)])
        return [body]
    seen = validator(described)

    def double(body):
        return body * 2

    def late(environ, start_response):
        try:
            entered.set()
            going.wait()
            start_response("200 OK", [])
            yield b"for nobody"
        finally:
            closed.append("late")

    def late_and_empty(environ, start_response):
        entered.set()
        going.wait()
        start_response("200 OK", [])
        return Parts([])

    class Parts:
        def __init__(self, parts):
            self.parts = iter(parts)
        def __iter__(self):
            return self
        def __next__(self):
            return next(self.parts)
        def close(self):
            closed.append(threading.current_thread().name)

    def plain(start, *headers, status="200 OK"):
        return start(status, [("Content-Type", "text/plain"), *headers])

    def parts(environ, start):
        plain(start)
        return Parts([b"one", b"", b"two"])

    def lazily(environ, start):
        plain(start, ("Content-Length", "3"))
        yield b""
        yield b"abc"

    def in_the_iterator(environ, start):
        yield b""
        plain(start, status="202 Later")
        yield b"late"

    def writing(environ, start):
        write = plain(start)
        write(b"by write, ")
        return [b"by list"]

    def nothing(environ, start):
        plain(start, status="304 Not Modified")
        return []

    def headers(environ, start):
        plain(start, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Date", "then"))
        return [environ.get("HTTP_COOKIE", "none").encode(), environ.get("HTTP_PROXY", "").encode()]

    def at_once(environ, start):
        raise ValueError("at once")

    def changed(environ, start):
        plain(start)
        try:
            raise ValueError("before the first byte")
        except ValueError:
            plain_error = start("500 Own", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"its own error"]

    def too_late(environ, start):
        write = plain(start)
        write(b"begun")
        try:
            raise ValueError("after the first byte")
        except ValueError:
            start("500 Own", [], sys.exc_info())

    def breaks(environ, start):
        plain(start)
        def made():
            yield b"begun"
            raise ValueError("in the middle")
        return Parts(made())

    def twice(environ, start):
        plain(start)
        plain(start)

    def silent(environ, start):
        return [b"x"]

    def silent_and_empty(environ, start):
        return []

    def bad_status(environ, start):
        start("100 Continue", [])

    def bad_header(environ, start):
        plain(start, ("X", "a" + chr(13) + chr(10) + "b: c"))

    def text(environ, start):
        plain(start)
        return ["text"]

    def no_list(environ, start):
        plain(start)
        return b"bytes"

    def bad_name(environ, start):
        plain(start, ("Content-Length ", "5"))

    def exits(environ, start):
        sys.exit(3)

    def too_long(environ, start):
        plain(start, ("Content-Length", "3"))
        return [b"abcdef"]

    def too_short(environ, start):
        plain(start, ("Content-Length", "9"))
        return [b"abcdef"]

    def endless(environ, start):
        plain(start)
        def made():
            while True:
                made_bytes.append(100_000)
                yield bytes(100_000)
        return Parts(made())
    made_bytes = []

    def waiting(environ, start):
        plain(start)
        def made():
            yield b"begun"
            going.wait(30)
            yield b", ended"
        return Parts(made())

    def odd(environ, start):
        return globals()[environ["PATH_INFO"][1:]](environ, start)
"""


def described(body: bytes) -> dict[str, str]:
    seen: dict[str, str] = json.loads(body)
    return seen


def test_demo_of_the_standard_library_runs_and_is_valid(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            status, headers, _ = await ask(server.url, "HEAD", "/demo")
            assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
            wire = await Wire.open(server.url)
            await wire.send("GET /demo/x?y=1 HTTP/1.0\r\n\r\n")
            body = (await wire.rest()).decode()
            assert "Hello world!" in body
            assert "PATH_INFO = '/x'" in body
            assert "QUERY_STRING = 'y=1'" in body

    run(test())


@pytest.mark.parametrize(
    ("target", "script_name", "path_info"),
    [
        ("/seen/", "/seen", "/"),
        ("/seen/a/b", "/seen", "/a/b"),
        ("/seen/a%2Fb%20c", "/seen", "/a/b c"),
        ("/seen/%C3%A9", "/seen", "/\xc3\xa9"),
        ("/", "", "/"),
        ("/elsewhere", "", "/elsewhere"),
        ("/only", "/only", ""),
    ],
)
def test_path_is_parted_at_the_mount(
    tmp_path: Path, target: str, script_name: str, path_info: str
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            seen = described((await ask(server.url, "GET", target))[2])
            assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == (script_name, path_info)

    run(test())


def test_environ_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(
                "POST /seen/a?b=%20c HTTP/1.1\r\nHost: h:81\r\nContent-Type: text/x\r\n"
                "Content-Length: 5\r\nX-Own: 1\r\nX-Own: 2\r\n"
                "X_Own: lie\r\nProxy: evil\r\n\r\nhello"
            )
            seen = described((await wire.answer())[2])
            assert seen["thread"] == "service"
            for name in ("wsgi.multithread", "wsgi.input_terminated"):
                assert seen.pop(name) is True, name  # type: ignore[comparison-overlap]
            expected = {
                "REQUEST_METHOD": "POST",
                "SCRIPT_NAME": "/seen",
                "PATH_INFO": "/a",
                "QUERY_STRING": "b=%20c",
                "CONTENT_TYPE": "text/x",
                "CONTENT_LENGTH": "5",
                "SERVER_NAME": "h",
                "SERVER_PORT": "81",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "HTTP_HOST": "h:81",
                "HTTP_X_OWN": "1, 2",
                "wsgi.url_scheme": "http",
                "wsgi.version": [1, 0],
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
                "body": "hello",
                "thread": "service",
            }
            assert seen == expected
            assert "told to stderr" in capsys.readouterr().err

    run(test())


def test_chunked_body_has_its_length(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send("PUT /seen/a HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
            seen = described((await wire.rest()).partition(b"\r\n\r\n")[2])
            assert (seen["body"], seen["SERVER_PROTOCOL"]) == ("hi", "HTTP/1.0")
            wire = await Wire.open(server.url)
            await wire.send(
                "PUT /seen/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            )
            seen = described((await wire.answer())[2])
            assert (seen["body"], seen["CONTENT_LENGTH"]) == ("abcde", "5")
            assert "HTTP_TRANSFER_ENCODING" not in seen

    run(test())


def test_application_in_a_worker_knows_that_there_are_others(tmp_path: Path) -> None:
    async def test() -> None:
        # The folder of pytest has a name that is too long for a socket.
        with tempfile.TemporaryDirectory() as doors, socket.socket(socket.AF_UNIX) as door:
            door.bind(f"{doors}/0")
            door.listen()
            seat = Seat(0, 1, Path(doors), door)
            async with live(tmp_path, RBR, SOURCE, seat=seat) as server:
                seen = described((await ask(server.url, "GET", "/seen/a"))[2])
                assert seen["wsgi.multiprocess"] is True  # type: ignore[comparison-overlap]

    run(test())


def test_altered_body_is_read_to_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            seen = described((await ask(server.url, "POST", "/doubled", b"hello"))[2])
            assert (seen["body"], seen["CONTENT_LENGTH"]) == ("hellohello", "10")

    run(test())


@pytest.mark.parametrize(
    ("name", "status", "content"),
    [
        ("parts", 200, b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"),
        ("lazily", 200, b"abc"),
        ("in_the_iterator", 202, b"4\r\nlate\r\n0\r\n\r\n"),
        ("writing", 200, b"a\r\nby write, \r\n7\r\nby list\r\n0\r\n\r\n"),
        ("nothing", 304, b""),
        ("changed", 500, b"d\r\nits own error\r\n0\r\n\r\n"),
    ],
)
def test_every_way_to_answer_is_understood(
    tmp_path: Path, name: str, status: int, content: bytes
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET /odd/{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
            assert head.startswith(f"HTTP/1.1 {status} ".encode())
            assert body == content

    run(test())


def test_headers_go_both_ways(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(
                "GET /odd/headers HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n"
                "Proxy: evil\r\nConnection: close\r\n\r\n"
            )
            answer = await wire.rest()
            assert b"set-cookie: a=1\r\nset-cookie: b=2\r\ndate: then\r\n" in answer
            assert b"a=1; b=2" in answer
            assert b"evil" not in answer

    run(test())


@pytest.mark.parametrize(
    "name",
    [
        "at_once",
        "twice",
        "silent",
        "silent_and_empty",
        "bad_status",
        "bad_header",
        "bad_name",
        "exits",
        "text",
        "no_list",
    ],
)
def test_application_that_fails_before_its_first_byte_is_a_500(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            assert (await wire.ask("GET", f"/odd/{name}"))[0] == 500
            assert (await wire.ask("GET", "/odd/lazily"))[0] == 200

    run(test())
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"GET '/odd/{name}' failed:" in record.getMessage()


@pytest.mark.parametrize("name", ["too_late", "breaks", "too_long", "too_short"])
def test_application_that_fails_later_breaks_the_answer_off(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET /odd/{name} HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await wire.rest()
            assert not answer.endswith(b"0\r\n\r\n")
            assert b"abcdef" not in answer or name == "too_short"
            assert (await ask(server.url, "GET", "/odd/lazily"))[2] == b"abc"

    run(test())
    assert "broke off" in caplog.text


def test_parts_go_out_as_they_are_made_and_close_is_called(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            module = module_in(tmp_path)
            wire = await Wire.open(server.url)
            await wire.send("GET /odd/waiting HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200")
            assert module["closed"] == []
            module["going"].set()
            await wire.reader.readuntil(b", ended\r\n0\r\n\r\n")
            await until(lambda: module["closed"] == ["service"])
            await wire.send("GET /odd/breaks HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.rest()
            await until(lambda: module["closed"] == ["service"] * 2)

    run(test())


def module_in(folder: Path) -> dict[str, Any]:
    """The globals of the application that the test wrote."""
    (file,) = folder.glob("module_of_test_*.py")
    return vars(sys.modules[file.stem])


@pytest.mark.parametrize("leave", [True, False])
def test_slow_client_holds_its_thread_and_one_that_goes_lets_it_go(
    tmp_path: Path, leave: bool
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, TimeLimits(write=0.3)) as server:
            module = module_in(tmp_path)
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send("GET /odd/endless HTTP/1.1\r\nHost: a\r\n\r\n")
            made = module["made_bytes"]
            await until(lambda: bool(made))
            if leave:
                wire.reset()
            async with asyncio.timeout(PATIENCE_S):
                await until(lambda: module["closed"] == ["service"])
            assert sum(made) < 24_000_000

    run(test())


@pytest.mark.parametrize("target", ["/late", "/nothing"])
def test_application_that_begins_its_answer_behind_the_end_is_let_go(
    tmp_path: Path, target: str
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            module = module_in(tmp_path)
            wire = await Wire.open(server.url)
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.to_thread(module["entered"].wait, PATIENCE_S)
            await server.server.close(0.1)
            assert (await wire.answer())[0] == 503
            module["going"].set()
            await until(lambda: len(module["closed"]) == 1)
            assert await wire.rest() == b""

    run(test())


def test_application_may_outlive_the_loop() -> None:
    """Its thread is left behind by a process that ends, and says nothing of it."""
    loop = asyncio.new_event_loop()
    answer = Answer(loop)
    loop.close()
    answer.start_response("200 OK", [])(b"for nobody")


def test_more_requests_than_threads_wait_and_then_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.app.pool._max_threads = 1
            server.server.app.pool._max_waiting = 1
            module = module_in(tmp_path)
            wires = [await Wire.open(server.url) for _ in range(2)]
            for wire in wires:
                await wire.send("GET /odd/waiting HTTP/1.1\r\nHost: a\r\n\r\n")
            await wires[0].reader.readuntil(b"begun")
            await until(lambda: server.server.app.pool._busy == 2)
            status, headers, _ = await ask(server.url, "GET", "/odd/lazily")
            assert (status, headers["retry-after"]) == (503, "1")
            module["going"].set()
            for wire in wires:
                await wire.reader.readuntil(b"0\r\n\r\n")

    run(test())


def test_application_has_the_sockets_of_its_file_and_their_paths_come_first(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            client = await socketio(server.url)
            seen = described((await ask(server.url, "POST", "/seen/x"))[2])
            assert seen["PATH_INFO"] == "/x"
            assert await client.read() == '42["message","seen /x"]'
            client.close()

    run(test())


def test_methods_and_rules_are_the_path_s(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            seen = described((await ask(server.url, "DELETE", "/only"))[2])
            assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("", "/only")  # of the next path
            assert (await ask(server.url, "GET", "/ruled"))[1]["x-seen"] == "yes"

    run(test())


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("MODULE.nothing_there", "has no 'nothing_there'"),
        ("MODULE.text", "is no WSGI application but of type str"),
    ],
)
def test_application_that_is_none_is_refused_at_the_start(
    tmp_path: Path, use: str, message: str
) -> None:
    async def test() -> None:
        rbr = f"path a ( url /, use wsgi:{use} );"
        with pytest.raises(RbrError, match=message):
            async with live(tmp_path, rbr, "text = 'x'"):
                pass

    run(test())


# -- docs/proxy.md -----------------------------------------------------------------------

PAGE = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8")
LISTINGS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_listing_of_the_page_counts_before_the_eyes_of_all(tmp_path: Path) -> None:
    (rbr,) = [code for kind, code in LISTINGS if kind == "rbr" and "wsgi:" in code]
    (source,) = [code for kind, code in LISTINGS if kind == "python"]
    (tmp_path / "counter.rbr").write_text(rbr)
    (tmp_path / "counter.py").write_text(source)
    with testing.client(tmp_path / "counter.rbr") as client, client.socket() as page:
        for count in (1, 2):
            assert client.get("/").text == f"visit {count}\n"
            assert page.recv() == [count]


def rows() -> list[list[str]]:
    table = PAGE.partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


@pytest.mark.parametrize(("path", "request_", "asked", "got"), rows())
def test_table_of_the_page_says_where_requests_go(
    tmp_path: Path, path: str, request_: str, asked: str, got: str
) -> None:
    def plain(cell: str) -> list[str]:
        return cell.replace("empty", "``").split("`")[1::2]

    async def test() -> None:
        (url,), (target,) = plain(path), plain(request_)
        rbr = "path s ( method SOCKETIO, use python:MODULE.listen );"
        rbr += f"path a ( {url}, use wsgi:MODULE.seen );"
        async with live(tmp_path, rbr, SOURCE) as server:
            seen = described((await ask(server.url, "GET", target))[2])
            assert [seen["SCRIPT_NAME"], seen["PATH_INFO"]] == plain(got)
        made: list[Upstream] = []

        def proxy(address: str, mount: str) -> Upstream:
            made.append(Upstream("http://h:81/base", mount))
            return made[-1]

        (tmp_path / "other").mkdir()
        rbr = f"path a ( {url}, use proxy:http://h:81/base );"
        async with live(tmp_path / "other", rbr, proxy=proxy):
            assert [made[0].target(Request("GET", target, []))] == plain(asked)

    run(test())
