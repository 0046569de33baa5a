"""docs/deploy.md's nginx, the very listing, in front of the chat."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fronts
import pytest
from conftest import ROOT, Serve
from fronts import CERT, KEY, Front, free_port, moved
from peers import MODES, finished, node_command, node_environment
from test_docs_deploy import FILES, HANDSHAKE, running
from test_real_clients import BLOCKING, expected, transports

pytestmark = pytest.mark.interop

LISTING = FILES["/etc/nginx/sites-available/chat"]
WHO = "path who ( url /who, use python:who.who );"
WHO_PY = "def who(request): return [request.remote_addr, request.scheme, request.host]"


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[Front]:
    changes = {
        "server 127.0.0.1:8000;": f"server {upstream};",
        "/etc/ssl/chat/cert.pem": str(CERT),
        "/etc/ssl/chat/key.pem": str(KEY),
    }
    with fronts.nginx(folder, moved(LISTING, changes)) as front:
        yield front


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
        answer, _ = front.ask("/?a=b", {"Host": "chat.example"}, plain=True)
        assert (answer.status, answer.headers["Location"]) == (301, "https://chat.example/?a=b")


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
