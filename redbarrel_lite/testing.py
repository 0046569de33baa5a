"""A client for tests: asks an application in this process without a port, or any at a url.

What it implements: requests with queries, forms, files and JSON; cookies that are
kept; redirects, if they are to be followed; Socket.IO over either transport and across the
upgrade, and, one layer down, Engine.IO and WebSockets. What it leaves out: protocol 3.
Public: used by our tests and by those of applications.

In one line::

    with testing.client("app.rbr") as client: assert client.get("/").status == 200

There is no second, smaller server behind it that might be kinder than the real one:
each connection is a pair of sockets into the very code that serves strangers, so limits,
rules and the framing of HTTP are those of production.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_
import ssl
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fspath
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from urllib.parse import urljoin, urlsplit

from .app import App
from .dial import ConnectError, Fields, Pair, Port, Visitor
from .dial_raw import AsyncEngine, AsyncWebSocket
from .dial_socket import TIMEOUT_S, AsyncSocket, Line, Received
from .engineio import WEBSOCKET
from .errors import SocketClosed
from .packed import path_at
from .request import Headers
from .server import Server
from .testing_bodies import Field, File, encoded, target_of
from .testing_sync import Engine, Loop, Socket, WebSocket
from .upstream import Upstream

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncEngine",
    "AsyncSocket",
    "AsyncWebSocket",
    "Client",
    "ConnectError",
    "Engine",
    "Field",
    "File",
    "Received",
    "Socket",
    "SocketClosed",
    "WebSocket",
    "async_client",
    "async_connect",
    "client",
    "connect",
]

# As browsers do: more is a circle.
MAX_REDIRECTS: Final = 20

FileName: TypeAlias = str | PathLike[str]


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers`` are found in any case; ``url`` is what was asked last."""

    status: int
    headers: Headers
    body: bytes
    url: str

    @cached_property
    def text(self) -> str:
        """The body as text, by the charset that it is said to have, or else UTF-8."""
        _, _, charset = self.headers.get("content-type", "").partition("charset=")
        return self.body.decode(charset.partition(";")[0].strip('" ') or "utf-8")

    @cached_property
    def json(self) -> Any:
        """The body, decoded as JSON."""
        return json_.loads(self.body)


class _Connecting(Protocol):
    """What can be opened, and is to be closed."""

    async def connect(self) -> Any: ...

    async def close(self) -> None: ...


O = TypeVar("O", bound=_Connecting)  # noqa: E741
T = TypeVar("T")


class Opening(Generic[O]):
    """A connection to be awaited, or to be opened and closed by ``async with``."""

    def __init__(self, connection: O) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no {name!r} before it is open: `async with` it, or await it")

    async def _open(self) -> O:
        await self._connection.connect()
        return self._connection

    def __await__(self) -> Generator[Any, None, O]:
        return self._open().__await__()

    async def __aenter__(self) -> O:
        return await self._open()

    async def __aexit__(self, *_exception: object) -> None:
        await self._connection.close()


