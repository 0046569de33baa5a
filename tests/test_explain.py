"""The command `explain`: docs/explain.md is what it prints, and it draws every vector.

``python tests/test_explain.py`` writes the pictures of the page anew.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite import anatomy_engineio, anatomy_socketio
from redbarrel_lite.anatomy import CLIENT, SERVER, Layer, first_fault, hidden, no_layers
from redbarrel_lite.anatomy_engineio_v3 import OldPackets
from redbarrel_lite.cli import main
from redbarrel_lite.drawing import Pen, draw
from redbarrel_lite.explain import Wanted, explain, explained, picture

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explain.md"
BLOCK = re.compile(
    r"```console\n(\$ python3 -m redbarrel_lite explain (?:<<'END'\n((?:.*\n)*?)END|(.*))\n)"
    r"(?:.*\n)*?```\n"
)
VECTORS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (ROOT / "tests" / "vectors").glob("*.json")
}


def printed(arguments: list[str], given: str = "") -> tuple[str, int]:
    """What the command prints, seen from the folder of the chat, and its exit status."""
    out = io.StringIO()
    with (
        contextlib.chdir(ROOT / "examples" / "chat"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(out),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
        status = main(["explain", *arguments])
    return out.getvalue(), status


def regenerated(page: str) -> str:
    """The page with each picture as it is drawn now."""

    def block(found: re.Match[str]) -> str:
        command, given, arguments = found.groups()
        return f"```console\n{command}{printed(shlex.split(arguments or ''), given or '')[0]}```\n"

    return BLOCK.sub(block, page)


def test_page_shows_what_the_command_prints() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```console") == len(BLOCK.findall(page)) > 8
    assert regenerated(page) == page, "python tests/test_explain.py writes it anew"


# -- every vector ------------------------------------------------------------------------


def drawn(layers: list[Layer]) -> str:
    """The picture, which has a caret if something is wrong, and no control character."""
    text = picture(layers, Pen())
    assert bool(first_fault(layers)) == bool(re.search(r"^ *\^+ ", text, re.M)), text
    assert all(line.isprintable() for line in text.split("\n")), ascii(text)
    return text


def test_every_vector_is_drawn() -> None:
    for row in VECTORS["http1"]:
        layers = explained(row["bytes"].encode("latin-1"), Wanted("http", CLIENT, is_hex=False))
        assert (first_fault(layers) is None) == (row["fault"] is None)
        drawn(layers)
    for row in VECTORS["wsproto"]:
        layers = explained(row["frames"], Wanted("websocket", CLIENT))
        if not row.get("deflate"):
            fault = first_fault(layers)
            is_compressed = any(int(row["frames"][:2], 16) & mask == mask for mask in (0x41, 0x42))
            assert is_compressed or (fault and fault.code) == row["fault"], row
        drawn(layers)
    for row in (*VECTORS["engineio"]["payloads"], *VECTORS["engineio"]["refused_payloads"]):
        drawn([anatomy_engineio.Packets(CLIENT, no_layers).payload(row["payload"])])
    for kind in ("both_ways", "base64", "bytes", "also_read", "refused"):
        for row in VECTORS["engineio_v3"][kind]:
            payload = row["text"] if "text" in row else bytes.fromhex(row["hex"])
            drawn([OldPackets(CLIENT, no_layers).payload(payload)])
    for message in VECTORS["socketio"]["refused"]:
        text = drawn([anatomy_socketio.Packets(CLIENT).receive(message)])
        assert "Wrong: " in text
        with contextlib.suppress(ValueError):  # it may be nothing at all
            drawn(explained(message, Wanted()))


# -- what it is ----------------------------------------------------------------------------


def names(given: str | bytes, **wanted: Any) -> list[str]:
    return [inner.name for layer in explained(given, Wanted(**wanted)) for inner in layer.walk()]


@pytest.mark.parametrize(
    ("given", "outermost"),
    [
        ("818537fa213d7f9f4d5158", "WebSocket frame"),
        ("0x81 0x85 0x37 0xfa 0x21 0x3d 0x7f 0x9f 0x4d 0x51 0x58", "WebSocket frame"),
        (r"\x89\x00", "WebSocket frame"),
        ("8a:00", "WebSocket frame"),
        (b"\x81\x02hi", "WebSocket frame"),
        ("474554202f20485454502f312e310d0a", "HTTP request"),
        ("00 02 ff 34 61", "Engine.IO 3 payload"),
        ("42", "Engine.IO packet"),
        ("40", "Engine.IO packet"),
        ("2probe", "Engine.IO packet"),
        ("3probe\n", "Engine.IO packet"),
        ("b", "Engine.IO packet"),
        ("4a\x1e4b", "Engine.IO payload"),
        ("6:4hello", "Engine.IO 3 payload"),
        ('2["a"]', "Socket.IO packet"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "HTTP response"),
        ("GET / HTTP/1.1", "HTTP request"),
        ("chat.chat", "RBR location"),
        ("proxy:http://localhost:5000", "RBR location"),
        ("42hello", "Engine.IO packet"),
        ("python:", "RBR location"),
        ("location:", "RBR location"),
        ("EIO=4&transport=polling", "Engine.IO query"),
        ("http://localhost:5000/socket.io/?EIO=4&transport=websocket", "Engine.IO query"),
        ("/socket.io/?EIO=5&transport=polling", "Engine.IO query"),
        (b"\x01\x02hi", "WebSocket frame"),
        (b"\xff", "WebSocket frame"),
    ],
)
def test_kind_is_guessed(given: str | bytes, outermost: str) -> None:
    assert names(given)[0] == outermost


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("proxy:http://", "RBR042: 'http://' is no address of a server"),
        ("proxy:ftp://x", "RBR042: 'ftp://x' is no address of a server"),
        ("file:nothing.html", "RBR038: no file 'nothing.html' in "),
        ("python:", "RBR023: nothing follows 'python:' (write a dotted name right behind"),
        ("wsgi: ", "RBR023: nothing follows 'wsgi:'"),
        ("proxy:", "RBR023: nothing follows 'proxy:'"),
        ("file:", "RBR023: nothing follows 'file:'"),
        ("directory:", "RBR023: nothing follows 'directory:'"),
        ("location:", "RBR023: nothing follows 'location:'"),
        ("python:1a.b", "RBR023: expected a dotted name after 'python:', not '1a.b'"),
        ("foo:bar", "RBR023: unknown location 'foo:'"),
        ("python:no_such_module.x", "RBR040: no module 'no_such_module' in "),
    ],
)
def test_location_is_judged_as_check_judges_it(location: str, reason: str) -> None:
    (layer,) = explained(location, Wanted())
    assert layer.fault is not None
    assert layer.fault.reason.startswith(reason)


def test_guess_can_be_overruled() -> None:
    assert names("4212", is_hex=True) == ["WebSocket frame"]
    assert names("8100", is_hex=False) == ["Engine.IO packet"]
    assert names("42", kind="socketio") == ["Socket.IO packet"]
    (layer,) = explained("810568656c6c6f", Wanted(sender="client"))
    assert layer.fault is not None
    assert explained("810568656c6c6f", Wanted())[0].fault is None
    (layer,) = explained("2", Wanted(sender="client"))
    assert layer.fault is not None
    assert explained("2", Wanted())[0].sender == "server"
    assert explained('40{"sid":"abc"}', Wanted())[0].sender == "server"
    assert explained('0/a,{"sid":"abc","pid":"d"}', Wanted(kind="socketio"))[0].sender == "server"
    assert explained('40{"sid":"abc"}', Wanted(sender="client"))[0].sender == "client"
    assert explained('40{"token":"abc"}', Wanted())[0].sender == "client"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "the connection speaks another protocol"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", "what the client has kept is still right"),
        ("GET / HTTP/1.1\r\n", "a path, and a query [RFC 9112 3.2.1]"),
        ("GET http://a/ HTTP/1.1\r\n", "a whole url, as proxies are asked [RFC 9112 3.2.2]"),
        ("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "the host once more: that of the target"),
        ("CONNECT a:443 HTTP/1.1\r\n", "the host and the port to tunnel to [RFC 9112 3.2.3]"),
        ("GET a:443 HTTP/1.1\r\n", "which only CONNECT asks for [RFC 9112 3.2.3]"),
        ("OPTIONS * HTTP/1.1\r\n", "no path of it: for OPTIONS [RFC 9112 3.2.4]"),
        ("GET a HTTP/1.1\r\n", "neither a path nor a url [RFC 9112 3.2]"),
        ("HTTP/1.1 200\r\n", "missing: the blank belongs there with no reason, too"),
        ("HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n", "no content follows a 304"),
        ("HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n", "to this status there is none"),
        ("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", "unless HEAD was asked"),
        ("GET /caf%C3%A9 HTTP/1.1\r\n", 'a path, and a query: "/café"'),
        ("GET /%ff HTTP/1.1\r\n", "a path, and a query [RFC"),
        ("GET / HTTP/1.1\r\nHost: a\r\nA: é\r\n\r\n", 'c3 a9 is "é" in UTF-8'),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: \xe9\r\n\r\n", "e9 is no UTF-8: maybe Latin-1"),
        ("GET /?EIO=3&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n", "`allow-eio3 on`"),
        ("880203e8", "[RFC 6455 7.4.1]"),
        ("88020bb8", "[RFC 6455 7.4.2]"),
        ("880203f4", "[IANA, WebSocket Close Code Number]"),
        ("8300 41", "[RFC 6455 7.1.7] 41 ── not read 41 nothing behind a fault is read"),
        ("8800 41", "[RFC 6455 7.1.1] 41 ── not read 41 nothing behind a close frame is read"),
        ('451-["photo",{"_placeholder":true,"num":0}]', "Sending and receiving data]"),
        ('42["connect"]', "reserved (Socket.IO documentation, Reserved events). The connection"),
        ('42["connect"]', "reserved, as are all of connect, connect_error, disconnect, "),
        ('47["x"]', "is closed. Where no Socket.IO is spoken it is right (`--as engineio`)."),
        (
            "4hello",
            "Right. A server of Socket.IO would close the connection: no Socket.IO packet: 'h",
        ),
        (
            "4hello\x1ebAQID",
            "Right. A server of Socket.IO would close the connection: no Socket.IO p",
        ),
        (
            "bAQID",
            "Right. A server of Socket.IO would close the connection: binary message without",
        ),
        (
            "40\x1ebAQID",
            "Wrong: binary message without a packet that announced it (Socket.IO 5, Pa",
        ),
        (
            "81 03 34 7a 7a",
            "Right. A server of Socket.IO would close the connection: no Socket.IO ",
        ),
        ("81 03 34 37 7a", "Where no Socket.IO is spoken it is right (`--as websocket`)."),
        ('451-["a",{"_placeholder":true,"num":1}]', "Wrong: placeholder for attachment 1 (Sock"),
        ('452-["a",{"_placeholder":true,"num":1}]', "… 2 attachments are to come Right so far."),
        ("01 01 41", "… more fragments of its message are to come Right so far."),
        ("01 01 41 88 00", "bytes of payload Right."),
        ("40\x1e1\x1e4zz", "4zz not read: it is too late Right."),
        ("40\x1e9\x1e4zz", "Wrong: bad Engine.IO packet '9' (Engine.IO 4, Packet encoding)."),
        ('0{"sid":"x","upgrades":{}}', "Wrong: bad handshake"),
        ('0{"sid":"x","upgrades":{}}', "{}}': upgrades is missing, or no list (Engine.IO 4, Hand"),
        (
            "c1 05 f2 00 11 00 00",
            "too far back (RFC 7692 7.2.2). The connection is closed with code ",
        ),
        (
            "c1 05 f2 00 11 00 00",
            "With a context taken over (RFC 7692 7.2.3.2) it may be right; ours",
        ),
        ("G(T / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n", "G(T / HTTP/1.1␍␊ ^ bad request line"),
        (f'42{"1" * 20}["a"]', "Wrong: "),
        ('42["deadbeef00"', "Wrong: bad JSON"),
        ("1:9", "1:9 ^ bad Engine.IO packet '9' (Engine.IO 3, Packet)"),
        ("2x", "Wrong: bad Engine.IO packet '2x' (Engine.IO 4, Packet encoding)."),
        ("2:402:bA", "Wrong: binary packet of type 'A' (Engine.IO 3, Packet)."),
    ],
)
def test_meaning_and_its_source(
    given: str | bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(given, Wanted()) == ("Wrong: " in (said := capsys.readouterr().out))
    assert words in re.sub(r"\s+", " ", said)


@pytest.mark.parametrize(
    ("name", "good", "bad", "at"),
    [
        ("Connection", "keep-alive, Upgrade", "keep-alive, Upgrad", 18),
        ("Sec-WebSocket-Version", "13", "12", 1),
        ("Sec-WebSocket-Version", "13", "8", 0),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=", 23),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl IHNhbXBsZSBub25jZQ==", 4),
    ],
)
def test_guilty_byte_of_a_handshake_is_in_its_value(
    name: str, good: str, bad: str, at: int
) -> None:
    head = (
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    wrong = head.replace(f"{name}: {good}", f"{name}: {bad}")
    fault = first_fault(explained(wrong, Wanted()))
    assert fault is not None
    assert fault.at == wrong.index(f"{name}: {bad}") + len(f"{name}: ") + at


@pytest.mark.parametrize(
    "handshake",
    [
        '0{"sid":"x","upgrades":5}',
        '0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000}',
        '0{"upgrades":[],"maxPayload":-1,"pingInterval":1}',
    ],
)
def test_guilty_byte_of_a_handshake_that_lacks_a_member_is_its_last(handshake: str) -> None:
    fault = first_fault(explained(handshake, Wanted("engineio", SERVER)))
    assert fault is not None
    assert fault.at == len(handshake) - 1


def test_request_line_without_a_version_is_a_query() -> None:
    (layer,) = explained("GET /socket.io/?EIO=4&transport=polling&t=N8hyd6w", Wanted())
    assert (layer.name, layer.fault) == ("Engine.IO query", None)


def test_values_of_heads_are_what_was_meant() -> None:
    (layer,) = explained("GET /ü HTTP/1.1\r\nHost: a\r\nA: é\r\nCookie: é\r\n\r\n", Wanted())
    assert layer.summary == "GET /ü HTTP/1.1"
    values = {one.name: one.value for one in layer.fields}
    assert (values["request-target"], values["A"]) == ('"/ü"', '"é"')
    (starred,) = hidden([layer])
    assert not any("é" in one.value + one.meaning for one in starred.fields if one.name == "Cookie")


def test_what_follows_an_upgrade_is_frames() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert names(answer + b"\x81\x01\x36") == [
        "HTTP response",
        "WebSocket frame",
        "Engine.IO packet",
    ]
    head = (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert names(head + b"\x89\x80\1\2\3\4")[-1] == "WebSocket frame"


def test_content_of_an_answer_to_a_poll_is_followed() -> None:
    answer = 'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n2\x1e42["ü",{"a":1}]'
    assert names(answer)[2:] == [
        "Engine.IO payload",
        "Engine.IO packet",
        "Engine.IO packet",
        "Socket.IO packet",
    ]


def test_attachments_are_told_from_raw_bytes() -> None:
    event = b'451-["a",{"_placeholder":true,"num":0}]'
    frames = bytes((0x81, len(event))) + event + b"\x82\x02\1\2\x82\x01\3"
    assert names(frames) == [
        *("WebSocket frame", "Engine.IO packet", "Socket.IO packet"),
        *("WebSocket frame", "Engine.IO packet", "Socket.IO attachment"),
        *("WebSocket frame", "Engine.IO packet", "Socket.IO message"),
    ]


# -- the picture ---------------------------------------------------------------------------


def test_long_bytes_are_drawn_in_part_but_never_without_their_fault() -> None:
    payload = b"x" * 4000 + b"\xff" + b"x" * 4000
    text = drawn(explained(b"\x81\x7e" + len(payload).to_bytes(2, "big") + payload, Wanted()))
    assert len(text.splitlines()) < 40
    assert "ff 78" in text
    assert re.search(r"… [0-9,]+ bytes …", text)


def test_wide_and_unprintable_characters_keep_the_caret_aligned() -> None:
    lines = draw(explained('42["漢\t",]', Wanted())).splitlines()
    row = next(number for number, line in enumerate(lines) if line.startswith('     2["'))
    assert lines[row] == '     2["漢␉",]'
    assert lines[row + 1].startswith("          ^ bad JSON")  # under the tab


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown() -> str:
        monkeypatch.setattr(sys, "stdout", terminal := Terminal())
        assert explain("2", Wanted()) == 0
        return terminal.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = shown()
    assert "\x1b[1m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = shown()
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_json_says_what_the_picture_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("81fe0005", Wanted(sender=CLIENT, as_json=True)) == 1
    (layer,) = json.loads(capsys.readouterr().out)
    assert (layer["layer"], layer["bytes"], layer["fault"]["at"]) == (
        "WebSocket frame",
        "81fe0005",
        3,
    )
    assert [one["name"] for one in layer["fields"]][:2] == ["FIN", "RSV1-3"]


def test_command_reads_a_pipe_and_says_how_it_ended() -> None:
    command = [sys.executable, "-m", "redbarrel_lite", "explain"]
    environment = {**os.environ, "PYTHONUTF8": "1"}

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*command, *arguments], cwd=ROOT, input=given, capture_output=True, env=environment
        )

    right = run(given=b"\x89\x00")
    assert (right.returncode, right.stdout.decode().splitlines()[-1]) == (0, "Right.")
    wrong = run("--hex", "zz")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        b"error: this is not hexadecimal: 'z' in 'zz' (byte 1, character 1)\n",
    )
    assert run("8305").returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="there is no pseudo-terminal")
def test_command_waits_for_nobody_to_type() -> None:
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", "explain"],
        cwd=ROOT,
        stdin=theirs,
        capture_output=True,
        timeout=60,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    told = b"error: nothing to explain: give bytes or a text, or - to type them\n"
    assert (done.returncode, done.stderr) == (2, told)


if __name__ == "__main__":
    PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
