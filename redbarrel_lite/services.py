"""Runs services: Python callables that answer requests.

What it implements: ``async def`` on the loop, ``def`` in a bounded pool of threads,
and all that either may return or raise. What it leaves out: which arguments a callable
gets (`locations`), and rules (`conditions`).

In one line::

    answer = run(handler, pool, request)
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

from . import strictjson
from .cookies import with_secure
from .eager import Starter
from .errors import RemoteProtocolError
from .exc import HTTPException
from .failures import as_exception, awaited, user_traceback, was_closed
from .handlers import is_async
from .messages import Handler
from .request import Request, line_for
from .response import NO_SNIFFING, Response, encoded, error_response, if_modified, usual_response
from .routes import Service

log = logging.getLogger("redbarrel_lite")

# Threads wait for disks and other servers rather than compute, so there may be
# more than cores; each costs memory, so not for as many requests as come.
MAX_THREADS: Final = 32
# Requests that wait for a thread. One that would wait longer is better refused:
# its client has given up by the time it is answered, and tries again.
MAX_WAITING: Final = 256
# What the work for a request is cancelled with when nobody is there for the answer.
CLIENT_HAS_GONE: Final = "the client has gone"


class Full(Exception):
    """All threads are at work, and as many requests wait as may."""


class Job(asyncio.Future[Any]):
    """What a function will return, or raise, in a thread of a pool."""

    def __init__(self, function: Callable[[], Any], pool: Pool) -> None:
        super().__init__()
        self.function = function
        self._pool = pool

    def cancel(self, msg: Any = None) -> bool:
        """Give back its place if it still waits.

        A thread can't be stopped: when it is only the client who has gone, what has begun goes
        on to its end, and is waited for. (False leaves the task that waits here cancelled; it
        hears of it then.)
        """
        waited = self._pool.take_back(self)
        if not waited and msg == CLIENT_HAS_GONE:
            self.add_done_callback(_look_at)
            return False
        return super().cancel(msg)


def _look_at(job: Job) -> None:
    """Nobody may be left to hear of a failure, which asyncio would tell as a fault of ours."""
    if not job.cancelled():
        job.exception()


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
        self.refused = 0  # requests, by now
        self._jobs: SimpleQueue[Job] = SimpleQueue()

    @property
    def busy(self) -> int:
        """Threads that are at work."""
        return min(self._busy, self._threads)

    @property
    def waiting(self) -> int:
        """Jobs that wait for one."""
        return self._busy - self.busy

    def run(self, function: Callable[[], Any]) -> Job:
        """Call a function in a thread; called in the loop's. Raises `Full`."""
        if self._busy >= self._max_threads + self._max_waiting:
            self.refused += 1
            raise Full
        return self.go_on(function)

    def go_on(self, function: Callable[[], Any]) -> Job:
        """The same for work that has begun: half an answer is of no use to anybody."""
        if self._threads < min(self._busy + 1, self._max_threads):
            self._start_thread()
        job = Job(function, self)
        self._busy += 1
        self._jobs.put(job)
        return job

    def take_back(self, job: Job) -> bool:
        """Let nobody begin a job; False if somebody has. Called in the loop's thread.

        Whoever takes it out of the queue has it, so this takes out all, and the others go back.
        """
        waiting: list[Job] = []
        with suppress(Empty):
            while True:
                waiting.append(self._jobs.get_nowait())
        for one in waiting:
            if one is not job:
                self._jobs.put(one)
        waited = job in waiting
        self._busy -= waited
        return waited

    def _start_thread(self) -> None:
        """Start one more; if the system gives us none, those that there are do the work."""
        try:
            threading.Thread(target=self._work, name="service", daemon=True).start()
        except RuntimeError as error:
            log.error("no further thread for services: %s", error)
            if not self._threads:
                raise Full from None
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            self._do(self._jobs.get())

    def _do(self, job: Job) -> None:
        try:
            settle = partial(job.set_result, job.function())
        except BaseException as error:  # SystemExit in a handler must not cost us a thread
            settle = partial(job.set_exception, as_exception(error))
        loop = job.get_loop()
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._done, job, settle)
        del job, settle  # an error's traceback holds this frame

    def _done(self, job: Job, settle: Callable[[], None]) -> None:
        self._busy -= 1
        if not job.done():
            settle()


