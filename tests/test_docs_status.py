"""docs/status.md: the families are those that are told, and its listings work."""

from __future__ import annotations

import http.client
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import ROOT, Serve
from openmetrics import Family, parse
from test_backplane import passing
from test_counting import counted
from wire import run, socketio

from redbarrel_lite.backplane import Backplane
from redbarrel_lite.census import census
from redbarrel_lite.cluster import Cluster
from redbarrel_lite.counting import REASONS
from redbarrel_lite.metrics import text

TEXT = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
START, ASK = (code.strip() for kind, code in BLOCKS if kind == "sh")
(PROMETHEUS,) = (code for kind, code in BLOCKS if kind == "yaml")


def rows() -> list[tuple[list[str], list[str]]]:
    """Families of one row, and their labels."""
    table = TEXT.partition("<!-- families -->\n")[2].partition("<!-- end -->")[0]
    lines = [line.split(" | ") for line in table.splitlines()[2:]]
    names = re.compile(r"`(\w+)`")
    return [(names.findall(line[0]), names.findall(line[1])) for line in lines]


def told(folder: Path) -> dict[str, Family]:
    """What a server tells that has all there is: a client who spoke, and a Redis."""
    found: list[dict[str, Family]] = []

    async def test() -> None:
        async with counted(folder) as server, passing() as stub:
            server.server.cluster = Cluster()
            async with Backplane(server.server.cluster, stub.url):
                socket = await socketio(server.url)
                await socket.text('42["message","hello"]')
                await socket.read()
                socket.close()
                await server.reaches(1, "websocket_closes", "_total")
                await server.live.serves()
                found.append(parse(text(census(server.server, "1"))))

    run(test())
    return found[0]


def test_families_and_their_labels_are_those_that_are_told(tmp_path: Path) -> None:
    families = told(tmp_path)
    listed = {name: labels for names, labels in rows() for name in names}
    assert set(listed) == set(families)
    for name, family in families.items():
        labels = {label for _, told in family.samples for label, _ in told} - {"le"}
        assert labels == set(listed[name]) or not family.samples, name


def test_what_is_to_be_watched_is_told(tmp_path: Path) -> None:
    families = told(tmp_path)
    table = TEXT.partition("## What to watch")[2]
    for name in re.findall(r"`((?:redbarrel|process)_\w+)", table):
        assert name in families or name.removesuffix("_total") in families, name
    reasons = set(re.findall(r'reason="([^"]+)"', table))
    assert reasons <= {*REASONS.values(), "pool", "slow client", "origin"}


def arguments(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[:3] == ["python3", "-m", "redbarrel_lite"]
    return words[3:]


def test_listings_start_a_server_and_ask_it(serve: Serve) -> None:
    app, *options = arguments(START)
    server = serve(ROOT / app, *options)
    command, url = ASK.split()
    assert command == "curl"
    asked = url.replace("127.0.0.1:8000", urlsplit(server.url).netloc)
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    answer = subprocess.run(["curl", "-s", asked], capture_output=True, text=True, check=True)
    assert "redbarrel_info" in answer.stdout
    parse(answer.stdout)


def test_scrape_config_names_the_page_and_a_host_that_may_see_it(serve: Serve) -> None:
    (path,) = re.findall(r"metrics_path: (\S+)", PROMETHEUS)
    (target,) = re.findall(r'targets: \["([^"]+)"\]', PROMETHEUS)
    server = serve(ROOT / "examples/hello/hello.rbr", "--status")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    # As Prometheus asks: with the target as Host, and what it can read.
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    connection.request("GET", path, headers={"Host": target, "Accept": accept})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    connection.close()
