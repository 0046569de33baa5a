"""Which route a request takes."""

from __future__ import annotations

import pytest

from redbarrel_lite.routes import WEBSOCKET, AnyMethod, NotRouted, Route, Router, compile_template


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


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "allow"),
    [
        ("GET", "/nowhere", 404, "404 no path of this server has this url\n", None),
        ("OPTIONS", "/nowhere", 404, "404 no path of this server has this url\n", None),
        ("PUT", "/a.b", 405, "405 PUT is not among GET, HEAD, OPTIONS\n", "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/show/x", 204, "", "GET, POST, DELETE, HEAD, OPTIONS"),
    ],
)
def test_answer_says_why_not(
    method: str, path: str, status: int, body: str, allow: str | None
) -> None:
    with pytest.raises(NotRouted) as refused:
        ROUTER.find(method, path)
    answer = refused.value.answer()
    assert (answer.status, answer.header("allow")) == (status, allow)
    assert answer.body == body.encode()


def test_error_itself_has_the_reason() -> None:
    for router, method, path, reason in (
        (ROUTER, "GET", "/nowhere", "not found"),
        (ROUTER, "PUT", "/", "method not allowed"),
        (Router([route("/ws", WEBSOCKET)]), "GET", "/ws", "upgrade required"),
    ):
        with pytest.raises(NotRouted, match=reason):
            router.find(method, path)


def test_template_for_what_lies_below_takes_the_url_itself_too() -> None:
    pattern = compile_template(["/app"], below=True)
    for path in ("/app", "/app/", "/app/a/b", "/app/a\nb"):
        assert pattern.fullmatch(path), path
    for path in ("/apple", "/ap", "/"):
        assert not pattern.fullmatch(path), path
    assert not compile_template(["/app"]).fullmatch("/app/a")


def test_other_method_is_told_which_are_allowed() -> None:
    with pytest.raises(NotRouted) as refused:
        ROUTER.find("PUT", "/show/x")
    assert refused.value.status == 405
    assert refused.value.allow == ("GET", "POST", "DELETE", "HEAD", "OPTIONS")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("PUT", "/a.b", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/a.b", 204, "GET, HEAD, OPTIONS"),
    ],
)
def test_client_is_told_why_there_is_nothing(
    method: str, path: str, status: int, allow: str | None
) -> None:
    with pytest.raises(NotRouted) as refused:
        ROUTER.find(method, path)
    answer = refused.value.answer()
    assert (answer.status, answer.header("allow")) == (status, allow)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_url_of_a_websocket_wants_an_upgrade(method: str) -> None:
    router = Router([route("/ws", WEBSOCKET)])
    assert router.find("GET", "/ws", upgrades=True)[0].url == "/ws"
    with pytest.raises(NotRouted) as refused:
        router.find(method, "/ws")
    answer = refused.value.answer()
    assert (answer.status, answer.header("upgrade")) == (426, "websocket")
    assert answer.body == b"426 a WebSocket is here, and no page\n"
    with pytest.raises(NotRouted) as refused:
        router.find("POST", "/ws", upgrades=True)
    assert (refused.value.status, refused.value.allow) == (405, ("GET", "OPTIONS"))


def test_page_may_share_the_url_of_a_websocket_in_either_order() -> None:
    page, socket = route("/{a}", "GET"), route("/{b}", WEBSOCKET)
    for router in (Router([page, socket]), Router([socket, page])):
        assert router.find("GET", "/x", upgrades=True) == (socket, {"b": "x"})
        assert router.find("GET", "/x") == router.find("HEAD", "/x") == (page, {"a": "x"})
        with pytest.raises(NotRouted):
            router.find("POST", "/x", upgrades=True)
        with pytest.raises(NotRouted):
            router.find("WEBSOCKET", "/x")
    assert Router([page]).find("GET", "/x", upgrades=True)[0] is page


def test_path_may_take_any_method() -> None:
    mounted = Route("m", "/m", AnyMethod(("GET", "POST")), compile_template(["/m"]), "m")
    router = Router([mounted, route("/m", "TRACE")])
    for method in ("GET", "HEAD", "PUT", "PROPFIND", "OPTIONS", "x-y"):
        assert router.find(method, "/m")[0] is mounted, method
    assert router.find("TRACE", "/m")[0].methods == ("TRACE",)
    assert router.find("GET", "/m", upgrades=True)[0] is mounted
    with pytest.raises(NotRouted) as refused:
        router.find("CONNECT", "/m")
    assert refused.value.answer().header("allow") == "GET, POST, TRACE, HEAD, OPTIONS"
