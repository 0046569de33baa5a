"""h11 as an oracle for `http1`: another's strict reading of the same RFC, over many requests.

Each case is a stream of one or two requests, valid or a few mutations away from it,
made from a seed. What has to hold:

- ours accepts nothing that h11 refuses, and reads the same from what it accepts;
- each request that only ours refuses is refused by a rule, which its message cites.

RBL_SEED=N repeats the run that printed N.
"""

from __future__ import annotations

import importlib
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from peers import missing

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.http1 import END_OF_MESSAGE, Connection, Request

pytestmark = pytest.mark.interop

REQUESTS = 50_000
DEFAULT_SEED = 9112
# The rule in a message of ours: a section of an RFC, or the limit that was passed.
RULE = re.compile(r"\((RFC \d{4} [\d.]+)[^)]*\)|(over \d+ [a-z ]+)")


class Message(NamedTuple):
    """One whole request."""

    method: bytes
    target: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    content: bytes


class Verdict(NamedTuple):
    """The requests that came whole, and the fault that ended them, if one did."""

    messages: list[Message]
    fault: str = ""
    closes: bool = False  # the last one says that nothing comes after it


# -- the two readers ---------------------------------------------------------------


def ours(pieces: list[bytes]) -> Verdict:
    connection = Connection()
    messages: list[Message] = []
    head: Request | None = None
    content = b""
    for piece in pieces:
        events = connection.receive(piece)
        while events:
            for event in events:
                if isinstance(event, RemoteProtocolError):
                    return Verdict(messages, str(event))
                if isinstance(event, Request):
                    head = event
                elif isinstance(event, bytes):
                    content += event
            if events[-1] is not END_OF_MESSAGE:
                break
            assert head is not None
            messages.append(of_ours(head, content))
            content = b""
            if not head.keep_alive:
                return Verdict(messages, closes=True)
            events = connection.next_request()
    return Verdict(messages)


def of_ours(head: Request, content: bytes) -> Message:
    fields = tuple((name.encode(), value.encode("latin-1")) for name, value in head.headers)
    return Message(
        head.method.encode(), head.target.encode(), head.version.encode(), lower(fields), content
    )


def theirs(h11: Any, stream: bytes) -> Verdict:
    """What h11 makes of it, a connection of its own for each request.

    So it goes on where it would close by itself, which says nothing about reading:
    after HTTP/1.0 with keep-alive, of which it knows nothing. Nor does it take the
    empty lines in front of a request, that RFC 9112 2.2 wants ignored.
    """
    messages: list[Message] = []
    while stream := without_empty_lines(stream):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**17)
        connection.receive_data(stream)
        try:
            message = read_one(h11, connection)
        except h11.RemoteProtocolError as error:
            return Verdict(messages, str(error))
        if message is None:
            break
        messages.append(message)
        stream = connection.trailing_data[0]
    return Verdict(messages)


def without_empty_lines(stream: bytes) -> bytes:
    while stream.startswith(b"\r\n"):
        stream = stream[2:]
    return stream


def read_one(h11: Any, connection: Any) -> Message | None:
    head: Any = None
    content = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            fields = lower(tuple(head.headers))
            return Message(head.method, head.target, head.http_version, fields, content)
        else:
            assert event is h11.NEED_DATA, event
            return None


