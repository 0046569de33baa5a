"""Runs the handlers of sockets: a thread for a ``def``, a coroutine for an ``async def``.

What it implements: `sockets.Runner`, twice. What it leaves out: which function
is a handler, and its arguments; it is given a ``body`` that needs none.

In one line::

    runner = ThreadRunner(socket, connection, hub, body)
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import logging
import threading
import traceback
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from queue import Empty, SimpleQueue
from types import CoroutineType, TracebackType
from typing import Any, Final

from .errors import SocketClosed
from .request import Request
from .sockets import DONE, Connection, Handler, Hub, Message, Runner, Socket

log = logging.getLogger("redbarrel_lite")

# Messages that wait for a handler which does not read. Beyond the first mark
# reading from the client pauses, and goes on at the second: between the two lie
# enough messages that a busy handler does not switch reading on and off for each.
INBOX_HIGH: Final = 256
INBOX_LOW: Final = 64

# A thread's stack is address space, of which only what is used becomes memory.
# Smaller ones save nothing, and deep recursion through C code would overflow them.
THREAD_STACK_BYTES: Final = 1024 * 1024
_starting = threading.Lock()  # threading.stack_size is one setting for the process

# A loop that catches SocketClosed and calls recv again would spin for ever.
MAX_CALLS_AFTER_CLOSE: Final = 3


class _End(BaseException):
    """Ends a handler that does not end itself. No Exception, so that few catch it."""


class _Inbox:
    """What both kinds of runner share: counting, pausing, and the way it ends."""

    def __init__(self, socket: Socket, connection: Connection, hub: Hub) -> None:
        self._socket = socket
        self._connection = connection
        self._hub = hub
        self._paused = False
        self._finished = False  # the client has gone
        self._told = 0  # how often recv has said so
        self._calls: set[Callable[[BaseException], object]] = set()

    def _filled(self, waiting: int) -> None:
        if waiting >= INBOX_HIGH and not self._paused:
            self._paused = True
            self._connection.pause()

    def _emptied(self, waiting: int) -> None:
        if self._paused and waiting <= INBOX_LOW:
            self._paused = False
            self._hub.run(self._connection.resume)

    def _after_end(self) -> Message:
        """What recv gives once the client has gone: [], SocketClosed, and the end."""
        self._told += 1
        if self._told == 1:
            return Message()
        if self._told <= MAX_CALLS_AFTER_CLOSE:
            raise SocketClosed("the client has gone")
        if self._told == MAX_CALLS_AFTER_CLOSE + 1:
            log.error(
                "the handler of socket %s calls recv() again and again"
                " although the client has gone: ended",
                self._socket.session.session_id,
            )
        raise _End

    def _returned(self, error: BaseException | None) -> None:
        """The handler is over; so is its socket."""
        if error is not None and not isinstance(error, (SocketClosed, _End)):
            log.error(
                "the handler of socket %s failed:\n%s",
                self._socket.session.session_id,
                user_traceback(error),
            )
        self._socket.close("server namespace disconnect")


class ThreadRunner(_Inbox):
    """A ``def`` handler in a daemon thread of its own."""

    def __init__(
        self, socket: Socket, connection: Connection, hub: Hub, body: Callable[[], object]
    ) -> None:
        super().__init__(socket, connection, hub)
        self._inbox: SimpleQueue[Message | None] = SimpleQueue()
        self._body = body

    def start(self) -> None:
        """Start the thread; if the system gives us none, the client is turned away."""
        thread = threading.Thread(target=self._run, daemon=True)
        with _starting:
            before = threading.stack_size(THREAD_STACK_BYTES)
            try:
                thread.start()
            except RuntimeError as error:
                self._returned(error)
            finally:
                threading.stack_size(before)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._body()
        except BaseException as raised:  # SystemExit too must not leave a socket behind
            error = raised
        self._returned(error)

    def deliver(self, message: Message) -> None:
        if not self._finished:
            self._inbox.put(message)
            self._filled(self._inbox.qsize())

    def finish(self) -> None:
        self._finished = True
        self._inbox.put(None)
        for fail in tuple(self._calls):
            fail(SocketClosed("the client has gone"))

    def recv(self, timeout: float | None) -> Message:
        if self._told:
            return self._after_end()
        try:
            message = self._inbox.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"no message within {timeout} s") from None
        if message is None:
            return self._after_end()
        self._emptied(self._inbox.qsize())
        return message

    def drained(self, connection: Connection) -> Awaitable[None]:
        event = threading.Event()
        self._hub.run(connection.when_drained, event.set)
        event.wait()
        return DONE

    def call(
        self, start: Callable[[Callable[..., object]], None], timeout: float | None
    ) -> list[Any]:
        answers: SimpleQueue[list[Any] | BaseException] = SimpleQueue()
        self._calls.add(answers.put)
        try:
            if self._finished:
                raise SocketClosed("the client has gone")
            start(lambda *args: answers.put(list(args)))
            answer = answers.get(timeout=timeout)
        except Empty:
            raise TimeoutError(f"no acknowledgement within {timeout} s") from None
        finally:
            self._calls.discard(answers.put)
        if isinstance(answer, BaseException):
            raise answer
        return answer


def run_handler(handler: Handler, socket: Socket, request: Request) -> Runner:
    """What runs a socket's handler, in a thread or on the loop, as it is written."""
    connection, hub = socket.connection, socket.server
    if is_async(handler):
        coroutine = handler(request.globs, request)
        return CoroutineRunner(socket, connection, hub, coroutine)
    return ThreadRunner(socket, connection, hub, partial(handler, request.globs, request))


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it makes a coroutine; an object's `__call__` may be what does."""
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # not whether it has one, but which
    )


