"""docs/sockets.md: its application runs, its tests pass, and the tests that it names exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from redbarrel_lite import handlers
from redbarrel_lite.acks import MAX_PENDING_ACKS
from redbarrel_lite.brake import MAX_PAUSE_S, MAX_PAUSES
from redbarrel_lite.client import MAX_NAMESPACES_PER_CLIENT
from redbarrel_lite.recovery import MAX_ABSENT, MAX_LOGGED_BYTES, MAX_LOGGED_PACKETS
from redbarrel_lite.socketio import MAX_ATTACHMENTS, MAX_DEPTH
from redbarrel_lite.sockets import Socket

TEXT = (ROOT / "docs" / "sockets.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.M | re.S))
FEATURES = re.findall(
    r"^\| (.*?) \| (.*?) \|(.*?)\|$", TEXT.split("## What a Socket.IO server offers")[1], re.M
)[1:]


def test_listings_are_an_application_and_its_tests(tmp_path: Path) -> None:
    assert set(FILES) == {"rooms.rbr", "rooms.py", "test_rooms.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    check = [sys.executable, "-m", "redbarrel_lite", "check", str(tmp_path / "rooms.rbr")]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "Syntax OK.\n"), checked.stderr
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout


TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    if "node_modules" not in path.parts
    for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
}


@pytest.mark.parametrize(("feature", "answer", "test"), FEATURES, ids=[f[0] for f in FEATURES])
def test_feature_is_there_with_its_test_or_not_there_with_a_reason(
    feature: str, answer: str, test: str
) -> None:
    named = re.findall(r"`(\w+)`", test)
    assert len(named) <= 1, feature
    assert set(named) <= TESTS, f"no test of this name: {named}"
    if not named:
        assert answer.startswith("no"), "a feature without a test"


def test_every_public_name_of_a_socket_is_told_of() -> None:
    from_below = {
        "acknowledge", "admit", "ask_for_server", "back", "complain", "connection", "deliver",
        "emit_for_server", "end", "fail", "gone", "is_at_work", "is_in", "is_refused",
        "may_return", "next_event", "reason", "refuse", "report", "start", "template", "trace",
    }  # fmt: skip
    public = {name for name in dir(Socket) if not name.startswith("_")} - from_below
    table = TEXT.split("## The socket")[1].split("## Everybody")[0]
    assert {name for name in public if f"`{name}" not in table} == set()


def test_numbers_of_the_page_are_those_of_the_source() -> None:
    for told in (
        f"can be in {MAX_NAMESPACES_PER_CLIENT} namespaces",
        f"owe {MAX_PENDING_ACKS:,} acknowledgements",
        f"at most {MAX_ATTACHMENTS} attachments, and nests {MAX_DEPTH} levels",
        f"by {MAX_LOGGED_PACKETS:,} messages and {MAX_LOGGED_BYTES // 2**20} MiB",
        f"{MAX_ABSENT:,} clients that are away",
        f"for {MAX_PAUSE_S:.0f} seconds at a time. After {MAX_PAUSES} times in a row it is closed",
        f"`{handlers._FAILED.reason}`",
    ):
        assert told in re.sub(r"\s+", " ", TEXT), told
