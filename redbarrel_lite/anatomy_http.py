r"""The anatomy of HTTP/1.1: heads, content by its framing, and where a message is wrong.

What it implements: requests and answers cut into their parts (RFC 9112 6 and 7.1): a
head, all of a content of a known length, a chunk. What it leaves out: the verdict, which
is that of `http1` and `http1_client`, the lines of a head (`anatomy_heads`), and what the
content means, which ``carried`` tells.

In one line::

    for layer in Requests().receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"): layer.summary
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from . import http1, http1_client
from .anatomy import CLIENT, SERVER, UNKNOWN, Fault, Field, Layer, Sender, counted, guilty, shown
from .anatomy_heads import head_layer, upgrade_layers
from .engineio import Options
from .errors import RemoteProtocolError
from .http1_reader import USUAL, EndOfMessage, Limits, State

_HEAD_END: Final = re.compile(rb"\r\n\r\n")
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})([^\r\n]*)\r\n")
_CHUNKED: Final = "RFC 9112 7.1"
_CONTENT: Final = "RFC 9112 6"

# Of content that is looked into: what is longer is a file, and not a payload.
MAX_CONTENT_BYTES: Final = 1_000_000

# What makes the layers of a whole content, given the head that it came with.
ContentOf = Callable[[Any, bytes], list[Layer]]


def nothing_in(_head: Any, _content: bytes) -> list[Layer]:
    """For who does not look into contents."""
    return []


class _Messages(ABC):
    """The messages of one direction of a connection, in order and part by part.

    The room gets exactly one part at a time; its state then says what comes next.
    """

    sender: Sender

    def __init__(self, carried: ContentOf) -> None:
        self._carried = carried
        self._room: Any = self._new_room()
        self._kind = State.HEAD  # of the part in hand
        self._buffer = bytearray()  # the part in hand
        self._fed = 0  # how much of it the room has
        self._head_bytes = b""  # of the message in hand
        self.head: Any = None  # the room's event for it
        self._content = bytearray()
        self._left: int | None = 0  # bytes of content; None: until the connection closes

    def receive(self, data: bytes) -> list[Layer]:
        """Take bytes; return the parts that they complete, the last of which may be wrong."""
        self._buffer += data
        return list(self._parts())

    def rest(self) -> Layer | None:
        """What has come of a part that is not complete."""
        if not self._buffer or self._kind is State.UPGRADED:
            return None
        layer = self._layer(bytes(self._buffer))
        layer.missing = UNKNOWN
        size = _CHUNK_SIZE.match(self._buffer) if self._kind is State.CHUNK_SIZE else None
        if self._kind is State.CONTENT and self._left is not None:
            layer.missing = self._left - len(self._buffer)
        elif size is not None and int(size[1], 16):
            layer.missing = size.end() + int(size[1], 16) + 2 - len(self._buffer)
        return layer

    def take_rest(self) -> bytes:
        """The bytes behind an upgrade: another protocol's."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _parts(self) -> Iterator[Layer]:
        while self._buffer and self._kind is not State.UPGRADED:
            if self._kind is State.ERROR:
                yield self._not_read()
                return
            size = self._size()
            events = self._room.receive(bytes(self._buffer[self._fed : size]))
            fault = events[-1] if events and isinstance(events[-1], RemoteProtocolError) else None
            if size is None and fault is None:
                self._fed = len(self._buffer)
                return
            self._fed = 0
            part = bytes(self._buffer[:size])
            del self._buffer[: len(part)]
            layer = self._layer(part)
            if fault is not None:
                layer.fault = Fault(self._place(part, layer, fault), str(fault), fault.code)
                self._kind = State.ERROR
            else:
                self._go_on(part, events, layer)
            yield layer

    def _size(self) -> int | None:
        """Of how many bytes the part in hand consists; None if they are not all there."""
        buffer = self._buffer
        if self._kind is State.HEAD:
            blank = _EMPTY_LINES.match(buffer)
            end = _HEAD_END.search(buffer, blank.end() if blank else 0)
            return end.end() if end else None
        if self._kind is State.CONTENT:
            if self._left is None or self._left > MAX_CONTENT_BYTES:
                return len(buffer)  # as it comes: nobody could look at it as a whole
            return self._left if len(buffer) >= self._left else None
        line = _CHUNK_SIZE.match(buffer)
        if line is None:
            return None
        count = int(line[1], 16)
        if not count:  # the last one, with its trailers
            end = _HEAD_END.search(buffer, line.end() - 2)
            return end.end() if end else None
        size = line.end() + count + 2
        return size if len(buffer) >= size else None

    def _go_on(self, part: bytes, events: list[Any], layer: Layer) -> None:
        """Take note of a part that the room has read."""
        if self._kind is State.HEAD:
            self._head_bytes = part
            self._content.clear()
            self.head = events[0] if events else None  # an interim answer is none
            if self.head is not None:
                self._left = self.head.content_length
                self._add_inner(layer)
        elif self._kind is State.CONTENT and self._left is not None:
            self._left -= len(part)
        for event in events:
            if isinstance(event, bytes) and len(self._content) <= MAX_CONTENT_BYTES:
                self._content += event
        self._kind = self._room.state
        if any(isinstance(event, EndOfMessage) for event in events):
            if 0 < len(self._content) <= MAX_CONTENT_BYTES:
                layer.inner += self._carried(self.head, bytes(self._content))
            self._next_message()
            self._kind = State.HEAD
        elif self._kind in (State.CHUNK_DATA, State.CHUNK_END, State.TRAILERS):
            self._kind = State.CHUNK_SIZE

    def _place(self, part: bytes, layer: Layer, fault: RemoteProtocolError) -> int:
        """The guilty byte of a part. Of a message, only its head matters for what follows."""
        if self._kind is State.HEAD:
            if str(fault).startswith("HTTP version"):  # which is looked at first
                version = next(one for one in layer.fields if one.name == "HTTP-version")
                return version.end - 1 if version.value.startswith("HTTP/1.") else version.end - 3
            return guilty(part, self._is_right, _endings)
        return guilty(part, lambda start: self._is_right(self._head_bytes + start), _endings)

    def _is_right(self, data: bytes) -> bool:
        """Whether the room has judged all of it, and refuses nothing."""
        room = self._new_room()
        events = room.receive(data)
        if not events:
            return not room.buffered
        if isinstance(events[-1], RemoteProtocolError):
            return False
        return not room.buffered or isinstance(events[-1], EndOfMessage)

    def _layer(self, part: bytes) -> Layer:
        if self._kind is State.HEAD:
            return head_layer(part, self.sender, self._asked_for)
        if self._kind is State.CONTENT:
            return content_layer(part, self.sender)
        return _chunk_layer(part, self.sender)

    def _not_read(self) -> Layer:
        data = self.take_rest()
        means = "nothing behind a fault is taken for a message"
        what = Field(0, len(data), "not read", shown(data), means, "RFC 9112 11.2")
        summary = f"{counted(len(data), 'byte')} behind a fault, not read"
        return Layer("bytes", data, self.sender, summary, "RFC 9112 11.2", [what], is_text=False)

    @property
    def _asked_for(self) -> str:
        """The method that the message in hand answers, if it does, and if that is known."""
        return ""

    @abstractmethod
    def _new_room(self) -> Any:
        """A judge."""

    @abstractmethod
    def _next_message(self) -> None:
        """The room has read one to its end."""

    @abstractmethod
    def _add_inner(self, layer: Layer) -> None:
        """What the head of a message says beyond HTTP."""


