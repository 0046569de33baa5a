"""The client for tests: what it sends, what it gives back, how it begins and ends."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from redbarrel_lite import testing
from redbarrel_lite.errors import RbrError

ROOT = Path(__file__).resolve().parent.parent

RBR = """
global background python:told.background;
path echo ( method GET|POST|PUT|PATCH|DELETE|OPTIONS, url /echo/{rest:.*}, use python:told.echo );
path form ( method POST, url /form, use python:told.form );
path text ( url /text, use python:told.text );
path slow ( url /slow, use python:told.slow );
path off ( url /off, use python:told.off );
path fails ( url /fails, use python:told.fails );
path cookie ( url /cookie, use python:told.cookie );
path circle ( url /circle, use python:told.circle );
path moved ( method GET|POST|PUT|HEAD, url /moved/{code}, use python:told.moved );
path big ( method POST, url /big, max-body 10, use python:told.echo );
path file ( url /file, use file:large.bin );
path socket ( method SOCKETIO, use python:told.chat );
"""

SOURCE = """
import asyncio
from redbarrel_lite import Response

ENDED = []


async def background(globs):
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    task = asyncio.create_task(tick())
    yield ticks
    task.cancel()
    ENDED.append(True)


def echo(globs, request):
    names = [name for name in request.headers if name != "connection"]
    return {
        "method": request.method,
        "target": request.target,
        "headers": {name: request.headers[name] for name in names},
        "body": request.body.decode("latin-1"),
    }


def form(globs, request):
    told = []
    for name, value in request.POST.items():
        if not isinstance(value, str):
            value = [value.filename, value.type, value.file.read().decode()]
        told.append([name, value])
    return told


def text(globs, request):
    return Response("ä€".encode("utf-16"), content_type='text/plain; charset="utf-16"; a=b')


async def slow(globs, request):
    await asyncio.sleep(60)


async def off(globs, request):
    async def parts():
        yield b"begun"
        raise OSError("the disk is gone")

    return Response(stream=parts())


def fails(globs, request):
    raise OSError("no luck")


def cookie(globs, request):
    if request.query_string == "all":
        return dict(request.cookies)
    response = Response("")
    for field in request.query_string.split("&"):
        response.headers.add("set-cookie", field.replace("_", " "))
    return response


def circle(globs, request):
    return Response("", 302, {"location": "/circle"})


def moved(globs, request):
    return Response("", int(request.match["code"]), {"location": "../echo/there?a=b"})


def chat(globs, request):
    request.socketio.recv()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.rbr").write_text(RBR)
    (tmp_path / "told.py").write_text(SOURCE)
    (tmp_path / "large.bin").write_bytes(b"x" * 3_000_000)
    return tmp_path


@pytest.fixture
def client(folder: Path) -> Iterator[testing.Client]:
    with testing.client(folder / "app.rbr", timeout=20) as client:
        yield client


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options"])
def test_each_method_is_asked_with(client: testing.Client, method: str) -> None:
    answer = getattr(client, method)("/echo/")
    assert (answer.status, answer.json["method"]) == (200, method.upper())


def test_head_has_the_length_and_no_body(client: testing.Client) -> None:
    answer = client.head("/file")
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "3000000", b"")


def test_large_files_come_whole(client: testing.Client) -> None:
    assert client.get("/file").body == b"x" * 3_000_000


def test_headers_are_found_in_any_case_and_written_in_two_ways(client: testing.Client) -> None:
    answer = client.get("/echo/", headers={"X-One": "1", "x_odd": "2"}, x_two="3", Host="other")
    assert answer.headers["Content-TYPE"] == "application/json"
    assert answer.json["headers"] == {"host": "other", "x-one": "1", "x_odd": "2", "x-two": "3"}


@pytest.mark.parametrize(
    ("url", "params", "target"),
    [
        ("/echo/", {"a": "1 2", "b": ["x", "y"], "c": 3}, "/echo/?a=1+2&b=x&b=y&c=3"),
        ("/echo/?a=b", {"c": "&"}, "/echo/?a=b&c=%26"),
        ("/echo/ü b", None, "/echo/%C3%BC%20b"),
        ("/echo/%2e%2E/a", None, "/echo/%2e%2E/a"),
        ("/echo/?q={a}", {}, "/echo/?q={a}"),
    ],
)
def test_targets_are_written_as_they_must_be(
    client: testing.Client, url: str, params: dict[str, testing.Field] | None, target: str
) -> None:
    answer = client.get(url, params=params)
    assert answer.json["target"] == answer.url == target


