"""The end of the server: who is told, who is answered, and how soon it is over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import ROOT, TAKES_A_MINUTE, Serve
from wire import CERTIFICATE, PATIENCE_S, Poller, WebSocket, Wire, live, run, serving_tls, socketio

from redbarrel_lite import wsproto

RBR = """
path s ( method SOCKETIO, on disconnect use python:MODULE.left );
path page ( method GET|POST, url /page, use python:MODULE.page );
path soon ( url /soon, use python:MODULE.soon );
path soon_in_thread ( url /soon-in-thread, use python:MODULE.soon_in_thread );
path never ( url /never, use python:MODULE.never );
path half ( url /half, use python:MODULE.half );
path stubborn ( url /stubborn, use python:MODULE.stubborn );
path busy ( url /busy, use python:MODULE.busy );
"""
AT_ONCE = 25
# What is asked for soon is there when a socket has been told of the end.
SOURCE = """
import asyncio, signal, sys, threading

told, told_in_thread = asyncio.Event(), threading.Event()

def say(line):
    sys.stderr.write(line + "\\n")
    sys.stderr.flush()

async def left(globs, request, reason):
    told.set()
    told_in_thread.set()

async def page(request):
    return "page"

async def soon(request):
    say("asked")
    await told.wait()
    return "soon"

def soon_in_thread(request):
    say("asked")
    told_in_thread.wait()
    return "soon"

async def never(request):
    say("asked")
    await asyncio.Event().wait()

async def half(request):
    yield "the first half"
    say("asked")
    await asyncio.Event().wait()
    yield "the other"

async def stubborn(request):
    say("asked")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

async def busy(request):
    say("asked")
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        pass
    say("the signal is heard")
    while True:
        pass
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "ending.py").write_text(SOURCE)
    (tmp_path / "app.rbr").write_text(RBR.replace("MODULE", "ending"))
    return tmp_path / "app.rbr"


async def asked(url: str, target: str) -> Wire:
    wire = await Wire.open(url)
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    return wire


T = TypeVar("T")


async def crowd(count: int, make: Callable[[], Awaitable[T]]) -> list[T]:
    """So many of them, but not more at once than a system keeps waiting."""
    made: list[T] = []
    while len(made) < count:
        made += await asyncio.gather(*(make() for _ in range(AT_ONCE)))
    return made


async def is_told(websocket: WebSocket) -> None:
    assert await websocket.read_close() == (wsproto.GOING_AWAY, "server shutting down")
    websocket.close()


@pytest.mark.parametrize("each", [25, pytest.param(500, marks=TAKES_A_MINUTE)])
def test_crowd_is_told_and_what_it_asked_is_answered(serve: Serve, app: Path, each: int) -> None:
    """Each of both transports, and fifty requests, half of them in threads."""
    server = serve(app, "--log", "off", "--grace", str(PATIENCE_S))

    async def test() -> None:
        websockets = await crowd(each, lambda: socketio(server.url))
        pollers = await crowd(each, lambda: Poller.connect(server.url))
        polls = [await asked(server.url, poller.target) for poller in pollers[1:]]
        between_two_polls = await Wire.open(server.url)
        await between_two_polls.ask("GET", "/page")
        requests = await crowd(25, lambda: asked(server.url, "/soon"))
        requests += await crowd(25, lambda: asked(server.url, "/soon-in-thread"))
        await asyncio.to_thread(server.wait_for_count, "asked", 50)
        server.process.send_signal(signal.SIGTERM)
        for websocket in websockets:
            await is_told(websocket)
        for poll in polls:
            assert (await poll.answer())[2] == b"1"
        assert (await between_two_polls.ask("GET", pollers[0].target))[2] == b"1"
        for request in requests:
            status, headers, body = await request.answer()
            assert (status, headers["connection"], body) == (200, "close", b"soon")

    run(test())
    server.ends()


def test_who_has_no_answer_when_the_grace_is_over_is_told_so(serve: Serve, app: Path) -> None:
    server = serve(app, "--grace", "0.4")
    body = "POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel"

    async def test() -> None:
        waiting = [await asked(server.url, target) for target in ("/never", "/stubborn")]
        half = await asked(server.url, "/half")
        sending = await Wire.open(server.url)
        await sending.send(body)
        await asyncio.to_thread(server.wait_for_count, "asked", 3)
        server.process.send_signal(signal.SIGTERM)
        for wire in (*waiting, sending):
            status, headers, _ = await wire.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        begun = await half.rest()
        assert begun.endswith(b"the first half\r\n")  # and not with the chunk that is the last

    run(test())
    server.ends()
    assert server.stderr[-1] == "Some tasks have not ended: left behind."


