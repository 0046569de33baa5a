"""Numbers about a server, and how a monitoring system reads them.

What it implements: families of samples, histograms, numbers of several processes put
together, and the text format of OpenMetrics 1.0 (sections "Data Model" and "Text Format").
What it leaves out: what is counted (`tally`, `counting`, `census`); exemplars and created
timestamps, which the format lets us leave out.

In one line::

    text([Family("redbarrel_sessions", GAUGE, "Sessions now.", [Sample(3)])])
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar

CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# The types of families that we have, in the words of the format.
COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"

# The upper bounds of a histogram's buckets, in seconds: from what is answered from memory
# to what nobody waits for. Each is a series of its own, for each path.
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

K = TypeVar("K", bound=tuple[str, ...])


class Sample(NamedTuple):
    """One number. ``suffix`` stands behind the family's name: ``_total``, ``_bucket``."""

    value: float
    labels: Mapping[str, str] = {}
    suffix: str = ""


class Family(NamedTuple):
    """Samples that mean the same thing. With a ``unit`` the name has to end in it."""

    name: str
    kind: str
    help: str
    samples: list[Sample]
    unit: str = ""


class Histogram:
    """How often something took how long."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)  # the last is for what took longer still
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long, once more."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum += seconds

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """The buckets, each with all below it, as the format has them."""
        bounds = [*map(repr, BOUNDS_S), "+Inf"]
        upto = list(accumulate(self.counts))
        for bound, count in zip(bounds, upto, strict=True):
            yield Sample(count, {**labels, "le": bound}, "_bucket")
        yield Sample(upto[-1], labels, "_count")
        yield Sample(self.sum, labels, "_sum")


def counter(
    name: str, what: str, counts: Mapping[K, float], *labels: str, unit: str = ""
) -> Family:
    """A family of counters, whose keys are the values of ``labels``."""
    samples = _samples(counts, labels, "_total")
    return Family(name, COUNTER, what, samples, unit)


def gauge(name: str, what: str, values: Mapping[K, float], *labels: str, unit: str = "") -> Family:
    """The same of what goes up and down."""
    return Family(name, GAUGE, what, _samples(values, labels, ""), unit)


def _samples(values: Mapping[K, float], labels: tuple[str, ...], suffix: str) -> list[Sample]:
    return [
        Sample(value, dict(zip(labels, key, strict=True)), suffix)
        for key, value in sorted(values.items())
    ]


# -- of several processes ------------------------------------------------------------------


def as_json(families: Iterable[Family]) -> list[Any]:
    """For another process."""
    return [list(family) for family in families]


def from_json(told: Iterable[Any]) -> list[Family]:
    """What another process has told by `as_json`."""
    return [
        Family(name, kind, what, [Sample(*sample) for sample in samples], unit)
        for name, kind, what, samples, unit in told
    ]


def joined(workers: Mapping[str, Iterable[Family]]) -> list[Family]:
    """The families of several processes, each sample with the label ``worker``."""
    found: dict[str, Family] = {}
    for worker, families in workers.items():
        for family in families:
            one = found.setdefault(family.name, family._replace(samples=[]))
            one.samples.extend(
                sample._replace(labels={"worker": worker, **sample.labels})
                for sample in family.samples
            )
    return list(found.values())


# -- the text format -----------------------------------------------------------------------


def text(families: Iterable[Family]) -> str:
    """All of them, as OpenMetrics has it."""
    lines = [line for family in families for line in _family(family)]
    return "\n".join([*lines, "# EOF", ""])


def _family(family: Family) -> Iterator[str]:
    name = family.name
    yield f"# TYPE {name} {family.kind}"
    if family.unit:
        yield f"# UNIT {name} {family.unit}"
    yield f"# HELP {name} {_escaped(family.help)}"
    for value, labels, suffix in family.samples:
        told = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{suffix}{f'{{{told}}}' if told else ''} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return repr(value).replace("inf", "+Inf")
