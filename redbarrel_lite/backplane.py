"""The way to other servers that leads through a channel of Redis.

What it implements: a link of the cluster: its messages are published on one channel, where
python-socketio's servers publish theirs, and what is heard there is obeyed; and what is heard
of emitters of Node.js on channels of theirs. What it leaves out: the messages
(`cluster_messages`, `emitter`), and Redis (`redis`).

In one line::

    async with Backplane(server.cluster, "redis://127.0.0.1"): ...

Redis tells a message to all who have subscribed, its sender included. Ours begin with who we
are, but for answers, so that they are known without being read::

    {"host_id":"0b0f8d7c...","method":"emit","event":"message", ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from . import cluster_messages
from .cluster import Cluster
from .cluster_messages import Message
from .emitter import Emitter
from .redis import Pace, Redis

log = logging.getLogger("redbarrel_lite")

CHANNEL: Final = "socketio"  # that of python-socketio, too, unless it is told another
# What a Redis that is there may take before we serve without it.
FIRST_S: Final = 1.0
# And at our own end, which has had its grace by then.
LAST_S: Final = 0.2


def channel_of(url: str) -> str:
    """The channel that the url of a Redis names in its query: ``?channel=chat``."""
    return parse_qs(urlsplit(url).query).get("channel", [CHANNEL])[0]


class Backplane:
    """A link (`cluster.Link`) to all who have subscribed to a channel."""

    def __init__(
        self, cluster: Cluster, url: str, channel: str = "", emitter_key: str = ""
    ) -> None:
        """With the key of emitters of Node.js, they are heard too.

        Raises ValueError for what is no url of a Redis.
        """
        self.channel = channel or channel_of(url)
        self.redis = Redis(url, self._hear, self._tell, pace=Pace(close=LAST_S))
        self.redis.subscribe(self.channel)
        self._emitter = Emitter(cluster, emitter_key) if emitter_key else None
        if self._emitter is not None:
            self.redis.subscribe(patterns=self._emitter.patterns)
        self._cluster = cluster
        self._is_ours = cluster_messages.dumps({"host_id": cluster.host_id})[:-1]
        self._known = asyncio.Event()  # whether Redis is there

    async def __aenter__(self) -> Self:
        """Begin; with or without Redis."""
        self._cluster.links.append(self)
        self.redis.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                await self._known.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.redis.close()
        self._cluster.links.remove(self)

    def publish(self, message: Message) -> None:
        """Tell all others."""
        if message["method"] != "callback":  # which has the name of who has asked
            message = {"host_id": self._cluster.host_id, **message}
        self.redis.publish(self.channel, cluster_messages.dumps(message))

    def _hear(self, channel: str, data: bytes) -> None:
        if channel != self.channel and self._emitter is not None:
            self._emitter.receive(channel, data)
        elif not data.startswith(self._is_ours):
            self._cluster.receive_text(data)

    def _tell(self, is_up: bool, sentence: str) -> None:  # noqa: FBT001  # as `Redis` has it
        self._known.set()
        log.log(logging.INFO if is_up else logging.WARNING, "%s", sentence)
