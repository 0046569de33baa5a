"""What a request holds: its form, its JSON, and the values of its fields.

The laws: only what names the fault escapes; a form is read alike from memory and from
disk, in blocks of any size, and one that is written is read as it was; where the standard
library reads the same, it agrees; no answer is larger than what it was asked of.
"""

from __future__ import annotations

import json
import random
import urllib.parse
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, Final

from redbarrel_lite import deflate, forms, strictjson
from redbarrel_lite.cookies import parse_cookies
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.forms import BadContent, Body, Spool, Upload, parse_form, parse_urlencoded
from redbarrel_lite.forwarded import seen_through, trust
from redbarrel_lite.selection import MAX_RANGES, byte_ranges, http_date, prefers_gzip
from redbarrel_lite.wsproto_handshake import choose_subprotocol

from .laws import Broken, Target, blamed, chance_of, gist, hold, same

MULTIPART: Final = "multipart/form-data; boundary=XX"
HEAD: Final = b'Content-Disposition: form-data; name="a"'
TRUSTED: Final = trust(["127.0.0.1"])


class Forms(Target):
    """The body of a POST, as a form of both kinds."""

    name: ClassVar[str] = "forms"
    tokens = (
        *(b"\r\n--XX\r\n", b"\r\n--XX--", b"--XX", b"\r\n\r\n", b"\r\n", b"\r", b"\n", b"\r\n--X"),
        *(HEAD, b'; filename="b"', b"; filename=", b'; name="', b'\\"', b"%22", b"Content-Type: "),
        *(b"Content-Transfer-Encoding: base64", b"Content-Length: +5", b"form-data", b"attachment"),
        *(b"a=b&", b"&", b"=", b"%", b"%4", b"%41", b"%ff", b"%C3%A9", b"+", b";", b"&" * 1001),
        *(b"\0", b"\xff", b"\xc3", b"../", b"\\", b"--XX--\r\n" * 3),
    )
    rooms = "forms"

    def seeds(self) -> Iterator[bytes]:
        yield from (b"", b"a=1&b=2", b"a=%41+%C3%A9&a&=&&=x", b"--XX--", b"--XX--\r\nignored")
        for seed in range(10):
            yield written(*some_fields(random.Random(seed).randbytes(60)))

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        return written(*some_fields(parts()[:200]))

    def check(self, data: bytes) -> Hashable:
        usual = read(data, 64 * 1024)
        for block in (1, chance_of(data).choice([2, 3, 7, 20])):
            if len(data) <= 1000:
                same(read(data, block), usual, "a form is read alike in all blocks")
        if len(data) % 8 == 0:
            spool = Spool()
            spool.add(data)
            same(read(spool, 64 * 1024), usual, "a form is read alike from disk")
        check_urlencoded(data)
        fields, files = some_fields(data[:300])
        wanted = [(name, value) for name, _, value in [*fields, *files]]
        same(read(written(fields, files), 64 * 1024), wanted, "a form is read as written")
        return len(usual) if isinstance(usual, list) else gist(usual[0])


def read(body: Body, block: int) -> Any:
    """The fields of a multipart body, files as their content; or the fault."""
    before = forms._READ_BYTES
    forms._READ_BYTES = block  # type: ignore[misc]
    try:
        fields = parse_form(MULTIPART, body).items()
    except BadContent as error:
        hold(error.code in (400, 413), "a bad form is 400 or 413")
        return blamed(error)
    finally:
        forms._READ_BYTES = before  # type: ignore[misc]
    read = [(name, one.value if isinstance(one, Upload) else one) for name, one in fields]
    for _, one in fields:
        if isinstance(one, Upload):
            hold(not set("/\\") & set(one.filename), "the name of a file has no path")
    size = body.size if isinstance(body, Spool) else len(body)
    hold(sum(len(name) + len(value) for name, value in read) <= size, "a form is no larger")
    return read


def some_fields(data: bytes) -> tuple[list[Any], list[Any]]:
    """Fields and files made of some bytes, each a name, the name of a file, and a content."""
    chance = chance_of(data)
    fields, files = [], []
    for number in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        # No delimiter may stand in a content: that is what a boundary is chosen for.
        content = data[at : at + chance.choice([0, 1, 20, 100])].replace(b"--XX", b"_")
        fields.append((f"f{number}", None, content.decode(errors="replace")))
        files.append((f"é{number}", f"n{number}", content))
    return fields, files


def written(fields: list[Any], files: list[Any]) -> bytes:
    """A multipart body."""
    parts = []
    for name, filename, content in [*fields, *files]:
        head = f'Content-Disposition: form-data; name="{name}"'
        head += f'; filename="{filename}"' if filename else ""
        value = content if isinstance(content, bytes) else content.encode()
        parts.append(b"--XX\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n")
    return b"".join(parts) + b"--XX--"


