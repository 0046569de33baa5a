"""Reads the text format of OpenMetrics 1.0, strictly, for tests: what breaks a rule fails.

families = parse(text); families["redbarrel_requests"].value("_total", path="/")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import inf

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,(?=[a-zA-Z_])|\Z)')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.+)\}})? (\S+)")
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|\+?Inf)")
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_count", "_sum"),
}
Labels = frozenset[tuple[str, str]]


class Family:
    """What stands below one name."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.unit = self.help = ""
        self.samples: dict[tuple[str, Labels], float] = {}

    def value(self, suffix: str = "", **labels: str) -> float:
        """That of the one sample with these labels, and maybe others."""
        (found,) = self.values(suffix, **labels)
        return found

    def values(self, suffix: str = "", **labels: str) -> list[float]:
        wanted = set(labels.items())
        return [v for (s, told), v in self.samples.items() if s == suffix and wanted <= told]

    def add(self, name: str, labels: Labels, value: float) -> None:
        suffix = name.removeprefix(self.name)
        assert name.startswith(self.name), f"{name} stands below {self.name}"
        assert suffix in SUFFIXES[self.kind], f"{name} in a {self.kind}"
        assert (suffix, labels) not in self.samples, f"{name} {sorted(labels)} is there twice"
        assert value >= 0 or self.kind == "gauge", f"{name} is {value}"
        assert self.kind != "info" or value == 1
        self.samples[suffix, labels] = value

    def check(self) -> None:
        assert not self.unit or self.name.endswith(f"_{self.unit}"), self.name
        if self.kind == "histogram":
            for (suffix, labels), count in self.samples.items():
                if suffix == "_count":
                    self._check_buckets(labels, count)

    def _check_buckets(self, labels: Labels, count: float) -> None:
        """In the order of their bounds, each with all below it (section "Histogram")."""
        buckets = [
            (dict(told)["le"], value)
            for (suffix, told), value in self.samples.items()
            if suffix == "_bucket" and {one for one in told if one[0] != "le"} == labels
        ]
        assert buckets[-1] == ("+Inf", count), self.name
        bounds = [inf if bound == "+Inf" else float(bound) for bound, _ in buckets]
        assert bounds == sorted(set(bounds))
        assert [repr(one) for one in bounds[:-1]] == [bound for bound, _ in buckets[:-1]]
        values = [value for _, value in buckets]
        assert values == sorted(values)
        assert ("_sum", labels) in self.samples


def parse(text: str) -> dict[str, Family]:
    """All families of a text. Fails where it is none of OpenMetrics."""
    assert text.endswith("\n# EOF\n")
    families: dict[str, Family] = {}
    family: Family | None = None
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert re.fullmatch(NAME, name), line
            assert name not in families, f"{name} is there twice"
            family = families[name] = Family(name, kind)
            continue
        assert family is not None, line
        if line.startswith("#"):
            _, what, name, said = line.split(" ", 3)
            assert name == family.name, line
            assert not family.samples, f"{line!r} comes behind samples"
            assert what in ("UNIT", "HELP"), line
            setattr(family, what.lower(), said)
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert NUMBER.fullmatch(match[3]), line
            family.add(match[1], frozenset(labels(match[2] or "")), float(match[3]))
    for one in families.values():
        assert one.help, f"{one.name} is not explained"
        one.check()
    return families


def labels(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    names = set()
    while at < len(text):
        match = LABEL.match(text, at)
        assert match is not None, text[at:]
        assert match[1] not in names, text
        names.add(match[1])
        yield match[1], re.sub(r"\\(.)", lambda one: {"n": "\n"}.get(one[1], one[1]), match[2])
        at = match.end()
