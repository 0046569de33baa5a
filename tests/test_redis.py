"""The client of Redis, over real sockets: a server that answers as a test wants it to.

What a real Redis does is in tests/interop/test_redis_interop.py; here is what it can't be made
to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from wire import CERTIFICATE, run, serving_tls, until

from redbarrel_lite import redis_connection, resp
from redbarrel_lite.redis import USUAL, Pace, Redis, back_off
from redbarrel_lite.redis_connection import parse_url

# Pings are for the tests that want them.
HASTY = Pace(connect=5.0, ping=60.0, first_wait=0.01, longest_wait=0.02)


class Stub:
    """A server; ``answers`` has what it says to a command instead of what Redis would."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, ...]] = []
        self.answers: dict[str, bytes] = {}
        self.writers: list[asyncio.StreamWriter] = []
        self.subscribers: list[asyncio.StreamWriter] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        commands = resp.Connection()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for command in commands.receive(data):
                    assert isinstance(command, list)
                    words = [one for one in command if isinstance(one, bytes)]
                    self.heard.append(tuple(one.decode("latin-1") for one in words))
                    writer.write(self._answer(words, writer))
                await self.reads.wait()
        writer.close()

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> bytes:
        name = words[0].decode()
        if name in self.answers:
            return self.answers[name]
        if name in ("SUBSCRIBE", "PSUBSCRIBE"):
            self.subscribers.append(writer)
            return b"".join(array(name.lower().encode(), one, 1) for one in words[1:])
        if name == "PING":
            return array(b"pong", b"") if writer in self.subscribers else b"+PONG\r\n"
        return {"AUTH": b"+OK\r\n", "PUBLISH": b":1\r\n"}[name]

    def say(self, data: bytes) -> None:
        """Something to the newest who has subscribed."""
        self.subscribers[-1].write(data)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    def told(self, command: str) -> list[tuple[str, ...]]:
        return [words[1:] for words in self.heard if words[0] == command]


def array(*values: bytes | int) -> bytes:
    parts = [
        b":%d\r\n" % one if isinstance(one, int) else b"$%d\r\n%b\r\n" % (len(one), one)
        for one in values
    ]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


