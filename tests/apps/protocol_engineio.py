"""The server that the test suite of the Engine.IO 4 document expects to find."""


async def echo(globs, request):
    async for (message,) in request.socketio:
        await request.socketio.send(message)
