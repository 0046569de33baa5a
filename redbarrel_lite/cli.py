"""The command line: ``python3 -m redbarrel_lite app.rbr``.

What it implements: the commands, their --help, and the exit statuses. What it leaves out:
the options of serving (`options`), the server (`serving`), and the other commands' work,
which each finds in a room of its own, and imports it when it is given: `check` opens no
port, and who asks for `--version` waits for nothing.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .packed import PROGRAM

_INTERRUPTED: Final = 130  # as shells have it: 128, and the number of SIGINT


def main(argv: list[str] | None = None, *, app: str | None = None) -> int:
    """Run one command; return the exit status.

    0 is well, 1 is a fault in the user's files or a port in use, 2 wrong arguments. With
    ``app`` there is one command, to serve that file: it lies in the archive that we run from.
    """
    try:
        try:
            return _main(argv, app)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        from .failures import end_unread

        end_unread()


def _main(argv: list[str] | None, app: str | None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if app is not None:
        arguments = [app, *arguments]
    parser = _parser(arguments)
    if app is not None:
        parser.epilog = None
        next(one for one in parser._actions if one.dest == "apps").help = argparse.SUPPRESS
    serves = parser.get_default("run") is None
    if serves:
        from .options import from_config

        arguments = from_config(parser, arguments)
    # Alone it has a form, too; by argparse's own means it would take the next word for one.
    arguments = ["--trace=lines" if one == "--trace" else one for one in arguments]
    options = parser.parse_intermixed_args(arguments)  # options between two files, too
    if app is not None:
        _refuse_more(parser, options)
    if "redis" in options:  # it serves, or prints how to
        from .failures import tell
        from .options import refuse_conflicts

        refuse_conflicts(parser, options)
        for word in options.apps:
            if meant := _meant(word):
                tell(f"error: '{word}' is no command and no file: {meant}")
                return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: better than none
    run: Callable[[argparse.Namespace], int] = options.run
    if serves:
        from .serving import serve as run
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # all is imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run(options)


def _meant(word: Path) -> str:
    """What to write for a word that is no file, and looks like none; empty if it is fine."""
    if word.suffix or word.exists():
        return ""
    if (file := word.with_suffix(".rbr")).is_file():
        return f"did you mean '{file}'?"
    import difflib

    if near := difflib.get_close_matches(str(word), _COMMANDS, 1):
        return f"did you mean '{near[0]}'?"
    return "a file is served by its name alone; --help tells what else there is"


def _refuse_more(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """What an archive with an application does not do."""
    if options.reload:
        parser.error("--reload: what is in an archive does not change")
    if len(options.apps) > 1:
        parser.error(f"{options.apps[1]}: this archive serves what is in it, and nothing else")


def rbr_check() -> int:
    """The command of 2011's name: ``rbr-check APP.rbr``."""
    return main(["check", *sys.argv[1:]])


def rbr_quickstart() -> int:
    """The command of 2011's name: ``rbr-quickstart``."""
    return main(["new", *sys.argv[1:]])


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser for the command that ``arguments`` start with; without one, that of serving."""
    name = arguments[0] if arguments else ""
    what, add = _COMMANDS.get(name, (_SERVING, _add_serve))
    parser = argparse.ArgumentParser(prog=PROGRAM, description=what)
    if name in _COMMANDS:
        parser.prog += f" {name}"
        parser.add_argument("command", help=argparse.SUPPRESS)
    else:
        parser.epilog = f"Other commands: {', '.join(_COMMANDS)}; each has --help."
    add(parser)
    return parser


def _add_serve(parser: argparse.ArgumentParser) -> None:
    from .options import add_arguments

    add_arguments(parser)
    parser.set_defaults(run=None)  # which is imported when its options are right


def _add_check(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to check")
    parser.add_argument(
        "--syntax-only", action="store_true", help="judge the text alone: no imports, no files"
    )
    parser.add_argument("--json", action="store_true", help="for editors: faults and tree")
    parser.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> int:
    from .tidy import check_file

    return check_file(options.app, syntax_only=options.syntax_only, as_json=options.json)


def _add_fmt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to format")
    parser.add_argument("--check", action="store_true", help="only say how it would change")
    parser.add_argument("--stdout", action="store_true", help="print it, and leave the file alone")
    parser.set_defaults(run=_format)


def _format(options: argparse.Namespace) -> int:
    from .tidy import format_file

    return format_file(options.app, check=options.check, to_stdout=options.stdout)


def _add_new(parser: argparse.ArgumentParser) -> None:
    from .scaffold import QUESTIONS

    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the folder and the file")
    for key, (question, _) in QUESTIONS.items():
        if key != "name":
            parser.add_argument(f"--{key}", metavar=key[0].upper(), help=question.lower())
    parser.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    from .scaffold import QUESTIONS, new

    given = {key: value for key in QUESTIONS if (value := getattr(options, key)) is not None}
    try:
        return new(given, Path.cwd(), input if sys.stdin.isatty() else None)
    except (EOFError, KeyboardInterrupt):
        from .failures import fail

        return fail("\nNothing was written.")


def _add_doc(parser: argparse.ArgumentParser) -> None:
    from .publish import FORMATS, write_doc

    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to tell about")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="where to write it")
    parser.add_argument(
        "--format", choices=FORMATS, default="html", help="what to write (%(default)s)"
    )
    parser.set_defaults(run=lambda options: write_doc(options.app, options.output, options.format))


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    from .bundle import add_arguments

    add_arguments(parser)


def _add_connect(parser: argparse.ArgumentParser) -> None:
    from .connect import add_arguments

    add_arguments(parser)


def _add_emit(parser: argparse.ArgumentParser) -> None:
    from .emit import add_arguments

    add_arguments(parser)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    from .doctor import add_arguments

    add_arguments(parser)


def _add_explain(parser: argparse.ArgumentParser) -> None:
    from .explain import add_arguments

    add_arguments(parser)


def _add_print_config(parser: argparse.ArgumentParser) -> None:
    from .options import add_address
    from .printconfig import add_arguments

    add_arguments(parser, add_address)


# The words of --help: no docstrings, which python -OO takes away.
_SERVING = "Serve what an .rbr file describes, until SIGINT or SIGTERM."
_COMMANDS = {
    "check": ("Say what is wrong with an .rbr file, without serving it.", _add_check),
    "fmt": ("Write an .rbr file in canonical form; comments stay.", _add_fmt),
    "new": (
        "Write a small application that runs, as the start of another; asks what it isn't told.",
        _add_new,
    ),
    "doc": (
        "Write the page about an application, as `/__doc__` shows it, or its OpenAPI document.",
        _add_doc,
    ),
    "bundle": ("Write an application as one file that a bare Python runs.", _add_bundle),
    "print-config": (
        "Print a file by which nginx, HAProxy, systemd or Docker has an application served.",
        _add_print_config,
    ),
    "connect": (
        "Talk to a server from the terminal: HTTP, WebSocket, Engine.IO or Socket.IO.",
        _add_connect,
    ),
    "emit": (
        "Emit an event to the clients of a server that runs, from a cron job, say.",
        _add_emit,
    ),
    "doctor": (
        "Find out what on the way to a server is wrong, and what to write where.",
        _add_doctor,
    ),
    "explain": (
        "Show what bytes say on the wire, field by field, and which of them is wrong.",
        _add_explain,
    ),
}
