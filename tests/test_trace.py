"""`--trace`: docs/trace.md is a conversation with the real server, and no secret gets out.

``python tests/test_trace.py`` writes the conversation of the page anew.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from conftest import STOP_S, Serve
from wire import (
    PATIENCE_S,
    SOCKET_IO,
    Live,
    WebSocket,
    Wire,
    ask,
    live,
    run,
    serving_tls,
    until,
)

from redbarrel_lite.anatomy_connection import Connection
from redbarrel_lite.drawing import Pen
from redbarrel_lite.gate import Gate
from redbarrel_lite.http1_reader import Limits
from redbarrel_lite.tap import Tap
from redbarrel_lite.trace import EXPLAIN, JSON, LINES, Tracer

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "trace.md"
BLOCK = re.compile(r"```(trace|trace explain)\n((?:.*\n)*?)```\n")

APP = """
    async def echo(request):
        async for message in request.socketio:
            request.socketio.send(message[0])
    async def login(request):
        request.response.set_cookie("session", "hush-cookie")
        return "welcome"
"""
RBR = """
    path chat ( method SOCKETIO, use python:MODULE.echo, allow-eio3 on, compression on,
        allow-origin "*" );
    path raw ( method WEBSOCKET, url /raw, use python:MODULE.echo );
    path engine ( method ENGINEIO, use python:MODULE.echo );
    path large ( method WEBSOCKET, url /large, use python:MODULE.echo, max-payload 2000000 );
    path login ( method POST, url /login, use python:MODULE.login );
