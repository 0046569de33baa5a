"""The monitor under examples/: what it reads, keeps, and tells those who look."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Serve
from wire import run, until

from redbarrel_lite import testing

MONITOR = ROOT / "examples" / "monitor"
FAST = 0.02  # seconds between two samples, where a test waits for them


def load(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(f"{name}_again", MONITOR / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


monitor = load("monitor")


# -- the machine ---------------------------------------------------------------------------

FIRST = {
    "stat": "cpu 100 0 100 700 100 0 0 0 50 0\ncpu0 100 0 100 700 100 0 0 0 0 0\nintr 5\n",
    "meminfo": "MemTotal: 1000000 kB\nMemFree: 400000 kB\nBuffers: 50000 kB\nCached: 150000 kB\n"
    "SReclaimable: 50000 kB\nHugePages_Total: 0\n",
    "net/dev": "Inter-| Receive\n face |bytes\n    lo: 1000 1 0 0 0 0 0 0 1000 1 0 0 0 0 0 0\n"
    "  eth0: 5000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n",
    "diskstats": " 8 0 sda 5 0 1000 1 5 0 2000 1 0 1 1\n 8 1 sda1 5 0 900 1 5 0 1900 1 0 1 1\n"
    " 7 0 loop0 5 0 99 1 5 0 99 1 0 1 1\n",
    "self/statm": "9000 1000 1 1 1 1 0\n",
}
SECOND = FIRST | {
    "stat": "cpu 250 0 150 750 150 0 0 0 80 0\ncpu0 175 0 125 725 175 0 0 0 0 0\nintr 6\n",
    "net/dev": "Inter-| Receive\n face |bytes\n    lo: 3000 1 0 0 0 0 0 0 3000 1 0 0 0 0 0 0\n"
    "  eth0: 9000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n",
    "diskstats": " 8 0 sda 5 0 3000 1 5 0 2000 1 0 1 1\n 8 1 sda1 5 0 2900 1 5 0 1900 1 0 1 1\n",
}


def write(proc: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(text)


def test_machine_reads_what_linux_counts(tmp_path: Path) -> None:
    now = [100.0]
    machine = monitor.Machine(tmp_path, lambda: now[0])
    write(tmp_path, FIRST)
    first = machine.sample()
    assert (first["cpu"], first["rx"], first["read"]) == (None, 0, 0)
    write(tmp_path, SECOND)
    now[0] += 2
    found = machine.sample()
    assert found["cpu"] == pytest.approx(100 * 200 / 300)
    assert found["core0"] == pytest.approx(50)
    assert (found["rx"], found["tx"]) == (pytest.approx(3), pytest.approx(1))
    assert (found["read"], found["written"]) == (pytest.approx(2000 * 0.512 / 2), 0)
    sizes = {name: round(found[name], 1) for name in ("used", "buffers", "cached", "free")}
    assert sizes == {"used": 358.4, "buffers": 51.2, "cached": 204.8, "free": 409.6}
    assert found["rss"] == pytest.approx(4.096)
    assert found["own"] >= 0


def test_counter_that_begins_anew_is_no_negative_rate(tmp_path: Path) -> None:
    now = [0.0]
    machine = monitor.Machine(tmp_path, lambda: now[0])
    write(tmp_path, SECOND)
    machine.sample()
    write(tmp_path, FIRST)
    now[0] += 1
    found = machine.sample()
    assert (found["rx"], found["read"]) == (0, 0)


def test_machine_without_proc_tells_what_the_standard_library_knows(tmp_path: Path) -> None:
    machine = monitor.Machine(tmp_path / "nothing")
    machine.sample()
    found = machine.sample()
    assert found["cpu"] is None
    assert "rx" not in found
    assert found["own"] >= 0
    assert found["rss"] > 1
    assert found["load"] >= 0
    assert found["used"] + found["free"] > 1


# -- the past ------------------------------------------------------------------------------


def test_history_is_the_coarser_the_older() -> None:
    history = monitor.History(0.5)
    for number in range(3740):
        history.add([number / 2, number % 100, None, 7])
    one, five, thirty = (
        dict(zip("tabc", tier["columns"], strict=True)) for tier in history.columns()
    )
    assert [len(tier["t"]) for tier in (one, five, thirty)] == [130, 165, 185]
    for tier, seconds in ((one, 60), (five, 300), (thirty, 1800)):
        assert 3739 / 2 - tier["t"][0] >= seconds
    for tier, step in ((one, 0.5), (five, 2), (thirty, 10)):
        assert {round(b - a, 6) for a, b in pairwise(tier["t"])} == {step}
    assert five["t"][-1] == 1866.75  # 1866, 1866.5, 1867, 1867.5
    assert five["a"][-1] == pytest.approx(sum((32, 33, 34, 35)) / 4)
    assert (set(five["b"]), set(five["c"])) == ({None}, {7})


def test_history_of_half_an_hour_is_small_on_the_wire() -> None:
    history = monitor.History(0.5)
    for number in range(4000):
        history.add([number / 2, *(number * 37 % 997 for _ in monitor.FIELDS[1:])])
    assert len(json.dumps(history.columns(), separators=(",", ":"))) < 60_000


def test_gap_in_the_past_is_no_point() -> None:
    history = monitor.History(0.5)
    for t in (0, 0.5, 1, 1.5, 100, 100.5, 102):
        history.add([t, 1])
    assert history.columns()[1]["columns"] == [(0.75, 100.25), (1, 1)]


# -- those who look ------------------------------------------------------------------------


def fast(folder: Path) -> Path:
    """The monitor with samples so often that a test need not wait."""
    shutil.copytree(MONITOR, folder / "monitor")
    file = folder / "monitor" / "monitor.rbr"
    text = file.read_text()
    for slow, quick in (("interval 0.5", f"interval {FAST}"), ("max-rate 20", "max-rate 0")):
        assert slow in text
        text = text.replace(slow, quick)
    file.write_text(text)
    return file


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[testing.AsyncClient]:
    async with testing.async_client(fast(folder)) as client:
        yield client


def the_monitor(client: testing.AsyncClient) -> Any:
    """That of the application, which runs in this process."""
    assert client._server is not None
    return client._server.app.homes[0].globs.values["monitor"]


async def times(socket: Any, count: int) -> list[float]:
    return [(await socket.recv("sample"))[0][0] for _ in range(count)]


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
def test_newcomer_sees_the_past_and_then_every_sample(tmp_path: Path, transport: str) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client, client.socket() as first:
            await first.recv("history")
            seen = await times(first, 10)
            async with client.socket(transport=transport) as second:
                (history,) = await second.recv("history")
                past = history["tiers"][0]["columns"][0]
                assert past[: len(seen)] == seen
                assert history["fields"][0] == "t"
                assert len(history["tiers"][0]["columns"]) == len(history["fields"])
                both = past + await times(second, 10)
            seen += await times(first, len(both) - len(seen))
            assert both == seen  # in order, none twice, none missing

    run(main())


def test_many_viewers_all_have_every_sample_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client:
            viewers = [
                await client.socket(transport=("polling", "websocket")[number % 2])
                for number in range(40)
            ]
            wanted = await times(viewers[-1], 20)

            async def heard(viewer: Any) -> list[float]:
                seen: list[float] = []
                while not seen or seen[-1] < wanted[-1]:
                    seen += await times(viewer, 1)
                return [t for t in seen if t >= wanted[0]]

            for viewer in viewers[:-1]:
                assert await heard(viewer) == wanted
            for viewer in viewers:
                await viewer.close()

    run(main())


def test_sample_has_a_value_for_every_field(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            watched(tmp_path) as client,
            client.socket() as viewer,
            client.socket("/echo", transport="polling") as other,
        ):
            (history,) = await viewer.recv("history")
            await viewer.recv("sample")
            assert await other.call("anything", 1, b"2") == [1, b"2"]
            found = {"came": 0.0}
            while not found["came"]:
                (sample,) = await viewer.recv("sample")
                found = dict(zip(history["fields"], sample, strict=True))
            assert (found["websocket"], found["polling"]) == (1, 1)
            assert found["came"] == 1 / FAST  # one message
            assert found["went"] >= 2 / FAST  # its answer, and the sample before
            assert found["lag"] >= 0
            assert found["rss"] > 1

    run(main())


class CountingMachine:
    """Knows how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self._machine = monitor.Machine()

    def sample(self) -> dict[str, float | None]:
        self.asked += 1
        found: dict[str, float | None] = self._machine.sample()
        return found


