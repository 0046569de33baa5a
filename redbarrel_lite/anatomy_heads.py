r"""The anatomy of the heads of HTTP/1.1, and of the opening handshake of a WebSocket.

What it implements: the lines of a request's and of an answer's head (RFC 9112 3 to 5),
right or wrong, what each field means, and the handshake in them (RFC 6455 4). What it
leaves out: the verdict on the head, which `anatomy_http` asks of the rooms.

In one line::

    layer = head_layer(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", CLIENT)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from . import http1, wsproto_handshake
from .anatomy import CLIENT, Fault, Field, Layer, Sender, guilty, printable, shown
from .anatomy_engineio import is_query, query_layer
from .anatomy_fields import FIELDS, METHODS, SECRET_FIELDS, status_means
from .engineio import Options
from .errors import RemoteProtocolError

_LINE: Final = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_REQUEST_LINE: Final = re.compile(r"([^ ]*)(?: ([^ ]*)(?: (.*))?)?")
_STATUS_LINE: Final = re.compile(r"(HTTP/[^ ]*)(?: ([^ ]*)(?: (.*))?)?")
_FIELD: Final = re.compile(r"([^:]*):[ \t]*(.*?)[ \t]*")
_ABSOLUTE: Final = re.compile("https?://", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"[^/?#\s]+:[0-9]+")
_BEYOND_ASCII: Final = re.compile(r"[^\0-\x7f]")
_SYNTAX: Final = "RFC 9112 5"
_HANDSHAKE: Final = "RFC 6455 4.2.1"


def head_layer(data: bytes, sender: Sender, asked: str = "") -> Layer:
    """A head, or the beginning of one, as what its lines say.

    ``asked`` is the method that an answer answers, if that is known.
    """
    text = data.decode("latin-1")
    name = "HTTP request" if sender == CLIENT else "HTTP response"
    section = "RFC 9112 3" if sender == CLIENT else "RFC 9112 4"
    layer = Layer(name, data, sender, "nothing but empty lines", section)
    at = 0
    special: dict[str, tuple[str, str]] = {}
    while at < len(text):
        match = _LINE.match(text, at)
        assert match is not None  # anything is a line
        line, start, at = match[1], at, match.end()
        if not line:
            if layer.fields:
                layer.fields.append(_blank(start, at))
        elif not layer.fields:
            layer.summary = printable(_meant(line))
            if sender == CLIENT:
                layer.fields += _request_line(line, start)
            else:
                layer.fields += _status_line(line, start, is_whole=at > match.end(1))
            special = _special_meanings(layer, asked)
        else:
            layer.fields.append(_field_line(line, start, special))
    return layer


def _blank(start: int, end: int) -> Field:
    return Field(start, end, "empty line", "", "the end of the head", "RFC 9112 2.1")


def _request_line(line: str, at: int) -> Iterator[Field]:
    match = _REQUEST_LINE.fullmatch(line)
    assert match is not None  # each part but the first may be missing
    method, target, version = match.groups()
    means, section = METHODS.get(method, ("a method of the application's own", "RFC 9110 9.1"))
    yield Field(at, at + len(method), "method", printable(method), means, section)
    if target is not None:
        start = at + match.start(2)
        means, section = _target_means(method, target)
        # Somebody's name and password may stand before a host.
        secret = target.find("//") + 2 if "@" in target.partition("?")[0] else None
        if secret is None:
            means += _as_path(target) + _as_bytes(target)
        yield Field(
            start,
            start + len(target),
            "request-target",
            shown(_meant(target)),
            means,
            section,
            secret=secret,
        )
    if version is not None:
        start = at + match.start(3)
        end = start + len(version)
        yield Field(start, end, "HTTP-version", printable(version), "the protocol", "RFC 9112 2.3")


def _target_means(method: str, target: str) -> tuple[str, str]:
    """What the form of a target says, and where that stands."""
    if method == "CONNECT":
        return "the host and the port to tunnel to", "RFC 9112 3.2.3"
    if target.startswith("/"):
        return "what is asked for: a path, and a query", "RFC 9112 3.2.1"
    if _ABSOLUTE.match(target):
        return "what is asked for: a whole url, as proxies are asked", "RFC 9112 3.2.2"
    if target == "*":
        return "the server as a whole, and no path of it: for OPTIONS", "RFC 9112 3.2.4"
    if _AUTHORITY.fullmatch(target):
        return "a host and a port, which only CONNECT asks for", "RFC 9112 3.2.3"
    return "neither a path nor a url", "RFC 9112 3.2"


def _special_meanings(head: Layer, asked: str) -> dict[str, tuple[str, str]]:
    """What some fields say behind this first line, and not behind others."""
    words = {one.name: one.value for one in head.fields}
    if head.sender == CLIENT:
        if _ABSOLUTE.match(words.get("request-target", "").removeprefix('"')):
            means = "the host once more: that of the target counts, and both must be the same"
            return {"host": (means, "RFC 9112 3.2.2")}
        return {}
    status = words.get("status-code", "")
    if status.startswith("1") or status == "204":
        means = "bytes of content: to this status there is none, and it must not be told"
    elif status == "304":
        means = "bytes of content that a 200 would have had: no content follows a 304"
    elif asked == "HEAD":
        means = "bytes of content that GET would have been given: to HEAD none follows"
    elif not asked:
        means = "bytes of content that follow the head, unless HEAD was asked: then none follows"
    else:
        return {}
    return {"content-length": (means, "RFC 9110 8.6")}


# -- bytes that are no ASCII -----------------------------------------------------------------


def _meant(text: str) -> str:
    """Latin-1, as heads are read, as the UTF-8 that it was; itself if it was none."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


