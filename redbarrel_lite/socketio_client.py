"""Socket.IO, the client's side, without I/O: one namespace of a connection, and its codec.

What it implements: the other half of Socket.IO protocol 5: CONNECT with its auth payload
and what may answer it, events and acknowledgements both ways, DISCONNECT, and connection
state recovery as its client sees it (pid and offset). What it leaves out: buffering of
what is sent before the connection, and sending again; whoever calls may do so.

In one line::

    namespace = Namespace("/news", {"token": "abc"}); messages = namespace.connect()

The life of a namespace, and what moves it::

    CONNECTING  --  CONNECT        -->  CONNECTED      `Connected`
                --  CONNECT_ERROR  -->  DISCONNECTED   `ConnectError`
    CONNECTED   --  DISCONNECT     -->  DISCONNECTED   `Disconnected`

A server that knows the ``pid`` of a client that comes back sends what it has missed
before its CONNECT; nothing else may come before it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from . import socketio
from .errors import RemoteProtocolError, show
from .socketio import Message, Packet

# Why a namespace has ended, in the words of the reference client.
SERVER_DISCONNECT: Final = "io server disconnect"
CLIENT_DISCONNECT: Final = "io client disconnect"

_CONNECTION: Final = "Socket.IO 5, Connection to a namespace"
_WORDS: Final = re.compile(r'\A((?:/[^,]*,)?)("(?:[^"\\]|\\.)*")\Z')


class Decoder(socketio.Decoder):
    """Joins the messages of a server into packets; a CONNECT_ERROR is one of them."""

    __slots__ = ()

    def receive(self, message: Message) -> Packet | None:
        """Take one message. Raises `RemoteProtocolError` as that of the server's side does."""
        if isinstance(message, str) and message.startswith(socketio.CONNECT_ERROR):
            # On the wire it is a CONNECT but for its digit: namespace and object. The words
            # alone, as python-socketio says them, are taken by the reference, too.
            plain = _WORDS.sub(r'\1{"message":\2}', message[1:])
            packet = super().receive(socketio.CONNECT + plain)
            if packet is None or not isinstance(packet.data, dict):
                raise RemoteProtocolError(f"bad CONNECT_ERROR: {show(message, 80)} ({_CONNECTION})")
            return packet._replace(type=socketio.CONNECT_ERROR)
        return super().receive(message)


class State(enum.Enum):
    """Where a namespace is in its life."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class Connected(NamedTuple):
    """The server has let us in. ``recovered``: as who we were before."""

    sid: str
    recovered: bool


class ConnectError(NamedTuple):
    """The server has refused us."""

    message: str
    data: Any


class Event(NamedTuple):
    """An event; ``ack_id`` is not None if the server wants it acknowledged."""

    name: str
    args: list[Any]
    ack_id: int | None


class Acknowledgement(NamedTuple):
    """What the server says to an event that asked for it."""

    ack_id: int
    args: list[Any]


class Disconnected(NamedTuple):
    """The server has turned us out of the namespace."""


Happening: TypeAlias = Connected | ConnectError | Event | Acknowledgement | Disconnected


class Namespace:
    """One namespace of a connection, as its client sees it.

    ``pid`` and ``offset`` outlive a connection: `connect` on the next one offers them.
    """

    __slots__ = ("_next_id", "auth", "name", "offset", "pid", "sid", "state")

    def __init__(self, name: str = "/", auth: Any = None) -> None:
        self.name = name
        self.auth = auth
        self.sid = ""
        self.pid: str | None = None
        self.offset: str | None = None  # of the last event that had one
        self.state = State.DISCONNECTED
        self._next_id = 0

    # -- to the server -----------------------------------------------------------

    def connect(self) -> tuple[Message, ...]:
        """The messages of a CONNECT. Raises TypeError or ValueError if auth is no JSON."""
        self.state = State.CONNECTING
        auth = self.auth
        if self.pid is not None:
            auth = {"pid": self.pid, "offset": self.offset or "", **(auth or {})}
        return socketio.encode_auth(auth, self.name)

    def emit(
        self, event: str, args: Sequence[Any], *, ack: bool = False
    ) -> tuple[tuple[Message, ...], int | None]:
        """The messages of an event, and the id that its acknowledgement will have.

        Raises TypeError or ValueError for what cannot be sent.
        """
        ack_id = self._next_id if ack else None
        messages = socketio.encode_event(event, args, self.name, ack_id)
        if ack:
            self._next_id += 1
        return messages, ack_id

    def acknowledge(self, ack_id: int, args: Sequence[Any]) -> tuple[Message, ...]:
        """The messages of an acknowledgement."""
        return socketio.encode_ack(ack_id, args, self.name)

    def disconnect(self) -> tuple[Message, ...]:
        """Leave the namespace: what the server still sends here is ignored."""
        self.state = State.DISCONNECTED
        self.pid = None
        return socketio.encode_disconnect(self.name)

    def lost(self) -> None:
        """The connection has ended under us."""
        self.state = State.DISCONNECTED

    # -- from the server ---------------------------------------------------------

    def receive(self, packet: Packet) -> Happening | None:
        """Take a packet of this namespace; return what it means, None for nothing.

        Raises `RemoteProtocolError` for what may not come in this state.
        """
        kind = packet.type
        if self.state is State.DISCONNECTED:
            return None  # it was under way when we left
        if self.state is State.CONNECTING:
            if kind == socketio.CONNECT:
                return self._connected(packet.data or {})
            if kind == socketio.CONNECT_ERROR:
                self.state = State.DISCONNECTED
                return ConnectError(str(packet.data.get("message", "")), packet.data.get("data"))
            if kind != socketio.EVENT or self.pid is None:
                told = f"packet of type {kind} before CONNECT was answered"
                raise RemoteProtocolError(f"{told} ({_CONNECTION})")
        if kind == socketio.EVENT:
            return self._event(packet)
        if kind == socketio.ACK:
            return Acknowledgement(packet.ack_id or 0, packet.data)
        if kind == socketio.DISCONNECT:
            self.state = State.DISCONNECTED
            self.pid = None
            return Disconnected()
        raise RemoteProtocolError(f"second answer of type {kind} to one CONNECT ({_CONNECTION})")

    def _connected(self, data: dict[str, Any]) -> Connected:
        sid, pid = data.get("sid"), data.get("pid")
        if not isinstance(sid, str) or not sid:
            raise RemoteProtocolError(f"CONNECT without a sid: {ascii(data)[:80]} ({_CONNECTION})")
        recovered = pid is not None and pid == self.pid
        if not recovered:
            self.offset = None
        self.sid, self.pid = sid, pid
        self.state = State.CONNECTED
        return Connected(sid, recovered)

    def _event(self, packet: Packet) -> Event:
        name, *args = packet.data
        # With recovery, the last argument of an event that wants no answer is its offset.
        if self.pid is not None and packet.ack_id is None and args and isinstance(args[-1], str):
            self.offset = args.pop()
        return Event(str(name), args, packet.ack_id)
