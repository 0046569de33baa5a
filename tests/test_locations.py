"""What stands behind `use`, and what is said where nothing does."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite.forms import BadContent
from redbarrel_lite.handlers import is_async
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
        ("def f(x, *, page='1'): return x, page", (REQUEST, "1")),
        ("def f(x, **kw): return x, kw", (REQUEST, {})),
        ("def f(*args, **kw): return args, kw", ((GLOBS, REQUEST), {})),
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


def located(folder: Path, source: str) -> Any:
    return Folder(folder).callable(module(folder, source) + ".f")


def asked(target: str, method: str = "GET", **match: str) -> Request:
    request = Request(method, target, [])
    request.match = match
    return request


@pytest.mark.parametrize(
    ("signature", "request_", "filled"),
    [
        ("(globs, request, page)", asked("/", page="2"), "2"),
        ("(globs, request, page)", asked("/?page=2"), "2"),
        ("(globs, request, page)", asked("/?page=3", page="2"), "2"),
        ("(globs, request, page='1')", asked("/?other=2"), "1"),
        ("(globs, request, page='1')", asked("/?page=2&page=3"), "3"),
        ("(globs, request, page='1')", asked("/?page=2", "HEAD"), "2"),
        ("(globs, request, page='1')", asked("/?page=2", "DELETE"), "2"),
        ("(globs, request, page='1')", asked("/?page=2", "POST"), "1"),
        ("(globs, request, page='1')", asked("/?page=2", "POST", page="3"), "3"),
        ("(request, page)", asked("/?page=2"), "2"),
        ("(req, *, page)", asked("/?page=2"), "2"),
        ("(a, b, page)", asked("/?page=2"), "2"),
        ("(globs, request, _page='1')", asked("/?_page=2"), "1"),
        ("(globs, request, page='1', /)", asked("/?page=2"), "1"),
        ("(globs, request, *args, page)", asked("/?page=2"), "2"),
        ("(globs, request, **page)", asked("/?a=1&b=2&a=3"), {"a": "3", "b": "2"}),
        ("(globs, request, a, **page)", asked("/?a=1&b=2"), {"b": "2"}),
        ("(globs, request, a, **page)", asked("/?b=2", a="1"), {"b": "2"}),
        ("(globs, request, **page)", asked("/?globs=1&request=2&page=3"), {"page": "3"}),
        ("(globs, request, _a=0, **page)", asked("/?_a=1"), {}),
        ("(request, **page)", asked("/?globs=1&request=2"), {"globs": "1"}),
    ],
)
def test_parameters_are_filled_by_name(
    tmp_path: Path, signature: str, request_: Request, filled: object
) -> None:
    name = "_page" if "_page" in signature else "page"
    handler = located(tmp_path, f"def f{signature}: return {name}")
    assert handler(GLOBS, request_) == filled


def test_parameter_that_is_missing_is_named(tmp_path: Path) -> None:
    handler = located(tmp_path, "def f(globs, request, page, size='1'): return page")
    for request in (asked("/?size=2"), asked("/?page=2", "POST")):
        with pytest.raises(BadContent, match="parameter 'page' is missing") as refused:
            handler(GLOBS, request)
        assert refused.value.code == 400


def test_what_a_partial_has_set_is_out_of_a_client_s_reach(tmp_path: Path) -> None:
    source = """
import functools
def g(globs, request, secret, page="1", **kw): return secret, page, kw
f = functools.partial(g, secret="s")
"""
    handler = located(tmp_path, source)
    request = asked("/?secret=guessed&page=2&more=3")
    assert handler(GLOBS, request) == ("s", "2", {"more": "3"})


@pytest.mark.parametrize("signature", ["(globs, request, _page)", "(globs, request, page, /)"])
def test_parameter_that_nobody_fills_is_told_at_the_start(tmp_path: Path, signature: str) -> None:
    name = module(tmp_path, f"def f{signature}: pass")
    trouble = Folder(tmp_path).trouble(Location("python", name + ".f"))
    assert trouble is not None
    assert "can't be filled by name" in trouble[0]


@pytest.mark.parametrize(
    "source",
    [
        "async def f(globs, request): return 'x'",
        "async def f(request): return 'x'",
        "async def f(globs, request, page='x'): return page",
        "class C:\n async def __call__(self, request): return 'x'\nf = C()",
        "class C:\n async def m(self, request, page='x'): return page\nf = C().m",
        "import functools\nasync def g(a, request, b): return a\nf = functools.partial(g, 'x')",
    ],
)
def test_coroutine_stays_one_whatever_it_takes(tmp_path: Path, source: str) -> None:
    handler = located(tmp_path, source)
    assert is_async(handler)
    assert asyncio.run(handler(GLOBS, asked("/?b=1"))) == "x"


@pytest.mark.parametrize(
    "source",
    [
        "async def f(globs, request): yield 'x'",
        "async def f(request, page='x'): yield page",
        "class C:\n async def __call__(self, globs, request): yield 'x'\nf = C()",
    ],
)
def test_async_generator_is_made_on_the_loop(tmp_path: Path, source: str) -> None:
    async def parts() -> list[str]:
        return [part async for part in await handler(GLOBS, REQUEST)]

    handler = located(tmp_path, source)
    assert is_async(handler)
    assert asyncio.run(parts()) == ["x"]


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
    assert folder.trouble(Location("python", "elsewhere.f")) == (
        f"no module 'elsewhere' in {tmp_path}",
        "create elsewhere.py",
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
        ("file", "nine.html", "create it, or correct the name"),
        ("file", "page.htm", "did you mean 'page.html'?"),
        ("file", "Page.html", "did you mean 'page.html'?"),
        ("file", "static.html", "did you mean 'static'?"),
        ("directory", "page.html", "write file:page.html"),
        ("directory", "page", "did you mean 'page.html'?"),
        ("directory", "statics", "did you mean 'static'?"),
    ):
        trouble = folder.trouble(Location(kind, name))
        assert trouble is not None
        assert trouble[1] == hint
