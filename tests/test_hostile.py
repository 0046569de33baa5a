"""Hostile clients on real connections: slow ones, many of them, and such as vanish.

And the same server without its assertions (`python -O`), which must refuse the same:
an `assert` is no check of what a client sends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT, TAKES_A_MINUTE, Serve
from siege import check_answers
from test_http1 import VECTORS
from wire import PATIENCE_S, Live, Wire, live, run

from redbarrel_lite.patience import MIN_BODY_RATE, TimeLimits

RBR = """
    path socket ( method SOCKETIO, use python:MODULE.listen );
    path take ( method POST, url /take, use python:MODULE.take );
"""
SOURCE = """
    def listen(request):
        for message in request.socketio:
            pass
    async def take(request):
        return {"got": len(request.body)}
"""
POST = "POST /take HTTP/1.1\r\nHost: a\r\nContent-Length: "
UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def dripped(server: Live, start: str, drop: bytes, every: float) -> bytes:
    """What is answered to a client that sends something now and then, for ever."""
    wire = await Wire.open(server.url)
    await wire.send(start)
    answer = asyncio.create_task(wire.rest())
    while not answer.done():
        wire.writer.write(drop)
        await asyncio.wait([answer], timeout=every)  # the slowness is what is tested
    wire.close()
    return answer.result()


def test_slow_heads_by_the_hundred_end_and_hold_nobody_up(tmp_path: Path) -> None:
    limits = TimeLimits(head=1.0, linger=0.2)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, limits) as server:
            start = "GET / HTTP/1.1\r\nHost: a\r\nX: "
            slow = asyncio.gather(*(dripped(server, start, b"x", 0.2) for _ in range(100)))
            served = 0
            while not slow.done():
                await server.serves()
                served += 1
            # Each came within the idle time of the one before: the whole took too long.
            assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in await slow)
            assert served > 1
            await server.empties()

    run(test())


def test_body_that_drips_is_refused_for_its_rate(tmp_path: Path) -> None:
    limits = TimeLimits(body=0.5, linger=0.2)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, limits) as server:
            answer = await dripped(server, f"{POST}1000000\r\n\r\n", b"x", 0.05)
            assert answer.startswith(b"HTTP/1.1 408 ")
            await server.serves()
            await server.empties()

    run(test())


def test_body_may_take_longer_than_the_limit_of_a_part(tmp_path: Path) -> None:
    limits = TimeLimits(body=1.0)
    part = b"x" * MIN_BODY_RATE

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, limits) as server:
            loop = asyncio.get_running_loop()
            wire = await Wire.open(server.url)
            await wire.send(f"{POST}{8 * len(part)}\r\n\r\n")
            began = loop.time()
            for _ in range(8):
                await wire.send(part)
                await asyncio.sleep(0.15)  # slow: that is the test
            assert loop.time() - began > limits.body
            assert (await wire.answer())[0] == 200
            wire.close()

    run(test())


@pytest.mark.parametrize("target", ["/take", "/nowhere"])
def test_fault_in_a_body_that_nobody_wants_gets_no_second_answer(
    tmp_path: Path, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    method = "PUT" if target == "/take" else "POST"
    request = f"{method} {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n"

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send(request)
            assert (await wire.rest()).count(b"HTTP/1.1 ") == 1
            wire.close()
            await server.empties()

    run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def reset(client: socket.socket) -> None:
    """Close with RST, as a client that crashed does, or one that wants to harm."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def connected(server: Live) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    parts = urlsplit(server.url)
    await asyncio.get_running_loop().sock_connect(client, (parts.hostname, parts.port))
    return client


