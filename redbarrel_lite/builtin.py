"""Services that nobody writes: the echo of a path without `use`, and the pages of a root.

What it implements: the echo; ``__api__``, the text of the .rbr files; ``/__health__``.
What it leaves out: ``__doc__``, which is large enough for a room of its own.

In one line::

    Route("health", "/__health__", ("GET",), pattern, health)
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import quote

from .request import Request
from .response import Response
from .routes import Service

PLAIN: Final = "text/plain; charset=utf-8"
# What a script must not learn of its own page's request (cookies may be HttpOnly),
# and what RFC 9110 9.3.8 would not have echoed either.
_SECRET: Final = ("cookie", "authorization", "proxy-authorization")


def echo(request: Request) -> Response:
    """What was asked for, as JSON for whoever accepts it, else as text."""
    headers = {
        name: "(not shown)" if name in _SECRET else value for name, value in request.headers.items()
    }
    body = request.body.decode("utf-8", "replace")
    if "json" in request.headers.get("accept", ""):
        told: dict[str, Any] = {
            "method": request.method,
            "url": request.target,
            "match": request.match,
            "headers": headers,
            "body": body,
        }
        answer = Response(json.dumps(told).encode(), content_type="application/json")
    else:
        lines = [f"{request.method} {request.target}", *(f"{k}: {v}" for k, v in headers.items())]
        answer = Response("\n".join([*lines, "", body]).encode(), content_type=PLAIN)
    # A text with what a stranger sent stays a text.
    answer.set_header("x-content-type-options", "nosniff")
    answer.set_header("cache-control", "no-store")
    return answer


def health(_request: Request) -> Response:
    """For those who watch over servers."""
    return Response(b"ok", 200, {"cache-control": "no-store"}, PLAIN)


def text(content: str) -> Service:
    """What answers with a text."""
    response = Response(content.encode(), content_type=PLAIN)
    return lambda _request: response


def to_folder(request: Request) -> Response:
    """From ``/root`` to ``/root/``, where the links of its pages are right."""
    query = f"?{request.query_string}" if request.query_string else ""
    return Response(b"", 308, {"location": quote(request.path) + "/" + query})
