"""Clients made of bytes, for tests that must send what no real client would.

async with live(tmp_path, rbr, app=source) as server:
    wire = await Wire.open(server.url)
    await wire.send("GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
    status, headers, body = await wire.answer()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import ssl
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import urlsplit

from redbarrel_lite import wsproto, wsproto_handshake
from redbarrel_lite.app import App, Page, ProxyFactory
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.gate import Gate
from redbarrel_lite.listener import Address
from redbarrel_lite.mesh import Seat
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.server import Server
from redbarrel_lite.tap import Tap
from redbarrel_lite.upstream import Upstream

PATIENCE_S = 20.0  # only a fault waits this long
# And what a test doesn't ask for never ends by the time it has taken.
_LONGER: Final = TimeLimits(*(2 * PATIENCE_S,) * 4)
CERTIFICATE, KEY = (Path(__file__).parent / "tls" / name for name in ("cert.pem", "key.pem"))


def serving_tls() -> ssl.SSLContext:
    """What a server for ``https:`` urls needs; clients of this room trust it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop of its own, with asyncio's debug mode on; hang up at its end."""

    async def and_hang_up() -> None:
        # On a loaded machine everything is slow, and the log is for what the test is about.
        asyncio.get_running_loop().slow_callback_duration = PATIENCE_S
        try:
            await test
        finally:
            hang_up()
            await asyncio.sleep(0)

    asyncio.run(and_hang_up(), debug=True)


_opened: set[Wire] = set()


def hang_up() -> None:
    """Close all connections of the test."""
    while _opened:
        _opened.pop().close()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds; fails if that takes too long."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # any turn of the loop may change it
            await asyncio.sleep(0)


_modules = itertools.count()


