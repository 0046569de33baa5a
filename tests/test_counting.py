"""A server that counts: each number, by what made it."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from openmetrics import Family, parse
from test_backplane import passing
from wire import (
    SOCKET_IO,
    Live,
    Poller,
    WebSocket,
    Wire,
    ask,
    live,
    run,
    serving_tls,
    socketio,
    until,
)

from redbarrel_lite.backplane import Backplane
from redbarrel_lite.census import census
from redbarrel_lite.cluster import Cluster
from redbarrel_lite.counting import CountingServer
from redbarrel_lite.dial import Port, UnixSocket, Visitor
from redbarrel_lite.dial_socket import AsyncSocket, Line
from redbarrel_lite.gate import Gate, host_names
from redbarrel_lite.lag import BUSY_S
from redbarrel_lite.metrics import text
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.succession import NextApp
from redbarrel_lite.tap import Tap
from redbarrel_lite.upstream import Upstream
from redbarrel_lite.websocket import MAX_QUEUE_BYTES

APP = """
    import asyncio, threading
    came = asyncio.Event()
    go_on = threading.Event()
    def hello(globs, request):
        return "hello"
    def waits(globs, request):
        go_on.wait(30)
        return "at last"
    async def parts(globs, request):
        while True:
            yield b"x" * 100_000
    def fails(globs, request):
        raise ValueError("on purpose")
    async def echo(request):
        async for message in request.socketio:
            request.socketio.send(message[0])
    def echo_in_thread(request):
        for message in request.socketio:
            request.socketio.send(message[0])
    async def patient(request):
        socket = request.socketio
        while True:
            try:
                message = await socket.recv(timeout=0)
            except TimeoutError:
                await came.wait()
                continue
            if message.is_last:
                return
            came.clear()
            socket.send(message[0])
    async def say(globs, request, words):
        request.socketio.broadcast(words)
        return "said"
    async def leave(globs, request):
        request.socketio.close("bored")
    def no(globs, request):
        return False
    async def much(request):
        while request.socketio.connected():
            await request.socketio.send("x" * 100_000)
    async def fill(globs, request):
        for _ in range(30):
            request.socketio.send("x" * 100_000)
"""
RBR = """
    path hello ( method GET, url /hello, use python:MODULE.hello );
    path show ( method GET, url /show/{name}, use python:MODULE.hello );
    path shared ( method GET, url /shared, use python:MODULE.hello,
        allow-origin "http://a.example" );
    path waits ( method GET, url /waits, use python:MODULE.waits );
    path parts ( method GET, url /parts, use python:MODULE.parts );
    path fails ( method GET, url /fails, use python:MODULE.fails );
    path file ( method GET, url /file, use file:large.bin );
    path raw ( method WEBSOCKET, url /raw, use python:MODULE.echo );
    path chat ( method SOCKETIO, use python:MODULE.echo, recovery 60 );
    path threads ( method SOCKETIO, namespace /threads, use python:MODULE.echo_in_thread );
    path patient ( method SOCKETIO, namespace /patient, use python:MODULE.patient );
    path room ( method SOCKETIO, namespace /room-{n}, recovery 60,
        on say use python:MODULE.say, on leave use python:MODULE.leave,
        on fill use python:MODULE.fill );
    path no ( method SOCKETIO, namespace /no, on connect use python:MODULE.no );
