"""The sense of sections: their keys, the values these take, and the rules.

Implements what `rbr_keys` says of each key, and which operation does something
where. Used by `rbr_check`, whose class builds on the one here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, TypeAlias

from .errors import Diagnostic, Span
from .rbr_diagnostics import MAX_ERRORS, clip, did_you_mean, listed
from .rbr_format import operation_text
from .rbr_keys import (
    BUILT_IN_TYPES,
    EXAMPLES,
    FILE_ENDINGS,
    HTTP_VERBS,
    OPERATIONS,
    SOCKET_VERBS,
    TRANSPORTS,
    VERBS,
    Key,
    is_custom,
    keys_of,
)
from .rbr_nodes import (
    Alter,
    Describe,
    Entry,
    Field,
    Location,
    Name,
    Number,
    OnError,
    OnEvent,
    Operation,
    Rbr,
    Section,
    Set,
    Text,
    UnlessType,
    UnlessValidates,
    Url,
    Value,
    Words,
)
from .rbr_patterns import is_server_address

Severity: TypeAlias = Literal["error", "warning"]

# Says what is wrong with a location, as (message, hint), or None if it leads somewhere.
Resolve: TypeAlias = Callable[[Location], tuple[str, str] | None]

_SERVER = re.compile(r"[\w.-]+(?::\d+)?(?:/.*)?")

_RESOLVE_CODES = {"file": "RBR038", "directory": "RBR039"}

# Where each operation does something. A rule that stands elsewhere would be ignored, and a
# check that is ignored is a door left open: so it is an error, not a warning.
_HEADERS = ("request-headers", "response-headers")
_BODIES = ("request-body", "response-body")
_STATUSES = ("request-status", "response-status")
_PLACES: dict[type[Operation], tuple[str, ...]] = {
    UnlessValidates: ("request-headers", "response-headers"),
    OnError: ("path", *_HEADERS, *_BODIES),
    OnEvent: ("path",),
    Set: ("response-headers",),
    Describe: _STATUSES,
    Alter: _BODIES,
}

# Which other servers write in milliseconds; so many seconds are longer than anybody waits.
_NOT_MILLISECONDS = ("ping-interval", "ping-timeout", "connect-timeout", "upgrade-timeout")
_LIKE_MILLISECONDS = 5000

# What other frameworks call the keys of a path.
_ALIASES = {
    "handler": "use",
    "view": "use",
    "controller": "use",
    "function": "use",
    "callback": "use",
    "target": "use",
    "template": "use",
    "file": "use",
    "route": "url",
    "uri": "url",
    "pattern": "url",
    "endpoint": "url",
    "verb": "method",
    "summary": "description",
    "cors": "allow-origin",
}

# What other languages call `on` and `off`.
_SWITCHES = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}

_NUMBERS = ("number", "bytes", "count", "seconds")


class EntryChecker:
    """What was found in a tree so far, and the checks of its sections."""

    def __init__(self, rbr: Rbr, resolve: Resolve | None) -> None:
        self.rbr = rbr
        self.resolve = resolve
        self.found: list[Diagnostic] = []
        self.types = (*BUILT_IN_TYPES, *(definition.name.text for definition in rbr.types))
        self.globals = tuple(definition.name.text for definition in rbr.globals)

    def error(
        self, code: str, span: Span, message: str, hint: str, notes: Iterable[str] = ()
    ) -> None:
        self._add(code, span, message, hint, notes, "error")

    def warn(
        self, code: str, span: Span, message: str, hint: str, notes: Iterable[str] = ()
    ) -> None:
        self._add(code, span, message, hint, notes, "warning")

    def is_full(self, severity: Severity) -> bool:
        return sum(one.severity == severity for one in self.found) >= MAX_ERRORS

    def _add(
        self,
        code: str,
        span: Span,
        message: str,
        hint: str,
        notes: Iterable[str],
        severity: Severity,
    ) -> None:
        # Bounded here, not at the end: drawing a picture a line of a 5 MB file takes minutes.
        # Two faults at one place are one: a name given twice makes its url clash too.
        if not self.is_full(severity) and all(one.span.start != span.start for one in self.found):
            source = self.rbr.source
            self.found.append(source.diagnostic(code, span, message, hint, notes, severity))

    def place(self, span: Span) -> str:
        return self.rbr.source.place(span)

    # --- sections

    def check_section(self, section: Section, table: str, title: str, start: Span) -> None:
        seen: dict[str, Span] = {}
        for entry in section.entries:
            if isinstance(entry, Field):
                self._check_field(entry, table, title, start)
            elif isinstance(entry, Operation):
                self._check_operation(entry, table, title)
            else:
                self._check_bare_value(entry, section, title)
            self._check_repetition(entry, table, seen)

    def _check_field(self, field: Field, table: str, title: str, start: Span) -> None:
        word = field.key.text
        key = keys_of(table).get(word)
        if key is not None:
            self._check_value(key, field)
        elif not is_custom(word):
            self._report_unknown(field, table, title, start)

    def _report_unknown(self, field: Field, table: str, title: str, start: Span) -> None:
        word = field.key.text
        keys = keys_of(table)
        severity: Severity = "error" if self.resolve else "warning"
        if self.is_full(severity):
            return  # looking for what was meant is what takes time
        own = f"a field of your own starts with 'x-': x-{clip(word).lstrip('xX-_')}"
        if table == "response-headers":
            written = self.rbr.source.text[field.value.start : field.value.end]
            own = f"write: set {clip(word)} {clip(written)}"
        if _ALIASES.get(word) in keys:
            own = f"did you mean '{_ALIASES[word]}'?"
        near = did_you_mean(word, keys, own)
        say = self.error if self.resolve else self.warn
        say(
            "RBR012",
            field.key.span,
            f"unknown field '{clip(word)}' in {title}",
            f"write: {OPERATIONS[word]}" if word in OPERATIONS else near,
            [f"{title} starts at {self.place(start)}"],
        )

    def _check_repetition(self, entry: Entry, table: str, seen: dict[str, Span]) -> None:
        what, span = _what(entry)
        key = keys_of(table).get(what)
        if not what or is_custom(what) or (key is not None and key.is_repeated):
            return
        first = seen.setdefault(what, span)
        if first != span:
            note = f"the first one is at {self.place(first)}"
            self.error("RBR031", span, f"'{clip(what)}' is given twice", "keep one of them", [note])

    def _check_bare_value(self, value: Value, section: Section, title: str) -> None:
        written = self.rbr.source.text[value.span.start : value.span.end].split("\n")[0]
        shown = written
        key = {Url: "url", Location: "use", Text: "description"}.get(type(value), "")
        if isinstance(value, Words) and value.names[0].text in TRANSPORTS:
            key = "transports"
        elif isinstance(value, Words) and value.names[0].text.upper() in VERBS:
            key = "method"
        before = section.get(key)
        if isinstance(before, Words) and isinstance(value, Words):
            written = "|".join((*before.texts, *value.texts))
        if isinstance(value, Words) and is_custom(written):
            self.error(
                "RBR017", value.span, f"'{clip(written)}' has no value", "write one behind it"
            )
            return
        hint = f"write: {key} {clip(written)}" if key else "write a key before it"
        message = f"'{clip(shown)}' stands alone in {title}, without a key"
        self.error("RBR042", value.span, message, hint)

    # --- values

    def _check_value(self, key: Key, field: Field) -> None:
        value = field.value
        if isinstance(value, Section) != (key.kind == "section"):
            self._report_kind(key, value)
        elif isinstance(value, Section):
            self.check_section(value, key.name, f"section '{key.name}'", field.span)
        elif key.kind in _NUMBERS:
            self._check_number(key, value)
        elif key.kind == "switch":
            self._check_switch(key, value)
        elif key.kind == "transports":
            self._check_transports(key, value)
        elif key.kind == "location" and isinstance(value, Location):
            self._check_use(value)
        elif not isinstance(value, _CLASSES[key.kind]):
            self._report_kind(key, value)
        elif key.kind == "origin" and isinstance(value, Text):
            self._check_origin(value)
        elif key.kind == "token" and isinstance(value, Text):
            self._check_token(key, value)

    def _report_kind(self, key: Key, value: Value | Section, hint: str = "") -> None:
        self.error(
            "RBR042",
            value.span,
            f"'{key.name}' takes {_KINDS[key.kind]}",
            hint or f"write for instance: {key.name} {_example(key)}",
        )

    def _check_number(self, key: Key, value: Value) -> None:
        if not isinstance(value, Number) or value.text.count(".") > 1:
            self._report_kind(key, value)
            return
        if "." in value.text and key.kind in ("bytes", "count"):
            self._report_kind(key, value)
            return
        if not key.low <= float(value.text) <= key.high:
            bounds = f"{key.low:g} to {key.high:.12g}"
            message = f"{clip(value.text)} is out of range for '{key.name}'"
            hint = f"write a number of {bounds}; the default is {key.default}"
            self.error("RBR041", value.span, message, hint)
        elif key.name in _NOT_MILLISECONDS and float(value.text) >= _LIKE_MILLISECONDS:
            hours, seconds = float(value.text) / 3600, float(value.text) / 1000
            message = f"'{key.name}' counts in seconds: {value.text} are {hours:.1f} hours"
            hint = f"Socket.IO counts in milliseconds; here, write: {key.name} {seconds:g}"
            self.warn("RBR057", value.span, message, hint)

    def _check_switch(self, key: Key, value: Value) -> None:
        if not isinstance(value, Words) or value.texts not in (("on",), ("off",)):
            written = self.rbr.source.text[value.start : value.end].strip('"').lower()
            meant = _SWITCHES.get(written, key.default)
            self._report_kind(key, value, f"write: {key.name} {meant}")

    def _check_transports(self, key: Key, value: Value) -> None:
        if not isinstance(value, Words):
            self._report_kind(key, value)
            return
        for name in value.names:
            if name.text not in TRANSPORTS:
                hint = did_you_mean(name.text, TRANSPORTS, f"there are {listed(TRANSPORTS, 'and')}")
                self.error("RBR042", name.span, f"unknown transport '{clip(name.text)}'", hint)

    def _check_origin(self, value: Text) -> None:
        scheme, mark, host = value.text.partition("://")
        if value.text in ("*", "null") or (scheme and mark and host and "/" not in host):
            return
        message = f"'{clip(value.text)}' is not an origin"
        hint = 'an origin is a scheme and a host, without a path: "https://example.org"'
        if mark and host.rstrip("/").count("/") == 0:
            hint = f'remove the last slash: "{clip(value.text.rstrip("/"))}"'
        self.error("RBR042", value.span, message, hint)

    def _check_token(self, key: Key, value: Text) -> None:
        if not _TOKEN.fullmatch(value.text):
            message = f"'{clip(value.text)}' can't be the name of a {key.name}"
            self.error("RBR042", value.span, message, "write letters, digits, '-', '.' and '_'")

    # --- operations

    def _check_operation(self, entry: Operation, table: str, title: str) -> None:
        places = _PLACES.get(type(entry), ())
        if isinstance(entry, UnlessType):
            places = _HEADERS if entry.header is not None else _BODIES
        if table not in places:
            self._report_misplaced(entry, places, title)
        self._check_parts(entry)

    def _report_misplaced(self, entry: Operation, places: tuple[str, ...], title: str) -> None:
        what = f"'{self.peek_at(entry.start)}'"
        if isinstance(entry, UnlessType):
            what = "a rule for a body" if places == _BODIES else "a rule for a header"
        hint = f"put it into: {listed(f'{place} ( ... )' for place in places)}"
        if "path" in places:
            hint = "put it into the path itself"
        elif isinstance(entry, UnlessType) and entry.header in ("body", "request", "response"):
            hint = f"write: {operation_text(replace(entry, header=None))}"
        self.error("RBR045", entry.span, f"{what} means nothing in {title}", hint)

    def peek_at(self, offset: int) -> str:
        """The word that stands at an offset."""
        return self.rbr.source.text[offset : offset + 40].split(None, 1)[0]

    def _check_parts(self, entry: Operation) -> None:
        match entry:
            case UnlessType(_, _, type_name, code):
                self._check_type(type_name)
                self._check_code(code)
            case UnlessValidates(_, validator, code):
                self._check_validator(validator)
                self._check_code(code)
            case OnError(code) | Describe(code):
                self._check_code(code)
            case OnEvent(_, _, use):
                self.check_callable(use, "an event")
            case Alter(use):
                self.check_callable(use, "'alter with'")

    def _check_type(self, name: Name) -> None:
        if name.text not in self.types:
            hint = did_you_mean(
                name.text, self.types, f"define it: type {clip(name.text)} python:module.Class;"
            )
            self.error("RBR035", name.span, f"unknown type '{clip(name.text)}'", hint)

    def _check_validator(self, validator: Name | Location) -> None:
        if isinstance(validator, Location):
            self.check_callable(validator, "'validates with'")
        elif validator.text not in (*self.types, *self.globals):
            hint = did_you_mean(
                validator.text,
                (*self.types, *self.globals),
                f"name a type or global of this file, or write python:{clip(validator.text)}",
            )
            self.error(
                "RBR035", validator.span, f"unknown validator '{clip(validator.text)}'", hint
            )

    def _check_code(self, code: Number) -> None:
        if len(code.text) == 3 and code.text.isdigit() and "100" <= code.text <= "599":
            return
        hint = "a status has three digits, 100 to 599: 400 is a bad request, 401 needs a login"
        self.error("RBR033", code.span, f"{clip(code.text)} is no HTTP status", hint)

    # --- locations

    def check_callable(self, use: Location, role: str) -> None:
        if use.kind != "python":
            message = f"{role} takes no '{use.kind}:'"
            self.error("RBR042", use.span, message, "write: python:module.callable")
            return
        self.check_location(use)

    def _check_use(self, use: Location) -> None:
        if use.kind == "proxy" and not is_server_address(use.target):
            message = f"'{clip(use.target)}' is no address of a server"
            server = use.target if _SERVER.fullmatch(use.target) else "localhost:5000"
            hint = f"write: use proxy:http://{clip(server)}"
            self.error("RBR042", use.target_span, message, hint)
            return
        self.check_location(use)

    def check_location(self, use: Location) -> None:
        if self.resolve is None or use.kind == "proxy":
            return
        problem = self.resolve(use)
        if problem is not None and use.target.endswith(FILE_ENDINGS) and use.kind == "python":
            hint = f"it looks like a file; write: file:{clip(use.target)}"
            if use.target.endswith(".py"):
                hint = f"name what is in it: python:{clip(use.target.removesuffix('.py'))}.function"
            self.error("RBR040", use.target_span, problem[0], hint)
        elif problem is not None:
            code = _RESOLVE_CODES.get(use.kind, "RBR040")
            self.error(code, use.target_span, *problem)


def _what(entry: Entry) -> tuple[str, Span]:
    """What an entry gives, as it may be given once only; empty if it may be repeated."""
    match entry:
        case Field(key):
            return key.text, key.span
        case OnError():
            return "on error return", entry.span
        case OnEvent(event, is_any):
            return "on * (any)" if is_any else f"on {event}", entry.event_span
        case Describe(code):
            return f"describe {code.text}", entry.span
        case _:
            return "", entry.span


_CLASSES: dict[str, tuple[type[Value], ...]] = {
    "text": (Text,),
    "version": (Text, Number),
    "url": (Url,),
    "verbs": (Words,),
    "location": (Location,),
    "origin": (Text,),
    "token": (Text,),
}

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2

_KINDS = {
    "text": "a text in double quotes",
    "version": "a number or a text",
    "url": "a url, which starts with '/'",
    "verbs": f"verbs joined by '|': {listed(HTTP_VERBS + SOCKET_VERBS)}",
    "location": "a location",
    "origin": "an origin in double quotes",
    "token": "a name in double quotes",
    "number": "a number",
    "bytes": "a whole number of bytes",
    "count": "a whole number",
    "seconds": "a number of seconds",
    "switch": "'on' or 'off'",
    "transports": "polling, websocket or both",
    "section": "a section",
}


def _example(key: Key) -> str:
    # A default of 0 means "off", and who writes the key wants it on.
    return key.default if key.default not in ("", "0") else EXAMPLES[key.kind]
