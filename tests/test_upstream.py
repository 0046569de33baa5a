"""`proxy:` over real sockets: an upstream that records what it got, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from segments import segmentations
from test_http1 import VECTORS
from wire import PATIENCE_S, Live, WebSocket, Wire, ask, live, run, until

from redbarrel_lite import http1, http1_client, wsproto_handshake
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.errors import AppError, RbrError
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.request import Request
from redbarrel_lite.upstream import (
    MAX_HOPS,
    VIA_NAME,
    Address,
    Upstream,
    UpstreamConnection,
    UpstreamLimits,
    _why,
    request_fields,
    response_fields,
)

RBR = """
    path all ( url /up, use proxy:http://ADDRESS/base, max-body 100000000 );
    path small ( url /small/{rest:.*}, use proxy:http://ADDRESS, max-body 1000 );
    path ruled (
        url /ruled, use proxy:http://ADDRESS,
        request-body ( unless type is json return 400 ),
        response-headers ( set X-Seen "yes" )
    );
    path headed ( url /headed, use proxy:http://ADDRESS, response-headers ( set X-Seen "yes" ) );
    path read (
        url /read, use proxy:http://ADDRESS, response-body ( unless type is json return 503 )
    );
    path cors ( url /cors, use proxy:http://ADDRESS, allow-origin "http://b" );
    path root ( url /, use proxy:http://ADDRESS );
"""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = UpstreamLimits(connect=0.5, answer=0.2, idle=0.2)


class Recorder:
    """An upstream: keeps the bytes of each connection, and answers the head of a request."""

    def __init__(self, pieces: list[bytes], *, close: bool = True) -> None:
        self.pieces = pieces
        self.close = close
        self.got: list[bytearray] = []
        self.wires: list[Wire] = []
        self.gone = asyncio.Event()  # a connection has ended
        self.asked = asyncio.Event()  # a head has come

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = bytearray()
        self.got.append(got)
        self.wires.append(Wire(reader, writer))
        try:
            while b"\r\n\r\n" not in got:
                part = await reader.read(65536)
                if not part:
                    return
                got += part
            self.asked.set()
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
                if len(self.pieces) > 1:
                    await asyncio.sleep(0)
            if self.close:
                writer.write_eof()
            while part := await reader.read(65536):
                got += part
        except ConnectionError:
            pass
        finally:
            writer.close()
            self.gone.set()

    @property
    def head(self) -> str:
        return bytes(self.got[-1]).decode("latin-1").partition("\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return bytes(self.got[-1]).partition(b"\r\n\r\n")[2]

    @property
    def line(self) -> str:
        return self.head.partition("\r\n")[0]

    @property
    def fields(self) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.head.split("\r\n")[1:])


@contextlib.asynccontextmanager
async def behind(
    folder: Path,
    upstream: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    limits: UpstreamLimits | None = None,
    times: TimeLimits | None = None,
) -> AsyncIterator[Live]:
    """A server of ours with an upstream behind it."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await upstream(reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    rbr = RBR.replace("ADDRESS", f"127.0.0.1:{port}")
    try:
        async with live(folder, rbr, "", times, partial(Upstream, limits=limits)) as server:
            yield server
    finally:
        listener.close()
        for writer in writers:
            if not writer.is_closing():
                writer.transport.abort()
        await asyncio.sleep(0)


async def in_pieces(wire: Wire, pieces: list[bytes]) -> None:
    """Send them so that each is read by itself."""
    wire.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in pieces:
        await wire.send(piece)
        await asyncio.sleep(0)


def reset(wire: Wire) -> None:
    """Go with a RST: an end alone may be that of one direction."""
    sock = wire.writer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.reset()


def test_request_is_written_anew_and_the_answer_comes_back(tmp_path: Path) -> None:
    async def test() -> None:
        answer = (
            b"HTTP/1.1 201 Made\r\nDate: Sun, 01 Jan 2006 00:00:00 GMT\r\nX-Own: 1\r\n"
            b"Set-Cookie: a=1\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
            b"Content-Type: a/b\r\nContent-Length: 2\r\n\r\nok"
        )
        upstream = Recorder([answer])
        async with behind(tmp_path, upstream) as server:
            status, headers, body = await ask(
                server.url, "POST", "/up/x%2Fy?q=1&r=%20", b"hello", Content_Type="text/x"
            )
            assert (status, body) == (201, b"ok")
            assert headers == {
                "date": "Sun, 01 Jan 2006 00:00:00 GMT",
                "x-own": "1",
                "set-cookie": "a=1",
                "content-type": "a/b",
                "content-length": "2",
            }
            assert upstream.line == "POST /base/x%2Fy?q=1&r=%20 HTTP/1.1"
            assert upstream.body == b"hello"
            assert upstream.fields == {
                "host": upstream.fields["host"],
                "content-type": "text/x",
                "x-forwarded-for": "127.0.0.1",
                "x-forwarded-proto": "http",
                "x-forwarded-host": "a",
                "forwarded": 'for=127.0.0.1;proto=http;host="a"',
                "via": f"1.1 {VIA_NAME}",
                "content-length": "5",
                "connection": "close",
            }
            assert upstream.fields["host"].startswith("127.0.0.1:")

    run(test())


def test_connection_of_the_client_is_kept(tmp_path: Path) -> None:
    async def test() -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            for _ in range(3):
                assert (await wire.ask("GET", "/up"))[2] == b"ok"
            upstream.pieces = [chunked]
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            for _ in range(2):
                assert (await wire.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await wire.reader.readexactly(12) == b"2\r\nok\r\n0\r\n\r\n"[:12]
            assert len(upstream.got) == 5

    run(test())


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/up", "/base"),
        ("/up/", "/base/"),
        ("/up?x", "/base?x"),
        ("/%75p/a", "/base/a"),
        ("/up/%", "/base/%"),
        ("/up//evil", "/base//evil"),
        ("/up/a%2e%62", "/base/a%2e%62"),
        ("/small/", "/"),
        ("/small/a/b", "/a/b"),
        ("/", "/"),
        ("/a;b?c=//d", "/a;b?c=//d"),
        ("//evil/", "//evil/"),
        ("/\\evil", "/\\evil"),
        ("http://a/x", "/x"),
        ("http://evil/", None),  # not what Host says
        ("@evil/", None),
        ("evil:80", None),
        ("/up/../admin", None),
        ("/up/%2e%2e/admin", None),
        ("/up/..%2fadmin", None),
        ("/up/..\\admin", None),
        ("/up/..;x/admin", None),
        ("/up/./admin", None),
        ("/up/a%00", None),
    ],
)
def test_target_chooses_the_path_and_never_the_server(
    tmp_path: Path, target: str, seen: str | None
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()

    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            for _, pieces in [("whole", [request]), *segmentations(request, b"\r")]:
                wire = await Wire.open(server.url)
                await in_pieces(wire, pieces)
                status, _, _ = await wire.answer()
                wire.close()
                if seen is None:
                    assert status == 400
                    assert upstream.got == []
                else:
                    assert status == 200
                    assert upstream.line == f"GET {seen} HTTP/1.1"
                    assert upstream.fields["host"] != "evil"

    run(test())


# -- header fields -------------------------------------------------------------------


def fields_of(*pairs: tuple[str, str], **options: str) -> dict[str, str]:
    request = Request("GET", "/", list(pairs), **options)  # type: ignore[arg-type]
    return dict(request_fields(request))


def test_hop_by_hop_fields_stay_here() -> None:
    names = "keep-alive proxy-connection te trailer transfer-encoding upgrade http2-settings"
    names += " proxy-authorization content-length expect host proxy"
    sent = [(name, "x") for name in names.split()]
    kept = fields_of(*sent, ("connection", "close, X-Own"), ("x-own", "1"), ("x-other", "2"))
    assert "x-own" not in kept
    assert kept["x-other"] == "2"
    assert not set(names.split()) & set(kept)


def test_connection_removes_extensions_and_nothing_that_is_decided_by() -> None:
    listed = "X-Secret, Host, Authorization, Cookie, Content-Type, X-Forwarded-For"
    kept = fields_of(
        ("connection", listed),
        ("x-secret", "1"),
        ("authorization", "2"),
        ("cookie", "3"),
        ("content-type", "4"),
    )
    assert "x-secret" not in kept
    assert (kept["authorization"], kept["cookie"], kept["content-type"]) == ("2", "3", "4")
    assert kept["x-forwarded-for"] == "unknown"


def test_what_a_client_says_of_itself_is_replaced() -> None:
    lies = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-user", "root"),
        ("x-real-ip", "1.1.1.1"),
        ("forwarded", "for=1.1.1.1"),
        ("x_forwarded_for", "1.1.1.1"),
        ("content_length", "9"),
        ("transfer_encoding", "chunked"),
    ]
    kept = fields_of(*lies, remote_addr="2001:db8::1", host="a:8000", scheme="https")
    assert kept == {
        "x-forwarded-for": "2001:db8::1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "a:8000",
        "forwarded": 'for="[2001:db8::1]";proto=https;host="a:8000"',
        "via": f"1.1 {VIA_NAME}",
    }
    assert "x-forwarded-host" not in fields_of()


LIES = b"""\
GET /up/x HTTP/1.1
Host: a
Connection: X-Secret, Host, Authorization, Content-Length, X-Forwarded-For, HTTP2-Settings, Upgrade
X-Secret: 1
Authorization: 2
X-Forwarded-For: 1.1.1.1
X_Forwarded_For: 1.1.1.1
Forwarded: for=1.1.1.1
X-Real-IP: 1.1.1.1
Upgrade: h2c
HTTP2-Settings: AAMAAABk
Content-Length: 5

hello""".replace(b"\n", b"\r\n")


def test_nothing_of_a_client_s_lies_reaches_the_upstream_however_they_are_cut(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            for _, pieces in [("whole", [LIES]), *segmentations(LIES, b"\r")]:
                wire = await Wire.open(server.url)
                await in_pieces(wire, pieces)
                assert (await wire.answer())[2] == b"ok"
                assert (upstream.line, upstream.body) == ("GET /base/x HTTP/1.1", b"hello")
                assert {**upstream.fields, "host": ""} == {
                    "host": "",
                    "authorization": "2",
                    "x-forwarded-for": "127.0.0.1",
                    "x-forwarded-proto": "http",
                    "x-forwarded-host": "a",
                    "forwarded": 'for=127.0.0.1;proto=http;host="a"',
                    "via": f"1.1 {VIA_NAME}",
                    "content-length": "5",
                    "connection": "close",
                }

    run(test())


def test_via_is_added_to() -> None:
    assert fields_of(("via", "1.0 a"), ("via", "1.1 b"))["via"] == f"1.0 a, 1.1 b, 1.1 {VIA_NAME}"


def test_upstream_s_own_hop_by_hop_fields_stay_here() -> None:
    given = [("connection", "x-hop"), ("x-hop", "1"), ("upgrade", "h2c"), ("server", "s")]
    assert response_fields(given) == [("server", "s")]


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://a:99999",
        "http://a:0x50",
        "http://user@a",
        "http://a/b?c",
        "http://a/b#c",
        "http://a b",
        "ftp://a",
    ],
)
def test_address_that_is_none_is_refused_at_the_start(tmp_path: Path, address: str) -> None:
    with pytest.raises(AppError, match="is no address of a server"):
        Address.parse(address)

    async def test() -> None:
        with pytest.raises(RbrError):
            async with live(tmp_path, f'path a ( url /, use proxy:"{address}" );'):
                pass

    run(test())


def test_address_has_its_parts() -> None:
    assert Address.parse("http://a") == Address("a", 80, False, "a", "")
    assert Address.parse("https://[::1]/b/") == Address("::1", 443, True, "[::1]", "/b")
    assert Address.parse("http://a:81/b/c") == Address("a", 81, False, "a:81", "/b/c")


# -- requests --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 5", b"hello"),
        ("Transfer-Encoding: chunked", b"2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n"),
        ("Content-Length: 005", b"hello"),
    ],
)
def test_request_is_canonical_however_it_came(tmp_path: Path, framing: str, body: bytes) -> None:
    async def test() -> None:
        seen: list[http1.Event] = []

        async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = http1.Connection()
            while connection.state is not http1.State.DONE:
                seen.extend(connection.receive(await reader.read(65536)))
            writer.write(OK)
            writer.close()

        head = f"POST /up HTTP/1.1\r\nHost: a\r\n{framing}\r\nX_Y: 1\r\n\r\n".encode()
        async with behind(tmp_path, upstream) as server:
            for _, pieces in [("whole", [head + body]), *segmentations(head + body, b"\r")]:
                seen.clear()
                wire = await Wire.open(server.url)
                await in_pieces(wire, pieces)
                assert (await wire.answer())[2] == b"ok"
                request, *parts, end = seen
                assert isinstance(request, http1.Request)
                assert b"".join(part for part in parts if isinstance(part, bytes)) == b"hello"
                assert end is http1.END_OF_MESSAGE
                names = [name for name, _ in request.headers]
                assert ("content-length" in names) != ("transfer-encoding" in names)
                assert len(set(names)) == len(names)
                assert "x_y" not in names

    run(test())


def test_wire_examples_reach_an_upstream_in_one_form_or_not_at_all(tmp_path: Path) -> None:
    """Whatever this side made of some bytes, the other side must make the same of what it gets."""
    got: list[tuple[str, str, bytes]] = []
    faults: list[http1.Event] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = http1.Connection()
        events: list[http1.Event] = []
        while connection.state not in (http1.State.DONE, http1.State.ERROR):
            part = await reader.read(65536)
            if not part:
                break
            events += connection.receive(part)
        else:
            head, *parts, end = events
            assert isinstance(head, http1.Request)
            if end is http1.END_OF_MESSAGE and not connection.buffered:
                content = b"".join(part for part in parts if isinstance(part, bytes))
                got.append((head.method, head.target, content))
            else:
                faults.append(end)
            writer.write(OK)
        writer.close()

    async def test() -> None:
        listener = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        rbr = f"path all ( url /{{rest:.*}}, use proxy:http://127.0.0.1:{port} );"
        async with live(tmp_path, rbr) as server:
            for row in VECTORS:
                got.clear()
                wire = await Wire.open(server.url)
                await wire.send(row["bytes"].encode("latin-1"))
                if not row["fault"]:
                    wire.writer.write_eof()
                await wire.rest()
                wire.close()
                assert got == [
                    (method, target, content.encode("latin-1"))
                    for method, target, _, content in row["requests"]
                    if method not in ("CONNECT", "TRACE")
                    and target.startswith("/")
                    and "%2e" not in target
                ], row
            assert faults == []
            await server.empties()
        listener.close()

    run(test())


class Echo:
    """An upstream that answers with the content that it got, at its end or as it comes."""

    def __init__(self, *, at_once: bool = False) -> None:
        self.at_once = at_once
        self.taking = asyncio.Event()
        self.taking.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int((re.search(rb"content-length: (\d+)", head) or [b"", b"0"])[1])
        if self.at_once:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
        kept = bytearray()
        while left:
            await self.taking.wait()
            part = await reader.read(min(left, 65536))
            if not part:
                break
            left -= len(part)
            if self.at_once:
                writer.write(part)
                await writer.drain()
            else:
                kept += part
        if not self.at_once:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(kept) + kept)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@pytest.mark.parametrize("at_once", [False, True])
