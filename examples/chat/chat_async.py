"""The same chat as coroutines: thousands of them cost less than as many threads."""

import json

from chat import _BUFFER, add


async def chat(request):
    socketio = request.socketio
    sid = socketio.session.session_id

    def announce(message):
        socketio.broadcast(json.dumps({"announcement": message}))

    announce(sid + " connected")
    socketio.send(json.dumps({"buffer": _BUFFER}))

    async for (text,) in socketio:
        message = {"message": [sid, text]}
        add(message)
        socketio.broadcast(json.dumps(message))

    announce(sid + " disconnected")
