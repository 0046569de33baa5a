"""docs/deploy.md's nginx, the very listing, in front of the chat.

Replaced are only the paths and ports that a test can't have; around the listing
stands what Debian's nginx.conf has around its sites.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, Serve
from peers import MODES, finished, missing, node_command, node_environment
from test_docs_deploy import FILES, HANDSHAKE, running
from test_real_clients import BLOCKING, expected, transports

pytestmark = pytest.mark.interop

LISTING = FILES["/etc/nginx/sites-available/chat"]
CERT = ROOT / "tests" / "tls" / "cert.pem"
KEY = ROOT / "tests" / "tls" / "key.pem"
START_S = 30.0

WHO = "path who ( url /who, use python:who.who );"
WHO_PY = "def who(request): return [request.remote_addr, request.scheme, request.host]"


class Nginx(NamedTuple):
    """One that runs: where it speaks http and https."""

    plain_port: int
    tls_port: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.tls_port}"

    def get(self, target: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        trusting = ssl.create_default_context(cafile=CERT)
        client = http.client.HTTPSConnection(
            "localhost", self.tls_port, context=trusting, timeout=START_S
        )
        try:
            client.request("GET", target, headers=headers or {})
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def replaced(changes: dict[str, str]) -> str:
    text = LISTING
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[Nginx]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        missing("no nginx on this machine: apt-get install nginx-light")
    ports = Nginx(free_port(), free_port())
    site = replaced(
        {
            "listen 80;": f"listen 127.0.0.1:{ports.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{ports.tls_port} ssl;",
            "server 127.0.0.1:8000;": f"server {upstream};",
            "/etc/ssl/chat/cert.pem": str(CERT),
            "/etc/ssl/chat/key.pem": str(KEY),
        }
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    kept = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    # Root's workers would become somebody who may not enter the test's folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr notice; {user}\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{kept}\n{site}}}\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [program, "-p", str(folder), "-e", "stderr", "-c", str(config)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stderr is not None
    late = threading.Timer(START_S, process.kill)
    late.start()
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if "start worker process " in line:  # it listens since before that
                break
        else:
            pytest.fail(f"nginx does not start:\n{''.join(said)}")
        late.cancel()
        yield ports
    finally:
        late.cancel()
        process.terminate()  # kill() would leave its workers behind
        process.communicate(timeout=START_S)


TRUSTING = ("--trust-proxy", "127.0.0.1")


@pytest.mark.parametrize("mode", MODES)
def test_official_client_chats_through_nginx(serve: Serve, tmp_path: Path, mode: str) -> None:
    """With the Origin that a browser would send for a page from there."""
    environment = node_environment() | {"NODE_EXTRA_CA_CERTS": str(CERT)}
    server = serve(BLOCKING.rbr, *TRUSTING)
    with nginx(tmp_path, f"127.0.0.1:{server.port}") as front:
        seen = finished(node_command("chat.cjs", front.url, mode, front.url), environment)
    assert {name: seen[name] for name in "abc"} == expected(BLOCKING, **seen["ids"])
    assert seen["transports"] == transports(mode)


def test_official_client_chats_over_a_unix_socket(tmp_path: Path) -> None:
    environment = node_environment() | {"NODE_EXTRA_CA_CERTS": str(CERT)}
    path = tmp_path / "http.sock"
    options = ["--uds", str(path), "--trust-proxy", "unix"]
    command = [sys.executable, "-m", "redbarrel_lite", str(BLOCKING.rbr), *options]
    with running(command, ROOT), nginx(tmp_path, f"unix:{path}") as front:
        seen = finished(node_command("chat.cjs", front.url, "upgrade", front.url), environment)
    assert {name: seen[name] for name in "abc"} == expected(BLOCKING, **seen["ids"])
    assert seen["transports"] == transports("upgrade")


def test_page_comes_and_http_leads_to_https(serve: Serve, tmp_path: Path) -> None:
    server = serve(BLOCKING.rbr, *TRUSTING)
    with nginx(tmp_path, f"127.0.0.1:{server.port}") as front:
        status, page = front.get("/")
        assert (status, page) == (200, BLOCKING.rbr.with_suffix(".html").read_bytes())
        plain = http.client.HTTPConnection("localhost", front.plain_port, timeout=START_S)
        plain.request("GET", "/?a=b", headers={"Host": "chat.example"})
        answer = plain.getresponse()
        assert (answer.status, answer.headers["Location"]) == (301, "https://chat.example/?a=b")
        plain.close()


def test_socket_needs_the_scheme_and_the_trust(serve: Serve, tmp_path: Path) -> None:
    trusting, other = serve(BLOCKING.rbr, *TRUSTING), serve(BLOCKING.rbr)
    with nginx(tmp_path, f"127.0.0.1:{trusting.port}") as front:
        assert front.get(HANDSHAKE, {"Origin": front.url})[0] == 200
        assert front.get(HANDSHAKE, {"Origin": front.url.replace("https", "http")})[0] == 403
        assert front.get(HANDSHAKE, {"Origin": "https://evil.example"})[0] == 403
    with nginx(tmp_path, f"127.0.0.1:{other.port}") as front:
        assert front.get("/")[0] == 200
        assert front.get(HANDSHAKE, {"Origin": front.url})[0] == 403


def test_clients_do_not_speak_for_nginx(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "who.rbr").write_text(WHO, encoding="utf-8")
    (tmp_path / "who.py").write_text(WHO_PY, encoding="utf-8")
    server = serve(tmp_path / "who.rbr", *TRUSTING)
    lies = {
        "Forwarded": "for=6.6.6.6;proto=http;host=evil.example",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
    }
    with nginx(tmp_path, f"127.0.0.1:{server.port}") as front:
        for headers in ({}, lies):
            status, body = front.get("/who", headers)
            assert status == 200
            assert json.loads(body) == ["127.0.0.1", "https", f"localhost:{front.tls_port}"]


def test_502_when_nobody_is_there(tmp_path: Path) -> None:
    with nginx(tmp_path, f"127.0.0.1:{free_port()}") as front:
        assert front.get("/")[0] == 502
