"""Sockets, rooms and namespaces, over a connection and runners that record what they get."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
from clock import Clock

from redbarrel_lite import socketio
from redbarrel_lite.acks import MAX_PENDING_ACKS
from redbarrel_lite.client import MAX_NAMESPACES_PER_CLIENT, MAX_REFUSALS_A_SECOND, Client
from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.errors import RemoteProtocolError, SocketClosed
from redbarrel_lite.handover import HAND_OVER_BYTES
from redbarrel_lite.hub import Hub
from redbarrel_lite.messages import Handler, Message
from redbarrel_lite.outgoing import DONE, Held, Outgoing
from redbarrel_lite.request import Request
from redbarrel_lite.routes import compile_template
from redbarrel_lite.sockets import Socket


class RecordingConnection:
    """A connection that keeps what is sent over it."""

    def __init__(self) -> None:
        self.transport = "websocket"
        self.congested = False
        self.ready = True
        self.sent: list[Outgoing] = []
        self.reading: list[str] = []  # "pause" and "resume", as they came
        self.waiting: list[Callable[[], object]] = []
        self.hung_up: list[tuple[int, str]] = []  # with which code, and why

    @property
    def said(self) -> list[socketio.Message]:
        return [message for outgoing in self.sent for message in outgoing.messages]

    def send(self, outgoing: Outgoing) -> None:
        self.sent.append(outgoing)

    def when_drained(self, callback: Callable[[], object]) -> None:
        if self.congested:
            self.waiting.append(callback)
        else:
            callback()

    def drain(self) -> None:
        self.congested = False
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def hang_up(self, code: int, reason: str) -> None:
        self.hung_up.append((code, reason))

    def pause(self) -> None:
        self.reading.append("pause")

    def resume(self) -> None:
        self.reading.append("resume")


class RecordingRunner:
    """A runner whose handler does nothing; `recv` gives what has been delivered."""

    def __init__(self, handler: Handler, socket: Socket, request: Request) -> None:
        self.handler, self.socket, self.request = handler, socket, request
        self.news: list[Any] = []

    def start(self) -> None:
        self.news.append("start")

    def deliver(self, message: Message) -> None:
        self.news.append(message)

    def finish(self) -> None:
        self.news.append("finish")

    def recv(self, timeout: float | None) -> Any:
        found = self.news.pop(1)
        return Message() if found == "finish" else found


class World:
    """A hub whose loop is this thread, with what ``wake`` was given."""

    def __init__(self, *namespaces: str) -> None:
        self.hub = Hub()
        self.clock = Clock()
        self.doors = Doors(self.hub)
        self.woken: list[Callable[[], None]] = []
        self.runners: list[RecordingRunner] = []
        for name in namespaces or ("/",):
            self.doors.add(Door(name, compile_template([name]), self.handler))
        self.hub.attach(self.woken.append, self.run_handler, loop=self.clock.as_loop())

    def handler(self, globs: dict[str, Any], request: Request) -> None:
        """A handler that is named, and never run here."""

    def run_handler(self, handler: Handler, socket: Socket, request: Request) -> RecordingRunner:
        self.runners.append(RecordingRunner(handler, socket, request))
        return self.runners[-1]

    def connect(self, namespace: str = "/", auth: str = "") -> Peer:
        peer = Peer(self)
        peer.say(f"0{'' if namespace == '/' else namespace + ','}{auth}")
        return peer

    def turn(self) -> int:
        """One turn of the loop; how often it was woken for."""
        woken = self.woken[:]
        self.woken.clear()
        for function in woken:
            function()
        return len(woken)


class Peer:
    """A client, at its connection."""

    def __init__(self, world: World, max_attached: int = 1000) -> None:
        self.world = world
        self.connection = RecordingConnection()
        self.request = Request("GET", "/socket.io/", [])
        self.client = Client(world.doors, self.connection, self.request, 45.0, max_attached)

    def say(self, *messages: socketio.Message) -> None:
        for message in messages:
            self.client.receive(message)

    def hears(self) -> list[socketio.Message]:
        said = self.connection.said
        self.connection.sent.clear()
        return said

    @property
    def runner(self) -> RecordingRunner:
        return next(
            r for r in reversed(self.world.runners) if r.socket.connection is self.connection
        )

    @property
    def socket(self) -> Socket:
        return self.runner.socket

    @property
    def sid(self) -> str:
        return self.socket.session.session_id


def in_thread(function: Callable[[], object]) -> None:
    """Run something in another thread, to its end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    for error in errors:
        raise error


