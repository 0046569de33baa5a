"""The values of RBR: texts, numbers, urls, words and locations, asked for by kind.

Implements the production `value` of the grammar and what is said when something
else stands in its place. Each `expect_x` returns the node, or reports what was
found and, where it can be guessed, returns what was meant. Used by `rbr`.
"""

from __future__ import annotations

import re

from .errors import Span
from .rbr_diagnostics import clip, closest, listed
from .rbr_format import value_text
from .rbr_keys import DEFINITIONS, EXAMPLES, FILE_ENDINGS, LOCATION_KINDS, Key, all_keys, keys_of
from .rbr_nodes import Location, Name, Number, Text, Url, Value, Words, needs_quotes
from .rbr_tokens import Scanner

_IDENTIFIERS = re.compile(r"[^\W\d]\w*+(?:\.[^\W\d]\w*+)*")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+\.")
_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*+:")
_MODULE_AND_NAME = re.compile(r"[^\W\d]\w*+(?:\.[^\W\d]\w*+)*:[^\W\d]\w*+")
_NAME_ALONE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_QUOTED_WORD = re.compile(r"([\"'`])([^\s\"'`]++)\1")
_PHRASE = re.compile(r"[^\n#]*+")
_NEXT_ENTRY = re.compile(rf",[ \t]*(?:{'|'.join(all_keys())})[ \t]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_VERSION = re.compile(r"[^\s,;)\"#]++")
_LIKE_VERSION = re.compile(r"v[0-9].*|[0-9][0-9.]*+[A-Za-z+_-].*")
ENDS = (",", ")", ";", "")


class Skip(Exception):
    """A fault was reported; the entry or definition at hand cannot be finished."""


