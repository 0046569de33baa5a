"""All threads at work and all places to wait taken: seen from outside it is 503, and passes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from wire import SOCKET_IO, Live, WebSocket, Wire, ask, live, run, until

from redbarrel_lite.patience import TimeLimits

THREADS, WAITING = 2, 3
RBR = """
    path work ( url /work, use python:MODULE.work );
    path parts ( url /parts, use python:MODULE.parts );
    path form ( method POST, url /form, use python:MODULE.work );
    path mounted ( url /wsgi, use wsgi:MODULE.application );
    path ruled ( url /ruled, use python:MODULE.quick,
        request-headers ( unless cookie validates with python:MODULE.known return 401 ) );
    path altered ( url /altered, use python:MODULE.quick,
        response-body ( alter with python:MODULE.upper ) );
    path chat ( method SOCKETIO, use python:MODULE.chat,
        request-headers ( unless cookie validates with python:MODULE.known return 401 ) );
    path raw ( method WEBSOCKET, url /ws, use python:MODULE.chat,
        request-headers ( unless cookie validates with python:MODULE.known return 401 ) );
    path quick ( url /quick, use python:MODULE.quick );
"""
SOURCE = """
    import threading

    release = threading.Event()
    begun = []

    def work(globs, request):
        begun.append("work")
        release.wait()
        return "done"

    def parts(request):
        begun.append("parts")
        release.wait()
        yield "done"

    def application(environ, start_response):
        begun.append("application")
        release.wait()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    def known(globs, request, value):
        return value == "known"

    def upper(globs, request, body):
        return body.upper()

    async def quick(request):
        return "quick"

    async def chat(request):
        async for message in request.socketio:
            await request.socketio.send(message[0])
"""
COOKIE = {"Cookie": "known"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@asynccontextmanager
async def full(folder: Path) -> AsyncIterator[tuple[Live, list[Wire]]]:
    """A server whose threads all wait, and the connections that have taken its places."""
    async with live(folder, RBR, SOURCE, TimeLimits(half_closed=0.1)) as server:
        pool = server.server.app.pool
        pool._max_threads, pool._max_waiting = THREADS, WAITING
        taken = [await Wire.open(server.url) for _ in range(THREADS + WAITING)]
        for wire, target in zip(taken, ["work", "parts", "wsgi", "work", "parts"], strict=True):
            await wire.send(f"GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: pool._busy == THREADS + WAITING)
        try:
            yield server, taken
        finally:
            server.module.release.set()


REFUSED = {
    "a function": ("GET", "/work", {}),
    "a generator": ("GET", "/parts", {}),
    "an upload": ("POST", "/form", {}),
    "a WSGI application": ("GET", "/wsgi", {}),
    "a rule": ("GET", "/ruled", COOKIE),
    "an altered answer": ("GET", "/altered", {}),
    "a poll's handshake": ("GET", f"{SOCKET_IO}&transport=polling", COOKIE),
    "a WebSocket's handshake": ("GET", f"{SOCKET_IO}&transport=websocket", COOKIE | UPGRADE),
    "a raw handshake": ("GET", "/ws", COOKIE | UPGRADE),
}


def test_full_pool_refuses_at_once_whatever_needs_a_thread(tmp_path: Path) -> None:
    async def test() -> None:
        async with full(tmp_path) as (server, taken):
            before = threading.active_count()
            for what, (method, target, headers) in REFUSED.items():
                status, answered, _ = await ask(server.url, method, target, b"", **headers)
                assert (what, status, answered.get("retry-after")) == (what, 503, "1")
            assert threading.active_count() == before
            assert (await ask(server.url, "GET", "/quick"))[2] == b"quick"  # it needs none
            server.module.release.set()
            for wire in taken:  # nothing is lost of what had its place
                assert b"done" in await first_of(wire)
            for method, target, headers in REFUSED.values():
                wire = await Wire.open(server.url)
                status, _, _ = await wire.ask(method, target, b"", **headers)
                assert status in (101, 200)

    run(test())


async def first_of(wire: Wire) -> bytes:
    """The first line, head and part of an answer, chunked or not."""
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return await wire.reader.readuntil(b"done")


def test_sockets_that_are_inside_go_on_while_the_pool_is_full(tmp_path: Path) -> None:
    async def test() -> None:
        async with full(tmp_path) as (server, _):
            pool = server.server.app.pool
            pool._max_waiting += 1
            connecting = asyncio.create_task(WebSocket.connect(server.url, "/ws", **COOKIE))
            await until(lambda: pool._busy == THREADS + WAITING + 1)
            server.module.release.set()
            client = await connecting
            await client.text("still here")
            assert await client.read() == "still here"

    run(test())


@pytest.mark.parametrize("target", ["/work", "/parts", "/wsgi"])
def test_place_of_a_client_that_gave_up_is_free_again(tmp_path: Path, target: str) -> None:
    async def test() -> None:
        async with full(tmp_path) as (server, taken):
            pool, begun = server.server.app.pool, server.module.begun
            await until(lambda: len(begun) == THREADS)
            for wire in taken:
                wire.reset()
            await until(lambda: pool._busy == THREADS)  # those that have begun can't be stopped
            assert pool.waiting == 0
            wires = [await Wire.open(server.url) for _ in range(WAITING)]
            for wire in wires:
                await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: pool._busy == THREADS + WAITING)
            assert len(begun) == THREADS
            server.module.release.set()
            for wire in wires:
                assert (await first_of(wire)).endswith(b"done")
            await until(lambda: pool._busy == 0)
            assert len(begun) == THREADS + WAITING

    run(test())
