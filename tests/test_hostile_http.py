"""Hostile HTTP on a running server: framing, targets, bodies and files.

Each row is sent whole, in halves, a byte at a time and cut at each CR, and must get the same
verdict every time; after each, the rules of `siege` must hold. The wire examples of
`test_http1` are sent here too, to see what they do to a server, and not only to its parser.
"""

from __future__ import annotations

import contextlib
import json
import re

import pytest
from siege import FILE, Attacker, InProcess
from test_http1 import VECTORS

GOOD = b"GET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n"
ATTACKED = FILE.with_name("web.rbr")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# Answers by the server itself, to what reaches no path.
BY_ITSELF = {"OPTIONS": 204, "CONNECT": 405}
# What our proxy refuses to say to others, and content that it takes, which ends a connection
# to the server itself; unless the answer is there before the content.
THROUGH_A_PROXY: dict[str, list[object]] = {
    "origin form as it is": [400],
    "content of an OPTIONS is content": [("GET", "/", "localhost", b""), 204, 200],
}


def statuses(said: bytes) -> list[int]:
    """Of all answers, which have no content that looks like one."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", said)]


def outcome(siege: InProcess, pieces: list[bytes], behind: bytes = b"") -> list[object]:
    """What handlers get of some bytes, and what their client is answered until the end."""
    siege.heard.clear()
    with Attacker(siege) as client:
        client.send(*pieces)
        if behind:
            client.send(behind)
        with contextlib.suppress(OSError):  # the server may have closed already
            client.leave("half")
        said = client.rest()
    return [*siege.heard, *statuses(said)]


# -- framing, lines, fields, targets, versions ---------------------------------------------


@pytest.mark.parametrize("claim", {row["claim"]: None for row in VECTORS})
def test_wire_example_gets_one_verdict_of_the_server_too(siege: InProcess, claim: str) -> None:
    for row in (row for row in VECTORS if row["claim"] == claim):
        expected: list[object] = []
        answered: list[int] = []
        for method, target, host, content in row["requests"]:
            if method in METHODS:
                known = host or siege.address
                expected.append((method, target, known, content.encode("latin-1")))
            answered.append(200 if method in METHODS else BY_ITSELF.get(method, 405))
            if content and method not in METHODS:  # the connection ends with what nobody wanted
                break
        if row["fault"]:
            answered.append(row["fault"])
        data, behind = row["bytes"].encode("latin-1"), GOOD if row["fault"] else b""
        if siege.rewrites and claim in THROUGH_A_PROXY:
            assert outcome(siege, [data], behind) in (THROUGH_A_PROXY[claim], expected + answered)
            continue
        verdict = siege.verdict(
            lambda pieces, behind=behind: outcome(siege, pieces, behind),  # type: ignore[misc]
            data,
        )
        assert verdict == expected + answered, row
    siege.holds()


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nHost: a\r\n", b"GET / HTTP/1.0\r\n"])
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"X: " + b"a" * 9000 + b"\r\n", 431),
        (b"X: a\r\n" * 101, 431),
        (b"X: a\r\n" * 170_000, 431),
        ((b"X: " + b"a" * 7000 + b"\r\n") * 5, 431),
        (b"X: a\r\n" * 90, 200),
        (b"Range: bytes=" + b"0-," * 2500 + b"\r\n", 200),
        (b"Range: bytes=" + b"9" * 8000 + b"-\r\n", 200),
        (b"If-None-Match: " + b'"' * 8000 + b"\r\n", 200),
        (b"If-Modified-Since: Thu, 01 Jan 99999 00:00:00 GMT\r\n", 200),
        (b"Accept-Encoding: " + b"," * 8000 + b"\r\n", 200),
        (b"Cookie: " + b"\\" * 8000 + b"\r\n", 200),
        (b"Cookie: " + b'"' * 8000 + b"\r\n", 200),
        (b"Cookie: " + b";=" * 4000 + b"\r\n", 200),
        (b"User-Agent: " + b"\x1b" * 10 + b"\r\n", 400),
        (b"User-Agent: " + b"\xff" * 8000 + b"\r\n", 200),
        (b"Connection: " + b"close," * 1000 + b"\r\n", 200),
        (b"Expect: 100-continue\r\n", 200),
        (b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade\r\n", 200),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_fields_of_all_sizes_are_read_in_no_time(
    siege: InProcess, head: bytes, fields: bytes, status: int
) -> None:
    def attempt(pieces: list[bytes]) -> list[object]:
        return outcome(siege, pieces)[-1:]

    assert siege.verdict(attempt, head + fields + b"\r\n") == [status]
    siege.holds()


def test_target_over_the_limit_is_414_as_soon_as_it_is(siege: InProcess) -> None:
    def attempt(pieces: list[bytes]) -> list[object]:
        return outcome(siege, pieces)

    assert siege.verdict(attempt, b"GET /" + b"a" * 9000) == [414]
    assert siege.verdict(attempt, b"G" * 9000) == [501]
    siege.holds()


GREETING = b"GET / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "more", "status"),
    [
        (b"GET /" + b"a" * 7900, b"a" * 300, 414),
        (GREETING + b"X: " + b"a" * 7900, b"a" * 300, 431),
        (GREETING + b"X: a\r\n" * 95, b"X: a\r\n" * 5, 431),
        (GREETING + (b"X: " + b"a" * 8000 + b"\r\n") * 4, b"X: " + b"a" * 800, 431),
        (CHUNKED, b"f" * 20, 400),
        (CHUNKED + b"5;", b"a" * 260, 400),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 1350, b"A: b\r\n" * 20, 431),
    ],
    ids=["target", "field", "fields", "head", "chunk size", "chunk extension", "trailers"],
)
def test_limit_is_met_by_single_bytes_too_and_nothing_more_is_kept(
    siege: InProcess, start: bytes, more: bytes, status: int
) -> None:
    """None of these comes to an end: who waited for one would collect for ever."""

    def attempt(pieces: list[bytes]) -> list[object]:
        return outcome(siege, [start, *pieces])

    assert siege.verdict(attempt, more) == [status]
    endless = [start, *[more * 1000] * 10]
    assert outcome(siege, endless) in ([status], [])  # [] if a reset overtook it
    siege.holds()


def test_what_is_no_http_is_one_line_in_the_log(siege: InProcess) -> None:
    for said, told in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), "this is TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "bad request line"),
        (bytes(range(256)) * 4096, "can't start with"),
        (b"\x1b[31mERROR forged\r\n", "can't start with"),
        (b"GET /\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n", "bad request line"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x1b: a\r\n\r\n", "bad header line"),
        (b"GET / HTTP/1.1\r\nHost: \xff" + b"a" * 7000 + b"\r\n\r\n", "bad Host"),
    ]:
        siege.start_row()
        assert outcome(siege, [said], GOOD) == [400]
        (line,) = siege.said.splitlines()
        assert told in line
        siege.holds()


# -- bodies --------------------------------------------------------------------------------


def test_a_million_chunks_of_one_byte_are_read_in_no_time(siege: InProcess) -> None:
    """`holds` says whether the loop was held up, and what memory was taken."""
    request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"1\r\nx\r\n" * 1_000_000 + b"0\r\n\r\n"
    siege.start_row()
    siege.heard.clear()
    with Attacker(siege) as client:
        client.send(request)
        assert client.answer()[0] == 200
    assert [len(body) for *_, body in siege.heard] == [1_000_000]
    siege.heard.clear()
    siege.holds()


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("target", [b"/files/none", b"/", b"/slow"])
def test_body_that_nobody_wants_is_not_read_and_no_request_is_found_in_it(
    siege: InProcess, target: bytes, framing: bytes
) -> None:
    """404, 413 and 405, with a gigabyte behind."""
    siege.heard.clear()
    with Attacker(siege) as client:
        client.send(b"POST %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (target, framing))
        part = GOOD * 1500
        if b"chunked" in framing:
            part = b"%x\r\n%b\r\n" % (len(part), part)
        for _ in range(100):
            client.send(part)
        said = client.rest()
    # The system may throw away an answer when more comes than is ever read.
    assert statuses(said) in ([404], [405], [413], [])
    assert siege.heard == []
    siege.holds()


def test_pipelined_requests_are_answered_in_their_order(siege: InProcess) -> None:
    slow = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            return [client.answer()[2] for _ in range(4)] + [client.answer()[0]]

    verdict = siege.verdict(attempt, slow + GOOD + slow + GOOD + b"\0")
    assert verdict == [b"slow", b"heard", b"slow", b"heard", 400]
    siege.holds()


NUMBERS = ["NaN", "[Infinity]", "-Infinity", "1e400", "-1E999", "9" * 5000]
TEXTS = [b"\xef\xbb\xbf1", "1".encode("utf-16"), b'"\xff"', b"", b'{"a":', b"[" * 100_000]


@pytest.mark.parametrize("body", [*(n.encode() for n in NUMBERS), *TEXTS], ids=lambda b: b[:9])
def test_json_that_is_none_is_400(siege: InProcess, body: bytes) -> None:
    request = siege.request("POST", "/json", body)
    assert siege.verdict(lambda pieces: outcome(siege, pieces), request) == [400]
    siege.holds()


def test_half_a_surrogate_pair_goes_out_as_it_came_in(siege: InProcess) -> None:
    with Attacker(siege) as client:
        assert client.ask("POST", "/json", rb'["\ud800"]') == (200, rb'["\ud800"]')
        assert json.loads(client.ask("POST", "/json", b'{"1": 1, "1": 2}')[1]) == {"1": 2}
    siege.holds()


BOUNDARY = b"multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n'
FILE_PART = PART[:-2] + b'; filename="b"\r\n\r\n'
FORMS = {
    "100,000 fields": (b"application/x-www-form-urlencoded", b"a=&" * 100_000, 400),
    "1,000,000 signs": (b"application/x-www-form-urlencoded", b"%" * 1_000_000, 200),
    "one name": (b"application/x-www-form-urlencoded", b"a=1&" * 900, 200),
    "20,000 parts": (BOUNDARY, (PART + b"\r\n\r\n") * 20_000 + b"--x--\r\n", 400),
    "no last boundary": (BOUNDARY, PART + b"\r\nfield\r\n", 400),
    "1 MiB of a part's header": (BOUNDARY, PART + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", 400),
    "a part's own length": (BOUNDARY, PART + b"Content-Length: +5\r\n\r\nab\r\n--x--\r\n", 400),
    "almost boundaries": (BOUNDARY, FILE_PART + b"\r\n--" * 400_000 + b"\r\n--x--\r\n", 200),
    "a field too large": (BOUNDARY, PART + b"\r\n" + b"a" * 1_500_000 + b"\r\n--x--\r\n", 413),
    "no boundary": (b"multipart/form-data", PART + b"\r\n\r\n--x--\r\n", 400),
    "no form at all": (b"text/plain", b"a=1", 200),
}


@pytest.mark.parametrize("row", FORMS)
def test_form_of_any_size_is_read_in_no_time(siege: InProcess, row: str) -> None:
    kind, body, status = FORMS[row]
    request = siege.request("POST", "/form", body, Content_Type=kind.decode())
    assert siege.verdict(lambda pieces: outcome(siege, pieces), request) == [status]
    siege.holds()


def test_echo_shows_nothing_that_a_script_must_not_see(siege: InProcess) -> None:
    with Attacker(siege) as client:
        body = b"<script>alert(1)</script>"
        client.send(siege.request("POST", "/echo", body, Cookie="a=secret", Authorization="secret"))
        status, fields, content = client.answer()
    assert status == 200
    assert fields["content-type"].startswith("text/plain")
    assert fields["x-content-type-options"] == "nosniff"
    assert b"secret" not in content
    siege.holds()


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "get", "PROPFIND", "PRI", "M" * 1000])
def test_method_that_no_path_has_is_405_and_reflects_nothing(siege: InProcess, method: str) -> None:
    request = siege.request(method, "/", b"body", Authorization="secret", Cookie="secret")

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            status, _, content = client.answer()
            assert b"secret" not in content
            assert b"body" not in content
            return [status]

    assert siege.verdict(attempt, request) == [405]
    siege.holds()


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_client_that_goes_in_the_middle_leaves_nothing(siege: InProcess, how: str) -> None:
    request = siege.request("POST", "/form", b"a=1", Content_Type="application/json")
    for end in range(0, len(request), 11):
        with Attacker(siege) as client:
            client.send(request[:end])
            client.leave(how)
            if how == "half":
                assert client.rest() == b""
    siege.holds()


EVERYTHING = """
    / /slow /nowhere/at/all /files/web.rbr /files/none /echo /form
    /__doc__ /__doc__/openapi.json /__api__ /__health__
