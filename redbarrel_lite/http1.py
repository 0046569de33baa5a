r"""HTTP/1.1, the server's side, without I/O: bytes in, events out, and back.

What it implements: RFC 9112 (message syntax, framing, connection handling) and
from RFC 9110 what a server needs to frame an answer (status codes, Date is the
caller's, HEAD, 1xx, 204, 304). What it leaves out on purpose: trailers are
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
from http import HTTPStatus
from typing import Final, NamedTuple, TypeAlias

from .errors import LocalProtocolError, RemoteProtocolError

# Limits. Without them a peer that never ends its line, its head or its trailers
# makes us keep everything it sends.
MAX_LINE_BYTES: Final = 8192  # the request line (414), one header line (431)
MAX_HEAD_BYTES: Final = 32768  # all header lines together (431)
MAX_FIELDS: Final = 100  # header lines (431)
# 16 hexadecimal digits hold any length a file system knows; more is an attack on
# parsers whose integers overflow. Extensions share the line with the size.
MAX_CHUNK_DIGITS: Final = 16
MAX_CHUNK_LINE_BYTES: Final = 256
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


# RFC 9110 5.6.2: what a method or a field name is made of.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# RFC 9110 5.5: visible characters, obs-text, and blanks between them. No other
# control character gets in, so no NUL, no bare CR or LF, and no vertical tab
# (which str.strip would remove, making "\x0bchunked" and "chunked" the same).
_VALUE = r"[\t\x20-\x7e\x80-\xff]*"
# The quantifiers that end in "+" are possessive: they never give back what they
# took, so the match is linear in the length of the head, whatever it holds.
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e]++) HTTP/([0-9]\.[0-9])\r\n")
_FIELD = re.compile(rf"({_TOKEN}+):[\t ]*+({_VALUE}+)\r\n")
_HEAD = re.compile(rf"{_REQUEST_LINE.pattern}((?:{_TOKEN}+:{_VALUE}+\r\n)*+)\r\n")
_BARE_CR_OR_LF = re.compile(rb"(?<!\r)\n|\r(?=[^\n])")
_NOT_A_METHOD = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z -]")

# ASCII digits only: int() and \d also take other scripts' digits, "1_0" and "+1".
_DIGITS = re.compile(r"[0-9]{1,18}")
# RFC 9112 7.1.1: the size, then extensions, which nobody uses and we only check.
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,%d})((?:[\t ]*;[\t ]*[!#$%%&'*+.^_`|~0-9A-Za-z-]+"
    rb'(?:=(?:[!#$%%&\'*+.^_`|~0-9A-Za-z-]+|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e])*"))?)*)'
    % MAX_CHUNK_DIGITS
)
# RFC 9110 7.2: host and port, no user information, no list.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::(?:[0-9]{1,5})?)?")
_ABSOLUTE_TARGET = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
# RFC 9110 6.5.1: fields that frame, route or authenticate must not come late.
_FORBIDDEN_TRAILERS: Final = frozenset(
    "authorization connection content-length cookie expect host te trailer"
    " transfer-encoding upgrade".split()
)


class Connection:
    """One client's connection, seen by the server.

    Feed it with `receive`; ask it for the bytes of an answer with `respond`, or
    with `start_response`, `chunk` and `end_response` for one of unknown length;
    then `next_request` starts on what the peer has sent in the meantime.
    """

    __slots__ = (
        "_buffer",
        "_chunked_answer",
        "_left",
        "_request",
        "_searched",
        "_trailer_bytes",
        "state",
    )

    def __init__(self) -> None:
        self.state = State.HEAD
        self._buffer = bytearray()
        self._searched = 0  # how much of the buffer is known to hold no end of head
        self._left = 0  # bytes of content, or of the chunk, still to come
        self._trailer_bytes = 0
        self._request: Request | None = None
        self._chunked_answer = False

    # -- bytes in, events out ------------------------------------------------

    @property
    def buffered(self) -> int:
        """How many received bytes wait to be parsed."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer; return what they complete.

        A fault is the last event of its list, a `RemoteProtocolError` with the
        status to answer; after it, all bytes are dropped.
        """
        if self.state is State.ERROR:
            return []
        self._buffer += data
        return self._parse()

    def next_request(self) -> list[Event]:
        """Go on to the next request, once the last one is read and answered."""
        if self.state is not State.DONE:
            raise LocalProtocolError(f"the request is not over: the peer owes {self.state.value}")
        self.state = State.HEAD
        self._request = None
        return self._parse()

    def upgrade(self) -> bytes:
        """Hand the connection to another protocol; return the bytes that are its own."""
        self.state = State.UPGRADED
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _parse(self) -> list[Event]:
        events: list[Event] = []
        try:
            while _STEPS[self.state](self, events):
                pass
        except RemoteProtocolError as error:
            self.state = State.ERROR
            self._buffer.clear()
            events.append(error)
        return events

    # Each step consumes what it can from the buffer and returns whether there is
    # a point in looking again.

    def _wait(self, events: list[Event]) -> bool:
        return False

    def _head(self, events: list[Event]) -> bool:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]  # RFC 9112 2.2: old clients send empty lines after a POST
        if buffer == b"\r":
            return False
        end = buffer.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end < 0:
            _check_unfinished_head(buffer, self._searched)
            self._searched = len(buffer)
            return False
        self._searched = 0
        head = buffer[: end + 4].decode("latin-1")
        match = _HEAD.fullmatch(head)
        if match is None or end > MAX_LINE_BYTES or head.count("\n") > MAX_FIELDS:
            _check_head(buffer[: end + 4])
        assert match is not None  # _check_head raises for all that _HEAD refuses
        del buffer[: end + 4]
        request = _request(match)
        self._request = request
        events.append(request)
        if request.content_length is None:
            self.state = State.CHUNK_SIZE
        elif request.content_length:
            self._left = request.content_length
            self.state = State.CONTENT
        else:
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
            return False
        return True

    def _content(self, events: list[Event]) -> bool:
        if not self._take_content(events):
            return False
        self.state = State.DONE
        events.append(END_OF_MESSAGE)
        return False

    def _take_content(self, events: list[Event]) -> bool:
        """Pass on what has come of the content; True when nothing is left to come."""
        part = bytes(self._buffer[: self._left])
        if part:
            del self._buffer[: len(part)]
            self._left -= len(part)
            events.append(part)
        return not self._left

    def _chunk_size(self, events: list[Event]) -> bool:
        line = self._line(MAX_CHUNK_LINE_BYTES, "chunk size line")
        if line is None:
            return False
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(f"bad chunk size {_show(line)} (RFC 9112 7.1)", 400)
        self._left = int(match[1], 16)
        self.state = State.CHUNK_DATA if self._left else State.TRAILERS
        self._trailer_bytes = 0
        return True

    def _chunk_data(self, events: list[Event]) -> bool:
        if not self._take_content(events):
            return False
        self.state = State.CHUNK_END
        return True

    def _chunk_end(self, events: list[Event]) -> bool:
        end = bytes(self._buffer[:2])
        if not b"\r\n".startswith(end):
            raise RemoteProtocolError(
                f"a chunk ends in {_show(end)}, not CR LF (RFC 9112 7.1)", 400
            )
        if len(end) < 2:
            return False
        del self._buffer[:2]
        self.state = State.CHUNK_SIZE
        return True

    def _trailers(self, events: list[Event]) -> bool:
        line = self._line(MAX_TRAILER_BYTES - self._trailer_bytes, "trailer section", 431)
        if line is None:
            return False
        if not line:
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
            return False
        self._trailer_bytes += len(line) + 2
        match = _FIELD.fullmatch(line.decode("latin-1") + "\r\n")
        if match is None or match[1].lower() in _FORBIDDEN_TRAILERS:
            raise RemoteProtocolError(f"bad trailer {_show(line)} (RFC 9110 6.5.1)", 400)
        return True

    def _line(self, limit: int, what: str, status: int = 400) -> bytes | None:
        """Take a line off the buffer, without its CR LF; None if it is not all there."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", 0, limit + 2)
        line = bytes(buffer[: min(len(buffer), limit) if end < 0 else end])
        stray = _BARE_CR_OR_LF.search(line)
        if stray:
            raise RemoteProtocolError(f"bare CR or LF in the {what} (RFC 9112 2.2)", 400)
        if end < 0:
            if len(buffer) >= limit + 2:
                raise RemoteProtocolError(f"{what} over {limit} bytes", status)
            return None
        del buffer[: end + 2]
        return line

    # -- answers in, bytes out ---------------------------------------------

    def respond(self, status: int, headers: list[tuple[str, str]], content: bytes = b"") -> bytes:
        """The bytes of a whole answer; `Content-Length` and `Connection` are ours.

        Raises ValueError for a header that would break the framing (a CR, LF or
        NUL in it), so that nothing a handler passes on can be injected.
        """
        if not has_content(status):
            return self._response_head(status, headers, ())
        head = self._response_head(status, headers, (("content-length", str(len(content))),))
        return (
            head if self._request is not None and self._request.method == "HEAD" else head + content
        )

    def start_response(
        self, status: int, headers: list[tuple[str, str]], length: int | None
    ) -> bytes:
        """The head of an answer whose content follows in parts.

        With a ``length`` the parts go out as they are; with None they are chunked
        (`chunk`, `end_response`), or, for HTTP/1.0, ended by closing.
        """
        if length is not None:
            return self._response_head(status, headers, (("content-length", str(length)),))
        self._chunked_answer = self._request is not None and self._request.version == "1.1"
        if self._chunked_answer:
            return self._response_head(status, headers, (("transfer-encoding", "chunked"),))
        self.forbid_keep_alive()
        return self._response_head(status, headers, ())

    def chunk(self, part: bytes) -> bytes:
        """A part of a streamed answer. An empty one would end it, so it is nothing."""
        if not part or not self._chunked_answer:
            return part
        return b"%x\r\n%b\r\n" % (len(part), part)

    def end_response(self) -> bytes:
        """What ends an answer that was started without a length."""
        return b"0\r\n\r\n" if self._chunked_answer else b""

    def switch_protocols(self, headers: list[tuple[str, str]]) -> bytes:
        """The 101 that an upgrade is answered with (RFC 9110 7.8)."""
        return _head_bytes(101, headers, (("connection", "Upgrade"),))

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow the one in hand (RFC 9112 9.3)."""
        return (
            self._request is not None and self._request.keep_alive and self.state is not State.ERROR
        )

    def forbid_keep_alive(self) -> None:
        """Make the answer in hand the last one of this connection."""
        if self._request is not None:
            self._request = self._request._replace(keep_alive=False)

    def _response_head(
        self, status: int, headers: list[tuple[str, str]], framing: tuple[tuple[str, str], ...]
    ) -> bytes:
        if not self.keep_alive:
            framing = (*framing, ("connection", "close"))
        elif self._request is not None and self._request.version == "1.0":
            framing = (*framing, ("connection", "keep-alive"))
        return _head_bytes(status, headers, framing)


_STEPS: Final = {
    State.HEAD: Connection._head,
    State.CONTENT: Connection._content,
    State.CHUNK_SIZE: Connection._chunk_size,
    State.CHUNK_DATA: Connection._chunk_data,
    State.CHUNK_END: Connection._chunk_end,
    State.TRAILERS: Connection._trailers,
    State.DONE: Connection._wait,
    State.ERROR: Connection._wait,
    State.UPGRADED: Connection._wait,
}

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"  # RFC 9110 10.1.1


def has_content(status: int) -> bool:
    """Whether an answer of this status may carry content at all (RFC 9110 6.4.1)."""
    return status >= 200 and status not in (204, 304)


# -- the head of a request -----------------------------------------------------


def _request(match: re.Match[str]) -> Request:
    method, target, version, fields = match.groups()
    headers = [(name.lower(), value.rstrip("\t ")) for name, value in _FIELD.findall(fields)]
    if version not in ("1.1", "1.0"):
        status = 505 if version[0] != "1" and version != "0.9" else 400
        raise RemoteProtocolError(
            f"HTTP version {version} is not spoken here (RFC 9112 2.3)", status
        )
    length, host, connection = _framing(headers, version)
    if target[0] != "/":
        target, host = _other_forms(method, target, host)
    keep_alive = "close" not in connection if version == "1.1" else "keep-alive" in connection
    return Request(method, target, version, headers, length, keep_alive, host)


def _framing(headers: list[tuple[str, str]], version: str) -> tuple[int | None, str, set[str]]:
    """Content length (None: chunked), host and Connection options of a head, all checked."""
    length: int | None = 0
    lengths = hosts = 0
    host = connection = ""
    chunked = False
    for name, value in headers:
        if name == "host":
            hosts += 1
            host = value.lower()
        elif name == "connection":
            connection += "," + value.lower()
        elif name == "content-length":
            lengths += 1
            if not _DIGITS.fullmatch(value):
                raise RemoteProtocolError(f"bad Content-Length {_show(value)} (RFC 9110 8.6)", 400)
            length = int(value)
        elif name == "transfer-encoding":
            if value.lower() != "chunked" or chunked:
                raise RemoteProtocolError(
                    f"Transfer-Encoding {_show(value)} is not chunked (RFC 9112 6.1)", 400
                )
            chunked = True
    if lengths > 1 or (lengths and chunked):
        # One of the two is a lie, and who believes the other one than the proxy
        # in front did takes the rest of the content for a request.
        raise RemoteProtocolError("the request's length is given twice (RFC 9112 6.3)", 400)
    if chunked and version == "1.0":
        raise RemoteProtocolError("HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)", 400)
    if hosts != 1 and not (hosts == 0 and version == "1.0"):
        raise RemoteProtocolError(f"{hosts} Host headers instead of one (RFC 9112 3.2)", 400)
    if hosts:
        _check_host(host)
    return None if chunked else length, host, {name.strip("\t ") for name in connection.split(",")}


def _check_host(host: str) -> None:
    port = host.rpartition(":")[2] if not host.endswith("]") and ":" in host else ""
    if not _HOST.fullmatch(host) or (port and int(port) > 65535):
        raise RemoteProtocolError(f"bad Host {_show(host)} (RFC 9110 7.2)", 400)


def _other_forms(method: str, target: str, host: str) -> tuple[str, str]:
    """Target and host of a request whose target does not start with "/" (RFC 9112 3.2)."""
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    if absolute:
        authority = absolute[1].lower()
        _check_host(authority)
        if host and authority != host:
            # The RFC lets the target win; a proxy that looked at Host disagrees.
            raise RemoteProtocolError("the target's host is not that of Host (RFC 9112 3.2.2)", 400)
        rest = absolute[2]
        return rest if rest.startswith("/") else "/" + rest, authority
    if target == "*" and method == "OPTIONS":
        return target, host
    if method == "CONNECT":
        return target, host
    raise RemoteProtocolError(f"bad request target {_show(target)} (RFC 9112 3.2)", 400)


# -- what was wrong ------------------------------------------------------------
# Only a head that does not match comes here, so it need not be fast, but it must
# give the same verdict for the same bytes, however they were cut into segments.


def _check_unfinished_head(buffer: bytearray, searched: int) -> None:
    """Refuse what can't become a head any more, without waiting for its end."""
    stray = _BARE_CR_OR_LF.search(buffer, max(0, searched - 1), MAX_HEAD_BYTES)
    if not searched and (strange := _NOT_A_METHOD.match(buffer)):
        _explain_first_byte(strange[0])
    line_end = buffer.find(b"\r\n", 0, MAX_LINE_BYTES + 2)
    if line_end >= 0 and (searched <= line_end + 2 or stray):
        _check_request_line(buffer[: line_end + 2])
    if stray:
        raise RemoteProtocolError("bare CR or LF in the head (RFC 9112 2.2)", 400)
    if line_end < 0 and len(buffer) >= MAX_LINE_BYTES + 2:
        raise RemoteProtocolError(f"request line over {MAX_LINE_BYTES} bytes", 414)
    if len(buffer) >= MAX_HEAD_BYTES:
        _check_head(buffer[:MAX_HEAD_BYTES])


