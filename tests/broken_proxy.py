"""A reverse proxy that can be told to do wrong, in each way that real ones are told by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import ssl
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Front:
    """What it does to one request after the other, each on a connection of its own."""

    backends: Sequence[str] = ()  # host:port, in turn
    host: str = "127.0.0.1"  # where it listens
    version: str = "HTTP/1.1"  # that it speaks to the server
    drops: frozenset[str] = frozenset()  # header fields, by their names in lower case
    drops_back: frozenset[str] = frozenset()  # those of answers
    names: str = ""  # what it makes of Host
    strips: str = ""  # from the beginning of urls
    only: str = ""  # the beginning of urls that it knows a server for
    takes_posts: bool = True
    takes_upgrades: bool = True  # or hangs up
    keeps_bodies: bool = True  # of requests
    keeps_query: bool = True
    canned: bytes = b""  # the answer to everything, instead of any server's
    caches: bool = False  # the first answer to each url, for all
    zips: bool = False  # answers, whether or not anybody has asked for that
    most: int = 0  # bytes of a body
    is_rude: bool = False  # and hangs up where more come
    most_behind: int = 0  # bytes of a client, after which the connection is cut
    cuts_after: float = 0  # seconds
    mute: str = ""  # no word to urls that begin like this
    keeps: bool = False  # what the server says behind its 101
    tls: ssl.SSLContext | None = None
    url: str = ""

    def __post_init__(self) -> None:
        self._next = itertools.cycle(self.backends)
        self._cached: dict[str, bytes] = {}
        self.writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.add(writer)
        try:
            if self.cuts_after:
                asyncio.get_running_loop().call_later(self.cuts_after, writer.transport.abort)
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.writers.discard(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":
            return  # a handshake of TLS, which it does not speak
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
        length = int(fields.get("content-length", 0))
        if self.most and length > self.most:
            writer.write(b"" if self.is_rude else answer(413, "server: front\r\n"))
            return
        if "upgrade" in fields and not self.takes_upgrades:
            return
        body = await reader.readexactly(length)
        if head.startswith("POST") and not self.takes_posts:
            writer.write(answer(403, "server: front\r\n"))
            return
        if self.mute and head.split(" ")[1].startswith(self.mute):
            await reader.read()  # until they go
            return
        if not head.split(" ")[1].startswith(self.only):
            writer.write(answer(503, "server: front\r\n"))
            return
        line = head.partition("\r\n")[0]
        if self.canned or line in self._cached:
            writer.write(self.canned or self._cached[line])
            return
        host, _, port = next(self._next).partition(":")
        try:
            back, forth = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.write(answer(502, "server: front\r\n"))
            return
        self.writers.add(forth)
        changed = self._changed(head).encode("latin-1")
        forth.write(changed + (body if self.keeps_bodies else b""))
        try:
            await self._relay(line, reader, writer, back, forth)
        finally:
            forth.close()
            self.writers.discard(forth)

    def _changed(self, head: str) -> str:
        first, *lines = head.split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        target = target.removeprefix(self.strips)
        if not self.keeps_query:
            target = target.partition("?")[0]
        kept = _without(self.drops, lines)
        if not self.keeps_bodies:
            kept = [*_without({"content-length"}, kept), "content-length: 0"]
        if self.names:
            kept = [one for one in kept if not one.startswith("host:")] + [f"host: {self.names}"]
        return "\r\n".join([f"{method} {target} {self.version}", *kept, "", ""])

    async def _relay(
        self,
        line: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        forth: asyncio.StreamWriter,
    ) -> None:
        head = await back.readuntil(b"\r\n\r\n")
        lines = head[:-4].decode("latin-1").split("\r\n")
        if self.zips and " 101 " not in lines[0]:
            body = gzip.compress(await back.read())
            lines = [*_without({"content-length"}, lines), f"content-length: {len(body)}"]
            writer.write("\r\n".join([*lines, "content-encoding: gzip", "", ""]).encode() + body)
            return
        head = "\r\n".join([*_without(self.drops_back, lines), "", ""]).encode("latin-1")
        writer.write(head)
        if self.caches and b" 101 " not in head:
            body = await back.read()
            writer.write(body)
            if line.startswith("GET"):
                self._cached[line] = head + body
            return
        ways = [pump(reader, forth, self.most_behind)]
        if not self.keeps or b" 101 " not in head:
            ways.append(pump(back, writer))
        tasks = [asyncio.ensure_future(one) for one in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _without(names: Collection[str], lines: Sequence[str]) -> list[str]:
    return [one for one in lines if one.partition(":")[0].lower() not in names]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int = 0) -> None:
    """From one to the other, until the end, or until it is too much."""
    count = 0
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            count += len(part)
            if most and count > most:
                return
            writer.write(part)
            await writer.drain()


def answer(status: int, fields: str = "", body: str = "") -> bytes:
    """An answer that no server has given."""
    length = f"content-length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} Status\r\n{fields}{length}\r\n{body}".encode()


@contextlib.asynccontextmanager
async def front(*backends: str, **ways: Any) -> AsyncIterator[Front]:
    """One that runs."""
    it = Front(backends, **ways)
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        task.add_done_callback(connections.discard)
        await it.serve(reader, writer)

    server = await asyncio.start_server(serve, it.host, 0, limit=2**20, ssl=it.tls)
    scheme = "http" if it.tls is None else "https"
    it.url = f"{scheme}://{it.host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        while connections:
            for writer in tuple(it.writers):
                writer.transport.abort()
            await asyncio.wait(connections)
