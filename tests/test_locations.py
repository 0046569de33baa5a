"""What stands behind `use`, and what is said where nothing does."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite.locations import Folder
from redbarrel_lite.rbr_nodes import Location
from redbarrel_lite.request import Request

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def path_and_modules_are_left_alone() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def module(folder: Path, source: str) -> str:
    name = f"located_{next(_numbers)}"
    (folder / f"{name}.py").write_text(source)
    return name


REQUEST = Request("GET", "/", [])
GLOBS: dict[str, Any] = {"a": 1}


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("def f(globs, request): return globs, request", (GLOBS, REQUEST)),
        ("def f(a, b): return a, b", (GLOBS, REQUEST)),
        ("def f(request): return request", REQUEST),
        ("def f(x): return x", REQUEST),
        ("def f(request, page='1'): return request, page", (REQUEST, "1")),
        ("def f(req, page='1'): return req, page", (REQUEST, "1")),
        ("def f(*args): return args", (GLOBS, REQUEST)),
        ("class C:\n def __call__(self, request): return request\nf = C()", REQUEST),
        ("class C:\n def m(self, globs, request): return globs\nf = C().m", GLOBS),
        ("f = max", None),
    ],
)
def test_handler_is_called_in_the_form_it_was_written(
    tmp_path: Path, source: str, result: object
) -> None:
    handler = Folder(tmp_path).callable(module(tmp_path, source) + ".f")
    if result is not None:
        assert handler(GLOBS, REQUEST) == result


def test_dotted_name_goes_through_packages_and_objects(tmp_path: Path) -> None:
    (tmp_path / "located_package" / "inner").mkdir(parents=True)
    (tmp_path / "located_package" / "__init__.py").write_text("")
    (tmp_path / "located_package" / "inner" / "__init__.py").write_text("")
    (tmp_path / "located_package" / "inner" / "leaf.py").write_text(
        "import located_sibling\nclass C:\n @staticmethod\n def f(request): return 'leaf'"
    )
    (tmp_path / "located_sibling.py").write_text("")
    handler = Folder(tmp_path).callable("located_package.inner.leaf.C.f")
    assert handler(GLOBS, REQUEST) == "leaf"


BAD_SOURCES = {
    "f = 3": ("is not callable but of type int", "name a function"),
    "def f(): pass": ("takes no request", "write def NAME(globs, request)"),
    "def ff(request): pass": ("has no 'f'", "did you mean 'ff'?"),
    "": ("has no 'f'", "define it: def f(globs, request)"),
}


@pytest.mark.parametrize("source", BAD_SOURCES)
def test_what_can_t_be_called_is_explained(tmp_path: Path, source: str) -> None:
    message, hint = BAD_SOURCES[source]
    location = Location("python", module(tmp_path, source) + ".f")
    trouble = Folder(tmp_path).trouble(location)
    assert trouble is not None
    assert message in trouble[0]
    assert trouble[1] == hint


def test_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "located_chat.py").write_text("")
    folder = Folder(tmp_path)
    assert folder.trouble(Location("python", "located_chatt.f")) == (
        f"no module 'located_chatt' in {tmp_path}",
        "did you mean 'located_chat'?",
    )
    assert folder.trouble(Location("python", "located_chat")) == (
        "'located_chat' is a module",
        "write python:located_chat.NAME",
    )
    assert folder.failures == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 / 0", "fails when it is imported: ZeroDivisionError: division by zero"),
        ("def", "fails when it is imported: SyntaxError"),
        ("import no_such_module_anywhere", "needs another one: No module named"),
    ],
)
def test_module_that_fails_is_told_from_one_that_is_missing(
    tmp_path: Path, source: str, message: str
) -> None:
    folder = Folder(tmp_path)
    trouble = folder.trouble(Location("python", module(tmp_path, source) + ".f"))
    assert trouble is not None
    assert message in trouble[0]
    assert len(folder.failures) == 1


def test_files_and_folders_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "static").mkdir()
    folder = Folder(tmp_path)
    assert folder.trouble(Location("file", "page.html")) is None
    assert folder.trouble(Location("directory", "static")) is None
    assert folder.trouble(Location("proxy", "http://localhost:1")) is None
    for kind, name, hint in (
        ("file", "pge.html", "did you mean 'page.html'?"),
        ("file", "static", "write directory:static"),
        ("file", "nowhere/x", "create it, or correct the name"),
        ("directory", "page.html", "did you mean 'page.html'?"),
        ("directory", "statics", "did you mean 'static'?"),
    ):
        trouble = folder.trouble(Location(kind, name))
        assert trouble is not None
        assert trouble[1] == hint
