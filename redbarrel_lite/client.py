"""The Socket.IO side of one connection: which namespaces its client is in.

What it implements: the rules of Socket.IO protocol 5 above the packets: connect before
anything else, one socket a namespace, a fault closes the connection. What it leaves
out: the packets themselves (`socketio`), and what becomes of an event (`sockets`).

In one line::

    Client(hub, connection, request, connect_by).receive('2["message","hello"]')
"""

from __future__ import annotations

from typing import Final

from . import socketio
from .errors import RemoteProtocolError
from .hub import Hub
from .request import Request
from .sockets import Connection, Outgoing, Socket

# A client that joins namespace after namespace makes us keep a socket, and a
# thread, for each; one that asks for many that do not exist is looking for doors.
MAX_NAMESPACES_PER_CLIENT: Final = 16


class Client:
    """The Socket.IO side of one connection: which namespaces it is in."""

    __slots__ = (
        "_connection",
        "_decoder",
        "_hub",
        "_refused",
        "_request",
        "_size",
        "_sockets",
        "connect_by",
    )

    def __init__(
        self,
        hub: Hub,
        connection: Connection,
        request: Request,
        connect_by: float,
        max_attached: int = socketio.MAX_ATTACHED_BYTES,
    ) -> None:
        self._hub = hub
        self._connection = connection
        self._request = request
        self._decoder = socketio.Decoder(max_attached)
        self._sockets: dict[str, Socket] = {}
        self._refused = 0  # namespaces asked for in vain
        self._size = 0  # of the messages of a packet so far
        self.connect_by: float | None = connect_by  # None once it has connected

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
        if socket is None:
            raise RemoteProtocolError(
                f"packet of type {packet.type} for a namespace not connected:"
                f" {ascii(packet.namespace)[:40]}"
            )
        if packet.type == socketio.EVENT:
            name, *args = packet.data
            # A name may be a number, which in JavaScript is the same as its digits.
            socket.deliver(str(name), args, packet.ack_id, size)
        elif packet.type == socketio.ACK:
            socket.acknowledge(packet.ack_id or 0, packet.data)
        else:
            del self._sockets[packet.namespace]
            socket.end("client namespace disconnect")

    def _connect(self, packet: socketio.Packet) -> None:
        name = packet.namespace
        old = self._sockets.get(name)
        if old is not None and not old._gone:
            raise RemoteProtocolError(f"second CONNECT for {ascii(name)[:40]}")
        if old is None and len(self._sockets) + self._refused >= MAX_NAMESPACES_PER_CLIENT:
            raise RemoteProtocolError(f"over {MAX_NAMESPACES_PER_CLIENT} namespaces")
        home = self._hub.namespaces.get(name)
        if home is None:
            self._refused += 1
            self._connection.send(
                Outgoing(socketio.encode_connect_error("Invalid namespace", namespace=name))
            )
            return
        if home.name in self._request.refused:
            self._refused += 1
            status = {"status": self._request.refused[home.name]}
            error = socketio.encode_connect_error("refused by a rule", status, name)
            self._connection.send(Outgoing(error))
            return
        self.connect_by = None
        socket = Socket(home, self._connection, packet.data)
        self._sockets[name] = socket
        # The answer first: a client drops events that come before it.
        self._connection.send(Outgoing(socketio.encode_connect(socket.session.session_id, name)))
        socket.start(home.handler, self._request.for_socket(socket))

    def end(self, reason: str) -> None:
        """The connection has gone, with all its sockets."""
        sockets, self._sockets = self._sockets, {}
        for socket in sockets.values():
            socket.end(reason)
