"""`method ENGINEIO` over real connections: the socket object, one layer below Socket.IO."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path

import pytest
from wire import Live, WebSocket, Wire, ask, live, run, until

from redbarrel_lite import wsproto

# An echo that notes how it ended.
ECHO = """
    import asyncio
    from redbarrel_lite import Refused
    told, sockets, faults = [], [], []

    async def echo(request):
        socket = request.socketio
        sockets.append(socket)
        async for message in socket:
            if message == ["cast"]:
                socket.broadcast("from " + socket.transport)
            elif message == ["raise"]:
                raise ValueError("on purpose")
            elif message == ["close"]:
                socket.close("bye", code=4001)
            elif message == ["return"]:
                break
            elif message == ["separator"]:
                try:
                    socket.send("a\\x1eb")
                except ValueError as error:
                    socket.send(str(error).replace("\\x1e", ""))
            elif message == ["cookie"]:
                socket.send(socket.headers.get("cookie", "none"))
            elif message == ["half"]:
                socket.send("half \\ud800 a pair")
            elif message == ["emit"]:
                try:
                    socket.emit("x")
                except TypeError as error:
                    socket.send(str(error))
            else:
                socket.send(message[0])
        told.append((socket.connected(), socket.reason, socket.close_code, socket.close_reason))

    def thread(request):
        for message in request.socketio:
            request.socketio.send(message[0])

    async def who(globs, request, room="none"):
        request.socketio.send(room)

    go = asyncio.Event()

    async def door(globs, request):
        who = request.GET.get("who")
        if who == "slow":
            await go.wait()
        if who == "evil":
            raise Refused("not <you>", {"data": "unused"})
        if who == "closed":
            request.socketio.close("shut", code=3000)
        return who != "nobody"

    async def release(request):
        go.set()

    async def cast(request):
        request.server.broadcast("to all", namespace="/engine.io/")
        return str(len(request.server.sockets("/engine.io/")))
"""
RBR = """
    path raw ( method ENGINEIO, use python:MODULE.echo{} );
    path release ( url /release, use python:MODULE.release );
    path cast ( url /cast, use python:MODULE.cast );
