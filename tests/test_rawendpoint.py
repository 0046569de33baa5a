"""`method WEBSOCKET` over real connections: the handshake, the socket object, the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import textwrap
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT
from wire import Live, WebSocket, Wire, ask, live, run, until

from redbarrel_lite import brake, rawendpoint, websocket, wsproto
from redbarrel_lite.app import App
from redbarrel_lite.listener import Address
from redbarrel_lite.server import Server

# An echo that notes how it ended.
ECHO = """
    told, sockets = [], []
    async def echo(request):
        socket = request.socketio
        sockets.append(socket)
        async for message in socket:
            if message == ["cast"]:
                socket.broadcast("from another")
            elif message == ["raise"]:
                raise ValueError("on purpose")
            elif message == ["close"]:
                socket.close("bye", code=4001)
            elif message == ["return"]:
                break
            else:
                socket.send(message[0])
        told.append((socket.connected(), socket.reason, socket.close_code, socket.close_reason))

    def thread(request):
        socket = request.socketio
        for message in socket:
            socket.send(message[0])
        told.append(socket.close_code)
"""
RBR = "path raw ( method WEBSOCKET, use python:MODULE.echo{} );"


def echo(folder: Path, *options: str) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(folder, RBR.format("".join(f", {option}" for option in options)), ECHO)


async def told(server: Live) -> list[object]:
    """What the application noted, when nobody is there any more and its handlers have ended."""
    await server.empties()
    await until(lambda: not server.server.app.hub.runners)
    noted: list[object] = server.module.told
    return noted


# -- the handshake ------------------------------------------------------------------------


def test_texts_and_bytes_come_and_go_as_they_are(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            for text in ("hello", "", "é€\U0001f600", '42["not","socket.io"]', "2"):
                await client.text(text)
                assert await client.read_frame() == (wsproto.TEXT, text.encode())
            for data in (b"", b"\x00\xff", bytes(70_000)):
                await client.frame(0x82, data)
                assert await client.read_frame() == (wsproto.BINARY, data)

    run(test())


def test_socket_is_known_by_its_connection_and_by_no_sid(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            await WebSocket.connect(server.url, "/ws")
            (endpoint,) = server.server._endpoints.values()
            assert len(endpoint) == 1
            assert not endpoint.knows("any")

    run(test())


def test_handler_in_a_thread_has_the_same_socket(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = "path raw ( method WEBSOCKET, url /t, use python:MODULE.thread );"
        async with live(tmp_path, rbr, ECHO) as server:
            client = await WebSocket.connect(server.url, "/t")
            for number in range(50):
                await client.text(str(number))
            assert [await client.read() for _ in range(50)] == [str(n) for n in range(50)]
            await client.frame(0x88, b"\x03\xe9")
            assert await client.read_close() == (1001, "")
            await until(lambda: server.module.told == [1001])

    run(test())


def test_first_frame_may_come_with_the_handshake(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.open(server.url)
            assert isinstance(client, WebSocket)
            await client.send(handshake("/ws") + b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58")
            assert (await client.answer())[0] == 101
            assert await client.read() == "Hello"

    run(test())


FIELDS = {
    "Host": "a",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def handshake(target: str, method: str = "GET", **changed: str | None) -> bytes:
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode()


BAD_HANDSHAKES = {
    "a page's request": (handshake("/ws", Upgrade=None), 426),
    "another protocol": (handshake("/ws", Upgrade="h2c"), 426),
    "POST": (handshake("/ws", "POST", Content_Length="0"), 405),
    "no upgrade token": (handshake("/ws", Connection="upgradex"), 400),
    "no key": (handshake("/ws", Sec_WebSocket_Key=None), 400),
    "an old version": (handshake("/ws", Sec_WebSocket_Version="8"), 426),
    "another page's origin": (handshake("/ws", Origin="https://evil.example"), 403),
    "no such url": (handshake("/ws/x"), 404),
}


@pytest.mark.parametrize("name", BAD_HANDSHAKES)
def test_bad_handshake_gets_its_status_and_no_socket(tmp_path: Path, name: str) -> None:
    async def test() -> None:
        request, status = BAD_HANDSHAKES[name]
        async with echo(tmp_path) as server:
            wire = await Wire.open(server.url)
            # What follows would be frames, not a request: whoever refuses the upgrade
            # in front of us must not let it in as one.
            await wire.send(request + b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
            got, headers, body = await wire.answer()
            assert got == status, body
            assert (headers.get("sec-websocket-version") == "13") is (status == 426)
            assert status != 405 or headers["allow"] == "GET, OPTIONS"
            if b"websocket" in request:
                assert await wire.rest() == b""
            assert server.module.sockets == []

    run(test())


def test_page_may_share_the_url(tmp_path: Path) -> None:
    """The first path in the order of the file that fits is taken: a GET is no WebSocket."""

    async def test() -> None:
        rbr = RBR.format("") + "path page ( url /ws, use python:MODULE.page );"
        source = ECHO + '\n    def page(request): return "a page"\n'
        async with live(tmp_path, rbr, source) as server:
            assert (await ask(server.url, "GET", "/ws"))[::2] == (200, b"a page")
            assert (await ask(server.url, "HEAD", "/ws"))[0] == 200
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("a")
            assert await client.read() == "a"

    run(test())


def test_placeholders_of_the_url_are_the_handlers_parameters(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = "path raw ( method WEBSOCKET, url /room/{name}/{n:[0-9]+}, use python:MODULE.show );"
        source = """
        async def show(request, name, n):
            request.socketio.send(f"{name} {n} {request.match} {request.socketio.namespace}")
        """
        async with live(tmp_path, rbr, source) as server:
            client = await WebSocket.connect(server.url, "/room/r%C3%B6d/12")
            match = {"name": "röd", "n": "12"}
            assert await client.read() == f"röd 12 {match} /room/{{name}}/{{n:[0-9]+}}"
            assert await client.read_close() == (1000, "")
            assert (await ask(server.url, "GET", "/room/a/b"))[0] == 404

    run(test())


def test_subprotocol_is_chosen_and_told_to_both(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = """
        path raw ( method WEBSOCKET, subprotocol "v2", subprotocol "v1", use python:MODULE.show );
        """
        source = """
        async def show(request):
            request.socketio.send(repr(request.socketio.subprotocol))
        """
        async with live(tmp_path, rbr, source) as server:
            for offer, chosen in (("v1, v2", "v1"), ("v3,v2", "v2"), ("v3", None), (",", None)):
                headers = {"Sec-WebSocket-Protocol": offer}
                client = await WebSocket.connect(server.url, "/ws", **headers)
                assert client.answered.get("sec-websocket-protocol") == chosen
                assert await client.read() == repr(chosen or "")

    run(test())


def test_rules_guard_the_handshake(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = RBR.format(
            ", request-headers ("
            " unless Authorization validates with python:MODULE.knows return 401 )"
        )
        source = ECHO + '\n    def knows(value): return value == "sesame"\n'
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send(handshake("/ws", Authorization="guess"))
            assert (await wire.answer())[0] == 401
            client = await WebSocket.connect(server.url, "/ws", Authorization="sesame")
            await client.text("a")
            assert await client.read() == "a"

    run(test())


def test_allowed_origin_and_the_urls_own_may_connect(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, 'allow-origin "https://good.example"') as server:
            for origin in ("https://good.example", server.url):
                await WebSocket.connect(server.url, "/ws", Origin=origin)

    run(test())


def test_one_connection_too_many_is_503(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-connections 1") as server:
            first = await WebSocket.connect(server.url, "/ws")
            wire = await Wire.open(server.url)
            await wire.send(handshake("/ws"))
            status, headers, _ = await wire.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            first.reset()
            await server.empties()
            await WebSocket.connect(server.url, "/ws")

    run(test())


def test_compression_and_limits_are_options(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(
            tmp_path, "compression on", "max-payload 9000", "max-fragments 2"
        ) as server:
            headers = {"Sec-WebSocket-Extensions": "permessage-deflate"}
            client = await WebSocket.connect(server.url, "/ws", **headers)
            assert client.answered["sec-websocket-extensions"].startswith("permessage-deflate")
            await client.text("x" * 9000)
            opcode, payload = await client.read_frame()
            assert opcode == wsproto.RSV1 | wsproto.TEXT
            message = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
            assert message == b"x" * 9000
            for first in (0x01, 0x00, 0x80):
                await client.frame(first, b"")
            assert (await client.read_close())[0] == wsproto.MESSAGE_TOO_BIG
            client = await WebSocket.connect(server.url, "/ws")
            await client.frame(0x81, b"x" * 9001)
            assert (await client.read_close())[0] == wsproto.MESSAGE_TOO_BIG
            await until(lambda: len(server.module.told) == 2)
            reason = "message over 9000 bytes"
            assert (False, "parse error", 1009, reason) in server.module.told

    run(test())


# -- the socket object ------------------------------------------------------------------------


def test_what_is_socket_ios_is_a_type_error(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("a")
            await client.read()
            (socket,) = server.module.sockets
            for method, args, named in (
                (socket.emit, ("a", 1), {}),
                (socket.emit, ("message", "a"), {"ack": print}),
                (socket.call, ("a",), {}),
                (socket.send, ({"a": 1},), {}),
                (socket.send, (1,), {}),
                (socket.broadcast, ("a",), {"event": "news"}),
                (socket.broadcast, (["a"],), {}),
            ):
                with pytest.raises(TypeError, match="/ws"):
                    method(*args, **named)
            with pytest.raises(ValueError, match="close code 1006"):
                socket.close(code=1006)
            assert socket.connected()
            for data in (bytearray(b"ab"), memoryview(b"ab")):
                socket.send(data)
                assert await client.read_frame() == (wsproto.BINARY, b"ab")
            assert socket.transport == "websocket"
            assert socket.namespace == "/ws"
            assert socket.on_connect()
            assert not socket.on_connect()

    run(test())


def test_broadcast_reaches_the_others_of_the_path_only(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = (
            RBR.format("") + "path other ( method WEBSOCKET, url /other, use python:MODULE.echo );"
        )
        async with live(tmp_path, rbr, ECHO) as server:
            one, two = [await WebSocket.connect(server.url, "/ws") for _ in range(2)]
            other = await WebSocket.connect(server.url, "/other")
            for client in (two, other):
                await client.text("here")
                assert await client.read() == "here"
            await one.text("cast")
            await one.text("mine")
            assert await two.read() == "from another"
            assert await one.read() == "mine"
            await other.text("mine")
            assert await other.read() == "mine"

    run(test())


def test_volatile_broadcast_reaches_who_is_ready(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            deaf, other = [await WebSocket.connect(server.url, "/ws") for _ in range(2)]
            for client in (deaf, other):
                await client.text("here")
                await client.read()
            hub = server.server.app.hub
            hub.broadcast("volatile", namespace="/ws", volatile=True)
            for client in (deaf, other):
                assert await client.read() == "volatile"
            slow, _ = hub.sockets("/ws")
            # More than the system takes for a client that does not read.
            while slow.connection.ready:
                slow.send("x" * 60_000)
                await asyncio.sleep(0)
            hub.broadcast("volatile", namespace="/ws", volatile=True)
            hub.broadcast("not volatile", namespace="/ws")
            assert [await other.read() for _ in range(2)] == ["volatile", "not volatile"]
            texts: list[str] = []
            while not texts or texts[-1] != "not volatile":
                texts.append(await deaf.read())
            assert "volatile" not in texts

    run(test())


def test_server_reaches_the_sockets_of_a_path_by_its_url(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            hub = server.server.app.hub
            hub.broadcast("nobody is there", namespace="/ws")
            assert hub.sockets("/ws") == []
            one, two = [await WebSocket.connect(server.url, "/ws") for _ in range(2)]
            for client in (one, two):
                await client.text("here")
                await client.read()
            first, second = hub.sockets("/ws")
            assert [first, second] == server.module.sockets
            second.join("red")
            hub.broadcast(b"all", namespace="/ws")
            hub.broadcast("red ones", namespace="/ws", room="red")
            assert await one.read_frame() == (wsproto.BINARY, b"all")
            assert await two.read_frame() == (wsproto.BINARY, b"all")
            assert await two.read() == "red ones"
            with pytest.raises(TypeError):
                hub.emit("news", 1, namespace="/ws")
            with pytest.raises(ValueError, match=r"/nowhere.*/ws"):
                hub.broadcast("a", namespace="/nowhere")
            hub.disconnect(first.session.session_id)
            assert await one.read_close() == (1000, "")
            await until(lambda: hub.sockets("/ws") == [second])

    run(test())


ON_LINES = """
    import asyncio, redbarrel_lite
    told = []
    async def connect(request):
        told.append("connect")
        await asyncio.sleep(0)
        request.socketio.send("sent while it was decided")
        if request.GET.get("who") == "mallory":
            return False
        if request.GET.get("who") == "eve":
            raise redbarrel_lite.Refused("not you, eve")
        if request.GET.get("who") == "close":
            request.socketio.close()
    async def message(request, text):
        request.socketio.send(text.upper())
    async def disconnect(request, reason):
        told.append((reason, request.socketio.close_code))
    def answer(request, text):
        request.socketio.send(f"{text} in a thread")
