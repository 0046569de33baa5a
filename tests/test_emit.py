"""`emit`, and its page: each command of docs/emit.md is run, with two clients on the server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Serve, serving
from wire import CERTIFICATE, WebSocket, live, run, serving_tls, socketio

from redbarrel_lite import cli
from redbarrel_lite.emit import shown as emit_shown
from redbarrel_lite.emitting import _MEMBERS, Desk

PAGE = (ROOT / "docs" / "emit.md").read_text(encoding="utf-8")
COMMANDS = [
    (command.rstrip("\n"), output)
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE, re.M | re.S)
    for command, output in re.findall(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", block, re.M)
]
TOKEN = "a-secret-of-enough-letters"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bakery")
    for language in ("rbr", "python"):
        found = re.search(rf"```{language}\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
        assert found is not None
        (folder / found[1]).write_text(found[2], encoding="utf-8")
    (folder / "bakery.token").write_text(TOKEN + "\n")
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    (start,) = re.findall(r"^python3 -m redbarrel_lite (bakery\.rbr .*)$", PAGE, re.M)
    words = [str(folder / word) if "." in word else word for word in start.split()]
    with serving() as serve:
        yield serve(words[0], *words[1:]).url


async def polite(client: WebSocket) -> None:
    """Acknowledge what asks for it."""
    while packet := await client.read():
        asked = re.match(r"42([0-9]+)\[", packet)
        if asked is not None:
            await client.text(f'43{asked[1]}["thank you"]')


async def typed(command: str, folder: Path) -> str:
    """What a command says."""
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    return re.sub(r"[\w-]{22}(?=\"?:)", "SID", said)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_each_command_of_the_page_says_what_it_says_there(folder: Path, url: str) -> None:
    assert len(COMMANDS) > 8

    async def test() -> None:
        clients = [await socketio(url) for _ in range(2)]
        await clients[0].text('420["follow","cakes"]')
        assert await clients[0].read() == "430[]"
        reading = [asyncio.ensure_future(polite(client)) for client in clients]
        for command, output in COMMANDS:
            here = command.replace("http://127.0.0.1:8000", url).replace("python3", sys.executable)
            assert await typed(here.replace("curl ", "curl -s ", 1), folder) == output, command
        for one in reading:
            one.cancel()

    run(test())


def test_table_of_the_page_has_what_an_order_has() -> None:
    table = PAGE.partition("## What is posted")[2].partition("`emit` has")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.M) == list(_MEMBERS)


def emit(*arguments: str) -> tuple[int, str]:
    """The exit status of the command, and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = cli.main(["emit", *arguments])
        except SystemExit as end:
            status = int(str(end.code))
    return status, said.getvalue()


def test_what_is_refused_or_unreachable_has_the_status_1(folder: Path, url: str) -> None:
    token = str(folder / "bakery.token")
    wrong = folder / "wrong.token"
    wrong.write_text("another-secret-of-letters")
    short = folder / "short.token"
    short.write_text("short")
    asked = "was it started with --emit-token-file or --emit-uds?"
    nowhere = f"404 no path of this server has this url; {asked}"
    for arguments, told in (
        (["--url", url], "error: 401 bring the token: "),
        (["--url", url, "--token-file", str(wrong)], "error: 401 this is not the token\n"),
        (["--token-file", str(short)], f"error: {short}: no token, which has 16 to 4096 letters"),
        (["--url", url, "--token-file", "/nowhere"], "error: /nowhere: No such file or "),
        (["--url", f"{url}/shop", "--token-file", token], f"error: {nowhere}\n"),
        (["--url", "http://127.0.0.1:1"], "error: http://127.0.0.1:1: Connection refused\n"),
        (["--url", "ftp://a"], "error: 'ftp://a' is no url of a server: "),
        (["--url", url.replace("http", "https")], f"error: {url.replace('http', 'https')}: "),
        (["--url", url, "--cafile", "/no"], "error: --cafile /no: No such file or directory\n"),
        (["--uds", ""], "error: --uds: "),
    ):
        status, said = emit("news", *arguments)
        assert (status, said[: len(told)]) == (1, told)


def test_answer_that_leaves_out_other_servers_says_so() -> None:
    told = {"reached": 2, "acks": {"a": ["é"]}, "silent": ["b"], "others": "they are not counted"}
    lines = ["reached 2 clients", 'a: ["é"]', "b: no acknowledgement", "they are not counted"]
    assert emit_shown(told).splitlines() == lines
    assert emit_shown({"reached": 1}) == "reached 1 client"


def test_wrong_arguments_have_the_status_2() -> None:
    for arguments in ([], ["news", "--ack", "never"], ["news", "--ack", "301"]):
        assert emit(*arguments)[0] == 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal here")
