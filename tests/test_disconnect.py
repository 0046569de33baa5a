"""`on disconnect`, over real connections: once, with the reason in the words of the reference."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from wire import SOCKET_IO, Live, Poller, WebSocket, live, run, socketio, until

RBR = """
path s ( method SOCKETIO, {options}
    on disconnect use python:MODULE.left, on close use python:MODULE.close );
"""
SOURCE = """
reasons = []

def left(globs, request, reason):
    reasons.append(reason)

async def close(globs, request, *reason):
    request.socketio.close(*reason)
"""

Goodbye = Callable[[Live], Awaitable[object]]


async def says_so(server: Live) -> None:
    await (await socketio(server.url)).text("41")


async def closes_the_session(server: Live) -> None:
    await (await socketio(server.url)).text("1")


async def closes_the_websocket(server: Live) -> None:
    await (await socketio(server.url)).frame(0x88, b"")


async def resets(server: Live) -> None:
    (await socketio(server.url)).reset()


async def breaks_the_protocol(server: Live) -> None:
    await (await socketio(server.url)).text("49")


async def breaks_the_engine(server: Live) -> None:
    await (await socketio(server.url)).text("9")


async def breaks_the_frames(server: Live) -> None:
    await (await socketio(server.url)).frame(0xF1, b"")


async def is_turned_out(server: Live) -> None:
    await (await socketio(server.url)).text('42["close"]')


async def is_turned_out_for_a_reason(server: Live) -> None:
    await (await socketio(server.url)).text('42["close","it is late"]')


async def polls_and_closes(server: Live) -> None:
    await (await Poller.connect(server.url)).post("1")


async def polls_twice_at_once(server: Live) -> None:
    poller = await Poller.connect(server.url)
    first, second = WebSocket.open(server.url), WebSocket.open(server.url)
    for wire in (await first, await second):
        await wire.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    ("goodbye", "reasons"),
    [
        (says_so, ["client namespace disconnect"]),
        (closes_the_session, ["transport close"]),
        (closes_the_websocket, ["transport close"]),
        (resets, ["transport close", "transport error"]),
        (breaks_the_protocol, ["parse error"]),
        (breaks_the_engine, ["parse error"]),
        (breaks_the_frames, ["parse error"]),
        (is_turned_out, ["server namespace disconnect"]),
        (is_turned_out_for_a_reason, ["it is late"]),
        (polls_and_closes, ["transport close"]),
        (polls_twice_at_once, ["parse error", "transport close", "transport error"]),
    ],
)
def test_disconnect_has_the_reason_and_runs_once(
    tmp_path: Path, goodbye: Goodbye, reasons: list[str]
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(options=""), SOURCE) as server:
            told = told_by(server)
            await goodbye(server)
            await until(lambda: bool(told))
            assert told[0] in reasons
            count = 1
        await asyncio.sleep(0)
        assert len(told) == count

    run(test())


def told_by(server: Live) -> list[str]:
    """The list that `left` appends to."""
    folder = server.server.app.homes[0].file.folder
    module = next(folder.path.glob("module_of_test_*.py")).stem
    found: list[str] = folder.modules.find(f"{module}.reasons")
    return found


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_missing_pong_is_a_ping_timeout(tmp_path: Path, transport: str) -> None:
    options = "ping-interval 0.05, ping-timeout 0.05,"

    async def test() -> None:
        async with live(tmp_path, RBR.format(options=options), SOURCE) as server:
            told = told_by(server)
            if transport == "websocket":
                client = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
                await client.text("40")
            else:
                poller = Poller(server.url)
                await poller.handshake()
                await poller.post("40")
            await until(lambda: bool(told))
            assert told == ["ping timeout"]

    run(test())


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_end_of_the_server_is_a_reason(tmp_path: Path, transport: str) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(options=""), SOURCE) as server:
            told = told_by(server)
            if transport == "websocket":
                await socketio(server.url)
            else:
                await Poller.connect(server.url)
        assert told == ["server shutting down"]

    run(test())


def test_end_of_the_server_is_a_reason_for_who_waits_in_a_poll(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(options=""), SOURCE) as server:
            told = told_by(server)
            reading = asyncio.create_task((await Poller.connect(server.url)).read())
            (socket,) = server.server.app.hub.sockets()
            await until(lambda: socket.connection.ready)  # a poll waits
            await server.server.close(1.0)
            assert await reading == "1"
            assert told == ["server shutting down"]

    run(test())
