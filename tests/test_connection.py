"""One connection: clients that send no more, answers that come too late, and the end.

A client that sends no more waits for its answer, or has gone: both look the same until
something is written to it. Where that must happen the time limit is a moment; where it must
not, it is longer than any test.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wire import (
    CERTIFICATE,
    PATIENCE_S,
    SOCKET_IO,
    Live,
    Poller,
    Wire,
    live,
    run,
    serving_tls,
    until,
)

from redbarrel_lite.accesslog import Entry
from redbarrel_lite.app import App
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.listener import Address
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.server import Server
from redbarrel_lite.upstream import Switch, Tunnel

RBR = """
    path wait ( url /wait, method GET|POST, use python:MODULE.wait );
    path ruled (
        url /ruled, use python:MODULE.wait, response-headers ( set X-Seen "yes" )
    );
    path blocks ( url /blocks, use python:MODULE.blocks );
    path stops ( url /stops, use python:MODULE.stops );
    path much ( url /much, use python:MODULE.much );
    path late ( method POST, url /late, use python:MODULE.late );
    path page (
        method POST, url /page, use python:MODULE.late, allow-origin "http://b", max-body 1
    );
    path large ( url /large, use python:MODULE.large );
    path file ( url /file, use file:large.bin );
    path sockets ( method SOCKETIO, use python:MODULE.listen );
    path guarded (
        method WEBSOCKET, url /ws, use python:MODULE.listen,
        request-headers ( unless Host validates with python:MODULE.let_in return 401 ),
        on disconnect use python:MODULE.left
    );
"""
SOURCE = """
    import asyncio, threading
    BEGUN, GO, ENDED = asyncio.Event(), asyncio.Event(), asyncio.Event()
    BLOCKED, UNBLOCK = threading.Event(), threading.Event()
    HOW = []

    async def wait(request):
        BEGUN.set()
        try:
            await GO.wait()
            HOW.append("done")
        except asyncio.CancelledError:
            HOW.append("cancelled")
            raise
        finally:
            ENDED.set()
        return "the answer"

    def blocks(request):
        BLOCKED.set()
        UNBLOCK.wait()
        raise ValueError("nobody hears of it but the log")

    async def stops(request):
        try:
            yield "a part"
            BEGUN.set()
            await GO.wait()
            HOW.append("done")
        except asyncio.CancelledError:
            HOW.append("cancelled")
            raise
        finally:
            ENDED.set()

    async def late(request):
        BEGUN.set()
        await GO.wait()
        try:
            yield "a part"
        finally:
            ENDED.set()

    async def large(request):
        return "x" * 10_000_000

    async def let_in(value):
        BEGUN.set()
        await GO.wait()

    async def listen(request):
        async for message in request.socketio:
            pass

    async def left(request):
        HOW.append("left")
        ENDED.set()

    async def much(request):
        for _ in range(100):
            yield "x" * 100_000