"""


def test_on_lines_take_messages_and_decide_who_comes_in(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = """
        path raw ( method WEBSOCKET,
            on connect use python:MODULE.connect,
            on message use python:MODULE.message,
            on disconnect use python:MODULE.disconnect );
        """
        async with live(tmp_path, rbr, ON_LINES) as server:
            client = await WebSocket.connect(server.url, "/ws?who=alice")
            assert await client.read() == "sent while it was decided"
            await client.text("hello")
            assert await client.read() == "HELLO"
            client.reset()
            await until(lambda: len(server.module.told) == 2)
            (event, (reason, code)) = server.module.told
            assert (event, code) == ("connect", 1006)
            assert reason in ("transport error", "transport close")

    run(test())


@pytest.mark.parametrize(
    ("who", "reason"), [("mallory", "refused"), ("eve", "not you, eve"), ("close", "refused")]
)
def test_refusal_is_an_answer_to_the_handshake(tmp_path: Path, who: str, reason: str) -> None:
    async def test() -> None:
        rbr = """
        path raw ( method WEBSOCKET, use python:MODULE.answer,
            on connect use python:MODULE.connect, on disconnect use python:MODULE.disconnect );
        """
        async with live(tmp_path, rbr, ON_LINES) as server:
            wire = await Wire.open(server.url)
            await wire.send(handshake(f"/ws?who={who}"))
            status, _, body = await wire.answer()
            assert (status, body) == (403, f"403 {reason}\n".encode())
            assert await wire.rest() == b""
            assert await told(server) == ["connect"]
            assert server.server.app.hub.sockets("/ws") == []

    run(test())


def test_client_that_goes_while_it_is_decided_is_gone_at_once(tmp_path: Path) -> None:
    """Who said yes to it hears of its end, too late to keep it out of the books."""

    async def test() -> None:
        rbr = """
        path raw ( method WEBSOCKET, on connect use python:MODULE.wait,
            on disconnect use python:MODULE.gone );
        """
        source = """
        import asyncio
        told = []
        go = asyncio.Event()
        async def wait(request):
            told.append("asked")
            await go.wait()
        async def gone(request):
            told.append("gone")
        """
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send(handshake("/ws"))
            await until(lambda: server.module.told == ["asked"])
            wire.reset()
            await server.empties()
            server.module.go.set()
            await until(lambda: not server.server.app.hub.runners)
            assert server.module.told == ["asked", "gone"]
            assert server.server.app.hub.by_sid == {}

    run(test())


# -- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bye", "code", "answer"),
    [
        (b"\x03\xe8", 1000, 1000),
        (b"\x0f\xa1so long", 4001, 4001),
        (b"", 1005, None),
    ],
)
def test_clients_close_is_told_once_with_its_code(
    tmp_path: Path, bye: bytes, code: int, answer: int | None
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.frame(0x88, bye)
            opcode, payload = await client.read_frame()
            assert (opcode, payload) == (wsproto.CLOSE, bye[:2])
            await client.frame(0x81, b"late")  # ignored
            assert await client.rest() == b""
            client.close()
            assert await told(server) == [(False, "transport close", code, bye[2:].decode())]

    run(test())


def test_close_in_the_middle_of_a_message_is_answered_with_its_code(tmp_path: Path) -> None:
    """RFC 6455 5.4: control frames may stand between fragments, this one too (Autobahn 7.1.5)."""

    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.frame(0x01, b"half a mess")
            await client.frame(0x88, b"\x03\xe8")
            assert await client.read_frame() == (wsproto.CLOSE, b"\x03\xe8")
            assert await client.rest() == b""

    run(test())


@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_that_goes_without_a_word_is_a_1006(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("a")
            await client.read()
            getattr(client, how)()
            (noted,) = await told(server)
            assert noted in [(False, f"transport {why}", 1006, "") for why in ("close", "error")]

    run(test())


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [("raise", 1011, "the server failed"), ("close", 4001, "bye"), ("return", 1000, "")],
)
def test_handlers_end_is_a_close_frame(
    tmp_path: Path, message: str, code: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text(message)
            assert await client.read_close() == (code, reason)
            await client.frame(0x88, code.to_bytes(2, "big"))
            assert await client.rest() == b""
            client.close()
            await server.empties()
            (socket,) = server.module.sockets
            assert (socket.close_code, socket.close_reason) == (code, reason)

    run(test())
    errors = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(errors) == (message == "raise")


def test_client_that_never_answers_our_close_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.1)

    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("close")
            await client.read_close()
            await client.rest()
            await server.empties()

    run(test())


def test_client_that_stays_after_the_handshake_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6455 7.1.1: the server closes first; it does not wait for long."""
    monkeypatch.setattr(websocket, "LINGER_S", 0.1)

    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.frame(0x88, b"")
            await client.read_frame()
            assert await client.rest() == b""  # it has, at once
            await server.empties()

    run(test())


