"""RESP 2: replies in, whole and in pieces, commands out, and what a hostile server may send."""

from __future__ import annotations

import random
from typing import Any

import pytest
from segments import same_verdict

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.resp import (
    MAX_BULK_BYTES,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_KEPT_BYTES,
    MAX_LINE_BYTES,
    Connection,
    Event,
    Message,
    Oversize,
    SimpleError,
    State,
    encode_command,
    message_of,
    subscribed_to,
)

SEED = 20110907


def comparable(events: list[Event]) -> list[Any]:
    """Errors by their words, as no two are equal."""
    return [str(one) if isinstance(one, RemoteProtocolError) else one for one in events]


def received(pieces: list[bytes], max_kept: int = MAX_KEPT_BYTES) -> list[Any]:
    connection = Connection(max_kept)
    return comparable([event for piece in pieces for event in connection.receive(piece)])


def verdict(data: bytes, trailing: bytes = b"", max_kept: int = MAX_KEPT_BYTES) -> list[Any]:
    return same_verdict(lambda pieces: received(pieces, max_kept), data, trailing, b"\n")


# -- replies -----------------------------------------------------------------------------

REPLIES: list[tuple[bytes, Any]] = [
    (b"+OK\r\n", "OK"),
    (b"+\r\n", ""),
    (b"+caf\xe9\r\n", "café"),
    (b"-ERR unknown command\r\n", SimpleError("ERR unknown command")),
    (b"-\r\n", SimpleError("")),
    (b":0\r\n", 0),
    (b":-1\r\n", -1),
    (b":+7\r\n", 7),
    (b":9223372036854775807\r\n", 2**63 - 1),
    (b":-9223372036854775808\r\n", -(2**63)),
    (b"$5\r\nhello\r\n", b"hello"),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$-1\r\n", None),
    (b"*0\r\n", []),
    (b"*-1\r\n", None),
    (b"*2\r\n$5\r\nhello\r\n:1\r\n", [b"hello", 1]),
    (b"*3\r\n*0\r\n*1\r\n*-1\r\n+x\r\n", [[], [None], "x"]),
    (b"*2\r\n*2\r\n:1\r\n-E e\r\n$-1\r\n", [[1, SimpleError("E e")], None]),
]


@pytest.mark.parametrize(("data", "reply"), REPLIES, ids=[ascii(data) for data, _ in REPLIES])
def test_reply_is_read(data: bytes, reply: Any) -> None:
    found = verdict(data, b"+more\r\n")
    assert found == [reply]
    assert type(found[0]) is type(reply)


def test_replies_come_in_their_order() -> None:
    data = b"".join(data for data, _ in REPLIES)
    assert verdict(data, b"$") == [reply for _, reply in REPLIES]


def test_what_is_not_whole_waits() -> None:
    data = b"*2\r\n$5\r\nhello\r\n:1\r\n"
    for cut in range(len(data)):
        connection = Connection()
        assert connection.receive(data[:cut]) == []
        assert connection.receive(data[cut:]) == [[b"hello", 1]]
        assert connection.buffered == 0


# -- faults ------------------------------------------------------------------------------

