"""A client of Redis and of what speaks as Redis does: channels to publish on and to hear.

What it implements: two connections, one that subscribes and one that publishes, by TCP,
TLS or a Unix socket; that they are gone, and coming back. What it leaves out: what is said on
them, which is `redis_connection`'s; all that Redis stores; clusters and sentinels of Redis.

In one line::

    redis = Redis("redis://127.0.0.1", on_message, on_state); redis.subscribe("a"); redis.start()

Redis forgets a message as soon as it has told it, so nothing is kept for a Redis that is
away: what is published then is lost, and counted. A connection may also be gone without a
word of it, which is why both are asked now and then whether they are there::

    DOWN --(connected, let in, subscribed)--> UP
    UP   --(closed, silent, nonsense)-------> DOWN, and again after 1 s, 2 s, ... 60 s
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from . import resp
from .dial import why as why_not
from .errors import show
from .redis_connection import Connection, Publisher, Subscriber, parse_url

log = logging.getLogger("redbarrel_lite")

# How often to say, while Redis is there, that it does not take what is published; and that it
# comes and goes.
TELL_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for what, in seconds."""

    connect: float = 10.0  # until we are let in, and have subscribed
    ping: float = 10.0  # between two; one that is not answered until the next was the last
    first_wait: float = 1.0  # before the first attempt to come back; twice as long for each other
    longest_wait: float = 60.0
    close: float = 2.0  # for the answers to what was published before the end


USUAL: Final = Pace()


def back_off(failures: int, pace: Pace, chance: float) -> float:
    """How long to wait after so many attempts in vain; ``chance`` is between 0 and 1.

    A half of it is chance, so that not all servers come at once when a Redis is back.
    """
    longest = min(pace.first_wait * 2.0 ** min(failures, 30), pace.longest_wait)
    return longest * (1 + chance) / 2


