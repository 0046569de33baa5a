"""Workers that hand connections to each other: real servers, each on a port of its own, here."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import resource
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import SOCKET_IO, Live, Poller, WebSocket, Wire, ask, live, run, serving_tls, until

from redbarrel_lite.accesslog import Entry
from redbarrel_lite.counting import CountingServer
from redbarrel_lite.handing import Relay, WorkerConnection
from redbarrel_lite.lingering import Lingering
from redbarrel_lite.mesh import Seat
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.response import Response
from redbarrel_lite.tap import Tap, Tapped, TappedTransport

RBR = """
path who ( method GET|POST, url /who, use python:MODULE.who );
path wait ( url /wait, use python:MODULE.wait );
path chat ( method SOCKETIO, allow-eio3 on, on say use python:MODULE.say );
path raw ( method ENGINEIO, url /engine, use python:MODULE.echo );
"""
SOURCE = """
import asyncio
NUMBER = {number}
def who(globs, request):
    return f"{{NUMBER}} {{request.remote_addr}} " + request.body.decode()
GO = asyncio.Event()
async def wait(globs, request):
    await GO.wait()
    return f"{{NUMBER}} waited"
async def say(globs, request, words):
    return f"{{NUMBER}} {{words}}"
async def echo(globs, request):
    async for message in request.socketio:
        request.socketio.send(f"{{NUMBER}}{{message[0]}}")
