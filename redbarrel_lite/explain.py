"""The command ``explain``: what some bytes say on the wire, field by field.

What it implements: reading what the command line or a pipe gives, however it is written,
and printing its picture, or JSON. What it leaves out: how bytes are written (`dumps`), and
conversations (`transcripts`), the protocols (the rooms of `anatomy`), and the picture
(`drawing`).

In one line::

    sys.exit(explain('42["hello",1]', Wanted()))
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from . import anatomy_engineio
from .anatomy import (
    CLIENT,
    SERVER,
    Fault,
    Layer,
    Sender,
    as_json,
    counted,
    first_fault,
    is_complete,
    shown,
)
from .anatomy_kinds import KINDS, LIKE_HTTP, Input, guessed, guesses, of_bytes
from .anatomy_location import LIKE_A_LOCATION
from .anatomy_packet import segment_of
from .anatomy_stack import Stack
from .anatomy_talk import heads, messages, stream
from .drawing import Pen, draw, pen_for
from .dumps import (
    dumped,
    followed,
    from_hex,
    is_almost_hex,
    is_hex,
    is_parted,
    literal,
)
from .engineio import SEPARATOR
from .transcripts import Said, of_curl, of_fields, of_lines, uncoloured


class Wanted(NamedTuple):
    """What the command line says: all that is not said is found out."""

    kind: str = ""  # a key of KINDS
    sender: str = ""
    is_hex: bool | None = None
    as_json: bool = False
    crlf: bool = False  # lines of text have lost their CR


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
    parser.add_argument(
        "--as", dest="kind", choices=tuple(KINDS), help="what it is, if that is in doubt"
    )
    parser.add_argument(
        "--from", dest="sender", choices=(CLIENT, SERVER), help="who says it, if that is in doubt"
    )
    parser.add_argument(
        "--crlf", action="store_true", help="put back the CRs of a head that copying has lost"
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
    wanted = Wanted(options.kind or "", options.sender or "", is_hex, options.json, options.crlf)
    return explain(given, wanted)


def explain(given: str | bytes, wanted: Wanted) -> int:
    """Print what something is; return the exit status: 0 if it is right, 1 if it is wrong.

    2 for what can't be read as anything.
    """
    try:
        what, layers = _read_and_explained(given, wanted)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if wanted.as_json:
        sys.stdout.write(json.dumps([as_json(layer) for layer in layers], indent=2) + "\n")
    else:
        how = f"Read as {what.how}.\n\n" * bool(what.how)
        hint = "" if wanted.kind else _hint(what, layers, wanted.sender)
        sys.stdout.write(how + picture(layers, pen_for(sys.stdout)) + hint + "\n")
    return 1 if first_fault(layers) else 0


def picture(layers: list[Layer], pen: Pen) -> str:
    """The picture, and the verdict under it."""
    faulty = next((one for layer in layers for one in layer.walk() if one.fault), None)
    if faulty is not None and faulty.fault is not None:
        verdict = pen.paint("fault", f"Wrong: {faulty.fault.reason}.")
        return f"{draw(layers, pen)}\n\n{verdict} {_consequence(faulty, faulty.fault)}"
    return f"{draw(layers, pen)}\n\n{'Right.' if is_complete(layers) else 'Right so far.'}"


def _hint(what: Input, layers: list[Layer], sender: str) -> str:
    """What is to be said where it is the guess whether Socket.IO is spoken that decides."""
    kind = "" if what.talk else _ALONE.get(layers[0].name, "")
    fault = first_fault(KINDS[kind](what._replace(is_socketio=True), sender)) if kind else None
    if fault is None:
        return ""
    if not first_fault(layers):
        return f" A server of Socket.IO would close the connection: {fault.reason}."
    if first_fault(KINDS[kind](what, sender)):
        return ""
    return f" Where no Socket.IO is spoken it is right (`--as {kind}`)."


# What there is without Socket.IO, by its outermost layer.
_ALONE: Final = {
    "WebSocket frame": "websocket",
    "Engine.IO packet": "engineio",
    "Engine.IO payload": "engineio",
    "Engine.IO 3 payload": "engineio3",
}


def _consequence(layer: Layer, fault: Fault) -> str:
    """What our side does about it."""
    if layer.name.startswith("HTTP"):
        lost = " If copying has lost the CRs: --crlf." * fault.reason.startswith("bare CR or LF")
        if layer.sender == CLIENT:
            return f"The server answers {fault.code}, and closes the connection.{lost}"
        return f"A client believes nothing of it, and hangs up.{lost}"
    if layer.name == "WebSocket handshake":
        return f"The server answers {fault.code}."
    if layer.name.startswith("WebSocket"):
        taken = " With a context taken over (RFC 7692 7.2.3.2) it may be right; ours never is."
        taken *= "too far back" in fault.reason
        return f"The connection is closed with code {fault.code}.{taken}"
    if layer.name == "Engine.IO query":
        return f"The server answers with code {fault.code}."
    if layer.name.startswith("RBR"):
        return "`check` says so too."
    return (
        "The connection is closed." if layer.name.startswith("Socket") else "The session is closed."
    )


# -- what it is --------------------------------------------------------------------------


def explained(given: str | bytes, wanted: Wanted) -> list[Layer]:
    """The layers of what was given. Raises ValueError for what can't be read."""
    return _read_and_explained(given, wanted)[1]


