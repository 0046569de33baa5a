"""``--reload``: a real server, files that change, and clients that are connected meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from conftest import ROOT, Serve
from unserved import write
from wire import Poller, WebSocket, ask, run, socketio

from redbarrel_lite.cli import main

RBR = """
global text file:text.txt;
global ended python:app.ended;
path page ( url /, use file:page.html );
path pages ( url /pages/{path:.*}, use directory:pages );
path say ( url /say, use python:app.say );
path s ( method SOCKETIO, on say use python:app.say_it );
path raw ( method WEBSOCKET, url /raw, use python:app.raw );
include "more/more.rbr" at /more;
"""
MORE = "path more ( url /said, use python:app.said );"
FILES = {
    "app.rbr": RBR,
    "app.py": """
from helper import WORD
import sys

def ended(globs):
    yield "ended"
    sys.stderr.write(f"{WORD} ends\\n")
    sys.stderr.flush()

async def say(globs, request):
    return WORD + globs["text"]

async def say_it(globs, request):
    return WORD

async def raw(globs, request):
    async for message in request.socketio:
        request.socketio.send(message[0])
""",
    "helper.py": "WORD = 'one'",
    "text.txt": "!",
    "page.html": "<p>one</p>",
    "pages/style.css": "p {}",
    "more/more.rbr": MORE,
    "more/app.py": "from words import WORD\ndef said(request): return WORD",
    "more/words.py": "WORD = 'more'",
}
BEGUN = "The application has begun anew."


class Changing:
    """A server with --reload, and its files."""

    def __init__(self, serve: Serve, folder: Path, *options: str, faults: bool = False) -> None:
        self.folder = folder
        write(folder, **FILES)
        hosts = ("--allow-host", "a", "127.0.0.1", "localhost")  # "a" is whom `ask` asks for
        options = ("--reload", *(options or hosts))
        self.server = serve(folder / "app.rbr", *options, traceback_expected=faults)
        self.url = self.server.url

    async def told(self, line: str) -> None:
        await asyncio.to_thread(self.server.wait_for_line, line)

    async def stays(self, times: int) -> None:
        line = "The application of before stays."
        await asyncio.to_thread(self.server.wait_for_count, line, times)

    async def begins(self, name: str, times: int = 1) -> None:
        line = f"Changed: {self.folder / name}. {BEGUN}"
        await asyncio.to_thread(self.server.wait_for_count, line, times)

    async def says(self, target: str = "/say") -> str:
        return (await ask(self.url, "GET", target, Host="localhost"))[2].decode()


class News(WebSocket):
    """What a page with the script is told."""

    async def hear(self) -> tuple[str, str]:
        told: dict[str, str] = json.loads(await self.read())
        return told["version"], told["fault"]

    @classmethod
    async def of(cls, url: str, **headers: str) -> News:
        news = await cls.connect(url, "/__reload__/news", **headers)
        assert isinstance(news, News)
        return news


@pytest.fixture
def changing(serve: Serve, tmp_path: Path) -> Changing:
    return Changing(serve, tmp_path)


def test_changed_module_is_new_for_all_that_import_it_and_sockets_come_again(
    changing: Changing,
) -> None:
    async def test() -> None:
        url = changing.url
        news = await News.of(url)
        sockets = [news, await socketio(url), await WebSocket.connect(url, "/raw")]
        poller = await Poller.connect(url)
        assert await changing.says() == "one!"
        version, _ = await news.hear()
        write(changing.folder, **{"helper.py": "WORD = 'two'"})  # as long, and in the same second
        for socket in sockets:
            assert await socket.read_close() == (1012, "service restart")
            socket.close()
        assert (await poller.get()).endswith("1")
        await changing.begins("helper.py")
        assert await changing.says() == "two!"
        again = await socketio(url)
        await again.text('421["say"]')
        assert await again.read() == '431["two"]'
        other_version, fault = await (await News.of(url)).hear()
        assert (other_version != version, fault) == (True, "")
        await changing.told("one ends")
        again.close()

    run(test())


EDITS = [
    ("app.rbr", "url /say,", "url /say2,", "/say2", "one!"),
    ("text.txt", "!", "?", "/say2", "one?"),
    ("more/more.rbr", "/said", "/told", "/more/told", "more"),
    ("more/words.py", "more", "mehr", "/more/told", "mehr"),
    ("more/app.py", "return WORD", "return WORD + '!'", "/more/told", "mehr!"),
]


def test_every_file_that_the_application_is_made_of_is_followed(changing: Changing) -> None:
    async def test() -> None:
        for name, old, new, target, expected in EDITS:
            path = changing.folder / name
            # As editors do: a whole file that takes the name.
            write(changing.folder, saved=path.read_text().replace(old, new))
            (changing.folder / "saved").rename(path)
            await changing.begins(name)
            assert await changing.says(target) == expected

    run(test())
    assert "no longer => 'say' hooked for GET /say" in changing.server.stderr
    assert sum(BEGUN in line for line in changing.server.stderr) == len(EDITS)


FAULTS: list[tuple[str, str | None, str]] = [
    ("helper.py", "WORD = ", 'helper.py", line 1\n    WORD = '),
    ("helper.py", "WORD = 1 / 0", "ZeroDivisionError: division by zero"),
    ("helper.py", None, "No module named 'helper'"),
    ("app.rbr", "path say ( url /say", "error RBR"),
    ("app.rbr", "global g python:app.fails; path say ( url /say );", "global 'g' fails: OSError"),
    ("app.rbr", "path say ( url /say, use python:ends.x );", "SystemExit: 3"),
    ("helper.py", "raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("helper.py", "import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    ("app.rbr", None, "app.rbr: No such file or directory"),
    ("page.html", None, "no file 'page.html'"),
]


def test_faulty_version_is_told_and_the_one_of_before_stays(serve: Serve, tmp_path: Path) -> None:
    changing = Changing(serve, tmp_path, faults=True)
    write(tmp_path, **{"ends.py": "raise SystemExit(3)"})
    write(tmp_path, **{"app.py": FILES["app.py"] + "\ndef fails(): raise OSError('none')\n"})

    async def test() -> None:
        await changing.begins("app.py")
        away = tmp_path.with_name("away")
        for times, (name, text, expected) in enumerate(FAULTS, 1):
            socket, news = await socketio(changing.url), await News.of(changing.url)
            assert (await news.hear())[1] == ""
            path = tmp_path / name
            path.rename(away)
            if text is not None:
                path.write_text(text)
            await changing.stays(times)
            _, fault = await news.hear()
            assert expected in fault
            assert set(fault.splitlines()) <= set(changing.server.stderr)
            await socket.text('421["say"]')
            assert await socket.read() == '431["one"]'
            later = await News.of(changing.url)
            assert (await later.hear())[1] == fault
            away.rename(path)
            assert (await socket.read_close())[0] == 1012
            for one in (socket, news, later):
                one.close()
        assert await changing.says() == "one!"

    run(test())
    frames = [line for line in changing.server.stderr if line.startswith("  File ")]
    assert frames
    assert not any("redbarrel_lite/" in frame for frame in frames)


def test_fault_is_mended_in_a_file_that_was_not_there(serve: Serve, tmp_path: Path) -> None:
    changing = Changing(serve, tmp_path, faults=True)

    async def test() -> None:
        write(tmp_path, **{"helper.py": "from fresh import WORD"})
        await changing.stays(1)
        write(tmp_path, **{"fresh.py": "WORT = 'fresh'"})
        await changing.told("cannot import name 'WORD' from 'fresh'")
        write(tmp_path, **{"fresh.py": "WORD = 'fresh'"})
        await changing.begins("fresh.py")
        assert await changing.says() == "fresh!"
        write(tmp_path, **{"app.rbr": RBR.replace("page.html", "new.html")})
        await changing.stays(3)
        write(tmp_path, **{"new.html": "new"})
        await changing.begins("new.html")
        assert await changing.says("/") == "new"

    run(test())


# A module that is complete only when it has been read: nobody is to be told of its first half.
HALF = """
import pathlib
pathlib.Path(__file__).write_text("WORD = 'whole'")
raise RuntimeError("half of it")
"""

# One that is complete when the traceback is made: that reads the lines that it shows.
LATE = """
import pathlib

