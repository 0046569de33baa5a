"""The examples with sockets, and all of them together below `examples/index.rbr`."""

from __future__ import annotations

import importlib.util
import logging
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from conftest import ROOT

from redbarrel_lite import testing

EXAMPLES = ROOT / "examples"
FOLDERS = sorted(
    file.parent.name for file in EXAMPLES.glob("*/*.rbr") if file.stem in file.parent.name
)
MAX_PICTURE = 120_000  # bytes: a clone of the repository has them all


def load(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(
        f"{name}_again", EXAMPLES / name / f"{name}.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[testing.Client]:
    with testing.client(EXAMPLES / request.param) as client:
        yield client


def example(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", [f"{name}/{name}.rbr"], indirect=True, ids=[name])


# -- the gallery ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gallery() -> Iterator[testing.Client]:
    with testing.client(EXAMPLES / "index.rbr") as client:
        yield client


def links(page: str) -> set[str]:
    found = re.findall(r"""(?:src|href|srcset)=["']?([^"'> ]+)""", page)
    return {link for link in found if not link.startswith(("data:", "$"))}


def test_start_page_leads_to_every_example(gallery: testing.Client) -> None:
    page = gallery.get("/").text
    assert {f"{name}/" for name in FOLDERS} <= links(page)
    for link in links(page):
        answer = gallery.get(urljoin("/", link))
        assert answer.status == 200, link
        assert not link.endswith(".png") or answer.headers["content-type"] == "image/png"


@pytest.mark.parametrize("name", FOLDERS)
def test_page_finds_its_parts_wherever_it_is_mounted(gallery: testing.Client, name: str) -> None:
    page = gallery.get(f"/{name}", follow=True)
    assert (page.status, page.url) == (200, f"/{name}/")
    for link in links(page.text):
        assert not link.startswith("/"), link
        assert gallery.get(urljoin(page.url, link)).status == 200, link


WITH_SOCKETS = [
    name for name in FOLDERS if "socket" in (EXAMPLES / name / f"{name}.rbr").read_text()
]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("name", WITH_SOCKETS)
def test_socket_is_beside_its_script(gallery: testing.Client, name: str, transport: str) -> None:
    assert gallery.get(f"/{name}/socket.io/socket.io.js").status == 200
    with gallery.socket(path=f"/{name}/socket.io/", transport=transport) as socket:
        assert socket.connected


def test_examples_do_not_hear_each_other(gallery: testing.Client) -> None:
    with (
        gallery.socket(path="/board/socket.io/") as board,
        gallery.socket(path="/monitor/socket.io/", auth={"name": "Ann"}) as monitor,
    ):
        board.recv("sheet")
        monitor.emit("say", "hello")
        monitor.recv("said")
        board.emit("clear")
        assert board.recv("sheet") == [b""]
        assert board.received == []


@pytest.mark.parametrize("name", FOLDERS)
def test_readme_of_each_example_shows_it(name: str) -> None:
    readme = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
    assert f"](../pictures/{name}.png)" in readme
    for picture in (f"{name}.png", f"{name}-dark.png"):
        content = (EXAMPLES / "pictures" / picture).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) < MAX_PICTURE, picture


def test_readme_of_the_gallery_names_every_example() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[(\w+)\]\(\w+/README.md\)", readme, re.M)) == FOLDERS


# -- board ---------------------------------------------------------------------------------


def piece(*points: tuple[int, int], colour: int = 1, width: int = 4) -> bytes:
    return struct.pack("<BBH", colour, width, len(points)) + b"".join(
        struct.pack("<HH", *point) for point in points
    )


@example("board")
def test_what_is_drawn_reaches_all_and_those_who_come_later(client: testing.Client) -> None:
    first, second = piece((0, 0), (65535, 65535)), piece((1, 2))
    with client.socket() as ann, client.socket(transport="polling") as bob:
        assert (ann.recv("sheet"), bob.recv("sheet")) == ([b""], [b""])
        ann.emit("piece", first)
        bob.emit("piece", second)
        heard = [[socket.recv("piece")[0] for _ in range(2)] for socket in (ann, bob)]
        assert heard[0] == heard[1]  # the same order for all
        assert sorted(heard[0]) == sorted([first, second])
        with client.socket() as late:
            assert late.recv("sheet") == [b"".join(heard[0])]
        bob.emit("clear")
        assert (ann.recv("sheet"), bob.recv("sheet")) == ([b""], [b""])


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\1",
        b"\1\4\0\0",
        piece((1, 2))[:-1],
        piece((1, 2)) + b"\0",
        piece(*[(1, 2)] * 513),
        "text",
        None,
        7,
    ],
)
@example("board")
def test_what_is_no_piece_is_not_handed_on(client: testing.Client, wrong: object) -> None:
    with client.socket() as ann:
        ann.emit("piece", wrong)
        ann.emit("piece", piece((1, 2)))
        assert ann.recv("piece") == [piece((1, 2))]


