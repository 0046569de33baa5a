"""Services: what they may return and raise, and a pool of threads with a bound."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Live, Wire, ask, live, run, until

from redbarrel_lite import exc
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.eager import _go_on
from redbarrel_lite.forms import BadContent
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.services import (
    CLIENT_HAS_GONE,
    Full,
    Pool,
    _run_here,
    _stream,
    failure,
    service,
    to_response,
)

Answer = tuple[int, dict[str, str], bytes]


def request(method: str = "GET", headers: dict[str, str] | None = None, **more: Any) -> Request:
    return Request(method, "/x", list((headers or {}).items()), **more)


async def answered(
    handler: Callable[..., Any], asked: Request | None = None, pool: Pool | None = None
) -> Response:
    answer = service(handler, pool or Pool())(asked or request())
    return await answer if isinstance(answer, Awaitable) else answer


def returned(value: Any, asked: Request | None = None) -> Response:
    """The answer of a handler that returns a value."""
    answer = to_response(value, asked or request())
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("value", "body", "kind"),
    [
        ("é", "é".encode(), "text/html; charset=utf-8"),
        ("a\ud800", "a\ufffd".encode(), "text/html; charset=utf-8"),
        (b"\0", b"\0", "application/octet-stream"),
        ({"a": ["é"]}, '{"a": ["é"]}'.encode(), "application/json"),
        ([1], b"[1]", "application/json"),
        (["\ud800"], rb'["\ud800"]', "application/json"),
    ],
)
def test_value_becomes_an_answer_of_its_type(value: object, body: bytes, kind: str) -> None:
    response = returned(value)
    assert (response.status, response.body) == (200, body)
    assert response.headers == [("content-type", kind)]


def test_none_is_no_content_and_a_response_stays_itself() -> None:
    assert returned(None).status == 204
    response = Response("x", 418)
    assert returned(response) is response


@pytest.mark.parametrize("value", [{1}, (1, 2), 3, 2.5, True, object, range(3)])
def test_value_of_another_type_is_an_error(value: object) -> None:
    with pytest.raises(TypeError, match=r"a handler returned .*, not str"):
        to_response(value, request())


def test_def_runs_in_a_thread_and_async_def_on_the_loop() -> None:
    async def test() -> None:
        names: list[str] = []

        def plain(globs: dict[str, Any], request: Request) -> str:
            names.append(threading.current_thread().name)
            return "plain"

        async def coroutine(globs: dict[str, Any], request: Request) -> str:
            names.append(threading.current_thread().name)
            return "coroutine"

        assert (await answered(plain)).body == b"plain"
        assert (await answered(coroutine)).body == b"coroutine"
        assert names == ["service", "MainThread"]

    run(test())


# -- what request.response adds ------------------------------------------------------------


def test_response_of_the_request_goes_into_the_answer() -> None:
    asked = request()
    asked.response.status = 201
    asked.response.headers["X-A"] = "b"
    asked.response.set_cookie("c", "d")
    answer = returned({"e": 1}, asked)
    assert (answer.status, answer.body) == (201, b'{"e": 1}')
    assert answer.header("x-a") == "b"
    assert answer.header("set-cookie") == "c=d; Path=/; SameSite=Lax; HttpOnly"
    assert answer.header("content-type") == "application/json"


def test_response_of_the_request_may_name_the_type() -> None:
    asked = request()
    asked.response.content_type = "text/css"
    assert returned("p {}", asked).headers == [("content-type", "text/css; charset=utf-8")]


def test_response_of_the_request_gives_way_to_ones_own() -> None:
    asked = request()
    asked.response.set_cookie("c", "d")
    assert returned(Response("x"), asked).header("set-cookie") is None


def test_none_is_what_response_of_the_request_says() -> None:
    asked = request()
    asked.response.set_cookie("c", "d")
    assert returned(None, asked).status == 204
    asked = request()
    asked.response.status = 202
    assert returned(None, asked).status == 202
    asked = request()
    asked.response.text = "x"
    answer = returned(None, asked)
    assert (answer.status, answer.body) == (200, b"x")


def test_cookie_over_tls_is_secure() -> None:
    asked = request(scheme="https")
    asked.response.set_cookie("c", "d")
    asked.response.headers["x"] = "y"
    assert returned("x", asked).headers[:2] == [
        ("set-cookie", "c=d; Path=/; SameSite=Lax; HttpOnly; Secure"),
        ("x", "y"),
    ]


@pytest.mark.parametrize(("method", "status"), [("GET", 304), ("HEAD", 304), ("POST", 200)])
def test_handler_that_sets_an_etag_is_asked_conditionally(method: str, status: int) -> None:
    asked = request(method, {"if-none-match": '"v1"'})
    asked.response.etag = "v1"
    answer = returned("x", asked)
    assert answer.status == status
    asked = request(method, {"if-modified-since": "Thu, 01 Jan 1970 00:00:01 GMT"})
    asked.response.last_modified = 1
    assert returned("x", asked).status == status


# -- what is raised -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_answer_that_is_raised_is_the_answer(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    moved = exc.HTTPSeeOther(location="/there")

    def plain(globs: dict[str, Any], request: Request) -> Any:
        raise moved

    async def coroutine(globs: dict[str, Any], request: Request) -> Any:
        raise moved

    async def test() -> None:
        for _ in range(2):
            answer = await answered(plain if kind == "def" else coroutine)
            assert (answer.status, answer.header("location")) == (303, "/there")
            assert moved.__traceback__ is None  # it would grow with each request

    run(test())
    assert not caplog.records


def test_request_that_can_t_be_read_is_a_400_that_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(globs: dict[str, Any], request: Request) -> Any:
        return request.json["a"]

    async def too_large(globs: dict[str, Any], request: Request) -> Any:
        raise BadContent("too much", 413)

    async def test() -> None:
        answer = await answered(handler, request(body=b"NaN"))
        assert answer.status == 400
        assert answer.body.startswith(b"400 the body is not JSON: NaN is not JSON")
        assert (await answered(too_large)).status == 413

    run(test())
    assert not caplog.records


def failing(error: Any) -> list[Callable[..., Any]]:
    def plain(globs: dict[str, Any], request: Request) -> Any:
        if isinstance(error, BaseException):
            raise error
        return error

    async def coroutine(globs: dict[str, Any], request: Request) -> Any:
        return plain(globs, request)

    def generator(globs: dict[str, Any], request: Request) -> Iterator[Any]:
        yield plain(globs, request)

    return [plain, coroutine, generator]


@pytest.mark.parametrize("which", range(3), ids=["def", "async def", "generator"])
@pytest.mark.parametrize(
    "error", [ValueError("x"), StopIteration(), SystemExit(3), GeneratorExit(), {1}]
)
def test_handler_that_fails_is_a_500(
    error: Any, which: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        pool = Pool(threads=1)
        for _ in range(3):  # and its thread is there for the next one
            response = await answered(failing(error)[which], pool=pool)
            assert response.status == 500
            assert b"the log says why" in response.body

    run(test())
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 3


def test_log_names_the_request_that_failed_however_long_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request = Request("M" * 8000, "/" + "%f0%9f%98%80" * 600, [])
    failure(request, ValueError("x"))
    (line, *_) = caplog.messages[0].splitlines()
    assert line.startswith("MMMMM")
    assert line.endswith("...' failed:")
    assert len(line) < 300


def test_handler_that_is_cancelled_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled(globs: dict[str, Any], request: Request) -> Any:
        raise asyncio.CancelledError

    async def test() -> None:
        assert (await answered(cancelled)).status == 500

    run(test())
    assert "GET '/x' was cancelled" in caplog.text


def test_keyboard_interrupt_ends_what_it_is_meant_to_end() -> None:
    async def interrupted(globs: dict[str, Any], request: Request) -> Any:
        raise KeyboardInterrupt

    async def test() -> None:
        with pytest.raises(KeyboardInterrupt):
            _run_here(interrupted, Pool(), request()).send(None)

    run(test())


@pytest.mark.parametrize("how", ["closed", "thrown at", "closed in its task"])
def test_handler_that_is_closed_has_not_failed(how: str, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    async def waiting(globs: dict[str, Any], request: Request) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("yes")

    async def test() -> None:
        coroutine = _run_here(waiting, Pool(), request())
        waits_for = coroutine.send(None)
        if how == "closed":
            coroutine.close()
        elif how == "thrown at":
            with pytest.raises(GeneratorExit):
                coroutine.throw(GeneratorExit())
        else:
            rest = _go_on(coroutine, waits_for, None)
            rest.send(None)
            rest.close()

    run(test())
    assert ended == ["yes"]
    assert not caplog.records


# -- the pool -------------------------------------------------------------------------------


def test_full_pool_is_a_503_that_says_when_to_come_back() -> None:
    release = threading.Event()

    def wait(globs: dict[str, Any], request: Request) -> str:
        release.wait()
        return "done"

    async def test() -> None:
        pool = Pool(threads=2, waiting=3)
        at_work = [asyncio.ensure_future(answered(wait, pool=pool)) for _ in range(5)]
        await until(lambda: pool._busy == 5)
        response = await answered(wait, pool=pool)
        assert response.status == 503
        assert ("retry-after", "1") in response.headers
        release.set()
        assert [r.body for r in await asyncio.gather(*at_work)] == [b"done"] * 5
        assert (await answered(wait, pool=pool)).body == b"done"
        assert pool._threads == 2

    run(test())


def test_pool_goes_on_with_the_threads_that_the_system_gives(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def test() -> None:
        pool = Pool(threads=2)
        with monkeypatch.context() as system:
            system.setattr(threading.Thread, "start", refuse)
            with pytest.raises(Full):
                pool.run(lambda: "nobody runs it")
        assert pool._busy == 0
        assert await pool.run(lambda: "one thread") == "one thread"
        with monkeypatch.context() as system:
            system.setattr(threading.Thread, "start", refuse)
            both = [pool.run(lambda: "shared"), pool.run(lambda: "shared")]
        assert await asyncio.gather(*both) == ["shared", "shared"]
        assert (pool._threads, pool._busy) == (1, 0)

    run(test())
    told = {record.getMessage() for record in caplog.records if record.name == "redbarrel_lite"}
    assert told == {"no further thread for services: can't start new thread"}


def test_answer_for_a_client_that_gave_up_frees_its_place() -> None:
    release = threading.Event()

    async def test() -> None:
        pool = Pool(threads=1, waiting=0)
        given_up = pool.run(release.wait)
        with pytest.raises(Full):
            pool.run(release.wait)
        given_up.cancel()
        release.set()
        await until(lambda: pool._busy == 0)
        assert await pool.run(release.is_set)

    run(test())


def test_generator_that_waits_for_a_thread_is_not_begun_for_nobody() -> None:
    release = threading.Event()
    begun = []

    def parts(globs: dict[str, Any], request: Request) -> Iterator[str]:
        begun.append("parts")
        yield "part"

    async def test() -> None:
        pool = Pool(threads=1)
        blocks = pool.run(release.wait)
        waiting = asyncio.ensure_future(_stream(parts({}, request()), pool, request()))
        await until(lambda: pool.waiting == 1)
        waiting.cancel(CLIENT_HAS_GONE)
        try:
            await until(waiting.cancelled)
            assert (pool.busy, pool.waiting) == (1, 0)
        finally:
            release.set()
        await blocks
        assert begun == []

    run(test())


def test_failure_behind_a_client_that_has_gone_is_told_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered, release = threading.Event(), threading.Event()

    def fail(globs: dict[str, Any], request: Request) -> str:
        entered.set()
        release.wait()
        raise RuntimeError("on purpose")

    async def test() -> None:
        waiting = asyncio.ensure_future(answered(fail))
        await asyncio.to_thread(entered.wait)
        waiting.cancel(CLIENT_HAS_GONE)
        release.set()
        assert (await waiting).status == 500

    run(test())
    assert "in fail\n" in caplog.text
    assert "RuntimeError: on purpose" in caplog.text
    assert "Cancelled" not in caplog.text


def test_thread_outlives_the_loop_that_it_worked_for() -> None:
    pool = Pool(threads=1)
    entered, release = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        release.wait()

    async def leaves() -> None:
        pool.run(wait)
        await asyncio.get_running_loop().run_in_executor(None, entered.wait)

    async def comes() -> None:
        release.set()
        assert await pool.run(lambda: "done") == "done"

    run(leaves())
    run(comes())


def test_answer_that_has_begun_goes_on_in_a_full_pool() -> None:
    release = threading.Event()

    def parts(globs: dict[str, Any], request: Request) -> Iterator[str]:
        yield "a"
        yield "b"

    async def test() -> None:
        pool = Pool(threads=1, waiting=0)
        response = await answered(parts, pool=pool)
        stream: Any = response.stream
        blocker = pool.run(release.wait)
        rest = asyncio.ensure_future(read(stream))
        await asyncio.sleep(0)
        release.set()
        assert await rest == b"ab"
        assert await blocker

    run(test())


# -- answers in parts -------------------------------------------------------------------------


async def read(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([part async for part in stream])


async def all_of(handler: Callable[..., Any], asked: Request | None = None) -> tuple[str, bytes]:
    response = await answered(handler, asked)
    assert response.status == 200
    stream: Any = response.stream
    return response.header("content-type") or "", await read(stream)


class Counting:
    """An iterator that is no generator: it has nothing to close."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return b"%d" % self.left


