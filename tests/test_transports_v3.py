"""Engine.IO 3 and Socket.IO 4 over real connections: what an old client sends, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from wire import Live, WebSocket, Wire, ask, live, run, until

from redbarrel_lite import wsproto
from redbarrel_lite.engineio import Packet
from redbarrel_lite.engineio_v3 import Revision3
from redbarrel_lite.transports import EngineConnection

ECHO = """
    from redbarrel_lite import Refused

    async def echo(request):
        socket = request.socketio
        socket.send(socket.session.session_id)
        async for message in socket:
            if message == ["who"]:
                message.reply(socket.auth, request.GET.get("token"))
            elif message.wants_reply:
                message.reply(*message)
            elif message == ["bytes for all"]:
                request.server.broadcast(bytes(3))
            else:
                socket.emit(message.event, *message)

    def asked(globs, request):
        auth = request.socketio.auth
        if auth["token"] != "abc":
            raise Refused("not you", {"why": auth["why"]} if "why" in auth else None)
"""
RBR = """
    path sockets ( method SOCKETIO, use python:MODULE.echo, allow-eio3 on{} );
    path chat ( method SOCKETIO, use python:MODULE.echo, namespace /chat );
    path asked ( method SOCKETIO, on connect use python:MODULE.asked, namespace /asked );
