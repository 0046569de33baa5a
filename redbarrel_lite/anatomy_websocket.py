r"""The anatomy of WebSocket frames: the bits of RFC 6455 5.2, and what they carry.

What it implements: the fields of frames and of close payloads, messages put together
from fragments and inflated, and where a frame is wrong. What it leaves out: the
verdict, which is that of `wsproto` and `wsproto_client`, and the handshake, which is HTTP.

In one line::

    for layer in Frames(CLIENT, no_layers).receive(b"\x89\x80\x37\xfa\x21\x3d"): layer.summary
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Final

from . import wsproto, wsproto_client
from .anatomy import (
    CLIENT,
    MAX_SEARCHED,
    UNKNOWN,
    Carried,
    Fault,
    Field,
    Layer,
    Sender,
    counted,
    guilty,
    shown,
)
from .deflate import Inflater
from .errors import RemoteProtocolError
from .wsproto import (
    CLOSE_CODES,
    CONTROL,
    FIN,
    KEY_BYTES,
    LENGTH,
    LENGTH_IN_16_BITS,
    LENGTH_IN_64_BITS,
    MASK,
    MAX_FRAGMENTS,
    MAX_LENGTH_IN_16_BITS,
    MAX_MESSAGE_BYTES,
    MAX_SHORT_LENGTH,
    OPCODE,
    OPCODES,
    RSV,
    RSV1,
    Event,
    unmask,
)

_PART: Final = MAX_SEARCHED // 2  # of a long frame

# RFC 3629 4: a character has at most so many bytes; one of these may be the second, whatever
# the first is.
_CHARACTER: Final = 4
_SECOND_BYTES: Final = (b"\x80", b"\x90", b"\xa0")

_FRAMING: Final = "RFC 6455 5.2"
_MASKING: Final = "RFC 6455 5.3"

# RFC 6455 11.8: what each opcode is for.
_OPCODE_MEANS: Final = {
    wsproto.CONTINUATION: "continuation: the next fragment of a message",
    wsproto.TEXT: "text: a message in UTF-8",
    wsproto.BINARY: "binary: a message of any bytes",
    wsproto.CLOSE: "close: the sender has no more to say",
    wsproto.PING: "ping: to be answered by a pong with the same payload",
    wsproto.PONG: "pong: the answer to a ping, or a sign of life",
}
_OPCODE_SECTION: Final = {
    wsproto.CONTINUATION: "RFC 6455 5.4",
    wsproto.TEXT: "RFC 6455 5.6",
    wsproto.BINARY: "RFC 6455 5.6",
    wsproto.CLOSE: "RFC 6455 5.5.1",
    wsproto.PING: "RFC 6455 5.5.2",
    wsproto.PONG: "RFC 6455 5.5.3",
}

# RFC 6455 7.4.1, and the IANA registry that continues it.
CLOSE_CODE_MEANS: Final = {
    1000: "normal closure: it is done",
    1001: "going away: a server that ends, a page that is left",
    1002: "protocol error: the peer broke a rule",
    1003: "unsupported data: a kind of message that can't be taken",
    1004: "reserved",
    1005: "no status received: for local use, it never travels",
    1006: "abnormal closure: for local use, it never travels",
    1007: "invalid payload: text that is not UTF-8",
    1008: "policy violation",
    1009: "message too big",
    1010: "mandatory extension: the server did not agree on it",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake: for local use, it never travels",
}


def close_code_means(code: int) -> str:
    """What a close code says."""
    if 3000 <= code < 4000:
        return "for libraries and frameworks, registered with IANA"
    if 4000 <= code < 5000:
        return "the application's own"
    return CLOSE_CODE_MEANS.get(code, "not a code that may be sent")


def close_code_section(code: int) -> str:
    """What defines it: the RFC for itself or for its range, or the registry."""
    if 1012 <= code <= 1014:
        return "IANA, WebSocket Close Code Number"
    return "RFC 6455 7.4.1" if code in CLOSE_CODE_MEANS else "RFC 6455 7.4.2"


class Frames:
    """The frames of one direction of a WebSocket, in order.

    With ``deflate`` the handshake has agreed on compression. ``carried`` makes the
    layers of each message. What is judged by the room is judged again, a byte at a
    time, only if it is wrong: for the place.
    """

    def __init__(
        self,
        sender: Sender,
        carried: Carried,
        *,
        deflate: bool = False,
        max_message: int = MAX_MESSAGE_BYTES,
        max_fragments: int = MAX_FRAGMENTS,
    ) -> None:
        def room() -> wsproto.Connection:
            inflater = Inflater if deflate else None
            if sender == CLIENT:
                return wsproto.Connection(max_message, max_fragments, inflater)
            key = bytes(KEY_BYTES)  # we send nothing
            return wsproto_client.Connection(lambda: key, max_message, max_fragments, inflater)

        self._sender = sender
        self._carried = carried
        self._judge = room()
        self._scout = room()  # a frame behind: it looks for the place of a fault
        self._judged = 0  # how much of the buffer has been
        self._is_deflated = False  # the message in hand
        self._fragment: Layer | None = None  # the last that has come of it
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[Layer]:
        """Take bytes; return the frames that they complete, the last of which may be wrong."""
        self._buffer += data
        return list(self._layers())

    def rest(self) -> Layer | None:
        """What has come of a frame that is not complete."""
        if not self._buffer:
            return None
        data = bytes(self._buffer)
        size = _size(data)
        layer = _frame(data, self._sender)
        layer.missing = UNKNOWN if size is None else size - len(data)
        layer.summary += " …"
        return layer

    def _layers(self) -> Iterator[Layer]:
        while self._buffer:
            if self._judge.state in (wsproto.State.CLOSED, wsproto.State.ERROR):
                yield self._not_read()
                return
            size = _size(self._buffer)
            is_whole = size is not None and size <= len(self._buffer)
            end = size if is_whole else None
            events = self._judge.receive(bytes(self._buffer[self._judged : end]))
            fault = events[-1] if events and isinstance(events[-1], RemoteProtocolError) else None
            if not is_whole and fault is None:
                self._judged = len(self._buffer)
                return
            self._judged = 0
            data = bytes(self._buffer[:end])
            del self._buffer[: len(data)]
            yield self._layer(data, events, fault, is_whole=is_whole)

    def _layer(
        self, data: bytes, events: list[Event], fault: RemoteProtocolError | None, *, is_whole: bool
    ) -> Layer:
        layer = _frame(data, self._sender)
        if not is_whole:
            size = _size(data)
            layer.missing = UNKNOWN if size is None else size - len(data)
        if fault is not None:
            layer.fault = Fault(self._place(data), str(fault), fault.code)
            return layer
        self._scout.receive(data)
        if data[0] & OPCODE in (wsproto.TEXT, wsproto.BINARY):
            self._is_deflated = bool(data[0] & RSV1)
        if not data[0] & CONTROL:
            self._note_fragment(layer, is_last=bool(data[0] & FIN))
        for event in events:
            if isinstance(event, (str, bytes)):
                layer.inner += self._message(data, event)
        if self._judge.state is wsproto.State.CLOSED and self._fragment is not None:
            self._fragment.awaits = ""  # nothing comes any more
        if layer.fields[-1].name in ("code", "reason"):
            layer.summary += f", code {_code_of(layer)}"
        if not layer.inner and layer.fields[-1].name == "payload data":
            layer.summary += f" {layer.fields[-1].value}"
        return layer

    def _note_fragment(self, layer: Layer, *, is_last: bool) -> None:
        if self._fragment is not None:
            self._fragment.awaits = ""
        self._fragment = None if is_last else layer
        if not is_last:
            layer.awaits = "more fragments of its message are to come"

    def _message(self, data: bytes, message: str | bytes) -> list[Layer]:
        """The layers of a message that is complete with this frame."""
        carried = self._carried(message)
        is_one_frame = data[0] & OPCODE != wsproto.CONTINUATION
        if is_one_frame and not self._is_deflated:
            return carried  # the frame's own field shows it
        payload = message if isinstance(message, bytes) else message.encode()
        made = "inflated" if is_one_frame else "from all its fragments"
        if self._is_deflated and not is_one_frame:
            made += ", inflated"
        section = "RFC 7692 7.2.2" if self._is_deflated else "RFC 6455 5.4"
        kind = "binary" if isinstance(message, bytes) else "text"
        layer = Layer(
            "WebSocket message",
            payload,
            self._sender,
            f"{kind} message of {counted(len(payload), 'byte')}, {made}",
            section,
            [Field(0, len(payload), "message", shown(message), made, section)],
            is_text=kind == "text",
            inner=carried,
        )
        return [layer]

    def _place(self, data: bytes) -> int:
        """The guilty byte of a frame: what the room makes of its beginnings says it."""
        scout, start = self._scout, 0
        while len(data) - start > 2 * _PART:
            ahead = deepcopy(scout)
            if _refuses(ahead, data[start : start + _PART]):
                break
            scout, start = ahead, start + _PART
        is_deflated = self._is_deflated if data[0] & OPCODE == wsproto.CONTINUATION else None
        endings = _Endings(data, self._sender, is_deflated=is_deflated)
        part = data[start : start + 2 * _PART]
        return start + guilty(
            part,
            lambda begun: not _refuses(deepcopy(scout), begun),
            lambda begun: endings.of(start + len(begun)),
        )

    def _not_read(self) -> Layer:
        data = bytes(self._buffer)
        self._buffer.clear()
        is_closed = self._judge.state is wsproto.State.CLOSED
        why = "behind a close frame" if is_closed else "behind a fault"
        section = "RFC 6455 7.1.1" if is_closed else "RFC 6455 7.1.7"
        what = Field(0, len(data), "not read", shown(data), f"nothing {why} is read", section)
        summary = f"{counted(len(data), 'byte')} {why}, not read"
        return Layer("bytes", data, self._sender, summary, section, [what], is_text=False)


def _code_of(layer: Layer) -> str:
    return next(one.value for one in layer.fields if one.name == "code")


def _refuses(room: wsproto.Connection, data: bytes) -> bool:
    events = room.receive(data)
    return bool(events) and isinstance(events[-1], RemoteProtocolError)


class _Endings:
    """What may complete the beginnings of a frame, as far as the room looks.

    The room waits for all of a length and of a control frame, and for the end of a message,
    before it says what was wrong with their first bytes.
    """

    def __init__(self, data: bytes, sender: Sender, *, is_deflated: bool | None) -> None:
        self._data = data
        self._mask = MASK if sender == CLIENT else 0
        self._is_deflated = bool(data[0] & RSV1) if is_deflated is None else is_deflated
        self._is_control = bool(data[0] & CONTROL)

    def of(self, end: int) -> list[bytes]:
        """The endings of the frame's first ``end`` bytes."""
        data = self._data
        if end == 0:
            return [b""]
        if end == 1:
            key = bytes(KEY_BYTES if self._mask and self._is_control else 0)
            lengths = range(1 if self._is_control else _CHARACTER + 1)
            return [bytes((self._mask | length,)) + key for length in lengths]
        extended = _extended(data)
        if end < 2 + extended:
            shortest = MAX_SHORT_LENGTH if extended == 2 else MAX_LENGTH_IN_16_BITS
            come = end - 2
            return [bytes(extended - come), (shortest + 1).to_bytes(extended, "big")[come:]]
        start = _payload_start(data)
        left = start + _length(data) - max(end, start)
        if not self._is_control:
            # What DEFLATE begins, nobody can end without knowing it: there the room's word must do.
            if left and self._is_deflated:
                return [b""]
            left = min(left, _CHARACTER - 1)
        key = data[start - KEY_BYTES : start][: end - start + KEY_BYTES] if data[1] & MASK else b""
        return [self._masked(key, end, payload) for payload in self._payloads(end, left)]

    def _masked(self, key: bytes, end: int, payload: bytes) -> bytes:
        """The rest of a payload as it stands in the frame, behind the rest of its key."""
        if not self._data[1] & MASK:
            return payload
        rest = bytes(KEY_BYTES - len(key))
        turn = max(end - _payload_start(self._data), 0) % KEY_BYTES
        return rest + unmask(payload, ((key + rest) * 2)[turn : turn + KEY_BYTES])

    def _payloads(self, end: int, left: int) -> Iterator[bytes]:
        """The rest of a payload: of a close code, of a character, and then of any bytes."""
        code = b""
        if self._data[0] & OPCODE == wsproto.CLOSE:
            come = _payload(self._data[:end])[:2] if end > _payload_start(self._data) else b""
            fitting = (code.to_bytes(2, "big") for code in sorted(CLOSE_CODES))
            code = next((one[len(come) :] for one in fitting if one.startswith(come)), b"")[:left]
        left -= len(code)
        for count in range(min(left, _CHARACTER - 1) + 1):
            for first in _SECOND_BYTES:
                yield code + (first + b"\x80\x80")[:count] + bytes(left - count)


