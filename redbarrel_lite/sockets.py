"""The socket object, which a handler holds.

What it implements: receiving, sending, acknowledgements and the end, for one client
in one group of clients (`hub.Group`: a Socket.IO namespace, or those of a path without
Socket.IO). What it leaves out: what the group's messages look like on the wire, which
the group knows; I/O and the running of handlers, which are lent through two small
interfaces, `Connection` and `Runner`.

In one line::

    def chat(globs, request):
        for message in request.socketio: request.socketio.broadcast(message[0])

One client, seen from below::

    Connection (one Engine.IO session)  ->  Client  ->  Socket, one for each namespace
                                                          ^
                                        Hub -> Namespace -+-> rooms -> Socket ...

Everything here belongs to the thread of the event loop. A call from another one
is handed over by `Hub.run` (see `handover`), in the order in which it was made.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from .errors import SocketClosed
from .request import Request

if TYPE_CHECKING:
    from .hub import Group, Hub

# Acknowledgements that a client owes and never gives; the oldest is forgotten.
MAX_PENDING_ACKS: Final = 1000
# What handing a packet over to the loop costs besides its bytes, more or less.
_PACKET_BYTES: Final = 256

# One message of the layer below.
Wire: TypeAlias = str | bytes


class Outgoing:
    """The messages of one packet, encoded once for however many clients get them.

    ``frames`` and ``deflated`` belong to the floor below, which keeps there what it
    made of them for the first WebSocket, for all the others.
    """

    __slots__ = ("deflated", "frames", "messages")

    def __init__(self, messages: tuple[Wire, ...]) -> None:
        self.messages = messages
        self.frames: bytes | None = None
        self.deflated: dict[int, bytes] = {}  # by the window that their client wants


class Connection(Protocol):
    """What carries a client's messages: one Engine.IO session."""

    @property
    def transport(self) -> str:
        """ "polling" or "websocket"."""

    @property
    def congested(self) -> bool:
        """Whether the client's queue is above its high mark."""

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


class Runner(Protocol):
    """What runs a handler: a thread, or a coroutine on the loop."""

    def start(self) -> None:
        """Begin; `Socket.recv` may be called from now on."""

    def deliver(self, message: Message) -> None:
        """Hand the next message to whoever calls `recv`."""

    def finish(self) -> None:
        """No message will come any more."""

    def recv(self, timeout: float | None) -> Any:
        """The next message, or an awaitable of it; see `Socket.recv`."""

    def drained(self, connection: Connection) -> Awaitable[None]:
        """What a call in the loop's thread can await until the queue is below its mark."""

    def report(self, what: str, error: BaseException) -> None:
        """Tell the log that user code has failed."""

    def call(self, start: Callable[[Callable[..., object]], None], timeout: float | None) -> Any:
        """Wait for what ``start`` will be called back with, as a list."""


# What user code is for a socket: a function of the globals and the request.
Handler: TypeAlias = Callable[[dict[str, Any], Request], Any]


class Done:
    """An awaitable that is done already: awaiting it costs nothing and never switches."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return iter(())  # type: ignore[return-value]  # `await` wants no more than this


DONE: Final = Done()


class Message(list[Any]):
    """What `recv` returns: the arguments of one event, as a list."""

    __slots__ = ("_ack_id", "_socket", "event", "size")

    def __init__(
        self,
        args: Iterable[Any] = (),
        event: str = "",
        socket: Socket | None = None,
        ack_id: int | None = None,
        size: int = 0,
    ) -> None:
        super().__init__(args)
        self.size = size  # characters and bytes on the wire
        self.event = event
        self._socket = socket
        self._ack_id = ack_id

    @property
    def is_last(self) -> bool:
        """Whether this is the empty list that says that the client has gone.

        An event without arguments is an empty list too.
        """
        return self._socket is None

    @property
    def wants_reply(self) -> bool:
        """Whether the client waits for an acknowledgement of this event."""
        return self._ack_id is not None

    def reply(self, *args: Any) -> Awaitable[None]:
        """Acknowledge the event, once; does nothing if that was not asked for."""
        if self._ack_id is None or self._socket is None:
            return DONE
        messages = self._socket._home.encode_ack(self._ack_id, args)
        self._ack_id = None
        return self._socket._send(messages)


class Session(dict[str, Any]):
    """The application's own data about a connection, and its ``session_id``."""

    __slots__ = ("session_id",)

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self.session_id = session_id


