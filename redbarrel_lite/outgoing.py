"""What goes out to a client, and the connection that carries it.

What it implements: packets that are encoded once for many clients, and the small
interface, `Connection`, that an Engine.IO session or a bare WebSocket has for the
rooms of this floor. What it leaves out: I/O.

In one line::

    connection.send(Outgoing(('2["message","hello"]',)))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol, TypeAlias

# One message of the layer below.
Wire: TypeAlias = str | bytes


# What is sent to a client before it is let in, while a handler thinks about that.
MAX_HELD_BYTES: Final = 1024 * 1024
# What handing a packet over to the loop costs besides its bytes, more or less.
_PACKET_BYTES: Final = 256


class Outgoing:
    """The messages of one packet, encoded once for however many clients get them.

    ``frames`` and ``deflated`` belong to the floor below, which keeps there what it
    made of them for the first WebSocket, for all the others.
    """

    __slots__ = ("deflated", "frames", "messages")

    def __init__(self, messages: tuple[Wire, ...]) -> None:
        self.messages = messages
        self.frames: bytes | None = None
        self.deflated: dict[int, bytes] | None = None  # by the window that their client wants


class Connection(Protocol):
    """What carries a client's messages: one Engine.IO session."""

    @property
    def transport(self) -> str:
        """ "polling" or "websocket"."""

    @property
    def congested(self) -> bool:
        """Whether the client's queue is above its high mark."""

    @property
    def ready(self) -> bool:
        """Whether what is sent now is on its way at once."""

    def send(self, outgoing: Outgoing) -> None:
        """Queue a packet; never blocks."""

    def when_drained(self, callback: Callable[[], object]) -> None:
        """Call back when the queue is below its mark, or the client has gone."""

    def pause(self) -> None:
        """Stop reading from the client, until as many resumes as pauses have come.

        The sockets of several namespaces share a connection: when one of their
        handlers has caught up, another may not.
        """

    def resume(self) -> None:
        """Read again, if this answers the last pause."""

    def hang_up(self, code: int, reason: str) -> None:
        """Close from our side, after what is queued; ``code`` is that of RFC 6455 7.4."""


class Done:
    """An awaitable that is done already: awaiting it costs nothing and never switches."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]  # `await` wants no more than this


DONE: Final = Done()


class Held:
    """A connection whose client has not been let in yet: what is sent waits for that.

    So a broadcast that comes while `on connect` thinks is neither lost to the client
    nor heard by one that is refused.
    """

    def __init__(self, connection: Connection, too_much: Callable[[], object]) -> None:
        self.connection = connection
        self.ready = False
        # Whoever waits for the queue may be the one who decides.
        self.congested = False
        self._too_much = too_much
        self._sent: list[Outgoing] = []
        self._bytes = 0

    @property
    def transport(self) -> str:
        return self.connection.transport

    def send(self, outgoing: Outgoing) -> None:
        self._bytes += size_of(outgoing.messages)
        if self._bytes > MAX_HELD_BYTES:
            self._too_much()
        else:
            self._sent.append(outgoing)

    def when_drained(self, callback: Callable[[], object]) -> None:
        callback()

    def pause(self) -> None:
        self.connection.pause()

    def resume(self) -> None:
        self.connection.resume()

    def hang_up(self, code: int, reason: str) -> None:
        self.connection.hang_up(code, reason)

    def release(self) -> None:
        """The client is in: send what has waited."""
        for outgoing in self._sent:
            self.connection.send(outgoing)


def settle(future: asyncio.Future[Any], outcome: object) -> None:
    """Set a future's result or exception, unless whoever waited for it has given up."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def size_of(messages: tuple[Wire, ...]) -> int:
    """What a packet weighs on its way to the loop, in bytes."""
    return sum(map(len, messages)) + _PACKET_BYTES
