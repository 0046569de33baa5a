"""Engine.IO 3: payloads by length, in text and in bytes, and the client's pings."""

from __future__ import annotations

import base64
import json
import random
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from redbarrel_lite.engineio import (
    BAD_REQUEST,
    MAX_PACKETS_IN_PAYLOAD,
    POLLING,
    WEBSOCKET,
    BadPayload,
    Options,
    Packet,
    Session,
    State,
)
from redbarrel_lite.engineio_query import Query, check_query, check_session
from redbarrel_lite.engineio_v3 import Revision3, from_form, script_of
from redbarrel_lite.errors import RemoteProtocolError

VECTORS = json.loads((Path(__file__).parent / "vectors/engineio_v3.json").read_text("utf-8"))
OPTIONS = Options(allow_eio3=True)
SEED = 20110907


def unpacked(value: Any) -> Packet:
    """What a vector stands for."""
    if isinstance(value, str):
        return value
    return base64.b64decode(value["base64"]) if "base64" in value else bytes.fromhex(value["hex"])


def packets_of(vector: dict[str, Any]) -> list[Packet]:
    return [unpacked(packet) for packet in vector["packets"]]


def payload_of(vector: dict[str, Any]) -> Packet:
    return str(vector["text"]) if "text" in vector else bytes.fromhex(vector["hex"])


def named(vector: dict[str, Any]) -> str:
    return ascii(payload_of(vector))


# -- payloads ----------------------------------------------------------------------------

READ = VECTORS["both_ways"] + VECTORS["base64"] + VECTORS["bytes"] + VECTORS["also_read"]


@pytest.mark.parametrize("vector", READ, ids=named)
def test_payload_is_read_into_its_packets(vector: dict[str, Any]) -> None:
    assert list(Revision3().split(payload_of(vector))) == packets_of(vector)


@pytest.mark.parametrize("vector", VECTORS["both_ways"][:-1] + VECTORS["base64"], ids=named)
def test_payload_for_who_cannot_read_bytes_is_text(vector: dict[str, Any]) -> None:
    assert Revision3(base64=True).join(packets_of(vector)) == vector["text"]


@pytest.mark.parametrize("vector", VECTORS["both_ways"][:-1] + VECTORS["bytes"], ids=named)
def test_payload_is_bytes_where_a_packet_is_binary(vector: dict[str, Any]) -> None:
    assert Revision3().join(packets_of(vector)) == payload_of(vector)


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=named)
def test_bad_payload_is_refused_behind_its_good_packets(vector: dict[str, Any]) -> None:
    packets: list[Packet] = []
    with pytest.raises(RemoteProtocolError) as caught:
        packets.extend(Revision3().split(payload_of(vector)))
    assert packets == packets_of(vector)
    assert caught.value.code == BAD_REQUEST
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        ("1:2" + "x" * 30, "no length of a packet: 'xxxxxxxxxxxxxxxxx...'"),
        ("9:a", "a packet of 9 characters, of which some are missing"),
        ("5:b7abc", "binary packet of type '7'"),
        (b"\x00\x01\xff2" + b"x" * 30, f"no length of a packet: {b'x' * 20!r}"),
        (b"\x00\x01\x02a", r"no length of a packet: b'\x00\x01\x02a'"),
        (b"\x00\x09\xffab", "a packet of 9 bytes, of which some are missing"),
        (
            bytes((0, *range(1, 10), 1, 255)),
            "a packet of 1234567891 bytes, of which some are missing",
        ),
        (b"\x00\x01\xff\xff", "a packet that is not UTF-8"),
        (b"\x01\x02\xffxy", "binary packet of type b'x'"),
    ],
)
def test_fault_says_what_came(payload: Packet, fault: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        list(Revision3().split(payload))
    section = "Packet" if fault.startswith("binary") else "Payload"
    assert str(caught.value) == f"{fault} (Engine.IO 3, {section})"


@pytest.mark.parametrize("payload", ["1:2", "0:1:2", b"\x00\x01\xff2"], ids=ascii)
def test_payload_of_too_many_packets_is_refused(payload: Any) -> None:
    fit = list(Revision3().split(payload * MAX_PACKETS_IN_PAYLOAD))
    assert fit == ["2"] * MAX_PACKETS_IN_PAYLOAD
    with pytest.raises(RemoteProtocolError, match="over 1000 packets"):
        list(Revision3().split(payload * 100_000))


def random_packet(chance: random.Random) -> Packet:
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(30))
    return "4" + "".join(chance.choices("ab4:b1€🐟é\n", k=chance.randrange(30)))


@pytest.mark.parametrize("revision", [Revision3(), Revision3(base64=True)])
def test_what_is_joined_is_split_into_the_same(revision: Revision3) -> None:
    chance = random.Random(SEED)
    for _ in range(500):
        packets = [random_packet(chance) for _ in range(chance.randrange(1, 6))]
        read = list(revision.split(revision.join(packets)))
        assert read == packets
        assert list(map(type, read)) == list(map(type, packets))


