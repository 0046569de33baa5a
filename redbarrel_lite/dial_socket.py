"""A Socket.IO client: what a test, or a terminal, says to a server and hears from it.

What it implements: the object that a user holds, for coroutines: events and
acknowledgements both ways, several namespaces on one connection, and waits that end. What
it leaves out: the rules of the protocol (`socketio_client`), I/O (`dial_engine`), and
coming back by itself: who tests that wants to say when (`AsyncSocket.reconnect`).

In one line::

    socket = await AsyncSocket(Line(visitor, "/socket.io/", []), "/news").connect()

It is no smaller than a real one, and stricter: a server that sends what it must not is
disconnected from, and ``str()`` of the error that the next wait raises says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from . import socketio_client
from .dial import ConnectError, Fields, Visitor
from .dial_engine import Engine
from .dial_inbox import Inbox, time_limit
from .engineio import POLLING, WEBSOCKET
from .errors import RemoteProtocolError, SocketClosed
from .outgoing import DONE
from .socketio import Packet
from .socketio_client import (
    CLIENT_DISCONNECT,
    SERVER_DISCONNECT,
    Acknowledgement,
    Connected,
    Decoder,
    Disconnected,
    Event,
    Namespace,
)

TIMEOUT_S: Final = 10.0
# How a connection begins: over one transport, or over polling and from there to a WebSocket,
# as browsers do.
UPGRADE: Final = "upgrade"
TRANSPORTS: Final = (POLLING, WEBSOCKET, UPGRADE)


class Received(list[Any]):
    """What `recv` returns: the arguments of one event, as a list.

    ``event`` is its name; ``reply(...)`` acknowledges it, once, if the server has asked
    for that, as ``wants_reply`` says.
    """

    __slots__ = ("_reply", "event")

    def __init__(
        self, event: str, args: Iterable[Any], reply: Callable[[Sequence[Any]], None] | None
    ) -> None:
        super().__init__(args)
        self.event = event
        self._reply = reply

    @property
    def wants_reply(self) -> bool:
        """Whether the server waits for an acknowledgement."""
        return self._reply is not None

    def reply(self, *args: Any) -> Awaitable[None]:
        """Acknowledge; does nothing if that was not asked for, or is done."""
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(args)
        return DONE


def checked_transport(transport: str) -> str:
    """Raises ValueError for a transport that there is not."""
    if transport not in TRANSPORTS:
        raise ValueError(f"transport={transport!r}: it is one of {', '.join(TRANSPORTS)}")
    return transport


class Line:
    """A connection, and the sockets that share it, one for each namespace."""

    def __init__(
        self,
        visitor: Visitor,
        url: str,
        fields: Fields,
        transport: str = WEBSOCKET,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Raises ValueError for a transport that there is not."""
        self.timeout = timeout
        self.sockets: dict[str, AsyncSocket] = {}
        self.first_transport = checked_transport(transport)
        self.engine: Engine | None = None  # while there is a session
        self._visitor = visitor
        self._url = url
        self._fields = fields
        self._decoder = Decoder()

    async def open(self) -> None:
        """Begin a session, if there is none. Raises what `Engine.open` raises."""
        if self.engine is not None:
            return
        self._decoder = Decoder()
        self.engine = Engine(self._visitor, self._url, self._fields, self._receive, self._ended)
        try:
            async with time_limit(self.timeout, "no handshake"):
                await self.engine.open(WEBSOCKET if self.first_transport == WEBSOCKET else POLLING)
        except BaseException:
            self.drop()
            raise

    def send(self, messages: Iterable[str | bytes]) -> None:
        """Send the messages of a packet."""
        if self.engine is not None:
            self.engine.send(messages)

    def _receive(self, message: str | bytes) -> None:
        packet = self._decoder.receive(message)
        if packet is None:
            return
        socket = self.sockets.get(packet.namespace)
        if socket is None:
            raise RemoteProtocolError(f"packet for the namespace {packet.namespace!a}")
        socket.receive(packet)

    def _ended(self, reason: str) -> None:
        engine, self.engine = self.engine, None
        for socket in self.sockets.values():
            socket.lost(reason, engine.fault if engine is not None else "")

    async def leave(self) -> None:
        """End the session, if there is one that no socket needs any more.

        A server that does not answer has no say.
        """
        if self.engine is not None and not any(one.connected for one in self.sockets.values()):
            try:
                async with time_limit(self.timeout, "the server did not let go"):
                    await self.engine.close()
            finally:
                self.drop()

    def drop(self) -> None:
        """Go without a word."""
        if self.engine is not None:
            self.engine.drop()


