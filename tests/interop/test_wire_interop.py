"""The page of the wire in Chromium: what it shows, and a session that is led by hand."""

from __future__ import annotations

import pytest
from conftest import ROOT, Serve
from peers import node

pytestmark = pytest.mark.interop


def test_page_shows_a_session_and_leads_the_next_one(serve: Serve) -> None:
    server = serve(ROOT / "examples/chat/chat.rbr", "--debug")
    seen = node("wire.cjs", server.url)
    assert seen["faults"] == []
    assert seen["width"] <= 390
    assert seen["broken"] == [], "names of fields that are cut within a word"
    assert seen["isSeen"], "on a phone, a line that is chosen leads to its bytes"
    asked = seen["asked"]
    assert asked["isActive"], "the option that a screen reader is told of"
    assert asked["isMore"], "the rest of a long message, when it is asked for"
    assert asked["awaits"].endswith("… 1 attachment is to come")
    watched = seen["watched"]
    assert watched["layers"] == ["WebSocket frame", "Engine.IO packet", "Socket.IO packet"]
    assert watched["lit"] == 4, "the bytes of the masking key"
    assert watched["focused"].startswith("c"), "the connection chosen by a key"
    for words in ("ping probe", "pong probe", "upgrade", "HTTP/1.1 101 Switching Protocols"):
        assert words in watched["said"], words
    used = seen["used"]
    assert used["filtered"] == ["ping probe", "pong probe"]
    assert used["fields"]
    assert not any(words.startswith("EVENT") for words in used["fields"]), used["fields"]
    assert not any(words.startswith("EVENT") for words in used["withoutEvents"])
    assert not any("unseen" in words for words in used["paused"])
    assert used["saved"] > len(watched["said"])
    assert seen["looked"]["isHeld"] == "true"
    assert len(seen["looked"]["marked"]) == 2, "the one that is held, and how to begin another"
    assert seen["looked"]["waiting"] > 0
    assert seen["gap"] < 60
    steps = seen["steps"]
    for words in ("HTTP/1.1 200 OK", "CONNECT with sid", "pong probe"):
        assert words in steps, words
