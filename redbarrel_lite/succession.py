"""One application after the other, on a server that goes on: what SIGHUP asks for.

What it implements: whoever comes is answered by the new one; a session that the old one
began is the old one's until it ends, and so is a request that it has in hand; and then the
old one's end. What it leaves out: where the new one comes from, which is for `serving`, and
what the two have in common, which `app` knows: hubs, globals and modules.

In one line::

    succession.add(old, tasks); server.app = NextApp(...)
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeAlias

from .app import App
from .entrance import Entrance
from .request import Request
from .routes import NotRouted
from .targets import SocketPath, Target

Found: TypeAlias = tuple[Target, dict[str, str]]

# How often those are looked at that are to end soon.
_LOOK_EVERY_S: Final = 0.05

_SID: Final = re.compile(r"(?:^|&)sid=([^&]+)")


class NextApp(App):
    """An application that takes over from another one."""

    former: Succession

    def find(self, request: Request, upgrade: str = "") -> Found:
        return self.former.find(request, upgrade) or super().find(request, upgrade)


class Succession:
    """The applications that were taken over from, and are still needed."""

    def __init__(
        self,
        endpoints: dict[SocketPath, Entrance],
        goes_on: Callable[[Any], bool],
        give_up: Callable[[Any], object],
        wait: Callable[[Callable[[], bool], float | None], Awaitable[None]],
        look: Callable[[], object],
    ) -> None:
        """``goes_on`` says whether a piece of work does, ``give_up`` ends it unfinished.

        ``wait`` waits, until a time of the loop, for something to hold that may change when
        anything comes to its end, and ``look`` has it look again.
        """
        self._endpoints = endpoints
        self._goes_on = goes_on
        self._give_up = give_up
        self._wait = wait
        self._look = look
        self._retiring: dict[App, asyncio.Task[None]] = {}
        self._work: dict[App, set[Any]] = {}  # of each
        self._dismissed: set[App] = set()  # those whose work is not waited for any more
        self._dismissals: set[asyncio.Task[None]] = set()
        self._is_over = False

    @property
    def apps(self) -> Iterable[App]:
        return self._retiring

    def add(self, old: App, work: set[Any]) -> None:
        """One more, and the requests and handlers in hand: its own, and those of the others."""
        self._work[old] = work.difference(*self._work.values())
        self._retiring[old] = asyncio.create_task(self._retire(old))

    async def _retire(self, old: App) -> None:
        await self._wait(lambda: self._is_over or not self._is_needed(old), None)
        for path in self._of(old):
            del self._endpoints[path]
        await old.stop()
        del self._retiring[old], self._work[old]
        self._dismissed.discard(old)
        self._look()

    def _is_needed(self, old: App) -> bool:
        if old in self._dismissed:
            return False
        # In any case: what has ended would hold a connection, and maybe a body on disk.
        self._work[old] = {one for one in self._work[old] if self._goes_on(one)}
        return bool(self._work[old]) or any(map(len, self._of(old).values()))

    def dismiss(self, code: int, reason: str, last_call_s: float, seconds: float) -> None:
        """Close the sockets of all, and wait for what they have in hand, but not for long.

        Who polls comes for the close packet, or does not, within ``last_call_s``.
        """
        task = asyncio.create_task(self._dismiss(code, reason, last_call_s, seconds))
        self._dismissals.add(task)
        task.add_done_callback(self._dismissals.discard)

    async def _dismiss(self, code: int, reason: str, last_call_s: float, seconds: float) -> None:
        time = asyncio.get_running_loop().time
        now = time()
        apps = tuple(self._retiring)
        endpoints = [endpoint for app in apps for endpoint in self._of(app).values()]
        for endpoint in endpoints:
            endpoint.close(code, reason)
        await self._wait(lambda: not any(map(len, endpoints)), now + last_call_s)
        for endpoint in endpoints:
            endpoint.drop()
        while time() < now + seconds and not self._retiring.keys().isdisjoint(apps):
            self._look()  # of itself, the end of a request is no reason to
            await self._wait(lambda: self._retiring.keys().isdisjoint(apps), time() + _LOOK_EVERY_S)
        for app in self._retiring.keys() & set(apps):
            for work in filter(self._goes_on, self._work[app]):
                self._give_up(work)
            self._dismissed.add(app)
        self._look()

    def _of(self, app: App) -> dict[SocketPath, Entrance]:
        return {path: one for path, one in self._endpoints.items() if path.home in app.homes}

    def find(self, request: Request, upgrade: str) -> Found | None:
        """What answers a request for a session of one of them; None: it is for no such."""
        sid = _SID.search(request.query_string) if self._retiring else None
        for app in reversed(self._retiring) if sid is not None else ():
            try:
                found = App.find(app, request, upgrade)
            except NotRouted:
                continue
            endpoint = self._endpoints.get(found[0]) if isinstance(found[0], SocketPath) else None
            if sid is not None and endpoint is not None and endpoint.knows(sid[1]):
                return found
        return None

    async def end(self, seconds: float) -> None:
        """End them all, whoever is left: the server ends."""
        self._is_over = True
        for task in self._dismissals:
            task.cancel()
        self._look()
        if self._retiring:
            await asyncio.wait(self._retiring.values(), timeout=seconds)
