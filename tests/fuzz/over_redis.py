"""What comes from a Redis: its replies, and the MessagePack in the messages of emitters.

The laws of replies: what is whole before a fault is read, and nothing behind it; of what is
announced nothing is held; what is too long is thrown away alone; a command is read as it was
written. Those of MessagePack: a value is within its bytes, its depth and its number of
values; no part of it is a value; what is read can be written, and is the same when it is read
again, types included.
"""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Final

from redbarrel_lite import msgpack, resp
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.msgpack import Timestamp

from .laws import Target, blamed, gist, hold, same, same_however_cut, vectors

KEPT: Final = 40  # bytes of one reply


class Resp(Target):
    """The bytes of a server of RESP 2."""

    name: ClassVar[str] = "resp"
    tokens = (
        *(b"+OK\r\n", b"-ERR no\r\n", b":1\r\n", b"$5\r\nhello\r\n", b"$-1\r\n", b"*-1\r\n"),
        *(b"*0\r\n", b"*1\r\n", b"*2\r\n", b"*3\r\n", b"$0\r\n\r\n", b"$50\r\n", b"*4096\r\n"),
        *(b"$536870912\r\n", b"$999999999999\r\n", b"\r\n", b"\r", b"\n", b"+", b"-", b":", b"$"),
        *(b"*", b"_", b"%", b"0", b"-0", b"9" * 19, b"9" * 30, b"$7\r\nmessage\r\n", b"\xff"),
        *(b"$8\r\npmessage\r\n", b"$9\r\nsubscribe\r\n", b"x" * 50, b"*1\r\n" * 8, b"y" * 8200),
    )
    rooms = "resp"

    def seeds(self) -> Iterator[bytes]:
        yield b"+OK\r\n-NOAUTH Authentication required.\r\n:1000\r\n$5\r\nhello\r\n$-1\r\n*-1\r\n"
        yield b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nhello\r\n"
        yield b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$50\r\n" + b"x" * 50 + b"\r\n+OK\r\n"
        yield b"*2\r\n*2\r\n:-1\r\n-E\r\n*1\r\n*0\r\n"
        yield b"$5\r\nhelloX\r\n"
        yield b"*1\r\n" * 9
        yield b"HTTP/1.1 200 OK\r\n\r\n"

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """Some replies."""
        return b"".join(some_reply(chance, parts, 0) for _ in range(chance.randint(1, 4)))

    def check(self, data: bytes) -> Hashable:
        check_command(data)
        events = same_however_cut(replies, data)
        same(bytes_in(events) <= len(data), True, "replies are no longer than what came")
        return tuple(shown(event) for event in events[-2:])


def some_reply(chance: random.Random, parts: Callable[[], bytes], depth: int) -> bytes:
    kind = chance.randrange(6 if depth > 8 else 8)
    if kind > 5:
        inner = [some_reply(chance, parts, depth + 1) for _ in range(chance.randint(0, 4))]
        return b"*%d\r\n" % len(inner) + b"".join(inner)
    part = parts()[:60]
    line = part.replace(b"\r", b"").replace(b"\n", b"")
    return (
        b"+%b\r\n" % line,
        b"-%b\r\n" % line,
        b":%d\r\n" % chance.choice([0, -1, 2**63 - 1, -(2**63), 2**63]),
        b"$%d\r\n%b\r\n" % (len(part), part),
        b"$-1\r\n",
        b"*-1\r\n",
    )[kind]


def replies(pieces: list[bytes]) -> list[Any]:
    """What a connection makes of the pieces, with faults in words."""
    connection = resp.Connection(KEPT)
    found: list[Any] = []
    for piece in pieces:
        for event in connection.receive(piece):
            hold(not faulty(found), "nothing comes behind a fault")
            found.append(told(event))
        longest = resp.MAX_LINE_BYTES + 3
        hold(connection.buffered <= max(longest, KEPT + 2), "what waits is bounded")
        hold(faulty(found) == (connection.state is resp.State.ERROR), "a fault is for good")
    found += [told(event) for event in connection.receive_eof()]
    hold(connection.receive(b"+again\r\n") == [], "nothing is received after the end")
    return found


