"""One Engine.IO session on real connections: a WebSocket, or poll after poll.

What it implements: the I/O of Engine.IO protocol 4. What it leaves out: the rules
of the protocols, which `engineio` and `wsproto` know. It moves bytes between
them, and it owns the clock.

In one line::

    connection.receive_get(exchange)

One client, seen from here::

    Exchange (a GET or POST) --+
                               +-- EngineConnection -- client.Client -- Socket ...
    WebSocket (TCP)  ----------+        |
                                  engineio.Session
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from . import engineio, wsproto
from .errors import RemoteProtocolError
from .outgoing import Outgoing
from .patience import Pulse
from .request import Request
from .response import Response
from .websocket import LOOK_EVERY_S, MAX_QUEUE_BYTES, QUEUE_HIGH_BYTES, Exchange, Flusher, WebSocket

log = logging.getLogger("redbarrel_lite")


class Above(Protocol):
    """What a session carries messages for: Socket.IO, or one socket without."""

    @property
    def connect_by(self) -> float | None:
        """When the client must have said what it wants; None: it has."""

    def begin(self) -> bool:
        """The session is there. True: let it in; False: `EngineConnection` will be told."""

    def posted(self, request: Request) -> None:
        """What it says next comes with this request."""

    def receive(self, message: engineio.Packet) -> None:
        """Take one message; raises `RemoteProtocolError`."""

    def closed_with(self, code: int, reason: str) -> None:
        """How its WebSocket has ended (RFC 6455 7.1.5, 7.1.6)."""

    def end(self, reason: str) -> None:
        """The session is over."""


class Owner(Protocol):
    """What a session needs of the endpoint that it belongs to."""

    flusher: Flusher
    pulse: Pulse
    connect_timeout: float
    noted: Counter[str]

    def new_client(
        self, connection: EngineConnection, request: Request, connect_by: float
    ) -> Above:
        """What the session carries messages for."""

    def forbidden(self, request: Request, transport: str, reason: str) -> Response:
        """The answer to a handshake that user code refuses."""

    def payload(self, request: Request, payload: engineio.Packet) -> Response:
        """The answer to a poll."""

    def script(self, request: Request, code: str) -> Response:
        """The answer to a poll by a script of a page."""

    def ok(self, request: Request) -> Response:
        """The answer to a POST."""

    def forget(self, sid: str) -> bool:
        """Take a session off the list; False if it has been."""

    def release(self, sid: str, payload: engineio.Packet) -> None:
        """Answer with this a poll that was under way when its client closed."""


class EngineConnection:
    """One session with all that carries it; what `sockets` calls a `Connection`.

    It is the `Layer` of its WebSocket, too.
    """

    __slots__ = (
        "_owner",
        "_held_post",
        "_drained",
        "_entry",
        "_flushing",
        "_has_polled",
        "_paused",
        "_poll",
        "_posting",
        "_probe",
        "_timer",
        "_websocket",
        "client",
        "flusher",
        "session",
        "who",
    )

    prefix = engineio.MESSAGE

    def __init__(
        self, owner: Owner, request: Request, session: engineio.Session, now: float
    ) -> None:
        self.session = session
        self.flusher = owner.flusher
        connect_by = now + owner.connect_timeout
        self.client = owner.new_client(self, request, connect_by)
        self.who = request.remote_addr
        self._owner = owner
        self._websocket: WebSocket | None = None  # the transport, once it is one
        self._probe: WebSocket | None = None
        self._poll: Exchange | None = None
        self._has_polled = False  # since we looked last
        self._held_post: Exchange | None = None  # it waits for its answer
        self._posting: tuple[Exchange, Request] | None = None  # its body is on its way
        self._paused = 0  # by how many sockets
        self._flushing = False
        self._entry: tuple[Exchange, Callable[[], None]] | None = None  # of who waits at the door
        self._drained: list[Callable[[], object]] = []
        self._timer: asyncio.TimerHandle | None = None
        owner.pulse.start()
        self._schedule(now)

    # -- at the door -------------------------------------------------------------

    def begin(self, exchange: Exchange, go_on: Callable[[], None]) -> None:
        """The session is on its owner's list: ``go_on`` once its client may come in."""
        self._entry = exchange, go_on
        if self.client.begin():
            self.let_in()
        elif self._entry is not None:  # user code takes its time
            exchange.on_abort(self._abort_entry)

    def let_in(self) -> None:
        """The client may come in: answer its handshake."""
        entry, self._entry = self._entry, None
        if entry is not None:
            entry[1]()

    def refuse(self, reason: str) -> None:
        """It may not."""
        self._turn_away(reason)
        self.session.end("refused")
        self._settle()

    def _turn_away(self, reason: str) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            exchange, transport = entry[0], self.session.transport
            exchange.respond(self._owner.forbidden(exchange.request, transport, reason))

    def _abort_entry(self) -> None:
        self._entry = None
        self.session.end("transport close")
        self._settle()

    # -- what `sockets` calls --------------------------------------------------

    @property
    def transport(self) -> str:
        return self.session.transport

    @property
    def congested(self) -> bool:
        if self._websocket is not None:
            return self._websocket.congested
        return self.session.queued > QUEUE_HIGH_BYTES

    @property
    def ready(self) -> bool:
        if self._websocket is not None:
            return self._websocket.ready
        return self.session.poll_waits

    def send(self, outgoing: Outgoing) -> None:
        websocket = self._websocket
        if websocket is not None:
            websocket.send_outgoing(outgoing)
            return
        if self.session.queued > MAX_QUEUE_BYTES and self.session.state is engineio.State.OPEN:
            log.warning("%s does not poll: dropped", self.who)
            self.note("slow client")
            self.session.end("transport error")
        self.session.send(outgoing.messages)
        if not self._flushing:
            self._flushing = True
            self.flusher.add(self)

    def when_drained(self, callback: Callable[[], object]) -> None:
        if self.congested and self.session.state is engineio.State.OPEN:
            self._drained.append(callback)
        else:
            callback()

    def pause(self) -> None:
        self._paused += 1
        if self._websocket is not None:
            self._websocket.pause()
        self._schedule(self.flusher.loop.time())

    def resume(self) -> None:
        self._paused -= 1
        if self._paused:
            return
        self.session.forgive(self.flusher.loop.time())
        if self._websocket is not None:
            self._websocket.resume()
        if self._held_post is not None:
            post, self._held_post = self._held_post, None
            post.respond(self._owner.ok(post.request))

    # -- over WebSocket ----------------------------------------------------------

    def start_websocket(self, websocket: WebSocket) -> None:
        """A WebSocket carries the session from its start."""
        self._websocket = websocket
        self._send_packets()

    def receive_frame(self, websocket: WebSocket, packet: engineio.Packet) -> None:
        """A message of a WebSocket: a packet of the session, or of an upgrade."""
        now = self.flusher.loop.time()
        try:
            if websocket is self._websocket:
                message = self.session.receive(packet, now)
                if message is not None:
                    self.client.receive(message)
                else:
                    self._settle()  # a ping is answered
                    if self.session.state is engineio.State.OPEN:
                        self._schedule(now)  # after a pong the next ping may be due soon
            elif websocket is self._probe:
                self._receive_probe(websocket, packet, now)
        except RemoteProtocolError as error:
            self._receive_fault(websocket, error)

    def _receive_fault(self, websocket: WebSocket, error: RemoteProtocolError) -> None:
        log.info("%s: %s", self.who, error)
        if websocket is self._probe:
            self.note("protocol error")
            self._refuse_probe(websocket, str(error))
        else:
            self._fail(error)

    def start_probe(self, websocket: WebSocket, now: float) -> None:
        """A WebSocket has come for a session that polls."""
        if not self.session.start_probe(now):
            websocket.close(wsproto.POLICY_VIOLATION, "the session has its transport")
            return
        self._probe = websocket
        self._schedule(now)

    def _receive_probe(self, websocket: WebSocket, packet: engineio.Packet, now: float) -> None:
        answer = self.session.receive_probe(packet, now)
        if isinstance(answer, str):
            websocket.send_message(answer)
        if self.session.transport == engineio.WEBSOCKET:
            self._probe, self._websocket = None, websocket
            self.note("upgrade")
            if self._paused:
                websocket.pause()
            self._settle()  # releases a poll that still waits, moves the queue
            self._tell_drained()
        self._schedule(now)

    def _refuse_probe(self, websocket: WebSocket, reason: str) -> None:
        self._probe = None
        self.session.stop_probe()
        websocket.close(wsproto.PROTOCOL_ERROR, reason)

    def lost(self, websocket: WebSocket, reason: str) -> None:
        """A WebSocket is at its end."""
        if websocket is self._probe:
            self._probe = None
            self.session.stop_probe()
        elif websocket is self._websocket:
            self.client.closed_with(websocket.close_code, websocket.close_reason)
            self.session.end(reason)
            self._settle()

    # -- over polling --------------------------------------------------------------

    def receive_get(self, exchange: Exchange) -> None:
        """A poll has come; it waits until there is something to say."""
        try:
            self.session.start_poll()
        except RemoteProtocolError:
            self._settle()
            raise
        self._poll = exchange
        self._has_polled = True
        exchange.on_abort(self._abort_poll)
        self.flush()

    def _abort_poll(self) -> None:
        self._poll = None
        self.session.abort_poll()
        self._settle()

    def expect_post(self, exchange: Exchange) -> None:
        """Packets are on their way."""
        self._only_post(exchange)
        self._posting = exchange, exchange.request
        exchange.on_abort(self._abort_post)

    def _only_post(self, exchange: Exchange) -> None:
        """Raise `RemoteProtocolError`, and close, if there is another POST.

        The client was to wait for its answer: packets of two POSTs have no order.
        """
        posting = self._posting
        other = (
            posting is not None
            and posting[0] is not exchange
            and posting[0].is_receiving(posting[1])
        )
        if other or self._held_post is not None:
            error = RemoteProtocolError("a POST is under way already", engineio.BAD_REQUEST)
            self._fail(error)
            raise error

    def receive_post(self, exchange: Exchange) -> None:
        """Packets have come."""
        request = exchange.request
        self._only_post(exchange)
        self._posting = None
        polls = self._poll is not None
        now = self.flusher.loop.time()
        messages, fault = self._messages(request, now)
        try:
            self.client.posted(request)
            for message in messages:
                self.client.receive(message)
            if fault:
                raise RemoteProtocolError(fault)
        except RemoteProtocolError as error:
            self._fail(error)
            raise RemoteProtocolError(str(error), engineio.BAD_REQUEST) from None
        if self._paused and self.session.state is engineio.State.OPEN:
            self._held_post = exchange
            exchange.on_abort(self._abort_post)
        else:
            exchange.respond(self._owner.ok(request))
        self._settle()
        if self.session.state is engineio.State.OPEN:
            self._schedule(now)  # a pong may have been among them
        elif self.session.closed_because == "transport close" and not polls:
            self._owner.release(self.session.sid, self.session.revision.join([engineio.NOOP]))

    def _abort_post(self) -> None:
        """The client did not end its POST, or did not wait for its answer: it has gone."""
        self._held_post = self._posting = None
        if self.session.transport == engineio.POLLING:
            self.session.end("transport close")
            self._settle()

    def _messages(self, request: Request, now: float) -> tuple[list[engineio.Packet], str]:
        """The messages in the body of a POST, and what is wrong behind them, if anything is.

        In words: who keeps an error in a variable keeps the request, its file on disk
        included, until the collector comes by.
        """
        try:
            return self.session.receive_payload(self._payload(request), now), ""
        except engineio.BadPayload as bad:
            return bad.messages, str(bad)
        except RemoteProtocolError as bad:
            return [], str(bad)

    def _payload(self, request: Request) -> engineio.Packet:
        """The payload in the body of a POST. Raises `RemoteProtocolError`."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        coding = request.headers.get("content-encoding", "identity").lower()
        if coding != "identity":
            what = f"payloads are not encoded: {coding[:20]!a}"
            raise RemoteProtocolError(what, engineio.BAD_REQUEST)
        if kind == "application/octet-stream":
            return request.body
        try:
            return request.body.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("the payload is not UTF-8", engineio.BAD_REQUEST) from None

    def _answer(self, poll: Exchange, payload: engineio.Packet) -> None:
        poll.respond(self._owner.payload(poll.request, payload))

    # -- both --------------------------------------------------------------------

    def note(self, what: str) -> None:
        """Count it, for an administrator."""
        self._owner.noted[what] += 1

    def is_over(self, now: float) -> bool:
        """Whether the client was silent for too long, looked at when it speaks again.

        A timer rings late in a busy loop, and its client must not be luckier for it.
        While we don't read, or have not read for a while, its silence says nothing.
        """
        if now < self.session.deadline or self._paused or not self._owner.pulse.is_fair(now):
            return False
        self.session.end("ping timeout")
        self._settle()
        return True

    def _fail(self, error: RemoteProtocolError) -> None:
        """The client broke a protocol: close. A POST that did is refused, and told of, above us."""
        self.note("protocol error")
        self.session.end("parse error")
        self._settle(wsproto.POLICY_VIOLATION, str(error))

    def close(self, code: int, reason: str) -> None:
        """Close from our side, after what is queued."""
        if self._websocket is not None:
            self.session.end(reason)
            self._settle(code, reason)
        else:
            self._let_poller_go(reason)

    def hang_up(self, code: int, reason: str) -> None:
        """Close because user code says so; only a WebSocket can say why."""
        self.let_in()  # a handler may close as soon as it has begun
        if self._websocket is None:
            self._let_poller_go(reason or "server disconnect")
        else:
            self.client.closed_with(code, reason)
            self.session.end(reason or "server disconnect")
            self._settle(code, reason)

    def _let_poller_go(self, reason: str) -> None:
        # First: a poll that waits ends the session at once, for a reason of its own.
        self.client.end(reason)
        self.session.close()
        self._settle()

    def drop(self) -> None:
        """End the session now; who has not come for its last packet will not get it."""
        self.session.end("server shutting down")
        self._settle()

    def flush(self) -> None:
        """Give a waiting poll what is queued."""
        self._flushing = False
        self._settle()

    def drained(self) -> None:
        """The WebSocket's queue is below its mark."""
        self._tell_drained()

    def _settle(self, code: int = wsproto.NORMAL_CLOSURE, reason: str = "") -> None:
        """Do what the session's state asks for: move packets, or end."""
        answer = self.session.poll_answer()
        if answer is not None and self._poll is not None:
            poll, self._poll = self._poll, None
            self._answer(poll, answer)
            if not self.congested:
                self._tell_drained()
        if self.session.state is engineio.State.CLOSED:
            self._end(code, reason)
        else:
            self._send_packets()

    def _send_packets(self) -> None:
        if self._websocket is None:
            return
        for packet in self.session.take_packets():
            self._websocket.send_message(packet)

    def _tell_drained(self) -> None:
        waiting, self._drained = self._drained, []
        for callback in waiting:
            callback()

    def _end(self, code: int, reason: str) -> None:
        """Let go of everything; runs once, as `Owner.forget` says."""
        if not self._owner.forget(self.session.sid):
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for websocket in (self._websocket, self._probe):
            if websocket is not None:
                websocket.resume()  # to see the peer's close frame
                websocket.close(code, reason)
        if self._held_post is not None:
            post, self._held_post = self._held_post, None
            post.respond(self._owner.ok(post.request))
        self._turn_away("the server did not decide in time")
        self.client.end(self.session.closed_because or "forced close")
        self._tell_drained()

    # -- time ----------------------------------------------------------------------

    def _schedule(self, now: float) -> None:
        """Have `_tick` called in time. A timer that would ring too early is left alone."""
        at = self.session.wake_at()
        if self.client.connect_by is not None:
            at = min(at, self.client.connect_by)
        if self._paused:
            at = min(at, now + LOOK_EVERY_S)
        at = max(at, self._owner.pulse.fair_at)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self.flusher.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        timer, self._timer = self._timer, None
        assert timer is not None
        now = self.flusher.loop.time()
        fair = self._owner.pulse.is_fair(now, timer.when())
        if self._paused:
            self._look(now)
        self.session.tick(now, fair=fair)
        if fair and self.client.connect_by is not None and now >= self.client.connect_by:
            log.info("%s: no CONNECT packet in time", self.who)
            self.note("connect timeout")
            self.session.end("connect timeout")
        if self._probe is not None and self.session.upgrade is engineio.Upgrade.NONE:
            self.note("upgrade timeout")
            self._refuse_probe(self._probe, "upgrade timeout")
        self._settle()
        if self.session.state is not engineio.State.CLOSED:
            self._schedule(now)

    def _look(self, now: float) -> None:
        """We don't read, so a missing pong says nothing; is the client there all the same?

        A WebSocket's end shows on its socket. A poller is there while it polls.
        """
        if self._websocket is not None:
            if self._websocket.peer_has_gone():
                self._websocket.abort()
            self.session.forgive(now)
        elif self.session.poll_waits or self._has_polled:
            self.session.forgive(now)
        self._has_polled = False
