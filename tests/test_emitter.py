"""What @socket.io/redis-emitter publishes, obeyed; its messages are in vectors/emitter.json."""

from __future__ import annotations

import json
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from fuzz.over_redis import packed
from test_cluster import Server
from test_raw import Place
from test_recovery import Recovering

from redbarrel_lite.cluster import Cluster
from redbarrel_lite.emitter import Emitter, as_json
from redbarrel_lite.msgpack import Timestamp

VECTORS = json.loads((Path(__file__).parent / "vectors/emitter.json").read_text("utf-8"))
SEED = 20110907
OPTS: dict[str, Any] = {"rooms": [], "except": [], "flags": {}}


class World(Server):
    """A server that emitters tell something."""

    def __init__(self, *namespaces: str, key: str = "socket.io", world: Any = None) -> None:
        super().__init__(*namespaces, world=world)
        self.emitter = Emitter(self.cluster, key)

    def hears(self, js: str) -> None:
        """What the npm package publishes for this."""
        (row,) = (row for row in VECTORS["emits"] if row["js"] == js)
        data = bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode()
        assert self.emitter.receive(row["channel"], data)
        assert self.cluster.dropped == 0
        assert self.link.take() == [], "nothing is passed on"

    def is_told(self, value: Any, channel: str = "socket.io#/#") -> None:
        assert self.emitter.receive(channel, packed(value, random.Random(SEED)))

    def is_asked(self, request: Any, channel: str = "socket.io-request#/#") -> None:
        assert self.emitter.receive(channel, json.dumps(request).encode())


def event(*data: Any, nsp: Any = "/", **opts: Any) -> list[Any]:
    return ["emitter", {"type": 2, "data": list(data), "nsp": nsp}, OPTS | opts]


# -- events ----------------------------------------------------------------------------------


def test_event_reaches_all_of_its_namespace() -> None:
    world = World("/", "/chat")
    a, b, c = world.client(), world.client(), world.client("/chat")
    world.hears("io.emit('evt',{a:1})")
    assert a.hears() == b.hears() == ['2["evt",{"a":1}]']
    assert c.hears() == []
    world.hears("io.of('/chat').emit('evt')")
    assert c.hears() == ['2/chat,["evt"]']
    assert a.hears() == []


def test_event_reaches_one_room() -> None:
    world = World("/", "/chat")
    a, b, c, d = world.client(), world.client(), world.client("/chat"), world.client()
    for peer, room in ((a, "r1"), (c, "r"), (d, "7")):
        peer.socket.join(room)
    world.hears("io.to('r1').emit('evt','x',2)")
    world.hears("io.of('chat').to('r').emit('evt',null)")
    world.hears("io.to(7).emit('evt')")
    assert a.hears() == ['2["evt","x",2]']
    assert b.hears() == []
    assert c.hears() == ['2/chat,["evt",null]']
    assert d.hears() == ['2["evt"]']


def test_event_reaches_several_rooms_once_and_not_who_is_excepted() -> None:
    world = World()
    a, b, c, d = (world.client() for _ in range(4))
    for peer, rooms in ((a, "r1 r2"), (b, "r2"), (c, "r1 r3"), (d, "r3")):
        for room in rooms.split():
            peer.socket.join(room)
    world.hears("io.to(['r1','r2']).except('r3').volatile.emit('evt')")
    assert a.hears() == b.hears() == ['2["evt"]']
    assert c.hears() == d.hears() == []
    b.socket.join("b")
    world.hears("io.in('r1').in('r2').except(['a','b']).emit('evt')")
    assert a.hears() == c.hears() == ['2["evt"]']
    assert b.hears() == []


def test_session_id_is_a_room() -> None:
    world = World()
    a, b = world.client(), world.client()
    world.is_told(event("one", rooms=[a.sid]), f"socket.io#/#{a.sid}#")
    world.is_told(event("others", **{"except": [a.sid]}))
    assert a.hears() == ['2["one"]']
    assert b.hears() == ['2["others"]']


def test_volatile_event_reaches_who_is_ready() -> None:
    world = World()
    a, b = world.client(), world.client()
    b.connection.ready = False
    world.is_told(event("v", flags={"volatile": True}))
    assert a.hears() == ['2["v"]']
    assert b.hears() == []
    world.is_told(event("v", flags={"volatile": False, "compress": True}))
    assert b.hears() == ['2["v"]']


