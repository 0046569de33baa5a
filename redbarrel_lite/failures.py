"""What the log, or the terminal, is told when user code fails.

What it implements: what is a failure, and what an order to end; tracebacks that show the user's
frames and no others, and, for the mistakes that people bring along from other servers, a line
that says what to write; and how a command says that it failed.

In one line::

    log.error("%s failed:\n%s", name, user_traceback(error))
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Awaitable
from pathlib import Path
from typing import Final, NoReturn, TypeVar

T = TypeVar("T")

# Files whose frames are not the user's: ours, and those by which Python imports and writes JSON.
_NOT_THE_USERS: Final = (
    str(Path(__file__).parent) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
    str(Path(json.__file__).parent) + os.sep,
    "<frozen ",
)

# An exception may quote what a client sent, and that must not give commands to a terminal.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_its_own(error: BaseException) -> bool:
    """Whether user code that was awaited failed; False: its task is cancelled, or closed.

    SystemExit is a failure too. So is CancelledError, if the task goes on: it has waited for
    another one that was cancelled, often by itself.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or not task.cancelling()
    return not (isinstance(error, GeneratorExit) and was_closed(error))


def was_closed(error: GeneratorExit) -> bool:
    """Whether the coroutine that awaited user code is being closed; False: the user raised this.

    Who closes a coroutine closes what it awaits first, and raises another one in it: no
    frame of the user's is in its traceback.
    """
    frames = (frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__))
    return all(name.startswith(_NOT_THE_USERS) for name in frames)


def as_exception(error: BaseException) -> Exception:
    """An error that a future can carry: it refuses StopIteration, and SystemExit ends a loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    plain = RuntimeError(f"the handler raised {type(error).__name__}")
    plain.__cause__ = error
    return plain


async def awaited(made: Awaitable[T]) -> T:
    """What user code makes that is awaited; whatever it raises of its own is an Exception."""
    try:
        return await made
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        if is_its_own(error):
            raise as_exception(error) from error
        raise


def user_traceback(error: BaseException) -> str:
    """The traceback, and those of its causes, without frames that tell its reader nothing."""
    told = traceback.TracebackException.from_exception(error)
    waiting: list[traceback.TracebackException | None] = [told]
    while waiting:
        one = waiting.pop()
        if one is not None:
            frames = [frame for frame in one.stack if not frame.filename.startswith(_NOT_THE_USERS)]
            one.stack = traceback.StackSummary.from_list(frames)
            waiting += (one.__cause__, one.__context__, *(one.exceptions or ()))
    help_ = help_for(error)
    text = _UNPRINTABLE.sub(
        lambda match: ascii(match[0])[1:-1], "".join(told.format()).rstrip("\n")
    )
    return text + (f"\nhelp: {help_}" if help_ else "")


# What Python says of a mistake, and what was probably meant.
_MEANT: Final = tuple(
    (re.compile(pattern), meant)
    for pattern, meant in (
        (
            r"\bcoroutine\b",
            "an await is missing: in an `async def`, recv() and call() are awaited, and messages"
            " come by `async for`",
        ),
        (
            r"object (Message|list) can't be used in 'await' expression",
            "a `def` has nothing to await: recv(), call() and `for message in socketio` wait",
        ),
        (
            r"'Request' object has no attribute '(recv|send|emit|call|broadcast|join|session)'",
            r"what a handler gets is the request; its socket is request.socketio: .\1(...)",
        ),
        (
            r"'ServerOnly' object has no attribute",
            "a service has no client; request.server.broadcast(...) and .emit(...) speak to all",
        ),
        (
            r"'Message' object has no attribute '(\w+)'",
            r"a message is the list of an event's arguments: message[0].\1",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:on|once|event|on_event)'",
            "events are handled by lines of the .rbr file, `on EVENT use python:module.function`,"
            " or by a loop: for message in socketio",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:to|in_|room|emit_to)'"
            r"|Socket\.(?:emit|send)\(\) got an unexpected keyword argument '(?:room|to)'",
            "to a room: socketio.broadcast(x, room=...), or, for oneself too,"
            " request.server.emit(event, *args, room=...); to one client: to=its session id",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:id|sid)'",
            "write socketio.session.session_id",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:disconnect|kick)'",
            "write socketio.close()",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:join_room|enter_room)'",
            "write socketio.join(room)",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:receive|read|get|receive_text)'",
            "write socketio.recv(), whose [0] is the first argument",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:data|user)'",
            "what you want to remember of a client is kept in socketio.session, which is a dict",
        ),
        (
            r"'(?:Raw)?Socket' object has no attribute '(?:handshake|headers|cookies)'",
            "the handshake is the request: request.headers, request.cookies; auth: socketio.auth",
        ),
    )
)


def help_for(error: BaseException) -> str:
    """What to write instead, if that can be told from what Python says; else "".

    Only of errors that Python itself raises, for what a handler does with our objects.
    """
    if isinstance(error, (AttributeError, TypeError)):
        for pattern, meant in _MEANT:
            match = pattern.search(str(error))
            if match is not None:
                return match.expand(meant)
    return ""


def tell(line: str) -> None:
    """Say something; where nobody listens (``2>&-``, a pipe that broke) that is no fault."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def fail(message: str, cause: BaseException | None = None) -> int:
    """Say what is wrong, behind the user's own traceback; return the exit status."""
    if cause is not None:
        tell(user_traceback(cause))
    tell(message)
    return 1


UNREAD: Final = 141  # as shells have it: 128, and the number of SIGPIPE


def end_unread() -> NoReturn:
    """End as other programs do whose reader, such as `head`, has read enough. From any thread."""
    os._exit(UNREAD)
