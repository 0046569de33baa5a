"""python cluster_peer.py server|writer URL

python-socketio on a Redis: a server, which prints its port and does what its clients tell it,
as tests/apps/cluster.py does; or a process without a server, which does what each line of its
input says. It runs under the Python that RBL_PEERS_PYTHON names, or pytest's own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

import socketio
from aiohttp import web


async def serve(url: str) -> None:
    server = socketio.AsyncServer(
        async_mode="aiohttp", client_manager=socketio.AsyncRedisManager(url)
    )

    @server.event  # type: ignore[untyped-decorator]
    async def join(sid: str, room: str) -> bool:
        await server.enter_room(sid, room)
        return True

    @server.event  # type: ignore[untyped-decorator]
    async def do(_sid: str, method: str, args: list[Any], options: dict[str, Any]) -> Any:
        return await getattr(server, method)(*args, **options)

    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0.1)  # it leaves a poll unanswered
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def with_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if "base64" in value else value


def write(url: str) -> None:
    manager = socketio.RedisManager(url, write_only=True)
    for line in sys.stdin:
        method, args, options = json.loads(line, object_hook=with_bytes)
        if options.pop("tuple", False):  # of which JSON has none
            args[1] = tuple(args[1])
        getattr(manager, method)(*args, **options)
        print("true", flush=True)


if __name__ == "__main__":
    _, role, where = sys.argv
    if role == "server":
        asyncio.run(serve(where))
    else:
        write(where)
