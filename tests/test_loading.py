"""Several files: their modules, urls, roots and sockets, apart from each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from unserved import answers, faults, get, write
from wire import SOCKET_IO, ask, run

from redbarrel_lite.app import App
from redbarrel_lite.errors import AppError, RbrError
from redbarrel_lite.modules import Modules
from redbarrel_lite.request import Request
from redbarrel_lite.routes import NotRouted
from redbarrel_lite.server import Server
from redbarrel_lite.targets import SocketPath

pytestmark = pytest.mark.usefixtures("own_modules")


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


def test_url_that_is_asked_again_leads_to_the_same_path(tmp_path: Path) -> None:
    rbr = """
        path socket ( method WEBSOCKET, url /a, use python:live.socket );
        path page ( method GET, url /a, use file:a.txt );
        path form ( method POST, url /a, use file:b.txt );
        path each ( method GET, url /{name}, use file:c.txt );
    """
    live = "async def socket(request): pass"
    texts = {"a_txt": "a", "b_txt": "b", "c_txt": "c"}
    app = App.load(write(tmp_path, app_rbr=rbr, live_py=live, **texts))
    requests = [("GET", "/a", ""), ("HEAD", "/a", ""), ("POST", "/a", ""), ("GET", "/a", "h2c")]
    requests += [("GET", "/a", "websocket"), ("GET", "/b", ""), ("GET", "/c", "")]
    first, *later = (
        [app.find(Request(method, target, []), upgrade) for method, target, upgrade in requests]
        for _ in range(3)
    )
    page, head, form, other, socket, *each = (found for found, _ in first)
    assert page is head is other
    assert len({id(one) for one in (page, form, socket, each[0])}) == 4
    assert isinstance(socket, SocketPath)
    assert [match for _, match in first[-2:]] == [{"name": "b"}, {"name": "c"}]
    assert later == [first, first]
    for method, upgrade in (("PUT", ""), ("POST", "websocket"), ("OPTIONS", "")) * 2:
        if upgrade:
            assert app.find(Request(method, "/a", []), upgrade)[0] is form
        else:
            with pytest.raises(NotRouted):
                app.find(Request(method, "/a", []))


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
