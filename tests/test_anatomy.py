"""Room `anatomy` and those named after it: what bytes mean, and which of them is wrong.

The verdict is the wire rooms' own, for every vector; the place of a fault is ours.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite import (
    anatomy_engineio,
    anatomy_engineio_v3,
    anatomy_http,
    anatomy_socketio,
    engineio,
    engineio_query,
    engineio_v3,
    http1,
    http1_client,
    socketio,
    wsproto,
    wsproto_client,
)
from redbarrel_lite.anatomy import (
    CLIENT,
    MAX_SEARCHED,
    SERVER,
    Fault,
    Layer,
    as_json,
    first_fault,
    guilty,
    hidden,
    json_parts,
    no_layers,
    shown,
)
from redbarrel_lite.anatomy_websocket import Frames
from redbarrel_lite.deflate import Inflater
from redbarrel_lite.engineio import Options
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.http1_reader import State

VECTORS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (Path(__file__).parent / "vectors").glob("*.json")
}
HTTP = [row["bytes"].encode("latin-1") for row in VECTORS["http1"]]
FRAMES = [(bytes.fromhex(row["frames"]), row.get("deflate", False)) for row in VECTORS["wsproto"]]


def unpacked(message: Any) -> str | bytes:
    if isinstance(message, dict):
        return base64.b64decode(message["base64"])
    return str(message)


def refusal(judged: Callable[[], Any]) -> tuple[str, int] | None:
    """What a room says against something, if it does."""
    try:
        events = judged()
    except RemoteProtocolError as error:
        return str(error), error.code
    last = events[-1] if isinstance(events, list) and events else None
    return (str(last), last.code) if isinstance(last, RemoteProtocolError) else None


def sound(layers: Iterable[Layer], wanted: tuple[str, int] | None) -> None:
    """What must be true of all layers: the room's verdict, a place for it, fields inside."""
    layers = list(layers)
    fault = first_fault(layers)
    assert (fault and (fault.reason, fault.code)) == wanted
    for layer in (inner for outer in layers for inner in outer.walk()):
        assert layer.summary
        assert layer.fault is None or 0 <= layer.fault.at <= len(layer.data)
        for field in layer.fields:
            assert 0 <= field.start <= field.end <= len(layer.data), field
            assert field.name
            assert field.value.isprintable(), field
    json.dumps([as_json(layer) for layer in layers], allow_nan=False)


def faulty(layers: Iterable[Layer]) -> Layer:
    found = [inner for layer in layers for inner in layer.walk() if inner.fault]
    return found[0]


def before_and_at(layers: Iterable[Layer]) -> tuple[bytes, bytes]:
    """The bytes of the faulty layer before the guilty one, and those from there on."""
    layer = faulty(layers)
    assert layer.fault is not None
    return layer.data[: layer.fault.at], layer.data[layer.fault.at :]


# -- every vector ------------------------------------------------------------------------


def http_refusal(pieces: list[bytes]) -> tuple[str, int] | None:
    room = http1.Connection()
    events: list[http1.Event] = []
    for piece in pieces:
        events += room.receive(piece)
        while room.state is State.DONE:
            events += room.next_request()
            if not room.buffered:
                break
    return refusal(lambda: events)


@pytest.mark.parametrize("cut", [False, True])
def test_http_has_the_verdict_of_its_room(cut: bool) -> None:
    for data in HTTP:
        requests = anatomy_http.Requests()
        pieces = [data[at : at + 1] for at in range(len(data))] if cut else [data]
        layers = [layer for piece in pieces for layer in requests.receive(piece)]
        rest = requests.rest()
        wanted = http_refusal(pieces)
        sound([*layers, *([rest] if rest else [])], wanted)
        if wanted is None:
            parts = [layer.data for layer in layers if layer.name != "bytes"]
            assert b"".join(parts) + (rest.data if rest else b"") == data


