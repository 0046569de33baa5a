"""Writes a .pyz: one file with this package, and what else is to be in it, that Python runs.

What it implements: the archive (APPNOTE.TXT 6.3, without ZIP64, which `zipimport` does not
read), the same byte for byte for the same content: names are sorted, dates and rights fixed.
What it leaves out: what belongs to an application, which `bundle` knows.

In one line::

    write(Path("chat.pyz"), {"app/chat.rbr": b"..."}, "app/chat.rbr")

Our own sources lose comments, docstrings and types of arguments and variables, but no line:
tracebacks stay right. Scripts and styles of our pages lose comments and what is in front of lines.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from .bundled import BETWEEN_WORDS, PACKAGE, codes
from .packed import path_at

SOURCES: Final = f"{PACKAGE}.txt"

_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)  # the first moment that the format knows
_UNIX: Final = 3
_FILE: Final = 0o100644 << 16
_FOLDER: Final = 0o040755 << 16 | 0x10
_SHEBANG: Final = b"#!/usr/bin/env python3\n"


class TooLarge(Exception):
    """The archive would be one that Python can't import from."""


def write(output: Path, files: Mapping[str, Path | bytes], app: str = "") -> None:
    """Write an archive with these files, by their names in it, that serves ``app``.

    Bytes are compressed, and what is in a file is not: it is what is served. A name with a
    slash at its end is a folder. Raises OSError and `TooLarge`; then what was
    there before is still there.
    """
    main = _sources()["bundled.py"] + _MAIN.format(SOURCES, app)
    members = {**files, **_ours(), "__main__.py": main.encode()}
    for name in files:
        for folder in PurePosixPath(name).parents[:-1]:
            members[f"{folder}/"] = b""  # without them zipimport finds no namespace packages
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        # With all rights that the umask leaves.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(draft, flags), "wb") as file:
            file.write(_SHEBANG)
            _write_members(file, members)
        draft.replace(output)
    except OSError as error:
        if error.filename == str(draft):
            error.filename = str(output)
        raise
    except (zipfile.LargeZipFile, RuntimeError):  # the latter of a file that grew meanwhile
        raise TooLarge("more than 2 GB, or 65,535 files, are too much for an archive") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _write_members(file: BinaryIO, members: Mapping[str, Path | bytes]) -> None:
    with zipfile.ZipFile(file, "w", allowZip64=False) as archive:
        for name, content in sorted(members.items()):
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.create_system = _UNIX
            info.external_attr = _FOLDER if name.endswith("/") else _FILE
            if isinstance(content, bytes):
                archive.writestr(info, content, zipfile.ZIP_DEFLATED if content else None, 9)
            else:
                # As it is, so that it can be sent from where it lies.
                info.file_size = content.stat().st_size
                with content.open("rb") as original, archive.open(info, "w") as member:
                    shutil.copyfileobj(original, member)


@functools.cache
def _ours() -> dict[str, bytes]:
    """What each archive has."""
    static = path_at(__file__).parent / "static"
    pages = {
        f"{PACKAGE}/static/{one.name}": _page(one.name, one.read_bytes())
        for one in static.iterdir()
    }
    return {SOURCES: as_one(_sources()), **pages}


# Comments, of which those behind code have two blanks before them, and what is in front of a line.
_FOR_READERS: Final = re.compile(
    rb"^[ ]*(?: //[^\n]* | /\* (?:(?!\*/).)* \*/ )\n | ^[ ]+ | [ ]{2,}//[^\n]*$",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)


def _page(name: str, content: bytes) -> bytes:
    """A style or script of our pages, without what is for who reads its source.

    The client for browsers is read wherever it is served, and stays whole.
    """
    if name == "socket.io.js" or not name.endswith((".css", ".js")):
        return content
    return _FOR_READERS.sub(b"", content)


_MAIN: Final = """
archive, app = begin({!r}), {!r}
from redbarrel_lite.cli import main
sys.exit(main(app=os.path.join(archive, app) if app else None))
"""


# -- our own sources -------------------------------------------------------------------------


