r"""WebSocket, the server's side, without I/O: bytes in, messages out, and back.

What it implements: RFC 6455 sections 5 (framing, masking, fragmentation, control
frames), 7 (closing) and 8 (UTF-8), and the mark of a compressed message (RFC 7692
section 6). What it leaves out: the opening handshake (`wsproto_handshake`), compression
itself, which it is handed (`deflate`), and the client's side (`wsproto_client`).

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

import codecs
import enum
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias

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
RSV1: Final = 0x40  # RFC 7692 6: a compressed message, on its first frame
OPCODE: Final = 0x0F
CONTROL: Final = 0x08  # the opcode's bit that control frames have set (5.5)
MASK: Final = 0x80
LENGTH: Final = 0x7F
MAX_SHORT_LENGTH: Final = 125
LENGTH_IN_16_BITS: Final = 126
LENGTH_IN_64_BITS: Final = 127
MAX_LENGTH_IN_16_BITS: Final = 0xFFFF
KEY_BYTES: Final = 4
MAX_CONTROL_BYTES: Final = 125  # RFC 6455 5.5
_WHOLE_TEXT: Final = FIN | TEXT

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
SERVICE_RESTART: Final = 1012  # of the registry that section 11.7 begins
CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

# Limits, both options of a connection. Without the first, a header that claims a
# tebibyte makes us wait and store; without the second, a million empty fragments
# cost us work and no message ever comes of them.
MAX_MESSAGE_BYTES: Final = 1_000_000
MAX_FRAGMENTS: Final = 1024


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


class Inflater(Protocol):
    """What decompresses one message."""

    fault: RemoteProtocolError | None  # what is wrong behind that which `inflate` has returned

    def inflate(self, part: bytes, *, final: bool) -> bytes:
        """The next part, or the last, decompressed."""


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
    and clears. Frames to send come from `message_frame` and, since it changes the
    state, `close`. With an ``inflater``, called for each compressed message with the
    limit of its size, messages may be compressed.
    """

    __slots__ = (
        "_decoder",
        "_final",
        "_fragments",
        "_inflated",
        "_inflater",
        "_key",
        "_left",
        "_max_fragments",
        "_max_message",
        "_message",
        "_new_inflater",
        "_opcode",
        "_reading",
        "_reserved",
        "_short",
        "_unread",
        "behind",
        "replies",
        "state",
    )

    _mask = MASK  # what the peer's frames must have (RFC 6455 5.1)

    def __init__(
        self,
        max_message: int = MAX_MESSAGE_BYTES,
        max_fragments: int = MAX_FRAGMENTS,
        inflater: Callable[[int], Inflater] | None = None,
    ) -> None:
        self.state = State.OPEN
        self.replies: list[bytes] = []
        self._reading = True  # until the state is CLOSED or ERROR
        self._max_message = max_message
        self._max_fragments = max_fragments
        self._short = min(MAX_SHORT_LENGTH, max_message)
        self._new_inflater = inflater
        self._reserved = RSV if inflater is None else RSV ^ RSV1
        self._unread = b""  # the start of a frame: a header, or a control frame
        # The message of which parts have come, and the data frame we are in.
        self._opcode = CONTINUATION  # of the message; CONTINUATION: we are in none
        self._message = bytearray()
        self._inflater: Inflater | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._fragments = 0
        self._final = True
        self._key = b""
        self._left = 0  # payload bytes of the frame still to come
        self._inflated = 0  # bytes that came out of compressed messages of late
        self.behind = False  # `receive` has stopped early: call it again, if only with b""

    # -- bytes in ----------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; return the events that they complete.

        Of compressed messages no more at once than one may be large, or a little: what we
        read at once may stand for a thousand times as much. The rest waits, we are `behind`.

        After a fault, its last event, a `RemoteProtocolError` with the close
        code, the connection only waits to be dropped: the close frame that says
        so is in `replies` (RFC 6455 7.1.7).
        """
        events: list[Event] = []
        if not self._reading:
            return events
        if self._unread:
            data = self._unread + data
            self.behind = False
        try:
            read = self._frames(data, events)
        except (RemoteProtocolError, UnicodeDecodeError) as error:
            events.append(self._fail(error))
            return events
        self._unread = data[read:]
        return events

    def _fail(self, error: RemoteProtocolError | UnicodeDecodeError) -> RemoteProtocolError:
        """Fail the connection, with a close frame if none is out yet (RFC 6455 7.1.7)."""
        if isinstance(error, UnicodeDecodeError):
            reason = f"text is not UTF-8: {error.reason} (RFC 6455 8.1)"
            error = RemoteProtocolError(reason, INVALID_PAYLOAD)
        if self.state is State.OPEN:
            # 1009 says all that a peer needs, and clients of Engine.IO know it from the
            # reference server without a reason: their own tests compare.
            reason = "" if error.code == MESSAGE_TOO_BIG else str(error)
            self.replies.append(self._own_frame(_close_frame(error.code, reason)))
        self.state = State.ERROR
        self._stop_reading()
        return error

    def _stop_reading(self) -> None:
        self._reading = False
        self._message = bytearray()  # of which no more will come
        self._inflater = None

    def _frames(self, data: bytes, events: list[Event]) -> int:
        """Read all frames of ``data``; return how much of it needs no second look."""
        position = 0
        end = len(data)
        while position < end:
            if self._left:
                position = self._payload(data, position, events)
                if self._inflated > self._max_message and position < end:
                    self._inflated = 0
                    self.behind = True
                    break
                continue
            # The usual frame goes by a short way: a whole short text, here in one
            # piece. The rest of the room reads the same frame, only slower.
            start = position + 6
            if start <= end and data[position] == _WHOLE_TEXT and not self._opcode:
                length = data[position + 1] - MASK
                if 0 <= length <= self._short and start + length <= end:
                    key = data[position + 2 : start]
                    position = start + length
                    events.append(unmask(data[start:position], key).decode())
                    continue
            after = self._frame(data, position, events)
            if after == position:
                break
            position = after
            if not self._reading:
                return end
        return position

    def _frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read a header, and as much of the payload as is read at once; return where that ended.

        If the header, or of a control frame anything, is missing, that is where it began.
        """
        header = _header(data, position, self._reserved, self._mask)
        if header is None:
            return position
        first, length, head_end = header
        opcode = first & OPCODE
        start = head_end + (KEY_BYTES if self._mask else 0)
        end = start + length
        if opcode & CONTROL:
            if len(data) < end:
                return position
            self._control(opcode, unmask(data[start:end], data[head_end:start]), events)
            return end
        self._check_data(first, length)  # before its key and payload are there
        if len(data) < start:
            return position
        key = data[head_end:start]
        if opcode and first & (FIN | RSV1) == FIN and end <= len(data):
            payload = unmask(data[start:end], key)
            events.append(payload.decode() if opcode == TEXT else payload)
            return end
        self._start_of_data(first, length, key)
        if not length:
            self._part(b"", events)
        return start

    def _check_data(self, first: int, length: int) -> None:
        """Check a data frame against the message that it is a part of (RFC 6455 5.4)."""
        opcode = first & OPCODE
        if opcode == CONTINUATION and not self._opcode:
            raise _violation("continuation frame without a message (RFC 6455 5.4)")
        if opcode != CONTINUATION and self._opcode:
            raise _violation(f"{OPCODES[opcode]} frame inside a fragmented message (RFC 6455 5.4)")
        limit = self._max_message
        if first & RSV1 or self._inflater is not None:
            # What it makes of it, the inflater counts. What can't be compressed gets
            # longer, by some bytes for each of the blocks that it comes in.
            most = limit + (limit >> 3) + 64
        else:
            most = limit - len(self._message)
        if length > most:
            raise RemoteProtocolError(f"message over {limit} bytes", MESSAGE_TOO_BIG)
        if self._fragments == self._max_fragments:
            raise RemoteProtocolError(
                f"message in over {self._max_fragments} fragments", MESSAGE_TOO_BIG
            )

    def _start_of_data(self, first: int, length: int, key: bytes) -> None:
        """Get ready for a payload that is not simply a message, there and complete."""
        opcode = first & OPCODE
        if opcode:
            self._opcode = opcode
            if opcode == TEXT:
                # Only validates, as the bytes come, so that bad UTF-8 is refused
                # at once (Autobahn 6.4) and not when the message ends.
                self._decoder = _UTF8()
            if first & RSV1 and self._new_inflater is not None:
                self._inflater = self._new_inflater(self._max_message)
        self._fragments += 1
        self._final = first & FIN != 0
        self._key = key
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
        fault = None
        if self._inflater is not None:
            part = self._inflater.inflate(part, final=complete)
            fault = self._inflater.fault
            self._inflated += len(part)
        if self._decoder is not None:
            self._decoder.decode(part, complete and fault is None)
        if fault is not None:
            raise fault
        self._message += part
        if complete:
            message = self._message
            events.append(message.decode() if self._opcode == TEXT else bytes(message))
            self._message = bytearray()
            self._opcode = CONTINUATION
            self._inflater = None
            self._decoder = None
            self._fragments = 0

    def _control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        """Obey a control frame, which may stand between the fragments of a message."""
        if opcode == PING:
            if self.state is State.OPEN:
                self.replies.append(self._own_frame(_frame_bytes(PONG, payload)))
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        else:
            close = _parse_close(payload)
            if self.state is State.OPEN:
                # RFC 6455 5.5.1: the code is echoed; the reason need not be.
                self.replies.append(self._own_frame(_frame_bytes(CLOSE, payload[:2])))
            self.state = State.CLOSED
            self._stop_reading()
            events.append(close)

    # -- bytes out -----------------------------------------------------------

    def close(self, code: int = NORMAL_CLOSURE, reason: str = "") -> bytes:
        """Start the closing handshake; the bytes are b"" if it has begun already."""
        if code not in CLOSE_CODES:
            raise LocalProtocolError(f"close code {code} must not be sent (RFC 6455 7.4)")
        if self.state is not State.OPEN:
            return b""
        self.state = State.CLOSING
        return self._own_frame(_close_frame(code, reason))

    def _own_frame(self, frame: bytes) -> bytes:
        """A control frame as this side sends it."""
        return frame