class Requests(_Messages):
    """What a client sends."""

    sender = CLIENT

    def __init__(
        self,
        carried: ContentOf = nothing_in,
        limits: Limits = USUAL,
        options: Options | None = None,
    ) -> None:
        self._limits = limits
        self._options = options or Options()
        super().__init__(carried)

    def _new_room(self) -> http1.Connection:
        return http1.Connection(self._limits)

    def _next_message(self) -> None:
        self._room.next_request()

    def _add_inner(self, layer: Layer) -> None:
        layer.inner += upgrade_layers(layer, self.head, self._options)

    def upgrade(self) -> bytes:
        """The server has agreed on another protocol; returns the bytes that are its own."""
        self._kind = State.UPGRADED
        return self.take_rest()


class Responses(_Messages):
    """What a server sends, each answer to a request that `expect` has told of."""

    sender = SERVER

    def __init__(self, carried: ContentOf = nothing_in, limits: Limits = USUAL) -> None:
        self._limits = limits
        self._asked: deque[tuple[str, bool]] = deque()
        super().__init__(carried)

    def expect(self, method: str, *, upgrade: bool = False) -> None:
        """A request has been sent; its method decides what its answer may have."""
        self._asked.append((method, upgrade))

    @property
    def waiting(self) -> int:
        """How many of those requests have no whole answer yet."""
        return len(self._asked)

    @property
    def _asked_for(self) -> str:
        return self._asked[0][0] if self._asked else ""

    def end(self) -> list[Layer]:
        """The server has closed: that may be the end of a content."""
        events = self._room.receive_eof()
        if not any(isinstance(event, EndOfMessage) for event in events):
            return []
        return self._carried(self.head, bytes(self._content))

    def _new_room(self) -> http1_client.Connection:
        method, upgrade = self._asked[0] if self._asked else ("GET", True)
        room = http1_client.Connection(self._limits)
        room.send_request(method, "/", [("upgrade", "websocket")] if upgrade else [], 0)
        return room

    def receive(self, data: bytes) -> list[Layer]:
        if self._kind is State.HEAD and not self._buffer:
            self._room = self._new_room()  # a request may have come only now
        return super().receive(data)

    def _next_message(self) -> None:
        if self._asked:
            self._asked.popleft()
        self._room = self._new_room()

    def _add_inner(self, layer: Layer) -> None:
        pass


