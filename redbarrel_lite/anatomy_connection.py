r"""The anatomy of a whole connection: both directions, from the first byte to the last.

What it implements: which answer belongs to which request, what an upgrade makes of the
connection, and where Engine.IO is spoken (its urls say so). What it leaves out: the layers,
each in a room of its own, and I/O: it is fed with what others have seen.

In one line::

    layers = Connection().from_client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final, NamedTuple

from .anatomy import CLIENT, SERVER, Layer, Sender, no_layers
from .anatomy_http import Requests, Responses
from .anatomy_stack import Stack
from .anatomy_websocket import Frames
from .engineio import Options
from .http1_reader import Limits

_MUCH: Final = 1 << 30
_LIMITS: Final = Limits(line=_MUCH, head=_MUCH, fields=_MUCH)

_START: Final = re.compile(rb"(?:\r\n)*([!-~]+) ([!-~]+) HTTP/")
_VERSION: Final = re.compile(r"[?&]EIO=([34])(?:&|$)")
_SCRIPT: Final = re.compile(r"[?&]j=")
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_DEFLATE: Final = re.compile(rb"\r\nsec-websocket-extensions:[^\r\n]*permessage-deflate", re.I)
_IS_HEAD: Final = re.compile(r"HTTP (?:request|response)")


class _Asked(NamedTuple):
    """A request whose answer is to come."""

    method: str
    target: str


class Connection:
    """What client and server say to each other on one connection."""

    def __init__(self) -> None:
        # What a server may agree to is right here: whether this one does, its answers say.
        self._requests = Requests(self._of_request, _LIMITS, Options(allow_eio3=True))
        self._responses = Responses(self._of_answer, _LIMITS)
        self._asked: deque[_Asked] = deque()
        self._frames: dict[Sender, Frames] = {}  # after an upgrade

    @property
    def is_websocket(self) -> bool:
        """Whether there are frames now."""
        return bool(self._frames)

    def from_client(self, data: bytes) -> list[Layer]:
        """What these bytes complete: heads, contents, frames, in their order."""
        if self._frames:
            return self._frames[CLIENT].receive(data)
        layers = self._requests.receive(data)
        for layer in layers:
            start = _START.match(layer.data) if _IS_HEAD.match(layer.name) else None
            if start is not None and layer.fault is None:
                asked = _Asked(start[1].decode(), start[2].decode())
                self._asked.append(asked)
                self._responses.expect(asked.method, upgrade=bool(_UPGRADE.search(layer.data)))
        return layers

    def from_server(self, data: bytes) -> list[Layer]:
        """The same for the other direction."""
        if self._frames:
            return self._frames[SERVER].receive(data)
        layers = self._responses.receive(data)
        for layer in layers:
            if _IS_HEAD.match(layer.name) and layer.data[9:12] == b"101":
                return layers + self._upgrade(layer)
        return layers

    def end(self) -> list[Layer]:
        """The server has closed: that may be the end of a content."""
        return [] if self._frames else self._responses.end()

    def _upgrade(self, head: Layer) -> list[Layer]:
        """From here on there are frames; what has come of them already is returned."""
        target = self._asked[0].target if self._asked else ""
        version = _VERSION.search(target)
        for sender in (CLIENT, SERVER):
            stack = Stack(sender, is_old=version is not None and version[1] == "3")
            carried = stack.message if version else no_layers
            deflate = bool(_DEFLATE.search(head.data))
            self._frames[sender] = Frames(
                sender, carried, deflate=deflate, max_message=_MUCH, max_fragments=_MUCH
            )
        early = self._frames[CLIENT].receive(self._requests.upgrade())
        return early + self._frames[SERVER].receive(self._responses.take_rest())

    def _of_request(self, head: Any, content: bytes) -> list[Layer]:
        return _payload(CLIENT, head.target, content)

    def _of_answer(self, head: Any, content: bytes) -> list[Layer]:
        while len(self._asked) > self._responses.waiting:
            self._asked.popleft()  # its answer had no content
        asked = self._asked[0] if self._asked else _Asked("", "")
        is_poll = asked.method == "GET" and head.status == 200
        return _payload(SERVER, asked.target, content) if is_poll else []


def _payload(sender: Sender, target: str, content: bytes) -> list[Layer]:
    version = _VERSION.search(target)
    if version is None or _SCRIPT.search(target):  # a script's answers are code, its requests forms
        return []
    return Stack(sender, is_old=version[1] == "3").payload(content)
