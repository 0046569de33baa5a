"""Rooms `dumps`, `transcripts`, `anatomy_packet` and `anatomy_talk`: bytes as people have them."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite.anatomy import CLIENT, SERVER, Layer, first_fault
from redbarrel_lite.dumps import Block, dumped, from_hex, literal
from redbarrel_lite.explain import Wanted, explain, explained

FRAME = bytes.fromhex("818537fa213d7f9f4d5158")
PONG = bytes.fromhex("818137fa213d04")  # "3", of Engine.IO
LONG = FRAME + bytes(70) + b"ab cd ef 01 23 45"
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
AGREED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def walked(given: str | bytes, **wanted: Any) -> list[Layer]:
    return [inner for layer in explained(given, Wanted(**wanted)) for inner in layer.walk()]


def names(given: str | bytes, **wanted: Any) -> list[str]:
    return [layer.name for layer in walked(given, **wanted)]


def refused(given: str | bytes, capsys: pytest.CaptureFixture[str], **wanted: Any) -> str:
    """What is said of an input that can't be read, with exit status 2."""
    assert explain(given, Wanted(**wanted)) == 2
    out, error = capsys.readouterr()
    assert out == ""
    return error.removeprefix("error: ").rstrip("\n")


# -- hexadecimal ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        *("818537", "81 85 37", "81:85:37", "81-85-37", "81,85,37", "81;85;37", "81\n8537"),
        *("0x81,0x85,0x37", "0X81,0X85,0X37", r"\x81\x85\x37", "0x81 85 37", " 8185 37,"),
    ],
)
def test_hexadecimal_is_read_however_it_is_parted(text: str) -> None:
    assert from_hex(text) == b"\x81\x85\x37"


