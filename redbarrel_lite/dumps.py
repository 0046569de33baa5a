r"""Bytes as people have them: in hexadecimal, in a tool's dump, in the words of a language.

What it implements: reading hexadecimal however its bytes are parted; the dumps of `xxd`,
`hexdump`, `od`, `tcpdump -X`, Wireshark, PowerShell's `Format-Hex` and `curl --trace`;
literals of Python, C and JavaScript. What it leaves out: what the bytes are (`explain`).

In one line::

    data = from_hex("0x81, 0x85 37:fa-21 3d")
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

_PREFIX: Final = r"(?:0[xX]|\\[xX]|%)?"
_HEX: Final = re.compile(rf"\s*(?:{_PREFIX}[0-9A-Fa-f]{{2}}[\s:,;-]*)+", re.ASCII)
_BETWEEN: Final = re.compile(r"0[xX]|\\[xX]|%|[\s:,;-]+")
_DIGIT: Final = re.compile(r"[0-9A-Fa-f]")
_ENOUGH: Final = 2000  # characters, to tell what a text was meant for
_LIKE_HEX: Final = re.compile(rf"{_PREFIX}[0-9A-Fa-f]{{2}}", re.ASCII)


def is_hex(text: str) -> bool:
    """Whether all of a text is bytes in hexadecimal."""
    return _HEX.fullmatch(text) is not None


def is_parted(text: str) -> bool:
    """Whether something parts its bytes, or marks them as such."""
    return _BETWEEN.search(text) is not None


def from_hex(text: str) -> bytes:
    """The bytes of hexadecimal. Raises ValueError, which says where it is none."""
    if is_hex(text):
        return bytes.fromhex(_BETWEEN.sub("", text))
    found = _HEX.match(text)
    at = found.end() if found else len(text) - len(text.lstrip())
    number = len(_BETWEEN.sub("", text[:at])) // 2 + 1
    word = re.split(r"[\s:,;]", text[at : at + 20])[0]
    if word == "*":
        raise ValueError("a '*' stands for lines that a dump has left out: make it with od -v")
    digits = re.match(rf"{_PREFIX}[0-9A-Fa-f]*", word)
    assert digits is not None  # an empty one always is there
    rest = word[digits.end() :]
    what = f"{rest[:1]!a} in {word!a}" if rest else f"{word!a} is half a byte"
    place = at + (digits.end() if rest else 0) + 1
    raise ValueError(f"this is not hexadecimal: {what} (byte {number}, character {place})")


def is_almost_hex(text: str) -> bool:
    """Whether a text was meant for hexadecimal, and has a slip in it."""
    words = re.split(r"[\s:,;-]+", text.strip()[:_ENOUGH])
    if len(words) == 1:
        digits = len(_DIGIT.findall(words[0]))
        likely = 8 <= digits >= 0.75 * len(words[0]) and not set(words[0]) & set('"[{')
        return digits == len(words[0]) > 2 or likely
    good = sum(_LIKE_HEX.fullmatch(word) is not None for word in words)
    bad = len(words) - good
    return good > 1 and (bad <= 1 or bad <= 0.25 * good) and all(len(word) < 5 for word in words)


# -- dumps ---------------------------------------------------------------------------------


class Block(NamedTuple):
    """What is counted from 0 in a dump: all of it, or a packet, with the line before it."""

    data: bytes
    title: str = ""
    indent: int | None = None  # where two sides are told apart by it


class _Row(NamedTuple):
    """A line of a dump, of which the bytes are not read yet; ``number`` is that of the line."""

    number: int
    offset: str
    colon: str
    blanks: str
    rest: str


_ROW: Final = re.compile(
    r"[ \t]*(?:0[xX])?([0-9A-Fa-f]{4,16})(:| -)?([ \t]+)(?=(?:0[xX])?[0-9A-Fa-f]{2})(.*)"
)
_END: Final = re.compile(r"\s*([0-9A-Fa-f]{6,16})")
_GROUP: Final = re.compile(r"(?:0[xX])?((?:[0-9A-Fa-f]{2})+)(?:(-)|([ \t]+)|\Z)")
_WORDS: Final = re.compile(r"(?:[0-9A-Fa-f]{4}\s*)+|\*?")
_MOST: Final = 256  # bytes of a line
_USUAL: Final = 16
_OFFSET_DIGITS: Final = 8  # of Wireshark's


def dumped(text: str) -> list[Block] | None:
    """What a dump shows; None if it is none. Raises ValueError where it can't be read."""
    lines = text.splitlines()
    first = next((row for row in map(_ROW.fullmatch, lines) if row), None)
    if first is None or int(first[1], 16) or not _is_evident(first, len(lines)):
        return None
    if _BITS.match(first[4]):
        raise ValueError("this dump has bits: make it without -b")
    if first[2]:
        return list(_blocks(lines, 16))
    faults = []
    # `od` counts in octal, with seven digits, and so does no other that shows single bytes.
    bases = (8, 10, 16) if len(first[1]) == 7 and not _WORDS.fullmatch(first[4]) else (16, 8, 10)
    for base in bases:
        try:
            return list(_blocks(lines, base))
        except ValueError as error:
            faults.append(error)
    if is_hex(text):  # and the zeros in front are bytes
        return None
    raise faults[0]


