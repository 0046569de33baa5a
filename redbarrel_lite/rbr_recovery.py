"""Where RBR separates, opens and closes: the punctuation, and how to go on without it.

Implements what is said about a missing, doubled or misplaced ``,`` ``;`` ``(``
and ``)``, and the places at which reading resumes after a fault. Used by `rbr`.

Two rules keep one fault from sounding like many. What is missing is taken as
written, so that nothing has to be skipped. And a section that is never closed
is noticed where the next definition starts, not at the end of the file, since
otherwise every definition after it would be a fault of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import Span
from .rbr_diagnostics import Source, clip, closest, listed
from .rbr_keys import DEFINITIONS, OPERATIONS, TRANSPORTS, VERBS, all_keys, is_custom
from .rbr_nodes import Entry, Field, Name, Set, Url, Words
from .rbr_tokens import StopReading
from .rbr_values import Skip, ValueParser

# Deeper than anybody writes, and far from the depth at which Python itself gives up.
MAX_DEPTH = 32

# More than the keyword is asked for, since fields may be called `path` or `type` too.
_DEFINITION = re.compile(
    r"""(?:define[ \t]+)?path[ \t]+[\w-]++\s*+[({\[:]
      | meta\s*+[({\[]
      | root[ \t]+/
      | socket[ \t]+(?:[\w-]++[ \t]+)?\w++[.:]
      | (?:global|type|worker|arbiter)[ \t]+[\w-]++[ \t]+["\w/]
      | include[ \t]+"
    """,
    re.VERBOSE,
)
_MARK = re.compile(
    r'"""[\s\S]*?"""|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*"|#[^\n]*+|[][;,(){}]|^[ \t]*+(?=[a-z])',
    re.MULTILINE,
)

_LETTERS = re.compile(r"[A-Za-z]++")
_REST = re.compile(r"[^\n,;)]{0,200}")
_INDENT = re.compile(r"[ \t]*+")
# How other languages start what RBR says with `unless`.
_OTHER_LANGUAGES = {"if": "unless", "when": "unless", "assert": "unless"}
_CLOSERS = {"(": ")", "{": "}", "[": "]"}


@dataclass(slots=True)
class Opening:
    """A section that is being read."""

    title: str
    bracket: Span
    closer: str
    indent: str
    suspect: str = ""  # what an inner section with an odd ')' has to say, see `_weigh`
    suspect_span: Span | None = None
    suspect_end: str = ""


class SectionParser(ValueParser):
    """Reads the punctuation of sections and definitions; `rbr.Parser` reads what is between."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.openings: list[Opening] = []
        self.unclosed_at = -1  # where a section that was never closed was given up

    def at_definition(self) -> bool:
        """True if the line at ``pos`` starts a definition, so that no section can go on."""
        return self._starts_line() and _DEFINITION.match(self.text, self.pos) is not None

    def _indent(self) -> str:
        """The blanks that the line at ``pos`` starts with."""
        # Matched rather than cut out: a line may have 5 MB, and a bracket at each of them.
        match = _INDENT.match(self.text, self.source.line_start(self.pos))
        assert match is not None  # the pattern fits an empty text too
        return match.group()

    def _starts_line(self) -> bool:
        return self.source.line_start(self.pos) + len(self._indent()) == self.pos

    # --- sections

    def open_section(self, title: str) -> None:
        char = self.char()
        start = self.pos
        if char != "(":
            self.report(
                "RBR020",
                Span(start, start + 1),
                f"{title} is opened by '{char}' instead of '('",
                f"write '(' here, and ')' instead of its '{_CLOSERS[char]}'",
            )
        opening = Opening(title, Span(start, start + 1), _CLOSERS[char], self._indent())
        self.openings.append(opening)
        self.move(start + 1)
        if len(self.openings) > MAX_DEPTH:
            self.report(
                "RBR021",
                opening.bracket,
                f"sections are nested more than {MAX_DEPTH} deep",
                "RBR needs two levels; is a ')' missing further up?",
            )
            raise StopReading

    def mend_list(self, key: str) -> Words:
        """Read ``[GET, "POST"]`` as ``GET|POST``."""
        start = self.pos
        self.move(start + 1)
        names: list[Name] = []
        while word := self.accept_name() or self.accept_text():
            names.append(Name(word.text, start=word.start, end=word.end))
            self.accept(",") or self.accept("|")
        if not names or self.char() not in (")", "]", "}"):
            what = f"expected words joined by '|' after '{key}', not '{self.text[start]}'"
            raise self.failure_at(Span(start, start + 1), "RBR020", what, "remove the brackets")
        self.move(self.pos + 1)
        cure = f"write: {key} {'|'.join(clip(name.text) for name in names[:12])}"
        self.report("RBR020", Span(start, self.end), "words are not put in brackets", cure)
        return Words(tuple(names), start=start, end=self.end)

    def at_opener(self) -> bool:
        return self.char() in ("(", "[", "{")

    def at_end_of_section(self) -> bool:
        self.skip_foreign_comments()
        while self.char() in (",", "-"):
            if self.char() == ",":
                self._report_empty(",")
            else:
                self._report_dash()
        return self.char() in (")", "}", "]", "") or self.at_definition()

    def expect_comma(self, entry: Entry | None) -> bool:
        """Take the separator behind an entry; False if the section ends here."""
        self.skip_foreign_comments()
        char = self.char()
        if char == ",":
            self.move(self.pos + 1)
            return True
        if char == ";":
            return self._mend_semicolon()
        if char in (")", "}", "]", "") or self.at_definition():
            return False
        return self._mend_missing_comma(entry)

    def close_section(self) -> None:
        opening = self.openings.pop()
        char = self.char()
        if char in (")", opening.closer) and char:
            self._weigh(opening)
            self.move(self.pos + 1)
        elif char in ("}", "]"):
            place = self.source.place(opening.bracket)
            self.report(
                "RBR020",
                Span(self.pos, self.pos + 1),
                f"{opening.title} is closed by '{char}' instead of ')'",
                "write ')' here",
                [f"{opening.title} is opened at {place}"],
            )
            self.move(self.pos + 1)
        elif self.unclosed_at != self.pos:
            self.unclosed_at = self.pos
            self._report_unclosed(opening)

    def _weigh(self, opening: Opening) -> None:
        """Suspect a section whose ``)`` stands where one of an outer section would.

        In ``path a (`` .. ``request-body (`` .. ``);`` the bracket that is missing
        is the inner one, though it is the outer section that finds no end.
        """
        indent = self._indent()
        if not self.openings or indent == opening.indent or not self._starts_line():
            return
        outer = self.openings[-1]
        opened_before = opening.bracket.start < self.source.line_start(self.pos)
        if indent == outer.indent and opened_before:
            outer.suspect = opening.title
            outer.suspect_span = opening.bracket
            outer.suspect_end = f"the one at {self.source.place(self.here_is(1))}"

    def _report_unclosed(self, opening: Opening) -> None:
        title = opening.suspect or opening.title
        bracket = opening.suspect_span or opening.bracket
        line, column = self.source.position(self.pos)
        if self.char() == ";":
            cure = f"write ')' before the ';' at {line}:{column}"
        elif self.char():
            cure = f"write ')' where it ends; at {line}:{column} the next definition starts"
        else:
            cure = "write ')' where it ends; the file ends before it"
        if opening.suspect:
            cure = f"write ')' where it ends; {opening.suspect_end} is meant for {opening.title}"
        self.report("RBR014", bracket, f"{title} is never closed", cure)

    def _report_empty(self, char: str) -> None:
        self.report(
            "RBR026",
            Span(self.pos, self.pos + 1),
            f"nothing stands before this '{char}'",
            f"remove the '{char}'",
        )
        self.move(self.pos + 1)

    def _report_dash(self) -> None:
        self.report(
            "RBR019",
            self.here_is(1),
            "expected an entry, not '-'",
            "remove the '-': the entries of a section are separated by ','",
        )
        self.move(self.pos + 1)

    def _mend_semicolon(self) -> bool:
        """Decide whether a ``;`` in a section was meant for a ``,`` or for ``);``."""
        start = self.pos
        end, comments, aside = self.end, list(self.comments), self.aside
        self.move(start + 1)
        if not self.char() or self.at_definition():
            self.pos, self.end, self.comments, self.aside = start, end, comments, aside
            return False
        title = self.openings[-1].title
        last = self.char() == ")"
        self.report(
            "RBR025",
            Span(start, start + 1),
            f"a ';' inside {title}",
            "remove it; the ';' goes behind the ')'"
            if last
            else "write ',' instead: it separates the entries of a section",
        )
        return True

    def _mend_missing_comma(self, entry: Entry | None) -> bool:
        word = self.peek_word()
        before = clip(self.text[entry.span.start : entry.span.end].split("\n")[0]) if entry else ""
        is_next_line = "\n" in self.text[self.end : self.pos]
        if is_next_line or word in OPERATIONS or word in all_keys() or is_custom(word):
            self.report(
                "RBR013",
                self.gap(),
                f"a ',' is missing after '{before}'",
                "write ',' behind it: it separates the entries of a section",
            )
            return True
        operation = self._meant_operation(entry)
        if operation and isinstance(entry, Field):
            self.report(
                "RBR027",
                entry.key.span,
                f"unknown operation '{entry.key.text}'",
                f"did you mean '{operation}'? for instance: {OPERATIONS[operation]}",
            )
        else:
            self.report(
                "RBR019",
                self.here(),
                f"expected ',' or ')' after '{before}', not {self.seen()}",
                self._cure_of_junk(entry),
            )
        self.skip_entry()
        return self.expect_comma(None)

    def _meant_operation(self, entry: Entry | None) -> str:
        """The operation that a field with too many words was probably meant for."""
        if not isinstance(entry, Field) or entry.key.text in all_keys():
            return ""
        return _OTHER_LANGUAGES.get(entry.key.text) or closest(entry.key.text, OPERATIONS)

    def _cure_of_junk(self, entry: Entry | None) -> str:
        value = entry.value if isinstance(entry, Field | Set) else None
        if isinstance(value, Url):
            return "a url ends at the first blank; with blanks in it, put it between double quotes"
        if not isinstance(entry, Field | Set) or not isinstance(value, Words):
            return "separate entries by ','"
        phrase = clip(self.text[value.start : self.here().end])
        key = entry.key.text if isinstance(entry, Field) else f"set {entry.header}"
        if key in ("method", "transports"):
            known = VERBS if key == "method" else TRANSPORTS
            more = [word for word in _LETTERS.findall(self._rest_of_entry()) if word in known]
            return f"join words by '|': {key} {'|'.join((*value.texts, *more))}"
        return f'put a text between double quotes: {key} "{phrase}"'

    def _rest_of_entry(self) -> str:
        rest = _REST.match(self.text, self.pos)
        assert rest is not None  # the pattern fits an empty text too
        return rest.group()

    def skip_assignment(self, after: str) -> None:
        """Report and skip the ``:`` or ``=`` that other languages put before a value."""
        if self.char() in (":", "="):
            self.report(
                "RBR016",
                self.here_is(1),
                f"a '{self.char()}' follows {after}",
                "remove it: a blank is enough before a value",
            )
            self.move(self.pos + 1)

    # --- definitions

    def expect_semicolon(self, title: str) -> None:
        self.skip_foreign_comments()
        if self.char() == ";":
            self.move(self.pos + 1)
            return
        if self.unclosed_at == self.pos:
            return
        if self.char() == ")":
            self._report_stray_closer()
            return
        if self.char() and "\n" not in self.text[self.end : self.pos]:
            self.report(
                "RBR019",
                self.here(),
                f"expected ';' after {title}, not {self.seen()}",
                "end every definition by ';'",
            )
            if not self.accept(",") or (self.char() and not self.at_definition()):
                raise Skip
            return
        self.report(
            "RBR011", self.gap(), f"a ';' is missing after {title}", "end every definition by ';'"
        )

    def _report_stray_closer(self) -> None:
        start = self.pos
        while self.char() == ")":
            self.move(self.pos + 1)
        self.report(
            "RBR015",
            Span(start, start + 1),
            "this ')' closes nothing",
            "remove it; every section before it is closed already",
        )
        self.accept(";")

    def skip_stray_punctuation(self) -> None:
        self.skip_foreign_comments()
        while self.char() in (";", ",", ")") and self.char():
            if self.char() == ")":
                self._report_stray_closer()
            else:
                self._report_empty(self.char())
            self.skip_foreign_comments()

    def guess_definition(self, word: str) -> str:
        """What was meant by a word that starts no definition; reports it in any case."""
        span = Span(self.pos, self.pos + len(word))
        follows = self.char_after(word) if word else ""
        if not word:
            raise self._no_definition(f"expected a definition, not {self.seen()}", self.here())
        near = "" if word in all_keys() or word in OPERATIONS else closest(word, DEFINITIONS)
        if not near and follows == "(" and word not in all_keys():
            self.report(
                "RBR010",
                span,
                f"unknown definition '{clip(word)}'",
                f"write 'path' before the name: path {clip(word)} ( ... );",
            )
            return ""
        if not near:
            if word in all_keys() or word in OPERATIONS:
                self.report(
                    "RBR010",
                    span,
                    f"'{word}' stands outside of a section",
                    "it belongs between the '(' and ')' of a path; "
                    "is the ')' or ';' before it too early?",
                )
                raise Skip
            raise self._no_definition(f"unknown definition '{clip(word)}'", span)
        message = f"unknown definition '{clip(word)}'"
        self.report("RBR010", span, message, f"did you mean '{near}'?")
        return near

    def _no_definition(self, message: str, span: Span) -> Skip:
        return self.failure_at(
            span,
            "RBR010",
            message,
            f"a definition starts with {listed(k for k in DEFINITIONS if k != 'define')}; "
            "for instance: path NAME ( method GET, url /, use file:index.html );",
        )

    # --- going on

    def skip_entry(self) -> None:
        """Go to the separator or bracket behind the entry at hand."""
        self._skip_to(",;)")

    def skip_definition(self) -> None:
        """Go behind the ``;`` of the definition at hand, or to the next definition."""
        self._skip_to(";")
        if self.char() == ";":
            self.move(self.pos + 1)

    def _skip_to(self, stops: str) -> None:
        depth = 0
        for match in _MARK.finditer(self.text, self.pos):
            mark = match.group()
            at = match.end()
            if not mark.strip():  # the start of a line
                if at > self.pos and _DEFINITION.match(self.text, at):
                    return self._resume(at)
            elif depth == 0 and mark in stops:
                return self._resume(match.start())
            elif mark in ("(", "[", "{"):
                depth += 1
            elif mark in (")", "]", "}"):
                depth = max(0, depth - 1)
        return self._resume(len(self.text))

    def _resume(self, at: int) -> None:
        self.pos = self.end = at
        self.demote_aside()
        self.skip_blanks()
