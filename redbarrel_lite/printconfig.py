"""The command ``print-config``: files by which others run an application, or stand before it.

What it implements: reading from .rbr files what a proxy must know of an application, its
urls, the silences and the bodies that it allows, and printing one of the files below, or
writing them to a folder. What it leaves out: what stands in them
(`printconfig_proxies`, `printconfig_units`).

In one line::

    for path, text in FORMS["nginx"](site): print(text)
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from . import printconfig_proxies, printconfig_units
from .failures import fail
from .loading import File, Reading
from .printconfig_site import Site
from .rbr_nodes import Path as Service
from .rbr_nodes import Words

# What a form gives: the path where the file belongs, and its text.
Form: TypeAlias = Callable[[Site], Iterator[tuple[str, str]]]

FORMS: Final[dict[str, Form]] = {
    "nginx": printconfig_proxies.nginx,
    "haproxy": printconfig_proxies.haproxy,
    "systemd": printconfig_units.systemd,
    "docker": printconfig_units.docker,
}

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
# What means the same to nginx, to HAProxy and in a regular expression, but for the dot.
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
# It stands in a line of a file: nothing that ends a word, or begins another meaning.
_FILE: Final = re.compile(r"[^\s\"'\\;#{}$%*?\[\]-][^\s\"'\\;#{}$%*?\[\]]*")
_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")
_SERVER_NAME: Final = re.compile(r"[^~.].*")  # with these nginx begins an expression, and a suffix
_LINE: Final = re.compile(r"(?!-).+")  # what begins with a dash is another option
# A url that means itself to nginx and to HAProxy.
_ROOT: Final = re.compile(r"(/(?!\.{1,2}(?:/|$))[\w.~@:+=-]+)*")


def add_arguments(parser: argparse.ArgumentParser, options: Callable[..., object]) -> None:
    """The arguments of the command; ``options`` adds those that mean the same as for serving."""
    parser.add_argument("form", choices=FORMS, help="for whom the file is")
    parser.add_argument("apps", type=Path, nargs="+", metavar="APP.rbr", help="what is served")
    options(parser)
    for action in parser._actions:
        if action.dest in ("uds", "certfile", "keyfile"):
            action.type = _of(_FILE)
        elif action.dest == "host":
            action.type = _of(_HOST)
        elif action.dest == "allow_host":
            action.type = _in_a_line(action.type, _SERVER_NAME)
        elif action.dest == "workers":
            action.type, action.default = _in_words(action.type), "1"
        elif action.dest.startswith("redis"):
            action.type = _in_a_line(action.type or str)
    parser.add_argument("--name", type=_of(_NAME), help="of the unit, too (that of the file)")
    parser.add_argument(
        "--prefix",
        type=_of(_PREFIX),
        metavar="/SUB/PATH",
        help="where the proxy has it",
    )
    parser.add_argument(
        "--server",
        type=_of(_ADDRESS),
        action="extend",
        nargs="+",
        default=[],
        metavar="HOST:PORT",
        help="where it is served, if on several machines",
    )
    parser.add_argument("--pyz", type=_of(_FILE), metavar="FILE", help="the bundle that serves it")
    parser.add_argument("-o", dest="output", type=Path, metavar="FOLDER", help="write it there")
    parser.set_defaults(run=_run)


def _of(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def value(text: str) -> str:
        if not (text.isprintable() and pattern.fullmatch(text)):
            raise argparse.ArgumentTypeError(f"{text!r} is none that can stand in such a file")
        return text

    return value


def _in_a_line(type_: Any, pattern: re.Pattern[str] = _LINE) -> Callable[[str], Any]:
    """Text of a type that has an end of line in it would say something of its own."""
    fits = _of(pattern)
    return lambda text: type_(fits(text))


def _in_words(type_: Any) -> Callable[[str], str]:
    """The text of what is fine for a type."""
    return lambda text: text if type_(text) else ""


def _run(options: argparse.Namespace) -> int:
    reading = Reading()
    try:
        for file in options.apps:
            if not str(file.resolve()).isprintable():
                return fail(f"error: {str(file)!r} is no name that can stand in such a file")
            reading.add(file, str(file))
        if reading.errors:
            for one in reading.errors[:-1]:
                fail(one.picture)
            return fail(reading.errors[-1].picture, next(iter(reading.failures), None))
        site = _site(reading.files, options)
        if why := _why_not(site, options.form):
            return fail(f"error: {why}")
        printed = list(FORMS[options.form](site))
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            for path, text in printed:
                (options.output / Path(path).name).write_text(text, encoding="utf-8")
    except OSError as error:
        return fail(f"error: {error.filename}: {error.strerror}")
    if options.output is None:
        sys.stdout.write("\n".join(text for _, text in printed))
    return 0


def _why_not(site: Site, form: str) -> str:
    """What of a site can't stand in a file of this form; "" if all can."""
    if not _NAME.fullmatch(site.name):
        return f"{site.apps[0]}: a name for it, please: --name"
    if not site.port:
        return "--port 0 is another one each time: name the port that others are to know"
    for file in filter(None, (site.uds, site.certfile, site.keyfile, site.pyz)):
        if not _FILE.fullmatch(file):  # the folder that we are in is part of it
            return f"{file!r} is none that can stand in such a file"
    if form in ("systemd", "docker"):
        for option, value in (("--prefix", site.prefix), ("--server", site.servers)):
            if value:
                return f"{option} is for a proxy, nginx or haproxy: {form} is none"
    if form in ("nginx", "haproxy"):
        for root in () if site.prefix else site.roots:
            if not _ROOT.fullmatch(root):
                return f"root {root!r} has characters that mean something else to {form}"
    if form == "systemd":
        return printconfig_units.why_not(site)
    return ""