""".split()


@pytest.mark.parametrize("target", EVERYTHING)
def test_head_of_everything_is_the_head_of_get(siege: InProcess, target: str) -> None:
    get, head = (siege.request(method, target) for method in ("GET", "HEAD"))

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            asked = client.answer(head=True)
            last = client.answer()
        return [asked[0], {**asked[1], "date": ""}, last[0], {**last[1], "date": ""}]

    *asked, status, fields = siege.verdict(attempt, head + get)
    assert asked == [status, fields]
    siege.holds()


# -- files -----------------------------------------------------------------------------------

TARGETS = """
    ../../etc/passwd  %2e%2e/%2e%2e/etc/passwd  ..%2f..%2fetc/passwd  %2e%2e%2f  ..
    %252e%252e%252fetc/passwd  ..%5c..%5cetc  ..\\..\\etc  a%00.html  %00  %c0%ae%c0%ae/etc
    %ff  /etc/passwd  %2fetc/passwd  //etc/passwd  .git/config  .hidden  web.py/  web.py/x
    web.py%20  web.py.  WEB.PY%00  CON  nul.txt  a/AUX  C:x  C:/x  %5c%5csrv%5cshare  web.py::$DATA
    <script>alert(1)</script>  %3Cscript%3E  %0d%0aSet-Cookie:a=b  %E2%80%AE
""".split()


@pytest.mark.parametrize("name", [*TARGETS, "a" * 300, "a" * 7000, "%61" * 2000, "a/" * 3000])
def test_name_that_leads_nowhere_is_404_or_400(siege: InProcess, name: str) -> None:
    request = siege.request("GET", f"/files/{name}")

    def attempt(pieces: list[bytes]) -> list[object]:
        with Attacker(siege) as client:
            client.send(*pieces)
            status, fields, content = client.answer()
            assert b"root:" not in content
            assert b"<script" not in content
            assert "location" not in fields
            assert "set-cookie" not in fields
            return [status]

    assert siege.verdict(attempt, request)[0] in (400, 404)
    siege.holds()


def test_file_is_served_all_the_same(siege: InProcess) -> None:
    with Attacker(siege) as client:
        for name in ("web.rbr", "%77eb.rbr", "./web.rbr", "x/../web.rbr"):
            status, _ = client.ask("GET", f"/files/{name}")
            assert status in ((200,) if "./" not in name else (400, 404)), name
    siege.holds()