def test_bytes_are_attachments_and_dates_are_texts() -> None:
    world = World()
    a = world.client()
    world.hears("io.emit('bin',{b:Buffer.from([0,1]),n:[Buffer.from('zz')]})")
    placeholders = '{"b":{"_placeholder":true,"num":0},"n":[{"_placeholder":true,"num":1}]}'
    assert a.hears() == [f'52-["bin",{placeholders}]', b"\0\1", b"zz"]
    world.hears("io.emit('when',new Date(0))")
    world.hears("io.emit('evt',undefined)")
    world.hears("io.compress(true).emit('evt')")
    assert a.hears() == ['2["when","1970-01-01T00:00:00.000Z"]', '2["evt",null]', '2["evt"]']
    world.is_told(["old", {"type": 5, "data": [1, b"x"], "nsp": "/"}, {"rooms": []}])
    assert a.hears() == ['51-["1",{"_placeholder":true,"num":0}]', b"x"]


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (Timestamp(1_500_000_000, 1_000_000), "2017-07-14T02:40:00.001Z"),
        (Timestamp(-1, 999_999_999), "1969-12-31T23:59:59.999Z"),
        ({"a": [float("nan"), float("inf"), 1.5]}, {"a": [None, None, 1.5]}),
        ([b"x", "y", None, True, 7], [b"x", "y", None, True, 7]),
    ],
)
def test_values_become_what_json_has(value: Any, json: Any) -> None:
    assert as_json(value) == json


def test_event_reaches_the_sockets_of_a_path_without_socketio() -> None:
    place = Place()
    cluster = Cluster()
    cluster.join({"app.rbr": place.hub})
    _, carrier = place.client()
    data = packed(event("message", "hi", nsp="/ws"), random.Random(SEED))
    assert Emitter(cluster).receive("socket.io#/ws#", data)
    assert carrier.said == ["hi"]


def test_who_is_away_hears_it_when_it_is_back_unless_it_is_excepted() -> None:
    recovering = Recovering("/", "/other")
    world = World(world=recovering)
    a, b, c = (recovering.client() for _ in range(3))
    for client, room in ((a, "red"), (b, "blue"), (c, "red")):
        client.peer.socket.join(room)
    world.is_told(event("first"))  # without an offset, nobody comes back
    for client in (a, b):
        client.hears()
        client.peer.client.end("transport close")
    world.is_told(event("all"))
    world.is_told(event("not red", **{"except": ["red"]}))
    world.is_told(event("red or blue", rooms=["red", "blue"]))
    a.connect()
    b.connect()
    assert [text for text in a.hears() if text.startswith("2")] == ['2["all"]', '2["red or blue"]']
    assert [text for text in b.hears() if text.startswith("2")] == [
        *('2["all"]', '2["not red"]', '2["red or blue"]')
    ]


def test_namespace_that_nobody_has_is_no_fault() -> None:
    world = World()
    world.hears("io.of('/chat').emit('evt')")
    assert world.cluster.dropped == 0


# -- requests --------------------------------------------------------------------------------


def test_sockets_join_and_leave_rooms() -> None:
    world = World()
    a, b, c = (world.client() for _ in range(3))
    a.socket.join("r1")
    c.socket.join("r2")
    world.hears("io.in('r1').socketsJoin('r9')")
    assert a.socket.rooms == {"r1", "r9"}
    assert b.socket.rooms == set()
    world.hears("io.socketsJoin(['a','b'])")
    assert b.socket.rooms == {"a", "b"}
    world.is_asked({"type": 2, "opts": {"rooms": [c.sid]}, "rooms": ["r9", 7]})
    assert c.socket.rooms == {"a", "b", "r2", "r9", "7"}
    world.hears("io.except('r2').socketsLeave(['r9'])")
    assert a.socket.rooms == {"r1", "a", "b"}
    assert "r9" in c.socket.rooms


def test_sockets_are_turned_out_of_a_namespace_or_altogether() -> None:
    world = World("/", "/chat")
    a, b, c = world.client(), world.client(), world.client("/chat")
    a.socket.join("a")
    world.hears("io.in(['a','b']).disconnectSockets(true)")
    assert a.hears() == ["1"]
    assert a.connection.hung_up == [(1000, "")]
    assert b.hears() == []
    world.hears("io.disconnectSockets()")
    assert b.hears() == ["1"]
    assert b.connection.hung_up == []
    assert c.hears() == []
    assert len(world.hub.namespace("/").sockets) == 0


def test_raw_sockets_are_closed_once() -> None:
    place = Place()
    cluster = Cluster()
    cluster.join({"app.rbr": place.hub})
    _, carrier = place.client()
    request = {"type": 4, "opts": {"rooms": []}, "close": True}
    Emitter(cluster).receive("socket.io-request#/ws#", json.dumps(request).encode())
    assert [told for told in carrier.told if told != "let in"] == [(1000, "")]


@pytest.mark.parametrize("kind", [0, 1, 5, 6, 7, 8, 9, 99, "2", None])
def test_questions_of_servers_are_left_alone(kind: Any) -> None:
    world = World()
    a = world.client()
    world.hears("io.serverSideEmit('ping',1)")
    world.is_asked({"type": kind, "requestId": "x", "uid": "abc", "opts": {"rooms": []}})
    world.is_told({"type": 7, "requestId": "x"}, "socket.io-request#/#")
    assert a.hears() == []
    assert (world.cluster.dropped, world.link.take()) == (0, [])


def test_request_may_be_messagepack() -> None:
    world = World()
    a = world.client()
    world.is_told({"type": 2, "opts": OPTS, "rooms": ["red"]}, "socket.io-request#/#")
    assert a.socket.rooms == {"red"}


# -- channels --------------------------------------------------------------------------------


