"""The command line: ``python -m redbarrel_lite app.rbr``.

What it implements: the arguments, the log, and the exit statuses. What it leaves
out: the work, which each command finds in a room of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import configparser
import contextlib
import logging
import os
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from . import __version__, publish, scaffold, tidy
from .accesslog import FORMATS, Entry
from .app import App
from .errors import RbrError
from .failures import user_traceback
from .forwarded import trust
from .gate import Gate, host_names, usual_names
from .http1 import Limits
from .patience import TimeLimits
from .server import GRACE_S, Address, Server
from .upstream import Upstream


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status.

    0 is well, 1 is a fault in the user's files or a port in use, 2 wrong arguments.
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser = _parser(arguments)
    if parser.get_default("run") is _serve:
        arguments = _from_config(parser, arguments)
    options = parser.parse_intermixed_args(arguments)  # options between two files, too
    status: int = options.run(options)
    return status


def rbr_check() -> int:
    """The command of 2011's name: ``rbr-check APP.rbr``."""
    return main(["check", *sys.argv[1:]])


def rbr_quickstart() -> int:
    """The command of 2011's name: ``rbr-quickstart``."""
    return main(["new", *sys.argv[1:]])


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser for the command that ``arguments`` start with; without one, that of serving."""
    name = arguments[0] if arguments else ""
    command = _COMMANDS.get(name)
    parser = argparse.ArgumentParser(
        prog=" ".join(filter(None, ["python -m redbarrel_lite", name if command else ""])),
        description=(command or _add_serve).__doc__,
        epilog=None if command else f"Other commands: {', '.join(_COMMANDS)}; each has --help.",
    )
    if command:
        parser.add_argument("command", help=argparse.SUPPRESS)
    (command or _add_serve)(parser)
    return parser


# -- serving -------------------------------------------------------------------


def _add_serve(parser: argparse.ArgumentParser) -> None:
    """Serve what an .rbr file describes, until SIGINT or SIGTERM."""
    parser.add_argument(
        "apps", type=Path, nargs="+", metavar="APP.rbr", help="a file to serve, or several"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="0 picks a free one (%(default)s)")
    parser.add_argument("--uds", metavar="PATH", help="listen on a Unix socket instead")
    parser.add_argument("--certfile", metavar="FILE", help="speak TLS, with this certificate")
    parser.add_argument("--keyfile", metavar="FILE", help="its key, if that is in another file")
    parser.add_argument(
        "--trust-proxy",
        type=_network,
        action="extend",
        nargs="+",
        default=[],
        metavar="CIDR",
        help="believe what these proxies say of the client; 'unix' for who comes by --uds",
    )
    parser.add_argument(
        "--allow-host",
        type=_host_name,
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="answer 421 to who asks for another host (all; with --debug on loopback, its own)",
    )
    parser.add_argument(
        "--log", choices=FORMATS, default="common", help="the access log's form (%(default)s)"
    )
    parser.add_argument("--no-doc", action="store_true", help="keep the API's pages to yourself")
    parser.add_argument("--debug", action="store_true", help="say what is slow or forgotten, too")
    parser.add_argument("--config", metavar="FILE.ini", help="options from its section [rbr]")
    parser.add_argument("--version", action="version", version=f"RedBarrel Lite {__version__}")
    sizes = parser.add_argument_group("limits")
    for name, (most, what) in _SIZES.items():
        sizes.add_argument(
            f"--{name}", type=_count, default=most, metavar="N", help=f"{what} (%(default)s)"
        )
    times = parser.add_argument_group("time limits, in seconds")
    for name, (seconds, what) in _TIMES.items():
        times.add_argument(
            f"--{name}", type=_seconds, default=seconds, metavar="S", help=f"{what} (%(default)s)"
        )
    parser.set_defaults(run=_serve)


MAX_OPEN_FILES = 1 << 20

_HEADS = Limits()
_SIZES = {
    "max-connections": (0, "open at a time; 0 is no limit"),
    "max-line": (_HEADS.line, "bytes of a request line, and of a header line"),
    "max-head": (_HEADS.head, "bytes of all of them together"),
    "max-fields": (_HEADS.fields, "header lines of a request"),
}
_USUAL = TimeLimits()
_TIMES = {
    "head-timeout": (_USUAL.head, "for the head of a request"),
    "body-timeout": (_USUAL.body, "between two parts of a body"),
    "idle-timeout": (_USUAL.idle, "between two requests"),
    "write-timeout": (_USUAL.write, "for a client to read on"),
    "grace": (GRACE_S, "for what runs to end after a signal"),
}


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _host_name(text: str) -> str:
    try:
        host_names([text])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _from_config(parser: argparse.ArgumentParser, arguments: list[str]) -> list[str]:
    """The arguments, behind those of the file that ``--config`` names: the last one wins."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path)
    known, others = first.parse_known_args(arguments)
    if known.config is None:
        return arguments
    ini = configparser.ConfigParser(interpolation=None)
    try:
        ini.read_string(known.config.read_text(encoding="utf-8"), str(known.config))
        options = dict(ini["rbr"])
    except OSError as error:
        parser.error(f"{known.config}: {error.strerror}")
    except (configparser.Error, UnicodeDecodeError) as error:
        parser.error(f"{known.config}: {error}")
    except KeyError:
        parser.error(f"{known.config}: it has no section [rbr]")
    files = options.pop("rbr-file", "").split()
    lists = {action.dest.replace("_", "-") for action in parser._actions if action.nargs == "+"}
    found = [
        argument
        for key, value in options.items()
        for one in (value.split() if key in lists else [value])
        for argument in _flag(key, one)
    ]
    # Whether the command line names a file is for the parser to say.
    named = any(not other.startswith("-") and Path(other).suffix == ".rbr" for other in others)
    folder = known.config.parent
    return [*found, *others, *([] if named else (str(folder / name) for name in files))]