def test_garbage_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(SEED)
    for _ in range(5000):
        text = "".join(chance.choices("0123456:b4{}=A€🐟 ", k=chance.randrange(12)))
        raw = bytes(chance.choices((0, 1, 2, 4, 9, 10, 52, 98, 255), k=chance.randrange(12)))
        for payload in (text, raw):
            session = polling()
            try:
                session.receive_payload(payload, 0.0)
            except BadPayload:
                assert session.closed_because in ("parse error", "transport close")


def test_long_payload_of_wide_characters_is_read_in_linear_time() -> None:
    packet = "4" + "🐟" * 1000
    payload = f"{len(packet.encode('utf-16-le')) // 2}:{packet}" * 400
    assert list(Revision3().split(payload)) == [packet] * 400


# -- packets that are WebSocket messages -------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["websocket"], ids=lambda v: ascii(v["message"]))
def test_binary_message_of_a_websocket_begins_with_its_type(vector: dict[str, Any]) -> None:
    packet, message = unpacked(vector["packet"]), unpacked(vector["message"])
    assert Revision3().pack(packet) == message
    assert Revision3().unpack(message) == packet


def test_binary_message_is_base64_for_who_cannot_read_bytes() -> None:
    revision = Revision3(base64=True)
    assert revision.pack(b"\1\2\3\4") == "b4AQIDBA=="
    assert revision.unpack("b4AQIDBA==") == b"\1\2\3\4"
    assert revision.unpack(b"\4\1") == b"\1"


@pytest.mark.parametrize("message", [b"", b"\0", b"4abc", "b", "b2AAA=", "b4!", "b4A"])
def test_bad_binary_message_is_refused(message: Packet) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        Revision3().unpack(message)
    assert caught.value.code == BAD_REQUEST


# -- JSONP -------------------------------------------------------------------------------


def test_script_calls_the_function_of_its_index() -> None:
    assert script_of("6:4hello", "4") == '___eio[4]("6:4hello");'


def test_script_is_javascript_whatever_the_payload() -> None:
    payload = '12:4"\\\n\r\u2028\u2029</script>é🐟\x00'
    code = script_of(payload, "0")
    assert code.isascii()
    assert code.isprintable()
    assert json.loads(code.removeprefix("___eio[0](").removesuffix(");")) == payload


@pytest.mark.parametrize("vector", VECTORS["forms"], ids=lambda v: ascii(v["field"]))
def test_line_breaks_of_forms_are_restored(vector: dict[str, Any]) -> None:
    assert from_form(vector["field"]) == vector["payload"]


def test_form_field_is_what_the_client_had_before_it_escaped_it() -> None:
    chance = random.Random(SEED)
    for _ in range(2000):
        payload = "".join(chance.choices("\\\nnab", k=chance.randrange(12)))
        if "\\\n" in payload:  # which the client itself makes an escape of
            continue
        # As engine.io-client 3 does it, in two steps.
        field = re.sub(r"\\n", "\\\\\n", payload).replace("\n", "\\n")
        assert from_form(field) == payload


# -- the session -------------------------------------------------------------------------


def polling(options: Options = OPTIONS, now: float = 0.0, **how: Any) -> Session:
    session = Session("sid", POLLING, options, now, Revision3(**how))
    session.start_poll()
    assert session.poll_answer() is not None
    return session


def test_handshake_is_a_payload_of_version_3() -> None:
    session = Session("xyz", POLLING, OPTIONS, 0.0, Revision3())
    session.start_poll()
    packet = (
        '0{"sid":"xyz","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,'
        '"maxPayload":1000000}'
    )
    assert session.poll_answer() == f"{len(packet)}:{packet}"


def test_client_pings_and_is_answered() -> None:
    session = polling()
    for now in (20.0, 60.0, 100.0):
        assert session.receive_payload("1:2", now) == []
        session.start_poll()
        assert session.poll_answer() == "1:3"
        assert session.deadline == session.wake_at() == now + 45.0
    assert session.state is State.OPEN


def test_client_that_does_not_ping_is_closed_and_never_pinged() -> None:
    session = polling(now=100.0)
    session.receive_payload("6:4hello", 130.0)
    assert session.wake_at() == 145.0
    session.tick(144.9)
    session.start_poll()
    assert session.poll_answer() is None
    session.tick(145.0)
    assert (session.state, session.closed_because) == (State.CLOSED, "ping timeout")


def test_pings_without_polls_pile_no_pongs_up() -> None:
    session = polling()
    for _ in range(100):
        session.receive_payload("1:2" * 1000, 1.0)
    assert session.queued == 1
    session.send(["a"])
    session.receive_payload("1:2", 1.0)
    session.start_poll()
    assert session.poll_answer() == "1:32:4a1:3"


