"""A TCP relay that harms what goes through it, each connection as its fate says.

    async with Relay(server.port) as relay:
        visitor = Visitor(Through(relay, lambda: Fate("reset", after=1000)))

Harmless fates cut the stream into pieces, join pieces, or hold them back for a moment:
whoever reads must not notice. The others do what networks do: connections are reset, end
in one direction only, or are never heard of again. Who came is known by the address that
it came from, so a fate is that of one connection of one client.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

P = TypeVar("P", bound=asyncio.Protocol)

HARMLESS: Final = ("plain", "pieces", "merged", "pause")
HARMFUL: Final = ("reset", "half", "silent", "deaf")

_READ_BYTES: Final = 65536
_MERGE_S: Final = 0.02
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: a close that is a reset
_SMALL_BYTES: Final = 4096  # what a deaf client's system takes for it
_DEAF_S: Final = 90.0  # by then the server has lost its patience


@dataclass
class Fate:
    """What becomes of a connection, when so many bytes have gone toward one of its ends."""

    how: str = "plain"
    after: int = 0
    toward: str = "server"  # or "client"
    pause_s: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    happened: bool = False  # that it was harmed
    when_harmed: Callable[[], object] = lambda: None


class Relay:
    """Listens on a port of its own, and hands on to the server's."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.fates: dict[tuple[str, int], Fate] = {}  # by where a client will come from
        self._server_port = port
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", backlog=1000)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fate = self.fates.pop(writer.get_extra_info("peername"), Fate())
        task = asyncio.get_running_loop().create_task(self._link(fate, reader, writer))
        self._links.add(task)
        task.add_done_callback(self._links.discard)

    async def _link(
        self, fate: Fate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        out = socket.socket()
        out.setblocking(False)
        if fate.how == "deaf":
            out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(out, ("127.0.0.1", self._server_port))
        except BaseException as error:
            out.close()
            _reset(writer)
            if isinstance(error, OSError):
                return
            raise
        server = await asyncio.open_connection(sock=out, limit=_SMALL_BYTES)
        await Link(fate, (reader, writer), server).run()


class Link:
    """One connection on its way, of which each direction is a task."""

    def __init__(
        self,
        fate: Fate,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._fate = fate
        self._writers = {"client": client[1], "server": server[1]}
        self._readers = {"client": client[0], "server": server[0]}
        self._is_silent = False
        for writer in self._writers.values():
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def run(self) -> None:
        pumps = [
            asyncio.ensure_future(self._pump("client", "server")),
            asyncio.ensure_future(self._pump("server", "client")),
        ]
        try:
            await asyncio.gather(*pumps)
        except OSError:  # reset by one end, or by fate, which is the same for the other
            for writer in self._writers.values():
                _reset(writer)
        finally:
            for pump in pumps:
                pump.cancel()
            for writer in self._writers.values():
                writer.close()

    async def _pump(self, source: str, sink: str) -> None:
        reader, writer, fate = self._readers[source], self._writers[sink], self._fate
        left = fate.after if fate.toward == sink and fate.how not in ("plain", "pieces") else -1
        while data := await reader.read(_READ_BYTES):
            if self._is_silent:
                continue
            if 0 <= left <= len(data):
                await self._write(writer, data[:left])
                data, left = data[left:], -1
                await self._meet(source, sink)
                if fate.how == "half":
                    return
            elif left > 0:
                left -= len(data)
            if fate.how == "merged":
                data += await self._soon(reader)
            await self._write(writer, data)
        if self._is_silent and source == "client":
            return  # nobody tells the server
        if not writer.is_closing():
            writer.write_eof()

    async def _soon(self, reader: asyncio.StreamReader) -> bytes:
        """What comes within a moment."""
        await asyncio.sleep(_MERGE_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_MERGE_S):
                return await reader.read(_READ_BYTES)
        return b""

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._is_silent or writer.is_closing():
            return
        if self._fate.how == "pieces":
            chance = self._fate.chance
            while len(data) > 1 and chance.random() < 0.9:
                at = chance.randrange(1, min(len(data), 1 << chance.randrange(1, 16)) + 1)
                writer.write(data[:at])
                data = data[at:]
                await asyncio.sleep(0)
        writer.write(data)
        await writer.drain()

    async def _meet(self, source: str, sink: str) -> None:
        """Let the fate have its way."""
        fate = self._fate
        if fate.how in HARMFUL:
            fate.happened = True
            fate.when_harmed()
        if fate.how == "pause":
            await asyncio.sleep(fate.pause_s)
        elif fate.how == "reset":
            raise ConnectionResetError
        elif fate.how == "half":
            self._writers[sink].write_eof()
            while await self._readers[source].read(_READ_BYTES):
                pass
        elif fate.how == "silent":
            self._is_silent = True
        elif fate.how == "deaf":
            self._is_silent = True
            for reader in self._readers.values():
                reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(_DEAF_S)
            raise ConnectionResetError


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


_hosts: Final = itertools.cycle(range(2, 250))


class Through:
    """A dial (`redbarrel_lite.dial`) of a client that is behind the relay."""

    def __init__(self, relay: Relay, draw: Callable[[], Fate]) -> None:
        self.authority = f"127.0.0.1:{relay.port}"
        self.fates: list[Fate] = []
        self.when_harmed: Callable[[], object] = lambda: None
        self._begun = 0  # before how many of them the session began
        self._relay = relay
        self._draw = draw

    @property
    def harmed(self) -> bool:
        """Whether a connection met its fate."""
        return any(fate.happened for fate in self.fates)

    def begin(self) -> None:
        """Begin a session: of those before, only the last counts, which may be late with a word."""
        self.fates, self._begun = self.fates[self._begun :], len(self.fates) - self._begun

    def _harm(self) -> None:
        self.when_harmed()

    async def open(self, protocol: P) -> P:
        """Open a connection for a protocol. Raises OSError."""
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        try:
            connection.setblocking(False)
            # Each host of the loopback has ports of its own: there are enough for everybody.
            connection.bind((f"127.0.0.{next(_hosts)}", 0))
            fate = self._draw()
            fate.when_harmed = self._harm
            self.fates.append(fate)
            self._relay.fates[connection.getsockname()] = fate
            await loop.sock_connect(connection, ("127.0.0.1", self._relay.port))
        except BaseException:
            connection.close()
            raise
        await loop.create_connection(lambda: protocol, sock=connection)
        return protocol
