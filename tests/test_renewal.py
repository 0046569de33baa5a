"""SIGHUP: the files are read again, and nobody who is connected notices."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shutil
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT, Serve
from wire import CERTIFICATE, KEY, PATIENCE_S, Poller, WebSocket, Wire, ask, run, socketio

RBR = """
global kept python:renewed.kept;
global gone python:renewed.gone;
path s ( method SOCKETIO, on say use python:renewed.say_old );
path raw ( method WEBSOCKET, url /raw, on message use python:renewed.raw );
path page ( url /page, use python:renewed.old );
path slow ( url /slow, use python:renewed.slow );
path held ( url /held, use python:renewed.held );
"""
SOURCE = """
import asyncio, gc, sys
from redbarrel_lite.app import App

RELEASE = asyncio.Event()

def say(line):
    sys.stderr.write(line + "\\n")
    sys.stderr.flush()

def kept(globs):
    say("kept begins")
    yield []
    say("kept ends")

def gone(globs):
    say("gone begins")
    yield "gone"
    say("gone ends")

def later(globs):
    say("later begins")
    yield "later"
    say("later ends")

def fails(globs):
    raise OSError("no database")

async def say_old(globs, request, x):
    request.socketio.broadcast("old " + x)
    return globs["gone"]

async def say_new(globs, request, x):
    request.socketio.broadcast("new " + x)
    return sorted(globs)

async def raw(globs, request, x):
    request.socketio.broadcast(x)

async def old(globs, request):
    globs["kept"].append("old")
    return {"page": "old", "kept": globs["kept"]}

async def new(globs, request):
    RELEASE.set()
    return {"page": "new", "kept": globs["kept"], "globals": sorted(globs)}

async def held(globs, request):
    found = {"aside": gc.get_freeze_count() > 0}
    gc.collect()
    return found | {"apps": sum(isinstance(one, App) for one in gc.get_objects())}

async def slow(globs, request):
    say("slow is asked")
    await RELEASE.wait()
    return globs.get("gone", "none")
"""


class Renewed:
    """A server whose file changes."""

    def __init__(self, serve: Serve, folder: Path, *, traceback_expected: bool = False) -> None:
        (folder / "renewed.py").write_text(SOURCE)
        self.file = folder / "app.rbr"
        self.file.write_text(RBR)
        self.server = serve(self.file, traceback_expected=traceback_expected)
        self.times = 0
        self.faults = 0

    async def change(self, *changes: tuple[str, str]) -> None:
        """Change the file's text, and have it read again."""
        text = self.file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)
        self.server.process.send_signal(signal.SIGHUP)
        self.times += 1
        await asyncio.to_thread(self.server.wait_for_count, "Read again.", self.times)

    async def fail(self, text: str, expected: str) -> None:
        """Have another text read in its place, which has a fault."""
        good = self.file.read_text()
        self.file.write_text(text)
        self.server.process.send_signal(signal.SIGHUP)
        self.faults += 1
        stays = "The application of before stays."
        await asyncio.to_thread(self.server.wait_for_count, stays, self.faults)
        assert expected in self.server.said()
        self.file.write_text(good)

    async def page(self) -> bytes:
        return (await ask(self.server.url, "GET", "/page"))[2]


NEW_PAGE = ("renewed.old )", "renewed.new )")
NO_GONE = ("global gone python:renewed.gone;", "global later python:renewed.later;")
NEW_LINE = ("renewed.say_old", "renewed.say_new")


@pytest.fixture
def renewed(serve: Serve, tmp_path: Path) -> Renewed:
    return Renewed(serve, tmp_path)


def test_new_requests_of_an_old_connection_are_for_the_new_application(renewed: Renewed) -> None:
    async def test() -> None:
        wire = await Wire.open(renewed.server.url)
        assert (await wire.ask("GET", "/page"))[2] == b'{"page": "old", "kept": ["old"]}'
        await renewed.change(NEW_PAGE, NO_GONE, ("url /slow", "url /slower"))
        assert (await wire.ask("GET", "/page"))[2] == (
            b'{"page": "new", "kept": ["old"], "globals": ["kept", "later"]}'
        )
        assert (await wire.ask("GET", "/slow"))[0] == 404
        assert (await wire.ask("GET", "/slower"))[2] == b"none"

    run(test())
    assert "no longer => 'slow' hooked for GET /slow" in renewed.server.stderr
    assert "=> 'slow' hooked for GET /slower" in renewed.server.stderr


