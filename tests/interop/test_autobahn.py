"""The Autobahn test suite, but for its slow cases, which `make autobahn` runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import run_autobahn
from conftest import Serve
from peers import missing

pytestmark = pytest.mark.interop

GROUPS = {
    "protocol": ([f"{chapter}.*" for chapter in (1, 2, 3, 4, 5, 6, 7, 10)], 244),
    # Of 12 and 13, those of short messages: each kind of content, each offer.
    "compression": (
        [f"12.{content}.1" for content in range(1, 6)] + [f"13.{offer}.1" for offer in range(1, 8)],
        12,
    ),
}


@pytest.mark.parametrize("group", GROUPS)
def test_autobahn_finds_no_fault(serve: Serve, group: str) -> None:
    if importlib.util.find_spec("kosoku") is None:
        missing(f"{sys.executable} lacks kosoku: pip install kosoku")
    cases, count = GROUPS[group]
    server = serve(run_autobahn.APP, "--log", "off")
    command = [sys.executable, run_autobahn.__file__, "--port", str(server.port), *cases]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{count:4}  OK" in ended.stdout, ended.stdout
