"""Runs a socket's handler that is an ``async def``, without a task switch for a message.

What it implements: `sockets.Runner` for coroutines. What it leaves out: what it shares
with the runner of threads (`handlers`).

In one line::

    runner = CoroutineRunner(socket, connection, hub, body)
"""

from __future__ import annotations

import asyncio
import contextvars
import types
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeAlias

from .hub import Hub
from .messages import Message
from .outgoing import Connection
from .runners import MAX_CALLS_AFTER_CLOSE, Base
from .sockets import Socket


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


class CoroutineRunner(Base):
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

    __slots__ = (
        "_asleep",
        "_body",
        "_context",
        "_coroutine",
        "_handover",
        "_inbox",
        "_loop",
        "_parked",
        "_task",
        "_waiter",
    )

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        body: Callable[[], _Coroutine],
        name: str = "the handler",
    ) -> None:
        super().__init__(socket, connection, hub, name)
        self._loop = asyncio.get_running_loop()
        # Made when it is needed, which for most clients is never: an empty one has 760 bytes.
        self._inbox: deque[Message] | None = None
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
        except asyncio.CancelledError as error:
            assert self._task is not None
            if not self._task.cancelling():  # it has waited for something else that was
                self._returned(error)
                return
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
            finally:
                step = go_on  # for the last one may carry an error, too
            if waits_for is _NEVER:
                _asleep.append(coroutine)
                return
            try:
                if waits_for is _PARK:
                    step = partial(_again, *(yield from self._park()))
                else:
                    yield waits_for
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
            self._handover = None
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
            del handover  # it may carry an error, whose traceback has this frame

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

    def waiting(self) -> int:
        return len(self._inbox or ())

    def deliver(self, message: Message) -> None:
        if not self._inbox and self._may_resume():
            self._resume(message)
        else:
            self._bytes_in += message.size
            if self._inbox is None:
                self._inbox = deque()
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
            # With the loop: to find it takes a call of the system before Python 3.12.
            if timeout is None and self._task is asyncio.current_task(self._loop):
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
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout} s") from None
        finally:
            self._waiter = None

    async def _for_ever(self) -> None:
        """Stop a coroutine that has caught even `End`, in a bare ``except:``."""
        if not self._asleep:
            self._asleep = self._task is asyncio.current_task()
        # Asked but once: when the interpreter ends it closes the coroutine, which
        # comes here again, and an exception now would make it spin.
        while self._asleep:
            await _NEVER
        await self._loop.create_future()  # a task of its own: it can be cancelled


def _again(waits_for: Any, error: BaseException | None) -> Any:
    """What the coroutine's last step gave, given once more."""
    try:
        if error is not None:
            raise error
        return waits_for
    finally:
        del error  # or its traceback and this frame would hold each other


def _cancel(waits_for: Any) -> bool:
    """Cancel what a coroutine waits for; False if that can't be."""
    return waits_for is _NEVER or (isinstance(waits_for, asyncio.Future) and waits_for.cancel())
