"""The parser of RBR: text in, a tree of nodes out, or all that is wrong with it.

Implements the grammar of RBR 1.0, a superset of RBR 0.9 (2011). Each `parse_x`
reads one production, whose grammar line opens its docstring; docs/rbr.md is made
of these lines. What the words mean, such as which are verbs or statuses, is left
to `rbr_check`. Opens no file. Used as ``parse(text, "chat.rbr").paths``.

After a fault the parser goes on at the next ``,`` ``;`` or ``)``, so that one
run tells of every fault; where it can guess what was meant it goes on as if that
had been written, for then nothing has to be skipped and nothing echoes.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .errors import Diagnostic, RbrError, Span
from .rbr_diagnostics import MAX_ERRORS, Source, clip, listed
from .rbr_keys import BUILT_IN_TYPES, DEFINITIONS, keys_of
from .rbr_nodes import (
    Alter,
    Arbiter,
    Definition,
    Describe,
    Entry,
    Field,
    Global,
    Include,
    Location,
    Meta,
    Name,
    Number,
    OnError,
    OnEvent,
    Operation,
    Path,
    Rbr,
    Root,
    Section,
    Set,
    Socket,
    Type,
    UnlessType,
    UnlessValidates,
    Worker,
)
from .rbr_recovery import SectionParser
from .rbr_tokens import StopReading, decode, encode_check
from .rbr_values import ENDS, Skip


class Parser(SectionParser):
    """One run over one text. `read` and `parse` below are the way in."""

    # --- the file and its definitions

    def parse_file(self) -> Rbr:
        """file = { definition } ;"""
        definitions: list[Definition] = []
        try:
            self.skip_blanks()
            self.skip_stray_punctuation()
            while self.char():
                try:
                    definitions.append(self.parse_definition())
                except Skip:
                    self.openings.clear()
                    self.skip_definition()
                self.skip_stray_punctuation()
        except StopReading:
            pass
        self.demote_aside()
        return Rbr(tuple(definitions), self.source, self.take_comments())

    def parse_definition(self) -> Definition:
        """definition = meta | path | global | type | root | socket | include
        | worker | arbiter ;"""
        self.demote_aside()
        lead = self.take_comments()
        start = self.pos
        word = self.peek_word()
        keyword = word if word in DEFINITIONS else self.guess_definition(word)
        if keyword:
            self.move(start + len(word))
        node = _PARSE_DEFINITION[keyword or "path"](self, start)
        if self.char() == ";":
            lead += self._take_inner_comments()
        self.expect_semicolon(_title(node))
        trail = self.take_aside()
        return replace(node, lead=lead, trail=trail) if lead or trail else node

    def parse_meta(self, start: int) -> Meta:
        """meta = "meta" section ";" ;"""
        section = self.expect_section("meta", "meta")
        return Meta(section, start=start, end=self.end)

    def parse_path(self, start: int) -> Path:
        """path = [ "define" ] "path" NAME section ";" ;"""
        name = self.expect_name("path")
        section = self.expect_section(f"path '{clip(name.text)}'", "path")
        return Path(name, section, start=start, end=self.end)

    def _parse_define(self, start: int) -> Path:
        self.expect_word("path", DEFINITIONS["define"])
        return self.parse_path(start)

    def parse_global(self, start: int) -> Global:
        """global = "global" NAME value ";" ;"""
        name = self.expect_name("global")
        self.skip_assignment(f"global '{clip(name.text)}'")
        value = self.expect_value(f"global {name.text}")
        return Global(name, value, start=start, end=self.end)

    def parse_type(self, start: int) -> Type:
        """type = "type" NAME location ";" ;"""
        name = self.expect_name("type")
        use = self.expect_location(f"type {name.text}")
        return Type(name, use, start=start, end=self.end)

    def parse_root(self, start: int) -> Root:
        """root = "root" url ";" ;"""
        return Root(self.expect_url("root"), start=start, end=self.end)

    def parse_socket(self, start: int) -> Socket:
        """socket = "socket" [ NAME ] location ";" ;"""
        name = None
        if not self.at_location() and self.char_after(self.peek_word()) not in ENDS:
            name = self.accept_name()
        use = self.expect_location(f"socket {name.text}" if name else "socket")
        return Socket(name, use, start=start, end=self.end)

    def parse_include(self, start: int) -> Include:
        """include = "include" TEXT [ "at" url ] ";" ;"""
        faults = len(self.errors)
        file = self.expect_text("include")
        at = self.expect_url("at") if self.accept_word("at") else None
        if faults != len(self.errors):
            raise Skip  # what another file says is no matter before this one says which
        return Include(file, at, start=start, end=self.end)

    def parse_worker(self, start: int) -> Worker:
        """worker = "worker" NAME location ";" ;"""
        name = self.expect_name("worker")
        use = self.expect_location(f"worker {name.text}")
        return Worker(name, use, start=start, end=self.end)

    def parse_arbiter(self, start: int) -> Arbiter:
        """arbiter = "arbiter" NAME location ";" ;"""
        name = self.expect_name("arbiter")
        use = self.expect_location(f"arbiter {name.text}")
        return Arbiter(name, use, start=start, end=self.end)

    # --- sections

    def expect_section(self, title: str, table: str) -> Section:
        if self.char() in (":", "=") and self.char_after(self.char()) in ("(", "{", "["):
            self.report(
                "RBR016",
                self.here_is(1),
                f"a '{self.char()}' follows {title}",
                "remove it: a section starts with '('",
            )
            self.move(self.pos + 1)
        if not self.at_opener():
            raise self.failure(
                "RBR019",
                f"expected '(' after {title}, not {self.seen()}",
                "put its entries between '(' and ')', separated by ','",
            )
        return self.parse_section(title, table)

    def parse_section(self, title: str, table: str) -> Section:
        """section = "(" entry { "," entry } [ "," ] ")" ;"""
        start, faults = self.pos, len(self.errors)
        self.open_section(title)
        entries: list[Entry] = []
        while not self.at_end_of_section():
            entry = self._parse_entry_or_skip(table)
            has_next = self.expect_comma(entry)
            if entry is not None:
                trail = self.take_aside()
                entries.append(replace(entry, trail=trail) if trail else entry)
            if not has_next:
                break
        self.demote_aside()
        tail = self.take_comments()
        if not entries and faults == len(self.errors) and self.char() == ")":
            self.report(
                "RBR028",
                Span(start, self.pos + 1),
                f"{title} holds nothing",
                "write its entries between '(' and ')', or remove it",
            )
        self.close_section()
        span = Span(start, self.end)
        return Section(
            tuple(entries), tail, faults == len(self.errors), start=span.start, end=span.end
        )

    def parse_entry(self, table: str) -> Entry:
        """entry = operation | NAME value | NAME section | value ;

        operation = unless | on | set | describe | alter | "description" TEXT ;
        """
        word = self.peek_word()
        if not word or self.at_location():
            value = self.expect_value("")
            if isinstance(value, Number) and self.char() == '"':
                return self._mend_describe(value)
            return value
        after = self.char_after(word)
        if word in _PARSE_OPERATION and after and after not in "(:=,)":
            start = self.pos
            self.move(start + len(word))
            return _PARSE_OPERATION[word](self, start)
        if after == "|" or (after in ENDS and word not in keys_of(table)):
            return self.parse_words()
        return self._parse_field(table)

    def _mend_describe(self, code: Number) -> Describe:
        start = code.start
        text = self.expect_text("describe")
        hint = f"write: describe {clip(code.text)} {clip(text.written)}"
        self.report("RBR019", code.span, f"expected 'describe' before '{clip(code.text)}'", hint)
        return Describe(code, text, start=start, end=self.end)

    def _parse_field(self, table: str) -> Field:
        start = self.pos
        key = self.accept_name()
        assert key is not None  # the caller has seen it
        self.skip_assignment(f"the key '{clip(key.text)}'")
        known = keys_of(table).get(key.text)
        if self.at_opener() and known and known.kind in ("verbs", "transports"):
            words = self.mend_list(key.text)
            return Field(key, words, start=start, end=self.end)
        if self.at_opener():
            section = self.parse_section(f"section '{clip(key.text)}'", "rules")
            return Field(key, section, start=start, end=self.end)
        value = self.expect_value_of(key, table)
        return Field(key, value, start=start, end=self.end)

    def _parse_entry_or_skip(self, table: str) -> Entry | None:
        self.demote_aside()
        lead = self.take_comments()
        try:
            entry = self.parse_entry(table)
        except Skip:
            self.skip_entry()
            return None
        if self.char() == ",":
            lead += self._take_inner_comments()
        return replace(entry, lead=lead) if lead else entry

    def _take_inner_comments(self) -> tuple[str, ...]:
        # Between an entry and its ',' or ';': nobody means them for the next one.
        return tuple(filter(None, self.take_comments()))

    # --- operations

    def parse_unless(self, start: int) -> UnlessType | UnlessValidates:
        """unless = "unless" [ header ] [ "type" ] "is" [ "not" ] NAME "return" CODE
        | "unless" header "validates" "with" ( NAME | location ) "return" CODE ;"""
        before = self.pos
        header = None if self._at_bare_condition() else self.accept_header()
        header_span = Span(before, self.end) if header is not None else Span(before, before)
        if header is not None and self.accept_word("validates"):
            self.expect_word("with", "unless Authorization validates with NAME return 401")
            validator = self._expect_validator()
            code = self.expect_return()
            return UnlessValidates(
                header, validator, code, header_span=header_span, start=start, end=self.end
            )
        self.accept_word("type")
        self._expect_is(header)
        negated = self.accept_word("not")
        type_name = self._expect_type()
        code = self.expect_return()
        return UnlessType(
            header, negated, type_name, code, header_span=header_span, start=start, end=self.end
        )

    def parse_on(self, start: int) -> OnError | OnEvent:
        """on = "on" "error" "return" CODE
        | "on" event "use" location ;

        event = NAME | TEXT | "*" ;
        """
        if self.peek_word() == "error" and self.word_after("error") != "use":
            self.accept_word("error")
            return OnError(self.expect_return(), start=start, end=self.end)
        before = self.pos
        is_any = self.accept("*")
        event = "*" if is_any else self.accept_header()
        event_span = Span(before, self.end)
        if event is None:
            raise self.failure(
                "RBR019",
                f"expected the name of an event after 'on', not {self.seen()}",
                "write 'on join use python:module.function' or 'on error return 503'",
            )
        self.expect_word("use", f"on {event} use python:module.function")
        use = self.expect_location("use")
        return OnEvent(event, is_any, use, event_span=event_span, start=start, end=self.end)

    def parse_set(self, start: int) -> Set:
        """set = "set" header value ;"""
        before = self.pos
        header = self.accept_header()
        if header is None:
            raise self.failure(
                "RBR019",
                f"expected the name of a header after 'set', not {self.seen()}",
                'write for instance: set Content-Type "text/css"',
            )
        header_span = Span(before, self.end)
        self.skip_assignment(f"'{clip(header)}'")
        value = self.expect_value(f"set {header}")
        return Set(header, value, header_span=header_span, start=start, end=self.end)

    def parse_describe(self, start: int) -> Describe:
        """describe = "describe" CODE TEXT ;"""
        code = self.expect_code("describe")
        self.skip_assignment(f"'{clip(code.text)}'")
        text = self.expect_text(f"describe {code.text}")
        return Describe(code, text, start=start, end=self.end)

    def parse_alter(self, start: int) -> Alter:
        """alter = "alter" "with" location ;"""
        self.expect_word("with", "alter with python:module.function")
        use = self.expect_location("alter with")
        return Alter(use, start=start, end=self.end)

    # --- their parts

    def _at_bare_condition(self) -> bool:
        """True where `unless` names no header: ``type is …`` or ``is …``."""
        word = self.peek_word()
        follows = self.word_after(word) if word else ""
        if word == "type":
            return follows not in ("type", "validates")
        return word == "is" and follows not in ("is", "type", "validates")

    def _expect_is(self, header: str | None) -> None:
        if self.accept_word("is"):
            return
        found = self.peek_word()
        is_type = found and found != "return" and not self.at_location()
        kind = found if is_type else "json"
        example = f"unless {header + ' ' if header else ''}type is {clip(kind)} return 400"
        if header in BUILT_IN_TYPES:
            example = f"unless type is {header} return 400"
        self.expect_word("is", example)

    def _expect_type(self) -> Name:
        name = None if self.word_after("return") == "" and self._at_return() else self.accept_name()
        if name is None:
            raise self.failure(
                "RBR019",
                f"expected the name of a type, not {self.seen()}",
                f"write {listed(BUILT_IN_TYPES)}, or a type that this file defines",
            )
        return name

    def _at_return(self) -> bool:
        return self.peek_word() == "return"

    def _expect_validator(self) -> Name | Location:
        if self.at_location() or self.at_stray_prefix():
            return self.parse_location()
        name = self.accept_name()
        if name is None:
            raise self.failure(
                "RBR019",
                f"expected a callable after 'validates with', not {self.seen()}",
                "write for instance: validates with python:module.function return 401",
            )
        return name


_PARSE_DEFINITION: dict[str, Callable[[Parser, int], Definition]] = {
    "path": Parser.parse_path,
    "define": Parser._parse_define,
    "meta": Parser.parse_meta,
    "global": Parser.parse_global,
    "type": Parser.parse_type,
    "root": Parser.parse_root,
    "socket": Parser.parse_socket,
    "include": Parser.parse_include,
    "worker": Parser.parse_worker,
    "arbiter": Parser.parse_arbiter,
}

_PARSE_OPERATION: dict[str, Callable[[Parser, int], Operation]] = {
    "unless": Parser.parse_unless,
    "on": Parser.parse_on,
    "set": Parser.parse_set,
    "describe": Parser.parse_describe,
    "alter": Parser.parse_alter,
}


def _title(node: Definition) -> str:
    """What a message calls a definition: ``path 'chat'``, ``root``."""
    keyword = type(node).__name__.lower()
    name = getattr(node, "name", None)
    return f"{keyword} '{clip(name.text)}'" if name else keyword


@contextmanager
def _collector_paused() -> Iterator[None]:
    # A tree has no cycles, but of 5 MB it has a million nodes, and the collector, which wakes
    # after so many new objects, would walk all of them again and again: a third of the time,
    # and the part of it that grows faster than the text.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def read(text: str | bytes, filename: str = "<text>") -> tuple[Rbr, tuple[Diagnostic, ...]]:
    """The tree of all that could be read, and the errors, in the order of the text.

    For tools that want a tree even of a faulty file; `parse` is for the rest.
    """
    if isinstance(text, bytes):
        source, errors = decode(text, filename)
    else:
        source, errors = encode_check(Source(filename, text.removeprefix("\ufeff")))
    parser = Parser(source)
    with _collector_paused():
        rbr = parser.parse_file()
    found = sorted(errors + parser.errors, key=lambda diagnostic: diagnostic.span)
    return rbr, tuple(found[:MAX_ERRORS])


def parse(text: str | bytes, filename: str = "<text>") -> Rbr:
    """The tree of an RBR text; raises RbrError, which carries every error of it."""
    rbr, errors = read(text, filename)
    if errors:
        raise RbrError(errors)
    return rbr