def _as_bytes(text: str) -> str:
    """Words for the bytes of a text of Latin-1 that are no ASCII."""
    data = text.encode("latin-1")
    try:
        beyond = _BEYOND_ASCII.search(data.decode())
    except UnicodeDecodeError as error:
        bad = data[error.start : error.start + 1].hex()
        return f"; {bad} is no UTF-8: maybe Latin-1, of old (RFC 9110 5.5)"
    if beyond is None:
        return ""
    return f'; {beyond[0].encode().hex(" ")} is "{printable(beyond[0])}" in UTF-8'


def _as_path(target: str) -> str:
    """A path without its percent signs, where it has some (RFC 3986 2.1)."""
    path = _meant(target.partition("?")[0])
    try:
        meant = unquote(path, errors="strict")
    except UnicodeDecodeError:
        return ""
    return "" if meant == path else f": {shown(meant)}"


def _status_line(line: str, at: int, *, is_whole: bool) -> Iterator[Field]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        yield Field(at, at + len(line), "line", shown(line), "no status line", "RFC 9112 4")
        return
    version, status, reason = match.groups()
    yield Field(
        at, at + len(version), "HTTP-version", printable(version), "the protocol", "RFC 9112 2.3"
    )
    if status is not None:
        start = at + match.start(2)
        number = int(status) if re.fullmatch("[0-9]{3}", status) else 0
        means = status_means(number)
        yield Field(
            start, start + len(status), "status-code", printable(status), means, "RFC 9110 15"
        )
    if reason:
        start = at + match.start(3)
        yield Field(
            start,
            at + len(line),
            "reason-phrase",
            shown(_meant(reason)),
            "for people",
            "RFC 9112 4",
        )
    elif status is not None and reason is None and is_whole:
        means = "missing: the blank belongs there with no reason, too; most clients read it without"
        yield Field(at + len(line), at + len(line), "blank", "", means, "RFC 9112 4")


def _field_line(line: str, at: int, special: dict[str, tuple[str, str]]) -> Field:
    match = _FIELD.fullmatch(line)
    if match is None or line[:1] in ("\t", " "):
        # It may be the rest of a secret one.
        means = "no field: it has no colon" if match is None else "no field: it begins with a blank"
        return Field(at, at + len(line), "line", shown(_meant(line)), means, _SYNTAX, secret=0)
    name, value = match.groups()
    known = special.get(name.lower()) or FIELDS.get(name.lower())
    means, section = known or ("a field that HTTP itself does not know", _SYNTAX)
    if name.lower() == "sec-websocket-key":
        accept = wsproto_handshake.accept_key(printable(value))
        means = f"{means}: Sec-WebSocket-Accept: {accept}"
    holds_user = name.lower() == "host" and "@" in value
    if name.strip().lower() in SECRET_FIELDS or holds_user:
        start = at + match.start(2)
        return Field(
            start,
            start + len(value),
            printable(name[:40]) or "(no name)",
            shown(_meant(value)),
            means,
            section,
            secret=0,
        )
    means += _as_bytes(value)
    name = printable(name[:40]) or "(no name)"
    return Field(at, at + len(line), name, shown(_meant(value)), means, section)


# -- what a request says beyond HTTP ---------------------------------------------------------


def upgrade_layers(layer: Layer, request: http1.Request, options: Options) -> Iterator[Layer]:
    """The query of an Engine.IO request, and the handshake of a WebSocket."""
    upgrade = "websocket" in request.upgrade
    query = request.target.partition("?")[2]
    if is_query(query):
        yield query_layer(request.method, query, options, upgrade=upgrade)
    if upgrade:
        yield _handshake_layer(layer, request)


def _handshake_layer(head: Layer, request: http1.Request) -> Layer:
    fields = [one for one in head.fields if one.name.lower().startswith("sec-websocket-")]
    layer = Layer("WebSocket handshake", head.data, CLIENT, "", _HANDSHAKE, fields)
    try:
        answer = wsproto_handshake.accept(request.method, request.version, request.headers)
    except RemoteProtocolError as error:
        layer.summary = "handshake, refused"
        layer.fault = Fault(_place(head, str(error)), str(error), error.code)
    else:
        layer.summary = f"handshake, to be answered by Sec-WebSocket-Accept: {answer[1][1]}"
    return layer


def _place(head: Layer, reason: str) -> int:
    """What in a head the handshake's room speaks of; the end of the head where it lacks."""
    subject = reason.partition(" ")[0].lower()
    if subject in ("a", "no"):
        wanted = "method" if subject == "a" else "http-version"
        return next(one.start for one in head.fields if one.name.lower() == wanted)
    places = [one for one in head.fields if one.name.lower() == subject]
    if not places:
        return len(head.data) - 2
    line = head.data[places[-1].start : places[-1].end].decode("latin-1")
    value = line.partition(":")[2].strip(" \t")
    good = _HANDSHAKE_FIELDS[subject]

    def is_right(start: str) -> bool:
        try:
            wsproto_handshake.accept("GET", "1.1", {**_HANDSHAKE_FIELDS, subject: start}.items())
        except RemoteProtocolError:
            return False
        return True

    at = guilty(value, is_right, lambda start: (good[len(start) :], f",{good}"))
    return places[-1].start + line.rindex(value) + at


_HANDSHAKE_FIELDS: Final = {
    "upgrade": "websocket",
    "connection": "upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": f"{'A' * 22}==",
}


def is_handshake(layer: Layer) -> bool:
    """Whether a request's head is the opening handshake of a WebSocket, and right."""
    found = [one for one in layer.inner if one.name == "WebSocket handshake"]
    return bool(found) and found[0].fault is None
