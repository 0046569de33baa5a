"""docs/deploy.md: what can be run of it without nginx and systemd."""

from __future__ import annotations

import configparser
import http.client
import json
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from conftest import ROOT

from redbarrel_lite import cli, services
from redbarrel_lite.http1_reader import USUAL
from redbarrel_lite.listener import BACKLOG
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.rbr_keys import PATH_KEYS

PAGE = ROOT / "docs" / "deploy.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
# The listings by the path in their first line, and the commands in their order.
FILES = {code.split("\n", 1)[0].removeprefix("# "): code for kind, code in BLOCKS if kind != "sh"}
BUNDLE, COPY, PRINT, START, NGINX, PREFIX, NAMES, TLS, WORKERS, MACHINES, FRONTS = (
    code for kind, code in BLOCKS if kind == "sh"
)
SOCKET = "/etc/systemd/system/chat.socket"
UNITS = [name for name in FILES if name.startswith("/etc/systemd/") and name != SOCKET]
UNIT, UNIX, OWN_TLS = UNITS
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
START_S = 30.0


def unit(name: str) -> configparser.RawConfigParser:
    # Not strict: an option of systemd's may stand there twice, and be emptied first.
    parsed = configparser.RawConfigParser(strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(FILES[name].replace("\\\n", ""))
    return parsed


def arguments(command: str) -> list[str]:
    """A command line of the page, for the Python that runs the tests."""
    words = shlex.split(command)
    assert words[0].endswith("python3")
    return [sys.executable, *words[1:]]


@contextmanager
def running(command: list[str], folder: Path, umask: int = -1) -> Iterator[tuple[str, list[str]]]:
    """A server while the block runs: its URL, and what it says until its end."""
    process = subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8", umask=umask
    )
    assert process.stderr is not None
    late = threading.Timer(START_S, process.kill)
    late.start()
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("Serving on "):
                break
        else:
            pytest.fail(f"{command} does not serve:\n{''.join(said)}")
        late.cancel()
        yield line.removeprefix("Serving on ").strip(), said
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=START_S)[1].splitlines()
        assert process.returncode == 0, said
    finally:
        late.cancel()
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def srv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, copied as the page says, with its two files of options."""
    base = tmp_path_factory.mktemp("srv")
    subprocess.run(["sh", "-ec", COPY.replace("/srv/", f"{base}/")], cwd=ROOT, check=True)
    for name, code in FILES.items():
        if name.startswith("/srv/"):
            moved = code.replace("/run/chat/", f"{base}/")
            (base / name.removeprefix("/srv/")).write_text(moved, encoding="utf-8")
    return base / "chat"


def status(url: str, headers: dict[str, str], context: ssl.SSLContext | None = None) -> int:
    try:
        asked = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(asked, timeout=30, context=context) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


THROUGH_NGINX = {
    "Origin": "https://chat.example",
    "X-Forwarded-For": "192.0.2.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "chat.example",
}


def test_every_listing_is_known() -> None:
    assert list(FILES) == [
        "/srv/chat/rbr.ini",
        UNIT,
        SOCKET,
        "/etc/nginx/sites-available/chat",  # tests/interop/test_nginx.py runs it
        "/srv/chat/unix.ini",
        UNIX,
        OWN_TLS,
    ]


def test_bundle_of_the_page_serves(tmp_path: Path) -> None:
    make, pack, serve = BUNDLE.replace("/srv/", f"{tmp_path}/").splitlines()
    subprocess.run(shlex.split(make), check=True)
    subprocess.run(arguments(pack), cwd=ROOT, check=True, capture_output=True)
    with running([*arguments(serve)[:-1], "0"], tmp_path) as (url, _):
        assert status(url, {}) == 200


def test_files_are_printed_as_the_page_has_them(srv: Path) -> None:
    """The nginx of the page is what the command prints; the others print something."""
    for command in (NGINX, *PREFIX.splitlines(), *PRINT.splitlines(), *FRONTS.splitlines()):
        done = subprocess.run(
            arguments(command.replace("\\\n", "")), cwd=srv, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if command is NGINX:
            assert done.stdout == FILES["/etc/nginx/sites-available/chat"]
    assert {one.name for one in (srv / "units").iterdir()} == {"chat.socket", "chat.service"}


def test_workers_of_the_page_serve(srv: Path) -> None:
    with running([*arguments(WORKERS), "--port", "0"], srv) as (url, _):
        assert status(url, {}) == 200


def test_options_of_machines_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """tests/interop/test_many_machines.py runs them so."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    offered = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z-]+", MACHINES)) <= offered


