"""What comes from other servers, python-socketio's too: what is obeyed, and what is dropped.

The texts of python-socketio are its own, as `tests/vectors/cluster.json` keeps them.
"""

from __future__ import annotations

import base64
import json
import logging
import random
from typing import Any

import pytest
from test_cluster import TEXTS, THEIRS, VECTORS, Server, pair

from redbarrel_lite import cluster_messages
from redbarrel_lite.cluster import QUIET_S
from redbarrel_lite.cluster_messages import dumps, loads
from redbarrel_lite.strictjson import MAX_DEPTH

# -- what python-socketio says -----------------------------------------------------------------


@pytest.mark.parametrize("row", VECTORS["messages"], ids=lambda row: row["what"])
def test_texts_of_python_socketio_are_obeyed(row: dict[str, Any]) -> None:
    one = Server("/", "/chat")
    a, b = one.client(), one.client("/chat")
    for peer in (a, b):
        for room in ("r1", "a", "b"):  # in two of them: heard once
            peer.socket.join(room)
    one.obey(row["text"])
    heard = a.hears() + b.hears()
    assert heard == [
        said if isinstance(said, str) else base64.b64decode(said["base64"])
        for said in row.get("hears", ())
    ]


def test_session_id_is_a_room_to_python_socketio() -> None:
    one = Server()
    a, b, c = one.client(), one.client(), one.client()
    b.socket.join("red")
    message = {"method": "emit", "event": "e", "data": ["x"], "host_id": THEIRS}
    one.cluster.receive({**message, "room": a.sid})
    one.cluster.receive({**message, "room": [a.sid, "red", c.sid], "skip_sid": c.sid})
    assert a.hears() == ['2["e","x"]'] * 2
    assert b.hears() == ['2["e","x"]']
    assert c.hears() == []


def test_rooms_are_entered_left_and_closed_from_outside() -> None:
    one = Server()
    a, b = one.client(), one.client()
    for peer in (a, b):
        one.obey(TEXTS["enter_room"].replace('"S"', f'"{peer.sid}"'))
    assert a.socket.rooms == b.socket.rooms == {"red"}
    one.hub.broadcast("x", room="red")
    one.obey(TEXTS["leave_room"].replace('"S"', f'"{a.sid}"'))
    one.hub.broadcast("y", room="red")
    assert a.socket.rooms == frozenset()
    assert a.hears() == ['2["message","x"]']
    assert b.hears() == ['2["message","x"]', '2["message","y"]']
    one.obey(TEXTS["close_room"])
    assert b.socket.rooms == frozenset()
    assert "red" not in one.hub.namespaces["/"].rooms


def test_client_is_turned_out_from_outside() -> None:
    one = Server()
    a, b = one.client(), one.client()
    one.obey(TEXTS["disconnect"].replace('"S"', f'"{a.sid}"'))
    assert (a.hears(), b.hears()) == (["1"], [])


def test_acknowledgements_go_back_to_who_has_asked() -> None:
    one = Server()
    a, b = one.client(), one.client()
    text = TEXTS["emit with a callback"]
    one.obey(text.replace('"S"', f'"{a.sid}"'))
    assert (a.hears(), b.hears()) == (['20["q",{"a":1}]'], [])
    a.say('30["yes",{"n":2}]')
    theirs = json.loads(TEXTS["callback"])
    theirs |= {"host_id": THEIRS, "sid": a.sid, "id": 1}
    assert one.link.take() == [theirs]
    one.obey(text.replace('"room": "S"', '"room": null'))
    assert a.hears() == ['21["q",{"a":1}]']
    assert b.hears() == ['20["q",{"a":1}]']
    b.say('30["no"]')
    assert one.link.take()[0]["args"] == ["no"]
    a.say('61-1[{"_placeholder":true,"num":0}]', b"\x00")  # JSON has no bytes
    assert one.link.take() == []
    assert one.cluster.dropped == 1


# -- what makes no sense -----------------------------------------------------------------------

EMIT = {"method": "emit", "event": "e", "data": ["x"], "namespace": "/"}
BINARY = {**EMIT, "binary": True}


def placed(number: Any, *attachments: Any) -> dict[str, Any]:
    return {**BINARY, "data": [[{"_placeholder": True, "num": number}], *attachments]}


