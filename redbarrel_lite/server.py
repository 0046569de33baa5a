"""The server: listens, knows what is open, and ends well.

What it implements: start and end of the whole: signals, finishing what runs,
telling every socket. What it leaves out: what happens on a connection.

In one line::

    asyncio.run(Server(app).serve(Address(port=8000), keeper))
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from email.utils import formatdate
from functools import partial
from queue import SimpleQueue
from typing import Any, ClassVar, Final, Protocol

from . import wsproto
from .accesslog import Entry
from .app import App
from .backdoor import BackDoor
from .batch import Batch
from .cluster import Cluster
from .connection import HttpConnection
from .emitting import Desk
from .endpoint import EngineEndpoint, NamespacesEndpoint
from .entrance import Entrance
from .forms import find_folder
from .gate import Gate
from .handing import Relay, WorkerConnection, take_in
from .handlers import RunHandler, run_handler
from .host import Connected, Successor
from .http1 import Pairs
from .listener import Address, Listener
from .mesh import Answer, Mesh
from .patience import GRACE_S, TimeLimits
from .rawendpoint import RawEndpoint
from .succession import NextApp, Succession
from .tap import Tap
from .targets import EnginePath, NamespacesPath, RawPath, SocketPath
from .tlsdoor import TlsDoor
from .upstream import Tunnel

log = logging.getLogger("redbarrel_lite")

_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
QUIET_S: Final = 60.0
# At the end: what a client may take to come for its last words, or to say its first.
LAST_CALL_S: Final = 1.0
# What a request in hand may take to end when the application is replaced by a changed one.
RESTART_S: Final = 2.0
# And what is kept of the grace for who had no answer until then, and for the globals.
RESERVE_S: Final = 0.5
# What `Server.begins` tells.
BEGUN: Final = "begun, or given up"
ASKED_TO_END: Final = "asked to end"


class Keeper(Protocol):
    """Who has started the server, and is told how it goes."""

    def started(self, url: str) -> None:
        """It accepts."""

    async def renew(self) -> None:
        """SIGHUP has come: read again what has changed."""

    def ending(self) -> None:
        """It has been asked to end."""


class Server:
    """One application behind one listening address."""

    batch: Batch  # of its loop, once that runs
    connection_kind: ClassVar = HttpConnection
    worker_kind: ClassVar = WorkerConnection  # where it is one of several

    def __init__(
        self,
        app: App,
        limits: TimeLimits | None = None,
        access: Callable[[Entry], None] | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.app = app
        self.gate = gate or Gate()
        self.scheme = "http"
        self.limits = limits or TimeLimits()
        self.access = access
        # Each with the address that it counts for, or "".
        self.connections: dict[Connected, str] = {}
        self.closing = False
        self.run_handler: RunHandler = run_handler  # of sockets
        self.tap: Tap | None = None  # if somebody watches; to be set before it listens
        self.cluster: Cluster | None = None  # if there are others; likewise
        self.emits_on = ""  # the path of a Unix socket for `emitting`; the same
        self._listeners: list[Listener] = []
        self.answers: dict[str, Answer] = {}  # to what the other workers ask
        self.mesh = Mesh(self.answers)  # of one, unless it is told otherwise
        self.ended_by: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)
        self._at_the_door: dict[TlsDoor, str] = {}  # those whose handshake is under way
        self._of_address: Counter[str] = Counter()  # connections of both kinds
        self._endpoints: dict[SocketPath, Entrance] = {}
        self._tls: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._date = ("date", "")
        self._dated: tuple[Pairs | None, Pairs] = None, []
        self._date_until = 0.0  # the loop's time at which it is another one
        self._quiet_until = 0.0  # when running out of descriptors may be told again
        self._refused = 0  # connections, since that was told
        self._refusals_quiet_until = 0.0
        self._stop = asyncio.Event()
        self._building: asyncio.Task[str] | None = None  # as long as a signal gives it up
        # For a thread that waits for one of these: a handler of signals may put it there.
        self.begins: SimpleQueue[str] = SimpleQueue()
        self._renewal = asyncio.Event()  # is asked for
        self._changed = asyncio.Event()  # a connection, a session or a task has ended
        self._former = Succession(
            self._endpoints, self._goes_on, self._give_up, self._wait, self._changed.set
        )

    async def serve(
        self,
        address: Address,
        keeper: Keeper,
        grace: float = GRACE_S,
    ) -> None:
        """Serve until SIGINT or SIGTERM. Raises what `start` raises."""
        loop = asyncio.get_running_loop()
        self._heed_signals(loop)
        url = await self._begin(address)
        if url is None:
            keeper.ending()
            return
        renewing = loop.create_task(self._heed_hangups(loop, keeper.renew))
        await asyncio.sleep(0)  # it does so by now
        keeper.started(url)
        await self._stop.wait()
        keeper.ending()
        renewing.cancel()
        await self.close(grace)

    async def _begin(self, address: Address) -> str | None:
        """Start; None if that was given up, for a signal came while the globals were built."""

        def built() -> None:
            self._building = None

        self._building = asyncio.create_task(self.start(address, built))
        try:
            return await self._building
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
            return None
        finally:
            self.begins.put(BEGUN)

    def stop(self) -> None:
        """Let `serve` come to its end."""
        self._stop.set()
        if self._building is not None:
            self._building.cancel()

    def renew(self) -> None:
        """Have the keeper read again what has changed, as SIGHUP does."""
        self._renewal.set()

    async def _heed_hangups(
        self, loop: asyncio.AbstractEventLoop, renew: Callable[[], Awaitable[None]]
    ) -> None:
        """One after the other: who sends two signals may have changed something in between."""
        if not hasattr(signal, "SIGHUP"):  # Windows
            return
        loop.add_signal_handler(signal.SIGHUP, self.renew)
        while True:
            await self._renewal.wait()
            self._renewal.clear()
            await renew()

    async def start(
        self, address: Address | None = None, before: Callable[[], object] = lambda: None
    ) -> str:
        """Begin to accept; return the URL. ``before`` is called when only that is left to do.

        Raises OSError if the address can't be had, and `RbrError` if a global can't be built.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        try:
            find_folder()
        except FileNotFoundError as error:
            log.warning("large bodies will be answered with 507: %s", error.strerror)
        await self.start_app()
        before()
        try:
            return await self._listen(address or Address(port=0))
        except OSError:
            for listener in self._listeners:  # of which another may have been opened
                await listener.close()
            await self.app.stop()
            raise

    async def _listen(self, address: Address) -> str:
        self.scheme = address.scheme
        new = self._new_connection(partial(self.connection_kind, self))
        seat = self.mesh.seat
        if seat is not None:
            if self.tap is not None:  # all of them trace to one place
                self.tap.numbers = itertools.count(seat.number + 1, seat.of)
            new = self._new_connection(partial(self.worker_kind, self, self.mesh))
            self.mesh.welcome = self._welcome
        self._tls = address.tls
        if self.emits_on:
            back = self._new_connection(partial(self.connection_kind, self._back_door()))
            await self._listen_on(Address(uds=self.emits_on, private=True), back)
        self.mesh.open()
        await self.mesh.meet()
        return await self._listen_on(
            address, new if address.tls is None else partial(self._tls_door, new)
        )

    def _back_door(self) -> BackDoor:
        return BackDoor(self, Desk(None).route)

    def _new_connection(
        self, new: Callable[[], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        return new if self.tap is None else self.tap.on(new)

    def _welcome(self, sock: socket.socket, letter: bytes) -> None:
        """Serve a connection that another worker has handed over."""

        def new(told: str) -> asyncio.Protocol:
            return self._new_connection(partial(self.worker_kind, self, self.mesh, told))()

        self.track(take_in(sock, letter, new))

    async def _listen_on(self, address: Address, new: Callable[[], asyncio.Protocol]) -> str:
        self._listeners.append(Listener(new))
        try:
            return await self._listeners[-1].open(address)
        except OSError as error:
            if address.uds is not None:
                error.filename = address.uds
            raise

    def _tls_door(self, inside: Callable[[], asyncio.Protocol]) -> TlsDoor:
        assert self._tls is not None
        return TlsDoor(self, self._tls, inside)

    async def start_app(self) -> None:
        """Let the application begin, without a port: `testing` brings connections of its own.

        Raises `RbrError` if a global can't be built.
        """
        self.batch = Batch(asyncio.get_running_loop())
        await self._start(self.app)

    async def _start(self, app: App) -> None:
        loop = asyncio.get_running_loop()
        for home in app.homes:
            home.hub.attach(loop.call_soon_threadsafe, self.run_handler, self._changed.set, loop)
            home.hub.is_in_worker = self.mesh.seat is not None
            home.hub.workers = self.mesh.others
        if self.cluster is not None:
            self.cluster.join(app.hubs)
        await app.start()

    async def take_over(self, new: NextApp) -> None:
        """Let another application answer whoever comes from now on.

        Raises `RbrError` if a global can't be built, and then nothing has changed.
        """
        new.former = self._former
        await self._start(new)
        new.take_over()
        self._former.add(self.app, self._at_work())
        self.app = new

    async def restart(self, new: NextApp) -> None:
        """Let another application be all there is: the sockets of before are closed.

        Their clients come again, and find the new one. The rest is as for `take_over`.
        """
        try:
            await self.take_over(new)
        except BaseException:
            if self.cluster is not None:  # the hubs of before are those of these names again
                self.cluster.join(self.app.hubs)
            raise
        farewell = wsproto.SERVICE_RESTART, "service restart"
        self._former.dismiss(*farewell, LAST_CALL_S, RESTART_S)

    def _at_work(self) -> set[Any]:
        """The requests and handlers in hand; but not polls, which are their sessions'."""
        requests = {
            (one, one.request)
            for one in self.connections
            if isinstance(one, HttpConnection) and one.busy and not one.is_for_socket
        }
        return requests.union(self._tasks, *(home.hub.runners for home in self.app.homes))

    def _goes_on(self, work: Any) -> bool:
        """Whether one of them does still."""
        if isinstance(work, tuple):
            connection, request = work
            return connection.busy and connection.request is request
        if isinstance(work, asyncio.Task):
            return not work.done()
        apps = (self.app, *self._former.apps)
        return any(work in home.hub.runners for app in apps for home in app.homes)

    def _give_up(self, work: Any) -> None:
        """End one of them unfinished. A handler of a socket can't be: a thread may run it."""
        if isinstance(work, tuple):
            work[0].give_up()
        elif isinstance(work, asyncio.Task):
            work.cancel()

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands by another certificate from now on."""
        self._tls = context

    def _heed_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        """End at the first one, and at once at the second.

        Not by asyncio alone: it obeys in the loop, which a handler may hold for ever.
        """
        ending = self.ended_by

        def stop(*_: object) -> None:
            # A second signal, whichever, finds the system's own handling: the end.
            for one in ending:
                signal.signal(one, signal.SIG_DFL)
            self.begins.put(ASKED_TO_END)
            loop.call_soon_threadsafe(self.stop)

        for one in ending:
            with contextlib.suppress(NotImplementedError):  # Windows does so by itself
                # The system may give the signal to any thread: this wakes the loop's. And
                # one that comes between this line and the next is heard by the loop alone.
                loop.add_signal_handler(one, self.stop)
            signal.signal(one, stop)

    async def close(self, grace: float = GRACE_S) -> None:
        """Stop accepting, tell all sockets, finish what runs; wait for both, but not for ever."""
        self.closing = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        reserve = min(RESERVE_S, grace / 4)
        for endpoint in self._endpoints.values():
            endpoint.close()
        for listener in self._listeners:
            await listener.close()
        # A client that is between two polls hears of it at its next one: so long its
        # connection stays open, idle as it is. And who has just come may ask once.
        await self._wait(lambda: not self._is_awaited(), loop.time() + min(LAST_CALL_S, grace / 2))
        for endpoint in self._endpoints.values():
            endpoint.drop()
        for door in tuple(self._at_the_door):
            door.close()
        for connection in tuple(self.connections):
            if isinstance(connection, HttpConnection):
                connection.close_if_idle()
            elif isinstance(connection, Tunnel) and not isinstance(connection, Relay):
                connection.close()
        await self._wait(self._is_done, deadline - reserve)
        for connection in tuple(self.connections):
            if isinstance(connection, HttpConnection):
                connection.give_up()
        for task in tuple(self._tasks):
            task.cancel()
        await self._wait(lambda: not self.connections, deadline - reserve * 3 / 4)
        for connection in tuple(self.connections):
            connection.abort()
        deadline -= reserve / 2  # the rest is for the end of the process
        await self.app.stop(max(deadline - loop.time(), 0.01))
        await self._former.end(max(deadline - loop.time(), 0.01))
        self.mesh.close()

    def _is_awaited(self) -> bool:
        """Whether there is a client that will hardly know what happened if we went now."""
        if self._at_the_door or any(map(len, self._endpoints.values())):
            return True
        return any(
            isinstance(one, Relay) or (isinstance(one, HttpConnection) and one.is_new)
            for one in self.connections
        )

    def _is_done(self) -> bool:
        homes = (home for app in (self.app, *self._former.apps) for home in app.homes)
        handlers = any(home.hub.runners for home in homes)
        return not (self.connections or self._tasks or handlers)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio's call for what it can't tell anybody else."""
        error = context.get("exception")
        if self.closing and "_start_serving" in repr(context.get("handle")):
            # It would accept again, after a second without descriptors; we have closed meanwhile.
            return
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_RESOURCES:
            loop.default_exception_handler(context)
        elif loop.time() >= self._quiet_until:
            # asyncio stops accepting for a second, but not without a traceback for
            # each connection that it could not accept.
            self._quiet_until = loop.time() + QUIET_S
            log.warning("no connection can be accepted: %s", os.strerror(error.errno))

    async def _wait(self, done: Callable[[], bool], until: float | None = None) -> None:
        try:
            async with asyncio.timeout_at(until):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    # -- what connections ask --------------------------------------------------------

    def arrive(self, door: TlsDoor, address: str) -> bool:
        """Somebody has come, and will speak TLS; False: there is no room."""
        place = self._place(address)
        if place is None:
            return False
        self._at_the_door[door] = place
        return True

    def leave(self, door: TlsDoor) -> None:
        """Its handshake is over."""
        place = self._at_the_door.pop(door, "")
        if place:
            self._give_back(place)

    def come(self, connection: Connected, address: str) -> bool:
        """A connection is there; False: it is one too many, and is to be told so."""
        gate = self.gate
        is_limited = gate.max_connections or gate.max_per_address
        place = self._place(address) if is_limited else ""
        self.connections[connection] = place or ""
        return place is not None

    def become(self, connection: Connected, protocol: Successor) -> None:
        """A connection goes on as another one, in the same place."""
        self.connections[protocol] = self.connections.pop(connection)
        protocol.when_lost = self.gone
        self._changed.set()

    def gone(self, connection: Connected) -> None:
        """A connection has ended."""
        place = self.connections.pop(connection, "")
        if place:
            self._give_back(place)
        self._changed.set()

    def _place(self, address: str) -> str | None:
        """What a further connection of this address counts for; None: it is one too many."""
        gate = self.gate
        if 0 < gate.max_connections <= len(self.connections) + len(self._at_the_door):
            self._note_refusal(address, f"--max-connections is {gate.max_connections}")
            return None
        place = gate.counts_as(address)
        if place:
            if self._of_address[place] >= gate.max_per_address:
                self._note_refusal(address, f"--max-per-address is {gate.max_per_address}")
                return None
            self._of_address[place] += 1
        return place

    def _note_refusal(self, address: str, what: str) -> None:
        """Tell it, and whoever comes behind it in the next minute will be a number."""
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now >= self._refusals_quiet_until:
            self._refusals_quiet_until = now + QUIET_S
            more = f"; {self._refused} since this was told last" if self._refused > 1 else ""
            log.warning("%s: refused: %s%s", address or "unix", what, more)
            self._refused = 0

    def _give_back(self, place: str) -> None:
        self._of_address[place] -= 1
        if not self._of_address[place]:
            del self._of_address[place]

    def endpoint(self, path: SocketPath) -> Entrance:
        """The sessions of a socket path's url, which other paths may share."""
        endpoint = self._endpoints.get(path)
        if endpoint is None:
            endpoint = self._endpoints[path] = self._new_endpoint(path)
            if self.closing:
                endpoint.close()
        return endpoint

    def _new_endpoint(self, path: SocketPath) -> Entrance:
        if isinstance(path, RawPath):
            return RawEndpoint(path, self._changed.set)
        if isinstance(path, EnginePath):
            return EngineEndpoint(path, self._changed.set, self.mesh.prefix)
        assert isinstance(path, NamespacesPath)
        return NamespacesEndpoint(path, self._changed.set, self.mesh.prefix)

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done, and wait for it at the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    def dated(self, fields: Pairs, now: float) -> Pairs:
        """An answer's fields with its Date (RFC 9110 6.6.1), at a time of the loop.

        The Date is made once a second; and so is the whole for fields that nobody can alter.
        """
        if now >= self._date_until:
            self._date = ("date", formatdate(usegmt=True))
            self._date_until = now + 1.0 - time.time() % 1.0
            self._dated = None, []
        before, dated = self._dated
        if fields is not before:
            dated = [*fields, self._date]
            if isinstance(fields, tuple):
                self._dated = fields, dated
        return dated
