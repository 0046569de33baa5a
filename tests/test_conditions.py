"""Rules: what they let in and out, around every kind of service, over real connections."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from wire import SOCKET_IO, Poller, Wire, ask, live, run, until

from redbarrel_lite import conditions
from redbarrel_lite.app import App
from redbarrel_lite.conditions import BUILT_IN_TYPES, made, with_last
from redbarrel_lite.errors import AppError
from redbarrel_lite.server import Server


@pytest.mark.parametrize(
    ("name", "value", "is_one"),
    [
        ("json", b'{"a": [1]}', True),
        ("json", '"x"', True),
        ("json", b"", False),
        ("json", b"{", False),
        ("json", b"NaN", False),
        ("json", b"\xff", False),
        ("json", "[" * 100_000, False),
        ("int", "12", True),
        ("int", b" -3\n", True),
        ("int", "+3", True),
        ("int", "1_000", False),
        ("int", "1.0", False),
        ("int", "", False),
        ("int", "٣", False),
        ("int", b"\xff", False),
        ("int", "9" * 1_000_000, True),
        ("float", "1", True),
        ("float", "-1.5e-3", True),
        ("float", ".5", True),
        ("float", "5.", True),
        ("float", ".", False),
        ("float", "nan", False),
        ("float", "inf", False),
        ("float", "1e", False),
    ],
)
def test_built_in_type(name: str, value: str | bytes, is_one: bool) -> None:
    try:
        assert BUILT_IN_TYPES[name](value) is is_one
    except ValueError:
        assert not is_one


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda value: (value,), (3,)),
        (lambda request, value: (request, value), (2, 3)),
        (lambda globs, request, value: (globs, request, value), (1, 2, 3)),
        (lambda globs, request, value, more="x": (globs, request, value, more), (1, 2, 3, "x")),
        (lambda *args: args, (1, 2, 3)),
        (str, "3"),
    ],
)
def test_function_gets_as_many_of_the_last_as_it_takes(function: Any, expected: object) -> None:
    assert with_last(function, "f")(1, 2, 3) == expected


def takes_four(a: int, b: int, c: int, d: int) -> int:
    return a + b + c + d


@pytest.mark.parametrize("function", [lambda: None, takes_four])
def test_function_that_cannot_be_called_with_a_value_is_refused(function: Any) -> None:
    with pytest.raises(AppError, match=r"'f' takes \d arguments"):
        with_last(function, "f")


def test_class_and_factory_are_called_once() -> None:
    class Checker:
        def __call__(self, value: object) -> str:
            return f"checked {value}"

    assert made(Checker, "x")(1) == "checked 1"

    def factory() -> Checker:
        return Checker()

    assert made(factory, "x")(1) == "checked 1"
    checker = Checker()
    assert made(checker, "x") is checker
    assert made(len, "x") is len
    with pytest.raises(AppError, match="'x' is not callable but of type int"):
        made(3, "x")
    with pytest.raises(AppError, match="'x' fails: ZeroDivisionError"):
        made(lambda: 1 / 0, "x")


RBR = """
global secret "sesame";
global guard python:MODULE.Guard;
type blob python:MODULE.Blob;
type even python:MODULE.even;

