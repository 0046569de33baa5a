"""Says back what it hears, in the order heard: once on a thread, once on the loop."""


def echo(globs, request):
    while True:
        for argument in request.socketio.recv():
            request.socketio.send(argument)


async def echo_async(globs, request):
    while True:
        for argument in await request.socketio.recv():
            await request.socketio.send(argument)
