"""How the RBR rooms speak: positions in a text, the codes, and the printed picture.

Implements the form of every message, ``file:line:column: error RBRnnn: text``,
the source line with carets, and the lines ``help:`` and ``note:``. It decides
nothing about the language. Used as
``Source("chat.rbr", text).diagnostic("RBR013", Span(40, 41), "...", help="...")``.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable
from typing import Literal

from .errors import Diagnostic, Span

# Enough to mend a file in one go; beyond it a reader scrolls instead of reading, and a
# megabyte of garbage would cost a megabyte of messages.
MAX_ERRORS = 20

# Code, severity and what it means, in the order of docs/errors.md, which a test compares
# with this table. A code is never reused for something else.
CODES: dict[str, str] = {
    "RBR001": "the file is not UTF-8",
    "RBR002": "a character that has no place here",
    "RBR003": "a text is never closed",
    "RBR004": "quotes of the wrong kind",
    "RBR005": "a comment of another language",
    "RBR006": "an escape that names no character",
    "RBR010": "unknown definition",
    "RBR011": "a ';' is missing",
    "RBR012": "unknown field",
    "RBR013": "a ',' is missing",
    "RBR014": "a '(' is never closed",
    "RBR015": "a ')' that closes nothing",
    "RBR016": "':' or '=' after a key",
    "RBR017": "a key without its value",
    "RBR018": "a value of the wrong form",
    "RBR019": "something else was expected",
    "RBR020": "brackets of the wrong kind",
    "RBR021": "sections nested too deep",
    "RBR022": "a url or location that is too long",
    "RBR023": "a location that is not one",
    "RBR024": "brackets of a url or path that do not pair",
    "RBR025": "a ';' inside a section",
    "RBR026": "nothing between two ','",
    "RBR027": "unknown operation",
    "RBR028": "a section with nothing in it",
    "RBR030": "a name is given twice",
    "RBR031": "a field is given twice",
    "RBR032": "two paths answer the same url",
    "RBR033": "a code that is no HTTP status",
    "RBR034": "unknown verb",
    "RBR035": "unknown type",
    "RBR036": "a url that fits nothing",
    "RBR037": "a regex that can run away",
    "RBR038": "a file that is not there",
    "RBR039": "a folder that is not there",
    "RBR040": "a callable that is not there",
    "RBR041": "a number out of range",
    "RBR042": "a value of the wrong kind",
    "RBR043": "a field that means nothing here",
    "RBR044": "fields that contradict each other",
    "RBR045": "an operation that means nothing here",
    "RBR046": "files that include each other",
    "RBR047": "a callable that does not work at the start",
    "RBR048": "something that can't be packed",
    "RBR050": "a path without a url",
    "RBR051": "a definition that is ignored",
    "RBR052": "a path that nothing answers",
    "RBR053": "a file that serves nothing",
    "RBR054": "a path that is never reached",
    "RBR055": "a folder under a url without a placeholder",
    "RBR056": "a url that is taken as it stands",
    "RBR057": "seconds that look like milliseconds",
    "RBR058": "an event named almost as one that sockets make",
}

# Categories of what a terminal would obey or hide rather than show: controls, what has no width,
# line ends of other alphabets, and the marks that turn the direction of text, with which a line
# can be made to look like another one (CVE-2021-42574).
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# A tab is shown as what it is, and scripts and emoji are joined by the other two.
_SHOWN_ALL_THE_SAME = "\t\u200c\u200d"

_SHOWN_BEFORE = 60  # characters of the line that are shown before the guilty ones,
_SHOWN_IN_ALL = 120  # and in all: a line of 5 MB is pictured by its part that matters


class Source:
    """A text, its file's name, and where its lines start."""

    __slots__ = ("_line_starts", "filename", "text")

    def __init__(self, filename: str, text: str) -> None:
        self.filename = filename
        self.text = text
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def place(self, span: Span) -> str:
        """The position as it stands in sentences: ``6:1``."""
        line, column = self.position(span.start)
        return f"{line}:{column}"

    def line_text(self, line: int) -> str:
        start = self._line_starts[line - 1]
        is_last = line == len(self._line_starts)
        end = len(self.text) if is_last else self._line_starts[line] - 1
        return self.text[start:end].removesuffix("\r")

    def line_start(self, offset: int) -> int:
        return self._line_starts[bisect_right(self._line_starts, offset) - 1]

    def diagnostic(
        self,
        code: str,
        span: Span,
        message: str,
        hint: str = "",
        notes: Iterable[str] = (),
        severity: Literal["error", "warning"] = "error",
    ) -> Diagnostic:
        line, column = self.position(span.start)
        end_line, end_column = self.position(span.end)
        head = f"{self.filename}:{line}:{column}: {severity} {code}: {message}"
        tail = [f"  help: {hint}"] * bool(hint) + [f"  note: {note}" for note in notes]
        picture = "\n".join([_printable(head), *self._excerpt(span), *map(_printable, tail)])
        return Diagnostic(
            code=code,
            severity=severity,
            message=message,
            filename=self.filename,
            span=span,
            line=line,
            column=column,
            end_line=end_line,
            end_column=end_column,
            help=hint,
            notes=tuple(notes),
            picture=picture,
        )

    def _excerpt(self, span: Span) -> list[str]:
        """The line of the span's start, and carets under as much of the span as it holds."""
        line, column = self.position(span.start)
        whole = self.line_text(line)
        first = max(0, column - 1 - _SHOWN_BEFORE)
        shown = whole[first : first + _SHOWN_IN_ALL]
        before = shown[: column - 1 - first]
        guilty = shown[len(before) : len(before) + span.end - span.start]
        left = "…" if first else ""
        right = "…" if first + len(shown) < len(whole) else ""
        gutter = f"{line:>3} | "
        carets = "^" * max(1, sum(map(_width, guilty)))
        blank = " " * len(gutter[:-2]) + "| "
        return [
            gutter + left + _printable(shown) + right,
            blank + " " * len(left) + "".join(map(_blank, before)) + carets,
        ]


def _printable(text: str) -> str:
    return "".join("\ufffd" if _is_hidden(char) else char for char in text)


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _SHOWN_ALL_THE_SAME


def _width(char: str) -> int:
    """Columns that a terminal gives to a character (Unicode Annex 11, in short)."""
    if _is_hidden(char):
        return 1
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _blank(char: str) -> str:
    # A tab stays a tab: both lines have the same gutter, so the terminal's own stops agree.
    return "\t" if char == "\t" else " " * _width(char)


def clip(text: str, limit: int = 40) -> str:
    """A text of the author's, short enough to stand in a sentence of ours."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def closest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that was probably meant, or an empty text.

    Case is forgiven first: ``Method`` is nearer to ``method`` than any similarity says.
    """
    folded = {candidate.lower(): candidate for candidate in candidates}
    near = difflib.get_close_matches(word[:64].lower(), folded, n=1, cutoff=0.65)
    return folded[near[0]] if near else ""


def did_you_mean(word: str, candidates: Iterable[str], otherwise: str = "") -> str:
    near = closest(word, candidates)
    return f"did you mean '{near}'?" if near else otherwise


def listed(words: Iterable[str], joint: str = "or") -> str:
    """``a, b or c``"""
    *most, last = words
    return f"{', '.join(most)} {joint} {last}" if most else last
