"""Emitting from outside, against a server in this process: whom it reaches, and who may."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import Serve
from wire import SOCKET_IO, Live, Poller, WebSocket, Wire, _opened, ask, live, run, socketio, until

from redbarrel_lite import emitting
from redbarrel_lite.app import App
from redbarrel_lite.cluster import Cluster
from redbarrel_lite.emitting import (
    _MEMBERS,
    BadOrder,
    Desk,
    Order,
    answer_for_worker,
    read_token,
)
from redbarrel_lite.listener import Address
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.server import Server
from redbarrel_lite.succession import NextApp

TOKEN = "a-secret-of-enough-letters"
RBR = """
path s ( method SOCKETIO, on join use python:MODULE.join, on whoami use python:MODULE.whoami,
    on process use python:MODULE.process );
path other ( method SOCKETIO, namespace /other, on join use python:MODULE.join );
path ws ( method WEBSOCKET, url /ws );
"""
SOURCE = """
import os

async def join(globs, request, room):
    request.socketio.join(room)
    return request.socketio.session.session_id

async def whoami(globs, request):
    return request.socketio.session.session_id

async def process(globs, request):
    return os.getpid()
"""


@asynccontextmanager
async def server_of(folder: Path, rbr: str = RBR, **more: Any) -> AsyncIterator[Live]:
    async with live(folder, rbr, SOURCE, pages=[Desk(TOKEN.encode()).route], **more) as server:
        yield server


async def post(
    server: Live, order: object, target: str = "/__emit__", **headers: str
) -> tuple[int, Any]:
    """What an order is answered; the text of an error, the data of all else."""
    body = order if isinstance(order, bytes) else json.dumps(order).encode()
    headers = {"Authorization": f"Bearer {TOKEN}"} | headers
    status, _, answer = await ask(server.url, "POST", target, body, **headers)
    return status, json.loads(answer) if status == 200 else answer.decode().strip()


class Member:
    """A client that knows its sid."""

    def __init__(self, wire: WebSocket, sid: str) -> None:
        self.wire = wire
        self.sid = sid

    @classmethod
    async def enter(cls, server: Live, room: str) -> Member:
        return await cls.of(await socketio(server.url), room)

    @classmethod
    async def of(cls, wire: WebSocket, room: str) -> Member:
        await wire.text(f'420["join","{room}"]')
        (sid,) = json.loads((await wire.read())[3:])
        return cls(wire, sid)

    async def hears(self, packet: str) -> None:
        assert await self.wire.read() == packet


# -- what an order is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "the body is not JSON: "),
        ("event=news", "the body is not JSON: "),
        ('{"event": "a", "args": [NaN]}', "the body is not JSON: NaN is not JSON"),
        ("[]", 'the body is no object; send {"event": "news", "args": ["hello"]}'),
        ("{}", "there is no 'event'; send "),
        ('{"event": ""}', "'event' is a text that is not empty"),
        ('{"event": null}', "'event' is a text that is not empty"),
        ('{"event": "a", "args": "b"}', "'args' is a list: of all arguments"),
        ('{"event": "a", "args": [], "data": 1}', "'data' is the only argument, 'args' is "),
        ('{"event": "a", "rom": "b"}', "unknown member 'rom'; did you mean 'room'?"),
        ('{"event": "a", "?": 1}', "unknown member '?'; there are: event, args, data, room, to"),
        ('{"event": "a", "room": ["b"]}', "'room' is a text"),
        ('{"event": "a", "to": 5}', "'to' is a text that is not empty: the sid"),
        ('{"event": "a", "to": ""}', "'to' is a text that is not empty: the sid"),
        ('{"event": "a", "to": "b", "room": "c"}', "'to' means one client: it goes with neither"),
        ('{"event": "a", "to": "b", "exceptions": []}', "'to' means one client: "),
        ('{"event": "a", "exceptions": "b"}', "'exceptions' is a list of texts"),
        ('{"event": "a", "exceptions": [1]}', "'exceptions' is a list of texts"),
        ('{"event": "a", "namespace": 1}', "'namespace' is a text"),
        ('{"event": "a", "volatile": 1}', "'volatile' is true or false"),
        ('{"event": "a", "ack": true}', "'ack' is a number of seconds, more than 0 and up to 300"),
        ('{"event": "a", "ack": 0}', "'ack' is a number of seconds"),
        ('{"event": "a", "ack": 301}', "'ack' is a number of seconds"),
    ],
)
def test_order_that_could_not_be_done_is_refused_with_the_reason(body: str, told: str) -> None:
    with pytest.raises(BadOrder) as caught:
        Order.read(body.encode())
    assert str(caught.value).startswith(told)


def test_whatever_an_order_is_it_is_an_order_or_refused(tmp_path: Path) -> None:
    """Values of all kinds for each member; the server goes on, and says nothing of a fault."""
    chance = random.Random(7)
    values: list[Any] = [None, True, 0, 0.01, 1e308, -1, "", "/", "n", "connect", "\ud800"]
    values += ["\0" * 300, [], ["n"], [[]], {}, {"_placeholder": True, "num": 0}]
    values += ["message", "/ws", "/other"]

    async def test() -> None:
        async with server_of(tmp_path) as server:
            await Member.enter(server, "n")
            desk = [home.hub for home in server.server.app.homes]
            for _ in range(500):
                names = chance.sample(list(_MEMBERS), chance.randint(0, 4))
                order = {"event": "n"} | {name: chance.choice(values) for name in names}
                if order.get("ack"):
                    order["ack"] = 0.001
                with suppress(BadOrder):
                    read = Order.read(json.dumps(order).encode())
                    await (emitting.ask(desk, read) if read.ack else emitting.emit(desk, read))
            await server.serves()

    run(test())


def test_order_may_leave_out_all_but_the_event() -> None:
    assert Order.read(b'{"event": "a"}') == Order("a")
    assert Order.read(b'{"event": "a", "data": null}') == Order("a", [None])
    said = b'{"event": "a", "args": null, "room": null, "to": null, "ack": null}'
    assert Order.read(said) == Order("a")
    said = b'{"event": "a", "to": "b", "room": null, "exceptions": null, "args": null, "data": 1}'
    assert Order.read(said) == Order("a", [1], to="b")


def test_token_has_enough_of_what_a_header_can_carry(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert read_token(file) == TOKEN.encode()
    for text in ("!" * 16, "~" * 4096):
        file.write_text(text)
        assert read_token(file) == text.encode()
    for text in ("", "short", "with a blank in its middle", "ä" * 20, "x" * 5000):
        file.write_text(text)
        with pytest.raises(OSError, match="no token, which has 16 to 4096 letters"):
            read_token(file)


# -- whom it reaches -------------------------------------------------------------------------


def test_event_reaches_all_a_room_one_client_or_all_but_some(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            red = await Member.enter(server, "red")
            blue = await Member.enter(server, "blue")
            assert await post(server, {"event": "n", "args": [1, "é"]}) == (200, {"reached": 2})
            assert await post(server, {"event": "n", "data": [], "room": "red"}) == (
                200,
                {"reached": 1},
            )
            assert await post(server, {"event": "n", "to": blue.sid}) == (200, {"reached": 1})
            assert await post(server, {"event": "m", "exceptions": [red.sid]}) == (
                200,
                {"reached": 1},
            )
            for packet in ('42["n",1,"é"]', '42["n",[]]'):
                await red.hears(packet)
            for packet in ('42["n",1,"é"]', '42["n"]', '42["m"]'):
                await blue.hears(packet)

    run(test())


def test_nobody_is_reached_where_nobody_is(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            for order in ({}, {"room": "red"}, {"to": "nobody"}, {"namespace": "/other"}):
                assert await post(server, {"event": "n"} | order) == (200, {"reached": 0})

    run(test())


def test_what_is_volatile_reaches_who_is_ready(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            member = await Member.enter(server, "red")
            await Poller.connect(server.url)  # which does not poll
            order = {"event": "n", "volatile": True}
            assert await post(server, {"event": "n"}) == (200, {"reached": 2})
            assert await post(server, order) == (200, {"reached": 1})
            asked = asyncio.ensure_future(post(server, order | {"ack": 300}))
            for packet in ('42["n"]', '42["n"]', '420["n"]'):
                await member.hears(packet)
            await member.wire.text("430[]")
            assert (await asked)[1] == {"reached": 1, "acks": {member.sid: []}, "silent": []}

    run(test())


def test_namespace_that_no_file_has_is_refused_and_so_is_what_it_can_t_send(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            status, told = await post(server, {"event": "n", "namespace": "/x"})
            assert status == 400
            assert told == "400 no path has the namespace '/x'; there are: /, /other, /ws"
            raw = await WebSocket.connect(server.url, "/ws")
            await until(lambda: bool(server.server.app.hub.sockets("/ws")))
            order = {"event": "message", "namespace": "/ws"}
            assert await post(server, order | {"data": "hi"}) == (200, {"reached": 1})
            assert await raw.read() == "hi"
            for bad in ({"data": 5}, {"event": "n", "data": "x"}, {"data": "x", "ack": 1}):
                assert (await post(server, order | bad))[0] == 400

    run(test())


def test_what_can_t_be_said_is_refused_wherever_the_clients_are(tmp_path: Path) -> None:
    """And another worker that is asked all the same reaches nobody, without a traceback."""

    async def test() -> None:
        async with server_of(tmp_path) as server:
            cluster = Cluster()
            cluster.join(server.server.app.hubs)
            (home,) = server.server.app.hubs
            wrong: list[dict[str, Any]] = [
                {"event": "connect"},
                {"event": "message", "args": [5], "namespace": "/ws"},
                {"event": "message", "args": ["x"], "namespace": "/ws", "ack": 1},
            ]
            for order in (*wrong, wrong[0] | {"ack": 1}):
                assert (await post(server, order))[0] == 400, order
            await WebSocket.connect(server.url, "/ws")
            await until(lambda: bool(server.server.app.hub.sockets("/ws")))
            (raw,) = server.server.app.hub.sockets("/ws")
            wrong.append({"event": "n", "to": raw.session.session_id, "ack": 1})
            for order in wrong:
                nobody: Any = [{}, []] if "ack" in order else 0
                told = asdict(Order(**order))
                assert await answer_for_worker(cluster, [home, told]) == nobody, order

    run(test())


def test_each_root_has_a_page_for_the_files_below_it(tmp_path: Path) -> None:
    """And files of the server's own, such as the page of the wire, are not meant."""

    async def test() -> None:
        files: list[Path] = []
        for root in ("", "/a", "/__own__"):
            file = tmp_path / f"f{len(files)}" / "app.rbr"
            file.parent.mkdir()
            more = "path t ( method SOCKETIO, namespace /t );" if root == "/a" else ""
            file.write_text(f"root {root};\npath s ( method SOCKETIO );\n{more}"[6 * (not root) :])
            files.append(file)
        server = Server(App.load(files, pages=[Desk(TOKEN.encode()).route]))
        it = Live(server, await server.start(Address(port=0)), tmp_path)
        try:
            for root in ("", "/a", "/__own__"):
                wire = await WebSocket.connect(
                    it.url, f"{root}/socket.io/?EIO=4&transport=websocket"
                )
                await wire.read()
                await wire.text("40")
                await wire.read()
            assert await post(it, {"event": "n"}) == (200, {"reached": 2})
            assert await post(it, {"event": "n"}, "/a/__emit__") == (200, {"reached": 1})
            assert (await post(it, {"event": "n"}, "/__own__/__emit__"))[0] == 404
            assert await post(it, {"event": "n", "namespace": "/t"}) == (200, {"reached": 0})
            status, told = await post(it, {"event": "n", "namespace": "/x"})
            faults = ("/", "/, /t")
            texts = (f"no path has the namespace '/x'; there are: {one}" for one in faults)
            assert (status, told) == (400, f"400 {'; '.join(texts)}")
        finally:
            await server.close(0.1)

    run(test())


