"""Engine.IO sessions without I/O: packets, polls, heartbeat, upgrade, closing."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from redbarrel_lite.engineio import (
    BAD_REQUEST,
    MAX_PACKETS_IN_PAYLOAD,
    MAX_PACKETS_OUT,
    POLLING,
    SEPARATOR,
    WEBSOCKET,
    BadPayload,
    Options,
    Packet,
    Session,
    State,
    Upgrade,
    encode_for_polling,
)
from redbarrel_lite.engineio_query import Query, check_query, check_session, error_body
from redbarrel_lite.errors import RemoteProtocolError

VECTORS = json.loads((Path(__file__).parent / "vectors/engineio.json").read_text("utf-8"))
OPTIONS = Options()
SEED = 20110907


def unpacked(value: Any) -> Packet:
    """What a vector stands for."""
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else str(value)


def polling(options: Options = OPTIONS, now: float = 0.0) -> Session:
    """A session over polling whose handshake is done."""
    session = Session("sid", POLLING, options, now)
    session.start_poll()
    assert session.poll_answer() is not None
    return session


def websocket(options: Options = OPTIONS, now: float = 0.0) -> Session:
    """A session over WebSocket whose handshake is done."""
    session = Session("sid", WEBSOCKET, options, now)
    session.take_packets()
    return session


def answered(session: Session) -> str | None:
    """What the waiting GET is answered with now, if it is."""
    answer = session.poll_answer()
    assert not isinstance(answer, bytes)
    return answer


def polled(session: Session) -> str | None:
    """What a GET that comes now is answered with at once, if it is."""
    session.start_poll()
    return answered(session)


def upgraded(now: float = 0.0) -> Session:
    session = polling(now=now)
    assert session.start_probe(now)
    assert session.receive_probe("2probe", now) == "3probe"
    assert session.receive_probe("5", now) is None
    return session


# -- handshake ---------------------------------------------------------------------


def test_defaults_are_those_of_the_reference() -> None:
    assert OPTIONS._asdict() == {
        "ping_interval": 25.0,
        "ping_timeout": 20.0,
        "max_payload": 1_000_000,
        "max_fragments": 1024,  # ours: the reference has no limit
        "compression": False,
        "upgrade_timeout": 10.0,
        "transports": (POLLING, WEBSOCKET),
        "allow_eio3": False,
    }


def test_handshake_over_polling_offers_the_upgrade() -> None:
    session = Session("xyz", POLLING, OPTIONS, 0.0)
    session.start_poll()
    assert session.poll_answer() == (
        '0{"sid":"xyz","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,'
        '"maxPayload":1000000}'
    )


def test_handshake_over_websocket_offers_none() -> None:
    session = Session("xyz", WEBSOCKET, Options(ping_interval=0.3, ping_timeout=0.2), 0.0)
    assert session.take_packets() == [
        '0{"sid":"xyz","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000000}'
    ]


def test_handshake_offers_no_upgrade_that_the_author_forbade() -> None:
    session = Session("xyz", POLLING, Options(transports=(POLLING,)), 0.0)
    session.start_poll()
    assert '"upgrades":[]' in (answered(session) or "")


def test_messages_follow_the_handshake_in_one_payload() -> None:
    session = Session("xyz", POLLING, OPTIONS, 0.0)
    session.send(["a", b"\x01"])
    session.start_poll()
    assert (answered(session) or "").split(SEPARATOR)[1:] == ["4a", "bAQ=="]


# -- packets of the peer ---------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["payloads"], ids=lambda v: ascii(v["payload"]))
def test_payload_gives_its_messages(vector: dict[str, Any]) -> None:
    assert polling().receive_payload(vector["payload"], 1.0) == [
        unpacked(message) for message in vector["messages"]
    ]


@pytest.mark.parametrize("vector", VECTORS["refused_payloads"], ids=lambda v: ascii(v["payload"]))
def test_refused_payload_closes_the_session_after_its_good_messages(vector: dict[str, Any]) -> None:
    session = polling()
    with pytest.raises(BadPayload) as caught:
        session.receive_payload(vector["payload"], 1.0)
    assert caught.value.messages == vector["messages"]
    assert caught.value.code == BAD_REQUEST
    assert (session.state, session.closed_because) == (State.CLOSED, "parse error")


@pytest.mark.parametrize("vector", VECTORS["encoded"], ids=lambda v: ascii(v["payload"]))
def test_polling_spells_packets_as_the_vectors_do(vector: dict[str, Any]) -> None:
    packets = [unpacked(packet) for packet in vector["packets"]]
    assert SEPARATOR.join(map(encode_for_polling, packets)) == vector["payload"]


def test_payload_may_have_as_many_packets_as_the_limit() -> None:
    payload = SEPARATOR.join(["4x"] * MAX_PACKETS_IN_PAYLOAD)
    assert len(polling().receive_payload(payload, 0.0)) == MAX_PACKETS_IN_PAYLOAD


@pytest.mark.parametrize("count", [MAX_PACKETS_IN_PAYLOAD + 1, 200_000])
def test_payload_of_too_many_packets_is_refused_unread(count: int) -> None:
    session = polling()
    with pytest.raises(BadPayload, match=f"a payload of {count} packets") as caught:
        session.receive_payload(SEPARATOR.join(["3"] * count), 0.0)
    assert caught.value.messages == []
    assert session.state is State.CLOSED


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"4a", "binary payloads belong to protocol 3 (Engine.IO 4, HTTP long-polling)"),
        ("b!!", "bad base64 in a binary packet (Engine.IO 4, HTTP long-polling)"),
        ("9" * 30, f"bad Engine.IO packet '{'9' * 17}...' (Engine.IO 4, Packet encoding)"),
    ],
)
def test_fault_of_a_payload_names_the_rule(payload: Packet, words: str) -> None:
    with pytest.raises(BadPayload) as caught:
        polling().receive_payload(payload, 0.0)
    assert str(caught.value) == words


def test_websocket_message_is_text_or_binary() -> None:
    session = websocket()
    assert session.receive("4hello", 1.0) == "hello"
    assert session.receive("4", 1.0) == ""
    assert session.receive(b"", 1.0) == b""
    assert session.receive(b"4hello", 1.0) == b"4hello"


def test_websocket_of_a_client_without_binary_messages_may_speak_base64() -> None:
    session = websocket()
    for packet, message in (("bAAE=", b"\0\1"), ("bAAE", b"\0\1"), ("b", b"")):
        assert session.receive(packet, 1.0) == message


@pytest.mark.parametrize("packet", ["", "b!!!!", "b====", "2", "2probe", "5", "6", "x"])
def test_websocket_packet_of_another_kind_closes_the_session(packet: str) -> None:
    session = websocket()
    with pytest.raises(RemoteProtocolError, match=r"bad Engine\.IO packet"):
        session.receive(packet, 1.0)
    assert session.closed_because == "parse error"


def test_long_bad_packet_is_quoted_in_part() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        websocket().receive("\r\n" + "x" * 1_000_000, 1.0)
    assert len(str(caught.value)) < 100
    assert str(caught.value).isprintable()


def test_nothing_is_received_after_the_end() -> None:
    session = polling()
    assert session.receive_payload("4a\x1e1\x1e4b\x1enonsense", 1.0) == ["a"]
    assert session.closed_because == "transport close"
    assert session.receive("4c", 1.0) is None


# -- polling ---------------------------------------------------------------------------


def test_poll_waits_until_there_is_something() -> None:
    session = polling()
    assert polled(session) is None
    session.send(["hello"])
    assert session.poll_answer() == "4hello"
    session.send(["next"])
    assert session.poll_answer() is None  # no GET waits
    assert polled(session) == "4next"


def test_poll_takes_a_limited_number_of_packets_in_order() -> None:
    session = polling()
    session.send(str(number) for number in range(40))
    answers = [(polled(session) or "").split(SEPARATOR) for _ in range(3)]
    assert [len(answer) for answer in answers] == [MAX_PACKETS_OUT, MAX_PACKETS_OUT, 8]
    assert [packet for answer in answers for packet in answer] == [
        f"4{number}" for number in range(40)
    ]


def test_poll_is_cut_at_the_largest_payload_but_never_empty() -> None:
    session = polling(Options(max_payload=10))
    session.send(["123456789012345", "1234", "123", b"1234567"])
    assert polled(session) == "4123456789012345"
    assert polled(session) == "41234\x1e4123"
    assert polled(session) == "bMTIzNDU2Nw=="


@pytest.mark.parametrize("size", range(8))
def test_packets_share_a_payload_that_is_just_as_large(size: int) -> None:
    together = f"4a{SEPARATOR}{encode_for_polling(bytes(size))}"
    for room, wanted in ((len(together), together), (len(together) - 1, "4a")):
        session = polling(Options(max_payload=room))
        session.send(["a", bytes(size)])
        assert session.waiting == 2
        assert polled(session) == wanted


def test_queue_is_counted_exactly() -> None:
    session = Session("sid", POLLING, OPTIONS, 0.0)
    assert session.queued > 90
    session.start_poll()
    session.poll_answer()
    assert session.queued == 0
    session.send(["abc", b"\0\1"])
    assert session.queued == 6
    polled(session)
    assert session.queued == 0
    session.tick(25.0)
    assert session.queued == len("2")


def test_session_closes_on_second_get() -> None:
    session = polling()
    assert polled(session) is None
    session.send(["too late"])
    with pytest.raises(RemoteProtocolError, match="a GET is waiting already") as caught:
        session.start_poll()
    assert caught.value.code == BAD_REQUEST
    assert session.poll_answer() == "1"
    assert (session.state, session.closed_because) == (State.CLOSED, "transport error")
    assert session.queued == 0


def test_waiting_get_ends_with_a_noop_when_the_client_closes() -> None:
    session = polling()
    assert polled(session) is None
    assert session.receive_payload("1", 1.0) == []
    assert session.poll_answer() == "6"
    assert session.state is State.CLOSED


def test_waiting_get_is_told_of_a_parse_error() -> None:
    session = polling()
    assert polled(session) is None
    with pytest.raises(BadPayload):
        session.receive_payload("9", 1.0)
    assert session.poll_answer() == "1"


def test_aborted_get_closes_the_session() -> None:
    session = polling()
    assert polled(session) is None
    session.abort_poll()
    assert (session.state, session.closed_because) == (State.CLOSED, "transport close")
    assert session.poll_answer() is None


# -- heartbeat -------------------------------------------------------------------------


def carried(session: Session) -> list[Packet]:
    """What the transport carries now, whichever it is."""
    if session.transport == WEBSOCKET:
        return session.take_packets()
    answer = answered(session) if session.poll_waits else polled(session)
    return list(answer.split(SEPARATOR)) if answer is not None else []


BOTH = pytest.mark.parametrize("make", [polling, websocket], ids=["polling", "websocket"])
Make = Callable[..., Session]


@BOTH
def test_ping_comes_after_the_interval_and_a_pong_buys_another(make: Make) -> None:
    session = make(now=100.0)
    assert session.wake_at() == 125.0
    session.tick(124.9)
    assert carried(session) == []
    session.tick(125.0)
    assert carried(session) == ["2"]
    assert session.wake_at() == 145.0
    assert session.receive("3", 130.0) is None
    assert session.wake_at() == 155.0
    session.tick(145.0)
    assert session.state is State.OPEN


@BOTH
def test_silent_client_has_the_whole_timeout_from_our_ping_on(make: Make) -> None:
    session = make()
    session.tick(26.5)  # it can't answer before it is asked
    assert session.wake_at() == 46.5
    session.tick(46.4)
    assert session.state is State.OPEN
    session.tick(60.0, fair=False)  # an answer may be there that nobody has read
    assert session.state is State.OPEN
    session.tick(46.5)
    assert (session.state, session.closed_because) == (State.CLOSED, "ping timeout")


def test_ping_overtakes_what_waits() -> None:
    session = polling()
    session.send([f"{number}" for number in range(3 * MAX_PACKETS_OUT)])
    session.tick(25.0)
    payload = polled(session)
    assert payload is not None
    assert payload.split(SEPARATOR)[:3] == ["2", "40", "41"]


@BOTH
def test_deadline_is_that_of_our_ping(make: Make) -> None:
    session = make(now=100.0)
    assert session.deadline == 145.0
    session.tick(131.0)
    assert session.deadline == 151.0
    session.receive("3", 140.0)
    assert session.deadline == 185.0


@BOTH
def test_messages_do_not_stand_in_for_a_pong(make: Make) -> None:
    session = make()
    session.tick(25.0)
    assert session.receive("4still here", 40.0) == "still here"
    session.tick(45.0)
    assert session.closed_because == "ping timeout"


@BOTH
def test_pong_that_nobody_asked_for_changes_nothing(make: Make) -> None:
    session = make()
    for _ in range(10_000):
        assert session.receive("3", 20.0) is None
    assert session.wake_at() == 25.0


def test_closing_session_is_not_pinged() -> None:
    session = polling()
    session.close()
    session.tick(25.0)
    assert polled(session) == "1"


@BOTH
def test_paused_client_is_pinged_but_owes_no_pong(make: Make) -> None:
    session = make()
    pings = 0
    for now in range(1, 201):
        session.forgive(float(now))
        session.tick(float(now))
        pings += carried(session).count("2")
    assert (session.state, pings) == (State.OPEN, 200 // 25)
    # Reading again, the silence counts again.
    session.tick(session.wake_at())
    session.tick(session.wake_at())
    assert session.closed_because == "ping timeout"


@BOTH
def test_forgiveness_after_a_long_pause_leaves_time_for_a_pong(make: Make) -> None:
    session = make()
    session.forgive(1000.0)
    session.tick(1000.0)
    assert carried(session) == ["2"]
    assert session.wake_at() == 1020.0


# -- upgrade -----------------------------------------------------------------------------


def where(session: Session) -> tuple[str, Upgrade]:
    return session.transport, session.upgrade


def test_upgrade_moves_the_session_and_its_queue() -> None:
    session = polling()
    assert session.start_probe(1.0)
    assert where(session) == (POLLING, Upgrade.STARTED)
    assert session.receive_probe("2probe", 1.0) == "3probe"
    session.send(["late"])
    assert where(session) == (POLLING, Upgrade.PROBED)
    assert session.receive_probe("5", 1.1) is None
    assert where(session) == (WEBSOCKET, Upgrade.NONE)
    assert session.take_packets() == ["4late"]
    assert session.wake_at() == 25.0


def test_waiting_poll_is_released_soon_after_the_probe_and_again() -> None:
    session = polling()
    assert polled(session) is None
    session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    assert session.wake_at() == pytest.approx(1.1)
    session.tick(1.05)
    assert session.poll_answer() is None
    session.tick(1.1)
    assert session.poll_answer() == "6"
    # A client that polls again before its upgrade packet is released again.
    assert polled(session) is None
    session.tick(1.21)
    assert session.poll_answer() == "6"


def test_no_noop_is_queued_where_no_poll_waits() -> None:
    session = polling()
    session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    session.tick(1.1)
    session.receive_probe("5", 1.15)
    assert session.take_packets() == []


def test_poll_with_something_to_say_needs_no_noop() -> None:
    session = polling()
    session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    assert polled(session) is None
    session.send(["a"])
    session.tick(1.1)
    assert session.poll_answer() == "4a"


def test_poll_that_outlives_the_upgrade_gets_a_noop_and_nothing_else() -> None:
    session = polling()
    session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    assert polled(session) is None
    session.send(["a"])
    session.receive_probe("5", 1.0)
    assert session.poll_answer() == "6"
    assert session.poll_answer() is None
    assert session.take_packets() == ["4a"]


def test_one_websocket_wins_of_two_that_race() -> None:
    session = polling()
    assert session.start_probe(1.0)
    assert not session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    assert not session.start_probe(1.0)
    session.receive_probe("5", 1.0)
    assert not session.start_probe(1.0)
    assert session.state is State.OPEN


def test_no_probe_for_a_session_that_closes() -> None:
    session = polling()
    session.close()
    assert not session.start_probe(1.0)


@pytest.mark.parametrize(
    "packets",
    [["5"], ["2"], ["2wrong"], ["4a"], [""], ["3probe"], ["2probe", "2probe"], ["2probe", "6"]],
    ids=repr,
)
def test_wrong_packet_in_an_upgrade_leaves_polling_unharmed(packets: list[str]) -> None:
    session = polling()
    session.start_probe(1.0)
    *good, bad = packets
    for packet in good:
        session.receive_probe(packet, 1.0)
    with pytest.raises(RemoteProtocolError, match="bad packet in an upgrade"):
        session.receive_probe(bad, 1.0)
    session.stop_probe()
    assert session.state is State.OPEN
    assert session.receive_payload("4a", 1.0) == ["a"]
    session.send(["b"])
    assert polled(session) == "4b"
    assert session.start_probe(2.0)


def test_binary_packet_in_an_upgrade_is_refused() -> None:
    session = polling()
    session.start_probe(1.0)
    words = rf"^bad packet in an upgrade: '{'9' * 17}\.\.\.' \(Engine\.IO 4, Upgrade\)$"
    with pytest.raises(RemoteProtocolError, match=words):
        session.receive_probe(b"9" * 30, 1.0)


@pytest.mark.parametrize("probed", [False, True])
def test_silent_upgrade_is_given_up(probed: bool) -> None:
    session = polling()
    session.start_probe(1.0)
    if probed:
        session.receive_probe("2probe", 1.0)
        session.tick(10.95)
        assert session.upgrade is Upgrade.PROBED
    else:
        assert session.wake_at() == 11.0
    session.tick(11.0)
    assert session.upgrade is Upgrade.NONE
    assert session.transport == POLLING
    assert session.wake_at() == 25.0


def test_upgrade_of_a_session_that_closes_is_refused() -> None:
    session = polling()
    session.start_probe(1.0)
    session.receive_probe("2probe", 1.0)
    session.close()
    with pytest.raises(RemoteProtocolError):
        session.receive_probe("5", 1.0)
    assert polled(session) == "1"


def test_heartbeat_goes_on_through_an_upgrade() -> None:
    session = polling()
    session.tick(25.0)
    session.start_probe(25.0)
    session.receive_probe("2probe", 25.0)
    session.receive_probe("5", 25.0)
    assert session.take_packets() == ["2"]
    session.receive("3", 26.0)
    assert session.wake_at() == 51.0


# -- closing ---------------------------------------------------------------------------


def test_close_over_polling_hands_over_what_waits_first() -> None:
    session = polling()
    session.send(str(number) for number in range(MAX_PACKETS_OUT))
    session.close()
    session.close()
    session.send(["too late"])
    assert session.state is State.CLOSING
    assert (polled(session) or "").count(SEPARATOR) == MAX_PACKETS_OUT - 1
    assert session.state is State.CLOSING
    assert polled(session) == "1"
    assert (session.state, session.closed_because) == (State.CLOSED, "forced close")


def test_close_over_websocket_is_a_packet_too() -> None:
    session = upgraded()
    session.send(["a"])
    session.close()
    assert session.take_packets() == ["4a", "1"]
    assert (session.state, session.closed_because) == (State.CLOSED, "forced close")


def test_closing_session_that_is_not_fetched_ends_by_its_deadline() -> None:
    session = polling()
    session.close()
    session.tick(25.0)
    session.tick(45.0)
    assert session.closed_because == "ping timeout"


def test_first_reason_stands() -> None:
    session = polling()
    session.end("ping timeout")
    session.end("transport close")
    assert session.closed_because == "ping timeout"


# -- requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector", VECTORS["queries"], ids=lambda v: f"{v['method']} {v['query']} {'upgrade' in v}"
)
def test_query_is_judged_as_the_reference_does(vector: dict[str, Any]) -> None:
    query = parse_qs(vector["query"], keep_blank_values=True)
    upgrade = vector.get("upgrade", False)
    if "code" in vector:
        with pytest.raises(RemoteProtocolError) as caught:
            check_query(vector["method"], query, OPTIONS, upgrade=upgrade)
        assert caught.value.code == vector["code"]
    else:
        asked = check_query(vector["method"], query, OPTIONS, upgrade=upgrade)
        (version,) = query.get("EIO", [""])
        assert asked == Query(query["transport"][0], vector["sid"], version)


@pytest.mark.parametrize("make", [polling, upgraded], ids=["polling", "websocket"])
@pytest.mark.parametrize(
    ("transport", "version", "upgrade"),
    [
        (POLLING, "4", False),
        (WEBSOCKET, "4", False),
        (WEBSOCKET, "4", True),
        (POLLING, "3", False),
        (POLLING, "", False),
        (WEBSOCKET, "3", True),
    ],
)
def test_request_must_name_its_session_s_transport_and_version(
    make: Make, transport: str, version: str, upgrade: bool
) -> None:
    session = make()
    query = Query(transport, "sid", version)
    if version == "4" and (upgrade or transport == session.transport):
        check_session(query, session, upgrade=upgrade)
    else:
        with pytest.raises(RemoteProtocolError) as caught:
            check_session(query, session, upgrade=upgrade)
        assert caught.value.code == BAD_REQUEST


def test_transport_that_the_author_forbade_is_unknown() -> None:
    query = parse_qs("EIO=4&transport=polling")
    with pytest.raises(RemoteProtocolError, match="Transport unknown"):
        check_query("GET", query, Options(transports=(WEBSOCKET,)), upgrade=False)


@pytest.mark.parametrize("vector", VECTORS["errors"], ids=lambda v: str(v["code"]))
def test_error_body_is_the_one_that_clients_compare(vector: dict[str, Any]) -> None:
    assert error_body(vector["code"]).decode() == vector["body"]


# -- properties ----------------------------------------------------------------------------


def random_message(chance: random.Random) -> Packet:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(8))
    return "".join(chance.choices('ab4b€🐟\n"{}[]1=', k=chance.randrange(8)))


def test_what_polling_encodes_it_decodes_to_the_same_types() -> None:
    chance = random.Random(SEED)
    for _ in range(300):
        messages = [random_message(chance) for _ in range(chance.randrange(1, MAX_PACKETS_OUT))]
        sender, receiver = polling(), polling()
        sender.send(messages)
        answer = polled(sender)
        assert answer is not None
        received = receiver.receive_payload(answer, 0.0)
        assert received == messages
        assert [type(one) for one in received] == [type(one) for one in messages]


def test_garbage_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(SEED)
    for _ in range(3000):
        payload = "".join(chance.choices("0123456b4{}=A\x1eé\udc80 x", k=chance.randrange(12)))
        session = polling()
        try:
            session.receive_payload(payload, 0.0)
        except RemoteProtocolError:
            assert session.state is State.CLOSED
        probed = polling()
        probed.start_probe(0.0)
        try:
            probed.receive_probe(payload, 0.0)
        except RemoteProtocolError:
            assert probed.state is State.OPEN


class World:
    """A session with its client, and whatever chance does to the two of them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.session = polling()
        self.now = 0.0
        self.sent = 0
        self.received: list[int] = []  # by the client
        self.posted = 0
        self.arrived: list[int] = []  # at the server
        self.polls = False

    def step(self) -> None:
        self.chance.choice(
            [self.send, self.send, self.poll, self.post, self.probe, self.upgrade, self.tick]
        )()
        self.carry()

    def send(self) -> None:
        count = self.chance.randrange(1, 25)
        self.session.send(str(self.sent + number) for number in range(count))
        self.sent += count

    def poll(self) -> None:
        if not self.polls and self.session.transport == POLLING:
            self.polls = True
            self.session.start_poll()

    def post(self) -> None:
        numbers = range(self.posted, self.posted + self.chance.randrange(1, 4))
        self.posted = numbers.stop
        packets = [f"4{number}" for number in numbers]
        if self.session.transport == POLLING:
            messages = self.session.receive_payload(SEPARATOR.join(packets), self.now)
        else:
            messages = [str(self.session.receive(packet, self.now)) for packet in packets]
        self.arrived += map(int, messages)

    def probe(self) -> None:
        if self.session.upgrade is Upgrade.NONE and self.session.transport == POLLING:
            assert self.session.start_probe(self.now)
        elif self.session.upgrade is Upgrade.STARTED:
            assert self.session.receive_probe("2probe", self.now) == "3probe"
        elif self.session.upgrade is Upgrade.PROBED and self.chance.random() < 0.3:
            self.session.stop_probe()  # that WebSocket is lost

    def upgrade(self) -> None:
        if self.session.upgrade is Upgrade.PROBED and self.chance.random() < 0.3:
            self.session.receive_probe("5", self.now)

    def tick(self) -> None:
        self.now += self.chance.choice([0.0, 0.05, 0.1, 1.0, 5.0])
        while self.session.wake_at() <= self.now:
            self.session.tick(self.now)
            self.carry()
        self.session.tick(self.now)

    def carry(self) -> None:
        """Move what the session has to say; the client answers pings."""
        packets: list[Packet] = []
        answer = answered(self.session)
        if answer is not None:
            self.polls = False
            packets += answer.split(SEPARATOR)
        if self.session.transport == WEBSOCKET:
            packets += self.session.take_packets()
        for packet in packets:
            assert isinstance(packet, str)
            if packet == "2":
                self.session.receive("3", self.now)
            elif packet != "6":
                assert packet[0] == "4"
                self.received.append(int(packet[1:]))


@pytest.mark.parametrize("seed", range(SEED, SEED + 40))
def test_nothing_is_lost_doubled_or_reordered(seed: int) -> None:
    world = World(seed)
    for _ in range(300):
        world.step()
    while len(world.received) < world.sent:
        world.poll()
        world.carry()
    assert world.session.state is State.OPEN
    assert world.received == list(range(world.sent))
    assert world.arrived == list(range(world.posted))
    assert world.session.queued == 0
