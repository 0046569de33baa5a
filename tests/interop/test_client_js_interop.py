"""Our JavaScript client and the official one, before our server and the official one.

The scenarios, in js/scenarios.js, are the same for all, in Node, in Chromium and in Firefox,
over polling, over websockets and through the upgrade: so neither client can tell the servers
apart, nor the servers the clients.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import serving
from peers import APPS, BROWSERS, Peer, browser_environment, node, node_command, node_environment

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, object]]:
    """Where the two servers are; both serve all tests."""
    node_environment()
    official = Peer(node_command("js/official_server.cjs"))
    try:
        with serving() as serve:
            yield {"ours": serve(APPS / "scenarios.rbr").port, "official": official.next()}
    finally:
        official.kill()


PLAYS = [
    (client, where, server)
    for client in ("ours", "official")
    for where in ("node", *BROWSERS)
    for server in ("ours", "official")
    # The official two prove the scenarios; in a browser they would prove the browser.
    if (client, server) != ("official", "official") or where == "node"
]


@pytest.mark.parametrize(("client", "where", "server"), PLAYS)
def test_scenarios_pass(ports: dict[str, object], client: str, where: str, server: str) -> None:
    if where in BROWSERS:
        browser_environment(where)
    outcomes = node("scenes.cjs", client, where, str(ports[server]))
    faults = [f"{one['mode']}: {one['title']}: {one['fault']}" for one in outcomes if one["fault"]]
    assert not faults, "\n\n".join(faults)
    assert len(outcomes) >= 3 * 30
