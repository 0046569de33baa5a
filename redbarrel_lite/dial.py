"""Connections that we open ourselves, and one HTTP request on each.

What it implements: where to connect, by TCP, by a Unix socket, or to a server in this process;
a request with its answer; cookies, as far as one visitor of one application needs them (RFC
6265 5.2). It is for our clients: those of the command line, and that for tests. What it leaves
out: the rules of HTTP, which `http1_client` knows, and a proxy's streaming, which is `upstream`'s.

In one line::

    answer, body = await Visitor(Port("http://127.0.0.1:8000")).ask("GET", "/")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from . import http1_client
from .connection import HttpConnection
from .errors import RemoteProtocolError, show
from .host import Host
from .http1 import END_OF_MESSAGE
from .response import parse_date
from .tap import Tap

P = TypeVar("P", bound=asyncio.Protocol)

DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}

MAYBE_TLS: Final = "; where TLS is spoken, write https:// or wss://"

Fields = list[tuple[str, str]]


def why(error: OSError) -> str:
    """What the system says of an error: asyncio wraps its words into a sentence of its own."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return "what answers is no TLS; where none is spoken, write http:// or ws://"
    if isinstance(error, (ssl.SSLError, socket.gaierror)) or (error.errno or 0) <= 0:
        # Within the handshake of TLS, asyncio has no words for this.
        return error.strerror or str(error) or "the server closed the connection"
    assert error.errno is not None
    return os.strerror(error.errno)


def trusting(cafile: str | None) -> ssl.SSLContext | None:
    """For those whom the certificates in a file vouch for; None: for whom the system trusts.

    Raises ValueError, with words that name the file.
    """
    if cafile is None:
        return None
    try:
        return ssl.create_default_context(cafile=cafile)
    except ssl.SSLError:  # whose own words name neither file nor form
        raise ValueError(f"--cafile {cafile}: there is no certificate in PEM in it") from None
    except OSError as error:
        raise ValueError(f"--cafile {cafile}: {why(error)}") from None


class Dial(Protocol):
    """Where to connect."""

    @property
    def authority(self) -> str:
        """What the Host field says."""

    async def open(self, protocol: P) -> P:
        """Open a connection for a protocol. Raises OSError."""


class Port:
    """A server behind a TCP port, with TLS for https."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, tap: Tap | None = None) -> None:
        """``tap`` is for who watches its connections.

        Raises ValueError for what is no ``http://`` or ``https://`` url.
        """
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is no url of a server: write http://127.0.0.1:8000")
        self.authority = parts.netloc.rpartition("@")[2]
        self._host = parts.hostname
        self._tap = tap
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._tls = (
            (tls or ssl.create_default_context()) if parts.scheme in ("https", "wss") else None
        )

    async def open(self, protocol: P) -> P:
        """Open a connection for a protocol. Raises OSError."""
        loop = asyncio.get_running_loop()
        new: Callable[[], asyncio.Protocol] = lambda: protocol  # noqa: E731
        if self._tap is not None:
            new = self._tap.on(new)
        await loop.create_connection(new, self._host, self._port, ssl=self._tls)
        return protocol


def check_path(path: str) -> None:
    """Raise ValueError for what can't be the path of a Unix socket."""
    if not path or "\0" in path:  # Linux would listen on an abstract name, and make up one for ""
        raise ValueError("it is empty, or has a NUL: write the path of a socket")
    if not hasattr(socket, "AF_UNIX"):  # Windows
        return
    size = len(os.fsencode(path))
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            # As long, and nobody's socket: the room in sockaddr_un is each system's own.
            probe.connect("/" * size)
        except OSError as error:
            if error.errno is None:  # so Python says that it does not fit
                raise ValueError(
                    f"{show(path)} has {size} bytes, which is more than the path of a"
                    " Unix socket may have: 107 on Linux, 103 on macOS"
                ) from None


