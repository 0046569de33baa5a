"""What stands behind `use`: a Python callable, or a file.

What it implements: the locations ``python:`` and ``file:``. What it leaves out:
``directory:``, ``proxy:`` and ``wsgi:``.

In one line::

    handler = Folder(path).callable("chat.chat")
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import AppError
from .modules import Modules, instead
from .rbr_nodes import Location
from .request import Request


class Folder:
    """The folder of an .rbr file, from which its locations are found."""

    def __init__(self, path: Path, *, apart: bool = False) -> None:
        self.path = path
        self.modules = Modules(path, apart=apart)
        self.failures: list[BaseException] = []  # what modules raised when they were imported

    def trouble(self, location: Location) -> tuple[str, str] | None:
        """What is wrong with a location that is to answer requests; None if nothing is.

        Imports what ``python:`` and ``wsgi:`` name, which runs the user's module.
        """
        return self._trouble(location, self.callable if location.kind == "python" else None)

    def missing(self, location: Location) -> tuple[str, str] | None:
        """The same of any location: only that there is something."""
        return self._trouble(location, None)

    def _trouble(
        self, location: Location, find: Callable[[str], Any] | None
    ) -> tuple[str, str] | None:
        try:
            if location.kind == "file":
                self.file(location.target)
            elif location.kind == "directory":
                self.directory(location.target)
            elif location.kind in ("python", "wsgi"):
                (find or self.modules.find)(location.target)
        except AppError as error:
            if error.__cause__ is not None:
                self.failures.append(error.__cause__)
            return str(error), error.hint
        return None

    def file(self, name: str) -> Path:
        """The path of a file. Raises `AppError` if there is none."""
        path = self.path / name
        if path.is_dir():
            raise AppError(f"'{name}' is a folder", f"write directory:{name}")
        if not path.is_file():
            raise AppError(f"no file '{name}' in {self.path}", instead(name, path.parent))
        return path

    def directory(self, name: str) -> Path:
        """The path of a folder. Raises `AppError` if there is none."""
        path = self.path / name
        if not path.is_dir():
            raise AppError(f"no folder '{name}' in {self.path}", instead(name, path.parent))
        return path

    def callable(self, dotted: str) -> Callable[[dict[str, Any], Request], Any]:
        """What a dotted name stands for, as a handler. Raises `AppError`."""
        return adapt(self.modules.find(dotted), dotted)


# The names by which a first parameter says that there is no other before it.
_REQUEST_NAMES = ("request", "req")


def adapt(function: Any, dotted: str) -> Callable[[dict[str, Any], Request], Any]:
    """A callable of (globs, request), whatever form the author chose.

    With one parameter, or a first one named ``request`` or ``req``, it gets the
    request alone; otherwise the globals and the request, as in 2011. Raises
    `AppError` for what can't be called so.
    """
    if not callable(function):
        what = f"'{dotted}' is not callable but of type {type(function).__name__}"
        raise AppError(what, "name a function")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature
        return function  # type: ignore[no-any-return]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if not positional and not variable:
        raise AppError(f"'{dotted}' takes no request", "write def NAME(globs, request)")
    if (len(positional) == 1 and not variable) or parameters[0].name in _REQUEST_NAMES:
        return _with_request_alone(function)
    return function  # type: ignore[no-any-return]


def _with_request_alone(function: Callable[..., Any]) -> Callable[[dict[str, Any], Request], Any]:
    if inspect.iscoroutinefunction(function):

        async def short_async(_globs: dict[str, Any], request: Request) -> Any:
            return await function(request)

        return short_async
    return lambda _globs, request: function(request)
