"""Which modules an application needs, told from their sources."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from redbarrel_lite.needs import Import, Missing, Needs


def found(folder: Path, dotted: str = "app.f", **modules: str) -> Needs:
    """What `app.py` and those that it imports need; "a__b" is a/b.py."""
    for name, source in modules.items():
        path = folder / (name.replace("__", "/").replace("/init", "/__init__") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    needs = Needs([folder])
    needs.follow(dotted)
    return needs


def names(needs: Needs, folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in needs.modules)


def test_modules_are_followed_from_one_to_the_next(tmp_path: Path) -> None:
    needs = found(
        tmp_path,
        app="import one\ndef f():\n    from two import something",
        one="import app, json\n",
        two="import os.path\nimport redbarrel_lite.exc",
        three="",
    )
    assert names(needs, tmp_path) == ["app.py", "one.py", "two.py"]
    assert needs.missing == []


def test_packages_are_followed_by_dots(tmp_path: Path) -> None:
    needs = found(
        tmp_path,
        app="from shop import sell, VALUE\nimport bare.deep.inner",
        shop__init="from . import rules\nfrom .more.last import x",
        shop__sell="from .. import nothing_above",
        shop__rules="from shop.sell import *",
        shop__unused="",
        shop__more__init="",
        shop__more__last="from ..other import y\nfrom .deep import z",
        shop__more__deep__init="from ..beside import z\nfrom . import inmost",
        shop__more__deep__inmost="",
        shop__more__beside="",
        shop__other="",
        bare__deep__inner="",
    )
    assert names(needs, tmp_path) == [
        "app.py", "bare/deep/inner.py", "shop/__init__.py", "shop/more/__init__.py",
        "shop/more/beside.py", "shop/more/deep/__init__.py", "shop/more/deep/inmost.py",
        "shop/more/last.py", "shop/other.py", "shop/rules.py", "shop/sell.py",
    ]  # fmt: skip
    folders = ("shop", "shop/more", "shop/more/deep", "bare/deep")
    assert set(needs.packages) == {tmp_path / one for one in folders}


def test_module_that_is_imported_by_its_written_name_is_found(tmp_path: Path) -> None:
    source = 'import importlib\nimportlib.import_module("one")\n__import__("two")\n'
    needs = found(tmp_path, app=source + "importlib.import_module(name)", one="", two="")
    assert names(needs, tmp_path) == ["app.py", "one.py", "two.py"]


@pytest.mark.parametrize(
    ("source", "optional"),
    [
        ("import other", False),
        ("try:\n    import other\nexcept ImportError:\n    pass", True),
        ("try:\n    import other.x\nexcept (KeyError, ModuleNotFoundError):\n    pass", True),
        ("try:\n    from other import x\nexcept:\n    pass", True),
        ("try:\n    from other import x\nexcept Exception:\n    pass", True),
        ("try:\n    from other import x\nexcept BaseException:\n    pass", True),
        ("try:\n    pass\nexcept ImportError:\n    import other", False),
        ("try:\n    import other\nexcept KeyError:\n    pass", False),
        ("try:\n    import other\nfinally:\n    pass", False),
        ("from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import other", False),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse: import other",
            False,
        ),
    ],
)
def test_module_that_is_not_there_is_told_with_who_wants_it(
    tmp_path: Path, source: str, optional: bool
) -> None:
    needs = found(tmp_path, app=source)
    (missing,) = needs.missing
    assert (missing.name, missing.importer, missing.file) == ("other", tmp_path / "app.py", None)
    assert missing.wanted.is_optional is optional
    line = source[: source.index("other")].count("\n") + 1
    assert missing.wanted == Import(missing.wanted.name, line, optional)
    assert (missing.is_loaded, missing.is_installed) == (False, False)


def test_import_of_a_function_is_late(tmp_path: Path) -> None:
    source = "def f():\n    if f:\n        import pytest\nclass C:\n    import one\n"
    late, early = sorted(found(tmp_path, app=source).missing, key=lambda one: one.wanted.line)
    assert (late.wanted.is_late, late.is_loaded, late.is_installed) == (True, True, True)
    assert (early.wanted.is_late, early.is_installed) == (False, False)


def test_module_that_the_file_names_is_missing_by_itself(tmp_path: Path) -> None:
    (missing,) = found(tmp_path, "not_there.f").missing
    assert (missing.importer, missing.wanted) == (Path(), Import("not_there.f", 0))
    assert not missing.wanted.is_optional


def test_compiled_module_is_loaded_if_its_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Import("json", 1)
    assert Missing("x", Path(), wanted, Path(json.__file__)).is_loaded
    assert not Missing("json", Path(), wanted, Path("elsewhere.so")).is_loaded
    assert Missing("x", Path(), wanted, Path("elsewhere.so")).is_installed
    # Somebody has made it by hand, and it tells nobody where it is from.
    monkeypatch.setitem(sys.modules, "by_hand", ModuleType("by_hand"))
    assert Missing("by_hand", Path(), wanted).is_installed is False


def test_module_that_came_meanwhile_is_found(tmp_path: Path) -> None:
    assert found(tmp_path, app="").missing == []
    stamp = tmp_path.stat()
    (tmp_path / "new.py").write_text("")
    os.utime(tmp_path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as on a coarse clock
    assert found(tmp_path, "new.f").missing == []


def test_imports_for_types_are_none(tmp_path: Path) -> None:
    for name in ("typing.TYPE_CHECKING", "TYPE_CHECKING"):
        assert found(tmp_path, app=f"if {name}:\n    import other\n").missing == []


def test_compiled_modules_are_missing(tmp_path: Path) -> None:
    (tmp_path / "fast.abi3.so").write_bytes(b"\x7fELF")
    (tmp_path / "gone.pyc").write_bytes(b"")
    needs = found(tmp_path, app="import fast, gone")
    there = {one.name: one.file and one.file.name for one in needs.missing}
    assert there == {"fast": "fast.abi3.so", "gone": "gone.pyc"}


def test_folder_gives_way_to_python_s_own_module_and_a_module_does_not(tmp_path: Path) -> None:
    (tmp_path / "json").mkdir()
    (tmp_path / "other").mkdir()
    needs = found(tmp_path, app="import json, random, other", random="")
    assert names(needs, tmp_path) == ["app.py", "random.py"]
    assert needs.missing == []


def test_asking_for_the_own_file_is_noticed(tmp_path: Path) -> None:
    needs = found(tmp_path, app="import one\n", one="THERE = 1\nHERE = __file__\n")
    assert needs.places == [(tmp_path / "one.py", 2)]


def test_module_that_this_python_can_not_read_is_packed_all_the_same(tmp_path: Path) -> None:
    needs = found(tmp_path, app="import old", old="print 'hello'\n")
    assert names(needs, tmp_path) == ["app.py", "old.py"]


def test_long_chain_and_deep_source_are_followed(tmp_path: Path) -> None:
    chain = {f"m{n}": f"import m{n + 1}" for n in range(400)}
    deep = "x = " + "+".join(["1"] * 2000)
    needs = found(tmp_path, app=f"import m0\n{deep}", m400="", **chain)
    assert len(needs.modules) == 402
