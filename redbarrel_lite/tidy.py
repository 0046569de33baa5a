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

from . import rbr_format, rbr_json
from .errors import Diagnostic, RbrError
from .handlers import user_traceback
from .locations import Folder
from .rbr import parse
from .rbr_check import examine
from .rbr_nodes import Rbr


class Report:
    """What was found in a file and in those that it includes."""

    def __init__(self, *, syntax_only: bool) -> None:
        self.syntax_only = syntax_only
        self.trees: list[Rbr] = []
        self.diagnostics: list[Diagnostic] = []
        self.failures: list[BaseException] = []  # what the user's modules raised

    def count(self, severity: str) -> int:
        return sum(one.severity == severity for one in self.diagnostics)

    def add(self, file: Path, shown: str, includers: tuple[Path, ...] = ()) -> None:
        """Check a file, called ``shown`` in messages. Raises OSError if it can't be read."""
        folder = Folder(file.parent.resolve())
        resolve = None if self.syntax_only else folder.trouble
        rbr, found = examine(file.read_bytes(), shown, resolve)
        self.trees.append(rbr)
        self.diagnostics += found
        self.failures += folder.failures
        if not self.syntax_only:
            self._add_included(rbr, file, (*includers, file.resolve()))

    def _add_included(self, rbr: Rbr, file: Path, includers: tuple[Path, ...]) -> None:
        for include in rbr.includes:
            inner = file.parent / include.file.text
            if inner.resolve() in includers:
                message = f"'{include.file.text}' includes this file, directly or through others"
                hint = "remove one of the 'include' lines"
                span = include.file.span
                self.diagnostics.append(rbr.source.diagnostic("RBR046", span, message, hint))
            elif inner.is_file():  # a missing one is told of already
                shown = Path(rbr.source.filename).parent / include.file.text
                self.add(inner, str(shown), includers)


def check_file(file: Path, *, syntax_only: bool = False, as_json: bool = False) -> int:
    """Say what is wrong with a file; return the exit status.

    People read standard error; ``Syntax OK.`` and the JSON go to standard output.
    """
    report = Report(syntax_only=syntax_only)
    try:
        report.add(file, str(file))
    except OSError as error:
        return _unreadable(file, error)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(report), indent=2) + "\n")
    else:
        _print_report(report)
    return 1 if report.count("error") else 0


def _print_report(report: Report) -> None:
    for failure in report.failures:
        _tell(user_traceback(failure))
    for one in report.diagnostics:
        _tell(one.picture)
    if report.diagnostics:
        counts = [_counted(report.count(kind), kind) for kind in ("error", "warning")]
        _tell(", ".join(filter(None, counts)))
    if not report.count("error"):
        sys.stdout.write("Syntax OK.\n")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}" if count else ""


def _as_json(report: Report) -> rbr_json.Json:
    return {
        "errors": report.count("error"),
        "warnings": report.count("warning"),
        "diagnostics": [rbr_json.diagnostic(one) for one in report.diagnostics],
        "files": [rbr_json.tree(rbr) for rbr in report.trees],
    }


def format_file(file: Path, *, check: bool = False, to_stdout: bool = False) -> int:
    """Write a file in canonical form, or only say how it differs; return the exit status."""
    try:
        data = file.read_bytes()
        text = rbr_format.format(parse(data, str(file)))
        if to_stdout:
            sys.stdout.write(text)
        elif check:
            return _print_difference(file, data.decode("utf-8-sig"), text)
        elif text.encode() != data:
            _replace(file, text)
    except OSError as error:
        return _unreadable(file, error)
    except RbrError as error:
        _tell(error)
        return 1
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
