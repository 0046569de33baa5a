"""Each example under examples/ runs, and does what its README says."""

from __future__ import annotations

import base64
import importlib.util
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT

from redbarrel_lite import cli, exc, testing

EXAMPLES = ROOT / "examples"
FILES = sorted(EXAMPLES.glob("**/*.rbr"))
FOLDERS = sorted({file.parent for file in FILES} - {EXAMPLES})
PAGES = sorted(EXAMPLES.glob("**/*.html"))


def client_of(name: str) -> testing.Client:
    return testing.client(EXAMPLES / name / f"{name}.rbr")


def module_of(name: str) -> ModuleType:
    """An example's module once more, for a test alone."""
    spec = importlib.util.spec_from_file_location(f"{name}_again", EXAMPLES / name / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- all of them ---------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_example_is_in_canonical_form_and_without_errors(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["fmt", str(file), "--check"], ["check", str(file)]):
        assert cli.main(command) == 0, capsys.readouterr()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_readme_of_an_example_names_its_files(folder: Path) -> None:
    readme = (folder / "README.md").read_text(encoding="utf-8")
    command = f"    python3 -m redbarrel_lite examples/{folder.name}/{folder.name}.rbr"
    assert command in readme.splitlines()
    linked = re.findall(r"\]\((\w[\w.]*)\)", readme)
    assert [name for name in linked if not (folder / name).exists()] == []
    assert f"{folder.name}.rbr" in linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_needs_nothing_from_elsewhere_and_makes_no_html_of_text(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    loaded = re.findall(r"""(?:src|href)=["']?([^"'> ]+)|url\(([^)]*)\)""", text)
    assert [url for urls in loaded for url in urls if re.match(r"(https?:)?//", url)] == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
    for promise in ("prefers-color-scheme", "width=device-width", '<html lang="en">', "<title>"):
        style = EXAMPLES / page.parent / f"{page.stem}.css"
        assert promise in text or promise in style.read_text(encoding="utf-8")


# -- hello ---------------------------------------------------------------------------------


def test_hello_greets() -> None:
    with client_of("hello") as client:
        assert client.get("/hello").json == {"hello": "world"}
        assert client.get("/hello", params={"name": "<b>"}).json == {"hello": "<b>"}
        page = client.get("/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.body == (EXAMPLES / "hello/hello.html").read_bytes()


# -- demos ---------------------------------------------------------------------------------


@pytest.fixture
def demos() -> Iterator[testing.Client]:
    with client_of("demos") as client:
        yield client


def test_demo_page_has_a_form_for_each_service(demos: testing.Client) -> None:
    page = demos.get("/").text
    for url in re.findall(r'<form action="([^"]+)"', page):
        assert demos.options(f"/{url}").headers["allow"], url
    assert page.count("<form") == 9


def test_demo_function(demos: testing.Client) -> None:
    answer = demos.get("/hello")
    assert (answer.text, answer.headers["content-type"]) == (
        "Hello World",
        "text/html; charset=utf-8",
    )


def test_demo_object_remembers(demos: testing.Client) -> None:
    first = int(demos.get("/counter").text)
    assert [demos.get("/counter").text for _ in range(2)] == [str(first + 1), str(first + 2)]


def test_demo_global_counts_and_loses_nothing(demos: testing.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: demos.get("/visits").json["visits"], range(40)))
    assert sorted(answers) == list(range(1, 41))


def test_demo_globals_are_made_anew_for_each_start() -> None:
    for _ in range(2):
        with client_of("demos") as client:
            assert client.get("/visits").json == {"visits": 1}


ALEXIS = "Basic " + base64.b64encode(b"alexis:red").decode()


def test_demo_capitalizes_behind_five_rules(demos: testing.Client) -> None:
    answer = demos.post("/capitalize", json={"a": "éte", "b": ""}, authorization=ALEXIS)
    assert (answer.status, answer.json) == (200, {"a": "Éte", "b": ""})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("authorization", "body", "status"),
    [
        ("", "{}", 401),
        ("Basic " + base64.b64encode(b"alexis:blue").decode(), "{}", 401),
        (ALEXIS, "no JSON", 400),
        (ALEXIS, '"no object"', 502),
        (ALEXIS, '{"no": 1}', 502),
    ],
)
def test_demo_rules_refuse(
    demos: testing.Client, authorization: str, body: str, status: int
) -> None:
    headers = {"authorization": authorization} if authorization else {}
    answer = demos.post("/capitalize", body=body, headers=headers)
    assert answer.status == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_demo_css_is_a_file_and_smaller_by_alter(demos: testing.Client) -> None:
    css, small = demos.get("/demos.css"), demos.get("/demos.min.css")
    assert css.body == (EXAMPLES / "demos/demos.css").read_bytes()
    assert css.headers["content-type"] == small.headers["content-type"] == "text/css; charset=utf-8"
    assert len(small.body) < len(css.body) * 0.9
    assert "/*" not in small.text
    assert "\n" not in small.text

    def squeezed(text: str) -> str:
        return re.sub(r"\s|;(?=\s*\})", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))

    assert squeezed(small.text) == squeezed(css.text)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"BLOB 4\nabcd", 200),
        (b"BLOB 0\n", 200),
        (b"BLOB 5\nabcd", 400),
        (b"CLOB 4\nabcd", 400),
        (b"BLOB\nabcd", 400),
        (b"BLOB x\nabcd", 400),
        (b"", 400),
    ],
)
def test_demo_type_of_its_own_checks(demos: testing.Client, body: bytes, status: int) -> None:
    answer = demos.post("/blob", body=body)
    assert answer.status == status
    if status == 200:
        assert answer.json == {"bytes": len(body) - 7}


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "DELETE"])
def test_demo_answers_four_verbs(demos: testing.Client, verb: str) -> None:
    assert demos.request(verb, "/verbs").json == {"you said": verb}


