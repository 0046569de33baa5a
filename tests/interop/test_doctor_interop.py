"""`doctor` in front of nginx and HAProxy, told right and wrong, and of others' servers."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import broken_proxy
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
        (f"{WELL} proxy_pass_request_body off;", {"sessions": advice.BODY}),
        (f'{WELL} proxy_set_header Content-Length "";', {"poll": advice.BODY}),
        (
            f'{WELL} proxy_set_header Sec-WebSocket-Key "";',
            dict.fromkeys(("upgrade", "websocket"), advice.HANDSHAKE),
        ),
        (f"{WELL} return 302 /login;", dict.fromkeys(("polling", "websocket"), advice.REDIRECTED)),
        (f"{WELL} return 429;", dict.fromkeys(("polling", "websocket"), advice.TOO_MANY)),
        (WELL, {}),
    ],
    ids=[
        "nothing",
        "connection",
        "host",
        "size",
        "time",
        "methods",
        "bodies",
        "lengths",
        "key",
        "login",
        "limit",
        "well",
    ],
)
def test_nginx_that_was_told_wrong(
    server: Server, tmp_path: Path, lines: str, faults: dict[str, advice.Advice]
) -> None:
    where = f"location / {{ proxy_pass http://127.0.0.1:{server.port}; {lines} }}"
    with fronts.nginx(tmp_path, f"server {{ listen 80; {where} }}") as front:
        idle = 6 if "timeout" in lines else 0
        assert failed(found_at(front.url, idle=idle, timeout=5.0)) == faults


def test_nginx_that_has_other_urls(server: Server, tmp_path: Path) -> None:
    to = f"proxy_pass http://127.0.0.1:{server.port}"
    page = "location / { default_type text/html; return 200 '<title>Welcome</title>'; }"
    site = f"server {{ listen 80; location /chat/ {{ {to}; }} {page} }}"
    with fronts.nginx(tmp_path, site) as front:
        found = found_at(f"{front.url}/chat/socket.io/")
        assert failed(found)["polling"] == advice.PATH
        found = found_at(front.url)
        assert failed(found) == dict.fromkeys(("polling", "websocket"), advice.A_PAGE)


def test_nginx_that_loses_the_query(server: Server, tmp_path: Path) -> None:
    where = f"location / {{ proxy_pass http://127.0.0.1:{server.port}$uri; {WELL} }}"
    with fronts.nginx(tmp_path, f"server {{ listen 80; {where} }}") as front:
        found = failed(found_at(front.url))
        assert found == dict.fromkeys(("polling", "websocket"), advice.QUERY)


def test_nginx_that_keeps_answers(server: Server, tmp_path: Path) -> None:
    keeps = "proxy_cache all; proxy_cache_valid 1m; proxy_ignore_headers Cache-Control Expires;"
    where = f"location / {{ proxy_pass http://127.0.0.1:{server.port}; {WELL} {keeps} }}"
    zone = f"proxy_cache_path {tmp_path}/kept keys_zone=all:1m;\n"
    with fronts.nginx(tmp_path, f"{zone}server {{ listen 80; {where} }}") as front:
        assert failed(found_at(front.url)) == {"sessions": advice.CACHED}


def test_nginx_with_tls_where_it_is_not_asked_for_or_is_not_behind_it(
    server: Server, tmp_path: Path
) -> None:
    where = f"location / {{ proxy_pass http://127.0.0.1:{server.port}; {WELL} }}"
    tls = f"ssl_certificate {CERT}; ssl_certificate_key {KEY};"
    site = f"server {{ listen 80; listen 443 ssl; {tls} {where} }}"
    with fronts.nginx(tmp_path, site) as front:
        plain = front.url.replace("https", "http")
        assert failed(found_at(plain)) == {"connect": advice.TLS_HERE}
        assert failed(found_at(front.url)) == {"connect": advice.UNKNOWN_AUTHORITY}
        secure = f"https://localhost:{front.plain_port}"
        assert failed(found_at(secure)) == {"connect": advice.NO_TLS_HERE}
        other = tmp_path / "other"
        other.mkdir()
        where = f"location / {{ proxy_pass http://127.0.0.1:{front.tls_port}; {WELL} }}"
        with fronts.nginx(other, f"server {{ listen 80; {where} }}") as outer:
            found = failed(found_at(outer.url))
            assert found == dict.fromkeys(("polling", "websocket"), advice.TLS_BEHIND)


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
        ("    http-request set-query a=b\n", {"polling", "websocket"}),
        ("    http-request del-header sec-websocket-key\n", {"upgrade", "websocket"}),
        ("    http-request deny if { req.hdr(upgrade) -m found }\n", {"upgrade", "websocket"}),
        ("", set()),
    ],
    ids=["upgrade", "tunnel", "time", "size", "query", "key", "denied", "well"],
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


@contextmanager
def javascript() -> Iterator[str]:
    with running(node_command("reference.cjs"), node_environment()) as url:
        yield url


@contextmanager
def python() -> Iterator[str]:
    with running([peers_python(), "-c", PYTHON]) as url:
        yield url


OTHERS = pytest.mark.parametrize("other", [javascript, python])
Other: TypeAlias = Callable[[], AbstractContextManager[str]]


@OTHERS
def test_server_of_others_is_well(other: Other) -> None:
    with other() as url:
        assert not failed(found_at(url, idle=1))


@OTHERS
@pytest.mark.parametrize(
    ("ways", "faults"),
    [
        ({"drops": {"upgrade"}}, dict.fromkeys(("upgrade", "websocket"), advice.UPGRADE)),
        (
            {"drops": {"sec-websocket-key"}},
            dict.fromkeys(("upgrade", "websocket"), advice.HANDSHAKE),
        ),
        (
            {"takes_upgrades": False},
            dict.fromkeys(("upgrade", "websocket"), advice.NO_WEBSOCKETS),
        ),
        ({"keeps_query": False}, dict.fromkeys(("polling", "websocket"), advice.QUERY)),
        ({"keeps_bodies": False}, {"poll": advice.BODY}),
        ({"zips": True}, {"polling": advice.ENCODED}),
        ({"caches": True}, {"sessions": advice.CACHED}),
    ],
    ids=["upgrade", "key", "hangs-up", "query", "bodies", "zips", "caches"],
)
def test_proxy_before_a_server_of_others(
    other: Other, ways: dict[str, Any], faults: dict[str, advice.Advice]
) -> None:
    async def test() -> None:
        async with broken_proxy.front(urlsplit(url).netloc, **ways) as proxy:
            assert failed(await examined(proxy.url, timeout=3.0)) == faults

    with other() as url:
        run(test())


def test_servers_of_python_in_turn() -> None:
    async def test() -> None:
        backs = [urlsplit(url).netloc for url in (a, b)]
        async with broken_proxy.front(*backs) as proxy:
            assert failed(await examined(proxy.url)) == {"sessions": advice.STICKY}

    with python() as a, python() as b:
        run(test())
