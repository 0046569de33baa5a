r"""What both sides of HTTP/1.1 read alike: lines, fields, and content by its framing.

What it implements: RFC 9112 sections 2.2 (lines), 5 (field syntax), 6 and 7.1
(content by its length, or chunked), with limits for all of them. What it leaves out:
the first line of a message, and what its fields mean, which are a side's own:
`http1` reads requests, and `http1_client` answers.

In one line::

    class Connection(Reader[Event]): _steps = {State.HEAD: ..., **CONTENT_STEPS}

The machine takes what it can from its buffer, step by step, and the state says which
step is next::

    HEAD --(a length)> CONTENT --------------------------------> DONE
    HEAD --(none)----------------------------------------------> DONE
    HEAD --(chunked)-> CHUNK_SIZE <--> CHUNK_DATA, CHUNK_END
                       CHUNK_SIZE --(0)--> TRAILERS -----------> DONE
    any  --(a fault)-> ERROR                   DONE --(next)--> HEAD
"""

from __future__ import annotations

import enum
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from .errors import LocalProtocolError, RemoteProtocolError, show


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a head may be. The CR LF at the end of a line is not counted.

    Without them a peer that never ends its line or its head makes us keep all it sends.
    """

    line: int = 8192  # bytes of the first line, and of each header line
    head: int = 32768  # bytes of all these lines together
    fields: int = 100  # header lines


USUAL: Final = Limits()
MAX_CHUNK_LINE_BYTES: Final = 256  # the size of a chunk, and its extensions
MAX_TRAILER_BYTES: Final = 8192


class EndOfMessage(enum.Enum):
    """The type of the one constant `END_OF_MESSAGE`."""

    END_OF_MESSAGE = "end of message"


END_OF_MESSAGE: Final = EndOfMessage.END_OF_MESSAGE

# Names in lower case, values without the white space around them, both decoded as
# Latin-1, in the order received.
Fields: TypeAlias = tuple[tuple[str, str], ...]


class State(enum.Enum):
    """What the next byte from the peer must be a part of."""

    HEAD = "head"
    CONTENT = "content of a known length"  # RFC 9112 6.2
    CHUNK_SIZE = "chunk size"  # RFC 9112 7.1
    CHUNK_DATA = "chunk data"
    CHUNK_END = "end of a chunk"
    TRAILERS = "trailers"  # RFC 9112 7.1.2
    DONE = "done"  # until next_request()
    ERROR = "error"  # for good
    UPGRADED = "upgraded"  # the bytes belong to another protocol now

    # A state is looked up for every read; enum's own hash takes three times as long.
    __hash__ = object.__hash__


# Those that every request passes through: to find a member of an enum costs more than a call.
HEAD: Final = State.HEAD
DONE: Final = State.DONE


# RFC 9110 5.6.2: what a method or a field name is made of.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 5.5: visible characters, obs-text, and blanks between them. No other
# control character gets in, so no NUL, no bare CR or LF, and no vertical tab
# (which str.strip would remove, making "\x0bchunked" and "chunked" the same).
_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
# The quantifiers that end in "+" are possessive: they never give back what they
# took, so the match is linear in the length of the head, whatever it holds. Groups
# are not: up to 3.11.2, Python goes on in the middle of one that did not match.
_FIELD = re.compile(rf"^({TOKEN}+):[\t ]*+({_VALUE}+)\r\n", re.MULTILINE)
_CR_OR_LF = re.compile(rb"[\r\n]")

# ASCII digits only: int() and \d also take other scripts' digits, "1_0" and "+1".
_DIGITS = re.compile(r"[0-9]{1,18}")
# 16 hexadecimal digits hold any length a file system knows; more is an attack on
# parsers whose integers overflow.
_SIZE = "([0-9A-Fa-f]{1,16})"
_TOO_MANY_DIGITS = re.compile(rb"[0-9A-Fa-f]{17}")
# RFC 9112 7.1.1: after the size come extensions, which nobody uses and we only check.
# The grammar has a place for blanks right after the size. No sender may put any there,
# and parsers that skip them, or stop at them, have disagreed about the size: refused.
_QUOTED = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_BWS = r"[\t ]*+"
_EXTENSION = rf";{_BWS}{TOKEN}+(?:{_BWS}={_BWS}(?:{TOKEN}+|{_QUOTED}))?"
_CHUNK_LINE = re.compile(rf"{_SIZE}(?:{_EXTENSION}(?:{_BWS}{_EXTENSION})*)?\r\n".encode("latin-1"))
# RFC 9110 6.5.1: fields that frame, route or authenticate must not come late.
_FORBIDDEN_TRAILERS: Final = frozenset(
    "authorization connection content-length cookie expect host te trailer"
    " transfer-encoding upgrade".split()
)


EventT = TypeVar("EventT")


class Reader(ABC, Generic[EventT]):
    """What reads messages, of either side: heads line by line, content by its framing.

    A side adds the table of its steps, and what reads a head of its own kind.
    ``keep_alive`` says whether another message may follow the one in hand (RFC 9112 9.3).
    """

    __slots__ = (
        "_buffer",
        "_left",
        "_limits",
        "_line_start",
        "_searched",
        "_short",
        "_trailer_bytes",
        "keep_alive",
        "state",
    )

    # Consumes what it can from the buffer; says whether there is a point in looking again.
    _steps: ClassVar[dict[State, Callable[[Any, list[Any]], bool]]]

    def __init__(self, limits: Limits = USUAL) -> None:
        self.state = HEAD
        self.keep_alive = False
        self._limits = limits
        self._short = min(limits.line, limits.head)  # bytes that no head may not have
        self._buffer = bytearray()
        self._line_start = 0  # of the head's first line that is not checked yet
        self._searched = 0  # how far the buffer is known to hold no end of that line
        self._left = 0  # bytes of content, or of the chunk, still to come
        self._trailer_bytes = 0  # of the trailers that have come

    @property
    def buffered(self) -> int:
        """How many received bytes wait to be parsed."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[EventT]:
        """Take bytes from the peer; return what they complete.

        A fault is the last event of its list, a `RemoteProtocolError` with the
        status to answer; after it, all bytes are dropped.
        """
        self._buffer += data
        return self._parse()

    def upgrade(self) -> bytes:
        """Hand the connection to another protocol; return the bytes that are its own."""
        self.state = State.UPGRADED
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _parse(self) -> list[EventT]:
        events: list[Any] = []
        steps = self._steps
        try:
            while steps[self.state](self, events):
                pass
        except RemoteProtocolError as error:
            self.state = State.ERROR
            self.keep_alive = False
            self._buffer.clear()
            events.append(error)
        return events

    def _wait(self, events: list[Any]) -> bool:
        return False

    def _drop(self, events: list[Any]) -> bool:
        self._buffer.clear()
        return False

    def _upgraded(self, events: list[Any]) -> bool:
        raise LocalProtocolError("the connection was upgraded: these bytes are not HTTP")

    def _head_end(self) -> int:
        """Where the content starts; -1 if the head goes on. Raises if a limit is passed."""
        buffer = self._buffer
        if not self._line_start:
            # The usual head is short and comes in one segment.
            end = buffer.find(b"\r\n\r\n", 0, self._short)
            if end >= 0 and buffer.count(b"\n", 0, end) <= self._limits.fields:
                return end + 4
        return self._check_lines() if buffer else -1

    def _check_lines(self) -> int:
        """Check a head line by line, without waiting for its end.

        Each line is judged by its first wrong byte, and before the next one, so
        the verdict depends on the bytes alone and not on how they were cut into
        segments: who cuts them must not choose what is found wrong with them.
        """
        buffer = self._buffer
        self._check_start(buffer)
        while True:
            start = self._line_start
            end = self._line_end(start, *self._line_limit(start))
            if end < 0:
                return -1
            if end == start:
                return end + 2
            if start and buffer.count(b"\n", 0, start) > self._limits.fields:
                raise RemoteProtocolError(f"over {self._limits.fields} header lines", 431)
            line = buffer[start : end + 2].decode("latin-1")
            if not start:
                self._check_first_line(line)
            elif fault := _field_fault(line[:-2]):
                raise fault
            self._line_start = self._searched = end + 2

    # What a head starts with is the side's own.

    @abstractmethod
    def _check_start(self, buffer: bytearray) -> None:
        """Refuse what no first line can start with."""

    @abstractmethod
    def _check_first_line(self, line: str) -> None:
        """Refuse a first line, without waiting for the rest of the head."""

    def _line_limit(self, start: int) -> tuple[int, int, str]:
        """How long the head's line that starts there may be, and what to answer if it is longer."""
        room = max(0, self._limits.head - start)
        if room < self._limits.line:
            return room, 431, f"head over {self._limits.head} bytes"
        return self._limits.line, 431, f"header line over {self._limits.line} bytes"

    def _line_end(self, start: int, limit: int, status: int, too_long: str) -> int:
        """Where the line that starts there has its CR LF; -1 if that has not come."""
        buffer = self._buffer
        found = _CR_OR_LF.search(buffer, max(start, self._searched), start + limit + 1)
        if found is None:
            if len(buffer) - start > limit:
                raise RemoteProtocolError(too_long, status)
            self._searched = len(buffer)
            return -1
        end = found.start()
        if buffer[end : end + 2] == b"\r\n":
            return end
        if buffer[end : end + 2] == b"\r":  # and there this segment ends
            self._searched = end
            return -1
        raise _bare_line_end()

    def _take_line(self, limit: int, status: int, too_long: str) -> bytes | None:
        """Take the first line off the buffer, without its CR LF; None if it is not all there."""
        end = self._line_end(0, limit, status, too_long)
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._searched = 0
        return line

    def _content(self, events: list[Any]) -> bool:
        if self._take_content(events):
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
        return False

    def _take_content(self, events: list[Any]) -> bool:
        """Pass on what has come of the content; True when nothing is left to come."""
        part = bytes(self._buffer[: self._left])
        if part:
            del self._buffer[: len(part)]
            self._left -= len(part)
            events.append(part)
        return not self._left

    def _chunk_size(self, events: list[Any]) -> bool:
        self._take_whole_chunks(events)
        if _TOO_MANY_DIGITS.match(self._buffer):  # whose end need not come
            raise RemoteProtocolError("chunk size over 16 digits (RFC 9112 7.1)", 400)
        too_long = f"chunk size over {MAX_CHUNK_LINE_BYTES} bytes"
        line = self._take_line(MAX_CHUNK_LINE_BYTES, 400, too_long)
        if line is None:
            return False
        match = _CHUNK_LINE.fullmatch(line + b"\r\n")
        if match is None:
            raise RemoteProtocolError(f"bad chunk size {show(line)} (RFC 9112 7.1)", 400)
        self._left = int(match[1], 16)
        self.state = State.CHUNK_DATA if self._left else State.TRAILERS
        self._trailer_bytes = 0
        return True

    def _take_whole_chunks(self, events: list[Any]) -> None:
        """Pass on the chunks that are all there, as one part.

        A peer may send a million chunks of one byte: they cost the least this way,
        and the steps read the same chunks, only slower.
        """
        buffer = self._buffer
        content = bytearray()
        taken = 0
        while line := _CHUNK_LINE.match(buffer, taken):
            start = line.end()
            end = start + int(line[1], 16)
            whole = end > start and buffer[end : end + 2] == b"\r\n"
            if not whole or start - taken > MAX_CHUNK_LINE_BYTES + 2:
                break
            content += buffer[start:end]
            taken = end + 2
        if taken:
            del buffer[:taken]
            self._searched = 0
            events.append(bytes(content))

    def _chunk_data(self, events: list[Any]) -> bool:
        if not self._take_content(events):
            return False
        self.state = State.CHUNK_END
        return True

    def _chunk_end(self, events: list[Any]) -> bool:
        end = bytes(self._buffer[:2])
        if not b"\r\n".startswith(end):
            wrong = end if end[:1] == b"\r" else end[:1]  # the second byte may not be there yet
            raise RemoteProtocolError(
                f"a chunk ends in {show(wrong)}, not CR LF (RFC 9112 7.1)", 400
            )
        if len(end) < 2:
            return False
        del self._buffer[:2]
        self.state = State.CHUNK_SIZE
        return True

    def _trailers(self, events: list[Any]) -> bool:
        room = max(0, MAX_TRAILER_BYTES - self._trailer_bytes)
        line = self._take_line(room, 431, f"trailers over {MAX_TRAILER_BYTES} bytes")
        if line is None:
            return False
        if not line:
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
            return False
        self._trailer_bytes += len(line) + 2
        field = _FIELD.fullmatch(line.decode("latin-1") + "\r\n")
        if field is None or field[1].lower() in _FORBIDDEN_TRAILERS:
            name = show_name(line.decode("latin-1"))
            raise RemoteProtocolError(f"bad trailer {name} (RFC 9110 6.5.1)", 400)
        return True


