"""Measures ours beside its peers, in CPU time of the server, and writes a table of it.

    python bench/run.py [--quick] [--only echo,http] [--peers ours,node] [--json FILE]

Each server is a process pinned to one processor; the load comes from another one (load.c).
What is read is the server's CPU time, from /proc: on a machine that has other work to do, the
clock on the wall would measure that. The peers take turns, run by run, so that what disturbs one
disturbs all. The table has medians, and for each peer how many times ours it needs.

Linux, with gcc and Node.js; the peers are installed at the first call (see peers.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from peers import PEERS, Environment, Peer, Running, allow_descriptors
from workloads import IDLE_CLIENTS, TARGETS, WORKLOADS, Workload


class Load:
    """The load generator, with its clients connected."""

    def __init__(self, environment: Environment, workload: Workload, port: int) -> None:
        last = sorted(os.sched_getaffinity(0))[-1]
        numbers = (workload.clients, workload.in_flight, workload.size)
        command = ["taskset", "-c", str(last), environment.load, workload.kind, str(port)]
        command += [workload.path, *map(str, numbers)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load generator ended with status {self.process.wait()}")
        return line

    def run(self, seconds: float) -> list[float]:
        """Messages, seconds, and two latencies in microseconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return [float(word) for word in self._line().split()]


@contextmanager
def loading(environment: Environment, workload: Workload, port: int) -> Iterator[Load]:
    load = Load(environment, workload, port)
    try:
        yield load
    finally:
        load.process.kill()
        load.process.communicate()


def measure_load(
    environment: Environment, workload: Workload, peers: dict[str, Peer], runs: int, seconds: float
) -> dict[str, Any]:
    """CPU, throughput and latency of each peer that can be asked."""
    asked = {key: one for key, one in peers.items() if workload.family in one.kinds}
    if workload.mode == "threads":
        asked = {key: one for key, one in asked.items() if key == "ours"}
    samples: dict[str, list[dict[str, float]]] = {key: [] for key in asked}
    with ExitStack() as stack:
        pairs: dict[str, tuple[Running, Load]] = {}
        for key, peer in asked.items():
            running = stack.enter_context(environment.serving(peer, workload.mode))
            load = stack.enter_context(loading(environment, workload, running.port))
            load.run(seconds / 2)  # warm
            pairs[key] = running, load
        for _ in range(runs):
            for key, (running, load) in pairs.items():
                before = running.cpu_s()
                messages, took, p50, p99 = load.run(seconds)
                cpu = (running.cpu_s() - before) / messages * 1e6
                samples[key].append(
                    {"cpu_us": cpu, "per_s": messages / took, "p50_us": p50, "p99_us": p99}
                )
    return {key: _middle(taken) for key, taken in samples.items()}


