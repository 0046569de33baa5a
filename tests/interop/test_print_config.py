"""What `print-config nginx` and `print-config haproxy` print, run in front of real servers."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import fronts
import pytest
from conftest import ROOT, Serve
from fronts import CERT, KEY, START_S, Front, moved
from peers import browser_environment, finished, node, node_command, node_environment
from test_docs_deploy import HANDSHAKE, running
from test_real_clients import BLOCKING, expected, transports

pytestmark = pytest.mark.interop

FORMS = ["nginx", "haproxy"]
TRUSTING = ("--trust-proxy", "127.0.0.1")

APP = """
path who ( url /who, use python:app.who );
path there ( url /there, use python:app.there );
path parts ( url /parts, use python:app.parts );
path go_on ( method POST, url /parts, use python:app.go_on );
path sizes ( method POST, url /sizes, use python:app.size, max-body 3000000 );
path small ( method POST, url /small, use python:app.size, max-body 1000 );
"""
APP_PY = """
import threading
from redbarrel_lite import exc

going = threading.Event()

def who(request):
    return [request.remote_addr, request.scheme, request.host]

def there(request):
    raise exc.HTTPSeeOther(location=request.params["to"])

def parts(request):
    yield "first,"
    going.wait()
    yield "second"

def go_on(request):
    going.set()

def size(request):
    return str(len(request.body))
"""
BOTTLE_PY = """
import bottle

app = bottle.Bottle()

@app.route("/old")
def old():
    bottle.redirect("new")
"""


def printed(form: str, *words: object) -> str:
    command = [sys.executable, "-m", "redbarrel_lite", "print-config", form, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def in_front(form: str, folder: Path, text: str) -> Iterator[Front]:
    with (fronts.nginx if form == "nginx" else fronts.haproxy)(folder, text) as front:
        yield front


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP_PY, encoding="utf-8")
    (tmp_path / "app.rbr").write_text(APP, encoding="utf-8")
    return tmp_path / "app.rbr"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate and beside it its key, each where one of the two looks for it."""
    shutil.copy(CERT, tmp_path / "cert.pem")
    shutil.copy(KEY, tmp_path / "cert.pem.key")
    return tmp_path / "cert.pem"


@pytest.mark.parametrize("mode", ["polling", "upgrade"])
@pytest.mark.parametrize("form", FORMS)
def test_official_client_chats_with_tls(
    serve: Serve, tmp_path: Path, certificate: Path, form: str, mode: str
) -> None:
    environment = node_environment() | {"NODE_EXTRA_CA_CERTS": str(CERT)}
    server = serve(BLOCKING.rbr, *TRUSTING)
    files = ["--certfile", certificate, "--keyfile", f"{certificate}.key"]
    text = printed(form, BLOCKING.rbr, "--port", server.port, *files)
    with in_front(form, tmp_path, text) as front:
        seen = finished(node_command("chat.cjs", front.url, mode, front.url), environment)
        assert front.get(HANDSHAKE, {"Origin": front.url.replace("https", "http")})[0] == 403
        answer, _ = front.ask("/?a=b", {"Host": "chat.example"}, plain=True)
        assert (answer.status, answer.headers["Location"]) == (301, "https://chat.example/?a=b")
    assert {name: seen[name] for name in "abc"} == expected(BLOCKING, **seen["ids"])
    assert seen["transports"] == transports(mode)


