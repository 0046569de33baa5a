"""Try inputs on a target until the time or the count is over.

    Hunt(target, seed=1).run(count=1000)

An input that comes to something new stays in the corpus, so that the next ones start from
there; with ``guided`` also one that reaches a new line of the rooms that it is read by.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, Final, NamedTuple

from .laws import FOLDER, Broken, Target
from .mutation import MAX_INPUT_BYTES, Mutator

MAX_CORPUS: Final = 3000
MAX_SHRINKING: Final = 3000  # tries
PACKAGE: Final = FOLDER.parent.parent / "redbarrel_lite"


class Fault(NamedTuple):
    """An input that breaks a law."""

    data: bytes
    law: str
    number: int  # of the execution that found it
    story: str  # the traceback


def regressions(target: Target) -> list[Path]:
    """What was found once."""
    return sorted((FOLDER / "regressions" / target.name).glob("*.bin"))


def kept_file(target: Target) -> Path:
    """What other hunts have found worth keeping: an input a line, in hex."""
    return FOLDER / "corpus" / f"{target.name}.txt"


def keep(target: Target, folder: Path) -> int:
    """Keep what in a folder comes to something new, the short before the long; say how many."""
    outcomes = set(map(target.check, corpus(target)))
    found = {path.read_bytes()[:MAX_INPUT_BYTES] for path in folder.iterdir()}
    new = []
    for data in sorted(found, key=lambda data: (len(data), data)):
        outcome = target.check(data)
        if outcome not in outcomes:
            outcomes.add(outcome)
            new.append(data)
    with kept_file(target).open("a") as file:
        file.writelines(f"{data.hex()}\n" for data in new)
    return len(new)


def corpus(target: Target) -> list[bytes]:
    """All inputs that a hunt starts from, each once."""
    inputs = [*target.seeds(), *(path.read_bytes() for path in regressions(target))]
    if kept_file(target).exists():
        inputs += map(bytes.fromhex, kept_file(target).read_text().split())
    return list(dict.fromkeys(data[:MAX_INPUT_BYTES] for data in inputs))


class Hunt:
    """One run; ``faults`` has an input for each law that was broken, and each place."""

    def __init__(self, target: Target, seed: str | int, *, guided: bool = False) -> None:
        self.target = target
        self.executions = 0
        self.faults: dict[str, Fault] = {}
        self.seconds = 0.0
        self.slowest = (0.0, b"")
        self._chance = random.Random(f"{target.name} {seed}")
        self._mutator = Mutator(self._chance, target.tokens)
        self._corpus = corpus(target)
        self._outcomes: set[Hashable] = set()
        self._lines = Lines(target.rooms) if guided else None

    @property
    def kept(self) -> int:
        """How many inputs have led to something new, those of the start among them."""
        return len(self._corpus)

    def run(self, *, seconds: float = 1e9, count: int = sys.maxsize) -> None:
        began = time.monotonic()
        inputs = self._inputs()
        while self.executions < count and time.monotonic() - began < seconds:
            self._try(next(inputs))
        self.seconds = time.monotonic() - began
        if self._lines is not None:
            self._lines.close()

    def _inputs(self) -> Iterator[bytes]:
        yield from list(self._corpus)
        while True:
            shaped = None
            if self._chance.random() < 0.3:
                shaped = self.target.shape(self._chance, self._one)
            if shaped is None or self._chance.random() < 0.5:
                shaped = self._mutator.mutated(shaped or self._one(), self._one())
            yield shaped[:MAX_INPUT_BYTES]

    def _one(self) -> bytes:
        return self._chance.choice(self._corpus)

    def _try(self, data: bytes) -> None:
        self.executions += 1
        began = time.thread_time()
        try:
            outcome = self.target.check(data)
        except Exception as error:
            self._note(data, error)
            return
        self.slowest = max(self.slowest, (time.thread_time() - began, data))
        is_new = outcome not in self._outcomes
        if self._lines is not None and self._lines.is_new():
            is_new = True
        if is_new and self.executions > len(self._corpus) and len(self._corpus) < MAX_CORPUS:
            self._corpus.append(data)
        self._outcomes.add(outcome)

    def _note(self, data: bytes, error: Exception) -> None:
        law = law_of(error)
        if law not in self.faults:
            small = shrunk(data, lambda data: broken_law(self.target, data) == law)
            story = "".join(traceback.format_exception(error))
            self.faults[law] = Fault(small, law, self.executions, story)


def broken_law(target: Target, data: bytes) -> str | None:
    """The law that an input breaks."""
    try:
        target.check(data)
    except Exception as error:
        return law_of(error)
    return None


def law_of(error: Exception) -> str:
    """The law without its example, or an unexpected error and where it comes from."""
    if isinstance(error, Broken):
        return str(error).partition(":")[0]
    return f"{type(error).__name__} escapes from {_place(error.__traceback__)}"


def _place(trace: TracebackType | None) -> str:
    places = [frame for frame in traceback.extract_tb(trace) if str(PACKAGE) in frame.filename]
    return f"{Path(places[-1].filename).name}, {places[-1].name}" if places else "the target"


def shrunk(data: bytes, is_bad: Callable[[bytes], bool]) -> bytes:
    """A smaller input that is as bad: parts are left out while that goes."""
    tries = 0
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data) and tries < MAX_SHRINKING:
            tries += 1
            less = data[:at] + data[at + size :]
            if is_bad(less):
                data = less
            else:
                at += size
        size //= 2
    return data


class Lines:
    """Which lines of some rooms have run: each is told of once, so it costs next to nothing."""

    def __init__(self, rooms: str) -> None:
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is None:
            raise SystemExit("--guided needs sys.monitoring, of Python 3.12")
        self._new = False
        self._files = {str(PACKAGE / f"{room}.py") for room in rooms.split()}
        self._monitoring = monitoring
        event = monitoring.events.LINE
        monitoring.use_tool_id(monitoring.COVERAGE_ID, "fuzz")
        monitoring.register_callback(monitoring.COVERAGE_ID, event, self._line)
        monitoring.set_events(monitoring.COVERAGE_ID, event)

    def _line(self, code: CodeType, _number: int) -> object:
        if code.co_filename in self._files:
            self._new = True
        return self._monitoring.DISABLE

    def is_new(self) -> bool:
        """Whether a line has run for the first time since the last call."""
        was, self._new = self._new, False
        return was

    def close(self) -> None:
        self._monitoring.set_events(self._monitoring.COVERAGE_ID, 0)
        self._monitoring.free_tool_id(self._monitoring.COVERAGE_ID)
        self._monitoring.restart_events()