class Late(Exception):
    @property
    def __notes__(self):
        pathlib.Path(__file__).write_text("WORD = 'whole'")
        return []

raise Late("half of it")
"""


@pytest.mark.parametrize("half", [HALF, LATE], ids=["half", "late"])
def test_half_written_file_is_tried_again_and_not_told_of(changing: Changing, half: str) -> None:
    async def test() -> None:
        write(changing.folder, **{"helper.py": half})
        await changing.begins("helper.py")
        assert await changing.says() == "whole!"

    run(test())
    assert "half of it" not in changing.server.said()


def test_same_fault_is_told_once(serve: Serve, tmp_path: Path) -> None:
    changing = Changing(serve, tmp_path, faults=True)
    tries = "import sys; sys.stderr.write('tried\\n'); sys.stderr.flush()\nWORD = 1 / 0"

    async def test() -> None:
        write(tmp_path, **{"helper.py": tries})
        await changing.stays(1)
        for name, text in (("helper.py", tries + "\n"), ("pages/style.css", "p { }")):
            tried = changing.server.stderr.count("tried")  # by four lines of app.rbr each time
            write(tmp_path, **{name: text})
            await asyncio.to_thread(changing.server.wait_for_count, "tried", tried + 4)
        write(tmp_path, **{"helper.py": "WORD = 'well'"})
        await changing.begins("helper.py")

    run(test())
    assert changing.server.stderr.count("ZeroDivisionError: division by zero") == 1


def test_pages_are_loaded_anew_and_no_socket_is_closed(changing: Changing) -> None:
    async def test() -> None:
        raw, news = await WebSocket.connect(changing.url, "/raw"), await News.of(changing.url)
        versions = [await news.hear()]
        for name in ("page.html", "pages/style.css", "pages/new.js"):
            write(changing.folder, **{name: "changed"})
            versions.append(await news.hear())
            await changing.told(f"Changed for pages: {changing.folder / name}.")
        (changing.folder / "pages/new.js").unlink()
        versions.append(await news.hear())
        assert len(set(versions)) == 5
        assert {fault for _, fault in versions} == {""}
        await raw.text("still there")
        assert await raw.read() == "still there"

    run(test())
    assert BEGUN not in changing.server.said()


def test_source_is_shown_to_this_machine_only_and_to_its_names(
    serve: Serve, tmp_path: Path
) -> None:
    changing = Changing(serve, tmp_path, "--trust-proxy", "127.0.0.1", faults=True)

    async def test() -> None:
        far = await News.of(changing.url, **{"X-Forwarded-For": "203.0.113.5"})
        await far.hear()
        write(tmp_path, **{"helper.py": "WORD = 1 / 0"})
        assert (await far.hear())[1] == "The terminal of the server says what is wrong."
        status, _, script = await ask(
            changing.url, "GET", "/__reload__/reload.js", Host="localhost"
        )
        assert (status, b"WebSocket" in script) == (200, True)
        for host, expected in (("localhost:80", 200), ("evil.example", 421)):
            assert (await ask(changing.url, "GET", "/say", Host=host))[0] == expected

    run(test())


def test_without_the_option_there_is_nothing(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, **FILES)
    server = serve(tmp_path / "app.rbr")

    async def test() -> None:
        for target in ("reload.js", "news"):
            assert (await ask(server.url, "GET", f"/__reload__/{target}"))[0] == 404

    run(test())


def test_several_processes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["app.rbr", "--reload", "--workers", "2"])
    assert ended.value.code == 2
    assert "--reload is for one process" in capsys.readouterr().err


def test_page_of_the_wire_goes_on(serve: Serve, tmp_path: Path) -> None:
    changing = Changing(serve, tmp_path, "--debug")

    async def test() -> None:
        await changing.says()
        write(tmp_path, **{"helper.py": "WORD = 'two'"})
        await changing.begins("helper.py")
        page = await WebSocket.connect(
            changing.url, "/__wire__/socket.io/?EIO=4&transport=websocket"
        )
        await page.read()
        await page.text("40")
        await page.read()
        assert "GET /say" in await page.read()  # of before

    run(test())


# The first one's end is what the second waits for: so it begins amid the end of the server.
ENDING = """
import asyncio, sys

