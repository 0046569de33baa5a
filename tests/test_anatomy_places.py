"""The guilty byte by its definition: with what stands before it something right could have come of
it, and with it nothing can. The judge is the room, for every vector that it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite import (
    anatomy_engineio,
    anatomy_socketio,
    engineio,
    socketio,
    wsproto,
    wsproto_client,
)
from redbarrel_lite.anatomy import CLIENT, SERVER, Layer, Sender, no_layers
from redbarrel_lite.anatomy_websocket import Frames
from redbarrel_lite.deflate import Inflater
from redbarrel_lite.engineio import Options
from redbarrel_lite.errors import RemoteProtocolError

VECTORS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (Path(__file__).parent / "vectors").glob("*.json")
}


def place_of(layers: Iterable[Layer]) -> tuple[int, int]:
    """Where the first layer that is wrong begins, and where in it the fault is."""
    start = 0
    for layer in layers:
        if layer.fault is not None:
            return start, layer.fault.at
        start += len(layer.data)
    raise AssertionError("nothing is wrong")


# -- frames ------------------------------------------------------------------------------


def is_right(data: bytes, sender: Sender, *, deflate: bool) -> bool:
    """Whether these are whole frames, none of them wrong: then a ping behind them is heard."""
    inflater = Inflater if deflate else None
    room: wsproto.Connection = wsproto.Connection(inflater=inflater)
    if sender == SERVER:
        room = wsproto_client.Connection(lambda: b"1234", inflater=inflater)
    ping = b"\x89\x00" if sender == SERVER else b"\x89\x80\0\0\0\0"
    events = room.receive(data + ping)
    return bool(events) and isinstance(events[-1], (wsproto.Ping, wsproto.Close))


def completed(frame: bytes) -> Iterator[bytes]:
    """Whole frames that begin so, of any length that can be, and with any beginning of the rest."""
    if len(frame) < 2:
        for length in (*range(5), *range(0x80, 0x85)):
            yield from completed((frame or b"\x89") + bytes((length,)))
        return
    length, extended = frame[1] & 127, {126: 2, 127: 8}.get(frame[1] & 127, 0)
    come = frame[2 : 2 + extended]
    if len(come) < extended:
        shortest = (126 if extended == 2 else 65536).to_bytes(extended, "big")
        for rest in (bytes(extended - len(come)), shortest[len(come) :]):
            yield from completed(frame + rest)
        return
    length = int.from_bytes(come, "big") if extended else length
    if length > 1_000_000:
        return
    start = 2 + extended + 4 * (frame[1] >> 7)
    frame += bytes(max(start - len(frame), 0))
    left = start + length - len(frame)
    for first in [bytes((byte,)) for byte in range(256)] if left else [b""]:
        for second in (b"", b"\x80", b"\xe8", b"\x80\x80"):
            rest = (first + second)[:left]
            payload = bytes(len(frame) - start) + rest + b"a" * (left - len(rest))
            key = frame[start - 4 : start] if frame[1] >> 7 else bytes(4)
            yield frame + wsproto.unmask(payload, key)[len(frame) - start :]


REFUSED_FRAMES = [row for row in VECTORS["wsproto"] if row["fault"] is not None]
# With DEFLATE nobody knows what the next bytes could be: there it is where the room refuses it.
DEFLATED = ("what is no DEFLATE", "a compressed text")
# Not in the vectors: without a mask, and where the length of a frame cuts a character.
REFUSED_OF_SERVERS = """
    88 02 03 ed, 88 02 13 88, 88 02 04 4c, 88 01 03, 88 03 03 e8 c3, 88 04 03 e8 e2 28,
    88 05 03 e8 41 e2 82, 81 03 61 e2 82, 81 03 f0 9f 90, 01 02 61 e2 80 01 82, 01 01 f0 80 02 8241,
    08 00, 00 01 41, 81 01 41 80 00, 82 7f 00 00 00 00 00 0f 42 41, 82 7e 00 7d, 83 00, 89 7e
