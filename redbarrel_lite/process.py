"""This process, as the system and Python see it: memory, time, descriptors, threads.

What it implements: the numbers that Prometheus' own libraries have under ``process_`` and
``python_gc_``, so that what is made for those fits. What it leaves out: on systems without
/proc, which is Linux's, memory and descriptors.

In one line::

    families = process_families()
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Final

from .metrics import INFO, Family, Sample, counter, gauge

_BEGAN: Final = time.monotonic()
_SELF: Final = Path("/proc/self")


def process_families(version: str) -> list[Family]:
    """All of them."""
    about = {
        "version": version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "pid": str(os.getpid()),
    }
    families = [
        Family("redbarrel", INFO, "What runs.", [Sample(1, about, "_info")]),
        gauge(
            "process_uptime_seconds",
            "Since the program was started.",
            {(): time.monotonic() - _BEGAN},
            unit="seconds",
        ),
        counter(
            "process_cpu_seconds",
            "Time on processors, of all threads, for the program and for the system.",
            {(): time.process_time()},
            unit="seconds",
        ),
        gauge("process_threads", "Threads of Python.", {(): threading.active_count()}),
    ]
    with contextlib.suppress(OSError):  # there is no descriptor left to look with
        families += _of_linux() if _SELF.is_dir() else []
    return families + _collector()


def _of_linux() -> list[Family]:
    import resource  # noqa: PLC0415  # Windows has none

    pages = int((_SELF / "statm").read_text().split()[1])
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return [
        gauge(
            "process_resident_memory_bytes",
            "Memory that is in use, as the system counts it.",
            {(): pages * os.sysconf("SC_PAGE_SIZE")},
            unit="bytes",
        ),
        # One less: to look is to open the list.
        gauge(
            "process_open_fds",
            "Open descriptors.",
            {(): sum(1 for _ in (_SELF / "fd").iterdir()) - 1},
        ),
        gauge(
            "process_max_fds",
            "As many may be open.",
            {(): float("inf") if most == resource.RLIM_INFINITY else most},
        ),
    ]


def _collector() -> list[Family]:
    stats = {(str(number),): one for number, one in enumerate(gc.get_stats())}
    runs = {key: one["collections"] for key, one in stats.items()}
    found = {key: one["collected"] for key, one in stats.items()}
    return [
        counter("python_gc_collections", "Runs of the garbage collector.", runs, "generation"),
        counter("python_gc_objects_collected", "Objects that it has freed.", found, "generation"),
    ]
