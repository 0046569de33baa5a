"""A server under attack, and the rules that must hold after every attempt.

    def test_something(siege: Siege) -> None:
        assert siege.verdict(attempt, b"...") == ["close 1002"]
        siege.holds()

The server runs in a thread of this process, so that what it keeps can be counted, or, as
`Optimized`, in one of its own without assertions (``python -O``). A witness, a WebSocket
that was open before, must go on as if nothing had happened. Who attacks is a plain socket:
what it sends in pieces is read in pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import re
import socket
import struct
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from conftest import Serve
from segments import segmentations

from redbarrel_lite.app import App
from redbarrel_lite.endpoint import Endpoint
from redbarrel_lite.forwarded import trust
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.server import Server
from redbarrel_lite.testing_sync import Loop
from redbarrel_lite.upstream import Upstream
from redbarrel_lite.wsproto import unmask

FILE = Path(__file__).parent / "apps/besieged/besieged.rbr"
PACKAGE = Path(__file__).resolve().parent.parent / "redbarrel_lite"
FRONT = """
path front ( url /, use proxy:http://127.0.0.1:{0}, max-body 100000000 );
"""
PATIENCE_S = 20.0  # only a fault waits this long
KEY = bytes.fromhex("37fa213d")
# Longer than this, bytes are not sent one at a time.
MAX_PIECES = 400
MAX_GROWTH_BYTES = 8 * 1024 * 1024
# A tenth of a second is what nobody notices; a busy machine needs twice the time for the same.
MAX_HOLD_S = 0.2
MAX_LINE = 500
MAX_REMEMBERED = 20_000  # bytes of a connection, each way


def frame(first: int, payload: bytes = b"", key: bytes = KEY) -> bytes:
    """A masked frame with any first byte, its length as short as can be."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + key + unmask(payload, key)


def text(message: str) -> bytes:
    """A text message in one frame."""
    return frame(0x81, message.encode())


_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
# As HTML sees it (13.2.5.6, tag open state): `<3` is text.
_TAG = re.compile(rb"<[A-Za-z/!?][^\s<>]{0,29}")


def check_answers(said: bytes, heard: bytes) -> None:
    """Two rules for all that was answered, as far as it can be cut without knowing the requests.

    Behind an answer that says it is the last there is nothing; and no error shows what it was
    sent to who would obey it: neither a tag to a browser, nor control characters to a terminal.
    """
    tags = set(_TAG.findall(said + unquote_to_bytes(said)))
    while b"HEAD " not in said and (match := _ANSWER.match(heard)):
        status = int(match[1])
        fields = dict(
            line.lower().split(b": ", 1) for line in match[2].splitlines() if b": " in line
        )
        if status == 101 or b"transfer-encoding" in fields:
            return
        end = match.end() + int(fields.get(b"content-length", 0))
        content, heard = heard[match.end() : end], heard[end:]
        if status >= 400:
            # Fetch 3.6: no browser takes that for a page, whatever is in it.
            is_text = fields.get(b"content-type", b"").startswith(b"text/plain")
            if not (is_text and fields.get(b"x-content-type-options") == b"nosniff"):
                assert not [tag for tag in tags if tag in content], (said, content)
            assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", content), (said, content)
        if status >= 200 and fields.get(b"connection") == b"close":
            assert heard == b"", (said, status, heard)


class Attacker:
    """One TCP connection."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self._unread = b""
        self._said = bytearray()  # the start of it all, both ways
        self._heard = bytearray()
        self.socket = socket.create_connection(("127.0.0.1", siege.port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Attacker:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.socket.close()
        check_answers(bytes(self._said), bytes(self._heard))

    def send(self, *pieces: bytes) -> None:
        """Send pieces, each of which the server reads before the next; stop if it has closed."""
        for piece in pieces:
            self._said += piece[: MAX_REMEMBERED - len(self._said)]
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return
            if len(pieces) > 1:
                self._siege.turn()

    def _more(self) -> bool:
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError:
            part = b""
        self._unread += part
        self._heard += part[: MAX_REMEMBERED - len(self._heard)]
        return bool(part)

    def read(self, size: int) -> bytes:
        """So many bytes, or less if the server closes."""
        while len(self._unread) < size and self._more():
            pass
        taken, self._unread = self._unread[:size], self._unread[size:]
        return taken

    def until(self, mark: bytes) -> bytes:
        """All up to a mark and with it, or less if the server closes."""
        while mark not in self._unread and self._more():
            pass
        at = self._unread.find(mark)
        return self.read(at + len(mark) if at >= 0 else len(self._unread))

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        while self._more():
            pass
        return self.read(len(self._unread))

    def leave(self, how: str) -> None:
        """Go without a word: "close", "reset", or only half, and listen on."""
        if how == "half":
            self.socket.shutdown(socket.SHUT_WR)
            return
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def finish(self, data: bytes, chance: random.Random) -> None:
        """Say something, in as many pieces as chance wants, and hear all that comes of it.

        A poll that goes through a proxy may take a while: who is told to wait goes.
        """
        cut = chance.randrange(len(data) + 1)
        self.send(*([data] if chance.random() < 0.7 else [data[:cut], data[cut:]]))
        with contextlib.suppress(OSError):  # the server may have closed already
            self.socket.shutdown(socket.SHUT_WR)
        while not self._unread.endswith(b"HTTP/1.1 100 Continue\r\n\r\n") and self._more():
            pass

    # -- HTTP ------------------------------------------------------------------

    def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer, or (0, {}, b"") at the end; ``head``: to a HEAD, without content."""
        told = self.until(b"\r\n\r\n").decode("latin-1")
        if not told:
            return 0, {}, b""
        line, *fields = told.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        length = 0 if head else int(headers.get("content-length", 0))
        return int(line.split()[1]), headers, self.read(length)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and content of a whole exchange."""
        self.send(self._siege.request(method, target, body, **headers))
        status, _, content = self.answer()
        return status, content

    # -- WebSocket -------------------------------------------------------------

    def upgrade(self, target: str, **headers: str) -> dict[str, str]:
        """Do the opening handshake; return the fields of the answer."""
        self.send(self._siege.handshake(target, **headers))
        status, fields, body = self.answer()
        assert status == 101, (status, body)
        return fields

    def frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame, or (0, b"") at the end."""
        head = self.read(2)
        if len(head) < 2:
            return 0, b""
        size = head[1]
        if size >= 126:
            size = int.from_bytes(self.read(2 if size == 126 else 8), "big")
        return head[0], self.read(size)

    def message(self) -> str:
        """The next frame in words: "text hello", "close 1002", or "" at the end."""
        first, payload = self.frame()
        if not first:
            return ""
        if first & 0x0F == 8:
            return f"close {int.from_bytes(payload[:2], 'big') if payload else 1005}"
        kinds = {1: "text", 2: "binary", 9: "ping", 10: "pong"}
        return f"{kinds[first & 0x0F]} {payload.decode('utf-8', 'backslashreplace')}".strip()

    def messages(self, last: str) -> list[str]:
        """All up to a close frame, the end, or ``last``."""
        said: list[str] = []
        while message := self.message():
            said.append(message)
            if message == last or message.startswith("close"):
                break
        return said


class Siege(ABC):
    """What is attacked."""

    port: int

    def __init__(self) -> None:
        self._witness: Attacker | None = None

    def begin(self) -> None:
        """The witness comes, before anybody else; but what the first one starts is there."""
        with Attacker(self) as client:
            client.ask("GET", "/admin")
        self._witness = Attacker(self)
        self._witness.upgrade("/witness")
        self._testify()

    def end(self) -> None:
        if self._witness is not None:
            self._witness.socket.close()

    @abstractmethod
    def turn(self) -> None:
        """Let the server read what was sent."""

    @property
    def cuts(self) -> bool:
        """Whether it makes sense to send in pieces."""
        return False

    @property
    def rewrites(self) -> bool:
        """Whether what is behind gets each request in the words of a proxy."""
        return False

    @property
    def address(self) -> str:
        """Where whoever answers in the end is asked by who names no host."""
        return ""

    # -- what an attacker says -----------------------------------------------------

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        fields = {"Host": self.host, "Content-Length": str(len(body))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items() if v)]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

    def handshake(self, target: str, **headers: str) -> bytes:
        """The request of a WebSocket; an empty header is left out."""
        fields = {
            "Host": self.host,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"GET {target} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.items() if v)]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def verdict(
        self,
        attempt: Callable[[list[bytes]], list[Any]],
        data: bytes,
        cut_before: bytes = b"\r",
    ) -> list[Any]:
        """What comes of some bytes, which must not depend on how they are cut.

        ``attempt`` gets the pieces; it is called with the whole, with each byte by itself,
        with two halves, and with cuts ``cut_before`` something.
        """
        verdict = attempt([data])
        if self.cuts:
            half = len(data) // 2
            assert attempt([data[:half], data[half:]]) == verdict, "in two halves"
            if len(data) <= MAX_PIECES:
                for name, pieces in segmentations(data, cut_before):
                    assert attempt(pieces) == verdict, name
        return verdict

    # -- the rules -------------------------------------------------------------------

    def _testify(self) -> None:
        assert self._witness is not None
        self._witness.send(text("still here?"))
        assert self._witness.message() == "text still here?"

    def holds(self) -> None:
        """The rules: a new client is served, the witness too, and what the server says of it."""
        with Attacker(self) as client:
            assert client.ask("GET", "/__health__")[0] == 200
        self._testify()
        self.check()

    @abstractmethod
    def check(self) -> None:
        """The rules that can be seen from inside."""


