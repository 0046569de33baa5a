"""Hostile pages and pollers: origins, sids and payloads, on a running server.

Sections "C" (whose pages may connect) and "E" (Engine.IO 4): each row is sent whole, in
halves, and a byte at a time; after each, the rules of `siege` must hold.
"""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path

import pytest
from conftest import Serve
from siege import Attacker, InProcess, Optimized, Siege, frame, text

POLL = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
FORBIDDEN = b'{"code":4,"message":"Forbidden"}'


def error(code: int) -> bytes:
    """The reference's body."""
    message = [
        "Transport unknown",
        "Session ID unknown",
        "Bad handshake method",
        "Bad request",
        "Forbidden",
        "Unsupported protocol version",
    ][code]
    return json.dumps({"code": code, "message": message}, separators=(",", ":")).encode()


def opened(client: Attacker, target: str = POLL) -> str:
    """The sid of a new session that polls."""
    status, body = client.ask("GET", target)
    assert status == 200, body
    sid: str = json.loads(body[1:])["sid"]
    return sid


def is_over(siege: Siege, sid: str) -> bool:
    """Whether a session has ended."""
    with Attacker(siege) as client:
        status, body = client.ask("GET", f"{POLL}&sid={sid}")
        assert (status, body) == (400, error(1)) or status == 200, (status, body)
        return status == 400


# -- whose pages (C1 to C7) --------------------------------------------------------------

ORIGINS: dict[str, str] = {
    "C1 another": "https://evil.example",
    "C2 null": "null",
    "C2 ours with more behind": "http://{host}.evil.example",
    "C2 ours with more before": "http://evil-{host}",
    "C2 another port": "http://127.0.0.1:81",
    "C2 no port": "http://127.0.0.1",
    "C2 https": "https://{host}",
    "C2 a dot behind": "http://127.0.0.1.:{port}",
    "C2 user information": "http://{host}@evil.example",
    "C2 a path": "http://{host}/",
    "C2 a blank": "http://{host} ",
    "C2 two in one": "http://{host}, http://evil.example",
    "C3 8 KiB": "http://" + "x" * 8000,
    "C3 nothing to speak of": "\t",
    "C5 localhost": "http://localhost:{port}",
    "C5 another address": "http://127.0.0.2:{port}",
    "C5 the same address in another way": "http://2130706433:{port}",
    "C5 IPv6": "http://[::1]:{port}",
    "a script": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("target", [POLL, SOCKET, "/ws", "/open/?EIO=4&transport=polling"])
@pytest.mark.parametrize("row", ORIGINS)
def test_page_of_another_origin_is_refused(siege: InProcess, row: str, target: str) -> None:
    origin = ORIGINS[row].format(host=siege.host, port=siege.port)
    is_polling = "polling" in target
    if is_polling:
        request = siege.request("GET", target, Origin=origin, Cookie="name=ann")
    else:
        request = siege.handshake(target, Origin=origin, Cookie="name=ann")

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            status, fields, body = client.answer()
            assert not any(name.startswith("access-control-") for name in fields)
            assert b"<" not in body
            return [status, body if status >= 400 else b""]

    status, body = siege.verdict(attempt, request)
    if row in ("C2 a blank", "C3 nothing to speak of"):  # HTTP cuts blanks off
        assert status in (101, 200, 403)
    else:
        assert status == 403 or (row == "C3 8 KiB" and status == 431)
        assert body == FORBIDDEN or not is_polling or status == 431
    siege.end_sessions()
    siege.holds()


@pytest.mark.parametrize("spelled", ["http://{host}", "HTTP://{host}", "http://127.0.0.1:{port}"])
@pytest.mark.parametrize("target", [POLL, SOCKET, "/ws"])
def test_page_of_ours_is_let_in(siege: InProcess, target: str, spelled: str) -> None:
    origin = spelled.format(host=siege.host, port=siege.port)
    with Attacker(siege) as client:
        if target == POLL:
            status, _ = client.ask("GET", target, Origin=origin)
            assert status == 200
        else:
            client.upgrade(target, Origin=origin)
    siege.end_sessions()
    siege.holds()


@pytest.mark.parametrize("second", ["https://evil.example", "http://{host}"])
def test_two_origins_are_none(siege: Siege, second: str) -> None:
    for target in (POLL, SOCKET, "/ws"):
        request = siege.request("GET", POLL, Origin=f"http://{siege.host}")
        if target != POLL:
            request = siege.handshake(target, Origin=f"http://{siege.host}")
        request = request[:-2] + f"Origin: {second.format(host=siege.host)}\r\n\r\n".encode()
        with Attacker(siege) as client:
            client.send(request)
            assert client.answer()[0] in (400, 403)
    siege.holds()


def test_control_characters_in_an_origin_are_no_http(siege: Siege) -> None:
    for bad in ("\x00", "http://a\x0bb", "a\rb"):
        with Attacker(siege) as client:
            client.send(siege.request("GET", POLL, Origin=bad))
            assert client.answer()[0] == 400
            assert client.rest() == b""
    siege.holds()


def test_stranger_can_neither_poll_nor_post_in_a_session_of_ours(siege: InProcess) -> None:
    with Attacker(siege) as client:
        sid = opened(client)
        for method, body in (("GET", b""), ("POST", b"40"), ("POST", b"1")):
            answer = client.ask(method, f"{POLL}&sid={sid}", body, Origin="https://evil.example")
            assert answer == (403, FORBIDDEN)
        assert client.ask("POST", f"{POLL}&sid={sid}", b"1")[0] == 200
    siege.holds()


def test_friend_is_answered_with_its_origin_and_never_with_a_star(siege: InProcess) -> None:
    friend = "https://friend.example"
    with Attacker(siege) as client:
        target = "/open/?EIO=4&transport=polling"
        client.send(siege.request("GET", target, Origin=friend))
        status, fields, body = client.answer()
        assert (status, fields["access-control-allow-origin"]) == (200, friend)
        assert fields["access-control-allow-credentials"] == "true"
        assert "origin" in fields["vary"].lower()
        sid = json.loads(body[1:])["sid"]
        client.send(
            siege.request(
                "OPTIONS",
                target,
                Origin=friend,
                Access_Control_Request_Method="POST",
                Access_Control_Request_Headers="content-type",
            )
        )
        status, fields, _ = client.answer()
        assert status == 204
        assert fields["access-control-allow-origin"] == friend
        assert "POST" in fields["access-control-allow-methods"]
        assert fields["access-control-allow-headers"] == "content-type"
        client.send(siege.request("GET", f"{target}&sid=x", Origin=friend))
        status, fields, body = client.answer()
        assert (status, body, fields["access-control-allow-origin"]) == (400, error(1), friend)
        assert client.ask("POST", f"{target}&sid={sid}", b"1", Origin=friend)[0] == 200
    siege.holds()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "POST", "TRACE", "BREW"])
