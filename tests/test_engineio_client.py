"""The client's side of Engine.IO without I/O, alone and against the server's side."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from redbarrel_lite import engineio
from redbarrel_lite.engineio import POLLING, WEBSOCKET, Options, Packet
from redbarrel_lite.engineio_client import Handshake, Session
from redbarrel_lite.errors import LocalProtocolError, RemoteProtocolError

HANDSHAKE: dict[str, Any] = {
    "sid": "abc",
    "upgrades": ["websocket"],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 100,
}
SEED = 20111


def opened(transport: str = POLLING, **more: Any) -> Session:
    """A session whose handshake came at 0."""
    session = Session(transport)
    assert session.receive("0" + json.dumps(HANDSHAKE | more), 0.0) is None
    return session


# -- handshake ---------------------------------------------------------------------


def test_handshake_is_read_in_seconds_and_bytes() -> None:
    assert opened().handshake == Handshake("abc", ("websocket",), 25.0, 20.0, 100)


def test_handshake_may_hold_what_nobody_knows() -> None:
    assert opened(color="red").handshake is not None


@pytest.mark.parametrize("missing", HANDSHAKE)
def test_handshake_that_lacks_something_is_told_of(missing: str) -> None:
    session = Session(POLLING)
    told = {key: value for key, value in HANDSHAKE.items() if key != missing}
    with pytest.raises(RemoteProtocolError, match=missing):
        session.receive("0" + json.dumps(told), 0.0)
    assert session.closed_because == "parse error"


@pytest.mark.parametrize(
    "packet",
    [
        *("", "4hello", "0", "0{", "0[]", "0null", '0{"sid":""}', "2", b"\x00", "{"),
        "4" + json.dumps(HANDSHAKE),
    ],
)
def test_first_packet_is_the_handshake(packet: Packet) -> None:
    session = Session(WEBSOCKET)
    with pytest.raises(RemoteProtocolError, match="handshake"):
        session.receive(packet, 0.0)
    assert session.receive("4late", 0.0) is None


def test_sid_is_text_that_is_not_empty() -> None:
    for sid in ("", 5, None):
        with pytest.raises(RemoteProtocolError, match="sid"):
            opened(sid=sid)


# -- packets in --------------------------------------------------------------------


def test_messages_are_given_and_noop_is_nothing() -> None:
    session = opened()
    assert session.receive_payload("4a\x1e6\x1e4\x1ebAQID\x1ebAQ", 0.0) == [
        "a",
        "",
        b"\x01\x02\x03",
        b"\x01",
    ]


def test_frames_of_bytes_are_messages() -> None:
    assert opened(WEBSOCKET).receive(b"\x00", 0.0) == b"\x00"


@pytest.mark.parametrize("packet", ["", "0{}", "1x", "2x", "3", "5", "6x", "7", "x", "b!", "bA"])
def test_server_that_sends_what_is_no_packet_is_told_of(packet: str) -> None:
    session = opened()
    with pytest.raises(RemoteProtocolError):
        session.receive(packet, 0.0)
    assert session.closed_because == "parse error"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("sid", value) for value in ("1", '""', "null")),
        *(("upgrades", value) for value in ('"websocket"', "{}", "null")),
        *(
            (name, value)
            for name in ("pingInterval", "pingTimeout", "maxPayload")
            for value in ('"1"', "true", "null", "-1", "NaN", "1e999")
        ),
    ],
)
def test_handshake_of_other_types_is_refused(name: str, value: str) -> None:
    text = json.dumps({**HANDSHAKE, name: "VALUE"}).replace('"VALUE"', value)
    with pytest.raises(RemoteProtocolError, match=f"bad handshake .*{name}"):
        Session(POLLING).receive(f"0{text}", 0.0)


def test_base64_over_a_websocket_is_no_packet() -> None:
    with pytest.raises(RemoteProtocolError):
        opened(WEBSOCKET).receive("bAQID", 0.0)


@pytest.mark.parametrize(
    ("packets", "fault"),
    [
        (["4" + json.dumps(HANDSHAKE)], 'the first packet is no handshake: \'4{"sid": "abc", '),
        (["0" + "[" * 300], f"bad handshake '0{'[' * 196}...': Expecting "),
        (["0" + json.dumps(HANDSHAKE), "7" * 50], f"bad Engine.IO packet '{'7' * 17}...'"),
        (["0" + json.dumps(HANDSHAKE), "bA"], "bad base64 in a binary packet"),
    ],
)
def test_faults_say_what_came_as_far_as_one_wants_to_read(packets: list[str], fault: str) -> None:
    session = Session(POLLING)
    *before, last = packets
    for packet in before:
        session.receive(packet, 0.0)
    with pytest.raises(RemoteProtocolError) as told:
        session.receive(last, 0.0)
    assert str(told.value).startswith(fault)
    assert "(Engine.IO 4, " in str(told.value)


def test_ping_is_answered() -> None:
    session = opened()
    session.receive("2", 0.0)
    assert session.take_payload() == "3"


def test_close_packet_ends_the_session() -> None:
    session = opened()
    assert session.receive_payload("4a\x1e1\x1e4b", 0.0) == ["a"]
    assert session.closed_because == "transport close"


def test_first_reason_stays() -> None:
    session = opened()
    session.end("forced close")
    session.end("ping timeout")
    assert session.closed_because == "forced close"


def test_silence_of_the_server_is_its_end() -> None:
    assert Session(POLLING).wake_at() == float("inf")
    session = opened()
    assert session.wake_at() == 45.0
    session.receive("2", 25.0)
    assert session.wake_at() == 70.0
    session.tick(69.9)
    assert session.closed_because is None
    session.tick(70.0)
    assert session.closed_because == "ping timeout"


# -- packets out -------------------------------------------------------------------


def test_payloads_are_as_large_as_the_server_takes() -> None:
    session = opened()
    session.send(["x" * 60, "y" * 60, b"\x01\x02\x03", "z" * 200, "é"])
    payloads = []
    while session.may_post:
        payloads.append(session.take_payload())
    assert payloads == ["4" + "x" * 60, "4" + "y" * 60 + "\x1ebAQID", "4" + "z" * 200, "4é"]


def test_size_of_a_payload_is_counted_in_bytes() -> None:
    session = opened(maxPayload=10)
    session.send(["ééé", "a"])
    assert session.take_payload() == "4ééé\x1e4a"  # 7 + 1 + 2
    session.send(["éééé", "a"])
    assert session.take_payload() == "4éééé"


@pytest.mark.parametrize("transport", [POLLING, WEBSOCKET])
def test_separator_in_a_text_is_refused(transport: str) -> None:
    session = opened(transport)
    with pytest.raises(ValueError, match=r"U\+001E parts the packets"):
        session.send(["a\x1e4b"])
    session.send([b"a\x1e4b"])


def test_websocket_takes_all_at_once() -> None:
    session = opened(WEBSOCKET)
    session.send(["a", b"b"])
    assert not session.may_poll
    assert session.take_packets() == ["4a", b"b"]
    assert session.take_packets() == []


def test_packet_may_go_out_as_it_is() -> None:
    session = opened()
    session.send_packet("7")
    session.send(["a"])
    assert session.take_payload() == "7\x1e4a"


def test_nothing_is_asked_before_the_handshake_and_after_the_end() -> None:
    session = Session(POLLING)
    session.send(["a"])
    assert not session.may_poll
    assert not session.may_post
    session = opened()
    assert session.may_poll
    session.end("forced close")
    assert not session.may_poll


def test_close_is_said_last_and_then_nothing_is_asked_for() -> None:
    session = opened()
    session.send(["a"])
    session.close()
    assert not session.may_poll
    assert session.take_payload() == "4a\x1e1"


# -- upgrade -----------------------------------------------------------------------


def test_upgrade_moves_what_is_queued() -> None:
    session = opened()
    assert session.start_probe() == "2probe"
    session.send(["a"])
    assert session.take_packets() == []  # the probe may fail
    session.receive_probe("3probe")
    assert (session.may_post, session.may_poll) == (False, False)
    assert session.take_packets() == []
    assert session.finish_upgrade() == "5"
    assert (session.transport, session.take_packets()) == (WEBSOCKET, ["4a"])


def test_upgrade_that_fails_leaves_the_session_where_it_was() -> None:
    session = opened()
    session.start_probe()
    with pytest.raises(RemoteProtocolError, match="bad answer to a probe: '6'"):
        session.receive_probe("6")
    session.stop_probe()
    assert session.may_poll
    assert session.start_probe() == "2probe"


def test_answer_to_no_probe_is_told_of() -> None:
    with pytest.raises(RemoteProtocolError):
        opened().receive_probe("3probe")


@pytest.mark.parametrize("session", [Session(POLLING), opened(upgrades=[]), opened(WEBSOCKET)])
def test_upgrade_must_be_offered(session: Session) -> None:
    with pytest.raises(LocalProtocolError, match="offers no upgrade"):
        session.start_probe()


def test_two_probes_at_once_are_refused() -> None:
    session = opened()
    session.start_probe()
    with pytest.raises(LocalProtocolError):
        session.start_probe()


# -- both sides --------------------------------------------------------------------


class Pair:
    """A client and a server, and what each has sent and got."""

    def __init__(self) -> None:
        self.server = engineio.Session("sid", POLLING, Options(max_payload=50), 0.0)
        self.client = Session(POLLING)
        self.to_client: list[Packet] = []
        self.to_server: list[Packet] = []
        self.poll()

    def poll(self) -> None:
        self.server.start_poll()
        while (answer := self.server.poll_answer()) is None:
            self.server.tick(self.server.wake_at())
        assert isinstance(answer, str)
        self.to_client += self.client.receive_payload(answer, 0.0)

    def post(self) -> None:
        self.to_server += self.server.receive_payload(self.client.take_payload(), 0.0)

    def exchange_frames(self) -> None:
        to_server = [self.server.receive(packet, 0.0) for packet in self.client.take_packets()]
        to_client = [self.client.receive(packet, 0.0) for packet in self.server.take_packets()]
        self.to_server += [message for message in to_server if message is not None]
        self.to_client += [message for message in to_client if message is not None]

    def upgrade(self) -> None:
        self.server.start_probe(0.0)
        answer = self.server.receive_probe(self.client.start_probe(), 0.0)
        assert answer is not None
        self.client.receive_probe(answer)
        self.server.receive_probe(self.client.finish_upgrade(), 0.0)


@pytest.mark.parametrize("upgrade_at", [0, 3, 50, 200])
def test_both_sides_understand_each_other_in_order_across_the_upgrade(upgrade_at: int) -> None:
    chance = random.Random(SEED + upgrade_at)
    pair = Pair()
    to_client: list[Packet] = []
    to_server: list[Packet] = []
    for step in range(300):
        for sender, sent in ((pair.server, to_client), (pair.client, to_server)):
            choice: list[Packet] = [f"é{step}", b"%d" % step, "", b""]
            messages = chance.choices(choice, k=chance.randint(0, 3))
            sender.send(messages)
            sent.extend(messages)
        if step == upgrade_at:
            pair.upgrade()
        if pair.client.transport == WEBSOCKET:
            pair.exchange_frames()
        elif chance.random() < 0.5 and pair.client.may_post:
            pair.post()
        elif pair.server.queued:
            pair.poll()
    assert (pair.to_client, pair.to_server) == (to_client, to_server), SEED + upgrade_at
