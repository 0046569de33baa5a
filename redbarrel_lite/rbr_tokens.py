"""The scanner of RBR: hands the parser the kind of token that it asks for.

Implements the lexical rules of RBR 1.0: names, numbers, texts and their
escapes, urls and paths with their brackets, blanks and comments, and the faults
that can be told from characters alone (RBR001 to RBR006, RBR022, RBR024).

A list of tokens made in advance could not be right: whether ``/a#b`` or ``1.0``
or ``(x)`` is one token or three depends on what the grammar expects there. So
nothing is cut before it is asked for. Between calls ``pos`` always stands on the
first character that is neither blank nor comment. Used as
``Scanner(source).accept_name()``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from .errors import Diagnostic, Span
from .rbr_diagnostics import MAX_ERRORS, Source, clip
from .rbr_nodes import Name, Number, Text, closing_brace

# No router, log or browser is at ease with more, and no pattern should cost more to try.
MAX_TARGET_BYTES = 8192

# Possessive (`*+`) throughout: what was taken is not given back, so that a megabyte of
# blanks or of text is walked once, without a stack of ways to try it again.
_TRIVIA = re.compile(r"(?:[ \t\r\n\f]++|#[^\n]*+)*+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*+")
_NUMBER = re.compile(r"[0-9][0-9.]*+")
_NUMBER_TAIL = re.compile(r"[A-Za-z0-9_%.+-]++")
_TEXT = re.compile(r'"([^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*)"')
_ESCAPE = re.compile(r'\\(u[0-9a-fA-F]{4}|["\\nt])')
_TARGET = re.compile(r"[^\s,;(){}#\"]++")
_LINE = re.compile(r"[^\n]*+")
_WORD = re.compile(r"[^\s,;()\"#]++")
_TARGET_WORD = re.compile(r"[^\s,;\"]++")
_FOREIGN_COMMENT = re.compile(r"//[^\n]*+|/\*|--[^\n]*+")

_TEXT_LOOKAHEAD = 4000  # characters in which a text that runs over its line is closed again


# In bytes and seconds. `m` is not among them: it may be minutes or megabytes.
_UNITS = {
    "k": 1 << 10,
    "kb": 1 << 10,
    "kib": 1 << 10,
    "mb": 1 << 20,
    "mib": 1 << 20,
    "gb": 1 << 30,
    "gib": 1 << 30,
    "ms": 0.001,
    "min": 60,
    "h": 3600,
}
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}
# Opening and closing: the plain single one, the backtick, and what word processors make of
# quotes in several countries (U+2018 to U+201E, U+00AB and U+00BB).
_QUOTES = {
    "'": "'",
    "`": "`",
    "\u201c": "\u201d",
    "\u201d": "\u201d",
    "\u201e": "\u201c",
    "\u00ab": "\u00bb",
    "\u2018": "\u2019",
    "\u2019": "\u2019",
    "\u201a": "\u2018",
}


class StopReading(Exception):
    """Enough was found, or nothing sensible can follow: the parse ends here."""


class Scanner:
    """A place in a text, the tokens that may start there, and what was found wrong."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.pos = 0
        self.end = 0  # where the last token ended; a missing ',' is missing there
        self.comments: list[str] = []  # since the last node, one a line, '' for blank lines
        self.aside = ""  # a comment behind the last token, on its line,
        self.aside_at = 0  # and its place among the others, should it have to join them
        self.errors: list[Diagnostic] = []

    # --- faults

    def report(
        self, code: str, span: Span, message: str, hint: str = "", notes: Iterable[str] = ()
    ) -> None:
        """Note an error; two at one place are one, the first seen being the cause."""
        if self.errors and self._is_echo(span, self.errors[-1]):
            return
        self.errors.append(self.source.diagnostic(code, span, message, hint, tuple(notes)))
        if len(self.errors) == MAX_ERRORS:
            raise StopReading

    def _is_echo(self, span: Span, last: Diagnostic) -> bool:
        # Characters that have no place are stepped over; what is then missing was they.
        between = self.text[last.span.end : min(span.start, last.span.end + 80)]
        after_strange = last.code == "RBR002" and last.span.end <= span.start
        return last.span.start == span.start or (after_strange and not between.strip())

    def gap(self) -> Span:
        """The place right behind the last token, where something is missing."""
        return Span(self.end, self.end)

    def here(self) -> Span:
        """The span of whatever stands at ``pos``, for messages."""
        match = _WORD.match(self.text, self.pos)
        return Span(self.pos, max(match.end() if match else 0, self.pos + 1))

    def here_is(self, length: int) -> Span:
        return Span(self.pos, self.pos + length)

    def seen(self) -> str:
        """What stands at ``pos``, in words."""
        if self.pos == len(self.text):
            return "the end of the file"
        if self.char() == '"':
            return "a text"
        span = self.here()
        return f"'{clip(self.text[span.start : span.end])}'"

    # --- blanks and comments

    def move(self, end: int) -> None:
        """Take the characters up to ``end`` as a token, and go to the next one."""
        self.pos = self.end = end
        self.skip_blanks()

    def skip_blanks(self) -> None:
        text = self.text
        while True:
            match = _TRIVIA.match(text, self.pos)
            assert match is not None  # the pattern fits an empty text too
            if match.end() != self.pos:
                trivia = match.group()
                if "#" in trivia or trivia.count("\n") > 1:
                    self._keep(trivia)
                self.pos = match.end()
            char = text[self.pos : self.pos + 1]
            if " " < char < "\x7f" or not char or char in _QUOTES:
                return
            self._report_strange(char)

    def _keep(self, trivia: str) -> None:
        """Remember comments and blank lines until a node is there to carry them."""
        first, *lines = (line.strip() for line in trivia.split("\n"))
        if first and self.end:
            self.demote_aside()
            self.aside = first
            self.aside_at = len(self.comments)
        elif first:
            self.comments.append(first)
        # What follows the last line feed is the indentation of a token, not a blank line.
        last = lines.pop() if lines else ""
        for comment in [*lines, last] if last else lines:
            if comment or (self.comments and self.comments[-1]):
                self.comments.append(comment)
            elif not self.comments:
                self.comments.append("")

    def demote_aside(self) -> None:
        """Let a comment that no node ends before become one of a line of its own."""
        if self.aside:
            self.comments.insert(self.aside_at, self.aside)
            self.aside = ""

    def take_comments(self) -> tuple[str, ...]:
        taken = tuple(self.comments)
        self.comments.clear()
        self.aside_at = 0
        return taken

    def take_aside(self) -> str:
        taken, self.aside = self.aside, ""
        return taken

    def _report_strange(self, char: str) -> None:
        """Report a run of characters that no token starts with, and step over it."""
        start, text = self.pos, self.text
        while self.pos < len(text) and _kind(text[self.pos]) == _kind(char):
            self.pos += 1
        span = Span(start, self.pos)
        if "\udc80" <= char <= "\udcff":
            return  # a byte that was not UTF-8, reported when the text was decoded
        if _kind(char) == "letter":
            letters = clip(text[start : self.pos])
            self.report(
                "RBR002",
                span,
                f"'{letters}' cannot stand in a name",
                "names are made of the letters A to Z and a to z, digits, '_' and '-'; "
                'other letters belong between double quotes: "…"',
            )
            return
        name = unicodedata.name(char, "a control character")
        cure = "write an ordinary blank instead" if _kind(char) == "blank" else "remove it"
        self.report("RBR002", span, f"U+{ord(char):04X} ({name}) has no place here", cure)

    def skip_foreign_comments(self) -> None:
        """Report and skip ``// …``, ``/* … */`` and ``-- …``, one report for a run of them."""
        text = self.text
        start = last = self.pos
        while match := _FOREIGN_COMMENT.match(text, self.pos):
            last = match.end()
            if match.group() == "/*":
                close = text.find("*/", last)
                last = len(text) if close == -1 else close + 2
            self.pos = last
            self.skip_blanks()
        if last != start:
            line = _LINE.match(text, start)
            assert line is not None
            first = Span(start, min(last, line.end()))
            self.report(
                "RBR005",
                first,
                f"'{text[start : start + 2]}' does not start a comment in RBR",
                "write '#' instead; a comment runs from it to the end of the line",
            )

    # --- tokens

    def char(self) -> str:
        """The next character, empty at the end of the file."""
        return self.text[self.pos : self.pos + 1]

    def accept(self, char: str) -> bool:
        """Take one character of punctuation if it is next."""
        if self.text.startswith(char, self.pos):
            self.move(self.pos + len(char))
            return True
        return False

    def peek_word(self, at: int | None = None) -> str:
        """The name at ``pos``, or at another place, without taking it."""
        match = _NAME.match(self.text, self.pos if at is None else at)
        return match.group() if match else ""

    def word_after(self, word: str) -> str:
        """The name that follows a name which stands at ``pos``."""
        match = _TRIVIA.match(self.text, self.pos + len(word))
        assert match is not None
        return self.peek_word(match.end())

    def char_after(self, word: str) -> str:
        """The character that follows a name which stands at ``pos``, blanks aside."""
        match = _TRIVIA.match(self.text, self.pos + len(word))
        assert match is not None
        return self.text[match.end() : match.end() + 1]

    def accept_word(self, word: str) -> bool:
        """Take a keyword, which is one only because it is asked for here."""
        if self.peek_word() == word:
            self.move(self.pos + len(word))
            return True
        return False

    def accept_name(self) -> Name | None:
        """NAME = ( letter | "_" ) { letter | digit | "_" | "-" } ;"""
        match = _NAME.match(self.text, self.pos)
        if match is None:
            return None
        self.move(match.end())
        return Name(match.group(), start=match.start(), end=match.end())

    def accept_number(self) -> Number | None:
        """NUMBER = digit { digit | "." } ;"""
        match = _NUMBER.match(self.text, self.pos)
        if match is None:
            return None
        tail = _NUMBER_TAIL.match(self.text, match.end())
        if tail:
            whole = self.text[match.start() : tail.end()]
            self.report(
                "RBR018",
                Span(match.start(), tail.end()),
                f"'{clip(whole)}' is not a number",
                f"a number is digits and dots, without a unit: {clip(_plain(whole[:80]))}",
            )
        self.move(tail.end() if tail else match.end())
        return Number(match.group(), start=match.start(), end=match.end())

    def accept_text(self) -> Text | None:
        """TEXT = '"' { character | escape } '"' | '\"""' { character } '\"""' ;

        Or what was meant to be one.
        """
        char = self.char()
        if char == '"':
            if self.text.startswith('"""', self.pos):
                return self._accept_raw_text()
            match = _TEXT.match(self.text, self.pos)
            if match is None:
                return self._accept_unclosed_text()
            span = Span(*match.span())
            text = self._unescape(match[1], span)
            self.move(match.end())
            return Text(text, match.group(), start=span.start, end=span.end)
        if char and char in _QUOTES:
            return self._accept_misquoted_text(char)
        return None

    def _accept_raw_text(self) -> Text:
        start = self.pos
        close = self.text.find('"""', start + 3)
        if close == -1:
            self.report(
                "RBR003",
                Span(start, start + 3),
                'this text is never closed: \'"""\' opens it, and no other follows',
                'write \'"""\' behind its last character',
            )
            raise StopReading  # the rest of the file is inside the text
        self.move(close + 3)
        written = self.text[start : close + 3].replace("\r\n", "\n")
        return Text(written[3:-3], written, start=start, end=close + 3)

    def _accept_unclosed_text(self) -> Text:
        start = self.pos
        line = _LINE.match(self.text, start)
        assert line is not None
        close = self._closing_quote(line.end())
        if close != -1:
            self.report(
                "RBR003",
                Span(start, line.end()),
                "this text is not closed on its line",
                'put a text of several lines between """ and """',
            )
            self.move(close + 1)
            written = f'""{self.text[start : close + 1]}""'
            return Text(written[3:-3], written, start=start, end=close + 1)
        body = line.group().rstrip(" \t\r,;)")
        end = start + max(1, len(body))
        self.report(
            "RBR003",
            Span(start, end),
            "this text is never closed: no '\"' follows on its line",
            f"write '\"' behind its last character{_BACKSLASH if body.endswith(_ESCAPED) else ''};"
            ' a text of several lines is put between """ and """',
        )
        self.move(end)
        return Text(body[1:], f'"{body[1:]}"', start=start, end=end)

    def _closing_quote(self, line_end: int) -> int:
        """The quote that closes a text begun on an earlier line, or -1.

        The next quote may as well open another text; what follows a closing one
        is the punctuation of an entry.
        """
        close = self.text.find('"', line_end, line_end + _TEXT_LOOKAHEAD)
        follows = self.text[close + 1 : close + 80].lstrip()[:1]
        return close if close != -1 and follows in (",", ";", ")") else -1

    def _accept_misquoted_text(self, char: str) -> Text:
        start = self.pos
        line = _LINE.match(self.text, start)
        assert line is not None
        close = self.text.find(_QUOTES[char], start + 1, line.end())
        rest = line.group().rstrip(" \t\r,;)")
        end = close + 1 if close != -1 else start + max(1, len(rest))
        body = self.text[start + 1 : end - (close != -1)].strip()
        escaped = body.replace("\\", "\\\\").replace('"', '\\"')
        self.report(
            "RBR004",
            Span(start, end),
            f"a text is not put between {char} and {_QUOTES[char]}",
            f'put it between double quotes: "{clip(escaped)}"' if body else
            'put it between double quotes: "…"',
        )  # fmt: skip
        self.move(end)
        return Text(body, f'"{escaped}"', start=start, end=end)

    def _unescape(self, body: str, span: Span) -> str:
        if "\\" not in body:
            return body
        text = _ESCAPE.sub(_unescaped, body)
        try:
            # Two halves that make one character become it; JSON and Java write them so.
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.report(
                "RBR006",
                span,
                "this text holds one half of a character: '\\uD800' to '\\uDFFF' come in pairs",
                "write the character itself",
            )
            return _ESCAPE.sub("?", body)

    def accept_target(self, what: str) -> tuple[str, Span] | None:
        """Take a url or path: up to a blank, ``,`` or ``;``, brackets only in pairs."""
        start = pos = self.pos
        text = self.text
        opened: list[int] = []
        while pos < len(text):
            match = _TARGET.match(text, pos)
            if match:
                pos = match.end()
                continue
            char = text[pos]
            if char == "(":
                opened.append(pos)
            elif char == ")" and opened:
                opened.pop()
            elif char == "{":
                pos = self._close_brace(pos, what)
            elif char != "}" and char != '"':
                break
            pos += 1
        if pos == start:
            return None
        if opened:
            self._report_unpaired(opened[0], what)
        span = Span(start, pos)
        if pos - start > MAX_TARGET_BYTES // 4:
            self.limit(span, what)
        self.move(pos)
        return text[start:pos], span

    def _close_brace(self, start: int, what: str) -> int:
        close = closing_brace(self.text, start)
        if close == -1:
            self.report(
                "RBR024",
                Span(start, start + 1),
                f"this '{{' in the {what} is never closed",
                "write '{name}' or '{name:regex}'; a brace that the regex is to match is '\\{'",
            )
            word = _TARGET_WORD.match(self.text, start)
            assert word is not None  # the caller has seen the '{'
            return start + max(1, len(word.group().rstrip(")"))) - 1
        return close

    def _report_unpaired(self, start: int, what: str) -> None:
        single = "write %28 for a single one" if what == "uri" else "else it is quoted"
        self.report(
            "RBR024",
            Span(start, start + 1),
            f"this '(' in the {what} is never closed",
            f"a {what} takes '(' and ')' in pairs; {single}",
        )

    def limit(self, span: Span, what: str) -> None:
        size = len(self.text[span.start : span.end].encode("utf-8", "replace"))
        if size > MAX_TARGET_BYTES:
            self.report(
                "RBR022",
                span,
                f"this {what} has {size} bytes, more than the {MAX_TARGET_BYTES} that are allowed",
                "shorten it",
            )