# -- connecting --------------------------------------------------------------------------


def test_connect_is_answered_before_the_handler_starts() -> None:
    peer = World().connect(auth='{"token":"abc"}')
    (answer,) = peer.hears()
    assert answer == f'0{{"sid":"{peer.sid}"}}'
    assert peer.runner.news == ["start"]
    assert peer.client.connect_by is None
    assert peer.socket.auth == {"token": "abc"}
    assert peer.runner.request.socketio is peer.socket
    assert peer.request.socketio is None
    assert peer.runner.handler == peer.world.handler


def test_sids_are_long_and_all_different() -> None:
    world = World()
    sids = {world.connect().sid for _ in range(100)}
    assert len(sids) == 100
    assert min(map(len, sids)) * 6 >= 128


def test_socket_knows_its_connection() -> None:
    world = World("/a")
    socket = world.connect("/a").socket
    assert (socket.namespace, socket.transport, socket.server) == ("/a", "websocket", world.hub)
    socket.session["name"] = "Tarek"
    assert socket.session == {"name": "Tarek"}


def test_on_connect_is_true_once() -> None:
    socket = World().connect().socket
    assert [socket.on_connect() for _ in range(3)] == [True, False, False]


def test_unknown_namespace_is_refused_and_the_connection_lives() -> None:
    peer = Peer(World())
    peer.say("0/random,")
    assert peer.hears() == ['4/random,{"message":"Invalid namespace"}']
    assert peer.client.connect_by == 45.0
    peer.say("0")
    assert peer.client.connect_by is None


@pytest.mark.parametrize("packet", ['2["x"]', "30[]", "1", '2/a,["x"]', '51-["x"]'])
def test_packet_before_connect_closes_the_connection(packet: str) -> None:
    peer = Peer(World("/", "/a"))
    with pytest.raises(RemoteProtocolError, match="not connected"):
        peer.say(packet, b"x")


def test_packet_for_a_namespace_not_joined_closes_the_connection() -> None:
    peer = World("/", "/a").connect()
    with pytest.raises(RemoteProtocolError, match=r"type 2 for a namespace not connected: '/a'"):
        peer.say('2/a,["x"]')


def test_second_connect_closes_the_connection_and_starts_no_second_handler() -> None:
    peer = World().connect()
    with pytest.raises(RemoteProtocolError, match="second CONNECT for '/'"):
        peer.say("0")
    assert len(peer.world.runners) == 1


def test_connection_carries_several_namespaces() -> None:
    world = World("/", "/a")
    peer = world.connect()
    peer.say("0/a,", '2["x"]', '2/a,["y"]')
    root, other = (runner.news for runner in world.runners)
    assert [message.event for message in root[1:]] == ["x"]
    assert [message.event for message in other[1:]] == ["y"]
    peer.say("1/a,", '2["still"]')
    assert other[-1] == "finish"
    assert root[-1].event == "still"


def test_client_may_leave_and_come_again() -> None:
    peer = World().connect()
    first = peer.sid
    peer.say("1")
    assert peer.runner.news == ["start", "finish"]
    with pytest.raises(RemoteProtocolError):
        peer.say('2["x"]')
    peer.say("0")
    assert peer.sid != first


def test_client_joins_a_limited_number_of_namespaces_and_keeps_them() -> None:
    names = [f"/{number}" for number in range(MAX_NAMESPACES_PER_CLIENT + 1)]
    peer = Peer(World(*names))
    peer.say(*(f"0{name}," for name in names))
    assert len(peer.world.runners) == MAX_NAMESPACES_PER_CLIENT
    assert peer.hears()[-1] == '4/16,{"message":"too many namespaces"}'
    peer.say('2/0,["still"]', "1/0,", "0/16,")
    assert peer.world.runners[0].news[1].event == "still"
    assert peer.hears() == [f'0/16,{{"sid":"{peer.sid}"}}']


