"""Files as answers: what stands behind ``file:`` and ``directory:``.

What it implements: from RFC 9110 content types (8.3), validators (8.8), answers in
parts (14), and negotiation of the coding (12) for a file that has a compressed one
beside it, with ``.gz`` behind its name; what a request asks for, `selection` knows.
What it leaves out: lists of what a folder holds, compressing by itself, and
sending, which is the server's.

In one line::

    service = directory_service(Path("static"), "name")

A file is opened once, and all that is told of it is asked of what was opened: a
name may mean another file a moment later, a descriptor may not. Opening, and
reading what is small, is done on the event loop: for a local disk that takes less
time than handing it to a thread. A folder that hangs on a slow network makes the
other clients wait; such a one belongs behind a cache.
"""

from __future__ import annotations

import errno
import logging
import mimetypes
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias
from urllib.parse import quote

from .packed import PackedPath
from .request import Request, line_for
from .response import NO_SNIFFING, FileContent, HeaderPairs, Response, error_response
from .selection import Range, byte_ranges, http_date, precondition, prefers_gzip

log = logging.getLogger("redbarrel_lite")

FileService: TypeAlias = Callable[[Request], Response]

# Up to here, reading at once and answering in one write is cheaper than sendfile.
SMALL_BYTES: Final = 64 * 1024
# A compressed file that is older than its original, by more than the coarsest
# clock of a file system (FAT) can be wrong, is of an earlier version. (Copying
# may write the smaller one first, so a fine clock is no reason to be strict.)
STALE_NS: Final = 2_000_000_000

# A date names a version only if no other can have had it (RFC 9110 8.8.2.2): a second may
# see two of them, and a file system on another machine has a clock of its own.
STRONG_DATE_S: Final = 60

INDEX: Final = "index.html"

_Opener: TypeAlias = "Callable[[str], _Opened | None]"  # of what is put behind the name


def file_service(path: Path) -> FileService:
    """What answers with one file, read anew for each request.

    The author has named it, so it may be hidden, or a symbolic link to anywhere.
    """

    def open_(suffix: str) -> _Opened | None:
        if isinstance(path, PackedPath):
            return _opened_member(path.with_name(path.name + suffix))
        return _opened(os.open(f"{path}{suffix}", _READ))

    def serve(request: Request) -> Response:
        return _answer(request, path.name, open_)

    return serve


def directory_service(root: Path, variable: str, url: re.Pattern[str] | None = None) -> FileService:
    """What answers with the file below ``root`` that ``request.match[variable]`` names.

    A folder is answered for by its index.html. Nothing outside of ``root`` is
    served, and nothing whose name starts with a dot, or means a device on Windows.
    ``url`` is what the paths of requests fit: nobody is sent to one that does not.
    """

    def serve(request: Request) -> Response:
        *folders, name = request.match.get(variable, "").split("/")
        names = (*folders, name or INDEX)
        if not all(map(is_served, names)):
            return _not_found()
        response = _answer(
            request,
            names[-1],
            lambda suffix: _opened_beneath(root, (*names[:-1], names[-1] + suffix)),
        )
        if response.status != 404 or not name:
            return response
        takes_slash = url is None or url.fullmatch(request.path + "/")
        if takes_slash and _is_folder_with_index(root, names):
            return _to_folder(request)
        return response

    return serve


def _is_folder_with_index(root: Path, names: Sequence[str]) -> bool:
    try:
        found = _opened_beneath(root, (*names, INDEX))
    except (OSError, ValueError):
        return False
    if found is not None:
        found.file.close()
    return found is not None


def _to_folder(request: Request) -> Response:
    """Send a client to the name with a slash, so that the links of the page fit.

    The path is quoted anew and begins with exactly one slash: browsers take
    ``//evil.com`` and ``/\\evil.com`` for another host.
    """
    where = "/" + quote(request.path.lstrip("/")) + "/"
    query = f"?{request.query_string}" if request.query_string else ""
    return Response(b"", 301, [("location", where + query)])


def _not_found() -> Response:
    # It does not tell a file that is not there from one that is not for this client.
    return error_response(404, "no such file")


# -- names ---------------------------------------------------------------------

