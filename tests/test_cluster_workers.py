"""Workers of one server that are one to their clients: two hubs, joined by real channels."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import AsyncIterator

import pytest
from test_cluster import Server
from test_mesh import workers
from test_raw import Place
from test_sockets import Peer, World
from wire import run, until


class Room(enum.StrEnum):
    RED = "red"


@contextlib.asynccontextmanager
async def pair(*worlds: World) -> AsyncIterator[list[Server]]:
    """Two workers; what they tell other servers is recorded."""
    async with workers(2) as there:
        servers = [Server(world=world) for world in worlds]
        for number, server in enumerate(servers):
            mesh = there.begin(number)
            mesh.receive, mesh.deliver = server.cluster.receive, server.cluster.deliver
            server.cluster.links.append(mesh)
            server.cluster.workers = mesh
        await there.know_each_other()
        yield servers


async def heard(peer: Peer, last: str) -> list[str | bytes]:
    """What a client hears, until it hears that."""
    found: list[str | bytes] = []

    def has_come() -> bool:
        found.extend(peer.hears())
        return last in found

    await until(has_come)
    return found


def test_broadcasts_reach_who_they_are_for_in_the_other_worker() -> None:
    async def test() -> None:
        async with pair(World(), World()) as (one, two):
            a, b, c = two.client(), two.client(), two.client()
            b.connection.ready = False
            a.socket.join("red")
            c.socket.join("red")
            one.hub.broadcast("all")
            one.hub.broadcast(b"\x00\xff", room=Room.RED, exceptions=[c.sid])
            one.hub.emit("v", volatile=True)
            one.hub.broadcast("nobody", room="blue")
            for peer in (a, b, c):
                one.hub.emit("last", to=peer.sid)
            first, last = '2["message","all"]', '2["last"]'
            bytes_ = ['51-["message",{"_placeholder":true,"num":0}]', b"\x00\xff"]
            assert await heard(a, last) == [first, *bytes_, '2["v"]', last]
            assert await heard(b, last) == [first, last]
            assert await heard(c, last) == [first, '2["v"]', last]
            assert one.cluster.dropped == two.cluster.dropped == 0

    run(test())


def test_other_servers_are_told_as_ever() -> None:
    async def test() -> None:
        async with pair(World(), World()) as (one, two):
            a = two.client()
            one.hub.broadcast("hi", room=Room.RED, exceptions=["x"])
            one.hub.emit("last")
            await heard(a, '2["last"]')
            (told, _), nobody = one.link.take(), two.link.take()
            keys = ("method", "event", "data", "room", "skip_sid", "redbarrel")
            values = ("emit", "message", ["hi"], "red", ["x"], {"home": "app.rbr"})
            assert tuple(told[key] for key in keys) == values
            assert nobody == []  # what is received is never published again

    run(test())


def test_namespace_that_is_not_there_is_no_fault() -> None:
    async def test() -> None:
        async with pair(World("/", "/a"), World("/", "/a")) as (one, two):
            a = two.client()
            one.hub.broadcast("x", namespace="/a")
            one.hub.emit("last")
            assert await heard(a, '2["last"]') == ['2["last"]']
            with pytest.raises(TypeError, match="not tuple"):
                one.hub.broadcast("x", room=("red", "blue"))  # type: ignore[arg-type]

    run(test())


def test_raw_sockets_hear_texts_and_bytes() -> None:
    async def test() -> None:
        place = Place()
        async with pair(Place(), place) as (one, _):
            client, carrier = place.client()
            one.hub.broadcast("text", namespace="/ws")
            one.hub.broadcast(b"\x00", namespace="/ws")
            await until(lambda: len(carrier.said) == 2)
            assert carrier.said == ["text", b"\x00"]
            assert client.socket.connected()

    run(test())