def _is_evident(row: re.Match[str], lines: int) -> bool:
    """Whether zeros in front are an offset, and not bytes."""
    return bool(row[2]) or len(row[3]) > 1 or len(row[1]) % 2 == 1 or lines > 1


def followed(text: str) -> list[Block] | None:
    """What Wireshark shows of a stream, one side of which is indented; None if it is no such.

    Each side has offsets of its own, which go on where it speaks again.
    """
    rows = [
        (len(line) - len(line.lstrip()), _Row(number, found[1], "", found[3], found[4]))
        for number, line in enumerate(text.splitlines(), 1)
        if (found := _ROW.fullmatch(line)) and len(found[1]) == _OFFSET_DIGITS and not found[2]
    ]
    seen = {indent for indent, _ in rows}
    if len(seen) != 2:
        return None
    spoken = dict.fromkeys(seen, 0)
    blocks = []
    for indent, run in itertools.groupby(rows, lambda one: one[0]):
        data = _joined([row for _, row in run], 16, spoken[indent])
        spoken[indent] += len(data)
        blocks.append(Block(data, indent=indent))
    return blocks


def _blocks(lines: list[str], base: int) -> Iterator[Block]:
    rows: list[_Row] = []
    title = chatter = ""
    for number, line in enumerate(lines, 1):
        found = _ROW.fullmatch(line)
        end = _END.fullmatch(line)
        if found is not None and not int(found[1], 16) and rows:
            yield Block(_joined(rows, base), title)
            rows, title, chatter = [], chatter, ""
        if found is not None:
            if not rows and chatter:
                title, chatter = chatter, ""
            rows.append(_Row(number, found[1], found[2] or "", found[3], found[4]))
        elif rows and end is not None:
            rows.append(_Row(number, end[1], "", "", ""))
        elif rows and line.strip() == "*":
            rows.append(_Row(number, "", "", "", "*"))
        elif line.strip():
            chatter = line
    yield Block(_joined(rows, base), title)


