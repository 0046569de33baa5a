"""Does a room's own test file notice when the room is altered?

    python tests/mutate.py [--sample N] [--seed S] [ROOM ...]

Each mutant differs from the room in one place: a comparison, a bound, a constant, an
`and`, a `not`, an operator, what is returned, a statement that is gone, two arguments in
the other's place. The room's tests run against it, and should fail. What they miss is
printed as file:line with the alteration in words, and the share that was noticed; exits 1
if that is below 90 %. `mutants_equal` has those that no test can tell from the room, and why.
It forks, so it needs a POSIX system; it takes minutes, so it is no test itself.
"""

from __future__ import annotations

import argparse
import ast
import asyncio  # noqa: F401  # so that no child must do it again
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import ssl  # noqa: F401  # the same
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

import pytest
from mutants_equal import EQUAL

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "redbarrel_lite"
ENOUGH = 0.9
TOO_LONG_S = 30

LANGUAGE = "rbr_errors rbr_check rbr_format rbr_patterns rbr_docs tidy rbr"
# The test files of a room, if there are others than its own: those of its protocol.
TESTS: Final = {
    **{path.stem: LANGUAGE for path in PACKAGE.glob("rbr*.py")},
    "redis_connection": "redis",
    "http1": "http1 http1_client",
    "http1_reader": "http1 http1_client",
    "wsproto": "wsproto wsproto_client",
    "engineio": "engineio engineio_client engineio_v3",
    "engineio_query": "engineio engineio_v3",
    "socketio": "socketio socketio_client",
    "cluster_messages": "cluster",
    "doctor_checks": "doctor",
    "doctor_visit": "doctor",
    "doctor_advice": "doctor",
}
WIRE: Final = (
    "http1 http1_reader http1_client wsproto wsproto_handshake wsproto_client deflate engineio"
    " engineio_query engineio_v3 engineio_client socketio socketio_client resp msgpack"
)
RULES: Final = "conditions routes locations selection"
CLUSTER: Final = "cluster cluster_messages"
ROOMS: Final = [*WIRE.split(), *RULES.split(), *CLUSTER.split()]
# Tests that take long and see little: they ask only that nothing falls over.
SLOW = "not truncated and not mutated and not hostile and not bounded_time and not laws_hold"

QUICK = ["-xq", "--assert=plain", "--tb=no", "-p", "no:cacheprovider"]


class Mutant(NamedTuple):
    """One alteration of a tree, in words: a node, and what takes its place."""

    words: str
    node: ast.expr | ast.stmt
    other: ast.expr | ast.stmt


COMPARED: Final = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
COMPUTED: Final = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
# Functions whose arguments have no order.
EITHER: Final = ("min", "max")
# Without it, the next line fails for want of a name, which says nothing about the tests.
GONE: Final = (ast.Expr, ast.AugAssign, ast.Raise, ast.Delete, ast.Break, ast.Continue)


def mutants(room: str, tree: ast.Module) -> Iterator[Mutant]:
    """All alterations of a room's tree, in an order that is always the same."""
    # What the language says of mistakes is part of it, and compared word by word.
    is_worded = room.startswith("rbr")
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for unread in _unread(node):
            skipped |= {id(inner) for inner in ast.walk(unread)}
    for node in ast.walk(tree):
        if id(node) not in skipped:
            yield from (
                _of_statement(node)
                if isinstance(node, ast.stmt)
                else _of_expression(node, is_worded)
            )


