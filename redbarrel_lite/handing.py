"""A connection of one of several workers: a request for a session of another goes to its owner.

What it implements: to see whose a request is before it is read, to hand its connection over
with all bytes that are there (SCM_RIGHTS), to relay one that can't be handed over, and to
take in what others hand over. What it leaves out: the way from worker to worker, which
`mesh` knows, and what the owner does with the request: what he does with any.

In one line::

    loop.create_server(lambda: WorkerConnection(server, mesh)); await take_in(sock, letter, new)

The number of a worker stands before the dot of the session ids that it gives::

    GET /socket.io/?EIO=4&transport=polling&sid=2.Ddrqjd81id7ID4-RAjfVBw HTTP/1.1

A connection goes on at its new owner, who may hand it over again: a browser or a proxy may
use one for sessions of several workers. TLS is kept in the process that has shaken hands, so
of such a connection the other end of a socket pair is handed over, and what is decrypted
goes through that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import socket
from collections.abc import Callable
from typing import Any, ClassVar, Final

from . import http1
from .answering import State
from .connection import HttpConnection
from .host import Host
from .http1_reader import Limits
from .intake import READ_BYTES
from .lingering import Lingering
from .mesh import Mesh
from .upstream import Tunnel

log = logging.getLogger("redbarrel_lite")

# Of a target that is whole: one that grew could go from worker to worker, each of which would
# wait for it anew. Possessive up to the query, and linear behind it. The rest of the line is
# the owner's to check.
_OWNER: Final = re.compile(
    rb"(?:\r\n)*+(?=[A-Z]++ \S++ )[A-Z]++ [^\s?]*+\?(?:\S*&)?sid=([0-9]{1,3})\."
)


class Heads(http1.Connection):
    """Reads requests, and stops before one that is for another worker.

    What stands in the buffer then are the bytes of that request, from its first one.
    """

    __slots__ = ("_mesh", "owner")

    def __init__(self, limits: Limits, mesh: Mesh) -> None:
        super().__init__(limits)
        self.owner: int | None = None  # of the next request; None: we are
        self._mesh = mesh

    def _head_of_ours(self, events: list[Any]) -> bool:
        # Once a line has been found to be well, it was whole, and was looked at before.
        found = _OWNER.match(self._buffer) if not self._line_start else None
        if found is not None:
            number = int(found[1])
            if number in self._mesh.others:
                self.owner = number
                return False
        return self._head(events)

    _steps: ClassVar[dict[http1.State, Callable[[Any, list[Any]], bool]]] = {
        **http1.Connection._steps,
        http1.State.HEAD: _head_of_ours,
    }


class WorkerConnection(HttpConnection):
    """One TCP connection that speaks HTTP, and goes where its next request belongs."""

    __slots__ = ("_heads", "_mesh", "_told")

    def __init__(self, server: Host, mesh: Mesh, told: str | None = None) -> None:
        """``told`` is the client's address: of one that has gone the system knows none.

        None: nobody has handed it over.
        """
        super().__init__(server)
        self._http = self._heads = Heads(server.gate.heads, mesh)
        self._mesh = mesh
        self._told = told

    @property
    def was_handed(self) -> bool:
        """Whether it came to another worker first."""
        return self._told is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._told:
            self._client = self._peer = self._told
            self._trusted = self._told in self._server.gate.trusted

    def _pump(self, events: list[http1.Event]) -> None:
        super()._pump(events)
        if self._heads.owner is not None:
            self._leave(self._heads.owner)

    def _go_on(self) -> None:
        super()._go_on()
        if self._heads.owner is not None:
            self._leave(self._heads.owner)

    def _leave(self, owner: int) -> None:
        """Go to the owner of the next request, once the client has all that was asked before.

        Until then the connection stays here: a client that reads nothing would have the
        system, and us, keep something for it in one process after the other.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._server.batch.flush()
        transport.pause_reading()
        is_secure = transport.get_extra_info("sslcontext") is not None
        if not is_secure:
            transport.set_write_buffer_limits(0)
        if self._congestion.until is not None:
            self._state = State.CLOSING
            self._deadline.set(self._server.limits.write)
            return
        rest = self._http.upgrade()
        self._let_go()
        if is_secure or transport.get_write_buffer_size():  # which somebody who watches holds
            self._relay(transport, owner, rest)
            return
        self._server.gone(self)
        self._hand(owner, transport.get_extra_info("socket").fileno(), rest)
        transport.abort()  # it closes our descriptor: the connection has another one

    def _relay(self, transport: asyncio.Transport, owner: int, rest: bytes) -> None:
        near, far = Relay(self._server), Far()
        near.transport, near.other, far.other = transport, far, near
        self._server.become(self, near)
        transport.set_protocol(near)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:  # there are no descriptors left
            log.warning("a connection can't be relayed: %s", error.strerror)
            transport.abort()
            return
        self._hand(owner, theirs.fileno(), rest)
        theirs.close()
        self._server.track(_connect(ours, lambda: far))

    def _hand(self, owner: int, descriptor: int, rest: bytes) -> None:
        try:
            self._mesh.hand(owner, descriptor, _letter(self._peer, rest))
        except OSError as error:  # there is none to keep it by until the owner reads
            log.warning("a connection can't be handed over: %s", error.strerror)


class Relay(Tunnel):
    """The client's end of a connection that another worker serves through us."""

    def __init__(self, server: Host) -> None:
        super().__init__()
        self._server = server

    def end_with(self, last: bytes) -> None:
        """The owner has gone, and left unread what the client is still sending."""
        transport = self.transport
        self.other = None
        if transport is not None:
            transport.write(last)
            lingering = Lingering(self._server.limits)
            self._server.become(self, lingering)
            transport.set_protocol(lingering)
            lingering.connection_made(transport)


class Far(Tunnel):
    """The other end, at which the owner is."""

    def connection_lost(self, error: Exception | None) -> None:
        near = self.other
        if error is not None and isinstance(near, Relay):
            self.other = None
            near.end_with(self._last_words())
        super().connection_lost(error)

    def _last_words(self) -> bytes:
        """What is there to be read: asyncio reads no more where it could not write."""
        assert self.transport is not None
        descriptor = self.transport.get_extra_info("socket").fileno()
        said = bytearray()
        with contextlib.suppress(OSError):
            while part := os.read(descriptor, READ_BYTES):
                said += part
        return bytes(said)


def _letter(told: str, early: bytes) -> bytes:
    return told.encode() + b"\n" + early


async def _connect(sock: socket.socket, new: Callable[[], asyncio.Protocol]) -> None:
    sock.settimeout(0)
    await asyncio.get_running_loop().connect_accepted_socket(new, sock)


async def take_in(
    sock: socket.socket, letter: bytes, new: Callable[[str], asyncio.Protocol]
) -> None:
    """Serve a connection that another worker has handed over.

    ``new`` makes its protocol, of the client's address if that was told.
    """
    told, _, early = letter.partition(b"\n")
    await _connect(sock, lambda: _Arrival(lambda: new(told.decode()), early))


class _Arrival(asyncio.Protocol):
    """Gives a connection what was read of it, before anything else can be."""

    def __init__(self, new: Callable[[], asyncio.Protocol], early: bytes) -> None:
        self._new = new
        self._early = early

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        protocol = self._new()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(self._early)
