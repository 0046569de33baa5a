"""Joins rooms, and calls whatever method of the server it is asked to."""

import inspect


def join(request, room):
    request.socketio.join(room)
    return True


async def do(request, method, args, options):
    result = getattr(request.server, method)(*args, **options)
    return await result if inspect.isawaitable(result) else None


async def raw(globs, request):
    async for message in request.socketio:
        request.socketio.broadcast(message[0])