class Socket:
    """One client in one namespace, as its handler sees it."""

    __slots__ = (
        "_acks",
        "_closed",
        "_fresh",
        "_gone",
        "_home",
        "_ids",
        "_rooms",
        "_runner",
        "auth",
        "connection",
        "session",
    )

    def __init__(self, home: Group, connection: Connection, auth: Any) -> None:
        # 128 bits: nobody finds another's by trying.
        self.session = Session(secrets.token_urlsafe(16))
        self.auth = auth
        self._home = home
        self.connection = connection
        self._runner: Runner | None = None
        self._fresh = True
        self._closed = False  # by us, maybe a moment ago and in another thread
        self._gone = False  # in the loop's thread: it has left the namespace
        self._rooms: set[str] = set()
        self._acks: dict[int, Callable[..., object]] = {}
        self._ids = itertools.count()

    # -- about the connection ----------------------------------------------

    @property
    def namespace(self) -> str:
        """The Socket.IO namespace, "/" if the client asked for none."""
        return self._home.name

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now: a client may upgrade."""
        return self.connection.transport

    @property
    def server(self) -> Hub:
        """All sockets of the .rbr file, for messages to everyone."""
        return self._home.hub

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that this socket has joined."""
        return frozenset(self._rooms)

    def on_connect(self) -> bool:
        """True the first time it is asked after a connection."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def connected(self) -> bool:
        """False once the client has gone or was closed."""
        return not self._closed

    # -- receiving -----------------------------------------------------------

    def recv(self, timeout: float | None = None) -> Any:
        """The next message, as a list of its arguments (`Message`).

        Waits at most ``timeout`` seconds, then raises TimeoutError. When the
        client has gone it returns ``[]``, once; after that it raises
        `SocketClosed`, which ends the handler quietly. In an ``async def``
        handler the result is to be awaited.
        """
        return self._runner_now().recv(timeout)

    def __iter__(self) -> Iterator[Message]:
        """The messages until the client has gone, for ``def`` handlers."""
        while not (message := self._runner_now().recv(None)).is_last:
            yield message

    async def __aiter__(self) -> AsyncIterator[Message]:
        """The messages until the client has gone, for ``async def`` handlers."""
        while not (message := await self._runner_now().recv(None)).is_last:
            yield message

    def _runner_now(self) -> Runner:
        if self._runner is None:
            raise SocketClosed("this socket has no handler to receive for")
        return self._runner

    # -- sending ---------------------------------------------------------------

    def send(self, x: Any) -> Awaitable[None]:
        """Send ``x`` as the event "message": str, number, dict, list, or bytes anywhere.

        To a client that has gone it does nothing. In a ``def`` handler it waits
        while the client's queue is above its high mark; in an ``async def``
        handler awaiting the result does. Raises TypeError or ValueError, here
        and now, for what is no JSON.
        """
        return self._send(self._home.encode("message", (x,)))

    def emit(
        self, event: str, *args: Any, ack: Callable[..., object] | None = None
    ) -> Awaitable[None]:
        """Send any event; ``ack`` is called once, with what the client acknowledges it with.

        It is a plain function, called in the loop's thread: it must not block.
        """
        if ack is None:
            return self._send(self._home.encode(event, args))
        return self._drained(self._emit_for_ack(event, args, ack))

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and wait for its acknowledgement's arguments, as a list.

        Raises TimeoutError after ``timeout`` seconds. In an ``async def`` handler
        the result is to be awaited.
        """

        def start(done: Callable[..., object]) -> None:
            self._emit_for_ack(event, args, done)

        return self._runner_now().call(start, timeout)

    def _emit_for_ack(
        self, event: str, args: tuple[Any, ...], ack: Callable[..., object]
    ) -> tuple[Wire, ...]:
        ack_id = next(self._ids)
        messages = self._home.encode(event, args, ack_id)
        self._home.hub.run(self._queue_for_ack, ack_id, ack, Outgoing(messages))
        return messages

    def _queue_for_ack(self, ack_id: int, ack: Callable[..., object], outgoing: Outgoing) -> None:
        if not self._gone:
            self._acks[ack_id] = ack
            if len(self._acks) > MAX_PENDING_ACKS:
                del self._acks[next(iter(self._acks))]
            self.connection.send(outgoing)

    def _send(self, messages: tuple[Wire, ...]) -> Awaitable[None]:
        if self._closed:
            return DONE
        self._home.hub.run(self._queue, Outgoing(messages))
        return self._drained(messages)

    def _queue(self, outgoing: Outgoing) -> None:
        # Looked at again: another thread may have closed it meanwhile, and the
        # client closes the connection over an event behind its disconnect.
        if not self._gone:
            self.connection.send(outgoing)

    def _drained(self, messages: tuple[Wire, ...]) -> Awaitable[None]:
        if not self._home.hub.is_here():
            self._home.hub.pace(size_of(messages), self.connection)
        elif self._runner is not None and self.connection.congested:
            return self._runner.drained(self.connection)
        return DONE

    def broadcast(
        self,
        x: Any,
        exceptions: Iterable[str] | None = None,
        room: str | None = None,
        event: str = "message",
    ) -> Awaitable[None]:
        """Send to every other client of the namespace, or of a room of it.

        ``exceptions`` are session ids that are left out too. Nobody waits for a
        client that is slow.
        """
        skip = {self.session.session_id, *(exceptions or ())}
        self._home.broadcast(event, x, room, skip)
        return DONE

    # -- rooms and the end -------------------------------------------------------

    def join(self, room: str) -> None:
        """Enter a room, so that broadcasts to it reach this client."""
        self._rooms.add(room)
        self._home.hub.run(self._home.join, self, room)

    def leave(self, room: str) -> None:
        """Leave a room; to leave one that was not joined is nothing."""
        self._rooms.discard(room)
        self._home.hub.run(self._home.leave, self, room)

    def close(self, reason: str = "server namespace disconnect") -> None:
        """Turn the client out."""
        self._closed = True
        self._home.hub.run(self._close, reason)

    def _close(self, reason: str) -> None:
        if not self._gone:
            self._home.turn_out(self)
            self.end(reason)

    # -- from below ------------------------------------------------------------

    def start(self, handler: Handler, request: Request) -> None:
        """Enter the group and start the handler."""
        self._home.sockets[self.session.session_id] = self
        hub = self._home.hub
        assert hub.run_handler is not None
        self._runner = hub.run_handler(handler, self, request)
        hub.runners.add(self._runner)
        self._runner.start()

    def deliver(self, event: str, args: list[Any], ack_id: int | None, size: int) -> None:
        """An event has come, in messages of ``size`` characters and bytes."""
        assert self._runner is not None
        self._runner.deliver(Message(args, event, self, ack_id, size))

    def acknowledge(self, ack_id: int, args: list[Any]) -> None:
        """An acknowledgement has come; if nobody waits for it, it is ignored."""
        ack = self._acks.pop(ack_id, None)
        if ack is not None:
            try:
                ack(*args)
            except Exception as error:
                assert self._runner is not None
                self._runner.report("a callback", error)

    def end(self, reason: str) -> None:
        """The client has gone, or was closed: leave everything, tell the handler."""
        if self._gone:
            return
        self._closed = self._gone = True
        self._acks.clear()
        self._home.remove(self)
        if self._runner is not None:
            self._runner.finish()


def size_of(messages: tuple[Wire, ...]) -> int:
    """What a packet weighs on its way to the loop, in bytes."""
    return sum(map(len, messages)) + _PACKET_BYTES
