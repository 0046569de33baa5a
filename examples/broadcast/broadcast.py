"""The broadcast of 2011: whoever is connected says so, and all the others hear it."""

import asyncio

SECONDS = 2


async def broadcast(request):
    """One for each client; it ends when its client has gone."""
    socketio = request.socketio
    while socketio.connected():
        socketio.broadcast([socketio.session.session_id, "I am alive"])
        await asyncio.sleep(SECONDS)
