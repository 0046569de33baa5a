"""Pages of other origins: whether their scripts may open sockets here.

What it implements: the check of the Origin header that RFC 6455 10.2 asks of a server,
for WebSockets and polling alike, origins as RFC 6454 compares them, and what the CORS
protocol (Fetch Standard, section 3.2) wants to read in the answers. What it leaves out:
services, for which `cors` speaks, and Host, which is the server's own affair.

In one line::

    fault = origins.fault(request)

Unlike a service, a socket refuses who is not allowed: a WebSocket knows no CORS, and a
browser sends cookies along with it to any host, so a page of another origin would
speak for its visitor. What is no browser sends no Origin, or the one it likes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from .request import Request
from .response import Response

# Those of the reference server. A page that asks with the wrong one is to read our 400:
# were it refused here, its script would see no more than that the network failed.
METHODS: Final = "GET, HEAD, PUT, PATCH, POST, DELETE"

# RFC 6454 7: a scheme, a host and maybe a port, or "null". No user, no path: what has
# them was not written by a browser.
_ORIGIN: Final = re.compile(
    r"null|[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
_PAGE: Final = re.compile(rf"({_ORIGIN.pattern})(?:[/?#]|\Z)")  # a Referer, up to its host
_USUAL_PORTS: Final = {"http": ":80", "https": ":443"}
# A log line stays short whatever stands in the header.
_MAX_SHOWN: Final = 120


class Origins:
    """The origins whose pages may open the sockets of one url, beside the url's own."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        self._any = "*" in allowed
        self._known = frozenset(map(_normal, allowed))

    def fault(self, request: Request, *, is_script: bool = False) -> str | None:
        """Why the page that asks may not connect, as a line for the log; None: it may.

        The request of a script element has no Origin, but cookies (JSONP): there the page
        must have been named by a Referer, unless all pages may, or the browser says that
        it is one of ours.
        """
        origin = request.headers.get("origin")
        if origin is None and is_script:
            origin = self._origin_of_script(request)
            if origin == "":
                return "a script's request (JSONP) that does not say of which page"
        if origin is None:
            return None
        if not _ORIGIN.fullmatch(origin):  # two of them are joined by ", ", and are none
            return f"this is no origin: '{_short(origin)}'"
        if self._any or self._is_known(origin, request):
            return None
        own = _short(", ".join((request.host_url, *self.allowed)))
        advice = _advice(origin, request)
        return f"pages of {_short(origin)} may not connect, those of {own} may{advice}"

    def _origin_of_script(self, request: Request) -> str | None:
        """None where it does not matter, "" where nobody says."""
        if self._any or request.headers.get("sec-fetch-site") == "same-origin":
            return None
        match = _PAGE.match(request.headers.get("referer", ""))
        return match[1] if match is not None else ""

    def _is_known(self, origin: str, request: Request) -> bool:
        origin = _normal(origin)
        # "null" is every sandboxed frame and every file: never the page of a host.
        return origin in self._known or origin == _normal(request.host_url)

    def headers(self, request: Request) -> list[tuple[str, str]]:
        """What a browser wants to read before it shows our answer to the page (Fetch 3.2.3).

        Only for a request without `fault`. With credentials only for origins that the
        file names: under "*", and for "null", any page could act for whoever looks at it.
        """
        origin = request.headers.get("origin")
        if origin is None or _normal(origin) == _normal(request.host_url):
            return []
        if self._any and _normal(origin) not in self._known:
            return [("access-control-allow-origin", "*")]
        told = [("access-control-allow-origin", origin), ("vary", "Origin")]
        if origin != "null":
            told.append(("access-control-allow-credentials", "true"))
        return told

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks beforehand (Fetch 3.2.2)."""
        response = Response(b"", 204, self.headers(request))
        response.set_header("access-control-allow-methods", METHODS)
        wanted = request.headers.get("access-control-request-headers")
        if wanted:
            response.set_header("access-control-allow-headers", wanted)
        response.set_header("vary", "Origin, Access-Control-Request-Headers")
        return response


def _normal(origin: str) -> str:
    """As RFC 6454 compares: in lower case, and without a port that goes without saying."""
    origin = origin.lower()
    usual = _USUAL_PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(usual) if usual else origin


def _short(text: str) -> str:
    """For a log line, whatever the text holds."""
    shown = ascii(text)[1:-1]
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."


def _advice(origin: str, request: Request) -> str:
    """What to write, where it could be meant."""
    if origin == "null" or len(origin) > _MAX_SHOWN:
        return ""
    line = f'write: allow-origin "{origin}"'
    if _host(origin) == _host(request.host_url):
        # A proxy that ends TLS, most of the time: without it we don't know that we are https.
        return f"; behind a proxy, see --trust-proxy; to let them, {line}"
    return f"; to let them, {line}"


def _host(origin: str) -> str:
    return re.sub(r":[0-9]+$", "", origin.lower().partition("://")[2])
