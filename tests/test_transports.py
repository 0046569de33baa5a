"""Engine.IO sessions over real connections: polling, WebSocket, the upgrade, and the end.

Each answer is the reference server's: clients compare some of them letter by letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import zlib
from pathlib import Path

import pytest
from wire import (
    PATIENCE_S,
    SOCKET_IO,
    Live,
    Poller,
    WebSocket,
    Wire,
    ask,
    hang_up,
    live,
    run,
    socketio,
    until,
)

from redbarrel_lite import transports, wsproto
from redbarrel_lite import websocket as websocket_room
from redbarrel_lite.deflate import Agreement
from redbarrel_lite.endpoint import Endpoint

# An echo that notes what becomes of its sockets.
ECHO = """
    import asyncio, threading
    ended = []
    async def echo(request):
        socket = request.socketio
        socket.send("hello")
        async for message in socket:
            if message == ["cast"]:
                socket.broadcast("from " + socket.transport)
            elif message.wants_reply:
                message.reply(*message)
            else:
                socket.emit(message.event, *message)
        ended.append(socket.connected())
"""
RBR = "path sockets ( method SOCKETIO, use python:MODULE.echo{} );"


def echo(folder: Path, *options: str) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(folder, RBR.format("".join(f", {option}" for option in options)), ECHO)


def sessions(server: Live) -> int:
    return sum(map(len, server.server._endpoints.values()))


# -- polling -----------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_is_displaced_by_an_older_connection_is_told_so(tmp_path: Path, transport: str) -> None:
    """Its CONNECT was long under way; the client has come back already, and must do so again."""

    async def test() -> None:
        async with echo(tmp_path, "recovery 60") as server:
            target = f"{SOCKET_IO}&transport=websocket"
            late = await WebSocket.connect(server.url, target)
            assert (await late.read()).startswith("0{")
            if transport == "polling":
                poller = Poller(server.url)
                await poller.handshake()
                await poller.post("40")
                answer, hello = await poller.read(), await poller.read()
            else:
                websocket = await WebSocket.connect(server.url, target)
                await websocket.read()
                await websocket.text("40")
                answer, hello = await websocket.read(), await websocket.read()
            assert hello == '42["message","hello","1"]'
            claims = json.loads(answer[2:]) | {"offset": "1"}
            await late.text("40" + json.dumps(claims))
            assert json.loads((await late.read())[2:]) == json.loads(answer[2:])
            if transport == "polling":
                assert await poller.read() == "1"
            else:
                assert await websocket.read_close() == (1000, "transport close")

    run(test())


def test_poller_sends_and_receives(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            assert await poller.read() == '42["message","hello"]'
            await poller.post('42["a",1]\x1e42["b",{"c":[]}]\x1e430["unasked"]\x1e421["d"]')
            assert await poller.get() == '42["a",1]\x1e42["b",{"c":[]}]\x1e431[]'

    run(test())


def test_binary_goes_as_base64_over_polling(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            assert await poller.read() == '42["message","hello"]'
            await poller.post('451-["a",{"_placeholder":true,"num":0}]\x1ebAQID')
            assert await poller.get() == '451-["a",{"_placeholder":true,"num":0}]\x1ebAQID'

    run(test())


def test_many_packets_are_polled_in_order_and_few_at_a_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            for start in range(0, 200, 100):
                await poller.post("\x1e".join(f'42["n",{n}]' for n in range(start, start + 100)))
            got: list[str] = []
            await poller.read()
            while len(got) < 200:
                packets = (await poller.get()).split("\x1e")
                assert len(packets) <= 16
                got += packets
            assert got == [f'42["n",{n}]' for n in range(200)]

    run(test())


def test_second_get_ends_the_session_and_releases_the_first(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = Poller(server.url)
            await poller.handshake()
            first = await Wire.open(server.url)
            await first.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(server.busy)
            status, _, body = await ask(server.url, "GET", poller.target)
            assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')
            assert (await first.answer())[::2] == (200, b"1")
            assert sessions(server) == 0

    run(test())


def test_close_packet_releases_the_waiting_poll(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = Poller(server.url)
            await poller.handshake()
            waiting = asyncio.create_task(poller.get())
            await until(server.busy)
            await poller.post("1")
            assert await waiting == "6"
            assert (await ask(server.url, "POST", poller.target, b"4a"))[0] == 400

    run(test())


def test_aborted_poll_ends_the_session_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for leave in (Wire.close, Wire.reset):
                poller = await Poller.connect(server.url)
                await poller.read()
                wire = await Wire.open(server.url)
                await wire.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")
                await until(server.busy)
                leave(wire)
                await server.empties()

    run(test())


def test_poller_that_vanishes_is_noticed_by_its_missing_pong(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.1", "ping-timeout 2") as server:
            poller = await Poller.connect(server.url)
            await server.empties()
            assert (await ask(server.url, "GET", poller.target))[0] == 400

    run(test())


def test_poller_that_answers_pings_stays_and_is_asked_again(tmp_path: Path) -> None:
    """However long the answer to a ping may take, the next one comes an interval after it."""

    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.05", "ping-timeout 600") as server:
            poller = await Poller.connect(server.url)
            pings = 0
            while pings < 8:
                if "2" in (await poller.get()).split("\x1e"):
                    pings += 1
                    await poller.post("3")
            assert sessions(server) == 1

    run(test())


@pytest.mark.parametrize(
    "payload",
    ["", "\x1e", "4a\x1e", "\x1e4a", "9", "abc", "b!!!!", "4a\x1e9", "2", "5", "6", "3x"],
)
def test_bad_payload_is_refused_and_ends_the_session(tmp_path: Path, payload: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = Poller(server.url)
            await poller.handshake()
            status, _, body = await ask(server.url, "POST", poller.target, payload.encode())
            assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')
            assert sessions(server) == 0
            await server.serves()

    run(test())


def test_payload_of_another_kind_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for body, kind in ((b"\xff\xfe", "text/plain"), (b"4a", "application/octet-stream")):
                poller = Poller(server.url)
                await poller.handshake()
                answer = await ask(server.url, "POST", poller.target, body, Content_Type=kind)
                assert answer[0] == 400
                assert sessions(server) == 0

    run(test())


def test_payload_over_the_limit_is_413_and_the_session_lives(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-payload 100") as server:
            poller = await Poller.connect(server.url)
            head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\n"
            for body in (
                "Transfer-Encoding: chunked\r\n\r\n" + f"32\r\n{'4' * 50}\r\n" * 2 + "1\r\n4",
                "Content-Length: 1000000000\r\n\r\n4",
            ):  # and no more of it: it is refused while it is read
                wire = await Wire.open(server.url)
                await wire.send(head + body)
                status, headers, content = await wire.answer()
                assert (status, headers["connection"], content) == (413, "close", b"")
            assert (await ask(server.url, "POST", poller.target, b"4" * 101))[::2] == (413, b"")
            await poller.post('42["' + "x" * 94 + '"]')
            assert sessions(server) == 1

    run(test())


# -- WebSocket -----------------------------------------------------------------------


def test_websocket_echoes_text_and_binary(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await socketio(server.url)
            assert await websocket.read() == '42["message","hello"]'
            await websocket.text('42["a","ü"]')
            assert await websocket.read() == '42["a","ü"]'
            await websocket.text('451-["b",{"_placeholder":true,"num":0}]')
            await websocket.frame(0x82, b"\0\1")
            assert await websocket.read() == '451-["b",{"_placeholder":true,"num":0}]'
            assert await websocket.read_frame() == (wsproto.BINARY, b"\0\1")
            await websocket.frame(0x89, b"ping")
            assert await websocket.read_frame() == (wsproto.PONG, b"ping")
            await websocket.frame(0x88, b"\x03\xe8")
            assert await websocket.read_close() == (1000, "")
            assert await websocket.rest() == b""
            await server.empties()

    run(test())


def test_frame_in_the_segment_of_the_handshake_is_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            wire = await WebSocket.open(server.url)
            frame = b"\x81\x82\0\0\0\0" + b"40"
            await wire.send(
                f"GET {SOCKET_IO}&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
                + frame
            )
            assert isinstance(wire, WebSocket)
            assert (await wire.answer())[0] == 101
            assert (await wire.read()).startswith("0{")
            assert (await wire.read()).startswith("40{")

    run(test())


BAD_MESSAGES = ["", "9", "4", "42", '42["a"', "3x", '42["connect"]', "440{}", '41["x"]', "40[]"]


@pytest.mark.parametrize("message", BAD_MESSAGES)
def test_bad_packet_closes_the_websocket_with_a_reason(
    tmp_path: Path, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await socketio(server.url)
            await websocket.text(message)
            code, reason = await websocket.read_close()
            assert code == wsproto.POLICY_VIOLATION
            assert reason
            websocket.close()
            await server.empties()

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    (line,) = [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"]
    assert "\n" not in line


def test_broken_frame_closes_the_websocket_with_the_rule(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-payload 1000") as server:
            for data, code in (
                (b"\x81\x05Hello", wsproto.PROTOCOL_ERROR),
                (b"\x81\xfe\x03\xe9\0\0\0\0", wsproto.MESSAGE_TOO_BIG),
                (b"\x81\x81\0\0\0\0\xff", wsproto.INVALID_PAYLOAD),
            ):
                websocket = await socketio(server.url)
                await websocket.send(data)
                assert (await websocket.read_close())[0] == code
                websocket.close()
            await server.empties()

    run(test())


def test_websocket_that_never_connects_is_closed_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "connect-timeout 0.1") as server:
            websocket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await websocket.read()
            await websocket.read_close()
            websocket.close()
            await server.empties()

    run(test())


def test_websocket_that_does_not_pong_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.1", "ping-timeout 2") as server:
            websocket = await socketio(server.url)
            await websocket.read()
            assert await websocket.read() == "2"
            await websocket.text("3")
            assert await websocket.read() == "2"
            await websocket.read_close()

    run(test())


def test_websocket_that_pongs_is_asked_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.05", "ping-timeout 600") as server:
            websocket = await socketio(server.url)
            await websocket.read()
            for _ in range(3):
                assert await websocket.read() == "2"
                await websocket.text("3")

    run(test())


def test_websocket_that_ignores_our_close_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_room, "CLOSE_TIMEOUT_S", 0.1)

    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await socketio(server.url)
            await websocket.text("9")
            await websocket.read_close()
            await websocket.rest()
            await server.empties()

    run(test())


BAD_UPGRADES = {
    "no key": ({"Sec-WebSocket-Key": ""}, 400),
    "old version": ({"Sec-WebSocket-Version": "8"}, 426),
    "no upgrade token": ({"Connection": "keep-alive"}, 400),
    "no list of extensions": ({"Sec-WebSocket-Extensions": "permessage-deflate;;"}, 400),
}


@pytest.mark.parametrize("name", BAD_UPGRADES)
def test_bad_handshake_is_refused_and_closes(tmp_path: Path, name: str) -> None:
    fields, status = BAD_UPGRADES[name]

    async def test() -> None:
        async with echo(tmp_path, "compression on") as server:
            wire = await Wire.open(server.url)
            headers = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            } | fields
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            target = f"{SOCKET_IO}&transport=websocket"
            await wire.send(
                f"GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n"
                "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            answer = await wire.rest()
            assert answer.startswith(b"HTTP/1.1 %d " % status)
            assert answer.count(b"HTTP/1.1") == 1
            assert (b"sec-websocket-version: 13" in answer) is (status == 426)
            assert sessions(server) == 0

    run(test())


# -- compression (RFC 7692) ---------------------------------------------------------------


async def compressing(url: str, offer: str = "permessage-deflate") -> WebSocket:
    headers = {"Sec-WebSocket-Extensions": offer}
    websocket = await WebSocket.connect(url, f"{SOCKET_IO}&transport=websocket", **headers)
    await websocket.read()
    await websocket.text("40")
    await websocket.read()
    assert await websocket.read() == '42["message","hello"]'
    return websocket


def inflated(frame: tuple[int, bytes], bits: int = 15) -> str:
    opcode, payload = frame
    assert opcode == wsproto.TEXT | wsproto.RSV1
    return zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff").decode()


def test_compression_is_agreed_on_where_the_path_allows_it(tmp_path: Path) -> None:
    async def test() -> None:
        answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        async with echo(tmp_path, "compression on") as server:
            websocket = await compressing(server.url)
            assert websocket.answered["sec-websocket-extensions"] == answer
            websocket = await compressing(
                server.url, "permessage-deflate; server_max_window_bits=9"
            )
            assert websocket.answered["sec-websocket-extensions"] == (
                f"{answer}; server_max_window_bits=9"
            )
            for offer in ("x-other", "permessage-deflate; server_max_window_bits=8"):
                websocket = await compressing(server.url, offer)
                assert "sec-websocket-extensions" not in websocket.answered
        async with echo(tmp_path) as server:
            websocket = await compressing(server.url)
            assert "sec-websocket-extensions" not in websocket.answered

    run(test())


def test_long_messages_are_compressed_both_ways(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "compression on") as server:
            websocket = await compressing(server.url)
            text = '42["a","' + "x" * 5000 + '"]'
            compressor = zlib.compressobj(wbits=-15)
            payload = compressor.compress(text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
            await websocket.frame(wsproto.FIN | wsproto.RSV1 | wsproto.TEXT, payload[:-4])
            frame = await websocket.read_frame()
            assert len(frame[1]) < 200
            assert inflated(frame) == text
            await websocket.text('42["short"]')  # as it is, and so is its answer
            assert await websocket.read() == '42["short"]'

    run(test())


def test_broadcast_is_compressed_once_for_all_of_one_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        made = []
        compress = Agreement.compress

        def counting(agreement: Agreement, payload: bytes) -> bytes | None:
            made.append(agreement.window_bits)
            return compress(agreement, payload)

        monkeypatch.setattr(Agreement, "compress", counting)
        async with echo(tmp_path, "compression on") as server:
            small = "permessage-deflate; server_max_window_bits=9"
            clients = [await compressing(server.url) for _ in range(3)]
            narrow = [await compressing(server.url, small) for _ in range(2)]
            plain = await socketio(server.url)
            assert await plain.read() == '42["message","hello"]'
            made.clear()
            server.server.app.hub.broadcast("word " * 1000)
            text = '42["message","' + "word " * 1000 + '"]'
            frames = [await websocket.read_frame() for websocket in clients]
            assert len(set(frames)) == 1
            assert inflated(frames[0]) == text
            for websocket in narrow:
                assert inflated(await websocket.read_frame(), 9) == text
            assert await plain.read() == text
            assert sorted(made) == [9, 15]

    run(test())


def test_bomb_closes_its_own_connection_only(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "compression on") as server:
            other, websocket = await compressing(server.url), await compressing(server.url)
            compressor = zlib.compressobj(9, wbits=-15)
            bomb = compressor.compress(bytes(50_000_000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
            await websocket.frame(wsproto.FIN | wsproto.RSV1 | wsproto.BINARY, bomb[:-4])
            assert await websocket.read_close() == (wsproto.MESSAGE_TOO_BIG, "")
            await other.text('42["still there"]')
            assert await other.read() == '42["still there"]'

    run(test())


def test_message_in_more_fragments_than_the_path_allows_is_1009(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-fragments 3") as server:
            websocket = await socketio(server.url)
            assert await websocket.read() == '42["message","hello"]'
            for first, part in ((0x01, b"42["), (0x00, b'"a"'), (0x80, b"]")):
                await websocket.frame(first, part)
            assert await websocket.read() == '42["a"]'
            for first in (0x01, 0x00, 0x00, 0x80):
                await websocket.frame(first, b"")
            assert (await websocket.read_close())[0] == wsproto.MESSAGE_TOO_BIG

    run(test())


# -- the upgrade -----------------------------------------------------------------------


def test_upgrade_moves_the_session_and_keeps_the_order(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            await poller.read()
            waiting = asyncio.create_task(poller.get())
            websocket = await WebSocket.connect(
                server.url, f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            )
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            assert await waiting == "6"
            await poller.post('42["n",1]')  # answered while no poll waits and none is to come
            await websocket.text("5")
            await websocket.text('42["n",2]')
            assert await websocket.read() == '42["n",1]'
            assert await websocket.read() == '42["n",2]'
            assert (await ask(server.url, "GET", poller.target))[2] == (
                b'{"code":3,"message":"Bad request"}'
            )
            assert (await ask(server.url, "POST", poller.target, b"4a"))[0] == 400

    run(test())


def test_client_that_upgrades_without_waiting_loses_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            await poller.read()
            waiting = asyncio.create_task(poller.get())
            await until(server.busy)
            websocket = await WebSocket.connect(
                server.url, f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            )
            frames = [b"2probe", b"5", b'42["n",1]']
            await websocket.send(
                b"".join(bytes((0x81, 0x80 | len(f))) + bytes(4) + f for f in frames)
            )
            assert await waiting == "6"
            assert await websocket.read() == "3probe"
            assert await websocket.read() == '42["n",1]'

    run(test())


@pytest.mark.parametrize("frames", [["2wrong"], ["5"], ["2probe", "2probe"], ["2probe", "4a"]])
def test_bad_probe_is_closed_and_polling_goes_on(tmp_path: Path, frames: list[str]) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            websocket = await WebSocket.connect(
                server.url, f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            )
            for frame in frames:
                await websocket.text(frame)
            assert (await websocket.read_close())[0] == wsproto.PROTOCOL_ERROR
            assert await poller.read() == '42["message","hello"]'

    run(test())


def test_probe_that_falls_silent_or_goes_leaves_polling_unharmed(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "upgrade-timeout 0.1") as server:
            poller = await Poller.connect(server.url)
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            silent = await WebSocket.connect(server.url, target)
            await silent.text("2probe")
            assert await silent.read() == "3probe"
            second = await WebSocket.connect(server.url, target)  # one upgrade at a time
            assert (await second.read_close())[0] == wsproto.POLICY_VIOLATION
            await silent.read_close()
            gone = await WebSocket.connect(server.url, target)
            gone.reset()
            await poller.post('42["still"]')
            assert await poller.read() == '42["message","hello"]'
            assert await poller.read() == '42["still"]'

    run(test())


def test_websocket_for_an_upgraded_session_is_closed_and_the_first_lives(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            await poller.read()
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            first = await WebSocket.connect(server.url, target)
            await first.text("2probe")
            await first.text("5")
            assert await first.read() == "3probe"
            second = await WebSocket.connect(server.url, target)
            # What it says all the same, before it has read that it is not wanted.
            await second.text("2probe")
            await second.text("5")
            await second.text('42["stolen"]')
            await second.read_close()
            await first.text('42["a"]')
            assert await first.read() == '42["a"]'

    run(test())


def test_one_of_many_websockets_that_race_has_the_session(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            await poller.read()
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            racers = [await WebSocket.connect(server.url, target) for _ in range(5)]
            for racer in reversed(racers):
                await racer.text("2probe")
            for racer in racers[1:]:
                assert (await racer.read_close())[0] == wsproto.POLICY_VIOLATION
            assert await racers[0].read() == "3probe"
            await racers[0].text("5")
            await racers[0].text('42["won"]')
            assert await racers[0].read() == '42["won"]'
            assert sessions(server) == 1

    run(test())


def test_binary_or_overlong_first_message_closes_the_websocket(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for first, message, code in (
                (0x82, b"\0\1", wsproto.POLICY_VIOLATION),
                (0x81, b"", wsproto.POLICY_VIOLATION),
                (0x81, b"4" + bytes(1 << 20), wsproto.MESSAGE_TOO_BIG),
            ):
                websocket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
                await websocket.read()
                await websocket.frame(first, message)
                assert (await websocket.read_close())[0] == code
                await until(lambda: sessions(server) == 0)
            websocket = await socketio(server.url)
            assert await websocket.read() == '42["message","hello"]'
            text = '42["' + "x" * (1_000_000 - 6) + '"]'  # the limit to the byte
            await websocket.text(text)
            assert await websocket.read() == text

    run(test())


def test_pongs_by_the_thousand_set_no_timer(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await socketio(server.url)
            poller = await Poller.connect(server.url)
            (endpoint,) = server.server._endpoints.values()
            assert isinstance(endpoint, Endpoint)
            timers = [connection._timer for connection in endpoint._sessions.values()]
            await websocket.send(b"\x81\x81\0\0\0\x003" * 10_000)
            await poller.post("\x1e".join(["3"] * 1000))
            await websocket.text('42["still"]')
            await websocket.read()
            assert await websocket.read() == '42["still"]'
            assert [connection._timer for connection in endpoint._sessions.values()] == timers

    run(test())


def test_volatile_message_reaches_only_who_waits_for_it(tmp_path: Path) -> None:
    source = """
        async def echo(request):
            async for message in request.socketio:
                request.socketio.emit("now", message[0], volatile=True)
                request.socketio.emit("ever", message[0])
    """

    async def test() -> None:
        async with live(tmp_path, RBR.format(""), source) as server:
            websocket = await socketio(server.url)
            await websocket.text('42["x",1]')
            assert await websocket.read() == '42["now",1]'
            assert await websocket.read() == '42["ever",1]'
            poller = await Poller.connect(server.url)
            await poller.post('42["x",2]')  # no poll waits
            assert await poller.get() == '42["ever",2]'
            waiting = asyncio.create_task(poller.get())
            await until(server.busy)
            await poller.post('42["x",3]')
            assert await waiting == '42["now",3]\x1e42["ever",3]'

    run(test())


def test_awaited_send_waits_for_a_poller_to_come(tmp_path: Path) -> None:
    source = """
        sent = []
        async def echo(request):
            for number in range(3):
                await request.socketio.send(str(number) * 100_000)
                sent.append(number)
    """

    async def test() -> None:
        async with live(tmp_path, RBR.format(""), source) as server:
            poller = Poller(server.url)
            await poller.handshake()
            await poller.post("40")
            for number in range(3):
                await until(lambda: server.module.sent == list(range(number)))  # noqa: B023
                while not (packet := await poller.read()).startswith("42"):
                    pass
                assert packet == f'42["message","{str(number) * 100_000}"]'
            await until(lambda: server.module.sent == [0, 1, 2])

    run(test())


def test_connection_is_read_when_the_last_of_its_sockets_has_caught_up(tmp_path: Path) -> None:
    source = """
        import asyncio
        go = {"/": asyncio.Event(), "/two": asyncio.Event()}
        heard = []
        async def echo(request):
            await go[request.socketio.namespace].wait()
            async for message in request.socketio:
                heard.append(request.socketio.namespace)
    """
    rbr = RBR.format("") + "path two ( method SOCKETIO, use python:MODULE.echo, namespace /two );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            websocket = await socketio(server.url)
            await websocket.text("40/two,")
            await websocket.read()
            (endpoint,) = server.server._endpoints.values()
            assert isinstance(endpoint, Endpoint)
            (connection,) = endpoint._sessions.values()
            texts = [b'42["n"]', b'42/two,["n"]'] * 300  # in one piece: both pause it
            frames = [bytes((0x81, 0x80 | len(text))) + bytes(4) + text for text in texts]
            await websocket.send(b"".join(frames))
            await until(lambda: connection._paused == 2)
            server.module.go["/"].set()
            await until(lambda: connection._paused == 1)
            assert connection._websocket is not None
            assert connection._websocket._transport is not None
            assert not connection._websocket._transport.is_reading()
            server.module.go["/two"].set()
            await until(lambda: len(server.module.heard) == 600)
            assert connection._paused == 0

    run(test())


def test_pause_outlives_an_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that does not read pauses its client, over whichever transport it comes."""
    source = """
        import asyncio
        go = asyncio.Event()
        heard = []
        async def echo(request):
            await go.wait()
            async for message in request.socketio:
                heard.append(message[0])
    """

    async def test() -> None:
        async with live(tmp_path, RBR.format(""), source) as server:
            poller = await Poller.connect(server.url)
            posting = asyncio.create_task(
                poller.post("\x1e".join(f'42["n",{number}]' for number in range(300)))
            )
            (endpoint,) = server.server._endpoints.values()
            assert isinstance(endpoint, Endpoint)
            (connection,) = endpoint._sessions.values()
            await until(lambda: connection._paused == 1)
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            websocket = await WebSocket.connect(server.url, target)
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            await websocket.text("5")
            await until(lambda: connection.transport == "websocket")
            assert connection._websocket is not None
            assert connection._websocket._transport is not None
            assert not connection._websocket._transport.is_reading()
            await websocket.text('42["n",300]')
            server.module.go.set()
            await posting
            await until(lambda: len(server.module.heard) == 301)
            assert server.module.heard == list(range(301))

    run(test())


