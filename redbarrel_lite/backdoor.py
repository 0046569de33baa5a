"""A door of the server to one page of its own: for a Unix socket that has nothing else.

What it implements: the server as a connection from there sees it (`host.Host`), which is like
any other but for what may be asked for. What it leaves out: the page (`emitting`), and who may
come, which the mode of the socket says.

In one line::

    listener = Listener(partial(HttpConnection, BackDoor(server, page)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .app import Page
from .gate import Gate
from .request import Request
from .routes import Router
from .targets import Target

if TYPE_CHECKING:
    from .server import Server


class BackDoor:
    """The host of the connections that come by one; to be made when the server has begun."""

    def __init__(self, server: Server, page: Page) -> None:
        self.app = Pages(server, page)
        self.gate = Gate()  # whoever can come may ask, and under whatever name
        self.scheme = "http"
        self.limits, self.batch, self.access = server.limits, server.batch, server.access
        # Its connections are the server's, which counts them and waits for their end.
        self.come, self.become, self.gone = server.come, server.become, server.gone
        self.endpoint, self.track, self.dated = server.endpoint, server.track, server.dated
        self._server = server

    @property
    def closing(self) -> bool:
        return self._server.closing


class Pages:
    """One page at each root."""

    def __init__(self, server: Server, page: Page) -> None:
        self._server = server
        self._page = page

    def find(self, request: Request, _upgrade: str = "") -> tuple[Target, dict[str, str]]:
        """The page of a url, as the application of now has it. Raises `NotRouted`."""
        pages = Router(self._server.app.at_each_root(self._page))
        route, match = pages.find(request.method, request.path)
        return route.target, match
