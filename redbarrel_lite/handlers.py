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
import os
import threading
import traceback
import types
from abc import ABC, abstractmethod
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from inspect import iscoroutine, iscoroutinefunction
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from .errors import SocketClosed
from .hub import Hub
from .request import Request
from .sockets import DONE, Connection, Handler, Message, Runner, Socket

log = logging.getLogger("redbarrel_lite")

# Messages that wait for a handler which does not read. Beyond the first mark
# reading from the client pauses, and goes on at the second: between the two lie
# enough messages that a busy handler does not switch reading on and off for each.
INBOX_HIGH: Final = 256
INBOX_LOW: Final = 64
# The same for what they weigh: 256 messages may have a megabyte each.
INBOX_HIGH_BYTES: Final = 1024 * 1024
INBOX_LOW_BYTES: Final = 256 * 1024

# A thread's stack is address space, of which only what is used becomes memory: a
# thread that waits has 16 kB whatever stands here. It must hold the deepest
# recursion that the interpreter allows, or a handler's mistake is not a
# RecursionError but the end of the process: a recursive key of sorted() needs up
# to 4 MB on Python 3.11 and 3.12 and up to 8 MB on 3.13, the worst that was found.
THREAD_STACK_BYTES: Final = 16 * 1024 * 1024
_starting = threading.Lock()  # threading.stack_size is one setting for the process

# A loop that catches SocketClosed and calls recv again would spin for ever.
MAX_CALLS_AFTER_CLOSE: Final = 3


class _End(BaseException):
    """Ends a handler that does not end itself. No Exception, so that few catch it."""


class _Runner(ABC):
    """What both kinds share: pausing, the way it ends, and what is told of it."""

    def __init__(self, socket: Socket, connection: Connection, hub: Hub) -> None:
        self._socket = socket
        self._connection = connection
        self._hub = hub
        self._paused = False
        self._finished = False  # the client has gone
        self._told = 0  # how often recv has said so
        # Bytes that went into the inbox, counted in the loop's thread, and out of
        # it, counted in the handler's: so neither needs a lock.
        self._bytes_in = 0
        self._bytes_out = 0
        self._calls: set[Callable[[BaseException], object]] = set()

    @abstractmethod
    def _waiting(self) -> int:
        """How many messages the inbox holds."""

    def _filled(self) -> None:
        waiting = self._bytes_in - self._bytes_out
        if not self._paused and (self._waiting() >= INBOX_HIGH or waiting >= INBOX_HIGH_BYTES):
            self._paused = True
            self._connection.pause()
            # The handler's thread may have emptied the inbox in between, and seen
            # no reason to read on.
            self._read_on()

    def _is_low(self) -> bool:
        return self._waiting() <= INBOX_LOW and self._bytes_in - self._bytes_out <= INBOX_LOW_BYTES

    def _read_on(self) -> None:
        """Resume, if it is time; in the loop's thread."""
        if self._paused and (self._finished or self._is_low()):
            self._paused = False
            self._connection.resume()

    def _finish(self) -> None:
        self._finished = True
        self._read_on()  # for the other sockets of the connection
        for fail in tuple(self._calls):
            fail(SocketClosed("the client has gone"))

    def _after_end(self) -> Message:
        """What recv gives once the client has gone: [], SocketClosed, and the end."""
        self._told += 1
        if self._told == 1:
            return Message()
        if self._told <= MAX_CALLS_AFTER_CLOSE:
            raise SocketClosed("the client has gone")
        log.error(
            "the handler of socket %s calls recv() again and again"
            " although the client has gone: ended",
            self._socket.session.session_id,
        )
        raise _End

    def _returned(self, error: BaseException | None) -> None:
        """The handler is over; so is its socket."""
        if isinstance(error, BaseExceptionGroup):  # of a task group
            error = error.split((SocketClosed, _End))[1]
        if error is not None and not isinstance(error, (SocketClosed, _End)):
            self.report("the handler", error)
        self._socket.close()

    def report(self, what: str, error: BaseException) -> None:
        trace = user_traceback(error)
        log.error("%s of socket %s failed:\n%s", what, self._socket.session.session_id, trace)


