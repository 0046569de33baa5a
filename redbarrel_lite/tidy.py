"""The commands ``check`` and ``fmt``: what the language rooms say, about files on disk.

Implements their output and exit status: 0 if there is no error, 1 if there is,
2 for a file that cannot be read. An included file is checked with the file that
includes it. Leaves out the command line (`cli`). Used as
``sys.exit(check_file(Path("chat.rbr")))``.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import rbr_format, rbr_json
from .errors import RbrError
from .failures import user_traceback
from .rbr import parse

if TYPE_CHECKING:
    from .loading import Reading


def check_file(file: Path, *, syntax_only: bool = False, as_json: bool = False) -> int:
    """Say what is wrong with a file; return the exit status.

    People read standard error; ``Syntax OK.`` and the JSON go to standard output.
    """
    from .loading import Reading  # noqa: PLC0415  # an editor formats at each save
    from .refusals import not_served  # noqa: PLC0415

    reading = Reading(syntax_only=syntax_only)
    try:
        reading.add(file, str(file))
    except OSError as error:
        return _unreadable(file, error)
    for one in reading.files:
        reading.diagnostics += not_served(one.tree)
    if not (syntax_only or reading.errors):
        _try(reading)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(reading), indent=2) + "\n")
    else:
        _print_report(reading)
    return 1 if reading.errors else 0


def _try(reading: Reading) -> None:
    """Let the application be made, as for serving it, up to its globals: what has its faults?"""
    from .app import App  # noqa: PLC0415  # as above
    from .upstream import Upstream  # noqa: PLC0415

    try:
        App(reading.files, Upstream)
    except RbrError as error:
        reading.diagnostics += error.diagnostics
        if error.__cause__ is not None:
            reading.failures.append(error.__cause__)


def _print_report(reading: Reading) -> None:
    # A module that fails does so for each location that names it: told once.
    for trace in dict.fromkeys(map(user_traceback, reading.failures)):
        _tell(trace)
    for one in reading.diagnostics:
        _tell(one.picture)
    errors, all_told = len(reading.errors), len(reading.diagnostics)
    if all_told:
        counts = (_counted(errors, "error"), _counted(all_told - errors, "warning"))
        _tell(", ".join(filter(None, counts)))
    if not errors:
        sys.stdout.write("Syntax OK.\n")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}" if count else ""


def _as_json(reading: Reading) -> rbr_json.Json:
    errors = len(reading.errors)
    return {
        "errors": errors,
        "warnings": len(reading.diagnostics) - errors,
        "diagnostics": [rbr_json.diagnostic(one) for one in reading.diagnostics],
        "files": [rbr_json.tree(file.tree) for file in reading.files],
    }


def format_file(file: Path, *, check: bool = False, to_stdout: bool = False) -> int:
    """Write a file in canonical form, or only say how it differs; return the exit status."""
    try:
        data = file.read_bytes()
        text = rbr_format.format(parse(data, str(file)))
        if check and not to_stdout:
            return _print_difference(file, data.decode("utf-8-sig"), text)
        if not to_stdout and text.encode() != data:
            _replace(file, text)
    except OSError as error:
        return _unreadable(file, error)
    except RbrError as error:
        _tell(error)
        return 1
    if to_stdout:
        sys.stdout.buffer.write(text.encode())
    return 0


def _print_difference(file: Path, old: str, new: str) -> int:
    was, should_be = (text.splitlines(keepends=True) for text in (old, new))
    difference = list(difflib.unified_diff(was, should_be, str(file), f"{file} (canonical)"))
    sys.stderr.writelines(difference)
    return 1 if difference else 0


def _replace(file: Path, text: str) -> None:
    """Write beside the file and rename, so that a full disk leaves the old one whole."""
    target = file.resolve()  # a link stays a link
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        draft.chmod(target.stat().st_mode)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _tell(line: object) -> None:
    sys.stderr.write(f"{line}\n")


def _unreadable(file: Path, error: OSError) -> int:
    _tell(f"error: {file}: {error.strerror}")
    return 2
