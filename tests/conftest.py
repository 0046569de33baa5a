"""The real server as a fixture: a process of its own, on a port of its own.

    def test_something(serve):
        server = serve(ROOT / "examples/chat/chat.rbr")
        urllib.request.urlopen(server.url)

Nothing here sleeps. A thread reads standard error line by line and whoever
waits for a line is woken by it, so a fast machine does not idle and a slow one
does not fail.
"""

from __future__ import annotations

import asyncio
import asyncio.constants
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from siege import InProcess

# So that their rules say what was wrong, and are asked under python -O too.
pytest.register_assert_rewrite("segments", "siege", "wire")

ROOT = Path(__file__).resolve().parent.parent
START_S = 30.0  # generous: a loaded machine is slow, and only a fault waits this long
STOP_S = 30.0  # several times the default of --grace

# For what takes long, and whose short form runs always: each needs nothing but patience.
TAKES_A_MINUTE = (
    pytest.mark.interop,
    pytest.mark.skipif(
        os.environ.get("RBL_INTEROP") != "required",
        reason="takes a minute: set RBL_INTEROP=required",
    ),
)

# Of asyncio, in debug mode, about a step that was slow: as any is where all is.
_SLOW = re.compile(r"Executing <.* took \d+\.\d{3} seconds$")
_SERVING = re.compile(r"^Serving on http://127\.0\.0\.1:(\d+)$")


# In debug mode asyncio notes for each future who made it: in C with the whole stack, of which
# all but the innermost frames are pytest's own, and looking them up is a third of all work.
asyncio.constants.DEBUG_STACK_DEPTH = 4  # type: ignore[misc]
traceback.extract_stack.__defaults__ = (None, 4)


def pytest_collection_finish() -> None:
    """Thousands of tests are no garbage: let nobody look for some among them, over and over."""
    gc.collect()
    gc.freeze()


class Server:
    """One running `python3 -m redbarrel_lite`, and what it said so far."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.stderr: list[str] = []
        self._news = threading.Condition()
        self._ended = False  # standard error is closed: no further line can come
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._reader = threading.Thread(target=self._read, name="server stderr", daemon=True)
        self._reader.start()
        self.port = int(self.wait_for_line(_SERVING).group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if _SLOW.search(line):
                continue
            with self._news:
                self.stderr.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for_line(
        self, pattern: str | re.Pattern[str], timeout: float = START_S
    ) -> re.Match[str]:
        """The first line, said already or still to come, in which `pattern` is found."""
        wanted = re.compile(pattern)

        def match() -> re.Match[str] | None:
            return next(filter(None, map(wanted.search, self.stderr)), None)

        with self._news:
            self._news.wait_for(lambda: match() or self._ended, timeout)
            found = match()
        if found is None:
            self.kill()
            pytest.fail(f"no line {wanted.pattern!r} within {timeout} s; it said:\n{self.said()}")
        return found

    def wait_for_count(self, line: str, count: int, timeout: float = START_S) -> None:
        """Wait until it has said a line so many times."""
        with self._news:
            self._news.wait_for(lambda: self.stderr.count(line) >= count or self._ended, timeout)
            there = self.stderr.count(line)
        if there < count:
            self.kill()
            pytest.fail(f"{there} lines {line!r} within {timeout} s; it said:\n{self.said()}")

    def said(self) -> str:
        return "\n".join(self.stderr) or "(nothing)"

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """End it the way an administrator does; anything but a clean end is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        self.ends()

    def ends(self) -> None:
        """It has got its signal: a second one would be its end at once."""
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._abort()
            pytest.fail(f"still running {STOP_S} s after its signal:\n{self.said()}")
        self._close()
        assert status == 0, f"exit status {status}; it said:\n{self.said()}"

    def _abort(self) -> None:
        """SIGABRT, not SIGKILL: under -X dev each thread then shows where it hangs."""
        self.process.send_signal(signal.SIGABRT)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def kill(self) -> None:
        """The crash of a machine: no goodbye to anybody."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join(STOP_S)
        if self.process.stderr is not None:
            self.process.stderr.close()


class Serve(Protocol):
    def __call__(
        self,
        rbr: Path | str,
        *args: str,
        python: str = sys.executable,
        traceback_expected: bool = False,
    ) -> Server: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers, for one test."""
    with serving() as serve:
        yield serve


@contextmanager
def serving() -> Iterator[Serve]:
    """Start servers; at the end each is stopped and must have behaved.

    Warnings are errors and asyncio's debug mode is on in the server too. A
    traceback is a fault unless the test's own application raises one and the
    test says so.
    """
    started: list[tuple[Server, bool]] = []

    def start(
        rbr: Path | str,
        *args: str,
        python: str = sys.executable,
        traceback_expected: bool = False,
    ) -> Server:
        command = [python, "-X", "dev", "-W", "error", "-m", "redbarrel_lite", str(rbr)]
        environment = os.environ | {"PYTHONASYNCIODEBUG": "1", "PYTHONWARNINGS": "error"}
        server = Server([*command, "--port", "0", *args], environment)
        started.append((server, traceback_expected))
        return server

    yield start
    try:
        for server, _ in started:
            if server.process.returncode is None:
                server.stop()
        for server, traceback_expected in started:
            assert traceback_expected or "Traceback" not in server.said(), server.said()
    finally:
        for server, _ in started:
            if server.process.returncode is None:
                server.kill()


@pytest.fixture
def own_modules() -> Iterator[None]:
    """A test's applications have their modules, by whatever names, to themselves."""
    from redbarrel_lite.modules import users_modules  # noqa: PLC0415  # most tests have none

    path, finders, modules = list(sys.path), list(sys.meta_path), users_modules()
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in users_modules().keys() - modules:
        del sys.modules[name]


@pytest.fixture
def optimized_python(tmp_path: Path) -> Path:
    """A Python that skips assertions: no check of what a client sends may be one."""
    python = tmp_path / "optimized"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -O "$@"\n')
    python.chmod(0o755)
    return python


# Each hostile row once more through our own proxy, for who asks for it: RBL_SIEGE=proxy.
STRONGHOLDS = ["behind a proxy" if os.environ.get("RBL_SIEGE") == "proxy" else "alone"]


@pytest.fixture(scope="module", params=STRONGHOLDS)
def stronghold(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InProcess]:
    """The server that the hostile tests of a file attack; the file may say which, as ATTACKED."""
    from siege import FILE, InProcess, Proxied  # noqa: PLC0415  # it imports us

    file = getattr(request.module, "ATTACKED", FILE)
    is_alone = request.param == "alone"
    siege = InProcess(file) if is_alone else Proxied(tmp_path_factory.mktemp("front"), file)
    yield siege
    siege.end()


@pytest.fixture
def siege(stronghold: InProcess) -> InProcess:
    """The same, with all counted that there is before the attempt."""
    stronghold.start_row()
    return stronghold
