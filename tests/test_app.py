"""Applications: globals, types, several files, roots, CORS, and what comes along."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import textwrap
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import SOCKET_IO, WebSocket, ask, live, run

from redbarrel_lite.app import App, SocketPath
from redbarrel_lite.errors import AppError, RbrError
from redbarrel_lite.modules import Modules
from redbarrel_lite.rbr_nodes import Location
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.routes import NotRouted
from redbarrel_lite.server import Address, Server


@pytest.fixture(autouse=True)
def path_and_modules_are_left_alone() -> Iterator[None]:
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, **files: str) -> Path:
    """Files by name, ``app_rbr`` being ``app.rbr``; returns that one."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / ".".join(name.rsplit("_", 1))).write_text(textwrap.dedent(text))
    return folder / "app.rbr"


async def get(app: App, target: str, method: str = "GET", **headers: str) -> Response:
    """Ask an application without a server."""
    pairs = [(name.lower().replace("_", "-"), value) for name, value in headers.items()]
    request = Request(method, target, pairs, host="a")
    found, request.match = app.find(request)
    assert not isinstance(found, SocketPath)
    answer: Response | Awaitable[Response] = found(request)
    return answer if isinstance(answer, Response) else await answer


def module_of(app: App) -> Any:
    """The module that `live` has written."""
    value = app.homes[0].file.tree.globals[0].value
    assert isinstance(value, Location)
    return sys.modules[value.target.partition(".")[0]]


def answers(app: App, *targets: str) -> list[bytes]:
    """What an application answers, between its start and its end."""
    found: list[bytes] = []

    async def test() -> None:
        await app.start()
        found.extend([(await get(app, target)).body for target in targets])
        await app.stop()

    run(test())
    return found


def faults(file: Path) -> str:
    with pytest.raises(RbrError) as raised:
        App.load(file)
    return str(raised.value)


# -- globals -------------------------------------------------------------------


def test_globals_are_built_in_order_from_those_before(tmp_path: Path) -> None:
    app = App.load(
        write(
            tmp_path,
            app_rbr="""
            global text "a";
            global whole 3;
            global half 1.5;
            global version 1.0.3;
            global place /somewhere;
            global word on;
            global words on|off;
            global file file:text.txt;
            global made python:globs_a.make;
            global bare python:globs_a.bare;
            global object python:globs_a.thing;
            global later python:globs_a.later;
            global counter python:globs_a.Counter;
            path all ( url /, use python:globs_a.all );
            """,
            globs_a_py="""
            thing = [1]
            def make(globs): return sorted(globs)
            def bare(): return "bare"
            async def later(globs): return globs["made"][0]
            class Counter:
                def __init__(self, globs): self.start = globs["whole"]
                def __repr__(self): return f"Counter {self.start}"
            def all(globs, request): return repr(globs)
            """,
            text_txt="é",
        )
    )
    assert (
        answers(app, "/")[0].decode()
        == repr(
            {
                "text": "a",
                "whole": 3,
                "half": 1.5,
                "version": "1.0.3",
                "place": "/somewhere",
                "word": "on",
                "words": "on|off",
                "file": "é",
                "made": ["file", "half", "place", "text", "version", "whole", "word", "words"],
                "bare": "bare",
                "object": [1],
                "later": "file",
            }
        )[:-1]
        + ", 'counter': Counter 3}"
    )


GENERATORS = """
global one python:gens_{n}.one;
global two python:gens_{n}.two;
global three python:gens_{n}.three;
path show ( url /, use python:gens_{n}.show );
"""
GENERATORS_PY = """
import asyncio
told = []
def one(globs):
    told.append("one begins")
    yield 1
    told.append("one ends")
async def two(globs):
    task = asyncio.create_task(work())
    yield 2
    task.cancel()
    told.append("two ends")
    {two}
async def work():
    told.append("work begins")
    try:
        await asyncio.Event().wait()
    finally:
        told.append("work ends")
def three(globs):
    yield globs["one"] + globs["two"]
    told.append("three ends")
    {three}
async def show(globs, request): return str(globs["three"])
"""


