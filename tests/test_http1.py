"""`http1` alone: what goes in, what comes out, with no connection anywhere.

Every input is fed whole, a byte at a time and cut at each CR, by `segments`. The
wire examples are in vectors/http1.json: the bytes (as Latin-1), the requests that
they hold as [method, target, host, content], and the status of the fault that
ends them, or null.
"""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from segments import same_verdict

from redbarrel_lite.errors import LocalProtocolError, RemoteProtocolError
from redbarrel_lite.http1 import (
    END_OF_MESSAGE,
    MAX_REMEMBERED_BYTES,
    Connection,
    Event,
    Limits,
    Request,
    State,
)
from redbarrel_lite.http1_reader import MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES, USUAL

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "http1.json").read_text(encoding="utf-8")
)
HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
GET_10 = b"GET / HTTP/1.0\r\n" + HOST
HEAD = b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"

# A request that came whole, or the status of a fault.
Outcome: TypeAlias = "tuple[str, str, str, bytes] | int"


def judge(pieces: Iterable[bytes]) -> list[Outcome]:
    """What a server sees that answers each request as soon as it is there."""
    connection = Connection()
    outcome: list[Outcome] = []
    head: Request | None = None
    content = b""
    for piece in pieces:
        events = connection.receive(piece)
        while events:
            for event in events:
                assert not (outcome and isinstance(outcome[-1], int)), "an event after a fault"
                if isinstance(event, Request):
                    head, content = event, b""
                elif isinstance(event, bytes):
                    assert event, "an empty part"
                    content += event
                elif isinstance(event, RemoteProtocolError):
                    outcome.append(event.code)
                else:
                    assert head is not None
                    outcome.append((head.method, head.target, head.host, content))
            events = connection.next_request() if connection.state is State.DONE else []
    return outcome


def verdict(data: bytes, trailing: bytes = SMUGGLED) -> list[Outcome]:
    return same_verdict(judge, data, trailing, cut_before=b"\r")


def events_of(data: bytes) -> list[Event]:
    return Connection().receive(data)


def request_of(data: bytes) -> Request:
    request = events_of(data)[0]
    assert isinstance(request, Request)
    return request


def fault_of(data: bytes) -> RemoteProtocolError:
    fault = events_of(data)[-1]
    assert isinstance(fault, RemoteProtocolError)
    return fault


# -- the wire examples ---------------------------------------------------------------


@pytest.mark.parametrize("claim", {row["claim"]: None for row in VECTORS})
def test_wire_examples_get_one_verdict_however_they_are_cut(claim: str) -> None:
    for row in (row for row in VECTORS if row["claim"] == claim):
        expected: list[Outcome] = [
            (method, target, host, content.encode("latin-1"))
            for method, target, host, content in row["requests"]
        ]
        if row["fault"] is not None:
            expected.append(row["fault"])
        assert verdict(row["bytes"].encode("latin-1")) == expected, row


def test_fault_is_explained_in_one_short_printable_line() -> None:
    for row in (row for row in VECTORS if row["fault"]):
        connection = Connection()
        events = connection.receive(row["bytes"].encode("latin-1"))
        while connection.state is State.DONE:
            events = connection.next_request()
        message = str(events[-1])
        assert message.isascii(), row
        assert message.isprintable(), row
        assert len(message) <= 200, row
        assert not connection.keep_alive, row


