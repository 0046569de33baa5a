"""The page `__doc__`: says all that the file says, escapes it, loads nothing, nests well.

What the sentences of `wording` are is tested here too: where they are read.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html.parser
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from wire import run

from redbarrel_lite import docpage, publish, wording
from redbarrel_lite.app import App
from redbarrel_lite.loading import File, Reading
from redbarrel_lite.locations import Folder
from redbarrel_lite.markup import Html
from redbarrel_lite.rbr import parse
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.routes import NotRouted

HERE = Folder(Path(__file__).parent)
EVIL = """<script>alert('1')</script>"&<!--]]>"""


def file_of(text: str, name: str = "app.rbr", prefix: str = "") -> File:
    tree = parse(text, name)
    return File(tree, HERE, prefix + tree.root)


class Reader(html.parser.HTMLParser):
    """Reads a page as a browser would, and fails where a browser would have to guess."""

    VOID = frozenset(("meta", "link", "input"))
    # What a browser closes by itself when one of the others opens inside of it.
    BLOCKS = frozenset(
        "p ul ol dl div table pre section article header main nav form fieldset details".split()
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.code: list[str] = []  # of script and style
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), attributes
        if name in self.BLOCKS:
            assert "p" not in self._open, self._open
        if name in ("a", "button", "label", "form", "summary"):
            assert name not in self._open
        self.elements.append((name, dict(attributes)))
        self._space(name)
        if name not in self.VOID:
            self._open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self._open.pop() == name
        self._space(name)

    def _space(self, name: str) -> None:
        if name not in ("a", "b", "code", "em", "span", "strong", "small"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        inside = self._open and self._open[-1] in ("script", "style")
        (self.code if inside else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, name: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for one, attributes in self.elements
            if one == name and wanted.items() <= attributes.items()
        ]

    def values(self, attribute: str) -> list[str]:
        found = (attributes.get(attribute) for _, attributes in self.elements)
        return [value for value in found if value is not None]


def read(*texts: str, root: str = "", live: bool = True) -> Reader:
    return Reader(docpage.page([file_of(text) for text in texts], root, live=live))


FULL = (ROOT / "tests" / "rbr" / "good" / "demos.rbr").read_text(encoding="utf-8")
SOCKETS = (ROOT / "tests" / "rbr" / "good" / "sockets.rbr").read_text(encoding="utf-8")


# --- what it says -------------------------------------------------------------


def test_page_tells_of_the_application() -> None:
    page = read('meta ( title "A & B", version 1.10, description "For *all*." ); path a ( url / );')
    assert page.text.startswith(
        "A & B Skip to the services A & B version 1.10 OpenAPI RBR For all."
    )
    assert page.all("html") == [{"lang": "en"}]
    assert [name for name, _ in page.elements].count("h1") == 1


def test_page_of_a_file_without_a_title_is_called_by_its_name() -> None:
    page = Reader(docpage.page([file_of("path a ( url / );", "some/app.rbr")], "", live=True))
    assert page.text.startswith("app.rbr Skip")
    assert "version" not in page.text


def test_page_of_nothing_says_so() -> None:
    assert "Nothing is served here yet." in read('meta ( title "x" );').text
    assert "Nothing is served here yet." in read("path a ( use a.b );").text  # has no url


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("use python:a.b", "Answered by the Python callable a.b"),
        ("use a.b", "Answered by the Python callable a.b"),
        ("use file:a.html", "Answered by the file a.html"),
        ("use location:a.html", "Answered by the file a.html"),
        ("use directory:media", "Answered by the files below media"),
        ("use proxy:http://a:80", "Answered by the server at http://a:80"),
        ("use wsgi:a.b", "Answered by the WSGI application a.b"),
        ('description "x"', "Answered by the request itself, echoed"),
        ("method GET|POST", "GET POST / "),
        ("url /{a}/{b:[0-9]+}", "{a} one segment of the url {b} what fits [0-9]+ Answered"),
        ("max-body 10", "Options that are set max-body 10 the largest request body"),
        ('allow-origin "https://a.b"', "allow-origin https://a.b an origin whose pages may"),
        ("x-author me", "x-author me"),
        ('x-author "a b"', "x-author a b"),
        ("x-url /a/{b}", "x-url /a/{b}"),
        ("on error return 503", "Errors If it fails, the answer is 503 Service Unavailable."),
        ('request-description "a word"', "Request body a word"),
        (
            'request-body ( description "D", unless type is json return 400 )',
            "Request body D The body must be JSON; otherwise the answer is 400 Bad Request. "
            "Statuses Statuses, and what they mean 400 Bad Request",
        ),
        (
            "request-body ( unless type is not float return 400 )",
            "The body must not be a number; otherwise the answer is 400 Bad Request.",
        ),
        (
            "request-headers ( unless X-N type is int return 499 )",
            "The header X-N must be an integer; otherwise the answer is 499.",
        ),
        (
            "request-headers ( unless X-N type is blob return 400 )",
            "The header X-N must be of type blob; otherwise the answer is 400 Bad Request.",
        ),
        (
            "request-headers ( unless A validates with python:a.b return 401 )",
            "Request headers The header A must satisfy python:a.b; otherwise the answer is "
            "401 Unauthorized.",
        ),
        (
            "request-headers ( unless A validates with auth return 401 )",
            "The header A must satisfy auth; otherwise the answer is 401 Unauthorized.",
        ),
        (
            "request-body ( alter with python:a.b )",
            "The body is what python:a.b makes of it.",
        ),
        (
            "response-body ( unless type is json return 503, alter with python:a.b )",
            "Answer body The answer's body must be JSON; otherwise the answer is "
            "503 Service Unavailable. The answer's body is what python:a.b makes of it.",
        ),
        (
            "response-headers ( set X-Words a|b, set Content-Type \"text/css\" )",
            "Answer headers The answer's header X-Words is set to a|b. "
            "The answer's header Content-Type is set to text/css.",
        ),
        (
            'response-status ( describe 404 "*Gone*", describe 200 "Here" )',
            "Statuses Statuses, and what they mean 200 Here 404 Gone",
        ),
        ('response-status ( description "D" )', "Answer status D"),
        ('request-status ( description "D" )', "Request status D"),
    ],
)  # fmt: skip
def test_path_is_told_in_words(entry: str, words: str) -> None:
    has_url = "" if entry.startswith("url") else "url /, "
    assert words in read(f"path a ( {has_url}{entry} );").text