"""
SOON = TimeLimits(half_closed=0.02)
NEVER = TimeLimits(half_closed=1000.0)


@contextlib.asynccontextmanager
async def site(
    folder: Path, limits: TimeLimits, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Live]:
    with (folder / "large.bin").open("wb") as file:
        file.truncate(10_000_000)
    async with live(folder, RBR, SOURCE, limits, tls=tls) as server:
        yield server


def request(target: str, method: str = "GET", version: str = "1.1") -> str:
    return f"{method} {target} HTTP/{version}\r\nHost: a\r\n\r\n"


async def ask(server: Live, data: str) -> Wire:
    """A client whose request is at work, in a handler that waits."""
    wire = await Wire.open(server.url)
    await wire.send(data)
    async with asyncio.timeout(PATIENCE_S):
        await server.module.BEGUN.wait()
    return wire


async def end_of(server: Live) -> str:
    """How that handler has ended, once it has."""
    async with asyncio.timeout(PATIENCE_S):
        await server.module.ENDED.wait()
    how: str = server.module.HOW[-1]
    return how


def connection_of(server: Live) -> HttpConnection:
    (connection,) = server.server.connections
    assert isinstance(connection, HttpConnection)
    return connection


def with_reset(wire: Wire) -> None:
    """Go in a way that is seen at once."""
    client = wire.writer.get_extra_info("socket")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.reset()


# -- who waits ---------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/wait", "/ruled"])
def test_client_that_sends_no_more_is_asked_to_wait_until_its_answer_is_there(
    tmp_path: Path, target: str
) -> None:
    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await ask(server, request(target))
            wire.writer.write_eof()
            for _ in range(3):
                assert (await wire.answer())[:2] == (100, {})
            server.module.GO.set()
            while (told := await wire.answer())[0] == 100:
                pass
            assert (told[0], told[1]["connection"], told[2]) == (200, "close", b"the answer")
            assert await wire.rest() == b""
            await server.empties()

    run(test())


def test_each_request_that_came_before_the_end_is_waited_for(tmp_path: Path) -> None:
    """The second one is begun when nothing is to be read any more."""

    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await ask(server, request("/wait") + request("/nowhere") + request("/stops"))
            wire.writer.write_eof()
            assert (await wire.answer())[0] == 100
            server.module.BEGUN.clear()
            server.module.GO.set()
            rest = await wire.rest()
            assert b"the answer" in rest
            assert b" 404 Not Found" in rest
            assert rest.endswith(b"6\r\na part\r\n0\r\n\r\n")

    run(test())


def test_second_request_that_takes_long_is_waited_for_as_well(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await Wire.open(server.url)
            await wire.send(request("/nowhere") + request("/much") + request("/wait"))
            wire.writer.write_eof()
            assert (await wire.answer())[0] == 404
            await wire.reader.readuntil(b"0\r\n\r\n")
            assert (await wire.answer())[0] == 100
            server.module.GO.set()
            assert (await wire.rest()).endswith(b"the answer")

    run(test())


@pytest.mark.parametrize("target", ["/much", "/file"])
def test_client_that_reads_slowly_gets_it_all(tmp_path: Path, target: str) -> None:
    """While there is something to be read, the silence is the client's."""

    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send(request(target))
            wire.writer.write_eof()
            loop = asyncio.get_running_loop()
            await until(lambda: connection_of(server)._eof)
            late = loop.time() + 5 * SOON.half_closed
            await until(lambda: loop.time() > late)
            assert connection_of(server).busy
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await wire.rest()) > 10_000_000

    run(test())


# -- who has gone ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/wait"), ("HEAD", "/wait"), ("GET", "/ruled"), ("GET", "/stops")],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_has_gone_ends_what_it_has_asked_for(
    tmp_path: Path, target: str, method: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with site(tmp_path, SOON if how == "close" else NEVER) as server:
            wire = await ask(server, request(target, method))
            if how == "close":
                wire.close()
            else:
                with_reset(wire)
            assert await end_of(server) == "cancelled"
            await server.empties()
            await until(lambda: not server.server._tasks)

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [one for one in caplog.records if one.levelno > logging.INFO]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_what_changes_something_goes_on_to_its_end(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with site(tmp_path, SOON if how == "close" else NEVER) as server:
            wire = await ask(server, request("/wait", "POST"))
            if how == "close":
                wire.close()
            else:
                with_reset(wire)
            await server.empties()
            server.module.GO.set()
            assert await end_of(server) == "done"

    run(test())


def test_failure_in_a_thread_is_told_though_its_client_has_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(request("/blocks"))
            await until(server.busy)
            await until(server.module.BLOCKED.is_set)
            with_reset(wire)
            await server.empties()
            server.module.UNBLOCK.set()
            await until(lambda: not server.server._tasks)

    run(test())
    assert "nobody hears of it but the log" in caplog.text


def test_old_client_can_not_be_asked_to_wait(tmp_path: Path) -> None:
    """HTTP/1.0 has no 100: it would take it for its answer (RFC 9110 15.2)."""

    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await ask(server, request("/wait", version="1.0"))
            wire.writer.write_eof()
            assert await wire.rest() == b""
            assert await end_of(server) == "cancelled"

    run(test())


def test_silence_amid_an_answer_is_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, SOON) as server:
            wire = await ask(server, request("/stops"))
            wire.writer.write_eof()
            assert (await wire.rest()).endswith(b"\r\n\r\n6\r\na part\r\n")
            assert await end_of(server) == "cancelled"
            await server.empties()

    run(test())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system doesn't tell")