@pytest.mark.parametrize("form", FORMS)
def test_application_below_a_url_and_behind_a_unix_socket(tmp_path: Path, form: str) -> None:
    """Its page in a browser, which finds script and sockets by relative urls; and any client."""
    browser_environment()
    path = tmp_path / "http.sock"
    options = ["--uds", str(path), "--trust-proxy", "unix"]
    command = [sys.executable, "-m", "redbarrel_lite", str(BLOCKING.rbr), *options]
    text = printed(form, BLOCKING.rbr, "--uds", path, "--prefix", "/to.morrow/chat")
    with running(command, ROOT), in_front(form, tmp_path, text) as front:
        below = f"{front.url}/to.morrow/chat"
        words = [front.url, "upgrade", front.url, "/to.morrow/chat/socket.io/"]
        seen = finished(node_command("chat.cjs", *words), node_environment())
        assert {name: seen[name] for name in "abc"} == expected(BLOCKING, **seen["ids"])
        shown = node("page.cjs", f"{below}/", "ours", "chromium")
        assert (shown["faults"], "hello from a" in shown["b"]) == ([], True)
        answer, _ = front.ask("/to.morrow/chat?a=b")
        assert answer.status == 308
        assert answer.headers["Location"] in (
            f"{below}/?a=b", "/to.morrow/chat/?a=b",
        )  # fmt: skip
        for strange in ("/", "/to.morrow/", "/to.morrow/chatter", "/tomorrow/chat/"):
            assert front.get(strange)[0] in (404, 503), strange


@pytest.mark.parametrize("form", FORMS)
def test_root_of_any_language_is_handed_on(serve: Serve, app: Path, form: str) -> None:
    app.write_text(f"root /käse/~a@b.c; {APP}", encoding="utf-8")
    server = serve(app, *TRUSTING)
    text = printed(form, app, "--port", server.port)
    with in_front(form, app.parent, text) as front:
        status, body = front.get("/k%C3%A4se/~a@b.c/who")
        assert (status, json.loads(body)[1]) == (200, "http")
        assert front.get("/k%C3%A4se/who")[0] in (404, 503)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_redirects_of_the_application_stay_below_the_prefix(
    serve: Serve, app: Path, certificate: Path, form: str, tls: bool
) -> None:
    """Those to its own urls, whichever way they are written; and no others."""
    server = serve(app, *TRUSTING)
    files = ["--certfile", certificate, "--keyfile", f"{certificate}.key"] if tls else []
    text = printed(form, app, "--port", server.port, "--prefix", "/be.low", *files)
    with in_front(form, app.parent, text) as front:

        def led_to(location: str) -> str:
            answer, _ = front.ask(f"/be.low/there?to={quote(location, safe='')}")
            assert answer.status == 303
            return str(answer.headers["Location"])

        here = front.url
        for path in ("/", "/who?a=b", "/who?to=http://elsewhere.example/", "/beglow/x"):
            assert led_to(path).removeprefix(here) == f"/be.low{path}"
            assert led_to(here + path) == f"{here}/be.low{path}"
        for url in (f"{here}/be.low/who", "/be.low/who"):  # as somebody wrote who knows it
            assert led_to(url).removeprefix(here) == "/be.low/who"
        for other in ("//elsewhere.example/x", "http://elsewhere.example/x", f"{here}0/x", "who"):
            assert led_to(other) == other


@pytest.mark.parametrize("form", FORMS)
def test_redirects_of_bottle_stay_below_the_prefix(serve: Serve, app: Path, form: str) -> None:
    """It makes absolute urls of all."""
    pytest.importorskip("bottle")
    app.write_text("path all ( url /w/{rest:.*}, use wsgi:app.app );", encoding="utf-8")
    app.with_suffix(".py").write_text(BOTTLE_PY, encoding="utf-8")
    server = serve(app, *TRUSTING)
    text = printed(form, app, "--port", server.port, "--prefix", "/below")
    with in_front(form, app.parent, text) as front:
        answer, _ = front.ask("/below/w/old")
        assert (answer.status, answer.headers["Location"]) == (303, f"{front.url}/below/w/new")


@pytest.mark.parametrize("form", FORMS)
def test_client_is_told_and_cannot_speak_for_the_proxy(
    serve: Serve, app: Path, certificate: Path, form: str
) -> None:
    server = serve(app, *TRUSTING)
    text = printed(
        form, app, "--port", server.port, "--certfile", certificate, "--keyfile",
        f"{certificate}.key",
    )  # fmt: skip
    lies = {
        "Forwarded": "for=6.6.6.6;proto=http;host=evil.example",
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
    }
    with in_front(form, app.parent, text) as front:
        for headers in ({}, lies):
            status, body = front.get("/who", headers)
            assert status == 200
            assert json.loads(body) == ["127.0.0.1", "https", f"localhost:{front.tls_port}"]