def test_other_methods_begin_no_session(siege: Siege, method: str) -> None:
    with Attacker(siege) as client:
        client.send(siege.request(method, POLL))
        status, _, body = client.answer(head=method == "HEAD")
        assert status in (400, 405, 501)
        assert body in (error(2), b"") or status != 400
    siege.holds()


# -- sids (C9, C10, E3) ------------------------------------------------------------------


def test_sids_are_not_to_be_guessed(siege: InProcess) -> None:
    sids = []
    with Attacker(siege) as client:
        for _ in range(200):
            sids.append(opened(client))
            client.ask("POST", f"{POLL}&sid={sids[-1]}", b"1")
    assert len(set(sids)) == 200
    letters = set("".join(sids))
    bits = len(sids[0]) * math.log2(len(letters))
    assert bits >= 120, (bits, sids[0])  # of 128, seen through 200 samples
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20,}", sid) for sid in sids)
    siege.holds()


def test_sid_is_not_logged(siege: InProcess) -> None:
    with Attacker(siege) as client:
        sid = opened(client)
        assert client.ask("POST", f"{POLL}&sid={sid}", b"nonsense")[0] == 400
        assert client.ask("GET", f"{POLL}&sid={sid}")[0] == 400
    assert siege.said
    assert sid not in siege.said
    siege.holds()


# -- queries (E1 to E6, E25) -------------------------------------------------------------

