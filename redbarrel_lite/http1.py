r"""HTTP/1.1, the server's side, without I/O: bytes in, events out, and back.

What it implements: RFC 9112 (message syntax, framing, connection handling) and
from RFC 9110 what a server needs to frame an answer (status codes, HEAD, 1xx, 204,
304; the Date is the caller's). What it leaves out on purpose: trailers are
checked and dropped (RFC 9112 7.1.2 lets a recipient do so), obsolete line
folding is refused, HTTP/0.9 is refused, and no content coding is undone.

In one line::

    for event in Connection().receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"): ...

The events of one request come in this order, and those of the next request only
after `Connection.next_request`, so that pipelined requests are answered one at
a time and in order (RFC 9112 9.3.2)::

    Request  bytes*  END_OF_MESSAGE        bytes: a part of the request's content
    ...      RemoteProtocolError           always the last: nothing after a fault
                                           is ever taken for a request

Where the RFC lets a recipient be lenient, this one refuses: every leniency is
one more way in which a proxy in front and this server can disagree about where
a request ends, and such a disagreement is request smuggling.
"""

from __future__ import annotations

import enum
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar

from .errors import LocalProtocolError, RemoteProtocolError

# Limits. Without them a peer that never ends its line, its head or its trailers
# makes us keep everything it sends. The CR LF at the end is not counted.
MAX_LINE_BYTES: Final = 8192  # the request line (414), one header line (431)
MAX_HEAD_BYTES: Final = 32768  # the request line and all header lines together (431)
MAX_FIELDS: Final = 100  # header lines (431)
MAX_CHUNK_LINE_BYTES: Final = 256  # the size of a chunk, and its extensions
MAX_TRAILER_BYTES: Final = 8192


