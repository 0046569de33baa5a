"""docs/websocket.md: its application runs, and its tests pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

TEXT = (ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.M | re.S))


def test_listings_are_an_application_and_its_tests(tmp_path: Path) -> None:
    assert set(FILES) == {"ticker.rbr", "ticker.py", "test_ticker.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    check = [sys.executable, "-m", "redbarrel_lite", "check", str(tmp_path / "ticker.rbr")]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "Syntax OK.\n"), checked.stderr
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_ticker.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
