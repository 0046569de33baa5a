"""Texts in RBR, which are no strangers', but may be anything.

The laws: a text is read, or its errors are reported; a canonical text says the same as
the one it was made of, and its own canonical text is itself; what is printed of an
error is short, and shows nothing that a terminal would obey or hide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator
from typing import ClassVar, Final

from redbarrel_lite.errors import Diagnostic, RbrError
from redbarrel_lite.rbr import parse
from redbarrel_lite.rbr_check import examine
from redbarrel_lite.rbr_diagnostics import CODES, MAX_ERRORS
from redbarrel_lite.rbr_format import format as format_rbr
from redbarrel_lite.rbr_nodes import Location

from .laws import TESTS, Target, hold, same

MAX_SEED_BYTES: Final = 2000
MAX_PICTURE: Final = 2000  # characters
# They hold letters and emoji together.
JOINERS: Final = "\u200c\u200d"


class Rbr(Target):
    """A file."""

    name: ClassVar[str] = "rbr"
    tokens = (
        *(b"(", b")", b";", b",", b"{", b"}", b'"', b"'", b'"""', b"#", b"/*", b"//", b"\\", b"|"),
        *(b"=", b":", b"-", b"*", b"@", b"\n", b"\r\n", b"\r", b"\t", b"\0", b"\x1b[2J", b"\x7f"),
        *(b"path p (", b"url /", b"method GET", b"use python:a.b", b"use file:a", b"return 400"),
        *(b"unless type is json return 400,", b"on error return 503", b"describe 400 ", b"set X "),
        *(b"alter with m.f", b"validates with", b"is not int", b"meta (", b"global g ", b"type t "),
        *(b"root /r;", b'include "i" at /i;', b"socket m.f;", b"{x:(a+)+}", b"{a:[^/]+}", b"\xff"),
        *("\u202e".encode(), "\ufeff".encode(), "\u200b".encode(), "é".encode(), "你".encode()),
        *("\u2028".encode(), "\x85".encode(), "\U000e0041".encode(), "e\u0301".encode()),
        b"\\u0000",
    )
    rooms = (
        "rbr rbr_check rbr_check_entries rbr_diagnostics rbr_format rbr_keys rbr_nodes"
        " rbr_patterns rbr_recovery rbr_tokens rbr_values"
    )

    def seeds(self) -> Iterator[bytes]:
        for path in sorted((TESTS / "rbr").glob("*/*.rbr")):
            for part in path.read_bytes().split(b";\n"):
                if len(part) <= MAX_SEED_BYTES:
                    yield part + b";\n"

    def check(self, data: bytes) -> Hashable:
        rbr, found = examine(data, "x.rbr", nothing_is_there)
        hold(isinstance(rbr.definitions, tuple), "there is a tree")
        hold(len(found) <= 2 * MAX_ERRORS, "what is found is not too much to read")
        for one in found:
            check_diagnostic(one, data)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            pass
        else:
            same(examine(text, "x.rbr", nothing_is_there), (rbr, found), "str and bytes are alike")
        try:
            tree = parse(data, "x.rbr")
        except RbrError as error:
            hold(error.diagnostics, "an error has its reasons")
            return tuple(sorted({one.code for one in error.diagnostics}))
        same(tree, rbr, "both read the same")
        canonical = format_rbr(tree)
        same(parse(canonical), tree, "a canonical text says the same")
        same(format_rbr(parse(canonical)), canonical, "a canonical text is its own")
        return tuple(type(one).__name__ for one in tree.definitions), len(found)


def nothing_is_there(location: Location) -> tuple[str, str] | None:
    return f"there is no {location.kind}", "create it"


def check_diagnostic(one: Diagnostic, data: bytes) -> None:
    hold(one.code in CODES, "an error has a code")
    hold(len(one.picture) <= MAX_PICTURE, "a picture is short")
    for char in one.picture:
        is_plain = char in "\n\t" or char in JOINERS
        hidden = unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        hold(is_plain or not hidden, "a picture shows what it holds")
    hold(0 <= one.span.start <= one.span.end <= len(data) + 1, "a span is in the text")
    hold(one.line >= 1 and one.column >= 1, "positions count from 1")
