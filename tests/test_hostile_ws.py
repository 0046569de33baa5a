"""Hostile WebSockets: handshakes and frames that no client would send, on a running server.

Each row is sent whole, in halves, and a byte at a time, to a path of WEBSOCKET and, where
it matters to all, to one of SOCKETIO; after each, the rules of `siege` must hold. With
RBL_SIEGE=proxy all of it is done through our own proxy instead.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from conftest import Serve
from siege import KEY, Attacker, InProcess, Optimized, Siege, frame, text

from redbarrel_lite import websocket

SOCKET_IO = "/socket.io/?EIO=4&transport=websocket"


# -- the handshake (W1 to W9) ------------------------------------------------------------

# What of a good handshake is different, and what must be answered. The request behind it
# in the same segment must not be served, whatever it is.
HANDSHAKES: dict[str, tuple[dict[str, str], int]] = {
    "no Connection": ({"Connection": ""}, 400),
    "Connection: upgradex": ({"Connection": "upgradex"}, 400),
    "Connection: keep-alive": ({"Connection": "keep-alive"}, 400),
    "Upgrade: websocketx": ({"Upgrade": "websocketx"}, 426),
    "no key": ({"Sec-WebSocket-Key": ""}, 400),
    "key of 3 bytes": ({"Sec-WebSocket-Key": "dGhl"}, 400),
    "key of 17 bytes": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZSE="}, 400),
    "key with a blank": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25 jZQ=="}, 400),
    "key that is no base64": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25!ZQ=="}, 400),
    "key without padding": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ"}, 400),
    "two keys": ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="}, 400),
    "version 12": ({"Sec-WebSocket-Version": "12"}, 426),
    "version 99": ({"Sec-WebSocket-Version": "99"}, 426),
    "version 13, 8": ({"Sec-WebSocket-Version": "13, 8"}, 426),
    "no version": ({"Sec-WebSocket-Version": ""}, 426),
    "version 13 in wide digits": ({"Sec-WebSocket-Version": "\xef\xbc\x91\xef\xbc\x93"}, 426),
    "HTTP/1.0": ({"HTTP/1.1": "HTTP/1.0"}, 400),
    "200 headers": ({f"X-{number}": "x" for number in range(200)}, 431),
    "a page of another origin": ({"Origin": "https://evil.example"}, 403),
}
# To HTTP these ask for nothing (RFC 9110 7.8): a proxy forwards them without their Upgrade.
NO_UPGRADES = {
    "no Connection",
    "Connection: upgradex",
    "Connection: keep-alive",
    "Upgrade: websocketx",
    "HTTP/1.0",
}


@pytest.mark.parametrize("target", ["/ws", SOCKET_IO])
@pytest.mark.parametrize("row", HANDSHAKES)
def test_handshake_that_is_none_is_refused_and_nothing_behind_it_is_served(
    siege: Siege, row: str, target: str
) -> None:
    different, status = HANDSHAKES[row]
    request = siege.handshake(target, **different)
    if "HTTP/1.1" in different:
        request = request.replace(b"HTTP/1.1", b"HTTP/1.0", 1).replace(
            b"HTTP/1.1: HTTP/1.0\r\n", b""
        )
    behind = siege.request("GET", "/admin")

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces, behind)
            answered, fields, body = client.answer()
            if answered == 426:
                assert fields["sec-websocket-version"] == "13"
            assert b"secret" not in body
            return [answered, client.rest()]

    if siege.rewrites and row in NO_UPGRADES:
        # What asks for no upgrade is an ordinary request: so is the one behind it.
        with Attacker(siege) as client:
            client.send(request)
            assert client.answer()[0] in (400, 426)
    else:
        assert siege.verdict(attempt, request) == [status, b""]
    siege.holds()


@pytest.mark.parametrize("target", ["/ws", SOCKET_IO])
@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD", "DELETE"])
def test_handshake_is_made_with_get(siege: Siege, method: str, target: str) -> None:
    request = siege.handshake(target).replace(b"GET", method.encode(), 1)
    with Attacker(siege) as client:
        client.send(request, siege.request("GET", "/admin"))
        assert client.answer(head=method == "HEAD")[0] in (204, 400, 405, 426)
        if not siege.rewrites:  # see NO_UPGRADES
            assert client.rest() == b""
    siege.holds()


def test_two_keys_in_two_fields_are_refused(siege: Siege) -> None:
    request = siege.handshake("/ws")[:-2] + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with Attacker(siege) as client:
        client.send(request)
        assert client.answer()[0] == 400
        assert client.rest() == b""
    siege.holds()


@pytest.mark.parametrize(
    "target", ["/nowhere", "/secret", "/socket.io/?EIO=4&transport=websocket&sid=x"]
)
def test_upgrade_that_is_refused_closes_what_it_came_on(siege: Siege, target: str) -> None:
    with Attacker(siege) as client:
        client.send(siege.handshake(target) + siege.request("GET", "/admin"))
        assert client.answer()[0] in (400, 401, 404)
        assert client.rest() == b""
    siege.holds()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (" " * 8000, None),
        ("," * 4000, None),
        ("unknown", None),
        ("unknown, soap, chat", "soap"),
        ("chat, chat, chat", "chat"),
        ("__proto__, constructor", None),
        ("CHAT", None),
        ("<script>", None),
    ],
)
def test_subprotocol_is_one_of_ours_or_none(siege: Siege, offered: str, chosen: str | None) -> None:
    with Attacker(siege) as client:
        client.send(siege.handshake("/speaks", Sec_WebSocket_Protocol=offered))
        status, fields, _ = client.answer()
        assert (status, fields.get("sec-websocket-protocol")) == (101, chosen) or (
            status == 400 and chosen is None
        )
    siege.holds()


@pytest.mark.parametrize(
    "offered",
    [
        "__proto__",
        "constructor, toString",
        "x" * 8000,
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=abc",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; unknown",
        'permessage-deflate; server_max_window_bits="15',
        "permessage-deflate; " * 300,
        ";;;,,,===",
    ],
)
def test_extensions_that_make_no_sense_are_declined(siege: Siege, offered: str) -> None:
    with Attacker(siege) as client:
        client.send(siege.handshake("/deflate", Sec_WebSocket_Extensions=offered))
        status, fields, _ = client.answer()
        assert status in (101, 400)
        assert "sec-websocket-extensions" not in fields
        if status == 101:
            client.send(text("plain"))
            assert client.message() == "text plain"
    siege.holds()


def test_frame_behind_the_handshake_is_not_lost(siege: Siege) -> None:
    def attempt(pieces: list[bytes]) -> list[str]:
        with Attacker(siege) as client:
            client.send(*pieces)
            assert client.answer()[0] == 101
            return client.messages("text first")

    assert siege.verdict(attempt, siege.handshake("/ws") + text("first")) == ["text first"]
    siege.holds()


# -- frames that are refused (W11 to W27) ------------------------------------------------


def header(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal)


REFUSED: dict[str, tuple[bytes, int]] = {
    "W11 unmasked text": (b"\x81\x05Hello", 1002),
    "W11 unmasked and empty": (b"\x81\x00", 1002),
    "W11 unmasked close": (b"\x88\x02\x03\xe8", 1002),
    "W13 RSV1 on text, not negotiated": (frame(0xC1, b"x"), 1002),
    "W13 RSV1 on a ping": (frame(0xC9), 1002),
    "W13 RSV1 on a continuation": (frame(0x01, b"a") + frame(0xC0, b"b"), 1002),
    "W13 RSV2": (frame(0xA1, b"x"), 1002),
    "W13 RSV3 on a close": (frame(0x98), 1002),
    **{f"W14 opcode {n:x}": (frame(0x80 | n), 1002) for n in (*range(3, 8), *range(11, 16))},
    "W15 ping of 126 bytes": (header("89fe007e") + KEY, 1002),
    "W15 fragmented ping": (frame(0x09), 1002),
    "W15 fragmented close": (frame(0x08, b"\x03\xe8"), 1002),
    "W17 5 in 16 bits": (header("81fe0005"), 1002),
    "W17 5 in 64 bits": (header("81ff0000000000000005"), 1002),
    "W17 65535 in 64 bits": (header("81ff000000000000ffff"), 1002),
    "W18 length with its top bit": (header("81ffffffffffffffffff"), 1002),
    "W18 length with its top bit only": (header("81ff8000000000000000"), 1002),
    "W19 a tebibyte": (header("82ff0000010000000000"), 1009),
    "W19 a byte too many": (header("81ff00000000000f4241"), 1009),
    "continuation of nothing": (frame(0x80, b"x"), 1002),
    "text inside of a message": (frame(0x01, b"a") + frame(0x81, b"b"), 1002),
    "W25 half a code point": (frame(0x81, b"\xc3"), 1007),
    "W25 half a code point over fragments": (frame(0x01, b"\xe2\x82") + frame(0x80), 1007),
    "a surrogate in UTF-8": (frame(0x81, b"\xed\xa0\x80"), 1007),
    "overlong UTF-8": (frame(0x81, b"\xc0\xaf"), 1007),
    "bad UTF-8 in the first fragment": (frame(0x01, b"\xff"), 1007),
    "W26 close with half a code": (frame(0x88, b"\x03"), 1002),
    "close with a bad reason": (frame(0x88, b"\x03\xe8\xff"), 1007),
    **{
        f"W27 close code {code}": (frame(0x88, code.to_bytes(2, "big")), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}  # fmt: skip


def refusal(siege: Siege, target: str, pieces: list[bytes], behind: bytes) -> list[object]:
    """What comes of frames, and of a good one behind them."""
    with Attacker(siege) as client:
        client.upgrade(target)
        if target == SOCKET_IO:
            client.send(text("40"))
            assert client.message().startswith("text 0{")
            assert client.message().startswith("text 40{")
        client.send(*pieces, *([behind] if behind else []))
        said: list[object] = [*client.messages("text end")]
        return [*said, client.rest()]


@pytest.mark.parametrize("target", ["/ws", SOCKET_IO])
@pytest.mark.parametrize("row", REFUSED)
def test_frame_that_is_none_closes_its_connection(siege: InProcess, row: str, target: str) -> None:
    data, code = REFUSED[row]
    siege.heard.clear()
    for behind in (b"", text("end"), text('42["echo","end"]')):
        verdict = siege.verdict(lambda pieces: refusal(siege, target, pieces, behind), data)  # noqa: B023
        assert verdict == [f"close {code}", b""]
    assert siege.heard == []
    siege.holds()


# -- frames that are legal (W10, W25 to W38) ---------------------------------------------

LEGAL: dict[str, tuple[bytes, list[str]]] = {
    "W25 code point over fragments": (
        frame(0x01, b"\xe2") + frame(0x00, b"\x82") + frame(0x80, b"\xac"),
        ["text €"],
    ),
    "W33 pongs that nobody asked for": (frame(0x8A) + frame(0x8A, b"x" * 125), []),
    "ping inside of a message": (
        frame(0x01, b"a") + frame(0x89, b"?") + frame(0x80, b"b"),
        ["pong ?", "text ab"],
    ),
    "ping of 125 bytes": (frame(0x89, b"x" * 125), ["pong " + "x" * 125]),
    "empty messages": (frame(0x81) + frame(0x82), ["text", "binary"]),
    "empty fragments": (frame(0x01) + frame(0x00) * 50 + frame(0x80, b"x"), ["text x"]),
    "W38 mask of zeros": (frame(0x81, b"Hello", bytes(4)), ["text Hello"]),
    "W38 mask of ones": (frame(0x81, b"Hello", b"\xff" * 4), ["text Hello"]),
    "125 bytes": (frame(0x81, b"x" * 125), ["text " + "x" * 125]),
    "126 bytes": (frame(0x81, b"x" * 126), ["text " + "x" * 126]),
    "65,535 bytes": (frame(0x82, b"x" * 65_535), ["binary " + "x" * 65_535]),
    "65,536 bytes": (frame(0x82, b"x" * 65_536), ["binary " + "x" * 65_536]),
    "a million bytes": (frame(0x82, b"x" * 1_000_000), ["binary " + "x" * 1_000_000]),
}


@pytest.mark.parametrize("row", LEGAL)
def test_frame_that_is_unusual_is_taken(siege: Siege, row: str) -> None:
    data, said = LEGAL[row]

    def attempt(pieces: list[bytes]) -> list[str]:
        with Attacker(siege) as client:
            client.upgrade("/ws")
            client.send(*pieces, text("end"))
            return client.messages("text end")

    assert siege.verdict(attempt, data) == [*said, "text end"]
    siege.holds()


# -- limits (W19 to W23) -----------------------------------------------------------------


def test_largest_message_may_come_a_byte_at_a_time(siege: Siege) -> None:
    message = frame(0x82, b"x" * 10_000)
    with Attacker(siege) as client:
        client.upgrade("/small")
        client.send(*(message[at : at + 1] for at in range(len(message))))
        assert client.message() == "binary " + "x" * 10_000
    siege.holds()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (frame(0x01, b"x" * 5_000) + frame(0x80, b"x" * 5_000), "text " + "x" * 10_000),
        (frame(0x01, b"x" * 5_000) + frame(0x00, b"x" * 5_001)[:8], "close 1009"),
        (frame(0x01) + frame(0x00) * 98 + frame(0x80), "text"),
        (frame(0x01) + frame(0x00) * 100, "close 1009"),
        (frame(0x01) + frame(0x00) * 200_000, "close 1009"),
    ],
    ids=["the limit", "more in fragments", "99 fragments", "101", "200,000"],
)
def test_limit_of_a_message_holds_for_all_its_fragments(
    siege: Siege, data: bytes, said: str
) -> None:
    with Attacker(siege) as client:
        client.upgrade("/small")
        client.send(data)
        assert client.message() == said
    siege.holds()


# -- closing (W29 to W31, W41) -----------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4000, 4999])
def test_close_code_that_is_one_is_echoed(siege: Siege, code: int) -> None:
    with Attacker(siege) as client:
        client.upgrade("/ws")
        client.send(frame(0x88, code.to_bytes(2, "big") + "because ä".encode()))
        assert client.message() == f"close {code}"
        assert client.rest() == b""
    siege.holds()


CLOSING: dict[str, tuple[bytes, list[str]]] = {
    "W29 text behind a close": (frame(0x88, b"\x03\xe8") + text("late"), ["close 1000"]),
    "W29 two closes": (frame(0x88, b"\x03\xe8") + frame(0x88, b"\x03\xe9"), ["close 1000"]),
    "W29 ping behind a close": (frame(0x88) + frame(0x89, b"x"), ["close 1005"]),
    "W29 nonsense behind a close": (frame(0x88) + b"\xff" * 100, ["close 1005"]),
    "W30 close inside of a message": (frame(0x01, b"a") + frame(0x88, b"\x03\xe8"), ["close 1000"]),
}


@pytest.mark.parametrize("row", CLOSING)
def test_nothing_counts_behind_a_close(siege: InProcess, row: str) -> None:
    data, said = CLOSING[row]
    siege.heard.clear()
    verdict = siege.verdict(lambda pieces: refusal(siege, "/ws", pieces, b""), data)
    assert verdict == [*said, b""]
    assert siege.heard == []
    siege.holds()


@pytest.mark.parametrize("end", ["close", "reset", "half"])
def test_end_without_a_close_frame_is_1006_and_told_once(siege: InProcess, end: str) -> None:
    siege.gone.clear()
    with Attacker(siege) as client:
        client.upgrade("/ws")
        client.send(text("hello"))
        client.message()
        client.leave(end)
        if end == "half":
            assert client.rest() == b""
    siege.holds()
    assert siege.gone == [1006]


def test_close_that_is_never_answered_is_the_end_all_the_same(
    siege: Siege, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.2)
    with Attacker(siege) as client:
        client.upgrade("/says-why")
        client.send(text("3000 bye"))
        assert client.message() == "close 3000"
        client.send(text("no"), frame(0x89))
        assert client.rest() == b""
    siege.holds()


@pytest.mark.parametrize(
    ("said", "code", "reason"),
    [
        ("1000 bye", 1000, "bye"),
        ("4999 ", 4999, ""),
        ("3000 " + "x" * 200, 3000, "x" * 123),
        ("3000 " + "ä" * 100, 3000, "ä" * 61),
        ("3000 x" + "€" * 100, 3000, "x" + "€" * 40),
    ],
)
def test_reason_is_cut_between_two_characters(
    siege: Siege, said: str, code: int, reason: str
) -> None:
    with Attacker(siege) as client:
        client.upgrade("/says-why")
        client.send(text(said))
        assert client.frame() == (0x88, code.to_bytes(2, "big") + reason.encode())
        client.send(frame(0x88, code.to_bytes(2, "big")))
        assert client.rest() == b""
    siege.holds()


def test_handler_that_fails_closes_with_1011_and_no_word_of_why(siege: InProcess) -> None:
    with Attacker(siege) as client:
        client.upgrade("/raises")
        client.send(text("go"))
        first, payload = client.frame()
        assert (first, payload[:2]) == (0x88, b"\x03\xf3")
        assert b"on purpose" not in payload
        client.send(frame(0x88, b"\x03\xf3"))
        assert client.rest() == b""
    assert siege.forget_errors() == 1
    siege.holds()


# -- compression (W34, W35) --------------------------------------------------------------


def deflated(data: bytes, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """A message as RFC 7692 7.2.1 has it."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(flush)).removesuffix(b"\x00\x00\xff\xff")


