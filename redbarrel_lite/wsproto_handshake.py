"""The opening handshake of a WebSocket, the server's side, without I/O.

What it implements: RFC 6455 section 4.2, and the choice of a subprotocol (1.9). What it
leaves out: extensions (`deflate`), and the client's side (`wsproto_client`).

In one line::

    headers = accept("GET", "1.1", [("upgrade", "websocket"), ("connection", "Upgrade"), ...])
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Final

from .errors import RemoteProtocolError

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


def accept(method: str, version: str, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Check a client's opening handshake; return the header fields of the 101.

    ``headers`` have names in lower case. Raises `RemoteProtocolError` with the
    status to answer: 405, 400, or 426 where another protocol or version is asked
    for, and then the answer must carry `UPGRADE_REQUIRED` (RFC 6455 4.2.1, 4.2.2).
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    if method != "GET":
        raise RemoteProtocolError(
            f"a WebSocket starts with GET, not {method} (RFC 6455 4.2.1)", 405
        )
    if version != "1.1":
        raise RemoteProtocolError(f"no upgrade from HTTP/{version} (RFC 6455 4.2.1)", 400)
    if "websocket" not in _tokens(fields.get("upgrade", [])):
        raise RemoteProtocolError("Upgrade does not say websocket (RFC 6455 4.2.1)", 426)
    if "upgrade" not in _tokens(fields.get("connection", [])):
        raise RemoteProtocolError("Connection does not say Upgrade (RFC 6455 4.2.1)", 400)
    if fields.get("sec-websocket-version") != ["13"]:
        raise RemoteProtocolError("Sec-WebSocket-Version is not 13 (RFC 6455 4.4)", 426)
    keys = fields.get("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        raise RemoteProtocolError(
            "Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455 4.2.1)", 400
        )
    return [("upgrade", "websocket"), ("sec-websocket-accept", accept_key(keys[0]))]


# What an answer 426 says instead (RFC 6455 4.4, RFC 9110 15.5.22 and 7.8).
UPGRADE_REQUIRED: Final = [
    ("upgrade", "websocket"),
    ("connection", "upgrade"),
    ("sec-websocket-version", "13"),
]


# What a subprotocol's name may consist of (RFC 6455 4.1, RFC 9110 5.6.2).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def choose_subprotocol(values: Iterable[str], known: Iterable[str] | None) -> str:
    """The first of a client's subprotocols that we know, too; "" for none.

    ``values`` are those of its Sec-WebSocket-Protocol fields, in which the one that it
    likes best comes first (RFC 6455 4.1). With None for ``known`` any will do that has
    the form of one: a token.
    """
    theirs = (name.strip("\t ") for value in values for name in value.split(","))
    if known is None:
        return next(filter(_TOKEN.fullmatch, theirs), "")
    ours = frozenset(known)
    return next((name for name in theirs if name in ours), "")


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key: proof that we speak it (RFC 6455 4.2.2)."""
    return base64.b64encode(
        hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    ).decode()


def _tokens(values: list[str]) -> set[str]:
    return {token.strip("\t ").lower() for value in values for token in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
