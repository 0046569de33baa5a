"""Rules: what they let in and out, around every kind of service, over real connections."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ruled import RBR, SOURCE, files, module_in
from wire import SOCKET_IO, Wire, ask, live, run, until

from redbarrel_lite import conditions
from redbarrel_lite.conditions import BUILT_IN_TYPES, made, with_last
from redbarrel_lite.errors import AppError
from redbarrel_lite.patience import TimeLimits
from redbarrel_lite.response import FileContent


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
    with pytest.raises(AppError, match=r"'f' takes \d arguments") as caught:
        with_last(function, "f")
    assert caught.value.hint == "write: def NAME(value), or def NAME(globs, request, value)"


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
    with pytest.raises(AppError, match="'x' is not callable but of type int") as caught:
        made(3, "x")
    assert caught.value.hint == "name a function, or a class with __call__"
    with pytest.raises(AppError, match="'x' fails: ZeroDivisionError"):
        made(lambda: 1 / 0, "x")


# What makes a service answer with a part of its content, and what does not.
SEEN = {
    "Cookie": "a=1",
    "Range": "bytes=0-0",
    "If-Range": '"1"',
    "If-None-Match": '"1"',
    "If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT",
    "Accept-Encoding": "gzip",
}

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
    ("GET", "/promise/299", b"", {}, 503, None),
    ("GET", "/promise/300", b"", {}, 300, b"text"),
    ("GET", "/promise/399", b"", {}, 502, None),
    ("GET", "/promise/400", b"", {}, 400, b"text"),
    ("GET", "/seen", b"", SEEN, 200, b"GET CONTENT-LENGTH COOKIE HOST"),
    ("POST", "/seen", b"", SEEN, 200, b"POST CONTENT-LENGTH COOKIE HOST"),
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
            closed = module.find(f"{module_in(tmp_path)}.closed")
            assert closed == ["good", "bad", "large", "late"] or closed[:3] == closed, closed

    run(test())


def test_answer_that_is_looked_through_may_have_16_mib(tmp_path: Path) -> None:
    most = 16 * 2**20
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(most)
        large.write(b"ab")

    async def parts(size: int) -> AsyncIterator[bytes]:
        yield bytes(most - 1)
        yield bytes(size - most + 1)

    with path.open("rb") as file:
        assert len(conditions._read(FileContent(file, 0, most))) == most
        assert conditions._read(FileContent(file, 1, 2)) == b"b\0"
        reason = f"an answer with rules for its body is over {most} bytes"
        with pytest.raises(conditions.TooLarge, match=f"^{reason}$"):
            conditions._read(FileContent(file, 0, most + 1))
    assert len(asyncio.run(conditions._gather(parts(most)))) == most
    with pytest.raises(conditions.TooLarge):
        asyncio.run(conditions._gather(parts(most + 1)))


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
            _, headers, _ = await ask(server.url, "HEAD", "/seen")
            assert headers["content-length"] == str(len("GET content-length host"))
            of_content = {"etag", "last-modified", "accept-ranges", "content-md5", "digest"}
            assert not of_content & set(headers)
            assert headers["x-other"] == "x"
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
            assert "GET '/auth-broken' is refused:\n" in caplog.text
            assert "no_such_method" in caplog.text
            assert caplog.records[-1].name == "redbarrel_lite"
            await ask(server.url, "GET", "/promise/text")
            assert "GET '/promise/text': the answer breaks a rule: 503" in caplog.text
            await ask(server.url, "GET", "/fails")
            assert "RuntimeError: on purpose" in caplog.text
            await ask(server.url, "GET", "/alter-wrong")
            assert "'alter with' returned int, not str or bytes" in caplog.text

    with caplog.at_level(logging.WARNING):
        run(test())


ENDING_RBR = """
    path checked ( url /checked/{how}, use python:MODULE.hello,
        request-headers ( unless X-How validates with python:MODULE.KIND return 403 ) );
    path altered ( url /altered, use python:MODULE.hello,
        response-body ( alter with python:MODULE.KIND ) );
    path page ( url /page, use file:app.rbr,
        request-headers ( unless X-How validates with python:MODULE.KIND return 403 ) );
    path chat ( method SOCKETIO, use python:MODULE.chat,
        request-headers ( unless X-How validates with python:MODULE.KIND return 403 ) );
"""
ENDING = """
    import asyncio

    class Ending(BaseException): pass

    def raises(name):
        raise {"exit": SystemExit(3), "close": GeneratorExit(), "stop": StopIteration(),
               "cancel": asyncio.CancelledError(), "own": Ending()}[name]

    def plain(globs, request, value): raises(request.headers["x-how"])
    async def at_once(globs, request, value): raises(request.headers["x-how"])

    async def later(globs, request, value):
        await asyncio.sleep(0)
        raises(request.headers["x-how"])

    def handed(globs, request, value):
        return later(globs, request, value)

    async def hello(globs, request): return "hello"
    def chat(globs, request): pass