@pytest.mark.parametrize(
    ("two", "three", "said"),
    [
        ("", "", ""),
        ("raise ValueError('two')", "1 / 0", "the end of global 'three' failed"),
        ("yield 'more'", "yield 'more'", "it yields a second time"),
        ("await asyncio.Event().wait()", "", "global 'two' did not end in time"),
    ],
)
def test_generators_end_in_reverse_order_whatever_happens(
    tmp_path: Path, two: str, three: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    number = abs(hash((two, three)))
    name = f"gens_{number}"
    file = write(tmp_path, app_rbr=GENERATORS.format(n=number))
    (tmp_path / f"{name}.py").write_text(GENERATORS_PY.format(two=two, three=three))
    app = App.load(file)

    async def test() -> None:
        server = Server(app)
        url = await server.start()
        assert (await ask(url, "GET", "/"))[2] == b"3"
        await server.close(0.2)

    run(test())
    told = sys.modules[name].told
    ends = [one for one in told if one.endswith("ends") and not one.startswith("work")]
    assert ends == ["three ends", "two ends", "one ends"]
    assert "work ends" in told
    assert said in caplog.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def make(globs): 1 / 0", "global 'bad' fails: ZeroDivisionError: division by zero"),
        ("def make(globs):\n if False: yield", "global 'bad' fails: AppError: it yields nothing"),
        ("async def make(globs):\n if False: yield", "it yields nothing"),
        ("async def make(globs): raise OSError('gone')", "global 'bad' fails: OSError: gone"),
    ],
)
def test_global_that_fails_ends_those_before_it(tmp_path: Path, source: str, message: str) -> None:
    name = f"failing_{abs(hash(source))}"
    file = write(
        tmp_path,
        app_rbr=f"""
        global good python:{name}.good;
        global bad python:{name}.make;
        path a ( url /, use python:{name}.good );
        """,
    )
    good = "told = []\ndef good(globs):\n yield 1\n told.append('ended')\n"
    (tmp_path / f"{name}.py").write_text(good + source)
    app = App.load(file)

    async def test() -> None:
        with pytest.raises(RbrError, match=r"app.rbr:3:\d+: error RBR047") as raised:
            await Server(app).start()
        assert message in str(raised.value)
        assert raised.value.__cause__ is not None

    run(test())
    assert sys.modules[name].told == ["ended"]


def test_address_in_use_ends_the_globals(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        app_rbr="global g python:ends.g; path a ( url /, use python:ends.g );",
        ends_py="told = []\ndef g(globs):\n yield 1\n told.append('ended')\n",
    )

    async def test() -> None:
        first = Server(App.load(file))
        url = await first.start()
        with pytest.raises(OSError, match="in use"):
            await Server(App.load(file)).start(Address(port=int(url.rpartition(":")[2])))
        assert sys.modules["ends"].told == ["ended"]
        await first.close(0.1)

    run(test())


def test_global_that_validates_must_be_callable(tmp_path: Path) -> None:
    rbr = """
    global g {value};
    type t python:validates.t;
    path a ( url /, use python:validates.t, request-headers (
        unless A validates with g return 400,
        unless A validates with int return 400,
        unless A validates with t return 400 ) );
    """
    file = write(tmp_path, app_rbr=rbr.format(value=3), validates_py="def t(value): pass")

    async def test() -> None:
        with pytest.raises(RbrError, match="global 'g' is not callable but of type int"):
            await App.load(file).start()
        write(tmp_path, app_rbr=rbr.format(value="python:validates.t"))
        with pytest.raises(RbrError, match="global 'g' is not callable but of type NoneType"):
            await App.load(file).start()

    run(test())


# -- types, and other callables at the start ---------------------------------------


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


# -- several files ---------------------------------------------------------------


