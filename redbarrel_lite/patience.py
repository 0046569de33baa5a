"""How long a client may take: the limits, the deadline that a connection keeps, and fairness.

What it implements: time limits in seconds, one deadline for all that a connection waits
for, one after the other, and whether it was the client that was late, or this server.
What it leaves out: what happens when a deadline is missed.

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
# Seconds without a word, while the answer is awaited by a client that sends no more.
HALF_CLOSED_S: Final = 5.0
PULSE_S: Final = 1.0
# For what runs to end, once the server was told to.
GRACE_S: Final = 5.0
# A loop that is later than this was held, and so long at most, in seconds, it is not asked
# to judge: then what has come meanwhile is read, be it a request on a new connection.
LATE_S: Final = 0.1
SETTLE_S: Final = 1.0


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
    half_closed: float = HALF_CLOSED_S


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
        rung, self._rings = self._rings, inf
        self._timer = None
        if self._at == rung:
            self._at = inf
            self._missed()
        elif self._at < inf:
            # Even if that is over by now, since the loop was held: a timer is called
            # behind the sockets that can be read, and there the client may have moved on.
            self._move_timer()


class Pulse:
    """Whether the loop has kept up; asked before somebody is cut off for being silent.

    While a handler holds the loop nothing is read, and what a client says waits in the
    system. Afterwards all timers ring at once. A timer once a second, while there is
    anybody to judge, shows how late the loop is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, is_needed: Callable[[], object]) -> None:
        self._loop = loop
        self._is_needed = is_needed
        self._due = inf  # the next beat; inf: there is none
        self.fair_at = 0.0  # from when on silence says something, by the loop's clock

    def start(self) -> None:
        """There is somebody to judge."""
        if self._due == inf:
            self._wait()

    def _wait(self) -> None:
        self._due = self._loop.time() + PULSE_S
        self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self.is_fair(self._loop.time())
        self._due = inf
        if self._is_needed():
            self._wait()

    def is_fair(self, now: float, due: float = inf) -> bool:
        """Whether silence says something ``now``, to a timer that was ``due`` at that time."""
        late = now - min(due, self._due)
        if late > LATE_S:
            self.fair_at = max(self.fair_at, now + min(late, SETTLE_S))
        return now >= self.fair_at


def _nothing() -> None:
    pass