OPEN = GET[:-2]  # its head goes on


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x16\x03", "400 this is TLS, and the port speaks plain HTTP"),
        (b"\0\0", "400 a request can't start with '\\x00' (RFC 9112 3)"),
        (b"\xe9 /\r\n\r\n", "400 a request can't start with '\\xe9' (RFC 9112 3)"),
        (b"\rG", "400 bare CR or LF (RFC 9112 2.2)"),
        (b"GET /\nX\r\n\r\n", "400 bare CR or LF (RFC 9112 2.2)"),
        (b"GET /\r\nX: y\r\n\r\n", "400 bad request line 'GET /' (RFC 9112 3)"),
        (b"A" * 8193, "501 method over 8192 bytes"),
        (GET.replace(b"1.1", b"1.2"), "400 HTTP version 1.2 is not spoken here (RFC 9112 2.3)"),
        (GET.replace(b"1.1", b"2.0"), "505 HTTP version 2.0 is not spoken here (RFC 9112 2.3)"),
        (GET.replace(b"/ ", b"* "), "400 bad request target '*' (RFC 9112 3.2)"),
        (
            GET.replace(b"/ ", b"http://a/ "),
            "400 the target's host is not that of Host (RFC 9112 3.2)",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", "400 no Host (RFC 9112 3.2)"),
        (OPEN + HOST + b"\r\n", "400 more than one Host (RFC 9112 3.2)"),
        (GET.replace(b"localhost", b"a b"), "400 bad Host 'a b' (RFC 9110 7.2)"),
        (OPEN + b"X: y\r\n" * 100, "431 over 100 header lines"),
        (OPEN + b"abc\r\n\r\n", "400 bad header line without a colon (RFC 9112 5)"),
        (OPEN + b"abc\r\n", "400 bad header line without a colon (RFC 9112 5)"),
        (OPEN + b" b\r\n", "400 header line that goes on with the one before (RFC 9112 5.2)"),
        (OPEN + b"\tb\r\n", "400 header line that goes on with the one before (RFC 9112 5.2)"),
        (OPEN + b"X: a\rb\r\n\r\n", "400 bare CR or LF (RFC 9112 2.2)"),
        (OPEN + b"X: a\nb\r\n\r\n", "400 bare CR or LF (RFC 9112 2.2)"),
        (OPEN + b"Content-Length: x\r\n\r\n", "400 bad Content-Length 'x' (RFC 9110 8.6)"),
        (
            OPEN + b"Content-Length: 1\r\n" * 2 + b"\r\n",
            "400 the content's length is given twice (RFC 9112 6.3)",
        ),
        (
            GET_10 + b"Transfer-Encoding: chunked\r\n\r\n",
            "400 HTTP/1.0 has no Transfer-Encoding (RFC 9112 6.1)",
        ),
        (
            OPEN + b"Transfer-Encoding: x\r\n\r\n",
            "400 Transfer-Encoding 'x' is not chunked (RFC 9112 6.1)",
        ),
        (CHUNKED + b"0" * 17, "400 chunk size over 16 digits (RFC 9112 7.1)"),
        (CHUNKED + b"1;" + b"a" * 255, "400 chunk size over 256 bytes"),
        (CHUNKED + b"g\r\n", "400 bad chunk size 'g' (RFC 9112 7.1)"),
        (CHUNKED + b"1\r\na\r\n\r\n", "400 bad chunk size '' (RFC 9112 7.1)"),
        (CHUNKED + b"1\r\naXY", "400 a chunk ends in 'X', not CR LF (RFC 9112 7.1)"),
        (CHUNKED + b"1\r\na\rX", "400 a chunk ends in '\\rX', not CR LF (RFC 9112 7.1)"),
        (CHUNKED + b"0\r\nhost: a\r\n", "400 bad trailer 'host:...' (RFC 9110 6.5.1)"),
        (CHUNKED + b"0\r\n" + b"a" * 8193, "431 trailers over 8192 bytes"),
    ],
)
def test_fault_says_what_was_wrong(data: bytes, fault: str) -> None:
    found = fault_of(data)
    assert f"{found.code} {found}" == fault


# -- limits, at the limit and one byte over it -----------------------------------------


def test_request_line_of_exactly_the_limit_passes() -> None:
    target = b"/" + b"a" * (USUAL.line - len(b"GET / HTTP/1.1"))
    expected = ("GET", target.decode(), "localhost", b"")
    assert verdict(b"GET %b HTTP/1.1\r\n%b\r\n" % (target, HOST)) == [expected]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /" + b"a" * USUAL.line + b" HTTP/1.1\r\n", 414),
        (b"A" * (USUAL.line - 1) + b" / HTTP/1.1\r\n", 414),
        (b"A" * USUAL.line + b" / HTTP/1.1\r\n", 414),
        (b"A" * (USUAL.line + 1) + b" / HTTP/1.1\r\n", 501),
        (b"A" * (USUAL.line + 1), 501),  # its end need not come
    ],
)
def test_request_line_over_the_limit_is_414_or_501(line: bytes, status: int) -> None:
    assert verdict(line + HOST) == [status]


