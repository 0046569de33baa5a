"""How one connection answers the request in hand: whole, in parts, or by another protocol.

What it implements: the bytes of an answer on their way out, what becomes of one for which
it is too late, the switch of protocols (RFC 9110 7.8), and the access log. What it leaves
out: how an answer is framed, which `http1` knows, how fast its parts go out, which
`delivery` does, and which answer it is.

In one line::

    class HttpExchange(Answering): ...

A class to be inherited from, not an object beside the connection: the two would ask each
other for everything, on each request.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from . import http1
from .accesslog import Entry
from .delivery import Congestion, deliver
from .failures import user_traceback
from .host import Host, Successor
from .intake import Intake
from .patience import Deadline
from .request import Request, line_for
from .response import FileContent, Response, Stream, close_stream, error_response
from .targets import Target
from .upstream import Switch, Tunnel
from .websocket import WebSocket

log = logging.getLogger("redbarrel_lite")

FAILED: Final = "the handler of this url failed; the log says why"


class State(enum.Enum):
    """What a connection is about."""

    IDLE = "nothing: the next request is to come, or its turn"
    HEAD = "a request's head, of which a part has come"
    READING = "a request's body"
    AT_WORK = "a request, of whose answer nothing is out yet"
    STREAMING = "an answer whose parts come when they come"
    SENDING = "an answer whose content is there: a file"
    CLOSING = "only what we have written is still to be read"


# There is a request, and no answer yet.
_ANSWERABLE: Final = (State.AT_WORK, State.READING)
_BUSY: Final = (*_ANSWERABLE, State.STREAMING, State.SENDING)
# The answer is waited for, or the next part of it.
_AWAITED: Final = (State.AT_WORK, State.STREAMING)
_DONE: Final = http1.State.DONE


class Answering(ABC):
    """A connection, as far as it answers."""

    __slots__ = (
        "_abort",
        "_began",
        "_client",
        "_congestion",
        "_deadline",
        "_eof",
        "_head",
        "_http",
        "_intake",
        "_loop",
        "_server",
        "_state",
        "_target",
        "_transport",
        "_work",
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
        self._state = State.IDLE
        self._eof = False  # the client sends no more
        self._congestion = Congestion(server.limits.write)
        # Of the request in hand:
        self._head: http1.Request | None = None  # None between two of them
        self._client = ""  # who asks
        self._target: Target | None = None
        self._intake: Intake | None = None  # of its body, if it has one
        self._began = 0.0  # when its head was there, in the loop's time
        self._abort: Callable[[], object] | None = None
        self._work: asyncio.Task[None] | None = None  # ends when the client goes

    @abstractmethod
    def _late(self) -> None:
        """`Deadline`'s call."""

    @abstractmethod
    def _answered(self, transport: asyncio.Transport, now: float) -> None:
        """The answer is written: go on to the next request, or come to an end."""

    @abstractmethod
    def _close(self) -> None:
        """Close once the client has read what is on its way."""

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call back if the client goes before the answer."""
        self._abort = callback
        if self._eof:
            self._close()

    def respond(self, response: Response) -> None:
        """Answer the request in hand; to a client that has gone it does nothing."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._state not in _ANSWERABLE:
            self._throw_away(response)
            return
        self._abort = None
        http = self._http
        server = self._server
        if http.state is not _DONE or server.closing or (self._eof and not http.buffered):
            http.forbid_keep_alive()
        if response.stream is not None:
            is_there = isinstance(response.stream, FileContent)
            self._state = State.SENDING if is_there else State.STREAMING
            if self._intake is None or self._eof:
                self._deadline.lift()
            server.track(self._respond_in_parts(transport, response, response.stream))
        elif isinstance(response, Switch):
            self.switch(response.headers, response.protocol)
        else:
            now = self._loop.time()
            status, fields, body = response.as_sent()
            try:
                answer = http.respond(status, server.dated(fields, now), body)
            except ValueError as error:
                # A handler passed on what somebody had put a line break into.
                log.error("%s: %s", line_for(self.request), error)
                self.respond(error_response(500, FAILED))
                return
            server.batch.write(transport, answer, now)
            if server.access is not None:
                self._log_access(server.access, status, len(body), now)
            self._answered(transport, now)

    def _throw_away(self, response: Response) -> None:
        if response.stream is not None:
            self._server.track(close_stream(response.stream))
        elif isinstance(response, Switch):
            response.protocol.close()

    async def _respond_in_parts(
        self, transport: asyncio.Transport, response: Response, stream: Stream
    ) -> None:
        """If it breaks off, so does the connection.

        An orderly end would tell the client that it has all of it.
        """
        headers: http1.Pairs = list(response.headers)
        if response.header("date") is None:  # that of another server stays (RFC 9110 6.6.1)
            headers = self._server.dated(headers, self._loop.time())
        self._work = asyncio.current_task()
        request = self.request
        size: int | None = None
        try:
            size = await deliver(
                transport,
                self._http,
                response,
                headers,
                stream,
                self._congestion,
                self._watch,
            )
        except ConnectionError:
            transport.abort()
        except Exception as error:
            trace = user_traceback(error)
            log.error("%s broke off:\n%s", line_for(request), trace)
            transport.abort()
        finally:
            now = self._loop.time()
            if self._server.access is not None:
                self._log_access(self._server.access, response.status, size, now)
            if size is not None and self._transport is not None:  # it may have gone with the end
                self._answered(transport, now)
            self._work = None
            try:
                await close_stream(stream)
            finally:
                request.close_body()

    def _watch(self) -> None:
        """Whoever sends no more may be gone for good, which only to write to it would show."""
        if self._eof and self._state in _AWAITED:
            self._deadline.set(self._server.limits.half_closed)

    def switch(self, headers: list[tuple[str, str]], protocol: WebSocket | Tunnel) -> None:
        """Answer 101, and let another protocol have the connection, and what came with it."""
        transport = self._transport
        if transport is None or self._state not in _ANSWERABLE:
            protocol.connection_lost(None)  # before it had one
            return
        now = self._loop.time()
        self._server.batch.flush()
        transport.write(self._http.switch_protocols(self._server.dated(headers, now)))
        rest = self._http.upgrade()
        if self._server.access is not None:
            self._log_access(self._server.access, 101, 0, now)
        self._hand_over(transport, protocol)
        if rest:
            protocol.data_received(rest)
        if self._eof:
            transport.close()

    def _hand_over(self, transport: asyncio.Transport, protocol: Successor) -> None:
        self._let_go()
        self._server.become(self, protocol)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _let_go(self) -> None:
        """The connection has ended, or is another protocol's."""
        self._transport = None
        self._state = State.CLOSING
        self._deadline.end()

    def _log_access(
        self, access: Callable[[Entry], None], status: int, size: int | None, now: float
    ) -> None:
        head = self._head
        if head is not None:
            if head.method == "HEAD" and size:
                size = 0
            asked = self._client, head.method, head.target, head.version
            agent = head.header("user-agent") or ""
            access(Entry(time.time(), *asked, status, size, now - self._began, agent))

    @property
    def busy(self) -> bool:
        """Whether a request is being read, or at work."""
        return self._state in _BUSY

    def abort(self) -> None:
        """Drop the connection without another byte."""
        assert self._transport is not None
        self._transport.abort()