def test_described_status_wins_over_the_usual_words() -> None:
    text = """path a ( url /, request-body ( unless type is json return 400 ),
              response-status ( describe 400 "No JSON" ) );"""
    assert read(text).text.count("400 No JSON") == 1
    assert "400 Bad Request Answer" not in read(text).text


def test_what_is_mounted_answers_any_method() -> None:
    assert "ANY / " in read("path a ( url /, use wsgi:a.b );").text
    assert "GET / " in read("path a ( url /, method GET, use wsgi:a.b );").text
    assert "ANY" not in read("path a ( url /, use python:a.b );").text


def test_sockets_are_told_with_events_and_options() -> None:
    page = read(SOCKETS)
    for words in (
        "Socket.IO /chat/ A room",
        'Namespace /rooms/{room} Connect with io("/rooms/{room}", { path: "/chat/" })',
        'Connect with io() Handled by the Python callable chat.room',
        'Connect with io("/news")',
        "Events Events, and what takes them connect python:chat.connect join python:rooms.join",
        "two words python:chat.two any other python:chat.rest",
        "ping-timeout 20.5 that a pong may take",
        "transports polling|websocket those offered",
        "WebSocket /ws Handled by",
        "Engine.IO /engine.io/ Handled by",
        "The header Cookie must satisfy python:chat.session",
    ):  # fmt: skip
        assert words in page.text, words
    assert "Namespace" not in read("path a ( method WEBSOCKET, use a.b );", live=False).text


def test_socket_below_a_root_is_connected_to_there() -> None:
    page = read("root /api; socket chat.room;")
    assert 'io("/", { path: "/api/socket.io/" })' in page.text
    page = read("path a ( method SOCKETIO, on join use a.b );")
    assert "Handled by its events alone" in page.text


def test_types_are_told() -> None:
    assert page_after("type blob python:demos.blob; path a ( url / );", "Types") == (
        "Types Types of values, and what checks them blob python:demos.blob"
    )


def page_after(text: str, mark: str) -> str:
    words = read(text).text
    return words[words.rindex(f"{mark} {mark}") :]