def _site(files: list[File], options: argparse.Namespace) -> Site:
    """All that the files and the options say."""
    # Who reads the file stands somewhere else; in an image its own folder is meant.
    is_image = options.form == "docker"

    def place(text: str | None) -> str:
        return str(Path(text) if is_image else Path(text).absolute()) if text else ""

    sockets = [path for file in files for path in file.tree.paths if path.is_socket]
    polled = [path for path in sockets if _is_polled(path)]
    bodies = [
        int(path.number("max-body")) for file in files for path in file.tree.paths
        if not path.is_socket
    ]  # fmt: skip
    return Site(
        name=options.name or files[0].path.stem,
        apps=tuple(path.resolve() for path in options.apps),
        roots=_outermost([file.root for file in files]),
        silence_s=max((_silence(path) for path in sockets), default=0.0),
        body_bytes=max([1, *bodies, *(int(path.number("max-payload")) for path in polled)]),
        polled=bool(polled),
        host=options.host,
        port=options.port,
        uds=place(options.uds),
        names=tuple(options.allow_host),
        trusted=tuple(options.trust_proxy),
        workers=options.workers,
        redis=options.redis or "",
        redis_channel=options.redis_channel or "",
        redis_emitter=options.redis_emitter or "",
        certfile=place(options.certfile),
        keyfile=place(options.keyfile),
        prefix=options.prefix or "",
        servers=tuple(options.server),
        pyz=place(options.pyz),
        folder=files[0].path.parent,
    )


def _is_polled(path: Service) -> bool:
    if path.verbs == ("WEBSOCKET",):
        return False
    transports = path.get("transports")
    return not isinstance(transports, Words) or "polling" in transports.texts


def _silence(path: Service) -> float:
    """For so long a connection may be without a byte, and is well."""
    return path.number("ping-interval") + path.number("ping-timeout")


def _outermost(roots: list[str]) -> tuple[str, ...]:
    """The roots that are not below another."""
    return tuple(
        root
        for root in dict.fromkeys(roots)
        if not any(root.startswith(f"{other}/") for other in roots)
    )
