r"""RESP, the language of Redis and Valkey, without I/O: the client's side.

What it implements: version 2 of the protocol ("Redis serialization protocol specification",
redis.io): commands out, replies in, and what a connection that has subscribed is told
("Redis Pub/Sub"). What it leaves out: version 3, which a server speaks only after HELLO,
and inline commands, which are for people.

In one line::

    redis = Connection(); data = encode_command("PUBLISH", "news", b"..."); redis.receive(reply)

A reply says by its first byte what it is, and a line ends it, or its length::

    +OK                         simple string   "OK"
    -NOAUTH Authentication ...  simple error    SimpleError("NOAUTH Authentication ...")
    :1000                       integer         1000
    $5  hello                   bulk string     b"hello"
    *2  :1  $-1                 array           [1, None]
    |
    each is followed by CR LF, and what is in a bulk string too

A message is an array, as any reply is, that nobody asked for::

    *3  $7 message  $4 news  $5 hello
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from .errors import RemoteProtocolError, show

# What an error says fits many times. Without it, a line that never ends is kept for ever.
MAX_LINE_BYTES: Final = 8192
# A sign and the nineteen digits of 64 bits.
NUMBER_BYTES: Final = 20
# proto-max-bulk-len: no server sends a longer one, unless it was told to.
MAX_BULK_BYTES: Final = 512 * 1024 * 1024
# Of all bulk strings of one reply together that are kept. A message of Socket.IO has a
# megabyte, and with its attachments in base64 less than four.
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
# In one reply, at all depths: each costs us a hundred bytes and the peer four.
MAX_ELEMENTS: Final = 4096
# A message has a depth of one, and no reply that we ask for has more.
MAX_DEPTH: Final = 8

# "RESP protocol description", in its order; those of version 3 are left out.
SIMPLE_STRING: Final = ord("+")
SIMPLE_ERROR: Final = ord("-")
INTEGER: Final = ord(":")
BULK_STRING: Final = ord("$")
ARRAY: Final = ord("*")

_LINE_LIMITS: Final = {
    SIMPLE_STRING: MAX_LINE_BYTES,
    SIMPLE_ERROR: MAX_LINE_BYTES,
    INTEGER: NUMBER_BYTES,
    BULK_STRING: NUMBER_BYTES,
    ARRAY: NUMBER_BYTES,
}
# ASCII digits only: int() also takes other scripts' digits, "1_0" and blanks.
_INTEGER: Final = re.compile(rb"[+-]?[0-9]{1,19}")
_MAX_INTEGER: Final = (1 << 63) - 1
# What stands in an error before the arguments of a command that the server does not know.
_QUOTED: Final = ", with args beginning with: "
_LENGTH: Final = re.compile(rb"-1|0|[1-9][0-9]*")


class SimpleError(NamedTuple):
    """What the server says instead of doing what it was asked; ``words`` are decoded as Latin-1."""

    words: str

    @property
    def prefix(self) -> str:
        """The kind of error: NOAUTH, LOADING and so on."""
        return self.words.partition(" ")[0]

    def __str__(self) -> str:
        """The server's words, fit for a log: without what it quotes of ours, a password perhaps."""
        return show(self.words.partition(_QUOTED)[0], 120)[1:-1]


class Oversize(NamedTuple):
    """In the place of a bulk string that was too long to be kept, and was thrown away."""

    length: int


# Both kinds of null, "$-1" and "*-1", are None.
Value: TypeAlias = "str | SimpleError | int | bytes | Oversize | list[Value] | None"
Event: TypeAlias = "Value | RemoteProtocolError"


class Message(NamedTuple):
    """What somebody published on a channel; ``pattern`` is the one that it matches, or None."""

    channel: bytes
    payload: bytes | Oversize
    pattern: bytes | None = None


class State(enum.Enum):
    """What the next byte from the server must be a part of."""

    LINE = "line"
    BULK = "bulk string"
    SKIPPED = "bulk string that is too long to be kept"
    ERROR = "error"  # for good


