"""Response: the answer to a request, as a handler makes it.

Named after WebOb's, which RedBarrel used. What it implements: status, header
fields, content, validators and their comparison (RFC 9110 sections 6, 8, 13, 15).
What it leaves out: how it is framed and sent, which is the server's.

In one line::

    return Response("<p>Hello</p>", 200, {"x-frame-options": "DENY"})
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, BinaryIO, Final, TypeAlias
from urllib.parse import quote

from . import cookies
from .cookies import SameSite

HeaderPairs: TypeAlias = list[tuple[str, str]]
UsualFields: TypeAlias = tuple[tuple[str, str], ...]  # the same ones for many answers


@dataclass(frozen=True, slots=True)
class FileContent:
    """A part of an open file, which the server sends, and closes when that is done.

    The kernel copies it where the platform can (sendfile), so that its size costs
    no memory.
    """

    file: BinaryIO
    offset: int
    count: int


# Content that comes in parts: an iterator is sent as it yields, and a client that
# reads slowly makes it wait.
Stream: TypeAlias = AsyncIterator[bytes] | FileContent

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")
_NOT_IN_A_FIELD = re.compile(r"[\r\n\0]")


class Fields(HeaderPairs):
    """Header fields in order, each a pair; found, set and deleted by name as well.

    Names are in lower case here, and a name that is asked for may be in any. It is
    a list because that is what is sent, and because one name may occur twice.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        """The value of a field, several joined by ", "; for a number, the pair there."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        """Give a field one value, whatever it had."""
        if isinstance(key, str):
            value = checked(key, value)
            key = key.lower()
            self[:] = [pair for pair in self if pair[0] != key]
            self.append((key, value))
        else:
            super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        if not isinstance(key, str):
            super().__delitem__(key)
        elif self.get(key) is not None:
            self[:] = [pair for pair in self if pair[0] != key.lower()]
        else:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str):
            return self.get(key) is not None
        return super().__contains__(key)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of a field; several are joined by ", "."""
        wanted = name.lower()
        values = [value for key, value in self if key == wanted]
        return ", ".join(values) if values else default

    def add(self, name: str, value: str) -> None:
        """Add a field, and keep those that have its name."""
        self.append((name.lower(), checked(name, value)))

    def update(self, fields: Mapping[str, str]) -> None:
        """Set several fields."""
        for name, value in fields.items():
            self[name] = value


def checked(name: str, value: str) -> str:
    """Refuse here what `http1` would refuse later: the traceback names the guilty line."""
    if not isinstance(value, str):
        raise TypeError(f"header {name!r:.40} is of type {type(value).__name__}, not str")
    if _NOT_IN_A_FIELD.search(name + value):
        raise ValueError(f"CR, LF or NUL in header {name!r:.40}: {value!r:.60}")
    if not _FIELD_NAME.fullmatch(name):
        raise ValueError(f"{name!r:.40} is no name of a header (RFC 9110 5.1)")
    return value