def _explain_first_byte(byte: bytes) -> None:
    if byte == b"\x16":
        # RFC 8446 5.1: a TLS record of type handshake; no method starts with it.
        raise RemoteProtocolError("this is TLS, and the port speaks plain HTTP", 400)
    raise RemoteProtocolError(f"a request can't start with {_show(byte)} (RFC 9112 3)", 400)


def _check_request_line(line: bytearray) -> None:
    text = line.decode("latin-1")
    if len(line) > MAX_LINE_BYTES + 2:
        raise RemoteProtocolError(f"request line over {MAX_LINE_BYTES} bytes", 414)
    if not _REQUEST_LINE.fullmatch(text):
        raise RemoteProtocolError(f"bad request line {_show(text[:-2])} (RFC 9112 3)", 400)


def _check_head(head: bytearray) -> None:
    """Raise for the first thing that is wrong with a head; return if there is none."""
    line_end = head.find(b"\r\n") + 2
    _check_request_line(head[:line_end] if line_end > 1 else head)
    lines = bytes(head[line_end:MAX_HEAD_BYTES]).split(b"\r\n")
    for number, line in enumerate(lines):
        if number >= MAX_FIELDS and line:
            raise RemoteProtocolError(f"over {MAX_FIELDS} header lines", 431)
        if len(line) > MAX_LINE_BYTES:
            raise RemoteProtocolError(f"header line over {MAX_LINE_BYTES} bytes", 431)
        complete = number < len(lines) - 1
        if complete and line and not _FIELD.fullmatch(line.decode("latin-1") + "\r\n"):
            rule = "5.2: lines are not folded" if line[:1] in b" \t" else "5"
            raise RemoteProtocolError(f"bad header line {_show(line)} (RFC 9112 {rule})", 400)
    if len(head) >= MAX_HEAD_BYTES:
        raise RemoteProtocolError(f"head over {MAX_HEAD_BYTES} bytes", 431)


def _show(value: str | bytes) -> str:
    """A value from the peer, cut, and with control characters escaped, for a message."""
    text = value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else value
    return ascii(text if len(text) <= 60 else text[:57] + "...")


# -- the head of an answer -----------------------------------------------------

_BAD_IN_HEADER = re.compile(r"[\r\n\0]")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def _head_bytes(
    status: int, headers: list[tuple[str, str]], framing: tuple[tuple[str, str], ...]
) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"{name}: {value}" for name, value in framing]
    text = "\r\n".join(lines)
    # One look at the whole: a line break that no header brought means as many
    # breaks as there are lines between them.
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        bad = next((n, v) for n, v in headers if _BAD_IN_HEADER.search(f"{n}{v}"))
        raise ValueError(f"CR, LF or NUL in the header {bad[0]!r}: {bad[1]!r}")
    return (text + "\r\n\r\n").encode("latin-1")
