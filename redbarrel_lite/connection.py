"""One TCP connection that speaks HTTP: reads, keeps order, keeps time.

What it implements: the I/O of HTTP/1.1, as an asyncio protocol: which request has its turn
(RFC 9112 9.3.2), how long each step may take, and the end. What it leaves out: what becomes
of a request, which is `exchange`'s, and all rules of the protocol, which `http1` knows.

In one line::

    loop.create_server(lambda: HttpConnection(server), host, port)
"""

from __future__ import annotations

import asyncio
from typing import Final

from . import http1
from .accesslog import CLIENT_LEFT
from .answering import State
from .entrance import refuse_at_the_end
from .errors import RemoteProtocolError
from .exchange import HttpExchange
from .intake import read_in_parts
from .lingering import Lingering
from .presence import has_gone
from .request import Request
from .services import CLIENT_HAS_GONE
from .targets import SocketPath

# What a client may send ahead while its request is at work, or while it doesn't read.
MAX_PIPELINED_BYTES: Final = 64 * 1024
# Requests of one client that are answered before the others have their turn.
MAX_ANSWERS_A_TURN: Final = 16

# To who would be one connection too many, before a word of his is read.
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)

# By names of this room: to look a member up costs as much as a call, on each request.
_IDLE: Final = State.IDLE
_CLOSING: Final = State.CLOSING
_HALF_SENT: Final = (State.STREAMING, State.SENDING)
_QUIET: Final = (State.IDLE, State.HEAD)  # there is no request
_DONE: Final = http1.State.DONE
_NO_REQUEST: Final = Request("", "", ())


