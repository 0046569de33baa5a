"""Several servers that are one to their clients: two hubs, joined by links that speak JSON.

The texts of python-socketio are its own, as `tests/vectors/cluster.json` keeps them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from test_raw import Place
from test_recovery import Recovering
from test_sockets import Peer, World, in_thread

from redbarrel_lite.cluster import Cluster, Seat
from redbarrel_lite.cluster_messages import dumps
from redbarrel_lite.errors import SocketClosed

VECTORS = json.loads((Path(__file__).parent / "vectors/cluster.json").read_text("utf-8"))
TEXTS = {row["what"]: row["text"] for row in VECTORS["messages"]}
THEIRS = "0b0f8d7c" * 4  # the host_id of the texts


class Recorder:
    """A link to nobody, which keeps what is published as the others would read it."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, message: dict[str, Any]) -> None:
        self.published.append(json.loads(dumps(message)))

    def take(self) -> list[dict[str, Any]]:
        published, self.published = self.published, []
        return published


class Wire:
    """A link to one other server."""

    def __init__(self, other: Cluster) -> None:
        self.other = other

    def publish(self, message: dict[str, Any]) -> None:
        self.other.receive_text(dumps(message))


class Server:
    """A world in a cluster."""

    def __init__(self, *namespaces: str, world: World | None = None) -> None:
        self.world = world or World(*namespaces)
        self.hub = self.world.hub
        self.clock = Clock()
        self.cluster = Cluster(clock=self.clock.time)
        self.cluster.join({"app.rbr": self.hub})
        self.link = Recorder()
        self.cluster.links.append(self.link)

    def client(self, namespace: str = "/") -> Peer:
        peer = self.world.connect(namespace)
        peer.hears()
        return peer

    def obey(self, text: str) -> None:
        self.cluster.receive_text(text.encode())


def joined(*servers: Server) -> tuple[Server, ...]:
    for one in servers:
        one.cluster.links += [Wire(other.cluster) for other in servers if other is not one]
    return servers


def pair(*namespaces: str) -> tuple[Server, ...]:
    return joined(Server(*namespaces), Server(*namespaces))


# -- what user code does -------------------------------------------------------------------


def test_broadcast_is_heard_in_both_processes_once() -> None:
    one, two = pair()
    a, b, c, d = one.client(), one.client(), two.client(), two.client()
    a.socket.broadcast("x", exceptions=[d.sid])
    one.hub.broadcast("y")
    two.hub.emit("z", 1, [2])
    both = ['2["message","y"]', '2["z",1,[2]]']
    assert a.hears() == both
    assert b.hears() == c.hears() == ['2["message","x"]', *both]
    assert d.hears() == both


def test_broadcast_to_a_room_is_heard_by_who_is_in_it() -> None:
    one, two = pair("/", "/a")
    a, b, c = one.client("/a"), two.client("/a"), two.client("/a")
    for peer in (a, b):
        peer.socket.join("red")
    one.hub.broadcast(b"\x01", room="red", namespace="/a")
    c.socket.broadcast({"n": b"\x02"}, room="red", event="e")
    heard = [
        '51-/a,["message",{"_placeholder":true,"num":0}]',
        b"\x01",
        '51-/a,["e",{"n":{"_placeholder":true,"num":0}}]',
        b"\x02",
    ]
    assert a.hears() == b.hears() == heard
    one.hub.broadcast("nobody", room="", namespace="/a")
    one.hub.broadcast("nobody", room=a.sid, namespace="/a")  # which is no room to us
    one.hub.broadcast("nobody", room=b.sid, namespace="/a")
    assert a.hears() == b.hears() == c.hears() == []


def test_volatile_reaches_who_is_ready_in_both() -> None:
    one, two = pair()
    a, b = two.client(), two.client()
    b.connection.ready = False
    one.hub.emit("v", volatile=True)
    one.hub.emit("v2", volatile=True, to=b.sid)
    one.hub.emit("v3", volatile=True, to=a.sid)
    assert a.hears() == ['2["v"]', '2["v3"]']
    assert b.hears() == []


def test_one_socket_is_reached_wherever_it_is() -> None:
    one, two = pair("/", "/a")
    a, b = two.client(), two.client("/a")
    one.hub.emit("private", to=a.sid)
    one.hub.emit("private", None, to=b.sid)  # in whichever namespace that is
    one.hub.emit("nobody", to="nobody")
    assert a.hears() == ['2["private"]']
    assert b.hears() == ['2/a,["private",null]']
    two.link.take()
    two.hub.emit("here", to=a.sid)
    assert two.link.take() == []  # nobody else need know
    with pytest.raises(TypeError, match="not JSON"):
        one.hub.emit("x", object(), to=a.sid)


