"""Who is let in: the names that are served, and how large a head may be."""

from __future__ import annotations

import asyncio
import logging
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest
from conftest import Serve
from wire import Wire, ask, live, run, socketio, until

from redbarrel_lite.forwarded import trust
from redbarrel_lite.gate import LOOPBACK_NAMES, Gate, host_names, usual_names
from redbarrel_lite.http1 import Limits

RBR = """
    path socket ( method SOCKETIO, use python:MODULE.listen );
    path take ( method GET|POST, url /, use python:MODULE.take );
"""
SOURCE = """
    def listen(request):
        for message in request.socketio:
            pass
    async def take(request):
        return {"got": len(request.body)}
"""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
POLL = "/socket.io/?EIO=4&transport=polling"


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("chat.example", True),
        ("chat.example:8000", True),
        ("chat.example:", True),
        ("[2001:db8::1]", True),
        ("[2001:db8::1]:443", True),
        ("", False),
        (":80", False),
        ("chat.example.", False),
        ("chat.example.evil", False),
        ("evil-chat.example", False),
        ("www.chat.example", False),
        ("127.0.0.1", False),
        ("[2001:db8::2]", False),
        ("2001:db8::1", False),
    ],
)
def test_name_is_served_if_it_is_among_those_that_are(host: str, served: bool) -> None:
    gate = Gate(host_names(["Chat.Example", "[2001:db8::1]"]))
    assert gate.serves(host) is served
    assert Gate().serves(host)


@pytest.mark.parametrize("name", ["", "a:80", "http://a", "a/b", "a b", "2001:db8::1", "*", "é"])
def test_what_no_host_field_has_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host"):
        host_names(["a", name])


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_developer_s_server_has_the_names_of_its_machine_alone(address: str) -> None:
    assert usual_names(address, debug=True) == LOOPBACK_NAMES
    assert usual_names(address, debug=False) == frozenset()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_server_for_others_has_any_name(address: str) -> None:
    assert usual_names(address, debug=True) == frozenset()


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("10.1.2.3", ""),
        ("::ffff:10.1.2.3", ""),
        ("", ""),
    ],
)
def test_connection_counts_for_its_address(address: str, counted: str) -> None:
    gate = Gate(trusted=trust(["10.0.0.0/8"]), max_per_address=1)
    assert gate.counts_as(address) == counted
    assert Gate().counts_as(address) == ""


def test_address_has_so_many_connections_and_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.gate = Gate(max_per_address=2)
            socket = await socketio(server.url)  # it is one of them, though no HTTP any more
            kept = await Wire.open(server.url)
            assert (await kept.ask("GET", "/"))[0] == 200
            for _ in range(20):
                refused = await (await Wire.open(server.url)).rest()
                assert refused.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nretry-after: 1\r\n" in refused
            _, port = server.host.split(":")
            other = Wire(
                *await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            )
            assert (await other.ask("GET", "/"))[0] == 200
            other.close()
            assert (await kept.ask("GET", "/"))[0] == 200
            socket.close()
            await until(lambda: server.server._of_address["127.0.0.1"] == 1)
            await server.serves()
            kept.close()
            await server.empties()
            assert not server.server._of_address

    run(test())
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "127.0.0.1: refused: --max-per-address is 2"