@pytest.mark.parametrize(
    ("options", "body", "media_type"),
    [
        ({"body": b"\x00\xff"}, "\x00\xff", None),
        ({"body": "text"}, "text", "text/plain; charset=utf-8"),
        ({"json": {"a": [1]}}, '{"a": [1]}', "application/json"),
        ({"json": [], "content_type": "application/x"}, "[]", "application/x"),
        ({"data": {"a": ["1", "2"]}}, "a=1&a=2", "application/x-www-form-urlencoded"),
    ],
)
def test_bodies_are_sent(
    client: testing.Client, options: dict[str, object], body: str, media_type: str | None
) -> None:
    told = client.post("/echo/", **options).json
    assert (told["body"], told["headers"].get("content-type")) == (body, media_type)


def test_files_are_sent_with_names_and_types(client: testing.Client, folder: Path) -> None:
    (folder / "a.txt").write_text("ä")
    answer = client.post(
        "/form",
        data={"one": 1, "more": ["x", "y"]},
        files={
            "a": folder / "a.txt",
            "b": ('b".png', b"png"),
            "c": ("c", b"", "text/x"),
            "d": b"bytes",
        },
    )
    assert answer.json == [
        ["one", "1"],
        ["more", "x"],
        ["more", "y"],
        ["a", ["a.txt", "text/plain", "ä"]],
        ["b", ["b%22.png", "image/png", "png"]],
        ["c", ["c", "text/x", ""]],
        ["d", ["d", "application/octet-stream", "bytes"]],
    ]


def test_text_has_the_charset_that_it_says(client: testing.Client) -> None:
    assert client.get("/text").text == "ä€"
    assert client.get("/nowhere").text.startswith("404 ")


def test_cookies_are_kept_until_they_are_deleted(client: testing.Client) -> None:
    client.get("/cookie?a=1;Path=/&b=2;_Max-Age=60&c=3;expires=Tue,_01_Jan_2999_00:00:00_GMT")
    assert client.get("/cookie?all").json == client.cookies == {"a": "1", "b": "2", "c": "3"}
    client.get("/cookie?a=;Max-Age=0&b=;_expires=Thu,_01_Jan_1970_00:00:00_GMT&d=")
    client.cookies["e"] = "5"
    assert client.get("/cookie?all").json == {"c": "3", "d": "", "e": "5"}
    assert client.get("/cookie?all", cookie="f=6").json == {"f": "6"}


@pytest.mark.parametrize(
    ("code", "method", "then"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
    ],
)
def test_redirects_are_followed_if_asked_for(
    client: testing.Client, code: int, method: str, then: str
) -> None:
    assert client.request(method, f"/moved/{code}", body="text").status == code
    answer = client.request(method, f"/moved/{code}", body="text", follow=True)
    assert (answer.json["method"], answer.url) == (then, "/echo/there?a=b")
    assert answer.json["body"] == ("" if then == "GET" else "text")
    assert ("content-type" in answer.json["headers"]) == (then != "GET")


def test_other_answers_lead_nowhere(client: testing.Client) -> None:
    assert client.get("/moved/201", follow=True).status == 201
    assert client.get("/echo/", follow=True).status == 200


def test_circle_of_redirects_ends(client: testing.Client) -> None:
    with pytest.raises(RecursionError, match="over 20 redirects, the last to /circle"):
        client.get("/circle", follow=True)


def test_limits_are_those_of_the_server(client: testing.Client) -> None:
    assert client.post("/big", body=b"x" * 10).status == 200
    assert client.post("/big", body=b"x" * 11).status == 413
    assert client.post("/big", body=b"x" * 5_000_000).status == 413
    assert client.get("/echo/", x="y" * 100_000).status == 431


