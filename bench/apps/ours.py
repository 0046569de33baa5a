"""What ours is measured with: the same three lines as in every peer's application."""

import os


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


async def to_a_room(globs, request):
    """Each client is in one room with all others, and in a number of further ones."""
    for number in range(int(os.environ["ROOMS"])):
        request.socketio.join(f"room {number}")
    async for message in request.socketio:
        await request.socketio.broadcast(message[0], room="room 0")