def test_client_that_asks_again_and_again_in_vain_may_do_so_slowly() -> None:
    peer = World().connect()
    peer.hears()
    for _ in range(10):
        peer.say(*("0/closed," for _ in range(MAX_REFUSALS_A_SECOND)))
        assert set(peer.hears()) == {'4/closed,{"message":"Invalid namespace"}'}
        peer.world.clock.advance(1.0)
    peer.say('2["still"]')
    assert peer.runner.news[1].event == "still"


def test_client_that_asks_too_often_in_vain_is_closed() -> None:
    peer = World().connect()
    peer.say(*(f"0/{number}," for number in range(MAX_REFUSALS_A_SECOND)))
    peer.world.clock.advance(0.9)
    with pytest.raises(RemoteProtocolError, match="refused 16 times in a second"):
        peer.say("0/one-more,")


def test_client_that_was_turned_out_everywhere_has_room_for_others() -> None:
    names = [f"/{number}" for number in range(2 * MAX_NAMESPACES_PER_CLIENT)]
    peer = Peer(World(*names))
    for name in names:
        peer.say(f"0{name},")
        peer.socket.close()
        peer.world.hub.runners.clear()
    assert len(peer.world.runners) == len(names)


def test_client_that_was_turned_out_may_come_again_at_the_limit() -> None:
    names = [f"/{number}" for number in range(MAX_NAMESPACES_PER_CLIENT)]
    peer = Peer(World(*names))
    peer.say(*(f"0{name}," for name in names))
    peer.world.runners[0].socket.close()
    peer.say("0/0,")
    assert peer.hears()[-1] == f'0/0,{{"sid":"{peer.sid}"}}'


def test_attachments_obey_the_limit_of_the_connection() -> None:
    peer = World().connect()
    with pytest.raises(RemoteProtocolError, match="attachments of over 1000 bytes"):
        peer.say('52-["x"]', bytes(600), bytes(600))


# -- receiving ---------------------------------------------------------------------------


def test_event_arrives_as_a_list_of_its_arguments() -> None:
    peer = World().connect()
    peer.say(
        '2["message","hello"]',
        '2["move",1,{"a":null}]',
        '51-["file",{"_placeholder":true,"num":0}]',
    )
    peer.say(b"\x01")
    received = [peer.socket.recv() for _ in range(3)]
    assert received == [["hello"], [1, {"a": None}], [b"\x01"]]
    assert [message.event for message in received] == ["message", "move", "file"]
    assert not any(message.wants_reply or message.is_last for message in received)


def test_number_as_a_name_is_its_digits() -> None:
    peer = World().connect()
    peer.say('2[1,"a"]')
    assert peer.socket.recv().event == "1"


def test_event_without_arguments_does_not_end_the_loop() -> None:
    peer = World().connect()
    peer.say('2["ping"]', '2["message","x"]')
    peer.client.end("transport close")
    assert [(message.event, list(message)) for message in peer.socket] == [
        ("ping", []),
        ("message", ["x"]),
    ]


def test_async_loop_ends_when_the_client_has_gone() -> None:
    peer = World().connect()
    peer.say('2["ping"]')
    peer.client.end("transport close")
    recv = peer.runner.recv

    async def later(timeout: float | None) -> Any:
        return recv(timeout)

    peer.runner.recv = later  # type: ignore[method-assign]

    async def events() -> list[str]:
        return [message.event async for message in peer.socket]

    with pytest.raises(StopIteration) as ended:
        events().send(None)
    assert ended.value.value == ["ping"]


def test_socket_without_a_handler_can_not_receive() -> None:
    world = World()
    socket = Socket(world.hub.namespace("/"), RecordingConnection(), None)
    world.hub.namespace("/").enter(socket)
    with pytest.raises(SocketClosed):
        socket.recv()
    socket.end("gone")
    assert not socket.connected()


@pytest.mark.parametrize("how", ["41", "the connection"])
def test_end_reaches_the_handler_once(how: str) -> None:
    peer = World().connect()
    if how == "41":
        peer.say("1")
    peer.client.end("transport close")
    peer.client.end("transport close")
    assert peer.runner.news == ["start", "finish"]
    assert not peer.socket.connected()
    assert peer.world.hub.sockets() == []
    assert (peer.world.hub.namespaces, peer.world.hub.by_sid) == ({}, {})