QUERIES: dict[str, tuple[str, int]] = {
    "E1 no EIO": ("transport=polling", 5),
    "E1 EIO=abc": ("EIO=abc&transport=polling", 5),
    "E1 EIO=3": ("EIO=3&transport=polling", 5),
    "E1 EIO=5": ("EIO=5&transport=polling", 5),
    "E1 EIO=04": ("EIO=04&transport=polling", 5),
    "E1 EIO twice": ("EIO=4&EIO=3&transport=polling", 5),
    "E1 EIO in wide digits": ("EIO=%EF%BC%94&transport=polling", 5),
    "E2 no transport": ("EIO=4", 0),
    "E2 transport abc": ("EIO=4&transport=abc", 0),
    "E2 transport Polling": ("EIO=4&transport=Polling", 0),
    "E2 webtransport": ("EIO=4&transport=webtransport", 0),
    "E2 __proto__": ("EIO=4&transport=__proto__", 0),
    "E2 transport twice": ("EIO=4&transport=polling&transport=polling", 0),
    "E2 transport[]": ("EIO=4&transport[]=polling", 0),
    "E3 an unknown sid": ("EIO=4&transport=polling&sid=abc", 1),
    "E3 an empty sid": ("EIO=4&transport=polling&sid=", 1),
    "E3 sid=__proto__": ("EIO=4&transport=polling&sid=__proto__", 1),
    "E3 a long sid": ("EIO=4&transport=polling&sid=" + "x" * 7000, 1),
    "E3 a sid with a NUL": ("EIO=4&transport=polling&sid=%00", 1),
    "E3 a sid of no UTF-8": ("EIO=4&transport=polling&sid=%FF", 1),
    "E3 two sids": ("EIO=4&transport=polling&sid=a&sid=b", 1),
    "E5 a WebSocket without one": ("EIO=4&transport=websocket", 3),
}


@pytest.mark.parametrize("row", QUERIES)
def test_query_that_is_wrong_gets_the_code_of_the_reference(siege: Siege, row: str) -> None:
    query, code = QUERIES[row]
    request = siege.request("GET", f"/socket.io/?{query}")

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            status, fields, body = client.answer()
            return [status, fields["content-type"], body]

    assert siege.verdict(attempt, request) == [400, "application/json", error(code)]
    siege.holds()


@pytest.mark.parametrize("row", [row for row in QUERIES if row[:2] in ("E1", "E2", "E3")])
def test_upgrade_with_a_wrong_query_is_refused(siege: Siege, row: str) -> None:
    query = QUERIES[row][0].replace("polling", "websocket")
    code = QUERIES[row][1]
    with Attacker(siege) as client:
        client.send(siege.handshake(f"/socket.io/?{query}"))
        status, _, body = client.answer()
        assert status == 400
        assert json.loads(error(code))["message"].encode() in body
        assert client.rest() == b""
    siege.holds()


def test_target_of_a_mebibyte_is_cut_off(siege: Siege) -> None:
    with Attacker(siege) as client:
        client.send(siege.request("GET", f"{POLL}&sid=" + "x" * (1 << 20)))
        assert client.answer()[0] == 414
        assert client.rest() == b""
    siege.holds()


def test_thousands_of_parameters_are_no_work(siege: InProcess) -> None:
    with Attacker(siege) as client:
        status, _ = client.ask("GET", "/socket.io/?" + "a&" * 4000 + "EIO=4&transport=polling")
        assert status in (200, 400, 413)
    siege.end_sessions()
    siege.holds()


def test_poll_that_asks_for_an_upgrade_gets_none(siege: InProcess) -> None:
    with Attacker(siege) as client:
        client.send(siege.handshake(POLL))
        status, _, _ = client.answer()
        assert status in (200, 400)
        assert client.rest() == b""
    siege.end_sessions()
    siege.holds()


def test_parameters_that_nobody_knows_are_ignored(siege: InProcess) -> None:
    with Attacker(siege) as client:
        sid = opened(client, f"{POLL}&t=abc&b64=1&x=%ff&x=2&__proto__=1&=&&")
        assert client.ask("POST", f"{POLL}&sid={sid}&t=1&t=2", b"1")[0] == 200
    siege.holds()


# -- two at once (E7 to E11) -------------------------------------------------------------


def test_two_polls_at_once_end_the_session(siege: Siege) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        client.send(siege.request("GET", f"{POLL}&sid={sid}"))
        siege.turn()
        assert other.ask("GET", f"{POLL}&sid={sid}") == (400, error(3))
        assert client.answer()[::2] == (200, b"1")
        assert is_over(siege, sid)
    siege.holds()