class HttpConnection(HttpExchange, asyncio.Protocol):
    """One TCP connection that speaks HTTP."""

    __slots__ = ("_pumping",)

    _pumping: bool  # events are being handled

    # -- asyncio's calls -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        server = self._server
        self._transport = transport
        self._pumping = False
        read_in_parts(transport)
        peer = transport.get_extra_info("peername")
        self._client = self._peer = str(peer[0]) if isinstance(peer, tuple) else ""
        if not server.come(self, self._peer):
            transport.write(_TOO_MANY)
            self._close()
            return
        self._trusted = self._peer in server.gate.trusted
        self._deadline.set(server.limits.head)

    def data_received(self, data: bytes) -> None:
        http = self._http
        if self._state is _CLOSING:
            pass
        elif (head := http.again(data)) is not None:
            self._pumping = True
            self._begin(head)
            self._pumping = False
            if self._state is _IDLE and self._congestion.until is None:
                http.next_request()
        else:
            self._pump(http.receive(data))
            if http.buffered:
                self._keep_for_later()

    def _keep_for_later(self) -> None:
        """There is more than could be taken: a part of a head, or requests that must wait."""
        if self._state is _IDLE and self._http.state is http1.State.HEAD:
            self._state = State.HEAD
            self._deadline.set(self._server.limits.head)
        if self._http.buffered > MAX_PIPELINED_BYTES and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client will send no more; True keeps the connection for what it has asked.

        Not over TLS, which asyncio can't half-close. And a poll that waits is not work to
        finish: nobody is there to poll on.
        """
        transport = self._transport
        assert transport is not None
        self._server.batch.flush()  # asyncio may close after this
        self._eof = True
        if (
            not transport.can_write_eof()
            or self._http.state is not _DONE
            or self._abort is not None
            or has_gone(transport)
        ):
            return False
        self._watch()
        return self.busy or self._http.buffered > 0

    def pause_writing(self) -> None:
        self._congestion.begin()

    def resume_writing(self) -> None:
        self._congestion.end()
        self._watch()
        # asyncio is amid writing: it closes twice what is closed, and empty, now.
        self._loop.call_soon(self._go_on)

    def connection_lost(self, error: Exception | None) -> None:
        access = self._server.access
        # One that is half sent has its line when the work on it ends.
        if access is not None and self._head is not None and self._state not in _HALF_SENT:
            self._log_access(access, CLIENT_LEFT, None, self._loop.time())
        self._let_go()
        self._server.gone(self)
        self._congestion.end()
        abort, self._abort = self._abort, None
        if abort is not None:
            abort()
        if self._work is not None:
            # What makes the answer may wait for something that never comes.
            # Not before it has begun, or the coroutine that it is to wait for never would.
            self._loop.call_soon(self._give_up)

    def _give_up(self) -> None:
        # Work that has ended meanwhile, for it could not write, is letting its stream end.
        if self._work is not None:
            self._work.cancel(CLIENT_HAS_GONE)

    # -- requests, one after the other -------------------------------------------

    def _pump(self, events: list[http1.Event]) -> None:
        """Handle events, then those of the next request, while answers are given at once."""
        self._pumping = True
        answered = 0
        while True:
            for event in events:
                if isinstance(event, http1.Request):
                    self._begin(event)
                elif isinstance(event, RemoteProtocolError):
                    self._fault(event)
                elif self._intake is not None:  # else there is no content, or nobody wants it
                    self._take(self._intake, event)
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

    def _fault(self, error: RemoteProtocolError) -> None:
        """If the answer is out, a fault in the body behind it gets no other."""
        if self._state is not _CLOSING:
            self._fail(error)

    def _may_go_on(self) -> bool:
        """Whether the last request is answered, and the client reads what it is answered."""
        return self._state is _IDLE and self._congestion.until is None and self._http.state is _DONE

    def _go_on(self) -> None:
        """What has come while a request was at work, or while others had their turn?"""
        transport = self._transport
        if transport is None or transport.is_closing() or not self._may_go_on():
            return
        self._pump([])
        if self._state is _CLOSING:  # or is another protocol's by now
            return
        if self._eof and self._http.state is not _DONE:
            self._close()  # what is missing will not come
        elif self._http.buffered:
            self._keep_for_later()
        if self._http.buffered <= MAX_PIPELINED_BYTES and not transport.is_reading():
            transport.resume_reading()

    def _answered(self, transport: asyncio.Transport, now: float) -> None:
        if self._intake is not None:
            self._intake.abandon()
            if self.is_for_socket:  # a service may still be at work, and need it
                self.request.close_body()
            self.request = _NO_REQUEST  # or its body would stay until the next one comes
        self._head = self._intake = None
        http = self._http
        if http.state is not _DONE and not self._eof:
            self._server.batch.flush()
            self._hand_over(transport, Lingering(self._server.limits))
        elif not http.keep_alive:
            self._close()
        else:
            self._state = _IDLE
            self._deadline.set_at(now + self._server.limits.idle)
            if not self._pumping:
                self._loop.call_soon(self._go_on)

    # -- time, and the end -------------------------------------------------------

    def _late(self) -> None:
        transport = self._transport
        assert transport is not None
        if self._state is _CLOSING:
            transport.abort()
        elif self._state is _IDLE:
            self._close()
        elif self._eof:
            self._look_for_client(transport)
        else:
            self._fail(RemoteProtocolError("the request did not come in time", 408))

    def _look_for_client(self, transport: asyncio.Transport) -> None:
        """A client that sends no more has been told nothing for a while: is it still there?

        One that has gone answers whatever we write with a reset; one that waits can be told
        to go on waiting, as often as we like (RFC 9110 15.2), but not amid its answer, nor
        by HTTP/1.0.
        """
        if self._congestion.until is not None:  # that is to be read first, and has its own limit
            self._watch()
            return
        interim = b"" if self._state is State.STREAMING else self._http.respond(100, [])
        transport.write(interim)
        if not interim or has_gone(transport):
            transport.abort()
        else:
            self._watch()

    def _close(self) -> None:
        """Close once the client has read what is on its way; soon, whether it has or not."""
        transport = self._transport
        assert transport is not None
        self._state = _CLOSING
        self._server.batch.flush()
        transport.close()
        self._deadline.set(self._server.limits.write)

    @property
    def unsent(self) -> int:
        """Bytes that the system does not take yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_for_socket(self) -> bool:
        """Whether the request in hand is a socket's."""
        return isinstance(self._target, SocketPath)

    @property
    def is_new(self) -> bool:
        """Whether it has not asked anything yet."""
        return self._state in _QUIET and not self._http.has_answered

    def close_if_idle(self) -> None:
        """Close between two requests; during one, its answer is the last."""
        if not self.busy:
            self._close()

    def give_up(self) -> None:
        """There is no more time: who waits is told so, and what is half sent breaks off."""
        if self._state in _HALF_SENT:
            self.abort()
        elif self.busy:
            refuse_at_the_end(self)
