"""One server among several: what its sockets are told, those of other processes hear too.

What it implements: broadcasts, rooms and session ids across processes: what `request.server`
and a socket do to others is published to links, and what comes from there is obeyed. The
messages are those of python-socketio (`cluster_messages`). What it leaves out: the links.

In one line::

    cluster.links.append(link); cluster.receive(message)

    user code -> Group.broadcast -> clients here
                        |
                        +-> Seat -> Cluster.publish -> link ~~~ link -> Cluster.receive
                                                                          -> clients there

What is received is never published again: each process is told by the one where it began.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol

from . import cluster_messages
from .acks import Acks, Expected
from .cluster_messages import OURS, Emit, Message, NoObject, text
from .groups import Group
from .hub import Hub
from .outgoing import Outgoing, Wire
from .sockets import Socket

log = logging.getLogger("redbarrel_lite")

# A faulty message is told of, and those that come behind it in the next minute are a number.
QUIET_S: Final = 60.0


class Link(Protocol):
    """A way to other processes."""

    def publish(self, message: Message) -> None:
        """Tell them all, in the order of the calls; in the loop's thread.

        The message is read now: what is in it may be changed later.
        """


class Workers(Link, Protocol):
    """The way to the other workers of this server, which can be asked."""

    def relay(
        self,
        home: str,
        group: str,
        messages: tuple[Wire, ...],
        room: str | None,
        skip: tuple[str, ...],
        volatile: object,
        /,
    ) -> None:
        """Have them all call `Cluster.deliver`, in the order of these and other messages."""

    async def ask(self, what: str, details: Any, seconds: float) -> list[Any]:
        """What those answer who do so in time."""


class Cluster:
    """The server's own place among others, which all hubs of its files share."""

    def __init__(
        self, host_id: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        # By which a server knows what it has said itself. Its workers have it in common.
        self.host_id = host_id or secrets.token_hex(16)
        self.links: list[Link] = []
        self.workers: Workers | None = None  # which of them leads to our own
        self.asked = Acks()
        self.dropped = 0  # messages that made no sense
        self._hubs: dict[str, Hub] = {}
        self._clock = clock
        self._quiet_until = 0.0
        self._untold = 0
        self._told_of_pickle = False
        self._obey: dict[str, Callable[[Message], None]] = {
            "emit": self._emit,
            "disconnect": self._disconnect,
            "enter_room": self._enter_room,
            "leave_room": self._leave_room,
            "close_room": self._close_room,
            "callback": self._callback,
        }

    def join(self, hubs: Mapping[str, Hub]) -> None:
        """Let hubs be part of it, each by a name that it has in the other processes too."""
        for home, hub in hubs.items():
            self._hubs[home] = hub
            hub.others = Seat(self, home)

    def hub(self, home: str) -> Hub | None:
        """That of a file, by its name."""
        return self._hubs.get(home)

    @property
    def servers(self) -> list[Link]:
        """The links to other servers."""
        return [link for link in self.links if link is not self.workers]

    def publish(self, message: Message) -> None:
        """Tell the others; in the loop's thread."""
        for link in self.links:
            link.publish(message)

    # -- what others say ---------------------------------------------------------------

    def receive_text(self, data: bytes) -> None:
        """Obey the text of a message; in the loop's thread. What makes no sense is counted."""
        try:
            message = cluster_messages.loads(data)
        except NoObject as error:
            self.drop(str(error), tell=not self._told_of_pickle)
            self._told_of_pickle = True
        except ValueError as error:
            self.drop(str(error))
        else:
            self.receive(message)

    def receive(self, message: object) -> None:
        """Obey a message of another process; in the loop's thread.

        What this version does not know is left alone: a later one may say more.
        """
        try:
            if not isinstance(message, dict):
                raise ValueError("it is no object")
            obey = self._obey.get(text(message, "method"))
            if obey is not None:
                obey(message)
        except (ValueError, TypeError, RecursionError) as error:
            self.drop(str(error))

    def deliver(
        self,
        home: str,
        name: str,
        messages: tuple[Wire, ...],
        room: str | None,
        skip: tuple[str, ...],
        volatile: object,
    ) -> None:
        """Send to clients here what another worker has sent to its own; in the loop's thread."""
        hub = self._hubs.get(home)
        group = None if hub is None else hub.group_here(name)
        if group is not None:
            group.send_here(Outgoing(messages), room, skip, volatile=bool(volatile))

    def drop(self, why: str, *, tell: bool = True) -> None:
        """Count a message that makes no sense, and say why, once a minute."""
        self.dropped += 1
        self._untold += 1
        now = self._clock()
        if tell and now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            more = f"; {self._untold} since this was told last" if self._untold > 1 else ""
            log.warning("a message between servers was dropped: %s%s", ascii(why)[1:-1][:120], more)
            self._untold = 0

    def _hubs_of(self, message: Message) -> Iterable[Hub]:
        """The one of its file; all, if it comes from who does not know of files."""
        ours = cluster_messages.ours(message)
        if "home" not in ours:
            return tuple(self._hubs.values())
        hub = self._hubs.get(text(ours, "home"))
        return () if hub is None else (hub,)

    def groups(self, name: str) -> Iterable[Group]:
        """The namespaces and paths of a name that are here, of all files."""
        return self._groups_of({"namespace": name})

    def _groups_of(self, message: Message) -> Iterable[Group]:
        name = text(message, "namespace", "/")
        found = (hub.group_here(name) for hub in self._hubs_of(message))
        return [group for group in found if group is not None]

    # -- one method each -----------------------------------------------------------------

    def _emit(self, message: Message) -> None:
        said = Emit.of(message)
        if said.callback is not None:
            self._emit_for_ack(message, said, said.callback)
        elif said.to is not None:
            for hub in self._hubs_of(message):
                hub.emit_here(said.to, said.event, said.args, volatile=said.volatile)
        else:
            for group in self._groups_of(message):
                outgoing = Outgoing(group.encode(said.event, said.args))
                group.send_here(outgoing, said.room, said.skip, volatile=said.volatile)

    def _emit_for_ack(self, message: Message, said: Emit, callback: list[Any]) -> None:
        text(message, "host_id")  # so that we know whom to tell
        ack = partial(self._acknowledge, message, callback)
        sockets: Iterable[tuple[str, Socket]]
        if said.to is not None:
            found = [hub.by_sid.get(said.to) for hub in self._hubs_of(message)]
            sockets = [(said.to, socket) for socket in found if socket is not None]
        else:
            groups = self._groups_of(message)
            sockets = chain.from_iterable(group.members(said.room).items() for group in groups)
        for sid, socket in sockets:
            if sid not in said.skip:
                socket.emit(said.event, *said.args, ack=ack)

    def _acknowledge(self, asked: Message, callback: list[Any], *args: Any) -> None:
        """A client has answered: tell who has asked."""
        data, attachments = cluster_messages.answer(args)
        if attachments and OURS not in asked:
            self.drop("an acknowledgement with bytes, for which python-socketio has no form")
            return
        keys = ("method", "host_id", "sid", "namespace", "id", "args")
        answer = dict(zip(keys, ("callback", asked["host_id"], *callback, data), strict=True))
        self.publish(answer | ({OURS: {"attachments": attachments}} if attachments else {}))

    def _callback(self, message: Message) -> None:
        if message.get("host_id") != self.host_id:
            return
        args = cluster_messages.answered(message)
        ack_id = message.get("id")
        ack = self.asked.take(ack_id) if isinstance(ack_id, int) else None
        if ack is not None:
            ack(*args)

    def _disconnect(self, message: Message) -> None:
        sid = text(message, "sid")
        reason = cluster_messages.ours(message).get("reason")
        for hub in self._hubs_of(message):
            hub.disconnect_here(sid, reason if isinstance(reason, str) else None)

    def _enter_room(self, message: Message) -> None:
        sid, room = text(message, "sid"), text(message, "room")
        for group in self._groups_of(message):
            if sid in group.sockets:
                group.sockets[sid].join(room)
            elif group.memory is not None:
                group.hub.absent.enter(sid, room, group.memory.count)

    def _leave_room(self, message: Message) -> None:
        sid, room = text(message, "sid"), text(message, "room")
        for group in self._groups_of(message):
            if sid in group.sockets:
                group.sockets[sid].leave(room)
            group.hub.absent.leave([sid], room)

    def _close_room(self, message: Message) -> None:
        room = text(message, "room")
        for group in self._groups_of(message):
            for socket in tuple(group.rooms.get(room, {}).values()):
                socket.leave(room)
            absent = group.hub.absent
            absent.leave(absent.within(group.name, [room]), room)


class Seat:
    """A hub's own place in a cluster (`hub.Others`)."""

    def __init__(self, cluster: Cluster, home: str) -> None:
        self._cluster = cluster
        self._home = home

    def broadcast(
        self,
        group: Group,
        messages: tuple[Wire, ...],
        room: str | None,
        skip: Collection[str],
        volatile: object,
    ) -> None:
        """Send to their members of a group, too."""
        workers = self._cluster.workers
        if workers is not None:
            packet = messages, cluster_messages.name_of(room), tuple(map(str, skip))
            workers.relay(self._home, group.name, *packet, bool(volatile))
        if self._cluster.servers:
            self.tell_servers(group, messages, room, skip, None, volatile)

    def emit_to(self, group: Group, messages: tuple[Wire, ...], sid: str, volatile: object) -> None:
        """Send to the socket of a session id, whoever has it."""
        message = cluster_messages.emit(group, messages, sid, ())
        self._publish(message, {"to": sid, **({"volatile": True} if volatile else {})})

    def ask(
        self,
        group: Group,
        messages: tuple[Wire, ...],
        sid: str,
        ask_id: int,
        give: Callable[[Any], object],
    ) -> None:
        """The same, for an acknowledgement, whose arguments are given to a function."""
        self._cluster.asked.expect(ask_id, Expected(give))
        message = cluster_messages.emit(group, messages, sid, ())
        message["callback"] = [sid, group.name, ask_id]
        self._publish(message, {"to": sid})

    def forget(self, ask_id: int) -> None:
        """Nobody waits for it any more."""
        self._cluster.asked.take(ask_id)

    def tell_servers(
        self,
        group: Group,
        messages: tuple[Wire, ...],
        room: str | None,
        skip: Collection[str],
        sid: str | None,
        volatile: object,
    ) -> None:
        """Send to clients of other servers, and not to those of other workers of this one."""
        message = cluster_messages.emit(group, messages, sid or room, skip)
        more = {"to": sid} if sid is not None else {}
        self._name(message, more | ({"volatile": True} if volatile else {}))
        for link in self._cluster.servers:
            link.publish(message)

    @property
    def has_servers(self) -> bool:
        """Whether there may be other servers."""
        return bool(self._cluster.servers)

    async def ask_workers(self, what: str, details: Any, seconds: float) -> list[Any]:
        """What the other workers of this server answer, who are told which file is meant."""
        workers = self._cluster.workers
        return [] if workers is None else await workers.ask(what, [self._home, details], seconds)

    def disconnect(self, sid: str, reason: str | None) -> None:
        """Turn out the socket of a session id, whoever has it."""
        message: Message = {"method": "disconnect", "sid": sid, "namespace": "/"}
        self._publish(message, {} if reason is None else {"reason": reason})

    def _publish(self, message: Message, more: Message) -> None:
        self._name(message, more)
        self._cluster.publish(message)

    def _name(self, message: Message, more: Message) -> None:
        """Say who says it, of which file."""
        message["host_id"] = self._cluster.host_id
        message[OURS] = {"home": self._home, **more}
