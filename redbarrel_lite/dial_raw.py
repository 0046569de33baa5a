"""One layer down: a WebSocket, or an Engine.IO session, without Socket.IO on top.

What it implements: the objects that a user holds to talk to paths with ``method WEBSOCKET``
and ``method ENGINEIO``: texts and bytes, both ways. What it leaves out: what `dial_websocket`
and `dial_engine` do, which have no waits and no inbox.

In one line::

    websocket = await AsyncWebSocket(visitor, "/ws", []).connect()
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from .dial import Fields, Visitor
from .dial_engine import Engine
from .dial_inbox import Inbox, time_limit
from .dial_socket import TIMEOUT_S, UPGRADE, checked_transport
from .dial_websocket import WebSocket
from .engineio import POLLING, WEBSOCKET
from .errors import SocketClosed
from .outgoing import DONE
from .wsproto import NORMAL_CLOSURE

Message = str | bytes


class AsyncWebSocket:
    """A WebSocket, for coroutines; its waits are those of `dial_socket.AsyncSocket`."""

    def __init__(
        self,
        visitor: Visitor,
        url: str,
        fields: Fields,
        subprotocols: Sequence[str] = (),
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._visitor = visitor
        self._url = url
        self._fields = fields
        self._subprotocols = subprotocols
        self._inbox: Inbox[Message] = Inbox(timeout)
        self._websocket = WebSocket(self._inbox.add, self._lost)

    @property
    def subprotocol(self) -> str:
        """What the server chose of those that were offered; "" for none."""
        return self._websocket.subprotocol

    @property
    def websocket(self) -> WebSocket:
        """The frames under it."""
        return self._websocket

    @property
    def connected(self) -> bool:
        """False once it has ended, from whatever side."""
        return self._websocket.is_open and self._inbox.closed is None

    @property
    def close_code(self) -> int | None:
        """That of the server's close frame, 1005 for one without, 1006 for an end without one."""
        return self._websocket.close_code

    @property
    def close_reason(self) -> str:
        """What the server said with it; after a 1006, what went wrong."""
        return self._websocket.close_reason

    @property
    def received(self) -> list[Message]:
        """What has come and was not received yet; a copy."""
        return list(self._inbox.messages)

    async def connect(self) -> AsyncWebSocket:
        """Do the opening handshake; return self. Raises `ConnectError`, OSError, TimeoutError."""
        async with time_limit(self._inbox.timeout, "no answer to the handshake"):
            await self._websocket.open(self._visitor, self._url, self._fields, self._subprotocols)
        return self

    def send(self, message: Message) -> Awaitable[None]:
        """Send text or bytes. Raises SocketClosed after the end."""
        if not self.connected:
            raise SocketClosed(self._inbox.closed or "never connected")
        self._websocket.send(message)
        return DONE

    def ping(self, payload: bytes = b"") -> Awaitable[None]:
        """Send a ping."""
        self._websocket.ping(payload)
        return DONE

    async def recv(self, *, timeout: float | None = None) -> Message:
        """The next message. Raises TimeoutError, and SocketClosed if none will come."""
        return await self._inbox.wait(self._inbox.first, timeout, "no message")

    async def wait_disconnected(self, *, timeout: float | None = None) -> int:
        """Wait until it has ended; return the close code."""
        await self._inbox.wait(lambda: self._inbox.closed, timeout, "still connected")
        return self.close_code or 0

    async def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Do the closing handshake. Does nothing after the end."""
        if self.connected:
            async with time_limit(self._inbox.timeout, "the server did not let go"):
                await self._websocket.close(code, reason)

    def drop(self) -> None:
        """Break the connection without a word, as when the network fails."""
        self._websocket.abort()

    def _lost(self) -> None:
        self._inbox.close(f"closed with {self.close_code} {self.close_reason}".rstrip())

    async def __aenter__(self) -> AsyncWebSocket:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()


class AsyncEngine:
    """An Engine.IO session, for coroutines; its waits are those of `dial_socket.AsyncSocket`."""

    def __init__(
        self,
        visitor: Visitor,
        url: str,
        fields: Fields,
        transport: str = WEBSOCKET,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self.disconnect_reason: str | None = None
        self._first_transport = checked_transport(transport)
        self._inbox: Inbox[Message] = Inbox(timeout)
        self._engine = Engine(visitor, url, fields, self._inbox.add, self._ended)

    @property
    def engine(self) -> Engine:
        """The packets under it."""
        return self._engine

    @property
    def sid(self) -> str:
        """The session's id."""
        return self._engine.handshake.sid if self._engine.handshake is not None else ""

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now."""
        return self._engine.transport

    @property
    def connected(self) -> bool:
        """False once it has ended, from whatever side."""
        return self._engine.handshake is not None and self.disconnect_reason is None

    @property
    def received(self) -> list[Message]:
        """What has come and was not received yet; a copy."""
        return list(self._inbox.messages)

    async def connect(self) -> AsyncEngine:
        """Begin the session; return self. Raises `ConnectError`, OSError, TimeoutError."""
        begin = WEBSOCKET if self._first_transport == WEBSOCKET else POLLING
        try:
            async with time_limit(self._inbox.timeout, "no handshake"):
                await self._engine.open(begin)
            if self._first_transport == UPGRADE:
                await self.upgrade()
        except BaseException:
            self.drop()
            raise
        return self

    async def upgrade(self) -> None:
        """Move from polling to a WebSocket; raises as `dial_socket.AsyncSocket.upgrade` does."""
        async with time_limit(self._inbox.timeout, "no upgrade"):
            await self._engine.upgrade()

    def send(self, message: Message) -> Awaitable[None]:
        """Send text or bytes. Raises SocketClosed after the end."""
        if not self.connected:
            raise SocketClosed(self._inbox.closed or "never connected")
        self._engine.send((message,))
        return DONE

    async def recv(self, *, timeout: float | None = None) -> Message:
        """The next message. Raises TimeoutError, and SocketClosed if none will come."""
        return await self._inbox.wait(self._inbox.first, timeout, "no message")

    async def wait_disconnected(self, *, timeout: float | None = None) -> str:
        """Wait until it has ended; return the reason."""
        return await self._inbox.wait(lambda: self.disconnect_reason, timeout, "still connected")

    async def close(self) -> None:
        """End the session. Does nothing after the end."""
        try:
            async with time_limit(self._inbox.timeout, "the server did not let go"):
                await self._engine.close()
        finally:
            self.drop()

    def drop(self) -> None:
        """Break the connection without a word, as when the network fails."""
        self._engine.drop()

    def _ended(self, reason: str) -> None:
        self.disconnect_reason = reason
        fault = f" ({self._engine.fault})" if self._engine.fault else ""
        self._inbox.close(f"disconnected: {reason}{fault}")

    async def __aenter__(self) -> AsyncEngine:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()
