"""python chat_peer.py URL polling|websocket|upgrade Client|AsyncClient

The scenario of chat.cjs with python-socketio: prints who took part and what
each heard; pytest judges. It runs under the Python that RBL_PEERS_PYTHON names, or pytest's own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import socketio

TRANSPORTS = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}
LINES = [f"line {number}" for number in range(35)]
DEADLINE_S = 60


class Person:
    """Either kind of client behind one face; the blocking kind works in threads."""

    def __init__(self, kind: str) -> None:
        self.client = getattr(socketio, kind)(reconnection=False, request_timeout=DEADLINE_S)
        self.log: list[Any] = []
        self._news = asyncio.Condition()
        self._loop = asyncio.get_running_loop()
        self._blocking = kind == "Client"
        self.client.on("message", self._heard if self._blocking else self._note)

    def _heard(self, data: Any) -> None:  # called in a thread of the client's
        asyncio.run_coroutine_threadsafe(self._note(data), self._loop).result()

    async def _note(self, data: Any) -> None:
        async with self._news:
            self.log.append(json.loads(data) if isinstance(data, str) else data)
            self._news.notify_all()

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        function = getattr(self.client, method)
        if self._blocking:
            return await asyncio.to_thread(function, *args, **options)
        return await function(*args, **options)

    async def heard(self, count: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: len(self.log) >= count)


async def scenario(url: str, mode: str, kind: str) -> dict[str, Any]:
    async def enter() -> Person:
        person = Person(kind)
        await person.call("connect", url, transports=TRANSPORTS[mode], wait_timeout=DEADLINE_S)
        await person.heard(1)  # the buffer
        return person

    a = await enter()
    b = await enter()
    await a.heard(2)

    await a.call("send", "hello ✓ \U0001f600")
    await b.heard(2)
    await b.call("send", '"quoted" \\ \u2028 back')
    await a.heard(3)
    for line in LINES:
        await a.call("send", line)
    await b.heard(2 + len(LINES))

    c = await enter()  # the late-comer
    await a.heard(4)
    await b.heard(3 + len(LINES))
    people = {"a": a, "b": b, "c": c}
    ids = {name: person.client.get_sid() for name, person in people.items()}
    transports = [person.client.transport() for person in people.values()]

    await b.call("disconnect")
    await a.heard(5)
    await c.heard(2)
    # Had the sender got its own words, or anybody anything twice, it would stand before these.
    await c.call("send", "the end")
    await a.heard(6)
    await a.call("send", "the end")
    await c.heard(3)
    logs = {name: list(person.log) for name, person in people.items()}
    for person in (a, c):
        await person.call("disconnect")
    return {"ids": ids, "transports": transports, **logs}


async def main() -> None:
    print(json.dumps(await asyncio.wait_for(scenario(*sys.argv[1:]), DEADLINE_S)))


asyncio.run(main())
