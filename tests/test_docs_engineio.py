"""docs/engineio.md: its application runs, its tests pass, its table is the language's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

from redbarrel_lite.rbr_keys import PATH_KEYS

TEXT = (ROOT / "docs" / "engineio.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.M | re.S))


def test_listings_are_an_application_and_its_tests(tmp_path: Path) -> None:
    assert set(FILES) == {"sensors.rbr", "sensors.py", "test_sensors.py"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    check = [sys.executable, "-m", "redbarrel_lite", "check", str(tmp_path / "sensors.rbr")]
    checked = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "Syntax OK.\n"), checked.stderr
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sensors.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6 passed" in ran.stdout


def test_options_have_the_defaults_of_the_language() -> None:
    table = TEXT.partition("## Options of a url")[2].partition("\n\n`response-headers")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|", table.replace("\\|", "/"), re.M)
    told = {
        name: default.strip("`")
        for names, defaults in rows
        for name, default in zip(re.findall("`(.+?)`", names), defaults.split(", "), strict=True)
    }
    assert len(told) == 11
    for name, default in told.items():
        if name != "allow-origin":
            assert default == PATH_KEYS[name].default.replace("|", "/"), name