"""


def traced(
    folder: Path,
    talk: Callable[[Live, list[str]], Coroutine[Any, Any, None]],
    form: str = LINES,
    **options: Any,
) -> str:
    """What is printed while a client talks to the server."""
    lines: list[str] = []

    async def test() -> None:
        tap = Tap(Tracer(lines.append, form))
        async with live(folder, RBR, APP, tap=tap, **options) as server:
            await talk(server, lines)

    run(test())
    return "\n".join(lines)


# -- the page ----------------------------------------------------------------------------


async def conversation(server: Live, lines: list[str]) -> None:
    """Polling, the upgrade, an event, and the end; one step after the other."""
    polls = await Wire.open(server.url)
    _, _, body = await polls.ask("GET", f"{SOCKET_IO}&transport=polling")
    sid = json.loads(body[1:])["sid"]
    target = f"{SOCKET_IO}&transport=polling&sid={sid}"
    await polls.ask("POST", target, b"40")
    await polls.ask("GET", target)
    await polls.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: sum("HTTP request " in line and "GET" in line for line in lines) == 3)
    socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket&sid={sid}")
    await socket.text("2probe")
    assert await socket.read() == "3probe"
    assert (await polls.answer())[2] == b"6"
    await socket.text("5")
    await socket.text('42["message","hi"]')
    assert await socket.read() == '42["message","hi"]'
    for wire, end in ((polls, "#1"), (socket, "#2")):
        wire.close()
        await until(lambda: any(line.startswith(f"{end} ·      closed") for line in lines))  # noqa: B023


def printed(form: str) -> str:
    """The conversation, with what differs from run to run made the same."""
    with tempfile.TemporaryDirectory() as folder:
        text = traced(Path(folder), conversation, form)
    sids = dict.fromkeys(re.findall(r"(?<=sid=)[\w-]{4}(?=…|\*)", text))
    for number, sid in enumerate(sids):
        text = text.replace(sid, ("kX3f", "p9Qs")[number])
    ports = dict.fromkeys(re.findall(r"(?<=127\.0\.0\.1:)[0-9]+", text))
    for number, port in enumerate(ports):
        text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{50412 + 2 * number}")
    return text


def regenerated(page: str) -> str:
    """The page, with what is printed now."""
    pictures = printed(EXPLAIN)
    # The server's frame: a client's has a mask, which is chance.
    start = pictures.index("#2 ← kX3f WebSocket frame            text FIN=1 MASK=0, 18 bytes")
    end = pictures.index("\n#", pictures.index("[Socket.IO", start))
    texts = {"trace": printed(LINES), "trace explain": pictures[start:end]}
    return BLOCK.sub(lambda found: f"```{found[1]}\n{texts[found[1]]}\n```\n", page)


def test_page_shows_what_is_printed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(page)) == 2
    assert regenerated(page) == page, "python tests/test_trace.py writes it anew"


# -- whatever is spoken --------------------------------------------------------------------


def test_tls_hides_nothing_from_a_trace(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        socket = await WebSocket.connect(server.url, "/raw")
        await socket.text("over TLS")
        assert await socket.read() == "over TLS"

    text = traced(tmp_path, talk, tls=serving_tls())
    assert '→      WebSocket frame            text FIN=1 MASK=1, 8 bytes "over TLS"' in text
    assert '←      WebSocket frame            text FIN=1 MASK=0, 8 bytes "over TLS"' in text
    assert "!" not in text


def test_compressed_message_is_inflated(tmp_path: Path) -> None:
    words = "again and again " * 200

    async def talk(server: Live, lines: list[str]) -> None:
        target = f"{SOCKET_IO}&transport=websocket"
        offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
        socket = await WebSocket.connect(server.url, target, **offer)
        assert (await socket.read()).startswith("0{")
        await socket.text("40")
        await socket.read()
        packet = f'42["message","{words}"]'.encode()
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        compressed = deflate.compress(packet) + deflate.flush(zlib.Z_SYNC_FLUSH)
        await socket.frame(0xC1, compressed[:-4])
        opcode, _ = await socket.read_frame()
        assert opcode == 0x41

    text = traced(tmp_path, talk)
    assert text.count("WebSocket message        text message of 3,216 bytes, inflated") == 2
    assert text.count('Socket.IO packet     EVENT ["message","again and again ') == 2
    assert "!" not in text


def test_engine_and_raw_sockets_have_the_layers_that_they_speak(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        for target in ("/raw", "/engine.io/?EIO=4&transport=websocket"):
            socket = await WebSocket.connect(server.url, target)
            if target != "/raw":
                assert (await socket.read()).startswith("0{")
            await socket.text("4hello")
            assert await socket.read() == "4hello"
            await socket.frame(0x82, b"\0\1")
            assert (await socket.read_frame())[1] == b"\0\1"

    text = traced(tmp_path, talk)
    assert text.count('WebSocket frame            text FIN=1 MASK=1, 6 bytes "4hello"') == 1
    assert text.count('  Engine.IO packet         message "hello"') == 2
    assert text.count("WebSocket frame            binary FIN=1 MASK=1, 2 bytes 0001") == 1
    assert text.count("  Engine.IO packet         message of 2 bytes") == 2
    assert "Socket.IO" not in text
    assert "!" not in text


def test_old_protocol_is_not_called_wrong(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        polls = await Wire.open(server.url)
        _, _, body = await polls.ask("GET", "/socket.io/?EIO=3&transport=polling&b64=1")
        sid = re.findall(rb'"sid":"([^"]+)"', body)[0].decode()
        target = f"/socket.io/?EIO=3&transport=polling&b64=1&sid={sid}"
        await polls.ask("POST", target, b'19:42["message","old"]')
        _, _, body = await polls.ask("GET", target)
        assert b"old" in body
        target = "/socket.io/?EIO=3&transport=polling&j=0"
        script = await Wire.open(server.url)
        _, _, body = await script.ask("GET", target)
        (sid,) = re.findall(rb'"sid.....([^\\]+)', body)
        form = b"d=19%3A42%5B%22message%22%2C%22old%22%5D"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, _ = await script.ask("POST", f"{target}&sid={sid.decode()}", form, **kind)
        assert status == 200
        socket = await WebSocket.connect(server.url, "/socket.io/?EIO=3&transport=websocket")
        assert (await socket.read()).startswith("0{")
        await socket.text("2")
        while (await socket.read()) != "3":
            pass

    text = traced(tmp_path, talk)
    assert "!" not in text
    assert text.count('EVENT ["message","old"]') == 2


def test_what_is_wrong_is_told_in_its_place(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        wire = await Wire.open(server.url)
        await wire.send("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
        assert (await wire.answer())[0] == 400
        socket = await WebSocket.connect(server.url, "/raw")
        await socket.send(b"\x83\x80\0\0\0\0")
        await socket.read_close()

    text = traced(tmp_path, talk)
    assert "! bad Content-Length 'x' (RFC 9110 8.6), at byte 41" in text
    assert "! reserved opcode 3 (RFC 6455 5.2), at byte 0" in text
    assert "close FIN=1 MASK=0, " in text
    assert ", code 1002" in text


def test_utf_8_in_a_head_is_shown_as_it_was_meant(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        for target in ("/größe", "/gr%C3%B6%C3%9Fe"):
            wire = await Wire.open(server.url)
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.answer()

    text = traced(tmp_path, talk)
    assert "HTTP request               GET /größe HTTP/1.1 (32 bytes)" in text
    assert "HTTP request               GET /gr%C3%B6%C3%9Fe HTTP/1.1 (42 bytes)" in text


def test_limits_are_the_servers_own(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        server.server.gate = Gate(heads=Limits(line=40_000, head=80_000, fields=300))
        status, _, _ = await ask(server.url, "GET", "/nowhere", X="y" * 20_000)
        assert status == 404
        socket = await WebSocket.connect(server.url, "/large")
        await socket.frame(0x82, bytes(1_500_000))
        assert len((await socket.read_frame())[1]) == 1_500_000

    text = traced(tmp_path, talk)
    assert "binary FIN=1 MASK=1, 1,500,000 bytes" in text
    assert "!" not in text


# What is never complete, and how it is told of.
UNFINISHED = {
    (b"GET /hel",): ("HTTP request               GET /hel (8 bytes)", "… more bytes are missing"),
    (b"GET /", b" HTTP/1.1\r\nHost: a\r\nCook"): (
        "HTTP request               GET / HTTP/1.1 (29 bytes)",
        "… more bytes are missing",
    ),
    (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", b"hush"): (
        "HTTP content               content, 4 bytes",
        "… 5 more bytes are missing",
    ),
    (b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhush"): (
        "HTTP chunk                 chunk of 5 bytes",
        "… 3 more bytes are missing",
    ),
}


@pytest.mark.parametrize("parts", UNFINISHED)
def test_what_is_never_complete_is_told_when_it_is_over(
    tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        wire = await Wire.open(server.url)
        for part in parts:
            await wire.send(part)
        wire.close()
        await until(lambda: lines[-1] == "#1 ·      closed")

    *_, unfinished, missing, closed = traced(tmp_path, talk).splitlines()
    told, lacks = UNFINISHED[parts]
    assert (unfinished, missing) == (f"#1 →      {told}", f"#1 →      {lacks}")
    assert closed == "#1 ·      closed"


def test_half_a_frame_is_told_of_in_either_direction() -> None:
    talk = Connection()
    talk.from_client(HANDSHAKE)
    talk.from_server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    assert talk.from_client(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f") == []
    assert talk.from_server(b"\x81") == []
    assert [(one.sender, one.missing) for one in talk.end()] == [("client", 3), ("server", -1)]


def test_frame_that_does_not_wait_for_the_handshake_is_one_all_the_same() -> None:
    talk = Connection()
    assert len(talk.from_client(HANDSHAKE + b"\x81\x85\x37\xfa\x21\x3d")) == 1
    assert talk.from_client(b"\x7f\x9f\x4d\x51\x58") == []
    _, early = talk.from_server(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    assert early.summary == 'text FIN=1 MASK=1, 5 bytes "Hello"'


def test_request_behind_an_upgrade_that_is_refused_is_one() -> None:
    talk = Connection()
    assert len(talk.from_client(HANDSHAKE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")) == 1
    _, behind = talk.from_server(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert behind.summary == "GET / HTTP/1.1"


def test_request_that_took_too_long_stands_before_its_answer() -> None:
    talk = Connection()
    assert talk.from_client(b"GET / HTTP/1.1\r\nHo") == []
    told = talk.from_server(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    assert [one.summary for one in told] == ["GET / HTTP/1.1", "HTTP/1.1 408 Request Timeout"]
    assert talk.end() == []  # it has been told of


HANDSHAKE = (
    b"GET /raw HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


# -- secrets -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [LINES, EXPLAIN, JSON])
def test_no_secret_gets_out(tmp_path: Path, form: str) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        fields = {"Cookie": "session=hush-cookie", "Authorization": "Bearer hush-bearer"}
        await ask(server.url, "POST", "/login", b"password=hush-body", **fields)
        polls = await Wire.open(server.url)
        _, _, body = await polls.ask("GET", f"{SOCKET_IO}&transport=polling", b"", **fields)
        sids.append(json.loads(body[1:])["sid"])
        target = f"{SOCKET_IO}&transport=polling&sid={sids[0]}"
        await polls.ask("POST", target, b'40{"token":"hush-auth","n":1}')
        _, _, body = await polls.ask("GET", target)
        sids.append(json.loads(body[2:])["sid"])
        socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket", **fields)
        sids.append(json.loads((await socket.read())[1:])["sid"])
        await socket.frame(0x01, b'40{"tok')
        await socket.frame(0x80, b'en":"hush-auth"}')
        sids.append(json.loads((await socket.read())[2:])["sid"])
        await socket.text("1")

    sids: list[str] = []
    text = traced(tmp_path, talk, form)
    assert "token" in text
    assert "welcome" in text or form == LINES
    assert all(sid[:4] in text for sid in sids[::2])  # those of Engine.IO
    for secret in ("hush", *(one[4:] for one in sids)):
        assert secret not in text, secret
        assert secret.encode().hex() not in text, secret


FAULTY_HEADS = (
    "Authorization : Basic hush-blank",
    "Cookie: a=hush-nul\0",
    "Cookie: a=x\r\n folded hush-fold",
    "Cookie: a=x\r\n folded: hush-fold",
    "Cookie : hush-cookie",
    "Authorization hush-colonless",
    "Transfer-Encoding: chunked\r\n\r\nzz\r\nhush-chunk",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: hush-trailer\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization : hush-trailer\r\n\r\n",
)
FAULTY_CONNECTS = (
    '0["hush-array"]',
    '0"hush-text"',
    '05{"token":"hush-number"}',
    '00{"token":"hush-zero"}',
    '0/nope{"token":"hush-name"}',
    '0 {"token":"hush-space"}',
    '0{"token":"hush-half',
)


@pytest.mark.parametrize("form", [LINES, EXPLAIN, JSON])
def test_no_secret_gets_out_because_it_is_faulty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        heads = [f"POST /login HTTP/1.1\r\nHost: a\r\n{one}\r\n\r\n" for one in FAULTY_HEADS]
        heads.append("GET http://u:hush-user@host/ HTTP/1.1\r\nHost: host\r\n\r\n")
        heads.append("GET / HTTP/1.1\r\nHost: u:hush-host@host\r\n\r\n")
        for head in heads:
            wire = await Wire.open(server.url)
            await wire.send(head)
            await wire.answer()
            wire.close()
        for connect in FAULTY_CONNECTS:
            socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await socket.read()
            await socket.text(f"4{connect}")
            await socket.read_frame()
            socket.close()
        socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
        await socket.read()
        await socket.send(b'\x81\x1640{"token":"hush-mask"}')
        await socket.read_close()

    text = traced(tmp_path, talk, form)
    assert text.count("!") >= len(FAULTY_HEADS) or form == JSON
    for said in (text, caplog.text):
        assert "hush" not in said
    assert b"hush".hex() not in text


UNFINISHED_SECRETS = (
    b"GET /socket.io/?EIO=4&transport=polling&sid=abcdhush",
    b"GET /socket.io/?EIO=4&transport=polling&sid=abcdhush HTTP/1.1\r\nHost: a\r\nCookie: a=hush",
    b"GET /socket.io/?EIO=4&transport=polling&sid=abcdhush HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic hush\r\nAuthoriz",
    b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhush",
    b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhush",
    b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nCookie: a=hush",
    HANDSHAKE.replace(b"/raw", b"/socket.io/?EIO=4&transport=websocket") + b'\x81\x2040{"t":"hush',
)


@pytest.mark.parametrize("form", [LINES, EXPLAIN, JSON])
def test_no_secret_gets_out_because_it_is_half(tmp_path: Path, form: str) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        for half in UNFINISHED_SECRETS:
            wire = await Wire.open(server.url)
            await wire.send(half)
            wire.close()
            await until(lambda: "closed" in lines[-1])

    text = traced(tmp_path, talk, form)
    assert "abcd" in text
    assert "hush" not in text
    assert b"hush".hex() not in text


def test_json_is_a_line_for_each_outermost_layer(tmp_path: Path) -> None:
    async def talk(server: Live, lines: list[str]) -> None:
        socket = await WebSocket.connect(server.url, "/raw")
        await socket.text("hi")
        await socket.read()
        socket.close()
        await until(lambda: any('"closed' in line for line in lines))

    said = [json.loads(line) for line in traced(tmp_path, talk, JSON).splitlines()]
    assert all(one["connection"] == 1 for one in said)
    assert [one["time"] for one in said] == sorted(one["time"] for one in said)
    events = [one.get("event", one.get("layer")) for one in said]
    assert events[0].startswith("connected: 127.0.0.1:")
    assert events[1:5] == [
        *("HTTP request", "HTTP response"),
        *("WebSocket frame", "WebSocket frame"),
    ]
    assert said[3]["fields"][-1]["value"] == '"hi"'


# -- the tracer itself -----------------------------------------------------------------------


def test_fault_of_the_trace_disturbs_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = Connection.from_client

    def failing(self: Connection, data: bytes) -> Any:
        if b"/raw?fail" in data:
            raise ValueError("on purpose")
        return original(self, data)

    async def talk(server: Live, lines: list[str]) -> None:
        for target in ("/raw?fail", "/raw"):
            socket = await WebSocket.connect(server.url, target)
            for word in ("one", "two"):
                await socket.text(word)
                assert await socket.read() == word

    monkeypatch.setattr(Connection, "from_client", failing)
    text = traced(tmp_path, talk)
    told = [one.getMessage() for one in caplog.records]
    assert told == ["connection 1 can't be traced any further"]
    assert '#2 →      WebSocket frame            text FIN=1 MASK=1, 3 bytes "two"' in text
    assert not re.search("^#1 [→←]", text, re.M)


def test_colours_are_those_of_the_direction(tmp_path: Path) -> None:
    lines: list[str] = []

    async def test() -> None:
        tracer = Tracer(lines.append, LINES, Pen(colours=True))
        async with live(tmp_path, RBR, APP, tap=Tap(tracer)) as server:
            await ask(server.url, "GET", "/nowhere")

    run(test())
    text = "\n".join(lines)
    assert "#1 \x1b[36m→\x1b[0m" in text
    assert "#1 \x1b[32m←\x1b[0m" in text


@pytest.mark.parametrize("option", ["--trace", "--trace=json"])
def test_option_traces_to_standard_error(tmp_path: Path, option: str) -> None:
    """Standard output is the application's."""
    (tmp_path / "app.py").write_text("def hello(request):\n    print('mine')\n    return 'hello'\n")
    (tmp_path / "app.rbr").write_text("path hello ( method GET, url /, use python:app.hello );\n")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "redbarrel_lite", tmp_path / "app.rbr", option, "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        serving = next(line for line in process.stderr if line.startswith("Serving on "))
        run(answered(serving.removeprefix("Serving on ").strip()))
        process.terminate()
        said, log = process.communicate(timeout=STOP_S)
    assert said == "mine\n"
    if option == "--trace":
        assert "→      HTTP request" in log
    else:
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert "HTTP request" in [one.get("layer") for one in lines]


def test_no_two_connections_of_several_workers_have_one_number(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "app.rbr").write_text("")
    server = serve(tmp_path / "app.rbr", "--workers", "2", "--trace")

    async def test() -> None:
        wire = await Wire.open(server.url)
        async with asyncio.timeout(PATIENCE_S):
            while server.said().count("connected") < 4:  # those who know each other hand over
                for number in (0, 1):
                    assert (await wire.ask("GET", f"/?sid={number}.x"))[0] == 404

    run(test())
    server.stop()
    numbers = re.findall(r"#(\d+) ·      connected", server.said())
    assert len(set(numbers)) == len(numbers)


async def answered(url: str) -> None:
    assert (await ask(url, "GET", "/"))[2] == b"hello"


def test_form_that_is_none_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    from redbarrel_lite.cli import main  # noqa: PLC0415  # it says so itself

    with pytest.raises(SystemExit) as caught:
        main(["--trace=colour", "app.rbr"])
    assert caught.value.code == 2
    assert "--trace" in capsys.readouterr().err


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
