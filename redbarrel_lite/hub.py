"""Who is there: all sockets of one .rbr file.

What it implements: what `request.server` is: messages to the clients of a namespace, of
a room, or to one, from any thread. What it leaves out: the namespace (`groups`) and the
single client (`sockets`).

In one line::

    request.server.broadcast("hello", room="red")
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from .acks import wait
from .errors import SocketClosed
from .groups import Group, Namespace
from .handover import Handover
from .messages import Handler, Runner
from .outgoing import Outgoing, Wire, size_of
from .recovery import Absent
from .request import Request
from .sockets import Socket

if TYPE_CHECKING:
    from .tally import Tallies

# Each process makes its own, and none may take the answer to another's question for its own.
# JavaScript and others hold no whole number of more bits.
ASK_ID_BITS: Final = 53
# How often, at the most, a look is taken for what is too old to be kept.
_TIDY_EVERY_S: Final = 0.5


class Others(Protocol):
    """The same file in other processes, which are told in the loop's thread."""

    def broadcast(
        self,
        group: Group,
        messages: tuple[Wire, ...],
        room: str | None,
        skip: Collection[str],
        volatile: object,
    ) -> None:
        """Send to their members of a group, too."""

    def emit_to(self, group: Group, messages: tuple[Wire, ...], sid: str, volatile: object) -> None:
        """Send to the socket of a session id, whoever has it."""

    def ask(
        self,
        group: Group,
        messages: tuple[Wire, ...],
        sid: str,
        ask_id: int,
        give: Callable[[Any], object],
    ) -> None:
        """The same, for an acknowledgement, whose arguments are given to a function."""

    def forget(self, ask_id: int) -> None:
        """Nobody waits for it any more."""

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

    @property
    def has_servers(self) -> bool:
        """Whether there may be other servers."""

    async def ask_workers(self, what: str, details: Any, seconds: float) -> list[Any]:
        """What the other workers of this server answer."""

    def disconnect(self, sid: str, reason: str | None) -> None:
        """Turn out the socket of a session id, whoever has it."""


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
        self.others: Others | None = None  # if there are any
        self.is_in_worker = False  # whether the server is of several processes
        self.workers: Collection[int] = ()  # the other workers of this server, as of now
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._keep_s: dict[str, float] = {}
        self._reminder: asyncio.TimerHandle | None = None
        self.run_handler: Callable[[Handler, Socket, Request], Runner] | None = None
        self.runners: set[Runner] = set()  # of the handlers that have not ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._when_handler_ends: Callable[[], object] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.tallies: Tallies | None = None  # if somebody counts; to be set before anybody comes

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
            if not self.emit_here(to, event, args, volatile=volatile) and self.others is not None:
                self._emit_elsewhere(to, event, args, namespace, volatile=volatile)
            return
        group = self._group(namespace)
        if group is not None:
            group.broadcast(event, args, room, frozenset(exceptions), volatile=volatile)

    def emit_here(self, sid: str, event: str, args: Sequence[Any], *, volatile: bool) -> bool:
        """Send an event to one socket; False: nobody here has its session id."""
        socket = self.by_sid.get(sid)
        if socket is not None:
            socket.emit_for_server(event, args, volatile=volatile)
            return True
        absentee = self.absent.by_sid(sid)
        group = self.namespaces.get(absentee.namespace) if absentee is not None else None
        if group is not None and not volatile:
            self.run(group.remember, Outgoing(group.encode(event, args)), None, (), sid)
        return absentee is not None

    def _emit_elsewhere(
        self, sid: str, event: str, args: Sequence[Any], namespace: str, *, volatile: bool
    ) -> None:
        assert self.others is not None
        group = self.words(namespace)
        messages = group.encode(event, args)
        self.run(self.others.emit_to, group, messages, sid, volatile)
        if not self.is_here():
            self.pace(size_of(messages))

    def call(
        self, event: str, *args: Any, to: str, namespace: str = "/", timeout: float | None = 60
    ) -> Any:
        """Send an event to the one socket ``to`` and wait for its acknowledgement, as a list.

        It is `Socket.call` for a session id. Raises `SocketClosed` if nobody has it; where
        there are other processes, that shows as a TimeoutError.
        """
        socket = self.by_sid.get(to)
        if socket is not None:
            return socket.call(event, *args, timeout=timeout)
        if self.others is None:
            raise SocketClosed("nobody has this session id")
        return wait(self, partial(self._ask_elsewhere, to, event, args, namespace), timeout)

    def _ask_elsewhere(
        self,
        sid: str,
        event: str,
        args: tuple[Any, ...],
        namespace: str,
        give: Callable[[Any], object],
    ) -> Callable[[], object]:
        assert self.others is not None
        group = self.words(namespace)
        ask_id = secrets.randbits(ASK_ID_BITS)
        self.run(self.others.ask, group, group.encode(event, args), sid, ask_id, give)
        return partial(self.run, self.others.forget, ask_id)

    def sockets(self, namespace: str = "/", room: str | None = None) -> list[Socket]:
        """The sockets of a namespace, or of a room of it, as of now: those of this process.

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
        if not self.disconnect_here(sid, reason) and self.others is not None:
            self.run(self.others.disconnect, sid, reason)

    def disconnect_here(self, sid: str, reason: str | None = None) -> bool:
        """The same; False: nobody here has it."""
        socket = self.by_sid.get(sid)
        if socket is not None:
            socket.close(*([] if reason is None else [reason]))
        self.run(self._shut_out, sid)
        return socket is not None

    def _shut_out(self, sid: str) -> None:
        absentee = self.absent.by_sid(sid)
        if absentee is not None:
            self.absent.remove(absentee)

    def _group(self, name: str) -> Group | None:
        """None: there is such a namespace, but nobody in it."""
        group = self.group_here(name)
        if group is not None:
            return group
        if not self._fits(name):
            known = ", ".join((*self._patterns, *self.paths))
            raise ValueError(f"no path has the namespace {name!r}; there are: {known or 'none'}")
        return None if self.others is None else self.words(name)

    def words(self, name: str) -> Group:
        """A group that may have members elsewhere alone: for how it says something."""
        return self.group_here(name) or Namespace(name, self)

    def group_here(self, name: str) -> Group | None:
        """The namespace or the path of a name, if it is there."""
        return self.namespaces.get(name) or self.paths.get(name)

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
