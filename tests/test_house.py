"""The house rules that no type checker knows: who may import whom, and what.

Five floors, and arrows only point down. The table below is the whole
architecture; the tests read every import statement of the package with `ast`
(those inside functions and under TYPE_CHECKING too: an arrow is an arrow) and
compare.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import redbarrel_lite

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "redbarrel_lite"


class Kind(NamedTuple):
    """What the rooms of one kind have in common."""

    floor: int
    rooms: str
    forbidden: str = ""  # modules of the standard library that would break the kind's promise
    neighbours: bool = True  # may they import each other? (never in a circle)


_IO = "asyncio selectors socket socketserver ssl select subprocess threading concurrent"
_CHANCE = "time datetime random secrets uuid"

KINDS = {
    "ground": Kind(0, "errors strictjson", _IO + " " + _CHANCE),
    # One protocol each: whoever wants to learn one reads one file. Time and
    # randomness arrive as arguments, so a test needs neither patience nor luck.
    "wire": Kind(
        1,
        "http1 http1_client http1_reader wsproto wsproto_handshake wsproto_client deflate"
        " engineio engineio_query engineio_v3 engineio_client socketio socketio_client"
        " resp msgpack",
        _IO + " " + _CHANCE,
        neighbours=False,
    ),
    # Text to nodes to text: opens no file, imports no user code.
    "language": Kind(1, "rbr*", _IO + " " + _CHANCE + " importlib runpy io os pathlib"),
    # Awaits and starts threads for user code, but never touches a connection.
    "application": Kind(
        2,
        "packed request response forwarded cookies forms exc routes handlers runners coroutines"
        " failures handover services eager modules"
        " locations loading globs conditions files selection cors origins builtin wsgi refusals"
        " metrics tally"
        " outgoing messages acks brake recovery sockets groups hub doors client raw oldclient"
        " cluster cluster_messages emitter"
        " socketoptions"
        " markup wording openapi docpage targets app emitting",
        "selectors socket socketserver ssl select",
    ),
    "io": Kind(
        3,
        "sendfile delivery batch bodystream patience server host connection exchange answering"
        " reception"
        " backdoor lingering presence entrance endpoint rawendpoint"
        " transports succession channel mesh handing"
        " intake gate tlsdoor listener systemd watchdog tap"
        " counting lag trail census process"
        " transports_v3 websocket"
        " accesslog upstream redis redis_connection backplane"
        " dial dial_inbox dial_websocket dial_engine dial_socket dial_raw",
    ),
    "tools": Kind(
        4,
        "anatomy* drawing dumps transcripts status statuspage"
        " bundle contents needs pyz bundled"
        " testing testing_bodies testing_sync scaffold tidy publish keeper trace explain cli"
        " options serving"
        " connect conversations wirepage emit workers post doctor* changes reload printconfig*"
        " __main__",
    ),
}

# The parts of asyncio that move bytes: floor 3 alone has them.
TRANSPORT_NAME = re.compile(
    r"Protocol$|Transport$|^Stream|^open_\w*connection$|^(start|create)_\w*(server|connection)$"
    r"|^sock_|^(add|remove)_(reader|writer)$"
)

ROOMS = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def kind_of(room: str) -> str:
    for name, kind in KINDS.items():
        for pattern in kind.rooms.split():
            if room == pattern or (pattern.endswith("*") and room.startswith(pattern[:-1])):
                return name
    pytest.fail(
        f"redbarrel_lite/{room}.py is in no row of KINDS (tests/test_house.py): "
        "say on which floor it lives, or put its code into a room that exists"
    )


def parsed(room: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"), f"{room}.py")


tree_of = functools.cache(parsed)  # to be read, and left as it is


def without_types(tree: ast.Module) -> ast.Module:
    """Less what is imported for annotations only, and never when the program runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    return tree


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Dotted names as they stand in the source, relative ones made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = f"redbarrel_lite.{base}".rstrip(".")
            if base == "redbarrel_lite":  # `from . import errors` names rooms, not values
                yield from (f"redbarrel_lite.{alias.name}" for alias in node.names)
            else:
                yield base


def from_imports(room: str) -> set[str | None]:
    """The modules whose names are imported bare: `from asyncio import Queue`."""
    return {node.module for node in ast.walk(tree_of(room)) if isinstance(node, ast.ImportFrom)}


@functools.cache
def imported_rooms(tree: ast.Module) -> set[str]:
    names = (name.split(".") for name in imported_modules(tree))
    return {[*parts, "__init__"][1] for parts in names if parts[0] == "redbarrel_lite"}


@functools.cache
def other_modules(room: str) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(tree_of(room))} - {"redbarrel_lite"}


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_a_floor(room: str) -> None:
    assert kind_of(room) in KINDS


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_only_point_down(room: str) -> None:
    kind = kind_of(room)
    for target in sorted(imported_rooms(tree_of(room))):
        if target not in ROOMS:  # a name of the package's public face, such as __version__
            assert kind == "tools", f"{room} imports redbarrel_lite.{target}, which is no room"
            continue
        target_kind = kind_of(target)
        arrow = f"{room} ({kind}) imports {target} ({target_kind})"
        if target_kind == kind:
            # Sides of one protocol, or its versions: http1_client reads with the machine of http1.
            of_one_protocol = room.partition("_")[0] == target.partition("_")[0]
            assert KINDS[kind].neighbours or of_one_protocol, (
                f"{arrow}: these rooms do not know each other"
            )
        else:
            assert KINDS[target_kind].floor < KINDS[kind].floor, f"{arrow}: that is not down"