STRANGE: list[Any] = [None, [], {}, "abc", 0, ["a", "/"], ["a", "/", 1, 2], {"a": 1}]
NO_NAMES = "is neither a text nor a list of them"
NO_JSON = "Out of range float values are not JSON compliant"
HOSTILE: dict[str, list[Any]] = {
    "it is no object": [None, [], "emit"],
    "its method is no text": [{}, {"method": None}, {"method": ["emit"]}],
    "its event is no text": [{"method": "emit"}, {**EMIT, "event": 1}, {**EMIT, "event": None}],
    "'disconnect' is the name of an event": [{**EMIT, "event": "disconnect"}],
    "its namespace is no text": [
        {**EMIT, "namespace": 1},
        {**EMIT, "namespace": ["/"]},
        {"method": "close_room", "room": "a", "namespace": 0},
    ],
    f"its room {NO_NAMES}": [
        {**EMIT, "room": room} for room in (1, {"a": 1}, ["a", 1], [["a"]], [None], {})
    ],
    f"its skip_sid {NO_NAMES}": [{**EMIT, "skip_sid": 1}, {**EMIT, "skip_sid": [None]}],
    "its room is no text": [
        {**EMIT, "room": ["a", "b"], "redbarrel": {"home": "app.rbr"}},
        {"method": "enter_room", "sid": "a"},
        {"method": "enter_room", "sid": "a", "room": 1},
        {"method": "leave_room", "sid": "a", "room": None},
        {"method": "close_room"},
        {"method": "close_room", "room": []},
    ],
    "its sid is no text": [
        {"method": "disconnect"},
        {"method": "disconnect", "sid": ["a"]},
        {"method": "enter_room", "sid": {}, "room": "a"},
        {"method": "leave_room", "room": "a"},
    ],
    "its callback is no list of three": [
        {**EMIT, "callback": one} for one in STRANGE if one is not None
    ],
    "its host_id is no text": [
        {**EMIT, "callback": ["a", "/", 1]},  # and nobody to tell
        {**EMIT, "callback": ["a", "/", 1], "host_id": 1},
    ],
    "its redbarrel is no object": [{**EMIT, "redbarrel": 1}, {**EMIT, "redbarrel": None}],
    "its home is no text": [{**EMIT, "redbarrel": {"home": 1}}],
    "its to is no text": [{**EMIT, "redbarrel": {"to": 1}}, {**EMIT, "redbarrel": {"to": None}}],
    NO_JSON: [{**EMIT, "data": [float("nan")]}, {**EMIT, "data": [float("inf")]}],
    "object is not JSON": [{**EMIT, "data": [{"x": object()}]}],
    "its binary data is no list": [
        {**BINARY, "data": one} for one in STRANGE if one == [] or not isinstance(one, list)
    ],
    "its binary data has no place": [{**BINARY, "data": ["x"]}, {**BINARY, "data": [None, "AA=="]}],
    "placeholder for attachment": [placed(0), placed(-1, "AA=="), placed(True, "AA==")],
    "an attachment of it is not base64": [
        placed(0, one) for one in ("A", "AA=\u00e9", "AA*==", 5, None, ["AA=="])
    ],
}