def frames_of(data: bytes, *, deflate: bool) -> tuple[Frames, list[Layer]]:
    frames = Frames(CLIENT, no_layers, deflate=deflate)
    return frames, frames.receive(data)


@pytest.mark.parametrize("cut", [False, True])
def test_frames_have_the_verdict_of_their_room(cut: bool) -> None:
    for data, deflate in FRAMES:
        room = wsproto.Connection(inflater=Inflater if deflate else None)
        frames = Frames(CLIENT, no_layers, deflate=deflate)
        pieces = [data[at : at + 1] for at in range(len(data))] if cut else [data]
        layers = [layer for piece in pieces for layer in frames.receive(piece)]
        rest = frames.rest()
        wanted = refusal(lambda: room.receive(data))  # noqa: B023  # called at once
        sound([*layers, *([rest] if rest else [])], wanted)


def innocent(layers: list[Layer]) -> bytes | None:
    """What stands before the guilty byte; None if there is none."""
    read = b""
    for layer in layers:
        if layer.fault is not None:
            return read + layer.data[: layer.fault.at]
        read += layer.data
    return None


def test_nothing_before_the_guilty_byte_is_refused() -> None:
    found = 0
    for data in HTTP:
        before = innocent(anatomy_http.Requests().receive(data))
        if before is not None:
            found += 1
            assert http_refusal([before]) is None, (data, before)
    for data, deflate in FRAMES:
        before = innocent(frames_of(data, deflate=deflate)[1])
        if before is not None:
            found += 1
            room = wsproto.Connection(inflater=Inflater if deflate else None)
            assert refusal(lambda: room.receive(before)) is None, (data, before)  # noqa: B023
    rows = [*VECTORS["http1"], *VECTORS["wsproto"]]
    assert found == sum(row["fault"] is not None for row in rows)


def test_engine_io_payloads_have_the_verdict_of_their_room() -> None:
    vectors = VECTORS["engineio"]
    for row in (*vectors["payloads"], *vectors["encoded"], *vectors["refused_payloads"]):
        payload = row["payload"]
        session = engineio.Session("x", "polling", Options(), 0.0)
        wanted = refusal(lambda: session.receive_payload(payload, 0.0))  # noqa: B023
        sound([anatomy_engineio.Packets(CLIENT, no_layers).payload(payload)], wanted)
        assert (wanted is None) == (row not in vectors["refused_payloads"])


def test_engine_io_queries_have_the_verdict_of_their_room() -> None:
    for row in VECTORS["engineio"]["queries"]:
        upgrade = row.get("upgrade", False)
        layer = anatomy_engineio.query_layer(
            row["method"], row["query"], Options(), upgrade=upgrade
        )
        code = row.get("code")
        told = f"{engineio_query.ERRORS.get(code)} (Engine.IO 4, Query parameters)"
        sound([layer], None if code is None else (told, code))


def test_engine_io_errors_are_content() -> None:
    for row in VECTORS["engineio"]["errors"]:
        body = row["body"].encode()
        head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)
        head_layer, content = anatomy_http.Responses().receive(head + body)
        sound([head_layer, content], None)
        assert content.data == body


def test_old_payloads_have_the_verdict_of_their_room() -> None:
    vectors = VECTORS["engineio_v3"]
    for kind in ("both_ways", "base64", "bytes", "also_read", "refused"):
        for row in vectors[kind]:
            payload = row["text"] if "text" in row else bytes.fromhex(row["hex"])
            wanted = refusal(lambda: list(engineio_v3.Revision3().split(payload)))  # noqa: B023
            sound([anatomy_engineio_v3.OldPackets(SERVER, no_layers).payload(payload)], wanted)
            assert (wanted is None) == (kind != "refused")
    for row in vectors["websocket"]:
        message = row["message"]
        message = bytes.fromhex(message["hex"]) if isinstance(message, dict) else message
        sound([anatomy_engineio_v3.OldPackets(SERVER, no_layers).message(message)], None)
    for row in vectors["forms"]:
        payload = engineio_v3.from_form(row["field"])
        wanted = refusal(lambda: list(engineio_v3.Revision3().split(payload)))  # noqa: B023
        sound([anatomy_engineio_v3.OldPackets(SERVER, no_layers).payload(payload)], wanted)