class Redis:
    """A Redis, whether it is there or not."""

    def __init__(
        self,
        url: str,
        on_message: Callable[[str, bytes], None],
        on_state: Callable[[bool, str], None],
        *,
        tls: ssl.SSLContext | None = None,
        pace: Pace = USUAL,
    ) -> None:
        """``on_message`` gets channel and content, ``on_state`` whether Redis is there.

        The latter comes with a sentence for the log, and again with another when there
        is more to say. Both are called in the loop's thread. Raises ValueError for what
        is no url of a Redis.
        """
        self.place = parse_url(url)
        self.is_up = False
        self.why = ""  # it is not
        self.received = 0
        self.oversize = 0  # messages that were too long to be kept
        self.unpublished = 0  # messages that were lost, or may have been
        self._published = 0
        self._on_message = on_message
        self._on_state = on_state
        self._pace = pace
        self._tls = (tls or ssl.create_default_context()) if self.place.tls else None
        self._channels: dict[str, None] = {}
        self._patterns: dict[str, None] = {}
        self._publisher: Publisher | None = None  # while Redis is there
        self._subscriber: Subscriber | None = None
        self._task: asyncio.Task[None] | None = None
        self._told = ""  # why it is not there
        self._went_untold = 0  # so often since this was told last
        self._quiet_until = 0.0
        self._away_since = 0.0
        self._told_unpublished = 0
        self._tell_after = 0.0
        self._refusal = ""  # of the last message that Redis did not want

    @property
    def published(self) -> int:
        """Messages that Redis has taken."""
        return self._published + (self._publisher.published if self._publisher else 0)

    def subscribe(self, *channels: str, patterns: Iterable[str] = ()) -> None:
        """Hear these channels, and all whose names match a pattern, from now on."""
        patterns = tuple(patterns)
        self._channels.update(dict.fromkeys(channels))
        self._patterns.update(dict.fromkeys(patterns))
        if self._subscriber is not None:
            self._subscriber.subscribe(channels, patterns)

    def publish(self, channel: str, data: bytes) -> None:
        """Publish a message; it is lost, and counted, if Redis does not take it."""
        if self._publisher is None or not self._publisher.publish(channel, data):
            self.unpublished += 1

    def start(self) -> None:
        """Begin; in the loop, which goes on whether Redis is there or not."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Go, when what was published has been answered, or has had its time."""
        if self._task is None:
            return
        if self._publisher is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.close):
                    await self._publisher.drain()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if lost := self._and_lost():  # since that was told last
            self._on_state(False, f"Redis at {self.place.where} is left{lost}")  # noqa: FBT003

    # -- there and away ----------------------------------------------------------------

    async def _run(self) -> None:
        self._away_since = asyncio.get_running_loop().time()
        failures = 0
        while True:
            is_answer = False
            try:
                why = await self._visit()
                is_answer = True
            except TimeoutError:
                why = f"no answer within {self._pace.connect:g} s"
            except OSError as error:
                why = show(why_not(error), 120)[1:-1]
            except Exception as error:  # a fault of ours, which must not end it
                log.exception("to connect to Redis has failed")
                why = show(str(error), 120)[1:-1]
            finally:
                was_up = self._leave()
            failures = 0 if was_up else failures
            if was_up:
                self._tell_gone(why)
            else:
                self._tell_down(why, is_news=is_answer)
            await asyncio.sleep(back_off(failures, self._pace, random.random()))  # noqa: S311
            failures += 1

    async def _visit(self) -> str:
        """Come in, and stay; return why that ended. Raises OSError if there is nobody."""
        publisher = Publisher(self.place, self._note_refusal)
        subscriber = Subscriber(self.place, self._channels, self._patterns, self._hear)
        both = subscriber, publisher
        self._subscriber = subscriber
        try:
            async with asyncio.timeout(self._pace.connect):
                for one in both:
                    await self._open(one)
                    await one.settled
                    if one.over.done():
                        return one.over.result()
            over = [one.over for one in both]
            if not subscriber.over.done():
                self._publisher = publisher
                self._tell_up()
            while True:
                done, _ = await asyncio.wait(
                    over, timeout=self._pace.ping, return_when=asyncio.FIRST_COMPLETED
                )
                if done:
                    return done.pop().result()
                self._beat()
        finally:
            for one in both:
                one.end("we have closed it")

    def _beat(self) -> None:
        """Ask both whether they are there, and tell what they did not take."""
        for one in (self._subscriber, self._publisher):
            if one is not None:
                one.ping()
        self._tell_unpublished()

    async def _open(self, connection: Connection) -> None:
        loop, place = asyncio.get_running_loop(), self.place
        if place.path:
            await loop.create_unix_connection(lambda: connection, place.path)
        else:
            await loop.create_connection(lambda: connection, place.host, place.port, ssl=self._tls)

    def _leave(self) -> bool:
        """Nobody is there any more; say whether somebody was."""
        was_up, self.is_up = self.is_up, False
        publisher, self._publisher, self._subscriber = self._publisher, None, None
        if publisher is not None:
            self._published += publisher.published
            self.unpublished += publisher.unanswered
        if was_up:
            self._away_since = asyncio.get_running_loop().time()
        return was_up

    def _hear(self, message: resp.Message) -> None:
        if isinstance(message.payload, resp.Oversize):
            self.oversize += 1
            return
        self.received += 1
        try:
            self._on_message(message.channel.decode(errors="surrogateescape"), message.payload)
        except Exception:  # a fault of ours, which must not cut us off
            log.exception("a message from Redis was not understood")

    def _note_refusal(self, words: str) -> None:
        self.unpublished += 1
        self._refusal = words

    # -- what is told --------------------------------------------------------------------

    def _tell_up(self) -> None:
        now = asyncio.get_running_loop().time()
        there = f"back after {now - self._away_since:.0f} s" if self._told else "there"
        is_told = bool(self._told) or not self._went_untold
        self.is_up, self.why, self._told = True, "", ""
        self._tell_after = now
        if is_told:
            self._on_state(True, f"Redis at {self.place.where} is {there}{self._and_lost()}")  # noqa: FBT003

    def _tell_gone(self, why: str) -> None:
        """It was there: that is news, but not if it comes and goes all the time."""
        now = asyncio.get_running_loop().time()
        self.why = why
        if now < self._quiet_until:
            self._went_untold += 1
            return
        more = f"; {self._went_untold + 1} times since this was told" if self._went_untold else ""
        self._went_untold = 0
        self._quiet_until = now + TELL_EVERY_S
        self._tell_down(why, is_news=True, more=more)

    def _tell_down(self, why: str, *, is_news: bool, more: str = "") -> None:
        self.why = why
        # That nobody is there yet is no news, but that Redis wants another password is.
        if why != self._told and (is_news or not self._told):
            self._told = why
            self._on_state(False, f"Redis at {self.place.where} is away: {why}{more}")  # noqa: FBT003

    def _tell_unpublished(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.unpublished > self._told_unpublished and now >= self._tell_after:
            self._tell_after = now + TELL_EVERY_S
            why = self._refusal or "too much was waiting for it"
            lost = self._and_lost()
            self._on_state(True, f"Redis at {self.place.where} is there{lost}: {why}")  # noqa: FBT003
            self._refusal = ""

    def _and_lost(self) -> str:
        """What a sentence ends with when messages were lost."""
        lost = self.unpublished - self._told_unpublished
        self._told_unpublished = self.unpublished
        if not lost:
            return ""
        return f"; {lost} message{' was' if lost == 1 else 's were'} not published"
