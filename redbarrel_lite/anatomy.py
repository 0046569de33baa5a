r"""What bytes mean: fields, and layers that carry layers, for people to look at.

What it implements: the parts of which `explain` and `trace` make their pictures, and how
the guilty byte of a fault is found. What it leaves out: the protocols, each in a room of
its own (`anatomy_http`, `anatomy_websocket`, `anatomy_engineio`, `anatomy_socketio`), and
the drawing (`drawing`). Whether bytes are right it does not judge either: the wire rooms
do, and a `Fault` has their words.

In one line::

    for layer in Frames(CLIENT, no_layers).receive(b"\x89\x80\x37\xfa\x21\x3d"): layer.summary
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from json import JSONDecoder
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypeVar

Sender: TypeAlias = Literal["client", "server"]
CLIENT: Final = "client"
SERVER: Final = "server"

UNKNOWN: Final = -1  # of `Layer.missing`: something is missing, and nobody knows how much
MAX_SEARCHED: Final = 16 * 1024  # bytes in which the guilty one is looked for
MAX_SHOWN: Final = 60  # characters of a value, in a field or in a summary


class Field(NamedTuple):
    """Some bytes of a layer, or some bits of one byte, and what they say.

    ``name`` and ``section`` are the words of the specification. ``bits`` is the picture of
    the byte, such as "1... ....". ``secret`` is how many characters of a secret may be
    shown; None for what is none.
    """

    start: int
    end: int
    name: str
    value: str
    meaning: str
    section: str
    bits: str = ""
    secret: int | None = None


class Fault(NamedTuple):
    """What is wrong, in the words of the room that says so.

    ``at`` is the guilty byte: what stands before it could have become something right,
    with it nothing can. Where something is missing, it is the end of the bytes.
    """

    at: int
    reason: str
    code: int


@dataclass(slots=True)
class Layer:
    """One unit of one protocol: a head, a frame, a packet.

    ``missing`` is how many of its bytes have not come; ``awaits`` says in words what is to come
    behind it, before it means something. ``inner`` are the layers that it carries. Offsets are
    those of its own ``data``.
    """

    name: str
    data: bytes
    sender: Sender
    summary: str
    section: str
    fields: list[Field] = field(default_factory=list)
    fault: Fault | None = None
    missing: int = 0
    awaits: str = ""
    is_text: bool = True
    inner: list[Layer] = field(default_factory=list)

    def walk(self) -> Iterator[Layer]:
        """This layer, and all that it carries, from the outside in."""
        yield self
        for layer in self.inner:
            yield from layer.walk()


# What makes the layers of something that a layer carries, such as the message of a frame.
Carried: TypeAlias = Callable[[str | bytes], list[Layer]]


def no_layers(_message: str | bytes) -> list[Layer]:
    """For who wants to know of one layer alone."""
    return []


def first_fault(layers: Iterable[Layer]) -> Fault | None:
    """The first thing that is wrong with some layers; None if nothing is."""
    every = (layer for outer in layers for layer in outer.walk())
    return next((layer.fault for layer in every if layer.fault is not None), None)


def is_complete(layers: Iterable[Layer]) -> bool:
    """Whether nothing is to come that some layers need."""
    every = (layer for outer in layers for layer in outer.walk())
    return not any(layer.missing or layer.awaits for layer in every)


def as_json(layer: Layer) -> dict[str, Any]:
    """A layer and what it carries, for machines; bytes are in hexadecimal."""
    found: dict[str, Any] = {
        "layer": layer.name,
        "sender": layer.sender,
        "summary": layer.summary,
        "section": layer.section,
        "bytes": layer.data.hex(),
        "fields": [one._asdict() for one in layer.fields],
        "inner": [as_json(one) for one in layer.inner],
    }
    for one in found["fields"]:
        del one["secret"]
    if layer.fault is not None:
        found["fault"] = layer.fault._asdict()
    if layer.missing:
        found["missing"] = layer.missing if layer.missing > 0 else None
    if layer.awaits:
        found["awaits"] = layer.awaits
    return found


# -- where it is wrong -----------------------------------------------------------------

Sequence = TypeVar("Sequence", bytes, str)


def guilty(
    data: Sequence,
    is_right: Callable[[Sequence], bool],
    endings: Callable[[Sequence], Iterable[Sequence]],
) -> int:
    """Where the first element is after which nothing can make it right.

    The judge is the room: a beginning may still become right if it does so with one of
    its ``endings``. The length of the data means that only something is missing. Of what
    is long, only the beginning is searched: each question costs reading all before it.
    """
    good, bad = 0, min(len(data), MAX_SEARCHED) + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        start = data[:middle]
        if any(is_right(start + ending) for ending in endings(start)):
            good = middle
        else:
            bad = middle
    return good


def offset(text: str, index: int) -> int:
    """Where a character begins, in the bytes of its text."""
    return len(utf8(text[:index]))


def utf8(text: str) -> bytes:
    """The bytes of a text; a half of a surrogate pair, too, has some."""
    return text.encode(errors="surrogatepass")


# -- JSON inside of a packet -------------------------------------------------------------

_value: Final = JSONDecoder().raw_decode
_BLANKS: Final = re.compile(r"[ \t\n\r]*")


def json_parts(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of each part of the array or object that begins at ``at``.

    Of as many as can be read: the verdict on the rest is not ours.
    """
    is_object = text[at : at + 1] == "{"
    if not is_object and text[at : at + 1] != "[":
        return
    number = 0
    while True:
        start = _skip(text, at + 1)
        name = str(number)
        try:
            if is_object:
                key, at = _value(text, start)
                name = str(key)
                start = _skip(text, _skip(text, at) + 1)
            _, end = _value(text, start)
        except (ValueError, RecursionError):
            return
        yield name, start, end
        number += 1
        at = _skip(text, end)
        if text[at : at + 1] != ",":
            return


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


