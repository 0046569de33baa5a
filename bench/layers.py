"""Tells where the microseconds of a message go, layer by layer.

    python bench/layers.py [--python PYTHON] [--json FILE]

Ours is loaded as in run.py, and asked where it is (apps/sampled.py); the CPU time of a message
is divided as the samples are. Being asked costs a little, so the sums are above those of run.py.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections import Counter
from pathlib import Path

from peers import PEERS, Environment, allow_descriptors
from run import loading
from workloads import WORKLOADS

SECONDS = 8.0
MEASURED = ("echo", "fanout", "raw-echo", "poll", "http")
# The layers from the wire upwards, and what belongs to each: rooms of ours, or modules of the
# standard library. What is nowhere else is "other".
SYSTEM = "the system: receive, send, wait"
LAYERS = {
    "asyncio": "base_events events selector_events selectors tasks futures locks timeouts",
    "HTTP": "http1 http1_reader connection exchange answering batch intake gate patience delivery"
    " request response app routes services locations forms eager server",
    "WebSocket": "websocket wsproto deflate",
    "Engine.IO": "endpoint entrance engineio engineio_query transports origins",
    "Socket.IO": "client socketio strictjson decoder encoder scanner",
    "the socket, its handler": "sockets groups hub handover outgoing messages coroutines handlers"
    " runners doors acks brake ours",
}
_LAYER_OF = {room: layer for layer, rooms in LAYERS.items() for room in rooms.split()}
# These do nothing but call the system.
_SYSTEM = {"_read_ready__data_received", "write", "select", "_accept_connection"}


def layer_of(function: str) -> str:
    """The layer of a function, given as FILE:NAME."""
    file, _, name = function.rpartition(":")
    room = Path(file).stem
    if room in ("selector_events", "selectors") and name in _SYSTEM:
        return SYSTEM
    return _LAYER_OF.get(room, "other")


def measure(environment: Environment, key: str) -> dict[str, float]:
    """Microseconds of a message, by layer."""
    workload = WORKLOADS[key]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "seen.json"
        command = PEERS["ours"].command.replace("-m redbarrel_lite", f"sampled.py {file}")
        peer = PEERS["ours"]._replace(command=command)
        with environment.serving(peer, workload.mode) as running:
            with loading(environment, workload, running.port) as load:
                load.run(1.0)  # warm
                before = running.cpu_s()
                messages, *_ = load.run(SECONDS)
                cpu = (running.cpu_s() - before) / messages * 1e6
            running.stop()
        seen: Counter[str] = Counter()
        for function, count in json.loads(file.read_text(encoding="utf-8")).items():
            seen[layer_of(function)] += count
    return {layer: cpu * seen[layer] / seen.total() for layer in (SYSTEM, *LAYERS, "other")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="the Python to measure with")
    parser.add_argument("--json", type=Path, help="write the result there")
    options = parser.parse_args()
    environment = Environment(options.python)
    environment.install()
    allow_descriptors()
    found = {}
    for key in MEASURED:
        found[key] = measure(environment, key)
        parts = ", ".join(f"{layer} {cpu:.2f}" for layer, cpu in found[key].items())
        print(f"{WORKLOADS[key].title}: {sum(found[key].values()):.1f} µs: {parts}", flush=True)
    if options.json:
        result = {
            "versions": {"Python": environment.version},
            "platform": platform.platform(),
            "layers": found,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
