"""A visit to a server, as `doctor` pays it: requests, sessions and WebSockets, one at a time.

What it implements: what a client of Engine.IO 4 does, with a word for each answer that should
have been another one. What it leaves out: in which order, and what that shows (`doctor_checks`).

In one line::

    handshake = await Visit("https://chat.example").begin(visitor)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from typing import Final
from urllib.parse import urlencode, urlsplit

from . import doctor_advice as advice
from . import strictjson
from .dial import DEFAULT_PORTS, MAYBE_TLS, ConnectError, Fields, Port, Visitor, why
from .dial_inbox import time_limit
from .dial_websocket import WebSocket
from .doctor_advice import Trouble, answered, code_of
from .engineio import BAD_REQUEST, POLLING, PROTOCOL, WEBSOCKET
from .engineio_client import Handshake, handshake_of
from .engineio_query import UNKNOWN_TRANSPORT
from .http1_client import Response

TIMEOUT_S: Final = 10.0  # for each answer
# For a server that does not say how much it takes, and of one that takes more.
LARGE_BYTES: Final = 100_000
LARGEST_BYTES: Final = 16_000_000
CLOSE: Final = "1"  # a packet of Engine.IO 4, as these
_PING: Final = "2"
_PONG: Final = "3"
_SEPARATOR: Final = "\x1e"
# Socket.IO 5: an acknowledgement that nobody has asked for.
_STRANGE_ACK: Final = '43987654["{}"]'
# Who says that no Upgrade has come, or half of it: ours, aiohttp and `websockets`.
_NO_UPGRADE: Final = re.compile(
    r"(Connection|Upgrade) does not say|no upgrade from HTTP/1\.0"
    r"|No (WebSocket UPGRADE|CONNECTION upgrade) hdr|missing (Upgrade|Connection) header"
)
# And who says that another field is missing; the last two are aiohttp's.
_NO_FIELD: Final = re.compile(r"Sec-WebSocket-|^Handshake error: |^Unsupported version: ", re.I)


class Visit:
    """One server, and what has been learnt of it."""

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None = None,
        fields: Fields | None = None,
        origin: str = "",
        idle: float = 0,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """``idle`` is for how many seconds to be silent. Raises ValueError for no url."""
        parts = urlsplit(url)
        self.url = url
        self.port = Port(url, tls)
        self.target = parts.path if parts.path not in ("", "/") else "/socket.io/"
        # Where the site begins, as far as the url tells: sockets are one level below.
        self.root = self.target.rstrip("/").rpartition("/")[0] + "/"
        secure = parts.scheme in ("https", "wss")
        self.own_origin = f"{'https' if secure else 'http'}://{self.port.authority}"
        self.origin = origin or self.own_origin
        self.is_secure = secure
        self.idle = idle
        self.timeout = timeout
        self.polls = True  # whether the server takes who polls
        self.has_websockets = True
        self.handshake: Handshake | None = None  # the first
        self.sids: set[str] = set()  # of all sessions that were begun
        self._fields = fields or []

    def other_port(self) -> Port:
        """The same, asked without TLS if the url has it, and with it otherwise: by whomever."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        where = f"{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}"
        if self.is_secure:
            return Port(f"http://{where}")
        anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE
        return Port(f"https://{where}", anyone)

    def visitor(self) -> Visitor:
        """Somebody who has not been here before: without cookies."""
        return Visitor(self.port)

    async def ask(
        self,
        visitor: Visitor,
        method: str,
        target: str,
        more: Fields | None = None,
        content: str = "",
        limit: float | None = None,
    ) -> tuple[Response, bytes]:
        """One request. Raises OSError and TimeoutError."""
        what = f"no answer to {method} {target.partition('?')[0]}"
        fields = [*self._fields, *(more or [])]
        async with time_limit(self.timeout if limit is None else limit, what):
            return await visitor.ask(method, target, fields, content.encode())

    def at(self, transport: str, sid: str = "") -> str:
        """The url of a request of Engine.IO, as a path."""
        query = {"EIO": PROTOCOL, "transport": transport} | ({"sid": sid} if sid else {})
        return f"{self.target}?{urlencode(query)}"

    async def begin(self, visitor: Visitor, more: Fields | None = None) -> Handshake:
        """Begin a session by polling. Raises `Trouble`."""
        return self.opened(*await self.ask(visitor, "GET", self.at(POLLING), more))

    def opened(self, head: Response, body: bytes) -> Handshake:
        """The handshake that an answer is. Raises `Trouble`."""
        packet = body.partition(_SEPARATOR.encode())[0]
        if head.status != 200 or packet[:1] != b"0":
            raise answered("a handshake", head, body)
        return self.read_handshake(packet)

    def read_handshake(self, packet: bytes) -> Handshake:
        """Raises `Trouble`."""
        try:
            # Servers of before 2022 did not say how much they take.
            handshake = handshake_of({"maxPayload": 0} | strictjson.loads(packet[1:]))
        except (ValueError, TypeError):
            what = f"no handshake of Engine.IO 4: {packet[:80].decode(errors='replace')}"
            raise Trouble(what, advice.OLD) from None
        self.sids.add(handshake.sid)
        return handshake

    def large_packet(self) -> str:
        """Nearly as large a packet as the server says that it takes; it means nothing to it.

        To some servers, their limit itself is too much.
        """
        said = self.handshake.max_payload if self.handshake is not None else 0
        most = min(said or LARGE_BYTES, LARGEST_BYTES)
        room = most - most // 100 - len(_STRANGE_ACK.format(""))
        return _STRANGE_ACK.format("x" * max(room, 0))

    async def post(self, visitor: Visitor, sid: str, packet: str) -> None:
        """Say something in a session of polling. Raises `Trouble`."""
        head, body = await self.ask(
            visitor, "POST", self.at(POLLING, sid), [("content-type", "text/plain")], packet
        )
        if head.status != 200 or body.strip().lower() != b"ok":
            trouble = answered(f"a POST of {len(packet)} bytes", head, body)
            if head.status in (403, 405):  # while a GET has begun the session
                trouble.advice = advice.METHOD
            elif code_of(body) == BAD_REQUEST:  # and it is a good one
                trouble.advice = advice.BODY
            raise trouble

    async def poll(self, visitor: Visitor, sid: str, limit: float | None = None) -> list[str]:
        """The packets that come next, but for pings, which are answered. Raises `Trouble`."""
        while True:
            head, body = await self.ask(visitor, "GET", self.at(POLLING, sid), limit=limit)
            if head.status != 200:
                raise answered("a poll", head, body)
            packets = body.decode(errors="replace").split(_SEPARATOR)
            if _PING not in packets:
                return packets
            await self.post(visitor, sid, _PONG)
            packets.remove(_PING)
            if packets:
                return packets

    async def talk(self, visitor: Visitor, sid: str = "", more: Fields | None = None) -> Talk:
        """Open a WebSocket. Raises `Trouble`."""
        talk = Talk(self.timeout)
        fields = [*self._fields, *(more or [])]
        try:
            async with time_limit(self.timeout, "no answer to the handshake of a WebSocket"):
                await talk.websocket.open(visitor, self.at(WEBSOCKET, sid), fields)
        except ConnectError as error:
            raise self._not_upgraded(*error.answer, sid) from None
        except TimeoutError as error:
            raise self._no_websocket(Trouble(str(error), advice.SLOW)) from None
        except ConnectionError as error:
            cure = advice.HANDSHAKE if "RFC 6455" in str(error) else advice.BROKEN
            raise self._no_websocket(Trouble(f"a WebSocket: {told(error)}", cure)) from None
        return talk

    def _not_upgraded(self, head: Response, body: bytes, sid: str) -> Trouble:
        """Why a request for a WebSocket was answered with something else than 101."""
        trouble = answered("a WebSocket", head, body)
        text, code = body.decode(errors="replace"), code_of(body)
        # Of a session's request, python-socketio says so what else is Bad request.
        is_bad = code == BAD_REQUEST or (sid != "" and "Invalid transport" in text)
        if head.status in (400, 426) and _NO_FIELD.search(text):
            trouble.advice = advice.HANDSHAKE
        elif is_bad or head.status == 426 or (head.status == 400 and _NO_UPGRADE.search(text)):
            return Trouble(f"{trouble}; no Upgrade has reached the server", advice.UPGRADE)
        elif code == UNKNOWN_TRANSPORT:
            return Trouble(f"{trouble}; the query of the url has not reached it", advice.QUERY)
        elif head.status == 200 and body[:2] == b"0{":
            is_known = self.read_handshake(body).sid in self.sids
            trouble.advice = advice.CACHED if is_known else advice.QUERY
        return self._no_websocket(trouble)

    def _no_websocket(self, trouble: Trouble) -> Trouble:
        """What nobody has a word for, while polling goes well: it is for being a WebSocket."""
        if self.handshake is not None and trouble.advice in (advice.BROKEN, advice.SLOW):
            trouble.advice = advice.NO_WEBSOCKETS
        return trouble

    async def end(self, visitor: Visitor, sid: str) -> None:
        """Leave, so that the server need not wait for us; whether that is heard is no matter."""
        with contextlib.suppress(Trouble, OSError):
            await self.post(visitor, sid, CLOSE)


