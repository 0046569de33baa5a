"""nginx and HAProxy, started with the text of a configuration.

    with nginx(tmp_path, text) as front:
        front.get("/")

Replaced in the text are only the ports, and what else a test can't have: `moved` says it.
Around a site of nginx stands what Debian's nginx.conf has around its sites.
"""

from __future__ import annotations

import http.client
import os
import random
import select
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT
from peers import missing

CERT = ROOT / "tests" / "tls" / "cert.pem"
KEY = ROOT / "tests" / "tls" / "key.pem"
START_S = 30.0


class Front(NamedTuple):
    """A proxy that runs: where it speaks http and https."""

    plain_port: int
    tls_port: int  # 0 if it does not

    @property
    def url(self) -> str:
        if self.tls_port:
            return f"https://localhost:{self.tls_port}"
        return f"http://localhost:{self.plain_port}"

    def ask(
        self, target: str, headers: Mapping[str, str] | None = None, *, plain: bool = False
    ) -> tuple[http.client.HTTPResponse, bytes]:
        client = http.client.HTTPConnection("localhost", self.plain_port, timeout=START_S)
        if self.tls_port and not plain:
            trusting = ssl.create_default_context(cafile=CERT)
            client = http.client.HTTPSConnection(
                "localhost", self.tls_port, context=trusting, timeout=START_S
            )
        try:
            client.request("GET", target, headers=dict(headers or {}))
            answer = client.getresponse()
            return answer, answer.read()
        finally:
            client.close()

    def get(self, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        answer, body = self.ask(target, headers)
        return answer.status, body


def program(name: str, package: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found or missing(f"no {name} on this machine: apt-get install {package}")


def free_port() -> int:
    """Below those that the system gives to whoever asks for none, so that it stays free."""
    while True:
        port = random.randrange(10_000, 30_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def moved(text: str, changes: Mapping[str, str]) -> str:
    """The text with some of its words replaced, each of which is there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, site: str) -> Iterator[Front]:
    """Serve a site, with its ports 80 and 443 elsewhere."""
    speaks_tls = "listen 443 ssl;" in site
    front = Front(free_port(), free_port() if speaks_tls else 0)
    changes = {"listen 80;": f"listen 127.0.0.1:{front.plain_port};"}
    if speaks_tls:
        changes["listen 443 ssl;"] = f"listen 127.0.0.1:{front.tls_port} ssl;"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    # Root's workers would become somebody who may not enter the test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr notice; {user}\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{kept}\n{moved(site, changes)}}}\n",
        encoding="utf-8",
    )
    command = [program("nginx", "nginx-light"), "-p", str(folder), "-e", "stderr", "-c"]
    checked = subprocess.run([*command, str(config), "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr, checked.stderr
    process = subprocess.Popen([*command, str(config)], stderr=subprocess.PIPE, encoding="utf-8")
    said: list[str] = []
    listens = threading.Event()

    def read() -> None:
        """All of it: nginx stands still when nobody reads, once the pipe is full."""
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                said.append(line)
                if "start worker process " in line:  # it listens since before that
                    listens.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        if not listens.wait(START_S):
            pytest.fail(f"nginx does not start:\n{''.join(said)}")
        yield front
    finally:
        process.terminate()  # kill() would leave its workers behind
        process.wait(START_S)
        reader.join()


@contextmanager
def haproxy(folder: Path, text: str) -> Iterator[Front]:
    """Serve by a configuration, on sockets that are open before it starts."""
    found = program("haproxy", "haproxy")
    config = folder / "haproxy.cfg"
    checked = _checked(found, config, text)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "[WARNING]" not in checked.stderr, checked.stderr
    with (
        socket.create_server(("127.0.0.1", 0)) as plain,
        socket.create_server(("127.0.0.1", 0)) as secure,
    ):
        changes = {"bind :80": f"bind fd@{plain.fileno()}"}
        speaks_tls = "bind :443 " in text
        if speaks_tls:
            changes["bind :443 "] = f"bind fd@{secure.fileno()} "
        # Who it shall be from then on may not enter the test's folder.
        changes |= {"    user haproxy\n": "", "    group haproxy\n": ""}
        config.write_text(moved(text, changes), encoding="utf-8")
        process = _started([found, "-Ws", "-q", "-f", str(config)], folder, (plain, secure))
        ports = [one.getsockname()[1] for one in (plain, secure)]
        try:
            yield Front(ports[0], ports[1] if speaks_tls else 0)
            assert process.poll() is None, "HAProxy has ended"
        finally:
            process.terminate()
            process.communicate(timeout=START_S)


def _started(
    command: list[str], folder: Path, sockets: Sequence[socket.socket]
) -> subprocess.Popen[str]:
    """Start HAProxy, and wait until it tells systemd, which we are, that it serves."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(folder / "notify"))
        process = subprocess.Popen(
            command,
            pass_fds=[one.fileno() for one in sockets],
            env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify")},
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        ended = os.pidfd_open(process.pid)
        there = select.select([told.fileno(), ended], [], [], START_S)[0]
        os.close(ended)
        if told.fileno() not in there:
            process.kill()
            pytest.fail(f"HAProxy does not start:\n{process.communicate()[1]}")
    (folder / "notify").unlink()
    return process


def _checked(found: str, config: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What HAProxy itself says of the text as it was printed."""
    config.write_text(text, encoding="utf-8")
    return subprocess.run([found, "-c", "-f", str(config)], capture_output=True, text=True)
