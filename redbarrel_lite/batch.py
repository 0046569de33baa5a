"""Answers of several connections that go out together, at the end of the loop's turn.

What it implements: short answers wait while the loop has others to serve in the same turn,
and no longer. What it leaves out: which answers may wait, which is `answering`'s to say.

In one line::

    batch.write(transport, answer, now)

To send is to wake who waits for it: a proxy or a client on this machine, which has slept
since the last answer, and whom the kernel wakes on our time. Answers that come in a row
find it awake: with fifty clients it slept about a quarter as often, or less. A lone request does
not wait: it would be a turn of the loop more for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Final

# So many callbacks must still be to come in this turn: for fewer it does not pay.
MANY: Final = 2
# What is held back at most: answers, bytes of each, and seconds, of which handlers that
# compute may need many for those that come after.
MAX_ANSWERS: Final = 64
MAX_ANSWER_BYTES: Final = 16 * 1024
MAX_WAIT_S: Final = 0.001


class Batch:
    """The answers of one loop's turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # What asyncio's own loop has still to call. With another one nothing ever waits.
        self._to_come: Sized = getattr(loop, "_ready", ())
        self._owed: list[tuple[asyncio.Transport, bytes]] = []
        self._since = 0.0  # when the first of them was owed, in the loop's time

    def write(self, transport: asyncio.Transport, answer: bytes, now: float) -> None:
        """Write an answer, sooner or later in this turn, behind what was to be written."""
        owed = self._owed
        if len(self._to_come) < MANY or len(answer) > MAX_ANSWER_BYTES:
            if owed:
                self.flush()
            transport.write(answer)
            return
        if not owed:
            self._since = now
            self._loop.call_soon(self.flush)
        owed.append((transport, answer))
        if len(owed) == MAX_ANSWERS or now - self._since > MAX_WAIT_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits: before anything else is done with its connections in this turn."""
        owed, self._owed = self._owed, []
        for transport, answer in owed:
            transport.write(answer)
