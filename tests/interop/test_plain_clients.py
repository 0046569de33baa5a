"""Plain WebSocket clients at a path whose method is WEBSOCKET, with compression."""

from __future__ import annotations

import os

import pytest
from conftest import Serve
from peers import APPS, BROWSERS, HERE, browser_environment, finished, node, peers_python

pytestmark = pytest.mark.interop

DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize("where", ["ws", *BROWSERS])
def test_javascript_clients_are_served(serve: Serve, where: str) -> None:
    if where != "ws":
        browser_environment(where)
    seen = node("plain.cjs", serve(APPS / "plain.rbr").url, where)
    assert seen["greeting"] == "hello, talk.v1"
    assert seen["chosen"] == "talk.v1"
    assert seen["extensions"] in (DEFLATE, "permessage-deflate")  # ws tells the name only
    assert seen["said"] == [True] * 5
    assert seen["heard"] == list(range(300))
    assert seen["closedByServer"] == [4001, "see you", True]
    assert seen["other"] == "hello, whoever"
    assert seen["closedByClient"][0] == 4002
    assert seen["closedByClient"][2] is True
    assert seen["refused"] == "refused"


def test_aiohttp_is_served(serve: Serve) -> None:
    command = [peers_python(), str(HERE / "plain_peer.py"), serve(APPS / "plain.rbr").url]
    seen = finished(command, dict(os.environ))
    assert seen["greeting"] == "hello, talk.v1"
    assert seen["chosen"] == "talk.v1"
    assert seen["compress"] == 15
    assert seen["said"] == [True] * 5
    assert seen["heard"] == list(range(300))
    assert seen["closedByServer"] == [4001, "see you"]
    assert seen["other"] == "hello, whoever"
    assert seen["closedByClient"] is True
    assert seen["refused"] == 403