def test_two_posts_at_once_end_the_session(siege: Siege) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        request = siege.request("POST", f"{POLL}&sid={sid}", b"40")
        client.send(request[:-1])
        siege.turn()
        other.send(request[:-1])
        assert other.answer()[0] == 400
        assert is_over(siege, sid)
    siege.holds()


def upgraded(client: Attacker, sid: str) -> None:
    """Move a session to a WebSocket."""
    client.upgrade(f"{SOCKET}&sid={sid}")
    client.send(text("2probe"))
    assert client.message() == "text 3probe"
    client.send(text("5"), text("40"))
    assert client.message().startswith("text 40{")


def works(client: Attacker) -> None:
    """An upgraded session still echoes."""
    client.send(text('42["echo","still here"]'))
    assert client.message() == 'text 42["echo","still here"]'


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"4x"), ("POST", b"1")])
def test_polls_of_an_upgraded_session_are_refused_and_it_lives_on(
    siege: Siege, method: str, body: bytes
) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        upgraded(client, sid)
        assert other.ask(method, f"{POLL}&sid={sid}", body) == (400, error(3))
        works(client)
    siege.holds()


def test_second_websocket_of_a_session_is_closed_and_the_first_lives_on(siege: Siege) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        upgraded(client, sid)
        other.upgrade(f"{SOCKET}&sid={sid}")
        assert other.message().startswith("close")
        works(client)
    siege.holds()


def test_of_two_upgrades_one_wins(siege: Siege) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        client.upgrade(f"{SOCKET}&sid={sid}")
        other.upgrade(f"{SOCKET}&sid={sid}")
        other.send(text("2probe"), text("5"))
        assert other.messages("")[-1].startswith("close")
        client.send(text("2probe"))
        assert client.message() == "text 3probe"
        client.send(text("5"), text("40"))
        assert client.message().startswith("text 40{")
        works(client)
    siege.holds()


PROBES: dict[str, bytes] = {
    "E11 5 without a probe": text("5"),
    "E11 2wrong": text("2wrong"),
    "E11 2": text("2"),
    "E11 a message": text('42["echo"]'),
    "E11 a close": text("1"),
    "E11 bytes": frame(0x82, b"2probe"),
    "E11 an empty text": text(""),
    "E11 the probe twice": text("2probe") + text("2probe"),
    "E11 a message behind the probe": text("2probe") + text("4x"),
}


@pytest.mark.parametrize("row", PROBES)
def test_upgrade_that_is_none_is_closed_and_polling_goes_on(siege: Siege, row: str) -> None:
    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client, Attacker(siege) as probe:
            sid = opened(client)
            probe.upgrade(f"{SOCKET}&sid={sid}")
            probe.send(*pieces)
            said = probe.messages("")[-1]
            assert client.ask("POST", f"{POLL}&sid={sid}", b"40")[0] == 200
            status, body = client.ask("GET", f"{POLL}&sid={sid}")
            assert client.ask("POST", f"{POLL}&sid={sid}", b"1")[0] == 200
            return [said, status, body[:7]]

    verdict = siege.verdict(attempt, PROBES[row], cut_before=b"\x81")
    assert verdict[0].startswith("close")
    assert verdict[1:] == [200, b'40{"sid']
    siege.holds()


@pytest.mark.parametrize("probed", [False, True])
def test_upgrade_that_goes_no_further_is_closed_in_time(siege: Siege, probed: bool) -> None:
    hasty = "/hasty/?EIO=4&transport=polling"
    with Attacker(siege) as client, Attacker(siege) as probe:
        sid = opened(client, hasty)
        client.ask("POST", f"{hasty}&sid={sid}", b"40/hasty,")
        probe.upgrade(f"{hasty.replace('polling', 'websocket')}&sid={sid}")
        if probed:
            probe.send(text("2probe"))
            assert probe.message() == "text 3probe"
        assert probe.message().startswith("close")
    siege.holds()


# -- payloads (E13 to E15, E22) ----------------------------------------------------------