"""


class Counted:
    """A server that counts, in this process."""

    def __init__(self, live: Live) -> None:
        assert isinstance(live.server, CountingServer)
        self.live = live
        self.server = live.server
        self.url = live.url

    def families(self) -> dict[str, Family]:
        """Its numbers, as a machine reads them."""
        return parse(text(census(self.server, "1")))

    def value(self, name: str, suffix: str = "", **labels: str) -> float:
        return self.families()[f"redbarrel_{name}"].value(suffix, **labels)

    def values(self, name: str, suffix: str = "", **labels: str) -> list[float]:
        return self.families()[f"redbarrel_{name}"].values(suffix, **labels)

    async def reaches(self, number: float, name: str, suffix: str = "", **labels: str) -> None:
        """Some number, in time."""
        await until(lambda: self.values(name, suffix, **labels) == [number])


@contextlib.asynccontextmanager
async def counted(
    folder: Path,
    *,
    tls: bool = False,
    gate: Gate | None = None,
    limits: TimeLimits | None = None,
    tap: Tap | None = None,
    emits_on: str = "",
) -> AsyncIterator[Counted]:
    (folder / "large.bin").write_bytes(b"x" * 300_000)
    async with live(
        folder,
        RBR,
        APP,
        limits,
        tls=serving_tls() if tls else None,
        tap=tap,
        gate=gate,
        emits_on=emits_on,
        kind=CountingServer,
    ) as server:
        yield Counted(server)


# -- HTTP ----------------------------------------------------------------------------------


def test_requests_are_counted_by_path_and_class(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            wire = await Wire.open(server.url)
            for target in ("/hello", "/show/ann", "/show/bob?x=1", "/fails", "/nowhere", "/away"):
                await wire.ask("GET", target)
            assert server.value("requests", "_total", path="/hello", status="2xx") == 1
            assert server.value("requests", "_total", path="/show/{name}", status="2xx") == 2
            assert server.value("requests", "_total", path="/fails", status="5xx") == 1
            assert server.value("requests", "_total", path="none", status="4xx") == 2
            assert sum(server.values("requests", "_total")) == 6
            assert server.value("request_seconds", "_count", path="/show/{name}") == 2
            assert server.value("request_seconds", "_sum", path="/show/{name}") > 0
            assert not server.values("request_seconds", "_count", path="none")

    run(test())


@pytest.mark.parametrize(
    ("asked", "reason", "path"),
    [
        ("GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", "no such path", "none"),
        ("PUT /hello HTTP/1.1\r\nHost: a\r\n\r\n", "method", "none"),
        ("GET /hello HTTP/1.1\r\n\r\n", "bad request", "none"),
        ("GET /hello HTTP/1.1\r\nHost: b\r\n\r\n", "host", "none"),
        ("GET /raw HTTP/1.1\r\nHost: a\r\n\r\n", "no WebSocket", "none"),
        (f"GET /{'x' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n", "url too long", "none"),
        (f"GET / HTTP/1.1\r\nHost: a\r\nX: {'x' * 9000}\r\n\r\n", "head too large", "none"),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", "version", "none"),
        (
            "GET /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n",
            "body too large",
            "/hello",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_refusals_are_counted_by_reason(tmp_path: Path, asked: str, reason: str, path: str) -> None:
    async def test() -> None:
        async with counted(tmp_path, gate=Gate(host_names(["a"]))) as server:
            wire = await Wire.open(server.url)
            await wire.send(asked)
            assert (await wire.answer())[0] >= 400
            assert server.value("refused", "_total", reason=reason) == 1
            assert sum(server.values("refused", "_total")) == 1
            assert sum(server.values("requests", "_total", path=path)) == 1

    run(test())


def test_browser_that_asks_first_asks_about_a_path(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            wire = await Wire.open(server.url)
            asking = {"Origin": "http://a.example", "Access_Control_Request_Method": "GET"}
            for _ in range(2):
                assert (await wire.ask("OPTIONS", "/shared", b"", **asking))[0] == 204
            requests = server.families()["redbarrel_requests"].samples
            assert list(requests.values()) == [2]
            assert server.value("requests", "_total", path="/shared", status="2xx") == 2

    run(test())


def test_what_is_emitted_by_a_unix_socket_is_counted_too(tmp_path: Path) -> None:
    path = str(tmp_path / "emit.sock")

    async def test() -> None:
        async with counted(tmp_path, emits_on=path) as server:
            visitor = Visitor(UnixSocket(path))
            for target, body, status in (
                ("/__emit__", b'{"event": "news"}', 200),
                ("/__emit__", b"{}", 400),
                ("/hello", b"", 404),
            ):
                head, _ = await visitor.ask("POST", target, [], body)
                assert head.status == status
            requests = {"path": "/__emit__"}
            assert server.value("requests", "_total", status="2xx", **requests) == 1
            assert server.value("requests", "_total", status="4xx", **requests) == 1
            assert server.value("request_seconds", "_count", **requests) == 2
            assert server.value("requests", "_total", path="none") == 1
            assert server.value("refused", "_total", reason="no such path") == 1
            assert server.value("connections_opened", "_total") == 3
            assert server.value("received_bytes", "_total") > 100

    run(test())


def test_head_that_comes_too_slowly_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path, limits=TimeLimits(head=0.05)) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET /hel")
            assert (await wire.answer())[0] == 408
            assert server.value("refused", "_total", reason="too slow") == 1

    run(test())


def test_connections_that_are_too_many_are_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path, gate=Gate(max_connections=1)) as server:
            await Wire.open(server.url)
            second = await Wire.open(server.url)
            assert b" 503 " in await second.rest()
            assert server.value("refused", "_total", reason="max-connections") == 1
            assert server.value("connections_opened", "_total") == 2

    run(test())


def test_client_that_speaks_no_tls_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path, tls=True) as server:
            wire = await Wire.open(server.url.replace("https", "http"))
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.rest()
            await server.reaches(1, "refused", "_total", reason="tls")
            await wire.open(server.url)
            await server.reaches(1, "connections", transport="http")
            assert server.value("refused", "_total", reason="tls") == 1

    run(test())


def test_answer_that_its_client_does_not_read_has_broken_off(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path, limits=TimeLimits(write=0.05)) as server:
            wire = await Wire.open(server.url)
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send("GET /parts HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.reaches(1, "answers_broken", "_total")
            assert server.value("requests", "_total", path="/parts") == 1

    run(test())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_bytes_are_counted_in_both_directions(tmp_path: Path, tls: bool) -> None:
    async def test() -> None:
        async with counted(tmp_path, tls=tls) as server:
            wire = await Wire.open(server.url)
            request = "GET /file HTTP/1.1\r\nHost: a\r\n\r\n"
            await wire.send(request)
            _, headers, body = await wire.answer()
            head = sum(len(f"{name}: {value}\r\n") for name, value in headers.items())
            out = len("HTTP/1.1 200 OK\r\n") + head + len("\r\n") + len(body)
            await server.reaches(len(request), "received_bytes", "_total")
            await server.reaches(out, "sent_bytes", "_total")

    run(test())


def test_server_that_counts_may_be_watched_too(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path, tap=Tap()) as server:
            socket = await socketio(server.url)
            await socket.text('42["message","hello"]')
            assert "hello" in await socket.read()
            assert (await ask(server.url, "GET", "/file"))[2] == b"x" * 300_000
            assert server.value("sent_bytes", "_total") > 300_000

    run(test())


def test_threads_of_services_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            server.server.app.pool._max_threads = 1
            asking = [asyncio.create_task(ask(server.url, "GET", "/waits")) for _ in range(3)]
            await server.reaches(2, "pool_jobs", state="waiting")
            assert server.value("pool_jobs", state="busy") == 1
            server.live.module.go_on.set()
            await asyncio.gather(*asking)
            await server.reaches(0, "pool_jobs", state="busy")

    run(test())


# -- sockets -------------------------------------------------------------------------------


def test_connections_and_sessions_are_told_by_transport(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            await Wire.open(server.url)
            await socketio(server.url)
            await WebSocket.connect(server.url, "/raw")
            poller = await Poller.connect(server.url)
            poll = asyncio.create_task(poller.get())
            await server.reaches(1, "connections", transport="polling")
            await server.reaches(1, "connections", transport="http")
            assert server.value("connections", transport="websocket") == 2
            at = {"path": "/socket.io/"}
            assert server.value("sessions", transport="polling", **at) == 1
            assert server.value("sessions", transport="websocket", **at) == 1
            assert server.value("sessions", path="/raw") == 1
            assert server.value("handlers", runs="loop") == 3
            await ask(server.url, "GET", "/socket.io/socket.io.js")
            assert server.value("requests", "_total", status="2xx", **at) >= 4
            assert not server.values("request_seconds", "_count", **at)
            poll.cancel()

    run(test())


def test_messages_are_counted_by_namespace(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            for words in ("one", "two"):
                await socket.text(f'42["message","{words}"]')
                assert words in await socket.read()
            at = {"namespace": "/", "root": ""}
            assert server.value("sockets", **at) == 1
            assert server.value("sockets_received", "_total", **at) == 2
            assert server.value("sockets_sent", "_total", **at) == 3  # with that of CONNECT
            assert server.value("event_seconds", "_count", **at) == 2

    run(test())


def test_namespace_with_a_placeholder_is_its_template(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            sockets = [await socketio(server.url) for _ in range(3)]
            for number, socket in enumerate(sockets):
                await socket.text(f"40/room-{number},")
                await socket.read()
            at = {"namespace": "/room-{n}"}
            assert server.value("sockets", **at) == 3
            samples = server.families()["redbarrel_sockets"].samples
            assert {dict(labels)["namespace"] for _, labels in samples} == {"/", "/room-{n}"}

    run(test())


def test_broadcast_counts_for_each_who_gets_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            sockets = [await socketio(server.url) for _ in range(3)]
            for socket in sockets:
                await socket.text("40/room-1,")
                await socket.read()
            at = {"namespace": "/room-{n}"}
            assert server.value("sockets_sent", "_total", **at) == 3
            await sockets[0].text('42/room-1,7["say","hello"]')
            assert (await sockets[0].read()).startswith('43/room-1,7["said"')
            for socket in sockets[1:]:
                assert "hello" in await socket.read()
            assert server.value("sockets_sent", "_total", **at) == 3 + 2 + 1
            assert server.value("sockets_received", "_total", **at) == 1
            assert server.value("event_seconds", "_count", **at) == 1

    run(test())


def test_handlers_in_threads_are_counted_likewise(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.text("40/threads,")
            await socket.read()
            for _ in range(3):
                await socket.text('42/threads,["message","hello"]')
                await socket.read()
            at = {"namespace": "/threads"}
            assert server.value("sockets_received", "_total", **at) == 3
            assert server.value("sockets_sent", "_total", **at) == 4
            await server.reaches(3, "event_seconds", "_count", **at)
            assert server.value("handlers", runs="thread") == 1

    run(test())


def test_event_that_came_while_nobody_waited_for_it_is_timed_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.text("40/patient,")
            await socket.read()
            at = {"namespace": "/patient"}
            for count in (1, 2):
                await socket.text('42/patient,["message","hello"]')
                await server.reaches(count, "sockets_received", "_total", **at)
                server.live.module.came.set()
                assert "hello" in await socket.read()
                await server.reaches(count, "event_seconds", "_count", **at)

    run(test())


def test_sockets_of_a_file_that_has_moved_are_counted_where_it_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            assert server.value("sockets", root="", namespace="/") == 1
            file = tmp_path / "app.rbr"
            file.write_text(f"root /new;\n{file.read_text()}")
            before = server.server.app
            await server.server.take_over(NextApp.load(file, Upstream, before=before))
            assert server.values("sockets", root="/new") == [1]
            socket.reset()
            await server.reaches(0, "sockets", root="/new")
            assert server.value("sockets", root="", namespace="/") == 0

    run(test())


def test_raw_socket_is_counted_by_its_url(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await WebSocket.connect(server.url, "/raw")
            await socket.text("hello")
            assert await socket.read() == "hello"
            at = {"namespace": "/raw"}
            assert server.value("sockets", **at) == 1
            assert server.value("sockets_received", "_total", **at) == 1
            assert server.value("sockets_sent", "_total", **at) == 1
            await socket.frame(0x88, (4001).to_bytes(2, "big"))
            await socket.read_close()
            socket.close()
            await server.reaches(0, "sockets", **at)
            await server.reaches(1, "websocket_closes", "_total", code="4xxx")
            assert server.value("sockets_left", "_total", **at, reason="transport close") == 1

    run(test())


def test_reason_in_a_handlers_own_words_is_another(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.text("40/room-1,")
            await socket.read()
            await socket.text('42/room-1,["leave"]')
            assert await socket.read() == "41/room-1,"
            at = {"namespace": "/room-{n}"}
            await server.reaches(1, "sockets_left", "_total", **at)
            assert server.value("sockets_left", "_total", **at, reason="other") == 1

    run(test())


def test_client_that_is_not_let_in_has_been_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.text("40/no,")
            assert (await socket.read()).startswith("44/no,")
            at = {"namespace": "/no"}
            await server.reaches(1, "sockets_left", "_total", **at, reason="refused")

    run(test())


def test_upgrades_are_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            line = Line(Visitor(Port(server.url)), "/socket.io/", [], "upgrade")
            async with await AsyncSocket(line).connect() as socket:
                socket.send("hello")
                await socket.recv()
                await server.reaches(1, "upgrades", "_total", path="/socket.io/")
                assert server.value("sessions", transport="websocket") == 1

    run(test())


def test_who_comes_back_is_counted_as_recovered(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await socket.read()
            await socket.text("40")
            pid = (await socket.read()).partition('"pid":"')[2].partition('"')[0]
            await socket.text('42["message","hello"]')
            offset = (await socket.read()).rpartition(',"')[2].partition('"')[0]
            socket.reset()
            await server.reaches(1, "absent_sessions")
            again = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            await again.read()
            await again.text(f'40{{"pid":"{pid}","offset":"{offset}"}}')
            assert pid in await again.read()
            at = {"namespace": "/"}
            assert server.value("sockets_recovered", "_total", **at) == 1
            assert server.value("sockets_came", "_total", **at) == 2
            assert server.value("absent_sessions") == 0

    run(test())


@pytest.mark.parametrize(
    ("frame", "reason", "code"),
    [
        (b"\x81\x05Hello", None, "1002"),
        (b"\x81\x85" + bytes(4) + b'42["]', "protocol error", "1008"),
    ],
    ids=["of RFC 6455", "of Socket.IO"],
)
def test_faults_are_counted_by_close_code(
    tmp_path: Path, frame: bytes, reason: str | None, code: str
) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.send(frame)
            assert (await socket.read_close())[0] == int(code)
            socket.close()
            if reason is not None:
                assert server.value("refused", "_total", reason=reason) == 1
            else:
                await server.reaches(1, "websocket_closes", "_total", code=code)
            await server.reaches(0, "sockets", namespace="/")

    run(test())


def test_page_of_another_origin_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            target = f"{SOCKET_IO}&transport=polling"
            answer = await ask(server.url, "GET", target, Origin="https://other.example")
            assert answer[0] == 403
            assert server.value("refused", "_total", reason="origin") == 1

    run(test())


def test_client_that_does_not_read_is_seen_and_counted_when_it_is_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            socket = await socketio(server.url)
            await socket.text("40/room-1,")
            await socket.read()
            socket.writer.transport.pause_reading()  # type: ignore[attr-defined]
            while not sum(server.values("refused", "_total", reason="slow client")):
                await socket.text('42/room-1,["fill"]')
                await asyncio.sleep(0)
                if server.value("unsent_bytes", transport="websocket") > MAX_QUEUE_BYTES:
                    await server.reaches(1, "refused", "_total", reason="slow client")
            assert server.value("refused", "_total", reason="slow client") == 1

    run(test())


def test_what_waits_for_a_poll_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            poller = await Poller.connect(server.url)
            await poller.post('42["message","hello"]\x1e42["message","you"]')
            assert server.value("poll_packets", path="/socket.io/") == 2
            assert server.value("poll_bytes", path="/socket.io/") > 30
            await poller.read()
            assert server.value("poll_packets", path="/socket.io/") == 0

    run(test())


def test_redis_is_told_whether_it_is_there_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redbarrel_lite.redis.back_off", lambda *_: 0.01)

    async def test() -> None:
        async with counted(tmp_path) as server, passing() as stub:
            assert "redbarrel_redis_up" not in server.families()
            server.server.cluster = Cluster()
            async with Backplane(server.server.cluster, stub.url) as link:
                assert server.value("redis_up") == 1
                link.publish({"method": "emit"})
                await server.reaches(1, "redis_published", "_total")
                await server.reaches(1, "redis_received", "_total")
                stub.cut()
                await server.reaches(0, "redis_up")
                link.publish({"method": "emit"})
                assert server.value("redis_missed", "_total") == 1

    run(test())


# -- the loop, the process, and what it costs ------------------------------------------------


def test_lag_is_seen(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            assert server.value("loop_lag_seconds", "_count") == 0
            threading.Event().wait(BUSY_S + 0.15)  # a handler that holds the loop
            await server.reaches(1, "loop_lag_seconds", "_count")
            assert server.value("loop_lag_seconds", "_bucket", le="0.1") == 0

    run(test())


def test_process_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            found = server.families()
            assert found["process_resident_memory_bytes"].value() > 1_000_000
            assert 0 < found["process_open_fds"].value() < found["process_max_fds"].value()
            before = found["process_open_fds"].value()
            await Wire.open(server.url)
            await server.reaches(1, "connections", transport="http")
            assert server.families()["process_open_fds"].value() == before + 2
            assert found["process_threads"].value() >= 1
            assert found["process_cpu_seconds"].value("_total") > 0
            assert found["redbarrel"].value("_info", version="1") == 1

    run(test())


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no such file system here")
def test_process_without_a_descriptor_is_told_as_far_as_it_can_be(tmp_path: Path) -> None:
    async def test() -> None:
        async with counted(tmp_path) as server:
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                found = server.families()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert "process_open_fds" not in found
            assert found["process_threads"].value() >= 1

    run(test())
