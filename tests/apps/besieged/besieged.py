"""What the siege attacks; HEARD is all that handlers have got."""

HEARD = []
GONE = []
GIFTS = {"set": {1}, "object": object(), "bytes": b"x", "none": None, "nan": float("nan")}


async def testify(globs, request):
    async for message in request.socketio:
        await request.socketio.send(message[0])


async def echo(globs, request):
    async for message in request.socketio:
        HEARD.append(message[0])
        await request.socketio.send(message[0])
    GONE.append(request.socketio.close_code)


async def fail(globs, request):
    await request.socketio.recv()
    raise RuntimeError("on purpose")


async def say_why(globs, request):
    code, reason = (await request.socketio.recv())[0].split(" ", 1)
    request.socketio.close(reason, int(code))


def is_known(globs, request, value):
    return value == "name=ann"


async def listen(globs, request):
    socketio = request.socketio
    async for message in socketio:
        HEARD.append([message.event, *message])
        if message.event == "ask":
            socketio.emit("asked", ack=lambda *args: HEARD.append(["answered", *args]))
        if message.event == "flood":
            for _ in range(message[0]):
                await socketio.send("x" * 10_000)
        if message.event == "echo":
            socketio.emit("echo", *message)
        message.reply(*message)
    GONE.append(socketio.session.session_id)


def block(globs, request):
    for message in request.socketio:
        HEARD.append([message.event, *message])
        request.socketio.emit("echo", *message)


def on_connect(globs, request):
    return not request.socketio.auth


def two(globs, request, one, other):
    return [one, other]


def give(globs, request, what):
    return GIFTS[what]


def enter(globs, request, room):
    return sorted(request.socketio.rooms)


def on_disconnect(globs, request, reason):
    GONE.append(reason)


def admin(globs, request):
    HEARD.append("admin")
    return "secret"