# Where both sides read the same; `State.HEAD` is a side's own.
CONTENT_STEPS: Final = {
    State.CONTENT: Reader._content,
    State.CHUNK_SIZE: Reader._chunk_size,
    State.CHUNK_DATA: Reader._chunk_data,
    State.CHUNK_END: Reader._chunk_end,
    State.TRAILERS: Reader._trailers,
    State.DONE: Reader._wait,
    State.ERROR: Reader._drop,
    State.UPGRADED: Reader._upgraded,
}


# -- fields -------------------------------------------------------------------


def parse_fields(text: str) -> Fields:
    """The fields of a head: all that is behind its first line."""
    fields = _FIELD.findall(text)
    # A match starts where a line does and holds one line break, at its end: as
    # many matches as there are breaks, and there is nothing between them.
    if len(fields) != text.count("\n") - 1:
        raise next(filter(None, map(_field_fault, text[:-4].split("\r\n"))))
    return tuple([(name.lower(), value.rstrip("\t ")) for name, value in fields])


def parse_content_length(value: str) -> int:
    if not _DIGITS.fullmatch(value):
        raise RemoteProtocolError(f"bad Content-Length {show(value)} (RFC 9110 8.6)", 400)
    return int(value)


def parse_chunked(value: str, version: str) -> bool:
    if version == "1.0":
        raise RemoteProtocolError("HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)", 400)
    if value.lower() != "chunked":
        raise RemoteProtocolError(
            f"Transfer-Encoding {show(value)} is not chunked (RFC 9112 6.1)", 400
        )
    return True


def list_members(values: Iterable[str]) -> set[str]:
    """The members of a comma-separated list (RFC 9110 5.6.1), in lower case."""
    return {option.strip("\t ").lower() for option in ",".join(values).split(",")} - {""}


# -- what was wrong -----------------------------------------------------------


def line_fault(line: str) -> RemoteProtocolError | None:
    """What is wrong with a line whatever it should be, and so is said before anything else."""
    return _bare_line_end() if "\r" in line or "\n" in line else None


def _bare_line_end() -> RemoteProtocolError:
    return RemoteProtocolError("bare CR or LF (RFC 9112 2.2)", 400)


def _field_fault(line: str) -> RemoteProtocolError | None:
    if _FIELD.fullmatch(line + "\r\n"):
        return None
    if fault := line_fault(line):
        return fault
    if line[:1] in ("\t", " "):
        return RemoteProtocolError(
            "header line that goes on with the one before (RFC 9112 5.2)", 400
        )
    return RemoteProtocolError(f"bad header line {show_name(line)} (RFC 9112 5)", 400)


def show_name(line: str) -> str:
    """A faulty field line for a message, without what may be a password: its value."""
    name, colon, _ = line.partition(":")
    return f"{show(name + colon)[:-1]}...'" if colon else "without a colon"
