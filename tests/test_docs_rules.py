"""docs/rules.md: its listings run."""

from __future__ import annotations

import re
from pathlib import Path

from wire import ask, run

from redbarrel_lite.app import App
from redbarrel_lite.server import Server


def test_listings_of_the_docs_run(tmp_path: Path) -> None:
    """Its files are served, and each of its requests gets the answer that stands below it."""
    page = (Path(__file__).parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for language, text in blocks:
        if language != "http":
            file = tmp_path / text.split("\n", 1)[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    exchanges = [text for language, text in blocks if language == "http"]
    assert len(exchanges) == 6

    async def test() -> None:
        server = Server(App.load(tmp_path / "main.rbr"))
        url = await server.start()
        for exchange in exchanges:
            asked, answered = re.split(r"\n\n(?=HTTP/1.1 \d)", exchange)
            head, _, body = asked.partition("\n\n")
            line, *fields = head.split("\n")
            method, target, _ = line.split()
            told = dict(field.split(": ", 1) for field in fields)
            got = await ask(url, method, target, body.encode(), **told)
            head, _, body = answered.partition("\n\n")
            line, *fields = head.rstrip("\n").split("\n")
            assert got[0] == int(line.split()[1]), exchange
            for field in fields:
                name, value = field.split(": ", 1)
                assert got[1][name.lower()] == value, exchange
            assert got[2].decode().rstrip("\n") == body.rstrip("\n"), exchange
        await server.close(0.5)

    run(test())