def faulty(found: list[Any]) -> bool:
    return bool(found) and isinstance(found[-1], tuple) and found[-1][0] == "fault"


def told(event: resp.Event) -> Any:
    """A reply that was held against the limits, or a fault."""
    if isinstance(event, RemoteProtocolError):
        return "fault", *blamed(event)
    hold(depth_of(event) <= resp.MAX_DEPTH + 1, "replies are not deep")
    hold(values_in(event) <= resp.MAX_ELEMENTS + 1, "replies have few elements")
    hold(bytes_in(event, bytes) <= KEPT, "what is kept is bounded")
    if isinstance(event, resp.SimpleError):
        hold(str(event).isascii() and str(event).isprintable(), "an error can be printed")
        return "error", event.words
    message = resp.message_of(event)
    hold(message is None or resp.subscribed_to(event) is None, "a reply is one thing")
    return event


def shown(event: Any) -> Hashable:
    """A reply in short."""
    if isinstance(event, tuple) and not isinstance(event, resp.Oversize):
        return gist(event[1]) if event[0] == "fault" else event[0]
    if isinstance(event, list):
        return len(event), tuple(type(one).__name__ for one in event[:2])
    return type(event).__name__, bool(event)


def check_command(data: bytes) -> None:
    """A command is read as it was written."""
    words = data.split(b" ")[: resp.MAX_ELEMENTS]
    command = resp.encode_command(*words)
    same(resp.Connection().receive(command), [words], "a command is read as it was written")


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def values_in(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(values_in, value.values()))
    return 1 + (sum(map(values_in, value)) if isinstance(value, list) else 0)


