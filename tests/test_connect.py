"""`connect`: its page word by word, against the real server; and what can be mistyped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from conftest import ROOT, STOP_S, Serve, serving

from redbarrel_lite.conversations import (
    MAX_SHOWN_CHARACTERS,
    Mistyped,
    OverHTTP,
    Way,
    bytes_of,
    header_of,
    kind_of,
    shown,
    values_of,
    visible,
)

PAGE = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
SESSIONS = re.findall(r"```session ([^\n]+)\n(.*?)```", PAGE, re.DOTALL)
# What differs from run to run, and how the page has it.
SHOWN = (
    (r"sid [\w-]+", "sid SID"),
    (r"(?<=date: ).+", "DATE"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8000"),
    (r"(?<=Accept: )\S+", "HASH"),
    (r"(?<=GET /raw HTTP/1\.1 \()\d+", "156"),  # a port may have four digits, or five
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talk")
    for language in ("rbr", "python"):
        found = re.search(rf"```{language}\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
        assert found is not None
        (folder / found[1]).write_text(found[2], encoding="utf-8")
    return folder / "talk.rbr"


@pytest.fixture(scope="module")
def url(application: Path) -> Iterator[str]:
    with serving() as start:
        yield start(application).url


class Talk:
    """`connect` as a process, its lines one by one."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "redbarrel_lite", "connect", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().rstrip("\n")
        for pattern, told in SHOWN:
            line = re.sub(pattern, told, line)
        return line

    def end(self) -> int:
        """Close its input, and wait; the exit status."""
        with self.process as process:
            process.communicate(timeout=STOP_S)
        return process.returncode


@pytest.fixture
def talk() -> Iterator[list[Talk]]:
    begun: list[Talk] = []
    yield begun
    for one in begun:
        one.process.kill()
        one.process.communicate()


def is_typed(line: str, kind: str) -> bool:
    """Whether a line of a session is what somebody typed: it has no mark."""
    if kind == "http":
        return bool(re.match(r"[A-Z]+ /", line))
    return not line.startswith(("#", "< ", "! ", "  ", "Socket.IO at", "WebSocket "))


@pytest.mark.parametrize("number", range(len(SESSIONS)))
def test_session_of_the_page_is_what_happens(url: str, talk: list[Talk], number: int) -> None:
    told, text = SESSIONS[number]
    asked, *options = told.split()
    talk.append(one := Talk(asked.replace("127.0.0.1:8000", url.removeprefix("http://")), *options))
    for line in text.splitlines():
        if is_typed(line, kind_of(asked)):
            one.say(line)
        else:
            assert one.hear() == line


