"""The page for people, made of numbers that no server has counted."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser

import pytest

from redbarrel_lite import statuspage
from redbarrel_lite.metrics import HISTOGRAM, INFO, Family, Histogram, Sample, counter, gauge
from redbarrel_lite.statuspage import MAX_ROWS, POLICY, Sums, Told, page
from redbarrel_lite.trail import STEPS

CALM = [[0.0] * STEPS for _ in range(4)]
HOSTILE = '/<script>alert(1)</script>"&'


def told(*more: Family, worker: str = "", speeds: list[list[float]] = CALM) -> Told:
    about = Sample(1, {"version": "1.0", "python": "3.13.0", "pid": "77"}, "_info")
    about_process = [
        Family("redbarrel", INFO, "What runs.", [about]),
        gauge("process_uptime_seconds", "Up.", {(): 90061.0}, unit="seconds"),
        gauge("process_open_fds", "Open.", {(): 10}),
        gauge("process_max_fds", "Most.", {(): 100}),
    ]
    names = {family.name for family in more}
    return Told(worker, [*(f for f in about_process if f.name not in names), *more], speeds)


def times(name: str, seconds: list[float], **labels: str) -> Family:
    histogram = Histogram()
    for one in seconds:
        histogram.observe(one)
    return Family(name, HISTOGRAM, "How long.", list(histogram.samples(labels)))


class Reader(HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open and data.strip():
            self.said.append(data.strip())


def said(*workers: Told) -> str:
    return " | ".join(Reader(page(workers)).said)


def test_page_of_a_server_that_has_done_nothing() -> None:
    text = said(told())
    for words in ("Nothing needs a look.", "up 1 d 1 h", "No request yet.", "Nobody has come"):
        assert words in text, words


def test_page_loads_nothing_and_comes_again_by_itself() -> None:
    reader = Reader(page([told()]))
    assert not [tag for tag, _ in reader.tags if tag in ("script", "img", "iframe", "object")]
    links = [
        value
        for _, found in reader.tags
        for name, value in found.items()
        if name in ("src", "href")
    ]
    assert [link for link in links if link and not link.startswith("data:")] == ["__metrics__"]
    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in reader.tags
    assert "url(" not in statuspage._STYLE
    assert "@import" not in statuspage._STYLE


def test_policy_lets_in_that_style_alone() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page([told()]), re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'")
    assert 'style="' not in page([told()])


def test_names_are_escaped_wherever_they_stand() -> None:
    requests = counter("redbarrel_requests", "R.", {(HOSTILE, "2xx"): 1}, "path", "status")
    sockets = gauge("redbarrel_sockets", "S.", {(HOSTILE, HOSTILE): 1}, "root", "namespace")
    refused = counter("redbarrel_refused", "R.", {(HOSTILE,): 1}, "reason")
    html = page([told(requests, sockets, refused)])
    assert "<script" not in html
    assert Reader(html).said.count(HOSTILE) == 4


def test_paths_are_told_with_their_statuses_and_times() -> None:
    requests = counter(
        "redbarrel_requests",
        "Requests.",
        {("/a", "2xx"): 1000, ("/a", "5xx"): 2, ("/b", "2xx"): 5000, ("none", "4xx"): 7},
        "path",
        "status",
    )
    took = times("redbarrel_request_seconds", [0.002] * 98 + [0.2, 30], path="/a")
    text = said(told(requests, took))
    assert "/b | 5,000 | 2xx 5,000 | /a | 1,002 | 2xx 1,000 | 5xx 2 | 2.5 ms | 250 ms" in text
    assert "no such path | 7 | 4xx 7" in text


def test_page_looks_at_the_numbers_as_often_however_many_paths_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it would hold the loop of a large application, every five seconds."""
    looks: list[str] = []
    having = Sums._having

    def counted(self: Sums, name: str, wanted: dict[str, str]) -> object:
        looks.append(name)
        return having(self, name, wanted)

    monkeypatch.setattr(Sums, "_having", counted)
    counts = []
    for paths in (1, 30):
        names = [f"/{number}" for number in range(paths)]
        requests = {(name, "2xx"): 1 for name in names}
        sockets = {("", name): 1 for name in names}
        families = [
            counter("redbarrel_requests", "Requests.", requests, "path", "status"),
            gauge("redbarrel_sockets", "Sockets.", sockets, "root", "namespace"),
        ]
        text = said(told(*families))
        assert all(f"{name} | 1 |" in text for name in names)
        counts.append(len(looks))
        looks.clear()
    assert counts[0] == counts[1]