path int_header (
    url /int, use python:MODULE.hello,
    request-headers ( unless X-Number type is int return 422 )
);
path not_int (
    url /not-int, use python:MODULE.hello,
    request-headers ( unless "X-Number" type is not int return 422 )
);
path body (
    method POST, url /json, use python:MODULE.hello,
    request-body ( unless type is json return 400 )
);
path not_json (
    method POST, url /not-json, use python:MODULE.hello,
    request-body ( unless type is not json return 415 )
);
path blob (
    method POST, url /blob, use python:MODULE.hello,
    request-body ( unless type is blob return 400 )
);
path even (
    url /even, use python:MODULE.hello,
    request-headers ( unless X-Number validates with even return 400 )
);
path auth (
    url /auth, use python:MODULE.hello,
    request-headers ( unless Authorization validates with python:MODULE.auth return 401 )
);
path auth_async (
    url /auth-async, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.auth_async return 403 )
);
path auth_class (
    url /auth-class, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.Guarding return 403 )
);
path auth_wrapped (
    url /auth-wrapped, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.wrapped return 403 )
);
path auth_none (
    url /auth-none, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.raising return 403 )
);
path auth_broken (
    url /auth-broken, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.broken return 403 )
);
path auth_global (
    url /auth-global, use python:MODULE.hello,
    request-headers ( unless X-Token validates with guard return 403 )
);
path built_in_validator (
    url /validates-int, use python:MODULE.hello,
    request-headers ( unless X-Number validates with int return 400 )
);
path large (
    method POST, url /large, use python:MODULE.size,
    request-body ( unless type is json return 400 )
);
path upper (
    method POST, url /upper, use python:MODULE.echo,
    request-body ( alter with python:MODULE.upper ),
    response-body ( alter with python:MODULE.exclaim ),
    response-headers ( set X-Kind "loud", set X-Url /a, set X-Words a|b, set X-N 1.10,
        set X-Place python:a.b )
);
path cookies ( url /cookies, use python:MODULE.hello,
    response-headers ( set X-One a, set X-One b, set Set-Cookie "a=1", set set-cookie "b=2" ) );
path promise (
    url /promise/{what}, use python:MODULE.promise,
    response-headers ( unless X-Count type is int return 502 ),
    response-body ( unless type is json return 503 )
);
path fails ( url /fails, use python:MODULE.fails, on error return 503 );
path fails_async ( url /fails-async, use python:MODULE.fails_async,
    response-body ( on error return 504 ) );
path returns_set ( url /returns-set, use python:MODULE.returns_set, on error return 502 );
path fails_in_part ( url /fails-in-part, use python:MODULE.parts, on error return 502 );
path wsgi ( url /wsgi, use wsgi:MODULE.wsgi, on error return 503,
    request-headers ( unless X-Token type is not int return 403 ),
    response-headers ( set X-Kind "wsgi" ),
    response-body ( alter with python:MODULE.upper ) );
path endless ( url /endless, use python:MODULE.plain,
    response-body ( unless type is json return 503 ) );
path fails_plain ( url /fails-plain, use python:MODULE.fails );
path fails_on_purpose ( url /gone, use python:MODULE.gone, on error return 503 );
path alter_fails ( method POST, url /alter-fails, use python:MODULE.hello, on error return 503,
    request-body ( alter with python:MODULE.alter_fails, on error return 422 ) );
path alter_wrong ( url /alter-wrong, use python:MODULE.hello,
    response-body ( alter with python:MODULE.alter_wrong ) );
path order ( method POST, url /order, use python:MODULE.order,
    response-body ( alter with python:MODULE.order_rb ),
    response-headers ( unless Content-Type validates with python:MODULE.order_rh return 500 ),
    request-body ( alter with python:MODULE.order_qb ),
    request-headers ( unless Host validates with python:MODULE.order_qh return 500 ) );
path page ( url /page, use file:page.html,
    request-headers ( unless X-Token validates with python:MODULE.auth_async return 403 ),
    response-body ( alter with python:MODULE.upper ) );
path large_file ( url /large-file, use file:large.bin,
    response-body ( unless type is json return 503 ) );
path folder ( url /folder/{name:.*}, use directory:folder,
    response-headers ( set X-Frame-Options "DENY" ),
    response-body ( unless type is json return 503 ) );
path stream ( url /stream/{what}, use python:MODULE.stream,
    response-body ( unless type is json return 503 ) );
path stream_late ( url /stream-late, use python:MODULE.stream,
    response-headers ( unless X-Missing type is int return 502 ) );
path empty ( url /empty, use python:MODULE.nothing,
    response-body ( alter with python:MODULE.exclaim ) );
