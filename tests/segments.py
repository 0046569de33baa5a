"""Bytes in pieces: the network cuts as it likes, and must not change a verdict.

    verdict = same_verdict(judge, data)

``judge`` feeds the pieces that it gets to a new connection and returns the list
of what came of them. `same_verdict` calls it with ``data`` whole, whole with more
bytes behind in the same piece, a byte at a time, at odd places, and cut where it hurts,
and fails unless all agree.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def segmentations(data: bytes, cut_before: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """Ways to cut ``data``, each with its name for a message."""
    yield "a byte at a time", [data[at : at + 1] for at in range(len(data))]
    yield "at odd places", list(_odd_pieces(data))
    if cut_before and cut_before in data:
        pieces = re.split(b"(?=%b)" % re.escape(cut_before), data)
        yield f"cut at each {cut_before!r}", [piece for piece in pieces if piece]


def _odd_pieces(data: bytes) -> Iterator[bytes]:
    at = 0
    for size in itertools.cycle((1, 2, 3, 5, 7, 11, 13)):
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size


def same_verdict(
    judge: Callable[[list[bytes]], list[T]],
    data: bytes,
    trailing: bytes = b"",
    cut_before: bytes = b"",
) -> list[T]:
    """The one verdict on ``data``, however it is cut; what is ``trailing`` may only add to it."""
    verdict = judge([data])
    assert judge([data + trailing])[: len(verdict)] == verdict, "with trailing bytes"
    for name, pieces in segmentations(data, cut_before):
        assert judge(pieces) == verdict, name
    return verdict
