"""Requests, without a server."""

from __future__ import annotations

import pytest

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.forms import BadContent, Spool
from redbarrel_lite.hub import Hub
from redbarrel_lite.request import Headers, Request, ServerOnly


def request(target: str = "/", **more: object) -> Request:
    return Request("GET", target, [("x-a", "1"), ("x-a", "2"), ("b", "3")], **more)  # type: ignore[arg-type]


def test_headers_are_found_without_regard_to_case() -> None:
    headers = Headers([("x-a", "1"), ("x-a", "2"), ("b", "3")])
    assert headers["X-A"] == "1, 2"
    assert headers.get("C") is None
    with pytest.raises(KeyError):
        headers["C"]
    assert list(headers) == ["x-a", "b"]
    assert len(headers) == 2
    assert dict(headers) == {"x-a": "1, 2", "b": "3"}
    # RFC 6265 5.4: what came in two fields is one text of cookies all the same.
    assert Headers([("cookie", "a=1"), ("cookie", "b=2")])["Cookie"] == "a=1; b=2"


def test_request_tells_what_was_asked_for() -> None:
    asked = request(
        "/caf%C3%A9/a%20b?x=1&x=2&y=%C3%BC&z=",
        host="h:1",
        scheme="https",
        body=b'{"a": "\xc3\xbc"}',
    )
    assert asked.path == asked.path_info == "/café/a b"
    assert asked.query_string == "x=1&x=2&y=%C3%BC&z="
    assert asked.query == {"x": ["1", "2"], "y": ["ü"], "z": [""]}
    assert dict(asked.GET) == {"x": "2", "y": "ü", "z": ""}
    assert asked.GET is asked.GET
    assert asked.host_url == "https://h:1"
    assert asked.url == "https://h:1/caf%C3%A9/a%20b?x=1&x=2&y=%C3%BC&z="
    assert asked.text == '{"a": "ü"}'
    assert asked.json == {"a": "ü"}


@pytest.mark.parametrize("path", ["/%ff", "/%00", "/a%c0%aeb", "/%ed%a0%80"])
def test_path_that_is_no_text_is_a_bad_request(path: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        request(path)
    assert refused.value.code == 400


def test_query_of_too_many_fields_is_a_bad_request() -> None:
    assert len(request("/?" + "a&" * 999 + "a").query["a"]) == 1000
    with pytest.raises(RemoteProtocolError, match="over 1000 fields") as refused:
        _ = request("/?" + "a&" * 1000 + "a").GET
    assert refused.value.code == 400


def form(body: bytes | Spool) -> Request:
    fields = [("content-type", "application/x-www-form-urlencoded")]
    return Request("POST", "/?a=0&b=1", fields, body=body)


def test_fields_of_query_and_body_are_apart_and_together() -> None:
    posted = form(b"a=2&a=3")
    assert posted.GET.items() == [("a", "0"), ("b", "1")]
    assert posted.POST.items() == [("a", "2"), ("a", "3")]
    assert posted.POST is posted.POST
    assert posted.params.getall("a") == ["0", "2", "3"]
    assert request(body=b"a=b").POST.items() == []


def test_new_body_has_fields_of_its_own() -> None:
    posted = form(b"a=2")
    assert posted.POST["a"] == "2"
    assert posted.body_file.read() == b"a=2"
    posted.body = b"a=4"
    assert posted.POST["a"] == "4"
    assert posted.body_file.read() == b"a=4"


@pytest.mark.parametrize("framing", [("content-length", "5"), ("transfer-encoding", "chunked")])
def test_new_body_has_a_length_of_its_own(framing: tuple[str, str]) -> None:
    before = Request("POST", "/", []).environ.keys()
    posted = Request("POST", "/", [framing, ("x-a", "1")], body=b"hello")
    posted.environ["mine"] = 1
    posted.body = b"hellohello"
    assert dict(posted.headers) == {"x-a": "1", "content-length": "10"}
    assert posted.environ["CONTENT_LENGTH"] == "10"
    assert posted.environ["wsgi.input"].read() == b"hellohello"
    assert posted.environ.keys() - before == {"CONTENT_LENGTH", "HTTP_X_A", "mine"}


def test_body_on_disk_is_read_like_any_other() -> None:
    spool = Spool()
    spool.add(b"a=2&")
    spool.add(b"c=3")
    posted = form(spool)
    assert posted.body == b"a=2&c=3"
    assert posted.body_file is posted.body_file
    assert posted.body_file.read(2) == b"a="
    assert posted.body == b"a=2&c=3"
    assert posted.body_file.read() == b"2&c=3"
    assert dict(posted.POST) == {"a": "2", "c": "3"}


def test_cookies_are_those_of_all_cookie_fields() -> None:
    asked = Request("GET", "/", [("cookie", "a=1; b=2"), ("x", "c=3"), ("cookie", "d=4")])
    assert asked.cookies == {"a": "1", "b": "2", "d": "4"}
    assert asked.cookies is asked.cookies


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"1e400", b"\xff", b"[" * 1000, b"9" * 5000])
def test_body_that_is_no_json_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadContent, match="the body is not JSON: ") as refused:
        _ = request(body=body).json
    assert refused.value.code == 400
    assert isinstance(refused.value, ValueError)


def test_body_that_is_no_text_is_a_bad_request() -> None:
    with pytest.raises(BadContent, match="not UTF-8"):
        _ = request(body=b"\xff").text


def test_response_is_made_when_it_is_asked_for() -> None:
    assert not request().has_response
    asked = request()
    asked.response.set_cookie("a", "b")
    assert asked.has_response
    assert asked.response.header("set-cookie")


def test_environ_has_the_names_of_wsgi() -> None:
    fields = [("content-type", "a/b"), ("x-a", "1"), ("x-a", "2"), ("x_user", "root")]
    asked = Request("PUT", "/%C3%A9?q", fields, host="h:81", remote_addr="1.2.3.4", body=b"x")
    environ = asked.environ
    assert environ["wsgi.input"].read() == b"x"
    assert {key: environ[key] for key in environ if key != "wsgi.input"} == {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/é",
        "QUERY_STRING": "q",
        "REMOTE_ADDR": "1.2.3.4",
        "SERVER_NAME": "h",
        "SERVER_PORT": "81",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "socketio": None,
        "CONTENT_TYPE": "a/b",
        "HTTP_X_A": "1, 2",
    }
    environ["mine"] = 1
    assert asked.environ["mine"] == 1


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        ("h", "http", "h", "80"),
        ("h", "https", "h", "443"),
        ("[::1]", "http", "[::1]", "80"),
        ("[::1]:8000", "http", "[::1]", "8000"),
        ("", "http", "", "80"),
    ],
)
def test_environ_has_a_port_of_its_own(host: str, scheme: str, name: str, port: str) -> None:
    environ = request(host=host, scheme=scheme).environ
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (name, port)


def test_request_without_a_socket_has_its_server_there() -> None:
    assert request().socketio is None
    asked = request()
    asked.server = Hub()
    assert asked.socketio == ServerOnly(asked.server)
    assert asked.environ["socketio"].server is asked.server


def test_request_of_a_socket_has_it() -> None:
    asked = request()
    assert asked.environ["socketio"] is None
    socket: object = object()
    seen = asked.for_socket(socket)  # type: ignore[arg-type]
    assert seen.socketio is seen.environ["socketio"] is socket
    assert asked.socketio is None
    assert seen.path == asked.path
    asked.match = {"page": "1", "room": "2"}
    within = asked.for_socket(socket, {"room": "3"})
    assert within.match == {"page": "1", "room": "3"}
    assert asked.match["room"] == "2"
