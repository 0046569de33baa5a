"""Handlers in real threads and real coroutines, over a connection that records."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from test_sockets import RecordingConnection

from redbarrel_lite import runners, socketio
from redbarrel_lite.client import Client
from redbarrel_lite.coroutines import CoroutineRunner
from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.errors import SocketClosed
from redbarrel_lite.failures import user_traceback
from redbarrel_lite.handlers import Lines, is_async, run_handler
from redbarrel_lite.hub import Hub
from redbarrel_lite.messages import Handler, Runner
from redbarrel_lite.outgoing import Outgoing
from redbarrel_lite.request import Request
from redbarrel_lite.routes import compile_template
from redbarrel_lite.runners import INBOX_HIGH, INBOX_LOW, ThreadRunner
from redbarrel_lite.sockets import Socket

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 20.0  # only a fault waits this long


class News(list[Any]):
    """What has happened so far, noted from any thread, and awaited in the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def append(self, item: Any) -> None:
        super().append(item)
        self._loop.call_soon_threadsafe(self._changed.set)

    async def reach(self, count: int) -> list[Any]:
        """Wait until so many things have happened."""
        while len(self) < count:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE_S)
        return list(self)


class StageConnection(RecordingConnection):
    """A recording connection whose news can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = News()

    def send(self, outgoing: Outgoing) -> None:
        super().send(outgoing)
        for message in outgoing.messages:
            self.heard.append(message)


class Stage:
    """One client, connected; a handler, running; and a hub on the running loop."""

    def __init__(
        self, handler: Handler | None, *, lines: Lines | None = None, congested: bool = False
    ) -> None:
        self.hub = Hub()
        self.doors = Doors(self.hub)
        self.doors.add(Door("/", compile_template(["/"]), handler, lines))
        loop = asyncio.get_running_loop()
        self.hub.attach(loop.call_soon_threadsafe, self.run_handler, loop=loop)
        self.runners: list[Any] = []
        self.connection = StageConnection()
        self.connection.congested = congested  # before the handler runs
        request = Request("GET", "/socket.io/", [])
        self.client = Client(self.doors, self.connection, request, 45.0)
        self.say('0{"token":"abc"}')
        for socket in self.hub.by_sid.values():
            self.socket = socket

    def run_handler(self, handler: Handler, socket: Socket, request: Request) -> Runner:
        self.runners.append(run_handler(handler, socket, request))
        self.socket = socket
        return self.runners[-1]  # type: ignore[no-any-return]

    @property
    def runner(self) -> Any:
        return self.runners[-1]

    def say(self, *messages: socketio.Message) -> None:
        for message in messages:
            self.client.receive(message)

    def say_numbers(self, *numbers: int) -> None:
        self.say(*(f'2["message",{number}]' for number in numbers))

    async def hears(self, count: int) -> list[Any]:
        """The first messages after the answer to CONNECT, once they are so many."""
        return (await self.connection.heard.reach(count + 1))[1:]

    def post(self, *numbers: int) -> None:
        """Say numbers in the next turn of the loop, in no task, as transports do."""
        asyncio.get_running_loop().call_soon(self.say_numbers, *numbers)

    def leave(self) -> None:
        self.client.end("transport close")

    async def ended(self) -> None:
        """Wait until the handler is over."""
        if isinstance(self.runner, CoroutineRunner):
            assert self.runner._task is not None
            await asyncio.wait([self.runner._task])
        else:
            await asyncio.to_thread(self.runner.thread.join, PATIENCE_S)
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _threads_by_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test find the thread of a handler, to wait for its end."""
    run = ThreadRunner._run

    def noted(self: Any) -> None:
        self.thread = threading.current_thread()
        run(self)

    monkeypatch.setattr(ThreadRunner, "_run", noted)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), PATIENCE_S), debug=True)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "redbarrel_lite"]


BOTH = pytest.mark.parametrize("kind", ["def", "async def"])


def of_kind(kind: str, plain: Handler, coroutine: Handler) -> Handler:
    return plain if kind == "def" else coroutine


# -- receiving -----------------------------------------------------------------------------


