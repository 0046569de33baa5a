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
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from . import socketio
from .errors import Refused
from .handover import Handover
from .outgoing import Connection, Outgoing, Wire, size_of
from .request import Request
from .sockets import Handler, Runner, Socket


class Group(ABC):
    """Sockets that hear each other's broadcasts, their rooms, and their words on the wire."""

    def __init__(self, name: str, hub: Hub) -> None:
        self.name = name
        self.hub = hub
        self.sockets: dict[str, Socket] = {}
        self.rooms: dict[str, dict[str, Socket]] = {}

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
        skip: Iterable[str],
        *,
        volatile: bool = False,
    ) -> None:
        """Send to all members but those of the session ids in ``skip``; from any thread."""
        messages = self.encode(event, args)
        send = self.send_to_ready if volatile else self.send_to_all
        self.hub.run(send, Outgoing(messages), room, skip)
        if not self.hub.is_here():
            self.hub.pace(size_of(messages))

    def send_to_all(self, outgoing: Outgoing, room: str | None, skip: Iterable[str]) -> None:
        """Queue a packet for all members but those of the session ids in ``skip``."""
        members = self.sockets if room is None else self.rooms.get(room, {})
        # A copy: who can't take it may be dropped on the spot.
        for sid, socket in tuple(members.items()):
            if sid not in skip:
                socket.connection.send(outgoing)

    def send_to_ready(self, outgoing: Outgoing, room: str | None, skip: Iterable[str]) -> None:
        """The same, but for those who would have to wait for it."""
        members = self.sockets if room is None else self.rooms.get(room, {})
        for sid, socket in tuple(members.items()):
            if sid not in skip and socket.connection.ready:
                socket.connection.send(outgoing)

    def enter(self, socket: Socket) -> None:
        """Add a socket, which may yet have to wait at the door."""
        self.sockets[socket.session.session_id] = socket
        self.hub.by_sid[socket.session.session_id] = socket

    def join(self, socket: Socket, room: str) -> None:
        """Add a socket to a room, which begins to exist with its first member."""
        if not socket.gone:
            self.rooms.setdefault(room, {})[socket.session.session_id] = socket

    def leave(self, socket: Socket, room: str) -> None:
        """Take a socket out of a room, which ends with its last member."""
        members = self.rooms.get(room, {})
        members.pop(socket.session.session_id, None)
        if not members:
            self.rooms.pop(room, None)

    def remove(self, socket: Socket) -> None:
        """Take a socket out of the group and all its rooms."""
        self.sockets.pop(socket.session.session_id, None)
        self.hub.by_sid.pop(socket.session.session_id, None)
        for room in socket.rooms:
            self.leave(socket, room)
        if not self.sockets:
            self.hub.forget(self)


class Namespace(Group):
    """A namespace of Socket.IO protocol 5."""

    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        return socketio.encode_event(event, args, self.name, ack_id)

    def encode_ack(self, ack_id: int, args: Sequence[Any]) -> tuple[Wire, ...]:
        return socketio.encode_ack(ack_id, args, self.name)

    def greeting(self, socket: Socket) -> tuple[Wire, ...]:
        return socketio.encode_connect(socket.session.session_id, self.name)

    def refuse(self, connection: Connection, refused: Refused) -> None:
        messages = socketio.encode_connect_error(refused.reason, refused.data, self.name)
        connection.send(Outgoing(messages))

    def turn_out(self, socket: Socket) -> None:
        socket.connection.send(Outgoing(socketio.encode_disconnect(self.name)))


class Hub(Handover):
    """All sockets of one .rbr file, which user code has as `request.server`.

    Its methods may be called from anywhere: from services, from other threads, from
    globals. Before the server runs and after its end nobody is there, which is no error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.namespaces: dict[str, Group] = {}
        self.by_sid: dict[str, Socket] = {}
        self._patterns: dict[str, re.Pattern[str]] = {}
        self.run_handler: Callable[[Handler, Socket, Request], Runner] | None = None
        self.runners: set[Runner] = set()  # of the handlers that have not ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._when_handler_ends: Callable[[], object] = lambda: None
        self.loop: asyncio.AbstractEventLoop | None = None

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
            socket = self.by_sid.get(to)
            if socket is not None:
                socket.emit(event, *args, volatile=volatile)
            return
        group = self._group(namespace)
        if group is not None:
            group.broadcast(event, args, room, frozenset(exceptions), volatile=volatile)

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

    def disconnect(self, sid: str, reason: str = "server namespace disconnect") -> None:
        """Turn out the socket of a session id; nothing, if nobody has it."""
        socket = self.by_sid.get(sid)
        if socket is not None:
            socket.close(reason)

    def _group(self, name: str) -> Group | None:
        """None: there is such a namespace, but nobody in it."""
        group = self.namespaces.get(name)
        if group is None and not self._fits(name):
            known = ", ".join(self._patterns)
            raise ValueError(f"no path has the namespace {name!r}; there are: {known or 'none'}")
        return group

    def _fits(self, name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in self._patterns.values())

    # -- what the application and its sockets call ---------------------------------

    def add(self, template: str, pattern: re.Pattern[str]) -> None:
        """Let there be a namespace, or any number whose names fit a pattern."""
        self._patterns[template] = pattern

    def namespace(self, name: str) -> Group:
        """The namespace of a name that a pattern fits."""
        group = self.namespaces.get(name)
        if group is None:
            group = self.namespaces[name] = Namespace(name, self)
        return group

    def forget(self, group: Group) -> None:
        """A group is empty. Its name came from a client, who may know many more."""
        self.namespaces.pop(group.name, None)

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
        self.loop = loop
        self.run_handler = run_handler
        self._when_handler_ends = when_handler_ends
        self.attach_to_loop(wake)

    def handler_ended(self, runner: Runner) -> None:
        """A handler is over; in the loop's thread."""
        self.runners.discard(runner)
        self._when_handler_ends()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine of user code that nobody waits for; in the loop's thread."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks but weakly
        task.add_done_callback(self._tasks.discard)
