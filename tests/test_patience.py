"""The deadline of a connection, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from clock import Clock

from redbarrel_lite.patience import Deadline


class Watched:
    """What has a deadline, and notes when it is missed."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.missed: list[float] = []
        self.deadline = Deadline(clock.as_loop(), self.late)

    def late(self) -> None:
        self.missed.append(self.clock.time())


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched(Clock())
    yield watched
    watched.deadline.end()
    assert watched.clock.timers == []


def test_deadline_is_missed_once(watched: Watched) -> None:
    watched.deadline.set(10)
    watched.clock.advance(9.9)
    assert watched.missed == []
    watched.clock.advance(100)
    assert watched.missed == [1010]


def test_later_deadline_leaves_the_timer_and_is_kept(watched: Watched) -> None:
    for _ in range(100):
        watched.deadline.set(10)
        watched.clock.advance(1)
        watched.deadline.set(30)
        watched.clock.advance(1)
        assert len(watched.clock.timers) == 1
    assert watched.missed == []
    watched.clock.advance(100)
    assert watched.missed == [1000 + 199 + 30]


def test_earlier_deadline_moves_the_timer(watched: Watched) -> None:
    watched.deadline.set(30)
    watched.deadline.set(2)
    assert len(watched.clock.timers) == 1
    watched.clock.advance(2)
    assert watched.missed == [1002]


def test_lifted_deadline_is_none_until_another_is_set(watched: Watched) -> None:
    watched.deadline.set(10)
    watched.deadline.lift()
    watched.clock.advance(60)
    assert watched.missed == []
    assert watched.clock.timers == []
    watched.deadline.set_at(watched.deadline.now() + 5)
    watched.clock.advance(5)
    assert watched.missed == [1065]


def test_deadline_that_has_ended_keeps_nothing() -> None:
    clock = Clock()
    watched = Watched(clock)
    watched.deadline.set(10)
    watched.deadline.end()
    watched.deadline.end()
    assert clock.timers == []
    gone = weakref.ref(watched)
    gc.disable()  # it must go by itself
    try:
        del watched
        assert gone() is None
    finally:
        gc.enable()


def test_deadline_works_on_a_loop() -> None:
    async def test() -> None:
        missed = asyncio.Event()
        deadline = Deadline(asyncio.get_running_loop(), missed.set)
        deadline.set(0.01)
        async with asyncio.timeout(10):
            await missed.wait()
        deadline.end()

    asyncio.run(test())