def test_socket_io_packets_have_the_verdict_of_their_room() -> None:
    vectors = VECTORS["socketio"]
    for row in (*vectors["packets"], *vectors["encoded"]):
        packets = anatomy_socketio.Packets(CLIENT)
        sound([packets.receive(unpacked(message)) for message in row["messages"]], None)
    for message in vectors["refused"]:
        wanted = refusal(lambda: socketio.Decoder().receive(message))  # noqa: B023
        assert wanted is not None
        sound([anatomy_socketio.Packets(CLIENT).receive(message)], wanted)


def test_placeholder_without_an_attachment_is_found_in_the_packet_that_has_it() -> None:
    for number in VECTORS["socketio"]["refused_placeholders"]:
        packets = anatomy_socketio.Packets(CLIENT)
        start = '51-["x",[{"a":{"_placeholder":true,"num":'
        announced = packets.receive(f"{start}{number}}}}}]]")
        attachment = packets.receive(b"x")
        assert announced.fault is not None
        assert attachment.fault is not None
        assert announced.fault.reason == attachment.fault.reason
        found = announced.data[announced.fault.at :].decode()
        assert f"{number}}}}}]]".endswith(found), (number, found)


# -- the guilty byte -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "guilty_one"),
    [
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("Content-Length: ", "+5")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("Content-Length: 5", ", 5")),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n", ("Content-Length", ": 5")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("Transfer-Encoding: chunked", ", gzip")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("Transfer-Encoding", " : chunked")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("X: a", "\0b")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("X: a", "\nY: b")),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n", ("", " folded")),
        ("GET / HTTP/1.1\r\n", ("Host: a:6553", "6")),
        ("GET http://b/ HTTP/1.1\r\n", ("Host: ", "a")),
        ("GET / HTTP/1.1\r\nHost: a\r\n", ("Host", ": a")),
        ("", ("GET /a", "#b HTTP/1.1")),
        ("", ("GET / HTTP/", "2.0\r\nHost: a")),
        ("", ("GET / HTTP/1.", "2\r\nHost: a")),
        ("", ("GET / ", "http/1.1")),
        ("GET / HTTP/1.1\r\n", ("", "")),  # there the Host lacks
    ],
)
def test_guilty_byte_of_a_request(head: str, guilty_one: tuple[str, str]) -> None:
    good, bad = guilty_one
    data = f"{head}{good}{bad}\r\n\r\n" if good + bad else f"{head}\r\n"
    before, rest = before_and_at(anatomy_http.Requests().receive(data.encode("latin-1")))
    assert before.decode("latin-1") == head + good
    assert rest.decode("latin-1").startswith(bad)