def _flag(key: str, value: str) -> list[str]:
    """A line of the file as arguments: ``debug = yes`` is a flag, ``port = 80`` has a value."""
    if value.lower() in ("yes", "true", "on"):
        return [f"--{key}"]
    return [] if value.lower() in ("no", "false") else [f"--{key}={value}"]


def _serve(options: argparse.Namespace) -> int:
    _log_to_stderr(debug=options.debug)
    try:
        app = App.load(options.apps, Upstream, doc=not options.no_doc)
    except RbrError as error:
        return _fail(str(error), error.__cause__)
    except OSError as error:
        return _fail(f"error: {error.filename}: {error.strerror}")
    for line in (*app.warnings, *app.hooked):
        _tell(str(line))
    try:
        options.tls = _tls(options)
    except (OSError, ValueError) as error:
        return _fail(f"error: --certfile, --keyfile: {error}")
    server = Server(app, _time_limits(options), _access_log(options.log), _gate(options))
    _raise_limit_of_open_files()
    try:
        asyncio.run(_serve_until_signal(server, options), debug=options.debug or None)
    except RbrError as error:
        return _fail(str(error), error.__cause__)
    except OSError as error:
        # asyncio wraps the system's words into a sentence of its own.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        where = options.uds or f"{options.host}:{options.port}"
        return _fail(f"error: can't serve on {where}: {why}")
    return 0


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """What --certfile and --keyfile ask for: the library's own choice, TLS 1.2 at least.

    Raises OSError or ValueError for files that are no certificate and its key.
    """
    if options.certfile is None and options.keyfile is None:
        return None
    if options.certfile is None:
        raise ValueError("a key needs its certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(options.certfile, options.keyfile)
    return context


def _network(text: str) -> str:
    try:
        trust([text])
    except ValueError:
        what = f"{text!r} is no address, no network such as 10.0.0.0/8, and not 'unix'"
        raise argparse.ArgumentTypeError(what) from None
    return text


async def _serve_until_signal(server: Server, options: argparse.Namespace) -> None:
    await server.serve(
        Address(options.host, options.port, options.uds, options.tls),
        lambda url: _tell(f"Serving on {url}"),
        options.grace,
    )
    # The grace is over. What is left would keep asyncio, or Python itself, from ending.
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=1.0)
    if any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate()):
        _tell("Some threads have not ended: left behind.")
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(0)