class AsyncClient:
    """Asks an application from the event loop that runs it, or a server at a url.

    ``async with`` builds the globals and, at its end, ends them. ``cookies`` may be
    read and set; as there is one application and one visitor, neither the path nor the
    domain of a cookie is looked at.
    """

    def __init__(
        self, *files: FileName, timeout: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        """``files`` are .rbr files, or the one url of a server that runs.

        ``tls`` is for a url of https whose certificate is not to be found by itself.
        """
        self.cookies: dict[str, str] = {}
        self._files = [path_at(fspath(file)) for file in files]
        self._timeout = timeout
        self._server: Server | None = None
        self._visitor: Visitor | None = None
        self._opened: weakref.WeakSet[_Connecting] = weakref.WeakSet()
        if len(files) == 1 and str(files[0]).startswith(("http://", "https://", "ws://", "wss://")):
            self._visitor = Visitor(Port(str(files[0]), tls), self.cookies)
            self._files = []

    async def __aenter__(self) -> AsyncClient:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Load the files and build the globals. Raises OSError and `RbrError`."""
        if self._files:
            self._server = Server(App.load(self._files, Upstream))
            await self._server.start_app()
            self._visitor = Visitor(Pair(self._server), self.cookies)

    async def close(self) -> None:
        """End what sockets are still open, and the globals. What still runs has a moment."""
        for one in tuple(self._opened):
            with contextlib.suppress(TimeoutError):
                await one.close()
        server, self._server = self._server, None
        if server is not None:
            self._visitor = None
            await server.close(1.0)

    # -- HTTP --------------------------------------------------------------------

    async def get(self, url: str, **options: Any) -> Answer:
        """Ask with GET; for the options see `request`."""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Any) -> Answer:
        """Ask with HEAD."""
        return await self.request("HEAD", url, **options)

    async def options(self, url: str, **options: Any) -> Answer:
        """Ask with OPTIONS."""
        return await self.request("OPTIONS", url, **options)

    async def post(self, url: str, **options: Any) -> Answer:
        """Ask with POST."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Answer:
        """Ask with PUT."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Answer:
        """Ask with PATCH."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Answer:
        """Ask with DELETE."""
        return await self.request("DELETE", url, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Field] | None = None,
        data: Mapping[str, Field] | None = None,
        files: Mapping[str, File] | None = None,
        json: Any = None,
        body: str | bytes = b"",
        follow: bool = False,
        headers: Mapping[str, str] | None = None,
        **more_headers: str,
    ) -> Answer:
        """Ask, and return the answer.

        ``params`` go into the query, ``data`` and ``files`` make a form, ``json`` is encoded.
        A header may be a keyword, with ``_`` for ``-``: ``if_none_match='"1"'``.
        ``follow`` follows redirects. Raises TimeoutError, and ConnectionError if the
        answer breaks off.
        """
        fields = _fields(headers, more_headers)
        content, media_type = encoded(data, files, json, body)
        if media_type and not any(name == "content-type" for name, _ in fields):
            fields.append(("content-type", media_type))
        target = target_of(url, params)
        answer = await self._ask(method, target, fields, content)
        for _ in range(MAX_REDIRECTS):
            where = answer.headers.get("location")
            if not follow or where is None or answer.status not in (301, 302, 303, 307, 308):
                return answer
            if answer.status <= 303 and method != "HEAD":  # RFC 9110 15.4: to be asked for by GET
                method, content = "GET", b""
                fields = [field for field in fields if field[0] != "content-type"]
            target = target_of(urljoin(target, where), None)
            answer = await self._ask(method, target, fields, content)
        raise RecursionError(f"over {MAX_REDIRECTS} redirects, the last to {target}")

    async def _ask(self, method: str, target: str, fields: Fields, content: bytes) -> Answer:
        async with asyncio.timeout(self._timeout):
            head, body = await self._started().ask(method, target, fields, content)
        return Answer(head.status, Headers(head.headers), body, target)

    def _started(self) -> Visitor:
        if self._visitor is None:
            raise RuntimeError("the client is not started: write `async with`")
        return self._visitor

    # -- sockets -----------------------------------------------------------------

    def socket(
        self,
        namespace: str = "/",
        *,
        auth: Any = None,
        path: str = "/socket.io/",
        transport: str = WEBSOCKET,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        **more_headers: str,
    ) -> Opening[AsyncSocket]:
        """Connect as a Socket.IO client: ``async with`` it, or await it and close it.

        ``auth`` is what the handler finds in ``socketio.auth``; ``path`` the url of the .rbr
        file, with a query if you like; ``transport`` "websocket", "polling", or "upgrade",
        from polling to a WebSocket, as browsers do. The client's cookies go along.
        Raises `ConnectError` if the server refuses, TimeoutError, and OSError.
        """
        seconds = self._timeout if timeout is None else timeout
        fields = _fields(headers, more_headers)
        line = Line(self._started(), target_of(path, None), fields, transport, seconds)
        return self._opening(AsyncSocket(line, namespace, auth))

    def websocket(
        self,
        path: str = "/ws",
        *,
        subprotocols: Sequence[str] = (),
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        **more_headers: str,
    ) -> Opening[AsyncWebSocket]:
        """Open a WebSocket; ``async with`` it, or await it and close it. Raises as `socket`."""
        seconds = self._timeout if timeout is None else timeout
        fields = _fields(headers, more_headers)
        return self._opening(
            AsyncWebSocket(self._started(), target_of(path, None), fields, subprotocols, seconds)
        )

    def engine(
        self,
        path: str = "/engine.io/",
        *,
        transport: str = WEBSOCKET,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        **more_headers: str,
    ) -> Opening[AsyncEngine]:
        """Begin an Engine.IO session; ``async with`` it, or await it and close it."""
        seconds = self._timeout if timeout is None else timeout
        fields = _fields(headers, more_headers)
        return self._opening(
            AsyncEngine(self._started(), target_of(path, None), fields, transport, seconds)
        )

    def _opening(self, connection: O) -> Opening[O]:
        self._opened.add(connection)
        return Opening(connection)