def test_several_files_are_told_file_by_file() -> None:
    first = 'meta ( title "One", description "1st" ); path same ( url / );'
    second = 'meta ( title "Two", description "2nd" ); root /two; path same ( url /x );'
    files = [file_of(first), file_of(second), file_of("path b ( url /b );", "three.rbr")]
    page = Reader(docpage.page(files, "", live=True))
    assert "One GET same Two GET same three.rbr GET b" in page.text  # the contents
    assert "Two 2nd same GET /two/x" in page.text
    assert page.text.count("1st") == 1
    assert [one["id"] for one in page.all("article")] == ["same", "same-2", "b"]


def test_names_of_one_page_are_unique() -> None:
    taken: set[str] = set()
    names = [wording.unique("a", taken) for _ in range(4)]
    assert names == ["a", "a-2", "a-3", "a-4"]


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    page = read(FULL, SOCKETS)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    named = [*page.values("list"), *page.values("aria-labelledby")]
    inner = [href[1:] for href in page.values("href") if href.startswith("#")]
    assert set(named + inner) <= set(ids)


# --- what it must not do ------------------------------------------------------


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_nothing_of_the_file_becomes_markup() -> None:
    evil = _quoted(EVIL)
    text = f"""
    meta ( title {evil}, version {evil}, description {evil} );
    path a (
        description {evil}, url /<b>{{x:["<>&']+}}<i>, use file:{evil}, request-description {evil},
        method GET|POST,
        allow-origin {evil}, x-own {evil},
        request-headers ( description {evil}, unless {evil} type is json return 400,
                          unless {evil} validates with python:a.b return 400 ),
        response-headers ( set {evil} {evil} ),
        response-status ( describe 200 {evil} )
    );
    path s ( description {evil}, method SOCKETIO, namespace /<b>, use a.b,
             on {evil} use a.b, x-own {evil}, request-body ( description {evil} ) );
    type t python:a.b;
    """
    page = read(text, text)
    assert len(page.all("script")) == 1
    assert page.text.count("alert('1')") > 20
    assert {name for name, _ in page.elements} <= {
        *"html head meta title link style body a header svg path h1 span p div nav".split(),
        *"h2 ul li main".split(),
        *"article h3 h4 code b dl dt dd section table caption tbody tr th td small details".split(),
        *"summary form fieldset label input select option textarea button pre ol output".split(),
        *"datalist script strong em".split(),
    }
    assert page.all("b") == [{}, {}]  # around the placeholder {x}, no other
    assert "/<b>{x}<i>" in page.text


@pytest.mark.parametrize("live", [True, False])
def test_page_loads_nothing_and_has_no_handlers_in_attributes(live: bool) -> None:
    page = read(FULL, SOCKETS, live=live)
    for name, attributes in page.elements:
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "src")]
        if name == "link":
            assert str(attributes["href"]).startswith("data:")
        assert name not in ("img", "iframe", "object", "embed", "base", "video", "audio")
    assert "url(" not in "".join(page.code)
    assert "@import" not in "".join(page.code)


def test_policy_names_style_and_script_by_their_hashes() -> None:
    answer = ask(docpage.services([file_of(FULL)], "/demos")["/demos/__doc__"])
    policy = dict(
        part.strip().split(" ", 1)
        for part in str(answer.header("content-security-policy")).split(";")
    )
    style, script = Reader(answer.text).code
    assert policy["style-src"] == sha256(style)
    assert policy["script-src"] == f"{sha256(script)} 'strict-dynamic'"
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in str(policy)


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_script_and_style_can_not_end_their_elements() -> None:
    for name in ("docpage.js", "docpage.css"):
        text = (ROOT / "redbarrel_lite" / "static" / name).read_text(encoding="utf-8")
        assert not re.search(r"</|<!--|<script", text), name


def test_every_control_has_a_label_and_a_name() -> None:
    page = Reader(docpage.page([file_of(FULL), file_of(SOCKETS)], "", live=True))
    text = docpage.page([file_of(FULL), file_of(SOCKETS)], "", live=True)
    controls = [one for one in page.all("input") if one.get("type") != "hidden"]
    controls += page.all("textarea") + page.all("select")
    labels = re.findall(r"<label.*?</label>", text, re.DOTALL)
    assert len(labels) == len(controls) > 20
    assert all(len(re.findall(r"<(?:input|textarea|select)\b", label)) == 1 for label in labels)
    assert all(one.get("name") for one in controls)
    assert all(one.get("aria-label") for one in [*page.all("form"), *page.all("nav")])


