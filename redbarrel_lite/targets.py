"""What a url leads to: a service, or sockets of one kind or another.

What it implements: what the server is told of a path once a request was found to be for it:
limits, rules of the handshake, and whose it is. What it leaves out: how these come out of
a file, which is for `app`, and what is done with them, which is for the floor above.

In one line::

    target, match = app.find(request); isinstance(target, SocketPath)
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from .conditions import Rules
from .cors import Cors
from .doors import Door, Doors
from .globs import Globs
from .hub import Hub
from .raw import Peers
from .request import Request
from .response import Response
from .routes import Service
from .socketoptions import SharedOptions


class Owner(Protocol):
    """The file of a path, as far as its requests need it."""

    globs: Globs
    hub: Hub


@dataclass(frozen=True, slots=True)
class WebPath:
    """What answers the requests of a path."""

    home: Owner
    service: Service
    max_body: int = 0
    cors: Cors | None = None
    wants_stream: bool = False  # the request's body as it comes
    given_up: Container[str] = ()  # methods whose work ends when the client goes

    def __call__(self, request: Request) -> Any:
        return self.service(request)


@dataclass(frozen=True, slots=True, eq=False)
class SocketPath:
    """The url of sockets, the options of its transport, and the rules of its handshake."""

    home: Owner
    url: str
    shared: SharedOptions
    rules: list[tuple[str, Rules]]  # with their namespaces

    @property
    def max_body(self) -> int:
        return self.shared.engine.max_payload

    @property
    def is_guarded(self) -> bool:
        return any(rules.guards for _, rules in self.rules)

    async def refusal(self, request: Request) -> Response | None:
        """The answer to a handshake that the rules refuse.

        Several namespaces may share the url, and the client says later which it
        wants: so long as one is for it, it may begin, and the request remembers
        which are not.
        """
        refused: dict[str, Response] = {}
        for namespace, rules in self.rules:
            refusal = await rules.refusal(request)
            if refusal is not None:
                refused[namespace] = refusal
        if len(refused) == len(self.rules):
            return next(iter(refused.values()))
        request.refused = {name: response.status for name, response in refused.items()}
        return None


@dataclass(frozen=True, slots=True, eq=False)
class NamespacesPath(SocketPath):
    """A url of Socket.IO, with the namespaces that share it."""

    doors: Doors


@dataclass(frozen=True, slots=True, eq=False)
class PeersPath(SocketPath):
    """A path whose sockets are without Socket.IO."""

    door: Door
    peers: Peers


@dataclass(frozen=True, slots=True, eq=False)
class RawPath(PeersPath):
    """... and without Engine.IO."""

    subprotocols: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class EnginePath(PeersPath):
    """... but with Engine.IO."""


Target: TypeAlias = SocketPath | WebPath
