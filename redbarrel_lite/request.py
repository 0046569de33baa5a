"""Request: what a handler gets.

Named after WebOb's, which RedBarrel used. What it implements: the parts of RFC 9110
that an application looks at. What it leaves out: reading from the connection; the
body is all there, in memory or on disk, before a handler runs.

In one line::

    def hello(globs, request): return f"You asked for {request.path}"
"""

from __future__ import annotations

import copy
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from . import strictjson
from .cookies import parse_cookies
from .errors import RemoteProtocolError, show
from .forms import (
    BadContent,
    Body,
    MultiDict,
    Upload,
    file_of,
    parse_form,
    parse_urlencoded,
    percent_decoded,
)
from .response import Response

if TYPE_CHECKING:
    from .hub import Hub
    from .sockets import Socket

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})
_OF_LENGTH: Final = ("content-length", "transfer-encoding")


class Headers(Mapping[str, str]):
    """Header fields by name, without regard to case; repeated ones are joined by ", ".

    But Cookie by "; ", for it is no list in the sense of RFC 9110 5.3 (RFC 6265 5.4): a
    proxy that speaks HTTP/2 to the client may have got it in parts.
    """

    __slots__ = ("pairs",)

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs = pairs  # names in lower case

    def __getitem__(self, name: str) -> str:
        value: str | None = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field; several are joined."""
        wanted = name.lower()
        values = [value for key, value in self.pairs if key == wanted]
        if not values:
            return default
        return ("; " if wanted == "cookie" else ", ").join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.pairs))

    def __len__(self) -> int:
        return len(dict.fromkeys(name for name, _ in self.pairs))


class ServerOnly(NamedTuple):
    """What a request that belongs to no socket has as its `socketio`."""

    server: Hub


class Request:
    """One HTTP request; in a socket's handler, that of the handshake.

    ``match`` holds what the url's ``{name}``s matched; ``globs`` the `global`s of
    the .rbr file. Raises `RemoteProtocolError` with status 400 for a target that
    is not percent-encoded UTF-8. What is asked of a body that it does not hold raises
    `forms.BadContent`, which is answered with a 400 that says why.
    """

    # Many of these are kept, one for each socket: no __dict__.
    __slots__ = (
        "globs",
        "has_response",
        "host",
        "http_version",
        "match",
        "method",
        "path",
        "query_string",
        "refused",
        "remote_addr",
        "scheme",
        "server",
        "stream",
        "target",
        "_body",
        "_body_file",
        "_cookies",
        "_environ",
        "_fields",
        "_get",
        "_headers",
        "_post",
        "_response",
        "_socketio",
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        host: str = "",
        scheme: str = "http",
        remote_addr: str = "",
        body: Body = b"",
        http_version: str = "1.1",
    ) -> None:
        self.method = method
        self.target = target
        path = target
        self.query_string = ""
        if "?" in target:
            path, _, self.query_string = target.partition("?")
        self.path = _decoded(path) if "%" in path else path
        self._fields = headers
        self.host = host
        self.scheme = scheme
        self.remote_addr = remote_addr
        self.http_version = http_version
        self.match: dict[str, str] = {}
        self.globs: dict[str, Any] = {}
        self.server: Hub | None = None
        # Of a handshake: the namespaces that are not for this client, by the rules of
        # their paths, with the status of each.
        self.refused: Mapping[str, int] = _NONE
        # For a service that takes the body as it comes; `body` is empty then.
        self.stream: AsyncIterator[bytes] | None = None
        self._socketio: Socket | None = None
        # Made when they are asked for, which most requests never are.
        self._headers: Headers | None = None
        self._get: MultiDict[str] | None = None
        self._cookies: dict[str, str] | None = None
        self._environ: dict[str, Any] | None = None
        self._response: Response | None = None
        self.has_response = False  # whether that was asked for
        self._body = body
        self._body_file: IO[bytes] | None = None
        self._post: MultiDict[str | Upload] | None = None

    def set_body(self, body: Body) -> None:
        """Give the request its body, or another one: what was read of the old is forgotten."""
        self._body = body
        self._body_file = None
        self._post = None
        if self._environ is not None:  # changed in place: rules may have put something there
            self._environ["wsgi.input"] = self.body_file

    def close_body(self) -> None:
        """The answer is made: what is on disk goes, but for what the handler has put aside."""
        body = self._body
        if not isinstance(body, bytes):
            body.close()
            self.set_body(body)

    # -- where to ----------------------------------------------------------------

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

    # -- fields ------------------------------------------------------------------

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None:
            self._headers = Headers(self._fields)
        return self._headers

    @headers.setter
    def headers(self, headers: Headers) -> None:
        self._headers = headers
        self._fields = headers.pairs

    def keep_for_socket(self) -> None:
        """It stays as long as a socket: it shares names with all others, and has no body."""
        if self._body:
            self.set_body(b"")
        self.headers = Headers([(sys.intern(name), value) for name, value in self._fields])

    @property
    def GET(self) -> MultiDict[str]:  # noqa: N802  # WebOb's name
        """The fields of the query string."""
        if self._get is None:
            self._get = MultiDict(parse_urlencoded(self.query_string.encode("latin-1")))
        return self._get

    @property
    def query(self) -> dict[str, list[str]]:
        """The fields of the query string, each with all its values."""
        return self.GET.dict_of_lists()

    @property
    def POST(self) -> MultiDict[str | Upload]:  # noqa: N802  # WebOb's name
        """The fields of a form in the body, files among them; none if it is no form."""
        if self._post is None:
            self._post = parse_form(self.headers.get("content-type", ""), self._body)
        return self._post

    @property
    def params(self) -> MultiDict[str | Upload]:
        """The fields of the query string and then those of the body."""
        return MultiDict([*self.GET.items(), *self.POST.items()])

    @property
    def cookies(self) -> dict[str, str]:
        """The client's cookies by name."""
        if self._cookies is None:
            fields = (value for name, value in self._fields if name == "cookie")
            self._cookies = parse_cookies(fields)
        return self._cookies

    # -- body --------------------------------------------------------------------

    @property
    def body(self) -> bytes:
        """The whole body."""
        body = self._body
        return body if isinstance(body, bytes) else body.read(0, body.size)

    @body.setter
    def body(self, body: bytes) -> None:
        # What the client said of the length was said of its own body.
        self.set_body(body)
        length = str(len(body))
        kept = [pair for pair in self.headers.pairs if pair[0] not in _OF_LENGTH]
        self.headers = Headers([*kept, ("content-length", length)])
        if self._environ is not None:
            self._environ.pop("HTTP_TRANSFER_ENCODING", None)
            self._environ["CONTENT_LENGTH"] = length

    @property
    def body_file(self) -> IO[bytes]:
        """The body as a file to read, which a large one is: it is never in memory as a whole."""
        if self._body_file is None:
            self._body_file = file_of(self._body)
        return self._body_file

    @property
    def text(self) -> str:
        """The body, decoded as UTF-8."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise BadContent("the body is not UTF-8") from None

    @property
    def json(self) -> Any:
        """The body, decoded as JSON."""
        body = self.body
        try:
            return strictjson.loads(body)
        except ValueError as error:
            raise BadContent(f"the body is not JSON: {str(error)[:200]}") from None

    # -- the answer, and the world around ------------------------------------------

    @property
    def response(self) -> Response:
        """Header fields, cookies and status for the answer, whatever the handler returns.

        Unless that is a `Response` of its own.
        """
        if self._response is None:
            self._response = Response()
            self.has_response = True
        return self._response

    @property
    def socketio(self) -> Any:
        """The client's socket in a socket's handler; elsewhere it has a ``server`` and no more."""
        if self._socketio is None and self.server is not None:
            return ServerOnly(self.server)
        return self._socketio

    @property
    def environ(self) -> dict[str, Any]:
        """The request in WSGI's words, and the socket under ``"socketio"``, as in 2011.

        The path is text, not WSGI's bytes dressed as text.
        """
        if self._environ is None:
            self._environ = self._new_environ()
        return self._environ

    def _new_environ(self) -> dict[str, Any]:
        name, _, port = self.host.rpartition(":")
        if not name or not port.isdecimal():
            name, port = self.host, "443" if self.scheme == "https" else "80"
        environ = {
            "REQUEST_METHOD": self.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query_string,
            "REMOTE_ADDR": self.remote_addr,
            "SERVER_NAME": name,
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": f"HTTP/{self.http_version}",
            "wsgi.url_scheme": self.scheme,
            "wsgi.input": self.body_file,
            "socketio": self.socketio,
        }
        for name in self.headers:
            if "_" not in name:  # "X_User" would pass for "X-User", which a proxy may vouch for
                environ[_environ_name(name)] = self.headers[name]
        return environ

    def __copy__(self) -> Request:
        """What `copy.copy` makes of it: by its own way that takes ten times as long."""
        copied = object.__new__(Request)
        for name in Request.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied

    def for_socket(self, socket: Socket, match: Mapping[str, str] = _NONE) -> Request:
        """This request as the handler of one socket sees it.

        ``match`` is what the namespace's placeholders matched.
        """
        request = copy.copy(self)
        request._socketio = socket
        request._environ = None
        if match:
            request.match = {**self.match, **match}
        return request


def _environ_name(name: str) -> str:
    """RFC 3875 4.1.18."""
    name = name.replace("-", "_").upper()
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"


def _decoded(path: str) -> str:
    try:
        text = percent_decoded(path.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("the path is not percent-encoded UTF-8", 400) from None
    if "\0" in text:
        # No file and no route has such a name, and C would end the name there.
        raise RemoteProtocolError("NUL in the path", 400)
    return text


def line_for(request: Request) -> str:
    """What was asked for, for a line of the log: ``GET '/a'``. It is short, whatever was asked for.

    A client may choose eight kilobytes of path, and of method too.
    """
    return f"{request.method:.20} {show(request.path, 200)}"