def test_client_that_has_gone_from_a_unix_socket_is_missed_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            behind = Server(App.load(tmp_path / "app.rbr"), NEVER)
            path = str(tmp_path / "s")
            await behind.start(Address(uds=path))
            wire = Wire(*await asyncio.open_unix_connection(path))
            await wire.send(request("/wait"))
            await server.module.BEGUN.wait()
            wire.writer.write_eof()  # half of it is no reason
            await until(lambda: all(c._eof for c in behind.connections))  # type: ignore[union-attr]
            assert len(behind.connections) == 1
            wire.close()
            wire = Wire(*await asyncio.open_unix_connection(path))
            await wire.send(request("/stops"))
            await wire.reader.readuntil(b"a part")
            wire.close()
            assert await end_of(server) == "cancelled"
            await behind.close(0.1)

    run(test())


def test_poll_is_no_work_to_finish(tmp_path: Path) -> None:
    """Nobody is there to poll on: the session ends, and does not wait for its next ping."""

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            for first in ("", request("/wait")):
                poller = Poller(server.url)
                await poller.handshake()
                wire = await Wire.open(server.url)
                await wire.send(first + request(poller.target))
                await until(server.busy)
                assert connection_of(server).is_for_socket == (not first)
                wire.writer.write_eof()
                if first:
                    await until(lambda: connection_of(server)._eof)
                    server.module.GO.set()
                assert (await wire.rest()).count(b"HTTP/1.1") == bool(first)
                await server.empties()

    run(test())


# -- what comes too late -----------------------------------------------------------------


def test_stream_that_comes_too_late_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await ask(server, request("/late", "POST"))
            with_reset(wire)
            await server.empties()
            server.module.GO.set()
            async with asyncio.timeout(PATIENCE_S):
                await server.module.ENDED.wait()

    run(test())


def test_switch_that_comes_too_late_lets_go_of_the_other_side(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            upstream = await Wire.open(server.url)
            other, tunnel = Tunnel(), Tunnel()
            other.transport, tunnel.other = upstream.writer.transport, other  # type: ignore[assignment]
            await until(lambda: len(server.server.connections) == 1)
            connection_of(server).respond(Switch([], tunnel))
            assert upstream.writer.transport.is_closing()
            await server.empties()

    run(test())


def test_fault_behind_an_answer_gets_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            head = "POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await wire.send(head + "nonsense\r\n")
            assert (await wire.rest()).count(b"HTTP/1.1") == 1

    run(test())


def test_what_comes_behind_the_last_request_is_not_read(tmp_path: Path) -> None:
    """asyncio reads no more then, but for TLS, whose layer may have some of it already."""

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: len(server.server.connections) == 1)
            connection = connection_of(server)
            await wire.answer()
            connection.data_received(request("/nowhere").encode())
            assert await wire.rest() == b""

    run(test())


def test_what_is_no_request_is_not_in_the_access_log(tmp_path: Path) -> None:
    entries: list[Entry] = []

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            server.server.access = entries.append
            for data in ("garbage\r\n\r\n", request("/nowhere")):
                wire = await Wire.open(server.url)
                await wire.send(data)
                assert (await wire.answer())[0] in (400, 404)

    run(test())
    assert [entry.status for entry in entries] == [404]


def test_access_log_has_the_size_of_what_was_sent(tmp_path: Path) -> None:
    entries: list[Entry] = []

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            server.server.access = entries.append
            server.module.GO.set()
            for method, target in (("GET", "/stops"), ("GET", "/wait"), ("HEAD", "/wait")):
                wire = await Wire.open(server.url)
                await wire.send(request(target, method, "1.0"))
                await wire.rest()

    run(test())
    assert [entry.size for entry in entries] == [len("a part"), len("the answer"), 0]


