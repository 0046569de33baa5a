"""A random walk: clients come, talk, move, break and come back, and a model counts along.

What it checks, of every connection that there was:

- the server has got what the client sent, in order, none twice, and all of it unless the
  connection broke;
- the client has got what was said to it, in order, none twice, across the upgrade too;
- of a room it has got, from each member, all that was said while it was one itself, and,
  where it came back to its session, while it was away;
- a handler began and ended for it, once.

The seed is told when it fails; RBL_WALK_SEED repeats the choices, though not the timing,
and RBL_WALK_S makes it longer than the two seconds of every run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TAKES_A_MINUTE
from wire import Live, live, until

from redbarrel_lite import testing

SECONDS = float(os.environ.get("RBL_WALK_S", "2"))
SEED = int(os.environ.get("RBL_WALK_SEED") or secrets.randbits(32))
WALKERS = 12
COLOURS = ("red", "green")
TRANSPORTS = ("polling", "websocket", "upgrade")
# By namespace: the url, and whether sessions are kept for those who come back.
NAMESPACES = {"/threads": "/socket.io/", "/coroutines": "/socket.io/", "/kept": "/kept/"}

RBR = """
    path threads (
        method SOCKETIO,
        namespace /threads,
        ping-interval 0.5,
        ping-timeout 10,
        use python:MODULE.threads
    );
    path coroutines ( method SOCKETIO, namespace /coroutines, use python:MODULE.coroutines );
    path kept (
        method SOCKETIO,
        url /kept/,
        namespace /kept,
        ping-interval 0.5,
        ping-timeout 10,
        recovery 60,
        use python:MODULE.coroutines
    );
"""

SOURCE = """
    from collections import Counter, defaultdict

    GOT = defaultdict(list)  # by session id and handler: the numbers that came, in their order
    TOLD = defaultdict(Counter)  # by session id and room: how many were told
    ENDED = []  # session ids


    class Visit:
        def __init__(self, socketio):
            self.socketio = socketio
            self.sid = socketio.session.session_id
            self.got = []
            GOT[self.sid].append(self.got)

        def take(self, message):
            socketio, event = self.socketio, message.event
            if event == "say":
                number, payload = message
                self.got.append(number)
                socketio.emit("echo", number, payload)
            elif event == "tell":
                room, payload = message
                number = TOLD[self.sid][room]
                TOLD[self.sid][room] += 1
                socketio.broadcast([self.sid, room, number, payload], room=room, event="told")
            elif event == "join":
                socketio.join(message[0])
                message.reply()
            elif event == "leave":
                socketio.leave(message[0])
                message.reply()
            elif event == "count":
                message.reply(self.got[-1] if self.got else None)
            elif event == "out":
                socketio.close()

        def end(self):
            ENDED.append(self.sid)


    def threads(globs, request):
        visit = Visit(request.socketio)
        for message in request.socketio:
            visit.take(message)
        visit.end()


    async def coroutines(globs, request):
        visit = Visit(request.socketio)
        async for message in request.socketio:
            visit.take(message)
        visit.end()