class ValueParser(Scanner):
    """Reads values; `rbr.Parser` reads the rest."""

    def parse_value(self) -> Value | None:
        """value = TEXT | NUMBER | URL | words | location ;"""
        if self.at_location():
            return self.parse_location()
        char = self.char()
        if char.isalpha() or char == "_":
            return self.parse_words()
        if char == "/":
            return self.parse_url("url")
        return self.accept_number() or self.accept_text()

    def parse_words(self) -> Words:
        """words = NAME { "|" NAME } ;"""
        start = self.pos
        first = self.accept_name()
        assert first is not None  # the callers have seen a letter
        names = [first]
        while self.accept("|"):
            name = self.accept_name()
            if name is None:
                raise self.failure(
                    "RBR019",
                    f"expected a word after '|', not {self.seen()}",
                    f"write a word behind the '|', or remove it: {first.text}",
                )
            names.append(name)
        return Words(tuple(names), start=start, end=self.end)

    def parse_url(self, what: str) -> Url:
        """URL = "/" { any character but white space, "," and ";" } ;"""
        target = self.accept_target(what)
        assert target is not None  # the callers have seen the '/'
        text, span = target
        return Url(text, start=span.start, end=span.end)

    def parse_location(self) -> Location:
        """location = "python:" NAME { "." NAME } | NAME "." NAME { "." NAME }
        | ( "file:" | "directory:" | "location:" ) ( path | TEXT )
        | "proxy:" ( uri | TEXT ) | "wsgi:" NAME { "." NAME } ;"""
        start = self.pos
        prefix = self._accept_prefix()
        if prefix in ("python", "wsgi", ""):
            target, span = self._expect_dotted(prefix)
        else:
            target, span = self._expect_path(prefix)
        # 0.9's `location:` is today's `file:`, and a dotted name is always Python's.
        kind = {"": "python", "location": "file"}.get(prefix, prefix)
        written = f"{prefix}:" * bool(prefix) + self.text[span.start : span.end]
        return Location(kind, target, written, target_span=span, start=start, end=self.end)

    def _accept_prefix(self) -> str:
        """Take ``python:`` or its like, the one that was meant if it is misspelt."""
        start = self.pos
        match = _PREFIX.match(self.text, start)
        if match is None:
            return ""
        word = match.group()[:-1]
        at = match.end()
        if word not in LOCATION_KINDS:
            word = self._guess_kind(word)
        self.pos = self.end = at
        if self.text[at : at + 1].isspace():
            self.report(
                "RBR023",
                Span(start, at),
                f"a blank follows '{word}:'",
                f"write {LOCATION_KINDS[word]} right behind the colon",
            )
            self.skip_blanks()
        return word

    def _guess_kind(self, word: str) -> str:
        near = closest(word, LOCATION_KINDS)
        span = Span(self.pos, self.pos + len(word))
        if word in ("http", "https"):
            address = self.text[self.pos : self.here().end]
            message = "an address does not say what it is"
            hint = f"write proxy:{clip(address)} to hand requests on to that server"
            raise self.failure("RBR023", message, hint)
        self.report(
            "RBR023",
            span,
            f"unknown location '{clip(word)}:'",
            f"did you mean '{near}:'?"
            if near
            else _as_python(self.text[self.pos : self.here().end])
            or f"a location starts with {listed(f'{kind}:' for kind in LOCATION_KINDS)}",
        )
        if not near:
            raise Skip
        return near

    def _expect_dotted(self, prefix: str) -> tuple[str, Span]:
        start = self.pos
        match = _IDENTIFIERS.match(self.text, start)
        word = self.here()
        text = self.text[start : word.end]
        if match is None:
            raise self.failure(
                "RBR023",
                f"expected a dotted name after '{prefix}:', not {self.seen()}",
                f"write for instance {prefix}:module.function",
            )
        self.move(match.end())
        if self.end < word.end and self.text[self.end] not in "),;}]":
            self._report_dotted(text, Span(start, word.end))
            self.move(word.end)
        elif self.text.startswith("()", self.end):
            self.report(
                "RBR023",
                Span(self.end, self.end + 2),
                "a location names a callable, it does not call it",
                f"remove the '()': {clip(text)}",
            )
            self.move(self.end + 2)
        return match.group(), Span(start, match.end())

    def _report_dotted(self, text: str, span: Span) -> None:
        cure = "a dotted name is made of Python names: letters, digits and '_', joined by '.'"
        dotted = text.replace(".py:", ".").replace(":", ".")
        if text.count(":") == 1 and _IDENTIFIERS.fullmatch(dotted):
            cure = f"join all parts by dots: {dotted}"
        elif "/" in text:
            cure = f"join the parts by dots: {text.replace('.py', '').replace('/', '.')}"
        elif "-" in text:
            cure = f"Python names hold no '-'; did you mean {text.replace('-', '_')}?"
        message = f"'{clip(text)}' is not a dotted name"
        self.report("RBR023", span, message, clip(cure, 120))

    def _expect_path(self, prefix: str) -> tuple[str, Span]:
        text = self.accept_text()
        if text is not None:
            return text.text, text.span
        target = self.accept_target("uri" if prefix == "proxy" else "path")
        if target is None:
            raise self.failure(
                "RBR023",
                f"expected {LOCATION_KINDS[prefix]} after '{prefix}:', not {self.seen()}",
                f'write it right behind the colon; what holds blanks is quoted: {prefix}:"…"',
            )
        return target

    # --- what the grammar asks for, and what to say if it is not there

    def failure(self, code: str, message: str, hint: str) -> Skip:
        """Report what stands at ``pos``; the caller raises what is returned."""
        return self.failure_at(self.here() if self.char() else self.gap(), code, message, hint)

    def failure_at(self, span: Span, code: str, message: str, hint: str) -> Skip:
        self.report(code, span, message, hint)
        return Skip()

    def at_location(self) -> bool:
        """True at ``word:x`` or ``word.x``; a key with a colon behind it is none."""
        if _DOTTED.match(self.text, self.pos):
            return True
        match = _PREFIX.match(self.text, self.pos)
        return match is not None and match.group()[:-1] in LOCATION_KINDS

    def expect_name(self, keyword: str) -> Name:
        quoted = _QUOTED_WORD.match(self.text, self.pos)
        if quoted is not None and _NAME_ALONE.fullmatch(quoted[2]):
            start, end = quoted.span()
            message = f"the name of a {keyword} is not quoted"
            self.report("RBR004", Span(start, end), message, f"write: {keyword} {quoted[2]}")
            self.move(end)
            return Name(quoted[2], start=start, end=end)
        name = self.accept_name()
        if name is None:
            raise self.failure(
                "RBR019",
                f"expected a name after '{keyword}', not {self.seen()}",
                f"write: {DEFINITIONS[keyword]}  (a name is letters, digits, '_' and '-', "
                "and starts with a letter)",
            )
        if self.text[self.end : self.end + 1] == "." and keyword == "path":
            raise self.failure(
                "RBR019",
                "a name holds no '.'",
                f"write: path {clip(self.text[name.start : self.here().end]).replace('.', '_')}",
            )
        return name

    def expect_value(self, before: str, hint: str = "") -> Value:
        value = None if self.at_stray_prefix() else self.parse_value()
        if value is not None:
            return value
        after = f" after '{before}'" if before else ""
        if self.at_stray_prefix():
            return self.parse_location()
        raise self.failure(
            "RBR019" if self.char() not in ENDS else "RBR017",
            f"expected a value{after}, not {self.seen()}",
            hint
            or "a value is a text in double quotes, a number, a url such as /show, a word or "
            "a location such as python:module.function",
        )

    def at_stray_prefix(self) -> bool:
        match = _PREFIX.match(self.text, self.pos)
        return match is not None and match.group()[:-1] not in LOCATION_KINDS

    def expect_value_of(self, key: Name, table: str) -> Value:
        """The value of a field; the table of keys knows which form to ask for."""
        known = keys_of(table).get(key.text)
        if self.char() in ENDS:
            raise self._no_value(key, known)
        kind = known.kind if known else ""
        if kind == "url":
            return self.expect_url(key.text)
        if kind == "location":
            return self.expect_location(key.text)
        if kind in ("text", "origin", "token"):
            return self.expect_text(key.text)
        if kind == "section":
            raise self.failure(
                "RBR018",
                f"'{key.text}' takes a section, not {self.seen()}",
                f"write: {key.text} ( ... )",
            )
        if kind == "version" and (version := self._accept_bare_version(key.text)):
            return version
        example = f"write for instance: {key.text} {EXAMPLES[known.kind]}" if known else ""
        return self.expect_value(key.text, example)

    def _accept_bare_version(self, key: str) -> Text | None:
        """Take ``v1.0`` or ``1.0-beta``, which are a version but no number."""
        match = _VERSION.match(self.text, self.pos)
        if match is None or not _LIKE_VERSION.fullmatch(match.group()):
            return None
        written = f'"{match.group()}"'
        message = "a version that is more than digits and dots is put between double quotes"
        self.report("RBR018", Span(*match.span()), message, f"write: {key} {clip(written)}")
        self.move(match.end())
        return Text(match.group(), written, start=match.start(), end=match.end())

    def _no_value(self, key: Name, known: Key | None) -> Skip:
        example = f": {key.text} {EXAMPLES[known.kind]}" if known else ", or remove it"
        self.report(
            "RBR017",
            key.span,
            f"'{clip(key.text)}' has no value",
            f"write one behind it{example}",
        )
        return Skip()

    def expect_url(self, keyword: str) -> Url:
        """url = URL | TEXT ;"""
        if self.char() == "/":
            return self.parse_url("url")
        if self.char() in ENDS:
            raise self.failure(
                "RBR017",
                f"expected a url after '{keyword}', not {self.seen()}",
                f"write: {keyword} /something",
            )
        quoted = self._accept_quoted()
        if quoted is not None:
            return self._quoted_url(keyword, *quoted)
        written = self.accept_target("url")
        assert written is not None  # only what ends a value is no target
        text, span = written
        url = _with_slash(text)
        message = f"a url starts with '/', '{clip(text)}' does not"
        self.report("RBR018", span, message, f"write: {keyword} {clip(url)}")
        return Url(url, start=span.start, end=span.end)

    def _accept_quoted(self) -> tuple[str, Span] | None:
        """Take what stands between quotes of any kind where no text was asked for."""
        match = _QUOTED_WORD.match(self.text, self.pos)
        if match is not None and match[1] != '"':
            self.move(match.end())
            return match[2], Span(*match.span())
        text = self.accept_text()
        return None if text is None else (text.text, text.span)

    def _quoted_url(self, keyword: str, text: str, span: Span) -> Url:
        url = _with_slash(text)
        if _CONTROL.search(url):
            message, hint = "a url holds no control characters", "write it on one line"
            raise self.failure_at(span, "RBR018", message, hint)
        self.limit(span, "url")
        node = Url(url, start=span.start, end=span.end)
        if not needs_quotes(url) or url != text:
            message = f"a url starts with '/', '{clip(text)}' does not"
            message = message if needs_quotes(url) else "a url is not quoted"
            self.report("RBR018", span, message, f"write: {keyword} {clip(value_text(node))}")
        return node

    def expect_location(self, keyword: str) -> Location:
        if self.at_location() or self.at_stray_prefix():
            return self.parse_location()
        keyword = clip(keyword)
        word = self.peek_word()
        if word in LOCATION_KINDS and self.char_after(word) not in ENDS:
            return self._guess_prefix(keyword, word)
        if self.char() in ("/", ".") or (word and self.text.startswith("/", self.pos + len(word))):
            return self._guess_file(keyword)
        if word:
            return self._guess_callable(keyword)
        quoted = self._accept_quoted()
        if quoted is not None:
            text, span = quoted
            message = "a location is not quoted as a whole"
            written = text if ":" in text or _is_callable(text) else f'file:"{text}"'
            raise self.failure_at(span, "RBR018", message, f"write: {keyword} {clip(written)}")
        raise self.failure(
            "RBR017" if self.char() in ENDS else "RBR018",
            f"expected a location after '{keyword}', not {self.seen()}",
            f"write for instance: {keyword} python:module.function",
        )

    def _guess_prefix(self, keyword: str, word: str) -> Location:
        """Go on as if ``file index.html`` were ``file:index.html``."""
        start = self.pos
        self.move(start + len(word))
        target = self.text[self.pos : self.here().end]
        self.report(
            "RBR023",
            Span(start, start + len(word)),
            f"a ':' is missing after '{word}'",
            f"write: {keyword} {word}:{clip(target)}",
        )
        target, span = (
            self._expect_dotted(word) if word in ("python", "wsgi") else self._expect_path(word)
        )
        kind = "file" if word == "location" else word
        return Location(
            kind, target, f"{word}:{target}", target_span=span, start=start, end=self.end
        )

    def _guess_callable(self, keyword: str) -> Location:
        name = self.accept_name()
        assert name is not None  # the caller has seen it
        word = clip(name.text)
        self.report(
            "RBR018",
            name.span,
            f"'{word}' does not say where it is",
            f"write: {keyword} python:module.{word} for a callable of module.py, or "
            f"{keyword} file:{word} for a file",
        )
        return Location("python", word, word, target_span=name.span, start=name.start, end=name.end)

    def _guess_file(self, keyword: str) -> Location:
        target = self.accept_target("path")
        assert target is not None  # the caller has seen a '/' or '.'
        path, span = target
        cure = f"write: {keyword} file:{clip(path)} or {keyword} directory:{clip(path)}"
        if path.endswith(FILE_ENDINGS):
            cure = f"write: {keyword} file:{clip(path)}"
        elif path.endswith("/"):
            cure = f"write: {keyword} directory:{clip(path.rstrip('/') or path)}"
        self.report("RBR018", span, f"'{clip(path)}' does not say what it is", cure)
        return Location("file", path, path, target_span=span, start=span.start, end=span.end)

    def expect_text(self, keyword: str) -> Text:
        text = self.accept_text()
        if text is not None:
            return text
        if self.char() in ENDS:
            raise self.failure(
                "RBR017",
                f"expected a text after '{keyword}', not {self.seen()}",
                f'write: {keyword} "…"',
            )
        start = self.pos
        end = self.end_of_phrase()
        words = self.text[start:end].removeprefix("file:")
        span = Span(start, end)
        self.report(
            "RBR018",
            span,
            f"'{keyword}' takes a text, and texts are put between double quotes",
            f'write: {keyword} "{clip(words)}"',
        )
        self.move(end)
        return Text(words, f'"{words}"', start=span.start, end=span.end)

    def end_of_phrase(self) -> int:
        """Where words that lack their quotes end: before the last punctuation of the line.

        Or before a ``,`` behind which the next entry starts.
        """
        phrase = _PHRASE.match(self.text, self.pos)
        assert phrase is not None  # the pattern fits an empty text too
        following = _NEXT_ENTRY.search(phrase.group())
        end = following.start() if following else None
        words = phrase.group()[:end].rstrip().rstrip(",;)").rstrip()
        return self.pos + max(1, len(words))

    def expect_code(self, keyword: str) -> Number:
        """CODE = NUMBER ;"""
        code = self.accept_number()
        if code is None:
            raise self.failure(
                "RBR019",
                f"expected a status code after '{keyword}', not {self.seen()}",
                f"write for instance: {keyword} 400",
            )
        return code

    def expect_return(self) -> Number:
        number = self.here() if self.char().isdigit() else None
        code = self.text[number.start : number.end] if number else "400"
        self.expect_word("return", f"... return {clip(code)}")
        return self.expect_code("return")

    def expect_word(self, word: str, example: str) -> None:
        if self.accept_word(word):
            return
        found = self.peek_word()
        if found and closest(found, (word,)):
            span = Span(self.pos, self.pos + len(found))
            message = f"expected '{word}', not '{clip(found)}'"
            self.report("RBR019", span, message, f"write '{word}'")
            self.move(span.end)
            return
        raise self.failure("RBR019", f"expected '{word}', not {self.seen()}", f"write: {example}")

    def accept_header(self) -> str | None:
        """header = NAME | TEXT ;"""
        name = self.accept_name() or self.accept_text()
        return name.text if name else None


def _as_python(text: str) -> str:
    """The hint for ``app:hello``, as other servers write it."""
    is_pair = _MODULE_AND_NAME.fullmatch(text)
    return f"write: python:{clip(text.replace(':', '.'))}" if is_pair else ""


def _is_callable(text: str) -> bool:
    is_dotted = "." in text and _IDENTIFIERS.fullmatch(text) is not None
    return is_dotted and not text.endswith(FILE_ENDINGS)


def _with_slash(url: str) -> str:
    """The path of what was written as a whole address, or as a path without its slash."""
    path = re.sub(r"^(?:[a-z]+://[^/]*|\.+(?=/))", "", url)
    return path if path.startswith("/") else f"/{path}"
