"""Socket.IO packets: what the reference's parser takes, what it refuses, and what we write."""

from __future__ import annotations

import base64
import gc
import json
import random
import string
import sys
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite import socketio
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.socketio import (
    ACK,
    EVENT,
    MAX_ATTACHMENTS,
    MAX_DEPTH,
    MAX_NAMESPACE,
    Decoder,
    Message,
    Packet,
    encode_ack,
    encode_auth,
    encode_connect,
    encode_connect_error,
    encode_disconnect,
    encode_error,
    encode_event,
)
from redbarrel_lite.strictjson import MAX_NUMBER_DIGITS

VECTORS = json.loads((Path(__file__).parent / "vectors/socketio.json").read_text("utf-8"))
SEED = 20110907


def unpacked(value: Any) -> Any:
    """What a vector stands for: bytes where it says so, at any depth."""
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if isinstance(value, dict):
        if value.keys() == {"base64"}:
            return base64.b64decode(value["base64"])
        return {key: unpacked(one) for key, one in value.items()}
    return value


def decoded(messages: list[Message] | tuple[Message, ...]) -> Packet:
    """The packet that messages make: with the last of them, and not before."""
    decoder = Decoder()
    *first, last = messages
    for message in first:
        assert decoder.receive(message) is None
    packet = decoder.receive(last)
    assert packet is not None
    return packet