def test_nothing_is_sampled_while_nobody_looks(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client:
            watch = the_monitor(client)
            machine = watch.machine = CountingMachine()
            asleep = watch._somebody_came._waiters  # who waits there takes no samples
            await until(lambda: len(asleep) == 1)
            async with client.socket("/echo") as other:
                await other.call("a")
                assert (len(asleep), machine.asked) == (1, 0)
                async with client.socket() as viewer:
                    await times(viewer, 3)
                    assert machine.asked >= 4
                await until(lambda: len(asleep) == 1)
                before = machine.asked
                await other.call("b")
                assert (len(asleep), machine.asked) == (1, before)

    run(main())


def test_what_is_said_reaches_all_and_those_who_come_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            watched(tmp_path) as client,
            client.socket(auth={"name": "Ann"}) as ann,
            client.socket(auth={"name": "Bob"}, transport="polling") as bob,
        ):
            (history,) = await ann.recv("history")
            ann.emit("say", "  it is\nmelting <b>down</b> ")
            (said,) = await bob.recv("said")
            assert (said["who"], said["words"]) == ("Ann", "it is melting <b>down</b>")
            assert history["now"] <= said["t"] <= the_monitor(client).now()
            assert await ann.recv("said") == [said]
            async with client.socket() as late:
                (history,) = await late.recv("history")
                assert history["talk"] == [said]
                assert history["people"] == {"names": ["Ann", "Bob"], "others": 0}
                late.emit("say", "x" * 1000)
                (said,) = await ann.recv("said")
                assert (said["who"], said["words"]) == ("somebody", "x" * 500)

    run(main())


