r"""The anatomy of all layers together: which protocol a message belongs to, told by its look.

What it implements: the way from a WebSocket message, or from the content of a poll, up
to the event. Bytes do not say whether Engine.IO is spoken in a WebSocket, and Socket.IO
in that: what fits is taken for it, and remembered. What it leaves out: the layers.

In one line::

    layers = Stack(CLIENT).message('42["hello",1]')
"""

from __future__ import annotations

import re
from typing import Final

from . import anatomy_engineio, anatomy_socketio
from .anatomy import Layer, Sender, first_fault, no_layers
from .anatomy_engineio_v3 import OldPackets

# What begins as a Socket.IO packet up to its data, or is one without data.
_LIKE_A_PACKET: Final = re.compile(r"[0-6](?:[0-9]+-)?(?:/[^,]*(?:,|\Z))?[0-9]*[\[{]|[0-6](?:/|\Z)")
_LIKE_AN_OLD_PAYLOAD: Final = re.compile(r"[0-9]{1,10}:")


_VERSION: Final = re.compile(r"[?&]EIO=([34])(?:&|$)")


def stack_of(sender: Sender, target: str, *, is_socketio: bool | None = None) -> Stack | None:
    """What one side says in the session that a request is for; None: none of Engine.IO.

    A url may say whether Socket.IO is spoken there: both have one by default.
    """
    version = _VERSION.search(target)
    if version is None:
        return None
    if target.startswith("/engine.io/"):
        is_socketio = False
    return Stack(sender, is_engine=True, is_socketio=is_socketio, is_old=version[1] == "3")


class Stack:
    """What one side says in a session, message by message.

    ``is_engine``: whether its messages are packets of Engine.IO, and ``is_socketio``: whether
    what those carry are packets of Socket.IO; None: as they look.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        is_engine: bool | None = None,
        is_socketio: bool | None = None,
        is_old: bool = False,
    ) -> None:
        self._sender = sender
        self._is_engine = is_engine
        self._is_socketio = is_socketio
        self._events = anatomy_socketio.Packets(sender, is_old=is_old)
        self._packets = anatomy_engineio.Packets(sender, self.carried)
        self._old = OldPackets(sender, self.carried) if is_old else None

    def message(self, message: str | bytes) -> list[Layer]:
        """The layers of a WebSocket message."""
        if self._is_engine is None:
            self._is_engine = self._looks_like_engine(message) or None
        if not self._is_engine:
            return []
        return [self._old.message(message) if self._old else self._packets.message(message)]

    def payload(self, content: bytes) -> list[Layer]:
        """The layers of the content of a POST, or of the answer to a GET."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return [self._old.payload(content)] if self._old else []
        if self._old is None:
            return [self._packets.payload(text)]
        is_text = _LIKE_AN_OLD_PAYLOAD.match(text)
        return [self._old.payload(text if is_text else content)]

    def carried(self, message: str | bytes) -> list[Layer]:
        """The layers of an Engine.IO message: a packet of Socket.IO, or none."""
        if self._is_socketio is False:
            return []
        is_like_one = isinstance(message, str) and _LIKE_A_PACKET.match(message)
        if not (self._is_socketio or self._events.is_waiting or is_like_one):
            return []
        layer = self._events.receive(message)
        if layer.fault is None:  # it can hardly be anything else
            self._is_socketio = True
        return [layer]

    def _looks_like_engine(self, message: str | bytes) -> bool:
        if isinstance(message, bytes):
            return False
        alone = anatomy_engineio.Packets(self._sender, no_layers)
        return first_fault([alone.message(message)]) is None
