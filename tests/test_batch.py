"""Answers that go out together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from wire import PATIENCE_S, Wire, live, run

from redbarrel_lite import batch as room
from redbarrel_lite.batch import MAX_ANSWER_BYTES, MAX_ANSWERS, MAX_WAIT_S, Batch


class Kept(asyncio.Transport):
    """What was written, and to which of them."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__()
        self._name = name
        self._log = log

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._log.append(f"{self._name} {bytes(data[:9]).decode()}")


def turn(play: Callable[[Batch, list[str]], None], others: int) -> list[str]:
    """Play something in a callback that has others behind it in its turn; what came of all."""
    log: list[str] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        batch = Batch(loop)
        loop.call_soon(play, batch, log)
        for _ in range(others):
            loop.call_soon(log.append, "other")
        for _ in range(3):
            await asyncio.sleep(0)

    run(test())
    return log


@pytest.mark.parametrize("others", [0, 20])
def test_answers_wait_for_the_end_of_a_turn_that_has_others_to_serve(others: int) -> None:
    def play(batch: Batch, log: list[str]) -> None:
        for name in "abc":
            batch.write(Kept(name, log), b"answer", 0.0)

    answers = ["a answer", "b answer", "c answer"]
    served = ["other"] * others
    assert turn(play, others) == (served + answers if others else answers)


def test_answer_that_does_not_wait_comes_behind_those_that_do() -> None:
    def play(batch: Batch, log: list[str]) -> None:
        batch.write(Kept("a", log), b"first", 0.0)
        batch.write(Kept("a", log), b"second" + b" " * MAX_ANSWER_BYTES, 0.0)

    assert turn(play, 9) == ["a first", "a second   ", *["other"] * 9]


def test_answers_wait_no_longer_when_there_are_many_or_one_is_late() -> None:
    def many(batch: Batch, log: list[str]) -> None:
        for number in range(MAX_ANSWERS + 1):
            batch.write(Kept(str(number), log), b"answer", 0.0)

    def late(batch: Batch, log: list[str]) -> None:
        for now in (0.0, MAX_WAIT_S / 2, MAX_WAIT_S * 2, MAX_WAIT_S * 3):
            batch.write(Kept("a", log), b"answer", now)

    answers = [f"{number} answer" for number in range(MAX_ANSWERS + 1)]
    assert turn(many, 9) == [*answers[:-1], *["other"] * 9, answers[-1]]
    assert turn(late, 9) == [*["a answer"] * 3, *["other"] * 9, "a answer"]


def test_nothing_waits_on_a_loop_that_does_not_say_what_is_to_come() -> None:
    class Silent:
        """As much of a loop as is asked."""

    log: list[str] = []
    batch = Batch(Silent())  # type: ignore[arg-type]
    batch.write(Kept("a", log), b"answer", 0.0)
    assert log == ["a answer"]


# -- on a server -----------------------------------------------------------------------------

RBR = """
path hello ( url /, use python:MODULE.hello );
path parts ( url /parts, use python:MODULE.parts );
path socket ( method WEBSOCKET, url /ws, use python:MODULE.echo );
path form ( method POST, url /form, use python:MODULE.form );
"""
SOURCE = """
async def hello(request):
    return "Hello"

async def parts(request):
    yield "in "
    yield "parts"

async def echo(request):
    async for message in request.socketio:
        await request.socketio.send(message[0])

async def form(request):
    return request.body
"""
HELLO = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
EXPECTING = b"POST /form HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
# What may follow an answer that waits, and how the answer to it begins and ends.
FOLLOWING = {
    HELLO: (b"200 OK", b"Hello"),
    HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"): (b"200 OK", b"Hello"),
    HELLO.replace(b"/", b"/parts", 1): (b"200 OK", b"0\r\n\r\n"),
    UPGRADE: (b"101 Switching", b"\r\n\r\n"),
    EXPECTING: (b"100 Continue", b"\r\n\r\n"),
    b"\0": (b"400 Bad Request", b"\n"),
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1": (b"405 Method", b"\n"),
}


async def crowd(url: str) -> list[Wire]:
    """Clients that have been answered once: from then on that takes no turn of the loop."""
    wires = [await Wire.open(url) for _ in range(20)]
    for wire in wires:
        assert (await wire.ask("GET", "/"))[0] == 200
    return wires


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let answers wait for the end of the turn, on a slow machine too."""
    monkeypatch.setattr(room, "MAX_WAIT_S", PATIENCE_S)
    monkeypatch.setattr(room, "MAX_ANSWERS", 10_000)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("following", FOLLOWING, ids=repr)
def test_what_follows_answers_that_wait_stands_behind_them(
    tmp_path: Path, following: bytes
) -> None:
    """Many clients say the same at once, and each is told all of it in order."""

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wires = await crowd(server.url)
            for wire in wires:
                wire.writer.write(HELLO + HELLO + following)
            begin, end = FOLLOWING[following]
            for wire in wires:
                assert [(await wire.answer())[::2] for _ in "12"] == [(200, b"Hello")] * 2
                async with asyncio.timeout(PATIENCE_S):
                    told = await wire.reader.readuntil(end)
                assert told.startswith(b"HTTP/1.1 " + begin)

    run(test())


@pytest.mark.usefixtures("patient")
def test_answers_that_wait_come_before_the_end_of_who_says_no_more(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wires = await crowd(server.url)
            for wire in wires:
                wire.writer.write(HELLO * 20)  # more than are answered in a turn
                wire.writer.write_eof()
            for wire in wires:
                assert (await wire.rest()).count(b"200 OK") == 20

    run(test())
