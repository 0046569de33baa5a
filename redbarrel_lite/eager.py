"""Runs a coroutine on the spot, up to where it first waits; most handlers never do.

What it implements: what a task does, for a coroutine that has already begun. What
it leaves out: coroutines whose caller is itself a task; they get an ordinary one.

In one line::

    result_or_task = Starter().start(coroutine)

A task costs more than answering hello world does: an object, a place in the loop's
queue, a turn of the loop before it begins and another one before it is missed. (From
Python 3.12 on there are eager tasks, which spare the turns but not the object.)
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from threading import get_ident
from typing import Any, TypeVar

T = TypeVar("T")


class Starter:
    """Starts coroutines, one after the other, in a task that it keeps ready.

    While a coroutine runs, `asyncio.current_task` must be the task that it belongs to
    ever after: time limits and task groups hold on to it. So a spare task waits until
    it is needed, lends its name to each coroutine's first step, and takes over the first
    coroutine that waits for something::

        start: spare's name is lent --(it ends)--> result; the spare stays the spare
                                    \\-(it waits)-> the spare runs it to its end

    `asyncio.tasks._enter_task` and `_leave_task` are documented for those who write
    task implementations ("Extending").
    """

    def __init__(self) -> None:
        self._spare: _Spare | None = None

    def start(self, coroutine: Coroutine[Any, Any, T]) -> T | asyncio.Task[T]:
        """What the coroutine returns, or the task that goes on with it. In the loop's thread."""
        spare = self._spare
        # Not get_running_loop: before Python 3.12 it asks the system for the process's
        # id each time, which is a third of what all the rest here costs.
        if spare is None or spare.thread != get_ident() or not spare.loop.is_running():
            self._spare = spare = _Spare(asyncio.get_running_loop())
        loop = spare.loop
        if not spare.is_ready:  # it is in the loop's next turn
            return loop.create_task(coroutine)
        try:
            _enter_task(loop, spare.task)
        except RuntimeError:  # we are called by a task
            return loop.create_task(coroutine)
        try:
            waits_for = spare.context.run(coroutine.send, None)
        except StopIteration as end:
            if spare.handover.done() or spare.context != spare.fresh:  # the traces of this one
                spare.task.cancel()
                self._spare = None
            return end.value  # type: ignore[no-any-return]
        finally:
            _leave_task(loop, spare.task)
        spare.take(coroutine, waits_for)
        self._spare = _Spare(loop)
        return spare.task


class _Spare:
    """A task that waits for a coroutine to go on with."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = get_ident()
        self.context = contextvars.copy_context()
        self.is_ready = False
        self.fresh = self.context.copy()
        self.handover: asyncio.Future[None] = loop.create_future()
        self._taken: tuple[Coroutine[Any, Any, Any], Any] | None = None
        self.task: asyncio.Task[Any] = loop.create_task(self._run(), context=self.context)

    def take(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> None:
        """Go on with a coroutine, when what it has yielded is done."""
        self._taken = coroutine, waits_for
        if not self.handover.done():
            self.handover.set_result(None)

    async def _run(self) -> Any:
        self.is_ready = True
        cancelled: BaseException | None = None
        try:
            await self.handover
        except asyncio.CancelledError as error:
            if self._taken is None:
                raise
            cancelled = error
        assert self._taken is not None
        going = _go_on(*self._taken, cancelled)
        self._taken = None  # it may hold an error whose traceback holds this frame
        return await going


@types.coroutine
def _go_on(
    coroutine: Coroutine[Any, Any, T], waits_for: Any, cancelled: BaseException | None
) -> Generator[Any, Any, T]:
    """The rest of a coroutine that has yielded something, inside of another one."""
    step: Callable[[], Any]
    is_future = isinstance(waits_for, asyncio.Future)
    if cancelled is not None and is_future and waits_for.cancel(*cancelled.args):
        cancelled = None  # it hears of it from what it waits for, as in any task
    while True:
        try:
            if cancelled is not None:
                raise cancelled
            yield waits_for
        except BaseException as thrown:
            step = partial(coroutine.throw, thrown)
        else:
            step = partial(coroutine.send, None)
        cancelled = None
        try:
            waits_for = step()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
