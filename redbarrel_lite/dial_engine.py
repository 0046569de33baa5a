"""One Engine.IO session that we opened: poll after poll, a WebSocket, or one and then the other.

What it implements: the I/O of the client's side of Engine.IO 4; what `transports` is for a
server. What it leaves out: the rules, which `engineio_client` knows.

In one line::

    engine = Engine(visitor, "/socket.io/", [], receive, ended); await engine.open(POLLING)

While it polls, one task has a GET waiting and another posts what is queued; each request is
on a connection of its own, so that `drop` is what a network does: they are gone at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlencode, urlsplit

from .dial import ConnectError, Fields, Visitor, refused
from .dial_websocket import WebSocket
from .engineio import PROTOCOL, WEBSOCKET, Packet
from .engineio_client import (
    FORCED_CLOSE,
    TRANSPORT_CLOSE,
    TRANSPORT_ERROR,
    Handshake,
    Session,
)
from .errors import RemoteProtocolError
from .wsproto import NO_STATUS_RECEIVED, NORMAL_CLOSURE

# For the answer to the last poll, once the server has taken our close: python-engineio gives none.
LAST_POLL_S: Final = 0.5


class Engine:
    """The client's side of one session.

    ``receive`` is called with each message, ``ended`` once, with the reason; ``fault``
    says more about that, if there is more.
    """

    def __init__(
        self,
        visitor: Visitor,
        url: str,
        fields: Fields,
        receive: Callable[[Packet], None],
        ended: Callable[[str], None],
    ) -> None:
        """``url`` is a path, perhaps with a query; ``fields`` go along with every request."""
        self.fault = ""
        self._visitor = visitor
        self._url = urlsplit(url)
        self._fields = fields
        self._receive = receive
        self._ended = ended
        self._session = Session("")
        self._websocket: WebSocket | None = None  # the transport, once it is one
        self._probe: WebSocket | None = None
        self._poll: asyncio.Task[None] | None = None
        self._post: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()  # a packet has come, or the end
        self._is_closing = False
        self._is_over = False

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now."""
        return self._session.transport

    @property
    def handshake(self) -> Handshake | None:
        """What the server said first."""
        return self._session.handshake

    # -- begin -----------------------------------------------------------------

    async def open(self, transport: str) -> None:
        """Begin the session. Raises `ConnectError`, ConnectionError and OSError."""
        self._session = Session(transport)
        if transport == WEBSOCKET:
            self._websocket = WebSocket(self._receive_frame, self._websocket_lost)
            await self._open(self._websocket)
        else:
            head, body = await self._visitor.ask("GET", self._target(), self._fields)
            if head.status != 200:
                raise refused(self._target(), head, body)
            self._receive_payload(body)
        while self.handshake is None and not self._is_over:
            self._news.clear()
            await self._news.wait()
        if self.handshake is None:
            raise ConnectError(self.fault or "the connection ended before its handshake")

    async def _open(self, websocket: WebSocket) -> None:
        await websocket.open(self._visitor, self._target(WEBSOCKET), self._fields)

    def _target(self, transport: str = "") -> str:
        query = {"EIO": PROTOCOL, "transport": transport or self.transport}
        if self.handshake is not None:
            query["sid"] = self.handshake.sid
        own = f"{self._url.query}&" if self._url.query else ""
        return f"{self._url.path}?{own}{urlencode(query)}"

    # -- messages --------------------------------------------------------------

    def send(self, messages: Iterable[Packet]) -> None:
        """Send messages; to a server that has gone it does nothing."""
        self._session.send(messages)
        self._settle()

    def send_packet(self, packet: Packet) -> None:
        """Send an Engine.IO packet as it is, right or wrong."""
        self._session.send_packet(packet)
        self._settle()

    @property
    def websocket(self) -> WebSocket | None:
        """The WebSocket under the session, once that has one."""
        return self._websocket

    def _receive_packets(self, packets: Iterable[Packet]) -> None:
        now = asyncio.get_running_loop().time()
        try:
            for packet in packets:
                message = self._session.receive(packet, now)
                if message is not None:
                    self._receive(message)
        except RemoteProtocolError as error:
            self.fail(str(error))
        self._news.set()
        self._settle()

    def fail(self, fault: str) -> None:
        """The server broke a protocol: end the session, and remember how."""
        self.fault = self.fault or fault
        self._session.end("parse error")
        self._settle()

    def _settle(self) -> None:
        """Do what the session's state asks for: send packets, ask for more, or end."""
        session = self._session
        if session.closed_because is not None:
            self._end(session.closed_because)
            return
        loop = asyncio.get_running_loop()
        if self._websocket is not None:
            for packet in session.take_packets():
                self._websocket.send(packet)
        elif session.handshake is not None:
            if session.may_poll and self._poll is None:
                self._poll = loop.create_task(self._go_on_polling())
            if session.may_post and self._post is None:
                self._post = loop.create_task(self._go_on_posting())
        if self._timer is None and session.handshake is not None:
            self._timer = loop.call_at(session.wake_at(), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._session.tick(asyncio.get_running_loop().time())
        self._settle()

    # -- polling -----------------------------------------------------------------

    async def _go_on_polling(self) -> None:
        while self._session.may_poll and not self._is_over:
            body = await self._ask("GET")
            if body is not None:
                self._receive_payload(body)
        self._poll = None

    async def _go_on_posting(self) -> None:
        while self._session.may_post and not self._is_over:
            body = await self._ask("POST", self._session.take_payload())
            if body not in (b"ok", b"OK", None):  # OK: python-engineio
                self.fail(f"a POST is answered {body[:40]!r}, not 'ok'")
        self._post = None

    async def _ask(self, method: str, payload: str = "") -> bytes | None:
        """The answer to a request of the session; without one it has ended."""
        try:
            head, body = await self._visitor.ask(
                method, self._target(), self._fields, payload.encode()
            )
        except OSError as error:
            self.fault, reason = str(error), TRANSPORT_ERROR
        else:
            if head.status == 200:
                return body
            self.fault, reason = str(refused(self._target(), head, body)), TRANSPORT_ERROR
        self._session.end(reason)
        self._settle()
        return None

    def _receive_payload(self, body: bytes) -> None:
        try:
            self._receive_packets(body.decode().split("\x1e"))
        except UnicodeDecodeError:
            self.fail("a payload is not UTF-8")

    # -- WebSocket ---------------------------------------------------------------

    def _receive_frame(self, packet: Packet) -> None:
        self._receive_packets((packet,))

    def _websocket_lost(self) -> None:
        websocket = self._websocket
        if websocket is not None and not self._is_closing:
            code, reason = websocket.close_code, websocket.close_reason
            if reason or code not in (NORMAL_CLOSURE, NO_STATUS_RECEIVED):
                self.fault = f"WebSocket closed: {code} {reason}".rstrip()
        self._session.end(FORCED_CLOSE if self._is_closing else TRANSPORT_CLOSE)
        self._settle()

    async def upgrade(self) -> None:
        """Move the session from polling to a WebSocket.

        Raises `ConnectError`, ConnectionError and OSError, and then it goes on polling;
        `LocalProtocolError` if the server does not offer it.
        """
        probe = self._session.start_probe()
        answer = _Answer()
        websocket = self._probe = WebSocket(answer.receive, answer.lost)
        try:
            await self._open(websocket)
            websocket.send(probe)
            self._receive_probe(await answer.packet)
            await self._silence()
            if self._is_over or self._probe is None:
                raise ConnectError(f"the session ended during its upgrade {self.fault}")
        except BaseException:
            self._stop_probe()
            raise
        websocket.receive, websocket.lost = self._receive_frame, self._websocket_lost
        self._probe, self._websocket = None, websocket
        websocket.send(self._session.finish_upgrade())
        self._settle()

    def _receive_probe(self, packet: Packet) -> None:
        try:
            self._session.receive_probe(packet)
        except RemoteProtocolError as error:
            raise ConnectError(str(error)) from None

    def _stop_probe(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.abort()
        self._session.stop_probe()
        self._settle()

    async def _silence(self) -> None:
        """Wait for the requests that are under way."""
        under_way = [task for task in (self._poll, self._post) if task is not None]
        if under_way:
            await asyncio.wait(under_way)

    # -- the end -----------------------------------------------------------------

    async def close(self) -> None:
        """End the session as the reference client does, after what is queued."""
        if self._is_over:
            return
        self._is_closing = True
        if self._websocket is not None:
            await self._websocket.close()
        else:
            self._session.close()
            self._settle()
            if self._post is not None:
                await asyncio.wait([self._post])
            if self._poll is not None:  # not every server answers it now
                await asyncio.wait([self._poll], timeout=LAST_POLL_S)
        self._session.end(FORCED_CLOSE)
        self._settle()

    def drop(self) -> None:
        """Go without a word, as when the network fails."""
        self._session.end(TRANSPORT_CLOSE)
        self._settle()

    def _end(self, reason: str) -> None:
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        current = asyncio.current_task()
        for task in (self._poll, self._post):
            if task is not None and task is not current:
                task.cancel()  # hangs up
        for websocket in (self._websocket, self._probe):
            if websocket is not None:
                websocket.abort()
        self._news.set()
        self._ended(reason)


class _Answer:
    """What comes first of a WebSocket that is probed: a packet, or its end."""

    def __init__(self) -> None:
        self.packet: asyncio.Future[Packet] = asyncio.get_running_loop().create_future()

    def receive(self, packet: Packet) -> None:
        if not self.packet.done():
            self.packet.set_result(packet)

    def lost(self) -> None:
        if not self.packet.done():
            self.packet.set_exception(ConnectError("the WebSocket was closed over its probe"))