@BOTH
def test_messages_arrive_in_order_and_the_loop_ends_with_the_client(kind: str) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            for message in request.socketio or ():
                news.append(message[0])
            news.append("end")

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            async for message in request.socketio:
                news.append(message[0])
            news.append("end")

        stage = Stage(of_kind(kind, plain, coroutine))
        stage.say_numbers(*range(100))
        await news.reach(100)
        stage.say_numbers(*range(100, 200))
        stage.leave()
        assert await news.reach(201) == [*range(200), "end"]
        await stage.ended()

    play(story)


@BOTH
@pytest.mark.parametrize("catch", [SocketClosed, Exception])
def test_recv_says_once_that_the_client_has_gone_and_then_ends_the_handler(
    kind: str, catch: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            while True:
                try:
                    news.append(request.socketio.recv())
                except catch as error:
                    news.append(type(error))

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            while True:
                try:
                    news.append(await request.socketio.recv())
                except catch as error:
                    news.append(type(error))

        stage = Stage(of_kind(kind, plain, coroutine))
        stage.say_numbers(7)
        await news.reach(1)
        stage.leave()
        await news.reach(4)
        await stage.ended()
        assert news == [[7], [], SocketClosed, SocketClosed]
        (line,) = logged(caplog)
        assert "calls recv() again and again" in line
        assert repr(stage.socket) in line

    play(story)


@BOTH
def test_socket_closed_ends_a_handler_quietly(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        def plain(_globs: Any, request: Request) -> None:
            while True:
                request.socketio.recv()

        async def coroutine(_globs: Any, request: Request) -> None:
            while True:
                await request.socketio.recv()

        stage = Stage(of_kind(kind, plain, coroutine))
        stage.leave()
        await stage.ended()
        assert logged(caplog) == []

    play(story)


@BOTH
def test_loop_that_catches_everything_does_not_spin(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            while True:
                news.append("call")
                try:
                    request.socketio.recv()
                except:  # noqa: E722
                    continue

        async def coroutine(_globs: Any, request: Request) -> None:
            while True:
                news.append("call")
                try:
                    await request.socketio.recv()
                except:  # noqa: E722
                    continue

        stage = Stage(of_kind(kind, plain, coroutine))
        stage.leave()
        await news.reach(5)
        if kind == "def":
            stage.runner.thread.join(0.05)
        else:
            await stage.ended()
        assert len(news) == 5
        assert len(logged(caplog)) == 1
        if kind == "async def":
            # The interpreter, when it ends, closes it: that must not spin either.
            with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
                stage.runner._coroutine.close()
            assert len(news) == 6

    play(story)


def test_process_ends_although_a_coroutine_catches_everything() -> None:
    ended = script("spinning()")
    assert ended.returncode == 0, ended.stderr
    assert "again and again" in ended.stderr


@BOTH
def test_chat_of_2011_has_no_exit_and_ends_quietly(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples/chat"))
    for name in ("chat", "chat_async"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    chat = importlib.import_module("chat" if kind == "def" else "chat_async").chat

    async def alone(_globs: Any, request: Request) -> None:
        await chat(request)

    async def story() -> None:
        stage = Stage(chat if kind == "def" else alone)
        (buffer,) = await stage.hears(1)
        assert json.loads(json.loads(buffer[1:])[1]).keys() == {"buffer"}
        stage.say('2["message","hello"]')
        if kind == "def":
            stage.say('2["without arguments"]')
        stage.leave()
        await stage.ended()
        assert logged(caplog) == []

    play(story)


@BOTH
@pytest.mark.parametrize("timeout", [0.01, 0, -1])
def test_recv_gives_up_after_its_timeout(kind: str, timeout: float) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            try:
                request.socketio.recv(timeout)
            except TimeoutError as error:
                news.append(str(error))
            news.append(request.socketio.recv(PATIENCE_S))
            news.append(request.socketio.recv(timeout=None))

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            try:
                await request.socketio.recv(timeout)
            except TimeoutError as error:
                news.append(str(error))
            news.append(await request.socketio.recv(PATIENCE_S))
            news.append(await request.socketio.recv(timeout=None))

        stage = Stage(of_kind(kind, plain, coroutine))
        await news.reach(1)
        stage.say_numbers(1, 2)
        assert await news.reach(3) == [f"no message within {timeout} s", [1], [2]]
        await stage.ended()

    play(story)


# -- the end of a handler --------------------------------------------------------------------


@BOTH
def test_socket_is_closed_when_its_handler_returns(kind: str) -> None:
    async def story() -> None:
        def plain(_globs: Any, request: Request) -> None:
            request.socketio.send("bye")

        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.send("bye")

        stage = Stage(of_kind(kind, plain, coroutine))
        assert await stage.hears(2) == ['2["message","bye"]', "1"]
        assert not stage.socket.connected()
        stage.say_numbers(1)
        await stage.ended()

    play(story)


def fails_deep_down(error: BaseException) -> None:
    try:
        json.loads("{")
    except ValueError:
        raise error from None


@BOTH
@pytest.mark.parametrize("error", [ValueError("of the user"), SystemExit(3), KeyboardInterrupt()])
def test_failure_is_logged_once_with_the_users_frames(
    kind: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        def plain(_globs: Any, request: Request) -> None:
            request.socketio.recv()
            fails_deep_down(error)

        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()
            fails_deep_down(error)

        stage = Stage(of_kind(kind, plain, coroutine))
        await asyncio.sleep(0)
        stage.say_numbers(1)
        assert await stage.hears(1) == ["1"]
        await stage.ended()
        (line,) = logged(caplog)
        assert repr(stage.socket) in line
        assert "in fails_deep_down" in line
        assert line.count("Traceback") == 1
        assert "redbarrel_lite" + os.sep not in line
        assert repr(error)[:10].split("(")[0] in line

    play(story)


@BOTH
@pytest.mark.parametrize("wait", [True, False])
def test_failure_is_kept_by_nobody(kind: str, wait: bool) -> None:
    """Its traceback has the handler's frames, and all that is in them, which may be much."""

    async def story() -> None:
        kept: list[weakref.ref[Exception]] = []

        class OfTheUser(Exception):
            def __init__(self) -> None:
                kept.append(weakref.ref(self))

        def fail() -> None:
            raise OfTheUser

        def plain(_globs: Any, request: Request) -> None:
            request.socketio.recv()
            fail()

        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()
            if wait:
                await asyncio.sleep(0)
            fail()

        stage = Stage(of_kind(kind, plain, coroutine))
        await asyncio.sleep(0)
        stage.post(1)
        await stage.hears(1)
        await stage.ended()
        assert [ref() for ref in kept] == [None]

    gc.collect()
    gc.disable()
    try:
        play(story)
    finally:
        gc.enable()


def test_traceback_leaves_out_our_frames_in_the_causes_too() -> None:
    def user() -> None:
        try:
            socketio.encode_event("x", [{1}])
        except TypeError as error:
            raise ExceptionGroup("several", [ValueError("one")]) from error

    with pytest.raises(ExceptionGroup) as caught:
        user()
    told = user_traceback(caught.value)
    assert "redbarrel_lite" + os.sep not in told
    assert "in user" in told
    assert "set is not JSON" in told
    assert "ValueError: one" in told


def test_wrong_signature_is_the_users_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async def coroutine(_globs: Any, _request: Request, _more: Any) -> None:
            """Never called."""

        stage = Stage(coroutine)  # type: ignore[arg-type]
        assert await stage.hears(1) == ["1"]
        (line,) = logged(caplog)
        assert "_more" in line

    play(story)


def test_plain_function_that_makes_a_coroutine_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async def coroutine() -> None:
            """Never awaited."""

        stage = Stage(lambda _globs, _request: coroutine())
        assert await stage.hears(1) == ["1"]
        (line,) = logged(caplog)
        assert "make it an async def" in line

    play(story)


def test_client_is_turned_away_when_there_is_no_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        before = threading.stack_size()
        monkeypatch.setattr(runners, "THREAD_STACK_BYTES", 1 << 46)
        stage = Stage(lambda _globs, _request: None)
        assert await stage.hears(1) == ["1"]
        assert threading.stack_size() == before
        (line,) = logged(caplog)
        assert line.startswith("no thread for <lambda> of <socket ")

    play(story)


@pytest.mark.parametrize("what", ["dumps", "text", "equal", "key", "mapped", "attribute"])
def test_deep_recursion_in_a_thread_is_an_error_and_no_crash(what: str) -> None:
    ended = script(f"recursing({what!r})")
    assert (ended.returncode, ended.stdout) == (0, "RecursionError\n"), ended.stderr


def script(call: str) -> subprocess.CompletedProcess[str]:
    """Run a function of this module in a process of its own, which may crash or hang."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [sys.executable, "-c", f"import test_runners; test_runners.{call}"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def recursing(what: str) -> None:
    """Print what a deep recursion of some kind raises in a handler's thread."""

    def nested() -> list[Any]:
        found: list[Any] = []
        for _ in range(100_000):
            found = [found]
        return found

    def key(x: object) -> Any:
        return sorted([x], key=key)

    def mapped(x: object) -> Any:
        return list(map(mapped, [x]))

    class Attribute:
        def __getattr__(self, name: str) -> Any:
            return getattr(self, name + "_")

    kinds: dict[str, Callable[[], object]] = {
        "dumps": lambda: json.dumps(nested()),
        "text": lambda: repr(nested()),
        "equal": lambda: nested() == nested(),
        "key": lambda: key(1),
        "mapped": lambda: mapped(1),
        "attribute": lambda: Attribute().x,
    }

    async def story() -> None:
        def plain(_globs: Any, request: Request) -> None:
            try:
                kinds[what]()
            except RecursionError as error:
                request.socketio.send(type(error).__name__)

        print(json.loads((await Stage(plain).hears(1))[0][1:])[1], flush=True)

    asyncio.run(story())
    os._exit(0)  # taking the nested lists down again is not what is tried


def spinning() -> None:
    """End while a coroutine that catches everything still exists."""

    async def story() -> None:
        async def coroutine(_globs: Any, request: Request) -> None:
            while True:
                try:
                    await request.socketio.recv()
                except:  # noqa: E722
                    continue

        stage = Stage(coroutine)
        stage.leave()
        await stage.ended()

    logging.basicConfig()
    asyncio.run(story())


# -- back-pressure -----------------------------------------------------------------------------


@BOTH
def test_reading_pauses_at_the_high_mark_and_goes_on_at_the_low_one(kind: str) -> None:
    async def story() -> None:
        news = News()
        go = threading.Event()
        go_on = asyncio.Event()

        def plain(_globs: Any, request: Request) -> None:
            go.wait(PATIENCE_S)
            for message in request.socketio or ():
                news.append((message[0], list(stage.connection.reading)))

        async def coroutine(_globs: Any, request: Request) -> None:
            await go_on.wait()
            async for message in request.socketio:
                news.append((message[0], list(stage.connection.reading)))

        stage = Stage(of_kind(kind, plain, coroutine))
        stage.say_numbers(*range(INBOX_HIGH - 1))
        assert stage.connection.reading == []
        stage.say_numbers(INBOX_HIGH - 1, INBOX_HIGH, INBOX_HIGH + 1)
        assert stage.connection.reading == ["pause"]
        go.set()
        go_on.set()
        read = await news.reach(INBOX_HIGH + 2)
        await asyncio.sleep(0)
        assert [number for number, _ in read] == list(range(INBOX_HIGH + 2))
        assert stage.connection.reading == ["pause", "resume"]
        first = INBOX_HIGH + 2 - INBOX_LOW
        assert all(reading == ["pause"] for _, reading in read[: first - 1])
        stage.leave()
        await stage.ended()
        assert stage.connection.reading == ["pause", "resume"]

    play(story)


@BOTH
def test_handler_that_never_reads_holds_up_its_client_until_it_goes(kind: str) -> None:
    async def story() -> None:
        gone = threading.Event()
        gone_too = asyncio.Event()

        def plain(_globs: Any, request: Request) -> None:
            gone.wait(PATIENCE_S)
            news.append(request.socketio.connected())

        async def coroutine(_globs: Any, request: Request) -> None:
            await gone_too.wait()
            news.append(request.socketio.connected())

        news = News()
        stage = Stage(of_kind(kind, plain, coroutine))
        stage.say_numbers(*range(INBOX_HIGH + 10))
        stage.leave()
        assert stage.connection.reading == ["pause", "resume"]
        gone.set()
        gone_too.set()
        assert await news.reach(1) == [False]
        await stage.ended()

    play(story)


def test_reading_goes_on_when_the_thread_catches_up_during_the_pause() -> None:
    """Between the count and the pause the handler may empty the inbox, and fall asleep."""

    async def story() -> None:
        news = News()
        start = threading.Event()

        def plain(_globs: Any, request: Request) -> None:
            start.wait(PATIENCE_S)
            for message in request.socketio or ():
                news.append(message)

        stage = Stage(plain)

        def pause() -> None:
            stage.connection.reading.append("pause")
            start.set()
            while stage.runner.waiting():
                threading.Event().wait(0.001)

        stage.connection.pause = pause  # type: ignore[method-assign]
        stage.say_numbers(*range(INBOX_HIGH))
        assert stage.connection.reading == ["pause", "resume"]
        await news.reach(INBOX_HIGH)
        stage.leave()
        await stage.ended()
        assert stage.connection.reading == ["pause", "resume"]

    play(story)


@BOTH
def test_sender_waits_while_the_clients_queue_is_long(kind: str) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            for number in range(2):
                request.socketio.send(number)
                news.append(number)

        async def coroutine(_globs: Any, request: Request) -> None:
            for number in range(2):
                await request.socketio.send(number)
                news.append(number)

        stage = Stage(of_kind(kind, plain, coroutine), congested=True)
        await stage.hears(1)
        while not stage.connection.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert news == []
        stage.connection.drain()
        await news.reach(2)
        await stage.ended()

    play(story)


def test_coroutine_that_waits_for_what_is_cancelled_has_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async def coroutine(_globs: Any, _request: Request) -> None:
            other = asyncio.create_task(asyncio.sleep(0))
            other.cancel()
            await other

        await Stage(coroutine).ended()

    play(story)
    (record,) = caplog.records
    assert "CancelledError" in record.getMessage()


def test_wait_that_was_given_up_is_not_ended_twice() -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            try:
                async with asyncio.timeout(0.01):
                    await request.socketio.send("x")
            except TimeoutError:
                news.append("timeout")
            await request.socketio.recv()

        stage = Stage(coroutine, congested=True)
        await news.reach(1)
        stage.connection.drain()
        stage.leave()
        await stage.ended()

    play(story)


# -- acknowledgements --------------------------------------------------------------------------


@BOTH
def test_call_gives_the_acknowledgements_arguments(kind: str) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            news.append(request.socketio.call("ask", 1))
            news.append(request.socketio.call("ask", 2, timeout=PATIENCE_S))
            news.append(request.socketio.recv())

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            news.append(await request.socketio.call("ask", 1))
            news.append(await request.socketio.call("ask", 2, timeout=PATIENCE_S))
            news.append(await request.socketio.recv())

        stage = Stage(of_kind(kind, plain, coroutine))
        await stage.hears(1)
        stage.say('30["a","b"]')
        await stage.hears(2)
        stage.say_numbers(7)
        stage.say("31[]")
        assert await news.reach(3) == [["a", "b"], [], [7]]
        assert (await stage.hears(2))[:2] == ['20["ask",1]', '21["ask",2]']
        await stage.ended()

    play(story)


@BOTH
@pytest.mark.parametrize("timeout", [0.01, -1])
def test_call_gives_up_after_its_timeout(kind: str, timeout: float) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            try:
                request.socketio.call("ask", timeout=timeout)
            except TimeoutError as error:
                news.append(str(error))
            request.socketio.recv()

        async def coroutine(_globs: Any, request: Request) -> None:
            try:
                await request.socketio.call("ask", timeout=timeout)
            except TimeoutError as error:
                news.append(str(error))
            await request.socketio.recv()

        stage = Stage(of_kind(kind, plain, coroutine))
        assert await news.reach(1) == [f"no acknowledgement within {timeout} s"]
        await stage.hears(1)
        stage.say('30["too late"]')
        stage.leave()
        await stage.ended()

    play(story)


@BOTH
def test_call_ends_when_the_client_goes(kind: str) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            for _ in range(2):
                try:
                    request.socketio.call("ask")
                except SocketClosed:
                    news.append("closed")

        async def coroutine(_globs: Any, request: Request) -> None:
            for _ in range(2):
                try:
                    await request.socketio.call("ask")
                except SocketClosed:
                    news.append("closed")

        stage = Stage(of_kind(kind, plain, coroutine))
        await stage.hears(1)
        stage.leave()
        await news.reach(2)
        assert len(await stage.hears(1)) == 1
        await stage.ended()

    play(story)


def test_answer_and_end_in_one_turn_are_an_answer() -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            news.append(await request.socketio.call("ask"))

        stage = Stage(coroutine)
        await stage.hears(1)
        stage.say("30[1]")
        stage.leave()
        assert await news.reach(1) == [[1]]
        await stage.ended()

    play(story)


@BOTH
def test_callback_runs_in_the_loop_where_a_def_must_not_wait(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        news = News()
        here = threading.get_ident()

        def ask(socket: Socket) -> None:
            def answered(*args: Any) -> None:
                news.append((threading.get_ident() == here, args))
                socket.send("thanks")
                if kind == "def":
                    socket.recv()

            socket.emit("ask", ack=answered)

        def plain(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            ask(request.socketio)
            request.socketio.recv()

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            ask(request.socketio)
            await request.socketio.recv()

        stage = Stage(of_kind(kind, plain, coroutine))
        await stage.hears(1)
        stage.connection.congested = True
        stage.say('30["yes"]')
        assert await news.reach(1) == [(True, ("yes",))]
        assert await stage.hears(2) == ['20["ask"]', '2["message","thanks"]']
        stage.connection.drain()
        stage.leave()
        await stage.ended()
        lines = logged(caplog)
        assert len(lines) == (1 if kind == "def" else 0)
        assert all("must not wait" in line and "a callback of <socket " in line for line in lines)

    play(story)


# -- threads ---------------------------------------------------------------------------------


def test_second_thread_of_a_handler_may_receive_and_both_end() -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            def receive() -> None:
                try:
                    while True:
                        news.append(list(request.socketio.recv()))
                except SocketClosed:
                    news.append("closed")

            other = threading.Thread(target=receive)
            other.start()
            receive()
            other.join()

        stage = Stage(plain)
        stage.say_numbers(1, 2)
        await news.reach(2)
        stage.leave()
        assert sorted(map(str, (await news.reach(5))[2:])) == ["[]", "closed", "closed"]
        await stage.ended()

    play(story)


def test_burst_of_a_thread_arrives_in_order() -> None:
    async def story() -> None:
        def plain(_globs: Any, request: Request) -> None:
            for number in range(1000):
                request.socketio.send(number)

        heard = await Stage(plain).hears(1001)
        assert heard == [*(f'2["message",{number}]' for number in range(1000)), "1"]

    play(story)


def test_handler_is_async_if_calling_it_makes_a_coroutine() -> None:
    class Plain:
        def __call__(self, _globs: Any, _request: Any) -> None:
            """A def."""

    class Async:
        async def __call__(self, _globs: Any, _request: Any) -> None:
            """An async def."""

    async def coroutine(_globs: Any, _request: Any) -> None:
        """An async def."""

    assert not is_async(Plain())
    assert not is_async(len)
    assert is_async(Async())
    assert is_async(coroutine)
    assert is_async(functools.partial(coroutine, {}))


# -- coroutines ------------------------------------------------------------------------------


def test_coroutine_runs_on_the_spot_while_it_only_receives() -> None:
    async def story() -> None:
        heard: list[Any] = []

        async def echo(_globs: Any, request: Request) -> None:
            while True:
                message = await request.socketio.recv()
                request.socketio.send(message[0])

        def deliver() -> None:
            for number in (1, 2, 3):
                stage.say_numbers(number)
                heard.append(stage.connection.said[-1])

        stage = Stage(echo)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(deliver)
        await stage.hears(3)
        assert heard == [f'2["message",{number}]' for number in (1, 2, 3)]
        stage.leave()
        await stage.ended()

    play(story)


def test_messages_delivered_by_another_task_keep_their_order() -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            async for message in request.socketio:
                news.append(message[0])

        stage = Stage(coroutine)
        await asyncio.sleep(0)
        stage.post(3, 4)
        stage.say_numbers(1, 2)  # in this task, so the coroutine can't run yet
        await asyncio.sleep(0)
        stage.say_numbers(5)
        stage.post(6)
        assert await news.reach(6) == [1, 2, 3, 4, 5, 6]
        stage.leave()
        await stage.ended()

    play(story)


async def by_wait_for(socket: Socket) -> Any:
    return await asyncio.wait_for(socket.recv(), PATIENCE_S)


async def by_timeout(socket: Socket) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await socket.recv()


async def by_gather(socket: Socket) -> Any:
    return (await asyncio.gather(socket.recv(), asyncio.sleep(0)))[0]


async def by_task_group(socket: Socket) -> Any:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(socket.recv())
    return task.result()


async def by_task(socket: Socket) -> Any:
    return await asyncio.create_task(socket.recv())


async def by_sleep(socket: Socket) -> Any:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return await socket.recv()


async def by_queue(socket: Socket) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    asyncio.get_running_loop().call_soon(queue.put_nowait, await socket.recv())
    return await queue.get()


async def by_future(socket: Socket) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    message = await socket.recv()
    future.set_result(message)
    return await future


WAYS = [
    by_wait_for,
    by_timeout,
    by_gather,
    by_task_group,
    by_task,
    by_sleep,
    by_queue,
    by_future,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("at_once", [True, False], ids=["burst", "one by one"])
def test_coroutine_may_wait_as_asyncio_allows(
    way: Callable[[Socket], Coroutine[Any, Any, Any]],
    at_once: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        news = News()
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            task = asyncio.current_task()
            variable.set("kept")
            while request.socketio.connected():
                for wait in (way, Socket.recv):
                    news.append(list(await wait(request.socketio)))
                    assert asyncio.current_task() is task
                    assert variable.get() == "kept"

        stage = Stage(coroutine)
        if at_once:
            stage.post(*range(6))
        else:
            for number in range(6):
                stage.post(number)
                await news.reach(number + 1)
        await news.reach(6)
        asyncio.get_running_loop().call_soon(stage.leave)
        await stage.ended()
        assert news[:6] == [[number] for number in range(6)]
        assert news[6] == []
        assert variable.get("not set here") == "not set here"
        assert logged(caplog) == []

    play(story)


@pytest.mark.parametrize("limit", ["wait_for", "timeout", "recv"])
def test_coroutine_whose_wait_ran_out_loses_no_message(limit: str) -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            socket = request.socketio
            assert socket is not None
            while len(news) < 60:
                try:
                    if limit == "wait_for":
                        message = await asyncio.wait_for(socket.recv(), 0.0005)
                    elif limit == "timeout":
                        async with asyncio.timeout(0.0005):
                            message = await socket.recv()
                    else:
                        message = await socket.recv(0.0005)
                except TimeoutError:
                    continue
                news.append(message[0])

        stage = Stage(coroutine)
        loop = asyncio.get_running_loop()
        for number in range(60):
            loop.call_later(0.0005 * number, stage.say_numbers, number)
        assert await news.reach(60) == list(range(60))
        await stage.ended()

    play(story)


@pytest.mark.parametrize("first", ["recv", "task"])
def test_two_tasks_can_not_receive_at_the_same_time(first: str) -> None:
    async def story() -> None:
        news = News()

        async def receive(socket: Socket) -> None:
            try:
                news.append(await socket.recv())
            except RuntimeError as error:
                news.append(str(error))

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            task = asyncio.create_task(receive(request.socketio))
            if first == "task":
                await asyncio.sleep(0)
            await receive(request.socketio)
            await task

        stage = Stage(coroutine)
        await news.reach(1)
        stage.post(7)
        said, message = await news.reach(2)
        assert said == "two tasks call recv() of one socket at the same time"
        assert message == [7]
        await stage.ended()

    play(story)


@pytest.mark.parametrize("when", ["parked", "before the message", "behind the message"])
def test_cancelled_coroutine_loses_no_message(when: str) -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            while True:
                try:
                    news.append(list(await request.socketio.recv()))
                except asyncio.CancelledError:
                    news.append("cancelled")

        stage = Stage(coroutine)
        await asyncio.sleep(0)
        task = stage.runner._task

        def both() -> None:
            if when == "before the message":
                task.cancel()
            stage.say_numbers(1, 2)
            if when == "behind the message":
                task.cancel()

        if when == "parked":
            task.cancel()
            await news.reach(1)
        asyncio.get_running_loop().call_soon(both)
        expected = [[1], [2]] if when == "behind the message" else ["cancelled", [1], [2]]
        if when == "behind the message":
            expected.append("cancelled")  # type: ignore[arg-type]
        assert await news.reach(3) == expected
        stage.leave()
        await stage.ended()
        assert news[3:] == [[]]

    play(story)


@pytest.mark.parametrize("gone", [False, True])
def test_cancelled_handler_closes_its_socket(gone: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()

        stage = Stage(coroutine)
        await asyncio.sleep(0)
        stage.runner._task.cancel()
        if gone:
            stage.leave()
        await stage.ended()
        assert stage.runner._task.cancelled()
        assert stage.connection.said[1:] == ([] if gone else ["1"])
        assert logged(caplog) == []

    play(story)


@pytest.mark.parametrize("at_once", [True, False])
def test_cancellation_reaches_what_the_coroutine_has_begun_to_wait_for(at_once: bool) -> None:
    async def story() -> None:
        children: list[asyncio.Task[Any]] = []

        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()
            children.extend(asyncio.create_task(asyncio.sleep(PATIENCE_S)) for _ in range(2))
            await asyncio.gather(*children)

        def both() -> None:
            stage.say_numbers(1)
            if at_once:
                stage.runner._task.cancel()
            else:
                asyncio.get_running_loop().call_soon(stage.runner._task.cancel)

        stage = Stage(coroutine)
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(both)
        await stage.ended()
        assert [task.cancelled() for task in (stage.runner._task, *children)] == [True] * 3

    play(story)


def test_cancellation_interrupts_a_turn_of_the_loop() -> None:
    async def story() -> None:
        news = News()

        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                news.append("cancelled")

        stage = Stage(coroutine)
        await asyncio.sleep(0)

        def both() -> None:
            stage.say_numbers(1)
            stage.runner._task.cancel()

        asyncio.get_running_loop().call_soon(both)
        await news.reach(1)
        await stage.ended()
        assert not stage.runner._task.cancelled()

    play(story)


def test_outcome_of_a_handler_stands_though_it_is_cancelled_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        async def coroutine(_globs: Any, request: Request) -> None:
            await request.socketio.recv()
            raise ValueError("before")

        stage = Stage(coroutine)
        await asyncio.sleep(0)

        def both() -> None:
            stage.say_numbers(1)
            stage.runner._task.cancel()

        asyncio.get_running_loop().call_soon(both)
        await stage.ended()
        assert not stage.runner._task.cancelled()
        (line,) = logged(caplog)
        assert line.endswith("ValueError: before")

    play(story)


def test_client_that_goes_ends_a_task_group_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async def receive(socket: Socket) -> None:
            while True:
                await socket.recv()

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(receive(request.socketio))
                group.create_task(asyncio.Event().wait())

        stage = Stage(coroutine)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stage.leave()
        await stage.ended()
        assert logged(caplog) == []

    play(story)


def test_task_of_a_handler_that_catches_everything_sleeps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        news = News()

        async def receive(socket: Socket) -> None:
            for _ in range(5):
                news.append("call")
                try:  # noqa: SIM105
                    await socket.recv()
                except:  # noqa: E722
                    pass
            news.append("cancelled, which it catches too")

        async def coroutine(_globs: Any, request: Request) -> None:
            assert request.socketio is not None
            task = asyncio.create_task(receive(request.socketio))
            await news.reach(5)
            await asyncio.sleep(0)
            task.cancel()
            await task

        stage = Stage(coroutine)
        stage.leave()
        await news.reach(6)
        await stage.ended()
        assert len(logged(caplog)) == 1

    play(story)


def test_loop_that_is_closed_under_a_handler_leaves_it_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    news: list[str] = []

    async def coroutine(_globs: Any, request: Request) -> None:
        try:
            await request.socketio.recv()
        finally:
            news.append("closed")

    async def story() -> Stage:
        stage = Stage(coroutine)
        await asyncio.sleep(0)
        return stage

    loop = asyncio.new_event_loop()
    stage = loop.run_until_complete(story())
    loop.close()
    stage.runner._task.get_coro().close()
    stage.runner._task._log_destroy_pending = False  # the end of the loop is no fault here
    assert news == ["closed"]
    assert stage.connection.said[1:] == []
    assert logged(caplog) == []
