"""What the log is told when user code fails.

What it implements: tracebacks that show the user's frames and no others.

In one line::

    log.error("%s failed:\n%s", name, user_traceback(error))
"""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from typing import Final

# Files whose frames are not the user's: ours, and those of the import machinery.
_NOT_THE_USERS: Final = (
    str(Path(__file__).parent) + os.sep,
    str(Path(importlib.__file__).parent) + os.sep,
    "<frozen ",
)


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
    return "".join(told.format()).rstrip("\n")
