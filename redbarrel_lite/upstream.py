"""``proxy:``: another server answers, and we stand between it and the client.

What it implements: a gateway (RFC 9110 section 3.7) that hands on what an
intermediary should (7.6) and nothing else: each request is written anew from what
was understood of it, so that nobody's bytes reach the upstream raw; both bodies
stream, no faster than the slower side; WebSockets go through. What it leaves out:
caching, redirects (the client follows them, or not), interim answers, h2c, and
connections that are used again, where one answer cut wrongly becomes that of the
next client.

In one line::

    service = Upstream("http://localhost:5000/base", "/mounted")
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from . import http1, http1_client, wsproto_handshake
from .errors import AppError, RemoteProtocolError
from .http1 import END_OF_MESSAGE
from .intake import read_in_parts
from .rbr_patterns import is_server_address
from .request import Request, line_for
from .response import Response, error_response

log = logging.getLogger("redbarrel_lite")


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """How long an upstream may take, in seconds; then it is 504."""

    connect: float = 5.0  # it is near, or it is down
    answer: float = 60.0  # from the end of the request to the whole head of the answer
    idle: float = 60.0  # between two parts of the answer; to take more of the request


# What may wait on its way from the upstream to a client that reads slowly.
HIGH_BYTES: Final = 64 * 1024
# What is written when a tunnel ends has so long to be read.
CLOSE_TIMEOUT_S: Final = 5.0
# How often a request may have been through servers of our kind. One that comes back
# to where it was, because two files point at each other, would run round for ever.
MAX_HOPS: Final = 10
# Our name in Via (RFC 9110 7.6.3): a pseudonym, since whose machine it is concerns nobody.
VIA_NAME: Final = "redbarrel-lite"


# -- which header fields go on ---------------------------------------------------------

# RFC 9110 7.6.1: about this connection, not the next one. Upgrade is set anew for
# WebSockets and for nothing else: an h2c that got through would be a tunnel past
# every rule (CVE-2021-21295's kin). TE and Trailer: we drop trailers.
_HOP_BY_HOP: Final = frozenset(
    "connection content-length http2-settings keep-alive proxy-authenticate"
    " proxy-authorization proxy-connection te trailer transfer-encoding upgrade".split()
)
# What we say ourselves, and a client could lie in. Expect was answered already.
# Proxy: becomes HTTP_PROXY in CGI's kin, and their HTTP clients believe it (httpoxy).
_OURS: Final = frozenset("expect forwarded host proxy via x-real-ip".split())
# A client may name a field in Connection to have it removed on the way: one that the
# upstream would decide by, so that it decides differently. So only extensions go.
_END_TO_END: Final = frozenset(
    "accept accept-charset accept-encoding accept-language authorization cache-control"
    " content-encoding content-language content-location content-range content-type cookie"
    " date from if-match if-modified-since if-none-match if-range if-unmodified-since"
    " max-forwards origin pragma range referer user-agent".split()
)


def _named_hop_by_hop(headers: Iterable[tuple[str, str]]) -> set[str]:
    """What the Connection field names (RFC 9110 7.6.1)."""
    return http1.list_members(value for name, value in headers if name == "connection")


def request_fields(request: Request) -> list[tuple[str, str]]:
    """The client's header fields that go on, and what we say of the client.

    Names with an underscore stay here: where header fields become variables,
    ``X_Forwarded_For`` is the same as ``X-Forwarded-For`` (CVE-2024-45614).
    """
    pairs = request.headers.pairs
    dropped = _HOP_BY_HOP | _OURS | (_named_hop_by_hop(pairs) - _END_TO_END)
    kept = [
        (name, value)
        for name, value in pairs
        if name not in dropped and "_" not in name and not name.startswith("x-forwarded-")
    ]
    return kept + _forwarding_fields(request)


def _forwarding_fields(request: Request) -> list[tuple[str, str]]:
    """Who asked, and how (RFC 7239, and the older fields that most frameworks read).

    The client's own are replaced, not added to: nobody vouches for them. For a
    proxy that is trusted, the request itself says who was behind it.
    """
    peer = request.remote_addr or "unknown"
    node = f'"[{peer}]"' if ":" in peer else peer
    forwarded = f"for={node};proto={request.scheme}"
    fields = [("x-forwarded-for", peer), ("x-forwarded-proto", request.scheme)]
    if request.host:
        fields.append(("x-forwarded-host", request.host))
        forwarded += f';host="{request.host}"'
    via = [value for name, value in request.headers.pairs if name == "via"]
    return [
        *fields,
        ("forwarded", forwarded),
        ("via", ", ".join([*via, f"1.1 {VIA_NAME}"])),
    ]


def response_fields(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The upstream's header fields that go on. It is trusted to name its own in Connection."""
    dropped = _HOP_BY_HOP | _named_hop_by_hop(headers)
    return [field for field in headers if field[0] not in dropped]


