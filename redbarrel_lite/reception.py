"""Who asks, and whether it is us: what is settled before any path is asked for.

What it implements: requests that are about no path (RFC 9112 3.2.3 and 3.2.4), names that
are not served (RFC 9110 15.5.20), and what a trusted proxy says of its client. What it
leaves out: how a proxy says so, which `forwarded` knows, and paths, which are `app`'s.

In one line::

    look_through(request, gate.trusted); admit(request, gate)
"""

from __future__ import annotations

import logging

from .errors import RemoteProtocolError
from .forwarded import Trust, seen_through
from .gate import Gate
from .request import Request
from .response import Response, error_response

log = logging.getLogger("redbarrel_lite")


class NotHere(Exception):
    """The request is about no path of ours."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response

    def answer(self) -> Response:
        """What to tell the client."""
        return self.response


def look_through(request: Request, trusted: Trust) -> None:
    """Let the request be that of the client in front of the proxies that we trust."""
    origin = seen_through(request.headers, request.remote_addr, trusted)
    request.remote_addr = origin.address
    request.scheme = origin.scheme or request.scheme
    request.host = origin.host or request.host


def admit(request: Request, gate: Gate, peer: str) -> None:
    """Let it go on to the paths; raise `NotHere`, or `RemoteProtocolError` for a tunnel."""
    if request.target == "*":  # about the server itself (RFC 9110 9.3.7)
        raise NotHere(Response(b"", 204, [("allow", "GET, HEAD, POST, OPTIONS")]))
    if request.target[0] != "/":
        raise RemoteProtocolError("this is no proxy: CONNECT opens no tunnel (RFC 9110 9.3.6)", 405)
    if not gate.serves(request.host):
        what = "%s: %.100a is no name of this server, those are %s; to serve it: --allow-host"
        log.info(what, peer, request.host, ", ".join(sorted(gate.names)))
        raise NotHere(error_response(421, "this server does not answer for that host"))
