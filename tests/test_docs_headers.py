"""docs/headers.md: its application is served, and browsers are told what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import ROOT

from redbarrel_lite import testing

TEXT = (ROOT / "docs" / "headers.md").read_text(encoding="utf-8")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for code in re.findall(r"^```\w+\n(# \S+\n.*?)^```$", TEXT, re.M | re.S):
        (tmp_path / code.split("\n", 1)[0].removeprefix("# ")).write_text(code, encoding="utf-8")
    (tmp_path / "shop.html").write_text("<h1>Tea</h1>")
    return tmp_path / "shop.rbr"


def test_page_and_api_tell_what_the_manual_says(shop: Path) -> None:
    with testing.client(shop) as client:
        page = client.get("/")
        assert page.text == "<h1>Tea</h1>"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "same-origin"
        prices = client.get("/prices")
        assert prices.json == {"tea": 3}
        assert prices.headers["content-security-policy"].startswith("default-src 'none'")
        assert prices.headers["cross-origin-resource-policy"] == "same-origin"
        assert prices.headers["cache-control"] == "no-store"
        assert client.post("/orders", json={"what": "tea"}).json == {"ordered": "tea"}


def test_form_of_another_site_orders_nothing(shop: Path) -> None:
    with testing.client(shop) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = client.post("/orders", body=b'{"what": "tea"}', headers={"content-type": kind})
            assert answer.status == 415


def test_files_errors_and_what_is_ours_is_of_the_type_that_it_says(shop: Path) -> None:
    (shop.parent / "shop.py").write_text("def prices(request): 1 / 0\norder = is_json = prices\n")
    with testing.client(shop) as client:
        for url, status in {"/": 200, "/nowhere": 404, "/prices": 500, "/__doc__": 200}.items():
            answer = client.get(url)
            assert (answer.status, answer.headers["x-content-type-options"]) == (status, "nosniff")
