"""Prose of an .rbr file as HTML: a small part of Markdown and reStructuredText.

What it implements: paragraphs, lists, literal blocks, emphasis, strong, code and links,
as far as both languages write them alike, and the links and literal blocks of each; and
elements whose texts are escaped. What it leaves out: headings, tables, images, raw HTML
and all else, which stays the text that it is.

In one line::

    html = render("Says *hello* to [you](https://example.org).")
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Final


class Html(str):
    """Text that is HTML already. Whatever is not of this type is escaped when it is set."""

    __slots__ = ()


_VOID: Final = frozenset(("input", "link", "meta"))


def tag(name: str, /, *children: str, **attributes: str | bool) -> Html:
    """An element. ``class_`` is class and ``data_url`` data-url; False leaves one out.

    That every text passes here is the whole defence against markup in a name, a url
    or a regex: nobody has to remember to escape.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(key: str, value: str | bool) -> str:  # noqa: FBT001
    name = key.rstrip("_").replace("_", "-")
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{escape(value)}"'


def join(children: Iterable[str], between: str = "") -> Html:
    """Texts and HTML in a row."""
    return Html(between.join(c if isinstance(c, Html) else escape(c) for c in children))


# -- blocks --------------------------------------------------------------------

# Each level is a call inside of a call: "- - - - …" must not use up the stack.
_MAX_DEPTH: Final = 6

_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ITEM = re.compile(r" {0,3}(?:[-*+]|(?P<number>[0-9]{1,9})[.)])(?: +|$)")
_INDENTED = re.compile(r"    |\t")


def render(text: str) -> Html:
    """A text with its blocks, as HTML."""
    return join(_blocks(inspect.cleandoc(text).splitlines(), 0))


def _blocks(lines: list[str], depth: int) -> Iterator[Html]:
    while lines:
        line = lines[0]
        if not line.strip():
            lines = lines[1:]
        elif fence := _FENCE.match(line):
            block, lines = _fenced(lines[1:], fence[1])
            yield _literal(block)
        elif _INDENTED.match(line):
            block, lines = _while(lines, lambda one: _INDENTED.match(one) is not None)
            yield _literal(block)
        elif _ITEM.match(line) and depth < _MAX_DEPTH:
            block, lines = _list(lines)
            yield _rendered_list(block, depth)
        else:
            block, lines = _paragraph(lines)
            yield from _rendered_paragraph(block)
            if block[-1].endswith("::"):
                block, lines = _while(lines, lambda one: one.startswith(" "))
                if block:
                    yield _literal(block)