def test_demo_refuses_other_verbs(demos: testing.Client) -> None:
    answer = demos.patch("/verbs")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST", "PUT", "DELETE"}


def test_demo_dummy_echoes(demos: testing.Client) -> None:
    answer = demos.post("/dummy?a=b", body="<b>", x_one="1")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("POST /dummy?a=b\n")
    assert "x-one: 1\n" in answer.text
    assert answer.text.endswith("\n<b>")


# -- shortener -----------------------------------------------------------------------------

LONG = 'https://example.org/a?b="><script>&c=ü'


@pytest.fixture
def shortener() -> Iterator[testing.Client]:
    with client_of("shortener") as client:
        yield client


def shortened(client: testing.Client, url: str) -> str:
    """The code of a new link."""
    answer = client.post("/", data={"url": url})
    assert answer.status == 303, answer.text
    return answer.headers["location"].removeprefix("made/")


def test_link_is_made_followed_and_counted(shortener: testing.Client) -> None:
    code = shortened(shortener, f" {LONG}\n")
    for _ in range(2):
        answer = shortener.get(f"/r/{code}")
        assert answer.status == 303
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["location"] == "https://example.org/a?b=%22%3E%3Cscript%3E&c=%C3%BC"
    stats = shortener.get("/stats")
    assert stats.headers["content-type"] == "application/json"
    assert stats.json == {"links": [{"code": code, "url": LONG, "hits": 2}]}


def test_page_of_a_link_escapes_it(shortener: testing.Client) -> None:
    page = shortener.post("/", data={"url": LONG}, follow=True)
    code = page.url.removeprefix("/made/")
    assert f'<a class="short" href="http://localhost/r/{code}">' in page.text
    assert "&quot;&gt;&lt;script&gt;&amp;c=ü" in page.text
    assert "<script" not in page.text
    assert "$" not in page.text


