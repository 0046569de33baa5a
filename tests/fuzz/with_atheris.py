"""The targets, hunted by atheris, which sees each branch taken: ``pip install atheris`` first.

    python -m tests.fuzz.with_atheris NAME FOLDER [-max_total_time=600 ...]

What it finds worth keeping it puts into FOLDER, from where ``python -m tests.fuzz NAME
--keep FOLDER`` takes what is new to us; the rest are libFuzzer's own options. It stops at
the first law that is broken, and leaves the input in a file ``crash-...``, which
``python -m tests.fuzz NAME --try FILE`` reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["redbarrel_lite"]):
    from .hunt import corpus
    from .mutation import MAX_INPUT_BYTES
    from .targets import TARGETS


def main() -> None:
    name, folder, *options = sys.argv[1:]
    target = TARGETS[name]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(corpus(target)):
        Path(folder, f"seed-{number}").write_bytes(data)
    words = Path(folder).with_suffix(".words")
    words.write_text("".join(f'"{escaped(token)}"\n' for token in target.tokens))
    settings = [f"-dict={words}", f"-max_len={MAX_INPUT_BYTES}", "-rss_limit_mb=1000"]
    atheris.Setup([sys.argv[0], *settings, *options, folder], target.check)
    atheris.Fuzz()


def escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token[:60])


if __name__ == "__main__":
    main()
