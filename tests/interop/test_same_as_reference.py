"""The same bytes to the reference server and to ours: what do they hear, and what do clients?

A conversation is told to both servers, and what a client hears is written down line by
line. Both must say the same, but for what is listed as stricter, each with what the two say.
Ids are left out, and so are the reasons and codes with which a session that broke a
rule of Engine.IO or Socket.IO is closed: the reference gives none, and ours are for people.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from conftest import Serve
from peers import APPS, node_command, node_environment
from wire import SOCKET_IO, WebSocket, Wire, run, until

from redbarrel_lite import wsproto

pytestmark = pytest.mark.interop

POLLING = f"{SOCKET_IO}&transport=polling"
WEBSOCKET = f"{SOCKET_IO}&transport=websocket"
AFTER = '42["message","after"]'  # whatever comes before its echo has come
TOLD = ("content-type", "cache-control")


class Talk:
    """One conversation with one server, as its client hears it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard: list[str] = []

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> None:
        """One request; what is answered is written down."""
        wire = await Wire.open(self.url)
        status, answered, content = await wire.ask(method, target, body, **headers)
        if "transfer-encoding" in answered and method != "HEAD":
            content = await _in_chunks(wire)
        wire.close()
        told = [answered[name] for name in TOLD if name in answered]
        if "Origin" in headers:
            told.append(answered.get("access-control-allow-origin", "not for you"))
        self.heard.append(f"{status} {told} {_without_ids(content.decode())}")

    async def session(self) -> str:
        """The target of a new session over polling, which has connected to "/"."""
        wire = await Wire.open(self.url)
        opened = (await wire.ask("GET", POLLING))[2]
        target = f"{POLLING}&sid={json.loads(opened[1:])['sid']}"
        assert (await wire.ask("POST", target, b"40"))[0] == 200
        await wire.ask("GET", target)
        wire.close()
        return target

    async def websocket(self) -> WebSocket:
        """A WebSocket that has connected to "/"."""
        websocket = await WebSocket.connect(self.url, WEBSOCKET)
        await websocket.read()
        await websocket.text("40")
        assert [(await websocket.read())[:2], await websocket.read()] == ["40", '42["auth",{}]']
        return websocket

    async def until(self, last: str, websocket: WebSocket) -> None:
        """Write down what comes, until a message has this at its end, or all is over."""
        try:
            while True:
                opcode, payload = await websocket.read_frame()
                if opcode == wsproto.CLOSE:
                    code = int.from_bytes(payload[:2], "big")
                    rule = wsproto.NORMAL_CLOSURE, wsproto.POLICY_VIOLATION, 0
                    self.heard.append("closed" if code in rule else f"closed {code}")
                    return
                text = payload.decode() if opcode == wsproto.TEXT else payload.hex()
                self.heard.append(_without_ids(text))
                if text.endswith(last):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.heard.append("cut")


async def _in_chunks(wire: Wire) -> bytes:
    content = b""
    while size := int(await wire.reader.readline(), 16):
        content += (await wire.reader.readexactly(size + 2))[:-2]
    return content


def _without_ids(text: str) -> str:
    return re.sub(r'"sid":"[\w-]{16,}"', '"sid":"..."', text)


Conversation: TypeAlias = Callable[[Talk], Awaitable[None]]