class ThreadRunner(_Runner):
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
                sid = self._socket.session.session_id
                log.error("no thread for the handler of socket %s: %s", sid, error)
                self._socket.close()
                self._hub.handler_ended(self)
            finally:
                threading.stack_size(before)

    def _run(self) -> None:
        try:
            result = self._body()
            if iscoroutine(result):  # of an async function behind a plain decorator
                result.close()
                raise TypeError("a def handler returned a coroutine: make it an async def")
        except BaseException as error:  # SystemExit too must not leave a socket behind
            self._returned(error)
        else:
            self._returned(None)
        self._hub.run(self._hub.handler_ended, self)

    def _waiting(self) -> int:
        return self._inbox.qsize()

    def deliver(self, message: Message) -> None:
        if not self._finished:
            self._bytes_in += message.size
            self._inbox.put(message)
            self._filled()

    def finish(self) -> None:
        self._finish()
        self._inbox.put(None)

    def recv(self, timeout: float | None) -> Message:
        self._check_thread()
        if self._told > MAX_CALLS_AFTER_CLOSE:
            # It has caught even `_End`, in a bare `except:`. No exception can end
            # it; a thread that sleeps costs less than one that spins.
            self._hub.run(self._hub.handler_ended, self)
            threading.Event().wait()
        if self._told:
            return self._after_end()
        try:
            message = self._inbox.get(timeout=None if timeout is None else max(timeout, 0))
        except Empty:
            raise TimeoutError(f"no message within {timeout} s") from None
        if message is None:
            self._inbox.put(None)  # for a second thread of the handler that waits too
            return self._after_end()
        self._bytes_out += message.size
        if self._paused and self._is_low():
            self._hub.run(self._read_on)
        return message

    def _check_thread(self) -> None:
        if self._hub.is_here():
            raise RuntimeError("a callback, in the loop's thread, must not wait")

    def drained(self, _connection: Connection) -> Awaitable[None]:
        return DONE  # only a callback of this handler is ever in the loop's thread

    def call(
        self, start: Callable[[Callable[..., object]], None], timeout: float | None
    ) -> list[Any]:
        self._check_thread()
        answers: SimpleQueue[list[Any] | BaseException] = SimpleQueue()
        self._calls.add(answers.put)
        try:
            if self._finished:
                raise SocketClosed("the client has gone")
            start(lambda *args: answers.put(list(args)))
            answer = answers.get(timeout=None if timeout is None else max(timeout, 0))
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
    body = partial(handler, request.globs, request)
    kind = CoroutineRunner if is_async(handler) else ThreadRunner
    return kind(socket, connection, hub, body)


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it makes a coroutine; an object's `__call__` may be what does."""
    return iscoroutinefunction(function) or iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # not whether it has one, but which
    )


class _Mark:
    """What a coroutine yields to say something to `CoroutineRunner`, and to nobody else."""

    __slots__ = ()

    def __await__(self) -> Generator[_Mark, Message | None, Message | None]:
        return (yield self)


_PARK: Final = _Mark()  # it waits for a message, and for nothing else
_NEVER: Final = _Mark()  # it is not to be resumed

_Coroutine: TypeAlias = Coroutine[Any, Any, object]

# Coroutines that catch everything, and call recv() again: to let go of one is to
# close it, which it would catch too.
_asleep: list[_Coroutine] = []