def test_headings_go_down_step_by_step() -> None:
    page = read(FULL, SOCKETS)
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-4]", name)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


# --- trying -------------------------------------------------------------------


def test_trying_is_hidden_until_the_script_runs() -> None:
    page = read(FULL, SOCKETS)
    tries = page.all("details", **{"class": "try"})
    assert len(tries) == len(page.all("article"))
    assert all("hidden" in one for one in tries)


def test_page_as_a_file_has_no_trying_and_keeps_the_policy() -> None:
    page = read(FULL, live=False)
    assert not page.all("form")
    assert not page.all("script")
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in str(policy["content"])
    assert "OpenAPI" not in page.text


def test_form_knows_url_headers_and_type() -> None:
    text = """root /r; path a ( method PUT|DELETE, url /{x}/{y:.*}/{x2},
        request-headers ( unless X-N type is int return 400, unless T validates with a.b return 401,
                          unless Not type is not int return 400 ),
        request-body ( unless type is json return 400 ), use a.b );"""
    page = read(text, root="/r")
    (form,) = page.all("form")
    assert form["data-url"] == '["/r/", ["x", false], "/", ["y", true], "/", ["x2", false]]'
    assert form["data-type"] == "application/json"
    assert [one["data-name"] for one in page.all("input") if "data-name" in one] == ["x", "y", "x2"]
    assert "Method PUT DELETE x y x2 Query" in page.text
    assert "X-N: T: " in page.text


def test_blanks_are_shown_as_they_are_sent() -> None:
    text = """root "/r s"; path a ( url "/a b/{x}", use a.b );
        path s ( method SOCKETIO, url "/s p/", namespace "/my room", use a.b );"""
    page = read(text, root="/r s")
    assert page.all("body")[0]["data-root"] == "/r%20s"
    assert page.all("form")[0]["data-url"] == '["/r%20s/a%20b/", ["x", false]]'
    assert "/r%20s/a%20b/{x}" in page.text
    assert 'io("/my room", { path: "/r%20s/s%20p/" })' in page.text
    assert {"href": "/r%20s/__api__"} in page.all("a")


def test_one_method_needs_no_choice() -> None:
    page = read("path a ( url /, method POST );")
    assert page.all("input", type="hidden") == [
        {"type": "hidden", "name": "method", "value": "POST"}
    ]
    assert not page.all("select")


def test_methods_that_no_page_may_send_are_not_offered() -> None:
    assert "A page may not send this method." in read("path a ( url /, method TRACE );").text
    page = read("path a ( url /, method TRACE|GET );")
    assert page.all("input", type="hidden")[0]["value"] == "GET"


def test_consoles_speak_each_protocol() -> None:
    page = read(SOCKETS)
    protocols = [one["data-protocol"] for one in page.all("form") if "data-protocol" in one]
    assert protocols == ["socketio", "socketio", "socketio", "websocket", "engineio"]
    assert {one["value"] for one in page.all("option")} == {"join", "error", "two words"}


# --- served -------------------------------------------------------------------


def ask(service: Any, method: str = "GET", **headers: str) -> Response:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    answer: Response = service(Request(method, "/", pairs))
    return answer


def test_page_is_known_by_its_tag() -> None:
    service = docpage.services([file_of(FULL)], "")["/__doc__"]
    first = ask(service)
    assert first.status == 200
    again = ask(service, if_none_match=str(first.etag))
    assert (again.status, again.body) == (304, b"")
    assert ask(docpage.services([file_of(SOCKETS)], "")["/__doc__"]).etag != first.etag


def load(folder: Path, *texts: str, doc: bool = True) -> App:
    for number, text in enumerate(texts):
        (folder / f"{number}.rbr").write_text(text)
    (folder / "page.html").write_text("page")
    return App.load([folder / f"{number}.rbr" for number in range(len(texts))], doc=doc)


async def get(app: App, url: str) -> str:
    target, _ = app.find(Request("GET", url, []))
    answer = target(Request("GET", url, []))  # type: ignore[operator]
    if asyncio.iscoroutine(answer):
        answer = await answer
    text: str = answer.text
    return text


