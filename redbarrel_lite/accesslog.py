"""The access log: one line for each request.

What it implements: the Common Log Format that every log reader knows, and the
same as JSON. What it leaves out: files and rotation, which the system does better
(systemd's journal, a pipe): lines go to standard error with the rest of our output.

In one line::

    print(common(entry), file=sys.stderr)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

# A target may have 8 KiB, and who writes nonsense into it writes to our disk.
MAX_LOGGED_CHARACTERS: Final = 400
# The status of a request whose client left before the answer: nginx's, sent to nobody.
CLIENT_LEFT: Final = 499


class Entry(NamedTuple):
    """What is known of a request. ``at`` is in seconds since 1970, ``took`` in seconds.

    ``size`` counts the bytes of content; None: the answer broke off, or never was (`CLIENT_LEFT`).
    """

    at: float
    client: str
    method: str
    target: str
    version: str
    status: int
    size: int | None
    took: float
    agent: str


# Who knows a session's id can speak for its client: a log must not give it away.
# A query is read with its escapes undone, its names, too.
_SID = re.compile(r"([?&](?:s|%73)(?:i|%69)(?:d|%64)=[^&]{4})[^&]*")


def _target(target: str) -> str:
    return _cut(_SID.sub(r"\1...", target))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LOGGED_CHARACTERS else text[: MAX_LOGGED_CHARACTERS - 3] + "..."


_stamp: tuple[int, str] = (0, "")


def _time(at: float) -> str:
    """``22/Nov/2026:10:00:00 +0000``, made once a second."""
    global _stamp  # noqa: PLW0603  # a memo of one entry
    second = int(at)
    if _stamp[0] != second:
        _stamp = (second, time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second)))
    return _stamp[1]


def common(entry: Entry) -> str:
    """``127.0.0.1 - - [time] "GET / HTTP/1.1" 200 123``.

    Method and target were checked by `http1`: no blank, no control character and
    no line break is in them; a quote is escaped, since it would end the field.
    """
    size = "-" if entry.size is None else entry.size
    target = _target(entry.target).replace("\\", "\\\\").replace('"', '\\"')
    return (
        f"{entry.client or '-'} - - [{_time(entry.at)}]"
        f' "{_cut(entry.method)} {target} HTTP/{entry.version}" {entry.status} {size}'
    )


def as_json(entry: Entry) -> str:
    """One object a line, with the time it took in milliseconds and the user agent."""
    fields = {
        "time": round(entry.at, 3),
        "client": entry.client,
        "method": _cut(entry.method),
        "target": _target(entry.target),
        "status": entry.status,
        "size": entry.size,
        "ms": round(entry.took * 1000, 1),
        "agent": _cut(entry.agent),
    }
    return json.dumps(fields, separators=(",", ":"))


FORMATS: Final[dict[str, Callable[[Entry], str] | None]] = {
    "common": common,
    "json": as_json,
    "off": None,
}
