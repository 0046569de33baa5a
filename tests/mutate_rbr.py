"""Does a test notice when a literal of the language rooms is falsified?

    python tests/mutate_rbr.py [--sample N] [--seed S] [ROOM ...]

Alters each literal in turn, a message, a position, a pattern or a bound, and runs
the tests of the rooms against the altered room. Prints the literals that no test
missed, and the share that was noticed; exits 1 if that is below 95 %. It forks, so
it needs a POSIX system; it takes minutes, so it is no test itself.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "redbarrel_lite"
ROOMS = sorted(path.stem for path in PACKAGE.glob("rbr*.py"))
TESTS = ["rbr_errors", "rbr_check", "rbr_format", "rbr_docs", "tidy", "rbr"]
# Those that take long and see little: they ask only that nothing falls over.
SLOW = "not truncated and not mutated and not hostile and not bounded_time and not however"
ENOUGH = 0.95
TOO_LONG_S = 30


class Altered(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one room of the package from a tree instead of its file."""

    def __init__(self, room: str, tree: ast.Module) -> None:
        self.name = f"redbarrel_lite.{room}"
        self.tree = tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, self.name, "exec"), module.__dict__)


def literals(tree: ast.Module) -> Iterator[ast.Constant]:
    """The constants that decide something: no docstrings, annotations or type aliases."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for unread in _unread(node):
            skipped |= {id(inner) for inner in ast.walk(unread)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in skipped:
            continue
        if isinstance(node.value, str | int | float) and node.value != "":
            yield node


def _unread(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
        yield node.body[0]
    if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation:
        yield node.annotation
    if isinstance(node, ast.FunctionDef) and node.returns:
        yield node.returns
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        yield node.slice if node.value.id == "Literal" else ast.Pass()
    if isinstance(node, ast.keyword) and node.arg in ("slots", "frozen", "repr"):
        yield node.value
    if isinstance(node, ast.Assert):  # only said if the parser itself is wrong
        yield node
    if isinstance(node, ast.Assign) and "__slots__" in ast.unparse(node.targets[0]):
        yield node.value


def falsify(node: ast.Constant) -> None:
    value = node.value
    if isinstance(value, bool):
        node.value = not value
    elif isinstance(value, str):
        node.value = value + "X"
    elif isinstance(value, int | float):
        node.value = value + 1


def is_noticed(room: str, index: int | None) -> bool:
    """Run the tests in a child whose room has its literal number ``index`` altered."""
    child = os.fork()
    if child == 0:
        os._exit(_run_tests(room, index))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _run_tests(room: str, index: int | None) -> int:
    signal.alarm(TOO_LONG_S)  # a parser that never ends is noticed by whoever waits for it
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    tree = ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
    if index is not None:
        falsify(list(literals(tree))[index])
    sys.meta_path.insert(0, Altered(room, tree))
    files = [f"tests/test_{name}.py" for name in TESTS]
    try:
        return int(pytest.main(["-xq", "-p", "no:cacheprovider", "-k", SLOW, *files]))
    except BaseException:  # an altered room may fail in any way
        return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Falsify literals and see who notices.")
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--sample", type=int, default=0, help="so many, not all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.dont_write_bytecode = True
    chosen: list[tuple[str, int, ast.Constant]] = []
    for room in options.rooms:
        tree = ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))
        chosen += [(room, index, node) for index, node in enumerate(literals(tree))]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if is_noticed(ROOMS[0], None):
        sys.exit("the tests fail even if nothing is altered")
    missed = 0
    for room, index, node in chosen:
        if not is_noticed(room, index):
            missed += 1
            print(f"{room}.py:{node.lineno}: {node.value!r}", flush=True)
    share = 1 - missed / len(chosen)
    print(f"{len(chosen) - missed} of {len(chosen)} literals noticed: {share:.1%}")
    return 0 if share >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
