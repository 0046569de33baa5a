"""The command `print-config`: what it reads of an application, and what runs of it here.

nginx and HAProxy judge and run theirs in tests/interop/test_print_config.py.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from conftest import ROOT
from test_docs_deploy import running
from test_systemd import LAUNCHER, answer_of, tcp
from wire import PATIENCE_S

from redbarrel_lite import cli
from redbarrel_lite.rbr_keys import PATH_KEYS

Print: TypeAlias = Callable[..., str]

USUAL_SILENCE_S = sum(float(PATH_KEYS[key].default) for key in ("ping-interval", "ping-timeout"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("page")
    (tmp_path / "talk.py").write_text("async def talk(request):\n    pass\n")
    (tmp_path / "app.rbr").write_text("path page ( url /, use file:page.html );")
    return tmp_path / "app.rbr"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Print:
    def run(*words: object) -> str:
        assert cli.main(["print-config", *map(str, words)]) == 0
        return capsys.readouterr().out

    return run


def reasons(text: str) -> str:
    """The comments, as one line."""
    lines = (line.strip() for line in text.splitlines())
    return " ".join(line[2:] for line in lines if line.startswith("# "))


@pytest.mark.parametrize("form", ["nginx", "haproxy", "systemd", "docker"])
def test_file_says_first_where_it_belongs_and_then_why(
    printed: Print, app: Path, form: str
) -> None:
    text = printed(form, app)
    assert re.match(r"# (/etc/\S+/app(\.socket)?|/etc/haproxy/haproxy\.cfg|Dockerfile)\n# ", text)
    assert not re.search(r"[ \t]$", text, re.M)
    assert max(map(len, text.splitlines())) <= 250
    assert len(reasons(text)) > 300


def test_proxies_wait_longer_than_sockets_are_silent(printed: Print, app: Path) -> None:
    with app.open("a") as file:
        file.write("path a ( method SOCKETIO, use talk.talk );")
    usual = 2 * USUAL_SILENCE_S
    assert f"proxy_read_timeout {usual:g}s;" in printed("nginx", app)
    with app.open("a") as file:
        file.write(
            "path b ( method WEBSOCKET, use talk.talk, ping-interval 100, ping-timeout 50 );"
        )
    assert "proxy_read_timeout 300s;" in printed("nginx", app)
    text = printed("haproxy", app)
    assert re.findall(r"timeout (client|server|tunnel) +300s", text) == [
        "client", "server", "tunnel",
    ]  # fmt: skip


def test_largest_body_is_let_through(printed: Print, app: Path) -> None:
    def size() -> int:
        found = re.search(r"client_max_body_size (\d+);", printed("nginx", app))
        assert found
        return int(found[1])

    assert size() == int(PATH_KEYS["max-body"].default)
    with app.open("a") as file:
        file.write("path a ( method SOCKETIO, use talk.talk, max-payload 2000000 );")
    assert size() == 2_000_000
    with app.open("a") as file:
        file.write(  # which is no body
            "path b ( method WEBSOCKET, use talk.talk, max-payload 3000000 );"
            "path c ( method ENGINEIO, use talk.talk, transports websocket, max-payload 3000000 );"
        )
    assert size() == 2_000_000


def test_included_files_are_part_of_it(printed: Print, app: Path) -> None:
    inner = app.with_name("inner.rbr")
    inner.write_text("path in ( method POST, url /, use file:page.html, max-body 7000000 );")
    app.write_text('root /one; include "inner.rbr" at /inner;')
    text = printed("nginx", app)
    assert "client_max_body_size 7000000;" in text
    assert re.findall(r"location (.*?) \{", text) == ["= /one", "/one/"]


def test_machines_are_chosen_by_the_client_if_it_may_poll(printed: Print, app: Path) -> None:
    servers = ["--server", "10.0.0.1:8000", "10.0.0.2:8000"]
    assert "hash $remote_addr" not in printed("nginx", app, *servers)
    with app.open("a") as file:
        file.write("path a ( method SOCKETIO, use talk.talk );")
    text = printed("nginx", app, *servers)
    assert re.findall(r"^    server ([\d.:]+) max_fails=0;", text, re.M) == servers[1:]
    assert "hash $remote_addr consistent;" in text
    assert "cookie app_machine insert" in printed("haproxy", app, *servers)
    assert "--trust-proxy 10.0.0.9 --allow-host a.example" in printed(
        "nginx", app, *servers, "--trust-proxy", "10.0.0.9", "--allow-host", "a.example"
    )


def test_machines_listen_where_they_are_asked(printed: Print, app: Path) -> None:
    for servers, host in (
        (["10.0.0.1:80", "10.0.0.2:80"], "0.0.0.0"),
        (["[fd00::1]:80", "[fd00::2]:80"], "::"),
    ):
        assert f" --host {host} --port 80 " in printed("nginx", app, "--server", *servers)


def test_site_without_a_name_says_who_else_has_none(printed: Print, app: Path) -> None:
    assert "sites-enabled/default, is one" in reasons(printed("nginx", app))
    assert "sites-enabled/default" not in printed("nginx", app, "--allow-host", "a.example")


@pytest.mark.parametrize("form", ["nginx", "haproxy", "systemd", "docker"])
def test_workers_of_another_machine_are_counted_there(printed: Print, app: Path, form: str) -> None:
    text = printed(form, app, "--workers", "auto")
    assert re.search(r'--workers(", "| )auto\b', text)
    assert "--workers" not in printed(form, app)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workers", "none"], "'none' is not a number"),
        (["--prefix", "/a b"], "'/a b'"),
        (["--prefix", "a"], "'a'"),
        (["--prefix", "/"], "'/'"),
        (["--name", "a;b"], "'a;b'"),
        (["--server", "nowhere"], "'nowhere'"),
        (["--pyz", "$HOME/x"], "'$HOME/x'"),
        (["--uds", "/run/a b"], "'/run/a b'"),
        (["--certfile", "{}"], "'{}'"),
        (["--host", "::1\nExec=x"], r"'::1\nExec=x'"),
        (["--redis", "redis://a\nExecStartPre=x"], r"'redis://a\nExecStartPre=x'"),
        (["--redis", "redis://a", "--redis-channel", "a\nb"], r"'a\nb'"),
        (["--redis", "redis://a", "--redis-emitter=-x"], "'-x'"),
        (["--redis-channel", "news"], "write --redis URL, too"),
        (["--host", "a%b"], "'a%b'"),
        (["--allow-host", "~a"], "'~a'"),
    ],
)
def test_words_that_would_mean_something_else_are_refused(
    app: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["print-config", "nginx", str(app), *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_file_whose_name_has_two_lines_is_refused(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = app.with_name("a\nserver { listen 666; }.rbr")
    named.write_text(app.read_text())
    assert cli.main(["print-config", "nginx", "--name", "a", str(named)]) == 1
    assert "is no name that can stand in such a file" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["systemd", "docker"])
@pytest.mark.parametrize(("option", "value"), [("--prefix", "/x"), ("--server", "10.0.0.1:80")])
def test_what_is_for_a_proxy_is_refused_by_others(
    app: Path, form: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["print-config", form, str(app), option, value]) == 1
    assert f"{option} is for a proxy, nginx or haproxy: {form} is none" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["nginx", "haproxy"])
@pytest.mark.parametrize(
    "root", ["/a}b", '/a"b', "/a'b", "/a$b", "/a\\b", "/a%20b", "/a/../b", "//a"]
)
def test_root_that_means_something_else_to_a_proxy_is_refused(
    printed: Print, app: Path, form: str, root: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app.write_text(f"root {root}; {app.read_text()}")
    assert cli.main(["print-config", form, str(app)]) == 1
    assert f"root {root!r} has characters that mean something else" in capsys.readouterr().err
    assert printed(form, app, "--prefix", "/x")  # which takes the place of all roots


def test_root_is_told_as_each_proxy_compares_it(printed: Print, app: Path) -> None:
    app.write_text(f"root /käse/.a@b; {app.read_text()}")
    assert "location /käse/.a@b/ {" in printed("nginx", app)
    assert "path_beg /k%C3%A4se/.a@b/ }" in printed("haproxy", app)


def test_what_nobody_could_find_is_refused(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, words, why in (
        ("nginx", ("--port", "0"), "--port 0 is another one each time"),
        ("systemd", ("--host", "localhost"), "systemd listens on addresses, such as 127.0.0.1"),
    ):
        assert cli.main(["print-config", form, str(app), *words]) == 1
        assert why in capsys.readouterr().err
    assert cli.main(["print-config", "systemd", str(app), "--host", "a", "--uds", "/run/a"]) == 0


@pytest.mark.parametrize("end", [" ", "\\"])
def test_folder_that_systemd_would_not_find_is_refused(
    app: Path, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = app.parent / f"folder{end}"
    folder.mkdir()
    (folder / "empty.rbr").write_text("")
    assert cli.main(["print-config", "systemd", str(folder / "empty.rbr")]) == 1
    assert "would not read the end of this name" in capsys.readouterr().err


def test_files_are_found_from_anywhere(
    printed: Print, app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(app.parent)
    words = ("--certfile", "a.pem", "--keyfile", "b.pem", "--uds", "http.sock")
    text = printed("nginx", app, *words)
    for name in (
        "ssl_certificate     {}/a.pem;",
        "ssl_certificate_key {}/b.pem;",
        "unix:{}/http.sock;",
    ):
        assert name.format(app.parent) in text
    assert f"bind :443 ssl crt {app.parent}/a.pem\n" in printed("haproxy", app, *words)
    text = printed("systemd", app, *words, "--pyz", "app.pyz")
    for line in ("ListenStream={}/http.sock", "LoadCredential=key.pem:{}/b.pem", " {}/app.pyz --"):
        assert line.format(app.parent) in text
    assert '"--certfile", "a.pem"' in printed("docker", app, *words)
    odd = app.parent / "a; b"
    odd.mkdir()
    monkeypatch.chdir(odd)
    assert cli.main(["print-config", "nginx", str(app), "--certfile", "a.pem"]) == 1
    assert f"'{odd}/a.pem' is none that can stand in such a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "reached", "trusted"),
    [
        ("127.0.0.1", "127.0.0.1:81", "127.0.0.1"),
        ("127.0.0.5", "127.0.0.5:81", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1:81", "127.0.0.1"),
        ("::", "[::1]:81", "::1"),
        ("10.0.0.7", "10.0.0.7:81", "10.0.0.7"),
        ("localhost", "127.0.0.1:81", "127.0.0.1"),
        ("a.example", "a.example:81", "127.0.0.1"),
    ],
)
def test_proxy_finds_the_server_where_it_listens(
    printed: Print, app: Path, host: str, reached: str, trusted: str
) -> None:
    words = ("--host", host, "--port", 81)
    assert f"    server {reached};" in printed("nginx", app, *words)
    text = printed("haproxy", app, *words)
    assert f"    server app {reached}\n" in text
    assert f" --host {host} --port 81 --trust-proxy {trusted}\n" in text


def command_of(text: str) -> list[str]:
    """What stands in a file of a proxy as the server's command, after ``-m redbarrel_lite``."""
    (line,) = re.findall(r"^#     python3 -m redbarrel_lite (.*)$", text, re.M)
    return shlex.split(line)


