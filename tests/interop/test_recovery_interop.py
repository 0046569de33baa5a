"""The stock client loses its connection, comes back, and has missed nothing."""

from __future__ import annotations

import pytest
from conftest import Serve
from peers import APPS, MODES, node

pytestmark = pytest.mark.interop


@pytest.mark.parametrize("mode", MODES)
def test_official_client_recovers_what_it_missed(serve: Serve, mode: str) -> None:
    seen = node("recover.cjs", serve(APPS / "recover.rbr").url, mode)
    first, was_recovered = seen["before"]
    assert was_recovered is False
    assert seen["after"] == [first, True]
    assert seen["heard"] == [
        text for word in ("one", "two", "three", "four") for text in (word,) * 2
    ]
    assert seen["welcomes"] == [[False, None, ["room"]], [True, "red", ["room"]]]
