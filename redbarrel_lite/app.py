"""From the tree of an .rbr file to an application: routes, handlers, sockets.

What it implements: services with ``python:``, ``file:`` and ``directory:``, and SOCKETIO with
``python:``. What else the language can say is refused at the start, never
ignored: a rule that guards a path must not be silently left out.

In one line::

    app = App.load(Path("examples/chat/chat.rbr"))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeAlias

from . import engineio, services
from .errors import Diagnostic, RbrError
from .files import directory_service, file_service
from .locations import Folder
from .rbr_check import examine
from .rbr_keys import SOCKET_VERBS
from .rbr_nodes import Describe, Field, Node, Path, Rbr, Section, Text, Words
from .request import Request
from .routes import Route, Router, Service, compile_template
from .sockets import Hub

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

    def __init__(self, tree: Rbr, folder: Folder) -> None:
        self.hub = Hub()
        self.warnings: tuple[Diagnostic, ...] = ()
        self.hooked: list[str] = []  # a line for each service, as it is told at the start
        self._folder = folder
        self._pool = services.Pool()
        self._root = tree.root
        self._max_body: dict[int, int] = {}
        self._sockets: dict[str, SocketPath] = {}
        self._router: Router[Target] = Router(
            route for path in tree.paths for route in self._routes(path)
        )

    @classmethod
    def load(cls, file: FilePath) -> App:
        """The application of a file.

        Raises OSError, and `RbrError`: if one of the user's modules failed, with
        its exception as the cause.
        """
        folder = Folder(file.resolve().parent)
        tree, found = examine(file.read_bytes(), str(file), folder.trouble)
        found = (*found, *_not_served(tree))
        errors = [one for one in found if one.severity == "error"]
        if errors:
            raise RbrError(errors) from next(iter(folder.failures), None)
        app = cls(tree, folder)
        app.warnings = found
        return app

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
        if path.url is None:  # a warning has said so
            return []
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
        if path.use.kind == "file":
            return file_service(self._folder.file(path.use.target))
        if path.use.kind == "directory":
            return directory_service(self._folder.directory(path.use.target), _last_name(path))
        handler = self._folder.callable(path.use.target)
        return lambda request: services.run(handler, self._pool, request)

    def _socket_routes(self, path: Path, url: str, pattern: str) -> list[Route[Target]]:
        """The route of a socket's url, the first time, and that of its client script."""
        assert path.use is not None
        namespace = path.section.get("namespace")
        name = getattr(namespace, "text", "/")
        self.hub.add(name, self._folder.callable(path.use.target))
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
            Route(name, url, ("GET",), script, file_service(CLIENT_SCRIPT)),
            Route(name, url, methods, slash, socket),
            Route(name, url, methods, compile_template([url]), socket),
        ]


def _last_name(path: Path) -> str:
    """The placeholder of a `directory:` that is the way below it; "" if its url has none."""
    parts = path.url.parts() if path.url is not None else ()
    return next((part.name for part in reversed(parts) if not isinstance(part, str)), "")


def _options(path: Path) -> engineio.Options:
    transports = path.get("transports")
    return engineio.Options(
        ping_interval=path.number("ping-interval"),
        ping_timeout=path.number("ping-timeout"),
        max_payload=int(path.number("max-payload")),
        upgrade_timeout=path.number("upgrade-timeout"),
        transports=transports.texts if isinstance(transports, Words) else engineio.TRANSPORTS,
    )


def _not_served(tree: Rbr) -> Iterator[Diagnostic]:
    """What the language can say and this version does not do yet.

    An error at the start, for a rule that is left out is a door left open.
    """
    for found in (*tree.globals, *tree.types, *tree.includes):
        yield _refusal(tree, found, f"'{type(found).__name__.lower()}'")
    for path in tree.paths:
        for operation in path.section.operations():
            yield _refusal(tree, operation, "this rule")
        for field in path.section.entries:
            if isinstance(field, Field) and isinstance(field.value, Section):
                for operation in field.value.operations():
                    if not isinstance(operation, Describe):
                        yield _refusal(tree, operation, "this rule")
        kinds = ("python",) if path.is_socket else ("python", "file", "directory")
        if path.use is None:
            yield _refusal(tree, path.name, "a path without 'use'")
        elif path.use.kind not in kinds:
            yield _refusal(tree, path.use, f"'{path.use.kind}:'")
        for verb in path.verbs:
            if verb in SOCKET_VERBS and verb != "SOCKETIO":
                yield _refusal(tree, path.get("method") or path.name, verb)


def _refusal(tree: Rbr, node: Node, what: str) -> Diagnostic:
    hint = "leave it out for now, or see CHANGELOG.md for the version that does it"
    message = f"{what} is not served by this version"
    return tree.source.diagnostic("RBR099", node.span, message, hint)