PAYLOADS: dict[str, bytes] = {
    "E13 nothing": b"",
    "E13 a separator": b"\x1e",
    "E13 a separator behind": b"4a\x1e",
    "E13 a separator before": b"\x1e4a",
    "E13 two separators": b"4a\x1e\x1e4b",
    "E13 an unknown type": b"9",
    "E13 no type": b"abc",
    "E13 an open packet": b'0{"sid":"x"}',
    "E13 a ping": b"2",
    "E13 an upgrade": b"5",
    "E13 a noop": b"6",
    "E13 a pong with more": b"3x",
    "E13 a close with more": b"1x",
    "E13 rubbish in base64": b"b!!!!",
    "E13 base64 with a newline": b"bAA\nE=",
    "E13 base64 of one letter": b"bA",
    "E13 base64 with padding inside": b"bAA==AAAA",
    "E13 a payload of version 3": b"6:4hello",
    "E22 no UTF-8": b"4\xff\xfe",
    "E22 half a code point": b"4\xc3",
    "E22 a surrogate": b"4\xed\xa0\x80",
    "E22 a byte order mark": b"\xef\xbb\xbf4a",
    "a NUL": b"\x00",
    "wide digits": "４x".encode(),  # noqa: RUF001
}


@pytest.mark.parametrize("row", PAYLOADS)
def test_payload_that_is_none_ends_its_session(siege: Siege, row: str) -> None:
    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            sid = opened(client)
            head, _, _ = siege.request("POST", f"{POLL}&sid={sid}", PAYLOADS[row]).partition(
                b"\r\n\r\n"
            )
            client.send(head + b"\r\n\r\n", *pieces)
            status, _, body = client.answer()
            return [status, body, is_over(siege, sid)]

    assert siege.verdict(attempt, PAYLOADS[row]) == [400, error(3), True]
    siege.holds()


def test_good_packets_before_a_bad_one_count(siege: InProcess) -> None:
    siege.heard.clear()
    with Attacker(siege) as client:
        sid = opened(client)
        body = b'40\x1e42["heard"]\x1e9\x1e42["not heard"]'
        assert client.ask("POST", f"{POLL}&sid={sid}", body)[0] == 400
    siege.holds()
    assert siege.heard == [["heard"]]


def test_headers_that_say_what_a_payload_is_not_are_refused(siege: Siege) -> None:
    for headers in (
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br, gzip"},
        {"Content-Type": "application/octet-stream"},
    ):
        with Attacker(siege) as client:
            sid = opened(client)
            client.send(siege.request("POST", f"{POLL}&sid={sid}", b"4x", **headers))
            assert client.answer()[0] in (400, 415)
            assert is_over(siege, sid)
    siege.holds()


@pytest.mark.parametrize("chunked", [False, True])
def test_payload_over_the_limit_is_cut_off_and_the_session_lives(
    siege: InProcess, chunked: bool
) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(other)
        target = f"{POLL}&sid={sid}"
        if chunked:
            head = siege.request("POST", target, Content_Length="", Transfer_Encoding="chunked")
            client.send(head + b"8000\r\n" + b"4" * 0x8000 + b"\r\n")
            for _ in range(40):
                client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        else:
            client.send(siege.request("POST", target, b"4" + b"x" * 1_000_000))
        status, _, body = client.answer()
        assert (status, body) == (413, b"")
        assert other.ask("POST", target, b"1") == (200, b"ok")
    siege.holds()


@pytest.mark.parametrize("length", ["1000001", "99999999999", "5"])
def test_length_that_lies_is_its_own_fault(siege: Siege, length: str) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(other)
        head = siege.request("POST", f"{POLL}&sid={sid}", Content_Length=length)
        client.send(head + b"4x")
        if length != "5":
            assert client.answer()[0] == 413
        client.leave("close")
        other.ask("POST", f"{POLL}&sid={sid}", b"1")
    siege.holds()


@pytest.mark.parametrize(
    "payload",
    [
        b"\x1e".join([b"3"] * 200_000),
        b"\x1e".join([b"4"] * 200_000),
        b"\x1e" * 999_999,
        b"b" + b"A" * 900_000,
        b"4" + b"[" * 900_000,
    ],
    ids=["pongs", "messages", "separators", "base64", "brackets"],
)
def test_payload_that_is_much_work_is_none(siege: Siege, payload: bytes) -> None:
    with Attacker(siege) as client:
        sid = opened(client)
        assert client.ask("POST", f"{POLL}&sid={sid}", payload)[0] == 400
        assert is_over(siege, sid)
    siege.holds()