_starter: Final = Starter()


def service(handler: Handler, pool: Pool) -> Service:
    """A handler as what answers requests."""
    if is_async(handler):
        return lambda request: _starter.start(_run_here(handler, pool, request))
    return partial(_run_in_thread, handler, pool)


async def _run_here(handler: Handler, pool: Pool, request: Request) -> Response:
    try:
        value = await handler(request.globs, request)
        return to_response(value, request) or await _stream(value, pool, request)
    except KeyboardInterrupt:
        raise
    except GeneratorExit as error:
        if was_closed(error):
            raise
        return failure(request, error)
    except asyncio.CancelledError as error:
        if error.args == (CLIENT_HAS_GONE,):
            raise
        return failure(request, error)
    except BaseException as error:
        # Cancelled from within, or by the end of the server: the client waits all the same.
        return failure(request, error)


async def _run_in_thread(handler: Handler, pool: Pool, request: Request) -> Response:
    try:
        job = pool.run(partial(handler, request.globs, request))
        try:
            value = await job
        except asyncio.CancelledError:
            if job.cancelled():
                raise
            error = job.exception()  # awaited again, it would come without its traceback
            if error is not None:
                return failure(request, error)
            return await _for_nobody(job.result(), pool, request)
        finally:
            del job  # or it, what it raised and this frame would hold each other
        return to_response(value, request) or await _stream(value, pool, request)
    except Exception as error:
        return failure(request, error)


async def _for_nobody(value: Any, pool: Pool, request: Request) -> Response:
    """What a handler returned whose client has gone meanwhile: of parts none is begun."""
    response = to_response(value, request)
    if response is None:
        await _Parts(value.stream if isinstance(value, Response) else value, pool).aclose()
        raise asyncio.CancelledError(CLIENT_HAS_GONE)
    return response


