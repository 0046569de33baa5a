"""Says in the log who held the event loop, and for how long.

What it implements: a thread that looks at the loop's a few times in each span that a
handler may take, and, when one takes longer, at the line where it is. The loop itself
does nothing for it, but to answer a question when it seems to be late. What it leaves
out: ending what is stuck, which nobody can do from outside.

In one line::

    with watching(0.2): await server.serve(address, keeper)

A look, as the thread sees the loop::

    in no callback --> nothing to do; its clock of CPU time stands still until there is
    in a callback  --> ask it something; not answered in time: note where it is
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, TypeVar

log = logging.getLogger("redbarrel_lite")

USUAL_S: Final = 0.2
# What lasts so long may never end: it is told while it lasts, once.
LONG_S: Final = 5.0
LOOKS: Final = 4  # in the time that a handler may take
# A thread that was late itself knows nothing, if the whole process stood still meanwhile
# (SIGSTOP, a debugger, a machine that is overloaded). If the loop's thread did compute, it
# was that which let nobody else run: a regular expression does not let go of the lock.
BUSY_SHARE: Final = 0.1

_OURS: Final = str(Path(__file__).parent) + os.sep
_PYTHONS: Final = (str(Path(os.__file__).parent) + os.sep, "<frozen ")
_LIBRARIES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_DEBUGGERS: Final = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle"})
_CALLBACK: Final = asyncio.Handle._run.__code__

T = TypeVar("T")


@contextmanager
def watching(limit: float) -> Iterator[None]:
    """Watch the running loop; ``limit`` in seconds, 0 is none."""
    if not limit:
        yield
        return
    watchdog = Watchdog(asyncio.get_running_loop(), limit)
    try:
        yield
    finally:
        watchdog.stop()


def unwatched(work: Callable[[], T]) -> T:
    """Do in the loop what takes as long as it takes, and is no handler's: nobody is told of it."""
    loop = asyncio.get_running_loop()
    usual, loop.slow_callback_duration = loop.slow_callback_duration, float("inf")
    # asyncio's own watch looks at the time when this turn of the loop is over.
    loop.call_soon(setattr, loop, "slow_callback_duration", usual)
    return work()


class _Question:
    """What the loop was asked, to see when it answers."""

    def __init__(self, begun: float) -> None:
        self.begun = begun  # since when it has been late, as far as we know
        self.queued = 0.0  # its thread, before that, for a processor
        self.where: str | None = None  # the handler's place, once it is late
        self.told = False
        self.collections = _full_collections()


class Watchdog:
    """One thread that watches the loop of the thread that makes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        self._loop = loop
        self._limit = limit
        self._pause = limit / LOOKS
        self._ident = threading.get_ident()
        self._cpu = _clock_of(self._ident)
        self._queue = _Queue(threading.get_native_id())
        self._question: _Question | None = None
        self._at_work = threading.Lock()  # to wait for one is cheaper than for an Event
        self._at_work.acquire()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._at_work.release()
        self._thread.join()
        if self._question is not None:  # what follows in this turn of the loop is not watched
            self._answer(self._question)
        self._queue.close()

    def _watch(self) -> None:
        seen, cpu, is_idle = time.monotonic(), self._cpu(), False
        pause = self._pause
        while not self._at_work.acquire(timeout=pause):
            now, used = time.monotonic(), self._cpu()
            if self._question is None and is_idle and used == cpu:
                pause = 2 * self._pause
            else:
                stood_still = used - cpu < (now - seen) * BUSY_SHARE
                is_idle = self._look(seen, seen + pause, now, stood_still=stood_still)
                pause = self._pause
            seen, cpu = now, used

    def _look(self, seen: float, due: float, now: float, *, stood_still: bool) -> bool:
        """Look at the loop, which was ``seen`` last, a little later than was ``due``.

        True: it is in no callback.
        """
        question = self._question
        frame = sys._current_frames().get(self._ident)
        if question is None:
            if not _in_callback(frame):
                return True
            question = _Question((seen + due) / 2)  # somewhen between the two looks
        if stood_still:
            question.begun += now - due
        late = now - question.begun
        if question.where is None and late >= self._limit / 2:
            question.where = _place(frame)
        if self._question is not question:
            # Not before: this calls the system, and the callback goes on meanwhile.
            question.queued = self._queue.seconds()
            self._question = question
            self._loop.call_soon_threadsafe(self._answer, question)
        if question.where is not None and late >= LONG_S and not question.told:
            self._tell(question, late)
        return False

    def _tell(self, question: _Question, late: float) -> None:
        """It lasts, and may never end."""
        held = late - self._queue.seconds() + question.queued
        if held >= LONG_S:
            question.told = True
            log.warning("the event loop is held, for %.0f s now, by %s", held, question.where)

    def _answer(self, question: _Question) -> None:
        """The loop's answer."""
        if self._question is not question:
            return
        # A machine that has too much to do is no handler that blocks.
        queued = self._queue.seconds() - question.queued
        held = time.monotonic() - question.begun - queued
        self._question = None
        if question.where is not None and held >= self._limit:
            collected = _full_collections() > question.collections
            log.warning(
                "the event loop was held for about %.1f s by %s%s",
                held,
                question.where,
                "; all objects were collected meanwhile (gc)" if collected else "",
            )


def _clock_of(ident: int) -> Callable[[], float]:
    """The CPU time of a thread, or of all where there is no such clock."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time
    return partial(time.clock_gettime, time.pthread_getcpuclockid(ident))


class _Queue:
    """How long a thread has waited for a processor, all in all; Linux tells, others don't."""

    def __init__(self, thread: int) -> None:
        self._file = -1
        with contextlib.suppress(OSError):
            self._file = os.open(f"/proc/self/task/{thread}/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def seconds(self) -> float:
        """Up to now; 0 where nobody tells."""
        try:
            # Time on a processor, time in the queue for one, in nanoseconds, and how often.
            return int(os.pread(self._file, 100, 0).split()[1]) / 1e9
        except (AttributeError, OSError, LookupError, ValueError):  # Windows has no pread
            return 0.0

    def close(self) -> None:
        """Ask no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _full_collections() -> int:
    """How often the collector has looked at all objects, which may take a while."""
    collections: int = gc.get_stats()[2]["collections"]
    return collections


def _in_callback(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _CALLBACK:
        frame = frame.f_back
    return frame is not None


def _place(frame: FrameType | None) -> str | None:
    """Where in user code the callback is, or else in ours; None: in neither, or not watched."""
    users: list[str] = []
    ours: list[str] = []
    while frame is not None and frame.f_code is not _CALLBACK:
        module = str(frame.f_globals.get("__name__", ""))
        if frame.f_code is unwatched.__code__:
            return None
        if module.partition(".")[0] in _DEBUGGERS:
            return None
        found = _list_for(frame.f_code, users, ours)
        if found is not None:
            code = frame.f_code
            found.append(f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})")
        frame = frame.f_back
    if frame is None or not users:
        return f"{ours[0]}, of this server" if frame is not None and ours else None
    within = f", in {users[0]}" if len(users) > 1 else ""
    return f"{users[-1]}{within}: what waits or computes belongs into a plain `def`, or a thread"


def _list_for(code: CodeType, users: list[str], ours: list[str]) -> list[str] | None:
    name = code.co_filename
    if name.startswith(_OURS):
        return None if name == __file__ else ours
    of_python = name.startswith(_PYTHONS) and not any(part in name for part in _LIBRARIES)
    return None if of_python else users