@pytest.mark.parametrize("url", ["/r/nothing", "/made/nothing", "/nowhere"])
def test_link_that_is_none_is_not_found(shortener: testing.Client, url: str) -> None:
    assert shortener.get(url).status == 404


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "javascript:alert(1)",
        "data:text/html,<b>",
        "//example.org",
        "https://",
        "https://[",
        "https://example.org/a b",
        "https://example.org/\r\nSet-Cookie: a=b",
        "https://example.org/" + "x" * 2000,
    ],
)
def test_what_is_no_address_is_refused(shortener: testing.Client, url: str) -> None:
    assert shortener.post("/", data={"url": url}).status == 400
    assert shortener.get("/stats").json == {"links": []}


def test_memory_of_links_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("shortener")
    monkeypatch.setattr(module, "MAX_LINKS", 3)
    links = module.Links()
    codes = [links.add(f"https://example.org/{number}") for number in range(5)]
    assert [link["code"] for link in links.all()] == codes[2:]
    assert links.follow(codes[0]) is None


def test_statistics_that_are_no_json_are_a_503(tmp_path: Path) -> None:
    folder = tmp_path / "shortener"
    shutil.copytree(EXAMPLES / "shortener", folder)
    source = (folder / "shortener.py").read_text(encoding="utf-8")
    broken = source.replace('return {"links": globs["links"].all()}', 'return "<p>no JSON</p>"')
    assert broken != source
    (folder / "shortener.py").write_text(broken, encoding="utf-8")
    with testing.client(folder / "shortener.rbr") as client:
        assert client.get("/stats").status == 503


def test_followed_link_is_told_to_the_live_pages(shortener: testing.Client) -> None:
    made = shortener.post("/", data={"url": "https://example.org"})
    code = made.headers["location"].removeprefix("made/")
    link = {"code": code, "url": "https://example.org", "hits": 0}
    with shortener.socket() as one, shortener.socket(transport="polling") as other:
        assert one.recv("links") == other.recv("links") == [[link]]
        assert shortener.get(f"/r/{code}").status == 303
        assert one.recv() == other.recv() == [{**link, "hits": 1}]
        assert "socket.io/socket.io.js" in shortener.get("/live").text


# -- keyexchange ---------------------------------------------------------------------------

ALICE, BOB, EVE = ({"X-KeyExchange-Id": letter * 256} for letter in "abe")


@pytest.fixture
def channels() -> Iterator[testing.Client]:
    with client_of("keyexchange") as client:
        yield client


def opened(client: testing.Client) -> str:
    answer = client.get("/new_channel", headers=ALICE)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert re.fullmatch("[a-z0-9]{4}", answer.json)
    return f"/{answer.json}"


def test_two_devices_exchange_messages(channels: testing.Client) -> None:
    channel = opened(channels)
    assert channels.get(channel, headers=BOB).json is None
    put = channels.put(channel, json={"x": 1}, headers=ALICE)
    got = channels.get(channel, headers=BOB)
    assert (put.status, got.status, got.json) == (200, 200, {"x": 1})
    assert put.headers["etag"] == got.headers["etag"]
    channels.put(channel, json={"x": 2}, headers=BOB)
    assert channels.get(channel, headers=ALICE).json == {"x": 2}


def test_message_that_is_known_is_not_sent_again(channels: testing.Client) -> None:
    channel = opened(channels)
    nothing = channels.get(channel, headers=ALICE).headers["etag"]
    waiting = channels.get(channel, headers=ALICE, if_none_match=nothing)
    assert (waiting.status, waiting.body) == (304, b"")
    etag = channels.put(channel, json=1, headers=BOB).headers["etag"]
    assert channels.get(channel, headers=ALICE, if_none_match=nothing).json == 1
    assert channels.get(channel, headers=ALICE, if_none_match=etag).status == 304