class UnixSocket:
    """A server behind a Unix socket."""

    authority = "localhost"

    def __init__(self, path: str) -> None:
        self._path = path

    async def open(self, protocol: P) -> P:
        """Open a connection for a protocol. Raises OSError."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: protocol, self._path)
        return protocol


class Pair:
    """A server in this process: pairs of sockets, with its code at the far end."""

    authority = "localhost"

    def __init__(self, server: Host) -> None:
        self._server = server

    async def open(self, protocol: P) -> P:
        """Open a connection for a protocol."""
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        try:
            await loop.connect_accepted_socket(lambda: HttpConnection(self._server), far)
        except BaseException:  # asyncio closes the far one
            near.close()
            raise
        await loop.connect_accepted_socket(lambda: protocol, near)
        return protocol


class Visitor:
    """Who asks: where, and with which cookies.

    As there is one application and one visitor, neither the path nor the domain of a
    cookie is looked at.
    """

    def __init__(self, dial: Dial, cookies: dict[str, str] | None = None) -> None:
        self.dial = dial
        self.cookies = {} if cookies is None else cookies

    async def ask(
        self, method: str, target: str, fields: Fields | None = None, content: bytes = b""
    ) -> tuple[http1_client.Response, bytes]:
        """Send a request on a connection of its own; return the head of the answer, and its body.

        Who cancels it hangs up. Raises ConnectionError if the answer breaks off or is
        none, and OSError if nobody is there.
        """
        exchange = await self.dial.open(Exchange())
        try:
            head, body = await exchange.ask(method, target, self.fields(fields or []), content)
        finally:
            exchange.close()
        self.remember(head)
        return head, body

    def fields(self, fields: Fields) -> Fields:
        """Header fields, names in lower case, with Host and Cookie, unless they are there."""
        named = {name for name, _ in fields}
        more = [] if "host" in named else [("host", self.dial.authority)]
        if self.cookies and "cookie" not in named:
            pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            more.append(("cookie", pairs))
        return [*more, *fields]

    def remember(self, head: http1_client.Response) -> None:
        """Take the cookies of an answer, or forget them, as it says."""
        for name, value in head.headers:
            if name == "set-cookie":
                self._keep(value)

    def _keep(self, field: str) -> None:
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


class ConnectError(ConnectionError):
    """The server does not let us in.

    ``data`` is what it says of that: what `Refused` was raised with, or, where the
    handshake itself is refused (``status`` is that of HTTP then, else None), the
    answer's body, decoded if it is JSON; ``answer`` is that answer as it came.
    """

    answer = http1_client.Response(0, (), None), b""

    def __init__(self, message: str, data: Any = None, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        self.status = status


def refused(target: str, head: http1_client.Response, body: bytes) -> ConnectError:
    """The error for a handshake that was answered with something else."""
    headers = dict(head.headers)
    data: Any = body.decode(errors="replace")
    told = data.strip().removeprefix(f"{head.status} ")[:200]
    message = f"{target.partition('?')[0]} answers {head.status}: {told}".removesuffix(": ")
    if headers.get("content-type", "").startswith("application/json"):
        with contextlib.suppress(ValueError):
            data = json.loads(body)
    error = ConnectError(message, data, head.status)
    error.answer = head, body
    return error


class Exchange(asyncio.Protocol):
    """The client's side of one request."""

    def __init__(self) -> None:
        self._http = http1_client.Connection()
        self._answer: asyncio.Future[None] | None = None  # what waits for it
        self._head: http1_client.Response | None = None
        self._body = bytearray()
        self._is_whole = False
        self._is_silent = True  # not a byte has come
        self._fault = ""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(
        self, method: str, target: str, fields: Fields, content: bytes = b""
    ) -> tuple[http1_client.Response, bytes]:
        """Send the request, wait for its answer."""
        assert self._transport is not None
        head = self._http.send_request(method, target, fields, len(content))
        self._transport.write(head + content)
        self._answer = asyncio.get_running_loop().create_future()
        self._tell()
        await self._answer
        if self._head is None or not self._is_whole:
            raise ConnectionError(self._fault)
        return self._head, bytes(self._body)

    def data_received(self, data: bytes) -> None:
        self._is_silent = False
        self._take(self._http.receive(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._take(self._http.receive_eof())
        self._fault = self._fault or "the answer broke off"
        if self._is_silent:
            self._fault = f"it hung up without an answer{MAYBE_TLS}"
        self._tell()

    def _take(self, events: list[http1_client.Event]) -> None:
        for event in events:
            if isinstance(event, http1_client.Response):
                self._head = event
                self._is_whole = event.status == 101
            elif isinstance(event, bytes):
                self._body += event
            elif event is END_OF_MESSAGE:
                self._is_whole = True
            elif isinstance(event, RemoteProtocolError):
                self._fault = str(event)
        self._tell()

    def _tell(self) -> None:
        is_over = self._is_whole or bool(self._fault)
        if is_over and self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def switch(self, protocol: asyncio.Protocol) -> None:
        """Give the connection, after a 101, to the protocol that was asked for."""
        assert self._transport is not None
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        early = self._http.upgrade()
        if early:
            protocol.data_received(early)

    def close(self) -> None:
        """Go; a server that still works for us learns of it as from any client."""
        assert self._transport is not None
        self._transport.abort()