"""
ENGINE = "/engine.io/?EIO=4"
POLL = f"{ENGINE}&transport=polling"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def echo(folder: Path, *options: str) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(folder, RBR.format("".join(f", {option}" for option in options)), ECHO)


def sessions(server: Live) -> int:
    return sum(map(len, server.server._endpoints.values()))


async def told(server: Live) -> list[object]:
    """What the application noted, when nobody is there any more and its handlers have ended."""
    await server.empties()
    await until(lambda: not server.server.app.hub.runners)
    noted: list[object] = server.module.told
    return noted


class Poller:
    """A client over polling, each request on a connection of its own."""

    def __init__(self, url: str, target: str = POLL) -> None:
        self.url = url
        self.target = target
        self._packets: list[str] = []

    async def connect(self) -> Poller:
        handshake = json.loads((await self.read())[1:])
        self.sid = handshake["sid"]
        self.target += f"&sid={self.sid}"
        return self

    async def read(self) -> str:
        while not self._packets:
            status, _, body = await ask(self.url, "GET", self.target)
            assert status == 200, body
            self._packets = body.decode().split("\x1e")
        return self._packets.pop(0)

    async def post(self, *packets: str, **headers: str) -> None:
        payload = "\x1e".join(packets).encode()
        answer = await ask(self.url, "POST", self.target, payload, **headers)
        assert answer[::2] == (200, b"ok")


async def websocket(url: str, more: str = "", target: str = ENGINE) -> WebSocket:
    client = await WebSocket.connect(url, f"{target}&transport=websocket{more}")
    if "sid=" not in more:
        assert (await client.read()).startswith('0{"sid":"')
    return client


# -- cookies -------------------------------------------------------------------------------


def test_cookies_of_the_handshake_come_back_with_each_message(tmp_path: Path) -> None:
    rules = 'response-headers ( set Set-Cookie "a=1", set Set-Cookie "b=2; HttpOnly" )'

    async def test() -> None:
        async with echo(tmp_path, rules) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            head = (await wire.rest()).partition(b"\r\n\r\n")[0].split(b"\r\n")
            cookies = [line for line in head if line.startswith(b"set-cookie")]
            assert cookies == [b"set-cookie: a=1", b"set-cookie: b=2; HttpOnly"]

            client = await Poller(server.url).connect()
            await client.post("4cookie")
            await client.post("4cookie", Cookie="a=1; b=2")
            await client.post("4cookie")
            got = [await client.read() for _ in range(3)]
            assert got == ["4none", "4a=1; b=2", "4none"]

    run(test())


def test_messages_over_a_websocket_have_the_headers_of_its_handshake(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(
                server.url, f"{ENGINE}&transport=websocket", Cookie="a=1"
            )
            assert (await client.read()).startswith("0{")
            await client.text("4cookie")
            assert await client.read() == "4a=1"

    run(test())


# -- messages ------------------------------------------------------------------------------


def test_texts_and_bytes_come_and_go_over_polling(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await Poller(server.url).connect()
            await client.post("4hello", "4", "é€\U0001f600".join("4 "), "bAAH/", "b")
            got = [await client.read() for _ in range(5)]
            assert got == ["4hello", "4", "4é€\U0001f600 ", "bAAH/", "b"]

    run(test())


def test_texts_and_bytes_come_and_go_over_websocket(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await websocket(server.url)
            for text in ("hello", "", "é€\U0001f600", '42["not","socket.io"]', "2"):
                await client.text("4" + text)
                assert await client.read() == "4" + text
            for data in (b"", b"\x00\xff", bytes(70_000)):
                await client.frame(0x82, data)
                assert await client.read_frame() == (wsproto.BINARY, data)

    run(test())


def test_upgrade_keeps_the_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller(server.url).connect()
            await poller.post("41", "42")
            client = await websocket(server.url, f"&sid={poller.sid}")
            await client.text("2probe")
            assert await client.read() == "3probe"
            await client.text("5")
            await client.text("43")
            assert [await client.read() for _ in range(3)] == ["41", "42", "43"]
            (socket,) = server.module.sockets
            assert socket.transport == "websocket"

    run(test())


def test_handler_in_a_thread_has_the_same_socket(tmp_path: Path) -> None:
    rbr = "path raw ( method ENGINEIO, url /t/, use python:MODULE.thread );"

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            client = await websocket(server.url, target="/t/?EIO=4")
            poller = await Poller(server.url, "/t?EIO=4&transport=polling").connect()
            for number in range(30):
                await client.text(f"4{number}")
            await poller.post(*(f"4{number}" for number in range(30)))
            for one in (client, poller):
                assert [await one.read() for _ in range(30)] == [f"4{n}" for n in range(30)]

    run(test())


def test_broadcast_reaches_the_others_over_each_transport(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller(server.url).connect()
            first, second = await websocket(server.url), await websocket(server.url)
            await first.text("4cast")
            assert await poller.read() == "4from websocket"
            assert await second.read() == "4from websocket"
            await poller.post("4cast")
            assert await first.read() == "4from polling"
            assert await second.read() == "4from polling"
            assert (await ask(server.url, "GET", "/cast"))[2] == b"3"
            for client in (poller, first, second):
                assert await client.read() == "4to all"

    run(test())


def test_old_clients_come_where_they_may(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "allow-eio3 on") as server:
            target = "/engine.io/?EIO=3&transport=polling"
            _, _, body = await ask(server.url, "GET", target)
            sid = json.loads(body.partition(b":")[2][1:])["sid"]
            status, _, body = await ask(server.url, "POST", f"{target}&sid={sid}", b"3:4ab4:b4AA")
            assert (status, body) == (200, b"ok")
            _, _, body = await ask(server.url, "GET", f"{target}&sid={sid}")
            assert body == b"\0\3\xff4ab\1\2\xff\4\0"
            client = await websocket(server.url, target="/engine.io/?EIO=3")
            await client.frame(0x82, b"\4\xff")
            assert await client.read_frame() == (wsproto.BINARY, b"\4\xff")
        async with echo(tmp_path) as server:
            _, _, body = await ask(server.url, "GET", target)
            assert body == b'{"code":5,"message":"Unsupported protocol version"}'

    run(test())


def test_text_that_would_be_two_packets_of_a_poll_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for client in (await Poller(server.url).connect(), await websocket(server.url)):
                await (client.post if isinstance(client, Poller) else client.text)("4separator")
                assert await client.read() == (
                    "4U+001E parts the packets of a poll: send it in bytes, or escaped"
                )
        async with echo(tmp_path, "transports websocket") as server:
            client = await websocket(server.url)
            await client.text("4separator")
            assert await client.read() == "4a\x1eb"

    run(test())


def test_half_of_a_surrogate_pair_harms_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for client in (await Poller(server.url).connect(), await websocket(server.url)):
                await (client.post if isinstance(client, Poller) else client.text)("4half")
                assert await client.read() == "4half \ufffd a pair"

    run(test())


def test_what_is_socket_ios_is_a_type_error(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await websocket(server.url)
            await client.text("4emit")
            assert await client.read() == (
                "4emit() is Socket.IO's; /engine.io/ has messages only: send()"
            )

    run(test())


# -- who comes in --------------------------------------------------------------------------


def test_placeholders_of_the_url_are_the_handlers_parameters(tmp_path: Path) -> None:
    rbr = "path raw ( method ENGINEIO, url /rooms/{room}/, use python:MODULE.who );"

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            client = await websocket(server.url, target="/rooms/red/?EIO=4")
            assert await client.read() == "4red"
            poller = await Poller(server.url, "/rooms/blue?EIO=4&transport=polling").connect()
            assert await poller.read() == "4blue"

    run(test())


@pytest.mark.parametrize(
    ("who", "reason"), [("evil", "not <you>"), ("nobody", "refused"), ("closed", "refused")]
)
def test_refusal_is_an_answer_to_the_handshake(tmp_path: Path, who: str, reason: str) -> None:
    async def test() -> None:
        async with echo(tmp_path, "on connect use python:MODULE.door") as server:
            status, headers, body = await ask(server.url, "GET", f"{POLL}&who={who}")
            assert (status, headers["content-type"]) == (403, "application/json")
            assert json.loads(body) == {"code": 4, "message": reason}
            target = f"{ENGINE}&transport=websocket&who={who}"
            status, headers, body = await ask(server.url, "GET", target, b"", **UPGRADE)
            assert (status, body.decode()) == (403, f"403 {reason}\n")
            assert headers["content-type"] == "text/plain; charset=utf-8"
            assert sessions(server) == 0
            assert server.module.sockets == []

    run(test())


def test_handshake_waits_for_who_decides(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "on connect use python:MODULE.door") as server:
            poller = Poller(server.url, f"{POLL}&who=slow")
            polling = asyncio.create_task(poller.connect())
            connecting = asyncio.create_task(websocket(server.url, "&who=slow"))
            await until(lambda: sessions(server) == 2)
            assert server.module.sockets == []
            assert not polling.done()
            assert not connecting.done()
            await ask(server.url, "GET", "/release")
            await polling
            client = await connecting
            for one in (poller, client):
                await (one.post if isinstance(one, Poller) else one.text)("4in")
                assert await one.read() == "4in"

    run(test())


@pytest.mark.parametrize("fields", [{}, UPGRADE], ids=["polling", "websocket"])
def test_client_that_goes_while_it_is_decided_is_gone_at_once(
    tmp_path: Path, fields: dict[str, str]
) -> None:
    async def test() -> None:
        async with echo(tmp_path, "on connect use python:MODULE.door") as server:
            wire = await Wire.open(server.url)
            lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
            target = f"{ENGINE}&transport={'websocket' if fields else 'polling'}&who=slow"
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
            await until(lambda: sessions(server) == 1)
            wire.reset()
            await until(lambda: sessions(server) == 0)
            await ask(server.url, "GET", "/release")
            assert await told(server) == []
            assert server.module.sockets == []

    run(test())


def test_handshake_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def test() -> None:
        options = ["on connect use python:MODULE.door", "ping-interval 0.1", "ping-timeout 0.1"]
        async with echo(tmp_path, *options) as server:
            status, _, body = await ask(server.url, "GET", f"{POLL}&who=slow")
            assert status == 403
            assert json.loads(body)["message"] == "the server did not decide in time"
            assert sessions(server) == 0
            await ask(server.url, "GET", "/release")
            assert await told(server) == []

    run(test())


def test_rules_and_limits_guard_the_handshake(tmp_path: Path) -> None:
    rule = "request-headers ( unless X-Token is int return 402 )"

    async def test() -> None:
        async with echo(tmp_path, rule, "max-connections 1") as server:
            for target, fields in ((POLL, {}), (f"{ENGINE}&transport=websocket", UPGRADE)):
                assert (await ask(server.url, "GET", target, b"", **fields))[0] == 402
            status, _, _ = await ask(server.url, "GET", POLL, X_Token="1")
            assert status == 200
            status, headers, _ = await ask(server.url, "GET", POLL, X_Token="1")
            assert (status, headers["retry-after"]) == (503, "1")

    run(test())


def test_handler_may_end_as_soon_as_it_has_begun(tmp_path: Path) -> None:
    source = """
        def quick(request):
            request.socketio.send("hello")
            request.socketio.close("and goodbye", code=4000)
        async def quick_async(request):
            quick(request)
    """
    rbr = """
        path one ( method ENGINEIO, url /thread/, use python:MODULE.quick );
        path two ( method ENGINEIO, url /task/, use python:MODULE.quick_async );
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            for url in ("/thread/", "/task/"):
                poller = await Poller(server.url, f"{url}?EIO=4&transport=polling").connect()
                assert await poller.read() == "4hello"
                assert await poller.read() == "1"
                client = await websocket(server.url, target=f"{url}?EIO=4")
                assert await client.read() == "4hello"
                assert await client.read_close() == (4000, "and goodbye")

    run(test())


