"""The canonical text of a tree: what `fmt` writes.

Implements one way to lay out RBR: an entry a line, four blanks a level, no comma
behind the last entry, an empty line around definitions that have a section.
Comments stay where they are, runs of blank lines become one. Two laws hold for
every tree: ``parse(format(tree)) == tree``, and formatting twice is formatting
once. Used as ``format(parse(text))``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .rbr_nodes import (
    Alter,
    Arbiter,
    Definition,
    Describe,
    Entry,
    Field,
    Global,
    Include,
    Meta,
    Name,
    Number,
    OnError,
    OnEvent,
    Path,
    Rbr,
    Root,
    Section,
    Set,
    Socket,
    Text,
    Type,
    UnlessType,
    UnlessValidates,
    Url,
    Value,
    Words,
    Worker,
    needs_quotes,
)

INDENT = "    "
MAX_WIDTH = 88  # a list of values longer than this goes one a line

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NEEDS_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def format(rbr: Rbr) -> str:  # noqa: A001 - read as `rbr_format.format`
    """The text of a file, with a line feed at its end."""
    lines: list[str] = []
    after_section = False
    for definition in rbr.definitions:
        has_section = isinstance(definition, Meta | Path)
        lead = list(definition.lead)
        if (has_section or after_section) and lines and (not lead or lead[0]):
            lead.insert(0, "")
        lines += _without_first_blank(lead, lines)
        lines += _definition_lines(definition)
        after_section = has_section
    lines += _without_first_blank(rbr.tail, lines)
    return "\n".join([*_without_last_blank(lines), ""]) if lines else ""


def _definition_lines(definition: Definition) -> Iterator[str]:
    aside = f" {definition.trail}" if definition.trail else ""
    if isinstance(definition, Meta):
        yield from _section_lines("meta", definition.section, "", f";{aside}")
    elif isinstance(definition, Path):
        head = f"path {definition.name.text}"
        yield from _section_lines(head, definition.section, "", f";{aside}")
    else:
        yield f"{_line_of(definition)};{aside}"


def _line_of(
    definition: Global | Type | Root | Socket | Include | Worker | Arbiter,
) -> str:
    match definition:
        case Global(Name(name), value):
            return f"global {name} {value_text(value)}"
        case Root(url):
            return f"root {value_text(url)}"
        case Socket(name, use):
            return f"socket {name.text + ' ' if name else ''}{value_text(use)}"
        case Include(file, at):
            return f"include {value_text(file)}" + (f" at {value_text(at)}" if at else "")
        case _:
            keyword = type(definition).__name__.lower()
            return f"{keyword} {definition.name.text} {value_text(definition.use)}"


def _section_lines(head: str, section: Section, indent: str, end: str) -> Iterator[str]:
    inline = _inline(section)
    if inline is not None and len(indent) + len(head) + len(inline) < MAX_WIDTH:
        yield f"{indent}{head} {inline}{end}"
        return
    yield f"{indent}{head} ("
    lines: list[str] = []
    last = len(section.entries) - 1
    for i, entry in enumerate(section.entries):
        aside = f" {entry.trail}" if entry.trail else ""
        comma = "" if i == last else ","
        lead = _without_first_blank(entry.lead, lines)
        lines += [indent + INDENT + comment if comment else "" for comment in lead]
        lines += _entry_lines(entry, indent + INDENT, comma + aside)
    tail = _without_first_blank(section.tail, lines)
    lines += [indent + INDENT + comment if comment else "" for comment in tail]
    yield from _without_last_blank(lines)
    yield f"{indent}){end}"


def _inline(section: Section) -> str | None:
    """A list of values on one line; None for a section that needs several."""
    parts: list[str] = []
    for entry in section.entries:
        has_lead = bool(entry.lead) if parts else any(entry.lead)  # a first blank line goes
        if not isinstance(entry, Value) or has_lead or entry.trail:
            return None
        parts.append(value_text(entry))
    whole = f"({', '.join(parts)})"
    return None if any(section.tail) or "\n" in whole else whole


def _entry_lines(entry: Entry, indent: str, end: str) -> Iterator[str]:
    if isinstance(entry, Field):
        key, value = entry.key.text, entry.value
        if isinstance(value, Section):
            yield from _section_lines(key, value, indent, end)
        else:
            yield f"{indent}{key} {value_text(value)}{end}"
    elif isinstance(entry, Value):
        yield f"{indent}{value_text(entry)}{end}"
    else:
        yield f"{indent}{operation_text(entry)}{end}"


def operation_text(
    entry: UnlessType | UnlessValidates | OnError | OnEvent | Set | Describe | Alter,
) -> str:
    """An operation on one line, also for people: `__doc__` shows it."""
    match entry:
        case UnlessType(header, negated, type_name, code):
            subject = f"{_header(header)} type" if header is not None else "type"
            verb = "is not" if negated else "is"
            return f"unless {subject} {verb} {type_name.text} return {code.text}"
        case UnlessValidates(header, validator, code):
            check = validator.text if isinstance(validator, Name) else value_text(validator)
            return f"unless {_header(header)} validates with {check} return {code.text}"
        case OnError(code):
            return f"on error return {code.text}"
        case OnEvent(event, is_any, use):
            return f"on {'*' if is_any else _header(event)} use {value_text(use)}"
        case Set(header, value):
            return f"set {_header(header)} {value_text(value)}"
        case Describe(code, text):
            return f"describe {code.text} {value_text(text)}"
        case _:
            return f"alter with {value_text(entry.use)}"


def value_text(value: Value) -> str:
    """A value as it is written in a file; as its author wrote it, if there was one."""
    match value:
        case Number():
            return value.text
        case Url(text):
            return quoted(text) if needs_quotes(text) else text
        case Words():
            return "|".join(value.texts)
        case Text():
            return value.written or quoted(value.text)
        case _:
            target = value.target
            is_plain = re.fullmatch(r'[^\s,;(){}#"]+', target) is not None
            return value.written or f"{value.kind}:{target if is_plain else quoted(target)}"


def quoted(text: str) -> str:
    """``"…"`` with the escapes that it needs, and no others."""
    return '"' + _NEEDS_ESCAPE.sub(_escaped, text) + '"'


def _escaped(match: re.Match[str]) -> str:
    char = match.group()
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def _header(name: str) -> str:
    return name if _NAME.fullmatch(name) else quoted(name)


def _without_first_blank(comments: Iterable[str], before: list[str]) -> list[str]:
    """Blank lines separate: at the start of a file or section there is nothing to."""
    kept = list(comments)
    while kept and not kept[0] and (not before or not before[-1]):
        kept.pop(0)
    return kept


def _without_last_blank(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines.pop()
    return lines