@functools.cache
def _sources() -> dict[str, str]:
    """The rooms of this package by file names, blanked; in an archive they are that already."""
    there: dict[str, str] | None = getattr(__spec__.loader, "sources", None)
    if there is not None:
        return there
    folder = path_at(__file__).parent.iterdir()
    texts = {one.name: one.read_text(encoding="utf-8") for one in folder if one.suffix == ".py"}
    return {name: blanked(text) for name, text in texts.items()}


# A name falls into its words, for they come again in other names; a line's end and the blanks in
# front of the next are one. Of what is no ASCII, each character is a word: a byte of the text is
# one character or a code.
_WORD: Final = re.compile(r"\n *|[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*|[0-9]+|[^\0-\x7f]")


def as_one(sources: Mapping[str, str]) -> bytes:
    """All sources in the form that `bundled` reads: frequent words first, then codes for them."""
    counts = Counter(word for text in sources.values() for word in _WORD.findall(text))

    def saved(word: str) -> tuple[bool, int, str]:
        return word.isascii(), len(word) - counts[word] * (len(word) - 2), word

    chosen = sorted(counts, key=saved)[: len(codes())]
    chosen.sort(key=lambda word: (-counts[word], word))
    short = sum(len(one) == 1 for one in codes())
    chosen[short:] = sorted(chosen[short:])  # of two characters each: in order they take less
    code = dict(zip(chosen, codes(), strict=False))
    parts = [one for name, text in sorted(sources.items()) for one in (name, text)]
    text = _WORD.sub(lambda match: code.get(match[0], match[0]), "\0".join(parts))
    return BETWEEN_WORDS.join(chosen).encode() + b"\0" + text.encode("latin-1")


# Texts are found so that no "#" in one is taken for a comment. In ours, which are for Python
# 3.11 too, no text is inside of another one; `tokenize` would find them all, in a second.
_TEXT_OR_COMMENT: Final = re.compile(
    r"""
    ("{3}|'{3}) (?: \\. | [^\\] )*? \1
    | " (?: \\. | [^"\\\n] )* "
    | ' (?: \\. | [^'\\\n] )* '
    | (?P<comment> [ ]* \# [^\n]* )
    """,
    re.DOTALL | re.VERBOSE,
)


def blanked(source: str) -> str:
    """A room without comments, docstrings and types but a class's, the rest on its line."""
    text = _TEXT_OR_COMMENT.sub(lambda match: "" if match["comment"] else match[0], source)
    lines = text.split("\n")
    tree = ast.parse(source)
    for row, start, end in sorted(_types(tree, lines), reverse=True):
        lines[row] = lines[row][:start] + lines[row][end:]
    for body in _bodies(tree):
        texts = [one for one in body if _is_text(one)]
        for one in texts:
            for row in range(one.lineno - 1, one.end_lineno or one.lineno):
                lines[row] = ""
        if len(texts) == len(body):
            lines[body[0].lineno - 1] = " " * body[0].col_offset + "pass"
    return "\n".join(lines)


def _types(tree: ast.AST, lines: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Where types of arguments, results and variables are told: lines, and parts of them.

    Nobody asks for these when a program runs, unlike those of a class: a dataclass has them.
    """
    of_classes = {
        id(one) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for one in node.body
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            row, start = node.lineno - 1, node.target.end_col_offset or 0
            is_one_line = node.lineno == node.target.end_lineno == node.annotation.end_lineno
            if node.value and is_one_line and lines[row].isascii() and id(node) not in of_classes:
                yield row, start, node.annotation.end_col_offset or 0
            continue
        if isinstance(node, ast.arg):
            told, after = node.annotation, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            told, after = node.returns, ")"
        else:
            continue
        # What goes over several lines stays, and where places count bytes, not characters.
        if told is not None and told.lineno == told.end_lineno:
            row = told.lineno - 1
            start = lines[row].rfind(after, 0, told.col_offset)
            if start >= 0 and lines[row].isascii():
                yield row, start + len(after), told.end_col_offset or 0


def _bodies(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body:
            yield body


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or a text that stands for nothing."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
