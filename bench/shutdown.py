"""Measures how long the end takes: SIGTERM to a server with many sockets and requests.

    python bench/shutdown.py [--sockets 1000] [--requests 50] [--runs 5]

Half of the sockets poll, and half of the requests are at work in threads. The times are
from the signal on: when the last of all is told and answered, and when the process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from peers import allow_descriptors  # noqa: E402
from wire import Poller, WebSocket, Wire, socketio  # noqa: E402

APP = ROOT / "bench/apps/ours-ending.rbr"
AT_ONCE = 50
GRACE_S = 5

T = TypeVar("T")


async def crowd(count: int, make: Callable[[], Awaitable[T]]) -> list[T]:
    made: list[T] = []
    while len(made) < count:
        more = min(AT_ONCE, count - len(made))
        made += await asyncio.gather(*(make() for _ in range(more)))
    return made


async def asked(url: str, target: str) -> Wire:
    wire = await Wire.open(url)
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    return wire


async def is_told(websocket: WebSocket) -> None:
    assert (await websocket.read_close())[0] == 1001
    websocket.close()


async def is_closed(poll: Wire) -> None:
    assert (await poll.answer())[2] == b"1"
    poll.close()


async def is_answered(request: Wire) -> None:
    assert (await request.answer())[2] == b"soon"
    request.close()


async def measure(process: asyncio.subprocess.Process, args: argparse.Namespace) -> list[float]:
    assert process.stderr is not None
    while not (line := (await process.stderr.readline()).decode()).startswith("Serving on "):
        pass
    url = line.split()[-1]
    half = args.sockets // 2
    websockets = await crowd(args.sockets - half, lambda: socketio(url))
    pollers = await crowd(half, lambda: Poller.connect(url))
    polls = [await asked(url, poller.target) for poller in pollers]
    half = args.requests // 2
    requests = await crowd(half, lambda: asked(url, "/soon"))
    requests += await crowd(args.requests - half, lambda: asked(url, "/soon-in-thread"))
    for _ in requests:
        await process.stderr.readline()
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    await asyncio.gather(
        *map(is_told, websockets), *map(is_closed, polls), *map(is_answered, requests)
    )
    told = time.perf_counter() - began
    status = await process.wait()
    ended = time.perf_counter() - began
    assert status == 0, status
    return [told, ended]


async def run(args: argparse.Namespace) -> list[float]:
    command = ["-m", "redbarrel_lite", str(APP), "--port", "0", "--log", "off"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, f"--grace={GRACE_S}", cwd=ROOT, stderr=subprocess.PIPE
    )
    try:
        return await measure(process, args)
    finally:
        if process.returncode is None:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    allow_descriptors()
    times = [asyncio.run(run(args)) for _ in range(args.runs)]
    for what, seconds in zip(
        ("all told and answered", "exit 0"), zip(*times, strict=True), strict=True
    ):
        each = " ".join(f"{one:.3f}" for one in seconds)
        print(f"{what}: {median(seconds):.3f} s (of {each})")


if __name__ == "__main__":
    main()
