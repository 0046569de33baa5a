r"""permessage-deflate: WebSocket messages made smaller, without I/O.

What it implements: RFC 7692, the server's side: the negotiation (sections 5 and 7.1),
compression (7.2.1) and decompression (7.2.2). What it leaves out on purpose: context
takeover (7.2.3.2). Each message is compressed by itself, both ways, which the answer
to the client says::

    client   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits
    server   Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover;
                                       client_no_context_takeover

With a context that lives from message to message, similar small messages become
smaller, and each client costs up to 300 KiB for as long as it stays. Without one, an idle
client costs nothing, a broadcast is compressed once and the same bytes are right for
everybody, and one message can't be guessed from the length of the next (the attack
named CRIME).

In one line::

    accept(["permessage-deflate"]).compress(b'{"a": [1, 1, 1, 1]}' * 100)

A message in DEFLATE (RFC 1951) is a row of blocks. Only the last four bytes need a
word: who sends a message ends it with an empty block, and leaves out its four bytes
``00 00 ff ff``, which every message would have; who receives it puts them back.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import RemoteProtocolError, show

if TYPE_CHECKING:
    from zlib import _Decompress as Decompressor

EXTENSION: Final = "permessage-deflate"
SERVER_NO_CONTEXT: Final = "server_no_context_takeover"
CLIENT_NO_CONTEXT: Final = "client_no_context_takeover"
SERVER_WINDOW: Final = "server_max_window_bits"
CLIENT_WINDOW: Final = "client_max_window_bits"

# RFC 7692 7.1.2: a window of 2**8 to 2**15 bytes. zlib compresses with no window of
# 2**8 (it takes 2**9 instead, and in raw streams even that is an error by now), so a
# client that wants no more from us is answered without compression.
_WINDOWS: Final = tuple(str(bits) for bits in range(8, 16))
_MIN_BITS: Final = 9
_MAX_BITS: Final = 15

# Shorter messages are sent as they are. One of a kibibyte has room in one TCP segment
# anyway, so compressing it would cost time and save no packet.
MIN_BYTES: Final = 1024
# Of zlib's levels, 1 to 9, the one that gets most for its time: on 64 KiB of JSON and
# source, 6 takes five times as long to save a tenth more. All clients wait meanwhile.
_LEVEL: Final = 3
# Memory for the search, 2**(level+9) bytes: for short messages a little, which is sooner
# there; for long ones, above all such as can't be compressed, more is twice as fast.
_SHORT_BYTES: Final = 16 * 1024
_SHORT_MEMORY_LEVEL: Final = 5
_MEMORY_LEVEL: Final = 8

# How many streams of DEFLATE one message may consist of. Each costs a new context, and
# an empty one is five bytes long: a megabyte of them would be 200,000.
MAX_STREAMS: Final = 1024

# A long message is tried first: if so much from its middle does not lose a quarter, as
# of images and archives, all of it would take long and gain little.
_SAMPLE_BYTES: Final = 4096

# What ends a message's last block (RFC 7692 7.2.1), and an empty block that is marked
# as the final one: zlib reaches its end only if what stood before it was complete.
_TAIL: Final = b"\x00\x00\xff\xff"
_FINAL_BLOCK: Final = b"\x01\x00\x00\xff\xff"

INVALID_PAYLOAD: Final = 1007  # RFC 6455 7.4.1
MESSAGE_TOO_BIG: Final = 1009

# RFC 9110 5.6.2 and 5.6.4.
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")


# -- the negotiation -------------------------------------------------------------------


class Agreement(NamedTuple):
    """What client and server have agreed on: the window that our messages may use."""

    window_bits: int = _MAX_BITS  # its size is 2**window_bits bytes
    is_asked_for: bool = False  # by the client: then the answer must say it too

    @property
    def response(self) -> str:
        """The value of Sec-WebSocket-Extensions in the answer (RFC 7692 7.1)."""
        parameters = [EXTENSION, SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT]
        if self.is_asked_for:
            parameters.append(f"{SERVER_WINDOW}={self.window_bits}")
        return "; ".join(parameters)

    def compress(self, payload: bytes) -> bytes | None:
        """A message's payload in DEFLATE; None if it is better sent as it is."""
        if len(payload) < MIN_BYTES or not _is_worth_it(payload):
            return None
        # A window larger than the message would only take time to make.
        bits = max(_MIN_BITS, min(self.window_bits, (len(payload) - 1).bit_length()))
        memory = _SHORT_MEMORY_LEVEL if len(payload) <= _SHORT_BYTES else _MEMORY_LEVEL
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, memory)
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed[: -len(_TAIL)] if len(compressed) < len(payload) else None


def _is_worth_it(payload: bytes) -> bool:
    if len(payload) <= _SHORT_BYTES:
        return True
    middle = len(payload) // 2
    sample = payload[middle : middle + _SAMPLE_BYTES]
    return len(zlib.compress(sample, 1)) < 0.75 * len(sample)


def accept(values: Iterable[str]) -> Agreement | None:
    """Choose among a client's offers: the values of its Sec-WebSocket-Extensions fields.

    The first offer that we can keep is taken, as the client has put the one that it
    likes best first (RFC 7692 5). None: there is none, and the answer has no such
    field. Raises `RemoteProtocolError` with status 400 for what is no list of
    extensions (RFC 6455 9.1).
    """
    offers = [_offer(text) for value in values for text in value.split(",") if text.strip(" \t")]
    agreements = (_agreement(terms) for name, terms in offers if name == EXTENSION)
    return next((one for one in agreements if one is not None), None)


