"""The table of RBR: every key, where it stands, what it takes and what it is for.

Parser, checker, formatter, suggestions, the `__doc__` page and docs/rbr.md read
this table, so that none of them can know a key that another does not. Used as
``PATH_KEYS["ping-interval"].default``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

HTTP_VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
SOCKET_VERBS = ("SOCKETIO", "ENGINEIO", "WEBSOCKET")
VERBS = HTTP_VERBS + SOCKET_VERBS

DEFAULT_URLS = {"SOCKETIO": "/socket.io/", "ENGINEIO": "/engine.io/", "WEBSOCKET": "/ws"}

TRANSPORTS = ("polling", "websocket")
BUILT_IN_TYPES = ("json", "int", "float")

# The prefixes of locations, and what stands behind each; `location` is 0.9's word for `file`.
LOCATION_KINDS = {
    "python": "a dotted name",
    "file": "a path",
    "directory": "a path",
    "location": "a path",
    "proxy": "a url such as http://localhost:5000",
    "wsgi": "a dotted name",
}

# A dotted name that ends so was meant for a file.
FILE_ENDINGS = (".html", ".htm", ".css", ".js", ".txt", ".json", ".png", ".svg", ".ico", ".py")

Kind = Literal[
    "text", "number", "bytes", "count", "seconds", "version", "url", "verbs",
    "transports", "switch", "location", "section", "origin", "token",
]  # fmt: skip

# What a value of each kind looks like, for messages and for docs/rbr.md.
EXAMPLES: dict[Kind, str] = {
    "text": '"…"',
    "number": "10",
    "bytes": "65536",
    "count": "100",
    "seconds": "20",
    "version": "1.0",
    "url": "/something",
    "verbs": "GET|POST",
    "transports": "polling|websocket",
    "switch": "on",
    "location": "python:module.function",
    "section": "( ... )",
    "origin": '"https://example.org"',
    "token": '"chat.v1"',
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section.

    ``high`` and ``low`` bound numbers; ``default`` is written as in a file, and
    empty where there is none; ``only_sockets`` keys mean nothing for a GET.
    """

    name: str
    kind: Kind
    help: str
    default: str = ""
    low: float = 0
    high: float = float("inf")
    is_repeated: bool = field(default=False, kw_only=True)
    only_sockets: bool = field(default=False, kw_only=True)


def _table(*keys: Key) -> dict[str, Key]:
    return {key.name: key for key in keys}


def _socket(
    name: str,
    kind: Kind,
    purpose: str,
    default: str,
    low: float = 0,
    high: float = float("inf"),
) -> Key:
    return Key(name, kind, purpose, default, only_sockets=True, low=low, high=high)


_DAY_S = 86_400
_GIB = 1 << 30

META_KEYS = _table(
    Key("title", "text", "the name of the application"),
    Key("version", "version", "the version of the API, kept as written"),
    Key("description", "text", "what the application is for, for people"),
)

PATH_KEYS = _table(
    Key("description", "text", "what the service does, for people"),
    Key("method", "verbs", "the verbs it answers, joined by '|'", "GET"),
    Key("url", "url", "where it is found; '{name}' fits one segment"),
    Key("use", "location", "what answers: a callable, a file, a folder, a server"),
    Key("max-body", "bytes", "the largest request body", "1048576", high=_GIB),
    Key("allow-origin", "origin", "an origin whose pages may call it; \"*\" is any",
        is_repeated=True),
    Key("request-description", "text", "what to send, for people"),
    Key("request-headers", "section", "rules for the headers of the request"),
    Key("request-body", "section", "rules for the body of the request"),
    Key("request-status", "section", "what the status codes mean"),
    Key("response-headers", "section", "rules for the headers of the answer"),
    Key("response-body", "section", "rules for the body of the answer"),
    Key("response-status", "section", "what the status codes mean"),
    _socket("namespace", "url", "the Socket.IO namespace", "/"),
    _socket("ping-interval", "seconds", "between two pings", "25", 0.05, _DAY_S),
    _socket("ping-timeout", "seconds", "that a pong may take", "20", 0.05, _DAY_S),
    _socket("max-payload", "bytes", "the largest message", "1000000", 1, _GIB),
    _socket("max-fragments", "count", "frames that one message may come in", "1024", 1, 1_000_000),
    _socket("connect-timeout", "seconds", "until a client must join a namespace", "45",
            0.05, _DAY_S),
    _socket("upgrade-timeout", "seconds", "that an upgrade may take", "10", 0.05, _DAY_S),
    _socket("transports", "transports", "those offered, joined by '|'", "polling|websocket"),
    _socket("compression", "switch", "permessage-deflate (RFC 7692)", "off"),
    Key("subprotocol", "token", "a WebSocket subprotocol that it speaks",
        is_repeated=True, only_sockets=True),
    _socket("recovery", "seconds", "a dropped session is kept for its client", "0", 0, _DAY_S),
    _socket("allow-eio3", "switch", "let clients of Engine.IO 3 in", "off"),
    _socket("max-connections", "count", "sessions at the same time; 0 is no limit", "0",
            0, 10_000_000),
    _socket("max-rate", "number", "events a second and client; 0 is no limit", "0", 0, 1_000_000),
)  # fmt: skip

# Options of a socket path that are its own even where it shares the url, and so the transport.
OWN_OPTIONS = ("namespace", "subprotocol", "max-rate")

# Events that a socket itself makes; `on` lines may be about the first two of them. The
# others are the reference's own, and a client that sends one breaks its protocol.
OF_THE_SOCKET = ("connect", "disconnect")
RESERVED = ("connect_error", "disconnecting", "newListener", "removeListener")

# What other servers call them.
LIKE_OUR_EVENTS = {
    "connection": "connect",
    "connected": "connect",
    "disconnection": "disconnect",
    "disconnected": "disconnect",
}

# Sections of a path that hold rules: all of them take a description and operations.
RULE_KEYS = _table(
    Key("description", "text", "what is sent or returned, for people"),
)

DEFINITIONS = {
    "path": "path NAME ( ... );",
    "define": "define path NAME ( ... );",
    "meta": "meta ( ... );",
    "global": "global NAME value;",
    "type": "type NAME python:module.Class;",
    "root": "root /prefix;",
    "socket": "socket [NAME] python:module.function;",
    "include": 'include "other.rbr" at /prefix;',
    "worker": "worker NAME python:module.Class;",
    "arbiter": "arbiter NAME python:module.Class;",
}

OPERATIONS = {
    "unless": "unless type is json return 400",
    "on": "on error return 503",
    "set": 'set Content-Type "text/css"',
    "describe": 'describe 200 "Success"',
    "alter": "alter with python:module.function",
}


def is_custom(key: str) -> bool:
    """``x-…`` belongs to the author: read, kept, never judged."""
    return key.startswith("x-")


def keys_of(section: str) -> dict[str, Key]:
    """The table of a section by its name: ``path``, ``meta`` or, for the rest, rules."""
    return {"path": PATH_KEYS, "meta": META_KEYS}.get(section, RULE_KEYS)


def all_keys() -> Iterable[str]:
    return {**META_KEYS, **PATH_KEYS, **RULE_KEYS}
