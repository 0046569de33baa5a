"""docs/services.md: its applications run, and answer as it says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

from redbarrel_lite import testing
from redbarrel_lite.request import Request

PAGE = ROOT / "docs" / "services.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)


class Exchange(NamedTuple):
    """A request and its answer, as the page shows them."""

    method: str
    target: str
    rest: str  # a header field or a body
    status: int
    content_type: str
    fields: dict[str, str]
    body: str


def files() -> dict[str, str]:
    """The listings, by the name in their first line; several of one name are one file."""
    found: dict[str, list[str]] = defaultdict(list)
    for language, code in BLOCKS:
        if language != "http":
            name, rest = code.split("\n", 1)
            found[name.removeprefix("# ")].append(rest)
    return {name: "\n".join(parts) for name, parts in found.items()}


def exchanges(part: str) -> Iterator[Exchange]:
    for _, block in re.findall(r"^```(http)\n(.*?)^```$", part, re.M | re.S):
        for asked in re.split(r"^> ", block, flags=re.M)[1:]:
            line, answer, *more = asked.rstrip("\n").split("\n")
            method, target, rest = [*line.split(" ", 2), ""][:3]
            status, _, content_type = answer.partition(" ")
            fields = {}
            while more and (field := re.fullmatch(r"([a-z-]+): (.*)", more[0])):
                fields[field[1]] = field[2]
                del more[0]
            yield Exchange(method, target, rest, int(status), content_type, fields, "\n".join(more))


def play(client: testing.Client, shown: Exchange) -> None:
    """Ask what the page asks, and compare."""
    headers, body = {}, b""
    if shown.method == "POST":
        body = shown.rest.encode()
        if not shown.rest.startswith("{"):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
    elif shown.rest:
        name, value = shown.rest.split(": ")
        headers[name] = value
    answer = client.request(shown.method, shown.target, headers=headers, body=body)
    assert answer.status == shown.status, (shown, answer.text)
    for name, value in shown.fields.items():
        assert answer.headers[name] == value, shown
    if shown.content_type:
        assert answer.headers["content-type"] == shown.content_type
        assert answer.text.rstrip("\n") == shown.body


MAIN, LOGIN = TEXT.split("## A login")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, code in files().items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    return tmp_path


def test_page_has_two_applications() -> None:
    assert set(files()) == {"app.rbr", "app.py", "login.rbr", "login.py"}
    assert len(list(exchanges(MAIN))) > 20


@pytest.mark.parametrize(("application", "part"), [("app", MAIN), ("login", LOGIN)])
def test_answers_are_those_of_the_page(folder: Path, application: str, part: str) -> None:
    with testing.client(folder / f"{application}.rbr") as client:
        for shown in exchanges(part):
            play(client, shown)


def test_every_service_of_the_page_is_asked() -> None:
    urls = re.findall(r"url (/\w+)", files()["app.rbr"])
    asked = {shown.target.split("?")[0] for shown in exchanges(MAIN)}
    missing = [url for url in urls if not any(target.startswith(url) for target in asked)]
    assert missing == ["/picture"]  # which has a test of its own


def test_picture_is_read(folder: Path) -> None:
    with testing.client(folder / "app.rbr") as client:
        answer = client.post("/picture", files={"picture": ("a.png", b"\x89PNG" * 100_000)})
        assert answer.text.endswith(r"400000 bytes) starts with b'\x89PNG'")
        assert answer.text.startswith("a.png (image/png, ")


def test_socket_of_the_login_lets_in_who_is_known(folder: Path) -> None:
    with testing.client(folder / "login.rbr") as client:
        with pytest.raises(testing.ConnectError) as refused:
            client.socket()
        assert refused.value.status == 401
        client.post("/login", data={"name": "ann", "password": "correct horse"})
        with client.socket() as ann, client.socket(transport="upgrade") as elsewhere:
            ann.send("hello")
            assert elsewhere.recv() == ["ann: hello"]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", TEXT))
def test_link_leads_somewhere(target: str) -> None:
    assert (PAGE.parent / target).exists()


def test_attributes_of_the_table_are_those_of_a_request() -> None:
    table = TEXT[TEXT.index("| attribute |") :].split("\n\n")[0]
    named = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    asked = Request("GET", "/", [("content-type", "x")], body=b"{}")
    assert all(hasattr(asked, name) for name in named)
    # What users of WebOb look for.
    assert named >= set("GET POST params body text json headers cookies host url response".split())
