r"""MessagePack, read: what emitters of the Socket.IO of Node.js put on a channel of Redis.

What it implements: the MessagePack specification (github.com/msgpack/msgpack, spec.md), from
bytes to values, with the timestamp extension. What it leaves out: writing; all other
extensions; maps with keys that are no strings, which JavaScript has not.

In one line::

    decode(b"\x92\xa5hello\x01")  # ["hello", 1]

The first byte of a value says its format, and in many also its length or the value itself::

    92  a5 68 65 6c 6c 6f  01         an array of 2: a string of 5, and the integer 1
    |   |                  |
    |   fixstr + length    positive fixint
    fixarray + length
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .errors import RemoteProtocolError

# We read by recursion, and so do others who get the values.
MAX_DEPTH: Final = 32
# An empty array is a byte on the wire and sixty in memory. So many values are read in less
# than a tenth of a second, in which nobody else is served.
MAX_VALUES: Final = 100_000

# "Overview" of the specification, in its order. Each fix format has a range of first bytes,
# whose rest is the length, or the value.
POSITIVE_FIXINT: Final = 0x00
FIXMAP: Final = 0x80
FIXARRAY: Final = 0x90
FIXSTR: Final = 0xA0
NIL: Final = 0xC0
# 0xC1 is never used.
FALSE: Final = 0xC2
TRUE: Final = 0xC3
NEGATIVE_FIXINT: Final = 0xE0

_CONSTANTS: Final = {NIL: None, FALSE: False, TRUE: True}
_NUMBERS: Final = {
    0xCA: struct.Struct(">f"),
    0xCB: struct.Struct(">d"),
    0xCC: struct.Struct(">B"),
    0xCD: struct.Struct(">H"),
    0xCE: struct.Struct(">I"),
    0xCF: struct.Struct(">Q"),
    0xD0: struct.Struct(">b"),
    0xD1: struct.Struct(">h"),
    0xD2: struct.Struct(">i"),
    0xD3: struct.Struct(">q"),
}
# The length of the data of an extension of fixed length.
_FIXEXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
TIMESTAMP: Final = -1  # the type of that extension
NANOSECONDS: Final = 10**9  # in a second


class Timestamp(NamedTuple):
    """A moment: seconds since 1970 began, in UTC, and nanoseconds behind them."""

    seconds: int
    nanoseconds: int = 0


def decode(data: bytes) -> Any:
    """The one value in ``data``. Raises `RemoteProtocolError` if it is not just that."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise RemoteProtocolError(f"{len(data) - reader.at} bytes behind the value (MessagePack)")
    return value


class _Reader:
    """Where we are in the bytes, and how many values there were."""

    __slots__ = ("_data", "_values", "at")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._values = 0
        self.at = 0

    def value(self, depth: int) -> Any:
        """The next value; ``depth`` is how many arrays and maps are around it."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise RemoteProtocolError(f"over {MAX_VALUES} values (MessagePack)")
        first = self._take(1)[0]
        if first < FIXMAP:
            return first - POSITIVE_FIXINT
        if first < FIXARRAY:
            return self._map(first - FIXMAP, depth)
        if first < FIXSTR:
            return self._array(first - FIXARRAY, depth)
        if first < NIL:
            return self._str(first - FIXSTR, depth)
        if first >= NEGATIVE_FIXINT:
            return first - 0x100
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        return self._long(first, depth)

    def _long(self, first: int, depth: int) -> Any:
        """A value of a format whose first byte says no more than that."""
        if first in _NUMBERS:
            number = _NUMBERS[first]
            return number.unpack(self._take(number.size))[0]
        if first in _FIXEXT:
            return self._ext(_FIXEXT[first], depth)
        if first not in _SIZED:
            raise RemoteProtocolError(f"no value starts with 0x{first:02x} (MessagePack)")
        bytes_of_length, read = _SIZED[first]
        return read(self, int.from_bytes(self._take(bytes_of_length), "big"), depth)

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            # Before anything is made of that size.
            raise RemoteProtocolError(f"{end - len(self._data)} bytes are missing (MessagePack)")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def _bin(self, length: int, depth: int) -> bytes:
        return self._take(length)

    def _str(self, length: int, depth: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("a string that is not UTF-8 (MessagePack)") from None

    def _array(self, length: int, depth: int) -> list[Any]:
        self._enter(length, depth)
        return [self.value(depth + 1) for _ in range(length)]

    def _map(self, length: int, depth: int) -> dict[str, Any]:
        self._enter(2 * length, depth)
        found: dict[str, Any] = {}
        for _ in range(length):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise RemoteProtocolError("a map with a key that is no string (MessagePack)")
            found[key] = self.value(depth + 1)
        return found

    def _enter(self, values: int, depth: int) -> None:
        """Hold what is announced against what can be: each value has at least a byte."""
        if depth == MAX_DEPTH:
            raise RemoteProtocolError(f"nested over {MAX_DEPTH} deep (MessagePack)")
        left = len(self._data) - self.at
        if values > left:
            raise RemoteProtocolError(f"{values} values in {left} bytes (MessagePack)")

    def _ext(self, length: int, depth: int) -> Timestamp:
        kind = int.from_bytes(self._take(1), "big", signed=True)
        if kind != TIMESTAMP:
            raise RemoteProtocolError(f"an extension of type {kind} (MessagePack)")
        return _timestamp(self._take(length))


# The bytes of the length, and what reads as many as it says.
_SIZED: Final[dict[int, tuple[int, Callable[[_Reader, int, int], Any]]]] = {
    0xC4: (1, _Reader._bin),
    0xC5: (2, _Reader._bin),
    0xC6: (4, _Reader._bin),
    0xC7: (1, _Reader._ext),
    0xC8: (2, _Reader._ext),
    0xC9: (4, _Reader._ext),
    0xD9: (1, _Reader._str),
    0xDA: (2, _Reader._str),
    0xDB: (4, _Reader._str),
    0xDC: (2, _Reader._array),
    0xDD: (4, _Reader._array),
    0xDE: (2, _Reader._map),
    0xDF: (4, _Reader._map),
}


def _timestamp(data: bytes) -> Timestamp:
    """ "Timestamp extension type": 32, 64 or 96 bits."""
    if len(data) == 4:
        return Timestamp(int.from_bytes(data, "big"))
    if len(data) == 8:
        both = int.from_bytes(data, "big")
        moment = Timestamp(both & (1 << 34) - 1, both >> 34)
    elif len(data) == 12:
        nanoseconds, seconds = struct.unpack(">Iq", data)
        moment = Timestamp(seconds, nanoseconds)
    else:
        raise RemoteProtocolError(f"a timestamp of {len(data)} bytes (MessagePack)")
    if moment.nanoseconds >= NANOSECONDS:
        raise RemoteProtocolError(f"{moment.nanoseconds} nanoseconds (MessagePack)")
    return moment
