"""What stands behind `use`, and what is said where nothing does."""

from __future__ import annotations

import asyncio
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from redbarrel_lite.forms import BadContent
from redbarrel_lite.handlers import is_async, name_of
from redbarrel_lite.locations import Folder
from redbarrel_lite.rbr_nodes import Location
from redbarrel_lite.request import Request

_numbers = itertools.count()
pytestmark = pytest.mark.usefixtures("own_modules")


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


def test_line_of_an_event_is_asked_for_its_arguments(tmp_path: Path) -> None:
    """A handler of requests takes what the request has; a line what the client says."""
    name = module(tmp_path, "def f(request, text): pass\ndef g(request, *, text): pass")
    folder = Folder(tmp_path)
    assert folder.trouble(Location("python", f"{name}.f"), "say") is None
    assert folder.line(f"{name}.f", "say").least == 1
    trouble = folder.trouble(Location("python", f"{name}.g"), "say")
    assert trouble is not None
    assert "'text'" in trouble[0]
    assert folder.trouble(Location("python", f"{name}.g")) is None


def test_wsgi_application_is_something_to_call(tmp_path: Path) -> None:
    name = module(tmp_path, "f, g = print, 3")
    assert Folder(tmp_path).trouble(Location("wsgi", f"{name}.f")) is None
    assert Folder(tmp_path).trouble(Location("wsgi", f"{name}.g")) == (
        f"'{name}.g' is no WSGI application but of type int",
        "name what a WSGI server would call: wsgi:module.app",
    )


def test_parameter_that_is_missing_is_named(tmp_path: Path) -> None:
    handler = located(tmp_path, "def f(globs, request, page, size='1'): return page")
    for request in (asked("/?size=2"), asked("/?page=2", "POST")):
        with pytest.raises(BadContent, match="parameter 'page' is missing") as refused:
            handler(GLOBS, request)
        assert refused.value.code == 400


@pytest.mark.parametrize(
    ("made", "filled"),
    [
        ("Shop().method", ["self"]),
        ("Shop()", ["self"]),
        ("lambda globs, request, **kw: kw", []),
        ("functools.partial(g, 1)", ["x"]),
        ("functools.partial(g, 1, y=2)", ["x"]),
        ("functools.partial(Shop().method, y=2)", ["self"]),
        ("Shop().logged", ["self", "this"]),
        ("Made", ["self", "cls"]),
    ],
)
def test_parameter_that_is_filled_already_is_not_in_the_query(
    tmp_path: Path, made: str, filled: list[str]
) -> None:
    source = """
import functools

def g(x, globs, request, **kw):
    return kw

def logged(function):
    @functools.wraps(function)
    def around(this, *args, **kw):
        return function(this, *args, **kw)
    return around

class Shop:
    def method(self, globs, request, **kw):
        return kw
    __call__ = method
    logged = logged(method)

class Made(dict):
    def __new__(cls, globs, request, **kw):
        return dict(kw)

"""
    query = {"self": "1", "x": "2", "this": "3", "cls": "4"}
    handler = located(tmp_path, f"{source}f = {made}")
    target = "/?" + "&".join(f"{name}={query[name]}" for name in query)
    found: dict[str, Any] = {name: query[name] for name in query if name not in filled}
    if "y=2" in made:
        found["y"], target = 2, target + "&y=5"
    assert handler(GLOBS, asked(target)) == found


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


def test_coroutine_of_the_request_alone_has_no_other_around_it(tmp_path: Path) -> None:
    """It would be a frame more for each time that it is resumed."""
    handler = located(tmp_path, "async def named(request): return 'x'\nf = named")
    coroutine = handler(GLOBS, REQUEST)
    assert coroutine.cr_code is handler.__wrapped__.__code__
    assert name_of(handler) == "named"
    coroutine.close()


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


def test_whole_sentence_names_what_was_written(tmp_path: Path) -> None:
    name = module(tmp_path, "f = 3")
    folder = Folder(tmp_path)
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "static").mkdir()
    for kind, target, trouble in (
        ("python", f"{name}.f", (f"'{name}.f' is not callable but of type int", "name a function")),
        (
            "wsgi",
            f"{name}.f",
            (
                f"'{name}.f' is no WSGI application but of type int",
                "name what a WSGI server would call: wsgi:module.app",
            ),
        ),
        ("file", "static", ("'static' is a folder", "write directory:static")),
        ("directory", "page.html", ("'page.html' is a file", "write file:page.html")),
        (
            "directory",
            "no",
            (f"no folder 'no' in {tmp_path}", "create it, or correct the name"),
        ),
    ):
        assert folder.trouble(Location(kind, target)) == trouble


def test_of_what_need_not_be_callable_only_the_absence_is_told(tmp_path: Path) -> None:
    name = module(tmp_path, "f = 3")
    folder = Folder(tmp_path)
    assert folder.missing(Location("python", f"{name}.f")) is None
    trouble = folder.missing(Location("python", f"{name}.g"))
    assert trouble is not None
    assert "has no 'g'" in trouble[0]


def test_line_of_an_event_takes_what_an_event_brings(tmp_path: Path) -> None:
    name = module(tmp_path, "def f(globs, request, a, b): pass\nnot_one = 3")
    folder = Folder(tmp_path)
    assert folder.trouble(Location("python", f"{name}.f"), "move") is None
    assert folder.line(f"{name}.f", "move") is not None
    trouble = folder.trouble(Location("python", f"{name}.not_one"), "move")
    assert trouble is not None
    assert "not_one" in trouble[0]


def test_paths_and_applications_are_given(tmp_path: Path) -> None:
    name = module(tmp_path, "def f(environ, start): pass")
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "static").mkdir()
    folder = Folder(tmp_path)
    assert folder.file("page.html") == tmp_path / "page.html"
    assert folder.directory("static") == tmp_path / "static"
    assert folder.application(f"{name}.f").__name__ == "f"
    assert folder.trouble(Location("wsgi", f"{name}.f")) is None


def test_what_has_no_signature_is_called_as_in_2011(tmp_path: Path) -> None:
    name = module(
        tmp_path, "class C:\n __signature__ = 5\n def __call__(self, *a): return a\nf = C()"
    )
    assert Folder(tmp_path).callable(f"{name}.f")(GLOBS, REQUEST) == (GLOBS, REQUEST)


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
        "name what is in it: located_chat.NAME",
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
    os.mkfifo(tmp_path / "pipe")
    folder = Folder(tmp_path)
    assert folder.trouble(Location("file", "page.html")) is None
    assert folder.trouble(Location("directory", "static")) is None
    assert folder.trouble(Location("proxy", "http://localhost:1")) is None
    for kind, name, hint in (
        ("file", "pge.html", "did you mean 'page.html'?"),
        ("file", "static", "write directory:static"),
        ("file", "pipe", "name a regular file"),
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