def check_urlencoded(data: bytes) -> None:
    """As the standard library does, where it says the same of texts."""
    try:
        ours: Any = parse_urlencoded(data)
    except BadContent as error:
        blamed(error)
        return
    lenient = parse_urlencoded(data, "replace")
    same(lenient, ours, "what is UTF-8 needs no replacement")
    if data.isascii():
        theirs = urllib.parse.parse_qsl(data.decode(), keep_blank_values=True, errors="strict")
        same(ours, theirs, "an urlencoded form is what the standard library reads")


class Fields(Target):
    """The value of a header field, whichever it is of; and a JSON body."""

    name: ClassVar[str] = "fields"
    tokens = (
        *(
            b"bytes=",
            b"0-",
            b"-5",
            b"5-2",
            b",",
            b";",
            b"=",
            b'"',
            b"q=0",
            b"q=1.000",
            b"gzip",
            b"*",
        ),
        *(b"identity", b"a=b; ", b"permessage-deflate", b"server_max_window_bits=9", b" ", b"\t"),
        *(b"client_no_context_takeover", b"Sun, 06 Nov 1994 08:49:37 GMT", b"31 Feb", b"W/", b"\\"),
        *(b"for=1.2.3.4", b"host=", b"proto=https", b'for="[::1]:80"', b"127.0.0.1", b"unknown"),
        *(b"[", b"]", b"{", b"}", b":", b"1e400", b"NaN", b"-0", b"9" * 401, b"\\ud800", b"[" * 65),
        *(b"null", b"true", b"\xef\xbb\xbf", b"\xff", b'"a":1', b"\x00"),
    )
    rooms = "cookies selection deflate forwarded wsproto_handshake strictjson"

    def seeds(self) -> Iterator[bytes]:
        yield from (b"bytes=0-0,5-,-3", b"gzip;q=0.5, *;q=0", b'a=b; c="d"; e', b"chat, soap")
        yield from (b"permessage-deflate; server_max_window_bits=10", b"for=1.2.3.4;host=a, for=b")
        yield from (b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT")
        yield from (
            b"Sun Nov  6 08:49:37 1994",
            b'{"a":[1,2.5,"x",null,true]}',
            b'"\\ud83d\\ude00"',
        )
        yield b'W/"a", "b", *'

    def check(self, data: bytes) -> Hashable:
        value = data.decode("latin-1")
        check_cookies(value)
        agreement = check_extensions(value)
        hold(choose_subprotocol([value], ["chat", "soap"]) in ("", "chat", "soap"), "one of ours")
        chosen = choose_subprotocol([value], None)
        hold(chosen.isascii() and not set(' ,;"') & set(chosen), "a subprotocol is a token")
        date = http_date(value)
        hold(date is None or abs(date) < 10**12, "a date is one of this calendar")
        for name in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"):
            check_origin({name: value})
        found = [check_ranges(value, size) for size in (0, 1, 10, 10**6)]
        return prefers_gzip(value), agreement, chosen == "", date is None, found[2], json_of(data)


def check_cookies(value: str) -> None:
    """What is read can be sent again, and is read as it was."""
    cookies = parse_cookies([value])
    again = "; ".join(f"{name}={one}" for name, one in cookies.items())
    trimmed = {name: one.strip(" ") for name, one in cookies.items()}
    hold({n: v.strip(" ") for n, v in parse_cookies([again]).items()} == trimmed, "cookies last")
    hold(sum(map(len, cookies)) <= len(value), "cookies are no longer than their field")


def check_extensions(value: str) -> bool:
    try:
        agreement = deflate.accept([value])
    except RemoteProtocolError as error:
        same(blamed(error)[1], 400, "a bad offer is a bad request")
        return False
    if agreement is not None:
        hold(9 <= agreement.window_bits <= 15, "a window is one that we have")
        hold(len(agreement.response) < 120, "an answer is short")
    return agreement is not None


def check_origin(headers: dict[str, str]) -> None:
    origin = seen_through(headers, "127.0.0.1", TRUSTED)
    for part in (origin.address, origin.scheme or "", origin.host or ""):
        hold(part.isascii() and part.isprintable(), "an origin can be logged")
        hold(not set(" <>\"'/\\@") & set(part), "an origin is no more than one")


def check_ranges(value: str, size: int) -> int:
    ranges = byte_ranges(value, size)
    if ranges is None:
        return -1
    hold(len(ranges) <= MAX_RANGES, "ranges are few")
    hold(sum(count for _, count in ranges) <= size, "ranges are no more than the whole")
    hold(all(start >= 0 and start + n <= size and n > 0 for start, n in ranges), "and inside")
    return len(ranges)


def json_of(data: bytes) -> str:
    """Strict JSON is JSON, and comes back as it was."""
    try:
        value = strictjson.loads(data)
    except ValueError as error:
        hold(len(str(error)) <= 200, "a reason is short")
        return type(error).__name__
    try:
        theirs = json.loads(data)
    except ValueError:
        raise Broken("what is strict JSON is JSON") from None
    same(json.dumps(theirs), json.dumps(value), "JSON is what the standard library reads")
    same(json.dumps(strictjson.loads(strictjson.dumps(value))), json.dumps(value), "JSON lasts")
    return type(value).__name__