"""


@pytest.mark.parametrize("how", ["exit", "close", "stop", "cancel", "own"])
@pytest.mark.parametrize("kind", ["plain", "at_once", "later", "handed"])
def test_function_of_a_rule_that_would_end_more_than_itself_fails(
    tmp_path: Path, kind: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with live(tmp_path, ENDING_RBR.replace("KIND", kind), ENDING) as server:
            for target in ("/checked/x", "/page", f"{SOCKET_IO}&transport=polling"):
                assert (await ask(server.url, "GET", target, X_How=how))[0] == 403
            assert (await ask(server.url, "GET", "/altered", X_How=how))[0] == 500
            await server.serves()

    run(test())
    told = [one for one in caplog.messages if " is refused:" in one or " failed:" in one]
    assert len(told) == 4
    names = {
        "exit": "SystemExit",
        "close": "GeneratorExit",
        "stop": "StopIteration",
        "cancel": "CancelledError",
        "own": "Ending",
    }
    assert all(names[how] in one for one in told)


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
            entered: threading.Event = find(f"{module_in(tmp_path)}.entered")
            release: threading.Event = find(f"{module_in(tmp_path)}.release")
            slow = asyncio.ensure_future(ask(server.url, "GET", "/slow"))
            await until(entered.is_set)
            assert (await ask(server.url, "GET", "/fast"))[2] == b"hello"
            release.set()
            assert (await slow)[0] == 200

    run(test())


@pytest.mark.parametrize("target", ["/app.rbr", "/folder/app.rbr", "chat", "page"])
def test_function_of_a_rule_is_not_begun_for_who_has_gone(tmp_path: Path, target: str) -> None:
    rule = "request-headers ( unless Host validates with python:MODULE.slow return 403 )"
    rbr = f"""
    path file ( url /app.rbr, use file:app.rbr, {rule} );
    path folder ( url /folder/{{name}}, use directory:., {rule} );
    path page ( url /page, method POST, use python:MODULE.page, {rule} );
    path chat ( method SOCKETIO, use python:MODULE.chat, {rule} );
    """
    source = """
    import threading
    entered, release, asked = threading.Event(), threading.Event(), []
    def slow(value): asked.append(value); entered.set(); release.wait()
    def page(globs, request): return "hello"
    def chat(globs, request): pass
    """
    asks = {"chat": f"GET {SOCKET_IO}&transport=polling", "page": "POST /page"}
    line = asks.get(target, f"GET {target}")

    async def test() -> None:
        async with live(tmp_path, rbr, source, TimeLimits(half_closed=0.1)) as server:
            pool = server.server.app.pool
            pool._max_threads = 1
            wires = [await Wire.open(server.url) for _ in range(5)]
            for wire in wires:
                await wire.send(f"{line} HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: pool.waiting == len(wires) - 1)
            await until(server.module.entered.is_set)
            for wire in wires:
                wire.reset()
            await until(lambda: pool.waiting == 0)
            server.module.release.set()
            await until(lambda: pool.busy == 0)
            assert server.module.asked == ["a"]
            await server.empties()

    run(test())


TO_WEBSOCKET = """Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
"""


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        (f"{SOCKET_IO}&transport=polling", ""),
        (f"{SOCKET_IO}&transport=websocket", TO_WEBSOCKET),
        ("/engine/?EIO=4&transport=websocket", TO_WEBSOCKET),
        ("/raw", TO_WEBSOCKET),
    ],
)
def test_function_of_a_rule_that_goes_on_for_who_has_gone_begins_no_socket(
    tmp_path: Path, target: str, fields: str
) -> None:
    rule = "request-headers ( unless Host validates with python:MODULE.stubborn return 403 )"
    rbr = f"""
    path chat ( method SOCKETIO, use python:MODULE.chat, {rule} );
    path engine ( method ENGINEIO, url /engine, use python:MODULE.chat, {rule} );
    path raw ( method WEBSOCKET, url /raw, use python:MODULE.chat, {rule} );
    """
    source = """
    import asyncio
    entered, cancelled, begun = asyncio.Event(), asyncio.Event(), []
    async def stubborn(value):
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
    def chat(globs, request): begun.append(request)
    """

    async def test() -> None:
        async with live(tmp_path, rbr, source) as server:
            wire = await Wire.open(server.url)
            await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
            await until(server.module.entered.is_set)
            wire.reset()
            await until(server.module.cancelled.is_set)
            await server.empties()
            assert not server.module.begun

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
            server.server.app.pool._max_threads = server.server.app.pool._max_waiting = 0
            for url in ("/a", "/b", "/c"):
                status, headers, _ = await ask(server.url, "GET", url)
                assert (status, headers["retry-after"]) == (503, "1")

    run(test())
