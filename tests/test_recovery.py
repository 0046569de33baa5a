"""Connection state recovery: what a client that comes back is told, and what is forgotten.

The clock is the test's own; the packets are those of a client that notes its pid and its
last offset, as the stock one does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from clock import Clock
from test_sockets import Peer, World, in_thread

from redbarrel_lite import recovery
from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.messages import Session
from redbarrel_lite.outgoing import Outgoing, size_of
from redbarrel_lite.recovery import (
    MAX_ABSENT,
    MAX_LOGGED_BYTES,
    MAX_LOGGED_PACKETS,
    Absent,
    Absentee,
    Memory,
)
from redbarrel_lite.routes import compile_template

KEEP_S = 120.0


class Recovering(World):
    """A world whose namespaces remember."""

    def __init__(self, *namespaces: str, keep_s: float = KEEP_S) -> None:
        super().__init__()
        self.clock = Clock()
        self.hub.attach(self.woken.append, self.run_handler, loop=self.clock.as_loop())
        self.doors = Doors(self.hub)
        for name in namespaces or ("/",):
            door = Door(name, compile_template([name]), self.handler, None, keep_s)
            self.doors.add(door)

    def client(self, namespace: str = "/", auth: dict[str, Any] | None = None) -> Client:
        return Client(self, namespace, auth or {})


class Client:
    """What the stock client does: it notes pid and offset, and says them when it comes back."""

    def __init__(self, world: Recovering, namespace: str, auth: dict[str, Any]) -> None:
        self.world = world
        self.prefix = "" if namespace == "/" else namespace + ","
        self.auth = auth
        self.pid = self.offset = self.sid = ""
        self.connect()

    def connect(self, **claims: Any) -> None:
        """Come, or come back; ``claims`` are said instead of what was noted."""
        past = {"pid": self.pid, "offset": self.offset} if self.pid else {}
        data = past | self.auth | claims
        self.peer = Peer(self.world)
        self.peer.say(f"0{self.prefix}{json.dumps(data) if data else ''}")

    def hears(self) -> list[str]:
        """The packets since the last time, without offsets."""
        heard = []
        for message in self.peer.hears():
            if isinstance(message, bytes):
                continue
            text = message.replace(self.prefix, "", 1) if self.prefix else message
            if text.startswith("0"):
                answer = json.loads(text[1:])
                assert set(answer) == {"sid", "pid"}
                self.pid, self.sid = answer["pid"], answer["sid"]
                text = "0"
            elif match := re.fullmatch(r'([25].*),"([^"]*)"\]', text):
                self.offset = match[2]
                text = match[1] + "]"
            heard.append(text)
        return heard

    def drop(self, reason: str = "transport close") -> None:
        self.peer.client.end(reason)

    def has_recovered(self) -> bool:
        return self.peer.socket.recovered


def test_client_that_was_dropped_gets_what_it_has_missed_and_then_its_answer() -> None:
    world = Recovering()
    a, b = world.client(), world.client()
    assert a.hears() == ["0"]
    first = a.sid, a.pid
    assert a.sid != a.pid
    assert not a.has_recovered()
    a.peer.socket.send("one")
    assert a.hears() == ['2["message","one"]']
    a.drop()
    b.peer.socket.broadcast("two")
    world.hub.emit("three", 3, {"x": None})
    a.connect()
    assert a.hears() == ['2["message","two"]', '2["three",3,{"x":null}]', "0"]
    assert (a.sid, a.pid) == first
    assert a.has_recovered()
    a.peer.socket.send("four")
    assert a.hears() == ['2["message","four"]']


def test_what_was_lost_on_the_way_is_sent_again_and_what_arrived_is_not() -> None:
    world = Recovering()
    a = world.client()
    a.hears()
    for number in range(3):
        a.peer.socket.send(number)
    a.hears()
    for number in range(3, 6):
        a.peer.socket.send(number)
    a.peer.hears()  # the connection is lost before they arrive
    a.drop("transport error")
    a.connect()
    assert a.hears() == [*(f'2["message",{number}]' for number in range(3, 6)), "0"]


def test_session_and_rooms_come_back() -> None:
    world = Recovering()
    a, b = world.client(), world.client()
    a.peer.socket.session["name"] = "Tarek"
    a.peer.socket.join("red")
    a.peer.socket.join("blue")
    a.peer.socket.leave("blue")
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    assert world.hub.sockets(room="red") == []
    b.peer.socket.broadcast("to red", room="red")
    b.peer.socket.broadcast("to blue", room="blue")
    a.connect()
    assert a.hears() == ['2["message","to red"]', "0"]
    assert a.peer.socket.session == {"name": "Tarek"}
    assert a.peer.socket.session.session_id == a.sid
    assert a.peer.socket.rooms == {"red"}
    assert world.hub.sockets(room="red") == [a.peer.socket]
    b.peer.socket.broadcast("again", room="red")
    assert a.hears() == ['2["message","again"]']


def test_only_what_was_for_the_client_is_missed() -> None:
    world = Recovering()
    a, b = world.client(), world.client()
    a.peer.socket.send("x")
    a.hears(), b.hears()
    a.drop()
    world.hub.broadcast("not a", exceptions=[a.sid])
    b.peer.socket.send("only b")
    b.peer.socket.emit("asks", ack=print)
    world.hub.emit("volatile", volatile=True)
    world.hub.emit("private", to=a.sid)
    world.hub.emit("gone by", to=a.sid, volatile=True)
    world.hub.emit("private to b", to=b.sid)
    a.connect()
    assert a.hears() == ['2["private"]', "0"]


def test_what_a_room_heard_before_the_client_joined_is_not_for_it() -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    world.hub.broadcast("before", room="red")
    a.peer.socket.join("red")
    world.hub.broadcast("after", room="red")
    a.peer.hears()
    a.drop()
    a.connect()
    assert a.hears() == ['2["message","after"]', "0"]


def test_binary_events_are_missed_with_their_attachments() -> None:
    world = Recovering("/a")
    a = world.client("/a")
    a.peer.socket.send(b"\x01")
    text, attachment = a.peer.hears()[1:]
    assert text == '51-/a,["message",{"_placeholder":true,"num":0},"1"]'
    assert attachment == b"\x01"
    a.pid, a.offset = pid_of(a), "1"
    a.drop()
    world.hub.broadcast({"picture": b"\x02"}, namespace="/a")
    a.connect()
    missed, attachment, answer = a.peer.hears()
    assert missed == '51-/a,["message",{"picture":{"_placeholder":true,"num":0}},"2"]'
    assert attachment == b"\x02"
    assert str(answer).startswith("0/a,")


def pid_of(client: Client) -> str:
    trace = client.peer.socket.trace
    assert trace is not None
    return trace.pid


def test_event_that_wants_an_acknowledgement_has_no_offset() -> None:
    world = Recovering()
    a = world.client()
    a.peer.hears()
    a.peer.socket.emit("ask", "x", ack=print)
    a.peer.say('27["ask"]')
    a.peer.socket.recv().reply("answer")
    a.peer.socket.emit("there", "x", volatile=True)
    a.peer.socket.send("y")
    assert a.peer.hears() == [
        '20["ask","x"]',
        '37["answer"]',
        '2["there","x","0"]',
        '2["message","y","1"]',
    ]


def test_without_recovery_the_answer_has_the_sid_and_nothing_else() -> None:
    world = Recovering(keep_s=0)
    peer = Peer(world)
    peer.say('0{"pid":"x","offset":"1","token":"t"}')
    (answer,) = peer.hears()
    assert set(json.loads(str(answer)[1:])) == {"sid"}
    assert peer.socket.auth == {"pid": "x", "offset": "1", "token": "t"}
    peer.socket.send("x")
    peer.client.end("transport close")
    assert len(world.hub.absent) == 0


# -- who may not come back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason",
    ["transport close", "transport error", "ping timeout", "forced close"],
)
def test_drop_can_be_recovered(reason: str) -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop(reason)
    a.connect()
    assert a.has_recovered()


@pytest.mark.parametrize(
    "end",
    [
        lambda a: a.peer.say("1"),
        lambda a: a.peer.socket.close(),
        lambda a: a.drop("parse error"),
        lambda a: a.drop("server shutting down"),
    ],
)
def test_who_left_or_was_turned_out_begins_anew(end: Callable[[Client], object]) -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    before = a.sid, a.pid
    end(a)
    a.drop()
    assert len(world.hub.absent) == 0
    a.connect()
    assert a.hears() == ["0"]
    assert not a.has_recovered()
    assert a.sid != before[0]
    assert a.pid != before[1]


@pytest.mark.parametrize(
    "claims",
    [
        {"pid": "unknown"},
        {"pid": 1},
        {"pid": None},
        {"pid": ["x"]},
        {"offset": None},
        {"offset": 1},
        {"offset": ""},
        {"offset": "-1"},
        {"offset": "1.0"},
        {"offset": "\u0661"},
        {"offset": "0"},  # it is of a time when this client was not there
        {"offset": "3"},
        {"offset": "9" * 5000},
        {"offset": {"a": 1}},
        {"offset": "hello"},
    ],
)
def test_claim_that_does_not_hold_is_an_ordinary_beginning(claims: dict[str, Any]) -> None:
    world = Recovering()
    b = world.client()
    b.peer.socket.send("secret of b")
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    assert a.offset == "2"
    a.drop()
    a.connect(**claims)
    assert a.hears() == ["0"]
    assert not a.has_recovered()


def test_pid_is_of_one_namespace() -> None:
    world = Recovering("/", "/a")
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    other = world.client("/a", {"pid": a.pid, "offset": a.offset})
    assert not other.has_recovered()
    a.connect()
    assert a.has_recovered()


def test_pid_serves_once() -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    a.connect()
    assert len(world.hub.absent) == 0
    a.drop()
    a.connect()
    assert a.has_recovered()


def test_pid_and_offset_are_not_among_what_the_client_says_of_itself() -> None:
    world = Recovering()
    a, b = world.client("/", {"token": "t"}), world.client()
    a.peer.socket.send("x")
    b.peer.socket.send("x")
    a.hears(), b.hears()
    for client in (a, b):
        client.drop()
        client.connect()
        assert client.has_recovered()
    assert a.peer.socket.auth == {"token": "t"}
    assert b.peer.socket.auth is None


def test_client_that_is_back_before_its_end_was_noticed_takes_its_place() -> None:
    """A change of network: the old connection looks alive until its ping fails."""
    world = Recovering()
    a = world.client()
    a.peer.socket.join("red")
    a.peer.socket.send("x")
    a.hears()
    old = a.peer
    old.socket.send("lost")
    a.connect()
    assert a.hears() == ['2["message","lost"]', "0"]
    assert a.has_recovered()
    assert (old.socket.connected(), old.socket.reason) == (False, "transport close")
    assert old.runner.news[-1] == "finish"
    assert world.hub.sockets() == [a.peer.socket]
    # It may be alive, and its client deaf without knowing.
    assert old.connection.hung_up == [(1000, "transport close")]
    # What the old one still does concerns nobody.
    old.say('2["late"]')
    old.socket.leave("red")
    old.socket.join("blue")
    old.client.end("ping timeout")
    assert world.hub.sockets(room="red") == [a.peer.socket]
    assert world.hub.sockets(room="blue") == []
    world.hub.emit("here", to=a.sid)
    assert a.hears() == ['2["here"]']
    a.drop()
    a.connect()
    assert a.peer.socket.rooms == {"red"}


def test_server_may_shut_out_who_is_away() -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    in_thread(lambda: world.hub.disconnect(a.sid))
    world.turn()
    a.connect()
    assert not a.has_recovered()


# -- what is forgotten ---------------------------------------------------------------------------


def test_who_is_away_too_long_is_forgotten_and_so_is_all_that_was_kept() -> None:
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    world.clock.advance(KEEP_S - 1)
    assert len(world.hub.absent) == 1
    world.hub.broadcast("y")
    world.clock.advance(2)
    a.connect()
    assert not a.has_recovered()
    a.drop()
    world.clock.advance(KEEP_S * 2)
    assert (len(world.hub.absent), world.hub.namespaces, world.clock.timers) == (0, {}, [])


def test_time_is_up_to_the_moment() -> None:
    """Whether or not somebody has tidied up since."""
    world = Recovering()
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    world.clock.timers.clear()
    a.drop()
    world.clock.advance(KEEP_S)
    a.connect()
    assert not a.has_recovered()


def test_messages_that_are_too_old_are_forgotten_while_clients_are_there() -> None:
    world = Recovering()
    a = world.client()
    for _ in range(100):
        world.hub.broadcast("x")
        world.clock.advance(KEEP_S / 10)
    memory = world.hub.namespaces["/"].memory
    assert memory is not None
    assert len(memory) <= 11
    world.clock.advance(KEEP_S * 2)
    assert len(memory) == 0
    assert world.clock.timers == []
    a.drop()


def test_tidying_leaves_alone_who_remembers_nothing() -> None:
    world = Recovering("/", "/a")
    world.doors.add(Door("/plain", compile_template(["/plain"]), world.handler))
    a = world.client("/a")
    plain = Peer(world)
    plain.say("0/plain,")
    world.hub.broadcast("x", namespace="/a")
    world.clock.advance(KEEP_S * 3)
    assert set(world.hub.namespaces) == {"/a", "/plain"}
    a.drop()
    plain.client.end("transport close")
    assert set(world.hub.namespaces) == {"/a"}
    world.clock.advance(KEEP_S * 3)
    assert world.hub.namespaces == {}


def test_memory_is_bounded_in_packets_and_bytes() -> None:
    memory = Memory(KEEP_S)
    for _ in range(MAX_LOGGED_PACKETS + 10):
        memory.remember(Outgoing(('2["x"]',)), 0.0)
    assert len(memory) == MAX_LOGGED_PACKETS
    big = Outgoing(('2["' + "x" * 100_000 + '"]',))
    for _ in range(MAX_LOGGED_BYTES // 100_000 + 10):
        memory.remember(big, 0.0)
    assert sum(size_of(sent.messages) for sent in memory._log) == memory._bytes
    assert MAX_LOGGED_BYTES - 200_000 < memory._bytes <= MAX_LOGGED_BYTES


def test_offset_that_was_forgotten_is_no_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MAX_LOGGED_PACKETS", 3)
    world = Recovering()
    a, b = world.client(), world.client()
    for client in (a, b):
        client.peer.socket.send("x")
        client.hears()
        client.drop()
    world.hub.broadcast("1")
    world.hub.broadcast("2")
    world.hub.broadcast("3")
    a.connect()
    assert not a.has_recovered()
    b.connect()
    assert b.has_recovered()
    assert b.hears() == [*(f'2["message","{number}"]' for number in (1, 2, 3)), "0"]


def test_who_has_missed_too_much_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Recovering()
    a, b = world.client(), world.client()
    for client in (a, b):
        client.peer.socket.send("x")
        client.hears()
        client.drop()
    world.hub.emit("many", "y" * 1000)
    memory = world.hub.namespaces["/"].memory
    assert memory is not None
    monkeypatch.setattr(recovery, "MAX_MISSED_BYTES", size_of(memory._log[-1].messages))
    a.connect()
    assert a.has_recovered()
    world.hub.emit("many", "y")
    b.connect()
    assert not b.has_recovered()
    assert b.hears() == ["0"]


def test_absent_clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MAX_ABSENT", 10)
    world = Recovering()
    clients = [world.client() for _ in range(12)]
    for client in clients:
        client.peer.socket.send("x")
        client.hears()
    for client in clients:
        client.drop()
    assert len(world.hub.absent) == 10
    for number, client in enumerate(clients):
        client.connect()
        assert client.has_recovered() is (number >= 2)


def test_absent_clients_are_counted_by_namespace() -> None:
    absent = Absent()
    one = Absentee("p", "/a", Session("s"), {}, 0, 10.0)
    two = Absentee("q", "/a", Session("t"), {}, 0, 20.0)
    absent.add(one)
    absent.add(two)
    assert (absent.by_pid("p"), absent.by_sid("t"), len(absent)) == (one, two, 2)
    absent.expire(10.0)
    assert (absent.by_pid("p"), absent.by_sid("s"), len(absent)) == (None, None, 1)
    assert absent.may_return_to("/a")
    absent.remove(two)
    assert not absent.may_return_to("/a")
    assert MAX_ABSENT >= 1000


def test_threads_send_in_the_order_of_the_offsets() -> None:
    """The offset is given where the packet is queued: two threads can't cross in between."""
    world = Recovering()
    a = world.client()
    a.peer.hears()

    def work() -> None:
        for _ in range(100):
            a.peer.socket.send("x")
            world.hub.broadcast("y")

    for _ in range(3):
        in_thread(work)
    world.turn()
    offsets = [json.loads(str(text)[1:])[-1] for text in a.peer.hears()]
    assert offsets == [str(number) for number in range(1, 601)]


def test_two_urls_of_a_namespace_share_the_longer_time() -> None:
    world = Recovering(keep_s=1)
    doors = Doors(world.hub)
    doors.add(Door("/", compile_template(["/"]), world.handler, None, 60))
    a = world.client()
    a.peer.socket.send("x")
    a.hears()
    a.drop()
    world.clock.advance(59)
    world.doors = doors
    a.connect()
    assert a.has_recovered()