def script(url: str, *lines: str, more: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """The exit status, and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", "connect", url, *more],
        cwd=ROOT,
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_connection_of_no_request_is_explained_in_a_trace(url: str) -> None:
    _, heard = script(url, "GET /hello", more=("--trace",))
    why, connected, *more = heard
    assert why.startswith("* whether anybody is there: a connection without a request")
    assert connected.startswith("#1 ·      connected: ")
    assert "#1 ·      closed" in more
    assert not any(line.startswith("* ") for line in script(url, "GET /hello")[1])


def test_trace_for_programs_has_standard_output_for_itself(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", "connect", f"{url}/socket.io/", "--trace=json"],
        cwd=ROOT,
        input="hello\n/wait\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["event"].startswith("connected: ")
    assert done.stderr.splitlines()[1:] == ['< message "hello"']


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
def test_script_hears_what_it_waits_for(url: str, transport: str) -> None:
    more = ("--transport", transport)
    status, said = script(f"{url}/socket.io/", "hello", "/wait message", "/call add 1 2", more=more)
    assert (status, said[1:3]) == (0, ['< message "hello"', "< acknowledgement 3"])
    assert said[0].endswith("polling" if transport == "polling" else "websocket")


def test_session_moves_from_polling_when_it_is_told_to(url: str) -> None:
    lines = ("/ping", "/upgrade", "hello", "/wait message", "/ping x", "/wait pong", "/upgrade")
    status, said = script(f"{url}/socket.io/", *lines, more=("--transport", "polling"))
    assert status == 1
    assert said[1:] == [
        "! this goes over a WebSocket only, and here is none",
        "  over websocket now",
        '< message "hello"',
        "< pong x",
        "! this session offers no upgrade to a WebSocket now",
    ]


def test_poll_may_wait_for_its_ping_longer_than_for_an_answer(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(
        "async def silent(request):\n    async for _ in request.socketio:\n        pass\n"
    )
    (tmp_path / "silent.rbr").write_text(
        "path silent ( method ENGINEIO, use python:silent.silent, ping-interval 1.3 );"
    )
    url = serve(tmp_path / "silent.rbr").url
    shown: list[str] = []

    async def polled() -> None:
        talk = OverHTTP(Way(url, timeout=1.0), shown.append)
        await talk.say("GET /engine.io/?EIO=4&transport=polling")
        sid = shown[-1].split('"')[3]
        await talk.say(f"GET /engine.io/?EIO=4&transport=polling&sid={sid}")

    asyncio.run(polled())
    assert shown[-1] == "\n2"


def test_engine_io_without_socket_io(serve: Serve) -> None:
    server = serve(ROOT / "tests/apps/engine.rbr")
    status, said = script(
        f"{server.url}/engine.io/",
        "hello",
        "/wait",
        "/binary 00 ff",
        "/wait",
        "/close",
        more=ENGINE,
    )
    assert status == 0
    assert said[1:3] == ["< hello", "< 2 bytes: 00 ff"]


ENGINE = ("--as", "engineio")


MISTYPED = {
    "/ack 1": "no event has asked for an acknowledgement, or it has its own",
    "/emit": 'which event? /emit NAME and its arguments: /emit news {"id": 7}',
    "/emit x y": "'y' is no JSON; text is in quotes: \"hello\"",
    "/binary 00 fg": "this is not hexadecimal: 'g' in 'fg' (byte 2, character 5);"
    " bytes are written so: 81 05 68 65 6c 6c 6f",
    "/raw": "which bytes? They are written so: 81 05 68 65 6c 6c 6f",
    "/xyz": "there is no command /xyz; /help says what there is",
    "/ping " + "x" * 126: "a ping has room for 125 bytes, these are 126",
    "/emit connect": "'connect' is the name of an event that Socket.IO itself makes",
}


def test_what_is_mistyped_is_told_and_the_rest_goes_on(url: str) -> None:
    status, heard = script(f"{url}/socket.io/", *MISTYPED, "hello", "/wait message")
    assert status == 1
    assert heard[1:] == [*(f"! {said}" for said in MISTYPED.values()), '< message "hello"']


def test_request_without_its_method_is_mistyped(url: str) -> None:
    assert script(url, "/hello?name=Ann", "get /hello?name=Ann a b", "/heade x", "GET hello")[1][
        1:
    ] == [
        "! there is no command /hello?name=Ann; a request begins with its method:"
        " GET /hello?name=Ann",
        "! methods are written in capitals: GET /hello?name=Ann a b",
        "! there is no command /heade; did you mean /header?",
        "! that is no request: write a method and a path, such as GET /",
    ]


def test_target_is_encoded_as_a_browser_does(url: str) -> None:
    status, heard = script(url, "GET /hello?name=Grüße")
    assert (status, heard[-1]) == (0, '{"hello": "Grüße"}')


def test_close_codes_that_may_not_be_sent_are_mistyped(url: str) -> None:
    way = f"ws{url.removeprefix('http')}/raw"
    status, heard = script(way, "/close 1005", "/close 5000", "/close 4999 bye")
    assert status == 1
    may_not, no_code, closed = heard[1:]
    assert may_not.startswith("! close code 1005 must not be sent (RFC 6455 7.4)")
    assert no_code.startswith("! '5000' is no close code")
    assert closed == "! closed with 4999"


@pytest.mark.parametrize(
    ("scheme", "path", "leads_to"),
    [
        ("http", "", "/socket.io/"),
        ("http", "/a/?b", "/a/socket.io/"),
        ("WS", "/raw", "/socket.io/"),
    ],
)
def test_commands_of_socket_io_name_the_url_that_knows_them(
    url: str, scheme: str, path: str, leads_to: str
) -> None:
    way = f"{scheme}{url.removeprefix('http')}{path}"
    status, heard = script(way, "/emit add 1 2", "/call add 1 2", "/ack")
    assert status == 1
    assert heard[1:] == [
        f"! {name} is for Socket.IO: connect to {url}{leads_to} instead"
        for name in ("/emit", "/call", "/ack")
    ]


def test_who_is_not_there_or_speaks_something_else_is_told_in_a_line(url: str) -> None:
    nobody = "http://127.0.0.1:1"
    assert script(nobody) == (1, [f"! {nobody}: Connection refused"])
    status, said = script(f"{url}/hello", more=("--as", "websocket"))
    assert (status, said) == (1, ['! /hello answers 200: {"hello": "world"}'])
    assert script("foo://x")[1] == [
        "error: 'foo://x' is no url of a server: write http://127.0.0.1:8000"
    ]


def test_end_by_the_server_is_told_and_what_was_not_done_counts(url: str) -> None:
    status, said = script(f"{url}/socket.io/", "/packet 4zz", "/wait")
    assert status == 1
    assert said[1].startswith("! / is disconnected: ")
    status, said = script(f"{url}/socket.io/", "/drop")
    assert (status, said[1:]) == (0, ["! / is disconnected: transport close"])


def test_what_is_not_sent_because_of_the_end_is_told(url: str) -> None:
    way = f"ws{url.removeprefix('http')}/raw"
    for end in ("/close", "/drop", "/raw 81 05 48 65 6c 6c 6f"):
        talk = Talk(way)
        assert talk.hear().startswith("WebSocket ")
        talk.say(end)
        assert talk.hear().startswith("! closed with ")
        talk.say("late")
        assert talk.hear() == "! the connection has ended; not sent, nor what follows: late"
        assert talk.end() == 1


@pytest.mark.parametrize(
    ("path", "transport", "goodbye"),
    [
        ("raw", "websocket", "! closed with 1006"),
        ("socket.io/", "websocket", "! / is disconnected: transport close"),
        ("socket.io/", "polling", "! / is disconnected: transport error"),
    ],
)
def test_end_that_nobody_wanted_is_status_1(
    serve: Serve, application: Path, path: str, transport: str, goodbye: str
) -> None:
    server = serve(application)
    scheme = "ws" if path == "raw" else "http"
    talk = Talk(f"{scheme}://127.0.0.1:{server.port}/{path}", "--transport", transport)
    talk.hear()
    talk.say("hello")
    assert talk.hear() in ("< hello", '< message "hello"')
    server.kill()
    assert talk.hear().startswith(goodbye)
    assert talk.end() == 1


def test_reason_that_has_no_room_is_not_sent(url: str) -> None:
    way = f"ws{url.removeprefix('http')}/raw"
    status, heard = script(way, f"/close 4000 {'x' * 122}é", "hello", "/wait")
    assert status == 1
    assert heard[1:] == [
        "! a reason has room for 123 bytes, these are 124 (RFC 6455 5.5)",
        "< hello",
    ]
    assert script(way, f"/close 4000 {'x' * 123}")[1][1:] == ["! closed with 4000"]


def test_tls_where_there_is_none_is_told_in_words(url: str) -> None:
    for scheme in ("https", "wss"):
        secure = f"{scheme}{url.removeprefix('http')}/"
        told = f"! {secure}: what answers is no TLS; where none is spoken, write http:// or ws://"
        assert script(secure) == (1, [told])


def test_port_that_hangs_up_may_speak_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(STOP_S)

        def hang_up() -> None:
            listener.accept()[0].close()

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        status, (said,) = script(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
        hanging_up.join()
    assert status == 1
    assert said.endswith("where TLS is spoken, write https:// or wss://")


def test_line_that_is_being_typed_at_the_end_is_told_of(serve: Serve, application: Path) -> None:
    pty = pytest.importorskip("pty", reason="no terminals here")
    server = serve(application)
    near, far = pty.openpty()
    command = ["-m", "redbarrel_lite", "connect", f"ws://127.0.0.1:{server.port}/raw"]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdin=far, stdout=far, stderr=far
    ) as process:
        os.close(far)
        with os.fdopen(near, "r+b", buffering=0) as terminal:
            until(terminal, rb"> ")
            terminal.write(b"half a li")
            until(terminal, rb"half a li")
            server.kill()
            until(terminal, rb"not sent, nor what follows: half a li")
            assert process.wait(STOP_S) == 1


def test_terminal_shows_what_comes_above_what_is_typed(url: str) -> None:
    pty = pytest.importorskip("pty", reason="no terminals here")
    near, far = pty.openpty()
    command = ["-m", "redbarrel_lite", "connect", f"ws{url.removeprefix('http')}/raw"]
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdin=far, stdout=far, stderr=far
    ) as process:
        os.close(far)
        with os.fdopen(near, "r+b", buffering=0) as terminal:
            heard = until(terminal, rb"> ")
            terminal.write(b"hello\n")
            heard += until(terminal, rb"(?s)< hello.*> ")  # it is asking again, or still
            terminal.write(b"\x04")
            assert process.wait(STOP_S) == 0
    assert b"WebSocket ws://" in heard
    assert b"/help says what else there is" in heard


def until(terminal: IO[bytes], end: bytes) -> bytes:
    heard = b""
    while not re.search(end, heard):
        heard += terminal.read(1024)
    return heard


def test_urls_say_what_is_spoken() -> None:
    assert kind_of("ws://x/socket.io/") == kind_of("wss://x") == "websocket"
    assert kind_of("http://x/a/socket.io/?a=b") == "socketio"
    assert kind_of("https://x/engine.io") == "engineio"
    assert kind_of("http://x/") == "http"


def test_values_are_read_one_after_the_other() -> None:
    assert values_of('1 "two words", {"a": [3]} null') == [1, "two words", {"a": [3]}, None]
    assert values_of(" ") == []
    for written in ("0001 ff", "0x00,0x01,0xff", "00:01:FF", "00-01-ff", r"\x00\x01\xff"):
        assert bytes_of(written) == b"\x00\x01\xff"
    assert bytes_of(r"b'\x00\x01\xff'") == bytes_of("[0, 1, 255]") == b"\x00\x01\xff"
    assert shown(b"\x01") == "1 byte: 01"
    assert header_of("X-A : b: c") == ("x-a", "b: c")
    for text in ("no colon", ": x", "a: b\r\nc: d"):
        with pytest.raises(Mistyped):
            header_of(text)


def test_nothing_that_comes_moves_the_cursor() -> None:
    assert visible("a\x1b[2J\x07b\u202e") == "a\\x1b[2J\\x07b\\u202e"
    assert visible("x" * (MAX_SHOWN_CHARACTERS + 1)).endswith("x... (10001 characters)")


def test_content_has_the_kind_that_it_looks_like(url: str) -> None:
    lines = ("POST /hello name=Ann", 'POST /hello {"a": 1}', "POST /hello so", "/header A: b")
    _, said = script(url, *lines, "POST /hello [1]", more=("--trace=explain",))
    kinds = [line.split()[1] for line in said if line.startswith("      content-type: ")]
    form, is_json = "application/x-www-form-urlencoded␍", "application/json␍␊"  # as is each answer
    assert kinds == [form, *[is_json] * 6]
    more = ("--trace=explain", "--header", "content-type: x/y")
    _, said = script(url, "POST /hello [1]", more=more)
    assert sum(line.startswith("      content-type: ") for line in said) == 2


def test_arguments_are_checked() -> None:
    for option, spoken in (
        (("--auth", "{}"), "websocket"),
        (("--namespace", "/x"), "engineio"),
        (("--subprotocol", "x"), "socketio"),
    ):
        status, said = script("http://127.0.0.1:1", more=(*option, "--as", spoken))
        assert status == 1
        assert said[-1].startswith(f"error: {option[0]} is for ")
    for wrong in (("--auth", "3"), ("--auth", "x"), ("--header", "x")):
        status, said = script("http://127.0.0.1:1", more=wrong)
        assert status == 2
        assert "error: argument" in said[-1]