class Request(NamedTuple):
    """The head of one request (RFC 9112 section 3), checked.

    ``headers`` has the names in lower case and the values without the white
    space around them, both decoded as Latin-1, in the order received.
    ``content_length`` is None where the content is chunked. ``host`` is the
    authority in lower case, from an absolute-form target if there is one (RFC
    9112 3.2.2), "" for an HTTP/1.0 request that has none.
    """

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    content_length: int | None
    keep_alive: bool
    host: str

    def header(self, name: str) -> str | None:
        """The value of the field ``name`` (lower case); several are joined by ", "."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


class EndOfMessage(enum.Enum):
    """The type of the one constant `END_OF_MESSAGE`."""

    END_OF_MESSAGE = "end of message"


END_OF_MESSAGE: Final = EndOfMessage.END_OF_MESSAGE

Event: TypeAlias = Request | bytes | EndOfMessage | RemoteProtocolError


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


class Parts(enum.Enum):
    """How the parts of a streamed answer travel (RFC 9112 6)."""

    PLAIN = "plain"  # up to the announced length, or until the connection closes
    CHUNKED = "chunked"
    DROPPED = "dropped"  # this answer has no content


# RFC 9110 5.6.2: what a method or a field name is made of.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 5.5: visible characters, obs-text, and blanks between them. No other
# control character gets in, so no NUL, no bare CR or LF, and no vertical tab
# (which str.strip would remove, making "\x0bchunked" and "chunked" the same).
_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
# The quantifiers that end in "+" are possessive: they never give back what they
# took, so the match is linear in the length of the head, whatever it holds. Groups
# are not: up to 3.11.2, Python goes on in the middle of one that did not match.
_REQUEST_LINE = re.compile(rf"({_TOKEN}+) ([\x21\x22\x24-\x7e]++) HTTP/([0-9]\.[0-9])\r\n")
_FIELD = re.compile(rf"^({_TOKEN}+):[\t ]*+({_VALUE}+)\r\n", re.MULTILINE)
_FIRST_BYTE = re.compile(rf"{_TOKEN}|\r".encode())
_CR_OR_LF = re.compile(rb"[\r\n]")

# ASCII digits only: int() and \d also take other scripts' digits, "1_0" and "+1".
_DIGITS = re.compile(r"[0-9]{1,18}")
# 16 hexadecimal digits hold any length a file system knows; more is an attack on
# parsers whose integers overflow.
_SIZE = "([0-9A-Fa-f]{1,16})"
# RFC 9112 7.1.1: after the size come extensions, which nobody uses and we only check.
# The grammar has a place for blanks right after the size. No sender may put any there,
# and parsers that skip them, or stop at them, have disagreed about the size: refused.
_QUOTED = r'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_BWS = r"[\t ]*+"
_EXTENSION = rf";{_BWS}{_TOKEN}+(?:{_BWS}={_BWS}(?:{_TOKEN}+|{_QUOTED}))?"
_CHUNK_LINE = re.compile(rf"{_SIZE}(?:{_EXTENSION}(?:{_BWS}{_EXTENSION})*)?\r\n".encode("latin-1"))
# RFC 9110 7.2: host and port, no user information, no list.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_ABSOLUTE_TARGET = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
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
        "_line_start",
        "_searched",
        "_trailer_bytes",
        "keep_alive",
        "state",
    )

    # Consumes what it can from the buffer; says whether there is a point in looking again.
    _steps: ClassVar[dict[State, Callable[[Any, list[Any]], bool]]]

    def __init__(self) -> None:
        self.state = State.HEAD
        self.keep_alive = False
        self._buffer = bytearray()
        self._line_start = 0  # of the head's first line that is not checked yet
        self._searched = 0  # how far the buffer is known to hold no end of that line
        self._left = 0  # bytes of content, or of the chunk, still to come
        self._trailer_bytes = 0

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
            end = buffer.find(b"\r\n\r\n", 0, MAX_LINE_BYTES)
            if end >= 0 and buffer.count(b"\n", 0, end) <= MAX_FIELDS:
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
            if start and buffer.count(b"\n", 0, start) > MAX_FIELDS:
                raise RemoteProtocolError(f"over {MAX_FIELDS} header lines", 431)
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
        room = max(0, MAX_HEAD_BYTES - start)
        if room < MAX_LINE_BYTES:
            return room, 431, f"head over {MAX_HEAD_BYTES} bytes"
        return MAX_LINE_BYTES, 431, f"header line over {MAX_LINE_BYTES} bytes"

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
        raise RemoteProtocolError("bare CR or LF (RFC 9112 2.2)", 400)

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
            raise RemoteProtocolError(f"a chunk ends in {show(end)}, not CR LF (RFC 9112 7.1)", 400)
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
            raise RemoteProtocolError(f"bad trailer {show(line)} (RFC 9110 6.5.1)", 400)
        return True


class Connection(Reader[Event]):
    """One client's connection, seen by the server.

    Feed it with `receive`; ask it for the bytes of an answer with `respond`, or
    with `start_response`, `chunk` and `end_response` for one of unknown length;
    then `next_request` starts on what the peer has sent in the meantime.

    Whoever answers may forbid ``keep_alive``, until the answer is made.
    """

    __slots__ = ("_owed", "_parts", "_request")

    def __init__(self) -> None:
        super().__init__()
        self._request = _NOT_UNDERSTOOD
        self._parts = Parts.PLAIN
        self._owed: int | None = None  # bytes that the answer in hand has still to send

    # -- bytes in, events out ------------------------------------------------

    def next_request(self) -> list[Event]:
        """Go on to the next request, once the last one is read and answered."""
        if self.state is not State.DONE:
            raise LocalProtocolError(f"the request is not over: the peer owes {self.state.value}")
        self.state = State.HEAD
        self._request = _NOT_UNDERSTOOD
        return self._parse() if self._buffer else []

    def _head(self, events: list[Any]) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]  # RFC 9112 2.2: old clients send empty lines after a POST
        end = self._head_end()
        if end < 0:
            return False
        text = buffer[:end].decode("latin-1")
        del buffer[:end]
        self._line_start = self._searched = 0
        self._request = request = _parse_head(text)
        self.keep_alive = request.keep_alive
        events.append(request)
        if request.content_length == 0:
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
            return False
        if request.content_length is None:
            self.state = State.CHUNK_SIZE
        else:
            self._left = request.content_length
            self.state = State.CONTENT
        return True

    def _check_start(self, buffer: bytearray) -> None:
        if not _FIRST_BYTE.match(buffer):
            raise _bad_first_byte(bytes(buffer[:1]))

    def _check_first_line(self, line: str) -> None:
        if not _REQUEST_LINE.fullmatch(line):
            raise _bad_request_line(line)

    def _line_limit(self, start: int) -> tuple[int, int, str]:
        if start:
            return super()._line_limit(start)
        return MAX_LINE_BYTES, 414, f"request line over {MAX_LINE_BYTES} bytes"

    # -- answers in, bytes out ---------------------------------------------

    def respond(self, status: int, headers: list[tuple[str, str]], content: bytes = b"") -> bytes:
        """The bytes of a whole answer, or of an interim one (status 1xx).

        The fields that frame it are ours: the caller's own `Content-Length` and
        `Transfer-Encoding` are left out, and a "close" of his makes this answer the
        last one. Raises ValueError for a header with a CR, LF or NUL in it, so that
        nothing a handler passes on can be injected, or with what Latin-1 lacks.
        """
        if status < 200:
            return self._interim(status, headers)
        if status in _WITHOUT_CONTENT:
            return self._response_head(status, headers, "")
        head = self._response_head(status, headers, f"content-length: {len(content)}\r\n")
        # RFC 9110 9.3.2: what GET would say of the content, and none of it.
        return head if self._request.method == "HEAD" else head + content

    def start_response(
        self, status: int, headers: list[tuple[str, str]], length: int | None
    ) -> bytes:
        """The head of an answer whose content follows in parts: `chunk`, `end_response`.

        With a ``length`` the parts go out as they are, and must add up to it; with
        None they are chunked, or, for HTTP/1.0, ended by closing.
        """
        self._parts = Parts.PLAIN
        self._owed = length
        framing = ""
        if status not in _WITHOUT_CONTENT:
            if length is not None:
                framing = f"content-length: {length}\r\n"
            elif self._request.version == "1.0":
                self.keep_alive = False
            else:
                framing = "transfer-encoding: chunked\r\n"
                self._parts = Parts.CHUNKED
        if status in _WITHOUT_CONTENT or self._request.method == "HEAD":
            self._parts = Parts.DROPPED
        return self._response_head(status, headers, framing)

    def chunk(self, part: bytes) -> bytes:
        """A part of the answer that `start_response` began."""
        if self._parts is Parts.DROPPED:
            return b""
        if self._parts is Parts.CHUNKED:  # where an empty chunk would be the last
            return b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        if self._owed is not None:
            self._owed -= len(part)
            if self._owed < 0:
                # The client would take the rest for its next answer.
                raise LocalProtocolError("more content than its Content-Length (RFC 9110 8.6)")
        return part

    @property
    def sends_content(self) -> bool:
        """Whether the parts of the answer that `start_response` began go out at all."""
        return self._parts is not Parts.DROPPED

    def sent_otherwise(self, count: int) -> None:
        """So much of a known length went out without `chunk`: the kernel took it from a file."""
        if self._owed is not None:
            self._owed -= count

    def end_response(self) -> bytes:
        """What ends the answer that `start_response` began."""
        if self._parts is Parts.PLAIN and self._owed:
            # The caller can only hang up: the client waits for what is missing.
            raise LocalProtocolError(f"{self._owed} bytes of content are missing (RFC 9110 8.6)")
        return b"0\r\n\r\n" if self._parts is Parts.CHUNKED else b""

    def switch_protocols(self, headers: list[tuple[str, str]]) -> bytes:
        """The 101 that an upgrade is answered with (RFC 9110 7.8)."""
        return head_after(_STATUS_LINES[101], field_lines(headers), "connection: Upgrade\r\n")

    def forbid_keep_alive(self) -> None:
        """Make the answer in hand the last one of this connection."""
        self.keep_alive = False

    def _interim(self, status: int, headers: list[tuple[str, str]]) -> bytes:
        # RFC 9110 15.2: HTTP/1.0 has no 1xx, and would take it for the answer.
        if self._request.version == "1.0":
            return b""
        return head_after(_status_line(status), field_lines(headers), "")

    def _response_head(self, status: int, headers: list[tuple[str, str]], framing: str) -> bytes:
        fields = field_lines(headers)
        if not self.keep_alive or len(fields) < len(headers) or self._request.version == "1.0":
            framing += self._connection_line(headers)
        return head_after(_status_line(status), fields, framing)

    def _connection_line(self, headers: list[tuple[str, str]]) -> str:
        """The one Connection field (RFC 9110 7.6.1): the caller's options, and our verdict."""
        options = list_members(value for name, value in headers if name.lower() == "connection")
        if "close" in options:
            self.keep_alive = False
        options -= {"close", "keep-alive"}
        if not self.keep_alive:
            options.add("close")
        elif self._request.version == "1.0":
            options.add("keep-alive")
        return f"connection: {', '.join(sorted(options))}\r\n" if options else ""


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
Connection._steps = {State.HEAD: Connection._head, **CONTENT_STEPS}