# -- the fields of one frame ---------------------------------------------------------------


def _extended(data: bytes | bytearray) -> int:
    """How many bytes hold a length that the second byte is too small for."""
    return {LENGTH_IN_16_BITS: 2, LENGTH_IN_64_BITS: 8}.get(data[1] & LENGTH, 0)


def _payload_start(data: bytes | bytearray) -> int:
    """Where the payload begins; of a frame of which two bytes have come."""
    if len(data) < 2:
        return 2
    return 2 + _extended(data) + (KEY_BYTES if data[1] & MASK else 0)


def _size(data: bytes | bytearray) -> int | None:
    """Of how many bytes a frame consists; None if that has not come."""
    if len(data) < 2 + (len(data) > 1 and _extended(data)):
        return None
    return _payload_start(data) + _length(data)


def _length(data: bytes | bytearray) -> int:
    extended = _extended(data)
    return int.from_bytes(data[2 : 2 + extended], "big") if extended else data[1] & LENGTH


def _payload(data: bytes) -> bytes:
    """What has come of the payload, without its mask."""
    start = _payload_start(data)
    payload = data[start:]
    return unmask(payload, data[start - KEY_BYTES : start]) if data[1] & MASK else payload


def _frame(data: bytes, sender: Sender) -> Layer:
    """A frame, or its beginning, as what its bytes say; right or wrong."""
    opcode = data[0] & OPCODE
    name = OPCODES.get(opcode, f"reserved opcode {opcode}")
    layer = Layer("WebSocket frame", data, sender, _summary(data, name), _FRAMING, is_text=False)
    layer.fields += _first_byte(data[0])
    if len(data) > 1:
        layer.fields += _lengths(data, sender)
    start = _payload_start(data)
    if len(data) > 1 and data[1] & MASK and len(data) > start - KEY_BYTES:
        key = data[start - KEY_BYTES : start]
        layer.fields.append(
            Field(
                start - KEY_BYTES,
                start - KEY_BYTES + len(key),
                "masking key",
                key.hex(),
                "byte i of the payload is xor-ed with byte i mod 4 of it",
                _MASKING,
            )
        )
    if len(data) > start:
        layer.fields += _payload_fields(data, start, sender)
    return layer


