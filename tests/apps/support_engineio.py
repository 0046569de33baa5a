"""The server that the tests of engine.io-client expect to find."""

import json


def may(globs, request, host):
    return "deny" not in request.GET


async def support(globs, request):
    socket = request.socketio
    await socket.send("hi")
    async for (message,) in socket:
        match message:
            case "give binary":
                await socket.send(bytes(range(5)))
            case "give utf8":
                await socket.send("пойду спать всем спокойной ночи")
            case "sendHeaders":
                await socket.send(json.dumps(dict(socket.headers)))
            case _:
                await socket.send(message)