class Ear:
    """What a client of ours was told."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.states: list[tuple[bool, str]] = []

    def on_message(self, channel: str, data: bytes) -> None:
        self.messages.append((channel, data))

    def on_state(self, is_up: bool, words: str) -> None:
        self.states.append((is_up, words))

    @property
    def last(self) -> str:
        """The newest sentence, without the place, and without the time."""
        return re.sub(r"after \d+ s", "after a while", self.states[-1][1].split(" is ", 1)[1])


@asynccontextmanager
async def stub(tls: ssl.SSLContext | None = None, uds: Path | None = None) -> AsyncIterator[Stub]:
    one = Stub()
    if uds is not None:
        server = await asyncio.start_unix_server(one.serve, uds)
        one.url = f"unix://{uds}"
    else:
        server = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=tls)
        host, port = server.sockets[0].getsockname()
        one.url = f"{'rediss' if tls else 'redis'}://{host}:{port}"
    try:
        yield one
    finally:
        server.close()
        one.reads.set()
        one.cut()
        await asyncio.sleep(0)


@asynccontextmanager
async def client(
    url: str,
    ear: Ear,
    *channels: str,
    patterns: tuple[str, ...] = (),
    pace: Pace = HASTY,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Redis]:
    redis = Redis(url, ear.on_message, ear.on_state, pace=pace, tls=tls)
    redis.subscribe(*channels, patterns=patterns)
    redis.start()
    try:
        yield redis
    finally:
        await redis.close()


# -- coming in -----------------------------------------------------------------------------


def test_client_subscribes_publishes_and_hears() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            async with client(server.url, ear, "a", "b", patterns=("c*",)) as redis:
                await until(lambda: redis.is_up)
                assert ear.states == [(True, f"Redis at {server.url} is there")]
                assert server.told("SUBSCRIBE") == [("a", "b")]
                assert server.told("PSUBSCRIBE") == [("c*",)]
                server.say(
                    array(b"message", b"a", b"\0\r\n") + array(b"pmessage", b"c*", b"cd", b"")
                )
                await until(lambda: len(ear.messages) == 2)
                assert ear.messages == [("a", b"\0\r\n"), ("cd", b"")]
                for number in range(100):
                    redis.publish("a", b"%d" % number)
            assert server.told("PUBLISH") == [("a", str(number)) for number in range(100)]
            assert (redis.published, redis.unpublished, redis.received) == (100, 0, 2)
            assert {words[0] for words in server.heard} == {
                *("PING", "SUBSCRIBE", "PSUBSCRIBE", "PUBLISH")
            }
            assert len(ear.states) == 1

    run(test())


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (":s%40cret", ("s@cret",)),
        ("ann:p%2Fw", ("ann", "p/w")),
    ],
)
def test_client_says_who_it_is_first(credentials: str, words: tuple[str, ...]) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            url = server.url.replace("//", f"//{credentials}@") + "/3"
            async with client(url, ear, "a") as redis:
                await until(lambda: redis.is_up)
            assert server.told("AUTH") == [words, words]
            assert server.heard[0] == ("AUTH", *words)
            assert ear.states == [(True, f"Redis at {server.url} is there")]
            assert "cret" not in repr(redis.place)

    run(test())


def test_client_comes_by_unix_socket(tmp_path: Path) -> None:
    async def test() -> None:
        ear = Ear()
        async with (
            stub(uds=tmp_path / "s") as server,
            client(f"{server.url}?db=0&password=x", ear) as redis,
        ):
            await until(lambda: redis.is_up)
            assert server.told("AUTH") == [("x",), ("x",)]
            assert ear.states == [(True, f"Redis at {server.url} is there")]

    run(test())


def test_client_comes_by_tls() -> None:
    async def test() -> None:
        ear = Ear()
        tls = ssl.create_default_context(cafile=CERTIFICATE)
        async with stub(serving_tls()) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            async with client(url, ear, "a", tls=tls) as redis:
                await until(lambda: redis.is_up)
                redis.publish("a", b"x")
            assert redis.published == 1

    run(test())


def test_client_trusts_no_stranger() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub(serving_tls()) as server, client(server.url, ear) as redis:
            await until(lambda: bool(ear.states))
            assert "certificate is not trusted" in redis.why
            assert not server.heard

    run(test())


def test_more_may_be_subscribed_to_at_any_time() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            redis.subscribe("early")
            await until(lambda: redis._subscriber is not None)
            redis.subscribe("soon")  # nobody has let us in yet
            await until(lambda: redis.is_up)
            redis.subscribe("late", patterns=["l*"])
            await until(lambda: bool(server.told("PSUBSCRIBE")))
            assert server.told("SUBSCRIBE") == [("early", "soon"), ("late",)]
            server.cut()
            await until(lambda: len(server.told("SUBSCRIBE")) == 3)
            assert server.told("SUBSCRIBE")[2] == ("early", "soon", "late")

    run(test())


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("PING", "NOAUTH Authentication required."),
        ("AUTH", "WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH", "ERR AUTH <password> called without any password configured"),
        ("PING", "LOADING Redis is loading the dataset in memory"),
        ("PING", "MASTERDOWN Link with MASTER is down"),
        ("SUBSCRIBE", "NOPERM this user has no permissions to access one of the channels"),
        ("PING", "DENIED Redis is running in protected mode"),
        ("PING", "MOVED 3999 127.0.0.1:6381"),
    ],
)
def test_refusal_is_told_once_and_tried_again(command: str, words: str) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers[command] = f"-{words}\r\n".encode()
            url = server.url.replace("//", "//:secret@")
            async with client(url, ear, "a") as redis:
                await until(lambda: len(server.told(command)) == 3)
                assert ear.states == [(False, f"Redis at {server.url} is away: {words}")]
                assert redis.why == words
                redis.publish("a", b"lost")
                del server.answers[command]
                await until(lambda: redis.is_up)
                assert redis.why == ""
                assert ear.last == "back after a while; 1 message was not published"

    run(test())


def test_who_is_refused_comes_with_no_second_connection() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["PING"] = b"-ERR max number of clients reached\r\n"
            async with client(server.url, ear, pace=Pace(first_wait=60.0)):
                await until(lambda: bool(ear.states))
                assert server.heard == [("PING",)]

    run(test())


def test_another_refusal_is_told_and_nobody_there_is_not_told_again() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            server.answers["PING"] = b"-LOADING wait\r\n"
            server.cut()
            await until(lambda: redis.why == "LOADING wait")
            server.answers["PING"] = b"-NOAUTH who\r\n"
            await until(lambda: redis.why == "NOAUTH who")
        async with client(server.url, ear) as redis:
            attempts = redis.why
            await until(lambda: redis.why != attempts)
            told = len(ear.states)
            for _ in range(3):
                redis.why = ""
                await until(lambda: redis.why != "")
            assert len(ear.states) == told
        told_words = [words.split(" is ", 1)[1] for _, words in ear.states]
        assert told_words[0] == "there"
        assert told_words[1].startswith("away: ")
        assert told_words[2:4] == ["away: LOADING wait", "away: NOAUTH who"]
        assert "Connection refused" in told_words[4]

    run(test())


@pytest.mark.parametrize(
    "words",
    [
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions to run the 'publish' command",
        "READONLY You can't write against a read only replica.",
        "MISCONF Redis is configured to save RDB snapshots",
    ],
)
def test_message_that_is_refused_is_counted_and_told(words: str) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["PUBLISH"] = f"-{words}\r\n".encode()
            async with client(server.url, ear) as redis:
                await until(lambda: redis.is_up)
                redis.publish("a", b"x")
                redis.publish("a", b"y")
                await until(lambda: redis.unpublished == 2)
                assert len(ear.states) == 1
                redis._beat()
                assert redis.is_up
                assert ear.last == f"there; 2 messages were not published: {words}"
                redis.publish("a", b"z")
                await until(lambda: redis.unpublished == 3)
                redis._beat()
                assert len(ear.states) == 2  # it is not told each time

    run(test())


def test_each_loss_is_told_with_its_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("redbarrel_lite.redis.TELL_EVERY_S", 0.0)

    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            server.answers["PUBLISH"] = b"-OOM no\r\n"
            redis.publish("a", b"x")
            await until(lambda: redis.unpublished == 1)
            redis._tell_unpublished()
            monkeypatch.setattr(redis_connection, "MAX_UNANSWERED", 0)
            redis.publish("a", b"y")
            redis._tell_unpublished()
            redis._tell_unpublished()
        there = f"Redis at {server.url} is there"
        assert ear.states == [
            (True, there),
            (True, f"{there}; 1 message was not published: OOM no"),
            (True, f"{there}; 1 message was not published: too much was waiting for it"),
        ]

    run(test())


# -- nonsense ------------------------------------------------------------------------------

NO_REDIS = "what answers is no Redis: "
MOST = f"{resp.MAX_BULK_BYTES} bytes"


@pytest.mark.parametrize(
    ("command", "answer", "why"),
    [
        ("PING", b"HTTP/1.1 400 No\r\n\r\n", f"{NO_REDIS}no reply starts with 'H' (RESP 2)"),
        ("PING", b"+OK\r\n", "a strange answer to PING: 'OK'"),
        ("PING", b"+PONG\r\n:1\r\n", "a strange answer to nothing: '1'"),
        ("PING", b"$-5\r\n", f"{NO_REDIS}'-5' is no length (RESP 2)"),
        ("PING", b"$9999999999\r\n", f"{NO_REDIS}a length of 9999999999, which is over {MOST}"),
        ("AUTH", b":1\r\n", "a strange answer to AUTH: '1'"),
        ("SUBSCRIBE", b"*1\r\n*1\r\n:1\r\n", "a strange answer to nothing: an array"),
        ("SUBSCRIBE", b"$1\r\nx\r\n", "a strange answer to nothing: a bulk string"),
        ("SUBSCRIBE", b"*2\r\n" * 9, f"{NO_REDIS}arrays nested over 8 deep"),
    ],
)
def test_nonsense_ends_the_visit(command: str, answer: bytes, why: str) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers[command] = answer
            url = server.url.replace("//", "//:secret@")
            async with client(url, ear, "a") as redis:
                await until(lambda: redis.why == why)
                del server.answers[command]
                await until(lambda: redis.is_up)

    run(test())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$7\r\ns\xc3\xa9cret\r\n", "an array"),
        (b"$7\r\ns\xc3\xa9cret\r\n", "a bulk string"),
        (b"-ERR what is 's\xc3\xa9cret'?\r\n", "ERR what is '***'?"),
        (
            b"-ERR unknown command 'AUTH', with args beginning with: 'ann' 's\xc3\xa9cret' \r\n",
            "ERR unknown command 'AUTH'",
        ),
    ],
)
def test_password_that_is_told_back_is_not_told_to_the_log(answer: bytes, why: str) -> None:
    """By a port that echoes, or a Redis whose AUTH has another name."""

    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["AUTH"] = answer
            async with client(server.url.replace("//", "//ann:s%C3%A9cret@"), ear) as redis:
                await until(lambda: bool(ear.states))
                assert redis.why.removeprefix("a strange answer to AUTH: ") == why

    run(test())


def test_server_that_goes_within_the_handshake_is_told_of() -> None:
    async def test() -> None:
        ear = Ear()

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            writer.close()

        server = await asyncio.start_server(leave, "127.0.0.1", 0)
        async with client(f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}", ear):
            await until(lambda: bool(ear.states))
            assert ear.last == "away: the server closed the connection"
        server.close()

    run(test())


@pytest.mark.parametrize("first", ["", "+PONG\r\n"])
def test_server_that_goes_without_a_word_may_want_tls(first: str) -> None:
    async def test() -> None:
        ear = Ear()

        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(first.encode())
            writer.close()

        server = await asyncio.start_server(leave, "127.0.0.1", 0)
        async with client(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", ear):
            await until(lambda: bool(ear.states))
            has_hint = ear.last.endswith(", and had said nothing: does it want TLS (rediss://)?")
            assert has_hint == (not first)
        server.close()

    run(test())


def test_strange_answer_to_a_message_is_no_receipt() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["PUBLISH"] = b"+OK\r\n"
            async with client(server.url, ear) as redis:
                await until(lambda: redis.is_up)
                redis.publish("a", b"x")
                await until(lambda: not redis.is_up)
                assert ear.last == "away: a strange answer to PUBLISH: 'OK'"
                assert redis.published == 0

    run(test())


# -- messages ------------------------------------------------------------------------------


def test_message_that_is_too_long_is_dropped_and_the_next_is_heard() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            server.say(array(b"message", b"a", bytes(resp.MAX_KEPT_BYTES)))
            server.say(array(b"message", b"a", b"next"))
            await until(lambda: bool(ear.messages))
            assert ear.messages == [("a", b"next")]
            assert (redis.oversize, redis.received, len(ear.states)) == (1, 1, 1)

    run(test())


def test_flood_of_messages_leaves_others_their_turn() -> None:
    async def test() -> None:
        ear = Ear()
        turns = [0]
        loop = asyncio.get_running_loop()

        def turn() -> None:
            turns.append(len(ear.messages))
            loop.call_soon(turn)

        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            numbers = [b"%d" % number for number in range(3000)]
            server.say(b"".join(array(b"message", b"a", number) for number in numbers))
            turn()
            await until(lambda: len(ear.messages) == len(numbers))
            assert [data for _, data in ear.messages] == numbers
            most = max(after - before for before, after in itertools.pairwise(turns))
            assert most == redis_connection.MAX_MESSAGES_A_TURN

    run(test())


def test_peer_is_not_pinged_while_we_do_not_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            monkeypatch.setattr(redis_connection, "MAX_MESSAGES_A_TURN", 0)
            server.say(array(b"message", b"a", b"x"))
            await until(lambda: bool(redis._subscriber and redis._subscriber._unheard))
            publisher = redis._publisher
            assert publisher is not None
            for _ in range(3):
                redis._beat()
                await until(lambda: not publisher._is_silent)
            assert redis.is_up
            assert len(server.told("PING")) == 2 + 3
            monkeypatch.undo()
            await until(lambda: bool(ear.messages))

    run(test())


def test_messages_before_the_cut_are_heard() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            server.say(array(b"message", b"a", b"x") * 1000)
            server.subscribers[-1].close()
            await until(lambda: not redis.is_up)
            assert len(ear.messages) == 1000

    run(test())


def test_fault_of_who_hears_cuts_nobody_off(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:

            def stumble(channel: str, data: bytes) -> None:
                raise LookupError(channel, data)

            redis = Redis(server.url, stumble, ear.on_state)
            redis.subscribe("a")
            redis.start()
            await until(lambda: redis.is_up)
            server.say(array(b"message", b"a", b"7") * 2)
            await until(lambda: redis.received == 2)
            assert redis.is_up
            await redis.close()

    run(test())
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in told] == [
        "a message from Redis was not understood"
    ] * 2


# -- going and coming back -----------------------------------------------------------------


def test_nobody_there_is_told_once_and_found_later(tmp_path: Path) -> None:
    async def test() -> None:
        ear = Ear()
        async with client(f"unix://{tmp_path}/s", ear, "a") as redis:
            await until(lambda: bool(ear.states))
            redis.publish("a", b"x")
            redis.publish("a", b"y")
            async with stub(uds=tmp_path / "s"):
                await until(lambda: redis.is_up)
                assert [is_up for is_up, _ in ear.states] == [False, True]
                assert ear.last == "back after a while; 2 messages were not published"

    run(test())


def test_redis_that_comes_and_goes_is_told_of_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may close each connection that is idle for a second."""

    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:

            async def is_cut(times: int) -> None:
                for _ in range(times):
                    redis.publish("a", b"x")
                    server.cut()
                    await until(lambda: not redis.is_up)
                    await until(lambda: redis.is_up)

            await until(lambda: redis.is_up)
            await is_cut(4)
            assert redis.why == ""
            monkeypatch.setattr(redis, "_quiet_until", 0.0)  # a minute later
            await is_cut(2)
        said = [words.split(" is ")[1] for _, words in ear.states]
        there, gone, back, again, back_again, left = said
        assert (there, left) == ("there", "left; 1 message was not published")
        assert gone.startswith("away: ")
        assert re.fullmatch(r"back after \d+ s; 1 message was not published", back)
        assert re.fullmatch(r"away: .*; 4 times since this was told", again)
        assert re.fullmatch(r"back after \d+ s; 4 messages were not published", back_again)

    run(test())