def _joined(rows: list[_Row], base: int, start: int = 0) -> bytes:
    data = bytearray()
    width = 0
    is_repeated = False
    is_words = all(not row.colon and _WORDS.fullmatch(row.rest) for row in rows)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        if row.rest == "*":
            is_repeated = True
            continue
        at = int(row.offset, base) - start
        if is_repeated and width:
            data += bytes(data[-width:]) * ((at - len(data)) // width)
            is_repeated = False
        if not row.rest and at in (len(data) - 1, len(data)):
            del data[at:]  # the end, which may be in the middle of a word
            continue
        if at != len(data):
            raise ValueError(
                f"line {row.number} of this dump begins at {row.offset}, "
                f"behind {len(data)} bytes: is a line missing?"
            )
        known = after is not None and after.rest != "*" and bool(after.rest)
        wanted = int(after.offset, base) - start - at if known and after is not None else 0
        part = _row_bytes(row, wanted, width, is_words=is_words)
        width = width or len(part)
        data += part
    return bytes(data)


def _row_bytes(row: _Row, wanted: int, width: int, *, is_words: bool) -> bytes:
    """The bytes of a line, of which the next one's offset may say how many they are."""
    data = bytearray()
    most = wanted or width or _MOST
    at = 0
    while len(data) < most:
        found = _GROUP.match(row.rest, at)
        if found is None:
            break
        group = bytes.fromhex(found[1])
        data += group[::-1] if is_words else group
        at = found.end()
        if (
            not wanted
            and not is_words
            and len(found[3] or "") > 1
            and not _is_middle(row, at, len(data))
        ):
            return bytes(data)
    is_text = not wanted and len(data) >= _USUAL  # to the right of the bytes
    if len(data) == wanted or is_text or at >= len(row.rest) or len(data) == width:
        return bytes(data)
    if wanted > len(data) >= _USUAL:
        raise ValueError(
            f"line {row.number} of this dump has no line behind it that fits: is one missing?"
        )
    slip = row.rest[at:].split()[0]
    column = len(row.offset) + len(row.colon) + len(row.blanks) + at + 1
    said = f"{slip[:20]!a} is not hexadecimal" if len(data) < most else "it has too many bytes"
    raise ValueError(f"line {row.number} of this dump, column {column}: {said}")


def _is_middle(row: _Row, at: int, count: int) -> bool:
    """Whether a wide gap is that of `hexdump -C` between two halves."""
    return (
        count == _USUAL // 2
        and re.match(r"(?:[0-9A-Fa-f]{2} ?)+(?: |\Z)", row.rest[at:]) is not None
    )


# -- literals ------------------------------------------------------------------------------

_QUOTED: Final = re.compile(
    r"(?:bytearray\()?(?:[bB](?=['\"])|(?=['\"]?\\x))(['\"]?)(.*)\1\)?;?", re.DOTALL
)
# What names a list is no packet, such as 42[1]: it begins with a letter.
_LIST: Final = re.compile(
    r"(?:[A-Za-z][\w ]{0,80}(?:\(\d+\) ?|\[\d*\] ?= ?|\())?"
    r"[\[{]([\s\dA-Fa-fxX,]+)[\]}][);]*(?:\s+unsigned int .*)?",
    re.DOTALL,
)
_NODE: Final = re.compile(r"<Buffer ([0-9A-Fa-f\s]+)>")
_BITS: Final = re.compile(r"(?:[01]{8}[\s,]+)+[01]{8}")

# Of C, which joins literals that stand side by side.
_JOINT: Final = re.compile(r'"[ \t]*\\?\r?\n[ \t]*"')
_COMMENT: Final = re.compile(r"/\*[^*]{0,200}\*/")


def literal(text: str) -> bytes | None:
    """The bytes that a language writes so; None if it is none. Raises ValueError, too."""
    if found := _BITS.fullmatch(text):
        return bytes(int(bits, 2) for bits in re.split(r"[\s,]+", text))
    text = _JOINT.sub("", _COMMENT.sub("", text))
    if found := _QUOTED.fullmatch(text):
        written = found[2].encode(errors="surrogateescape")
        try:
            return written.decode("unicode_escape").encode("latin-1")
        except UnicodeError as error:
            raise ValueError(f"this is no literal of bytes: {error.reason}") from None  # type: ignore[attr-defined]
    if found := _NODE.fullmatch(text):
        return from_hex(found[1])
    if text[:1] in "[{" and (numbers := _numbers_in_json(text)) is not None:
        return _from_numbers(numbers)
    found = _LIST.fullmatch(text)
    words = re.split(r"[\s,]+", found[1].strip(" \t\r\n,")) if found else [""]
    if all(word.isdecimal() for word in words):
        return _from_numbers([int(word) for word in words])
    if all(_LIKE_HEX.fullmatch(word) for word in words):
        return from_hex(" ".join(words))
    return None


def _numbers_in_json(text: str) -> list[int] | None:
    """``[129,133]`` or ``{"type":"Buffer","data":[129,133]}``."""
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        value = value.get("data")
    if not isinstance(value, list) or not value:
        return None
    return value if all(type(one) is int for one in value) else None


def _from_numbers(numbers: list[int]) -> bytes:
    for number, one in enumerate(numbers, 1):
        if not 0 <= one <= 255:
            raise ValueError(f"{one} is no byte: number {number} of these is not within 0 and 255")
    return bytes(numbers)