def three_apps(folder: Path) -> Path:
    """Three folders, each with an app.py, and helpers.py that it imports in three ways."""
    for name in ("main", "one", "two"):
        write(
            folder / name,
            app_rbr=f"""
            root /{name};
            global who "{name}";
            path who ( url /who, use python:app.who );
            path late ( url /late, use python:app.late );
            path package ( url /package, use python:package.inner.leaf.f );
            """,
            app_py="""
            import helpers
            import os.path
            from helpers import WHO as FROM
            from package.inner import leaf
            def who(globs, request):
                return f"{globs['who']} {helpers.WHO} {FROM} {leaf.WHO} {bool(os.path.sep)}"
            def late(globs, request):
                import late
                import package.inner.leaf
                return f"{late.WHO} {package.inner.leaf.WHO}"
            """,
            helpers_py=f"WHO = {name!r}",
            late_py="from helpers import *",
        )
        write(
            folder / name / "package" / "inner", leaf_py="from . import WHO\nfrom .leaf2 import f"
        )
        write(
            folder / name / "package" / "inner",
            leaf2_py="import helpers\ndef f(request): return helpers.WHO",
        )
        (folder / name / "package" / "__init__.py").write_text("")
        (folder / name / "package" / "inner" / "__init__.py").write_text(f"WHO = {name!r}")
    return folder


def test_files_keep_their_modules_and_globals_apart(tmp_path: Path) -> None:
    folder = three_apps(tmp_path)
    app = App.load([folder / name / "app.rbr" for name in ("main", "one", "two")])
    targets = [
        f"/{name}/{url}" for name in ("main", "one", "two") for url in ("who", "late", "package")
    ]
    assert answers(app, *targets) == [
        answer.encode()
        for name in ("main", "one", "two")
        for answer in (f"{name} {name} {name} {name} True", f"{name} {name}", name)
    ]


def test_names_that_are_taken_are_no_harm(tmp_path: Path) -> None:
    """Another application in this process has an `app`, and Python has a `random`."""
    folder = three_apps(tmp_path)
    assert answers(App.load(folder / "main" / "app.rbr"), "/main/who")[0].startswith(b"main main")
    assert answers(App.load(folder / "one" / "app.rbr"), "/one/who")[0].startswith(b"one one")
    file = write(
        tmp_path / "own",
        app_rbr="path a ( url /, use python:random.f ); path b ( url /b, use python:json.dumps );",
        random_py="""
        import json, time, wave, data.more, this_one
        def f(request):
            time.time(), wave.Error
            return json.dumps(this_one.X + data.more.Y)
        """,
        this_one_py="X = 3",
    )
    for name in ("json", "time", "wave"):  # of data: no modules
        (tmp_path / "own" / name).mkdir()
    write(tmp_path / "own" / "data", more_py="Y = 1")  # a package, though it doesn't say so
    assert answers(App.load(file), "/") == [b"4"]


def test_folder_that_is_not_there_has_no_modules(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="no module 'nowhere_at_all'"):
        Modules(tmp_path / "none").find("nowhere_at_all.f")


def test_module_that_is_missing_apart_is_named(tmp_path: Path) -> None:
    main = write(tmp_path / "main", app_rbr="path a ( url /, use python:app.f );")
    write(tmp_path / "main", app_py="def f(request): pass")
    other = write(tmp_path / "other", app_rbr="root /o; path a ( url /, use python:app.g );")
    write(tmp_path / "other", app_py="def f(request): pass")
    with pytest.raises(RbrError, match="'app' has no 'g'"):
        App.load([main, other])
    write(tmp_path / "other", app_py="import nothing_such")
    with pytest.raises(RbrError, match="module 'app' needs another one"):
        App.load([main, other])
    write(tmp_path / "other", app_rbr="root /o; path a ( url /, use python:pack.no.g );")
    (tmp_path / "other" / "pack").mkdir()
    (tmp_path / "other" / "pack" / "__init__.py").write_text("")
    with pytest.raises(RbrError, match=r"no module 'pack.no'"):
        App.load([main, other])