def test_redis_that_went_once_more_and_stays_away_is_told_of() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            for told in (1, 3):
                await until(lambda told=told: redis.is_up and len(ear.states) == told)  # type: ignore[misc]
                server.cut()
                await until(lambda: not redis.is_up)
            server.answers["PING"] = b"-LOADING wait\r\n"
            await until(lambda: len(ear.states) == 4)
            assert ear.last == "away: LOADING wait"
            del server.answers["PING"]
            await until(lambda: redis.is_up)
            assert ear.last == "back after a while"

    run(test())


def test_fault_that_nobody_foresaw_is_told_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        ear = Ear()

        def stumble_at_first(is_up: bool, words: str) -> None:
            ear.on_state(is_up, words)
            if len(ear.states) == 1:
                raise LookupError("stumbled")

        async with stub() as server:
            redis = Redis(server.url, ear.on_message, stumble_at_first, pace=HASTY)
            redis.start()
            await until(lambda: len(ear.states) == 3)
            assert ear.states[1] == (False, f"Redis at {server.url} is away: stumbled")
            assert redis.is_up
            await redis.close()

    run(test())
    (record,) = caplog.records
    assert record.getMessage() == "to connect to Redis has failed"


@pytest.mark.parametrize("part", [b"*3\r\n$7\r\nmess", b"*", b"$100\r\nab"])
def test_cut_within_a_reply_is_noticed(part: bytes) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            server.say(part)
            server.subscribers[-1].close()
            await until(lambda: len(ear.states) == 3)
            assert ear.states[1][1].endswith("is away: the server closed within a reply")
            assert ear.last == "back after a while"
            assert redis.is_up

    run(test())


