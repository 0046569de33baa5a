"""The pages of the examples in Chromium: used in light, in dark and on a phone."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import ROOT, Serve
from test_real_clients import browser_environment, node

pytestmark = pytest.mark.interop

NASTY = "<img src=x onerror=document.title='injected'>"


def used(serve: Serve, name: str) -> dict[str, dict[str, Any]]:
    """What was seen in each window; what must be so on every page is judged here."""
    browser_environment()
    seen = node("examples.cjs", name, serve(ROOT / f"examples/{name}/{name}.rbr").url)
    for kind, window in seen.items():
        assert window["faults"] == [], kind
        assert window["over"] <= 0, f"{kind}: wider than its window"
        assert not window["injected"], kind
    assert seen["light"]["colour"] != seen["dark"]["colour"]
    return seen


def test_hello_page_shows_a_name_as_it_is(serve: Serve) -> None:
    for window in used(serve, "hello").values():
        assert window["answer"] == f'{{"hello": "{NASTY}"}}'


def test_demo_page_tries_every_service(serve: Serve) -> None:
    for window in used(serve, "demos").values():
        statuses = window["statuses"]
        assert statuses.pop("capitalize") == [200, 401]
        assert statuses.pop("verbs") == [200] * 4
        assert statuses == {
            name: [200]
            for name in ("hello", "counter", "visits", "css", "css-small", "blob", "dummy")
        }


def test_live_page_of_the_shortener_shows_a_visit(serve: Serve) -> None:
    for window in used(serve, "shortener").values():
        path, *_, hits = window["seen"]
        assert path.startswith("r/")
        assert hits == "1"
        assert "onerror" in "".join(window["seen"])


def test_devices_of_the_key_exchange_talk(serve: Serve) -> None:
    for window in used(serve, "keyexchange").values():
        assert window["read"] == ["304 ", f'200 {{"message":"{NASTY}"}}']
