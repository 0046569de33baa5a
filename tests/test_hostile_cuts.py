"""Hostile requests, and answers of an upstream, that must be the same however they are cut.

What each of them gets, and why, its own test says, which sends it whole; here it is sent a byte
at a time, at odd places, and cut at each CR. The client's end of the connection is half
closed behind it, so all is heard that comes until the server closes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from segments import segmentations
from test_upstream import Recorder, behind, in_pieces
from wire import Wire, live, run

APP_RBR = """
    path who ( url /who, use python:MODULE.who );
    path form ( method POST, url /form, use python:MODULE.form );
    path io ( method SOCKETIO, use python:MODULE.chat );
    path open (
        method SOCKETIO, url /open/, namespace /open, use python:MODULE.chat,
        allow-origin "https://friend.example"
    );
"""
APP = """
    def who(request): return [request.remote_addr, request.scheme, request.host]
    def form(request): return sorted(request.POST.items())
    def chat(request): request.socketio.recv()
"""
POLL = "/socket.io/?EIO=4&transport=polling"
# What differs from one answer to the next, and should.
OWN = re.compile(rb'date: [^\r]+|"sid":"[^"]+"')


def request(line: str, *fields: str, body: str = "") -> bytes:
    head = "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", "Connection: close", *fields))
    return f"{head}\r\n\r\n{body}".encode()


async def said_to(url: str, pieces: list[bytes]) -> bytes:
    wire = await Wire.open(url)
    await in_pieces(wire, pieces)
    return OWN.sub(b"-", await wire.rest())


async def verdict(url: str, data: bytes) -> bytes:
    """All that is answered, which must be the same in all ways."""
    whole = await said_to(url, [data])
    for name, pieces in segmentations(data, b"\r"):
        assert await said_to(url, pieces) == whole, name
    return whole


PREFLIGHT = "Access-Control-Request-Method: POST"
FORWARDED = (
    "X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "Forwarded: for=1.2.3.4;proto=https;host=evil",
    "X_Forwarded_For: 5.6.7.8",
    "X-Forwarded-For: 9.9.9.9",
)
PARTS = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'
MULTIPART = ("Content-Type: multipart/form-data; boundary=b", f"Content-Length: {len(PARTS)}")
REQUESTS = {
    "preflight of a friend": (
        request("OPTIONS /open/", "Origin: https://friend.example", PREFLIGHT),
        204,
        b"access-control-allow-origin: https://friend.example",
    ),
    "preflight of a stranger": (
        request("OPTIONS /open/", "Origin: https://evil.example", PREFLIGHT),
        403,
        b'"code":4',
    ),
    "preflight where nobody is a friend": (
        request("OPTIONS /socket.io/", "Origin: https://evil.example", PREFLIGHT),
        403,
        b'"code":4',
    ),
    "session that nobody has": (request(f"GET {POLL}&sid=x"), 400, b'"code":1'),
    "session of another worker": (request(f"GET {POLL}&sid=7.x"), 400, b'"code":1'),
    "method that begins no session": (request(f"PUT {POLL}"), 400, b'"code":2'),
    "forwarded by whom we don't trust": (
        request("GET /who", *FORWARDED),
        200,
        b'["127.0.0.1", "http", "localhost"]',
    ),
    "the field of a proxy twice": (
        request("GET /who", "Forwarded: for=1", "Forwarded: for=2"),
        200,
        b'["127.0.0.1", "http", "localhost"]',
    ),
    "cookie of a browser with a name of ours": (
        request("GET /who", "Cookie: __Host-sid=1; __Host-sid=2; ="),
        200,
        b"127.0.0.1",
    ),
    "form in parts": (request("POST /form", *MULTIPART, body=PARTS), 200, b'[["a", "1"]]'),
    "form whose parts have no end": (
        request("POST /form", *MULTIPART, body=PARTS.replace("--b--", "--c--")),
        400,
        b"",
    ),
}


@pytest.mark.parametrize("row", REQUESTS)
def test_request_gets_the_same_answer_however_it_is_cut(tmp_path: Path, row: str) -> None:
    data, status, contains = REQUESTS[row]

    async def test() -> None:
        async with live(tmp_path, APP_RBR, APP) as server:
            answer = await verdict(server.url, data)
            assert answer.startswith(b"HTTP/1.1 %d " % status), answer
            assert contains in answer, answer
            assert b"evil" not in answer

    run(test())


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
WEBSOCKET = "\r\n".join(("GET /up HTTP/1.1", "Host: a", *UPGRADE, "", "")).encode()
THROUGH = {
    "websocket that is answered": (WEBSOCKET, b"200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
    "websocket that is refused": (WEBSOCKET, b"403 No\r\nContent-Length: 0\r\n\r\n", 403),
    "websocket that gets nonsense": (WEBSOCKET, b"Upgrade\r\n\r\n", 502),
    "redirect to where only we can go": (
        request("GET /up"),
        b"302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        302,
    ),
    "refusal of a body": (
        request("POST /up", "Content-Length: 5", body="hello"),
        b"413 Too Large\r\nContent-Length: 3\r\n\r\nbig",
        413,
    ),
    "HEAD with a length": (request("HEAD /up"), b"200 OK\r\nContent-Length: 9\r\n\r\n", 200),
    "no content with a length": (
        request("GET /up"),
        b"304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        304,
    ),
    "answer that breaks off": (request("GET /up"), b"200 OK\r\nContent-Length: 9\r\n\r\nok", 200),
    "chunks that break off": (
        request("GET /up"),
        b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        200,
    ),
    "nothing at all": (request("GET /up"), b"", 502),
}


@pytest.mark.parametrize("row", THROUGH)
def test_exchange_through_us_is_the_same_however_either_side_is_cut(
    tmp_path: Path, row: str
) -> None:
    data, answer, status = THROUGH[row]
    answer = answer and b"HTTP/1.1 " + answer

    async def test() -> None:
        upstream = Recorder([answer])
        async with behind(tmp_path, upstream) as server:
            whole = await verdict(server.url, data)
            assert whole.startswith(b"HTTP/1.1 %d " % status), whole
            asked = {bytes(one) for one in upstream.got}
            assert len(asked) == 1  # in the same words, each time
            for name, pieces in segmentations(answer, b"\r"):
                upstream.pieces = pieces
                assert await said_to(server.url, [data]) == whole, name

    run(test())