def _hops(request: Request) -> int:
    via = request.headers.get("via", "")
    return sum(VIA_NAME in member.split() for member in via.split(","))


def _wants_websocket(request: Request) -> bool:
    """Whether it asks for a WebSocket (RFC 6455 4.1), and for nothing besides."""
    upgrade = request.headers.get("upgrade", "").strip().lower()
    named = "upgrade" in _named_hop_by_hop(request.headers.pairs)
    return request.method == "GET" and upgrade == "websocket" and named


# -- where to ------------------------------------------------------------------------

# A byte of the path, as it is written in a target.
_WRITTEN_BYTE: Final = "(?:%[0-9A-Fa-f]{2}|.)"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream is. The .rbr file alone says so, whatever a request looks like."""

    host: str
    port: int
    is_tls: bool
    authority: str
    base: str  # of its paths; no slash at its end

    @classmethod
    def parse(cls, address: str) -> Address:
        """Raises `AppError` for what is no address of a server."""
        if not is_server_address(address):
            raise AppError(f"'{address}' is no address of a server", "write: http://localhost:5000")
        parts = urlsplit(address)
        is_tls = parts.scheme == "https"
        port = parts.port if parts.port is not None else 443 if is_tls else 80
        return cls(parts.hostname or "", port, is_tls, parts.netloc, parts.path.rstrip("/"))


def _why(error: OSError) -> str:
    """In the system's words: asyncio's are about its own call."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return error.strerror or str(error)


class Upstream:
    """Another server, as a service: what a path with ``proxy:`` uses."""

    def __init__(self, address: str, mount: str, limits: UpstreamLimits | None = None) -> None:
        """``mount`` is the part of the path that the upstream does not see; no slash at its end."""
        self.address = Address.parse(address)
        self._limits = limits or UpstreamLimits()
        # As many bytes as the mount has, each as it is or percent-encoded.
        self._mount = re.compile(f"{_WRITTEN_BYTE}{{{len(mount.encode())}}}")

    async def __call__(self, request: Request) -> Response:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal
        http = http1_client.Connection()
        asked = self._head(http, request)
        try:
            connection = await self._connect(http)
        except TimeoutError:
            return self._failed(request, 504, "it took too long to connect")
        except OSError as error:
            return self._failed(request, 502, f"can't connect: {_why(error)}")
        exchange = Exchange(connection, self._limits, self._what(request))
        try:
            head = await exchange.ask(request, asked)
            if head.status == 101:
                return self._switch(request, head, exchange)
        except TimeoutError:
            exchange.close()
            return self._failed(request, 504, "it took too long")
        except RemoteProtocolError as error:
            exchange.close()
            if error.code != 502:  # the client's own fault
                return error_response(error.code, str(error))
            return self._failed(request, 502, str(error))
        except BaseException:
            exchange.close()
            raise
        return _response(request, head, exchange)

    async def _connect(self, http: http1_client.Connection) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        address = self.address
        async with asyncio.timeout(self._limits.connect):
            _, connection = await loop.create_connection(
                lambda: UpstreamConnection(http),
                address.host,
                address.port,
                ssl=address.is_tls or None,
            )
        return connection

    def _head(self, http: http1_client.Connection, request: Request) -> bytes:
        headers = [("host", self.address.authority), *request_fields(request)]
        if _wants_websocket(request):
            headers.append(("upgrade", "websocket"))
        return http.send_request(request.method, self.target(request), headers, _length(request))

    def target(self, request: Request) -> str:
        """The request's target as the upstream sees it: the mount goes, the base comes.

        It is cut from what the client wrote, not from what it means: an encoded
        slash must not become a plain one on its way.
        """
        path, mark, query = request.target.partition("?")
        mount = self._mount.match(path)
        rest = path[mount.end() :] if mount else path
        return (self.address.base + rest or "/") + mark + query

    def _switch(
        self, request: Request, head: http1_client.Response, exchange: Exchange
    ) -> Response:
        """The client's connection becomes the upstream's (RFC 9110 7.8), if that understood it."""
        given = dict(head.headers)
        accept = wsproto_handshake.accept_key(request.headers.get("sec-websocket-key", ""))
        if given.get("upgrade", "").lower() != "websocket" or "upgrade" not in _named_hop_by_hop(
            head.headers
        ):
            raise RemoteProtocolError("101 to something else than a WebSocket (RFC 6455 4.1)", 502)
        if given.get("sec-websocket-accept") != accept:
            raise RemoteProtocolError("101 without the right Sec-WebSocket-Accept", 502)
        headers = [("upgrade", "websocket"), *response_fields(head.headers)]
        return Switch(headers, exchange.tunnel())

    def _failed(self, request: Request, status: int, why: str) -> Response:
        """The client learns that the upstream failed; why is for the log alone."""
        log.warning("%s: %s", self._what(request), why)
        text = "the server behind this one failed" if status == 502 else "the server behind is slow"
        response = error_response(status, text)
        return _closing(response) if _wants_websocket(request) else response

    def _what(self, request: Request) -> str:
        """What is asked of whom, for the log."""
        return f"{line_for(request)}: {self.address.authority}"


