"""The command ``bundle``: an application and this package as one file that Python runs.

Implements its output and exit status: 0 if it is written, 1 for an application that has
faults or can't be packed, 2 for a file that cannot be read or written. Leaves out what is
packed (`contents`) and how (`pyz`). Used as ``sys.exit(bundle(Path("chat.rbr")))``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from . import __version__
from .contents import FOLDER, Contents, Refused
from .errors import Diagnostic
from .failures import fail, tell, user_traceback
from .loading import Reading
from .pyz import TooLarge, write

OWN_NAME: Final = "redbarrel_lite.pyz"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of the command ``bundle``."""
    parser.add_argument(
        "app",
        type=Path,
        nargs="?",
        metavar="APP.rbr",
        help="the file to pack, with all it leads to; without one, this package alone",
    )
    parser.add_argument(
        "-o", dest="output", type=Path, metavar="FILE", help="what to write (APP.pyz)"
    )
    parser.add_argument(
        "--with",
        dest="extra",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH",
        help="files and folders of the application to pack, too",
    )
    parser.set_defaults(run=lambda options: bundle(options.app, options.output, options.extra))


def bundle(app: Path | None, output: Path | None = None, extra: Sequence[Path] = ()) -> int:
    """Write the archive of an application, or our own; return the exit status."""
    name = f"{app.stem}.pyz" if app else OWN_NAME
    output = Path(name) if output is None else output
    try:
        why = _why_not(output, name)
        if app is None and extra:  # perhaps it has taken the application's name for one more
            why = "--with adds to an application: write bundle APP.rbr --with PATH"
        if why:
            fail(f"error: {why}")
            return 2
        if app is None:
            write(output, {})
        else:
            return _bundle(app, output, extra)
    except OSError as error:
        fail(f"error: {error.filename or output}: {error.strerror}")
        return 2
    _tell_end(output, "APP.rbr")
    return 0


def _why_not(output: Path, name: str) -> str:
    """What stands against a file there; "" if nothing does, or the system says it as well.

    An archive comes by renaming, which for root would put it in the place of a device, too.
    """
    if output.is_dir():
        return f"{output} is a folder: write -o {shlex.quote(str(output / name))}"
    if output.exists() and not output.is_file():
        return f"{output} is no regular file, and would be gone: name another"
    if not output.parent.is_dir():
        return f"{output.parent} is no folder: make it, or name another"
    return ""


def _bundle(app: Path, output: Path, extra: Sequence[Path]) -> int:
    reading = Reading()
    with contextlib.chdir(os.curdir):  # a module that is imported may go to another folder
        reading.add(app, str(app))
    if reading.errors:
        return _faulty(reading.errors, reading.failures)
    try:
        contents = Contents(reading.files)
        if contents.diagnostics:
            return _faulty(contents.diagnostics)
        for path in extra:
            contents.add(path)
        if contents.holds(output.resolve()):
            raise Refused(f"{output} would be packed into itself", "write it somewhere else")
        write(output, _members(contents), f"{FOLDER}/{reading.files[0].path.name}")
    except Refused as refused:
        return fail(f"error: {refused}\n  help: {refused.hint}")
    except TooLarge as error:
        return fail(f"error: {error}")
    for part, files in contents.parts.items():
        count = f"{len(files)} file{'s' * (len(files) != 1)}, " if part.endswith("/") else ""
        tell(f"{part}: {count}{_size(sum(one.stat().st_size for one in files))}")
    for line in dict.fromkeys(contents.remarks):
        tell(line)
    _tell_end(output, "--port 8000")
    return 0


def _members(contents: Contents) -> dict[str, Path | bytes]:
    """Sources are compressed, for they are only read at the start."""
    members: dict[str, Path | bytes] = dict.fromkeys(contents.folders, b"")
    for name, path in contents.files.items():
        members[name] = path.read_bytes() if name.endswith((".py", ".rbr")) else path
    return members


def _faulty(diagnostics: Iterable[Diagnostic], failures: Iterable[BaseException] = ()) -> int:
    for failure in failures:
        tell(user_traceback(failure))
    return fail("\n".join(one.picture for one in diagnostics))


def _tell_end(output: Path, how: str) -> None:
    size = _size(output.stat().st_size)
    word = shlex.quote(f"./{output}" if str(output).startswith("-") else str(output))
    tell(f"Wrote {output}, {size} with RedBarrel Lite {__version__}: python3 {word} {how}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
