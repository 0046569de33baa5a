"""The Socket.IO side of a connection of an old client: socket.io-client 1 or 2, many devices.

What it implements: protocol 4 of Socket.IO where it differs from 5: the server opens the
namespace "/" by itself, says no sid, and refuses with the bare reason. What it leaves
out: all the rest, which is `client`'s and `sockets`'.

In one line::

    OldClient(doors, connection, request, connect_by, engine_sid).begin()

Such a client takes the sid of its Engine.IO session for its own, and behind the name of a
namespace it may write a query, which was the way to say who one is.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qsl

from . import socketio
from .client import Client
from .doors import Doors
from .errors import Refused
from .outgoing import Connection, Outgoing
from .request import Request
from .sockets import Socket

_MAX_QUERY: Final = 4096  # characters; a token fits in
_MAX_FIELDS: Final = 100
# What stands before the data, if a query is in it.
_ASKED: Final = re.compile(r"([0-6](?:[0-9]+-)?/[^,?]*+)\?([^,]*+)")


class OldSocket(Socket):
    """A socket whose client speaks protocol 4."""

    __slots__ = ()
    may_return = False  # it knows no pid

    def _greet(self) -> None:
        self.connection.send(Outgoing(socketio.encode_auth(None, self.namespace)))

    def _tell_refused(self, connection: Connection, refused: Refused) -> None:
        connection.send(Outgoing(_error(refused.reason, refused.data, self.namespace)))


class OldClient(Client):
    """Which namespaces a client of protocol 4 is in."""

    __slots__ = ("_engine_sid", "_query")

    def __init__(
        self,
        doors: Doors,
        connection: Connection,
        request: Request,
        connect_by: float,
        max_attached: int,
        engine_sid: str,
    ) -> None:
        super().__init__(doors, connection, request, connect_by, max_attached)
        self._engine_sid = engine_sid
        self._query: dict[str, str] | None = None

    def begin(self) -> bool:
        """Connect it to "/", for it will not ask; to nothing, if the file has no such namespace."""
        if self._doors.find("/") is not None:
            self._connect(socketio.Packet(socketio.CONNECT))
        return True

    def receive(self, message: socketio.Message) -> None:
        if isinstance(message, str):
            asked = _ASKED.match(message)
            if message.startswith(socketio.CONNECT):
                self._query = _fields(asked[2]) if asked else None
            if asked:  # the limit of a name does not count the query
                message = asked[1] + message[asked.end() :]
        super().receive(message)

    def _new_socket(self, name: str, auth: Any) -> Socket:
        sid = self._engine_sid if name == "/" else f"{name}#{self._engine_sid}"
        who = self._query if auth is None else auth
        return OldSocket(self._doors.hub.namespace(name), self._connection, who, sid)

    def _tell_refused(self, reason: str, data: object, name: str) -> None:
        self._connection.send(Outgoing(_error(reason, data, name)))


def _error(reason: str, data: Any, namespace: str) -> tuple[socketio.Message, ...]:
    """What makes the event "error" there: the data, or what there is instead."""
    return socketio.encode_error(reason if data is None else data, namespace)


def _fields(query: str) -> dict[str, str] | None:
    """What stands behind the name of a namespace, in ``0/chat?token=abc,``."""
    if not query or len(query) > _MAX_QUERY:
        return None
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:  # too many
        return None
