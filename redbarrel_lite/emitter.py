"""What programs of Node.js emit into our sockets, by way of a Redis.

What it implements: the messages of `@socket.io/redis-emitter` 5, and the like ones that
servers with `@socket.io/redis-adapter` 8 publish for each other: events for a namespace, for
rooms of it, and without others; joining and leaving rooms; turning out. What it leaves out:
what only servers ask of each other (who is there, acknowledgements, `serverSideEmit`), and
Redis itself.

In one line::

    emitter = Emitter(server.cluster); emitter.receive("socket.io#/#", message)

The channel says which namespace is meant, and the one room, if it is one::

    socket.io#/chat#           MessagePack  [uid, {type: 2, nsp: "/chat", data: [event, ...]},
    socket.io#/chat#red#                     {rooms: ["red"], except: [], flags: {}}]
    socket.io-request#/chat#   JSON         {"type":2,"opts":{"rooms":["red"],...},"rooms":["blue"]}

Each process hears what is published, and obeys for its own clients: nothing is passed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from . import msgpack, strictjson
from .cluster import Cluster
from .errors import RemoteProtocolError, show
from .groups import Group, Namespace
from .msgpack import Timestamp
from .outgoing import Outgoing
from .sockets import Socket
from .wsproto import NORMAL_CLOSURE

KEY: Final = "socket.io"  # what channels begin with, unless emitters are told another

# Of packets: socket.io-parser's EVENT and BINARY_EVENT; bytes are in their places in both.
_EVENTS: Final = (2, 5)

# Of requests, in the adapter's order; the others are questions of servers.
REMOTE_JOIN: Final = 2
REMOTE_LEAVE: Final = 3
REMOTE_DISCONNECT: Final = 4

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# What stands for other characters in a pattern of Redis.
_GLOB: Final = re.compile(r"([*?\[\]\\])")

Object = dict[str, Any]


class Emitter:
    """Who emits from outside, to the servers of one key."""

    def __init__(self, cluster: Cluster, key: str = KEY) -> None:
        self.received = 0
        self._cluster = cluster
        self._events = f"{key}#"
        self._requests = f"{key}-request#"
        escaped = _GLOB.sub(r"\\\1", key)
        # What to subscribe to: all namespaces, as they may be known by a pattern only.
        self.patterns = f"{escaped}#/*", f"{escaped}-request#/*"
        self._obey: dict[object, Callable[[Group, Object], None]] = {
            REMOTE_JOIN: _join,
            REMOTE_LEAVE: _leave,
            REMOTE_DISCONNECT: _disconnect,
        }

    def receive(self, channel: str, data: bytes) -> bool:
        """Obey a message, in the loop's thread; False if the channel is none of an emitter.

        What makes no sense is dropped, and counted with all else that comes from outside.
        """
        is_request = channel.startswith(self._requests)
        if not is_request and not channel.startswith(self._events):
            return False
        try:
            if is_request:
                self._request(channel.removeprefix(self._requests), data)
            else:
                self._event(channel.removeprefix(self._events), data)
            self.received += 1
        except (RemoteProtocolError, ValueError, TypeError, RecursionError) as error:
            self._cluster.drop(f"on {show(channel, 40)}: {error}")
        return True

    def _event(self, where: str, data: bytes) -> None:
        message = msgpack.decode(data)
        if not isinstance(message, list) or len(message) != 3:
            raise ValueError("it is no list of three")
        _, packet, opts = message
        name, args = _event_of(packet)
        rooms, skipped = _names(opts, "rooms"), _names(opts, "except")
        namespace = packet.get("nsp")
        # An adapter looks for the room at the end of the channel, when there is but one.
        places = {f"{namespace}#", *(f"{namespace}#{room}#" for room in rooms if len(rooms) == 1)}
        if not isinstance(namespace, str) or where not in places:
            raise ValueError("its namespace or its room is not that of the channel")
        volatile = _object(opts.get("flags", {}), "flags").get("volatile") is True
        for group in self._cluster.groups(namespace):
            outgoing = Outgoing(group.encode(name, args))
            skip = _skip(group, skipped)
            group.send_here(outgoing, rooms or None, skip, volatile=volatile)

    def _request(self, where: str, data: bytes) -> None:
        request = strictjson.loads(data) if data.startswith(b"{") else msgpack.decode(data)
        obey = self._obey.get(_object(request, "request").get("type"))
        if obey is not None:
            for group in self._cluster.groups(where.removesuffix("#")):
                obey(group, request)


# -- events ----------------------------------------------------------------------------------


def _event_of(packet: Any) -> tuple[str, list[Any]]:
    """The name and the arguments of an event."""
    kind, data = _object(packet, "packet").get("type"), packet.get("data")
    if kind not in _EVENTS or not isinstance(data, list) or not data:
        raise ValueError("its packet is no event")
    # In JavaScript, a name that is a number is the same as its digits.
    return _name(data[0]), [as_json(one) for one in data[1:]]


def as_json(value: Any) -> Any:
    """A value as JavaScript's JSON has it, bytes apart: a date is a text, and NaN is null."""
    if isinstance(value, list):
        return [as_json(one) for one in value]
    if isinstance(value, dict):
        return {key: as_json(one) for key, one in value.items()}
    if isinstance(value, Timestamp):
        return _iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _iso(moment: Timestamp) -> str:
    try:
        microseconds = moment.nanoseconds // 1000
        when = _EPOCH + timedelta(seconds=moment.seconds, microseconds=microseconds)
    except OverflowError:
        raise ValueError(f"a date {moment.seconds} seconds from 1970") from None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- who is meant ------------------------------------------------------------------------------


def _object(value: Any, what: str) -> Object:
    if not isinstance(value, dict):
        raise ValueError(f"its {what} is no object")
    return value


def _name(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("a name in it is no text")
    return str(value)


def _names(holder: Any, key: str) -> frozenset[str]:
    names = _object(holder, "opts").get(key, [])
    if not isinstance(names, list):
        raise ValueError(f"its {key} is no list")
    return frozenset(map(_name, names))


def _skip(group: Group, names: frozenset[str]) -> frozenset[str]:
    """The session ids of who is in one of these rooms, those that are away included."""
    if not names:
        return names
    return names | set(group.members(names)) | group.hub.absent.within(group.name, names)


def _selected(group: Group, request: Object) -> list[Socket]:
    opts = request.get("opts")
    rooms, skip = _names(opts, "rooms"), _skip(group, _names(opts, "except"))
    return [one for sid, one in group.members(rooms or None).items() if sid not in skip]


# -- requests ----------------------------------------------------------------------------------


def _join(group: Group, request: Object) -> None:
    for socket in _selected(group, request):
        for room in _names(request, "rooms"):
            socket.join(room)


def _leave(group: Group, request: Object) -> None:
    for socket in _selected(group, request):
        for room in _names(request, "rooms"):
            socket.leave(room)


def _disconnect(group: Group, request: Object) -> None:
    for socket in _selected(group, request):
        socket.close()
        if request.get("close") is True and isinstance(group, Namespace):
            # With the sockets that the client has in other namespaces.
            socket.connection.hang_up(NORMAL_CLOSURE, "")
