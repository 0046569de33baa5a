"""Socket.IO packets: a text, and the attachments behind it.

An input is a row of messages with 0xFF between them, which no text can hold; one that
begins with 0xFE is binary. The laws: what is decoded can be encoded, and is the same
when it comes back, types included; the short way reads what the long way does; what is
kept is within the limits.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Final

from redbarrel_lite import socketio, socketio_client
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.socketio import Decoder, Message, Packet
from redbarrel_lite.strictjson import MAX_DEPTH

from .laws import Target, blamed, gist, hold, same, vectors

BETWEEN: Final = b"\xff"
BINARY: Final = b"\xfe"
LIMIT: Final = 50  # bytes of attachments
PLACEHOLDER: Final = b'{"_placeholder":true,"num":0}'


class Packets(Target):
    """The messages of a client."""

    name: ClassVar[str] = "packets"
    tokens = (
        *(b"\xff\xfe", b"\xff\xfe\x01\x02", b"\xff", b"\xff2", b'\xff2["x"]', b"0", b"1", b"2"),
        *(b"3", b"4", b"51-", b"52-", b"510-", b"61-", b"5" + b"9" * 30 + b"-", b"/a,", b"/"),
        *(b"?x=1,", b"[", b"]", b"{", b"}", b'"', b",", b":", b"-", b"null", b"true", b"1e5"),
        *(b"1e400", b"NaN", b'["x"]', b'["x",1]', b"[]", b"{}", b'{"a":1}', b'{"message":"m"}'),
        *(b"\\ud800", b"\\u0000", PLACEHOLDER, b'"_placeholder":true', b'"num":', b"-1", b"1.5"),
        *(b'"connect"', b"\xc3\xa9", b"\xef\xbc\x91", b"\x1e", b"[" * 70, b"]" * 70, b"9" * 12),
        *(b"9" * 500, b"/" + b"x" * 260),
    )
    rooms = "socketio socketio_client strictjson"

    def seeds(self) -> Iterator[bytes]:
        rows = vectors("socketio")
        for row in [*rows["packets"], *rows["encoded"]]:
            yield BETWEEN.join(map(in_bytes, row["messages"]))
        yield from (text.encode(errors="replace") for text in rows["refused"])
        for number in rows["refused_placeholders"]:
            yield b'51-["x",{"_placeholder":true,"num":%b}]\xff\xfe\x01' % number.encode()
        yield from (b"44", b'44"no"', b'44{"message":"no","data":[1]}', b'44/a,{"message":"no"}')

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """An event of any data."""
        args = [some_data(chance, parts, 0) for _ in range(chance.randint(0, 3))]
        ack_id = chance.choice([None, None, 0, 5, 10**9])
        namespace = chance.choice(["/", "/", "/a", "/é"])
        if chance.random() < 0.2:
            return joined(socketio.encode_ack(ack_id or 0, args, namespace))
        name = chance.choice(["x", "message", "é", ""])
        return joined(socketio.encode_event(name, args, namespace, ack_id))

    def check(self, data: bytes) -> Hashable:
        messages = split(data)
        decoders = [Decoder(LIMIT), Decoder(), socketio_client.Decoder()]
        return tuple(tuple(outcome(decoder, messages))[-3:] for decoder in decoders)


def in_bytes(value: Any) -> bytes:
    """A message of the vectors."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    return BINARY + str(value["base64"]).encode()


def joined(messages: tuple[Message, ...]) -> bytes:
    return BETWEEN.join(one.encode() if isinstance(one, str) else BINARY + one for one in messages)


def split(data: bytes) -> list[Message]:
    return [
        part[1:] if part.startswith(BINARY) else part.decode(errors="replace")
        for part in data.split(BETWEEN)
    ]


def some_data(chance: random.Random, parts: Callable[[], bytes], depth: int) -> Any:
    """JSON, with bytes in it."""
    kind = chance.randrange(9)
    if kind > 6 and depth < 6:
        inner = [some_data(chance, parts, depth + 1) for _ in range(chance.randint(0, 3))]
        return inner if kind == 7 else {f"k{at}": one for at, one in enumerate(inner)}
    part = parts()[:20]
    scalars = [None, True, False, 0, -1, 2**53, 1.5, -1e300, part.decode(errors="replace")]
    return part if kind == 0 else chance.choice(scalars)


def outcome(decoder: Decoder, messages: list[Message]) -> Iterator[Hashable]:
    """What one connection makes of the messages; it is closed at the first fault."""
    for message in messages:
        if isinstance(message, str):
            check_short_way(message)
        try:
            packet = decoder.receive(message)
        except RemoteProtocolError as error:
            yield gist(blamed(error)[0])
            return
        kept = sum(map(len, decoder._attachments))
        hold(kept <= decoder._max_attached, "attachments are bounded")
        hold(len(decoder._attachments) < socketio.MAX_ATTACHMENTS, "attachments are few")
        if packet is not None:
            check_packet(packet, type(decoder), decoder._max_attached)
            yield packet.type, packet.namespace == "/", packet.ack_id is None


def check_short_way(message: str) -> None:
    packet = socketio._usual_packet(message)
    if packet is not None:
        same(Decoder()._packet_of(message), packet, "the short way reads what the long way does")


def check_packet(packet: Packet, kind: type[Decoder], most: int) -> None:
    """Within its limits, and the same when it has been there and back."""
    hold(depth_of(packet.data) <= MAX_DEPTH + 2, "data are not deep")
    hold(bytes_in(packet.data) <= most, "attachments are bounded where they stand, too")
    hold(packet.namespace.startswith("/"), "a namespace starts with a slash")
    hold(len(packet.namespace) <= socketio.MAX_NAMESPACE, "a namespace is short")
    hold(packet.ack_id is None or 0 <= packet.ack_id < 10**10, "an id has ten digits")
    encoded = encode(packet)
    if encoded is None:
        return
    decoder = kind()
    *first, again = [decoder.receive(message) for message in encoded]
    hold(not any(first), "a packet ends with its last message")
    same(again, packet, "what was decoded and encoded is the same")
    same(typed(again and again.data), typed(packet.data), "and so are its types")


def encode(packet: Packet) -> tuple[Message, ...] | None:
    """The packet's messages; None if it is one that we don't send."""
    data, namespace = packet.data, packet.namespace
    if packet.type == socketio.EVENT:
        if not isinstance(data[0], str):
            return None  # the reference takes numbers for names
        return socketio.encode_event(data[0], data[1:], namespace, packet.ack_id)
    if packet.type == socketio.ACK:
        return socketio.encode_ack(packet.ack_id or 0, data, namespace)
    if packet.type == socketio.CONNECT:
        return socketio.encode_auth(data, namespace)
    if packet.type == socketio.CONNECT_ERROR:
        return socketio.encode_error(data, namespace)
    return socketio.encode_disconnect(namespace)


def depth_of(data: object) -> int:
    if isinstance(data, dict):
        return 1 + max(map(depth_of, data.values()), default=0)
    return 1 + max(map(depth_of, data), default=0) if isinstance(data, list) else 0


def bytes_in(data: object) -> int:
    """How many bytes there are in all places."""
    if isinstance(data, dict | list):
        return sum(map(bytes_in, data.values() if isinstance(data, dict) else data))
    return len(data) if isinstance(data, bytes) else 0


def typed(data: object) -> object:
    """The data with what `==` does not see: 1, 1.0 and True are not the same."""
    if isinstance(data, dict):
        return {key: typed(value) for key, value in data.items()}
    if isinstance(data, list):
        return [typed(value) for value in data]
    return type(data).__name__, data if isinstance(data, bytes) else json.dumps(data)