def test_included_files_lie_below_a_url(tmp_path: Path) -> None:
    three_apps(tmp_path)
    file = write(
        tmp_path,
        app_rbr="""
        root /top;
        include "one/app.rbr" at /sub/;
        include "two/app.rbr";
        path page ( url /, use file:app.rbr );
        """,
    )
    app = App.load(file)
    assert answers(app, "/top/sub/one/who", "/top/two/late") == [
        b"one one one one True",
        b"two two",
    ]
    assert [line.split()[-1] for line in app.hooked][:2] == ["/top/", "/top/sub/one/who"]


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, app_rbr='include "b.rbr";', b_rbr='include "app.rbr" at /b;')
    assert "'app.rbr' includes this file, directly or through others" in faults(file)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            "path a ( url /x, use file:app.rbr );",
            "path b ( method POST|GET, url /x, use file:app.rbr );",
            "GET /x is answered already, by another file",
        ),
        (
            "root /r; path a ( url /x, use file:app.rbr );",
            "path b ( url /r/x, use file:app.rbr );",
            "GET /r/x is answered already",
        ),
        (
            "socket python:m.f;",
            "path b ( method SOCKETIO, namespace /b, use python:m.f );",
            "socket /socket.io/ is answered already, by another file",
        ),
    ],
)
def test_url_of_two_files_is_refused(tmp_path: Path, one: str, other: str, message: str) -> None:
    first = write(tmp_path, app_rbr=one, m_py="def f(request): pass")
    second = tmp_path / "other.rbr"
    second.write_text(other)
    with pytest.raises(RbrError) as raised:
        App.load([first, second])
    assert message in str(raised.value)
    assert f"note: the path that answers it is at {first}:1:" in str(raised.value)


def test_longest_root_wins_and_no_other_is_asked(tmp_path: Path) -> None:
    files = []
    for name, root in (("a", ""), ("b", "root /api;"), ("c", "root /api/v2;"), ("d", "root /api;")):
        (tmp_path / f"{name}.txt").write_text(name)
        files.append(tmp_path / f"{name}.rbr")
        urls = "/{rest:.*}" if not root else f"/{name}"
        files[-1].write_text(f"{root} path {name} ( url {urls}, use file:{name}.txt );")
    app = App.load(files)
    targets = ("/x", "/api/b", "/api/d", "/api/v2/c", "/apis/b")
    assert answers(app, *targets) == [b"a", b"b", b"d", b"c", b"a"]
    for target in ("/api/x", "/api/v2/b", "*"):
        with pytest.raises(NotRouted) as refused:
            app.find(Request("GET", target, []))
        assert refused.value.status == 404


def test_root_alone_leads_to_its_first_page(tmp_path: Path) -> None:
    app = App.load(write(tmp_path, app_rbr="root /r; path a ( url /, use file:app.rbr );"))

    async def test() -> None:
        response = await get(app, "/r?a=1")
        assert (response.status, response.header("location")) == (308, "/r/?a=1")
        assert (await get(app, "/r")).header("location") == "/r/"

    run(test())
    # A file that answers there itself is asked itself.
    app = App.load(write(tmp_path, app_rbr="root /r; path a ( url /{x:.*}, use file:app.rbr );"))
    with pytest.raises(NotRouted):
        app.find(Request("GET", "/nowhere", []))


def test_path_without_url_is_not_reached(tmp_path: Path) -> None:
    app = App.load(write(tmp_path, app_rbr="path a ( use file:app.rbr );"))
    assert app.hooked == []
    assert [one.code for one in app.warnings] == ["RBR050"]


def test_each_file_has_its_own_sockets(tmp_path: Path) -> None:
    source = """
    def sock(globs, request): pass
    async def who(globs, request):
        return str([name for name in ("/one", "/two") if knows(request.server, name)])
    def knows(server, namespace):
        try:
            return server.sockets(namespace) == []
        except ValueError:
            return False
    """
    for name in ("one", "two"):
        write(
            tmp_path / name,
            app_rbr=f"""
            root /{name};
            path s ( method SOCKETIO, namespace /{name}, use python:app.sock );
            path who ( url /who, use python:app.who );
            """,
            app_py=source,
        )

    async def test() -> None:
        server = Server(App.load([tmp_path / "one" / "app.rbr", tmp_path / "two" / "app.rbr"]))
        url = await server.start()
        for name in ("one", "two"):
            assert (await ask(url, "GET", f"/{name}/who"))[2] == f"['/{name}']".encode()
            target = f"/{name}{SOCKET_IO}&transport=polling"
            assert (await ask(url, "GET", target))[0] == 200
        await server.close(0.1)

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


