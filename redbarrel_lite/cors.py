"""Pages of other origins: whose scripts may call a service, and read its answers.

What it implements: the server's side of the CORS protocol (Fetch Standard, section
3.2) for the services of a path with `allow-origin`, and the preflight request. What
it leaves out: sockets, which `endpoint` judges, for a WebSocket knows no CORS.

In one line::

    service = Cors(origins, methods).around(service)

It protects nothing by itself: a request of an origin that is not allowed runs as
any other, only the page that sent it does not get to see the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .request import Request
from .response import Response, copied
from .routes import Service

# How long a browser need not ask again, in seconds; Chromium caps it at two hours.
MAX_AGE_S: Final = 600


class Cors:
    """The origins that may call the services of a path."""

    def __init__(
        self, origins: Sequence[str], methods: Sequence[str], *, takes_any: bool = False
    ) -> None:
        self._origins = frozenset(origin.lower() for origin in origins)
        self._methods = methods
        self._takes_any = takes_any  # of methods, beside those

    def around(self, service: Service) -> Service:
        """The service, whose answers say which origin may read them."""

        async def told(request: Request) -> Response:
            answer = service(request)
            response = answer if isinstance(answer, Response) else await answer
            if response.status < 200:  # a proxy switches to a WebSocket, which knows no CORS
                return response
            fresh = copied(response)
            self.tell(request, fresh)
            return fresh

        return told

    def preflight(self, request: Request) -> Response:
        """The answer to a browser that asks beforehand (Fetch 3.2.2)."""
        response = Response(b"", 204)
        self.tell(request, response)
        if response.header("access-control-allow-origin") is None:
            return response
        methods = dict.fromkeys(self._methods)
        if self._takes_any:
            methods[request.headers.get("access-control-request-method", "GET")] = None
        response.set_header("access-control-allow-methods", ", ".join(methods))
        wanted = request.headers.get("access-control-request-headers")
        if wanted:
            # Those it asks for: "*" would not do with credentials, and a page that may
            # call us at all may say what it likes.
            response.set_header("access-control-allow-headers", wanted)
        response.set_header("access-control-max-age", str(MAX_AGE_S))
        _vary(response, "Access-Control-Request-Headers")
        return response

    def tell(self, request: Request, response: Response) -> None:
        """Name the request's origin if it is allowed; with credentials if it is named in the file.

        "*" never goes with them: any page could then act for whoever looks at it.
        Nor does "null", which every sandboxed frame can be.
        """
        origin = request.headers.get("origin", "")
        named = origin.lower() in self._origins
        if self._origins != {"*"}:
            _vary(response, "Origin")
        if named and origin not in ("null", "*"):
            response.set_header("access-control-allow-origin", origin)
            response.set_header("access-control-allow-credentials", "true")
        elif "*" in self._origins:
            response.set_header("access-control-allow-origin", "*")
        elif named:
            response.set_header("access-control-allow-origin", "null")


def _vary(response: Response, name: str) -> None:
    """Tell caches that the answer depends on a header of the request, too."""
    told = response.header("vary")
    response.set_header("vary", f"{told}, {name}" if told else name)
