"""Several processes behind one port: who starts them, watches over them, and ends them.

What it implements: ``--workers N``. A supervisor opens the port, forks the workers, takes
another one for each that dies, has them read their files again one at a time (SIGHUP), and
ends them all. What it leaves out: the worker's side of that, which is `post`; serving, which
each worker does as if it were alone; and how they talk to each other, which is `mesh`.

In one line::

    status = Supervisor(sockets, None, 4, grace, notifier).run(url)  # in a worker, its `Post`

All accept on the same listening sockets, which the supervisor keeps open. With SO_REUSEPORT
each would have a queue of its own, whose clients are reset when it dies, and there is none
for Unix sockets, nor for those of systemd.

The supervisor serves nobody and imports nothing of the application, so that a worker is
forked from a process without threads, and finds the files as they are now.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import selectors
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .failures import tell
from .listener import SocketFile
from .mesh import Seat
from .post import READY, RENEW, RENEW_ALOUD, RENEWED, Post
from .systemd import Notifier

MAX_WORKERS: Final = 256
# A worker that lives shorter than this was not well from its start.
SICK_S: Final = 5.0
# How long its place is empty then: twice as long each time, up to a limit.
BACK_OFF_S: Final = 0.5
MAX_BACK_OFF_S: Final = 30.0
# A socket's path may have 104 bytes and more; so many of them may be TMPDIR's.
MAX_TEMPORARY_BYTES: Final = 70
# Beyond the grace, for a process to be gone.
RESERVE_S: Final = 2.0
# Who has not read again by then is waited for no longer: its loop is held, or it is stopped.
RENEW_S: Final = 10.0


class Worker:
    """A process, as its supervisor sees it; and its place, where another one may follow."""

    def __init__(self, number: int, listening: socket.socket) -> None:
        self.number = number
        self.listening = listening  # for the other workers
        self.pid = 0  # 0: the place is empty
        self.line: socket.socket | None = None
        self.is_ready = False
        self.owes = 0  # answers, to what it was told to read again
        self.began = 0.0
        self.back_off = 0.0
        self.begins_at = 0.0  # when an empty place is to be filled

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.pid})"


class _Born(BaseException):
    """This is the new process: leave the supervisor's work to the supervisor."""

    def __init__(self, post: Post) -> None:
        super().__init__(post)
        self.post = post