path echo ( method POST, url /echo, request-body ( unless type is json return 400 ) );
path deny ( url /deny, use python:MODULE.hello,
    request-headers ( unless X-Token validates with python:MODULE.denies return 403 ) );
path alter_denies ( method POST, url /alter-denies, use python:MODULE.hello,
    request-body ( alter with python:MODULE.denies ) );
path alter_reads ( method POST, url /alter-reads, use python:MODULE.hello,
    request-body ( alter with python:MODULE.reads ) );
"""

SOURCE = """
import functools
import threading
from redbarrel_lite import Response
from redbarrel_lite import exc

def hello(globs, request):
    return "hello"

def size(globs, request):
    return str(len(request.body))

def echo(globs, request):
    return request.body

class Guard:
    def __init__(self, globs):
        self.secret = globs["secret"]
    def __call__(self, value):
        return value == self.secret

class Guarding:
    def __call__(self, globs, request, value):
        return value == globs["secret"]

class Blob:
    made = 0
    def __init__(self):
        Blob.made += 1
    def __call__(self, value):
        assert Blob.made == 1
        return value.startswith(b"blob")

def even(value):
    return int(value) % 2 == 0

def auth(globs, request, value):
    assert threading.current_thread() is not threading.main_thread()
    return value == "Basic " + globs["secret"]

async def auth_async(value):
    assert threading.current_thread() is threading.main_thread()
    return value == "sesame"

def plainly(function):
    @functools.wraps(function)
    def wrapper(value):
        return function(value)
    return wrapper
wrapped = plainly(auth_async)
del wrapped.__wrapped__

def raising(value):
    if value != "sesame":
        raise ValueError(value)

def broken(value):
    return value.no_such_method()

def denies(value):
    raise exc.HTTPForbidden("no")

def reads(request, value):
    return str(request.json)

def upper(body):
    return body.upper()

def exclaim(globs, request, body):
    return body.decode() + "!"

def promise(globs, request):
    what = request.match["what"]
    if what == "json":
        return Response('{"a": 1}', headers={"x-count": "3"})
    if what == "text":
        return Response("hello", headers={"x-count": "3"})
    if what == "count":
        return Response('{"a": 1}', headers={"x-count": "many"})
    if what == "missing":
        return {"a": 1}
    if what == "redirect":
        return Response("", 303, {"location": "/", "x-count": "3"})
    if what == "none":
        return Response("", 204, {"x-count": "3"})
    return Response("nothing here", 404)

def fails(globs, request):
    raise RuntimeError("on purpose")

async def fails_async(globs, request):
    raise RuntimeError("on purpose")

def returns_set(globs, request):
    return {1}

def parts(globs, request):
    raise RuntimeError("on purpose")
    yield "x"

def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise RuntimeError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode(), b" by wsgi"]

class Parts:
    def __init__(self): self.parts = [b"]", b"1", b"["]
    def __aiter__(self): return self
    async def __anext__(self):
        if not self.parts:
            raise StopAsyncIteration
        return self.parts.pop()

async def plain(globs, request):
    return Response(stream=Parts())

def gone(globs, request):
    raise exc.HTTPGone("it has moved on")

def alter_fails(body):
    raise RuntimeError("on purpose")

def alter_wrong(body):
    return 3

steps = []
def order_qh(value): steps.append("qh")
def order_qb(body): steps.append("qb"); return body + b"b"
def order_rh(value): steps.append("rh")
def order_rb(body): steps.append("rb"); return body + ",".join(steps).encode()
def order(globs, request): steps.append("h"); return request.body

closed = []
async def stream(globs, request):
    what = request.match.get("what", "late")
    async def parts():
        try:
            yield b'{"a":'
            if what == "bad":
                raise RuntimeError("on purpose")
            if what == "large":
                for _ in range(40):
                    yield b" " * 500_000
            yield b" 1}"
        finally:
            closed.append(what)
    return Response(stream=parts(), content_type="application/json")

def nothing(globs, request):
    return None
