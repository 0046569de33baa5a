"""Large content on real connections: to slow, stuck, vanished and honest clients."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import socket
import ssl
from pathlib import Path
from typing import BinaryIO

import pytest
from conftest import ROOT
from wire import PATIENCE_S, Live, Wire, _opened, live, run

from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.response import FileContent
from redbarrel_lite.sendfile import UNSENT_BYTES, send_file

HUGE = 100_000_000
RBR = """
    path huge ( url /huge, use file:huge.bin );
    path memory ( url /memory, use python:MODULE.memory );
"""
SOURCE = """
    import io
    from redbarrel_lite import Response
    from redbarrel_lite.response import FileContent
    def memory(request):
        return Response(stream=FileContent(io.BytesIO(bytes(range(250)) * 4000), 1, 900_000))
"""
GET = "GET /huge HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(HUGE)  # sparse: it takes no room on the disk
    return path


def open_files(path: Path) -> int:
    """How many descriptors this process has for a file."""
    found = 0
    for link in Path("/dev/fd").iterdir():
        try:
            found += link.samefile(path)
        except FileNotFoundError:  # the descriptor of this very listing
            continue
    return found


async def small_window(server: Live) -> Wire:
    """A client for which little is on the way: its system takes 64 KiB, and no more unread."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.setblocking(False)
    host, port = server.host.split(":")
    await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
    wire = Wire(*await asyncio.open_connection(sock=client, limit=4096))
    _opened.add(wire)
    wire.writer.transport.set_write_buffer_limits(0)
    return wire


def test_client_that_stops_reading_is_dropped_and_costs_little(huge: Path) -> None:
    async def test() -> None:
        async with live(huge.parent, RBR, SOURCE, TimeLimits(write=0.3)) as server:
            wire = await small_window(server)
            await wire.send(GET)
            await wire.reader.readuntil(b"\r\n\r\n")
            (connection,) = server.server.connections
            assert isinstance(connection, HttpConnection)
            transport = connection._transport
            assert transport is not None
            await server.empties()
            assert transport.get_write_buffer_size() == 0
            assert open_files(huge) == 0
            got = len(await wire.rest())
            # What it had, what the system held for it, and nothing more.
            assert got < 4 * UNSENT_BYTES
            wire.close()
            await server.serves()

    run(test())


def test_client_that_reads_slowly_gets_it_all(huge: Path) -> None:
    os.truncate(huge, 1_500_000)

    async def test() -> None:
        async with live(huge.parent, RBR, SOURCE, TimeLimits(write=0.5)) as server:
            loop = asyncio.get_running_loop()
            began = loop.time()
            wire = await small_window(server)
            await wire.send(GET)
            await wire.reader.readuntil(b"\r\n\r\n")
            left = 1_500_000
            while left:
                part = await wire.reader.read(50_000)
                assert part
                left -= len(part)
                await asyncio.sleep(0.005 if len(part) < 10_000 else 0.05)  # slow: that is the test
            assert loop.time() - began > 1.0
            await wire.send(GET)  # and the connection is good for another
            assert b" 200 OK" in await wire.reader.readuntil(b"\r\n\r\n")
            wire.close()
            await server.empties()
            assert open_files(huge) == 0

    run(test())


def test_others_are_answered_while_a_greedy_client_reads(huge: Path) -> None:
    async def test() -> None:
        async with live(huge.parent, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(GET)
            reading = asyncio.create_task(wire.answer())
            answered = 0
            while not reading.done():
                await server.serves()
                answered += 1
            assert len((await reading)[2]) == HUGE
            assert answered > 3

    run(test())


def test_file_that_shrinks_ends_the_connection(
    huge: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(huge.parent, RBR, SOURCE) as server:
            wire = await small_window(server)
            await wire.send(GET)
            await wire.reader.readuntil(b"\r\n\r\n")
            os.truncate(huge, 1000)
            assert len(await wire.rest()) < HUGE
            wire.close()
            await server.empties()
            assert open_files(huge) == 0

    run(test())
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "the file has become shorter while it was sent" in record.getMessage()
    assert "redbarrel_lite" not in record.getMessage()


def test_content_in_memory_goes_in_blocks(tmp_path: Path) -> None:
    (tmp_path / "huge.bin").touch()

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            for _ in range(2):
                status, headers, body = await wire.ask("GET", "/memory")
                assert (status, headers["content-length"]) == (200, "900000")
                assert body == (bytes(range(250)) * 4000)[1:900_001]
            assert (await wire.ask("HEAD", "/memory"))[1]["content-length"] == "900000"
            assert (await wire.ask("GET", "/memory"))[0] == 200

    run(test())


class Sender(asyncio.Protocol):
    """A server that sends one file to each client, to look at `send_file` alone."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self.content = FileContent(file, 0, count)
        self.result: asyncio.Task[None] | None = None
        self.before = b""  # written through the transport before the file
        self.space = asyncio.Event()
        self.space.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.before)
        self.result = asyncio.ensure_future(
            send_file(transport, self.content, self.drained, PATIENCE_S)
        )

    async def drained(self) -> None:
        await self.space.wait()

    def pause_writing(self) -> None:
        self.space.clear()

    def resume_writing(self) -> None:
        self.space.set()


def test_tls_gets_it_in_blocks(huge: Path) -> None:
    pattern = bytes(range(251)) * 4000
    huge.write_bytes(pattern)
    certificate = ROOT / "tests/tls/cert.pem"
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, ROOT / "tests/tls/key.pem")

    async def test() -> None:
        with huge.open("rb") as file:
            sender = Sender(file, len(pattern))
            server = await asyncio.get_running_loop().create_server(
                lambda: sender, "127.0.0.1", 0, ssl=serving
            )
            port = server.sockets[0].getsockname()[1]
            trusting = ssl.create_default_context(cafile=str(certificate))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
            )
            assert await reader.readexactly(len(pattern)) == pattern
            assert sender.result is not None
            await sender.result
            writer.close()
            sender.transport.abort()
            server.close()
            await asyncio.sleep(0)

    run(test())


def test_what_the_transport_has_still_to_write_goes_first(huge: Path, tmp_path: Path) -> None:
    """Over a Unix socket, where there is no TCP option to set, too."""
    head = b"h" * 5_000_000

    async def test() -> None:
        with huge.open("rb") as file:
            sender = Sender(file, 1000)
            sender.before = head
            path = str(tmp_path / "socket")
            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(lambda: sender, path)
            reader, writer = await asyncio.open_unix_connection(path)
            assert await reader.readexactly(len(head) + 1000) == head + bytes(1000)
            assert sender.result is not None
            await sender.result
            writer.close()
            sender.transport.abort()
            server.close()
            await asyncio.sleep(0)

    run(test())


def test_connection_that_closes_meanwhile_is_an_error(huge: Path) -> None:
    async def test() -> None:
        with huge.open("rb") as file:
            sender = Sender(file, HUGE)
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: sender, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.readexactly(1000)
            sender.transport.abort()
            await reader.read(2**24)  # makes room, so that it would go on
            assert sender.result is not None
            with pytest.raises(ConnectionResetError):
                await sender.result
            writer.close()
            server.close()
            await asyncio.sleep(0)

    run(test())


def test_memory_file_that_is_shorter_than_said_is_an_error() -> None:
    async def test() -> None:
        sender = Sender(io.BytesIO(b"short"), 100)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: sender, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(5) == b"short"
        assert sender.result is not None
        with pytest.raises(OSError, match="shorter"):
            await sender.result
        writer.close()
        sender.transport.abort()
        server.close()
        await asyncio.sleep(0)

    run(test())