@pytest.mark.parametrize("form", ["nginx", "haproxy"])
def test_machines_are_told_of_each_other_by_a_redis(printed: Print, app: Path, form: str) -> None:
    servers = ("--server", "10.0.0.1:8000", "10.0.0.2:8001")
    assert "--redis" not in printed(form, app, *servers)  # there are no sockets
    with app.open("a") as file:
        file.write("path a ( method SOCKETIO, use talk.talk );")
    assert "--redis" not in printed(form, app, *servers[:2])
    text = printed(form, app, *servers)
    unknown = {"PORT": "8000", "PROXY": "10.0.0.9", "redis://REDIS": "redis://10.0.0.8"}
    for name in ("PORT", "PROXY", "REDIS"):
        assert f" {name} is " in reasons(text)
    command = [unknown.get(word, word) for word in command_of(text)]
    assert command == [
        "app.rbr", "--host", "0.0.0.0", "--port", "8000", "--trust-proxy", "10.0.0.9",
        "--redis", "redis://10.0.0.8",
    ]  # fmt: skip
    known = ("--redis", "redis://10.0.0.8", "--trust-proxy", "10.0.0.9", "--workers", "2")
    text = printed(form, app, *servers[:2], "10.0.0.2:8000", *known)
    assert not {"PORT", "PROXY", "REDIS"} & set(reasons(text).split())
    assert command_of(text)[5:] == [
        "--trust-proxy", "10.0.0.9", "--workers", "2", "--redis", "redis://10.0.0.8",
    ]  # fmt: skip


