"""User code for sockets: the handler that `use` names, and those of the `on` lines.

What it implements: which runner a handler gets; and the `on` lines of a path as one
handler, which takes event after event, so that their order, back-pressure and end are
those of any handler. What it leaves out: running (`runners`, `coroutines`).

In one line::

    hub.attach(loop.call_soon_threadsafe, run_handler)

What happens to a client of a path with `on` lines::

    CONNECT --> on connect --(returns)--> let in --> on EVENT, on EVENT ... --> on disconnect
                    |
                    +--(False, Refused, failed)--> refused; `on disconnect` is not called
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, iscoroutinefunction
from typing import Any, Final, TypeAlias

from .coroutines import CoroutineRunner
from .errors import AppError, Refused, SocketClosed
from .failures import is_its_own
from .messages import Handler, Message, Runner
from .request import Request
from .runners import ThreadRunner
from .sockets import Socket

log = logging.getLogger("redbarrel_lite")

# The names by which a first parameter says that there is no other before it.
REQUEST_NAMES: Final = ("request", "req")

# Events that Socket.IO makes about the socket itself; no client can send one.
CONNECT: Final = "connect"
DISCONNECT: Final = "disconnect"


RunHandler: TypeAlias = Callable[[Handler, Socket, Request], Runner]


def run_handler(
    handler: Handler,
    socket: Socket,
    request: Request,
    in_loop: type[CoroutineRunner] = CoroutineRunner,
    in_thread: type[ThreadRunner] = ThreadRunner,
) -> Runner:
    """What runs a socket's handler, in a thread or on the loop, as it is written."""
    connection, hub = socket.connection, socket.server
    body = partial(handler, request.globs, request)
    kind = in_loop if is_async(handler) else in_thread
    return kind(socket, connection, hub, body, name_of(handler))


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it makes a coroutine; an object's `__call__` may be what does."""
    return (
        iscoroutinefunction(function)
        or iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # not whether it has one, but which
        )
        or _MAKES_COROUTINES in getattr(function, "__dict__", ())
    )


def mark_async(function: Callable[..., object]) -> None:
    """Say that a plain ``def`` returns a coroutine which another function has made.

    From Python 3.12 on there is `inspect.markcoroutinefunction`. An ``async def`` that only
    awaits the other one would be a frame more for each time the coroutine is resumed.
    """
    vars(function)[_MAKES_COROUTINES] = True


_MAKES_COROUTINES: Final = "_redbarrel_makes_coroutines"


def name_of(handler: Callable[..., object]) -> str:
    """How a message calls it."""
    name: str = getattr(handler, "__qualname__", type(handler).__qualname__)
    return name.rpartition("<locals>.")[2]


def is_short(positional: list[Parameter], first: Parameter, *, variable: bool) -> bool:
    """Whether a callable with these parameters takes the request without the globals."""
    return (len(positional) == 1 and not variable) or first.name in REQUEST_NAMES


@dataclass(frozen=True, slots=True)
class Line:
    """What one `on` line names: a callable of (globs, request, *args), or of (request, *args)."""

    function: Callable[..., Any]
    name: str
    skip: int = 0  # 1 without the globals
    least: int = 0  # arguments of an event that it needs
    most: float = math.inf

    @classmethod
    def of(cls, function: Any, name: str, event: str) -> Line:
        """The line of a callable. Raises `AppError` for what can't be called so."""
        if not callable(function):
            what = f"'{name}' is not callable but of type {type(function).__name__}"
            raise AppError(what, "name a function")
        call = getattr(function, "__call__", None)  # noqa: B004  # which one, not whether
        if any(map(_is_generator, (function, call))):
            what = f"'{name}' is a generator: an 'on' line answers once"
            raise AppError(what, "write 'return' instead of 'yield', or call socketio.emit()")
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # some builtins have no signature
            return cls(function, name)
        return cls(function, name, *_shape(parameters, name, event))

    def call(self, request: Request, args: Sequence[Any]) -> Any:
        """Call it; if it is an ``async def``, this makes a coroutine."""
        if self.skip:
            return self.function(request, *args)
        return self.function(request.globs, request, *args)


def _is_generator(function: object) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def _shape(parameters: list[Parameter], name: str, event: str) -> tuple[int, int, float]:
    """What `Line` knows of a callable: skip, least and most. Raises `AppError`."""
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if not positional and not variable:
        raise AppError(f"'{name}' takes no request", "write def NAME(globs, request)")
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty:
            what = f"parameter '{one.name}' of '{name}' can't be filled: events have no names"
            raise AppError(what, "let it stand before the '*', or give it a default")
    short = is_short(positional, parameters[0], variable=variable)
    further = positional[1 if short else 2 :]
    least = sum(one.default is one.empty for one in further)
    most = math.inf if variable else len(further)
    if event in (CONNECT, DISCONNECT) and least > 1:
        given = "what the client sent, as `auth`" if event == CONNECT else "the reason"
        what = f"'{name}' takes {least} arguments after the request, but 'on {event}' has one"
        raise AppError(what, f"write def NAME(globs, request, ...): the argument is {given}")
    return int(short), least, most


