"""Connect and go, ten thousand times and in every way: nothing of it may stay behind.

Each way of coming and going is a function below. They run mixed and at the same time;
afterwards sessions, connections, tasks, threads, file descriptors and the count of our
objects, type by type, are what they were.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import random
import resource
import secrets
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from conftest import TAKES_A_MINUTE
from wire import PATIENCE_S, Live, Poller, WebSocket, Wire, ask, hang_up, live, socketio

from redbarrel_lite import websocket

SEED = int(os.environ.get("RBL_CYCLES_SEED") or secrets.randbits(32))
AT_ONCE = 32

RBR = """
    path threads ( method SOCKETIO, use python:MODULE.threads );
    path coroutines ( method SOCKETIO, namespace /coroutines, use python:MODULE.coroutines );
    path guarded (
        method SOCKETIO,
        url /guarded/,
        namespace /guarded,
        use python:MODULE.threads,
        request-headers ( unless Cookie validates with python:MODULE.nobody return 401 )
    );
    path lines (
        method SOCKETIO,
        namespace /lines,
        on connect use python:MODULE.connect,
        on say use python:MODULE.say,
        on disconnect use python:MODULE.left
    );
    path kept (
        method SOCKETIO,
        url /kept/,
        namespace /kept,
        recovery 0.3,
        use python:MODULE.coroutines
    );
    path old ( method SOCKETIO, url /old/, allow-eio3 on, use python:MODULE.coroutines );
    path raw ( method WEBSOCKET, url /raw, compression on, use python:MODULE.echo );
    path engine ( method ENGINEIO, use python:MODULE.echo );
    path hasty (
        method SOCKETIO,
        url /hasty/,
        namespace /hasty,
        connect-timeout 0.2,
        ping-interval 0.2,
        ping-timeout 0.2,
        use python:MODULE.coroutines
    );
    path brief (
        method SOCKETIO,
        url /brief/,
        namespace /brief,
        upgrade-timeout 0.1,
        use python:MODULE.coroutines
    );
"""

SOURCE = """
    def threads(globs, request):
        socketio = request.socketio
        socketio.join("all")
        for message in socketio:
            if message.event == "owe":
                socketio.emit("owed", ack=print)
            socketio.broadcast(message, room="all")
            socketio.send(message)
            message.reply()

    async def coroutines(globs, request):
        socketio = request.socketio
        socketio.join("all")
        async for message in socketio:
            if message.event == "owe":
                await socketio.call("owed", timeout=60)
            socketio.send(message)
            message.reply()

    async def echo(globs, request):
        async for message in request.socketio:
            await request.socketio.send(message[0])

    def connect(globs, request, auth):
        return auth != {"no": 1}

    async def say(globs, request, *args):
        return list(args)

    def left(globs, request, reason):
        pass

    def nobody(value):
        return False
