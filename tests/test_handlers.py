"""The `on` lines of a path: who is let in, what is acknowledged, and what an error becomes."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from clock import Clock
from test_runners import BOTH, News, Stage, logged, play

from redbarrel_lite import handlers
from redbarrel_lite.coroutines import CoroutineRunner
from redbarrel_lite.errors import AppError, Refused, RemoteProtocolError, SocketClosed
from redbarrel_lite.handlers import Line, Lines
from redbarrel_lite.outgoing import MAX_HELD_BYTES
from redbarrel_lite.request import Request
from redbarrel_lite.runners import INBOX_HIGH, ThreadRunner


def lines(rest: Callable[..., Any] | None = None, **functions: Callable[..., Any]) -> Lines:
    named = {event: Line.of(f, f"app.{event}", event) for event, f in functions.items()}
    return Lines(named, Line.of(rest, "app.rest", "*") if rest else None)


def of(kind: str, function: Any) -> Callable[..., Any]:
    """A function of this kind, that does the same."""
    if kind == "def":
        return function  # type: ignore[no-any-return]

    @functools.wraps(function)
    async def coroutine(*args: Any) -> Any:
        return function(*args)

    return coroutine


async def over(stage: Stage) -> None:
    """Wait until all handlers have ended."""
    async with asyncio.timeout(20):
        while stage.hub.runners:  # noqa: ASYNC110  # threads too
            await asyncio.sleep(0.001)


# -- which arguments a line's function gets --------------------------------------------------


def two(globs: Any, request: Any) -> Any: ...
def three(globs: Any, request: Any, a: Any) -> Any: ...
def optional(globs: Any, request: Any, a: Any, b: Any = 0) -> Any: ...
def anything(globs: Any, request: Any, *args: Any) -> Any: ...
def only(request: Any) -> Any: ...
def one(event: Any) -> Any: ...
def short(request: Any, a: Any) -> Any: ...
def shorter(req: Any, *args: Any) -> Any: ...
def star(*args: Any) -> Any: ...
def first(it: Any, *args: Any) -> Any: ...
def option(globs: Any, request: Any, *, flag: bool = False) -> Any: ...


class Room:
    def enter(self, request: Any, name: Any) -> Any: ...
    def __call__(self, globs: Any, request: Any, a: Any) -> Any: ...


@pytest.mark.parametrize(
    ("function", "skip", "counts"),
    [
        (two, 0, [0]),
        (three, 0, [1]),
        (optional, 0, [1, 2]),
        (anything, 0, [0, 1, 2, 3]),
        (only, 1, [0]),
        (one, 1, [0]),
        (short, 1, [1]),
        (shorter, 1, [0, 1, 2, 3]),
        (star, 0, [0, 1, 2, 3]),
        (first, 0, [0, 1, 2, 3]),
        (option, 0, [0]),
        (Room().enter, 1, [1]),
        (Room(), 0, [1]),
        (functools.partial(optional, b=1), 0, [1]),
        (min, 0, [0, 1, 2, 3]),  # it says nothing of its parameters
    ],
)
def test_form_of_a_function_says_what_it_gets(
    function: Callable[..., Any], skip: int, counts: list[int]
) -> None:
    line = Line.of(function, "app.f", "join")
    assert line.skip == skip
    assert [count for count in range(4) if line.least <= count <= line.most] == counts


def nothing() -> Any: ...
def keyword(globs: Any, request: Any, *, flag: bool) -> Any: ...
def generator(globs: Any, request: Any) -> Any:
    yield 1


async def async_generator(globs: Any, request: Any) -> Any:
    yield 1


@pytest.mark.parametrize(
    ("function", "event", "what"),
    [
        (3, "join", "'app.f' is not callable but of type int"),
        (nothing, "join", "'app.f' takes no request"),
        (keyword, "join", "parameter 'flag' of 'app.f' can't be filled: events have no names"),
        (generator, "join", "'app.f' is a generator"),
        (async_generator, "join", "'app.f' is a generator"),
        (
            lambda _globs, _request, _a, _b: 0,
            "connect",
            "takes 2 arguments after the request, but 'on connect'",
        ),
        (lambda _globs, _request, _a, _b: 0, "disconnect", "takes 2 arguments after the request"),
    ],
)
def test_function_that_can_not_be_called_is_refused_at_the_start(
    function: Any, event: str, what: str
) -> None:
    with pytest.raises(AppError) as refused:
        Line.of(function, "app.f", event)
    assert what in str(refused.value)
    assert refused.value.hint


# -- events ------------------------------------------------------------------------------------


@BOTH
def test_event_calls_its_line_and_what_that_returns_is_the_acknowledgement(kind: str) -> None:
    async def story() -> None:
        def add(_globs: Any, request: Request, a: int, b: int) -> int:
            assert request.socketio.connected()
            return a + b

        def pair(request: Request) -> tuple[int, list[int]]:
            return 1, [2, 3]

        def content(_globs: Any, _request: Request) -> bytes:
            return b"\x01"

        def quiet(_request: Request) -> None:
            return None

        functions = {"add": add, "pair": pair, "content": content, "quiet": quiet}
        stage = Stage(None, lines=lines(**{n: of(kind, f) for n, f in functions.items()}))
        assert stage.runners == []  # an idle client has none
        stage.say('21["add",1,2]', '2["add",3,4]', '22["pair"]', '23["content"]', '24["quiet"]')
        assert await stage.hears(5) == [
            "31[3]",
            "32[1,[2,3]]",
            '61-3[{"_placeholder":true,"num":0}]',
            b"\x01",
            "34[]",
        ]
        (runner,) = stage.runners
        assert isinstance(runner, ThreadRunner if kind == "def" else CoroutineRunner)
        stage.leave()
        await over(stage)

    play(story)


@BOTH
def test_rest_is_told_the_events_name(kind: str) -> None:
    async def story() -> None:
        def rest(_globs: Any, _request: Request, event: str, *args: Any) -> list[Any]:
            return [event, *args]

        def join(_globs: Any, _request: Request) -> str:
            return "joined"

        stage = Stage(None, lines=lines(of(kind, rest), join=of(kind, join)))
        stage.say('21["leave",1]', '22["join"]', "23[4,5]", '24["*"]')
        assert await stage.hears(4) == [
            '31[["leave",1]]',
            '32["joined"]',
            '33[["4",5]]',
            '34[["*"]]',
        ]
        stage.leave()
        await over(stage)

    play(story)


@BOTH
def test_event_with_a_line_never_reaches_recv(kind: str) -> None:
    async def story() -> None:
        news = News()

        async def use(request: Request) -> None:
            news.append(request.socketio.on_connect())
            async for message in request.socketio:
                news.append((message.event, list(message)))

        def join(_globs: Any, _request: Request, name: str) -> None:
            news.append(f"joined {name}")

        stage = Stage(lambda _globs, _request: None, lines=lines(join=of(kind, join)))
        stage.leave()
        await over(stage)

        async def handler(_globs: Any, request: Request) -> None:
            await use(request)

        stage = Stage(handler, lines=lines(join=of(kind, join)))
        stage.say('2["message","a"]', '2["join","red"]', '2["message","b"]', '2["other"]')
        assert sorted(map(str, await news.reach(5))) == sorted(
            ["True", "('message', ['a'])", "joined red", "('message', ['b'])", "('other', [])"]
        )
        stage.leave()
        await over(stage)

    play(story)


def test_event_that_nothing_takes_is_ignored_and_an_acknowledgement_says_so() -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(join=of("async def", two)))
        stage.say('2["other"]', '27["other",1]')
        assert await stage.hears(1) == ['37[{"error":"nothing takes the event \'other\'"}]']
        stage.leave()
        await over(stage)

    play(story)


@BOTH
def test_events_are_handled_strictly_in_order(kind: str) -> None:
    """The line for each is over before the next begins, though it takes longer for some."""

    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request, number: int) -> int:
            news.append(number)
            if number % 10 == 0:
                request.socketio.call("wait")
            news.append(-number)
            return number

        async def coroutine(_globs: Any, request: Request, number: int) -> int:
            news.append(number)
            if number % 10 == 0:
                await request.socketio.call("wait")
            news.append(-number)
            return number

        stage = Stage(None, lines=lines(n=plain if kind == "def" else coroutine))
        stage.say(*(f'2{number}["n",{number}]' for number in range(1, 31)))
        for call in range(3):
            await news.reach(20 * (call + 1) - 1)
            await stage.hears(11 * call + 10)
            assert len(news) == 20 * (call + 1) - 1
            stage.say(f"3{call}[]")
        expected = [sign * number for number in range(1, 31) for sign in (1, -1)]
        assert await news.reach(60) == expected
        acks = [text for text in await stage.hears(33) if str(text).startswith("3")]
        assert acks == [f"3{number}[{number}]" for number in range(1, 31)]
        stage.leave()
        await over(stage)

    play(story)


def test_coroutine_lines_run_on_the_spot() -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(add=of("async def", lambda _g, _r, a, b: a + b)))
        stage.say('2["add",0,0]')
        await asyncio.sleep(0)  # its task begins
        stage.post()  # in no task, as transports do

        def say() -> None:
            stage.say('20["add",1,2]', '21["add",3,4]')
            assert stage.connection.said[-2:] == ["30[3]", "31[7]"]
            said.set()

        said = asyncio.Event()
        asyncio.get_running_loop().call_soon(say)
        await said.wait()
        stage.leave()
        await over(stage)

    play(story)


def test_lines_of_both_kinds_keep_the_order_and_each_runs_where_it_belongs() -> None:
    async def story() -> None:
        loop = threading.get_ident()
        where: list[bool] = []

        def plain(_globs: Any, _request: Request, number: int) -> int:
            where.append(threading.get_ident() == loop)
            return number

        async def coroutine(request: Request, number: int) -> int:
            await asyncio.sleep(0)
            where.append(threading.get_ident() == loop)
            (answer,) = await request.socketio.call("ask", timeout=20)
            return number + int(answer)

        stage = Stage(None, lines=lines(plain=plain, coroutine=coroutine))
        stage.say('20["plain",1]', '21["coroutine",2]', '22["plain",3]')
        assert await stage.hears(2) == ["30[1]", '20["ask"]']
        stage.say("30[10]")
        assert (await stage.hears(4))[2:] == ["31[12]", "32[3]"]
        assert where == [False, True, False]
        stage.leave()
        await over(stage)

    play(story)


@BOTH
def test_client_that_sends_faster_than_its_lines_work_is_held_up(kind: str) -> None:
    async def story() -> None:
        go_on = threading.Event()

        def plain(_globs: Any, _request: Request) -> None:
            go_on.wait(20)

        async def coroutine(_globs: Any, _request: Request) -> None:
            await asyncio.to_thread(go_on.wait, 20)

        stage = Stage(None, lines=lines(x=plain if kind == "def" else coroutine))
        stage.say(*['2["x"]'] * (INBOX_HIGH + 2))
        assert stage.connection.reading == ["pause"]
        go_on.set()
        stage.leave()
        await over(stage)
        assert stage.connection.reading == ["pause", "resume"]

    play(story)


# -- errors --------------------------------------------------------------------------------------


def fails(_globs: Any, _request: Request) -> None:
    raise LookupError("of the user")


@BOTH
def test_line_that_fails_is_logged_once_and_the_next_event_is_handled(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(bad=of(kind, fails), good=of(kind, lambda _g, _r: "yes")))
        stage.say('20["bad"]', '2["bad"]', '21["good"]')
        failed = '30[{"error":"the server failed; its log says why"}]'
        assert await stage.hears(2) == [failed, '31["yes"]']
        stage.leave()
        await over(stage)
        told = logged(caplog)
        assert len(told) == 2
        assert told[0].startswith(f"app.bad, for 'bad', of {stage.socket!r} failed:\nTraceback")
        assert told[0].endswith("LookupError: of the user")
        assert stage.socket.session.session_id not in told[0]
        assert "redbarrel_lite" not in told[0]

    play(story)


@BOTH
def test_refused_is_an_answer_and_no_failure(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        def bare(_globs: Any, _request: Request) -> None:
            raise Refused("not yours")

        def full(_globs: Any, _request: Request) -> None:
            raise Refused("not yours", {"owner": 3})

        stage = Stage(None, lines=lines(bare=of(kind, bare), full=of(kind, full)))
        stage.say('2["bare"]', '20["bare"]', '21["full"]')
        assert await stage.hears(2) == [
            '30[{"error":"not yours"}]',
            '31[{"error":"not yours","data":{"owner":3}}]',
        ]
        stage.leave()
        await over(stage)
        assert logged(caplog) == []

    play(story)


@BOTH
def test_wrong_number_of_arguments_is_told_to_both_sides(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(of(kind, three), join=of(kind, three)))
        many = ",1" * 100_000
        stage.say('20["join"]', f'21["join"{many}]', '2["join"]', '22["other"]', '23["join",1]')
        assert await stage.hears(4) == [
            '30[{"error":"\'join\' does not take 0 arguments"}]',
            '31[{"error":"\'join\' does not take 100000 arguments"}]',
            "32[]",
            "33[]",
        ]
        stage.leave()
        await over(stage)
        assert logged(caplog) == [
            f"{stage.socket!r}: 'join' does not take 0 arguments:"
            " app.join takes 1, behind its request"
        ]

    play(story)


@BOTH
@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), [[{1}]]])
def test_result_that_is_no_json_is_told_to_both_sides(
    kind: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(get=of(kind, lambda _g, _r: value)))
        stage.say('20["get"]')
        assert await stage.hears(1) == ['30[{"error":"the server failed; its log says why"}]']
        stage.leave()
        await over(stage)
        (told,) = logged(caplog)
        assert f"app.get returned for 'get' of {stage.socket!r} what can't be sent: " in told

    play(story)


@BOTH
def test_line_whose_client_goes_meanwhile_ends_quietly(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        news = News()

        def plain(_globs: Any, request: Request) -> None:
            try:
                request.socketio.call("ask")
            except SocketClosed:
                news.append("closed")
                raise

        async def coroutine(_globs: Any, request: Request) -> None:
            try:
                await request.socketio.call("ask")
            except SocketClosed:
                news.append("closed")
                raise

        def left(_globs: Any, _request: Request, reason: str) -> None:
            news.append(reason)

        on = lines(x=plain if kind == "def" else coroutine, disconnect=of(kind, left))
        stage = Stage(None, lines=on)
        stage.say('20["x"]')
        await stage.hears(1)
        stage.leave()
        assert await news.reach(2) == ["closed", "transport close"]
        await over(stage)
        assert logged(caplog) == []

    play(story)


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit("3")])
def test_exit_in_a_line_ends_nothing_but_the_line(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        def leave(_globs: Any, _request: Request) -> None:
            raise error

        for kind in ("def", "async def"):
            stage = Stage(None, lines=lines(leave=of(kind, leave), ask=of(kind, lambda _g, _r: 1)))
            stage.say('2["leave"]', '20["ask"]')
            assert await stage.hears(1) == ["30[1]"]
            stage.leave()
            await over(stage)
        told = f"{type(error).__name__}: 3"
        assert [told in line for line in logged(caplog)] == [True, True]

    play(story)


def test_cancelled_line_ends_the_socket() -> None:
    async def story() -> None:
        async def cancelled(_globs: Any, _request: Request) -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

        stage = Stage(None, lines=lines(x=cancelled))
        stage.say('2["x"]')
        assert await stage.hears(1) == ["1"]
        await over(stage)

    play(story)


# -- connect and disconnect ------------------------------------------------------------------------


@BOTH
def test_connect_is_asked_before_the_client_is_let_in(kind: str) -> None:
    async def story() -> None:
        news = News()

        def connect(_globs: Any, request: Request, auth: Any) -> None:
            socket = request.socketio
            assert request.socketio.server.sockets() == []
            assert socket.connected()
            socket.join("red")
            socket.emit("hello", auth["token"])
            socket.broadcast("to nobody")
            request.socketio.server.broadcast("for all", room="red")

        def use(_globs: Any, request: Request) -> None:
            news.append((request.socketio.on_connect(), len(request.socketio.server.sockets())))
            request.socketio.recv()

        stage = Stage(use, lines=lines(connect=of(kind, connect)))
        assert stage.connection.said == []
        await news.reach(1)
        heard = await stage.hears(2)
        assert stage.connection.said[0] == f'0{{"sid":"{stage.socket.session.session_id}"}}'
        assert heard == ['2["hello","abc"]', '2["message","for all"]']
        assert news == [(True, 1)]
        stage.leave()
        await over(stage)

    play(story)


@BOTH
@pytest.mark.parametrize(
    ("answer", "packet", "told"),
    [
        (False, '4{"message":"refused"}', []),
        (Refused(), '4{"message":"refused"}', []),
        (Refused("no", {"why": 3}), '4{"message":"no","data":{"why":3}}', []),
        (Refused("no", {3}), '4{"message":"no"}', ["can't be sent"]),
        (Refused(object()), '4{"message":"<object object', ["can't be sent"]),  # type: ignore[arg-type]
        (LookupError("x"), '4{"message":"the server failed; its log says why"}', ["app.connect"]),
    ],
)
def test_connect_may_refuse_and_then_nothing_has_been(
    kind: str, answer: Any, packet: str, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> None:
        def connect(_globs: Any, request: Request) -> Any:
            request.socketio.join("red")
            request.socketio.emit("secret")
            if isinstance(answer, Exception):
                raise answer
            return answer

        never = of(kind, lambda _g, _r: pytest.fail("called"))
        on = lines(connect=of(kind, connect), disconnect=never)
        stage = Stage(lambda _globs, _request: pytest.fail("called"), lines=on)
        await over(stage)
        (said,) = stage.connection.said
        assert str(said).startswith(packet)
        assert not stage.socket.connected()
        assert (stage.hub.namespaces, stage.hub.by_sid) == ({}, {})
        assert stage.client.connect_by == 45.0
        assert "turned out" not in caplog.text
        assert len(logged(caplog)) == len(told)
        assert all(what in line for what, line in zip(told, logged(caplog), strict=True))
        with pytest.raises(RemoteProtocolError, match="not connected"):
            stage.say('2["x"]')

    play(story)


@BOTH
@pytest.mark.parametrize("answer", [None, True, 0, ""])
def test_connect_lets_in_whatever_else_it_returns(kind: str, answer: Any) -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(connect=of(kind, lambda _globs, _request: answer)))
        await stage.hears(0)
        assert stage.client.connect_by is None
        stage.leave()
        await over(stage)

    play(story)


@pytest.mark.parametrize("packet", ['2["x"]', "30[]", '0{"token":"abc"}'])
def test_packet_before_the_decision_closes_the_connection(packet: str) -> None:
    async def story() -> None:
        decide = asyncio.Event()
        news = News()

        async def connect(_globs: Any, _request: Request) -> None:
            await decide.wait()

        async def disconnect(_globs: Any, _request: Request, reason: str) -> None:
            news.append(reason)

        stage = Stage(None, lines=lines(connect=connect, disconnect=disconnect))
        with pytest.raises(RemoteProtocolError, match=r"not connected|second CONNECT"):
            stage.say(packet)
        stage.client.end("parse error")
        decide.set()
        await over(stage)
        assert news == ["parse error"]
        assert stage.connection.said == []

    play(story)


@BOTH
@pytest.mark.parametrize("how", ["41", "the connection"])
@pytest.mark.parametrize("refuses", [False, True])
def test_client_that_goes_during_the_decision_leaves_nothing(
    kind: str, how: str, *, refuses: bool
) -> None:
    """`on disconnect` is run if the client would have been let in: it may have much to undo."""

    async def story() -> None:
        news = News()
        decide = threading.Event()

        def connect(_globs: Any, _request: Request) -> bool:
            news.append("connect")
            decide.wait(20)
            return not refuses

        async def later(_globs: Any, _request: Request) -> bool:
            news.append("connect")
            await asyncio.to_thread(decide.wait, 20)
            return not refuses

        on = lines(
            connect=connect if kind == "def" else later,
            disconnect=of(kind, lambda _g, _r, reason: news.append(reason)),
        )
        stage = Stage(lambda _globs, _request: pytest.fail("called"), lines=on)
        await news.reach(1)
        if how == "41":
            stage.say("1")
        else:
            stage.leave()
        assert stage.hub.by_sid == {}
        decide.set()
        await over(stage)
        reason = "client namespace disconnect" if how == "41" else "transport close"
        assert news[1:] == ([] if refuses else [reason])
        assert stage.connection.said == []

    play(story)


@BOTH
def test_disconnect_runs_once_with_the_reason(kind: str) -> None:
    async def story() -> None:
        ends: list[tuple[Callable[[Stage], object], str]] = [
            (lambda stage: stage.say("1"), "client namespace disconnect"),
            (lambda stage: stage.leave(), "transport close"),
            (lambda stage: stage.socket.close(), "server namespace disconnect"),
            (lambda stage: stage.socket.close("bored"), "bored"),
            (
                lambda stage: stage.hub.disconnect(stage.socket.session.session_id),
                "server namespace disconnect",
            ),
            (lambda stage: stage.client.end("ping timeout"), "ping timeout"),
        ]
        for end, reason in ends:
            news = News()

            def left(_globs: Any, request: Request, reason: str, news: News = news) -> None:
                news.append((reason, request.socketio.connected()))
                request.socketio.send("nobody")

            stage = Stage(None, lines=lines(disconnect=of(kind, left)))
            stage.say('2["message","x"]')
            end(stage)
            stage.leave()
            stage.socket.close()
            await over(stage)
            assert news == [(reason, False)]

    play(story)


@BOTH
def test_disconnect_may_leave_the_reason_out(kind: str) -> None:
    async def story() -> None:
        news = News()
        stage = Stage(None, lines=lines(disconnect=of(kind, lambda _request: news.append("end"))))
        stage.leave()
        await over(stage)
        assert news == ["end"]

    play(story)


@BOTH
def test_events_that_wait_are_handled_before_the_disconnect(kind: str) -> None:
    async def story() -> None:
        news = News()
        on = lines(
            x=of(kind, lambda _g, _r, number: news.append(number)),
            disconnect=of(kind, lambda _g, _r, reason: news.append(reason)),
        )
        stage = Stage(None, lines=on)
        stage.say(*(f'2["x",{number}]' for number in range(50)))
        stage.leave()
        await over(stage)
        assert news == [*range(50), "transport close"]

    play(story)


def test_line_that_waits_for_what_is_cancelled_has_failed_and_the_next_is_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story() -> None:
        left: list[str] = []

        async def wait(_globs: Any, _request: Request) -> None:
            other = asyncio.create_task(asyncio.sleep(0))
            other.cancel()
            await other

        goodbye = of("async def", lambda _g, _r, reason: left.append(reason))
        echo = of("async def", lambda _g, _r, x: x)
        stage = Stage(None, lines=lines(wait=wait, echo=echo, disconnect=goodbye))
        stage.say('21["wait"]', '22["echo",5]')
        assert await stage.hears(2) == [
            '31[{"error":"the server failed; its log says why"}]',
            "32[5]",
        ]
        stage.leave()
        await over(stage)
        assert left == ["transport close"]

    play(story)
    (fault,) = logged(caplog)
    assert "app.wait, for 'wait'" in fault
    assert "CancelledError" in fault


def test_handler_of_use_that_returns_closes_the_socket_and_disconnect_is_run() -> None:
    async def story() -> None:
        news = News()
        on = lines(disconnect=of("async def", lambda _g, _r, reason: news.append(reason)))
        stage = Stage(lambda _globs, _request: None, lines=on)
        await over(stage)
        assert news == ["server namespace disconnect"]
        assert stage.connection.said[-1] == "1"

    play(story)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_connect_that_closes_has_refused_and_nobody_has_left(kind: str) -> None:
    async def story() -> None:
        left: list[str] = []

        async def connect(_globs: Any, request: Request) -> None:
            request.socketio.close()

        goodbye = of(kind, lambda _g, _r, reason: left.append(reason))
        stage = Stage(None, lines=lines(connect=connect, disconnect=goodbye))
        await over(stage)
        assert stage.connection.said == ['4{"message":"refused"}']
        assert left == []

    play(story)


def test_what_waits_for_the_decision_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        decide = asyncio.Event()

        async def connect(_globs: Any, _request: Request) -> None:
            await decide.wait()

        stage = Stage(None, lines=lines(connect=connect))
        connection = stage.socket.connection
        assert (connection.transport, connection.congested, connection.ready) == (
            "websocket",
            False,
            False,
        )
        stage.hub.emit("position", 3, volatile=True)
        for _ in range(2):
            stage.hub.broadcast("x" * (MAX_HELD_BYTES // 2))
        (said,) = stage.connection.said
        assert said == '4{"message":"too much was sent before the server had decided"}'
        assert not stage.socket.connected()
        decide.set()
        await over(stage)
        assert len(logged(caplog)) == 1

    play(story)


def test_client_that_is_refused_again_and_again_is_shut_out_unless_it_is_slow() -> None:
    clock = Clock()

    async def story() -> None:
        stage = Stage(None, lines=lines(connect=of("async def", lambda _g, _r: False)))
        stage.hub._loop = clock.as_loop()
        stage.client._asked = ()  # which began by the other clock
        for _ in range(20):
            await over(stage)
            clock.advance(1.0)
            stage.say("0")
        await over(stage)
        clock.advance(1.0)
        for _ in range(16):
            await over(stage)
            stage.say("0")
        await over(stage)
        with pytest.raises(RemoteProtocolError, match="refused 16 times in a second"):
            stage.say("0")

    play(story)


def test_client_that_comes_and_goes_does_not_pile_up_handlers() -> None:
    async def story() -> None:
        go_on = asyncio.Event()

        async def use(_globs: Any, _request: Request) -> None:
            await go_on.wait()

        stage = Stage(use)
        stage.hub._loop = Clock().as_loop()
        stage.say(*["1", "0"] * 16)
        assert len(stage.hub.runners) == 16
        assert stage.connection.said[-1] == '4{"message":"too many namespaces"}'
        with pytest.raises(RemoteProtocolError, match="refused 16 times in a second"):
            stage.say(*["0"] * 16)
        go_on.set()
        stage.leave()
        await over(stage)

    play(story)


@BOTH
def test_line_must_not_receive(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        stage = Stage(None, lines=lines(x=of(kind, lambda _g, request: request.socketio.recv())))
        stage.say('20["x"]')
        assert await stage.hears(1) == ['30[{"error":"the server failed; its log says why"}]']
        stage.leave()
        await over(stage)
        assert "recv() is for the handler that 'use' names" in logged(caplog)[0]

    play(story)


@BOTH
def test_connect_must_not_wait_for_the_client(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        def connect(_globs: Any, request: Request) -> None:
            request.socketio.call("who are you?")

        stage = Stage(None, lines=lines(connect=of(kind, connect)))
        await over(stage)
        assert stage.connection.said == ['4{"message":"the server failed; its log says why"}']
        assert "'on connect' has let nobody in yet" in logged(caplog)[0]

    play(story)


def test_client_is_turned_away_when_there_is_no_thread_to_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        monkeypatch.setattr("redbarrel_lite.runners.THREAD_STACK_BYTES", 1 << 46)
        stage = Stage(None, lines=lines(connect=two))
        assert stage.connection.said == ['4{"message":"refused"}']
        assert stage.hub.runners == set()

    play(story)


def test_name_of_a_handler_is_short() -> None:
    def inner() -> None: ...

    assert handlers.name_of(inner) == "inner"
    assert handlers.name_of(Room().enter) == "Room.enter"
    assert handlers.name_of(Room()) == "Room"


@BOTH
def test_disconnect_still_knows_session_and_rooms(kind: str) -> None:
    async def story() -> None:
        news = News()

        def connect(_globs: Any, request: Request) -> None:
            request.socketio.session["name"] = "Ann"
            request.socketio.join("red")

        def left(_globs: Any, request: Request) -> None:
            socket = request.socketio
            news.append((socket.session["name"], socket.rooms, socket.auth))

        on = lines(connect=of(kind, connect), disconnect=of(kind, left))
        stage = Stage(None, lines=on)
        await stage.hears(0)
        stage.leave()
        await over(stage)
        assert news == [("Ann", {"red"}, {"token": "abc"})]

    play(story)
