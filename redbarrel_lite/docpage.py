"""``ROOT/__doc__``: what an application offers, as one page for people.

What it implements: a page of all services and sockets at a root and below, with their
descriptions, rules, statuses and options, and a form to try each; its OpenAPI document
beside it. What it leaves out: how things are said, which is in `wording` and `markup`;
the looks and the trying, which are in ``static/docpage.css`` and ``.js``.

In one line::

    routes = services(files, "/api")

The text of the files does not change while they are served: all is made once, at
the start. The page loads nothing from anywhere; its Content-Security-Policy names its
style and its script by their hashes, so that markup that slipped through could not run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from . import openapi, wording
from .loading import File
from .markup import Html, inline, join, render, tag
from .packed import path_at
from .rbr_keys import DEFAULT_URLS, OF_THE_SOCKET
from .rbr_nodes import Path, Placeholder, Url
from .response import Response, if_modified
from .routes import Service
from .wording import Code, Part, Phrase, unique


def services(files: Sequence[File], root: str) -> dict[str, Service]:
    """What answers at ``ROOT/__doc__`` and at its OpenAPI document, by their urls."""
    policy = {"content-security-policy": f"{_POLICY}; frame-ancestors 'none'"}
    return {
        f"{root}/__doc__": _service(
            lambda: page(files, root, live=True), "text/html; charset=utf-8", policy
        ),
        f"{root}/__doc__/openapi.json": _service(
            lambda: json.dumps(openapi.document(files, root), ensure_ascii=False, indent=2),
            "application/json",
            {},
        ),
    }


def _service(make: Callable[[], str], content_type: str, headers: dict[str, str]) -> Service:
    """What is made for the first who asks, and stays: no start waits for it."""

    @cache
    def response() -> Response:
        body = make().encode()
        fields = {
            "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "cache-control": "no-cache",  # kept, but asked for anew: the file may have changed
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            **headers,
        }
        return Response(body, 200, fields, content_type)

    return lambda request: if_modified(response(), request.headers)


# -- the page ------------------------------------------------------------------


def static(name: str) -> str:
    """A file beside the package's own."""
    return (path_at(__file__).parent / "static" / name).read_text(encoding="utf-8")


def hash_of(text: str) -> str:
    """As a Content-Security-Policy names a style or a script by what is in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE: Final = Html(static("docpage.css"))
_SCRIPT: Final = Html(static("docpage.js"))
# 'strict-dynamic': the page's script loads the client from the socket's own url, and
# nobody else may load anything, from the same origin neither.
_POLICY: Final = (
    f"default-src 'none'; style-src {hash_of(_STYLE)};"
    f" script-src {hash_of(_SCRIPT)} 'strict-dynamic'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'"
)
BARREL: Final = "M9 4h14q9 12 0 24H9Q0 16 9 4"
HOOPS: Final = "M6.2 11h19.6M6.2 21h19.6"
ICON: Final = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
    f"<path fill='%23c62f35' d='{BARREL}'/></svg>"
)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A path as it stands on the page."""

    path: Path
    url: Url  # with its root
    id: str


@dataclass(frozen=True, slots=True)
class _Group:
    """Entries below one heading."""

    title: str
    description: str
    entries: tuple[_Entry, ...]


def page(files: Sequence[File], root: str, *, live: bool) -> str:
    """The whole page; ``live`` if there is a server, on which things can be tried."""
    groups = _groups(files)
    title = openapi.title(files)
    head = [
        tag("meta", charset="utf-8"),
        # A page that is a file has no header fields.
        *([] if live else [tag("meta", http_equiv="Content-Security-Policy", content=_POLICY)]),
        tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href=ICON),
        tag("style", _STYLE),
    ]
    body = [
        tag("a", "Skip to the services", href="#main", class_="skip"),
        _header(files, root, title, live=live),
        tag("div", _contents(groups), _main(groups, files, live=live), class_="columns"),
        *([tag("script", _SCRIPT)] if live else []),
    ]
    head_and_body = join(
        [tag("head", *head), tag("body", *body, data_root=wording.sent(Url(root)))], "\n"
    )
    return f"<!doctype html>\n{tag('html', head_and_body, lang='en')}\n"


