"""engine.io-client and python-engineio at a path whose method is ENGINEIO."""

from __future__ import annotations

import os

import pytest
from conftest import Serve
from peers import APPS, HERE, MODES, finished, node, peers_python

pytestmark = pytest.mark.interop


def transport(mode: str) -> str:
    return "polling" if mode == "polling" else "websocket"


@pytest.mark.parametrize("mode", MODES)
def test_official_client_is_served(serve: Serve, mode: str) -> None:
    seen = node("engine_client.cjs", serve(APPS / "engine.rbr").url, mode)
    empty = {"hex": ""}  # and of an empty text this client makes undefined
    assert seen["sid"] == 22
    assert seen["said"] == ["hello", None, 'é € 🐟 \u2028 "\\"', {"hex": "00ff"}, empty, "42[]"]
    assert seen["heard"] == [str(number) for number in range(300)]
    assert seen["transport"] == transport(mode)
    assert seen["told"] == {"hex": "00ff"}
    assert seen["closed"] == "transport close"
    assert seen["refused"][0] in ("xhr poll error", "websocket error")


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
@pytest.mark.parametrize("mode", MODES)
def test_python_engineio_is_served(serve: Serve, mode: str, kind: str) -> None:
    command = [peers_python(), str(HERE / "engine_peer.py")]
    url = serve(APPS / "engine.rbr").url
    seen = finished([*command, url, mode, kind], dict(os.environ))
    assert seen["said"] == ["hello", 'é € 🐟 "\\"', {"hex": "00ff"}, "last"]
    # This client starts a thread or task for each message: it does not keep their order.
    assert sorted(seen["heard"]) == sorted(f"n{number}" for number in range(300))
    assert seen["transport"] == transport(mode)
