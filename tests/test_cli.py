"""The command line: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
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


def test_help_survives_a_python_without_docstrings() -> None:
    assert (
        "Say what is wrong with an .rbr file" in command("check", "--help", options=("-OO",)).stdout
    )


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


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("chek", "did you mean 'check'?"),
        ("print-cfg", "did you mean 'print-config'?"),
        ("app", "did you mean 'app.rbr'?"),
        ("serve", "a file is served by its name alone; --help tells what else there is"),
    ],
)
def test_word_that_is_no_command_and_no_file_is_told_what_there_is(
    word: str,
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "app.rbr").write_text("path a ( url / );")
    monkeypatch.chdir(tmp_path)
    assert cli.main([word, "app.rbr"]) == 2
    assert capsys.readouterr().err == f"error: '{word}' is no command and no file: {meant}\n"


def test_older_python_is_told_that_it_is() -> None:
    script = "import sys, runpy; sys.version_info = (3, 10); runpy.run_module('redbarrel_lite')"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = "error: RedBarrel Lite needs Python 3.11 or newer\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_folder_in_the_place_of_the_module_is_told_how_to_write_it() -> None:
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "redbarrel_lite" / "__main__.py"))
    told = f"error: write python3 -m redbarrel_lite, in the folder {ROOT}"
    assert ended.value.code == told


@pytest.mark.skipif(os.name == "nt", reason="a signal ends a process there without asking")
def test_ctrl_c_while_all_is_imported_is_no_traceback() -> None:
    script = (
        "import os, runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Slow:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'redbarrel_lite.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow)\n"
        "runpy.run_module('redbarrel_lite')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_ctrl_c_is_an_exception_again_once_all_is_imported() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        assert cli.main(["explain", "--as", "socketio", "0"]) == 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name == "nt", reason="a signal ends a process there without asking")
@pytest.mark.parametrize("words", [("check",), ()])
def test_ctrl_c_is_no_traceback(words: tuple[str, ...], tmp_path: Path) -> None:
    # As a terminal has it: who starts this in the background may have had the signal ignored.
    as_ever = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    slow = f"import os, signal\n{as_ever}\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "slow.py").write_text(slow)
    (tmp_path / "app.rbr").write_text("path a ( url /, use python:slow.f );")
    done = command(*words, tmp_path / "app.rbr")
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("explain", "--as", "socketio", "é"), rb"\xe9  no packet"),
        (("fmt", "--stdout", "app.rbr"), "# é\n".encode()),
    ],
)
def test_terminal_that_has_not_all_characters_is_no_fault(
    words: tuple[str, ...], told: bytes, tmp_path: Path
) -> None:
    (tmp_path / "app.rbr").write_text("# é\npath a ( url / );", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (told in done.stdout, done.stderr) == (True, b"")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--help"),
        ("check", "--json", "chat.rbr"),
        ("connect", "http://127.0.0.1:9"),
        ("print-config", "nginx", "chat.rbr"),
    ],
)
def test_reader_who_has_read_enough_is_no_fault(words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "redbarrel_lite", *words],
            cwd=ROOT / "examples" / "chat",
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


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
    config.write_text("[rbr]\nport = 1\nlog = json\ndebug = on\nno-doc = off\nrbr-file = app.rbr\n")
    server = serve(f"--config={config}")  # `serve` adds --port 0
    assert urllib.request.urlopen(server.url, timeout=30).read() == b"x"
    line = json.loads(server.wait_for_line(r"^\{.*\}$").group())
    assert (line["method"], line["target"], line["status"], line["size"]) == ("GET", "/", 200, 1)
    other = tmp_path / "other.rbr"
    other.write_text("path a ( url /other, use file:page.html );")
    server = serve(other, "--config", str(config), "--log", "off")
    assert urllib.request.urlopen(server.url + "/other", timeout=30).read() == b"x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory"),
        ("port = 1", "File contains no section headers"),
        ("[other]", "it has no section [rbr]"),
        ("[rbr]\nport = x", "'x' is not a port"),
        ("[rbr]\nport = on", "'on' is not a port"),
        ("[rbr]\nnonsense = x", "unrecognized arguments: --nonsense=x"),
        ("[rbr]\nhost =", "it is empty; for all addresses write 0.0.0.0"),
        ("[rbr]\ndebug = maybe", "debug is yes or no, not 'maybe'"),
    ],
)
def test_faulty_config_file_is_status_2(
    tmp_path: Path, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "rbr.ini"
    if text is not None:
        config.write_text(text)
    assert message in refused(capsys, "examples/chat/chat.rbr", "--config", config)


def test_certificate_is_found_though_the_application_goes_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nos.chdir('/')\nf = print\n")
    (tmp_path / "app.rbr").write_text("path a ( url /, use python:app.f );")
    done = command(tmp_path / "app.rbr", "--certfile", "README.md")
    assert f"{ROOT / 'README.md'} is no certificate in PEM" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1:80", "[::1]", "http://a", "a..b", "x" * 70, "a b"])
def test_host_is_a_name_or_an_address(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "examples/chat/chat.rbr", "--host", host)
    assert f"{host!r} is no name and no address" in told


@pytest.mark.parametrize("value", ["-1", "x", "inf", "nan"])
def test_time_limit_is_a_number_of_seconds(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, "examples/chat/chat.rbr", f"--idle-timeout={value}")
    assert f"'{value}' is not a number of seconds" in told


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--redis-channel", "x", "is about a Redis: write --redis URL, too"),
        ("--redis-emitter", "x", "is about a Redis: write --redis URL, too"),
        ("--keyfile", "tests/tls/key.pem", "is the key of a certificate: write --certfile FILE"),
        ("--wire-to", "10.0.0.0/8", "is about the page of the wire: write --debug, too"),
        ("--status-to", "10.0.0.7", "is about the pages of --status: write that, too"),
    ],
)
def test_option_about_what_is_not_there_is_refused(
    option: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"error: {option} {message}" in refused(capsys, "app.rbr", option, value)
    config = tmp_path / "rbr.ini"
    config.write_text(f"[rbr]\n{option[2:]} = {value}\n")
    assert f"error: {option} {message}" in refused(capsys, "app.rbr", "--config", str(config))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--certfile", "tests/tls/none.pem"], "No such file or directory: 'tests/tls/none.pem'"),
        (
            ["--certfile", "README.md"],
            "README.md is no certificate in PEM, or README.md has not its",
        ),
        (["--certfile", "tests/tls/cert.pem"], "or tests/tls/cert.pem has not its key"),
        (
            ["--uds", "README.md"],
            "README.md: File exists; it is no socket, and stays: name another",
        ),
        (["--uds", "none/socket"], "none/socket: No such file or directory; make its folder first"),
        (["--host", "203.0.113.7"], "address; --host is an address of this machine, or 0.0.0.0"),
    ],
)
def test_faulty_address_is_one_line(args: list[str], message: str) -> None:
    done = command("examples/chat/chat.rbr", *args)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("-newkey ed25519 -passout pass:secret", "key.pem` prints it as it must be"),
        ("-newkey rsa:512 -nodes", "key.pem: TLS refuses this: ee key too small"),
    ],
)
def test_key_that_tls_can_t_take_is_told_as_what_it_is(
    tmp_path: Path, kind: str, message: str
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl on this machine")
    files = {"-out": tmp_path / "cert.pem", "-keyout": tmp_path / "key.pem"}
    words = [str(word) for pair in files.items() for word in pair]
    made = [openssl, "req", "-x509", "-days", "2", "-subj", "/CN=o", *kind.split(), *words]
    subprocess.run(made, check=True, capture_output=True)
    args = ["--certfile", str(files["-out"]), "--keyfile", str(files["-keyout"])]
    done = command("examples/chat/chat.rbr", "--port", "0", *args)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(message)
    assert "pass phrase" not in done.stderr


@pytest.mark.parametrize(
    ("option", "word"), [("--certfile", "the certificate"), ("--emit-token-file", "a token")]
)
def test_faulty_file_of_an_option_has_the_status_that_the_page_says(option: str, word: str) -> None:
    assert command("examples/chat/chat.rbr", "--port", "0", option, "README.md").returncode == 1
    page = " ".join((ROOT / "docs" / "deploy.md").read_text("utf-8").split())
    assert word in page.partition("; 1 means a fault in ")[2].partition(".")[0]


def test_config_without_its_file_is_the_command_s_own_complaint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = refused(capsys, "examples/chat/chat.rbr", "--config")
    assert "redbarrel_lite: error: argument --config: expected one argument" in told


LONG = "/tmp/" + "a" * 200


@pytest.mark.parametrize("name", ["uds", "emit-uds", "redis"])
@pytest.mark.parametrize("is_in_file", [False, True])
def test_path_that_no_unix_socket_can_have_is_refused(
    tmp_path: Path, name: str, *, is_in_file: bool
) -> None:
    url = "unix://" * (name == "redis")
    for path, message in ((LONG, "has 205 bytes, which is more than"), ("", "write ")):
        argument = [f"--{name}={url}{path}"]
        if is_in_file:
            (tmp_path / "a.ini").write_text(f"[rbr]\n{name} = {url}{path}\n")
            argument = ["--config", str(tmp_path / "a.ini")]
        done = command("examples/chat/chat.rbr", *argument)
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert f"argument --{name}: " in last
        assert message in last


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
    urllib.request.urlopen(server.url + "/?a=%22%1b[31m%0d%0a", timeout=30).close()
    server.wait_for_line(
        r"^127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
        r' "GET /\?a=%22%1b\[31m%0d%0a HTTP/1\.1" 200 5$'
    )
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(server.url + "/nowhere", timeout=30)
    server.wait_for_line(r'"GET /nowhere HTTP/1\.1" 404 \d+$')


def test_access_log_has_the_answers_that_break_off_and_counts_what_is_sent(
    serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "half.py").write_text(
        "def half(request):\n    yield 'a'\n    raise OSError('no disk')\n"
        "def whole(request):\n    return 'page'\n"
    )
    (tmp_path / "app.rbr").write_text(
        "path half ( url /half, use python:half.half );path whole ( url /, use python:half.whole );"
    )
    server = serve(tmp_path / "app.rbr", traceback_expected=True)
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /half HTTP/1.1\r\nHost: a\r\n\r\n")
        while client.recv(65536):
            pass
    server.wait_for_line(r'"HEAD / HTTP/1\.1" 200 0$')
    server.wait_for_line(r'"GET /half HTTP/1\.1" 200 -$')


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
        answer = urllib.request.urlopen(f"{server.url}/{name}", timeout=30)
        assert answer.read() == name.encode()
    server.stop()
    ended = [line for line in server.stderr if line.endswith("has ended")]
    assert ended == ["two has ended", "one has ended"]


@pytest.mark.parametrize("where", ["", "def make(globs):\n    "])
@pytest.mark.parametrize("first", [("check",), ("--port", "0"), ("--port", "0", "--workers", "2")])
def test_application_that_exits_is_faulty(
    tmp_path: Path, first: tuple[str, ...], where: str
) -> None:
    (tmp_path / "m.py").write_text(f"import sys\n{where}sys.exit()\n")
    (tmp_path / "app.rbr").write_text("global db python:m.make; path a ( url / );")
    done = command(*first, tmp_path / "app.rbr")
    if first == ("check",) and where:  # which makes no global
        assert (done.returncode, done.stdout) == (0, "Syntax OK.\n")
        return
    assert done.returncode == 1
    assert "m.py" in done.stderr + done.stdout
    assert "app.rbr:1:" in done.stderr + done.stdout
    assert "SystemExit" in done.stderr + done.stdout


def test_no_doc_keeps_the_text_of_the_file(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.rbr").write_text("path a ( url /a, use file:app.rbr );")
    server = serve(tmp_path / "app.rbr")
    with urllib.request.urlopen(server.url + "/__api__", timeout=30) as answer:
        assert answer.read() == (tmp_path / "app.rbr").read_bytes()
    server = serve(tmp_path / "app.rbr", "--no-doc")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(server.url + "/__api__", timeout=30)


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("examples/chat/chat.rbr", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: can't serve on 127.0.0.1:{port}: Address already in use;"
        " end who serves there, or name another place"
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
        assert b"<title>" in urllib.request.urlopen(url, timeout=30).read()
        process.terminate()
        assert process.wait(30) == 0


def test_host_is_listened_on(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("root /app; path a ( url /page, use file:page.html );")
    server = serve(tmp_path / "app.rbr", "--host", "127.0.0.1", "--debug")
    assert urllib.request.urlopen(server.url + "/app/page", timeout=30).read() == b"x"


def test_warnings_are_told_and_do_not_stop_it(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("x")
    (tmp_path / "app.rbr").write_text("worker w python:m.f; path a ( url /, use file:page.html );")
    server = serve(tmp_path / "app.rbr")
    assert "warning" in server.said()