def test_closing_handshake_ends_a_tls_connection_too(tmp_path: Path) -> None:
    """TLS has no half-closed connections: there the server closes at once."""

    async def test() -> None:
        (tmp_path / "app.rbr").write_text(RBR.format("").replace("MODULE", "over_tls"))
        (tmp_path / "over_tls.py").write_text(textwrap.dedent(ECHO))
        certificate = ROOT / "tests/tls/cert.pem"
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate, ROOT / "tests/tls/key.pem")
        server = Server(App.load(tmp_path / "app.rbr"))
        port = urlsplit(await server.start(Address(port=0, tls=tls))).port
        trusting = ssl.create_default_context(cafile=str(certificate))
        client = WebSocket(*await asyncio.open_connection("localhost", port, ssl=trusting))
        await client.send(handshake("/ws"))
        assert (await client.answer())[0] == 101
        await client.text("over TLS")
        assert await client.read() == "over TLS"
        await client.frame(0x88, b"\x03\xe8")
        assert await client.read_close() == (1000, "")
        assert await client.rest() == b""
        client.close()
        await server.close(1)
        assert not server.connections

    run(test())


def test_client_of_a_fault_reads_what_it_was_told_before(tmp_path: Path) -> None:
    """A reset would take it away, and fail what the client still sends."""

    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("a" * 50_000)
            await client.frame(0x87, b"reserved")
            for _ in range(50):
                await client.frame(0x89, b"late")
            assert await client.read() == "a" * 50_000
            assert (await client.read_close())[0] == wsproto.PROTOCOL_ERROR
            assert await client.rest() == b""

    run(test())


