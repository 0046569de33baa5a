"""Rules around a service: what a request must be, and what its answer must be.

What it implements: the sections request-headers, request-body, response-headers
and response-body of a path, in this order, around any service; `on error`. What it
leaves out: the service itself, and whether the rules make sense (`rbr_check`).

In one line::

    service = Rules(path, tools).around(service)

The functions that rules name are user code: an ``async def`` is awaited, a ``def``
runs in the pool, so that neither can hold up another request.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from . import strictjson
from .errors import AppError
from .failures import awaited, user_traceback
from .forms import SPOOL_BYTES
from .handlers import is_async
from .rbr_nodes import (
    Alter,
    Location,
    Name,
    OnError,
    Operation,
    Path,
    Section,
    Set,
    UnlessType,
    UnlessValidates,
    Url,
    Value,
    Words,
)
from .request import Headers, Request, line_for
from .response import FileContent, Response, Stream, close_stream, copied, error_response
from .routes import Service
from .services import Failed, Full, Pool, failure

log = logging.getLogger("redbarrel_lite")

# An answer whose body has rules must be in memory as a whole before its first byte
# goes out. Without a limit one large file, asked for a few times, would fill it.
MAX_COLLECTED_BYTES: Final = 16 * 1024 * 1024
# A value of a built-in type is checked on the spot up to here: handing it to a
# thread and back takes longer. JSON of this size takes a tenth of a millisecond.
_SMALL_BYTES: Final = 16 * 1024

# With these a service answers with a part of the content, its encoded form, or none
# at all, and rules about the content could not be kept.
_PARTIAL: Final = (
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "accept-encoding",
)
# What is said of content in header fields, and is not true of it once it is altered.
_OF_CONTENT: Final = ("etag", "last-modified", "accept-ranges", "content-md5", "digest")

Subject: TypeAlias = Request | Response
# One rule: the status with which it refuses, or 0.
Step: TypeAlias = Callable[[Request, Subject], Awaitable[int]]


# -- types ---------------------------------------------------------------------


def is_json(value: str | bytes) -> bool:
    """Whether a value is JSON (RFC 8259); raises ValueError if it isn't."""
    strictjson.loads(value.encode() if isinstance(value, str) else value)
    return True


def _matches(pattern: str, value: str | bytes) -> bool:
    # Not int() and float(): they take "1_000" and "nan", and int() of a long text is slow.
    text = value.decode("ascii") if isinstance(value, bytes) else value
    return re.fullmatch(pattern, text.strip(" \t\r\n"), re.ASCII) is not None


