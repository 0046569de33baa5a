"""Sockets one layer down: messages as they are, without Socket.IO.

What it implements: what a path whose method is WEBSOCKET or ENGINEIO has instead of a
namespace, and its socket object, whose messages are str or bytes and have no names.
What it leaves out: I/O (`rawendpoint`, `transports`).

In one line::

    RawClient(peers, door, carrier, request).receive("hello")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NoReturn, Protocol

from .doors import Door
from .engineio import SEPARATOR
from .errors import Refused
from .groups import Group
from .hub import Hub
from .outgoing import Connection, Wire
from .request import Headers, Request
from .response import encoded
from .sockets import Socket
from .wsproto import CLOSE_CODES, INTERNAL_ERROR, NORMAL_CLOSURE

# What a message is called where events have names: in an `on` line.
MESSAGE: Final = "message"


class Carrier(Connection, Protocol):
    """What carries the messages of one client, and nobody else's."""

    def let_in(self) -> None:
        """The client may come in: answer what it has asked."""

    def refuse(self, reason: str) -> None:
        """It may not."""


class RawSocket(Socket):
    """One client of a path without Socket.IO, as its handler sees it."""

    __slots__ = ("_bye", "close_code", "close_reason", "headers", "subprotocol")

    def __init__(self, home: Peers, carrier: Carrier, subprotocol: str = "") -> None:
        super().__init__(home, carrier, None)
        self.subprotocol = subprotocol
        # Of the request that brought the last message: a poller's POST, or else the handshake.
        self.headers = Headers(())
        # How a WebSocket has ended (RFC 6455 7.1.5 and 7.1.6), by whichever side: 1005 is
        # a close frame without a code, 1006 none at all. None while it has not.
        self.close_code: int | None = None
        self.close_reason = ""
        self._bye = (NORMAL_CLOSURE, "")

    @property
    def template(self) -> str:
        return self._home.name

    # -- what is Socket.IO's -------------------------------------------------------

    def emit(
        self,
        event: str,
        *args: Any,
        ack: Callable[..., object] | None = None,
        volatile: bool = False,
    ) -> NoReturn:
        """No events here: raises TypeError."""
        raise TypeError(f"emit() is Socket.IO's; {self.namespace} has messages only: send()")

    def call(self, event: str, *args: Any, timeout: float | None = None) -> NoReturn:
        """No acknowledgements either: raises TypeError."""
        raise TypeError(f"call() is Socket.IO's; {self.namespace} has messages only: send()")

    # -- what is the same, but for the layer ------------------------------------------

    def send(self, x: str | bytes | bytearray | memoryview) -> Awaitable[None]:
        """Send a text or binary message; all else is as in `Socket.send`.

        Raises TypeError for what is neither str nor bytes.
        """
        return super().send(x)

    def close(self, reason: str = "", code: int = NORMAL_CLOSURE) -> None:
        """Close the connection; the client is told ``code`` and ``reason``.

        The reason has at most 123 bytes of UTF-8, or is cut. Raises ValueError for a
        code that no close frame may have (RFC 6455 7.4).
        """
        if code not in CLOSE_CODES:
            raise ValueError(f"close code {code} must not be sent: 1000, or 3000 to 4999")
        if self.connected():
            self._bye = (code, reason)
        super().close(reason or "server disconnect")

    def fail(self) -> None:
        self.close("the server failed", INTERNAL_ERROR)

    def closed_with(self, code: int, reason: str) -> None:
        """Note how it has ended."""
        self.close_code, self.close_reason = code, reason

    def admit(self, request: Request) -> None:
        super().admit(request)
        if not self.gone:
            _carrier(self).let_in()


def _carrier(socket: Socket) -> Carrier:
    carrier: Carrier = socket.connection  # type: ignore[assignment]  # `RawSocket` has no other
    return carrier


class Peers(Group):
    """The sockets of one path without Socket.IO; its name is the path's url."""

    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        if event != MESSAGE or len(args) != 1 or ack_id is not None:
            raise TypeError(f"{self.name} has no events, but one message at a time: send(x)")
        (x,) = args
        if isinstance(x, str):
            return (x,)
        if isinstance(x, (bytes, bytearray, memoryview)):
            return (bytes(x),)
        raise TypeError(f"{self.name} sends str or bytes, not {type(x).__name__}")

    def encode_ack(self, ack_id: int, args: Sequence[Any]) -> NoReturn:
        raise TypeError(f"{self.name} has no acknowledgements")

    def greeting(self, socket: Socket) -> tuple[Wire, ...]:
        return ()

    def refuse(self, connection: Connection, refused: Refused) -> None:
        carrier: Carrier = connection  # type: ignore[assignment]  # as above
        carrier.refuse(refused.reason)

    def turn_out(self, socket: Socket) -> None:
        assert isinstance(socket, RawSocket)
        _carrier(socket).hang_up(*socket._bye)


class EnginePeers(Peers):
    """The sockets of a path with Engine.IO."""

    def __init__(self, name: str, hub: Hub, *, polls: bool) -> None:
        super().__init__(name, hub)
        self._polls = polls

    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        (message,) = super().encode(event, args, ack_id)
        if not self._polls or isinstance(message, bytes):
            return (message,)
        if SEPARATOR in message:
            # A poller would read two packets. Whoever is sent this may be one.
            raise ValueError("U+001E parts the packets of a poll: send it in bytes, or escaped")
        # A lone surrogate becomes U+FFFD, as on a WebSocket.
        return (message if message.isascii() else encoded(message).decode(),)


class RawClient:
    """The client of one connection; where there is Socket.IO, that is `client.Client`."""

    __slots__ = ("socket",)

    connect_by: float | None = None  # there is nothing to join

    def __init__(self, peers: Peers, carrier: Carrier, subprotocol: str = "") -> None:
        self.socket = RawSocket(peers, carrier, subprotocol)

    def start(self, door: Door, request: Request) -> None:
        """Come in, if the path's `on connect` lets it."""
        self.socket.headers = request.headers
        self.socket.start(door, request.for_socket(self.socket, request.match))

    def closed_with(self, code: int, reason: str) -> None:
        """Note how its WebSocket has ended."""
        self.socket.closed_with(code, reason)

    def posted(self, request: Request) -> None:
        """What it says next comes with this request."""
        self.socket.headers = request.headers

    def receive(self, message: Wire) -> None:
        """Take one message."""
        self.socket.deliver(MESSAGE, [message], None, len(message))

    def end(self, reason: str) -> None:
        """The connection has gone."""
        self.socket.end(reason)


class EngineClient(RawClient):
    """The client of one session of Engine.IO."""

    __slots__ = ("_door", "_request")

    def __init__(self, peers: Peers, carrier: Carrier, door: Door, request: Request) -> None:
        super().__init__(peers, carrier)
        self._door = door
        self._request = request

    def begin(self) -> bool:
        """Ask whether it may come in: the carrier is told, now or later."""
        self.start(self._door, self._request)
        return False