# -- the head of a request -----------------------------------------------------

# What an answer to no request, or to one that was not understood, is framed by.
_NOT_UNDERSTOOD: Final = Request("", "", "1.1", [], 0, keep_alive=False, host="")
_FRAMING_FIELDS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


def _parse_head(text: str) -> Request:
    """Read a head, from its first byte to the empty line that ends it."""
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise _bad_request_line(text)
    headers = parse_fields(text, line.end())
    method, target, version = line.groups()
    if version not in ("1.1", "1.0"):
        status = 505 if version > "2" else 400
        raise RemoteProtocolError(
            f"HTTP version {version} is not spoken here (RFC 9112 2.3)", status
        )
    framing = [field for field in headers if field[0] in _FRAMING_FIELDS]
    length, keep_alive, host = _framing(framing, version)
    if target[0] != "/" or method == "CONNECT":
        target, host = _other_forms(method, target, host)
    return Request(method, target, version, headers, length, keep_alive, host)


def parse_fields(text: str, start: int) -> list[tuple[str, str]]:
    """The fields of a head, whose first line ends at ``start``."""
    fields = _FIELD.findall(text, start)
    # A match starts where a line does and holds one line break, at its end: as
    # many matches as there are breaks, and there is nothing between them.
    if len(fields) != text.count("\n") - 2:
        raise next(filter(None, map(_field_fault, text[start:-4].split("\r\n"))))
    return [(name.lower(), value.rstrip("\t ")) for name, value in fields]