def test_applications_of_before_are_set_aside_no_more_and_are_forgotten(renewed: Renewed) -> None:
    async def held() -> dict[str, int]:
        told: dict[str, int] = json.loads((await ask(renewed.server.url, "GET", "/held"))[2])
        return told

    async def test() -> None:
        assert await held() == {"aside": True, "apps": 0}
        await renewed.change(NEW_PAGE)
        await renewed.change(NO_GONE)
        await renewed.change(("url /slow", "url /slower"))
        now = await held()
        assert not now["aside"]
        assert now["apps"] == 1

    run(test())


def test_globals_are_kept_or_ended_by_their_definitions(renewed: Renewed) -> None:
    async def test() -> None:
        wire = await Wire.open(renewed.server.url)
        await wire.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.to_thread(renewed.server.wait_for_line, "slow is asked")
        await renewed.change(NEW_PAGE, NO_GONE)
        assert "gone ends" not in renewed.server.stderr  # somebody is still at work with it
        await renewed.page()
        assert (await wire.answer())[2] == b"gone"
        await asyncio.to_thread(renewed.server.wait_for_line, "gone ends")

    run(test())
    renewed.server.stop()
    told = [line for line in renewed.server.stderr if line.endswith((" begins", " ends"))]
    assert told == [
        "kept begins",
        "gone begins",
        "later begins",
        "gone ends",
        "later ends",
        "kept ends",
    ]


def test_sockets_stay_and_old_and_new_ones_hear_each_other(renewed: Renewed) -> None:
    url = renewed.server.url

    async def test() -> None:
        old, poller = await socketio(url), await Poller.connect(url)
        await renewed.change(NEW_LINE, NO_GONE, ("method SOCKETIO,", "method SOCKETIO, url /new,"))
        status, _, _ = await ask(url, "GET", "/socket.io/?EIO=4&transport=polling")
        assert status == 404  # nobody new comes in there; who is in goes on
        new = await WebSocket.connect(url, "/new/?EIO=4&transport=websocket")
        await new.read()
        await new.text("40")
        assert (await new.read()).startswith('40{"sid":')
        await new.text('421["say","x"]')
        assert await new.read() == '431[["kept","later"]]'
        assert await old.read() == '42["message","new x"]'
        assert await poller.read() == '42["message","new x"]'
        await old.text('422["say","y"]')
        assert await old.read() == '432["gone"]'
        assert await new.read() == '42["message","old y"]'
        assert await poller.read() == '42["message","old y"]'
        await poller.post('423["say","z"]')
        assert await poller.read() == '433["gone"]'
        assert await new.read() == '42["message","old z"]'
        assert await old.read() == '42["message","old z"]'
        upgrading = await WebSocket.connect(
            url, f"/socket.io/?EIO=4&transport=websocket&sid={poller.sid}"
        )
        await upgrading.text("2probe")
        assert await upgrading.read() == "3probe"
        await upgrading.text("5")
        await new.text('424["say","w"]')
        assert await upgrading.read() == '42["message","new w"]'
        assert "gone ends" not in renewed.server.stderr
        old.close()
        upgrading.close()
        await asyncio.to_thread(renewed.server.wait_for_line, "gone ends")
        status, _, _ = await ask(url, "GET", f"{poller.target}")
        assert status == 404

    run(test())


def test_raw_sockets_hear_each_other_too(renewed: Renewed) -> None:
    async def test() -> None:
        old = await WebSocket.connect(renewed.server.url, "/raw")
        await renewed.change()
        new = await WebSocket.connect(renewed.server.url, "/raw")
        await new.text("to the old one")
        assert await old.read() == "to the old one"
        await old.text("to the new one")
        assert await new.read() == "to the new one"

    run(test())


FAULTY = {
    "path page ( url /page, use python:renewed.new ": "error RBR",
    "path page ( url /page, use python:renewed.neu );": "did you mean 'new'?",
    "path page ( url /page, use python:broken.f );": "ZeroDivisionError: division by zero",
    "path page ( url /page, use python:ends.f );": "SystemExit: 3",
    "global later python:renewed.later; global f python:renewed.fails;": "OSError: no database",
}