_ESCAPED = '\\"'
_BACKSLASH = " (the last one here is escaped by the '\\' before it)"


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    return chr(int(escape[1:], 16)) if escape[0] == "u" else _ESCAPES[escape]


def _plain(written: str) -> str:
    """What a number with a unit is in bytes or seconds, which is what all keys count."""
    match = _NUMBER.match(written.replace("_", ""))
    assert match is not None  # the caller has seen a digit
    factor = _UNITS.get(written[match.end() :].lower(), 1)
    if factor == 1 or match.group().count(".") > 1:
        return match.group()
    return f"{float(match.group()) * factor:.12g}"


def _kind(char: str) -> str:
    """What a character that has no place is: one report covers a run of a kind."""
    if char in _QUOTES or " " <= char < "\x7f" or char in "\t\r\n\f":
        return ""
    if char.isspace() or char in "\u200b\u200c\u200d\u2060\ufeff":
        return "blank"
    return "letter" if char.isalnum() else char


def decode(data: bytes, filename: str) -> tuple[Source, list[Diagnostic]]:
    """The text of a file's bytes; what is not UTF-8 is reported and stands as surrogates."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return encode_check(Source(filename, text), data)


def encode_check(source: Source, data: bytes | None = None) -> tuple[Source, list[Diagnostic]]:
    """Report the first thing in a text that no UTF-8 file could hold."""
    try:
        source.text.encode("utf-8")
    except UnicodeEncodeError as error:
        span = Span(error.start, error.start + 1)
        if data is None:
            message = f"U+{ord(source.text[error.start]):04X} is half a character, and no text"
            return source, [source.diagnostic("RBR001", span, message, "remove it")]
        offset = (
            len(data)
            - len(data.removeprefix(b"\xef\xbb\xbf"))
            + len(source.text[: error.start].encode("utf-8"))
        )
        byte = data[offset : offset + 1]
        message = f"byte 0x{byte.hex().upper()} at offset {offset} is not UTF-8"
        cure = f"save the file as UTF-8; in Latin-1 this byte is '{byte.decode('latin-1')}'"
        return source, [source.diagnostic("RBR001", span, message, cure)]
    return source, []
