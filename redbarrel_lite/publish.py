"""The command ``doc``: the page about an application, or its OpenAPI document, as a file.

Implements its output and exit status: 0 if it is written, 1 for a faulty application,
2 for a file that cannot be read or written. Leaves out the command line (`cli`). Used as
``sys.exit(write_doc(Path("chat.rbr"), Path("chat.html")))``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from . import docpage, openapi
from .failures import user_traceback
from .loading import File, Reading


def _openapi(files: Sequence[File], root: str) -> str:
    return json.dumps(openapi.document(files, root), ensure_ascii=False, indent=2) + "\n"


def _html(files: Sequence[File], root: str) -> str:
    return docpage.page(files, root, live=False)


FORMATS: Final = {"html": _html, "openapi": _openapi}


def write_doc(file: Path, output: Path | None = None, form: str = "html") -> int:
    """Write what ``form`` names to a file, or to standard output; return the exit status."""
    try:
        reading = Reading()
        reading.add(file, str(file))
        if reading.errors:
            return _faulty(reading)
        first = reading.files[0]
        text = FORMATS[form](reading.files, first.root)
        if output is not None:
            output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or file}: {error.strerror}\n")
        return 2
    if output is None:
        sys.stdout.buffer.write(text.encode())
    return 0


def _faulty(reading: Reading) -> int:
    for failure in reading.failures:
        sys.stderr.write(user_traceback(failure) + "\n")
    for one in reading.errors:
        sys.stderr.write(one.picture + "\n")
    return 1