# -- acknowledgements ------------------------------------------------------------------------


def test_acknowledgements_are_told_by_sid_and_who_has_gone_was_silent(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            text, binary, gone = [await Member.enter(server, "red") for _ in range(3)]
            asked = asyncio.ensure_future(post(server, {"event": "q", "data": "?", "ack": 300}))
            for member in (text, binary, gone):
                await member.hears('420["q","?"]')
            await text.wire.text('430["yes",1]')
            await binary.wire.text('461-0[{"_placeholder":true,"num":0}]')
            await binary.wire.frame(0x82, b"\0\1")
            gone.wire.reset()
            assert (await asked)[1] == {
                "reached": 3,
                "acks": {text.sid: ["yes", 1], binary.sid: [{"base64": "AAE="}]},
                "silent": [gone.sid],
            }

    run(test())


def test_who_does_not_answer_in_time_was_silent(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            member = await Member.enter(server, "red")
            told = {"reached": 1, "acks": {}, "silent": [member.sid]}
            assert await post(server, {"event": "q", "ack": 0.01}) == (200, told)
            await member.hears('420["q"]')
            await member.wire.text('430["late"]')
            await member.wire.text('421["whoami"]')
            await member.hears(f'431["{member.sid}"]')

    run(test())


def test_last_acknowledgement_ends_the_wait(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            member = await Member.enter(server, "red")
            order = {"event": "q", "ack": 300, "to": member.sid}
            asked = asyncio.ensure_future(post(server, order))
            await member.hears('420["q"]')
            await member.wire.text("430[]")
            assert (await asked)[1] == {"reached": 1, "acks": {member.sid: []}, "silent": []}

    run(test())


def test_who_goes_while_others_are_yet_to_be_asked_was_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitting, "ASKED_A_TURN", 1)

    async def test() -> None:
        async with server_of(tmp_path) as server:
            members = [await Member.enter(server, "red") for _ in range(3)]
            hub = server.server.app.hub
            asked = asyncio.ensure_future(emitting.ask([hub], Order("q", ack=300)))
            await asyncio.sleep(0)  # the first one is asked now
            hub.by_sid[members[2].sid].close()
            for member in members[:2]:
                await member.hears('420["q"]')
                await member.wire.text("430[]")
            told = await asked
            assert told["silent"] == [members[2].sid]
            assert list(told["acks"]) == [one.sid for one in members[:2]]

    run(test())


def test_acknowledgements_beyond_the_limit_are_counted_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitting, "MAX_ANSWERS_BYTES", len('["yes"]'))

    async def test() -> None:
        async with server_of(tmp_path) as server:
            first, second = [await Member.enter(server, "red") for _ in range(2)]
            asked = asyncio.ensure_future(post(server, {"event": "q", "ack": 300}))
            for member in (first, second):
                await member.hears('420["q"]')
            await first.wire.text('430["yes"]')
            await first.wire.text('421["whoami"]')
            await first.hears(f'431["{first.sid}"]')  # so that the other one is second
            await second.wire.text("430[]")
            acks = {first.sid: ["yes"], second.sid: None}
            assert (await asked)[1] == {"reached": 2, "acks": acks, "silent": []}

    run(test())


def test_who_hangs_up_is_not_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path, limits=TimeLimits(half_closed=0.01)) as server:
            member = await Member.enter(server, "red")
            wire = await Wire.open(server.url)
            body = b'{"event": "q", "ack": 300}'
            head = f"POST /__emit__ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
            await wire.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await member.hears('420["q"]')
            (socket,) = server.server.app.hub.sockets()
            assert len(socket._own_acks()) == 1
            wire.reset()
            await until(lambda: not len(socket._own_acks()))

    run(test())


