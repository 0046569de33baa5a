r"""The anatomy of Engine.IO 3: payloads in which each packet has its length in front.

What it implements: the fields of payloads of text and of bytes, of packets in WebSocket
messages, and where they are wrong. What it leaves out: the verdict, which is that of
`engineio_v3` and of the session, and what a server may send, for no room of ours hears it.

In one line::

    layer = OldPackets(CLIENT, no_layers).payload("6:4hello2:4€")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .anatomy import (
    CLIENT,
    Carried,
    Fault,
    Field,
    Layer,
    Sender,
    counted,
    first_fault,
    guilty,
    offset,
    shown,
    utf8,
)
from .anatomy_engineio import packet_layer
from .engineio import MESSAGE, PING, POLLING, PROBE, UPGRADE, WEBSOCKET, Options, Session
from .engineio_v3 import BINARY_MARK, LENGTH_END, TEXT_MARK, Revision3
from .errors import RemoteProtocolError

_SECTION: Final = "Engine.IO 3"
_LENGTH: Final = re.compile(r"([0-9]{1,10}):")
_JUDGED_AT: Final = 0.0  # the session is told the time; ours stands still
_MISSING: Final = "of which some are missing"


class _Cut(NamedTuple):
    """A packet of a payload: where its length begins, where it does, and where it ends."""

    start: int
    content: int
    end: int


class OldPackets:
    """The packets of one direction of a session of revision 3."""

    def __init__(self, sender: Sender, carried: Carried) -> None:
        self._sender = sender
        self._carried = carried

    def message(self, message: str | bytes) -> Layer:
        """A WebSocket message, which is one packet."""
        try:
            packet = _heard(message, self._sender, WEBSOCKET)
        except RemoteProtocolError as error:
            layer = _layer(message, self._sender)
            at = _place_in(message, self._sender, WEBSOCKET)
            layer.fault = Fault(at, str(error), error.code)
            return layer
        layer = self._packet(packet)
        if isinstance(message, bytes):
            layer.data = message
            means = "a message, of bytes"
            layer.fields[0] = layer.fields[0]._replace(start=1, end=len(message))
            layer.fields.insert(0, Field(0, 1, "packet type", "4", means, _SECTION))
        return layer

    def payload(self, payload: str | bytes) -> Layer:
        """The content of a POST, or of the answer to a GET."""
        packets: list[str | bytes] = []
        fault: RemoteProtocolError | None = None
        try:
            for packet in _all_heard(payload, self._sender):
                packets.append(packet)  # noqa: PERF402  # those before a bad one, too
        except RemoteProtocolError as error:
            fault = error
        data = utf8(payload) if isinstance(payload, str) else payload
        summary = f"payload of {counted(len(packets), 'packet')}"
        layer = Layer("Engine.IO 3 payload", data, self._sender, summary, _SECTION)
        layer.is_text = isinstance(payload, str)
        for cut in _cuts(payload):
            layer.fields += _fields(payload, cut)
        layer.inner += map(self._packet, packets)
        if fault is not None and first_fault(layer.inner) is None:
            layer.fault = Fault(_place(payload, self._sender), str(fault), fault.code)
        return layer

    def _packet(self, packet: str | bytes) -> Layer:
        layer = _layer(packet, self._sender)
        if isinstance(packet, bytes):
            layer.inner += self._carried(packet)
        elif packet.startswith(MESSAGE):
            layer.inner += self._carried(packet[1:])
        return layer


def _layer(packet: str | bytes, sender: Sender) -> Layer:
    if isinstance(packet, str):
        return packet_layer(packet, sender)
    summary = f"message of {counted(len(packet), 'byte')}"
    what = Field(0, len(packet), "binary message", shown(packet), "", _SECTION)
    return Layer("Engine.IO packet", packet, sender, summary, _SECTION, [what], is_text=False)


# -- the verdict of the rooms ------------------------------------------------------------


def _heard(message: str | bytes, sender: Sender, transport: str) -> str | bytes:
    """The packet of a message. Raises `RemoteProtocolError` where a room does."""
    packet = Revision3().unpack(message)
    is_of_upgrade = transport == WEBSOCKET and packet in (PING + PROBE, UPGRADE)
    if not is_of_upgrade:
        _judge(packet, sender, _session(transport))
    return packet


def _all_heard(payload: str | bytes, sender: Sender) -> Iterator[str | bytes]:
    """The same for a payload, packet by packet, up to one that closes the session."""
    session = _session(POLLING)
    for packet in Revision3().split(payload):
        _judge(packet, sender, session)
        yield packet
        if session.closed_because is not None:
            return


def _judge(packet: str | bytes, sender: Sender, session: Session) -> None:
    """What a server sends, only old clients read: it has a type at least."""
    if sender == CLIENT or (isinstance(packet, str) and packet[:1] not in [*"0123456"]):
        session.receive(packet, _JUDGED_AT)


def _session(transport: str) -> Session:
    return Session("x", transport, Options(allow_eio3=True), _JUDGED_AT, Revision3())


# -- where packets begin and end ---------------------------------------------------------


def _cuts(payload: str | bytes) -> Iterator[_Cut]:
    """The packets of a payload, by their lengths; the last may end beyond it."""
    at = 0
    while at < len(payload):
        if isinstance(payload, str):
            match = _LENGTH.match(payload, at)
            if match is None:
                return
            cut = _Cut(at, match.end(), _after_units(payload, match.end(), int(match[1])))
        else:
            end = payload.find(LENGTH_END, at + 2)
            digits = payload[at + 1 : end]
            if end < 0 or len(digits) > 10 or max(digits) > 9 or payload[at] > BINARY_MARK:
                return
            cut = _Cut(at, end + 1, end + 1 + int("".join(map(str, digits))))
        yield cut
        at = cut.end


def _after_units(text: str, at: int, units: int) -> int:
    """Where so many UTF-16 code units end, which is what a length counts."""
    while units > 0 and at < len(text):
        units -= 1 + (text[at] > "\uffff")
        at += 1
    return at + max(units, 0)


def _fields(payload: str | bytes, cut: _Cut) -> Iterator[Field]:
    content = payload[cut.content : cut.end]
    length = cut.content - 1
    if isinstance(payload, str):
        start, middle = offset(payload, cut.start), offset(payload, cut.content)
        value = payload[cut.start : length]
        yield Field(start, middle, "length", value, "UTF-16 code units that follow", _SECTION)
        yield Field(middle, offset(payload, cut.end), "packet", shown(content), "", _SECTION)
        return
    mark = payload[cut.start]
    kind = "text" if mark == TEXT_MARK else "binary"
    yield Field(cut.start, cut.start + 1, "kind", f"{mark}", f"a packet of {kind}", _SECTION)
    value = "".join(map(str, payload[cut.start + 1 : length]))
    yield Field(cut.start + 1, cut.content, "length", value, "a byte a digit, then ff", _SECTION)
    if content:
        end = cut.content + len(content)
        yield Field(cut.content, end, "packet", shown(content), "", _SECTION)


# -- where they are wrong ------------------------------------------------------------------


def _place(payload: str | bytes, sender: Sender) -> int:
    """The guilty byte of a payload: in a length, or in the packet that has come whole."""
    for cut in _cuts(payload):
        content = payload[cut.content : cut.end]
        part = payload[cut.start : cut.end]
        if cut.end <= len(payload) and content and not _is_right(part, sender):
            return _place_in_whole(payload, cut, sender)

    def is_right(start: str | bytes) -> bool:
        return _is_right(start, sender)

    if isinstance(payload, str):
        return offset(payload, guilty(payload, is_right, lambda _: ("", ":", "1:")))
    return guilty(payload, is_right, lambda _: (b"", b"\xff", b"\1\xff", b"\0\1\xff"))


def _is_right(payload: str | bytes, sender: Sender) -> bool:
    """Whether a payload is right, or only not complete."""
    try:
        for _ in _all_heard(payload, sender):
            pass
    except RemoteProtocolError as error:
        return _MISSING in str(error)
    return True


def _place_in(packet: str | bytes, sender: Sender, transport: str) -> int:
    """The guilty byte of one packet."""
    if isinstance(packet, bytes):
        return 0

    def is_right(start: str) -> bool:
        try:
            _heard(start, sender, transport)
        except RemoteProtocolError:
            return False
        return True

    endings = ("", "4", "A", "AA", "AAA", *(PROBE[start:] for start in range(len(PROBE))))
    return offset(packet, guilty(packet, is_right, lambda _: endings))


def _place_in_whole(payload: str | bytes, cut: _Cut, sender: Sender) -> int:
    """The guilty byte of a packet that has come whole."""
    content = payload[cut.content : cut.end]
    if isinstance(payload, str):
        at = offset(payload, cut.content) + _place_in(content, sender, POLLING)
        # Right by itself: then its length ends within a pair of surrogates.
        return at if at < offset(payload, cut.end) else offset(payload, cut.end - 1)
    if payload[cut.start] == TEXT_MARK and isinstance(content, bytes):
        try:
            content = content.decode()
        except UnicodeDecodeError as error:
            return cut.content + error.start
    return cut.content + _place_in(content, sender, POLLING)
