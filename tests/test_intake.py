"""A body on its way in: its limit, its pace, and where it goes."""

from __future__ import annotations

import asyncio

import pytest
from clock import Clock

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.forms import SPOOL_BYTES, Spool
from redbarrel_lite.intake import Intake
from redbarrel_lite.patience import MIN_BODY_RATE, Deadline


class Connection(asyncio.Transport):
    """A transport of which nothing matters but when it is held; and what is late."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[str] = []
        self.late = 0
        self.clock = Clock()
        self.deadline = Deadline(self.clock.as_loop(), self.miss)

    def miss(self) -> None:
        self.late += 1

    def pause_reading(self) -> None:
        self.held.append("paused")

    def resume_reading(self) -> None:
        self.held.append("resumed")

    def intake(self, most: int = 1_000_000) -> Intake:
        return Intake(most, 20.0, self.deadline, self)


def test_body_may_have_as_much_as_the_limit_and_no_byte_more() -> None:
    intake = Connection().intake(10)
    intake.take(b"12345")
    intake.take(b"67890")
    assert intake.content() == b"1234567890"
    with pytest.raises(RemoteProtocolError, match="over 10 bytes") as refused:
        intake.take(b"1")
    assert refused.value.code == 413


def test_large_body_goes_to_disk() -> None:
    intake = Connection().intake(2 * SPOOL_BYTES)
    part = b"x" * (SPOOL_BYTES // 2)
    for _ in range(4):
        intake.take(part)
    content = intake.content()
    assert isinstance(content, Spool)
    assert content.read(0, content.size) == part * 4


def test_part_must_come_in_time_and_prolongs_it() -> None:
    connection = Connection()
    intake = connection.intake()
    for _ in range(10):
        connection.clock.advance(19)
        intake.take(b"x" * 20_000)
    assert connection.late == 0
    connection.clock.advance(20)
    assert connection.late == 1


def test_body_that_drips_is_late_however_regular() -> None:
    connection = Connection()
    intake = connection.intake()
    for _ in range(19):
        connection.clock.advance(1)
        intake.take(b"x")
    connection.clock.advance(1)
    assert connection.late == 0  # there is time for each byte, but not for ever
    connection.clock.advance(19 / MIN_BODY_RATE)
    assert connection.late == 1


def test_body_that_has_come_is_not_waited_for() -> None:
    connection = Connection()
    intake = connection.intake()
    intake.end()
    connection.clock.advance(1000)
    assert connection.late == 0


def test_stream_passes_parts_on_and_holds_up_a_client_that_is_too_fast() -> None:
    async def test() -> None:
        connection = Connection()
        intake = connection.intake()
        stream = intake.as_stream()
        intake.take(b"x" * 60_000)
        assert connection.held == []
        intake.take(b"y" * 60_000)
        assert connection.held == ["paused"]
        connection.clock.advance(1000)
        assert connection.late == 0  # its time stands still
        assert await anext(stream) == b"x" * 60_000
        assert connection.held == ["paused", "resumed"]
        connection.clock.advance(19)
        intake.end()
        assert await anext(stream) == b"y" * 60_000
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert connection.late == 0

    asyncio.run(test())


def test_stream_that_breaks_off_raises_behind_what_has_come() -> None:
    async def test() -> None:
        connection = Connection()
        intake = connection.intake(10)
        stream = intake.as_stream()
        intake.take(b"12345")
        error = RemoteProtocolError("over", 413)
        intake.break_off(error)
        intake.take(b"6" * 100)  # nobody cares
        intake.break_off(RemoteProtocolError("another", 400))
        assert connection.held == ["paused"]
        assert await anext(stream) == b"12345"
        with pytest.raises(RemoteProtocolError, match="over"):
            await anext(stream)

    asyncio.run(test())


def test_answered_request_lets_its_body_alone() -> None:
    async def test() -> None:
        connection = Connection()
        intake = connection.intake()
        stream = intake.as_stream()
        intake.take(b"x" * 120_000)
        intake.abandon()
        assert await anext(stream) == b"x" * 120_000
        assert connection.held == ["paused"]
        connection.clock.advance(1000)
        assert connection.late == 0

    asyncio.run(test())
