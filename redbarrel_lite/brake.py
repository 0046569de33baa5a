"""Holds up a client that sends more events a second than its path allows.

What it implements: `max-rate`. A second's worth may come at once; whoever sends more is
not read from until it is even again, and whoever never is, is closed. What it leaves
out: which clients have such a limit, which is for `sockets`.

In one line::

    brake.count()  # for each event
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .errors import RemoteProtocolError
from .outgoing import Connection

# Then it is read from though it is not even: it has to answer a ping in time.
MAX_PAUSE_S: Final = 5.0
# Without this, what rounding leaves of an event would be waited for in no time at all.
MIN_PAUSE_S: Final = 0.01
# Pauses in a row, before the client is closed. It is at once if they would not be enough for
# what has come.
MAX_PAUSES: Final = 10
REASON: Final = "over max-rate"


class Brake:
    """The events of one client, counted."""

    def __init__(
        self,
        rate: float,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        end: Callable[[str], object],
    ) -> None:
        self._rate = rate
        self._connection = connection
        self._loop = loop
        self._end = end
        self._burst = max(rate, 1.0)
        self._most = rate * MAX_PAUSES * MAX_PAUSE_S  # that may have come too early
        self._left = self._burst  # events that may come now
        self._at = loop.time()
        self._pauses = 0  # in a row
        self._paused: asyncio.TimerHandle | None = None
        self._until = 0.0

    def count(self) -> None:
        """One more. Raises `RemoteProtocolError` if the connection is to be closed."""
        self._catch_up()
        if self._left >= self._burst / 2:
            self._pauses = 0
        self._left -= 1
        begins = self._left < 0 and self._paused is None
        if self._left < -self._most or (begins and self._pauses == MAX_PAUSES):
            self._end(REASON)
            raise RemoteProtocolError(f"over {self._rate:g} events a second, for too long")
        if begins:
            self._pauses += 1
            self._connection.pause()
            self._until = self._at + MAX_PAUSE_S
            self._wait()

    def _catch_up(self) -> None:
        now = self._loop.time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now

    def _wait(self) -> None:
        """Look again when what has come so far is even; more may have come with it."""
        even = self._at - self._left / self._rate
        at = max(min(even, self._until), self._at + MIN_PAUSE_S)
        self._paused = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._catch_up()
        if self._left < 0 and self._at < self._until:
            self._wait()
        else:
            self.release()

    def release(self) -> None:
        """Read on; the client may have gone."""
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
            self._connection.resume()
