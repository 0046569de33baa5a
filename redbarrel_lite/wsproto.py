r"""WebSocket, the server's side, without I/O: bytes in, messages out, and back.

What it implements: RFC 6455 sections 4.2 (the server's handshake), 5 (framing,
masking, fragmentation, control frames), 7 (closing) and 8 (UTF-8). What it
leaves out: extensions (none is negotiated, so the reserved bits must be 0) and
the client's side, but for masking, which the tests and teaching need.

In one line::

    for event in Connection().receive(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"): ...

A frame, as in RFC 6455 5.2::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-------+-+-------------+-------------------------------+
    |F|R|R|R| opcode|M| length      | extended length: 16 bits if   |
    |I|S|S|S|       |A| 0 .. 125,   | length is 126, 64 bits if 127 |
    |N|V|V|V|       |S| 126 or 127  |                               |
    | |1|2|3|       |K|             |                               |
    +-+-+-+-+-------+-+-------------+-------------------------------+
    | masking key: 4 bytes if MASK is set                           |
    +---------------------------------------------------------------+
    | payload, each byte xor-ed with byte (index mod 4) of the key  |
    +---------------------------------------------------------------+
"""

from __future__ import annotations

import base64
import binascii
import codecs
import enum
import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from .errors import LocalProtocolError, RemoteProtocolError

# RFC 6455 11.8, the opcodes; 3-7 and 11-15 are reserved.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
OPCODES: Final = {
    CONTINUATION: "continuation",
    TEXT: "text",
    BINARY: "binary",
    CLOSE: "close",
    PING: "ping",
    PONG: "pong",
}

# RFC 6455 5.2, the fields of the first two bytes.
FIN: Final = 0x80
RSV: Final = 0x70
OPCODE: Final = 0x0F
CONTROL: Final = 0x08  # the opcode's bit that control frames have set (5.5)
MASK: Final = 0x80
LENGTH: Final = 0x7F
LENGTH_IN_16_BITS: Final = 126
LENGTH_IN_64_BITS: Final = 127
MAX_CONTROL_BYTES: Final = 125  # RFC 6455 5.5

# RFC 6455 7.4.1 and the IANA registry (11.7). 1005, 1006 and 1015 are for local
# use: they never travel. 1004 is reserved; 1000-2999 belong to the protocol.
NORMAL_CLOSURE: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_STATUS_RECEIVED: Final = 1005
ABNORMAL_CLOSURE: Final = 1006
INVALID_PAYLOAD: Final = 1007
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

# Limits, both options of a connection. Without the first, a header that claims a
# tebibyte makes us wait and store; without the second, a million empty fragments
# cost us work and no message ever comes of them.
MAX_MESSAGE_BYTES: Final = 1_000_000
MAX_FRAGMENTS: Final = 1024

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3


class Close(NamedTuple):
    """The peer's close frame; 1005 stands for a close frame without a code (7.1.5)."""

    code: int
    reason: str


class Ping(NamedTuple):
    """A ping; its pong is in `Connection.replies` already (5.5.2)."""

    payload: bytes


class Pong(NamedTuple):
    """A pong, asked for or not (5.5.3)."""

    payload: bytes


# A message is a str or bytes itself: the two types that RFC 6455 knows.
Event: TypeAlias = str | bytes | Ping | Pong | Close | RemoteProtocolError


class State(enum.Enum):
    """Where the closing handshake is (RFC 6455 7.1)."""

    OPEN = "open"
    CLOSING = "closing"  # our close frame is out, the peer's is not in
    CLOSED = "closed"  # the peer's close frame is in: nothing is read any more
    ERROR = "error"  # the peer broke the protocol: nothing is read any more


