r"""The anatomy of Engine.IO 3: payloads in which each packet has its length in front.

What it implements: the fields of payloads of text and of bytes, of packets in WebSocket
messages, and where they are wrong. What it leaves out: the verdict, which is that of
`engineio_v3`, and who may send which packet when, which differs little from 4.

In one line::

    layer = OldPackets(CLIENT, no_layers).payload("6:4hello2:4€")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .anatomy import Carried, Fault, Field, Layer, Sender, counted, guilty, offset, shown, utf8
from .anatomy_engineio import packet_layer
from .engineio import MESSAGE
from .engineio_v3 import BINARY_MARK, LENGTH_END, TEXT_MARK, Revision3
from .errors import RemoteProtocolError

_SECTION: Final = "Engine.IO 3"
_LENGTH: Final = re.compile(r"([0-9]{1,10}):")
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
            packet = Revision3().unpack(message)
        except RemoteProtocolError as error:
            layer = self._packet(message)
            layer.inner.clear()
            layer.fault = Fault(_place_in(message), str(error), error.code)
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
            for packet in Revision3().split(payload):
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
        if fault is not None:
            layer.fault = Fault(_place(payload), str(fault), fault.code)
        return layer

    def _packet(self, packet: str | bytes) -> Layer:
        if isinstance(packet, str):
            layer = packet_layer(packet, self._sender)
            if packet.startswith(MESSAGE):
                layer.inner += self._carried(packet[1:])
            return layer
        layer = Layer(
            "Engine.IO packet",
            packet,
            self._sender,
            f"message of {counted(len(packet), 'byte')}",
            _SECTION,
            [Field(0, len(packet), "binary message", shown(packet), "", _SECTION)],
            is_text=False,
        )
        layer.inner += self._carried(packet)
        return layer


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


def _place(payload: str | bytes) -> int:
    """The guilty byte of a payload: in a length, or in the packet that has come whole."""
    for cut in _cuts(payload):
        content = payload[cut.content : cut.end]
        part = payload[cut.start : cut.end]
        if cut.end <= len(payload) and content and not _is_right(part):
            return _place_in_whole(payload, cut)
    if isinstance(payload, str):
        return offset(payload, guilty(payload, _is_right, lambda _: ("", ":", "1:")))
    return guilty(payload, _is_right, lambda _: (b"", b"\xff", b"\1\xff", b"\0\1\xff"))


def _is_right(payload: str | bytes) -> bool:
    """Whether a payload is right, or only not complete."""
    try:
        for _ in Revision3().split(payload):
            pass
    except RemoteProtocolError as error:
        return _MISSING in str(error)
    return True


def _place_in(packet: str | bytes) -> int:
    """The guilty byte of one packet."""
    if isinstance(packet, bytes):
        return 0
    return offset(packet, guilty(packet, _is_right_packet, lambda _: ("", "4", "A", "AA", "AAA")))


def _is_right_packet(packet: str) -> bool:
    try:
        Revision3().unpack(packet)
    except RemoteProtocolError:
        return False
    return True


def _place_in_whole(payload: str | bytes, cut: _Cut) -> int:
    """The guilty byte of a packet that has come whole."""
    content = payload[cut.content : cut.end]
    if isinstance(payload, str):
        at = offset(payload, cut.content) + _place_in(content)
        # Right by itself: then its length ends within a pair of surrogates.
        return at if at < offset(payload, cut.end) else offset(payload, cut.end - 1)
    if payload[cut.start] == TEXT_MARK and isinstance(content, bytes):
        try:
            content = content.decode()
        except UnicodeDecodeError as error:
            return cut.content + error.start
    return cut.content + _place_in(content)
