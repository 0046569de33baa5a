"""`doctor` in front of nginx and HAProxy, told right and wrong, and of others' servers."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fronts
import pytest
from conftest import Serve, Server
from fronts import CERT, KEY
from peers import node_command, node_environment, peers_python
from test_doctor import examined, failed, few
from test_print_config import printed
from wire import run

from redbarrel_lite import doctor_advice as advice
from redbarrel_lite.doctor_checks import Finding

pytestmark = pytest.mark.interop
__all__ = ["few"]  # for pytest

UPGRADES = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
NAMED = "proxy_set_header Host $http_host;"
WELL = f"{UPGRADES} {NAMED} proxy_set_header Connection upgrade;"

HAPROXY = """
global
    user haproxy
    group haproxy
defaults
    mode http
    timeout connect 5s
    timeout client 90s
    timeout server 90s
frontend all
    bind :80
    default_backend ours
backend ours
"""


def found_at(url: str, **options: Any) -> dict[str, Finding]:
    found: dict[str, Finding] = {}

    async def test() -> None:
        found.update(await examined(url, **options))

    run(test())
    return found


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    file = tmp_path / "app.rbr"
    file.write_text("path s ( method SOCKETIO );\n")
    return serve(file, "--log", "off", "--trust-proxy", "127.0.0.1")


@pytest.mark.parametrize("form", ["nginx", "haproxy"])
def test_what_print_config_prints_is_well(server: Server, tmp_path: Path, form: str) -> None:
    (tmp_path / "cert.pem").write_bytes(CERT.read_bytes())
    (tmp_path / "cert.pem.key").write_bytes(KEY.read_bytes())
    files = ["--certfile", tmp_path / "cert.pem", "--keyfile", tmp_path / "cert.pem.key"]
    text = printed(form, tmp_path / "app.rbr", "--port", server.port, *files)
    with getattr(fronts, form)(tmp_path, text) as front:
        tls = ssl.create_default_context(cafile=str(CERT))
        assert not failed(found_at(front.url, tls=tls, idle=1))


@pytest.mark.parametrize("form", ["nginx", "haproxy"])
def test_what_print_config_prints_for_a_prefix_is_well(
    server: Server, tmp_path: Path, form: str
) -> None:
    prefix = ["--port", server.port, "--prefix", "/rooms/chat"]
    text = printed(form, tmp_path / "app.rbr", *prefix)
    with getattr(fronts, form)(tmp_path, text) as front:
        found = found_at(f"{front.url}/rooms/chat/socket.io/")
        assert not failed(found)
        assert found["http"].what.startswith("/rooms/chat/__health__ says ok")


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        (NAMED, dict.fromkeys(("upgrade", "websocket"), advice.UPGRADE)),
        (f"{NAMED} {UPGRADES}", dict.fromkeys(("upgrade", "websocket"), advice.UPGRADE)),
        (WELL.replace(NAMED, ""), {"origin": advice.ORIGIN}),
        (f"{WELL} client_max_body_size 100k;", {"large post": advice.BODY_LIMIT}),
        (f"{WELL} proxy_read_timeout 3s;", {"idle": advice.QUIET}),
        (f"{WELL} limit_except GET {{ deny all; }}", {"poll": advice.METHOD}),
        (WELL, {}),
    ],
    ids=["nothing", "connection", "host", "size", "time", "methods", "well"],
)
def test_nginx_that_was_told_wrong(
    server: Server, tmp_path: Path, lines: str, faults: dict[str, advice.Advice]
) -> None:
    where = f"location / {{ proxy_pass http://127.0.0.1:{server.port}; {lines} }}"
    with fronts.nginx(tmp_path, f"server {{ listen 80; {where} }}") as front:
        idle = 6 if "timeout" in lines else 0
        assert failed(found_at(front.url, idle=idle)) == faults


def test_nginx_that_has_other_urls(server: Server, tmp_path: Path) -> None:
    to = f"proxy_pass http://127.0.0.1:{server.port}"
    page = "location / { default_type text/html; return 200 '<title>Welcome</title>'; }"
    site = f"server {{ listen 80; location /chat/ {{ {to}; }} {page} }}"
    with fronts.nginx(tmp_path, site) as front:
        found = found_at(f"{front.url}/chat/socket.io/")
        assert failed(found)["polling"] == advice.PATH
        found = found_at(front.url)
        assert failed(found) == dict.fromkeys(("polling", "websocket"), advice.A_PAGE)


def test_nginx_without_a_server(tmp_path: Path) -> None:
    site = "server { listen 80; location / { proxy_pass http://127.0.0.1:1; } }"
    with fronts.nginx(tmp_path, site) as front:
        found = found_at(front.url)
        assert failed(found)["http"] == advice.NO_SERVER
        assert found["http"].what.endswith(": Bad Gateway")


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        ("    http-request del-header upgrade\n", {"upgrade", "websocket"}),
        ("    timeout tunnel 3s\n", {"idle"}),
        ("    timeout server 3s\n    timeout tunnel 90s\n", {"idle"}),
        ("    http-request deny deny_status 413 if { req.body_size gt 99999 }\n", {"large post"}),
        ("", set()),
    ],
    ids=["upgrade", "tunnel", "time", "size", "well"],
)
def test_haproxy_that_was_told_wrong(
    server: Server, tmp_path: Path, lines: str, faults: set[str]
) -> None:
    text = f"{HAPROXY}{lines}    server one 127.0.0.1:{server.port}\n"
    with fronts.haproxy(tmp_path, text) as front:
        idle = 6 if "timeout" in lines else 0
        assert set(failed(found_at(front.url, idle=idle))) == faults


def test_haproxy_in_front_of_two(serve: Serve, server: Server, tmp_path: Path) -> None:
    other = serve(tmp_path / "app.rbr", "--log", "off")
    both = f"    server a 127.0.0.1:{server.port} {{}}\n    server b 127.0.0.1:{other.port} {{}}\n"
    with fronts.haproxy(tmp_path, HAPROXY + both.format("", "")) as front:
        assert failed(found_at(front.url)) == {"sessions": advice.STICKY}
    sticky = "    cookie io insert indirect nocache\n" + both.format("cookie a", "cookie b")
    with fronts.haproxy(tmp_path, HAPROXY + sticky) as front:
        assert not failed(found_at(front.url))


# -- others' servers -------------------------------------------------------------------------

PYTHON = """
import socketio
from aiohttp import web

async def start():
    app = web.Application()
    socketio.AsyncServer(async_mode="aiohttp").attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)

import asyncio
loop = asyncio.new_event_loop()
loop.run_until_complete(start())
loop.run_forever()
"""


@contextmanager
def running(command: list[str], environment: dict[str, str] | None = None) -> Iterator[str]:
    """A server, which says its url."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_server_of_javascript_is_well() -> None:
    with running(node_command("reference.cjs"), node_environment()) as url:
        assert not failed(found_at(url, idle=1))


def test_server_of_python_socketio_is_well() -> None:
    with running([peers_python(), "-c", PYTHON]) as url:
        assert not failed(found_at(url, idle=1))
