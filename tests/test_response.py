"""Responses, without a server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from redbarrel_lite.response import (
    Response,
    close_stream,
    copied,
    encoded,
    error_response,
    if_modified,
    parse_date,
)
from redbarrel_lite.upstream import Switch, Tunnel


def test_response_names_the_type_of_what_it_holds() -> None:
    assert Response("é").headers == [("content-type", "text/html; charset=utf-8")]
    assert Response("é").body == "é".encode()
    assert Response(b"x").headers == [("content-type", "application/octet-stream")]
    assert Response(b"x", content_type="a/b").headers == [("content-type", "a/b")]
    assert Response(b"x", headers={"Content-Type": "a/b"}).headers == [("content-type", "a/b")]
    named = Response(b"x", headers={"Content-Type": "a/b"}, content_type="c/d")
    assert named.headers == [("content-type", "c/d")]
    assert Response(b"x", headers=[("X", "y")]).headers == [
        ("x", "y"),
        ("content-type", "application/octet-stream"),
    ]
    assert Response().headers == []


def test_error_is_one_line_of_plain_ascii() -> None:
    response = error_response(400, "what is <é>?", [("x", "y")])
    assert response.body == b"400 what is <\\xe9>?\n"
    assert response.headers == [
        ("x", "y"),
        ("x-content-type-options", "nosniff"),
        ("content-type", "text/plain; charset=utf-8"),
    ]


def test_status_is_a_number_and_may_be_set_to_a_line() -> None:
    response = Response(status="404 Not Found")
    assert response.status == response.status_int == 404
    response.status = "201 Created"
    assert response.status == 201
    response.status_int = 299
    assert response.status == 299


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, "", "ok", "1e2", None, True])
def test_status_that_is_none_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="is not the status of an answer"):
        Response(status=status)
    response = Response()
    with pytest.raises(ValueError, match="is not the status of an answer"):
        response.status = status


def test_fields_are_found_and_set_by_name() -> None:
    headers = Response("x", headers={"X-A": "1"}).headers
    headers["X-A"] = "2"
    headers.add("x-b", "1")
    headers.add("X-B", "2")
    headers.update({"X-C": "3"})
    assert headers[1:] == [("x-a", "2"), ("x-b", "1"), ("x-b", "2"), ("x-c", "3")]
    assert headers["X-b"] == "1, 2"
    assert headers.get("nothing") is None
    assert headers.get("nothing", "else") == "else"
    known: Any = headers  # as a container it is one of pairs, and of names besides
    assert "X-C" in known
    assert "X-D" not in known
    assert ("x-c", "3") in known
    del headers["X-B"]
    assert "x-b" not in known
    del headers[0]
    headers[0] = ("x-z", "9")
    assert headers == [("x-z", "9"), ("x-c", "3")]
    with pytest.raises(KeyError):
        _ = headers["x-b"]
    with pytest.raises(KeyError):
        del headers["x-b"]


@pytest.mark.parametrize("name", ["", "a b", "a:", "Content-Length ", " a", "a\tb", "ä", "(a)"])
def test_name_that_no_field_has_is_refused_where_it_is_set(name: str) -> None:
    """``content-length : 5`` would be a second length for who is lenient with blanks."""
    response = Response()
    for put in (response.set_header, response.headers.add):
        with pytest.raises(ValueError, match="is no name of a header"):
            put(name, "5")
    with pytest.raises(TypeError, match="header 'x' is of type int, not str"):
        response.headers["x"] = 5


def test_fields_may_be_replaced_by_pairs() -> None:
    response = Response()
    response.headers = [("a", "b")]
    response.set_header("C", "d")
    assert response.header("A") == "b"
    assert response.headers["c"] == "d"


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\0b", "\r\nSet-Cookie: x=y"])
def test_line_break_in_a_field_is_refused_where_it_is_set(bad: str) -> None:
    response = Response()
    for put in (response.set_header, response.headers.add):
        for name, value in (("x", bad), (bad, "x")):
            with pytest.raises(ValueError, match="CR, LF or NUL"):
                put(name, value)
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        response.location = bad
    assert response.headers == []


def test_content_type_charset_and_text_go_together() -> None:
    response = Response()
    assert (response.content_type, response.charset, response.text) == (None, None, "")
    response.text = "é"
    assert response.headers == [("content-type", "text/html; charset=utf-8")]
    assert response.body == "é".encode()
    response.content_type = "Text/Plain; x=y"
    assert response.content_type == "text/plain"
    response.content_type = "text/csv"
    assert response.charset == "utf-8"
    response.charset = "Latin-1"
    assert response.headers == [("content-type", "text/csv; charset=Latin-1")]
    response.text = "é"
    assert response.body == b"\xe9"
    assert response.text == "é"
    response.content_type = "image/png"
    assert response.headers == [("content-type", "image/png")]
    fresh = Response()
    fresh.charset = "utf-8"
    assert fresh.content_type == "text/html"


def test_half_of_a_surrogate_pair_does_no_harm() -> None:
    assert Response("a\ud800b").body == "a\ufffdb".encode()
    response = Response()
    response.text = "\udfff"
    assert response.text == "\ufffd"
    assert encoded("\ud83d\ude00") == "\U0001f600".encode()


def test_field_that_is_put_replaces_its_like_but_for_cookies() -> None:
    response = Response()
    for value in ("1", "2"):
        response.put_header("X", value)
        response.put_header("Set-Cookie", value)
    assert response.header("x") == "2"
    assert response.header("set-cookie") == "1, 2"


def test_location_is_percent_encoded_where_it_must_be() -> None:
    response = Response(status=302)
    assert response.location is None
    response.location = "/grüße/a%20b?c=d"
    assert response.location == "/gr%C3%BC%C3%9Fe/a%20b?c=d"


def test_iterator_that_has_no_end_to_run_is_let_go() -> None:
    class Bare:
        def __aiter__(self) -> Bare:
            return self

        async def __anext__(self) -> bytes:
            raise StopAsyncIteration

    asyncio.run(close_stream(Bare()))


def test_copy_is_to_be_altered_but_a_switch_is_one_of_a_kind() -> None:
    kept = Response("x", headers={"A": "b"})
    copied(kept).set_header("A", "c")
    assert kept.header("a") == "b"
    switch = Switch([], Tunnel())
    assert copied(switch) is switch


def test_cookies_are_set_and_deleted() -> None:
    response = Response()
    response.set_cookie("a", "b", 60)
    response.delete_cookie("a", "/x", "h")
    response.delete_cookie("__Host-b")
    assert response.headers == [
        ("set-cookie", "a=b; Max-Age=60; Path=/; SameSite=Lax; HttpOnly"),
        ("set-cookie", "a=; Max-Age=0; Domain=h; Path=/x; SameSite=Lax; HttpOnly"),
        ("set-cookie", "__Host-b=; Max-Age=0; Path=/; SameSite=Lax; HttpOnly; Secure"),
    ]


def test_entity_tag_is_quoted_once() -> None:
    response = Response()
    assert response.etag is None
    for tag, sent in (("v1", '"v1"'), ('"v2"', '"v2"'), ('W/"v3"', 'W/"v3"')):
        response.etag = tag
        assert response.etag == sent
    for bad in ("a b", 'a"b', '"a', "a\n", 'W/"a'):
        with pytest.raises(ValueError, match="bad entity tag"):
            response.etag = bad


def test_last_modified_is_a_time_with_a_zone() -> None:
    response = Response()
    assert response.last_modified is None
    response.last_modified = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert response.header("last-modified") == "Fri, 02 Jan 2026 02:04:05 GMT"
    assert response.last_modified == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    response.last_modified = 0.5
    assert response.header("last-modified") == "Thu, 01 Jan 1970 00:00:00 GMT"
    with pytest.raises(ValueError, match="needs a time zone"):
        response.last_modified = datetime(2026, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    "text", ["", "x", "Fri, 02 Jan 99999 02:04:05 GMT", "Fri, 99 Jan 2026 25:61:61 GMT", "," * 8192]
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_date(text) is None


def known() -> Response:
    response = Response("x", headers={"cache-control": "no-cache"})
    response.etag = "v1"
    response.last_modified = 1_000_000_000
    return response


SAME = "Sun, 09 Sep 2001 01:46:40 GMT"
BEFORE = "Sun, 09 Sep 2001 01:46:39 GMT"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"if-none-match": '"v1"'}, 304),
        ({"if-none-match": 'W/"v1"'}, 304),
        ({"if-none-match": '"v0", W/"v1" , "v2"'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": "v1"}, 200),
        ({"if-none-match": '"v2"', "if-modified-since": SAME}, 200),
        ({"if-none-match": '"' * 8191}, 200),
        ({"if-modified-since": SAME}, 304),
        ({"if-modified-since": "Sunday, 09-Sep-01 01:46:41 GMT"}, 304),
        ({"if-modified-since": "Sun, 09 Sep 2001 01:46:40 -0000"}, 304),
        ({"if-modified-since": BEFORE}, 200),
        ({"if-modified-since": "Fri, 02 Jan 99999 02:04:05 GMT"}, 200),
    ],
)
def test_client_that_has_it_gets_304(headers: dict[str, str], status: int) -> None:
    answer = if_modified(known(), headers)
    assert answer.status == status
    assert answer.header("cache-control") == "no-cache"
    if status == 304:
        assert (answer.body, answer.header("content-type")) == (b"", None)
        assert answer.header("etag") == '"v1"'


def test_condition_is_for_what_has_a_validator_and_is_a_200() -> None:
    wanted = {"if-none-match": "*", "if-modified-since": SAME}
    assert if_modified(Response("x"), wanted).status == 200
    assert if_modified(Response("x"), {"if-modified-since": SAME}).status == 200
    created = known()
    created.status = 201
    assert if_modified(created, wanted).status == 201