class InProcess(Siege):
    """The server in a thread: what it keeps, says and does is counted."""

    def __init__(self, file: Path = FILE) -> None:
        super().__init__()
        self._loop = Loop()
        self.server = self._loop.call(lambda: Server(App.load(file, Upstream)))
        url = self._loop.run(self.server.start())
        self.port = int(url.rpartition(":")[2])
        path = str(file.with_suffix(".py"))
        self._module: Any = [
            one for one in sys.modules.values() if getattr(one, "__file__", "") == path
        ][-1]
        self._said = _Said()
        gc.collect()
        gc.freeze()  # what pytest has gathered is not to be looked through on the server's time
        self._held = 0.0
        self._watching = self._loop.call(lambda: asyncio.ensure_future(self._watch()))
        self.begin()
        self._before: dict[str, int] = {}
        self._memory = 0

    def end(self) -> None:
        super().end()
        self._loop.call(self._watching.cancel)
        self._loop.run(self.server.close(1.0))
        self._loop.close()
        self._said.close()

    @property
    def cuts(self) -> bool:
        return True

    def turn(self) -> None:
        self._loop.run(asyncio.sleep(0))

    async def _watch(self) -> None:
        """Note how long the loop was held. Counted in time of its thread: others are patient."""
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.005)
            now = time.thread_time()
            self._held = max(self._held, now - last)
            last = now

    @property
    def heard(self) -> list[Any]:
        """What handlers have got."""
        heard: list[Any] = self._module.HEARD
        return heard

    @property
    def gone(self) -> list[Any]:
        """What handlers have noted at their end."""
        gone: list[Any] = self._module.GONE
        return gone

    @property
    def said(self) -> str:
        """What the server has logged since the attempt began."""
        return "\n".join(line for _, line in self._said.lines)

    def timers(self) -> int:
        """How many timers the loop has."""
        return len(self._loop.call(asyncio.get_running_loop)._scheduled)  # type: ignore[attr-defined]

    def end_sessions(self) -> None:
        """End what sessions there are: their client has gone, and it would take a while."""
        for endpoint in self.server._endpoints.values():
            if isinstance(endpoint, Endpoint):
                self._loop.call(endpoint.drop)

    def queued(self, sid: str) -> int:
        """How much waits for a session, in bytes; 0 if it is gone."""
        for endpoint in self.server._endpoints.values():
            if isinstance(endpoint, Endpoint) and sid in endpoint._sessions:
                return endpoint._sessions[sid].session.queued
        return 0

    def forget_errors(self) -> int:
        """How many errors of the application the server has logged; those of its own stay."""
        errors = [line for level, line in self._said.lines if level >= logging.ERROR]
        for line in errors:
            assert "<socket " in line, line
            assert str(PACKAGE) not in line, line
        self._said.lines.clear()
        return len(errors)

    def start_row(self) -> None:
        """What there is before an attempt, and must be all there is behind it."""
        self._before = self._settled(None)
        self._memory = _resident_bytes()
        self._held = 0.0
        self._said.lines.clear()

    def _settled(self, wanted: dict[str, int] | None) -> dict[str, int]:
        end = time.monotonic() + PATIENCE_S
        counts = self._loop.call(self._counted)
        while counts != wanted and time.monotonic() < end:
            time.sleep(0.005)  # sessions, threads and the system take a moment to end
            last, counts = counts, self._loop.call(self._counted)
            if wanted is None and counts == last:
                break
        return counts

    def _counted(self) -> dict[str, int]:
        return {
            "sessions": sum(map(len, self.server._endpoints.values())),
            "connections": len(self.server.connections),
            "handlers": sum(len(home.hub.runners) for home in self.server.app.homes),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        }

    def check(self) -> None:
        now = self._settled(self._before)
        assert now == self._before
        self._said.check()
        assert self._held < MAX_HOLD_S, f"the loop was held for {self._held:.3f} s"
        if _resident_bytes() - self._memory > MAX_GROWTH_BYTES:
            gc.collect()
            grown = _resident_bytes() - self._memory
            assert grown <= MAX_GROWTH_BYTES, f"memory grew by {grown >> 20} MiB"