class AsyncCounting(Counting):
    __iter__ = None  # type: ignore[assignment]

    def __aiter__(self) -> AsyncCounting:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def __next__(self) -> bytes:
        return super().__next__()


async def async_parts(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


@pytest.mark.parametrize(
    ("make", "kind", "content"),
    [
        (lambda: (x for x in ["a", "é", b"!"]), "text/html; charset=utf-8", "aé!".encode()),
        (lambda: iter([b"a", "b"]), "application/octet-stream", b"ab"),
        (lambda: iter(["", b"", bytearray(b"a"), memoryview(b"b"), ""]), None, b"ab"),
        (lambda: iter([]), "text/html; charset=utf-8", b""),
        (lambda: iter([""]), "text/html; charset=utf-8", b""),
        (lambda: map(str, range(3)), "text/html; charset=utf-8", b"012"),
        (lambda: Counting(3), "application/octet-stream", b"210"),
        (lambda: async_parts("a", "b"), "text/html; charset=utf-8", b"ab"),
        (async_parts, "text/html; charset=utf-8", b""),
        (lambda: AsyncCounting(2), "application/octet-stream", b"10"),
        (lambda: Response(stream=iter(["a", "b"]), content_type="a/b"), "a/b", b"ab"),
        (lambda: Response(stream=async_parts("a"), content_type="a/b"), "a/b", b"a"),
    ],
)
def test_iterator_is_sent_in_parts(
    make: Callable[[], Any], kind: str | None, content: bytes
) -> None:
    async def coroutine(globs: dict[str, Any], request: Request) -> Any:
        return make()

    def plain(globs: dict[str, Any], request: Request) -> Any:
        return make()

    async def test() -> None:
        for handler in (coroutine, plain):
            found = await all_of(handler)
            assert found[1] == content
            assert kind is None or found[0] == kind

    run(test())


def test_generator_is_advanced_and_closed_in_threads() -> None:
    names: list[str] = []

    def parts(globs: dict[str, Any], request: Request) -> Iterator[str]:
        try:
            while True:
                names.append(threading.current_thread().name)
                yield "x"
        finally:
            names.append("end " + threading.current_thread().name)

    async def test() -> None:
        response = await answered(parts)
        stream: Any = response.stream
        assert await anext(stream) == b"x"
        assert await anext(stream) == b"x"
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert names == ["service", "service", "end service"]

    run(test())


def test_generator_at_work_is_closed_when_it_pauses() -> None:
    entered, release = threading.Event(), threading.Event()
    ended: list[str] = []

    def parts(globs: dict[str, Any], request: Request) -> Iterator[str]:
        try:
            yield "x"
            entered.set()
            release.wait()
            yield "y"
        finally:
            ended.append("ended")

    async def test() -> None:
        response = await answered(parts)
        stream: Any = response.stream
        assert await anext(stream) == b"x"
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.get_running_loop().run_in_executor(None, entered.wait)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        closing = asyncio.ensure_future(stream.aclose())
        await asyncio.sleep(0)
        assert not ended
        release.set()
        await closing
        assert ended == ["ended"]

    run(test())


def test_answer_raised_before_the_first_part_is_the_answer() -> None:
    def parts(globs: dict[str, Any], request: Request) -> Iterator[str]:
        if request.path:
            raise exc.HTTPNotFound
        yield "never"

    async def test() -> None:
        assert (await answered(parts)).status == 404

    run(test())


@pytest.mark.parametrize("how", ["SystemExit", "GeneratorExit", "CancelledError", "Ending"])
@pytest.mark.parametrize("target", ["/parts", "/aparts", "/ends", "/aends"])
def test_stream_that_would_end_more_than_itself_breaks_off(
    tmp_path: Path, target: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Or, where the client has gone, ends: the server goes on."""
    rbr = """
    path parts ( url /parts, use python:MODULE.parts );
    path aparts ( url /aparts, use python:MODULE.aparts );
    path ends ( url /ends, use python:MODULE.ends );
    path aends ( url /aends, use python:MODULE.aends );
    """
    source = f"""
    import asyncio
    from asyncio import CancelledError

    class Ending(BaseException): pass

    ended = []

    def parts(globs, request):
        yield "begun"
        raise {how}

    async def aparts(globs, request):
        yield "begun"
        await asyncio.sleep(0)
        raise {how}

    def ends(globs, request):
        try:
            while True:
                yield "begun"
        finally:
            ended.append("ended")
            raise {how}

    async def aends(globs, request):
        try:
            while True:
                yield "begun"
        finally:
            ended.append("ended")
            raise {how}
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source, TimeLimits(half_closed=0.1)) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            if target.endswith("parts"):
                assert not (await wire.rest()).endswith(b"0\r\n\r\n")
            else:
                await wire.reader.readuntil(b"begun")
                wire.reset()
                await until(lambda: bool(server.module.ended))
            await server.empties()
            await server.serves()

    run(test())
    if target.endswith("parts"):
        assert "broke off" in caplog.text
        assert how in caplog.text


def test_part_of_another_type_is_an_error() -> None:
    async def test() -> None:
        def parts(globs: dict[str, Any], request: Request) -> Iterator[Any]:
            return iter(["a", 3])

        stream: Any = (await answered(parts)).stream
        with pytest.raises(TypeError, match="iterator yielded int"):
            await read(stream)

    run(test())


@pytest.mark.parametrize("reason", ["HEAD", "304"])
def test_content_that_is_not_wanted_is_ended(reason: str) -> None:
    ended: list[str] = []

    async def parts(globs: dict[str, Any], request: Request) -> Any:
        request.response.etag = "v1"

        async def endless() -> AsyncIterator[str]:
            try:
                while True:
                    yield "x"
            finally:
                ended.append("ended")

        return endless()

    async def test() -> None:
        asked = request("HEAD") if reason == "HEAD" else request(headers={"if-none-match": "*"})
        answer = await answered(parts, asked)
        assert answer.status == (200 if reason == "HEAD" else 304)
        assert ended == ["ended"]

    run(test())


@pytest.mark.parametrize("make", [Counting, AsyncCounting])
def test_iterator_that_can_t_be_closed_is_let_go(make: Callable[[int], Any]) -> None:
    async def parts(globs: dict[str, Any], request: Request) -> Any:
        return make(2)

    async def test() -> None:
        answer = await answered(parts, request("HEAD"))
        assert await read(answer.stream) == b""  # type: ignore[arg-type]

    run(test())


# -- on the wire --------------------------------------------------------------------------------

STREAMS = """
    import threading

    ended = threading.Event()

    def numbers(globs, request, count="3"):
        try:
            for number in range(int(count)):
                yield f"{number}\\n"
        finally:
            ended.set()

    async def silent(globs, request):
        import asyncio
        try:
            yield "first"
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    def much(globs, request):
        try:
            while True:
                yield b"x" * 1_000_000
        finally:
            ended.set()

    held, going = threading.Event(), threading.Event()

    def held_up(globs, request):
        held.set()
        going.wait()
        return "gone on"

    async def breaks(globs, request):
        yield "first"
        raise ValueError("in the middle")
"""
STREAMS_RBR = """
    path numbers ( url /numbers, use python:MODULE.numbers );
    path much ( url /much, use python:MODULE.much );
    path held ( url /held, use python:MODULE.held_up );
    path silent ( url /silent, use python:MODULE.silent );
    path breaks ( url /breaks, use python:MODULE.breaks );
"""


def module_of(server: Live) -> Any:
    """The module of the test's application."""
    tree = server.server.app.homes[0].file.tree
    use = tree.paths[0].use
    assert use is not None
    return sys.modules[use.target.partition(".")[0]]


async def raw(server: Live, method: str, target: str, version: str = "1.1") -> bytes:
    wire = await Wire.open(server.url)
    await wire.send(f"{method} {target} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n")
    return await wire.rest()


def test_stream_goes_out_chunked_or_until_the_end_of_the_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, STREAMS_RBR, STREAMS) as server:
            answer = await raw(server, "GET", "/numbers")
            assert b"transfer-encoding: chunked" in answer
            assert answer.endswith(b"\r\n\r\n2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n")
            answer = await raw(server, "GET", "/numbers?count=2", "1.0")
            assert answer.endswith(b"\r\n\r\n0\n1\n")
            answer = await raw(server, "HEAD", "/numbers?count=1000000000")
            assert b"transfer-encoding: chunked" in answer
            assert answer.endswith(b"\r\n\r\n")

    run(test())


