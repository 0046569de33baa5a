"""The other end of tests/interop/js/scenarios.js; official_server.cjs speaks the same words."""

from redbarrel_lite import Refused


async def serve(request):
    socketio = request.socketio
    socketio.emit("hello", {"auth": socketio.auth, "query": dict(request.GET)})
    async for message in socketio:
        await answer(socketio, message)


async def answer(socketio, message):
    match message.event, list(message):
        case "message", said:
            await socketio.emit("message", *said)
        case "echo", said if message.wants_reply:
            await message.reply(*said)
        case "echo", said:
            await socketio.emit("echo", *said)
        case "say", [event, *said]:
            await socketio.emit(event, *said)
        case "tell room", [room, what]:
            await socketio.broadcast(what, event="told", room=room)
        case "who", []:
            await message.reply(socketio.namespace, socketio.session.session_id)
        case "ask me", [question]:
            await socketio.emit("answered", await socketio.call("question", question))
        case "ask me nothing", []:
            await socketio.emit("question")
        case "join", [room]:
            socketio.join(room)
            await message.reply()
        case "go", [_hard]:
            socketio.close()


def left(globs, request, reason):
    sid = request.socketio.session.session_id
    request.server.broadcast([sid, reason], room="witnesses", event="left")


def only_with_a_ticket(globs, request):
    if (request.socketio.auth or {}).get("ticket") != "valid":
        raise Refused("members only", {"code": 7, "why": ["no", "card"]})


def page(request):
    return '<!doctype html><title>scenarios</title><link rel="icon" href="data:,">'
