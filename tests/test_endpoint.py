"""Requests for sockets: who may, and the reference's answers, letter by letter."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import re
import textwrap
import tracemalloc
from pathlib import Path

import pytest
from wire import (
    PATIENCE_S,
    SOCKET_IO,
    Live,
    Poller,
    WebSocket,
    Wire,
    ask,
    live,
    run,
    socketio,
    until,
)

from redbarrel_lite import endpoint as endpoint_room
from redbarrel_lite import testing, transports
from redbarrel_lite.connection import HttpConnection
from redbarrel_lite.endpoint import Endpoint
from redbarrel_lite.entrance import Welcome
from redbarrel_lite.forwarded import trust
from redbarrel_lite.gate import Gate
from redbarrel_lite.transports import EngineConnection

ECHO = """
    async def echo(request):
        async for message in request.socketio:
            request.socketio.emit(message.event, *message)
"""
RBR = "path sockets ( method SOCKETIO, use python:MODULE.echo{} );"
POLL = f"{SOCKET_IO}&transport=polling"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}


def echo(folder: Path, *options: str) -> contextlib.AbstractAsyncContextManager[Live]:
    return live(folder, RBR.format("".join(f", {option}" for option in options)), ECHO)


def sessions(server: Live) -> list[EngineConnection]:
    endpoints = [one for one in server.server._endpoints.values() if isinstance(one, Endpoint)]
    return [session for endpoint in endpoints for session in endpoint._sessions.values()]


def error(code: int) -> bytes:
    return b'{"code":%d,"message":"%s"}' % (code, MESSAGES[code].encode())


# -- the handshake -----------------------------------------------------------------------


def test_handshake_says_what_the_reference_says(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 3", "ping-timeout 0.5") as server:
            status, headers, body = await ask(
                server.url, "GET", f"{SOCKET_IO}&transport=polling&t=abc&x=1"
            )
            assert (status, headers["content-type"]) == (200, "text/plain; charset=UTF-8")
            assert headers["cache-control"] == "no-store"
            handshake = json.loads(body.removeprefix(b"0"))
            assert len(handshake.pop("sid")) == 22
            assert handshake == {
                "upgrades": ["websocket"],
                "pingInterval": 3000,
                "pingTimeout": 500,
                "maxPayload": 1000000,
            }
            websocket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            assert json.loads((await websocket.read())[1:])["upgrades"] == []

    run(test())


BAD_QUERIES = {
    "transport=polling": 5,
    "EIO=abc&transport=polling": 5,
    "EIO=3&transport=polling": 5,
    "EIO=4&EIO=3&transport=polling": 5,
    "EIO=4": 0,
    "EIO=4&transport=abc": 0,
    "EIO=4&transport=webtransport": 0,
    "EIO=4&transport=__proto__": 0,
    "EIO=4&transport=polling&transport=polling": 0,
    "EIO=4&transport=polling&sid=unknown": 1,
    "EIO=4&transport=polling&sid=": 1,
    "EIO=4&transport=polling&sid=a&sid=b": 1,
    "EIO=4&transport=websocket": 3,
}
MESSAGES = [
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
]


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_bad_query_gets_the_reference_error(tmp_path: Path, query: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            status, headers, body = await ask(server.url, "GET", f"/socket.io/?{query}")
            assert (status, headers["content-type"]) == (400, "application/json")
            code = BAD_QUERIES[query]
            assert body == b'{"code":%d,"message":"%s"}' % (code, MESSAGES[code].encode())
            assert sessions(server) == []

    run(test())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_handshake_is_a_get(tmp_path: Path, method: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            status, _, body = await ask(server.url, method, f"{SOCKET_IO}&transport=polling")
            assert status == 400
            assert method == "HEAD" or body == b'{"code":2,"message":"Bad handshake method"}'
            assert sessions(server) == []

    run(test())


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("method", ["SOCKETIO", "ENGINEIO"])
def test_url_is_the_same_place_with_and_without_its_last_slash(
    tmp_path: Path, method: str, slash: str
) -> None:
    rbr = f"path a ( method {method}, url /chat{slash}, use python:MODULE.echo );"

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            for target in ("/chat", "/chat/"):
                status, _, body = await ask(server.url, "GET", f"{target}?EIO=4&transport=polling")
                assert (status, body[:8]) == (200, b'0{"sid":')
            assert len(sessions(server)) == 2

    run(test())


def test_url_of_sockets_may_have_placeholders(tmp_path: Path) -> None:
    source = """
        def listen(globs, request, room):
            request.socketio.send([room, request.match["room"]])
            request.socketio.recv()
    """
    (tmp_path / "app.rbr").write_text(
        "path a ( method SOCKETIO, url /chat/{room}, use python:placed.listen );"
    )
    (tmp_path / "placed.py").write_text(textwrap.dedent(source))
    with testing.client(tmp_path / "app.rbr") as client:
        assert "socket.io.js" not in client.get("/chat/red/").text
        assert client.get("/chat/red/socket.io.js").status == 200
        for path in ("/chat/red", "/chat/red/"):
            for transport in ("upgrade", "websocket"):
                with client.socket(path=path, transport=transport) as ann:
                    assert ann.recv() == [["red", "red"]]
        with pytest.raises(testing.ConnectError):
            client.socket(path="/chat/red/green")


def test_client_script_is_served_beside_the_sockets(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            status, headers, body = await ask(server.url, "GET", "/socket.io/socket.io.js")
            assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
            script = Path(transports.__file__).parent / "static" / "socket.io.js"
            assert body == script.read_bytes()

    run(test())


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("EIO=4&transport=websocket&sid=unknown", "Session ID unknown"),
        ("EIO=3&transport=websocket", "Unsupported protocol version"),
        ("EIO=4&transport=polling", "Bad request"),
        ("EIO=4&transport=webtransport", "Transport unknown"),
        ("transport=websocket", "Unsupported protocol version"),
    ],
)
def test_upgrade_with_a_bad_query_is_refused_in_plain_words(
    tmp_path: Path, query: str, reason: str
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            status, headers, body = await ask(
                server.url, "GET", f"/socket.io/?{query}", Upgrade="websocket", Connection="Upgrade"
            )
            assert (status, headers["connection"]) == (400, "close")
            assert (headers["content-type"], body) == ("text/html", reason.encode())
            assert sessions(server) == []

    run(test())


def test_query_of_too_many_fields_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            target = f"{SOCKET_IO}&transport=polling" + "&a=1" * 1000
            status, _, body = await ask(server.url, "GET", target)
            assert (status, b"fields" in body) == (400, True)
            status, _, body = await ask(server.url, "GET", target, Upgrade="websocket")
            assert (status, b"fields" in body) == (400, True)

    run(test())


BAD_SIDS = ["unknown", "", "__proto__", "constructor", "x" * 7000, "%00", "a&sid=b"]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sid", BAD_SIDS, ids=lambda sid: sid[:12])
def test_unknown_session_is_told_so(tmp_path: Path, method: str, sid: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            status, _, body = await ask(server.url, method, f"{POLL}&sid={sid}")
            assert (status, body) == (400, error(1))

    run(test())


def test_sid_of_a_mebibyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            wire = await Wire.open(server.url)
            with contextlib.suppress(ConnectionError):
                await wire.send(f"GET {POLL}&sid={'x' * 2**20} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.rest()).startswith(b"HTTP/1.1 414 ")
            await server.serves()

    run(test())


@pytest.mark.parametrize("version", ["", "&EIO=3", "&EIO=4&EIO=4", "&EIO=5"])
def test_request_of_another_version_is_refused_and_the_session_lives(
    tmp_path: Path, version: str
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            target = f"/socket.io/?transport=polling&sid={poller.sid}{version}"
            for method in ("GET", "POST"):
                assert (await ask(server.url, method, target, b"3"))[::2] == (400, error(3))
            target = target.replace("polling", "websocket")
            status, _, body = await ask(server.url, "GET", target, b"", **UPGRADE)
            assert (status, body) == (400, b"Bad request")
            await poller.post('42["still"]')
            assert await poller.read() == '42["still"]'

    run(test())


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "PATCH"])
def test_session_knows_no_other_methods(tmp_path: Path, method: str) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            status, _, body = await ask(server.url, method, poller.target)
            assert status == 400
            assert method == "HEAD" or body == error(3)
            await poller.post('42["still"]')
            assert await poller.read() == '42["still"]'

    run(test())


def test_request_that_comes_after_the_deadline_finds_no_session(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for method in ("GET", "POST"):
                poller = await Poller.connect(server.url)
                (connection,) = sessions(server)
                # As if the loop had been busy, and no timer had rung.
                connection.session._ping_at -= 3600
                answer = await ask(server.url, method, poller.target, b"3")
                assert answer[::2] == (400, error(1))
                assert sessions(server) == []

    run(test())


def test_answer_to_a_handshake_has_the_headers_that_the_file_sets(tmp_path: Path) -> None:
    rbr = """
        path one ( method SOCKETIO, use python:MODULE.echo,
            response-headers ( set X-Served-By "rack 7", set Cache-Control no-cache ) );
        path two ( method SOCKETIO, use python:MODULE.echo, namespace /two,
            response-headers ( set X-Other 2 ) );
    """

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            status, headers, body = await ask(server.url, "GET", POLL)
            assert (status, headers["x-served-by"], headers["x-other"]) == (200, "rack 7", "2")
            assert headers["cache-control"] == "no-cache"
            target = f"{POLL}&sid={json.loads(body[1:])['sid']}"
            for method in ("POST", "GET"):  # these are no handshakes
                status, headers, _ = await ask(server.url, method, target, b"40")
                assert (status, "x-served-by" in headers) == (200, False)
                assert headers["cache-control"] == "no-store"
            wire = await Wire.open(server.url)
            target = POLL.replace("polling", "websocket")
            status, headers, _ = await wire.ask("GET", target, b"", **UPGRADE)
            assert (status, headers["x-served-by"], headers["x-other"]) == (101, "rack 7", "2")
            status, headers, _ = await ask(server.url, "GET", "/socket.io/?EIO=4")
            assert (status, "x-served-by" in headers) == (400, False)

    run(test())


def test_welcome_is_the_exchange_that_it_stands_for(tmp_path: Path) -> None:
    """A GET with content that is still on its way is one that is being received."""

    async def test() -> None:
        async with echo(tmp_path, 'response-headers ( set X-Served-By "rack 7" )') as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            await until(server.busy)
            (connection,) = server.server.connections
            assert isinstance(connection, HttpConnection)
            welcome = Welcome(connection, ())
            assert welcome.is_receiving(connection.request)
            await wire.send("ab")
            status, headers, _ = await wire.answer()
            assert (status, headers["x-served-by"]) == (200, "rack 7")
            assert not welcome.is_receiving(connection.request)

    run(test())


def test_post_of_nobody_is_refused_when_it_is_all_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            for origin, status in (("http://a", 400), ("https://evil", 403)):
                wire = await Wire.open(server.url)
                await wire.send(
                    f"POST {POLL}&sid=gone HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n"
                    "Content-Length: 2\r\n\r\n"
                )
                await until(server.busy)
                await wire.send("42")
                assert (await wire.answer())[0] == status
                wire.close()
                await until(lambda: not server.busy())

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    lines = [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"]
    assert [line.split()[1] for line in lines] == ["Session", "pages"]


def test_client_of_a_handshake_with_headers_may_go_before_it_is_answered(tmp_path: Path) -> None:
    source = """
        import asyncio
        go = asyncio.Event()
        async def slow(value):
            await go.wait()
        async def release(request):
            go.set()
        async def echo(request):
            async for message in request.socketio:
                pass
    """
    rbr = RBR.format(
        ", request-headers ( unless Host validates with python:MODULE.slow return 401 ),"
        ' response-headers ( set X-Served-By "rack 7" )'
    )
    rbr += "path release ( url /release, use python:MODULE.release );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(server.busy)
            wire.reset()
            await until(lambda: not server.busy())
            await ask(server.url, "GET", "/release")
            await server.serves()
            assert sessions(server) == []

    run(test())


# -- limits ------------------------------------------------------------------------------


def test_connections_over_the_limit_of_their_url_get_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path, "max-connections 2") as server:
            await Poller.connect(server.url)
            websocket = await socketio(server.url)
            for fields in ({}, UPGRADE):
                target = POLL.replace("polling", "websocket") if fields else POLL
                status, headers, body = await ask(server.url, "GET", target, b"", **fields)
                assert (status, body) == (503, b"503 too many connections\n")
                assert headers["retry-after"] == "1"
            # Requests of a session that there is are no new connections.
            await websocket.text('42["still"]')
            assert await websocket.read() == '42["still"]'
            websocket.reset()
            await until(lambda: len(sessions(server)) == 1)
            await socketio(server.url)

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    lines = [r.getMessage() for r in caplog.records if r.name == "redbarrel_lite"]
    assert lines == ["127.0.0.1: over 2 connections to /socket.io/"] * 2


def test_who_comes_while_the_server_ends_is_told_to_come_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
            await until(server.busy)
            ending = asyncio.create_task(server.server.close(PATIENCE_S))
            await until(lambda: server.server.closing)
            await wire.send("ab")
            status, headers, _ = await wire.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            await ending

    run(test())


def test_client_that_waits_for_a_rule_counts_as_a_connection(tmp_path: Path) -> None:
    source = """
        import asyncio
        go = asyncio.Event()
        async def slow(value):
            await go.wait()
        async def release(request):
            go.set()
        async def echo(request):
            async for message in request.socketio:
                pass
    """
    rbr = RBR.format(
        ", max-connections 1,"
        " request-headers ( unless Host validates with python:MODULE.slow return 401 )"
    )
    rbr += "path release ( url /release, use python:MODULE.release );"

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            first = asyncio.create_task(ask(server.url, "GET", POLL))
            await until(server.busy)
            assert (await ask(server.url, "GET", POLL))[0] == 503
            await ask(server.url, "GET", "/release")
            assert (await first)[0] == 200
            (connection,) = sessions(server)
            connection.drop()
            assert (await ask(server.url, "GET", POLL))[0] == 200

    run(test())


def test_handshakes_that_nobody_follows_are_small_and_end_in_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, "ping-interval 0.5", "ping-timeout 0.1") as server:
            wire = await Wire.open(server.url)
            asyncio.get_running_loop().set_debug(False)  # whose notes are memory, too
            for _ in range(100):
                await wire.ask("GET", POLL, User_Agent="x" * 100)
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0], len(sessions(server))
            for _ in range(500):
                await wire.ask("GET", POLL, User_Agent="x" * 100)
            gc.collect()
            after = tracemalloc.get_traced_memory()[0], len(sessions(server))
            tracemalloc.stop()
            if after[1] - before[1] == 500:  # a slow machine has ended some of them already
                assert (after[0] - before[0]) / 500 < 2150
            wire.close()
            await server.empties()

    run(test())


# -- the options of a url ------------------------------------------------------------------


def test_paths_of_one_url_say_each_option_once_between_them(tmp_path: Path) -> None:
    rbr = """
        path one ( method SOCKETIO, use python:MODULE.echo, ping-interval 7,
            allow-origin "https://one.example" );
        path two ( method SOCKETIO, use python:MODULE.echo, namespace /two, ping-timeout 3,
            max-payload 4000, allow-origin "https://two.example", max-connections 1 );
        path other ( method SOCKETIO, use python:MODULE.echo, namespace /other, url /other/,
            ping-interval 9 );
    """

    async def test() -> None:
        async with live(tmp_path, rbr, ECHO) as server:
            for name in ("one", "two"):
                origin = f"https://{name}.example"
                status, _, body = await ask(server.url, "GET", POLL, Origin=origin)
                handshake = json.loads(body[1:])
                assert status == 200
                assert (handshake["pingInterval"], handshake["pingTimeout"]) == (7000, 3000)
                assert handshake["maxPayload"] == 4000
                (connection,) = sessions(server)
                connection.drop()
            _, _, body = await ask(server.url, "GET", POLL.replace("socket.io", "other"))
            handshake = json.loads(body[1:])
            assert (handshake["pingInterval"], handshake["pingTimeout"]) == (9000, 20000)

    run(test())


@pytest.mark.parametrize(("only", "other"), [("polling", "websocket"), ("websocket", "polling")])
def test_transport_that_is_not_offered_is_unknown(tmp_path: Path, only: str, other: str) -> None:
    async def test() -> None:
        async with echo(tmp_path, f"transports {only}") as server:
            target = f"{SOCKET_IO}&transport={other}"
            if other == "websocket":
                status, _, body = await ask(server.url, "GET", target, b"", **UPGRADE)
                assert (status, body) == (400, b"Transport unknown")
                assert (await Poller(server.url).handshake())["upgrades"] == []
            else:
                assert (await ask(server.url, "GET", target))[::2] == (400, error(0))
                await socketio(server.url)

    run(test())


# -- pages of other origins ------------------------------------------------------------------


def test_only_the_page_s_own_origin_may_connect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            target = f"{SOCKET_IO}&transport=polling"
            evil = ["https://evil", "null", "", "https://a", "http://a:81", "http://evil-a"]
            evil += ["http://a.evil", "http://a.", "http://a/", "http://user@a"]
            evil += ["http://a, http://a", "http://" + "a" * 8000]  # `ask` says Host: a
            for origin in evil:
                status, headers, body = await ask(server.url, "GET", target, Origin=origin)
                assert (status, body) == (403, b'{"code":4,"message":"Forbidden"}')
                assert "access-control-allow-origin" not in headers
                status, _, _ = await ask(
                    server.url,
                    "GET",
                    f"{SOCKET_IO}&transport=websocket",
                    Origin=origin,
                    Upgrade="websocket",
                    Connection="Upgrade",
                )
                assert status == 403
            wire = await Wire.open(server.url)
            origin = server.url.upper()
            await wire.send(
                f"GET {target} HTTP/1.1\r\nHost: {server.host}\r\nOrigin: {origin}\r\n\r\n"
            )
            assert (await wire.answer())[0] == 200

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert caplog.messages.count(
        "127.0.0.1: pages of https://evil may not connect, those of http://a may;"
        ' to let them, write: allow-origin "https://evil"'
    ) == len(["polling", "websocket"])


def test_allowed_origin_gets_its_headers(tmp_path: Path) -> None:
    async def test() -> None:
        target = f"{SOCKET_IO}&transport=polling"
        async with echo(tmp_path, 'allow-origin "https://a.example"') as server:
            status, headers, _ = await ask(server.url, "GET", target, Origin="https://a.example")
            assert (status, headers["access-control-allow-origin"]) == (200, "https://a.example")
            assert headers["vary"] == "Origin"
            assert (await ask(server.url, "GET", target, Origin="https://b.example"))[0] == 403
            status, headers, _ = await ask(
                server.url,
                "OPTIONS",
                target,
                Origin="https://a.example",
                Access_Control_Request_Headers="x-token",
            )
            assert status == 204
            assert headers["access-control-allow-methods"] == "GET, HEAD, PUT, PATCH, POST, DELETE"
            assert headers["access-control-allow-headers"] == "x-token"
        async with echo(tmp_path, 'allow-origin "*"') as server:
            _, headers, _ = await ask(server.url, "GET", target, Origin="https://any.example")
            assert headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in headers

    run(test())


def test_page_of_an_allowed_origin_may_read_that_its_payload_is_too_large(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, 'allow-origin "https://a.example"', "max-payload 100") as server:
            poller = await Poller.connect(server.url)
            for origin, told in (("https://a.example", True), ("https://b.example", False)):
                status, headers, body = await ask(
                    server.url, "POST", poller.target, b"4" * 101, Origin=origin
                )
                assert (status, body) == (413, b"")
                assert ("access-control-allow-origin" in headers) is told

    run(test())


def test_poll_that_crosses_the_close_packet_of_its_client_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of the two is here first, the poll ends well, and the next one does not."""

    async def test() -> None:
        async with echo(tmp_path, "allow-eio3 on") as server:
            for eio, close, noop in (("4", b"1", b"6"), ("3", b"1:1", b"1:6")):
                target = f"/socket.io/?EIO={eio}&transport=polling"
                _, _, opened = await ask(server.url, "GET", target)
                target += "&sid=" + re.findall(rb'"sid":"([^"]+)', opened)[0].decode()
                assert (await ask(server.url, "POST", target, close))[0] == 200
                assert not sessions(server)
                assert (await ask(server.url, "POST", target, close))[0] == 400
                assert (await ask(server.url, "GET", target))[::2] == (200, noop)
                assert (await ask(server.url, "GET", target))[0] == 400
            monkeypatch.setattr(endpoint_room, "CROSSING_S", 0.0)
            poller = await Poller.connect(server.url)
            await poller.post("1")
            (door,) = server.server._endpoints.values()
            assert isinstance(door, Endpoint)
            await until(lambda: not door._released)
            assert (await ask(server.url, "GET", poller.target))[0] == 400

    run(test())


