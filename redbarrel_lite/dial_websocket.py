"""A WebSocket that we opened: messages out, messages in, and why it ended.

What it implements: the I/O of the client's side of RFC 6455, for the tests' client and for
`connect`. What it leaves out: the rules, which `wsproto_client` knows, and back-pressure:
who tests a server has little to say, and room for the answers.

In one line::

    websocket = WebSocket(receive, lost); await websocket.open(visitor, "/ws", [])
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from . import wsproto, wsproto_client
from .dial import Exchange, Fields, Visitor, refused
from .errors import RemoteProtocolError

# After our close frame, or the server's, for the other one and for the end of TCP.
CLOSE_TIMEOUT_S: Final = 5.0
# A server may say more in one message than it lets its clients say. It is a limit all the
# same: a header that claims a tebibyte is to be told of, and not waited for.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024


def _new_key() -> bytes:
    return secrets.token_bytes(4)


class WebSocket(asyncio.Protocol):
    """One WebSocket.

    ``receive`` is called with each message, ``lost`` once, at the end; then
    ``close_code`` and ``close_reason`` are those of the server's close frame, or 1006
    and what went wrong (RFC 6455 7.1.5). ``ponged``, if it is set, is called with the
    payload of each pong.
    """

    def __init__(self, receive: Callable[[str | bytes], None], lost: Callable[[], None]) -> None:
        self.receive = receive
        self.lost = lost
        self.ponged: Callable[[bytes], None] | None = None
        self.subprotocol = ""  # what the server chose of those that were offered
        self.close_code: int | None = None
        self.close_reason = ""
        self._ws = wsproto_client.Connection(_new_key, MAX_MESSAGE_BYTES)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    async def open(
        self, visitor: Visitor, target: str, fields: Fields, subprotocols: Sequence[str] = ()
    ) -> None:
        """Do the opening handshake. Raises `ConnectError`, ConnectionError and OSError."""
        nonce = secrets.token_bytes(16)
        ours = wsproto_client.request_fields(nonce, subprotocols)
        exchange = await visitor.dial.open(Exchange())
        try:
            head, body = await exchange.ask("GET", target, visitor.fields([*fields, *ours]))
            visitor.remember(head)
            if head.status != 101:
                raise refused(target, head, body)
            chosen = wsproto_client.check_answer(101, head.headers, nonce, subprotocols)
        except BaseException as error:
            exchange.close()
            if isinstance(error, RemoteProtocolError):
                raise ConnectionError(str(error)) from None
            raise
        self.subprotocol = chosen
        exchange.switch(self)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, after its handshake."""
        return self._transport is not None

    # -- asyncio's calls -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for event in self._ws.receive(data):
            if isinstance(event, (str, bytes)):
                self.receive(event)
            elif isinstance(event, wsproto.Close):
                self.close_code, self.close_reason = event
                self._abort_later()
            elif isinstance(event, wsproto.Pong):
                if self.ponged is not None:
                    self.ponged(event.payload)
            elif isinstance(event, RemoteProtocolError):
                self._note(f"the server broke the protocol: {event}")
                self._abort_later()
        replies = b"".join(self._ws.replies)
        self._ws.replies.clear()
        self.write(replies)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._note(str(error) if error else "no close frame came before the end")
        self._over.set()
        self.lost()

    def _note(self, why: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = wsproto.ABNORMAL_CLOSURE, why

    # -- our calls -------------------------------------------------------------

    def send(self, message: str | bytes) -> None:
        """Send a message; to a server that has gone it does nothing."""
        self.write(self._ws.message_frame(message))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self.write(self._ws.ping_frame(payload))

    async def close(self, code: int = wsproto.NORMAL_CLOSURE, reason: str = "") -> None:
        """Do the closing handshake; returns when the connection has ended."""
        self.write(self._ws.close(code, reason))
        self._abort_later()
        await self._over.wait()

    def abort(self) -> None:
        """Drop the connection without another byte."""
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes as they are, frames or not."""
        if data and self._transport is not None:
            self._transport.write(data)

    def _abort_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CLOSE_TIMEOUT_S, self.abort)
