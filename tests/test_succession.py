"""One application after the other, in this process."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from pathlib import Path

import pytest
from wire import Live, Poller, WebSocket, Wire, ask, live, run, socketio, until

from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.succession import NextApp

RBR = """
global first python:MODULE.first;
global text file:text.txt;
global second python:MODULE.second;
path s ( method SOCKETIO, recovery 60, on tell use python:MODULE.tell );
path e ( method ENGINEIO );
path wait ( url /wait, use python:MODULE.wait );
path page ( method GET|POST, url /page, use python:MODULE.page );
"""
RAW = "path raw ( method WEBSOCKET, url /raw, use python:MODULE.raw );"
SOURCE = """
import asyncio

ended = []
release = asyncio.Event()

def first(globs):
    yield "first"
    ended.append("first")

async def second(globs):
    yield "second"
    ended.append("second")

def third(globs):
    yield "third"
    ended.append("third")

async def tell(globs, request):
    return [name for name in globs]

async def raw(globs, request):
    async for message in request.socketio:
        pass

async def wait(globs, request):
    await release.wait()

async def page(globs, request):
    globs["note"] = globs.get("note", 0) + 1
    return dict(globs)
"""


async def change(server: Live, folder: Path, *changes: tuple[str, str]) -> None:
    """Let the application of the changed file take over."""
    file = folder / "app.rbr"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    await server.server.take_over(NextApp.load(file, before=server.server.app))


async def restart(server: Live, folder: Path) -> None:
    """Let the application begin anew."""
    await server.server.restart(
        NextApp.load(folder / "app.rbr", before=server.server.app, anew=True)
    )


def busy(connection: object) -> bool:
    return isinstance(connection, HttpConnection) and connection.busy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("old text")
    return tmp_path


def test_globals_are_what_the_files_say_and_what_handlers_have_put_there(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            assert b'"note": 1' in (await ask(server.url, "GET", "/page"))[2]
            (folder / "text.txt").write_text("new text")
            third = ("global second python:", "global number 7; global third python:")
            await change(server, folder, third, (".second", ".third"))
            _, _, body = await ask(server.url, "GET", "/page")
            assert body == (
                b'{"first": "first", "note": 2, "text": "new text", "number": 7, "third": "third"}'
            )
            await until(lambda: server.module.ended == ["second"])
            await server.server.close(1.0)
            assert server.module.ended == ["second", "third", "first"]

    run(test())


def test_end_of_the_server_ends_the_globals_of_all(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            await socketio(server.url)
            await change(server, folder, ("global second", "global third"))
            await change(server, folder, ("global first", "global zeroth"))
            assert server.module.ended == []  # the socket has both still
            module = server.module
        assert sorted(module.ended) == ["first", "first", "second", "second"]

    run(test())


def test_request_whose_body_is_on_its_way_has_the_globals_of_before(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            wire = await Wire.open(server.url)
            await wire.send("POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            await until(server.busy)
            await change(server, folder, ("second", "third"))
            await (await Wire.open(server.url)).ask("GET", "/page")
            assert server.module.ended == []
            await wire.send("b")
            assert b'"second": "second"' in (await wire.answer())[2]
            wire.close()
            await until(lambda: server.module.ended == ["second"])

    run(test())


def test_request_that_has_ended_is_kept_by_no_socket_of_its_application(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            await socketio(server.url)
            wire = await Wire.open(server.url)
            await wire.send("POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            await until(server.busy)
            await change(server, folder, ("second", "third"))
            former = server.server._former
            assert any(former._work.values())
            wire.close()
            await until(lambda: not any(former._work.values()))
            assert list(former.apps)  # for the socket

    run(test())


def test_socket_that_was_dropped_comes_back_to_the_new_application(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
            await client.read()
            await client.text("40")
            joined = re.fullmatch(r'40\{"sid":"(.*)","pid":"(.*)"\}', await client.read())
            assert joined is not None
            sid, pid = joined.groups()
            server.server.app.hub.emit("news", 1, to=sid)
            offset = (await client.read()).rpartition('"')[0].rpartition('"')[2]
            client.reset()
            await server.empties()
            await change(server, folder, ("second", "third"))
            server.server.app.hub.emit("news", 2, to=sid)
            client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
            await client.read()
            await client.text(f'40{{"pid":"{pid}","offset":"{offset}"}}')
            assert (await client.read()).startswith('42["news",2,')  # what it has missed
            assert await client.read() == f'40{{"sid":"{sid}","pid":"{pid}"}}'
            await client.text('421["tell"]')
            assert await client.read() == '431[["first","text","third"]]'

    run(test())


def test_sid_is_for_its_own_url_alone(folder: Path) -> None:
    """One that is known elsewhere, or nowhere, is no reason to ask the old application."""

    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            poller = await Poller.connect(server.url)
            await change(server, folder, ("url /page,", "url /other,"))
            for target in ("/page", "/nowhere"):
                assert (await ask(server.url, "GET", f"{target}?sid={poller.sid}"))[0] == 404
            other = f"/engine.io/?EIO=4&transport=polling&sid={poller.sid}"
            assert (await ask(server.url, "GET", other))[0] == 400
            unknown = "/socket.io/?EIO=4&transport=polling&sid=unknown"
            assert (await ask(server.url, "GET", unknown))[0] == 400
            await poller.post('421["tell"]')
            assert await poller.read() == '431[["first","text","second"]]'

    run(test())


def test_nothing_is_left_of_an_application_that_nobody_needs(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            client, poller = await socketio(server.url), await Poller.connect(server.url)
            poll, waiting = await Wire.open(server.url), await Wire.open(server.url)
            await poll.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await waiting.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: sum(map(busy, server.server.connections)) == 2)
            gone = []
            for _ in range(3):
                gone.append(weakref.ref(server.server.app))
                await change(server, folder)
            # They are the first one's: none of the others waits for them.
            await until(lambda: list(map(id, server.server._former.apps)) == [id(gone[0]())])
            assert len(server.server._endpoints) == 1
            for wire in (client, poll):
                wire.close()
            await until(lambda: not any(map(len, server.server._endpoints.values())))
            assert server.server._former.apps
            server.module.release.set()
            assert (await waiting.answer())[0] == 204
            await until(lambda: not server.server._former.apps)
            waiting.close()
            await server.empties()
            assert not server.server._endpoints
            await asyncio.sleep(0)
            gc.collect()
            assert [one() for one in gone] == [None] * 3
            await server.serves()

    run(test())


def test_file_that_is_included_at_two_places_stays_two(folder: Path) -> None:
    """Each has its own sockets and modules, before and after."""
    (folder / "inner.rbr").write_text(
        "path s ( method WEBSOCKET, url /ws, use python:inner.both );"
    )
    (folder / "inner.py").write_text(
        "async def both(globs, request):\n"
        "    async for message in request.socketio:\n"
        "        request.socketio.broadcast(message[0])\n"
    )
    rbr = 'include "inner.rbr" at /one; include "inner.rbr" at /two;'

    async def test() -> None:
        async with live(folder, rbr) as server:
            old = [await WebSocket.connect(server.url, f"/{at}/ws") for at in ("one", "two")]
            await change(server, folder)
            new = [await WebSocket.connect(server.url, f"/{at}/ws") for at in ("one", "two")]
            for number, client in enumerate(new):
                await client.text(f"for {number}")
            for number, client in enumerate(old):
                assert await client.read() == f"for {number}"

    run(test())


def test_application_that_can_t_begin_takes_nothing_over(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            before = server.server.app
            (folder / "app.rbr").write_text(
                (folder / "app.rbr").read_text() + "global wrong python:os.fspath;"
            )
            with pytest.raises(Exception, match="global 'wrong' fails"):
                await server.server.take_over(NextApp.load(folder / "app.rbr", before=before))
            assert server.server.app is before
            assert server.module.ended == []

    run(test())


# -- another one in its place ----------------------------------------------------------------


def test_restart_closes_every_socket_with_1012_and_lets_clients_come_again(folder: Path) -> None:
    async def test() -> None:
        async with live(folder, RBR + RAW, SOURCE) as server:
            engine = "/engine.io/?EIO=4&transport=websocket"
            sockets = [
                await socketio(server.url),
                await WebSocket.connect(server.url, engine),
                await WebSocket.connect(server.url, "/raw"),
            ]
            waiting, absent = await Poller.connect(server.url), await Poller.connect(server.url)
            poll = asyncio.create_task(waiting.get())
            await until(server.busy)
            await restart(server, folder)
            for one in sockets:
                assert await one.read_close() == (1012, "service restart")
                one.close()
            assert (await poll).endswith("1")  # Engine.IO's close packet
            assert (await absent.get()).endswith("1")  # who was between two polls
            await until(lambda: not server.server._former.apps)
            assert server.module.ended == ["second", "first"]
            client = await socketio(server.url)
            await client.text('421["tell"]')
            assert await client.read() == '431[["first","text","second"]]'
            client.close()

    run(test())


def test_restart_waits_for_a_request_in_hand_but_not_for_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            wire, body = await Wire.open(server.url), await Wire.open(server.url)
            await wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await body.send("POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
            await until(lambda: sum(map(busy, server.server.connections)) == 2)
            await restart(server, folder)
            assert server.module.ended == []
            server.module.release.set()
            assert (await wire.answer())[0] == 204
            await body.send("b")
            assert (await body.answer())[0] == 200
            await until(lambda: not server.server._former.apps)
            monkeypatch.setattr("redbarrel_lite.server.RESTART_S", 0.01)
            server.module.release.clear()
            await wire.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(server.busy)
            await restart(server, folder)
            assert (await wire.answer())[0] == 503
            await until(lambda: not server.server._former.apps)
            assert server.module.ended == ["second", "first"] * 2
            wire.close()
            body.close()

    run(test())


def test_restart_leaves_a_poller_behind_that_does_not_come(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redbarrel_lite.server.LAST_CALL_S", 0.01)

    async def test() -> None:
        async with live(folder, RBR, SOURCE) as server:
            await Poller.connect(server.url)
            await restart(server, folder)
            await until(lambda: not server.server._former.apps)
            assert server.module.ended == ["second", "first"]

    run(test())