def test_stream_that_breaks_off_is_not_ended_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, STREAMS_RBR, STREAMS) as server:
            answer = await raw(server, "GET", "/breaks")
            assert not answer.endswith(b"0\r\n\r\n")
            await server.serves()

    run(test())
    assert "in the middle" in caplog.text


def test_stream_that_waits_for_a_thread_to_end_in_gets_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, STREAMS_RBR, STREAMS) as server:
            server.server.app.pool._max_threads = 1
            module = module_of(server)
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send("GET /much HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: bool(server.server.connections))
            (connection,) = server.server.connections
            assert isinstance(connection, HttpConnection)
            await until(lambda: connection._congestion.until is not None)
            other = await Wire.open(server.url)
            await other.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(module.held.is_set)
            wire.reset()
            await until(lambda: server.server.app.pool.waiting == 1)
            module.going.set()
            await other.answer()
            await until(module.ended.is_set)

    run(test())


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("target", ["/numbers?count=1000000000", "/silent"])
def test_stream_is_closed_when_the_client_goes(tmp_path: Path, target: str, how: str) -> None:
    limits = TimeLimits(half_closed=0.2)

    async def test() -> None:
        async with live(tmp_path, STREAMS_RBR, STREAMS, limits) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.reader.readuntil(b"\r\n\r\n")
            if how == "reset":
                linger = struct.pack("ii", 1, 0)  # close by RST
                connection = wire.writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            wire.reset()
            await server.empties()
            ended = module_of(server).ended
            await asyncio.get_running_loop().run_in_executor(None, ended.wait, 10)
            assert ended.is_set()
            await until(lambda: not server.server._tasks)

    run(test())


def test_client_that_sends_no_more_gets_a_stream_to_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, STREAMS_RBR, STREAMS, TimeLimits(half_closed=5)) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /numbers?count=200 HTTP/1.1\r\nHost: a\r\n\r\n")
            wire.writer.write_eof()
            assert (await wire.rest()).endswith(b"4\r\n199\n\r\n0\r\n\r\n")

    run(test())