FAULTS: list[tuple[bytes, str]] = [
    (b"HTTP/1.1 400 Bad Request\r\n", "no reply starts with 'H' (RESP 2)"),
    (b"\r\n", r"no reply starts with '\r' (RESP 2)"),
    (b"\x80\x04\x95", r"no reply starts with '\x80' (RESP 2)"),
    (b"%1\r\n+a\r\n+b\r\n", "no reply starts with '%' (RESP 2)"),
    (b"_\r\n", "no reply starts with '_' (RESP 2)"),
    (b"+a\nb\r\n", r"a line break within the line 'a\nb' (RESP 2)"),
    (b"-a\rb\r\n", r"a line break within the line 'a\rb' (RESP 2)"),
    (b"+" + b"x" * (MAX_LINE_BYTES + 2), "a line of over 8192 bytes (RESP 2)"),
    (b"-" + b"x" * (MAX_LINE_BYTES + 1) + b"\r\n", "a line of over 8192 bytes (RESP 2)"),
    (b":\r\n", "'' is no integer of 64 bits (RESP 2)"),
    (b":1_0\r\n", "'1_0' is no integer of 64 bits (RESP 2)"),
    (b": 1\r\n", "' 1' is no integer of 64 bits (RESP 2)"),
    (b":\xb2\r\n", r"'\xb2' is no integer of 64 bits (RESP 2)"),
    (b":9223372036854775808\r\n", "'9223372036854775808' is no integer of 64 bits (RESP 2)"),
    (b":-9223372036854775809\r\n", "'-9223372036854775809' is no integer of 64 bits (RESP 2)"),
    (b":" + b"1" * 23, "a line of over 20 bytes (RESP 2)"),
    (b"$-5\r\n", "'-5' is no length (RESP 2)"),
    (b"$-0\r\n", "'-0' is no length (RESP 2)"),
    (b"$+5\r\nhello\r\n", "'+5' is no length (RESP 2)"),
    (b"$05\r\nhello\r\n", "'05' is no length (RESP 2)"),
    (b"$\r\n", "'' is no length (RESP 2)"),
    (b"$?\r\n;4\r\n", "'?' is no length (RESP 2)"),
    (b"$5 \r\nhello\r\n", "'5 ' is no length (RESP 2)"),
    (b"$999999999999\r\n", "a length of 999999999999, which is over 536870912 bytes"),
    (b"$536870913\r\n", "a length of 536870913, which is over 536870912 bytes"),
    (b"$" + b"9" * 23, "a line of over 20 bytes (RESP 2)"),
    (b"*-2\r\n", "'-2' is no length (RESP 2)"),
    (b"*4097\r\n", "a length of 4097, which is over 4096 elements"),
    (b"*4096\r\n*1\r\n", "a reply of over 4096 elements"),
    (b"*3\r\n*-1\r\n*-1\r\n*4094\r\n", "a reply of over 4096 elements"),
    (b"*2147483647\r\n", "a length of 2147483647, which is over 4096 elements"),
    (b"*1\r\n" * 9, "arrays nested over 8 deep"),
    (b"*1\r\n" * 100_000, "arrays nested over 8 deep"),
    (b"$5\r\nhello!\r", "no CR LF behind a bulk string of 5 bytes"),
    (b"$5\r\nhello\n\r\n", "no CR LF behind a bulk string of 5 bytes"),
    (b"*1\r\n$0\r\nab", "no CR LF behind a bulk string of 0 bytes"),
]


@pytest.mark.parametrize(("data", "fault"), FAULTS, ids=[ascii(data[:30]) for data, _ in FAULTS])
def test_fault_is_told_behind_the_good_replies(data: bytes, fault: str) -> None:
    good = b":1\r\n*1\r\n+a\r\n"
    if len(data) > 50_000:  # a byte at a time takes its time
        assert received([good + data]) == [1, ["a"], fault]
    else:
        assert verdict(good + data, b"+more\r\n") == [1, ["a"], fault]


def test_first_reply_has_no_more_elements_than_others() -> None:
    assert received([b"*4096\r\n*1\r\n"]) == ["a reply of over 4096 elements"]


def test_after_a_fault_nothing_is_read() -> None:
    connection = Connection()
    assert len(connection.receive(b"*2\r\n+a\r\n?")) == 1
    assert (connection.state, connection.buffered) == (State.ERROR, 0)
    assert connection.receive(b"+OK\r\n") == []
    assert connection.receive_eof() == []
    assert connection.buffered == 0


@pytest.mark.parametrize("data", [b"+O", b"+", b"$5\r\n", b"$5\r\nhello\r", b"*1\r\n", b":1\r"])
def test_end_within_a_reply_is_a_fault(data: bytes) -> None:
    connection = Connection()
    connection.receive(b"+OK\r\n" + data)
    assert comparable(connection.receive_eof()) == ["the server closed within a reply"]
    assert (connection.state, connection.buffered) == (State.ERROR, 0)
    assert connection.receive_eof() == []