def test_command_of_machines_is_printed(
    srv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (more,) = re.findall(r"^With `(--workers .*?)` besides", PAGE.read_text(encoding="utf-8"), re.M)
    monkeypatch.chdir(srv)
    for command in FRONTS.splitlines():
        cli.main(shlex.split(f"{command} {more}")[3:])
        (printed,) = re.findall(r"^#     (python3 .*)$", capsys.readouterr().out, re.M)
        first = MACHINES.splitlines()[0].replace("--host 10.0.0.1", "--host 0.0.0.0 --port 8000")
        assert sorted(printed.split()) == sorted(first.split())


def test_unit_s_command_serves_the_copied_folder(srv: Path) -> None:
    command = arguments(unit(UNIT)["Service"]["ExecStart"])
    with running([*command, "--port", "0"], srv) as (url, said):
        with urllib.request.urlopen(url, timeout=30) as page:
            assert page.read() == (srv / "chat.html").read_bytes()
        assert status(f"{url}/__doc__", {}) == 404
        assert status(f"{url}/__health__", {}) == 200
        assert status(url + HANDSHAKE, THROUGH_NGINX) == 200
    lines = [json.loads(line) for line in said if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 404, 200, 200]
    assert [line["client"] for line in lines] == ["127.0.0.1"] * 3 + ["192.0.2.7"]


def test_socket_is_where_the_server_would_listen_without_it() -> None:
    ini = configparser.ConfigParser()
    ini.read_string(FILES["/srv/chat/rbr.ini"])
    assert unit(SOCKET)["Socket"]["ListenStream"] == f"127.0.0.1:{ini['rbr']['port']}"
    assert int(unit(SOCKET)["Socket"]["Backlog"]) == BACKLOG


def test_unit_s_reload_has_the_files_read_again(srv: Path) -> None:
    service = unit(UNIT)["Service"]
    command = [*arguments(service["ExecStart"]), "--port", "0"]
    with subprocess.Popen(command, cwd=srv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("Serving on ") for line in process.stderr)
        reload = service["ExecReload"].replace("$MAINPID", str(process.pid))
        subprocess.run(shlex.split(reload), check=True)
        assert any(line == "Read again.\n" for line in process.stderr)
        process.terminate()


def test_command_of_the_page_serves_too(srv: Path) -> None:
    goto, _, command = START.strip().partition(" && ")
    assert goto == f"cd {unit(UNIT)['Service']['WorkingDirectory']}"
    with running([*arguments(command), "--port", "0"], srv) as (url, _):
        assert status(url, {}) == 200


def test_without_trust_the_socket_is_refused(srv: Path) -> None:
    command = [sys.executable, "-m", "redbarrel_lite", "chat.rbr", "--port", "0"]
    with running(command, srv) as (url, _):
        assert status(url, THROUGH_NGINX) == 200
        assert status(url + HANDSHAKE, THROUGH_NGINX) == 403


def test_unix_socket_is_for_the_group(srv: Path) -> None:
    service = unit(UNIX)["Service"]
    command = arguments(service["ExecStart"])
    with running(command, srv, int(service["UMask"], 8)) as (url, _):
        path = Path(url.removeprefix("unix:"))
        assert path.stat().st_mode & 0o777 == 0o770
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            fields = "".join(f"{name}: {value}\r\n" for name, value in THROUGH_NGINX.items())
            client.sendall(f"GET {HANDSHAKE} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode())
            assert client.recv(9999).startswith(b"HTTP/1.1 200 ")


def test_unit_waits_longer_than_the_server() -> None:
    ini = configparser.ConfigParser()
    ini.read_string(FILES["/srv/chat/rbr.ini"])
    service = unit(UNIT)["Service"]
    assert int(service["TimeoutStopSec"]) > float(ini["rbr"]["grace"])
    assert service["KillSignal"] == "SIGTERM"


@pytest.mark.parametrize("name", UNITS)
def test_options_of_a_unit_exist(name: str) -> None:
    asked = [sys.executable, "-m", "redbarrel_lite", "--help"]
    helped = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    used = set(re.findall(r"--[a-z-]+", unit(name)["Service"]["ExecStart"]))
    assert used
    assert used <= set(re.findall(r"--[a-z-]+", helped.stdout))


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    for name in (*UNITS, SOCKET):
        file = tmp_path / Path(name).relative_to("/etc/systemd/system")
        file.parent.mkdir(exist_ok=True)
        code = FILES[name].replace("/usr/bin/python3", sys.executable)
        file.write_text(code, encoding="utf-8")
    verified = subprocess.run(
        [analyze, "verify", str(tmp_path / "chat.service"), str(tmp_path / "chat.socket")],
        capture_output=True,
        text=True,
    )
    faults = [line for line in verified.stderr.splitlines() if "/chat." in line]
    assert (verified.returncode, faults) == (0, [])


def test_tls_is_spoken_with_a_certificate_of_the_page(srv: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    make, serve = TLS.replace("\\\n", "").splitlines()
    subprocess.run(shlex.split(make), cwd=srv, check=True, capture_output=True)
    trusting = ssl.create_default_context(cafile=srv / "cert.pem")
    with running([*arguments(serve), "--port", "0"], srv) as (url, _):
        assert urlsplit(url).scheme == "https"
        assert status(url, {}, trusting) == 200
        assert status(url + HANDSHAKE, {"Origin": url}, trusting) == 200
        other = url.replace("https", "http")
        assert status(url + HANDSHAKE, {"Origin": other}, trusting) == 403
    with running([*unit_with_tls(srv), "--port", "0"], srv) as (url, _):
        assert status(url.replace("0.0.0.0", "127.0.0.1"), {}, trusting) == 200


def unit_with_tls(folder: Path) -> list[str]:
    command = unit(OWN_TLS)["Service"]["ExecStart"]
    return arguments(command.replace("${CREDENTIALS_DIRECTORY}", str(folder)))


def test_statuses_of_the_table_are_those_of_the_server(srv: Path) -> None:
    command = [*arguments(NAMES), "--port", "0"]
    with running([*command, "--head-timeout", "0.2"], srv) as (url, _):

        def answered(request: str) -> str:
            with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as client:
                client.sendall(request.encode())
                answer = http.client.HTTPResponse(client)
                answer.begin()
                return str(answer.status)

        host = "Host: chat.example:8000"
        line = f"GET /{'x' * USUAL.line} HTTP/1.1\r\n{host}\r\n\r\n"
        field = f"GET / HTTP/1.1\r\n{host}\r\nX: {'x' * USUAL.line}\r\n\r\n"
        large = f"POST {HANDSHAKE} HTTP/1.1\r\n{host}\r\nContent-Length: 1000001\r\n\r\n"
        strange = "GET / HTTP/1.1\r\nHost: chat.example.evil\r\n\r\n"
        seen = [answered(request) for request in ("GET / HT", large, line, strange, field)]
    assert seen == ["408", "413", "414", "421", "431"]
    table = TEXT[TEXT.index("| a client sees |") :]
    assert re.findall(r"^\| (4[0-9]{2}) \|", table, re.M) == seen


def test_figures_are_those_of_the_source() -> None:
    table = " ".join(TEXT[TEXT.index("| a client sees |") :].split())
    assert f"a request line over {USUAL.line} bytes" in table
    assert f"a header line over {USUAL.line} bytes" in table
    assert f"a head over {USUAL.head}, over {USUAL.fields} lines" in table
    assert (
        f"{services.MAX_THREADS} plain functions at work and {services.MAX_WAITING} requests"
    ) in table
    assert f"the `ping-interval` ({PATH_KEYS['ping-interval'].default} s)" in TEXT
    assert f"below `idle-timeout` ({TimeLimits().idle:.0f} s)" in TEXT


def test_nginx_waits_as_long_as_it_should() -> None:
    listing = FILES["/etc/nginx/sites-available/chat"]
    seconds = {name: int(s) for name, s in re.findall(r"(\w+_timeout) (\d+)s;", listing)}
    assert seconds["proxy_read_timeout"] > sum(
        float(PATH_KEYS[key].default) for key in ("ping-interval", "ping-timeout")
    )
    assert seconds["keepalive_timeout"] < TimeLimits().idle


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)", TEXT))
def test_link_leads_somewhere(target: str) -> None:
    assert (PAGE.parent / target).exists()
