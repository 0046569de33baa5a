"""A worker's place among others, and its line to the supervisor.

What it implements: what one of ``--workers N`` does for being one of several. It takes its
place in the mesh, reads its files again when it is told to, and ends with its supervisor.
What it leaves out: the supervisor, which is `workers`.

In one line::

    attend(server, post); keeper = WorkerKeeper(post, server, load, load_tls, notifier, watch)
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from .cluster import Cluster
from .emitting import QUESTION, answer_for_worker
from .failures import tell
from .keeper import Keeper, set_aside
from .mesh import Seat
from .server import Server
from .watchdog import unwatched

# What a worker says to its supervisor, and hears of it: a byte each.
READY: Final = b"R"
RENEWED: Final = b"N"
KEPT: Final = b"K"
RENEW: Final = b"r"
RENEW_ALOUD: Final = b"R"  # and say what has changed


class Post:
    """The side of a worker: its place, and its line to the supervisor, whose end is ours."""

    def __init__(
        self,
        seat: Seat,
        host_id: str,
        sockets: Sequence[socket.socket],
        line: socket.socket,
        *,
        is_first: bool,
    ) -> None:
        self.seat = seat
        self.host_id = host_id  # of the whole server
        self.sockets = sockets  # to accept on
        self.line = line
        self.is_first = is_first  # and tells the user what all of them do
        self.asked = 0  # so often to read again, and has not begun to
        self.is_aloud = False

    @property
    def is_doorman(self) -> bool:
        """Whether it listens where only one of several can."""
        return self.seat.number == 0

    def say(self, word: bytes) -> None:
        """Tell the supervisor; that it has gone is for `attend` to find."""
        with contextlib.suppress(OSError):
            self.line.send(word)

    def close(self) -> None:
        """Let go of it."""
        for one in (self.line, self.seat.listening, *self.sockets):
            one.close()


class WorkerKeeper(Keeper):
    """The keeper of one of several: most of what a server says is said once, for all."""

    def __init__(self, post: Post, *others: Any) -> None:
        """The others are a `Keeper`'s own."""
        super().__init__(*others)
        self._post = post

    def started(self, url: str) -> None:
        self._post.say(READY)
        self._watch()
        unwatched(set_aside)

    async def renew(self) -> None:
        post = self._post
        self.say = tell if post.is_aloud else _say_nothing
        asked, post.asked, post.is_aloud = post.asked, 0, False
        self._renew_tls()
        word = RENEWED if await self._renew_app() else KEPT
        post.say(word * asked)  # none to who has sent a signal here


def attend(server: Server, post: Post) -> None:
    """Take the place among the workers, and obey the supervisor: its end is ours.

    To be called in the running loop, before anybody is served.
    """
    loop = asyncio.get_running_loop()

    def hear() -> None:
        try:
            words = post.line.recv(16)
        except OSError:
            words = b""
        if not words:
            loop.remove_reader(post.line.fileno())
            shutil.rmtree(post.seat.folder, ignore_errors=True)  # who has died did not
            server.stop()
            return
        post.asked += len(words)
        post.is_aloud |= RENEW_ALOUD in words
        server.renew()

    server.ended_by = (signal.SIGTERM,)  # SIGINT is for the supervisor
    server.cluster = cluster = server.cluster or Cluster()
    cluster.host_id = post.host_id
    cluster.links.append(server.mesh)
    cluster.workers = server.mesh
    server.answers[QUESTION] = partial(answer_for_worker, cluster)
    server.mesh.receive = cluster.receive
    server.mesh.deliver = cluster.deliver
    server.mesh.seat = post.seat
    post.line.settimeout(0)
    loop.add_reader(post.line.fileno(), hear)


def _say_nothing(_line: str) -> None:
    pass