def _groups(files: Sequence[File]) -> list[_Group]:
    """One file is told by its services and sockets, several file by file."""
    ids: set[str] = set()
    groups = []
    for number, file in enumerate(files):
        entries = []
        for path in file.tree.paths:
            if path.url is not None:
                url = Url(file.root + path.url.text)
                entries.append(_Entry(path, url, unique(path.name.text, ids)))
        meta = file.tree.meta
        about = meta.text("description") if number else ""
        name = meta.text("title") or file.tree.source.filename.rpartition("/")[2]
        groups.append(_Group(name, about, tuple(entries)))
    if len(groups) == 1:
        kinds = {False: "Services", True: "Sockets"}
        groups = [
            _Group(name, "", tuple(one for one in groups[0].entries if one.path.is_socket is kind))
            for kind, name in kinds.items()
        ]
    return [group for group in groups if group.entries]


def _header(files: Sequence[File], root: str, title: str, *, live: bool) -> Html:
    meta = files[0].tree.meta
    version, about = meta.text("version"), meta.text("description")
    barrel = tag(
        "svg",
        tag("path", d=BARREL),
        tag("path", d=HOOPS),
        viewBox="0 0 32 32",
        aria_hidden="true",
    )
    at = wording.sent(Url(root))
    links = [
        tag("a", "OpenAPI", href=f"{at}/__doc__/openapi.json"),
        tag("a", "RBR", href=f"{at}/__api__"),
    ]
    return tag(
        "header",
        barrel,
        tag("h1", title),
        *([tag("span", f"version {version}", class_="version")] if version else []),
        *([tag("p", join(links, " "), class_="formats")] if live else []),
        *([tag("div", render(about), class_="prose")] if about.strip() else []),
        class_="top",
    )


def _contents(groups: list[_Group]) -> Html:
    rows: list[Html] = []
    for group in groups:
        links = [
            tag("li", tag("a", _verbs(one.path), " ", one.path.name.text, href=f"#{one.id}"))
            for one in group.entries
        ]
        rows += [tag("h2", group.title), tag("ul", *links)]
    return tag("nav", *rows, aria_label="Contents")


def _main(groups: list[_Group], files: Sequence[File], *, live: bool) -> Html:
    rows: list[Html] = []
    for group in groups:
        rows.append(tag("h2", group.title))
        if group.description.strip():
            rows.append(tag("div", render(group.description), class_="prose"))
        rows += [_article(entry, live=live) for entry in group.entries]
    if not rows:
        rows.append(tag("p", "Nothing is served here yet."))
    return tag("main", *rows, *_types(files), id="main")


def _types(files: Sequence[File]) -> Iterator[Html]:
    types = [one for file in files for one in file.tree.types]
    if types:
        rows = [
            tag(
                "tr",
                tag("th", one.name.text, scope="row"),
                tag("td", _code(wording.value_text(one.use))),
            )
            for one in types
        ]
        yield tag("h2", "Types")
        yield tag("div", _table("Types of values, and what checks them", rows), class_="card")


# -- one service or socket -----------------------------------------------------


def _article(entry: _Entry, *, live: bool) -> Html:
    path = entry.path
    rows = [
        tag("h3", tag("a", path.name.text, href=f"#{entry.id}"), id=f"{entry.id}--name"),
        tag("p", _verbs(path), " ", _url(entry.url), class_="request"),
    ]
    if path.text("description").strip():
        rows.append(tag("div", render(path.text("description")), class_="prose"))
    rows += _facts(entry)
    rows += [_part(part) for part in wording.parts(path)]
    rows += _events(path)
    rows += _statuses(path)
    rows += _options(path)
    if live:
        rows.append(_console(entry) if path.is_socket else _form(entry))
    return tag("article", *rows, id=entry.id, class_="card", aria_labelledby=f"{entry.id}--name")


def _verbs(path: Path) -> Html:
    if path.is_socket:
        return tag("span", _PROTOCOLS[wording.socket_verb(path)], class_="verb socket")
    verbs = wording.methods(path)
    if verbs != path.verbs:
        return tag("span", "ANY", class_="verb any")
    return join([tag("span", verb, class_=f"verb {verb.lower()}") for verb in verbs], " ")


