"""Two machines with two workers each, a Redis, nginx and HAProxy, and two hundred clients.

The machines are servers with ports of their own, started by the commands of docs/deploy.md.
Half of the clients poll, half have WebSockets; half come through nginx, half through HAProxy,
with what the commands of that page print.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import fronts
import pytest
from conftest import ROOT, TAKES_A_MINUTE, Server
from crowd import Crowd, Listener
from redis_server import RedisServer, found_by
from test_docs_deploy import FRONTS, MACHINES
from test_workers import comes_true

pytestmark = list(TAKES_A_MINUTE)

LISTED = ("10.0.0.1:8000", "10.0.0.2:8000")  # the machines of the page
CLIENTS = 200
WORKERS = 4
ROOMS = 9
BURST = 50
ROUND = (ROOMS + 1) * BURST  # a burst to each room, and one to all
HEARD = 2 * BURST  # of it, by each client
TOGETHER_S = 240.0  # only a fault waits so long

RBR = """
path crowd (
    method SOCKETIO, url /socket.io/, ping-interval 600,
    on connect use python:app.connect, on round use python:app.round
);
"""
APP = f"""
import asyncio, os

async def connect(request):
    request.socketio.join(request.headers["room"])
    request.socketio.emit("here", os.getppid(), os.getpid())

async def round(request, sender, first):
    for burst in range({ROOMS + 1}):
        room = str(burst + 1) if burst < {ROOMS} else None
        for number in range({BURST}):
            request.server.emit("n", sender, first + burst * {BURST} + number, room=room)
        await asyncio.sleep(0)