def lower(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Fields with the one value that h11 changes put into lower case in both."""
    return tuple((n, v.lower() if n == b"transfer-encoding" else v) for n, v in headers)


# -- requests ----------------------------------------------------------------------

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"get", b"M-SEARCH", b"!#"]
TARGETS = [b"/", b"/a?b=c", b"/%2e%2e/x", b"//evil/", b"/a;b=c,d", b"/" + b"x" * 300, b'/"']
HOSTS = [b"a", b"a:80", b"localhost", b"127.0.0.1:8000", b"[::1]:80", b"a.b-c"]
NAMES = [b"Accept", b"X-A", b"cookie", b"User-Agent", b"~", b"Transfer_Encoding", b"Expect"]
VALUES = [b"", b"a", b"*/*", b"a, b", b"a\tb", b"\xe9", b'"q\\"uoted"', b"100-continue"]
EXTENSIONS = [b"", b"", b"", b";a", b";a=b", b';a="b c"', b"; a = b", b';a="\\""']
SIZES = [b"%x", b"%X", b"0%x", b"%04x"]
# What a mutation puts in: each has been a difference between two real parsers once.
BLANKS = [b" ", b"\t", b"  ", b"\x0b", b"\x0c", b"\xa0", b"\x85", b"\x00", b"\x1c", b"\x7f"]
BREAKS = [b"\r", b"\n", b"\r\r\n", b"\n\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b"\n\r\n", b"\r\n"]
DELIMITERS = [
    b":",
    b";",
    b",",
    b"=",
    b'"',
    b"(",
    b"@",
    b"/",
    b"#",
    b"?",
    b"%",
    b"\\",
    b"[",
    b"\xff",
]
NUMBERS = [b"+5", b"-1", b"0x5", b"5_0", b"5, 5", b"5 5", b"", b"\xb2", b"9" * 19, b"f" * 17, b"05"]
CODINGS = [b"chunked", b"Chunked", b"gzip, chunked", b"chunked, chunked", b"identity", b"xchunked"]
VERSIONS = [b"1.0", b"1.1", b"1.2", b"2.0", b"0.9", b"1.10", b"01.1", b"1", b"1.1 ", b"3.0", b"1,1"]
BAD_HOSTS = [b"a, b", b"u@a", b"a/b", b"a b", b"[::1", b"a:99999", b"a:b", b"a\x00", b"\xe9", b""]
OTHER_TARGETS = [b"*", b"a:443", b"http://a/x", b"http://b/", b"https://a", b"http://u@a/", b"x"]
OTHER_TARGETS += [b"/a#b", b"/\xff", b"/\x01", b"/a b", b"\\\\a"]


def valid(chance: random.Random) -> bytes:
    """A request that both must take."""
    others = chance.randrange(4)
    fields = [(chance.choice(NAMES), chance.choice(VALUES)) for _ in range(others)]
    fields.append((b"Host", chance.choice(HOSTS)))
    content = b""
    framing = chance.randrange(4)
    if framing == 1:
        content = chance.randbytes(chance.randrange(40))
        fields.append((b"Content-Length", b"%d" % len(content)))
    elif framing == 2:
        content = chunked(chance)
        fields.append((b"Transfer-Encoding", b"chunked"))
    if not chance.randrange(8):
        fields.append((b"Connection", chance.choice([b"close", b"keep-alive", b"x, close"])))
    chance.shuffle(fields)
    blank = chance.choice([b" ", b" ", b"", b"\t", b"  "])
    lines = [b"%b:%b%b\r\n" % (name, blank, value) for name, value in fields]
    version = b"1.0" if framing != 2 and not chance.randrange(10) else b"1.1"
    line = b"%b %b HTTP/%b\r\n" % (chance.choice(METHODS), chance.choice(TARGETS), version)
    return line + b"".join(lines) + b"\r\n" + content


def chunked(chance: random.Random) -> bytes:
    parts = []
    for _ in range(chance.randrange(4)):
        data = chance.randbytes(chance.randrange(1, 30))
        size = chance.choice(SIZES) % len(data) + chance.choice(EXTENSIONS)
        parts.append(b"%b\r\n%b\r\n" % (size, data))
    trailers = chance.choice([b"", b"", b"", b"X: y\r\n", b"A: b\r\nC:\r\n"])
    return b"".join(parts) + b"0\r\n" + trailers + b"\r\n"


Mutation = Callable[[random.Random, bytes], bytes]


def put_in(chance: random.Random, request: bytes) -> bytes:
    at = place(chance, request)
    return request[:at] + chance.choice(BLANKS + BREAKS + DELIMITERS) + request[at:]


def take_out(chance: random.Random, request: bytes) -> bytes:
    at = place(chance, request)
    return request[:at] + request[at + chance.choice([1, 1, 2, 4]) :]


def exchange(chance: random.Random, request: bytes) -> bytes:
    at = place(chance, request)
    return (
        request[:at] + chance.choice([b"\r", b"\n", b" ", chance.randbytes(1)]) + request[at + 1 :]
    )


def place(chance: random.Random, request: bytes) -> int:
    """Mostly where something ends or begins."""
    seams = [match.start() for match in re.finditer(rb"[ \t:;,=\r\n]|(?<=[ :\n])", request)]
    return (
        chance.choice(seams) if seams and chance.random() < 0.7 else chance.randrange(len(request))
    )


def add_line(chance: random.Random, request: bytes) -> bytes:
    """Another field, somewhere among the others or among the chunks."""
    line = chance.choice(
        [
            b"Content-Length: %b" % chance.choice([b"0", b"5", *NUMBERS]),
            b"Transfer-Encoding: %b" % chance.choice(CODINGS),
            b"Host: %b" % chance.choice(HOSTS + BAD_HOSTS),
            b"%b: x" % chance.choice([b"", b"a b", b"a(", b"\xe9", b"a\x00", b"a\t", b" a"]),
            b"Connection: %b" % chance.choice([b"close", b"Host", b"upgrade", b"close\x0b"]),
            b"Upgrade: %b" % chance.choice([b"websocket", b"h2c"]),
            b" folded",
            b"no colon",
            b"X: " + b"x" * chance.choice([100, 8190, 9000]),
            b"\r\n".join([b"A: b"] * chance.choice([2, 99, 101])),
        ]
    )
    breaks = [match.end() for match in re.finditer(rb"\r\n", request)] or [0]
    at = chance.choice(breaks)
    return request[:at] + line + b"\r\n" + request[at:]


def replace(pattern: bytes, values: list[bytes]) -> Mutation:
    """The value of something, where the request has it."""
    searched = re.compile(pattern, re.MULTILINE)

    def mutate(chance: random.Random, request: bytes) -> bytes:
        found = list(searched.finditer(request))
        if not found:
            return put_in(chance, request)
        match = chance.choice(found)
        return request[: match.start(1)] + chance.choice(values) + request[match.end(1) :]

    return mutate


MUTATIONS: list[Mutation] = [
    put_in,
    put_in,
    take_out,
    exchange,
    add_line,
    replace(rb"^Content-Length:[ \t]*(\d+)", NUMBERS),
    replace(rb"^Transfer-Encoding:[ \t]*(\w+)", CODINGS),
    replace(rb"^Host:[ \t]*([^\r]*)", BAD_HOSTS),
    replace(rb"^([0-9A-Fa-f]+)(?:;[^\r\n]*)?\r\n", [*NUMBERS, b"g", b" 5", b"5 ", b"1" * 300]),
    replace(
        rb"^[0-9A-Fa-f]+(;[^\r\n]*)\r\n", [b";", b";=", b' ;a="b"', b";a=\x00", b"\t;a", b";a "]
    ),
    replace(rb"HTTP/([0-9.]+)\r\n", VERSIONS),
    replace(rb"^\S+ (\S+) HTTP/", OTHER_TARGETS),
    replace(rb"^(\S+) \S+ HTTP/", [b"", b"G(T", b"\x16", b"CONNECT", b" GET", b"G" * 9000, b"PRI"]),
    replace(
        rb"^([A-Za-z-]+):", [b"", b"a b", b"a ", b"\xe9", b"Content-Length", b"Content_Length"]
    ),
    replace(rb"(\r\n)", BREAKS),
]


def near_valid(chance: random.Random) -> bytes:
    request = valid(chance)
    for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3])):
        if request:
            request = chance.choice(MUTATIONS)(chance, request)
    return request


# -- the comparison ----------------------------------------------------------------


def test_ours_accepts_nothing_that_h11_refuses() -> None:
    try:
        h11 = importlib.import_module("h11")
    except ImportError as error:
        missing(f"no h11: {error}")
    seed = int(os.environ.get("RBL_SEED", DEFAULT_SEED))
    chance = random.Random(seed)
    rules: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    made = 0
    while made < REQUESTS:
        requests = [near_valid(chance) for _ in range(chance.choice([1, 1, 2]))]
        made += len(requests)
        stream = b"".join(requests)
        cut = chance.randrange(len(stream) + 1)
        here, there = ours([stream[:cut], stream[cut:]]), theirs(h11, stream)
        rule = judged(here, there, f"seed {seed}: {stream!r}\nours {here}\nh11 {there}")
        if rule:
            rules[rule] += 1
        else:
            alike["refused by both" if here.fault else "taken by both"] += 1
    print(
        f"\nh11 {h11.__version__}, seed {seed}: {made} requests; {dict(alike)}; only ours refuses:"
    )
    for rule, count in rules.most_common():
        print(f"{count:7} {rule}")
    # A run that compares nothing proves nothing.
    assert min(alike["refused by both"], alike["taken by both"], rules.total()) > made // 50


def judged(here: Verdict, there: Verdict, case: str) -> str:
    """The rule by which only ours refuses; "" if both say the same. Fails where ours is wrong."""
    read = len(here.messages)
    for mine, other in zip(here.messages, there.messages, strict=False):
        assert same(mine, other), case
    assert read <= len(there.messages), f"h11 refuses what ours accepts: {case}"
    if not here.fault or (there.fault and read == len(there.messages)):
        assert here.closes or read == len(there.messages), f"ours doesn't read it: {case}"
        return ""
    match = RULE.search(here.fault)
    assert match, f"no rule for it: {case}"
    return match[1] or match[2]


def same(mine: Message, other: Message) -> bool:
    """An absolute target is where ours reads more: it hands on the path (RFC 9112 3.2.2)."""
    if other.target.lower().startswith(b"http"):
        other = other._replace(target=mine.target)
    return mine == other
