"""Which path of the .rbr file a request means.

A url is a template: ``{name}`` matches one segment of the path, ``{name:REGEX}``
what the regular expression says. The first path in the order of the file whose
url and method fit is taken; HEAD follows GET. What asks for a WebSocket is for one.

In one line::

    route, match = Router(routes).find("GET", "/show/3")
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from . import rbr_patterns
from .request import Request
from .response import Response, error_response
from .wsproto_handshake import UPGRADE_REQUIRED

T = TypeVar("T")

# What answers the requests of a path.
Service: TypeAlias = Callable[[Request], Response | Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route(Generic[T]):
    """One path: what requests it takes, and what it stands for."""

    name: str
    url: str
    methods: tuple[str, ...]
    pattern: re.Pattern[str]
    target: T


# Stands among a route's methods for a GET that asks for a WebSocket; no client can send it.
WEBSOCKET: Final = "a WebSocket"


class AnyMethod(tuple[str, ...]):
    """The methods of what takes any: those that are told of, and whatever else is sent.

    But for two that mean something to the servers on the way, not to what lies behind them.
    """

    __slots__ = ()

    def __contains__(self, method: object) -> bool:
        return method not in ("CONNECT", "TRACE", WEBSOCKET) or super().__contains__(method)


class NotRouted(Exception):
    """No path takes the request.

    404, 405 if the url would fit but for the method, 426 if a WebSocket is there.
    """

    def __init__(self, method: str, methods: Iterable[str]) -> None:
        found = dict.fromkeys(methods)
        self.method = method
        self.status = 404
        if found:
            self.status = 426 if method in ("GET", "HEAD") and WEBSOCKET in found else 405
        super().__init__(_REASONS[self.status])
        self.allow = tuple(_with_implied(found))

    def answer(self) -> Response:
        """What to tell the client; one that asked with OPTIONS has its answer (RFC 9110 9.3.7)."""
        allow = [("allow", ", ".join(self.allow))]
        if self.status == 405 and self.method == "OPTIONS":
            return Response(b"", 204, allow)
        if self.status == 405:
            return error_response(405, f"{self.method} is not among {allow[0][1]}", allow)
        if self.status == 426:
            return error_response(426, "a WebSocket is here, and no page", UPGRADE_REQUIRED)
        return error_response(404, "no path of this server has this url")


_REASONS: Final = {404: "not found", 405: "method not allowed", 426: "upgrade required"}


def compile_template(
    parts: Iterable[str | tuple[str, str | None]], *, below: bool = False
) -> re.Pattern[str]:
    """The regular expression for the parts of a url: texts, and (name, regex) pairs.

    ``below``: for the url and all that lies below it. Raises `re.error` for what
    `rbr_patterns.faults` would have told.
    """
    pattern = rbr_patterns.joined(parts)
    if below:
        return rbr_patterns.compiled(pattern + "(?:/.*)?", re.DOTALL)
    return rbr_patterns.compiled(pattern)


class Router(Generic[T]):
    """The routes of an application, in order."""

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self.routes = tuple(routes)

    def find(
        self, method: str, path: str, *, upgrades: bool = False
    ) -> tuple[Route[T], dict[str, str]]:
        """The route for a request and what its placeholders matched.

        ``upgrades``: it asks for a WebSocket, and goes to a page only where none is. Raises
        `NotRouted`.
        """
        if upgrades and method == "GET":
            with contextlib.suppress(NotRouted):
                return self.find(WEBSOCKET, path)
        methods: list[str] = []
        for route in self.routes:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            if method in route.methods or (method == "HEAD" and "GET" in route.methods):
                return route, match.groupdict("")
            methods += route.methods
        raise NotRouted(method, methods)


def _with_implied(methods: Iterable[str]) -> list[str]:
    found = dict.fromkeys("GET" if method == WEBSOCKET else method for method in methods)
    if "GET" in methods:
        found["HEAD"] = None
    if found:
        found["OPTIONS"] = None
    return list(found)
