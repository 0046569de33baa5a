"""The Socket.IO side of one connection: which namespaces its client is in.

What it implements: the rules of Socket.IO protocol 5 above the packets: connect before
anything else, one socket a namespace, a fault closes the connection. What it leaves
out: the packets themselves (`socketio`), and what becomes of an event (`sockets`).

In one line::

    Client(doors, connection, request, connect_by).receive('2["message","hello"]')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from . import socketio
from .doors import Doors
from .errors import RemoteProtocolError
from .outgoing import Connection, Outgoing
from .request import Request
from .sockets import Socket

# A client that joins namespace after namespace makes us keep a socket, and a
# thread, for each.
MAX_NAMESPACES_PER_CLIENT: Final = 16
# One that asks for many more in vain is looking for doors, and may have a handler run for each.
# Who waits for one to be opened knocks less often.
MAX_REFUSALS_A_SECOND: Final = 16


class Client:
    """The Socket.IO side of one connection: which namespaces it is in."""

    __slots__ = (
        "_asked",
        "_connection",
        "_decoder",
        "_doors",
        "_request",
        "_size",
        "_sockets",
        "_leaving",
        "_connect_by",
    )

    def __init__(
        self,
        doors: Doors,
        connection: Connection,
        request: Request,
        connect_by: float,
        max_attached: int = socketio.MAX_ATTACHED_BYTES,
    ) -> None:
        self._doors = doors
        self._connection = connection
        self._request = request
        self._decoder = socketio.Decoder(max_attached)
        self._sockets: dict[str, Socket] = {}
        # When it asked for what it was not let into at once, and the socket, if there is one.
        self._asked: Sequence[tuple[float, Socket | None]] = ()
        self._size = 0  # of the messages of a packet so far
        self._leaving: Sequence[Socket] = ()  # whose handlers have not ended yet
        self._connect_by: float | None = connect_by

    @property
    def connect_by(self) -> float | None:
        """When its time to join a namespace is over; None once it has joined one."""
        if any(socket.is_in for socket in self._sockets.values()):
            self._connect_by = None
        return self._connect_by

    def begin(self) -> bool:
        """The connection is there; True: let it in, the client says later what it wants."""
        return True

    def closed_with(self, code: int, reason: str) -> None:
        """How its WebSocket has ended, which tells nobody anything here."""

    def posted(self, request: Request) -> None:
        """What it says next comes with this request, as good as any other."""

    def receive(self, message: socketio.Message) -> None:
        """Take one message of the connection.

        Raises `RemoteProtocolError` where the reference closes the connection.
        """
        packet = self._decoder.receive(message)
        self._size += len(message)
        if packet is None:
            return
        size, self._size = self._size, 0
        if packet.type == socketio.CONNECT:
            self._connect(packet)
            return
        socket = self._sockets.get(packet.namespace)
        if socket is None or not (socket.is_in or packet.type == socketio.DISCONNECT):
            raise RemoteProtocolError(
                f"packet of type {packet.type} for a namespace not connected:"
                f" {ascii(packet.namespace)[:40]} (Socket.IO 5, Connection to a namespace)"
            )
        if packet.type == socketio.EVENT:
            name, *args = packet.data
            # A name may be a number, which in JavaScript is the same as its digits.
            socket.deliver(str(name), args, packet.ack_id, size)
        elif packet.type == socketio.ACK:
            socket.acknowledge(packet.ack_id or 0, packet.data)
        else:
            self._leave(socket)

    def _connect(self, packet: socketio.Packet) -> None:
        name = packet.namespace
        old = self._sockets.get(name)
        if old is not None and not old.gone:
            raise RemoteProtocolError(f"second CONNECT for {ascii(name)[:40]}")
        if old is not None:
            self._leave(old)
        if self._asked:
            self._look_back(self._asked)
        self._leaving = [socket for socket in self._leaving if socket.is_at_work]
        taken = max(len(self._sockets), len(self._leaving))
        if taken >= MAX_NAMESPACES_PER_CLIENT and not self._makes_room():
            self._refuse("too many namespaces", None, name)
            return
        found = self._doors.find(name)
        if found is None:
            self._refuse("Invalid namespace", None, name)
            return
        door, match = found
        if door.namespace in self._request.refused:
            status = {"status": self._request.refused[door.namespace]}
            self._refuse("refused by a rule", status, name)
            return
        socket = self._sockets[name] = self._new_socket(name, packet.data)
        socket.start(door, self._request.for_socket(socket, match))
        if not socket.is_in:
            self._remember(socket)

    def _remember(self, socket: Socket | None) -> None:
        self._asked = [*self._asked, (self._doors.hub.loop.time(), socket)]

    def _look_back(self, asked: Sequence[tuple[float, Socket | None]]) -> None:
        """Raises `RemoteProtocolError` if it was refused too often in the last second.

        What is still being decided is no refusal yet, and has a place among its namespaces.
        """
        since = self._doors.hub.loop.time() - 1.0
        asked = [one for one in asked if one[0] > since and not (one[1] and one[1].is_in)]
        self._asked = asked
        if sum(socket is None or socket.gone for _, socket in asked) >= MAX_REFUSALS_A_SECOND:
            raise RemoteProtocolError(f"refused {MAX_REFUSALS_A_SECOND} times in a second")

    def _makes_room(self) -> bool:
        """Leave what it was turned out of; a handler that is still at work keeps its place."""
        for socket in [one for one in self._sockets.values() if one.gone]:
            self._leave(socket)
        self._leaving = [socket for socket in self._leaving if socket.is_at_work]
        return max(len(self._sockets), len(self._leaving)) < MAX_NAMESPACES_PER_CLIENT

    def _leave(self, socket: Socket) -> None:
        """A client that comes and goes must not have us start handlers without end."""
        del self._sockets[socket.namespace]
        if socket.is_in:
            self._connect_by = None
        self._leaving = [*self._leaving, socket]
        socket.end("client namespace disconnect")

    def _new_socket(self, name: str, auth: Any) -> Socket:
        home = self._doors.hub.namespace(name)
        auth, back = home.recall(auth)
        return Socket(home, self._connection, auth, None, back)

    def _refuse(self, reason: str, data: object, name: str) -> None:
        self._remember(None)
        self._tell_refused(reason, data, name)

    def _tell_refused(self, reason: str, data: object, name: str) -> None:
        self._connection.send(Outgoing(socketio.encode_connect_error(reason, data, name)))

    def end(self, reason: str) -> None:
        """The connection has gone, with all its sockets."""
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            socket.end(reason)