def _middle(samples: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure; of the CPU time the least and the most, too."""
    figures = {name: median(one[name] for one in samples) for name in samples[0]}
    cpu = [one["cpu_us"] for one in samples]
    return figures | {"cpu_us_least": min(cpu), "cpu_us_most": max(cpu)}


def measure_rest(
    environment: Environment, peers: dict[str, Peer], runs: int
) -> dict[str, dict[str, float]]:
    """Start-up and memory: at the start, and of each connection that is only there."""
    found: dict[str, dict[str, float]] = {"start": {}, "memory": {}, "idle": {}, "idle-threads": {}}
    for key, peer in peers.items():
        starts = []
        for _ in range(runs):
            with environment.serving(peer, "echo") as running:
                starts.append((running.started_s, running.resident_kib() / 1024))
        found["start"][key] = median(start for start, _ in starts)
        found["memory"][key] = median(memory for _, memory in starts)
        family = "sio" if "sio" in peer.kinds else "ws"
        if family in peer.kinds:
            found["idle"][key] = _idle(environment, peer, family, "echo")
    if "ours" in peers:
        found["idle-threads"]["ours"] = _idle(environment, peers["ours"], "sio", "threads")
    return found


def _idle(environment: Environment, peer: Peer, family: str, mode: str) -> float:
    """KiB a connection, of a second thousand: the first one grows what stays."""
    workload = WORKLOADS["echo" if family == "sio" else "raw-echo"]
    workload = workload._replace(clients=IDLE_CLIENTS)
    with environment.serving(peer, mode) as running, ExitStack() as stack:
        stack.enter_context(loading(environment, workload, running.port))
        before = running.resident_kib()
        stack.enter_context(loading(environment, workload, running.port))
        return (running.resident_kib() - before) / IDLE_CLIENTS


# -- the report ------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The result as Markdown: a row a workload, a column a peer."""
    keys = result["peers"]
    lines = [f"| | {' | '.join(['target', *(PEERS[key].label for key in keys)])} |"]
    lines.append("| --- |" + " ---: |" * (len(keys) + 1))
    for key, figures in result["loads"].items():
        workload = WORKLOADS[key]
        cpu = {peer: one["cpu_us"] for peer, one in figures.items()}
        lines.append(_row(workload.title + ", µs", workload.target, cpu, keys))
    titles = {
        "idle": "memory of an idle connection, KiB",
        "idle-threads": "the same, `def` handlers, KiB",
        "start": "start to first answer, s",
        "memory": "memory at start, MiB",
    }
    for key, title in titles.items():
        if result["rest"].get(key):
            lines.append(_row(title, TARGETS[key], result["rest"][key], keys))
    return "\n".join(lines)


def _row(title: str, target: float, figures: dict[str, float], keys: list[str]) -> str:
    ours = figures.get("ours")
    cells = [f"{target:g}"]
    for key in keys:
        figure = figures.get(key)
        if figure is None:
            cells.append("")
            continue
        told = f"{figure:.3g}" if figure < 1000 else f"{figure:,.0f}"
        is_ours = key == "ours" or not ours
        cells.append(f"**{told}**" if is_ours else f"{told} (x {figure / ours:.1f})")
    return f"| {title} | {' | '.join(cells)} |"


def latencies(result: dict[str, Any]) -> str:
    """Throughput and latency as Markdown, which depend on the load generator too."""
    lines = ["| | server | a second | p50, µs | p99, µs |", "| --- | --- | ---: | ---: | ---: |"]
    for key, figures in result["loads"].items():
        for peer, one in figures.items():
            cells = [f"{one[name]:,.0f}" for name in ("per_s", "p50_us", "p99_us")]
            lines.append(f"| {WORKLOADS[key].title} | {PEERS[peer].label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _chosen(names: str, of: dict[str, Any], what: str) -> list[str]:
    chosen = names.split(",") if names else list(of)
    for name in chosen:
        if name not in of:
            sys.exit(f"no {what} {name!r}; there are {', '.join(of)}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short runs each, under 3 minutes")
    parser.add_argument(
        "--only",
        default="",
        help=f"workloads, joined by commas: {', '.join(WORKLOADS)}, rest (memory)",
    )
    parser.add_argument(
        "--peers", default="", help=f"servers, joined by commas: {', '.join(PEERS)}"
    )
    parser.add_argument("--python", default=sys.executable, help="the Python to measure with")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--json", type=Path, help="write the result there too")
    options = parser.parse_args()
    runs = options.runs or (2 if options.quick else 5)
    seconds = options.seconds or (0.5 if options.quick else 2.0)
    usual = ",".join(key for key, peer in PEERS.items() if peer.usual)
    peers = {key: PEERS[key] for key in _chosen(options.peers or usual, PEERS, "peer")}
    names = _chosen(options.only, {**WORKLOADS, "rest": None}, "workload")
    environment = Environment(options.python)
    environment.install()
    allow_descriptors()
    result: dict[str, Any] = {
        "versions": environment.versions(),
        "platform": platform.platform(),
        "runs": runs,
        "seconds": seconds,
        "peers": list(peers),
        "loads": {},
        "rest": {},
    }
    for name in names:
        print(name, file=sys.stderr, flush=True)
        if name == "rest":
            result["rest"] = measure_rest(environment, peers, 3)
        else:
            workload = WORKLOADS[name]
            result["loads"][name] = measure_load(environment, workload, peers, runs, seconds)
    print(", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    print(f"\n{table(result)}\n\n{latencies(result)}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