# What a name must not hold: on Windows a backslash parts folders, and a colon a
# drive or a stream ("file::$DATA" is the file). The rule is the same everywhere:
# what is developed on one system is served on another.
_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f\\:]")
# Devices on Windows, in every folder and with any suffix: "aux.txt" is one too.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$) *", re.IGNORECASE)


def is_served(name: str) -> bool:
    """Whether a file or folder of this name may be served at all.

    An empty name is none, "." and ".." are not names but ways, other names with a
    dot in front are hidden, and Windows drops dots and blanks at the end, so that
    ".env" could be had as "x/.env." by another rule.
    """
    return (
        name != ""
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and _NOT_IN_A_NAME.search(name) is None
        and _DEVICE.fullmatch(name.partition(".")[0]) is None
    )


# -- opening -------------------------------------------------------------------


def _flags(*names: str) -> int:
    """The flags of `os.open` by name, less those that this system lacks."""
    return sum(getattr(os, name, 0) for name in names)


# O_NONBLOCK: opening a FIFO would otherwise wait for somebody to write into it, and
# with it the loop. O_NOCTTY: opening a terminal would otherwise make it ours.
_READ: Final = _flags("O_RDONLY", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
# O_PATH: a folder that may be passed through need not be one that may be listed.
_FOLDER: Final = _flags("O_RDONLY", "O_PATH", "O_DIRECTORY")
_NOFOLLOW: Final = _flags("O_NOFOLLOW")

# A link where none is followed: ELOOP, for a folder ENOTDIR, and EMLINK on FreeBSD.
_MAY_BE_A_LINK: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})


