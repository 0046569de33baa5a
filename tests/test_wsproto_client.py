"""`wsproto_client` alone, and in conversation with `wsproto`: both sides, no connection.

A server's frames are fed whole, a byte at a time and with trailing bytes.
"""

from __future__ import annotations

import itertools
import random

import pytest
from segments import same_verdict

from redbarrel_lite import wsproto, wsproto_handshake
from redbarrel_lite.errors import LocalProtocolError, RemoteProtocolError
from redbarrel_lite.wsproto import Close, Event, Ping, Pong, State
from redbarrel_lite.wsproto_client import Connection, check_answer, masked_frame, request_fields

NONCE = bytes(range(16))
KEY = bytes.fromhex("37fa213d")


def client(limit: int = 1_000_000) -> Connection:
    keys = itertools.cycle([KEY, b"\xff\x00\x80\x01"])
    return Connection(lambda: next(keys), limit)


def judge(pieces: list[bytes], limit: int = 1_000_000) -> list[object]:
    connection = client(limit)
    seen: list[object] = []
    for piece in pieces:
        seen += [
            event.code if isinstance(event, RemoteProtocolError) else event
            for event in connection.receive(piece)
        ]
    return seen


def verdict(data: bytes, limit: int = 1_000_000) -> list[object]:
    return same_verdict(lambda pieces: judge(pieces, limit), data, wsproto.text_frame("trailing"))


# -- the handshake -------------------------------------------------------------------


def answered(subprotocols: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """What a server of ours says to our request."""
    fields = [("host", "localhost"), *request_fields(NONCE, subprotocols)]
    return [*wsproto_handshake.accept("GET", "1.1", fields), ("connection", "Upgrade")]


def test_handshake_of_both_sides_fits() -> None:
    assert check_answer(101, answered(), NONCE) == ""


def test_subprotocols_are_offered_in_order_and_one_may_be_chosen() -> None:
    offer = ("chat", "superchat")
    assert ("sec-websocket-protocol", "chat, superchat") in request_fields(NONCE, offer)
    chosen = [*answered(offer), ("sec-websocket-protocol", "superchat")]
    assert check_answer(101, chosen, NONCE, offer) == "superchat"
    assert check_answer(101, answered(offer), NONCE, offer) == ""


@pytest.mark.parametrize("status", [200, 301, 400, 401, 426, 503])
def test_answer_that_is_no_101_is_told_with_its_status(status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_answer(status, answered(), NONCE)
    assert str(caught.value) == f"the server answers {status}, not 101 (RFC 6455 4.1)"
    assert caught.value.code == status


def test_blanks_around_the_words_of_an_answer_are_nothing() -> None:
    fields = [(name, f"\t {value} " if name == "upgrade" else value) for name, value in answered()]
    assert check_answer(101, fields, NONCE) == ""


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("upgrade", [], "Upgrade"),
        ("upgrade", ["h2c"], "Upgrade"),
        ("upgrade", ["websocket", "websocket"], "Upgrade"),
        ("connection", ["keep-alive"], "Connection"),
        ("connection", [], "Connection"),
        ("sec-websocket-accept", [], "Accept"),
        ("sec-websocket-accept", ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], "Accept"),
        ("sec-websocket-extensions", ["permessage-deflate"], "extension"),
        ("sec-websocket-protocol", ["other"], "subprotocol"),
        ("sec-websocket-protocol", ["chat", "chat"], "two subprotocols"),
    ],
)
def test_answer_that_breaks_a_rule_is_refused(name: str, values: list[str], rule: str) -> None:
    """RFC 6455 4.1."""
    fields = [(one, value) for one, value in answered() if one != name]
    fields += [(name, value) for value in values]
    with pytest.raises(RemoteProtocolError, match=f"{rule}.*RFC 6455 4.1"):
        check_answer(101, fields, NONCE, ["chat"])


# -- frames --------------------------------------------------------------------------


def test_frames_are_masked_with_the_key_given() -> None:
    """RFC 6455 5.7's own example."""
    hello = bytes.fromhex("818537fa213d7f9f4d5158")
    assert client().message_frame("Hello") == hello
    assert masked_frame(wsproto.text_frame("Hello"), KEY) == hello
    assert client().ping_frame(b"Hello") == bytes.fromhex("898537fa213d7f9f4d5158")
    with pytest.raises(LocalProtocolError):
        client().ping_frame(bytes(126))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_messages_of_both_sides_arrive(size: int) -> None:
    for message in ("x" * size, random.Random(size).randbytes(size)):
        assert wsproto.Connection().receive(client().message_frame(message)) == [message]
        assert client().receive(wsproto.message_frame(message)) == [message]


def test_server_may_cut_a_message_and_ping_in_between() -> None:
    data = b"\x01\x01H" + wsproto.ping_frame(b"p") + b"\x00\x02el\x8a\x01p" + b"\x80\x02lo"
    assert verdict(data) == [Ping(b"p"), Pong(b"p"), "Hello"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ("818537fa213d7f9f4d5158", 1002),  # masked
        ("898037fa213d", 1002),
        ("8300", 1002),
        ("c100", 1002),
        ("0900", 1002),
        ("8000", 1002),
        ("817e0005", 1002),
        ("81ff", 1002),
        ("8101ff", 1007),
        ("827e03e9", 1009),
        ("88020000", 1002),
    ],
)
def test_broken_frame_of_a_server_is_a_fault(frames: str, code: int) -> None:
    assert verdict(bytes.fromhex(frames), limit=1000) == [code]


def test_what_a_client_must_answer_is_masked() -> None:
    """RFC 6455 5.1: its pongs and close frames too."""
    for data, reply in (
        (wsproto.ping_frame(b"Hello"), wsproto.Pong(b"Hello")),
        (wsproto.Connection().close(1001, "bye"), Close(1001, "")),
    ):
        connection = client()
        connection.receive(data)
        (sent,) = connection.replies
        assert wsproto.Connection().receive(sent) == [reply]
    connection = client()
    connection.receive(b"\x83\x00")
    (close,) = events_at_server(connection.replies)
    assert isinstance(close, Close)
    assert close.code == wsproto.PROTOCOL_ERROR
    assert connection.state is State.ERROR


def events_at_server(frames: list[bytes]) -> list[Event]:
    return wsproto.Connection().receive(b"".join(frames))


def test_closing_handshake_of_both_sides_ends_in_closed() -> None:
    ours, theirs = client(), wsproto.Connection()
    assert theirs.receive(ours.close(1000, "bye")) == [Close(1000, "bye")]
    assert ours.receive(theirs.replies[0]) == [Close(1000, "")]
    assert ours.state is theirs.state is State.CLOSED
    assert ours.close() == b""
