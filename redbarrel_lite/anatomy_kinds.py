r"""The anatomy of what may be anything: what it looks like, and the layers of each kind.

What it implements: guessing what some bytes or a text are, who says them, and taking them
for it. What it leaves out: how they were written (`dumps`, `transcripts`), and the layers,
each in a room of its own.

In one line::

    layers = of_bytes(b"\x81\x02hi")
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from . import anatomy_engineio, anatomy_socketio
from .anatomy import CLIENT, SERVER, Layer, Sender, first_fault, no_layers
from .anatomy_engineio_v3 import OldPackets
from .anatomy_heads import is_handshake
from .anatomy_http import Requests, Responses
from .anatomy_location import LIKE_A_LOCATION, location_layer
from .anatomy_stack import Stack, stack_of
from .anatomy_websocket import Frames
from .engineio import BINARY as ENGINEIO_BINARY
from .engineio import SEPARATOR, Options
from .wsproto import MASK


class Input(NamedTuple):
    """What is to be explained.

    ``text`` is None for what was written as bytes. ``how`` tells how it was read, where
    that is not plain to see. ``talk`` has the layers of a whole conversation, and is all then.
    ``is_socketio``: whether Engine.IO carries Socket.IO in it; None: as it looks.
    """

    data: bytes
    text: str | None
    how: str = ""
    talk: list[Layer] | None = None
    is_socketio: bool | None = None


# -- what it is --------------------------------------------------------------------------

LIKE_HTTP: Final = re.compile(r"(?:\r\n)*(?:[!#-;=?-~]+ [^\r\n]*HTTP/|HTTP/)", re.IGNORECASE)
_OLD_PAYLOAD: Final = re.compile(r"[0-9]{1,10}:[0-9b]")
_PACKET: Final = re.compile(r"\d|b[A-Za-z0-9+/]*={0,2}\Z|[^\x1e]*\x1e")
_QUERY: Final = re.compile(
    r"(?:[A-Z]+ )?(?:(?:https?|wss?)://[^\s?]*\?|/[^\s?]*\?|\?)?([\w.-]+=[^\s]*)"
)
# Engine.IO's first packet, right or wrong; Socket.IO's CONNECT is much like it.
_HANDSHAKE: Final = re.compile(r'0\{.*"(?:upgrades|pingInterval|pingTimeout|maxPayload)"')
# Socket.IO's CONNECT as it is answered; a client may send the like, but hardly ever does.
_ADMISSION: Final = re.compile(r'4?0(/[^,]*,)?\{"sid":"[^"]*"(,"pid":"[^"]*")?\}')

# How the bytes begin that somebody may take for what is on the wire.
_FOREIGN: Final = (
    (rb"[\x16\x17]\x03[\0-\x04]", "TLS: what is in it, only its two ends can read"),
    (rb"\x1f\x8b\x08", "compressed by gzip: inflate it first (gzip -d)"),
    (rb"\xd4\xc3\xb2\xa1|\xa1\xb2\xc3\xd4|\x4d\x3c\xb2\xa1|\xa1\xb2\x3c\x4d|\x0a\x0d\x0d\x0a",
     "a file of packets: let tcpdump -X -r FILE read it, and pipe what it says"),
    (rb"\d\d:\d\d:\d\d\.\d+ \w+ ", "what tcpdump says without -X, and has no bytes"),
    (rb"(?:(?:\d+\.){3}\d+(?::\d+)?|[0-35-9]\.\d+)\s*\Z", "an address, or a number"),
    (rb"\0\0[\0-\x48]\x04[\0\x01]\0{4}", "HTTP/2, which is not spoken here"),
)  # fmt: skip


def guesses(what: Input) -> Iterator[str]:
    """Kinds that it may be, the likeliest first; none if it is nothing."""
    for start, name in _FOREIGN:
        if re.match(start, what.data):
            raise ValueError(f"can't read this: it is {name}")
    if what.text is None:
        if LIKE_HTTP.match(what.data[:200].decode("latin-1")):
            yield "http"
            return
        if what.data[:1] in (b"\0", b"\1") and b"\xff" in what.data[:13]:
            yield "engineio3"
        yield "websocket"
        return
    text = what.text.strip()
    if LIKE_HTTP.match(what.text):
        yield "http"
    elif (found := _QUERY.fullmatch(text)) and anatomy_engineio.is_query(found[1]):
        yield "query"
    elif LIKE_A_LOCATION.fullmatch(text):
        yield "location"
    elif _OLD_PAYLOAD.match(what.text):
        yield "engineio3"
    elif _PACKET.match(what.text):
        yield "engineio"
        if not _HANDSHAKE.match(what.text):
            yield "socketio"


def of_bytes(data: bytes, sender: str = "") -> list[Layer]:
    """The layers of some bytes of one side. Raises ValueError for what is none of ours."""
    return guessed(Input(data, None), sender)


def guessed(what: Input, sender: str) -> list[Layer]:
    """The layers of what fits, or, where nothing does, of what it looks like most.

    Engine.IO carries Socket.IO, as our server hears it, but where nothing looks like that, as in
    the examples of Engine.IO's own document.
    """
    layers = _of_guesses(what._replace(is_socketio=True), sender)
    if first_fault(layers) is None or _is_socketio(layers):
        return layers
    alone = _of_guesses(what, sender)
    return layers if first_fault(alone) else alone


def _of_guesses(what: Input, sender: str) -> list[Layer]:
    return _first_right(KINDS[kind](what, sender) for kind in guesses(what))


def _is_socketio(layers: list[Layer]) -> bool:
    """Whether a message begins with a digit, as each packet of Socket.IO does."""
    every = (one for layer in layers for one in layer.walk())
    return any(one.name == "Socket.IO packet" and one.data[:1].isdigit() for one in every)


def _first_right(tried: Iterator[list[Layer]]) -> list[Layer]:
    """What fits is what it is; where nothing does, the first guess was the best."""
    first = next(tried)
    if first_fault(first) is None:
        return first
    return next((layers for layers in tried if first_fault(layers) is None), first)


# -- what is in it -----------------------------------------------------------------------


def _either(sender: str, layers_from: Callable[[Sender], list[Layer]]) -> list[Layer]:
    """The layers as said by who is known to; else by the client, if that is right."""
    senders: list[Sender] = [one for one in (CLIENT, SERVER) if sender in ("", one)]
    return _first_right(layers_from(one) for one in senders)


def _sender_of(text: str) -> str:
    return SERVER if _ADMISSION.fullmatch(text) or _HANDSHAKE.match(text) else ""


def _http(what: Input, sender: str) -> list[Layer]:
    is_answer = what.data.lstrip(b"\r\n").startswith(b"HTTP/")
    if sender == SERVER or (is_answer and sender != CLIENT):
        return _responses(what.data)
    stacks: dict[str, Stack | None] = {}

    def carried(head: Any, content: bytes) -> list[Layer]:
        if head.target not in stacks:
            stacks[head.target] = stack_of(CLIENT, head.target, is_socketio=True)
        stack = stacks[head.target]
        return stack.payload(content) if stack else []

    requests = Requests(carried)
    end = what.data.find(b"\r\n\r\n") + 4
    layers = requests.receive(what.data[:end] if end > 3 else what.data)
    if layers and is_handshake(layers[0]):
        target = what.data.split(b" ", 2)[1].decode("latin-1")
        return layers + _frames(what.data[end:], CLIENT, stack_of(CLIENT, target, is_socketio=True))
    layers += requests.receive(what.data[end:] if end > 3 else b"")
    rest = requests.rest()
    return [*layers, rest] if rest else layers


def _responses(data: bytes) -> list[Layer]:
    stack = Stack(SERVER)

    def carried(_head: Any, content: bytes) -> list[Layer]:
        found = stack.payload(content)
        return [] if first_fault(found) else found  # any other content

    responses = Responses(carried)
    layers = responses.receive(data)
    rest = responses.rest()
    if rest is not None:
        return [*layers, rest]
    return layers + _frames(responses.take_rest(), SERVER, Stack(SERVER, is_socketio=True))


def _websocket(what: Input, sender: str) -> list[Layer]:
    data = what.data
    if not sender:
        # What is not masked can only be right from a server.
        sender = SERVER if len(data) > 1 and not data[1] & MASK else CLIENT
    one: Sender = CLIENT if sender == CLIENT else SERVER
    return _frames(data, one, Stack(one, is_socketio=what.is_socketio))


def _frames(data: bytes, sender: Sender, stack: Stack | None) -> list[Layer]:
    if not data:
        return []
    # Nobody knows whether the handshake has agreed on compression: then it may have.
    frames = Frames(sender, stack.message if stack else no_layers, deflate=True)
    layers = frames.receive(data)
    rest = frames.rest()
    return [*layers, rest] if rest else layers


def _engineio(what: Input, sender: str) -> list[Layer]:
    text = _text(what)

    def layers_from(one: Sender) -> list[Layer]:
        packets = anatomy_engineio.Packets(one, Stack(one, is_socketio=what.is_socketio).carried)
        is_payload = SEPARATOR in text or text.startswith(ENGINEIO_BINARY)
        return [packets.payload(text) if is_payload else packets.message(text)]

    return _either(sender or _sender_of(text), layers_from)


def _engineio3(what: Input, sender: str) -> list[Layer]:
    def layers_from(one: Sender) -> list[Layer]:
        stack = Stack(one, is_socketio=what.is_socketio, is_old=True)
        packets = OldPackets(one, stack.carried)
        return [packets.payload(what.data if what.text is None else what.text)]

    return _either(sender, layers_from)


def _socketio(what: Input, sender: str) -> list[Layer]:
    text = _text(what)
    return _either(
        sender or _sender_of(text), lambda one: [anatomy_socketio.Packets(one).receive(text)]
    )


def _location(what: Input, _sender: str) -> list[Layer]:
    return [location_layer(_text(what).strip(), Path.cwd())]


def _text(what: Input) -> str:
    return what.data.decode(errors="replace") if what.text is None else what.text


def _query(what: Input, _sender: str) -> list[Layer]:
    found = _QUERY.fullmatch(_text(what).strip())
    query = found[1] if found else _text(what)
    upgrade = "transport=websocket" in query
    return [anatomy_engineio.query_layer("GET", query, Options(), upgrade=upgrade)]


KINDS: Final[dict[str, Callable[[Input, str], list[Layer]]]] = {
    "http": _http,
    "websocket": _websocket,
    "engineio": _engineio,
    "engineio3": _engineio3,
    "socketio": _socketio,
    "location": _location,
    "query": _query,
}
