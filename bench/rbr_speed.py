"""How fast `parse` reads, and whether time grows as the text does.

    python bench/rbr_speed.py

Prints MB/s for a realistic file at 50 kB, 0.5 MB and 5 MB, and the time of ten
times the text over the time of the text (13 is the most that is allowed; 10 is
exactly linear), then the same for texts made to be slow.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from redbarrel_lite.errors import RbrError
from redbarrel_lite.rbr import parse

PATH = """
# Number {n} of many.
path service_{n} (
    description "Shortens an address, and says so in a sentence of the usual length.",
    method GET|POST,
    url /shorten/{n}/{{name:[a-z]+}},
    request-body (
        description "Contains the address to shorten",
        unless type is json return 400
    ),
    response-headers (
        set Content-Type "text/plain"
    ),
    response-status (
        describe 200 "Success",
        describe 400 "I don't like the address provided"
    ),
    use python:shortme.shorten.shorten_{n}
);
"""

# Each would be quadratic for a parser that looks back, or ahead, without bound.
HOSTILE = {
    "one line of entries": lambda size: "path a (" + "b," * (size // 2),
    "one line of sections": lambda size: "path a (" + "b (c)," * (size // 6) + "d);",
    "one long text": lambda size: 'global a "' + "x" * size + '";',
    "escapes": lambda size: 'global a "' + '\\"' * (size // 2) + '";',
    "blanks": lambda size: "global a " + " " * size + "1;",
    "comments": lambda size: "#\n" * (size // 2),
    "placeholders": lambda size: "root /" + "{a}" * (size // 3) + ";",
    "open braces": lambda size: "root /" + "{" * size,
    "open brackets": lambda size: "root /" + "(" * size,
    "NUL": lambda size: "\0" * size,
}


def realistic(size: int) -> str:
    one = len(PATH.format(n=1000))
    return "".join(PATH.format(n=n) for n in range(size // one))


def seconds(text: str) -> float:
    start = time.process_time()
    try:
        parse(text)
    except RbrError:
        pass
    return time.process_time() - start


def main() -> None:
    last = 0.0
    for size in (50_000, 500_000, 5_000_000):
        text = realistic(size)
        spent = min(seconds(text) for _ in range(3))
        growth = f"{spent / last:5.1f} x the time before" if last else ""
        print(f"realistic {size / 1e6:5.2f} MB  {size / 1e6 / spent:6.2f} MB/s  {growth}")
        last = spent
    for name, make in HOSTILE.items():
        small, large = (min(seconds(make(size)) for _ in range(2)) for size in (500_000, 5_000_000))
        print(f"{name:22} 5 MB in {large:6.2f} s  {large / small:5.1f} x the time of 0.5 MB")


if __name__ == "__main__":
    main()
