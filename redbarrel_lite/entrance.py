"""Who may come in at a url of sockets, and the handshake of those who come as WebSockets.

What it implements: what all endpoints of sockets have in common: origins, rules, the
limit of connections, the end of the server, and the HTTP side of RFC 6455 4.2 with its
extension (RFC 7692). What it leaves out: what there is inside (`endpoint`,
`rawendpoint`).

In one line::

    class Endpoint(Entrance): ...
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

from . import deflate, wsproto, wsproto_handshake
from .errors import RemoteProtocolError
from .origins import Origins
from .patience import Pulse
from .request import Request
from .response import Response, error_response
from .services import CLIENT_HAS_GONE
from .targets import SocketPath
from .websocket import Exchange, Flusher, Layer, WebSocket

log = logging.getLogger("redbarrel_lite")

SHUTTING_DOWN: Final = "server shutting down"
_RETRY_SOON: Final = (("retry-after", "1"),)

# Asked before a session begins: the answer to a request that may not have one.
Guard: TypeAlias = Callable[[Request], Awaitable[Response | None]]


class Handshake(NamedTuple):
    """What the 101 to a WebSocket says, and what it means."""

    headers: list[tuple[str, str]]
    deflate: deflate.Agreement | None


class Welcome:
    """The exchange of a handshake, whose answer has the headers that the file sets besides."""

    def __init__(self, exchange: Exchange, headers: Iterable[tuple[str, str]]) -> None:
        self._exchange = exchange
        self._headers = headers
        self.request = exchange.request

    def respond(self, response: Response) -> None:
        for name, value in self._headers:
            response.put_header(name, value)
        self._exchange.respond(response)

    def on_abort(self, callback: Callable[[], object]) -> None:
        self._exchange.on_abort(callback)

    def is_receiving(self, request: Request) -> bool:
        return self._exchange.is_receiving(request)

    def switch(self, headers: list[tuple[str, str]], protocol: WebSocket) -> None:
        self._exchange.switch([*headers, *self._headers], protocol)


class Entrance(ABC):
    """The door of one url."""

    def __init__(self, path: SocketPath) -> None:
        shared = path.shared
        self.options = shared.engine
        self.flusher = Flusher(asyncio.get_running_loop())
        self.pulse = Pulse(self.flusher.loop, self.__len__)
        self._closed = False
        self._url = path.url
        self._max_connections = shared.max_connections
        self._origins = Origins(shared.allow_origin)
        self._headers = shared.headers
        self._guard: Guard | None = path.refusal if path.is_guarded else None
        self._at_the_door: set[asyncio.Task[None]] = set()
        self.noted: Counter[str] = Counter()  # what happens seldom, and an administrator asks for

    @abstractmethod
    def __len__(self) -> int:
        """How many are inside."""

    def expect(self, exchange: Exchange) -> None:  # noqa: B027  # a WebSocket has no body
        """A request has begun, whose body will take a while; `handle` is called with all of it."""

    @abstractmethod
    def handle(self, exchange: Exchange, version: str, *, upgrades: bool) -> None:
        """Answer a request, now or when there is something to say.

        ``version`` is that of HTTP; ``upgrades``: it asks for a WebSocket.
        """

    def knows(self, sid: str) -> bool:
        """Whether a request with this sid is for somebody inside."""
        return False

    def close(self, code: int = wsproto.GOING_AWAY, reason: str = SHUTTING_DOWN) -> None:
        """Close all that are inside, and let nobody in: the server is going away."""
        self._closed = True

    @abstractmethod
    def drop(self) -> None:
        """End those that are left."""

    # -- who may come in -----------------------------------------------------------

    def _may(self, request: Request, *, is_script: bool = False) -> bool:
        fault = self._origins.fault(request, is_script=is_script)
        if fault is not None:
            self.noted["origin"] += 1
            log.info("%s: %s", request.remote_addr, fault)
        return fault is None

    def _admit(self, exchange: Exchange, go_on: Callable[[], None]) -> None:
        """Begin a session, if the rules of its path allow it."""
        if self._closed:
            refuse_at_the_end(exchange)
            return
        if 0 < self._max_connections <= len(self) + len(self._at_the_door):
            self.noted["max-connections"] += 1
            request = exchange.request
            what = "%s: over %d connections to %s"
            log.info(what, request.remote_addr, self._max_connections, self._url)
            headers = [*_RETRY_SOON, *self._origins.headers(request)]
            exchange.respond(error_response(503, "too many connections", headers))
            return
        if self._guard is None:
            go_on()
            return
        task = self.flusher.loop.create_task(self._ask(self._guard, exchange, go_on))
        # A session for nobody would only wait for its first ping to fail.
        exchange.on_abort(lambda: task.cancel(CLIENT_HAS_GONE))
        self._at_the_door.add(task)  # the loop itself holds tasks but weakly
        task.add_done_callback(self._at_the_door.discard)

    def too_large(self, request: Request) -> Response:
        """The answer to a body over the limit: nothing but 413, as clients know it.

        With the headers that let a page of another origin read even that.
        """
        headers = [] if self._origins.fault(request) else self._origins.headers(request)
        return Response(b"", 413, headers)

    async def _ask(self, guard: Guard, exchange: Exchange, go_on: Callable[[], None]) -> None:
        refusal = await guard(exchange.request)
        task = asyncio.current_task()
        assert task is not None
        self._at_the_door.discard(task)
        if task.cancelling():  # the client has gone, and a rule's function has not minded
            return
        if refusal is None:
            go_on()
        else:
            self.noted["rule"] += 1
            for name, value in self._origins.headers(exchange.request):
                refusal.set_header(name, value)
            exchange.respond(refusal)

    def _welcome(self, exchange: Exchange) -> Exchange:
        return Welcome(exchange, self._headers) if self._headers else exchange

    # -- WebSockets ----------------------------------------------------------------

    def _shake_hands(self, exchange: Exchange, version: str) -> Handshake | None:
        """Check a client's opening handshake; None: it is refused, and that is answered."""
        request = exchange.request
        try:
            headers = wsproto_handshake.accept(request.method, version, request.headers.pairs)
            agreed = None
            if self.options.compression:
                agreed = deflate.accept(values_of(request, "sec-websocket-extensions"))
        except RemoteProtocolError as error:
            self.noted["handshake"] += 1
            log.info("%s: %s", request.remote_addr, error)
            more = wsproto_handshake.UPGRADE_REQUIRED if error.code == 426 else []
            exchange.respond(error_response(error.code, str(error), more))
            return None
        if agreed is not None:
            headers.append(("sec-websocket-extensions", agreed.response))
        return Handshake(headers, agreed)

    def _websocket(self, layer: Layer, agreed: deflate.Agreement | None) -> WebSocket:
        return WebSocket(layer, self.options.max_payload, self.options.max_fragments, agreed)


def refuse_at_the_end(exchange: Exchange) -> None:
    """Turn away who comes while the server ends: nobody would tell him; the next will take him."""
    exchange.respond(error_response(503, "the server is shutting down", _RETRY_SOON))


def values_of(request: Request, name: str) -> list[str]:
    """The values of all fields of this name, in their order."""
    return [value for one, value in request.headers.pairs if one == name]
