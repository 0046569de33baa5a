"""Who is there: all sockets of one .rbr file, in groups and rooms.

What it implements: namespaces and rooms, and messages to all in them, from any thread.
What it leaves out: the single client (`client`, `sockets`).

In one line::

    request.server.broadcast("hello")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from . import socketio
from .handover import Handover
from .request import Request
from .sockets import Handler, Outgoing, Runner, Socket, Wire, size_of


class Group(ABC):
    """Sockets that hear each other's broadcasts, their rooms, and their words on the wire."""

    def __init__(self, name: str, hub: Hub, handler: Handler) -> None:
        self.name = name
        self.hub = hub
        self.handler = handler
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
    def turn_out(self, socket: Socket) -> None:
        """Tell a client that it has to leave."""

    # -- members ---------------------------------------------------------------

    def broadcast(self, event: str, x: Any, room: str | None, skip: Iterable[str]) -> None:
        """Send to all members but those of the session ids in ``skip``; from any thread."""
        messages = self.encode(event, (x,))
        self.hub.run(self.send_to_all, Outgoing(messages), room, skip)
        if not self.hub.is_here():
            self.hub.pace(size_of(messages))

    def send_to_all(self, outgoing: Outgoing, room: str | None, skip: Iterable[str]) -> None:
        """Queue a packet for all members but those of the session ids in ``skip``."""
        members = self.sockets if room is None else self.rooms.get(room, {})
        # A copy: who can't take it may be dropped on the spot.
        for sid, socket in tuple(members.items()):
            if sid not in skip:
                socket.connection.send(outgoing)

    def join(self, socket: Socket, room: str) -> None:
        """Add a socket to a room, which begins to exist with its first member."""
        if not socket._gone:
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
        for room in tuple(socket._rooms):
            self.leave(socket, room)


class Namespace(Group):
    """A namespace of Socket.IO protocol 5."""

    def encode(
        self, event: str, args: Sequence[Any], ack_id: int | None = None
    ) -> tuple[Wire, ...]:
        return socketio.encode_event(event, args, self.name, ack_id)

    def encode_ack(self, ack_id: int, args: Sequence[Any]) -> tuple[Wire, ...]:
        return socketio.encode_ack(ack_id, args, self.name)

    def turn_out(self, socket: Socket) -> None:
        socket.connection.send(Outgoing(socketio.encode_disconnect(self.name)))


class Hub(Handover):
    """All namespaces of one .rbr file; calls from other threads are handed over to its loop."""

    def __init__(self) -> None:
        super().__init__()
        self.namespaces: dict[str, Group] = {}
        self.run_handler: Callable[[Handler, Socket, Request], Runner] | None = None
        self.runners: set[Runner] = set()  # of the handlers that have not ended
        self._when_handler_ends: Callable[[], object] = lambda: None

    def add(self, name: str, handler: Handler) -> None:
        """Open a namespace, whose sockets are handled by ``handler``."""
        self.namespaces[name] = Namespace(name, self, handler)

    def attach(
        self,
        wake: Callable[[Callable[[], None]], object],
        run_handler: Callable[[Handler, Socket, Request], Runner],
        when_handler_ends: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin to work; ``run_handler`` makes what runs a handler, ``wake`` is `Handover`'s."""
        self.run_handler = run_handler
        self._when_handler_ends = when_handler_ends
        self.attach_to_loop(wake)

    def handler_ended(self, runner: Runner) -> None:
        """A handler is over; in the loop's thread."""
        self.runners.discard(runner)
        self._when_handler_ends()

    def broadcast(
        self, x: Any, room: str | None = None, namespace: str = "/", event: str = "message"
    ) -> None:
        """Send to all clients of a namespace, or of a room; from any thread."""
        self.namespaces[namespace].broadcast(event, x, room, ())
