"""A minute of the soak test (`soak`) in few seconds: its clients, its laws and its relay.

And the relay itself: what it calls harmless is, and what it calls harm is one.
"""

from __future__ import annotations

import asyncio
import secrets
import sys

import pytest
from conftest import Serve
from relay import HARMLESS, Fate, Relay, Through
from soak import Watch, crowd, folder
from soakers import World

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

LIVES = 16


def test_each_message_of_a_harmed_crowd_is_accounted_for(serve: Serve) -> None:
    seed = secrets.randbits(32)
    with folder() as file:
        server = serve(file, "--log", "off")

        async def test() -> None:
            watch = Watch(server.url, server.process.pid)
            before = await watch.status()
            async with Relay(server.port) as relay:
                world = World(server.url, relay, 2, 0.001, 0.2)
                world.fatal = ("reset", "half")  # of the others one learns in a minute
                # Chance decides what comes to pass: go on until each has.
                world.goes_on = lambda: (
                    world.count["lives"] < LIVES
                    or not min(world.count[what] for what in ("lost", "recovered", "checkpoints"))
                )
                await crowd(world, 12, str(seed))
                await watch.turn_out()
                more = await watch.growth(before)
            assert not world.broken, "\n".join([f"seed {seed}", *world.broken])
            assert not more, f"seed {seed}"

        asyncio.run(test())


# --- the relay ------------------------------------------------------------------------------


class Ear(asyncio.Protocol):
    """Hears all, and how it ends."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> bool:
        self.end("eof")
        return True  # we may still speak

    def connection_lost(self, error: Exception | None) -> None:
        self.end(type(error).__name__)

    def end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)


CONTENT = bytes(range(256)) * 200


def relayed(fate: Fate) -> tuple[str, bytes, bytes]:
    """How it ends when each end says `CONTENT` and no more; what server and client heard."""

    async def test() -> tuple[str, bytes, bytes]:
        server = Ear()
        loop = asyncio.get_running_loop()
        port = await loop.create_server(lambda: server, "127.0.0.1")
        async with Relay(port.sockets[0].getsockname()[1]) as relay, asyncio.timeout(30):
            client = await Through(relay, lambda: fate).open(Ear())
            assert client.transport is not None
            client.transport.write(CONTENT)
            client.transport.write_eof()
            await server.ended
            if server.transport is not None:
                server.transport.write(CONTENT)
                server.transport.close()
            how = await client.ended
            client.transport.abort()
        port.close()
        return how, server.heard, client.heard

    return asyncio.run(test())


@pytest.mark.parametrize("toward", ["server", "client"])
@pytest.mark.parametrize("how", HARMLESS)
def test_harmless_fate_changes_no_byte(how: str, toward: str) -> None:
    fate = Fate(how, 1000, toward, pause_s=0.01)
    assert relayed(fate) == ("eof", CONTENT, CONTENT)
    assert not fate.happened


def test_reset_comes_behind_so_many_bytes() -> None:
    fate = Fate("reset", 1000, "server")
    how, server, client = relayed(fate)
    assert fate.happened
    assert (how, client) == ("ConnectionResetError", b"")
    assert CONTENT[:1000].startswith(server)  # of what was under way nothing may be left


def test_half_is_closed_behind_so_many_bytes_and_the_other_half_goes_on() -> None:
    fate = Fate("half", 1000, "server")
    assert relayed(fate)[1:] == (CONTENT[:1000], CONTENT)
    assert fate.happened
    fate = Fate("half", 1000, "client")
    assert relayed(fate) == ("eof", CONTENT, CONTENT[:1000])