"""
UNKNOWN = '{"code":1,"message":"Session ID unknown"}'


@contextlib.asynccontextmanager
async def crowd(
    count: int, folder: Path, tls: ssl.SSLContext | None = None, **others: Any
) -> AsyncIterator[list[Live]]:
    """So many workers, who know each other."""
    async with contextlib.AsyncExitStack() as stack:
        # That of pytest is too long for a socket.
        doors = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = []
        for number in range(count):
            door = socket.socket(socket.AF_UNIX)
            door.bind(str(doors / str(number)))
            door.listen()
            seat = Seat(number, count, doors, door)
            own = folder / f"of-{number}"
            own.mkdir()
            source = SOURCE.format(number=number)
            servers.append(
                await stack.enter_async_context(
                    live(own, RBR, source, tls=tls, seat=seat, **others)
                )
            )
        assert all(len(one.server.mesh.others) == count - 1 for one in servers)
        yield servers


def who(number: int | None, body: str = "") -> bytes:
    """A request that a worker is to answer; None: whoever has the connection."""
    sid = "" if number is None else f"?t=1&sid={number}.{'x' * 22}"
    return f"GET /who{sid} HTTP/1.1\r\nHost: a\r\n{body}\r\n".encode()


def post(number: int, body: str, *, chunked: bool) -> bytes:
    head = f"POST /who?sid={number}.x HTTP/1.1\r\nHost: a\r\n"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    chunks = "".join(f"1\r\n{one}\r\n" for one in body)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n".encode()


async def answers(wire: Wire, count: int) -> list[str]:
    found = []
    for _ in range(count):
        status, _, body = await wire.answer()
        assert status == 200
        found.append(body.decode().strip())
    return found


class Wanderer(Poller):
    """A client that polls, each request of which comes to another worker."""

    def __init__(self, workers: list[Live]) -> None:
        super().__init__(workers[0].url)
        self._urls = self._around([one.url for one in workers])
        self.number = 0

    @staticmethod
    def _around(urls: list[str]) -> Iterator[str]:
        while True:
            yield from urls

    async def handshake(self) -> dict[str, Any]:
        handshake = await super().handshake()
        self.number = int(self.sid.partition(".")[0])
        return handshake

    async def get(self) -> str:
        self.url = next(self._urls)
        return await super().get()

    async def post(self, payload: str) -> None:
        self.url = next(self._urls)
        await super().post(payload)


def test_connection_that_is_handed_around_has_come_but_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, kind=CountingServer) as workers:
            wire = await Wire.open(workers[0].url)
            for number in (0, 1, 0, 1):
                await wire.send(who(number))
                assert (await answers(wire, 1))[0].startswith(str(number))
            came = [one.server.numbers.connections for one in workers]  # type: ignore[attr-defined]
            assert came == [1, 0]

    run(test())


def test_client_that_polls_is_served_by_its_owner_wherever_it_comes(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(3, tmp_path) as workers:
            wanderers = [Wanderer(workers[number:] + workers[:number]) for number in range(3)]
            for number, one in enumerate(wanderers):
                await one.handshake()
                assert one.number == number
                await one.post("40")
                assert (await one.read()).startswith('40{"sid":')
            for turn in range(5):
                for number, one in enumerate(wanderers):
                    await one.post(f'42{turn}["say","{turn}"]')
                    assert await one.read() == f'43{turn}["{number} {turn}"]'
                    polled = asyncio.create_task(one.read())  # it waits at its owner
                    await until(lambda: any(live.busy() for live in workers))
                    await one.post('420["say","now"]')
                    assert await polled == f'430["{number} now"]'

    run(test())


def test_upgrade_ends_up_at_its_owner_without_anybody_between(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first, second = workers
            poller = await Poller.connect(first.url)
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            websocket = await WebSocket.connect(second.url, target)
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            await websocket.text("5")
            await websocket.text('421["say","up"]')
            assert await websocket.read() == '431["0 up"]'
            await until(lambda: not second.server.connections)

    run(test())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_body_is_asked_for_by_the_owner(tmp_path: Path, secure: bool) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, serving_tls() if secure else None) as workers:
            wire = await Wire.open(workers[0].url)
            for number in (1, 0, 1):
                for chunked in (False, True):
                    head, end, body = post(number, "body", chunked=chunked).partition(b"\r\n\r\n")
                    await wire.send(head + b"\r\nExpect: 100-continue" + end)
                    assert (await wire.answer())[0] == 100
                    await wire.send(body)
                    assert await answers(wire, 1) == [f"{number} 127.0.0.1 body"]

    run(test())


@pytest.mark.parametrize("path", ["/socket.io/?EIO=3", "/engine/?EIO=4"])
def test_old_clients_and_those_without_socketio_too(tmp_path: Path, path: str) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            _, _, body = await ask(workers[1].url, "GET", f"{path}&transport=polling")
            text = body.decode()
            sid = json.loads(text[text.index("{") : text.rindex("}") + 1])["sid"]
            assert sid.startswith("1.")
            target = f"{path}&transport=polling&sid={sid}"
            for message in ("one", "two"):
                said = f'421["say","{message}"]' if "EIO=3" in path else f"4{message}"
                framed = f"{len(said)}:{said}" if "EIO=3" in path else said
                status, _, body = await ask(workers[0].url, "POST", target, framed.encode())
                assert (status, body) == (200, b"ok")
                heard = b""
                while message.encode() not in heard:
                    status, _, heard = await ask(workers[0].url, "GET", target)
                    assert status == 200
                assert f'["1 {message}"]' in heard.decode() or heard == f"41{message}".encode()

    run(test())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_one_connection_serves_sessions_of_all_in_order(tmp_path: Path, secure: bool) -> None:
    async def test() -> None:
        async with crowd(3, tmp_path, serving_tls() if secure else None) as workers:
            wire = await Wire.open(workers[0].url)
            for number in (0, 1, 1, 2, 0, 2, 1, 0):  # one after the other
                await wire.send(who(number))
                assert await answers(wire, 1) == [f"{number} 127.0.0.1"]
            order = (2, 2, 1, 0, 1, 2, 0, 0, 1)  # all at once
            await wire.send(b"".join(map(who, order)))
            assert await answers(wire, 9) == [f"{number} 127.0.0.1" for number in order]
            await wire.send(who(None))  # it stays where it was
            assert await answers(wire, 1) == ["1 127.0.0.1"]
            if not secure:
                open_here = [len(one.server.connections) for one in workers]
                assert open_here == [0, 1, 0]
            wire.close()
            await until(lambda: not any(one.server.connections for one in workers))

    run(test())


def test_nothing_is_lost_however_the_network_cuts(tmp_path: Path) -> None:
    """Bytes already read, heads half read, requests behind, bodies of both kinds."""
    choose = random.Random(7)

    async def test() -> None:
        async with crowd(3, tmp_path) as workers:
            for turn in range(25):
                order = [choose.randrange(3) for _ in range(6)]
                said = [
                    (post(number, f"body-{n}", chunked=n % 2 == 0), f" body-{n}")
                    if n % 3
                    else (who(number), "")
                    for n, number in enumerate(order)
                ]
                data = b"".join(request for request, _ in said)
                cuts = sorted(choose.sample(range(1, len(data)), choose.choice((0, 1, 2, 5, 40))))
                if turn == 0:
                    cuts = list(range(1, len(data)))
                wire = await Wire.open(workers[choose.randrange(3)].url)
                for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    await wire.send(data[start:end])
                    for _ in range(choose.choice((0, 1, 3, 6))):
                        await asyncio.sleep(0)
                expected = [
                    f"{number} 127.0.0.1{body}"
                    for number, (_, body) in zip(order, said, strict=True)
                ]
                assert await answers(wire, 6) == expected, (turn, order, cuts)
                wire.close()
            await until(lambda: not any(one.server.connections for one in workers))

    run(test())


def test_request_goes_nowhere_until_its_target_is_whole(tmp_path: Path) -> None:
    """Else one that never ends would go from worker to worker, with time for a head at each."""

    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first, second = (one.server for one in workers)
            wire = await Wire.open(workers[0].url)
            begun = b"GET /who?sid=1.x"
            await wire.send(begun)
            await until(lambda: any(one._http.buffered == len(begun) for one in first.connections))  # type: ignore[union-attr]
            await wire.send(b"&sid=0.x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert await answers(wire, 1) == ["0 127.0.0.1"]
            assert (len(first.connections), len(second.connections)) == (1, 0)

    run(test())


def test_what_is_wrong_behind_is_said_by_the_owner_and_ends_the_connection(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            for bad in (
                who(1, "bad line\r\n"),
                who(1).replace(b"HTTP/1.1", b"HTTP/9.9"),
                who(1).replace(b"Host: a\r\n", b""),
                who(1)[:-2] + b"x" * 40_000,
            ):
                wire = await Wire.open(workers[0].url)
                await wire.send(who(0) + bad + who(1))
                assert await answers(wire, 1) == ["0 127.0.0.1"]
                status, headers, _ = await wire.answer()
                assert status in (400, 431, 505)
                assert headers["connection"] == "close"
                assert await wire.rest() == b""

    run(test())


def test_session_of_a_worker_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first, second = workers
            for number in (1, 7, 999):
                target = f"{SOCKET_IO}&transport=polling&sid={number}.{'x' * 22}"
                status, _, body = await ask(first.url, "GET", target)
                assert (status, body.decode()) == (400, UNKNOWN)
            second.server.mesh.close()
            await until(lambda: not first.server.mesh.others)
            wire = await Wire.open(first.url)
            await wire.send(who(1))
            assert await answers(wire, 1) == ["0 127.0.0.1"]

    run(test())


async def behind_what_is_not_read(workers: list[Live]) -> tuple[Wire, int]:
    """A client of the first worker, and how much it has to read until its next request moves on."""
    wire = await Wire.open(workers[0].url)
    await wire.send(who(0))
    await answers(wire, 1)
    (connection,) = workers[0].server.connections
    assert isinstance(connection, WorkerConnection)
    transport = connection._transport
    assert transport is not None
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    transport.set_write_buffer_limits(high=1 << 30)
    count = 0
    while not transport.get_write_buffer_size():
        transport.write(b"x" * 100_000)  # a long answer, as it were
        count += 100_000
    await wire.send(who(1))
    await until(lambda: connection._heads.owner == 1)
    return wire, count


def test_answer_that_is_not_read_yet_is_read_before_that_of_the_next_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And keeps nothing in a second process: so it would in one after the other."""

    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first, second = workers
            wire, count = await behind_what_is_not_read(workers)
            assert len(first.server.connections) == 1
            assert not any(isinstance(one, Relay) for one in first.server.connections)
            wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert await wire.reader.readexactly(count) == b"x" * count
            assert await answers(wire, 1) == ["1 127.0.0.1"]
            assert not first.server.connections
            wire.close()
            await until(lambda: not second.server.connections)

    run(test())
    assert not caplog.records


