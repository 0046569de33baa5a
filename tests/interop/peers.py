"""The programs that the interop tests hold ours against: Node, the browsers, python-socketio.

    seen = node("chat.cjs", server.url, "polling")

What is missing makes a test skip and say so; with RBL_INTEROP=required, as in CI, that is
a failure.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import pytest
from conftest import ROOT

HERE = Path(__file__).resolve().parent
APPS = ROOT / "tests" / "apps"
MODES = ["polling", "websocket", "upgrade"]
PEER_S = 240.0  # the programs give up by themselves before, and say where they stood
BROWSERS = {
    "chromium": ("RBL_CHROMIUM", "/usr/bin/chromium"),
    "firefox": ("RBL_FIREFOX", "/usr/bin/firefox-esr"),
}

Seen: TypeAlias = Any  # a dict, mostly


def missing(what: str) -> NoReturn:
    if os.environ.get("RBL_INTEROP") == "required":
        pytest.fail(what)
    pytest.skip(what)


@cache
def node_environment() -> dict[str, str]:
    if shutil.which("node") is None:
        missing("no Node.js on this machine")
    modules = Path(os.environ.get("RBL_NODE_MODULES", HERE / "node_modules"))
    if not (modules / "socket.io-client").is_dir():
        missing(f"no socket.io-client in {modules}: npm ci --prefix tests/interop")
    return os.environ | {"NODE_PATH": str(modules)}


def browser_environment(browser: str = "chromium") -> dict[str, str]:
    variable, usual = BROWSERS[browser]
    executable = os.environ.get(variable, usual)
    if not Path(executable).exists():
        missing(f"no {executable}: apt-get install {Path(executable).name}")
    return node_environment()


@cache
def peers_python() -> str:
    python = os.environ.get("RBL_PEERS_PYTHON", sys.executable)
    probe = [python, "-c", "import socketio, requests, websocket, aiohttp, redis"]
    tried = subprocess.run(probe, capture_output=True, text=True)
    if tried.returncode:
        fault = tried.stderr.splitlines()[-1]
        missing(f"{python} lacks python-socketio[client], aiohttp or redis: {fault}")
    return python


def node_command(script: str, *args: str) -> list[str]:
    return ["node", str(HERE / script), *args]


def finished(command: list[str], environment: dict[str, str], patience: float = PEER_S) -> Seen:
    """What a program of its own has printed at its end."""
    ended = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", timeout=patience
    )
    assert ended.returncode == 0, f"{Path(command[1]).name} failed:\n{ended.stderr}"
    seen: Seen = json.loads(ended.stdout)
    return seen


class Peer:
    """A program whose lines of JSON come one by one, while it runs."""

    def __init__(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            env=environment or node_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def tell(self, words: object) -> None:
        assert self.process.stdin is not None
        print(json.dumps(words), file=self.process.stdin, flush=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()  # the program itself ends when it takes too long

    def next(self) -> Seen:
        line = self.line()
        assert line, "the program ended early; what it said is above"
        return json.loads(line)

    def end(self) -> None:
        """Close its standard input, and wait until it has ended."""
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class _Driver:
    """driver.cjs, which runs one scenario after the other, and keeps the browsers for them."""

    peer: Peer | None = None

    def run(self, script: str, args: tuple[str, ...]) -> Iterator[Seen]:
        """Its steps, and at last its value."""
        if self.peer is None:
            self.peer = Peer(node_command("driver.cjs"))
        self.peer.tell({"script": script, "args": args})
        error = "what it said is above"
        try:
            while answer := self.peer.line():
                told = json.loads(answer)
                if "step" in told:
                    yield told
                elif "value" in told:
                    yield told["value"]
                    return
                else:
                    error = told["error"]
                    break
            pytest.fail(f"{script} failed:\n{error}")
        except BaseException:
            self.end()  # the next one has nothing to do with what is left of this one
            raise

    def end(self) -> None:
        if self.peer is not None:
            self.peer.end()
            self.peer = None


_driver = _Driver()
atexit.register(_driver.end)


def node(script: str, *args: str) -> Seen:
    """What the scenario of a script has returned."""
    node_environment()
    *_, value = _driver.run(script, args)
    return value


def node_steps(script: str, *args: str) -> Iterator[Seen]:
    """The same, behind what it says on its way, while it waits for what the test does."""
    node_environment()
    return _driver.run(script, args)