class Lines:
    """The `on` lines of a path, as one handler.

    ``rest`` is that of ``on *``, whose first argument is the event's name.
    """

    def __init__(self, lines: Mapping[str, Line], rest: Line | None = None) -> None:
        self._connect = lines.get(CONNECT)
        self._disconnect = lines.get(DISCONNECT)
        self._events = {e: line for e, line in lines.items() if e not in (CONNECT, DISCONNECT)}
        self._rest = rest
        every = [*lines.values(), *([rest] if rest is not None else [])]
        on_the_loop = all(is_async(line.function) for line in every)
        self.handler: Handler = self._run_on_loop if on_the_loop else self._run_in_thread

    @property
    def asks(self) -> bool:
        """Whether `on connect` decides who comes in."""
        return self._connect is not None

    @property
    def says_goodbye(self) -> bool:
        """Whether there is an `on disconnect`."""
        return self._disconnect is not None

    def takes(self, event: str) -> bool:
        """Whether a line takes an event of this name."""
        return event in self._events or self._rest is not None

    # -- the handler, twice --------------------------------------------------------

    async def _run_on_loop(self, _globs: dict[str, Any], request: Request) -> None:
        socket: Socket = request.socketio
        if self._connect is not None:
            answer = await self._ask(request, CONNECT, self._connect, (socket.auth,))
            if not _decide(socket, request, answer):
                return
        while not (message := await socket.next_event()).is_last:
            event = message.event
            line, args = self._line(event, message)
            result = await self._ask(request, event, line, args)
            if message.wants_reply:
                await self._reply(request, message, line, result)
        if self._disconnect is not None and not socket.is_refused:
            await self._ask(request, DISCONNECT, self._disconnect, (socket.reason,))

    async def _ask(self, request: Request, event: str, line: Line, args: Sequence[Any]) -> Any:
        """What a line returns; if it can't, why: a `Refused`."""
        try:
            return await line.call(request, _fitting(line, event, args))
        except BaseException as error:
            if not is_its_own(error):
                raise
            return _failure(request, event, line, error)

    def _run_in_thread(self, _globs: dict[str, Any], request: Request) -> None:
        """The same, for lines of which one or more are a plain ``def``."""
        socket: Socket = request.socketio
        if self._connect is not None:
            answer = self._ask_here(request, CONNECT, self._connect, (socket.auth,))
            if not _decide(socket, request, answer):
                return
        while not (message := socket.next_event()).is_last:
            event = message.event
            line, args = self._line(event, message)
            result = self._ask_here(request, event, line, args)
            if message.wants_reply:
                self._reply(request, message, line, result)
        if self._disconnect is not None and not socket.is_refused:
            self._ask_here(request, DISCONNECT, self._disconnect, (socket.reason,))

    def _ask_here(self, request: Request, event: str, line: Line, args: Sequence[Any]) -> Any:
        try:
            result = line.call(request, _fitting(line, event, args))
            if asyncio.iscoroutine(result):
                loop = request.socketio.server.loop
                return asyncio.run_coroutine_threadsafe(result, loop).result()
        except BaseException as error:  # SystemExit too is a failure of this event only
            return _failure(request, event, line, error)
        return result

    # -- what both do ----------------------------------------------------------------

    def _line(self, event: str, message: Message) -> tuple[Line, Sequence[Any]]:
        line = self._events.get(event)
        if line is not None:
            return line, message
        assert self._rest is not None  # or the event would not be here
        return self._rest, (event, *message)

    def _reply(self, request: Request, message: Message, line: Line, result: Any) -> Any:
        """Acknowledge an event with what its line returned."""
        if isinstance(result, Refused):
            answer: tuple[Any, ...] = (_as_data(result),)
        elif isinstance(result, tuple):
            answer = result
        else:
            answer = () if result is None else (result,)
        try:
            return message.reply(*answer)
        except (TypeError, ValueError, RecursionError) as error:
            log.error(
                "%s returned for %.40a of %r what can't be sent: %s",
                line.name,
                message.event,
                request.socketio,
                error,
            )
            return message.reply(_as_data(_FAILED))


_FAILED: Final = Refused("the server failed; its log says why")


def _as_data(refused: Refused) -> dict[str, Any]:
    """An error as the acknowledgement has it."""
    if refused.data is None:
        return {"error": refused.reason}
    return {"error": refused.reason, "data": refused.data}


def _decide(socket: Socket, request: Request, answer: Any) -> bool:
    """Let the client in, or not."""
    if answer is False:
        answer = Refused()
    if isinstance(answer, Refused):
        socket.is_refused = True  # now: what runs us asks before the loop gets to it
        socket.server.run(socket.refuse, answer)
        return False
    socket.server.run(socket.admit, request)
    return True


class _Misfit(Exception):
    """An event has more or fewer arguments than its line takes."""


def _fitting(line: Line, event: str, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments as a line takes them.

    Those of the events that we make are left out, if it has no place for them.
    """
    if line.least <= len(args) <= line.most:
        return args
    if event in (CONNECT, DISCONNECT):
        return ()
    count = "1 argument" if len(args) == 1 else f"{len(args)} arguments"
    raise _Misfit(f"{event[:40]!r} does not take {count}")


def _takes(line: Line) -> str:
    """How many arguments a line takes, in words."""
    least, most = line.least, line.most
    if least == most:
        return str(least or "none")
    return f"{least} or more" if most == math.inf else f"{least} to {most:g}"


def _failure(request: Request, event: str, line: Line, error: BaseException) -> Refused:
    """Tell the log, once; what the client is told is for the caller to say."""
    if isinstance(error, Refused):
        return error
    # The line waited for a client that has gone, or ran on a loop that has ended.
    if isinstance(error, (SocketClosed, CancelledError)):
        return _FAILED
    if isinstance(error, _Misfit):
        what = f"{ascii(str(error))[1:-1]}: {line.name} takes {_takes(line)}, behind its request"
        request.socketio.complain(what)
        return Refused(str(error))
    request.socketio.report(f"{line.name}, for {event[:40]!a},", error)
    return _FAILED
