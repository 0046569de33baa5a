"""A connection whose client was answered before it had said all: the lingering close.

What it implements: RFC 9112 9.6: to say that nothing more comes, and to read on for a
while, until the client has closed. What it leaves out: what the answer was, and closing
behind a request that came to its end, which needs none of this.

In one line::

    transport.set_protocol(lingering := Lingering(limits)); lingering.connection_made(transport)

To close at once, with bytes unread, would be to reset the connection: the client's system
then throws away the answer that it has not read yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from .patience import Deadline, TimeLimits

# What a client may still send: one that goes on for longer does not listen.
LINGER_BYTES: Final = 64 * 1024


class Lingering(asyncio.Protocol):
    """One TCP connection that is read only for its client to hear us out."""

    __slots__ = ("_deadline", "_left", "_limits", "_transport", "when_lost")

    _transport: asyncio.Transport
    when_lost: Callable[[Lingering], None]

    def __init__(self, limits: TimeLimits) -> None:
        self._limits = limits
        self._deadline = Deadline(asyncio.get_running_loop(), self._late)
        self._left = LINGER_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._deadline.set(self._limits.linger)
        transport.resume_reading()
        try:
            if transport.can_write_eof():
                transport.write_eof()
        except OSError:  # the client has reset the connection, and we are yet to read so
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._deadline.end()
        self.when_lost(self)

    def abort(self) -> None:
        """Drop the connection without another byte."""
        self._transport.abort()

    def _late(self) -> None:
        if self._transport.is_closing():
            self._transport.abort()
        else:
            self._close()

    def _close(self) -> None:
        """Close once the client has read what is on its way; soon, whether it has or not."""
        self._transport.close()
        self._deadline.set(self._limits.write)