# What may follow a beginning of JSON, before its brackets are closed: the rest of a
# string, of an escape, of a member (that of a placeholder, too), of a word.
_MEMBERS: Final = 'true,"num":0'
_JSON_REST: Final = (
    *("", '"', 'x"', '"x"', "0", '0"', '00"', '000"', '0000"', 'n"', '"x":0', ":0", '":0'),
    *('x":0', '"x",0', "rue", "ue", "e", "alse", "lse", "se", "ull", "ll", "l"),
    *(_MEMBERS[start:] for start in range(len(_MEMBERS))),
)


def json_endings(start: str) -> list[str]:
    """What may complete a text that ends within some JSON."""
    closing: list[str] = []
    in_string = escaped = False
    for char in start:
        if in_string:
            in_string = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string = True
        elif char in "[{":
            closing.append("]" if char == "[" else "}")
        elif char in "]}" and closing:
            closing.pop()
    end = "".join(reversed(closing))
    return [rest + end for rest in _JSON_REST]


# -- as people read it -------------------------------------------------------------------


def shown(value: str | bytes, most: int = MAX_SHOWN) -> str:
    """A value on one line: text in quotes, bytes in hexadecimal; cut if it is long."""
    if isinstance(value, bytes):
        text = value[: most // 2].hex()
        return text if len(value) <= most // 2 else f"{text}… ({counted(len(value), 'byte')})"
    text = printable(value[: most + 1])
    return f'"{text}"' if len(value) <= most else f'"{text[:most]}…'


def printable(text: str) -> str:
    """A text without what would move a terminal's cursor, or do worse."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def counted(count: int, noun: str) -> str:
    """A number of things, in English."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


# -- secrets -----------------------------------------------------------------------------


def hidden(layers: list[Layer]) -> list[Layer]:
    """The same layers with stars where secrets are, whatever layer shows them.

    The bytes too: of what is masked or compressed, all that it carries.
    """
    return [_hidden(layer) for layer in layers]


def _hidden(layer: Layer) -> Layer:
    words = dict(_secret_words(layer))
    if not words:
        return layer
    cleaned = [_hidden(one) for one in layer.inner]
    data = _starred_data(layer, cleaned)
    inner = [
        replace(clean, data=data) if one.data == layer.data else clean
        for clean, one in zip(cleaned, layer.inner, strict=True)
    ]
    fields = [_hidden_field(one, layer, data, words) for one in layer.fields]
    summary = layer.summary
    for one, clean in zip(layer.fields, fields, strict=True):
        if one.secret is not None and one.value:  # of which it may show a part, as the field does
            summary = summary.replace(one.value, clean.value)
    fault = layer.fault
    if fault is not None:  # it may quote what it is about
        fault = fault._replace(reason=_without(fault.reason, words))
    return replace(
        layer,
        data=data,
        summary=_without(summary, words),
        fields=fields,
        fault=fault,
        inner=inner,
    )


def _secret_words(layer: Layer) -> Iterator[tuple[str, str]]:
    """Each secret of a layer and of what it carries, and what is shown instead."""
    for deep in layer.walk():
        for one in deep.fields:
            if one.secret is not None and one.end > one.start:
                secret = deep.data[one.start : one.end]
                starred = _starred(secret, one.secret)
                yield printable(secret.decode(errors="replace")), starred.decode(errors="replace")


def _starred(secret: bytes, kept: int) -> bytes:
    return secret[:kept] + b"*" * (len(secret) - kept)


def _starred_data(layer: Layer, cleaned: list[Layer]) -> bytes:
    data = bytearray(layer.data)
    for field_ in layer.fields:
        if field_.secret is not None:
            where = slice(field_.start, field_.end)
            data[where] = _starred(layer.data[where], field_.secret)
    for clean, one in zip(cleaned, layer.inner, strict=True):
        at = layer.data.find(one.data)
        if clean.data == one.data:
            continue
        if at >= 0:
            data[at : at + len(one.data)] = clean.data
        else:
            start = layer.fields[-1].start
            data[start:] = b"*" * (len(data) - start)
    return bytes(data)


def _hidden_field(one: Field, layer: Layer, data: bytes, words: dict[str, str]) -> Field:
    after = data[one.start : one.end]
    if layer.data[one.start : one.end] == after:
        return one
    value = _without(one.value, words)
    if one.secret is not None:
        value = printable(after.decode(errors="replace"))
        value = value if len(value) <= MAX_SHOWN else "*"
    elif value == one.value:  # cut, or the bytes of something masked
        value = shown(after.decode(errors="replace")) if layer.is_text else "…"
    return one._replace(value=value, meaning="not shown" if one.secret == 0 else one.meaning)


def _without(text: str, words: dict[str, str]) -> str:
    """A text without the secrets in it, but for those so short that they are in any text."""
    for secret in sorted(words, key=len, reverse=True):
        if len(secret) > _SHORT:
            text = text.replace(secret, words[secret])
    return text


_SHORT: Final = 3
