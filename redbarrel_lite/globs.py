"""What `global` makes: built once at the start, in order, and ended in reverse.

What it implements: values, texts of files, what a callable makes of the globals so
far, and generators, whose part behind the ``yield`` runs at the end. What it leaves
out: who holds them, which is the application.

In one line::

    globs = Globs(file, hub); await globs.start(); ...; await globs.stop(deadline)

All of it runs on the event loop: a generator may start tasks there, and there they
are when it ends them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, TypeAlias

from .errors import AppError, RbrError
from .failures import is_its_own, user_traceback
from .hub import Hub
from .loading import File
from .rbr_nodes import Global, Location, Number, Value, Words

log = logging.getLogger("redbarrel_lite")

_Generator: TypeAlias = Generator[Any, Any, Any] | AsyncGenerator[Any, Any]


class Globals(dict[str, Any]):
    """What handlers have as ``globs``: the globals by name.

    ``server`` is the same as `request.server`, for those that work in the background.
    It is no item: the names of items are the author's.
    """

    def __init__(self, server: Hub) -> None:
        super().__init__()
        self.server = server


class Globs:
    """The globals of one .rbr file, whose sockets are those of ``server``."""

    def __init__(self, file: File, server: Hub, before: Globs | None = None) -> None:
        """``before``: those of the same file, as it was; what is the same in both is kept."""
        self.values = Globals(server)
        self._file = file
        self._before = before
        self._running: list[tuple[str, _Generator]] = []

    async def start(self) -> None:
        """Build all. Raises `RbrError`, with what one of them raised as the cause.

        Those that were built before it are not ended: that is for `stop`.
        """
        kept = self._kept()
        self._values_from_before(kept)
        for definition in self._file.tree.globals:
            name = definition.name.text
            if name in kept:
                continue
            try:
                self.values[name] = await self._build(name, definition.value)
            except (Exception, SystemExit) as error:
                raise self._failed(definition, error) from error
            await asyncio.sleep(0)  # a signal that came meanwhile, to a `def`, ends it here

    def _kept(self) -> set[str]:
        """Whose definitions are the same. A file may have another text by now: it is read again."""
        before = self._before._file.tree.globals if self._before else ()
        return {
            one.name.text
            for one in self._file.tree.globals
            if one in before and not (isinstance(one.value, Location) and one.value.kind == "file")
        }

    def _values_from_before(self, kept: set[str]) -> None:
        """Those that are kept, and what somebody put there that no file has defined."""
        if self._before is None:
            return
        defined = {one.name.text for one in self._before._file.tree.globals}
        for name, value in self._before.values.items():
            if name in kept or name not in defined:
                self.values[name] = value

    def take_over(self) -> None:
        """From now on, to end what was kept is ours; what was not is still to be ended there."""
        before, kept = self._before, self._kept()
        if before is None:
            return
        order = [one.name.text for one in self._file.tree.globals]
        self._running += [one for one in before._running if one[0] in kept]
        self._running.sort(key=lambda one: order.index(one[0]))
        before._running = [one for one in before._running if one[0] not in kept]
        self._before = None

    def _failed(self, definition: Global, error: BaseException) -> RbrError:
        what = f"global '{definition.name.text}' fails: {type(error).__name__}: {error}"
        hint = "mend it where the traceback points"
        span = definition.value.span
        return RbrError([self._file.tree.source.diagnostic("RBR047", span, what, hint)])

    async def _build(self, name: str, value: Value) -> Any:
        if not isinstance(value, Location):
            return plain_value(value)
        if value.kind == "file":
            return self._file.folder.file(value.target).read_text(encoding="utf-8")
        found = self._file.folder.modules.find(value.target)
        if not callable(found):  # an object that was made when its module was imported
            return found
        made = _call(found, self.values)
        if inspect.isgenerator(made) or inspect.isasyncgen(made):
            return await self._first(name, made)
        return await made if inspect.isawaitable(made) else made

    async def _first(self, name: str, generator: _Generator) -> Any:
        try:
            if isinstance(generator, AsyncGenerator):
                value = await anext(generator)
            else:
                value = next(generator)
        except (StopIteration, StopAsyncIteration):
            raise AppError("it yields nothing", "write: yield VALUE") from None
        self._running.append((name, generator))
        return value

    async def stop(self, deadline: float) -> None:
        """End all, in reverse order: a later one may use an earlier one until its end.

        What one of them raises is logged, and the others still end. One that still
        waits for something at the ``deadline``, by the loop's clock, is cancelled.
        """
        while self._running:
            name, generator = self._running.pop()
            try:
                async with asyncio.timeout_at(deadline):
                    await _rest(generator)
            except TimeoutError:
                log.error("global '%s' did not end in time", name)
            except BaseException as error:
                if not is_its_own(error):
                    raise
                log.error("the end of global '%s' failed:\n%s", name, user_traceback(error))


async def _rest(generator: _Generator) -> None:
    """Run a generator to its end, where a second ``yield`` is a mistake."""
    try:
        if isinstance(generator, AsyncGenerator):
            await anext(generator)
        else:
            next(generator)
    except (StopIteration, StopAsyncIteration):
        return
    raise AppError("it yields a second time", "yield once: what follows is for the end")


def _call(function: Callable[..., Any], globs: dict[str, Any]) -> Any | Awaitable[Any]:
    """Call with the globals so far what takes an argument."""
    try:
        inspect.signature(function).bind(globs)
    except (TypeError, ValueError):
        return function()
    return function(globs)


def plain_value(value: Value) -> Any:
    """A value as Python has it: 3 and 1.5 are numbers, 1.0.3 is not one; words are a text."""
    match value:
        case Number(text) if "." not in text:
            return int(text)
        case Number(text) if text.count(".") == 1:
            return float(text)
        case Words():
            return "|".join(value.texts)
        case _:
            return getattr(value, "text", "")
