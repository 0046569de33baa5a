"""Which part of a representation is sent, if any: what a request's fields ask for.

What it implements: from RFC 9110 the preference among codings (12.5.3), HTTP dates
(5.6.7), conditional requests (13), byte ranges (14.1). What it leaves out: what is
selected from, which the caller has.

In one line::

    status = precondition(request, etag, modified)

All of it is linear in the length of the fields, whatever they hold, and what is
malformed is ignored, as the RFC has it: these fields are wishes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias

from .request import Request

# Each range costs a head of its own. Five thousand times "0-" has made servers
# send five thousand copies of a file (CVE-2011-3192), or parse for minutes.
MAX_RANGES: Final = 16

Range: TypeAlias = tuple[int, int]  # offset and count


# -- codings -------------------------------------------------------------------


def prefers_gzip(accept: str) -> bool:
    """What Accept-Encoding says to a choice of gzip and nothing (RFC 9110 12.5.3)."""
    weights: dict[str, float] = {}
    for member in accept.split(","):
        coding, _, parameter = member.partition(";")
        weights[coding.strip(" \t").lower()] = _weight(parameter.strip(" \t"))
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def _weight(parameter: str) -> float:
    """A quality value (RFC 9110 12.4.2); what is none counts for nothing."""
    if not parameter:
        return 1.0
    match = _WEIGHT.fullmatch(parameter)
    return float(match[1]) if match else 0.0


# -- conditions -----------------------------------------------------------------


def precondition(request: Request, etag: str, modified: int | None) -> int | None:
    """304 or 412 where the request's conditions ask for it (RFC 9110 13.2.2), or None.

    Without ``modified``, what is said of a date is ignored, as 13.1.3 and 13.1.4 have it.
    """
    headers = request.headers
    is_read = request.method in ("GET", "HEAD")
    if_match = headers.get("if-match")
    if if_match is not None:
        if not _names_etag(if_match, etag):
            return 412
    elif modified is not None:
        date = http_date(headers.get("if-unmodified-since"))
        if date is not None and modified > date:
            return 412
    if_none_match = headers.get("if-none-match")
    if if_none_match is not None:
        # A weak comparison: a cache may have marked what we gave it as weak.
        same = _names_etag(if_none_match.replace("W/", ""), etag)
        return (304 if is_read else 412) if same else None
    if not is_read or modified is None:
        return None
    date = http_date(headers.get("if-modified-since"))
    return 304 if date is not None and modified <= date else None


def _names_etag(value: str, etag: str) -> bool:
    """Whether a list of entity tags holds ours.

    A comma may stand inside of a tag, but none does in ours, so that no piece of
    another one is like it.
    """
    return value.strip(" \t") == "*" or etag in (tag.strip(" \t") for tag in value.split(","))


_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
# RFC 9110 5.6.7: the form to use, and two of the last century that must be read.
_DATES = [
    re.compile(form.replace("TIME", _TIME), re.ASCII)
    for form in (
        r"[A-Z][a-z]{2}, (?P<day>\d\d) (?P<month>\w{3}) (?P<year>\d{4}) TIME GMT",
        r"[A-Z][a-z]{5,8}, (?P<day>\d\d)-(?P<month>\w{3})-(?P<year>\d\d) TIME GMT",
        r"[A-Z][a-z]{2} (?P<month>\w{3}) (?P<day>[ \d]\d) TIME (?P<year>\d{4})",
    )
]


def http_date(value: str | None) -> int | None:
    """The seconds that an HTTP date stands for; None for what is none, to be ignored."""
    if value is None:
        return None
    match = next(filter(None, (form.fullmatch(value) for form in _DATES)), None)
    if match is None or match["month"] not in _MONTHS:
        return None
    year = int(match["year"])
    if len(match["year"]) == 2:
        # 5.6.7: a year that seems to be more than 50 years ahead is of the last century.
        year += 2000 if year + 2000 <= time.gmtime().tm_year + 50 else 1900
    month = _MONTHS.index(match["month"]) + 1
    clock = (int(match["hour"]), int(match["minute"]), int(match["second"]))
    try:
        return int(datetime(year, month, int(match["day"]), *clock, tzinfo=UTC).timestamp())
    except ValueError:  # the 31st of February
        return None


# -- ranges --------------------------------------------------------------------


def byte_ranges(value: str, size: int) -> Sequence[Range] | None:
    """The satisfiable ranges of a Range field (RFC 9110 14.1.2), in its order.

    None, to be answered with all of it, for what is no list of byte ranges, for
    too many of them, and for those that together are longer than the whole, so
    that they overlap: a few bytes of request must not make us send a file often.
    Empty if all lie behind the end.
    """
    unit, _, specs = value.partition("=")
    if unit.lower() != "bytes" or specs.count(",") >= MAX_RANGES:
        return None
    found: list[Range] = []
    listed = 0
    for spec in specs.split(","):
        if text := spec.strip(" \t"):
            parsed = _byte_range(text, size)
            if parsed is None:
                return None
            listed += 1
            if parsed[1] > 0:
                found.append(parsed)
    too_much = sum(count for _, count in found) > size
    return None if not listed or too_much else found


_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
_FAR = 10**18  # beyond the end of every file


def _byte_range(spec: str, size: int) -> Range | None:
    """One range; its count is 0 if it can't be satisfied. None where the whole is to be sent."""
    match = _SPEC.fullmatch(spec)
    if match is None or spec == "-":
        return None
    first, last = (_number(text) for text in match.groups())
    if not match[1]:
        count = min(last, size)
        # The last bytes of an empty file can be had, but Content-Range can't say so.
        return (size - count, count) if size or not last else None
    if not match[2]:
        last = _FAR
    if last < first:
        return None
    return first, max(0, min(last, size - 1) - first + 1)


def _number(digits: str) -> int:
    """A number of any length: what no file reaches is all the same, and quickly read."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= 18 else _FAR
