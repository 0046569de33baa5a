"""python-socketio on aiohttp, or, as `app`, on an ASGI server: MODE=echo|fanout."""

import os
import sys

import socketio

HELLO = b"Hello World"
on_aiohttp = __name__ == "__main__"
sio = socketio.AsyncServer(async_mode="aiohttp" if on_aiohttp else "asgi")


@sio.on("message")
async def message(sid, data):
    if os.environ["MODE"] == "echo":
        await sio.send(data, to=sid)
    else:
        await sio.send(data, skip_sid=sid)


async def hello(scope, receive, send):
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"11")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": HELLO})


if on_aiohttp:
    from aiohttp import web

    async def answer(request):
        return web.Response(body=HELLO, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", answer)
    sio.attach(application)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
else:
    app = socketio.ASGIApp(sio, other_asgi_app=hello)