def test_printed_command_is_one_that_serves(printed: Print, app: Path) -> None:
    """Of a file that looks like an option, with each option that goes into it."""
    named = app.rename(app.with_name("-a b.rbr"))
    redis = ["--redis", "redis://10.0.0.8", "--redis-channel", "a b", "--redis-emitter", "x"]
    text = printed("nginx", named, "--name", "a", "--workers", "2", *redis)
    options = cli._parser([]).parse_args(command_of(text))
    assert [str(one) for one in options.apps] == ["-a b.rbr"]
    assert command_of(text)[-6:] == redis
    for form in ("systemd", "docker"):
        text = printed(form, named, "--name", "a", *redis)
        (line,) = re.findall(r"^(?:ExecStart=|CMD )(.*)$", text, re.M)
        words = json.loads(line) if form == "docker" else shlex.split(line)
        options = cli._parser([]).parse_args(words[words.index("redbarrel_lite") + 1 :])
        assert (options.redis_channel, options.redis_emitter) == ("a b", "x")


def test_words_are_quoted_as_systemd_reads_them(printed: Print, app: Path) -> None:
    named = app.with_name("""100%n "it's" $5 \\.rbr""")
    named.write_text(app.read_text())
    text = printed("systemd", named, "--name", "a", "--redis", "redis://a?channel=a%20b")
    assert r""" "100%%n \"it's\" $$5 \\.rbr" """ in text
    assert text.count(" --redis redis://a?channel=a%%20b\n") == 1


