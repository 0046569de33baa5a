"""Request and Response, without a server."""

from __future__ import annotations

import pytest

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.request import Headers, Request
from redbarrel_lite.response import Response, error_response


def request(target: str = "/", **more: object) -> Request:
    return Request("GET", target, [("x-a", "1"), ("x-a", "2"), ("b", "3")], **more)  # type: ignore[arg-type]


def test_headers_are_found_without_regard_to_case() -> None:
    headers = Headers([("x-a", "1"), ("x-a", "2"), ("b", "3")])
    assert headers["X-A"] == "1, 2"
    assert headers.get("C") is None
    assert list(headers) == ["x-a", "b"]
    assert len(headers) == 2
    assert dict(headers) == {"x-a": "1, 2", "b": "3"}


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
    assert asked.GET == {"x": "2", "y": "ü", "z": ""}
    assert asked.host_url == "https://h:1"
    assert asked.url == "https://h:1/caf%C3%A9/a%20b?x=1&x=2&y=%C3%BC&z="
    assert asked.text == '{"a": "ü"}'
    assert asked.json == {"a": "ü"}
    assert asked.environ["PATH_INFO"] == asked.path
    assert asked.environ["socketio"] is None


@pytest.mark.parametrize("path", ["/%ff", "/%00", "/a%c0%aeb", "/%ed%a0%80"])
def test_path_that_is_no_text_is_a_bad_request(path: str) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        request(path)
    assert refused.value.code == 400


def test_query_of_too_many_fields_is_a_bad_request() -> None:
    assert len(request("/?" + "a&" * 999 + "a").query["a"]) == 1000
    with pytest.raises(RemoteProtocolError, match="bad query"):
        _ = request("/?" + "a&" * 1000 + "a").query


def test_response_names_the_type_of_what_it_holds() -> None:
    assert Response("é").headers == [("content-type", "text/html; charset=utf-8")]
    assert Response("é").body == "é".encode()
    assert Response(b"x").headers == [("content-type", "application/octet-stream")]
    assert Response(b"x", content_type="a/b").headers == [("content-type", "a/b")]
    assert Response().headers == []


def test_error_is_one_line_of_plain_ascii() -> None:
    response = error_response(400, "what is <é>?", [("x", "y")])
    assert response.body == b"400 what is <\\xe9>?\n"
    assert response.headers == [("x", "y"), ("content-type", "text/plain; charset=utf-8")]
