"""aiohttp by itself: hello world at /, a WebSocket at /ws: MODE=echo|fanout."""

import os
import sys

from aiohttp import WSMsgType, web

sockets = set()


async def hello(request):
    return web.Response(body=b"Hello World", content_type="text/html")


async def websocket(request):
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    sockets.add(socket)
    async for message in socket:
        if message.type is not WSMsgType.TEXT:
            continue
        if os.environ["MODE"] == "echo":
            await socket.send_str(message.data)
        else:
            for other in tuple(sockets):
                if other is not socket:
                    await other.send_str(message.data)
    sockets.discard(socket)
    return socket


application = web.Application()
application.router.add_get("/", hello)
application.router.add_get("/ws", websocket)
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
