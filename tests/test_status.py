"""Who may see how a server is, and what they see."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from conftest import Serve
from openmetrics import Family, parse
from wire import Wire, ask, live, run

from redbarrel_lite.app import App
from redbarrel_lite.forwarded import trust
from redbarrel_lite.gate import Gate
from redbarrel_lite.listener import Address
from redbarrel_lite.metrics import CONTENT_TYPE
from redbarrel_lite.server import Server
from redbarrel_lite.status import METRICS, STATUS, Status

RBR = "path hello ( method GET, url /hello );"
HERE = "127.0.0.1:8000"


@contextlib.asynccontextmanager
async def showing(
    folder: Path, viewers: Sequence[str] = (), gate: Gate | None = None
) -> AsyncIterator[str]:
    """The url of a server with its pages."""
    (folder / "app.rbr").write_text(RBR)
    status = Status(trust(viewers))
    app = App.load(folder / "app.rbr", own=status.pages)
    server = status.serving(app, None, None, gate)
    url = await server.start(Address(port=0))
    try:
        yield url
    finally:
        await server.close(0.1)


def answer(
    folder: Path, viewers: Sequence[str] = (), gate: Gate | None = None, **headers: str
) -> tuple[int, str]:
    """Status and text of the metrics, and of the page the same status."""
    answers: list[tuple[int, str]] = []

    async def test() -> None:
        async with showing(folder, viewers, gate) as url:
            for page in (METRICS, STATUS):
                status, _, body = await ask(url, "GET", page, b"", **headers)
                answers.append((status, body.decode()))

    run(test())
    assert answers[0][0] == answers[1][0]
    return answers[0]


def test_metrics_are_open_metrics(tmp_path: Path) -> None:
    async def test() -> None:
        async with showing(tmp_path) as url:
            wire = await Wire.open(url)
            await wire.ask("GET", "/hello")
            status, headers, body = await wire.ask("GET", METRICS, Host=HERE)
            assert status == 200
            assert headers["content-type"] == CONTENT_TYPE
            assert headers["cache-control"] == "no-store"
            found = parse(body.decode())
            assert found["redbarrel_requests"].value("_total", path="/hello", status="2xx") == 1

    run(test())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8000", "LocalHost", "[::1]:8000"])
def test_this_machine_may_see_them(tmp_path: Path, host: str) -> None:
    assert answer(tmp_path, Host=host)[0] == 200


def test_page_that_calls_itself_ours_may_not(tmp_path: Path) -> None:
    """Its name points to 127.0.0.1, and its visitor's browser is on this machine."""
    status, text = answer(tmp_path, Host="evil.example:8000")
    assert status == 403
    assert "localhost" in text


@pytest.mark.parametrize("name", ["X_Forwarded_For", "Forwarded", "Via", "X_Real_IP"])
def test_client_of_a_proxy_on_this_machine_may_not(tmp_path: Path, name: str) -> None:
    status, text = answer(tmp_path, (), None, **{"Host": HERE, name: "192.0.2.1"})
    assert status == 403
    assert "--status-to" in text


def test_client_of_a_trusted_proxy_is_who_it_says(tmp_path: Path) -> None:
    gate = Gate(trusted=trust(["127.0.0.1"]))
    asked = {"Host": "chat.example", "X_Forwarded_For": "192.0.2.1"}
    status, text = answer(tmp_path, (), gate, **asked)
    assert status == 403
    assert "only this machine" in text
    assert answer(tmp_path, ["192.0.2.0/24"], gate, **asked)[0] == 200


def test_who_was_named_may_ask_by_any_name(tmp_path: Path) -> None:
    assert answer(tmp_path, ["127.0.0.1"], Host="chat.example", Via="1.1 proxy")[0] == 200


def test_without_the_option_nothing_is_there_and_nothing_counts(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, RBR) as server:
            for page in (METRICS, STATUS):
                assert (await ask(server.url, "GET", page, Host=HERE))[0] == 404
            assert type(server.server) is Server
            assert all(home.hub.tallies is None for home in server.server.app.homes)

    run(test())


def test_command_line_serves_both_and_goes_on_after_a_reload(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.rbr").write_text(RBR)
    server = serve(tmp_path / "app.rbr", "--status", "--log", "off")

    async def counted() -> float:
        await ask(server.url, "GET", "/hello")
        _, _, body = await ask(server.url, "GET", METRICS, Host=HERE)
        return parse(body.decode())["redbarrel_requests"].value("_total", path="/hello")

    assert asyncio.run(counted()) == 1
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_line("Read again.")
    assert asyncio.run(counted()) == 2


def test_all_workers_are_told_whichever_is_asked(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.rbr").write_text(RBR)
    server = serve(tmp_path / "app.rbr", "--status", "--workers", "2", "--log", "off")

    async def both() -> dict[str, Family]:
        while True:  # each comes when it comes
            _, _, body = await ask(server.url, "GET", METRICS, Host=HERE)
            found = parse(body.decode())
            if found["redbarrel_workers"].values() == [2, 2]:
                return found

    async def test() -> None:
        before = await both()
        for _ in range(5):
            await ask(server.url, "GET", "/hello")
        after = await both()
        for worker in "01":
            assert after["process_uptime_seconds"].value(worker=worker) > 0
        requests = after["redbarrel_requests"].values("_total", path="/hello", status="2xx")
        assert sum(requests) == 5
        assert before["redbarrel"].samples == after["redbarrel"].samples
        status, _, body = await ask(server.url, "GET", STATUS, Host=HERE)
        assert status == 200
        for worker in "01":
            pid = next(
                dict(told)["pid"]
                for _, told in after["redbarrel"].samples
                if ("worker", worker) in told
            )
            assert f"{worker}: {pid}" in body.decode()

    run(test())
