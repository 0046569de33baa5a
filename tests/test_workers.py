"""Several real processes behind one port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Serve, Server
from wire import PATIENCE_S, SOCKET_IO, Poller, WebSocket, Wire, ask, run

RBR = """
path who ( url /who, use python:app.who );
path stay ( url /stay, use python:app.stay );
path chat ( method SOCKETIO, url /socket.io, on say use python:app.say );
"""
APP = """
import asyncio
import os
import sys
async def stay(globs, request):
    sys.stderr.write("staying\\n")
    await asyncio.Event().wait()
def who(globs, request):
    return f"{os.getpid()} before"
def who_again(globs, request):
    return f"{os.getpid()} again"
def say(globs, request, words):
    request.socketio.broadcast(words)
"""


@pytest.fixture
def rbr(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.rbr").write_text(RBR)
    return tmp_path / "app.rbr"


def children(pid: int) -> list[int]:
    """Of a process, the oldest first."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """It holds still meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def comes_true(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """It is about other processes, of which no event tells."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def everybody(server: Server, count: int) -> dict[int, str]:
    """What each worker says, by its process; as many as there are."""
    found: dict[int, str] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            answers = await asyncio.gather(*(ask(server.url, "GET", "/who") for _ in range(8)))
            for status, _, body in answers:
                assert status == 200
                pid, said = body.decode().split()
                found[int(pid)] = said
    return found


async def anybody_of(server: Server, number: str) -> WebSocket:
    """A client, over a WebSocket that has begun as a poll, of the worker of a number."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            poller = await Poller.connect(server.url)
            if poller.sid.startswith(f"{number}."):
                break
            await poller.post("1")
    websocket = await WebSocket.connect(
        server.url, f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
    )
    await websocket.text("2probe")
    assert await websocket.read() == "3probe"
    await websocket.text("5")
    return websocket


async def heard(client: WebSocket, count: int) -> list[str]:
    """The words of so many broadcasts."""
    return [(await client.read()).removeprefix('42["message",')[1:-2] for _ in range(count)]


def folders_of(pid: int) -> set[Path]:
    """Where the Unix sockets of a process are."""
    inodes = {str(one.readlink())[8:-1] for one in Path(f"/proc/{pid}/fd").iterdir()}
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return {Path(line[7]).parent for line in lines if line[6] in inodes and len(line) == 8}


def test_command_of_the_page_serves_so_many(serve: Serve) -> None:
    text = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^```sh\n(.*)\n```$", text, re.M)
    python, _, package, *words = shlex.split(command)
    assert (python, package) == ("python3", "redbarrel_lite")
    server = serve(*words)
    assert len(children(server.process.pid)) == 4


def test_what_a_worker_logs_has_its_name(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("def fail(globs, request):\n    raise OSError\n")
    (tmp_path / "app.rbr").write_text("path fail ( url /, use python:app.fail );")
    server = serve(tmp_path / "app.rbr", "--workers", "2", traceback_expected=True)
    names = [
        rf"worker {number} \(process {pid}\)"
        for number, pid in enumerate(children(server.process.pid))
    ]
    assert asyncio.run(ask(server.url, "GET", "/"))[0] == 500
    server.wait_for_line(f"^({'|'.join(names)}): ")


def test_sockets_of_workers_are_for_nobody_else(serve: Serve, rbr: Path) -> None:
    """And all serve, of which is told once, and end, whomever a terminal or systemd tells."""
    server = serve(rbr, "--workers", "3", "--log", "off")
    (folder,) = folders_of(server.process.pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    workers = children(server.process.pid)

    async def test() -> None:
        assert set(await everybody(server, 3)) == set(workers)

    run(test())
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    server.stop()
    assert not any(map(is_running, workers))
    assert not folder.exists()
    assert len([line for line in server.stderr if line.startswith("=> ")]) == 3
    assert len([line for line in server.stderr if line.startswith("Serving on ")]) == 1


def test_worker_that_is_killed_costs_its_own_clients_alone(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "3", "--log", "off")
    processes = children(server.process.pid)

    async def test() -> None:
        first, second, third = [await anybody_of(server, number) for number in "012"]
        poller = await Poller.connect(server.url)  # each request on a connection of its own
        while poller.sid.startswith("2."):
            poller = await Poller.connect(server.url)
        for number in range(100):
            await first.text(f'42["say","{number}"]')
            if number == 40:
                assert await heard(third, 20) == [str(one) for one in range(20)]
                os.kill(processes[2], signal.SIGKILL)
        every = [str(one) for one in range(100)]
        assert await heard(second, 100) == every
        polled = [await poller.read() for _ in range(100)]
        assert polled == [f'42["message","{one}"]' for one in every]
        await third.rest()  # and that is its end
        said = rf"worker 2 \(process {processes[2]}\) was ended by SIGKILL: another takes its place"
        await asyncio.to_thread(server.wait_for_line, said)
        third = await anybody_of(server, "2")
        await third.text('42["say","back"]')
        assert await heard(first, 1) == await heard(second, 1) == ["back"]
        assert await poller.read() == '42["message","back"]'
        assert set(children(server.process.pid)) > set(processes[:2])

    run(test())


def test_each_reads_again_and_a_broken_file_keeps_all(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "3", "--log", "off")
    workers = children(server.process.pid)

    async def test() -> None:
        await asyncio.to_thread(rbr.write_text, RBR.replace("app.who", "app.who_again"))
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_line, "Read again.")
        assert await everybody(server, 3) == dict.fromkeys(workers, "again")
        await asyncio.to_thread(rbr.write_text, "path broken (")
        server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_line, "The application of before stays.")
        assert await everybody(server, 3) == dict.fromkeys(workers, "again")

    run(test())
    for pid in workers:
        os.kill(pid, signal.SIGINT)
    server.stop(signal.SIGINT)
    assert not any(map(is_running, workers))
    assert server.stderr.count("Read again.") == 1
    assert server.stderr.count("The application of before stays.") == 1


# With less patience than it has by itself.
IMPATIENT = """
import sys
from redbarrel_lite import cli, workers
workers.RENEW_S = 1.5
sys.exit(cli.main())
"""


def test_worker_that_is_stuck_keeps_no_other_from_reading_again(
    serve: Serve, rbr: Path, tmp_path: Path
) -> None:
    """And does so itself, when it can, however often it was told to meanwhile."""
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    python = tmp_path / "python"  # is told to run the package: "-X dev -W error -m NAME"
    python.write_text(
        f'#!/bin/sh\nshift 6\nPYTHONPATH=. exec "{sys.executable}" {tmp_path}/impatient.py "$@"\n'
    )
    python.chmod(0o755)
    server = serve(rbr, "--workers", "3", "--log", "off", python=str(python))
    workers = children(server.process.pid)

    def is_stuck(number: int) -> str:
        process = rf"worker {number} \(process {workers[number]}\)"
        return rf"^{process} has not read again within 1\.5 s"

    async def test() -> None:
        text = (
            RBR.replace("app.who", "app.who_again") + "path new ( url /new, use python:app.who );"
        )
        await asyncio.to_thread(rbr.write_text, text)
        with stopped(workers[0]):
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for_line, is_stuck(0))
            await asyncio.to_thread(server.wait_for_line, "^Read again, but not by worker 0")
            assert await everybody(server, 2) == dict.fromkeys(workers[1:], "again")
            assert server.stderr.count("=> 'new' hooked for GET /new") == 1  # by the next
            server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_line, r"^Read again\.$")
        assert await everybody(server, 3) == dict.fromkeys(workers, "again")
        with stopped(workers[2]):
            server.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(server.wait_for_line, is_stuck(2))
        await asyncio.to_thread(server.wait_for_line, "^worker 2 .* has read again, too")

    run(test())