# -- the end ---------------------------------------------------------------------------------


def test_clients_close_is_told_with_its_code_where_it_has_one(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await websocket(server.url)
            await client.frame(0x88, b"\x0f\xa1see you")
            assert await client.read_close() == (4001, "")
            assert await told(server) == [(False, "transport close", 4001, "see you")]
            poller = await Poller(server.url).connect()
            await poller.post("1")
            assert (await told(server))[1:] == [(False, "transport close", None, "")]

    run(test())


@pytest.mark.parametrize(
    ("word", "code", "reason"),
    [("close", 4001, "bye"), ("return", 1000, ""), ("raise", 1011, "the server failed")],
)
def test_our_close_is_told_to_both(
    tmp_path: Path, word: str, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await websocket(server.url)
            await client.text("4before")
            await client.text(f"4{word}")
            assert await client.read() == "4before"
            assert await client.read_close() == (code, reason)
            client.close()
            poller = await Poller(server.url).connect()
            await poller.post("4before", f"4{word}")
            assert await poller.read() == "4before"
            assert await poller.read() == "1"
            assert (await ask(server.url, "GET", poller.target))[0] == 400
            ends = await told(server)
            if word == "close":
                assert ends == [(False, "bye", 4001, "bye"), (False, "bye", None, "")]

    run(test())
    faults = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(faults) == (2 if word == "raise" else 0)


def test_reason_of_our_close_is_the_same_when_a_poll_waits_for_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller(server.url).connect()
            reading = asyncio.create_task(poller.read())
            (socket,) = server.module.sockets
            await until(lambda: socket.connection.session.poll_waits)
            socket.close("bye", code=4001)
            assert await reading == "1"
            assert await told(server) == [(False, "bye", None, "")]

    run(test())


def test_end_of_the_server_is_told_over_each_transport(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller(server.url).connect()
            client = await websocket(server.url)
            waiting = asyncio.create_task(poller.read())
            await until(server.busy)
            closing = asyncio.create_task(server.server.close(1.0))
            assert await waiting == "1"
            assert (await client.read_close())[0] == wsproto.GOING_AWAY
            client.close()
            await closing
            assert len(server.module.told) == 2

    run(test())