def _header(data: bytes, position: int, reserved: int, mask: int) -> tuple[int, int, int] | None:
    """First byte, payload length, and where that ended; None if it is not all there yet.

    All rules that the header alone can break are checked, each as soon as the
    bytes that break it are there: the key at its end need not have come.
    ``reserved`` are the bits that the first frame of a message must not have set; of
    all other frames that is true of RSV1 too (RFC 7692 6).
    """
    available = len(data) - position
    first = data[position]
    opcode = first & OPCODE
    if opcode not in OPCODES:
        raise _violation(f"reserved opcode {opcode} (RFC 6455 5.2)")
    if first & (reserved if opcode in (TEXT, BINARY) else RSV):
        raise _violation(
            f"{OPCODES[opcode]} frame with a reserved bit set (RFC 6455 5.2, RFC 7692 6)"
        )
    if available < 2:
        return None
    second = data[position + 1]
    if second & MASK != mask:
        who = "client frame is not" if mask else "server frame is"
        raise _violation(f"{who} masked (RFC 6455 5.1)")
    length = second & LENGTH
    if first & CONTROL and (length > MAX_CONTROL_BYTES or not first & FIN):
        raise _violation(f"{OPCODES[opcode]} frame is fragmented or over 125 bytes (RFC 6455 5.5)")
    if length <= MAX_SHORT_LENGTH:
        return first, length, position + 2
    extended = 2 if length == LENGTH_IN_16_BITS else 8
    if available < 2 + extended:
        return None
    length = int.from_bytes(data[position + 2 : position + 2 + extended], "big")
    if length >= 1 << 63:
        raise _violation("length with its top bit set (RFC 6455 5.2)")
    if length <= (MAX_SHORT_LENGTH if extended == 2 else MAX_LENGTH_IN_16_BITS):
        raise _violation(f"length {length} is not in its shortest form (RFC 6455 5.2)")
    return first, length, position + 2 + extended


