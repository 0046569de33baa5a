"""How a server is: its page in Chromium, and its metrics before Prometheus' own reader."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from importlib import import_module
from typing import Any

import pytest
from conftest import ROOT, Serve
from openmetrics import parse
from peers import missing, node

pytestmark = pytest.mark.interop


def test_page_is_whole_without_scripts_and_comes_again(serve: Serve) -> None:
    url = serve(ROOT / "examples/chat/chat.rbr", "--status").url
    seen = node("status.cjs", url)
    assert seen["faults"] == []
    assert set(seen["asked"]) == {f"{url}/__status__"}
    assert len(seen["asked"]) >= 2
    assert "/__health__" not in seen["first"]
    assert re.search(r"/__health__\s+1", seen["second"])
    assert seen["light"]["light"]
    assert not seen["dark"]["light"]
    assert seen["light"]["width"] <= 1200
    assert seen["dark"]["width"] <= 390


def reader() -> Any:
    try:
        parser: Any = import_module("prometheus_client.openmetrics.parser")
    except ImportError:
        missing("no prometheus-client: pip install '.[dev]'")
    return parser.text_string_to_metric_families


def test_metrics_are_what_prometheus_reads(serve: Serve) -> None:
    read = reader()
    url = serve(ROOT / "examples/chat/chat.rbr", "--status", "--workers", "2").url
    for target in ("/", "/nowhere", "/__health__"):
        try:
            urllib.request.urlopen(url + target).close()
        except urllib.error.HTTPError as error:
            error.close()
    with urllib.request.urlopen(f"{url}/__metrics__") as answer:
        text = answer.read().decode()
    families = {family.name: family for family in read(text)}
    ours = parse(text)
    assert list(families) == list(ours)
    for name, family in families.items():
        assert (family.type, family.unit) == (ours[name].kind, ours[name].unit)
        theirs = {
            (one.name.removeprefix(name), frozenset(one.labels.items())): one.value
            for one in family.samples
        }
        assert theirs == ours[name].samples