def test_header_line_of_exactly_the_limit_passes() -> None:
    field = b"X: " + b"a" * (USUAL.line - 3) + b"\r\n"
    assert len(verdict(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n")) == 1


def test_header_line_over_the_limit_is_431() -> None:
    field = b"X: " + b"a" * (USUAL.line - 2)
    assert verdict(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n") == [431]
    assert "header line over 8192 bytes" in str(fault_of(GET[:-2] + field))


def test_as_many_header_lines_as_the_limit_pass() -> None:
    fields = HOST + b"X: a\r\n" * (USUAL.fields - 1)
    assert verdict(b"GET / HTTP/1.1\r\n" + fields + b"\r\n") == [("GET", "/", "localhost", b"")]


@pytest.mark.parametrize("end", [b"\r\n", b"bad line\r\n\r\n"])
def test_one_header_line_too_many_is_431(end: bytes) -> None:
    assert verdict(b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * USUAL.fields + end) == [431]


def head_of(size: int) -> bytes:
    """A head whose lines have ``size`` bytes, without the CR LF of the last one."""
    head = b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"a" * 8000 + b"\r\n") * 4
    return head + b"Y: " + b"b" * (size - len(head) - 3) + b"\r\n"


def test_head_of_exactly_the_limit_passes() -> None:
    assert len(verdict(head_of(USUAL.head) + b"\r\n")) == 1


def test_head_over_the_limit_is_431() -> None:
    assert verdict(head_of(USUAL.head + 1) + b"\r\n") == [431]
    assert "head over 32768 bytes" in str(fault_of(head_of(USUAL.head + 1)))
    assert "head over 32768 bytes" in str(fault_of(head_of(USUAL.head) + b"a"))


def test_line_that_is_too_long_for_both_limits_is_told_its_own() -> None:
    line = b"GET / HTTP/1.1\r\n"
    (fault,) = Connection(Limits(line=16, head=2 * 16)).receive(line + b"a" * 17)
    assert str(fault) == "header line over 16 bytes"


def test_first_fault_wins_over_a_later_one() -> None:
    """Else who cuts the segments chooses what is found."""
    line = b"GET / HTTP/1.1\r\n"
    long = b"X: " + b"a" * USUAL.line
    assert verdict(line + long + b"\r\nbad\r\n\r\n") == [431]
    assert verdict(line + b"bad\r\n" + long + b"\r\n\r\n") == [400]
    assert verdict(line + long + b"\n\r\n\r\n") == [431]
    assert verdict(line + b"X: \r" + long + b"\r\n\r\n") == [400]
    assert verdict(b"\0" + long + b"\r\n\r\n") == [400]
    assert verdict(head_of(USUAL.head + 1)[:-2] + b"\n\r\n") == [431]


def test_unfinished_head_is_refused_before_it_ends() -> None:
    assert fault_of(b"GET / HTTP/1.1\r\nno colon\r\n").code == 400
    assert fault_of(b"GET / HTTP/1.1 \r\n").code == 400
    assert events_of(b"GET / HTTP/1.1\r\nno colon") == []


def test_chunk_line_of_exactly_the_limit_passes() -> None:
    line = b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 2)
    assert verdict(CHUNKED + line + b"\r\nhello\r\n0\r\n\r\n") == [
        ("POST", "/", "localhost", b"hello")
    ]


@pytest.mark.parametrize("line", [b"5;" + b"a" * (MAX_CHUNK_LINE_BYTES - 1), b"0" * 100_000])
def test_chunk_line_over_the_limit_is_400(line: bytes) -> None:
    assert judge([CHUNKED + line[:300]]) == [400]  # its end need not come
    assert judge([CHUNKED, *(line[at : at + 1] for at in range(len(line)))]) == [400]
    assert judge([CHUNKED + line + b"\r\nhello\r\n0\r\n\r\n"]) == [400]


def test_trailers_may_be_as_long_as_the_limit_and_no_longer() -> None:
    trailers = b"W: w\r\nX: " + b"a" * (MAX_TRAILER_BYTES - 17) + b"\r\nY: yyy"
    assert len(trailers) == MAX_TRAILER_BYTES
    assert len(verdict((CHUNKED + b"0\r\n" + trailers + b"\r\n\r\n") * 2)) == 2
    assert fault_of(CHUNKED + b"0\r\n" + trailers + b"\r\na").code == 431
    assert verdict(CHUNKED + b"0\r\n" + trailers + b"y\r\n\r\n") == [431]


@pytest.mark.parametrize("trailer", [b"A: b\r\n" * 2000, b"X: " + b"a" * MAX_TRAILER_BYTES])
def test_endless_trailers_are_431(trailer: bytes) -> None:
    assert verdict(CHUNKED + b"0\r\n" + trailer) == [431]


# -- events and states -----------------------------------------------------------------


def test_request_shows_the_head() -> None:
    assert events_of(GET[:-2] + b"X:  a\t\r\nx: \xe9\r\n\r\n") == [
        Request(
            "GET",
            "/",
            "1.1",
            (("host", "localhost"), ("x", "a"), ("x", "\xe9")),
            content_length=0,
            keep_alive=True,
            host="localhost",
        ),
        END_OF_MESSAGE,
    ]


def test_repeated_fields_are_read_as_one_list() -> None:
    """RFC 9110 5.3."""
    request = request_of(GET[:-2] + b"X: a\r\nx: b\r\n\r\n")
    assert request.header("x") == "a, b"
    assert request.header("y") is None
    asked = request_of(GET[:-2] + b"Upgrade: WebSocket\r\nX: a\r\nupgrade: h2c\r\n\r\n")
    assert asked.upgrade == "websocket,h2c"


def test_content_is_passed_on_as_it_comes() -> None:
    connection = Connection()
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\n"
    assert connection.receive(head + b"ab")[1:] == [b"ab"]
    assert connection.receive(b"c") == [b"c"]
    assert connection.receive(b"defGET") == [b"def", END_OF_MESSAGE]
    assert connection.buffered == 3


def test_chunk_line_in_two_segments_is_read_whole() -> None:
    """What was searched of a line counts from a place that moves when chunks are taken."""
    assert judge([CHUNKED + b"000000001", b"\r\na\r\n1\r\nb\r\n0\r\n\r\n"]) == [
        ("POST", "/", "localhost", b"ab")
    ]


def test_chunk_is_passed_on_before_it_is_complete() -> None:
    connection = Connection()
    sixteen = b"10\r\n0123456789abcdef"
    whole = b"1\r\na\r\n2\r\nbc\r\n" + sixteen + b"\r\n"
    assert connection.receive(CHUNKED + whole + sixteen[:6])[1:] == [b"abc" + sixteen[4:], b"01"]
    assert connection.receive(sixteen[6:]) == [sixteen[6:]]
    assert connection.receive(b"\r\n" + b"1\r\nx\r\n" * 99) == [b"x" * 99]
    assert connection.receive(b"0\r\n\r\n") == [END_OF_MESSAGE]


def told(events: list[Event]) -> list[object]:
    return [(e.code, str(e)) if isinstance(e, RemoteProtocolError) else e for e in events]


def received(connection: Connection, data: bytes) -> list[Event]:
    """As the server reads them: bytes that come again are not read again."""
    head = connection.again(data)
    return connection.receive(data) if head is None else [head, END_OF_MESSAGE]


def test_what_a_connection_remembers_changes_no_verdict() -> None:
    """A request, its fields and its answer's are known when they come again: to the last byte."""
    fields = HOST + b"X: a\r\n\r\n"
    kept = b"GET / HTTP/1.1\r\n" + fields
    befores = [kept, b"\r\n" + kept, b"GET /b HTTP/1.1\r\n" + fields, CHUNKED + b"0\r\n\r\n"]
    thens = [
        b"GET / HTTP/1.0\r\n" + fields,
        b"GET / HTTP/1.1\r\n" + fields.replace(b"a", b"b"),
        b"GET http://localhost/c HTTP/1.1\r\n" + fields,
        kept[:-2] + HOST + b"\r\n",
        kept[:-1],
        kept + kept,
        *befores,
        *(row["bytes"].encode("latin-1") for row in VECTORS),
    ]
    for before in befores:
        for then in thens:
            connection = Connection()
            for _ in range(2):
                assert told(received(connection, before)) == told(events_of(before))
                assert connection.next_request() == []
            assert told(received(connection, then)) == told(events_of(then)), (before, then)


def test_request_that_is_too_long_to_be_remembered_is_read_again() -> None:
    fields = b"X: %b\r\n\r\n" % (b"a" * (MAX_REMEMBERED_BYTES - len(GET) - 5))
    connection = Connection()
    for long, is_known in ((GET[:-2] + fields, True), (GET[:-2] + b"Y" + fields, False)):
        assert connection.receive(long) == events_of(long)
        connection.next_request()
        assert (connection.again(long) is not None) is is_known
        if is_known:
            connection.next_request()


def test_request_is_known_again_only_where_it_has_its_turn_and_stands_alone() -> None:
    connection = Connection()
    assert connection.again(GET) is None
    connection.receive(GET)
    assert connection.again(GET) is None  # the first one is not answered
    connection.next_request()
    head = connection.again(GET)
    assert head == request_of(GET)
    assert connection.state is State.DONE
    assert connection.keep_alive
    connection.next_request()
    connection.receive(GET[:3])
    assert connection.again(GET) is None  # or it would stand before what has come
    assert connection.receive(GET[3:]) == events_of(GET)
    connection.next_request()
    assert connection.again(GET[3:]) is None  # it was a part of one
    connection.receive(b"\0")
    assert connection.again(GET) is None


# A request, and the status, the fields and the content of its answer.
Answer: TypeAlias = tuple[bytes, int, list[tuple[str, str]], bytes]


def test_head_of_an_answer_is_told_again_only_where_it_is_the_same() -> None:
    """Each answer goes out after each other one as it does on a new connection."""
    requests = [GET, HEAD, GET_10 + b"\r\n", GET_10 + b"Connection: keep-alive\r\n\r\n"]
    headers = [[("x", "a")], [("x", "b")], [("x", "a"), ("Connection", "close")], []]
    answers: list[Answer] = [
        (request, status, fields, content)
        for request in requests
        for status in (200, 404, 204)
        for fields in (*headers, [("x", "a" * MAX_REMEMBERED_BYTES)])
        for content in (b"", b"a", b"bb")
    ]

    def told(connection: Connection, answer: Answer) -> tuple[bytes, bool]:
        request, status, fields, content = answer
        received(connection, request)
        return connection.respond(status, fields, content), connection.keep_alive

    seeded = random.Random(1)
    for before in answers:
        connection = Connection()
        told(connection, before)
        for then in seeded.sample(answers, 10):
            connection.next_request()
            assert told(connection, then) == told(Connection(), then), (before, then)


def test_next_request_waits_for_the_end_of_this_one() -> None:
    connection = Connection()
    connection.receive(CHUNKED)
    with pytest.raises(LocalProtocolError, match=r"^the request is not over: the peer owes chunk"):
        connection.next_request()


def test_pipelined_request_waits_until_this_one_is_answered() -> None:
    """RFC 9112 9.3.2."""
    connection = Connection()
    assert len(connection.receive(GET + GET + b"X")) == 2
    assert connection.receive(GET) == []
    assert connection.buffered == 2 * len(GET) + 1
    assert len(connection.next_request()) == 2
    assert len(connection.next_request()) == 2
    assert connection.next_request() == []


def test_nothing_is_read_after_a_fault() -> None:
    connection = Connection()
    assert len(connection.receive(b"\0")) == 1
    assert connection.buffered == 0
    assert connection.receive(GET) == []
    assert connection.buffered == 0
    assert connection.state is State.ERROR


def test_upgrade_hands_over_what_came_with_it() -> None:
    connection = Connection()
    connection.receive(GET + b"\x81\x80\0\0\0\0")
    assert connection.upgrade() == b"\x81\x80\0\0\0\0"
    assert connection.buffered == 0


def test_bytes_after_an_upgrade_are_the_other_protocols() -> None:
    connection = Connection()
    connection.receive(GET)
    connection.upgrade()
    with pytest.raises(LocalProtocolError, match="upgraded"):
        connection.receive(GET)


# -- keep-alive (RFC 9112 9.3) -----------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "fields", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: Close\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: y ,\tclose, upgrade\r\n", False),
        (b"1.1", b"Connection: closed, not-close\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: x\r\n", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_connection_is_kept_as_the_peer_says(version: bytes, fields: bytes, kept: bool) -> None:
    connection = Connection()
    connection.receive(b"GET / HTTP/%b\r\n%b%b\r\n" % (version, HOST, fields))
    assert connection.keep_alive is kept


# -- answers --------------------------------------------------------------------------------


def answering(request: bytes) -> Connection:
    connection = Connection()
    connection.receive(request)
    return connection


def test_answer_is_framed_by_its_length() -> None:
    answer = answering(GET).respond(200, [("content-type", "text/plain")], b"hello")
    assert answer == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
    )


def test_answer_like_the_last_one_says_what_differs() -> None:
    connection = answering(GET)
    for status, headers, content in [
        (200, [("x", "a")], b"1"),
        (200, [("x", "a")], b"22"),
        (404, [("x", "a")], b"22"),
        (404, [("x", "b")], b""),
        (404, [("x", "b"), ("content-length", "9")], b""),
        (404, [("x", "b"), ("connection", "close")], b""),
    ]:
        expected = answering(GET).respond(status, headers, content)
        assert connection.respond(status, headers, content) == expected
        assert connection.respond(status, headers, content) == expected
    headers = [("x", "a")]
    answer = connection.respond(200, headers)
    headers.append(("x", "b"))  # the caller's own list
    assert connection.respond(200, headers) != answer


def test_interim_answer_is_not_the_answer() -> None:
    connection = answering(GET)
    connection.respond(103, [])
    assert not connection.has_answered
    connection.respond(200, [])
    assert connection.has_answered


def test_answer_without_content_says_so() -> None:
    assert answering(GET).respond(404, []) == b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def test_head_says_what_get_would_and_sends_none_of_it() -> None:
    """RFC 9110 9.3.2."""
    headers = [("etag", '"a"')]
    got = answering(GET).respond(200, headers, b"hello")
    assert answering(HEAD).respond(200, headers, b"hello") == got.removesuffix(b"hello")


@pytest.mark.parametrize("request_bytes", [GET, HEAD])
@pytest.mark.parametrize(("status", "phrase"), [(204, b"No Content"), (304, b"Not Modified")])
def test_204_and_304_end_with_their_head(status: int, phrase: bytes, request_bytes: bytes) -> None:
    """RFC 9110 6.4.1 and, for the length in a 204, 8.6."""
    answer = answering(request_bytes).respond(status, [("content-length", "5")], b"hello")
    assert answer == b"HTTP/1.1 %d %b\r\n\r\n" % (status, phrase)


def test_interim_answer_has_no_framing() -> None:
    """RFC 9110 15.2: the final answer follows."""
    connection = answering(GET[:-2] + b"Connection: close\r\n\r\n")
    assert connection.respond(100, []) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert connection.respond(103, [("link", "</a.css>")]) == (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
    )
    assert connection.respond(199, []) == b"HTTP/1.1 199 \r\n\r\n"
    assert b"connection: close" in connection.respond(200, [])


def test_http_1_0_gets_no_interim_answer() -> None:
    """RFC 9110 15.2."""
    assert answering(GET_10 + b"\r\n").respond(100, []) == b""


def test_one_date_travels_and_it_is_the_author_s() -> None:
    """RFC 9110 6.6.1: the field is no list."""
    fields = [("date", "then"), ("x", "date: y"), ("date", "now")]
    answer = answering(GET).respond(200, fields, b"")
    assert answer == b"HTTP/1.1 200 OK\r\ndate: then\r\nx: date: y\r\ncontent-length: 0\r\n\r\n"


def test_callers_framing_fields_do_not_travel() -> None:
    """Two lengths in one answer would be a way to split it."""
    headers = [("Content-Length", "99"), ("transfer-encoding", "chunked"), ("x", "y")]
    answer = answering(GET).respond(200, headers, b"hello")
    assert answer == b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\n\r\nhello"


def test_close_is_said_once_whoever_wants_it() -> None:
    for request, headers, forbid in [
        (GET[:-2] + b"Connection: close\r\n\r\n", [("Connection", "Close")], True),
        (GET, [("Connection", "close")], False),
        (GET, [], True),
        (GET_10 + b"Connection: keep-alive\r\n\r\n", [("connection", "close")], False),
        (b"\0", [], False),  # a request that was not understood
    ]:
        connection = answering(request)
        if forbid:
            connection.forbid_keep_alive()
        answer = connection.respond(400, headers)
        assert answer.lower().count(b"connection:") == 1
        assert b"\r\nconnection: close\r\n" in answer
        assert not connection.keep_alive


def test_keep_alive_is_said_to_http_1_0_only() -> None:
    kept = answering(GET_10 + b"Connection: keep-alive\r\n\r\n")
    assert b"connection: keep-alive\r\n" in kept.respond(200, [])
    assert kept.keep_alive
    answer = answering(GET).respond(200, [("connection", "keep-alive")])
    assert b"connection" not in answer


def test_answer_to_no_request_is_the_last() -> None:
    """Such as the 408 to a head that does not come."""
    assert b"connection: close\r\n" in Connection().respond(408, [])


def test_other_connection_options_are_passed_on() -> None:
    """RFC 9110 7.8: an Upgrade field has an option of its name."""
    connection = answering(GET)
    headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("connection", "x")]
    assert b"connection: upgrade, x\r\n" in connection.respond(426, headers)
    assert connection.keep_alive
    connection.forbid_keep_alive()
    assert b"connection: close, upgrade, x\r\n" in connection.respond(426, headers)


