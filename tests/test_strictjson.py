"""JSON in and out: what RFC 8259 has, and no more."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from redbarrel_lite.strictjson import MAX_DEPTH, MAX_NUMBER_DIGITS, dumps, loads


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    "data", [None, True, 1, -1.5, 1e300, "é\U0001f600", "\ud800", {"a": [{}, [], ""]}, "\0"]
)
def test_what_goes_out_comes_in_again(data: Any) -> None:
    assert loads(dumps(data)) == data
    assert json.loads(dumps(data)) == data


def test_text_goes_out_as_utf_8_and_half_a_surrogate_pair_as_an_escape() -> None:
    assert dumps({"é": "€"}) == '{"é": "€"}'.encode()
    assert dumps(["é", "\ud800"]) == rb'["\u00e9", "\ud800"]'
    assert loads(rb'"\ud83d\ude00"') == "\U0001f600"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"),
        (b"[1,]", "Expecting value|Illegal trailing comma"),
        (b"{'a': 1}", "Expecting property name"),
        (b'"\n"', "Invalid control character"),
        (b"1 2", "Extra data"),
        (b"NaN", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b"1e400", "1e400 is too large"),
        (b"-1.5E999", "-1.5E999 is too large"),
        (b"9" * (MAX_NUMBER_DIGITS + 1), "a number of 401 digits"),
        (b"9" * 5000, "a number of 5000 digits"),
        (b"9" * 100_000, "a number of 100000 digits"),
        (b"\xef\xbb\xbf1", "byte order mark"),
        (json.dumps({"a": 1}).encode("utf-16"), "not UTF-8"),
        (json.dumps({"a": 1}).encode("utf-16-le"), "Expecting"),
        (b'"\xff"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (nested(MAX_DEPTH + 1), "nested over 64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested over 64 levels"),
        (nested(100_000), "nested over 64 levels"),
        (b"[" * 500_000, "nested over 64 levels"),
    ],
)
def test_what_is_no_json_is_refused_with_a_reason(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        loads(text)


def test_limits_are_met_to_the_very_one() -> None:
    assert loads(b"9" * MAX_NUMBER_DIGITS) == int("9" * MAX_NUMBER_DIGITS)
    assert dumps(loads(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    wide = b"[" + b",".join([b'[[1, {"a": "b"}], null]'] * 100) + b"]"
    assert len(loads(wide)) == 100


def test_names_are_texts_whose_hash_nobody_can_foretell() -> None:
    """oCERT-2011-003: a number as a name would have a hash that an attacker can choose."""
    assert [type(name) for name in loads(b'{"1": 0, "2": 0}')] == [str, str]
    assert sys.flags.hash_randomization


@pytest.mark.parametrize("data", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_json_has_not_is_not_written(data: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        dumps(data)