class _Park:
    """What a coroutine yields to its driver when it waits for a message, and nothing else."""

    __slots__ = ()

    def __await__(self) -> Generator[_Park, Message, Message]:
        return (yield self)


_PARK: Final = _Park()


class CoroutineRunner(_Inbox):
    """An ``async def`` handler, resumed from where its message arrives.

    A coroutine that waits for a future is woken by the loop, one turn later and
    through a queue; that costs more than parsing the message did. So a handler
    that waits in `recv` and nowhere else is not woken: `deliver` runs it on the
    spot, until it waits again. For all other waiting there is a real task, so
    that timeouts, cancellation and task groups work as anywhere in asyncio.

    `asyncio.tasks._enter_task` and `_leave_task` are documented for those who
    write task implementations ("Extending"), which is what this is: while we run
    the coroutine, `asyncio.current_task` must be its task.
    """

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        coroutine: CoroutineType[Any, Any, object],
    ) -> None:
        super().__init__(socket, connection, hub)
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Message] = deque()
        self._coroutine = coroutine
        self._context = contextvars.copy_context()
        self._parked = False  # the coroutine waits in recv, and nowhere else
        self._handover: asyncio.Future[Callable[[], Any]] | None = (
            None  # what the task waits for meanwhile
        )
        self._waiter: asyncio.Future[None] | None = None  # recv, called from another task
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the handler, in the next turn of the loop."""
        self._task = self._loop.create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await _Drive(self)
        except asyncio.CancelledError:
            self._socket.close()
            raise
        except Exception as raised:
            error = raised
        except _End:
            pass
        self._returned(error)

    def deliver(self, message: Message) -> None:
        if self._parked:
            self._resume(message)
        elif not self._finished:
            self._inbox.append(message)
            self._filled(len(self._inbox))
            self._wake()

    def _resume(self, message: Message) -> None:
        """Run the coroutine until it waits again; if not for a message, its task takes over."""
        task, handover = self._task, self._handover
        assert task is not None
        assert handover is not None
        if handover.done():  # cancelled, in this very turn of the loop
            self._inbox.append(message)
            return
        self._parked = False
        _enter_task(self._loop, task)
        try:
            waits_for = self._context.run(self._coroutine.send, message)
        except BaseException as raised:
            handover.set_result(partial(_raise, raised))
        else:
            if waits_for is _PARK:
                self._parked = True
            else:
                handover.set_result(lambda: waits_for)
        finally:
            _leave_task(self._loop, task)

    def finish(self) -> None:
        self._finished = True
        for fail in tuple(self._calls):
            fail(SocketClosed("the client has gone"))
        # Not on the spot: whoever ends a socket may be another handler's coroutine.
        self._loop.call_soon(self._finish)

    def _finish(self) -> None:
        if self._parked:
            self._resume(self._after_end())
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def recv(self, timeout: float | None) -> Message:
        if self._inbox:
            message = self._inbox.popleft()
            self._emptied(len(self._inbox))
            return message
        if self._finished:
            return self._after_end()
        if timeout is None and self._task is asyncio.current_task():
            return await _PARK
        await self._arrival(timeout)
        return await self.recv(timeout)

    async def _arrival(self, timeout: float | None) -> None:
        """Wait the ordinary way: with a time limit, or in a task of the handler's own."""
        if self._waiter is not None:
            raise RuntimeError("two tasks call recv() of one socket at the same time")
        self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._waiter
        finally:
            self._waiter = None

    def drained(self, connection: Connection) -> Awaitable[None]:
        drained = self._loop.create_future()
        connection.when_drained(partial(_settle, drained, None))
        return drained

    async def call(
        self, start: Callable[[Callable[..., object]], None], timeout: float | None
    ) -> list[Any]:
        if self._finished:
            raise SocketClosed("the client has gone")
        answer: asyncio.Future[list[Any]] = self._loop.create_future()

        def fail(error: BaseException) -> None:
            if not answer.done():
                answer.set_exception(error)

        self._calls.add(fail)
        try:
            start(lambda *args: _settle(answer, list(args)))
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            self._calls.discard(fail)


