"""What the paths of an .rbr file say of their sockets: who may come in, and who handles them.

What it implements: which path a client means that asks for a namespace, whose name
in the file may hold ``{name}``. What it leaves out: the handlers (`handlers`), and who
is inside (`hub`).

In one line::

    door, match = doors.find("/game-7")
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .hub import Hub
from .messages import Handler

if TYPE_CHECKING:
    from .handlers import Lines


@dataclass(frozen=True, slots=True)
class Door:
    """One path: a namespace at a url, with a handler, or `on` lines, or both."""

    namespace: str  # as the file has it, "{name}" and all
    pattern: re.Pattern[str]
    use: Handler | None = None
    lines: Lines | None = None
    keep_s: float = 0  # a client that was dropped may come back so many seconds later
    max_rate: float = 0  # events a second that a client may send; 0 is no limit

    @property
    def asks(self) -> bool:
        """Whether user code decides who comes in."""
        return self.lines is not None and self.lines.asks

    @property
    def says_goodbye(self) -> bool:
        """Whether user code is to be told who has gone."""
        return self.lines is not None and self.lines.says_goodbye


class Doors:
    """The paths that share a url: the client says which namespace it wants."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._doors: list[Door] = []

    def add(self, door: Door) -> None:
        """Open one more, behind those that there are."""
        self._doors.append(door)
        self.hub.add(door.namespace, door.pattern, door.keep_s)

    def find(self, name: str) -> tuple[Door, dict[str, str]] | None:
        """The first that fits, and what its placeholders matched."""
        for door in self._doors:
            match = door.pattern.fullmatch(name)
            if match is not None:
                return door, match.groupdict("")
        return None
