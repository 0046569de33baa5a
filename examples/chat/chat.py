"""The chat of RedBarrel's announcement: plain Python, nothing imported from us."""

import json

_BUFFER = []  # what was said last, for who comes late
_KEPT = 30

_D = json.dumps


def add(message):
    _BUFFER.append(message)
    del _BUFFER[:-_KEPT]


def chat(globs, request):
    socketio = request.socketio
    sid = socketio.session.session_id

    def announce(message):
        socketio.broadcast(_D({"announcement": message}))

    if socketio.on_connect():
        announce(sid + " connected")
        socketio.send(_D({"buffer": _BUFFER}))

    while True:
        message = socketio.recv()
        if len(message) == 1:
            message = {"message": [sid, message[0]]}
            text = _D(message)  # what is not JSON fails here, before it is kept
            add(message)
            socketio.broadcast(text)
        else:
            if not socketio.connected():
                announce(sid + " disconnected")