@pytest.mark.parametrize("tls", [None, serving_tls()], ids=["plain", "TLS"])
def test_who_is_in_the_system_s_queue_is_answered(
    tmp_path: Path, tls: ssl.SSLContext | None
) -> None:
    """The server has not accepted them yet: nobody turns its loop between here and its end."""
    rbr = "path page ( method GET|POST, url /page, use python:MODULE.page );"

    async def test() -> None:
        async with live(tmp_path, rbr, "def page(request): return 'page'", tls=tls) as server:
            address = server.host.partition(":")[0], int(server.host.partition(":")[2])
            queue = [socket.create_connection(address, PATIENCE_S) for _ in range(20)]
            answers = [asyncio.to_thread(answer_to_queued, one, tls) for one in queue]
            seen, _ = await asyncio.gather(
                asyncio.gather(*answers), server.server.close(PATIENCE_S)
            )
            assert [answer.partition(b"\r\n")[0] for answer in seen] == [b"HTTP/1.1 200 OK"] * 20
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, PATIENCE_S)

    run(test())


def answer_to_queued(client: socket.socket, tls: ssl.SSLContext | None) -> bytes:
    if tls is not None:
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        client = trusting.wrap_socket(client, server_hostname="localhost")
    with client:
        client.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    return answer


def test_who_has_come_and_not_asked_yet_may_ask_once(serve: Serve, app: Path) -> None:
    server = serve(app, "--grace", str(PATIENCE_S))

    async def test() -> None:
        websocket = await socketio(server.url)
        newcomer = await Wire.open(server.url)
        # Answered behind the newcomer, so this one is known by then.
        assert (await (await asked(server.url, "/page")).answer())[0] == 200
        server.process.send_signal(signal.SIGTERM)
        await is_told(websocket)
        status, headers, body = await newcomer.ask("GET", "/page")
        assert (status, headers["connection"], body) == (200, "close", b"page")

    run(test())
    server.ends()


def test_second_signal_ends_a_server_whose_loop_is_held(serve: Serve, app: Path) -> None:
    server = serve(app, "--grace", "60")

    async def test() -> None:
        await asked(server.url, "/busy")
        await asyncio.to_thread(server.wait_for_line, "asked")
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_line, "the signal is heard")
        server.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(server.process.wait, PATIENCE_S) == -signal.SIGINT

    run(test())
    server.kill()


BUILDING_RBR = """
global a python:building.a;
global b python:building.b;
global c python:building.KIND;
global d python:building.never;
"""
BUILDING_PY = """
import asyncio, signal, sys

def say(line):
    sys.stderr.write(line + "\\n")
    sys.stderr.flush()

def a():
    yield 1
    say("a ends")

async def b():
    yield 2
    say("b ends")

async def waits():
    say("building")
    await asyncio.Event().wait()

def returns():
    say("building")
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        pass

def holds():
    returns()
    say("the signal is heard")
    while True:
        pass

def never():
    say("it goes on")
"""


@contextmanager
def building(folder: Path, kind: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A server that makes its third global."""
    (folder / "building.py").write_text(BUILDING_PY)
    (folder / "app.rbr").write_text(BUILDING_RBR.replace("KIND", kind))
    command = [sys.executable, "-m", "redbarrel_lite", str(folder / "app.rbr"), "--port", "0"]
    process = subprocess.Popen(
        [*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stderr is not None
        assert "building\n" in process.stderr  # up to there
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["waits", "returns"])
def test_signal_while_globals_are_built_ends_those_that_are(
    tmp_path: Path, kind: str, workers: str, signum: signal.Signals
) -> None:
    with building(tmp_path, kind, "--workers", workers, "--grace", "60") as process:
        process.send_signal(signum)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert (process.returncode, said) == (0, "b ends\na ends\n")


def test_global_that_holds_the_loop_is_left_behind_after_the_grace(tmp_path: Path) -> None:
    with building(tmp_path, "holds", "--grace", "0.1") as process:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert (process.returncode, said) == (
        0,
        "the signal is heard\nSome globals have not ended: left behind.\n",
    )


def test_second_signal_while_globals_are_built_is_the_end_at_once(tmp_path: Path) -> None:
    with building(tmp_path, "holds", "--grace", "600") as process:
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert process.stderr.readline() == "the signal is heard\n"
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE_S)[1]
    assert (process.returncode, said) == (-signal.SIGINT, "")