# -- acknowledgements ----------------------------------------------------------------------


def test_reply_acknowledges_once() -> None:
    peer = World().connect()
    peer.hears()
    peer.say('20["ask",1]')
    message = peer.socket.recv()
    assert message.wants_reply
    message.reply("a", {"b": [False]})
    assert not message.wants_reply
    message.reply("again")
    assert peer.hears() == ['30["a",{"b":[false]}]']


def test_nothing_is_acknowledged_that_was_not_asked_for() -> None:
    peer = World().connect()
    peer.hears()
    peer.say('2["tell"]')
    peer.socket.recv().reply("x")
    Message().reply("x")
    assert peer.hears() == []


def test_reply_that_is_no_json_can_be_made_again() -> None:
    peer = World().connect()
    peer.hears()
    peer.say('27["ask"]')
    message = peer.socket.recv()
    with pytest.raises(TypeError):
        message.reply({1, 2})
    message.reply(b"\x01")
    assert peer.hears() == ['61-7[{"_placeholder":true,"num":0}]', b"\x01"]


def test_acknowledgement_calls_back_once() -> None:
    peer = World().connect()
    peer.hears()
    answers: list[tuple[Any, ...]] = []
    peer.socket.emit("ask", 1, ack=lambda *args: answers.append(args))
    peer.socket.emit("ask", 2, ack=lambda *args: answers.append(args))
    assert peer.hears() == ['20["ask",1]', '21["ask",2]']
    peer.say('31["b",2]', "30[]", "30[]", "31[]", "3999[]")
    assert answers == [("b", 2), ()]


def test_failing_callback_is_reported_and_nothing_else_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = World().connect()
    peer.socket.emit("ask", ack=lambda: 1 / 0)
    peer.say("30[]")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"a callback of <socket {peer.sid[:6]}... of /> failed:")
    assert "ZeroDivisionError" in record.getMessage()


def test_unanswered_acknowledgements_are_forgotten_in_the_end() -> None:
    peer = World().connect()
    answered: list[int] = []
    for number in range(MAX_PENDING_ACKS + 2):
        peer.socket.emit("ask", ack=lambda number=number: answered.append(number))
    peer.say("30[]", "31[]", "32[]", f"3{MAX_PENDING_ACKS + 1}[]")
    assert answered == [2, MAX_PENDING_ACKS + 1]


def test_nothing_is_kept_for_a_client_that_has_gone() -> None:
    peer = World().connect()
    peer.client.end("transport close")
    peer.hears()
    peer.socket.emit("ask", ack=lambda: None)
    assert peer.hears() == []
    assert not peer.socket._acks


# -- sending -----------------------------------------------------------------------------


def test_send_is_the_event_message() -> None:
    peer = World("/a").connect("/a")
    peer.hears()
    for value in ("x", 1, {"a": [None]}, b"\x01"):
        peer.socket.send(value)
    assert peer.hears() == [
        '2/a,["message","x"]',
        '2/a,["message",1]',
        '2/a,["message",{"a":[null]}]',
        '51-/a,["message",{"_placeholder":true,"num":0}]',
        b"\x01",
    ]