class Connection:
    """One connection to a server, as its client reads it."""

    __slots__ = (
        "_arrays",
        "_buffer",
        "_elements",
        "_kept",
        "_left",
        "_length",
        "_max_kept",
        "_searched",
        "state",
    )

    def __init__(self, max_kept: int = MAX_KEPT_BYTES) -> None:
        """``max_kept`` is how many bytes of bulk strings are kept of one reply."""
        self.state = State.LINE
        self._max_kept = max_kept
        self._buffer = bytearray()
        self._searched = 0  # how far the buffer is known to hold no end of a line
        self._length = 0  # of the bulk string, and what of it, with its end, is still to come
        self._left = 0
        self._arrays: list[tuple[list[Value], int]] = []  # the open ones, and their lengths
        self._elements = 0  # of the reply that is being read
        self._kept = 0  # bytes of its bulk strings

    @property
    def buffered(self) -> int:
        """How many received bytes wait for those that make them whole."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the server; return the replies that they complete.

        A fault is the last event of its list; after it, all bytes are dropped.
        """
        events: list[Event] = []
        if self.state is State.ERROR:
            return events
        self._buffer += data
        try:
            while _STEPS[self.state](self, events):
                pass
        except RemoteProtocolError as error:
            self._fail(error, events)
        return events

    def receive_eof(self) -> list[Event]:
        """The server has closed: a fault, if that was within a reply."""
        events: list[Event] = []
        if self._buffer or self._arrays or self.state in (State.BULK, State.SKIPPED):
            self._fail(RemoteProtocolError("the server closed within a reply"), events)
        self.state = State.ERROR
        return events

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        self.state = State.ERROR
        self._buffer.clear()
        self._arrays.clear()
        events.append(error)

    # -- lines -------------------------------------------------------------------------

    def _take_line(self, events: list[Event]) -> bool:
        buffer = self._buffer
        if not buffer:
            return False
        kind = buffer[0]
        if kind not in _LINE_LIMITS:
            raise RemoteProtocolError(f"no reply starts with {show(bytes(buffer[:1]))} (RESP 2)")
        longest = 1 + _LINE_LIMITS[kind] + 2
        end = buffer.find(b"\r\n", self._searched, longest)
        if end < 0:
            if len(buffer) >= longest:
                raise RemoteProtocolError(f"a line of over {_LINE_LIMITS[kind]} bytes (RESP 2)")
            self._searched = len(buffer) - 1  # the CR may be there already
            return False
        line = bytes(buffer[1:end])
        del buffer[: end + 2]
        self._searched = 0
        if kind == BULK_STRING:
            self._begin_bulk(_length(line, MAX_BULK_BYTES, "bytes"), events)
        elif kind == ARRAY:
            self._begin_array(_length(line, MAX_ELEMENTS, "elements"), events)
        else:
            self._add(_SIMPLE[kind](line), events)
        return True

    def _begin_bulk(self, length: int | None, events: list[Event]) -> None:
        if length is None:
            self._add(None, events)
            return
        self._length, self._left = length, length + 2
        # Who may publish must not be able to cut us off: what is too long is only not kept.
        if self._kept + length > self._max_kept:
            self.state = State.SKIPPED
        else:
            self._kept += length
            self.state = State.BULK

    def _begin_array(self, length: int | None, events: list[Event]) -> None:
        self._elements += length or 0
        if self._elements > MAX_ELEMENTS:
            raise RemoteProtocolError(f"a reply of over {MAX_ELEMENTS} elements")
        if not length:
            self._add(None if length is None else [], events)
            return
        if len(self._arrays) == MAX_DEPTH:
            raise RemoteProtocolError(f"arrays nested over {MAX_DEPTH} deep")
        self._arrays.append(([], length))

    # -- bulk strings ------------------------------------------------------------------

    def _take_bulk(self, events: list[Event]) -> bool:
        if len(self._buffer) < self._left:
            return False
        content = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        self._end_bulk(content, events)
        return True

    def _skip_bulk(self, events: list[Event]) -> bool:
        content = min(len(self._buffer), self._left - 2)
        del self._buffer[:content]
        self._left -= content
        if len(self._buffer) < self._left:
            return False
        self._end_bulk(Oversize(self._length), events)
        return True

    def _end_bulk(self, value: bytes | Oversize, events: list[Event]) -> None:
        if not self._buffer.startswith(b"\r\n"):
            raise RemoteProtocolError(f"no CR LF behind a bulk string of {self._length} bytes")
        del self._buffer[:2]
        self.state = State.LINE
        self._add(value, events)

    # -- replies -----------------------------------------------------------------------

    def _add(self, value: Value, events: list[Event]) -> None:
        """A value is whole, and perhaps the arrays that it is the last of."""
        while self._arrays:
            array, length = self._arrays[-1]
            array.append(value)
            if len(array) < length:
                return
            value = array
            self._arrays.pop()
        self._elements = self._kept = 0
        events.append(value)


_STEPS: Final[dict[State, Callable[[Connection, list[Event]], bool]]] = {
    State.LINE: Connection._take_line,
    State.BULK: Connection._take_bulk,
    State.SKIPPED: Connection._skip_bulk,
}


def _length(line: bytes, most: int, unit: str) -> int | None:
    """The length that a line announces; None for null."""
    if not _LENGTH.fullmatch(line):
        raise RemoteProtocolError(f"{show(line)} is no length (RESP 2)")
    length = int(line)
    if length > most:
        raise RemoteProtocolError(f"a length of {length}, which is over {most} {unit}")
    return None if length < 0 else length


def _words(line: bytes) -> str:
    if b"\r" in line or b"\n" in line:
        raise RemoteProtocolError(f"a line break within the line {show(line)} (RESP 2)")
    return line.decode("latin-1")


def _error(line: bytes) -> SimpleError:
    return SimpleError(_words(line))


def _integer(line: bytes) -> int:
    number = int(line) if _INTEGER.fullmatch(line) else _MAX_INTEGER + 1
    if not -_MAX_INTEGER - 1 <= number <= _MAX_INTEGER:
        raise RemoteProtocolError(f"{show(line)} is no integer of 64 bits (RESP 2)")
    return number


_SIMPLE: Final[dict[int, Callable[[bytes], Value]]] = {
    SIMPLE_STRING: _words,
    SIMPLE_ERROR: _error,
    INTEGER: _integer,
}


# -- commands out, and what subscribers are told ---------------------------------------------


def encode_command(*words: str | bytes) -> bytes:
    """A command: an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        content = word.encode(errors="surrogateescape") if isinstance(word, str) else word
        parts.append(b"$%d\r\n%b\r\n" % (len(content), content))
    return b"".join(parts)


def message_of(reply: Event) -> Message | None:
    """The message that a reply is, if it is one."""
    match reply:
        case [b"message", bytes(channel), (bytes() | Oversize()) as payload]:
            return Message(channel, payload)
        case [b"pmessage", bytes(pattern), bytes(channel), (bytes() | Oversize()) as payload]:
            return Message(channel, payload, pattern)
    return None


def subscribed_to(reply: Event) -> bytes | None:
    """The channel or the pattern whose subscription a reply confirms, if it is such."""
    match reply:
        case [b"subscribe" | b"psubscribe", bytes(channel), int()]:
            return channel
    return None