def _read_and_explained(given: str | bytes, wanted: Wanted) -> tuple[Input, list[Layer]]:
    what = read(given, wanted)
    if what.talk is not None:
        return what, what.talk
    if wanted.kind:
        return what, KINDS[wanted.kind](what, wanted.sender)
    likely = next(guesses(what), "")
    if likely == "location" and what.text is not None and _is_file(what.text.strip()):
        raise ValueError(_unreadable(what.text.strip()))
    layers = guessed(what, wanted.sender) if likely else []
    if what.text is None or likely in ("http", "location", "query"):
        return what, layers
    if layers and (wanted.is_hex is False or first_fault(layers) is None):
        return what, layers
    if layers and first_fault(KINDS[likely](what, wanted.sender)) is None:
        return what, layers  # wrong only as Socket.IO
    other = _other_reading(what.text, wanted)
    if other is None and not layers:
        raise ValueError(_unreadable(what.text.strip()))
    return (what, layers) if other is None else other


_LINE_END: Final = re.compile(r"\r?\n")


def read(given: str | bytes, wanted: Wanted) -> Input:
    """Bytes or a text, however they are written. Raises ValueError for what is neither."""
    if not given:
        raise ValueError("nothing to explain: the input is empty")
    text = _decoded(given) if isinstance(given, bytes) else given
    if text is None:
        assert isinstance(given, bytes)  # or it would be a text
        return _bytes_read(given, "")
    data = text.encode(errors="surrogateescape")
    stripped = text.strip()
    if wanted.is_hex:
        return _dump_read(uncoloured(text)) or _bytes_read(from_hex(stripped), "")
    if wanted.crlf:
        text = _LINE_END.sub("\r\n", text)
    if LIKE_HTTP.match(text):
        if "\n" not in text:
            # Typed in a shell, which does not make line breaks of it.
            text = text.replace("\\r", "\r").replace("\\n", "\n")
        return Input(text.encode(errors="surrogateescape"), text)
    if wanted.is_hex is None:
        found = _recognized(text, wanted)
        if found is not None:
            return found
    if wanted.kind != "http":
        # An editor, or echo, has put a line break at its end.
        text = text.removesuffix("\n").removesuffix("\r").replace("\\x1e", "\x1e")
        data = text.encode(errors="surrogateescape")
    if not text.strip():
        raise ValueError("nothing to explain: the input is blank")
    return Input(data, text)


def _decoded(given: bytes) -> str | None:
    """The text that bytes are; None if they are none. A mark of their order is no part of it."""
    if given[0] < 0x20 and given[0] not in b"\t\n\r\x1b\x1e":  # such as those of a fragment
        return None
    if given[:2] in (b"\xff\xfe", b"\xfe\xff") and len(given) % 2 == 0:  # as PowerShell's ">"
        with contextlib.suppress(UnicodeDecodeError):
            return given.decode("utf-16")
    try:
        return given.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _recognized(text: str, wanted: Wanted) -> Input | None:
    """What is written in a way that tells what it is."""
    plain = uncoloured(text)
    found = _dump_read(plain)
    if found is not None:
        return found
    stripped = text.strip()
    if _is_hex(stripped) and literal(stripped) is None:  # which eight bits are, each
        return _bytes_read(from_hex(stripped), "")
    data = literal(stripped)
    if data is not None:
        return _bytes_read(data, "bytes in the words of a programming language")
    if wanted.kind or LIKE_A_LOCATION.fullmatch(stripped):
        return None
    said = of_curl(plain)
    if said is not None:
        return Input(b"", None, "what curl -v shows, content as curl has read it", [*heads(said)])
    head = of_fields(plain.strip())
    if head is None:
        return None
    how = "a head of HTTP/2, as HTTP/1.1 has it"
    if head.added:
        how = f"lines of a head, before which {head.added} is put"
    return Input(head.data, head.data.decode(errors="surrogateescape"), how)