BOMB = deflated(bytes(1_000_000_000 // 16))  # 62 MB in 61 KB

COMPRESSED: dict[str, tuple[bytes, list[str]]] = {
    "a message": (frame(0xC1, deflated(b"Hello")), ["text Hello"]),
    "W35 an empty one": (frame(0xC1, b"\x02\x00"), ["text"]),
    "W35 with a final block": (
        frame(0xC1, deflated(b"Hello", zlib.Z_FINISH) + b"\0"),
        ["text Hello"],
    ),
    "W35 a stored block": (frame(0xC1, b"\x00\x05\x00\xfa\xffHello\x00"), ["text Hello"]),
    "in fragments, split anywhere": (
        frame(0x41, deflated(b"Hello")[:3]) + frame(0x80, deflated(b"Hello")[3:]),
        ["text Hello"],
    ),
    "with a ping in the middle": (
        frame(0x41, deflated(b"Hello")[:3]) + frame(0x89) + frame(0x80, deflated(b"Hello")[3:]),
        ["pong", "text Hello"],
    ),
    "W34 a bomb": (frame(0xC2, BOMB), ["close 1009"]),
    "W34 a bomb in fragments": (frame(0x42, BOMB[:9]) + frame(0x80, BOMB[9:]), ["close 1009"]),
    "W35 no byte at all": (frame(0xC1), ["close 1007"]),
    "W35 no DEFLATE": (frame(0xC1, b"\xff\xff\xff\xff"), ["close 1007"]),
    "W35 cut off": (frame(0xC1, deflated(b"Hello" * 100)[:5]), ["close 1007"]),
    "W35 a stored block that lies": (frame(0xC1, b"\x00\x05\x00\xfb\xffHello\x00"), ["close 1007"]),
    "text that is no UTF-8": (frame(0xC1, deflated(b"\xff")), ["close 1007"]),
    "W13 RSV1 on a continuation": (frame(0x41, b"\x02") + frame(0xC0, b"\x00"), ["close 1002"]),
    "W13 RSV1 on a pong": (frame(0xCA), ["close 1002"]),
}


@pytest.mark.parametrize("row", COMPRESSED)
def test_compressed_message_is_taken_or_refused(siege: Siege, row: str) -> None:
    data, said = COMPRESSED[row]

    def attempt(pieces: list[bytes]) -> list[str]:
        with Attacker(siege) as client:
            fields = client.upgrade("/deflate", Sec_WebSocket_Extensions="permessage-deflate")
            assert fields["sec-websocket-extensions"].startswith("permessage-deflate")
            client.send(*pieces, text("end"))
            return client.messages("text end")

    is_refused = said[-1].startswith("close")
    assert siege.verdict(attempt, data) == (said if is_refused else [*said, "text end"])
    siege.holds()


def bombed(siege: Siege, count: int) -> tuple[int, str]:
    """How many answers came to so many bombs, and the last: to keep all of them takes memory."""
    bomb = frame(0xC2, deflated(bytes(1_000_000)))
    with Attacker(siege) as client:
        client.upgrade("/squeezed", Sec_WebSocket_Extensions="permessage-deflate")
        client.send(bomb * count + text("end"))
        # A server that is busy for long asks whether the client is there.
        said = [one for one in client.messages("text end") if not one.startswith("ping")]
        return len(said), said[-1]


def test_bombs_that_are_just_small_enough_wait_for_each_other(siege: InProcess) -> None:
    """600 MB in one go, of which the server may hold no more than some at once: `holds` looks."""
    bombed(siege, 20)  # what the allocator keeps of these, it has for the others
    siege.start_row()
    assert bombed(siege, 600) == (601, "text end")
    siege.holds()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_client_that_goes_amid_its_bombs_leaves_nothing(siege: Siege, how: str) -> None:
    bomb = frame(0xC2, deflated(bytes(1_000_000)))
    with Attacker(siege) as client:
        client.upgrade("/squeezed", Sec_WebSocket_Extensions="permessage-deflate")
        client.send(bomb * 100)
        client.leave(how)
        if how == "half":
            client.rest()
    siege.holds()


# -- and without assertions ---------------------------------------------------------------


def test_server_without_assertions_refuses_the_same_frames(
    serve: Serve, optimized_python: Path
) -> None:
    siege = Optimized(serve, optimized_python)
    for row, (data, code) in REFUSED.items():
        assert refusal(siege, "/ws", [data], text("end")) == [f"close {code}", b""], row
    for row, (different, status) in HANDSHAKES.items():
        if row != "HTTP/1.0":
            with Attacker(siege) as client:
                client.send(siege.handshake("/ws", **different))
                assert client.answer()[0] == status, row
    siege.holds()
    siege.end()
