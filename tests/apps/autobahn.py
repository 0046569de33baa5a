async def echo(request):
    async for message in request.socketio:
        await request.socketio.send(message[0])
