"""Clients that hear each other: a namespace of Socket.IO, and its rooms.

What it implements: who is in which room, broadcasts, the words of Socket.IO for them,
and who may come back to a namespace. What it leaves out: all namespaces together (`hub`).

In one line::

    namespace.broadcast("message", ("hello",), "red", ())
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

from . import socketio
from .errors import Refused
from .messages import new_id
from .outgoing import Connection, Outgoing, Wire, size_of
from .recovery import RECOVERABLE, Absentee, Memory, Return, Trace
from .sockets import Socket
from .wsproto import NORMAL_CLOSURE

if TYPE_CHECKING:
    from .hub import Hub

# Why the connection of who has come back another way ends, in the words of Socket.IO.
_LOST: Final = "transport close"


class Group(ABC):
    """Sockets that hear each other's broadcasts, their rooms, and their words on the wire."""

    def __init__(self, name: str, hub: Hub) -> None:
        self.name = name
        self.hub = hub
        self.sockets: dict[str, Socket] = {}
        self.rooms: dict[str, dict[str, Socket]] = {}
        self.memory: Memory | None = None  # for connection state recovery

    # -- on the wire -----------------------------------------------------------

    @abstractmethod
    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        """The messages of an event. Raises TypeError or ValueError for what can't be sent."""

    @abstractmethod
    def encode_ack(self, ack_id: int, args: Sequence[Any]) -> tuple[Wire, ...]:
        """The messages of an acknowledgement; raises the same."""

    @abstractmethod
    def greeting(self, socket: Socket) -> tuple[Wire, ...]:
        """The messages that tell a client that it is in."""

    @abstractmethod
    def refuse(self, connection: Connection, refused: Refused) -> None:
        """Tell a client that it can't come in; raises as `encode` for the data."""

    @abstractmethod
    def turn_out(self, socket: Socket) -> None:
        """Tell a client that it has to leave."""

    # -- members ---------------------------------------------------------------

    def broadcast(
        self,
        event: str,
        args: Sequence[Any],
        room: str | None,
        skip: Collection[str],
        *,
        volatile: bool = False,
    ) -> None:
        """Send to all members but those of the session ids in ``skip``; from any thread."""
        messages = self.encode(event, args)
        send = self.send_to_ready if volatile else self.send_to_all
        if self.hub.others is not None:  # first, for they are told in JSON, which may refuse
            self.hub.run(self.hub.others.broadcast, self, messages, room, skip, volatile)
        self.hub.run(send, Outgoing(messages), room, skip)
        if not self.hub.is_here():
            self.hub.pace(size_of(messages))

    def send_to_all(self, outgoing: Outgoing, room: str | None, skip: Collection[str]) -> None:
        """Queue a packet for all members but those of the session ids in ``skip``."""
        if self.memory is not None:
            outgoing = self.remember(outgoing, room, skip)
        members = self.sockets if room is None else self.rooms.get(room, {})
        # A copy: who can't take it may be dropped on the spot.
        for sid, socket in tuple(members.items()):
            if sid not in skip:
                socket.connection.send(outgoing)

    def send_to_ready(self, outgoing: Outgoing, room: str | None, skip: Collection[str]) -> None:
        """The same, but for those who would have to wait for it."""
        if self.memory is not None:
            outgoing = self.memory.number(outgoing)
        members = self.sockets if room is None else self.rooms.get(room, {})
        for sid, socket in tuple(members.items()):
            if sid not in skip and socket.connection.ready:
                socket.connection.send(outgoing)

    def send_here(
        self,
        outgoing: Outgoing,
        room: str | frozenset[str] | None,
        skip: Collection[str],
        *,
        volatile: bool,
    ) -> None:
        """Send to those `members` that are in this process; in the loop's thread."""
        if self.memory is not None:
            number = self.memory.number
            outgoing = number(outgoing) if volatile else self.remember(outgoing, room, skip)
        for sid, socket in self.members(room).items():
            if sid not in skip and (socket.connection.ready or not volatile):
                socket.connection.send(outgoing)

    def members(self, room: str | frozenset[str] | None) -> dict[str, Socket]:
        """All, or who is in a room, or in any of several.

        Several come from other servers, to whom a session id is a room, too.
        """
        if not isinstance(room, frozenset):
            return dict(self.sockets if room is None else self.rooms.get(room, {}))
        found: dict[str, Socket] = {}
        for name in room:
            found |= self.rooms.get(name, {})
            if name in self.sockets:
                found[name] = self.sockets[name]
        return found

    def remember(
        self,
        outgoing: Outgoing,
        room: str | frozenset[str] | None = None,
        skip: Collection[str] = (),
        to: str | None = None,
    ) -> Outgoing:
        """Give a packet its offset, and keep it for those who may come back for it."""
        assert self.memory is not None
        self.hub.remind(self.memory.keep_s)
        return self.memory.remember(outgoing, self.hub.loop.time(), room, skip, to)

    def enter(self, socket: Socket) -> None:
        """Add a socket, which may yet have to wait at the door."""
        self.sockets[socket.session.session_id] = socket
        self.hub.by_sid[socket.session.session_id] = socket
        if self.hub.tallies is not None:
            self.hub.tallies.entered(socket)
        for room in socket.rooms:  # of one that comes back
            self.join(socket, room)

    def join(self, socket: Socket, room: str) -> None:
        """Add a socket to a room, which begins to exist with its first member."""
        if not socket.gone:
            self.rooms.setdefault(room, {})[socket.session.session_id] = socket

    def leave(self, socket: Socket, room: str) -> None:
        """Take a socket out of a room, which ends with its last member."""
        members = self.rooms.get(room, {})
        # One that has come back has its sid from one that has gone, and may still leave.
        if members.get(socket.session.session_id) is socket:
            del members[socket.session.session_id]
            if not members:
                del self.rooms[room]

    def remove(self, socket: Socket) -> None:
        """Take a socket out of the group and all its rooms."""
        del self.sockets[socket.session.session_id]
        del self.hub.by_sid[socket.session.session_id]
        for room in socket.rooms:
            self.leave(socket, room)
        if self.hub.tallies is not None:
            self.hub.tallies.left(socket)
        if not self.sockets:
            self.hub.forget(self)


