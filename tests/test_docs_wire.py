"""docs/errors.md, on the wire: each row is what the server says, and what it says has a row."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from conftest import ROOT
from wire import Live, Poller, WebSocket, Wire, ask, live, run, socketio, until

from redbarrel_lite import engineio_query, wsproto
from redbarrel_lite.succession import NextApp

TEXT = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "redbarrel_lite"


def rows(name: str) -> list[list[str]]:
    """The cells of a table, without the fences around code that is a whole cell."""
    table = TEXT.partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0]
    lines = table.splitlines()[2:]
    assert lines, name
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def plain(cell: str) -> str:
    return cell.strip("`| ")


APP = """
    from redbarrel_lite import Refused
    async def echo(request):
        async for message in request.socketio:
            if message == ["fail"]:
                raise ValueError("on purpose")
    def no(globs, request):
        return False
    def failing(globs, request):
        raise ValueError("on purpose")
    def quick(request):
        pass
"""
RBR = """
    path chat ( method SOCKETIO, use python:MODULE.echo, max-payload 1000, max-connections 8 );
    path no ( method SOCKETIO, namespace /no, on connect use python:MODULE.no );
    path failing ( method SOCKETIO, namespace /failing, on connect use python:MODULE.failing );
    path ruled ( method SOCKETIO, namespace /ruled, use python:MODULE.echo,
        request-headers ( unless X-Token is int return 402 ) );
    path raw ( method WEBSOCKET, use python:MODULE.echo );
    path quick ( method WEBSOCKET, url /quick, use python:MODULE.quick );
