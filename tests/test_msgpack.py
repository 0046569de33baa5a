"""MessagePack: what Node.js writes is read, each format, and hostile bytes are refused early."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.msgpack import MAX_DEPTH, MAX_VALUES, Timestamp, decode

VECTORS = json.loads((Path(__file__).parent / "vectors/emitter.json").read_text("utf-8"))
SEED = 20110907


def meant(value: Any) -> Any:
    """What a vector stands for."""
    if isinstance(value, dict) and "base64" in value:
        return base64.b64decode(value["base64"])
    if isinstance(value, dict) and "timestamp" in value:
        return Timestamp(*value["timestamp"])
    return value


def same(one: object, other: object) -> bool:
    return one == other and type(one) is type(other)


@pytest.mark.parametrize("row", VECTORS["values"], ids=lambda row: row["js"])
def test_value_of_javascript_is_read(row: dict[str, Any]) -> None:
    assert same(decode(bytes.fromhex(row["hex"])), meant(row["value"]))


def test_message_of_an_emitter_is_read() -> None:
    row = VECTORS["emits"][4]
    assert decode(bytes.fromhex(row["hex"])) == [
        "emitter",
        {"type": 2, "data": ["bin", {"b": b"\0\1", "n": [b"zz"]}], "nsp": "/"},
        {"rooms": [], "flags": {}, "except": []},
    ]


# Formats that JavaScript does not use, or not for values that short.
OTHERS: list[tuple[bytes, Any]] = [
    (b"\xca\x3f\xc0\x00\x00", 1.5),
    (b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 1.0),
    (b"\xcc\x01", 1),
    (b"\xcf" + b"\xff" * 8, 2**64 - 1),
    (b"\xd0\x01", 1),
    (b"\xd3\x80" + bytes(7), -(2**63)),
    (b"\xc4\x03abc", b"abc"),
    (b"\xc5\x00\x03abc", b"abc"),
    (b"\xc6\x00\x00\x00\x03abc", b"abc"),
    (b"\xd9\x03abc", "abc"),
    (b"\xda\x00\x03abc", "abc"),
    (b"\xdb\x00\x00\x00\x03abc", "abc"),
    (b"\xdc\x00\x02\x01\x02", [1, 2]),
    (b"\xdd\x00\x00\x00\x02\x01\x02", [1, 2]),
    (b"\xde\x00\x01\xa1a\x01", {"a": 1}),
    (b"\xdf\x00\x00\x00\x01\xa1a\x01", {"a": 1}),
    (b"\x82\xa1a\x01\xa1a\x02", {"a": 2}),
    (b"\xc7\x04\xff\x00\x00\x00\x01", Timestamp(1)),
    (b"\xc8\x00\x04\xff\x00\x00\x00\x01", Timestamp(1)),
    (b"\xc9\x00\x00\x00\x04\xff\x00\x00\x00\x01", Timestamp(1)),
    (
        b"\xd7\xff" + struct.pack(">Q", 999_999_999 << 34 | 2**34 - 1),
        Timestamp(2**34 - 1, 10**9 - 1),
    ),
    (b"\xc7\x0c\xff" + struct.pack(">Iq", 999_999_999, -(2**63)), Timestamp(-(2**63), 10**9 - 1)),
    (b"\x91" * MAX_DEPTH + b"\xc0", None),
]


def test_maps_may_be_as_deep_as_arrays() -> None:
    found = decode(b"\x81\xa0" * MAX_DEPTH + b"\x01")
    for _ in range(MAX_DEPTH):
        (found,) = found.values()
    assert found == 1


@pytest.mark.parametrize(("data", "value"), OTHERS, ids=[data.hex() for data, _ in OTHERS])
def test_format_of_the_specification_is_read(data: bytes, value: Any) -> None:
    found = decode(data)
    for _ in range(MAX_DEPTH if value is None else 0):
        (found,) = found
    assert same(found, value)


def test_numbers_without_a_value_are_read() -> None:
    assert math.isnan(decode(b"\xcb\x7f\xf8" + bytes(6)))
    assert decode(b"\xcb\xff\xf0" + bytes(6)) == -math.inf


FAULTS: list[tuple[bytes, str]] = [
    (b"", "1 bytes are missing (MessagePack)"),
    (b"\xc1", "no value starts with 0xc1 (MessagePack)"),
    (b"\x01\x02\x03", "2 bytes behind the value (MessagePack)"),
    (b"\xcd\x01", "1 bytes are missing (MessagePack)"),
    (b"\xa5hell", "1 bytes are missing (MessagePack)"),
    (b"\xc6\xff\xff\xff\xff", "4294967295 bytes are missing (MessagePack)"),
    (b"\xdb\xff\xff\xff\xff\x00", "4294967294 bytes are missing (MessagePack)"),
    (b"\xc9\xff\xff\xff\xff\xff", "4294967295 bytes are missing (MessagePack)"),
    (b"\xdd\xff\xff\xff\xff", "4294967295 values in 0 bytes (MessagePack)"),
    (b"\xdf\xff\xff\xff\xff\x00", "8589934590 values in 1 bytes (MessagePack)"),
    (b"\x93\x00\x00", "3 values in 2 bytes (MessagePack)"),
    (b"\x81\xa0", "2 values in 1 bytes (MessagePack)"),
    (b"\xa1\xff", "a string that is not UTF-8 (MessagePack)"),
    (b"\xa3\xed\xa0\x80", "a string that is not UTF-8 (MessagePack)"),
    (b"\x81\x01\x02", "a map with a key that is no string (MessagePack)"),
    (b"\x81\x90\x02", "a map with a key that is no string (MessagePack)"),
    (b"\x81\xc4\x01a\x02", "a map with a key that is no string (MessagePack)"),
    (b"\xd4\x00\x00", "an extension of type 0 (MessagePack)"),
    (b"\xd6\x7f" + bytes(4), "an extension of type 127 (MessagePack)"),
    (b"\xc7\x00\xfe", "an extension of type -2 (MessagePack)"),
    (b"\xd5\xff\x00\x00", "a timestamp of 2 bytes (MessagePack)"),
    (b"\xc7\x00\xff", "a timestamp of 0 bytes (MessagePack)"),
    (b"\xd8\xff" + bytes(16), "a timestamp of 16 bytes (MessagePack)"),
    (b"\xd7\xff" + b"\xff" * 8, "1073741823 nanoseconds (MessagePack)"),
    (b"\xc7\x0c\xff" + struct.pack(">Iq", 10**9, 0), "1000000000 nanoseconds (MessagePack)"),
    (b"\x91" * (MAX_DEPTH + 1) + b"\xc0", "nested over 32 deep (MessagePack)"),
    (b"\x81\xa0" * (MAX_DEPTH + 1) + b"\xc0", "nested over 32 deep (MessagePack)"),
    (b"\x91" * 1_000_000, "nested over 32 deep (MessagePack)"),
]


@pytest.mark.parametrize(("data", "fault"), FAULTS, ids=[data[:12].hex() for data, _ in FAULTS])
def test_what_is_no_value_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(data)
    assert str(caught.value) == fault


def test_values_are_counted_at_all_depths() -> None:
    def array(count: int) -> bytes:
        return b"\xdd" + count.to_bytes(4, "big") + b"\x00" * count

    assert decode(array(MAX_VALUES - 1)) == [0] * (MAX_VALUES - 1)
    for data in (array(MAX_VALUES), b"\x92" + array(MAX_VALUES // 2) * 2):
        with pytest.raises(RemoteProtocolError, match="over 100000 values"):
            decode(data)


def test_what_is_truncated_is_refused() -> None:
    for row in VECTORS["emits"]:
        data = bytes.fromhex(row.get("hex", ""))
        for cut in range(len(data)):
            with pytest.raises(RemoteProtocolError):
                decode(data[:cut])


def test_hostile_bytes_raise_nothing_else() -> None:
    chance = random.Random(SEED)
    seeds = [bytes.fromhex(row["hex"]) for row in VECTORS["emits"] if "hex" in row]
    for _ in range(5000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        assert len(fault_of(bytes(data))) < 100, f"seed {SEED}: {data.hex()}"


def fault_of(data: bytes) -> str:
    try:
        decode(data)
    except RemoteProtocolError as error:
        return str(error)
    return ""
