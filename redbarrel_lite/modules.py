"""The user's modules: found in the folder of an .rbr file, kept apart from other files'.

What it implements: imports by dotted name, as Python does them for a script. Two
.rbr files of one server may each have an ``app.py``: the modules of the second are
imported below a name of its own, and so are those that they import from its folder.

In one line::

    found = Modules(folder).find("chat.Room.enter")

The trick is Python's own: an ``import`` statement calls the ``__import__`` that it
finds in its module's ``__builtins__``, and a module may have these to itself. So
``import helpers`` means the folder's helpers wherever the statement stands, and
whenever it runs.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from zipimport import zipimporter

from .errors import AppError
from .rbr_diagnostics import closest, did_you_mean

_numbers = itertools.count(1)

_NOT_THE_USERS: Final = (
    str(Path(__file__).parent) + os.sep,
    str(Path(os.__file__).parent) + os.sep,
)
_INSTALLED: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Modules:
    """The modules of one folder."""

    def __init__(self, folder: Path, *, apart: bool = False) -> None:
        """``apart``: under names of their own.

        That is needed, too, where a name is taken: by the folder of another
        application in the same process, or by a module of Python itself.
        """
        self._folder = folder
        self._own: dict[str, bool] = {}  # of which top-level names this folder has a module
        self._prefix = ""
        if apart or any(map(self._is_taken, _top_level(folder))):
            self._prefix = f"_rbr_{next(_numbers)}"
            self._make_apart()

    def look_again(self) -> None:
        """What was not in the folder may have come."""
        self._own = {top: has for top, has in self._own.items() if has}

    def find(self, dotted: str) -> Any:
        """What a dotted name stands for: an attribute of a module.

        Raises `AppError` if there is no such thing; if the module itself fails,
        with its exception as the cause.
        """
        where = str(self._folder)
        if not self._prefix and where not in sys.path:
            # First, as Python does for a script, and for good: the module's own
            # imports, some of them made when a function runs, are found there too.
            sys.path.insert(0, where)
        names = dotted.split(".")
        if len(names) < 2:
            raise AppError(f"'{dotted}' is a module", f"name what is in it: {dotted}.NAME")
        found: Any = self._module(names[0])
        for depth, name in enumerate(names[1:], 2):
            try:
                found = getattr(found, name)
            except AttributeError:
                if depth == len(names) or not hasattr(found, "__path__"):
                    raise _no_attribute(found, name) from None
                found = self._module(".".join(names[:depth]))
        return found

    def _module(self, name: str) -> ModuleType:
        top = name.partition(".")[0]
        full = f"{self._prefix}.{name}" if self._prefix and self._has(top) else name
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name == full:
                hint = did_you_mean(
                    name, _top_level(self._folder), f"create {name.replace('.', '/')}.py"
                )
                raise AppError(f"no module '{name}' in {self._folder}", hint) from None
            raise AppError(f"module '{name}' needs another one: {error}", "install it") from error
        except (Exception, SystemExit) as error:  # the other would end `check` as if all were well
            what = f"module '{name}' fails when it is imported: {type(error).__name__}: {error}"
            raise AppError(what, "mend it where the traceback points") from error

    # -- names of their own --------------------------------------------------------

    def _is_taken(self, name: str) -> bool:
        loaded = sys.modules.get(name)
        if loaded is None:
            return name in sys.builtin_module_names
        file = getattr(loaded, "__file__", None) or ""
        return not Path(file).resolve().is_relative_to(self._folder)

    def _make_apart(self) -> None:
        """A package that is the folder, without an ``__init__.py`` being asked for."""
        package = ModuleType(self._prefix)
        package.__path__ = [str(self._folder)]
        sys.modules[self._prefix] = package
        sys.meta_path.insert(0, _Finder(self._prefix, self._import))

    def _has(self, top: str) -> bool:
        """Whether the folder has a module of this name.

        A folder of files is no module, but for where nothing else has its name:
        Python too takes it last.
        """
        if top not in self._own:
            spec = PathFinder.find_spec(top, [str(self._folder)])
            is_folder = spec is not None and spec.origin is None
            self._own[top] = spec is not None and not (is_folder and _is_elsewhere(top))
        return self._own[top]

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002  # Python's names
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` for the folder's modules."""
        top = name.partition(".")[0]
        if level or not self._has(top):
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = builtins.__import__(f"{self._prefix}.{name}", globals, locals, fromlist or ("",), 0)
        return found if fromlist else sys.modules[f"{self._prefix}.{top}"]


class _Finder:
    """Finds the modules below a prefix, and gives them an ``__import__`` of their own."""

    def __init__(self, prefix: str, own_import: Any) -> None:
        self.package = prefix
        self._prefix = prefix + "."
        self._builtins = {**vars(builtins), "__import__": own_import}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(self._prefix):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader | zipimporter):
            spec.loader = _Loader(spec.loader, self._builtins)
        return spec


class _Loader(Loader):
    """Another loader, from a folder or an archive, with an ``__import__`` for what it loads."""

    def __init__(self, plain: SourceFileLoader | zipimporter, own_builtins: dict[str, Any]) -> None:
        self._plain = plain
        self._builtins = own_builtins

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins
        self._plain.exec_module(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


# -- once more ---------------------------------------------------------------------


def is_of_the_user(file: str) -> bool:
    """Whether a file of Python is neither its own, nor installed, nor ours."""
    outside = file.endswith(".py") and not file.startswith(_NOT_THE_USERS)
    return outside and not any(part in file for part in _INSTALLED)


def users_modules() -> dict[str, str]:
    """The user's modules that have been imported, with their files."""
    # A list of a dictionary is made in one go: another thread may import meanwhile.
    files = {name: _file(module) for name, module in list(sys.modules.items())}
    del files["__main__"]
    return {name: file for name, file in files.items() if is_of_the_user(file)}


def _file(module: object) -> str:
    """That of a module; of a folder that is one, the file that it could have.

    Without asking the module itself: one that is imported when it is first used would be.
    """
    if not isinstance(module, ModuleType):
        return ""
    names = object.__getattribute__(module, "__dict__")
    if names.get("__file__"):
        return str(names["__file__"])
    with contextlib.suppress(KeyError, TypeError):  # its package has gone; it is no list
        return next((f"{folder}/__init__.py" for folder in names.get("__path__", ())), "")
    return ""


def modules_now() -> dict[str, ModuleType]:
    """The user's modules as they are, for `restore_modules`."""
    return {name: sys.modules[name] for name in users_modules() if name in sys.modules}


def forget_modules(changed: Iterable[str]) -> dict[str, ModuleType]:
    """Have the user's modules imported once more by who asks for them next.

    All of them: who has imported a ``changed`` one holds what that was. They are returned.
    """
    forgotten = modules_now()
    for name in forgotten:
        sys.modules.pop(name, None)
    for file in filter(is_of_the_user, changed):
        # What Python keeps of a module is for a size and a time in whole seconds.
        with contextlib.suppress(OSError, NotImplementedError):
            Path(importlib.util.cache_from_source(file)).unlink()
    importlib.invalidate_caches()
    return forgotten


def restore_modules(forgotten: Mapping[str, ModuleType]) -> set[str]:
    """Have those again, and no others; the files of all that had been imported are returned."""
    instead = users_modules()
    for name in instead.keys() - forgotten.keys():
        module = sys.modules.pop(name, None)
        package, _, part = name.rpartition(".")
        attributes = vars(forgotten[package]) if package in forgotten else {}
        if attributes.get(part) is module:
            del attributes[part]  # or it would be found there
    sys.modules.update(forgotten)
    drop_finders()
    return set(instead.values())


def drop_finders() -> None:
    """Leave no finder behind whose package has been forgotten."""
    sys.meta_path[:] = [
        one for one in sys.meta_path if not isinstance(one, _Finder) or one.package in sys.modules
    ]


def _is_elsewhere(top: str) -> bool:
    return top in sys.modules or importlib.util.find_spec(top) is not None


def _top_level(folder: Path) -> Iterable[str]:
    """The names of the modules that lie in a folder."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.suffix == ".py" or (entry / "__init__.py").is_file():
            yield entry.stem


def instead(name: str, folder: Path) -> str:
    """A hint from what is there, for the name of a file or a folder that is not.

    Suffixes are compared by themselves: all pages would be alike that end in ``.html``.
    """
    wanted = Path(name)
    there = [Path(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
    near = closest(wanted.stem, (one.stem for one in there if one.suffix == wanted.suffix))
    other = next((one.name for one in there if one.stem == wanted.stem), "")
    meant = near + wanted.suffix if near else other
    return f"did you mean '{meant}'?" if meant else "create it, or correct the name"


def _no_attribute(found: Any, name: str) -> AppError:
    hint = did_you_mean(name, dir(found), f"define it: def {name}(globs, request)")
    return AppError(f"'{_shown(found)}' has no '{name}'", hint)


def _shown(found: Any) -> str:
    name = str(getattr(found, "__name__", found))
    return name.partition(".")[2] if name.startswith("_rbr_") else name