"""

CASES: list[tuple[str, str, bytes, dict[str, str], int, bytes | None]] = [
    ("GET", "/int", b"", {"X-Number": "3"}, 200, b"hello"),
    ("GET", "/int", b"", {"X-Number": "three"}, 422, None),
    ("GET", "/int", b"", {}, 422, None),
    ("GET", "/not-int", b"", {"X-Number": "three"}, 200, None),
    ("GET", "/not-int", b"", {"X-Number": "3"}, 422, None),
    ("GET", "/not-int", b"", {}, 200, None),
    ("POST", "/json", b"[1]", {}, 200, b"hello"),
    ("POST", "/json", b"[1", {}, 400, b"400 the request breaks a rule of this path\n"),
    ("POST", "/json", b"", {}, 400, None),
    ("POST", "/not-json", b"[1]", {}, 415, None),
    ("POST", "/not-json", b"[1", {}, 200, None),
    ("POST", "/blob", b"blob!", {}, 200, None),
    ("POST", "/blob", b"flop!", {}, 400, None),
    ("GET", "/even", b"", {"X-Number": "4"}, 200, None),
    ("GET", "/even", b"", {"X-Number": "3"}, 400, None),
    ("GET", "/even", b"", {"X-Number": "x"}, 400, None),
    ("GET", "/auth", b"", {"Authorization": "Basic sesame"}, 200, None),
    ("GET", "/auth", b"", {"Authorization": "Basic wrong"}, 401, None),
    ("GET", "/auth", b"", {}, 401, None),
    ("GET", "/auth-async", b"", {"X-Token": "sesame"}, 200, None),
    ("GET", "/auth-async", b"", {"X-Token": "wrong"}, 403, None),
    ("GET", "/auth-class", b"", {"X-Token": "sesame"}, 200, None),
    ("GET", "/auth-class", b"", {"X-Token": "wrong"}, 403, None),
    ("GET", "/auth-wrapped", b"", {"X-Token": "sesame"}, 200, None),
    ("GET", "/auth-wrapped", b"", {"X-Token": "wrong"}, 403, None),
    ("GET", "/auth-none", b"", {"X-Token": "sesame"}, 200, None),
    ("GET", "/auth-none", b"", {"X-Token": "wrong"}, 403, None),
    ("GET", "/auth-broken", b"", {"X-Token": "sesame"}, 403, None),
    ("GET", "/auth-global", b"", {"X-Token": "sesame"}, 200, None),
    ("GET", "/auth-global", b"", {"X-Token": "wrong"}, 403, None),
    ("GET", "/validates-int", b"", {"X-Number": "3"}, 200, None),
    ("GET", "/validates-int", b"", {"X-Number": "x"}, 400, None),
    ("GET", "/deny", b"", {"X-Token": "x"}, 403, b"403 the request breaks a rule of this path\n"),
    ("POST", "/large", b"[" + b"1," * 20_000 + b"1]", {}, 200, b"40003"),
    ("POST", "/large", b"[" + b"1," * 20_000, {}, 400, None),
    ("POST", "/large", b"[" + b"1," * 400_000 + b"1]", {}, 200, b"800003"),
    ("POST", "/upper", b"hey", {}, 200, b"HEY!"),
    ("GET", "/promise/json", b"", {}, 200, b'{"a": 1}'),
    ("HEAD", "/promise/json", b"", {}, 200, b""),
    ("GET", "/promise/text", b"", {}, 503, b"503 the answer breaks a rule of this path\n"),
    ("GET", "/promise/count", b"", {}, 502, None),
    ("GET", "/promise/missing", b"", {}, 502, None),
    ("GET", "/promise/redirect", b"", {}, 303, None),
    ("GET", "/promise/none", b"", {}, 503, None),
    ("GET", "/promise/lost", b"", {}, 404, b"nothing here"),
    ("GET", "/fails", b"", {}, 503, b"503 this path failed; the log says why\n"),
    ("GET", "/fails-async", b"", {}, 504, None),
    ("GET", "/fails-plain", b"", {}, 500, None),
    ("GET", "/returns-set", b"", {}, 502, None),
    ("GET", "/fails-in-part", b"", {}, 502, None),
    ("GET", "/wsgi/path", b"", {}, 200, b"/PATH BY WSGI"),
    ("GET", "/wsgi/path", b"", {"X-Token": "3"}, 403, None),
    ("PUT", "/wsgi/fails", b"", {}, 503, None),
    ("GET", "/endless", b"", {}, 200, b"[1]"),
    ("GET", "/gone", b"", {}, 410, None),
    ("POST", "/alter-fails", b"x", {}, 422, None),
    ("GET", "/alter-wrong", b"", {}, 500, None),
    ("POST", "/alter-denies", b"x", {}, 403, None),
    ("POST", "/alter-reads", b"x", {}, 400, None),
    ("POST", "/alter-reads", b"[]", {}, 200, None),
    ("POST", "/order", b"a", {}, 200, b"abqh,qb,h,rh,rb"),
    ("GET", "/page", b"", {}, 403, None),
    ("GET", "/page", b"", {"X-Token": "sesame"}, 200, b"A PAGE"),
    ("GET", "/page", b"", {"X-Token": "sesame", "Range": "bytes=0-0"}, 200, b"A PAGE"),
    ("GET", "/large-file", b"", {}, 500, None),
    ("GET", "/folder/good.json", b"", {}, 200, b"[1]"),
    ("HEAD", "/folder/good.json", b"", {}, 200, b""),
    ("GET", "/folder/middle.json", b"", {}, 200, b"[" + b" " * 100_000 + b"]"),
    ("GET", "/folder/bad.json", b"", {}, 503, None),
    ("GET", "/folder/none.json", b"", {}, 404, None),
    ("GET", "/stream/good", b"", {}, 200, b'{"a": 1}'),
    ("GET", "/stream/bad", b"", {}, 500, None),
    ("GET", "/stream/large", b"", {}, 500, None),
    ("GET", "/stream-late", b"", {}, 502, None),
    ("GET", "/empty", b"", {}, 204, b""),
    ("POST", "/echo", b"{}", {}, 200, None),
    ("POST", "/echo", b"{", {}, 400, None),
]


def files(folder: Path) -> None:
    (folder / "page.html").write_text("a page")
    with (folder / "large.bin").open("wb") as large:
        large.truncate(conditions.MAX_COLLECTED_BYTES + 1)
    (folder / "folder").mkdir()
    (folder / "folder" / "good.json").write_text("[1]")
    (folder / "folder" / "middle.json").write_text("[" + " " * 100_000 + "]")
    (folder / "folder" / "bad.json").write_text("[1")


def test_rules_let_in_and_out_what_they_say(tmp_path: Path) -> None:
    files(tmp_path)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            for method, target, body, headers, status, content in CASES:
                case = (method, target, headers)
                got, _, answer = await ask(server.url, method, target, body, **headers)
                assert got == status, (case, got, answer)
                assert content is None or answer == content, (case, answer)
            module = server.server.app.homes[0].file.folder.modules
            closed = module.find(f"{_module(tmp_path)}.closed")
            assert closed == ["good", "bad", "large", "late"] or closed[:3] == closed, closed

    run(test())


def _module(folder: Path) -> str:
    return next(folder.glob("module_of_test_*.py")).stem


def test_headers_of_answers(tmp_path: Path) -> None:
    files(tmp_path)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            _, headers, _ = await ask(server.url, "POST", "/upper", b"x")
            wanted = ("x-kind", "x-url", "x-words", "x-n", "x-place")
            assert [headers[name] for name in wanted] == ["loud", "/a", "a|b", "1.10", "python:a.b"]
            assert headers["content-length"] == "2"
            wire = await Wire.open(server.url)
            await wire.send("GET /cookies HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            head = (await wire.rest()).partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert [line for line in head if line.startswith((b"x-one", b"set-cookie"))] == [
                b"x-one: b",
                b"set-cookie: a=1",
                b"set-cookie: b=2",
            ]
            _, headers, _ = await ask(server.url, "GET", "/auth")
            assert headers["www-authenticate"] == 'Basic realm="auth"'
            _, headers, _ = await ask(server.url, "GET", "/auth", Authorization="Bearer x")
            assert headers["www-authenticate"] == 'Bearer realm="auth"'
            _, headers, _ = await ask(server.url, "GET", "/page", X_Token="sesame")
            assert not {"etag", "last-modified", "accept-ranges"} & set(headers)
            _, headers, _ = await ask(server.url, "GET", "/folder/good.json")
            assert headers["x-frame-options"] == "DENY"
            assert "etag" in headers
            _, headers, _ = await ask(server.url, "GET", "/folder/none.json")
            assert "x-frame-options" not in headers
            _, headers, _ = await ask(server.url, "HEAD", "/folder/good.json")
            assert headers["content-length"] == "3"

    run(test())


def test_mistakes_are_logged_and_refusals_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files(tmp_path)

    async def test() -> None:
        async with live(tmp_path, RBR, SOURCE) as server:
            await ask(server.url, "GET", "/auth-none", X_Token="wrong")
            await ask(server.url, "GET", "/deny", X_Token="wrong")
            assert "redbarrel_lite" not in {record.name for record in caplog.records}
            await ask(server.url, "GET", "/auth-broken", X_Token="x")
            assert "no_such_method" in caplog.text
            await ask(server.url, "GET", "/promise/text")
            assert "GET '/promise/text': the answer breaks a rule: 503" in caplog.text
            await ask(server.url, "GET", "/fails")
            assert "RuntimeError: on purpose" in caplog.text

    with caplog.at_level(logging.WARNING):
        run(test())


def test_validator_that_blocks_holds_up_nobody(tmp_path: Path) -> None:
    rbr = """
    path slow ( url /slow, use python:MODULE.hello,
        request-headers ( unless Host validates with python:MODULE.slow return 403 ) );
    path fast ( url /fast, use python:MODULE.hello );
    """
    source = """
    import threading
    entered, release = threading.Event(), threading.Event()
    def slow(value): entered.set(); return release.wait()
    async def hello(globs, request): return "hello"
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            find = server.server.app.homes[0].file.folder.modules.find
            entered: threading.Event = find(f"{_module(tmp_path)}.entered")
            release: threading.Event = find(f"{_module(tmp_path)}.release")
            slow = asyncio.ensure_future(ask(server.url, "GET", "/slow"))
            await until(entered.is_set)
            assert (await ask(server.url, "GET", "/fast"))[2] == b"hello"
            release.set()
            assert (await slow)[0] == 200

    run(test())