def test_session_id_needs_no_namespace() -> None:
    one, two = pair("/a")
    a = two.client("/a")
    one.hub.emit("private", to=a.sid)
    assert a.hears() == ['2/a,["private"]']
    places = joined(Server(world=Place()), Server(world=Place()))
    assert isinstance(places[1].world, Place)
    client, carrier = places[1].world.client()
    places[0].hub.emit("message", b"\x00", to=client.socket.session.session_id)
    assert carrier.said == [b"\x00"]


def test_one_socket_is_asked_wherever_it_is() -> None:
    one, two = pair("/", "/a")
    here, there, inside = one.client(), two.client(), two.client("/a")

    async def ask(peer: Peer, answer: str, *attachments: bytes) -> Any:
        question = asyncio.create_task(one.hub.call("q", 1, b"\x01", to=peer.sid))
        await asyncio.sleep(0)
        head, attachment = peer.hears()
        assert (str(head).partition("[")[2], attachment) == (
            '"q",1,{"_placeholder":true,"num":0}]',
            b"\x01",
        )
        assert not question.done()
        peer.say(answer, *attachments)
        return await question

    async def ask_all() -> None:
        assert await ask(here, '30["yes",{"n":2}]') == ["yes", {"n": 2}]
        assert await ask(there, '30["yes",{"n":2}]') == ["yes", {"n": 2}]
        assert await ask(there, "31[]") == []
        placed = '61-/a,0["yes",{"_placeholder":true,"num":0}]'
        assert await ask(inside, placed, b"\x02") == ["yes", b"\x02"]
        with pytest.raises(TimeoutError, match="within 0 s"):
            await one.hub.call("q", to="nobody", timeout=0)
        with pytest.raises(TimeoutError, match="within 0 s"):
            await one.hub.call("q", to=there.sid, timeout=0)
        there.say('32["too late"]')

    asyncio.run(ask_all())
    assert len(one.cluster.asked) == len(two.cluster.asked) == 0
    assert one.cluster.dropped == two.cluster.dropped == 0
    with pytest.raises(SocketClosed, match="nobody has this session id"):
        World().hub.call("q", to="nobody")


def test_answer_to_a_question_of_another_is_not_taken_for_ours() -> None:
    one, two = pair()
    there = two.client()

    async def ask() -> None:
        question = asyncio.create_task(one.hub.call("q", to=there.sid))
        await asyncio.sleep(0)
        _, namespace, ask_id = one.link.take()[0]["callback"]
        answer = {"method": "callback", "sid": there.sid, "namespace": namespace, "id": ask_id}
        one.cluster.receive({**answer, "host_id": THEIRS, "args": ["wrong"]})
        own = {"host_id": one.cluster.host_id}
        one.cluster.receive({**answer, **own, "id": 1, "args": ["wrong"]})
        one.cluster.receive({**answer, **own, "id": [], "args": ["wrong"]})
        assert one.cluster.dropped == 0
        one.cluster.receive({**answer, **own, "args": "wrong"})
        one.cluster.receive({**answer, **own, "args": [], "redbarrel": {"attachments": "AA=="}})
        assert one.cluster.dropped == 2
        one.cluster.receive({**answer, **own, "args": ["right"]})
        one.cluster.receive({**answer, **own, "args": ["again"]})
        assert await question == ["right"]

    asyncio.run(ask())


def test_one_socket_is_turned_out_wherever_it_is() -> None:
    one, two = pair()
    a, b = two.client(), two.client()
    one.hub.disconnect(a.sid, "he was rude")
    one.hub.disconnect(b.sid)
    one.hub.disconnect("nobody")
    assert a.hears() == b.hears() == ["1"]
    assert (a.socket.reason, b.socket.reason) == ("he was rude", "server namespace disconnect")
    assert not a.socket.connected()


def test_namespace_without_anybody_here_may_have_somebody_there() -> None:
    one, two = pair("/a", "/b")
    a = two.client("/a")
    one.hub.broadcast("x", namespace="/a")
    one.hub.emit("e", namespace="/a", exceptions=[a.sid])
    one.hub.emit("nobody", namespace="/b")
    assert a.hears() == ['2/a,["message","x"]']
    assert one.hub.namespaces == {}
    assert list(two.hub.namespaces) == ["/a"]
    with pytest.raises(ValueError, match="no path has the namespace"):
        one.hub.broadcast("x", namespace="/c")