"""


class World:
    """All walkers, and what the server has noted."""

    def __init__(self, seed: int, server: Live) -> None:
        self.server = server
        self.seed = seed
        self.visits: list[Visit] = []
        self.done: Counter[str] = Counter()  # steps, by name
        self.module = server.module
        self.got: dict[str, list[list[int]]] = self.module.GOT
        self.told: dict[str, Counter[str]] = self.module.TOLD

    def tells(self) -> Counter[tuple[str, str]]:
        """How many tells have been sent so far, by session id and room."""
        return Counter({(v.sid, room): n for v in self.visits for room, n in v.tells.items()})


class Membership:
    """What one client hears in one room."""

    def __init__(self, before: Counter[tuple[str, str]]) -> None:
        self.before = before  # what may have been told before we came
        self.heard: dict[str, list[int]] = defaultdict(list)

    def check(self, room: str, told: dict[str, Counter[str]], me: str) -> None:
        """All that was told since is there."""
        for sid, counts in told.items():
            if sid != me and counts[room] > self.before[sid, room]:
                heard = self.heard[sid]
                assert heard, (sid, room)
                assert heard[-1] == counts[room] - 1, (sid, room)
                assert heard[0] <= self.before[sid, room], (sid, room)


class Visit:
    """One session of a walker, and what must become of what it says."""

    def __init__(self, socket: testing.AsyncSocket) -> None:
        self.socket = socket
        self.sid = socket.sid
        self.sent: list[tuple[int, Any]] = []
        self.echoed = -1  # the last number
        self.certain = 0  # what was sent before this number may have been lost
        self.tells: Counter[str] = Counter()
        self.rooms: dict[str, Membership] = {}
        self.connections = 1
        self.broken = False

    def say(self, payload: Any) -> None:
        self.sent.append((len(self.sent), payload))
        self.socket.emit("say", *self.sent[-1])

    def tell(self, room: str, payload: Any) -> None:
        self.tells[room] += 1
        self.socket.emit("tell", room, payload)

    async def hear(self) -> None:
        """Check all that has come."""
        while self.socket.received:
            message = await self.socket.recv()
            if message.event == "echo":
                number = message[0]
                assert number == self.echoed + 1 or self.echoed < number <= self.certain, self.sid
                assert tuple(message) == self.sent[number], self.sid
                self.echoed = number
            else:
                [[sid, room, number, _]] = message
                assert room in self.rooms, (self.sid, room)
                heard = self.rooms[room].heard[sid]
                assert not heard or number == heard[-1] + 1, (self.sid, sid, room)
                heard.append(number)

    async def settle(self) -> None:
        """All that was said has been heard, and echoed."""
        [last] = await self.socket.call("count")
        await self.hear()
        if len(self.sent) > self.certain:
            assert (last, self.echoed) == (len(self.sent) - 1,) * 2, self.sid


class Walker:
    """One client, and its way."""

    def __init__(self, number: int, world: World, client: testing.AsyncClient) -> None:
        self.chance = random.Random(f"{world.seed} {number}")
        self.world = world
        self.client = client
        self.visit: Visit | None = None
        self.steps: dict[Callable[[Visit], Awaitable[None]], int] = {
            self.talk: 40,
            self.listen: 10,
            self.enter: 8,
            self.leave: 4,
            self.upgrade: 6,
            self.pause: 10,
            self.close: 3,
            self.drop: 4,
            self.break_off_an_upgrade: 2,
            self.come_back: 6,
            self.be_turned_out: 1,
        }

    async def walk(self, until: float) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            if self.visit is None:
                await self.come()
                continue
            step = self.chance.choices([*self.steps], [*self.steps.values()])[0]
            self.world.done[step.__name__] += 1
            await step(self.visit)
            if self.visit is not None:
                await self.visit.hear()
                if self.visit.socket.transport == "polling":
                    # A poll fetches some packets only, and who is far behind is dropped.
                    await self.visit.settle()

    async def come(self) -> None:
        transport = self.chance.choice(TRANSPORTS)
        namespace, path = self.chance.choice([*NAMESPACES.items()])
        socket = await self.client.socket(namespace, path=path, transport=transport)
        self.visit = Visit(socket)
        self.world.visits.append(self.visit)
        self.world.done[f"came over {transport}"] += 1

    def payload(self) -> Any:
        chance = self.chance
        return chance.choice(
            [
                None,
                "",
                "é\u2028\x1e" * chance.randint(0, 50),
                chance.randbytes(chance.randint(0, 100)),
                [b"", {"a": chance.randbytes(3)}, chance.random()],
                "x" * chance.choice([1, 200, 20_000]),
            ]
        )

    def room(self, visit: Visit) -> str:
        """Rooms belong to namespaces; so that the model need not know, their names say so."""
        return f"{self.chance.choice(COLOURS)} of {visit.socket.namespace}"

    async def talk(self, visit: Visit) -> None:
        for _ in range(self.chance.randint(1, 8)):
            if self.chance.random() < 0.5:
                visit.say(self.payload())
            else:
                visit.tell(self.room(visit), self.payload())

    async def listen(self, visit: Visit) -> None:
        await visit.settle()

    async def enter(self, visit: Visit) -> None:
        room = self.room(visit)
        if room not in visit.rooms:
            # What is told from now on may come before we know that we are in.
            visit.rooms[room] = Membership(Counter())
            await visit.socket.call("join", room)
            visit.rooms[room].before = self.world.tells()

    async def leave(self, visit: Visit) -> None:
        if visit.rooms:
            room = self.chance.choice(sorted(visit.rooms))
            await visit.socket.call("leave", room)
            await visit.hear()
            del visit.rooms[room]

    async def upgrade(self, visit: Visit) -> None:
        if visit.socket.transport == "polling":
            moving = asyncio.create_task(visit.socket.upgrade())
            while not moving.done():
                await self.talk(visit)
                await asyncio.sleep(self.chance.random() / 50)
            await moving

    async def pause(self, visit: Visit) -> None:
        await asyncio.sleep(self.chance.choice([0, 0.001, 0.01, 0.1]))

    async def close(self, visit: Visit) -> None:
        await visit.settle()
        await visit.socket.close()
        self.visit = None

    async def drop(self, visit: Visit) -> None:
        visit.broken = True
        visit.socket.drop()
        self.visit = None

    async def break_off_an_upgrade(self, visit: Visit) -> None:
        if visit.socket.transport == "polling":
            moving = asyncio.create_task(visit.socket.upgrade())
            await asyncio.sleep(self.chance.choice([0, 0.001, 0.01, 0.05]))
            await self.drop(visit)
            await asyncio.gather(moving, return_exceptions=True)

    async def come_back(self, visit: Visit) -> None:
        """Break off, and be again who one was, if the server knows us and we have heard of it."""
        if visit.socket.namespace != "/kept" or visit.echoed < 0:
            return
        visit.socket.drop()
        visit.certain = len(visit.sent)
        visit.connections += 1
        await asyncio.sleep(self.chance.choice([0, 0, 0.01, 0.1]))
        await visit.socket.reconnect(self.chance.choice(TRANSPORTS))
        assert (visit.socket.recovered, visit.socket.sid) == (True, visit.sid)
        self.world.done["came back"] += 1

    async def be_turned_out(self, visit: Visit) -> None:
        await self.talk(visit)
        visit.socket.emit("out")
        assert await visit.socket.wait_disconnected() == "io server disconnect"
        await visit.hear()
        assert visit.echoed == len(visit.sent) - 1 or len(visit.sent) == visit.certain
        await visit.socket.close()
        self.visit = None


async def settle(world: World, walkers: list[Walker]) -> None:
    """Nobody speaks any more: all must have heard all."""
    standing = [walker.visit for walker in walkers if walker.visit is not None]
    for _ in range(2):  # the first time, all has been told; the second, all has been heard
        for visit in standing:
            await visit.settle()
    for visit in standing:
        for room, membership in visit.rooms.items():
            membership.check(room, world.told, visit.sid)
    for visit in standing:
        await visit.socket.close()


async def check_the_end(world: World) -> None:
    """Of every visit the server knows what was said, and that it is over."""
    for endpoint in world.server.server._endpoints.values():
        endpoint.drop()  # who broke off between two polls would be missed too late for us
    await world.server.empties()
    await until(lambda: len(world.module.ENDED) == sum(map(len, world.got.values())))
    begun = {visit.sid: visit.connections for visit in world.visits}
    assert Counter(world.module.ENDED) == Counter(begun)
    for visit in world.visits:
        for got in world.got[visit.sid]:
            assert got == list(range(got[0], got[-1] + 1) if got else []), visit.sid
        all_got = [number for got in world.got[visit.sid] for number in got]
        assert len(set(all_got)) == len(all_got) <= len(visit.sent), visit.sid
        if not visit.broken:
            assert {*range(visit.certain, len(visit.sent))} <= {*all_got}, visit.sid


async def walk(folder: Path, seconds: float) -> World:
    async with live(folder, RBR, SOURCE) as server:
        world = World(SEED, server)
        loop = asyncio.get_running_loop()
        async with testing.async_client(server.url, timeout=30) as client:
            walkers = [Walker(number, world, client) for number in range(WALKERS)]
            async with asyncio.TaskGroup() as group:
                for walker in walkers:
                    group.create_task(walker.walk(loop.time() + seconds))
            await settle(world, walkers)
        await check_the_end(world)
        return world


@pytest.mark.parametrize(
    "seconds", [SECONDS, pytest.param(60.0, marks=TAKES_A_MINUTE, id="a minute")]
)
def test_nothing_is_lost_doubled_or_out_of_order_however_clients_walk(
    tmp_path: Path, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    print(f"RBL_WALK_SEED={SEED}")

    async def test() -> None:
        world = await walk(tmp_path, seconds)
        got = sum(len(one) for handlers in world.got.values() for one in handlers)
        print(f"{len(world.visits)} sessions, {got} messages,")
        print(f"{sum(map(Counter.total, world.told.values()))} broadcasts; {dict(world.done)}")
        assert world.done["drop"] > 0
        assert world.done["came back"] > 0
        assert len(world.got) == len(world.visits) > WALKERS

    with caplog.at_level(logging.INFO):
        asyncio.run(test())  # without the debug mode, in which there is no hurry
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