_PROTOCOLS: Final = {"SOCKETIO": "Socket.IO", "ENGINEIO": "Engine.IO", "WEBSOCKET": "WebSocket"}


def _url(url: Url) -> Html:
    parts = [
        tag("b", f"{{{part.name}}}") if isinstance(part, Placeholder) else part.replace(" ", "%20")
        for part in url.parts()
    ]
    return tag("code", *parts, class_="url")


def _code(text: str) -> Html:
    return tag("code", text)


def _phrase(phrase: Phrase) -> Html:
    return join([_code(part) if isinstance(part, Code) else part for part in phrase])


def _facts(entry: _Entry) -> Iterator[Html]:
    path = entry.path
    rows: list[tuple[str, Html]] = []
    for part in entry.url.parts():
        if isinstance(part, Placeholder):
            fits = ("what fits ", Code(part.regex)) if part.regex else ("one segment of the url",)
            rows.append((_code(f"{{{part.name}}}"), _phrase(fits)))
    if path.is_socket and wording.socket_verb(path) == "SOCKETIO":
        rows.append(("Namespace", _code(wording.namespace(path))))
        rows.append(("Connect with", _code(_connecting(entry))))
    rows.append(("Handled by" if path.is_socket else "Answered by", _phrase(wording.behind(path))))
    yield tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows),
        class_="facts",
    )


def _connecting(entry: _Entry) -> str:
    """The line that a page connects with."""
    namespace = wording.namespace(entry.path)
    name = json.dumps(namespace) if namespace != "/" else ""
    url = wording.sent(entry.url).rstrip("/") + "/"
    if url == DEFAULT_URLS["SOCKETIO"]:
        return f"io({name})"
    return f"io({name or json.dumps('/')}, {{ path: {json.dumps(url)} }})"


def _part(part: Part) -> Html:
    rows = [tag("h4", part.title)]
    if part.description.strip():
        rows.append(tag("div", render(part.description), class_="prose"))
    if part.rules:
        rows.append(tag("ul", *(tag("li", _phrase(rule)) for rule in part.rules), class_="rules"))
    return tag("section", *rows)


def _table(caption: str, rows: Sequence[Html]) -> Html:
    return tag("table", tag("caption", caption), tag("tbody", *rows))


def _events(path: Path) -> Iterator[Html]:
    rows = [
        tag(
            "tr",
            tag("th", "any other" if one.is_any else _code(one.event), scope="row"),
            tag("td", _code(wording.value_text(one.use))),
        )
        for one in path.events()
    ]
    if rows:
        yield tag("section", tag("h4", "Events"), _table("Events, and what takes them", rows))


def _statuses(path: Path) -> Iterator[Html]:
    rows = [
        tag(
            "tr",
            tag("th", str(code), scope="row", class_=f"status s{code // 100}"),
            tag("td", inline(text.strip() or wording.reason(code))),
        )
        for code, text in wording.statuses(path).items()
    ]
    if rows:
        yield tag("section", tag("h4", "Statuses"), _table("Statuses, and what they mean", rows))


def _options(path: Path) -> Iterator[Html]:
    rows = [
        tag(
            "tr",
            tag("th", _code(option.name), scope="row"),
            tag("td", _code(option.value), " ", tag("small", option.help)),
        )
        for option in wording.options(path)
    ]
    if rows:
        yield tag("section", tag("h4", "Options"), _table("Options that are set", rows))


# -- trying --------------------------------------------------------------------
# Hidden until the script runs: without it, a button that does nothing is a lie.


def _trying(*rows: Html) -> Html:
    return tag("details", tag("summary", "Try it"), *rows, class_="try", hidden=True)


def _label(text: str, control: Html, class_: str = "") -> Html:
    return tag("label", tag("span", text), control, class_=class_ or False)


def _area(name: str, placeholder: str, rows: int) -> Html:
    return tag("textarea", name=name, placeholder=placeholder, rows=str(rows), spellcheck="false")


def _field(name: str, value: str = "", placeholder: str = "", **more: str | bool) -> Html:
    return tag(
        "input",
        name=name,
        value=value or False,
        placeholder=placeholder or False,
        autocomplete="off",
        autocapitalize="off",
        spellcheck="false",
        **more,
    )


