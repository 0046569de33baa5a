"""Cookies: what is read of them, and what may be set."""

from __future__ import annotations

import time
from typing import Any

import pytest

from redbarrel_lite.cookies import parse_cookies, set_cookie, with_secure

PLAIN: dict[str, Any] = {
    "max_age": None,
    "path": "/",
    "domain": None,
    "secure": False,
    "httponly": True,
    "samesite": "Lax",
}


def made(name: str = "a", value: str = "b", **more: Any) -> str:
    return set_cookie(name, value, **{**PLAIN, **more})


@pytest.mark.parametrize(
    ("field", "cookies"),
    [
        ("a=1", {"a": "1"}),
        ("a=1; b=2;c=3 ;\td=4", {"a": "1", "b": "2", "c": "3", "d": "4"}),
        ("a=", {"a": ""}),
        ('a="quoted"', {"a": "quoted"}),
        ("a=b=c==", {"a": "b=c=="}),
        ("a=x y, z", {"a": "x y, z"}),
        ("a=first; a=second", {"a": "first"}),
        ("", {}),
        (";;; ; =; =x; x", {}),
        ("a b=1; c=2", {"c": "2"}),
        ('a="open; b="1; c=2"; d=3', {"d": "3"}),
        (r'a="\073"; b=\; c=1', {"c": "1"}),
        ("a=\x80; b=\x7f; c=\t1; d=1", {"d": "1"}),
    ],
)
def test_cookies_are_read_and_bad_pairs_dropped(field: str, cookies: dict[str, str]) -> None:
    assert parse_cookies([field]) == cookies


def test_two_fields_are_one_after_the_other() -> None:
    assert parse_cookies(["a=1", "a=2; b=3"]) == {"a": "1", "b": "3"}


@pytest.mark.parametrize("text", ["\\", '"', ";=", '="', '"\\"', "a=", 'a="', "a=1;", " ", "\\0"])
def test_time_to_read_grows_with_the_length_only(text: str) -> None:
    """Two hundred times what a header may have, in what a quadratic reader takes for one."""
    field = text * (200 * 8192 // len(text))
    begun = time.process_time()
    parse_cookies([field, 'a="' + field])
    assert time.process_time() - begun < 5


def test_cookie_is_hidden_from_scripts_and_other_sites_unless_told() -> None:
    assert made() == "a=b; Path=/; SameSite=Lax; HttpOnly"
    assert made(httponly=False, samesite=None) == "a=b; Path=/"
    assert made(max_age=60, domain="a.example", path="/x", secure=True, samesite="None") == (
        "a=b; Max-Age=60; Domain=a.example; Path=/x; SameSite=None; HttpOnly; Secure"
    )
    assert made("__Host-a", secure=True).startswith("__Host-a=b; Path=/; ")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"name": ""}, "bad cookie name ''"),
        ({"name": "a b"}, "bad cookie name"),
        ({"name": "a=b"}, "bad cookie name"),
        ({"name": "é"}, "bad cookie name"),
        ({"value": "x; Domain=evil"}, "bad cookie value.*urllib"),
        ({"value": "x\r\nSet-Cookie: y=z"}, "bad cookie value"),
        ({"value": 'x"'}, "bad cookie value"),
        ({"value": "a b"}, "bad cookie value"),
        ({"value": "a,b"}, "bad cookie value"),
        ({"value": "a\\b"}, "bad cookie value"),
        ({"value": "é"}, "bad cookie value"),
        ({"value": "x" * 4096}, "over 4096 bytes"),
        ({"path": "x"}, "bad cookie path"),
        ({"path": "/;"}, "bad cookie path"),
        ({"path": "/\n"}, "bad cookie path"),
        ({"domain": "a;b"}, "bad cookie domain"),
        ({"domain": "a b"}, "bad cookie domain"),
        ({"domain": ""}, "bad cookie domain"),
        ({"samesite": "lax"}, "bad samesite 'lax'"),
        ({"samesite": "None"}, "must be secure"),
        ({"name": "__Secure-a"}, "must be secure"),
        ({"name": "__Host-a", "secure": True, "path": "/x"}, "must have the path /"),
        ({"name": "__host-a", "secure": True, "domain": "a"}, "must have the path /"),
    ],
)
def test_cookie_that_would_not_arrive_as_meant_is_refused(
    more: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        made(**more)


def test_secure_is_added_once() -> None:
    assert with_secure("a=b; Path=/") == "a=b; Path=/; Secure"
    assert with_secure("a=b;secure; Path=/") == "a=b;secure; Path=/"
    assert with_secure("secure=b") == "secure=b; Secure"
