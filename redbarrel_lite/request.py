"""Request: what a handler gets.

Named after WebOb's, which RedBarrel used. What they implement: the parts of RFC
9110 that an application looks at. What they leave out: forms and cookies.

In one line::

    def hello(globs, request): return f"You asked for {request.path}"
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_to_bytes

from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from .sockets import Hub, Socket

# More fields than any form has; each costs memory and time.
MAX_QUERY_FIELDS = 1000


class Headers(Mapping[str, str]):
    """Header fields by name, without regard to case; repeated ones are joined by ", "."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs  # names in lower case

    def __getitem__(self, name: str) -> str:
        wanted = name.lower()
        values = [value for key, value in self.pairs if key == wanted]
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.pairs))

    def __len__(self) -> int:
        return len(dict.fromkeys(name for name, _ in self.pairs))


class Request:
    """One HTTP request; in a socket's handler, that of the handshake.

    ``match`` holds what the url's ``{name}``s matched; ``globs`` the `global`s of
    the .rbr file. Raises `RemoteProtocolError` with status 400 for a target that
    is not percent-encoded UTF-8.
    """

    __slots__ = (
        "body",
        "globs",
        "headers",
        "match",
        "method",
        "path",
        "query_string",
        "remote_addr",
        "scheme",
        "server",
        "socketio",
        "target",
        "host",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        *,
        host: str = "",
        scheme: str = "http",
        remote_addr: str = "",
        body: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        path, _, self.query_string = target.partition("?")
        self.path = _decoded(path)
        self.headers = Headers(headers)
        self.host = host
        self.scheme = scheme
        self.remote_addr = remote_addr
        self.body = body
        self.match: dict[str, str] = {}
        self.globs: dict[str, Any] = {}
        self.server: Hub | None = None
        self.socketio: Socket | None = None

    @property
    def path_info(self) -> str:
        """WSGI's name for the path."""
        return self.path

    @property
    def host_url(self) -> str:
        """Scheme and host, as in ``http://localhost:8000``."""
        return f"{self.scheme}://{self.host}"

    @property
    def url(self) -> str:
        """The whole URL of the request."""
        return self.host_url + self.target

    @property
    def query(self) -> dict[str, list[str]]:
        """The fields of the query string, each with all its values."""
        try:
            return parse_qs(
                self.query_string, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS
            )
        except ValueError as error:
            raise RemoteProtocolError(f"bad query: {error}", 400) from None

    @property
    def GET(self) -> dict[str, str]:  # noqa: N802  # WebOb's name
        """The fields of the query string, each with its last value."""
        return {name: values[-1] for name, values in self.query.items()}

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body, decoded as JSON."""
        return json.loads(self.body)

    @property
    def environ(self) -> dict[str, Any]:
        """What the handlers of 2011 look into: the socket, under ``"socketio"``."""
        return {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query_string,
            "REMOTE_ADDR": self.remote_addr,
            "wsgi.url_scheme": self.scheme,
            "socketio": self.socketio,
        }

    def for_socket(self, socket: Socket) -> Request:
        """This request as the handler of one socket sees it."""
        request = copy.copy(self)
        request.socketio = socket
        return request


def _decoded(path: str) -> str:
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("the path is not percent-encoded UTF-8", 400) from None
    if "\0" in text:
        # No file and no route has such a name, and C would end the name there.
        raise RemoteProtocolError("NUL in the path", 400)
    return text