class Connection:
    """One WebSocket, after its handshake.

    `receive` takes bytes and returns events; what the protocol makes us answer
    (pongs, the echo of a close) gathers in `replies`, which the caller writes
    and clears. Frames to send come from `text_frame`, `binary_frame` and, since
    it changes the state, `close`.
    """

    __slots__ = (
        "_decoder",
        "_final",
        "_fragments",
        "_key",
        "_left",
        "_max_fragments",
        "_max_message",
        "_message",
        "_opcode",
        "_short",
        "_unread",
        "replies",
        "state",
    )

    def __init__(
        self, max_message: int = MAX_MESSAGE_BYTES, max_fragments: int = MAX_FRAGMENTS
    ) -> None:
        self.state = State.OPEN
        self.replies: list[bytes] = []
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._short = min(LENGTH_IN_16_BITS, max_message + 1)
        self._unread = b""  # the start of a frame: a header, or a control frame
        # The message of which parts have come, and the data frame we are in.
        self._opcode = CONTINUATION  # of the message; CONTINUATION: we are in none
        self._message = bytearray()
        self._decoder: codecs.IncrementalDecoder | None = None
        self._fragments = 0
        self._final = True
        self._key = b""
        self._left = 0  # payload bytes of the frame still to come

    # -- bytes in ----------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; return the events that they complete.

        After a fault, its last event, a `RemoteProtocolError` with the close
        code, the connection only waits to be dropped: the close frame that says
        so is in `replies` (RFC 6455 7.1.7).
        """
        events: list[Event] = []
        if self.state is State.CLOSED or self.state is State.ERROR:
            return events
        if self._unread:
            data = self._unread + data
        try:
            read = self._frames(data, events)
        except RemoteProtocolError as error:
            if self.state is State.OPEN:
                self.replies.append(close_frame(error.code, str(error)))
            self.state = State.ERROR
            events.append(error)
            return events
        self._unread = data[read:]
        return events

    def _frames(self, data: bytes, events: list[Event]) -> int:
        """Read all frames of ``data``; return how much of it needs no second look."""
        position = 0
        end = len(data)
        while position < end:
            if self._left:
                position = self._payload(data, position, events)
                continue
            # The usual frame goes by a short way: a whole short message, here in
            # one piece. The rest of the room reads the same frame, only slower.
            if end - position >= 6 and not self._opcode:
                length = data[position + 1] - MASK
                start = position + 6
                short = 0 <= length < self._short and end - start >= length
                if short and data[position] == FIN | TEXT:
                    payload = unmask(data[start : start + length], data[position + 2 : start])
                    events.append(_decode(payload))
                    position = start + length
                    continue
            after = self._frame(data, position, events)
            if after == position:
                break
            position = after
            if self.state is State.CLOSED:
                return end
        return position

    def _frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read a header, and of a control frame all; return where it ended.

        If it is not all there, that is where it began.
        """
        header = _header(data, position)
        if header is None:
            return position
        first, length, start = header
        opcode = first & OPCODE
        if opcode & CONTROL:
            if len(data) - start < length:
                return position
            self._control(
                opcode, unmask(data[start : start + length], data[start - 4 : start]), events
            )
            return start + length
        self._start_of_data(opcode, length, final=first & FIN != 0)
        self._key = data[start - 4 : start]
        if not length:
            self._part(b"", events)
        return start

    def _start_of_data(self, opcode: int, length: int, *, final: bool) -> None:
        """Check a data frame against the message that it is a part of (RFC 6455 5.4)."""
        if opcode == CONTINUATION and not self._opcode:
            raise _violation("continuation frame without a message (RFC 6455 5.4)")
        if opcode != CONTINUATION and self._opcode:
            raise _violation(f"{OPCODES[opcode]} frame inside a fragmented message (RFC 6455 5.4)")
        self._fragments += 1
        if len(self._message) + length > self._max_message:
            raise RemoteProtocolError(f"message over {self._max_message} bytes", MESSAGE_TOO_BIG)
        if self._fragments > self._max_fragments:
            raise RemoteProtocolError(
                f"message in over {self._max_fragments} fragments", MESSAGE_TOO_BIG
            )
        if opcode:
            self._opcode = opcode
            if opcode == TEXT:
                # Only validates, as the bytes come, so that bad UTF-8 is refused
                # at its first byte (Autobahn 6.4) and not when the message ends.
                self._decoder = _UTF8()
        self._final = final
        self._left = length

    def _payload(self, data: bytes, position: int, events: list[Event]) -> int:
        """Take as much of the frame's payload as is there."""
        taken = data[position : position + self._left]
        part = unmask(taken, self._key)
        self._left -= len(taken)
        turn = len(taken) % 4
        self._key = self._key[turn:] + self._key[:turn]
        self._part(part, events)
        return position + len(taken)

    def _part(self, part: bytes, events: list[Event]) -> None:
        """Add to the message, which may be complete then."""
        complete = self._final and not self._left
        if self._decoder is not None:
            try:
                self._decoder.decode(part, complete)
            except UnicodeDecodeError as error:
                raise _not_utf8(error) from None
        self._message += part
        if complete:
            message = self._message
            events.append(message.decode() if self._opcode == TEXT else bytes(message))
            self._message = bytearray()
            self._opcode = CONTINUATION
            self._decoder = None
            self._fragments = 0

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        """Obey a control frame, which may stand between the fragments of a message."""
        if opcode == PING:
            if self.state is State.OPEN:
                self.replies.append(_frame_bytes(PONG, payload))
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        else:
            close = _parse_close(payload)
            if self.state is State.OPEN:
                # RFC 6455 5.5.1: the code is echoed; the reason need not be.
                self.replies.append(_frame_bytes(CLOSE, payload[:2]))
            self.state = State.CLOSED
            events.append(close)

    # -- bytes out -----------------------------------------------------------

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> bytes:
        """Start the closing handshake; the bytes are b"" if it has begun already."""
        if code not in CLOSE_CODES:
            raise LocalProtocolError(f"close code {code} must not be sent (RFC 6455 7.4)")
        if self.state is not State.OPEN:
            return b""
        self.state = State.CLOSING
        return close_frame(code, reason)


