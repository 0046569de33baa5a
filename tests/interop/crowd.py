"""Many clients in one process, which keep account of all that they hear, in what order.

    async with Crowd(urls, 200, 9) as crowd: ...

A client names its room in a header of its handshake, and the application tells it where it
is: `42["here",MACHINE,WORKER]`. What is counted are the events `42["n",SENDER,NUMBER]`, of
which a sender says one after the other. They are found by regular expressions, for there are
very many of them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

AGAIN_S = 0.1
MOVING = 20  # of those who are where the most are, when there are none elsewhere
_HERE = re.compile(rb'42\["here",(\d+),(\d+)\]')
_QUERY = "/socket.io/?EIO=4&transport="


class Account:
    """What a client has heard of one sender: runs without a gap in the numbers that are for it."""

    def __init__(self, sender: int, numbers: Sequence[bytes]) -> None:
        self.lives: list[list[tuple[int, int]]] = [[]]  # the runs of each
        self._numbers = numbers
        self._pattern = re.compile(rb'\["n",%d,(\d+)\]' % sender)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Those of this life."""
        return self.lives[-1]

    @property
    def until(self) -> int:
        return self.runs[-1][1] if self.runs else 0

    def hear(self, data: bytes) -> None:
        heard = self._pattern.findall(data)
        if not heard:
            return
        start = self.until
        if self.runs and heard == self._numbers[start : start + len(heard)]:
            self.runs[-1] = self.runs[-1][0], start + len(heard)
            return
        for place in map(self._numbers.index, heard):  # of one that is not for it there is none
            if self.runs and place == self.until:
                self.runs[-1] = self.runs[-1][0], place + 1
            else:
                self.runs.append((place, place + 1))


