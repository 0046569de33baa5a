"""One TCP connection that speaks HTTP: reads, hands on, answers, keeps time.

What it implements: the I/O of HTTP/1.1, as an asyncio protocol; it is what
`transports` calls an Exchange. What it leaves out: all rules of the protocol, which
`http1` knows, and what a request means, which `app` knows.

In one line::

    loop.create_server(lambda: HttpConnection(server), host, port)
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol

from . import http1
from .accesslog import Entry
from .app import App, SocketPath, Target
from .delivery import Congestion, deliver
from .entrance import Entrance
from .errors import RemoteProtocolError
from .failures import user_traceback
from .forwarded import seen_through
from .gate import Gate
from .intake import Intake, read_in_parts
from .patience import Deadline, TimeLimits
from .request import Request
from .response import FileContent, Response, Stream, close_stream, error_response
from .routes import NotRouted
from .upstream import Switch, Tunnel
from .websocket import WebSocket

log = logging.getLogger("redbarrel_lite")


# What a refused client may still send before we close. Closing at once, with
# bytes unread, makes its system throw away the answer that we just sent.
LINGER_BYTES: Final = 64 * 1024
# What a client may send ahead while its request is at work, or while it doesn't read.
MAX_PIPELINED_BYTES: Final = 64 * 1024
# Requests of one client that are answered before the others have their turn.
MAX_ANSWERS_A_TURN: Final = 16


_FAILED: Final = "the handler of this url failed; the log says why"

# To who would be one connection too many, before a word of his is read.
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class State(enum.Enum):
    """What a connection is about."""

    IDLE = "nothing: the next request is to come, or its turn"
    HEAD = "a request's head, of which a part has come"
    READING = "a request's body"
    AT_WORK = "a request that is being answered"
    LINGERING = "refused: what still comes is thrown away"
    CLOSING = "only what we have written is still to be read"


_ANSWERABLE: Final = (State.READING, State.AT_WORK)  # there is a request, and no answer yet
_QUIET: Final = (State.IDLE, State.HEAD)  # there is none


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    app: App
    limits: TimeLimits
    gate: Gate
    scheme: str
    connections: set[HttpConnection | WebSocket | Tunnel]
    closing: bool
    access: Callable[[Entry], None] | None  # writes the access log; None: there is none

    def gone(self, connection: HttpConnection | WebSocket | Tunnel) -> None:
        """A connection has ended, or become another one."""

    def endpoint(self, path: SocketPath) -> Entrance:
        """The sessions of a socket path's url."""

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done, and wait for it at the end."""

    def date(self, now: float) -> tuple[str, str]:
        """The Date field at a time of the loop."""


class HttpConnection(asyncio.Protocol):
    """One TCP connection that speaks HTTP, and the `websocket.Exchange` of its request."""

    __slots__ = (
        "_abort",
        "_began",
        "_client",
        "_congestion",
        "_deadline",
        "_discarded",
        "_eof",
        "_head",
        "_http",
        "_intake",
        "_loop",
        "_peer",
        "_pumping",
        "_sending",
        "_server",
        "_state",
        "_streaming",
        "_target",
        "_transport",
        "_trusted",
        "request",
    )

    request: Request

    def __init__(self, server: Host) -> None:
        self._server = server
        self._http = http1.Connection(server.gate.heads)
        # Kept: to ask for it costs a call of the system before Python 3.12.
        self._loop = asyncio.get_running_loop()
        self._deadline = Deadline(self._loop, self._late)
        self._transport: asyncio.Transport | None = None
        self._peer = ""  # its address
        self._trusted = False  # to say who asks, as a proxy does
        self._state = State.IDLE
        self._pumping = False
        # Of the request in hand:
        self._head: http1.Request | None = None  # None between two of them
        self._client = ""  # who asks
        self._target: Target | None = None
        self._intake: Intake | None = None  # of its body, if it has one
        self._began = 0.0  # when its head was there, in the loop's time
        self._abort: Callable[[], None] | None = None
        self._streaming: asyncio.Task[None] | None = None  # ends when the client goes
        self._sending = False  # content that comes in parts
        # Of the client:
        self._congestion = Congestion(server.limits.write)
        self._eof = False
        self._discarded = 0  # bytes thrown away since a refusal

    # -- asyncio's calls -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        server = self._server
        self._transport = transport
        read_in_parts(transport)
        server.connections.add(self)
        if 0 < server.gate.max_connections < len(server.connections):
            transport.write(_TOO_MANY)
            self._close()
            return
        peer = transport.get_extra_info("peername")
        self._peer = self._client = str(peer[0]) if isinstance(peer, tuple) else ""
        self._trusted = self._peer in server.gate.trusted
        self._deadline.set(server.limits.head)

    def data_received(self, data: bytes) -> None:
        if self._state is State.LINGERING:
            self._discard(len(data))
        elif self._state is not State.CLOSING:
            http = self._http
            self._pump(http.receive(data))
            if http.buffered:
                self._keep_for_later()

    def _keep_for_later(self) -> None:
        """There is more than could be taken: a part of a head, or requests that must wait."""
        if self._state is State.IDLE and self._http.state is http1.State.HEAD:
            self._state = State.HEAD
            self._deadline.set(self._server.limits.head)
        if self._http.buffered > MAX_PIPELINED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client will send no more; True keeps the connection for an answer."""
        self._eof = True
        if self._http.state is not http1.State.DONE or self._abort is not None:
            # A poll that waits is not work to finish: nobody is there to poll on.
            return False
        self._expect_part()
        return self._state is State.AT_WORK or self._http.buffered > 0

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._state = State.CLOSING
        self.resume_writing()
        self._deadline.end()
        self._server.gone(self)
        abort, self._abort = self._abort, None
        if abort is not None:
            abort()
        if self._streaming is not None:
            # What makes the content may wait for something that never comes.
            self._streaming.cancel()

    # -- requests ----------------------------------------------------------------

    def _pump(self, events: list[http1.Event]) -> None:
        """Handle events, then those of the next request, while answers are given at once."""
        self._pumping = True
        answered = 0
        while True:
            for event in events:
                self._take(event)
            if not self._may_go_on():
                break
            answered += 1
            if answered == MAX_ANSWERS_A_TURN:
                self._loop.call_soon(self._go_on)
                break
            events = self._http.next_request()
            if not events:
                break
        self._pumping = False

    def _may_go_on(self) -> bool:
        """Whether the last request is answered, and the client reads what it is answered."""
        return (
            self._state is State.IDLE
            and self._congestion.until is None
            and self._http.state is http1.State.DONE
        )

    def _go_on(self) -> None:
        """What has come while a request was at work, or while others had their turn?"""
        transport = self._transport
        if transport is None or transport.is_closing() or not self._may_go_on():
            return
        self._pump([])
        if self._eof and self._http.state is not http1.State.DONE:
            self._close()  # what is missing will not come
        elif self._http.buffered:
            self._keep_for_later()
        if self._http.buffered <= MAX_PIPELINED_BYTES and not transport.is_reading():
            transport.resume_reading()

    def _take(self, event: http1.Event) -> None:
        if isinstance(event, http1.Request):
            self._begin(event)
        elif isinstance(event, RemoteProtocolError):
            # If the answer is out, a fault in the body behind it gets no other.
            if self._state is not State.LINGERING and self._state is not State.CLOSING:
                self._fail(event)
        elif self._intake is not None:  # else there is no content, or nobody who wants it
            if isinstance(event, bytes):
                self._take_content(self._intake, event)
            else:
                self._end_content(self._intake)

    def _begin(self, head: http1.Request) -> None:
        """A head has come: find out whether its body is wanted before it is read."""
        server = self._server
        self._head = head
        self._target = None
        self._state = State.READING
        if server.access is not None:
            self._began = self._loop.time()
        if head.target[0] != "/":
            self._begin_without_path(head)
            return
        fields = head.headers
        if head.upgrade and head.version == "1.0":  # must ignore that field (RFC 9110 7.8)
            fields = tuple(field for field in fields if field[0] != "upgrade")
        try:
            self.request = request = Request(
                head.method,
                head.target,
                fields,
                host=head.host,
                scheme=server.scheme,
                remote_addr=self._peer,
            )
            if self._trusted:
                self._look_through_proxies()
            if server.gate.names and not server.gate.serves(request.host):
                self._turn_away(head, self._not_served(request.host))
                return
            self._target, request.match = server.app.find(
                request, upgrades="websocket" in head.upgrade
            )
        except RemoteProtocolError as error:
            self._refuse(error.code, str(error))
        except NotRouted as error:
            self._turn_away(head, error.answer())
        else:
            if head.content_length == 0:
                self._serve(head, self._target)
            else:
                self._expect_content(head, self._target)

    def _begin_without_path(self, head: http1.Request) -> None:
        if head.target == "*":  # about the server itself (RFC 9110 9.3.7)
            self._turn_away(head, Response(b"", 204, [("allow", "GET, HEAD, POST, OPTIONS")]))
        else:
            self._refuse(405, "this is no proxy: CONNECT opens no tunnel (RFC 9110 9.3.6)")

    def _look_through_proxies(self) -> None:
        request = self.request
        origin = seen_through(request.headers, request.remote_addr, self._server.gate.trusted)
        request.remote_addr = self._client = origin.address
        request.scheme = origin.scheme or request.scheme
        request.host = origin.host or request.host

    def _not_served(self, host: str) -> Response:
        what = "%s: %.100a is no name of this server, those are %s; to serve it: --allow-host"
        log.info(what, self._peer, host, ", ".join(sorted(self._server.gate.names)))
        return error_response(421, "this server does not answer for that host")

    def _turn_away(self, head: http1.Request, answer: Response) -> None:
        # What comes behind an upgrade may be of the protocol that it hoped for, or a request
        # that a proxy in front took for that. And content that nobody wants is not waited
        # for: so it is no matter how much of it has come.
        if head.upgrade or head.content_length != 0:
            self._http.forbid_keep_alive()
        self.respond(answer)

    # -- bodies --------------------------------------------------------------------

    def _expect_content(self, head: http1.Request, target: Target) -> None:
        transport, app = self._transport, self._server.app
        assert transport is not None
        most = app.max_body(target)
        if (head.content_length or 0) > most:
            self._fail(RemoteProtocolError(f"the body is over {most} bytes", 413))
            return
        self._intake = Intake(most, self._server.limits.body, self._deadline, transport)
        if self._http.state is not http1.State.DONE:
            if (head.header("expect") or "").lower() == "100-continue":
                transport.write(self._http.respond(100, []))
            if isinstance(target, SocketPath):
                self._server.endpoint(target).expect(self)
        if app.wants_stream(target):
            self.request.stream = self._intake.as_stream()
            self._serve(head, target)

    def _take_content(self, intake: Intake, part: bytes) -> None:
        try:
            intake.take(part)
        except RemoteProtocolError as error:
            self._fail(error)
        except OSError as error:
            log.error("a body can't be kept on disk: %s", error)
            self._refuse(507, "there is no room for the body")

    def _end_content(self, intake: Intake) -> None:
        """The request is all there: hand it to what its path names, if that hasn't got it yet."""
        intake.end()
        if intake.stream is None and self._head is not None and self._target is not None:
            self.request.set_body(intake.content())
            self._serve(self._head, self._target)

    def _fail(self, error: RemoteProtocolError) -> None:
        """The client broke a rule: answer that.

        A body that its service is reading already is none: let the service answer that,
        or break off the answer that it began.
        """
        if self._intake is not None and self._intake.stream is not None:
            log.info("%s: %s", self._peer, error)
            self._http.forbid_keep_alive()
            self._intake.break_off(error)
        elif error.code == 413 and isinstance(self._target, SocketPath):
            self._close_after(self._server.endpoint(self._target).too_large(self.request))
        else:
            self._refuse(error.code, str(error))

    # -- services --------------------------------------------------------------------

    def _serve(self, head: http1.Request, target: Target) -> None:
        self._state = State.AT_WORK
        if self._intake is None:
            self._deadline.lift()
        if isinstance(target, SocketPath):
            upgrades = "websocket" in head.upgrade
            if upgrades:
                self._http.forbid_keep_alive()  # until it is switched: then it is no matter
            self._server.endpoint(target).handle(self, head.version, upgrades=upgrades)
            return
        response = target.service(self.request)
        if isinstance(response, Response):
            self.respond(response)
        else:
            work = self._server.track(self._respond_later(response))
            if target.wants_stream:
                # Another server's work is not waited for when nobody wants it any more.
                self._streaming = work

    async def _respond_later(self, response: Awaitable[Response]) -> None:
        try:
            made = await response
        finally:
            self._streaming = None
        self.respond(made)

    # -- answers -----------------------------------------------------------------

    def respond(self, response: Response) -> None:
        """Answer the request in hand; to a client that has gone it does nothing."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._state not in _ANSWERABLE:
            if response.stream is not None:
                self._server.track(close_stream(response.stream))
            elif isinstance(response, Switch):
                response.protocol.close()
            return
        self._abort = None
        http = self._http
        is_last = self._eof and not http.buffered
        if is_last or self._server.closing or http.state is not http1.State.DONE:
            http.forbid_keep_alive()
        if response.stream is not None:
            self._state = State.AT_WORK
            self._server.track(self._respond_in_parts(transport, response, response.stream))
        elif isinstance(response, Switch):
            self.switch(response.headers, response.protocol)
        else:
            now = self._loop.time()
            fields = [*response.headers, self._server.date(now)]
            try:
                answer = http.respond(response.status, fields, response.body)
            except ValueError as error:
                # A handler passed on what somebody had put a line break into.
                log.error("%s %s: %s", self.request.method, ascii(self.request.path), error)
                self.respond(error_response(500, _FAILED))
                return
            transport.write(answer)
            self._answer_is_out(transport, response.status, len(response.body), now)

    def _answer_is_out(
        self, transport: asyncio.Transport, status: int, size: int, now: float
    ) -> None:
        if self._server.access is not None:
            self._log_access(self._server.access, status, size, now)
        if self._intake is not None:
            self._intake.abandon()
        self._head = self._intake = None
        http = self._http
        if http.state is not http1.State.DONE:
            self._linger(transport)
        elif not http.keep_alive:
            self._close()
        else:
            self._state = State.IDLE
            self._deadline.set_at(now + self._server.limits.idle)
            if not self._pumping:
                self._loop.call_soon(self._go_on)

    async def _respond_in_parts(
        self, transport: asyncio.Transport, response: Response, stream: Stream
    ) -> None:
        """If it breaks off, so does the connection.

        An orderly end would tell the client that it has all of it.
        """
        headers = list(response.headers)
        if response.header("date") is None:  # that of another server stays (RFC 9110 6.6.1)
            headers.append(self._server.date(self._loop.time()))
        self._streaming = asyncio.current_task()
        self._sending = not isinstance(stream, FileContent)
        try:
            size = await deliver(
                transport,
                self._http,
                response,
                headers,
                stream,
                self._congestion,
                self._expect_part,
            )
        except ConnectionError:
            transport.abort()
        except Exception as error:
            trace = user_traceback(error)
            log.error("%s %s broke off:\n%s", self.request.method, ascii(self.request.path), trace)
            transport.abort()
        else:
            self._answer_is_out(transport, response.status, size, self._loop.time())
        finally:
            self._streaming = None
            self._sending = False
            await close_stream(stream)

    def _expect_part(self) -> None:
        """Whoever sends no more may be gone for good, which only writing to it would show."""
        if self._eof and self._sending:
            self._deadline.set(self._server.limits.write)

    def pause_writing(self) -> None:
        """asyncio's call: what we wrote piles up."""
        self._congestion.begin()

    def resume_writing(self) -> None:
        """asyncio's call: the client has read, or gone."""
        self._congestion.end()
        self._go_on()

    def on_abort(self, callback: Callable[[], None]) -> None:
        """Call back if the client goes before the answer."""
        self._abort = callback
        if self._eof:
            self._close()

    def is_receiving(self, request: Request) -> bool:
        """Whether the body of this request is still on its way."""
        return self._state is State.READING and self.request is request

    def switch(self, headers: list[tuple[str, str]], protocol: WebSocket | Tunnel) -> None:
        """Answer 101, and let another protocol have the connection, and what came with it."""
        transport = self._transport
        if transport is None:
            return
        now = self._loop.time()
        transport.write(self._http.switch_protocols([*headers, self._server.date(now)]))
        rest = self._http.upgrade()
        if self._server.access is not None:
            self._log_access(self._server.access, 101, 0, now)
        self._deadline.end()
        self._transport = None
        self._state = State.CLOSING
        self._server.gone(self)
        self._server.connections.add(protocol)
        protocol.when_lost = self._server.gone
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest:
            protocol.data_received(rest)
        if self._eof:
            transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        """The peer broke the protocol: tell it, once, and close."""
        self._state = State.READING
        log.info("%s: %s", self._peer, reason)
        self._close_after(error_response(status, reason))

    def _close_after(self, response: Response) -> None:
        self._http.forbid_keep_alive()
        self.respond(response)

    def _linger(self, transport: asyncio.Transport) -> None:
        """Throw away what still comes, for a while, so that the answer is read."""
        self._state = State.LINGERING
        transport.resume_reading()
        self._deadline.set(self._server.limits.linger)
        try:
            if transport.can_write_eof():
                transport.write_eof()
        except OSError:  # the client has reset the connection, and we are yet to read so
            transport.abort()
        if self._eof:
            self._close()

    def _discard(self, count: int) -> None:
        self._discarded += count
        if self._discarded > LINGER_BYTES:
            self._close()

    def _close(self) -> None:
        """Close once the client has read what is on its way; soon, whether it has or not."""
        if self._transport is not None:
            self._state = State.CLOSING
            self._transport.close()
            self._deadline.set(self._server.limits.write)

    def _log_access(
        self, access: Callable[[Entry], None], status: int, size: int, now: float
    ) -> None:
        head = self._head
        if head is not None:
            asked = self._client, head.method, head.target, head.version
            agent = head.header("user-agent") or ""
            access(Entry(time.time(), *asked, status, size, now - self._began, agent))

    # -- time ----------------------------------------------------------------------

    def _late(self) -> None:
        """`Deadline`'s call."""
        if self._transport is None:
            return
        if self._state is State.CLOSING or self._sending:
            self._transport.abort()
        elif self._state is State.LINGERING or self._state is State.IDLE:
            self._close()
        else:
            self._fail(RemoteProtocolError("the request did not come in time", 408))

    # -- the end -------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is being read, or at work."""
        return self._state in _ANSWERABLE

    def close_if_idle(self) -> None:
        """Close between two requests; during one, its answer is the last."""
        if self._state in _QUIET:
            self._close()
