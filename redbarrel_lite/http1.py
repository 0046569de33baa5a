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
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple, TypeAlias

from .errors import LocalProtocolError, RemoteProtocolError, show
from .http1_reader import (
    CONTENT_STEPS,
    DONE,
    END_OF_MESSAGE,
    HEAD,
    TOKEN,
    USUAL,
    EndOfMessage,
    Fields,
    Limits,
    Reader,
    State,
    line_fault,
    list_members,
    parse_chunked,
    parse_content_length,
    parse_fields,
)

# What both sides have is named here too, for those who know this side alone.
__all__ = [
    "END_OF_MESSAGE",
    "Connection",
    "Event",
    "Limits",
    "Request",
    "State",
    "field_lines",
    "list_members",
]

Pairs: TypeAlias = Sequence[tuple[str, str]]  # the fields of an answer


class Request(NamedTuple):
    """The head of one request (RFC 9112 section 3), checked.

    ``content_length`` is None where the content is chunked. ``host`` is the
    authority in lower case, from an absolute-form target if there is one (RFC
    9112 3.2.2), "" for an HTTP/1.0 request that has none. ``upgrade`` is what the client
    would rather speak (RFC 9110 7.8), in lower case.
    """

    method: str
    target: str
    version: str
    headers: Fields
    content_length: int | None
    keep_alive: bool
    host: str
    upgrade: str = ""

    def header(self, name: str) -> str | None:
        """The value of the field ``name`` (lower case); several are joined by ", "."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None


Event: TypeAlias = Request | bytes | EndOfMessage | RemoteProtocolError


class Parts(enum.Enum):
    """How the parts of a streamed answer travel (RFC 9112 6)."""

    PLAIN = "plain"  # up to the announced length, or until the connection closes
    CHUNKED = "chunked"
    DROPPED = "dropped"  # this answer has no content


# What a connection remembers of its last request, in case it comes again. Browsers send
# half of that; more would be memory that thousands of idle clients could make us hold.
MAX_REMEMBERED_BYTES: Final = 2048

# "++": see `http1_reader`.
_REQUEST_LINE = re.compile(rf"({TOKEN}+) ([\x21\x22\x24-\x7e]++) HTTP/([0-9]\.[0-9])\r\n")
_FIRST_BYTE = re.compile(rf"{TOKEN}|\r".encode())
# RFC 9110 7.2: host and port, no user information, no list.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_ABSOLUTE_TARGET = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)


class Connection(Reader[Event]):
    """One client's connection, seen by the server.

    Feed it with `receive`; ask it for the bytes of an answer with `respond`, or
    with `start_response`, `chunk` and `end_response` for one of unknown length;
    then `next_request` starts on what the peer has sent in the meantime.

    Whoever answers may forbid ``keep_alive``, until the answer is made.
    """

    __slots__ = ("_again", "_owed", "_parts", "_request", "_said", "_told")

    def __init__(self, limits: Limits = USUAL) -> None:
        super().__init__(limits)
        self._request = _NOT_UNDERSTOOD
        # What comes next on a connection is mostly what came before: the very request, or
        # its fields, or those of the answer. What is the same to the last byte need not
        # be read, checked and written anew.
        self._again: tuple[bytes | None, Request, bool] = None, _NOT_UNDERSTOOD, False
        self._said = _NOTHING
        self._told = _Told(0, [], "", has_ours=False)
        self._parts = Parts.PLAIN
        self._owed: int | None = None  # bytes that the answer in hand has still to send

    # -- bytes in, events out ------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; return what they complete, as `Reader.receive` does."""
        begins = self.state is HEAD and not self._buffer
        events = super().receive(data)
        is_whole = len(events) == 2 and events[1] is END_OF_MESSAGE and not self._buffer
        if begins and is_whole and len(data) <= MAX_REMEMBERED_BYTES:
            self._again = data, self._request, self.keep_alive
        return events

    def again(self, data: bytes) -> Request | None:
        """The request that these bytes are, whole, if the one before was made of the same.

        To be asked first: if it is so, they are taken, and `receive` is not to have them.
        """
        before, request, keep_alive = self._again
        if data != before or self._buffer or self.state is not HEAD:
            return None
        self.state = DONE
        self._request = request
        self.keep_alive = keep_alive
        return request

    def next_request(self) -> list[Event]:
        """Go on to the next request, once the last one is read and answered."""
        if self.state is not DONE:
            raise LocalProtocolError(f"the request is not over: the peer owes {self.state.value}")
        self.state = HEAD
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
        self._request = request = self._parse_head(text)
        self.keep_alive = request.keep_alive
        events.append(request)
        if request.content_length == 0:
            self.state = DONE
            events.append(END_OF_MESSAGE)
            return False
        if request.content_length is None:
            self.state = State.CHUNK_SIZE
        else:
            self._left = request.content_length
            self.state = State.CONTENT
        return True

    def _parse_head(self, text: str) -> Request:
        """Read a head, from its first byte to the empty line that ends it."""
        line = _REQUEST_LINE.match(text)
        if line is None:
            raise _bad_request_line(text)
        method, target, version = line.groups()
        fields = text[line.end() :]
        said = self._said
        if fields != said.fields or version != said.version:
            said = _said_by(fields, version)
            if len(fields) <= MAX_REMEMBERED_BYTES:
                self._said = said
        host = said.host
        if target[0] != "/" or method == "CONNECT":
            target, host = _other_forms(method, target, host)
        return Request(method, target, version, said.headers, *said.framing, host, said.upgrade)

    def _check_start(self, buffer: bytearray) -> None:
        if not _FIRST_BYTE.match(buffer):
            raise _bad_first_byte(bytes(buffer[:1]))

    def _check_first_line(self, line: str) -> None:
        if not _REQUEST_LINE.fullmatch(line):
            raise _bad_request_line(line)

    def _line_limit(self, start: int) -> tuple[int, int, str]:
        if start:
            return super()._line_limit(start)
        line = min(self._limits.line, self._limits.head)
        # RFC 9112 3: the one is no method that we could have, the other a target too long.
        if self._buffer.find(b" ", 0, line + 1) < 0:
            return line, 501, f"method over {line} bytes"
        return line, 414, f"request line over {line} bytes"

    # -- answers in, bytes out ---------------------------------------------

    def respond(self, status: int, headers: Pairs, content: bytes = b"") -> bytes:
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
        request = self._request
        told = self._told
        length = len(content)
        is_usual = self.keep_alive and request.version == "1.1"  # it has no Connection field
        if is_usual and length == told.length and status == told.status and headers == told.headers:
            head = told.head
        else:
            head = self._response_head(status, headers, f"content-length: {length}\r\n")
            if is_usual:
                self._told.keep(length, head)
        # RFC 9110 9.3.2: what GET would say of the content, and none of it.
        return head if request.method == "HEAD" else head + content

    def start_response(self, status: int, headers: Pairs, length: int | None) -> bytes:
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

    def switch_protocols(self, headers: Pairs) -> bytes:
        """The 101 that an upgrade is answered with (RFC 9110 7.8)."""
        told = _told_by(101, headers)
        return f"{told.text}connection: Upgrade\r\n\r\n".encode("latin-1")

    @property
    def has_answered(self) -> bool:
        """Whether there was an answer, or the start of one."""
        return self._told.status > 0

    def forbid_keep_alive(self) -> None:
        """Make the answer in hand the last one of this connection."""
        self.keep_alive = False

    def _interim(self, status: int, headers: Pairs) -> bytes:
        # RFC 9110 15.2: HTTP/1.0 has no 1xx, and would take it for the answer.
        if self._request.version == "1.0":
            return b""
        return f"{_told_by(status, headers).text}\r\n".encode("latin-1")

    def _response_head(self, status: int, headers: Pairs, framing: str) -> bytes:
        told = self._told
        if headers != told.headers or status != told.status:
            self._told = told = _told_by(status, headers)
        if not self.keep_alive or told.has_ours or self._request.version == "1.0":
            framing += self._connection_line(headers)
        return f"{told.text}{framing}\r\n".encode("latin-1")

    def _connection_line(self, headers: Pairs) -> str:
        """The one Connection field (RFC 9110 7.6.1): the caller's options, and our verdict."""
        options = list_members(value for name, value in headers if name.lower() == "connection")
        if "close" in options:
            self.keep_alive = False
        options.discard("keep-alive")
        if not self.keep_alive:
            options.add("close")
        elif self._request.version == "1.0":
            options.add("keep-alive")
        return f"connection: {', '.join(sorted(options))}\r\n" if options else ""


