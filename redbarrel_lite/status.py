"""``/__metrics__`` and ``/__status__``: how a server is, for a machine and for people.

What it implements: the two pages of `--status`, and who may see them: this machine, unless
`--status-to` says more, for they tell much. What it leaves out: counting (`counting`,
`tally`), the numbers (`census`), their format (`metrics`) and their looks (`statuspage`).

In one line::

    status = Status(trust(["10.0.0.0/8"])); App.load(file, own=status.pages)
"""

from __future__ import annotations

from collections.abc import Awaitable, Container, Mapping
from typing import Any, Final

from . import __version__
from .census import census
from .counting import CountingServer
from .forwarded import trust
from .gate import is_own_name
from .metrics import CONTENT_TYPE, joined, text
from .request import Request
from .response import NO_SNIFFING, Response
from .routes import Service
from .statuspage import POLICY, Told, page

STATUS: Final = "/__status__"
METRICS: Final = "/__metrics__"

# What a worker asks the others, and how long they may take: who asks for the pages waits.
_QUESTION: Final = "status"
_ASK_S: Final = 1.0

_LOOPBACK: Final = trust(["127.0.0.0/8", "::1"])
# What a proxy adds; one on this machine makes all its clients look as if they were on it.
_OF_PROXIES: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_ONLY_HERE: Final = "only this machine may see this; --status-to lets others"
_NO_PROXY: Final = "a proxy asks for somebody else; --status-to says who may see this"
_NO_NAME: Final = "on this machine ask for it by 127.0.0.1 or localhost; --status-to lets others"


class Status:
    """The two pages of one server."""

    server: CountingServer  # to be set before anybody asks

    def __init__(self, viewers: Container[str]) -> None:
        """``viewers`` may see them beside this machine."""
        self._viewers = viewers
        pages = {METRICS: self._metrics, STATUS: self._page}
        self.pages: Mapping[str, Service] = {url: self._shown(page) for url, page in pages.items()}

    def serving(self, *arguments: Any) -> CountingServer:
        """A server, of what `Server` takes, that counts what they show."""
        self.server = CountingServer(*arguments)
        self.server.answers[_QUESTION] = lambda _details: self._own().as_json()
        return self.server

    def _shown(self, page: Service) -> Service:
        def service(request: Request) -> Response | Awaitable[Response]:
            fault = self._fault(request)
            if fault is None:
                return page(request)
            return Response(f"403 {fault}\n".encode(), 403, [NO_SNIFFING, _NOT_KEPT], _PLAIN)

        return service

    def _fault(self, request: Request) -> str | None:
        """Why who asks may not see them; None: he may.

        That a request comes from this machine is not enough. A proxy here brings those of
        others, and a page of anywhere may have its own name point to 127.0.0.1 (DNS
        rebinding) and read what its visitor's browser gets there: its name gives it away.
        """
        if request.remote_addr in self._viewers:
            return None
        if request.remote_addr not in _LOOPBACK:
            return _ONLY_HERE
        if any(name in request.headers for name in _OF_PROXIES):
            return _NO_PROXY
        return None if is_own_name(request.host) else _NO_NAME

    def _own(self) -> Told:
        """What this process knows, as of now."""
        seat = self.server.mesh.seat
        worker = "" if seat is None else str(seat.number)
        return Told(worker, census(self.server, __version__), self.server.speeds())

    async def _all(self) -> list[Told]:
        """What all workers know; one whose loop is held is left out."""
        others = await self.server.mesh.ask(_QUESTION, None, _ASK_S)
        return sorted([self._own(), *map(Told.from_json, others)], key=lambda told: told.order)

    async def _metrics(self, _request: Request) -> Response:
        told = await self._all()
        families = told[0].families
        if self.server.mesh.seat is not None:
            families = joined({one.worker: one.families for one in told})
        return Response(text(families).encode(), 200, [_NOT_KEPT], CONTENT_TYPE)

    async def _page(self, _request: Request) -> Response:
        headers = [_NOT_KEPT, NO_SNIFFING, ("content-security-policy", POLICY)]
        html = page(await self._all())
        return Response(html.encode(), 200, headers, "text/html; charset=utf-8")


_NOT_KEPT: Final = ("cache-control", "no-store")
_PLAIN: Final = "text/plain; charset=utf-8"
