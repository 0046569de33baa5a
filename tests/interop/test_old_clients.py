"""socket.io-client 2 in Chromium, where a path lets old clients in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Serve
from peers import APPS, browser_environment, node, node_environment

pytestmark = pytest.mark.interop


def old_page(folder: Path, *options: str) -> Path:
    """The application of tests/apps/old.rbr with a page and its client, in a folder of its own."""
    modules = Path(node_environment()["NODE_PATH"])
    for name in ("old.py", "old.html"):
        shutil.copy(APPS / name, folder)
    shutil.copy(modules / "socket.io-client-2/dist/socket.io.js", folder / "client.js")
    rbr = (APPS / "old.rbr").read_text(encoding="utf-8")
    rbr = rbr.replace("allow-eio3 on", ", ".join(("allow-eio3 on", *options)))
    rbr += "path client ( url /client.js, use file:client.js );"
    (folder / "old.rbr").write_text(rbr, encoding="utf-8")
    return folder / "old.rbr"


# How the browser asks, WebSockets aside: by JSONP a poll is a script, a POST a form in a frame.
KINDS = {"jsonp": ["document", "script"], "xhr": ["xhr"], "upgrade": ["xhr"]}


@pytest.mark.parametrize("mode", KINDS)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["own server", "another origin"])
def test_page_of_2016_works_in_chromium(
    serve: Serve, tmp_path: Path, mode: str, elsewhere: bool
) -> None:
    browser_environment()
    page = serve(old_page(tmp_path)).url
    sockets = page
    if elsewhere:
        (tmp_path / "elsewhere").mkdir()
        sockets = serve(old_page(tmp_path / "elsewhere", f'allow-origin "{page}"')).url
    seen = node("old_page.cjs", page, sockets, mode)
    assert seen == {
        "welcome": [True, "abc"],
        "words": "a\nb\r\nc\\nd\\\\ne \u2028 é 🐟 <b>&amp;</b>",
        "bytes": [0, 255, 10, 13],
        "sum": 3,
        "transport": "websocket" if mode == "upgrade" else "polling",
        "kinds": KINDS[mode],
    }


@pytest.mark.parametrize("mode", KINDS)
def test_page_of_another_origin_may_not(serve: Serve, tmp_path: Path, mode: str) -> None:
    """The same server, by another name: what a page says of itself is what counts."""
    browser_environment()
    server = serve(old_page(tmp_path))
    seen = node("old_page.cjs", server.url.replace("127.0.0.1", "localhost"), server.url, mode)
    assert "error" in seen
    server.wait_for_line(r"pages of http://localhost:\d+ may not connect")
