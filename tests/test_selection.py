"""What a request's fields select, by the rules alone: no file is opened here."""

from __future__ import annotations

import random
import time

import pytest

from redbarrel_lite.request import Request
from redbarrel_lite.selection import (
    MAX_RANGES,
    byte_ranges,
    http_date,
    precondition,
    prefers_gzip,
)

ETAG = '"17f-a"'
NOON = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT, the RFC's own example
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("gzip", True),
        ("GZip", True),
        ("x-gzip", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("br\t,\tgzip ; q=0.001", True),
        ("*", True),
        ("gzip;q=0.5", True),
        ("gzip;Q=0.5, identity;q=0.5", True),
        ("", False),
        ("br", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("identity;q=1, gzip;q=0.9", False),
        ("gzip;q=1.001", False),
        ("gzip;q=-1", False),
        ("gzip;q=nan", False),
        ("gzip;q=1e9", False),
        ("gzip;q=0.1234", False),
        ("gzip;level=9", False),
        ("," * 8000, False),
        (";" * 8000, False),
        ("gzip;" * 1600, False),
        ("," * 8000 + "gzip", True),
    ],
)
def test_preference_of_gzip(accept: str, wanted: bool) -> None:
    assert prefers_gzip(accept) is wanted


@pytest.mark.parametrize(
    "text", [DATE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_all_three_forms_of_a_date_are_read(text: str) -> None:
    assert http_date(text) == NOON


def test_two_digits_of_a_year_are_of_the_nearest_century() -> None:
    def two_digits(year: int) -> str:
        return f"Monday, 01-Jan-{year % 100:02} 00:00:00 GMT"

    now = time.gmtime().tm_year
    for year in (now, now + 50, now - 49):
        date = http_date(two_digits(year))
        assert date is not None
        assert time.gmtime(date).tm_year == year


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "0",
        "tomorrow",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0200",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nix 1994 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt",
        "Sun, \u0660\u0666 Nov 1994 08:49:37 GMT",
        f"{DATE}, {DATE}",
        "Sun, " * 1600,
        "0" * 8000,
    ],
)
def test_what_is_no_date_is_none(text: str | None) -> None:
    assert http_date(text) is None


def verdict(fields: dict[str, str], method: str = "GET") -> int | None:
    return precondition(Request(method, "/", list(fields.items())), ETAG, NOON)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, None),
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f"W/{ETAG}"}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": f'"a,b" , W/"c",{ETAG}'}, 304),
        ({"if-none-match": '"other"'}, None),
        ({"if-none-match": '"x,17f-a,y"'}, None),
        ({"if-none-match": "17f-a"}, None),
        ({"if-none-match": ""}, None),
        ({"if-none-match": '"' * 8000}, None),
        ({"if-none-match": "W/" * 4000}, None),
        ({"if-modified-since": DATE}, 304),
        ({"if-modified-since": LATER}, 304),
        ({"if-modified-since": BEFORE}, None),
        ({"if-modified-since": "Sun, 06 Nov 99999 08:49:37 GMT"}, None),
        # 13.1.3: with If-None-Match, If-Modified-Since is not looked at.
        ({"if-none-match": '"other"', "if-modified-since": DATE}, None),
        ({"if-none-match": ETAG, "if-modified-since": BEFORE}, 304),
        ({"if-match": ETAG}, None),
        ({"if-match": "*"}, None),
        ({"if-match": f'"other", {ETAG}'}, None),
        ({"if-match": '"other"'}, 412),
        ({"if-match": f"W/{ETAG}"}, 412),
        ({"if-match": '"' * 8000}, 412),
        ({"if-unmodified-since": DATE}, None),
        ({"if-unmodified-since": BEFORE}, 412),
        ({"if-unmodified-since": "yesterday"}, None),
        # 13.1.4: with If-Match, If-Unmodified-Since is not looked at.
        ({"if-match": ETAG, "if-unmodified-since": BEFORE}, None),
        # 13.2.2: the first pair may pass, then the second one decides.
        ({"if-match": ETAG, "if-none-match": ETAG}, 304),
        ({"if-match": '"other"', "if-none-match": ETAG}, 412),
        ({"if-unmodified-since": DATE, "if-modified-since": DATE}, 304),
    ],
)
def test_preconditions_are_judged_in_the_order_of_the_rfc(
    fields: dict[str, str], status: int | None
) -> None:
    assert verdict(fields) == status
    assert verdict(fields, "HEAD") == status


