"""Whether a peer from whose connection we don't read is still there, as far as the system knows.

What it implements: a look at a socket, without waiting. What it leaves out: systems other
than Linux, which tell less; there all are thought to be there.

In one line::

    if has_gone(transport): transport.abort()
"""

from __future__ import annotations

import asyncio
import select
from typing import Final

_ENDED: Final = getattr(select, "POLLRDHUP", 0)


def has_gone(transport: asyncio.Transport) -> bool:
    """Whether nothing that we write will be read: it was reset, or is shut in both directions."""
    return bool(_seen(transport) & ~_ENDED)


def has_ended(transport: asyncio.Transport) -> bool:
    """Whether the peer has nothing more to say than what is there, or has gone."""
    return bool(_seen(transport))


def _seen(transport: asyncio.Transport) -> int:
    if not _ENDED:
        return 0
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _ENDED)
    found = poll.poll(0)
    return found[0][1] if found else 0
