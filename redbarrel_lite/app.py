"""From the trees of .rbr files to an application: routes, handlers, sockets.

What it implements: paths and what they `use`, with their rules, for one file or
several, each with globals and sockets of its own. What else the language can say
is refused at the start, never ignored: a rule that guards a path must not be
silently left out.

In one line::

    app = App.load(Path("examples/chat/chat.rbr"))
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from . import builtin, docpage, services, wording
from .conditions import Rules, Tools, made, with_last
from .cors import Cors
from .doors import Door, Doors
from .engineio import POLLING
from .errors import AppError, Diagnostic, RbrError
from .files import directory_service, file_service
from .globs import Globs
from .handlers import Lines, is_async
from .hub import Hub
from .loading import File, Reading
from .packed import path_at
from .raw import EnginePeers, Peers
from .rbr_keys import HTTP_VERBS
from .rbr_nodes import Location, Name, Node, Path, Text, UnlessValidates, Url
from .refusals import not_served, operations
from .request import Request
from .routes import WEBSOCKET, AnyMethod, NotRouted, Route, Router, Service, compile_template
from .socketoptions import SharedOptions, allowed_origins
from .targets import EnginePath, NamespacesPath, RawPath, SocketPath, Target, WebPath
from .wsgi import wsgi_service

if TYPE_CHECKING:
    import re

CLIENT_SCRIPT = path_at(__file__).parent / "static" / "socket.io.js"

# What makes the service of a `proxy:` from its address and the url where it is
# mounted. It lives on the floor above, for it opens connections: it is handed in.
ProxyFactory: TypeAlias = Callable[[str, str], Service]

# What the server itself answers below a root, for the files that are there.
Page: TypeAlias = Callable[[str, Sequence["Home"]], Route[Target]]


def no_proxy(address: str, _mount: str) -> Service:
    """For who has no factory. Raises `AppError`."""
    what = f"nothing here opens connections to {address[:60]}"
    raise AppError(what, "serve the file: python3 -m redbarrel_lite")


# A WSGI application or another server knows its own methods, unless the file says which.
_FORWARDED = ("wsgi", "proxy")
# With these comes whoever polls; all but two are for the error that the reference answers.
_POLLED = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", WEBSOCKET)


P = TypeVar("P", bound=Peers)


class Home:
    """What one .rbr file gives to the application: routes, globals and sockets of its own."""

    def __init__(
        self, file: File, pool: services.Pool, proxy: ProxyFactory, before: Home | None = None
    ) -> None:
        """``before``: that of the same file, as it was; sockets of both know each other."""
        self.file = file
        self.hub: Hub = before.hub if before else Hub()
        self.globs: Globs = Globs(file, self.hub, before.globs if before else None)
        self.hooked: list[str] = []
        self._pool = pool
        self._proxy = proxy
        self._sockets: dict[str, NamespacesPath] = {}
        types = {one.name.text: self._made(one.use) for one in file.tree.types}
        self._tools = Tools(pool, types, self._function)
        self.routes = [route for path in file.tree.paths for route in self._routes(path)]

    async def start(self) -> None:
        """Build the globals. Raises `RbrError`."""
        await self.globs.start()
        for path in self.file.tree.paths:
            for _, operation in operations(path):
                if isinstance(operation, UnlessValidates) and isinstance(operation.validator, Name):
                    self._check_validator(operation.validator)

    def _check_validator(self, name: Name) -> None:
        """A global must be callable if a rule calls it: now, not when it is too late."""
        globs = self.globs.values
        if name.text in self._tools.types or name.text not in globs:
            return
        self._tried(name, lambda: with_last(_callable(globs[name.text], name.text), name.text))

    # -- what the file names ---------------------------------------------------------

    def _made(self, location: Location) -> Callable[..., Any]:
        find = self.file.folder.modules.find
        return self._tried(location, lambda: made(find(location.target), location.target))

    def _function(self, location: Location) -> Callable[..., Any]:
        return self._tried(location, lambda: with_last(self._made(location), location.target))

    def _tried(self, node: Node, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
        """Tell the author of the file of what does not work. Raises `RbrError`."""
        try:
            return make()
        except AppError as error:
            diagnostic = self.file.tree.source.diagnostic
            span = node.target_span if isinstance(node, Location) else node.span
            told = diagnostic("RBR047", span, str(error), error.hint)
            raise RbrError([told]) from error.__cause__

    # -- from nodes to routes --------------------------------------------------------

    def _routes(self, path: Path) -> list[Route[Target]]:
        if path.url is None:  # a warning has said so
            return []
        url = self.file.root + path.url.text
        kind = path.use.kind if path.use is not None else ""
        whole = kind in _FORWARDED and path.get("method") is None
        verbs = "ANY" if whole else "|".join(path.verbs)
        self.hooked.append(f"=> '{path.name.text}' hooked for {verbs} {url}")
        if path.verbs == ("WEBSOCKET",):
            return [self._websocket_route(path, path.url)]
        if path.verbs == ("ENGINEIO",):
            return self._engine_routes(path, path.url)
        if path.is_socket:
            return self._socket_routes(path, url)
        methods = wording.methods(path)
        if kind == "proxy":  # it would answer TRACE by 405, and can't tell what is allowed
            methods = tuple(verb for verb in methods if verb != "TRACE") or methods
        service = Rules(path, self._tools).around(self._service(path))
        origins = allowed_origins(path)
        cors = Cors(origins, methods, takes_any=whole) if origins else None
        target = WebPath(
            self,
            cors.around(service) if cors else service,
            int(path.number("max-body")),
            cors,
            # A rule about the body needs all of it.
            wants_stream=kind == "proxy" and path.section.section("request-body") is None,
            given_up=self._given_up(path.use),
        )
        if kind == "proxy" and "GET" in methods:
            methods = (*methods, WEBSOCKET)  # it hands them on
        if whole:
            methods = AnyMethod(methods)
        return [Route(path.name.text, url, methods, self._pattern(path.url, kind), target)]

    def _pattern(self, url: Url, kind: str) -> re.Pattern[str]:
        if kind in _FORWARDED and "{" not in url.text:
            # What is mounted has the url and all below it.
            return compile_template([self.file.root + url.text.rstrip("/")], below=True)
        return compile_template([self.file.root, *_parts(url)])

    def _service(self, path: Path) -> Service:
        use = path.use
        folder = self.file.folder
        if use is None:  # a warning has said so
            return builtin.echo
        if use.kind == "file":
            return file_service(folder.file(use.target))
        if use.kind == "directory":
            assert path.url is not None
            url = self._pattern(path.url, use.kind)
            return directory_service(folder.directory(use.target), _last_name(path), url)
        if use.kind == "proxy":
            return self._tried(use, lambda: self._proxy(use.target, self._mount(path)))
        if use.kind == "wsgi":
            return wsgi_service(folder.application(use.target), self._mount(path), self._pool)
        return services.service(folder.callable(use.target), self._pool)

    def _given_up(self, use: Location | None) -> Container[str]:
        """The methods whose work ends when the client goes.

        Of coroutines, what only reads. Of what a thread runs, all that still waits for one: of a
        file, that is what its rules ask.
        """
        if use is None:
            return ()
        if use.kind == "python" and is_async(self.file.folder.callable(use.target)):
            return ("GET", "HEAD")
        return AnyMethod(HTTP_VERBS)

    def _mount(self, path: Path) -> str:
        """The part of the url that what is mounted does not see."""
        assert path.url is not None
        first = path.url.parts()[0]
        literal = first if isinstance(first, str) else ""
        if literal != path.url.text:  # up to the segment that a placeholder is part of
            literal = literal.rpartition("/")[0]
        return self.file.root + literal.rstrip("/")

    def _socket_routes(self, path: Path, url: str) -> list[Route[Target]]:
        """The route of a socket's url, the first time, and that of its client script."""
        door = self._door(path)
        rules = (door.namespace, Rules(path, self._tools))
        if url in self._sockets:
            self._sockets[url].doors.add(door)
            self._sockets[url].rules.append(rules)
            return []
        shared = SharedOptions.of(self._sharing(path))
        socket = NamespacesPath(self, url, shared, [rules], Doors(self.hub))
        socket.doors.add(door)
        self._sockets[url] = socket
        script = WebPath(self, file_service(CLIENT_SCRIPT))
        assert path.url is not None
        name = path.name.text
        at_script = self._pattern(Url(path.url.text.rstrip("/") + "/socket.io.js"), "")
        routes: list[Route[Target]] = [Route(name, url, ("GET",), at_script, script)]
        patterns = self._with_and_without_slash(path.url)
        routes.extend(Route(name, url, _POLLED, at, socket) for at in patterns)
        return routes

    def _with_and_without_slash(self, url: Url) -> list[re.Pattern[str]]:
        """A url and the same but for its last slash, which is the same place to clients.

        That of JavaScript adds one to any path that it is given, unless it is told not to.
        """
        bare = url.text.rstrip("/")
        return [self._pattern(Url(one), "") for one in (bare + "/", bare) if one]

    def _engine_routes(self, path: Path, url: Url) -> list[Route[Target]]:
        shared = SharedOptions.of([path])
        peers = EnginePeers(url.text, self.hub, polls=POLLING in shared.engine.transports)
        peers = self._group(peers)
        rules = [(url.text, Rules(path, self._tools))]
        at = self.file.root + url.text
        target = EnginePath(self, at, shared, rules, self._door(path), peers)
        patterns = self._with_and_without_slash(url)
        return [Route(path.name.text, at, _POLLED, one, target) for one in patterns]

    def _websocket_route(self, path: Path, url: Url) -> Route[Target]:
        peers = self._group(Peers(url.text, self.hub))
        rules = [(url.text, Rules(path, self._tools))]
        subprotocols = tuple(one.text for one in path.all("subprotocol") if isinstance(one, Text))
        at = self.file.root + url.text
        target = RawPath(
            self, at, SharedOptions.of([path]), rules, self._door(path), peers, subprotocols
        )
        return Route(path.name.text, at, (WEBSOCKET,), self._pattern(url, ""), target)

    def _group(self, new: P) -> P:
        """The group of a path: that which there is already, with all who are in it."""
        known = self.hub.paths.get(new.name)
        if isinstance(known, type(new)) and isinstance(new, type(known)):
            return known
        self.hub.paths[new.name] = new
        return new

    def _sharing(self, path: Path) -> list[Path]:
        """The paths of sockets at this one's url."""
        assert path.url is not None
        at = path.url.text
        every = (one for one in self.file.tree.paths if one.verbs == path.verbs)
        return [one for one in every if one.url is not None and one.url.text == at]

    def _door(self, path: Path) -> Door:
        namespace = path.section.get("namespace")
        url = namespace if isinstance(namespace, Url) else Url("/")
        folder = self.file.folder
        use = folder.callable(path.use.target) if path.use is not None else None
        named = {e.event: folder.line(e.use.target, e.event) for e in path.events() if not e.is_any}
        rest = next((folder.line(e.use.target, "*") for e in path.events() if e.is_any), None)
        lines = Lines(named, rest) if path.events() else None
        keep_s = max(one.number("recovery") for one in self._sharing(path))
        rate = path.number("max-rate")
        return Door(url.text, compile_template(_parts(url)), use, lines, keep_s, rate)


