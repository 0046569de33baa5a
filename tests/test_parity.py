"""docs/parity.md names tests that exist; what no other test shows is shown here."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import sys
import textwrap
import urllib.request
from functools import cache
from pathlib import Path

import pytest
from conftest import Server

from redbarrel_lite import parse, testing
from redbarrel_lite.rbr_nodes import Field, Text

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
# Row, answer, tests; in the answer a "|" is escaped.
ROWS = re.findall(r"^\| ([A-Z]\d+) \| (.+) \| (`test_\w+\.py::test_[^|]+`) \|$", PAGE, re.M)
TESTS = [re.fullmatch(r"`(\w+\.py)::(\w+)`", one) for *_, cell in ROWS for one in cell.split(", ")]

# What a row of our list may be instead: dropped, done in another way, or not done yet.
OTHERWISE = {
    "A": [18],
    "B": [9, 14, 18],
    "C": [4, 5, 6, 7, 8, 11],
    "D": [7],
    "E": [8, 11, 12, 14],
}
LAST = {"A": 35, "B": 19, "C": 13, "D": 8, "E": 14, "F": 4, "H": 8}


@cache
def names_in(name: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / name).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_row_is_answered_once() -> None:
    expected = [
        f"{letter}{number}"
        for letter, last in LAST.items()
        for number in range(1, last + 1)
        if number not in OTHERWISE.get(letter, [])
    ]
    assert [row for row, *_ in ROWS] == expected
    table_lines = re.findall(r"^\| [A-Z]\d", PAGE, re.M)
    assert len(table_lines) == len(ROWS), "a row is not of the form that this test reads"


def test_every_named_test_exists() -> None:
    missing = []
    for match in TESTS:
        assert match is not None, ROWS
        if match[2] not in names_in(match[1]):
            missing.append(match[0])
    assert TESTS
    assert missing == []


def app(folder: Path, rbr: str, source: str = "") -> testing.Client:
    (folder / "app.rbr").write_text(textwrap.dedent(rbr))
    (folder / "parity_app.py").write_text(textwrap.dedent(source))
    return testing.client(folder / "app.rbr")


def test_each_verb_is_routed(tmp_path: Path) -> None:
    verbs = "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"
    paths = (
        f"path {verb} ( method {verb}, url /, use parity_app.{verb.lower()} );" for verb in verbs
    )
    source = "\n".join(f"def {verb.lower()}(request):\n    return '{verb}'" for verb in verbs)
    with app(tmp_path, "\n".join(paths), source) as client:
        assert [client.request(verb, "/").text for verb in verbs] == list(verbs)
    with app(tmp_path, "path a ( method PUT|PATCH, url /, use parity_app.put );", source) as client:
        assert [client.request(verb, "/").status for verb in ("PUT", "PATCH", "GET")] == [
            200,
            200,
            405,
        ]


def test_root_is_before_every_url_of_its_file(tmp_path: Path) -> None:
    with app(tmp_path, "root /shop; path a ( url /cart, use file:app.rbr );") as client:
        assert client.get("/shop/cart").status == 200
        assert client.get("/cart").status == 404


def test_fields_of_ones_own_are_in_the_tree() -> None:
    tree = parse('path a ( url /, x-author "me", request-body ( x-size 3 ) );')
    [path] = tree.paths
    own = path.get("x-author")
    assert isinstance(own, Text)
    assert own.text == "me"
    section = path.section.section("request-body")
    assert section is not None
    assert [entry.key.text for entry in section.entries if isinstance(entry, Field)] == ["x-size"]


def test_placeholders_are_in_match_and_in_parameters(tmp_path: Path) -> None:
    source = """
        def show(globs, request, year, rest, page="1"):
            return {"match": request.match, "own": [year, rest, page]}
        """
    rbr = r"path a ( url /{year:\d{4}}/{rest:.*}, use parity_app.show );"
    with app(tmp_path, rbr, source) as client:
        assert client.get("/2011/a/b%20c?page=2&other=3").json == {
            "match": {"year": "2011", "rest": "a/b c"},
            "own": ["2011", "a/b c", "2"],
        }
        assert client.get("/20111/a").status == 404


def test_service_that_is_down_says_when_to_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rbr = """
        path down ( url /down, use parity_app.down );
        path broken ( url /broken, use parity_app.broken, on error return 503 );
        """
    source = """
        from redbarrel_lite import exc

        def down(request):
            raise exc.HTTPServiceUnavailable("the database rests", {"retry-after": "120"})

        def broken(request):
            raise OSError("no route to the database")
        """
    with app(tmp_path, rbr, source) as client:
        answer = client.get("/down")
        assert (answer.status, answer.headers["retry-after"]) == (503, "120")
        assert "the database rests" in answer.text
        assert caplog.text == ""
        assert client.get("/broken").status == 503
        assert "no route to the database" in caplog.text


def test_nothing_of_a_url_becomes_a_page(tmp_path: Path) -> None:
    with app(tmp_path, "path a ( url /a, use file:app.rbr );") as client:
        answer = client.get("/<script>alert(1)</script>")
        assert answer.status == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert "script" not in answer.text


def test_handler_may_return_an_open_file(tmp_path: Path) -> None:
    source = """
        from redbarrel_lite import Response

        def show(request):
            return Response(stream=open(__file__, "rb"), content_type="text/x-python")
        """
    with app(tmp_path, "path a ( url /, use parity_app.show );", source) as client:
        answer = client.get("/")
        assert answer.body == (tmp_path / "parity_app.py").read_bytes()
        assert answer.headers["content-type"] == "text/x-python"


@pytest.mark.parametrize(("options", "level"), [(["--debug"], logging.DEBUG), ([], logging.INFO)])
def test_debug_is_for_the_log_and_for_the_loop(
    tmp_path: Path, options: list[str], level: int
) -> None:
    source = """
        import asyncio, logging

        async def tell(request):
            level = logging.getLogger("redbarrel_lite").level
            return {"level": level, "loop": asyncio.get_running_loop().get_debug()}
        """
    app(tmp_path, "path a ( url /, use parity_app.tell );", source)
    # Not the fixture, which has asyncio's debug mode on in any case.
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONASYNCIODEBUG"}
    command = [sys.executable, "-m", "redbarrel_lite", str(tmp_path / "app.rbr"), "--port", "0"]
    server = Server(command + options, environment)
    try:
        with urllib.request.urlopen(server.url, timeout=30) as answer:
            assert json.load(answer) == {"level": level, "loop": level == logging.DEBUG}
    finally:
        server.stop()


def test_socket_of_2011_has_its_names(tmp_path: Path) -> None:
    source = """
        def talk(globs, request):
            socketio = request.environ["socketio"]
            assert socketio is request.socketio
            assert (socketio.on_connect(), socketio.on_connect()) == (True, False)
            while True:
                message = socketio.recv()
                if not socketio.connected():
                    break
                socketio.send([socketio.session.session_id, *message])
                socketio.broadcast("said", exceptions=[])

        def tell(globs, request):
            request.environ["socketio"].server.broadcast("to all")
            return [name for name in ("send", "recv") if hasattr(request.socketio, name)]
        """
    rbr = "socket parity_app.talk; path tell ( url /tell, use parity_app.tell );"
    with app(tmp_path, rbr, source) as client, client.socket() as ann, client.socket() as bob:
        ann.send("hello")
        assert ann.recv() == [[ann.sid, "hello"]]
        assert bob.recv() == ["said"]
        assert client.get("/tell").json == []
        assert (ann.recv(), bob.recv()) == (["to all"], ["to all"])


def test_newcomer_to_the_chat_hears_what_was_said() -> None:
    with testing.client(ROOT / "examples" / "chat" / "chat.rbr") as client:
        with client.socket() as ann:
            assert list(json.loads(ann.recv()[0])) == ["buffer"]
            with client.socket() as bob:
                assert "announcement" in json.loads(ann.recv()[0])
                ann.send("is anybody there?")
                # Beside the buffer; whichever of the two threads was faster.
                told = [json.loads(bob.recv()[0]) for _ in range(2)]
                assert {"message": [ann.sid, "is anybody there?"]} in told
        with client.socket() as late:
            buffer = json.loads(late.recv()[0])["buffer"]
            assert buffer[-1]["message"][1] == "is anybody there?"


@pytest.mark.parametrize("name", ["chat", "chat_async"])
def test_what_the_chat_cannot_tell_ends_who_said_it_and_nobody_else(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with testing.client(ROOT / "examples" / "chat" / f"{name}.rbr") as client:
        with client.socket() as ann:
            ann.recv()
            ann.send(b"\x01\x02")
            with pytest.raises(testing.SocketClosed):
                ann.recv()
        assert "is not JSON serializable" in caplog.text
        with client.socket() as bob:
            assert list(json.loads(bob.recv()[0])) == ["buffer"]
