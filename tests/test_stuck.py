"""Broadcasts to a crowd of which some don't read: the others get all, and those are cut off.

How long a broadcast takes with them and without is measured by `bench/stuck.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from wire import Live, Poller, WebSocket, live, run, socketio, until

from redbarrel_lite import websocket
from redbarrel_lite.websocket import MAX_QUEUE_BYTES

READERS, STUCK = 15, 5  # of each kind
SIZE = 65536
MOST_ROUNDS = 400  # the system may take some megabytes for each before we have to keep anything
RBR = """
    path chat ( method SOCKETIO, on connect use python:MODULE.came,
        on disconnect use python:MODULE.left );
    path raw ( method WEBSOCKET, url /ws, use python:MODULE.listen,
        on disconnect use python:MODULE.left );
"""
SOURCE = """
    left_because = []

    async def came(request):
        pass

    async def listen(request):
        async for message in request.socketio:
            pass

    async def left(globs, request, reason):
        left_because.append((request.socketio.transport, reason))
"""


class Stuck(WebSocket):
    """A client that never reads, and whose system takes little for it."""

    @classmethod
    async def open(cls, url: str) -> Stuck:
        parts = urlsplit(url)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (parts.hostname, parts.port))
        return cls(*await asyncio.open_connection(sock=client))

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]


def kept_for(server: Live) -> int:
    """The most bytes that we keep for one client."""
    most = 0
    for connection in server.server.connections:
        if isinstance(connection, websocket.WebSocket) and connection._transport is not None:
            most = max(most, connection._transport.get_write_buffer_size() + connection._queued)
    for endpoint in server.server._endpoints.values():
        for session in getattr(endpoint, "_sessions", {}).values():
            most = max(most, session.session.queued)
    return most


def test_those_who_read_get_all_and_the_others_are_cut_off_at_their_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            readers = [await socketio(server.url) for _ in range(READERS)]
            raw_readers = [await WebSocket.connect(server.url, "/ws") for _ in range(READERS)]
            stuck = [
                await Stuck.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
                for _ in range(STUCK)
            ]
            stuck += [await Stuck.connect(server.url, "/ws") for _ in range(STUCK)]
            for client in stuck[:STUCK]:
                await client.text("40")
            for _ in range(STUCK):
                await Poller.connect(server.url)  # and will not poll again
            hub = server.server.app.hub
            await until(lambda: len(hub.sockets("/")) == READERS + 2 * STUCK)
            for client in stuck:
                assert isinstance(client, Stuck)
                client.stop_reading()
            kept = 0
            for number in itertools.count():
                text = f"{number:06}" + "x" * SIZE
                hub.broadcast(text, namespace="/")
                hub.broadcast(text, namespace="/ws")
                kept = max(kept, kept_for(server))
                expected = f'42["message","{text}"]'
                assert all([await reader.read() == expected for reader in readers])
                assert all([await reader.read() == text for reader in raw_readers])
                if len(hub.sockets("/")) == len(hub.sockets("/ws")) == READERS:
                    break
                assert number < MOST_ROUNDS
            # What waits counts before a message is added, which may be as large as it likes.
            assert MAX_QUEUE_BYTES < kept <= MAX_QUEUE_BYTES + 2 * (SIZE + 100)
            for client in stuck:
                client.reset()
            left = server.module.left_because
            await until(lambda: len(left) == 3 * STUCK)
            assert Counter(left) == {
                ("websocket", "transport error"): 2 * STUCK,
                ("polling", "transport error"): STUCK,
            }

    with caplog.at_level(logging.WARNING, "redbarrel_lite"):
        run(test())
    assert Counter(caplog.messages) == {
        "127.0.0.1 does not read: dropped": 2 * STUCK,
        "127.0.0.1 does not poll: dropped": STUCK,
    }
