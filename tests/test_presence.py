"""A look at a connection from which nothing is read."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from wire import run, until

from redbarrel_lite import presence
from redbarrel_lite.presence import has_ended, has_gone

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system doesn't tell")


async def pair() -> tuple[asyncio.Transport, socket.socket]:
    """Our end of a connection, and the other."""
    near, far = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, near)
    assert isinstance(transport, asyncio.Transport)
    await asyncio.sleep(0)
    transport.pause_reading()
    return transport, far


@only_linux
def test_peer_is_there_sends_no_more_and_has_gone() -> None:
    async def test() -> None:
        transport, far = await pair()
        far.send(b"unread")
        assert (has_ended(transport), has_gone(transport)) == (False, False)
        far.shutdown(socket.SHUT_WR)
        assert (has_ended(transport), has_gone(transport)) == (True, False)
        far.close()
        assert (has_ended(transport), has_gone(transport)) == (True, True)
        transport.abort()

    run(test())


@only_linux
def test_peer_behind_a_port_has_gone_when_it_answers_with_a_reset() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
        assert isinstance(transport, asyncio.Transport)
        await asyncio.sleep(0)
        transport.pause_reading()
        far.close()
        await until(lambda: has_ended(transport))
        assert not has_gone(transport)
        transport.write(b"who is there?")
        await until(lambda: has_gone(transport))
        transport.abort()

    run(test())


def test_where_the_system_does_not_tell_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "_ENDED", 0)

    async def test() -> None:
        transport, far = await pair()
        far.close()
        assert not has_ended(transport)
        assert not has_gone(transport)
        transport.abort()

    run(test())
