"""The sockets of `testing` for tests without coroutines: each call waits in its thread.

What it implements: `Socket`, `WebSocket` and `Engine`, each the face of its async fellow of
`dial_socket` and `dial_raw`, run by an event loop in a thread of its own. What it leaves
out: all that those do.

In one line::

    Socket(loop, async_socket, keep=client).call("add", 1, 2)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeVar

from .dial_raw import AsyncEngine, AsyncWebSocket
from .dial_socket import AsyncSocket, Received
from .wsproto import NORMAL_CLOSURE

T = TypeVar("T")


class Loop:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="testing", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closed.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the loop's thread; return, or raise, what it does."""

        async def calling() -> T:
            return function(*args)

        return self.run(calling())

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()


class _Connection(Protocol):
    """What the three have in common."""

    @property
    def connected(self) -> bool: ...

    async def close(self) -> None: ...

    def drop(self) -> None: ...


C = TypeVar("C", bound=_Connection)


class _Face(Generic[C]):
    """One of them, for a thread that waits."""

    def __init__(self, loop: Loop, fellow: C, keep: object) -> None:
        """``keep`` is kept alive as long as this is."""
        self._loop = loop
        self._async = fellow
        self._keep = keep
        self._after: Callable[[], None] | None = None

    def when_closed(self, after: Callable[[], None]) -> None:
        """Have something called behind `close`."""
        self._after = after

    @property
    def connected(self) -> bool:
        """False once it has ended, from whatever side."""
        return self._async.connected

    def close(self) -> None:
        """End it as a client does that has said what it wanted; nothing after the end."""
        try:
            self._loop.run(self._async.close())
        finally:
            after, self._after = self._after, None
            if after is not None:
                after()

    def drop(self) -> None:
        """Break the connection without a word, as when the network fails."""
        self._loop.call(self._async.drop)

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Socket(_Face[AsyncSocket]):
    """One namespace of a Socket.IO connection; see `dial_socket.AsyncSocket`.

    Every wait ends after ``timeout`` seconds, by default that of the client, with a
    TimeoutError that says what came instead.
    """

    def __enter__(self) -> Socket:
        return self

    @property
    def namespace(self) -> str:
        """Its name."""
        return self._async.namespace

    @property
    def sid(self) -> str:
        """What the server calls ``socketio.session.session_id``."""
        return self._async.sid

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now; "" without a connection."""
        return self._async.transport

    @property
    def disconnect_reason(self) -> str | None:
        """Why it has ended, in the words of the official client; None while it lasts."""
        return self._async.disconnect_reason

    @property
    def recovered(self) -> bool:
        """Whether the server has taken us for who we were (`reconnect`)."""
        return self._async.recovered

    @property
    def received(self) -> list[Received]:
        """What has come and was not received yet; a copy."""
        return self._async.received

    def emit(self, event: str, *args: Any) -> None:
        """Send an event. Raises TypeError or ValueError, and SocketClosed after the end."""
        self._loop.call(self._async.emit, event, *args)

    def send(self, x: Any) -> None:
        """Send the event "message"."""
        self.emit("message", x)

    def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Send an event, and wait for its acknowledgement: a list of its arguments."""
        return self._loop.run(self._async.call(event, *args, timeout=timeout))

    def recv(self, event: str | None = None, *, timeout: float | None = None) -> Received:
        """The next message, or the next of one event: then the others stay for later.

        Raises TimeoutError, and SocketClosed if none is left and none will come.
        """
        message = self._loop.run(self._async.recv(event, timeout=timeout))
        if not message.wants_reply:
            return message

        def reply(args: Sequence[Any]) -> None:
            self._loop.call(message.reply, *args)

        return Received(message.event, message, reply)

    def wait_disconnected(self, *, timeout: float | None = None) -> str:
        """Wait until the server has ended it, or the network has; return the reason."""
        return self._loop.run(self._async.wait_disconnected(timeout=timeout))

    def also(self, namespace: str, auth: Any = None) -> Socket:
        """Enter one more namespace over the same connection. Raises `ConnectError`."""
        fellow = self._loop.run(self._async.also(namespace, auth))
        return Socket(self._loop, fellow, self._keep)

    def upgrade(self) -> None:
        """Move the connection from polling to a WebSocket. Raises if the server refuses."""
        self._loop.run(self._async.upgrade())

    def reconnect(self, transport: str | None = None) -> None:
        """Connect again, as a client does whose connection broke. Raises `ConnectError`."""
        self._loop.run(self._async.reconnect(transport))


class WebSocket(_Face[AsyncWebSocket]):
    """A WebSocket without Socket.IO; see `dial_raw.AsyncWebSocket`."""

    def __enter__(self) -> WebSocket:
        return self

    @property
    def subprotocol(self) -> str:
        """What the server chose of those that were offered; "" for none."""
        return self._async.subprotocol

    @property
    def close_code(self) -> int | None:
        """That of the server's close frame, 1005 for one without, 1006 for an end without one."""
        return self._async.close_code

    @property
    def close_reason(self) -> str:
        """What the server said with it; after a 1006, what went wrong."""
        return self._async.close_reason

    @property
    def received(self) -> list[str | bytes]:
        """What has come and was not received yet; a copy."""
        return self._async.received

    def send(self, message: str | bytes) -> None:
        """Send text or bytes. Raises SocketClosed after the end."""
        self._loop.call(self._async.send, message)

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self._loop.call(self._async.ping, payload)

    def recv(self, *, timeout: float | None = None) -> str | bytes:
        """The next message. Raises TimeoutError, and SocketClosed if none will come."""
        return self._loop.run(self._async.recv(timeout=timeout))

    def wait_disconnected(self, *, timeout: float | None = None) -> int:
        """Wait until it has ended; return the close code."""
        return self._loop.run(self._async.wait_disconnected(timeout=timeout))

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> None:
        """Do the closing handshake. Does nothing after the end."""
        self._loop.run(self._async.close(code, reason))


class Engine(_Face[AsyncEngine]):
    """An Engine.IO session without Socket.IO; see `dial_raw.AsyncEngine`."""

    def __enter__(self) -> Engine:
        return self

    @property
    def sid(self) -> str:
        """The session's id."""
        return self._async.sid

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now."""
        return self._async.transport

    @property
    def disconnect_reason(self) -> str | None:
        """Why it has ended, in the words of the official client; None while it lasts."""
        return self._async.disconnect_reason

    @property
    def received(self) -> list[str | bytes]:
        """What has come and was not received yet; a copy."""
        return self._async.received

    def send(self, message: str | bytes) -> None:
        """Send text or bytes. Raises SocketClosed after the end."""
        self._loop.call(self._async.send, message)

    def recv(self, *, timeout: float | None = None) -> str | bytes:
        """The next message. Raises TimeoutError, and SocketClosed if none will come."""
        return self._loop.run(self._async.recv(timeout=timeout))

    def wait_disconnected(self, *, timeout: float | None = None) -> str:
        """Wait until it has ended; return the reason."""
        return self._loop.run(self._async.wait_disconnected(timeout=timeout))

    def upgrade(self) -> None:
        """Move from polling to a WebSocket. Raises if the server refuses."""
        self._loop.run(self._async.upgrade())
