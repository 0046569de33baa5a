"""The options of serving: what ``python3 -m redbarrel_lite app.rbr`` takes.

What it implements: the arguments and their types, the usual values of limits, the file of
``--config``, and which options don't go together. What it leaves out: what they do, which is
for `serving`, and the other commands' arguments, which are with each of them.

In one line::

    add_arguments(parser); options = parser.parse_args(from_config(parser, arguments))
"""

from __future__ import annotations

import argparse
import configparser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import __version__
from .accesslog import FORMATS
from .forwarded import trust
from .gate import host_names
from .http1 import Limits
from .packed import path_at
from .patience import GRACE_S, TimeLimits
from .watchdog import USUAL_S

TRACES: Final = ("lines", "explain", "json")

_HEADS: Final = Limits()
_SIZES: Final = {
    "max-connections": (0, "open at a time; 0 is no limit"),
    "max-per-address": (0, "of them from one address; 0 is no limit"),
    "max-line": (_HEADS.line, "bytes of a request line, and of a header line"),
    "max-head": (_HEADS.head, "bytes of all of them together"),
    "max-fields": (_HEADS.fields, "header lines of a request"),
}
_MOST_S: Final = 1e6  # eleven days: epoll fails if it is to wait for twenty-five
_USUAL: Final = TimeLimits()
_TIMES: Final = {
    "head-timeout": (_USUAL.head, "for the head of a request"),
    "body-timeout": (_USUAL.body, "between two parts of a body"),
    "idle-timeout": (_USUAL.idle, "between two requests"),
    "write-timeout": (_USUAL.write, "for a client to read on"),
    "grace": (GRACE_S, "for what runs to end after a signal"),
    "watchdog": (USUAL_S, "for a handler to hold the event loop until the log says so; 0: never"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them, to the parser of the command that serves."""
    parser.add_argument(
        "apps", type=path_at, nargs="+", metavar="APP.rbr", help="a file to serve, or several"
    )
    add_address(parser)
    parser.add_argument(
        "--log", choices=FORMATS, default="common", help="the access log's form (%(default)s)"
    )
    parser.add_argument("--no-doc", action="store_true", help="keep the API's pages to yourself")
    parser.add_argument(
        "--debug", action="store_true", help="say what is slow or forgotten, too; serve /__wire__"
    )
    parser.add_argument(
        "--reload", action="store_true", help="begin anew when a file of the application changes"
    )
    parser.add_argument(
        "--wire-to",
        **_NETWORKS,
        help="who may see /__wire__ beside this machine itself",
    )
    parser.add_argument(
        "--status", action="store_true", help="count, and serve /__status__ and /__metrics__"
    )
    parser.add_argument(
        "--status-to",
        **_NETWORKS,
        help="who may see those beside this machine itself",
    )
    parser.add_argument(
        "--trace",
        choices=TRACES,
        metavar="FORM",
        help="show what goes over the wire: a line a layer; =explain: its bytes, too; =json",
    )
    parser.add_argument(
        "--emit-uds",
        type=_judged_by(_check_path),
        metavar="PATH",
        help="take what is to be emitted there, too",
    )
    parser.add_argument(
        "--emit-token-file",
        type=Path,
        metavar="FILE",
        help="take it at /__emit__ from whoever has the token in this file",
    )
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


def add_address(parser: argparse.ArgumentParser) -> None:
    """Where a server is, by which names, and who stands before it and beside it."""
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", help="address to listen on (%(default)s)"
    )
    parser.add_argument("--port", type=_port, default=8000, help="0 picks a free one (%(default)s)")
    parser.add_argument(
        "--uds",
        type=_judged_by(_check_path),
        metavar="PATH",
        help="listen on a Unix socket instead",
    )
    parser.add_argument(
        "--workers",
        type=_workers,
        default=1,
        metavar="N",
        help="processes that share the work; 'auto': one for each processor (%(default)s)",
    )
    parser.add_argument("--certfile", metavar="FILE", help="speak TLS, with this certificate")
    parser.add_argument("--keyfile", metavar="FILE", help="its key, if that is in another file")
    parser.add_argument(
        "--trust-proxy",
        **_NETWORKS,
        help="believe what these proxies say of the client; 'unix' for who comes by --uds",
    )
    parser.add_argument(
        "--allow-host",
        type=_judged_by(lambda name: host_names([name])),
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="answer 421 to who asks for another host (all; on loopback, with --debug or --reload,"
        " its own)",
    )
    parser.add_argument(
        "--redis",
        type=_judged_by(_parse_redis),
        metavar="URL",
        help="share sockets with all servers that have the same Redis: redis://HOST:PORT",
    )
    parser.add_argument(
        "--redis-channel", metavar="NAME", help="where they meet there (socketio, as elsewhere)"
    )
    parser.add_argument(
        "--redis-emitter",
        metavar="KEY",
        help="hear the emitters of Node.js, too, whose channels begin with this (socket.io)",
    )


def _host(text: str) -> str:
    if not text:  # which the system takes for all addresses of the machine
        raise argparse.ArgumentTypeError("it is empty; for all addresses write 0.0.0.0, or ::")
    try:
        text.encode("idna")  # as the system is asked for it
        is_one = text.count(":") != 1 and not set(text) & set("/[] ")
    except UnicodeError:
        is_one = False
    if not is_one:
        what = f"{text!r} is no name and no address, such as 127.0.0.1 or ::1; a port is for --port"
        raise argparse.ArgumentTypeError(what)
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _parse_redis(url: str) -> object:
    from .redis_connection import parse_url  # noqa: PLC0415  # who names none pays for none

    return parse_url(url)


def _check_path(path: str) -> None:
    from .dial import check_path  # noqa: PLC0415  # as above

    check_path(path)


def _workers(text: str) -> int:
    from .workers import MAX_WORKERS, processors  # noqa: PLC0415  # as above

    if text == "auto":
        return min(MAX_WORKERS, processors())
    count = _count(text)
    if not 1 <= count <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {MAX_WORKERS}, and not 'auto'")
    return count


def _judged_by(judge: Callable[[str], object]) -> Callable[[str], str]:
    """The text as it is, if ``judge`` raises no ValueError, whose words are the complaint."""

    def judged(text: str) -> str:
        try:
            judge(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return judged


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return min(seconds, _MOST_S)


def _network(text: str) -> str:
    try:
        trust([text])
    except ValueError:
        what = f"{text!r} is no address, no network such as 10.0.0.0/8, and not 'unix'"
        raise argparse.ArgumentTypeError(what) from None
    return text


# An option that takes several, and may be given again.
_NETWORKS: Final[dict[str, Any]] = {
    "type": _network,
    "action": "extend",
    "nargs": "+",
    "default": [],
    "metavar": "CIDR",
}


def from_config(parser: argparse.ArgumentParser, arguments: list[str]) -> list[str]:
    """The arguments, behind those of the file that ``--config`` names: the last one wins."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path, nargs="?")  # without it: the other one says so
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
    kinds = {action.dest.replace("_", "-"): action.nargs for action in parser._actions}
    found: list[str] = []
    for key, value in options.items():
        if kinds.get(key) == 0:  # a flag
            stated = ini.BOOLEAN_STATES.get(value.lower())
            if stated is None:
                parser.error(f"{known.config}: {key} is yes or no, not {value!r}")
            found += [f"--{key}"] * stated
        else:
            several = kinds.get(key) == "+"
            found += (f"--{key}={one}" for one in (value.split() if several else [value]))
    # Whether the command line names a file is for the parser to say.
    named = any(not other.startswith("-") and Path(other).suffix == ".rbr" for other in others)
    folder = known.config.parent
    return [*found, *others, *([] if named else (str(folder / name) for name in files))]


# What says nothing by itself: an option, that which it is about, and what to write.
_NEEDS: Final = (
    ("redis_channel", "redis", "about a Redis: write --redis URL, too"),
    ("redis_emitter", "redis", "about a Redis: write --redis URL, too"),
    ("keyfile", "certfile", "the key of a certificate: write --certfile FILE, too"),
    ("wire_to", "debug", "about the page of the wire: write --debug, too"),
    ("status_to", "status", "about the pages of --status: write that, too"),
)


def refuse_conflicts(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End as argparse does if one of the options needs another, or can't stand beside it."""
    if getattr(options, "reload", False) and options.workers > 1:
        parser.error("--reload is for one process: leave --workers out, or write --workers 1")
    for name, needed, why in _NEEDS:
        if getattr(options, name, None) not in (None, []) and not getattr(options, needed):
            parser.error(f"--{name.replace('_', '-')} is {why}")
