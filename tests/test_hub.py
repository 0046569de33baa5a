"""What `request.server` does: all sockets of a file, from anywhere, over recording connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from test_sockets import World, in_thread

from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.hub import Hub
from redbarrel_lite.routes import compile_template


def dynamic() -> World:
    """A world with the namespaces "/" and "/game-{number}", whose number has digits."""
    world = World()
    pattern = compile_template(["/game-", ("number", "[0-9]+")])
    world.doors.add(Door("/game-{number:[0-9]+}", pattern, world.handler))
    return world


# -- namespaces ------------------------------------------------------------------------------


def test_namespace_with_a_placeholder_is_as_many_as_clients_ask_for() -> None:
    world = dynamic()
    a, b, c = world.connect("/game-1"), world.connect("/game-1"), world.connect("/game-2")
    assert a.runner.request.match == {"number": "1"}
    assert a.request.match == {}
    assert (a.socket.namespace, c.socket.namespace) == ("/game-1", "/game-2")
    a.hears(), b.hears(), c.hears()
    a.socket.broadcast("x")
    assert (a.hears(), b.hears(), c.hears()) == ([], ['2/game-1,["message","x"]'], [])
    world.hub.broadcast("y", namespace="/game-2")
    assert (a.hears(), c.hears()) == ([], ['2/game-2,["message","y"]'])


@pytest.mark.parametrize("name", ["/game-", "/game-x", "/game-1/2", "/xgame-1", "/game-1x"])
def test_namespace_that_no_pattern_fits_is_refused(name: str) -> None:
    world = dynamic()
    peer = world.connect(name)
    assert peer.hears() == [f'4{name},{{"message":"Invalid namespace"}}']
    with pytest.raises(ValueError, match="no path has the namespace"):
        world.hub.broadcast("x", namespace=name)


def test_placeholder_of_the_namespace_hides_that_of_the_url() -> None:
    world = dynamic()
    peer = world.connect()
    peer.request.match = {"number": "of the url", "other": "x"}
    peer.say("0/game-7,")
    assert peer.runner.request.match == {"number": "7", "other": "x"}


def test_first_path_that_fits_a_namespace_takes_it() -> None:
    world = dynamic()

    def other(globs: Any, request: Any) -> None: ...

    world.doors.add(Door("/game-1", compile_template(["/game-1"]), other))
    assert world.connect("/game-1").runner.handler == world.handler


def test_empty_namespace_is_forgotten() -> None:
    world = dynamic()
    for number in range(100):
        peer = world.connect(f"/game-{number}")
        peer.socket.join("red")
        peer.client.end("transport close")
    assert (world.hub.namespaces, world.hub.by_sid) == ({}, {})


def test_broadcast_to_nobody_is_none() -> None:
    world = dynamic()
    world.hub.broadcast("x", namespace="/game-1")
    assert world.hub.sockets("/game-1") == []
    assert world.hub.namespaces == {}


def test_namespace_at_two_urls_is_one() -> None:
    """Each url has its own handler, and a broadcast reaches the clients of both."""
    world = World()

    def other(globs: Any, request: Any) -> None: ...

    doors = Doors(world.hub)
    doors.add(Door("/", compile_template(["/"]), other))
    a = world.connect()
    first, world.doors = world.doors, doors
    b = world.connect()
    assert first is not doors
    assert (a.runner.handler, b.runner.handler) == (world.handler, other)
    a.hears(), b.hears()
    a.socket.broadcast("x")
    world.hub.broadcast("y")
    assert a.hears() == ['2["message","y"]']
    assert b.hears() == ['2["message","x"]', '2["message","y"]']
    assert world.hub.sockets() == [a.socket, b.socket]


# -- messages ----------------------------------------------------------------------------------


def test_server_emits_to_a_namespace_a_room_or_one_socket() -> None:
    world = World("/", "/a")
    a, b, c = world.connect(), world.connect(), world.connect("/a")
    for peer in (a, b, c):
        peer.hears()
    a.socket.join("red")
    server = world.hub
    server.emit("all", 1, 2)
    server.emit("red", room="red")
    server.emit("not a", exceptions=[a.sid])
    server.emit("one", b"\x01", to=b.sid)
    server.emit("elsewhere", namespace="/a")
    server.emit("private", to=c.sid)
    server.emit("nobody", to="who?")
    assert a.hears() == ['2["all",1,2]', '2["red"]']
    assert b.hears() == [
        '2["all",1,2]',
        '2["not a"]',
        '51-["one",{"_placeholder":true,"num":0}]',
        b"\x01",
    ]
    assert c.hears() == ['2/a,["elsewhere"]', '2/a,["private"]']


def test_nobody_waits_for_the_one_client_that_is_slow() -> None:
    world = World()
    peer = world.connect()
    peer.hears()
    peer.connection.congested = True
    in_thread(lambda: world.hub.emit("x", to=peer.sid))
    world.turn()
    assert peer.hears() == ['2["x"]']


def test_room_that_has_the_name_of_a_sid_is_a_room() -> None:
    """What is sent to one client can't be had by joining a room of that name."""
    world = World()
    a, b = world.connect(), world.connect()
    b.socket.join(a.sid)
    a.hears(), b.hears()
    world.hub.emit("secret", to=a.sid)
    assert (a.hears(), b.hears()) == (['2["secret"]'], [])
    world.hub.emit("room", room=a.sid)
    assert (a.hears(), b.hears()) == ([], ['2["room"]'])