def test_message_of_the_other_is_not_lost(channels: testing.Client) -> None:
    channel = opened(channels)
    etag = channels.put(channel, json=1, headers=ALICE, if_none_match="*").headers["etag"]
    assert channels.put(channel, json=2, headers=BOB, if_none_match="*").status == 412
    assert channels.put(channel, json=2, headers=BOB, if_match=etag).status == 200
    assert channels.put(channel, json=3, headers=ALICE, if_match=etag).status == 412
    assert channels.put(channel, json=3, headers=ALICE, if_match="*").status == 200
    assert channels.get(channel, headers=BOB).json == 3


def test_third_client_closes_the_channel(channels: testing.Client) -> None:
    channel = opened(channels)
    assert channels.get(channel, headers=BOB).status == 200
    assert channels.get(channel, headers=EVE).status == 400
    assert channels.get(channel, headers=ALICE).status == 404


def test_sixth_reading_is_the_last(channels: testing.Client) -> None:
    channel = opened(channels)
    asked = [channels.get(channel, headers=BOB).status for _ in range(7)]
    assert asked == [200] * 6 + [404]


@pytest.mark.parametrize("name", ["", "a" * 255, "a" * 257, "a" * 255 + "-"])
def test_client_without_a_proper_id_is_refused(channels: testing.Client, name: str) -> None:
    channel = opened(channels)
    headers = {"X-KeyExchange-Id": name} if name else {}
    assert channels.get("/new_channel", headers=headers).status == 400
    assert channels.get(channel, headers=headers).status == 400
    assert channels.put(channel, json=1, headers=headers).status == 400
    assert channels.post("/report", headers=headers).status == 400
    assert channels.get(channel, headers=ALICE).status == 200


def test_messages_are_json_and_not_too_large(channels: testing.Client) -> None:
    channel = opened(channels)
    assert channels.put(channel, body="no JSON", headers=ALICE).status == 400
    assert channels.put(channel, json="x" * 16384, headers=ALICE).status == 413
    assert channels.put("/none", json=1, headers=ALICE).status == 404


def test_report_is_logged_and_closes_the_channel(
    channels: testing.Client, caplog: pytest.LogCaptureFixture
) -> None:
    channel = opened(channels)
    cid = {"X-KeyExchange-Cid": channel[1:]}
    told = channels.post("/report", body="wrong\nkey", headers={**ALICE, **cid})
    assert told.status == 200
    assert "'aaaaaaaa' reports: 'wrong\\nkey'" in caplog.text
    assert channels.get(channel, headers=ALICE).status == 404
    assert channels.post("/report", body="again", headers=ALICE).status == 200


def test_stranger_closes_no_channel_by_a_report(channels: testing.Client) -> None:
    assert channels.post("/report", headers={**EVE, "X-KeyExchange-Cid": "none"}).status == 404


def test_channels_live_as_long_as_the_global_says() -> None:
    now = [0.0]
    channels = module_of("keyexchange").Channels({"ttl": 300, "max_gets": 6}, lambda: now[0])
    first = channels.open("alice")
    now[0] = 200.0
    second = channels.open("alice")
    now[0] = 300.0
    with pytest.raises(exc.HTTPNotFound):
        channels.enter(first, "alice")
    channels.enter(second, "alice")
    assert len(channels) == 1


def test_time_to_live_is_read_from_the_rbr(tmp_path: Path) -> None:
    folder = tmp_path / "keyexchange"
    shutil.copytree(EXAMPLES / "keyexchange", folder)
    file = folder / "keyexchange.rbr"
    file.write_text(file.read_text().replace("global ttl 300;", "global ttl 0;"))
    with testing.client(file) as client:
        assert client.get(opened(client), headers=ALICE).status == 404


def test_memory_of_channels_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("keyexchange")
    monkeypatch.setattr(module, "MAX_CHANNELS", 2)
    channels = module.Channels({"ttl": 300, "max_gets": 6})
    for _ in range(2):
        channels.open("alice")
    with pytest.raises(exc.HTTPServiceUnavailable) as refused:
        channels.open("alice")
    assert refused.value.headers["retry-after"] == "300"
