"""Says back what it hears, text as text and bytes as bytes; closes when it is told to."""


def door(globs, request):
    return request.GET.get("token") != "wrong"


async def echo(request):
    socket = request.socketio
    async for message in socket:
        if message == ["go"]:
            socket.close("gone", code=4000)
        elif message == ["to the others"]:
            socket.broadcast(b"\x00\xff")
        else:
            socket.send(message[0])
