"""The script of ``--reload`` in browsers: pages that follow their files, and show a fault."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import Serve
from peers import BROWSERS, browser_environment, node

pytestmark = pytest.mark.interop

FILES = {
    "app.rbr": """
        path page ( method GET, url /, use file:page.html, response-headers (
            set Content-Security-Policy "default-src 'self'; frame-ancestors 'none'" ) );
        path style ( method GET, url /style.css, use file:style.css );
        path script ( method GET, url /page.js, use file:page.js );
        path greet ( method GET, url /greet, use python:hello.greet );
        path icon ( method GET, url /favicon.ico, use python:hello.greet );
    """,
    "hello.py": """
GREETING = "Good morning"

async def greet(request):
    return GREETING
""",
    "page.html": """<!doctype html><title>Hello</title><link rel="stylesheet" href="/style.css">
<h1></h1><p></p><script src="/__reload__/reload.js"></script><script src="/page.js"></script>""",
    "page.js": """
fetch("/greet").then((answer) => answer.text()).then((text) => {
  document.querySelector("h1").textContent = text;
});
""",
    "style.css": "h1 { color: red } :root { color-scheme: light dark }",
}


@pytest.mark.parametrize("browser", BROWSERS)
def test_page_follows_its_files_and_shows_what_is_wrong(
    serve: Serve, tmp_path: Path, browser: str
) -> None:
    browser_environment(browser)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
        # So old that a browser may take it for what never changes (RFC 9111 4.2.2).
        os.utime(tmp_path / name, (10**9, 10**9))
    server = serve(tmp_path / "app.rbr", "--reload", traceback_expected=True)
    seen = node("reload.cjs", server.url, str(tmp_path), browser)
    assert seen["faults"] == []
    assert "<img src=x onerror=alert(1)>" in seen["said"]
    assert "SyntaxError" in seen["said"]
    assert any("SyntaxError" in line for line in seen["guilty"])
    assert any("error RBR040" in line for line in seen["guilty"])
    assert (seen["images"], seen["left"]) == (0, 0)
    assert seen["width"] <= 900
    light, dark = "rgb(255, 253, 251)", "rgb(29, 25, 22)"
    assert seen["colours"] == [light, dark if browser == "chromium" else light]
