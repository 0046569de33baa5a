"""Who asked, through proxies that are trusted, and through others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from wire import ask, live, run

from redbarrel_lite.forwarded import Origin, seen_through, trust
from redbarrel_lite.gate import Gate

TRUSTED = trust(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"])

CASES = {
    "no proxy has said anything": ({}, Origin("127.0.0.1")),
    "one proxy": ({"x-forwarded-for": "1.2.3.4"}, Origin("1.2.3.4")),
    "scheme and host": (
        {
            "x-forwarded-for": "1.2.3.4",
            "x-forwarded-proto": "HTTPS",
            "x-forwarded-host": "Example.org:8443",
        },
        Origin("1.2.3.4", "https", "example.org:8443"),
    ),
    "a port of no digits, as a Host may have": (
        {"x-forwarded-for": "1.2.3.4", "x-forwarded-host": "a:"},
        Origin("1.2.3.4", None, "a:"),
    ),
    "a client that lies": ({"x-forwarded-for": "6.6.6.6, 1.2.3.4"}, Origin("1.2.3.4")),
    "two proxies": ({"x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.1.1.1"}, Origin("1.2.3.4")),
    "all of them trusted": ({"x-forwarded-for": "10.0.0.2, 10.0.0.1"}, Origin("10.0.0.2")),
    "with ports": ({"x-forwarded-for": "1.2.3.4:5678"}, Origin("1.2.3.4")),
    "rubbish": (
        {"x-forwarded-for": "<script>", "x-forwarded-proto": "gopher", "x-forwarded-host": "a b"},
        Origin("127.0.0.1"),
    ),
    "longer than any address": ({"x-forwarded-for": "a" * 46}, Origin("127.0.0.1")),
    "as long as the longest": (
        {"x-forwarded-for": "2001:0db9:0000:0000:0000:ffff:255.255.255.255"},
        Origin("2001:0db9:0000:0000:0000:ffff:255.255.255.255"),
    ),
    "the standard": (
        {"forwarded": 'for="[2001:db9::1]:4711";proto=https;host="a.example"'},
        Origin("2001:db9::1", "https", "a.example"),
    ),
    "the standard, two hops": (
        {"forwarded": 'for=6.6.6.6, for=1.2.3.4;proto=https, for="[2001:db8::1]"'},
        Origin("1.2.3.4", "https"),
    ),
    "both: the standard is the client's own": (
        {"forwarded": "for=6.6.6.6;host=evil;proto=https", "x-forwarded-for": "1.2.3.4"},
        Origin("1.2.3.4"),
    ),
    "both, and the proxy tells no address": (
        {"forwarded": "for=6.6.6.6;host=evil", "x-forwarded-proto": "https"},
        Origin("127.0.0.1", "https"),
    ),
    "hidden": ({"forwarded": "for=_hidden;proto=http"}, Origin("127.0.0.1", "http")),
    "not the standard": ({"forwarded": ";;,,=", "x-forwarded-for": "1.2.3.4"}, Origin("1.2.3.4")),
}


@pytest.mark.parametrize("name", CASES)
def test_trusted_proxy_is_believed(name: str) -> None:
    headers, origin = CASES[name]
    assert seen_through(headers, "127.0.0.1", TRUSTED) == origin
    assert seen_through(headers, "::ffff:127.0.0.1", TRUSTED).address in (
        origin.address,
        "::ffff:127.0.0.1",
    )


@pytest.mark.parametrize("peer", ["8.8.8.8", "", "rubbish", "2001:db9::1"])
@pytest.mark.parametrize("name", CASES)
def test_others_are_not(name: str, peer: str) -> None:
    assert seen_through(CASES[name][0], peer, TRUSTED) == Origin(peer)


def test_unix_socket_is_trusted_by_its_name() -> None:
    assert "" in trust(["unix"])
    assert "127.0.0.1" not in trust(["unix"])
    with pytest.raises(ValueError, match="does not appear to be"):
        trust(["everybody"])


def test_request_is_seen_through_the_proxy(tmp_path: Path) -> None:
    rbr = "path who ( url /who, use python:MODULE.who );"
    source = "def who(request): return [request.remote_addr, request.scheme, request.host]"

    async def who(url: str) -> object:
        _, _, body = await ask(
            url,
            "GET",
            "/who",
            X_Forwarded_For="1.2.3.4",
            X_Forwarded_Proto="https",
            X_Forwarded_Host="b",
        )
        return json.loads(body)

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            assert await who(server.url) == ["127.0.0.1", "http", "a"]
            server.server.gate = Gate(trusted=trust(["127.0.0.0/8"]))
            assert await who(server.url) == ["1.2.3.4", "https", "b"]

    run(test())
