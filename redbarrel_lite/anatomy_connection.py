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
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from .anatomy import CLIENT, SERVER, Field, Layer, Sender, counted, no_layers, printable, shown
from .anatomy_engineio import SHOWN_OF_SID
from .anatomy_http import Requests, Responses
from .anatomy_stack import stack_of
from .anatomy_websocket import Frames
from .engineio import Options
from .http1_reader import Limits

_MUCH: Final = 1 << 30
_LIMITS: Final = Limits(line=_MUCH, head=_MUCH, fields=_MUCH)

_START: Final = re.compile(rb"(?:\r\n)*([!-~]+) ([!-~]+) HTTP/")
_SCRIPT: Final = re.compile(r"[?&]j=")
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_DEFLATE: Final = re.compile(rb"\r\nsec-websocket-extensions:[^\r\n]*permessage-deflate", re.I)
_HEAD_END: Final = b"\r\n\r\n"
_WAIT: Final = "RFC 6455 4.1"
_IS_HEAD: Final = re.compile(r"HTTP (?:request|response)")
_SID: Final = re.compile(rb"[?&]sid=([^& \r\n]+)")
# Fields in which the layers above would stand, and their secrets.
_CARRYING: Final = ("content", "chunk", "chunk-data", "trailer", "payload data", "code", "reason")


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
        self._told = b""  # of a request that is not complete, what was told of
        self._early: bytes | None = None  # what came behind a request to upgrade, until its answer

    @property
    def is_websocket(self) -> bool:
        """Whether there are frames now."""
        return bool(self._frames)

    def from_client(self, data: bytes) -> list[Layer]:
        """What these bytes complete: heads, contents, frames, in their order."""
        if self._frames:
            return self._frames[CLIENT].receive(data)
        upgrade = _UPGRADE.search(data)
        at = data.find(_HEAD_END, upgrade.end() - 2) if upgrade else -1
        end = at + len(_HEAD_END) if at >= 0 else len(data)
        layers = []
        for part in (data[:end], data[end:]):
            if self._early is None:
                layers += self._of_client(part)
            else:
                self._early += part
        return layers

    def _of_client(self, data: bytes) -> list[Layer]:
        layers = self._requests.receive(data)
        for layer in layers:
            start = _START.match(layer.data) if _IS_HEAD.match(layer.name) else None
            if layer.fault is not None:
                layer.fields += _session_named(layer)
            elif start is not None:
                asked = _Asked(start[1].decode(), start[2].decode())
                self._asked.append(asked)
                upgrade = bool(_UPGRADE.search(layer.data))
                self._responses.expect(asked.method, upgrade=upgrade)
                self._early = b"" if upgrade and asked.method == "GET" else None
        return layers

    def from_server(self, data: bytes) -> list[Layer]:
        """The same for the other direction."""
        if self._frames:
            return self._frames[SERVER].receive(data)
        # Nobody waits for an answer: then it is one to what has come of a request.
        before = [] if self._responses.waiting else list(self._unfinished_request())
        layers = self._responses.receive(data)
        for layer in layers:
            if _IS_HEAD.match(layer.name) and layer.data[9:12] == b"101":
                return before + layers + self._upgrade(layer)
        if not self._responses.waiting and self._early is not None:  # it was refused
            early, self._early = self._early, None
            return before + layers + self.from_client(early)
        return before + layers

    def end(self) -> list[Layer]:
        """It is over: that may be the end of a content, and what has begun will not be complete."""
        if self._frames:
            halves = (one.rest() for one in self._frames.values())
            return [_unfinished(half) for half in halves if half is not None]
        half = self._responses.rest()
        layers = [*self._unfinished_request(), *self._responses.end()]
        if self._early:
            layers.append(_unanswered(self._early))
        return layers if half is None else [*layers, _unfinished(half)]

    def _unfinished_request(self) -> Iterator[Layer]:
        half = self._requests.rest()
        if half is not None and half.data != self._told:
            self._told = half.data
            yield _unfinished(half)

    def _upgrade(self, head: Layer) -> list[Layer]:
        """From here on there are frames; what has come of them already is returned."""
        target = self._asked[0].target if self._asked else ""
        for sender in (CLIENT, SERVER):
            stack = stack_of(sender, target)
            carried = stack.message if stack else no_layers
            deflate = bool(_DEFLATE.search(head.data))
            self._frames[sender] = Frames(
                sender, carried, deflate=deflate, max_message=_MUCH, max_fragments=_MUCH
            )
        early = self._frames[CLIENT].receive(self._early or b"")
        return early + self._frames[SERVER].receive(self._responses.take_rest())

    def _of_request(self, head: Any, content: bytes) -> list[Layer]:
        return _payload(CLIENT, head.target, content)

    def _of_answer(self, head: Any, content: bytes) -> list[Layer]:
        while len(self._asked) > self._responses.waiting:
            self._asked.popleft()  # its answer had no content
        asked = self._asked[0] if self._asked else _Asked("", "")
        is_poll = asked.method == "GET" and head.status == 200
        return _payload(SERVER, asked.target, content) if is_poll else []


def _unfinished(layer: Layer) -> Layer:
    """The beginning of something. What it would carry has not been looked through for secrets."""
    fields = [one._replace(secret=0) if one.name in _CARRYING else one for one in layer.fields]
    return replace(layer, fields=[*fields, *_session_named(layer)])


def _unanswered(data: bytes) -> Layer:
    """What a client sent without waiting for the answer that would say what it is."""
    means = "frames, if the server had agreed to the upgrade"
    what = Field(0, len(data), "not read", shown(data), means, _WAIT, secret=0)
    summary = f"{counted(len(data), 'byte')} that did not wait for the answer"
    return Layer("bytes", data, CLIENT, summary, _WAIT, [what], is_text=False)


def _session_named(head: Layer) -> Iterator[Field]:
    """The session that a head names whose query is not read, for it is wrong or not complete."""
    found = _SID.search(head.data.partition(b"\r\n")[0]) if head.name == "HTTP request" else None
    if found is not None:
        value = printable(found[1].decode(errors="replace"))
        means, section = "the session that is meant", "Engine.IO 4, Query parameters"
        yield Field(*found.span(1), "sid", value, means, section, secret=SHOWN_OF_SID)


def _payload(sender: Sender, target: str, content: bytes) -> list[Layer]:
    stack = stack_of(sender, target)
    if stack is None or _SCRIPT.search(target):  # a script's answers are code, its requests forms
        return []
    return stack.payload(content)
