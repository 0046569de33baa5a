"""All numbers of a server that counts, as families: what `/__metrics__` tells.

What it implements: what was counted, put into words, and what nobody counts because a look
is enough: connections, sessions, what waits for whom. What it leaves out: their format
(`metrics`), and counting (`counting`, `tally`).

In one line::

    families = census(server, "1.0")

A look costs about a microsecond for each connection, in the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .backplane import Backplane
from .connection import HttpConnection
from .counting import CountingServer, Numbers
from .endpoint import Endpoint
from .host import Connected
from .metrics import COUNTER, HISTOGRAM, Family, Histogram, Sample, counter, gauge
from .process import process_families
from .runners import Base, ThreadRunner
from .tally import Tallies, Tally
from .websocket import WebSocket


def census(server: CountingServer, version: str) -> list[Family]:
    """What is known of a server."""
    return [
        *_connections(server),
        *_requests(server.numbers),
        *_sessions(server),
        *_sockets(server, list(_tallies(server.tallies.values()))),
        *_work(server),
        _refusals(server.numbers, server.app.pool.refused),
        *_others(server),
        *process_families(version),
    ]


def _histogram(name: str, what: str, label: str, found: dict[str, Histogram]) -> Family:
    samples = [
        sample
        for value, one in sorted(found.items())
        for sample in one.samples({label: value} if label else {})
    ]
    return Family(name, HISTOGRAM, what, samples, "seconds")


# -- connections and HTTP ------------------------------------------------------------------

TRANSPORTS = ("http", "polling", "websocket", "other")


def _connections(server: CountingServer) -> Iterator[Family]:
    numbers = server.numbers
    now = dict.fromkeys(((one,) for one in TRANSPORTS), 0)
    waiting = now.copy()
    for connection in server.connections:
        transport = (_transport(connection),)
        now[transport] += 1
        if isinstance(connection, (HttpConnection, WebSocket)):
            waiting[transport] += connection.unsent
    came = {(): numbers.connections}
    yield gauge("redbarrel_connections", "TCP connections now.", now, "transport")
    yield counter("redbarrel_connections_opened", "TCP connections that came.", came)
    yield gauge(
        "redbarrel_unsent_bytes",
        "Bytes for clients that the system does not take yet, as they do not read.",
        waiting,
        "transport",
        unit="bytes",
    )
    for name, what, count in (
        ("received", "Bytes of clients, without TLS.", numbers.received_bytes),
        ("sent", "Bytes for clients, without TLS.", numbers.sent_bytes),
    ):
        yield counter(f"redbarrel_{name}_bytes", what, {(): count}, unit="bytes")


def _transport(connection: Connected) -> str:
    if isinstance(connection, WebSocket):
        return "websocket"
    if isinstance(connection, HttpConnection):
        return "polling" if connection.busy and connection.is_for_socket else "http"
    return "other"  # a tunnel, or one that lingers


def _requests(numbers: Numbers) -> Iterator[Family]:
    counts = {
        (url, f"{first}xx"): count
        for url, tally in numbers.paths.items()
        for first, count in enumerate(tally.statuses)
        if count
    }
    what = "Requests that were answered, by the class of their status."
    yield counter("redbarrel_requests", what, counts, "path", "status")
    broken = {(): numbers.broken}
    what = "Answers that broke off: their clients went, or read nothing, or what made them failed."
    yield counter("redbarrel_answers_broken", what, broken)
    took = {
        url: tally.took
        for url, tally in numbers.paths.items()
        if tally.took is not None and any(tally.took.counts)
    }
    yield _histogram(
        "redbarrel_request_seconds",
        "From the head of a request to the end of its answer, without those of sockets.",
        "path",
        took,
    )


# -- sessions and sockets --------------------------------------------------------------------


def _sessions(server: CountingServer) -> Iterator[Family]:
    now: Counter[tuple[str, ...]] = Counter()
    packets: Counter[tuple[str, ...]] = Counter()
    sizes: Counter[tuple[str, ...]] = Counter()
    for path, endpoint in server.entrances.items():
        if not isinstance(endpoint, Endpoint):
            now[path.url, "websocket"] += len(endpoint)
            continue
        now[path.url, "polling"] += 0
        now[path.url, "websocket"] += 0
        packets[path.url,] += 0
        sizes[path.url,] += 0
        for session in endpoint.sessions:
            now[path.url, session.transport] += 1
            packets[path.url,] += session.waiting
            sizes[path.url,] += session.queued
    yield gauge(
        "redbarrel_sessions", "Sessions of Engine.IO, and raw WebSockets.", now, "path", "transport"
    )
    yield gauge("redbarrel_poll_packets", "Packets that wait for a poll.", packets, "path")
    yield gauge("redbarrel_poll_bytes", "Bytes of these.", sizes, "path", unit="bytes")
    upgrades = {(url,): noted["upgrade"] for url, noted in server.numbers.noted.items()}
    yield counter("redbarrel_upgrades", "Sessions that moved to a WebSocket.", upgrades, "path")
    closes = {(code,): count for code, count in server.numbers.closes.items()}
    what = "WebSockets that ended, by their close code; 1006: without one."
    yield counter("redbarrel_websocket_closes", what, closes, "code")


Tallied = tuple[dict[str, str], Tally]


def _tallies(files: Iterable[Tallies]) -> Iterator[Tallied]:
    for one in files:
        for name, tally in sorted(one.of.items()):
            yield {"root": one.root, "namespace": name}, tally


def _sockets(server: CountingServer, tallies: list[Tallied]) -> Iterator[Family]:
    labels = ("root", "namespace")
    by = {tuple(told.values()): tally for told, tally in tallies}
    now: Counter[tuple[str, ...]] = Counter(dict.fromkeys(by, 0))
    for home in server.homes:
        now.update((home.file.root, one.template) for one in home.hub.by_sid.values())
    yield gauge("redbarrel_sockets", "Clients in a namespace.", now, *labels)
    for name, what in (
        ("came", "Clients that came into a namespace."),
        ("recovered", "Of them, those who came back and missed nothing."),
        ("received", "Events that came, for a handler."),
        ("sent", "Messages for clients; of a broadcast each."),
    ):
        counts = {key: getattr(one, name) for key, one in by.items()}
        yield counter(f"redbarrel_sockets_{name}", what, counts, *labels)
    left = {
        (*key, reason): count
        for key, one in by.items()
        for reason, count in one.left.items()
        if count
    }
    what = "Clients that left a namespace, and why."
    yield counter("redbarrel_sockets_left", what, left, *labels, "reason")
    samples = [sample for told, tally in tallies for sample in tally.took.samples(told)]
    what = "How long a handler has had an event before it wanted another one."
    yield Family("redbarrel_event_seconds", HISTOGRAM, what, samples, "seconds")


# -- work, and what was refused ------------------------------------------------------------


def _work(server: CountingServer) -> Iterator[Family]:
    pool = server.app.pool
    threads = {("busy",): pool.busy, ("waiting",): pool.waiting}
    what = "Requests in threads, and those that wait for one."
    yield gauge("redbarrel_pool_jobs", what, threads, "state")
    runners = [one for home in server.homes for one in home.hub.runners]
    in_threads = sum(isinstance(one, ThreadRunner) for one in runners)
    handlers = {("loop",): len(runners) - in_threads, ("thread",): in_threads}
    yield gauge("redbarrel_handlers", "Handlers of sockets that have not ended.", handlers, "runs")
    events = sum(one.waiting() for one in runners if isinstance(one, Base))
    yield gauge("redbarrel_waiting_events", "Events that wait for their handlers.", {(): events})
    away = sum(len(home.hub.absent) for home in server.homes)
    yield gauge("redbarrel_absent_sessions", "Sessions that may come back.", {(): away})
    what = "How late the event loop was, four times a second, or less often without work."
    yield _histogram("redbarrel_loop_lag_seconds", what, "", {"": server.lag.took})


def _others(server: CountingServer) -> Iterator[Family]:
    """Other processes: the workers of this server, and a Redis and whoever meets there."""
    workers = {(): 1 + len(server.mesh.others)}
    yield gauge("redbarrel_workers", "Processes of this server that this one knows.", workers)
    missed = {(): server.mesh.missed}
    what = "Messages for workers that were not there, or did not read."
    yield counter("redbarrel_workers_missed", what, missed)
    links = server.cluster.links if server.cluster is not None else ()
    for redis in (link.redis for link in links if isinstance(link, Backplane)):
        yield gauge("redbarrel_redis_up", "1 while Redis is there.", {(): int(redis.is_up)})
        for name, what, count in (
            ("published", "Messages that Redis has taken.", redis.published),
            ("received", "Messages of others that came by Redis.", redis.received),
            ("missed", "Messages that Redis did not take, or may not have.", redis.unpublished),
            ("oversize", "Messages of others that were too long.", redis.oversize),
        ):
            yield counter(f"redbarrel_redis_{name}", what, {(): count})


def _refusals(numbers: Numbers, pool_refused: int) -> Family:
    counts: Counter[str] = Counter(numbers.refused)
    for noted in numbers.noted.values():
        counts.update({what: count for what, count in noted.items() if what != "upgrade"})
    counts["pool"] += pool_refused
    samples = [Sample(count, {"reason": one}, "_total") for one, count in sorted(counts.items())]
    what = "What was refused, and who was dropped, by us and not by a handler."
    return Family("redbarrel_refused", COUNTER, what, samples)
