"""Sends a part of an open file: by the kernel where that can be, in blocks elsewhere.

What it implements: sendfile(2) on the socket of an asyncio transport, with a limit
for a client that reads nothing. What it leaves out: heads, and what follows.

In one line::

    await send_file(transport, FileContent(file, 0, size), drained, 30.0)

Why not `loop.sendfile`: it waits for ever for a client that has stopped reading,
and a limit around the whole of it would drop those that are merely slow. Here the
limit is for each wait, and begins anew whenever the client has read something.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from .response import FileContent

# What the kernel copies in one turn of the loop: less than a millisecond from
# memory. Without it a client on the same machine, which takes a gigabyte as fast as
# it is given, would keep all the others waiting.
SLICE_BYTES: Final = 1024 * 1024
# What waits in the kernel for a client. By itself it would take megabytes for each
# slow one, and say that there is room only when a third of that is gone: it would
# look as if the client read nothing for minutes.
UNSENT_BYTES: Final = 256 * 1024
BLOCK_BYTES: Final = 64 * 1024


async def send_file(
    transport: asyncio.Transport,
    content: FileContent,
    drained: Callable[[], Awaitable[None]],
    patience: float,
) -> None:
    """Send it all. ``drained`` waits until the transport has little left to write.

    Raises ConnectionError if the client goes, or reads nothing for ``patience``
    seconds; OSError if the file is shorter than announced, so that the connection
    must end: the client would take the next answer for the rest of this one.
    """
    sent = 0
    is_plain = transport.get_extra_info("ssl_object") is None
    # Who watches a connection (`tap`) has no sendfile: the file would go past him.
    if hasattr(os, "sendfile") and is_plain and not transport.get_extra_info("is_watched"):
        sent = await _by_kernel(transport, content, drained, patience)
    await _in_blocks(transport, content, sent, drained)


async def _by_kernel(
    transport: asyncio.Transport,
    content: FileContent,
    drained: Callable[[], Awaitable[None]],
    patience: float,
) -> int:
    """Send what the kernel can, and return how much that was."""
    client: socket.socket = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):  # no TCP, or a system that lacks it
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    transport.set_write_buffer_limits(0)  # the head must be out before we go past the buffer
    await drained()
    transport.set_write_buffer_limits()
    # A descriptor of our own for the same socket: asyncio lets nobody wait for the
    # transport's, and the transport may close that one while we wait.
    out = os.dup(client.fileno())
    sent = 0
    try:
        while sent < content.count:
            if transport.is_closing():
                raise ConnectionResetError
            count = min(SLICE_BYTES, content.count - sent)
            try:
                done = os.sendfile(out, content.file.fileno(), content.offset + sent, count)
            except BlockingIOError:
                await _writable(out, patience)
                continue
            if not done:
                break
            sent += done
            await asyncio.sleep(0)  # the others' turn
    except ConnectionError:
        raise
    except OSError:
        pass  # a file, or a file system, that the kernel can't send from: blocks will do
    finally:
        os.close(out)
        note = transport.get_extra_info("when_past")  # of who counts what goes out (`counting`)
        if note is not None:
            note(sent)
    return sent


async def _writable(out: int, patience: float) -> None:
    """Wait until the client has read something; raise ConnectionError if it does not."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(out, ready.set)
    try:
        async with asyncio.timeout(patience):
            await ready.wait()
    except TimeoutError:
        raise ConnectionAbortedError("the client reads nothing") from None
    finally:
        loop.remove_writer(out)


async def _in_blocks(
    transport: asyncio.Transport,
    content: FileContent,
    sent: int,
    drained: Callable[[], Awaitable[None]],
) -> None:
    while sent < content.count:
        content.file.seek(content.offset + sent)
        block = content.file.read(min(BLOCK_BYTES, content.count - sent))
        if not block:
            raise OSError("the file has become shorter while it was sent")
        transport.write(block)
        await drained()
        sent += len(block)