class CoroutineRunner(_Runner):
    """An ``async def`` handler, resumed from where its message arrives.

    A coroutine that waits for a future is woken by the loop, one turn later and
    through a queue; that costs more than parsing the message did. So a handler
    that waits in `recv` and nowhere else is not woken: `deliver` runs it on the
    spot, until it waits again. For all other waiting there is a real task, so
    that timeouts, cancellation and task groups work as anywhere in asyncio::

        task runs the coroutine  --(it parks in recv)-->  task waits for `_handover`
                 ^                                                  |
                 |                                        deliver runs the coroutine:
                 |                                        it parks again, and again ...
                 +--(it waits for something else, or ends: that is handed over)--+

    `asyncio.tasks._enter_task` and `_leave_task` are documented for those who
    write task implementations ("Extending"), which is what this is: while we run
    the coroutine, `asyncio.current_task` must be its task.
    """

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        body: Callable[[], _Coroutine],
    ) -> None:
        super().__init__(socket, connection, hub)
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Message] = deque()
        self._body = body
        self._coroutine: _Coroutine | None = None
        self._context = contextvars.copy_context()
        self._parked = False  # the coroutine waits in recv, and nowhere else
        # What the task waits for meanwhile: what the coroutine waits for next, or
        # the exception with which it has ended.
        self._handover: asyncio.Future[tuple[Any, BaseException | None]] | None = None
        self._waiter: asyncio.Future[None] | None = None  # a recv() that waits the ordinary way
        self._task: asyncio.Task[None] | None = None
        self._asleep = False

    def start(self) -> None:
        """Start the handler, in the next turn of the loop."""
        self._task = self._loop.create_task(self._run(), context=self._context)

    async def _run(self) -> None:
        try:
            await self._drive()
        except asyncio.CancelledError:
            self._socket.close()
            raise
        except GeneratorExit:  # the loop was closed under us
            raise
        except BaseException as error:  # a handler's SystemExit must not end the server
            self._returned(error)
        else:
            self._returned(None)
        finally:
            self._hub.handler_ended(self)

    # -- the coroutine in its task ---------------------------------------------------

    @types.coroutine
    def _drive(self) -> Generator[Any, Any, None]:
        """Run the coroutine inside the task.

        Whatever it yields (a future it waits for, or None for one turn of the
        loop) is passed on to the task, but for our marks.
        """
        coroutine = self._coroutine = self._body()
        go_on: Callable[[], Any] = partial(coroutine.send, None)
        step = go_on
        while True:
            try:
                waits_for = step()
            except StopIteration:
                return
            if waits_for is _NEVER:
                _asleep.append(coroutine)
                return
            try:
                if waits_for is _PARK:
                    step = partial(_again, *(yield from self._park()))
                else:
                    yield waits_for
                    step = go_on
            except BaseException as thrown:
                step = partial(coroutine.throw, thrown)

    def _park(self) -> Generator[Any, Any, tuple[Any, BaseException | None]]:
        """Wait until the coroutine is handed back, and return how."""
        handover = self._handover = self._loop.create_future()
        self._parked = True
        try:
            waits_for, error = yield from handover
        except asyncio.CancelledError:
            if handover.done() and not handover.cancelled():
                # The task was cancelled after the handover. An outcome stands; a
                # future is cancelled in its turn, as a task does with what it waits for.
                waits_for, error = handover.result()
                if error is not None or _cancel(waits_for):
                    return waits_for, error
            raise
        finally:
            self._parked = False
        return waits_for, error

    def _resume(self, message: Message | None) -> None:
        """Run the coroutine until it waits again; if not for a message, its task takes over."""
        task, handover, coroutine = self._task, self._handover, self._coroutine
        assert task is not None
        assert handover is not None
        assert coroutine is not None
        self._parked = False
        try:
            waits_for = self._context.run(coroutine.send, message)
        except BaseException as error:
            handover.set_result((None, error))
        else:
            if waits_for is _PARK:
                self._parked = True
            else:
                handover.set_result((waits_for, None))
        finally:
            _leave_task(self._loop, task)

    def _may_resume(self) -> bool:
        """Enter the coroutine's task, if it is parked and can be run on the spot."""
        if not self._parked or self._handover is None or self._handover.done():
            return False  # done but parked: cancelled, in this very turn of the loop
        try:
            _enter_task(self._loop, self._task)  # type: ignore[arg-type]
        except RuntimeError:  # we are called by another task
            self._loop.call_soon(self._look)
            return False
        return True

    def _look(self) -> None:
        """Wake whoever waits, to look at the inbox."""
        if self._may_resume():
            self._resume(None)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- what `sockets` calls --------------------------------------------------------

    def _waiting(self) -> int:
        return len(self._inbox)

    def deliver(self, message: Message) -> None:
        if not self._inbox and self._may_resume():
            self._resume(message)
        elif not self._finished:
            self._bytes_in += message.size
            self._inbox.append(message)
            self._filled()
            if self._waiter is not None:
                self._look()

    def finish(self) -> None:
        self._finish()
        # Not on the spot: whoever ends a socket may be another handler's coroutine.
        self._loop.call_soon(self._look)

    async def recv(self, timeout: float | None) -> Message:
        while not self._inbox and not self._finished:
            if self._waiter is not None or self._parked:
                raise RuntimeError("two tasks call recv() of one socket at the same time")
            if timeout is None and self._task is asyncio.current_task():
                message = await _PARK
                if message is not None:
                    return message
            else:
                await self._arrival(timeout)
        if self._inbox:
            message = self._inbox.popleft()
            self._bytes_out += message.size
            self._read_on()
            return message
        if self._told > MAX_CALLS_AFTER_CLOSE:
            await self._for_ever()
        return self._after_end()

    async def _arrival(self, timeout: float | None) -> None:
        """Wait the ordinary way: with a time limit, or in a task of the handler's own."""
        self._waiter = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._waiter
        finally:
            self._waiter = None

    async def _for_ever(self) -> None:
        """Stop a coroutine that has caught even `_End`, in a bare ``except:``."""
        if not self._asleep:
            self._asleep = self._task is asyncio.current_task()
        # Asked but once: when the interpreter ends it closes the coroutine, which
        # comes here again, and an exception now would make it spin.
        while self._asleep:
            await _NEVER
        await self._loop.create_future()  # a task of its own: it can be cancelled

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


def _again(waits_for: Any, error: BaseException | None) -> Any:
    """What the coroutine's last step gave, given once more."""
    if error is not None:
        raise error
    return waits_for


def _cancel(waits_for: Any) -> bool:
    """Cancel what a coroutine waits for; False if that can't be."""
    return waits_for is _NEVER or (isinstance(waits_for, asyncio.Future) and waits_for.cancel())


def _settle(future: asyncio.Future[Any], result: object) -> None:
    """Set a future's result, unless whoever waited for it has given up."""
    if not future.done():
        future.set_result(result)


# Files whose frames are not the user's: ours, and those of the import machinery.
_NOT_THE_USERS: Final = (
    str(Path(__file__).parent) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
    "<frozen ",
)


def user_traceback(error: BaseException) -> str:
    """The traceback, and those of its causes, without frames that tell its reader nothing."""
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is not None:
            frames = [frame for frame in one.stack if not frame.filename.startswith(_NOT_THE_USERS)]
            one.stack = traceback.StackSummary.from_list(frames)
            waiting += (one.__cause__, one.__context__, *(one.exceptions or ()))
    return "".join(told.format()).rstrip("\n")
