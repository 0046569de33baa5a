"""What ours is measured with: the same three lines as in every peer's application."""


async def hello(request):
    return "Hello World"


async def echo(globs, request):
    async for message in request.socketio:
        await request.socketio.send(message[0])


async def to_others(globs, request):
    async for message in request.socketio:
        await request.socketio.broadcast(message[0])


def echo_in_thread(globs, request):
    for message in request.socketio:
        request.socketio.send(message[0])
