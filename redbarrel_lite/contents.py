"""What of an application goes into an archive: the files that its .rbr files lead to.

What it implements: the .rbr files, what `file:` and `directory:` name, the modules that are
reached from what `python:` and `wsgi:` name, packages as a whole, and what the author adds.
What can't go is refused at the line that names it. What it leaves out: the archive (`pyz`).

In one line::

    contents = Contents(reading.files); contents.diagnostics or contents.files

Nothing else goes: a folder may hold keys, databases and a whole virtual environment.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from .errors import Diagnostic, Span
from .files import is_served
from .loading import File
from .needs import Missing, Needs, is_compiled
from .rbr_nodes import Arbiter, Location, Node, Worker

FOLDER: Final = "app"  # in the archive: that of the first .rbr file
_BLOCK_BYTES: Final = 64 * 1024
_NO_NAME: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # the last ones of what is no UTF-8


class Refused(Exception):
    """What can't be packed, and what to do about it."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


class Contents:
    """The files of an application, by their names in the archive."""

    def __init__(self, files: Sequence[File]) -> None:
        self.root = files[0].path.parent
        self.files: dict[str, Path] = {}
        self.folders: set[str] = set()
        self.parts: dict[str, list[Path]] = {}  # what is packed as one, for who is to be told
        self.remarks: list[str] = []
        self.diagnostics: list[Diagnostic] = []
        self._take(files[0].path, self.root)
        for file in files:
            if file.path.is_relative_to(self.root):  # of others an `include` line is told
                self._take_file(file)

    def add(self, path: Path) -> None:
        """A file or a folder that no .rbr file names. Raises OSError and `Refused`."""
        path = Path(os.path.realpath(path.parent), path.name)
        if path.is_dir():
            self._take_folder(path, self.root, _not_of_a_package)
        else:
            self._take(path, self.root)

    def holds(self, path: Path) -> bool:
        """Whether a file is packed, or would be the next time."""
        folders = (self.root / part for part in self.parts if part.endswith("/"))
        return path in self.files.values() or any(map(path.is_relative_to, folders))

    # -- what an .rbr file names -------------------------------------------------------------

    def _take_file(self, file: File) -> None:
        for include in file.tree.includes:
            path = file.path.parent / include.file.text
            self._try(file, include.file.span, partial(self._include, path))
        needs = Needs(list(dict.fromkeys([file.path.parent, self.root])))
        for location in _locations(file.tree.definitions):
            span = location.target_span
            self._try(file, span, partial(self._locate, file, location, needs))
            for missing in needs.missing:
                self._try(file, span, partial(self._miss, missing))
            needs.missing.clear()
        for module, line in needs.places:
            self.remarks.append(
                f"{self._shown(module)}:{line}: __file__ is no place on a disk there;"
                ' what lies beside is had by pkgutil.get_data(__name__, "NAME")'
            )

    def _try(self, file: File, span: Span, take: Callable[[], None]) -> None:
        try:
            take()
        except Refused as refused:
            told = file.tree.source.diagnostic("RBR048", span, str(refused), refused.hint)
            self.diagnostics.append(told)

    def _include(self, path: Path) -> None:
        if os.path.realpath(path) != os.path.normpath(path):
            # Its locations start from where it leads to, which in the archive is nowhere.
            raise Refused(
                f"'{self._name(path)}' is a symbolic link", "include the file that it leads to"
            )
        self._take(path, self.root)

    def _locate(self, file: File, location: Location, needs: Needs) -> None:
        path = file.path.parent / location.target
        if location.kind == "file":
            self._take(path, self.root)
            self._take_compressed(path)
        elif location.kind == "directory":
            self._take_folder(path, path, partial(_not_served, path))
        elif location.kind in ("python", "wsgi"):
            needs.follow(location.target)
            for package in needs.packages:
                if package.parent not in needs.packages:
                    self._take_folder(package, self.root, _not_of_a_package)
            for module in needs.modules:
                self._take(module, self.root)

    def _miss(self, missing: Missing) -> None:
        """Raises `Refused` for what has been imported here, so that it would be there.

        What nobody has imported here is for other systems, and other days.
        """
        name, wanted = missing.name, missing.wanted
        who = (
            f"{self._shown(missing.importer)}:{wanted.line} imports" if wanted.line else "it needs"
        )
        if wanted.is_optional:
            if missing.is_loaded:
                self.remarks.append(f"{who} '{name}' if it can: there it can't")
        elif wanted.is_late:
            if missing.is_installed:
                self.remarks.append(f"{who} '{name}' when it is called: there that will fail")
        elif not missing.is_loaded:
            pass
        elif missing.file is None:
            raise Refused(
                f"{who} '{name}', which is not beside the application",
                f"put it there: python3 -m pip install --target {self.root} {name}",
            )
        else:
            raise Refused(
                f"{who} '{name}', which is compiled: {missing.file.name}",
                "only sources are imported from an archive: catch ImportError and do without it",
            )

    # -- files -------------------------------------------------------------------------------

    def _shown(self, path: Path) -> str:
        return Path(os.path.relpath(path, self.root)).as_posix()

    def _take(self, path: Path, base: Path, part: str = "") -> None:
        """A file, which must not lead out of ``base``. Raises `Refused`."""
        name = self._name(path)
        if f"{FOLDER}/{name}" in self.files:
            return
        real = self._real(path, base)
        if not real.is_file():
            raise Refused(f"'{name}' {_fault_of(path)}", "remove it, or name others")
        self.files[f"{FOLDER}/{name}"] = real
        self.parts.setdefault(part or name, []).append(real)

    def _real(self, path: Path, base: Path) -> Path:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(os.path.realpath(base)):
            raise Refused(
                f"'{self._shown(path)}' is a symbolic link that leads out, to {real}",
                f"put what it leads to below {base}",
            )
        return real

    def _name(self, path: Path) -> str:
        """The name below the root. Raises `Refused`."""
        name = self._shown(path)
        if name == ".." or name.startswith("../"):
            raise Refused(
                f"'{name}' lies outside of {self.root}",
                "an archive holds what is below the folder of its first .rbr file: put it there",
            )
        if _NO_NAME.search(name):
            raise Refused(f"{name!a} is a name that can't be packed", "give it another name")
        return name

    def _take_folder(self, folder: Path, base: Path, why_not: Callable[[Path], str]) -> None:
        part = self._name(folder) + "/"
        if part not in self.parts:
            self._real(folder, self.root)
            self.parts[part] = []
            for path in self._walk(folder, base, why_not, ()):
                self._take(path, base, part)

    def _walk(
        self, folder: Path, base: Path, why_not: Callable[[Path], str], above: tuple[Path, ...]
    ) -> Iterator[Path]:
        """The files in and below a folder, but for those of which ``why_not`` says something."""
        real = self._real(folder, base)
        if real in above:
            raise Refused(f"'{self._name(folder)}' leads round in a circle", "remove that link")
        self.folders.add((PurePosixPath(FOLDER) / self._name(folder)).as_posix() + "/")
        for path in sorted(folder.iterdir()):
            if path.name == "__pycache__":
                continue
            if why := why_not(path):
                self.remarks.append(f"left out: {_printable(self._shown(path))}, {why}")
            elif path.is_dir():
                yield from self._walk(path, base, why_not, (*above, real))
            else:
                yield path

    def _take_compressed(self, path: Path) -> None:
        """The file beside, with ``.gz`` behind its name, which is served to who prefers it."""
        beside = path.with_name(path.name + ".gz")
        if not beside.is_file():
            return
        if why := _not_of_original(beside):
            self.remarks.append(f"left out: {self._shown(beside)}, {why}")
        else:
            self._take(beside, self.root)