def test_pongs_stand_between_the_answers_as_the_pings_between_messages(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            frames = b""
            for letter in b"ab":
                frames += b"\x89\x81\0\0\0\0" + bytes([letter])
                frames += b"\x81\x81\0\0\0\0" + bytes([letter])
            await client.send(frames + b"\x8a\x80\0\0\0\0" + b"\x88\x80\0\0\0\0")
            seen = [await client.read_frame() for _ in range(5)]
            assert seen == [(10, b"a"), (1, b"a"), (10, b"b"), (1, b"b"), (8, b"")]

    run(test())


def test_nothing_follows_our_close_frame(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.send(b"\x81\x85\0\0\0\0close" + b"\x89\x81\0\0\0\0p")
            assert await client.read_close() == (4001, "bye")
            await client.frame(0x88, b"\x0f\xa1")
            assert await client.rest() == b""

    run(test())


# -- keep-alive, and who does not read ------------------------------------------------------------


def test_silent_client_is_pinged_and_then_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.05", "ping-timeout 0.2") as server:
            client = await WebSocket.connect(server.url, "/ws")
            while (await client.read_frame())[0] == wsproto.PING:
                # Other bytes will do as well as pongs, for a while.
                if len(server.module.sockets) < 1:
                    break
                await client.text("alive")
                if (await client.read_frame())[0] == wsproto.TEXT:
                    break
            assert wsproto.PING in [frame[0] for frame in await frames_until_the_end(client)]
            assert await told(server) == [(False, "ping timeout", 1006, "")]

    run(test())


async def frames_until_the_end(client: WebSocket) -> list[tuple[int, bytes]]:
    frames = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            frames.append(await client.read_frame())
    return frames


def test_client_that_pongs_stays(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.05", "ping-timeout 0.3") as server:
            client = await WebSocket.connect(server.url, "/ws")
            for _ in range(12):  # twice as long as a silent client may be
                opcode, payload = await client.read_frame()
                assert opcode == wsproto.PING
                await client.frame(0x8A, payload)
            await client.text("still here")
            assert await client.read() == "still here"

    run(test())


def test_handler_that_does_not_read_pauses_its_client_and_sees_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawendpoint, "LOOK_EVERY_S", 0.05)
    source = """
    import asyncio
    go, told = asyncio.Event(), []
    async def lazy(request):
        await go.wait()
        told.append(len([message async for message in request.socketio]))
    """
    rbr = """
    path raw ( method WEBSOCKET, ping-interval 0.05, ping-timeout 0.1, use python:MODULE.lazy );
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            client = await WebSocket.connect(server.url, "/ws")
            for _ in range(40):
                await client.text("x" * 50_000)
            (connection,) = server.server.connections
            assert isinstance(connection, websocket.WebSocket)
            transport = connection._transport
            assert transport is not None
            await until(lambda: not transport.is_reading())
            (socket,) = server.server.app.hub.sockets("/ws")
            await asyncio.sleep(0.5)  # many times what a silent client would have
            assert socket.connected()
            server.module.go.set()
            await until(transport.is_reading)
            client.reset()
            await until(lambda: bool(server.module.told))
            assert 0 < server.module.told[0] <= 40

    run(test())


def test_client_that_sends_too_much_a_second_is_held_up_then_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brake, "MAX_PAUSE_S", 0.02)

    async def test() -> None:
        async with echo(tmp_path, "max-rate 50") as server:
            client = await WebSocket.connect(server.url, "/ws")

            async def flood() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        await client.text("a")
                        await asyncio.sleep(0)

            flooding = asyncio.create_task(flood())
            reason = "over 50 events a second, for too long"
            assert await client.read_close() == (1008, reason)
            flooding.cancel()
            client.close()
            assert await told(server) == [(False, "over max-rate", 1008, reason)]

    run(test())


def test_client_that_goes_while_we_do_not_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rawendpoint, "LOOK_EVERY_S", 0.05)
    source = """
    async def lazy(request):
        import asyncio
        while request.socketio.connected():
            await asyncio.sleep(0.01)
    """
    rbr = "path raw ( method WEBSOCKET, use python:MODULE.lazy );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            client = await WebSocket.connect(server.url, "/ws")
            for _ in range(300):  # more than wait for a handler, and all of it is on our side
                await client.text("a")
            client.close()
            await server.empties()
            await until(lambda: not server.server.app.hub.runners)

    run(test())


def test_client_that_does_not_read_is_dropped_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            deaf, other = [await WebSocket.connect(server.url, "/ws") for _ in range(2)]
            await deaf.text("here")
            await other.text("here")
            assert await other.read() == "here"
            deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
            hub = server.server.app.hub
            for number in range(300):
                hub.broadcast(f"{number} " + "x" * 50_000, namespace="/ws")
                assert (await other.read()).startswith(f"{number} ")
                if len(hub.sockets("/ws")) == 1:
                    break
            assert len(hub.sockets("/ws")) == 1

    with caplog.at_level(logging.WARNING, "redbarrel_lite"):
        run(test())
    assert "does not read: dropped" in caplog.text


def test_awaited_send_waits_for_a_slow_client(tmp_path: Path) -> None:
    source = """
    sent = []
    async def flood(request):
        for number in range(200):
            await request.socketio.send("x" * 50_000)
            sent.append(number)
    """

    async def test() -> None:
        rbr = "path raw ( method WEBSOCKET, use python:MODULE.flood );"
        async with live(tmp_path, rbr, source) as server:
            client = await WebSocket.connect(server.url, "/ws")
            (connection,) = server.server.connections
            assert isinstance(connection, websocket.WebSocket)
            await until(lambda: connection.congested)
            assert len(server.module.sent) < 200
            for _ in range(200):
                await client.read()
            assert (await client.read_close())[0] == 1000
            assert len(server.module.sent) == 200

    run(test())


# -- the end of the server ----------------------------------------------------------------------


def test_end_of_the_server_is_told_to_client_and_handler(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            client = await WebSocket.connect(server.url, "/ws")
            await client.text("a")
            await client.read()
            closing = asyncio.create_task(server.server.close(5))
            assert await client.read_close() == (1001, "server shutting down")
            await client.frame(0x88, b"\x03\xe9")
            assert await client.rest() == b""
            client.close()
            await closing
            told = (False, "server shutting down", 1001, "server shutting down")
            assert server.module.told == [told]

    run(test())


def test_client_at_the_door_is_told_of_the_end_of_the_server(tmp_path: Path) -> None:
    async def test() -> None:
        rbr = "path raw ( method WEBSOCKET, on connect use python:MODULE.wait );"
        source = """
        import asyncio
        asked, go = asyncio.Event(), asyncio.Event()
        async def wait(request):
            asked.set()
            await go.wait()
        """
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send(handshake("/ws"))
            await until(lambda: bool(server.server.app.hub.runners))
            await server.module.asked.wait()
            closing = asyncio.create_task(server.server.close(5))
            status, headers, _ = await wire.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            server.module.go.set()
            await closing
            assert server.server.app.hub.by_sid == {}

    run(test())


def test_cycles_leave_nothing_behind(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for number in range(100):
                client = await WebSocket.connect(server.url, "/ws")
                if number % 4 == 0:
                    client.reset()
                elif number % 4 == 1:
                    await client.frame(0x88, b"")
                    client.close()
                elif number % 4 == 2:
                    await client.text("return")
                    await client.read_close()
                    client.close()
                else:
                    await client.send(b"\xff\xff")
                    client.close()
            await server.empties()
            hub = server.server.app.hub
            await until(lambda: not hub.runners)
            assert hub.by_sid == {}
            assert hub.paths["/ws"].sockets == {}
            assert not server.server._tasks

    run(test())