def test_first_subprotocol_of_a_client_is_agreed_to(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            for query in ("", f"&sid={poller.sid}"):
                target = f"{SOCKET_IO}&transport=websocket{query}"
                offer = {"Sec-WebSocket-Protocol": "my-app, other"}
                websocket = await WebSocket.connect(server.url, target, **offer)
                assert websocket.answered["sec-websocket-protocol"] == "my-app"
            websocket = await WebSocket.connect(server.url, f"{SOCKET_IO}&transport=websocket")
            assert "sec-websocket-protocol" not in websocket.answered

    run(test())


def test_every_request_of_a_session_is_asked_for_its_origin(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            poller = await Poller.connect(server.url)
            for method in ("GET", "POST"):
                status, headers, body = await ask(
                    server.url, method, poller.target, b'42["evil"]', Origin="https://evil"
                )
                assert (status, body) == (403, error(4))
                assert not any(name.startswith("access-control") for name in headers)
            target = poller.target.replace("polling", "websocket")
            answer = await ask(server.url, "GET", target, b"", **UPGRADE, Origin="https://evil")
            assert (answer[0], answer[1]["connection"]) == (403, "close")
            assert answer[2] == b"Forbidden"
            await poller.post('42["mine"]')
            assert await poller.read() == '42["mine"]'

    run(test())


@pytest.mark.parametrize(
    ("fields", "own"),
    [
        (
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "chat.example"},
            "https://chat.example",
        ),
        (
            {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "chat.example:8443"},
            "https://chat.example:8443",
        ),
        ({"Forwarded": "for=10.0.0.1;proto=https;host=chat.example"}, "https://chat.example"),
    ],
    ids=["X-Forwarded", "port", "Forwarded"],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_origin_is_that_of_the_proxy_if_it_is_trusted(
    tmp_path: Path, fields: dict[str, str], own: str, trusted: bool
) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            if trusted:
                server.server.gate = Gate(trusted=trust(["127.0.0.0/8"]))
            for origin, allowed in ((own, trusted), ("http://a", not trusted), ("null", False)):
                more = fields | {"Origin": origin}
                status, _, body = await ask(server.url, "GET", POLL, b"", **more)
                assert status == (200 if allowed else 403)
                if allowed:
                    sid = json.loads(body[1:])["sid"]
                    target = f"{POLL}&sid={sid}"
                    assert (await ask(server.url, "POST", target, b"40", **more))[0] == 200
                    assert (await ask(server.url, "GET", target, b"", **more))[0] == 200
                target = POLL.replace("polling", "websocket")
                status, _, _ = await ask(server.url, "GET", target, b"", **more, **UPGRADE)
                assert status == (101 if allowed else 403)

    run(test())


def test_twice_an_origin_or_none_that_is_one_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path, 'allow-origin "*"') as server:
            for lines in ("Origin: http://a\r\nOrigin: http://a\r\n", "Origin: \r\n"):
                wire = await Wire.open(server.url)
                await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
                assert (await wire.answer())[::2] == (403, error(4))
            wire = await Wire.open(server.url)
            await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\nOrigin: \0\r\n\r\n")
            assert (await wire.answer())[0] == 400
            assert sessions(server) == []

    run(test())


ORIGIN = "https://page.example"


def reads(headers: dict[str, str]) -> bool:
    """Whether a browser lets the page of ORIGIN read the answer, its cookies included."""
    return (
        headers.get("access-control-allow-origin") == ORIGIN
        and headers.get("access-control-allow-credentials") == "true"
        and "Origin" in headers.get("vary", "")
    )


def test_allowed_page_may_read_every_answer(tmp_path: Path) -> None:
    guard = "request-headers ( unless X-Token is not int return 401 )"

    async def test() -> None:
        options = [f'allow-origin "{ORIGIN}"', "max-connections 1", guard]
        async with echo(tmp_path, *options) as server:

            async def asked(method: str, target: str, body: bytes = b"", **more: str) -> int:
                more |= {"Origin": ORIGIN}
                status, headers, _ = await ask(server.url, method, target, body, **more)
                assert reads(headers), (method, target, headers)
                return status

            assert await asked("OPTIONS", POLL) == 204
            assert await asked("GET", "/socket.io/?EIO=4") == 400
            assert await asked("GET", POLL, X_Token="1") == 401
            assert await asked("GET", POLL) == 200
            assert await asked("GET", POLL) == 503
            (connection,) = sessions(server)
            target = f"{POLL}&sid={connection.session.sid}"
            assert await asked("POST", target, b"40") == 200
            assert await asked("GET", target) == 200
            assert await asked("POST", target, b"nonsense") == 400
            assert await asked("GET", target) == 400

    run(test())


def test_preflight_of_another_page_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with echo(tmp_path) as server:
            fields = {"Origin": ORIGIN, "Access_Control_Request_Method": "POST"}
            status, headers, body = await ask(server.url, "OPTIONS", POLL, b"", **fields)
            assert (status, body) == (403, error(4))
            assert not any(name.startswith("access-control") for name in headers)

    run(test())
