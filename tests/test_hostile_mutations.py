"""Good conversations, made bad at random: whatever comes of it, the rules of `siege` hold.

The rows of the other hostile tests are faults that somebody thought of. Here a good
conversation (frames, packets, payloads, requests) is changed at a random place: in its
bytes, and, so that the layers above are reached too, in its messages before they are
framed. The seed is told when it fails; RBL_FUZZ_SEED repeats it, and RBL_FUZZ_S makes it
longer than the two seconds of every run.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Callable

import pytest
from conftest import TAKES_A_MINUTE
from siege import Attacker, InProcess, frame

SECONDS = float(os.environ.get("RBL_FUZZ_S", "2"))
SEED = int(os.environ.get("RBL_FUZZ_SEED") or secrets.randbits(32))
BATCH = 25  # conversations between two looks at the rules

Message = str | bytes

# What tends to be special to somebody.
TOKENS = [
    b"\x00",
    b"\r\n",
    b"\r\n\r\n",
    b"\x1e",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"-1",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"null",
    b"[",
    b"{" * 100,
    b'"',
    b"\\",
    b"\\ud800",
    b"%00",
    b"%",
    b"__proto__",
    b'{"_placeholder":true,"num":5}',
    b"0",
    b"41",
    b"51-",
    b"/",
    b"?",
    b"x" * 3000,
]
PLACEHOLDER = '{"_placeholder":true,"num":0}'
PACKETS: list[Message] = [
    "40",
    "40/lines,",
    '40/blocking,{"token":"abc"}',
    "40/nowhere,",
    '42["echo","hello",1,null,{"a":[true]}]',
    '427["echo","hello"]',
    '42["ask"]',
    '430["answer"]',
    '42/lines,1["two",1,2]',
    '42/lines,2["give","bytes"]',
    '42/blocking,["n",1]',
    f'451-["echo",{PLACEHOLDER}]',
    b"attachment",
    f"461-0[{PLACEHOLDER}]",
    b"",
    "41/lines,",
    "41",
    "3",
    "1",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Something else, but not by much."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice([1, 1, 2, 4, 16, 200]))
        kind = chance.randrange(7)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at:at] = chance.choice(TOKENS)
        elif kind == 2:
            changed[at:end] = chance.choice(TOKENS)
        elif kind == 3:
            del changed[at:end]
        elif kind == 4:
            changed[at:at] = changed[at:end] * chance.choice([1, 2, 50])
        elif kind == 5:
            changed[at:end] = chance.randbytes(end - at)
        else:
            del changed[at:]
    return bytes(changed)


def some_packets(chance: random.Random) -> list[bytes]:
    """A few of the packets, one of them changed as a rule; texts and bytes as they come."""
    chosen = ["40", *chance.choices(PACKETS, k=chance.randint(1, 8))]
    packets = [one.encode() if isinstance(one, str) else one for one in chosen]
    if chance.random() < 0.8:
        at = chance.randrange(len(packets))
        packets[at] = mutated(packets[at], chance)
    return packets


def some_frames(chance: random.Random, messages: list[bytes]) -> bytes:
    """Messages as frames: whole, or in fragments with a ping between them."""
    data = b""
    for message in messages:
        opcode = 1 if message[:1].isdigit() or chance.random() < 0.5 else 2
        if chance.random() < 0.2:
            cut = chance.randrange(len(message) + 1)
            data += frame(opcode, message[:cut]) + frame(0x89, b"?") + frame(0x80, message[cut:])
        else:
            data += frame(0x80 | opcode, message)
    if chance.random() < 0.3:
        data += frame(0x88, chance.choice([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03"]))
    return mutated(data, chance) if chance.random() < 0.4 else data


# -- conversations -----------------------------------------------------------------------


def plain_websocket(siege: InProcess, chance: random.Random) -> None:
    messages = [chance.randbytes(chance.choice([0, 1, 125, 126, 2000])) for _ in range(4)]
    with Attacker(siege) as client:
        client.upgrade(chance.choice(["/ws", "/small"]))
        client.finish(some_frames(chance, messages), chance)


def compressed_websocket(siege: InProcess, chance: random.Random) -> None:
    data = b""
    for _ in range(3):
        compressor = zlib.compressobj(chance.choice([0, 1, 9]), zlib.DEFLATED, -15)
        message = compressor.compress(chance.choice(TOKENS) * chance.choice([1, 100]))
        message += compressor.flush(chance.choice([zlib.Z_SYNC_FLUSH, zlib.Z_FINISH]))
        message = message.removesuffix(b"\x00\x00\xff\xff")
        data += frame(0xC2, mutated(message, chance) if chance.random() < 0.5 else message)
    with Attacker(siege) as client:
        client.upgrade("/deflate", Sec_WebSocket_Extensions="permessage-deflate")
        client.finish(data, chance)


def socketio_over_websocket(siege: InProcess, chance: random.Random) -> None:
    with Attacker(siege) as client:
        client.upgrade("/socket.io/?EIO=4&transport=websocket")
        client.finish(some_frames(chance, some_packets(chance)), chance)


def opened(client: Attacker, chance: random.Random) -> str:
    """The target of a new session."""
    eio3 = chance.random() < 0.2
    target = "/old/?EIO=3&transport=polling" if eio3 else "/socket.io/?EIO=4&transport=polling"
    status, body = client.ask("GET", target)
    assert status == 200
    text = body.decode()
    return f"{target}&sid={json.loads(text[text.index('{') : text.rindex('}') + 1])['sid']}"


def socketio_over_polling(siege: InProcess, chance: random.Random) -> None:
    with Attacker(siege) as client:
        target = opened(client, chance)
        payload = b"\x1e".join(some_packets(chance))
        if "EIO=3" in target:
            payload = b"".join(b"%d:%b" % (len(p), p) for p in some_packets(chance))
        if chance.random() < 0.4:
            payload = mutated(payload, chance)
        client.ask("POST", target, payload)
        client.finish(siege.request("GET", target), chance)


def upgrade(siege: InProcess, chance: random.Random) -> None:
    with Attacker(siege) as client, Attacker(siege) as other:
        target = opened(client, chance).replace("polling", "websocket")
        client.upgrade(target)
        messages = [b"2probe", b"5", *some_packets(chance)]
        if chance.random() < 0.5:
            chance.shuffle(messages)
        if chance.random() < 0.5:
            other.send(siege.request("GET", target.replace("websocket", "polling")))
        client.finish(some_frames(chance, messages), chance)


def bad_request(siege: InProcess, chance: random.Random) -> None:
    with Attacker(siege) as client:
        target = opened(client, chance)
        request = chance.choice(
            [
                siege.request("GET", target),
                siege.request("POST", target, b'40\x1e42["echo",1]'),
                siege.request("OPTIONS", target, Origin="https://evil.example"),
                siege.handshake(target.replace("polling", "websocket")),
                siege.handshake("/speaks", Sec_WebSocket_Protocol="chat, soap"),
                siege.handshake("/deflate", Sec_WebSocket_Extensions="permessage-deflate; a=1"),
            ]
        )
        client.finish(mutated(request, chance), chance)


CONVERSATIONS: list[Callable[[InProcess, random.Random], None]] = [
    plain_websocket,
    compressed_websocket,
    socketio_over_websocket,
    socketio_over_polling,
    upgrade,
    bad_request,
]


@pytest.mark.parametrize(
    "seconds", [SECONDS, pytest.param(60.0, marks=TAKES_A_MINUTE, id="a minute")]
)
def test_rules_hold_whatever_becomes_of_a_conversation(siege: InProcess, seconds: float) -> None:
    print(f"RBL_FUZZ_SEED={SEED}")
    end = time.monotonic() + seconds
    held: Counter[str] = Counter()
    for number in itertools.count():
        chance = random.Random(f"{SEED} {number}")
        conversation = chance.choice(CONVERSATIONS)
        held[conversation.__name__] += 1
        try:
            conversation(siege, chance)
            if number % BATCH == 0:
                siege.end_sessions()
                # What handlers make of it is theirs: bad arguments of a line, for instance.
                siege.forget_errors()
                siege.holds()
                siege.start_row()
                if time.monotonic() > end:
                    break
        except BaseException as error:
            error.add_note(f"in conversation {number}, {conversation.__name__}, or just before it")
            raise
    print(dict(held))