def test_signal_that_comes_amid_a_faulty_reload_is_obeyed(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "2", "--log", "off")
    workers = children(server.process.pid)
    gate = rbr.parent / "gate"
    os.mkfifo(gate)
    (rbr.parent / "slow.py").write_text(
        f"from pathlib import Path; Path({str(gate)!r}).read_text()"
    )

    async def test() -> None:
        await asyncio.to_thread(rbr.write_text, RBR + "path slow ( url /, use python:slow.page );")
        server.process.send_signal(signal.SIGHUP)
        with await asyncio.to_thread(gate.open, "w"):  # it reads
            await asyncio.to_thread(rbr.write_text, RBR.replace("app.who", "app.who_again"))
            server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(server.wait_for_line, "^Read again\\.$")
        assert await everybody(server, 2) == dict.fromkeys(workers, "again")

    run(test())
    assert server.stderr.count("The application of before stays.") == 1


EARLY = """
import os, signal
from pathlib import Path
first = Path(__file__).with_name("first")
if not first.exists():
    first.touch()
    os.kill(os.{who}(), signal.SIGHUP)
"""


@pytest.mark.parametrize(("count", "who"), [("1", "getpid"), ("2", "getppid")])
def test_signal_that_comes_before_it_serves_is_obeyed_then(
    serve: Serve, rbr: Path, count: str, who: str
) -> None:
    with (rbr.parent / "app.py").open("a") as file:
        file.write(EARLY.format(who=who))
    server = serve(rbr, "--workers", count)
    server.wait_for_line("^Read again\\.$")
    serving, again = (
        server.stderr.index(one) for one in (f"Serving on {server.url}", "Read again.")
    )
    assert serving < again