def test_another_key_has_other_channels() -> None:
    world = World(key="my*[app]")
    a = world.client()
    assert world.emitter.patterns == (r"my\*\[app\]#/*", r"my\*\[app\]-request#/*")
    world.is_told(event("x"), "my*[app]#/#")
    assert a.hears() == ['2["x"]']
    data = packed(event("y"), random.Random(SEED))
    assert world.emitter.receive("socket.io#/#", data) is False
    assert world.emitter.receive("socketio", data) is False
    assert world.emitter.received == 1
    assert a.hears() == []
    assert Emitter(world.cluster).patterns == ("socket.io#/*", "socket.io-request#/*")


@pytest.mark.parametrize(
    ("channel", "opts"),
    [
        ("socket.io#/chat#", {}),
        ("socket.io#/", {}),
        ("socket.io#/#red#", {}),
        ("socket.io#/#red#", {"rooms": ["blue"]}),
        ("socket.io#/#red#", {"rooms": ["red", "blue"]}),
        ("socket.io#/#red", {"rooms": ["red"]}),
    ],
)
def test_channel_and_message_mean_the_same(channel: str, opts: dict[str, Any]) -> None:
    world = World("/", "/chat")
    a, b = world.client(), world.client("/chat")
    world.is_told(event("x", **opts), channel)
    assert a.hears() == b.hears() == []
    assert world.cluster.dropped == 1


# -- hostile messages ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ([], "it is no list of three"),
        ({}, "it is no list of three"),
        (["emitter", {}, {}, {}], "it is no list of three"),
        (["emitter", [], OPTS], "its packet is no object"),
        (["emitter", {"type": 2, "nsp": "/"}, OPTS], "its packet is no event"),
        (["emitter", {"type": 2, "data": [], "nsp": "/"}, OPTS], "its packet is no event"),
        (["emitter", {"type": 0, "data": ["x"], "nsp": "/"}, OPTS], "its packet is no event"),
        (["emitter", {"type": [], "data": ["x"], "nsp": "/"}, OPTS], "its packet is no event"),
        (event({"toString": "x"}), "a name in it is no text"),
        (event(True), "a name in it is no text"),
        (event(None), "a name in it is no text"),
        (event("x", nsp=None), "its namespace or its room is not that of the channel"),
        (event("x", nsp=["/"]), "its namespace or its room is not that of the channel"),
        (["emitter", event("x")[1], []], "its opts is no object"),
        (event("x", rooms="r"), "its rooms is no list"),
        (event("x", rooms=None), "its rooms is no list"),
        (event("x", rooms=[["r"]]), "a name in it is no text"),
        (event("x", rooms=[1.5]), "a name in it is no text"),
        (event("x", flags=[]), "its flags is no object"),
        (event("x", **{"except": {"a": 1}}), "its except is no list"),
        (event("x", Timestamp(2**40)), "a date 1099511627776 seconds from 1970"),
    ],
)
def test_senseless_event_is_dropped_and_told(
    message: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    a = world.client()
    with caplog.at_level(logging.WARNING):
        world.is_told(message)
    assert a.hears() == []
    assert world.cluster.dropped == 1
    (record,) = caplog.records
    assert record.getMessage().endswith(f"was dropped: on 'socket.io#/#': {why}")


@pytest.mark.parametrize("name", ["connect", "disconnecting"])
def test_event_of_a_reserved_name_is_dropped(name: str) -> None:
    world = World()
    a = world.client()
    world.is_told(event(name))
    assert (a.hears(), world.cluster.dropped) == ([], 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not json",
        b'{"type":2}',
        b'{"type":2,"opts":{"rooms":[]}}' + b" " * 10 + b"x",
        b'{"type":2,"opts":{"rooms":7}}',
        b'{"type":2,"opts":[]}',
        b'{"type":2,"opts":{},"rooms":"r"}',
        b'{"type":4,"opts":{"except":[null]}}',
        b'{"type":NaN}',
        b'{"a":' * 100,
        b"\x80\x04\x95",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xc6\x7f\xff\xff\xff",
    ],
    ids=lambda data: ascii(data[:30]),
)
def test_senseless_request_is_dropped(data: bytes) -> None:
    world = World()
    a = world.client()
    for channel in ("socket.io-request#/#", "socket.io#/#"):
        assert world.emitter.receive(channel, data)
    assert a.hears() == []
    assert a.socket.rooms == set()
    assert (world.cluster.dropped, world.emitter.received) == (2, 0)


def test_hostile_mutations_raise_nothing() -> None:
    chance = random.Random(SEED)
    world = World()
    a = world.client()
    rows = [
        (row["channel"], bytes.fromhex(row["hex"]) if "hex" in row else row["text"].encode())
        for row in VECTORS["emits"]
        if "disconnect" not in row["js"]
    ]
    for _ in range(2000):
        channel, good = chance.choice(rows)
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        world.emitter.receive(channel, bytes(data))
    a.hears()
    world.is_told(event("alive"))
    assert a.hears() == ['2["alive"]'], f"seed {SEED}"
