"""Runs the handlers of sockets: what all runners share, and a thread for a ``def``.

What it implements: `sockets.Runner` for threads. What it leaves out: coroutines
(`coroutines`), which function is a handler, and its arguments; it is given a ``body``
that needs none.

In one line::

    runner = ThreadRunner(socket, connection, hub, body)
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from inspect import iscoroutine
from queue import Empty, SimpleQueue
from typing import Final

from .errors import SocketClosed
from .hub import Hub
from .messages import Message
from .outgoing import Connection
from .sockets import Socket

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


class End(BaseException):
    """Ends a handler that does not end itself. No Exception, so that few catch it."""


class Base(ABC):
    """What both kinds share: pausing, the way it ends, and what is told of it."""

    __slots__ = (
        "_bytes_in",
        "_bytes_out",
        "_connection",
        "_finished",
        "_hub",
        "_name",
        "_paused",
        "_socket",
        "_told",
    )

    def __init__(self, socket: Socket, connection: Connection, hub: Hub, name: str) -> None:
        self._socket = socket
        self._name = name  # of the handler, for the log
        self._connection = connection
        self._hub = hub
        self._paused = False
        self._finished = False  # the client has gone
        self._told = 0  # how often recv has said so
        # Bytes that went into the inbox, counted in the loop's thread, and out of
        # it, counted in the handler's: so neither needs a lock.
        self._bytes_in = 0
        self._bytes_out = 0

    @abstractmethod
    def waiting(self) -> int:
        """How many messages the inbox holds."""

    def _filled(self) -> None:
        waiting = self._bytes_in - self._bytes_out
        if not self._paused and (self.waiting() >= INBOX_HIGH or waiting >= INBOX_HIGH_BYTES):
            self._paused = True
            self._connection.pause()
            # The handler's thread may have emptied the inbox in between, and seen
            # no reason to read on.
            self._read_on()

    def _is_low(self) -> bool:
        return self.waiting() <= INBOX_LOW and self._bytes_in - self._bytes_out <= INBOX_LOW_BYTES

    def _read_on(self) -> None:
        """Resume, if it is time; in the loop's thread."""
        if self._paused and (self._finished or self._is_low()):
            self._paused = False
            self._connection.resume()

    def _finish(self) -> None:
        self._finished = True
        self._read_on()  # for the other sockets of the connection

    def _after_end(self) -> Message:
        """What recv gives once the client has gone: [], SocketClosed, and the end."""
        self._told += 1
        if self._told == 1:
            return Message()
        if self._told <= MAX_CALLS_AFTER_CLOSE:
            raise SocketClosed("the client has gone")
        log.error(
            "%s of %r calls recv() again and again although the client has gone: ended",
            self._name,
            self._socket,
        )
        raise End

    def _returned(self, error: BaseException | None) -> None:
        """The handler is over; so is its socket."""
        if isinstance(error, BaseExceptionGroup):  # of a task group
            error = error.split((SocketClosed, End))[1]
        if error is not None and not isinstance(error, (SocketClosed, End)):
            self._socket.report(self._name, error)
            self._socket.fail()
            return
        is_open = self._socket.connected() and not self._socket.is_refused
        if error is None and not self._bytes_out and is_open:
            # As a function that registers callbacks elsewhere would; here it is the end.
            log.info(
                "%s of %r has returned, and its client is turned out:"
                " a loop would keep it (for message in socketio)",
                self._name,
                self._socket,
            )
        self._socket.close()


class ThreadRunner(Base):
    """A ``def`` handler in a daemon thread of its own."""

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        body: Callable[[], object],
        name: str = "the handler",
    ) -> None:
        super().__init__(socket, connection, hub, name)
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
                log.error("no thread for %s of %r: %s", self._name, self._socket, error)
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

    def waiting(self) -> int:
        return self._inbox.qsize()

    def deliver(self, message: Message) -> None:
        self._bytes_in += message.size
        self._inbox.put(message)
        self._filled()

    def finish(self) -> None:
        self._finish()
        self._inbox.put(None)

    def recv(self, timeout: float | None) -> Message:
        self._check_thread()
        if self._told > MAX_CALLS_AFTER_CLOSE:
            # It has caught even `End`, in a bare `except:`. No exception can end
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
