"""What the clients of 2016 do with sockets: words, bytes, acknowledgements, rooms, namespaces."""

from redbarrel_lite import Refused


async def talk(request):
    socket = request.socketio
    socket.emit("welcome", socket.session.session_id, request.GET.get("token"))
    async for message in socket:
        if message.event == "add":
            message.reply(sum(message))
        elif message.event == "ask me":
            answer = await socket.call("question", b"\x00\xff", timeout=20)
            socket.emit("answered", *answer)
        elif message.event == "join":
            socket.join(message[0])
            message.reply()
        elif message.event == "tell":
            socket.broadcast(message[1], room=message[0], event="told")
        elif message.event == "turn me out":
            socket.close()
        elif message.wants_reply:
            message.reply(*message)
        else:
            socket.emit(message.event, *message)


async def news(request):
    socket = request.socketio
    socket.send([socket.session.session_id, socket.auth])
    async for message in socket:
        socket.send(message[0])


def only_members(globs, request):
    if (request.socketio.auth or {}).get("name") != "me":
        raise Refused("members only")