Connection._steps = {State.HEAD: Connection._head, **CONTENT_STEPS}

# -- the head of a request -----------------------------------------------------

# What an answer to no request, or to one that was not understood, is framed by.
_NOT_UNDERSTOOD: Final = Request("", "", "1.1", (), 0, keep_alive=False, host="")
_FRAMING_FIELDS: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})


class _Said(NamedTuple):
    """The fields of a head, and what they say to a server that speaks this version."""

    fields: str
    version: str
    headers: Fields
    framing: tuple[int | None, bool]  # content length (None: chunked), and keep-alive
    host: str
    upgrade: str


_NOTHING: Final = _Said("", "", (), (0, False), "", "")


def _said_by(fields: str, version: str) -> _Said:
    headers = parse_fields(fields)
    if version not in ("1.1", "1.0"):
        status = 505 if version > "2" else 400
        raise RemoteProtocolError(
            f"HTTP version {version} is not spoken here (RFC 9112 2.3)", status
        )
    framing = [field for field in headers if field[0] in _FRAMING_FIELDS]
    length, keep_alive, host = _framing(framing, version)
    upgrade = ",".join(value for name, value in headers if name == "upgrade").lower()
    return _Said(fields, version, headers, (length, keep_alive), host, upgrade)


def _framing(fields: Pairs, version: str) -> tuple[int | None, bool, str]:
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