def test_answer_to_garbage_after_head_has_content() -> None:
    connection = answering(HEAD + b"\0")
    connection.respond(200, [])
    connection.next_request()
    assert connection.respond(400, [], b"why").endswith(b"\r\n\r\nwhy")


@pytest.mark.parametrize("bad", ["a\r\nset-cookie: x", "a\rb", "a\nb", "a\0b", "\u20ac", "\ud800"])
def test_header_that_would_break_the_framing_is_an_error(bad: str) -> None:
    for headers in ([("x", "fine"), ("x", bad)], [(bad, "x")]):
        connection = answering(GET)
        for make in (
            functools.partial(connection.respond, 200, headers),
            functools.partial(connection.respond, 103, headers),
            functools.partial(connection.start_response, 200, headers, None),
            functools.partial(connection.switch_protocols, headers),
        ):
            with pytest.raises(ValueError, match="header") as caught:
                make()
            assert str(caught.value).isascii()
            assert "fine" not in str(caught.value)


@pytest.mark.parametrize("name", ["content-length ", "", "x y", "x:", "\xe4"])
def test_name_that_no_header_has_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a header"):
        answering(GET).respond(200, [(name, "5")])


@pytest.mark.parametrize(("length", "shown"), [(195, "a" * 195), (196, "a" * 192 + "...")])
def test_bad_header_is_shown_as_far_as_200_characters(length: int, shown: str) -> None:
    what = "no name of a header, or CR, LF, NUL or what Latin-1 lacks in one"
    with pytest.raises(ValueError, match="header") as caught:
        answering(GET).respond(200, [("x y", "a" * length)])
    assert str(caught.value) == f"{what}: 'x y: {shown}'"