@example("board")
def test_piece_is_not_too_long(client: testing.Client) -> None:
    with client.socket() as ann:
        ann.emit("piece", piece(*[(1, 2)] * 513))
        ann.emit("piece", piece(*[(1, 2)] * 512))
        assert ann.recv("piece") == [piece(*[(1, 2)] * 512)]


def test_sheet_forgets_what_was_drawn_first(monkeypatch: pytest.MonkeyPatch) -> None:
    board = load("board")
    monkeypatch.setattr(board, "MAX_SHEET", 20)
    sheet = board.Sheet()
    for number in range(4):
        sheet.add(piece((number, 0)))
    assert bytes(sheet) == piece((2, 0)) + piece((3, 0))
    sheet.clear()
    sheet.add(piece((5, 0)))
    assert bytes(sheet) == piece((5, 0))


# -- broadcast -----------------------------------------------------------------------------


@example("broadcast")
def test_everybody_hears_that_the_others_are_alive(client: testing.Client) -> None:
    with client.socket() as ann, client.socket(transport="polling") as bob:
        assert ann.recv() == [[bob.sid, "I am alive"]]
        assert bob.recv() == [[ann.sid, "I am alive"]]


# -- log -----------------------------------------------------------------------------------


def texts(lines: list[dict[str, Any]]) -> list[str]:
    return [line["text"] for line in lines]


@example("log")
def test_log_goes_to_those_who_have_joined_its_room(client: testing.Client) -> None:
    with client.socket() as ann, client.socket(transport="polling") as bob:
        assert ann.call("join", "shop") == [[]]
        number = client.post("/orders").json["order"]
        (line,) = ann.recv("line")
        assert (line["logger"], line["level"]) == ("shop", "info")
        assert line["text"].startswith(f"order {number}: ")
        # Whoever joins gets what was said before, once, and then what comes.
        (known,) = bob.call("join", "mail")
        assert texts(known)[0] == f"order {number} confirmed to somebody who looks"
        after = client.post("/orders").json["order"]
        while f"order {after} " not in bob.recv("line")[0]["text"]:
            pass
        bob.call("leave", "mail")
        client.post("/orders")
        while f"order {after + 1}:" not in ann.recv("line")[0]["text"]:
            pass
        assert bob.call("join", "nothing") == []
        assert bob.received == []


@pytest.mark.parametrize("name", [None, 7, ["shop"], {}, "", "root"])
@example("log")
def test_room_that_is_none_is_not_joined(client: testing.Client, name: object) -> None:
    with client.socket() as ann:
        assert ann.call("join", name) == []


def test_log_is_left_as_it_was() -> None:
    before = {name: list(logging.getLogger(name).handlers) for name in ("shop", "stock", "mail")}
    with testing.client(EXAMPLES / "log/log.rbr") as client:
        client.post("/orders")
    after = {name: list(logging.getLogger(name).handlers) for name in before}
    assert after == before


# -- progress ------------------------------------------------------------------------------


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[testing.Client]:
    with testing.client(EXAMPLES / "progress/progress.rbr") as client:
        client.get("/")  # its module is there now
        module = the_jobs(client).__class__.__init__.__globals__
        monkeypatch.setitem(module, "HEIGHT", 20)
        monkeypatch.setitem(module, "WIDTH", 30)
        yield client


