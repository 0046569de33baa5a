"""Requests for a WEBSOCKET path, and the connection that each becomes.

What it implements: the handshake's answer, when all who have a say have had it, and one
WebSocket as the carrier of one socket: keep-alive, pausing, and the end, once. What
it leaves out: frames (`websocket`), and what a message means, which is the handler's.

In one line::

    RawEndpoint(path, when_forgotten).handle(exchange, "1.1", upgrades=True)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from . import wsproto, wsproto_handshake
from .entrance import SHUTTING_DOWN, Entrance, Handshake, refuse_at_the_end
from .errors import RemoteProtocolError
from .outgoing import Outgoing
from .raw import RawClient
from .response import error_response
from .targets import RawPath
from .websocket import LOOK_EVERY_S, Exchange, WebSocket

log = logging.getLogger("redbarrel_lite")


class RawEndpoint(Entrance):
    """All WebSockets of one path."""

    def __init__(self, path: RawPath, when_forgotten: Callable[[], None]) -> None:
        super().__init__(path)
        self.path = path
        self._inside: set[RawConnection] = set()
        self._when_forgotten = when_forgotten

    def __len__(self) -> int:
        return len(self._inside)

    def handle(self, exchange: Exchange, version: str, *, upgrades: bool) -> None:
        assert upgrades  # or it would have been routed elsewhere
        if not self._may(exchange.request):
            exchange.respond(error_response(403, "pages of this origin may not connect"))
            return
        handshake = self._shake_hands(exchange, version)
        if handshake is not None:
            self._admit(exchange, lambda: self._begin(exchange, handshake))

    def _begin(self, exchange: Exchange, handshake: Handshake) -> None:
        request = exchange.request
        offered = [v for name, v in request.headers.pairs if name == "sec-websocket-protocol"]
        subprotocol = wsproto_handshake.choose_subprotocol(offered, self.path.subprotocols)
        if subprotocol:
            handshake.headers.append(("sec-websocket-protocol", subprotocol))
        request.keep_for_socket()
        connection = RawConnection(self, self._welcome(exchange), handshake, subprotocol)
        self._inside.add(connection)
        connection.start()

    def forget(self, connection: RawConnection) -> None:
        """Take a connection off the list."""
        self._inside.discard(connection)
        self._when_forgotten()

    def close(self, code: int = wsproto.GOING_AWAY, reason: str = SHUTTING_DOWN) -> None:
        super().close()
        for connection in tuple(self._inside):
            connection.close(code, reason)

    def drop(self) -> None:
        """They have gone: `close` says so at once."""


class RawConnection:
    """One WebSocket and its socket; what `raw` calls a `Carrier`, and `websocket` a `Layer`."""

    __slots__ = (
        "_client",
        "_drained",
        "_endpoint",
        "_exchange",
        "_headers",
        "_is_over",
        "_paused",
        "_ping_at",
        "_pong_by",
        "_timer",
        "_websocket",
        "flusher",
        "who",
    )

    prefix = ""
    transport = "websocket"

    def __init__(
        self, endpoint: RawEndpoint, exchange: Exchange, handshake: Handshake, subprotocol: str
    ) -> None:
        self.who = exchange.request.remote_addr
        self.flusher = endpoint.flusher
        self._endpoint = endpoint
        self._exchange: Exchange | None = exchange  # until it is answered
        self._headers = handshake.headers
        self._websocket = endpoint._websocket(self, handshake.deflate)
        self._client = RawClient(endpoint.path.peers, self, subprotocol)
        self._drained: list[Callable[[], object]] = []
        self._paused = 0  # by how many
        self._is_over = False
        self._ping_at = 0.0
        self._pong_by = 0.0  # 0: no sign of life is owed
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask the path's `on connect`, or let the client in without."""
        assert self._exchange is not None
        self._exchange.on_abort(lambda: self.lost(self._websocket, "transport close"))
        self._client.start(self._endpoint.path.door, self._exchange.request)

    # -- what `raw` calls ------------------------------------------------------------

    def let_in(self) -> None:
        exchange = self._answered()
        now = self.flusher.loop.time()
        self._ping_at = now + self._endpoint.options.ping_interval
        self._endpoint.pulse.start()
        self._schedule(self._ping_at)
        headers, self._headers = self._headers, []  # nobody will need them again
        exchange.switch(headers, self._websocket)

    def refuse(self, reason: str) -> None:
        self._let_go()
        self._answered().respond(error_response(403, reason))

    def _answered(self) -> Exchange:
        """The exchange of the handshake, which is answered now."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None
        return exchange

    def hang_up(self, code: int, reason: str) -> None:
        self._client.socket.closed_with(code, reason)
        self._let_go()
        self._websocket.resume()  # to see the peer's close frame
        self._websocket.close(code, reason)

    @property
    def congested(self) -> bool:
        return self._websocket.congested

    @property
    def ready(self) -> bool:
        return self._websocket.ready

    def send(self, outgoing: Outgoing) -> None:
        self._websocket.send_outgoing(outgoing)

    def when_drained(self, callback: Callable[[], object]) -> None:
        if self.congested and not self._is_over:
            self._drained.append(callback)
        else:
            callback()

    def pause(self) -> None:
        self._paused += 1
        self._websocket.pause()
        self._schedule(self.flusher.loop.time() + LOOK_EVERY_S)

    def resume(self) -> None:
        self._paused -= 1
        if not self._paused:
            self._websocket.heard = True  # it may have spoken: we did not listen
            self._websocket.resume()

    # -- what `websocket` calls --------------------------------------------------------

    def receive_frame(self, _websocket: WebSocket, message: str | bytes) -> None:
        try:
            self._client.receive(message)
        except RemoteProtocolError as error:
            log.info("%s: %s", self.who, error)
            self.note("protocol error")
            self.hang_up(wsproto.POLICY_VIOLATION, str(error))

    def drained(self) -> None:
        waiting, self._drained = self._drained, []
        for callback in waiting:
            callback()

    def note(self, what: str) -> None:
        self._endpoint.noted[what] += 1

    def lost(self, websocket: WebSocket, reason: str) -> None:
        if not self._is_over:
            self._client.socket.closed_with(websocket.close_code, websocket.close_reason)
            self._let_go()
            self._client.end(reason)

    # -- the end, and time ---------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """The server is going away."""
        if self._exchange is None:
            self.hang_up(code, reason)
        else:
            self._let_go()
            refuse_at_the_end(self._answered())
        self._client.end(reason)

    def _let_go(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._endpoint.forget(self)
        self.drained()

    def _schedule(self, at: float) -> None:
        """Have `_tick` called in time. A timer that would ring too early is left alone."""
        if self._is_over:
            return
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self.flusher.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        timer, self._timer = self._timer, None
        assert timer is not None
        now = self.flusher.loop.time()
        pulse = self._endpoint.pulse
        fair = pulse.is_fair(now, timer.when())
        if self._paused:
            self._look(now)
        elif self._pong_by and self._websocket.heard:
            self._pong_by = 0.0
        elif fair and self._pong_by and now >= self._pong_by:
            log.info("%s: no answer to a ping", self.who)
            self.note("ping timeout")
            self.lost(self._websocket, "ping timeout")
            self._websocket.abort()
            return
        if now >= self._ping_at and not self._paused:
            self._ping(now)
        self._schedule(max(min(self._ping_at, self._pong_by or self._ping_at), pulse.fair_at))

    def _ping(self, now: float) -> None:
        self._ping_at = now + self._endpoint.options.ping_interval
        if not self._pong_by:
            self._pong_by = now + self._endpoint.options.ping_timeout
            self._websocket.heard = False
        self._websocket.send(wsproto.ping_frame())

    def _look(self, now: float) -> None:
        """We don't read, so silence says nothing; is the client there all the same?"""
        self._pong_by = 0.0
        self._ping_at = now + LOOK_EVERY_S
        if self._websocket.peer_has_gone():
            self._websocket.abort()
