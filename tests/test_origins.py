"""Which pages may open sockets, and what they and the log are told."""

from __future__ import annotations

import pytest

from redbarrel_lite.origins import Origins
from redbarrel_lite.request import Request

HERE = "https://chat.example:8443"


def asked(origin: str | None, host_url: str = HERE, **headers: str) -> Request:
    """A request to ``host_url`` of a page of an origin."""
    scheme, _, host = host_url.partition("://")
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if origin is not None:
        pairs.append(("origin", origin))
    return Request("GET", "/socket.io/", pairs, host=host, scheme=scheme)


def may(origins: Origins, origin: str | None, host_url: str = HERE) -> bool:
    return origins.fault(asked(origin, host_url)) is None


# -- who may ---------------------------------------------------------------------------


def test_what_is_no_browser_may_connect() -> None:
    assert may(Origins([]), None)
    assert may(Origins(["https://page.example"]), None)


@pytest.mark.parametrize(
    ("origin", "host_url"),
    [
        (HERE, HERE),
        ("HTTPS://Chat.Example:8443", HERE),
        ("http://a", "http://a:80"),
        ("http://a:80", "http://a"),
        ("https://a", "https://a:443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_page_of_the_same_scheme_host_and_port_may_connect(origin: str, host_url: str) -> None:
    assert may(Origins([]), origin, host_url)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil",
        "https://chat.example",  # another port
        "https://chat.example:443",
        "https://chat.example:84430",
        "http://chat.example:8443",
        "https://chat.example.:8443",
        "https://chat.example.evil:8443",
        "https://evil-chat.example:8443",
        "https://sub.chat.example:8443",
        "wss://chat.example:8443",
        "https://127.0.0.1:8443",
        "https://localhost:8443",
        "https://[::1]:8443",
    ],
)
def test_page_of_another_origin_may_not(origin: str) -> None:
    assert not may(Origins([]), origin)
    assert not may(Origins(["https://page.example"]), origin)
    assert may(Origins([origin]), origin)
    assert may(Origins(["*"]), origin)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "chat.example",
        "https://",
        "https://chat.example:8443/",
        "https://chat.example:8443/page",
        "https://user@chat.example:8443",
        "https://chat.example:8443 https://evil",
        f"{HERE}, {HERE}",  # the header twice
        "https://chat.example\0",
        "https://[::1",
        "https://a:123456",
        "https://é.example",
        'https://a"b',
    ],
)
def test_what_is_no_origin_is_refused_even_where_all_may(origin: str) -> None:
    for origins in (Origins([]), Origins(["*"]), Origins([origin])):
        fault = origins.fault(asked(origin))
        assert fault is not None
        assert fault.startswith("this is no origin: '")


@pytest.mark.parametrize("host_url", ["http://127.0.0.1:8000", "http://localhost:8000"])
def test_an_address_is_an_origin_as_any_other(host_url: str) -> None:
    for other in ("http://127.0.0.1:8000", "http://localhost:8000", "http://127.0.0.1"):
        assert may(Origins([]), other, host_url) is (other == host_url)


def test_named_origins_may_differ_in_case_and_in_the_usual_port() -> None:
    origins = Origins(["https://Page.example:443", "app://local"])
    assert may(origins, "https://page.EXAMPLE")
    assert may(origins, "app://local")
    assert not may(origins, "https://page.example:8443")
    assert may(origins, HERE)


# -- what the log says -----------------------------------------------------------------


def test_refusal_says_what_came_what_is_allowed_and_what_to_write() -> None:
    origins = Origins(["https://page.example"])
    assert origins.fault(asked("https://other.example")) == (
        "pages of https://other.example may not connect,"
        " those of https://chat.example:8443, https://page.example may;"
        ' to let them, write: allow-origin "https://other.example"'
    )


@pytest.mark.parametrize("origin", ["http://chat.example", "https://chat.example:444"])
def test_refusal_of_the_own_host_thinks_of_a_proxy(origin: str) -> None:
    assert Origins([]).fault(asked(origin)) == (
        f"pages of {origin} may not connect, those of https://chat.example:8443 may;"
        f' behind a proxy, see --trust-proxy; to let them, write: allow-origin "{origin}"'
    )


def test_nobody_is_told_to_let_null_in() -> None:
    assert Origins([]).fault(asked("null")) == (
        "pages of null may not connect, those of https://chat.example:8443 may"
    )


@pytest.mark.parametrize("origin", ["https://" + "a" * 7000, "\x1b[2J\r\n" * 900, "é" * 4000])
def test_refusal_is_short_and_escaped(origin: str) -> None:
    fault = Origins(["https://p.example"] * 100).fault(asked(origin))
    assert fault is not None
    assert len(fault) < 500
    assert fault.isprintable()
    assert fault.isascii()
    assert "write:" not in fault


# -- what the browser is told ------------------------------------------------------------

CREDENTIALS = ("access-control-allow-credentials", "true")


@pytest.mark.parametrize("origin", [None, HERE, "https://CHAT.example:8443"])
def test_page_of_the_server_needs_no_header(origin: str | None) -> None:
    for origins in (Origins([]), Origins(["*"])):
        assert origins.headers(asked(origin)) == []


def test_named_origin_may_read_with_credentials() -> None:
    told = Origins(["https://page.example"]).headers(asked("https://Page.example"))
    assert told == [
        ("access-control-allow-origin", "https://Page.example"),
        ("vary", "Origin"),
        CREDENTIALS,
    ]


def test_any_origin_may_read_but_without_credentials() -> None:
    told = Origins(["*"]).headers(asked("https://page.example"))
    assert told == [("access-control-allow-origin", "*")]


def test_named_origin_keeps_its_credentials_beside_a_star() -> None:
    origins = Origins(["*", "https://page.example"])
    assert CREDENTIALS in origins.headers(asked("https://page.example"))
    assert CREDENTIALS not in origins.headers(asked("https://other.example"))


def test_null_has_no_credentials_even_if_it_is_named() -> None:
    told = Origins(["null"]).headers(asked("null"))
    assert told == [("access-control-allow-origin", "null"), ("vary", "Origin")]


def test_preflight_names_the_methods_and_the_headers_that_were_asked_for() -> None:
    origins = Origins(["https://page.example"])
    response = origins.preflight(
        asked("https://page.example", access_control_request_headers="x-token,x-other")
    )
    assert (response.status, response.body) == (204, b"")
    assert dict(response.headers) == {
        "access-control-allow-origin": "https://page.example",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, HEAD, PUT, PATCH, POST, DELETE",
        "access-control-allow-headers": "x-token,x-other",
        "vary": "Origin, Access-Control-Request-Headers",
    }


def test_preflight_that_asks_for_no_header_is_told_of_none() -> None:
    response = Origins([]).preflight(asked(None))
    assert response.status == 204
    assert response.header("access-control-allow-headers") is None
    assert response.header("access-control-allow-origin") is None
