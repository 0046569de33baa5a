"""The command line: what it says, and how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from conftest import ROOT, Serve

import redbarrel_lite
from redbarrel_lite import cli


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


def refused(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    """What wrong arguments are told, before anything is done."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*map(str, args)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_version_is_told() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"RedBarrel Lite {redbarrel_lite.__version__}\n")


@pytest.mark.parametrize(
    "args",
    [[], ["--nonsense"], ["a.rbr", "--port", "x"], ["a.rbr", "--port", "65536"], ["--port", "-1"]],
)
def test_wrong_arguments_are_status_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "usage:" in refused(capsys, *args)
    if not args:  # and as a process
        done = command()
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)


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


def test_config_file_gives_options_and_the_command_line_wins(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("path a ( url /, use file:page.html );")
    config = tmp_path / "rbr.ini"
    config.write_text("[rbr]\nport = 1\nlog = json\ndebug = yes\nrbr-file = app.rbr\n")
    server = serve(f"--config={config}")  # `serve` adds --port 0
    assert urllib.request.urlopen(server.url, timeout=10).read() == b"x"
    line = json.loads(server.wait_for_line(r"^\{.*\}$").group())
    assert (line["method"], line["target"], line["status"], line["size"]) == ("GET", "/", 200, 1)
    other = tmp_path / "other.rbr"
    other.write_text("path a ( url /other, use file:page.html );")
    server = serve(other, "--config", str(config), "--log", "off")
    assert urllib.request.urlopen(server.url + "/other", timeout=10).read() == b"x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("port = 1", "File contains no section headers"),
        ("[other]", "it has no section [rbr]"),
        ("[rbr]\nport = x", "'x' is not a port"),
        ("[rbr]\nnonsense = x", "unrecognized arguments: --nonsense=x"),
    ],
)
def test_faulty_config_file_is_status_2(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rbr.ini"
    if text is not None:
        config.write_text(text)
    assert message in refused(capsys, "examples/chat/chat.rbr", "--config", config)


@pytest.mark.parametrize("value", ["-1", "x", "inf", "nan"])
def test_time_limit_is_a_number_of_seconds(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "examples/chat/chat.rbr", f"--idle-timeout={value}")
    assert f"'{value}' is not a number of seconds" in told


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--keyfile", "tests/tls/key.pem"], "a key needs its certificate"),
        (["--certfile", "tests/tls/none.pem"], "No such file"),
        (["--certfile", "README.md"], "--certfile, --keyfile: "),
        (["--uds", "README.md"], "can't serve on README.md: File exists"),
    ],
)
def test_faulty_address_is_one_line(args: list[str], message: str) -> None:
    done = command("examples/chat/chat.rbr", *args)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("--trust-proxy", ["10.0.0.0/8", "everybody"], "'everybody' is no address"),
        ("--allow-host", ["chat.example", "http://a"], "'http://a' is no name of a host"),
        ("--max-head", ["many"], "'many' is not a number"),
    ],
)
def test_option_takes_what_it_is_for(
    option: str, values: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "examples/chat/chat.rbr", option, *values)


def test_access_log_has_a_line_for_each_answer(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("hello")
    (tmp_path / "app.rbr").write_text("path a ( url /, use file:page.html );")
    server = serve(tmp_path / "app.rbr")
    urllib.request.urlopen(server.url + "/?a=%22%1b[31m%0d%0a", timeout=10).close()
    server.wait_for_line(
        r"^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
        r' "GET /\?a=%22%1b\[31m%0d%0a HTTP/1\.1" 200 5$'
    )
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(server.url + "/nowhere", timeout=10)
    server.wait_for_line(r'"GET /nowhere HTTP/1\.1" 404 \d+$')


def test_failing_global_ends_the_start_with_the_user_s_frames_alone(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("def make(globs):\n    raise OSError('no database')\n")
    (tmp_path / "app.rbr").write_text("global db python:m.make; path a ( url / );")
    done = command(tmp_path / "app.rbr", "--port", "0")
    assert done.returncode == 1
    assert f'File "{tmp_path}/m.py", line 2, in make' in done.stderr
    assert "redbarrel_lite/" not in done.stderr
    assert f"{tmp_path}/app.rbr:1:11: error RBR047: global 'db' fails: OSError" in done.stderr
    assert "Serving" not in done.stderr


def test_several_files_are_served_and_globals_end_with_the_server(
    serve: Serve, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "app.py").write_text(
            "import sys\n"
            "def work(globs):\n"
            f"    yield '{name}'\n"
            f"    sys.stderr.write('{name} has ended\\n')\n"
            "def who(globs, request):\n    return globs['work']\n"
        )
        (tmp_path / name / "app.rbr").write_text(
            f"root /{name}; global work python:app.work; path who ( url /, use python:app.who );"
        )
    server = serve(tmp_path / "one" / "app.rbr", str(tmp_path / "two" / "app.rbr"))
    for name in ("one", "two"):
        answer = urllib.request.urlopen(f"{server.url}/{name}", timeout=10)
        assert answer.read() == name.encode()
    server.stop()
    assert server.stderr[-2:] == ["two has ended", "one has ended"]


def test_no_doc_keeps_the_text_of_the_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.rbr").write_text("path a ( url /a, use file:app.rbr );")
    server = serve(tmp_path / "app.rbr")
    with urllib.request.urlopen(server.url + "/__api__", timeout=10) as answer:
        assert answer.read() == (tmp_path / "app.rbr").read_bytes()
    server = serve(tmp_path / "app.rbr", "--no-doc")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(server.url + "/__api__", timeout=10)


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("examples/chat/chat.rbr", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: can't serve on 127.0.0.1:{port}: Address already in use"
    )
    assert "Traceback" not in done.stderr


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
