"""A connection to Redis: to whom it goes, who we are there, and what is said on it.

What it implements: the url of a Redis, AUTH, PING and its answer in time, and the two kinds
of connections that `redis` has: a publisher, whose messages are answered in their order, and
a subscriber ("Redis Pub/Sub", redis.io). What it leaves out: coming back when it is over.

In one line::

    publisher = Publisher(parse_url("redis://127.0.0.1"), refused); publisher.publish("a", b"hello")
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from . import resp
from .dial import check_path
from .errors import RemoteProtocolError, show

DEFAULT_PORT: Final = 6379
# What is published and not yet taken by Redis. One that does not read must not fill our memory:
# beyond this, what is published is lost.
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
# The same for one that reads and does not answer. Who tells each of many rooms something else may
# say that much in one turn of the loop, in which no answer can be read.
MAX_UNANSWERED: Final = 100_000
# That are heard before others have their turn: each may be for all clients that we have.
MAX_MESSAGES_A_TURN: Final = 16

_EXAMPLE: Final = "redis://127.0.0.1:6379"
SCHEMES: Final = ("redis", "rediss", "valkey", "valkeys", "unix")


@dataclass(frozen=True, slots=True)
class Place:
    """Where Redis is, and who we are there; ``where`` can be shown, as it has no password."""

    where: str
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""  # of a Unix socket
    tls: bool = False
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def greeting(self) -> list[tuple[str, ...]]:
        """The commands that a connection begins with."""
        if not self.password:
            return [("PING",)]
        who = (self.user, self.password) if self.user else (self.password,)
        return [("AUTH", *who), ("PING",)]

    def masked(self, error: resp.SimpleError) -> resp.SimpleError:
        """An error without our password, should the server have told it back."""
        if not self.password:
            return error
        said = self.password.encode(errors="surrogateescape").decode("latin-1")
        return resp.SimpleError(error.words.replace(said, "***"))


def parse_url(url: str) -> Place:
    """The place that ``redis://user:password@host:port`` names, or ``rediss:``, or ``unix:``.

    The number of a database is allowed, and means nothing: channels belong to all of them.
    Raises ValueError, with nothing of the password in it.
    """
    wrong = "its host is none"
    hint = "; in a password, write / as %2F, # as %23, ? as %3F" if "@" in url else ""
    try:
        parts = urlsplit(url)
        (parts.hostname or "localhost").encode("idna")
        wrong = "its port is no number up to 65535"
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(f"{wrong}: write {_EXAMPLE}{hint}") from None
    if parts.scheme not in SCHEMES:
        has_secret = "@" in url or "?" in url  # perhaps
        shown = show(f"{parts.scheme}://..." if has_secret else url)
        raise ValueError(f"{shown} is no url of a Redis: write {_EXAMPLE}, rediss:// or unix://")
    user, password = _credentials(parts)
    if user and not password:
        raise ValueError(
            "a password is missing: write redis://USER:PASSWORD@HOST, or :PASSWORD@HOST"
        )
    if parts.scheme == "unix":
        if not hasattr(socket, "AF_UNIX"):
            raise ValueError("unix: there are no Unix sockets here")
        path = unquote(parts.path)
        if not path or not path.isprintable() or parts.hostname:
            raise ValueError("unix: write unix:///run/redis/redis.sock")
        check_path(path)
        return Place(f"unix://{path}", path=path, user=user, password=password)
    # It was meant to stand before the host, whose place another part of the password has.
    if "@" in parts.path + parts.fragment + parts.query.partition("=")[0]:
        raise ValueError(f"its host comes behind a /, # or ?: write {_EXAMPLE}{hint}")
    host = parts.hostname or "localhost"
    where = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    tls = parts.scheme in ("rediss", "valkeys")
    return Place(where, host, port, tls=tls, user=user, password=password)


def _credentials(parts: SplitResult) -> tuple[str, str]:
    """User and password, from before the host or from the query."""
    query = parse_qs(parts.query, errors="surrogateescape")
    user, password = (
        unquote(one or "", errors="surrogateescape") for one in (parts.username, parts.password)
    )
    return user or query.get("username", [""])[0], password or query.get("password", [""])[0]


# -- a connection ----------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One connection to Redis, which begins with who we are."""

    def __init__(self, place: Place) -> None:
        new_future = asyncio.get_running_loop().create_future
        self.settled: asyncio.Future[None] = new_future()  # it is ready, or over
        self.over: asyncio.Future[str] = new_future()  # and why
        self._place = place
        self._resp = resp.Connection()
        self._asked: deque[str] = deque()  # commands that are not answered yet
        self._is_silent = False  # since the last ping
        self._has_heard = False  # anything
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"".join(self._ask(*words) for words in self._place.greeting))

    def data_received(self, data: bytes) -> None:
        self._is_silent, self._has_heard = False, True
        self._take(self._resp.receive(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._take(self._resp.receive_eof())
        why = f"the connection broke: {error}" if error else "the server closed the connection"
        if not self._has_heard and not (self._place.tls or self._place.path):
            why += ", and had said nothing: does it want TLS (rediss://)?"
        self.end(why)

    def end(self, why: str) -> None:
        """It is over; the first reason counts."""
        if not self.over.done():
            self.over.set_result(why)
        if not self.settled.done():
            self.settled.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def ping(self) -> None:
        """Ask whether anybody is there; the last such question must have been answered."""
        if self._is_silent:
            self.end("no answer to a ping")
        else:
            assert self._transport is not None
            self._is_silent = True
            self._transport.write(self._ask("PING"))

    def _ask(self, *words: str) -> bytes:
        self._asked.append(words[0])
        return resp.encode_command(*words)

    def _take(self, events: Iterable[resp.Event]) -> None:
        for event in events:
            if self.over.done():
                return
            if isinstance(event, RemoteProtocolError):
                is_redis = self.settled.done()
                self.end(str(event) if is_redis else f"what answers is no Redis: {event}")
            else:
                self._obey(event)

    def _obey(self, reply: resp.Value) -> None:
        """Take the answer to what was asked first."""
        asked = self._asked.popleft() if self._asked else "nothing"
        if isinstance(reply, resp.SimpleError):
            self._refused(asked, reply)
        elif not self._is_answer(asked, reply):
            self.end(f"a strange answer to {asked}: {_shown(reply)}")

    def _refused(self, asked: str, error: resp.SimpleError) -> None:
        self.end(str(self._place.masked(error)))

    def _is_answer(self, asked: str, reply: resp.Value) -> bool:
        if asked == "PING" and reply == "PONG":
            self._let_in()
            return True
        return asked == "AUTH" and reply == "OK"

    def _let_in(self) -> None:
        """It is Redis, and we may speak."""
        if not self.settled.done():
            self.settled.set_result(None)


def _shown(reply: resp.Value) -> str:
    """For the log: of an array or a bulk string not what is in it, which may be our password."""
    if isinstance(reply, (str, int)):
        return show(str(reply))
    return "an array" if isinstance(reply, list) else "a bulk string"


class Publisher(Connection):
    """The connection that publishes: many at once, answered in their order."""

    def __init__(self, place: Place, refused: Callable[[str], None]) -> None:
        super().__init__(place)
        self._tell_refused = refused
        self._waiting: list[bytes] = []  # for the end of this turn of the loop
        self._waiting_bytes = 0
        self._drained: asyncio.Future[None] | None = None
        self.published = 0

    @property
    def unanswered(self) -> int:
        """How many messages Redis may have got, or not."""
        return self._asked.count("PUBLISH")

    def publish(self, channel: str, data: bytes) -> bool:
        """Send a message; False if there are too many that Redis has not taken."""
        assert self._transport is not None
        queued = self._transport.get_write_buffer_size() + self._waiting_bytes
        if queued + len(data) > MAX_QUEUED_BYTES or len(self._asked) >= MAX_UNANSWERED:
            return False
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._write)
        self._asked.append("PUBLISH")
        self._waiting.append(resp.encode_command("PUBLISH", channel, data))
        self._waiting_bytes += len(self._waiting[-1])
        return True

    def ping(self) -> None:
        self._write()  # or it would overtake them
        super().ping()

    def _write(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting and self._transport is not None and not self.over.done():
            self._transport.write(b"".join(waiting))

    async def drain(self) -> None:
        """Wait until all is answered, or it is over."""
        if self._asked:
            self._drained = asyncio.get_running_loop().create_future()
            first: set[asyncio.Future[Any]] = {self._drained, self.over}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)

    def _obey(self, reply: resp.Value) -> None:
        super()._obey(reply)
        if self._drained is not None and not self._asked and not self._drained.done():
            self._drained.set_result(None)

    def _refused(self, asked: str, error: resp.SimpleError) -> None:
        if asked == "PUBLISH":
            self._tell_refused(str(error))
        else:
            super()._refused(asked, error)

    def _is_answer(self, asked: str, reply: resp.Value) -> bool:
        if asked == "PUBLISH" and isinstance(reply, int):
            self.published += 1
            return True
        return super()._is_answer(asked, reply)


class Subscriber(Connection):
    """The connection that hears, and once it does so, says nothing but PING."""

    def __init__(
        self,
        place: Place,
        channels: Iterable[str],
        patterns: Iterable[str],
        hear: Callable[[resp.Message], None],
    ) -> None:
        """What is in ``channels`` and ``patterns`` when we are let in is subscribed to."""
        super().__init__(place)
        self._hear = hear
        self._first = channels, patterns
        self._is_let_in = False
        self._missing: set[bytes] = set()  # what is not confirmed
        self._unheard: deque[resp.Event] = deque()  # for the next turns of the loop

    def data_received(self, data: bytes) -> None:
        self._is_silent, self._has_heard = False, True
        self._unheard += self._resp.receive(data)
        self._take_some()

    def connection_lost(self, error: Exception | None) -> None:
        self._take(self._unheard)
        self._unheard.clear()
        super().connection_lost(error)

    def ping(self) -> None:
        if not self._unheard:  # as we do not read, it may well be silent
            super().ping()

    def _take_some(self) -> None:
        """Hear some messages; as long as there are more, Redis has to wait."""
        assert self._transport is not None
        turn = min(len(self._unheard), MAX_MESSAGES_A_TURN)
        self._take([self._unheard.popleft() for _ in range(turn)])
        if not self._unheard:
            self._transport.resume_reading()
        elif not self.over.done():
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._take_some)

    def subscribe(self, channels: Iterable[str], patterns: Iterable[str]) -> None:
        """Subscribe to these too, if the time for the first ones is over."""
        if not self._is_let_in or self._transport is None:
            return
        for command, names in (("SUBSCRIBE", channels), ("PSUBSCRIBE", patterns)):
            words = [name.encode(errors="surrogateescape") for name in names]
            if words:
                self._missing.update(words)
                self._transport.write(resp.encode_command(command, *words))

    def _let_in(self) -> None:
        if not self._is_let_in:
            self._is_let_in = True
            self.subscribe(*self._first)
        if not self._missing:
            super()._let_in()

    def _obey(self, reply: resp.Value) -> None:
        message = resp.message_of(reply)
        name = resp.subscribed_to(reply)
        if message is not None:
            self._hear(message)
        elif name is not None:
            self._missing.discard(name)
            self._let_in()
        else:
            # One that has subscribed is answered so (redis.io, "Redis Pub/Sub").
            super()._obey("PONG" if reply == [b"pong", b""] else reply)