@pytest.mark.parametrize(
    ("text", "slip"),
    [
        ("81 85 37 fa 2g", "'g' in '2g' (byte 5, character 14)"),
        ("818537fa2g", "'g' in '2g' (byte 5, character 10)"),
        ("818537f", "'f' is half a byte (byte 4, character 7)"),
        ("81 8 37", "'8' is half a byte (byte 2, character 4)"),
        ("0x81,0xzz,0x37", "'z' in '0xzz' (byte 2, character 8)"),
    ],
)
def test_slip_in_hexadecimal_is_named(
    text: str, slip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"this is not hexadecimal: {slip}"
    assert refused(text, capsys) == said
    assert refused(text, capsys, is_hex=True) == said


# -- dumps ---------------------------------------------------------------------------------

TOOLS = [
    *("xxd", "xxd -u", "xxd -g1", "xxd -c 32", "xxd -c 8", "hexdump", "hexdump -C", "hexdump -x"),
    *("hexdump -v -C", "od -tx1", "od -A x -t x1z", "od -A d -t x1", "od -x"),
]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("data", [FRAME, LONG, bytes(range(256)), b"a", bytes(16), bytes(48)])
def test_dump_of_a_tool_that_is_here_is_read(tool: str, data: bytes, tmp_path: Path) -> None:
    command = tool.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    (tmp_path / "data").write_bytes(data)
    if data == bytes(48) and tool == "od -x":
        pytest.skip("60 may be octal, as od means it, or hexadecimal, as hexdump would")
    printed = subprocess.run([*command, tmp_path / "data"], capture_output=True, check=True)
    assert dumped(printed.stdout.decode()) == [Block(data)]


def xxd(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        groups = " ".join(part[i : i + 2].hex() for i in range(0, len(part), 2))
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}: {groups:<39}  {seen}\n")
    return "".join(lines)


POWERSHELL_5 = (
    "\r\n\r\n           00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\r\n\r\n"
    "00000000   81 85 37 FA 21 3D 7F 9F 4D 51 58                 ..7ú!=..MQX\r\n"
)
POWERSHELL_7 = (
    "   Label: String (System.String) <4A46D9CE>\n\n"
    "          Offset Bytes                                           Ascii\n"
    "                 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n"
    "          ------ ----------------------------------------------- -----\n"
    "0000000000000000 81 85 37 FA 21 3D 7F 9F 4D 51 58                ��7�!=��MQX\n"
)


@pytest.mark.parametrize(
    "dump",
    [
        xxd(FRAME),
        POWERSHELL_5,
        POWERSHELL_7,
        "00000000  81 85 37 fa 21 3d 7f 9f  4d 51 58                       |..7.!=..MQX|\n0000000b",
        "0000000 81 85 37 fa 21 3d 7f 9f 4d 51 58\n0000013\n",
        "0000000 8581 fa37 3d21 9f7f 514d 0058\n000000b\n",
        " 81 85 37 fa 21 3d 7f 9f 4d 51 58\n",
        "0000   81 85 37 fa 21 3d 7f 9f 4d 51 58                  ..7.!=..MQX",
        "\t0x0000:  8185 37fa 213d 7f9f 4d51 58    ..7.!=..MQX",
        "0000 - 81 85 37 fa 21 3d 7f 9f-4d 51 58                  ..7.!=..MQX",
        f"\x1b[1;32m{xxd(FRAME)}\x1b[0m",
        repr(FRAME),
        repr(bytearray(FRAME)),
        '"\\x81\\x85\\x37\\xfa\\x21\\x3d\\x7f\\x9f" \\\n"\\x4d\\x51\\x58"',
        "".join(f"%{byte:02x}" for byte in FRAME),
        " ".join(f"{byte:08b}" for byte in FRAME),
        f"char peer0_0[] = {{ /* Packet 1 */\n{', '.join(map(hex, FRAME))} }};\n",
        "<Buffer 81 85 37 fa 21 3d 7f 9f 4d 51 58>",
        "Uint8Array(11) [\n  129, 133, 55, 250, 33,\n  61, 127, 159, 77, 81, 88\n]",
        "new Uint8Array([0x81,0x85,0x37,0xfa,0x21,0x3d,0x7f,0x9f,0x4d,0x51,0x58])",
        "unsigned char f[] = {\n  0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d,\n"
        "  0x51, 0x58\n};\nunsigned int f_len = 11;\n",
        json.dumps(list(FRAME)),
        json.dumps({"type": "Buffer", "data": list(FRAME)}),
        base64.b64encode(FRAME).decode(),
    ],
)
def test_frame_is_read_however_it_is_written(dump: str) -> None:
    for given in (dump, dump.encode(), b"\xef\xbb\xbf" + dump.encode(), dump.encode("utf-16")):
        (layer,) = walked(given)
        assert (layer.name, layer.data, layer.fault) == ("WebSocket frame", FRAME, None)


@pytest.mark.parametrize(
    ("dump", "said"),
    [
        (xxd(FRAME).replace("37fa", "37fg"), "line 1 of this dump, column 16: '37fg' is not hex"),
        ("".join(xxd(LONG).splitlines(keepends=True)[::2]), "line 1 of this dump has no line beh"),
        (" 81 85\n*\n 00\n", "a '*' stands for lines that a dump has left out"),
        ("00000000: 10000001 00000000  ..\n", "this dump has bits: make it without -b"),
        ("[129, 300]", "300 is no byte: number 2 of these is not within 0 and 255"),
        (r"b'\x8'", "this is no literal of bytes: truncated "),
    ],
)
def test_dump_that_is_not_whole_is_told_of(
    dump: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(dump, capsys).startswith(said)


def test_dumps_are_read_or_refused_whatever_is_changed_in_them() -> None:
    chance = random.Random(5)
    for _ in range(300):
        dump = list(xxd(LONG))
        for _ in range(chance.randrange(1, 4)):
            dump[chance.randrange(len(dump))] = chance.choice("0f g\n:|*")
        with contextlib.suppress(ValueError):
            dumped("".join(dump))


def test_lines_of_hexadecimal_may_begin_with_zeros() -> None:
    assert dumped("0000 8185\n37fa 213d\n") is None
    assert walked("0080 0001\n8185 37fa\n")[0].data[:4] == b"\0\x80\0\1"


@pytest.mark.parametrize(
    "text",
    [
        '42["a"]',
        "42[1]",
        "431[]",
        '___eio[4]("a");',
        '["a",1]',
        "[true]",
        "GET / HTTP/1.1",
        "",
        "{}",
    ],
)
def test_what_is_no_dump_is_left_to_others(text: str) -> None:
    assert dumped(text) is None
    assert literal(text) is None


# -- packets -------------------------------------------------------------------------------


def packet(payload: bytes, *, back: bool = False, sequence: int = 1, link: bytes = b"") -> bytes:
    ports = (5000, 40000) if back else (40000, 5000)
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, 1, 0x80, 0x18, 512, 0, 0)
    tcp += b"\1\1\x08\n" + bytes(8) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0x4000, 64, 6, 0)
    return link + head + b"\x7f\0\0\1" * 2 + tcp