def test_full_pool_is_a_503_and_nobody_gets_in(tmp_path: Path) -> None:
    rbr = """
    path a ( url /a, use file:page.html,
        request-headers ( unless Host validates with python:MODULE.yes return 403 ) );
    path b ( url /b, use file:page.html,
        response-body ( alter with python:MODULE.yes ) );
    path c ( url /c, use file:large.bin,
        response-body ( unless type is json return 503 ) );
    """
    (tmp_path / "page.html").write_text("a page")
    (tmp_path / "large.bin").write_bytes(b" " * 200_000)

    async def test() -> None:
        async with live(tmp_path, rbr, "def yes(value): return value") as server:
            server.server.app._pool._max_threads = server.server.app._pool._max_waiting = 0
            for url in ("/a", "/b", "/c"):
                status, headers, _ = await ask(server.url, "GET", url)
                assert (status, headers["retry-after"]) == (503, "1")

    run(test())


# -- sockets -------------------------------------------------------------------

GUARDED = """
path chat ( method SOCKETIO, use python:MODULE.chat,
    request-headers ( unless X-Token validates with python:MODULE.token return 401 ) );
"""
GUARDED_SOURCE = """
asked = []
async def token(value):
    asked.append(value)
    return value == "sesame"
def chat(globs, request):
    for message in request.socketio:
        request.socketio.send(message[0])
"""
UPGRADE = (
    "GET {target} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "X-Token: {token}\r\n\r\n"
)