def test_no_rooms_import_each_other_in_a_circle() -> None:
    """Two on one floor may name each other's types: a request has a socket, a socket a request."""
    graph = {room: imported_rooms(without_types(parsed(room))) for room in ROOMS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("room", ROOMS)
def test_room_imports_nothing_that_its_kind_forbids(room: str) -> None:
    kind = kind_of(room)
    found = other_modules(room) & set(KINDS[kind].forbidden.split())
    assert not found, f"{room} ({kind}) imports {sorted(found)}"


@pytest.mark.parametrize("room", [room for room in ROOMS if KINDS[kind_of(room)].floor < 3])
def test_bytes_move_on_the_third_floor_only(room: str) -> None:
    attributes = (node for node in ast.walk(tree_of(room)) if isinstance(node, ast.Attribute))
    used = {node.attr for node in attributes if ast.unparse(node.value) in {"asyncio", "loop"}}
    assert not any(map(TRANSPORT_NAME.search, used)), f"{room} uses {sorted(used)}"
    assert "asyncio" not in from_imports(room), f"{room}: write asyncio.name, so that it shows"


def test_only_dates_ask_the_clock_on_the_wall() -> None:
    """It is set now and then, and no timeout may notice."""
    asking = {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"}
    rooms = [
        room
        for room in ROOMS
        if any(
            isinstance(node, ast.Attribute) and ast.unparse(node) in asking
            for node in ast.walk(tree_of(room))
        )
    ]
    # When a request came; the Date of an answer, and no Last-Modified is later than it; when
    # files were read first.
    assert rooms == ["answering", "files", "server", "serving"]


@pytest.mark.parametrize("room", [room for room in ROOMS if kind_of(room) == "language"])
def test_language_opens_no_file(room: str) -> None:
    calls = {ast.unparse(n.func) for n in ast.walk(tree_of(room)) if isinstance(n, ast.Call)}
    assert not calls & {"open", "__import__", "eval", "exec", "compile"}


@pytest.mark.parametrize("room", [*ROOMS, "__init__"])
def test_only_the_standard_library_is_imported(room: str) -> None:
    foreign = other_modules(room) - sys.stdlib_module_names
    assert not foreign, f"{room} imports {sorted(foreign)}"


# Each room is imported by a child that has none of the others yet, but for those that any
# import of the package brings. What they take from the standard library is there already.
IMPORTER = """
import asyncio, email.utils, importlib, inspect, json, logging, os, ssl, sys, tempfile, traceback
sys.path.insert(0, sys.argv[1])
import redbarrel_lite
for room in sys.argv[2:]:
    child = os.fork()
    if not child:
        try:
            importlib.import_module("redbarrel_lite." + room)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_every_room_imports_by_itself_on_a_bare_interpreter() -> None:
    """-S: no site-packages. -I: no environment. -W error: a deprecated use fails here first."""
    rooms = [room for room in ROOMS if room != "__main__"]
    run = [sys.executable, "-S", "-I", "-W", "error", "-c", IMPORTER, str(ROOT), *rooms]
    ended = subprocess.run(run, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# --- what the outside sees ------------------------------------------------------------------


PUBLIC = ["Refused", "Response", "SocketClosed", "exc", "parse"]


def test_public_surface_is_pinned() -> None:
    """A name added here is a promise: it goes into the CHANGELOG and stays."""
    assert sorted(redbarrel_lite.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert hasattr(redbarrel_lite, name), name


def pyproject() -> dict[str, dict[str, object]]:
    loaded: dict[str, dict[str, object]] = tomllib.loads(
        (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    return loaded


def test_package_depends_on_nothing() -> None:
    assert pyproject()["project"]["dependencies"] == []


def test_console_scripts_resolve() -> None:
    scripts = pyproject()["project"]["scripts"]
    assert isinstance(scripts, dict)
    assert set(scripts) == {"redbarrel-lite", "rbr-run", "rbr-check", "rbr-quickstart"}
    for target in scripts.values():
        module, _, function = str(target).partition(":")
        assert callable(getattr(importlib.import_module(module), function))


# --- the project is whole without the place where it was written ----------------------------

_NOT_OURS = {".git", ".venv", "node_modules", "build", "dist"}
# In two parts, so that this file is no finding.
_OUTSIDE = ("/" + "work/", ".lib" + "rary", "../" + "shared")


def project_files() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [
            name
            for name in folders
            if name not in _NOT_OURS and not name.endswith(("_cache", "__pycache__", ".egg-info"))
        ]
        # In a worktree of git, ".git" is a file.
        yield from (
            Path(folder, name)
            for name in names
            if name not in _NOT_OURS and not name.startswith(".coverage")
        )


def test_no_file_points_out_of_the_project() -> None:
    findings = [
        f"{path.relative_to(ROOT)}: {outside}"
        for path in project_files()
        for outside in _OUTSIDE
        if outside.encode() in path.read_bytes()
    ]
    assert not findings, "\n".join(findings)
