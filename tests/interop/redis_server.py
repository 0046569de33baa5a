"""A real Redis for a test: behind a Unix socket, with nothing kept on disk.

redis = stack.enter_context(RedisServer(tmp_path))

Or one for all tests of a file, which takes the fixtures that it needs::

redis, stack = redis_server.redis, redis_server.stack
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Server
from peers import missing


class RedisServer:
    """One that may be ended and begun again; ``url`` stays what it is."""

    def __init__(self, folder: Path, *options: str) -> None:
        if shutil.which("redis-server") is None:
            missing("no redis-server: apt-get install redis-server")
        path = folder / "redis.sock"
        self.url = f"unix://{path}"
        self._command = ["redis-server", "--port", "0", "--unixsocket", str(path)]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(folder), *options]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "ready to accept" in line.lower():
                return
        raise AssertionError("".join(said))

    def signal(self, number: signal.Signals) -> None:
        """Have it stand still, or go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """As when its machine crashes."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def found_by(server: Server, workers: int = 1) -> Server:
    """Wait until each worker of a server hears its Redis, without which it may serve already."""
    for number in range(workers):
        who = rf"worker {number} \(process \d+\): " if workers > 1 else ""
        server.wait_for_line(rf"^{who}Redis at .* is there$")
    return server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Of what a test has begun, and is to be ended behind it."""
    with ExitStack() as stack:
        yield stack