ONE = 'meta ( title "One" ); path a ( url /, use file:page.html );'
TWO = 'meta ( title "Two" ); root /two; path b ( url /b, use file:page.html );'


def test_each_root_has_its_page(tmp_path: Path) -> None:
    app = load(tmp_path, TWO, ONE)

    async def test() -> None:
        whole = Reader(await get(app, "/__doc__"))
        assert whole.text.startswith("One Skip")
        assert "GET /two/b" in whole.text
        part = Reader(await get(app, "/two/__doc__"))
        assert part.text.startswith("Two Skip")
        assert "One" not in part.text
        assert "/two/__doc__/openapi.json" in part.values("href")
        assert '"openapi": "3.1.0"' in await get(app, "/two/__doc__/openapi.json")

    run(test())


def test_path_of_the_file_s_own_wins(tmp_path: Path) -> None:
    app = load(tmp_path, "path a ( url /__doc__, use file:page.html );")

    async def test() -> None:
        target, _ = app.find(Request("GET", "/__doc__", []))
        theirs = [route.target for router in app._routers for route in router[1].routes]
        assert target is theirs[-1]
        assert "openapi" in await get(app, "/__doc__/openapi.json")

    run(test())


def test_no_doc_serves_none_of_the_three(tmp_path: Path) -> None:
    app = load(tmp_path, ONE, doc=False)
    for url in ("/__doc__", "/__doc__/openapi.json", "/__api__"):
        with pytest.raises(NotRouted):
            app.find(Request("GET", url, []))
    assert app.find(Request("GET", "/__health__", []))


# --- the command --------------------------------------------------------------


def command(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "redbarrel_lite", "doc", *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
    )


def test_doc_writes_the_page_or_prints_it(tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    chat = ROOT / "examples" / "chat" / "chat.rbr"
    written = command(chat, "-o", out)
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    printed = command(chat)
    assert printed.stdout == out.read_text(encoding="utf-8")
    assert "the Python callable chat.chat" in Reader(printed.stdout).text


def test_doc_writes_openapi(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert publish.write_doc(ROOT / "examples" / "chat" / "chat.rbr", form="openapi") == 0
    assert capsysbinary.readouterr().out.startswith(b'{\n  "openapi": "3.1.0"')


def test_doc_of_a_faulty_file_is_its_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    file = tmp_path / "a.rbr"
    file.write_text("path a ( url /, use python:broken.f, metod GET );")
    assert publish.write_doc(file) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "unknown field 'metod'" in said


def test_doc_of_no_file_or_to_nowhere_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.write_doc(tmp_path / "none.rbr") == 2
    assert (
        publish.write_doc(ROOT / "examples" / "chat" / "chat.rbr", tmp_path / "no" / "where.html")
        == 2
    )
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/none.rbr: No such file or directory\n"
        f"error: {tmp_path}/no/where.html: No such file or directory\n"
    )


def test_page_is_made_in_a_zip_file_too() -> None:
    assert isinstance(docpage._STYLE, Html)
    assert docpage.static("docpage.css") == docpage._STYLE


# --- docs/docpage.md ----------------------------------------------------------

MANUAL = (ROOT / "docs" / "docpage.md").read_text(encoding="utf-8")


def listings(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)


def test_manual_s_application_runs_and_reads_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rbr,), (python,), (commands,) = listings("rbr"), listings("python"), listings("sh")
    (tmp_path / "parcels.rbr").write_text(rbr)
    (tmp_path / "parcels.py").write_text(python)
    monkeypatch.chdir(tmp_path)
    for line in commands.splitlines():
        words = line.removeprefix("python3 -m redbarrel_lite ").split()
        done = subprocess.run(
            [sys.executable, "-m", "redbarrel_lite", *words],
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    page = Reader((tmp_path / "parcels.html").read_text(encoding="utf-8"))
    sentence = re.search(r'reads "(.*?)"', MANUAL, re.DOTALL)
    assert sentence
    assert " ".join(sentence[1].replace("`", "").split()) in page.text
    assert (tmp_path / "openapi.json").read_text().startswith("{")
    assert page.all("a", href="https://example.org/rates")
    reading = Reading()
    reading.add(tmp_path / "parcels.rbr", "parcels.rbr")
    assert reading.diagnostics == []
