"""Runs services: Python callables that answer requests.

What it implements: ``async def`` on the loop, ``def`` in a bounded pool of threads,
and the values that either may return. What it leaves out: parameters filled from
the url, streams, rules.

In one line::

    response = await run(handler, pool, request)
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from .handlers import is_async, user_traceback
from .request import Request
from .response import Response, error_response
from .sockets import Handler

log = logging.getLogger("redbarrel_lite")

# Threads wait for disks and other servers rather than compute, so there may be
# more than cores; each costs memory, so not for as many requests as come.
MAX_THREADS: Final = 32
# Requests that wait for a thread. One that would wait longer is better refused:
# its client has given up by the time it is answered, and tries again.
MAX_WAITING: Final = 256


class Full(Exception):
    """All threads are at work, and as many requests wait as may."""


class Pool:
    """A bounded number of daemon threads, started when they are first needed.

    `concurrent.futures` has no bound on what waits, and joins its threads at exit:
    one handler that hangs would keep the process from ending.
    """

    def __init__(self, threads: int = MAX_THREADS, waiting: int = MAX_WAITING) -> None:
        self._max_threads = threads
        self._max_waiting = waiting
        self._threads = 0
        self._busy = 0
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a function in a thread; called in the loop's. Raises `Full`."""
        if self._busy >= self._max_threads + self._max_waiting:
            raise Full
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy += 1
        self._jobs.put(partial(self._job, function, future, loop))
        if self._threads < min(self._busy, self._max_threads):
            self._threads += 1
            threading.Thread(target=self._work, name="service", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _job(
        self,
        function: Callable[[], Any],
        future: asyncio.Future[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            settle = partial(future.set_result, function())
        except BaseException as error:  # SystemExit in a handler must not cost us a thread
            settle = partial(future.set_exception, _plain(error))
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._done, future, settle)

    def _done(self, future: asyncio.Future[Any], settle: Callable[[], None]) -> None:
        self._busy -= 1
        if not future.done():
            settle()


def _plain(error: BaseException) -> Exception:
    """An error that a future can carry: it refuses StopIteration, and SystemExit ends a loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    plain = RuntimeError(f"the handler raised {type(error).__name__}")
    plain.__cause__ = error
    return plain


async def run(handler: Handler, pool: Pool, request: Request) -> Response:
    """The answer of a handler; 500 if it raises, 503 if there is no thread for it."""
    try:
        if is_async(handler):
            value = await handler(request.globs, request)
        else:
            value = await pool.run(partial(handler, request.globs, request))
        return to_response(value)
    except Full:
        return error_response(503, "too many requests are at work", [("retry-after", "1")])
    except Exception as error:
        trace = user_traceback(error)
        log.error("%s %s failed:\n%s", request.method, ascii(request.path), trace)
        return error_response(500, "the handler of this url failed; the log says why")


def to_response(value: Any) -> Response:
    """What a handler returned, as an answer.

    str is HTML, bytes are a download, dict and list are JSON, None is 204. Raises
    TypeError for anything else, and what `json` raises.
    """
    if isinstance(value, Response):
        return value
    if isinstance(value, (str, bytes)):
        return Response(value)
    if isinstance(value, (dict, list)):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        return Response(text.encode(), content_type="application/json")
    if value is None:
        return Response(status=204)
    raise TypeError(
        f"a handler returned {type(value).__name__}, not str, bytes, dict, list, None or Response"
    )
