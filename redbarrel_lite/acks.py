"""Acknowledgements that a client owes, and how user code waits for one.

What it implements: whom to tell of which, at most so many at a time, and that nobody
waits for ever. What it leaves out: the packets, and who sends them (`sockets`).

In one line::

    acks.expect(acks.new_id(), print); acks.take(0)("answer")
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from .handover import Handover
from .outgoing import settle

# A client that never answers must not make us remember more; the oldest is forgotten.
MAX_PENDING_ACKS: Final = 1000

# Called with the arguments of an acknowledgement.
Ack: TypeAlias = Callable[..., object]
# Sends an event, whose acknowledgement's arguments are given to a function, or an
# exception instead of them; returns what forgets about it.
Ask: TypeAlias = Callable[[Callable[[Any], object]], Callable[[], object]]


class Expected:
    """What stands for a `call` among the acknowledgements: it can be told of a fault, too."""

    def __init__(self, give: Callable[[Any], object]) -> None:
        self.give = give

    def __call__(self, *args: Any) -> None:
        self.give(list(args))


class Acks:
    """What one client owes."""

    __slots__ = ("_ids", "_owed")

    def __init__(self) -> None:
        self._ids = itertools.count()
        self._owed: dict[int, Ack] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def new_id(self) -> int:
        """An id that no other event has had; from any thread."""
        return next(self._ids)

    def expect(self, ack_id: int, ack: Ack) -> None:
        """The event of this id is on its way."""
        self._owed[ack_id] = ack
        if len(self._owed) > MAX_PENDING_ACKS:
            oldest = self._owed.pop(next(iter(self._owed)))
            fail(oldest, TimeoutError(f"over {MAX_PENDING_ACKS} acknowledgements are owed"))

    def take(self, ack_id: int) -> Ack | None:
        """Whom to tell of an acknowledgement, once; None if nobody waits for it."""
        return self._owed.pop(ack_id, None)

    def fail_all(self, error: Exception) -> None:
        """No acknowledgement will come any more."""
        owed, self._owed = self._owed, {}
        for ack in owed.values():
            fail(ack, error)


def fail(ack: Ack, error: Exception) -> None:
    """Tell a `call` that it waits in vain; a callback is not called."""
    if isinstance(ack, Expected):
        ack.give(error)


def wait(handover: Handover, ask: Ask, timeout: float | None) -> Any:
    """What an event is acknowledged with; in the loop's thread, an awaitable of it."""
    if not handover.is_here():
        return wait_in_thread(ask, timeout)
    if asyncio.current_task() is None:
        raise RuntimeError("a callback, in the loop's thread, must not wait")
    return wait_in_loop(ask, timeout)


def wait_in_thread(ask: Ask, timeout: float | None) -> list[Any]:
    """What an event is acknowledged with. Raises TimeoutError, and whatever is given instead."""
    answers: SimpleQueue[list[Any] | BaseException] = SimpleQueue()
    forget = ask(answers.put)
    try:
        answer = answers.get(timeout=None if timeout is None else max(timeout, 0))
    except Empty:
        forget()
        raise TimeoutError(f"no acknowledgement within {timeout} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def wait_in_loop(ask: Ask, timeout: float | None) -> list[Any]:
    """The same for coroutines."""
    answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    forget = ask(partial(settle, answer))
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"no acknowledgement within {timeout} s") from None
        raise
    finally:
        forget()