class Live:
    """A server in this process."""

    def __init__(self, server: Server, url: str, source: Path) -> None:
        self.server = server
        self.url = url
        self._source = source
        self.host = urlsplit(url).netloc

    @property
    def module(self) -> ModuleType:
        """The application's module, once it is imported."""
        there = [m for m in sys.modules.values() if getattr(m, "__file__", "") == str(self._source)]
        return there[-1]

    async def serves(self) -> None:
        """A new client is answered: whatever happened before has not harmed the server."""
        wire = await Wire.open(self.url)
        await wire.send("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.answer())[0] == 404
        wire.close()

    def busy(self) -> bool:
        """Whether a request is at work."""
        return any(isinstance(c, HttpConnection) and c.busy for c in self.server.connections)

    async def empties(self) -> None:
        """No connection and no session is left; fails if that takes too long."""
        endpoints = self.server._endpoints.values()
        async with asyncio.timeout(PATIENCE_S):
            while self.server.connections or any(map(len, endpoints)):
                self.server._changed.clear()
                await self.server._changed.wait()


@contextlib.asynccontextmanager
async def live(
    folder: Path,
    rbr: str,
    source: str = "",
    limits: TimeLimits | None = None,
    proxy: ProxyFactory = Upstream,
    tls: ssl.SSLContext | None = None,
    tap: Tap | None = None,
    pages: Sequence[Page] = (),
    emits_on: str = "",
    seat: Seat | None = None,
    gate: Gate | None = None,
    kind: type[Server] = Server,
) -> AsyncIterator[Live]:
    """Serve an .rbr file with one Python module, which it calls ``MODULE``."""
    module = f"module_of_test_{next(_modules)}"  # Python keeps modules by their name
    path = folder / f"{module}.py"
    path.write_text(textwrap.dedent(source))
    file = folder / "app.rbr"
    file.write_text(textwrap.dedent(rbr).replace("MODULE", module))
    server = kind(App.load(file, proxy, pages=pages), limits or _LONGER, gate=gate)
    server.tap = tap
    server.emits_on = emits_on
    server.mesh.seat = seat
    url = await server.start(Address(port=0, tls=tls))
    try:
        yield Live(server, url, path)
    finally:
        hang_up()
        await server.close(0.1)


class Wire:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Wire:
        parts = urlsplit(url)
        trusting = None
        if parts.scheme == "https":
            trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        wire = cls(
            *await asyncio.open_connection(parts.hostname, parts.port, limit=2**24, ssl=trusting)
        )
        _opened.add(wire)
        return wire

    async def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, content."""
        async with asyncio.timeout(PATIENCE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in lines[1:-2])
            headers = {name.lower(): value for name, value in pairs}
            length = 0 if head else int(headers.get("content-length", 0))
            body = await self.reader.readexactly(length)
        return int(lines[0].split()[1]), headers, body

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        parts = []
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    parts.append(part)
        return b"".join(parts)

    async def ask(
        self, method: str, target: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        fields = {"Host": "a", "Content-Length": str(len(body))} | headers
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return await self.answer(head=method == "HEAD")

    def close(self) -> None:
        self.writer.close()
        _opened.discard(self)

    def reset(self) -> None:
        """Go without a word."""
        self.writer.transport.abort()
        _opened.discard(self)


async def ask(
    url: str, method: str, target: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request on a connection of its own."""
    wire = await Wire.open(url)
    try:
        return await wire.ask(method, target, body, **headers)
    finally:
        wire.close()


class WebSocket(Wire):
    """A WebSocket client; ``answered`` are the header fields of the 101."""

    answered: dict[str, str]

    @classmethod
    async def connect(cls, url: str, target: str, **headers: str) -> WebSocket:
        wire = await cls.open(url)
        assert isinstance(wire, cls)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        fields = {"Host": urlsplit(url).netloc, "Upgrade": "websocket", "Connection": "Upgrade"}
        fields |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key} | headers
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields)]
        await wire.send("\r\n".join(lines) + "\r\n\r\n")
        status, answer, _ = await wire.answer()
        assert status == 101, status
        assert answer["sec-websocket-accept"] == wsproto_handshake.accept_key(key)
        wire.answered = answer
        return wire

    async def text(self, text: str) -> None:
        await self.frame(0x81, text.encode())

    async def frame(self, first: int, payload: bytes) -> None:
        key = secrets.token_bytes(4)
        size = len(payload)
        if size < 126:
            length = bytes((0x80 | size,))
        elif size < 65536:
            length = bytes((0x80 | 126,)) + size.to_bytes(2, "big")
        else:
            length = bytes((0x80 | 127,)) + size.to_bytes(8, "big")
        await self.send(bytes((first,)) + length + key + wsproto.unmask(payload, key))

    async def read_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the server's next frame; 0x40 is the mark of a compressed one."""
        async with asyncio.timeout(PATIENCE_S):
            first, length = await self.reader.readexactly(2)
            if length >= 126:
                extended = await self.reader.readexactly(2 if length == 126 else 8)
                length = int.from_bytes(extended, "big")
            return first & 0x4F, await self.reader.readexactly(length)

    async def read(self) -> str:
        """The server's next text message."""
        opcode, payload = await self.read_frame()
        assert opcode == wsproto.TEXT, (opcode, payload)
        return payload.decode()

    async def read_close(self) -> tuple[int, str]:
        """Code and reason of the close frame, which must be the next one that is no text."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == wsproto.CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()


SOCKET_IO = "/socket.io/?EIO=4"


class Poller:
    """A Socket.IO client over polling, each request on a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sid = ""
        self._packets: list[str] = []

    @property
    def target(self) -> str:
        return f"{SOCKET_IO}&transport=polling&sid={self.sid}"

    @classmethod
    async def connect(cls, url: str) -> Poller:
        """Handshake and CONNECT, with its answer read."""
        poller = cls(url)
        await poller.handshake()
        await poller.post("40")
        while (answer := await poller.read()) == "2":
            await poller.post("3")  # a slow machine, and a test with hasty pings
        assert answer.startswith('40{"sid":')
        return poller

    async def handshake(self) -> dict[str, Any]:
        status, _, body = await ask(self.url, "GET", f"{SOCKET_IO}&transport=polling")
        assert status == 200, body
        handshake: dict[str, Any] = json.loads(body[1:])
        self.sid = handshake["sid"]
        return handshake

    async def get(self) -> str:
        status, _, body = await ask(self.url, "GET", self.target)
        assert status == 200, body
        return body.decode()

    async def read(self) -> str:
        """The next packet, from as many polls as it takes."""
        while not self._packets:
            self._packets = (await self.get()).split("\x1e")
        return self._packets.pop(0)

    async def post(self, payload: str) -> None:
        status, _, body = await ask(self.url, "POST", self.target, payload.encode())
        assert (status, body) == (200, b"ok")


async def socketio(url: str) -> WebSocket:
    """A WebSocket that has connected to the namespace "/"."""
    websocket = await WebSocket.connect(url, f"{SOCKET_IO}&transport=websocket")
    assert (await websocket.read()).startswith('0{"sid":')
    await websocket.text("40")
    assert (await websocket.read()).startswith('40{"sid":')
    return websocket