@pytest.fixture
def reference() -> Iterator[str]:
    command = node_command("reference.cjs")
    process = subprocess.Popen(
        command, env=node_environment(), stdout=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def ours(serve: Serve, tmp_path: Path) -> str:
    """The application that the test suite of the protocol gets, with the usual times."""
    shutil.copy(APPS / "protocol_socketio.py", tmp_path)
    text = (APPS / "protocol_socketio.rbr").read_text()
    hasty = re.compile(r"^ +(ping|connect)-(interval|timeout) .*\n", re.MULTILINE)
    (tmp_path / "app.rbr").write_text(hasty.sub("", text))
    return serve(tmp_path / "app.rbr").url


def heard(url: str, conversation: Conversation) -> list[str]:
    talk = Talk(url)

    async def hold() -> None:
        await conversation(talk)

    run(hold())
    return talk.heard


# -- what both say -------------------------------------------------------------------


async def handshake(talk: Talk) -> None:
    for more in ("", "&t=abc&b64=1", "&x=%F0%9F%98%80"):
        await talk.ask("GET", POLLING + more)
    websocket = await WebSocket.connect(talk.url, WEBSOCKET)
    await talk.until("}", websocket)


async def bad_queries(talk: Talk) -> None:
    for query in (
        "transport=polling",
        "EIO=abc&transport=polling",
        "EIO=3&transport=polling",
        "EIO=4",
        "EIO=4&transport=abc",
        "EIO=4&transport=__proto__",
        "EIO=4&transport=websocket",
        "EIO=4&transport=polling&sid=unknown",
        "EIO=4&transport=polling&sid=__proto__",
        "EIO=4&transport=abc&sid=unknown",
    ):
        await talk.ask("GET", f"/socket.io/?{query}")
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD"):
        await talk.ask(method, POLLING)


async def requests_of_another_kind(talk: Talk) -> None:
    target = await talk.session()
    sid = target.rpartition("=")[2]
    for query in (f"transport=polling&sid={sid}", f"EIO=3&transport=polling&sid={sid}"):
        await talk.ask("POST", f"/socket.io/?{query}", AFTER.encode())
    await talk.ask("GET", f"{WEBSOCKET}&sid={sid}")
    await talk.ask("POST", target, AFTER.encode())


async def other_origins(talk: Talk) -> None:
    origin = {"Origin": "http://a.example"}
    await talk.ask("GET", POLLING, b"", **origin)
    await talk.ask("GET", "/socket.io/?EIO=4", b"", **origin)
    await talk.ask("POST", await talk.session(), b"x" * 1_000_001, **origin)


async def payloads(talk: Talk) -> None:
    target = await talk.session()
    for payload in (
        '42["message",1,"\u00e9",null,{"x":[true]}]\x1e421["a","\u00fc"]',
        '452-["m",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]\x1ebAQID\x1ebBAUG',
        "3",
        "40/custom",
    ):
        await talk.ask("POST", target, payload.encode())
        if payload != "3":
            await _poll_for(talk, target, payload.count("\x1e") + 1)


async def _poll_for(talk: Talk, target: str, packets: int) -> None:
    """Polls until so many packets have come: how they are shared out is no matter."""
    wire, got = await Wire.open(talk.url), list[str]()
    while len(got) < packets:
        got += (await wire.ask("GET", target))[2].decode().split("\x1e")
    talk.heard += map(_without_ids, got)


async def payload_of_the_limit(talk: Talk) -> None:
    for size in (1_000_000, 1_000_001):
        target = await talk.session()
        await talk.ask("POST", target, b'42["%s"]' % (b"x" * (size - 6)))
        await talk.ask("POST", target, AFTER.encode())


async def close_packet(talk: Talk) -> None:
    target = await talk.session()
    waiting = await _poll(talk, target)
    await talk.ask("POST", target, b"1")
    talk.heard.append(await _answer(waiting))
    await talk.ask("GET", target)


async def _poll(talk: Talk, target: str) -> Wire:
    """A poll that waits."""
    wire = await Wire.open(talk.url)
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
    await _is_read(wire)
    return wire


async def _is_read(wire: Wire) -> None:
    """Wait until the server has read all that was sent, be it the end: the system knows."""
    here, there = (wire.writer.get_extra_info(name)[1] for name in ("sockname", "peername"))
    queues = re.compile(
        rf":{here:04X} \w+:{there:04X} \w\w (\w+):|:{there:04X} \w+:{here:04X} \w\w \w+:(\w+)"
    )

    def is_read() -> bool:
        rows = queues.findall(Path("/proc/net/tcp").read_text("ascii"))
        return not any(int(sent or unread, 16) for sent, unread in rows)

    await until(is_read)


async def _answer(waiting: Wire) -> str:
    status, _, body = await waiting.answer()
    return f"{status} {body!r}"


async def second_poll(talk: Talk) -> None:
    target = await talk.session()
    waiting = await _poll(talk, target)
    wire = await Wire.open(talk.url)
    talk.heard.append(f"{(await wire.ask('GET', target))[0]}")
    talk.heard.append(await _answer(waiting))
    await talk.ask("GET", target)


async def second_post(talk: Talk) -> None:
    target = await talk.session()
    first = await Wire.open(talk.url)
    await first.send(f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n42[")
    await _is_read(first)
    second = await Wire.open(talk.url)
    talk.heard.append(f"{(await second.ask('POST', target, AFTER.encode()))[0]}")
    await talk.ask("GET", target)


async def poll_that_its_client_gives_up(talk: Talk) -> None:
    for method in ("GET", "POST"):
        target = await talk.session()
        wire = await Wire.open(talk.url)
        length = "Content-Length: 30\r\n" if method == "POST" else ""
        await wire.send(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{length}\r\n")
        await _is_read(wire)
        wire.close()
        await wire.writer.wait_closed()
        await _is_read(wire)
        await talk.ask("GET", target)


async def upgrade(talk: Talk) -> None:
    target = await talk.session()
    waiting = await _poll(talk, target)
    sid = target.rpartition("=")[2]
    websocket = await WebSocket.connect(talk.url, f"{WEBSOCKET}&sid={sid}")
    await websocket.text("2probe")
    await talk.until("probe", websocket)
    talk.heard.append(await _answer(waiting))
    await websocket.text("5")
    await websocket.text(AFTER)
    await talk.until('"after"]', websocket)
    await talk.ask("GET", target)
    await talk.ask("POST", target, AFTER.encode())
    other = await WebSocket.connect(talk.url, f"{WEBSOCKET}&sid={sid}")
    await talk.until("nothing", other)
    await websocket.text(AFTER)
    await talk.until('"after"]', websocket)


async def upgrade_without_waiting(talk: Talk) -> None:
    target = await talk.session()
    websocket = await WebSocket.connect(talk.url, f"{WEBSOCKET}&sid={target.rpartition('=')[2]}")
    for packet in ("2probe", "5", AFTER):
        await websocket.text(packet)
    await talk.until('"after"]', websocket)
    await talk.ask("GET", target)


async def upgrade_given_up(talk: Talk) -> None:
    target = await talk.session()
    sid = target.rpartition("=")[2]
    websocket = await WebSocket.connect(talk.url, f"{WEBSOCKET}&sid={sid}")
    await websocket.text("2probe")
    await talk.until("probe", websocket)
    websocket.close()
    await talk.ask("POST", target, AFTER.encode())
    await _poll_for(talk, target, 1)


async def refused_upgrades(talk: Talk) -> None:
    for query in ("EIO=4", "EIO=4&transport=abc", "EIO=4&transport=websocket&sid=unknown"):
        await talk.ask("GET", f"/socket.io/?{query}", b"", **_OPENING)


_OPENING = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def subprotocols(talk: Talk) -> None:
    offer = {"Sec-WebSocket-Protocol": "one, two"}
    websocket = await WebSocket.connect(talk.url, WEBSOCKET, **offer)
    talk.heard.append(websocket.answered["sec-websocket-protocol"])


async def frames(talk: Talk) -> None:
    for first, payload in (
        (0x81, b'42["%s"]' % (b"x" * 999_994)),
        (0x81, b'42["%s"]' % (b"x" * 999_995)),
        (0x81, b"42[\xff"),
        (0x82, b"unannounced"),
        (0x83, b""),
        (0xC1, b"a"),
        (0x80, b"a"),
        (0x09, b""),
        (0x89, b"x" * 126),
        (0x88, b""),
        (0x88, b"\x03\xe8"),
        (0x88, b"\x0f\xa0"),
        (0x88, b"\x03"),
        (0x88, b"\x03\xed"),
        (0x88, b"\x03\xe8\xff"),
    ):
        websocket = await talk.websocket()
        await websocket.frame(first, payload)
        await websocket.text(AFTER)
        await talk.until('"after"]', websocket)


async def connects(talk: Talk) -> None:
    for packet in (
        "40",
        "40{}",
        '40{"token":"123"}',
        "40/",
        "40/,",
        "40/custom",
        '40/custom,{"token":null}',
        "40/random",
        '40/random,{"a":1}',
        "40/custom/,",
        "40//",
        "40null",
        "40[]",
        '40"x"',
        "40/custom,[]",
        "40custom",
        '42["message",1]',
        "41",
        "41/custom,",
        "430[]",
        '44{"message":"x"}',
    ):
        websocket = await WebSocket.connect(talk.url, WEBSOCKET)
        await websocket.read()
        await websocket.text(packet)
        last = '"Invalid namespace"}' if re.search("random|custom/|//", packet) else "}]"
        await talk.until(last, websocket)


async def namespaces(talk: Talk) -> None:
    for in_custom, packets in (
        (False, ["40"]),
        (False, ["40/random", AFTER]),
        (False, ["40/random", '42/random,["message",1]']),
        (False, ['42/custom,["message",1]']),
        (False, ["43/custom,0[]"]),
        (True, ["40/custom"]),
        (True, ["41/custom,", AFTER]),
        (True, ["41", '42/custom,["message","after"]']),
        (False, ["40/custom?a=1,", AFTER]),
        (True, ['42/custom?a=1,["message",1]']),
    ):
        websocket = await talk.websocket()
        if in_custom:
            await websocket.text("40/custom")
            await talk.until('"auth",{}]', websocket)
        for packet in packets:
            await websocket.text(packet)
        await talk.until('"after"]', websocket)


PACKETS = (
    *('42["message"]', '42["message",null]', '42["message",1,"2",{"3":[true]}]', '42["unknown",1]'),
    *('42[""]', '42[1,"a"]', '42["message", 1 ]', '42["message",{"_placeholder":true,"num":0}]'),
    *('420["a"]', '42456["a",1,"2",{"3":[false]}]', '4200["a",1]', '42/,["message",1]'),
    *('42["message","\\u2028\\ud83d\\ude00\U0001f600"]', '42["message",{"__proto__":1}]'),
    *("4", "4abc", "48", "4999", "42{}", '42abc["a"]', '42["some","data"', '42["message"]x'),
    *('42[{"toString":"foo"}]', '42[true,"foo"]', '42[null,"bar"]', "42[]", '42"a"', "42null"),
    *('42["connect"]', '42["disconnect","123"]', '42["connect_error"]', '42["disconnecting"]'),
    *('42["newListener"]', '42["removeListener"]', '42["a",NaN]', '42["a",01]', "42['a']"),
    *("44[]", '44{"message":"x"}', "430[]", "431{}", "43999[1]", "41[]", "41x", "45", "451"),
    *("45a-", "451.23-", '450-["a",1]', '45-["a",1]', '4511-["a",1]', '42/custom["a",1]'),
)


async def packets(talk: Talk) -> None:
    for packet in PACKETS:
        websocket = await talk.websocket()
        talk.heard.append(packet)
        await websocket.text(packet)
        await websocket.text(AFTER)
        await talk.until('"after"]', websocket)


def _placeholder(number: str) -> str:
    return f'{{"_placeholder":true,"num":{number}}}'


ATTACHED = (
    ('451-["m",%s]', "0"),
    ('452-["m",%s,%s]', "1 0"),
    ('451-["m",%s,%s]', "0 0"),
    ('452-789["m",%s,{"a":[%s]}]', "0 1"),
    ('451-["m",%s]', "1"),
    ('451-["m",%s]', "-1"),
    ('451-["m",%s]', '"0"'),
    ('451-["m",%s]', "true"),
    ('451-["m"]', ""),
    ("451-[%s]", "0"),
    ('451-/custom,["m",%s]', "0"),
    ('461-0["m",%s]', "0"),
    ('4510-["m",%s]', "0"),
)


async def attachments(talk: Talk) -> None:
    for packet, numbers in ATTACHED:
        text = packet % tuple(map(_placeholder, numbers.split()))
        websocket = await talk.websocket()
        talk.heard.append(text)
        await websocket.text(text)
        await websocket.text("bAAAA")  # which is three zeros, for who must do without bytes
        for number in range(1, int(re.findall(r"^4[56](\d+)-", text)[0])):
            await websocket.frame(0x82, bytes([number] * 3))
        await websocket.text(AFTER)
        await talk.until('"after"]', websocket)


SAME: list[Conversation] = [
    *(handshake, bad_queries, requests_of_another_kind, other_origins, payloads),
    *(payload_of_the_limit, close_packet, second_poll, second_post),
    *(poll_that_its_client_gives_up, upgrade, upgrade_without_waiting, upgrade_given_up),
    *(refused_upgrades, subprotocols, frames, connects, namespaces, packets, attachments),
]


def test_clients_hear_what_the_reference_says(ours: str, reference: str) -> None:
    differ: dict[str, list[str]] = {}
    for conversation in SAME:
        lines = difflib.ndiff(heard(reference, conversation), heard(ours, conversation))
        if changed := [line for line in lines if line[0] in "+-"]:
            differ[conversation.__name__] = changed
    assert not differ, json.dumps(differ, indent=2)


# -- where we are stricter -------------------------------------------------------------

# Rules of the documents that the reference does not hold its clients to, and numbers and
# depths that no two languages read alike. None of the official clients sends any of it.
CLOSED_BY_US = (
    *("42", "43", "430", "43[1]"),  # "The payload is mandatory", and so is the id of an ACK
    *('42 ["a"]', '42\n["a"]', '4299999999999999999999["a"]'),
    *('42["a",1E400]', '42["a",%s]' % ("[" * 3000 + "]" * 3000)),
    '461-["a",{"_placeholder":true,"num":0}]',
    *("0", "0{}", "1x", "3probe", "5", "6"),  # Engine.IO's, for the other side or another time
)
REFUSED_BY_US = (
    "EIO=4&EIO=4&transport=polling",
    "EIO=4&transport=polling&transport=polling",
    "EIO=4&transport=polling&sid=",
)


def test_we_close_where_the_reference_goes_on(ours: str, reference: str) -> None:
    async def tell(talk: Talk) -> None:
        for packet in CLOSED_BY_US:
            websocket = await talk.websocket()
            await websocket.text(packet)
            if packet.startswith("46"):
                await websocket.frame(0x82, b"attached")
            await websocket.text(AFTER)
            await talk.until('"after"]', websocket)

    assert heard(ours, tell) == ["closed"] * len(CLOSED_BY_US)
    assert "closed" not in heard(reference, tell)


def test_we_refuse_what_says_one_thing_twice_or_nothing(ours: str, reference: str) -> None:
    async def tell(talk: Talk) -> None:
        for query in REFUSED_BY_US:
            await talk.ask("GET", f"/socket.io/?{query}")

    assert {line[:4] for line in heard(ours, tell)} == {"400 "}
    assert {line[:4] for line in heard(reference, tell)} == {"200 "}


def test_we_say_of_a_bad_payload_what_the_reference_keeps_to_itself(
    ours: str, reference: str
) -> None:
    async def tell(talk: Talk) -> None:
        for payload in ("", "a123", "7", "4\x1e", "4abc", "42{}", '42/custom,["a"]'):
            target = await talk.session()
            await talk.ask("POST", target, payload.encode())

    assert set(heard(ours, tell)) == {
        '400 [\'application/json\'] {"code":3,"message":"Bad request"}'
    }
    assert set(heard(reference, tell)) == {"200 ['text/html', 'no-store'] ok"}