def say(line):
    sys.stderr.write(line + "\\n")
    sys.stderr.flush()

async def g(globs):
    say("NAME is being built")
    if "NAME" == "one":
        sys.released = asyncio.Event()
    else:
        await sys.released.wait()
    say("NAME is built")
    yield
    sys.released.set()
    for _ in range(10):
        await asyncio.sleep(0)
    say("NAME ends")
"""


def test_end_of_the_server_is_the_end_of_a_change(serve: Serve, tmp_path: Path) -> None:
    text = "global g python:app.g; path page ( url /, use file:app.rbr );"
    write(tmp_path, **{"app.rbr": text, "app.py": ENDING.replace("NAME", "one")})
    server = serve(tmp_path / "app.rbr", "--reload")
    write(tmp_path, **{"app.py": ENDING.replace("NAME", "two")})
    server.wait_for_line("two is being built")
    server.stop()
    assert "one ends" in server.stderr
    assert "two is built" not in server.stderr


def test_application_may_go_to_another_folder(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path, **FILES)
    write(tmp_path, **{"app.py": FILES["app.py"] + "\nimport os\nos.chdir('/')"})
    server = serve(os.path.relpath(tmp_path / "app.rbr", ROOT), "--reload")
    assert "=> 'more' hooked for GET /more/said" in server.stderr
    write(tmp_path, **{"helper.py": "WORD = 'two'"})
    server.wait_for_line(BEGUN)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line("Read again.")


# Somebody saves another version of what it has just imported.
SLOW = """
import pathlib
import helper
if helper.WORD == "one":
    pathlib.Path(helper.__file__).write_text("WORD = 'two'")