"""
POLL = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}


# -- Engine.IO ---------------------------------------------------------------------------


def test_codes_of_engine_io_are_all_there_in_their_words() -> None:
    told = {int(code): plain(message) for code, message, *_ in map(tuple, rows("engineio"))}
    assert told == engineio_query.ERRORS


@pytest.mark.parametrize("row", rows("engineio"), ids=lambda row: row[0])
def test_example_of_an_engine_io_error_gets_it(tmp_path: Path, row: list[str]) -> None:
    code, message, status, example, _ = map(plain, row)
    asked = re.fullmatch(r"(\w+) (\?\S+?)`?(?: with `([\w-]+): (.+))?", example)
    assert asked is not None
    method, query, header, value = asked.groups()

    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            headers = {header.replace("-", "_"): value} if header else {}
            answer = await ask(server.url, method, f"/socket.io/{query}", b"", **headers)
            assert (answer[0], answer[2].decode()) == (
                int(status),
                f'{{"code":{code},"message":"{message}"}}',
            )

    run(test())


# -- statuses ----------------------------------------------------------------------------


async def crowded(server: Live) -> int:
    statuses = [(await ask(server.url, "GET", POLL))[0] for _ in range(9)]
    assert statuses[:8] == [200] * 8
    return statuses[8]


async def overlong(server: Live) -> int:
    poller = await Poller.connect(server.url)
    return (await ask(server.url, "POST", poller.target, bytes(1001)))[0]


async def many_cookies(server: Live) -> int:
    wire = await Wire.open(server.url)
    lines = "".join(f"X-{number}: {'x' * 4000}\r\n" for number in range(9))
    await wire.send(f"GET {POLL} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
    return (await wire.answer())[0]


def asks(method: str, target: str, **headers: str) -> Callable[[Live], Awaitable[int]]:
    async def asked(server: Live) -> int:
        wire = await Wire.open(server.url)
        return (await wire.ask(method, target, b"", **headers))[0]

    return asked


STATUSES: dict[int, Callable[[Live], Awaitable[int]]] = {
    101: asks("GET", SOCKET, **UPGRADE),
    200: asks("GET", POLL),
    204: asks("OPTIONS", POLL),
    400: asks("GET", SOCKET, **UPGRADE | {"Sec_WebSocket_Key": "short"}),
    403: asks("GET", SOCKET, **UPGRADE, Origin="https://other.example"),
    404: asks("GET", POLL.replace("socket.io", "socketio")),
    413: overlong,
    414: asks("GET", POLL + "&x=" + "x" * 9000),
    426: asks("GET", "/ws"),
    431: many_cookies,
    503: crowded,
}


def test_statuses_are_all_there() -> None:
    assert [int(row[0]) for row in rows("statuses")] == list(STATUSES)


@pytest.mark.parametrize("status", STATUSES)
def test_status_is_answered(tmp_path: Path, status: int) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            assert await STATUSES[status](server) == status

    run(test())


# -- close codes -------------------------------------------------------------------------


async def says(server: Live, target: str, frame: bytes) -> tuple[int, str]:
    websocket = await WebSocket.connect(server.url, target)
    await websocket.send(frame)
    return await websocket.read_close()


async def shut_down(server: Live) -> tuple[int, str]:
    websocket = await socketio(server.url)
    closing = asyncio.create_task(server.server.close(1.0))
    told = await websocket.read_close()
    websocket.close()
    await closing
    return told


async def restart(server: Live) -> tuple[int, str]:
    websocket = await socketio(server.url)
    files = [home.file.path for home in server.server.app.homes]
    await server.server.restart(NextApp.load(files, before=server.server.app, anew=True))
    return await websocket.read_close()


MASK = bytes(4)
CLOSES: dict[int, Callable[[Live], Awaitable[tuple[int, str]]]] = {
    1000: lambda server: says(server, "/quick", b""),
    1001: shut_down,
    1002: lambda server: says(server, SOCKET, b"\x81\x05Hello"),
    1007: lambda server: says(server, SOCKET, b"\x81\x81" + MASK + b"\xff"),
    1008: lambda server: says(server, SOCKET, b"\x81\x85" + MASK + b'42["]'),
    1009: lambda server: says(server, SOCKET, b"\x81\xfe\x03\xe9" + MASK + bytes(1001)),
    1011: lambda server: says(server, "/ws", b"\x81\x84" + MASK + b"fail"),
    1012: restart,
}


def codes_in_the_source() -> set[int]:
    """Those whose names stand anywhere in our side of the connection."""
    names = {"NORMAL_CLOSURE", "GOING_AWAY", "PROTOCOL_ERROR", "UNSUPPORTED_DATA"}
    names |= {"INVALID_PAYLOAD", "POLICY_VIOLATION", "MESSAGE_TOO_BIG", "INTERNAL_ERROR"}
    names |= {"SERVICE_RESTART"}
    used = set()
    for room in PACKAGE.glob("*.py"):
        if not re.search("client|dial|testing", room.name):
            text = re.sub(r"^[A-Z_]+: Final.*$", "", room.read_text(encoding="utf-8"), flags=re.M)
            used |= {name for name in names if re.search(rf"\b{name}\b", text)}
    return {getattr(wsproto, name) for name in used}


def test_close_codes_are_all_there() -> None:
    assert [int(row[0]) for row in rows("closes")] == list(CLOSES)
    assert set(CLOSES) == codes_in_the_source()


@pytest.mark.parametrize("code", CLOSES)
def test_close_code_is_sent(tmp_path: Path, code: int) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            assert (await CLOSES[code](server))[0] == code

    run(test())


# -- connect_error -----------------------------------------------------------------------


def refusals_in_the_source() -> set[str]:
    """The texts that are given to `Refused`, or to what refuses a namespace, here."""
    found = {"refused"}  # that of Refused() itself
    for room in ("client", "handlers", "sockets"):
        for node in ast.walk(ast.parse((PACKAGE / f"{room}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                called = ast.unparse(node.func).rpartition(".")[2]
                (text, *_) = node.args
                if called in ("Refused", "_refuse") and isinstance(text, ast.Constant):
                    found.add(str(text.value))
    return found


def test_messages_of_connect_errors_are_all_there() -> None:
    assert {plain(row[0]) for row in rows("connect_errors")} == refusals_in_the_source()


@pytest.mark.parametrize(
    ("namespace", "told"),
    [
        ("/nowhere", '{"message":"Invalid namespace"}'),
        ("/ruled", '{"message":"refused by a rule","data":{"status":402}}'),
        ("/no", '{"message":"refused"}'),
        ("/failing", '{"message":"the server failed; its log says why"}'),
    ],
)
def test_connect_error_is_told(tmp_path: Path, namespace: str, told: str) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, APP) as server:
            websocket = await socketio(server.url)
            await websocket.text(f"40{namespace},")
            assert await websocket.read() == f"44{namespace},{told}"
            websocket.close()
            await until(lambda: not any(map(len, server.server._endpoints.values())))

    run(test())