def test_header_may_hold_latin_1() -> None:
    assert b"\r\nx: \xe9\xff\r\n" in answering(GET).respond(200, [("x", "\xe9\xff")])


def test_unknown_status_has_no_reason() -> None:
    """RFC 9112 4: the blank before the empty reason stays."""
    for status in (599, 999):
        answer = answering(GET).respond(status, [])
        assert answer == b"HTTP/1.1 %d \r\ncontent-length: 0\r\n\r\n" % status


@pytest.mark.parametrize("status", [0, 99, 1000, -200])
def test_status_has_three_digits(status: int) -> None:
    with pytest.raises(ValueError, match=f"^status {status} has not three digits"):
        answering(GET).respond(status, [])


def test_switching_protocols() -> None:
    """RFC 9110 7.8."""
    answer = answering(GET).switch_protocols([("upgrade", "websocket")])
    assert answer == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n"
    )


# -- answers in parts -------------------------------------------------------------------------


def streamed(request: bytes, status: int, length: int | None) -> tuple[bytes, Connection]:
    connection = answering(request)
    parts = [
        connection.start_response(status, [("x", "y")], length),
        connection.chunk(b"0123456789"),
        connection.chunk(b""),
        connection.chunk(b"ab"),
        connection.end_response(),
    ]
    return b"".join(parts), connection


