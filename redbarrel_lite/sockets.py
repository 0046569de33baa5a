"""The socket object, which a handler holds.

What it implements: receiving, sending, acknowledgements and the end, for one client
in one group of clients (`groups.Group`: a Socket.IO namespace, or those of a path without
Socket.IO). What it leaves out: what the group's messages look like on the wire, which
the group knows; I/O and the running of handlers, which are lent through two small
interfaces, `Connection` and `Runner`.

In one line::

    def chat(globs, request):
        for message in request.socketio: request.socketio.broadcast(message[0])

One client, seen from below::

    Connection (one Engine.IO session)  ->  Client  ->  Socket, one for each namespace
                                                          ^
                                        Hub -> Namespace -+-> rooms -> Socket ...

Everything here belongs to the thread of the event loop. A call from another one
is handed over by `Hub.run` (see `handover`), in the order in which it was made.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from .acks import Ack, Acks, Expected, fail, wait
from .brake import Brake
from .errors import Refused, SocketClosed
from .failures import user_traceback
from .messages import Handler, Message, Runner, Session, new_id
from .outgoing import DONE, MAX_HELD_BYTES, Connection, Held, Outgoing, Wire, settle, size_of
from .request import Request

if TYPE_CHECKING:
    from .doors import Door
    from .groups import Group
    from .hub import Hub
    from .recovery import Return, Trace

log = logging.getLogger("redbarrel_lite")

# Held while a socket makes something that it has done without so far: see `_own_rooms`.
_MAX_SHOWN: Final = 60  # characters of a namespace, in the log
_making: Final = threading.Lock()


class Socket:
    """One client in one namespace, as its handler sees it."""

    may_return: ClassVar[bool] = True  # if the namespace lets it

    __slots__ = (
        "_acks",
        "_brake",
        "_closed",
        "_complained",
        "_door",
        "_events",
        "_fresh",
        "_home",
        "_request",
        "_rooms",
        "_runner",
        "auth",
        "back",
        "connection",
        "gone",
        "is_in",
        "is_refused",
        "reason",
        "recovered",
        "session",
        "trace",
    )

    def __init__(
        self,
        home: Group,
        connection: Connection,
        auth: Any,
        sid: str | None = None,
        back: Return | None = None,
    ) -> None:
        self.session = Session(sid or new_id()) if back is None else back.absentee.session
        self.auth = auth
        self.back = back  # with what its client has missed, until it is let in
        self.recovered = back is not None
        self.trace: Trace | None = None
        self.reason = ""  # why it is gone
        self.is_in = False  # let in, by `on connect` if there is one
        self.is_refused = False  # not let in, though it was there to be
        self._home = home
        self._door: Door | None = None
        self._brake: Brake | None = None
        self.connection = connection
        self._request: Request | None = None
        self._runner: Runner | None = None  # of `use`
        self._events: Runner | None = None  # of the `on` lines
        self._fresh = True
        self._complained = False
        self._closed = False  # by us, maybe a moment ago and in another thread
        self.gone = False  # in the loop's thread: it has left the namespace
        self._rooms: set[str] | None = None if back is None else set(back.absentee.rooms)
        self._acks: Acks | None = None

    def __repr__(self) -> str:
        # The beginning of the sid will do to find it again. Whoever reads a log must
        # not learn the whole: with `to=` it is an address.
        # And a namespace with a placeholder is in its client's words.
        name = ascii(self._home.name)[1:-1]
        return f"<socket {self.session.session_id[:6]}... of {name[:_MAX_SHOWN]}>"

    # -- about the connection ----------------------------------------------

    @property
    def namespace(self) -> str:
        """The Socket.IO namespace, "/" if the client asked for none."""
        return self._home.name

    @property
    def template(self) -> str:
        """The same as the .rbr file has it, ``{name}`` and all."""
        return self._door.namespace if self._door is not None else ""

    @property
    def transport(self) -> str:
        """ "polling" or "websocket", as of now: a client may upgrade."""
        return self.connection.transport

    @property
    def server(self) -> Hub:
        """All sockets of the .rbr file, for messages to everyone."""
        return self._home.hub

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that this socket has joined."""
        return frozenset(self._rooms or ())

    def on_connect(self) -> bool:
        """True the first time it is asked after a connection."""
        fresh, self._fresh = self._fresh, False
        return fresh

    def connected(self) -> bool:
        """False once the client has gone or was closed."""
        return not self._closed

    # -- receiving -----------------------------------------------------------

    def recv(self, timeout: float | None = None) -> Any:
        """The next message, as a list of its arguments (`Message`).

        Waits at most ``timeout`` seconds, then raises TimeoutError. When the
        client has gone it returns ``[]``, once; after that it raises
        `SocketClosed`, which ends the handler quietly. In an ``async def``
        handler the result is to be awaited.
        """
        return self._runner_now().recv(timeout)

    def __iter__(self) -> Iterator[Message]:
        """The messages until the client has gone, for ``def`` handlers."""
        while not (message := self._runner_now().recv(None)).is_last:
            yield message

    def __aiter__(self) -> AsyncIterator[Message]:
        """The messages until the client has gone, for ``async def`` handlers."""
        return _Arriving(self)

    def _runner_now(self) -> Runner:
        if self._runner is not None:
            return self._runner
        if self._events is not None and not self.gone:
            raise RuntimeError("recv() is for the handler that 'use' names, once it has begun")
        raise SocketClosed("this socket has no handler to receive for")

    def next_event(self) -> Any:
        """The same as `recv`, of the events that `on` lines take."""
        assert self._events is not None
        return self._events.recv(None)

    # -- sending ---------------------------------------------------------------

    def send(self, x: Any) -> Awaitable[None]:
        """Send ``x`` as the event "message": str, number, dict, list, or bytes anywhere.

        To a client that has gone it does nothing. In a ``def`` handler it waits
        while the client's queue is above its high mark; in an ``async def``
        handler awaiting the result does. Raises TypeError or ValueError, here
        and now, for what is no JSON.
        """
        return self._hand_over(self._queue, self._home.encode("message", (x,)))

    def emit(
        self,
        event: str,
        *args: Any,
        ack: Callable[..., object] | None = None,
        volatile: bool = False,
    ) -> Awaitable[None]:
        """Send any event; ``ack`` is called once, with what the client acknowledges it with.

        If it is a plain function it runs in the loop's thread and must not block; if
        it is an ``async def``, as a task. What is ``volatile`` is dropped, and never
        acknowledged, unless the client is ready for it: when it would have to wait, a
        newer position of the same thing will soon be worth more.
        """
        if ack is not None:
            ack_id = self._own_acks().new_id()
            return self._emit_for_ack(ack_id, event, args, ack, volatile=volatile)
        queue = self._queue_if_ready if volatile else self._queue
        return self._hand_over(queue, self._home.encode(event, args))

    def emit_for_server(self, event: str, args: Sequence[Any], *, volatile: bool) -> None:
        """The same, for somebody who must not wait for this client."""
        messages = self._home.encode(event, args)
        hub = self._home.hub
        hub.run(self._queue_if_ready if volatile else self._queue, Outgoing(messages))
        if not hub.is_here():
            hub.pace(size_of(messages))

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and wait for its acknowledgement's arguments, as a list.

        Raises TimeoutError after ``timeout`` seconds, and `SocketClosed` if the client
        goes. In a coroutine the result is to be awaited.
        """
        if not (self.is_in or self._closed):
            raise RuntimeError("call() would wait for ever: 'on connect' has let nobody in yet")
        return wait(self._home.hub, partial(self.ask_for_server, event, args), timeout)

    def ask_for_server(
        self, event: str, args: tuple[Any, ...], give: Callable[[Any], object]
    ) -> Callable[[], object]:
        """The same, but ``give`` is called, with the list or the exception; returns its end."""
        acks = self._own_acks()
        ack_id = acks.new_id()
        self._emit_for_ack(ack_id, event, args, Expected(give))
        return partial(self._home.hub.run, acks.take, ack_id)

    def _emit_for_ack(
        self, ack_id: int, event: str, args: tuple[Any, ...], ack: Ack, *, volatile: bool = False
    ) -> Awaitable[None]:
        messages = self._home.encode(event, args, ack_id)
        hub = self._home.hub
        hub.run(self._queue_for_ack, ack_id, ack, Outgoing(messages), volatile)
        if hub.is_here():
            return self._until_drained()
        hub.pace(size_of(messages), self.connection)
        return DONE

    def _queue_for_ack(self, ack_id: int, ack: Ack, outgoing: Outgoing, volatile: object) -> None:
        if self.gone:
            fail(ack, SocketClosed("the client has gone"))
        elif not volatile or self.connection.ready:
            self._own_acks().expect(ack_id, ack)
            self.connection.send(outgoing)

    def _hand_over(
        self, queue: Callable[[Outgoing], None], messages: tuple[Wire, ...]
    ) -> Awaitable[None]:
        """Have a packet queued; return what can be awaited until the queue is short."""
        if self._closed:
            return DONE
        hub = self._home.hub
        if hub.is_here():
            queue(Outgoing(messages))
            return self._until_drained()
        hub.run(queue, Outgoing(messages))
        hub.pace(size_of(messages), self.connection)
        return DONE

    def _queue(self, outgoing: Outgoing) -> None:
        # Looked at again: another thread may have closed it meanwhile, and the
        # client closes the connection over an event behind its disconnect.
        if not self.gone:
            if self._home.memory is not None:
                outgoing = self._home.remember(outgoing, to=self.session.session_id)
            self.connection.send(outgoing)

    def _queue_ack(self, outgoing: Outgoing) -> None:
        if not self.gone:
            self.connection.send(outgoing)

    def _queue_if_ready(self, outgoing: Outgoing) -> None:
        if not self.gone and self.connection.ready:
            if self._home.memory is not None:
                outgoing = self._home.memory.number(outgoing)
            self.connection.send(outgoing)

    def _until_drained(self) -> Awaitable[None]:
        if not self.connection.congested:
            return DONE
        drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connection.when_drained(partial(settle, drained, None))
        return drained

    def broadcast(
        self,
        x: Any,
        exceptions: Iterable[str] | None = None,
        room: str | None = None,
        event: str = "message",
        *,
        volatile: bool = False,
    ) -> Awaitable[None]:
        """Send to every other client of the namespace, or of a room of it.

        ``exceptions`` are session ids that are left out too. Nobody waits for a
        client that is slow; one that is not ready does not get what is ``volatile``.
        """
        skip = {self.session.session_id, *(exceptions or ())}
        self._home.broadcast(event, (x,), room, skip, volatile=volatile)
        return DONE

    # -- rooms and the end -------------------------------------------------------

    def join(self, room: str) -> None:
        """Enter a room, so that broadcasts to it reach this client."""
        self._own_rooms().add(room)
        self._home.hub.run(self._home.join, self, room)

    # Most clients join no room and owe nothing: what they would have for it, hundreds of
    # bytes, is made when it is needed, and once for two threads.

    def _own_rooms(self) -> set[str]:
        with _making:
            if self._rooms is None:
                self._rooms = set()
            return self._rooms

    def _own_acks(self) -> Acks:
        with _making:
            if self._acks is None:
                self._acks = Acks()
            return self._acks

    def leave(self, room: str) -> None:
        """Leave a room; to leave one that was not joined is nothing."""
        if self._rooms is not None:
            self._rooms.discard(room)
        self._home.hub.run(self._home.leave, self, room)

    def close(self, reason: str = "server namespace disconnect") -> None:
        """Turn the client out; ``reason`` is what `on disconnect` is told."""
        self._closed = True
        self._home.hub.run(self._close, reason)

    def fail(self) -> None:
        """The handler failed: turn the client out."""
        self.close()

    def _close(self, reason: str) -> None:
        if self.gone:
            return
        if self.is_in:
            self._home.turn_out(self)
            self.end(reason)
        else:
            self.refuse(Refused())

    # -- from below ------------------------------------------------------------

    def start(self, door: Door, request: Request) -> None:
        """Enter the group, by what a path of the .rbr file says of its sockets."""
        self._door = door
        if door.max_rate:
            self._brake = Brake(door.max_rate, self.connection, self._home.hub.loop, self.end)
        self._home.enter(self)
        self._request = request
        if door.asks:
            self._events_now()
            self.connection = Held(self.connection, self._held_too_much)
        else:
            self.admit(request)

    def _events_now(self) -> Runner:
        """What runs the `on` lines, which begins when there is something to do for them."""
        if self._events is None:
            assert self._door is not None
            assert self._door.lines is not None
            assert self._request is not None
            self._events = self._new_runner(self._door.lines.handler, self._request)
            self._events.start()
        return self._events

    def admit(self, request: Request) -> None:
        """Let the client in, and start what `use` names."""
        if self.gone:
            return
        self.is_in = True
        held, self.connection = self.connection, _real(self.connection)
        self._greet()
        if isinstance(held, Held):
            held.release()
        assert self._door is not None
        if self._door.use is not None and not self.gone:
            self._runner = self._new_runner(self._door.use, request)
            self._runner.start()

    def refuse(self, refused: Refused) -> None:
        """Do not let the client in; it is as if it had never been here."""
        if self.gone:
            return
        connection = _real(self.connection)
        try:
            self._tell_refused(connection, refused)
        except (TypeError, ValueError) as error:
            log.error("%r: what it is refused with can't be sent: %s", self, error)
            self._tell_refused(connection, Refused(str(refused.reason)))
        self.is_refused = True
        self.end("refused")

    def _greet(self) -> None:
        # The answer first: a client drops events that come before it, but for those that
        # it has missed. These are one packet, which no limit cuts in the middle.
        missed, self.back = () if self.back is None else self.back.missed, None
        self.connection.send(Outgoing((*missed, *self._home.greeting(self))))

    def _tell_refused(self, connection: Connection, refused: Refused) -> None:
        self._home.refuse(connection, refused)

    def _held_too_much(self) -> None:
        log.warning("%r: over %d bytes before it was let in: refused", self, MAX_HELD_BYTES)
        self.refuse(Refused("too much was sent before the server had decided"))

    @property
    def is_at_work(self) -> bool:
        """Whether a handler has not ended yet."""
        return not self._home.hub.runners.isdisjoint((self._events, self._runner))

    def _new_runner(self, handler: Handler, request: Request) -> Runner:
        hub = self._home.hub
        assert hub.run_handler is not None
        runner = hub.run_handler(handler, self, request)
        hub.runners.add(runner)
        return runner

    def deliver(self, event: str, args: list[Any], ack_id: int | None, size: int) -> None:
        """An event has come, in messages of ``size`` characters and bytes.

        Raises `RemoteProtocolError` if it was one too many.
        """
        if self.gone:
            return
        if self._brake is not None:
            self._brake.count()
        message = Message(args, event, self, ack_id, size)
        door = self._door
        assert door is not None
        if door.lines is not None and door.lines.takes(event):
            self._events_now().deliver(message)
        elif self._runner is not None:
            self._runner.deliver(message)
        else:
            message.reply({"error": f"nothing takes the event {event[:40]!r}"})

    def acknowledge(self, ack_id: int, args: list[Any]) -> None:
        """An acknowledgement has come; if nobody waits for it, it is ignored."""
        ack = self._acks.take(ack_id) if self._acks is not None else None
        if ack is None:
            return
        try:
            result = ack(*args)
        except Exception as error:
            self.report("a callback", error)
        else:
            if asyncio.iscoroutine(result):
                self._home.hub.spawn(self._finish_callback(result))

    async def _finish_callback(self, coroutine: Awaitable[object]) -> None:
        try:
            await coroutine
        except Exception as error:
            self.report("a callback", error)

    def complain(self, what: str) -> None:
        """Tell the log of a mistake of the client, of the first one only: it may make many."""
        if not self._complained:
            self._complained = True
            log.warning("%r: %s", self, what)

    def report(self, what: str, error: BaseException) -> None:
        """Tell the log that user code has failed."""
        log.error("%s of %r failed:\n%s", what, self, user_traceback(error))

    def end(self, reason: str) -> None:
        """The client has gone, or was closed: leave everything, tell the handler."""
        if self.gone:
            return
        self._closed = self.gone = True
        self.reason = reason
        if self.is_in and self._door is not None and self._door.says_goodbye:
            self._events_now()
        self._home.remove(self)
        if self._brake is not None:
            self._brake.release()
        if self._acks is not None:
            self._acks.fail_all(SocketClosed("the client has gone"))
        for runner in (self._events, self._runner):
            if runner is not None:
                runner.finish()


class _Arriving:
    """What ``async for`` goes through. An async generator would be slower, and larger."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    def __aiter__(self) -> _Arriving:
        return self

    async def __anext__(self) -> Message:
        socket = self._socket
        message: Message = await (socket._runner or socket._runner_now()).recv(None)
        if message.is_last:
            raise StopAsyncIteration
        return message


def _real(connection: Connection) -> Connection:
    return connection.connection if isinstance(connection, Held) else connection
