"""The request in hand of one connection, from its head to the service that answers it.

What it implements: which service gets the request and when, and its body on the way there;
with `answering`, it is what `transports` calls an Exchange. What it leaves out: what comes
before a request and after it, which is `connection`'s, and how a body is kept, which
`intake` knows.

In one line::

    class HttpConnection(HttpExchange, asyncio.Protocol): ...
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable
from typing import Final

from . import http1
from .answering import FAILED, Answering, State
from .errors import RemoteProtocolError
from .http1_reader import EndOfMessage
from .intake import Intake
from .reception import NotHere, admit, look_through
from .request import Request, line_for
from .response import Response, error_response
from .routes import NotRouted
from .targets import SocketPath, Target, WebPath

log = logging.getLogger("redbarrel_lite")

# By names of this room: to look a member up costs as much as a call, on each request.
_READING: Final = State.READING
_AT_WORK: Final = State.AT_WORK
_DONE: Final = http1.State.DONE


class HttpExchange(Answering):
    """One request after the other, and the `websocket.Exchange` of each."""

    __slots__ = ("_peer", "_trusted")

    _peer: str  # the client's address
    _trusted: bool  # to say who asks, as a proxy does

    # -- the head ----------------------------------------------------------------------

    def _begin(self, head: http1.Request) -> None:
        """A head has come: find out whether its body is wanted before it is read."""
        server = self._server
        self._head = head
        self._target = None
        self._state = _READING
        if server.access is not None:
            self._began = self._loop.time()
        method, target, version, fields, length, _, host, upgrade = head
        if upgrade and version == "1.0":  # must ignore that field (RFC 9110 7.8)
            fields = tuple(field for field in fields if field[0] != "upgrade")
        try:
            self.request = request = Request(
                method, target, fields, host, server.scheme, self._peer, http_version=version
            )
            if self._trusted:
                look_through(request, server.gate.trusted)
                self._client = request.remote_addr
            if server.gate.names or target[0] != "/":
                admit(request, server.gate, self._peer)
            found, request.match = server.app.find(request, upgrade)
        except RemoteProtocolError as error:
            self._refuse(error.code, str(error))
        except (NotHere, NotRouted) as error:
            self._turn_away(head, error.answer())
        else:
            self._target = found
            if length == 0:
                self._serve(head, found)
            else:
                self._expect_content(head, found)

    def _turn_away(self, head: http1.Request, answer: Response) -> None:
        # What comes behind an upgrade may be of the protocol that it hoped for, or a request
        # that a proxy in front took for that. And content that nobody wants is not waited
        # for: so it is no matter how much of it has come.
        if head.upgrade or head.content_length != 0:
            self._http.forbid_keep_alive()
        self.respond(answer)

    def _refuse(self, status: int, reason: str, headers: http1.Pairs = ()) -> None:
        """The peer broke the protocol: tell it, once, and close."""
        self._state = _READING
        log.info("%s: %s", self._peer, reason)
        response = error_response(status, reason, headers)
        if self._head is not None and isinstance(self._target, WebPath) and self._target.cors:
            self._target.cors.tell(self.request, response)
        self._close_after(response)

    def _close_after(self, response: Response) -> None:
        self._http.forbid_keep_alive()
        self.respond(response)

    # -- the body ----------------------------------------------------------------------

    def _expect_content(self, head: http1.Request, target: Target) -> None:
        transport = self._transport
        assert transport is not None
        most = target.max_body
        if (head.content_length or 0) > most:
            self._fail(RemoteProtocolError(f"the body is over {most} bytes", 413))
            return
        self._intake = Intake(most, self._server.limits.body, self._deadline, transport)
        if self._http.state is not _DONE:
            if (head.header("expect") or "").lower() == "100-continue":
                self._server.batch.flush()
                transport.write(self._http.respond(100, []))
            if isinstance(target, SocketPath):
                self._server.endpoint(target).expect(self)
        if isinstance(target, WebPath) and target.wants_stream:
            self.request.stream = self._intake.as_stream()
            self._serve(head, target)

    def _take(self, intake: Intake, part: bytes | EndOfMessage) -> None:
        """A part of the body has come, or its end."""
        try:
            if isinstance(part, bytes):
                intake.take(part)
                return
            intake.end()
        except RemoteProtocolError as error:
            self._fail(error)
        except OSError as error:
            log.error("a body can't be kept on disk: %s", error.strerror or error)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse(503, "the body can't be kept now", [("retry-after", "1")])
            else:
                self._refuse(507, "there is no room for the body")
        else:
            self._end_content(intake)

    def _end_content(self, intake: Intake) -> None:
        """The request is all there: hand it to what its path names, if that hasn't got it yet."""
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

    # -- the service ---------------------------------------------------------------------

    def _serve(self, head: http1.Request, target: Target) -> None:
        self._state = _AT_WORK
        if isinstance(target, SocketPath):
            self._give_time()
            upgrades = "websocket" in head.upgrade
            if upgrades:
                self._http.forbid_keep_alive()  # until it is switched: then it is no matter
            self._server.endpoint(target).handle(self, head.version, upgrades=upgrades)
            return
        try:
            response = target.service(self.request)
        except Exception:
            response = _failed(self.request)
        if isinstance(response, Response):
            if response.stream is None and self._intake is not None:
                self.request.close_body()
            self.respond(response)
        else:
            self._give_time()
            work = self._server.track(self._respond_later(self.request, response))
            if head.method in target.given_up:
                self._work = work
            self._watch()

    def _give_time(self) -> None:
        """It is not answered at once: the client has done its part, if that was all of it."""
        if self._intake is None:
            self._deadline.lift()

    async def _respond_later(self, request: Request, response: Awaitable[Response]) -> None:
        try:
            made = await response
        except Exception:
            made = _failed(request)
        finally:
            self._work = None
        if made.stream is None:
            request.close_body()
        self.respond(made)

    def is_receiving(self, request: Request) -> bool:
        """Whether the body of this request is still on its way."""
        return self._state is _READING and self.request is request


def _failed(request: Request) -> Response:
    """The answer of a service of ours that fails; where users' code fails, `services` knows."""
    log.exception("%s failed:", line_for(request))
    return error_response(500, FAILED)