def tcpdump(data: bytes) -> str:
    shown = re.sub(r"(?m)^0000(....): ", r"\t0x\1:  ", xxd(data))
    return f"12:00:00.123456 IP 127.0.0.1.40000 > 127.0.0.1.5000: Flags [P.], length 9\n{shown}"


ETHERNET = bytes(12) + b"\x08\0"


@pytest.mark.parametrize(
    "link",
    [
        b"",
        ETHERNET,
        bytes(12) + b"\x81\0\0\1\x08\0",
        bytes(14) + b"\x08\0",
        b"\x08\0" + bytes(18),
        b"\2\0\0\0",
    ],
)
def test_headers_of_a_packet_are_stepped_over(link: bytes) -> None:
    data = packet(FRAME, link=link)
    for given in (tcpdump(data), xxd(data), data.hex(), data):
        headers, frame = walked(given)
        assert headers.summary == "127.0.0.1:40000 to 127.0.0.1:5000, 11 bytes"
        assert [one.end for one in headers.fields][-1] == len(headers.data) == len(link) + 52
        assert (headers.sender, frame.data, frame.fault) == (CLIENT, FRAME, None)


def test_headers_of_ip_version_6_are_stepped_over() -> None:
    tcp = packet(FRAME)[20:]
    head = struct.pack(">IHBB", 0x60000000, len(tcp), 6, 64) + (bytes(15) + b"\1") * 2
    headers, frame = walked(xxd(bytes(12) + b"\x86\xdd" + head + tcp))
    assert headers.summary == "[::1]:40000 to [::1]:5000, 11 bytes"
    assert frame.data == FRAME


def test_packets_are_a_conversation() -> None:
    text = "".join(
        tcpdump(one)
        for one in (
            packet(HANDSHAKE),
            packet(AGREED, back=True),
            packet(b"\x81\x012", back=True, sequence=500),
            packet(PONG[:4], sequence=200),
            packet(PONG[:4], sequence=200),  # captured twice
            packet(PONG[4:], sequence=204),
            packet(b""),
        )
    )
    layers = [layer for layer in walked(text) if layer.name != "TCP segment"]
    assert [(layer.name, layer.sender) for layer in layers] == [
        ("HTTP request", CLIENT),
        ("Engine.IO query", CLIENT),
        ("WebSocket handshake", CLIENT),
        ("HTTP response", SERVER),
        ("WebSocket frame", SERVER),
        ("Engine.IO packet", SERVER),
        ("WebSocket frame", CLIENT),
        ("Engine.IO packet", CLIENT),
    ]
    summaries = [layer.summary for layer in walked(text) if layer.name == "TCP segment"]
    assert [one.endswith("sent again") for one in summaries] == [*[False] * 4, True, False, False]


def test_capture_may_begin_in_the_middle() -> None:
    text = tcpdump(packet(b"\x81\x012", back=True)) + tcpdump(packet(FRAME))
    assert [(one.name, one.sender) for one in walked(text) if one.name != "TCP segment"] == [
        ("WebSocket frame", SERVER),
        ("Engine.IO packet", SERVER),
        ("WebSocket frame", CLIENT),
    ]
    assert names(tcpdump(packet(b"HTTP/1.1 204 No Content\r\n\r\n", back=True)))[1] == (
        "HTTP response"
    )


def test_packet_that_was_captured_in_part_is_told_of() -> None:
    headers, frame = walked(tcpdump(packet(FRAME)[:-4]))
    assert headers.summary.endswith("7 bytes, and 4 that were not captured")
    assert (frame.data, frame.missing) == (FRAME[:-4], 4)


def test_stream_that_wireshark_follows_is_a_conversation() -> None:
    spoken = [
        ("", 0, HANDSHAKE),
        ("    ", 0, AGREED),
        ("", len(HANDSHAKE), PONG),
        ("    ", len(AGREED), b"\x81\x012"),
    ]
    text = ""
    for indent, at, data in spoken:
        for start in range(0, len(data), 16):
            part = data[start : start + 16]
            halves = f"{part[:8].hex(' ')}  {part[8:].hex(' ')}"
            text += f"{indent}{at + start:08x}  {halves:<48}   {ascii(part)[2:-1]}\n"
    assert [(one.name, one.sender) for one in explained(text, Wanted())] == [
        ("HTTP request", CLIENT),
        ("HTTP response", SERVER),
        ("WebSocket frame", CLIENT),
        ("WebSocket frame", SERVER),
    ]
    assert first_fault(walked(text)) is None


