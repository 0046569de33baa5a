"""Hands calls from other threads over to the event loop's, in order and in bulk.

What it implements: one queue, one wake-up for a burst of calls, and a brake for
threads that call faster than the loop can follow. What it leaves out: what is
called; it knows no socket.

In one line::

    handover.run(connection.send, outgoing)  # from any thread
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, Protocol

log = logging.getLogger("redbarrel_lite")

# What a thread may hand over before it waits for the loop to take it. Without this
# it would fill memory, and queues beyond their limit, before the loop has a turn.
HAND_OVER_BYTES: Final = 64 * 1024


class Drain(Protocol):
    """What may be too full to take more."""

    @property
    def congested(self) -> bool:
        """Whether its queue is above the high mark."""

    def when_drained(self, callback: Callable[[], object]) -> None:
        """Call back when the queue is below its mark, or it is no matter any more."""


class _Handed(threading.local):
    """How many bytes this thread has handed over since it last waited for the loop."""

    count = 0


class Handover:
    """The door between threads and the loop."""

    def __init__(self) -> None:
        self._thread = 0
        self._wake: Callable[[Callable[[], None]], object] | None = None
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._woken = False
        self._handed = _Handed()

    def attach_to_loop(self, wake: Callable[[Callable[[], None]], object]) -> None:
        """Begin to work; called in the loop's thread.

        ``wake(f)`` makes the loop call f soon, from any thread, and raises
        RuntimeError when the loop has ended.
        """
        self._thread = get_ident()
        self._wake = wake
        if self._calls:  # made before there was a loop
            self._wake_up()

    def is_here(self) -> bool:
        """Whether this is the loop's thread."""
        return get_ident() == self._thread

    def run(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the loop's thread: at once if this is it, else soon, in order.

        However many calls come in a burst, the loop is woken once.
        """
        if get_ident() == self._thread:
            function(*args)
            return
        self._calls.append((function, args))
        if not self._woken:
            # Another thread may pass here too and wake the loop once more, for
            # nothing. The other way round can't happen: `_run_calls` clears the
            # flag before it counts, so a call that it does not count wakes again.
            self._wake_up()

    def _wake_up(self) -> bool:
        """False: there is no loop, not yet or not any more."""
        if self._wake is None:
            return False
        self._woken = True
        try:
            self._wake(self._run_calls)
        except RuntimeError:
            # The server has gone, and with it every client that could care.
            self._calls.clear()
            self._woken = False
            return False
        return True

    def _run_calls(self) -> None:
        self._woken = False
        # Those that are there now and no more: threads that go on calling must
        # not keep the loop from everybody else.
        for _ in range(len(self._calls)):
            function, args = self._calls.popleft()
            try:
                function(*args)
            except Exception:  # one client's fault is not that of those behind it
                log.exception("a call from another thread failed")

    def pace(self, size: int, drain: Drain | None = None) -> None:
        """Hold a thread that has handed over much until the loop has taken it.

        ``size`` is what it has just handed over, in bytes. With a ``drain``, it is
        held until that is below its mark, too.
        """
        self._handed.count += size
        congested = drain is not None and drain.congested
        if self._handed.count < HAND_OVER_BYTES and not congested:
            return
        self._handed.count = 0
        taken = threading.Event()
        if drain is None:
            self.run(taken.set)
        else:
            self.run(drain.when_drained, taken.set)
        if self._wake_up():
            taken.wait()