def test_post_that_its_client_gives_up_after_the_upgrade_is_no_loss(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(""), PUSH) as server:
            poller = await Poller.connect(server.url)
            wire = await Wire.open(server.url)
            payload = "\x1e".join(['42["unread"]'] * 300)
            head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\n"
            await wire.send(f"{head}Content-Length: {len(payload)}\r\n\r\n{payload}")
            (endpoint,) = server.server._endpoints.values()
            assert isinstance(endpoint, Endpoint)
            (connection,) = endpoint._sessions.values()
            await until(lambda: connection._paused == 1)
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            websocket = await WebSocket.connect(server.url, target)
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            await websocket.text("5")
            await until(lambda: connection.transport == "websocket")
            wire.reset()
            await until(lambda: connection._held_post is None)
            assert sessions(server) == 1

    run(test())


# -- who does not read, and who must not speak ----------------------------------------

PUSH = """
    import asyncio, threading
    states = []
    async def echo(request):
        socket = request.socketio
        if socket.auth:
            async for message in socket:
                for _ in range(int(message[0])):
                    socket.broadcast("x" * 10_000)
                message.reply()
        while socket.connected():
            await asyncio.sleep(0.01)
        states.append("gone")
"""


def test_client_that_does_not_read_is_dropped_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(""), PUSH) as server:
            stuck_poller = await Poller.connect(server.url)
            stuck = await socketio(server.url)
            stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
            reader = await socketio(server.url)
            sender = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await sender.text('40{"push":true}')
            await sender.read()
            await sender.read()
            count = 100
            for number in range(20):
                await sender.text(f'42{number}["push",{count}]')
                for _ in range(count):
                    assert len(await reader.read()) == 10_016
                assert await sender.read() == f"43{number}[]"
            assert (await ask(server.url, "GET", stuck_poller.target))[0] == 400
            assert sessions(server) == 2

    run(test())
    lines = [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"]
    assert sorted(lines) == ["127.0.0.1 does not poll: dropped", "127.0.0.1 does not read: dropped"]


def test_handler_that_does_not_read_pauses_its_client_and_sees_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LOOK_EVERY_S", 0.05)

    async def test() -> None:
        async with live(
            tmp_path, RBR.format(", ping-interval 0.3, ping-timeout 0.3"), PUSH
        ) as server:
            client = await socketio(server.url)
            (websocket,) = server.server.connections
            sent = 0
            assert isinstance(websocket, websocket_room.WebSocket)
            assert websocket._transport is not None
            while websocket._transport.is_reading():
                await client.text('42["unread"]')
                sent += 1
                assert sent < 2000
                await asyncio.sleep(0)
            await asyncio.sleep(1.0)  # no pong is read, and nobody is blamed for it
            assert sessions(server) == 1
            client.reset()
            await server.empties()

    run(test())


def test_post_waits_while_the_handler_does_not_read(tmp_path: Path) -> None:
    source = """
        import asyncio
        go = asyncio.Event()
        async def echo(request):
            await go.wait()
            async for message in request.socketio:
                pass
        async def release(request):
            go.set()
            return "released"
    """
    rbr = RBR.format("") + "path release ( url /release, use python:MODULE.release );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            poller = await Poller.connect(server.url)
            payload = "\x1e".join(['42["unread"]'] * 300)
            post = asyncio.create_task(poller.post(payload))
            await until(server.busy)
            done, _ = await asyncio.wait([post], timeout=0.2)
            assert not done
            assert (await ask(server.url, "GET", "/release"))[2] == b"released"
            await post

    run(test())


def test_second_post_while_one_is_held_ends_the_session(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(""), PUSH) as server:
            poller = await Poller.connect(server.url)
            wire = await Wire.open(server.url)
            payload = "\x1e".join(['42["unread"]'] * 300)
            head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\n"
            await wire.send(f"{head}Content-Length: {len(payload)}\r\n\r\n{payload}")
            await until(server.busy)
            assert (await ask(server.url, "POST", poller.target, b'42["more"]'))[0] == 400
            assert sessions(server) == 0

    run(test())


async def half_a_post(poller: Poller, payload: str, length: str) -> Wire:
    """A POST whose body has begun: the server knows."""
    wire = await Wire.open(poller.url)
    await wire.send(
        f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{length}\r\n\r\n"
    )
    assert (await wire.answer())[0] == 100
    await wire.send(payload)
    return wire


def test_second_post_while_one_is_on_its_way_ends_the_session(tmp_path: Path) -> None:
    """Engine.IO, "Sending data": not more than one active POST."""

    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            first = await half_a_post(poller, '42["m', "Content-Length: 12")
            status, _, body = await ask(server.url, "POST", poller.target, b'42["n"]')
            assert (status, body) == (400, b'{"code":3,"message":"Bad request"}')
            assert sessions(server) == 0
            await first.send('sgs",1]')
            assert (await first.answer())[0] == 400

            poller = await Poller.connect(server.url)
            await half_a_post(poller, "", "Content-Length: 7")
            second = await Wire.open(server.url)
            await second.send(
                f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n4"
            )
            assert (await second.answer())[0] == 400
            assert sessions(server) == 0
            await server.serves()

    run(test())


def test_poller_that_goes_in_the_midst_of_a_post_is_gone(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            (await half_a_post(poller, '42["m', "Content-Length: 12")).close()
            await until(lambda: sessions(server) == 0)
            await server.empties()

    run(test())


def test_post_after_one_that_was_refused_halfway_is_welcome(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-payload 100") as server:
            poller = await Poller.connect(server.url)
            assert await poller.read() == '42["message","hello"]'
            wire = await half_a_post(poller, f"65\r\n{'4' * 101}\r\n", "Transfer-Encoding: chunked")
            assert (await wire.answer())[0] == 413
            await poller.post('42["message",1]')
            wire.close()
            assert await poller.read() == '42["message",1]'

    run(test())


@pytest.mark.parametrize("hang_up_post", [True, False])
def test_paused_poller_that_does_not_poll_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hang_up_post: bool
) -> None:
    monkeypatch.setattr(transports, "LOOK_EVERY_S", 0.05)

    async def test() -> None:
        limits = ", ping-interval 0.1, ping-timeout 0.1"
        async with live(tmp_path, RBR.format(limits), PUSH) as server:
            poller = await Poller.connect(server.url)
            wire = await Wire.open(server.url)
            payload = "\x1e".join(['42["unread"]'] * 300)
            head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\n"
            await wire.send(f"{head}Content-Length: {len(payload)}\r\n\r\n{payload}")
            await until(server.busy)
            if hang_up_post:
                wire.close()
            await until(lambda: sessions(server) == 0)

    run(test())


def test_paused_poller_that_polls_is_there_however_much_it_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LOOK_EVERY_S", 0.05)

    async def test() -> None:
        limits = ", ping-interval 0.1, ping-timeout 0.1"
        async with live(tmp_path, RBR.format(limits), PUSH) as server:
            poller = await Poller.connect(server.url)
            posting = asyncio.create_task(poller.post("\x1e".join(['42["unread"]'] * 300)))
            (endpoint,) = server.server._endpoints.values()
            assert isinstance(endpoint, Endpoint)
            (connection,) = endpoint._sessions.values()
            await until(lambda: connection._paused == 1)
            end = asyncio.get_running_loop().time() + 0.6  # three times the client's patience
            while asyncio.get_running_loop().time() < end:
                server.server.app.hub.broadcast("x")  # there is always something to fetch
                assert "x" in await poller.get()
            assert sessions(server) == 1
            posting.cancel()

    run(test())


def test_heavy_messages_pause_reading_before_many_have_come(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR.format(""), PUSH) as server:
            client = await socketio(server.url)
            (websocket,) = server.server.connections
            assert isinstance(websocket, websocket_room.WebSocket)
            sending = asyncio.create_task(
                client.send(b"".join([masked('42["' + "x" * 900_000 + '"]')] * 20))
            )
            transport = websocket._transport
            assert transport is not None
            await until(lambda: not transport.is_reading())
            (socket,) = server.server.app.hub.sockets()
            assert socket._runner is not None
            assert socket._runner.waiting() <= 3  # type: ignore[attr-defined]
            sending.cancel()
            client.reset()  # what it has not sent yet would keep the connection

    run(test())


def masked(text: str) -> bytes:
    payload = text.encode()
    return bytes((0x81, 0xFF)) + len(payload).to_bytes(8, "big") + bytes(4) + payload


def test_message_larger_than_the_queue_reaches_who_reads(tmp_path: Path) -> None:
    source = """
        async def echo(request):
            for number in range(3):
                await request.socketio.send(str(number) * 3_000_000)
            async for message in request.socketio:
                request.socketio.send(message[0])
    """

    async def test() -> None:
        async with live(tmp_path, RBR.format(""), source) as server:
            client = await socketio(server.url)
            poller = await Poller.connect(server.url)
            for number in range(3):
                assert await client.read() == f'42["message","{str(number) * 3_000_000}"]'
                assert await poller.read() == f'42["message","{str(number) * 3_000_000}"]'
            await poller.post('42["message","still here"]')
            assert await poller.read() == '42["message","still here"]'
            assert sessions(server) == 2

    run(test())


def test_encoded_payload_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = Poller(server.url)
            await poller.handshake()
            answer = await ask(server.url, "POST", poller.target, b"4a", Content_Encoding="gzip")
            assert answer[0] == 400

    run(test())


def test_end_of_the_server_is_told_to_every_client(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            websocket = await socketio(server.url)
            waiting = await Poller.connect(server.url)
            await waiting.read()
            poll = asyncio.create_task(waiting.get())
            between = await Poller.connect(server.url)
            await between.read()
            kept = await Wire.open(server.url)
            assert (await kept.ask("GET", "/nowhere"))[0] == 404
            await until(server.busy)
            closing = asyncio.create_task(server.server.close(PATIENCE_S))
            assert await poll == "1"
            assert await websocket.read_close() == (1001, "server shutting down")
            await websocket.frame(0x88, b"\x03\xe9")
            status, headers, body = await kept.ask("GET", between.target)
            assert (status, headers["connection"], body) == (200, "close", b"1")
            await closing
            assert sessions(server) == 0

    run(test())


def test_hundreds_of_cycles_leave_nothing_behind(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for number in range(300):
                kind = number % 5
                if kind == 0:
                    (await socketio(server.url)).reset()
                elif kind == 1:
                    await (await socketio(server.url)).frame(0x88, b"")
                elif kind == 2:
                    await (await Poller.connect(server.url)).post("1")
                elif kind == 3:
                    poller = await Poller.connect(server.url)
                    target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
                    half = await WebSocket.connect(server.url, target)
                    await half.text("2probe")
                    half.reset()
                    await poller.post("1")
                else:
                    await (
                        await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
                    ).text("9")
            hang_up()
            await server.empties()
            assert server.server.app.hub.sockets() == []
            await until(lambda: len(asyncio.all_tasks()) <= 2)

    run(test())


def test_handlers_have_time_to_finish_at_the_end(tmp_path: Path) -> None:
    source = """
        import asyncio, time
        saved = []
        def echo(request):
            while request.socketio.recv():
                pass
            time.sleep(0.1)
            saved.append("in a thread")
        async def other(request):
            async for message in request.socketio:
                pass
            await asyncio.sleep(0.1)
            saved.append("in a coroutine")
        def tell(request):
            return list(saved)
    """
    rbr = RBR.format("") + "path b ( method SOCKETIO, namespace /b, use python:MODULE.other );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            client = await socketio(server.url)
            await client.text("40/b,")
            assert (await client.read()).startswith("40/b,")
            closing = asyncio.create_task(server.server.close(PATIENCE_S))
            assert (await client.read_close())[0] == 1001
            await client.frame(0x88, b"\x03\xe9")
            await closing
            module = next(m for name, m in sys.modules.items() if hasattr(m, "saved"))
            assert sorted(module.saved) == ["in a coroutine", "in a thread"]

    run(test())


def test_poller_that_does_not_come_again_is_not_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            await Poller.connect(server.url)
            async with asyncio.timeout(PATIENCE_S):
                await server.server.close(grace=10 * PATIENCE_S)
            assert sessions(server) == 0

    run(test())


def test_no_session_begins_while_the_server_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)  # keeps connections open for a while
            kept = await Wire.open(server.url)
            assert (await kept.ask("GET", "/nowhere"))[0] == 404
            closing = asyncio.create_task(server.server.close(0.5))
            await until(lambda: server.server.closing)
            status, headers, _ = await kept.ask("GET", f"{SOCKET_IO}&transport=polling")
            assert (status, headers["retry-after"]) == (503, "1")
            assert poller.sid
            await closing

    run(test())