def test_reset_at_any_moment_of_an_upgrade_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with live(tmp_path, RBR, SOURCE) as server:
            for cut in [*range(0, len(UPGRADE), 16), len(UPGRADE)]:
                client = await connected(server)
                await loop.sock_sendall(client, UPGRADE[:cut])
                reset(client)
            for behind in (b"", b"\x81", b"\x81\xfe\xff", b"\x81\x82abcd40", b"\x88\x80abcd"):
                client = await connected(server)
                await loop.sock_sendall(client, UPGRADE)
                async with asyncio.timeout(PATIENCE_S):
                    assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 101 ")
                await loop.sock_sendall(client, behind)
                reset(client)
            for turns in range(6):  # before, while and after it is told goodbye
                client = await connected(server)
                await loop.sock_sendall(client, UPGRADE)
                async with asyncio.timeout(PATIENCE_S):
                    assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 101 ")
                await loop.sock_sendall(client, b"\x88\x80abcd")
                for _ in range(turns):
                    await asyncio.sleep(0)
                reset(client)
            await server.empties()
            await server.serves()

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_reset_behind_the_answer_to_our_close_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left to be written then, so the end of TCP is what meets the reset."""
    rbr = "path out ( method WEBSOCKET, url /socket.io/, use python:MODULE.turn_out );"
    source = "def turn_out(request): request.socketio.close()"

    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with live(tmp_path, rbr, source) as server:
            client = await connected(server)
            await loop.sock_sendall(client, UPGRADE)
            got = b""
            async with asyncio.timeout(PATIENCE_S):
                while b"\r\n\r\n\x88" not in got:
                    got += await loop.sock_recv(client, 65536)
            await loop.sock_sendall(client, b"\x88\x80abcd")
            reset(client)
            await server.empties()

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_reset_while_an_answer_is_on_its_way_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        (tmp_path / "page.html").write_text("x" * 1_000_000)
        page = RBR + "path page ( url /, use file:page.html );"
        async with live(tmp_path, page, SOURCE) as server:
            for wanted in (0, 1, 100_000):
                client = await connected(server)
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
                async with asyncio.timeout(PATIENCE_S):
                    got = 0
                    while got < wanted:
                        got += len(await loop.sock_recv(client, wanted))
                reset(client)
            await server.empties()
            await server.serves()

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_hashes_are_another_in_each_process(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody can make keys that collide. Those of numbers would, but keys are str."""
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    (tmp_path / "hashes.py").write_text(
        "import sys\n"
        "async def tell(request):\n"
        "    kinds = {type(key).__name__ for key in request.json}\n"
        "    return [sys.flags.hash_randomization, hash('a'), sorted(kinds)]\n"
    )
    (tmp_path / "app.rbr").write_text("path p ( method POST, url /, use python:hashes.tell );")
    told = []
    for _ in range(2):
        server = serve(tmp_path / "app.rbr")
        answer = spoken(
            server.port,
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b'Content-Length: 22\r\n\r\n{"1": 0, "1e400": "x"}',
        )
        told.append(json.loads(answer.partition(b"\r\n\r\n")[2]))
    assert [one[0::2] for one in told] == [[1, ["str"]]] * 2
    assert told[0][1] != told[1][1]


def statuses(port: int, request: bytes) -> list[int]:
    """Of all answers: each begins right behind the content of the one before."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", spoken(port, request))]


def spoken(port: int, request: bytes) -> bytes:
    """All that is answered until the server closes."""
    parts = []
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(request)
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_server_without_assertions_refuses_the_same(serve: Serve, optimized_python: Path) -> None:
    chat = ROOT / "examples/chat/chat.rbr"
    server, usual = serve(chat, python=str(optimized_python)), serve(chat)
    refused = [vector["bytes"].encode("latin-1") for vector in VECTORS if vector["fault"]]
    assert len(refused) > 50
    for request in refused:
        answered = statuses(server.port, request)
        assert answered == statuses(usual.port, request), request
        assert answered[-1] >= 400, request


NAMES = ("http", "ws", "engineio", "socketio", "mutations")
ROWS = [f"tests/test_hostile_{name}.py" for name in NAMES]


@pytest.mark.parametrize("rows", [pytest.param(ROWS, marks=TAKES_A_MINUTE, id="all")])
def test_rows_hold_without_assertions_and_through_a_proxy(rows: list[str]) -> None:
    """Those of the siege are asked nevertheless: pytest makes something else of them."""
    environment = os.environ | {"PYTHONOPTIMIZE": "1", "RBL_SIEGE": "proxy", "RBL_INTEROP": ""}
    environment.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rows]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout
    assert int(re.findall(r"(\d+) passed", ended.stdout)[0]) > 700


LAST = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"


def refusal(content: bytes) -> bytes:
    return LAST % (len(content), content)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"GET /<script> HTTP/1.1\r\n\r\n", refusal(b"<script>")),
        (b"GET /%3Cscript%3E HTTP/1.1\r\n\r\n", refusal(b"<script>")),
        (b"GET /\x1b HTTP/1.1\r\n\r\n", refusal(b"a\x1bb")),
        (b"\n\nGET /admin HTTP/1.1\r\n\r\n", refusal(b"bad") + b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_siege_sees_what_an_answer_must_not_be(said: bytes, heard: bytes) -> None:
    with pytest.raises(AssertionError):
        check_answers(said, heard)
    check_answers(said, refusal(b"bad"))
    check_answers(said, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + refusal(b"bad"))