def _raise_limit_of_open_files() -> None:
    """Each client is an open file, and the usual soft limit is 1024 of them."""
    try:
        import resource  # noqa: PLC0415  # Windows has none, and no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if 0 <= soft < most:
        with contextlib.suppress(OSError, ValueError):  # macOS: less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _time_limits(options: argparse.Namespace) -> TimeLimits:
    return TimeLimits(
        head=options.head_timeout,
        body=options.body_timeout,
        idle=options.idle_timeout,
        write=options.write_timeout,
    )


def _gate(options: argparse.Namespace) -> Gate:
    where = "" if options.uds else options.host
    return Gate(
        host_names(options.allow_host) or usual_names(where, debug=options.debug),
        trust(options.trust_proxy),
        options.max_connections,
        Limits(options.max_line, options.max_head, options.max_fields),
    )


def _access_log(name: str) -> Callable[[Entry], None] | None:
    form = FORMATS[name]
    if form is None:
        return None
    lines: list[str] = []

    def write() -> None:
        text = "\n".join(lines)
        lines.clear()
        _tell(text)

    def note(entry: Entry) -> None:
        # One write for all that is answered in a turn of the loop: the system's call
        # costs more than making the line does.
        if not lines:
            asyncio.get_running_loop().call_soon(write)
        lines.append(form(entry))

    return note


def _log_to_stderr(*, debug: bool) -> None:
    """Our own log, and nobody else's: the application's `logging` is left alone."""
    log = logging.getLogger("redbarrel_lite")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.DEBUG if debug else logging.INFO)


def _tell(line: str) -> None:
    """Say something; where nobody listens (``2>&-``, a pipe that broke) that is no fault."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _fail(message: str, cause: BaseException | None = None) -> int:
    if cause is not None:
        _tell(user_traceback(cause))
    _tell(message)
    return 1


# -- the other commands --------------------------------------------------------


def _add_check(parser: argparse.ArgumentParser) -> None:
    """Say what is wrong with an .rbr file, without serving it."""
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to check")
    parser.add_argument(
        "--syntax-only", action="store_true", help="judge the text alone: no imports, no files"
    )
    parser.add_argument("--json", action="store_true", help="for editors: faults and tree")
    parser.set_defaults(
        run=lambda options: tidy.check_file(
            options.app, syntax_only=options.syntax_only, as_json=options.json
        )
    )


def _add_fmt(parser: argparse.ArgumentParser) -> None:
    """Write an .rbr file in canonical form; comments stay."""
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to format")
    parser.add_argument("--check", action="store_true", help="only say how it would change")
    parser.add_argument("--stdout", action="store_true", help="print it, and leave the file alone")
    parser.set_defaults(
        run=lambda options: tidy.format_file(
            options.app, check=options.check, to_stdout=options.stdout
        )
    )


def _add_new(parser: argparse.ArgumentParser) -> None:
    """Write a small application that runs, as the start of another; asks what it isn't told."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the folder and the file")
    for key, (question, _) in scaffold.QUESTIONS.items():
        if key != "name":
            parser.add_argument(f"--{key}", metavar=key[0].upper(), help=question.lower())
    parser.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> int:
    given = {
        key: value for key in scaffold.QUESTIONS if (value := getattr(options, key)) is not None
    }
    try:
        return scaffold.new(given, Path.cwd(), input if sys.stdin.isatty() else None)
    except (EOFError, KeyboardInterrupt):
        return _fail("\nNothing was written.")


def _add_doc(parser: argparse.ArgumentParser) -> None:
    """Write the page about an application, as `/__doc__` shows it, or its OpenAPI document."""
    parser.add_argument("app", type=Path, metavar="APP.rbr", help="the file to tell about")
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="where to write it")
    parser.add_argument(
        "--format", choices=publish.FORMATS, default="html", help="what to write (%(default)s)"
    )
    parser.set_defaults(
        run=lambda options: publish.write_doc(options.app, options.output, options.format)
    )


_COMMANDS = {"check": _add_check, "fmt": _add_fmt, "new": _add_new, "doc": _add_doc}