def test_what_was_not_answered_before_the_cut_is_counted() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            server.answers["PUBLISH"] = b""
            redis.publish("a", b"x")
            await until(lambda: bool(server.told("PUBLISH")))
            server.cut()
            redis.publish("a", b"y")
            await until(lambda: len(ear.states) == 3)
            assert ear.last == "back after a while; 2 messages were not published"
            assert (redis.published, redis.unpublished) == (0, 2)

    run(test())


@pytest.mark.parametrize("silent", ["both", "PING"])
def test_silent_peer_is_given_up(silent: str) -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            if silent == "both":
                server.reads.clear()
            else:
                server.answers["PING"] = b""
            redis._beat()
            assert redis.is_up
            redis._beat()
            await until(lambda: not redis.is_up)
            assert ear.last == "away: no answer to a ping"

    run(test())


def test_silence_is_noticed_by_itself() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a", pace=Pace(ping=0.01)):
            await until(lambda: bool(ear.states))
            server.reads.clear()
            await until(lambda: ear.last == "away: no answer to a ping")

    run(test())


def test_peer_that_answers_pings_is_kept() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear, "a") as redis:
            await until(lambda: redis.is_up)
            both = redis._subscriber, redis._publisher
            for _ in range(5):
                redis._beat()
                await until(lambda: not any(one is None or one._is_silent for one in both))
            assert len(server.told("PING")) == 2 + 10
            assert len(ear.states) == 1

    run(test())


