"""What one request of a hello world costs, in CPU time, beside uvicorn.

    python bench/hello.py [--runs 7] [--requests 20000]

A handler that is `async def` and returns a str, against a bare ASGI application on
uvicorn with uvloop and httptools, which are installed into a virtual environment
under the system's temporary folder; and against the floor, a bare protocol of asyncio
that answers the same bytes to whatever it reads, which is what no server on asyncio's
own loop can do without. Linux with gcc: the loader is hello_load.c.

Each server is a process of its own, on one processor; the loader is on another, with
50 connections that are kept. What is read is the server's CPU time, user and system,
from /proc: on a machine that has other work to do, the clock on the wall would measure
that. The servers take turns, run by run, so that what disturbs one disturbs all; the
table has medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CONNECTIONS = 50
WARM_UP = 2000
RBR = "path hello ( url /, use python:hello_app.hello );"
APP = """
async def hello(request):
    return "Hello World"

async def asgi(scope, receive, send):
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"11")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello World"})
"""


FLOOR = """
import asyncio, sys

ANSWER = (
    b"HTTP/1.1 200 OK\\r\\ncontent-type: text/html; charset=utf-8\\r\\n"
    b"date: Thu, 26 Nov 2026 00:00:00 GMT\\r\\ncontent-length: 11\\r\\n\\r\\nHello World"
)

class Floor(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


class Sample(NamedTuple):
    """Seconds that one request took."""

    user: float
    system: float
    wall: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        loader = compiled(folder)
        python = uvicorns_python()
        pids = {
            label: stack.enter_context(serving(command, folder, port))
            for label, command, port in commands(folder, python)
        }
        for port, _ in pids.values():
            load(loader, port, WARM_UP)
        samples: dict[str, list[Sample]] = {label: [] for label in pids}
        for _ in range(options.runs):
            for label, (port, pid) in pids.items():
                samples[label].append(sample(loader, port, pid, options.requests))
    show(samples, python)


def commands(folder: Path, python: str) -> Iterator[tuple[str, list[str], int]]:
    """Label, command line and port of each server."""
    (folder / "hello_app.py").write_text(APP)
    (folder / "hello.rbr").write_text(RBR)
    (folder / "floor.py").write_text(FLOOR)
    port = free_port()
    yield "the floor", [sys.executable, str(folder / "floor.py"), str(port)], port
    for log in ("off", "common"):
        port = free_port()
        command = [sys.executable, "-m", "redbarrel_lite", str(folder / "hello.rbr")]
        yield f"ours, --log {log}", [*command, "--port", str(port), "--log", log], port
    uvicorn = [python, "-m", "uvicorn", "hello_app:asgi", "--loop", "uvloop", "--http", "httptools"]
    uvicorn += ["--lifespan", "off", "--log-level", "info"]
    for label, option in (
        ("uvicorn, no access log", ["--no-access-log"]),
        ("uvicorn, its log", []),
    ):
        port = free_port()
        yield label, [*uvicorn, "--port", str(port), *option], port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def serving(command: list[str], folder: Path, port: int) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that accepts, pinned to the first processor."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    first, *_ = sorted(os.sched_getaffinity(0))
    with (folder / f"{port}.log").open("w") as log:  # a file costs the least of all logs
        process = subprocess.Popen(
            ["taskset", "-c", str(first), *command],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        await_port(process, port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit(f"{process.args!r} does not listen on port {port}")


def compiled(folder: Path) -> Path:
    loader = folder / "hello_load"
    subprocess.run(["gcc", "-O2", "-o", loader, HERE / "hello_load.c"], check=True)
    return loader


def uvicorns_python() -> str:
    """The Python of a virtual environment that has uvicorn, made at the first call."""
    version = platform.python_version()
    environment = Path(tempfile.gettempdir()) / f"bench-hello-{version}"
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    packages = ["uvicorn", "uvloop", "httptools"]
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return str(python)


def sample(loader: Path, port: int, pid: int, requests: int) -> Sample:
    user, system = cpu_s(pid)
    wall = load(loader, port, requests)
    user_then, system_then = cpu_s(pid)
    return Sample((user_then - user) / requests, (system_then - system) / requests, wall / requests)


def load(loader: Path, port: int, requests: int) -> float:
    last = sorted(os.sched_getaffinity(0))[-1]
    command = ["taskset", "-c", str(last), loader, str(port), str(CONNECTIONS), str(requests)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cpu_s(pid: int) -> tuple[float, float]:
    """User and system time of a process, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) * TICK_S, int(fields[12]) * TICK_S


def show(samples: dict[str, list[Sample]], python: str) -> None:
    freeze = [python, "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(freeze, check=True, capture_output=True, text=True)
    peers = [one for one in listed.stdout.split() if one.startswith(("uvicorn", "uvloop", "httpt"))]
    print(f"Python {platform.python_version()}; {', '.join(peers)}; {platform.platform()}\n")
    columns = "CPU a request", "least to most", "in Python", "in the system", "ratio", "requests/s"
    print(f"| hello world, {CONNECTIONS} connections kept | {' | '.join(columns)} |")
    print("| --- |" + " ---: |" * len(columns))
    base = median(one.cpu for one in samples["uvicorn, no access log"])
    for label, taken in samples.items():
        cpu = [one.cpu for one in taken]
        cells = [
            f"{median(cpu) * 1e6:.1f} µs",
            f"{min(cpu) * 1e6:.1f} to {max(cpu) * 1e6:.1f}",
            f"{median(one.user for one in taken) * 1e6:.1f}",
            f"{median(one.system for one in taken) * 1e6:.1f}",
            f"{median(cpu) / base:.2f}",
            f"{1 / median(one.wall for one in taken):,.0f}",
        ]
        print(f"| {label} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
