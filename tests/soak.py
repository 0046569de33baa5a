"""Half an hour of many clients, whose connections are harmed, and what the server holds then.

    python tests/soak.py [--minutes 30] [--clients 48] [--seed S]

The server is a process of its own, `apps/soak`; the clients, and the laws about what they
hear, are those of `soakers`; `relay` harms their connections; and the clock on the server's
wall is set by hours, again and again. Every ten seconds a line says how it goes. Then the
verdict: every message is accounted for; after the first five minutes the server's memory
grew by less than 2 %; and when all have gone, its tasks, threads, descriptors, sockets and
objects are what they were before they came. Exits 1 if not, and says what was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import logging
import os
import random
import re
import resource
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import Server  # noqa: E402
from relay import HARMFUL, Relay  # noqa: E402
from soakers import FILE_BYTES, World  # noqa: E402

from redbarrel_lite.dial import Port, Visitor  # noqa: E402

APP: Final = ROOT / "tests/apps/soak"
ROOMS: Final = 6
PACE_S: Final = 0.5
HARM: Final = 0.15
LINE_S: Final = 10.0
WARM_S: Final = 300.0
MAX_GROWTH: Final = 0.02
# The session of a client that is never heard of again ends after 15 s, its memory after 30 s
# more, a request of it after 30 s.
CALM_S: Final = 90.0
_FAULTS: Final = re.compile(r"Traceback|Warning|ERROR|never retrieved|never awaited")


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """The application, with its large file."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for file in APP.glob("*.*"):
            (copy / file.name).write_bytes(file.read_bytes())
        (copy / "files").mkdir()
        (copy / "files/digits.bin").write_bytes(b"0123456789" * (FILE_BYTES // 10))
        yield copy / "soak.rbr"


class Watch:
    """What a server holds, as it says itself and as the system says."""

    def __init__(self, url: str, pid: int) -> None:
        self._visitor = Visitor(Port(url))
        self._pid = pid
        self.blocks = 0  # that its Python has allocated, when it was last asked

    def rss(self) -> int:
        """Its memory, in bytes."""
        pages = Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()

    def _descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self._pid}/fd").iterdir())

    async def status(self, objects: bool = False) -> dict[str, int]:
        """Counts, by what is counted."""
        _, body = await self._visitor.ask("GET", f"/status?objects={objects:d}")
        told = json.loads(body)
        counts = {"tasks": told["tasks"]}
        self.blocks = told["blocks"]
        for what in ("threads", "sockets", "objects"):
            counts |= {f"{what} {name}": n for name, n in told.get(what, {}).items()}
        counts["descriptors"] = self._descriptors()
        # The pool's are kept for the next requests: there may be 32.
        counts.pop("threads service", None)
        return counts

    async def step_clock(self, seconds: float) -> None:
        """Let its wall clock be ahead."""
        await self._visitor.ask("POST", f"/clock/{seconds}")

    async def turn_out(self) -> None:
        """Let it end all sockets."""
        await self._visitor.ask("POST", "/turn-out")

    async def growth(
        self, before: dict[str, int], objects: bool = False
    ) -> dict[str, tuple[int, int]]:
        """What there is more of than before, when it has become calm or should have."""
        until = time.monotonic() + CALM_S
        while True:
            now = await self.status(objects)
            more = {
                what: (before.get(what, 0), n) for what, n in now.items() if n > before.get(what, 0)
            }
            if not more or time.monotonic() > until:
                return more
            await asyncio.sleep(0.2)


async def crowd(world: World, clients: int, seed: str) -> None:
    """So many clients at a time: each is followed by another, while it goes on."""

    async def place(number: int) -> None:
        turn = 0
        while world.goes_on():
            await world.live(f"{seed} {number} {turn}")
            turn += 1

    async with asyncio.TaskGroup() as witnesses:
        watching = [witnesses.create_task(room.witness()) for room in world.rooms]
        for room in world.rooms:
            await room.is_witnessed.wait()
        try:
            async with asyncio.TaskGroup() as places:
                for number in range(clients):
                    places.create_task(place(number))
        finally:
            for task in watching:
                task.cancel()


class Soak:
    """One run against one server."""

    def __init__(self, server: Server, watch: Watch, world: World, seed: int) -> None:
        self.server = server
        self.watch = watch
        self.world = world
        self.seed = seed
        self.rss: list[tuple[float, int]] = []
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    async def report(self) -> None:
        """Say how it goes, until cancelled; and set the clock."""
        chance = random.Random(self.seed)
        while True:
            started = time.monotonic()
            for _ in range(int(LINE_S)):
                await asyncio.sleep(1)
                self.rss.append((self.seconds, self.watch.rss()))
            late = time.monotonic() - started - LINE_S
            await self.watch.step_clock(chance.uniform(-1e6, 1e6))
            told = await self.watch.status()
            sockets = sum(n for what, n in told.items() if what.startswith("sockets"))
            threads = sum(n for what, n in told.items() if what.startswith("threads"))
            held = f"{self.watch.blocks} blocks {told['descriptors']} fds"
            held += f" {told['tasks']} tasks {threads} threads"
            counts = " ".join(f"{n} {what}" for what, n in sorted(self.world.count.items()))
            print(
                f"{self.seconds:6.0f} s  {self.rss[-1][1] / 1e6:.2f} MB {held} {sockets} sockets"
                f" late {late:.2f} s | {counts} | {len(self.world.broken)} broken",
                flush=True,
            )

    def check_memory(self, warm_s: float) -> str:
        """Compare the minute after the warming up with the last one."""
        first = [n for at, n in self.rss if warm_s <= at < warm_s + 60]
        last = [n for at, n in self.rss if at >= self.rss[-1][0] - 60]
        if not first or first[-1] == last[-1]:
            return "memory: not compared, too short"
        before, after = statistics.median(first), statistics.median(last)
        growth = after / before - 1
        self.world.law(growth < MAX_GROWTH, f"memory grew by {growth:.2%}")
        return f"memory: {before / 1e6:.2f} MB, then {after / 1e6:.2f} MB: {growth:+.2%}"

    def check_log(self) -> None:
        """The server has complained of nothing but its clients."""
        for at, line in enumerate(self.server.stderr):
            if _FAULTS.search(line):
                self.world.law(False, "\n".join(["its log:", *self.server.stderr[at : at + 30]]))


async def run(server: Server, minutes: float, clients: int, seed: int) -> int:
    """A short run without harm, to see what there is when nobody is there; then the long one."""
    watch = Watch(server.url, server.process.pid)
    async with Relay(server.port) as relay:
        before = await calm(server, relay, watch, clients)
        world = World(server.url, relay, ROOMS, PACE_S, HARM)
        world.tell = functools.partial(print, flush=True)
        soak = Soak(server, watch, world, seed)
        reporting = asyncio.ensure_future(soak.report())
        world.goes_on = lambda: soak.seconds < minutes * 60
        await crowd(world, clients, str(seed))
        reporting.cancel()
        await asyncio.wait([reporting])
        if not reporting.cancelled():
            reporting.result()
        print("all have gone", flush=True)
        more = await watch.growth(before, objects=True)
    memory = soak.check_memory(WARM_S)
    for what, (then, now) in more.items():
        world.law(False, f"{what}: {now} in the end, {then} at first")
    server.stop()
    soak.check_log()
    print(f"{dict(world.count)}\n{memory}")
    print(f"{'BROKEN' if world.broken else 'HELD'}: seed {seed}, {len(world.broken)} findings")
    return 1 if world.broken else 0


async def calm(server: Server, relay: Relay, watch: Watch, clients: int) -> dict[str, int]:
    """What there is when everybody was there once, and has gone."""
    bare = await watch.status()
    world = World(server.url, relay, ROOMS, 0.05, 0.0)
    world.politeness = 1.0  # nobody is to come back
    world.goes_on = lambda: world.count["lives"] < 2 * clients
    await crowd(world, clients, "calm")
    if world.broken:
        sys.exit("\n".join(world.broken))
    left = await watch.growth(bare)
    if left:
        print(f"after the first clients: {left}")
    while True:  # until what is kept for those who may come back is forgotten
        calm = await watch.status(objects=True)
        if "objects redbarrel_lite.recovery.Absentee" not in calm:
            return calm
        await asyncio.sleep(1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve for long, and lose nothing.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the relay writes to who has gone
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    print(f"seed {options.seed}, harms {', '.join(HARMFUL)}", flush=True)
    with folder() as file:
        command = [sys.executable, "-W", "default", "-m", "redbarrel_lite", str(file), "--port=0"]
        # As the unit of docs/deploy.md has it: else each pool of glibc keeps its worst minute.
        pools = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "131072"}
        environment = {**pools, **os.environ}
        server = Server([*command, "--log", "off"], environment)
        try:
            return asyncio.run(run(server, options.minutes, options.clients, options.seed))
        finally:
            if server.process.returncode is None:
                server.kill()


if __name__ == "__main__":
    sys.exit(main())