class Client:
    """The same for tests without coroutines: an `AsyncClient` with a loop in a thread.

    It starts when it is first asked for something, or by ``with``; what runs in the
    background goes on between two requests. It is closed by ``with``, by `close`, or
    when nobody holds it any more, or a socket of it.
    """

    def __init__(
        self, *files: FileName, timeout: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        self._client = AsyncClient(*files, timeout=timeout, tls=tls)
        self._loop: Loop | None = None
        self._finalizer: weakref.finalize[[Loop, AsyncClient], Client] | None = None

    def __enter__(self) -> Client:
        self._started()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _started(self) -> Loop:
        if self._loop is None:
            loop = Loop()
            try:
                loop.run(self._client.start())
            except BaseException:
                loop.close()
                raise
            self._loop = loop
            self._finalizer = weakref.finalize(self, _end, loop, self._client)
        return self._loop

    def close(self) -> None:
        """End the application; the client may be started again."""
        self._loop = None
        if self._finalizer is not None:
            self._finalizer()

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that are kept, by name."""
        return self._client.cookies

    def socket(self, namespace: str = "/", **options: Any) -> Socket:
        """Connect as a Socket.IO client; the options are those of `AsyncClient.socket`."""
        return Socket(*self._opened(self._client.socket, namespace, options))

    def websocket(self, path: str = "/ws", **options: Any) -> WebSocket:
        """Open a WebSocket; the options are those of `AsyncClient.websocket`."""
        return WebSocket(*self._opened(self._client.websocket, path, options))

    def engine(self, path: str = "/engine.io/", **options: Any) -> Engine:
        """Begin an Engine.IO session; the options are those of `AsyncClient.engine`."""
        return Engine(*self._opened(self._client.engine, path, options))

    def _opened(
        self, open_: Callable[..., Opening[O]], what: str, options: Mapping[str, Any]
    ) -> tuple[Loop, O, Client]:
        async def opened() -> O:
            return await open_(what, **options)

        loop = self._started()
        return loop, loop.run(opened()), self

    def request(self, method: str, url: str, **options: Any) -> Answer:
        """Ask; the options are those of `AsyncClient.request`."""
        return self._started().run(self._client.request(method, url, **options))

    def get(self, url: str, **options: Any) -> Answer:
        """Ask with GET."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> Answer:
        """Ask with HEAD."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Any) -> Answer:
        """Ask with OPTIONS."""
        return self.request("OPTIONS", url, **options)

    def post(self, url: str, **options: Any) -> Answer:
        """Ask with POST."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Answer:
        """Ask with PUT."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Answer:
        """Ask with PATCH."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Answer:
        """Ask with DELETE."""
        return self.request("DELETE", url, **options)


client = Client
async_client = AsyncClient


def connect(url: str, namespace: str = "", **options: Any) -> Socket:
    """Connect to a server at a url as a Socket.IO client; the end of the socket ends all.

    As in ``io(url)``, a path of the url is the namespace. The options are those of
    `AsyncClient.socket`, and ``tls``.
    """
    tls = options.pop("tls", None)
    one = Client(url, timeout=options.get("timeout", TIMEOUT_S), tls=tls)
    try:
        socket = one.socket(_namespace_of(url, namespace), **options)
    except BaseException:
        one.close()
        raise
    socket.when_closed(one.close)
    return socket


def async_connect(url: str, namespace: str = "", **options: Any) -> Opening[AsyncSocket]:
    """The same to be awaited, or for ``async with``."""
    one = AsyncClient(url, tls=options.pop("tls", None))
    return one.socket(_namespace_of(url, namespace), **options)


def _namespace_of(url: str, namespace: str) -> str:
    return namespace or urlsplit(url).path or "/"


def _fields(headers: Mapping[str, str] | None, more: Mapping[str, str]) -> Fields:
    """Header fields, each once: a keyword beats the mapping."""
    named = {**(headers or {}), **{name.replace("_", "-"): value for name, value in more.items()}}
    return list({name.lower(): value for name, value in named.items()}.items())


def _end(loop: Loop, client: AsyncClient) -> None:
    try:
        loop.run(client.close())
    finally:
        loop.close()