def test_fault_of_the_file_is_pictured(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app.write_text("path page ( url /, use file:pge.html );")
    assert cli.main(["print-config", "nginx", str(app)]) == 1
    told = capsys.readouterr()
    assert ("RBR038" in told.err, told.out) == (True, "")
    assert cli.main(["print-config", "nginx", str(app.with_name("none.rbr"))]) == 1
    assert "No such file" in capsys.readouterr().err
    strange = app.rename(app.with_name("ä b.rbr"))
    strange.write_text("")
    assert cli.main(["print-config", "nginx", str(strange)]) == 1
    assert "--name" in capsys.readouterr().err
    assert cli.main(["print-config", "nginx", str(strange), "--name", "ab"]) == 0


# -- systemd -----------------------------------------------------------------------------


def units(printed: Print, folder: Path, *words: object) -> dict[str, configparser.RawConfigParser]:
    assert printed("systemd", *words, "-o", folder / "units") == ""
    found = {}
    for path in (folder / "units").iterdir():
        parsed = configparser.RawConfigParser(strict=False)
        parsed.optionxform = str  # type: ignore[assignment,method-assign]
        parsed.read(path, encoding="utf-8")
        found[path.suffix] = parsed
    return found


@pytest.mark.parametrize(
    ("python", "home"), [("/usr/bin/python3", "yes"), ("/home/ann/.venv/bin/python3", "read-only")]
)
def test_service_sees_the_home_that_its_python_lies_in(
    python: str, home: str, printed: Print, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    unit = units(printed, app.parent, app)[".service"]["Service"]
    assert unit["ProtectHome"] == home


def test_service_serves_the_socket_that_systemd_opens(printed: Print, app: Path) -> None:
    unit = units(printed, app.parent, app)[".service"]["Service"]
    assert unit["WorkingDirectory"] == str(app.parent)
    words = shlex.split(unit["ExecStart"])
    assert words[0] == sys.executable
    # Of two lines one is left to us; in the unit both count.
    environment = {"PYTHONPATH": str(ROOT)} | dict(
        line.split("=", 1) for line in unit["Environment"].split()
    )
    with tcp() as listening:
        process = subprocess.Popen(
            [words[0], "-E", "-c", LAUNCHER, str(listening.fileno()), *words[1:]],
            cwd=unit["WorkingDirectory"],
            env=os.environ | {"LISTEN_FDS": "1"} | environment,
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            address = listening.getsockname()
            assert answer_of(socket.create_connection(address)) == b"page"
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said


def test_package_is_found_where_it_is(printed: Print, app: Path) -> None:
    text = printed("systemd", app)
    assert f"Environment=PYTHONPATH={ROOT}\n" in text
    assert "PYTHONPATH" not in printed("systemd", app, "--pyz", "/srv/app.pyz")


def test_workers_and_redis_are_part_of_the_command(printed: Print, app: Path) -> None:
    words = ["--workers", "2", "--redis", "redis://:secret@10.0.0.9"]
    text = printed("systemd", app, *words)
    assert f" app.rbr --trust-proxy 127.0.0.1 {' '.join(words)}\n" in text
    assert f"--trust-proxy 127.0.0.1 {' '.join(words)}\n" in printed("nginx", app, *words)
    assert json.dumps(words)[1:] in printed("docker", app, *words)


@pytest.mark.parametrize("form", ["nginx", "haproxy", "systemd", "docker"])
def test_password_is_said_to_be_for_another_file(printed: Print, app: Path, form: str) -> None:
    for url in ("redis://:secret@10.0.0.9", "redis://10.0.0.9?password=secret"):
        assert "have --config name it" in reasons(printed(form, app, "--redis", url))
    assert "--config" not in printed(form, app, "--redis", "redis://10.0.0.9")


def test_bundle_needs_no_file_but_itself(printed: Print, app: Path) -> None:
    for form in ("nginx", "systemd", "docker"):
        text = printed(form, app, "--pyz", "/srv/app.pyz")
        assert "app.rbr" not in text.replace("/app.rbr", "")
        assert "app.pyz" in text


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--uds", "/run/app/http.sock", "--allow-host", "a.example"),
        ("--host", "::", "--port", "443", "--certfile", "/etc/a.pem", "--keyfile", "/etc/b.pem"),
    ],
)
def test_systemd_accepts_the_units(printed: Print, app: Path, words: tuple[str, ...]) -> None:
    socket_unit = units(printed, app.parent, app, *words)[".socket"]
    assert socket_unit["Socket"]["ListenStream"] in (
        "127.0.0.1:8000", "/run/app/http.sock", "[::]:443",
    )  # fmt: skip
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    files = [str(app.parent / "units" / f"app.{kind}") for kind in ("socket", "service")]
    verified = subprocess.run([analyze, "verify", *files], capture_output=True, text=True)
    faults = [line for line in verified.stderr.splitlines() if "/app." in line]
    assert (verified.returncode, faults) == (0, [])


# -- Docker ------------------------------------------------------------------------------


def test_image_s_command_serves_and_its_health_is_asked(
    printed: Print, app: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What docker would do with the few instructions that there are, done by hand."""
    shutil.copytree(ROOT / "redbarrel_lite", app.parent / "redbarrel_lite")
    text = printed("docker", app, "--allow-host", "a.example")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    said = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in lines}
    assert list(said) == ["FROM", "WORKDIR", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "CMD"]
    assert said["FROM"] == "python:{}.{}-slim".format(*sys.version_info)
    assert said["COPY"] == ". ."
    image = tmp_path_factory.mktemp("image") / "srv"
    shutil.copytree(app.parent, image)
    command = [sys.executable, *json.loads(said["CMD"])[1:]]
    command[command.index("8000")] = "0"
    with running(command, image) as (everywhere, _):
        url = everywhere.replace("0.0.0.0", "127.0.0.1")
        request = urllib.request.Request(url, headers={"Host": "a.example"})
        with urllib.request.urlopen(request, timeout=30) as page:
            assert page.read() == b"page"
        asked = json.loads(said["HEALTHCHECK"].removeprefix("CMD "))[1:]
        asked[-1] = asked[-1].replace("http://127.0.0.1:8000", url)
        subprocess.run([sys.executable, *asked], check=True, timeout=PATIENCE_S)