def _refusal(request: Request) -> Response | None:
    """The answer to what is not to be handed on at all."""
    if request.method == "TRACE":
        # RFC 9110 9.3.8: it reflects what it got, the cookies of a page's visitor among it.
        # No other method is allowed: where one is, the request does not come here.
        return error_response(405, "TRACE is not handed on", [("allow", "")])
    if _hops(request) >= MAX_HOPS:
        return error_response(508, f"the request has been here {MAX_HOPS} times")
    # An upstream that resolves these (and who doesn't) would leave its base by them.
    # Some take a backslash for a slash, some cut a segment at its semicolon.
    segments = re.split(r"[/\\]", request.path)
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        return error_response(400, "the path has dot segments")
    return None


def _length(request: Request) -> int | None:
    """How long the body is; None if that is not known before its end."""
    if request.stream is None:
        return len(request.body)
    if "transfer-encoding" in request.headers:
        return None
    return int(request.headers.get("content-length", 0))


def _response(request: Request, head: http1_client.Response, exchange: Exchange) -> Response:
    fields = response_fields(head.headers)
    response = Response(b"", head.status, stream=exchange, length=head.content_length)
    # The upstream's own and no other: none is guessed where it gave none.
    response.headers[:] = fields
    return _closing(response) if _wants_websocket(request) else response


def _closing(response: Response) -> Response:
    """An upgrade was refused: who sent it may have sent its new protocol behind it."""
    response.headers.append(("connection", "close"))
    return response


class Switch(Response):
    """101: the client's connection is given to a protocol."""

    def __init__(self, headers: list[tuple[str, str]], protocol: Tunnel) -> None:
        super().__init__(b"", 200, headers)
        self._status = 101  # of all answers, only this one is no final one
        self.protocol = protocol


# -- one request and its answer ----------------------------------------------------------


class Exchange:
    """One request to an upstream; then, as an async iterator, the content of its answer."""

    _sending: asyncio.Task[None]

    def __init__(self, connection: UpstreamConnection, limits: UpstreamLimits, what: str) -> None:
        """``what`` is asked of whom, for the log."""
        self._connection = connection
        self._limits = limits
        self._what = what

    async def ask(self, request: Request, head: bytes) -> http1_client.Response:
        """Send the request, and wait for the head of the answer, which may come before its end.

        Raises TimeoutError; `RemoteProtocolError` with status 502 if the upstream
        failed, with another one if the client did.
        """
        self._sending = sending = asyncio.create_task(self._send(request, head))
        sending.add_done_callback(self._sent)
        reading = asyncio.ensure_future(self._connection.next_event())
        try:
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            async with asyncio.timeout(self._limits.answer):
                event = await reading
        finally:
            reading.cancel()
        if isinstance(event, RemoteProtocolError):
            raise event
        assert isinstance(event, http1_client.Response)
        return event

    async def _send(self, request: Request, head: bytes) -> None:
        connection = self._connection
        http = connection.http
        try:
            await self._write(head)
            if request.stream is not None:
                async for part in request.stream:
                    await self._write(http.chunk(part))
            elif request.body:
                await self._write(http.chunk(request.body))
            await self._write(http.end_request())
        except ConnectionResetError:
            # What it said before it went, a 413 perhaps, is its answer; or that it went.
            return

    async def _write(self, data: bytes) -> None:
        async with asyncio.timeout(self._limits.idle):
            await self._connection.write(data)

    def _sent(self, sending: asyncio.Task[None]) -> None:
        """If the request broke off, what has come of the answer is an answer to something else."""
        if not sending.cancelled() and sending.exception() is not None:
            self._connection.fail("the request broke off")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next part. Raises ConnectionAbortedError if it breaks off, so that ours does too."""
        try:
            async with asyncio.timeout(self._limits.idle):
                event = await self._connection.next_event()
        except TimeoutError:
            log.warning("%s: it went silent in the middle of its answer", self._what)
            raise ConnectionAbortedError from None
        if isinstance(event, bytes):
            return event
        if event is END_OF_MESSAGE:
            raise StopAsyncIteration
        log.warning("%s: the answer broke off: %s", self._what, event)
        raise ConnectionAbortedError

    def close(self) -> None:
        """Let go of the upstream."""
        self._sending.cancel()
        self._connection.close()

    async def aclose(self) -> None:
        """The answer is out, or nobody wants the rest of it."""
        self.close()

    def tunnel(self) -> Tunnel:
        """The client's side of what the connection becomes after 101."""
        return self._connection.tunnel()