class Listener:
    """One client, which comes again when its connection breaks."""

    def __init__(self, url: str, address: str, room: int, *, polls: bool) -> None:
        self.polls = polls
        self.room = room
        self.place = (0, 0)  # the machine and the worker that it is at
        self.lives = 0
        self.ends: list[str] = []  # of its lives: how each was cut
        self.accounts: dict[int, Account] = {}
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._address = address
        self._writer: asyncio.StreamWriter | None = None
        self._there, self._again = asyncio.Event(), asyncio.Event()
        self._awaited: list[tuple[int, int, asyncio.Future[None]]] = []

    # -- for the test ------------------------------------------------------------------

    async def there(self) -> None:
        await self._there.wait()

    async def comes_again(self) -> None:
        """Wait until it is there another time."""
        await self._again.wait()

    async def moves(self) -> None:
        """Go, and come again; whether to another worker is chance. This is its first life then."""
        assert self._writer is not None
        self._writer.close()
        await self.comes_again()
        self._again.clear()
        self.lives = 1
        self.ends.clear()

    async def hears(self, sender: int, until: int) -> None:
        """Wait until it has heard so many of them. Who is cut meanwhile may never hear them."""
        if self.accounts[sender].until < until:
            heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.append((sender, until, heard))
            await heard

    @property
    def waits(self) -> bool:
        """Whether it has still to come, or to hear what it is waited for."""
        return not self._there.is_set() or bool(self._awaited)

    def say(self, *event: object) -> None:
        """Over WebSocket: one text frame, masked by zeros (RFC 6455 5.3)."""
        assert self._writer is not None
        content = b"42" + json.dumps(event).encode()
        assert len(content) < 126
        self._writer.write(bytes([0x81, 0x80 | len(content), 0, 0, 0, 0]) + content)

    # -- its life ----------------------------------------------------------------------

    async def live(self) -> None:
        while True:
            self._there.clear()
            self.lives += 1
            for account in self.accounts.values():
                account.lives.append([])
            how = "closed"
            try:
                reader, writer = await self._connect()
                await (self._poll if self.polls else self._listen)(reader, writer)
            except (OSError, EOFError) as error:
                how = repr(error)
            finally:
                if self._writer is not None:
                    self._writer.close()
            self._note_end(how)
            await asyncio.sleep(AGAIN_S)

    def _note_end(self, how: str) -> None:
        self.ends.append(how)
        for _, _, heard in self._awaited:
            if not heard.done():
                heard.set_exception(AssertionError(self.told()))
        self._awaited.clear()

    def told(self) -> str:
        """What is to be known if it does not hear what it should."""
        kind = "polls" if self.polls else "has a WebSocket"
        heard = {sender: account.lives for sender, account in self.accounts.items()}
        awaited = [(sender, until) for sender, until, _ in self._awaited]
        where = f"{self._address} at port {self._port}, in room {self.room}, at {self.place}"
        return f"{where}, {kind}, has heard {heard}, awaits {awaited}, was cut by {self.ends}"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._address, 0), limit=1 << 22
        )
        return reader, self._writer

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            f"GET {_QUERY}websocket HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Room: {self.room}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            return
        writer.write(b"\x81\x82\0\0\0\x0040")  # the packet that joins the namespace
        rest = b""
        while data := await reader.read(1 << 18):
            whole, end, rest = (rest + data).rpartition(b"]")
            self._hear(whole + end)

    async def _poll(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def asked(method: str, query: str, body: bytes = b"") -> bytes:
            nonlocal reader, writer
            writer.write(
                f"{method} {_QUERY}polling{query} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
                f"Room: {self.room}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = re.search(rb"\ncontent-length: (\d+)", head)
            if not head.startswith(b"http/1.1 200") or length is None:
                raise EOFError(method, head)
            content = await reader.readexactly(int(length[1]))
            if b"\nconnection: close" in head:  # as nginx says to each thousandth request
                writer.close()
                reader, writer = await self._connect()
            return content

        sid = json.loads((await asked("GET", ""))[1:])["sid"]
        await asked("POST", f"&sid={sid}", b"40")
        while True:
            self._hear(await asked("GET", f"&sid={sid}"))

    def _hear(self, data: bytes) -> None:
        if not self._there.is_set():
            here = _HERE.search(data)
            if here:
                self.place = int(here[1]), int(here[2])
                self._there.set()
                if self.lives > 1:
                    self._again.set()
        for account in self.accounts.values():
            account.hear(data)
        for one in tuple(self._awaited):
            sender, until, heard = one
            if self.accounts[sender].until >= until:
                self._awaited.remove(one)
                heard.set_result(None)


class Crowd:
    """All of them: by turns behind each url, polling and over WebSocket."""

    def __init__(self, urls: Sequence[str], count: int, rooms: int, places: int) -> None:
        """``rooms`` are numbered from 1 on, and each client is in one of them.

        There are some of both kinds at each of so many ``places``.
        """
        self.listeners = [
            Listener(urls[i % 2], f"127.0.1.{i + 1}", i % rooms + 1, polls=bool(i // 2 % 2))
            for i in range(count)
        ]
        self._places = places
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        self._tasks = [asyncio.create_task(one.live()) for one in self.listeners]
        await self.all_there()
        while not self._is_mixed():
            most = max(self.by_place().values(), key=len)
            await asyncio.gather(*(one.moves() for one in most[:MOVING]))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def told(self) -> str:
        """Of those that wait, or were cut."""
        return "\n".join(one.told() for one in self.listeners if one.waits or one.ends)

    async def all_there(self) -> None:
        for one in self.listeners:
            await one.there()

    def expect(self, senders: Iterable[int], numbers: Callable[[int], Iterable[int]]) -> None:
        """Begin an account of these senders; each says to a room these numbers, in this order."""
        senders = tuple(senders)
        rooms = {one.room for one in self.listeners}
        spelled = {room: [b"%d" % number for number in numbers(room)] for room in rooms}
        for one in self.listeners:
            one.accounts = {sender: Account(sender, spelled[one.room]) for sender in senders}

    def _is_mixed(self) -> bool:
        kinds = [{one.polls for one in there} for there in self.by_place().values()]
        return kinds == [{False, True}] * self._places

    def by_place(self) -> dict[tuple[int, int], list[Listener]]:
        places: dict[tuple[int, int], list[Listener]] = {}
        for one in self.listeners:
            places.setdefault(one.place, []).append(one)
        return places
