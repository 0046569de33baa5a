"""``--reload``: a changed file, and the application begins anew.

What it implements: which files an application is made of, a changed one in the place of the one
before, if it starts, and the news of it to the pages that ask for them: the handlers of
``static/reload.rbr``. What it leaves out: seeing a change (`changes`), and the end of the one
before, which is the server's (`Server.restart`).

In one line::

    with Reloader(server, keeper, files, load, since).following(): ...

A change, and what comes of it::

    a page, or what it shows   -> pages are loaded anew
    .rbr, .py, text of a global -> read and imported once more -> it starts: sockets close
                               it does not: all stays, pages tell <--+
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import secrets
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from .app import App
from .changes import PAUSE_S, Changes, Wanted, stamp
from .failures import tell
from .forwarded import trust
from .globs import Globals
from .keeper import STAYS, Fault, Keeper
from .modules import (
    drop_finders,
    forget_modules,
    is_of_the_user,
    restore_modules,
    users_modules,
)
from .packed import path_at
from .rbr import read
from .rbr_nodes import Location, Node, Rbr
from .request import Request
from .server import Server
from .succession import NextApp

FILE: Final = path_at(__file__).parent / "static" / "reload.rbr"

# Who may read the lines of a program's source that are in a fault: this machine.
_LOOPBACK: Final = trust(["127.0.0.0/8", "::1"])
_NEAR, _FAR = "near", "far"
_ELSEWHERE: Final = "The terminal of the server says what is wrong."

_GIVEN_UP: Final = Fault("error: files have changed before all globals were built")
_SHOWN_NAMES: Final = 3


class Reloader:
    """Follows what happens to the files of a server's application."""

    def __init__(
        self,
        server: Server,
        keeper: Keeper,
        files: Sequence[Path],
        load: Callable[[App], NextApp],
        since: float,
    ) -> None:
        """``load`` reads them anew. The server has `FILE` beside ``files``.

        They were first read after ``since``: what changes from then on will have changed.
        """
        self._server = server
        self._keeper = keeper
        self._files = files
        self._load = load
        self._named = named(files)
        self._suspects: set[str] = set()  # what else may be the cause of a fault
        self._forgotten: dict[str, ModuleType] = {}
        self._is_broken = False
        self._told = ""  # the fault that is known
        self._changes = Changes(self._wanted, since)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Follow them, while the server runs."""
        self._keeper.followers.append(asyncio.create_task(self._follow()))
        try:
            yield
        finally:
            self._changes.end()

    async def _follow(self) -> None:
        while True:
            changed = await self._changes.next()
            if self._is_broken or not self._is_for_pages(changed):
                await self._restart(changed)
            else:
                tell(f"Changed for pages: {listed(changed)}.")
                self._news.tell_version()

    def _wanted(self) -> Wanted:
        files = {*self._named.sources, *self._named.pages, *self._suspects}
        return Wanted(files | set(users_modules().values()), tuple(self._named.folders))

    def _is_for_pages(self, changed: set[str]) -> bool:
        sources = self._named.sources.union(users_modules().values())
        named = changed & (self._named.pages | self._named.folders)
        return changed.isdisjoint(sources) and all(map(stamp, named))

    async def _restart(self, changed: set[str]) -> None:
        watched = set(self._wanted().files)
        fault = await self._try(changed)
        while fault not in (None, _GIVEN_UP) and not watched.issuperset(self._watched_for(fault)):
            # What was not watched may have been written meanwhile: begin to, and once more.
            watched.update(self._wanted().files)
            await self._changes.so_far()
            fault = await self._try(set())
        self._is_broken = fault is not None
        if fault is None:
            self._named, self._suspects, self._told = named(self._files), set(), ""
            tell(f"Changed: {listed(changed)}. The application has begun anew.")
            self._news.tell_version()
            return
        text = str(fault)  # reads lines of the source: of what a look after it has not seen change
        if not await self._changes.so_far() and text != self._told:
            # It is not half written, or being mended already.
            self._told = text
            tell(f"{text}\n{STAYS}")
            self._news.tell_fault(text)

    async def _try(self, changed: set[str]) -> Fault | None:
        def load(before: App) -> NextApp:
            gc.collect()  # what was before that one: it may hold much, and Python waits for more
            self._forgotten = forget_modules(changed)
            return self._load(before)

        trying = asyncio.create_task(self._keeper.change(load, self._server.restart))
        fault = await self._unless_mended(trying)
        if fault is None:
            drop_finders()
        else:
            self._suspects |= restore_modules(self._forgotten)
        self._forgotten = {}
        return fault

    async def _unless_mended(self, trying: asyncio.Task[Fault | None]) -> Fault | None:
        """What comes of it. A global may wait for what never comes: a change is the end of that."""
        try:
            while not (await asyncio.wait([trying], timeout=PAUSE_S))[0]:
                if not self._is_for_pages(await self._changes.so_far()):
                    trying.cancel()
                    await asyncio.wait([trying])
            return _GIVEN_UP if trying.cancelled() else trying.result()
        finally:
            trying.cancel()

    def _watched_for(self, fault: Fault) -> Iterable[str]:
        """The files that may mend it when they change."""
        self._named |= named(self._files)
        self._suspects |= suspects(fault.cause, {Path(one).parent for one in self._named.rbr})
        return self._wanted().files

    @property
    def _news(self) -> News:
        values = (home.globs.values.get("news") for home in self._server.app.homes)
        return next(value for value in values if isinstance(value, News))


# -- which files ---------------------------------------------------------------------------------


@dataclass
class Named:
    """What .rbr files name, whether it is there or not."""

    rbr: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)  # for which all begins anew; `rbr` among them
    pages: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)  # of pages

    def __or__(self, other: Named) -> Named:
        return Named(*(getattr(self, of.name) | getattr(other, of.name) for of in fields(self)))

    def add(self, tree: Rbr, folder: Path) -> None:
        """What one of them names."""
        uses = [path.use for path in tree.paths if path.use is not None]
        self.pages.update(str(folder / one.target) for one in uses if one.kind == "file")
        self.folders.update(str(folder / one.target) for one in uses if one.kind == "directory")
        texts = (one.value for one in tree.globals if isinstance(one.value, Location))
        self.sources.update(str(folder / one.target) for one in texts if one.kind == "file")
        for location in _locations(tree.definitions):
            if location.kind in ("python", "wsgi"):
                self.sources.update(_modules(location.target.split(".")[:-1], folder))


def named(files: Iterable[Path]) -> Named:
    """What some files name, and those that they include; a faulty one as far as it can be read."""
    found = Named()
    waiting = [os.path.abspath(file) for file in files]  # noqa: PTH100  # without any ".."
    while waiting:
        name = waiting.pop()
        found.sources.add(name)  # it may be a link, and be switched
        with contextlib.suppress(OSError, ValueError):
            file = Path(os.path.realpath(name))
            if str(file) in found.rbr:
                continue
            found.rbr.add(str(file))
            tree = read(file.read_bytes(), str(file))[0]
            found.add(tree, file.parent)
            waiting += (os.path.normpath(file.parent / one.file.text) for one in tree.includes)
    found.sources |= found.rbr
    return found


def _locations(node: object) -> Iterator[Location]:
    if isinstance(node, Location):
        yield node
    elif isinstance(node, tuple):
        for one in node:
            yield from _locations(one)
    elif isinstance(node, Node):
        for of in fields(node):
            yield from _locations(getattr(node, of.name))


def _modules(names: Sequence[str], folder: Path) -> Iterator[str]:
    """The files that the modules of a dotted name may be in."""
    for path in itertools.accumulate(names, lambda path, name: path / name, initial=folder):
        if path != folder:
            yield f"{path}.py"
            yield str(path / "__init__.py")


def suspects(error: BaseException | None, folders: Iterable[Path]) -> set[str]:
    """The user's files that an exception is about; one that is missing may be in the folders."""
    files: set[str] = set()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        files.update(
            frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)
        )
        if isinstance(error, SyntaxError):
            files.add(error.filename or "")
        if isinstance(error, ModuleNotFoundError):
            names = (error.name or "").split(".")
            files.update(one for folder in folders for one in _modules(names, folder))
        error = error.__cause__ or error.__context__
    return set(filter(is_of_the_user, files))