def test_packet_of_another_protocol_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(packet(FRAME, link=ETHERNET))
    data[14 + 9] = 17
    assert refused(xxd(bytes(data)), capsys) == "this is a packet of UDP, and HTTP runs over TCP"


# -- transcripts ---------------------------------------------------------------------------

CURL = """\
  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current
                                 Dload  Upload   Total   Spent    Left  Speed
\r  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0*   Trying ::1...
* Connected to localhost (::1) port 5000 (#0)
> GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r
> Host: localhost:5000\r
> Accept: */*\r
> \r
< HTTP/1.1 200 OK\r
< content-length: 14\r
< \r
{ [14 bytes data]
\r100    14  100    14    0     0  32564      0 --:--:-- --:--:-- --:--:-- 40000
* Connection #0 to host localhost left intact
40{"sid":"x1"}"""
FROM_CURL = [
    *("HTTP request", "Engine.IO query", "HTTP response", "HTTP content"),
    *("Engine.IO packet", "Socket.IO packet"),
]


@pytest.mark.parametrize(
    "text",
    [
        CURL,
        CURL.replace("\r\n", "\n"),
        CURL.replace("> ", "\x1b[1m> \x1b[0m"),
        CURL.replace("HTTP/1.1 200 OK", "HTTP/2 200 ").replace(
            "polling HTTP/1.1", "polling HTTP/2"
        ),
        CURL + "* Connection #0 to host localhost left intact",
    ],
)
def test_heads_and_content_are_taken_out_of_what_curl_says(text: str) -> None:
    assert names(text) == FROM_CURL
    assert first_fault(walked(text)) is None


def test_head_in_a_document_may_end_without_an_empty_line() -> None:
    text = 'GET /socket.io/?EIO=4\n< HTTP/1.1 200 OK\n< Content-Type: text/plain\n42["hey"]\n'
    layers = ["HTTP response", "HTTP content", "Engine.IO packet", "Socket.IO packet"]
    assert names(text) == layers
    assert walked("> GET / HTTP/1.1\n> Host: a\n")[0].missing


def test_answer_to_head_has_no_content_in_what_curl_says() -> None:
    text = "> HEAD / HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 200 OK\n< content-length: 9\n<\n"
    (said,) = [one.meaning for one in walked(text)[1].fields if one.name == "content-length"]
    assert said == "bytes of content that GET would have been given: to HEAD none follows"


def test_what_curl_traces_is_a_conversation() -> None:
    text = "== Info: Trying\n=> Send SSL data, 2 bytes (0x2)\n0000: 16 03       ..\n"
    text += "=> Send header, 27 bytes (0x1b)\n" + "".join(
        f"{at:04x}: {part.hex(' '):<47} {part.decode()!a}\n"
        for at, part in ((0, b"GET / HTTP/1.1\r\n"), (16, b"Host: a\r\n\r\n"))
    )
    text += "<= Recv header, 27 bytes (0x1b)\n" + "".join(
        f"{at:04x}: {part.hex(' '):<47} {part.decode()!a}\n"
        for at, part in ((0, b"HTTP/1.1 204 No "), (16, b"Content\r\n\r\n"))
    )
    assert [(one.name, one.sender, one.fault) for one in walked(text)] == [
        ("HTTP request", CLIENT, None),
        ("HTTP response", SERVER, None),
    ]


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (
            ":method: GET\n:path: /x\n:authority: a\n:scheme: https\naccept: */*\n",
            "GET /x HTTP/1.1",
        ),
        (":authority\na\n:method\nGET\n:path\n/x\naccept\n*/*", "GET /x HTTP/1.1"),
        (":authority:\na\n:method:\nGET\n:path:\n/x\naccept:\n*/*", "GET /x HTTP/1.1"),
        ("Host: a\nAccept: */*", "GET / HTTP/1.1"),
        ("Accept: */*", "GET / HTTP/1.1"),
        (":status: 404\nserver: a", "HTTP/1.1 404 "),
        ("Set-Cookie: a=b", "HTTP/1.1 200 "),
    ],
)
def test_lines_that_a_browser_shows_are_a_head(text: str, data: str) -> None:
    (layer,) = walked(text)
    assert layer.data.startswith(f"{data}\r\n".encode())
    assert layer.fault is None