"""


def for_room(room: int, rounds: int) -> Iterator[int]:
    """The numbers of a sender that are said to a room, or to all."""
    for first in range(0, rounds * ROUND, ROUND):
        yield from range(first + (room - 1) * BURST, first + room * BURST)
        yield from range(first + ROOMS * BURST, first + ROUND)


class Town(NamedTuple):
    redis: RedisServer
    machines: list[Server]
    urls: list[str]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    (folder / "app.rbr").write_text(RBR, encoding="utf-8")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        machines = [machine(command, folder, redis, stack) for command in MACHINES.splitlines()]
        servers = [f"127.0.0.1:{one.port}" for one in machines]
        by_nginx, by_haproxy = (
            subprocess.run(
                of_the_page(command, dict(zip(LISTED, servers, strict=True)), folder),
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for command in FRONTS.splitlines()
        )
        front = stack.enter_context(fronts.nginx(folder, by_nginx))
        other = stack.enter_context(fronts.haproxy(folder, by_haproxy))
        yield Town(redis, machines, [front.url, other.url])
        for one in machines:
            one.stop()
            assert "Traceback" not in one.said(), one.said()


def of_the_page(command: str, here: dict[str, str], folder: Path) -> list[str]:
    """A command of docs/deploy.md, with our application, and addresses that there are here."""
    words = shlex.split(command)[1:]
    there = here | {"chat.rbr": str(folder / "app.rbr"), "10.0.0.5": "127.0.0.1"}
    return [sys.executable, *(there.get(word, word) for word in words)]


def machine(command: str, folder: Path, redis: RedisServer, stack: ExitStack) -> Server:
    here = {"10.0.0.1": "127.0.0.1", "10.0.0.2": "127.0.0.1", "redis://10.0.0.9:6379": redis.url}
    words = [*of_the_page(command, here, folder), "--port", "0", "--log", "off"]
    started = Server(words, dict(os.environ))
    stack.callback(started.kill)
    return found_by(started, workers=2)


class Sender(NamedTuple):
    """A client that has its worker speak to all, and who must have heard before it goes on."""

    number: int
    client: Listener
    witnesses: list[Listener]

    async def speak(self, rounds: range) -> None:
        for one in rounds:
            self.client.say("round", self.number, one * ROUND)
            for witness in self.witnesses:
                await witness.hears(self.number, (one + 1) * HEARD)


def senders(crowd: Crowd) -> list[Sender]:
    """One at each worker; witnesses are one of each kind there, too."""
    places = sorted(crowd.by_place().items())
    kinds = [
        next(one for one in there if one.polls is polls)
        for _, there in places
        for polls in (False, True)
    ]
    return [Sender(n, kinds[2 * n], list(kinds)) for n in range(len(places))]


async def speak(speaking: list[Sender], rounds: range) -> None:
    await asyncio.gather(*(one.speak(rounds) for one in speaking))


async def all_hear(listeners: list[Listener], speaking: list[Sender], rounds: int) -> None:
    for one in listeners:
        for sender in speaking:
            await one.hears(sender.number, rounds * HEARD)


def runs(one: Listener) -> list[list[tuple[int, int]]]:
    return [account.runs for account in one.accounts.values()]


def in_order(one: Listener) -> bool:
    """Whether no life of it has anything twice, or before what was said before.

    The next one may begin at a worker that is behind, and hear the last words again.
    """
    lives = (life for account in one.accounts.values() for life in account.lives)
    return all(end <= start for life in lives for (_, end), (start, _) in pairwise(life))


@asynccontextmanager
async def crowd_in(town: Town, speaking: Iterable[int], rounds: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(town.urls, CLIENTS, ROOMS, WORKERS)
    try:
        async with asyncio.timeout(TOGETHER_S):
            async with crowd:
                crowd.expect(speaking, lambda room: for_room(room, rounds))
                yield crowd
    except TimeoutError:
        said = [crowd.told(), *(one.said() for one in town.machines)]
        pytest.fail("\n".join(said))


def test_twenty_thousand_broadcasts_reach_all_they_are_for_once_and_in_order(town: Town) -> None:
    rounds = 10

    async def test() -> None:
        async with crowd_in(town, range(4), rounds) as crowd:
            speaking = senders(crowd)
            assert len(speaking) * rounds * ROUND == 20_000
            await speak(speaking, range(rounds))
            await all_hear(crowd.listeners, speaking, rounds)
            for one in crowd.listeners:
                assert runs(one) == [[(0, rounds * HEARD)]] * 4
                assert one.lives == 1

    asyncio.run(test())


def test_killed_worker_costs_its_own_clients_what_was_said_meanwhile(town: Town) -> None:
    async def test() -> None:
        async with crowd_in(town, range(3), 6) as crowd:
            *speaking, last = senders(crowd)
            victim = last.client.place
            its_own = crowd.by_place()[victim]
            others = [one for one in crowd.listeners if one.place != victim]
            neighbours = [one for one in others if one.place[0] == victim[0]]
            for one in speaking:
                one.witnesses[:] = [who for who in one.witnesses if who in others and not who.polls]
            await speak(speaking, range(2))
            going_on = asyncio.create_task(speak(speaking, range(2, 4)))
            await others[0].hears(0, 2 * HEARD + 1)
            os.kill(victim[1], signal.SIGKILL)
            await going_on
            await asyncio.gather(*(one.comes_again() for one in its_own))
            await crowd.all_there()
            (home,) = (one for one in town.machines if one.process.pid == victim[0])
            await comes_true(lambda: home.said().count(" is there") == 3, TOGETHER_S)
            await speak(speaking, range(4, 6))
            await all_hear(crowd.listeners, speaking, 6)
            cut = [one for one in others if one.lives > 1]
            for who in others:
                if who in cut:  # it was about to be handed to its own worker
                    assert who.polls
                    assert who in neighbours
                else:
                    assert runs(who) == [[(0, 6 * HEARD)]] * 3
            for who in (*its_own, *cut):
                assert in_order(who)
                assert all(account[-1][0] <= 4 * HEARD for account in runs(who))

    asyncio.run(test())


def test_redis_that_is_killed_parts_the_machines_until_it_is_back(town: Town) -> None:
    async def test() -> None:
        async with crowd_in(town, (0, 3), 6) as crowd:
            speaking = [sender for sender in senders(crowd) if sender.number in (0, 3)]
            homes = [one.client.place[0] for one in speaking]
            assert homes[0] != homes[1]
            await speak(speaking, range(2))
            for one, home in zip(speaking, homes, strict=True):
                one.witnesses[:] = [who for who in one.witnesses if who.place[0] == home]
            going_on = asyncio.create_task(speak(speaking, range(2, 4)))
            await speaking[0].client.hears(0, 2 * HEARD + 1)
            await asyncio.to_thread(town.redis.stop)
            await going_on
            await asyncio.to_thread(town.redis.start)
            await comes_true(
                lambda: all(one.said().count("is back after") == 2 for one in town.machines),
                TOGETHER_S,
            )
            await speak(speaking, range(4, 6))
            await all_hear(crowd.listeners, speaking, 6)
            for who in crowd.listeners:
                assert who.lives == 1
                assert in_order(who)
                for account, home in zip(runs(who), homes, strict=True):
                    if who.place[0] == home:
                        assert account == [(0, 6 * HEARD)]
                    assert account[0][0] == 0
                    assert account[-1][0] <= 4 * HEARD

    asyncio.run(test())
