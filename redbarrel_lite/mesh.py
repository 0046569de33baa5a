"""The workers of one server, as each of them sees the others: told, asked, and handed clients.

What it implements: one channel between each two workers, found again when one of them is
another process; messages to all, in order, and questions to all. What it leaves out: what
they say to each other: `cluster` knows the messages, and `Server.answers` has who answers.
And trust: who can open a socket of the folder is one of us, and the folder is private.

In one line::

    server.mesh.publish(message); numbers = await server.mesh.ask("connections", None)

Worker i listens at ``FOLDER/i``, on a socket that the supervisor has opened and keeps open:
of two workers the one with the larger number connects, and waits there for who is yet to
begin. Where there is one worker, there are no channels, and nobody is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import marshal
import socket
from collections.abc import Callable, Coroutine, KeysView
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from .channel import Channel, Kind, frame

log = logging.getLogger("redbarrel_lite")

# What the others may take to answer. One whose loop is held is left out.
ASK_S: Final = 5.0
# And one that is there, to say who he is, before we serve without him.
MEET_S: Final = 1.0
# Until we knock at the door of one that has gone.
_AGAIN_S: Final = 0.05
QUIET_S: Final = 60.0
# A question that is answered by who has read our greeting, which was before it.
_KNOWN: Final = "known"

# Of the details of a question: JSON in, JSON out.
Answer: TypeAlias = Callable[[Any], Any]


class Seat(NamedTuple):
    """The place of one worker among all."""

    number: int
    of: int  # so many
    folder: Path
    listening: socket.socket
    there: frozenset[int] = frozenset()  # who served when this one was to begin


class Mesh:
    """What one worker knows of the others."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        """``answers`` has what answers a question, by its name."""
        self.seat: Seat | None = None  # None: there are no others
        self.missed = 0  # messages for workers that were not there, or did not read
        # What a message of another worker goes to, and a connection with the bytes read of it.
        self.receive: Callable[[dict[str, Any]], object] = lambda _message: None
        # And a packet for clients, which are its arguments.
        self.deliver: Callable[..., object] = lambda *_packet: None
        self.welcome: Callable[[socket.socket, bytes], object] = lambda sock, _content: sock.close()
        self._answers = answers
        answers[_KNOWN] = lambda _: True
        self._channels: dict[int, Channel] = {}  # to those who are there
        # That have not said yet who they are, and whom we have called.
        self._new: dict[Channel, int | None] = {}
        self._questions: dict[int, dict[Channel, asyncio.Future[Any]]] = {}
        self._asked = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._met = asyncio.Event()
        self._quiet_until = 0.0

    @property
    def prefix(self) -> str:
        """What our session ids begin with; nothing, where all are ours."""
        return "" if self.seat is None else f"{self.seat.number}."

    # -- all that is said to the others ------------------------------------------------

    @property
    def others(self) -> KeysView[int]:
        """The numbers of the workers that are there, but for our own."""
        return self._channels.keys()

    def publish(self, message: dict[str, Any]) -> None:
        """Tell all others something, in the loop's thread; in the order of these calls."""
        if self.seat is not None:
            content = json.dumps(message, separators=(",", ":")).encode()
            self._tell(self.seat, frame(Kind.MESSAGE, content))

    def relay(self, *packet: Any) -> None:
        """The same for a packet, as it is for the clients: texts, bytes and tuples of them.

        What is said most often is said in marshal's form, for which they need no code of ours
        that would have to come into the processor's cache first. All run the same program.
        """
        if self.seat is not None:
            self._tell(self.seat, frame(Kind.PACKET, marshal.dumps(packet)))

    def _tell(self, seat: Seat, data: bytes) -> None:
        for channel in tuple(self._channels.values()):
            channel.send(data)
        self.missed += seat.of - 1 - len(self._channels)

    async def ask(self, what: str, details: Any, seconds: float = ASK_S) -> list[Any]:
        """The answers of the others; of those who fail, or take too long, there is none."""
        if not self._channels:
            return []
        self._asked += 1
        number = self._asked
        loop = asyncio.get_running_loop()
        question = frame(Kind.QUESTION, json.dumps([number, what, details]).encode())
        waiting = self._questions[number] = {
            channel: loop.create_future() for channel in self._channels.values()
        }
        try:
            for channel in tuple(waiting):
                channel.send(question)
            done, _ = await asyncio.wait(tuple(waiting.values()), timeout=seconds)
        finally:
            del self._questions[number]
        return [one.result() for one in done if not one.cancelled()]

    def hand(self, number: int, descriptor: int, content: bytes) -> bool:
        """Give a connection to its owner, with what was read of it; False: he is not there."""
        channel = self._channels.get(number)
        if channel is None:
            return False
        channel.send(frame(Kind.CONNECTION, content), descriptor)
        return True

    # -- what the others say -----------------------------------------------------------

    def _take(
        self, channel: Channel, kind: Kind, content: bytes, sock: socket.socket | None
    ) -> None:
        if kind is Kind.PACKET:
            self.deliver(*marshal.loads(content))  # noqa: S302  # written by one of us
        elif kind is Kind.MESSAGE:
            self.receive(json.loads(content))
        elif kind is Kind.CONNECTION:
            if sock is None:
                self._warn("a connection of another worker is lost: there is no descriptor for it")
            else:
                self.welcome(sock, content)
        elif kind is Kind.QUESTION:
            self._keep(self._answer(channel, *json.loads(content)))
        elif kind is Kind.ANSWER:
            self._answered(channel, *json.loads(content))
        else:
            self._greet(channel, int(content))

    async def _answer(self, channel: Channel, number: int, what: str, details: Any) -> None:
        try:
            found = self._answers[what](details)
            if inspect.isawaitable(found):
                found = await found
            said = [number, True, found]
            data = frame(Kind.ANSWER, json.dumps(said).encode())
        except Exception:
            log.exception("a question of another worker has no answer: %.100r", what)
            data = frame(Kind.ANSWER, json.dumps([number, False, None]).encode())
        channel.send(data)

    def _answered(self, channel: Channel, number: int, is_one: object, found: Any) -> None:
        future = self._questions.get(number, {}).get(channel)
        if future is not None and not future.done():
            if is_one:
                future.set_result(found)
            else:
                future.cancel()

    # -- who is there ------------------------------------------------------------------

    def open(self) -> None:
        """Get to know the others, if there are any."""
        seat = self.seat
        if seat is None:
            return
        seat.listening.settimeout(0)
        asyncio.get_running_loop().add_reader(seat.listening.fileno(), self._accept, seat)
        for number in range(seat.number):
            self._connect(number)

    async def meet(self) -> None:
        """Wait for those who are there, or begin with us: what they say is for our clients, too."""
        seat = self.seat
        if seat is None:
            return
        wanted = seat.there.union(range(seat.number))  # each begins with those before it
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEET_S):
                while not wanted <= self.others:
                    self._met.clear()
                    await self._met.wait()
                await self.ask(_KNOWN, None)

    def close(self) -> None:
        """Be none of them any more."""
        seat, self.seat = self.seat, None
        if seat is None:
            return
        asyncio.get_running_loop().remove_reader(seat.listening.fileno())
        seat.listening.close()
        for channel in (*self._new, *self._channels.values()):
            channel.close()
        for task in self._tasks:
            task.cancel()

    def _accept(self, seat: Seat) -> None:
        try:
            accepted, _ = seat.listening.accept()
        except OSError:  # gone again, or we have no descriptor: it will be tried again
            return
        self._begin(accepted, None)

    def _connect(self, number: int) -> None:
        """Knock at the door of a worker, who may be yet to begin."""
        seat = self.seat
        if seat is None:
            return
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(0)
        try:
            sock.connect(str(seat.folder / str(number)))
        except OSError:  # very many stand there, or all is at its end
            sock.close()
            self._connect_later(number)
        else:
            self._begin(sock, number).send(_hello(seat))

    def _connect_later(self, number: int) -> None:
        asyncio.get_running_loop().call_later(_AGAIN_S, self._connect, number)

    def _begin(self, sock: socket.socket, number: int | None) -> Channel:
        channel = Channel(sock, self._take, self._lost)
        self._new[channel] = number
        return channel

    def _greet(self, channel: Channel, number: int) -> None:
        """Now we know who that is, and that he is there."""
        seat = self.seat
        assert seat is not None
        before = self._channels.get(number)
        if before is not None:  # of whose end we have not heard yet
            before.close()
        if self._new.pop(channel) is None:
            channel.send(_hello(seat))
        self._channels[number] = channel
        self._met.set()

    def _lost(self, channel: Channel) -> None:
        for waiting in self._questions.values():
            if channel in waiting:
                waiting[channel].cancel()
        seat = self.seat
        number = self._new.pop(channel, None)
        for one in [one for one, other in self._channels.items() if other is channel]:
            number = one
            del self._channels[one]
        if channel.unread and number is not None:
            self._note_cut(number, channel.unread)
        if seat is not None and number is not None and number < seat.number:
            self._connect_later(number)

    def _note_cut(self, number: int, count: int) -> None:
        self.missed += count
        self._warn("worker %d does not read: %d messages for it are dropped", number, count)

    def _warn(self, what: str, *details: int) -> None:
        """Once a minute: what goes wrong may go wrong for thousands."""
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_S
            log.warning(what, *details)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks but weakly
        task.add_done_callback(self._tasks.discard)


def _hello(seat: Seat) -> bytes:
    return frame(Kind.HELLO, str(seat.number).encode())