BUILT_IN_TYPES: Final[Mapping[str, Callable[[str | bytes], bool]]] = {
    "json": is_json,
    "int": partial(_matches, r"[+-]?\d+"),
    "float": partial(_matches, r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
}


def made(found: Any, name: str) -> Callable[..., Any]:
    """What a location of a rule stands for, as something to call with a value.

    A class is instantiated, and so is what 2011 did with functions that take nothing:
    they are called once, and return what checks. Raises `AppError`.
    """
    if isinstance(found, type) or (callable(found) and _capacity(found) == (0, 0)):
        try:
            found = found()
        except Exception as error:
            what = f"'{name}' fails: {type(error).__name__}: {error}"
            raise AppError(what, "mend it where the traceback points") from error
    if not callable(found):
        what = f"'{name}' is not callable but of type {type(found).__name__}"
        raise AppError(what, "name a function, or a class with __call__")
    return found  # type: ignore[no-any-return]


def _capacity(function: Callable[..., Any]) -> tuple[int, int]:
    """How many positional arguments a function needs, and takes at most (3 are enough)."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature; they take a value
        return 1, 1
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 0, 3
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in places), min(len(places), 3)


def with_last(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function of (globs, request, value), of which it gets as many of the last as it takes.

    Raises `AppError` for one that takes none, or needs more.
    """
    needs, takes = _capacity(function)
    if needs > 3 or not takes:
        what = f"'{name}' takes {needs} arguments"
        raise AppError(what, "write: def NAME(value), or def NAME(globs, request, value)")
    if is_async(function):

        async def call_async(*args: Any) -> Any:
            return await function(*args[3 - takes :])

        return call_async
    return lambda *args: function(*args[3 - takes :])


# -- rules ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tools:
    """What the names in rules stand for, and where their functions run."""

    pool: Pool
    types: Mapping[str, Callable[..., Any]]  # the file's own
    function: Callable[[Location], Callable[..., Any]]  # of (globs, request, value)


class Rules:
    """The rules of one path."""

    def __init__(self, path: Path, tools: Tools) -> None:
        self._tools = tools
        self._realm = path.name.text
        self._error_code = _error_code(path, None)
        self._request = [
            *self._steps(path, "request-headers"),
            *self._steps(path, "request-body"),
        ]
        self._headers = self._steps(path, "response-headers")
        self._body = self._steps(path, "response-body")

    def _steps(self, path: Path, name: str) -> list[Step]:
        section = path.section.section(name) or Section(())
        code = _error_code(path, section)
        return [
            step for entry in section.operations() if (step := self._step(entry, code)) is not None
        ]

    # -- around a service ----------------------------------------------------------

    @property
    def guards(self) -> bool:
        """Whether there are rules for requests."""
        return bool(self._request)

    def around(self, service: Service) -> Service:
        """The service with its rules; itself if there are none."""
        if not (self._request or self._headers or self._body or self._error_code):
            return service

        async def ruled(request: Request) -> Response:
            refusal = await self.refusal(request)
            if refusal is not None:
                return refusal
            answer = service(self._for_service(request))
            response = answer if isinstance(answer, Response) else await answer
            if isinstance(response, Failed) and self._error_code:
                return _as_error(self._error_code)
            return await self._after(request, response)

        return ruled

    def _failed(self, request: Request, error: Exception, code: int) -> Response:
        """The answer to an exception; ``code`` is that of `on error`, or 0."""
        answer = failure(request, error)
        return _as_error(code) if code and isinstance(answer, Failed) else answer

    async def refusal(self, request: Request) -> Response | None:
        """The answer to a request that the rules refuse; they may also alter its body."""
        return await self._refusal(self._request, request, request)

    async def _refusal(
        self, steps: list[Step], request: Request, subject: Subject
    ) -> Response | None:
        for step in steps:
            try:
                code = await step(request, subject)
            except _AlterFailed as failed:
                return self._failed(request, failed.error, failed.code)
            except Full as full:
                return failure(request, full)
            if code:
                return self._refused(request, code, is_answer=subject is not request)
        return None

    def _refused(self, request: Request, code: int, *, is_answer: bool) -> Response:
        what = "answer" if is_answer else "request"
        if is_answer:
            # The client can't mend that: it is for whoever wrote the service to know.
            log.warning("%s: the answer breaks a rule: %d", line_for(request), code)
        headers = [("www-authenticate", self._challenge(request))] if code == 401 else []
        return error_response(code, f"the {what} breaks a rule of this path", headers)

    def _challenge(self, request: Request) -> str:
        """The scheme that the client uses already; Basic makes a browser ask its user."""
        scheme = request.headers.get("authorization", "").partition(" ")[0]
        known = scheme if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", scheme) else "Basic"
        return f'{known} realm="{self._realm}"'

    # -- answers -------------------------------------------------------------------

    def _for_service(self, request: Request) -> Request:
        """The request as the service sees it: for rules about the body, one for the whole."""
        if not self._body:
            return request
        whole = copy.copy(request)
        if request.method == "HEAD":
            whole.method = "GET"
        whole.headers = Headers(
            [(name, value) for name, value in request.headers.pairs if name not in _PARTIAL]
        )
        return whole

    async def _after(self, request: Request, response: Response) -> Response:
        """The answer, if it is as it should be.

        Errors go out as they are: a 404 is no page whose style sheet could be
        squeezed, and as a 503 for want of JSON nobody would find its cause.
        """
        is_switch = response.status < 200  # to a WebSocket, by a proxy: no answer to look at
        if is_switch or response.status >= 400 or not (self._headers or self._body):
            return response
        answer = copied(response)
        try:
            refusal = await self._refusal(self._headers, request, answer)
            if refusal is None and self._body and answer.status < 300:
                await self._collect(answer)
                refusal = await self._refusal(self._body, request, answer)
        except Exception as error:
            refusal = self._failed(request, error, self._error_code)
        except asyncio.CancelledError:
            await _throw_away(answer)
            raise
        if refusal is not None:
            await _throw_away(answer)
        return refusal or answer

    async def _collect(self, answer: Response) -> None:
        """Read a stream to its end, and close it."""
        stream = answer.stream
        if stream is None:
            return
        if isinstance(stream, FileContent):
            answer.body = await self._tools.pool.run(partial(_read, stream))
        else:
            answer.body = await _gather(stream)
        await close_stream(stream)
        answer.stream = answer.length = None

    # -- one rule ------------------------------------------------------------------

    def _step(self, entry: Operation, error_code: int) -> Step | None:
        match entry:
            case UnlessType(header, negated, type_name, code):
                check = self._type_check(type_name.text)
                return partial(self._unless, header, negated, check, int(code.text))
            case UnlessValidates(header, validator, code):
                return partial(self._unless, header, False, self._check(validator), int(code.text))  # noqa: FBT003
            case Set(header, value):
                return partial(_set, header, header_text(value))
            case Alter(use):
                return partial(self._alter, self._tools.function(use), error_code)
            case _:
                return None

    async def _unless(
        self,
        header: str | None,
        negated: bool,  # noqa: FBT001
        check: Callable[[Request, Any], Awaitable[bool]],
        code: int,
        request: Request,
        subject: Subject,
    ) -> int:
        """A header that is missing is of no type, and not valid."""
        value = await self._content(subject) if header is None else _header(subject, header)
        passed = value is not None and await check(request, value)
        return code if passed is negated else 0

    def _check(self, validator: Name | Location) -> Callable[[Request, Any], Awaitable[bool]]:
        if isinstance(validator, Location):
            return partial(self._passes, self._tools.function(validator))
        name = validator.text
        if name in BUILT_IN_TYPES or name in self._tools.types:
            return self._type_check(name)

        def by_global(globs: dict[str, Any], request: Request, value: Any) -> Any:
            return with_last(globs[name], name)(globs, request, value)

        return partial(self._passes, by_global)

    def _type_check(self, name: str) -> Callable[[Request, Any], Awaitable[bool]]:
        built_in = BUILT_IN_TYPES.get(name)
        if built_in is None:
            return partial(self._passes, with_last(self._tools.types[name], name))

        async def check(request: Request, value: str | bytes) -> bool:
            if len(value) > _SMALL_BYTES:
                return await self._passes(lambda _g, _r, value: built_in(value), request, value)
            try:
                return built_in(value)
            except ValueError:
                return False

        return check

    async def _passes(
        self, function: Callable[..., Any], request: Request, value: str | bytes
    ) -> bool:
        """Whether a function has nothing against a value: it returns None or something true.

        ValueError is the way to say no, and so are answers that can be raised. What
        else it raises refuses too, but is most likely a mistake, and told to the log.
        """
        try:
            result = await self._call(function, request, value)
        except Full:
            raise
        except Exception as error:
            if isinstance(error, (ValueError, Response)):
                return False
            trace = user_traceback(error)
            log.warning("%s is refused:\n%s", line_for(request), trace)
            return False
        return result is None or bool(result)

    async def _alter(
        self, function: Callable[..., Any], error_code: int, request: Request, subject: Subject
    ) -> int:
        if isinstance(subject, Response) and subject.status == 204:
            return 0
        try:
            body = await self._call(function, request, await self._content(subject))
            if not isinstance(body, (str, bytes)):
                raise TypeError(f"'alter with' returned {type(body).__name__}, not str or bytes")
        except Full:
            raise
        except Exception as error:
            raise _AlterFailed(error, error_code) from error
        subject.body = body.encode() if isinstance(body, str) else body
        if isinstance(subject, Response):
            subject.headers[:] = [pair for pair in subject.headers if pair[0] not in _OF_CONTENT]
        return 0

    async def _content(self, subject: Subject) -> bytes:
        """The body; read in a thread if it may be a large one, which is on disk."""
        if isinstance(subject, Request):
            length = subject.headers.get("content-length", "")
            if not length.isdigit() or int(length) > SPOOL_BYTES:
                body: bytes = await self._tools.pool.run(lambda: subject.body)
                return body
        return subject.body

    async def _call(self, function: Callable[..., Any], request: Request, value: Any) -> Any:
        args = (request.globs, request, value)
        if is_async(function):
            return await awaited(function(*args))
        result = await self._tools.pool.run(partial(function, *args))
        # A `def` may hand on what an `async def` behind a decorator returned. A coroutine
        # is true: not awaited, it would let everybody in.
        return await awaited(result) if inspect.isawaitable(result) else result


class _AlterFailed(Exception):
    """A function that alters a body has raised; with the status that answers it, or 0."""

    def __init__(self, error: Exception, code: int) -> None:
        self.error = error
        self.code = code


def _as_error(code: int) -> Response:
    return error_response(code, "this path failed; the log says why")


def _error_code(path: Path, section: Section | None) -> int:
    """The status of `on error`: the section's own, the path's, any section's; 0 for none."""
    places = [path.section, *(s for s in _sections(path))]
    if section is not None:
        places.insert(0, section)
    for place in places:
        for entry in place.operations():
            if isinstance(entry, OnError):
                return int(entry.code.text)
    return 0


def _sections(path: Path) -> Iterator[Section]:
    for entry in path.section.entries:
        value = getattr(entry, "value", None)
        if isinstance(value, Section):
            yield value


def _header(subject: Subject, name: str) -> str | None:
    return subject.headers.get(name) if isinstance(subject, Request) else subject.header(name)


async def _set(header: str, value: str, _request: Request, subject: Subject) -> int:
    assert isinstance(subject, Response)
    subject.put_header(header, value)
    return 0


def header_text(value: Value) -> str:
    """The value of a `set`, as it goes into the header."""
    match value:
        case Words():
            return "|".join(value.texts)
        case Location(kind, target, written):
            return written or f"{kind}:{target}"
        case Url(text):
            return text
        case _:
            return value.text


# -- streams -------------------------------------------------------------------


class TooLarge(Exception):
    """An answer that is to be checked does not fit in memory."""

    def __init__(self) -> None:
        super().__init__(f"an answer with rules for its body is over {MAX_COLLECTED_BYTES} bytes")


def _read(content: FileContent) -> bytes:
    if content.count > MAX_COLLECTED_BYTES:
        raise TooLarge
    content.file.seek(content.offset)
    return content.file.read(content.count)


async def _throw_away(answer: Response) -> None:
    if answer.stream is not None:
        await close_stream(answer.stream)


async def _gather(stream: Stream) -> bytes:
    assert not isinstance(stream, FileContent)
    body = bytearray()
    async for part in stream:
        body += part
        if len(body) > MAX_COLLECTED_BYTES:
            raise TooLarge
    return bytes(body)
