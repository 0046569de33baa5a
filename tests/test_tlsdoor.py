"""TLS: both transports, and what becomes of handshakes that fail, in one line of the log each."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import ssl
import struct
import warnings
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest
from wire import (
    CERTIFICATE,
    PATIENCE_S,
    SOCKET_IO,
    Live,
    Poller,
    WebSocket,
    Wire,
    live,
    run,
    serving_tls,
    socketio,
    until,
)

from redbarrel_lite.gate import Gate
from redbarrel_lite.patience import TimeLimits

RBR = """
    path socket ( method SOCKETIO, use python:MODULE.echo );
    path hello ( url /, use python:MODULE.hello );
"""
SOURCE = """
    async def echo(request):
        async for message in request.socketio:
            request.socketio.send(message[0])
    def hello(request):
        return request.scheme
"""
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Test: TypeAlias = Callable[[Live], Coroutine[Any, Any, None]]


@pytest.fixture
def over_tls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Runs a test against a server that speaks TLS; returns what the server has said."""

    def run_it(test: Test, limits: TimeLimits | None = None) -> list[str]:
        async def within() -> None:
            async with live(tmp_path, RBR, SOURCE, limits, tls=serving_tls()) as server:
                await test(server)

        with caplog.at_level(logging.INFO, "redbarrel_lite"):
            run(within())
        assert not any(record.exc_info for record in caplog.records if record.levelno > 10)
        return [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"]

    return run_it


async def plain(server: Live) -> Wire:
    """A connection on which nothing of TLS has been said yet."""
    return await Wire.open(server.url.replace("https", "http"))


class Hello:
    """The client's half of a handshake, byte by byte."""

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def step(self) -> bool:
        """Whether the handshake is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True


def test_request_is_served_and_knows_its_scheme(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        wire = await Wire.open(server.url)
        assert (await wire.ask("GET", "/"))[2] == b"https"
        assert (await wire.ask("GET", "/"))[2] == b"https"
        version = wire.writer.get_extra_info("ssl_object").version()
        assert version in ("TLSv1.2", "TLSv1.3")

    assert over_tls(test) == []


def test_both_transports_and_the_move_between_them_go_over_tls(
    over_tls: Callable[..., list[str]],
) -> None:
    async def test(server: Live) -> None:
        client = await socketio(server.url)
        await client.text('42["message","by WebSocket"]')
        assert await client.read() == '42["message","by WebSocket"]'
        poller = await Poller.connect(server.url)
        await poller.post('42["message","by polling"]')
        assert await poller.read() == '42["message","by polling"]'
        target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
        moved = await WebSocket.connect(server.url, target)
        await moved.text("2probe")
        assert await moved.read() == "3probe"
        await moved.text("5")
        await moved.text('42["message","' + "moved" * 20_000 + '"]')
        assert json.loads((await moved.read())[2:]) == ["message", "moved" * 20_000]

    assert over_tls(test) == []


def test_request_right_behind_the_handshake_is_not_lost(
    over_tls: Callable[..., list[str]],
) -> None:
    async def test(server: Live) -> None:
        wire, hello = await plain(server), Hello()
        while not hello.step():
            await wire.send(hello.outgoing.read())
            hello.incoming.write(await wire.reader.read(65536))
        hello.tls.write(GET)
        await wire.send(hello.outgoing.read())  # in one piece with the last of the handshake
        answer = b""
        async with asyncio.timeout(PATIENCE_S):
            while not answer.endswith(b"https"):
                hello.incoming.write(await wire.reader.read(65536))
                try:
                    answer += hello.tls.read(65536)
                except ssl.SSLWantReadError:
                    continue

    assert over_tls(test) == []


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (GET, "this is plain HTTP, and the port speaks TLS: its urls begin with https://"),
        (b"CONNECT a:443 HTTP/1.1\r\n\r\n", "this is plain HTTP for a proxy, and the port"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "this is no TLS, and the port speaks nothing else"),
        (bytes(range(256)), "this is no TLS, and the port speaks nothing else"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "TLS failed: "),
    ],
)
def test_what_is_no_tls_is_one_line(
    over_tls: Callable[..., list[str]], said: bytes, line: str
) -> None:
    async def test(server: Live) -> None:
        wire = await plain(server)
        await wire.send(said)
        await wire.rest()
        assert (await (await Wire.open(server.url)).ask("GET", "/"))[0] == 200

    [told] = over_tls(test)
    assert told.startswith(f"127.0.0.1: {line}")


def test_older_tls_is_refused_in_one_line(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        old = ssl.create_default_context(cafile=str(CERTIFICATE))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this is old
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        port = urlsplit(server.url).port
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)

    assert over_tls(test) == ["127.0.0.1: the client knows no TLS as new as 1.2"]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("sent", ["nothing", "half of its hello", "its hello"])
def test_client_that_goes_in_the_handshake_is_one_line(
    over_tls: Callable[..., list[str]], sent: str, how: str
) -> None:
    async def test(server: Live) -> None:
        hello = Hello()
        hello.step()
        data = hello.outgoing.read()
        client = socket.create_connection(("127.0.0.1", urlsplit(server.url).port), PATIENCE_S)
        client.sendall({"nothing": b"", "its hello": data}.get(sent, data[:100]))
        await until(lambda: bool(server.server._at_the_door))
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await until(lambda: not server.server._at_the_door)
        await until(lambda: not server.server._tasks)

    assert over_tls(test) == ["127.0.0.1: gone before the end of the TLS handshake"]


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_handshake_that_fails_leaves_no_cycle_behind(
    over_tls: Callable[..., list[str]], sent: bytes
) -> None:
    """Each would hold asyncio's buffer of 256 KiB, until the collector looks at everything."""

    def left() -> int:
        return sum(isinstance(one, SSLProtocol) for one in gc.get_objects())

    async def test(server: Live) -> None:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                client = await plain(server)
                await until(lambda: bool(server.server._at_the_door))
                await client.send(sent)
                client.close()
                await until(lambda: not server.server._tasks)
            await until(lambda: not left())
        finally:
            gc.enable()

    assert len(over_tls(test)) == 3


def test_slow_handshake_has_the_time_of_a_head(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        silent, slow, hello = await plain(server), await plain(server), Hello()
        hello.step()
        await slow.send(hello.outgoing.read()[:100])
        assert await silent.rest() == b""
        assert await slow.rest() == b""

    assert over_tls(test, TimeLimits(head=0.2)) == ["127.0.0.1: no TLS handshake within 0.2 s"] * 2


def test_handshakes_count_among_the_connections(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        server.server.gate = Gate(max_connections=2)
        inside = await Wire.open(server.url)
        assert (await inside.ask("GET", "/"))[0] == 200
        at_the_door = await plain(server)
        await until(lambda: len(server.server._at_the_door) == 1)
        assert await (await plain(server)).rest() == b""
        at_the_door.close()
        await until(lambda: not server.server._at_the_door)
        assert (await (await Wire.open(server.url)).ask("GET", "/"))[0] == 200

    over_tls(test)


def test_handshakes_count_for_their_address(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        server.server.gate = Gate(max_per_address=2)
        inside = await Wire.open(server.url)
        assert (await inside.ask("GET", "/"))[0] == 200
        at_the_door = await plain(server)
        await until(lambda: len(server.server._at_the_door) == 1)
        assert await (await plain(server)).rest() == b""
        at_the_door.close()
        await until(lambda: not server.server._at_the_door)
        assert (await (await Wire.open(server.url)).ask("GET", "/"))[0] == 200

    assert over_tls(test)[0] == "127.0.0.1: refused: --max-per-address is 2"


def test_handshakes_do_not_keep_a_server_from_ending(over_tls: Callable[..., list[str]]) -> None:
    async def test(server: Live) -> None:
        at_the_door = await plain(server)
        await until(lambda: bool(server.server._at_the_door))
        async with asyncio.timeout(PATIENCE_S):
            await server.server.close(10 * PATIENCE_S)
        assert await at_the_door.rest() == b""

    over_tls(test)