@pytest.mark.parametrize(
    ("text", "senders"),
    [
        ('2\n3\n42["a"]\n', [SERVER, CLIENT, CLIENT]),
        ('↑ 42["a"]\r\n⬇ 42["b"]\r\n', [CLIENT, SERVER]),
        ('> 42["a"]\n< 42["b"]\n', [CLIENT, SERVER]),
        ('42["a"]\t7\t12:00:00.000\n2\t1\t12:00:01.000\n', [CLIENT, SERVER]),
        ("\x1b[32m3\x1b[0m", [CLIENT]),
        (json.dumps('42["a"]'), [CLIENT]),
        ("'42[\"a\"]'", [CLIENT]),
        ('\xa0 \u201c42["a"]\u201d', [CLIENT]),
        ("Connected (press CTRL+C to quit)\n> 3\n< 2\n", [CLIENT, SERVER]),
    ],
)
def test_messages_that_a_browser_shows_are_packets(text: str, senders: list[str]) -> None:
    layers = explained(text, Wanted())
    assert {layer.name for layer in layers} == {"Engine.IO packet"}
    assert [layer.sender for layer in layers] == senders
    assert first_fault(layers) is None


@pytest.mark.parametrize("mark", ["\u241e", "\\u001e", "\\x1e", "%1E", "^^"])
def test_separator_may_be_written_with_a_mark(mark: str) -> None:
    assert names(f"2{mark}41") == names("2\x1e41")
    assert names("2\x1e41")[0] == "Engine.IO payload"


def test_wrong_packet_among_lines_is_wrong() -> None:
    assert first_fault(explained("2\n6x\n", Wanted())) is not None


# -- what can't be read ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "nothing to explain: the input is empty"),
        (b"", "nothing to explain: the input is empty"),
        (" \n", "nothing to explain: the input is blank"),
        ("hello world", 'can\'t read this: "hello world" is no bytes in hexadecimal, no head'),
        ('["hello",1]', 'can\'t read this: "["hello",1]" is JSON, and no packet: before it'),
        ("curl 'http://a/'", "can't read this: \"curl 'http://a/'\" is a command: run it with -sv"),
        ('{"log": {}}', 'can\'t read this: "{"log": {}}" is JSON, and no packet'),
        ("ws://localhost/", 'can\'t read this: "ws://localhost/" is a url'),
        ("INFO:engineio: sent 2", 'can\'t read this: "INFO:engineio: sent 2" is no bytes'),
        ("x\x1b[2J", 'can\'t read this: "x\\x1b[2J" is no bytes'),
        (b"\x16\x03\x01\x02\0", "can't read this: it is TLS"),
        (b"\x1f\x8b\x08\0", "can't read this: it is compressed by gzip"),
        ("127.0.0.1:5000", "can't read this: it is an address, or a number"),
        ("1.1", "can't read this: it is an address, or a number"),
        ("12:00:00.1 IP a > b: Flags\nE..?", "can't read this: it is what tcpdump says without"),
        (b"\xd4\xc3\xb2\xa1", "can't read this: it is a file of packets"),
        ("000012040000000000", "can't read this: it is HTTP/2"),
    ],
)
def test_what_is_no_input_is_told_of(
    given: str | bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(given, capsys).startswith(said)


def test_name_of_a_file_is_none_of_its_bytes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frame.bin").write_bytes(FRAME)
    for name in ("frame.bin", "./frame.bin", str(tmp_path / "frame.bin")):
        assert refused(name, capsys).endswith(f"is a file: < {name} gives what is in it")


def test_lost_line_ends_are_put_back_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    head = "GET / HTTP/1.1\nHost: a\n\n"
    assert explain(head, Wanted()) == 1
    assert capsys.readouterr().out.endswith("If copying has lost the CRs: --crlf.\n")
    assert explain(head, Wanted(crlf=True)) == 0


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 1_000_001, "81 " * 300_000 + "g", "QUFB" * 250_000, ":" * 1_000_000),
        *("a" + " " * 1_000_000 + "b", "(1," * 300_000, r"\x" * 300_000, "<" * 1_000_000),
    ],
)
def test_long_input_that_is_nothing_is_refused(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(refused(text, capsys)) < 400