class _Drive:
    """Awaited by the task of a `CoroutineRunner`: runs its coroutine inside the task.

    Whatever the coroutine yields (a future it waits for, or None for one turn of
    the loop) is passed on to the task, but for `_PARK`: then the task waits for a
    future of ours, until `CoroutineRunner._resume` hands the coroutine back.
    """

    def __init__(self, runner: CoroutineRunner) -> None:
        self._runner = runner
        self._coroutine = runner._coroutine

    def __await__(self) -> Generator[Any, Any, None]:
        step = self._go_on
        while True:
            try:
                waits_for = step()
            except StopIteration:
                return
            if waits_for is _PARK:
                step = yield from self._park()
                continue
            try:
                yield waits_for
            except BaseException as thrown:
                step = partial(self._coroutine.throw, thrown)
            else:
                step = self._go_on

    def _go_on(self) -> Any:
        return self._coroutine.send(None)

    def _park(self) -> Generator[Any, Any, Callable[[], Any]]:
        """Wait until the coroutine is handed back; return what gives its last step again."""
        runner = self._runner
        runner._handover = runner._loop.create_future()
        runner._parked = True
        try:
            return (yield from runner._handover)
        except BaseException as thrown:  # the task was cancelled
            runner._parked = False
            if self._coroutine.cr_frame is None:
                raise
            return partial(self._coroutine.throw, thrown)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    """Set a future's result, unless whoever waited for it has given up."""
    if not future.done():
        future.set_result(result)


def _raise(error: BaseException) -> Any:
    raise error


# Files whose frames are not the user's: ours, and those of the import machinery.
_NOT_THE_USERS: Final = (
    str(Path(__file__).parent),
    str(Path(importlib.__file__).parent),
    "<frozen ",
)


def user_traceback(error: BaseException) -> str:
    """The traceback from the user's first frame on; those above tell its reader nothing."""
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame or error.__traceback__)
    return "".join(lines).rstrip("\n")
