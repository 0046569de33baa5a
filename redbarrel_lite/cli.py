"""The command line: ``python -m redbarrel_lite app.rbr``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path

from . import __version__
from .app import App
from .errors import RbrError
from .handlers import user_traceback
from .server import Server


def main(argv: list[str] | None = None) -> int:
    """Run; return the exit status: 1 for what the user's files lack, 2 for wrong arguments."""
    options = _parser().parse_args(argv)
    _log_to_stderr(debug=options.debug)
    try:
        app = App.load(options.app)
    except RbrError as error:
        return _fail(str(error), error.__cause__)
    except OSError as error:
        return _fail(f"error: {options.app}: {error.strerror}")
    for warning in app.warnings:
        _tell(str(warning))
    for line in app.hooked:
        _tell(line)
    try:
        asyncio.run(_serve(app, options), debug=options.debug or None)
    except OSError as error:
        # asyncio wraps the system's words into a sentence of its own.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        return _fail(f"error: can't serve on {options.host}:{options.port}: {why}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m redbarrel_lite", description="Serve what an .rbr file describes."
    )
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to serve")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 picks a free one (%(default)s)")
    parser.add_argument("--debug", action="store_true", help="say what is slow or forgotten, too")
    parser.add_argument("--version", action="version", version=f"RedBarrel Lite {__version__}")
    return parser


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


async def _serve(app: App, options: argparse.Namespace) -> None:
    await Server(app).serve(options.host, options.port, lambda url: _tell(f"Serving on {url}"))


def _log_to_stderr(*, debug: bool) -> None:
    """Our own log, and nobody else's: the application's `logging` is left alone."""
    log = logging.getLogger("redbarrel_lite")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.INFO)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    with contextlib.suppress(OSError):
        sys.stderr.flush()


def _fail(message: str, cause: BaseException | None = None) -> int:
    if cause is not None:
        _tell(user_traceback(cause))
    _tell(message)
    return 1