def _dump_read(text: str) -> Input | None:
    sides = followed(text)
    if sides is not None:
        # Whose bytes are the client's, the first of them tell.
        first = sides[0].indent
        said = [Said(CLIENT if one.indent == first else SERVER, one.data) for one in sides]
        return Input(b"", None, "a stream that Wireshark has followed", stream(said, of_bytes))
    blocks = dumped(text)
    if blocks is None:
        return None
    said = [Said(_sender_in(one.title), one.data) for one in blocks if " SSL data" not in one.title]
    packets = sum(segment_of(one.data) is not None for one in blocks)
    if packets:
        how = f"a dump of {counted(packets, 'packet')}, whose headers are stepped over"
        return Input(b"", None, how, stream(said, of_bytes))
    if any(one.sender for one in said):
        return Input(b"", None, "a dump", stream(said, of_bytes, is_known=True))
    return Input(b"".join(one.data for one in blocks), None, "a dump")


def _sender_in(title: str) -> Sender | None:
    """Who says what a dump of `curl --trace` shows below this line."""
    if title.startswith("=> Send"):
        return CLIENT
    return SERVER if title.startswith("<= Recv") else None


def _bytes_read(data: bytes, how: str) -> Input:
    """Bytes, which may be a packet of IP."""
    if segment_of(data) is not None:
        return Input(
            b"",
            None,
            how or "a packet of a capture, whose headers are stepped over",
            stream([Said(None, data)], of_bytes),
        )
    return Input(data, None, how)


def _is_hex(text: str) -> bool:
    """Whether a text is bytes in hexadecimal, and not a packet of digits."""
    if not is_hex(text) or len(text) < 4:
        return False
    if is_parted(text):
        return True
    packet = anatomy_engineio.Packets(CLIENT, Stack(CLIENT).carried).message(text)
    return first_fault([packet]) is not None or not packet.inner


def _other_reading(given: str, wanted: Wanted) -> tuple[Input, list[Layer]] | None:
    """What a text may be that is no packet, or a wrong one. Raises ValueError for a slip in hex."""
    text = given.strip()
    said = of_lines(text)
    if said is not None:
        layers = list(messages(said, is_engine=True))
        return Input(b"", None, "messages, one a line", layers), layers
    plain = uncoloured(text)
    if plain != text:
        return _read_and_explained(plain, wanted)
    for how, inner in _less(given):
        with contextlib.suppress(ValueError):
            what, layers = _read_and_explained(inner, wanted)
            if first_fault(layers) is None:
                return what._replace(how=what.how or how), layers
    if is_almost_hex(text):
        from_hex(text)  # which tells where it is none
    if len(text) >= 4 and _BASE64.fullmatch(text):
        with contextlib.suppress(ValueError):
            what, layers = _with_layers(
                _bytes_read(
                    base64.b64decode(text, b"-_" if set(text) & set("-_") else None), "base64"
                ),
                wanted.sender,
            )
            # Words look like base64, too: it must be something right.
            if not first_fault(layers) and is_complete(layers):
                return what, layers
    return None


def _less(text: str) -> Iterator[tuple[str, str]]:
    """A text less what others have put around it, or in the place of its separators."""
    if text.lstrip()[:1] == '"':
        with contextlib.suppress(ValueError, RecursionError):
            yield "a text in JSON", str(json.loads(text))
    bare = text.strip(_AROUND)
    if bare not in ("", text):
        yield "what stands within the marks around it", bare
    for mark in _SEPARATORS:
        if mark in text:
            yield f"a payload, with {mark} for U+001E", text.replace(mark, SEPARATOR)


_AROUND: Final = " \t\r\n\xa0\u200b\ufeff\u201c\u201d\u2018\u2019`'\""
_SEPARATORS: Final = ("\u241e", "\\u001e", "%1E", "^^")


def _with_layers(what: Input, sender: str) -> tuple[Input, list[Layer]]:
    return what, of_bytes(what.data, sender) if what.talk is None else what.talk


_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/_-]\s*)+={0,2}")


def _unreadable(text: str) -> str:
    """Why a text is nothing that is explained here, and what to do about it."""
    start = text[:2000]
    if _is_file(text):
        return f"can't read this: {shown(text)} is a file: < {text} gives what is in it"
    advice = next((words for like, words in _ADVICE if re.match(like, start)), _NOTHING)
    return f"can't read this: {shown(text)} {advice}"


def _is_file(text: str) -> bool:
    try:
        return len(text) < _LONGEST_NAME and Path(text).is_file()
    except (OSError, ValueError):
        return False


_LONGEST_NAME: Final = 1024
_NOTHING: Final = (
    "is no bytes in hexadecimal, no head of HTTP, no packet of Engine.IO or Socket.IO, and no "
    "location; --as says what it is meant for, and --hex and --text how it is written"
)
_ADVICE: Final = (
    (r"\$?\s*curl\s", "is a command: run it with -sv, and pipe what it says: curl -sv ... 2>&1 |"),
    (r"[\[{]", "is JSON, and no packet: before it stands what it is, such as 42 of an event"),
    (r"wss?://", "is a url: what is behind it, connect URL and doctor URL tell"),
)  # fmt: skip