"""

HASTY = "/hasty/?EIO=4"
Way = Callable[[Live, random.Random], Awaitable[None]]


def namespace(chance: random.Random) -> str:
    return chance.choice(["", "/coroutines,"])


# -- who behaves -------------------------------------------------------------------------


async def by_websocket(server: Live, chance: random.Random) -> None:
    where = namespace(chance)
    client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
    await client.read()
    await client.text(f"40{where}")
    await client.read()
    await client.text(f'42{where}1["say","x"]')
    while not (await client.read()).startswith("43"):
        pass
    await client.text(f"41{where}")
    await client.frame(0x88, b"\x03\xe8")
    await client.read_close()
    await client.rest()
    client.close()


async def by_polling(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    await poller.post('42["say"]\x1e41\x1e40')
    while not (await poller.read()).startswith("40"):
        pass
    await poller.post("1")


async def by_upgrade(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    client = await WebSocket.connect(server.url, poller.target.replace("polling", "websocket"))
    await client.text("2probe")
    assert await client.read() == "3probe"
    await client.text("5")
    await client.text('420["say"]')
    while not (await client.read()).startswith("430"):
        pass
    await client.text("1")
    await client.read_close()
    client.close()


async def to_lines(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
    await client.read()
    await client.text("40/lines,")
    await client.read()
    await client.text('42/lines,1["say",1]')
    assert await client.read() == "43/lines,1[[1]]"
    if chance.random() < 0.5:
        await client.text("41/lines,")
    chance.choice([client.reset, client.close])()


async def by_raw_websocket(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/raw")
    await client.text("x")
    assert await client.read() == "x"
    chance.choice([client.reset, client.close])()


async def by_raw_engine(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/engine.io/?EIO=4&transport=websocket")
    await client.read()
    await client.text("4x")
    assert await client.read() == "4x"
    chance.choice([client.reset, client.close])()


async def by_old_polling(server: Live, chance: random.Random) -> None:
    target = "/old/?EIO=3&transport=polling&b64=1"
    status, _, body = await ask(server.url, "GET", target)
    assert status == 200
    target += f"&sid={json.loads(body[body.index(b'{') : body.index(b'}') + 1])['sid']}"
    assert (await ask(server.url, "POST", target, b'11:42["say",1]'))[0] == 200
    while b"message" not in (await ask(server.url, "GET", target))[2]:
        pass
    assert (await ask(server.url, "POST", target, b"1:1"))[0] == 200


async def coming_back(server: Live, chance: random.Random) -> None:
    target = "/kept/?EIO=4&transport=websocket"
    client = await WebSocket.connect(server.url, target)
    await client.read()
    await client.text("40/kept,")
    pid = json.loads((await client.read())[8:])["pid"]
    await client.text('42/kept,["say","x"]')
    offset = json.loads((await client.read())[8:])[-1]
    client.reset()
    if chance.random() < 0.7:
        client = await WebSocket.connect(server.url, target)
        await client.read()
        await client.text("40/kept," + json.dumps({"pid": pid, "offset": offset}))
        await client.read()
        client.close()


# -- who is refused ----------------------------------------------------------------------


async def to_no_namespace(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
    await client.read()
    await client.text("40/nowhere,")
    assert "Invalid namespace" in await client.read()
    client.close()


async def by_the_application(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
    await client.read()
    await client.text('40/lines,{"no":1}')
    if chance.random() < 0.5:
        assert (await client.read()).startswith("44/lines,")
    chance.choice([client.reset, client.close])()


async def against_a_rule(server: Live, chance: random.Random) -> None:
    target = "/guarded/?EIO=4&transport=polling"
    assert (await ask(server.url, "GET", target))[0] == 401


async def from_a_foreign_page(server: Live, chance: random.Random) -> None:
    target = "/socket.io/?EIO=4&transport=polling"
    assert (await ask(server.url, "GET", target, Origin="http://elsewhere"))[0] == 403


async def with_nonsense(server: Live, chance: random.Random) -> None:
    client = await socketio(server.url)
    nonsense = [b"\x81\x05hello", b"\xff\xff", b"\x81\x81abcd\xff", b"\x88\x81abcda"]
    await client.send(chance.choice(nonsense))
    await client.read_close()
    client.close()


async def with_a_bad_packet(server: Live, chance: random.Random) -> None:
    client = await socketio(server.url)
    await client.text(chance.choice(["", "9", "42", "40", '42["connect"]', "4{", "451-[]"]))
    await client.read_close()
    client.close()


async def with_a_bad_payload(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    status, _, _ = await ask(server.url, "POST", poller.target, b'42["say"]\x1ex')
    assert status == 400


async def with_two_polls(server: Live, chance: random.Random) -> None:
    poller = Poller(server.url)
    await poller.handshake()
    both = await asyncio.gather(*(ask(server.url, "GET", poller.target) for _ in range(2)))
    assert sorted(status for status, _, _ in both) == [200, 400]


# -- who goes without a word -------------------------------------------------------------


async def dropped_websocket(server: Live, chance: random.Random) -> None:
    client = await socketio(server.url)
    if chance.random() < 0.5:
        await client.text('42["say",1]')
    chance.choice([client.reset, client.close])()


async def dropped_poller(server: Live, chance: random.Random) -> None:
    poller = Poller(server.url)
    await poller.handshake()
    wire = await Wire.open(server.url)
    await wire.send(f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n")
    await poller.post("3")  # behind it, so the GET has been read
    wire.reset()


async def owing_an_answer(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, "/socket.io/?EIO=4&transport=websocket")
    where = namespace(chance)
    await client.read()
    await client.text(f"40{where}")
    await client.text(f'42{where}["owe"]')
    while "owed" not in await client.read():
        pass
    client.reset()


async def in_the_middle_of_attachments(server: Live, chance: random.Random) -> None:
    client = await socketio(server.url)
    await client.text('453-["say",{"_placeholder":true,"num":0}]')
    await client.frame(0x82, b"one of three")
    client.reset()


async def in_the_middle_of_bytes(server: Live, chance: random.Random) -> None:
    wire = await Wire.open(server.url)
    request = (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {server.host}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode() + b"\x81\x85abcd%"
    await wire.send(request[: chance.randrange(len(request) + 1)])
    chance.choice([wire.reset, wire.close])()


# -- who is half upgraded ----------------------------------------------------------------


async def breaking_off_a_probe(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    client = await WebSocket.connect(server.url, poller.target.replace("polling", "websocket"))
    if chance.random() < 0.7:
        await client.text("2probe")
        await client.read()
    chance.choice([client.reset, client.close])()
    await poller.post('420["say"]')
    while not (await poller.read()).startswith("430"):
        pass
    await poller.post("1")


async def probing_nonsense(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    client = await WebSocket.connect(server.url, poller.target.replace("polling", "websocket"))
    await client.text(chance.choice(["5", "2wrong", "4hello", "1"]))
    await client.read_close()
    client.close()
    await poller.post("1")


async def probing_twice(server: Live, chance: random.Random) -> None:
    poller = await Poller.connect(server.url)
    target = poller.target.replace("polling", "websocket")
    first = await WebSocket.connect(server.url, target)
    second = await WebSocket.connect(server.url, target)
    await second.read_close()
    second.close()
    await first.text("2probe")
    assert await first.read() == "3probe"
    await first.text("5")
    first.close()


# -- who is silent for too long ----------------------------------------------------------


async def never_connecting(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, f"{HASTY}&transport=websocket")
    await client.read_close()
    client.close()


async def never_answering_a_ping(server: Live, chance: random.Random) -> None:
    client = await WebSocket.connect(server.url, f"{HASTY}&transport=websocket")
    await client.text("40/hasty,")
    await client.read_close()
    client.close()


async def never_answering_a_close(server: Live, chance: random.Random) -> None:
    client = await socketio(server.url)
    await client.text("9")
    await client.rest()
    client.close()


async def never_polling(server: Live, chance: random.Random) -> None:
    status, _, _ = await ask(server.url, "GET", f"{HASTY}&transport=polling")
    assert status == 200


async def never_probing(server: Live, chance: random.Random) -> None:
    target = "/brief/?EIO=4&transport=polling"
    status, _, body = await ask(server.url, "GET", target)
    assert status == 200
    target += f"&sid={json.loads(body[1:])['sid']}"
    client = await WebSocket.connect(server.url, target.replace("polling", "websocket"))
    await client.read_close()
    client.close()
    assert (await ask(server.url, "POST", target, b"1"))[0] == 200


WAYS: list[Way] = [
    by_websocket,
    by_polling,
    by_upgrade,
    to_lines,
    by_raw_websocket,
    by_raw_engine,
    by_old_polling,
    coming_back,
    by_the_application,
    to_no_namespace,
    against_a_rule,
    from_a_foreign_page,
    with_nonsense,
    with_a_bad_packet,
    with_a_bad_payload,
    with_two_polls,
    dropped_websocket,
    dropped_poller,
    owing_an_answer,
    in_the_middle_of_attachments,
    in_the_middle_of_bytes,
    breaking_off_a_probe,
    probing_nonsense,
    probing_twice,
    never_connecting,
    never_answering_a_ping,
    never_answering_a_close,
    never_polling,
    never_probing,
]


async def cycle(server: Live, count: int) -> None:
    """So many cycles, some at the same time."""
    chance = random.Random(SEED)
    ways = itertools.islice(itertools.cycle(WAYS), count)

    async def some() -> None:
        for way in ways:
            try:
                async with asyncio.timeout(2 * PATIENCE_S):
                    await way(server, random.Random(chance.random()))
            except Exception as error:
                error.add_note(f"in {way.__name__}, RBL_CYCLES_SEED={SEED}")
                raise

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some())
    hang_up()


def counted(server: Live) -> Counter[str]:
    """What there is, by kind."""
    gc.collect()
    counts = Counter(
        f"{type(one).__module__}.{type(one).__qualname__}"
        for one in gc.get_objects()
        if type(one).__module__.startswith(("redbarrel_lite.", "asyncio."))
    )
    endpoints = server.server._endpoints.values()
    counts["sessions"] = sum(map(len, endpoints))
    counts["connections"] = len(server.server.connections)
    counts["runners"] = sum(len(home.hub.runners) for home in server.server.app.homes)
    counts["tasks"] = len(asyncio.all_tasks())
    counts["threads"] = threading.active_count()
    if Path("/proc/self/fd").exists():
        counts["descriptors"] = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return counts


async def settled(server: Live, before: Counter[str] | None = None) -> Counter[str]:
    """What there is when all is over, at the latest after some time: to be compared."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    await server.empties()
    counts = counted(server)
    while (before is None or counts - before) and loop.time() < end:
        await asyncio.sleep(0.1)
        last, counts = counts, counted(server)
        if before is None and counts == last:
            break
    return counts


@pytest.mark.parametrize(
    "cycles", [230, pytest.param(10_000, marks=TAKES_A_MINUTE, id="ten thousand")]
)
def test_nothing_stays_behind_however_clients_come_and_go(
    tmp_path: Path, cycles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_TIMEOUT_S", 0.2)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            await cycle(server, 4 * len(WAYS))  # what is made once is made now
            before = await settled(server)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await cycle(server, cycles)
            after = await settled(server, before)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
            kinds = "sessions connections runners tasks threads descriptors".split()
            ours = sum(n for name, n in after.items() if name.startswith("redbarrel_lite."))
            print(f"{cycles} cycles: {[(kind, before[kind], after[kind]) for kind in kinds]},")
            print(f"{ours} objects of ours before and after; memory +{grown} KiB")
            assert after - before == Counter()  # a timer may have been left to ring before
            assert grown <= 8 * 1024
            await server.serves()

    asyncio.run(test())