class Namespace(Group):
    """A namespace of Socket.IO protocol 5.

    With ``keep_s`` a client that was dropped may come back so many seconds later.
    """

    def __init__(self, name: str, hub: Hub, keep_s: float = 0) -> None:
        super().__init__(name, hub)
        if keep_s:
            self.memory = Memory(keep_s)
        self._by_pid: dict[str, Socket] = {}

    # -- on the wire -----------------------------------------------------------

    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        return socketio.encode_event(event, args, self.name, ack_id)

    def encode_ack(self, ack_id: int, args: Sequence[Any]) -> tuple[Wire, ...]:
        return socketio.encode_ack(ack_id, args, self.name)

    def greeting(self, socket: Socket) -> tuple[Wire, ...]:
        pid = socket.trace.pid if socket.trace is not None else None
        return socketio.encode_connect(socket.session.session_id, self.name, pid)

    def refuse(self, connection: Connection, refused: Refused) -> None:
        messages = socketio.encode_connect_error(refused.reason, refused.data, self.name)
        connection.send(Outgoing(messages))

    def turn_out(self, socket: Socket) -> None:
        socket.connection.send(Outgoing(socketio.encode_disconnect(self.name)))

    # -- members, who may come back ----------------------------------------------

    def recall(self, auth: Any) -> tuple[Any, Return | None]:
        """What a client says of itself, without what it says of its past; and that past."""
        if self.memory is None or not isinstance(auth, dict):
            return auth, None
        pid = auth.get("pid")
        own = {key: value for key, value in auth.items() if key not in ("pid", "offset")}
        back = self._returned(pid, auth.get("offset")) if isinstance(pid, str) else None
        return own or None, back

    def _returned(self, pid: str, offset: object) -> Return | None:
        if pid in self._by_pid:
            # Its network has changed: of the old connection we have heard nothing yet.
            old = self._by_pid[pid]
            old.end(_LOST)
            # Or it is this CONNECT that comes late, and its client has come back already:
            # it must learn that nobody hears it any more, and come again.
            old.connection.hang_up(NORMAL_CLOSURE, _LOST)
        absentee = self.hub.absent.by_pid(pid)
        now = self.hub.loop.time()
        if absentee is None or absentee.namespace != self.name or absentee.until <= now:
            return None
        assert self.memory is not None
        back = self.memory.recall(absentee, offset)
        if back is not None:
            self.hub.absent.remove(absentee)
        return back

    def enter(self, socket: Socket) -> None:
        if self.memory is not None and socket.may_return:
            back = socket.back
            if back is None:
                socket.trace = Trace(new_id(), self.memory.count, {})
            else:
                absentee = back.absentee
                socket.trace = Trace(absentee.pid, absentee.since, absentee.rooms)
            self._by_pid[socket.trace.pid] = socket
        super().enter(socket)

    def join(self, socket: Socket, room: str) -> None:
        super().join(socket, room)
        if self.memory is not None and socket.trace is not None and not socket.gone:
            socket.trace.rooms.setdefault(room, self.memory.count)

    def leave(self, socket: Socket, room: str) -> None:
        super().leave(socket, room)
        if socket.trace is not None and not socket.gone:
            socket.trace.rooms.pop(room, None)

    def remove(self, socket: Socket) -> None:
        trace, memory = socket.trace, self.memory
        if trace is not None and memory is not None:
            del self._by_pid[trace.pid]
            if socket.is_in and socket.reason in RECOVERABLE:
                until = self.hub.loop.time() + memory.keep_s
                absentee = Absentee(
                    trace.pid, self.name, socket.session, trace.rooms, trace.since, until
                )
                self.hub.absent.add(absentee)
                self.hub.remind(memory.keep_s)
        super().remove(socket)
