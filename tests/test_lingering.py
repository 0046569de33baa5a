"""Refused clients, which are heard for a while: so that they read why."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from wire import PATIENCE_S, Live, Wire, live, run, serving_tls, until

from redbarrel_lite.lingering import LINGER_BYTES, Lingering
from redbarrel_lite.patience import TimeLimits

RBR = "path file ( url /, use file:app.rbr );"
REFUSED = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
NEVER = TimeLimits(linger=1000.0, write=1000.0)


async def lingers(server: Live) -> Lingering:
    """The connection of a client that has been refused."""
    await until(lambda: any(isinstance(one, Lingering) for one in server.server.connections))
    (connection,) = server.server.connections
    assert isinstance(connection, Lingering)
    return connection


def test_client_reads_why_and_that_nothing_more_comes(tmp_path: Path) -> None:
    """What it goes on to send is not read as a request, and resets nothing."""

    async def test() -> None:
        async with live(tmp_path, RBR, limits=NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(REFUSED)
            await lingers(server)
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.rest()).count(b"HTTP/1.1") == 1
            assert len(server.server.connections) == 1
            wire.close()
            await server.empties()

    run(test())


def test_client_that_sends_too_much_does_not_listen(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, limits=NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(REFUSED)
            await lingers(server)
            await wire.send(bytes(LINGER_BYTES))
            assert (await wire.answer())[0] == 404
            assert len(server.server.connections) == 1
            await wire.send(b"one more")
            await server.empties()

    run(test())


def test_client_that_stays_is_closed_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, limits=TimeLimits(linger=0.05)) as server:
            wire = await Wire.open(server.url)
            await wire.send(REFUSED)
            await lingers(server)
            await server.empties()
            assert (await wire.answer())[0] == 404

    run(test())


def test_client_that_does_not_read_is_dropped_in_time() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[Lingering] = loop.create_future()
        near, far = socket.socketpair()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
        transport.write(bytes(10_000_000))
        lingering = Lingering(TimeLimits(linger=0.02, write=0.02))
        lingering.when_lost = lost.set_result
        transport.set_protocol(lingering)
        lingering.connection_made(transport)
        async with asyncio.timeout(PATIENCE_S):
            assert await lost is lingering
        far.close()

    run(test())


def test_client_over_tls_is_heard_as_well(tmp_path: Path) -> None:
    """There nothing says that no more comes, but the end."""

    async def test() -> None:
        limits = TimeLimits(linger=0.05)
        async with live(tmp_path, RBR, limits=limits, tls=serving_tls()) as server:
            wire = await Wire.open(server.url)
            await wire.send(REFUSED)
            await lingers(server)
            assert (await wire.answer())[0] == 404
            assert await wire.rest() == b""
            await server.empties()

    run(test())


def test_client_that_has_gone_needs_no_farewell(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, limits=NEVER) as server:
            host, port = server.host.split(":")
            with socket.create_connection((host, int(port))) as client:
                await until(lambda: bool(server.server.connections))
                client.sendall(REFUSED.encode())
            # Closed before we have read: what we write is answered with a reset at once.
            await server.empties()

    run(test())
    assert not caplog.records


def test_end_of_the_server_is_the_end_of_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, limits=NEVER) as server:
            wire = await Wire.open(server.url)
            await wire.send(REFUSED)
            await lingers(server)
            await server.server.close(0.05)
            await server.empties()

    run(test())
