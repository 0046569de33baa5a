"""Requests for sockets: which session they belong to, and whether they may.

What it implements: the HTTP side of Engine.IO protocol 4 (verification, the
handshake, error bodies, CORS) for all sessions of one url. What it leaves out:
what a session does with a request that is its own, which is in `transports`.

In one line::

    Endpoint(doors, options).handle(exchange, "1.1", upgrades=False)
"""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from . import engineio, wsproto, wsproto_handshake
from .client import Client
from .engineio_query import (
    ERRORS,
    FORBIDDEN,
    UNKNOWN_SID,
    UNSUPPORTED_PROTOCOL_VERSION,
    Query,
    check_query,
    check_session,
    error_body,
    refusal,
)
from .engineio_v3 import Revision3
from .entrance import SHUTTING_DOWN, Entrance, Handshake, values_of
from .errors import RemoteProtocolError
from .forms import parse_urlencoded
from .oldclient import OldClient
from .raw import EngineClient
from .request import Request
from .response import Response, error_response
from .targets import EnginePath, NamespacesPath, SocketPath
from .transports import Above, EngineConnection
from .transports_v3 import Connection3
from .websocket import Exchange

log = logging.getLogger("redbarrel_lite")

# The reference's, letter by letter.
TEXT_PLAIN: Final = "text/plain; charset=UTF-8"
TEXT_HTML: Final = "text/html"
JSON: Final = "application/json"
OCTET_STREAM: Final = "application/octet-stream"
JAVASCRIPT: Final = "text/javascript; charset=UTF-8"
NO_STORE: Final = ("cache-control", "no-store")

OLD_CLIENT: Final = (
    "%s: a client of Engine.IO 3, as socket.io-client 2 is, was refused at %s;"
    " to let such clients in, write: allow-eio3 on"
)
QUIET_S: Final = 60.0
# A client that closes sends its close packet while its next poll is under way, over
# another connection, and it is chance which of them is here first. The poll is answered
# as if it had been here; so long it may take.
CROSSING_S: Final = 0.5


