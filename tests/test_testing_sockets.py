"""The sockets of the client for tests: in process and over a port, waiting and awaited."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Serve

from redbarrel_lite import testing
from redbarrel_lite.errors import LocalProtocolError, SocketClosed

RBR = """
path chat ( method SOCKETIO, use python:told.chat );
path news ( method SOCKETIO, namespace /news, use python:told.news );
path guarded (
    method SOCKETIO,
    url /guarded/,
    namespace /guarded,
    use python:told.chat,
    request-headers ( unless X-Key validates with python:told.is_yes return 401 )
);
path polls (
    method SOCKETIO,
    url /polls/,
    namespace /polls,
    transports polling,
    use python:told.chat
);
path quick (
    method SOCKETIO,
    url /quick/,
    namespace /quick,
    ping-interval 0.1,
    ping-timeout 0.9,
    use python:told.chat
);
path raw (
    method WEBSOCKET,
    url /raw/{room},
    subprotocol "soap",
    max-payload 100,
    use python:told.raw
);
path engine ( method ENGINEIO, use python:told.raw );
path cookie ( url /cookie, use python:told.cookie );
path gone ( url /gone, use python:told.gone );
"""

SOURCE = """
GONE = []


def chat(globs, request):
    socketio = request.socketio
    for message in socketio:
        if message.event == "ask":
            socketio.emit("answered", *socketio.call("question", *message, timeout=20))
        elif message.event == "close":
            socketio.close()
        elif message.event == "tell":
            socketio.emit("told", request.cookies.get("who"), request.headers.get("x-key"))
        elif message.wants_reply and message.event != "silent":
            message.reply(*reversed(message))
        elif not message.wants_reply:
            socketio.emit(message.event, *message)
            socketio.broadcast(message.event, event="somebody said")
    GONE.append(socketio.session.session_id)


async def news(globs, request):
    await request.socketio.send(request.socketio.auth)
    async for message in request.socketio:
        await request.socketio.send(message)


async def raw(globs, request, room=""):
    socketio = request.socketio
    await socketio.send(f"{room} {request.cookies.get('who')} {request.headers.get('x-key')}")
    async for message in socketio:
        if message[0] == "close":
            socketio.close("enough")
        else:
            await socketio.send(message[0])


def is_yes(value):
    return value == "yes"


def cookie(globs, request):
    request.response.set_cookie("who", "ann")
    return ""


def gone(globs, request):
    return GONE