@pytest.mark.parametrize(
    ("chunk", "at"),
    [("5_0\r\n", 1), ("5 \r\n", 1), ("5\r\nhelloXX", 8), ("0\r\nHost: a\r\n\r\n", 7)],
)
def test_guilty_byte_of_a_chunk(chunk: str, at: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    layers = anatomy_http.Requests().receive(head + b"2\r\nab\r\n" + chunk.encode())
    assert [layer.name for layer in layers[:3]] == ["HTTP request", "HTTP chunk", "HTTP chunk"]
    fault = faulty(layers).fault
    assert fault is not None
    assert fault.at == at


@pytest.mark.parametrize(
    ("frames", "at"),
    [
        ("c1 81 37 fa 21 3d 56", 0),  # RSV1
        ("83 81 37 fa 21 3d 56", 0),  # the opcode
        ("81 05 48 65 6c 6c 6f", 1),  # no mask
        ("09 80 37 fa 21 3d", 0),  # a ping without FIN
        ("89 fe 00 7e", 1),  # a ping over 125 bytes
        ("80 80 37 fa 21 3d", 0),  # a continuation of nothing
        ("81 fe 00 05", 3),
        ("82 ff 80 00 00 00 00 00 00 00", 2),  # the top bit of a length
        ("81 82 37 fa 21 3d 56 7a", 7),  # 0x80, in UTF-8
        ("88 81 37 fa 21 3d 34", 1),  # half a code
        ("88 82 37 fa 21 3d 34 17", 7),  # code 1005
        ("88 82 37 fa 21 3d 24 72", 7),  # code 5000: one of 4999 would do
        ("88 82 37 fa 21 3d 33 b6", 6),  # code 1100, and there is none that begins so
        ("88 83 37 fa 21 3d 34 12 de", 8),  # a reason that is not UTF-8
    ],
)
def test_guilty_byte_of_a_frame(frames: str, at: int) -> None:
    fault = faulty(Frames(CLIENT, no_layers).receive(bytes.fromhex(frames))).fault
    assert fault is not None
    assert fault.at == at


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("", "9"),
        ("", "\uff12"),
        ("2", "{}"),
        ('2["a"', ""),
        ('2["a",', "NaN]"),
        ('2["a",1e40', "0]"),
        ('2["connect', '"]'),
        ('2["', '\n"]'),
        ("21", '-["x"]'),
        ("5", '["x"]'),
        ("51", '1-["x"]'),
        ('0/a,{"b":', "}"),
        ("", '442["a"'),
        ('2["a",' + "[" * 64, "[" + "]" * 66),
        ("2/" + "a" * 255, "a,[]"),
    ],
)
def test_guilty_character_of_a_socket_io_packet(good: str, bad: str) -> None:
    layer = anatomy_socketio.Packets(CLIENT).receive(good + bad)
    assert before_and_at([layer]) == (good.encode(), bad.encode())


@pytest.mark.parametrize(
    ("good", "bad"), [("4a\x1e", ""), ("1", "x"), ("bAA", "-_"), ("4one\x1ebA", "\x1e4two")]
)
def test_guilty_character_of_a_payload(good: str, bad: str) -> None:
    layer = anatomy_engineio.Packets(CLIENT, no_layers).payload(good + bad)
    assert before_and_at([layer]) == (good.encode(), bad.encode())


@pytest.mark.parametrize(
    ("good", "bad"), [("2:4", ""), ("2:4a", " "), ("9" * 10, "9:4a"), ("2:4a6:b", "0AQID")]
)
def test_guilty_character_of_an_old_payload(good: str, bad: str) -> None:
    layer = anatomy_engineio_v3.OldPackets(CLIENT, no_layers).payload(good + bad)
    assert before_and_at([layer]) == (good.encode(), bad.encode())


def test_guilty_finds_where_nothing_can_become_right() -> None:
    def is_even(text: str) -> bool:
        return text.isdigit() and int(text) % 2 == 0

    assert guilty("1357x2", is_even, lambda _: ["", "0"]) == 4
    assert guilty("135", is_even, lambda _: ["", "0"]) == 3  # only something is missing


# -- what is shown -------------------------------------------------------------------------


def field(layer: Layer, name: str) -> Any:
    return next(one for one in layer.fields if one.name == name)


def test_frame_shows_its_bits() -> None:
    (layer,) = Frames(CLIENT, no_layers).receive(bytes.fromhex("818537fa213d7f9f4d5158"))
    assert layer.summary == 'text FIN=1 MASK=1, 5 bytes "Hello"'
    names = [(one.name, one.value, one.bits) for one in layer.fields]
    assert names == [
        ("FIN", "1", "1... ...."),
        ("RSV1-3", "000", ".000 ...."),
        ("opcode", "0x1", ".... 0001"),
        ("MASK", "1", "1... ...."),
        ("payload len", "5", ".000 0101"),
        ("masking key", "37fa213d", ""),
        ("payload data", '"Hello"', ""),
    ]
    assert field(layer, "payload data").meaning == "unmasked: 7f^37=48, 9f^fa=65 …"


