"""The looks of ``/__status__``: numbers of a server, for people.

What it implements: one page of HTML with what is going on, what has, and what is worth a
look, which loads nothing, needs no script and comes again by itself. What it leaves out: the
numbers (`census`), who may see them (`status`), and the style, ``static/status.css``.

In one line::

    html = page([Told("", families, speeds)])

All that a file or a client has named passes `markup.tag`, which escapes it. The
Content-Security-Policy has the hash of the style, and lets nothing else in.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from .docpage import BARREL, HOOPS, ICON, hash_of, static
from .markup import Html, join, tag
from .metrics import BOUNDS_S, Family, as_json, from_json
from .trail import STEPS

REFRESH_S: Final = 5
_STYLE: Final = Html(static("status.css"))
POLICY: Final = (
    f"default-src 'none'; style-src {hash_of(_STYLE)}; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)
# Rows of a table; a machine gets all of them.
MAX_ROWS: Final = 40


class Told(NamedTuple):
    """What one process tells."""

    worker: str  # its number; "" for one that is alone
    families: list[Family]
    speeds: list[list[float]]

    @property
    def order(self) -> int:
        """Its place among all."""
        return int(self.worker or 0)

    def as_json(self) -> list[Any]:
        """For another process."""
        return [self.worker, as_json(self.families), self.speeds]

    @classmethod
    def from_json(cls, told: list[Any]) -> Told:
        """What another process has told by that."""
        worker, families, speeds = told
        return cls(worker, from_json(families), speeds)


class Sums:
    """The numbers of one process or several, added up."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
        for family in families:
            for value, labels, suffix in family.samples:
                self._samples[family.name + suffix].append((labels, value))

    def total(self, name: str, **wanted: str) -> float:
        """The sum of all samples that have these labels."""
        return sum(value for _, value in self._having(name, wanted))

    def by(self, name: str, *names: str, **wanted: str) -> dict[tuple[str, ...], float]:
        """Sums for each value that some labels have."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in self._having(name, wanted):
            sums[tuple(labels[one] for one in names)] += value
        return dict(sums)

    def about(self, name: str) -> Mapping[str, str]:
        """The labels of the first sample."""
        return self._samples[name][0][0] if self._samples[name] else {}

    def times(self, name: str, *names: str) -> dict[tuple[str, ...], list[float]]:
        """Histograms, by labels: what is in each bucket, without what is in those below."""
        found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for (*key, _), upto in self.by(f"{name}_bucket", *names, "le").items():
            found[tuple(key)].append(upto)
        return {
            key: [after - before for before, after in pairwise([0, *buckets])]
            for key, buckets in found.items()
        }

    def _having(
        self, name: str, wanted: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], float]]:
        for labels, value in self._samples[f"redbarrel_{name}"] or self._samples[name]:
            if wanted.items() <= labels.items():
                yield labels, value


def page(workers: Sequence[Told]) -> str:
    """The whole page."""
    sums = Sums(family for told in workers for family in told.families)
    each = {told.worker: Sums(told.families) for told in workers}
    head = [
        tag("meta", charset="utf-8"),
        tag("title", "Status"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="refresh", content=str(REFRESH_S)),
        tag("link", rel="icon", href=ICON),
        tag("style", _STYLE),
    ]
    main = [
        _worries(sums, each),
        _charts([told.speeds for told in workers]),
        _now(sums),
        _paths(sums),
        _namespaces(sums),
        _refused(sums),
        _processes(each),
    ]
    body = [_header(sums, each), tag("main", *main), _footer()]
    html = tag("html", tag("head", *head), "\n", tag("body", *body), lang="en")
    return f"<!doctype html>\n{html}\n"


def _header(sums: Sums, each: Mapping[str, Sums]) -> Html:
    barrel = tag(
        "svg", tag("path", d=BARREL), tag("path", d=HOOPS), viewBox="0 0 32 32", aria_hidden="true"
    )
    up = max(one.total("process_uptime_seconds") for one in each.values())
    version = sums.about("redbarrel_info").get("version", "")
    many = f" · {len(each)} processes" if len(each) > 1 else ""
    about = f"up {_span(up)}{many} · RedBarrel Lite {version}"
    return tag("header", barrel, tag("h1", "Status"), tag("p", about))


def _footer() -> Html:
    machine = tag("a", "/__metrics__", href="__metrics__")
    return tag("footer", f"Comes again every {REFRESH_S} seconds. For a machine: ", machine)


# -- what is worth a look --------------------------------------------------------------------

_LATE_S: Final = 0.1
_LATE_SHARE: Final = 0.01
_MANY_FDS: Final = 0.8
_MUCH_UNSENT: Final = 4 * 1024 * 1024


def _worries(sums: Sums, each: Mapping[str, Sums]) -> Html:
    found = list(_worth_a_look(sums, each))
    if not found:
        return tag("p", "Nothing needs a look.", class_="well")
    return tag("ul", *(tag("li", one) for one in found), class_="worries")


def _worth_a_look(sums: Sums, each: Mapping[str, Sums]) -> Iterator[str]:
    known = max(one.total("workers") for one in each.values())
    if known > len(each):
        silent = f"{_count(known - len(each))} of {_count(known)} workers"
        yield f"{silent} did not answer in time: what they have counted is not here."
    waiting = sums.total("pool_jobs", state="waiting")
    if waiting:
        yield f"{_count(waiting)} requests wait for a thread: all of them are busy."
    times = sums.times("loop_lag_seconds").get((), [])
    late = sum(times[BOUNDS_S.index(_LATE_S) + 1 :])
    if late > _LATE_SHARE * sum(times):
        share = _percent(late / sum(times))
        yield f"The event loop was late by over 100 ms {share} of the time: the log says for whom."
    if sums.total("waiting_events") > 256:
        yield f"{_count(sums.total('waiting_events'))} events wait for handlers that are behind."
    if sums.total("unsent_bytes") > _MUCH_UNSENT:
        yield f"{_size(sums.total('unsent_bytes'))} wait for clients that do not read."
    if any(one.by("redis_up") and not one.total("redis_up") for one in each.values()):
        yield "Redis is away: other servers do not hear what is said here."
    for one in each.values():
        most = one.total("process_max_fds")
        if most and one.total("process_open_fds") > _MANY_FDS * most:
            yield f"{_count(one.total('process_open_fds'))} of {_count(most)} descriptors are open."


# -- charts ----------------------------------------------------------------------------------

_CHARTS: Final = ("Requests a second", "Events in a second", "Messages out a second", "Processor")


def _charts(workers: Sequence[list[list[float]]]) -> Html:
    together = [list(map(sum, zip(*one, strict=True))) for one in zip(*workers, strict=True)]
    cards = [
        _chart(title, speeds, _percent if title == "Processor" else _rate)
        for title, speeds in zip(_CHARTS, together, strict=True)
    ]
    return tag("section", *cards, class_="charts", aria_label="The last five minutes")


def _chart(title: str, speeds: Sequence[float], said: Callable[[float], str]) -> Html:
    most = max(speeds)
    top = most or 1.0
    points = [f"{x:g},{round(30 - 28 * y / top, 2):g}" for x, y in enumerate(speeds)]
    line = "M" + "L".join(points)
    drawing = tag(
        "svg",
        tag("title", f"{title}: now {said(speeds[-1])}, at most {said(most)} in five minutes"),
        tag("path", class_="area", d=f"{line}L{STEPS - 1},31L0,31z"),
        tag("path", class_="line", d=line, vector_effect="non-scaling-stroke"),
        viewBox=f"0 0 {STEPS - 1} 31",
        preserveAspectRatio="none",
        role="img",
    )
    most_told = tag("small", f"most {said(most)}")
    now = tag("p", tag("b", said(speeds[-1])), most_told)
    return tag("div", tag("h2", title), now, drawing, class_="card")


# -- now -------------------------------------------------------------------------------------


def _now(sums: Sums) -> Html:
    connections = sums.by("connections", "transport")
    named = [f"{_count(count)} {name}" for (name,), count in connections.items() if count]
    sockets = sums.total("sockets")
    pool = f"{_count(sums.total('pool_jobs', state='busy'))} busy"
    waiting = sums.total("pool_jobs", state="waiting")
    facts = [
        ("Connections", sums.total("connections"), ", ".join(named) or "nobody is here"),
        ("Sessions", sums.total("sessions"), f"{_count(sums.total('upgrades_total'))} upgraded"),
        ("In namespaces", sockets, f"{_count(sums.total('sockets_recovered_total'))} came back"),
        ("Handlers", sums.total("handlers"), f"{_count(sums.total('waiting_events'))} events wait"),
        ("Threads of services", sums.total("pool_jobs"), f"{pool}, {_count(waiting)} wait"),
    ]
    came, went = (sums.total(f"{one}_bytes_total") for one in ("received", "sent"))
    unsent = sums.total("unsent_bytes") + sums.total("poll_bytes")
    cells = [(name, _count(value), more) for name, value, more in facts]
    cells += [("Bytes in", _size(came), ""), ("Bytes out", _size(went), f"{_size(unsent)} wait")]
    if sums.by("redis_up"):
        is_up = "there" if sums.total("redis_up") else "away"
        missed = f"{_count(sums.total('redis_missed_total'))} missed"
        cells.append(("Redis", is_up, missed))
    cards = [
        tag("div", tag("dt", name), tag("dd", tag("b", value), tag("small", more)))
        for name, value, more in cells
    ]
    return tag("dl", *cards, class_="card now")


# -- tables ----------------------------------------------------------------------------------


def _table(title: str, heads: Sequence[str], rows: Sequence[Html], empty: str) -> Html:
    if not rows:
        return tag("section", tag("h2", title), tag("p", empty, class_="none"), class_="card")
    more = len(rows) - MAX_ROWS
    head = tag("thead", tag("tr", *(tag("th", one, scope="col") for one in heads)))
    table = tag("table", head, tag("tbody", *rows[:MAX_ROWS]))
    rest = [tag("p", f"and {more} more", class_="none")] if more > 0 else []
    wide = tag("div", table, class_="wide")
    return tag("section", tag("h2", title), wide, *rest, class_="card")


def _row(name: Html | str, *cells: Html | str) -> Html:
    return tag("tr", tag("th", name, scope="row"), *(tag("td", one) for one in cells))


def _paths(sums: Sums) -> Html:
    statuses: dict[str, dict[str, float]] = defaultdict(dict)
    for (path, status), count in sums.by("requests_total", "path", "status").items():
        statuses[path][status] = count
    counts = {path: sum(told.values()) for path, told in statuses.items()}
    times = sums.times("request_seconds", "path")
    rows = []
    for path, count in sorted(counts.items(), key=lambda one: -one[1]):
        name = tag("code", path) if path != "none" else tag("i", "no such path")
        histogram = _times(times.get((path,), []))
        rows.append(_row(name, _count(count), _shares(statuses[path]), *histogram))
    heads = ("Path", "Requests", "Statuses", "Times", "Half within", "99 % within")
    return _table("HTTP", heads, rows, "No request yet.")


def _shares(statuses: Mapping[str, float]) -> Html:
    """How many of each class, but for those that are as they should be."""
    told = [
        tag("span", f"{status} {_count(count)}", class_=f"status s{status}")
        for status, count in sorted(statuses.items())
    ]
    return join(told, " ")


def _namespaces(sums: Sums) -> Html:
    at = "root", "namespace"
    counts = [sums.by(f"sockets_{one}_total", *at) for one in ("came", "received", "sent")]
    times = sums.times("event_seconds", *at)
    rows = []
    for key, now in sorted(sums.by("sockets", *at).items()):
        root, name = key
        label = [tag("span", root, class_="root")] if root else []
        told = [_count(one.get(key, 0)) for one in counts]
        histogram = _times(times.get(key, []))
        rows.append(_row(tag("code", *label, name), _count(now), *told, *histogram))
    heads = ["Namespace", "Now", "Came", "Events in", "Messages out"]
    heads += ["Times", "Half within", "99 % within"]
    return _table("Sockets", heads, rows, "Nobody has come to a socket yet.")


def _times(times: Sequence[float]) -> list[Html | str]:
    """A small histogram, and the bounds below which half are, and 99 of 100."""
    if not sum(times):
        return ["", "", ""]
    top = max(times)
    bars = [
        tag(
            "rect",
            x=str(5 * place),
            width="4",
            y=f"{20 - height:g}",
            height=f"{height:g}",
        )
        for place, count in enumerate(times)
        if (height := math.ceil(20 * count / top))
    ]
    drawing = tag(
        "svg", *bars, viewBox=f"0 0 {5 * len(times)} 20", class_="times", aria_hidden="true"
    )
    return [drawing, _within(times, 0.5), _within(times, 0.99)]


def _within(times: Sequence[float], share: float) -> str:
    upto = 0.0
    for bound, count in zip(BOUNDS_S, times, strict=False):
        upto += count
        if upto >= share * sum(times):
            return _brief(bound)
    return f"over {_brief(BOUNDS_S[-1])}"


def _refused(sums: Sums) -> Html:
    counts = [
        (name, count) for (name,), count in sums.by("refused_total", "reason").items() if count
    ]
    counts += [
        (f"WebSocket closed, {code}", count)
        for (code,), count in sorted(sums.by("websocket_closes_total", "code").items())
    ]
    cells = [tag("div", tag("dt", name), tag("dd", _count(count))) for name, count in counts]
    if not cells:
        none = tag("p", "Nothing was refused, and nobody dropped.", class_="none")
        return tag("section", tag("h2", "Refused and ended"), none, class_="card")
    return tag("section", tag("h2", "Refused and ended"), tag("dl", *cells), class_="card refused")


def _processes(each: Mapping[str, Sums]) -> Html:
    rows = []
    for worker, one in each.items():
        about = one.about("redbarrel_info")
        pid = about.get("pid", "")
        most = one.total("process_max_fds")
        rows.append(
            _row(
                f"{worker}: {pid}" if worker else pid,
                _span(one.total("process_uptime_seconds")),
                _size(one.total("process_resident_memory_bytes")),
                _span(one.total("process_cpu_seconds_total")),
                f"{_count(one.total('process_open_fds'))} of {_count(most)}",
                _count(one.total("process_threads")),
                _count(one.total("python_gc_collections_total", generation="2")),
                _times(one.times("loop_lag_seconds").get((), []))[-1],
            )
        )
    heads = ["Process", "Up", "Memory", "Processor", "Descriptors", "Threads"]
    heads += ["Full collections", "Loop late, 99 %"]
    return _table("Processes", heads, rows, "")


# -- numbers, as people read them --------------------------------------------------------------


def _count(number: float) -> str:
    return f"{number:,.0f}" if math.isfinite(number) else "∞"


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if number < 100 else f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def _brief(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1000 * seconds:g} ms"


def _span(seconds: float) -> str:
    """The two largest units of a time."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = int(seconds) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {int(seconds) % 60} s"
