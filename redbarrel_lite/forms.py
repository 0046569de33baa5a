"""Forms: the fields of a query or a body, and the files among them.

What it implements: ``application/x-www-form-urlencoded`` (URL standard section 5),
``multipart/form-data`` (RFC 7578, RFC 2046 section 5.1). What it leaves out: parts in
base64 and ``filename*``, which RFC 7578 forbids; nested multiparts; guessing: what
is not as it should be is refused.

In one line::

    fields = parse_form(content_type, body)

All of it takes time in proportion to the length, and memory that the limits bound:
a form comes from anybody. The content of a file is never copied: the body is in one
place, in memory or on disk, and a file is a window on it.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import weakref
from collections.abc import Iterable, Iterator
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any, Final, Generic, TypeAlias, TypeVar, overload

from .errors import RemoteProtocolError

# More than any form that people fill in has; each costs an object or two.
MAX_FIELDS: Final = 1000
# The header fields of one part: a name, a file's name, a type.
MAX_PART_HEAD_BYTES: Final = 8192
# What a boundary may have before it where it is the first, and behind it on its line. Both
# mean nothing (RFC 2046 5.1.1), and browsers send neither.
MAX_PREAMBLE_BYTES: Final = 8192
_MAX_PADDING_BYTES: Final = 1000
# What is no file ends up in memory, whatever the path's `max-body` says: of all fields together.
MAX_FIELD_BYTES: Final = 1024 * 1024
# A body above this is kept on disk while it comes, so that many at once, or a few
# large ones, do not fill the memory.
SPOOL_BYTES: Final = 256 * 1024
_READ_BYTES: Final = 64 * 1024

V = TypeVar("V")
D = TypeVar("D")


class BadContent(RemoteProtocolError, ValueError):
    """What the client sent can't be read as what a handler takes it for.

    Unless the handler catches it, the answer is its ``code``: 400, or 413 for what is
    too large. It is a ValueError as well, which is what handlers expect of `json`.
    """

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message, code)


class MultiDict(Generic[V]):
    """Values by name, where a name may have several; WebOb's methods.

    ``[name]`` is the last value, `getall` has them all, `items` repeats the name for
    each, and `mixed` makes a plain dict, with a list where there are several.
    """

    __slots__ = ("_pairs", "_values")

    def __init__(self, pairs: Iterable[tuple[str, V]] = ()) -> None:
        self._pairs = list(pairs)
        self._values: dict[str, list[V]] = {}
        for name, value in self._pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> V:
        return self._values[name][-1]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MultiDict) and self._pairs == other._pairs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"MultiDict({self._pairs!r})"

    @overload
    def get(self, name: str) -> V | None: ...
    @overload
    def get(self, name: str, default: D) -> V | D: ...
    def get(self, name: str, default: D | None = None) -> V | D | None:
        """The last value of a name."""
        values = self._values.get(name)
        return values[-1] if values else default

    def getall(self, name: str) -> list[V]:
        """All values of a name, in their order; none is an empty list."""
        return list(self._values.get(name, ()))

    def getone(self, name: str) -> V:
        """The one value of a name. Raises KeyError if it has none, or several."""
        values = self._values.get(name, [])
        if len(values) != 1:
            raise KeyError(f"{name!r} has {len(values)} values, not one")
        return values[0]

    def keys(self) -> list[str]:
        """Each name once."""
        return list(self._values)

    def values(self) -> list[V]:
        """All values, in the order sent."""
        return [value for _, value in self._pairs]

    def items(self) -> list[tuple[str, V]]:
        """All pairs, in the order sent."""
        return list(self._pairs)

    def mixed(self) -> dict[str, V | list[V]]:
        """A dict that has a list where a name has several values."""
        return {k: v[0] if len(v) == 1 else list(v) for k, v in self._values.items()}

    def dict_of_lists(self) -> dict[str, list[V]]:
        """A dict that has a list for every name."""
        return {name: list(values) for name, values in self._values.items()}


# -- bodies, in memory or on disk -----------------------------------------------------


def find_folder() -> None:
    """Have the folder for temporary files found while there are descriptors to look with.

    Python looks for it once, when it first needs it, and takes any error for that of a
    folder. Raises FileNotFoundError if there is none; then it will look again.
    """
    gettempdir()


class _Disk:
    """A file without a name, closed when nobody holds this any more."""

    def __init__(self) -> None:
        self.file = TemporaryFile()  # noqa: SIM115  # closed by what is below
        # Not __del__: where an error's traceback holds this, both it and the file are
        # garbage to the collector, which may well begin with the file.
        weakref.finalize(self, _close, self.file)
        self._lock = threading.Lock()  # between seek and read: several may have a window

    def read(self, start: int, count: int) -> bytes:
        """Some of it, from any thread."""
        with self._lock:
            self.file.seek(start)
            return self.file.read(count)


def _close(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # the disk is full; and what is to be flushed is for nobody
        file.close()


class Spool:
    """A body that is too large for memory: on disk.

    Who answers the request closes it, whoever holds the request still, such as an error
    that was raised amid its form. Only a file of its form, or the body as a file, that the
    handler has put aside for work that goes on after the answer keeps what it reads.
    """

    def __init__(self) -> None:
        self.disk: _Disk | None = _Disk()
        self.size = 0

    def add(self, part: bytes | bytearray) -> None:
        """Put some bytes at the end. Raises OSError where there is no room for them."""
        self.size += _there(self.disk).file.write(part)

    def flush(self) -> None:
        """It is all there. Raises OSError where it is not, for want of room."""
        _there(self.disk).file.flush()

    def read(self, start: int, count: int) -> bytes:
        """Some of it, from any thread. Raises ValueError once it is closed."""
        return _there(self.disk).read(start, count)

    def close(self) -> None:
        """The request is answered."""
        self.disk = None


def _there(disk: _Disk | None) -> _Disk:
    if disk is None:
        raise ValueError("a body on disk is gone once its request is answered")
    return disk


Body: TypeAlias = "bytes | Spool"
_Content: TypeAlias = "bytes | _Disk | None"  # what holds the bytes of a body


class _Window(io.RawIOBase):
    """Bytes ``start`` to ``end`` of what is on disk, as a file of their own."""

    def __init__(self, disk: _Disk | None, start: int, end: int) -> None:
        self._disk = disk
        self._start = start
        self._end = end
        self._at = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        count = max(0, min(len(view), self._end - self._at))
        part = _there(self._disk).read(self._at, count)
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: self._start, io.SEEK_CUR: self._at, io.SEEK_END: self._end}
        self._at = origin[whence] + offset
        if self._at < self._start:
            self._at = self._start
            raise ValueError("a file has nothing before its start")
        return self._at - self._start

    def close(self) -> None:
        self._disk = None
        super().close()


def file_of(body: Body, start: int = 0, end: int | None = None) -> IO[bytes]:
    """A part of a body as a file to read, at its beginning."""
    if isinstance(body, Spool):
        return _file_of(body.disk, start, body.size if end is None else end)
    return _file_of(body, start, len(body) if end is None else end)


def _file_of(content: _Content, start: int, end: int) -> IO[bytes]:
    if isinstance(content, bytes):
        return io.BytesIO(content[start:end])  # the whole is no copy
    return io.BufferedReader(_Window(content, start, end))


class Upload:
    """A file of a form: `filename`, `type` (as the client says), `file` to read, `value`."""

    __slots__ = ("filename", "name", "type", "size", "_content", "_start", "_file")

    def __init__(
        self, name: str, filename: str, kind: str, body: Body, start: int, end: int
    ) -> None:
        self.name = name
        self.filename = filename
        self.type = kind
        self.size = end - start
        self._content: _Content = body if isinstance(body, bytes) else body.disk
        self._start = start
        self._file: IO[bytes] | None = None

    @property
    def file(self) -> IO[bytes]:
        """The content, as a file to read."""
        if self._file is None:
            self._file = self._open()
        return self._file

    @property
    def value(self) -> bytes:
        """The whole content."""
        return self._open().read()

    def _open(self) -> IO[bytes]:
        return _file_of(self._content, self._start, self._start + self.size)

    def __repr__(self) -> str:
        return f"Upload({self.name!r}, {self.filename!r}, {self.size} bytes)"


# -- forms ------------------------------------------------------------------------------


def parse_form(content_type: str, body: Body) -> MultiDict[str | Upload]:
    """The fields of a body; none if its type is not that of a form. Raises `BadContent`."""
    kind = content_type.partition(";")[0].strip(" \t").lower()
    if kind == "application/x-www-form-urlencoded":
        return MultiDict(parse_urlencoded(body if isinstance(body, bytes) else _whole(body)))
    if kind == "multipart/form-data":
        return MultiDict(_Multipart(body, _boundary(content_type)).fields())
    return MultiDict()


def _whole(body: Spool) -> bytes:
    if body.size > MAX_FIELD_BYTES:
        raise BadContent(f"the form is over {MAX_FIELD_BYTES} bytes", 413)
    return file_of(body).read()


def parse_urlencoded(text: bytes, errors: str = "strict") -> list[tuple[str, str]]:
    """The fields of a query or an urlencoded body. Raises `BadContent`.

    What is no UTF-8 is a fault, unless ``errors`` is "replace".
    """
    if text.count(b"&") >= MAX_FIELDS:
        raise BadContent(f"over {MAX_FIELDS} fields")
    if b"%" in text or b"+" in text:
        pairs = (part.partition(b"=") for part in text.split(b"&") if part)
        return [(_decoded(name, errors), _decoded(value, errors)) for name, _, value in pairs]
    plain = (part.partition("=") for part in _utf8(text, errors).split("&") if part)
    return [(name, value) for name, _, value in plain]


_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_HEX: Final = "0123456789ABCDEFabcdef"
_BYTES: Final = {(high + low).encode(): bytes.fromhex(high + low) for high in _HEX for low in _HEX}


def percent_decoded(text: bytes) -> bytes:
    """RFC 3986 2.1; a "%" that begins no code stands for itself.

    `urllib.parse.unquote_to_bytes` gives the same, and takes 20 times as long for a
    megabyte of "%", which is the whole time of the loop.
    """
    return _ENCODED.sub(lambda code: _BYTES[code[1]], text)


def _decoded(text: bytes, errors: str) -> str:
    if b"%" in text or b"+" in text:
        text = percent_decoded(text.replace(b"+", b" "))
    return _utf8(text, errors)


def _utf8(text: bytes, errors: str) -> str:
    try:
        return text.decode(errors=errors)
    except UnicodeDecodeError:
        raise BadContent("a field is not percent-encoded UTF-8") from None


# RFC 9110 5.6.6, and what form fields make of it: browsers write a quote in a name as
# %22 and leave backslashes alone, curl writes \" and \\.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_PARAMETER: Final = re.compile(
    rf'[ \t]*+;[ \t]*+(?:({_TOKEN})=(?:({_TOKEN})|"((?:\\["\\]|[^"])*+)"))?+'
)
_ESCAPED: Final = re.compile(r'\\(["\\])')
# RFC 2046 5.1.1.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def _parameters(field: str) -> dict[str, str]:
    """The parameters of a header field, after its value. Raises `BadContent`."""
    found: dict[str, str] = {}
    at = len(field.partition(";")[0].rstrip(" \t"))
    while at < len(field):
        match = _PARAMETER.match(field, at)
        if match is None or (name := (match[1] or "").lower()) in found:
            raise BadContent(f"bad parameters in {ascii(field)[:80]}")
        if name:  # an empty one is none
            found[name] = match[2] or _ESCAPED.sub(r"\1", match[3] or "")
        at = match.end()
    return found


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadContent(f"bad boundary {ascii(boundary)[:80]} (RFC 2046 5.1.1)")
    return boundary.encode()


class _Multipart:
    r"""Reads the parts of a body::

        (what is here is ignored)  CRLF
        --boundary CRLF  head CRLF CRLF  content  CRLF --boundary CRLF  ...
        ...                               content  CRLF --boundary -- (and what follows is)

    The body is read once, in blocks, and each block searched once for the delimiter.
    A line break and a boundary that are cut by a block's end are found in the next one,
    for as much of the old one is kept as a delimiter is long.
    """

    def __init__(self, body: Body, boundary: bytes) -> None:
        self._body = body
        self._file = file_of(body)
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter has no line before it that its CR LF would end.
        self._buffer = b"\r\n"
        self._offset = -2  # where the buffer starts, in the body
        self._at = 0  # how much of the buffer is read
        self._room = MAX_FIELD_BYTES

    def fields(self) -> list[tuple[str, str | Upload]]:
        """All fields. Raises `BadContent`."""
        fields: list[tuple[str, str | Upload]] = []
        try:
            self._read_into(fields)
        except BaseException:
            fields.clear()  # files that nobody got, and the error's traceback would keep
            raise
        finally:
            self._file.close()
        return fields

    def _read_into(self, fields: list[tuple[str, str | Upload]]) -> None:
        long_preamble = f"over {MAX_PREAMBLE_BYTES} bytes are in front of the first boundary"
        self._read_until(self._delimiter, MAX_PREAMBLE_BYTES, long_preamble)
        while not self._is_last():
            if len(fields) == MAX_FIELDS:
                raise BadContent(f"over {MAX_FIELDS} fields")
            fields.append(self._part())

    def _is_last(self) -> bool:
        """Whether the delimiter just read is followed by "--"; otherwise its line must end."""
        while len(self._buffer) - self._at < 2 and self._more():
            pass
        if self._buffer.startswith(b"--", self._at):
            return True
        not_alone = "a boundary is not all of its line (RFC 2046 5.1.1)"
        if self._read_until(b"\r\n", _MAX_PADDING_BYTES, not_alone).strip(b" \t"):
            raise BadContent(not_alone)
        return False

    def _part(self) -> tuple[str, str | Upload]:
        long_head = f"the head of a part is over {MAX_PART_HEAD_BYTES} bytes"
        head = self._read_until(b"\r\n\r\n", MAX_PART_HEAD_BYTES, long_head)
        name, filename, kind = _part_head(head)
        if filename is not None:
            start = self._offset + self._at
            self._read_until(self._delimiter, None, "")
            end = self._offset + self._at - len(self._delimiter)
            return name, Upload(name, filename, kind, self._body, start, end)
        long_fields = f"fields that are no files are over {MAX_FIELD_BYTES} bytes"
        content = self._read_until(self._delimiter, self._room, long_fields, 413)
        self._room -= len(content)
        return name, _text(content)

    def _more(self) -> bool:
        """Read another block, and forget what is read of the last one."""
        block = self._file.read(_READ_BYTES)
        self._offset += self._at
        self._buffer = self._buffer[self._at :] + block
        self._at = 0
        return bool(block)

    def _read_until(self, end: bytes, limit: int | None, too_long: str, code: int = 400) -> bytes:
        """Read up to and with ``end``, and return what was before it.

        No more than ``limit`` bytes; with None what is read is not kept.
        """
        kept = bytearray()
        while True:
            found = self._buffer.find(end, self._at)
            # Where none is found, the first bytes of one may be the buffer's last.
            upto = found if found >= 0 else max(self._at, len(self._buffer) - len(end) + 1)
            if limit is not None:
                kept += self._buffer[self._at : upto]
                if len(kept) > limit:
                    raise BadContent(too_long, code)
            self._at = upto
            if found >= 0:
                self._at += len(end)
                return bytes(kept)
            if not self._more():
                raise BadContent("the last boundary is missing (RFC 2046 5.1.1)")


_PART_FIELD: Final = re.compile(rf"({_TOKEN}):[ \t]*+([^\0-\x08\x0a-\x1f\x7f]*+)")
_PLAIN_ENCODINGS: Final = ("7bit", "8bit", "binary")


def _part_head(head: bytes) -> tuple[str, str | None, str]:
    """Name, file's name and type of a part (RFC 7578 4.2 to 4.8)."""
    fields: dict[str, str] = {}
    for line in _text(head).split("\r\n"):
        match = _PART_FIELD.fullmatch(line)
        if match is None or match[1].lower() in fields:
            raise BadContent(f"bad header line {ascii(line)[:80]} in a part")
        fields[match[1].lower()] = match[2].rstrip(" \t")
    disposition = fields.get("content-disposition", "")
    parameters = _parameters(disposition)
    if disposition.partition(";")[0].strip().lower() != "form-data" or "name" not in parameters:
        raise BadContent("a part without 'Content-Disposition: form-data; name=...' (RFC 7578 4.2)")
    encoding = fields.get("content-transfer-encoding", "binary")
    if encoding.lower() not in _PLAIN_ENCODINGS:
        raise BadContent(f"transfer encoding {ascii(encoding)[:40]} in a part (RFC 7578 4.7)")
    # The boundary alone says how long a part is. Who adds a length must not have made it up.
    if not re.fullmatch("[0-9]+", fields.get("content-length", "0")):
        raise BadContent("bad Content-Length in a part")
    filename = parameters.get("filename")
    if filename is not None:
        # Some clients send their whole path. It is none of our business, and it is the
        # first thing an attacker tries: "../../app.py".
        filename = re.split(r"[/\\]", filename)[-1]
    return parameters["name"], filename, fields.get("content-type", "text/plain")


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadContent("a part of the form is not UTF-8") from None
