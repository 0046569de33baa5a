"""A handler that holds the loop costs no client its connection: what waited unread is read first.

While the loop is held, the clients here write synchronously: it lies in the system's buffers
when the loop goes on, and by then all deadlines are over.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from wire import PATIENCE_S, Live, Poller, WebSocket, Wire, ask, live, run, socketio

from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.wsproto import unmask

PING_S, TIMEOUT_S = 0.1, 0.3
HELD_S = 0.5  # longer than both together
RBR = f"""
    path chat ( method SOCKETIO, use python:MODULE.echo,
        ping-interval {PING_S}, ping-timeout {TIMEOUT_S} );
    path raw ( method WEBSOCKET, url /ws, use python:MODULE.echo,
        ping-interval {PING_S}, ping-timeout {TIMEOUT_S} );
    path hold ( url /hold, use python:MODULE.hold );
"""
SOURCE = """
    meanwhile = None

    async def echo(request):
        async for message in request.socketio:
            await request.socketio.send(message[0])

    async def hold(request):
        meanwhile()
"""


async def hold(server: Live, then: Callable[[], object]) -> None:
    """Let a handler hold the loop until all deadlines are over, and ``then`` something come."""

    def meanwhile() -> None:
        time.sleep(HELD_S)
        then()

    server.module.meanwhile = meanwhile  # type: ignore[attr-defined]
    assert (await ask(server.url, "GET", "/hold"))[0] == 204


def masked(first: int, payload: bytes) -> bytes:
    key = b"\x37\xfa\x21\x3d"
    return bytes((first, 0x80 | len(payload))) + key + unmask(payload, key)


def nothing() -> None:
    pass


@pytest.mark.parametrize("pong", ["waits unread", "answers a late ping"])
def test_websocket_of_engine_io_outlives_it(tmp_path: Path, pong: str) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            client = await socketio(server.url)
            then: Callable[[], object] = nothing
            if pong == "waits unread":
                assert await client.read() == "2"
                then = lambda: client.writer.write(masked(0x81, b"3"))  # noqa: E731
            await hold(server, then)
            await client.text('42["message","still"]')
            while (packet := await client.read()) == "2":
                await client.text("3")
            assert packet == '42["message","still"]'

    run(test())


@pytest.mark.parametrize("pong", ["waits unread", "answers a late ping"])
def test_poller_outlives_it(tmp_path: Path, pong: str) -> None:
    """Its pong comes with a connection of its own, which is not even accepted yet."""

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            poller = await Poller.connect(server.url)
            then: Callable[[], object] = nothing
            if pong == "waits unread":
                assert await poller.read() == "2"
                then = lambda: connections.append(post(server, poller, "3"))  # noqa: E731
            await hold(server, then)
            await poller.post('42["message","still"]')
            while (packet := await poller.read()) == "2":
                await poller.post("3")
            assert packet == '42["message","still"]'

    connections: list[socket.socket] = []
    run(test())
    for one in connections:
        with one:
            assert one.recv(1000).startswith(b"HTTP/1.1 200 ")


def post(server: Live, poller: Poller, payload: str) -> socket.socket:
    parts = urlsplit(server.url)
    client = socket.create_connection((parts.hostname, parts.port), PATIENCE_S)
    head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(payload)}\r\n\r\n"
    client.sendall((head + payload).encode())
    return client


@pytest.mark.parametrize("pong", ["waits unread", "answers a late ping"])
def test_websocket_outlives_it(tmp_path: Path, pong: str) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            client = await WebSocket.connect(server.url, "/ws")
            then: Callable[[], object] = nothing
            if pong == "waits unread":
                assert (await client.read_frame())[0] == 9
                then = lambda: client.writer.write(masked(0x8A, b""))  # noqa: E731
            await hold(server, then)
            await client.text("still")
            while (frame := await client.read_frame())[0] == 9:
                await client.frame(0x8A, frame[1])
            assert frame == (1, b"still")

    run(test())


def test_who_says_nothing_afterwards_is_cut_off_all_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            client, raw = await socketio(server.url), await WebSocket.connect(server.url, "/ws")
            await Poller.connect(server.url)
            await hold(server, nothing)
            assert (await client.read_close())[0] == 1000
            client.close()
            assert (await raw.rest()).startswith(b"\x89\x00")
            await server.empties()

    run(test())


def test_request_that_waits_unread_is_answered(tmp_path: Path) -> None:
    limits = TimeLimits(idle=TIMEOUT_S, head=TIMEOUT_S, body=TIMEOUT_S)
    get = b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, limits) as server:
            idle, half, body = [await Wire.open(server.url) for _ in range(3)]
            assert (await idle.ask("GET", "/__health__"))[0] == 200
            await half.send(get[:10])
            await body.send(post[:-3])
            await asyncio.sleep(0)

            def then() -> None:
                server.module.meanwhile = nothing  # type: ignore[attr-defined]
                idle.writer.write(get)
                half.writer.write(get[10:])
                body.writer.write(post[-3:])

            await hold(server, then)
            assert [(await wire.answer())[0] for wire in (idle, half, body)] == [204, 204, 404]

    run(test())