@pytest.mark.parametrize("form", FORMS)
def test_parts_of_an_answer_come_when_they_are_there(serve: Serve, app: Path, form: str) -> None:
    server = serve(app, *TRUSTING)
    with in_front(form, app.parent, printed(form, app, "--port", server.port)) as front:
        client = http.client.HTTPConnection("localhost", front.plain_port, timeout=START_S)
        client.request("GET", "/parts")
        answer = client.getresponse()
        assert answer.read1() == b"first,"  # the second waits until we ask for it
        other = http.client.HTTPConnection("localhost", front.plain_port, timeout=START_S)
        other.request("POST", "/parts")
        assert other.getresponse().read() == b""
        assert answer.read() == b"second"
        client.close()
        other.close()


@pytest.mark.parametrize("form", FORMS)
def test_bodies_are_as_large_as_the_application_lets_them(
    serve: Serve, app: Path, form: str
) -> None:
    server = serve(app, *TRUSTING)
    with in_front(form, app.parent, printed(form, app, "--port", server.port)) as front:

        def posted(url: str, size: int) -> tuple[int, bytes]:
            client = http.client.HTTPConnection("localhost", front.plain_port, timeout=START_S)
            client.request("POST", url, b"x" * size)
            answer = client.getresponse()
            body = answer.read()
            client.close()
            return answer.status, body

        assert posted("/sizes", 3_000_000) == (200, b"3000000")
        assert posted("/small", 1001)[0] == 413


@pytest.mark.parametrize("form", FORMS)
def test_roots_of_the_files_are_all_that_is_handed_on(
    serve: Serve, tmp_path: Path, form: str
) -> None:
    files = []
    for name in ("shop", "forum"):
        (tmp_path / f"{name}.html").write_text(name)
        files.append(tmp_path / f"{name}.rbr")
        files[-1].write_text(f"root /{name}; path page ( url /, use file:{name}.html );")
    server = serve(files[0], str(files[1]), *TRUSTING)
    with in_front(form, tmp_path, printed(form, *files, "--port", server.port)) as front:
        assert front.get("/shop/") == (200, b"shop")
        assert front.get("/forum/") == (200, b"forum")
        assert front.ask("/shop")[0].status == 308
        for strange in ("/", "/shopping/", "/__health__"):
            assert front.get(strange)[0] in (404, 503), strange


@pytest.mark.parametrize("form", FORMS)
def test_pollers_come_back_to_their_machine(serve: Serve, tmp_path: Path, form: str) -> None:
    """Two servers that do not know each other: sixteen clients, each from an address of its own."""
    servers = [serve(BLOCKING.rbr, *TRUSTING) for _ in range(2)]
    addresses = [f"127.0.0.1:{server.port}" for server in servers]
    text = printed(form, BLOCKING.rbr, "--server", *addresses)
    with in_front(form, tmp_path, moved(text, {} if form == "nginx" else {" check": ""})) as front:
        for last in range(2, 18):
            sid = polled(front, f"127.0.0.{last}", "")
            assert polled(front, f"127.0.0.{last}", f"&sid={sid}").startswith("40{")
    for server in servers:  # each has had some of them
        server.wait_for_line(r'GET /socket\.io/.*&sid=\S+ HTTP/1\.1" 200')


def polled(front: Front, address: str, sid: str) -> str:
    """Ask on a connection of its own, and be told of a session, or what there is for one."""
    client = http.client.HTTPConnection(
        "127.0.0.1", front.plain_port, timeout=START_S, source_address=(address, 0)
    )
    with closing(client):
        if sid:
            client.request("POST", HANDSHAKE + sid, b"40")
            assert client.getresponse().read() == b"ok"
        client.request("GET", HANDSHAKE + sid)
        answer = client.getresponse()
        body = answer.read().decode()
    assert answer.status == 200, body
    return body if sid else str(json.loads(body[1:])["sid"])
