"""What a connection needs of the server that it belongs to.

What it implements: nothing, it is a face: `server` has what is behind it, and a test or
`testing` may bring another. What it leaves out: what the server does for itself.

In one line::

    def __init__(self, server: Host) -> None: ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .accesslog import Entry
from .batch import Batch
from .entrance import Entrance
from .gate import Gate
from .http1 import Pairs
from .patience import TimeLimits
from .request import Request
from .targets import SocketPath, Target
from .upstream import Tunnel
from .websocket import WebSocket

if TYPE_CHECKING:
    from .answering import Answering
    from .lingering import Lingering

# What one TCP connection may be: HTTP first, then one of the others.
Successor: TypeAlias = "Lingering | WebSocket | Tunnel"
Connected: TypeAlias = "Answering | Successor"


class Finder(Protocol):
    """An application, as far as a request has to be brought to what answers it."""

    def find(self, request: Request, upgrade: str = "") -> tuple[Target, dict[str, str]]:
        """What that is, and what its url's placeholders matched. Raises `NotRouted`."""


class Host(Protocol):
    """The server, as its connections see it."""

    limits: TimeLimits
    gate: Gate
    scheme: str
    batch: Batch
    access: Callable[[Entry], None] | None  # writes the access log; None: there is none

    @property
    def app(self) -> Finder:
        """What it serves as of now."""

    @property
    def closing(self) -> bool:
        """Whether each answer is the last of its connection."""

    def come(self, connection: Connected, address: str) -> bool:
        """A connection is there; False: it is one too many."""

    def become(self, connection: Connected, protocol: Successor) -> None:
        """A connection goes on as another one."""

    def gone(self, connection: Connected) -> None:
        """A connection has ended."""

    def endpoint(self, path: SocketPath) -> Entrance:
        """The sessions of a socket path's url."""

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done, and wait for it at the end."""

    def dated(self, fields: Pairs, now: float) -> Pairs:
        """An answer's fields with its Date (RFC 9110 6.6.1), at a time of the loop."""
