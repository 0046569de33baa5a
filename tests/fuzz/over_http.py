"""HTTP/1.1: the heads of requests, chunked content, and the answers of other servers.

The laws: one verdict however the bytes are cut; what is understood says the same when it
is written anew, as a proxy does; content is what its framing says; nothing is kept beyond
the limits; nothing is read after a fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Final

from redbarrel_lite import http1, http1_client
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.http1_reader import (
    END_OF_MESSAGE,
    MAX_CHUNK_LINE_BYTES,
    MAX_TRAILER_BYTES,
    USUAL,
    Limits,
    Reader,
    State,
)

from .laws import Target, blamed, chance_of, gist, hold, same, same_however_cut, vectors

TIGHT: Final = Limits(line=60, head=150, fields=4)
POST: Final = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
METHODS: Final = ("GET", "HEAD", "POST", "OPTIONS", "CONNECT")
STATUSES: Final = (400, 414, 431, 501, 505)
TOKENS: Final = (
    *(b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\r\r\n", b"\n\n", b"\0", b"\x0b", b"\x7f", b"\x80"),
    *(b" ", b"\t", b":", b",", b";", b"=", b'"', b"\\", b"/", b"?", b"*", b"\xa0", b"\xff"),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.0", b"HTTP/2.0", b"CONNECT a:1", b"HEAD", b"http://b/"),
    *(b"Host: b\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, upgrade\r\n", b"Upgrade: websocket\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"0\r\nA: b\r\n\r\n", b";a=b", b';a="b"', b"+5", b"0x5"),
    *(b"A: b\r\n", b" folded\r\n", b"X" * 70, b"[::1]:80", b"user@", b"\xef\xbc\x95"),
)


class Outcome(list[Any]):
    """What came of some bytes: heads, contents, ends, and the fault if there was one."""

    def add(self, event: object) -> None:
        hold(not (self and isinstance(self[-1], tuple) and self[-1][0] == "fault"), "a fault ends")
        if isinstance(event, RemoteProtocolError):
            self.append(("fault", *blamed(event)))
        elif isinstance(event, bytes):
            hold(event, "no part is empty")
            if self and isinstance(self[-1], bytes):
                self[-1] += event
            else:
                self.append(event)
        else:
            self.append(event)

    def in_short(self) -> Hashable:
        """Enough to see that something else has happened."""
        return tuple(_kind(event) for event in self[:6])


def _kind(event: object) -> Hashable:
    if isinstance(event, tuple) and event[0] == "fault":
        return gist(event[1])
    if isinstance(event, http1.Request):
        known = event.method if event.method in METHODS else "another"
        return known, event.version, event.keep_alive, event.content_length is None
    if isinstance(event, http1_client.Response):
        return event.status, event.content_length is None
    return type(event).__name__


def bounded(reader: Reader[Any], limits: Limits, received: int) -> None:
    """What waits in the buffer is what the limits allow."""
    most = {
        State.HEAD: limits.head + 4,
        State.CONTENT: 0,
        State.CHUNK_SIZE: MAX_CHUNK_LINE_BYTES + 2,
        State.CHUNK_DATA: 0,
        State.CHUNK_END: 1,
        State.TRAILERS: MAX_TRAILER_BYTES + 2,
        State.ERROR: 0,
    }
    hold(reader.buffered <= min(most.get(reader.state, received), received), "memory is bounded")


def judge_requests(pieces: list[bytes], limits: Limits) -> Outcome:
    """What a server sees that answers each request as soon as it is there."""
    connection = http1.Connection(limits)
    outcome = Outcome()
    received = 0
    for piece in pieces:
        received += len(piece)
        events = connection.receive(piece)
        while events:
            for event in events:
                outcome.add(event)
            more = connection.state is State.DONE and connection.keep_alive
            events = connection.next_request() if more else []
        if connection.state is State.DONE:
            return outcome  # the server closes
        bounded(connection, limits, received)
    if connection.state is State.ERROR:
        same(connection.receive(GET), [], "nothing is read after a fault")
        hold(connection.state is State.ERROR, "a fault is for good")
    return outcome


def check_requests(data: bytes) -> Outcome:
    """The laws of requests; the outcome under the usual limits."""
    same_however_cut(lambda pieces: judge_requests(pieces, TIGHT), data)
    outcome = same_however_cut(lambda pieces: judge_requests(pieces, USUAL), data)
    for at, event in enumerate(outcome):
        if isinstance(event, http1.Request):
            check_request(event)
            check_content(outcome[at + 1 : at + 3], event.content_length)
        elif isinstance(event, tuple) and event[0] == "fault":
            hold(event[2] in STATUSES, "a fault has a status of its own")
    check_again(data, outcome)
    return outcome


def check_request(request: http1.Request) -> None:
    """Written anew it says the same."""
    line = f"{request.method} {request.target} HTTP/{request.version}\r\n"
    if request.method == "CONNECT" or not request.target.startswith("/"):
        hold(request.method in ("CONNECT", "OPTIONS"), "a target is a path")
    fields = "".join(f"{name}:{value}\r\n" for name, value in request.headers)
    for name, value in request.headers:
        hold(name == name.lower() and value == value.strip("\t "), "fields are trimmed")
        hold(not set("\r\n\0") & set(name + value), "no field holds a line break")
    again = http1.Connection().receive(f"{line}{fields}\r\n".encode("latin-1"))
    hold(again and isinstance(again[0], http1.Request), "what is written anew is understood")
    host = request.host if request.header("host") is not None else ""
    same(again[0], request._replace(host=host), "what is written anew says the same")
    given = [name for name, _ in request.headers if name in ("content-length", "transfer-encoding")]
    hold(len(given) <= 1, "the length is given once")


def check_content(behind: list[object], length: int | None) -> None:
    """What is behind a head is as long as it says."""
    content = behind[0] if behind and isinstance(behind[0], bytes) else b""
    is_complete = END_OF_MESSAGE in behind[:2]
    if length is not None:
        hold(
            len(content) == length if is_complete else len(content) <= length,
            "content has a length",
        )


def check_again(data: bytes, outcome: Outcome) -> None:
    """A connection that has read the same before reads it as it did then."""
    whole = len(outcome) == 2 and outcome[1] is END_OF_MESSAGE and outcome[0].keep_alive
    if whole and http1.Connection().receive(data)[-1] is END_OF_MESSAGE:
        rest = http1.Connection()
        rest.receive(data)
        if not rest.buffered:
            same(judge_requests([data, data], USUAL), outcome * 2, "the same again is the same")


class Head(Target):
    """The heads of requests, one behind the other."""

    name: ClassVar[str] = "head"
    tokens = TOKENS
    rooms = "http1 http1_reader"

    def seeds(self) -> Iterator[bytes]:
        for row in vectors("http1"):
            yield row["bytes"].encode("latin-1")

    def check(self, data: bytes) -> Hashable:
        return check_requests(data).in_short()


def chunked(content: bytes, chance: random.Random) -> bytes:
    """Some content in chunks of any size, with extensions and trailers now and then."""
    parts = []
    while content:
        size = chance.choice([1, 2, 9, 10, 15, 16, 17, 255, 256, 4096])
        part, content = content[:size], content[size:]
        head = chance.choice([b"%x", b"%x", b"%X", b"0%x", b"%x;a", b'%x;a="b;\\"c" ;d']) % len(
            part
        )
        parts.append(b"%b\r\n%b\r\n" % (head, part))
    trailer = chance.choice([b"", b"", b"A: b\r\n", b"a:\r\nb: c\r\n"])
    return b"".join(parts) + chance.choice([b"0", b"00", b"0;a=b"]) + b"\r\n" + trailer + b"\r\n"


class Chunked(Target):
    """What is behind a head that announces chunks."""

    name: ClassVar[str] = "chunked"
    tokens = (
        *TOKENS,
        *(b"0", b"f", b"F", b"ffffffffffffffff", b"10000000000000000", b"1\r\na\r\n"),
        *(b"A: " + b"x" * 8000, b";" + b"x" * 250, b"Host: a\r\n", b"trailer: a\r\n"),
    )
    rooms = "http1_reader"

    def seeds(self) -> Iterator[bytes]:
        for row in vectors("http1"):
            head, _, rest = row["bytes"].encode("latin-1").partition(b"\r\n\r\n")
            if b"chunked" in head.lower() and rest:
                yield rest
        for seed in range(20):
            chance = random.Random(seed)
            yield chunked(chance.randbytes(chance.choice([0, 1, 20, 300])), chance)

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        return chunked(parts(), chance)

    def check(self, data: bytes) -> Hashable:
        content = chunked(data, chance_of(data))
        wanted = [*([data] if data else []), END_OF_MESSAGE]
        same(judge_requests([POST + content], USUAL)[1:], wanted, "chunks hold their content")
        return check_requests(POST + data).in_short()


def judge_answers(pieces: list[bytes], method: str, *, asked: bool) -> Outcome:
    """What a proxy sees of the answer to its request, which ends by closing."""
    connection = http1_client.Connection()
    connection.send_request(method, "/", [("upgrade", "a")] if asked else [], 0)
    outcome = Outcome()
    received = 0
    for piece in pieces:
        received += len(piece)
        for event in connection.receive(piece):
            outcome.add(event)
        bounded(connection, USUAL, received)
    for event in connection.receive_eof():
        outcome.add(event)
    if connection.state is State.ERROR:
        same(connection.receive(b"HTTP/1.1 200 OK\r\n\r\n"), [], "nothing is read after a fault")
        same(connection.receive_eof(), [], "nothing comes of the end after a fault")
    return outcome


class Answers(Target):
    """What another server answers to a proxy."""

    name: ClassVar[str] = "answers"
    tokens = (
        *TOKENS,
        *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        *(b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.0 304 \r\n", b"HTTP/1.1 999\r\n"),
    )
    rooms = "http1_client http1_reader"

    def seeds(self) -> Iterator[bytes]:
        for row in vectors("http1"):
            yield row["bytes"].encode("latin-1").replace(b"HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", 1)
            _, line, rest = row["bytes"].encode("latin-1").partition(b"HTTP/1.1\r\n")
            yield b"HTTP/1.1 200 OK\r\n" + rest if line else rest
        yield b"HTTP/1.0 200 OK\r\n\r\nuntil it ends"
        yield b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n"
        yield b"HTTP/1.1 101 Switching Protocols\r\nupgrade: a\r\n\r\n\x81\0"

    def check(self, data: bytes) -> Hashable:
        chance = chance_of(data)
        method, asked = chance.choice(["GET", "GET", "HEAD", "POST"]), chance.random() < 0.3
        outcome = same_however_cut(lambda pieces: judge_answers(pieces, method, asked=asked), data)
        for at, event in enumerate(outcome):
            if isinstance(event, http1_client.Response):
                length = event.content_length
                if method == "HEAD" or event.status in (101, 204, 304):
                    length = 0
                check_content(outcome[at + 1 : at + 3], length)
            elif isinstance(event, tuple) and event[0] == "fault":
                same(event[2], 502, "a fault of the upstream is a 502")
        return outcome.in_short()
