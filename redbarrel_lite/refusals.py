"""What an .rbr file may say and no answer could keep: told at the start, as an error.

What it implements: the looks at a tree that `rbr_check` leaves to whoever serves
it. A rule that were left out in silence would be a door left open.

In one line::

    reading.diagnostics += not_served(tree)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .conditions import header_text
from .errors import Diagnostic
from .rbr_nodes import (
    Describe,
    Field,
    Number,
    OnError,
    OnEvent,
    Operation,
    Path,
    Rbr,
    Section,
    Set,
    UnlessType,
    UnlessValidates,
)

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
_FIELD_TEXT: Final = re.compile(r"[\t -~\xa0-\xff]*")  # RFC 9110 5.5
# The framing of an answer is the server's: a second word on it is request smuggling. So
# is a WebSocket's handshake.
_FRAMING: Final = ("content-length", "transfer-encoding", "connection", "upgrade", "trailer")


def not_served(tree: Rbr) -> Iterator[Diagnostic]:
    """What no answer could be."""
    for path in tree.paths:
        for _, operation in operations(path):
            yield from _operation(tree, operation)


def operations(path: Path) -> Iterator[tuple[str, Operation]]:
    """All rules of a path, with the section that each stands in; "" is the path itself."""
    for operation in path.section.operations():
        yield "", operation
    for entry in path.section.entries:
        if isinstance(entry, Field) and isinstance(entry.value, Section):
            for operation in entry.value.operations():
                yield entry.key.text, operation


def _operation(tree: Rbr, operation: Operation) -> Iterator[Diagnostic]:
    match operation:
        case Describe() | OnEvent():
            return
        case Set():
            yield from _set(tree, operation)
        case UnlessType(header, code=code) | UnlessValidates(header, code=code):
            if header is not None and not _TOKEN.fullmatch(header):
                yield _no_name(tree, operation, "unless X-Times type is int return 400")
            yield from _code(tree, code)
        case OnError(code):
            yield from _code(tree, code)


def _code(tree: Rbr, code: Number) -> Iterator[Diagnostic]:
    if code.text.startswith("1"):
        hint = "write a final one: 400 is a bad request, 401 needs a login"
        message = f"{code.text} is an interim answer: the client would go on waiting"
        yield tree.source.diagnostic("RBR033", code.span, message, hint)


def _no_name(tree: Rbr, operation: Set | UnlessType | UnlessValidates, example: str) -> Diagnostic:
    hint = f"write letters, digits and '-': {example}"
    where = operation.header_span
    return tree.source.diagnostic("RBR042", where, "this is no name of a header", hint)


def _set(tree: Rbr, operation: Set) -> Iterator[Diagnostic]:
    diagnostic = tree.source.diagnostic
    name = operation.header
    if not _TOKEN.fullmatch(name):
        yield _no_name(tree, operation, 'set X-Frame-Options "DENY"')
    elif name.lower() in _FRAMING or name.lower().startswith("sec-websocket-"):
        hint = "remove it: the server knows how long an answer is, and when it ends"
        yield diagnostic("RBR042", operation.header_span, f"'{name}' is not yours to set", hint)
    elif not _FIELD_TEXT.fullmatch(header_text(operation.value)):
        hint = "write one line, of Latin letters"
        yield diagnostic("RBR042", operation.value.span, "no header can have this value", hint)
