"""The urls of RBR as patterns: what their placeholders may hold, and what is wrong with them.

Implements the template rules of RBR 1.0: ``{name}`` fits one segment,
``{name:REGEX}`` what the regex says. Whether a regex can run away is told from
its text alone. Used by `rbr_check`, as ``faults(url.text)``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import unquote

from .errors import Span
from .rbr_diagnostics import clip
from .rbr_format import value_text
from .rbr_nodes import Placeholder, Url, needs_quotes, template_parts

_SERVER_ADDRESS = re.compile(
    r"""https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[!"$->@-~]*)?"""
)
_BRACES = re.compile(r"\{[^{}]*\}?|\}")
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\(\?[:=!>]|\(\?P?<?[^>:)]*[>:]", re.DOTALL)
# How other frameworks write what is `{name}` here, and where a path ends: `<int:id>` of Flask,
# `:id` of Express, `*` of servers. And how a url is written where it is sent: what it is
# compared with here is decoded.
_FOREIGN = re.compile(r"<(?:\w+:)?(\w+)>|(?<=/):([A-Za-z_]\w*)|\*+|\?.*|(?:%[0-9A-Fa-f]{2})+")
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
# A reference to a group by its number, or to be skipped: what may look like one and is none.
_REFERENCE = re.compile(
    r"\[\^?\]?(?:\\.|[^]\\])*\]|\(\?\#[^)]*\)"
    r"|(?P<number>\\(?![0-7]{3})[1-9][0-9]?|\(\?\((?![^\W\d]\w*\))[^)]*\))|\\.",
    re.DOTALL,
)
_GLOBAL_FLAGS = re.compile(r"(?:\(\?(?:\#[^)]*|[a-zA-Z]+)\))+")  # and comments among them
_PYTHONS = "this regex is Python's (https://docs.python.org/3/library/re.html)"
_SEGMENT = "[^/]+"  # what a placeholder without a regex fits


def is_server_address(text: str) -> bool:
    """Whether a text says where a server is, as ``proxy:`` wants it: no query, no user."""
    found = _SERVER_ADDRESS.fullmatch(text)
    return found is not None and int(found["port"] or 0) <= 65535


class Fault(NamedTuple):
    """Something wrong with a template, at offsets inside of it."""

    code: str
    span: Span
    message: str
    hint: str


def faults(template: str) -> Iterator[Fault]:
    """What makes a template useless (RBR036), dangerous (RBR037) or suspicious (RBR056)."""
    names: set[str] = set()
    is_sound = True
    for fault in _faults_of_parts(template, names):
        is_sound &= fault.code != "RBR036"
        yield fault
    if is_sound and names:
        yield from _faults_of_whole(template)


def _faults_of_parts(template: str, names: set[str]) -> Iterator[Fault]:
    """``names`` grows by those of the placeholders, and of the groups in their regexes."""
    at = 0
    for part in template_parts(template):
        if isinstance(part, str):
            yield from _stray_braces(part, at)
            yield from _foreign_placeholders(part, at, template)
            at += len(part)
            continue
        at = part.end
        span = Span(part.start, part.end)
        if part.name in names:
            hint = "give each placeholder of a url its own name"
            yield Fault("RBR036", span, f"'{{{part.name}}}' stands in this url twice", hint)
        names.add(part.name)
        yield from _regex_faults(part, span, names)


def _faults_of_whole(template: str) -> Iterator[Fault]:
    """Of regexes that are sound one by one: together they may be too much."""
    try:
        compiled(_named(template))
    except (re.error, OverflowError, RecursionError):
        span = Span(0, len(template))
        yield Fault("RBR036", span, "the regexes of this url are too large", "write simpler ones")


def _stray_braces(literal: str, at: int) -> Iterator[Fault]:
    for match in _BRACES.finditer(literal):
        span = Span(at + match.start(), at + match.end())
        yield Fault(
            "RBR036",
            span,
            f"'{match.group()}' is not a placeholder",
            "write '{name}' or '{name:regex}'; a name is letters, digits and '_', and starts with "
            "a letter",
        )


def _foreign_placeholders(literal: str, at: int, template: str) -> Iterator[Fault]:
    whole = unquote(template)
    for match in _FOREIGN.finditer(literal):
        name = match[1] or match[2]
        hint = (
            f"write: {{{name}}}" if name else "write '{name}' for one segment, '{name:.*}' for more"
        )
        if match.group().startswith("?"):
            hint = "remove it: the query of a request is no part of the url"
        elif match.group().startswith("%"):
            meant = unquote(match.group())
            hint = "urls are compared decoded: write what it stands for, or '{name}'"
            if meant.isalnum():
                hint = f"write: {clip(meant)}"
            elif needs_quotes(meant) and meant.isprintable():
                hint = f"write what it stands for, in quotes: {clip(value_text(Url(whole)))}"
        message = f"'{clip(match.group())}' fits only itself"
        yield Fault("RBR056", Span(at + match.start(), at + match.end()), message, hint)


def _regex_faults(part: Placeholder, span: Span, names: set[str]) -> Iterator[Fault]:
    if part.regex is None:
        return
    start = part.end - 1 - len(part.regex)
    try:
        own = compiled(part.regex).groupindex
    except re.error as error:
        at = start + (error.pos or 0)
        message = f"the regex of '{{{part.name}}}' is broken: {error.msg}"
        hint = "write (?i:...) around what it is for" if "flags" in error.msg else _PYTHONS
        yield Fault("RBR036", Span(at, min(at + 1, part.end)), message, hint)
        return
    except (OverflowError, RecursionError):
        hint = "write a simpler one"
        yield Fault("RBR036", span, f"the regex of '{{{part.name}}}' is too large", hint)
        return
    yield from _faults_in_company(part.regex, start)
    for name in own:
        if name in names:
            message = f"the group '{name}' has the name of something else in this url"
            hint = "give each placeholder of a url, and each group, its own name"
            yield Fault("RBR036", span, message, hint)
        names.add(name)
    if has_nested_quantifier(part.regex):
        yield Fault(
            "RBR037",
            span,
            f"the regex of '{{{part.name}}}' repeats something that repeats",
            "a hostile url can keep it busy for years; write a+ instead of (a+)+",
        )


def _faults_in_company(regex: str, start: int) -> Iterator[Fault]:
    """What a regex may say for itself, but not as a part of the one for its url."""
    flags = _GLOBAL_FLAGS.match(regex)
    if flags is not None and not _is_group(regex):
        message = f"'{clip(flags.group())}' would be for the whole url"
        letters = "".join(re.findall(r"\(\?([a-zA-Z]+)", flags.group()))
        hint = f"write: (?{letters}:{clip(regex[flags.end() :])})"
        yield Fault("RBR036", Span(start, start + flags.end()), message, hint)
    for match in _REFERENCE.finditer(regex):
        if match["number"]:
            span = Span(start + match.start(), start + match.end())
            message = f"'{match['number']}' would count the groups of the whole url"
            hint = "give the group a name: (?P<same>...), and then (?P=same) or (?(same)...)"
            yield Fault("RBR036", span, message, hint)


def _is_group(regex: str) -> bool:
    """Whether a regex that is sound may stand in a group."""
    try:
        compiled(f"(?:{regex})")
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def has_nested_quantifier(regex: str) -> bool:
    """True if a group with ``*`` or ``+`` inside is itself repeated without bound.

    Such a pattern can split the same text in exponentially many ways, and tries
    them all before it fails. Some that are told so here are harmless; a warning
    is cheap, and so is another way to write them.
    """
    groups = [False]  # for each open group: does it repeat something?
    pos = 0
    while pos < len(regex):
        piece = _PIECE.match(regex, pos)
        text = piece.group() if piece else regex[pos]
        pos += len(text)
        repeats = _UNBOUNDED.match(regex, pos) is not None
        if text.startswith("("):
            groups.append(False)
        elif text == ")" and len(groups) > 1:
            inner = groups.pop()
            if inner and repeats:
                return True
            groups[-1] |= inner or repeats
        else:
            groups[-1] |= repeats
    return False


def shape(template: str) -> str:
    """The template without the names of its placeholders: what it fits, not what it fills."""
    parts = template_parts(template)
    return "".join(p if isinstance(p, str) else f"{{:{p.regex or ''}}}" for p in parts)


def as_regex(template: str) -> re.Pattern[str] | None:
    """What the template fits, or None if that cannot be told safely."""
    regexes = (p.regex for p in template_parts(template) if isinstance(p, Placeholder))
    if any(regex is not None and has_nested_quantifier(regex) for regex in regexes):
        return None
    try:
        return compiled(_named(template))
    except (re.error, OverflowError, RecursionError):
        return None


def _named(template: str) -> str:
    parts = template_parts(template)
    return joined(part if isinstance(part, str) else (part.name, part.regex) for part in parts)


def joined(parts: Iterable[str | tuple[str, str | None]]) -> str:
    """The regex for the parts of a url: texts, and (name, regex) pairs."""
    return "".join(
        re.escape(part) if isinstance(part, str) else f"(?P<{part[0]}>{part[1] or _SEGMENT})"
        for part in parts
    )


def compiled(regex: str, flags: int = 0) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # What `re` may mean one day (`[[`) is no concern of who runs the server.
        warnings.simplefilter("ignore")
        return re.compile(regex, flags)
