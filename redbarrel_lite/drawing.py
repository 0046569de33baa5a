"""Layers as pictures in plain text: the bytes, and under them what their fields say.

What it implements: rows of bytes or of characters, marks under them, carets under what is
wrong, colours. What it leaves out: what to draw (the rooms of `anatomy`), and where it is
printed.

In one line::

    print(draw(Frames(SERVER, no_layers).receive(b"\\x81\\x02hi")))
"""

from __future__ import annotations

import os
import shutil
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from .anatomy import Fault, Field, Layer, counted, printable

WIDTH: Final = 100  # columns, where there is no terminal to ask

_BYTES_A_ROW: Final = 12
_COLUMNS_A_ROW: Final = 48  # of text
_ENOUGH_COLUMNS: Final = 36  # for a row to end behind a comma
_PART_BYTES: Final = 4096  # of what is longer, the most that is looked at in one place
# Of what is longer, only the beginning and the end are drawn, and where it is wrong.
_MAX_ROWS: Final = {True: 60, False: 6}  # of text, or of bytes
_INDENT: Final = "   "
_ROW_ENDS: Final = ("␊", "␞")  # of a head's line, and of a packet in a payload
_NARROWEST: Final = 24  # columns of explanation; the terminal wraps what is wider

_HARD_BLANK: Final = "\xa0"  # where a line is not to be cut

# ECMA-48 8.3.117, "select graphic rendition".
_STYLES: Final = {
    "title": "1",
    "bytes": "36",
    "mark": "2",
    "name": "1",
    "rule": "2",
    "fault": "1;31",
    "in": "36",
    "out": "32",
}


class _Cell(NamedTuple):
    """One byte, or one character, as it is drawn."""

    start: int
    end: int
    text: str
    width: int


class _Row(NamedTuple):
    """Cells side by side; ``gap`` is between them."""

    cells: list[_Cell]
    gap: int

    @property
    def start(self) -> int:
        return self.cells[0].start

    @property
    def end(self) -> int:
        return self.cells[-1].end

    @property
    def text(self) -> str:
        return (" " * self.gap).join(cell.text for cell in self.cells)

    def columns(self, start: int, end: int) -> tuple[int, int]:
        """The first column of some bytes, and the one behind them."""
        first = last = at = 0
        for cell in self.cells:
            if cell.end <= start:
                first = at + cell.width + self.gap
            if cell.start < end:
                last = at + cell.width
            at += cell.width + self.gap
        return first, max(last, first + 1)