def test_long_frame_shows_its_extended_length() -> None:
    (layer,) = Frames(SERVER, no_layers).receive(b"\x82\x7e\x01\x00" + bytes(256))
    assert field(layer, "extended len").value == "256"
    assert field(layer, "payload data")[:2] == (4, 260)


def test_frame_of_a_server_must_not_be_masked() -> None:
    frames = Frames(SERVER, no_layers)
    (layer,) = frames.receive(b"\x81\x80\x00\x00\x00\x00")
    room = wsproto_client.Connection(lambda: b"1234")
    assert layer.fault == Fault(1, *(refusal(lambda: room.receive(b"\x81\x80\0\0\0\0")) or ()))


def test_message_is_put_together_and_inflated() -> None:
    carried: list[str | bytes] = []

    def note(message: str | bytes) -> list[Layer]:
        carried.append(message)
        return []

    frames = Frames(SERVER, note, deflate=True)
    one, other = frames.receive(bytes.fromhex("4103f248cd 8004c9c90700"))
    assert (one.inner, carried) == ([], ["Hello"])
    (message,) = other.inner
    assert message.summary == "text message of 5 bytes, from all its fragments, inflated"
    assert message.data == b"Hello"
    assert frames.receive(bytes.fromhex("c107f248cdc9c90700"))[0].inner[0].data == b"Hello"


def test_close_frame_shows_code_and_reason() -> None:
    (layer,) = Frames(SERVER, no_layers).receive(b"\x88\x06\x03\xe9bye!")
    assert field(layer, "code").meaning.startswith("going away")
    assert field(layer, "reason").value == '"bye!"'


def test_nothing_is_read_behind_a_close_frame() -> None:
    frame, rest = Frames(SERVER, no_layers).receive(b"\x88\x00\x81\x00")
    assert (frame.summary, rest.summary) == (
        "close FIN=1 MASK=0, 0 bytes",
        "2 bytes behind a close frame, not read",
    )


@pytest.mark.parametrize(
    ("data", "missing"), [("81", -1), ("8185", 9), ("818537fa213d7f9f", 3), ("81fe01", -1)]
)
def test_frame_says_how_many_bytes_are_missing(data: str, missing: int) -> None:
    frames = Frames(CLIENT, no_layers)
    assert frames.receive(bytes.fromhex(data)) == []
    rest = frames.rest()
    assert rest is not None
    assert rest.missing == missing
    assert as_json(rest)["missing"] == (None if missing < 0 else missing)


def test_http_says_how_many_bytes_are_missing() -> None:
    for body, missing in ((b"Content-Length: 5\r\n\r\nhel", 2), (b"X: a", -1)):
        requests = anatomy_http.Requests()
        requests.receive(b"POST / HTTP/1.1\r\nHost: a\r\n" + body)
        rest = requests.rest()
        assert rest is not None
        assert rest.missing == missing
    requests = anatomy_http.Requests()
    requests.receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
    rest = requests.rest()
    assert rest is not None
    assert rest.missing == 5


def test_socket_io_event_shows_its_parts() -> None:
    layer = anatomy_socketio.Packets(CLIENT).receive('52-/é,12["ü",{"_placeholder":true,"num":1}]')
    assert [(one.name, one.value) for one in layer.fields] == [
        ("packet type", "5"),
        ("attachments", "2"),
        ("namespace", "/é"),
        ("ack id", "12"),
        ("event name", '"ü"'),
        ("argument 1", '{"_placeholder":true,"num":1}'),
    ]
    parts = [layer.data[one.start : one.end].decode() for one in layer.fields]
    assert parts == ["5", "2-", "/é,", "12", '"ü"', '{"_placeholder":true,"num":1}']


