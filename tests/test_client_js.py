"""The JavaScript client alone: its unit tests, which Node runs, and what it may weigh."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Serve

HERE = Path(__file__).parent
CLIENT = HERE.parent / "redbarrel_lite" / "static" / "socket.io.js"
MAX_GZIPPED_BYTES = 8_000
DEADLINE_S = 60
WEBSOCKET_FLAG = "--experimental-websocket"


def websocket_flag(node: str) -> list[str]:
    """Node has the browser's WebSocket since 22; 20 hides it behind a flag."""
    ask = f"process.allowedNodeEnvironmentFlags.has({WEBSOCKET_FLAG!r})"
    known = subprocess.run([node, "-p", ask], capture_output=True, text=True, check=True)
    return [WEBSOCKET_FLAG] if known.stdout.strip() == "true" else []


def run_in_node(tests: Path, **environment: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    run = subprocess.run(
        [node, *websocket_flag(node), "--test", "--test-reporter=tap", str(tests)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 0\n" not in run.stdout, "no test ran: " + run.stdout


@pytest.mark.parametrize("tests", sorted((HERE / "js").glob("*.test.js")), ids=lambda p: p.name)
def test_client_passes_its_unit_tests(tests: Path) -> None:
    run_in_node(tests)


@pytest.mark.parametrize("app", ["echo", "echo_async"])
def test_client_and_server_understand_each_other(serve: Serve, app: str) -> None:
    run_in_node(
        HERE / "js" / "server_scenarios.js", RBL_URL=serve(HERE / "apps" / f"{app}.rbr").url
    )


def test_listings_of_its_page_do_what_they_say(serve: Serve) -> None:
    url = serve(HERE / "apps" / "scenarios.rbr").url
    run_in_node(HERE / "js" / "docs_client.js", RBL_URL=url)


def test_client_is_small() -> None:
    assert len(gzip.compress(CLIENT.read_bytes(), 9)) < MAX_GZIPPED_BYTES


def test_client_has_no_var_and_lines_that_fit() -> None:
    source = CLIENT.read_text(encoding="utf-8")
    assert re.findall(r"^\s*var\b.*", source, re.MULTILINE) == []
    assert [line for line in source.splitlines() if len(line) > 100] == []
