"""Sends answers whose content comes in parts, no faster than their clients read them.

What it implements: streams and files after a head, and the wait for a client that
lets pile up what it was sent. What it leaves out: the head's framing, which `http1`
knows, and what becomes of the connection when a delivery breaks off.

In one line::

    size = await deliver(transport, http, response, stream, congestion, before_part)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from . import http1
from .response import FileContent, Response, Stream
from .sendfile import send_file


class Congestion:
    """Whether a client leaves unread what it was sent, so that it piles up with us."""

    __slots__ = ("_patience", "until")

    def __init__(self, patience: float) -> None:
        """``patience`` is how many seconds it may read nothing."""
        self._patience = patience
        self.until: asyncio.Future[None] | None = None  # None: there is none

    def begin(self) -> None:
        """asyncio has told us to pause."""
        self.until = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """The client has read enough; or it has gone, which ends all waiting too."""
        if self.until is not None and not self.until.done():
            self.until.set_result(None)
        self.until = None

    async def wait(self, transport: asyncio.Transport) -> None:
        """Wait until it is over; raise ConnectionError if the client goes, or does not read."""
        if self.until is not None:
            try:
                async with asyncio.timeout(self._patience):
                    await self.until
            except TimeoutError:
                raise ConnectionAbortedError("the client reads nothing") from None
        if transport.is_closing():
            raise ConnectionResetError("the client has gone")

    async def send_file(self, transport: asyncio.Transport, content: FileContent) -> None:
        """Send a part of a file, as long as the client reads it. Raises what `send_file` does."""
        await send_file(transport, content, lambda: self.wait(transport), self._patience)


async def deliver(
    transport: asyncio.Transport,
    http: http1.Connection,
    response: Response,
    headers: http1.Pairs,
    stream: Stream,
    congestion: Congestion,
    before_part: Callable[[], None],
) -> int:
    """Send an answer with a stream to its end; return how many bytes of content it had.

    ``before_part`` is called whenever the stream is waited for. Raises ConnectionError,
    OSError, and what the stream raises; what was sent can't be mended then.
    """
    transport.write(http.start_response(response.status, headers, response.length))
    size = 0
    if not http.sends_content:  # it may have no end
        pass
    elif isinstance(stream, FileContent):
        await congestion.send_file(transport, stream)
        http.sent_otherwise(stream.count)
        size = stream.count
    else:
        before_part()
        async for part in stream:
            size += len(part)
            transport.write(http.chunk(part))
            await congestion.wait(transport)
            before_part()
    transport.write(http.end_response())
    return size
