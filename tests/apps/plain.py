def page(request):
    return "<!DOCTYPE html><title>plain</title>"


async def connect(request):
    return request.GET.get("token") != "wrong"


async def talk(request):
    socket = request.socketio
    socket.send(f"hello, {socket.subprotocol or 'whoever'}")
    async for message in socket:
        if message[0] == "close":
            socket.close("see you", 4001)
        elif message[0] == "fail":
            socket.close(code=1011)
        else:
            await socket.send(message[0])
