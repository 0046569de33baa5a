"""What a target is, and the laws that several of them have.

    class Head(Target): name = "head"; ...

A law is a function that raises `Broken`; nothing is an ``assert``, so that ``python -O``
fuzzes as well. `Target.check` depends on its input alone: what is left to chance there
is seeded by the input, so that a finding can be repeated, and shrunk.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from redbarrel_lite.errors import RemoteProtocolError

TESTS = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent

# Longer inputs are not sent one byte at a time: a second would see few of them.
MAX_SINGLE_BYTES = 400
# What an error may say, our own words included: a peer must not fill our log.
MAX_ERROR = 170

T = TypeVar("T")


class Broken(Exception):
    """A law was broken."""


class Target(ABC):
    """Something that reads bytes from strangers."""

    name: ClassVar[str]
    tokens: ClassVar[Sequence[bytes]]  # what means something to it
    rooms: ClassVar[str]  # where its lines are, for --guided

    @abstractmethod
    def seeds(self) -> Iterator[bytes]:
        """Where to start from."""

    @abstractmethod
    def check(self, data: bytes) -> Hashable:
        """Try the laws on an input. What it came to, in short: new answers are worth keeping."""

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes | None:
        """Something well-formed that mutation alone would hardly find, if there is such."""
        return None


def hold(is_so: object, law: str) -> None:
    if not is_so:
        raise Broken(law)


def same(one: object, other: object, law: str) -> None:
    if one != other:
        raise Broken(f"{law}: {short(one)} and {short(other)}")


def short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 300 else text[:200] + " ... " + text[-100:]


def chance_of(data: bytes) -> random.Random:
    """Chance that is the same for the same input."""
    return random.Random(zlib.crc32(data))


def cuts(data: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Ways in which a network may cut: whole, at random, and byte by byte."""
    yield "whole", [data]
    chance = chance_of(data)
    marks = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([1, 2, 5])))
    pieces = [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True)]
    yield "in pieces", [piece for piece in pieces if piece]
    if len(data) <= MAX_SINGLE_BYTES:
        yield "byte by byte", [data[at : at + 1] for at in range(len(data))]


def same_however_cut(judge: Callable[[list[bytes]], T], data: bytes) -> T:
    """The one verdict on ``data``."""
    verdicts = [(how, judge(pieces)) for how, pieces in cuts(data)]
    first = verdicts[0][1]
    for how, verdict in verdicts[1:]:
        same(first, verdict, f"the verdict depends on the cut: {how}")
    return first


def blamed(error: Exception) -> tuple[str, int]:
    """An error in words and its code, after it was found fit to be shown."""
    if not isinstance(error, RemoteProtocolError):
        raise error
    message = str(error)
    hold(len(message) <= MAX_ERROR, "an error is short")
    hold(message.isascii() and message.isprintable(), "an error can be printed")
    return message, error.code


def gist(message: str) -> str:
    """What an error is about, without what is quoted in it."""
    return re.sub(r"['\"].*['\"]|[0-9]+", "", message)


def vectors(name: str) -> Any:
    """The examples of tests/vectors."""
    return json.loads((TESTS / f"vectors/{name}.json").read_text(encoding="utf-8"))
