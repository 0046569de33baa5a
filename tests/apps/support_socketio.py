"""The server that the tests of socket.io-client expect to find: what each of them asks for."""

import asyncio
from datetime import UTC, datetime

from redbarrel_lite import Refused

TEXTS = ("てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string")


async def late(host):
    """Take a moment, so that a client that allows none gives up."""
    await asyncio.sleep(0.01)
    return True


async def refuse(request):
    raise Refused("Auth failed (custom namespace)")


# -- what is answered ----------------------------------------------------------------


async def echo(request, x):
    return x


async def get_id(request):
    return request.socketio.session.session_id


async def get_handshake(request):
    return {"query": dict(request.GET), "auth": request.socketio.auth or {}}


async def now(request, *_):
    return datetime.now(UTC).isoformat()


# -- what is sent -------------------------------------------------------------------


async def hi(request):
    await request.socketio.emit("hi")


async def tell(request):
    await request.socketio.emit("handshake", await get_handshake(request))


async def get_date(request):
    await request.socketio.emit("takeDate", await now(request))


async def get_date_obj(request):
    await request.socketio.emit("takeDateObj", {"date": await now(request)})


async def get_utf8(request):
    for text in TEXTS:
        await request.socketio.emit("takeUtf8", text)


async def false(request):
    await request.socketio.emit("false", False)


async def doge(request):
    await request.socketio.emit("doge", b"asdfasdf")


async def getbin(request):
    await request.socketio.emit("takebin", b"asdfasdf")


# -- what is looked at: a wrong message gets no word, and its test waits in vain --------


async def buffa(request, data):
    if isinstance(data, bytes):
        await request.socketio.emit("buffack")


async def blob(request, data):
    if isinstance(data, bytes):
        await request.socketio.emit("back")


def is_mixed(data):
    match data:
        case {"hello": "lol", "message": bytes(), "goodbye": "gotcha"}:
            return True
    return False


async def jsonbuff(request, data):
    if is_mixed(data):
        await request.socketio.emit("jsonbuff-ack")


async def jsonblob(request, data):
    if is_mixed(data):
        await request.socketio.emit("jsonblob-ack")


async def first(request, data):
    if isinstance(data, bytes):
        request.socketio.session["seen"] = 1


async def abuff2(request, data):
    if request.socketio.session.get("seen") == 1:
        await request.socketio.emit("abuff2-ack")


async def blob2(request, data):
    if request.socketio.session.get("seen") == 1 and data == "second":
        request.socketio.session["seen"] = 2


async def blob3(request, data):
    if request.socketio.session.get("seen") == 2 and isinstance(data, bytes):
        await request.socketio.emit("blob3-ack")


# -- what is never answered, though some clients ask for that ----------------------------


async def ask_back(globs, request):
    socket = request.socketio

    def answered(*args):
        match args:
            case 5, {"test": True}:
                socket.emit("got it")

    async for message in socket:
        if message.event == "ack":
            await socket.emit("ack", ack=answered)


async def quiet(globs, request):
    async for _ in request.socketio:
        pass
