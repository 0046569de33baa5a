"""The urls of RBR as patterns: what their placeholders may hold, and what is wrong with them.

Implements the template rules of RBR 1.0: ``{name}`` fits one segment,
``{name:REGEX}`` what the regex says. Whether a regex can run away is told from
its text alone. Used by `rbr_check`, as ``faults(url.text)``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from .errors import Span
from .rbr_diagnostics import clip
from .rbr_nodes import Placeholder, template_parts

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
    at = 0
    for part in template_parts(template):
        if isinstance(part, str):
            yield from _stray_braces(part, at)
            yield from _foreign_placeholders(part, at)
            at += len(part)
            continue
        at = part.end
        span = Span(part.start, part.end)
        if part.name in names:
            hint = "give each placeholder of a url its own name"
            yield Fault("RBR036", span, f"'{{{part.name}}}' stands in this url twice", hint)
        names.add(part.name)
        yield from _regex_faults(part, span)


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


def _foreign_placeholders(literal: str, at: int) -> Iterator[Fault]:
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
        message = f"'{clip(match.group())}' fits only itself"
        yield Fault("RBR056", Span(at + match.start(), at + match.end()), message, hint)


def _regex_faults(part: Placeholder, span: Span) -> Iterator[Fault]:
    if part.regex is None:
        return
    try:
        _compiled(part.regex)
    except re.error as error:
        start = part.end - 1 - len(part.regex) + (error.pos or 0)
        hint = "this regex is Python's (https://docs.python.org/3/library/re.html)"
        message = f"the regex of '{{{part.name}}}' is broken: {error.msg}"
        yield Fault("RBR036", Span(start, min(start + 1, part.end)), message, hint)
        return
    except (OverflowError, RecursionError):
        hint = "write a simpler one"
        yield Fault("RBR036", span, f"the regex of '{{{part.name}}}' is too large", hint)
        return
    if has_nested_quantifier(part.regex):
        yield Fault(
            "RBR037",
            span,
            f"the regex of '{{{part.name}}}' repeats something that repeats",
            "a hostile url can keep it busy for years; write a+ instead of (a+)+",
        )


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
    whole: list[str] = []
    for part in template_parts(template):
        if isinstance(part, str):
            whole.append(re.escape(part))
        elif part.regex is None:
            whole.append("[^/]+")
        elif has_nested_quantifier(part.regex):
            return None
        else:
            whole.append(f"(?:{part.regex})")
    try:
        return _compiled("".join(whole))
    except (re.error, OverflowError, RecursionError):
        return None


def _compiled(regex: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # What `re` may mean one day (`[[`) is no concern of who runs the server.
        warnings.simplefilter("ignore")
        return re.compile(regex)
