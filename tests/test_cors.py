"""Pages of other origins: which may ask, and read the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from wire import SOCKET_IO, Wire, ask, live, run

pytestmark = pytest.mark.usefixtures("own_modules")


CORS = """
path named ( method GET|PUT, url /named, allow-origin "http://a", allow-origin "null" );
path any ( url /any, allow-origin "*", response-status ( describe 200 "Fine" ) );
path both ( url /both, allow-origin "*", allow-origin "http://a" );
path own ( method OPTIONS, url /named );
path none ( method POST, url /named );
path vary ( url /vary, use file:app.rbr, allow-origin "http://a",
    response-headers ( set Vary "X-Other" ) );
path refuses ( url /refuses, allow-origin "http://a",
    request-headers ( unless X-A type is int return 403 ) );
socket python:MODULE.f;
"""


@pytest.mark.parametrize(
    ("url", "origin", "allowed", "credentials", "vary"),
    [
        ("/named", "http://a", "http://a", True, "Origin"),
        ("/named", "HTTP://A", "HTTP://A", True, "Origin"),
        ("/named", "http://b", None, False, "Origin"),
        ("/named", "null", "null", False, "Origin"),
        ("/named", None, None, False, "Origin"),
        ("/any", "http://b", "*", False, None),
        ("/any", "null", "*", False, None),
        ("/both", "http://b", "*", False, "Origin"),
        ("/both", "http://a", "http://a", True, "Origin"),
        ("/vary", "http://a", "http://a", True, "X-Other, Origin"),
        ("/refuses", "http://a", "http://a", True, "Origin"),
    ],
)
def test_answer_says_which_origin_may_read_it(
    tmp_path: Path, url: str, origin: str | None, allowed: str | None, credentials: bool,
    vary: str | None,
) -> None:  # fmt: skip
    async def test() -> None:
        async with live(tmp_path, CORS, "def f(request): pass") as server:
            more = {"Origin": origin} if origin else {}
            _, headers, _ = await ask(server.url, "GET", url, b"", **more)
            assert headers.get("access-control-allow-origin") == allowed
            assert ("access-control-allow-credentials" in headers) is credentials
            assert headers.get("vary") == vary

    run(test())


@pytest.mark.parametrize(
    ("framing", "body", "status"),
    [
        ("Content-Length: 9", "", 413),
        ("Transfer-Encoding: chunked", "9\r\n123456789\r\n", 413),
        ("Transfer-Encoding: chunked", "0x5\r\n", 400),
    ],
)
def test_page_of_another_origin_may_read_why_its_body_is_refused(
    tmp_path: Path, framing: str, body: str, status: int
) -> None:
    rbr = 'path a ( method POST, url /a, max-body 5, allow-origin "http://a" );'
    head = f"POST /a HTTP/1.1\r\nHost: b\r\nOrigin: http://a\r\n{framing}\r\n\r\n"

    async def test() -> None:
        async with live(tmp_path, rbr) as server:
            wire = await Wire.open(server.url)
            await wire.send(head + body)
            answer = await wire.answer()
            assert (answer[0], answer[1]["access-control-allow-origin"]) == (status, "http://a")
            wire = await Wire.open(server.url)  # where it is not about that path any more
            await wire.send(head.replace(framing, "Content-Length: 0") + "\0")
            assert (await wire.answer())[0] == 200
            answer = await wire.answer()
            assert (answer[0], "access-control-allow-origin" in answer[1]) == (400, False)

    run(test())


def test_preflight_is_answered_for_the_method_it_asks_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with live(tmp_path, CORS, "def f(request): pass") as server:

            async def preflight(
                url: str, method: str, origin: str = "http://a", **more: str
            ) -> tuple[int, dict[str, str], bytes]:
                return await ask(
                    server.url, "OPTIONS", url, b"", Origin=origin,
                    Access_Control_Request_Method=method, **more,
                )  # fmt: skip

            status, headers, _ = await preflight(
                "/named", "PUT", Access_Control_Request_Headers="x-a, x-b"
            )
            assert status == 204
            assert headers["access-control-allow-methods"] == "GET, PUT"
            assert headers["access-control-allow-headers"] == "x-a, x-b"
            assert headers["access-control-allow-credentials"] == "true"
            assert headers["access-control-max-age"] == "600"
            assert headers["vary"] == "Origin, Access-Control-Request-Headers"
            _, headers, _ = await preflight("/named", "PUT", "http://b")
            assert "access-control-allow-methods" not in headers
            _, headers, _ = await preflight("/any", "GET")
            assert "access-control-allow-headers" not in headers
            assert headers["access-control-allow-origin"] == "*"
            # Paths that allow nobody, and methods that nobody answers, are not for it.
            status, _, body = await preflight("/named", "POST")
            assert (status, body[:7]) == (200, b"OPTIONS")
            assert (await preflight("/named", "DELETE"))[0] == 200
            assert (await preflight("/any", "DELETE"))[0] == 204
            # Sockets answer for themselves; and OPTIONS alone is no preflight.
            assert (await preflight(SOCKET_IO, "GET", "http://b"))[0] == 403
            status, headers, _ = await ask(server.url, "OPTIONS", "/any", Origin="http://a")
            assert (status, headers["allow"]) == (204, "GET, HEAD, OPTIONS")

    run(test())
