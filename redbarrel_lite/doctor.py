"""Find out which hop on the way to a server loses what: ``python3 -m redbarrel_lite doctor URL``.

What it implements: the command, and its report: a line for each check, and what to write
where. What it leaves out: the checks (`doctor_checks`) and their cures (`doctor_advice`).

In one line::

    status = asyncio.run(examine(Checkup("https://chat.example"), None, print))
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from .connect import add_company
from .dial import trusting
from .doctor_checks import FAIL, OK, Checkup, Finding
from .doctor_visit import TIMEOUT_S

_NAME_COLUMNS: Final = 14
_VERDICT_COLUMNS: Final = 8


def lines_of(finding: Finding) -> list[str]:
    """A finding as it is printed."""
    indent = " " * (_NAME_COLUMNS + _VERDICT_COLUMNS)
    first = f"{finding.check:{_NAME_COLUMNS}}{finding.verdict:{_VERDICT_COLUMNS}}{finding.what}"
    return [_plain(line) for line in (first, *(f"{indent}{line}" for line in finding.advice))]


def _plain(line: str) -> str:
    """What a terminal shows and does not obey: some of the words are a server's."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)


def compared(finding: Finding, direct: Finding) -> str:
    """Which hop is at fault, by the same check of the server itself; "" if none is."""
    if finding.verdict == FAIL and direct.verdict == OK:
        return "the server itself does it well: the fault is in what stands before it"
    if finding.verdict == FAIL and direct.verdict == FAIL:
        return f"and the server itself fails: {direct.what}"
    if finding.verdict == OK and direct.verdict == FAIL:
        return f"though the server, asked directly, fails: {direct.what}"
    return ""


async def examine(
    checkup: Checkup, direct: Checkup | None, tell: Callable[[Finding], object]
) -> list[Finding]:
    """All findings; with ``direct``, that of the server itself, each says where the fault is."""
    if direct is None:
        return await checkup.run(tell)
    known = {one.check: one for one in await direct.run(lambda _: None)}

    def tell_compared(finding: Finding) -> None:
        tell(_with(finding, compared(finding, known[finding.check])))

    found = await checkup.run(tell_compared)
    return [_with(one, compared(one, known[one.check])) for one in found]


def _with(finding: Finding, hop: str) -> Finding:
    return finding._replace(advice=(hop, *finding.advice)) if hop else finding


def as_json(url: str, findings: Sequence[Finding]) -> str:
    """The report for a machine: one line."""
    told: dict[str, Any] = {"url": url, "ok": is_well(findings)}
    told["checks"] = [one._asdict() for one in findings]
    return json.dumps(told, ensure_ascii=False)


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing has failed."""
    return all(one.verdict != FAIL for one in findings)


# -- the command line --------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add those of the command, and `run` as what it does."""
    parser.add_argument(
        "url", metavar="URL", help="of the server, or of its sockets if that is not /socket.io/"
    )
    parser.add_argument(
        "--direct", metavar="URL2", help="compare with the server itself, past what is before it"
    )
    parser.add_argument(
        "--idle", type=_seconds, default=0, metavar="S", help="say nothing for S seconds, too"
    )
    parser.add_argument(
        "--origin", default="", metavar="ORIGIN", help="of the pages (as the url's own)"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=TIMEOUT_S,
        metavar="S",
        help="for each answer (%(default)s)",
    )
    add_company(parser)
    parser.add_argument("--json", action="store_true", help="print all findings as one object")
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def run(options: argparse.Namespace) -> int:
    """Do what the command line says; return the exit status."""
    try:
        tls = trusting(options.cafile)
        front, direct = (_checkup(url, tls, options) for url in (options.url, options.direct))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    assert front is not None
    tell: Callable[[Finding], object] = (lambda _: None) if options.json else Printed().add
    findings = asyncio.run(examine(front, direct, tell))
    if options.json:
        sys.stdout.write(as_json(front.url, findings) + "\n")
    return 0 if is_well(findings) else 1


def _checkup(
    url: str | None, tls: ssl.SSLContext | None, options: argparse.Namespace
) -> Checkup | None:
    if url is None:
        return None
    url = url if "://" in url else f"http://{url}"
    return Checkup(url, tls, options.header, options.origin, options.idle, options.timeout)


class Printed:
    """What stands on the screen: the same advice is not given twice."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, ...], str] = {}

    def add(self, finding: Finding) -> None:
        """Print one more."""
        if finding.advice:
            before = self._given.setdefault(finding.advice, finding.check)
            if before != finding.check:
                finding = finding._replace(advice=(f"as for {before}",))
        sys.stdout.write("\n".join(lines_of(finding)) + "\n")
        sys.stdout.flush()