def test_client_that_reads_nothing_before_it_moves_on_is_given_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, limits=TimeLimits(write=0.05)) as workers:
            await behind_what_is_not_read(workers)
            await until(lambda: not workers[0].server.connections)
            assert not workers[1].server.connections

    run(test())


class Holding:
    """Holds what is written on each connection, as a learner may."""

    def opened(self, connection: Tapped) -> None:
        assert connection.transport is not None
        connection.transport.hold(lambda data: [data])

    def received(self, connection: Tapped, data: bytes) -> None:
        pass

    def sent(self, connection: Tapped, data: bytes) -> None:
        pass

    def closed(self, connection: Tapped, error: Exception | None) -> None:
        pass


def test_answer_that_a_watcher_holds_comes_before_that_of_the_next_owner(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, tap=Tap(Holding())) as workers:
            first, second = workers
            wire = await Wire.open(first.url)
            await wire.send(who(0) + who(1))
            await until(lambda: any(isinstance(one, Relay) for one in first.server.connections))
            await until(lambda: bool(second.server.connections))
            (near,), (far,) = first.server.connections, second.server.connections
            assert isinstance(near, Relay)
            assert isinstance(far, WorkerConnection)
            for end in (near.transport, far._transport):
                assert isinstance(end, TappedTransport)
                await until(lambda: bool(end.held))  # noqa: B023
                end.flow()
            assert await answers(wire, 2) == ["0 127.0.0.1", "1 127.0.0.1"]

    run(test())


