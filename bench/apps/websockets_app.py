"""websockets: MODE=echo|fanout."""

import asyncio
import os
import sys

from websockets.asyncio.server import broadcast, serve

sockets = set()


async def handle(socket):
    sockets.add(socket)
    try:
        async for message in socket:
            if os.environ["MODE"] == "echo":
                await socket.send(message)
            else:
                broadcast(sockets - {socket}, message)
    finally:
        sockets.discard(socket)


async def main():
    server = serve(handle, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=1024)
    async with server:
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
