"""The server over real TCP: HTTP connections, their limits, and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
import struct
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Serve
from wire import PATIENCE_S, Live, Wire, ask, live, run, until

from redbarrel_lite.app import App
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.gate import Gate
from redbarrel_lite.listener import Address
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.server import Server

RBR = """
    path page ( url /, use file:page.html );
    path take ( method POST|PUT, url /take, use python:MODULE.take, max-body 1000 );
    path slow ( url /slow/{name}, use python:MODULE.slow );
    path fail ( url /fail, use python:MODULE.fail );
"""
SOURCE = """
    import asyncio
    def take(request):
        return {"got": len(request.body)}
    async def slow(request):
        await asyncio.sleep(0.05)
        return request.match["name"]
    def fail(request):
        raise ValueError("the handler's own")
"""


def site(
    folder: Path, limits: TimeLimits | None = None
) -> contextlib.AbstractAsyncContextManager[Live]:
    (folder / "page.html").write_text("<h1>page</h1>")
    return live(folder, RBR, SOURCE, limits)


def test_connection_is_kept_for_further_requests(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            for _ in range(3):
                status, headers, body = await wire.ask("GET", "/")
                assert (status, body) == (200, b"<h1>page</h1>")
                assert headers["content-type"] == "text/html; charset=utf-8"
                assert "connection" not in headers
                assert "GMT" in headers["date"]
            wire.close()
            await server.empties()

    run(test())


def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            names = [str(number) for number in range(20)]
            await wire.send(
                "".join(f"GET /slow/{name} HTTP/1.1\r\nHost: a\r\n\r\n" for name in names[:10])
                + "".join(f"GET / HTTP/1.1\r\nHost: a\r\nX: {name}\r\n\r\n" for name in names)
            )
            for name in names[:10]:
                assert (await wire.answer())[2] == name.encode()
            for _ in names:
                assert (await wire.answer())[2] == b"<h1>page</h1>"
            wire.close()

    run(test())


def test_flood_of_pipelined_requests_pauses_reading(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            count = 3000
            await wire.send("GET /slow/a HTTP/1.1\r\nHost: a\r\n\r\n")
            page = f"GET / HTTP/1.1\r\nHost: a\r\nX: {'x' * 200}\r\n\r\n"
            sending = asyncio.create_task(wire.send(page * count))
            assert (await wire.answer())[2] == b"a"
            for _ in range(count):
                assert (await wire.answer())[0] == 200
            await sending
            wire.close()

    run(test())


def test_old_client_gets_its_answer_and_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET / HTTP/1.0\r\n\r\n")
            answer = await wire.rest()
            assert answer.endswith(b"<h1>page</h1>")
            assert b"\r\nconnection: close\r\n" in answer.lower()

    run(test())


def test_client_that_says_close_gets_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await wire.rest()).endswith(b"<h1>page</h1>")

    run(test())


def test_half_closed_client_gets_its_answer(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            for target, want in (("/", b"<h1>page</h1>"), ("/slow/x", b"\r\n\r\nx")):
                wire = await Wire.open(server.url)
                await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
                wire.writer.write_eof()
                assert (await wire.rest()).endswith(want)
            await server.empties()

    run(test())


def test_head_has_the_length_and_no_content(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            status, headers, body = await wire.ask("HEAD", "/")
            assert (status, headers["content-length"], body) == (200, "13", b"")
            assert (await wire.ask("GET", "/"))[2] == b"<h1>page</h1>"
            wire.close()

    run(test())


def test_unknown_url_and_method_get_an_answer_that_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            status, headers, body = await ask(server.url, "GET", "/nowhere")
            assert (status, body) == (404, b"404 no path of this server has this url\n")
            assert headers["content-type"] == "text/plain; charset=utf-8"
            status, headers, body = await ask(server.url, "DELETE", "/take")
            assert (status, headers["allow"]) == (405, "POST, PUT, OPTIONS")
            assert body == b"405 DELETE is not among POST, PUT, OPTIONS\n"
            assert (await ask(server.url, "TRACE", "/"))[0] == 405
            status, headers, body = await ask(server.url, "OPTIONS", "/")
            assert (status, headers["allow"], body) == (204, "GET, HEAD, OPTIONS", b"")
            assert "content-length" not in headers
            assert (await ask(server.url, "OPTIONS", "*"))[0] == 204

    run(test())


REFUSED = {
    "garbage": (b"\x16\x03\x01\x02\x00", 400),
    "HTTP/0.9": (b"GET /\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two lengths": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "long target": (b"GET /" + b"a" * 9000, 414),
    "long header": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "NUL in the path": (b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "path not UTF-8": (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tunnel": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("byte_by_byte", [False, True])
def test_bad_request_is_refused_and_nothing_after_it_is_read(
    tmp_path: Path, name: str, byte_by_byte: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data, status = REFUSED[name]

    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            for part in [data[i : i + 1] for i in range(len(data))] if byte_by_byte else [data]:
                wire.writer.write(part)
            wire.writer.write(b"GET /slow/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await wire.rest()
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert answer.count(b"content-length") == 1
            wire.close()
            await server.serves()
            await server.empties()

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    for record in caplog.records:
        assert "Traceback" not in record.getMessage()
        assert len(record.getMessage()) <= 500


def test_long_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
            status, headers, _ = await wire.answer()
            assert (status, headers["connection"]) == (413, "close")
            wire.close()
            chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
            head = b"POST /take HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            wire = await Wire.open(server.url)
            await wire.send(head + chunk + b"0\r\n\r\n")
            assert (await wire.answer())[2] == b'{"got": 1000}'
            await wire.send(head + chunk + chunk + chunk + b"0\r\n\r\n")
            assert (await wire.answer())[0] == 413
            assert await wire.rest() == b""

    run(test())


def test_answer_to_a_refused_upload_is_read_by_a_client_that_goes_on_sending(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
            wire.writer.write(b"x" * 60_000)
            assert (await wire.rest()).startswith(b"HTTP/1.1 404 ")
            with pytest.raises(ConnectionError):
                await wire.send(b"x" * 9_000_000)
            wire.close()
            await server.empties()

    run(test())


def test_client_that_asks_first_is_told_to_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            head = "POST /take HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            head += "Content-Length: {}\r\n\r\n"
            await wire.send(head.format(4))
            assert (await wire.answer())[0] == 100
            await wire.send("body")
            assert (await wire.answer())[2] == b'{"got": 4}'
            await wire.send(head.format(4000))
            assert (await wire.answer())[0] == 413
            wire.close()

    run(test())


def test_slow_head_and_body_time_out(tmp_path: Path) -> None:
    limits = TimeLimits(head=0.2, body=0.2, idle=0.2, linger=0.2)

    async def test() -> None:
        async with site(tmp_path, limits) as server:
            for start in (
                "GET / HT",
                "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
            ):
                wire = await Wire.open(server.url)
                await wire.send(start)
                assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")
                wire.close()
            wire = await Wire.open(server.url)
            answer = asyncio.create_task(wire.rest())
            for byte in b"GET / HTTP/1.1\r\nHost: " + b"a" * 10_000:
                wire.writer.write(bytes((byte,)))
                await asyncio.wait([answer], timeout=0.02)  # the slowness is what is tested
                if answer.done():
                    break
            assert answer.result().startswith(b"HTTP/1.1 408 ")
            wire.close()
            wire = await Wire.open(server.url)
            assert (await wire.ask("GET", "/"))[0] == 200
            assert await wire.rest() == b""  # idle: closed without a word
            await server.empties()

    run(test())


def test_client_that_goes_at_any_moment_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = b"POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

    async def test() -> None:
        async with site(tmp_path) as server:
            for cut in range(0, len(request) + 1, 7):
                wire = await Wire.open(server.url)
                await wire.send(request[:cut])
                wire.reset()
            wire = await Wire.open(server.url)
            await wire.send("GET /slow/x HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.reset()
            await server.empties()
            await server.serves()

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_client_that_goes_before_a_stream_begins_has_it_closed(tmp_path: Path) -> None:
    rbr = "path parts ( url /, use python:MODULE.parts );"
    source = """
        import asyncio
        ENTERED, RELEASE, ENDED = asyncio.Event(), asyncio.Event(), asyncio.Event()
        async def parts(request):
            try:
                ENTERED.set()
                await RELEASE.wait()
                yield "a"
            finally:
                ENDED.set()
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            use = server.server.app.homes[0].file.tree.paths[0].use
            assert use is not None
            module = sys.modules[use.target.partition(".")[0]]
            wire = await Wire.open(server.url)
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await module.ENTERED.wait()
            client = wire.writer.get_extra_info("socket")
            # With RST: an end alone may be that of one direction.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.reset()
            await server.empties()
            module.RELEASE.set()
            async with asyncio.timeout(PATIENCE_S):
                await module.ENDED.wait()

    run(test())