def test_token_is_read_again(serve: Serve, folder: Path, tmp_path: Path) -> None:
    token, other = tmp_path / "token", tmp_path / "other"
    token.write_text(TOKEN)
    other.write_text(TOKEN[::-1])
    server = serve(folder / "bakery.rbr", "--emit-token-file", str(token))
    where = ("news", "--url", server.url, "--token-file")
    assert [emit(*where, str(one))[0] for one in (token, other)] == [0, 1]
    # A url may come without its scheme.
    short = [server.url.removeprefix("http://") if one == server.url else one for one in where]
    assert emit(*short, str(token), "--ack", "300") == (0, "reached 0 clients\n")
    other.replace(token)
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line("Read again")
    assert emit(*where, str(token))[0] == 0
    token.write_text("short")
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line("no token, which has 16 to 4096")
    server.wait_for_line("The application of before stays")
    token.write_text(TOKEN[::-1])
    assert emit(*where, str(token))[0] == 0


def test_answer_of_something_else_is_none(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "others.py").write_text(
        "def deep(globs, request):\n"
        "    return '[' * 100_000\n"
        "def page(globs, request):\n"
        "    request.response.status = 502\n"
        "    return '<html>\\x1b[2J'\n"
        "def full(globs, request):\n"
        "    request.response.status = 503\n"
        "    return ''\n"
    )
    file = tmp_path / "other.rbr"
    file.write_text(
        "path other ( method POST, url /__emit__ );\n"
        "path deep ( method POST, url /deep/__emit__, use python:others.deep );\n"
        "path page ( method POST, url /page/__emit__, use python:others.page );\n"
        "path full ( method POST, url /full/__emit__, use python:others.full );\n"
    )
    url = serve(file).url
    for root, told in (("", "200 "), ("/deep", "200 '[[["), ("/page", "502 '<html>\\x1b[2J'\n")):
        status, said = emit("news", "--url", url + root)
        assert status == 1
        assert said.startswith(f"error: that is no answer of /__emit__: {told}")
    assert emit("news", "--url", f"{url}/full") == (1, "error: the server answers 503\n")


@pytest.mark.parametrize(
    ("answer", "encoding", "shown"),
    [("é", "utf-8", "é"), ("é", "ascii", "\\u00e9"), ("\ud800\x9b2J", "utf-8", "\\ud800\\u009b2J")],
)
def test_what_a_terminal_can_t_show_or_might_obey_is_escaped(
    monkeypatch: pytest.MonkeyPatch, answer: str, encoding: str, shown: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    out.write(emit_shown({"reached": 1, "acks": {"a": [answer]}}))
    out.seek(0)
    assert out.read() == f'reached 1 client\na: ["{shown}"]'


def test_workers_that_do_not_answer_are_told_of_beside_the_answer(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So they are by the exit status: it was emitted, but not all is known."""
    (tmp_path / "held.py").write_text(
        "def answer(globs, request):\n"
        "    return {'reached': 5, 'workers': {'silent': 1, 'of': 4}}\n"
    )
    file = tmp_path / "held.rbr"
    file.write_text("path held ( method POST, url /__emit__, use python:held.answer );\n")
    url = serve(file).url
    assert cli.main(["emit", "news", "--url", url]) == 3
    said = capsys.readouterr()
    assert said.out == "reached 5 clients\n"
    assert said.err.startswith("warning: 1 of 4 workers did not answer in time: their clients ")
    assert cli.main(["emit", "news", "--url", url, "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["workers"] == {"silent": 1, "of": 4}
    assert said.err.count("warning") == 1


def test_goes_by_tls_to_whom_it_trusts_and_prints_json(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    rbr = "root /shop;\npath s ( method SOCKETIO );\n"

    async def test() -> None:
        pages = [Desk(TOKEN.encode()).route]
        async with live(tmp_path, rbr, tls=serving_tls(), pages=pages) as server:
            where = ("--url", f"{server.url}/shop/", "--token-file", str(token))
            status, said = await asyncio.to_thread(emit, "news", *where)
            assert (status, "certificate verify failed" in said) == (1, True)
            more = ("-1", "--cafile", str(CERTIFICATE), "--json", "--volatile")
            status, said = await asyncio.to_thread(emit, "news", *where, *more)
            assert (status, json.loads(said)) == (0, {"reached": 0})

    run(test())


def test_server_says_what_is_wrong_with_its_options(folder: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("short")
    there = tmp_path / "there"
    there.touch()
    for option, told in (
        (f"--emit-token-file={short}", f"error: {short}: no token, which has 16 to 4096 "),
        (f"--emit-token-file={tmp_path}/no", f"error: {tmp_path}/no: No such file or directory"),
        (f"--emit-uds={there}", f"error: can't serve on {there}: File exists"),
    ):
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "redbarrel_lite",
                str(folder / "bakery.rbr"),
                option,
                "--port=0",
            ],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr
