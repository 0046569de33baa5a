"""What the modules of an application import: read from their sources, which are not run.

What it implements: following the statements ``import`` and ``from``, and `import_module` with
a text, from module to module, through the folders that an .rbr file's modules are found in.
What it leaves out: names that are put together when the program runs.

In one line::

    needs = Needs([folder]); needs.follow("shop.sell"); needs.modules
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, PathFinder
from pathlib import Path
from typing import Final

_OURS: Final = __name__.partition(".")[0]
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_CATCHES: Final = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports."""

    name: str
    line: int
    is_optional: bool = False  # tried, and done without
    is_late: bool = False  # by a function, when that is called


@dataclass(frozen=True, slots=True)
class Missing:
    """A module that can't be had from an archive, and who imports it."""

    name: str
    importer: Path
    wanted: Import
    file: Path | None = None  # that of a compiled one; without it there is none

    @property
    def is_loaded(self) -> bool:
        """Whether somebody has imported it in this process."""
        if self.file is None:
            return self.name in sys.modules
        files = [getattr(module, "__file__", None) for module in tuple(sys.modules.values())]
        return str(self.file) in files

    @property
    def is_installed(self) -> bool:
        """Whether it could be imported in this process."""
        try:
            return self.file is not None or importlib.util.find_spec(self.name) is not None
        except (ImportError, ValueError):
            return False


class Needs:
    """The modules that are found in some folders, the first one first."""

    def __init__(self, folders: Sequence[Path]) -> None:
        importlib.invalidate_caches()
        self._folders = [str(folder) for folder in folders]
        self.modules: dict[Path, None] = {}  # in the order in which they were found
        self.packages: dict[Path, None] = {}
        self._unread: list[tuple[Path, str]] = []
        self.missing: list[Missing] = []
        self.places: list[tuple[Path, int]] = []  # where a module asks for its own file

    def follow(self, dotted: str) -> None:
        """A name of the .rbr file: the module that it is in, and all that this one imports."""
        self._find(dotted, Path(), Import(dotted, 0))
        while self._unread:
            file, package = self._unread.pop()
            self._read(file, package)

    def _find(self, dotted: str, importer: Path, wanted: Import) -> None:
        """The modules on the way to a name; what follows the last one is an attribute."""
        folders = self._folders
        package = ""
        for depth, name in enumerate(dotted.split(".")):
            # By the last name alone: a package that is not loaded has no path to ask for.
            spec = PathFinder.find_spec(name, folders)
            if depth == 0 and _is_known(name) and (spec is None or spec.origin is None):
                return
            if spec is None:
                if depth == 0:
                    self.missing.append(Missing(name, importer, wanted))
                return
            folders = list(spec.submodule_search_locations or ())
            within = f"{package}.{name}".strip(".") if folders else package
            if spec.origin is not None:
                self._add(Path(spec.origin), within, Missing(name, importer, wanted))
            package = within

    def _add(self, file: Path, package: str, missing: Missing) -> None:
        """A module in ``package``, or what is missing if it is none that has a source."""
        if file in self.modules:
            return
        if file.suffix != ".py":
            self.missing.append(replace(missing, file=file))
            return
        self.modules[file] = None
        self._unread.append((file, package))
        if package:  # which may be a folder without an `__init__.py`
            self.packages[file.parent] = None

    def _read(self, file: Path, package: str) -> None:
        try:
            tree = ast.parse(file.read_bytes(), str(file))
        except (SyntaxError, ValueError):  # for another Python, perhaps: who imports it will see
            return
        for one in sorted(_imports(tree, package), key=lambda one: one.line):
            self._find(one.name, file, one)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "__file__":
                self.places.append((file, node.lineno))


def _is_known(name: str) -> bool:
    return name in sys.stdlib_module_names or name == _OURS


def is_compiled(file: Path) -> bool:
    """Whether a file is a module of machine code, or of Python's bytecode."""
    return file.name.endswith((*EXTENSION_SUFFIXES, *BYTECODE_SUFFIXES))


def _imports(tree: ast.AST, package: str) -> Iterator[Import]:
    """What a module in ``package`` imports."""
    waiting: list[tuple[ast.AST, bool, bool]] = [(tree, False, False)]
    while waiting:
        node, is_optional, is_late = waiting.pop()
        for name in _imported(node, package):
            yield Import(name, getattr(node, "lineno", 0), is_optional, is_late)
        is_late = is_late or isinstance(node, _FUNCTIONS)
        for field, value in ast.iter_fields(node):
            if field == "body" and _is_for_types(node):
                continue
            optional = is_optional or (field == "body" and _catches_import_errors(node))
            below = value if isinstance(value, list) else [value]
            waiting += ((one, optional, is_late) for one in below if isinstance(one, ast.AST))


def _imported(node: ast.AST, package: str) -> list[str]:
    """The names that a statement or a call imports; the last parts may be no modules."""
    match node:
        case ast.Import(names):
            return [one.name for one in names]
        case ast.ImportFrom(module, names, level):
            base = ".".join(filter(None, [_above(package, level), module]))
            return [f"{base}.{one.name}".strip(".") for one in names]
        case ast.Call(
            ast.Name("__import__") | ast.Attribute(attr="import_module"),
            [ast.Constant(str(name)), *_],
        ):
            return [name]
    return []


def _above(package: str, level: int) -> str:
    """The package that so many dots stand for."""
    if not level:
        return ""
    names = package.split(".")
    return ".".join(names[: len(names) - level + 1])


def _is_for_types(node: ast.AST) -> bool:
    test = node.test if isinstance(node, ast.If) else None
    names = (getattr(test, "id", ""), getattr(test, "attr", ""))  # with `typing.`, or without
    return "TYPE_CHECKING" in names


def _catches_import_errors(node: ast.AST) -> bool:
    if not isinstance(node, ast.Try):
        return False
    return any(
        one.type is None or _CATCHES & {getattr(n, "id", "") for n in ast.walk(one.type)}
        for one in node.handlers
    )