# -- content -------------------------------------------------------------------------------


def content_layer(part: bytes, sender: Sender) -> Layer:
    value: bytes | str = part
    with contextlib.suppress(UnicodeDecodeError):
        value = part.decode()
    # What a client sends may be a password: what is no secret, its inner layers show.
    secret = 0 if sender == CLIENT else None
    means = "as its head has told"
    what = Field(0, len(part), "content", shown(value), means, _CONTENT, secret=secret)
    summary = f"content, {counted(len(part), 'byte')}"
    is_text = isinstance(value, str)
    return Layer("HTTP content", part, sender, summary, _CONTENT, [what], is_text=is_text)


def _chunk_layer(part: bytes, sender: Sender) -> Layer:
    layer = Layer("HTTP chunk", part, sender, "chunk", _CHUNKED)
    line = _CHUNK_SIZE.match(part)
    if line is None:
        value = shown(part.decode("latin-1"))
        secret = 0 if sender == CLIENT else None
        what = Field(0, len(part), "chunk", value, "no size in front", _CHUNKED, secret=secret)
        layer.fields.append(what)
        return layer
    count = int(line[1], 16)
    size = shown(line[1].decode())[1:-1]
    means = f"{counted(count, 'byte')} of data" if count else "the last chunk"
    layer.summary = f"chunk of {counted(count, 'byte')}" if count else "last chunk"
    layer.fields.append(
        Field(0, line.end(1), "chunk-size", size, f"hexadecimal: {means}", _CHUNKED)
    )
    if line[2]:
        value = shown(line[2].decode("latin-1"))
        what = Field(
            line.start(2), line.end(2), "chunk-ext", value, "nobody uses them", "RFC 9112 7.1.1"
        )
        layer.fields.append(what)
    if count:
        data = part[line.end() : line.end() + count]
        shown_data = shown(data.decode("latin-1"))
        end = line.end() + len(data)
        secret = 0 if sender == CLIENT else None
        layer.fields.append(
            Field(line.end(), end, "chunk-data", shown_data, "", _CHUNKED, secret=secret)
        )
        return layer
    at = line.end()
    for trailer in part[line.end() :].split(b"\r\n"):
        if trailer:
            value = shown(trailer.decode("latin-1"))
            means = "a field behind the content; checked, and dropped"
            secret = 0 if sender == CLIENT else None
            what = Field(
                at, at + len(trailer), "trailer", value, means, "RFC 9112 7.1.2", secret=secret
            )
            layer.fields.append(what)
        at += len(trailer) + 2
    return layer


# -- where it is wrong -----------------------------------------------------------------------


def _rests(*words: bytes) -> list[bytes]:
    return list(dict.fromkeys(word[at:] for word in words for at in range(len(word) + 1)))


_FIRST_LINES: Final = _rests(
    b"GET / HTTP/1.1", b"HTTP/1.1 200 ", b"* HTTP/1.1", b"http://a HTTP/1.1"
)
_WORDS: Final = _rests(b"a: b", b"chunked", b"[::1]", b"1", b'a="b"', b"aA")


def _endings(start: bytes) -> Iterator[bytes]:
    """What may make a message, or a chunk, of its beginning."""
    authority = re.match(rb"[A-Z]+ https?://([^/?\s]+)", start)
    host = authority[1] if authority else b"a"
    field = b"Host: " + host
    line_ends = (b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n")
    rests = [*_WORDS, *_rests(field)] if b"\n" in start else [*_FIRST_LINES, *_WORDS]
    for rest in rests:
        for end in line_ends:
            yield rest + end
            if not rest:
                yield from (end[at:] for at in range(1, len(end) + 1))
    yield b"\nGET / HTTP/1.1" + line_ends[1]