class Endpoint(Entrance):
    """All sessions of one url, and the requests that make, feed and end them."""

    def __init__(
        self, path: SocketPath, when_forgotten: Callable[[], None], prefix: str = ""
    ) -> None:
        """``prefix`` is what all sids begin with: the number of a worker, where there are several.

        So whichever of them a request comes to can tell whose it is.
        """
        super().__init__(path)
        self._prefix = prefix
        self.connect_timeout = path.shared.connect_timeout
        self._sessions: dict[str, EngineConnection] = {}
        self._when_forgotten = when_forgotten
        self._quiet_until = 0.0  # when another old client may be told of
        self._released: dict[str, engineio.Packet] = {}  # what polls of the closed get

    @abstractmethod
    def new_client(
        self, connection: EngineConnection, request: Request, connect_by: float
    ) -> Above:
        """What a session carries messages for."""

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def sessions(self) -> Iterator[engineio.Session]:
        """Those that are open."""
        return (connection.session for connection in self._sessions.values())

    def knows(self, sid: str) -> bool:
        return sid in self._sessions or sid in self._released

    def forget(self, sid: str) -> bool:
        """Take a session off the list; False if it has been."""
        known = self._sessions.pop(sid, None) is not None
        self._when_forgotten()
        return known

    def release(self, sid: str, payload: engineio.Packet) -> None:
        """Answer with this a poll that was under way when its client closed."""
        self._released[sid] = payload
        self.flusher.loop.call_later(CROSSING_S, self._released.pop, sid, None)

    def close(self, code: int = wsproto.GOING_AWAY, reason: str = SHUTTING_DOWN) -> None:
        super().close()
        for connection in tuple(self._sessions.values()):
            connection.close(code, reason)

    def drop(self) -> None:
        """End the sessions that are left."""
        for connection in tuple(self._sessions.values()):
            connection.drop()

    # -- requests ------------------------------------------------------------------

    def expect(self, exchange: Exchange) -> None:
        """A POST has begun: its session must not have another one.

        What else is wrong with it is said when it is all there.
        """
        request = exchange.request
        ours = request.method == "POST" and self._origins.fault(request) is None
        fields = _fields(exchange) if ours else None
        connection = self._sessions.get("".join((fields or {}).get("sid", ())))
        if connection is not None:
            try:
                connection.expect_post(exchange)
            except RemoteProtocolError as error:
                log.info("%s: %s", request.remote_addr, error)
                self._refuse(exchange, error.code)

    def handle(self, exchange: Exchange, version: str, *, upgrades: bool) -> None:
        if upgrades:
            self._handle_upgrade(exchange, version)
        else:
            self._handle_polling(exchange)

    def _handle_polling(self, exchange: Exchange) -> None:
        """Answer a polling request, now or when there is something to say."""
        request = exchange.request
        if not self._may(request):
            self._refuse(exchange, FORBIDDEN)
            return
        if request.method == "OPTIONS":
            exchange.respond(self._origins.preflight(request))
            return
        fields = _fields(exchange)
        if fields is None:
            return
        try:
            query = check_query(request.method, fields, self.options, upgrade=False)
            if query.script is not None and not self._may(request, is_script=True):
                self._refuse(exchange, FORBIDDEN)
                return
            if query.sid is None:
                self._admit(exchange, lambda: self._open(exchange, query))
                return
            if request.method == "GET" and query.script is None and query.sid in self._released:
                exchange.respond(self.payload(request, self._released.pop(query.sid)))
                return
            connection = self._find(query, upgrade=False)
            if request.method == "GET":
                connection.receive_get(exchange)
            elif request.method == "POST":
                connection.receive_post(exchange)
            else:
                raise refusal(engineio.BAD_REQUEST)
        except RemoteProtocolError as error:
            self._note(request, fields, error)
            self._refuse(exchange, error.code)

    def _handle_upgrade(self, exchange: Exchange, version: str) -> None:
        """Answer a request for a WebSocket."""
        request = exchange.request
        if not self._may(request):
            _refuse_upgrade(exchange, FORBIDDEN)
            return
        fields = _fields(exchange)
        if fields is None:
            return
        try:
            query = check_query(request.method, fields, self.options, upgrade=True)
            connection = self._find(query, upgrade=True) if query.sid is not None else None
        except RemoteProtocolError as error:
            self._note(request, fields, error)
            _refuse_upgrade(exchange, error.code)
            return
        handshake = self._shake_hands(exchange, version)
        if handshake is None:
            return
        # As the reference server: a client that offers some may have no use for a
        # connection without one, and Chromium closes it.
        chosen = wsproto_handshake.choose_subprotocol(
            values_of(request, "sec-websocket-protocol"), None
        )
        if chosen:
            handshake.headers.append(("sec-websocket-protocol", chosen))
        if connection is None:
            self._admit(exchange, lambda: self._switch(exchange, query, handshake))
            return
        websocket = self._websocket(connection, handshake.deflate)
        # Before the switch, which may bring the first frames with it.
        connection.start_probe(websocket, self.flusher.loop.time())
        exchange.switch(handshake.headers, websocket)

    def _switch(self, exchange: Exchange, query: Query, handshake: Handshake) -> None:
        connection = self._new(exchange.request, query)
        websocket = self._websocket(connection, handshake.deflate)

        def go_on() -> None:
            connection.start_websocket(websocket)
            self._welcome(exchange).switch(handshake.headers, websocket)

        connection.begin(exchange, go_on)

    def _find(self, query: Query, *, upgrade: bool) -> EngineConnection:
        connection = self._sessions.get(query.sid or "")
        if connection is None or connection.is_over(self.flusher.loop.time()):
            raise refusal(UNKNOWN_SID)
        check_session(query, connection.session, upgrade=upgrade)
        return connection

    def _open(self, exchange: Exchange, query: Query) -> None:
        connection = self._new(exchange.request, query)
        welcome = self._welcome(exchange)
        connection.begin(exchange, lambda: connection.receive_get(welcome))

    def _new(self, request: Request, query: Query) -> EngineConnection:
        now = self.flusher.loop.time()
        # 128 bits: whoever knows it is the client.
        sid = self._prefix + secrets.token_urlsafe(16)
        connection = (
            self._new_of_old(request, query, sid, now)
            if query.version == engineio.OLD_PROTOCOL
            else EngineConnection(
                self, request, engineio.Session(sid, query.transport, self.options, now), now
            )
        )
        self._sessions[sid] = connection
        request.keep_for_socket()
        return connection

    def _new_of_old(self, request: Request, query: Query, sid: str, now: float) -> EngineConnection:
        revision = Revision3(base64=query.base64, script=query.script)
        session = engineio.Session(sid, query.transport, self.options, now, revision)
        return Connection3(self, request, session, revision, now)

    # -- answers ---------------------------------------------------------------------

    def _note(
        self, request: Request, fields: Mapping[str, Sequence[str]], error: RemoteProtocolError
    ) -> None:
        """Say in the log what was refused; of old clients only now and then, for they retry."""
        self.noted["request"] += 1
        old = error.code == UNSUPPORTED_PROTOCOL_VERSION
        if not old or fields.get("EIO") != [engineio.OLD_PROTOCOL]:
            log.info("%s: %s", request.remote_addr, error)
            return
        now = self.flusher.loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            log.warning(OLD_CLIENT, request.remote_addr, self._url)

    def payload(self, request: Request, payload: engineio.Packet) -> Response:
        """The answer to a poll."""
        headers = [NO_STORE, *self._origins.headers(request)]
        if isinstance(payload, str):
            return Response(payload.encode(), 200, headers, TEXT_PLAIN)
        return Response(payload, 200, headers, OCTET_STREAM)

    def script(self, request: Request, code: str) -> Response:
        """The answer to a poll by a script of a page."""
        headers = [NO_STORE, *self._origins.headers(request)]
        return Response(code.encode(), 200, headers, JAVASCRIPT)

    def ok(self, request: Request) -> Response:
        """The answer to a POST."""
        return Response(b"ok", 200, [NO_STORE, *self._origins.headers(request)], TEXT_HTML)

    def forbidden(self, request: Request, transport: str, reason: str) -> Response:
        """The answer to a handshake that user code refuses, as the reference's `allowRequest`."""
        if transport == engineio.WEBSOCKET:
            return error_response(403, reason)
        headers = self._origins.headers(request)
        return Response(error_body(FORBIDDEN, reason), 403, headers, JSON)

    def _refuse(self, exchange: Exchange, code: int) -> None:
        status = 403 if code == FORBIDDEN else 400
        headers = self._origins.headers(exchange.request) if status == 400 else []
        exchange.respond(Response(error_body(code), status, headers, JSON))