def say(globs, request): return helper.WORD
"""


def test_file_that_is_saved_while_the_start_is_under_way_is_read_again(
    serve: Serve, tmp_path: Path
) -> None:
    text = "path say ( url /say, use python:app.say );"
    write(tmp_path, **{"app.rbr": text, "app.py": SLOW, "helper.py": "WORD = 'one'"})
    server = serve(tmp_path / "app.rbr", "--reload")
    server.wait_for_line(f"Changed: {tmp_path}/helper.py. {BEGUN}")
    assert asyncio.run(ask(server.url, "GET", "/say", Host="localhost"))[2] == b"two"


# What never comes, as a database that is not there.
WAITING = """
import asyncio, sys

async def g(globs):
    sys.stderr.write("waits\\n")
    sys.stderr.flush()
    await asyncio.Event().wait()
"""


def test_version_that_waits_while_it_is_built_is_given_up_for_the_next(
    serve: Serve, tmp_path: Path
) -> None:
    text = "global g python:app.g; path page ( url /, use file:app.rbr );"
    write(tmp_path, **{"app.rbr": text, "app.py": "g = 1"})
    server = serve(tmp_path / "app.rbr", "--reload")
    write(tmp_path, **{"app.py": WAITING})
    server.wait_for_line("waits")
    write(tmp_path, **{"app.py": "g = 3"})
    server.wait_for_line(BEGUN)


# What a module may hold: a table as large as memory, say.
HELD = """
import sys

class Held:
    def __del__(self, write=sys.stderr.write):
        write("NAME is forgotten\\n")

held, WORD = Held(), "NAME"
held.itself = held  # as modules and their functions are
"""


def test_versions_of_before_are_forgotten(changing: Changing) -> None:
    async def test() -> None:
        for times, name in enumerate(("first", "second", "third"), 1):
            write(changing.folder, **{"helper.py": HELD.replace("NAME", name)})
            await changing.begins("helper.py", times)
        await changing.told("first is forgotten")
        assert await changing.says() == "third!"

    run(test())
    assert "third is forgotten" not in changing.server.stderr
