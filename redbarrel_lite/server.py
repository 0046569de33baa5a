"""The server: listens, knows what is open, and ends well.

What it implements: start and end of the whole: signals, finishing what runs,
telling every socket. What it leaves out: what happens on a connection.

In one line::

    asyncio.run(Server(app).serve(Address(port=8000), print))
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import stat
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from .accesslog import Entry
from .app import App, EnginePath, NamespacesPath, RawPath, SocketPath
from .connection import HttpConnection
from .endpoint import EngineEndpoint, NamespacesEndpoint
from .entrance import Entrance
from .gate import Gate
from .handlers import run_handler
from .patience import TimeLimits
from .rawendpoint import RawEndpoint
from .tlsdoor import TlsDoor
from .upstream import Tunnel
from .websocket import WebSocket

log = logging.getLogger("redbarrel_lite")

GRACE_S: Final = 5.0
_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
QUIET_S: Final = 60.0
# Connections that the system accepts for us while we are busy. When a thousand
# clients come back at once after a restart, asyncio's 100 are too few.
BACKLOG: Final = 1024


class Address(NamedTuple):
    """Where to listen: a host and a port, or the path of a Unix socket; with TLS or without."""

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    tls: ssl.SSLContext | None = None


def _make_room(path: str) -> None:
    """Remove a socket that a server of before has left; nothing else, and none in use.

    Raises OSError for what must stay where it is.
    """
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)


class Server:
    """One application behind one listening address."""

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
        self.connections: set[HttpConnection | WebSocket | Tunnel] = set()
        self.closing = False
        self._listener: asyncio.Server | None = None
        self._at_the_door: set[TlsDoor] = set()  # those whose handshake is under way
        self._endpoints: dict[tuple[type[SocketPath], str], Entrance] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._date = ("date", "")
        self._date_until = 0.0  # the loop's time at which it is another one
        self._quiet_until = 0.0  # when running out of descriptors may be told again
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()  # a connection, a session or a task has ended

    async def serve(
        self, address: Address, started: Callable[[str], None], grace: float = GRACE_S
    ) -> None:
        """Serve until SIGINT or SIGTERM; ``started`` is told the URL once it accepts.

        Raises what `start` raises.
        """
        loop = asyncio.get_running_loop()
        url = await self.start(address)
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._on_signal(loop, signum)
        started(url)
        await self._stop.wait()
        await self.close(grace)

    async def start(self, address: Address | None = None) -> str:
        """Begin to accept; return the URL.

        Raises OSError if the address can't be had, and `RbrError` if a global can't be built.
        """
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        await self.start_app()
        try:
            return await self._listen(address or Address(port=0))
        except OSError:
            await self.app.stop()
            raise

    async def _listen(self, address: Address) -> str:
        loop = asyncio.get_running_loop()
        self.scheme = "https" if address.tls else "http"
        new: Callable[[], asyncio.Protocol] = partial(HttpConnection, self)
        if address.tls is not None:
            new = partial(TlsDoor, self, address.tls, new)
        if address.uds is not None:
            _make_room(address.uds)
            self._listener = await loop.create_unix_server(new, address.uds, backlog=BACKLOG)
            return f"unix:{address.uds}"
        self._listener = await loop.create_server(new, address.host, address.port, backlog=BACKLOG)
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    async def start_app(self) -> None:
        """Let the application begin, without a port: `testing` brings connections of its own.

        Raises `RbrError` if a global can't be built.
        """
        loop = asyncio.get_running_loop()
        for home in self.app.homes:
            home.hub.attach(loop.call_soon_threadsafe, run_handler, self._changed.set, loop)
        await self.app.start()

    def _on_signal(self, loop: asyncio.AbstractEventLoop, signum: signal.Signals) -> None:
        def stop() -> None:
            self._stop.set()
            # A second signal, whichever, finds the system's own handling: the end.
            for one in (signal.SIGINT, signal.SIGTERM):
                signal.signal(one, signal.SIG_DFL)

        try:
            # Not `stop` itself: asyncio would put its own handling back after it.
            loop.add_signal_handler(signum, loop.call_soon, stop)
        except NotImplementedError:  # Windows has no such thing: the plain way does there
            signal.signal(signum, lambda *_: loop.call_soon_threadsafe(stop))

    async def close(self, grace: float = GRACE_S) -> None:
        """Stop accepting, tell all sockets, finish what runs; wait for both, but not for ever."""
        self.closing = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        for endpoint in self._endpoints.values():
            endpoint.close()
        await self._stop_accepting()
        # A client that is between two polls hears of it at its next one: so long
        # its connection stays open, idle as it is.
        await self._wait(
            lambda: not any(map(len, self._endpoints.values())), loop.time() + min(1.0, grace / 2)
        )
        for endpoint in self._endpoints.values():
            endpoint.drop()
        for door in tuple(self._at_the_door):
            door.close()
        for connection in tuple(self.connections):
            if isinstance(connection, HttpConnection):
                connection.close_if_idle()
            elif isinstance(connection, Tunnel):
                connection.close()
        await self._wait(self._is_done, deadline)
        for task in tuple(self._tasks):
            task.cancel()
        await self.app.stop(max(deadline - loop.time(), 0.1))

    def _is_done(self) -> bool:
        handlers = any(home.hub.runners for home in self.app.homes)
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

    async def _stop_accepting(self) -> None:
        if self._listener is None:
            return
        loop = asyncio.get_running_loop()
        for listening in self._listener.sockets:
            loop.remove_reader(listening.fileno())
        # asyncio takes two turns to make a transport of what it has accepted, and
        # fails, with a traceback, if its server is closed in between.
        for _ in range(3):
            await asyncio.sleep(0)
        self._listener.close()

    async def _wait(self, done: Callable[[], bool], until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    # -- what connections ask --------------------------------------------------------

    def arrive(self, door: TlsDoor) -> bool:
        """Somebody has come, and will speak TLS; False: there is no room."""
        most = self.gate.max_connections
        if self.closing or 0 < most <= len(self.connections) + len(self._at_the_door):
            return False
        self._at_the_door.add(door)
        return True

    def leave(self, door: TlsDoor) -> None:
        """Its handshake is over."""
        self._at_the_door.discard(door)

    def gone(self, connection: HttpConnection | WebSocket | Tunnel) -> None:
        """A connection has ended, or become another one."""
        self.connections.discard(connection)
        self._changed.set()

    def endpoint(self, path: SocketPath) -> Entrance:
        """The sessions of a socket path's url, which other paths may share."""
        key = type(path), path.url
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            endpoint = self._endpoints[key] = self._new_endpoint(path)
            if self.closing:
                endpoint.close()
        return endpoint

    def _new_endpoint(self, path: SocketPath) -> Entrance:
        if isinstance(path, RawPath):
            return RawEndpoint(path, self._changed.set)
        if isinstance(path, EnginePath):
            return EngineEndpoint(path, self._changed.set)
        assert isinstance(path, NamespacesPath)
        return NamespacesEndpoint(path, self._changed.set)

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done, and wait for it at the end."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    def date(self, now: float) -> tuple[str, str]:
        """The Date field (RFC 9110 6.6.1) at a time of the loop, made once a second."""
        if now >= self._date_until:
            self._date = ("date", formatdate(usegmt=True))
            self._date_until = now + 1.0 - time.time() % 1.0
        return self._date
