"""What has changed among files, seen by looking at them again and again.

What it implements: a look (stat(2)) at files and into folders, what differs between two of
them, and patience until a burst of saves is over: editors write a file in parts, or another
one that takes its name. What it leaves out: being told by the system, for which each has
another way; what the looks cost is in ``docs/reload.md``.

In one line::

    changes = Changes(lambda: Wanted(files, folders)); await changes.next()
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from stat import S_ISLNK
from typing import Final, NamedTuple, TypeAlias

# Between two looks; longer where they take long, so that they have this share of a processor.
PAUSE_S: Final = 0.2
MOST_SHARE: Final = 0.03
# It is quiet when nothing has changed for so long. A file that has gone is given more time: who
# saves under another name first leaves none for a moment.
QUIET_S: Final = 0.05
GONE_S: Final = 0.5
# What never is quiet, a page that a program writes without end, is seen all the same.
MOST_QUIET_LOOKS: Final = 40

# What a browser shows, of the files of a folder. The others may be what an application writes.
SHOWN: Final = (".html", ".htm", ".css", ".js", ".mjs", ".svg")

# When it was written, how long it is, which it is, and who may read it; of a link, then, when
# that was made, and which it is: it may lead elsewhere between two looks, and back. None: there
# is none.
Stamp: TypeAlias = tuple[int, ...] | None
Seen: TypeAlias = dict[str, dict[str, Stamp]]  # of each file or folder that is wanted


class Wanted(NamedTuple):
    """What to look at."""

    files: Iterable[str]
    folders: Iterable[str]


class Changes:
    """Looks, in a thread of its own: a disk may take its time, and the loop has none."""

    def __init__(self, wanted: Callable[[], Wanted], since: float = math.inf) -> None:
        """``wanted`` is asked before each look, in its thread.

        What is new in it has not changed yet. At the first one that is what was last altered
        before ``since``, in nanoseconds of the clock that files have.
        """
        self._wanted = wanted
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="changes")
        self._seen, self._took_s = _timed_look(wanted)
        for stamps in self._seen.values():
            stamps.update((path, None) for path in stamps if _altered(path) >= since)

    async def next(self) -> set[str]:
        """Wait for a change, and until it is complete; the files that it is about."""
        while True:
            await asyncio.sleep(max(PAUSE_S, self._took_s / MOST_SHARE))
            now = await self._look()
            if differing(self._seen, now):
                now = await self._quiet(now)
            changed = differing(self._seen, now)
            self._seen = now
            if changed:
                return changed

    async def so_far(self) -> set[str]:
        """Those since `next` has told of some; it will tell of them, too."""
        now = await self._look()
        changed = differing(self._seen, now)
        self._seen = {one: self._seen.get(one, stamps) for one, stamps in now.items()}
        return changed

    def end(self) -> None:
        """Look no more."""
        self._thread.shutdown(wait=False)

    async def _quiet(self, now: Seen) -> Seen:
        same = 0
        for _ in range(MOST_QUIET_LOOKS):
            await asyncio.sleep(QUIET_S)
            later = await self._look()
            same = 0 if differing(now, later) else same + 1
            now = later
            gone = any(stamp(path) is None for path in differing(self._seen, now))
            if same * QUIET_S >= (GONE_S if gone else QUIET_S):
                break
        return now

    async def _look(self) -> Seen:
        loop = asyncio.get_running_loop()
        seen, self._took_s = await loop.run_in_executor(self._thread, _timed_look, self._wanted)
        return seen


def _timed_look(wanted: Callable[[], Wanted]) -> tuple[Seen, float]:
    begun = time.thread_time()
    seen = look(wanted())
    return seen, time.thread_time() - begun


def look(wanted: Wanted) -> Seen:
    """See what there is."""
    seen: Seen = {file: {file: stamp(file)} for file in wanted.files}
    for folder in wanted.folders:
        found = stamp(folder)
        # Its time tells of any file that comes or goes in it; here it is only there, or is not.
        seen[folder] = {folder: found and (0, 0, *found[2:]), **dict(_shown(folder))}
    return seen


def stamp(path: str) -> Stamp:
    """What tells whether a file is the same."""
    try:
        there = os.lstat(path)
        if not S_ISLNK(there.st_mode):
            return _stamp(there)
        target = os.stat(path)  # noqa: PTH116  # a path object costs more than that
    except (OSError, ValueError):
        return None
    return *_stamp(target), there.st_mtime_ns, there.st_ino


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _altered(path: str) -> int:
    """When; by the time that nobody can set, and that a file has which is moved there, too."""
    try:
        return os.lstat(path).st_ctime_ns
    except (OSError, ValueError):
        return 0


def _shown(folder: str) -> Iterator[tuple[str, Stamp]]:
    waiting = [folder]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "node_modules":
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.name.endswith(SHOWN):
                yield entry.path, stamp(entry.path)


def differing(before: Seen, now: Seen) -> set[str]:
    """The files that are not as they were, of what was looked at both times."""
    changed: set[str] = set()
    for one in before.keys() & now.keys():
        if before[one] != now[one]:
            changed.update(path for path, _ in before[one].items() ^ now[one].items())
    return changed