def test_handler_that_raises_is_told_of(
    client: testing.Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert client.get("/fails").status == 500
    assert "no luck" in caplog.text


def test_answer_that_breaks_off_is_an_error(client: testing.Client) -> None:
    with pytest.raises(ConnectionError, match="closed where it owed"):
        client.get("/off")
    assert client.get("/echo/").status == 200


def test_answer_that_does_not_come_is_an_error(folder: Path) -> None:
    with (
        testing.client(folder / "app.rbr", timeout=0.1) as client,
        pytest.raises(TimeoutError),
    ):
        client.get("/slow")


def test_handshake_of_sockets_is_answered(client: testing.Client) -> None:
    assert client.get("/socket.io/?EIO=4&transport=polling").text.startswith('0{"sid":"')


# -- begin and end -----------------------------------------------------------------------


def globals_of(folder: Path) -> dict[str, list[bool]]:
    """What the module of the application holds."""
    found = [
        module
        for module in sys.modules.values()
        if getattr(module, "__file__", None) == str(folder / "told.py")
    ]
    return vars(found[-1])


def test_globals_live_as_long_as_the_client(folder: Path) -> None:
    with testing.client(folder / "app.rbr") as client:
        client.get("/echo/")
        ended = globals_of(folder)["ENDED"]
        assert ended == []
    assert ended == [True]


def waits_until(condition: Callable[[], bool]) -> bool:
    seen = threading.Event()
    return any(condition() or seen.wait(0.01) for _ in range(1000))


def test_client_starts_when_it_is_asked_and_again_after_its_end(folder: Path) -> None:
    client = testing.client(folder / "app.rbr")
    client.close()
    assert client.get("/echo/").status == 200
    client.close()
    client.close()
    assert globals_of(folder)["ENDED"] == [True]
    assert client.get("/echo/").status == 200
    client.close()


def test_client_that_nobody_holds_ends(folder: Path) -> None:
    client = testing.client(folder / "app.rbr")
    client.get("/echo/")
    ended = globals_of(folder)["ENDED"]
    del client
    assert waits_until(lambda: ended == [True])
    assert "testing" not in {thread.name for thread in threading.enumerate()}


def test_what_runs_in_the_background_goes_on(folder: Path) -> None:
    (folder / "app.rbr").write_text(RBR + "path ticks ( url /ticks, use python:ticks.ticks );")
    (folder / "ticks.py").write_text("def ticks(globs, request):\n    return globs['background']")
    with testing.client(folder / "app.rbr") as client:
        before = len(client.get("/ticks").json)
        assert waits_until(lambda: len(client.get("/ticks").json) > before + 3)


def test_faulty_file_is_told_of_where_it_is_loaded(folder: Path) -> None:
    (folder / "app.rbr").write_text("path a ( url /, use python:told.nothing );")
    with pytest.raises(RbrError, match=r"told\.nothing"), testing.client(folder / "app.rbr"):
        pytest.fail("it started")
    assert "testing" not in {thread.name for thread in threading.enumerate()}


def test_several_files_are_one_application(folder: Path) -> None:
    (folder / "more.rbr").write_text("root /more; path a ( url /file, use file:more.rbr );")
    with testing.client(folder / "app.rbr", folder / "more.rbr") as client:
        assert client.get("/more/file").body == (folder / "more.rbr").read_bytes()
        assert client.get("/echo/").status == 200


def test_coroutines_ask_on_their_own_loop(folder: Path) -> None:
    async def main() -> None:
        client = testing.async_client(folder / "app.rbr")
        with pytest.raises(RuntimeError, match="async with"):
            await client.get("/echo/")
        async with client:
            methods = "get", "post", "put", "patch", "delete", "options"
            asked = (getattr(client, method)("/echo/") for method in methods)
            told = [answer.json["method"] for answer in await asyncio.gather(*asked)]
            assert told == [method.upper() for method in methods]
            assert (await client.head("/text")).body == b""

    asyncio.run(main(), debug=True)


# -- docs/testing.md ---------------------------------------------------------------------


def test_listings_of_the_docs_run(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:rbr|python)(?: (\S+))?\n(.*?)^```$", page, re.M | re.S)
    listings = {name or "app.rbr": code for name, code in blocks}
    for name, code in listings.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    assert list(listings) == (
        "app.rbr app.py test_app.py sockets.rbr chat.py test_chat.py test_async.py".split()
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 passed" in done.stdout