@pytest.mark.parametrize("is_async", [False, True])
def test_page_of_ours_that_fails_is_an_answer_and_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    def fail(_request: Request) -> Response:
        raise ValueError("a fault of ours")

    async def fail_later(request: Request) -> Response:
        return fail(request)

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            (target,) = (one for url, one in server.server.app.targets() if url == "/__doc__")
            object.__setattr__(target, "service", fail_later if is_async else fail)
            wire = await Wire.open(server.url)
            for path, status in (("/__doc__", 500), ("/__health__", 200)):
                await wire.send(request(path))
                assert (await wire.answer())[0] == status

    run(test())
    (record,) = caplog.records
    assert record.getMessage() == "GET '/__doc__' failed:"
    assert "a fault of ours" in caplog.text


def test_page_of_another_origin_may_read_why_its_body_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            status, headers, _ = await wire.ask("POST", "/page", b"too long", Origin="http://b")
            assert (status, headers["access-control-allow-origin"]) == (413, "http://b")

    run(test())


# -- the end -----------------------------------------------------------------------------


def test_last_answer_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, TimeLimits(write=0.05)) as server:
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: len(server.server.connections) == 1)
            await server.empties()

    run(test())


def test_last_answer_behind_one_that_was_read_late_ends_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio would close a second time what is closed while it says that all is out."""

    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(request("/nowhere"))
            assert (await wire.answer())[0] == 404
            transport = connection_of(server)._transport
            assert transport is not None
            transport.set_write_buffer_limits(0)
            last = "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            await wire.send(request("/large") + last)
            assert len((await wire.answer())[2]) == 10_000_000
            assert (await wire.answer())[0] == 404
            assert await wire.rest() == b""
            await server.empties()

    run(test())
    assert not caplog.records


def test_upgrade_that_came_before_the_end_of_a_client_is_an_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            upgrade = request(f"{SOCKET_IO}&transport=websocket").removesuffix("\r\n")
            fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            fields += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            wire = await ask(server, request("/wait") + upgrade + fields)
            wire.writer.write_eof()
            server.module.GO.set()
            assert (await wire.answer())[2] == b"the answer"
            assert (await wire.rest()).startswith(b"HTTP/1.1 101 ")
            await server.empties()

    run(test())
    assert not caplog.records


def test_end_of_the_server_leaves_nobody_without_a_word(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            amid = await ask(server, request("/stops"))
            closing = await Wire.open(server.url)
            closing.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await closing.send("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            server.module.BEGUN.clear()
            waits = await ask(server, request("/wait"))
            await server.server.close(0.1)
            assert (await waits.answer())[0] == 503
            assert (await amid.rest()).endswith(b"a part\r\n")
            await server.empties()

    run(test())


def test_socket_that_is_let_in_when_its_connection_has_ended_ends_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with site(tmp_path, NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(
                "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            async with asyncio.timeout(PATIENCE_S):
                await server.module.BEGUN.wait()
            connection_of(server).give_up()
            assert (await wire.answer())[0] == 503
            server.module.GO.set()
            assert await end_of(server) == "left"
            await server.empties()

    run(test())


# -- over TLS ----------------------------------------------------------------------------


class TlsClient:
    """A client that can say that nothing more comes, and read on, as asyncio's can't."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")

    async def shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._in.write(await self._wire.reader.read(65536))
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        await self._wire.send(self._out.read())

    async def send(self, data: str) -> None:
        self._tls.write(data.encode())
        await self._flush()

    async def say_goodbye(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        await self._flush()


def test_end_of_a_client_over_tls_is_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio closes then, whatever it is asked for; and would say that it does."""

    async def test() -> None:
        async with site(tmp_path, NEVER, serving_tls()) as server:
            wire = await Wire.open(server.url.replace("https", "http"))
            client = TlsClient(wire)
            await client.shake_hands()
            await client.send(request("/wait"))
            await server.module.BEGUN.wait()
            await client.say_goodbye()
            assert await end_of(server) == "cancelled"
            await server.empties()
            assert await wire.reader.read(1) != b""  # its own farewell, and then the end
            await wire.rest()

    run(test())
    assert not caplog.records
