"""Numbers what is said in its rooms, repeats what it hears, and tells what it holds."""

import asyncio
import gc
import json
import re
import sys
import threading
import time
from collections import Counter

said = Counter()  # by room: how much, which is the number of the last message

# -- rooms ---------------------------------------------------------------------------


async def join(globs, request, room):
    request.socketio.join(room)
    return said[room]


async def leave(globs, request, room):
    request.socketio.leave(room)
    return said[room]


async def say(globs, request, room, sender, seq, body):
    said[room] += 1
    message = {"room": room, "n": said[room], "sender": sender, "seq": seq, "body": body}
    request.socketio.broadcast(message, room=room, event="said")
    return message["n"]


async def shout(globs, request, room, sender, seq):
    said[room] += 1
    message = {"room": room, "n": said[room], "sender": sender, "seq": int(seq)}
    request.server.broadcast(message | {"body": request.body}, room=room, event="said")
    return [message["n"]]


async def where(globs, request, room):
    return said[room]


async def echo(globs, request, *args):
    return args


# -- who repeats ---------------------------------------------------------------------


def loop(globs, request):
    socketio = request.socketio
    for message in socketio:
        if message.event == "ask":
            try:
                message.reply(socketio.call("sure", *message, timeout=60))
            except TimeoutError:
                message.reply("too late")
        else:
            socketio.send(message[0])


async def repeat(globs, request):
    async for message in request.socketio:
        await request.socketio.send(message[0])


# -- services ------------------------------------------------------------------------


def add(request, a, b="1"):
    return {"sum": int(a) + int(b)}


async def count(request, upto):
    for number in range(int(upto)):
        await asyncio.sleep(0)
        yield f"{number}\n"


def body(request):
    return request.body


def form(request):
    return {"bytes": len(request.POST["file"].file.read()), "name": request.POST["name"]}


# -- the clock on the wall, which must not matter ---------------------------------------

_time, _time_ns = time.time, time.time_ns
_ahead = 0.0


def step_clock(request, seconds):
    global _ahead  # noqa: PLW0603
    _ahead = float(seconds)
    time.time = lambda: _time() + _ahead
    time.time_ns = lambda: _time_ns() + int(_ahead * 1e9)


# -- what there is -----------------------------------------------------------------------


GROUPS = ("/", "/loop", "/ws", "/engine.io/")


async def turn_out(request):
    for name in GROUPS:
        for socket in request.server.sockets(name):
            socket.close()


async def status(request, objects="0"):
    told = {
        "tasks": len(asyncio.all_tasks()),
        "blocks": sys.getallocatedblocks(),
        "threads": Counter(kind_of(thread.name) for thread in threading.enumerate()),
        "sockets": {name: len(request.server.sockets(name)) for name in GROUPS},
    }
    if objects == "1":
        gc.collect()
        kinds = Counter(map(type, gc.get_objects()))
        told["objects"] = {
            f"{kind.__module__}.{kind.__qualname__}": number
            for kind, number in kinds.items()
            if kind.__module__.startswith(("redbarrel_lite", "asyncio", "_asyncio", "_socket"))
        }
    return json.loads(json.dumps(told))


def kind_of(name):
    """A thread's name without its number."""
    return re.sub(r"\d+", "N", name)