class NamespacesEndpoint(Endpoint):
    """The sessions of a url of Socket.IO."""

    def __init__(
        self, path: NamespacesPath, when_forgotten: Callable[[], None], prefix: str = ""
    ) -> None:
        super().__init__(path, when_forgotten, prefix)
        self._doors = path.doors

    def new_client(
        self, connection: EngineConnection, request: Request, connect_by: float
    ) -> Above:
        session, max_attached = connection.session, self.options.max_payload
        if session.revision.client_pings:
            return OldClient(
                self._doors, connection, request, connect_by, max_attached, session.sid
            )
        return Client(self._doors, connection, request, connect_by, max_attached)


class EngineEndpoint(Endpoint):
    """The sessions of a path whose method is ENGINEIO."""

    def __init__(
        self, path: EnginePath, when_forgotten: Callable[[], None], prefix: str = ""
    ) -> None:
        super().__init__(path, when_forgotten, prefix)
        self._path = path

    def new_client(
        self, connection: EngineConnection, request: Request, connect_by: float
    ) -> Above:
        return EngineClient(self._path.peers, connection, self._path.door, request)


def _refuse_upgrade(exchange: Exchange, code: int) -> None:
    """The reference's words, without JSON around them: no browser shows them to a page."""
    status = 403 if code == FORBIDDEN else 400
    exchange.respond(Response(ERRORS[code], status, (), TEXT_HTML))


def _fields(exchange: Exchange) -> dict[str, list[str]] | None:
    """The fields of the query; None if they can't be read, and then it is answered.

    Not `request.query`, which keeps what it has read: the request of a handshake lives
    as long as its session, and nobody may ever ask it for that.
    """
    fields: dict[str, list[str]] = {}
    try:
        query = exchange.request.query_string.encode("latin-1")
        # A parameter that we don't know may be of any kind; one that we know is unknown then.
        for name, value in parse_urlencoded(query, "replace"):
            fields.setdefault(name, []).append(value)
    except RemoteProtocolError as error:
        log.info("%s: %s", exchange.request.remote_addr, error)
        exchange.respond(error_response(error.code, str(error)))
        return None
    return fields
