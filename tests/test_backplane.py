"""Servers that meet on a channel of Redis, which is played by a server that passes on."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from conftest import ROOT
from test_redis import Stub, array
from test_sockets import Peer, World
from wire import run, until

from redbarrel_lite import backplane, cli
from redbarrel_lite.backplane import CHANNEL, Backplane, channel_of
from redbarrel_lite.cluster import Cluster


class Passing(Stub):
    """It tells all who have subscribed what is published, as Redis does."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribed: list[tuple[bytes, asyncio.StreamWriter]] = []

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> bytes:
        if words[0] == b"PUBLISH":
            self.tell_all(*words[1:])
        elif words[0] == b"SUBSCRIBE":
            self.subscribed += [(channel, writer) for channel in words[1:]]
        return super()._answer(words, writer)

    def tell_all(self, channel: bytes, data: bytes) -> None:
        for subscribed, writer in self.subscribed:
            if subscribed == channel:
                writer.write(array(b"message", channel, data))

    def cut(self) -> None:
        super().cut()
        self.subscribed.clear()


@asynccontextmanager
async def passing() -> AsyncIterator[Passing]:
    one = Passing()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    one.url = f"redis://{host}:{port}"
    try:
        yield one
    finally:
        server.close()
        one.cut()
        await asyncio.sleep(0)


class Server:
    """A world that is one of several by way of Redis."""

    def __init__(self, url: str, channel: str = "", emitter_key: str = "") -> None:
        self.world = World()
        self.cluster = Cluster()
        self.cluster.join({"app.rbr": self.world.hub})
        self.link = Backplane(self.cluster, url, channel, emitter_key)

    async def __aenter__(self) -> Server:
        await self.link.__aenter__()
        return self

    async def __aexit__(self, *fault: object) -> None:
        await self.link.__aexit__(*fault)

    def client(self) -> Peer:
        peer = self.world.connect()
        peer.hears()
        return peer


def test_broadcast_is_heard_at_all_servers_once() -> None:
    async def meet() -> None:
        async with passing() as redis, Server(redis.url) as one, Server(redis.url) as two:
            here, there = one.client(), two.client()
            for word in ("x", "\u65e5", b"\x00"):
                one.world.hub.broadcast(word)
            await until(lambda: len(there.connection.said) == 4)
            two.world.hub.broadcast("back")
            await until(lambda: len(here.connection.said) == 5)
            assert here.hears() == there.hears()
            assert one.cluster.dropped == two.cluster.dropped == 0
            published = [json.loads(data.encode("latin-1")) for _, data in redis.told("PUBLISH")]
            hosts = [message["host_id"] for message in published]
            assert hosts == [one.cluster.host_id] * 3 + [two.cluster.host_id]
        assert one.cluster.links == []

    run(meet())


def test_answer_comes_back_to_who_has_asked() -> None:
    """Though it bears the name of who has asked, as what it says itself does."""

    async def meet() -> None:
        async with passing() as redis, Server(redis.url) as one, Server(redis.url) as two:
            there = two.client()
            question = asyncio.create_task(one.world.hub.call("q", to=there.sid))
            await until(lambda: bool(there.connection.said))
            there.say('30["yes"]')
            assert await question == ["yes"]

    run(meet())


def test_channels_are_apart() -> None:
    async def meet() -> None:
        async with passing() as redis:
            url = redis.url + "/0?channel=blue"
            async with Server(redis.url) as one, Server(url) as two, Server(url, "red") as three:
                peers = [server.client() for server in (one, two, three)]
                for channel in (b"red", b"other", b"blue", CHANNEL.encode()):
                    event = {"method": "emit", "event": channel.decode(), "data": []}
                    redis.tell_all(channel, json.dumps(event).encode())
                await until(lambda: all(peer.connection.said for peer in peers))
                assert [peer.hears() for peer in peers] == [
                    ['2["socketio"]'],
                    ['2["blue"]'],
                    ['2["red"]'],
                ]

    run(meet())
    assert channel_of("redis://h/0?password=x&channel=a%20b") == "a b"
    assert channel_of("unix:///run/redis.sock") == "socketio"


