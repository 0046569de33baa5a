"""``--reload``: which files an application is made of, and what may be the cause of a fault."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

import pytest
from unserved import write

from redbarrel_lite.modules import users_modules
from redbarrel_lite.reload import Named, listed, named, suspects


def test_files_are_those_that_are_named_be_they_there_or_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        **{
            "app.rbr": """
                type t python:kinds.t; global g python:app.a.b; global x file:x.txt;
                path a ( url /a, use wsgi:site.app );
                path b ( url /b, use file:b.html );
                path c ( url /c/{p}, use directory:c );
                path d ( url /d, use proxy:http://127.0.0.1:1 );
                include "in/in.rbr"; include "gone.rbr";
            """,
            "in/in.rbr": 'path e ( url /e, use file:e.html ); include "../app.rbr"; path ( faulty',
        },
    )
    found = named([tmp_path / "app.rbr"])

    def below(names: set[str]) -> set[str]:
        return {str(Path(name).relative_to(tmp_path)) for name in names}

    assert below(found.rbr) == {"app.rbr", "in/in.rbr", "gone.rbr"}
    modules = {"kinds", "app", "app/a", "site"}
    files = {f"{one}.py" for one in modules} | {f"{one}/__init__.py" for one in modules}
    assert below(found.sources) == {"app.rbr", "in/in.rbr", "gone.rbr", "x.txt"} | files
    assert below(found.pages) == {"b.html", "in/e.html"}
    assert below(found.folders) == {"c"}
    (tmp_path / "current").symlink_to("in")
    (tmp_path / "loop").symlink_to("loop")
    linked = named([tmp_path / "current/in.rbr", tmp_path / "loop"])
    assert below(linked.rbr) == below(found.rbr) | {"loop"}
    # A link that is switched, or one that is mended.
    assert below(linked.sources) == below(found.sources) | {"current/in.rbr", "loop"}
    both = found | Named(pages={"more"})
    assert both.pages == found.pages | {"more"}
    assert both.rbr == found.rbr


def test_suspects_are_the_users_files_on_the_way_to_an_exception(tmp_path: Path) -> None:
    write(tmp_path, **{"bad.py": "def f(:", "calls.py": "import json\njson.loads('{')"})
    assert suspects(None, [tmp_path]) == set()
    with pytest.raises(SyntaxError) as faulty:
        compile((tmp_path / "bad.py").read_text(), str(tmp_path / "bad.py"), "exec")
    assert suspects(faulty.value, []) == {str(tmp_path / "bad.py"), __file__}
    with pytest.raises(ValueError, match="Expecting") as failing:
        runpy.run_path(str(tmp_path / "calls.py"))
    looped = ModuleNotFoundError("?", name="x.y")
    looped.__cause__, failing.value.__context__ = failing.value, looped
    names = ("calls.py", "x.py", "x/__init__.py", "x/y.py", "x/y/__init__.py")
    files = {str(tmp_path / name) for name in names}
    assert suspects(looped, [tmp_path]) == files | {__file__}


@pytest.mark.usefixtures("own_modules")
def test_part_of_a_package_that_has_gone_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, **{"whole/part/module.py": ""})
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("whole.part.module")
    del sys.modules["whole"]  # by whose folder Python looks where that of its part is
    assert users_modules()["whole.part.module"] == str(tmp_path / "whole/part/module.py")


def test_names_of_files_are_short_and_few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    files = [str(tmp_path / f"{name}.py") for name in "edcba"]
    assert listed(files[:2]) == "d.py, e.py"
    assert listed(files) == "a.py, b.py, c.py and 2 more"
    assert listed(["/elsewhere/a.py"]) == "/elsewhere/a.py"
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert listed(files[:1]) == files[0]
    monkeypatch.chdir(tmp_path)  # where a debugger or a reporter is at home again
