"""Where the server listens, and how that ends without losing who is at the door.

What it implements: a listening socket for TCP or in the file system, and its end: who
was accepted by the system, and not yet by us, is taken in before it closes. What it
leaves out: what becomes of a connection.

In one line::

    listener = Listener(new_protocol); await listener.open(Address(port=8000))
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

# Connections that the system accepts for us while we are busy. When a thousand
# clients come back at once after a restart, asyncio's 100 are too few.
BACKLOG: Final = 1024


class Address(NamedTuple):
    """Where to listen: a host and a port, or the path of a Unix socket; with TLS or without.

    Or on sockets that somebody else has opened, and keeps open when we have gone; unless
    ``is_last``: then nobody serves on them after us. A Unix socket that is ``private`` is
    for its owner alone.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    uds: str | None = None
    tls: ssl.SSLContext | None = None
    sockets: Sequence[socket.socket] = ()
    private: bool = False
    is_last: bool = False

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"


class SocketFile(NamedTuple):
    """What a Unix socket that we have bound is in the file system."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: str) -> SocketFile:
        """The one that is there now. Raises OSError."""
        path = os.path.abspath(path)  # noqa: PTH100  # an application may go elsewhere
        there = os.lstat(path)
        return cls(path, there.st_dev, there.st_ino)

    def remove(self) -> None:
        """Leave nothing behind; but what another server has put in its place is its own."""
        with contextlib.suppress(OSError):
            if self == self.of(self.path):
                Path(self.path).unlink()


class Listener:
    """One listening address, or several sockets that were handed to us."""

    def __init__(self, new: Callable[[], asyncio.Protocol]) -> None:
        """``new`` makes the protocol of a connection."""
        self._new = new
        self._servers: list[asyncio.Server] = []
        self._file: SocketFile | None = None
        self._are_ours = True  # the sockets: nobody else accepts what is in their queues

    async def open(self, address: Address) -> str:
        """Begin to accept; return the URL, or all. Raises OSError if the address can't be had."""
        loop = asyncio.get_running_loop()
        if address.sockets:
            self._are_ours = address.is_last
            for one in address.sockets:
                server = await loop.create_server(self._new, sock=one, backlog=BACKLOG)
                self._servers.append(server)
        elif address.uds is not None:
            make_room(address.uds)
            one = _bound_at(address.uds, private=address.private)
            self._file = SocketFile.of(address.uds)
            self._servers.append(
                await loop.create_unix_server(self._new, sock=one, backlog=BACKLOG)
            )
        else:
            self._servers.append(
                await loop.create_server(self._new, address.host, address.port, backlog=BACKLOG)
            )
        return urls(address.scheme, [one.sockets[0] for one in self._servers])

    async def close(self) -> None:
        """Accept nobody any more, but for those whom the system has accepted already.

        To them it is a connection: closed with them in its queue, the socket would
        answer with a reset, and what they have sent would be lost. In the queue of a
        socket that is not ours they wait for whoever serves on it next.
        """
        if self._file is not None:  # while we hold it: nobody has had a reason to replace it
            self._file.remove()
        loop = asyncio.get_running_loop()
        sockets = [one for server in self._servers for one in server.sockets]
        with contextlib.suppress(NotImplementedError):  # Windows
            for one in sockets:
                loop.remove_reader(one.fileno())
        # asyncio takes two turns to make a transport of what it has accepted, and
        # fails, with a traceback, if its server is closed in between.
        for _ in range(3):
            await asyncio.sleep(0)
        waiting = [one for own in sockets if self._are_ours for one in _queue(own.fileno())]
        for server in self._servers:
            server.close()  # at once: whoever comes between the two is reset
        for accepted in waiting:
            await loop.connect_accepted_socket(self._new, accepted)


def _bound_at(path: str, *, private: bool) -> socket.socket:
    """A Unix socket at a path. Raises OSError."""
    one = socket.socket(socket.AF_UNIX)
    # Its mode from the beginning: between a bind and a chmod somebody else could connect.
    before = os.umask(0o177) if private else None
    try:
        one.bind(path)
    except OSError:
        one.close()
        raise
    finally:
        if before is not None:
            os.umask(before)
    return one


def bind(address: Address) -> list[socket.socket]:
    """The sockets of an address, listening, for those who will accept on them.

    Raises OSError if it can't be had.
    """
    if address.uds is not None:
        make_room(address.uds)
        return [_listening(_bound_at(address.uds, private=address.private))]
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    for family, _, _, _, where in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, where))
        except OSError:
            for one in sockets:
                one.close()
            raise
    return sockets


def _bound(family: int, where: Any) -> socket.socket:
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        one.bind(where)
        return _listening(one)
    except OSError:
        one.close()
        raise


def _listening(one: socket.socket) -> socket.socket:
    one.listen(BACKLOG)
    one.settimeout(0)
    return one


def urls(scheme: str, sockets: Sequence[socket.socket]) -> str:
    """The URL of a listening socket, or of all."""
    return ", ".join(_url(scheme, one) for one in sockets)


def _url(scheme: str, listening: socket.socket) -> str:
    name = listening.getsockname()
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    path = os.fsdecode(name)
    return f"unix:{path}" if path[:1] != "\0" else f"unix:@{path[1:]}"


def _queue(descriptor: int) -> list[socket.socket]:
    """Those whom the system has accepted, and nobody has taken."""
    waiting: list[socket.socket] = []
    listening = socket.socket(fileno=descriptor)  # no copy: there may be no descriptor for one
    listening.settimeout(0)
    try:
        while len(waiting) <= BACKLOG:
            with contextlib.suppress(ConnectionAbortedError):  # gone again
                waiting.append(listening.accept()[0])
    except OSError:  # there are no more; or we can't have more
        pass
    finally:
        listening.detach()
    for one in waiting:
        one.settimeout(0)
    return waiting


def make_room(path: str) -> None:
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