@pytest.mark.parametrize("words", ["", "  ", 7, None, {"a": 1}, b"bytes"])
def test_what_is_no_text_is_not_said(tmp_path: Path, words: object) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client, client.socket(auth={"name": "Ann"}) as ann:
            ann.emit("say", words)
            ann.emit("say", "something")
            assert (await ann.recv("said"))[0]["words"] == "something"

    run(main())


@pytest.mark.parametrize("auth", [None, {}, {"name": 7}, {"name": ["Ann"]}, {"name": " \n"}])
def test_viewer_without_a_name_is_counted(tmp_path: Path, auth: Any) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client, client.socket(auth=auth) as viewer:
            assert (await viewer.recv("history"))[0]["you"] == ""
            assert await viewer.recv("people") == [{"names": [], "others": 1}]

    run(main())


def test_nobody_has_the_name_of_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            watched(tmp_path) as client,
            client.socket(auth={"name": "Ann"}) as first,
            client.socket(auth={"name": " Ann "}) as second,
        ):
            assert (await second.recv("history"))[0]["you"] == "Ann 2"
            assert await first.call("name", "Ann") == ["Ann"]
            assert await second.call("name", "Ann") == ["Ann 2"]
            assert await second.call("name", "Bob" * 20) == ["BobBobBobBobBobBobBobBob"]
            while (await first.recv("people"))[0]["names"] != ["Ann", "Bob" * 8]:
                pass

    run(main())


def test_talk_that_is_kept_is_bounded(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client, client.socket() as viewer:
            for number in range(150):
                viewer.emit("say", f"{number}")
            while (await viewer.recv("said"))[0]["words"] != "149":
                pass
            talk = the_monitor(client).talk
            assert [said["words"] for said in talk] == [str(number) for number in range(50, 150)]

    run(main())


def test_loop_that_is_held_up_is_late(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as client, client.socket() as viewer:
            lag = (await viewer.recv("history"))[0]["fields"].index("lag")
            await viewer.recv("sample")
            loop = asyncio.get_running_loop()
            end = loop.time() + 0.1
            while loop.time() < end:  # what no handler should do
                pass
            assert (await viewer.recv("sample"))[0][lag] > 50

    run(main())


# -- the load ------------------------------------------------------------------------------


def melt(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", str(MONITOR / "melt.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_melt_talks_for_so_long_and_ends(serve: Serve) -> None:
    url = serve(MONITOR / "monitor.rbr").url
    melted = melt("--seconds", "1", "--cores", "1", "--sockets", "4", url)
    assert (melted.returncode, melted.stderr) == (0, "")
    assert melted.stdout.startswith("melting 1 cores, 4 sockets, 1 s\n")
    words = melted.stdout.splitlines()[1].split()
    assert words[1:] == ["answered"]
    assert int(words[0]) > 4


def test_melt_without_a_server_says_so_and_ends() -> None:
    melted = melt("--seconds", "0.2", "--cores", "0", "--sockets", "1", "http://127.0.0.1:1")
    assert (melted.returncode, melted.stderr) == (0, "")
    assert "0 answered, 1 [Errno 111]" in melted.stdout