def test_streamed_answer_is_chunked() -> None:
    answer, connection = streamed(GET, 200, None)
    assert answer == (
        b"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n"
        b"a\r\n0123456789\r\n2\r\nab\r\n0\r\n\r\n"
    )
    assert connection.keep_alive


def test_streamed_answer_of_known_length_goes_as_it_is() -> None:
    answer, _ = streamed(GET, 200, 12)
    assert answer == b"HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 12\r\n\r\n0123456789ab"


def test_streamed_answer_to_http_1_0_ends_with_the_connection() -> None:
    """RFC 9112 6.3, rule 8."""
    answer, connection = streamed(GET_10 + b"Connection: keep-alive\r\n\r\n", 200, None)
    assert answer == b"HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\n0123456789ab"
    assert not connection.keep_alive


def test_content_that_goes_another_way_is_counted() -> None:
    """The kernel sends a file past us; what is missing must still be noticed."""
    connection = answering(GET)
    connection.start_response(200, [], 5)
    assert connection.sends_content
    connection.sent_otherwise(4)
    with pytest.raises(LocalProtocolError, match="1 bytes"):
        connection.end_response()
    connection.sent_otherwise(1)
    assert connection.end_response() == b""
    connection.start_response(200, [], None)
    connection.sent_otherwise(4)  # of a length that nobody knows, nothing is missing
    assert connection.end_response() == b"0\r\n\r\n"
    connection.start_response(200, [], 1)
    assert connection.chunk(b"a") == b"a"  # not in chunks as the one before
    connection.start_response(304, [], 5)
    assert not connection.sends_content


