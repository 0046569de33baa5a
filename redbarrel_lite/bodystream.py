"""A request's body for a service that takes it as it comes.

What it implements: back-pressure between a connection and whoever reads the body:
what waits is bounded by a mark, above which the client is not read from. What it
leaves out: framing and time limits, which are the connection's.

In one line::

    async for part in request.stream: ...
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

# What may wait for the service. Above it, reading from the client pauses, TCP tells
# the client's system so, and a gigabyte on its way to a slow disk stays where it is.
HIGH_BYTES: Final = 64 * 1024


class BodyStream:
    """An async iterator of the body's parts; raises what `fail` was told."""

    __slots__ = ("_ended", "_error", "_news", "_parts", "_resume", "_waiting")

    def __init__(self, resume: Callable[[], None]) -> None:
        """``resume`` is called when there is room again, where there was none."""
        self._resume = resume
        self._parts: deque[bytes] = deque()
        self._waiting = 0  # bytes
        self._ended = False
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def __aiter__(self) -> BodyStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        part = self._parts.popleft()
        was_full = self.is_full
        self._waiting -= len(part)
        if was_full and not self.is_full:
            self._resume()
        return part

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to come, well or not."""
        return self._ended or self._error is not None

    @property
    def is_full(self) -> bool:
        return self._waiting > HIGH_BYTES

    def feed(self, part: bytes) -> None:
        """A part has come."""
        self._parts.append(part)
        self._waiting += len(part)
        self._news.set()

    def end(self) -> None:
        """That was all of it."""
        self._ended = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        """There will be no more: who reads on gets the error, behind the parts that are there."""
        self._error = error
        self._news.set()
