"""Files inside of the archive that we run from: paths as if they lay on disk.

What it implements: of `pathlib.Path` what is asked about the folder of an .rbr file, for the
members of a zip archive, reading a member where it lies, and importing modules from there
(PEP 451). What it leaves out: our own modules, which are packed as one text (`bundled`), and
writing: an archive is only read.

In one line::

    page = path_at(__file__).parent / "static" / "wire.html"; page.read_bytes()

An archive is opened once and stays open. Who puts a new one in its place, by renaming, does
not change what this process serves: the descriptor means the file that was there at first.
Python's own `zipimport` opens the file anew for each module, and for each line of a traceback:
in another archive it would read at the places of this one.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_file_location
from pathlib import Path, PurePosixPath
from types import CodeType
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from zipimport import ZipImportError, zipimporter

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())  # before Python 3.12 only the path of a system can be derived from

_LOCAL_HEADER_BYTES: Final = 30  # APPNOTE 4.3.7, before the name and the extra field


class _Shared(io.RawIOBase):
    """Reads a descriptor that others read too, from a place of its own; closes nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence != os.SEEK_SET:
            offset += self._at if whence == os.SEEK_CUR else os.fstat(self._descriptor).st_size
        self._at = offset
        return offset

    def readinto(self, buffer: Any, /) -> int:
        data = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Archive:
    """A zip file, open, and its members by name."""

    def __init__(self, path: str) -> None:
        import zipfile  # noqa: PLC0415  # who runs from a folder pays for no archive

        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self.members: dict[str, Member] = {}
        self.folders: dict[str, set[str]] = {}  # and the names in them
        with self.reader() as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                inner = PurePosixPath(info.filename)
                if info.is_dir():
                    self.folders.setdefault(str(inner), set())
                else:
                    self.members[str(inner)] = self._member(file, info)
                for one in (inner, *inner.parents[:-1]):
                    self.folders.setdefault(str(one.parent), set()).add(one.name)

    def _member(self, file: BinaryIO, info: Any) -> Member:
        # The local header has lengths of its own, which the directory at the end does not tell.
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
        lengths = sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        start = info.header_offset + _LOCAL_HEADER_BYTES + lengths
        is_stored = info.compress_type == 0
        return Member(self, start, info.compress_size, info.file_size, info.CRC, is_stored)

    def reader(self) -> BinaryIO:
        """The archive as a file with a place of its own, for who closes it."""
        if hasattr(os, "pread"):
            return io.BufferedReader(_Shared(self._descriptor))
        return open(self.path, "rb")  # noqa: PTH123  # Windows, where what is open stays in place


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, and where in it its bytes are."""

    archive: Archive
    start: int
    packed_size: int
    size: int
    crc: int
    is_stored: bool

    def open(self) -> tuple[BinaryIO, int]:
        """A file that holds the content, and where in it that begins.

        What was stored as it is can be sent from the archive, by the kernel too.
        """
        if self.is_stored:
            return self.archive.reader(), self.start
        return io.BytesIO(self.read()), 0

    def read(self) -> bytes:
        """All of it. Raises OSError if it is not what was packed."""
        with self.archive.reader() as file:
            file.seek(self.start)
            data = file.read(self.packed_size)
        if not self.is_stored:
            try:
                data = zlib.decompress(data, -zlib.MAX_WBITS)
            except zlib.error:
                data = b""
        if zlib.crc32(data) != self.crc or len(data) != self.size:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self.archive.path)
        return data


_archives: dict[str, Archive] = {}


def open_archive(path: str) -> None:
    """From now on `path_at` knows what is in an archive."""
    real = os.path.realpath(path)
    if real not in _archives:
        _archives[real] = Archive(real)
    if _modules_of not in sys.path_hooks:
        sys.path_hooks.insert(0, _modules_of)


def path_at(where: str) -> Path:
    """The path of a file or a folder, be it on disk or in an archive that is open."""
    real = os.path.realpath(where)
    is_packed = any(real.startswith(archive + os.sep) for archive in _archives)
    return PackedPath(real) if is_packed else Path(where)


class PackedPath(_Base):
    """A path that leads into an archive; what is made from it, by ``/`` and the like, does too."""

    def _place(self) -> tuple[Archive, str]:
        archive = next(one for path, one in _archives.items() if self.is_relative_to(path))
        # The system is not asked, so that ".." is for us to follow.
        inner = os.path.normpath(self.relative_to(archive.path))
        return archive, inner.replace(os.sep, "/")

    @property
    def member(self) -> Member | None:
        """The file that it names; None if there is none."""
        archive, name = self._place()
        return archive.members.get(name)

    def _names(self) -> set[str] | None:
        archive, name = self._place()
        return archive.folders.get(name)

    def is_file(self, **_: Any) -> bool:
        return self.member is not None

    def is_dir(self, **_: Any) -> bool:
        return self._names() is not None

    def exists(self, **_: Any) -> bool:
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[PackedPath]:  # type: ignore[override]
        for name in sorted(self._names() or ()):
            yield self / name

    def read_bytes(self) -> bytes:
        if self.member is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return self.member.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None, **_: Any) -> str:
        text = str(self.read_bytes(), encoding or "utf-8", errors or "strict")
        return text.replace("\r\n", "\n").replace("\r", "\n")  # as `open` does it


class _Modules(zipimporter):
    """Finds and loads the modules of a folder: what `zipimporter` is for one that stays."""

    def __init__(self, folder: PackedPath) -> None:
        # It reads the names, for `pkgutil.iter_modules`, and may find that the file has gone.
        with contextlib.suppress(ZipImportError):
            super().__init__(str(folder))
        archive, inner = folder._place()
        self.archive = archive.path
        self.prefix = inner + os.sep
        self._folder = folder

    def find_spec(self, fullname: str, target: Any = None) -> ModuleSpec | None:
        base = self._base(fullname)
        if file := _module_at(base):
            return spec_from_file_location(fullname, file, loader=self)
        if not base.is_dir():
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(base)]
        return spec

    def _base(self, fullname: str) -> Path:
        return self._folder / fullname.rpartition(".")[2]

    def get_filename(self, fullname: str) -> str:
        if file := _module_at(self._base(fullname)):
            return file
        raise ZipImportError(f"can't find module {fullname!r}", name=fullname)

    def is_package(self, fullname: str) -> bool:
        return self.get_filename(fullname).endswith(f"{os.sep}__init__.py")

    def get_data(self, pathname: str) -> bytes:
        return path_at(pathname).read_bytes()

    def get_source(self, fullname: str) -> str:
        return decode_source(self.get_data(self.get_filename(fullname)))

    def get_code(self, fullname: str) -> CodeType:
        file = self.get_filename(fullname)
        code: CodeType = compile(self.get_data(file), file, "exec", dont_inherit=True)
        return code

    def invalidate_caches(self) -> None:
        """What is open does not change."""


def _module_at(base: Path) -> str:
    """The file of a package, or of a module; "" if there is none."""
    files = (base / "__init__.py", base.with_name(f"{base.name}.py"))
    return next((str(file) for file in files if file.is_file()), "")


def _modules_of(entry: str) -> _Modules:
    """A hook of `sys.path_hooks`."""
    folder = path_at(entry)
    if not isinstance(folder, PackedPath):
        raise ImportError(f"{entry} is in no archive that is open")
    return _Modules(folder)


# By our own loader or by Python's: what has imported us from an archive knows which.
OWN: Final[str | None] = getattr(__spec__.loader, "archive", None)
# What people type to run us.
PROGRAM: Final = f"python3 {Path(OWN).name}" if OWN else "python3 -m redbarrel_lite"
if OWN:
    open_archive(OWN)
