"""Our JavaScript client against the official server, npm socket.io 4, in Node.

The scenarios are in js/client_scenarios.test.mjs. node_modules is looked for where
RBL_NODE_MODULES says, else in tests/interop/node_modules.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIOS = HERE / "js" / "client_scenarios.test.mjs"
NODE_MODULES = Path(os.environ.get("RBL_NODE_MODULES", HERE / "node_modules")).resolve()
DEADLINE_S = 120

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("transport", ["polling only", "websocket only", "upgrade"])
def test_client_passes_the_scenarios_with_the_official_server(transport: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (NODE_MODULES / "socket.io").is_dir():
        pytest.skip(f"npm package socket.io is not in {NODE_MODULES}")
    run = subprocess.run(
        # The official server keeps a timer for half a minute: --test-force-exit (Node 20.14).
        [node, "--test", "--test-force-exit", "--test-reporter=tap", str(SCENARIOS)],
        env={**os.environ, "RBL_NODE_MODULES": str(NODE_MODULES), "RBL_TRANSPORT": transport},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "# pass 0\n" not in run.stdout, "no scenario ran: " + run.stdout