def _fault_of(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return "is a symbolic link that leads nowhere"
    return "is no regular file" if path.exists() else "is not there"


def _not_served(folder: Path, path: Path) -> str:
    """Why nothing would serve what is in the folder of a `directory:`; nothing if it would."""
    inside = Path(os.path.relpath(os.path.realpath(path), os.path.realpath(folder))).parts
    if not is_served(path.name) or (inside[:1] != ("..",) and not all(map(is_served, inside))):
        return "which is never served"
    return _not_of_original(path)


def _not_of_a_package(path: Path) -> str:
    if path.name.startswith("."):
        return "which is hidden"
    return "which is compiled" if is_compiled(path) else ""


def _not_of_original(path: Path) -> str:
    """Why a compressed file must not be served for the one beside it.

    Dates tell that of files on a disk; in an archive all have the same.
    """
    original = path.with_suffix("")
    if path.suffix != ".gz" or not original.is_file() or _unpacks_to(path, original):
        return ""
    return f"which is not {original.name} compressed"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _unpacks_to(packed: Path, original: Path) -> bool:
    try:
        with gzip.open(packed) as one, original.open("rb") as other:
            while block := other.read(_BLOCK_BYTES):
                if one.read(len(block)) != block:
                    return False
            return not one.read(1)
    except (OSError, EOFError, zlib.error):
        return False


def _locations(node: object) -> Iterator[Location]:
    """Those in and below a node, less what a server ignores."""
    if isinstance(node, Location):
        yield node
    elif isinstance(node, tuple):
        for one in node:
            yield from _locations(one)
    elif isinstance(node, Node) and not isinstance(node, Worker | Arbiter):
        for one in fields(node):
            yield from _locations(getattr(node, one.name))