def _parts_of(url: Url) -> str:
    """A url for the script: texts, and lists of a name and whether it may hold slashes."""
    return json.dumps(
        [
            wording.sent(Url(part))
            if isinstance(part, str)
            else [part.name, part.regex is not None]
            for part in url.parts()
        ]
    )


def _form(entry: _Entry) -> Html:
    verbs = [verb for verb in wording.methods(entry.path) if verb not in _NOT_FROM_PAGES]
    if not verbs:
        return tag("p", "A page may not send this method.", class_="try", hidden=True)
    placeholders = dict.fromkeys(
        part.name for part in entry.url.parts() if isinstance(part, Placeholder)
    )
    is_json = wording.body_type(entry.path, "request-body") == "json"
    wanted = "".join(f"{name}: \n" for name in wording.header_types(entry.path))
    headers = tag(
        "textarea",
        wanted,
        name="headers",
        rows="2",
        spellcheck="false",
        placeholder="Accept: application/json",
    )
    fields = [
        _method(verbs),
        *(_label(name, _field("match", required=True, data_name=name)) for name in placeholders),
        _label("Query", _field("query", placeholder="name=value&other=value")),
        _label("Headers, one a line", headers, "wide"),
        _label("Body", _area("body", '{"json": true}' if is_json else "", 3), "wide"),
    ]
    form = tag(
        "form",
        tag("div", *fields, class_="fields"),
        tag("p", tag("button", "Send"), class_="buttons"),
        data_url=_parts_of(entry.url),
        data_type="application/json" if is_json else "text/plain",
        aria_label=f"Try {entry.path.name.text}",
        class_="service",
    )
    answer = tag(
        "div",
        tag("p", class_="answer-line"),
        tag(
            "details", tag("summary", "Headers"), tag("pre", class_="answer-headers", tabindex="0")
        ),
        tag(
            "pre",
            class_="answer-body",
            tabindex="0",
            role="region",
            aria_label="Body of the answer",
        ),
        class_="answer",
        aria_live="polite",
        hidden=True,
    )
    return _trying(form, answer)


def _method(verbs: Sequence[str]) -> Html:
    if len(verbs) == 1:
        return tag("input", type="hidden", name="method", value=verbs[0])
    return _label("Method", tag("select", *(tag("option", verb) for verb in verbs), name="method"))


# Fetch (2.2.1) forbids them.
_NOT_FROM_PAGES: Final = ("CONNECT", "TRACE")


def _console(entry: _Entry) -> Html:
    path = entry.path
    verb = wording.socket_verb(path)
    connecting = [tag("button", "Connect")]
    sending: list[Html] = []
    if verb == "SOCKETIO":
        named = (one.event for one in path.events() if not one.is_any)
        events = [tag("option", value=name) for name in named if name not in OF_THE_SOCKET]
        list_id = f"{entry.id}--events"
        fields = [
            _label("Namespace", _field("namespace", wording.namespace(path))),
            _label("Auth, as JSON", _field("auth", placeholder='{"token": "…"}')),
        ]
        sending = [
            _label("Event", _field("event", "message", required=True, list=list_id)),
            _label("Arguments, as JSON", _field("args", placeholder='"hello", {"n": 1}')),
            tag("datalist", *events, id=list_id),
        ]
        ack = [
            tag(
                "label",
                tag("input", type="checkbox", name="ack"),
                "Ask for an acknowledgement",
                class_="check",
            )
        ]
    else:
        fields, ack = [], []
        sending = [_label("Message", _field("args", placeholder="hello"), "wide")]
    state = tag("output", "not connected", class_="state")
    name = path.name.text
    return _trying(
        tag(
            "form",
            *([tag("div", *fields, class_="fields")] if fields else []),
            tag("p", *connecting, state, class_="buttons"),
            class_="connect",
            aria_label=f"Connect to {name}",
            data_url=_parts_of(entry.url),
            data_protocol=verb.lower(),
        ),
        tag(
            "form",
            tag(
                "fieldset",
                tag("div", *sending, class_="fields"),
                tag("p", tag("button", "Send"), *ack, class_="buttons"),
                disabled=True,
            ),
            class_="send",
            aria_label=f"Send to {name}",
        ),
        tag("ol", role="log", tabindex="0", aria_label=f"What {name} says and hears"),
    )