WAITING = """
import sys
from pathlib import Path
async def waiting(globs):
    if Path(__file__).with_name("wait").exists():
        sys.stderr.write("waiting\\n")
        await asyncio.Event().wait()
    yield 1
"""


def test_worker_that_begins_does_not_outlive_its_supervisor_either(serve: Serve, rbr: Path) -> None:
    with (rbr.parent / "app.py").open("a") as file:
        file.write(WAITING)
    with rbr.open("a") as file:
        file.write("global waiting python:app.waiting;")
    server = serve(rbr, "--workers", "2", "--log", "off")
    (rbr.parent / "wait").touch()
    os.kill(children(server.process.pid)[1], signal.SIGKILL)
    server.wait_for_line("^waiting$")
    workers = children(server.process.pid)
    assert len(workers) == 2
    server.process.kill()
    server.process.wait()
    run(comes_true(lambda: not any(map(is_running, workers))))
    server.kill()


def test_workers_do_not_outlive_their_supervisor(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "2", "--log", "off")
    workers = children(server.process.pid)
    (folder,) = folders_of(server.process.pid)
    server.process.kill()
    server.process.wait()
    run(comes_true(lambda: not any(map(is_running, workers))))
    assert not folder.exists()
    server.kill()


def test_time_for_ever_is_as_long_as_the_system_can_wait(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "2", "--grace", "1e300", "--watchdog", "1e300")
    server.stop()  # which fails on a traceback


def test_second_signal_is_the_end_at_once(serve: Serve, rbr: Path) -> None:
    server = serve(rbr, "--workers", "2", "--log", "off", "--grace", "60")
    workers = children(server.process.pid)

    async def test() -> None:
        wires = [await Wire.open(server.url) for _ in range(8)]
        for wire in wires:
            await wire.send("GET /stay HTTP/1.1\r\nHost: a\r\n\r\n")
        for _ in wires:
            await asyncio.to_thread(server.wait_for_count, "staying", 8)
        server.process.send_signal(signal.SIGTERM)
        await comes_true(lambda: not can_connect(server.port))
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.process.wait, 10)
        await comes_true(lambda: not any(map(is_running, workers)))

    run(test())
    assert server.process.returncode == -signal.SIGTERM
    server.kill()


def can_connect(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_fault_is_said_once_and_nobody_serves(rbr: Path, serve: Serve) -> None:
    rbr.write_text("path page ( url /, use python:app.nobody );")
    with pytest.raises(pytest.fail.Exception) as failed:
        serve(rbr, "--workers", "3")
    said = str(failed.value)
    assert len(re.findall("error RBR[0-9]+", said)) == 1
    assert "Warning" not in said


AS_ON_WINDOWS = """
import asyncio, os, signal
for name in ("SIGHUP", "SIGCHLD", "SIGKILL", "pthread_sigmask"):
    delattr(signal, name)
del os.fork, os.waitpid
import redbarrel_lite.cli, redbarrel_lite.serving
"""


def test_system_without_fork_and_hangups_has_the_command_all_the_same() -> None:
    subprocess.run([sys.executable, "-c", AS_ON_WINDOWS], cwd=ROOT, check=True)