def _framing(fields: list[tuple[str, str]], version: str) -> tuple[int | None, bool, str]:
    """Content length (None: chunked), keep-alive and host, all checked."""
    length: int | None = None
    chunked = False
    host: str | None = None
    connection = ""
    for name, value in fields:
        if name == "host":
            if host is not None:
                raise RemoteProtocolError("more than one Host (RFC 9112 3.2)", 400)
            host = _checked_host(value)
        elif name == "connection":
            connection += "," + value
        elif length is not None or chunked:
            # One of the two is a lie, and who believes the other one than the proxy
            # in front did takes the rest of the content for a request.
            raise RemoteProtocolError("the content's length is given twice (RFC 9112 6.3)", 400)
        elif name == "content-length":
            length = parse_content_length(value)
        else:
            chunked = parse_chunked(value, version)
    if host is None and version == "1.1":
        raise RemoteProtocolError("no Host (RFC 9112 3.2)", 400)
    return None if chunked else length or 0, keeps_alive(connection, version), host or ""


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


def keeps_alive(connection: str, version: str) -> bool:
    """RFC 9112 9.3, where "close" wins over "keep-alive"."""
    if not connection:
        return version == "1.1"
    options = list_members([connection])
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def list_members(values: Iterable[str]) -> set[str]:
    """The members of a comma-separated list (RFC 9110 5.6.1), in lower case."""
    return {option.strip("\t ").lower() for option in ",".join(values).split(",")} - {""}


