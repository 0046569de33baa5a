r"""HTTP/1.1, the client's side, without I/O: what `upstream` speaks to other servers.

What it implements: the other half of RFC 9112, for one request on a connection:
its head and content out, the head and the content of its answer in (6.3). It is the
machine of `http1_reader` with an answer's head, and as strict: an answer that two readers
could cut differently is a way to poison what the next client gets. What it leaves
out: a second request, interim answers (1xx, counted and dropped), trailers.

In one line::

    http = Connection(); data = http.send_request("GET", "/", [("host", "a")], 0)

The events of the answer come in this order::

    Response  bytes*  END_OF_MESSAGE
    Response                               with status 101: the rest is `upgrade`'s
    ...       RemoteProtocolError          always the last, and always a 502
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from .errors import RemoteProtocolError, show
from .http1 import field_lines
from .http1_reader import (
    CONTENT_STEPS,
    END_OF_MESSAGE,
    USUAL,
    EndOfMessage,
    Fields,
    Limits,
    Reader,
    State,
    line_fault,
    parse_chunked,
    parse_content_length,
    parse_fields,
)

# An upstream that sends "100 Continue" for ever would never be late: each is an
# answer that came in time. Real ones send one, or two with 103 (Early Hints).
MAX_INTERIM: Final = 8

_STATUS_LINE = re.compile(
    r"HTTP/1\.(?P<minor>[01]) (?P<status>[1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?\r\n"
)
_START: Final = b"HTTP/1."
# RFC 9112 6.3: whatever their fields say, these end with their head.
_WITHOUT_CONTENT: Final = (204, 304)
# More than ever comes: content that is ended by closing has no length (6.3, the last rule).
_UNTIL_CLOSED: Final = 1 << 62


class Response(NamedTuple):
    """The head of an answer (RFC 9112 section 4), checked.

    ``content_length`` is what the field
    says, which for HEAD and 304 is not what follows; None if it is not there.
    """

    status: int
    headers: Fields
    content_length: int | None


Event: TypeAlias = Response | bytes | EndOfMessage | RemoteProtocolError


class Connection(Reader[Event]):
    """One connection to a server, for one request."""

    __slots__ = ("_chunked", "_interim", "_method", "_until_closed", "_upgrade")

    def __init__(self, limits: Limits = USUAL) -> None:
        super().__init__(limits)
        self._method = ""
        self._upgrade = False
        self._chunked = False  # what we send
        self._until_closed = False  # what we get
        self._interim = 0

    # -- the request out ---------------------------------------------------------

    def send_request(
        self, method: str, target: str, headers: Sequence[tuple[str, str]], length: int | None
    ) -> bytes:
        """The head of the request; its content has ``length`` bytes, or is chunked if None.

        The fields that frame it are ours: the caller's own `Content-Length`,
        `Transfer-Encoding` and `Connection` are left out. An `Upgrade` among the
        headers makes 101 a possible answer.
        """
        self._method = method
        self._chunked = length is None
        self._upgrade = any(name == "upgrade" for name, _ in headers)
        framing = ""
        if length is None:
            framing = "transfer-encoding: chunked\r\n"
        elif length or method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
            # RFC 9110 8.6: a method that usually has content says that there is none.
            framing = f"content-length: {length}\r\n"
        framing += f"connection: {'Upgrade' if self._upgrade else 'close'}\r\n"
        line = f"{method} {target} HTTP/1.1\r\n"
        return f"{line}{''.join(field_lines(headers))}{framing}\r\n".encode("latin-1")

    def chunk(self, part: bytes) -> bytes:
        """A part of the content."""
        # An empty chunk would be the last.
        return b"%x\r\n%b\r\n" % (len(part), part) if self._chunked and part else part

    def end_request(self) -> bytes:
        """What ends the content."""
        return b"0\r\n\r\n" if self._chunked else b""

    # -- the answer in -----------------------------------------------------------

    def receive_eof(self) -> list[Event]:
        """The peer has closed: the end of the answer, or a fault."""
        if self.state in (State.DONE, State.ERROR, State.UPGRADED):
            return []
        if self._until_closed:
            self.state = State.DONE
            return [END_OF_MESSAGE]
        message = f"the upstream closed where it owed {self.state.value} (RFC 9112 8)"
        self.state = State.ERROR
        return [RemoteProtocolError(message, 502)]

    def _parse(self) -> list[Event]:
        events = super()._parse()
        if events and isinstance(events[-1], RemoteProtocolError):
            # Whatever is wrong with it is no fault of our client's (RFC 9110 15.6.3).
            events[-1].code = 502
        return events

    def _head(self, events: list[Any]) -> bool:
        end = self._head_end()
        if end < 0:
            return False
        text = self._buffer[:end].decode("latin-1")
        del self._buffer[:end]
        self._line_start = self._searched = 0
        line = _STATUS_LINE.match(text)
        if line is None:
            raise _bad_status_line(text)
        headers = parse_fields(text[line.end() :])
        length, chunked = _framing(headers, line["minor"])
        status = int(line["status"])
        if status < 200:
            if length is not None or chunked:
                raise RemoteProtocolError(f"{status} with content (RFC 9110 15.2)")
            return self._take_interim(status, headers, events)
        if status == 204 and (length or chunked):
            raise RemoteProtocolError("204 with content (RFC 9110 15.3.5)")
        events.append(Response(status, headers, length))
        return self._begin_content(events, status, length, chunked=chunked)

    def _take_interim(self, status: int, headers: Fields, events: list[Any]) -> bool:
        if status == 101:
            if not self._upgrade:
                raise RemoteProtocolError("101 that nobody asked for (RFC 9110 7.8)")
            self.state = State.UPGRADED
            events.append(Response(status, headers, None))
            return False
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"over {MAX_INTERIM} interim answers")
        return True

    def _begin_content(
        self, events: list[Any], status: int, length: int | None, *, chunked: bool
    ) -> bool:
        """Find out where the content ends (RFC 9112 6.3)."""
        if self._method == "HEAD" or status in _WITHOUT_CONTENT or (length == 0 and not chunked):
            self.state = State.DONE
            events.append(END_OF_MESSAGE)
            return False
        if chunked:
            self.state = State.CHUNK_SIZE
            return True
        self._until_closed = length is None
        self._left = _UNTIL_CLOSED if length is None else length
        self.state = State.CONTENT
        return True

    def _upgraded_bytes(self, events: list[Any]) -> bool:
        return False  # they wait for `upgrade`

    def _check_start(self, buffer: bytearray) -> None:
        if not buffer.startswith(_START[: len(buffer)]):
            raise _bad_start(buffer)

    def _check_first_line(self, line: str) -> None:
        if not _STATUS_LINE.fullmatch(line):
            raise _bad_status_line(line)


Connection._steps = {
    **CONTENT_STEPS,
    State.HEAD: Connection._head,
    State.UPGRADED: Connection._upgraded_bytes,
}


def _framing(headers: Fields, minor: str) -> tuple[int | None, bool]:
    """Content length, and whether the content is chunked; both checked."""
    length: int | None = None
    chunked = False
    for name, value in headers:
        if name not in ("content-length", "transfer-encoding"):
            continue
        if length is not None or chunked:
            # Who believes the other one takes the rest for an answer: somebody else's.
            raise RemoteProtocolError("the content's length is given twice (RFC 9112 6.3)")
        if name == "content-length":
            length = parse_content_length(value)
        else:
            chunked = parse_chunked(value, f"1.{minor}")
    return length, chunked


def _bad_start(head: bytes | bytearray) -> RemoteProtocolError:
    """Shows no more than the first wrong byte: the rest may not be there yet."""
    known = next(at for at in range(len(_START)) if head[at : at + 1] != _START[at : at + 1])
    start = show(bytes(head[: known + 1]))
    return RemoteProtocolError(f"bad status line: it starts with {start} (RFC 9112 4)")


def _bad_status_line(head: str) -> RemoteProtocolError:
    if not head.startswith(_START.decode()):
        return _bad_start(head[: len(_START)].encode("latin-1"))
    line = head.partition("\r\n")[0]
    return line_fault(line) or RemoteProtocolError(f"bad status line {show(line)} (RFC 9112 4)")