class UpstreamConnection(asyncio.Protocol):
    """One connection to an upstream: reads no faster than its events are taken."""

    def __init__(self, http: http1_client.Connection) -> None:
        self.http = http
        self._transport: asyncio.Transport | None = None
        self._events: deque[http1_client.Event] = deque()
        self._queued = 0  # bytes of content among them
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    # -- asyncio's calls -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        read_in_parts(transport)

    def data_received(self, data: bytes) -> None:
        self._add(self.http.receive(data))
        if self.http.state is http1.State.UPGRADED or self._queued > HIGH_BYTES:
            assert self._transport is not None
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._add(self.http.receive_eof())
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._writable.set()
        if error is None:
            self._add(self.http.receive_eof())
        else:
            # Not receive_eof: content that ends by closing does not end by a reset.
            self.fail(f"the upstream broke off: {error}")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- for the exchange --------------------------------------------------------

    async def next_event(self) -> http1_client.Event:
        """The next event of the answer, in order."""
        while not self._events:
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        if isinstance(event, bytes):
            self._queued -= len(event)
            if self._queued <= HIGH_BYTES and self._transport is not None:
                self._transport.resume_reading()
        return event

    async def write(self, data: bytes) -> None:
        """Write, and wait until there is room for more. Raises ConnectionResetError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._transport.write(data)
        await self._writable.wait()

    def fail(self, why: str) -> None:
        """Whatever is still to come of the answer, this comes instead; but not after its end."""
        if self.http.state not in (http1.State.DONE, http1.State.ERROR):
            self.http.state = http1.State.ERROR
            self._add([RemoteProtocolError(why, 502)])

    def close(self) -> None:
        """Close at once: what is not read yet is of no use to anybody."""
        if self._transport is not None:
            self._transport.abort()

    def tunnel(self) -> Tunnel:
        """Give the connection to a tunnel; return the side that the client's connection gets."""
        client, upstream = Tunnel(), Tunnel()
        client.other, upstream.other = upstream, client
        client.early = self.http.upgrade()
        if self._transport is not None:
            self._transport.set_protocol(upstream)
            upstream.transport = self._transport
        return client

    def _add(self, events: list[http1_client.Event]) -> None:
        if events:
            self._events += events
            self._queued += sum(len(event) for event in events if isinstance(event, bytes))
            self._news.set()


# -- WebSockets -------------------------------------------------------------------------


class Tunnel(asyncio.Protocol):
    """One end of a tunnel: what comes in here goes out at the other end, and no faster.

    It knows nothing of WebSocket frames: both sides check them better themselves. An
    end of one direction is the end: no side of a WebSocket has more to say then.
    """

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Tunnel | None = None
        self.early = b""  # what the upstream sent right behind its 101
        self.when_lost: Callable[[Any], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.early)
        far = self._far
        if far is None:
            transport.close()  # the upstream has gone in the meantime
            return
        for one in (transport, far):
            one.resume_reading()

    @property
    def _far(self) -> asyncio.Transport | None:
        """The connection at the other end, as long as it is there."""
        return None if self.other is None else self.other.transport

    def data_received(self, data: bytes) -> None:
        far = self._far
        if far is not None:
            far.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        other, self.other = self.other, None
        if other is not None:
            other.close()
        if self.when_lost is not None:
            self.when_lost(self)

    def pause_writing(self) -> None:
        far = self._far
        if far is not None:
            far.pause_reading()

    def resume_writing(self) -> None:
        far = self._far
        if far is not None:
            far.resume_reading()

    def close(self) -> None:
        """End both sides, after what was written; a peer that does not read it has some time."""
        for one in (self, self.other):
            if one is not None and one.transport is not None:
                one.transport.close()
                asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, one.transport.abort)

    def abort(self) -> None:
        """End both sides without another byte."""
        for one in (self, self.other):
            if one is not None and one.transport is not None:
                one.transport.abort()