def test_preconditions_of_other_methods_never_end_in_304() -> None:
    assert verdict({"if-none-match": ETAG}, "POST") == 412
    assert verdict({"if-none-match": '"other"'}, "POST") is None
    assert verdict({"if-modified-since": DATE}, "POST") is None
    assert verdict({"if-match": '"other"'}, "POST") == 412


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-", [(0, 10)]),
        ("Bytes=3-5", [(3, 3)]),
        ("bytes=9-", [(9, 1)]),
        ("bytes=-1", [(9, 1)]),
        ("bytes=-99999", [(0, 10)]),
        ("bytes=5-99999", [(5, 5)]),
        ("bytes=5-" + "9" * 8000, [(5, 5)]),
        ("bytes=" + "0" * 8000 + "5-7", [(5, 3)]),
        ("bytes=0-1,8-", [(0, 2), (8, 2)]),
        ("bytes=8-, ,\t0-1,", [(8, 2), (0, 2)]),
        ("bytes=0-3,2-5", [(0, 4), (2, 4)]),
        ("bytes=99-,0-1", [(0, 2)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=" + "9" * 8000 + "-", []),
        ("bytes=10-11,-0,99-", []),
        # All of it: what is malformed, of another unit, too many, or more than the whole.
        ("", None),
        ("bytes", None),
        ("bytes=", None),
        ("bytes=,", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,5-2", None),
        ("bytes=abc-xyz", None),
        ("bytes=0-1-2", None),
        ("bytes=+1-2", None),
        ("bytes=1_0-", None),
        ("bytes=\u0660-\u0669", None),
        ("bytes= 0 - 1", None),
        ("bytes =0-1", None),
        ("lines=0-1", None),
        ("bytes=0-,0-", None),
        ("bytes=" + "0-," * 2600, None),
        ("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1)), None),
        ("bytes=" + "-" * 8000, None),
    ],
)
def test_byte_ranges_of_ten_bytes(value: str, ranges: list[tuple[int, int]] | None) -> None:
    assert byte_ranges(value, 10) == ranges


@pytest.mark.parametrize(
    ("value", "ranges"),
    [("bytes=0-", []), ("bytes=0-0", []), ("bytes=-0", []), ("bytes=-5", None)],
)
def test_byte_ranges_of_nothing(value: str, ranges: list[tuple[int, int]] | None) -> None:
    assert byte_ranges(value, 0) == ranges


def test_sixteen_ranges_are_not_too_many() -> None:
    assert byte_ranges("bytes=" + ",".join(["0-0"] * 16), 100) == [(0, 1)] * 16
    assert byte_ranges("bytes=" + ",".join(["0-0"] * 17), 100) is None


def test_ranges_select_what_their_numbers_say() -> None:
    """Against an oracle that counts bytes one by one."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for _ in range(2000):
        size = chance.randrange(1, 12)
        specs = [
            chance.choice(["{0}-{1}", "{0}-", "-{1}"]).format(
                chance.randrange(15), chance.randrange(15)
            )
            for _ in range(chance.randrange(1, 4))
        ]
        selected = []
        for spec in specs:
            first, last = spec.split("-")
            if not first:
                selected.append(list(range(size))[-int(last) :] if int(last) else [])
            else:
                selected.append([at for at in range(size) if int(first) <= at <= int(last or 99)])
        backwards = any(
            first and last and int(last) < int(first)
            for first, last in (spec.split("-") for spec in specs)
        )
        found = byte_ranges("bytes=" + ",".join(specs), size)
        if backwards or sum(map(len, selected)) > size:
            assert found is None, (seed, specs, size)
        else:
            assert found is not None, (seed, specs, size)
            got = [list(range(offset, offset + count)) for offset, count in found]
            assert got == [one for one in selected if one], (seed, specs, size)