def _checked_host(value: str) -> str:
    match = _HOST.fullmatch(value)
    if match is None or int(match[1] or 0) > 65535:
        raise RemoteProtocolError(f"bad Host {show(value)} (RFC 9110 7.2)", 400)
    return value.lower()


def _other_forms(method: str, target: str, host: str) -> tuple[str, str]:
    """Target and host where the target is not a path (RFC 9112 3.2.2 to 3.2.4)."""
    if method == "CONNECT":
        return _checked_host(target), host
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    if absolute:
        authority = _checked_host(absolute[1])
        if host and authority != host:
            # The RFC lets the target win; a proxy that looked at Host disagrees.
            raise RemoteProtocolError("the target's host is not that of Host (RFC 9112 3.2.2)", 400)
        rest = absolute[2]
        return rest if rest.startswith("/") else "/" + rest, authority
    if target == "*" and method == "OPTIONS":
        return target, host
    raise RemoteProtocolError(f"bad request target {show(target)} (RFC 9112 3.2)", 400)


# -- what was wrong ------------------------------------------------------------


def _bad_first_byte(byte: bytes) -> RemoteProtocolError:
    if byte == b"\x16":
        # RFC 8446 5.1: a TLS record of type handshake; no method starts with it.
        return RemoteProtocolError("this is TLS, and the port speaks plain HTTP", 400)
    return RemoteProtocolError(f"a request can't start with {show(byte)} (RFC 9112 3)", 400)


def _bad_request_line(head: str) -> RemoteProtocolError:
    line = head.partition("\r\n")[0]
    return RemoteProtocolError(f"bad request line {show(line)} (RFC 9112 3)", 400)


def _field_fault(line: str) -> RemoteProtocolError | None:
    if _FIELD.fullmatch(line + "\r\n"):
        return None
    rule = "5.2: lines are not folded" if line[:1] in ("\t", " ") else "5"
    return RemoteProtocolError(f"bad header line {show(line)} (RFC 9112 {rule})", 400)


def show(value: str | bytes) -> str:
    """A value from the peer, cut, and with control characters escaped, for a message."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return ascii(text if len(text) <= 60 else text[:57] + "...")


# -- the head of an answer -----------------------------------------------------

# RFC 9110 6.4.1: these end with their head, and a Content-Length in a 204 is
# forbidden (8.6). In a 304 it would be the one that a 200 had had: not known here.
_WITHOUT_CONTENT: Final = frozenset({204, 304})
_OUR_FIELDS: Final = frozenset({"connection", "content-length", "transfer-encoding"})
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_NOT_IN_A_FIELD = re.compile(r"[\r\n\0]|[^\0-\xff]")


def field_lines(headers: list[tuple[str, str]]) -> list[str]:
    return [f"{name}: {value}\r\n" for name, value in headers if name.lower() not in _OUR_FIELDS]


def head_after(line: str, fields: list[str], framing: str) -> bytes:
    """The bytes of a head. Raises ValueError for what would be read as something else."""
    text = "".join(fields)
    # One look at the whole: a break too many is one that a header brought.
    breaks = len(fields)
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise _bad_header(fields)
    try:
        return f"{line}{text}{framing}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise _bad_header(fields) from None


def _status_line(status: int) -> str:
    if line := _STATUS_LINES.get(status):
        return line
    if not 100 <= status <= 999:
        raise ValueError(f"status {status} has not three digits (RFC 9112 4)")
    return f"HTTP/1.1 {status} \r\n"


def _bad_header(fields: list[str]) -> ValueError:
    bad = next(field for field in fields if _NOT_IN_A_FIELD.search(field[:-2]))
    return ValueError(f"CR, LF, NUL or what Latin-1 lacks in the header {bad[:-2]!a}")
