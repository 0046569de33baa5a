"""The last five minutes of a few numbers that only grow, as how fast they did.

What it implements: points that are kept when somebody comes by with the time, and speeds
between them. What it leaves out: a clock, and a timer of its own: `lag` has one.

In one line::

    trail = Trail(lambda: (requests, events)); trail.look(now); trail.speeds(now)
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

STEP_S: Final = 5.0
STEPS: Final = 60


class Trail:
    """What was read, and when."""

    def __init__(self, read: Callable[[], Sequence[float]]) -> None:
        """``read`` gives the numbers as of now, always as many."""
        self._read = read
        # With an idle server's pauses between them, they reach back further than they have to.
        self._points: deque[tuple[float, Sequence[float]]] = deque(maxlen=STEPS + 2)

    def look(self, now: float) -> None:
        """Keep a point, if the last one is old enough."""
        if not self._points or now - self._points[-1][0] >= STEP_S:
            self._points.append((now, self._read()))

    def speeds(self, now: float) -> list[list[float]]:
        """Of each number how much it grew a second, in steps of `STEP_S`; the last ends now."""
        points = [*self._points, (now, self._read())]
        edges = [now - STEP_S * back for back in range(STEPS, -1, -1)]
        times = [at for at, _ in points]
        return [
            [
                (after - before) / STEP_S
                for before, after in pairwise(_at(edge, times, values) for edge in edges)
            ]
            for values in zip(*(values for _, values in points), strict=True)
        ]


def _at(time: float, times: Sequence[float], values: Sequence[float]) -> float:
    """What a number was at a time: on the line between the points around it."""
    index = bisect_right(times, time)
    if index in (0, len(times)):
        return values[min(index, len(times) - 1)]
    begin, end = times[index - 1], times[index]
    share = (time - begin) / (end - begin)
    return values[index - 1] + share * (values[index] - values[index - 1])
