"""The 517 cases of the Autobahn test suite for WebSocket servers, against ours.

    python tests/interop/run_autobahn.py [--port N] [CASE ...]

They are run by PyPI's kosoku, which needs no Python 2 for it; a CASE may be a pattern
such as "9.*". All take a quarter of an hour, most of that for 9, 12 and 13. Against the
server on a port of this machine, or against one of ours that is started. A pattern has
its star at the end.

Prints how many had which verdict, then each that is neither OK, on messages and end
alike, nor, where the RFC leaves a choice, INFORMATIONAL: 7.1.6 (a close frame behind
a long message), 7.13.1 and 7.13.2 (close codes that nobody has defined). If there is
one the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
APP = ROOT / "tests" / "apps" / "autobahn.rbr"
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
LATE = ("FAILED BY CLIENT", "UNCLEAN")  # it did not wait for the end that is the server's
TRIES = 2  # more, of what was late


@contextmanager
def serving() -> Iterator[int]:
    """A server of ours; its port."""
    command = [sys.executable, "-m", "redbarrel_lite", str(APP), "--port", "0", "--log", "off"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            lines = iter(server.stderr.readline, "")
            found = (re.search(r"Serving on .*:(\d+)", line) for line in lines)
            yield next(int(match[1]) for match in found if match)
        finally:
            server.terminate()
            server.stderr.close()


def mend(cases: list[Any]) -> None:
    """Let kosoku 0.1 run its cases 12 and 13, which were written for messages that are bytes."""

    def mended(on_message: Callable[..., None]) -> Callable[..., None]:
        def given_bytes(self: Any, message: str | bytes, binary: bool) -> None:
            if isinstance(message, str):
                message = message.encode("latin-1" if binary else "utf-8")
            on_message(self, message, binary)

        return given_bytes

    for case in cases:
        case.onMessage = mended(case.onMessage)


async def verdicts(port: int, cases: list[str]) -> list[Any]:
    """The results of kosoku, which gives a server a second to close: a busy machine may be late."""
    kosoku: Any = importlib.import_module("kosoku")
    importlib.import_module("kosoku._caseindex").initialize_shims()
    compression: Any = importlib.import_module("case12_x_x")
    mend(compression.Case12_X_X + compression.Case13_X_X)

    async def run(cases: list[str]) -> dict[str, Any]:
        try:
            results = await kosoku.run_fuzzingclient(f"127.0.0.1:{port}", cases or None, None)
        except kosoku.FailureError as error:
            results = error.results
        return {one.case_id: one for one in results}

    found = await run(cases)
    for _ in range(TRIES):
        late = [name for name, one in found.items() if one.behavior_close.value in LATE]
        if late:
            found |= await run(late)
    return list(found.values())


def show(results: list[Any]) -> int:
    """Print the verdicts; return the exit status."""
    found = {one.case_id: (one.behavior.value, one.behavior_close.value) for one in results}
    for verdict, count in Counter(found.values()).most_common():
        print(f"{count:4}  {' / '.join(dict.fromkeys(verdict))}")
    status = 0
    for one in results:
        verdict = found[one.case_id]
        if verdict != ("OK", "OK") and one.case_id not in INFORMATIONAL:
            status = 1
            print(f"{one.case_id}: {' / '.join(verdict)}: {one.result} {one.result_close}")
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, help="of a server on 127.0.0.1")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    arguments = parser.parse_args()
    if arguments.port is not None:
        return show(asyncio.run(verdicts(arguments.port, arguments.cases)))
    with serving() as port:
        return show(asyncio.run(verdicts(port, arguments.cases)))


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # kosoku 0.1 may crash when the interpreter ends in order
