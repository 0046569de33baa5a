"""What stands behind `use`: a Python callable, or a file.

What it implements: the locations ``python:`` and ``file:``. What it leaves out:
``directory:``, ``proxy:`` and ``wsgi:``.

In one line::

    handler = adapt(resolve_python("chat.chat", folder))
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import mimetypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import AppError
from .request import Request, Response, error_response

# The names by which a first parameter says that there is no other before it.
_REQUEST_NAMES = ("request", "req")


def resolve_python(dotted: str, folder: Path) -> Any:
    """What a dotted name stands for: an attribute of a module, found from ``folder`` first.

    Raises `AppError` if there is no such thing; if the module itself fails, with
    its exception as the cause.
    """
    where = str(folder)
    if where not in sys.path:
        # First, as Python does for a script, and for good: the module's own
        # imports, some of them made when a function runs, are found there too.
        sys.path.insert(0, where)
    names = dotted.split(".")
    if len(names) < 2:
        raise AppError(f"'python:{dotted}' is a module; write python:{dotted}.NAME")
    found: Any = _import(names[0], dotted, folder)
    for depth, name in enumerate(names[1:], 2):
        try:
            found = getattr(found, name)
        except AttributeError:
            if depth == len(names) or not hasattr(found, "__path__"):
                raise AppError(_no_attribute(found, name, dotted)) from None
            found = _import(".".join(names[:depth]), dotted, folder)
    return found


def _import(module: str, dotted: str, folder: Path) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise AppError(f"no module '{module}' for 'python:{dotted}' in {folder}") from None
        raise AppError(f"module '{module}' can't be imported: {error}") from error
    except Exception as error:
        raise AppError(f"module '{module}' can't be imported: {error}") from error


def _no_attribute(found: Any, name: str, dotted: str) -> str:
    close = difflib.get_close_matches(name, dir(found), 1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"'{getattr(found, '__name__', found)}' has no '{name}', for 'python:{dotted}'{hint}"


def adapt(function: Any, dotted: str = "") -> Callable[[dict[str, Any], Request], Any]:
    """A callable of (globs, request), whatever form the author chose.

    With one parameter, or a first one named ``request`` or ``req``, it gets the
    request alone; otherwise the globals and the request, as in 2011. Raises
    `AppError` for what can't be called so.
    """
    if not callable(function):
        raise AppError(f"'python:{dotted}' is not callable but {type(function).__name__}")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature
        return function  # type: ignore[no-any-return]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variable = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if not positional and not variable:
        raise AppError(f"'python:{dotted}' takes no request: write def name(globs, request)")
    if (len(positional) == 1 and not variable) or parameters[0].name in _REQUEST_NAMES:
        return _with_request_alone(function)
    return function  # type: ignore[no-any-return]


def _with_request_alone(function: Callable[..., Any]) -> Callable[[dict[str, Any], Request], Any]:
    if inspect.iscoroutinefunction(function):

        async def short_async(_globs: dict[str, Any], request: Request) -> Any:
            return await function(request)

        return short_async
    return lambda _globs, request: function(request)


def serve_file(path: Path) -> Callable[[Request], Response]:
    """What answers with the contents of one file, read anew for each request.

    Raises `AppError` if there is no such file now.
    """
    if not path.is_file():
        raise AppError(f"no file {path}")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"

    def serve(_request: Request) -> Response:
        try:
            return Response(path.read_bytes(), content_type=kind)
        except OSError:
            return error_response(404, "the file has gone")

    return serve
