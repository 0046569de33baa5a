"""WebSocket frames, and the compressed messages in them.

The laws: one verdict, and the same replies, however the bytes are cut; what we reply is
itself well-formed; what one side says is what the other hears; a message has its limit;
nothing is read after the end.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Final, TypeAlias

from redbarrel_lite import wsproto, wsproto_client
from redbarrel_lite.deflate import Agreement, Inflater
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.wsproto import MASK, Connection, State, unmask

from .laws import Target, blamed, chance_of, gist, hold, same, same_however_cut, vectors

KEYS: Final = (b"\0\0\0\0", b"\x37\xfa\x21\x3d", b"\xff\xff\xff\xff")
CODES: Final = (1002, 1007, 1009)
HEADER: Final = 14  # bytes, at most (RFC 6455 5.2)
TAIL: Final = b"\0\0\xff\xff"  # RFC 7692 7.2.1
FINAL: Final = b"\1\0\0\xff\xff"  # an empty block, the last one

Verdict: TypeAlias = tuple[list[object], list[bytes], State]


def frame(first: int, payload: bytes, key: bytes = KEYS[0], form: int = 0) -> bytes:
    """A masked frame; ``form`` is how many bytes its length has, if more than it needs."""
    length = len(payload)
    if form == 8 or length > 0xFFFF:
        head = bytes((first, MASK | 127)) + length.to_bytes(8, "big")
    elif form == 2 or length > 125:
        head = bytes((first, MASK | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, MASK | length))
    return head + key + unmask(payload, key)


def judge(
    pieces: list[bytes], limit: int, fragments: int, inflater: Callable[[int], Inflater] | None
) -> Verdict:
    """What a server sees, what it replies, and where it ends."""
    connection = Connection(limit, fragments, inflater)
    seen: list[object] = []
    for piece in pieces:
        events = connection.receive(piece)
        while True:
            for event in events:
                hold(not (seen and is_fault(seen[-1])), "a fault ends")
                seen.append(shown(event, limit))
            hold(len(connection._message) <= limit, "a message is bounded")
            if not connection.behind:
                break
            hold(connection.state in (State.OPEN, State.CLOSING), "who is behind reads on")
            unread = len(connection._unread)
            events = connection.receive(b"")
            hold(len(connection._unread) < unread, "who is behind comes nearer")
        hold(len(connection._unread) < HEADER + 125, "what is not read yet is bounded")
    replies = list(connection.replies)
    if connection.state is not State.OPEN:
        same(connection.receive(b"\x89\x80\0\0\0\0"), [], "nothing is read after the end")
        same(connection.replies, replies, "nothing is said after the end")
        same(connection.close(), b"", "no close follows another")
    return seen, replies, connection.state


def shown(event: object, limit: int) -> object:
    if isinstance(event, RemoteProtocolError):
        return ("fault", *blamed(event))
    if isinstance(event, str | bytes):
        size = len(event if isinstance(event, bytes) else event.encode())
        hold(size <= limit, "a message has its limit")
        return event
    # Named tuples of one kind would be equal to those of another.
    return type(event).__name__, event


def is_fault(event: object) -> bool:
    return isinstance(event, tuple) and event[0] == "fault"


def check_replies(verdict: Verdict) -> None:
    """What we say, a client understands: pongs, and one close frame as the last."""
    seen, replies, state = verdict
    client = wsproto_client.Connection(lambda: KEYS[0])
    heard = [event for reply in replies for event in client.receive(reply)]
    kinds = [type(event).__name__ for event in heard]
    closes = state in (State.CLOSED, State.ERROR)
    pings = sum(isinstance(event, tuple) and event[0] == "Ping" for event in seen)
    same(kinds, ["Pong"] * pings + ["Close"] * closes, "replies are pongs, and a close at the end")
    if is_fault(seen[-1:] and seen[-1]):
        code = seen[-1][2]  # type: ignore[index]
        hold(code in CODES, "a fault has a close code")
        same(heard[-1].code, code, "the close frame has the fault's code")  # type: ignore[union-attr]


class Frames(Target):
    """What a client sends on an open WebSocket."""

    name: ClassVar[str] = "frames"
    tokens = (
        *(frame(first, b"") for first in (0x00, 0x80, 0x01, 0x81, 0x02, 0x88, 0x89, 0x8A, 0xC1)),
        *(frame(0x81, b"hi"), frame(0x01, b"h"), frame(0x80, b"i"), frame(0x89, b"?" * 125)),
        *(frame(0x88, code.to_bytes(2, "big")) for code in (0, 999, 1000, 1005, 1015, 2999, 5000)),
        *(b"\x81\xfe\x00\x7e", b"\x81\xff" + b"\0" * 6 + b"\1\0", b"\x81\xff\x80", b"\xc3\xa9"),
        *(b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x90\x9f", b"\xc0\x80", b"\xe2\x82"),
    )
    rooms = "wsproto"

    def seeds(self) -> Iterator[bytes]:
        for row in vectors("wsproto"):
            yield bytes.fromhex(row["frames"])
        for length in (0, 1, 125, 126, 300):
            yield frame(0x82, b"x" * length)
            yield frame(0x81, b"x" * length, KEYS[1])

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """Frames that may follow each other, most of the time."""
        made = []
        for _ in range(chance.randint(1, 5)):
            opcode = chance.choice([0x0, 0x0, 0x1, 0x2, 0x8, 0x9, 0xA])
            first = opcode | chance.choice([0x80, 0x80, 0x80, 0x00, 0xC0])
            payload = parts()[: chance.choice([0, 1, 2, 5, 60, 125, 126, 200])]
            if chance.random() < 0.5:
                payload = "aé€🐟".encode() * (len(payload) // 6)
            made.append(frame(first, payload, chance.choice(KEYS), chance.choice([0] * 8 + [2, 8])))
        return b"".join(made)

    def check(self, data: bytes) -> Hashable:
        check_frames(data, 100, 3, None)
        check_frames(data, 100, 3, Inflater)
        seen, replies, state = check_frames(data, 10**6, 1024, None)
        check_round_trip(data)
        kinds = tuple(gist(one[1]) if is_fault(one) else type(one) for one in seen[-4:])  # type: ignore[index]
        return kinds, len(replies), state


def check_frames(
    data: bytes, limit: int, fragments: int, inflater: type[Inflater] | None
) -> Verdict:
    """One verdict, whose replies are understood."""
    verdict = same_however_cut(lambda pieces: judge(pieces, limit, fragments, inflater), data)
    check_replies(verdict)
    return verdict


def check_round_trip(data: bytes) -> None:
    """What one side says, the other hears."""
    key = data[:4].ljust(4, b"k")
    client = wsproto_client.Connection(lambda: key)
    for message in (data, data.decode(errors="replace")):
        same(Connection().receive(client.message_frame(message)), [message], "a server hears")
        same(client.receive(wsproto.message_frame(message)), [message], "a client hears")


class Deflate(Target):
    """The payload of one compressed message."""

    name: ClassVar[str] = "deflate"
    tokens = (
        *(b"\x00", FINAL, b"\x00" + TAIL, TAIL, b"\x03\x00", b"\x02\x00", b"\x4b\x04\x00"),
        *(b"\x01\x01\x00\xfe\xffA", b"\x00\x05\x00\xfa\xffHello", b"\xf2\x48\xcd\xc9\xc9\x07\x00"),
        *(b"\x06", b"\x07", b"\x00\xff\xff\x00\x00", b"\xc3", b"\xe2\x82", b"\xff"),
    )
    rooms = "deflate wsproto"

    def seeds(self) -> Iterator[bytes]:
        texts = [b"", b"a", b"Hello" * 9, "é€🐟".encode() * 30, b"\xff" * 20, b"ab\xe2\x82"]
        texts += [bytes(range(256)), b"x" * 3000, random.Random(0).randbytes(300)]
        for text in texts:
            for level in (0, 1, 9):
                yield deflated(text, level)
        yield deflated(b"one", 9, zlib.Z_FINISH) + deflated(b"two", 9)
        yield deflated(b"one", 9, zlib.Z_FULL_FLUSH) + deflated(b"two", 9, zlib.Z_FINISH)

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """Streams one behind the other, some of them ended."""
        ends = [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH]
        made = b"".join(
            deflated(parts()[:200], chance.randrange(10), chance.choice(ends))
            for _ in range(chance.randint(1, 3))
        )
        return made.removesuffix(TAIL)

    def check(self, data: bytes) -> Hashable:
        outcomes = tuple(check_compressed(opcode, data) for opcode in (0x1, 0x2))
        agreement = Agreement(chance_of(data).randint(9, 15))
        plain = data * (1500 // (len(data) + 1))
        compressed = agreement.compress(plain)
        if compressed is not None:
            hold(len(compressed) < len(plain), "compressed is shorter")
            inflater = Inflater(len(plain))
            same(inflater.inflate(compressed, final=True), plain, "what was compressed comes back")
            same(inflater.fault, None, "what was compressed is no fault")
        return outcomes


def check_compressed(opcode: int, data: bytes) -> Hashable:
    """One verdict, in one frame or several, and zlib's own opinion if it has one."""
    last: Any = None
    for limit in (1000, 40):
        whole = frame(0x40 | opcode | 0x80, data)
        verdict = check_frames(whole, limit, 9, Inflater)
        if len(data) <= limit:  # a longer frame may be refused for its header
            cut = chance_of(data).randrange(len(data) + 1)
            parts = frame(0x40 | opcode, data[:cut], KEYS[1]) + frame(0x80, data[cut:], KEYS[2])
            same(judge([parts], limit, 9, Inflater), verdict, "fragments change nothing")
        last = verdict[0][-1]
        if opcode == 0x2:
            compare_with_zlib(data, limit, last)
    return gist(last[1]) if is_fault(last) else type(last).__name__


def compare_with_zlib(data: bytes, limit: int, event: object) -> None:
    """What zlib makes of a whole stream at once is the message, or one that is too long."""
    decompressor = zlib.decompressobj(-15)
    try:
        plain = decompressor.decompress(data + TAIL, 10**6)
        more = decompressor.decompress(FINAL)
    except zlib.error:
        hold(is_fault(event), "what zlib refuses is a fault")
        return
    if more or not decompressor.eof:
        hold(is_fault(event), "what is cut off is a fault")
    elif decompressor.unused_data:
        return  # several streams, which is more than zlib reads at once
    elif len(plain) > limit or len(data) > limit + limit // 8 + 64:  # which nobody needs
        same(is_fault(event) and event[2], 1009, "what is too long is 1009")  # type: ignore[index]
    else:
        same(event, plain, "what zlib reads is the message")


def deflated(data: bytes, level: int, end: int = zlib.Z_SYNC_FLUSH) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(end)).removesuffix(TAIL)