class Response:
    """An answer: status, header fields, content.

    A str is sent as ``text/html; charset=utf-8`` and bytes as
    ``application/octet-stream``, unless ``content_type`` or ``headers`` say
    otherwise. ``stream`` is sent instead of ``body``; ``length`` is its number of
    bytes, or None if nobody knows, and then it is chunked.
    """

    # No __slots__: `exc.HTTPException` is an exception too, and the two layouts
    # would not fit together.

    _usual: UsualFields = ()  # the header fields, until somebody asks for `headers`

    def __init__(
        self,
        body: str | bytes = b"",
        status: int | str = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content_type: str | None = None,
        *,
        stream: Stream | Iterator[str | bytes] | None = None,
        length: int | None = None,
    ) -> None:
        self._status = 200 if status == 200 else _code(status)
        self._headers: Fields | None = (fields := Fields())
        if headers:
            pairs = headers.items() if isinstance(headers, Mapping) else headers
            fields.extend((name.lower(), value) for name, value in pairs)
        # `services` makes a stream of an iterator: it knows the threads to run it in.
        self.stream: Stream | None = stream  # type: ignore[assignment]
        self.length = stream.count if isinstance(stream, FileContent) else length
        usual = "application/octet-stream" if body or stream is not None else None
        if isinstance(body, str):
            usual = "text/html; charset=utf-8"
            body = encoded(body)
        self.body: bytes = body
        kind = content_type or usual
        if kind and (not fields or fields.get("content-type") is None):
            fields.append(("content-type", kind))
        elif content_type:
            fields["content-type"] = content_type

    # -- status ------------------------------------------------------------------

    @property
    def status(self) -> int:
        """The status code. May be set to ``"404 Not Found"``, too, as WebOb's."""
        return self._status

    @status.setter
    def status(self, status: int | str) -> None:
        self._status = _code(status)

    status_int = status

    # -- header fields -------------------------------------------------------------

    @property
    def headers(self) -> Fields:
        """The header fields. May be set to pairs, with their names in lower case."""
        if self._headers is None:
            self._headers = Fields(self._usual)
        return self._headers

    @headers.setter
    def headers(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._headers = Fields(pairs)

    def as_sent(self) -> tuple[int, HeaderPairs | UsualFields, bytes]:
        """Status, header fields and content, none of them to be altered."""
        headers = self._headers
        return self._status, self._usual if headers is None else headers, self.body

    def header(self, name: str) -> str | None:
        """The value of a header field; several are joined by ", "."""
        return self.headers.get(name)

    def set_header(self, name: str, value: str) -> None:
        """Give a header field one value, whatever it had."""
        self.headers[name] = value

    def put_header(self, name: str, value: str) -> None:
        """Give a header field one value, but a cookie besides others (RFC 6265 3)."""
        if name.lower() == "set-cookie":
            self.headers.add(name, value)
        else:
            self.set_header(name, value)

    @property
    def content_type(self) -> str | None:
        """The media type, without parameters. A text that is set here is UTF-8."""
        value = self.headers.get("content-type")
        return value and value.partition(";")[0].strip().lower()

    @content_type.setter
    def content_type(self, value: str) -> None:
        if value.startswith("text/") and ";" not in value:
            value += "; charset=utf-8"
        self.headers["content-type"] = value

    @property
    def charset(self) -> str | None:
        """The media type's charset, in lower case."""
        match = _CHARSET.search(self.headers.get("content-type") or "")
        return match[1].lower() if match else None

    @charset.setter
    def charset(self, value: str) -> None:
        kind = self.content_type or "text/html"
        self.headers["content-type"] = f"{kind}; charset={value}"

    @property
    def text(self) -> str:
        """The body as text, in its charset. What is set is encoded likewise."""
        return self.body.decode(self.charset or "utf-8")

    @text.setter
    def text(self, value: str) -> None:
        if self.content_type is None:
            self.content_type = "text/html"
        charset = self.charset or "utf-8"
        self.body = encoded(value) if charset == "utf-8" else value.encode(charset)

    @property
    def location(self) -> str | None:
        """Where a redirect leads, or what was created (RFC 9110 10.2.2)."""
        return self.headers.get("location")

    @location.setter
    def location(self, url: str) -> None:
        # What a URL can't hold is percent-encoded; what is encoded stays as it is.
        self.headers["location"] = quote(checked("location", url), safe=_URL_CHARACTERS)

    # -- cookies -------------------------------------------------------------------

    def set_cookie(
        self,
        name: str,
        value: str = "",
        max_age: int | None = None,
        path: str = "/",
        domain: str | None = None,
        *,
        secure: bool = False,
        httponly: bool = True,
        samesite: SameSite | None = "Lax",
    ) -> None:
        """Give the client a cookie; without ``max_age`` (seconds), until it ends.

        Scripts do not see it, and other sites' forms and frames do not send it,
        unless you say otherwise. Over TLS it is always secure. Raises ValueError
        for what a browser would drop or misread.
        """
        field = cookies.set_cookie(
            name,
            value,
            max_age=max_age,
            path=path,
            domain=domain,
            secure=secure,
            httponly=httponly,
            samesite=samesite,
        )
        self.headers.append(("set-cookie", field))

    def delete_cookie(self, name: str, path: str = "/", domain: str | None = None) -> None:
        """Have the client forget a cookie that was set with this path and domain."""
        secure = name.lower().startswith(("__secure-", "__host-"))
        self.set_cookie(name, "", 0, path, domain, secure=secure)

    # -- validators ----------------------------------------------------------------

    @property
    def etag(self) -> str | None:
        """The entity tag, as it is sent. Set without quotes, it is a strong one."""
        return self.headers.get("etag")

    @etag.setter
    def etag(self, tag: str) -> None:
        if not tag.startswith(('"', 'W/"')):
            tag = f'"{tag}"'
        if not _ENTITY_TAG.fullmatch(tag):
            raise ValueError(f"bad entity tag {tag!r:.60} (RFC 9110 8.8.3)")
        self.headers["etag"] = tag

    @property
    def last_modified(self) -> datetime | None:
        """When the content was last changed. May be set to seconds since 1970, too."""
        return parse_date(self.headers.get("last-modified") or "")

    @last_modified.setter
    def last_modified(self, when: datetime | float) -> None:
        if not isinstance(when, datetime):
            when = datetime.fromtimestamp(when, UTC)
        elif when.tzinfo is None:
            raise ValueError("last_modified needs a time zone: datetime.now(UTC)")
        self.headers["last-modified"] = format_datetime(when.astimezone(UTC), usegmt=True)


_CHARSET: Final = re.compile(r';[ \t]*charset="?([^";, \t]+)', re.IGNORECASE)
# RFC 3986 2.2 and 2.3, and "%": what is encoded is not encoded again.
_URL_CHARACTERS: Final = ":/?#[]@!$&'()*+,;=-._~%"
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*+"')


def _code(status: int | str) -> int:
    """A final status code, from 404 or "404 Not Found"."""
    try:
        code = int(status[:3] if isinstance(status, str) else status)
    except (TypeError, ValueError):
        code = 0
    if not 200 <= code <= 599:
        raise ValueError(f"{status!r:.40} is not the status of an answer (RFC 9110 15)")
    return code


def encoded(text: str) -> bytes:
    r"""UTF-8, with U+FFFD for half of a surrogate pair.

    A client can put such a half into any string of its JSON (``"\ud800"``), and
    a page that shows the string must not fail because of it.
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


async def close_stream(stream: Stream) -> None:
    """Let a stream's maker end it: its `finally` blocks run, its file is closed."""
    if isinstance(stream, FileContent):
        stream.file.close()
    elif (aclose := getattr(stream, "aclose", None)) is not None:
        await aclose()


def usual_response(body: bytes, fields: UsualFields) -> Response:
    """A 200 with its content and no more: most answers, and so by a shorter way than others."""
    response = Response.__new__(Response)
    response._status = 200
    response._headers = None
    response._usual = fields
    response.stream = response.length = None
    response.body = body
    return response


def copied(response: Response) -> Response:
    """To be altered: a handler may keep its own, and return it for the next request too."""
    if response.status == 101:  # but not this: it has a connection, and belongs to one request
        return response
    fresh = Response(response.body, response.status)
    fresh.stream, fresh.length = response.stream, response.length
    fresh.headers = response.headers
    return fresh


# What a stranger's words may be in, or what an author has given a name, is of the type that
# we say, whatever it looks like to a browser (Fetch, 3.6).
NO_SNIFFING: Final = ("x-content-type-options", "nosniff")


def error_response(status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An error in one line of plain text, which no browser takes for a page."""
    safe = reason.encode("ascii", "backslashreplace").decode()
    fields = [*headers, NO_SNIFFING]
    return Response(f"{status} {safe}\n", status, fields, "text/plain; charset=utf-8")


# -- conditional requests (RFC 9110 section 13) ----------------------------------------


def parse_date(text: str) -> datetime | None:
    """An HTTP date (RFC 9110 5.6.7); None if it is none."""
    try:
        when = parsedate_to_datetime(text)
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):  # whatever strangers write
        return None


def if_modified(response: Response, wanted: Mapping[str, str]) -> Response:
    """The answer to a GET or HEAD with these header fields: 304 if the client has it.

    RFC 9110 13.2.2: If-None-Match is asked first, and If-Modified-Since only where
    there is none. A 304 has the fields that a cache updates (15.4.5), and no content.
    """
    if response.status != 200 or not _is_known(response, wanted):
        return response
    gone = ("content-type", "content-length", "content-encoding", "content-range")
    return Response(
        b"", 304, [(name, value) for name, value in response.headers if name not in gone]
    )


def _is_known(response: Response, wanted: Mapping[str, str]) -> bool:
    tags = wanted.get("if-none-match")
    if tags is not None:
        etag = response.etag
        return etag is not None and (tags.strip() == "*" or _opaque(etag) in _opaque_tags(tags))
    since = parse_date(wanted.get("if-modified-since", ""))
    changed = response.last_modified
    return since is not None and changed is not None and changed <= since


def _opaque(tag: str) -> str:
    """RFC 9110 8.8.3.2: the weak comparison does not look at the W/."""
    return tag.removeprefix("W/")


def _opaque_tags(text: str) -> set[str]:
    return {_opaque(tag) for tag in _ENTITY_TAG.findall(text)}
