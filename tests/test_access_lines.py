"""Each request has one line in the access log, whether or not its client waits for the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from wire import SOCKET_IO, Live, Poller, Wire, live, run, until

from redbarrel_lite.accesslog import Entry
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.patience import TimeLimits

RBR = """
    path waits ( url /waits, method GET|POST, use python:MODULE.waits );
    path blocks ( url /blocks, use python:MODULE.blocks );
    path whole ( url /whole, use python:MODULE.whole );
    path parts ( url /parts, use python:MODULE.parts );
    path begins ( url /begins, use python:MODULE.begins );
    path proxied ( url /proxied, use proxy:"http://127.0.0.1:PORT" );
    path mounted ( url /mounted, use wsgi:MODULE.application );
    path chat ( method SOCKETIO, use python:MODULE.chat );
"""
SOURCE = """
    import asyncio, threading

    release = threading.Event()
    entered = threading.Event()
    going = asyncio.Event()

    async def waits(request):
        entered.set()
        await going.wait()
        return "for nobody"

    def blocks(request):
        entered.set()
        release.wait()
        return "for nobody"

    async def whole(request):
        return b"a" * 20_000_000

    def parts(request):
        entered.set()
        release.wait()
        yield "for nobody"

    async def begins(request):
        yield "a part"
        entered.set()
        await asyncio.Event().wait()

    def application(environ, start_response):
        entered.set()
        release.wait()
        start_response("200 OK", [])
        return [b"for nobody"]

    async def chat(request):
        async for message in request.socketio:
            pass
"""


@asynccontextmanager
async def logged(folder: Path) -> AsyncIterator[tuple[Live, list[Entry], asyncio.Event]]:
    """A server, the lines of its log, and whether its upstream, which is silent, was asked."""
    asked = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    upstream = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = str(upstream.sockets[0].getsockname()[1])
    entries: list[Entry] = []
    rbr, limits = RBR.replace("PORT", port), TimeLimits(half_closed=0.1)
    async with upstream, live(folder, rbr, SOURCE, limits) as server:
        server.server.access = entries.append
        try:
            yield server, entries, asked
        finally:
            server.module.release.set()
            server.module.going.set()
            await until(lambda: not server.server._tasks)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/waits", 499),
        ("HEAD", "/waits", 499),
        ("POST", "/waits", 499),
        ("GET", "/blocks", 499),
        ("GET", "/parts", 499),
        ("GET", "/mounted", 499),
        ("GET", "/proxied", 499),
        ("GET", "/begins", 200),
    ],
)
def test_client_that_leaves_before_the_end_of_its_answer_has_one_line(
    tmp_path: Path, method: str, target: str, status: int
) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, asked):
            wire = await Wire.open(server.url)
            await wire.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n")
            await until(lambda: asked.is_set() or server.module.entered.is_set())
            assert entries == []
            wire.reset()
            await server.empties()
            await until(lambda: entries != [])
        (entry,) = entries  # the work on it has ended, too
        assert (entry.method, entry.target, entry.status) == (method, target, status)
        assert (entry.client, entry.agent, entry.size) == ("127.0.0.1", "b", None)
        assert 0 <= entry.took < 1000

    run(test())


def test_whole_answer_has_its_line_when_it_is_handed_over_as_the_page_says(tmp_path: Path) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            wire = await Wire.open(server.url)
            await wire.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: entries != [])
            (one,) = server.server.connections
            assert isinstance(one, HttpConnection)
            assert one.unsent
            wire.reset()
            await server.empties()
        (entry,) = entries
        assert (entry.status, entry.size) == (200, 20_000_000)

    run(test())
    page = Path(__file__).parent.parent.joinpath("docs", "deploy.md").read_text("utf-8")
    told = (
        "An answer that is neither a stream nor a file has its line when it is handed to the system"
    )
    assert told in " ".join(page.split())


def test_of_pipelined_requests_those_have_a_line_that_had_their_turn(tmp_path: Path) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            wire = await Wire.open(server.url)
            await wire.send(
                "".join(f"GET /{x} HTTP/1.1\r\nHost: a\r\n\r\n" for x in ("none", "waits", "none"))
            )
            await until(server.module.entered.is_set)
            wire.reset()
            await server.empties()
            assert [(one.target, one.status) for one in entries] == [
                ("/none", 404),
                ("/waits", 499),
            ]

    run(test())


def test_upload_that_breaks_off_has_a_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            wire = await Wire.open(server.url)
            await wire.send("POST /waits HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
            await until(server.busy)
            wire.reset()
            await server.empties()
            assert [(one.method, one.status) for one in entries] == [("POST", 499)]

    run(test())


@pytest.mark.parametrize("how", ["reset", "half-closed"])
def test_poll_that_is_broken_off_has_a_line(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            poller = await Poller.connect(server.url)
            entries.clear()
            wire = await Wire.open(server.url)
            await wire.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(server.busy)
            if how == "reset":
                wire.reset()
            else:
                wire.writer.write_eof()
                await wire.rest()
            await server.empties()
            ((target, status),) = [(one.target, one.status) for one in entries]
            assert (target.startswith(SOCKET_IO.partition("?")[0]), status) == (True, 499)

    run(test())


def test_connection_that_ends_between_two_requests_has_no_further_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            for early in ("", "GET /wai"):
                wire = await Wire.open(server.url)
                await wire.ask("GET", "/none")
                await wire.send(early)
                wire.reset()
                await server.empties()
            assert [one.status for one in entries] == [404, 404]

    run(test())


def test_request_that_the_end_of_the_server_cuts_has_one_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with logged(tmp_path) as (server, entries, _):
            for target in ("/waits", "/blocks", "/begins"):
                wire = await Wire.open(server.url)
                server.module.entered.clear()
                await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(server.module.entered.is_set)
            await server.server.close(0.1)
            await until(lambda: len(entries) == 3)
        lines = sorted((one.target, one.status, one.size is None) for one in entries)
        assert [line[:2] for line in lines] == [("/begins", 200), ("/blocks", 503), ("/waits", 503)]
        assert lines[0][2]

    run(test())