# -- who may, and how ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "challenge"),
    [
        (None, 'Bearer realm="emit"'),
        ("Basic YTpi", 'Bearer realm="emit"'),
        ("Bearer", 'Bearer realm="emit", error="invalid_token"'),
        ("Bearer x", 'Bearer realm="emit", error="invalid_token"'),
        (f"Bearer {TOKEN}x", 'Bearer realm="emit", error="invalid_token"'),
        (f"Bearer {TOKEN[:-1]}é", 'Bearer realm="emit", error="invalid_token"'),
    ],
)
def test_over_tcp_a_token_is_needed(tmp_path: Path, given: str | None, challenge: str) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            member = await Member.enter(server, "red")
            headers = {} if given is None else {"Authorization": given}
            body = b'{"event": "n"}'
            status, fields, told = await ask(server.url, "POST", "/__emit__", body, **headers)
            assert (status, fields["www-authenticate"]) == (401, challenge)
            assert TOKEN.encode() not in told
            await post(server, {"event": "allowed"}, Authorization=f"bearer  {TOKEN}")
            await member.hears('42["allowed"]')

    run(test())


def test_page_of_another_origin_is_not_told_that_it_may(tmp_path: Path) -> None:
    """A preflight comes before a token can: without an answer to it the browser sends nothing."""

    async def test() -> None:
        async with server_of(tmp_path) as server:
            status, fields, _ = await ask(
                server.url,
                "OPTIONS",
                "/__emit__",
                Origin="http://evil.example",
                Access_Control_Request_Method="POST",
                Access_Control_Request_Headers="authorization",
            )
            assert status == 204
            assert not [name for name in fields if name.startswith("access-control")]

    run(test())


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/x-www-form-urlencoded", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.x+json", 200),
        ("application/json; charset=latin-1", 200),  # which means nothing: RFC 8259 section 11
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/xml", 415),
    ],
)
def test_type_is_that_of_json_or_what_curl_says(tmp_path: Path, kind: str, status: int) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            assert (await post(server, {"event": "n"}, Content_Type=kind))[0] == status

    run(test())


