"""How late an event loop is: how long what is due waits for its turn.

What it implements: a timer that is set again and again and looks how late it rang. It rings
four times a second while the server is at work, and every five seconds while it is not, so
that an idle one sleeps. What it leaves out: who held the loop, which `watchdog` tells.

In one line::

    lag = Lag(lambda: numbers.bytes); lag.start(loop); lag.took.samples({})
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .metrics import Histogram

BUSY_S: Final = 0.25
IDLE_S: Final = 5.0


class Lag:
    """The lag of one loop."""

    _loop: asyncio.AbstractEventLoop

    def __init__(
        self, work: Callable[[], object], looked: Callable[[float], object] = lambda _now: None
    ) -> None:
        """``work`` changes whenever the server has done something.

        ``looked`` is told the time, whenever the timer has rung.
        """
        self.took = Histogram()
        self._work = work
        self._looked = looked
        self._done: object = None  # what `work` was at the last look
        self._pause = BUSY_S
        self._due = 0.0  # by the loop's clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to look, if that has not begun."""
        if self._timer is None:
            self._loop = loop
            self._wait(loop.time())

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, now: float) -> None:
        self._due = now + self._pause
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        self.took.observe(max(now - self._due, 0.0))
        self._looked(now)
        done = self._work()
        self._pause = min(self._pause * 2, IDLE_S) if done == self._done else BUSY_S
        self._done = done
        self._wait(now)