def test_peer_that_never_says_a_word_is_given_up() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["PING"] = b""
            async with client(server.url, ear, pace=Pace(connect=0.05, first_wait=0.01)):
                await until(lambda: len(server.told("PING")) > 1)
                assert ear.last == "away: no answer within 0.05 s"
                assert len(ear.states) == 1

    run(test())


def test_queue_for_a_peer_that_does_not_read_is_bounded() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            server.reads.clear()
            message = bytes(1_000_000)
            redis.publish("a", message)
            while not redis.unpublished:
                await asyncio.sleep(0)  # it is written, and the system takes of it what it can
                redis.publish("a", message)
            assert redis._publisher is not None
            assert redis._publisher._transport is not None
            queued = redis._publisher._transport.get_write_buffer_size()
            assert queued <= redis_connection.MAX_QUEUED_BYTES
            assert queued > redis_connection.MAX_QUEUED_BYTES - len(message)
            server.reads.set()
            await redis._publisher.drain()
            redis.publish("a", b"again")
            await until(lambda: server.told("PUBLISH")[-1] == ("a", "again"))
            assert redis.unpublished == 1

    run(test())


def test_answers_that_are_waited_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(redis_connection, "MAX_UNANSWERED", 3)
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            for _ in range(5):
                redis.publish("a", b"x")
            assert redis.unpublished == 2
            await until(lambda: redis.published == 3)
            assert len(server.told("PUBLISH")) == 3

    run(test())