def test_handshake_shows_the_accept_of_the_rfc() -> None:
    head = (
        b"GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    (layer,) = anatomy_http.Requests().receive(head + b"Sec-WebSocket-Version: 13\r\n\r\n")
    (handshake,) = layer.inner
    assert handshake.summary.endswith("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    (layer,) = anatomy_http.Requests().receive(head + b"Sec-WebSocket-Version: 8\r\n\r\n")
    assert layer.fault is None
    before, rest = before_and_at([layer])
    assert before == head + b"Sec-WebSocket-Version: "
    assert rest.startswith(b"8")


def test_answers_are_read_by_what_was_asked() -> None:
    responses = anatomy_http.Responses()
    responses.expect("HEAD")
    responses.expect("GET", upgrade=True)
    layers = responses.receive(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    )
    assert [layer.summary.split()[1] for layer in layers] == ["200", "100", "101"]
    assert responses.take_rest() == b"\x81\x00"


def test_answer_that_ends_with_its_connection() -> None:
    seen: list[bytes] = []

    def note(head: http1_client.Response, content: bytes) -> list[Layer]:
        seen.append(content)
        return []

    responses = anatomy_http.Responses(note)
    _, part = responses.receive(b"HTTP/1.1 200 OK\r\n\r\nhello")
    assert (part.data, seen) == (b"hello", [])
    responses.end()
    assert seen == [b"hello"]


def test_json_parts_are_those_that_can_be_read() -> None:
    assert list(json_parts('[1, "a]" ,{', 0)) == [("0", 1, 2), ("1", 4, 8)]
    assert list(json_parts('{"a" : [1] , "b":2}', 0)) == [("a", 7, 10), ("b", 17, 18)]
    assert list(json_parts("x", 0)) == list(json_parts("[]", 0)) == []
    assert list(json_parts("[" * 100_000, 0)) == []


def test_values_are_shown_on_one_line() -> None:
    assert shown("a\x1b[2J\n\u2028é") == '"a\\x1b[2J\\n\\u2028é"'
    assert shown("x" * 61) == '"' + "x" * 60 + "…"
    assert shown(bytes(40)) == "00" * 30 + "… (40 bytes)"


def test_garbage_is_explained_too() -> None:
    """Seeded: what no vector has, cut anywhere, still gets its room's verdict."""
    chance = random.Random(20261126)
    texts = [json.dumps(row) for rows in VECTORS["socketio"].values() for row in rows]
    for _ in range(100):
        data = bytearray(chance.choice([*HTTP, *(frames for frames, _ in FRAMES)]))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        wanted = http_refusal([bytes(data)])
        requests = anatomy_http.Requests()
        sound([*requests.receive(bytes(data)), *filter(None, [requests.rest()])], wanted)
        room = wsproto.Connection()
        wanted = refusal(lambda: room.receive(bytes(data)))  # noqa: B023
        sound(Frames(CLIENT, no_layers).receive(bytes(data)), wanted)
        text = chance.choice(texts)[: chance.randrange(40)]
        wanted = refusal(lambda: socketio.Decoder().receive(text))  # noqa: B023
        sound([anatomy_socketio.Packets(CLIENT).receive(text)], wanted)


# -- secrets -------------------------------------------------------------------------------


def everything(layers: Iterable[Layer]) -> str:
    return json.dumps([as_json(layer) for layer in layers])


def test_secrets_are_hidden_in_all_layers_that_show_them() -> None:
    def carried(message: str | bytes) -> list[Layer]:
        return [packets.message(message)]

    events = anatomy_socketio.Packets(CLIENT)
    packets = anatomy_engineio.Packets(CLIENT, lambda message: [events.receive(message)])
    frames = Frames(CLIENT, carried)
    key = b"\1\2\3\4"
    frame = wsproto_client.masked_frame(wsproto.text_frame('40{"token":"hush hush"}'), key)
    layers = hidden(frames.receive(frame))
    secret = "hush hush"
    masked = wsproto.unmask(secret.encode(), b"\4\1\2\3")
    text = everything(layers)
    assert secret not in text
    assert secret.encode().hex() not in text
    assert masked.hex() not in text
    assert "token" in text


@pytest.mark.parametrize("name", ["Cookie", "Authorization", "Proxy-Authorization"])
def test_secret_fields_of_a_head_are_hidden(name: str) -> None:
    head = f"GET /?EIO=4&transport=polling&sid=abcdefgh HTTP/1.1\r\nHost: a\r\n{name}: hush\r\n\r\n"
    (layer,) = hidden(anatomy_http.Requests().receive(head.encode()))
    text = everything([layer])
    assert "hush" not in text
    assert b"hush".hex() not in text
    assert "abcd****" in layer.summary
    assert "abcdefgh" not in text
    assert b"efgh".hex() not in text


def test_no_part_of_a_secret_is_left_where_it_was_cut() -> None:
    words = "hush " * 50
    frame = wsproto_client.masked_frame(wsproto.text_frame(f'40{{"a":"{words}"}}'), b"\1\2\3\4")
    (layer,) = hidden(Frames(CLIENT, no_layers).receive(bytes((frame[0] & 0x7F,)) + frame[1:]))
    assert layer.summary.startswith("text FIN=0 MASK=1, ")
    assert "hush" not in everything([layer])
    head = f"GET /?{'a' * 170}&EIO=4&transport=polling&sid=abcdefghijkl HTTP/1.1\r\nHost: a\r\n\r\n"
    assert "abcde" not in everything(hidden(anatomy_http.Requests().receive(head.encode())))
    answer = f"HTTP/1.1 200 OK\r\nSet-Cookie: a={words}\r\nContent-Length: 0\r\n\r\n"
    assert "hush" not in everything(hidden(anatomy_http.Responses().receive(answer.encode())))


@pytest.mark.parametrize("before", ["9", "1", "42[]"])
def test_secret_in_what_is_not_read_is_hidden(before: str) -> None:
    events = anatomy_socketio.Packets(CLIENT)
    packets = anatomy_engineio.Packets(CLIENT, lambda message: [events.receive(message)])
    (layer,) = hidden([packets.payload(f'{before}\x1e40{{"token":"hush hush"}}')])
    text = everything([layer])
    assert "hush" not in text
    assert b"hush".hex() not in text


def test_what_has_no_secret_stays_as_it_is() -> None:
    layers = Frames(SERVER, no_layers).receive(b"\x81\x02hi")
    assert hidden(layers) == layers


# -- what is long --------------------------------------------------------------------------


def test_place_in_what_is_long_is_found_in_few_questions() -> None:
    """A traced server would stand still meanwhile."""
    asked: list[int] = []

    def is_right(start: str) -> bool:
        asked.append(len(start))
        return "x" not in start

    assert guilty("a" * 10_000 + "x" * 10_000_000, is_right, lambda _: [""]) == 10_000
    assert len(asked) < 20
    assert max(asked) <= MAX_SEARCHED


def test_fault_far_into_a_long_packet_is_where_the_room_says() -> None:
    message = '2["a",' + "1," * 100_000 + "NO]"
    layer = anatomy_socketio.Packets(CLIENT).receive(message)
    assert before_and_at([layer]) == (message[:-3].encode(), b"NO]")
    payload = "\x1e".join(["4" + "a" * 1000] * 100 + ["4b", "9"])
    layer = anatomy_engineio.Packets(CLIENT, no_layers).payload(payload)
    assert before_and_at([layer]) == (payload[:-1].encode(), b"9")


def test_fault_far_into_a_long_frame_is_found_about_there() -> None:
    text = b"x" * 100_000 + b"\xff" + b"x" * 1000
    frame = wsproto_client.masked_frame(wsproto.binary_frame(text), b"\1\2\3\4")
    (layer,) = Frames(CLIENT, no_layers).receive(b"\x81" + frame[1:])
    assert layer.fault is not None
    assert 0 <= 100_000 + 14 - layer.fault.at < 256