class App:
    """An application: what .rbr files describe, ready to be served."""

    def __init__(
        self,
        files: Sequence[File],
        proxy: ProxyFactory = no_proxy,
        *,
        doc: bool = True,
        pages: Sequence[Page] = (),
        own: Mapping[str, Service] | None = None,
        before: App | None = None,
    ) -> None:
        self.pool: services.Pool = before.pool if before else services.Pool()
        self._own: Mapping[str, Service] = before._own if before else own or {}
        self.warnings: tuple[Diagnostic, ...] = ()
        self.doc = doc
        self._more_pages = pages
        known = {home.file.folder: home for home in (before.homes if before else ())}
        self.homes: list[Home] = [
            Home(file, self.pool, proxy, known.get(file.folder)) for file in files
        ]
        self._routers = self._by_root()
        # What was found for urls without placeholders: it is always the same. No more than
        # the paths have urls and methods, whatever clients ask for.
        self._known: dict[tuple[str, str, bool], Target] = {}
        self._preflights: dict[int, WebPath] = {}  # by the identity of what is asked about

    @classmethod
    def load(
        cls,
        files: FilePath | Iterable[FilePath],
        proxy: ProxyFactory = no_proxy,
        *,
        doc: bool = True,
        pages: Sequence[Page] = (),
        own: Mapping[str, Service] | None = None,
        before: App | None = None,
        anew: bool = False,
    ) -> Self:
        """The application of a file, or of several; ``before`` it there was another of them.

        ``anew``: of that nothing is kept but what is our own, the page of the wire and such.
        ``pages`` are the server's own, at each root beside the files' paths.
        ``own`` are the server's too, by their urls; another application inherits them.

        Raises OSError, and `RbrError`: if one of the user's modules failed, with
        its exception as the cause.
        """
        known = [home.file for home in before.homes] if before else []
        if anew:
            known = [file for file in known if _is_ours(file)]
        reading = Reading(before=known)
        for file in [files] if isinstance(files, FilePath) else files:
            reading.add(file, str(file))
        for one in reading.files:
            reading.diagnostics += not_served(one.tree)
        if reading.errors:
            raise RbrError(reading.errors) from next(iter(reading.failures), None)
        app = cls(reading.files, proxy, doc=doc, pages=pages, own=own, before=before)
        app.warnings = tuple(reading.diagnostics)
        return app

    @property
    def hub(self) -> Hub:
        """The sockets of the first file."""
        return self.homes[0].hub

    @property
    def hubs(self) -> dict[str, Hub]:
        """The sockets of each file, by a name that other processes have for it too.

        It is that of the file: "chat.rbr", and "chat.rbr 2".
        """
        found: dict[str, Hub] = {}
        counts: Counter[str] = Counter()
        for home in self.homes:
            if _is_ours(home.file):
                continue  # a page of ours, about this process
            name = home.file.path.name
            counts[name] += 1
            found[name if counts[name] == 1 else f"{name} {counts[name]}"] = home.hub
        return found

    @property
    def hooked(self) -> list[str]:
        """A line for each service, as it is told at the start."""
        return [line for home in self.homes for line in home.hooked]

    def targets(self) -> Iterator[tuple[str, Target]]:
        """What requests can be for, each with its url as the file has it."""
        for _, router in self._routers:
            for route in router.routes:
                yield route.url, route.target
                if id(route.target) in self._preflights:
                    yield route.url, self._preflights[id(route.target)]

    # -- what the server asks ------------------------------------------------------

    async def start(self) -> None:
        """Build the globals, in order. Raises `RbrError`, after ending those that were built."""
        try:
            for home in self.homes:
                await home.start()
        except BaseException:
            await self.stop()
            raise

    def take_over(self) -> None:
        """What there was before is not in charge any more."""
        for home in self.homes:
            home.globs.take_over()

    async def stop(self, grace: float = 5.0) -> None:
        """End the globals, in reverse order, within ``grace`` seconds if they let us."""
        deadline = asyncio.get_running_loop().time() + grace
        for home in reversed(self.homes):
            await home.globs.stop(deadline)

    def find(self, request: Request, upgrade: str = "") -> tuple[Target, dict[str, str]]:
        """What answers a request, and what its url's placeholders matched.

        ``upgrade`` is what its client would rather speak. The request is told of the globals
        and sockets of its file. Raises `NotRouted`.
        """
        upgrades = "websocket" in upgrade
        target = self._known.get((request.method, request.path, upgrades))
        match: dict[str, str] = {}
        if target is None:
            target, match = self._look_for(request, upgrades=upgrades)
        home = target.home
        request.globs = home.globs.values
        request.server = home.hub
        return target, match

    def _look_for(self, request: Request, *, upgrades: bool) -> tuple[Target, dict[str, str]]:
        method, path = request.method, request.path
        router = self._router(path)
        if method == "OPTIONS" and (preflight := self._preflight(router, request)) is not None:
            return preflight, {}
        route, match = router.find(method, path, upgrades=upgrades)
        is_one_of_few = method in HTTP_VERBS and method != "OPTIONS"
        if path == route.url and not route.pattern.groups and is_one_of_few:
            self._known[method, path, upgrades] = route.target
        return route.target, match

    def _preflight(self, router: Router[Target], request: Request) -> WebPath | None:
        """What answers a browser that asks whether a page may send something (Fetch 3.2.2)."""
        wanted = request.headers.get("access-control-request-method")
        if wanted is None:
            return None
        try:
            target = router.find(wanted, request.path)[0].target
        except NotRouted:
            return None
        if isinstance(target, SocketPath) or target.cors is None:
            return None
        answer = WebPath(target.home, target.cors.preflight)
        return self._preflights.setdefault(id(target), answer)

    # -- roots -----------------------------------------------------------------------

    def at_each_root(self, page: Page) -> list[Route[Target]]:
        """A page of the server's at every root, each for the files at it or below it."""
        return [route for root, _ in self._routers for route in self._at_root(root, [page])]

    def _at_root(self, root: str, pages: Iterable[Page]) -> list[Route[Target]]:
        # Files of the server's own, such as the page of the wire, are nobody's application.
        homes = [one for one in self._below(root) if not one.file.root.startswith("/__")]
        return [page(root, homes) for page in pages if homes]

    def _below(self, root: str) -> list[Home]:
        """The files at a root or below it, its own first."""
        below = (one for one in self.homes if f"{one.file.root}/".startswith(f"{root}/"))
        return sorted(below, key=lambda home: home.file.root != root)

    def _router(self, path: str) -> Router[Target]:
        """That of the longest root that fits.

        No other is asked if that finds nothing: what lies below a root belongs to
        its file, and a wide pattern of another must not answer there.
        """
        for root, router in self._routers:
            if path.startswith(root + "/") or path == root:
                return router
        return self._routers[-1][1]  # the empty root, for what is no path: OPTIONS *

    def _by_root(self) -> list[tuple[str, Router[Target]]]:
        """The routes of each root, the longest root first."""
        homes: dict[str, list[Home]] = {"": []}
        for home in self.homes:
            homes.setdefault(home.file.root, []).append(home)
        return [
            (root, Router(self._routes_of(root, homes[root])))
            for root in sorted(homes, key=len, reverse=True)
        ]

    def _routes_of(self, root: str, homes: list[Home]) -> list[Route[Target]]:
        """Those of the files, behind what every root has; a url that a file names is its own."""
        routes = [route for home in homes for route in home.routes]
        taken = {route.url for route in routes}
        return [one for one in self._pages(root, homes) if one.url not in taken] + routes

    def _pages(self, root: str, homes: list[Home]) -> list[Route[Target]]:
        pages: dict[str, Service] = {}
        below = self._below(root)
        if self.doc and homes:
            sources = (home.file.tree.source.text for home in homes)
            pages[f"{root}/__api__"] = builtin.text("\n".join(sources))
            pages |= docpage.services([home.file for home in below], root)
        if not root:
            pages["/__health__"] = builtin.health
            pages |= self._own
        patterns = (route.pattern for home in homes for route in home.routes)
        if root and not any(pattern.fullmatch(root) for pattern in patterns):
            pages[root] = builtin.to_folder
        return self._at_root(root, self._more_pages) + [
            Route("", url, ("GET",), compile_template([url]), WebPath(self.homes[0], service))
            for url, service in pages.items()
        ]


def _is_ours(file: File) -> bool:
    return file.path.parent == CLIENT_SCRIPT.resolve().parent


def _callable(found: Any, name: str) -> Callable[..., Any]:
    if not callable(found):
        what = f"global '{name}' is not callable but of type {type(found).__name__}"
        raise AppError(what, "let it be a function, or name one: python:module.function")
    return found  # type: ignore[no-any-return]


def _parts(url: Url) -> list[str | tuple[str, str | None]]:
    return [part if isinstance(part, str) else (part.name, part.regex) for part in url.parts()]


def _last_name(path: Path) -> str:
    """The placeholder of a `directory:` that is the way below it; "" if its url has none."""
    parts = path.url.parts() if path.url is not None else ()
    return next((part.name for part in reversed(parts) if not isinstance(part, str)), "")