class Proxied(InProcess):
    """The same behind another server of ours, whose proxy is what is attacked.

    It refuses what the one behind would have refused, or says the same in its own words,
    so that the verdict is the same. The witness comes through it too.
    """

    def __init__(self, folder: Path, file: Path = FILE) -> None:
        self._folder = folder
        super().__init__(file)

    def begin(self) -> None:
        self.backend = self.port
        file = self._folder / "front.rbr"
        file.write_text(FRONT.format(self.port))
        self.server.gate = replace(self.server.gate, trusted=trust(["127.0.0.1"]))
        limits = TimeLimits(half_closed=0.1)
        self._front = self._loop.call(lambda: Server(App.load(file, Upstream), limits))
        self.port = int(self._loop.run(self._front.start()).rpartition(":")[2])
        super().begin()

    def end(self) -> None:
        self._loop.run(self._front.close(1.0))
        super().end()

    @property
    def rewrites(self) -> bool:
        return True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.backend}"

    def _counted(self) -> dict[str, int]:
        return super()._counted() | {"tunnels": len(self._front.connections)}


class Optimized(Siege):
    """A process without assertions."""

    def __init__(self, serve: Serve, python: Path) -> None:
        super().__init__()
        self._server = serve(FILE, "--log", "off", python=str(python))
        self.port = self._server.port
        self.begin()

    def turn(self) -> None:
        """It reads when it reads."""

    def check(self) -> None:
        assert "Traceback" not in self._server.said()


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


class _Said(logging.Filter):
    """What the server has logged: no tracebacks for what clients do, and lines that are lines.

    A filter, which lets nothing pass to pytest: that would keep the records, and with
    them the errors, and all that those have seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []
        loggers = map(logging.getLogger, ("redbarrel_lite", "asyncio"))
        self._levels = [(one, one.level) for one in loggers]
        for one, _ in self._levels:
            one.addFilter(self)
            one.setLevel(logging.INFO)

    def close(self) -> None:
        for one, level in self._levels:
            one.removeFilter(self)
            one.setLevel(level)

    def filter(self, record: logging.LogRecord) -> bool:
        trace = "\nTraceback" if record.exc_info else ""
        self.lines.append((record.levelno, record.getMessage() + trace))
        return False

    def check(self) -> None:
        for level, line in self.lines:
            assert level < logging.ERROR, line
            assert len(line) <= MAX_LINE, line
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line), line
