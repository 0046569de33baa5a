"""python plain_peer.py URL: what aiohttp's WebSocket client does at tests/apps/plain.rbr.

Prints what came of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import aiohttp


async def talk(url: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    async with aiohttp.ClientSession() as session:
        offers = ("talk.v1", "talk.v2")
        a = await session.ws_connect(f"{url}/ws", protocols=offers, compress=15)
        seen["greeting"] = await a.receive_str()
        seen["chosen"] = a.protocol
        seen["compress"] = a.compress
        seen["said"] = []
        for text in ("hello", "", "é€\U0001f41f " * 20_000):
            await a.send_str(text)
            seen["said"].append(await a.receive_str() == text)
        for data in (bytes(range(250)) * 20, b""):
            await a.send_bytes(data)
            seen["said"].append(await a.receive_bytes() == data)
        for number in range(300):
            await a.send_str(f"{number} {'x' * number * 10}")
        seen["heard"] = [int((await a.receive_str()).split()[0]) for _ in range(300)]
        await a.send_str("close")
        end = await a.receive()
        seen["closedByServer"] = [end.data, end.extra]
        b = await session.ws_connect(f"{url}/ws")
        seen["other"] = await b.receive_str()
        seen["closedByClient"] = await b.close(code=4002, message=b"enough")
        try:
            await session.ws_connect(f"{url}/ws?token=wrong")
        except aiohttp.WSServerHandshakeError as error:
            seen["refused"] = error.status
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(talk(sys.argv[1]))))
