"""What has come and was not received yet, and waiting for more with a limit.

What it implements: the waits of the clients that we ship: each ends, and its error says
what came instead. What it leaves out: where messages come from.

In one line::

    message = await inbox.wait(inbox.first, 10.0, "no message")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final, Generic, TypeVar

from .errors import SocketClosed

M = TypeVar("M")
T = TypeVar("T")

# What an error shows of what came instead.
_SHOWN: Final = 5
_SHOWN_CHARACTERS: Final = 200


class Inbox(Generic[M]):
    """Messages in their order, and why no more will come (``closed``, None until then)."""

    def __init__(self, timeout: float, show: Callable[[M], str] = repr) -> None:
        """``timeout`` is that of waits that name none, in seconds."""
        self.messages: list[M] = []
        self.timeout = timeout
        self.closed: str | None = None
        self._show = show
        self._news = asyncio.Event()

    def add(self, message: M) -> None:
        """A message has come."""
        self.messages.append(message)
        self._news.set()

    def close(self, why: str) -> None:
        """No message will come any more; the first reason stays."""
        if self.closed is None:
            self.closed = why
        self._news.set()

    def wake(self) -> None:
        """Something else has happened that somebody may wait for."""
        self._news.set()

    def first(self, fits: Callable[[M], bool] = lambda _: True) -> M | None:
        """Take the first message that fits; the others stay."""
        for at, message in enumerate(self.messages):
            if fits(message):
                return self.messages.pop(at)
        return None

    async def wait(self, found: Callable[[], T | None], timeout: float | None, what: str) -> T:
        """Wait until ``found`` returns something.

        Raises TimeoutError, and SocketClosed when it is closed: ``what`` was missed, such
        as "no message".
        """
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                while (result := found()) is None:
                    if self.closed is not None:
                        raise SocketClosed(f"{what}: {self.closed}; {self.instead()}")
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"{what} within {seconds:g} s; {self.instead()}") from None
        return result

    def instead(self) -> str:
        """For an error: what has come, and nobody has received."""
        shown = [self._show(one)[:_SHOWN_CHARACTERS] for one in self.messages[:_SHOWN]]
        if len(self.messages) > _SHOWN:
            shown.append(f"{len(self.messages) - _SHOWN} more")
        return f"received instead: {', '.join(shown) or 'nothing'}"


@contextlib.asynccontextmanager
async def time_limit(seconds: float, what: str) -> AsyncIterator[None]:
    """Raise a TimeoutError that says what did not happen in time."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimeoutError(f"{what} within {seconds:g} s") from None