def test_client_that_sends_no_more_is_answered_by_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            wire = await Wire.open(workers[0].url)
            await wire.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n" + who(1) + who(0))
            wire.writer.write_eof()
            await until(lambda: any(one._eof for one in workers[0].server.connections))  # type: ignore[union-attr]
            workers[0].module.GO.set()
            assert await answers(wire, 3) == ["0 waited", "1 127.0.0.1", "0 127.0.0.1"]
            assert await wire.rest() == b""
            await until(lambda: not any(one.server.connections for one in workers))

    run(test())
    assert not caplog.records


def test_access_log_knows_the_address_of_a_client_that_has_gone_on_the_way(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first, second = (one.server for one in workers)
            entries: list[Entry] = []
            second.access = entries.append
            with socket.create_server(("127.0.0.1", 0)) as listening:
                client = socket.create_connection(listening.getsockname())
                accepted, _ = listening.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises(ConnectionResetError):
                accepted.recv(1)
            with pytest.raises(OSError, match="not connected"):
                accepted.getpeername()
            asked = b"GET /nowhere?sid=1.x HTTP/1.1\r\nHost: a\r\n\r\n"
            assert first.mesh.hand(1, accepted.fileno(), b"192.0.2.1\n" + asked)
            accepted.close()
            await until(lambda: bool(entries))
            assert (entries[0].client, entries[0].status) == ("192.0.2.1", 404)
            await until(lambda: not second.connections)

    run(test())


def test_connection_that_leaves_is_no_matter_of_the_end(tmp_path: Path) -> None:
    """Until asyncio has said so, too."""

    async def test() -> None:
        async with crowd(2, tmp_path) as workers:
            first = workers[0].server
            wire = await Wire.open(workers[0].url)
            await until(lambda: bool(first.connections))
            (connection,) = first.connections
            assert isinstance(connection, WorkerConnection)
            connection.data_received(who(1))
            assert not first.connections
            await first.close(0.1)
            assert await answers(wire, 1) == ["1 127.0.0.1"]

    run(test())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_connection_that_no_descriptor_is_left_for_ends_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, secure: bool
) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, serving_tls() if secure else None) as workers:
            first, second = workers
            wire = await Wire.open(first.url)
            await wire.send(who(0))
            await answers(wire, 1)
            (channel,) = second.server.mesh._channels.values()
            asyncio.get_running_loop().remove_reader(channel._socket)  # its loop is held
            first.server.mesh.publish({"long": "x" * 1_000_000})
            await until(lambda: first.server.mesh._channels[1].waiting > 0)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                await wire.send(who(1))
                await until(lambda: not first.server.connections)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert await wire.rest() == b""

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    how = "relayed" if secure else "handed over"
    said = f"a connection can't be {how}: Too many open files"
    assert [one.getMessage() for one in caplog.records] == [said]