def test_emit_is_any_event() -> None:
    peer = World().connect()
    peer.hears()
    peer.socket.emit("move", 1, "b")
    peer.socket.emit("ping")
    assert peer.hears() == ['2["move",1,"b"]', '2["ping"]']


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_what_is_no_json_is_refused_where_it_is_sent(value: Any) -> None:
    world = World()
    peer = world.connect()
    peer.hears()
    socket = peer.socket
    calls: list[Callable[[], object]] = [
        lambda: socket.send(value),
        lambda: socket.emit("x", value),
        lambda: socket.emit("x", value, ack=print),
        lambda: socket.call("x", value),
        lambda: socket.broadcast(value),
        lambda: world.hub.broadcast(value),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            in_thread(call)
    assert world.turn() == 0
    assert peer.hears() == []


def test_awaiting_a_send_costs_nothing_while_the_queue_is_short() -> None:
    peer = World().connect()
    assert peer.socket.send("x") is DONE

    async def wait() -> str:
        await peer.socket.send("y")
        await peer.socket.broadcast("y")
        return "waited"

    with pytest.raises(StopIteration) as ended:
        wait().send(None)
    assert ended.value.value == "waited"


def test_awaiting_a_send_waits_while_the_queue_is_long() -> None:
    async def story() -> None:
        peer = World().connect()
        peer.connection.congested = True
        waits = [peer.socket.send("x"), peer.socket.emit("x", ack=print)]
        assert peer.socket.broadcast("x") is DONE
        assert not any(asyncio.ensure_future(wait).done() for wait in waits)
        peer.connection.drain()
        await asyncio.gather(*waits)

    asyncio.run(story())


def test_broadcast_goes_to_the_others_of_the_namespace() -> None:
    world = World("/", "/a")
    a, b, c, elsewhere = world.connect(), world.connect(), world.connect(), world.connect("/a")
    everyone = [a, b, c, elsewhere]
    for peer in everyone:
        peer.hears()
    a.socket.broadcast("x")
    assert b.connection.sent[0] is c.connection.sent[0]  # encoded once
    assert [peer.hears() for peer in everyone] == [
        [],
        ['2["message","x"]'],
        ['2["message","x"]'],
        [],
    ]
    a.socket.broadcast("y", exceptions=[b.sid], event="news")
    assert [peer.hears() for peer in everyone] == [[], [], ['2["news","y"]'], []]


def test_broadcast_of_who_has_gone_still_reaches_the_others() -> None:
    world = World()
    a, b = world.connect(), world.connect()
    a.hears(), b.hears()
    a.client.end("transport close")
    a.socket.broadcast("a left")
    a.socket.send("nobody")
    assert (a.hears(), b.hears()) == ([], ['2["message","a left"]'])


def test_broadcast_reaches_a_room() -> None:
    world = World()
    a, b, c = world.connect(), world.connect(), world.connect()
    for peer in (a, b, c):
        peer.hears()
    a.socket.join("red")
    b.socket.join("red")
    assert a.socket.rooms == {"red"}
    a.socket.broadcast("x", room="red")
    c.socket.broadcast("y", room="red")
    c.socket.broadcast("z", room="no such room")
    assert a.hears() == ['2["message","y"]']
    assert b.hears() == ['2["message","x"]', '2["message","y"]']
    assert c.hears() == []


def test_room_ends_with_its_last_member() -> None:
    world = World()
    rooms = world.hub.namespace("/").rooms
    a, b = world.connect(), world.connect()
    for peer in (a, b):
        peer.socket.join("red")
    a.socket.leave("red")
    a.socket.leave("red")
    a.socket.leave("never joined")
    assert (a.socket.rooms, list(rooms)) == (frozenset(), ["red"])
    b.client.end("transport close")
    assert rooms == {}
    b.socket.join("red")
    assert rooms == {}


def test_hub_broadcasts_from_outside() -> None:
    world = World("/", "/a")
    root, other = world.connect(), world.connect("/a")
    other.socket.join("red")
    root.hears(), other.hears()
    world.hub.broadcast("x")
    world.hub.broadcast({"a": 1}, room="red", namespace="/a", event="news")
    world.hub.broadcast("y", room="blue", namespace="/a")
    assert (root.hears(), other.hears()) == (['2["message","x"]'], ['2/a,["news",{"a":1}]'])
    with pytest.raises(ValueError, match="no path has the namespace '/none'; there are: /, /a"):
        world.hub.broadcast("x", namespace="/none")


def test_client_dropped_in_the_middle_of_a_broadcast_disturbs_nobody() -> None:
    world = World()
    a, b, c = world.connect(), world.connect(), world.connect()
    c.hears()

    def drop(outgoing: Outgoing) -> None:
        assert outgoing.messages
        b.client.end("transport error")

    b.connection.send = drop  # type: ignore[method-assign]
    a.socket.broadcast("x")
    assert c.hears() == ['2["message","x"]']
    assert world.hub.sockets() == [a.socket, c.socket]


# -- closing -----------------------------------------------------------------------------


def test_close_turns_the_client_out_and_what_is_under_way_is_ignored() -> None:
    world = World("/a")
    peer = world.connect("/a")
    peer.hears()
    peer.socket.emit("ask", ack=pytest.fail)
    peer.socket.close()
    peer.socket.close()
    assert not peer.socket.connected()
    assert peer.hears() == ['2/a,0["ask"]', "1/a,"]
    peer.say('2/a,["late"]', "3/a,0[]", '51-/a,1["late"]', b"x", "1/a,")
    peer.socket.send("x")
    assert peer.hears() == []
    # What the client says after its own DISCONNECT was not under way.
    with pytest.raises(RemoteProtocolError):
        peer.say('2/a,["x"]')


def test_client_that_was_turned_out_may_connect_again() -> None:
    peer = World().connect()
    first = peer.socket
    first.close()
    peer.say("0")
    assert peer.socket is not first
    assert (first.connected(), peer.socket.connected()) == (False, True)


# -- other threads -------------------------------------------------------------------------


def test_calls_from_a_thread_run_in_order_for_one_wake_up() -> None:
    world = World()
    a, b = world.connect(), world.connect()
    a.hears(), b.hears()

    def work() -> None:
        a.socket.join("red")
        assert a.socket.rooms == {"red"}
        for number in range(100):
            a.socket.send(number)
        a.socket.broadcast("x")
        a.socket.emit("ask", ack=print)
        a.socket.leave("red")
        assert a.socket.rooms == frozenset()
        a.socket.close()
        assert not a.socket.connected()
        a.socket.send("too late")

    in_thread(work)
    assert (a.hears(), b.hears()) == ([], [])
    assert world.turn() == 1
    assert a.hears() == [*(f'2["message",{n}]' for n in range(100)), '20["ask"]', "1"]
    assert b.hears() == ['2["message","x"]']
    assert world.turn() == 0


def test_event_never_follows_the_disconnect_of_another_thread() -> None:
    world = World()
    peer = world.connect()
    peer.hears()
    in_thread(lambda: peer.socket.send("before"))
    peer.client.end("transport close")
    world.turn()
    assert peer.hears() == []


def test_calls_of_a_turn_are_those_that_were_there() -> None:
    world = World()
    done: list[str] = []

    def again() -> None:
        done.append("again")
        in_thread(lambda: world.hub.run(done.append, "later"))

    in_thread(lambda: world.hub.run(again))
    world.turn()
    assert done == ["again"]
    world.turn()
    assert done == ["again", "later"]


def test_failing_call_is_logged_and_those_behind_it_run(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    done: list[int] = []

    def work() -> None:
        world.hub.run(done.append, 1)
        world.hub.run(lambda: 1 / 0)
        world.hub.run(done.append, 2)

    in_thread(work)
    with caplog.at_level(logging.ERROR):
        world.turn()
    assert done == [1, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "a call from another thread failed"
    ]


def test_calls_made_before_there_is_a_loop_run_once_it_is_there() -> None:
    hub = Hub()
    hub.add("/", compile_template(["/"]))
    done: list[int] = []
    hub.run(done.append, 1)
    hub.broadcast("x" * HAND_OVER_BYTES)  # waits for nothing: nobody would take it
    woken: list[Callable[[], None]] = []
    hub.attach(woken.append, World().run_handler)
    (run,) = woken
    run()
    assert done == [1]


def test_calls_after_the_loop_has_ended_do_nothing() -> None:
    world = World()
    peer = world.connect()

    def ended(function: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    world.hub.attach(ended, world.run_handler)
    peer.hears()

    def work() -> None:
        peer.socket.send("x" * HAND_OVER_BYTES)
        peer.socket.broadcast("x" * HAND_OVER_BYTES)
        peer.socket.close()

    in_thread(work)
    assert peer.hears() == []


class Loop:
    """A thread's calls, and a loop that takes them when told to."""

    def __init__(self, world: World, work: Callable[[], object]) -> None:
        self.world = world
        self.news = threading.Event()
        world.hub.attach(self.wake, world.run_handler)
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def wake(self, function: Callable[[], None]) -> None:
        self.world.woken.append(function)
        self.news.set()

    def turn(self) -> None:
        assert self.news.wait(30)
        self.news.clear()
        self.world.turn()

    def run(self) -> None:
        """Turn until the thread has ended."""
        while self.thread.is_alive():
            if self.news.wait(0.01):
                self.turn()


@pytest.mark.parametrize("how", ["send", "emit", "broadcast", "server"])
def test_thread_waits_for_the_loop_to_take_what_it_hands_over(how: str) -> None:
    world = World()
    a, b = world.connect(), world.connect()
    a.hears(), b.hears()
    text = "x" * 1000
    send: dict[str, Callable[[], object]] = {
        "send": lambda: b.socket.send(text),
        "emit": lambda: b.socket.emit("message", text),
        "broadcast": lambda: a.socket.broadcast(text),
        "server": lambda: world.hub.broadcast(text),
    }
    handed: list[int] = []

    def work() -> None:
        for number in range(1000):
            send[how]()
            handed.append(number)

    loop = Loop(world, work)
    most = 0
    while loop.thread.is_alive():
        most = max(most, len(handed) - len(b.connection.sent))
        if loop.news.wait(0.01):
            loop.turn()
    assert most <= HAND_OVER_BYTES / 1000
    assert b.hears() == [f'2["message","{text}"]'] * 1000


def test_thread_waits_while_the_queue_is_long() -> None:
    world = World()
    peer = world.connect()
    peer.hears()
    peer.connection.congested = True
    sent: list[int] = []

    def work() -> None:
        for number in range(3):
            peer.socket.send(number)
            sent.append(number)

    loop = Loop(world, work)
    while not peer.connection.waiting:
        loop.turn()
    assert sent == []
    peer.connection.drain()
    loop.run()
    assert sent == [0, 1, 2]
    assert peer.hears() == [f'2["message",{number}]' for number in range(3)]


def test_what_threads_ask_of_a_client_that_goes_meanwhile_comes_to_nothing() -> None:
    world = World()
    peer = world.connect()
    peer.say('27["ask"]')
    message = peer.socket.recv()
    peer.hears()

    def work() -> None:
        message.reply("late")
        peer.socket.emit("ask", ack=pytest.fail)
        peer.socket.emit("there", volatile=True)
        peer.socket.leave("never joined")

    in_thread(work)
    peer.client.end("transport close")
    world.turn()
    assert peer.hears() == []
    assert not peer.socket._acks


def test_volatile_event_is_dropped_and_never_acknowledged_if_the_client_is_not_ready() -> None:
    peer = World().connect()
    peer.hears()
    peer.connection.ready = False
    peer.socket.emit("there", volatile=True)
    peer.socket.emit("ask", volatile=True, ack=pytest.fail)
    assert peer.hears() == []
    assert not peer.socket._acks
    peer.connection.ready = True
    peer.socket.emit("there", volatile=True)
    peer.socket.emit("ask", volatile=True, ack=print)
    assert peer.hears() == ['2["there"]', '21["ask"]']


def test_callback_must_not_wait_for_an_acknowledgement() -> None:
    async def story() -> None:
        peer = World().connect()
        errors: list[BaseException] = []

        def call() -> None:
            try:
                peer.socket.call("ask")
            except RuntimeError as error:
                errors.append(error)

        asyncio.get_running_loop().call_soon(call)
        await asyncio.sleep(0)
        assert "must not wait" in str(errors[0])

    asyncio.run(story())


def test_connection_that_is_held_passes_on_what_is_no_message() -> None:
    connection = RecordingConnection()
    held = Held(connection, pytest.fail)
    drained: list[str] = []
    held.when_drained(lambda: drained.append("at once"))
    held.pause()
    held.resume()
    assert (drained, connection.reading) == (["at once"], ["pause", "resume"])


def test_done_can_be_awaited_again_and_again() -> None:
    async def wait() -> None:
        await DONE
        await DONE

    steps: Generator[Any, None, None] = wait().__await__()
    assert list(steps) == []


def test_data_of_the_application_is_json_on_the_wire() -> None:
    """The chat's own form: an event "message" with one text, which holds JSON."""
    world = World()
    a, b = world.connect(), world.connect()
    b.hears()
    a.socket.broadcast(json.dumps({"message": [a.sid, 'a "quoted" word']}))
    (text,) = b.hears()
    assert isinstance(text, str)
    assert json.loads(json.loads(text[1:])[1]) == {"message": [a.sid, 'a "quoted" word']}
