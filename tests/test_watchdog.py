"""Who held the loop is said in the log: the handler, its file and its line; and nothing else is."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from conftest import Serve, Server
from wire import PATIENCE_S, until

from redbarrel_lite import patience, watchdog
from redbarrel_lite.watchdog import Watchdog, unwatched, watching

LIMIT_S = 0.04
HELD = re.compile(r"^the event loop was held for about \d+\.\d s by (.*)$")


def hold(dog: Watchdog) -> None:
    """Block until the watchdog knows who does."""
    while (question := dog._question) is None or question.where is None:
        time.sleep(LIMIT_S / 4)
    while time.monotonic() - question.begun - dog._queue.seconds() + question.queued < LIMIT_S:
        time.sleep(LIMIT_S / 2)


def watch(caplog: pytest.LogCaptureFixture, callback: Callable[[Watchdog], object]) -> list[str]:
    """What is said of a callback."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        dog = Watchdog(loop, LIMIT_S)
        try:
            loop.call_soon(callback, dog)
            await asyncio.sleep(0)
            await until(lambda: dog._question is None)
        finally:
            dog.stop()

    with caplog.at_level(logging.WARNING, "redbarrel_lite"):
        asyncio.run(test())
    return caplog.messages


def test_function_that_blocks_is_named_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    def handler(dog: Watchdog) -> None:
        hold(dog)

    (line,) = watch(caplog, handler)
    told = HELD.fullmatch(line)
    assert told is not None
    here = re.escape(__file__)
    assert re.match(
        rf".*<locals>\.handler \({here}:\d+\), in hold \({here}:\d+\): what waits", told[1]
    )
    number = int(told[1].split(":")[1].partition(")")[0])
    assert Path(__file__).read_text("utf-8").splitlines()[number - 1].strip() == "hold(dog)"


def test_what_never_ends_is_told_while_it_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG_S", 2 * LIMIT_S)

    def handler(dog: Watchdog) -> None:
        hold(dog)
        while not caplog.messages:
            time.sleep(LIMIT_S / 2)

    during, after = watch(caplog, handler)
    assert during.startswith("the event loop is held, for 0 s now, by ")
    assert after.startswith("the event loop was held ")


def test_what_lets_no_thread_run_is_noticed_by_the_time_it_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A loop in C holds Python's lock, so the watchdog is late itself."""

    def handler(dog: Watchdog) -> None:
        count = 1_000_000
        for _ in range(100):  # on a loaded machine its thread may have no turn in one of them
            before = time.thread_time()
            sum(itertools.repeat(1, count))
            took = time.thread_time() - before
            question = dog._question
            if question is not None and question.where is not None:
                hold(dog)
                return
            count *= 1 if took > 3 * LIMIT_S else 2

    assert "handler" in watch(caplog, handler)[-1]


def test_our_own_code_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    def fail(dog: Watchdog) -> None:
        hold(dog)

    code = fail.__code__.replace(co_filename=patience.__file__)
    ours = FunctionType(code, {"hold": in_python(hold)})
    assert f"({patience.__file__}:" in (line := watch(caplog, ours)[0])
    assert line.endswith(", of this server")


def in_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, as if the standard library had it."""
    code = function.__code__.replace(co_filename=asyncio.__file__)
    return FunctionType(code, function.__globals__)


def wait_for_a_look(dog: Watchdog) -> None:
    """Block for longer than is allowed, whatever the watchdog thinks of it."""
    until = time.monotonic() + 3 * LIMIT_S
    while time.monotonic() < until:
        time.sleep(LIMIT_S / 4)


def test_who_is_in_a_debugger_knows_what_holds_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def interaction(dog: Watchdog) -> None:
        wait_for_a_look(dog)

    names = {"__name__": "pdb", "wait_for_a_look": wait_for_a_look}
    assert watch(caplog, FunctionType(interaction.__code__, names)) == []


def test_what_is_known_to_take_long_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    def handler(dog: Watchdog) -> None:
        loop = asyncio.get_running_loop()
        usual = loop.slow_callback_duration
        assert unwatched(lambda: blocks(dog)) == "done"
        assert loop.slow_callback_duration == float("inf")
        loop.call_soon(lambda: seen.append(loop.slow_callback_duration == usual))

    def blocks(dog: Watchdog) -> str:
        wait_for_a_look(dog)
        return "done"

    seen: list[bool] = []
    assert watch(caplog, handler) == []
    assert seen == [True]


def test_what_neither_users_nor_we_have_written_is_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert watch(caplog, in_python(wait_for_a_look)) == []


def test_question_of_a_process_that_stood_still_is_as_new() -> None:
    """The thread itself came late, and the loop's has used no time: a SIGSTOP, or a debugger."""

    async def test() -> None:
        dog = Watchdog(asyncio.get_running_loop(), LIMIT_S)
        dog.stop()
        await until(lambda: dog._question is None)  # its thread may have asked before
        now = time.monotonic()
        assert dog._look(now, now, now, stood_still=True) is False
        question = dog._question
        assert question is not None
        due = now + LIMIT_S / 4
        dog._look(now, due, now + 1000, stood_still=True)
        assert (question.begun, question.where) == (now + (now + 1000 - due), None)
        dog._look(now, now, now + 1000 + LIMIT_S, stood_still=False)
        assert question.where is not None
        await until(lambda: dog._question is None)

    asyncio.run(test())