def test_faulty_file_is_pictured_and_what_was_before_stays(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "ends.py").write_text("raise SystemExit(3)")
    renewed = Renewed(serve, tmp_path, traceback_expected=True)

    async def test() -> None:
        socket = await socketio(renewed.server.url)
        for text, expected in FAULTY.items():
            await renewed.fail(text, expected)
            assert b'"page": "old"' in await renewed.page()
            await socket.text('421["say","x"]')
            assert await socket.read() == '431["gone"]'
        renewed.file.rename(renewed.file.with_suffix(".away"))
        renewed.server.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(renewed.server.wait_for_line, "app.rbr: No such file or directory")
        renewed.file.with_suffix(".away").rename(renewed.file)
        await renewed.change(NEW_PAGE)
        assert b'"page": "new"' in await renewed.page()

    run(test())
    frames = [line for line in renewed.server.stderr if line.startswith("  File ")]
    assert frames
    assert not any("redbarrel_lite/" in frame for frame in frames)
    # What a faulty one had begun has ended with it.
    assert renewed.server.stderr.index("later begins") < renewed.server.stderr.index("later ends")


BASE = """
include "in/in.rbr" at /in;
path whole ( url /whole, use python:pkg.whole.f );
"""
MORE = """
path fresh ( url /fresh, use python:fresh.f );
path part ( url /part, use python:pkg.part.f );
"""
SAYS = "def f(request): return __name__"


def test_modules_of_a_faulty_version_are_looked_for_once_more(renewed: Renewed) -> None:
    folder = renewed.file.parent

    def write(name: str, text: str) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    write("in/in.rbr", "path a ( url /a, use python:a.f );")
    write("in/a.py", SAYS)
    write("pkg/__init__.py", "")
    write("pkg/whole.py", SAYS)

    async def test() -> None:
        await renewed.change((RBR, RBR + BASE))
        write("in/in.rbr", "path b ( url /b, use python:b.f );")
        write("fresh.py", "")
        write("pkg/part.py", "")
        await renewed.fail(RBR + BASE + MORE, "'fresh' has no 'f'")
        for expected in ("'pkg.part' has no 'f'", "no module 'b' in"):
            assert expected in renewed.server.said()
        for name in ("in/b.py", "fresh.py", "pkg/part.py"):
            write(name, SAYS)
        await renewed.change((BASE, BASE + MORE))
        for target, module in (("/in/b", b".b"), ("/fresh", b"fresh"), ("/part", b"pkg.part")):
            assert (await ask(renewed.server.url, "GET", target))[2].endswith(module)

    run(test())


def test_certificate_is_renewed_and_a_faulty_one_is_not(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(CERTIFICATE, certificate)
    shutil.copy(KEY, key)
    (tmp_path / "app.rbr").write_text("path page ( url /, use file:app.rbr );")
    # Expires in another year: that is what tells the two apart.
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this machine")
    other = [tmp_path / "other.pem", tmp_path / "other_key.pem"]
    make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=o"
    subprocess.run(
        [openssl, *make.split(), "-out", other[0], "-keyout", other[1]],
        check=True,
        capture_output=True,
    )
    command = [sys.executable, "-m", "redbarrel_lite", str(tmp_path / "app.rbr"), "--port", "0"]
    files = ["--certfile", str(certificate), "--keyfile", str(key)]
    with subprocess.Popen([*command, *files], cwd=ROOT, stderr=subprocess.PIPE, text=True) as it:
        assert it.stderr is not None

        def wait_for(start: str) -> str:
            assert it.stderr is not None
            return next(line for line in it.stderr if line.startswith(start))

        where = urlsplit(wait_for("Serving on ").split()[-1])
        assert where.hostname is not None
        assert where.port is not None
        address = (where.hostname, where.port)
        first = ssl.get_server_certificate(address)
        shutil.copy(other[0], certificate)  # whose key is not the one that is there
        it.send_signal(signal.SIGHUP)
        wait_for("The certificate of before stays.")
        wait_for("Read again.")
        assert ssl.get_server_certificate(address) == first
        shutil.copy(other[1], key)
        it.send_signal(signal.SIGHUP)
        wait_for("Read again.")
        assert ssl.get_server_certificate(address) == other[0].read_text()
        it.terminate()
        assert it.wait(PATIENCE_S) == 0


def test_terminal_that_is_closed_ends_it() -> None:
    """The other meaning of SIGHUP: nobody would ever see what it says."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "redbarrel_lite", "examples/chat/chat.rbr", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdin=its, stderr=its) as process:
        os.close(its)
        said = b""
        while b"Serving on" not in said:
            said += os.read(ours, 65536)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE_S) == 0