def identical(one: Any, other: Any) -> bool:
    """Equal, and of the same types at every depth: 1, 1.0 and True are three things."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other)


# -- in --------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["packets"], ids=lambda v: ascii(v["messages"][0])[:60])
def test_decoder_takes_what_the_reference_takes(vector: dict[str, Any]) -> None:
    packet = decoded(unpacked(vector["messages"]))
    assert packet.type == getattr(socketio, vector["type"])
    assert (packet.namespace, packet.ack_id) == (vector["namespace"], vector["id"])
    assert identical(packet.data, unpacked(vector["data"]))


@pytest.mark.parametrize("message", VECTORS["refused"], ids=ascii)
def test_decoder_refuses_what_the_reference_refuses(message: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().receive(message)


@pytest.mark.parametrize("number", VECTORS["refused_placeholders"])
@pytest.mark.parametrize("where", ['["x",{}]', '["x",[{{"a":{}}}]]'])
def test_placeholder_must_be_an_index(number: str, where: str) -> None:
    placeholder = f'{{"_placeholder":true,"num":{number}}}'
    decoder = Decoder()
    assert decoder.receive("51-" + where.format(placeholder)) is None
    with pytest.raises(RemoteProtocolError, match="placeholder"):
        decoder.receive(b"x")


def test_placeholder_without_a_number_is_refused() -> None:
    decoder = Decoder()
    decoder.receive('51-["x",{"_placeholder":true}]')
    words = r"^placeholder for attachment None \(Socket\.IO 5, Packet encoding\)$"
    with pytest.raises(RemoteProtocolError, match=words):
        decoder.receive(b"x")


def test_text_is_refused_while_attachments_are_missing() -> None:
    decoder = Decoder()
    decoder.receive('52-["x",{"_placeholder":true,"num":0}]')
    decoder.receive(b"x")
    with pytest.raises(RemoteProtocolError, match="attachments are missing"):
        decoder.receive('2["a"]')


def test_binary_without_a_packet_that_announced_it_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="without a packet"):
        Decoder().receive(b"x")
    decoder = Decoder()
    decoder.receive('51-["x"]')
    assert decoder.receive(b"x") == Packet(EVENT, data=["x"])
    with pytest.raises(RemoteProtocolError, match="without a packet"):
        decoder.receive(b"x")


def test_packet_may_have_ten_attachments() -> None:
    decoder = Decoder()
    assert decoder.receive(f'5{MAX_ATTACHMENTS}-["x",{{"_placeholder":true,"num":9}}]') is None
    for number in range(MAX_ATTACHMENTS - 1):
        assert decoder.receive(bytes([number])) is None
    assert decoder.receive(b"last") == Packet(EVENT, data=["x", b"last"])


def test_attachments_together_may_have_as_many_bytes_as_one_message() -> None:
    decoder = Decoder(max_attached=10)
    assert decoder.receive('52-["x"]') is None
    assert decoder.receive(bytes(6)) is None
    assert decoder.receive(bytes(4)) is not None
    assert decoder.receive('53-["x"]') is None
    assert decoder.receive(bytes(6)) is None
    with pytest.raises(RemoteProtocolError, match="attachments of over 10 bytes"):
        decoder.receive(bytes(5))


def test_attachment_counts_in_each_place_that_it_stands_in() -> None:
    place = '{"_placeholder":true,"num":0}'
    decoder = Decoder(max_attached=10)
    decoder.receive(f'51-["x",{place},{place}]')
    assert decoder.receive(bytes(5)) == Packet(EVENT, data=["x", bytes(5), bytes(5)])
    decoder.receive(f'51-["x",{place},{place}]')
    with pytest.raises(RemoteProtocolError, match=r"^attachments of over 10 bytes, repeated$"):
        decoder.receive(bytes(6))


def test_attachments_may_have_a_megabyte_if_nobody_says() -> None:
    for size in (1_000_000, 1_000_001):
        decoder = Decoder()
        decoder.receive('51-["x"]')
        if size == 1_000_000:
            assert decoder.receive(bytes(size)) == Packet(EVENT, data=["x"])
        else:
            with pytest.raises(RemoteProtocolError, match="attachments of over 1000000 bytes"):
                decoder.receive(bytes(size))


def test_acknowledgement_id_may_have_ten_digits() -> None:
    assert Decoder().receive('29999999999["x"]') == Packet(EVENT, "/", 9_999_999_999, ["x"])


def test_decoder_goes_on_after_a_binary_packet() -> None:
    decoder = Decoder()
    decoder.receive('51-["x",{"_placeholder":true,"num":0}]')
    assert decoder.receive(b"1") == Packet(EVENT, data=["x", b"1"])
    assert decoder.receive('2["a"]') == Packet(EVENT, data=["a"])
    assert decoder.receive('61-7[{"_placeholder":true,"num":0}]') is None
    assert decoder.receive(b"2") == Packet(ACK, "/", 7, [b"2"])


@pytest.mark.parametrize("usual", [True, False], ids=["usual", "unusual"])
def test_namespace_has_a_longest_name(usual: bool) -> None:
    argument = '"x"' if usual else "1"
    longest = "/" + "n" * (MAX_NAMESPACE - 1)
    packet = Decoder().receive(f'2{longest},["a",{argument}]')
    assert packet is not None
    assert packet.namespace == longest
    with pytest.raises(RemoteProtocolError, match="namespace of 257 characters"):
        Decoder().receive(f'2{longest}n,["a",{argument}]')
    with pytest.raises(RemoteProtocolError, match="namespace of 1000001 characters"):
        Decoder().receive("0/" + "n" * 1_000_000)


@pytest.mark.parametrize("message", ["2" + "9" * 5000 + '["x"]', "5" + "9" * 1_000_000])
def test_endless_digits_are_refused(message: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().receive(message)


def test_number_of_very_many_digits_is_refused() -> None:
    digits = "9" * MAX_NUMBER_DIGITS
    assert decoded([f'2["x",{digits}]']).data[1] == int(digits)
    with pytest.raises(RemoteProtocolError, match="a number of 401 digits"):
        Decoder().receive(f'2["x",{digits}9]')


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("argument", [nested(MAX_DEPTH), '{"a":' * 64 + "1" + "}" * 64])
def test_argument_may_nest_as_deep_as_the_limit(argument: str) -> None:
    packet = decoded([f'2["x",{argument}]'])
    assert encode_event("x", packet.data[1:]) == (f'2["x",{argument}]',)


@pytest.mark.parametrize(
    "argument",
    [nested(MAX_DEPTH + 1), '{"a":' * 65 + "1" + "}" * 65, "[" * 50_000, nested(50_000)],
    ids=["arrays", "objects", "unclosed", "bomb"],
)
@pytest.mark.parametrize("kind", ["2", "51-"])
def test_argument_that_nests_deeper_is_refused(kind: str, argument: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().receive(f'{kind}["x",{argument}]')


def test_many_arguments_are_no_depth() -> None:
    packet = decoded(['2["x"' + ",[]" * 100_000 + "]"])
    assert len(packet.data) == 100_001


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("zz", "no Socket.IO packet: 'zz' (Socket.IO 5, Packet encoding)"),
        ("z" * 21, f"no Socket.IO packet: '{'z' * 17}...' (Socket.IO 5, Packet encoding)"),
        ('21-["x"]', "attachments in a packet of type 2 (Socket.IO 5, Packet encoding)"),
        ('50-["x"]', "0 attachments, not 1 to 10 (Socket.IO 5, Packet encoding)"),
        ('511-["x"]', "11 attachments, not 1 to 10 (Socket.IO 5, Packet encoding)"),
        ('5001-["x"]', "001 attachments, not 1 to 10 (Socket.IO 5, Packet encoding)"),
        ("5" + "1" * 21 + '-["x"]', f"{'1' * 20} attachments, not 1 to 10 (Socket.IO 5, Packet en"),
        (f'2[["{"a" * 40}"]]', f"bad data in a packet of type 2: [['{'a' * 37} (Socket.IO 5, Send"),
        (
            f'2["{"a" * 99}',
            "bad JSON (Socket.IO 5, Packet encoding): Unterminated string starting at",
        ),
        ("2", "packet of type 2 without data (Socket.IO 5, Sending and receiving data)"),
        ('5-["x"]', "no attachments, not 1 to 10 (Socket.IO 5, Packet encoding)"),
        ("11", "acknowledgement id in a packet of type 1 (Socket.IO 5, Disconnection from a nam"),
        ("3[]", "packet of type 3 without an acknowledgement id (Socket.IO 5, Acknowledgement)"),
        ("2" + "1" * 11 + '["x"]', "acknowledgement id of over 10 digits (Socket.IO 5, Packet en"),
        ("31", "packet of type 3 without data (Socket.IO 5, Acknowledgement)"),
        ("0[]", "bad data in a packet of type 0 (Socket.IO 5, Connection to a namespace)"),
        ("1[]", "bad data in a packet of type 1: [] (Socket.IO 5, Disconnection from a namespace)"),
        ("4{}", "only a server sends a packet of type 4 (Socket.IO 5, Connection to a namespace)"),
        (
            '2"' + "x" * 30,
            "data is neither an array nor an object: '\"xxxxxxxxxxxxxxxx...' (Socket",
        ),
        ("2[", "bad JSON (Socket.IO 5, Packet encoding): Expecting value"),
        ('2["connect"]', "event name 'connect' is reserved (Socket.IO documentation, Reserved ev"),
        ('51-["connect"]', "event name 'connect' is reserved (Socket.IO documentation, Reserved e"),
    ],
)
def test_fault_says_what_came_and_the_rule(message: str, fault: str) -> None:
    with pytest.raises(RemoteProtocolError) as told:
        Decoder().receive(message)
    assert str(told.value).startswith(fault)


def test_message_of_an_error_is_short_and_printable() -> None:
    for message in ["\r\n" + "x" * 10_000, '2["' + "\x1b" * 10_000, f'2[["{"é" * 1000}"]]', "2\0"]:
        with pytest.raises(RemoteProtocolError) as caught:
            Decoder().receive(message)
        assert len(str(caught.value)) < 150
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()


# -- out -------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS["encoded"], ids=lambda v: ascii(v["messages"][0])[:60])
def test_encoder_writes_what_the_reference_writes(vector: dict[str, Any]) -> None:
    args, namespace = unpacked(vector["args"]), vector.get("namespace", "/")
    if "ack" in vector:
        messages = encode_ack(vector["ack"], args, namespace)
    else:
        messages = encode_event(vector["event"], args, namespace, vector.get("id"))
    assert list(messages) == unpacked(vector["messages"])


def test_server_packets_are_written_as_the_protocol_shows_them() -> None:
    assert encode_connect("abc") == ('0{"sid":"abc"}',)
    assert encode_connect("abc", "/admin") == ('0/admin,{"sid":"abc"}',)
    assert encode_connect("abc", pid="def") == ('0{"sid":"abc","pid":"def"}',)
    assert encode_error("no") == ('4"no"',)
    assert encode_error({"why": "no"}, "/admin") == ('4/admin,{"why":"no"}',)
    assert encode_disconnect() == ("1",)
    assert encode_disconnect("/admin") == ("1/admin,",)
    assert encode_connect_error("Invalid namespace", namespace="/random") == (
        '4/random,{"message":"Invalid namespace"}',
    )
    assert encode_connect_error("no", {"why": [1]}) == ('4{"message":"no","data":{"why":[1]}}',)


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", ["\ud800"], {"\ud800": 1}])
@pytest.mark.parametrize("event", ["x", "\udc00"])
def test_lone_surrogate_is_written_as_an_escape(event: str, value: Any) -> None:
    (message,) = encode_event(event, [value])
    assert isinstance(message, str)
    assert message.encode().isascii()
    assert decoded([message]).data == [event, value]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_an_attachment(kind: type[Any]) -> None:
    text, attachment = encode_event("x", [{"a": (kind(b"abc"),)}])
    assert text == '51-["x",{"a":[{"_placeholder":true,"num":0}]}]'
    assert attachment == b"abc"
    assert type(attachment) is bytes


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), [float("nan")], {float("nan"): 1}]
)
def test_numbers_that_no_client_reads_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|NaN"):
        encode_event("x", [value])


@pytest.mark.parametrize("value", [{1, 2}, object(), {(1, 2): 3}, {b"a": 1}])
def test_values_that_are_no_json_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"is not JSON|keys must be str"):
        encode_event("x", [value])


def test_only_events_and_acknowledgements_have_attachments() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode_connect_error("no", {"why": b"x"})


def test_namespace_is_the_first_one_unless_another_is_named() -> None:
    assert encode_ack(1, [2]) == ("31[2]",)
    assert encode_event("x", [2]) == ('2["x",2]',)
    assert encode_disconnect() == ("1",)
    assert encode_auth(None) == ("0",)
    assert encode_auth(None, "/a") == ("0/a,",)
    assert encode_auth({"b": 1}, "/a") == ('0/a,{"b":1}',)


def test_event_name_must_be_text() -> None:
    words = "^the name of an event is a str, not bytes: b'message'$"
    with pytest.raises(TypeError, match=words):
        encode_event(b"message", ["x"])  # type: ignore[arg-type]


@pytest.mark.parametrize("event", sorted(socketio.RESERVED_EVENTS))
def test_event_that_would_close_the_client_is_not_sent(event: str) -> None:
    with pytest.raises(ValueError, match=r"Socket\.IO itself"):
        encode_event(event, ["x"])


def test_data_that_nests_too_deep_is_refused() -> None:
    one_over = json.loads(nested(MAX_DEPTH + 1))
    deep: list[Any] = []
    circle: list[Any] = []
    circle.append(circle)
    for _ in range(100_000):
        deep = [deep]
    for value in (one_over, {"a": one_over[0]}, deep, [b"x", deep], [b"x", one_over[0]]):
        with pytest.raises(ValueError, match="nested over 64 levels"):
            encode_event("x", [value])
    with pytest.raises(ValueError, match="Circular"):
        encode_event("x", [circle])


# -- properties --------------------------------------------------------------------------


def random_text(chance: random.Random) -> str:
    return "".join(chance.choices('ab"\\\n\0\x1e€🐟\ud800/,0[]{}-', k=chance.randrange(6)))


def random_value(chance: random.Random, depth: int = 0) -> Any:
    """Anything that JSON and attachments can carry."""
    kind = chance.randrange(10 if depth < 4 else 8)
    if kind < 7:
        leaves = [None, True, False, chance.randrange(-99, 2**70), chance.random() * 1e9, 0.5, 1.0]
        return leaves[kind]
    if kind == 7:
        return chance.choice([random_text(chance), chance.randbytes(chance.randrange(4))])
    values = [random_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return values if kind == 8 else {random_text(chance): value for value in values}


def random_event(chance: random.Random) -> tuple[str, list[Any], str, int | None]:
    event = random_text(chance) + chance.choice(string.ascii_letters)
    args = [random_value(chance) for _ in range(chance.randrange(4))]
    if chance.random() < 0.4:
        args = [random_text(chance)]  # the short ways
    namespace = chance.choice(["/", "/a", "/ä-b", "/x/y"])
    return event, args, namespace, chance.choice([None, None, 0, 7, 9_999_999_999])


def attachments_in(messages: tuple[Message, ...]) -> int:
    return len(messages) - 1


def test_what_is_encoded_is_decoded_to_the_same_types() -> None:
    chance = random.Random(SEED)
    for _ in range(2000):
        event, args, namespace, ack_id = random_event(chance)
        messages = encode_event(event, args, namespace, ack_id)
        if attachments_in(messages) <= MAX_ATTACHMENTS:
            packet = decoded(messages)
            assert packet[:3] == (EVENT, namespace, ack_id)
            assert identical(packet.data, [event, *args]), messages
        messages = encode_ack(ack_id or 0, args, namespace)
        if attachments_in(messages) <= MAX_ATTACHMENTS:
            packet = decoded(messages)
            assert packet[:3] == (ACK, namespace, ack_id or 0)
            assert identical(packet.data, args), messages


def test_truncations_raise_nothing_but_protocol_errors() -> None:
    chance = random.Random(SEED)
    for _ in range(100):
        event, args, namespace, ack_id = random_event(chance)
        text = encode_event(event, args, namespace, ack_id)[0]
        assert isinstance(text, str)
        for end in range(len(text)):
            decoder = Decoder()
            try:
                packet = decoder.receive(text[:end])
            except RemoteProtocolError:
                continue
            pytest.fail(f"{text[:end]!r} was taken for {packet}")


def test_garbage_raises_nothing_but_protocol_errors() -> None:
    chance = random.Random(SEED)
    taken = 0
    for _ in range(20_000):
        text = chance.choice("0123456") + "".join(
            chance.choices('0123456-/,[]{}"":\\ntrue.eE\x1eé\udc80 ', k=chance.randrange(14))
        )
        if chance.random() < 0.5:
            text = text[:1] + chance.choice(["", "1", "/a,", "1-"]) + '["a",' + text[1:] + "]"
        decoder = Decoder()
        try:
            packet = decoder.receive(text)
            while packet is None:
                packet = decoder.receive(chance.randbytes(3))
            taken += 1
        except RemoteProtocolError:
            continue
    assert taken > 50  # or the garbage tries nothing but the first check


def test_short_way_and_long_way_agree() -> None:
    """The usual packet's short way must take nothing that the long way would not."""
    chance = random.Random(SEED)
    both = 0
    for _ in range(5000):
        text = chance.choice(['2["', '2/a,["', '2/a?b,["', '2/,["', "2/", '2/a,1["'])
        text += "".join(chance.choices('aa"",,\\n]\x1e/', k=chance.randrange(9))) + '"]'
        if chance.random() < 0.5:
            text = text[:-2] + 'm","x"]'
        short = socketio._usual_packet(text)
        if short is not None:
            both += 1
            assert Decoder()._packet_of(text) == short
    assert both > 100


def test_wide_data_cost_no_call_for_each_list() -> None:
    """A client may send a megabyte of them, and all others wait meanwhile."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    text = '2["x",' + "[" * 60 + ",".join(["[]"] * 10_000) + "]" * 60 + "]"
    gc.disable()  # what other tests have left behind may have its own functions called at its end
    sys.setprofile(count)
    try:
        packet = Decoder().receive(text)
        assert packet is not None
        messages = encode_event(packet.data[0], packet.data[1:])
    finally:
        sys.setprofile(None)
        gc.enable()
    assert messages == (text,)
    assert calls < 50