"""
EIO3 = "/socket.io/?EIO=3"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def echo(folder: Path, *options: str) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(folder, RBR.format("".join(f", {option}" for option in options)), ECHO)


def sessions(server: Live) -> list[EngineConnection]:
    endpoints: Any = server.server._endpoints.values()
    return [session for endpoint in endpoints for session in endpoint._sessions.values()]


class OldPoller:
    """A client of Engine.IO 3 over polling, each request on a connection of its own."""

    def __init__(self, url: str, more: str = "") -> None:
        self.url = url
        self.more = more
        self.revision = Revision3()
        self.headers: dict[str, str] = {}
        self.sid = ""
        self._packets: list[Packet] = []

    @property
    def target(self) -> str:
        sid = f"&sid={self.sid}" if self.sid else ""
        return f"{EIO3}&transport=polling{self.more}{sid}"

    async def connect(self) -> dict[str, Any]:
        """Handshake, with what it says."""
        packet = await self.read()
        assert isinstance(packet, str)
        assert packet.startswith("0{")
        handshake: dict[str, Any] = json.loads(packet[1:])
        self.sid = handshake["sid"]
        return handshake

    async def get(self) -> Packet:
        status, self.headers, body = await ask(self.url, "GET", self.target)
        assert status == 200, body
        is_text = self.headers["content-type"] == "text/plain; charset=UTF-8"
        return body.decode() if is_text else body

    async def read(self) -> Packet:
        """The next packet, from as many polls as it takes."""
        while not self._packets:
            self._packets = list(self.revision.split(await self.get()))
        return self._packets.pop(0)

    async def post(self, payload: Packet, **headers: str) -> None:
        body = payload.encode() if isinstance(payload, str) else payload
        status, _, answer = await ask(self.url, "POST", self.target, body, **headers)
        assert (status, answer) == (200, b"ok")

    async def say(self, *packets: Packet) -> None:
        payload = self.revision.join(packets)
        kind = "text/plain" if isinstance(payload, str) else "application/octet-stream"
        await self.post(payload, Content_Type=kind)


async def connected(url: str, more: str = "") -> OldPoller:
    """A poller that has read its handshake, the CONNECT of "/", and a word from the handler."""
    poller = OldPoller(url, more)
    await poller.connect()
    assert await poller.read() == "40"
    assert await poller.read() == f'42["message","{poller.sid}"]'
    return poller


# -- polling -----------------------------------------------------------------------------


def test_server_opens_the_namespace_by_itself_and_the_sid_is_the_engine_s(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 7") as server:
            poller = OldPoller(server.url)
            handshake = await poller.connect()
            assert handshake == {
                "sid": poller.sid,
                "upgrades": ["websocket"],
                "pingInterval": 7000,
                "pingTimeout": 20000,
                "maxPayload": 1000000,
            }
            assert await poller.read() == "40"
            assert await poller.read() == f'42["message","{poller.sid}"]'

    run(test())


def test_old_and_new_clients_share_a_url_and_a_namespace(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            old = await connected(server.url)
            new = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
            await new.read()
            await new.text("40")
            assert (await new.read()).startswith('40{"sid":"')
            await new.read()
            await new.text('42["message","bytes for all"]')
            head = '451-["message",{"_placeholder":true,"num":0}]'
            assert await new.read() == head
            assert await new.read_frame() == (wsproto.BINARY, bytes(3))
            assert await old.read() == head
            assert await old.read() == bytes(3)

    run(test())


def test_poller_sends_and_receives(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            await poller.post('9:42["é",1]17:420["🐟",{"b":0}]1:2')
            assert await poller.get() == '1:39:42["é",1]12:430[{"b":0}]'

    run(test())


def test_binary_goes_as_bytes_where_the_client_can(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            head = '451-["a",{"_placeholder":true,"num":0}]'
            await poller.say(head, b"\x01\x02\xff")
            assert await poller.get() == Revision3().join([head, b"\x01\x02\xff"])
            assert poller.headers["content-type"] == "application/octet-stream"

    run(test())


def test_binary_goes_as_base64_where_it_cannot(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url, "&b64=1")
            head = '451-["a",{"_placeholder":true,"num":0}]'
            sent = f"{len(head)}:{head}6:b4AQL/"
            await poller.post(sent)
            assert await poller.get() == sent

    run(test())


@pytest.mark.parametrize("payload", ["", "abc", "1:3", "2:42", "4:4abc6:2probe", "3:b0A"])
def test_bad_payload_is_refused_and_ends_the_session(tmp_path: Path, payload: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            status, _, body = await ask(server.url, "POST", poller.target, payload.encode())
            assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')
            assert sessions(server) == []

    run(test())


def test_client_that_pings_stays_and_one_that_does_not_goes(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.2", "ping-timeout 0.1") as server:
            began = asyncio.get_running_loop().time()
            poller = await connected(server.url)
            await server.empties()
            assert asyncio.get_running_loop().time() - began > 0.2
            assert (await ask(server.url, "GET", poller.target))[2] == (
                b'{"code":1,"message":"Session ID unknown"}'
            )

    run(test())


def test_requests_of_two_versions_do_not_mix(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            target = poller.target.replace("EIO=3", "EIO=4")
            for method in ("GET", "POST"):
                status, _, body = await ask(server.url, method, target, b"1:2")
                assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')
            await poller.say("2")
            assert await poller.read() == "3"

    run(test())


def test_payload_over_the_limit_is_413_and_the_session_lives(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-payload 100") as server:
            poller = await connected(server.url)
            for kind in ("text/plain", "application/octet-stream"):
                answer = await ask(server.url, "POST", poller.target, bytes(101), Content_Type=kind)
                assert answer[::2] == (413, b"")
            await poller.say("2")
            assert await poller.read() == "3"

    run(test())


# -- namespaces --------------------------------------------------------------------------


def test_namespace_is_joined_and_its_sid_is_made_of_both(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            await poller.say("40/chat")
            assert await poller.read() == "40/chat,"
            assert await poller.read() == f'42/chat,["message","/chat#{poller.sid}"]'
            await poller.say('42/chat,["a",1]')
            assert await poller.read() == '42/chat,["a",1]'
            await poller.say("41/chat,", '421["b",[2,3]]')
            assert await poller.read() == "431[[2,3]]"

    run(test())


def test_query_behind_a_namespace_says_who_one_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url, "&token=xyz")
            await poller.say("40/chat?token=abc&empty=&u=%C3%A9,", '42/chat,7["message","who"]')
            assert await poller.read() == "40/chat,"
            await poller.read()
            who = '{"token":"abc","empty":"","u":"é"}'
            assert await poller.read() == f'43/chat,7[{who},"xyz"]'
            await poller.say('420["message","who"]')
            assert await poller.read() == '430[null,"xyz"]'

    run(test())


def test_refusals_are_bare(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            await poller.say("40/random")
            assert await poller.read() == '44/random,"Invalid namespace"'
            await poller.say("40/asked?token=no,")
            assert await poller.read() == '44/asked,"not you"'
            await poller.say("40/asked?token=no&why=because,")
            assert await poller.read() == '44/asked,{"why":"because"}'
            await poller.say("40/asked?token=abc,")
            assert await poller.read() == "40/asked,"

    run(test())


def test_rule_that_refuses_is_told_with_its_status(tmp_path: Path) -> None:
    rule = "request-headers ( unless X-Token is int return 402 )"

    async def test() -> None:
        async with echo(tmp_path, rule) as server:
            poller = OldPoller(server.url)
            await poller.connect()
            assert await poller.read() == '44{"status":402}'
            await poller.say("40/chat")
            assert await poller.read() == "40/chat,"

    run(test())


def test_file_without_the_usual_namespace_opens_none(tmp_path: Path) -> None:
    rbr = """
        path chat ( method SOCKETIO, use python:MODULE.echo, namespace /chat, allow-eio3 on );
    """

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            poller = OldPoller(server.url)
            await poller.connect()
            await poller.say("40/chat")
            assert await poller.read() == "40/chat,"

    run(test())


@pytest.mark.parametrize("packet", ["40", '42/chat,["a"]', "44/chat,{}", "40/chat,[1]"])
def test_packet_out_of_turn_ends_the_session(tmp_path: Path, packet: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            payload = f"{len(packet)}:{packet}".encode()
            assert (await ask(server.url, "POST", poller.target, payload))[0] == 400
            assert sessions(server) == []

    run(test())


# -- WebSocket, and the way to it ----------------------------------------------------------


async def old_websocket(url: str, more: str = "") -> WebSocket:
    websocket = await WebSocket.connect(url, f"{EIO3}&transport=websocket{more}")
    if "sid=" not in more:
        assert (await websocket.read()).startswith('0{"sid":"')
        assert await websocket.read() == "40"
        assert (await websocket.read()).startswith('42["message","')
    return websocket


def test_websocket_pings_and_echoes_text_and_binary(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await old_websocket(server.url)
            await websocket.text("2")
            assert await websocket.read() == "3"
            head = '451-["a",{"_placeholder":true,"num":0}]'
            await websocket.text(head)
            await websocket.frame(0x82, b"\x04\0\1")
            assert await websocket.read() == head
            assert await websocket.read_frame() == (wsproto.BINARY, b"\x04\0\1")
            await websocket.text(head)
            await websocket.text("b4AAE=")
            assert await websocket.read() == head
            assert await websocket.read_frame() == (wsproto.BINARY, b"\x04\0\1")

    run(test())


def test_websocket_of_who_cannot_read_bytes_gets_base64(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await old_websocket(server.url, "&b64=1")
            await websocket.text('42["message","bytes for all"]')
            assert await websocket.read() == '451-["message",{"_placeholder":true,"num":0}]'
            assert await websocket.read() == "b4AAAA"

    run(test())


@pytest.mark.parametrize("frame", [(0x82, b"\0\1"), (0x82, b""), (0x81, b"b!"), (0x81, b"3")])
def test_bad_packet_closes_the_websocket(tmp_path: Path, frame: tuple[int, bytes]) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await old_websocket(server.url)
            await websocket.frame(*frame)
            assert (await websocket.read_close())[0] == wsproto.POLICY_VIOLATION
            assert sessions(server) == []

    run(test())


def test_upgrade_moves_the_session_with_all_that_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            websocket = await old_websocket(server.url, f"&sid={poller.sid}")
            waiting = asyncio.create_task(poller.get())
            await until(server.busy)
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            assert await waiting == "1:6"
            head = '451-["a",{"_placeholder":true,"num":0}]'
            await poller.say(head, b"\1")
            await websocket.text("5")
            assert await websocket.read() == head
            assert await websocket.read_frame() == (wsproto.BINARY, b"\4\1")
            status, _, body = await ask(server.url, "GET", poller.target)
            assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')

    run(test())


def test_device_may_upgrade_without_a_probe(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            websocket = await old_websocket(server.url, f"&sid={poller.sid}")
            await websocket.text("5")
            await websocket.text('42["a"]')
            assert await websocket.read() == '42["a"]'

    run(test())


def test_bad_bytes_in_an_upgrade_leave_polling_unharmed(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            websocket = await old_websocket(server.url, f"&sid={poller.sid}")
            await websocket.frame(0x82, b"\0")
            assert (await websocket.read_close())[0] == wsproto.PROTOCOL_ERROR
            await poller.say("2")
            assert await poller.read() == "3"

    run(test())


# -- JSONP -------------------------------------------------------------------------------

PAGE = {"Referer": "http://a/page.html?x"}


async def script(server: Live, target: str, **headers: str) -> Packet:
    """The payload in the script at a target."""
    status, answer, body = await ask(server.url, "GET", target, b"", **headers)
    assert (status, answer["content-type"]) == (200, "text/javascript; charset=UTF-8"), body
    code = body.decode()
    assert code.startswith("___eio[7](")
    assert code.endswith(");")
    return str(json.loads(code[len("___eio[7](") : -len(");")]))


def test_page_speaks_in_scripts_and_forms(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            target = f"{EIO3}&transport=polling&j=7&b64=1"
            packets = list(Revision3().split(await script(server, target, **PAGE)))
            sid = json.loads(str(packets[0])[1:])["sid"]
            target = f"{EIO3}&transport=polling&j=7&sid={sid}"
            assert await script(server, target, **PAGE) == f'38:42["message","{sid}"]'
            head = '451-["a\\\\n",{"_placeholder":true,"num":0}]'
            form = f"{len(head)}:{head}6:b4AQL/".replace("\\n", "\\\\n")
            status, answer, body = await ask(
                server.url,
                "POST",
                target,
                urlencode({"d": form}).encode(),
                **PAGE,
                Content_Type="application/x-www-form-urlencoded",
            )
            assert (status, answer["content-type"], body) == (200, "text/html", b"ok")
            assert await script(server, target, **PAGE) == f"{len(head)}:{head}6:b4AQL/"

    run(test())


@pytest.mark.parametrize("form", ["", "e=1", "d=1:2&d=1:2", "d=%FF", "&" * 1000])
def test_bad_form_ends_the_session(tmp_path: Path, form: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            target = f"{EIO3}&transport=polling&j=7"
            await script(server, target, **PAGE)
            (connection,) = sessions(server)
            target += f"&sid={connection.session.sid}"
            assert (await ask(server.url, "POST", target, form.encode(), **PAGE))[0] == 400
            assert sessions(server) == []

    run(test())


def test_script_of_another_index_is_none_of_the_session_s(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            answer = await ask(server.url, "GET", f"{poller.target}&j=7", b"", **PAGE)
            assert answer[::2] == (400, b'{"code":3,"message":"Bad request"}')
            answer = await ask(server.url, "GET", f"{EIO3}&transport=polling&j=a", b"", **PAGE)
            assert answer[::2] == (400, b'{"code":3,"message":"Bad request"}')

    run(test())


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, False),
        ({"Referer": "http://a/"}, True),
        ({"Referer": "http://a"}, True),
        ({"Referer": "http://a:81/"}, False),
        ({"Referer": "http://a.evil/"}, False),
        ({"Referer": "http://a@evil/"}, False),
        ({"Referer": "https://evil/?http://a/"}, False),
        ({"Referer": "about:blank"}, False),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Referer": "https://evil/"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Origin": "http://a"}, True),
        ({"Origin": "https://evil", "Referer": "http://a/"}, False),
    ],
)
def test_script_must_say_of_which_page_it_is(
    tmp_path: Path, headers: dict[str, str], allowed: bool
) -> None:
    """It carries the cookies of its reader, and no Origin."""

    async def test() -> None:
        target = f"{EIO3}&transport=polling&j=7"
        async with echo(tmp_path) as server:
            status, _, body = await ask(server.url, "GET", target, b"", **headers)
            assert status == (200 if allowed else 403)
            assert allowed or body == b'{"code":4,"message":"Forbidden"}'
            assert len(sessions(server)) == allowed

    run(test())


def test_script_of_any_page_may_where_all_may(tmp_path: Path) -> None:
    async def test() -> None:
        target = f"{EIO3}&transport=polling&j=7"
        async with echo(tmp_path, 'allow-origin "*"') as server:
            await script(server, target)
            await script(server, target, Referer="https://other.example/")
        async with echo(tmp_path, 'allow-origin "https://other.example"') as server:
            await script(server, target, Referer="https://other.example/page")
            assert (await ask(server.url, "GET", target))[0] == 403

    run(test())


def test_index_means_nothing_to_a_new_client(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            target = "/socket.io/?EIO=4&transport=polling&j=7"
            status, answer, body = await ask(server.url, "GET", target)
            assert (status, answer["content-type"]) == (200, "text/plain; charset=UTF-8")
            assert body.startswith(b'0{"sid":"')

    run(test())


# -- off, as it is by default ------------------------------------------------------------


def test_old_client_is_refused_and_the_log_says_once_what_to_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rbr = "path sockets ( method SOCKETIO, use python:MODULE.echo );"

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            for _ in range(3):
                status, _, body = await ask(server.url, "GET", f"{EIO3}&transport=polling")
                assert (status, body) == (
                    400,
                    b'{"code":5,"message":"Unsupported protocol version"}',
                )
                target = f"{EIO3}&transport=websocket"
                status, _, body = await ask(server.url, "GET", target, b"", **UPGRADE)
                assert (status, body) == (400, b"Unsupported protocol version")
            await ask(server.url, "GET", "/socket.io/?EIO=2&transport=polling")

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"] == [
        "127.0.0.1: a client of Engine.IO 3, as socket.io-client 2 is, was refused at"
        " /socket.io/; to let such clients in, write: allow-eio3 on",
        "127.0.0.1: Unsupported protocol version",
    ]


# -- the end -----------------------------------------------------------------------------


def test_end_of_the_server_is_told_to_old_clients(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            websocket = await old_websocket(server.url)
            waiting = asyncio.create_task(poller.get())
            await until(server.busy)
            closing = asyncio.create_task(server.server.close(1.0))
            assert await waiting == "1:1"
            assert (await websocket.read_close())[0] == wsproto.GOING_AWAY
            websocket.close()
            await closing

    run(test())


def test_bytes_of_a_session_s_life_in_any_pieces(tmp_path: Path) -> None:
    """The network cuts as it likes; here at every byte of the request."""

    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await connected(server.url)
            body = Revision3().join(['451-["a",{"_placeholder":true,"num":0}]', b"\1\xff"])
            assert isinstance(body, bytes)
            head = (
                f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
                "Content-Type: application/octet-stream\r\n\r\n"
            )
            wire = await Wire.open(server.url)
            for byte in head.encode() + body:
                await wire.send(bytes((byte,)))
            assert (await wire.answer())[::2] == (200, b"ok")
            assert await poller.get() == body

    run(test())
