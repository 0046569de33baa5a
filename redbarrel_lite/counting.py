"""A server that counts what it does, for `--status`.

What it implements: the server and its HTTP connections with a count of requests, of what was
refused, of bytes, and of how WebSockets end. They inherit from those that don't count, so that
these pay nothing. What it leaves out: sockets and their messages (`tally`), and what is only
looked at when somebody asks (`census`).

In one line::

    server = CountingServer(app); await server.serve(address, keeper)
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from . import http1
from .accesslog import Entry
from .app import App, Home, Page
from .backdoor import BackDoor
from .connection import HttpConnection
from .emitting import URL, Desk
from .entrance import Entrance
from .gate import Gate
from .handing import WorkerConnection
from .host import Connected
from .intake import read_in_parts
from .lag import Lag
from .metrics import Histogram
from .patience import TimeLimits
from .response import Response
from .server import Server
from .tally import Tallies, counted_handler
from .tap import Between, Through
from .targets import SocketPath, Target
from .tlsdoor import TlsDoor
from .trail import Trail
from .websocket import WebSocket
from .wsproto import CLOSE_CODES

# The url of requests that no path takes: those that were asked for are for others to choose.
NO_PATH: Final = "none"
# Why a request was refused before any service had it; other statuses are "other".
REASONS: Final = {
    400: "bad request",
    404: "no such path",
    405: "method",
    408: "too slow",
    413: "body too large",
    414: "url too long",
    421: "host",
    426: "no WebSocket",
    431: "head too large",
    501: "not implemented",
    505: "version",
    507: "no room for the body",
}
OTHER: Final = "other"
_OF_CONNECTIONS: Final = ("max-connections", "max-per-address", "tls")


def _not_logged(_entry: Entry) -> None:
    """The access log of who wants none: with one, connections know how long they took."""


class PathTally:
    """What was answered at one url."""

    __slots__ = ("statuses", "took")

    def __init__(self, took: Histogram | None) -> None:
        self.statuses = [0] * 10  # by class: [2] for 2xx
        self.took = took  # None: a poll is answered when there is something to say


class Numbers:
    """What was counted of a whole server."""

    def __init__(self) -> None:
        self.received_bytes = 0
        self.sent_bytes = 0
        self.connections = 0  # that came
        self.broken = 0  # answers that were not sent to their end
        self.paths: dict[str, PathTally] = {}  # by url, as the file has it
        self.refused = Counter(dict.fromkeys((*REASONS.values(), *_OF_CONNECTIONS), 0))  # by reason
        self.closes: Counter[str] = Counter()  # WebSockets, by the code of their end
        self.noted: dict[str, Counter[str]] = {}  # by the url of an entrance

    def at(self, url: str, *, timed: bool) -> PathTally:
        """What was answered at a url."""
        tally = self.paths.get(url)
        if tally is None:
            tally = self.paths[url] = PathTally(Histogram() if timed else None)
        return tally

    def bytes(self) -> int:
        """All that came and went."""
        return self.received_bytes + self.sent_bytes


class CountingConnection(HttpConnection):
    """A connection that tells its server of each answer."""

    __slots__ = ()

    _server: CountingServer | CountingBackDoor

    def _log_access(
        self, access: Callable[[Entry], None], status: int, size: int | None, now: float
    ) -> None:
        target = self._target if self._head is not None else None
        server = self._server
        tally = server.known.get(id(target)) or server.learn(target)
        tally.statuses[status // 100] += 1
        server.numbers.broken += size is None
        if tally.took is not None:
            tally.took.observe(now - self._began)
        if access is not _not_logged:
            super()._log_access(access, status, size, now)

    def _refuse(self, status: int, reason: str, headers: http1.Pairs = ()) -> None:
        self._server.refused(status)
        super()._refuse(status, reason, headers)

    def _turn_away(self, head: http1.Request, answer: Response) -> None:
        if answer.status >= 400:
            self._server.refused(answer.status)
        super()._turn_away(head, answer)


class CountingWorkerConnection(CountingConnection, WorkerConnection):
    """One of a worker among several."""

    __slots__ = ()


class CountingBackDoor(BackDoor):
    """The Unix socket of `emitting`, whose requests count for its page at whichever root."""

    known: Mapping[int, PathTally] = {}  # what answers is made for each request

    def __init__(self, server: CountingServer, page: Page) -> None:
        super().__init__(server, page)
        self.numbers, self.refused = server.numbers, server.refused

    def learn(self, target: Target | None) -> PathTally:
        """That of a request's target."""
        if target is None:
            return self.numbers.at(NO_PATH, timed=False)
        return self.numbers.at(URL, timed=True)