class Pen:
    """Where pictures are drawn: so wide, with colours or without."""

    def __init__(self, width: int = WIDTH, *, colours: bool = False) -> None:
        self.width = width
        self._colours = colours

    def paint(self, style: str, text: str) -> str:
        """A text in the colour of what it is."""
        if not self._colours or not text:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def pen_for(stream: Any) -> Pen:
    """Colours and the width of a terminal; plain and `WIDTH` wide where there is none.

    NO_COLOR, if it is set to something, is respected (https://no-color.org).
    """
    if not stream.isatty():
        return Pen(WIDTH)
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    return Pen(columns, colours=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def draw(layers: Sequence[Layer], pen: Pen | None = None) -> str:
    """The picture of some layers and all that they carry."""
    lines: list[str] = []
    for layer in layers:
        lines += _layer(layer, "", pen or Pen(), None)
    return "\n".join(line.rstrip() for line in lines)


def _layer(layer: Layer, indent: str, pen: Pen, outer: Layer | None) -> Iterator[str]:
    who = "" if layer.name.startswith("RBR") else f", from the {layer.sender}"
    title = f"{layer.name}{who}, {counted(len(layer.data), 'byte')}"
    yield indent + pen.paint("title", title) + pen.paint("rule", f"  [{layer.section}]")
    is_drawn_again = outer is not None and layer.data == outer.data
    if is_drawn_again:
        yield f"{indent}{_INDENT}{layer.summary}"
    rows = list(_rows(layer))
    if is_drawn_again:
        rows = [row for row in rows if _is_wrong(layer.fault, row, layer)]
    shown = _with_gaps(rows, layer)
    left = max((row.columns(row.start, row.end)[1] for row in rows), default=0)
    labels = _Labels(layer, left, pen, indent + _INDENT)
    for row in shown:
        if isinstance(row, str):
            yield indent + _INDENT + pen.paint("rule", row)
        else:
            yield from labels.row(row, is_bare=is_drawn_again)
    yield from labels.end()
    for inner in layer.inner:
        yield from _layer(inner, indent + "  ", pen, layer)


def lacking(layer: Layer) -> str:
    """How much of a layer has not come, in words."""
    count = "more" if layer.missing < 0 else f"{layer.missing:,} more"
    return f"… {count} {'byte is' if layer.missing == 1 else 'bytes are'} missing"


# -- rows --------------------------------------------------------------------------------


def _rows(layer: Layer) -> Iterator[_Row]:
    for start, end in _drawn_parts(layer):
        if layer.is_text:
            yield from _rows_of_text(layer.data, start, end)
        else:
            yield from _rows_of_bytes(layer.data, start, end)


def _drawn_parts(layer: Layer) -> Iterator[tuple[int, int]]:
    """What to look at of a layer: all of it, or of a long one its ends, and around a fault."""
    size = len(layer.data)
    if size <= 4 * _PART_BYTES:
        yield 0, size
        return
    yield 0, _PART_BYTES
    end = _PART_BYTES
    if layer.fault is not None and end < layer.fault.at + _PART_BYTES // 4 < size - _PART_BYTES:
        start = max(layer.fault.at - _PART_BYTES // 4, end)
        end = layer.fault.at + _PART_BYTES // 4
        yield start, end
    yield max(size - _PART_BYTES, end), size


def _rows_of_bytes(data: bytes, start: int, end: int) -> Iterator[_Row]:
    for at in range(start, end, _BYTES_A_ROW):
        part = data[at : min(at + _BYTES_A_ROW, end)]
        yield _Row([_Cell(at + i, at + i + 1, f"{byte:02x}", 2) for i, byte in enumerate(part)], 1)


def _rows_of_text(data: bytes, start: int, end: int) -> Iterator[_Row]:
    cells: list[_Cell] = []
    columns = 0
    for cell in _characters(data, start, end):
        cells.append(cell)
        columns += cell.width
        is_full = columns >= _COLUMNS_A_ROW
        if is_full or cell.text in _ROW_ENDS or (cell.text == "," and columns >= _ENOUGH_COLUMNS):
            yield _Row(cells, 0)
            cells, columns = [], 0
    if cells:
        yield _Row(cells, 0)


def _characters(data: bytes, at: int, end: int) -> Iterator[_Cell]:
    """The characters of a text; what is no UTF-8 is drawn byte by byte."""
    text = data[at:end].decode("utf-8", "surrogateescape")
    for one in text:
        size = len(one.encode("utf-8", "surrogateescape"))
        yield _Cell(at, at + size, *_as_drawn(one))
        at += size


def _as_drawn(one: str) -> tuple[str, int]:
    """A character in one or two columns, and how many."""
    if one < " ":
        return chr(0x2400 + ord(one)), 1  # the pictures of control characters
    if one == "\x7f":
        return "␡", 1
    if not one.isprintable() or unicodedata.combining(one):
        return "·", 1
    return one, 2 if unicodedata.east_asian_width(one) in "WF" else 1


def _with_gaps(rows: list[_Row], layer: Layer) -> list[_Row | str]:
    """The rows to be drawn, and words for those that are left out."""
    most = _MAX_ROWS[layer.is_text]
    kept = [
        row
        for number, row in enumerate(rows)
        if number < most - 2 or row is rows[-1] or len(rows) <= most
        or _is_wrong(layer.fault, row, layer)
    ]  # fmt: skip
    drawn: list[_Row | str] = []
    end = 0
    for row in kept:
        if row.start > end:
            drawn.append(f"… {counted(row.start - end, 'byte')} …")
        drawn.append(row)
        end = row.end
    return drawn


def _is_wrong(fault: Fault | None, row: _Row, layer: Layer) -> bool:
    if fault is None:
        return False
    at = min(fault.at, len(layer.data) - 1)
    return row.start <= at < row.end


# -- what is under them --------------------------------------------------------------------


class _Labels:
    """Marks and explanations of one layer's rows."""

    def __init__(self, layer: Layer, left: int, pen: Pen, indent: str) -> None:
        self._layer = layer
        self._left = left
        self._pen = pen
        self._indent = indent
        self._names = min(max((len(one.name) for one in layer.fields), default=0), 24)
        self._bits = 11 * any(one.bits for one in layer.fields)
        self._section = layer.section
        self._is_told = False

    def row(self, row: _Row, *, is_bare: bool) -> Iterator[str]:
        """A row, and the fields that begin in it."""
        fields = [] if is_bare else [one for one in self._layer.fields if self._begins(one, row)]
        text = self._pen.paint("bytes", row.text)
        if self._is_whole(fields, row):
            columns = row.columns(row.start, row.end)[1]
            lead = text + " " * (self._left - columns)
            yield from self._beside(lead, self._meaning(fields[0], 0))
            fields = []
        else:
            yield self._indent + text
        if _is_wrong(self._layer.fault, row, self._layer):
            yield from self._fault(row)
        for one in fields:
            start, end = row.columns(one.start, one.end)
            mark = " " * start + ("─" * (end - start) if one.end > one.start else "")
            lead = self._pen.paint("mark", mark) + " " * (self._left - len(mark))
            yield from self._beside(lead, self._label(one))

    def _beside(self, lead: str, label: list[str]) -> Iterator[str]:
        yield f"{self._indent}{lead}  {label[0]}"
        for line in label[1:]:
            yield f"{self._indent}{' ' * self._left}  {line}"

    def end(self) -> Iterator[str]:
        """What is to be said behind the last row."""
        layer = self._layer
        if layer.fault is not None and not self._is_told:
            yield from self._fault(None)
        if layer.missing:
            yield self._indent + self._pen.paint("fault", lacking(layer))
        if layer.awaits:
            yield self._indent + self._pen.paint("fault", f"… {layer.awaits}")

    @staticmethod
    def _begins(one: Field, row: _Row) -> bool:
        return row.start <= one.start < row.end

    def _is_whole(self, fields: list[Field], row: _Row) -> bool:
        """Whether one field is all of a row: then it needs no mark."""
        if len(fields) != 1 or not self._layer.is_text:
            return False
        line = [cell for cell in row.cells if cell.text not in ("␍", *_ROW_ENDS)]
        if not line:
            return True
        return fields[0].end >= line[-1].end and (
            fields[0].start <= row.start or fields[0].secret is not None
        )

    def _label(self, one: Field) -> list[str]:
        """The lines of an explanation: bits, name, and what it means."""
        bits = one.bits.ljust(self._bits)
        name = printable(one.name)[: self._names].ljust(self._names)
        first, *others = self._meaning(one, self._bits + self._names + 2)
        pad = " " * (self._bits + self._names + 2)
        return [f"{bits}{self._pen.paint('name', name)}  {first}", *(pad + line for line in others)]

    def _meaning(self, one: Field, taken: int) -> list[str]:
        words = [one.value] * bool(one.value and not self._layer.is_text)
        words += [one.meaning] * bool(one.meaning)
        rule = ""
        if one.section not in ("", self._layer.section, self._section):
            rule = f"[{one.section}]"
        self._section = one.section
        room = max(self._pen.width - len(self._indent) - self._left - 2 - taken, _NARROWEST)
        if len(rule) <= room:
            rule = rule.replace(" ", _HARD_BLANK)
        text = "  ".join([*words, *([rule] * bool(rule))])
        lines = textwrap.wrap(text, room, break_on_hyphens=False)
        painted = (
            line.replace(rule, self._pen.paint("rule", rule)) if rule else line for line in lines
        )
        return [line.replace(_HARD_BLANK, " ") for line in painted] or [""]

    def _fault(self, row: _Row | None) -> Iterator[str]:
        fault = self._layer.fault
        assert fault is not None
        self._is_told = True
        start = end = 0
        if row is not None:
            if fault.at >= len(self._layer.data):  # something is missing there
                start = row.columns(row.end - 1, row.end)[1] + row.gap
                end = start + 1
            else:
                start, end = row.columns(fault.at, fault.at + 1)
        mark = " " * start + "^" * max(end - start, 1)
        room = max(self._pen.width - len(self._indent) - len(mark) - 1, _NARROWEST)
        lines = textwrap.wrap(printable(fault.reason), room) or [""]
        for number, line in enumerate(lines):
            lead = mark if not number else " " * len(mark)
            yield self._indent + self._pen.paint("fault", f"{lead} {line}")
