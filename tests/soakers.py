"""Clients of the soak test, and the laws that what they hear must obey.

In each room of `apps/soak` all messages are numbered, in the order in which the server took
them. A witness of the room, whose connection is never harmed, hears them all and so keeps
the books. Of everybody else we know from then on what it must have heard:

- each number once, in order, and none is missing while its session lives, recovered or
  not, but for those of its own messages;
- each message with the content that its sender gave it;
- a sender's messages in the order in which it sent them, none twice; all of them, if no
  connection of it was harmed, and at the number with which they were acknowledged;
- who is harmed comes back as who it was, and misses nothing.

A client that loses a connection to which nothing happened is a finding too.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import random
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final

from relay import HARMFUL, Fate, Relay, Through

from redbarrel_lite.dial import ConnectError, Fields, Port, Visitor
from redbarrel_lite.dial_raw import AsyncEngine, AsyncWebSocket
from redbarrel_lite.dial_socket import TRANSPORTS, AsyncSocket, Line, Received
from redbarrel_lite.errors import SocketClosed
from redbarrel_lite.recovery import MAX_MISSED_BYTES
from redbarrel_lite.testing_bodies import encoded

LOST: Final = (SocketClosed, ConnectError, OSError, TimeoutError)
PATIENCE_S: Final = 60.0  # only a fault waits so long
GIVES_UP_S: Final = 3.0
RECOVERY_S: Final = 10.0  # for as long the server remembers enough, at the least
FILE_BYTES: Final = 300_000
_BOOKS: Final = 50_000  # messages of a room that the books go back


@functools.lru_cache(2000)
def body_of(sender: str, seq: int) -> Any:
    """What a sender says in its message of a number."""
    chance = random.Random(f"{sender} {seq}")
    text = chance.choice(("short", "naïve ☃ 🎉", "\x00\x1e\n", "long " * chance.randrange(5000)))
    return chance.choice(
        (text, text, seq, [None, True, {"t": text}], chance.randbytes(chance.randrange(3000)))
    )


def mixed(sender: str, seq: int) -> Any:
    """The same, or with bytes at two places of it."""
    body = body_of(sender, seq)
    return {"a": body, "b": [b"", {"c": sender.encode()}]} if seq % 5 == 0 else body


def client_of(sender: str) -> str:
    """The name of who says something, without the number of its session."""
    return sender.partition(".")[0]


class Room:
    """The books of one room."""

    def __init__(self, world: World, name: str) -> None:
        self.name = name
        self.reached = 0
        self.books: dict[int, tuple[str, int]] = {}  # sender and its seq, by number
        self.last_seq: dict[str, int] = {}
        self.counted: Counter[str] = Counter()
        self.is_witnessed = asyncio.Event()
        self._world = world
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def witness(self) -> None:
        """Hear all, until cancelled."""
        line = Line(Visitor(Port(self._world.url)), "/socket.io/", [], timeout=PATIENCE_S)
        async with await AsyncSocket(line).connect() as socket:
            self.reached = (await socket.call("join", self.name))[0]
            self.is_witnessed.set()
            while True:
                message = await socket.recv("said", timeout=1e6)
                self._enter(**message[0])

    def _enter(self, room: str, n: int, sender: str, seq: int, body: Any) -> None:
        world = self._world
        world.law(room == self.name, f"witness of {self.name} hears of {room}")
        world.law(n == self.reached + 1, f"witness of {self.name}: {n} after {self.reached}")
        last = self.last_seq.get(sender, -1)
        world.law(seq > last, f"{self.name} {n}: {sender} said {seq} after {last}")
        world.check_body(f"witness of {self.name}", n, sender, seq, body)
        self.reached = n
        self.last_seq[sender] = seq
        self.counted[client_of(sender)] += 1
        self.books[n] = (sender, seq)
        self.books.pop(n - _BOOKS, None)
        for wanted, future in self._waiting:
            if wanted <= n and not future.done():
                future.set_result(None)

    async def until(self, n: int) -> None:
        """Wait until the witness has heard a number."""
        if self.reached >= n:
            return
        waiting = (n, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await waiting[1]
        except TimeoutError:
            self._world.law(False, f"witness of {self.name} never heard {n}: {self.reached}")
        finally:
            self._waiting.remove(waiting)


class World:
    """What all clients share: the server, the relay, the books, and what was found."""

    def __init__(self, url: str, relay: Relay, rooms: int, pace_s: float, harm: float) -> None:
        self.url = url
        self.relay = relay
        self.rooms = [Room(self, f"room{number}") for number in range(rooms)]
        self.pace_s = pace_s
        self.harm = harm  # of a connection, from 0 to 1
        self.politeness = 0.3  # how often a session is ended with a word
        self.fatal: tuple[str, ...] = HARMFUL
        self.broken: list[str] = []
        self.tell: Callable[[str], object] = lambda _: None
        self.count: Counter[str] = Counter()
        self.names = 0
        self.goes_on: Callable[[], bool] = lambda: True

    def law(self, holds: bool, otherwise: str) -> None:
        """Note what was broken."""
        if not holds:
            self.broken.append(otherwise)
            self.tell(f"BROKEN {otherwise}")

    def check_body(self, who: str, n: int, sender: str, seq: int, body: Any) -> None:
        """What was heard is what was said."""
        if sender.startswith("http"):
            same = body == b"%s %d" % (sender.encode(), seq)
        else:
            same = body == mixed(sender, seq)
        self.law(same, f"{who}: {n} is not what {sender} said as {seq}: {ascii(body)[:80]}")

    def fate(self, chance: random.Random, harm: float) -> Fate:
        """What is to become of a connection."""
        toward = chance.choice(("server", "client"))
        after = chance.choice((0, 1, chance.randrange(400), chance.randrange(20_000)))
        if chance.random() < harm:
            how = chance.choice(self.fatal)
        else:
            how = chance.choice(("plain", "plain", "pieces", "merged", "pause"))
        own = random.Random(chance.getrandbits(32))
        return Fate(how, after, toward, self.pace_s * chance.random() * 4, own)

    async def live(self, seed: str) -> None:
        """One life of one client."""
        chance = random.Random(seed)
        self.names += 1
        kind = chance.choice(KINDS)
        client = kind(self, chance, f"{kind.__name__.lower()}{self.names}")
        try:
            async with asyncio.timeout(PATIENCE_S * 10):
                await client.live()
        except Exception:  # so that the others go on
            self.law(False, f"{client.name} died:\n{traceback.format_exc()}")
        self.count["lives"] += 1


class Client(ABC):
    """What they have in common: a name, a dice, and a way to the server."""

    def __init__(self, world: World, chance: random.Random, name: str) -> None:
        self.world = world
        self.chance = chance
        self.name = name
        # Half of all are never harmed: of those each message is accounted for.
        harm = chance.choice((0.0, world.harm))
        self.dial = Through(world.relay, lambda: world.fate(chance, harm))
        self.visitor = Visitor(self.dial)
        self.steps: deque[str] = deque(maxlen=40)  # for who wants to know what was broken

    @abstractmethod
    async def live(self) -> None:
        """Come, talk, go."""

    async def pause(self) -> None:
        """Let others have their turn, or some time go by."""
        await asyncio.sleep(self.world.pace_s * self.chance.random() * 2)

    @contextlib.asynccontextmanager
    async def _excused(self, what: str) -> AsyncIterator[None]:
        """Losing a connection is all right if it was harmed, and only then."""
        try:
            yield
        except LOST as error:
            told = f"{type(error).__name__}: {error}"
            self.world.count["lost"] += 1
            broke = "broke the protocol" in told or "parse error" in told
            may_be = self.dial.harmed and not broke
            self._law(may_be, f"{what}: {told[:200]}{told[-100:]}")

    def _law(self, holds: bool, otherwise: str) -> None:
        """Say the first time what was before."""
        if not holds:
            before = "; ".join(self.steps)
            self.steps.clear()
            self.world.law(False, f"{self.name}: {otherwise}; {before} {self._fates()}".rstrip())

    def _fates(self) -> str:
        return " ".join(f"{fate.how}@{fate.after}>{fate.toward}" for fate in self.dial.fates[-8:])


class Chatter(Client):
    """Is in a room, says things, and comes back when it was dropped."""

    def __init__(self, world: World, chance: random.Random, name: str) -> None:
        super().__init__(world, chance, name)
        self.transport = chance.choice(TRANSPORTS)
        line = Line(self.visitor, "/socket.io/", [], self.transport, PATIENCE_S)
        self.socket = AsyncSocket(line)
        self.room: Room | None = None  # in which we are
        self.heard = 0  # the last number
        self.missing: list[int] = []
        self.seq = 0
        self.said: Counter[str] = Counter()  # by room, as long as nothing was harmed
        # With the number of our session: what one says that we have given up may be held back
        # on its way, and be heard behind what the next one says.
        self.sender = f"{name}.0"
        self.sessions = 0
        self.acked: list[tuple[int, tuple[str, int]]] = []
        self.is_whole = True  # nothing of ours was harmed so far
        # Whose `join` or `leave` was not acknowledged yet: we may be in it or not.
        self.uncertain: Room | None = None
        self.member = ""  # the sid under which we have entered the room
        self.here_at = 0.0  # when we last knew that we are connected

    async def live(self) -> None:
        for _ in range(self.chance.randint(1, 5)):
            if not self.world.goes_on():
                break
            self._note("drops")
            self.dial.begin()
            self.socket.drop()
            may_return = self._may_return()
            async with self._excused("chats"):
                await self.socket.connect()
                self.world.count["sessions"] += 1
                await self._came(may_return)
                for _ in range(self.chance.randint(2, 12)):
                    await self._step()
                await self._checkpoint()
                if self.chance.random() < self.world.politeness:
                    await self.socket.close()
                    await self._gone()
            self.is_whole = self.is_whole and not self.dial.harmed
        await self._gone()
        async with self._excused("leaves"):
            await self.socket.close()
        self.socket.drop()

    def _note(self, step: str) -> None:
        offset = self.socket._namespace.offset
        room = self.room.name if self.room is not None else None
        self.steps.append(f"{step} ({self.socket.transport} {room} {self.heard} offset {offset})")

    def _may_return(self) -> bool:
        """Whether we say on connecting who we were."""
        namespace = self.socket._namespace
        return namespace.pid is not None and namespace.offset is not None

    async def _came(self, may_return: bool) -> None:
        self._note(f"is {self.socket.sid[:4]}, recovered {self.socket.recovered}")
        missed = self._missed_bytes()
        if self.socket.sid != self.member:
            # Its connection may have ended before we could enter the room again.
            await self._gone()
        if self.socket.recovered:
            self.world.count["recovered"] += 1
            if self.uncertain is not None:
                await self._gone()
                await self.socket.call("leave", self.uncertain.name)
                self.uncertain = None
        else:
            away_s = asyncio.get_running_loop().time() - self.here_at
            must = may_return and away_s < RECOVERY_S and missed < MAX_MISSED_BYTES // 2
            self._law(not must, f"was not recovered after {away_s} s, {missed} bytes behind")
            self.uncertain = None
            await self._gone()
            self.sessions += 1
            self.sender = f"{self.name}.{self.sessions}"

    def _missed_bytes(self) -> int:
        """About how much was said in our room since we heard the last of it.

        Where the machine has too much to do, we may be so far behind that nobody keeps it for us.
        """
        if self.room is None:
            return 0
        said = (self.room.books.get(n) for n in range(self.heard + 1, self.room.reached + 1))
        return sum(len(json.dumps(mixed(*one), default=len)) for one in said if one is not None)

    async def _gone(self) -> None:
        """What we have heard is all that we know."""
        self._listen()
        if self.room is not None:
            await self._settle(self.room)
        self.room = None

    # -- the laws --------------------------------------------------------------------

    def _listen(self) -> None:
        for message in self._messages():
            assert message.event == "said"
            self._hear(**message[0])

    def _messages(self) -> Iterable[Received]:
        messages = self.socket._inbox.messages
        while messages:
            yield messages.pop(0)

    def _hear(self, room: str, n: int, sender: str, seq: int, body: Any) -> None:
        world = self.world
        world.count["heard"] += 1
        if self.room is None:
            return  # our place in it was not acknowledged yet
        at = f"{self.name} in {self.room.name}"
        self._law(room == self.room.name, f"hears of {room}")
        self._law(sender != self.sender, f"hears itself at {n}")
        self._law(n > self.heard, f"{n} after {self.heard}")
        world.check_body(at, n, sender, seq, body)
        if n > self.heard + 1:
            self._note(f"hears {n}")
        self.missing += range(self.heard + 1, n)
        self.heard = max(n, self.heard)

    async def _settle(self, room: Room) -> None:
        """What we have not heard was our own."""
        await room.until(max(self.heard, *(n for n, _ in self.acked), 0))
        for n in self.missing:
            told = room.books.get(n, ("?", 0))
            self._law(client_of(told[0]) == self.name, f"has not heard {n} {told}")
        for n, said in self.acked:
            told = room.books.get(n, ("?", 0))
            self._law(told == said, f"{said} was acknowledged as {n} {told}")
        self.missing.clear()
        self.acked.clear()

    async def _ask(self, event: str, room: Room) -> None:
        """By the acknowledgement with the last number we must have heard all that was said."""
        self._note(event)
        n = (await self.socket.call(event, room.name))[0]
        self._listen()
        self._note(f"{event} says {n}")
        self.missing += range(self.heard + 1, n + 1)
        self.heard = max(n, self.heard)
        await self._settle(room)

    async def _checkpoint(self) -> None:
        """Compare with the books."""
        if self.room is None:
            return
        await self._ask("where", self.room)
        if self.is_whole and not self.dial.harmed:
            heard, said = self.room.counted[self.name], self.said[self.room.name]
            self.world.law(heard == said, f"{self.name}: {heard} of {said} were heard")
        self.world.count["checkpoints"] += 1

    # -- what it does ------------------------------------------------------------------

    async def _step(self) -> None:
        if self.room is None:
            await self._join()
        else:
            await self.chance.choice(
                (self._say, self._say, self._burst, self._echo, self._move, self._upgrade)
            )()
        self._listen()
        self.here_at = asyncio.get_running_loop().time()
        await self.pause()

    async def _join(self) -> None:
        room = self.chance.choice(self.world.rooms)
        self._listen()
        self.uncertain = room
        n = (await self.socket.call("join", room.name))[0]
        self.uncertain = None
        self.room, self.heard, self.member = room, n, self.socket.sid
        self._note("joined")
        for message in self._messages():
            if message[0]["n"] > n:
                self._hear(**message[0])

    def _next(self) -> tuple[str, str, int, Any]:
        assert self.room is not None
        self.seq += 1
        self.said[self.room.name] += 1
        self.world.count["said"] += 1
        return self.room.name, self.sender, self.seq, mixed(self.sender, self.seq)

    async def _say(self) -> None:
        message = self._next()
        n = (await self.socket.call("say", *message))[0]
        self.acked.append((n, message[1:3]))

    async def _burst(self) -> None:
        for _ in range(self.chance.randrange(20)):
            self.socket.emit("say", *self._next())

    async def _echo(self) -> None:
        things = [mixed(self.name, self.chance.randrange(1000)) for _ in range(3)]
        self.world.law(await self.socket.call("echo", *things) == things, f"{self.name} echo")

    async def _move(self) -> None:
        assert self.room is not None
        self.uncertain = self.room
        await self._ask("leave", self.room)
        self.uncertain = self.room = None

    async def _upgrade(self) -> None:
        if self.socket.transport != "polling":
            return
        with contextlib.suppress(ConnectError):  # and so it goes on polling, or has ended
            await self.socket.upgrade()
            self.world.count["upgrades"] += 1


class Repeater(Client):
    """Says things to who repeats them, over whatever it is."""

    async def _converse(
        self,
        send: Callable[[Any], Awaitable[None]],
        recv: Callable[[], Awaitable[Any]],
        say: Callable[[int], Any],
    ) -> None:
        for _ in range(self.chance.randint(1, 8)):
            things = [say(self.chance.randrange(10_000)) for _ in range(self.chance.randrange(12))]
            for thing in things:
                await send(thing)
            for at, thing in enumerate(things):
                answer = await recv()
                self.world.law(answer == thing, f"{self.name}: {at} comes back as {answer!r:.80}")
                self.world.count["repeated"] += 1
            await self.pause()

    def _plain(self, seq: int) -> str | bytes:
        body = body_of(self.name, seq)
        # As JSON no text has a U+001E, which would part the packets of a POST.
        return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False)


class Looper(Repeater):
    """Talks to a `def` handler in its thread, which asks back at times."""

    async def live(self) -> None:
        transport = self.chance.choice(TRANSPORTS)
        line = Line(self.visitor, "/socket.io/", [], transport, PATIENCE_S)
        socket = AsyncSocket(line, "/loop")

        async def recv() -> Any:
            return (await socket.recv("message"))[0]

        async with self._excused("loops"):
            await socket.connect()
            await self._converse(socket.send, recv, functools.partial(mixed, self.name))
            asked = asyncio.ensure_future(socket.call("ask", self.name))
            try:
                question = await socket.recv("sure")
                question.reply("yes", *question)
                answer = await asked
            finally:
                asked.cancel()
                await asyncio.wait([asked])
                if not asked.cancelled():
                    asked.exception()
            self.world.law(answer == [["yes", self.name]], f"{self.name} is told {answer}")
            if self.chance.random() < 0.5:
                await socket.close()
        socket.drop()


class Raw(Repeater):
    """A WebSocket without Socket.IO."""

    async def live(self) -> None:
        socket = AsyncWebSocket(self.visitor, "/ws", [], timeout=PATIENCE_S)
        async with self._excused("talks"):
            await socket.connect()
            await self._converse(socket.send, socket.recv, self._plain)
            if self.chance.random() < 0.5:
                await socket.close()
        socket.drop()


class Engine(Repeater):
    """Engine.IO without Socket.IO."""

    async def live(self) -> None:
        transport = self.chance.choice(TRANSPORTS)
        socket = AsyncEngine(self.visitor, "/engine.io/", [], transport, PATIENCE_S)
        async with self._excused("talks"):
            await socket.connect()
            await self._converse(socket.send, socket.recv, self._plain)
            if self.chance.random() < 0.5:
                await socket.close()
        socket.drop()


class Http(Client):
    """Asks services and files, and says things in a room without being there."""

    async def live(self) -> None:
        for seq in range(self.chance.randint(1, 20)):
            if not self.world.goes_on():
                break
            self.dial.fates.clear()
            async with self._excused("asks"), self._patience():
                await self.chance.choice(
                    (self._sum, self._count, self._body, self._form, self._file, self._missing)
                )()
                if self.chance.random() < 0.3:
                    await self._shout(seq)
            self.world.count["requests"] += 1
            await self.pause()

    @contextlib.asynccontextmanager
    async def _patience(self) -> AsyncIterator[None]:
        """Wait for long, but not for an answer that will not come."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S) as limit:
            self.dial.when_harmed = lambda: limit.reschedule(loop.time() + GIVES_UP_S)
            try:
                yield
            finally:
                self.dial.when_harmed = lambda: None

    async def _ask(
        self, method: str, target: str, content: bytes = b"", fields: Fields | None = None
    ) -> tuple[int, bytes]:
        head, body = await self.visitor.ask(method, target, fields or [], content)
        return head.status, body

    def _is(self, answer: object, expected: object, what: str) -> None:
        self.world.law(answer == expected, f"{self.name} {what}: {ascii(answer)[:120]}")

    async def _sum(self) -> None:
        a, b = self.chance.randrange(1000), self.chance.randrange(1000)
        status, body = await self._ask("GET", f"/sum/{a}?b={b}")
        self._is((status, json.loads(body)), (200, {"sum": a + b}), "sum")

    async def _count(self) -> None:
        upto = self.chance.randrange(300)
        numbers = b"".join(b"%d\n" % number for number in range(upto))
        self._is(await self._ask("GET", f"/count/{upto}"), (200, numbers), "count")

    async def _body(self) -> None:
        content = self.chance.randbytes(self.chance.choice((0, 1, 5000, 200_000)))
        self._is(await self._ask("POST", "/body", content), (200, content), "body")

    async def _form(self) -> None:
        file = self.chance.randbytes(self.chance.choice((10, 400_000)))
        content, kind = encoded({"name": self.name}, {"file": file}, None, b"")
        status, body = await self._ask("POST", "/form", content, [("content-type", kind)])
        expected = (200, {"bytes": len(file), "name": self.name})
        self._is((status, json.loads(body)), expected, "form")

    async def _file(self) -> None:
        first = self.chance.randrange(FILE_BYTES)
        fields = [("range", f"bytes={first}-")] if self.chance.random() < 0.5 else []
        whole = b"0123456789" * (FILE_BYTES // 10)
        expected = (206, whole[first:]) if fields else (200, whole)
        answer = await self._ask("GET", "/files/digits.bin", fields=fields)
        self.world.law(answer == expected, f"{self.name} file: {answer[0]} {len(answer[1])}")

    async def _missing(self) -> None:
        status, _ = await self._ask("GET", self.chance.choice(("/no", "/files/no", "/files/../x")))
        self._is(status, 404, "what is not there")
        self._is((await self._ask("DELETE", "/page"))[0], 405, "what may not be deleted")

    async def _shout(self, seq: int) -> None:
        room = self.chance.choice(self.world.rooms)
        content = b"%s %d" % (self.name.encode(), seq)
        status, body = await self._ask("POST", f"/shout/{room.name}/{self.name}/{seq}", content)
        self._is(status, 200, "shouts")
        n = json.loads(body)[0]
        await room.until(n)
        self._is(room.books.get(n), (self.name, seq), f"was acknowledged as {n}")


KINDS: Final = (Chatter, Chatter, Chatter, Looper, Raw, Engine, Http)
