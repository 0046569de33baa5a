"""The page of the wire, by its socket: what it is told, and what it may do to a connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Serve
from test_tap import APP, RBR
from wire import WebSocket, Wire, ask, run, socketio

from redbarrel_lite import engineio
from redbarrel_lite.app import App
from redbarrel_lite.dial import ConnectError, Port, Visitor
from redbarrel_lite.dial_socket import AsyncSocket, Line
from redbarrel_lite.forwarded import trust
from redbarrel_lite.listener import Address
from redbarrel_lite.server import Server
from redbarrel_lite.tap import MAX_HELD_BYTES, Tap
from redbarrel_lite.wirepage import FILE, LOOPBACK, MAX_ENDED, MAX_ITEM_BYTES, MAX_ITEMS, NEXT, show

REFUSED = b"403 this page is for the server's own machine: --wire-to\n"


@contextlib.asynccontextmanager
async def shown(folder: Path, viewers: tuple[str, ...] = LOOPBACK) -> AsyncIterator[str]:
    """The url of an application with its page."""
    (folder / "talker.py").write_text("\n".join(line[4:] for line in APP.splitlines()))
    (folder / "app.rbr").write_text(RBR.replace("MODULE", "talker"))
    server = Server(App.load([folder / "app.rbr", FILE]))
    server.tap = Tap()
    url = await server.start(Address(port=0))
    show(server, trust(viewers))
    try:
        yield url
    finally:
        await server.close(0.1)


def viewer(url: str, transport: str = "websocket") -> AsyncSocket:
    return AsyncSocket(Line(Visitor(Port(url)), "/__wire__/socket.io/", [], transport))


@contextlib.asynccontextmanager
async def looking(url: str) -> AsyncIterator[AsyncSocket]:
    """A page that has been told of all there is: nothing, for itself it leaves out."""
    async with await viewer(url).connect() as page:
        assert await page.recv("connections") == [[]]
        yield page


async def hears(socket: AsyncSocket, event: str, summary: str) -> dict[str, Any]:
    """The first item of that summary."""
    while True:
        (items,) = await socket.recv(event)
        for item in items if event == "items" else items["waiting"]:
            if "layer" in item and summary in str(item["layer"]):
                found: dict[str, Any] = item
                return found


def test_page_tells_of_connections_and_what_is_said_on_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            wire = await Wire.open(url)
            assert (await wire.ask("GET", "/hello"))[2] == b"hello"
            ((told,),) = await page.recv("connections")
            assert told["label"] == "GET /hello"
            assert (told["session"], told["speaks"], told["open"]) == (0, "HTTP", True)
            ((answer,),) = [await page.call("watch", f"c{told['number']}")]
            said = [(item["from"], item["layer"]["summary"]) for item in answer["items"]]
            assert said[:2] == [("client", "GET /hello HTTP/1.1"), ("server", "HTTP/1.1 200 OK")]
            head = answer["items"][0]["layer"]
            assert bytes.fromhex(head["bytes"]).startswith(b"GET /hello HTTP/1.1\r\n")
            assert {"start": 0, "end": 3, "name": "method"}.items() <= head["fields"][0].items()
            wire.close()
            while True:
                (items,) = await page.recv("items")
                if any(item.get("end") == "closed" for item in items):
                    break

    run(test())


def test_what_is_long_is_cut_and_what_is_not_complete_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            line = Line(Visitor(Port(url)), "/socket.io/", [], "websocket")
            async with await AsyncSocket(line).connect() as socket:
                await page.call("watch", "s1")
                socket.send("x" * 100_000)
                item = await hears(page, "items", 'EVENT ["message","xxx')
                layers = [
                    item["layer"],
                    *item["layer"]["inner"],
                    *item["layer"]["inner"][0]["inner"],
                ]
                assert [one["size"] for one in layers] == [100_030, 100_016, 100_015]
                assert {len(one["bytes"]) for one in layers} == {2 * MAX_ITEM_BYTES}
            wire = await Wire.open(url)
            await wire.send(b"GET /hello HTTP/1.1\r\nHo")
            wire.close()
            ended: list[int] = []
            while not ended:
                (news,) = await page.recv("connections")
                ended = [one["number"] for one in news if one["label"] == "GET /hello"]
            ((answer,),) = [await page.call("watch", f"c{ended[0]}")]
            assert "missing" in answer["items"][0]["layer"]

    run(test())


def test_session_is_one_whatever_connections_it_takes(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            line = Line(Visitor(Port(url)), "/socket.io/", [], "upgrade")
            async with await AsyncSocket(line).connect() as socket:
                socket.send("hello")
                await socket.recv()
                (answer,) = await page.call("watch", "s1")
                said = str([item.get("layer") for item in answer["items"]])
                assert "open sid=" in said
                assert "pong probe" in said
                assert "'\"/socket.io/?EIO=4&transport=polling&sid=" in said, "a target with stars"
                assert len({item["connection"] for item in answer["items"]}) > 2
                socket.send("again")
                item = await hears(page, "items", 'EVENT ["message","again"]')
                assert item["session"] == 1
                assert "not shown" not in str(item)

    run(test())


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            wire = await Wire.open(url)
            await wire.ask(
                "GET", "/hello", Cookie="who=ann-in-secret", Authorization="Bearer s3same"
            )
            ((told,),) = await page.recv("connections")
            text = str(await page.call("watch", f"c{told['number']}"))
            assert "GET /hello" in text
            for hidden in (b"ann-in-secret", b"s3same"):
                assert hidden.decode() not in text
                assert hidden.hex() not in text

    run(test())


def test_next_session_goes_step_by_step_from_its_first_byte(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            await page.call("watch", NEXT)
            await page.call("hold", NEXT, True)
            line = Line(Visitor(Port(url)), "/socket.io/", [], "upgrade")
            connecting = asyncio.create_task(AsyncSocket(line).connect())
            (key,) = await page.recv("stepping")
            (answer,) = await page.call("watch", key)
            assert answer["held"]["on"] is True
            waiting = [one["layer"]["summary"] for one in answer["held"]["waiting"]]
            assert waiting[0] == "HTTP/1.1 200 OK"
            assert not connecting.done()
            seen = []
            while not connecting.done():
                (held,) = await page.recv("held")
                if held["waiting"]:
                    seen += [str(one["layer"]) for one in held["waiting"]]
                    await page.call("next", key)
            socket = await connecting
            for words in ("open sid=", "pong probe", "noop", "CONNECT with sid"):
                assert words in str(seen), words
            await page.call("hold", key, False)
            socket.send("free again")
            assert await socket.recv() == ["free again"]
            await socket.close()

    run(test())


def test_frames_of_one_connection_are_held_one_by_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            socket = await WebSocket.connect(url, "/raw")
            ((told,),) = await page.recv("connections")
            key = f"c{told['number']}"
            await page.call("watch", key)
            await page.call("hold", key, True)
            for text in ("one", "two"):
                await socket.text(text)
            await hears(page, "held", '"two"')
            assert await page.call("next", key) == [True]
            assert await socket.read() == "one"
            await page.call("hold", key, False)
            assert await socket.read() == "two"
            assert await page.call("next", key) == [False]
            (answer,) = await page.call("watch", key)
            assert not answer["held"]["on"]

    run(test())


def test_last_page_lets_go_of_everything_when_it_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url:
            async with looking(url) as page:
                socket = await WebSocket.connect(url, "/raw")
                ((told,),) = await page.recv("connections")
                key = f"c{told['number']}"
                await page.call("watch", key)
                await page.call("hold", key, True)
                await socket.text("one")
                await hears(page, "held", '"one"')
            assert await socket.read() == "one"

    run(test())


def test_who_is_not_to_see_it_does_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path, ("10.0.0.0/8",)) as url:
            status, _, body = await ask(url, "GET", "/__wire__/")
            assert (status, body) == (
                403,
                b"403 this page is for the server's own machine: --wire-to\n",
            )
            with pytest.raises(ConnectError, match="this page is for the server's own machine"):
                await viewer(url).connect()

    run(test())


def test_strange_name_leads_to_no_page(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url:
            port = url.rpartition(":")[2]
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", "192.168.1.5", f"[::1]:{port}"):
                assert (await ask(url, "GET", "/__wire__/", Host=host))[0] == 200, host
            for host in (f"evil.example:{port}", "localhost.evil.example", "1.2.3.4.evil.example"):
                status, _, body = await ask(url, "GET", "/__wire__/", Host=host)
                assert (status, b"--allow-host" in body) == (403, True), host
            visit = Line(
                Visitor(Port(url)),
                "/__wire__/socket.io/",
                [("host", f"evil.example:{port}")],
                "websocket",
            )
            with pytest.raises(ConnectError, match="for a name of --allow-host"):
                await AsyncSocket(visit).connect()

    run(test())


def test_nonsense_from_a_page_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            for event in ("watch", "hold", "next"):
                for key in ("x", "c", "c-1", "s99999999999", 3, None, ["c1"]):
                    more = (True,) if event == "hold" else ()
                    (answer,) = await page.call(event, key, *more)
                    assert answer is False or "error" in answer, (event, key, answer)
            (answer,) = await page.call("watch", "c99")
            assert answer["items"] == []

    run(test())


def test_what_is_remembered_has_a_limit(tmp_path: Path) -> None:
    async def test() -> None:
        async with shown(tmp_path) as url, looking(url) as page:
            socket = await socketio(url)
            for _ in range(MAX_ITEMS):
                await socket.text('42["message","x"]')
                await socket.read()
            (answer,) = await page.call("watch", "s1")
            assert len(answer["items"]) == MAX_ITEMS

    run(test())


def test_debug_serves_the_page_and_nothing_else_does(serve: Serve) -> None:
    def get(url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    chat = ROOT / "examples/chat/chat.rbr"
    with_debug, without = serve(chat, "--debug"), serve(chat)
    page = get(f"{with_debug.url}/__wire__/").decode()
    for name in re.findall(r'(?:src|href)="([\w./]+)"', page):
        assert get(f"{with_debug.url}/__wire__/{name}")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{without.url}/__wire__/")
    assert "=> 'wire' hooked for GET /__wire__/" in with_debug.stderr


def test_its_page_in_the_docs_tells_the_limits_as_they_are() -> None:
    text = " ".join((ROOT / "docs" / "wire.md").read_text(encoding="utf-8").split())
    assert f"The last {MAX_ITEMS} things that were said" in text
    assert f"of each its first {MAX_ITEM_BYTES} bytes" in text
    assert f"and {MAX_ENDED} connections that have ended" in text
    assert MAX_HELD_BYTES == 1 << 20
    assert "at most a megabyte of a connection" in text
    options = engineio.Options()
    assert options.ping_interval + options.ping_timeout == 45
