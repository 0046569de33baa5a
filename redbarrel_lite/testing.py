"""A client for tests: asks an application in this process, without a port.

What it implements: requests with queries, forms, files and JSON; cookies that are
kept; redirects, if they are to be followed. What it leaves out: sockets, which take
a server and a real client. Public: used by our tests and by those of applications.

In one line::

    with testing.client("app.rbr") as client: assert client.get("/").status == 200

There is no second, smaller server behind it that might be kinder than the real one:
each request goes through a pair of connected sockets into the very code that
serves strangers, so limits, rules and the framing of HTTP are those of production.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as json_
import mimetypes
import secrets
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from . import http1_client
from .app import App
from .connection import HttpConnection
from .errors import RemoteProtocolError
from .http1 import END_OF_MESSAGE
from .request import Headers
from .response import parse_date
from .server import Server
from .upstream import Upstream

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
# As browsers do: more is a circle.
MAX_REDIRECTS: Final = 20
# What stands in a target as it is: all of ASCII that can be printed, but for the blank.
_WRITTEN: Final = "".join(map(chr, range(0x21, 0x7F)))

FileName: TypeAlias = str | PathLike[str]
Field: TypeAlias = str | int | float | Iterable[str]
# A file's content, a path to it, or (name, content[, media type]).
File: TypeAlias = bytes | Path | tuple[str, bytes] | tuple[str, bytes, str]


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


class AsyncClient:
    """Asks an application from the event loop that runs it.

    ``async with`` builds the globals and, at its end, ends them. ``cookies`` may be
    read and set; as there is one application and one visitor, neither the path nor the
    domain of a cookie is looked at.
    """

    def __init__(self, *files: FileName, timeout: float = TIMEOUT_S) -> None:
        self.cookies: dict[str, str] = {}
        self._files = [Path(file) for file in files]
        self._timeout = timeout
        self._server: Server | None = None

    async def __aenter__(self) -> AsyncClient:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Load the files and build the globals. Raises OSError and `RbrError`."""
        self._server = Server(App.load(self._files, Upstream))
        await self._server.start_app()

    async def close(self) -> None:
        """End the globals. What still runs is given a moment."""
        server, self._server = self._server, None
        if server is not None:
            await server.close(1.0)

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
        fields = {name.replace("_", "-"): value for name, value in more_headers.items()}
        fields = {name.lower(): value for name, value in ({**(headers or {}), **fields}).items()}
        content, media_type = _content(data, files, json, body)
        if media_type:
            fields.setdefault("content-type", media_type)
        target = _target(url, params)
        answer = await self._ask(method, target, fields, content)
        for _ in range(MAX_REDIRECTS):
            where = answer.headers.get("location")
            if not follow or where is None or answer.status not in (301, 302, 303, 307, 308):
                return answer
            if answer.status <= 303 and method != "HEAD":  # RFC 9110 15.4: to be asked for by GET
                method, content = "GET", b""
                fields.pop("content-type", None)
            target = _target(urljoin(target, where), None)
            answer = await self._ask(method, target, fields, content)
        raise RecursionError(f"over {MAX_REDIRECTS} redirects, the last to {target}")

    async def _ask(
        self, method: str, target: str, fields: Mapping[str, str], content: bytes
    ) -> Answer:
        if self._server is None:
            raise RuntimeError("the client is not started: write `async with`")
        headers = {"host": "localhost", **fields}
        if self.cookies:
            own = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers.setdefault("cookie", own)
        async with asyncio.timeout(self._timeout):
            async with _connected(self._server) as exchange:
                answer = await exchange.ask(method, target, list(headers.items()), content)
        for name, value in answer.headers.pairs:
            if name == "set-cookie":
                self._keep(value)
        return answer

    def _keep(self, field: str) -> None:
        """Take a cookie, or forget it, as a Set-Cookie field says (RFC 6265 5.2)."""
        pair, *attributes = (part.strip() for part in field.split(";"))
        name, _, value = pair.partition("=")
        told = {key.lower(): text for key, _, text in (a.partition("=") for a in attributes)}
        until = parse_date(told.get("expires", ""))
        age = told.get("max-age", "")
        if age.lstrip("-").isdecimal():
            gone = int(age) <= 0
        else:
            gone = until is not None and until.timestamp() <= 0
        if gone:
            self.cookies.pop(name, None)
        else:
            self.cookies[name] = value


class Client:
    """The same for tests without coroutines: an `AsyncClient` with a loop in a thread.

    It starts when it is first asked for something, or by ``with``; what runs in the
    background goes on between two requests. It is closed by ``with``, by `close`, or
    when nobody holds it any more.
    """

    def __init__(self, *files: FileName, timeout: float = TIMEOUT_S) -> None:
        self._client = AsyncClient(*files, timeout=timeout)
        self._loop: _Loop | None = None
        self._finalizer: weakref.finalize[[_Loop, AsyncClient], Client] | None = None

    def __enter__(self) -> Client:
        self._started()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _started(self) -> _Loop:
        if self._loop is None:
            loop = _Loop()
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