def test_other_methods_and_large_bodies_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            status, fields, _ = await ask(server.url, "GET", "/__emit__")
            assert (status, fields["allow"]) == (405, "POST, OPTIONS")
            length = str(emitting.MAX_BODY_BYTES + 1)
            wire = await Wire.open(server.url)
            await wire.send(
                f"POST /__emit__ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
            )
            assert (await wire.answer())[0] == 413

    run(test())


def test_there_is_no_page_unless_it_is_asked_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            assert (await post(server, {"event": "n"}))[0] == 404

    run(test())


# -- on a Unix socket ------------------------------------------------------------------------


class Door(Wire):
    """A connection to the Unix socket."""

    @classmethod
    async def to(cls, path: str) -> Door:
        door = cls(*await asyncio.open_unix_connection(path))
        _opened.add(door)
        return door

    async def post(self, order: object, target: str = "/__emit__") -> tuple[int, Any]:
        status, _, body = await self.ask("POST", target, json.dumps(order).encode())
        return status, json.loads(body) if status == 200 else body.decode()


def mode_of(path: str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_unix_socket_is_its_owner_s_and_has_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "emit.sock")

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, emits_on=path) as server:
            assert mode_of(path) == 0o600
            member = await Member.enter(server, "red")
            assert await (await Door.to(path)).post({"event": "n"}) == (200, {"reached": 1})
            await member.hears('42["n"]')
            for target in ("/", "/socket.io/?EIO=4&transport=polling", "/__health__", "/__doc__"):
                assert (await (await Door.to(path)).post({"event": "n"}, target))[0] == 404
            assert (await post(server, {"event": "n"}))[0] == 404  # by TCP it was not asked for

    run(test())