def _summary(data: bytes, name: str) -> str:
    bits = [f"FIN={int(bool(data[0] & FIN))}"]
    bits += [f"RSV{number}=1" for number in (1, 2, 3) if data[0] & RSV1 >> number - 1]
    length = ""
    if len(data) > 1:
        bits.append(f"MASK={int(bool(data[1] & MASK))}")
    if _size(data) is not None:
        length = f", {counted(_length(data), 'byte')}"
    return f"{name} {' '.join(bits)}{length}"


def _first_byte(first: int) -> list[Field]:
    fin, rsv, opcode = first & FIN, first & RSV, first & OPCODE
    reserved = "no extension uses them"
    if rsv == RSV1:
        reserved = "RSV1: the message is compressed, if the handshake has agreed on it"
    elif rsv:
        reserved = "there is no extension that would set these"
    return [
        Field(
            0,
            1,
            "FIN",
            f"{fin >> 7}",
            "the last frame of its message" if fin else "more fragments of the message follow",
            "RFC 6455 5.4" if not fin else _FRAMING,
            bits=f"{fin >> 7}... ....",
        ),
        Field(
            0,
            1,
            "RSV1-3",
            f"{rsv >> 4:03b}",
            reserved,
            "RFC 7692 6" if rsv == RSV1 else _FRAMING,
            bits=f".{rsv >> 4:03b} ....",
        ),
        Field(
            0,
            1,
            "opcode",
            f"{opcode:#x}",
            _OPCODE_MEANS.get(opcode, "reserved: no frame may have it"),
            _OPCODE_SECTION.get(opcode, _FRAMING),
            bits=f".... {opcode:04b}",
        ),
    ]