def test_end_within_what_is_thrown_away_is_a_fault() -> None:
    connection = Connection(max_kept=4)
    connection.receive(b"$5\r\nhel")
    assert comparable(connection.receive_eof()) == ["the server closed within a reply"]


def test_end_between_replies_is_none() -> None:
    connection = Connection()
    assert connection.receive(b"*1\r\n$1\r\na\r\n") == [[b"a"]]
    assert connection.receive_eof() == []
    assert connection.receive(b"+OK\r\n") == []


# -- limits ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"+" + b"x" * MAX_LINE_BYTES + b"\r\n", "x" * MAX_LINE_BYTES),
        (b"*1\r\n" * MAX_DEPTH + b":1\r\n", [[[[[[[[1]]]]]]]]),
        (b"*1\r\n" * MAX_DEPTH + b"*0\r\n", [[[[[[[[[]]]]]]]]]),
    ],
    ids=["line", "depth", "depth of none"],
)
def test_limits_let_through_what_is_just_within(data: bytes, reply: Any) -> None:
    assert received([data]) == [reply]


def test_elements_are_counted_for_each_reply_anew() -> None:
    data = b"*2\r\n*-1\r\n*%d\r\n" % (MAX_ELEMENTS - 2) + b":1\r\n" * (MAX_ELEMENTS - 2)
    assert received([data * 3]) == [[None, [1] * (MAX_ELEMENTS - 2)]] * 3


def test_too_long_a_bulk_string_is_thrown_away_and_the_rest_is_read() -> None:
    data = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$100\r\n" + b"\r\n+OK\r\n" * 14 + b"12\r\n+OK\r\n"
    assert verdict(data, b":1\r\n", max_kept=20) == [[b"message", b"c", Oversize(100)], "OK"]


def test_what_is_kept_counts_for_the_whole_reply() -> None:
    data = b"*4\r\n$3\r\nabc\r\n$3\r\ndef\r\n$2\r\nab\r\n$1\r\ng\r\n$5\r\nhello\r\n$6\r\nworlds\r\n"
    assert verdict(data, max_kept=6) == [
        [b"abc", b"def", Oversize(2), Oversize(1)],
        b"hello",
        b"worlds",
    ]
    assert verdict(b"$7\r\n1234567\r\n", max_kept=6) == [Oversize(7)]


def test_end_of_what_is_thrown_away_is_looked_at() -> None:
    data = b"$5\r\nhello??"
    assert verdict(data, max_kept=4) == ["no CR LF behind a bulk string of 5 bytes"]


def test_as_much_is_kept_as_the_page_about_limits_says() -> None:
    data = b"$%d\r\n%b\r\n" % (2**24, bytes(2**24))
    assert received([data]) == [bytes(2**24)]
    assert received([b"*2\r\n$1\r\na\r\n" + data]) == [[b"a", Oversize(2**24)]]


def test_announced_length_is_not_allocated() -> None:
    connection = Connection()
    connection.receive(b"$%d\r\n" % MAX_KEPT_BYTES)
    assert connection.buffered == 0
    assert connection._buffer.__sizeof__() < 1000


def test_nothing_is_held_of_what_is_thrown_away() -> None:
    connection = Connection(max_kept=10)
    connection.receive(b"$%d\r\n" % MAX_BULK_BYTES)
    for _ in range(16):
        assert connection.receive(bytes(65536)) == []
        assert connection.buffered == 0


