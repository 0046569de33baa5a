"""python engine_peer.py URL polling|websocket|upgrade Client|AsyncClient

What python-engineio does at a path with method ENGINEIO. Prints what came of it.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from typing import Any

import engineio

TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}
SAID = ["hello", 'é € \U0001f41f "\\"', b"\x00\xff", "last"]
DEADLINE_S = 60.0


def shown(message: str | bytes) -> Any:
    return {"hex": message.hex()} if isinstance(message, bytes) else message


def talk(url: str, mode: str) -> dict[str, Any]:
    client = engineio.Client(request_timeout=DEADLINE_S)
    heard: queue.Queue[str | bytes] = queue.Queue()
    client.on("message", heard.put)
    client.connect(url, transports=TRANSPORTS[mode])
    said = []
    for message in SAID:
        client.send(message)
        said.append(shown(heard.get(timeout=DEADLINE_S)))
    for number in range(300):
        client.send(f"n{number}")
    numbers = [heard.get(timeout=DEADLINE_S) for _ in range(300)]
    seen = {"said": said, "heard": numbers, "transport": client.transport()}
    client.disconnect()
    return seen


async def talk_async(url: str, mode: str) -> dict[str, Any]:
    client = engineio.AsyncClient(request_timeout=DEADLINE_S)
    heard: asyncio.Queue[str | bytes] = asyncio.Queue()
    client.on("message", heard.put)
    await client.connect(url, transports=TRANSPORTS[mode])
    said = []
    async with asyncio.timeout(DEADLINE_S):
        for message in SAID:
            await client.send(message)
            said.append(shown(await heard.get()))
        for number in range(300):
            await client.send(f"n{number}")
        numbers = [await heard.get() for _ in range(300)]
    seen = {"said": said, "heard": numbers, "transport": client.transport()}
    await client.disconnect()
    return seen


if __name__ == "__main__":
    url, mode, kind = sys.argv[1:]
    seen = talk(url, mode) if kind == "Client" else asyncio.run(talk_async(url, mode))
    print(json.dumps(seen), flush=True)