FORMS = """
    import hashlib

    def upload(globs, request):
        file = request.POST["file"]
        digest = hashlib.sha256()
        while block := file.file.read(65536):
            digest.update(block)
        return {"name": file.filename, "sha": digest.hexdigest(), "size": file.size}

    def size(globs, request):
        return {"size": len(request.body), "kind": type(request._body).__name__}
"""
FORMS_RBR = """
    path upload ( url /upload, method POST, max-body 3000000, use python:MODULE.upload );
    path size ( url /size, method POST, max-body 600000, use python:MODULE.size );
"""


@pytest.mark.parametrize("size", [0, 1, 262_000, 262_144, 262_145, 600_000])
def test_body_is_kept_in_memory_or_on_disk(tmp_path: Path, size: int) -> None:
    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            _, _, body = await ask(server.url, "POST", "/size", b"x" * size)
            kind = "Spool" if size > 256 * 1024 else "bytes"
            assert body == b'{"size": %d, "kind": "%s"}' % (size, kind.encode())

    run(test())


def test_body_over_the_path_s_limit_is_a_413(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            assert (await ask(server.url, "POST", "/size", b"x" * 600_001))[0] == 413
            wire = await Wire.open(server.url)
            await wire.send("POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(60):
                await wire.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await wire.send(b"1\r\n")
            await wire.send(b"x\r\n")
            assert (await wire.answer())[0] == 413
            await server.serves()

    run(test())


def test_large_file_is_uploaded_by_way_of_the_disk(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8000
    head = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    kind = {"Content_Type": "multipart/form-data; boundary=XX"}

    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            body = head + content + b"\r\n--XX--\r\n"
            status, _, answer = await ask(server.url, "POST", "/upload", body, **kind)
            sha = hashlib.sha256(content).hexdigest()
            assert (status, answer) == (
                200,
                f'{{"name": "x", "sha": "{sha}", "size": {len(content)}}}'.encode(),
            )
            status, _, answer = await ask(server.url, "POST", "/upload", head, **kind)
            assert (status, answer) == (400, b"400 the last boundary is missing (RFC 2046 5.1.1)\n")

    run(test())


def test_body_that_the_disk_has_no_room_for_is_a_507(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_file() -> None:
        raise OSError(28, "No space left on device")

    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            monkeypatch.setattr("redbarrel_lite.forms.TemporaryFile", no_file)
            assert (await ask(server.url, "POST", "/size", b"x" * 300_000))[0] == 507
            assert (await ask(server.url, "POST", "/size", b"x" * 3000))[0] == 200

    run(test())
    assert "No space left" in caplog.text


class SmallDisk(io.FileIO):
    """Has room for 300,000 bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 300_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_body_whose_end_has_no_room_is_a_507_and_no_more_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def small() -> io.BufferedRandom:
        return io.BufferedRandom(SmallDisk(tmp_path / "disk", "w+"), 1 << 20)

    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            monkeypatch.setattr("redbarrel_lite.forms.TemporaryFile", small)
            assert (await ask(server.url, "POST", "/size", b"x" * 300_001))[0] == 507
            assert (await ask(server.url, "POST", "/size", b"x" * 300_000))[0] == 200

    run(test())  # a file that can't be closed would be an unraisable error
    assert "Traceback" not in caplog.text


def test_server_without_a_folder_for_large_bodies_says_so_and_serves_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # nobody has looked for it yet
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "none")])

    async def test() -> None:
        async with live(tmp_path, FORMS_RBR, FORMS) as server:
            assert "will be answered with 507: No usable temporary directory" in caplog.text
            assert (await ask(server.url, "POST", "/size", b"x" * 300_000))[0] == 507
            assert (await ask(server.url, "POST", "/size", b"x" * 3000))[0] == 200

    run(test())
    assert "a body can't be kept on disk: No usable temporary directory" in caplog.text


HOSTILE = """
    def read(globs, request):
        kind = request.headers.get("content-type", "")
        return {"json": request.json} if "json" in kind else request.POST.mixed()

    async def read_here(globs, request):
        return read(globs, request)

    def query(globs, request, **fields):
        return {"fields": fields, "cookies": request.cookies}
"""
HOSTILE_RBR = """
    path read ( method POST, url /read, use python:MODULE.read );
    path here ( method POST, url /here, use python:MODULE.read_here );
    path query ( url /query, use python:MODULE.query );
"""
_FORM = "application/x-www-form-urlencoded"
_PARTS = "multipart/form-data; boundary=XX"
_HEAD = b"--XX\r\nContent-Disposition: form-data; name=a"


@pytest.mark.parametrize("target", ["/read", "/here"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (_FORM, b"a=&" * 100_000),
        (_FORM, b"a=%ff"),
        (_PARTS, (_HEAD + b"\r\n\r\n\r\n") * 20_000),
        (_PARTS, _HEAD + b"\r\n\r\n" + b"x" * 1000),
        (_PARTS, _HEAD + b"\r\nX: " + b"x" * 1_000_000),
        (_PARTS, _HEAD + b"\r\nContent-Length: +5\r\n\r\nhello\r\n--XX--"),
        (_PARTS, _HEAD + b"; filename=x\r\n\r\n" + b"\r\n--X" * 200_000),
        ("multipart/form-data", b"--XX--"),
        ("application/json", b"9" * 5000),
        ("application/json", b"1e400"),
        ("application/json", b"[NaN, Infinity]"),
        ("application/json", b"[" * 1_000_000),
        ("application/json", b"\xef\xbb\xbf{}"),
        ("application/json", '{"a": 1}'.encode("utf-16")),
        ("application/json", b'"\xff"'),
    ],
)
def test_hostile_body_is_a_400_and_harms_nobody(
    tmp_path: Path, kind: str, body: bytes, target: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, HOSTILE_RBR, HOSTILE) as server:
            status, headers, answer = await ask(server.url, "POST", target, body, Content_Type=kind)
            assert status == 400, answer
            assert headers["content-type"].startswith("text/plain")
            assert len(answer) < 500
            await server.serves()

    run(test())
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_half_of_a_surrogate_pair_comes_back_as_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, HOSTILE_RBR, HOSTILE) as server:
            body = rb'{"a": "\ud800"}'
            answer = await ask(server.url, "POST", "/read", body, Content_Type="application/json")
            assert (answer[0], answer[2]) == (200, rb'{"json": {"a": "\ud800"}}')

    run(test())


@pytest.mark.parametrize("text", ["\\", '"', ";=", "a=b;"])
def test_hostile_query_and_cookies_are_read_in_no_time(tmp_path: Path, text: str) -> None:
    async def test() -> None:
        async with live(tmp_path, HOSTILE_RBR, HOSTILE) as server:
            target = "/query?" + "%" * 4000 + "&globs=1&request=2&globs"
            field = text * (8000 // len(text))
            status, _, answer = await ask(server.url, "GET", target, Cookie=field)
            assert status == 200
            assert json.loads(answer)["cookies"] == ({"a": "b"} if text == "a=b;" else {})
            assert (await ask(server.url, "GET", "/query?" + "a&" * 999))[0] == 200
            assert (await ask(server.url, "GET", "/query?" + "a&" * 1000 + "a"))[0] == 400

    run(test())
