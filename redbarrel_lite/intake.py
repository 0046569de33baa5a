"""A request's body on its way in: how much of it, how fast, and where it is kept.

What it implements: a limit of bytes, a minimum rate, memory for a small body and a
file on disk for a large one, or neither for a service that takes it as it comes. What
it leaves out: reading, and what is answered to a client that breaks a limit.

In one line::

    intake = Intake(most=1_000_000, now=loop.time()); intake.take(b"..."); intake.content()
"""

from __future__ import annotations

from .bodystream import BodyStream
from .errors import RemoteProtocolError
from .forms import SPOOL_BYTES, Body, Spool
from .patience import MIN_BODY_RATE


class Intake:
    """What has come of one body, which may have ``most`` bytes."""

    __slots__ = ("_began", "_kept", "_most", "_received", "_spool", "_stalled", "stream")

    def __init__(self, most: int, now: float) -> None:
        """``now``, here and below, is the time of the loop, in seconds."""
        self.stream: BodyStream | None = None  # where parts go, if it is not kept for later
        self._most = most
        self._received = 0  # bytes
        self._kept = bytearray()
        self._spool: Spool | None = None  # instead, once there is too much for memory
        self._began = now  # later, by as long as a service did not read
        self._stalled = 0.0  # since when it does not

    def take(self, part: bytes) -> None:
        """Keep a part, or pass it on.

        Raises `RemoteProtocolError`, with status 413, for one byte too many, and OSError
        where the disk has no room for it.
        """
        self._received += len(part)
        if self._received > self._most:
            raise RemoteProtocolError(f"the body is over {self._most} bytes", 413)
        if self.stream is not None:
            self.stream.feed(part)
        elif self._received <= SPOOL_BYTES:
            self._kept += part
        else:
            self._keep_on_disk(part)

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

    # -- time --------------------------------------------------------------------

    def time_left(self, now: float, most: float) -> float:
        """How long to wait for the next part.

        It must come within ``most`` seconds, and the parts so far must not have dripped.
        """
        since = now - self._began
        return min(most, max(0.0, most + self._received / MIN_BODY_RATE - since))

    def stall(self, now: float) -> None:
        """The service is slower than the client, whose time stands still meanwhile."""
        self._stalled = now

    def go_on(self, now: float) -> None:
        """It has caught up."""
        self._began += now - self._stalled
