"""How long a client may take: the limits, and the deadline that a connection keeps.

What it implements: time limits in seconds, and one deadline for all that a connection
waits for, one after the other. What it leaves out: what happens when it is missed.

In one line::

    deadline = Deadline(loop, self._late); deadline.set(limits.head)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

# Bytes a second, on average, once the first seconds are over: a body that drips in
# a byte at a time would be held for days.
MIN_BODY_RATE: Final = 500


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How long a client may take, in seconds.

    A head has one limit for the whole of it: a byte now and then does not prolong
    it, or a few hundred slow clients would hold all connections.
    """

    head: float = 10.0
    body: float = 20.0  # between two parts of it, and see MIN_BODY_RATE
    idle: float = 30.0  # between two requests
    write: float = 30.0  # to read the last answer
    linger: float = 2.0  # to read a refusal


class Deadline:
    """When a connection must have moved on.

    It is set and lifted with each request, and hardly ever missed. So the loop's timer
    stays where it is until it rings too early, and is moved at once only for a deadline
    before that.
    """

    __slots__ = ("_at", "_loop", "_missed", "_rings", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], None]) -> None:
        """``missed`` is called when the time is over; set another one, or be done with it."""
        self._loop = loop
        self._missed = missed
        self._at = inf
        self._rings = inf  # when the timer does; inf: there is none
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The loop's time, in seconds."""
        return self._loop.time()

    def set(self, seconds: float) -> None:
        """So much time from now, whatever was set before."""
        self.set_at(self._loop.time() + seconds)

    def set_at(self, at: float) -> None:
        """The same, by the loop's clock."""
        self._at = at
        if at < self._rings:
            self._move_timer()

    def lift(self) -> None:
        """There is time."""
        self._at = inf

    def end(self) -> None:
        """Never call again: the connection has gone, and nothing here may keep it."""
        self._at = inf
        self._missed = _nothing
        if self._timer is not None:
            self._timer.cancel()

    def _move_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = self._at
        self._timer = self._loop.call_at(self._at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings = inf
        if self._loop.time() >= self._at:
            self._at = inf
            self._missed()
        elif self._at < inf:
            self._move_timer()


def _nothing() -> None:
    pass
