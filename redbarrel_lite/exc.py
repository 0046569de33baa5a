"""Answers that a handler raises, under WebOb's names: `HTTPNotFound` and its kin.

What it implements: the statuses of RFC 9110 section 15 (and of RFC 4918, 6585,
7725) as exceptions that are responses, so that they may be returned as well.
What it leaves out: pages of HTML; the text is plain, and says what was passed.

In one line::

    raise exc.HTTPNotFound("no such page")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from .response import Response


class HTTPException(Response, Exception):
    """An answer that may be raised.

    ``detail`` is one line for whoever reads the answer; ``body`` replaces the
    whole text; ``location`` is where a redirect leads. Derive from it, with a
    ``code`` of your own, for what the table below has not.
    """

    code = 500

    def __init__(
        self,
        detail: str = "",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        location: str | None = None,
        body: str | bytes | None = None,
        content_type: str | None = None,
    ) -> None:
        Exception.__init__(self, detail)
        self.detail = detail
        if body is None and self.code not in _WITHOUT_CONTENT:
            body = self._text()
            content_type = content_type or "text/plain; charset=utf-8"
        Response.__init__(self, body or b"", self.code, headers, content_type)
        if body:
            # What a client sent may be part of the text: it stays a text.
            self.headers.append(("x-content-type-options", "nosniff"))
        if location is not None:
            self.location = location

    @property
    def title(self) -> str:
        """What the status means, in the words of its RFC."""
        return HTTPStatus(self.code).phrase if self.code in _KNOWN else "Error"

    def _text(self) -> str:
        # A terminal obeys control characters, and who passes on what it was sent
        # does not think of that.
        printable = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in self.detail
        )
        return f"{self.code} {self.title}" + (f": {printable}\n" if printable else "\n")

    def __str__(self) -> str:
        return f"{self.code} {self.title}" + (f": {self.detail}" if self.detail else "")


class HTTPSuccessful(HTTPException):
    """2xx."""

    code = 200


class HTTPRedirection(HTTPException):
    """3xx."""

    code = 300


class HTTPError(HTTPException):
    """4xx and 5xx."""


class HTTPClientError(HTTPError):
    """4xx: the client must ask for something else, or otherwise."""

    code = 400


class HTTPServerError(HTTPError):
    """5xx: the client did well, and we could not."""


_KNOWN = frozenset(HTTPStatus)
_WITHOUT_CONTENT = frozenset({204, 205, 304})

_FAMILIES = {2: HTTPSuccessful, 3: HTTPRedirection, 4: HTTPClientError, 5: HTTPServerError}

# WebOb's names, which are older than some of the RFCs' words.
_TABLE = """
200 Ok
201 Created
202 Accepted
203 NonAuthoritativeInformation
204 NoContent
205 ResetContent
206 PartialContent
300 MultipleChoices
301 MovedPermanently
302 Found
303 SeeOther
304 NotModified
305 UseProxy
307 TemporaryRedirect
308 PermanentRedirect
400 BadRequest
401 Unauthorized
402 PaymentRequired
403 Forbidden
404 NotFound
405 MethodNotAllowed
406 NotAcceptable
407 ProxyAuthenticationRequired
408 RequestTimeout
409 Conflict
410 Gone
411 LengthRequired
412 PreconditionFailed
413 RequestEntityTooLarge
414 RequestURITooLong
415 UnsupportedMediaType
416 RequestRangeNotSatisfiable
417 ExpectationFailed
421 MisdirectedRequest
422 UnprocessableEntity
423 Locked
424 FailedDependency
426 UpgradeRequired
428 PreconditionRequired
429 TooManyRequests
431 RequestHeaderFieldsTooLarge
451 UnavailableForLegalReasons
500 InternalServerError
501 NotImplemented
502 BadGateway
503 ServiceUnavailable
504 GatewayTimeout
505 VersionNotSupported
507 InsufficientStorage
511 NetworkAuthenticationRequired
"""

status_map: dict[int, type[HTTPException]] = {}

for _line in _TABLE.split("\n")[1:-1]:
    _code, _name = int(_line[:3]), f"HTTP{_line[4:]}"
    _doc = f"{_code} {HTTPStatus(_code).phrase}."
    status_map[_code] = type(
        _name, (_FAMILIES[_code // 100],), {"code": _code, "__doc__": _doc, "__module__": __name__}
    )
    globals()[_name] = status_map[_code]

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[HTTPException]: ...
