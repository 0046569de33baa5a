"""Sockets that are there already, and what systemd is told: by real descriptors and datagrams."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from conftest import ROOT
from wire import CERTIFICATE, KEY, PATIENCE_S

from redbarrel_lite.systemd import NotANumber, Notifier, inherited_sockets

# As systemd does: the descriptors from 3 on, and the number of the very process that is meant.
LAUNCHER = """
import fcntl, os, sys
descriptors = [int(one) for one in sys.argv[1].split(",") if one]
safe = [fcntl.fcntl(one, fcntl.F_DUPFD, 100) for one in descriptors]
for number, one in enumerate(safe, 3):
    os.dup2(one, number)
os.environ.update(LISTEN_PID=str(os.getpid()), WATCHDOG_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Service:
    """A server that somebody else has opened the sockets for."""

    def __init__(
        self, rbr: Path, sockets: Sequence[socket.socket], *args: str, **environment: str
    ) -> None:
        descriptors = [one.fileno() for one in sockets]
        command = [sys.executable, "-S", "-E", "-c", LAUNCHER, ",".join(map(str, descriptors))]
        serve = ["-X", "dev", "-W", "error", "-m", "redbarrel_lite", str(rbr), *args]
        self.process = subprocess.Popen(
            [*command, *serve],
            cwd=ROOT,
            env=os.environ | {"LISTEN_FDS": str(len(sockets))} | environment,
            pass_fds=descriptors,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        self.serving = ""
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("Serving on "):
                self.serving = line.removeprefix("Serving on ").strip()
                break

    def end(self) -> None:
        """End it as systemd does."""
        self.process.send_signal(signal.SIGTERM)
        self.said += self.process.communicate(timeout=PATIENCE_S)[1].splitlines(keepends=True)
        assert self.process.returncode == 0, self.said
        assert not [line for line in self.said if "Traceback" in line], self.said


@contextlib.contextmanager
def service(
    rbr: Path, sockets: Sequence[socket.socket], *args: str, **environment: str
) -> Iterator[Service]:
    running = Service(rbr, sockets, *args, **environment)
    try:
        yield running
        if running.process.returncode is None:
            running.end()
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def rbr(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("page")
    (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
    return tmp_path / "app.rbr"


def tcp() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def unix(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    return listening


def answer_of(client: socket.socket) -> bytes:
    """The content of the page, asked for on a connection of its own."""
    with client:
        client.settimeout(PATIENCE_S)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := client.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return answer.partition(b"\r\n\r\n")[2]


def test_inherited_sockets_of_each_kind_are_served_and_stay_open(rbr: Path) -> None:
    path = rbr.parent / "socket"
    name = f"redbarrel-lite-{os.getpid()}"
    with tcp() as one, tcp() as other, unix(str(path)) as local, unix(f"\0{name}") as abstract:
        ports = [one.getsockname()[1], other.getsockname()[1]]
        # What is inherited wins: there is no port 1 that we could open.
        with service(rbr, [one, other, local, abstract], "--port", "1") as running:
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            assert running.serving == ", ".join([*urls, f"unix:{path}", f"unix:@{name}"])
            for port in ports:
                assert answer_of(socket.create_connection(("127.0.0.1", port))) == b"page"
            for there in (str(path), f"\0{name}"):
                client = socket.socket(socket.AF_UNIX)
                client.connect(there)
                assert answer_of(client) == b"page"
        assert path.exists()
        # Nobody serves, and nobody is refused.
        with socket.create_connection(("127.0.0.1", ports[0])) as client:
            assert not select.select([client], [], [], 0)[0]


def test_inherited_socket_speaks_tls(rbr: Path) -> None:
    with tcp() as listening:
        files = "--certfile", str(CERTIFICATE), "--keyfile", str(KEY)
        with service(rbr, [listening], *files) as running:
            assert running.serving == f"https://127.0.0.1:{listening.getsockname()[1]}"
            trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
            client = socket.create_connection(listening.getsockname())
            secure = trusting.wrap_socket(client, server_hostname="localhost")
            assert answer_of(secure) == b"page"


def test_restart_refuses_nobody_and_loses_no_request(rbr: Path) -> None:
    """Clients that come all the while, some time before they ask: three servers in a row."""
    is_over = threading.Event()
    answered = threading.Semaphore(0)
    faults: list[Exception] = []

    def come_and_go(address: tuple[str, int]) -> None:
        try:
            there = deque(socket.create_connection(address, PATIENCE_S) for _ in range(5))
            while there:
                if not is_over.is_set():
                    there.append(socket.create_connection(address, PATIENCE_S))
                assert answer_of(there.popleft()) == b"page"
                answered.release()
        except Exception as error:
            faults.append(error)

    with tcp() as listening:
        clients = [
            threading.Thread(target=come_and_go, args=[listening.getsockname()]) for _ in range(4)
        ]
        for client in clients:
            client.start()
        for turn in range(3):
            with service(rbr, [listening], "--log", "off"):
                for _ in range(100):
                    assert answered.acquire(timeout=PATIENCE_S), faults
                if turn == 2:
                    is_over.set()
                    for client in clients:
                        client.join(PATIENCE_S)
    assert faults == []


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd here")
def test_systemd_s_own_tool_starts_it(rbr: Path) -> None:
    with tcp() as free:
        port = free.getsockname()[1]
    command = [
        "systemd-socket-activate",
        "-l",
        f"127.0.0.1:{port}",
        "-E",
        f"PATH={os.environ['PATH']}",
    ]
    serve = [sys.executable, "-m", "redbarrel_lite", str(rbr)]
    with subprocess.Popen(
        [*command, *serve], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(line.startswith("Listening on ") for line in process.stderr)
        assert answer_of(socket.create_connection(("127.0.0.1", port), PATIENCE_S)) == b"page"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


class Manager:
    """The side of systemd that is told."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1))
        self._socket.settimeout(PATIENCE_S)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def hear(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)


def test_systemd_is_told_of_the_start_each_reload_and_the_end(rbr: Path) -> None:
    address = str(rbr.parent / "notify")
    with Manager(address) as manager, service(rbr, [], "--port", "0", NOTIFY_SOCKET=address) as it:
        assert manager.hear() == {"READY": "1"}
        for text in (rbr.read_text(), "path"):  # one with a fault is as ready as it was
            rbr.write_text(text)
            asked = time.monotonic_ns() // 1000
            it.process.send_signal(signal.SIGHUP)
            told = manager.hear()
            assert told.keys() == {"RELOADING", "MONOTONIC_USEC"}
            assert told["RELOADING"] == "1"
            assert int(told["MONOTONIC_USEC"]) >= asked
            assert manager.hear() == {"READY": "1"}
        it.end()
        assert manager.hear() == {"STOPPING": "1"}


def test_signs_of_life_come_while_they_are_wanted(rbr: Path) -> None:
    address = f"@redbarrel-lite-{os.getpid()}"
    told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}
    with Manager(address) as manager, service(rbr, [], "--port", "0", **told):
        assert manager.hear() == {"READY": "1"}
        for _ in range(3):
            assert manager.hear() == {"WATCHDOG": "1"}


def test_workers_share_what_is_inherited_and_their_supervisor_tells_systemd(rbr: Path) -> None:
    path = str(rbr.parent / "socket")
    address = str(rbr.parent / "notify")
    files = "--certfile", str(CERTIFICATE), "--keyfile", str(KEY)
    with (
        tcp() as listening,
        unix(path) as local,
        Manager(address) as manager,
        service(
            rbr, [listening, local], "--workers", "2", *files, NOTIFY_SOCKET=address
        ) as running,
    ):
        assert manager.hear() == {"READY": "1"}
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        for _ in range(4):
            client = socket.create_connection(listening.getsockname())
            assert answer_of(trusting.wrap_socket(client, server_hostname="localhost")) == b"page"
        running.process.send_signal(signal.SIGHUP)
        assert manager.hear().keys() == {"RELOADING", "MONOTONIC_USEC"}
        assert manager.hear() == {"READY": "1"}
        running.end()
        assert manager.hear() == {"STOPPING": "1"}
        assert Path(path).exists()


@pytest.mark.parametrize("count", ["1", "2"])
def test_unix_sockets_of_our_own_go_with_us(rbr: Path, count: str) -> None:
    """Even if they are named as seen from where it began, and it has gone elsewhere."""
    there, emits = rbr.parent / "socket", rbr.parent / "emits"
    (rbr.parent / "app.py").write_text(
        "import os\ndef page(request): return os.chdir('/') or 'page'\n"
    )
    rbr.write_text("path page ( url /, use python:app.page );")
    names = "--uds", os.path.relpath(there, ROOT), "--emit-uds", os.path.relpath(emits, ROOT)
    with service(rbr, [], "--workers", count, *names):
        assert emits.is_socket()
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(there))
        assert answer_of(client) == b"page"
    assert not there.exists()
    assert not emits.exists()


# -- in this process ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "a"},
        {"LISTEN_PID": "1", "LISTEN_FDS": "abc"},
    ],
)
def test_what_is_not_for_us_is_left_alone_and_not_handed_on(environment: dict[str, str]) -> None:
    assert inherited_sockets(environment) == ()
    assert environment == {}


NO_NUMBERS = ["abc", "-1", "+1", "1_0", " 1", "1.0", "\uff11", "\u0661", "9" * 5000]


@pytest.mark.parametrize("text", NO_NUMBERS, ids=range(len(NO_NUMBERS)))
def test_what_is_no_number_is_refused(text: str) -> None:
    environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": text}
    with pytest.raises(NotANumber, match=r"^LISTEN_FDS: '.*' is not a number$"):
        inherited_sockets(environment)
    assert environment == {}
    for path, pid in (("", ""), ("@nobody", "1")):  # it is not for us
        told = {"NOTIFY_SOCKET": path, "WATCHDOG_PID": pid, "WATCHDOG_USEC": text}
        assert Notifier(told).alive_every_s == 0
    with pytest.raises(NotANumber, match=r"^WATCHDOG_USEC: '.*' is not a number$"):
        Notifier({"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": text})


def test_sign_of_life_is_never_later_than_the_system_can_wait() -> None:
    told = {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": str(2**64 - 1)}
    with selectors.DefaultSelector() as selector:
        ours, _ = pair = socket.socketpair()
        selector.register(ours, selectors.EVENT_WRITE)
        assert selector.select(Notifier(told).alive_every_s)
        for one in pair:
            one.close()


@pytest.mark.parametrize("name", ["LISTEN_FDS", "WATCHDOG_USEC"])
def test_server_that_is_told_no_number_says_so_and_ends(rbr: Path, name: str) -> None:
    with service(rbr, [], "--port", "0", **{"NOTIFY_SOCKET": "@nobody", name: "1_0"}) as running:
        assert running.process.wait(PATIENCE_S) == 2
        assert running.said == [f"error: {name}: '1_0' is not a number\n"]


def with_descriptor(rbr: Path, one: socket.socket) -> str:
    with service(rbr, [one]) as running:
        assert running.process.wait(PATIENCE_S) == 1
        return running.said[-1].strip()


def test_descriptor_that_can_t_be_served_on_is_one_line(rbr: Path) -> None:
    ours, its = socket.socketpair()
    with ours, its, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        told = "error: LISTEN_FDS: descriptor 3 "
        assert with_descriptor(rbr, its) == f"{told}does not listen: write Accept=no"
        assert with_descriptor(rbr, datagrams) == (
            f"{told}is no stream socket: write ListenStream="
        )
    with service(rbr, [], LISTEN_FDS="9") as running:
        assert running.process.wait(PATIENCE_S) == 1
        assert "is no socket: Bad file descriptor" in running.said[-1]


def test_nobody_is_told_where_nobody_listens(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "nothing"), "WATCHDOG_USEC": "1000"}
    Notifier(environment).ready()
    assert environment == {}
    Notifier({}).ready()
