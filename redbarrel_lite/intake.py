"""A request's body on its way in: how much of it, how fast, and where it goes.

What it implements: a limit of bytes, a minimum rate, memory for a small body and a
file on disk for a large one, or neither for a service that takes it as it comes, and
then makes the client wait. What it leaves out: what is answered to a client that
breaks a limit.

In one line::

    intake = Intake(1_000_000, 20.0, deadline, transport); intake.take(b"..."); intake.content()
"""

from __future__ import annotations

import asyncio
from typing import Final

from .bodystream import BodyStream
from .errors import RemoteProtocolError
from .forms import SPOOL_BYTES, Body, Spool
from .patience import MIN_BODY_RATE, Deadline

# What is read of one connection before the others have their turn.
READ_BYTES: Final = 32 * 1024


def read_in_parts(transport: asyncio.Transport) -> None:
    """Have asyncio read less at once than the 256 KiB that it would.

    So many short frames are a quarter of a second of work. And a buffer of that size is
    memory that the C library gets from the system for each read, however little comes,
    and gives back: three calls more than the one that reads, and as dear as all the rest.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = READ_BYTES


class Intake:
    """What has come of one body, and how long the rest of it may take."""

    __slots__ = (
        "_abandoned",
        "_began",
        "_deadline",
        "_kept",
        "_most",
        "_patience",
        "_received",
        "_spool",
        "_stalled",
        "_transport",
        "stream",
    )

    def __init__(
        self, most: int, patience: float, deadline: Deadline, transport: asyncio.Transport
    ) -> None:
        """It may have ``most`` bytes; ``patience`` is for each part, in seconds."""
        self._most = most
        self._patience = patience
        self._deadline = deadline
        self._transport = transport
        self.stream: BodyStream | None = None  # where parts go, if they are not kept for later
        self._received = 0  # bytes
        self._kept = bytearray()
        self._spool: Spool | None = None  # instead, once there is too much for memory
        self._began = deadline.now()  # later, by as long as a service did not read
        self._stalled = 0.0  # since when it does not
        self._abandoned = False
        self._await_part()

    def take(self, part: bytes) -> None:
        """Keep a part, or pass it on.

        Raises `RemoteProtocolError`, with status 413, for one byte too many, and OSError
        where the disk has no room for it.
        """
        stream = self.stream
        self._received += len(part)
        if stream is not None and stream.is_over:
            return
        if self._received > self._most:
            raise RemoteProtocolError(f"the body is over {self._most} bytes", 413)
        if stream is not None:
            stream.feed(part)
        elif self._received <= SPOOL_BYTES:
            self._kept += part
        else:
            self._keep_on_disk(part)
        if stream is not None and stream.is_full:
            self._stall()
        else:
            self._await_part()

    def _keep_on_disk(self, part: bytes) -> None:
        # Written in this thread: to the system's cache, which takes no longer than
        # handing it to another thread would.
        if self._spool is None:
            self._spool = Spool()
            self._spool.add(self._kept)
            self._kept = bytearray()
        self._spool.add(part)

    def content(self) -> Body:
        """All that was kept."""
        return self._spool or bytes(self._kept)

    def _await_part(self) -> None:
        """The next part must come soon, and the parts so far must not have dripped."""
        now = self._deadline.now()
        rate = self._patience + self._received / MIN_BODY_RATE - (now - self._began)
        self._deadline.set_at(now + min(self._patience, max(0.0, rate)))

    # -- as a stream -----------------------------------------------------------------

    def as_stream(self) -> BodyStream:
        """Pass on what comes from now on."""
        self.stream = BodyStream(self._go_on)
        return self.stream

    def _stall(self) -> None:
        """The service is slower than the client, whose time stands still meanwhile."""
        self._transport.pause_reading()
        self._deadline.lift()
        self._stalled = self._deadline.now()

    def _go_on(self) -> None:
        """`BodyStream`'s call: the service has taken what waited."""
        if self.stream is not None and not self.stream.is_over and not self._abandoned:
            self._began += self._deadline.now() - self._stalled
            self._await_part()
            self._transport.resume_reading()

    def end(self) -> None:
        """It has all come. Raises OSError where the disk has no room for its end."""
        self._deadline.lift()
        if self._spool is not None:
            self._spool.flush()
        if self.stream is not None:
            self.stream.end()
            # Even if the service is slow: who does not read does not see the client go.
            self._transport.resume_reading()

    def abandon(self) -> None:
        """The request is answered: time, and what still comes, are no matter of it any more."""
        self._abandoned = True

    def break_off(self, error: RemoteProtocolError) -> None:
        """No more of it will be read: whoever reads the stream gets the error."""
        if self.stream is not None and not self.stream.is_over:
            self._deadline.lift()
            self._transport.pause_reading()
            self.stream.fail(error)