class Talk:
    """A WebSocket of Engine.IO, packet by packet."""

    def __init__(self, timeout: float) -> None:
        self.websocket = WebSocket(self._receive, self._lost)
        self._packets: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self._timeout = timeout

    def _receive(self, packet: str | bytes) -> None:
        if packet == _PING:
            self.websocket.send(_PONG)
        else:
            self._packets.put_nowait(packet)

    def _lost(self) -> None:
        self._packets.put_nowait(None)

    async def read(self, what: str, timeout: float | None = None) -> str | bytes:
        """The next packet. Raises `Trouble` if the connection ends, and TimeoutError."""
        async with time_limit(self._timeout if timeout is None else timeout, f"no {what}"):
            packet = await self._packets.get()
        if packet is None:
            websocket = self.websocket
            how = f"{websocket.close_code} {websocket.close_reason}".strip()
            raise Trouble(f"no {what}: the WebSocket ended: {how}", advice.TUNNEL)
        return packet

    async def expect(self, packet: str, what: str) -> str:
        """The next packet, which begins like this. Raises `Trouble` and TimeoutError."""
        came = await self.read(what)
        if isinstance(came, str) and came.startswith(packet):
            return came
        raise Trouble(f"no {what}, but {came[:40]!r}", advice.BROKEN)

    def close(self) -> None:
        """Leave."""
        self.websocket.send(CLOSE)
        self.websocket.abort()


def told(error: OSError) -> str:
    """Why a request came to nothing. That it was for want of TLS is what `connect` has told."""
    return why(error) if error.errno else str(error).removesuffix(MAYBE_TLS)