@pytest.mark.parametrize("kind", ["pipelined", "refused", "cut short"])
def test_client_that_sends_no_more_is_answered_all_that_it_asked(tmp_path: Path, kind: str) -> None:
    """More requests than are answered in one turn; a refusal that it would read on; and a part."""
    ask_for = "GET /slow/{} HTTP/1.1\r\nHost: a\r\n\r\n"
    post = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"

    async def test() -> None:
        async with site(tmp_path) as server:
            wire = await Wire.open(server.url)
            pages = "GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 50
            asked = ask_for.format(1) + pages + ask_for.format(2)
            rest = {"pipelined": "", "refused": post, "cut short": ask_for[:9]}[kind]
            await wire.send(asked + rest)
            wire.writer.write_eof()
            answers = await wire.rest()
            assert answers.count(b"HTTP/1.1 200 ") == 52
            assert answers.count(b"HTTP/1.1 404 ") == (kind == "refused")
            assert answers.count(b"HTTP/1.1") == 52 + (kind == "refused")
            await server.empties()

    run(test())


def test_failing_handler_is_a_500_and_a_traceback_of_its_own_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            status, _, body = await ask(server.url, "GET", "/fail")
            assert (status, b"own" in body) == (500, False)
            await server.serves()

    run(test())
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert "ValueError: the handler's own" in record.getMessage()
    assert "services.py" not in record.getMessage()