class AsyncSocket:
    """One namespace of a connection, for coroutines.

    What comes is kept until it is received. Every wait ends after ``timeout`` seconds, by
    default that of the client, with a TimeoutError that says what came instead.
    """

    def __init__(self, line: Line, namespace: str = "/", auth: Any = None) -> None:
        if not namespace.startswith("/"):
            raise ValueError(f"a namespace starts with a slash: '/{namespace}'?")
        if auth is not None and not isinstance(auth, dict):
            raise TypeError(f"auth={auth!r}: what a server takes is a dict")
        self.disconnect_reason: str | None = None  # None while connected
        self.recovered = False
        self._line = line
        self._namespace = Namespace(namespace, auth)
        self._inbox: Inbox[Received] = Inbox(line.timeout, lambda one: f"{one.event} {list(one)}")
        self._happened: Connected | socketio_client.ConnectError | None = None
        self._asked: set[int] = set()  # ids of events whose acknowledgement may come
        self._answers: dict[int, list[Any]] = {}

    # -- about the connection ----------------------------------------------------

    @property
    def namespace(self) -> str:
        """Its name."""
        return self._namespace.name

    @property
    def sid(self) -> str:
        """What the server calls ``socketio.session.session_id``."""
        return self._namespace.sid

    @property
    def engine(self) -> Engine | None:
        """The session under it; None without a connection."""
        return self._line.engine

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now; "" without a connection."""
        return self._line.engine.transport if self._line.engine is not None else ""

    @property
    def connected(self) -> bool:
        """Whether the server has let us in, and neither side has left."""
        return self._namespace.state is socketio_client.State.CONNECTED

    @property
    def received(self) -> list[Received]:
        """What has come and was not received yet; a copy."""
        return list(self._inbox.messages)

    # -- begin and end -------------------------------------------------------------

    async def connect(self) -> AsyncSocket:
        """Enter the namespace, over a new connection if there is none; return self.

        Raises `ConnectError` if the server refuses, TimeoutError if it says nothing,
        OSError if nobody is there.
        """
        self.disconnect_reason = self._happened = self._inbox.closed = None
        is_new = self._line.engine is None
        try:
            await self._line.open()
            await self._enter()
            if is_new and self._line.first_transport == UPGRADE:
                await self.upgrade()
        except ConnectError:
            self._namespace.lost()
            await self._line.leave()
            raise
        except BaseException as error:
            self._namespace.lost()
            self._line.drop()
            if isinstance(error, SocketClosed):
                raise ConnectError(str(error)) from None
            raise
        return self

    async def _enter(self) -> None:
        self._line.sockets[self.namespace] = self
        self._line.send(self._namespace.connect())
        what = f"no answer to CONNECT for {self.namespace}"
        answer: Connected | socketio_client.ConnectError
        answer = await self._inbox.wait(lambda: self._happened, None, what)
        if isinstance(answer, socketio_client.ConnectError):
            raise ConnectError(answer.message, answer.data)
        self.recovered = answer.recovered

    async def also(self, namespace: str, auth: Any = None) -> AsyncSocket:
        """Enter one more namespace over the same connection. Raises what `connect` raises."""
        return await AsyncSocket(self._line, namespace, auth).connect()

    async def upgrade(self) -> None:
        """Move the connection from polling to a WebSocket.

        Raises `LocalProtocolError` if the server offers none, ConnectionError if it fails,
        and then the connection goes on polling.
        """
        if self._line.engine is None:
            raise self._closed()
        async with time_limit(self._line.timeout, "no upgrade"):
            await self._line.engine.upgrade()

    async def close(self) -> None:
        """Leave the namespace, and the connection if this was its last."""
        if self.connected:
            self._line.send(self._namespace.disconnect())
            self._end(CLIENT_DISCONNECT)
        await self._line.leave()

    def drop(self) -> None:
        """Break the connection without a word, as when the network fails."""
        self._line.drop()

    async def reconnect(self, transport: str | None = None) -> AsyncSocket:
        """Connect again, as a client does whose connection broke; return self.

        With `recovery` in the .rbr file, ``recovered`` says whether the server has taken
        us for who we were; then what we missed comes first. Raises what `connect` raises.
        """
        if transport is not None:
            self._line.first_transport = checked_transport(transport)
        if self.connected:
            self.drop()
        return await self.connect()

    async def __aenter__(self) -> AsyncSocket:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    # -- messages out ----------------------------------------------------------------

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event: str, numbers, dicts, lists, and bytes anywhere in them.

        Need not be awaited. Raises TypeError or ValueError for what cannot be sent,
        SocketClosed after the end.
        """
        self._check_connected()
        self._line.send(self._namespace.emit(event, args)[0])
        return DONE

    def send(self, x: Any) -> Awaitable[None]:
        """Send the event "message"."""
        return self.emit("message", x)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Send an event, and wait for its acknowledgement: a list of its arguments."""
        self._check_connected()
        messages, ack_id = self._namespace.emit(event, args, ack=True)
        assert ack_id is not None
        self._asked.add(ack_id)
        self._line.send(messages)
        return await self._inbox.wait(
            lambda: self._answers.pop(ack_id, None), timeout, f"{event!r} was not acknowledged"
        )

    def _check_connected(self) -> None:
        if not self.connected:
            raise self._closed()

    def _closed(self) -> SocketClosed:
        return SocketClosed(self._inbox.closed or f"{self.namespace} was never connected")

    def _reply(self, ack_id: int, args: Sequence[Any]) -> None:
        if self.connected:
            self._line.send(self._namespace.acknowledge(ack_id, args))

    # -- messages in -----------------------------------------------------------------

    async def recv(self, event: str | None = None, *, timeout: float | None = None) -> Received:
        """The next message, or the next of one event: then the others stay for later.

        Raises TimeoutError, and SocketClosed if none is left and none will come.
        """
        if event is None:
            return await self._inbox.wait(self._inbox.first, timeout, "no message")
        if not isinstance(event, str):
            raise TypeError(f"recv({event!r}): what to wait for is the name of an event")
        return await self._inbox.wait(
            lambda: self._inbox.first(lambda one: one.event == event),
            timeout,
            f"no event {event!r}",
        )

    async def wait_disconnected(self, *, timeout: float | None = None) -> str:
        """Wait until the server has ended it, or the network has; return the reason."""
        return await self._inbox.wait(lambda: self.disconnect_reason, timeout, "still connected")

    # -- from below ------------------------------------------------------------------

    def receive(self, packet: Packet) -> None:
        """Take a packet of our namespace. Raises `RemoteProtocolError`."""
        happening = self._namespace.receive(packet)
        if isinstance(happening, Event):
            self._inbox.add(self._received(happening))
        elif isinstance(happening, Acknowledgement):
            self._acknowledged(happening)
        elif isinstance(happening, Disconnected):
            self._end(SERVER_DISCONNECT)
        elif happening is not None:
            self._happened = happening
        self._inbox.wake()

    def _received(self, event: Event) -> Received:
        name, args, ack_id = event
        if ack_id is None:
            return Received(name, args, None)
        return Received(name, args, lambda args: self._reply(ack_id, args))

    def _acknowledged(self, acknowledgement: Acknowledgement) -> None:
        ack_id, args = acknowledgement
        if ack_id not in self._asked:
            raise RemoteProtocolError(f"acknowledgement {ack_id} was not asked for")
        self._asked.discard(ack_id)
        self._answers[ack_id] = args

    def lost(self, reason: str, fault: str) -> None:
        """The connection has ended."""
        self._namespace.lost()
        self._end(reason, fault)

    def _end(self, reason: str, fault: str = "") -> None:
        self.disconnect_reason = self.disconnect_reason or reason
        more = f" ({fault})" if fault else ""
        self._inbox.close(f"{self.namespace} is disconnected: {reason}{more}")
        self._asked.clear()