"""

TRANSPORTS = ["websocket", "polling", "upgrade"]
ARRIVAL = {"websocket": "websocket", "polling": "polling", "upgrade": "websocket"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "app.rbr").write_text(RBR)
    (tmp_path / "told.py").write_text(SOURCE)
    return tmp_path / "app.rbr"


@pytest.fixture
def client(file: Path) -> Iterator[testing.Client]:
    with testing.client(file, timeout=20) as client:
        yield client


# -- what is said, over each transport -------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_events_go_both_ways(client: testing.Client, transport: str) -> None:
    with client.socket(transport=transport) as ann:
        assert (ann.connected, ann.namespace) == (True, "/")
        assert ann.transport == ARRIVAL[transport]
        for sent in ([], ["é", 1, None, 2.5, True], [{"a": [b"\x00", b""]}, b"x" * 70_000]):
            ann.emit("say", *sent)
            message = ann.recv()
            assert (message, message.event) == (sent, "say")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_acknowledgements_go_both_ways(client: testing.Client, transport: str) -> None:
    with client.socket(transport=transport) as ann:
        assert ann.call("add", 1, b"2", None) == [None, b"2", 1]
        assert ann.call("nothing") == []
        ann.emit("ask", "what", b"?")
        question = ann.recv("question")
        assert (question, question.wants_reply) == (["what", b"?"], True)
        question.reply("that", b"!")
        question.reply("only the first counts")
        assert ann.recv() == ["that", b"!"]
        assert ann.received == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_server_learns_that_the_client_has_gone(client: testing.Client, transport: str) -> None:
    with client.socket(transport=transport) as ann, client.socket(transport=transport) as bob:
        ann.drop()
        assert ann.wait_disconnected() == ann.disconnect_reason == "transport close"
        sids = {ann.sid, bob.sid}
    assert (bob.connected, bob.disconnect_reason) == (False, "io client disconnect")
    seen = threading.Event()
    for _ in range(500):
        if set(client.get("/gone").json) == sids:
            return
        seen.wait(0.01)  # the handlers are threads of their own
    pytest.fail("a handler still runs")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_server_turns_the_client_out(client: testing.Client, transport: str) -> None:
    with client.socket(transport=transport) as ann:
        ann.emit("close")
        assert ann.wait_disconnected() == "io server disconnect"
        with pytest.raises(SocketClosed, match="/ is disconnected: io server disconnect"):
            ann.recv()
        with pytest.raises(SocketClosed):
            ann.emit("say")
        with pytest.raises(SocketClosed):
            ann.call("add")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_namespace_that_does_not_exist_refuses(client: testing.Client, transport: str) -> None:
    with pytest.raises(testing.ConnectError, match="Invalid namespace") as refused:
        client.socket("/nowhere", transport=transport)
    assert (refused.value.message, refused.value.data) == ("Invalid namespace", None)
    assert refused.value.status is None


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_rule_that_does_not_hold_refuses_the_handshake(
    client: testing.Client, transport: str
) -> None:
    with pytest.raises(testing.ConnectError, match=r"/guarded/ answers 401") as refused:
        client.socket("/guarded", path="/guarded/", transport=transport)
    assert refused.value.status == 401
    with client.socket("/guarded", path="/guarded/", transport=transport, x_key="yes") as ann:
        ann.emit("tell")
        assert ann.recv() == [None, "yes"]


def test_error_of_the_engine_has_its_code(client: testing.Client) -> None:
    with pytest.raises(testing.ConnectError) as refused:
        client.socket(transport="polling", origin="https://elsewhere.example")
    assert (refused.value.status, refused.value.data) == (403, {"code": 4, "message": "Forbidden"})


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_cookies_of_the_client_go_along(client: testing.Client, transport: str) -> None:
    client.get("/cookie")
    with client.socket(transport=transport, headers={"X-Key": "1"}) as ann:
        ann.emit("tell")
        assert ann.recv() == ["ann", "1"]


# -- namespaces --------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_auth_is_told_and_namespaces_share_a_connection(
    client: testing.Client, transport: str
) -> None:
    with client.socket(transport=transport) as ann:
        news = ann.also("/news", {"token": "é"})
        assert news.recv() == [{"token": "é"}]
        assert news.sid != ann.sid
        news.send([1])
        assert news.recv() == [[[1]]]
        news.close()
        assert (news.disconnect_reason, ann.connected) == ("io client disconnect", True)
        assert ann.call("add", 1) == [1]
        with pytest.raises(testing.ConnectError):
            ann.also("/nowhere")
        assert ann.call("add", 1) == [1]
        again = ann.also("/news")
        ann.close()
        again.send("still there")
        assert again.recv() == [None]
        again.close()


def test_others_hear_a_broadcast(client: testing.Client) -> None:
    with client.socket() as ann, client.socket(transport="polling") as bob:
        ann.emit("hello")
        assert bob.recv("somebody said") == ["hello"]


# -- waiting -----------------------------------------------------------------------------


def test_one_event_is_waited_for_and_the_others_stay(client: testing.Client) -> None:
    with client.socket() as ann:
        for name in ("one", "two", "three"):
            ann.emit(name, name)
        assert ann.recv("three") == ["three"]
        assert [message.event for message in ann.received] == ["one", "two"]
        assert [ann.recv().event, ann.recv().event] == ["one", "two"]


def test_wait_that_is_over_says_what_came_instead(client: testing.Client) -> None:
    with client.socket() as ann:
        with pytest.raises(TimeoutError) as over:
            ann.recv(timeout=0.05)
        assert str(over.value) == "no message within 0.05 s; received instead: nothing"
        for number in range(7):
            ann.emit("say", number, "x" * 300)
        ann.call("add")
        with pytest.raises(TimeoutError) as over:
            ann.recv("tell", timeout=0.05)
        assert str(over.value).startswith(
            "no event 'tell' within 0.05 s; received instead: say [0, 'xxx"
        )
        assert str(over.value).endswith("xx, 2 more")
        with pytest.raises(TimeoutError, match=r"'silent' was not acknowledged within 0.05 s"):
            ann.call("silent", timeout=0.05)
        with pytest.raises(TimeoutError, match=r"still connected within 0.05 s"):
            ann.wait_disconnected(timeout=0.05)


def test_wait_for_what_will_not_come_ends_at_once(client: testing.Client) -> None:
    with client.socket() as ann:
        ann.emit("say", "last words")
        ann.emit("close")
        with pytest.raises(SocketClosed) as over:
            ann.recv("tell")
        assert str(over.value) == (
            "no event 'tell': / is disconnected: io server disconnect;"
            " received instead: say ['last words']"
        )
        assert ann.recv() == ["last words"]


def test_what_to_wait_for_is_a_name(client: testing.Client) -> None:
    with client.socket() as ann, pytest.raises(TypeError, match=r"recv\(5\): what to wait for"):
        ann.recv(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transport": "pigeon"}, "'pigeon': it is one of polling, websocket, upgrade"),
        ({"namespace": "news"}, "'/news'"),
        ({"auth": "token"}, "auth='token': what a server takes is a dict"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    client: testing.Client, options: dict[str, str], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        client.socket(**options)


@pytest.mark.parametrize("nonsense", [object(), float("nan"), {1, 2}])
def test_what_is_no_json_is_refused_where_it_is_said(
    client: testing.Client, nonsense: object
) -> None:
    with client.socket() as ann:
        with pytest.raises((TypeError, ValueError)):
            ann.emit("say", nonsense)
        assert ann.call("add", 1) == [1]


# -- one transport and the other ---------------------------------------------------------


def test_messages_keep_their_order_across_an_upgrade(client: testing.Client) -> None:
    with client.socket(transport="polling") as ann:
        for number in range(100):
            ann.emit("say", number)
        ann.upgrade()
        for number in range(100, 200):
            ann.emit("say", number)
        assert ann.transport == "websocket"
        assert [ann.recv() for _ in range(200)] == [[number] for number in range(200)]
        with pytest.raises(LocalProtocolError, match="no upgrade"):
            ann.upgrade()


def test_path_without_websockets_refuses_them(client: testing.Client) -> None:
    with pytest.raises(testing.ConnectError, match="answers 400: Transport unknown"):
        client.socket("/polls", path="/polls/")
    with client.socket("/polls", path="/polls/", transport="polling") as ann:
        with pytest.raises(LocalProtocolError, match="offers no upgrade"):
            ann.upgrade()
        assert ann.call("add", 1) == [1]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_pings_are_answered(client: testing.Client, transport: str) -> None:
    with client.socket("/quick", path="/quick/", transport=transport) as ann:
        with pytest.raises(TimeoutError):
            ann.wait_disconnected(timeout=1.2)  # more than a missing pong may take
        assert ann.call("add", 1) == [1]


def test_message_over_the_limit_is_the_end_and_the_reason_says_so(client: testing.Client) -> None:
    with client.socket() as ann:
        ann.emit("say", "x" * 1_000_001)
        assert ann.wait_disconnected() == "transport close"
        with pytest.raises(SocketClosed, match="WebSocket closed: 1009"):
            ann.recv()
    with client.socket(transport="polling") as ann:
        ann.emit("say", "x" * 1_000_001)
        assert ann.wait_disconnected() == "transport error"
        with pytest.raises(SocketClosed, match="answers 413"):
            ann.recv()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_client_connects_again(client: testing.Client, transport: str) -> None:
    with client.socket(transport=transport) as ann:
        first = ann.sid
        ann.emit("say", "kept")
        ann.recv("say")
        ann.emit("say", "kept")
        ann.call("add")
        ann.drop()
        ann.reconnect()
        assert (ann.connected, ann.recovered, ann.disconnect_reason) == (True, False, None)
        assert ann.sid != first
        assert ann.recv() == ["kept"]
        assert ann.call("add", 2) == [2]
        ann.reconnect("polling")
        assert ann.transport == "polling"


# -- one layer down ----------------------------------------------------------------------


def test_websockets_carry_text_and_bytes(client: testing.Client) -> None:
    client.cookies["who"] = "ann"
    with client.websocket("/raw/a%20b?x=1", x_key="1", subprotocols=["tea", "soap"]) as socket:
        assert (socket.recv(), socket.subprotocol) == ("a b ann 1", "soap")
        for message in ("é", b"\x00\xff", "", b"", "x" * 100):
            socket.send(message)
            assert socket.recv() == message
        socket.ping(b"?")
        socket.send("last")
        assert (socket.recv(), socket.received) == ("last", [])
        assert (socket.connected, socket.close_code) == (True, None)
    assert (socket.connected, socket.close_code) == (False, 1000)


def test_websocket_says_how_it_was_closed(client: testing.Client) -> None:
    with client.websocket("/raw/a") as socket:
        socket.send("close")
        assert socket.wait_disconnected() == 1000
        assert socket.close_reason == "enough"
        assert socket.recv() == "a None None"
        with pytest.raises(SocketClosed, match="no message: closed with 1000 enough"):
            socket.recv()
        with pytest.raises(SocketClosed):
            socket.send("late")
    with client.websocket("/raw/a") as socket:
        socket.send("x" * 101)
        assert socket.wait_disconnected() == 1009
    with client.websocket("/raw/a") as socket:
        socket.drop()
        assert socket.wait_disconnected() == 1006
    with client.websocket("/raw/a") as socket:
        socket.recv()
        with pytest.raises(TimeoutError, match=r"no message within 0.05 s"):
            socket.recv(timeout=0.05)
        socket.close(4000, "bye")
        assert socket.close_code == 4000


def test_websocket_that_is_refused_says_why(client: testing.Client) -> None:
    with pytest.raises(testing.ConnectError, match="/nowhere answers 404") as refused:
        client.websocket("/nowhere")
    assert refused.value.status == 404
    with pytest.raises(testing.ConnectError) as refused:
        client.websocket("/raw/a", origin="https://elsewhere.example")
    assert refused.value.status == 403


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_engine_carries_text_and_bytes(client: testing.Client, transport: str) -> None:
    with client.engine(transport=transport) as engine:
        assert engine.recv() == " None None"
        assert (engine.transport, engine.connected) == (ARRIVAL[transport], True)
        assert len(engine.sid) > 20
        for message in ("é", b"\x00\x1e\xff", "", b"", "x" * 100_000):
            engine.send(message)
            assert engine.recv() == message
        with pytest.raises(TimeoutError, match=r"no message within 0.05 s"):
            engine.recv(timeout=0.05)
        with pytest.raises(ValueError, match="parts the packets"):
            engine.send("a\x1eb")
        if engine.transport == "polling":
            engine.upgrade()
            assert engine.transport == "websocket"
        engine.send("close")
        assert engine.wait_disconnected() == "transport close"
        with pytest.raises(SocketClosed, match="no message: disconnected"):
            engine.recv()
        with pytest.raises(SocketClosed):
            engine.send("late")


def test_engine_ends_from_our_side(client: testing.Client) -> None:
    for transport in ("polling", "websocket"):
        with client.engine(transport=transport) as engine:
            pass
        assert (engine.connected, engine.disconnect_reason) == (False, "forced close")
        with client.engine(transport=transport) as engine:
            engine.drop()
            assert engine.disconnect_reason == "transport close"
    with pytest.raises(testing.ConnectError, match="answers 404"):
        client.engine("/nowhere/")


# -- a real port -------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_server_at_a_url_is_connected_to(serve: Serve, file: Path, transport: str) -> None:
    server = serve(file)
    for url in (server.url, server.url.replace("http", "ws")):
        with testing.connect(url, transport=transport) as ann:
            assert ann.call("add", 1, 2) == [2, 1]
    with testing.connect(f"{server.url}/news", auth={"a": 1}, transport=transport) as news:
        assert news.namespace == "/news"
        assert news.recv() == [{"a": 1}]
    with pytest.raises(testing.ConnectError, match="Invalid namespace"):
        testing.connect(server.url, "/nowhere", transport=transport)
    assert "testing" not in {thread.name for thread in threading.enumerate()}


def test_server_at_a_url_is_asked_and_its_cookies_are_kept(serve: Serve, file: Path) -> None:
    with testing.client(serve(file).url) as client:
        assert client.get("/cookie").status == 200
        with client.socket() as ann:
            ann.emit("tell")
            assert ann.recv() == ["ann", None]


def test_nobody_at_the_url_is_an_error() -> None:
    with pytest.raises(OSError, match=re.escape("127.0.0.1")):
        testing.connect("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="no url of a server"):
        testing.connect("http://")


# -- in coroutines -----------------------------------------------------------------------


def test_coroutines_hold_sockets_on_their_own_loop(file: Path) -> None:
    async def main() -> None:
        async with testing.async_client(file, timeout=20) as client:
            async with client.socket() as ann, client.socket("/news", auth={}) as news:
                assert await ann.call("add", 1, 2) == [2, 1]
                await ann.emit("say", "awaited")
                ann.emit("say", "not awaited")
                assert [await ann.recv(), await ann.recv()] == [["awaited"], ["not awaited"]]
                assert await news.recv() == [{}]
                news.send("x")
                assert await news.recv("message") == [["x"]]
            assert ann.disconnect_reason == "io client disconnect"
            with pytest.raises(AttributeError, match="no 'emit' before it is open"):
                client.socket().emit("say")
            bob = await client.socket(transport="polling")
            both = await asyncio.gather(*(bob.call("add", number) for number in range(20)))
            assert both == [[number] for number in range(20)]
            bob.emit("ask", "?")
            question = await bob.recv()
            await question.reply("!")
            assert await bob.recv() == ["!"]
            also = await bob.also("/news")
            assert await also.recv() == [None]
            bob.drop()
            assert await also.wait_disconnected() == "transport close"
            await (await bob.reconnect()).close()

    asyncio.run(main(), debug=True)


def test_coroutines_hold_raw_sockets(file: Path) -> None:
    async def main() -> None:
        async with testing.async_client(file, timeout=20) as client:
            async with (
                client.websocket("/raw/a") as websocket,
                client.engine(transport="polling") as engine,
            ):
                assert await websocket.recv() == "a None None"
                assert await engine.recv() == " None None"
                for one in (websocket, engine):
                    await one.send("awaited")
                    one.send(b"not")
                    assert [await one.recv(), await one.recv()] == ["awaited", b"not"]
                websocket.ping()
                websocket.drop()
                assert await websocket.wait_disconnected() == 1006
            assert engine.disconnect_reason == "forced close"
            await (await client.websocket("/raw/b")).close()

    asyncio.run(main(), debug=True)


def test_coroutines_connect_to_a_url(serve: Serve, file: Path) -> None:
    url = serve(file).url

    async def main() -> None:
        async with testing.async_connect(url) as ann:
            assert await ann.call("add", 1, 2) == [2, 1]
        with pytest.raises(testing.ConnectError):
            await testing.async_connect(url, "/nowhere")

    asyncio.run(main(), debug=True)


# -- begin and end -----------------------------------------------------------------------


def test_end_of_the_client_is_the_end_of_its_sockets(file: Path) -> None:
    with testing.client(file) as client:
        ann = client.socket()
        bob = client.socket(transport="polling")
    assert (ann.connected, bob.connected) == (False, False)
    assert "testing" not in {thread.name for thread in threading.enumerate()}


def test_socket_keeps_its_application_alive(file: Path) -> None:
    ann = testing.client(file).socket()
    assert ann.call("add", 1) == [1]
    ann.close()
    ann.close()
    del ann
    assert "testing" not in {thread.name for thread in threading.enumerate()}
