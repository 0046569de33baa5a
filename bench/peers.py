"""Who is measured beside ours, how each is installed and started.

What a peer needs goes into an environment of its own below the system's temporary folder,
made at the first call: never into the Python that runs this.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
APPS = HERE / "apps"
PACKAGES = "python-socketio aiohttp uvicorn uvloop httptools websockets".split()
NPM_PACKAGES = "socket.io ws".split()
UVICORN = (
    "{peers}/bin/python -m uvicorn --port {port} --loop uvloop --http httptools --lifespan off"
    " --log-level {level} "
)
QUIET = UVICORN.replace("{level}", "warning --no-access-log")


class Peer(NamedTuple):
    """A server: its command, and which kinds of load it answers (see load.c)."""

    label: str
    command: str  # with {python}, {peers}, {port} and {mode} to be filled in
    kinds: frozenset[str]
    package: str = ""  # whose version the report tells
    usual: bool = True  # measured if nobody says whom


def _peer(label: str, command: str, kinds: str, package: str = "", *, usual: bool = True) -> Peer:
    return Peer(label, command, frozenset(kinds.split()), package, usual)


PEERS = {
    "ours": _peer(
        "RedBarrel Lite", "{python} -m redbarrel_lite ours-{mode}.rbr --port {port} --log off",
        "http sio ws",
    ),
    "sio-aiohttp": _peer(
        "python-socketio, aiohttp", "{peers}/bin/python python_socketio.py {port}",
        "http sio", "python-socketio",
    ),
    "sio-uvicorn": _peer(
        "python-socketio, uvicorn", QUIET + "python_socketio:app", "sio", "python-socketio"
    ),
    "node": _peer("Node: http, socket.io, ws", "node node.cjs {port}", "http sio ws", "socket.io"),
    "websockets": _peer(
        "websockets", "{peers}/bin/python websockets_app.py {port}", "ws", "websockets"
    ),
    "aiohttp": _peer("aiohttp", "{peers}/bin/python aiohttp_app.py {port}", "http ws", "aiohttp"),
    "uvicorn": _peer(
        "uvicorn, uvloop, httptools", QUIET + "python_socketio:hello", "http", "uvicorn"
    ),
    "ours-log": _peer(
        "RedBarrel Lite, its log", "{python} -m redbarrel_lite ours-{mode}.rbr --port {port}",
        "http", usual=False,
    ),
    "ours-status": _peer(
        "RedBarrel Lite, --status",
        "{python} -m redbarrel_lite ours-{mode}.rbr --port {port} --log off --status",
        "http sio ws", usual=False,
    ),
    "ours-trace": _peer(
        "RedBarrel Lite, --trace",
        "{python} -m redbarrel_lite ours-{mode}.rbr --port {port} --log off --trace",
        "http sio", usual=False,
    ),
    "uvicorn-log": _peer(
        "uvicorn, its log", UVICORN.replace("{level}", "info") + "python_socketio:hello",
        "http", "uvicorn", usual=False,
    ),
    "floor": _peer(
        "asyncio, fixed bytes", "{python} floor.py {port}", "http", usual=False
    ),
}  # fmt: skip


class Environment:
    """Where the peers of one Python are installed, and the compiled load generator."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.version = _output([python, "-c", "import platform; print(platform.python_version())"])
        self.folder = Path(tempfile.gettempdir()) / f"redbarrel-bench-{self.version}"
        self.load = self.folder / "load"

    def install(self) -> None:
        """Make what is missing; what is there is left as it is."""
        if not (self.folder / "bin" / "python").exists():
            print(f"installing the peers into {self.folder}", file=sys.stderr)
            subprocess.run([self.python, "-m", "venv", self.folder], check=True)
            pip = [self.folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES]
            subprocess.run(pip, check=True, stdout=sys.stderr)
        if not (self.folder / "node_modules").exists():
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", self.folder]
            subprocess.run([*npm, *NPM_PACKAGES], check=True, stdout=sys.stderr)
        subprocess.run(["gcc", "-O2", "-o", self.load, HERE / "load.c"], check=True)

    def versions(self) -> dict[str, str]:
        """Of all that is measured, by the name of its package."""
        listed = [self.folder / "bin" / "python", "-m", "pip", "list", "--format=json"]
        found = {one["name"]: one["version"] for one in json.loads(_output(listed))}
        versions = {"Python": self.version, "Node": _output(["node", "--version"]).lstrip("v")}
        versions |= {name: found[name] for name in PACKAGES}
        for name in NPM_PACKAGES:
            manifest = self.folder / "node_modules" / name / "package.json"
            versions[name] = json.loads(manifest.read_text())["version"]
        return versions

    @contextmanager
    def serving(self, peer: Peer, mode: str, **more: str) -> Iterator[Running]:
        """A peer's server, pinned to the first processor, once it answers.

        ``more`` goes into its environment.
        """
        port = _free_port()
        fields = {"python": self.python, "peers": self.folder, "port": port, "mode": mode}
        first, *_ = sorted(os.sched_getaffinity(0))
        environment = os.environ | {
            "PYTHONPATH": str(HERE.parent),
            "PYTHONDONTWRITEBYTECODE": "",  # a second start finds what the first has compiled
            "NODE_PATH": str(self.folder / "node_modules"),
            "MODE": mode,
            **more,
        }
        command = ["taskset", "-c", str(first), *peer.command.format_map(fields).split()]
        began = time.monotonic()
        with (
            tempfile.TemporaryFile() as log,
            subprocess.Popen(command, cwd=APPS, env=environment, stdout=log, stderr=log) as process,
        ):
            try:
                _await_answer(process, port)
                yield Running(process, port, time.monotonic() - began)
            except BaseException:
                log.seek(0)
                sys.stderr.write(log.read().decode(errors="replace"))
                raise
            finally:
                process.kill()


class Running(NamedTuple):
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int
    started_s: float  # from its start to its first answer

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End it the polite way, and wait for that."""
        self.process.terminate()
        self.process.wait(10)

    def cpu_s(self) -> float:
        """User and system time so far, of all threads, to a hundredth of a second."""
        return process_cpu_s(self.pid)

    def resident_kib(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise LookupError(f"process {self.pid} has no VmRSS")


def process_cpu_s(pid: int) -> float:
    """User and system time of a process so far, of all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _output(command: list[str | Path] | list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await_answer(process: subprocess.Popen[bytes], port: int) -> None:
    """Ask until an answer comes, whatever it is."""
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as asked:
                asked.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                if asked.recv(1):
                    return
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"{process.args!r} does not answer on port {port}")


def allow_descriptors() -> None:
    """Let this process and those that it starts have as many connections as may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