def test_table_has_an_end() -> None:
    many = {(f"/{number}", "2xx"): 1.0 for number in range(MAX_ROWS + 3)}
    text = said(told(counter("redbarrel_requests", "Requests.", many, "path", "status")))
    assert "and 3 more" in text


WORRIES = {
    "requests wait for a thread": gauge("redbarrel_pool_jobs", "Jobs.", {("waiting",): 3}, "state"),
    "late by over 100 ms 50 %": times("redbarrel_loop_lag_seconds", [0.01, 0.3]),
    "events wait for handlers": gauge("redbarrel_waiting_events", "Events.", {(): 1000}),
    "5 MiB wait for clients": gauge(
        "redbarrel_unsent_bytes", "Bytes.", {("websocket",): 5 * 2**20}, "transport"
    ),
    "90 of 100 descriptors": gauge("process_open_fds", "Open.", {(): 90}),
    "2 of 3 workers did not answer": gauge("redbarrel_workers", "Workers.", {(): 3}),
    "Redis is away": gauge("redbarrel_redis_up", "Redis.", {(): 0}),
}


@pytest.mark.parametrize("words", WORRIES)
def test_what_is_worth_a_look_is_told_first(words: str) -> None:
    text = said(told(WORRIES[words]))
    assert words in text
    assert "Nothing needs a look." not in text


def test_redis_that_is_away_for_one_of_the_workers_is_told_of() -> None:
    each = [gauge("redbarrel_redis_up", "Redis.", {(): is_up}) for is_up in (0, 1)]
    text = said(*(told(one, worker=name) for one, name in zip(each, "01", strict=True)))
    assert "Redis is away" in text


def test_loop_that_is_seldom_late_is_no_worry() -> None:
    lag = times("redbarrel_loop_lag_seconds", [0.001] * 200 + [0.3])
    assert "Nothing needs a look." in said(told(lag))


def test_workers_are_added_up_and_each_has_a_row() -> None:
    sockets = gauge("redbarrel_sockets", "Sockets.", {("", "/chat"): 4}, "root", "namespace")
    busy = [[1.0] * STEPS for _ in range(4)]
    text = said(*(told(sockets, worker=name, speeds=busy) for name in "01"))
    assert "2 processes" in text
    assert "/chat | 8" in text
    assert "Requests a second | 2 |" in text
    assert "0: 77" in text
    assert "1: 77" in text


def test_what_is_told_survives_the_way_to_another_worker() -> None:
    one = told(gauge("g", "A gauge.", {("a",): 1}, "x"), worker="1")
    assert Told.from_json(one.as_json()) == one


@pytest.mark.parametrize(
    ("function", "number", "words"),
    [
        ("_size", 0, "0 B"),
        ("_size", 1536, "1.5 KiB"),
        ("_size", 200 * 1024, "200 KiB"),
        ("_size", 3 * 2**40, "3.0 TiB"),
        ("_span", 0.04, "0.04 s"),
        ("_span", 59, "59 s"),
        ("_span", 61, "1 min 1 s"),
        ("_span", 7260, "2 h 1 min"),
        ("_span", 90000, "1 d 1 h"),
        ("_count", math.inf, "∞"),
        ("_count", 1234567, "1,234,567"),
        ("_rate", 0.0314, "0.0314"),
        ("_rate", 12345, "12,345"),
        ("_percent", 0.0123, "1.2 %"),
        ("_percent", 0.00958, "0.96 %"),
        ("_percent", 1.5, "150 %"),
        ("_brief", 0.0025, "2.5 ms"),
        ("_brief", 2.5, "2.5 s"),
    ],
)
def test_numbers_are_said_as_people_read_them(function: str, number: float, words: str) -> None:
    assert getattr(statuspage, function)(number) == words
