"""The command ``explain``: what some bytes say on the wire, field by field.

What it implements: reading bytes or a text from the command line or a pipe, finding out
what they are, and printing their picture, or JSON. Locations of RBR are explained too.
What it leaves out: the protocols (the rooms of `anatomy`) and the picture (`drawing`).

In one line::

    sys.exit(explain('42["hello",1]', Wanted()))
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from . import anatomy_engineio, anatomy_socketio
from .anatomy import CLIENT, SERVER, Fault, Layer, Sender, as_json, first_fault
from .anatomy_engineio_v3 import OldPackets
from .anatomy_heads import is_handshake
from .anatomy_http import Requests, Responses
from .anatomy_location import LIKE_A_LOCATION, location_layer
from .anatomy_stack import Stack
from .anatomy_websocket import Frames
from .drawing import Pen, draw, pen_for
from .engineio import BINARY as ENGINEIO_BINARY
from .engineio import SEPARATOR
from .wsproto import BINARY, MASK, OPCODE, RSV1, TEXT


class Wanted(NamedTuple):
    """What the command line says: all that is not said is found out."""

    kind: str = ""  # one of KINDS
    sender: str = ""
    is_hex: bool | None = None
    as_json: bool = False


class Input(NamedTuple):
    """What is to be explained. ``text`` is None for what was written in hexadecimal."""

    data: bytes
    text: str | None


# -- from the command line ---------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument(
        "input",
        nargs="*",
        metavar="BYTES_OR_TEXT",
        help="bytes in hexadecimal, or a text; for -, or for none in a pipe, standard input",
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--hex", action="store_true", help="these are bytes in hexadecimal")
    group.add_argument(
        "--text", action="store_true", help="this is text, even if it looks like hex"
    )
    parser.add_argument("--as", dest="kind", choices=KINDS, help="what it is, if that is in doubt")
    parser.add_argument(
        "--from", dest="sender", choices=(CLIENT, SERVER), help="who says it, if that is in doubt"
    )
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not options.input and sys.stdin.isatty():
        sys.stderr.write("error: nothing to explain: give bytes or a text, or - to type them\n")
        return 2
    given: str | bytes = " ".join(options.input)
    if given in ("", "-") and options.input != [""]:
        given = sys.stdin.buffer.read()
    is_hex = True if options.hex else False if options.text else None
    wanted = Wanted(options.kind or "", options.sender or "", is_hex, options.json)
    return explain(given, wanted)


def explain(given: str | bytes, wanted: Wanted) -> int:
    """Print what something is; return the exit status: 0 if it is right, 1 if it is wrong.

    2 for what is no hexadecimal, and should be.
    """
    try:
        layers = explained(given, wanted)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if wanted.as_json:
        sys.stdout.write(json.dumps([as_json(layer) for layer in layers], indent=2) + "\n")
    else:
        sys.stdout.write(picture(layers, pen_for(sys.stdout)) + "\n")
    return 1 if first_fault(layers) else 0


def picture(layers: list[Layer], pen: Pen) -> str:
    """The picture, and the verdict under it."""
    faulty = next((one for layer in layers for one in layer.walk() if one.fault), None)
    if faulty is not None and faulty.fault is not None:
        verdict = pen.paint("fault", f"Wrong: {faulty.fault.reason}.")
        return f"{draw(layers, pen)}\n\n{verdict} {_consequence(faulty, faulty.fault)}"
    if any(layer.missing for layer in layers):
        return f"{draw(layers, pen)}\n\nRight so far."
    return f"{draw(layers, pen)}\n\nRight."


def _consequence(layer: Layer, fault: Fault) -> str:
    """What our side does about it."""
    if layer.name.startswith("HTTP") and layer.sender == CLIENT:
        return f"The server answers {fault.code}, and closes the connection."
    if layer.name.startswith("HTTP"):
        return "A client believes nothing of it, and hangs up."
    if layer.name == "WebSocket handshake":
        return f"The server answers {fault.code}."
    if layer.name.startswith("WebSocket"):
        return f"The connection is closed with code {fault.code}."
    if layer.name == "Engine.IO query":
        return f"The server answers with code {fault.code}."
    if layer.name.startswith("RBR"):
        return "`check` says so too."
    return (
        "The connection is closed." if layer.name.startswith("Socket") else "The session is closed."
    )


# -- what it is --------------------------------------------------------------------------


def explained(given: str | bytes, wanted: Wanted) -> list[Layer]:
    """The layers of what was given. Raises ValueError for bad hexadecimal."""
    what = read(given, wanted)
    if wanted.kind:
        return _KINDS[wanted.kind](what, wanted.sender)
    return _first_right(_KINDS[kind](what, wanted.sender) for kind in _guesses(what))


def _first_right(tried: Iterator[list[Layer]]) -> list[Layer]:
    """What fits is what it is; where nothing does, the first guess was the best."""
    first = next(tried)
    if first_fault(first) is None:
        return first
    return next((layers for layers in tried if first_fault(layers) is None), first)


_HEX: Final = re.compile(r"\s*(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[\s:,]*)+", re.ASCII)
_BETWEEN: Final = re.compile(r"0x|\\x|[\s:,]+")
_HTTP: Final = re.compile(r"(?:\r\n)*(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\r\n]*HTTP/|HTTP/)")
_OLD_PAYLOAD: Final = re.compile(r"[0-9]{1,10}:[0-6b]")
# Socket.IO's CONNECT as it is answered; a client may send the like, but hardly ever does.
_ADMISSION: Final = re.compile(r'4?0(/[^,]*,)?\{"sid":"[^"]*"(,"pid":"[^"]*")?\}')


def read(given: str | bytes, wanted: Wanted) -> Input:
    """Bytes or a text, however they are written. Raises ValueError for bad hexadecimal."""
    if isinstance(given, bytes):
        try:
            text = given.decode()
        except UnicodeDecodeError:
            return Input(given, None)
    else:
        text = given
        given = text.encode(errors="surrogateescape")
    stripped = text.strip()
    is_hex = wanted.is_hex
    if is_hex is None:
        is_hex = _is_hex(stripped)
    if is_hex:
        digits = _BETWEEN.sub("", stripped)
        try:
            return Input(bytes.fromhex(digits), None)
        except ValueError:
            raise ValueError(f"this is not hexadecimal: {stripped[:60]!a}") from None
    if _HTTP.match(text) and "\n" not in text:
        # Typed in a shell, which does not make line breaks of it.
        text = text.replace("\\r", "\r").replace("\\n", "\n")
        return Input(text.encode(errors="surrogateescape"), text)
    if wanted.kind != "http" and not _HTTP.match(text):
        # An editor, or echo, has put a line break at its end.
        text = text.removesuffix("\n").replace("\\x1e", "\x1e")
        given = text.encode(errors="surrogateescape")
    return Input(given, text)


def _is_hex(text: str) -> bool:
    """Whether a text is bytes in hexadecimal, and not a packet of digits."""
    if not _HEX.fullmatch(text) or len(text) < 4:
        return False
    if _BETWEEN.search(text):
        return True
    packet = anatomy_engineio.Packets(CLIENT, Stack(CLIENT).carried).message(text)
    return first_fault([packet]) is not None or not packet.inner


def _guesses(what: Input) -> Iterator[str]:
    """Kinds that it may be, the likeliest first; at least one."""
    if what.text is None:
        if _HTTP.match(what.data[:200].decode("latin-1")):
            yield "http"
            return
        if what.data[:1] in (b"\0", b"\1") and b"\xff" in what.data[:13]:
            yield "engineio3"
        yield "websocket"
        return
    if _HTTP.match(what.text):
        yield "http"
    elif LIKE_A_LOCATION.fullmatch(what.text):
        yield "location"
    elif _OLD_PAYLOAD.match(what.text):
        yield "engineio3"
    else:
        yield "engineio"
        yield "socketio"


# -- what is in it -----------------------------------------------------------------------


def _either(sender: str, layers_from: Callable[[Sender], list[Layer]]) -> list[Layer]:
    """The layers as said by who is known to; else by the client, if that is right."""
    senders: list[Sender] = [one for one in (CLIENT, SERVER) if sender in ("", one)]
    return _first_right(layers_from(one) for one in senders)


def _sender_of(text: str) -> str:
    return SERVER if _ADMISSION.fullmatch(text) else ""


def _http(what: Input, sender: str) -> list[Layer]:
    is_answer = what.data.lstrip(b"\r\n").startswith(b"HTTP/")
    if sender == SERVER or (is_answer and sender != CLIENT):
        return _responses(what.data)
    stack = Stack(CLIENT)

    def carried(head: Any, content: bytes) -> list[Layer]:
        return stack.payload(content) if anatomy_engineio.is_query(head.target) else []

    requests = Requests(carried)
    end = what.data.find(b"\r\n\r\n") + 4
    layers = requests.receive(what.data[:end] if end > 3 else what.data)
    if layers and is_handshake(layers[0]):
        return layers + _frames(what.data[end:], CLIENT)
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
    return layers + _frames(responses.take_rest(), SERVER)


def _websocket(what: Input, sender: str) -> list[Layer]:
    data = what.data
    if not sender:
        # What is not masked can only be right from a server.
        sender = SERVER if len(data) > 1 and not data[1] & MASK else CLIENT
    return _frames(data, CLIENT if sender == CLIENT else SERVER)


def _frames(data: bytes, sender: Sender) -> list[Layer]:
    if not data:
        return []
    is_deflated = data[0] & RSV1 and data[0] & OPCODE in (TEXT, BINARY)
    frames = Frames(sender, Stack(sender).message, deflate=bool(is_deflated))
    layers = frames.receive(data)
    rest = frames.rest()
    return [*layers, rest] if rest else layers


def _engineio(what: Input, sender: str) -> list[Layer]:
    text = _text(what)

    def layers_from(one: Sender) -> list[Layer]:
        packets = anatomy_engineio.Packets(one, Stack(one).carried)
        is_payload = SEPARATOR in text or text.startswith(ENGINEIO_BINARY)
        return [packets.payload(text) if is_payload else packets.message(text)]

    return _either(sender or _sender_of(text), layers_from)


def _engineio3(what: Input, sender: str) -> list[Layer]:
    def layers_from(one: Sender) -> list[Layer]:
        packets = OldPackets(one, Stack(one).carried)
        return [packets.payload(what.data if what.text is None else what.text)]

    return _either(sender, layers_from)


def _socketio(what: Input, sender: str) -> list[Layer]:
    text = _text(what)
    return _either(
        sender or _sender_of(text), lambda one: [anatomy_socketio.Packets(one).receive(text)]
    )


def _location(what: Input, _sender: str) -> list[Layer]:
    return [location_layer(_text(what), Path.cwd())]


def _text(what: Input) -> str:
    return what.data.decode(errors="replace") if what.text is None else what.text


_KINDS: Final[dict[str, Callable[[Input, str], list[Layer]]]] = {
    "http": _http,
    "websocket": _websocket,
    "engineio": _engineio,
    "engineio3": _engineio3,
    "socketio": _socketio,
    "location": _location,
}
KINDS: Final = tuple(_KINDS)
