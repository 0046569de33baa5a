"""What stands behind `use`: a Python callable, or a file.

What it implements: finding what a location names, saying what is wrong where
nothing is found, and how a callable gets its arguments. What it leaves out: the
serving, which is in `services`, `files`, `wsgi` and `upstream`.

In one line::

    handler = Folder(path).callable("chat.chat")
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any

from .errors import AppError
from .forms import BadContent, MultiDict
from .handlers import Line, is_async, is_short, mark_async
from .messages import Handler
from .modules import Modules, instead
from .rbr_nodes import Location
from .request import Request


class Folder:
    """The folder of an .rbr file, from which its locations are found."""

    def __init__(self, path: Path, *, apart: bool = False) -> None:
        self.path = path
        self.modules = Modules(path, apart=apart)
        self.failures: list[BaseException] = []  # what modules raised when they were imported

    def trouble(self, location: Location, event: str | None = None) -> tuple[str, str] | None:
        """What is wrong with a location that is to answer requests; None if nothing is.

        Or events, if one is named. Imports what ``python:`` and ``wsgi:`` name, which runs
        the user's module.
        """
        if event is not None:
            return self._trouble(location, partial(self.line, event=event))
        return self._trouble(location, self.callable)

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
            elif location.kind == "wsgi":
                self.application(location.target)
            elif location.kind == "python":
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
        if path.exists() and not path.is_file():
            raise AppError(f"'{name}' is a pipe, a socket or a device", "name a regular file")
        if not path.is_file():
            raise AppError(f"no file '{name}' in {self.path}", instead(name, path.parent))
        return path

    def directory(self, name: str) -> Path:
        """The path of a folder. Raises `AppError` if there is none."""
        path = self.path / name
        if path.is_file():
            raise AppError(f"'{name}' is a file", f"write file:{name}")
        if not path.is_dir():
            raise AppError(f"no folder '{name}' in {self.path}", instead(name, path.parent))
        return path

    def application(self, dotted: str) -> Callable[..., Any]:
        """What a dotted name stands for, as a WSGI application. Raises `AppError`."""
        found = self.modules.find(dotted)
        if not callable(found):
            what = f"'{dotted}' is no WSGI application but of type {type(found).__name__}"
            raise AppError(what, "name what a WSGI server would call: wsgi:module.app")
        return found  # type: ignore[no-any-return]

    def callable(self, dotted: str) -> Handler:
        """What a dotted name stands for, as a handler. Raises `AppError`."""
        return adapt(self.modules.find(dotted), dotted)

    def line(self, dotted: str, event: str) -> Line:
        """The same for an `on` line, which takes an event's arguments. Raises `AppError`."""
        return Line.of(self.modules.find(dotted), dotted, event)


def adapt(function: Any, dotted: str) -> Handler:
    """A callable of (globs, request), whatever form the author chose.

    With one parameter, or a first one named ``request`` or ``req``, it gets the
    request alone; otherwise the globals and the request, as in 2011. The parameters
    after these are filled by name. Raises `AppError` for what can't be called so.
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
    short = is_short(positional, parameters[0], variable=variable)
    leading = positional[: 1 if short else 2]
    further = _Further.of(function, dotted, leading, parameters)
    return _called(function, 1 if short else 0, further)


def _called(function: Callable[..., Any], skip: int, further: _Further | None) -> Handler:
    """The function with its arguments, as what it is: on the loop, or in a thread."""
    make_parts = _is_async_generator(function)
    if not skip and further is None and not make_parts:
        return function

    def arguments(globs: dict[str, Any], request: Request) -> Any:
        more = further.values(request) if further is not None else {}
        return function(*(globs, request)[skip:], **more)

    async def awaited(globs: dict[str, Any], request: Request) -> Any:
        return await arguments(globs, request)

    def short(_globs: dict[str, Any], request: Request) -> Any:
        return function(request)

    async def parts(globs: dict[str, Any], request: Request) -> Any:
        return arguments(globs, request)

    called: Handler = arguments
    if make_parts:
        called = parts
    elif skip and further is None:
        called = short
    elif is_async(function):
        called = awaited
    update_wrapper(called, function)  # a log line names the user's function
    if called is short and is_async(function):
        mark_async(called)
    return called


def _is_async_generator(function: Callable[..., Any]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004  # which one, not whether
    return inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(call)


def _all_names(function: Any) -> set[str]:
    """The names of a callable's parameters, and those that it has filled already.

    Its signature hides these, `self` and what a partial has set, but they are taken.
    """
    if isinstance(function, partial):
        return {*function.keywords, *_all_names(function.func)}
    if inspect.ismethod(function):
        return _all_names(function.__func__)
    if inspect.isclass(function):
        return _all_names(function.__init__) | _all_names(function.__new__)
    wrapped = getattr(function, "__wrapped__", None)
    names = _all_names(wrapped) if wrapped is not None else set()
    if not inspect.isroutine(function):
        return names | _all_names(type(function).__call__)
    with contextlib.suppress(TypeError, ValueError):  # some builtins have no signature
        own = inspect.signature(function, follow_wrapped=False).parameters.values()
        names |= {p.name for p in own if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return names


@dataclass(frozen=True, slots=True)
class _Further:
    """The parameters after (globs, request), which the request fills by their names."""

    needed: Mapping[str, bool]  # by name: whether it has no default
    takes_rest: bool
    reserved: frozenset[str]  # the names of all the others

    @classmethod
    def of(
        cls,
        function: Any,
        dotted: str,
        leading: list[inspect.Parameter],
        parameters: list[inspect.Parameter],
    ) -> _Further | None:
        """Those of a function; None if it has none. Raises `AppError`."""
        # What a partial has set is its author's, and so is what begins with "_": no
        # client may say what is in there.
        own = function.keywords if isinstance(function, partial) else {}
        needed: dict[str, bool] = {}
        for one in parameters:
            if one in leading or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                continue
            has_default = one.default is not one.empty
            if one.kind is one.POSITIONAL_ONLY or one.name.startswith("_"):
                if not has_default:
                    what = f"parameter '{one.name}' of '{dotted}' can't be filled by name"
                    raise AppError(what, "give it a name without '_' in front, after the '/'")
            elif one.name not in own:
                needed[one.name] = not has_default
        takes_rest = any(one.kind is one.VAR_KEYWORD for one in parameters)
        if not needed and not takes_rest:
            return None
        reserved = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
        reserved |= _all_names(function)
        return cls(needed, takes_rest, frozenset(reserved - set(needed)))

    def values(self, request: Request) -> dict[str, str]:
        """The arguments: from the url's placeholders, then from the query."""
        # Not for POST: there the query is no part of what is asked to be done.
        query = request.GET if request.method in ("GET", "HEAD", "DELETE") else MultiDict[str]()
        found: dict[str, str] = {}
        if self.takes_rest:
            found = {name: query[name] for name in query if name not in self.reserved}
        for name, is_needed in self.needed.items():
            value = request.match.get(name, query.get(name))
            if value is not None:
                found[name] = value
            elif is_needed:
                raise BadContent(f"parameter '{name}' is missing")
        return found
