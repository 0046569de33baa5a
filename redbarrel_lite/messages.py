"""What comes from a client, and what takes it: messages, and who runs a handler.

What it implements: the message that `recv` returns, and the small interface, `Runner`,
that a thread or a coroutine with a handler has for the rooms above. What it leaves out:
both of these (`runners`, `coroutines`).

In one line::

    message = request.socketio.recv(); message.reply("thanks")
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .outgoing import DONE
from .request import Request

if TYPE_CHECKING:
    from .sockets import Socket


class Runner(Protocol):
    """What runs a handler: a thread, or a coroutine on the loop."""

    def start(self) -> None:
        """Begin; `Socket.recv` may be called from now on."""

    def deliver(self, message: Message) -> None:
        """Hand the next message to whoever calls `recv`; never called after `finish`."""

    def finish(self) -> None:
        """No message will come any more."""

    def recv(self, timeout: float | None) -> Any:
        """The next message, or an awaitable of it; see `Socket.recv`."""


# What user code is for a socket: a function of the globals and the request.
Handler: TypeAlias = Callable[[dict[str, Any], Request], Any]


class Message(list[Any]):
    """What `recv` returns: the arguments of one event, as a list."""

    __slots__ = ("_ack_id", "_socket", "event", "is_last", "size")

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
        # Whether this is the empty list that says that the client has gone: an event
        # without arguments is an empty list too.
        self.is_last = socket is None

    @property
    def wants_reply(self) -> bool:
        """Whether the client waits for an acknowledgement of this event."""
        return self._ack_id is not None

    def reply(self, *args: Any) -> Awaitable[None]:
        """Acknowledge the event, once; does nothing if that was not asked for."""
        if self._ack_id is None or self._socket is None:
            return DONE
        socket = self._socket
        messages = socket._home.encode_ack(self._ack_id, args)
        self._ack_id = None
        return socket._hand_over(socket._queue_ack, messages)


def new_id() -> str:
    """128 bits: nobody finds another's by trying."""
    return secrets.token_urlsafe(16)


class Session(dict[str, Any]):
    """The application's own data about a connection, and its ``session_id``."""

    __slots__ = ("session_id",)

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self.session_id = session_id