def _unread(node: ast.AST) -> Iterator[ast.AST]:
    """What decides nothing when the program runs."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if isinstance(node, documented) and ast.get_docstring(node):
        yield node.body[0]
    if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation:
        yield node.annotation
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns:
        yield node.returns
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        yield node.slice
    if isinstance(node, ast.keyword) and node.arg in ("slots", "frozen", "repr"):
        yield node.value
    if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
        yield from node.body  # nobody asks for a value, only which one it is
    if isinstance(node, ast.stmt) and _is_for_readers(node):
        yield node


def _is_for_readers(node: ast.stmt) -> bool:
    """Whether a statement is for type checkers, or says what is wrong with the room itself."""
    if isinstance(node, ast.Assign):
        name = ast.unparse(node.targets[0])
        return name == "__all__" or "__slots__" in name or "TypeVar(" in ast.unparse(node.value)
    if isinstance(node, ast.AnnAssign):
        return "TypeAlias" in ast.unparse(node.annotation)
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    return isinstance(node, ast.Assert)


def _of_statement(node: ast.stmt) -> Iterator[Mutant]:
    if isinstance(node, ast.Return) and node.value is not None and not _is(node.value, None):
        yield _altered(node, "returns None", value=ast.Constant(None))
    is_kept = isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name | ast.Tuple)
    if is_kept or (isinstance(node, GONE) and not _is(getattr(node, "value", None), ...)):
        yield Mutant(f"gone: {_source(node)}", node, ast.Pass())
    if isinstance(node, ast.If | ast.While):
        yield from _of_test(node)


def _of_test(node: ast.If | ast.While | ast.IfExp) -> Iterator[Mutant]:
    test = node.test
    if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
        yield Mutant(f"not {_source(test)}", test, ast.UnaryOp(ast.Not(), test))


def _of_expression(node: ast.AST, is_worded: bool) -> Iterator[Mutant]:
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            ops = list(node.ops)
            ops[at] = COMPARED[type(op)]()
            yield _altered(node, ops=ops)
    elif isinstance(node, ast.BoolOp):
        yield _altered(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield Mutant(f"{_source(node)}: without not", node, node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield _altered(node, op=COMPUTED[type(node.op)]())
    elif isinstance(node, ast.IfExp):
        yield from _of_test(node)
    elif isinstance(node, ast.Call) and len(node.args) > 1 and _source(node.func) not in EITHER:
        first, second, *rest = node.args
        if not isinstance(second, ast.Starred) and ast.dump(first) != ast.dump(second):
            yield _altered(node, args=[second, first, *rest])
    elif isinstance(node, ast.Constant):
        for value in _falsified(node.value, is_worded):
            yield _altered(node, value=value, kind=None)


def _falsified(value: object, is_worded: bool) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield value + 1
        yield value - 1
    elif isinstance(value, str):
        yield "" if " " in value and not is_worded else value + "X"
    elif isinstance(value, bytes):
        yield value + b"X"


def _altered(node: ast.expr | ast.stmt, words: str = "", **fields: object) -> Mutant:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return Mutant(words or f"{_source(node)} -> {_source(other)}", node, other)


def _is(node: object, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _source(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 70 else f"{text[:67]}..."


def alter(tree: ast.Module, mutant: Mutant) -> None:
    """Put the alteration into its tree."""
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is mutant.node:
                setattr(node, name, mutant.other)
            elif isinstance(value, list) and mutant.node in value:
                value[value.index(mutant.node)] = mutant.other
    ast.fix_missing_locations(tree)


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
        exec(compile(self.tree, f"{PACKAGE}/{self.name}.py", "exec"), module.__dict__)


def parsed(room: str) -> ast.Module:
    """The tree of a room."""
    return ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))


def is_noticed(room: str, index: int | None) -> bool:
    """Run the tests in a child whose room has the alteration number ``index``."""
    child = os.fork()
    if child == 0:
        os._exit(_run_tests(room, index))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _run_tests(room: str, index: int | None) -> int:
    signal.alarm(TOO_LONG_S)  # a loop that never ends is noticed by whoever waits for it
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    tree = parsed(room)
    if index is not None:
        alter(tree, list(mutants(room, tree))[index])
    sys.meta_path.insert(0, Altered(room, tree))
    files = [f"tests/test_{name}.py" for name in TESTS.get(room, room).split()]
    try:
        return int(pytest.main([*QUICK, "-k", SLOW, *files]))
    except BaseException:  # an altered room may fail in any way
        return 1


def judge(room: str, sample: int, seed: int) -> float:
    """Print the mutants of a room that nobody notices; return the share of the others."""
    if is_noticed(room, None):
        sys.exit(f"the tests of {room} fail even if nothing is altered")
    lines = (PACKAGE / f"{room}.py").read_text(encoding="utf-8").splitlines()
    chosen = list(enumerate(mutants(room, parsed(room))))
    if sample and sample < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample), key=lambda one: one[0])
    missed = equal = 0
    for index, mutant in chosen:
        line = mutant.node.lineno
        if (room, lines[line - 1].strip(), mutant.words) in EQUAL:
            equal += 1
        elif not is_noticed(room, index):
            missed += 1
            print(f"redbarrel_lite/{room}.py:{line}: {mutant.words}", flush=True)
    noticed, count = len(chosen) - missed - equal, len(chosen) - equal
    print(f"{room}: {noticed} of {count} noticed: {noticed / count:.1%}", flush=True)
    return noticed / count


def main() -> int:
    parser = argparse.ArgumentParser(description="Alter rooms and see whether their tests notice.")
    parser.add_argument("rooms", nargs="*", default=ROOMS)
    parser.add_argument("--sample", type=int, default=0, help="so many of each room, not all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    shares = [judge(room, options.sample, options.seed) for room in options.rooms]
    return 0 if min(shares) >= ENOUGH else 1


if __name__ == "__main__":
    sys.exit(main())
