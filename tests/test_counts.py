"""What a message costs, counted instead of timed: the same on every machine.

A connection is fed without a network: what it writes is kept, and counted. Where a count
grows, a message has become dearer; the limits leave no room for one function more a layer.
The clock is asked in `bench/`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import pytest

from redbarrel_lite.app import App
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.server import Server
from redbarrel_lite.upstream import Upstream
from redbarrel_lite.wsproto import unmask

PACKAGE = str(Path(__file__).resolve().parent.parent / "redbarrel_lite")
RBR = """
path hello ( url /, use python:counted.hello );
path echo ( method SOCKETIO, namespace /echo, use python:counted.echo );
path cast ( method SOCKETIO, namespace /cast, use python:counted.cast );
path raw ( method WEBSOCKET, url /ws, use python:counted.echo );
"""
SOURCE = """
async def hello(request):
    return "Hello World"

async def echo(request):
    async for message in request.socketio:
        await request.socketio.send(message[0])

async def cast(request):
    async for message in request.socketio:
        await request.socketio.broadcast(message[0])
"""
ROUNDS = 50  # of which the mean is taken
KEY = b"\x37\xfa\x21\x3d"
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ENGINE = "/socket.io/?EIO=4&transport="

TURN: Final = None  # of the loop, which goes by
# What was written in a round, once it is over.
Rounds = Generator[list[bytes] | None, None, None]
Step = Generator[None, None, None]


class Counted(asyncio.Transport):
    """A transport without a network, and the protocol that it belongs to."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.protocol: Any = HttpConnection(server)
        self.protocol.connection_made(self)

    def feed(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def take(self) -> list[bytes]:
        """What was written since the last time, a piece a write."""
        written, self.written = self.written, []
        return written

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_reading(self) -> bool:
        return True

    def leave(self) -> None:
        self.protocol.connection_lost(None)


def frame(*messages: str) -> bytes:
    """Masked text frames."""
    parts = []
    for message in messages:
        payload = message.encode()
        parts.append(bytes((0x81, 0x80 | len(payload))) + KEY + unmask(payload, KEY))
    return b"".join(parts)


def event(namespace: str, text: str) -> str:
    return f'42{namespace},["message","{text}"]'


# -- workloads ---------------------------------------------------------------------------


def joined(server: Server, namespace: str) -> Generator[None, None, Counted]:
    """A client over WebSocket that has joined."""
    client = Counted(server)
    client.feed(f"GET {ENGINE}websocket HTTP/1.1\r\n".encode() + UPGRADE)
    yield TURN
    client.feed(frame(f"40{namespace},"))
    yield TURN
    yield TURN
    assert f"40{namespace},".encode() in b"".join(client.take())
    return client


def hello(server: Server) -> Rounds:
    client = Counted(server)
    while True:
        client.feed(HELLO)
        yield TURN
        yield client.take()


def echo(server: Server, in_flight: int = 1) -> Rounds:
    client = yield from joined(server, "/echo")
    messages = frame(*(event("/echo", f"message {number}") for number in range(in_flight)))
    while True:
        client.feed(messages)
        yield TURN
        yield client.take()


def sixteen(server: Server) -> Rounds:
    return echo(server, 16)


def raw(server: Server) -> Rounds:
    client = Counted(server)
    client.feed(b"GET /ws HTTP/1.1\r\n" + UPGRADE)
    yield TURN
    client.take()
    while True:
        client.feed(frame("message"))
        yield TURN
        yield client.take()


def delivery(server: Server) -> Rounds:
    """A broadcast to twenty."""
    first = yield from joined(server, "/cast")
    others: list[Counted] = []
    while len(others) < 20:
        others.append((yield from joined(server, "/cast")))
    while True:
        first.feed(frame(event("/cast", "message")))
        yield TURN
        yield TURN
        yield [one for client in others for one in client.take()]


def poll(server: Server) -> Rounds:
    """A POST and the GET that brings the answer, each on a connection of its own."""
    posts, gets = Counted(server), Counted(server)

    def request(method: str, body: str = "") -> bytes:
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body.encode()

    target = ENGINE + "polling"
    gets.feed(request("GET"))
    yield TURN
    handshake = json.loads(b"".join(gets.take()).partition(b"\r\n\r\n")[2][1:])
    target += "&sid=" + handshake["sid"]
    posts.feed(request("POST", "40/echo,"))
    yield TURN
    gets.feed(request("GET"))
    yield TURN
    posts.take()
    gets.take()
    while True:
        posts.feed(request("POST", event("/echo", "message")))
        gets.feed(request("GET"))
        yield TURN
        yield TURN
        yield posts.take() + gets.take()


def connect(server: Server) -> Rounds:
    """A WebSocket that joins a namespace, and goes."""
    while True:
        client = yield from joined(server, "/echo")
        client.leave()
        yield TURN
        yield TURN
        yield [b""]


class Most(NamedTuple):
    """What a round may cost."""

    writes: int  # each is a call of the system
    calls: int  # of our functions; before Python 3.12 a comprehension is one
    peak: int  # bytes that are allocated at once, a quarter more than was seen
    kept: int = 50  # bytes that stay


WORKLOADS: dict[Callable[[Server], Rounds], Most] = {
    hello: Most(1, 22, 2400),
    echo: Most(1, 41, 2200),
    sixteen: Most(1, 580, 5400),
    raw: Most(1, 38, 1700),
    delivery: Most(20, 139, 5100),
    poll: Most(2, 211, 6200),
    # asyncio forgets a timer that was cancelled when there are a hundred of them.
    connect: Most(1, 253, 15500, 5000),
}


# -- counting ----------------------------------------------------------------------------


class Calls:
    """How many functions of ours were called."""

    count = 0

    def __call__(self, frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.count += 1


def drive(folder: Path, play: Callable[[Server], Step]) -> None:
    """Play something in callbacks of a loop, as a network would; not in a task."""
    (folder / "counted.py").write_text(SOURCE, encoding="utf-8")
    (folder / "counted.rbr").write_text(RBR, encoding="utf-8")

    async def test() -> None:
        loop = asyncio.get_running_loop()
        server = Server(App.load(folder / "counted.rbr", Upstream))
        await server.start()
        done = loop.create_future()
        steps = play(server)

        def step() -> None:
            try:
                next(steps)
            except StopIteration:
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
            else:
                loop.call_soon(step)

        loop.call_soon(step)
        try:
            await done
        finally:
            for connection in tuple(server.connections):
                assert isinstance(connection, asyncio.Protocol)
                connection.connection_lost(None)
            await server.close(1.0)

    asyncio.run(test())


def rounds(play: Rounds, count: int) -> Generator[None, None, int]:
    """So many rounds; how many writes there were in each."""
    writes: list[int] = []
    while len(writes) < count:
        written = next(play)
        if written is None:
            yield
        else:
            writes.append(len(written))
    assert len(set(writes)) == 1, writes
    return writes[0]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_message_costs_no_more_than_it_did(
    tmp_path: Path, workload: Callable[[Server], Rounds]
) -> None:
    most = WORKLOADS[workload]

    def play(server: Server) -> Step:
        running = workload(server)
        yield from rounds(running, 3)  # the first may fill what is kept
        calls = Calls()
        sys.setprofile(calls)
        try:
            writes = yield from rounds(running, ROUNDS)
        finally:
            sys.setprofile(None)
        assert writes == most.writes
        assert calls.count // ROUNDS <= most.calls  # a timer may ring amid them

    drive(tmp_path, play)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.__name__)
def test_message_leaves_nothing_behind(
    tmp_path: Path, workload: Callable[[Server], Rounds]
) -> None:
    most = WORKLOADS[workload]

    def play(server: Server) -> Step:
        running = workload(server)
        yield from rounds(running, ROUNDS)
        gc.collect()
        tracemalloc.start()
        peaks, kept = [], []
        try:
            for _ in range(3):  # now and then there is something to renew: the date
                yield from rounds(running, 1)
                gc.collect()
                before = tracemalloc.get_traced_memory()[0]
                for _ in range(ROUNDS):
                    tracemalloc.reset_peak()
                    least = tracemalloc.get_traced_memory()[0]
                    yield from rounds(running, 1)
                    peaks.append(tracemalloc.get_traced_memory()[1] - least)
                gc.collect()
                kept.append(tracemalloc.get_traced_memory()[0] - before)
                if min(peaks) <= most.peak and min(kept) / ROUNDS <= most.kept:
                    break
        finally:
            tracemalloc.stop()
        assert min(peaks) <= most.peak
        assert min(kept) / ROUNDS <= most.kept

    drive(tmp_path, play)
