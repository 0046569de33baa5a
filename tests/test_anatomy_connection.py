"""A whole connection in layers: what the real server and a real client say to each other."""

from __future__ import annotations

from pathlib import Path

from test_tap import APP, RBR
from wire import Poller, Wire, live, run

from redbarrel_lite.anatomy import Layer, first_fault
from redbarrel_lite.anatomy_connection import Connection
from redbarrel_lite.anatomy_http import MAX_CONTENT_BYTES, Responses
from redbarrel_lite.dial import Port, Visitor
from redbarrel_lite.dial_raw import AsyncWebSocket
from redbarrel_lite.dial_socket import AsyncSocket, Line
from redbarrel_lite.tap import Tap, Tapped


class Layers:
    """A watcher that keeps the layers of all connections, in the order in which they were said."""

    def __init__(self) -> None:
        self.said: list[tuple[int, Layer]] = []
        self._anatomies: dict[int, Connection] = {}

    def opened(self, connection: Tapped) -> None:
        self._anatomies[connection.number] = Connection()

    def received(self, connection: Tapped, data: bytes) -> None:
        self._add(connection, self._anatomies[connection.number].from_client(data))

    def sent(self, connection: Tapped, data: bytes) -> None:
        self._add(connection, self._anatomies[connection.number].from_server(data))

    def closed(self, connection: Tapped, error: Exception | None) -> None:
        self._add(connection, self._anatomies[connection.number].end())

    def _add(self, connection: Tapped, layers: list[Layer]) -> None:
        self.said += [(connection.number, layer) for layer in layers]

    def innermost(self) -> list[str]:
        """Who says what, in a word each, for those that carry something."""
        return [
            f"{last.sender}: {last.summary}"
            for _, layer in self.said
            for last in [list(layer.walk())[-1]]
            if not last.name.startswith("HTTP")
        ]


def test_conversation_of_a_session_is_told_to_its_last_event(tmp_path: Path) -> None:
    layers = Layers()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(layers)) as server:
            line = Line(Visitor(Port(server.url)), "/socket.io/", [], "upgrade")
            socket = await AsyncSocket(line).connect()
            socket.send("hello")
            assert await socket.recv() == ["hello"]
            await socket.close()

    run(test())
    said = layers.innermost()
    assert first_fault(layer for _, layer in layers.said) is None
    wanted = [
        "server: open sid=",
        "client: CONNECT",
        "server: CONNECT with sid",
        "client: handshake, to be answered by Sec-WebSocket-Accept: ",
        "client: ping probe",
        "server: pong probe",
        "server: noop",
        "client: upgrade",
        'client: EVENT ["message","hello"]',
        'server: EVENT ["message","hello"]',
        "client: DISCONNECT",
    ]
    at = 0
    for words in said:
        at += at < len(wanted) and words.startswith(wanted[at])
    assert at == len(wanted), (wanted[at], said)


def test_websocket_without_engine_io_has_no_packets(tmp_path: Path) -> None:
    layers = Layers()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(layers)) as server:
            socket = await AsyncWebSocket(Visitor(Port(server.url)), "/raw", []).connect()
            socket.send("2probe")  # which would be a packet
            assert await socket.recv() == "2probe"
            await socket.close()

    run(test())
    frames = [layer for _, layer in layers.said if layer.name == "WebSocket frame"]
    assert [(one.sender, one.summary.split()[0]) for one in frames] == [
        ("client", "text"),
        ("server", "text"),
        ("client", "close"),
        ("server", "close"),
    ]
    assert not any(one.inner for one in frames)


def test_answers_belong_to_their_requests_however_many_are_ahead(tmp_path: Path) -> None:
    layers = Layers()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(layers)) as server:
            poller = await Poller.connect(server.url)
            wire = await Wire.open(server.url)
            head = "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n"
            get = f"GET {poller.target} HTTP/1.1\r\nHost: a\r\n\r\n"
            post = (
                f"POST {poller.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 19\r\n\r\n"
                '42["message","abc"]'
            )
            await wire.send(head + post + get)
            statuses = [(await wire.answer(head=is_head))[0] for is_head in (True, False, False)]
            assert statuses == [200, 200, 200]

    run(test())
    last = max(number for number, _ in layers.said)
    said = [list(layer.walk())[-1].summary for number, layer in layers.said if number == last]
    assert said[0] == "HEAD /hello HTTP/1.1"
    assert 'EVENT ["message","abc"]' in said
    assert said.count("HTTP/1.1 200 OK") == 3
    assert said[-1].startswith("EVENT")


def test_fault_is_told_in_the_words_of_the_server(tmp_path: Path) -> None:
    layers = Layers()

    async def test() -> None:
        async with live(tmp_path, RBR, APP, tap=Tap(layers)) as server:
            socket = AsyncWebSocket(Visitor(Port(server.url)), "/raw", [])
            await socket.connect()
            socket.websocket.write(b"\x81\x05hello")
            assert await socket.wait_disconnected() == 1002
            assert socket.close_reason == "client frame is not masked (RFC 6455 5.1)"
            wire = await Wire.open(server.url)
            await wire.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n")
            assert (await wire.answer())[0] == 400

    run(test())
    faults = [layer.fault.reason for _, layer in layers.said if layer.fault]
    assert faults[0] == "client frame is not masked (RFC 6455 5.1)"
    assert len(faults) == 2


def test_large_content_is_told_as_it_comes() -> None:
    answers = Responses()
    size = 3 * MAX_CONTENT_BYTES
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()
    assert [layer.name for layer in answers.receive(head + b"x" * 10)] == [
        "HTTP response",
        "HTTP content",
    ]
    came = 10
    while came < size:
        part = min(100_000, size - came)
        came += sum(len(layer.data) for layer in answers.receive(b"x" * part))
        assert size - came < MAX_CONTENT_BYTES or answers.rest() is None
        if answers.rest() is not None:
            break
    rest = answers.rest()
    assert rest is not None
    more = answers.receive(b"x" * rest.missing + b"HTTP/1.1 204 No Content\r\n\r\n")
    assert [layer.name for layer in more] == ["HTTP content", "HTTP response"]


def test_end_of_the_connection_may_be_that_of_a_content() -> None:
    connection = Connection()
    asked = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"
    connection.from_client(asked)
    (head, content) = connection.from_server(b"HTTP/1.1 200 OK\r\n\r\n2")
    assert (head.name, content.name) == ("HTTP response", "HTTP content")
    assert [layer.summary for layer in connection.end()] == ["ping"]
