"""New inputs of old ones.

Mutator(chance, tokens).mutated(data, other)
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

MAX_INPUT_BYTES: Final = 4096

# Where counters wrap, fields end and signs turn.
NUMBERS: Final = (
    *(0, 1, 2, 3, 9, 10, 11, 15, 16, 17, 63, 64, 65, 99, 100, 101, 125, 126, 127, 128),
    *(255, 256, 257, 999, 1000, 1001, 1024, 4095, 4096, 65535, 65536, 999_999, 1_000_001),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**20),
)
_DIGITS = re.compile(rb"[0-9]+")


class Mutator:
    """Changes inputs at random; ``tokens`` mean something to who reads them."""

    def __init__(self, chance: random.Random, tokens: Sequence[bytes]) -> None:
        self._chance = chance
        self._tokens = tokens
        self._ways: list[Callable[[bytearray], None]] = [
            self._flip,
            self._replace,
            self._insert,
            self._delete,
            self._duplicate,
            self._swap,
            self._put_token,
            self._put_token,
            self._put_number,
            self._alter_number,
        ]

    def mutated(self, data: bytes, other: bytes) -> bytes:
        """Something else, but not by much; some of it may come from another input."""
        changed = bytearray(data)
        if self._chance.random() < 0.15:
            self._splice(changed, other)
        for _ in range(self._chance.choice([1, 1, 1, 2, 2, 3, 5, 8])):
            self._chance.choice(self._ways)(changed)
        return bytes(changed[:MAX_INPUT_BYTES])

    def _span(self, data: bytearray) -> tuple[int, int]:
        """A place, and how much of what is there."""
        start = self._chance.randrange(len(data) + 1)
        length = self._chance.choice([1, 1, 1, 2, 2, 3, 4, 8, 16, 64, 256])
        return start, min(len(data), start + length)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _replace(self, data: bytearray) -> None:
        start, end = self._span(data)
        data[start:end] = self._chance.randbytes(end - start)

    def _insert(self, data: bytearray) -> None:
        start, _ = self._span(data)
        data[start:start] = self._chance.randbytes(self._chance.choice([1, 1, 1, 2, 4]))

    def _delete(self, data: bytearray) -> None:
        start, end = self._span(data)
        del data[start:end]

    def _duplicate(self, data: bytearray) -> None:
        start, end = self._span(data)
        at = start if self._chance.random() < 0.7 else self._span(data)[0]
        data[at:at] = data[start:end] * self._chance.choice([1, 1, 1, 2, 3, 20])

    def _swap(self, data: bytearray) -> None:
        start, end = self._span(data)
        middle = (start + end) // 2
        data[start:end] = data[middle:end] + data[start:middle]

    def _put_token(self, data: bytearray) -> None:
        start, end = self._span(data)
        data[start : self._chance.choice([start, start, end])] = self._chance.choice(self._tokens)

    def _put_number(self, data: bytearray) -> None:
        start, _ = self._span(data)
        number, size = self._chance.choice(NUMBERS), self._chance.choice([1, 1, 2, 4, 8])
        order = self._chance.choice(["big", "little"])
        number %= 1 << 8 * size
        data[start : start + size] = number.to_bytes(size, "big" if order == "big" else "little")

    def _alter_number(self, data: bytearray) -> None:
        found = list(_DIGITS.finditer(data))
        if found:
            one = self._chance.choice(found)
            number = self._chance.choice([*NUMBERS, int(one[0][:20]) + 1, int(one[0][:20]) - 1])
            form = self._chance.choice([b"%d", b"%d", b"%d", b"-%d", b"%x", b"0%d", b"%d.5"])
            data[slice(*one.span())] = form % abs(number)

    def _splice(self, data: bytearray, other: bytes) -> None:
        """Begin as the one and go on as the other."""
        del data[self._chance.randrange(len(data) + 1) :]
        data += other[self._chance.randrange(len(other) + 1) :]
