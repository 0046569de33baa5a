"""Rules around handshakes, proxies and streams: who comes in, and what is left of who does not."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

from ruled import module_in
from wire import PATIENCE_S, SOCKET_IO, Poller, Wire, ask, live, run, until

GUARDED = """
path chat ( method SOCKETIO, use python:MODULE.chat,
    request-headers ( unless X-Token validates with python:MODULE.token return 401 ) );
"""
GUARDED_SOURCE = """
asked = []
async def token(value):
    asked.append(value)
    return value == "sesame"
def chat(globs, request):
    for message in request.socketio:
        request.socketio.send(message[0])
"""
UPGRADE = (
    "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "X-Token: {token}\r\n\r\n"
)


def test_handshake_is_guarded_and_later_polls_are_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, GUARDED, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=polling"
            status, headers, body = await ask(server.url, "GET", target, X_Token="wrong")
            assert (status, headers["www-authenticate"]) == (401, 'Basic realm="chat"')
            assert b"breaks a rule" in body
            status, _, body = await ask(server.url, "GET", target, X_Token="sesame")
            assert status == 200
            poller = Poller(server.url)
            poller.sid = body.decode().split('"sid":"')[1].split('"')[0]
            await poller.post("40")  # without the token
            assert (await poller.read()).startswith("40")
            await poller.post('42["message","x"]')
            assert await poller.read() == '42["message","x"]'
            # Somebody else's origin, and a sid that nobody has, are refused before.
            status, _, _ = await ask(server.url, "GET", target, Origin="http://b", X_Token="sesame")
            assert status == 403
            find = server.server.app.homes[0].file.folder.modules.find
            assert find(f"{module_in(tmp_path)}.asked") == ["wrong", "sesame"]

    run(test())


def test_websocket_handshake_is_guarded(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, GUARDED, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=websocket"
            wire = await Wire.open(server.url)
            await wire.send(UPGRADE.format(target=target, token="wrong"))
            assert (await wire.answer())[0] == 401
            wire = await Wire.open(server.url)
            await wire.send(UPGRADE.format(target=target, token="sesame"))
            assert (await wire.answer())[0] == 101
            assert b'0{"sid":' in await wire.reader.read(100)

    run(test())


SHARED = """
path chat ( method SOCKETIO, use python:MODULE.chat );
path admin ( method SOCKETIO, namespace /admin, use python:MODULE.chat,
    request-headers ( unless X-Token validates with python:MODULE.token return 401 ) );
"""


def test_namespace_of_a_shared_url_is_guarded_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, SHARED, GUARDED_SOURCE) as server:
            for token, answer in (("wrong", '44/admin,{"message"'), ("sesame", '40/admin,{"sid"')):
                target = f"{SOCKET_IO}&transport=polling"
                _, _, body = await ask(server.url, "GET", target, X_Token=token)
                poller = Poller(server.url)
                poller.sid = body.decode().split('"sid":"')[1].split('"')[0]
                await poller.post("40/admin,")
                assert (await poller.read()).startswith(answer)
                await poller.post("40")
                assert (await poller.read()).startswith('40{"sid"')

    run(test())


def test_url_whose_namespaces_are_all_refused_is_refused(tmp_path: Path) -> None:
    rule = ", request-headers ( unless A type is int return 403 ) );"
    rbr = SHARED.replace("MODULE.chat );", "MODULE.chat" + rule)

    async def test() -> None:
        async with live(tmp_path, rbr, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=polling"
            assert (await ask(server.url, "GET", target))[0] == 403
            assert (await ask(server.url, "GET", target, A="1"))[0] == 200

    run(test())


def test_client_that_goes_during_its_handshake_leaves_no_session(tmp_path: Path) -> None:
    source = """
    import asyncio
    entered, release = asyncio.Event(), asyncio.Event()
    async def token(value):
        entered.set()
        await release.wait()
        return True
    def chat(globs, request): pass
    """

    async def test() -> None:
        async with live(tmp_path, GUARDED, source) as server:
            find = server.server.app.homes[0].file.folder.modules.find
            entered: asyncio.Event = find(f"{module_in(tmp_path)}.entered")
            release: asyncio.Event = find(f"{module_in(tmp_path)}.release")
            wire = await Wire.open(server.url)
            await wire.send(
                UPGRADE.format(target=f"{SOCKET_IO}&transport=websocket", token="sesame")
            )
            await entered.wait()
            wire.reset()
            await until(lambda: not server.server.connections)
            release.set()
            (endpoint,) = server.server._endpoints.values()
            await until(lambda: not endpoint._at_the_door)
            assert len(endpoint) == 0

    run(test())


# -- proxies ---------------------------------------------------------------------------


def test_rules_stand_around_a_proxy_and_its_websockets(tmp_path: Path) -> None:
    rbr = """
    path api ( method GET|POST, url /socket.io, allow-origin "*", use proxy:URL/socket.io,
        request-headers ( unless X-Token validates with python:MODULE.token return 401 ),
        response-headers ( set X-Kind "proxied" ) );
    path page ( url /page, use proxy:URL/page,
        response-body ( alter with python:MODULE.upper ) );
    path echo ( method POST, url /echo, use proxy:URL/echo,
        request-body ( unless type is json return 400 ) );
    """
    behind_rbr = """
    socket python:MODULE.chat;
    path page ( url /page, use file:page.html );
    path echo ( method POST, url /echo, use python:MODULE.echo );
    """
    source = GUARDED_SOURCE + (
        "def upper(body): return body.upper()\ndef echo(globs, request): return request.body\n"
    )
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind" / "page.html").write_text("a page " * 20_000)

    async def test() -> None:
        async with (
            live(tmp_path / "behind", behind_rbr, source) as behind,
            live(tmp_path, rbr.replace("URL", behind.url), source) as server,
        ):
            target = f"{SOCKET_IO}&transport=polling"
            assert (await ask(server.url, "GET", target, X_Token="wrong"))[0] == 401
            status, headers, _ = await ask(server.url, "GET", target, X_Token="sesame")
            assert (status, headers["x-kind"]) == (200, "proxied")
            for token, status in (("wrong", 401), ("sesame", 101)):
                wire = await Wire.open(server.url)
                websocket = f"{SOCKET_IO}&transport=websocket"
                await wire.send(UPGRADE.format(target=websocket, token=token))
                assert (await wire.answer())[0] == status
            assert b'0{"sid":' in await wire.reader.read(100)
            wire.close()
            assert (await ask(server.url, "GET", "/page"))[2] == b"A PAGE " * 20_000
            assert (await ask(server.url, "POST", "/echo", b"[1]"))[2] == b"[1]"
            assert (await ask(server.url, "POST", "/echo", b"[1"))[0] == 400

    run(test())


def test_stream_that_is_looked_through_is_closed_when_its_client_goes(tmp_path: Path) -> None:
    rbr = """
        path parts (
            url /, use python:MODULE.parts, response-body ( unless type is json return 503 )
        );
    """
    source = """
        import asyncio
        BEGUN, ENDED = asyncio.Event(), asyncio.Event()
        async def parts(request):
            try:
                yield "[1, "
                BEGUN.set()
                await asyncio.Event().wait()
            finally:
                ENDED.set()
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                await server.module.BEGUN.wait()
                linger = struct.pack("ii", 1, 0)  # close by RST
                client = wire.writer.get_extra_info("socket")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                wire.reset()
                await server.module.ENDED.wait()
            await until(lambda: not server.server._tasks)

    run(test())