def _open_by_steps(root: Path, names: Sequence[str]) -> int:
    """Open what ``names`` lead to from ``root``, through no symbolic link.

    Each step starts from the folder that the last one opened. To look at a path
    first and to open it then would leave a moment in which a folder on the way can
    be swapped for a link that leads out.
    """
    at = os.open(root, _FOLDER)
    for depth, name in enumerate(names, 1):
        how = _FOLDER if depth < len(names) else _READ
        try:
            inner = os.open(name, how | _NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = inner
    return at


def _resolved(root: Path, names: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """``root`` and ``names`` without symbolic links; ValueError if they lead out of it."""
    base = Path(os.path.realpath(root))
    inside = Path(os.path.realpath(base.joinpath(*names))).relative_to(base).parts
    if not inside or not all(map(is_served, inside)):
        raise ValueError("a link to what is not served")
    return base, inside


def _open_by_name(root: Path, names: Sequence[str]) -> int:
    """The same for systems that can't open in steps, Windows above all."""
    base, inside = _resolved(root, names)
    return os.open(base.joinpath(*inside), _READ | _NOFOLLOW)


def _open_beneath(root: Path, names: Sequence[str]) -> int:
    try:
        return _open_by_steps(root, names)
    except OSError as error:
        if error.errno not in _MAY_BE_A_LINK:
            raise
    # A link that stays inside is served. The way that it stands for is taken in
    # steps again: if it has changed in the meantime, there is a link on it.
    return _open_by_steps(*_resolved(root, names))


open_beneath = _open_beneath if os.open in os.supports_dir_fd else _open_by_name
open_beneath.__doc__ = """Open what ``names`` lead to, without ever leaving ``root``.

Raises OSError, and ValueError for what is outside or can't be a name.
"""


@dataclass(frozen=True, slots=True)
class _Opened:
    """A regular file, open, and what identifies its content."""

    file: BinaryIO
    size: int
    mtime_ns: int = 0
    crc: int | None = None  # of a packed file, whose date says nothing
    start: int = 0  # where the content begins in what is open
    coding: str = ""  # "gzip", or "" for the file as it is

    @property
    def etag(self) -> str:
        """A validator that changes with the content (RFC 9110 8.8.3), and with the coding."""
        mark = self.mtime_ns if self.crc is None else self.crc
        return f'"{mark:x}-{self.size:x}{self.coding and "-" + self.coding}"'

    @property
    def modified(self) -> int | None:
        """When it was last written, in seconds, and never in the future (RFC 9110 8.8.2.1)."""
        if self.crc is not None:
            return None
        return max(0, min(self.mtime_ns // 10**9, int(time.time())))


def _opened(descriptor: int) -> _Opened | None:
    """What was opened, if it is a regular file; anything else is closed at once."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        return None
    file = open(descriptor, "rb")  # noqa: SIM115  # the server closes it when it is sent
    return _Opened(file, status.st_size, status.st_mtime_ns)


def _opened_member(path: PackedPath) -> _Opened | None:
    """The same of a file in the archive that we run from; None if there is none."""
    member = path.member
    if member is None:
        return None
    file, start = member.open()
    return _Opened(file, member.size, crc=member.crc, start=start)


def _opened_beneath(root: Path, names: Sequence[str]) -> _Opened | None:
    if isinstance(root, PackedPath):
        return _opened_member(root.joinpath(*names))
    return _opened(open_beneath(root, names))


# -- which file, and whether it is sent ------------------------------------------

# What says that there is nothing for the client. Other errors (no descriptors left,
# a disk that fails) are our trouble, and a 404 would be remembered by caches.
_NOTHING_THERE: Final = frozenset(
    {
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP,
        errno.EMLINK, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV,
    }
)  # fmt: skip


def _answer(request: Request, name: str, open_: _Opener) -> Response:
    try:
        plain = open_("")
        if plain is None:
            return _not_found()
        return _negotiated(request, name, plain, _compressed(plain, open_))
    except ValueError:  # a link that leads out, or what the system's encoding lacks
        return _not_found()
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return _not_found()
        log.error("%s: it can't be read: %s", line_for(request), error.strerror or error)
        return error_response(503, "the file can't be read now", [("retry-after", "1")])


def _compressed(plain: _Opened, open_: _Opener) -> _Opened | None:
    """The file beside, with ``.gz`` behind its name, unless it is of an earlier version."""
    try:
        found = open_(".gz")
    except (OSError, ValueError):
        return None
    if found is None:
        return None
    if found.mtime_ns < plain.mtime_ns - STALE_NS:
        found.file.close()
        return None
    return replace(found, coding="gzip")


def _negotiated(request: Request, name: str, plain: _Opened, gz: _Opened | None) -> Response:
    """The answer from the plain file or the compressed one; the other is closed."""
    headers: HeaderPairs = []
    chosen = plain
    if gz is not None:
        # Caches must know even when it was not chosen: this answer is not for everyone.
        headers.append(("vary", "Accept-Encoding"))
        chosen, other = plain, gz
        if prefers_gzip(request.headers.get("accept-encoding", "")):
            chosen, other = gz, plain
            headers.append(("content-encoding", "gzip"))
        other.file.close()
    try:
        response = _conditional(request, chosen, content_type(name), headers)
    except BaseException:
        chosen.file.close()
        raise
    if response.stream is None:
        chosen.file.close()
    return response


def _conditional(request: Request, opened: _Opened, kind: str, headers: HeaderPairs) -> Response:
    """The preconditions, in the order of RFC 9110 13.2.2, then the content."""
    etag = opened.etag
    modified = opened.modified
    validators = [("etag", etag)]
    if modified is not None:
        validators.append(("last-modified", formatdate(modified, usegmt=True)))
    status = precondition(request, etag, modified)
    if status == 412:
        return error_response(412, "the file is not the one that you mean", validators)
    if status == 304:
        varies = [pair for pair in headers if pair[0] == "vary"]
        return Response(b"", 304, [*validators, *varies])
    headers = [*headers, *validators, ("accept-ranges", "bytes"), NO_SNIFFING]
    ranges = _wanted_ranges(request, opened)
    if ranges is None:
        return _part(opened, 200, headers, kind, (0, opened.size))
    if not ranges:
        everything = [*validators, ("content-range", f"bytes */{opened.size}")]
        return error_response(416, f"the file has {opened.size} bytes", everything)
    if len(ranges) == 1:
        headers.append(("content-range", _content_range(ranges[0], opened.size)))
        return _part(opened, 206, headers, kind, ranges[0])
    return _parts(opened, headers, kind, ranges)


# -- ranges --------------------------------------------------------------------


def _wanted_ranges(request: Request, opened: _Opened) -> Sequence[Range] | None:
    """The ranges that are asked for and to be had; None where all of the file is to be sent."""
    value = request.headers.get("range")
    if value is None or request.method != "GET":  # RFC 9110 14.2: GET alone has ranges
        return None
    if_range = request.headers.get("if-range")
    # 13.1.5: a strong comparison, and a date must be the very one that we told.
    if if_range not in (None, opened.etag):
        date = http_date(if_range)
        if date is None or date != opened.modified or date > time.time() - STRONG_DATE_S:
            return None
    return byte_ranges(value, opened.size)


def _content_range(wanted: Range, size: int) -> str:
    offset, count = wanted
    return f"bytes {offset}-{offset + count - 1}/{size}"


# -- content -------------------------------------------------------------------


def _part(opened: _Opened, status: int, headers: HeaderPairs, kind: str, wanted: Range) -> Response:
    offset, count = wanted
    if count > SMALL_BYTES:
        content = FileContent(opened.file, opened.start + offset, count)
        return Response(b"", status, headers, kind, stream=content)
    return Response(_read(opened.file, opened.start + offset, count), status, headers, kind)


def _read(file: BinaryIO, offset: int, count: int) -> bytes:
    file.seek(offset)
    content = file.read(count)
    if len(content) < count:
        # Its length has been, or will be, announced; somebody cut the file meanwhile.
        raise OSError("the file has become shorter")
    return content


def _parts(opened: _Opened, headers: HeaderPairs, kind: str, ranges: Sequence[Range]) -> Response:
    """Several ranges (RFC 9110 14.6), each with a head of its own."""
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\ncontent-type: {kind}\r\n"
        f"content-range: {_content_range(one, opened.size)}\r\n\r\n".encode()
        for one in ranges
    ]
    end = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(count for _, count in ranges) + len(end)
    return Response(
        b"",
        206,
        headers,
        f"multipart/byteranges; boundary={boundary}",
        stream=_Multipart(opened.file, _multipart(opened, heads, ranges, end)),
        length=length,
    )


def _multipart(
    opened: _Opened, heads: Sequence[bytes], ranges: Sequence[Range], end: bytes
) -> Iterator[bytes]:
    for head, (offset, count) in zip(heads, ranges, strict=True):
        yield head
        first = opened.start + offset
        for start in range(first, first + count, SMALL_BYTES):
            yield _read(opened.file, start, min(SMALL_BYTES, first + count - start))
    yield end


class _Multipart(AsyncIterator[bytes]):
    """What the server sends and closes.

    Not an async generator, which runs no `finally` if it was never started: the
    client may go before the first part, and the file must be closed then too.
    """

    def __init__(self, file: BinaryIO, parts: Iterator[bytes]) -> None:
        self._file = file
        self._parts = parts

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._file.close()


# -- content types ---------------------------------------------------------------

# A table of our own: the system's differ from machine to machine, and the registry
# of Windows has been known to call JavaScript text/plain, which no browser runs.
_TYPES = mimetypes.MimeTypes()
for _suffix, _type in {
    ".avif": "image/avif",
    ".js": "text/javascript",  # RFC 9239; Python 3.11 has the old name
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".opus": "audio/ogg",
    ".rbr": "text/plain",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".yaml": "application/yaml",
}.items():
    _TYPES.add_type(_type, _suffix)

_PACKED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}
_TEXT = re.compile(r"text/.*|application/(?:json|javascript|xml|yaml|.*\+(?:json|xml))|image/svg.*")


def content_type(name: str) -> str:
    """The media type that a name stands for; text is UTF-8."""
    # guess_file_type is new in 3.13, which would rather not have names as urls: "./"
    # keeps what looks like a scheme from being one.
    kind, packed = _TYPES.guess_type(f"./{name}")
    if packed is not None:
        # a.css.gz asked for by its name is a packed file to be kept, not a style.
        return _PACKED.get(packed, "application/octet-stream")
    if kind is None:
        return "application/octet-stream"
    return f"{kind}; charset=utf-8" if _TEXT.fullmatch(kind) else kind