def test_handshake_is_guarded_and_later_polls_are_not(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, GUARDED, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=polling"
            status, headers, body = await ask(server.url, "GET", target, X_Token="wrong")
            assert (status, headers["www-authenticate"]) == (401, 'Basic realm="chat"')
            assert b"breaks a rule" in body
            status, _, body = await ask(server.url, "GET", target, X_Token="sesame")
            assert status == 200
            poller = Poller(server.url)
            poller.sid = body.decode().split('"sid":"')[1].split('"')[0]
            await poller.post("40")  # without the token
            assert (await poller.read()).startswith("40")
            await poller.post('42["message","x"]')
            assert await poller.read() == '42["message","x"]'
            # Somebody else's origin, and a sid that nobody has, are refused before.
            status, _, _ = await ask(server.url, "GET", target, Origin="http://b", X_Token="sesame")
            assert status == 403
            find = server.server.app.homes[0].file.folder.modules.find
            assert find(f"{_module(tmp_path)}.asked") == ["wrong", "sesame"]

    run(test())


def test_websocket_handshake_is_guarded(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, GUARDED, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=websocket"
            wire = await Wire.open(server.url)
            await wire.send(UPGRADE.format(target=target, token="wrong"))
            assert (await wire.answer())[0] == 401
            wire = await Wire.open(server.url)
            await wire.send(UPGRADE.format(target=target, token="sesame"))
            assert (await wire.answer())[0] == 101
            assert b'0{"sid":' in await wire.reader.read(100)

    run(test())


SHARED = """
path chat ( method SOCKETIO, use python:MODULE.chat );
path admin ( method SOCKETIO, namespace /admin, use python:MODULE.chat,
    request-headers ( unless X-Token validates with python:MODULE.token return 401 ) );
"""


def test_namespace_of_a_shared_url_is_guarded_alone(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, SHARED, GUARDED_SOURCE) as server:
            for token, answer in (("wrong", '44/admin,{"message"'), ("sesame", '40/admin,{"sid"')):
                target = f"{SOCKET_IO}&transport=polling"
                _, _, body = await ask(server.url, "GET", target, X_Token=token)
                poller = Poller(server.url)
                poller.sid = body.decode().split('"sid":"')[1].split('"')[0]
                await poller.post("40/admin,")
                assert (await poller.read()).startswith(answer)
                await poller.post("40")
                assert (await poller.read()).startswith('40{"sid"')

    run(test())


def test_url_whose_namespaces_are_all_refused_is_refused(tmp_path: Path) -> None:
    rule = ", request-headers ( unless A type is int return 403 ) );"
    rbr = SHARED.replace("MODULE.chat );", "MODULE.chat" + rule)

    async def test() -> None:
        async with live(tmp_path, rbr, GUARDED_SOURCE) as server:
            target = f"{SOCKET_IO}&transport=polling"
            assert (await ask(server.url, "GET", target))[0] == 403
            assert (await ask(server.url, "GET", target, A="1"))[0] == 200

    run(test())


def test_client_that_goes_during_its_handshake_leaves_no_session(tmp_path: Path) -> None:
    source = """
    import asyncio
    entered, release = asyncio.Event(), asyncio.Event()
    async def token(value):
        entered.set()
        await release.wait()
        return True
    def chat(globs, request): pass
    """

    async def test() -> None:
        async with live(tmp_path, GUARDED, source) as server:
            find = server.server.app.homes[0].file.folder.modules.find
            entered: asyncio.Event = find(f"{_module(tmp_path)}.entered")
            release: asyncio.Event = find(f"{_module(tmp_path)}.release")
            wire = await Wire.open(server.url)
            await wire.send(
                UPGRADE.format(target=f"{SOCKET_IO}&transport=websocket", token="sesame")
            )
            await entered.wait()
            wire.reset()
            await until(lambda: not server.server.connections)
            release.set()
            (endpoint,) = server.server._endpoints.values()
            await until(lambda: not endpoint._at_the_door)
            assert len(endpoint) == 0

    run(test())


# -- proxies ---------------------------------------------------------------------------


def test_rules_stand_around_a_proxy_and_its_websockets(tmp_path: Path) -> None:
    rbr = """
    path api ( method GET|POST, url /socket.io, allow-origin "*", use proxy:URL/socket.io,
        request-headers ( unless X-Token validates with python:MODULE.token return 401 ),
        response-headers ( set X-Kind "proxied" ) );
    path page ( url /page, use proxy:URL/page,
        response-body ( alter with python:MODULE.upper ) );
    path echo ( method POST, url /echo, use proxy:URL/echo,
        request-body ( unless type is json return 400 ) );
    """
    behind_rbr = """
    socket python:MODULE.chat;
    path page ( url /page, use file:page.html );
    path echo ( method POST, url /echo, use python:MODULE.echo );
    """
    source = GUARDED_SOURCE + (
        "def upper(body): return body.upper()\ndef echo(globs, request): return request.body\n"
    )
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind" / "page.html").write_text("a page " * 20_000)

    async def test() -> None:
        async with (
            live(tmp_path / "behind", behind_rbr, source) as behind,
            live(tmp_path, rbr.replace("URL", behind.url), source) as server,
        ):
            target = f"{SOCKET_IO}&transport=polling"
            assert (await ask(server.url, "GET", target, X_Token="wrong"))[0] == 401
            status, headers, _ = await ask(server.url, "GET", target, X_Token="sesame")
            assert (status, headers["x-kind"]) == (200, "proxied")
            for token, status in (("wrong", 401), ("sesame", 101)):
                wire = await Wire.open(server.url)
                websocket = f"{SOCKET_IO}&transport=websocket"
                await wire.send(UPGRADE.format(target=websocket, token=token))
                assert (await wire.answer())[0] == status
            assert b'0{"sid":' in await wire.reader.read(100)
            wire.close()
            assert (await ask(server.url, "GET", "/page"))[2] == b"A PAGE " * 20_000
            assert (await ask(server.url, "POST", "/echo", b"[1]"))[2] == b"[1]"
            assert (await ask(server.url, "POST", "/echo", b"[1"))[0] == 400

    run(test())


# -- docs/rules.md ---------------------------------------------------------------------


def test_listings_of_the_docs_run(tmp_path: Path) -> None:
    """Its files are served, and each of its requests gets the answer that stands below it."""
    page = (Path(__file__).parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for language, text in blocks:
        if language != "http":
            file = tmp_path / text.split("\n", 1)[0].removeprefix("# ")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    exchanges = [text for language, text in blocks if language == "http"]
    assert len(exchanges) == 6

    async def test() -> None:
        server = Server(App.load(tmp_path / "main.rbr"))
        url = await server.start()
        for exchange in exchanges:
            asked, answered = re.split(r"\n\n(?=HTTP/1.1 \d)", exchange)
            head, _, body = asked.partition("\n\n")
            line, *fields = head.split("\n")
            method, target, _ = line.split()
            told = dict(field.split(": ", 1) for field in fields)
            got = await ask(url, method, target, body.encode(), **told)
            head, _, body = answered.partition("\n\n")
            line, *fields = head.rstrip("\n").split("\n")
            assert got[0] == int(line.split()[1]), exchange
            for field in fields:
                name, value = field.split(": ", 1)
                assert got[1][name.lower()] == value, exchange
            assert got[2].decode().rstrip("\n") == body.rstrip("\n"), exchange
        await server.close(0.5)

    run(test())
