"""An application with rules of each kind around each kind of service."""

from __future__ import annotations

from pathlib import Path

from redbarrel_lite import conditions

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
path seen ( method GET|POST, url /seen, use python:MODULE.seen,
    response-body ( alter with python:MODULE.upper ) );
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
    if what.isdigit():
        return Response("text", int(what), {"x-count": "3" if int(what) <= 300 else "many"})
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

def seen(globs, request):
    names = " ".join(sorted(name for name, _ in request.headers.pairs))
    of_content = "etag last-modified accept-ranges content-md5 digest"
    headers = {name: "x" for name in of_content.split()}
    return Response(f"{request.method} {names}", headers=headers | {"x-other": "x"})
"""


def files(folder: Path) -> None:
    """What it serves."""
    (folder / "page.html").write_text("a page")
    with (folder / "large.bin").open("wb") as large:
        large.truncate(conditions.MAX_COLLECTED_BYTES + 1)
    (folder / "folder").mkdir()
    (folder / "folder" / "good.json").write_text("[1]")
    (folder / "folder" / "middle.json").write_text("[" + " " * 100_000 + "]")
    (folder / "folder" / "bad.json").write_text("[1")


def module_in(folder: Path) -> str:
    """The name of the module that `live` has written."""
    return next(folder.glob("module_of_test_*.py")).stem
