"""docs/protocol.md: each exchange is what the real server says, each answer to an exercise runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from conftest import ROOT, Serve
from wire import Live, Wire, live, run

from redbarrel_lite.wsproto import unmask

PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
KEY = bytes.fromhex("37fa213d")  # that of the example in RFC 6455 5.7

FILES = dict(re.findall(r"```(?:rbr|python)\n# (echo\.\w+)\n(.*?)```", PAGE, re.DOTALL))
RBR = FILES["echo.rbr"].replace("python:echo.", "python:MODULE.")
APP = FILES["echo.py"]
HOST = "host: 127.0.0.1:8000"


class Exchange:
    """A conversation by hand, and what was said, a line each as the page has it."""

    def __init__(self, server: Live) -> None:
        self.lines: list[str] = []
        self.sids: dict[str, str] = {}
        self._server = server

    async def open(self) -> Wire:
        return await Wire.open(self._server.url)

    def shown(self, text: str) -> str:
        for sid in re.findall(r'"sid":"([\w-]+)"', text):
            name = "SID" if not self.sids else "NAMESPACE-SID"
            self.sids.setdefault(sid, name)
        for sid, name in self.sids.items():
            text = text.replace(sid, name)
        return re.sub(r"(?<=date: )[^\r]+", "Thu, 26 Nov 2026 15:00:00 GMT", text)

    def note(self, mark: str, text: str) -> None:
        text = self.shown(text)
        self.lines += [f"{mark} {line}".rstrip() for line in text.split("\r\n")]

    async def ask(self, wire: Wire, *head: str, body: str = "") -> None:
        """Send a request."""
        text = "\r\n".join(head) + "\r\n\r\n" + body
        self.note(">", text)
        for sid, name in self.sids.items():
            text = text.replace(name, sid) if name == "SID" else text
        await wire.send(text)

    async def answer(self, wire: Wire) -> None:
        """Read an answer, with its body."""
        head = (await wire.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head)
        body = (await wire.reader.readexactly(int(length[1]))).decode() if length else ""
        # The length of a sid is always the same, and so is that of what holds it.
        self.note("<", head + body)

    async def say(self, wire: Wire, text: str, first: int = 0x81) -> None:
        """Send a frame, masked."""
        payload = bytes.fromhex(text) if first == 0x88 else text.encode()
        frame = bytes((first, 0x80 | len(payload))) + KEY + unmask(payload, KEY)
        self.frame(">", frame, text if first == 0x81 else f"close {int(text, 16)}")
        await wire.send(frame)

    async def hear(self, wire: Wire) -> None:
        """Read a frame; of one with a sid, which differs each time, the text alone is shown."""
        head = await wire.reader.readexactly(2)
        payload = await wire.reader.readexactly(head[1])
        if head[0] == 0x88:
            self.frame("<", head + payload, f"close {int.from_bytes(payload[:2])}")
            return
        text = payload.decode()
        shown = self.shown(text)
        if shown == text:
            self.frame("<", head + payload, text)
        else:
            self.lines += [f"< {head.hex(' ')} …", f"  {shown}"]

    def frame(self, mark: str, data: bytes, text: str) -> None:
        self.lines += [f"{mark} {data.hex(' ')}", f"  {text}"]


def poll(method: str = "GET", *more: str) -> tuple[str, ...]:
    return (f"{method} /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1", HOST, *more)


async def polling(exchange: Exchange) -> None:
    wire = await exchange.open()
    await exchange.ask(wire, "GET /socket.io/?EIO=4&transport=polling HTTP/1.1", HOST)
    await exchange.answer(wire)
    await exchange.ask(wire, *poll("POST", "content-length: 2"), body="40")
    await exchange.answer(wire)
    await exchange.ask(wire, *poll())
    await exchange.answer(wire)
    await exchange.ask(wire, *poll("POST", "content-length: 20"), body='42["message","poll"]')
    await exchange.answer(wire)
    await exchange.ask(wire, *poll())
    await exchange.answer(wire)
    # -- the upgrade
    await exchange.ask(wire, *poll())
    socket = await exchange.open()
    await exchange.ask(
        socket,
        "GET /socket.io/?EIO=4&transport=websocket&sid=SID HTTP/1.1",
        HOST,
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    await exchange.answer(socket)
    await exchange.say(socket, "2probe")
    await exchange.hear(socket)
    await exchange.answer(wire)
    await exchange.say(socket, "5")
    await exchange.say(socket, '42["message","hi"]')
    await exchange.hear(socket)


async def websocket(exchange: Exchange) -> None:
    socket = await exchange.open()
    await exchange.ask(
        socket,
        "GET /soon/?EIO=4&transport=websocket HTTP/1.1",
        HOST,
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    await exchange.answer(socket)
    await exchange.hear(socket)
    await exchange.say(socket, "40")
    await exchange.hear(socket)
    await exchange.say(socket, '420["message","ack?"]')
    await exchange.hear(socket)
    await exchange.hear(socket)
    await exchange.hear(socket)  # the ping
    await exchange.say(socket, "3")
    await exchange.say(socket, "41")
    await exchange.say(socket, "03e8", 0x88)
    await exchange.hear(socket)


SCENES: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "polling": polling,
    "websocket": websocket,
}


def said(folder: Path, scene: str) -> list[str]:
    found: list[str] = []

    async def test() -> None:
        async with live(folder, RBR, APP) as server:
            exchange = Exchange(server)
            await SCENES[scene](exchange)
            found.extend(exchange.lines)

    run(test())
    return found


@pytest.mark.parametrize("scene", SCENES)
def test_exchange_of_the_page_is_what_is_said(tmp_path: Path, scene: str) -> None:
    blocks = re.findall(rf"```exchange {scene}\n(.*?)```", PAGE, re.DOTALL)
    told = [line.rstrip() for line in "".join(blocks).splitlines()]
    assert told == said(tmp_path, scene)


ANSWERS = re.findall(r"```python answer\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(ANSWERS)))
def test_answer_to_an_exercise_runs(serve: Serve, tmp_path: Path, number: int) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    server = serve(tmp_path / "echo.rbr")
    answer = tmp_path / "answer.py"
    answer.write_text(ANSWERS[number], encoding="utf-8")
    command = [sys.executable, str(answer), "127.0.0.1", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_files_to_read_are_there() -> None:
    for target in re.findall(r"\]\((\.\./[\w/.]+|\w+\.md)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target


def test_bytes_that_the_page_has_explained_are_right() -> None:
    lines = re.findall(r"^python3 -m redbarrel_lite explain .*", PAGE, re.MULTILINE)
    assert lines
    for line in lines:
        command = [sys.executable, *shlex.split(line)[1:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.stdout.endswith("\nRight.\n"), line