def test_large_bodies_go_both_ways(tmp_path: Path, at_once: bool) -> None:
    async def test() -> None:
        size = 8_000_000
        body = bytes(range(250)) * (size // 250)
        async with behind(tmp_path, Echo(at_once=at_once)) as server:
            wire = await Wire.open(server.url)
            head = f"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode()
            sending = asyncio.create_task(wire.send(head + body))
            status, _, echoed = await wire.answer()
            await sending
            assert (status, echoed == body) == (200, True)

    run(test())


async def taken(wire: Wire) -> int:
    """How many bytes a peer takes that nobody reads from."""
    wire.writer.transport.set_write_buffer_limits(65536)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 64_000_000:
            async with asyncio.timeout(0.5):
                await wire.send(bytes(100_000))
            sent += 100_000
    return sent


def test_body_streams_no_faster_than_the_upstream_reads(tmp_path: Path) -> None:
    async def test() -> None:
        size = 64_000_000
        echo = Echo()
        echo.taking.clear()
        async with behind(tmp_path, echo) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
            # What the two kernels and we hold is a fraction; the rest is with the client.
            assert await taken(wire) < 24_000_000
            echo.taking.set()
            wire.close()
            await server.empties()

    run(test())


def test_answer_streams_no_faster_than_the_client_reads(tmp_path: Path) -> None:
    async def test() -> None:
        size = 64_000_000
        written = 0

        async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            with contextlib.suppress(ConnectionError):
                while written < size:
                    writer.write(bytes(100_000))
                    await writer.drain()
                    written += 100_000
            writer.close()

        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send("GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
            before = -1
            while written != before or not written:
                before = written
                await asyncio.sleep(0.3)
            assert written < 24_000_000
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await wire.reader.readuntil(b"\r\n\r\n")
            left = size
            while left:
                left -= len(await wire.reader.read(1 << 20))
            wire.close()

    run(test())


def test_rule_about_the_body_gets_all_of_it_first(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            status, headers, _ = await ask(server.url, "POST", "/ruled/x", b'{"a": 1}')
            assert (status, headers["x-seen"]) == (200, "yes")
            assert upstream.line == "POST /x HTTP/1.1"
            assert upstream.body == b'{"a": 1}'
            assert upstream.fields["content-length"] == "8"
            assert (await ask(server.url, "POST", "/ruled/x", b"no json"))[0] == 400
            assert len(upstream.got) == 1

    run(test())


def test_body_over_the_limit_is_413_and_the_upstream_is_let_go(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([], close=False)
        async with behind(tmp_path, upstream) as server:
            assert (await ask(server.url, "POST", "/small/x", bytes(1001)))[0] == 413
            assert upstream.got == []
            wire = await Wire.open(server.url)
            await wire.send(
                "POST /small/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in range(3):
                await wire.send(b"190\r\n" + bytes(400) + b"\r\n")
            assert (await wire.answer())[0] == 413
            await upstream.gone.wait()
            await wire.rest()

    run(test())


@pytest.mark.parametrize(
    ("rest", "status"), [(b"5\r\nhello\r\nnonsense\r\n", 400), (b"5\r\nhel", 408)]
)
def test_request_that_breaks_off_is_the_client_s_fault(
    tmp_path: Path, rest: bytes, status: int
) -> None:
    async def test() -> None:
        upstream = Recorder([], close=False)
        async with behind(tmp_path, upstream, None, TimeLimits(body=0.2)) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            await upstream.asked.wait()
            await wire.send(rest)
            assert (await wire.answer())[0] == status
            await upstream.gone.wait()
            assert not upstream.body.endswith(b"0\r\n\r\n")

    run(test())


def test_request_that_breaks_off_behind_an_early_answer_breaks_it_off(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"], close=False)
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert (await wire.reader.readuntil(b"begun")).startswith(b"HTTP/1.1 200")
            await wire.send(b"nonsense\r\n")
            assert await wire.rest() == b""
            await upstream.gone.wait()

    run(test())


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_that_goes_is_not_worked_for_any_more(tmp_path: Path, begun: bool, how: str) -> None:
    times = TimeLimits(half_closed=0.05 if how == "close" else 1000.0)

    async def test() -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"
        upstream = Recorder([head] if begun else [], close=False)
        async with behind(tmp_path, upstream, times=times) as server:
            for request in (
                "GET /up HTTP/1.1\r\nHost: a\r\n\r\n",
                "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole",
                "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
                # More than waits at a time, and all of it is here before any has gone on.
                "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n" + "x" * 70_000,
            ):
                upstream.asked.clear()
                upstream.gone.clear()
                wire = await Wire.open(server.url)
                await wire.send(request)
                await upstream.asked.wait()
                if begun:
                    await wire.reader.readuntil(b"begun")
                reset(wire) if how == "reset" else wire.close()
                async with asyncio.timeout(PATIENCE_S):
                    await upstream.gone.wait()
            await server.empties()

    run(test())


def test_client_that_goes_while_its_answer_is_looked_through_is_not_worked_for(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun"
        upstream = Recorder([head], close=False)
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /read HTTP/1.1\r\nHost: a\r\n\r\n")
            await upstream.asked.wait()
            assert (await ask(server.url, "TRACE", "/up"))[0] == 405  # by then it has read that
            reset(wire)
            async with asyncio.timeout(PATIENCE_S):
                await upstream.gone.wait()
            await server.empties()

    run(test())


def test_client_that_goes_just_before_its_request_is_handed_on_is_no_fault(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Its request is still read, and the 100 is the first that can't be written."""
    head = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

    async def test() -> None:
        async with behind(tmp_path, Recorder([OK])) as server:
            address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            with socket.create_connection(address) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(head)
            assert (await ask(server.url, "GET", "/up"))[0] == 200
            await server.empties()

    run(test())
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


def test_expect_is_answered_here(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([OK], close=False)
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send(
                "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
            )
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await wire.answer())[0] == 200
            assert "expect" not in upstream.fields

    run(test())


def test_early_answer_to_a_body_on_its_way_is_relayed_and_both_are_closed(tmp_path: Path) -> None:
    async def test() -> None:
        too_large = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
        upstream = Recorder([too_large])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\nbegin")
            status, headers, body = await wire.answer()
            assert (status, headers["connection"], body) == (413, "close", b"big")
            with contextlib.suppress(ConnectionError):
                for _ in range(10):
                    await wire.send(bytes(50_000))
            assert await wire.rest() == b""
            await upstream.gone.wait()

    run(test())


def test_trace_is_not_reflected(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            status, _, body = await ask(server.url, "TRACE", "/up", Cookie="secret")
            assert (status, b"secret" in body) == (405, False)
            assert upstream.got == []

    run(test())


def test_proxy_that_points_at_itself_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, "path a ( url /, use proxy:http://127.0.0.1:9 );") as server:
            port = int(server.url.rpartition(":")[2])
            again = Upstream(f"http://127.0.0.1:{port}", "")
            for home in server.server.app.homes:
                for route in home.routes:
                    object.__setattr__(route.target, "service", again)
            status, _, body = await ask(server.url, "GET", "/")
            assert (status, body) == (
                508,
                f"508 the request has been here {MAX_HOPS} times\n".encode(),
            )

    run(test())


# -- answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-nonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
    ],
)
def test_malformed_answer_is_a_502_however_it_is_cut(
    tmp_path: Path, answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        cuts = [[answer]]
        if len(answer) < 300:
            cuts += [pieces for _, pieces in segmentations(answer, b"\r")]
        for pieces in cuts:
            upstream = Recorder(pieces)
            async with behind(tmp_path, upstream) as server:
                status, _, body = await ask(server.url, "GET", "/up")
                assert (status, body) == (502, b"502 the server behind this one failed\n")
                async with asyncio.timeout(PATIENCE_S):
                    await upstream.gone.wait()

    run(test())
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told
    assert all(len(line) < 500 and line.isprintable() for line in told)


def test_upstream_that_is_down_is_a_502(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with behind(tmp_path, upstream) as server:
            assert (await ask(server.url, "GET", "/up"))[0] == 502
            assert (await ask(server.url, "POST", "/up", bytes(1_000_000)))[0] == 502
        listener = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        listener.close()
        await listener.wait_closed()
        async with live(
            tmp_path, f"path a ( url /, use proxy:http://127.0.0.1:{port} );"
        ) as server:
            assert (await ask(server.url, "GET", "/"))[0] == 502
            await server.empties()

    run(test())
    assert re.fullmatch(
        r"GET '/': 127\.0\.0\.1:\d+: can't connect: Connection refused", caplog.messages[-1]
    )


def test_plain_upstream_that_is_said_to_speak_tls_is_a_502(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([b"HTTP/1.1 400 Bad\r\n\r\n"])
        listener = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        rbr = f"path a ( url /, use proxy:https://127.0.0.1:{port} );"
        async with live(tmp_path, rbr, proxy=partial(Upstream, limits=QUICK)) as server:
            assert (await ask(server.url, "GET", "/"))[0] in (502, 504)
        listener.close()

    run(test())


@pytest.mark.parametrize(
    "pieces", [[], [b"HTTP/1.1 200 OK\r\nContent-"], [b"HTTP/1.1 100 Continue\r\n\r\n"]]
)
def test_slow_upstream_is_a_504(tmp_path: Path, pieces: list[bytes]) -> None:
    async def test() -> None:
        upstream = Recorder(pieces, close=False)
        async with behind(tmp_path, upstream, QUICK) as server:
            status, _, body = await ask(server.url, "GET", "/up")
            assert (status, body) == (504, b"504 the server behind is slow\n")
            await upstream.gone.wait()

    run(test())


def test_head_that_drips_is_a_504(tmp_path: Path) -> None:
    async def test() -> None:
        async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                if writer.transport.is_closing():
                    break
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.02)
            writer.close()

        async with behind(tmp_path, dripping, QUICK) as server:
            assert (await ask(server.url, "GET", "/up"))[0] == 504

    run(test())


def test_upstream_that_does_not_read_is_a_504(tmp_path: Path) -> None:
    async def test() -> None:
        echo = Echo()
        echo.taking.clear()
        async with behind(tmp_path, echo, QUICK) as server:
            wire = await Wire.open(server.url)
            await wire.send("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 64000000\r\n\r\n")
            sending = asyncio.create_task(wire.send(bytes(64_000_000)))
            assert (await wire.answer())[0] == 504
            wire.reset()
            with contextlib.suppress(ConnectionError):
                await sending

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\nnonsense\r\n",
    ],
)
@pytest.mark.parametrize("close", [True, False])
def test_answer_that_breaks_off_is_not_a_short_valid_one(
    tmp_path: Path, answer: bytes, close: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        limits = UpstreamLimits(idle=0.2)
        async with behind(tmp_path, Recorder([answer], close=close), limits) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await wire.rest()
            assert got.startswith(b"HTTP/1.1 200")
            assert not got.endswith(b"0\r\n\r\n")
            assert got.count(b"begun") <= 1
            assert b"content-length: 100\r\n" in got or b"chunked" in got

    run(test())
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert re.match(r"GET '/up': 127\.0\.0\.1:\d+: (the answer broke off|it went silent)", told)


def test_content_until_the_end_ends_well_by_fin_and_badly_by_reset(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([b"HTTP/1.1 200 OK\r\n\r\nall of it"])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await wire.rest()).endswith(b"all of it\r\n0\r\n\r\n")
            upstream.close = False
            wire = await Wire.open(server.url)
            await wire.send("GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await wire.reader.readuntil(b"all of it")).startswith(b"HTTP/1.1 200")
            reset(upstream.wires[-1])
            assert not (await wire.rest()).endswith(b"0\r\n\r\n")

    run(test())


@pytest.mark.parametrize(
    ("method", "answer", "status", "framing"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, {"content-length": "5"}),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, {}),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, {}),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, {"content-length": "0"}),
    ],
)
def test_answer_without_content_is_framed_right(
    tmp_path: Path, method: str, answer: bytes, status: int, framing: dict[str, str]
) -> None:
    async def test() -> None:
        upstream = Recorder([answer])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            for _ in range(2):  # the second shows that nothing of the first is left
                got, headers, body = await wire.ask(method, "/up")
                assert (got, body) == (status, b"")
                assert {k: v for k, v in headers.items() if k != "date"} == framing

    run(test())


def test_redirect_is_passed_on(tmp_path: Path) -> None:
    async def test() -> None:
        answer = (
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
        )
        upstream = Recorder([answer])
        async with behind(tmp_path, upstream) as server:
            status, headers, _ = await ask(server.url, "GET", "/up")
            assert (status, headers["location"]) == (302, "http://169.254.169.254/")
            assert len(upstream.got) == 1

    run(test())


def test_old_client_gets_content_of_unknown_length_and_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        async with behind(tmp_path, Recorder([chunked])) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /up HTTP/1.0\r\n\r\n")
            assert (await wire.rest()).endswith(b"\r\n\r\nok")

    run(test())


# -- WebSockets ------------------------------------------------------------------------

CHAT = """
    async def echo(request):
        async for message in request.socketio:
            request.socketio.send(message[0])
"""


def test_websocket_goes_through_to_another_server_of_ours(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "chat").mkdir()
        (tmp_path / "front").mkdir()
        chat = "path c ( method SOCKETIO, use python:MODULE.echo );"
        async with live(tmp_path / "chat", chat, CHAT) as back:
            rbr = f"path up ( url /chat, use proxy:{back.url} );"
            async with live(tmp_path / "front", rbr) as front:
                target = "/chat/socket.io/?EIO=4&transport=websocket"
                one = await WebSocket.connect(front.url, target)
                assert (await one.read()).startswith('0{"sid":')
                await one.text("40")
                assert (await one.read()).startswith("40")
                for size in (1, 100, 100_000):
                    await one.text('42["message","' + "x" * size + '"]')
                    assert await one.read() == '42["message","' + "x" * size + '"]'
                assert len(front.server.connections) == 1
                await one.frame(0x88, b"\x03\xe8")
                assert (await one.read_close())[0] == 1000
                assert await one.rest() == b""
                await front.empties()
                await back.empties()

    run(test())


def switched(key: str = "dGhlIHNhbXBsZSBub25jZQ==", **other: str) -> bytes:
    fields = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": wsproto_handshake.accept_key(key),
    } | other
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode()


def test_frames_right_behind_the_handshake_are_not_lost(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([switched(Set_Cookie="a=1") + b"\x81\x02hi"], close=False)
        async with behind(tmp_path, upstream) as server:
            one = await WebSocket.connect(server.url, "/up")
            assert await one.read() == "hi"
            await one.send(b"\x81\x81\0\0\0\0x")
            wire = upstream.wires[0]
            await until(lambda: upstream.body.endswith(b"x"))
            assert upstream.fields["upgrade"] == "websocket"
            assert upstream.fields["connection"] == "Upgrade"
            wire.writer.write(b"\x81\x03end")
            wire.writer.write_eof()
            assert await one.read() == "end"
            assert await one.rest() == b""
            await upstream.gone.wait()
            await server.empties()

    run(test())


def test_tunnel_ends_on_both_sides(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([switched()], close=False)
        async with behind(tmp_path, upstream) as server:
            one = await WebSocket.connect(server.url, "/up")
            one.reset()
            await upstream.gone.wait()
            await server.empties()
            one = await WebSocket.connect(server.url, "/up")
            upstream.wires[-1].reset()
            assert await one.rest() == b""
            one = await WebSocket.connect(server.url, "/up")
            await server.server.close(0.5)
            assert await one.rest() == b""

    run(test())


def test_upgrade_of_an_old_client_is_no_upgrade(tmp_path: Path) -> None:
    """RFC 9110 7.8: the field must be ignored in HTTP/1.0."""

    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send(
                "GET /up HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
            )
            assert (await wire.rest()).endswith(b"\r\n\r\nok")
            assert "upgrade" not in upstream.fields

    run(test())


def test_tunnel_ends_that_a_client_asked_for_with_its_last_word(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([], close=False)
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            key = "dGhlIHNhbXBsZSBub25jZQ=="
            await wire.send(
                "GET /up HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            )
            wire.writer.write_eof()
            await upstream.asked.wait()
            (connection,) = server.server.connections
            assert isinstance(connection, HttpConnection)
            await until(lambda: connection._eof)
            upstream.wires[0].writer.write(switched())
            assert (await wire.answer())[0] == 101
            assert await wire.rest() == b""
            await upstream.gone.wait()
            await server.empties()

    run(test())


def test_tunnel_that_nobody_reads_ends_with_the_server(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([switched()], close=False)
        async with behind(tmp_path, upstream) as server:
            one = await WebSocket.connect(server.url, "/up")
            one.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await taken(upstream.wires[0])
            await server.server.close(0.1)
            await server.empties()
            await upstream.gone.wait()

    run(test())


def test_tunnel_whose_far_end_has_gone_drops_what_comes_and_holds_nobody(tmp_path: Path) -> None:
    """TLS may hand over what it has, and asyncio tell of congestion, behind the end."""

    async def test() -> None:
        http = http1_client.Connection()
        http.send_request("GET", "/", [("host", "a"), ("upgrade", "websocket")], 0)
        connection = UpstreamConnection(http)
        http.receive(switched())
        connection.connection_lost(ConnectionResetError())
        tunnel = connection.tunnel()
        async with behind(tmp_path, Recorder([])) as server:
            wire = await Wire.open(server.url)
            transport = wire.writer.transport
            assert isinstance(transport, asyncio.Transport)
            tunnel.connection_made(transport)
            assert transport.is_closing()
            tunnel.data_received(b"late")
            tunnel.pause_writing()
            tunnel.resume_writing()
            tunnel.connection_lost(None)
            tunnel.data_received(b"later")
            tunnel.connection_lost(None)

    run(test())


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "No route to host"),
        (OSError("Multiple exceptions"), "Multiple exceptions"),
    ],
)
def test_log_says_in_the_system_s_words_why_there_is_no_connection(
    error: OSError, why: str
) -> None:
    assert _why(error) == why


def test_reset_behind_the_whole_answer_is_no_fault_of_it() -> None:
    async def test() -> None:
        http = http1_client.Connection()
        http.send_request("GET", "/", [("host", "a")], 0)
        connection = UpstreamConnection(http)
        http.receive(OK)
        connection.connection_lost(ConnectionResetError())
        assert http.state is http1.State.DONE
        assert not connection._events

    run(test())


def test_tunnel_is_no_faster_than_its_slower_side(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([switched()], close=False)
        async with behind(tmp_path, upstream) as server:
            one = await WebSocket.connect(server.url, "/up")
            one.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sent = await taken(upstream.wires[0])
            assert sent < 24_000_000
            one.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert await one.reader.readexactly(sent) == bytes(sent)
            one.reset()

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        switched(key="another"),
        switched(Upgrade="h2c"),
        switched(Connection="close"),
    ],
)
def test_101_that_is_none_for_this_client_is_a_502(tmp_path: Path, answer: bytes) -> None:
    async def test() -> None:
        upstream = Recorder([answer], close=False)
        async with behind(tmp_path, upstream) as server:
            assert await refused(server) == 502
            await upstream.gone.wait()

    run(test())


async def refused(server: Live, path: str = "/up") -> int:
    """The status of a WebSocket that is refused; the connection is closed behind it."""
    wire = await Wire.open(server.url)
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    fields += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    await wire.send(
        f"GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    status, headers, _ = await wire.answer()
    assert headers["connection"] == "close"
    assert await wire.rest() == b""
    return status


@pytest.mark.parametrize(
    ("answer", "status"),
    [(OK, 200), (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403), (b"nonsense", 502)],
)
def test_refused_websocket_is_answered_and_closed(
    tmp_path: Path, answer: bytes, status: int
) -> None:
    async def test() -> None:
        upstream = Recorder([answer])
        async with behind(tmp_path, upstream) as server:
            assert await refused(server) == status
            assert len(upstream.got) == 1

    run(test())


def test_websocket_goes_through_rules_and_cors(tmp_path: Path) -> None:
    async def test() -> None:
        upstream = Recorder([switched() + b"\x81\x02hi"], close=False)
        async with behind(tmp_path, upstream) as server:
            for path in ("/cors", "/headed"):
                one = await WebSocket.connect(server.url, path)
                assert await one.read() == "hi"
                one.close()

    run(test())


@pytest.mark.parametrize(
    "fields",
    [
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\n",
        "Upgrade: \r\nConnection: Upgrade\r\n",
    ],
)
def test_other_upgrades_are_not_handed_on(tmp_path: Path, fields: str) -> None:
    async def test() -> None:
        upstream = Recorder([OK])
        async with behind(tmp_path, upstream) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET /up HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
            assert (await wire.answer())[0] == 200
            assert not {"upgrade", "http2-settings"} & set(upstream.fields)
            assert upstream.fields["connection"] == "close"
            assert (await wire.ask("GET", "/up"))[0] == 200

    run(test())


# -- docs/proxy.md -----------------------------------------------------------------------


def test_listing_of_the_page_streams_to_who_has_a_key(tmp_path: Path) -> None:
    async def test() -> None:
        page = (ROOT / "docs" / "proxy.md").read_text(encoding="utf-8")
        (rbr,) = re.findall(r"^```rbr\n([^`]*proxy:[^`]*)^```$", page, re.MULTILINE)
        upstream = Recorder([OK])
        listener = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with live(tmp_path, rbr.replace("localhost:5000", f"127.0.0.1:{port}")) as server:
            assert (await ask(server.url, "PUT", "/api/a", b"x"))[0] == 401
            assert upstream.got == []
            assert (await ask(server.url, "PUT", "/api/a?b", b"x", X_Key="7"))[0] == 200
            assert upstream.line == "PUT /v1/a?b HTTP/1.1"
        listener.close()

    run(test())
