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

    async for message in socketio:
        if len(message) == 1:
            said = {"message": [sid, message[0]]}
            text = json.dumps(said)  # what is not JSON fails here, before it is kept
            add(said)
            socketio.broadcast(text)

    announce(sid + " disconnected")