def the_jobs(client: testing.Client) -> Any:
    assert client._client._server is not None
    return client._client._server.app.homes[0].globs.values["jobs"]


def test_job_is_watched_to_its_end(jobs: testing.Client) -> None:
    answer = jobs.post("/jobs", json={"place": "seahorses"})
    assert answer.status == 202
    job = answer.json["job"]
    with jobs.socket() as ann, jobs.socket(transport="polling") as bob:
        for socket in (ann, bob):
            (told,) = socket.call("watch", job)
            while told["state"] == "working":
                (told,) = socket.recv("progress")
            assert told == {"job": job, "place": "seahorses", "state": "done", "percent": 100}
    picture = jobs.get(f"/jobs/{job}.png")
    assert picture.headers["content-type"] == "image/png"
    assert pixels(picture.body) == (30, 20, 30 * 20 * 3)


def pixels(png: bytes) -> tuple[int, int, int]:
    """Width, height, and how many bytes of pixels there are."""
    width, height = struct.unpack(">II", png[16:24])
    data = png[png.index(b"IDAT") + 4 : png.index(b"IEND") - 8]
    return width, height, len(zlib.decompress(data)) - height


def test_percents_only_grow(jobs: testing.Client) -> None:
    with jobs.socket() as ann:
        job = jobs.post("/jobs", json={"place": "all"}).json["job"]
        (told,) = ann.call("watch", job)
        seen = [told["percent"]]
        while told["state"] == "working":
            (told,) = ann.recv("progress")
            seen.append(told["percent"])
    assert seen == sorted(seen)
    assert seen[-1] == 100


def test_job_is_stopped_and_more_than_two_are_refused(
    jobs: testing.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = the_jobs(jobs).__class__.__init__.__globals__
    monkeypatch.setitem(module, "HEIGHT", 1_000_000)  # these do not end by themselves
    started = [jobs.post("/jobs", json={"place": "all"}).json["job"] for _ in range(2)]
    refused = jobs.post("/jobs", json={"place": "all"})
    assert (refused.status, refused.headers["retry-after"]) == (503, "10")
    with jobs.socket() as ann:
        for job in started:
            assert jobs.get(f"/jobs/{job}.png").status == 404
            ann.call("watch", job)
            assert jobs.delete(f"/jobs/{job}").json["state"] == "cancelled"
            states = {"working"}  # of steps told before it was stopped
            while states == {"working"}:
                states = {ann.recv("progress")[0]["state"]}
            assert states == {"cancelled"}
    assert jobs.post("/jobs", json={"place": "all"}).status == 202
    for job in list(the_jobs(jobs)._jobs):
        jobs.delete(f"/jobs/{job}")


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", '{"place": "nowhere"}', '{"place": ["all"]}', "7"]
)
def test_place_that_is_none_is_refused(jobs: testing.Client, body: str) -> None:
    assert jobs.post("/jobs", body=body).status == 400


@pytest.mark.parametrize("job", ["nothing", None, 7, ["x"]])
def test_job_that_is_none_is_not_watched(jobs: testing.Client, job: object) -> None:
    with jobs.socket() as ann:
        assert ann.call("watch", job) == []
    assert jobs.get("/jobs/nothing.png").status == 404
    assert jobs.delete("/jobs/nothing").status == 404


def test_jobs_that_are_kept_are_bounded(
    jobs: testing.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = the_jobs(jobs).__class__.__init__.__globals__
    monkeypatch.setitem(module, "MAX_KEPT", 2)
    with jobs.socket() as ann:
        made = []
        for _ in range(4):
            made.append(jobs.post("/jobs", json={"place": "all"}).json["job"])
            (told,) = ann.call("watch", made[-1])
            while told["state"] == "working":
                (told,) = ann.recv("progress")
    statuses = [jobs.get(f"/jobs/{job}.png").status for job in made]
    assert statuses == [404, 404, 200, 200]