def test_proxy_that_is_trusted_has_the_connections_of_all_its_clients(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.gate = Gate(trusted=trust(["127.0.0.1"]), max_per_address=1)
            for wire in [await Wire.open(server.url) for _ in range(5)]:
                assert (await wire.ask("GET", "/"))[0] == 200

    run(test())


def test_crowd_that_is_refused_is_one_line_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.gate = Gate(max_connections=1)
            kept = await Wire.open(server.url)
            assert (await kept.ask("GET", "/"))[0] == 200
            for told in (1, 1, 1, 2):
                if told == 2:
                    server.server._refusals_quiet_until = 0.0  # the minute is over
                assert (await (await Wire.open(server.url)).rest()).startswith(b"HTTP/1.1 503 ")
                assert len(caplog.records) == told

    run(test())
    assert caplog.messages == [
        "127.0.0.1: refused: --max-connections is 1",
        "127.0.0.1: refused: --max-connections is 1; 3 since this was told last",
    ]


def test_other_name_is_421_whatever_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """DNS rebinding: the page of evil.example, whose name points to this server now."""
    evil = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.gate = Gate(LOOPBACK_NAMES)
            for host in ("localhost:80", "LOCALHOST", "[::1]"):
                assert (await ask(server.url, "GET", "/", Host=host))[0] == 200
                assert (await ask(server.url, "GET", POLL, Host=host))[0] == 200
            for method, target, more in [
                ("GET", "/", {}),
                ("GET", "/__health__", {}),
                ("GET", "/nowhere", {}),
                ("POST", "/", {}),
                ("OPTIONS", "/", {}),
                ("GET", POLL, {}),
                ("POST", POLL + "&sid=x", {}),
                ("GET", POLL.replace("polling", "websocket"), UPGRADE),
            ]:
                status, headers, body = await ask(server.url, method, target, b"", **evil, **more)
                assert (status, b"evil" in body) == (421, False), (method, target)
                assert "access-control-allow-origin" not in headers
            wire = await Wire.open(server.url)
            await wire.send("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            assert (await wire.answer())[0] == 421
            await wire.send("GET / HTTP/1.0\r\n\r\n")  # and none at all
            assert (await wire.answer())[0] == 421

    with caplog.at_level(logging.INFO, "redbarrel_lite"):
        run(test())
    assert "'evil.example:8000' is no name of this server" in caplog.text
    assert "to serve it: --allow-host" in caplog.text


def test_body_of_a_request_for_another_name_is_not_read(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            server.server.gate = Gate(LOOPBACK_NAMES)
            wire = await Wire.open(server.url)
            await wire.send("POST / HTTP/1.1\r\nHost: evil\r\nContent-Length: 1000\r\n\r\n")
            assert (await wire.rest()).startswith(b"HTTP/1.1 421 ")
            wire.close()
            await server.empties()

    run(test())


def test_name_is_the_one_that_a_trusted_proxy_tells(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            for gate, seen in [
                (Gate(host_names(["chat.example"]), trust(["127.0.0.1"])), 200),
                (Gate(host_names(["chat.example"])), 421),
                (Gate(host_names(["127.0.0.1"]), trust(["127.0.0.1"])), 421),
            ]:
                server.server.gate = gate
                answer = await ask(
                    server.url,
                    "GET",
                    "/",
                    X_Forwarded_For="1.2.3.4",
                    X_Forwarded_Host="chat.example",
                )
                assert answer[0] == seen

    run(test())


def status(url: str, host: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host})) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_developer_s_server_is_not_for_strange_names(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("path a ( url /, use file:page.html );")
    server = serve(tmp_path / "app.rbr", "--debug")
    assert [status(server.url, host) for host in ("localhost", "evil.example")] == [200, 421]
    server = serve(tmp_path / "app.rbr")
    assert [status(server.url, host) for host in ("localhost", "evil.example")] == [200, 200]
    config = tmp_path / "rbr.ini"
    config.write_text("[rbr]\nallow-host = a.example B.example\nmax-fields = 5\ndebug = yes")
    server = serve(tmp_path / "app.rbr", "--config", str(config), "--allow-host", "c.example")
    hosts = ("a.example", "b.example:1", "c.example", "localhost")
    assert [status(server.url, host) for host in hosts] == [200, 200, 200, 421]


def test_limits_of_heads_are_those_that_are_given(tmp_path: Path) -> None:
    limits = Limits(line=100, head=300, fields=5)
    get, host = b"GET / HTTP/1.1\r\n", b"Host: a\r\n"
    field = b"X: " + b"x" * 97 + b"\r\n"
    heads = {
        get + host + b"X: a\r\n" * 4: 200,
        get + host + b"X: a\r\n" * 5: 431,
        get + host + field: 200,
        get + host + field.replace(b":", b"x:"): 431,
        b"GET /" + b"x" * 86 + b" HTTP/1.1\r\n" + host: 200,
        b"GET /" + b"x" * 87 + b" HTTP/1.1\r\n" + host: 414,
        get + host + field * 2 + b"Y: " + b"y" * 68 + b"\r\n": 200,
        get + host + field * 2 + b"Y: " + b"y" * 69 + b"\r\n": 431,
    }

    async def test() -> None:
        async with live(tmp_path, RBR.replace("url /,", "url /{x:.*},"), SOURCE) as server:
            server.server.gate = Gate(heads=limits)
            for head, expected in heads.items():
                for pieces in ([head + b"\r\n"], [bytes((byte,)) for byte in head + b"\r\n"]):
                    wire = await Wire.open(server.url)
                    for piece in pieces:
                        wire.writer.write(piece)
                    async with asyncio.timeout(30):
                        assert (await wire.answer())[0] == expected, head
                    wire.close()

    run(test())