def test_unix_socket_is_that_of_the_application_that_took_over(tmp_path: Path) -> None:
    path = str(tmp_path / "emit.sock")

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, emits_on=path) as server:
            door = await Door.to(path)
            assert (await door.post({"event": "n", "namespace": "/new"}))[0] == 400
            file = tmp_path / "app.rbr"
            file.write_text(file.read_text() + "path new ( method SOCKETIO, namespace /new );")
            await server.server.take_over(NextApp.load(file, before=server.server.app))
            assert (await door.post({"event": "n", "namespace": "/new"}))[0] == 200

    run(test())


def test_server_whose_unix_socket_is_in_use_does_not_start(tmp_path: Path) -> None:
    path = str(tmp_path / "emit.sock")

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE, emits_on=path):
            file = tmp_path / "app.rbr"
            other = Server(App.load(file))
            other.emits_on = path
            with pytest.raises(OSError, match="in use") as caught:
                await other.start(Address(port=0))
            assert caught.value.filename == path
        # What is left of a server that was killed is in nobody's way.
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        async with live(tmp_path, RBR, SOURCE, emits_on=path):
            await Door.to(path)

    run(test())


# -- with others -----------------------------------------------------------------------------


def test_clients_of_all_workers_are_reached_counted_and_waited_for(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "of_workers.py").write_text(SOURCE)
    file = tmp_path / "app.rbr"
    file.write_text(RBR.replace("MODULE", "of_workers"))
    path = str(tmp_path / "emit.sock")
    process = serve(file, "--workers", "2", "--emit-uds", path, "--log", "off")

    async def test() -> None:
        async def enter() -> tuple[str, Member]:
            wire = await WebSocket.connect(process.url, f"{SOCKET_IO}&transport=websocket")
            sid: str = json.loads((await wire.read())[1:])["sid"]
            await wire.text("40")
            await wire.read()
            return sid.partition(".")[0], await Member.of(wire, "red")

        found: list[tuple[str, Member]] = []
        while len({worker for worker, _ in found}) < 2:
            found += await asyncio.gather(*(enter() for _ in range(4)))
        members = [one for _, one in found]
        door = await Door.to(path)
        assert await door.post({"event": "n", "room": "red"}) == (200, {"reached": len(members)})
        for one in members:
            await one.hears('42["n"]')
            assert await door.post({"event": "to", "to": one.sid}) == (200, {"reached": 1})
            await one.hears('42["to"]')
        asked = asyncio.ensure_future(door.post({"event": "q", "ack": 60}))
        for one in members:
            await one.hears('420["q"]')
            await one.wire.text("430[1]")
        told = {"reached": len(members), "acks": {one.sid: [1] for one in members}, "silent": []}
        assert await asked == (200, told)
        # The page of the Unix socket is worker 0's. The other one is held.
        held = [one for worker, one in found if worker == "1"]
        await held[0].wire.text('421["process"]')
        pid = json.loads((await held[0].wire.read())[3:])[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            told = {"reached": len(members) - len(held), "workers": {"silent": 1, "of": 2}}
            assert await door.post({"event": "late"}) == (200, told)
        finally:
            os.kill(pid, signal.SIGCONT)
        for one in members:
            await one.hears('42["late"]')
        first = next(one for worker, one in found if worker == "0")
        await first.wire.text('422["process"]')
        pid = json.loads((await first.wire.read())[3:])[0]
        os.kill(pid, signal.SIGKILL)
        line = rf"^worker 0 \(process {pid}\) was ended by SIGKILL"
        await asyncio.to_thread(process.wait_for_line, line)

    run(test())
    process.stop()
    assert not Path(path).exists()  # nobody has come in the place of who is gone


class Recorder:
    """A link to others, who are known by what was published."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []

    def publish(self, message: dict[str, Any]) -> None:
        self.published.append(message)

    def relay(self, home: str, *packet: Any) -> None:
        self.published.append({home: packet})

    async def ask(self, _what: str, details: Any, _seconds: float) -> list[Any]:
        home, order = details
        assert home
        return [[{"far": ["yes"]}, ["silent"]]] if order["ack"] else [5]


def test_clients_of_other_servers_hear_it_and_are_not_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            cluster, workers, redis = Cluster(), Recorder(), Recorder()
            cluster.links += [workers, redis]
            cluster.workers = workers
            cluster.join(server.server.app.hubs)
            member = await Member.enter(server, "red")
            others = {"others": "the clients of other servers are not counted"}
            assert (await post(server, {"event": "n"}))[1] == {"reached": 6} | others
            assert [len(one.published) for one in (workers, redis)] == [1, 1]
            asked = asyncio.ensure_future(post(server, {"event": "q", "room": "red", "ack": 300}))
            for packet in ('42["n"]', '420["q"]'):
                await member.hears(packet)
            await member.wire.text("430[]")
            acks = {member.sid: [], "far": ["yes"]}
            told = {"reached": 3, "acks": acks, "silent": ["silent"]}
            assert (await asked)[1] == told | others
            # And those who say nothing are told of.
            server.server.app.hub.workers = (1, 2, 3)
            word = {"workers": {"silent": 2, "of": 4}}
            assert (await post(server, {"event": "n"}))[1] == {"reached": 6} | others | word
            # Where the one who is meant is here, nobody else is asked.
            order: dict[str, Any] = {"event": "n", "to": member.sid}
            assert (await post(server, order))[1] == {"reached": 1} | others
            held = word | {"acks": {"far": ["yes"]}, "silent": ["silent"], "reached": 2} | others
            order = {"event": "q", "ack": 1, "room": "nobody's"}
            assert (await post(server, order))[1] == held
            for _ in range(2):
                await member.hears('42["n"]')
            # The other workers were asked, and need not be told.
            assert [len(one.published) for one in (workers, redis)] == [2, 4]
            keys = ("method", "event", "room", "callback")
            assert [redis.published[1][key] for key in keys] == ["emit", "q", "red", None]

    run(test())


def test_question_of_another_worker_is_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with server_of(tmp_path) as server:
            cluster = Cluster()
            cluster.join(server.server.app.hubs)
            (home,) = server.server.app.hubs
            member = await Member.enter(server, "red")
            for told, count in (
                (Order("n"), 1),
                (Order("n", to=member.sid), 1),
                (Order("n", room="blue"), 0),
                (Order("n", namespace="/nowhere"), 0),
            ):
                assert await answer_for_worker(cluster, [home, asdict(told)]) == count
            assert await answer_for_worker(cluster, ["other", asdict(Order("n"))]) == 0
            order = asdict(Order("q", ack=300))
            answered = asyncio.ensure_future(answer_for_worker(cluster, [home, order]))
            await member.hears('420["q"]')
            await member.wire.text('461-0[{"_placeholder":true,"num":0}]')
            await member.wire.frame(0x82, b"\0")
            assert await answered == [{member.sid: [{"base64": "AA=="}]}, []]

    run(test())
