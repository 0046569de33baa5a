"""The .rbr files of an application: those that were named, and those that they include.

What it implements: reading and checking them together, each with the folder that its
locations start from and the prefix of its urls; what none of them shows alone, a file
that includes itself and a url that two files answer. What it leaves out: what becomes
of the trees, which is for `app`, and for the command ``check``.

In one line::

    reading = Reading(); reading.add(Path("chat.rbr"), "chat.rbr")
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path as FilePath

from .errors import Diagnostic, Span
from .locations import Folder
from .rbr import read
from .rbr_check import examine
from .rbr_diagnostics import Source, clip, listed
from .rbr_nodes import Location, Path, Rbr


@dataclass(frozen=True, slots=True)
class File:
    """One .rbr file of an application; ``root`` is the whole prefix of its urls."""

    tree: Rbr
    folder: Folder
    root: str
    path: FilePath = FilePath()


class Reading:
    """Files as they are read, and all there is to say of them."""

    def __init__(self, *, syntax_only: bool = False, before: Iterable[File] = ()) -> None:
        """``before``: what was read of them the last time; their modules are not imported again."""
        self.syntax_only = syntax_only
        self._before = list(before)
        self.files: list[File] = []
        self.diagnostics: list[Diagnostic] = []
        self.failures: list[BaseException] = []  # what the user's modules raised
        self._answered: dict[tuple[str, str], tuple[Path, Source]] = {}

    @property
    def errors(self) -> list[Diagnostic]:
        return [one for one in self.diagnostics if one.severity == "error"]

    def add(
        self, file: FilePath, shown: str, prefix: str = "", includers: tuple[FilePath, ...] = ()
    ) -> None:
        """Read a file, called ``shown`` in messages, and what it includes.

        Raises OSError if it can't be read.
        """
        path = file.resolve()  # before a module is imported, which may go to another folder
        folder = self._folder(path)
        text = file.read_bytes()
        handlers = _handlers(read(text, shown)[0])

        def resolve(location: Location) -> tuple[str, str] | None:
            if location.target_span not in handlers:
                return folder.missing(location)
            return folder.trouble(location, handlers[location.target_span])

        tree, found = examine(text, shown, None if self.syntax_only else resolve)
        root = prefix + tree.root
        self.files.append(File(tree, folder, root, path))
        self.diagnostics += found
        self.failures += folder.failures
        self._compare_urls(tree, root)
        if not self.syntax_only:
            self._add_included(tree, root, path, (*includers, path))

    def _folder(self, path: FilePath) -> Folder:
        for known in self._before:
            if known.path == path:
                self._before.remove(known)
                known.folder.failures.clear()
                known.folder.modules.look_again()
                return known.folder
        return Folder(path.parent, apart=bool(self.files))

    def _add_included(
        self, tree: Rbr, root: str, file: FilePath, includers: tuple[FilePath, ...]
    ) -> None:
        for include in tree.includes:
            inner = file.parent / include.file.text
            prefix = root + (include.at.text.rstrip("/") if include.at else "")
            if inner.resolve() in includers:
                message = f"'{include.file.text}' includes this file, directly or through others"
                hint = "remove one of the 'include' lines"
                span = include.file.span
                self.diagnostics.append(tree.source.diagnostic("RBR046", span, message, hint))
            elif inner.is_file():  # a missing one is told of already
                shown = FilePath(tree.source.filename).parent / include.file.text
                self.add(inner, str(shown), prefix, includers)

    # -- files among each other ------------------------------------------------------

    def _compare_urls(self, tree: Rbr, root: str) -> None:
        """One url and verb in two files; of sockets, one url at all.

        The sockets of a file are its own: `request.server` reaches no others. What
        shares a url shares its sessions, so it can't belong to two.
        """
        for path in tree.paths:
            if path.url is None:
                continue
            url = root + path.url.text
            clashes = []
            for verb in dict.fromkeys(("socket",) if path.is_socket else path.verbs):
                other, source = self._answered.setdefault((url, verb), (path, tree.source))
                if source is not tree.source:
                    clashes.append((verb, other, source))
            if clashes:
                self._report_clash(tree, path, url, clashes)

    def _report_clash(
        self, tree: Rbr, path: Path, url: str, clashes: list[tuple[str, Path, Source]]
    ) -> None:
        _, other, source = clashes[0]
        verbs = listed((verb for verb, *_ in clashes), "and")
        message = f"{verbs} {clip(url)} is answered already, by another file"
        hint = 'give one of the files a prefix: root /prefix; or include "…" at /prefix;'
        if path.is_socket:
            hint = "give one of them a url of its own, and its clients the option 'path'"
        note = f"the path that answers it is at {source.filename}:{source.place(other.span)}"
        own = path.get("url")
        span = own.span if own else path.name.span
        self.diagnostics.append(tree.source.diagnostic("RBR032", span, message, hint, [note]))


def _handlers(tree: Rbr) -> dict[Span, str | None]:
    """Where the locations stand that answer requests, and events, whose names stand beside."""
    found: dict[Span, str | None] = {}
    for path in tree.paths:
        if path.use is not None:
            found[path.use.target_span] = None
        for line in path.events():
            found[line.use.target_span] = line.event
    return found
