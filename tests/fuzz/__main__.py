"""The command: ``python -m tests.fuzz NAME... [--seconds N] [--seed S] [--guided]``.

Exits 1 if a law was broken, and says by which input: a file of it in ``regressions`` makes
it a test.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from .hunt import Hunt, broken_law, keep
from .targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target (60)")
    parser.add_argument("--seed", default="", help="repeats a run (at random, and told)")
    parser.add_argument("--guided", action="store_true", help="keep what reaches new lines")
    parser.add_argument("--try", dest="file", type=Path, help="only this input")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of these what is new")
    options = parser.parse_args()
    names = list(TARGETS) if "all" in options.names else options.names
    if options.file:
        return tried(names, options.file)
    if options.keep:
        print(f"{sum(keep(TARGETS[name], options.keep) for name in names)} inputs kept")
        return 0
    seed = options.seed or secrets.token_hex(4)
    return max([hunted(name, seed, options.seconds, guided=options.guided) for name in names])


def tried(names: list[str], file: Path) -> int:
    laws = [broken_law(TARGETS[name], file.read_bytes()) for name in names]
    print("\n".join(f"{name}: {law or 'holds'}" for name, law in zip(names, laws, strict=True)))
    return int(any(laws))


def hunted(name: str, seed: str, seconds: float, *, guided: bool) -> int:
    hunt = Hunt(TARGETS[name], seed, guided=guided)
    hunt.run(seconds=seconds)
    for fault in hunt.faults.values():
        print(f"\n{name}: {fault.law}, in execution {fault.number} of --seed {seed}")
        print(f"{fault.story}shrunk: {fault.data.hex()}\n        {fault.data!r}")
    slowest, data = hunt.slowest
    print(
        f"{name}: {hunt.executions} executions, {hunt.executions / hunt.seconds:.0f} a second, "
        f"{len(hunt.faults)} faults, {hunt.kept} inputs kept, "
        f"slowest {slowest * 1000:.1f} ms ({len(data)} bytes), --seed {seed}",
        flush=True,
    )
    return int(bool(hunt.faults))


if __name__ == "__main__":
    sys.exit(main())