def listed(files: Iterable[str]) -> str:
    """Some files, as a person would name them."""
    names = sorted(map(_short, files))
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _short(file: str) -> str:
    with contextlib.suppress(OSError, ValueError):  # our own folder has gone, or is another one
        return str(Path(file).relative_to(Path.cwd()))
    return file


# -- what reload.rbr names -----------------------------------------------------------------------


class News:
    """Its global: what pages are told."""

    def __init__(self, globs: Globals) -> None:
        self._server = globs.server
        # A server that was ended and started has another one: it may be another application.
        self._run = secrets.token_hex(4)
        self._number = 0
        self._fault = ""

    def tell_version(self) -> None:
        """Another version of something runs: let pages be loaded anew."""
        self._number += 1
        self.tell_fault("")

    def tell_fault(self, fault: str) -> None:
        """The changed application does not start: let them say why."""
        self._fault = fault
        for room in (_NEAR, _FAR):
            self._server.broadcast(self.words(room), room, "/news")

    def words(self, room: str) -> str:
        """What pages of this machine are told, or those of others."""
        fault = self._fault if room == _NEAR else self._fault and _ELSEWHERE
        return json.dumps({"version": f"{self._run}.{self._number}", "fault": fault})


async def listen(globs: Globals, request: Request) -> None:
    """A page listens."""
    socket: Any = request.socketio
    room = _NEAR if request.remote_addr in _LOOPBACK else _FAR
    socket.join(room)
    socket.send(globs["news"].words(room))
    async for _ in socket:
        pass