def test_other_threads_are_told_of_in_the_order_of_their_calls() -> None:
    one, two = pair()
    here, there = one.client(), two.client()
    words: list[Any] = ["as it was"]

    def calls() -> None:
        one.hub.broadcast(words)
        words[0] = "as it became"
        one.hub.emit("to", to=there.sid)
        here.socket.broadcast(words)
        one.hub.disconnect(there.sid)

    in_thread(calls)
    assert there.hears() == []  # the loop has had no turn
    one.world.turn()
    said = ['2["message",["as it was"]]', '2["to"]', '2["message",["as it became"]]', "1"]
    assert there.hears() == said
    assert here.hears() == said[:1]


def test_paths_without_socket_io_have_their_urls_for_a_namespace() -> None:
    one, two = joined(Server(world=Place()), Server(world=Place()))
    assert isinstance(one.world, Place)
    assert isinstance(two.world, Place)
    (a, here), (_, there) = one.world.client(), two.world.client()
    a.socket.broadcast("text")
    a.socket.broadcast(b"\x00\xff")
    one.hub.broadcast("all", namespace="/ws")
    assert (here.said, there.said) == (["all"], ["text", b"\x00\xff", "all"])
    published = one.link.take()
    assert published[0]["data"] == ["text"]
    assert published[1]["data"] == [[{"_placeholder": True, "num": 0}], "AP8="]
    assert {message["event"] for message in published} == {"message"}
    two.obey('{"method":"emit","event":"other","data":["x"],"namespace":"/ws"}')
    two.obey('{"method":"emit","event":"message","data":[1],"namespace":"/ws"}')
    two.obey('{"method":"emit","event":"message","data":["x"],"namespace":"/ws"}')
    assert there.said[3:] == ["x"]
    assert two.cluster.dropped == 2


def test_files_are_kept_apart() -> None:
    """As in one process: `request.server` reaches the sockets of its own file."""
    servers = [Server(), Server()]
    others = [World(), World("/", "/a")]
    for server, world in zip(servers, others, strict=True):
        server.cluster.join({"other.rbr": world.hub})
    one, two = joined(*servers)
    a, b = two.client(), others[1].connect()
    b.hears()
    one.hub.broadcast("x")
    others[0].hub.emit("y")
    assert (a.hears(), b.hears()) == (['2["message","x"]'], ['2["y"]'])
    two.obey(TEXTS["a dict"])  # python-socketio knows of no files
    assert a.hears() == b.hears() == ['2["evt",{"a":1}]']
    two.obey('{"method":"emit","event":"e","data":[],"redbarrel":{"home":"third.rbr"}}')
    assert (a.hears(), b.hears(), two.cluster.dropped) == ([], [], 0)


