"""Coroutines that are started on the spot."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest
from wire import run

from redbarrel_lite.eager import Starter

variable = contextvars.ContextVar("variable", default="unset")


def called_back(starter: Starter, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Start a coroutine from a callback, as the server does; the future has what came of it."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Any] = loop.create_future()

    def start() -> None:
        try:
            outcome.set_result(starter.start(coroutine))
        except BaseException as error:
            outcome.set_exception(error)

    loop.call_soon(start)
    return outcome


async def ready(starter: Starter) -> None:
    """Have the starter make its spare."""
    first = await called_back(starter, at_once(0))
    assert isinstance(first, asyncio.Task)
    assert await first == 0
    await asyncio.sleep(0)


async def at_once(value: Any) -> Any:
    return value


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return value


def test_coroutine_that_never_waits_gives_its_result_on_the_spot() -> None:
    async def test() -> None:
        starter = Starter()
        await ready(starter)
        for value in range(3):
            assert await called_back(starter, at_once(value)) == value
        assert len(asyncio.all_tasks()) == 2  # ours, and the spare

    run(test())


def test_coroutine_that_waits_goes_on_in_a_task() -> None:
    async def test() -> None:
        starter = Starter()
        await ready(starter)
        for value in range(3):
            task = await called_back(starter, later(value))
            assert isinstance(task, asyncio.Task)
            assert await task == value

    run(test())


def test_two_in_one_turn_are_both_run() -> None:
    async def test() -> None:
        starter = Starter()
        await ready(starter)
        outcomes = [called_back(starter, later(value)) for value in range(5)]
        tasks = await asyncio.gather(*outcomes)
        assert await asyncio.gather(*tasks) == [0, 1, 2, 3, 4]

    run(test())


def test_current_task_is_the_same_from_beginning_to_end() -> None:
    async def test() -> None:
        async def tasks() -> bool:
            before = asyncio.current_task()
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                inner = group.create_task(later(1))
            return before is not None and before is asyncio.current_task() and inner.done()

        starter = Starter()
        await ready(starter)
        assert await (await called_back(starter, tasks()))
        assert asyncio.current_task() is not None

    run(test())


def test_time_limit_set_before_the_first_wait_holds() -> None:
    async def test() -> None:
        async def limited() -> str:
            try:
                async with asyncio.timeout(0.001):
                    await asyncio.get_running_loop().create_future()
            except TimeoutError:
                return "in time"
            return "never"

        starter = Starter()
        await ready(starter)
        assert await (await called_back(starter, limited())) == "in time"

    run(test())


def test_exception_goes_where_a_result_would_go() -> None:
    async def test() -> None:
        async def fails(wait: Coroutine[Any, Any, Any] | None) -> None:
            if wait is not None:
                await wait
            raise LookupError

        starter = Starter()
        await ready(starter)
        with pytest.raises(LookupError):
            await called_back(starter, fails(None))
        task = await called_back(starter, fails(later(0)))
        with pytest.raises(LookupError):
            await task
        await asyncio.sleep(0)
        assert await called_back(starter, at_once(1)) == 1

    run(test())


def test_exception_that_is_waited_for_is_thrown_into_the_coroutine() -> None:
    async def test() -> None:
        async def catches(future: asyncio.Future[None]) -> str:
            try:
                await future
            except LookupError:
                return "caught"
            return "missed"

        starter = Starter()
        await ready(starter)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = await called_back(starter, catches(future))
        future.set_exception(LookupError())
        assert await task == "caught"

    run(test())


def test_context_variables_of_one_are_not_those_of_the_next() -> None:
    async def test() -> None:
        async def sets() -> str:
            seen = variable.get()
            variable.set("set")
            return seen

        starter = Starter()
        await ready(starter)
        for _ in range(4):
            outcome = await called_back(starter, sets())
            seen = await outcome if isinstance(outcome, asyncio.Task) else outcome
            assert seen == "unset"
            await asyncio.sleep(0)
        assert variable.get() == "unset"

    run(test())


def test_context_variable_is_kept_while_waiting() -> None:
    async def test() -> None:
        async def sets() -> str:
            variable.set("mine")
            await asyncio.sleep(0)
            return variable.get()

        starter = Starter()
        await ready(starter)
        assert await (await called_back(starter, sets())) == "mine"

    run(test())


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_cancelled_task_cancels_what_it_waits_for(turns: int) -> None:
    async def test() -> None:
        async def waits(future: asyncio.Future[None]) -> str:
            try:
                await future
            except asyncio.CancelledError as error:
                return f"cancelled: {error}"
            return "not cancelled"

        starter = Starter()
        await ready(starter)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        seen: list[asyncio.Task[str]] = []

        def start() -> None:
            task = starter.start(waits(future))
            assert isinstance(task, asyncio.Task)
            seen.append(task)
            if not turns:
                task.cancel("why")

        asyncio.get_running_loop().call_soon(start)
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns:
            seen[0].cancel("why")
        assert await seen[0] == "cancelled: why"
        assert future.cancelled()

    run(test())


def test_who_cancels_itself_hears_of_it_where_it_waits() -> None:
    async def test() -> None:
        async def cancels(wait: bool) -> str:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if not wait:
                return "did not wait"
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return "heard of it"
            return "did not hear"

        starter = Starter()
        await ready(starter)
        assert await (await called_back(starter, cancels(wait=True))) == "heard of it"
        await ready(Starter())
        await asyncio.sleep(0)
        assert await called_back(starter, cancels(wait=False)) == "did not wait"
        # Its mark does not stay for the next one.
        for _ in range(2):
            outcome = await called_back(starter, later("untouched"))
            assert await outcome == "untouched"

    run(test())


def test_coroutine_started_by_a_task_gets_one_of_its_own() -> None:
    async def test() -> None:
        starter = Starter()
        await ready(starter)
        task = starter.start(at_once(1))
        assert isinstance(task, asyncio.Task)
        assert await task == 1

    run(test())


def test_starter_outlives_its_loop() -> None:
    starter = Starter()
    for _ in range(2):

        async def test() -> None:
            await ready(starter)
            assert await called_back(starter, at_once(1)) == 1

        run(test())
