"""docs/reload.md: its application follows its files, and says what the page says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from conftest import ROOT, Serve
from wire import ask, run, socketio

from redbarrel_lite import changes, server

TEXT = (ROOT / "docs" / "reload.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+\n(?:# |<!-- )(\S+)[^\n]*\n(.*?)^```$", TEXT, re.M | re.S))


def test_application_follows_its_files(serve: Serve, tmp_path: Path) -> None:
    assert set(FILES) == {"hello.rbr", "hello.py", "hello.html"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = ("--allow-host", "a", "127.0.0.1")
    it = serve(tmp_path / "hello.rbr", "--reload", *names, traceback_expected=True)
    (stays,) = re.findall(r"^```text\n(.*)\n```$", TEXT, re.M)

    async def test() -> None:
        script = re.search(r'src="(.*?)"', FILES["hello.html"])
        assert script is not None
        assert (await ask(it.url, "GET", script[1]))[0] == 200
        talk = await socketio(it.url)
        text = FILES["hello.py"]
        (tmp_path / "hello.py").write_text(text.replace('morning"', "morning"))
        await asyncio.to_thread(it.wait_for_line, stays)
        it.wait_for_line("SyntaxError: unterminated string literal")
        assert (await ask(it.url, "GET", "/greet"))[2] == b"Good morning"
        (tmp_path / "hello.py").write_text(text.replace("morning", "evening"))
        assert (await talk.read_close())[0] == 1012
        assert (await ask(it.url, "GET", "/greet"))[2] == b"Good evening"

    run(test())


def test_numbers_and_suffixes_are_those_of_the_source() -> None:
    words = " ".join(TEXT.split())
    assert changes.PAUSE_S == 1 / 5
    assert "five times a second" in words
    assert changes.QUIET_S == 50 / 1000
    assert "quiet for 50 ms" in words
    assert changes.MOST_SHARE < 0.04
    assert "4 percent of a processor" in words
    assert server.RESTART_S == 2
    assert "no longer than two seconds" in words
    (listed,) = re.findall(r"`file:` serves; (.*) below", TEXT)
    assert set(re.findall(r"`(\.\w+)`", listed)) | {".htm"} == set(changes.SHOWN)
