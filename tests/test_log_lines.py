"""What strangers say is in the log as one line without control characters, wherever it stands."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from wire import SOCKET_IO, Poller, WebSocket, Wire, ask, live, run

from redbarrel_lite.forwarded import trust
from redbarrel_lite.gate import LOOPBACK_NAMES, Gate

FORGED = "\x1b[31m\nERROR forged\r\x07\x9b\u2028"
IN_HTTP = FORGED.encode().decode("latin-1")
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
ORIGIN = "Host: a\r\nOrigin: http://b.example"
RBR = """
    path chat ( method SOCKETIO, namespace /room-{name}, use python:MODULE.fails );
    path events ( method SOCKETIO, compression on,
        on said use python:MODULE.said, on connect use python:MODULE.hi );
    path fails ( url /fails/{name:.*}, use python:MODULE.fails );
"""
SOURCE = """
    async def fails(request):
        raise ValueError("as meant")

    async def hi(request):
        pass

    async def said(request):
        pass
"""
HEADS = [
    "GET /fails/%0A%1B[31mERROR%0Dforged%C2%9B HTTP/1.1\r\nHost: a\r\n",
    f"GET /fails/x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {IN_HTTP}\r\n",
    "GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.1\r\nHost: \x1b[31m\r\n",
    "GET / HTTP/1.1\r\nHost: b\x9b\r\n",
    "\x1b[31m / HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\x1b[31m: x\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \x9b31m\r\n",
    f"GET {SOCKET_IO}&transport=%1B%0A HTTP/1.1\r\nHost: a\r\n",
    f"GET {SOCKET_IO}&transport=polling&sid=%1B%0A HTTP/1.1\r\nHost: a\r\n",
    f"GET {SOCKET_IO}&transport=polling HTTP/1.1\r\n{ORIGIN}\x9b31m\r\n",
    f"GET {SOCKET_IO}&transport=websocket HTTP/1.1\r\nHost: a\r\n{UPGRADE}"
    "Sec-WebSocket-Key: \x9b\r\n",
    f"GET {SOCKET_IO}&transport=websocket HTTP/1.1\r\nHost: a\r\n{UPGRADE}"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: \x9b31m\r\n",
]
MESSAGES = [
    f"40/room-a{FORGED},",
    f'40,\n{FORGED}"',
    f'42["said","{FORGED}", 1, 2, 3]',
    '42["said","\\u001b[31m\\nERROR forged", 1]',
    f"42[{FORGED}",
    f"4{FORGED}",
    FORGED,
]


def printable(line: str) -> bool:
    return all(" " <= character <= "~" for character in line)


# What a client that polls may say wrong: content type, coding and content of its POST.
POSTS = [
    ({}, b"9"),
    ({}, b"40\x1e40"),
    ({}, b"bAAE"),
    ({}, b'42["x"]'),
    ({}, b"47"),
    ({"Content-Type": "application/octet-stream"}, b"40"),
    ({"Content-Encoding": "gzip"}, b"40"),
]
PROBES = [(0x81, b"2wrong"), (0x81, b"5"), (0x81, b"1"), (0x82, b"a")]


@pytest.mark.parametrize(("headers", "body"), POSTS, ids=range(len(POSTS)))
def test_wrong_post_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, headers: dict[str, str], body: bytes
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            poller = Poller(server.url)
            await poller.handshake()
            status, *_ = await ask(server.url, "POST", poller.target, body, **headers)
            assert status == 400

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert len(caplog.messages) == 1, caplog.messages


def test_two_posts_at_once_are_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            poller = Poller(server.url)
            await poller.handshake()
            head = f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            first = await Wire.open(server.url)
            await first.send(f"{head}Expect: 100-continue\r\n\r\n")
            assert (await first.answer())[0] == 100  # so it has been seen
            assert (await ask(server.url, "POST", poller.target, b"40"))[0] == 400

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert len(caplog.messages) == 1, caplog.messages


@pytest.mark.parametrize(("first", "payload"), PROBES, ids=range(len(PROBES)))
def test_wrong_probe_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, first: int, payload: bytes
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            poller = await Poller.connect(server.url)
            probe = await WebSocket.connect(
                server.url, f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            )
            await probe.frame(first, payload)
            assert (await probe.read_close())[0] == 1002

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert len(caplog.messages) == 1, caplog.messages


def check(caplog: pytest.LogCaptureFixture) -> None:
    assert caplog.messages
    for message in caplog.messages:
        # The traceback of a handler has lines of its own, which are Python's and the author's.
        first, *others = message.split("\n")
        assert not others or others[0].startswith("Traceback "), message
        assert all(map(printable, (first, *others))), message
        assert len(first) <= 500


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_request_forges_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, head: str
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            for gate in (Gate(trusted=trust(["127.0.0.1"])), Gate(LOOPBACK_NAMES)):
                server.server.gate = gate
                wire = await Wire.open(server.url)
                await wire.send(head + "\r\n")
                assert (await wire.answer())[0] >= 400
                wire.close()

    with caplog.at_level(logging.DEBUG, "redbarrel_lite"):
        run(test())
    check(caplog)


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
def test_message_forges_no_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, message: str
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            client = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await client.read()
            if message.startswith("42"):
                await client.text("40")
                await client.read()
            await client.text(message)
            await client.text("41")
            await client.text("5")
            await client.read_close()

    with caplog.at_level(logging.DEBUG, "redbarrel_lite"):
        run(test())
    check(caplog)
