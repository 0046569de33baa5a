"""Which route a request takes."""

from __future__ import annotations

import pytest

from redbarrel_lite.routes import NotRouted, Route, Router, compile_template


def route(url: str, *methods: str) -> Route[str]:
    parts: list[str | tuple[str, str | None]] = []
    for text in url.replace("{", "\0{").replace("}", "}\0").split("\0"):
        if text.startswith("{"):
            name, colon, regex = text[1:-1].partition(":")
            parts.append((name, regex if colon else None))
        else:
            parts.append(text)
    return Route(url, url, methods or ("GET",), compile_template(parts), url)


ROUTER = Router(
    [
        route("/"),
        route("/a.b"),
        route("/show/{page:[0-9]+}"),
        route("/show/{name}", "GET", "POST"),
        route("/show/{name}", "DELETE"),
        route("/files/{path:.*}"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "url", "match"),
    [
        ("GET", "/", "/", {}),
        ("HEAD", "/", "/", {}),
        ("GET", "/a.b", "/a.b", {}),
        ("GET", "/show/12", "/show/{page:[0-9]+}", {"page": "12"}),
        ("POST", "/show/12", "/show/{name}", {"name": "12"}),
        ("GET", "/show/é b", "/show/{name}", {"name": "é b"}),
        ("DELETE", "/show/x", "/show/{name}", {"name": "x"}),
        ("GET", "/files/", "/files/{path:.*}", {"path": ""}),
        ("GET", "/files/a/b", "/files/{path:.*}", {"path": "a/b"}),
    ],
)
def test_first_route_that_fits_is_taken(
    method: str, path: str, url: str, match: dict[str, str]
) -> None:
    found, got = ROUTER.find(method, path)
    assert (found.target, got) == (url, match)


@pytest.mark.parametrize("path", ["", "/aXb", "/show/", "/show/a/b", "/show", "//", "/a.b/"])
def test_url_of_no_route_is_not_found(path: str) -> None:
    with pytest.raises(NotRouted) as refused:
        ROUTER.find("GET", path)
    assert (refused.value.status, refused.value.allow) == (404, ())


def test_other_method_is_told_which_are_allowed() -> None:
    with pytest.raises(NotRouted) as refused:
        ROUTER.find("PUT", "/show/x")
    assert refused.value.status == 405
    assert refused.value.allow == ("GET", "POST", "DELETE", "HEAD", "OPTIONS")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_url_of_a_websocket_wants_an_upgrade(method: str) -> None:
    router = Router([route("/ws", "WEBSOCKET")])
    assert router.find("GET", "/ws", upgrades=True)[0].url == "/ws"
    with pytest.raises(NotRouted) as refused:
        router.find(method, "/ws")
    answer = refused.value.answer()
    assert (answer.status, answer.header("upgrade")) == (426, "websocket")
    with pytest.raises(NotRouted) as refused:
        router.find("POST", "/ws", upgrades=True)
    assert (refused.value.status, refused.value.allow) == (405, ("GET", "OPTIONS"))
