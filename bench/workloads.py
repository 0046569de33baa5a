"""What is measured: the kinds of load, how large each is, and what we aim at."""

from __future__ import annotations

from typing import NamedTuple


class Workload(NamedTuple):
    """A row of the table. ``kind`` is load.c's; the target is ours, in microseconds of CPU."""

    key: str
    title: str
    kind: str
    target: float
    clients: int = 50
    in_flight: int = 1
    size: int = 32
    mode: str = "echo"  # of the application that is asked

    @property
    def family(self) -> str:
        """What a server must speak to be asked."""
        return self.kind.partition("-")[0]

    @property
    def path(self) -> str:
        return {"http": "/", "ws": "/ws", "sio": "/socket.io/"}[self.family]


_ALL = [
    Workload("echo", "Socket.IO echo, 50 clients", "sio-echo", 26),
    Workload("echo-16", "the same, 16 in flight", "sio-echo", 8, in_flight=16),
    Workload("fanout", "Socket.IO fan-out, 1,000 clients, a delivery", "sio-fanout", 9,
             clients=1001, size=64, mode="fanout"),
    Workload("poll", "xhr-polling round trip", "sio-poll", 75),
    Workload("connect", "Socket.IO connect and close", "sio-connect", 180, clients=10),
    Workload("raw-echo", "raw WebSocket echo, 50 clients", "ws-echo", 21),
    Workload("raw-fanout", "raw fan-out, 1,000 clients, 8 in flight, a delivery", "ws-fanout", 1.5,
             clients=1001, in_flight=8, size=64, mode="fanout"),
    Workload("raw-64k", "raw echo of 64 KiB", "ws-echo", 250, size=65536),
    Workload("http", "HTTP hello, keep-alive", "http-echo", 28),
    Workload("echo-threads", "Socket.IO echo, `def` handlers", "sio-echo", 60, mode="threads"),
]  # fmt: skip
WORKLOADS = {one.key: one for one in _ALL}

# What is measured once a server, beside the loads: KiB a connection, seconds and MiB at start.
IDLE_CLIENTS = 1000
TARGETS = {"idle": 6.0, "idle-threads": 30.0, "start": 0.25, "memory": 25.0}