def _header(data: bytes, position: int) -> tuple[int, int, int] | None:
    """First byte, payload length, and where the payload starts; None if not all there.

    All rules that the header alone can break are checked, as soon as the bytes
    that break them are there.
    """
    available = len(data) - position
    if available < 2:
        if available:
            _check_first_byte(data[position])
        return None
    first, second = data[position], data[position + 1]
    _check_first_byte(first)
    if not second & MASK:
        raise _violation("client frame is not masked (RFC 6455 5.1)")
    length = second & LENGTH
    if first & CONTROL and (length > MAX_CONTROL_BYTES or not first & FIN):
        raise _violation(
            f"{OPCODES[first & OPCODE]} frame is fragmented or over 125 bytes (RFC 6455 5.5)"
        )
    extended = {LENGTH_IN_16_BITS: 2, LENGTH_IN_64_BITS: 8}.get(length, 0)
    start = position + 2 + extended + 4
    if extended:
        if available < 2 + extended:
            return None
        length = int.from_bytes(data[position + 2 : position + 2 + extended], "big")
        if length >= 1 << 63:
            raise _violation("length with its top bit set (RFC 6455 5.2)")
        if length < (LENGTH_IN_16_BITS if extended == 2 else 1 << 16):
            raise _violation(f"length {length} is not in its shortest form (RFC 6455 5.2)")
    return (first, length, start) if len(data) >= start else None


def _check_first_byte(first: int) -> None:
    if first & RSV:
        raise _violation("reserved bit set without an extension (RFC 6455 5.2)")
    if first & OPCODE not in OPCODES:
        raise _violation(f"reserved opcode {first & OPCODE} (RFC 6455 5.2)")


def _parse_close(payload: bytes) -> Close:
    if not payload:
        return Close(NO_STATUS_RECEIVED, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in CLOSE_CODES:
        raise _violation(f"close code {code} must not be sent (RFC 6455 7.4)")
    return Close(code, _decode(payload[2:]))


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, PROTOCOL_ERROR)


_UTF8: Final = codecs.getincrementaldecoder("utf-8")


def _decode(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(error) from None


def _not_utf8(error: UnicodeDecodeError) -> RemoteProtocolError:
    return RemoteProtocolError(f"text is not UTF-8: {error.reason} (RFC 6455 8.1)", INVALID_PAYLOAD)


# -- masking -------------------------------------------------------------------

# One big integer is xor-ed at once, for arithmetic on it runs in C. Beyond some
# KiB the integers fall out of the processor's cache, so long payloads go by blocks.
_BLOCK: Final = 4096


def unmask(payload: bytes, key: bytes) -> bytes:
    """Xor a payload with its 4-byte key; masking is the same (RFC 6455 5.3)."""
    length = len(payload)
    if length > _BLOCK:
        return _unmask_blocks(payload, key)
    pattern = (key * (length // 4 + 1))[:length]
    xored = int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")
    return xored.to_bytes(length, "little")


def _unmask_blocks(payload: bytes, key: bytes) -> bytes:
    pattern = int.from_bytes(key * (_BLOCK // 4), "little")
    whole = len(payload) - len(payload) % _BLOCK
    blocks = [
        (int.from_bytes(payload[at : at + _BLOCK], "little") ^ pattern).to_bytes(_BLOCK, "little")
        for at in range(0, whole, _BLOCK)
    ]
    return b"".join(blocks) + unmask(payload[whole:], key)


# -- frames out ------------------------------------------------------------------

_TEXT_HEADS: Final = tuple(bytes((FIN | TEXT, length)) for length in range(LENGTH_IN_16_BITS))


def text_frame(text: str) -> bytes:
    """A whole text message in one frame, unmasked, as servers send it (RFC 6455 5.1)."""
    payload = text.encode()
    if len(payload) < LENGTH_IN_16_BITS:
        return _TEXT_HEADS[len(payload)] + payload
    return _frame_bytes(TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """A whole binary message in one frame, unmasked."""
    return _frame_bytes(BINARY, payload)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping of at most 125 bytes (RFC 6455 5.5.2)."""
    if len(payload) > MAX_CONTROL_BYTES:
        raise LocalProtocolError(f"ping of {len(payload)} bytes (RFC 6455 5.5)")
    return _frame_bytes(PING, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what fits, between two characters."""
    text = reason.encode()[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")
    return _frame_bytes(CLOSE, code.to_bytes(2, "big") + text.encode())


def _frame_bytes(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < LENGTH_IN_16_BITS:
        return bytes((FIN | opcode, length)) + payload
    if length < 1 << 16:
        return bytes((FIN | opcode, LENGTH_IN_16_BITS)) + length.to_bytes(2, "big") + payload
    return bytes((FIN | opcode, LENGTH_IN_64_BITS)) + length.to_bytes(8, "big") + payload


# -- the handshake -----------------------------------------------------------------


def accept(method: str, version: str, headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Check a client's opening handshake; return the header fields of the 101.

    ``headers`` have names in lower case. Raises `RemoteProtocolError` with the
    status to answer: 405, 400, or 426 where only the version is another, and
    then the answer must carry `VERSION_HEADER` (RFC 6455 4.2.1, 4.2.2, 4.4).
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


VERSION_HEADER: Final = ("sec-websocket-version", "13")


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
