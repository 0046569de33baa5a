r"""The anatomy of Engine.IO: packets, polling payloads, the query of a request.

What it implements: the fields of Engine.IO protocol 4, "Packet encoding", of payloads
of 4 and of 3, and of a request's query, and where they are wrong. What it leaves out:
the verdict, which is that of `engineio`, `engineio_v3`, `engineio_client` and
`engineio_query`.

In one line::

    layer = Packets(CLIENT, no_layers).payload("4hello\x1e4world")
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

from . import engineio, engineio_client, engineio_query
from .anatomy import (
    CLIENT,
    MAX_SEARCHED,
    Carried,
    Fault,
    Field,
    Layer,
    Sender,
    counted,
    first_fault,
    guilty,
    json_endings,
    json_parts,
    offset,
    printable,
    shown,
    utf8,
)
from .engineio import (
    BINARY,
    CLOSE,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    POLLING,
    PONG,
    PROBE,
    SEPARATOR,
    UPGRADE,
    WEBSOCKET,
    Options,
)
from .errors import RemoteProtocolError

ENCODING: Final = "Engine.IO 4, Packet encoding"
_PAYLOAD: Final = "Engine.IO 4, HTTP long-polling"
_HANDSHAKE: Final = "Engine.IO 4, Handshake"
_HEARTBEAT: Final = "Engine.IO 4, Heartbeat"
_UPGRADE: Final = "Engine.IO 4, Upgrade"

TYPES: Final = {
    OPEN: ("open", "the server's first packet: what the session is", _HANDSHAKE),
    CLOSE: ("close", "the session ends", ENCODING),
    PING: ("ping", "the server asks whether the client is there", _HEARTBEAT),
    PONG: ("pong", "it is", _HEARTBEAT),
    MESSAGE: ("message", "what follows is for the layer above", ENCODING),
    UPGRADE: ("upgrade", "the client moves the session to this WebSocket", _UPGRADE),
    NOOP: ("noop", "nothing: it ends a poll, so that an upgrade can go on", _UPGRADE),
    BINARY: ("binary", "a message of bytes, in base64", _PAYLOAD),
}
_PROBES: Final = {
    PING + PROBE: ("ping", "the client tries a WebSocket, before it moves there"),
    PONG + PROBE: ("pong", "the server has heard it there"),
}

_OPEN_MEMBERS: Final = {
    "sid": "the session's id, which each request of it has in its query",
    "upgrades": "transports that the client may move to",
    "pingInterval": "milliseconds between two pings",
    "pingTimeout": "milliseconds that a pong may take",
    "maxPayload": "bytes that one POST, or one WebSocket message, may have",
}
SHOWN_OF_SID: Final = 4

_JUDGED_AT: Final = 0.0  # rooms are told the time; ours stands still
_HANDSHAKE_FOR_JUDGES: Final = (
    '0{"sid":"x","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,'
    '"maxPayload":1000000}'
)


class Packets:
    """The packets of one direction of a session. ``carried`` makes the layers of messages."""

    def __init__(self, sender: Sender, carried: Carried) -> None:
        self._sender = sender
        self._carried = carried
        self._session: _Session | None = None  # which hears it all, and judges
        self._is_over = False  # behind a close packet, and behind a fault, nothing is read

    def message(self, message: str | bytes) -> Layer:
        """A WebSocket message, which is one packet."""
        if self._is_over:
            return _not_read(message, self._sender)
        judge, error = self._hear(message, WEBSOCKET, _hear)
        if isinstance(message, bytes):
            layer = self._bytes(message)
            at = 0
        else:
            layer = self._packet(message)
            at = guilty(message, lambda start: judge(start) is None, _endings) if error else 0
            at = offset(message, at)
        if error is not None:
            layer.fault = Fault(at, str(error), error.code)
        return layer

    def payload(self, payload: str) -> Layer:
        """The content of a POST, or of the answer to a GET: packets, parted by U+001E."""
        if self._is_over:
            return _not_read(payload, self._sender)
        judge, error = self._hear(payload, POLLING, _hear_payload)
        packets = payload.split(SEPARATOR)
        right = packets.index(CLOSE) + 1 if CLOSE in packets else len(packets)
        at = len(payload)
        if error is not None:
            at = _place_in_payload(payload, judge)
            right = payload.count(SEPARATOR, 0, at)
        if len(packets) > 1:
            layer = self._packets(packets, right, None if error is None else right)
        else:
            layer = self._packet(payload)
        if error is not None and first_fault(layer.inner) is None:
            layer.fault = Fault(offset(payload, at), str(error), error.code)
        return layer

    def _hear(
        self, said: str | bytes, transport: str, hear: Callable[[_Session, Any], None]
    ) -> tuple[_Judge, RemoteProtocolError | None]:
        """What the room says to it, and what would say the same to something else instead."""
        before = deepcopy(self._session)

        def session_for(what: str | bytes) -> _Session:
            return deepcopy(before) if before else _session(self._sender, transport, what)

        def judge(what: str) -> RemoteProtocolError | None:
            return _refusal(partial(hear, session_for(what)), what)

        self._session = session_for(said)
        error = _refusal(partial(hear, self._session), said)
        self._session.take_packets()  # what it would answer
        self._is_over = error is not None or _is_closed(self._session)
        return judge, error

    def _packets(self, packets: list[str], right: int, wrong: int | None) -> Layer:
        """A payload of several packets: so many are read, and that one is wrong."""
        payload = SEPARATOR.join(packets)
        summary = f"payload of {counted(len(packets), 'packet')}"
        layer = Layer("Engine.IO payload", utf8(payload), self._sender, summary, _PAYLOAD)
        at = 0
        for number, packet in enumerate(packets):
            end = at + len(utf8(packet))
            if at:
                what = "U+001E, between two packets"
                layer.fields.append(Field(at - 1, at, "separator", "1e", what, _PAYLOAD))
            name = TYPES[packet[:1]][0] if packet[:1] in TYPES else "packet"
            layer.fields.append(Field(at, end, name, shown(packet), "", _PAYLOAD))
            if number < right:
                layer.inner.append(self._packet(packet))
            elif number == wrong:
                layer.inner.append(packet_layer(packet, self._sender))
            else:
                layer.inner.append(_not_read(packet, self._sender))
            at = end + 1
        return layer

    def _bytes(self, message: bytes) -> Layer:
        means = "bytes go as they are, without a type"
        layer = Layer(
            "Engine.IO packet",
            message,
            self._sender,
            f"message of {counted(len(message), 'byte')}",
            ENCODING,
            [Field(0, len(message), "binary message", shown(message), means, ENCODING)],
            is_text=False,
        )
        layer.inner += self._carried(message)
        return layer

    def _packet(self, packet: str) -> Layer:
        layer = packet_layer(packet, self._sender)
        kind = packet[:1]
        if kind == MESSAGE:
            layer.inner += self._carried(packet[1:])
            if layer.inner:  # which say what it is
                layer.summary = "message"
            elif packet[1:2] == "0" and self._sender == CLIENT:
                # A CONNECT gone wrong, with what was to let its sender in.
                layer.fields[-1] = layer.fields[-1]._replace(secret=1)
        elif kind == BINARY:
            with contextlib.suppress(ValueError):  # the room has said so
                layer.inner += self._carried(engineio.decode_binary(packet[1:]))
        return layer


def _not_read(message: str | bytes, sender: Sender) -> Layer:
    """What comes too late: behind a close packet, or a wrong one."""
    data = message if isinstance(message, bytes) else utf8(message)
    means = "not read: it is too late"
    secret = 0 if sender == CLIENT else None  # what it would carry has not been looked through
    what = Field(0, len(data), "not read", shown(message), means, ENCODING, secret=secret)
    summary = f"{counted(len(data), 'byte')}, not read"
    is_text = isinstance(message, str)
    return Layer("Engine.IO packet", data, sender, summary, ENCODING, [what], is_text=is_text)


# -- the verdict of the rooms ------------------------------------------------------------


_Session: TypeAlias = engineio.Session | engineio_client.Session
_Judge: TypeAlias = Callable[[str], RemoteProtocolError | None]


def _session(sender: Sender, transport: str, first: str | bytes) -> _Session:
    """The session that hears ``sender``, from this on: a handshake, an upgrade, or in its midst."""
    if sender == CLIENT:
        is_probe = transport == WEBSOCKET and first in (PING + PROBE, UPGRADE)
        session = engineio.Session("x", POLLING if is_probe else transport, Options(), _JUDGED_AT)
        if is_probe:
            session.start_probe(_JUDGED_AT)
        if is_probe and first == UPGRADE:
            session.receive_probe(PING + PROBE, _JUDGED_AT)
        return session
    is_probe = transport == WEBSOCKET and first == PONG + PROBE
    client = engineio_client.Session(POLLING if is_probe else transport)
    if isinstance(first, bytes) or not first.startswith(OPEN):
        client.receive(_HANDSHAKE_FOR_JUDGES, _JUDGED_AT)
    if is_probe:
        client.start_probe()
    return client


def _hear(session: _Session, message: str | bytes) -> None:
    """Raises `RemoteProtocolError` where the room does, for a packet in a WebSocket message."""
    if session.upgrade is engineio.Upgrade.NONE:
        session.receive(message, _JUDGED_AT)
    elif isinstance(session, engineio.Session):
        session.receive_probe(message, _JUDGED_AT)
    else:
        session.receive_probe(message)
        session.finish_upgrade()


def _hear_payload(session: _Session, payload: str) -> None:
    """The same for a polling payload."""
    session.receive_payload(payload, _JUDGED_AT)


def _is_closed(session: _Session) -> bool:
    return session.closed_because is not None


def _refusal(hear: Callable[[Any], None], what: str | bytes) -> RemoteProtocolError | None:
    try:
        hear(what)
    except RemoteProtocolError as error:
        return error
    return None


def _place_in_payload(payload: str, judge: _Judge) -> int:
    def is_right(start: str) -> bool:
        return judge(start) is None

    if len(payload) <= MAX_SEARCHED:
        return guilty(payload, is_right, _endings)
    at = 0
    for packet in payload.split(SEPARATOR):
        if not is_right(packet):
            return at + guilty(packet, is_right, _endings)
        at += len(packet) + len(SEPARATOR)
    return 0  # each is right: they are too many


def _endings(start: str) -> list[str]:
    """What may make a packet, or a payload, of its beginning."""
    rest = ["", "4", "A", "AA", "AAA", "A==", "probe", "robe", "obe", "be", "e"]
    if start.startswith(OPEN):
        # Of the handshake the room wants all members.
        members = _HANDSHAKE_FOR_JUDGES[2:-1]
        # Each may come again, so that the last one counts.
        rest += [f"{more[:-1]},{members}}}" for more in json_endings(start) if more[-1:] == "}"]
        rest += [*json_endings(start), f"{{{members}}}", members + "}"]
    return rest


# -- the fields of one packet --------------------------------------------------------------


def packet_layer(packet: str, sender: Sender) -> Layer:
    """A packet, or what should be one, as what its characters say."""
    data = utf8(packet)
    layer = Layer("Engine.IO packet", data, sender, shown(packet), ENCODING)
    kind = packet[:1]
    if kind not in TYPES:
        what = "no packet: it does not begin with a type from 0 to 6"
        layer.fields.append(Field(0, len(data), "text", shown(packet), what, ENCODING))
        return layer
    name, means, section = TYPES[kind]
    layer.summary = name
    if packet in _PROBES:
        name, means = _PROBES[packet]
        section, layer.summary = _UPGRADE, f"{name} probe"
    layer.fields.append(Field(0, 1, "packet type", kind, f"{name}: {means}", section))
    rest = packet[1:]
    if kind == OPEN:
        _add_handshake(layer, packet)
    elif kind == BINARY:
        layer.summary = f"message in base64, {counted(len(rest), 'character')}"
        what = "base64 of the message" if rest else "nothing: a message of no bytes"
        layer.fields.append(Field(1, len(data), "message", shown(rest), what, "RFC 4648 4"))
    elif rest:
        what = "the message, for the layer above" if kind == MESSAGE else ""
        if packet in _PROBES:
            what = "the word that tells a probe from a heartbeat"
        part = "probe" if packet in _PROBES else "message" if kind == MESSAGE else "data"
        layer.fields.append(Field(1, len(data), part, shown(rest), what, section))
        if kind == MESSAGE:
            layer.summary = f"message {shown(rest)}"
    elif kind == MESSAGE:
        layer.summary = "message, empty"
    return layer


def _add_handshake(layer: Layer, packet: str) -> None:
    for name, start, end in json_parts(packet, 1):
        value = printable(packet[start:end][:60])
        secret = SHOWN_OF_SID if name == "sid" else None
        if name == "sid":
            layer.summary = f"open sid={printable(packet[start + 1 : end - 1])[:40]}"
        quote = int(packet[start] == '"')
        layer.fields.append(
            Field(
                offset(packet, start + quote),
                offset(packet, end - quote),
                printable(name[:20]),
                value,
                _OPEN_MEMBERS.get(name, "not of the protocol"),
                _HANDSHAKE,
                secret=secret,
            )
        )


# -- the query of a request ------------------------------------------------------------------

_PARAMETERS: Final = {
    "EIO": "the version of the protocol: 4, or 3 of old clients",
    "transport": "polling or websocket",
    "sid": "the session, which this request belongs to; without one it asks for a new session",
    "t": "a value that caches have not seen, of old clients",
    "j": "the function that a script calls with the answer (JSONP, version 3)",
    "b64": "the client can't read bytes (version 3)",
}
_OLD_VERSION: Final = "version 3, of old clients: a server hears it with `allow-eio3 on`"
_QUERY: Final = "Engine.IO 4, Query parameters"
_PAIR: Final = re.compile(r"([^&=]*)=?([^&]*)(?:&|\Z)")


def is_query(query: str) -> bool:
    """Whether a query is one of Engine.IO."""
    return re.search(r"(?:^|&)(?:EIO|transport)=", query) is not None


def query_layer(method: str, query: str, options: Options, *, upgrade: bool) -> Layer:
    """The query of a request to a server with these options."""
    layer = Layer("Engine.IO query", utf8(query), CLIENT, "", _QUERY)
    for found in _PAIR.finditer(query):
        name, value = found.groups()
        if name not in _PARAMETERS:
            continue
        start, end = found.start(2), found.end(2)
        secret = SHOWN_OF_SID if name == "sid" else None
        at = offset(query, start), offset(query, end)
        means = _OLD_VERSION if (name, value) == ("EIO", "3") else _PARAMETERS[name]
        what = Field(*at, name, printable(value[:60]), means, _QUERY, secret=secret)
        layer.fields.append(what)
    layer.summary = " ".join(f"{one.name}={one.value}" for one in layer.fields)
    try:
        parameters = parse_qs(query, keep_blank_values=True)
        engineio_query.check_query(method, parameters, options, upgrade=upgrade)
    except RemoteProtocolError as error:
        # The room says what the reference says to clients, and that names no rule.
        told = f"{error} ({_QUERY})"
        layer.fault = Fault(_place_in_query(layer, error.code), told, error.code)
    return layer


def _place_in_query(layer: Layer, code: int) -> int:
    """The parameter that an error code is about, the last of that name; or where it lacks."""
    names = {
        engineio_query.UNKNOWN_TRANSPORT: ("transport",),
        engineio_query.BAD_HANDSHAKE_METHOD: ("sid",),
        engineio.BAD_REQUEST: ("transport", "j"),
        engineio_query.UNSUPPORTED_PROTOCOL_VERSION: ("EIO",),
    }.get(code, ())
    places = [one.start for one in layer.fields if one.name in names]
    return places[-1] if places else len(layer.data)