def _parse_close(payload: bytes) -> Close:
    """The code and reason of a close frame (RFC 6455 5.5.1)."""
    if not payload:
        return Close(NO_STATUS_RECEIVED, "")
    if len(payload) == 1:
        raise _violation("close frame with half a code (RFC 6455 5.5.1)")
    code = int.from_bytes(payload[:2], "big")
    if code not in CLOSE_CODES:
        raise _violation(f"close code {code} must not be sent (RFC 6455 7.4)")
    return Close(code, payload[2:].decode())


def _violation(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(message, PROTOCOL_ERROR)


_UTF8: Final = codecs.getincrementaldecoder("utf-8")


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

_TEXT_HEADS: Final = tuple(bytes((FIN | TEXT, length)) for length in range(MAX_SHORT_LENGTH + 1))


def text_frame(text: str) -> bytes:
    """A whole text message in one frame, unmasked, as servers send it (RFC 6455 5.1)."""
    payload = text.encode() if text.isascii() else _utf8(text)
    if len(payload) <= MAX_SHORT_LENGTH:
        return _TEXT_HEADS[len(payload)] + payload
    return _frame_bytes(TEXT, payload)


def _utf8(text: str) -> bytes:
    """The payload of a text; lone surrogates become U+FFFD.

    JSON can hold one (``"\\ud800"``), so a client can make a handler echo it. It
    must not end the connection; browsers' own `WebSocket.send` does the same.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def binary_frame(payload: bytes) -> bytes:
    """A whole binary message in one frame, unmasked."""
    return _frame_bytes(BINARY, payload)


def message_frame(
    message: str | bytes, compress: Callable[[bytes], bytes | None] | None = None
) -> bytes:
    """A whole message in one frame, unmasked.

    ``compress`` makes of its payload what a compressed message has (RFC 7692 7.2.1),
    or None if the message is better sent as it is.
    """
    if compress is None:
        if isinstance(message, str):
            return text_frame(message)
        return binary_frame(message)
    opcode, payload = (TEXT, _utf8(message)) if isinstance(message, str) else (BINARY, message)
    compressed = compress(payload)
    if compressed is None:
        return _frame_bytes(opcode, payload)
    return _frame_bytes(opcode | RSV1, compressed)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping of at most 125 bytes (RFC 6455 5.5.2)."""
    if len(payload) > MAX_CONTROL_BYTES:
        raise LocalProtocolError(f"ping of {len(payload)} bytes (RFC 6455 5.5)")
    return _frame_bytes(PING, payload)


def _close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what fits, between two characters."""
    text = reason.encode(errors="replace")[: MAX_CONTROL_BYTES - 2].decode(errors="ignore")
    return _frame_bytes(CLOSE, code.to_bytes(2, "big") + text.encode())


def _frame_bytes(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length <= MAX_SHORT_LENGTH:
        return bytes((FIN | opcode, length)) + payload
    if length <= MAX_LENGTH_IN_16_BITS:
        return bytes((FIN | opcode, LENGTH_IN_16_BITS)) + length.to_bytes(2, "big") + payload
    return bytes((FIN | opcode, LENGTH_IN_64_BITS)) + length.to_bytes(8, "big") + payload