def _while(lines: list[str], belongs: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    """Lines that belong together, with the blank ones among them, and the rest."""
    count = 0
    for number, line in enumerate(lines, 1):
        if belongs(line):
            count = number
        elif line.strip():
            break
    return lines[:count], lines[count:]


def _fenced(lines: list[str], fence: str) -> tuple[list[str], list[str]]:
    for number, line in enumerate(lines):
        if line.strip().startswith(fence):
            return lines[:number], lines[number + 1 :]
    return lines, []


def _literal(lines: list[str]) -> Html:
    return tag("pre", tag("code", inspect.cleandoc("\n" + "\n".join(lines))))


def _paragraph(lines: list[str]) -> tuple[list[str], list[str]]:
    for number, line in enumerate(lines):
        ends = not line.strip() or _FENCE.match(line) or _is_bullet(line)
        if number and ends:
            return lines[:number], lines[number:]
    return lines, []


def _is_bullet(line: str) -> bool:
    """A number may begin a line of a paragraph by chance, as in "since\\n2011. Then"."""
    item = _ITEM.match(line)
    return item is not None and item["number"] is None and bool(line[item.end() :].strip())


def _rendered_paragraph(lines: list[str]) -> Iterator[Html]:
    text = "\n".join(line.strip() for line in lines)
    if text.endswith("::"):
        # reStructuredText: a literal block follows; a line of its own says nothing else.
        text = text[:-2] if text[:-2].endswith((" ", "\n")) or text == "::" else text[:-1]
    if text.strip():
        yield tag("p", inline(text.strip()))


def _list(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines of a list: items, what is indented below them, lazy lines of a paragraph."""
    ordered = _number(lines[0]) is not None
    blank = False
    for number, line in enumerate(lines):
        item = _ITEM.match(line)
        if not line.strip():
            blank = True
            continue
        if item and (_number(line) is not None) is ordered:
            blank = False
        elif not line.startswith(" ") and (blank or item):
            return lines[:number], lines[number:]
    return lines, []


def _number(line: str) -> str | None:
    item = _ITEM.match(line)
    return item["number"] if item else None


def _rendered_list(lines: list[str], depth: int) -> Html:
    items: list[list[str]] = []
    column = 0
    margin = len(lines[0]) - len(lines[0].lstrip(" "))
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        item = _ITEM.match(line)
        if item and (not items or indent < max(column, margin + 1)):
            column = item.end()
            items.append([line[column:]])
        else:
            items[-1].append(line[min(indent, column) :])
    first = _number(lines[0])
    rendered = [tag("li", _item(item, depth)) for item in items]
    if first is None:
        return tag("ul", *rendered)
    return tag("ol", *rendered, start=str(int(first)) if int(first) != 1 else False)


def _item(lines: list[str], depth: int) -> Html:
    """What an item holds; a paragraph alone goes without its tags."""
    blocks = list(_blocks(lines, depth + 1))
    if blocks and blocks[0].startswith("<p>"):
        blocks[0] = Html(blocks[0][3:-4] + (" " if blocks[1:] else ""))
    return join(blocks)


# -- inside of a line ----------------------------------------------------------

# No alternative can run past the next character of its own kind, so that a text
# of nothing but openings takes no longer than another.
_INLINE = re.compile(
    r"\\(?P<escaped>[\\`*_\[\]<>(){}#+.!|-])"
    r"|``(?P<code2>[^`]+(?:`[^`]+)*)``"
    r"|`(?P<rst>[^`<>]*[^`<>\s])\s*<(?P<rst_to>[^`<>\s]+)>`__?"
    r"|`(?P<code>[^`]+)`"
    r"|\*\*(?P<strong>(?!\s)[^*]+(?<!\s))\*\*"
    r"|\*(?P<emphasis>(?!\s)[^*]+(?<!\s))\*"
    r"|(?<!\w)_(?P<underlined>(?!\s)[^_]+(?<!\s))_(?!\w)"
    r"|\[(?P<link>[^\[\]]+)\]\((?P<link_to>[^()\s]+)\)"
    r"|<(?P<auto>(?:https?://|mailto:)[^<>\s]+)>"
    r"|(?P<bare>\bhttps?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]*_])"
)


def inline(text: str, *, links: bool = True) -> Html:
    """One run of text; ``links`` are not made where one is open already."""
    parts: list[str] = []
    end = 0
    for match in _INLINE.finditer(text):
        parts += (text[end : match.start()], _inline(match, links=links))
        end = match.end()
    return join((*parts, text[end:]))


def _inline(match: re.Match[str], *, links: bool) -> str:
    kind = match.lastgroup or ""
    value = match[kind]
    if kind == "escaped":
        return value
    if kind in ("code", "code2"):
        return tag("code", value.strip())
    if kind == "strong":
        return tag("strong", inline(value, links=links))
    if kind in ("emphasis", "underlined"):
        return tag("em", inline(value, links=links))
    shown = match["link"] or match["rst"]
    words = inline(shown, links=False) if shown else join([value.removeprefix("mailto:")])
    return link(words, value) if links else words


def link(words: str, target: str) -> Html:
    """A link to where one may lead from here; the words alone if it may not.

    What stands before a colon is a scheme, or a browser may take it for one:
    ``javascript:`` runs in the page. Browsers drop control characters, so that a
    scheme could hide behind one.
    """
    before, colon, _ = re.split(r"[/?#]", target, maxsplit=1)[0].partition(":")
    allowed = not colon or before.lower() in ("http", "https", "mailto")
    if not allowed or "\\" in target or re.search(r"[\x00-\x20\x7f]", target):
        return join([words])
    return tag("a", words, href=target, rel="noopener")