def _offer(text: str) -> tuple[str, list[tuple[str, str | None]]]:
    """An extension's name, and its parameters.

    Cut at each comma and semicolon, quoted or not: a value must be a token without
    its quotes too (RFC 6455 9.1), and neither can be in one.
    """
    name, *parameters = (part.strip(" \t") for part in text.split(";"))
    if _TOKEN.fullmatch(name) is None:
        raise _malformed(name)
    return name, [_parameter(part) for part in parameters]


def _agreement(parameters: list[tuple[str, str | None]]) -> Agreement | None:
    """An offer's terms; None if RFC 7692 7.1 has us decline it."""
    terms = dict(parameters)
    if len(terms) != len(parameters):
        return None  # a parameter twice
    for name, value in parameters:
        if name in (SERVER_NO_CONTEXT, CLIENT_NO_CONTEXT):
            is_valid = value is None
        elif name == CLIENT_WINDOW:
            is_valid = value is None or value in _WINDOWS
        else:
            is_valid = name == SERVER_WINDOW and value in _WINDOWS
        if not is_valid:
            return None
    bits = terms.get(SERVER_WINDOW)
    if bits is None:
        return Agreement()
    return Agreement(int(bits), is_asked_for=True) if int(bits) >= _MIN_BITS else None


def _parameter(text: str) -> tuple[str, str | None]:
    """Name and value of ``name``, ``name=token`` or ``name="token"``."""
    name, equals, value = text.partition("=")
    name, value = name.rstrip(" \t"), value.lstrip(" \t")
    if value[:1] == value[-1:] == '"':
        value = _QUOTED_PAIR.sub(r"\1", value[1:-1])
    if _TOKEN.fullmatch(name) is None or (equals and _TOKEN.fullmatch(value) is None):
        raise _malformed(text)
    return name, value if equals else None


def _malformed(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"no list of extensions: {show(text, 40)} (RFC 6455 9.1)", 400)


# -- a message in ----------------------------------------------------------------------


class Inflater:
    """Decompresses one message, as its parts come.

    ``limit`` is the most bytes that it may have when decompressed. A kibibyte of
    DEFLATE may stand for a mebibyte, so zlib is never asked for more than what is
    left of the limit, and one byte.
    """

    __slots__ = ("_left", "_limit", "_streams", "_zlib", "fault")

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit
        self._zlib = zlib.decompressobj(-_MAX_BITS)
        self._streams = 1
        self.fault: RemoteProtocolError | None = None

    def inflate(self, part: bytes, *, final: bool) -> bytes:
        """The next part, or the last, decompressed.

        What is wrong behind it is `fault`, not raised: the caller first looks at what
        came before it, or its verdict would depend on how the network cuts a message.
        Its close code is 1009 for a message over the limit, 1007 for what is no
        DEFLATE, or ends in the middle of it.
        """
        inflated = self._inflate(part)
        if final:
            inflated += self._inflate(_TAIL)
            # What comes out now is that block itself, as the rest of one that was cut off.
            ours = self._inflate(_FINAL_BLOCK)
            if self.fault is None and (ours or not self._zlib.eof or self._zlib.unused_data):
                self.fault = _corrupt("it is not complete")
        return inflated

    def _inflate(self, data: bytes) -> bytes:
        inflated = b""
        while data and self.fault is None:
            if self._zlib.eof:
                self._next_stream()
            room = self._left - len(inflated) + 1
            before = self._zlib.copy()  # which costs a microsecond
            try:
                inflated += self._zlib.decompress(data, room)
            except zlib.error as error:
                self.fault = _corrupt(str(error).rpartition(": ")[2])
                inflated += _up_to_fault(before, data)
            if len(inflated) > self._left:
                self.fault = _too_big(f"message over {self._limit} bytes")
            data = self._zlib.unused_data or self._zlib.unconsumed_tail
        self._left -= len(inflated)
        return inflated

    def _next_stream(self) -> None:
        """A block that says it is the final one ends a stream, not the message (7.2.3.4)."""
        if self._streams == MAX_STREAMS:
            self.fault = _too_big(f"message in over {MAX_STREAMS} streams")
        self._streams += 1
        self._zlib = zlib.decompressobj(-_MAX_BITS)


def _up_to_fault(state: Decompressor, data: bytes) -> bytes:
    """What comes out of the bytes before the one that is wrong: zlib keeps it back.

    It counts, or the verdict would depend on the cut: it may be over the limit, or no UTF-8.
    It needs no bound of its own: with more to come out, zlib had not got as far as the fault.
    """
    inflated = b""
    while len(data) > 1:
        half = data[: len(data) // 2]
        attempt = state.copy()
        try:
            inflated += attempt.decompress(half)
        except zlib.error:
            data = half
        else:
            state, data = attempt, data[len(half) :]
    return inflated


def _too_big(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(why, MESSAGE_TOO_BIG)


def _corrupt(why: str) -> RemoteProtocolError:
    message = f"compressed message is no DEFLATE: {why} (RFC 7692 7.2.2)"
    return RemoteProtocolError(message, INVALID_PAYLOAD)
