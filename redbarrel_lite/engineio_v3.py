r"""Engine.IO 3: how the clients of Socket.IO 1 and 2 spell packets and payloads.

What it implements: revision 3 of the protocol where it differs from 4 on the wire:
payloads by length, as text and as bytes, binary packets, and JSONP. What it leaves out:
the session, which is the one of `engineio`, but that here the client pings.

In one line::

    list(Revision3().split("6:4hello2:4€"))  # ["4hello", "4€"]

A payload in text; a character outside of the basic plane counts twice, since JavaScript
counts UTF-16::

    6:4hello 2:4€ 3:4🐟 10:b4AQIDBA==
    |  |                   |
    |  a packet            a binary message: b, its type, base64
    its length

and in bytes, where a binary packet is in it and the client can read it so::

    00 06 ff 34 68 65 6c 6c 6f  01 05 ff 04 01 02 03 04
    |  |  |  |                  |        |  |
    |  |  |  4hello, in UTF-8   binary   |  the message
    |  |  ends the length                its type, a byte and no digit
    |  the digits of the length, a byte each
    text
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from .engineio import (
    BAD_REQUEST,
    BINARY,
    MAX_PACKETS_IN_PAYLOAD,
    MESSAGE,
    OLD_PROTOCOL,
    Packet,
    Upgrade,
    decode_binary,
)
from .errors import RemoteProtocolError, show

# A binary packet has a type too, and this is the only one that means something.
_BINARY_MESSAGE: Final = bytes((int(MESSAGE),))

# In a payload of bytes: what a packet begins with, and what ends its length.
TEXT_MARK: Final = 0
BINARY_MARK: Final = 1
LENGTH_END: Final = 255

_MAX_LENGTH_DIGITS: Final = 10
_LENGTH: Final = re.compile(rf"([0-9]{{1,{_MAX_LENGTH_DIGITS}}}):")


class Revision3:
    """How to read and write revision 3.

    ``base64`` for who can't read bytes (`b64=1`), as no script can; ``script`` is the
    index of the function that a script calls.
    """

    __slots__ = ("base64", "script")

    version: Final = OLD_PROTOCOL
    encoding: Final = "Engine.IO 3, Packet"
    client_pings: Final = True
    # Devices finish it without a probe, and the reference server lets them.
    ready_to_upgrade: Final = (Upgrade.STARTED, Upgrade.PROBED)

    def __init__(self, *, base64: bool = False, script: str | None = None) -> None:
        self.base64 = base64
        self.script = script

    # -- payloads ------------------------------------------------------------------

    def split(self, payload: Packet) -> Iterator[Packet]:
        """The packets of a payload, one by one.

        Raises `RemoteProtocolError` at the first that is none.
        """
        packets = _split_text(payload) if isinstance(payload, str) else _split_bytes(payload)
        for count, packet in enumerate(packets):
            if count == MAX_PACKETS_IN_PAYLOAD:
                raise RemoteProtocolError(f"a payload of over {count} packets", BAD_REQUEST)
            yield packet

    def join(self, packets: Sequence[Packet]) -> Packet:
        """The payload of these packets: text, or bytes if one of them is binary."""
        if self.base64 or all(isinstance(packet, str) for packet in packets):
            return "".join(map(_with_length, map(_in_text, packets)))
        return b"".join(map(_in_bytes, packets))

    # -- packets that are WebSocket messages -------------------------------------------

    def pack(self, packet: Packet) -> Packet:
        """A packet as a message of a WebSocket."""
        if isinstance(packet, str):
            return packet
        return _in_text(packet) if self.base64 else _BINARY_MESSAGE + packet

    def unpack(self, message: Packet) -> Packet:
        """The packet in a message of a WebSocket. Raises `RemoteProtocolError`."""
        return _from_text(message) if isinstance(message, str) else _from_bytes(message)


# -- as text -----------------------------------------------------------------------------


def _split_text(payload: str) -> Iterator[Packet]:
    units = _in_units(payload)
    at = 0
    while at < len(units) or not units:
        match = _LENGTH.match(units, at)
        if match is None:
            raise _fault(f"no length of a packet: {show(units[at : at + 21], 20)}")
        at = match.end() + int(match[1])
        if at > len(units):
            raise _fault(f"a packet of {match[1]} characters, of which some are missing")
        if at > match.end():  # "0:" is the payload of no packets
            yield _from_text(_from_units(units[match.end() : at]))


def _in_units(text: str) -> str:
    """The text with a character for each UTF-16 code unit, since lengths count those."""
    units = text.encode("utf-16-le")
    if len(units) == 2 * len(text):
        return text
    return "".join(map(chr, memoryview(units).cast("H")))


def _from_units(units: str) -> str:
    try:
        units.encode()
    except UnicodeEncodeError:  # there are pairs in it, or what a wrong length left of one
        try:
            return units.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise _fault("a packet that ends within a character") from None
    return units


def _with_length(packet: str) -> str:
    length = len(packet) if packet.isascii() else len(packet.encode("utf-16-le")) // 2
    return f"{length}:{packet}"


def _in_text(packet: Packet) -> str:
    if isinstance(packet, str):
        return packet
    return BINARY + MESSAGE + base64.b64encode(packet).decode()


def _from_text(text: str) -> Packet:
    if not text.startswith(BINARY):
        return text
    if not text.startswith(MESSAGE, 1):
        raise _fault(f"binary packet of type {text[1:2]!a}", "Packet")
    try:
        return decode_binary(text[2:])
    except ValueError:
        raise _fault("bad base64 in a binary packet", "Packet") from None


# -- as bytes ----------------------------------------------------------------------------


def _split_bytes(payload: bytes) -> Iterator[Packet]:
    at = 0
    while at < len(payload) or not payload:
        end = payload.find(LENGTH_END, at, at + _MAX_LENGTH_DIGITS + 2)
        digits = payload[at + 1 : max(end, 0)]
        if not digits or max(digits) > 9 or payload[at] > BINARY_MARK:
            raise _fault(f"no length of a packet: {payload[at : at + 20]!r}")
        is_text = payload[at] == TEXT_MARK
        at = end + 1 + int("".join(map(str, digits)))
        if at > len(payload):
            raise _fault(f"a packet of {at - end - 1} bytes, of which some are missing")
        packet = payload[end + 1 : at]
        yield _from_text(_decoded(packet)) if is_text else _from_bytes(packet)


def _decoded(packet: bytes) -> str:
    try:
        return packet.decode()
    except UnicodeDecodeError:
        raise _fault("a packet that is not UTF-8") from None


def _from_bytes(packet: bytes) -> bytes:
    if not packet.startswith(_BINARY_MESSAGE):
        raise _fault(f"binary packet of type {packet[:1]!r}", "Packet")
    return packet[1:]


def _in_bytes(packet: Packet) -> bytes:
    mark, content = TEXT_MARK, b""
    if isinstance(packet, str):
        content = packet.encode()
    else:
        mark, content = BINARY_MARK, _BINARY_MESSAGE + packet
    digits = bytes(map(int, str(len(content))))
    return bytes((mark, *digits, LENGTH_END)) + content


def _fault(message: str, section: str = "Payload") -> RemoteProtocolError:
    return RemoteProtocolError(f"{message} (Engine.IO 3, {section})", BAD_REQUEST)


# -- JSONP -------------------------------------------------------------------------------

_ESCAPED_NEWLINE: Final = re.compile(r"\\?\\n")


def script_of(payload: str, index: str) -> str:
    """A payload as the script that a page loads, which calls the page's function ``index``."""
    # ASCII alone, so that no charset and no line separator of Unicode can break it.
    return f"___eio[{index}]({json.dumps(payload)});"


def from_form(field: str) -> str:
    r"""The payload in the form field ``d``.

    Browsers alter line breaks in forms, so clients send ``\n`` for one, and ``\\n`` for a
    backslash and an n.
    """
    return _ESCAPED_NEWLINE.sub(lambda match: "\n" if len(match[0]) == 2 else r"\n", field)
