"""python reconnect_peer.py URL

python-socketio's four clients over each transport, which lose the server and find it again.
Prints a line when all are connected, and one when all are back and were answered.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import socketio
from python_peer import DEADLINE_S, MODES

KINDS = ["Client", "AsyncClient", "SimpleClient", "AsyncSimpleClient"]
QUICK = {
    "reconnection_delay": 0.05,
    "reconnection_delay_max": 0.2,
    "request_timeout": DEADLINE_S,
}


class Person:
    def __init__(self, kind: str, mode: str) -> None:
        self.name = f"{kind} {mode}"
        self.mode = mode
        self.simple = "Simple" in kind
        self.client = getattr(socketio, kind)(**QUICK)

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        function = getattr(self.client, method)
        if inspect.iscoroutinefunction(function):
            return await function(*args, **options)
        return await asyncio.to_thread(function, *args, **options)

    async def connect(self, url: str) -> str:
        await self.call("connect", url, transports=MODES[self.mode], wait_timeout=DEADLINE_S)
        return self.sid()

    def sid(self) -> str:
        sid: str = self.client.sid if self.simple else self.client.get_sid()
        return sid

    async def back(self, before: str) -> tuple[str, str]:
        """What the server says who this is, and what the client thinks.

        No event of these clients says that they are back; and a question may be lost.
        """
        while True:
            try:
                _, sid = await self.call("call", "who", timeout=1)
                if sid != before:
                    return sid, self.sid()
            except socketio.exceptions.SocketIOError:
                pass
            await asyncio.sleep(0.1)


async def main(url: str) -> None:
    people = [Person(kind, mode) for kind in KINDS for mode in MODES]
    async with asyncio.timeout(DEADLINE_S):
        first = await asyncio.gather(*(person.connect(url) for person in people))
        print(json.dumps({"step": "connected"}), flush=True)
        back = await asyncio.gather(*map(Person.back, people, first))
    names = [person.name for person in people]
    told = {"first": dict(zip(names, first, strict=True))}
    print(json.dumps(told | {"answers": dict(zip(names, back, strict=True))}), flush=True)
    for person in people:
        await person.call("disconnect")


asyncio.run(main(*sys.argv[1:]))
