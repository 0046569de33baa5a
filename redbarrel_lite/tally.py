"""Counts what is said on sockets, namespace by namespace: for who asks how a server is.

What it implements: who came, came back and left, the messages in both directions, and how
long handlers took for an event. For this it stands before a socket's connection, and its
runners are those of `runners` and `coroutines` with a count. Where nobody asks there is none
of it. What it leaves out: HTTP and connections, which `counting` counts.

In one line::

    hub.tallies = Tallies(root); hub.attach(wake, counted_handler, ...)

What is counted belongs to a namespace as the file has it, ``/game-{n}``: a client can make up
as many names as it likes, and each would be a series for ever.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Final

from .coroutines import CoroutineRunner
from .handlers import run_handler
from .hub import Hub
from .messages import Handler, Message, Runner
from .metrics import Histogram
from .outgoing import Connection, Outgoing
from .raw import Carrier
from .request import Request
from .runners import ThreadRunner
from .sockets import Socket

# Why a socket has left, in our words; a handler may turn clients out in words of its own.
REASONS: Final = (
    "client namespace disconnect",
    "server namespace disconnect",
    "server disconnect",
    "transport close",
    "transport error",
    "ping timeout",
    "parse error",
    "refused",
    "server shutting down",
)
OTHER_REASON: Final = "other"


class Tally:
    """What was counted of one namespace."""

    __slots__ = ("_lock", "came", "left", "received", "recovered", "sent", "took")

    def __init__(self) -> None:
        self.came = 0
        self.recovered = 0  # of them, those who came back to what they had missed
        self.left: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.received = 0  # events
        self.sent = 0  # messages; an attachment is one, too
        self.took = Histogram()  # handlers, for an event
        self._lock = threading.Lock()  # of `took`: there are handlers in many threads

    def observe(self, began: float) -> None:
        """A handler has had an event since then; from any thread."""
        with self._lock:
            self.took.observe(monotonic() - began)


class Tallies:
    """The tallies of one .rbr file."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.of: dict[str, Tally] = {}

    def entered(self, socket: Socket) -> None:
        """A socket has come; from now on what is sent to it is counted."""
        tally = self.of_socket(socket)
        tally.came += 1
        tally.recovered += socket.recovered
        socket.connection = Counted(socket.connection, tally)

    def left(self, socket: Socket) -> None:
        """It has gone."""
        tally = self.of_socket(socket)
        tally.left[socket.reason if socket.reason in tally.left else OTHER_REASON] += 1

    def of_socket(self, socket: Socket) -> Tally:
        """That of its namespace, as the file has it."""
        name = socket.template
        tally = self.of.get(name)
        if tally is None:
            tally = self.of[name] = Tally()
        return tally


class Counted:
    """A connection, as a socket sees it, that counts what goes out."""

    __slots__ = ("_connection", "_tally")

    def __init__(self, connection: Connection, tally: Tally) -> None:
        self._connection = connection
        self._tally = tally

    def send(self, outgoing: Outgoing) -> None:
        self._tally.sent += len(outgoing.messages)
        self._connection.send(outgoing)

    @property
    def transport(self) -> str:
        return self._connection.transport

    @property
    def congested(self) -> bool:
        return self._connection.congested

    @property
    def ready(self) -> bool:
        return self._connection.ready

    def when_drained(self, callback: Callable[[], object]) -> None:
        self._connection.when_drained(callback)

    def pause(self) -> None:
        self._connection.pause()

    def resume(self) -> None:
        self._connection.resume()

    def hang_up(self, code: int, reason: str) -> None:
        self._connection.hang_up(code, reason)

    # -- of a socket without Socket.IO ---------------------------------------------

    def let_in(self) -> None:
        self._carrier.let_in()

    def refuse(self, reason: str) -> None:
        self._carrier.refuse(reason)

    @property
    def _carrier(self) -> Carrier:
        carrier: Carrier = self._connection  # type: ignore[assignment]  # or it is not asked
        return carrier


# -- runners -------------------------------------------------------------------------------


def counted_handler(handler: Handler, socket: Socket, request: Request) -> Runner:
    """What runs a socket's handler, and counts what it is given."""
    return run_handler(handler, socket, request, CountedCoroutine, CountedThread)


def _tally_of(socket: Socket, hub: Hub) -> Tally:
    assert hub.tallies is not None
    return hub.tallies.of_socket(socket)


class CountedCoroutine(CoroutineRunner):
    """One in the loop. An event takes from when the handler gets it until it asks for another."""

    __slots__ = ("_began", "_tally")

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        body: Callable[[], Coroutine[Any, Any, object]],
        name: str = "the handler",
    ) -> None:
        super().__init__(socket, connection, hub, body, name)
        self._tally = _tally_of(socket, hub)
        self._began = 0.0  # when it got its event; 0: it has none

    def deliver(self, message: Message) -> None:
        self._tally.received += 1
        super().deliver(message)

    async def recv(self, timeout: float | None) -> Message:
        if self._began:
            self._tally.observe(self._began)
            self._began = 0.0
        message = await super().recv(timeout)
        if not message.is_last:
            self._began = monotonic()
        return message


class CountedThread(ThreadRunner):
    """One in a thread of its own."""

    def __init__(
        self,
        socket: Socket,
        connection: Connection,
        hub: Hub,
        body: Callable[[], object],
        name: str = "the handler",
    ) -> None:
        super().__init__(socket, connection, hub, body, name)
        self._tally = _tally_of(socket, hub)
        self._began = 0.0  # written by the handler's thread alone

    def deliver(self, message: Message) -> None:
        self._tally.received += 1
        super().deliver(message)

    def recv(self, timeout: float | None) -> Message:
        if self._began:
            self._tally.observe(self._began)
            self._began = 0.0
        message = super().recv(timeout)
        if not message.is_last:
            self._began = monotonic()
        return message
