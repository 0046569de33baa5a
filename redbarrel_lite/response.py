"""Response: the answer to a request, as a handler makes it.

Named after WebOb's, which RedBarrel used. What it implements: status, header
fields, content (RFC 9110 sections 6, 8, 15), cookies out (RFC 6265 section 4.1).
What it leaves out: how it is framed and sent, which is the server's.

In one line::

    return Response("<p>Hello</p>", 200, {"x-frame-options": "DENY"})
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

HeaderPairs: TypeAlias = list[tuple[str, str]]


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


class Response:
    """An answer: status, header fields, content.

    A str is sent as ``text/html; charset=utf-8`` and bytes as
    ``application/octet-stream``, unless ``content_type`` or ``headers`` say
    otherwise. ``stream`` is sent instead of ``body``; ``length`` is its number of
    bytes, or None if nobody knows, and then it is chunked.
    """

    __slots__ = ("body", "headers", "length", "status", "stream")

    def __init__(
        self,
        body: str | bytes = b"",
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content_type: str | None = None,
        *,
        stream: Stream | None = None,
        length: int | None = None,
    ) -> None:
        self.status = status
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        self.headers: HeaderPairs = [(name.lower(), value) for name, value in pairs]
        self.stream = stream
        self.length = stream.count if isinstance(stream, FileContent) else length
        usual = "application/octet-stream" if body or stream is not None else None
        if isinstance(body, str):
            usual = "text/html; charset=utf-8"
            body = body.encode()
        self.body = body
        if content_type or self.header("content-type") is None:
            kind = content_type or usual
            if kind:
                self.set_header("content-type", kind)

    def header(self, name: str) -> str | None:
        """The value of a header field; several are joined by ", "."""
        values = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(values) if values else None

    def set_header(self, name: str, value: str) -> None:
        """Give a header field one value, whatever it had."""
        name = name.lower()
        self.headers = [(key, old) for key, old in self.headers if key != name]
        self.headers.append((name, value))


def error_response(status: int, reason: str, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """An error in one line of plain text, which no browser takes for a page."""
    safe = reason.encode("ascii", "backslashreplace").decode()
    return Response(f"{status} {safe}\n", status, headers, "text/plain; charset=utf-8")
