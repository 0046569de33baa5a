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
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from .groups import Group, Namespace
from .handover import Handover
from .messages import Handler, Runner
from .outgoing import Outgoing
from .recovery import Absent
from .request import Request
from .sockets import Socket

# How often, at the most, a look is taken for what is too old to be kept.
_TIDY_EVERY_S: Final = 0.5


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