def test_header_with_a_line_break_is_a_500_and_injects_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rbr = "path go ( url /go, use python:MODULE.go );"
    source = """
        from redbarrel_lite import Response
        def go(request):
            return Response("", 302, [("location", request.GET["to"])])
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            status, headers, _ = await ask(server.url, "GET", "/go?to=/there")
            assert (status, headers["location"]) == (302, "/there")
            status, headers, _ = await ask(server.url, "GET", "/go?to=/%0d%0aset-cookie:%20a=b")
            assert status == 500
            assert "set-cookie" not in headers
            assert "location" not in headers

    run(test())
    assert "CR, LF, NUL" in caplog.text


def test_client_that_does_not_read_is_not_answered_further(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("x" * 50_000)
        async with live(tmp_path, "path page ( url /, use file:page.html );") as server:
            wire = await Wire.open(server.url)
            wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
            count = 2000
            sending = asyncio.create_task(wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" * count))
            (connection,) = server.server.connections
            assert isinstance(connection, HttpConnection)
            await until(lambda: connection._congestion.until is not None)
            await server.serves()
            transport = connection._transport
            assert transport is not None
            assert transport.get_write_buffer_size() < 10_000_000
            assert connection._http.buffered < 1_000_000
            wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(count):
                assert len((await wire.answer())[2]) == 50_000
            await sending

    run(test())


def test_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("x" * 1_000_000)
        rbr = "path page ( url /, use file:page.html );"
        async with live(tmp_path, rbr, limits=TimeLimits(idle=0.1, write=0.1)) as server:
            for count in (1, 100):
                wire = await Wire.open(server.url)
                wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
                await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" * count)
            await server.empties()

    run(test())


def test_client_that_pipelines_and_resets_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            for _ in range(20):
                wire = await Wire.open(server.url)
                wire.writer.write(b"GET /nope HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
                wire.reset()
            await server.empties()
            await server.serves()

    run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_requests_at_work_are_finished_at_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            busy, idle = await Wire.open(server.url), await Wire.open(server.url)
            assert (await idle.ask("GET", "/"))[0] == 200
            await busy.send("GET /slow/last HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(server.busy)
            await server.server.close(PATIENCE_S)
            status, headers, body = await busy.answer()
            assert (status, headers["connection"], body) == (200, "close", b"last")
            assert await idle.rest() == b""
            with pytest.raises(ConnectionError):
                await Wire.open(server.url)

    run(test())


def test_connection_too_many_is_turned_away_and_the_others_are_served(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path) as server:
            server.server.gate = Gate(max_connections=3)
            kept = [await Wire.open(server.url) for _ in range(3)]
            for wire in kept:
                assert (await wire.ask("GET", "/"))[0] == 200
            refused = await Wire.open(server.url)
            assert (await refused.rest()).startswith(b"HTTP/1.1 503 ")
            assert (await kept[0].ask("GET", "/"))[0] == 200
            kept[0].close()
            await until(lambda: len(server.server.connections) == 2)
            await server.serves()

    run(test())


def test_unix_socket_is_listened_on_and_left_alone_if_it_is_not_ours(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("page")
        (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as left:  # by a server that was killed
            left.bind(str(path))
        server = Server(App.load(tmp_path / "app.rbr"))
        assert await server.start(Address(uds=str(path))) == f"unix:{path}"
        wire = Wire(*await asyncio.open_unix_connection(path))
        assert (await wire.ask("GET", "/"))[2] == b"page"
        wire.close()
        with pytest.raises(OSError, match="in use"):
            await Server(App.load(tmp_path / "app.rbr")).start(Address(uds=str(path)))
        await server.close(1.0)
        assert not path.exists()
        with pytest.raises(FileExistsError):
            await Server(App.load(tmp_path / "app.rbr")).start(
                Address(uds=str(tmp_path / "page.html"))
            )
        assert (tmp_path / "page.html").read_text() == "page"

    run(test())


def test_unix_socket_that_another_server_has_replaced_stays(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("page")
        (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
        path = tmp_path / "s"
        server = Server(App.load(tmp_path / "app.rbr"))
        await server.start(Address(uds=str(path)))
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(tmp_path / "new"))
            (tmp_path / "new").rename(path)
            await server.close(1.0)
            assert path.is_socket()

    run(test())


def test_start_that_fails_leaves_no_unix_socket(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("page")
        (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
        server = Server(App.load(tmp_path / "app.rbr"))
        server.emits_on = str(tmp_path / "s")
        with pytest.raises(FileExistsError):
            await server.start(Address(uds=str(tmp_path / "page.html")))
        assert not (tmp_path / "s").exists()

    run(test())


def test_tls_is_spoken(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "page.html").write_text("page")
        (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(ROOT / "tests/tls/cert.pem", ROOT / "tests/tls/key.pem")
        server = Server(App.load(tmp_path / "app.rbr"))
        url = await server.start(Address(port=0, tls=tls))
        assert url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(ROOT / "tests/tls/cert.pem"))

        def get() -> bytes:
            with urllib.request.urlopen(url, timeout=PATIENCE_S, context=trusting) as page:
                content: bytes = page.read()
            return content

        assert await asyncio.to_thread(get) == b"page"
        await server.close(1.0)

    run(test())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_server_cleanly(serve: Serve, signum: signal.Signals) -> None:
    server = serve(ROOT / "examples/chat/chat.rbr")
    server.stop(signum)
    assert server.stderr == [
        "=> 'socket' hooked for SOCKETIO /socket.io/",
        "=> 'chat_html' hooked for GET /",
        f"Serving on {server.url}",
    ]


def test_threads_that_hang_do_not_keep_it_from_ending(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text(
        "import asyncio, threading\n"
        "async def wait(request):\n"
        "    await asyncio.to_thread(threading.Event().wait)\n"
    )
    (tmp_path / "hang.rbr").write_text("path p ( url /, use python:hang.wait );")
    server = serve(tmp_path / "hang.rbr", "--grace", "0.2")
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(urllib.error.HTTPError):  # answered behind the first one
            urllib.request.urlopen(server.url + "/nowhere", timeout=PATIENCE_S)
        server.stop()
    assert server.stderr[-1] == "Some threads have not ended: left behind."


def test_idle_threads_of_asyncio_are_no_trouble_at_the_end(serve: Serve, tmp_path: Path) -> None:
    """They are there once a name was looked up, or a handler has asked for one."""
    (tmp_path / "away.py").write_text(
        "import asyncio, atexit, sys\n"
        "atexit.register(print, 'at the end', file=sys.stderr)\n"
        "async def work(request):\n"
        "    return await asyncio.to_thread(str, 1)\n"
    )
    (tmp_path / "away.rbr").write_text("path p ( url /, use python:away.work );")
    server = serve(tmp_path / "away.rbr", "--log", "off")
    with urllib.request.urlopen(server.url, timeout=PATIENCE_S) as page:
        assert page.read() == b"1"
    server.stop()
    assert server.stderr[2:] == ["at the end"]


def with_few_descriptors(folder: Path) -> str:
    """A Python that may open forty files."""
    limited = folder / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 40\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o755)
    return str(limited)


def test_running_out_of_descriptors_is_one_line_and_passes(serve: Serve, tmp_path: Path) -> None:
    server = serve(ROOT / "examples/chat/chat.rbr", python=with_few_descriptors(tmp_path))
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
        server.wait_for_line("no connection can be accepted: Too many open files")
    with urllib.request.urlopen(server.url, timeout=PATIENCE_S) as page:
        assert page.status == 200
    assert len(server.stderr) < 10


def test_those_inside_are_served_while_no_descriptor_is_left(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "inside.py").write_text(
        "async def quick(request):\n    return 'quick'\n"
        "async def echo(request):\n"
        "    async for message in request.socketio:\n"
        "        await request.socketio.send(message[0])\n"
    )
    (tmp_path / "page.html").write_text("page")
    (tmp_path / "inside.rbr").write_text(
        "path quick ( url /quick, use python:inside.quick );"
        "path page ( url /, use file:page.html );"
        "path kept ( url /kept, method POST, use python:inside.quick );"
        "path echo ( method WEBSOCKET, use python:inside.echo );"
    )
    server = serve(tmp_path / "inside.rbr", python=with_few_descriptors(tmp_path))
    address = ("127.0.0.1", server.port)
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    with contextlib.ExitStack() as stack:
        http, ws = [
            stack.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(2)
        ]
        ws.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\n" + upgrade + key + b"\r\n")
        assert ws.recv(65536).startswith(b"HTTP/1.1 101 ")
        for _ in range(60):
            stack.enter_context(socket.create_connection(address, PATIENCE_S))
        server.wait_for_line("no connection can be accepted")
        for number in range(50):
            http.sendall(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
            assert http.recv(65536).endswith(b"quick"), number
            ws.sendall(b"\x81\x81\x00\x00\x00\x00x")
            assert ws.recv(65536) == b"\x81\x01x"
        http.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # a file has to be opened
        answer = http.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        http.sendall(b"POST /kept HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        http.sendall(bytes(300_000))  # so has one for a body that is too large for memory
        answer = http.recv(65536)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in answer
        server.wait_for_line("a body can't be kept on disk: Too many open files")
    with urllib.request.urlopen(server.url, timeout=PATIENCE_S) as page:
        assert page.read() == b"page"
    assert len(server.stderr) < 80  # a line for each answer, and but few besides


def test_server_without_descriptors_ends_cleanly(serve: Serve, tmp_path: Path) -> None:
    """asyncio would accept again, a second later, on what is closed by then."""
    (tmp_path / "slow.py").write_text(
        "import asyncio\nasync def slow(request):\n    await asyncio.sleep(1.2)\n"
    )
    (tmp_path / "slow.rbr").write_text("path p ( url /, use python:slow.slow );")
    server = serve(tmp_path / "slow.rbr", python=with_few_descriptors(tmp_path))
    with contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE_S))
            for _ in range(60)
        ]
        wires[0].sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for_line("no connection can be accepted")
        server.stop()
        assert wires[0].recv(65536).startswith(b"HTTP/1.1 204 ")


def test_second_signal_ends_it_at_once(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(
        "import threading\n"
        "async def wait(request):\n"
        "    import asyncio; await asyncio.Event().wait()\n"
    )
    (tmp_path / "stuck.rbr").write_text("path p ( url /, use python:stuck.wait );")
    server = serve(tmp_path / "stuck.rbr", "--grace", "60")
    address = ("127.0.0.1", server.port)
    with (
        socket.create_connection(address, PATIENCE_S) as client,
        socket.create_connection(address, PATIENCE_S) as idle,
    ):
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        idle.sendall(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 404")
        server.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""  # the first signal is obeyed
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == -signal.SIGTERM
    server.kill()