# -- time (E17 to E23) -------------------------------------------------------------------


def test_pongs_that_nobody_asked_for_cost_nothing(siege: InProcess) -> None:
    with Attacker(siege) as client:
        client.upgrade(SOCKET)
        before = siege.timers()
        client.send(text("40") + text("3") * 10_000 + text('42["echo",1]'))
        assert client.messages('text 42["echo",1]')[-1] == 'text 42["echo",1]'
        assert siege.timers() < before + 20
    siege.holds()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_silence_is_the_end_in_time(siege: Siege, transport: str) -> None:
    began = time.monotonic()
    with Attacker(siege) as client:
        if transport == "websocket":
            client.upgrade("/hasty/?EIO=4&transport=websocket")
            client.send(text("40/hasty,"))
            assert client.messages("")[-1].startswith("close")
        else:
            sid = opened(client, "/hasty/?EIO=4&transport=polling")
            target = f"/hasty/?EIO=4&transport=polling&sid={sid}"
            client.ask("POST", target, b"40/hasty,")
            said = b""
            while b"1" not in said.split(b"\x1e"):
                status, said = client.ask("GET", target)
                if status == 400:
                    break
    assert time.monotonic() - began > 0.5
    siege.holds()


def test_handshakes_that_nobody_follows_end_by_themselves(siege: Siege) -> None:
    with Attacker(siege) as client:
        for _ in range(100):
            opened(client, "/hasty/?EIO=4&transport=polling")
    siege.holds()


def test_client_that_never_polls_is_dropped_with_its_queue(siege: InProcess) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        sid = opened(client)
        target = f"{POLL}&sid={sid}"
        client.ask("POST", target, b"40")
        client.ask("GET", target)
        other.send(siege.request("POST", target, b'42["flood",500]'))  # 5 MB, if it were read
        siege.turn()
        assert siege.queued(sid) <= 2 << 20
        client.ask("POST", target, b"1")
    siege.holds()


FRAMES: dict[str, bytes] = {
    "E23 an empty text": text(""),
    "E23 bytes for nobody": frame(0x82, b"x"),
    "E23 no bytes at all": frame(0x82),
    "E23 a packet of no type": text("x"),
    "E23 base64": text("bAQID"),
    "E23 an open packet": text("0{}"),
    "E23 a payload": text("4a\x1e4b"),
    "E23 a probe": text("2probe"),
    "E23 an upgrade": text("5"),
}


@pytest.mark.parametrize("row", FRAMES)
def test_frame_that_is_no_packet_closes_the_session(siege: InProcess, row: str) -> None:
    siege.heard.clear()

    def attempt(pieces: list[bytes]) -> list[str]:
        with Attacker(siege) as client:
            client.upgrade(SOCKET)
            assert client.message().startswith("text 0{")
            client.send(text("40"))
            assert client.message().startswith("text 40{")
            client.send(*pieces, text('42["echo","end"]'))
            return [message[:5] for message in client.messages("")]

    assert siege.verdict(attempt, FRAMES[row]) == ["close"]
    assert siege.heard == []
    siege.holds()


def test_message_over_the_limit_is_1009(siege: Siege) -> None:
    with Attacker(siege) as client:
        client.upgrade(SOCKET)
        client.message()
        client.send(text("4" + "x" * (1 << 20)))
        assert client.message() == "close 1009"
    siege.holds()


def test_path_without_websockets_knows_none(siege: Siege) -> None:
    with Attacker(siege) as client:
        client.send(siege.handshake("/polls/?EIO=4&transport=websocket"))
        assert client.answer()[0] == 400
    siege.holds()


# -- and without assertions ---------------------------------------------------------------


def test_server_without_assertions_refuses_the_same_requests(
    serve: Serve, optimized_python: Path
) -> None:
    siege = Optimized(serve, optimized_python)
    with Attacker(siege) as client:
        for row, (query, code) in QUERIES.items():
            assert client.ask("GET", f"/socket.io/?{query}") == (400, error(code)), row
    for row, payload in PAYLOADS.items():
        with Attacker(siege) as client:
            sid = opened(client)
            assert client.ask("POST", f"{POLL}&sid={sid}", payload) == (400, error(3)), row
            assert is_over(siege, sid), row
    siege.holds()
    siege.end()