def test_paused_client_need_not_ping() -> None:
    session = polling()
    session.forgive(40.0)
    assert session.deadline == 85.0


@pytest.mark.parametrize("payload", ["1:3", "6:2probe", "1:5", "1:6", "1:0", "1:7", "2:11"])
def test_packet_of_another_kind_closes_the_session(payload: str) -> None:
    session = polling()
    with pytest.raises(BadPayload, match=r"bad Engine\.IO packet"):
        session.receive_payload(f"2:4a{payload}2:4b", 1.0)
    assert session.closed_because == "parse error"


def test_pong_belongs_to_version_4_and_ping_to_version_3() -> None:
    session = Session("sid", WEBSOCKET, OPTIONS, 0.0)
    with pytest.raises(RemoteProtocolError):
        session.receive("2", 1.0)
    session = Session("sid", WEBSOCKET, OPTIONS, 0.0, Revision3())
    session.take_packets()
    assert session.receive("2", 1.0) is None
    assert session.take_packets() == ["3"]


def test_close_packet_releases_the_waiting_poll() -> None:
    session = polling()
    session.start_poll()
    assert session.receive_payload("1:1", 1.0) == []
    assert session.poll_answer() == "1:6"
    assert session.state is State.CLOSED


def test_upgrade_moves_the_session_and_its_queue() -> None:
    session = polling()
    session.start_poll()
    session.start_probe(1.0)
    assert session.receive_probe("2probe", 1.0) == "3probe"
    session.tick(1.1)
    assert session.poll_answer() == "1:6"
    session.send(["late", b"\0"])
    session.start_poll()
    assert session.receive_probe("5", 1.2) is None
    assert session.poll_answer() == "1:6"
    assert session.take_packets() == ["4late", b"\0"]


def test_payload_is_cut_at_the_largest() -> None:
    session = polling(Options(max_payload=10))
    session.send(["123456789012345", "1234", "123", b"\0\1\2"])
    answers = []
    for _ in range(3):
        session.start_poll()
        answers.append(session.poll_answer())
    assert answers == ["16:4123456789012345", "5:412344:4123", b"\1\4\xff\4\0\1\2"]


# -- requests ----------------------------------------------------------------------------


def asked(query: str, options: Options = OPTIONS, *, upgrade: bool = False) -> Query:
    fields = parse_qs(query, keep_blank_values=True)
    return check_query("GET", fields, options, upgrade=upgrade)


@pytest.mark.parametrize("more", ["", "&sid=x"])
def test_query_says_what_its_client_can_read(more: str) -> None:
    sid = "x" if more else None
    query = "EIO=3&transport=polling" + more
    assert asked(query) == Query(POLLING, sid, "3")
    assert asked(query + "&b64=1") == Query(POLLING, sid, "3", None, base64=True)
    assert asked(query + "&j=12") == Query(POLLING, sid, "3", "12", base64=True)


@pytest.mark.parametrize(
    "index", ["", "a", "-1", "1.5", "1;alert(1)", "0&j=1", "%EF%BC%91", "1" * 11]
)
def test_index_that_is_no_number_is_refused(index: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        asked(f"EIO=3&transport=polling&j={index}")
    assert caught.value.code == BAD_REQUEST


def test_websocket_has_no_index() -> None:
    query = "EIO=3&transport=websocket&j=1&b64=1"
    assert asked(query, upgrade=True) == Query(WEBSOCKET, None, "3", None, base64=True)


def test_version_4_knows_neither() -> None:
    assert asked("EIO=4&transport=polling&j=x&b64=1") == Query(POLLING, None, "4")


@pytest.mark.parametrize("version", ["", "&EIO=2", "&EIO=03", "&EIO=3&EIO=3", "&EIO=3&EIO=4"])
def test_no_other_version_is_let_in(version: str) -> None:
    with pytest.raises(RemoteProtocolError, match="Unsupported protocol version"):
        asked("transport=polling" + version)
    with pytest.raises(RemoteProtocolError, match="Unsupported protocol version"):
        asked("EIO=3&transport=polling", Options())


@pytest.mark.parametrize(
    ("query", "upgrade", "fits"),
    [
        (Query(POLLING, "sid", "3", "7", base64=True), False, True),
        (Query(POLLING, "sid", "3", "8", base64=True), False, False),
        (Query(POLLING, "sid", "3"), False, False),
        (Query(POLLING, "sid", "4", "7"), False, False),
        (Query(WEBSOCKET, "sid", "3"), True, True),
        (Query(WEBSOCKET, "sid", "4"), True, False),
    ],
)
def test_request_belongs_to_the_page_of_the_handshake(
    query: Query, upgrade: bool, fits: bool
) -> None:
    session = polling(script="7", base64=True)
    if fits:
        check_session(query, session, upgrade=upgrade)
    else:
        with pytest.raises(RemoteProtocolError):
            check_session(query, session, upgrade=upgrade)
