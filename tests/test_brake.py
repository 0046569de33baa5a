"""`max-rate`: a client that sends too much is held up, then closed."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from clock import Clock
from test_sockets import Peer, World
from wire import live, run, socketio, until

from redbarrel_lite.brake import MAX_PAUSE_S, MAX_PAUSES
from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.routes import compile_template
from redbarrel_lite.websocket import WebSocket


class Braking(World):
    """A world of so many events a second, with a clock."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.clock = Clock()
        self.hub.attach(self.woken.append, self.run_handler, loop=self.clock.as_loop())
        self.doors = Doors(self.hub)
        door = Door("/", compile_template(["/"]), self.handler, max_rate=rate)
        self.doors.add(door)

    def say(self, peer: Peer, count: int) -> list[str]:
        """Events; what the connection was told about reading, since the last time."""
        peer.say(*['2["x"]'] * count)
        return self.told(peer)

    def told(self, peer: Peer) -> list[str]:
        told = peer.connection.reading[:]
        peer.connection.reading.clear()
        return told


def test_second_s_worth_of_events_may_come_at_once_and_then_again() -> None:
    world = Braking(10)
    peer = world.connect()
    for _ in range(100):
        assert world.say(peer, 10) == []
        world.clock.advance(1.0)
    assert world.clock.timers == []


def test_client_that_sends_more_is_paused_until_it_is_even() -> None:
    world = Braking(10)
    peer = world.connect()
    assert world.say(peer, 11) == ["pause"]
    assert world.say(peer, 4) == []  # they came with the first
    assert len(peer.runner.news) == 1 + 15  # none is lost
    world.clock.advance(0.49)
    assert world.told(peer) == []
    world.clock.advance(0.02)
    assert world.told(peer) == ["resume"]
    world.clock.advance(1.0)
    assert world.say(peer, 10) == []


def test_burst_is_paid_for_in_pauses_of_bounded_length() -> None:
    world = Braking(10)
    peer = world.connect()
    assert world.say(peer, 200) == ["pause"]
    for _ in range(3):
        world.clock.advance(MAX_PAUSE_S - 0.01)
        assert world.told(peer) == []
        world.clock.advance(0.02)
        assert world.told(peer) == ["resume"]
        assert world.say(peer, 1) == ["pause"]
    world.clock.advance(MAX_PAUSE_S)
    assert world.told(peer) == ["resume"]
    world.clock.advance(1.0)
    assert world.say(peer, 10) == []


def test_more_at_once_than_pauses_can_pay_for_closes_at_once() -> None:
    world = Braking(10)
    peer = world.connect()
    most = 10 + int(10 * MAX_PAUSES * MAX_PAUSE_S)
    assert world.say(peer, most) == ["pause"]
    with pytest.raises(RemoteProtocolError, match="over 10 events a second, for too long"):
        world.say(peer, 1)
    assert peer.socket.reason == "over max-rate"
    assert peer.runner.news.count([]) == most


@pytest.mark.parametrize(("count", "every_s"), [(2, 0.1), (11, 1.0), (65, 5.5), (300, 6.3)])
def test_whoever_goes_on_sending_more_is_closed_however_it_is_spread(
    count: int, every_s: float
) -> None:
    world = Braking(10)
    peer = world.connect()
    took_s = 0.0
    while not peer.socket.gone:
        assert took_s < 250
        with contextlib.suppress(RemoteProtocolError):
            world.say(peer, count)
        world.clock.advance(every_s)
        took_s += every_s
    assert peer.runner.news.count([]) <= 10 + 10 * MAX_PAUSES * MAX_PAUSE_S + 10 * took_s


def test_client_that_never_stops_is_closed() -> None:
    world = Braking(10)
    peer = world.connect()
    for _ in range(MAX_PAUSES):
        assert world.say(peer, 12) == ["pause"]
        while world.told(peer) != ["resume"]:
            world.clock.advance(0.05)
    with pytest.raises(RemoteProtocolError, match="over 10 events a second, for too long"):
        world.say(peer, 12)
    assert peer.socket.reason == "over max-rate"
    assert world.clock.timers == []
    assert world.told(peer) == []


def test_client_that_has_been_quiet_is_forgiven() -> None:
    world = Braking(10)
    peer = world.connect()
    for _ in range(3 * MAX_PAUSES):
        assert world.say(peer, 12) == ["pause"]
        world.clock.advance(2.0)
        assert world.told(peer) == ["resume"]


def test_less_than_one_event_a_second_is_a_rate_too() -> None:
    world = Braking(0.5)
    peer = world.connect()
    assert world.say(peer, 1) == []
    assert world.say(peer, 1) == ["pause"]
    world.clock.advance(1.9)
    assert world.told(peer) == []
    world.clock.advance(0.2)
    assert world.told(peer) == ["resume"]


@pytest.mark.parametrize("how", ["41", "the connection", "the server"])
def test_client_that_goes_in_a_pause_leaves_no_timer_and_no_pause(how: str) -> None:
    world = Braking(1)
    peer = world.connect()
    assert world.say(peer, 5) == ["pause"]
    if how == "41":
        peer.say("1")
    elif how == "the server":
        peer.socket.close()
        peer.say('2["under way"]', '2["under way"]')
    else:
        peer.client.end("transport close")
    assert world.told(peer) == ["resume"]
    assert world.clock.timers == []


def test_max_rate_of_a_file_holds_up_a_real_client(tmp_path: Path) -> None:
    rbr = "path s ( method SOCKETIO, max-rate 50, on x use python:MODULE.x );"

    async def test() -> None:
        async with live(tmp_path, rbr, "async def x(request): return 1") as server:
            client = await socketio(server.url)
            (connection,) = server.server.connections
            assert isinstance(connection, WebSocket)
            transport = connection._transport
            assert transport is not None
            event = b'420["x"]'
            await client.send((bytes((0x81, 0x80 | len(event))) + bytes(4) + event) * 60)
            for _ in range(60):
                assert await client.read() == "430[1]"
            assert not transport.is_reading()
            await until(transport.is_reading)

    run(test())
