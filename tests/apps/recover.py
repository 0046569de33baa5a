"""Says something to a room, and tells a client whether it has been here before."""


def connect(globs, request):
    socket = request.socketio
    if not socket.recovered:
        socket.join("room")
    socket.emit("welcome", socket.recovered, socket.session.get("note"), sorted(socket.rooms))


def remember(globs, request, note):
    request.socketio.session["note"] = note


def tell(globs, request):
    request.server.broadcast(request.text, room="room")
    request.server.broadcast({"content": request.body}, room="room")


def count(request):
    return [len(request.server.sockets())]