def bytes_in(value: Any, kinds: type = object) -> int:
    """How many bytes or characters there are in all places."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return sum(bytes_in(one, kinds) for one in value)
    return len(value) if isinstance(value, (bytes, str)) and isinstance(value, kinds) else 0


class Msgpack(Target):
    """One value of MessagePack."""

    name: ClassVar[str] = "msgpack"
    tokens = (
        *(b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\x00", b"\x7f", b"\xe0", b"\xff", b"\x80", b"\x81"),
        *(b"\x90", b"\x91", b"\x9f", b"\xa0", b"\xa1a", b"\xa5hello", b"\xc4\x02\x00\x01", b"\xc5"),
        *(
            b"\xc6\xff\xff\xff\xff",
            b"\xca\x7f\xc0\x00\x00",
            b"\xcb" + b"\x7f" * 8,
            b"\xd9",
            b"\xda",
        ),
        *(b"\xdb\x00\x00\x00\x01", b"\xdc\x00\x02", b"\xdd\xff\xff\xff\xff", b"\xde\x00\x01"),
        *(b"\xdf\xff\xff\xff\xff", b"\xd4\x00\x00", b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff"),
        *(b"\xcf" + b"\xff" * 8, b"\xd3\x80", b"\xed\xa0\x80", b"\x91" * 33, b"\x81\xa0" * 33),
    )
    rooms = "msgpack"

    def seeds(self) -> Iterator[bytes]:
        rows = vectors("emitter")
        for row in [*rows["values"], *rows["emits"]]:
            yield from (bytes.fromhex(row["hex"]),) if "hex" in row else ()

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """A value of any shape, in formats that are not always the shortest."""
        return packed(some_value(chance, parts, 0), chance)

    def check(self, data: bytes) -> Hashable:
        try:
            value = msgpack.decode(data)
        except RemoteProtocolError as error:
            return gist(blamed(error)[0])
        hold(depth_of(value) <= msgpack.MAX_DEPTH, "a value is not deep")
        hold(values_in(value) <= min(msgpack.MAX_VALUES, len(data)), "each value has a byte")
        hold(bytes_in(value) <= len(data), "a value is no longer than its bytes")
        again = packed(value, random.Random(len(data)))
        same(typed(msgpack.decode(again)), typed(value), "what is written is read as it was")
        for part in (data[:-1], data[: len(data) // 2], data + b"\x00"):
            hold(part == data or fails(part), "nothing but the whole is a value")
        return skeleton(value)


def fails(data: bytes) -> bool:
    try:
        msgpack.decode(data)
    except RemoteProtocolError:
        return True
    return False


def some_value(chance: random.Random, parts: Callable[[], bytes], depth: int) -> Any:
    kind = chance.randrange(8 if depth < 5 else 6)
    if kind > 5:
        inner = [some_value(chance, parts, depth + 1) for _ in range(chance.choice([0, 1, 3, 17]))]
        return inner if kind == 6 else {f"k{at}": one for at, one in enumerate(inner)}
    part = parts()[:40]
    number = chance.choice([0, 1, 31, 32, 127, 128, 255, 256, 65535, 65536, 2**32, 2**63])
    moment = Timestamp(chance.choice([0, 2**32, 2**34, -1]), chance.choice([0, 10**9 - 1]))
    return (part, part.decode(errors="replace"), number, -number, moment, None)[kind]


def packed(value: Any, chance: random.Random) -> bytes:
    """The bytes of a value: any format that holds it."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return packed_integer(value, chance)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, Timestamp):
        return packed_timestamp(value)
    if isinstance(value, bytes):
        return sized((0xC4, 0xC5, 0xC6), len(value), chance) + value
    if isinstance(value, str):
        content = value.encode()
        return sized((0xD9, 0xDA, 0xDB), len(content), chance, fix=0xA0, most=31) + content
    if isinstance(value, list):
        head = sized((None, 0xDC, 0xDD), len(value), chance, fix=0x90, most=15)
        return head + b"".join(packed(one, chance) for one in value)
    head = sized((None, 0xDE, 0xDF), len(value), chance, fix=0x80, most=15)
    return head + b"".join(packed(one, chance) for pair in value.items() for one in pair)


def sized(
    formats: tuple[int | None, ...],
    length: int,
    chance: random.Random,
    fix: int = 0,
    most: int = -1,
) -> bytes:
    """The first bytes of what has a length."""
    fit = [bytes((fix + length,))] if length <= most else []
    for first, size in zip(formats, (1, 2, 4), strict=True):
        if first is not None and length < 256**size:
            fit.append(bytes((first,)) + length.to_bytes(size, "big"))
    return chance.choice(fit)


def packed_integer(value: int, chance: random.Random) -> bytes:
    fit = [struct.pack(">b", value)] if -32 <= value < 128 else []
    for first, form in enumerate("BHIQbhiq", 0xCC):
        with contextlib.suppress(struct.error):  # it does not hold it
            fit.append(bytes((first,)) + struct.pack(f">{form}", value))
    return chance.choice(fit)


def packed_timestamp(value: Timestamp) -> bytes:
    if not 0 <= value.seconds < 2**34:
        return b"\xc7\x0c\xff" + struct.pack(">Iq", value.nanoseconds, value.seconds)
    if value.nanoseconds or value.seconds >= 2**32:
        return b"\xd7\xff" + (value.nanoseconds << 34 | value.seconds).to_bytes(8, "big")
    return b"\xd6\xff" + value.seconds.to_bytes(4, "big")


def typed(value: Any) -> Any:
    """A value with what `==` does not see; NaN is like NaN."""
    if isinstance(value, dict):
        return {key: typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one) for one in value]
    return type(value).__name__, repr(value)


def skeleton(value: Any) -> Hashable:
    """The types of a value, two deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return len(value) > 15, *(type(one).__name__ for one in value[:3])
    return type(value).__name__