def keeps_alive(connection: str, version: str) -> bool:
    """RFC 9112 9.3, where "close" wins over "keep-alive"."""
    if not connection:
        return version == "1.1"
    options = list_members([connection])
    return "close" not in options and (version == "1.1" or "keep-alive" in options)


def _checked_host(value: str) -> str:
    match = _HOST.fullmatch(value)
    if match is None or int(match[1] or 0) > 65535:
        value = value.rpartition("@")[2]  # in front of it may be a password
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
            # RFC 9112 3.2.2 lets the target win; a proxy that looked at Host disagrees.
            raise RemoteProtocolError("the target's host is not that of Host (RFC 9112 3.2)", 400)
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
    first = head[:1].encode("latin-1")
    if not _FIRST_BYTE.match(first):
        return _bad_first_byte(first)
    line = head.partition("\r\n")[0]
    return line_fault(line) or RemoteProtocolError(
        f"bad request line {show(line)} (RFC 9112 3)", 400
    )


# -- the head of an answer -----------------------------------------------------

# RFC 9110 6.4.1: these end with their head, and a Content-Length in a 204 is
# forbidden (8.6). In a 304 it would be the one that a 200 had had: not known here.
_WITHOUT_CONTENT: Final = frozenset({204, 304})
_OUR_FIELDS: Final = frozenset({"connection", "content-length", "transfer-encoding"})
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_FIELD_LINE = re.compile(rf"{TOKEN}+: [\x01-\x09\x0b\x0c\x0e-\xff]*+\r\n")


@dataclass(slots=True)
class _Told:
    """The status line and the caller's fields of an answer, as they go out."""

    status: int
    headers: Pairs
    text: str
    has_ours: bool  # among the headers are some that the caller has no say in
    length: int = -1  # of content that came with them; -1: its head is not kept
    head: bytes = b""

    def keep(self, length: int, head: bytes) -> None:
        """This is the whole head, with its content's length: for the next answer, too."""
        if not self.has_ours and len(head) <= MAX_REMEMBERED_BYTES:
            self.length, self.head = length, head


def _told_by(status: int, headers: Pairs) -> _Told:
    lines = field_lines(headers)
    text = _status_line(status) + "".join(lines)
    if text.count("\r\ndate: ") > 1:
        # RFC 9110 6.6.1: one is all there may be, and the first is the author's.
        first, mark, rest = text.partition("\r\ndate: ")
        text = first + mark + re.sub(r"\r\ndate: [^\r]*", "", rest)
    return _Told(status, list(headers), text, len(lines) < len(headers))


def field_lines(headers: Pairs) -> list[str]:
    """The lines of a head, but for those that frame the message.

    Raises ValueError for what would be read as something else.
    """
    lines = [f"{name}: {value}\r\n" for name, value in headers if name.lower() not in _OUR_FIELDS]
    for line in lines:
        if not _FIELD_LINE.fullmatch(line):
            what = "no name of a header, or CR, LF, NUL or what Latin-1 lacks in one"
            raise ValueError(f"{what}: {show(line[:-2], 200)}")
    return lines


def _status_line(status: int) -> str:
    if line := _STATUS_LINES.get(status):
        return line
    if not 100 <= status <= 999:
        raise ValueError(f"status {status} has not three digits (RFC 9112 4)")
    return f"HTTP/1.1 {status} \r\n"
