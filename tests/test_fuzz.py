"""What fuzzing has found stays found, and each target is tried a little in every run.

``python -m tests.fuzz`` tries them for longer; CONTRIBUTING.md tells how.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Hashable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from fuzz.hunt import Hunt, broken_law, corpus, keep, regressions, shrunk
from fuzz.laws import Broken, Target, hold
from fuzz.mutation import MAX_INPUT_BYTES, Mutator
from fuzz.targets import TARGETS

COUNT = 150  # inputs, behind those of the start


@pytest.mark.parametrize("name", TARGETS)
def test_laws_hold_for_what_was_found_and_for_some_more(name: str) -> None:
    hunt = Hunt(TARGETS[name], seed=1)
    hunt.run(count=hunt.kept + COUNT)
    told = [f"{fault.law}\n{fault.story}{fault.data!r}" for fault in hunt.faults.values()]
    assert not told, "\n".join(told)


class Gullible(Target):
    """Takes all but what has an A before a B."""

    name = "gullible"
    tokens = (b"A", b"B")
    rooms = ""

    def seeds(self) -> Iterator[bytes]:
        yield b"x" * 50

    def check(self, data: bytes) -> Hashable:
        if b"!" in data:
            raise ZeroDivisionError
        hold(b"B" not in data.partition(b"A")[2], f"no B behind an A: {len(data)}")
        return len(data) % 4


def test_broken_law_is_found_shrunk_and_told_once() -> None:
    hunt = Hunt(Gullible(), seed=3)
    hunt.run(count=3000)
    laws = {law: fault.data for law, fault in hunt.faults.items()}
    assert laws == {
        "no B behind an A": b"AB",
        "ZeroDivisionError escapes from the target": b"!",
    }


def test_same_seed_finds_the_same() -> None:
    first, second = Hunt(Gullible(), seed=3), Hunt(Gullible(), seed=3)
    first.run(count=500)
    second.run(count=500)
    numbers = [[fault.number for fault in one.faults.values()] for one in (first, second)]
    assert numbers[0] == numbers[1] != []
    assert first.kept == second.kept


def test_every_mutation_keeps_an_input_within_its_size() -> None:
    chance = random.Random(1)
    mutator = Mutator(chance, [b"token" * 100])
    data = b""
    for _ in range(2000):
        data = mutator.mutated(data, b"other" * 500)
        assert len(data) <= MAX_INPUT_BYTES


def test_shrinking_leaves_only_what_matters() -> None:
    assert (
        shrunk(b"some A and 123 and B too", lambda data: b"B" in data.partition(b"A")[2]) == b"AB"
    )


def test_every_regression_belongs_to_a_target() -> None:
    folders = {path.name for path in (ROOT / "tests/fuzz/regressions").iterdir()}
    assert folders <= set(TARGETS)
    assert all(path.suffix == ".bin" for name in folders for path in regressions(TARGETS[name]))


def fuzz(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_command_says_what_it_did() -> None:
    ended = fuzz("packets", "--seconds", "0.1", "--seed", "7")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("packets: ")
    assert " a second, 0 faults, " in ended.stdout
    assert ended.stdout.endswith(", --seed 7\n")


def test_command_tries_a_file(tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"GET / HTTP/1.1\r\n\r\n")
    ended = fuzz("head", "answers", "--try", str(file))
    assert (ended.returncode, ended.stdout) == (0, "head: holds\nanswers: holds\n")


def test_what_comes_to_something_new_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only seed has a length that four divides with a rest of two."""
    monkeypatch.setattr("fuzz.hunt.FOLDER", tmp_path)
    folder = tmp_path / "found"
    for path in (folder, tmp_path / "corpus"):
        path.mkdir()
    for number, data in enumerate([b"xxxxx", b"y", b"zz", b"xxxxxxx"]):
        (folder / str(number)).write_bytes(data)
    assert keep(Gullible(), folder) == 2
    assert keep(Gullible(), folder) == 0
    assert corpus(Gullible()) == [b"x" * 50, b"y", b"xxxxxxx"]


def test_what_breaks_a_law_is_named() -> None:
    assert broken_law(Gullible(), b"xAxB") == "no B behind an A"
    assert broken_law(Gullible(), b"xBxA") is None
    with pytest.raises(Broken, match="no B behind an A: 4"):
        Gullible().check(b"xAxB")
