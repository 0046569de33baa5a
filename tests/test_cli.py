"""The command line: what it says, and how it ends."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Serve

import redbarrel_lite


def command(*args: str | Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-m", "redbarrel_lite", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=30,
        check=False,
    )


def test_version_is_told() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"RedBarrel Lite {redbarrel_lite.__version__}\n")


@pytest.mark.parametrize(
    "args",
    [[], ["--nonsense"], ["a.rbr", "--port", "x"], ["a.rbr", "--port", "65536"], ["--port", "-1"]],
)
def test_wrong_arguments_are_status_2(args: list[str]) -> None:
    done = command(*args)
    assert done.returncode == 2
    assert "usage:" in done.stderr
    assert "Traceback" not in done.stderr


def test_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path / "nothing.rbr")
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/nothing.rbr: No such file or directory\n"


def test_faulty_file_is_pictured(tmp_path: Path) -> None:
    file = tmp_path / "app.rbr"
    file.write_text("path a (\n  url /,\n  use file:pge.html\n);\n")
    (tmp_path / "page.html").write_text("")
    done = command(file)
    assert done.returncode == 1
    assert done.stderr == (
        f"{file}:3:12: error RBR038: no file 'pge.html' in {tmp_path}\n"
        "  3 |   use file:pge.html\n"
        "    |            ^^^^^^^^\n"
        "  help: did you mean 'page.html'?\n"
    )


def test_failing_module_shows_the_user_s_frames_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def f():\n    return 1 / 0\nf()\n")
    (tmp_path / "app.rbr").write_text("path a ( url /, use python:broken.f );")
    done = command(tmp_path / "app.rbr")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert f'File "{tmp_path}/broken.py", line 2, in f' in done.stderr
    assert "redbarrel_lite/" not in done.stderr
    assert "importlib" not in done.stderr


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("examples/chat/chat.rbr", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: can't serve on 127.0.0.1:{port}: Address already in use"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("path a ( url /, use proxy:http://a:1 );", "'proxy:'"),
        ("path a ( method WEBSOCKET, use python:m.f );", "WEBSOCKET"),
        ("path a ( url /, use python:m.f, on error return 500 );", "this rule"),
        (
            "path a ( url /, use python:m.f, response-headers ( set X 'y' ) );".replace("'", '"'),
            "this rule",
        ),
        ("global g 3; path a ( url /, use python:m.f );", "'global'"),
        ("path a ( method SOCKETIO, use python:m.f, on join use python:m.f );", "this rule"),
        ("path a ( url / );", "a path without 'use'"),
    ],
)
def test_what_is_not_served_yet_is_refused_and_not_ignored(
    tmp_path: Path, text: str, what: str
) -> None:
    (tmp_path / "m.py").write_text("def f(globs, request): pass")
    (tmp_path / "app.rbr").write_text(text)
    done = command(tmp_path / "app.rbr")
    assert done.returncode == 1
    assert f"error RBR099: {what} is not served by this version" in done.stderr


@pytest.mark.parametrize("options", [(), ("-S",), ("-S", "-O")])
def test_chat_runs_from_a_checkout_on_a_bare_python(options: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, *options, "-m", "redbarrel_lite", "examples/chat/chat.rbr", "--port", "0"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(3)]
        assert said[:2] == [
            "=> 'socket' hooked for SOCKETIO /socket.io/\n",
            "=> 'chat_html' hooked for GET /\n",
        ]
        url = said[2].removeprefix("Serving on ").strip()
        assert b"<title>" in urllib.request.urlopen(url, timeout=10).read()
        process.terminate()
        assert process.wait(10) == 0


def test_host_is_listened_on(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("root /app; path a ( url /page, use file:page.html );")
    server = serve(tmp_path / "app.rbr", "--host", "127.0.0.1", "--debug")
    assert urllib.request.urlopen(server.url + "/app/page", timeout=10).read() == b"x"


def test_warnings_are_told_and_do_not_stop_it(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("worker w python:m.f; path a ( url /, use file:page.html );")
    server = serve(tmp_path / "app.rbr")
    assert "warning" in server.said()
