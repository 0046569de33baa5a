"""Measures what a delivery of a broadcast costs with one worker, and with several.

    python bench/workers.py [--python PYTHON] [--workers 4] [--json FILE]

As run.py does, in CPU time: of all processes of the server, which may use every processor. The
servers take turns. Linux, with gcc.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from peers import PEERS, Environment, Peer, Running, allow_descriptors, process_cpu_s
from run import loading
from workloads import WORKLOADS

RUNS = 7
SECONDS = 2.0
CLIENTS = (100, 1000)  # which hear each broadcast


def peer(workers: int) -> Peer:
    """Ours, with so many workers, pinned to no processor."""
    ours = PEERS["ours"]
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    command = f"taskset -c {processors} {ours.command} --workers {workers}"
    return ours._replace(command=command)


def cpu_s(running: Running) -> float:
    """That of its supervisor, and of its workers."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return running.cpu_s() + sum(map(process_cpu_s, map(int, children)))


def measure(environment: Environment, workers: int) -> dict[str, dict[str, Any]]:
    """For each number of clients: microseconds a delivery, by the number of workers."""
    found: dict[str, dict[str, Any]] = {}
    for clients in CLIENTS:
        workload = WORKLOADS["fanout"]._replace(clients=clients + 1)
        samples: dict[int, list[float]] = {1: [], workers: []}
        with ExitStack() as stack:
            pairs = {}
            for count in samples:
                running = stack.enter_context(environment.serving(peer(count), workload.mode))
                load = stack.enter_context(loading(environment, workload, running.port))
                load.run(SECONDS / 2)  # warm
                pairs[count] = running, load
            for _ in range(RUNS):
                for count, (running, load) in pairs.items():
                    before = cpu_s(running)
                    messages = load.run(SECONDS)[0]
                    samples[count].append((cpu_s(running) - before) / messages * 1e6)
        found[str(clients)] = {str(count): median(taken) for count, taken in samples.items()}
        print(clients, found[str(clients)], file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description="What a delivery costs with several workers.")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    allow_descriptors()
    environment = Environment(options.python)
    environment.install()
    result = {
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)),
        "versions": {"Python": environment.version},
        "workers": options.workers,
        "deliveries": measure(environment, options.workers),
    }
    text = json.dumps(result, indent=2) + "\n"
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
