"""The pages of the examples in Chromium and Firefox: used in light, in dark and on a phone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Serve
from peers import BROWSERS, browser_environment, node, node_steps

pytestmark = pytest.mark.interop

NASTY = "<img src=x onerror=document.title='injected'>"

Use = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(params=BROWSERS)
def use(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Use:
    """Use an example's page; what must be so on every page is judged here.

    Where the example would take its time, a part of its .py or .rbr is replaced.
    """
    browser: str = request.param
    browser_environment(browser)  # or it is skipped, before a server is started

    def used(name: str, **quicker: tuple[str, str]) -> dict[str, dict[str, Any]]:
        file = ROOT / "examples" / ("index.rbr" if name == "index" else f"{name}/{name}.rbr")
        if quicker:
            shutil.copytree(file.parent, tmp_path / name)
            file = tmp_path / name / file.name
        for suffix, (slow, quick) in quicker.items():
            part = file.with_suffix(f".{suffix}")
            text = part.read_text(encoding="utf-8")
            assert slow in text
            part.write_text(text.replace(slow, quick), encoding="utf-8")
        seen: dict[str, dict[str, Any]] = node("examples.cjs", browser, name, serve(file).url)
        for kind, window in seen.items():
            assert window["faults"] == [], kind
            for number, look in enumerate(window.pop("looks")):
                assert look["over"] <= 0, f"{kind}: wider than its window"
                assert (look["faint"], look["nameless"], look["twice"]) == ([], [], []), kind
                assert look["title"] != "injected", kind
                # Those behind the first page are to change by themselves: others are at work.
                assert number > 1 or look["shift"] < 0.01, f"{kind}: what is there already moves"
                window["colour"] = look["colour"]
        assert browser == "firefox" or seen["light"]["colour"] != seen["dark"]["colour"]
        return seen

    return used


def test_hello_page_shows_a_name_as_it_is(use: Use) -> None:
    for window in use("hello").values():
        assert window["answer"] == f'{{"hello": "{NASTY}"}}'


def test_demo_page_tries_every_service(use: Use) -> None:
    for window in use("demos").values():
        statuses = window["statuses"]
        assert statuses.pop("capitalize") == [200, 401]
        assert statuses.pop("verbs") == [200] * 4
        assert statuses == {
            name: [200]
            for name in ("hello", "counter", "visits", "css", "css-small", "blob", "dummy")
        }


def test_live_page_of_the_shortener_shows_a_visit(use: Use) -> None:
    for window in use("shortener").values():
        path, *_, hits = window["seen"]
        assert path.startswith("r/")
        assert hits == "1"
        assert "onerror" in "".join(window["seen"])


def test_devices_of_the_key_exchange_talk(use: Use) -> None:
    for window in use("keyexchange").values():
        assert window["read"] == ["304 ", f'200 {{"message":"{NASTY}"}}']


def test_words_of_the_chat_are_shown_as_they_are(use: Use) -> None:
    for kind, window in use("chat").items():
        assert window["heard"] == f"{NASTY} {kind}"


def test_board_is_the_same_for_all_and_drawn_on_by_pointer_and_keyboard(use: Use) -> None:
    for window in use("board").values():
        pointer, keyboard, new_sheet = window["counts"]
        assert pointer > 300
        assert keyboard > pointer + 50
        assert new_sheet == 0
        assert window["same"]


def test_page_of_the_broadcast_shows_who_is_alive(use: Use) -> None:
    for window in use("broadcast").values():
        assert re.fullmatch(r"alive, \d+ \N{MULTIPLICATION SIGN}", window["alive"])


def test_page_of_the_log_joins_and_leaves_rooms(use: Use) -> None:
    for window in use("log").values():
        assert window["before"] == ["shop", "stock"]
        assert window["joined"] == ["mail", "shop", "stock"]
        assert window["left"] == ["mail", "shop"]
        assert window["shown"] == ["mail"]


def test_job_is_seen_in_two_windows_and_stopped(use: Use) -> None:
    rough = ("3.3, 120, 33)", "3.3, 2, 33)")  # that one is soon done; the one to stop is not
    for window in use("progress", py=rough).values():
        assert window["percents"] == [100, 100]
        assert window["size"] == [600, 400]


def test_monitor_shows_what_is_what_was_and_what_was_said(use: Use) -> None:
    for kind, window in use("monitor", rbr=("interval 0.5", "interval 0.2")).items():
        assert window["past"] >= 3
        assert window["transports"] == ["live · websocket", "live · polling"]
        assert re.match(r"\d\d:\d\d:\d\d: CPU all \d+ %, this server \d+ %; ", window["spoken"])
        assert NASTY in window["bubble"]
        assert window["paused"]
        assert window["who"] == f"Ann <b> {kind}"


def test_gallery_leads_to_every_example_and_back(use: Use) -> None:
    folders = {f"{file.parent.name}/" for file in ROOT.glob("examples/*/*.rbr")}
    windows = use("index").values()
    for window in windows:
        assert set(window["links"]) == folders
        assert window["broken"] == 0
    assert folders in [set(window["titles"]) for window in windows]


# -- the monitor over time -----------------------------------------------------------------


def quick_monitor(folder: Path, interval: float) -> Path:
    """The monitor with another time between two samples."""
    shutil.copytree(ROOT / "examples/monitor", folder / "monitor")
    file = folder / "monitor/monitor.rbr"
    text = file.read_text(encoding="utf-8")
    assert "global interval 0.5;" in text
    file.write_text(text.replace("interval 0.5", f"interval {interval}"), encoding="utf-8")
    return file


def told(rows: list[list[float | None]]) -> list[list[float]]:
    """What the page knows of each point; -1 is what it does not."""
    return [[-1 if value is None else value for value in row] for row in rows]


@pytest.mark.parametrize("browser", BROWSERS)
def test_monitor_outlives_its_server(serve: Serve, tmp_path: Path, browser: str) -> None:
    browser_environment(browser)
    file = quick_monitor(tmp_path, 0.2)
    server = serve(file)
    steps = node_steps("monitor.cjs", "restart", browser, server.url)
    assert next(steps) == {"step": "live", "state": "live · websocket"}
    server.stop()
    assert next(steps) == {"step": "offline", "words": ["before"]}
    serve(file, "--port", str(server.port))
    back, _ = steps
    assert back.pop("gap") > 3  # where nobody counted, nothing is drawn
    assert len(back.pop("people")) == 1
    assert back == {
        "step": "back",
        "words": ["before", "after"],
        "keptName": True,
        "keptPast": True,
    }


def test_monitor_drops_no_sample_and_holds_no_more_than_before(
    serve: Serve, tmp_path: Path
) -> None:
    """A minute of it in some seconds; `monitor.cjs long URL 3600` is half an hour in one minute."""
    browser_environment()
    url = serve(quick_monitor(tmp_path, 0.05)).url
    seen = node("monitor.cjs", "long", url, "200")
    assert seen["faults"] == []
    assert seen["same"]
    assert seen["compared"] > 150
    assert seen["heaps"][-1] - min(seen["heaps"][:3]) < 1_000_000
    # Who comes later sees what we see: page and server thin out the past alike.
    for mine, newcomers in zip(map(told, seen["mine"]), map(told, seen["newcomers"]), strict=True):
        both = [row for row in newcomers if mine[1][0] < row[0] <= mine[-1][0]]
        assert both
        for row in both:
            ours = min(mine, key=lambda one: abs(one[0] - row[0]))
            assert ours[0] == pytest.approx(row[0], rel=0, abs=0.01)
            assert ours[1:] == pytest.approx(row[1:], rel=0.01, abs=0.6)