class Failed(Response):
    """The answer to a request whose handler raised, and did not mean it as an answer.

    A class of its own, for `on error` to be about these and no others.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text, status, [NO_SNIFFING], "text/plain; charset=utf-8")


def failure(request: Request, error: BaseException) -> Response:
    """The answer to a request whose handler raised this."""
    if isinstance(error, HTTPException):
        # One that is made once and raised for ever would collect a traceback each time.
        error.__traceback__ = None
        return _finished(error, request)
    if isinstance(error, RemoteProtocolError):
        return error_response(error.code or 400, str(error))
    if isinstance(error, Full):
        return error_response(503, "too many requests are at work", [("retry-after", "1")])
    if isinstance(error, asyncio.CancelledError):
        log.error("%s was cancelled", line_for(request))
        return Failed("500 the handler of this url was cancelled; the log says why\n", 500)
    trace = user_traceback(error)
    log.error("%s failed:\n%s", line_for(request), trace)
    return Failed("500 the handler of this url failed; the log says why\n", 500)


# -- what handlers return -----------------------------------------------------------------

_HTML: Final = "text/html; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_JSON: Final = "application/json"
_USUAL: Final = {kind: (("content-type", kind),) for kind in (_HTML, _BYTES, _JSON)}


def to_response(value: Any, request: Request) -> Response | None:
    """What a handler returned, as an answer; None for what comes in parts.

    str is HTML, bytes are a download, dict and list are JSON, None is 204. Raises
    TypeError for anything else, and what `json` raises.
    """
    if isinstance(value, str):
        return _whole(encoded(value), _HTML, request)
    if isinstance(value, Response):
        made_by_user: Any = value.stream
        in_parts = isinstance(made_by_user, (Iterator, AsyncIterator))
        return None if in_parts else _finished(value, request)
    if isinstance(value, bytes):
        return _whole(value, _BYTES, request)
    if isinstance(value, (dict, list)):
        return _whole(strictjson.dumps(value), _JSON, request)
    if value is None:
        return _finished(_without_content(request), request)
    if isinstance(value, (Iterator, AsyncIterator)):
        return None
    raise TypeError(
        f"a handler returned {type(value).__name__}, not"
        " str, bytes, dict, list, None, an iterator or a Response"
    )


def _content(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        return encoded(value), _HTML
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), _BYTES
    raise TypeError(f"a handler's iterator yielded {type(value).__name__}, not str or bytes")


def _whole(body: bytes, kind: str, request: Request) -> Response:
    if request.has_response:
        return _finished(_dressed(body, kind, request), request)
    # Neither cookies nor validators are in it to be looked at.
    return usual_response(body, _USUAL[kind])


def _dressed(body: bytes, kind: str, request: Request) -> Response:
    """Content, with what the handler has said of it in `request.response`."""
    response = request.response
    response.body = body
    if response.header("content-type") is None:
        response.set_header("content-type", kind)
    return response


def _without_content(request: Request) -> Response:
    """None is 204, unless `request.response` has a body, or a status of its own."""
    if not request.has_response:
        return Response(status=204)
    response = request.response
    if response.status == 200 and not response.body and response.stream is None:
        response.status = 204
    return response


def _finished(response: Response, request: Request) -> Response:
    if request.scheme == "https":
        response.headers = [
            (name, with_secure(value) if name == "set-cookie" else value)
            for name, value in response.headers
        ]
    if request.method not in ("GET", "HEAD"):
        return response
    for name, _ in response.headers:  # few, and mostly without any of these
        if name in ("etag", "last-modified"):
            return if_modified(response, request.headers)
    return response


# -- answers in parts -----------------------------------------------------------------------


async def _stream(value: Any, pool: Pool, request: Request) -> Response:
    """An answer whose content an iterator makes.

    The first part is waited for: it shows what kind of content it is, and whatever is
    raised before it can still be an answer of its own.
    """
    iterator = value.stream if isinstance(value, Response) else value
    parts = _Parts(iterator, pool)
    try:
        kind = await parts.begin()
        response = value if isinstance(value, Response) else _dressed(b"", kind, request)
    except BaseException:
        await parts.aclose()
        raise
    response.stream = parts
    answer = _finished(response, request)
    if request.method == "HEAD" or answer is not response:
        await parts.aclose()  # the end of it may never come
    return answer


class _Parts:
    """What an iterator yields, as bytes; a plain one is run in the pool, part by part."""

    def __init__(self, iterator: Any, pool: Pool) -> None:
        self._iterator = iterator
        self._pool = pool
        self._first: bytes | None = None
        is_async = isinstance(iterator, AsyncIterator)
        self._next: Callable[[], Awaitable[Any]] = self._await if is_async else self._call
        self._running: Job | None = None

    async def begin(self) -> str:
        """Get the first part that is not empty; return the type of its content."""
        while not self._first:
            part = await self._next()
            if part is _END:
                self._next = _over
                return _HTML
            self._first, kind = _content(part)
        return kind

    def __aiter__(self) -> _Parts:
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        if first:
            return first
        part = await self._next()
        if part is _END:
            raise StopAsyncIteration
        return _content(part)[0]

    async def _await(self) -> Any:
        try:
            return await awaited(anext(self._iterator))
        except StopAsyncIteration:
            return _END

    async def _call(self) -> Any:
        start = self._pool.run if self._running is None else self._pool.go_on
        self._running = start(partial(next, self._iterator, _END))
        try:
            # A thread can't be cancelled: who cancels us must not take it for idle.
            return await asyncio.shield(self._running)
        except Exception:
            self._running = None  # or it, what it raised and this frame would hold each other
            raise

    async def aclose(self) -> None:
        """Let the iterator end: a generator's `finally` is run where the rest of it was."""
        self._next = _over  # not our own method: we would hold ourselves, and the iterator
        self._first = None
        if isinstance(self._iterator, AsyncIterator):
            if hasattr(self._iterator, "aclose"):
                await awaited(self._iterator.aclose())
            return
        running, self._running = self._running, None
        if running is not None and not running.done() and not running.cancel(CLIENT_HAS_GONE):
            await asyncio.wait([running])
            running.exception()  # it is looked at, and nobody is left to tell
        if _has_not_begun(self._iterator):
            self._iterator.close()  # there is nothing in it to run
        elif hasattr(self._iterator, "close"):
            await self._pool.go_on(self._iterator.close)


def _has_not_begun(iterator: Any) -> bool:
    is_generator = inspect.isgenerator(iterator)
    return is_generator and inspect.getgeneratorstate(iterator) == inspect.GEN_CREATED


_END: Final = object()


async def _over() -> Any:
    return _END
