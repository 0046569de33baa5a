"""The deadline of a connection, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from clock import Clock

from redbarrel_lite.patience import Deadline, Pulse


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


def test_deadline_that_passes_while_the_loop_is_held_is_asked_behind_the_sockets(
    watched: Watched,
) -> None:
    watched.deadline.set(10)
    watched.clock.advance(5)
    watched.deadline.set(10)  # the timer still rings for the first one
    watched.clock._now += 60  # and now it does, held up, together with all others
    (timer,) = watched.clock.timers
    watched.clock.timers.clear()
    timer.callback()
    assert watched.missed == []
    (timer,) = watched.clock.timers  # after what can be read, as asyncio calls them
    assert timer.when == 1015
    watched.clock.advance(0)
    assert watched.missed == [1065]


def test_pulse_shows_how_late_the_loop_is() -> None:
    clock = Clock()
    needed = [True]
    pulse = Pulse(clock.as_loop(), lambda: needed[0])
    assert pulse.is_fair(clock.time())
    assert clock.timers == []
    pulse.start()
    pulse.start()
    assert len(clock.timers) == 1
    clock.advance(100)
    assert pulse.is_fair(clock.time())
    clock._now += 30  # held: and who is asked before the timer has rung knows it too
    assert not pulse.is_fair(clock.time())
    clock.advance(0.9)
    assert not pulse.is_fair(clock.time())
    clock.advance(0.2)
    assert pulse.is_fair(clock.time())
    assert not pulse.is_fair(clock.time(), due=clock.time() - 0.2)  # a timer that is late itself
    clock.advance(0.2)
    assert pulse.is_fair(clock.time())
    needed.clear()
    needed.append(False)
    clock.advance(2)
    assert clock.timers == []


def test_deadline_that_is_set_behind_its_end_calls_nobody(watched: Watched) -> None:
    watched.deadline.end()
    watched.deadline.set(10)
    watched.clock.advance(10)
    assert watched.missed == []


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
        async with asyncio.timeout(30):
            await missed.wait()
        deadline.end()

    asyncio.run(test())