def test_emitters_are_heard_where_that_is_asked_for() -> None:
    emits = json.loads((ROOT / "tests/vectors/emitter.json").read_text("utf-8"))["emits"]
    row = next(row for row in emits if row["js"] == "io.emit('evt',{a:1})")

    async def meet() -> None:
        async with (
            passing() as redis,
            Server(redis.url) as deaf,
            Server(redis.url, emitter_key="socket.io") as one,
        ):
            here, there = one.client(), deaf.client()
            assert redis.told("PSUBSCRIBE") == [("socket.io#/*", "socket.io-request#/*")]
            pattern, channel = b"socket.io#/*", row["channel"].encode()
            redis.say(array(b"pmessage", pattern, channel, bytes.fromhex(row["hex"])))
            redis.say(array(b"pmessage", pattern, channel, b"nonsense"))
            redis.tell_all(CHANNEL.encode(), b'{"method":"emit","event":"e"}')
            await until(lambda: len(here.connection.said) == 2)
            assert here.hears() == ['2["evt",{"a":1}]', '2["e"]']
            assert one.cluster.dropped == 1
            await until(lambda: bool(there.connection.said))
            assert there.hears() == ['2["e"]']
            assert redis.told("PUBLISH") == []

    run(meet())


def test_nonsense_on_the_channel_is_dropped_and_the_next_is_heard() -> None:
    async def meet() -> None:
        async with passing() as redis, Server(redis.url) as one:
            peer = one.client()
            for data in (b"", b"\x80\x04N.", b"{", b'{"method":"emit","event":"e"}'):
                redis.tell_all(CHANNEL.encode(), data)
            await until(lambda: bool(peer.connection.said))
            assert peer.hears() == ['2["e"]']
            assert one.cluster.dropped == 3

    run(meet())


def test_server_goes_on_without_redis_and_is_there_when_that_is_back(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "redbarrel_lite")
    monkeypatch.setattr("redbarrel_lite.redis.back_off", lambda *_: 0.01)

    async def meet() -> None:
        async with passing() as redis, Server(redis.url) as one, Server(redis.url) as two:
            here, there = one.client(), two.client()
            redis.cut()
            await until(lambda: not one.link.redis.is_up and not two.link.redis.is_up)
            one.world.hub.broadcast("lost to the others")
            assert here.hears() == ['2["message","lost to the others"]']
            await until(lambda: one.link.redis.is_up and two.link.redis.is_up)
            one.world.hub.broadcast("heard again")
            await until(lambda: bool(there.connection.said))
            assert there.hears() == ['2["message","heard again"]']

    run(meet())
    told = [record.getMessage().partition(" is ")[2] for record in caplog.records]
    told = [re.sub(r"away: .*|after \d+ s", lambda found: found[0][:5], one) for one in told]
    back = ["back after", "back after; 1 message was not published"]
    assert sorted(told) == ["away:", "away:", *back, "there", "there"]


def test_redis_that_is_not_there_or_says_nothing_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backplane, "FIRST_S", 0.05)

    async def meet() -> None:
        async with passing() as redis:
            redis.answers["PING"] = b""
            async with Server(redis.url) as one:
                assert not one.link.redis.is_up
            port = redis.url.rpartition(":")[2]
        async with Server(f"redis://127.0.0.1:{port}") as one:
            assert not one.link.redis.is_up
            assert one.link.redis.why

    run(meet())


@pytest.mark.parametrize("url", ["localhost", "http://localhost", "redis://u@h", "unix:"])
def test_url_that_is_none_is_a_wrong_argument(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["app.rbr", "--redis", url])
    assert ended.value.code == 2
    assert "argument --redis: " in capsys.readouterr().err