class _Loop:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="testing", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closed.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()


def _end(loop: _Loop, client: AsyncClient) -> None:
    try:
        loop.run(client.close())
    finally:
        loop.close()


# -- what is asked for -----------------------------------------------------------------


def _target(url: str, params: Mapping[str, Field] | None) -> str:
    """Path and query. What is encoded is not encoded again, so that a test may be nasty."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(params or {}, doseq=True))))
    target = quote(parts.path or "/", safe=_WRITTEN)
    return f"{target}?{quote(query, safe=_WRITTEN)}" if query else target


def _content(
    data: Mapping[str, Field] | None,
    files: Mapping[str, File] | None,
    json: Any,
    body: str | bytes,
) -> tuple[bytes, str]:
    """The bytes of a request's body, and their media type."""
    if files is not None:
        return _multipart(data or {}, files)
    if data is not None:
        return urlencode(data, doseq=True).encode(), "application/x-www-form-urlencoded"
    if json is not None:
        return json_.dumps(json).encode(), "application/json"
    return (body.encode(), "text/plain; charset=utf-8") if isinstance(body, str) else (body, "")


def _multipart(data: Mapping[str, Field], files: Mapping[str, File]) -> tuple[bytes, str]:
    """RFC 7578."""
    boundary = secrets.token_hex(16)  # so many bits that it is in no content
    body = bytearray()

    def add(content: bytes, **parameters: str) -> None:
        media_type = parameters.pop("media_type", "")
        told = "".join(f'; {key}="{_escaped(text)}"' for key, text in parameters.items())
        head = f"--{boundary}\r\nContent-Disposition: form-data{told}\r\n"
        if media_type:
            head += f"Content-Type: {media_type}\r\n"
        body.extend(head.encode() + b"\r\n" + content + b"\r\n")

    for name, value in data.items():
        for one in [value] if isinstance(value, (str, int, float)) else value:
            add(str(one).encode(), name=name)
    for name, file in files.items():
        filename, content, media_type = _file(name, file)
        add(content, name=name, filename=filename, media_type=media_type)
    body.extend(f"--{boundary}--\r\n".encode())
    return bytes(body), f"multipart/form-data; boundary={boundary}"


def _file(name: str, file: File) -> tuple[str, bytes, str]:
    if isinstance(file, bytes):
        file = (name, file)
    elif isinstance(file, Path):
        file = (file.name, file.read_bytes())
    if len(file) == 3:
        return file
    guessed = mimetypes.guess_type(file[0])[0] or "application/octet-stream"
    return (*file, guessed)


def _escaped(text: str) -> str:
    """As browsers write a name (HTML, multipart/form-data encoding algorithm)."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


# -- one request -----------------------------------------------------------------------


class _Exchange(asyncio.Protocol):
    """The client's side of one request."""

    def __init__(self) -> None:
        self._http = http1_client.Connection()
        self._answer: asyncio.Future[tuple[http1_client.Response, bytes]]
        self._answer = asyncio.get_running_loop().create_future()
        self._head: http1_client.Response | None = None
        self._body = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(
        self, method: str, target: str, headers: list[tuple[str, str]], content: bytes
    ) -> Answer:
        assert self._transport is not None
        http = self._http
        head = http.send_request(method, target, headers, len(content))
        self._transport.write(head + content)
        answer, body = await self._answer
        return Answer(answer.status, Headers(answer.headers), body, target)

    def data_received(self, data: bytes) -> None:
        self._take(self._http.receive(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._take(self._http.receive_eof())
        if not self._answer.done():
            self._answer.set_exception(ConnectionError("the answer broke off"))

    def _take(self, events: list[http1_client.Event]) -> None:
        for event in events:
            if isinstance(event, http1_client.Response):
                self._head = event
            elif isinstance(event, bytes):
                self._body += event
            elif self._answer.done():
                continue
            elif event is END_OF_MESSAGE and self._head is not None:
                self._answer.set_result((self._head, bytes(self._body)))
            elif isinstance(event, RemoteProtocolError):
                self._answer.set_exception(ConnectionError(str(event)))

    def close(self, far: asyncio.BaseTransport) -> None:
        """Go; a server that still works for us learns of it as from any client."""
        assert isinstance(far, asyncio.Transport)
        assert self._transport is not None
        self._answer.cancel()
        self._transport.abort()
        far.abort()


@contextlib.asynccontextmanager
async def _connected(server: Server) -> AsyncIterator[_Exchange]:
    """A pair of sockets with a server's connection at one end."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(lambda: HttpConnection(server), far)
    _, exchange = await loop.connect_accepted_socket(_Exchange, near)
    try:
        yield exchange
    finally:
        exchange.close(transport)