# -- pages of other origins --------------------------------------------------------

CORS = """
path named ( method GET|PUT, url /named, allow-origin "http://a", allow-origin "null" );
path any ( url /any, allow-origin "*", response-status ( describe 200 "Fine" ) );
path both ( url /both, allow-origin "*", allow-origin "http://a" );
path own ( method OPTIONS, url /named );
path none ( method POST, url /named );
path vary ( url /vary, use file:app.rbr, allow-origin "http://a",
    response-headers ( set Vary "X-Other" ) );
path refuses ( url /refuses, allow-origin "http://a",
    request-headers ( unless X-A type is int return 403 ) );
socket python:MODULE.f;
"""


@pytest.mark.parametrize(
    ("url", "origin", "allowed", "credentials", "vary"),
    [
        ("/named", "http://a", "http://a", True, "Origin"),
        ("/named", "HTTP://A", "HTTP://A", True, "Origin"),
        ("/named", "http://b", None, False, "Origin"),
        ("/named", "null", "null", False, "Origin"),
        ("/named", None, None, False, "Origin"),
        ("/any", "http://b", "*", False, None),
        ("/any", "null", "*", False, None),
        ("/both", "http://b", "*", False, "Origin"),
        ("/both", "http://a", "http://a", True, "Origin"),
        ("/vary", "http://a", "http://a", True, "X-Other, Origin"),
        ("/refuses", "http://a", "http://a", True, "Origin"),
    ],
)
def test_answer_says_which_origin_may_read_it(
    tmp_path: Path, url: str, origin: str | None, allowed: str | None, credentials: bool,
    vary: str | None,
) -> None:  # fmt: skip
    async def test() -> None:
        async with live(tmp_path, CORS, "def f(request): pass") as server:
            more = {"Origin": origin} if origin else {}
            _, headers, _ = await ask(server.url, "GET", url, b"", **more)
            assert headers.get("access-control-allow-origin") == allowed
            assert ("access-control-allow-credentials" in headers) is credentials
            assert headers.get("vary") == vary

    run(test())


def test_preflight_is_answered_for_the_method_it_asks_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, CORS, "def f(request): pass") as server:

            async def preflight(
                url: str, method: str, origin: str = "http://a", **more: str
            ) -> tuple[int, dict[str, str], bytes]:
                return await ask(
                    server.url, "OPTIONS", url, b"", Origin=origin,
                    Access_Control_Request_Method=method, **more,
                )  # fmt: skip

            status, headers, _ = await preflight(
                "/named", "PUT", Access_Control_Request_Headers="x-a, x-b"
            )
            assert status == 204
            assert headers["access-control-allow-methods"] == "GET, PUT"
            assert headers["access-control-allow-headers"] == "x-a, x-b"
            assert headers["access-control-allow-credentials"] == "true"
            assert headers["access-control-max-age"] == "600"
            assert headers["vary"] == "Origin, Access-Control-Request-Headers"
            _, headers, _ = await preflight("/named", "PUT", "http://b")
            assert "access-control-allow-methods" not in headers
            _, headers, _ = await preflight("/any", "GET")
            assert "access-control-allow-headers" not in headers
            assert headers["access-control-allow-origin"] == "*"
            # Paths that allow nobody, and methods that nobody answers, are not for it.
            status, _, body = await preflight("/named", "POST")
            assert (status, body[:7]) == (200, b"OPTIONS")
            assert (await preflight("/named", "DELETE"))[0] == 200
            assert (await preflight("/any", "DELETE"))[0] == 204
            # Sockets answer for themselves; and OPTIONS alone is no preflight.
            assert (await preflight(SOCKET_IO, "GET", "http://b"))[0] == 403
            status, headers, _ = await ask(server.url, "OPTIONS", "/any", Origin="http://a")
            assert (status, headers["allow"]) == (204, "GET, HEAD, OPTIONS")

    run(test())


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
