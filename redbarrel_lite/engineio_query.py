"""What a request says of itself in its query, and the errors that it may get.

What it implements: section "Query parameters" of Engine.IO protocol 4, and of 3 where a
path lets old clients in; the reference server's checks, in its order, and its error
bodies. What it leaves out: the sessions, which `engineio` has, and HTTP.

In one line::

    query = check_query("GET", {"EIO": ["4"], "transport": ["polling"]}, options, upgrade=False)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .engineio import BAD_REQUEST, OLD_PROTOCOL, PROTOCOL, WEBSOCKET, Options, Session
from .errors import RemoteProtocolError

# The reference server's error bodies; clients compare them.
UNKNOWN_TRANSPORT: Final = 0
UNKNOWN_SID: Final = 1
BAD_HANDSHAKE_METHOD: Final = 2
FORBIDDEN: Final = 4
UNSUPPORTED_PROTOCOL_VERSION: Final = 5
ERRORS: Final = {
    UNKNOWN_TRANSPORT: "Transport unknown",
    UNKNOWN_SID: "Session ID unknown",
    BAD_HANDSHAKE_METHOD: "Bad handshake method",
    BAD_REQUEST: "Bad request",
    FORBIDDEN: "Forbidden",
    UNSUPPORTED_PROTOCOL_VERSION: "Unsupported protocol version",
}


class Query(NamedTuple):
    """What a request says of itself in its query, checked but for its session."""

    transport: str
    sid: str | None
    version: str
    script: str | None = None  # for the page of which function (JSONP), in version 3
    base64: bool = False  # that the client can't read bytes, in version 3


_SCRIPT: Final = re.compile("[0-9]{1,10}")  # a number: anything else would be code


def check_query(
    method: str, query: Mapping[str, Sequence[str]], options: Options, *, upgrade: bool
) -> Query:
    """Check the query of a request; ``upgrade`` is whether it asks for a WebSocket.

    Raises `RemoteProtocolError` whose code is one of `ERRORS`. Parameters that
    the protocol doesn't know (`t` of old clients, or an application's own) are
    ignored. A parameter given twice has no value that both sides agree on.
    """
    # In the reference's order: a request with several faults gets the same code.
    transport = _single(query, "transport")
    if transport not in options.transports:
        raise refusal(UNKNOWN_TRANSPORT)
    sid = _single(query, "sid") if "sid" in query else None
    if sid is None and method != "GET":
        raise refusal(BAD_HANDSHAKE_METHOD)
    if upgrade != (transport == WEBSOCKET) and (upgrade or sid is None):
        raise refusal(BAD_REQUEST)
    version = _single(query, "EIO")
    served = (PROTOCOL, OLD_PROTOCOL) if options.allow_eio3 else (PROTOCOL,)
    if sid is None and version not in served:
        raise refusal(UNSUPPORTED_PROTOCOL_VERSION)
    if version != OLD_PROTOCOL:
        return Query(transport, sid, version)
    script = _single(query, "j") if "j" in query and not upgrade else None
    if script is not None and not _SCRIPT.fullmatch(script):
        raise refusal(BAD_REQUEST)
    return Query(transport, sid, version, script, "b64" in query or script is not None)


def check_session(query: Query, session: Session, *, upgrade: bool) -> None:
    """Whether a request with this query is one of the session's.

    Raises `RemoteProtocolError` for one over a transport that the session has left, or
    of another version of the protocol than its handshake's.
    """
    revision = session.revision
    here = (session.transport, revision.script)
    if query.version != revision.version or not (
        upgrade or (query.transport, query.script) == here
    ):
        raise refusal(BAD_REQUEST)


def _single(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name, ())
    return values[0] if len(values) == 1 else ""


def refusal(code: int) -> RemoteProtocolError:
    """An error of `ERRORS`, to be raised."""
    return RemoteProtocolError(ERRORS[code], code)


def error_body(code: int, message: str = "") -> bytes:
    """The reference server's body for an error of `ERRORS`, whose message may be another."""
    error = {"code": code, "message": message or ERRORS[code]}
    return json.dumps(error, separators=(",", ":")).encode()
