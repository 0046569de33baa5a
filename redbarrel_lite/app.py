"""From the tree of an .rbr file to an application: routes, handlers, sockets.

What it implements: paths with GET and ``file:``, and SOCKETIO with ``python:``.
What else the language can say is refused at the start, never ignored: a rule
that guards a path must not be silently left out.

In one line::

    app = App.load(Path("examples/chat/chat.rbr"))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeAlias

from . import engineio, rbr
from .errors import AppError
from .locations import adapt, resolve_python, serve_file
from .rbr_nodes import Path, Rbr, Text, Words
from .request import Request, Response
from .routes import Route, Router, compile_template
from .sockets import Hub

Service: TypeAlias = Callable[[Request], Response | Awaitable[Response]]

CLIENT_SCRIPT = FilePath(__file__).parent / "static" / "socket.io.js"


@dataclass(frozen=True, slots=True)
class SocketPath:
    """The url of sockets, and the options of its transport."""

    url: str
    options: engineio.Options
    connect_timeout: float
    allow_origin: tuple[str, ...]


Target: TypeAlias = SocketPath | Service


class App:
    """An application: what an .rbr file describes, ready to be served."""

    def __init__(self, tree: Rbr, folder: FilePath) -> None:
        self.hub = Hub()
        self.hooked: list[str] = []  # a line for each service, as it is told at the start
        self._folder = folder
        self._root = tree.root
        self._max_body: dict[int, int] = {}
        self._sockets: dict[str, SocketPath] = {}
        self._router: Router[Target] = Router(
            route for path in tree.paths for route in self._routes(path)
        )

    @classmethod
    def load(cls, file: FilePath) -> App:
        """The application of a file. Raises OSError, `RbrError` and `AppError`."""
        return cls(rbr.parse(file.read_bytes(), str(file)), file.resolve().parent)

    # -- what the server asks ------------------------------------------------------

    def find(self, request: Request) -> tuple[Target, dict[str, str]]:
        """What answers a request, and what its url's placeholders matched.

        Raises `NotRouted`.
        """
        route, match = self._router.find(request.method, request.path)
        return route.target, match

    def max_body(self, target: Target | None) -> int:
        """The most bytes that a request's body may have."""
        if isinstance(target, SocketPath):
            return target.options.max_payload
        return self._max_body.get(id(target), 0)

    # -- from nodes to routes --------------------------------------------------------

    def _routes(self, path: Path) -> list[Route[Target]]:
        _refuse_what_is_not_served(path)
        assert path.url is not None
        url = self._root + path.url.text
        self.hooked.append(f"=> '{path.name.text}' hooked for {'|'.join(path.verbs)} {url}")
        parts = [self._root, *path.url.parts()]
        pattern = compile_template(
            part if isinstance(part, str) else (part.name, part.regex) for part in parts
        )
        if path.is_socket:
            return self._socket_routes(path, url, pattern.pattern)
        service = self._service(path)
        self._max_body[id(service)] = int(path.number("max-body"))
        return [Route(path.name.text, url, path.verbs, pattern, service)]

    def _service(self, path: Path) -> Service:
        assert path.use is not None
        return serve_file(self._folder / path.use.target)

    def _socket_routes(self, path: Path, url: str, pattern: str) -> list[Route[Target]]:
        """The route of a socket's url, the first time, and that of its client script."""
        assert path.use is not None
        namespace = path.section.get("namespace")
        name = getattr(namespace, "text", "/")
        if name in self.hub.namespaces:
            raise AppError(f"two sockets for the namespace {name}")
        self.hub.add(name, adapt(resolve_python(path.use.target, self._folder), path.use.target))
        if url in self._sockets:
            return []
        self._sockets[url] = socket = SocketPath(
            url,
            _options(path),
            path.number("connect-timeout"),
            tuple(value.text for value in path.all("allow-origin") if isinstance(value, Text)),
        )
        name = path.name.text
        methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        script = compile_template([url.rstrip("/") + "/socket.io.js"])
        # A url without its last slash is the same place: kinder than a 404.
        slash = compile_template([url.rstrip("/")])
        return [
            Route(name, url, ("GET",), script, serve_file(CLIENT_SCRIPT)),
            Route(name, url, methods, slash, socket),
            Route(name, url, methods, compile_template([url]), socket),
        ]


def _options(path: Path) -> engineio.Options:
    transports = path.get("transports")
    return engineio.Options(
        ping_interval=path.number("ping-interval"),
        ping_timeout=path.number("ping-timeout"),
        max_payload=int(path.number("max-payload")),
        upgrade_timeout=path.number("upgrade-timeout"),
        transports=transports.texts if isinstance(transports, Words) else engineio.TRANSPORTS,
    )


def _refuse_what_is_not_served(path: Path) -> None:
    name = path.name.text
    if path.section.operations():
        raise AppError(f"path '{name}': rules and `on` lines are not served by this version")
    if path.use is None:
        raise AppError(f"path '{name}' has no `use`")
    wanted = ("SOCKETIO", "python") if path.is_socket else ("GET", "file")
    if path.verbs != (wanted[0],) or path.use.kind != wanted[1]:
        raise AppError(
            f"path '{name}': this version serves `method SOCKETIO` with `use python:`"
            f" and `method GET` with `use file:`, not {'|'.join(path.verbs)} with {path.use.kind}:"
        )
