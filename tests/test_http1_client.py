"""`http1_client` alone: what an upstream may answer, and what it may not.

Every answer is fed whole, a byte at a time and cut at each CR, by `segments`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypeAlias

import pytest
from segments import same_verdict

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.http1_client import MAX_INTERIM, Connection, Event, Response
from redbarrel_lite.http1_reader import END_OF_MESSAGE, USUAL, State

OK = b"HTTP/1.1 200 OK\r\n"
UPGRADE = [("upgrade", "websocket")]

Outcome: TypeAlias = "tuple[int, bytes] | int"


def judge(
    pieces: Iterable[bytes], method: str = "GET", *, upgrade: bool = False, eof: bool = True
) -> list[Outcome]:
    """What a proxy sees: the answer as status and content, or the status of a fault."""
    connection = Connection()
    connection.send_request(method, "/", UPGRADE if upgrade else [], 0)
    events: list[Event] = []
    for piece in pieces:
        events += connection.receive(piece)
    if eof:
        events += connection.receive_eof()
    status, content, outcome = 0, b"", list[Outcome]()
    for event in events:
        assert not outcome, "an event after the end"
        if isinstance(event, Response):
            assert not status, "two answers to one request"
            status = event.status
        elif isinstance(event, bytes):
            content += event
        elif isinstance(event, RemoteProtocolError):
            outcome.append(event.code)
        else:
            outcome.append((status, content))
    if status == 101:
        outcome.append((101, connection.upgrade()))
    return outcome


def verdict(data: bytes, method: str = "GET", **options: bool) -> list[Outcome]:
    return same_verdict(lambda pieces: judge(pieces, method, **options), data, cut_before=b"\r")


DOUBLE = "the content's length is given twice (RFC 9112 6.3)"


# -- the request ---------------------------------------------------------------------


def test_request_is_written_with_one_framing() -> None:
    headers = [("host", "a"), ("content-length", "9"), ("transfer-encoding", "x"), ("x", "y")]
    send = Connection().send_request
    assert send("GET", "/x?y", headers, 0) == (
        b"GET /x?y HTTP/1.1\r\nhost: a\r\nx: y\r\nconnection: close\r\n\r\n"
    )
    assert send("POST", "/", headers, 5).endswith(b"content-length: 5\r\nconnection: close\r\n\r\n")
    assert send("PUT", "/", [], 0).endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")
    assert b"transfer-encoding: chunked\r\n" in send("POST", "/", headers, None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_method_that_has_no_content_says_nothing_of_it(method: str) -> None:
    written = Connection().send_request(method, "/", [], 0)
    assert written == f"{method} / HTTP/1.1\r\nconnection: close\r\n\r\n".encode()


def test_upgrade_is_said_to_be_for_the_connection() -> None:
    written = Connection().send_request("GET", "/", UPGRADE, 0)
    assert written == b"GET / HTTP/1.1\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n"


def test_request_of_unknown_length_is_chunked() -> None:
    connection = Connection()
    connection.send_request("POST", "/", [], None)
    assert connection.chunk(b"hello") == b"5\r\nhello\r\n"
    assert connection.chunk(b"") == b""
    assert connection.end_request() == b"0\r\n\r\n"
    connection.send_request("POST", "/", [], 5)
    assert (connection.chunk(b"hello"), connection.end_request()) == (b"hello", b"")


def test_request_with_a_line_break_in_a_header_is_not_written() -> None:
    with pytest.raises(ValueError, match="CR, LF, NUL"):
        Connection().send_request("GET", "/", [("x", "a\r\nb: c")], 0)


# -- answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", (200, b"hello")),
        (OK + b"Content-Length: 0\r\n\r\n", (200, b"")),
        (
            OK + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
            (200, b"hello"),
        ),
        (OK + b"\r\nuntil the end", (200, b"until the end")),
        (b"HTTP/1.0 200 OK\r\n\r\nold", (200, b"old")),
        (b"HTTP/1.1 404 \r\nContent-Length: 2\r\n\r\nno", (404, b"no")),
        (b"HTTP/1.1 404\r\nContent-Length: 2\r\n\r\nno", (404, b"no")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", (200, b"x")),
        (b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", (200, b"x")),
    ],
)
def test_answer_is_read_by_its_framing(answer: bytes, expected: Outcome) -> None:
    assert verdict(answer) == [expected]


def test_answer_to_head_ends_with_its_head() -> None:
    for framing in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""):
        assert verdict(OK + framing + b"\r\n", "HEAD") == [(200, b"")]
    connection = Connection()
    connection.send_request("HEAD", "/", [], 0)
    head, end = connection.receive(OK + b"Content-Length: 5\r\n\r\n")
    assert isinstance(head, Response)
    assert (head.content_length, end) == (5, END_OF_MESSAGE)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: \r\n\r\nhello",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        OK + b"X: a\nY: b\r\n\r\n",
        OK + b"X: a\rb\r\n\r\n",
        OK + b"X: a\x00b\r\n\r\n",
        OK + b"X : a\r\n\r\n",
        OK + b" folded: a\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"hello",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + OK + b"\r\n",
        OK + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n",
        OK + b"X: a\r\n" * (USUAL.fields + 1) + b"\r\n",
        OK + (b"X: " + b"a" * 5000 + b"\r\n") * (USUAL.head // 5000 + 1) + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    ],
)
def test_answer_that_could_be_read_in_two_ways_is_a_502(answer: bytes) -> None:
    if len(answer) > 60000:  # a byte at a time would be the test's own endurance run
        assert judge([answer]) == judge([answer[:700], answer[700:]]) == [502]
    else:
        assert verdict(answer) == [502]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 2",
        OK,
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_answer_that_ends_too_early_is_a_502(answer: bytes) -> None:
    assert judge([answer]) == judge([answer[at : at + 1] for at in range(len(answer))]) == [502]
    assert judge([answer], eof=False) == []


def test_what_follows_the_answer_is_nobody_s() -> None:
    data = OK + b"Content-Length: 2\r\n\r\nok"
    assert same_verdict(judge, data, trailing=OK + b"Content-Length: 4\r\n\r\nevil") == [
        (200, b"ok")
    ]


def test_101_that_was_asked_for_leaves_the_bytes_behind_it_alone() -> None:
    switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert verdict(switched, upgrade=True) == [(101, b"")]
    assert verdict(switched + b"\x81\x01a\r\n", upgrade=True) == [(101, b"\x81\x01a\r\n")]
    assert verdict(OK + b"Content-Length: 2\r\n\r\nno", upgrade=True) == [(200, b"no")]
    with_content = switched.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n")
    assert verdict(with_content, upgrade=True) == [502]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/2", "bad status line: it starts with 'HTTP/2' (RFC 9112 4)"),
        (b"HTTQ/1.1 200 OK", "bad status line: it starts with 'HTTQ' (RFC 9112 4)"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "bad status line 'HTTP/1.1 20 OK' (RFC 9112 4)"),
        (
            OK + b"content-length: 5\r\n\r\nabc",
            "the upstream closed where it owed content of a known length (RFC 9112 8)",
        ),
        (OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\n", DOUBLE),
        (b"HTTP/1.1 103 a\r\ncontent-length: 0\r\n\r\n", "103 with content (RFC 9110 15.2)"),
        (b"HTTP/1.1 204 a\r\ncontent-length: 1\r\n\r\n", "204 with content (RFC 9110 15.3.5)"),
        (b"HTTP/1.1 101 a\r\n\r\n", "101 that nobody asked for (RFC 9110 7.8)"),
        (b"HTTP/1.1 100 a\r\n\r\n" * 9, "over 8 interim answers"),
    ],
)
def test_fault_says_what_was_wrong_and_is_not_our_clients(answer: bytes, fault: str) -> None:
    connection = Connection()
    connection.send_request("GET", "/", [], 0)
    told = [*connection.receive(answer), *connection.receive_eof()][-1]
    assert isinstance(told, RemoteProtocolError)
    assert (str(told), told.code) == (fault, 502)


def test_interim_answers_are_passed_over() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a-long-name.css>; rel=preload\r\n\r\n"
    for interim in (hints, hints * 8, b"HTTP/1.1 199 a\r\n\r\n"):
        assert verdict(interim + OK + b"content-length: 1\r\n\r\nx", eof=False) == [(200, b"x")]


def test_answers_that_end_with_their_head_need_no_end_of_the_connection() -> None:
    for status in (204, 304):
        assert verdict(b"HTTP/1.1 %d a\r\n\r\n" % status, eof=False) == [(status, b"")]
    assert verdict(b"HTTP/1.1 203 a\r\ncontent-length: 1\r\n\r\nx", eof=False) == [(203, b"x")]


def test_nothing_comes_after_a_fault() -> None:
    connection = Connection()
    connection.send_request("GET", "/", [], 0)
    (fault,) = connection.receive(b"nonsense")
    assert isinstance(fault, RemoteProtocolError)
    assert str(fault) == "bad status line: it starts with 'n' (RFC 9112 4)"
    assert connection.receive(OK + b"\r\n") == []
    assert connection.receive_eof() == []
    assert connection.state is State.ERROR


def test_garbage_never_escapes_as_another_exception() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    whole = OK + b"Transfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(2)] = bytes((chance.randrange(256),))
        outcome = judge([bytes(data)])
        assert len(outcome) == 1
        assert judge([bytes(data[:20]), bytes(data[20:])]) == outcome, bytes(data)
