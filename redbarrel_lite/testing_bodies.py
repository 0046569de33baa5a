"""What a test asks with: targets, forms, files, JSON, as the bytes of a request.

What it implements: urlencoded forms, multipart/form-data (RFC 7578), and targets that are
encoded once. What it leaves out: sending them (`testing`).

In one line::

    content, media_type = encoded({"name": "you"}, None, None, b"")
"""

from __future__ import annotations

import json as json_
import mimetypes
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

# What stands in a target as it is: all of ASCII that can be printed, but for the blank.
_WRITTEN: Final = "".join(map(chr, range(0x21, 0x7F)))

Field: TypeAlias = str | int | float | Iterable[str]
# A file's content, a path to it, or (name, content[, media type]).
File: TypeAlias = bytes | Path | tuple[str, bytes] | tuple[str, bytes, str]


def target_of(url: str, params: Mapping[str, Field] | None) -> str:
    """Path and query. What is encoded is not encoded again, so that a test may be nasty."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode(params or {}, doseq=True))))
    target = quote(parts.path or "/", safe=_WRITTEN)
    return f"{target}?{quote(query, safe=_WRITTEN)}" if query else target


def encoded(
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
