"""The client of Redis with a real one: passwords, users, TLS, and a Redis that goes away."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import ROOT
from fronts import free_port
from redis_server import RedisServer
from test_redis import Ear, client
from wire import run, until

from redbarrel_lite.cluster import Cluster
from redbarrel_lite.emitter import Emitter
from redbarrel_lite.redis import Pace

pytestmark = pytest.mark.interop

CERT, KEY = (ROOT / "tests" / "tls" / name for name in ("cert.pem", "key.pem"))
PAGE = (ROOT / "docs" / "redis.md").read_text("utf-8")
# What a user of ours must be let to do, and what emitters take beside.
USER, EMITTERS = re.findall(
    r"^(?:ACL SETUSER .*PASSWORD |and, to hear emitters, `)([^`\n]*)", PAGE, re.M
)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        user = ["on", ">secret", *USER.replace("&socketio", "&news").split()]
        ask(server, "ACL", "SETUSER", "ann", *user)
        ask(server, "ACL", "SETUSER", "ben", *user, *EMITTERS.split())
        yield server


def ask(server: RedisServer, *words: str) -> str:
    command = ["redis-cli", "-s", server.url.removeprefix("unix://"), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_messages_come_as_they_were_published(redis: RedisServer) -> None:
    async def test() -> None:
        ear, other = Ear(), Ear()
        async with (
            client(redis.url, ear, "news", patterns=("n[a-z]*#/*",)) as one,
            client(redis.url, other, "news") as two,
        ):
            await until(lambda: one.is_up and two.is_up)
            messages = [b"%d" % number for number in range(500)]
            messages += [b"", b"\r\n\0\xff", bytes(1_000_000)]
            for message in messages:
                two.publish("news", message)
            two.publish("names#/é#", b"by a pattern")
            two.publish("elsewhere", b"nobody hears it")
            await until(lambda: len(ear.messages) == len(messages) + 1)
            assert ear.messages == [
                *(("news", message) for message in messages),
                ("names#/é#", b"by a pattern"),
            ]
            await until(lambda: two.published == len(messages) + 2)
            await until(lambda: len(other.messages) == len(messages))

    run(test())


def test_burst_of_one_turn_is_published_whole(redis: RedisServer) -> None:
    async def test() -> None:
        ear = Ear()
        async with client(redis.url, ear) as one:
            await until(lambda: one.is_up)
            for number in range(20_000):
                one.publish(f"room {number}", b"x")
            await until(lambda: one.published == 20_000)
            assert one.unpublished == 0

    run(test())


def test_user_of_the_page_may_do_all_that_is_needed(redis: RedisServer) -> None:
    async def test() -> None:
        ear = Ear()
        url = redis.url.replace("unix://", "unix://ann:secret@")
        async with client(url, ear, "news") as one:
            await until(lambda: one.is_up)
            one.publish("news", b"x")
            await until(lambda: ear.messages == [("news", b"x")])
            one.publish("other", b"y")
            await until(lambda: one.unpublished == 1)
            one._beat()
            assert ear.last.startswith("there; 1 message was not published: NOPERM ")

    run(test())


def test_user_of_the_page_may_hear_emitters(redis: RedisServer) -> None:
    async def test() -> None:
        ear, stranger = Ear(), Ear()
        patterns = Emitter(Cluster()).patterns
        url = redis.url.replace("unix://", "unix://{}:secret@")
        async with (
            client(url.format("ben"), ear, "news", patterns=patterns) as one,
            client(url.format("ann"), stranger, "news", patterns=patterns),
        ):
            await until(lambda: one.is_up and bool(stranger.states))
            assert stranger.last.startswith("away: NOPERM ")
            ask(redis, "PUBLISH", "socket.io-request#/#", "{}")
            await until(lambda: ear.messages == [("socket.io-request#/#", b"{}")])

    run(test())


@pytest.mark.parametrize(
    ("credentials", "channel", "prefix"),
    [
        ("ann:wrong@", "news", "WRONGPASS "),
        ("nobody:secret@", "news", "WRONGPASS "),
        (":secret@", "news", "ERR AUTH <password> called without any password configured"),
        ("ann:secret@", "other", "NOPERM "),
    ],
)
def test_who_is_refused_hears_why(
    redis: RedisServer, credentials: str, channel: str, prefix: str
) -> None:
    async def test() -> None:
        ear = Ear()
        url = redis.url.replace("unix://", f"unix://{credentials}")
        async with client(url, ear, channel):
            await until(lambda: bool(ear.states))
            assert ear.last.startswith(f"away: {prefix}")
            assert "secret" not in ear.last

    run(test())


def test_password_may_have_any_characters(redis: RedisServer) -> None:
    password = "p@:/?#%+&[] \"'\\\u00e9\n"

    async def test() -> None:
        ear = Ear()
        ask(redis, "ACL", "SETUSER", "eve", "on", f">{password}", "allchannels", "+@all")
        url = redis.url.replace("unix://", f"unix://eve:{quote(password, safe='')}@")
        async with client(url, ear, "news") as one:
            await until(lambda: bool(ear.states))
            assert one.is_up, ear.states

    run(test())


def test_password_is_asked_for_and_taken_and_changed(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear, stranger = Ear(), Ear()
        url = server.url.replace("unix://", "unix://:first@")
        async with client(url, ear, "news") as one, client(server.url, stranger, "news"):
            await until(lambda: one.is_up and bool(stranger.states))
            assert stranger.last.startswith("away: NOAUTH ")
            password = ["-a", "first", "--no-auth-warning"]
            ask(server, *password, "CONFIG", "SET", "requirepass", "second")
            ask(server, "-a", "second", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: one.why.startswith("WRONGPASS "))

    with RedisServer(tmp_path, "--requirepass", "first") as server:
        run(test(server))


def test_redis_that_is_ended_and_begun_again_is_found(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url, ear, "news") as one:
            await until(lambda: one.is_up)
            server.stop()
            one.publish("news", b"lost")
            await until(lambda: not one.is_up)
            one.publish("news", b"lost")
            server.start()
            await until(lambda: one.is_up)
            assert [is_up for is_up, _ in ear.states] == [True, False, True]
            assert ear.last.endswith("; 2 messages were not published")
            one.publish("news", b"back")
            await until(lambda: ear.messages == [("news", b"back")])

    with RedisServer(tmp_path) as server:
        run(test(server))


def test_connection_that_an_operator_ends_comes_back(redis: RedisServer) -> None:
    async def test() -> None:
        ear = Ear()
        async with client(redis.url, ear, "news") as one:
            for kind in ("pubsub", "normal"):
                await until(lambda: one.is_up)
                visit = one._publisher
                ask(redis, "CLIENT", "KILL", "TYPE", kind)
                await until(lambda visit=visit: one._publisher is not visit)  # type: ignore[misc]
            await until(lambda: one.is_up)
            one.publish("news", b"x")
            await until(lambda: ear.messages == [("news", b"x")])
            assert len(ear.states) == 3  # and of the second time nobody is told

    run(test())


def test_who_hears_too_slowly_is_ended_by_redis_and_comes_back(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url, ear, "news") as one:
            await until(lambda: one.is_up)
            one.publish("news", bytes(1_000_000))
            await until(lambda: len(ear.states) == 3)
            assert ear.last == "back after a while"
            one.publish("news", b"x")
            await until(lambda: ear.messages == [("news", b"x")])

    with RedisServer(tmp_path, "--client-output-buffer-limit", "pubsub 100000 0 0") as server:
        run(test(server))


def test_redis_that_loads_is_waited_for(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url, ear, "news") as one:
            loading = (
                f"Redis at {server.url} is away: LOADING Redis is loading the dataset in memory"
            )
            while (False, loading) not in ear.states:  # a slow machine may come when it has loaded
                server.stop()
                await asyncio.to_thread(server.start)  # until it has loaded
            await until(lambda: one.is_up)

    slow = ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"]
    with RedisServer(tmp_path, "--enable-debug-command", "yes", *slow) as server:
        ask(server, "DEBUG", "POPULATE", "200")
        ask(server, "SAVE")
        server.stop()
        run(test(server))


def test_replica_that_lost_its_primary_is_waited_for(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url, ear, "news") as one:
            await until(lambda: bool(ear.states))
            assert ear.last.startswith("away: MASTERDOWN ")
            ask(server, "REPLICAOF", "NO", "ONE")
            await until(lambda: one.is_up)

    alone = ["--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no"]
    with RedisServer(tmp_path, *alone) as server:
        run(test(server))


def test_redis_that_is_full_passes_messages_on(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url, ear, "news") as one:
            await until(lambda: one.is_up)
            assert ask(server, "SET", "a", "b").startswith("OOM ")
            one.publish("news", b"x")
            await until(lambda: ear.messages == [("news", b"x")])

    with RedisServer(tmp_path, "--maxmemory", "1", "--maxmemory-policy", "noeviction") as server:
        run(test(server))


def test_password_that_redis_tells_back_is_not_told_to_the_log(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        async with client(server.url.replace("unix://", "unix://ann:secret@"), ear):
            await until(lambda: bool(ear.states))
            assert ear.last == "away: ERR unknown command 'AUTH'"

    with RedisServer(tmp_path, "--rename-command", "AUTH", "") as server:
        assert "secret" in ask(server, "AUTH", "ann", "secret")
        run(test(server))


def test_redis_that_stands_still_is_given_up_and_waited_for(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        ear = Ear()
        pace = Pace(connect=0.2, ping=0.1, first_wait=0.01, longest_wait=0.02)
        async with client(server.url, ear, "news", pace=pace) as one:
            await until(lambda: one.is_up)
            server.signal(signal.SIGSTOP)
            await until(lambda: one.why == "no answer within 0.2 s")
            server.signal(signal.SIGCONT)
            await until(lambda: one.is_up)
        assert any(words.endswith("is away: no answer to a ping") for _, words in ear.states)

    with RedisServer(tmp_path) as server:
        run(test(server))


def test_redis_behind_tls_is_trusted_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(url: str) -> None:
        trusting, wary, plain = Ear(), Ear(), Ear()
        monkeypatch.setenv("SSL_CERT_FILE", str(CERT))
        async with client(url, trusting, "news") as one:
            monkeypatch.undo()
            async with client(url, wary), client(url.replace("rediss", "redis"), plain):
                await until(lambda: one.is_up and bool(wary.states) and bool(plain.states))
            one.publish("news", b"x")
            await until(lambda: trusting.messages == [("news", b"x")])
            assert "certificate is not trusted" in wary.last
            assert plain.last.endswith("does it want TLS (rediss://)?")

    port = str(free_port())
    options = ["--bind", "127.0.0.1", "--tls-port", port, "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(CERT), "--tls-key-file", str(KEY)]
    with RedisServer(tmp_path, *options):
        run(test(f"rediss://localhost:{port}"))
