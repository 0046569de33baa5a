"""The server that the test suite of the Socket.IO 5 document expects to find."""


async def main(globs, request):
    socket = request.socketio
    await socket.emit("auth", socket.auth or {})
    async for message in socket:
        if message.wants_reply:
            await message.reply(*message)
        else:
            await socket.emit("message-back", *message)