@pytest.mark.parametrize(
    ("why", "message"),
    [(why, message) for why, messages in HOSTILE.items() for message in messages],
    ids=lambda one: ascii(one)[:70],
)
def test_what_makes_no_sense_is_dropped_and_counted(
    why: str, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = Server()
    a = one.client()
    one.cluster.receive(message)
    assert one.cluster.dropped == 1
    assert a.hears() == []
    assert why in caplog.records[0].getMessage()
    one.cluster.receive(EMIT)
    assert a.hears() == ['2["e","x"]']


DEEP = 2000
NOT_AN_EMIT = b'{"method":"emit","event":"e","data":%b}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it begins with no brace"),
        (b" {}", "it begins with no brace"),
        (b"[1]", "it begins with no brace"),
        (b"{", "Expecting property name"),
        (b'{"method":"emit"', "Expecting ',' delimiter"),
        (b'{"method":"\xff"}', "it is not UTF-8"),
        (b'{"a":1}{"a":1}', "Extra data"),
        (NOT_AN_EMIT % b"[NaN]", "NaN is not JSON"),
        (NOT_AN_EMIT % b"[1e999]", "1e999 is too large"),
        (NOT_AN_EMIT % (b"1" * 5000), "a number of 5000 digits"),
        (NOT_AN_EMIT % (b"[" * 67 + b"]" * 67), "it is nested over 67 levels deep"),
        (NOT_AN_EMIT % (b"[" * DEEP + b"]" * DEEP), "it is nested over 67 levels deep"),
    ],
    ids=lambda one: ascii(one[:40]),
)
def test_text_that_is_no_message_is_dropped_and_counted(
    text: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    one = Server()
    a = one.client()
    one.cluster.receive_text(text)
    assert one.cluster.dropped == 1
    assert a.hears() == []
    assert why in caplog.records[0].getMessage()


def test_text_may_have_so_many_bytes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = Server()
    a = one.client()
    text = dumps(EMIT)
    monkeypatch.setattr(cluster_messages, "MAX_TEXT_BYTES", len(text))
    one.cluster.receive_text(text)
    one.cluster.receive_text(text + b" ")
    assert len(a.hears()) == 1
    what = f"it has {len(text) + 1} bytes, over {len(text)}"
    assert what in caplog.records[0].getMessage()


def test_depth_that_a_client_may_send_arrives() -> None:
    one, two = pair()
    a = two.client()
    deep: Any = "x"
    for _ in range(MAX_DEPTH):
        deep = [deep]
    one.hub.broadcast(deep)
    one.hub.emit("e", deep, b"")
    assert len(a.hears()) == 3
    assert two.cluster.dropped == 0
    two.cluster.receive({**EMIT, "data": [[deep]]})
    assert two.cluster.dropped == 1


def test_attachment_in_many_places_is_held_to_a_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster_messages, "MAX_PLACED_BYTES", 100)
    one = Server()
    a = one.client()
    place = {"_placeholder": True, "num": 0}
    for times in (10, 11):
        data = [[dict(place) for _ in range(times)], base64.b64encode(bytes(10)).decode()]
        one.cluster.receive({**EMIT, "binary": True, "data": data})
    assert len(a.hears()) == 11
    assert one.cluster.dropped == 1
    assert "attachments of over 100 bytes, repeated" in caplog.records[0].getMessage()


def test_what_is_not_known_is_left_alone() -> None:
    one = Server()
    a = one.client()
    for method in ("callback", "fetch_sockets", ""):
        one.cluster.receive({"method": method, "anything": 1})
    one.cluster.receive({**EMIT, "namespace": "/other"})
    one.cluster.receive({"method": "enter_room", "sid": "nobody", "room": "red"})
    one.cluster.receive({**EMIT, "more": 1, "redbarrel": {"more": 1}})
    one.cluster.receive({"method": "emit", "event": "old", "data": {"not": "a list"}})
    assert a.hears() == ['2["e","x"]', '2["old",{"not":"a list"}]']
    assert one.cluster.dropped == 0


def test_faults_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "redbarrel_lite")
    one = Server()
    for _ in range(3):
        one.cluster.receive({"method": 1})
    one.clock.advance(QUIET_S)
    one.cluster.receive({"method": "emit"})
    assert [record.getMessage() for record in caplog.records] == [
        "a message between servers was dropped: its method is no text",
        "a message between servers was dropped: its event is no text; 3 since this was told last",
    ]
    assert one.cluster.dropped == 4


def test_pickle_is_never_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "redbarrel_lite")
    one = Server()
    harm = b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93"
    for _ in range(3):
        one.cluster.receive_text(harm)
        one.clock.advance(QUIET_S)
    (record,) = caplog.records
    assert "its sender may be python-socketio before 5.14" in record.getMessage()
    assert one.cluster.dropped == 3


def test_no_change_of_a_message_raises() -> None:
    """The texts of python-socketio with one value, or a few bytes, replaced by chance."""
    chance = random.Random(5140)
    one = Server("/", "/chat")
    a = one.client()
    values: list[Any] = [
        None,
        True,
        -1,
        2**70,
        "",
        "/",
        a.sid,
        [],
        {},
        [None],
        [[]],
        {"a": []},
        "emit",
    ]
    for text in TEXTS.values():
        for _ in range(60):
            message = json.loads(text)
            message[chance.choice([*message, "redbarrel"])] = chance.choice(values)
            one.cluster.receive(message)
            garbled = bytearray(text.encode())
            for _ in range(chance.randint(1, 3)):
                garbled[chance.randrange(len(garbled))] = chance.randrange(256)
            one.cluster.receive_text(bytes(garbled))
    assert one.cluster.dropped > 100
    a.hears()
    if a.socket.connected():  # a message may have turned it out
        one.cluster.receive(EMIT)
        assert a.hears() == ['2["e","x"]']


def test_text_is_read_as_it_was_written() -> None:
    message: dict[str, Any] = {
        "method": "emit",
        "data": ["\u65e5", "\ud800", "\U0001f600", None, 1.5, {"a": []}],
    }
    assert loads(dumps(message)) == message