def test_lost_messages_are_told_while_redis_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(redis_connection, "MAX_UNANSWERED", 0)
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            redis.publish("a", b"x")
            redis._beat()
            assert ear.last == "there; 1 message was not published: too much was waiting for it"

    run(test())


def test_many_messages_of_one_turn_are_one_write() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server, client(server.url, ear) as redis:
            await until(lambda: redis.is_up)
            assert redis._publisher is not None
            assert redis._publisher._transport is not None
            written: list[bytes] = []
            write = redis._publisher._transport.write

            def note(data: bytes) -> None:
                written.append(data)
                write(data)

            redis._publisher._transport.write = note  # type: ignore[method-assign,assignment]
            for _ in range(50):
                redis.publish("a", b"x")
            await asyncio.sleep(0)
            assert written == [resp.encode_command("PUBLISH", "a", b"x") * 50]

    run(test())


def test_end_waits_for_answers_but_not_for_ever() -> None:
    async def test() -> None:
        ear = Ear()
        async with stub() as server:
            server.answers["PUBLISH"] = b""
            async with client(server.url, ear, pace=Pace(close=0.05)) as redis:
                await until(lambda: redis.is_up)
                redis.publish("a", b"x")
            assert (redis.published, redis.unpublished, redis.is_up) == (0, 1, False)
            await redis.close()  # again is no fault
            assert len(ear.states) == 2
            assert ear.states[1] == (
                False,
                f"Redis at {server.url} is left; 1 message was not published",
            )
            await until(lambda: all(writer.transport.is_closing() for writer in server.writers))

    run(test())


def test_end_before_the_beginning_is_none() -> None:
    async def test() -> None:
        redis = Redis("redis://127.0.0.1:1", Ear().on_message, Ear().on_state)
        redis.publish("a", b"x")
        assert redis.unpublished == 1
        await redis.close()

    run(test())