class CountingServer(Server):
    """A server that knows what it has done."""

    connection_kind = CountingConnection
    worker_kind = CountingWorkerConnection

    def __init__(
        self,
        app: App,
        limits: TimeLimits | None = None,
        access: Callable[[Entry], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(app, limits, access or _not_logged, gate)
        self.run_handler = counted_handler
        self.numbers = Numbers()
        self.trail = Trail(self._growing)
        self.lag = Lag(self.numbers.bytes, self.trail.look)
        self.tallies: dict[str, Tallies] = {}  # by the root of a file
        self.known: dict[int, PathTally] = {}  # by the identity of a target
        self._learned: list[Target | None] = []

    def _new_connection(
        self, new: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        return super()._new_connection(lambda: Metered(self.numbers, new()))

    def _back_door(self) -> BackDoor:
        return CountingBackDoor(self, Desk(None).route)

    async def _start(self, app: App) -> None:
        for home in app.homes:
            root = home.file.root
            home.hub.tallies = self.tallies.setdefault(root, Tallies(root))
        await super()._start(app)
        self.lag.start(asyncio.get_running_loop())

    async def close(self, grace: float = 5.0) -> None:
        self.lag.stop()
        await super().close(grace)

    def _growing(self) -> tuple[float, ...]:
        """What the page draws: requests, events, messages, and time on processors."""
        tallies = [one for file in self.tallies.values() for one in file.of.values()]
        received = sum(one.received for one in tallies)
        sent = sum(one.sent for one in tallies)
        requests = sum(sum(one.statuses) for one in self.numbers.paths.values())
        return requests, received, sent, time.process_time()

    def speeds(self) -> list[list[float]]:
        """How fast these have grown in the last minutes (`Trail.speeds`)."""
        return self.trail.speeds(asyncio.get_running_loop().time())

    @property
    def homes(self) -> Collection[Home]:
        """The files that there are, or whose sockets there are still: as they are now."""
        apps = (*self._former.apps, self.app)
        return {home.hub: home for app in apps for home in app.homes}.values()

    @property
    def entrances(self) -> Mapping[SocketPath, Entrance]:
        """Those of sockets that somebody has come to."""
        return self._endpoints

    # -- what connections tell -------------------------------------------------------

    def learn(self, target: Target | None) -> PathTally:
        """That of a target, and from now on those of all others: an application has begun."""
        apps = (self.app, *self._former.apps)
        found = [one for app in apps for one in app.targets()]
        # They are kept, so that no other object gets the identity of one of them.
        self._learned = [*(one for _, one in found), target]
        # There the script of clients is a service, whose time nobody wants to know.
        sockets = {url for url, one in found if isinstance(one, SocketPath)}
        at = self.numbers.at
        self.known = {id(one): at(url, timed=url not in sockets) for url, one in found}
        self.known[id(None)] = at(NO_PATH, timed=False)
        return self.known.setdefault(id(target), self.known[id(None)])

    def refused(self, status: int) -> None:
        """A request was answered with this before any service had it."""
        self.numbers.refused[REASONS.get(status, OTHER)] += 1

    def come(self, connection: Connected, address: str) -> bool:
        came_before = isinstance(connection, WorkerConnection) and connection.was_handed
        self.numbers.connections += not came_before
        return super().come(connection, address)

    def gone(self, connection: Connected) -> None:
        if isinstance(connection, WebSocket):
            self.numbers.closes[_code(connection.close_code)] += 1
        super().gone(connection)

    def leave(self, door: TlsDoor) -> None:
        self.numbers.refused["tls"] += door.has_failed
        super().leave(door)

    def _note_refusal(self, address: str, what: str) -> None:
        self.numbers.refused[what.partition(" ")[0].lstrip("-")] += 1
        super()._note_refusal(address, what)

    def _new_endpoint(self, path: SocketPath) -> Entrance:
        endpoint = super()._new_endpoint(path)
        endpoint.noted = self.numbers.noted.setdefault(path.url, Counter())
        return endpoint


def _code(code: int) -> str:
    """As a label: what an application makes up is told by its range (RFC 6455 7.4.2)."""
    if code >= 3000:
        return f"{code // 1000}xxx"
    return str(code) if code in CLOSE_CODES or code in (1005, 1006, 1015) else OTHER


# -- bytes ---------------------------------------------------------------------------------


class Metered(Between):
    """One connection, whatever it becomes, between asyncio and the protocol that it speaks."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Numbers, inner: asyncio.BaseProtocol) -> None:
        super().__init__(inner)
        self._numbers = numbers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        read_in_parts(transport)
        self.inner.connection_made(MeteredTransport(self, self._numbers, transport))

    def data_received(self, data: bytes) -> None:
        self._numbers.received_bytes += len(data)
        self.inner.data_received(data)


class MeteredTransport(Through):
    """The transport of such a connection."""

    __slots__ = ("_numbers",)

    def __init__(self, metered: Metered, numbers: Numbers, inner: asyncio.Transport) -> None:
        super().__init__(metered, inner)
        self._numbers = numbers

    def write(self, data: Any) -> None:
        self._numbers.sent_bytes += len(data)
        self._inner.write(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "when_past":
            return self._went_past
        return self._inner.get_extra_info(name, default)

    def _went_past(self, size: int) -> None:
        """The system has sent so much of a file by itself."""
        self._numbers.sent_bytes += size
