"""A machine and a server under watch, and what the watchers say about it.

One task takes a sample twice a second, for all who look, and none while nobody
does. Three parts, from the ground up:

    Machine   what the system says of itself, on Linux in /proc
    History   the samples of half an hour, the older the coarser
    Monitor   the task, the people, and what they say
"""

import asyncio
import math
import os
import platform
import time
from collections import deque
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

CORES = os.cpu_count() or 1

# The columns of a sample. What a system does not tell is None, and null for the page.
FIELDS = [
    "t",  # seconds since this server began to count
    "cpu",  # percent of all cores
    "own",  # the part of it that this server takes
    "used", "buffers", "cached", "free",  # MB, which together are all the memory
    "load",  # processes that run or would like to, as a mean of the last minute
    "rx", "tx", "read", "written",  # kB a second: network (loopback too), disks
    "polling", "websocket",  # sockets, by the transport that they use now
    "came", "went",  # messages a second
    "lag",  # milliseconds: the longest that the event loop was late
    "rss",  # MB of this process
    *(f"core{number}" for number in range(CORES)),  # percent
]  # fmt: skip


# -- the machine ---------------------------------------------------------------------------


class Machine:
    """Reads what the system counts, and tells what became of it since the last time."""

    def __init__(self, proc="/proc", clock=time.monotonic):
        self._proc = Path(proc)
        self._clock = clock
        self._before = {}
        self._at = 0.0

    def sample(self):
        """The fields that it knows, as a dict; rates are those since the last call."""
        now, before, at = self._clock(), self._before, self._at
        counted = self._before = self._counters()
        seconds = max(now - at, 1e-3)
        self._at = now
        found = self._memory() | self._load()
        for name, count in counted.items():
            since = count - before.get(name, count)
            found[name] = max(0, since / seconds)  # a counter may have begun anew
        for name in ["cpu", *(f"core{number}" for number in range(CORES))]:
            busy, all_ = found.pop(f"{name} busy", None), found.pop(f"{name} all", 0)
            found[name] = 100 * busy / all_ if all_ else None
        found["own"] *= 100 / CORES
        return found

    def _lines(self, name):
        """The lines of a file of /proc, as lists of words; none where there is no such file."""
        try:
            return [line.split() for line in (self._proc / name).read_text().splitlines()]
        except OSError:
            return []

    def _counters(self):
        """What only grows."""
        counted = {"own": time.process_time()}
        for cpu, *words in self._lines("stat"):
            if cpu.startswith("cpu"):
                # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user
                times = [int(word) for word in words[:8]]
                name = "cpu" if cpu == "cpu" else cpu.replace("cpu", "core")
                counted[f"{name} all"] = sum(times)
                counted[f"{name} busy"] = sum(times) - times[3] - times[4]
        return counted | self._traffic() | self._disks()

    def _traffic(self):
        cards = [line for line in self._lines("net/dev") if line[0].endswith(":")]
        if not cards:
            return {}
        return {
            "rx": sum(int(card[1]) for card in cards) / 1000,
            "tx": sum(int(card[9]) for card in cards) / 1000,
        }

    def _disks(self):
        sectors = {}
        for _, _, name, _, _, read, _, _, _, written, *_ in self._lines("diskstats"):
            # A partition follows its disk, and was counted with it.
            is_part = any(name.startswith(disk) for disk in sectors)
            if not is_part and not name.startswith(("loop", "ram", "zram", "dm-", "md", "sr")):
                sectors[name] = int(read), int(written)
        if not sectors:
            return {}
        read, written = map(sum, zip(*sectors.values(), strict=True))
        return {"read": read * 0.512, "written": written * 0.512}

    def _memory(self):
        kib = {line[0]: int(line[1]) * 1.024e-3 for line in self._lines("meminfo")}
        if kib:
            free, buffers = kib["MemFree:"], kib["Buffers:"]
            cached = kib["Cached:"] + kib.get("SReclaimable:", 0)
            used = kib["MemTotal:"] - free - buffers - cached
            found = {"used": max(0, used), "buffers": buffers, "cached": cached, "free": free}
        else:
            found = memory_elsewhere()
        pages = self._lines("self/statm")
        if pages:
            found["rss"] = int(pages[0][1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        elif resource is not None:  # the most that it ever was, in bytes or KiB
            unit = 1 if platform.system() == "Darwin" else 1024
            found["rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return found

    def _load(self):
        try:
            return {"load": os.getloadavg()[0]}
        except (AttributeError, OSError):
            return {}


def memory_elsewhere():
    """What POSIX knows of memory; macOS not even what is free."""
    try:
        page = os.sysconf("SC_PAGE_SIZE") / 1e6
        free = os.sysconf("SC_AVPHYS_PAGES") * page
        return {"used": os.sysconf("SC_PHYS_PAGES") * page - free, "free": free}
    except (AttributeError, ValueError, OSError):
        return {}


# -- the past ------------------------------------------------------------------------------


class History:
    """Half an hour of samples, the older the coarser.

    A tier keeps so many points, and each is the mean of so many samples. At two
    samples a second they reach back a minute, five and thirty, with a bit over for
    the left edge of the diagrams. Half an hour is 500 points, not 3,600.
    """

    TIERS = ((1, 130), (4, 165), (20, 185))

    def __init__(self, interval):
        self.interval = interval
        self.tiers = [deque(maxlen=points) for _, points in self.TIERS]

    def add(self, sample):
        """Take a sample in; where a span of a coarser tier has ended, sum it up."""
        finest = self.tiers[0]
        if finest:
            for (size, _), tier in zip(self.TIERS[1:], self.tiers[1:], strict=True):
                span = self._span(finest[-1], size)
                if span != self._span(sample, size):
                    tier.append(mean([one for one in finest if self._span(one, size) == span]))
        finest.append(sample)

    def _span(self, sample, size):
        return math.floor(sample[0] / (size * self.interval))

    def columns(self):
        """For JSON: each tier by its columns, so that no name is said twice."""
        return [
            {"size": size, "columns": list(zip(*tier, strict=True))}
            for (size, _), tier in zip(self.TIERS, self.tiers, strict=True)
        ]


def mean(samples):
    """The mean of samples, column by column, of what is known."""
    times, *columns = zip(*samples, strict=True)
    means = [round(sum(times) / len(times), 2)]
    for column in columns:
        known = [value for value in column if value is not None]
        means.append(rounded(sum(known) / len(known)) if known else None)
    return means


def rounded(value):
    """Three digits are enough for a diagram, and short on the wire."""
    return None if value is None else round(value) if value >= 100 else round(value, 1)


# -- who looks, and what they say ----------------------------------------------------------

KEPT_WORDS = 100  # what was said last
MAX_WORDS = 500  # characters
MAX_NAME = 24


class Monitor:
    """Samples and talk, for everybody in the room "viewers"."""

    def __init__(self, server, interval, machine=None):
        self.server = server
        self.interval = interval
        self.machine = machine or Machine()
        self.history = History(interval)
        self.talk = deque(maxlen=KEPT_WORDS)
        self.came = self.went = 0  # messages since the last sample
        self.began = time.time()
        self._zero = time.monotonic()  # a clock that nobody sets
        self._somebody_came = asyncio.Event()
        self._due = 0.0  # when the task is to wake, by the loop's clock
        self._people = None  # as they were told of last

    def now(self):
        """Seconds since `began`."""
        return round(time.monotonic() - self._zero, 3)

    def viewers(self):
        return self.server.sockets(room="viewers")

    async def run(self):
        """Take samples for as long as somebody looks; wait while nobody does."""
        while True:
            await self._somebody_came.wait()
            self._somebody_came.clear()
            self.machine.sample()  # what happened while nobody looked is no rate
            self.came = self.went = 0
            self._due = asyncio.get_running_loop().time()
            while self.viewers():
                lag = await self._nap()
                self._tell(self._sample(lag))

    async def _nap(self):
        """Sleep until the next sample is due, and tell how late the event loop was, in ms.

        In several parts: who asks once in half a second does not notice much.
        """
        loop, lag = asyncio.get_running_loop(), 0.0
        for _ in range(10):
            began = loop.time()
            # What is late is made up for, so that two a second are two a second; but not for ever.
            self._due = max(self._due + self.interval / 10, began - self.interval)
            await asyncio.sleep(self._due - began)
            lag = max(lag, loop.time() - max(self._due, began))
        return 1000 * lag

    def _sample(self, lag):
        found = self.machine.sample()
        sockets = self.server.sockets() + self.server.sockets("/echo")
        for name in ("polling", "websocket"):
            found[name] = sum(socketio.transport == name for socketio in sockets)
        found |= {"came": self.came / self.interval, "went": self.went / self.interval}
        self.came = self.went = 0
        found["lag"] = lag
        return [self.now(), *(rounded(found.get(name)) for name in FIELDS[1:])]

    def _tell(self, sample):
        self.history.add(sample)
        self.to_all("sample", sample)
        # With the sample, not whenever somebody comes: a hundred at once are told of once.
        if self._people != self.people():
            self._people = self.people()
            self.to_all("people", self._people)

    def to_all(self, event, x):
        self.server.emit(event, x, room="viewers")
        self.went += len(self.viewers())

    def people(self):
        names = [socketio.session["name"] for socketio in self.viewers()]
        named = sorted(filter(None, names), key=str.lower)
        return {"names": named, "others": len(names) - len(named)}

    def enter(self, socketio, name):
        """Show a newcomer the past, and then what comes."""
        self.name(socketio, name)
        socketio.emit("history", self._everything(socketio.session["name"]))
        # Behind the history, or a sample might come before it.
        socketio.join("viewers")
        self._somebody_came.set()

    def _everything(self, name):
        return {
            "you": name,
            "host": platform.node(),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            "cores": CORES,
            "began": self.began,
            "now": self.now(),
            "interval": self.interval,
            "fields": FIELDS,
            "tiers": self.history.columns(),
            "talk": list(self.talk),
            "people": self.people(),
        }

    def name(self, socketio, name):
        """Let a viewer be called so, or nearly so: nobody speaks in another's name."""
        name = wanted = clean(name, MAX_NAME)
        others = (one for one in self.viewers() if one is not socketio)
        taken = {one.session["name"] for one in others} - {""}
        number = 2
        while name in taken:
            name, number = f"{wanted} {number}", number + 1
        socketio.session["name"] = name
        return name

    def say(self, socketio, words):
        words = clean(words, MAX_WORDS)
        if words:
            who = socketio.session["name"] or "somebody"
            said = {"t": self.now(), "who": who, "words": words}
            self.talk.append(said)
            self.to_all("said", said)


def clean(text, length):
    """One line, not too long; nothing at all if it is no text."""
    return " ".join(text.split())[:length] if isinstance(text, str) else ""


# -- what `monitor.rbr` names --------------------------------------------------------------


async def monitor(globs):
    """The task that takes the samples, from the start of the server to its end."""
    monitor = Monitor(globs.server, globs["interval"])
    task = asyncio.create_task(monitor.run())
    yield monitor
    task.cancel()


async def enter(globs, request, auth):
    """``auth`` is what the page gives to `io`, and is sent whenever it connects."""
    globs["monitor"].enter(request.socketio, auth.get("name") if auth else "")


async def say(globs, request, words):
    globs["monitor"].came += 1
    globs["monitor"].say(request.socketio, words)


async def rename(globs, request, name):
    """What an `on` line returns is the acknowledgement."""
    globs["monitor"].came += 1
    return globs["monitor"].name(request.socketio, name)


async def echo(globs, request, event, *args):
    globs["monitor"].came += 1
    globs["monitor"].went += 1
    return args