def test_streamed_answer_keeps_to_its_length() -> None:
    """RFC 9110 8.6: else the client reads the next answer in the wrong place."""
    connection = answering(GET)
    connection.start_response(200, [], 5)
    connection.chunk(b"hell")
    with pytest.raises(LocalProtocolError, match="1 bytes"):
        connection.end_response()
    with pytest.raises(LocalProtocolError, match="more content"):
        connection.chunk(b"oo")


@pytest.mark.parametrize(
    ("request_bytes", "status", "length", "framing"),
    [
        (HEAD, 200, None, b"transfer-encoding: chunked\r\n"),
        (HEAD, 200, 12, b"content-length: 12\r\n"),
        (GET, 204, None, b""),
        (GET, 304, 12, b""),
    ],
)
def test_streamed_answer_without_content_has_no_parts(
    request_bytes: bytes, status: int, length: int | None, framing: bytes
) -> None:
    answer, _ = streamed(request_bytes, status, length)
    assert answer.endswith(b"x: y\r\n" + framing + b"\r\n")


# -- properties ---------------------------------------------------------------------------------


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def any_request(chance: random.Random) -> tuple[bytes, Outcome]:
    method = chance.choice(["GET", "POST", "PUT", "x-y"])
    target = "/" + "".join(chance.choices("abc/?&=%20;", k=chance.randrange(40)))
    content = chance.randbytes(chance.choice([0, 1, 7, 300]))
    fields = b"".join(
        b"X-%d:%b%b\r\n" % (number, chance.choice([b"", b" ", b"\t "]), b"\xe9 v" * number)
        for number in range(chance.randrange(5))
    )
    head = f"{method} {target} HTTP/1.1\r\n".encode() + HOST + fields
    outcome = (method, target, "localhost", content)
    if chance.random() < 0.5:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(content), content), outcome
    body = b""
    at = 0
    while at < len(content):
        part = content[at : at + chance.randrange(1, 100)]
        body += b"%X%b\r\n%b\r\n" % (len(part), chance.choice([b"", b";a=b"]), part)
        at += len(part)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n", outcome


