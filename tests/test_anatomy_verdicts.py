"""The verdict of `explain` is that of the rooms that read the wire, whatever carries a packet:
right, wrong, or not complete. Vectors, and what becomes of them by chance, go both ways.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from redbarrel_lite import (
    engineio,
    engineio_client,
    socketio,
    socketio_client,
    wsproto,
    wsproto_client,
)
from redbarrel_lite.anatomy import (
    CLIENT,
    SERVER,
    Layer,
    Sender,
    first_fault,
    is_complete,
    no_layers,
)
from redbarrel_lite.anatomy_kinds import KINDS, Input, of_bytes
from redbarrel_lite.anatomy_websocket import Frames
from redbarrel_lite.engineio import Options
from redbarrel_lite.engineio_v3 import Revision3
from redbarrel_lite.errors import RemoteProtocolError

SEED: Final = 20261127
KEY: Final = b"\x37\xfa\x21\x3d"
VECTORS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (Path(__file__).parent / "vectors").glob("*.json")
}
HANDSHAKE: Final = (
    '0{"sid":"x","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,'
    '"maxPayload":1000000}'
)

RIGHT, WRONG, INCOMPLETE = "right", "wrong", "not complete"
Message: TypeAlias = str | bytes


# -- what the rooms say --------------------------------------------------------------------


class Rooms:
    """A side of a session that hears what the other one, ``sender``, says."""

    def __init__(self, sender: Sender, transport: str) -> None:
        self._sender = sender
        self._transport = transport
        self.session: Any = None
        self.events = socketio.Decoder() if sender == CLIENT else socketio_client.Decoder()
        self._lacking = 0

    def _begin(self, first: str, *, is_probe: bool) -> Any:
        """The session from here on: a handshake and an upgrade are only right at its beginning."""
        transport = "polling" if is_probe else self._transport
        if self._sender == CLIENT:
            session = engineio.Session("x", transport, Options(), 0.0)
            if is_probe:
                session.start_probe(0.0)
            if first == "5":
                session.receive_probe("2probe", 0.0)
            return session
        client = engineio_client.Session(transport)
        if not first.startswith(engineio.OPEN):
            client.receive(HANDSHAKE, 0.0)
        return client

    def hear_payload(self, payload: Message) -> None:
        """Raises `RemoteProtocolError` where a room does."""
        session = self.session or self._begin(str(payload), is_probe=False)
        fault = None
        messages: list[Message] = []
        try:
            messages = session.receive_payload(payload, 0.0)
        except engineio.BadPayload as bad:
            messages, fault = bad.messages, bad
        for message in messages:
            self._hear_message(message)
        if fault is not None:
            raise fault

    def hear(self, packet: Message) -> None:
        """The same, for what a WebSocket carries."""
        if self.session is None:
            first = packet if isinstance(packet, str) else ""
            probes = ("2probe", "5") if self._sender == CLIENT else ()
            self.session = self._begin(first, is_probe=first in probes)
            if first == "3probe" and self._sender == SERVER:
                return
        if self.session.upgrade is engineio.Upgrade.NONE:
            message = self.session.receive(packet, 0.0)
        else:
            message = self.session.receive_probe(packet, 0.0) and None
        if message is not None:
            self._hear_message(message)

    def _hear_message(self, message: Message) -> None:
        packet = self.events.receive(message)
        if isinstance(message, str) and packet is None:
            self._lacking = int(message[1 : message.index("-")])
            ahead = socketio.Decoder() if self._sender == CLIENT else socketio_client.Decoder()
            ahead.receive(message)
            for _ in range(self._lacking):  # whatever comes, it may be wrong already
                ahead.receive(b"")
        elif isinstance(message, bytes):
            self._lacking -= 1
        if packet and packet.type == socketio.CONNECT and self._sender == SERVER:
            namespace = socketio_client.Namespace(packet.namespace)
            namespace.connect()
            namespace.receive(packet)

    def verdict(self, judged: Callable[[], None]) -> str:
        try:
            judged()
        except RemoteProtocolError:
            return WRONG
        return INCOMPLETE if self._lacking else RIGHT


def of_text(text: str, sender: Sender) -> str:
    rooms = Rooms(sender, "websocket")
    return rooms.verdict(lambda: rooms.hear(text))


def of_payload(payload: str, sender: Sender) -> str:
    rooms = Rooms(sender, "polling")
    return rooms.verdict(lambda: rooms.hear_payload(payload))


def of_frames(data: bytes, sender: Sender) -> str:
    """Of frames in which Engine.IO is spoken."""
    rooms = Rooms(sender, "websocket")
    room: wsproto.Connection = wsproto.Connection()
    if sender == SERVER:
        room = wsproto_client.Connection(lambda: KEY)

    def judged() -> None:
        for event in room.receive(data):
            if isinstance(event, RemoteProtocolError):
                raise event
            if isinstance(event, (str, bytes)):
                rooms.hear(event)

    verdict = rooms.verdict(judged)
    if verdict != RIGHT or room.state is not wsproto.State.OPEN:
        return verdict
    # A frame that is not complete swallows the ping, one that is lets a fragment's end be heard.
    is_masked = sender == CLIENT
    ping = wsproto.ping_frame(b"whole?")
    if room.receive(wsproto_client.masked_frame(ping, KEY) if is_masked else ping) != [
        wsproto.Ping(b"whole?")
    ]:
        return INCOMPLETE
    end = b"\x80\x80" + KEY if is_masked else b"\x80\x00"
    return RIGHT if "without a message" in str(room.receive(end)[-1]) else INCOMPLETE


# -- what is told --------------------------------------------------------------------------


def packets_of(text: str, sender: Sender) -> list[Layer]:
    """The layers of a packet or of a payload, as they are if nobody says that it is Engine.IO."""
    return KINDS["engineio"](Input(text.encode(), text, is_socketio=True), sender)


def said_by(layers: Iterable[Layer]) -> str:
    layers = list(layers)
    if first_fault(layers):
        return WRONG
    return RIGHT if is_complete(layers) else INCOMPLETE


# -- what they are asked -------------------------------------------------------------------


def frame(message: Message, sender: Sender) -> bytes:
    plain = wsproto.message_frame(message)
    return wsproto_client.masked_frame(plain, KEY) if sender == CLIENT else plain


def packets() -> list[str]:
    """Text packets of Engine.IO, right and wrong ones."""
    vectors = VECTORS["socketio"]
    rows = [row["messages"][0] for row in (*vectors["packets"], *vectors["encoded"])]
    placeholders = [
        f'51-["x",{{"_placeholder":true,"num":{number}}}]'
        for number in (*vectors["refused_placeholders"], 0)
    ]
    events = [*rows, *vectors["refused"], *placeholders, '4{"message":"no"}', '0{"sid":"x"}']
    bare = ["", *"1235679b", "bAQID", "bA", "2probe", "3probe", "5x", "1x"]
    return [*("4" + event for event in events), *bare, HANDSHAKE, "0{}", "4zz", '47["x"]']


def mutated(chance: random.Random, text: str) -> str:
    """A text in which a few characters have been altered, taken away, or doubled."""
    chars = list(text)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(chars) + 1)
        chars[at : at + chance.randrange(2)] = chance.choice('0123456789b-/,"[]{}:xn\\é')
    return "".join(chars)


def is_compressed(data: bytes) -> bool:
    """Whether a frame has RSV1, where it may have it."""
    frames = Frames(CLIENT if data[1:2] >= b"\x80" else SERVER, no_layers).receive(data)
    return any(one.data[0] & wsproto.RSV1 for one in frames if one.name == "WebSocket frame")


PACKETS = packets()
TWO_ATTACHED = '452-["x",{"_placeholder":true,"num":1}]'


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
def test_text_is_judged_as_the_rooms_do(sender: Sender) -> None:
    chance = random.Random(SEED)
    for text in (*PACKETS, *(mutated(chance, chance.choice(PACKETS)) for _ in range(600))):
        if engineio.SEPARATOR not in text and not text.startswith(engineio.BINARY):
            assert said_by(packets_of(text, sender)) == of_text(text, sender), text


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
def test_payload_is_judged_as_the_rooms_do(sender: Sender) -> None:
    chance = random.Random(SEED)
    for _ in range(800):
        some = chance.choices(PACKETS, k=chance.randrange(2, 5))
        if chance.random() < 0.5:  # right ones, more often than by chance
            some = ['42["a"]', *chance.choices(["bAQID", TWO_ATTACHED, "40", "1", "43[]"], k=3)]
        payload = mutated(chance, engineio.SEPARATOR.join(some))
        if engineio.SEPARATOR in payload:
            assert said_by(packets_of(payload, sender)) == of_payload(payload, sender), payload


@pytest.mark.parametrize("sender", [CLIENT, SERVER])
def test_frames_are_judged_as_the_rooms_do(sender: Sender) -> None:
    chance = random.Random(SEED)
    control = [wsproto.ping_frame(b"x"), b"\x88\x00", b"\x8a\x00", b"\x88\x02\x03\xed"]
    fragments = [b"\x01\x02" + b"42", b'\x80\x05["x"]', b"\x00\x01[", b'\x80\x04"x"]']
    others = [*control, *fragments]
    if sender == CLIENT:
        others = [wsproto_client.masked_frame(one, KEY) for one in others]
    said = set()
    for _ in range(1000):
        data = first = frame(chance.choice(['42["a"]', TWO_ATTACHED]), sender)
        for _ in range(chance.randrange(4)):
            any_of: list[Message] = [chance.choice(PACKETS), b"\1", b"", '42["b"]']
            message = chance.choice(any_of)
            data += chance.choice([frame(message, sender), chance.choice(others)])
        if len(data) > len(first) and chance.random() < 0.5:
            at = chance.randrange(len(first), len(data))
            data = data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data)) + 1]
        if is_compressed(data):  # which may have been agreed on
            continue
        said.add(verdict := said_by(of_bytes(data, sender)))
        assert verdict == of_frames(data, sender), data.hex(" ")
    assert said == {RIGHT, WRONG, INCOMPLETE}


def of_old_payload(payload: Message) -> str:
    """What a session of revision 3 says of a client's payload; what lacks of it is wrong there."""
    rooms = Rooms(CLIENT, "polling")
    rooms.session = engineio.Session("x", "polling", Options(), 0.0, Revision3())
    return rooms.verdict(lambda: rooms.hear_payload(payload))


def test_old_payload_is_judged_as_the_rooms_do() -> None:
    chance = random.Random(SEED)
    for _ in range(600):
        any_of: list[Message] = [chance.choice(PACKETS), TWO_ATTACHED, "2", "1", "40", b"x"]
        some = chance.choices(any_of, k=chance.randrange(1, 4))
        payload = Revision3(base64=True).join(some)
        assert isinstance(payload, str)
        if chance.random() < 0.3:
            payload = mutated(chance, payload)
        verdicts = [KINDS["engineio3"](Input(b"", payload, is_socketio=True), CLIENT)]
        if all(isinstance(one, str) for one in some) or chance.random() < 0.5:
            data = Revision3().join(some)
            if isinstance(data, bytes):
                payload = data
                verdicts = [KINDS["engineio3"](Input(data, None, is_socketio=True), CLIENT)]
        for layers in verdicts:
            assert said_by(layers) == of_old_payload(payload), payload
