"""The options of a url of sockets, gathered from all the paths that share it.

What it implements: that each option of the transport is said once, in whichever of the
paths; `rbr_check` has seen to it that no two say different things. What it leaves out:
what is each path's own, its namespace and rules.

In one line::

    shared = SharedOptions.of(paths)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from . import engineio
from .conditions import header_text
from .rbr_nodes import Path, Set, Text, Words


class SharedOptions(NamedTuple):
    """What all sockets of one url have in common."""

    engine: engineio.Options
    connect_timeout: float  # seconds until a client must have joined a namespace
    allow_origin: tuple[str, ...]
    max_connections: int  # sessions at a time; 0 is no limit
    headers: tuple[tuple[str, str], ...]  # that the answer to a handshake has besides

    @classmethod
    def of(cls, paths: Sequence[Path]) -> SharedOptions:
        """The options that these paths, which have one url, say between them."""

        def number(key: str) -> float:
            return _teller(paths, key).number(key)

        transports = _teller(paths, "transports").get("transports")
        engine = engineio.Options(
            ping_interval=number("ping-interval"),
            ping_timeout=number("ping-timeout"),
            max_payload=int(number("max-payload")),
            max_fragments=int(number("max-fragments")),
            compression=_teller(paths, "compression").switch("compression"),
            upgrade_timeout=number("upgrade-timeout"),
            allow_eio3=_teller(paths, "allow-eio3").switch("allow-eio3"),
            transports=transports.texts if isinstance(transports, Words) else engineio.TRANSPORTS,
        )
        origins = [origin for path in paths for origin in allowed_origins(path)]
        return cls(
            engine,
            number("connect-timeout"),
            tuple(dict.fromkeys(origins)),
            int(number("max-connections")),
            tuple(header for path in paths for header in _headers(path)),
        )


def allowed_origins(path: Path) -> tuple[str, ...]:
    """The origins of a path's `allow-origin` lines."""
    return tuple(value.text for value in path.all("allow-origin") if isinstance(value, Text))


def _headers(path: Path) -> Iterator[tuple[str, str]]:
    section = path.section.section("response-headers")
    rules = section.operations() if section is not None else ()
    sets = (rule for rule in rules if isinstance(rule, Set))
    yield from ((rule.header.lower(), header_text(rule.value)) for rule in sets)


def _teller(paths: Sequence[Path], key: str) -> Path:
    """The path that says an option; any, if none does: then it has its default."""
    return next((path for path in paths if path.get(key) is not None), paths[0])
