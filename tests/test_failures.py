"""What the log says of mistakes in user code: the user's frames, and what to write instead."""

from __future__ import annotations

import contextlib
import logging
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from redbarrel_lite import socketio, strictjson, testing
from redbarrel_lite.failures import help_for, user_traceback

# What people write who come from elsewhere, and what the log must say to it.
MISTAKES = {
    "def handler(socketio): socketio.recv()": "its socket is request.socketio: .recv(...)",
    "def handler(socket): socket.emit('x')": "its socket is request.socketio: .emit(...)",
    "async def handler(request): request.socketio.recv()[0]": "an await is missing",
    "async def handler(request):\n for m in request.socketio: pass": "come by `async for`",
    "async def handler(request):\n    a, b = request.socketio.call('x')": "an await is missing",
    "async def handler(request): len(request.socketio.call('x'))": "an await is missing",
    "def handler(request): request.socketio.recv().upper()": "arguments: message[0].upper",
    "def handler(request): request.socketio.on('x', print)": "`on EVENT use python:module",
    "def handler(request): request.socketio.to('room').emit('x')": "socketio.broadcast(x, ",
    "def handler(request): request.socketio.emit('x', room='a')": "request.server.emit(",
    "def handler(request): request.socketio.id": "write socketio.session.session_id",
    "def handler(request): request.socketio.sid": "write socketio.session.session_id",
    "def handler(request): request.socketio.disconnect()": "write socketio.close()",
    "def handler(request): request.socketio.enter_room('x')": "write socketio.join(room)",
    "def handler(request): request.socketio.receive()": "write socketio.recv()",
    "def handler(request): request.socketio.data['x'] = 1": "socketio.session, which is a dict",
    "def handler(request): request.socketio.handshake": "the handshake is the request",
    "def handler(request): request.socketio.emit({'a': 1})": (
        "the name of an event is a str, not dict: {'a': 1}"
    ),
    "def handler(request): request.socketio.emit('connect')": "that Socket.IO itself makes",
    textwrap.dedent("""
        import asyncio
        def handler(request):
            async def all_of_them():
                async for message in request.socketio:
                    pass
            asyncio.run(all_of_them())
    """): "`for message in socketio` wait",
}


def test_what_a_client_sent_gives_no_commands_to_a_terminal() -> None:
    told = user_traceback(ValueError("no user \x1b[2Jann\r\x9b1m\u2028grüße\n\ttwo lines\udcff"))
    assert told == r"ValueError: no user \x1b[2Jann\r\x9b1m\u2028grüße" + "\n\ttwo lines\\udcff"


@pytest.mark.parametrize("write", [partial(socketio.encode_ack, 1), strictjson.dumps])
def test_what_is_no_json_is_told_where_the_user_says_it(write: Callable[..., object]) -> None:
    with pytest.raises(TypeError) as raised:
        write([object()])
    told = user_traceback(raised.value)
    assert [told.count(word) for word in ("Traceback", f'File "{__file__}"', "File")] == [1, 1, 1]


@pytest.mark.parametrize("source", MISTAKES)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_log_says_what_to_write_instead(
    tmp_path: Path, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.rbr").write_text("path a ( method SOCKETIO, use python:mistaken.handler );")
    (tmp_path / "mistaken.py").write_text(source)
    with testing.client(tmp_path / "app.rbr") as client, client.socket() as ann:
        with contextlib.suppress(testing.SocketClosed):  # it may have failed already
            ann.send("x")
        assert ann.wait_disconnected() == "io server disconnect"
    (told,) = [one for one in map(logging.LogRecord.getMessage, caplog.records) if "failed" in one]
    assert MISTAKES[source] in told
    assert "redbarrel_lite" not in told


def test_service_that_speaks_to_a_client_is_told_of_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.rbr").write_text("path a ( url /, use python:mistaken.handler );")
    (tmp_path / "mistaken.py").write_text("def handler(request): request.socketio.send('x')")
    with testing.client(tmp_path / "app.rbr") as client:
        assert client.get("/").status == 500
    assert "help: a service has no client; request.server.broadcast(...)" in caplog.text


def test_other_errors_get_no_help() -> None:
    for error in (
        AttributeError("'X' object has no attribute 'y'"),
        ValueError("'Message' object"),
    ):
        assert help_for(error) == ""
        assert user_traceback(error).splitlines()[-1].endswith(str(error))


@pytest.mark.parametrize("handler", ["def handler(request)", "async def handler(request)"])
def test_handler_that_returns_at_once_is_told_of(
    tmp_path: Path, handler: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "app.rbr").write_text(
        "path a ( method SOCKETIO, use python:mistaken.handler );"
        "path b ( method SOCKETIO, namespace /b, use python:mistaken.other );"
    )
    (tmp_path / "mistaken.py").write_text(
        f"{handler}: request.socketio.send('welcome')\ndef other(request): request.socketio.close()"
    )
    with caplog.at_level(logging.INFO), testing.client(tmp_path / "app.rbr") as client:
        for namespace in ("/", "/b"):
            with client.socket(namespace) as ann:
                assert ann.wait_disconnected() == "io server disconnect"
    told = [record.getMessage() for record in caplog.records if record.name == "redbarrel_lite"]
    assert len(told) == 1
    assert told[0].startswith("handler of <socket ")
    assert told[0].endswith(
        "its client is turned out: a loop would keep it (for message in socketio)"
    )
