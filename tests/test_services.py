"""Services: what they may return, and a pool of threads with a bound."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from wire import run, until

from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.services import Full, Pool, to_response
from redbarrel_lite.services import run as run_service

REQUEST = Request("GET", "/x", [])


@pytest.mark.parametrize(
    ("value", "body", "kind"),
    [
        ("é", "é".encode(), "text/html; charset=utf-8"),
        (b"\0", b"\0", "application/octet-stream"),
        ({"a": ["é"]}, '{"a": ["é"]}'.encode(), "application/json"),
        ([1], b"[1]", "application/json"),
    ],
)
def test_value_becomes_an_answer_of_its_type(value: object, body: bytes, kind: str) -> None:
    response = to_response(value)
    assert (response.status, response.body) == (200, body)
    assert response.headers == [("content-type", kind)]


def test_none_is_no_content_and_a_response_stays_itself() -> None:
    assert to_response(None).status == 204
    response = Response("x", 418)
    assert to_response(response) is response
    with pytest.raises(TypeError, match="a handler returned set, not str"):
        to_response({1})


def test_def_runs_in_a_thread_and_async_def_on_the_loop() -> None:
    async def test() -> None:
        names: list[str] = []

        def plain(globs: dict[str, Any], request: Request) -> str:
            names.append(threading.current_thread().name)
            return "plain"

        async def coroutine(globs: dict[str, Any], request: Request) -> str:
            names.append(threading.current_thread().name)
            return "coroutine"

        pool = Pool()
        assert (await run_service(plain, pool, REQUEST)).body == b"plain"
        assert (await run_service(coroutine, pool, REQUEST)).body == b"coroutine"
        assert names == ["service", "MainThread"]

    run(test())


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration(), SystemExit(3), {1}])
def test_handler_that_fails_is_a_500(error: Any, caplog: pytest.LogCaptureFixture) -> None:
    def fail(globs: dict[str, Any], request: Request) -> Any:
        if isinstance(error, BaseException):
            raise error
        return error

    async def test() -> None:
        pool = Pool(threads=1)
        for _ in range(3):  # and its thread is there for the next one
            response = await run_service(fail, pool, REQUEST)
            assert response.status == 500
            assert b"the log says why" in response.body

    run(test())
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 3


def test_full_pool_is_a_503_that_says_when_to_come_back() -> None:
    release = threading.Event()

    def wait(globs: dict[str, Any], request: Request) -> str:
        release.wait()
        return "done"

    async def test() -> None:
        pool = Pool(threads=2, waiting=3)
        at_work = [asyncio.ensure_future(run_service(wait, pool, REQUEST)) for _ in range(5)]
        await until(lambda: pool._busy == 5)
        response = await run_service(wait, pool, REQUEST)
        assert response.status == 503
        assert ("retry-after", "1") in response.headers
        release.set()
        assert [r.body for r in await asyncio.gather(*at_work)] == [b"done"] * 5
        assert (await run_service(wait, pool, REQUEST)).body == b"done"
        assert pool._threads == 2

    run(test())


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