def _lengths(data: bytes, sender: Sender) -> Iterator[Field]:
    mask, short, extended = data[1] & MASK, data[1] & LENGTH, _extended(data)
    if bool(mask) == (sender == CLIENT):
        means = f"{'' if mask else 'not '}masked, as all that a {sender} sends"
    else:
        means = f"{'' if mask else 'not '}masked, and a {sender} must{' not' * bool(mask)} mask"
    yield Field(1, 2, "MASK", f"{mask >> 7}", means, "RFC 6455 5.1", bits=f"{mask >> 7}... ....")
    means = "bytes of payload"
    if extended:
        means = f"the length is in the next {extended} bytes"
    bits = f".{short >> 4:03b} {short & 0xF:04b}"
    yield Field(1, 2, "payload len", f"{short}", means, _FRAMING, bits=bits)
    if extended and len(data) > 2:
        there = data[2 : 2 + extended]
        value = f"{int.from_bytes(there, 'big'):,}" if len(there) == extended else there.hex()
        yield Field(2, 2 + len(there), "extended len", value, "bytes of payload", _FRAMING)


def _payload_fields(data: bytes, start: int, sender: Sender) -> Iterator[Field]:
    opcode, payload = data[0] & OPCODE, _payload(data)
    if opcode == wsproto.CLOSE and len(payload) > 1:
        code = int.from_bytes(payload[:2], "big")
        means, section = close_code_means(code), close_code_section(code)
        yield Field(start, start + 2, "code", f"{code}", means, section)
        if len(payload) > 2:
            reason = payload[2:].decode(errors="replace")
            end = len(data)
            yield Field(start + 2, end, "reason", shown(reason), "for people", "RFC 6455 7.1.6")
        return
    value: str | bytes = payload
    if opcode in (wsproto.TEXT, wsproto.CONTINUATION, wsproto.PING, wsproto.PONG):
        value = _as_text(payload) if not data[0] & RSV1 else payload
    means = "compressed by DEFLATE" if data[0] & RSV1 else ""
    if data[1] & MASK:
        means = f"{_unmasking(data[start:], payload)}{', and ' * bool(means)}{means}"
    # Of a fragment nobody knows yet what it is a part of.
    is_fragment = not data[0] & FIN or opcode == wsproto.CONTINUATION
    yield Field(
        start,
        len(data),
        "payload data",
        shown(value),
        means,
        _MASKING if data[1] & MASK else _FRAMING,
        secret=0 if sender == CLIENT and (is_fragment or not data[1] & MASK) else None,
    )


def _as_text(payload: bytes) -> str | bytes:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return payload


def _unmasking(masked: bytes, payload: bytes) -> str:
    """The first steps of the calculation, for who does it by hand."""
    key = bytes(one ^ other for one, other in zip(masked, payload, strict=True))[:KEY_BYTES]
    steps = zip(masked[:2], key, payload, strict=False)
    worked = ", ".join(f"{one:02x}^{by:02x}={into:02x}" for one, by, into in steps)
    return f"unmasked: {worked}{' …' * (len(masked) > 2)}"