def test_machine_with_too_much_to_do_is_no_handler_that_blocks(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued = [0.0]
    monkeypatch.setattr(watchdog._Queue, "seconds", lambda _queue: queued[0])

    def handler(dog: Watchdog) -> None:
        hold(dog)
        queued[0] = 3600.0

    assert watch(caplog, handler) == []


@pytest.mark.skipif(sys.platform != "linux", reason="nobody else tells")
def test_time_in_the_queue_for_a_processor_is_told_by_linux() -> None:
    queue = watchdog._Queue(threading.get_native_id())
    assert queue.seconds() > 0
    queue.close()
    assert queue.seconds() == 0
    assert watchdog._Queue(0).seconds() == 0


def test_time_behind_the_watch_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    def end(dog: Watchdog) -> float:
        hold(dog)
        dog.stop()
        stopped = time.monotonic()
        time.sleep(20 * LIMIT_S)
        return stopped

    async def test() -> float:
        began = time.monotonic()
        dog = Watchdog(asyncio.get_running_loop(), LIMIT_S)
        await asyncio.sleep(0)
        stopped = end(dog)
        await asyncio.sleep(0)
        return stopped - began

    with caplog.at_level(logging.WARNING, "redbarrel_lite"):
        watched = asyncio.run(test())
    (line,) = caplog.messages
    found = re.search(r"for about (\S+) s by", line)
    assert found is not None
    assert float(found[1]) <= watched + 0.1  # to which it is rounded


def test_no_time_is_no_watchdog() -> None:
    async def test() -> None:
        before = threading.active_count()
        with watching(0):
            assert threading.active_count() == before
        with watching(LIMIT_S):
            assert threading.active_count() == before + 1
        assert threading.active_count() == before

    asyncio.run(test())


APP = """
import time

async def sleepy(request):
    time.sleep(0.3)
    return "slept"

async def chat(request):
    async for message in request.socketio:
        nap()
        await request.socketio.send("woke")

def nap():
    time.sleep(0.3)
"""
RBR = """
path a ( url /, use python:sleepy.sleepy );
path b ( method WEBSOCKET, url /ws, use python:sleepy.chat );
"""


def until_told(server: Server, pattern: str, again: Callable[[], None]) -> None:
    """Again and again: where the watchdog itself gets no processor, it sees nothing."""
    for _ in range(20):
        again()
        if any(re.search(pattern, line) for line in tuple(server.stderr)):
            return
    server.wait_for_line(pattern)


def test_handlers_of_a_running_server_are_named(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(APP)
    (tmp_path / "sleepy.rbr").write_text(RBR)
    server = serve(tmp_path / "sleepy.rbr", "--watchdog", "0.1")

    def sleep() -> None:
        with urllib.request.urlopen(server.url, timeout=PATIENCE_S) as page:
            assert page.read() == b"slept"

    until_told(server, rf"s by sleepy \({re.escape(str(tmp_path))}/sleepy\.py:5\)", sleep)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")

        def nap() -> None:
            client.sendall(b"\x81\x81\x00\x00\x00\x00x")
            assert client.recv(1000).endswith(b"woke")

        where = r"s by chat \(.*/sleepy\.py:10\), in nap \(.*/sleepy\.py:14\)"
        until_told(server, where, nap)


def test_process_that_was_stopped_holds_nothing(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "sleepy.py").write_text(APP)
    (tmp_path / "sleepy.rbr").write_text(RBR)
    server = serve(tmp_path / "sleepy.rbr", "--watchdog", "0.1", "--log", "off")
    server.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, server.process.pid, os.WSTOPPED)
    time.sleep(0.3)  # nothing happens meanwhile: that is what this is about
    server.process.send_signal(signal.SIGCONT)
    for _ in range(2):
        with urllib.request.urlopen(server.url + "/__health__", timeout=PATIENCE_S) as page:
            assert page.status == 200
    server.stop()
    assert not [line for line in server.stderr if "event loop" in line]
