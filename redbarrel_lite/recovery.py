"""Connection state recovery: a client that was dropped comes back, and has missed nothing.

What it implements: Socket.IO's `pid` and offsets, as its stock client knows them: what
was sent to a namespace is remembered for a while, and so is who was in it. What it
leaves out: timers; it is told when to forget.

In one line::

    session = memory.recall(pid, offset, absent, now)

With recovery on, the answer to CONNECT has a ``pid`` beside the sid, which nobody else
knows, and each event one more argument at its end, its offset. A client that comes back
says both::

    40{"sid":"s","pid":"p"}     42["hi","7"]    (the connection is lost)
    40{"pid":"p","offset":"7"}  -->  42["missed","8"]  42["missed","9"]  40{"sid":"s","pid":"p"}

The offset is a number that counts what the namespace has sent, so that what a client has
missed is found without a search.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

from .outgoing import Outgoing, Wire, size_of

# What one namespace remembers of what it has sent. Without these, a broadcaster fills
# memory for as long as the file allows a client to be away, which may be a day.
MAX_LOGGED_PACKETS: Final = 10_000
MAX_LOGGED_BYTES: Final = 8 * 1024 * 1024
# What one client may have missed. It waits for that client to read it, beside what is said
# meanwhile, and who lets too much wait is dropped: it would come back for ever.
MAX_MISSED_BYTES: Final = 512 * 1024
# Clients of one file that are away. Whoever connects and drops, again and again, makes
# us remember one more each time.
MAX_ABSENT: Final = 10_000

# Ends of which a client knows nothing, or which it did not want.
RECOVERABLE: Final = frozenset(
    ("transport close", "transport error", "ping timeout", "forced close")
)

_OFFSET: Final = re.compile(r"[0-9]{1,15}")


class Sent(NamedTuple):
    """One packet, and who was to have it."""

    at: float
    messages: tuple[Wire, ...]
    room: str | frozenset[str] | None  # several: rooms, and session ids
    skip: Collection[str]
    to: str | None  # the one session id


class Absentee(NamedTuple):
    """A socket whose client may come back."""

    pid: str
    namespace: str
    session: Any  # `sockets.Session`
    rooms: dict[str, int]  # and what had been sent when it joined each
    since: int  # what had been sent when it connected
    until: float


class Return(NamedTuple):
    """What a socket begins with whose client has come back."""

    absentee: Absentee
    missed: tuple[Wire, ...]


class Trace:
    """What is noted about a socket while it is there, for when it is not."""

    __slots__ = ("pid", "rooms", "since")

    def __init__(self, pid: str, since: int, rooms: dict[str, int]) -> None:
        self.pid = pid
        self.since = since
        self.rooms = rooms


class Absent:
    """Who is away, the longest first."""

    def __init__(self) -> None:
        self._by_pid: OrderedDict[str, Absentee] = OrderedDict()
        self._by_sid: dict[str, Absentee] = {}
        self._count: Counter[str] = Counter()  # by namespace

    def __len__(self) -> int:
        return len(self._by_pid)

    def add(self, absentee: Absentee) -> None:
        """One more has gone."""
        self._by_pid[absentee.pid] = absentee
        self._by_sid[absentee.session.session_id] = absentee
        self._count[absentee.namespace] += 1
        if len(self._by_pid) > MAX_ABSENT:
            self.remove(next(iter(self._by_pid.values())))

    def remove(self, absentee: Absentee) -> None:
        """It has come back, or will not."""
        del self._by_pid[absentee.pid]
        del self._by_sid[absentee.session.session_id]
        self._count[absentee.namespace] -= 1
        if not self._count[absentee.namespace]:
            del self._count[absentee.namespace]

    def by_pid(self, pid: str) -> Absentee | None:
        """Who said this pid once."""
        return self._by_pid.get(pid)

    def by_sid(self, sid: str) -> Absentee | None:
        """Who has this session id."""
        return self._by_sid.get(sid)

    def within(self, namespace: str, rooms: Collection[str]) -> set[str]:
        """The session ids of a namespace that are in one of these rooms."""
        return {
            sid
            for sid, one in self._by_sid.items()
            if one.namespace == namespace and not one.rooms.keys().isdisjoint(rooms)
        }

    def enter(self, sid: str, room: str, count: int) -> None:
        """One that is away is let into a room, when so much had been sent."""
        if sid in self._by_sid:
            self._by_sid[sid].rooms.setdefault(room, count)

    def leave(self, sids: Iterable[str], room: str) -> None:
        """Those that are away are taken out of a room."""
        for sid in sids:
            if sid in self._by_sid:
                self._by_sid[sid].rooms.pop(room, None)

    def expire(self, now: float) -> None:
        """Forget those whose time is over. Each url may have a time of its own, so look at all."""
        for absentee in [one for one in self._by_pid.values() if one.until <= now]:
            self.remove(absentee)

    def may_return_to(self, namespace: str) -> bool:
        """Whether somebody may."""
        return namespace in self._count


class Memory:
    """What a namespace has sent, for ``keep_s`` seconds at most."""

    def __init__(self, keep_s: float) -> None:
        self.keep_s = keep_s
        self.count = 0  # of all that was ever sent: the last offset
        self._log: deque[Sent] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._log)

    def remember(
        self,
        outgoing: Outgoing,
        now: float,
        room: str | frozenset[str] | None = None,
        skip: Collection[str] = (),
        to: str | None = None,
    ) -> Outgoing:
        """The packet with its offset, as it is to be sent."""
        self.count += 1
        numbered = self.number(outgoing)
        self._log.append(Sent(now, numbered.messages, room, skip, to))
        self._bytes += size_of(numbered.messages)
        self.expire(now)
        return numbered

    def number(self, outgoing: Outgoing) -> Outgoing:
        """The packet with the offset of the last one that was remembered.

        For one that is not: the client takes whichever text comes last for an offset.
        """
        text, *attachments = outgoing.messages
        assert isinstance(text, str)
        # An event is an array that has its name in it, so the comma is always right.
        return Outgoing((f'{text[:-1]},"{self.count}"]', *attachments))

    def expire(self, now: float) -> None:
        """Forget what is too old, or too much."""
        log = self._log
        while log and (
            log[0].at + self.keep_s <= now
            or len(log) > MAX_LOGGED_PACKETS
            or self._bytes > MAX_LOGGED_BYTES
        ):
            self._bytes -= size_of(log.popleft().messages)

    def recall(self, absentee: Absentee, offset: object) -> Return | None:
        """What a client has missed since an offset; None if that can't be told any more."""
        if not isinstance(offset, str) or not _OFFSET.fullmatch(offset):
            return None
        last = int(offset)
        first = self.count - len(self._log)  # the offset before the oldest that we remember
        if not max(absentee.since, first) <= last <= self.count:
            return None
        sid = absentee.session.session_id
        missed: list[Wire] = []
        left = MAX_MISSED_BYTES
        for number, sent in enumerate(self._log, first + 1):
            if number > last and _was_for(sent, number, sid, absentee.rooms):
                missed += sent.messages
                left -= size_of(sent.messages)
                if left < 0:
                    return None
        return Return(absentee, tuple(missed))


def _was_for(sent: Sent, number: int, sid: str, rooms: dict[str, int]) -> bool:
    if sent.to is not None:
        return sent.to == sid
    if sid in sent.skip:
        return False
    if isinstance(sent.room, frozenset):
        return sid in sent.room or any(rooms.get(room, number) < number for room in sent.room)
    return sent.room is None or rooms.get(sent.room, number) < number
