"""A connection that is watched: nothing about it is different, and all of it is told."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from wire import WebSocket, Wire, live, run, serving_tls, socketio, until

from redbarrel_lite.dial import Port, Visitor
from redbarrel_lite.tap import MAX_HELD_BYTES, Tap, Tapped

APP = """
    async def echo(request):
        async for message in request.socketio:
            request.socketio.send(message[0])
    def hello(globs, request):
        return "hello"
    def much(globs, request):
        yield from (b"x" * 50_000 for _ in range(100))
"""
FILE = "path file ( method GET, url /file, use file:large.bin );"
RBR = """
    path hello ( method GET, url /hello, use python:MODULE.hello );
    path much ( method GET, url /much, use python:MODULE.much );
    path raw ( method WEBSOCKET, url /raw, use python:MODULE.echo );
    path chat ( method SOCKETIO, use python:MODULE.echo );
"""


class Notes:
    """What a watcher was told."""

    def __init__(self) -> None:
        self.connections: list[Tapped] = []
        self.ended: list[int] = []
        self.came: dict[int, bytes] = {}
        self.went: dict[int, bytes] = {}

    def opened(self, connection: Tapped) -> None:
        self.connections.append(connection)
        self.came[connection.number] = self.went[connection.number] = b""

    def received(self, connection: Tapped, data: bytes) -> None:
        self.came[connection.number] += data

    def sent(self, connection: Tapped, data: bytes) -> None:
        self.went[connection.number] += data

    def closed(self, connection: Tapped, error: Exception | None) -> None:
        self.ended.append(connection.number)


def test_everything_that_is_said_is_told(tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(content := bytes(range(256)) * 4000)
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR + FILE, APP, tap=Tap(notes)) as server:
            visitor = Visitor(Port(server.url))
            for target in ("/hello", "/much", "/file"):
                head, body = await visitor.ask("GET", target)
                assert head.status == 200
            assert body == content  # which sendfile would have sent past us
            socket = await WebSocket.connect(server.url, "/raw")
            await socket.text("ab")
            assert await socket.read() == "ab"
        assert [one.peer.partition(":")[0] for one in notes.connections] == ["127.0.0.1"] * 4

    run(test())
    assert notes.ended == [1, 2, 3, 4]
    assert notes.came[1].startswith(b"GET /hello HTTP/1.1\r\n")
    assert notes.went[1].startswith(b"HTTP/1.1 200 OK\r\n")
    assert notes.went[1].endswith(b"hello")
    assert notes.went[2].count(b"x") >= 5_000_000
    assert notes.went[3].endswith(content)
    assert notes.went[4].startswith(b"HTTP/1.1 101 ")
    assert b"\x81\x02ab" in notes.went[4]


def test_what_is_told_is_what_tls_hides(tmp_path: Path) -> None:
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tls=serving_tls(), tap=Tap(notes)) as server:
            wire = await Wire.open(server.url)
            status, _, body = await wire.ask("GET", "/hello")
            assert (status, body) == (200, b"hello")

    run(test())
    assert notes.came[1].startswith(b"GET /hello HTTP/1.1\r\n")


def test_clients_are_watched_likewise(tmp_path: Path) -> None:
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            await Visitor(Port(server.url, tap=Tap(notes))).ask("GET", "/hello")

    run(test())
    assert notes.went[1].startswith(b"GET /hello HTTP/1.1\r\n")
    assert notes.came[1].endswith(b"hello")


def test_what_is_held_goes_out_part_by_part(tmp_path: Path) -> None:
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(notes)) as server:
            socket = await socketio(server.url)
            transport = notes.connections[0].transport
            assert transport is not None
            before = notes.went[1]
            transport.hold(lambda data: (data[:2], data[2:]))
            await socket.text('42["message","ab"]')
            await until(lambda: len(transport.held) == 2)
            assert notes.went[1] == before
            assert transport.get_write_buffer_size() >= len(b"".join(transport.held))
            head, rest = transport.held
            transport.let_go(1)
            assert notes.went[1] == before + head
            await socket.text('42["message","cd"]')
            await until(lambda: len(transport.held) == 3)
            transport.flow()
            assert not transport.is_holding
            assert [await socket.read(), await socket.read()] == [
                '42["message","ab"]',
                '42["message","cd"]',
            ]
            assert notes.went[1].startswith(before + head + rest)

    run(test())


def test_connection_closes_behind_what_is_held(tmp_path: Path) -> None:
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(notes)) as server:
            wire = await Wire.open(server.url)
            await until(lambda: bool(notes.connections))
            transport = notes.connections[0].transport
            assert transport is not None
            transport.hold(lambda data: (data,))
            await wire.send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: bool(transport.held))
            assert not notes.ended
            transport.let_go(1)
            status, _, body = await wire.answer()
            assert (status, body) == (200, b"hello")
            await until(lambda: bool(notes.ended))

    run(test())


def test_what_is_held_has_a_limit(tmp_path: Path) -> None:
    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(notes)) as server:
            wire = await Wire.open(server.url)
            await until(lambda: bool(notes.connections))
            transport = notes.connections[0].transport
            assert transport is not None
            transport.set_write_buffer_limits(high=2 * MAX_HELD_BYTES)
            transport.hold(lambda data: (data,))
            await wire.send("GET /much HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await wire.rest()
            assert answer.count(b"x") >= 5_000_000
            assert not transport.is_holding

    run(test())


def test_watcher_that_fails_is_dropped_and_the_connection_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Notes):
        def received(self, connection: Tapped, data: bytes) -> None:
            raise RuntimeError("on purpose")

    notes = Notes()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(Failing(), notes)) as server:
            wire = await Wire.open(server.url)
            for _ in range(2):
                assert (await wire.ask("GET", "/hello"))[2] == b"hello"

    with caplog.at_level(logging.ERROR, "redbarrel_lite"):
        run(test())
    assert len(caplog.records) == 1
    assert notes.came[1].count(b"GET") == 2


def test_nobody_watches_unless_asked(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            await Wire.open(server.url)
            await until(lambda: bool(server.server.connections))
            (connection,) = server.server.connections
            transport = connection._transport  # type: ignore[union-attr]
            assert type(transport) is not Tapped
            assert isinstance(transport, asyncio.Transport)
            assert transport.get_protocol() is connection

    run(test())