def test_waits_grow_to_a_minute_and_half_of_them_is_chance() -> None:
    assert [back_off(failures, USUAL, 1.0) for failures in (0, 1, 2, 5, 6, 7, 9999)] == [
        *(1.0, 2.0, 4.0, 32.0, 60.0, 60.0, 60.0)
    ]
    assert [back_off(failures, USUAL, 0.0) for failures in (0, 1, 9999)] == [0.5, 1.0, 30.0]


# -- urls ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://", ("redis://localhost:6379", "localhost", 6379, "", False, "", "")),
        ("redis://h:1/0", ("redis://h:1", "h", 1, "", False, "", "")),
        ("valkey://u:p@h", ("valkey://h:6379", "h", 6379, "", False, "u", "p")),
        ("rediss://:p@[::1]:7", ("rediss://[::1]:7", "::1", 7, "", True, "", "p")),
        ("valkeys://h?password=x", ("valkeys://h:6379", "h", 6379, "", True, "", "x")),
        ("unix:///a%20b?db=1", ("unix:///a b", "", 6379, "/a b", False, "", "")),
        ("unix://u:p@/@s", ("unix:///@s", "", 6379, "/@s", False, "u", "p")),
        ("redis://:%FF%00%40@h", ("redis://h:6379", "h", 6379, "", False, "", "\udcff\0@")),
        ("unix://u:p@/s", ("unix:///s", "", 6379, "/s", False, "u", "p")),
        ("unix:///s?username=u&password=p", ("unix:///s", "", 6379, "/s", False, "u", "p")),
    ],
)
def test_url_names_a_place(url: str, place: tuple[Any, ...]) -> None:
    found = parse_url(url)
    got = found.where, found.host, found.port, found.path, found.tls, found.user, found.password
    assert got == place


AS_HERE = "write redis://127.0.0.1:6379"
IN_A_PASSWORD = "; in a password, write / as %2F, # as %23, ? as %3F"
WITH_PASSWORD = "write redis://USER:PASSWORD@HOST, or :PASSWORD@HOST"
NO_URL = "is no url of a Redis: write redis://127.0.0.1:6379, rediss:// or unix://"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", f"'' {NO_URL}"),
        ("nonsense", f"'nonsense' {NO_URL}"),
        ("localhost:6379", f"'localhost:6379' {NO_URL}"),
        ("http://:secret@h", f"'http://...' {NO_URL}"),
        ("http://h?password=secret", f"'http://...' {NO_URL}"),
        ("redis+sentinel://h", f"'redis+sentinel://h' {NO_URL}"),
        (
            "redis://:secret@h:99999",
            f"its port is no number up to 65535: {AS_HERE}{IN_A_PASSWORD}",
        ),
        ("redis://:secret@h:x", f"its port is no number up to 65535: {AS_HERE}{IN_A_PASSWORD}"),
        ("redis://:se/cret@h", f"its port is no number up to 65535: {AS_HERE}{IN_A_PASSWORD}"),
        ("redis://:12/sec#ret@h", f"its host comes behind a /, # or ?: {AS_HERE}{IN_A_PASSWORD}"),
        ("redis://:12?secret@h", f"its host comes behind a /, # or ?: {AS_HERE}{IN_A_PASSWORD}"),
        ("redis://:12#secret@h", f"its host comes behind a /, # or ?: {AS_HERE}{IN_A_PASSWORD}"),
        ("redis://:secret", "its port is no number up to 65535: write redis://127.0.0.1:6379"),
        ("redis://:secret@[::1", f"its host is none: {AS_HERE}{IN_A_PASSWORD}"),
        (f"redis://{'h' * 64}", "its host is none: write redis://127.0.0.1:6379"),
        ("redis://secret@h", f"a password is missing: {WITH_PASSWORD}"),
        ("unix:///a%00b", "unix: write unix:///run/redis/redis.sock"),
        ("unix://", "unix: write unix:///run/redis/redis.sock"),
        ("unix://run/redis.sock", "unix: write unix:///run/redis/redis.sock"),
    ],
)
def test_url_that_is_none_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        parse_url(url)
    assert str(caught.value) == told
    assert "secret" not in told


def test_unix_sockets_need_a_system_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.AF_UNIX")
    with pytest.raises(ValueError, match="there are no Unix sockets here"):
        parse_url("unix:///s")