# -- errors of the server ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "prefix", "words"),
    [
        ("NOAUTH Authentication required.", "NOAUTH", "NOAUTH Authentication required."),
        ("ERR", "ERR", "ERR"),
        ("ERR no 'A', with args beginning with: 'secret' ", "ERR", "ERR no 'A'"),
        ("ERR \x1b[31m red", "ERR", r"ERR \x1b[31m red"),
        ("E " + "x" * 500, "E", "E " + "x" * 115 + "..."),
    ],
)
def test_error_has_the_words_of_the_server_escaped(line: str, prefix: str, words: str) -> None:
    (error,) = Connection().receive(b"-%b\r\n" % line.encode("latin-1"))
    assert isinstance(error, SimpleError)
    assert (error.prefix, str(error)) == (prefix, words)
    assert error.words == line


# -- commands, messages ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "data"),
    [
        (("PING",), b"*1\r\n$4\r\nPING\r\n"),
        (("SUBSCRIBE", "é"), b"*2\r\n$9\r\nSUBSCRIBE\r\n$2\r\n\xc3\xa9\r\n"),
        (("PUBLISH", b"a", b"\r\n\0"), b"*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$3\r\n\r\n\0\r\n"),
        (("AUTH", ""), b"*2\r\n$4\r\nAUTH\r\n$0\r\n\r\n"),
        (("PUBLISH", "\udcff"), b"*2\r\n$7\r\nPUBLISH\r\n$1\r\n\xff\r\n"),
    ],
)
def test_command_is_an_array_of_bulk_strings(words: tuple[str | bytes, ...], data: bytes) -> None:
    assert encode_command(*words) == data
    content = [w.encode(errors="surrogateescape") if isinstance(w, str) else w for w in words]
    assert received([data]) == [content]


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ([b"message", b"c", b"p"], Message(b"c", b"p")),
        ([b"message", b"c", Oversize(9)], Message(b"c", Oversize(9))),
        ([b"pmessage", b"c*", b"cd", b"p"], Message(b"cd", b"p", b"c*")),
        ([b"pmessage", b"c*", b"cd", Oversize(9)], Message(b"cd", Oversize(9), b"c*")),
        ([b"message", b"c"], None),
        ([b"message", b"c", b"p", b"q"], None),
        ([b"message", b"c", 1], None),
        ([b"message", None, b"p"], None),
        ([b"pmessage", b"c", b"p"], None),
        ([b"pmessage", b"c", 1, b"p"], None),
        ([b"pmessage", 1, b"c", b"p"], None),
        ([b"pmessage", b"c*", b"c", []], None),
        ([b"subscribe", b"c", 1], None),
        (["message", b"c", b"p"], None),
        (b"message", None),
        ([], None),
        (None, None),
    ],
    ids=ascii,
)
def test_message_is_told_from_other_replies(reply: Event, message: Message | None) -> None:
    assert message_of(reply) == message


@pytest.mark.parametrize(
    ("reply", "channel"),
    [
        ([b"subscribe", b"c", 1], b"c"),
        ([b"psubscribe", b"c*", 2], b"c*"),
        ([b"unsubscribe", b"c", 0], None),
        ([b"subscribe", b"c", b"1"], None),
        ([b"subscribe", None, 1], None),
        ([b"subscribe", b"c"], None),
        (SimpleError("NOPERM"), None),
    ],
    ids=ascii,
)
def test_subscription_is_confirmed(reply: Event, channel: bytes | None) -> None:
    assert subscribed_to(reply) == channel


# -- garbage -----------------------------------------------------------------------------


def test_hostile_bytes_raise_nothing() -> None:
    chance = random.Random(SEED)
    tokens = [
        b"*",
        b"$",
        b"+",
        b"-",
        b":",
        b"\r\n",
        b"\r",
        b"1",
        b"3",
        b"-1",
        b"abc",
        b"\0",
        b"9" * 9,
    ]
    for _ in range(3000):
        data = b"".join(chance.choices(tokens, k=chance.randrange(20)))
        events = Connection(max_kept=8).receive(data)
        faults = [event for event in events if isinstance(event, RemoteProtocolError)]
        assert faults in ([], events[-1:]), f"seed {SEED}: {data!r}"
        assert comparable(events) == received([data[:5], data[5:]], 8), f"seed {SEED}: {data!r}"
