"""The loop's clock and timers, for tests that decide what time it is.

clock = Clock(); hub.attach(wake, run_handler, loop=clock.as_loop()); clock.advance(60)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    def __init__(self, clock: Clock, when: float, callback: Callable[[], object]) -> None:
        self.clock = clock
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        if self in self.clock.timers:
            self.clock.timers.remove(self)


class Clock:
    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self._now = 1000.0

    def as_loop(self) -> Any:
        """For those who want a whole loop, and use no more than this of it."""
        return self

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self, when, callback))
        return self.timers[-1]

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        return self.call_at(self._now + delay, callback)

    def advance(self, seconds: float) -> None:
        """Let time pass, with all that is to happen meanwhile."""
        end = self._now + seconds
        while due := [timer for timer in self.timers if timer.when <= end]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self._now = max(self._now, timer.when)
            timer.callback()
        self._now = end
