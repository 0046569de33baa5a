"""Measures what clients that do not read cost the others: broadcasts with them and without.

    python bench/stuck.py [--clients 1000] [--stuck 20] [--size 32768] [--rounds 200]

The delay of a broadcast is from when one client has sent it until the last that reads has all
of it, read by one process; that is most of it. The next one begins when nothing is under way.
"""

from __future__ import annotations

import argparse
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from peers import allow_descriptors

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "bench/apps/ours-stuck.rbr"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SMALL_WINDOW = 4096  # of who does not read, so that it shows soon


class Serving(NamedTuple):
    port: int
    pid: int
    said: list[str]

    def resident(self) -> int:
        """Bytes of the server that are in memory."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * 4096


@contextmanager
def serving() -> Iterator[Serving]:
    command = [sys.executable, "-m", "redbarrel_lite", str(APP), "--port", "0", "--log", "off"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            if line.startswith("Serving on "):
                port = int(line.rpartition(":")[2])
                threading.Thread(target=said.extend, args=[process.stderr], daemon=True).start()
                yield Serving(port, process.pid, said)
                break
    finally:
        process.terminate()
        process.wait()


def connect(port: int, window: int = 0) -> socket.socket:
    client = socket.socket()
    if window:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    client.connect(("127.0.0.1", port))
    client.sendall(UPGRADE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return client


def frame(payload: bytes, *, masked: bool) -> bytes:
    """A text frame; with a key of zeros, which masks nothing (RFC 6455 5.2)."""
    return (
        bytes((0x81, 126 | masked << 7)) + len(payload).to_bytes(2, "big") + bytes(4 * masked)
    ) + payload


def broadcasts(port: int, readers: list[socket.socket], size: int, rounds: int) -> Iterator[float]:
    """One after the other; the delay of each."""
    selector = selectors.DefaultSelector()
    for reader in readers:
        reader.settimeout(0)
        selector.register(reader, selectors.EVENT_READ)
    payload = b"x" * size
    length = len(frame(payload, masked=False))
    speaker = connect(port)
    for _ in range(rounds):
        missing = dict.fromkeys(readers, length)
        began = time.perf_counter()
        speaker.sendall(frame(payload, masked=True))
        while missing:
            for key, _ in selector.select():
                reader = key.fileobj
                assert isinstance(reader, socket.socket)
                part = reader.recv(1 << 20)
                assert part, "a client that reads was cut off"
                missing[reader] -= len(part)
                if not missing[reader]:
                    del missing[reader]
        yield time.perf_counter() - began
    speaker.close()


def measure(clients: int, stuck: int, size: int, rounds: int) -> dict[str, object]:
    during: list[float] = []
    after: list[float] = []
    with ExitStack() as stack:
        server = stack.enter_context(serving())
        readers = [stack.enter_context(connect(server.port)) for _ in range(clients - stuck)]
        for _ in range(stuck):
            stack.enter_context(connect(server.port, SMALL_WINDOW))
        before = most = server.resident()
        for delay in broadcasts(server.port, readers, size, rounds):
            dropped = sum("does not read: dropped" in line for line in server.said)
            (after if dropped == stuck else during).append(delay * 1000)
            most = max(most, server.resident())
    assert after, f"{dropped} of {stuck} were dropped: let it take more rounds"
    return {
        **({"while they are stuck": _told(during)} if during else {}),
        "without them": _told(after),
        "MiB more": round((most - before) / (1 << 20), 1),
    }


def _told(delays: list[float]) -> str:
    worst = sorted(delays)[-1 - len(delays) // 100]
    return f"{median(delays):.1f} ms, 99 of 100 {worst:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--stuck", type=int, default=20)
    parser.add_argument("--size", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    allow_descriptors()
    for stuck in (0, args.stuck, 0, args.stuck):
        found = measure(args.clients, stuck, args.size, args.rounds)
        print(f"{stuck} stuck:", "; ".join(f"{k}: {v}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
    main()
