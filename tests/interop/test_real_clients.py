"""The official clients, python-socketio and browsers against the real server.

The scenarios are small programs in the clients' own languages; the judging is done here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from conftest import ROOT, Serve
from peers import (
    APPS,
    BROWSERS,
    HERE,
    MODES,
    Peer,
    Seen,
    browser_environment,
    finished,
    node,
    node_command,
    node_environment,
    peers_python,
)
from test_readme import named_blocks

pytestmark = pytest.mark.interop

CHAT = ROOT / "examples" / "chat"


# --- the chat -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class App:
    """One way to write the chat, and the words that it uses."""

    rbr: Path
    announcement: str = "announcement"
    buffer: str = "buffer"
    message: str = "message"
    came: str = "connected"
    went: str = "disconnected"
    kept: int = 30

    def said(self, sid: str, text: str) -> Seen:
        return {self.message: [sid, text]}

    def entered(self, sid: str) -> Seen:
        return {self.announcement: f"{sid} {self.came}"}

    def left(self, sid: str) -> Seen:
        return {self.announcement: f"{sid} {self.went}"}


BLOCKING = App(CHAT / "chat.rbr")
ASYNC = App(CHAT / "chat_async.rbr")
OTHER = App(APPS / "other_chat.rbr", "news", "history", "said", "came", "went", kept=5)


def expected(app: App, a: str, b: str, c: str) -> dict[str, list[Seen]]:
    """What each of the three hears in the scenario of chat.cjs and chat_peer.py.

    Nobody hears himself: a's words are in nobody's list but b's and c's.
    """
    hello = app.said(a, "hello ✓ \U0001f600")
    quoted = app.said(b, '"quoted" \\ \u2028 back')
    lines = [app.said(a, f"line {number}") for number in range(35)]
    history = [hello, quoted, *lines]
    nothing_yet: Seen = {app.buffer: []}
    return {
        "a": [
            nothing_yet,
            app.entered(b),
            quoted,
            app.entered(c),
            app.left(b),
            app.said(c, "the end"),
        ],
        "b": [nothing_yet, hello, *lines, app.entered(c)],
        "c": [{app.buffer: history[-app.kept :]}, app.left(b), app.said(a, "the end")],
    }


def transports(mode: str) -> list[str]:
    return ["polling" if mode == "polling" else "websocket"] * 3


@pytest.mark.parametrize("app", [BLOCKING, ASYNC, OTHER], ids=lambda app: app.rbr.stem)
@pytest.mark.parametrize("mode", MODES)
def test_official_client_chats(serve: Serve, mode: str, app: App) -> None:
    seen = node("chat.cjs", serve(app.rbr).url, mode)
    wanted = expected(app, **seen["ids"])
    assert {name: seen[name] for name in "abc"} == wanted
    assert seen["transports"] == transports(mode)


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
@pytest.mark.parametrize("mode", MODES)
def test_python_socketio_chats(serve: Serve, mode: str, kind: str) -> None:
    command = [peers_python(), str(HERE / "chat_peer.py")]
    seen = finished([*command, serve(BLOCKING.rbr).url, mode, kind], dict(os.environ))
    wanted = expected(BLOCKING, **seen["ids"])
    for name in "abc":
        # This client starts a thread or task for each message: it does not keep their order.
        assert sorted(seen[name], key=str) == sorted(wanted[name], key=str)
    assert seen["transports"] == transports(mode)


# --- order, and going ------------------------------------------------------------------------


@pytest.mark.parametrize("app", ["echo", "echo_async"])
def test_2000_messages_keep_their_order_through_the_upgrade(serve: Serve, app: str) -> None:
    seen = node("order.cjs", serve(APPS / f"{app}.rbr").url)
    assert seen["heard"] == [*range(1, 2001), "end"]
    assert seen["transports"] == ["polling", "websocket"]
    # The move fell into the midst of the counting, or the test has shown nothing.
    assert 300 < seen["sent"]["upgrading"] <= seen["sent"]["upgrade"] <= 1520


@pytest.mark.parametrize("mode", MODES)
def test_official_client_gets_long_messages_compressed(serve: Serve, mode: str) -> None:
    seen = node("compressed.cjs", serve(APPS / "echo_compressed.rbr").url, mode)
    assert seen["same"] == 60
    assert seen["transport"] == transports(mode)[-1]
    assert mode == "polling" or seen["extensions"] == "permessage-deflate"


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Peer]]:
    started: list[Peer] = []

    def start(script: str, *args: str) -> Peer:
        started.append(Peer(node_command(script, *args)))
        return started[-1]

    yield start
    for peer in started:
        if peer.process.returncode is None:
            peer.kill()


@pytest.mark.parametrize("mode", MODES)
def test_a_killed_client_has_left_at_once(
    serve: Serve, start_peer: Callable[..., Peer], mode: str
) -> None:
    """Its connection breaks, and nobody waits 45 s for the pong that is missing."""
    node_environment()
    url = serve(BLOCKING.rbr).url
    witness = start_peer("listen.cjs", url, "websocket")
    witness.next()
    victim = start_peer("listen.cjs", url, mode)
    sid = victim.next()["id"]
    assert witness.next() == BLOCKING.entered(sid)
    assert witness.next() == BLOCKING.said(sid, "here")
    victim.kill()
    killed = monotonic()
    assert witness.next() == BLOCKING.left(sid)
    assert monotonic() - killed < 20  # which is when the first pong could be missing


# --- the page -------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["ours", "official"])
@pytest.mark.parametrize("browser", BROWSERS)
def test_two_people_chat_in_a_browser(serve: Serve, browser: str, client: str) -> None:
    browser_environment(browser)
    seen = node("page.cjs", serve(BLOCKING.rbr).url, client, browser)

    assert seen["swaps"] == [1 if client == "official" else 0] * 3
    assert seen["faults"] == []
    assert seen["live"] == "polite"
    for name, texts in {
        "a": ["hello from b", " connected", " disconnected"],
        "b": ["hello from a", "onerror", " connected"],
        "c": ["hello from a", "hello from b", "onerror", " disconnected"],
    }.items():
        for text in texts:
            assert text in seen[name], f"{name} does not see {text!r}"
    assert seen["b"].count("hello from a") == 1
    assert seen["a"].count("hello from b") == 1
    # What people type is text, never markup.
    assert seen["injected"] == [0, 0, 0]
    assert "injected" not in seen["titles"]


def test_readme_page_works_in_chromium(serve: Serve, tmp_path: Path) -> None:
    browser_environment()
    for name, code in named_blocks().items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    seen = node("shout.cjs", serve(tmp_path / "shout.rbr").url)
    assert seen == {"speaker": "", "listener": "<i>hello</i>\n", "left": "", "faults": []}