def cut_at_random(chance: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(20)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_requests_survive_any_cutting(chance: random.Random) -> None:
    for _ in range(60):
        requests = [any_request(chance) for _ in range(chance.randrange(1, 5))]
        data = b"".join(data for data, _ in requests)
        assert judge(cut_at_random(chance, data)) == [outcome for _, outcome in requests]


def test_truncated_request_is_never_complete_and_never_a_fault(chance: random.Random) -> None:
    data, outcome = any_request(chance)
    for end in range(len(data)):
        assert judge([data[:end]]) == []
    assert judge([data]) == [outcome]


@pytest.mark.parametrize("kind", ["random bytes", "changed requests"])
def test_garbage_gives_faults_only(chance: random.Random, kind: str) -> None:
    """One verdict whatever the segments, and no other error."""
    for _ in range(150):
        if kind == "random bytes":
            data = chance.randbytes(chance.randrange(1, 200))
        else:
            changed = bytearray(any_request(chance)[0])
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] = chance.choice(b"\r\n\0:; 0aG\xff")
            data = bytes(changed)
        expected = judge([data])
        assert judge(cut_at_random(chance, data)) == expected
        assert judge(data[at : at + 1] for at in range(len(data))) == expected


def test_a_megabyte_of_garbage_is_refused_once(chance: random.Random) -> None:
    """Whatever it starts with: with a letter it is a request line that does not end in time."""
    for start in (b"", b"GET / HTTP/1.1\r\n", CHUNKED):
        assert judge([start + chance.randbytes(1 << 20)])[-1] in (400, 414, 431)


def answered_content(answer: bytes) -> bytes:
    """What a simple client makes of an answer."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in head:
        return rest
    content = b""
    while not rest.startswith(b"0\r\n"):
        size, _, rest = rest.partition(b"\r\n")
        content += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    assert rest == b"0\r\n\r\n"
    return content


def test_streamed_content_arrives_whole(chance: random.Random) -> None:
    for length_known in (True, False) * 20:
        parts = [chance.randbytes(chance.randrange(50)) for _ in range(chance.randrange(5))]
        content = b"".join(parts)
        connection = answering(GET)
        answer = connection.start_response(200, [], len(content) if length_known else None)
        answer += b"".join(map(connection.chunk, parts)) + connection.end_response()
        assert answered_content(answer) == content


# -- cost: the limits are far above what a busy machine needs, and far below quadratic ----------


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;a\r\nx\r\n"])
def test_tiny_chunks_cost_little(chunk: bytes) -> None:
    """In chunks of one byte a megabyte is a million of them: here are fewer."""
    segments = [CHUNKED, *[chunk * 10_000] * 3, b"0\r\n\r\n"]
    assert cpu_seconds(lambda: judge(segments)) < 0.2
    assert judge(segments) == [("POST", "/", "localhost", b"x" * 30_000)]


def test_empty_lines_cost_little() -> None:
    connection = Connection()
    assert cpu_seconds(lambda: connection.receive(b"\r\n" * 100_000)) < 0.5
    assert connection.buffered == 0


@pytest.mark.parametrize(
    "value", [b"a" * 8000, b" " * 8000, b"\t a" * 2600, b"," * 8000, b'"' * 8000, b"\\" * 8000]
)
def test_long_values_are_read_in_linear_time(value: bytes) -> None:
    data = GET[:-2] + b"Connection: %b\r\n" % value * 3 + b"X : bad\r\n\r\n"
    assert cpu_seconds(lambda: judge([data])) < 0.1
    assert cpu_seconds(lambda: judge([CHUNKED + b"1;a=" + value])) < 0.1


def test_trickled_bytes_cost_no_more_at_the_end_than_at_the_start() -> None:
    """A head, then trailers, a byte at a time: what was looked at is not looked at again."""
    connection = Connection()

    def trickle(data: bytes) -> None:
        for at in range(len(data)):
            assert connection.receive(data[at : at + 1]) == []

    assert cpu_seconds(lambda: trickle(head_of(USUAL.head - 100))) < 2
    connection = Connection()
    connection.receive(CHUNKED + b"0\r\n")
    assert cpu_seconds(lambda: trickle(b"X: " + b"a" * (MAX_TRAILER_BYTES - 10))) < 1