def test_room_that_is_no_text_is_told_to_nobody() -> None:
    one = Server()
    client = one.client()
    client.socket.join(("a", "b"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the name of a room is a str, not tuple"):
        one.hub.broadcast("x", room=("a", "b"))  # type: ignore[arg-type]
    assert one.link.take() == []
    assert client.hears() == []


def test_other_servers_may_be_told_without_the_other_workers() -> None:
    one = Server("/", "/a")
    workers = Recorder()

    async def ask(what: str, details: Any, seconds: float) -> list[Any]:
        return [what, details, seconds]

    workers.ask = ask  # type: ignore[attr-defined]
    one.cluster.links.append(workers)
    seat = one.hub.others
    assert isinstance(seat, Seat)
    group = one.client("/a").socket._home
    assert asyncio.run(seat.ask_workers("what", 1, 2.0)) == []
    one.cluster.workers = workers  # type: ignore[assignment]
    assert asyncio.run(seat.ask_workers("what", 1, 2.0)) == ["what", ["app.rbr", 1], 2.0]
    assert seat.has_servers
    seat.tell_servers(group, group.encode("e", ["x"]), "red", {"S"}, None, volatile=True)
    seat.tell_servers(group, group.encode("e", ["x"]), None, (), "T", volatile=False)
    first, second = one.link.take()
    assert (first["room"], first["skip_sid"], first["namespace"]) == ("red", ["S"], "/a")
    assert first["redbarrel"] == {"home": "app.rbr", "volatile": True}
    assert first["host_id"] == one.cluster.host_id
    assert (second["room"], second["redbarrel"]) == ("T", {"home": "app.rbr", "to": "T"})
    assert workers.take() == []
    one.cluster.links.remove(one.link)
    assert not Seat(one.cluster, "app.rbr").has_servers
    assert one.cluster.hub("app.rbr") is one.hub
    assert one.cluster.hub("other.rbr") is None


# -- what is told ----------------------------------------------------------------------------


def test_what_is_published_is_what_python_socketio_publishes() -> None:
    one = Server("/", "/chat")
    one.hub.emit("evt", {"a": 1})
    one.hub.emit("gr\u00f6\u00dfe", "\u65e5\u672c \U0001f600")
    one.hub.emit("bin", b"\xff", "between", b"")
    one.hub.emit("evt", [1, 2])
    one.hub.emit("evt", "x", exceptions=["T", "S"])
    one.hub.disconnect("S")
    published = one.link.take()
    named = (
        "a dict",
        "letters of the world",
        "binary arguments",
        "a list is one argument",
        "several are left out",
        "disconnect",
    )
    for what, message in zip(named, published, strict=True):
        assert message.pop("redbarrel") == {"home": "app.rbr"}
        assert message.pop("host_id") == one.cluster.host_id
        theirs = json.loads(TEXTS[what])
        del theirs["host_id"]
        assert list(message.items()) == list(theirs.items())
    assert len(one.cluster.host_id) == len(THEIRS)


def test_nothing_that_is_received_is_published_again() -> None:
    one = Server("/", "/chat")
    a = one.client()
    for text in TEXTS.values():
        one.obey(text.replace('"S"', f'"{a.sid}"'))
    assert one.link.take() == []
    assert one.cluster.dropped == 0


# -- recovery --------------------------------------------------------------------------------


def test_client_that_was_away_gets_what_was_said_elsewhere() -> None:
    world = Recovering()
    one, two = joined(Server(), Server(world=world))
    a, stays = world.client(), world.client()
    a.hears()
    a.peer.socket.join("red")
    a.drop()
    one.hub.broadcast("to all")
    one.hub.broadcast("not for it", exceptions=[a.sid])
    one.hub.broadcast("red", room="red")
    one.hub.broadcast("blue", room="blue")
    one.hub.emit("to it", to=a.sid)
    one.hub.emit("lost", volatile=True)
    message = {"method": "emit", "event": "theirs", "host_id": THEIRS}
    two.cluster.receive({**message, "data": [1], "room": ["blue", "red"]})
    two.cluster.receive({**message, "data": [2], "room": a.sid})
    two.cluster.receive({**message, "data": [3], "room": "red", "skip_sid": [a.sid]})
    two.cluster.receive({**message, "data": [4], "room": ["blue"]})
    a.connect(offset="0")
    assert a.hears() == [
        '2["message","to all"]',
        '2["message","red"]',
        '2["to it"]',
        '2["theirs",1]',
        '2["theirs",2]',
        "0",
    ]
    assert a.has_recovered()
    assert '2["lost"]' in stays.hears()


def test_client_that_is_away_enters_and_leaves_rooms() -> None:
    world = Recovering("/", "/chat")
    one = Server(world=world)
    clients = [world.client() for _ in range(3)]
    for a in clients:
        a.hears()
        a.peer.socket.join("old")
        a.peer.socket.join("other")
        a.drop()

    def told(what: str, sid: str, room: str) -> None:
        one.obey(TEXTS[what].replace('"S"', f'"{sid}"').replace('"red"', f'"{room}"'))

    one.hub.emit("before", room="new")
    told("enter_room", clients[0].sid, "new")
    told("enter_room", clients[0].sid, "new")
    told("leave_room", clients[1].sid, "other")
    told("leave_room", clients[1].sid, "never joined")
    told("enter_room", "nobody", "new")
    told("leave_room", "nobody", "old")
    one.obey(TEXTS["close_room"].replace('"/"', '"/chat"').replace('"red"', '"other"'))
    told("close_room", "", "old")
    for room in ("new", "old", "other"):
        one.hub.emit("after", room, room=room)
    for a in clients:
        a.connect(offset="0")
    assert [a.hears() for a in clients] == [
        ['2["after","new"]', '2["after","other"]', "0"],
        ["0"],
        ['2["after","other"]', "0"],
    ]
    assert clients[0].peer.socket.rooms == {"new", "other"}
    assert one.cluster.dropped == 0


def test_client_that_is_away_is_turned_out_from_elsewhere() -> None:
    world = Recovering()
    one, _ = joined(Server(), Server(world=world))
    a = world.client()
    a.hears()
    a.drop()
    one.hub.disconnect(a.sid)
    a.connect()
    a.hears()
    assert not a.has_recovered()
