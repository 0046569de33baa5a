"""Watching what goes over connections, and holding it: for `trace`, and for the page of the wire.

What it implements: a protocol and a transport that stand between asyncio and a connection,
for every connection that is made through a `Tap`. Where nobody watches there is none, and so
nothing to pay. What it leaves out: what the bytes mean (`anatomy`).

In one line::

    tap = Tap(watcher); loop.create_server(tap.on(lambda: HttpConnection(server)), host, port)
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Protocol

from .intake import read_in_parts

log = logging.getLogger("redbarrel_lite")

# What is held of one connection. Beyond it the learner has gone for lunch, and all goes out.
MAX_HELD_BYTES: Final = 1024 * 1024


class Watcher(Protocol):
    """Who is told. ``connection`` is a number; what it raises ends its watching, and no more."""

    def opened(self, connection: Tapped) -> None:
        """A connection begins."""

    def received(self, connection: Tapped, data: bytes) -> None:
        """The other side has sent this; we are yet to take it."""

    def sent(self, connection: Tapped, data: bytes) -> None:
        """We have sent this: at least, it has been handed to the system."""

    def closed(self, connection: Tapped, error: Exception | None) -> None:
        """The connection has ended; with an error if it broke."""


class Tap:
    """Every connection of a server, or of a client, for those who watch."""

    def __init__(self, *watchers: Watcher) -> None:
        self.watchers: list[Watcher] = list(watchers)
        self.numbers: Iterator[int] = itertools.count(1)  # of its connections

    def on(self, new: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """What makes watched connections, from what makes connections."""
        return lambda: Tapped(self, next(self.numbers), new())

    def tell(self, what: str, connection: Tapped, *more: Any) -> None:
        """Call one method of each watcher. One that fails is told of, and dropped."""
        for watcher in tuple(self.watchers):
            try:
                getattr(watcher, what)(connection, *more)
            except Exception:
                log.exception("a watcher of connections has failed, and is not asked again")
                self.watchers.remove(watcher)


class Between(asyncio.Protocol):
    """A protocol in front of another one, to which it passes on all that asyncio tells it."""

    __slots__ = ("inner",)

    def __init__(self, inner: asyncio.BaseProtocol) -> None:
        self.inner: Any = inner

    def data_received(self, data: bytes) -> None:
        self.inner.data_received(data)

    def eof_received(self) -> bool | None:
        stays: bool | None = self.inner.eof_received()
        return stays

    def pause_writing(self) -> None:
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        self.inner.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self.inner.connection_lost(error)


class Tapped(Between):
    """One connection that is watched. ``number`` counts those of its tap, from 1."""

    def __init__(self, tap: Tap, number: int, inner: asyncio.BaseProtocol) -> None:
        super().__init__(inner)
        self.number = number
        self.peer = ""  # the other side's address, and its port
        self.transport: TappedTransport | None = None
        self._tap = tap

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        read_in_parts(transport)
        self.peer = _name_of(transport.get_extra_info("peername"))
        self.transport = TappedTransport(self, transport)
        self._tap.tell("opened", self)
        self.inner.connection_made(self.transport)

    def data_received(self, data: bytes) -> None:
        self._tap.tell("received", self, data)
        super().data_received(data)

    def sent(self, data: bytes) -> None:
        """What the transport is about to send."""
        self._tap.tell("sent", self, data)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._tap.tell("closed", self, error)


class Through(asyncio.Transport):
    """The transport in front of another one, likewise; its protocol is the one behind ours."""

    __slots__ = ("_between", "_inner")

    def __init__(self, between: Between, inner: asyncio.Transport) -> None:
        super().__init__()
        self._between = between
        self._inner = inner

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Another protocol takes over; ours stays between it and asyncio."""
        self._between.inner = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        inner: asyncio.BaseProtocol = self._between.inner
        return inner

    def write(self, data: Any) -> None:
        self._inner.write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._inner.write_eof()

    def close(self) -> None:
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def can_write_eof(self) -> bool:
        return self._inner.can_write_eof()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._inner.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._inner.set_write_buffer_limits(high, low)

    def is_reading(self) -> bool:
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()


class TappedTransport(Through):
    """The transport of a connection that is watched; it can hold what goes out."""

    def __init__(self, tapped: Tapped, inner: asyncio.Transport) -> None:
        super().__init__(tapped, inner)
        self._tapped = tapped
        self._cut: Callable[[bytes], Iterable[bytes]] | None = None  # while it holds
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._at_end: Callable[[], None] | None = None  # once all that is held is out

    # -- holding -----------------------------------------------------------------

    @property
    def held(self) -> tuple[bytes, ...]:
        """What waits to be let go, oldest first."""
        return tuple(self._held)

    @property
    def is_holding(self) -> bool:
        """Whether what is written waits."""
        return self._cut is not None

    def hold(self, cut: Callable[[bytes], Iterable[bytes]]) -> None:
        """From now on keep what is written, in the parts that ``cut`` makes of it."""
        self._cut = cut

    def let_go(self, count: int) -> None:
        """Send so many of the parts that are held."""
        for _ in range(min(count, len(self._held))):
            part = self._held.popleft()
            self._held_bytes -= len(part)
            self._send(part)
        if not self._held and self._at_end is not None:
            at_end, self._at_end = self._at_end, None
            at_end()

    def flow(self) -> None:
        """Hold no more, and send what is held."""
        self._cut = None
        self.let_go(len(self._held))

    def _send(self, data: bytes) -> None:
        self._tapped.sent(data)
        self._inner.write(data)

    # -- asyncio's transport -------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._cut is None:
            self._send(bytes(data))
            return
        for part in self._cut(bytes(data)):
            self._held.append(part)
            self._held_bytes += len(part)
        if self._held_bytes > MAX_HELD_BYTES:
            self.flow()

    def write_eof(self) -> None:
        self._after_held(self._inner.write_eof)

    def close(self) -> None:
        self._after_held(self._inner.close)

    def _after_held(self, at_end: Callable[[], None]) -> None:
        if self._held:
            self._at_end = at_end
        else:
            at_end()

    def abort(self) -> None:
        self._held.clear()
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._at_end is not None or self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "is_watched":
            return True
        return super().get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._held_bytes + self._inner.get_write_buffer_size()


def _name_of(peer: Any) -> str:
    """An address and its port, as people write them; "unix" for who has none."""
    if not isinstance(peer, tuple):
        return "unix"
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
