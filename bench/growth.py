"""Measures how ours grows: with clients, with rooms, with the size of messages.

    python bench/growth.py [--python PYTHON] [--json FILE]

As run.py does, in CPU time of the server; without peers.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from peers import PEERS, Environment, allow_descriptors
from run import Load, loading
from workloads import WORKLOADS, Workload

CLIENTS = (100, 1000, 5000)
ROOMS = (1, 10, 100, 1000)
SIZES = (16, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
RUNS = 5
SECONDS = 1.0


def points() -> dict[str, list[tuple[int, Workload, dict[str, str]]]]:
    """Each curve: what grows, the load, and what the server is told."""
    echo, fanout, raw = (WORKLOADS[key] for key in ("echo", "fanout", "raw-echo"))
    small = fanout._replace(clients=101, mode="rooms")
    return {
        "echo by clients": [(n, echo._replace(clients=n), {}) for n in CLIENTS],
        "fan-out by clients": [(n, fanout._replace(clients=n + 1), {}) for n in CLIENTS],
        "fan-out by rooms": [(n, small, {"ROOMS": str(n)}) for n in ROOMS],
        "raw by size": [(n, _of_size(raw, n), {}) for n in SIZES],
        "Socket.IO by size": [(n, _of_size(echo, n), {}) for n in SIZES],
    }


def _of_size(workload: Workload, size: int) -> Workload:
    """With fewer clients where they would have fifty megabytes under way."""
    return workload._replace(size=size, mode="sizes", clients=50 if size <= 65536 else 10)


def measure(environment: Environment) -> dict[str, dict[str, float]]:
    """Microseconds a message of each point. Those of one curve take turns."""
    found: dict[str, dict[str, float]] = {}
    for name, curve in points().items():
        print(name, file=sys.stderr, flush=True)
        samples: dict[int, list[float]] = {n: [] for n, _, _ in curve}
        with ExitStack() as stack:
            pairs = {}
            for n, workload, told in curve:
                running = stack.enter_context(
                    environment.serving(PEERS["ours"], workload.mode, **told)
                )
                load: Load = stack.enter_context(loading(environment, workload, running.port))
                load.run(SECONDS)  # warm
                pairs[n] = running, load
            for _ in range(RUNS):
                for n, (running, load) in pairs.items():
                    before = running.cpu_s()
                    messages, *_ = load.run(SECONDS)
                    samples[n].append((running.cpu_s() - before) / messages * 1e6)
        found[name] = {str(n): median(taken) for n, taken in samples.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to measure with")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    environment = Environment(options.python)
    environment.install()
    allow_descriptors()
    curves = measure(environment)
    for name, curve in curves.items():
        print(name + ": " + ", ".join(f"{n}: {cpu:.3g} µs" for n, cpu in curve.items()))
    if options.json:
        result = {
            "versions": {"Python": environment.version},
            "platform": platform.platform(),
            "curves": curves,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
