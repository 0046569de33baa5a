"""Sockets without Socket.IO, over a carrier that records what it is asked."""

from __future__ import annotations

import pytest
from test_sockets import RecordingConnection, World

from redbarrel_lite.doors import Door
from redbarrel_lite.errors import Refused
from redbarrel_lite.raw import Peers, RawClient, RawSocket
from redbarrel_lite.request import Request
from redbarrel_lite.routes import compile_template


class Carrier(RecordingConnection):
    """A carrier that keeps what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def let_in(self) -> None:
        self.told.append("let in")

    def refuse(self, reason: str) -> None:
        self.told.append(f"refused: {reason}")

    def hang_up(self, code: int, reason: str) -> None:
        self.told.append((code, reason))


class Place(World):
    """A path of raw sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.peers = self.hub.paths["/ws"] = Peers("/ws", self.hub)
        self.door = Door("/ws", compile_template(["/ws"]), self.handler)

    def client(self) -> tuple[RawClient, Carrier]:
        carrier = Carrier()
        client = RawClient(self.peers, carrier, "chat")
        client.start(self.door, Request("GET", "/ws", []))
        return client, carrier


def test_client_is_let_in_and_its_messages_reach_the_handler() -> None:
    place = Place()
    client, carrier = place.client()
    assert carrier.told == ["let in"]
    for message in ("text", b"bytes", ""):
        client.receive(message)
    (runner,) = place.runners
    assert runner.news == ["start", ["text"], [b"bytes"], [""]]
    assert [message.event for message in runner.news[1:]] == ["message"] * 3
    assert [message.size for message in runner.news[1:]] == [4, 5, 0]
    client.closed_with(1006, "")
    client.end("transport close")
    assert runner.news[-1] == "finish"
    assert place.peers.sockets == {}
    assert place.hub.paths["/ws"] is place.peers  # it stays, with nobody in it


def test_message_asks_for_no_reply() -> None:
    place = Place()
    client, carrier = place.client()
    client.receive("text")
    message = place.runners[0].news[1]
    assert not message.wants_reply
    message.reply("nobody hears it")
    assert carrier.said == []
    with pytest.raises(TypeError, match="acknowledgements"):
        place.peers.encode_ack(1, ())


def test_what_is_sent_goes_as_it_is() -> None:
    place = Place()
    (client, carrier), (_, other) = place.client(), place.client()
    for x in ("text", b"ab", bytearray(b"ab"), memoryview(b"ab")):
        client.socket.send(x)
    assert carrier.said == ["text", b"ab", b"ab", b"ab"]
    client.socket.broadcast("to the others")
    assert other.said == ["to the others"]


def test_close_is_told_once_and_first_words_count() -> None:
    place = Place()
    client, carrier = place.client()
    assert isinstance(client.socket, RawSocket)
    client.socket.close("bye", code=4000)
    client.socket.close("again", code=4001)
    client.socket.fail()
    assert carrier.told == ["let in", (4000, "bye")]
    assert client.socket.reason == "bye"


def test_close_without_words_and_failure_have_codes_of_their_own() -> None:
    place = Place()
    client, carrier = place.client()
    client.socket.close()
    assert carrier.told[1:] == [(1000, "")]
    assert client.socket.reason == "server disconnect"
    client, carrier = place.client()
    client.socket.fail()
    assert carrier.told[1:] == [(1011, "the server failed")]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_code_that_must_not_travel_is_a_value_error(code: int) -> None:
    client, carrier = Place().client()
    with pytest.raises(ValueError, match=f"{code} must not be sent"):
        client.socket.close(code=code)
    assert client.socket.connected()
    assert carrier.told == ["let in"]


def test_refusal_is_told_with_its_reason() -> None:
    place = Place()
    carrier = Carrier()
    client = RawClient(place.peers, carrier)
    place.peers.refuse(carrier, Refused("no room", {"left": "out"}))
    assert carrier.told == ["refused: no room"]
    assert client.connect_by is None
