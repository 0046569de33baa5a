"""What a path of an .rbr file promises, in words: for `__doc__` and for OpenAPI.

What it implements: the rules as sentences, the statuses that they and ``describe``
name, the options that differ from the usual. What it leaves out: how that is set,
which is for `docpage` and `openapi`.

In one line::

    for part in parts(path): print(part.title, *map(plain, part.rules))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias
from urllib.parse import quote

from .rbr_keys import HTTP_VERBS, PATH_KEYS, SOCKET_VERBS, is_custom
from .rbr_nodes import (
    Alter,
    Describe,
    Field,
    Location,
    Name,
    Number,
    OnError,
    Operation,
    Path,
    Section,
    Set,
    UnlessType,
    UnlessValidates,
    Url,
    Value,
    Words,
)


class Code(str):
    """A word of the file or of a protocol, to be set in another type than prose."""

    __slots__ = ()


Phrase: TypeAlias = tuple[str, ...]


_URL_CHARACTERS: Final = "/:@!$&'()*+,;=-._~"


def sent(url: Url) -> str:
    """A url as a client sends it, percent-encoded but for its placeholders."""
    return "".join(
        quote(part, safe=_URL_CHARACTERS)
        if isinstance(part, str)
        else url.text[part.start : part.end]
        for part in url.parts()
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One side of a service: what is sent to it, or comes back."""

    key: str
    title: str
    description: str
    rules: tuple[Phrase, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """A field of a path that changes how it is served."""

    name: str
    value: str
    help: str


# In the order in which they are kept.
_PARTS: Final = {
    "request-headers": "Request headers",
    "request-body": "Request body",
    "request-status": "Request status",
    "response-headers": "Answer headers",
    "response-body": "Answer body",
    "response-status": "Answer status",
}
_PHRASES: Final = {int(one): one.phrase for one in HTTPStatus}
_TYPES: Final = {"json": "JSON", "int": "an integer", "float": "a number"}
# What a page shows of these stands elsewhere in it.
_NO_OPTIONS: Final = ("description", "request-description", "method", "url", "use", "namespace")


def plain(phrase: Phrase) -> str:
    """A phrase as text, as Markdown would have it."""
    return "".join(f"`{part}`" if isinstance(part, Code) else part for part in phrase)


def status(code: int) -> str:
    """A status code and its phrase."""
    return f"{code} {reason(code)}".rstrip()


def reason(code: int) -> str:
    """The phrase of a status code (RFC 9110 15); "" for one that has none."""
    return _PHRASES.get(code, "")


# -- what is behind a path -----------------------------------------------------

_BEHIND: Final = {
    "python": "the Python callable ",
    "file": "the file ",
    "directory": "the files below ",
    "proxy": "the server at ",
    "wsgi": "the WSGI application ",
}


def behind(path: Path) -> Phrase:
    """What answers; of a socket, what talks to the client."""
    if path.use is not None:
        return (_BEHIND[path.use.kind], Code(path.use.target))
    return ("its events alone",) if path.events() else ("the request itself, echoed",)


def methods(path: Path) -> tuple[str, ...]:
    """The verbs that a service answers. What is mounted answers any that is not named."""
    if path.use is not None and path.use.kind in ("proxy", "wsgi") and path.get("method") is None:
        return tuple(verb for verb in HTTP_VERBS if verb != "CONNECT")
    return path.verbs


def socket_verb(path: Path) -> str:
    """The protocol of a socket."""
    return next(verb for verb in path.verbs if verb in SOCKET_VERBS)


def namespace(path: Path) -> str:
    """The Socket.IO namespace of a socket."""
    given = path.get("namespace")
    return value_text(given) if given is not None else PATH_KEYS["namespace"].default


# -- rules ---------------------------------------------------------------------


def parts(path: Path) -> tuple[Part, ...]:
    """The sections of a path that say something."""
    found = []
    for key, title in _PARTS.items():
        section = path.section.section(key) or Section(())
        rules = _rules(section, key)
        description = section.text("description")
        if key == "request-body":
            # 2011 had a field of its own for it.
            given = (path.text("request-description"), description)
            description = "\n\n".join(filter(None, given))
        if description or rules:
            found.append(Part(key, title, description, rules))
    whole = _rules(path.section, "")
    return (*found, Part("", "Errors", "", whole)) if whole else tuple(found)


def _rules(section: Section, key: str) -> tuple[Phrase, ...]:
    whose = "The answer's" if key.startswith("response") else "The"
    return tuple(
        phrase for one in section.operations() if (phrase := _rule(one, whose)) is not None
    )


def _rule(operation: Operation, whose: str) -> Phrase | None:
    match operation:
        case UnlessType(header, negated, Name(type_name), code):
            must = " must not be " if negated else " must be "
            return (*_subject(header, whose), must, *_type(type_name), *_otherwise(code))
        case UnlessValidates(header, validator, code):
            judge = Code(value_text(validator))
            return (*_subject(header, whose), " must satisfy ", judge, *_otherwise(code))
        case OnError(code):
            return ("If it fails, the answer is ", status(int(code.text)), ".")
        case Set(header, value):
            said = Code(value_text(value))
            return (*_subject(header, "The answer's"), " is set to ", said, ".")
        case Alter(use):
            return (*_subject(None, whose), " is what ", Code(value_text(use)), " makes of it.")
        case _:  # `describe` is for the table of statuses, `on EVENT` for that of events
            return None


def _subject(header: str | None, whose: str) -> Phrase:
    return (whose, " body") if header is None else (whose, " header ", Code(header))


def _type(name: str) -> Phrase:
    return (_TYPES[name],) if name in _TYPES else ("of type ", Code(name))


def _otherwise(code: Number) -> Phrase:
    return ("; otherwise the answer is ", status(int(code.text)), ".")


def value_text(value: Value | Name) -> str:
    """A value as its author wrote it, without quotes."""
    match value:
        case Words():
            return "|".join(value.texts)
        case Location(kind, target):
            return f"{kind}:{target}"
        case _:
            return value.text


# -- statuses, options, parameters ---------------------------------------------


def statuses(path: Path) -> dict[int, str]:
    """The status codes that a path names, and what they mean here, if it says so."""
    found: dict[int, str] = {}
    for operation in _all_operations(path):
        match operation:
            case Describe(code, text):
                found[int(code.text)] = text.text
            case UnlessType(code=code) | UnlessValidates(code=code) | OnError(code=code):
                found.setdefault(int(code.text), "")
    return dict(sorted(found.items()))


def _all_operations(path: Path) -> Iterator[Operation]:
    yield from path.section.operations()
    for section in sections(path):
        yield from section.operations()


def sections(path: Path) -> Iterator[Section]:
    """The sections inside of a path."""
    for entry in path.section.entries:
        if isinstance(entry, Field) and isinstance(entry.value, Section):
            yield entry.value


def options(path: Path) -> tuple[Option, ...]:
    """The options that a path sets, those of its author's own among them."""
    found = []
    for entry in path.section.entries:
        if isinstance(entry, Field) and not isinstance(entry.value, Section):
            name = entry.key.text
            if name not in _NO_OPTIONS:
                about = "" if is_custom(name) else PATH_KEYS[name].help
                found.append(Option(name, value_text(entry.value), about))
    return tuple(found)


def header_types(path: Path) -> dict[str, str]:
    """The header fields that the rules for requests ask for, with a built-in type or ""."""
    section = path.section.section("request-headers") or Section(())
    found: dict[str, str] = {}
    for operation in section.operations():
        match operation:
            case UnlessType(header=str(header), negated=False, type=Name(name)):
                found[header] = name
            case UnlessValidates(header=header):
                found.setdefault(header, "")
    return found


def body_type(path: Path, key: str) -> str:
    """The type that the rules of ``request-body`` or ``response-body`` ask for, or ""."""
    section = path.section.section(key) or Section(())
    for operation in section.operations():
        match operation:
            case UnlessType(header=None, negated=False, type=Name(name)):
                return name
    return ""


def content_type(path: Path) -> str:
    """The media type that a rule gives to answers, or that their type has; "" if unknown."""
    section = path.section.section("response-headers") or Section(())
    for operation in section.operations():
        match operation:
            case Set(header, value) if header.lower() == "content-type":
                return value_text(value)
    return "application/json" if body_type(path, "response-body") == "json" else ""


def unique(name: str, taken: set[str]) -> str:
    """A name that nothing else has, for paths of two files may share one; it is taken then."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add(found)
    return found