class Supervisor:
    """The parent of all workers."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        file: SocketFile | None,
        count: int,
        grace: float,
        notifier: Notifier,
    ) -> None:
        """``sockets`` are those that all accept on; ``file`` is of one of them, and ours."""
        self._sockets = sockets
        self._file = file
        self._grace = grace
        self._systemd = notifier
        self._workers = [Worker(number, socket.socket(socket.AF_UNIX)) for number in range(count)]
        self._host_id = secrets.token_hex(16)
        self._selector = selectors.DefaultSelector()
        self._signals, self._wake = socket.socketpair()
        self._heard: list[int] = []  # signals
        self._renewing: list[Worker] = []  # who is yet to read again; the first does now
        self._renew_by = 0.0  # or is waited for no longer
        self._is_asked = False  # to read again, once that can begin
        self._is_serving = False
        self._ends_by: float | None = None  # once we have been asked to end
        self._status = 0
        self._is_aloud = False  # who reads again is to say what has changed
        self._at_terminal = os.isatty(2)
        self._alive_at = 0.0

    def run(self, url: str) -> int | Post:
        """Supervise until the end; return the exit status. In a worker, return its post."""
        self._heed_signals()
        self._folder = _private_folder()
        try:
            for worker in self._workers:
                worker.listening.bind(str(self._folder / str(worker.number)))
                worker.listening.listen(MAX_WORKERS)
            self._begin(url)
            while self._ends_by is None:
                self._look()
            self._end()
        except _Born as born:
            return born.post
        except BaseException:
            self._kill()
            self._close()
            raise
        self._close()
        return self._status

    # -- the beginning -----------------------------------------------------------------

    def _begin(self, url: str) -> None:
        """The first worker finds what is wrong with the files, if anything is; then all begin."""
        for some in (self._workers[:1], self._workers[1:]):
            for worker in some if self._ends_by is None else ():
                self._start(worker)
            while self._ends_by is None and not all(one.is_ready for one in some):
                self._look()
        if self._ends_by is None:
            self._is_serving = True
            tell(f"Serving on {url}")
            self._rest()

    def _start(self, worker: Worker) -> None:
        """Fork. The child has none of what is the supervisor's, but its own post."""
        ours, theirs = socket.socketpair()
        is_first = worker is self._workers[0] and not self._is_serving
        try:
            with _undisturbed():
                pid = os.fork()
                if not pid:
                    self._leave(worker)
        except OSError:
            ours.close()
            theirs.close()
            raise
        if not pid:
            ours.close()
            there = frozenset(one.number for one in self._workers if one.pid and one.is_ready)
            seat = Seat(worker.number, len(self._workers), self._folder, worker.listening, there)
            raise _Born(Post(seat, self._host_id, self._sockets, theirs, is_first=is_first))
        theirs.close()
        ours.settimeout(0)
        worker.pid, worker.line, worker.is_ready, worker.owes = pid, ours, False, 0
        worker.began = time.monotonic()
        self._selector.register(ours, selectors.EVENT_READ, worker)

    def _start_again(self, worker: Worker) -> None:
        try:
            self._start(worker)
        except OSError as error:  # no descriptor is left, or no process: the others go on
            worker.begins_at = time.monotonic() + MAX_BACK_OFF_S
            tell(f"worker {worker.number} can't begin: {error.strerror}")

    def _leave(self, worker: Worker) -> None:
        """Be a worker: without the supervisor's signals, and without its lines to the others."""
        signal.set_wakeup_fd(-1)
        # What a terminal says to all of a group is for the supervisor to hear.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for one in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(one, signal.SIG_DFL)
        self._selector.close()
        for sock in (self._signals, self._wake):
            sock.close()
        for other in self._workers:
            if other.line is not None:
                other.line.close()
            if other is not worker:
                other.listening.close()

    # -- what happens ------------------------------------------------------------------

    def _heed_signals(self) -> None:
        self._signals.settimeout(0)
        self._wake.settimeout(0)
        # Where many have come, one more byte wakes nobody sooner.
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._signals, selectors.EVENT_READ)
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(one, lambda number, _frame: self._heard.append(number))

    def _look(self) -> None:
        """Wait until something happens, and see to it."""
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._signals.recv(4096)
            else:
                self._hear(key.data)
        heard, self._heard = self._heard, []
        for number in heard:
            if number == signal.SIGHUP:
                self._hang_up()
            elif number != signal.SIGCHLD:
                self._ask_to_end(number)
        self._bury()
        now = time.monotonic()
        if self._is_serving and self._systemd.alive_every_s and now >= self._alive_at:
            self._alive_at = now + self._systemd.alive_every_s
            self._systemd.alive()
        if self._ends_by is not None:
            return
        if self._renewing and now >= self._renew_by:
            self._leave_behind()
        for worker in self._workers:
            if not worker.pid and 0 < worker.begins_at <= now:
                self._start_again(worker)

    def _patience(self) -> float | None:
        times = [one.begins_at for one in self._workers if not one.pid and one.begins_at]
        if self._renewing:
            times.append(self._renew_by)
        if self._ends_by is not None:
            times = [self._ends_by] if self._ends_by < math.inf else []
        if self._is_serving and self._systemd.alive_every_s:
            times.append(self._alive_at)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _hear(self, worker: Worker) -> None:
        """A worker has said something; its end we hear of by a signal."""
        assert worker.line is not None
        try:
            words = worker.line.recv(16)
        except OSError:
            words = b""
        if not words:
            self._selector.unregister(worker.line)
        for word in (words[i : i + 1] for i in range(len(words))):
            if word == READY:
                worker.is_ready = True
            else:
                worker.owes -= 1
                if not worker.owes:
                    self._answered(worker, is_new=word == RENEWED)

    def _bury(self) -> None:
        """Take note of those who have ended."""
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, status: int) -> None:
        what = f"{worker} {_said(status)}"
        worker.pid = worker.owes = 0
        assert worker.line is not None
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.line)
        worker.line.close()
        worker.line = None
        if self._ends_by is not None:
            return
        if not self._is_serving:  # it has said why
            self._status = status if status > 0 else 1
            if status <= 0:
                tell(f"error: {what}")
            self._ends_by = time.monotonic() + self._grace + RESERVE_S
            return
        now = time.monotonic()
        if now - worker.began < SICK_S:
            worker.back_off = min(MAX_BACK_OFF_S, worker.back_off * 2 or BACK_OFF_S)
        else:
            worker.back_off = 0.0
        worker.begins_at = now + worker.back_off
        when = f" in {worker.back_off:g} s" if worker.back_off else ""
        tell(f"{what}: another takes its place{when}")
        if worker in self._renewing:  # its successor reads what there is
            is_current = self._renewing[0] is worker
            self._renewing.remove(worker)
            if is_current:
                self._renew_next()

    # -- to read again -------------------------------------------------------------------

    def _hang_up(self) -> None:
        """One after the other, so that all but one serve meanwhile; the first finds the faults."""
        if self._at_terminal and not os.isatty(2):  # the other thing that SIGHUP means: closed
            self._ask_to_end(signal.SIGTERM)
            return
        if not self._is_serving or self._renewing:
            # Who reads now may have read the one file before its change, and the other behind it.
            self._is_asked = True
            return
        self._renewing = [one for one in self._workers if one.pid]
        self._is_aloud = True
        self._systemd.reloading()
        self._renew_next()

    def _renew_next(self) -> None:
        if not self._renewing:
            late = ", ".join(str(one.number) for one in self._workers if one.owes)
            tell(f"Read again, but not by worker {late}." if late else "Read again.")
            self._rest()
            return
        worker = self._renewing[0]
        assert worker.line is not None
        with contextlib.suppress(OSError):  # it is at its end, of which we will hear
            worker.line.send(RENEW_ALOUD if self._is_aloud else RENEW)
            worker.owes += 1
        self._renew_by = time.monotonic() + RENEW_S

    def _answered(self, worker: Worker, *, is_new: bool) -> None:
        """It has read again, or had a reason not to."""
        if not self._renewing or self._renewing[0] is not worker:  # it is late
            if is_new and self._is_serving:
                tell(f"{worker} has read again, too.")
            return
        self._is_aloud = False
        del self._renewing[0]
        if is_new:
            self._renew_next()
        else:
            self._renewing.clear()
            self._rest()

    def _leave_behind(self) -> None:
        """Not the end of it: who computes for a while has clients that would be lost."""
        worker = self._renewing.pop(0)
        tell(f"{worker} has not read again within {RENEW_S:g} s: left to do so when it can")
        self._renew_next()

    def _rest(self) -> None:
        """All is as it was said to be; until the next time, which may be now."""
        self._systemd.ready()
        if self._is_asked:
            self._is_asked = False
            self._hang_up()

    # -- the end -----------------------------------------------------------------------

    def _ask_to_end(self, number: int) -> None:
        if self._ends_by is None:
            self._ends_by = time.monotonic() + self._grace + RESERVE_S
        else:  # the second signal: the end at once
            self._kill()
            self._close()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _end(self) -> None:
        """Let go of all: that is how they are told."""
        self._systemd.stopping()
        self._is_serving = False
        self._renewing.clear()
        self._let_go()
        for worker in self._workers:
            worker.listening.close()
            if worker.pid and worker.line is not None:
                if worker.is_ready:
                    with contextlib.suppress(OSError):
                        worker.line.shutdown(socket.SHUT_WR)
                else:  # it does not listen yet
                    os.kill(worker.pid, signal.SIGTERM)
        while any(one.pid for one in self._workers):
            assert self._ends_by is not None
            if time.monotonic() >= self._ends_by:
                tell("Some workers have not ended: killed.")
                self._kill()
                self._ends_by = math.inf
            self._look()

    def _let_go(self) -> None:
        """Of what all accept on."""
        if self._file is not None:
            self._file.remove()
        for one in self._sockets:
            one.close()

    def _close(self) -> None:
        self._let_go()
        shutil.rmtree(self._folder, ignore_errors=True)
        signal.set_wakeup_fd(-1)
        self._selector.close()
        lines = (one.line for one in self._workers if one.line is not None)
        for sock in (self._signals, self._wake, *(one.listening for one in self._workers), *lines):
            sock.close()

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGKILL)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What comes meanwhile waits: a child must not take it by its parent's handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _private_folder() -> Path:
    """A folder for us alone (0700), whose name is short enough for a socket in it (unix(7))."""
    prefix = "redbarrel-"
    is_long = len(os.fsencode(tempfile.gettempdir())) > MAX_TEMPORARY_BYTES
    return Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp" if is_long else None))  # noqa: S108


def processors() -> int:
    """How many there are for us, which may be fewer than the machine has."""
    with contextlib.suppress(AttributeError):  # Linux alone tells
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _said(status: int) -> str:
    """How a process has ended."""
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"has ended with status {status}"
