"""Who is there: all sockets of one .rbr file, in groups and rooms.

What it implements: namespaces and rooms, and what `request.server` is: messages to all
in them, or to one, from any thread. What it leaves out: the single client (`sockets`,
`client`).

In one line::

    request.server.broadcast("hello", room="red")
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final

from . import socketio
from .errors import Refused
from .handover import Handover
from .outgoing import Connection, Outgoing, Wire, size_of
from .recovery import RECOVERABLE, Absent, Absentee, Memory, Return, Trace
from .request import Request
from .sockets import Handler, Runner, Socket, new_id

# How often, at the most, a look is taken for what is too old to be kept.
_TIDY_EVERY_S: Final = 0.5


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

    def remember(
        self,
        outgoing: Outgoing,
        room: str | None = None,
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
            self._by_pid[pid].end("transport close")
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
        if self.memory is not None and socket.trace is not None:
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


class Hub(Handover):
    """All sockets of one .rbr file, which user code has as `request.server`.

    Its methods may be called from anywhere: from services, from other threads, from
    globals. Before the server runs and after its end nobody is there, which is no error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.namespaces: dict[str, Namespace] = {}
        self.paths: dict[str, Group] = {}  # those without Socket.IO, by their urls
        self.by_sid: dict[str, Socket] = {}
        self.absent = Absent()
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._keep_s: dict[str, float] = {}
        self._reminder: asyncio.TimerHandle | None = None
        self.run_handler: Callable[[Handler, Socket, Request], Runner] | None = None
        self.runners: set[Runner] = set()  # of the handlers that have not ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._when_handler_ends: Callable[[], object] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- what user code calls ----------------------------------------------------

    def broadcast(
        self,
        x: Any,
        room: str | None = None,
        namespace: str = "/",
        event: str = "message",
        exceptions: Iterable[str] = (),
        *,
        volatile: bool = False,
    ) -> None:
        """Send to all clients of a namespace, or of a room of it.

        ``exceptions`` are session ids that are left out; what is ``volatile`` reaches
        those only who are ready for it. Raises TypeError or ValueError for what is no
        JSON, and ValueError for a namespace that the file has not.
        """
        group = self._group(namespace)
        if group is not None:
            group.broadcast(event, (x,), room, frozenset(exceptions), volatile=volatile)

    def emit(
        self,
        event: str,
        *args: Any,
        room: str | None = None,
        to: str | None = None,
        exceptions: Iterable[str] = (),
        namespace: str = "/",
        volatile: bool = False,
    ) -> None:
        """Send any event to a namespace, to a room of it, or to the one socket ``to``.

        ``to`` is a session id, in whichever namespace that is; if nobody has it, nothing
        is sent. The rest is as for `broadcast`.
        """
        if to is not None:
            self._emit_to(to, event, args, volatile=volatile)
            return
        group = self._group(namespace)
        if group is not None:
            group.broadcast(event, args, room, frozenset(exceptions), volatile=volatile)

    def _emit_to(self, sid: str, event: str, args: tuple[Any, ...], *, volatile: bool) -> None:
        socket = self.by_sid.get(sid)
        if socket is not None:
            socket.emit_for_server(event, args, volatile=volatile)
            return
        absentee = self.absent.by_sid(sid)
        group = self.namespaces.get(absentee.namespace) if absentee is not None else None
        if group is not None and not volatile:
            self.run(group.remember, Outgoing(group.encode(event, args)), None, (), sid)

    def sockets(self, namespace: str = "/", room: str | None = None) -> list[Socket]:
        """The sockets of a namespace, or of a room of it, as of now.

        Raises ValueError for a namespace that the file has not.
        """
        group = self._group(namespace)
        if group is None:
            return []
        members = group.sockets if room is None else group.rooms.get(room, {})
        # A list of a dictionary is made in one go: no other thread comes in between.
        return [socket for socket in list(members.values()) if socket.is_in]

    def disconnect(self, sid: str, reason: str | None = None) -> None:
        """Turn out the socket of a session id; nothing, if nobody has it."""
        socket = self.by_sid.get(sid)
        if socket is not None:
            socket.close(*([] if reason is None else [reason]))
        self.run(self._shut_out, sid)

    def _shut_out(self, sid: str) -> None:
        absentee = self.absent.by_sid(sid)
        if absentee is not None:
            self.absent.remove(absentee)

    def _group(self, name: str) -> Group | None:
        """None: there is such a namespace, but nobody in it."""
        group = self.namespaces.get(name) or self.paths.get(name)
        if group is None and not self._fits(name):
            known = ", ".join((*self._patterns, *self.paths))
            raise ValueError(f"no path has the namespace {name!r}; there are: {known or 'none'}")
        return group

    def _fits(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in self._patterns.values())

    # -- what the application and its sockets call ---------------------------------

    def add(self, template: str, pattern: re.Pattern[str], keep_s: float = 0) -> None:
        """Let there be a namespace, or any number whose names fit a pattern.

        A client that was dropped may come back to it ``keep_s`` seconds later. At two
        urls, a namespace has the longer time of the two.
        """
        self._patterns[template] = pattern
        self._keep_s[template] = max(keep_s, self._keep_s.get(template, 0))

    def namespace(self, name: str) -> Namespace:
        """The namespace of a name that a pattern fits."""
        group = self.namespaces.get(name)
        if group is None:
            fitting = (t for t, pattern in self._patterns.items() if pattern.fullmatch(name))
            keep_s = max((self._keep_s[template] for template in fitting), default=0)
            group = self.namespaces[name] = Namespace(name, self, keep_s)
        return group

    def forget(self, group: Group) -> None:
        """A group is empty. Its name came from a client, who may know many more."""
        is_namespace = self.namespaces.get(group.name) is group
        if is_namespace and not self.absent.may_return_to(group.name):
            del self.namespaces[group.name]

    def attach(
        self,
        wake: Callable[[Callable[[], None]], object],
        run_handler: Callable[[Handler, Socket, Request], Runner],
        when_handler_ends: Callable[[], object] = lambda: None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Begin to work; ``run_handler`` makes what runs a handler, ``wake`` is `Handover`'s.

        ``loop`` is whose thread this is.
        """
        self._loop = loop
        self.run_handler = run_handler
        self._when_handler_ends = when_handler_ends
        self.attach_to_loop(wake)

    def handler_ended(self, runner: Runner) -> None:
        """A handler is over; in the loop's thread."""
        self.runners.discard(runner)
        self._when_handler_ends()

    # -- time ----------------------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop, once it is there."""
        assert self._loop is not None
        return self._loop

    def remind(self, delay: float) -> None:
        """Have what is too old forgotten, in so many seconds or sooner."""
        if self._reminder is None:
            self._reminder = self.loop.call_later(max(delay, _TIDY_EVERY_S), self._expire)

    def _expire(self) -> None:
        self._reminder = None
        now = self.loop.time()
        self.absent.expire(now)
        for group in tuple(self.namespaces.values()):
            if group.memory is not None:
                group.memory.expire(now)
                if group.memory or self.absent.may_return_to(group.name):
                    self.remind(group.memory.keep_s / 4)
            if not group.sockets:
                self.forget(group)

    # -- work ------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of user code that nobody waits for; in the loop's thread."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks but weakly
        task.add_done_callback(self._tasks.discard)
