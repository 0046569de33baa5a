"""What the siege attacks by HTTP; HEARD is all that handlers have got."""

import asyncio

HEARD = []
GONE = []


async def testify(globs, request):
    async for message in request.socketio:
        await request.socketio.send(message[0])


async def hear(request):
    HEARD.append((request.method, request.target, request.host, request.body))
    return "heard"


async def slow(request):
    await asyncio.sleep(0.01)
    HEARD.append("slow")
    return "slow"


async def form(request):
    return {"fields": len(request.POST)}


async def json(request):
    return request.json