def test_broadcast_leaves_out_exceptions_of_which_an_iterator_tells() -> None:
    world = World()
    a, b, c = (world.connect() for _ in range(3))
    for peer in (a, b, c):
        peer.hears()
    world.hub.broadcast("x", exceptions=iter([a.sid, b.sid]), event="news")
    assert [peer.hears() for peer in (a, b, c)] == [[], [], ['2["news","x"]']]


def test_volatile_message_reaches_only_who_is_ready() -> None:
    world = World()
    a, b, c = (world.connect() for _ in range(3))
    for peer in (a, b, c):
        peer.hears()
    b.connection.ready = False
    a.socket.broadcast("x", volatile=True)
    world.hub.emit("y", volatile=True, exceptions=[c.sid])
    world.hub.broadcast("z", volatile=True)
    world.hub.emit("b", to=b.sid, volatile=True)
    assert b.hears() == []
    assert a.hears() == ['2["y"]', '2["message","z"]']
    assert c.hears() == ['2["message","x"]', '2["message","z"]']


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_what_is_no_json_is_refused_where_it_is_sent(value: Any) -> None:
    world = World()
    peer = world.connect()
    peer.hears()
    calls: list[Callable[[], object]] = [
        lambda: world.hub.broadcast(value),
        lambda: world.hub.emit("x", value),
        lambda: world.hub.emit("x", value, to=peer.sid),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            in_thread(call)
    assert world.turn() == 0
    assert peer.hears() == []


# -- who is there ---------------------------------------------------------------------------------


def test_sockets_are_a_snapshot() -> None:
    world = World("/", "/a")
    a, b, c = world.connect(), world.connect(), world.connect("/a")
    b.socket.join("red")
    before = world.hub.sockets()
    assert before == [a.socket, b.socket]
    assert world.hub.sockets("/a") == [c.socket]
    assert world.hub.sockets(room="red") == [b.socket]
    assert world.hub.sockets(room="blue") == []
    a.client.end("transport close")
    assert before == [a.socket, b.socket]
    assert world.hub.sockets() == [b.socket]
    for socket in before:
        socket.send("hello")
    assert b.hears()[-1] == '2["message","hello"]'


def test_server_turns_a_socket_out() -> None:
    world = World("/a")
    a, b = world.connect("/a"), world.connect("/a")
    a.hears(), b.hears()
    in_thread(lambda: world.hub.disconnect(a.sid))
    assert not a.socket.connected()
    world.turn()
    world.hub.disconnect("who?")
    assert (a.hears(), b.hears()) == (["1/a,"], [])
    assert a.socket.reason == "server namespace disconnect"
    world.hub.disconnect(b.sid, "bored")
    assert b.socket.reason == "bored"


# -- from anywhere --------------------------------------------------------------------------------


def test_server_is_called_before_it_runs_and_after_its_end() -> None:
    hub = Hub()
    Doors(hub).add(Door("/", compile_template(["/"])))
    hub.emit("x")
    hub.disconnect("who?")
    assert hub.sockets() == []

    def ended(function: Callable[[], None]) -> None:
        raise RuntimeError("Event loop is closed")

    hub.attach(ended, World().run_handler)
    in_thread(lambda: hub.emit("x"))


def test_many_threads_may_ask_who_is_there_while_clients_come_and_go() -> None:
    world = World()
    ended = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            while not ended.is_set():
                world.hub.sockets()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        peer = world.connect()
        world.connect()
        peer.client.end("transport close")
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_callback_may_be_a_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        peer = World().connect()
        answers: list[Any] = []

        async def answered(*args: Any) -> None:
            await asyncio.sleep(0)
            answers.append(args)
            if args == ("bad",):
                raise LookupError("of the user")

        for _ in range(2):
            peer.socket.emit("ask", ack=answered)
        peer.say('30["good"]', '31["bad"]')
        await asyncio.gather(*peer.world.hub._tasks)
        assert answers == [("good",), ("bad",)]
        (record,) = caplog.records
        assert record.getMessage().startswith(f"a callback of {peer.socket!r} failed:")

    asyncio.run(story())