def test_websocket_over_tls_goes_through_and_ends_with_either_side(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, serving_tls()) as workers:
            first, second = workers
            for closes in ("client", "server"):
                poller = await Poller.connect(second.url)
                assert poller.sid.startswith("1.")
                target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
                websocket = await WebSocket.connect(first.url, target)
                await websocket.text("2probe")
                assert await websocket.read() == "3probe"
                await websocket.text("5")
                await websocket.text(f'421["say","{"long" * 20_000}"]')
                assert (await websocket.read()).startswith('431["1 longlong')
                if closes == "client":
                    websocket.reset()
                else:
                    second.server.app.hub.disconnect(*second.server.app.hub.by_sid)
                    assert (await websocket.read()).startswith("41")
                    websocket.close()
                await until(lambda: not any(one.server.connections for one in workers))

    run(test())


def test_refusal_comes_through_whatever_the_client_still_sends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner has closed when that is passed on, and its answer is not read yet."""

    async def test() -> None:
        patient = TimeLimits(linger=1000.0)
        async with crowd(2, tmp_path, serving_tls(), limits=patient) as workers:
            first, second = workers
            wire = await Wire.open(first.url)
            await wire.send("POST /who?sid=1.x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
            await until(lambda: any(one.busy for one in second.server.connections))  # type: ignore[union-attr]
            (near,), (owner,) = first.server.connections, second.server.connections
            assert isinstance(near, Relay)
            assert isinstance(owner, WorkerConnection)
            owner.respond(Response(b"refused", 403))  # and it lingers
            owner_now = next(iter(second.server.connections))
            assert isinstance(owner_now, Lingering)
            owner_now.abort()
            await asyncio.sleep(0)
            near.data_received(b"more")
            status, _, body = await wire.answer()
            assert (status, body) == (403, b"refused")
            assert isinstance(next(iter(first.server.connections)), Lingering)
            await wire.send("and more")
            wire.close()
            await until(lambda: not first.server.connections)

    run(test())
    assert not caplog.records


def test_last_words_of_the_owner_come_through_one_that_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with crowd(2, tmp_path, serving_tls()) as workers:
            first, second = workers
            poller = await Poller.connect(second.url)
            target = f"{SOCKET_IO}&transport=websocket&sid={poller.sid}"
            websocket = await WebSocket.connect(first.url, target)
            await websocket.text("2probe")
            assert await websocket.read() == "3probe"
            await websocket.text("5")
            ending = [asyncio.create_task(first.server.close(2))]
            await until(lambda: first.server.closing)
            for word in ("here", "still"):  # who relays waits for the owner
                await websocket.text(f'421["say","{word}"]')
                assert await websocket.read() == f'431["1 {word}"]'
            ending.append(asyncio.create_task(second.server.close(2)))
            assert await websocket.read_close() == (1001, "server shutting down")
            websocket.close()
            await asyncio.gather(*ending)
            assert not first.server.connections | second.server.connections

    run(test())
