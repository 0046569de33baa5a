"""The tree of an .rbr file: immutable nodes, each knowing where it stands.

Implements the RBR language, version 1.0, as data; what the nodes mean is said
in the rooms above. Two trees are equal if they say the same: positions,
comments and spelling are left out of comparisons. Used as
``parse(text).paths[0].get("url")``.

Comments and blank lines hang on the node that they stand before (``lead``: one
item a line, an empty one for blank lines) or behind on the same line
(``trail``), and on the section or file that ends after them (``tail``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from .errors import Span
from .rbr_diagnostics import Source
from .rbr_keys import DEFAULT_URLS, PATH_KEYS, SOCKET_VERBS

_NOWHERE = Span(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What all nodes have: a place in the text, and the comments around it."""

    # Two numbers rather than a Span: a large file has a hundred thousand nodes, and each
    # object more is one more for the garbage collector to walk, over and over.
    start: int = field(default=0, compare=False, repr=False)
    end: int = field(default=0, compare=False, repr=False)
    lead: tuple[str, ...] = field(default=(), compare=False, repr=False)
    trail: str = field(default="", compare=False, repr=False)

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


# --- values


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A bare word: a key, a name, a verb."""

    text: str


@dataclass(frozen=True, slots=True)
class Text(Node):
    """``"…"`` or ``\"""…\"""``: what it says, and how that was written."""

    text: str
    written: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number(Node):
    """Digits and dots as they were written: 1.10 is not 1.1, and 1.0.3 is one too."""

    text: str


@dataclass(frozen=True, slots=True)
class Placeholder:
    """``{name}`` or ``{name:regex}`` in a url; without a regex it fits one segment."""

    name: str
    regex: str | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Url(Node):
    """A template such as ``/show/{page:[0-9]+}``."""

    text: str

    def parts(self) -> tuple[str | Placeholder, ...]:
        """Literal texts and placeholders in order; joined they are the whole template."""
        return tuple(template_parts(self.text))