""".split(",")


@pytest.mark.parametrize(
    ("data", "sender", "deflate"),
    [
        *(
            (row["frames"], CLIENT, row.get("deflate", False))
            for row in REFUSED_FRAMES
            if not row["claim"].startswith(DEFLATED)
        ),
        *((frames.strip(), SERVER, False) for frames in REFUSED_OF_SERVERS),
    ],
)
def test_place_in_a_frame(data: str, sender: Sender, deflate: bool) -> None:
    given = bytes.fromhex(data)
    start, at = place_of(Frames(sender, no_layers, deflate=deflate).receive(given))
    before, frame = given[:start], given[start:]
    assert any(is_right(before + one, sender, deflate=deflate) for one in completed(frame[:at]))
    assert not any(
        is_right(before + one, sender, deflate=deflate) for one in completed(frame[: at + 1])
    )


def test_place_in_a_compressed_message_is_where_the_room_refuses_it() -> None:
    rows = [row for row in REFUSED_FRAMES if row["claim"].startswith(DEFLATED)]
    assert rows
    for row in rows:
        data = bytes.fromhex(row["frames"])
        _, at = place_of(Frames(CLIENT, no_layers, deflate=True).receive(data))
        rooms = [wsproto.Connection(inflater=Inflater) for _ in range(2)]
        assert rooms[0].receive(data[:at]) == []
        # What is empty has a wrong length, which the room refuses when the key is there.
        assert rooms[1].receive(data[: max(at + 1, 6)]) != []


# -- packets -----------------------------------------------------------------------------

JSON_ENDS = [
    *("", '"', '"]', "]", "}", "}]", '"}', "0]", ":0}", '":0}', '"x"]', '"x":0}', 'x"]', "0}"),
    *('00"]', '000"]', '0000"]', '0"]', 'n"]', "rue]", "ue]", "e]", "alse]", "lse]", "se]"),
    *("ull]", "ll]", "l]", ",0]", "rue}", "e}"),
]
PLACEHOLDER = '"_placeholder":true,"num":0}'
PACKET_ENDS = [
    *JSON_ENDS,
    *("]" * count for count in range(2, 66)),
    *(end + "]" * count for end in ("}", "0}") for count in range(1, 5)),
    *('["x"]', "[]", "{}", '0["x"]', ',["x"]', ',0["x"]', ",{}", "/a,", '1-["x"]', '-["x"]'),
    *('-0["x"]', '2["x"]', '1-0["x"]', "1-0[]", "-0[]", '-/a,["x"]'),
    *(PLACEHOLDER[at:] + end for at in range(len(PLACEHOLDER)) for end in ("]", "}]", "}]]")),
]


def is_packet(message: str) -> bool:
    """Whether it is one to which attachments may come."""
    decoder = socketio.Decoder()
    try:
        packet = decoder.receive(message)
        while packet is None:
            packet = decoder.receive(b"")
    except RemoteProtocolError:
        return False
    return True


def is_at_its_place(message: str, at: int, is_good: Callable[[str], bool], ends: list[str]) -> bool:
    """Whether something right may begin as it does before ``at``, and nothing that goes on so.

    That a member comes again, and is right then, does not count.
    """
    after = message[: at + 1]
    is_again = '"num":' in after
    mended = (after + end for end in ends if not (is_again and '"num"' in end))
    wrong_after = at == len(message) or not any(map(is_good, mended))
    return wrong_after and any(is_good(message[:at] + end) for end in ends)


PLACEHOLDERS = [
    f'51-["x",[{{"a":{{"_placeholder":true,"num":{number}}}}}]]'
    for number in VECTORS["socketio"]["refused_placeholders"]
]


@pytest.mark.parametrize("message", [*VECTORS["socketio"]["refused"], *PLACEHOLDERS])
def test_place_in_a_packet(message: str) -> None:
    layer = anatomy_socketio.Packets(CLIENT).receive(message)
    assert layer.fault is not None
    at = len(layer.data[: layer.fault.at].decode())
    assert is_at_its_place(message, at, is_packet, PACKET_ENDS)


def is_payload(payload: str) -> bool:
    session = engineio.Session("x", "polling", Options(), 0.0)
    try:
        session.receive_payload(payload, 0.0)
    except RemoteProtocolError:
        return False
    return True


@pytest.mark.parametrize("row", VECTORS["engineio"]["refused_payloads"], ids=ascii)
def test_place_in_a_payload(row: dict[str, str]) -> None:
    payload = row["payload"]
    layer = anatomy_engineio.Packets(CLIENT, no_layers).payload(payload)
    assert layer.fault is not None
    at = len(layer.data[: layer.fault.at].decode())
    ends = ["", "4", "A", "AA", "AAA", "A==", "=", "4\x1e4"]
    assert is_at_its_place(payload, at, is_payload, ends)
