"""Applications: callables, proxies, sockets, and what comes along."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from unserved import answers, faults, get, write
from wire import SOCKET_IO, WebSocket, ask, live, run

from redbarrel_lite.app import App
from redbarrel_lite.rbr_nodes import Location
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.routes import NotRouted
from redbarrel_lite.upstream import _refusal

pytestmark = pytest.mark.usefixtures("own_modules")


@pytest.mark.parametrize(
    ("line", "source", "message"),
    [
        ("type t python:M.f;", "f = 3", "'M.f' is not callable but of type int"),
        ("type t python:M.f;", "class f:\n def __init__(self): 1 / 0", "'M.f' fails: Zero"),
        ("type t python:M.f;", "class f: pass", "'M.f' is not callable but of type f"),
        ("type t python:M.g;", "", "RBR040: 'M' has no 'g'"),
        (
            "path p ( url /p, use python:M.ok, response-body ( alter with python:M.f ) );",
            "def f(a, b, c, d): pass",
            "'M.f' takes 4 arguments",
        ),
        ("path p ( url /p, use python:M.f );", "f = 3", "RBR040: 'M.f' is not callable"),
        ("path p ( url /p, use python:M.f );", "def f(): pass", "RBR040: 'M.f' takes no request"),
    ],
)
def test_callable_that_cannot_work_is_told_at_the_start(
    tmp_path: Path, line: str, source: str, message: str
) -> None:
    name = f"callable_{abs(hash((line, source)))}"
    text = (line + " path a ( url /, use python:M.ok );").replace("M.", f"{name}.")
    file = write(tmp_path, app_rbr=text)
    (tmp_path / f"{name}.py").write_text("def ok(request): pass\n" + source)
    assert message.replace("'M", f"'{name}") in faults(file)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('set "a b" "x"', "this is no name of a header"),
        ('unless "a b" type is int return 400', "this is no name of a header"),
        ('unless "" validates with python:app.ok return 400', "this is no name of a header"),
        ('set Content-Length "3"', "'Content-Length' is not yours to set"),
        ('set X "a\\nb"', "no header can have this value"),
        ('set X "\u2603"', "no header can have this value"),
        ("unless X type is int return 100", "RBR033: 100 is an interim answer"),
        ('set Sec-WebSocket-Accept "x"', "RBR042: 'Sec-WebSocket-Accept' is not yours to set"),
        ("on error return 101", "RBR033: 101 is an interim answer"),
    ],
)
def test_rule_that_no_answer_could_keep_is_refused(tmp_path: Path, rule: str, message: str) -> None:
    file = write(
        tmp_path, app_rbr=f"path a ( url /, use file:app.rbr, response-headers ( {rule} ) );"
    )
    assert message in faults(file)


def test_proxy_needs_somebody_who_opens_connections(tmp_path: Path) -> None:
    file = write(tmp_path, app_rbr="path a ( url /, use proxy:http://a:1 );")
    assert "RBR047: nothing here opens connections to http://a:1" in faults(file)


# -- proxies -------------------------------------------------------------------


def test_proxy_is_what_the_factory_makes(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        app_rbr="""
        root /r;
        path all ( url /all, use proxy:http://a:1 );
        path some ( method GET|POST, url /some/x{rest:.*}, use proxy:http://a:2/base,
            response-headers ( set X-Seen "yes" ) );
        path any ( url /{rest:.*}, use proxy:http://a:3 );
        """,
    )

    def proxy(address: str, mount: str) -> Any:
        return lambda request: Response(f"{address} {mount} {request.method}")

    app = App.load(file, proxy)
    assert app.hooked == [
        "=> 'all' hooked for ANY /r/all",
        "=> 'some' hooked for GET|POST /r/some/x{rest:.*}",
        "=> 'any' hooked for ANY /r/{rest:.*}",
    ]

    async def test() -> None:
        for method, target, body in (
            ("GET", "/r/all", b"http://a:1 /r/all GET"),
            ("DELETE", "/r/all/x/y", b"http://a:1 /r/all DELETE"),
            ("POST", "/r/some/xyz", b"http://a:2/base /r/some POST"),
            ("PUT", "/r/allx", b"http://a:3 /r PUT"),
        ):
            assert (await get(app, target, method)).body == body
        assert (await get(app, "/r/some/xyz")).header("x-seen") == "yes"

    run(test())


# -- sockets ----------------------------------------------------------------------


def test_on_lines_namespaces_and_the_server_from_everywhere(tmp_path: Path) -> None:
    """The whole way: a file, its parser, a real server, and clients of both urls."""
    rbr = """
    global ticks python:MODULE.ticks;
    path game ( method SOCKETIO, namespace /game-{number:[0-9]+},
        on connect use python:MODULE.connect, on move use python:MODULE.move,
        on * use python:MODULE.rest, on disconnect use python:MODULE.left );
    path here ( method SOCKETIO, use python:MODULE.echo );
    path there ( method SOCKETIO, url /there/, use python:MODULE.shout );
    path tell ( method POST, url /tell, use python:MODULE.tell );
    path seen ( url /seen, use python:MODULE.seen );
    """
    source = """
    import asyncio
    from redbarrel_lite import Refused

    news = []

    async def ticks(globs):
        async def work():
            while True:
                globs.server.broadcast(len(globs.server.sockets()), event="tick")
                await asyncio.sleep(0.01)
        task = asyncio.create_task(work())
        yield task
        task.cancel()

    def connect(globs, request, auth):
        if auth != {"key": request.match["number"]}:
            raise Refused("wrong key", {"number": request.match["number"]})
        request.socketio.join("players")

    async def move(request, x, y):
        return x + y, request.match["number"]

    def rest(globs, request, event, *args):
        raise Refused(f"no {event} here")

    def left(globs, request, reason):
        news.append(f"{request.match['number']}: {reason}")

    async def echo(globs, request):
        async for message in request.socketio:
            if message.event == "message":
                await request.socketio.send(message[0])

    def shout(globs, request):
        for message in request.socketio:
            request.socketio.broadcast(message[0].upper())

    def tell(globs, request):
        request.server.emit("told", request.text, room="players", namespace="/game-7")

    def seen(request):
        return news
    """

    async def events(socket: WebSocket, *names: str) -> list[str]:
        """The next packets, but for ticks."""
        found: list[str] = []
        while len(found) < len(names):
            packet = await socket.read()
            if not packet.startswith('42["tick"'):
                found.append(packet)
        for packet, name in zip(found, names, strict=True):
            assert packet.startswith(name), packet
        return found

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await socket.read()
            await socket.text('40/game-7,{"key":"8"}')
            await events(socket, '44/game-7,{"message":"wrong key","data":{"number":"7"}}')
            await socket.text('40/game-7,{"key":"7"}')
            await events(socket, '40/game-7,{"sid":')
            await socket.text('42/game-7,1["move",1,2]')
            await socket.text('42/game-7,2["jump"]')
            await events(socket, '43/game-7,1[3,"7"]', '43/game-7,2[{"error":"no jump here"}]')
            assert (await ask(server.url, "POST", "/tell", b"hello"))[0] == 204
            await events(socket, '42/game-7,["told","hello"]')
            await socket.text("40")
            await events(socket, '40{"sid":')
            there = await WebSocket.connect(server.url, "/there/?EIO=4&transport=websocket")
            await there.read()
            await there.text("40")
            await events(there, '40{"sid":')
            while await socket.read() != '42["tick",2]':
                pass
            await there.text('42["message","hi"]')
            await events(socket, '42["message","HI"]')
            await socket.text('42["message","me"]')
            await events(socket, '42["message","me"]')
            await socket.text("41/game-7,")
            while (await ask(server.url, "GET", "/seen"))[2] != (
                b'["7: client namespace disconnect"]'
            ):
                pass

    run(test())


# -- what comes along -----------------------------------------------------------


def test_pages_of_a_root(tmp_path: Path) -> None:
    text = "root /r; path a ( url /a, use file:app.rbr );\n"
    file = write(tmp_path, app_rbr=text)
    app = App.load(file)
    assert answers(app, "/r/__api__", "/__health__") == [text.encode(), b"ok"]

    async def test() -> None:
        assert (await get(app, "/r/__api__")).header("content-type") == "text/plain; charset=utf-8"
        quiet = App.load(file, doc=False)
        assert (await get(quiet, "/__health__")).status == 200
        with pytest.raises(NotRouted):
            await get(quiet, "/r/__api__")

    run(test())


def test_files_of_one_root_share_its_pages_and_a_url_of_theirs_goes_first(tmp_path: Path) -> None:
    file = write(tmp_path, app_rbr="path a ( url /__health__, use file:app.rbr );\n")
    other = tmp_path / "other.rbr"
    other.write_text("path b ( url /{any:.*}, use file:app.rbr );\n")
    app = App.load([file, other])
    own, api = answers(app, "/__health__", "/__api__")
    assert own == file.read_bytes()
    assert api == file.read_bytes() + b"\n" + other.read_bytes()


def test_url_with_blanks_is_written_between_quotes(tmp_path: Path) -> None:
    rbr = """
        root "/my site";
        path a ( url "/odd/é b/{x}", use python:MODULE.found );
        path s ( method SOCKETIO, url "/s p/", namespace "/my room", use python:MODULE.found );
    """
    source = "def found(request): return request.match['x']"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            answer = await ask(server.url, "GET", "/my%20site/odd/%C3%A9%20b/x%20y")
            assert answer[2] == b"x y"
            assert (await ask(server.url, "GET", "/my%2520site/odd/%C3%A9%20b/x"))[0] == 404
            at = "/my%20site/s%20p/?EIO=4&transport=websocket"
            websocket = await WebSocket.connect(server.url, at)
            await websocket.read()
            await websocket.text("40/my room,")
            assert (await websocket.read()).startswith("40/my room,{")

    run(test())


def test_path_without_use_echoes_the_request(tmp_path: Path) -> None:
    rbr = "path echo ( method GET|POST, url /echo/{name} );"

    async def test() -> None:
        async with live(tmp_path, rbr) as server:
            assert [one.code for one in server.server.app.warnings] == ["RBR052"]
            _, headers, body = await ask(
                server.url, "POST", "/echo/x?a=1", b"<b>", Cookie="secret", X_A="1"
            )
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert headers["x-content-type-options"] == "nosniff"
            text = body.decode()
            assert text.startswith("POST /echo/x?a=1\nhost: a\n")
            assert "x-a: 1\n" in text
            assert "cookie: (not shown)\n" in text
            assert text.endswith("\n\n<b>")
            _, headers, body = await ask(
                server.url, "GET", "/echo/x", b"\xff", Accept="application/json"
            )
            assert headers["content-type"] == "application/json"
            told = json.loads(body)
            assert (told["method"], told["url"], told["match"]) == ("GET", "/echo/x", {"name": "x"})
            assert told["body"] == "\ufffd"

    run(test())


def test_body_has_the_limit_of_its_path(tmp_path: Path) -> None:
    rbr = "path a ( method POST, url /a, max-body 3 ); path b ( method POST, url /b );"

    async def test() -> None:
        async with live(tmp_path, rbr) as server:
            assert (await ask(server.url, "POST", "/a", b"123"))[0] == 200
            assert (await ask(server.url, "POST", "/a", b"1234"))[0] == 413
            assert (await ask(server.url, "POST", "/b", b"1234"))[0] == 200
            assert (await ask(server.url, "GET", "/nowhere", b"1"))[0] == 404

    run(test())


def module_of(app: App) -> Any:
    """The module that `live` has written."""
    value = app.homes[0].file.tree.globals[0].value
    assert isinstance(value, Location)
    return sys.modules[value.target.partition(".")[0]]


def test_shutdown_answers_what_runs_before_it_ends_the_globals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rbr = """
    global db python:MODULE.db;
    path slow ( url /, use python:MODULE.slow );
    """
    source = """
    import asyncio
    told, entered, release = [], asyncio.Event(), asyncio.Event()
    async def db(globs):
        yield told
        told.append("db ends")
    async def slow(globs, request):
        entered.set()
        await release.wait()
        globs["db"].append("answered")
        return "done"
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            module = module_of(server.server.app)
            asking = asyncio.ensure_future(ask(server.url, "GET", "/"))
            await module.entered.wait()
            closing = asyncio.ensure_future(server.server.close(5))
            await asyncio.sleep(0)
            module.release.set()
            assert (await asking)[2] == b"done"
            await closing
            assert module.told == ["answered", "db ends"]

    with caplog.at_level(logging.ERROR):
        run(test())
    assert caplog.records == []


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("verb", ["WEBSOCKET", "SOCKETIO"])
def test_whoever_asks_for_a_websocket_gets_it_where_a_page_has_its_url(
    tmp_path: Path, order: int, verb: str
) -> None:
    paths = [
        "path page ( url /both/, use python:MODULE.page );",
        f"path socket ( url /both/, method {verb}, use python:MODULE.echo );",
    ]
    source = """
        def page(request):
            return "a page"

        def echo(request):
            for message in request.socketio:
                request.socketio.send(message[0])
    """

    async def test() -> None:
        async with live(tmp_path, "".join(paths[::order]), source) as server:
            target = "/both/?EIO=4&transport=websocket"
            await WebSocket.connect(server.url, target)  # or it has failed
            _, _, body = await ask(server.url, "GET", "/both/")
            assert (body == b"a page") is (verb == "WEBSOCKET" or order == 1)

    run(test())


@pytest.mark.parametrize("method", ["PROPFIND", "REPORT", "PURGE", "MKCOL", "WEBSOCKET", "get"])
def test_what_is_mounted_takes_any_method(tmp_path: Path, method: str) -> None:
    rbr = """
        path proxied ( url /proxied, use proxy:http://127.0.0.1:9, allow-origin "http://b" );
        path some ( url /some, method PUT|TRACE, use proxy:http://127.0.0.1:9 );
        path trace ( url /trace, method TRACE, use proxy:http://127.0.0.1:9 );
        path mounted ( url /mounted, use wsgi:MODULE.application );
        path page ( url /page, use python:MODULE.page );
    """
    source = """
        def application(environ, start_response):
            body = environ["REQUEST_METHOD"].encode() + environ["wsgi.input"].read()
            start_response("200 OK", [("Content-Length", str(len(body)))])
            return [body]

        def page(request):
            return "a page"
    """
    seen: list[str] = []

    def proxy(_address: str, _mount: str) -> Any:
        def service(request: Request) -> Response:
            seen.append(request.method)
            return _refusal(request) or Response(b"proxied")

        return service

    async def test() -> None:
        async with live(tmp_path, rbr, source, proxy=proxy) as server:
            url = server.url
            assert (await ask(url, method, "/mounted", b"+"))[2] == method.encode() + b"+"
            assert (await ask(url, method, "/proxied", b"+"))[2] == b"proxied"
            assert seen == [method]
            assert not [asked for asked in server.server.app._known if asked[0] == method]
            status, fields, _ = await ask(url, method, "/page")
            assert (status, fields["allow"]) == (405, "GET, HEAD, OPTIONS")
            for path, allowed in (
                ("/proxied", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                ("/some", "PUT, OPTIONS"),
                ("/trace", ""),
            ):
                status, fields, _ = await ask(url, "TRACE", path)
                assert (status, fields["allow"]) == (405, allowed)
            asks = {"Origin": "http://b", "Access-Control-Request-Method": method}
            _, fields, _ = await ask(url, "OPTIONS", "/proxied", b"", **asks)
            assert method in fields["access-control-allow-methods"].split(", ")

    run(test())