@dataclass(frozen=True, slots=True)
class Words(Node):
    """``GET|POST``, ``polling``, ``on``: one or more words."""

    names: tuple[Name, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(name.text for name in self.names)


@dataclass(frozen=True, slots=True)
class Location(Node):
    """Where something is found: ``kind`` is python, file, directory, proxy or wsgi.

    ``location:`` of RBR 0.9 is the kind file, and a dotted name without a prefix
    is python.
    """

    kind: str
    target: str
    written: str = field(default="", compare=False, repr=False)
    target_span: Span = field(default=_NOWHERE, compare=False, repr=False)


# --- operations


@dataclass(frozen=True, slots=True)
class UnlessType(Node):
    """``unless [header] [type] is [not] NAME return CODE``"""

    header: str | None
    negated: bool
    type: Name
    code: Number
    header_span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class UnlessValidates(Node):
    """``unless header validates with (NAME | location) return CODE``"""

    header: str
    validator: Name | Location
    code: Number
    header_span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class OnError(Node):
    """``on error return CODE``"""

    code: Number


@dataclass(frozen=True, slots=True)
class OnEvent(Node):
    """``on EVENT use location``; the event ``*`` (unquoted) has ``is_any``."""

    event: str
    is_any: bool
    use: Location
    event_span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Set(Node):
    """``set header value``"""

    header: str
    value: Value
    header_span: Span = field(default=_NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Describe(Node):
    """``describe CODE TEXT``"""

    code: Number
    text: Text


@dataclass(frozen=True, slots=True)
class Alter(Node):
    """``alter with location``"""

    use: Location


# --- sections


@dataclass(frozen=True, slots=True)
class Field(Node):
    """``NAME value`` or ``NAME section``"""

    key: Name
    value: Value | Section


@dataclass(frozen=True, slots=True)
class Section(Node):
    """``( entry, … )``; ``is_whole`` is False if something in it could not be read."""

    entries: tuple[Entry, ...]
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False)
    is_whole: bool = field(compare=False, repr=False, default=True)

    def fields(self, key: str) -> tuple[Field, ...]:
        return tuple(e for e in self.entries if isinstance(e, Field) and e.key.text == key)

    def get(self, key: str) -> Value | None:
        """The value of a field, the first if it was given twice, or None."""
        for found in self.fields(key):
            if not isinstance(found.value, Section):
                return found.value
        return None

    def all(self, key: str) -> tuple[Value, ...]:
        """The values of a field that may be repeated."""
        values = (found.value for found in self.fields(key))
        return tuple(value for value in values if not isinstance(value, Section))

    def section(self, key: str) -> Section | None:
        for found in self.fields(key):
            if isinstance(found.value, Section):
                return found.value
        return None

    def text(self, key: str) -> str:
        """The text of a field such as ``title`` or ``version``, or an empty one."""
        value = self.get(key)
        return value.text if isinstance(value, Text | Number) else ""

    def operations(self) -> tuple[Operation, ...]:
        return tuple(entry for entry in self.entries if isinstance(entry, Operation))


# --- definitions


@dataclass(frozen=True, slots=True)
class Meta(Node):
    """``meta ( title "…", version 1.0 );``"""

    section: Section


@dataclass(frozen=True, slots=True)
class Path(Node):
    """``path NAME ( … );``: one service or socket, with its rules and options."""

    name: Name
    section: Section

    def get(self, key: str) -> Value | None:
        return self.section.get(key)

    def all(self, key: str) -> tuple[Value, ...]:
        return self.section.all(key)

    def text(self, key: str) -> str:
        return self.section.text(key)

    @property
    def verbs(self) -> tuple[str, ...]:
        """The words of ``method``; GET if there are none."""
        method = self.get("method")
        return method.texts if isinstance(method, Words) else ("GET",)

    @property
    def is_socket(self) -> bool:
        return any(verb in SOCKET_VERBS for verb in self.verbs)

    @property
    def url(self) -> Url | None:
        """The template; that of its transport for a socket that names none."""
        given = self.get("url")
        if isinstance(given, Url):
            return given
        for verb in self.verbs:
            if verb in DEFAULT_URLS:
                return Url(DEFAULT_URLS[verb], start=self.name.start, end=self.name.end)
        return None

    @property
    def use(self) -> Location | None:
        given = self.get("use")
        return given if isinstance(given, Location) else None

    def events(self) -> tuple[OnEvent, ...]:
        return tuple(entry for entry in self.section.entries if isinstance(entry, OnEvent))

    def on_error(self) -> OnError | None:
        for entry in self.section.entries:
            if isinstance(entry, OnError):
                return entry
        return None

    def number(self, key: str) -> float:
        """An option that is a number, or its default in the table of keys."""
        given = self.get(key)
        text = given.text if isinstance(given, Number) else PATH_KEYS[key].default
        return float(text)

    def switch(self, key: str) -> bool:
        """An option that is on or off, or its default in the table of keys."""
        given = self.get(key)
        word = given.texts[0] if isinstance(given, Words) else PATH_KEYS[key].default
        return word == "on"


@dataclass(frozen=True, slots=True)
class Global(Node):
    """``global NAME value;``"""

    name: Name
    value: Value


@dataclass(frozen=True, slots=True)
class Type(Node):
    """``type NAME location;``"""

    name: Name
    use: Location


@dataclass(frozen=True, slots=True)
class Root(Node):
    """``root URL;``"""

    url: Url


@dataclass(frozen=True, slots=True)
class Socket(Node):
    """``socket [NAME] location;``, short for a path with the method SOCKETIO."""

    name: Name | None
    use: Location

    def as_path(self) -> Path:
        here = self.span
        name = self.name or Name("socket", start=here.start, end=here.start + len("socket"))
        method = Words(
            (Name("SOCKETIO", start=here.start, end=here.end),), start=here.start, end=here.end
        )
        fields = (
            Field(
                Name("method", start=here.start, end=here.end),
                method,
                start=here.start,
                end=here.end,
            ),
            Field(
                Name("use", start=here.start, end=here.end),
                self.use,
                start=here.start,
                end=here.end,
            ),
        )
        return Path(
            name, Section(fields, start=here.start, end=here.end), start=here.start, end=here.end
        )


@dataclass(frozen=True, slots=True)
class Include(Node):
    """``include TEXT [at URL];``"""

    file: Text
    at: Url | None


@dataclass(frozen=True, slots=True)
class Worker(Node):
    """``worker NAME location;``, read for the sake of 2011's files, and ignored."""

    name: Name
    use: Location


@dataclass(frozen=True, slots=True)
class Arbiter(Node):
    """``arbiter NAME location;``, read for the sake of 2011's files, and ignored."""

    name: Name
    use: Location


Value: TypeAlias = Text | Number | Url | Words | Location
Operation: TypeAlias = UnlessType | UnlessValidates | OnError | OnEvent | Set | Describe | Alter
Entry: TypeAlias = Field | Operation | Value
Definition: TypeAlias = Meta | Path | Global | Type | Root | Socket | Include | Worker | Arbiter


@dataclass(frozen=True)
class Rbr:
    """A whole file. Not slotted, so that what is asked for often is worked out once."""

    definitions: tuple[Definition, ...]
    source: Source = field(compare=False, repr=False)
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths in order, with each ``socket`` line as the path that it stands for."""
        found: list[Path] = []
        for definition in self.definitions:
            if isinstance(definition, Path):
                found.append(definition)
            elif isinstance(definition, Socket):
                found.append(definition.as_path())
        return tuple(found)

    @property
    def meta(self) -> Section:
        """The section of ``meta``; an empty one if the file has none."""
        for definition in self.definitions:
            if isinstance(definition, Meta):
                return definition.section
        return Section(())

    @property
    def root(self) -> str:
        """The prefix of every url: ``/api`` without a last slash, or an empty text."""
        for definition in self.definitions:
            if isinstance(definition, Root):
                return definition.url.text.rstrip("/")
        return ""

    @property
    def globals(self) -> tuple[Global, ...]:
        return tuple(d for d in self.definitions if isinstance(d, Global))

    @property
    def types(self) -> tuple[Type, ...]:
        return tuple(d for d in self.definitions if isinstance(d, Type))

    @property
    def includes(self) -> tuple[Include, ...]:
        return tuple(d for d in self.definitions if isinstance(d, Include))


# --- url templates

_BRACE = re.compile(r"\\.|[{}\n]")
_PLACEHOLDER = re.compile(r"\s*([A-Za-z_]\w*)\s*(?::(.*))?", re.DOTALL | re.ASCII)


def closing_brace(text: str, start: int) -> int:
    """The offset of the ``}`` on its line that pairs with the ``{`` at ``start``, or -1.

    A brace behind a backslash is a character of the regex and pairs with nothing.
    """
    depth = 0
    for match in _BRACE.finditer(text, start):
        if match.group() == "\n":
            break
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return -1


def template_parts(text: str) -> Iterator[str | Placeholder]:
    """Split a url; what is not ``{name}`` or ``{name:regex}`` stays literal."""
    literal = 0
    start = text.find("{")
    while start != -1:
        end = closing_brace(text, start)
        if end == -1:
            break
        match = _PLACEHOLDER.fullmatch(text, start + 1, end)
        if match:
            if literal < start:
                yield text[literal:start]
            yield Placeholder(match[1], match[2], start, end + 1)
            literal = end + 1
        start = text.find("{", end)
    if literal < len(text):
        yield text[literal:]


_ENDS_URL = re.compile(r"[\s,;#]")


def needs_quotes(url: str) -> bool:
    """Whether a url would end too early if it stood in a file without quotes.

    What is between braces is a regex's, whatever else it may be taken for.
    """
    depth = at = 0
    while at < len(url):
        char = url[at]
        if char == "{":
            at = closing_brace(url, at)
        depth += {"(": 1, ")": -1}.get(char, 0)
        if at == -1 or depth < 0 or _ENDS_URL.match(char):
            return True
        at += 1
    return depth != 0
