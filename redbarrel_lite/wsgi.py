"""``wsgi:``: a WSGI application answers the requests of a path.

What it implements: the server's side of PEP 3333: Flask, Bottle, Django and the like
run as they are, each request in one thread of the pool from its start to `close`,
which is what they are written for. What it leaves out: `wsgi.file_wrapper`; the
body is all there before the application is called.

In one line::

    service = wsgi_service(application, "/mounted", pool)

The thread hands each part over to the loop as the application makes it, and waits
while the client does not read: so a slow client holds a thread, as in any server of
this kind. What reads for minutes belongs on a socket.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from threading import Condition
from types import TracebackType
from typing import Any, Final, TypeAlias

from .request import Request
from .response import Response, checked
from .routes import Service
from .services import Job, Pool, failure

# What the application may make ahead of a client that reads slowly.
HIGH_BYTES: Final = 64 * 1024

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType]
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
Application: TypeAlias = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
# The head of an answer.
Start: TypeAlias = tuple[int, list[tuple[str, str]]]

_STATUS = re.compile(r"([2-5][0-9]{2})(?: [^\x00-\x1f\x7f]*)?")


class ClientHasGone(Exception):
    """Nobody is there for the answer: what makes it may end."""


def wsgi_service(application: Application, mount: str, pool: Pool) -> Service:
    """A WSGI application as a service; ``mount`` is its SCRIPT_NAME."""

    async def serve(request: Request) -> Response:
        answer = Answer(asyncio.get_running_loop())
        run = partial(_run, application, new_environ(request, mount), answer)
        try:
            job = pool.run(run)
            job.add_done_callback(answer.finished)
            status, headers = await _begun(answer, job)
        except asyncio.CancelledError:
            answer.abandon()
            raise
        except Exception as error:
            return failure(request, error)
        length = next((value for name, value in headers if name == "content-length"), None)
        response = Response(b"", status, stream=answer, length=_length(length))
        response.headers[:] = headers
        return response

    return serve


async def _begun(answer: Answer, job: Job) -> Start:
    """The head of the answer; what runs is let come to it though its client has gone."""
    try:
        return await asyncio.shield(answer.started)
    except asyncio.CancelledError as error:
        if job.cancel(*error.args):
            raise
        return await answer.started


def _length(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


def new_environ(request: Request, mount: str) -> dict[str, Any]:
    """The request in WSGI's words (PEP 3333, "environ Variables").

    ``redbarrel.server`` is `request.server`: it reaches the sockets of the same .rbr
    file. (A handler of 2011 has it under ``socketio``, but what has no dot in its
    name must be a str here.)
    """
    environ = dict(request.environ)
    del environ["socketio"]
    # A header "Proxy" would be what HTTP clients take for the address of theirs (httpoxy).
    environ.pop("HTTP_PROXY", None)
    if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
        # It has all come by now, and its length is known.
        environ["CONTENT_LENGTH"] = str(request.body_file.seek(0, io.SEEK_END))
        request.body_file.seek(0)
    environ["SERVER_NAME"] = environ["SERVER_NAME"] or "localhost"  # HTTP/1.0 may not say
    environ |= {
        # Text that carries bytes: a str with one character for each (PEP 3333).
        "SCRIPT_NAME": _as_bytes(mount),
        "PATH_INFO": _as_bytes(request.path.removeprefix(mount)),
        "wsgi.version": (1, 0),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": request.server is not None and request.server.is_in_worker,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "redbarrel.server": request.server,
    }
    return environ


def _as_bytes(text: str) -> str:
    return text.encode().decode("latin-1")


def _run(application: Application, environ: dict[str, Any], answer: Answer) -> None:
    """Run the application to its end; in a thread of the pool."""
    with environ["wsgi.input"]:  # whoever keeps the environ, as an error does, keeps no body
        result = application(environ, answer.start_response)
        try:
            for part in result:
                answer.send(part)
            answer.send_head()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()


class Answer:
    """What an application answers: made in a thread, read on the loop as an async iterator."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.started: asyncio.Future[Start] = loop.create_future()
        self._loop = loop
        self._start: Start | None = None
        self._head_is_sent = False
        # Shared by the two, under the lock of the condition.
        self._room = Condition()
        self._parts: deque[bytes] = deque()
        self._waiting = 0  # bytes
        self._abandoned = False
        # The loop's alone.
        self._news = asyncio.Event()
        self._error: BaseException | None = None
        self._finished = False

    # -- in the application's thread -----------------------------------------------

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], object]:
        """PEP 3333, "The start_response() Callable". Raises ValueError for what is no answer."""
        if exc_info is not None:
            try:
                if self._head_is_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # which holds on to this very frame
        elif self._start is not None:
            raise RuntimeError("start_response was called twice, without exc_info (PEP 3333)")
        match = _STATUS.fullmatch(status)
        if match is None:
            raise ValueError(f"bad status {status!r:.60} (PEP 3333)")
        for name, value in headers:
            checked(name, value)
        self._start = int(match[1]), [(name.lower(), value) for name, value in headers]
        return self.send

    def send(self, part: bytes) -> None:
        """A part of the content, the head before the first one; waits while there is no room."""
        if not isinstance(part, bytes):  # one of bytes that no list is around is a number
            raise TypeError(f"content of type {type(part).__name__}, not bytes (PEP 3333)")
        if not part:
            return
        if self._start is None:
            raise RuntimeError("content before start_response (PEP 3333)")
        with self._room:
            self._room.wait_for(lambda: self._abandoned or self._waiting < HIGH_BYTES)
            if self._abandoned:
                raise ClientHasGone
            self._parts.append(part)
            self._waiting += len(part)
        if not self._head_is_sent:
            self.send_head()
        self._call(self._news.set)

    def send_head(self) -> None:
        """The head, if it is not out yet: of an answer without content it is all."""
        if self._start is None:
            raise RuntimeError("start_response was not called (PEP 3333)")
        if not self._head_is_sent:
            self._head_is_sent = True
            self._call(self._set_started, self._start)

    def _call(self, function: Callable[..., object], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *args)

    # -- on the loop -----------------------------------------------------------------

    def _set_started(self, start: Start) -> None:
        if not self.started.done():
            self.started.set_result(start)

    def finished(self, job: asyncio.Future[None]) -> None:
        """The thread is through with it."""
        self._finished = True
        self._error = None if job.cancelled() else job.exception()
        self._news.set()
        if self._error is not None and not self.started.done():
            self.started.set_exception(self._error)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._finished:
                self._end()
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        with self._room:
            part = self._parts.popleft()
            self._waiting -= len(part)
            self._room.notify()
        return part

    def _end(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def abandon(self) -> None:
        """Nobody reads on: the application is told at its next part."""
        with self._room:
            self._abandoned = True
            self._room.notify()

    async def aclose(self) -> None:
        """The answer is out, or the client has gone."""
        self.abandon()
