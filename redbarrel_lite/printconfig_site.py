"""What the files of ``print-config`` are about: an application, and where it is served.

What it implements: the facts and the options as one value, the command that they make,
and how a file says why a line is there. What it leaves out: where they come from
(`printconfig`).

In one line::

    because("    ", "Below it HTTP/1.0 is spoken.", "proxy_http_version 1.1;")
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .forwarded import UNIX
from .packed import OWN

PACKAGE: Final = Path(__file__).resolve().parent
WIDTH: Final = 98
LOCAL: Final = "127.0.0.1"

# Several addresses of the machine, and one of them: a proxy that comes by turns from 127.0.0.1 and
# from ::1, as nginx does for a name, would be trusted by turns.
_NEAR: Final = {"0.0.0.0": LOCAL, "::": "::1", "localhost": LOCAL}  # noqa: S104
_IS_NUMBER: Final = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An application, and all that was said of where it is to be served."""

    name: str
    apps: tuple[Path, ...]
    roots: tuple[str, ...]  # the outermost; an empty one where the application has all urls
    silence_s: float  # for so long a socket that is well may be silent; 0 without sockets
    body_bytes: int  # the largest body that any of its paths takes
    polled: bool  # whether clients may poll, and so come with a connection for each request
    host: str
    port: int
    uds: str
    names: tuple[str, ...]  # of the hosts that it answers for; none: for all
    trusted: tuple[str, ...]
    workers: str  # a number, or "auto", which is each machine's own
    redis: str
    redis_channel: str
    redis_emitter: str
    certfile: str
    keyfile: str
    prefix: str
    servers: tuple[str, ...]
    pyz: str  # the bundle; where there is none, a checkout or an installed package serves
    folder: Path  # of the first file

    @property
    def files(self) -> tuple[str, ...]:
        """The .rbr files, as they are called in their folder."""
        found = (
            str(one.relative_to(self.folder) if one.is_relative_to(self.folder) else one)
            for one in self.apps
        )
        return tuple(f"./{one}" if one.startswith("-") else one for one in found)

    @property
    def patience_s(self) -> int:
        """How long a proxy waits for the next byte: twice as long as it may be missing."""
        return max(60, round(2 * self.silence_s))

    def listening(self) -> list[str]:
        """The options by which the server is where its proxy looks for it."""
        if self.uds:
            return ["--uds", self.uds]
        return ["--host", self.host, "--port", str(self.port)]

    @property
    def address(self) -> str:
        """Where it listens, in one word."""
        return self.uds or _with_port(self.host, self.port)

    @property
    def near(self) -> str:
        """The address at which a proxy on the same machine finds it."""
        return _with_port(_NEAR.get(self.host, self.host), self.port)

    def trusting(self) -> list[str]:
        """The option by which it believes its proxy, which is on the same machine."""
        # Who connects to an address of his own machine comes from there.
        near = _NEAR.get(self.host, self.host)
        usual = near if ":" in near or _IS_NUMBER.fullmatch(near) else LOCAL
        usual = LOCAL if usual.startswith("127.") else usual
        trusted = self.trusted or ((UNIX if self.uds else usual),)
        return ["--trust-proxy", *trusted]

    def serving(self, *options: str) -> list[str]:
        """What Python is told, to serve it."""
        said = ["--allow-host", *self.names] if self.names else []
        if self.workers != "1":
            said += ["--workers", self.workers]
        for option in ("redis", "redis_channel", "redis_emitter"):
            if value := getattr(self, option):
                said += [f"--{option.replace('_', '-')}", value]
        return [*self.program, *options, *said]

    @property
    def program(self) -> list[str]:
        """What Python runs: the bundle, or with the files our own archive or package."""
        if self.pyz:
            return [self.pyz]
        return [*([OWN] if OWN else ["-m", "redbarrel_lite"]), *self.files]


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def about_password(site: Site) -> Iterator[str]:
    """What to do with one that stands in the url of a Redis."""
    if "@" in site.redis or "password=" in site.redis:
        yield from because(
            "",
            "Everybody may read this file and a command line: let a url with a password be in a"
            " file of options, which the group may read, and have --config name it.",
        )


def because(indent: str, why: str, *lines: str) -> Iterator[str]:
    """Lines of a file, behind what they are there for."""
    yield from textwrap.wrap(
        why,
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from (indent + line if line else "" for line in lines)
