"""Numbers, and the text that tells them, read by a parser of our own."""

from __future__ import annotations

import json

import pytest
from openmetrics import parse

from redbarrel_lite.metrics import (
    BOUNDS_S,
    GAUGE,
    HISTOGRAM,
    INFO,
    Family,
    Histogram,
    Sample,
    as_json,
    counter,
    from_json,
    gauge,
    joined,
    text,
)

HOSTILE = 'a "quoted" \\ back\\nslash\nand a line, x="y"} 1'


def test_text_of_each_kind() -> None:
    families = [
        counter("asked", "Questions.", {("/", "2xx"): 3, ("/", "4xx"): 1}, "path", "status"),
        gauge("size_bytes", "How large.", {(): 2.5}, unit="bytes"),
        Family("about", INFO, "What it is.", [Sample(1, {"version": "1.0"}, "_info")]),
    ]
    assert text(families) == (
        "# TYPE asked counter\n"
        "# HELP asked Questions.\n"
        'asked_total{path="/",status="2xx"} 3\n'
        'asked_total{path="/",status="4xx"} 1\n'
        "# TYPE size_bytes gauge\n"
        "# UNIT size_bytes bytes\n"
        "# HELP size_bytes How large.\n"
        "size_bytes 2.5\n"
        "# TYPE about info\n"
        "# HELP about What it is.\n"
        'about_info{version="1.0"} 1\n'
        "# EOF\n"
    )
    parse(text(families))


def test_text_without_families_is_its_end() -> None:
    assert text([]) == "# EOF\n"


def test_labels_keep_whatever_they_hold() -> None:
    found = parse(text([gauge("g", "A gauge.", {(HOSTILE,): 1}, "name")]))
    assert found["g"].value(name=HOSTILE) == 1


def test_help_stays_on_its_line() -> None:
    assert "# HELP g two\\nlines\n" in text([gauge("g", "two\nlines", {(): 1})])


def test_infinity_is_written_as_the_format_has_it() -> None:
    assert "\ng +Inf\n" in text([gauge("g", "A gauge.", {(): float("inf")})])


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0, 0), (0.001, 0), (0.0011, 1), (10, 12), (11, 13)]
)
def test_histogram_puts_into_the_bucket_whose_bound_is_not_exceeded(
    seconds: float, bucket: int
) -> None:
    histogram = Histogram()
    histogram.observe(seconds)
    assert histogram.counts.index(1) == bucket
    assert histogram.sum == seconds


def test_histogram_tells_buckets_that_hold_all_below_them() -> None:
    histogram = Histogram()
    for seconds in (0.0005, 0.002, 0.002, 99):
        histogram.observe(seconds)
    samples = list(histogram.samples({"path": "/"}))
    found = parse(text([Family("took", HISTOGRAM, "How long.", samples)]))["took"]
    assert found.values("_bucket") == [1, *[3] * (len(BOUNDS_S) - 1), 4]
    assert found.value("_bucket", path="/", le="0.0025") == 3
    assert found.value("_count", path="/") == 4
    assert found.value("_sum") == pytest.approx(99.0045)


def test_families_of_workers_are_joined_by_their_names() -> None:
    one = [gauge("g", "A gauge.", {("a",): 1}, "x"), gauge("h", "Another.", {(): 5})]
    other = [gauge("g", "A gauge.", {("a",): 2}, "x")]
    found = parse(text(joined({"1": one, "2": other})))
    assert found["g"].value(worker="1", x="a") == 1
    assert found["g"].value(worker="2", x="a") == 2
    assert found["h"].value(worker="1") == 5
    assert one[0].samples == [Sample(1, {"x": "a"})]


def test_families_survive_the_way_to_another_process() -> None:
    families = [
        gauge("g_bytes", HOSTILE, {(HOSTILE,): 1}, "x", unit="bytes"),
        Family("h", GAUGE, "None.", []),
    ]
    assert from_json(json.loads(json.dumps(as_json(families)))) == families
