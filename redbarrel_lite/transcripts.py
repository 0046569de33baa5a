r"""Conversations as people copy them: what `curl -v` says, what a browser shows.

What it implements: taking the heads and the content out of what `curl -v` prints, heads out
of lines as browsers show them (those of HTTP/2, too), and messages of WebSockets out of
lines with arrows. What it leaves out: what they mean (`explain`).

In one line::

    said = of_curl("> GET / HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 204 No Content\n<\n")
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .anatomy import CLIENT, SERVER, Sender
from .anatomy_fields import FIELDS


class Said(NamedTuple):
    """What somebody says: a head, a content, a message; who, where that is known."""

    sender: Sender | None
    what: str | bytes
    is_content: bool = False


# -- curl ----------------------------------------------------------------------------------

_COLOUR: Final = re.compile(r"\x1b(?:\[[0-9;]*m|\]8;;[^\x1b]*\x1b\\)")
_FIRST: Final = re.compile(r"^(?:> [A-Z]+ \S+ HTTP/|< HTTP/)", re.MULTILINE)
_PROGRESS: Final = re.compile(r"\s*(?:% Total |Dload |(?:\d+(?:\.\d+)?[kMGTP]?\s+){5})")
_CHATTER: Final = re.compile(r"\*|[{}] \[\d+ bytes data\]|curl: |Note: ")
_SENDERS: Final[dict[str, Sender]] = {">": CLIENT, "<": SERVER}
_LAST: Final = re.compile(r"\* Connection #\d+ to host .* left intact\Z")
_NEW_VERSION: Final = re.compile(r"HTTP/[23](?:\.0)?(?= |\Z)")


def uncoloured(text: str) -> str:
    """A text without the colours, and the links, of a terminal."""
    return _COLOUR.sub("", text)


def of_curl(text: str) -> list[Said] | None:
    """What `curl -v` shows; None if it is something else."""
    if not _FIRST.search(text):
        return None
    said: list[Said] = []
    head: list[str] = []
    content: list[str] = []
    for printed in text.split("\n"):
        line = printed.rstrip("\r").rpartition("\r")[2]
        sender = _SENDERS.get(line[:1])
        if sender is not None and line[1:2] in ("", " "):
            if line[2:]:
                head.append(line[2:])
            elif head:
                said += [*_content(content), Said(sender, _as_head(head))]
                head, content = [], []
        elif not _CHATTER.match(line) and not _PROGRESS.match(line):
            if head and line:  # as documents have it, which leave out the empty line
                said.append(Said(_sender_of(head[0]), _as_head(head)))
                head = []
            if said:
                content.append(line)
    if head:
        said.append(Said(_sender_of(head[0]), _as_head(head)[:-2]))  # it is not complete
    return [*said, *_content(content)]


def _sender_of(first_line: str) -> Sender:
    return SERVER if first_line.startswith("HTTP/") else CLIENT


def _content(lines: list[str]) -> Iterator[Said]:
    text = _LAST.sub("", "\n".join(lines)).strip("\r\n")
    if text:
        yield Said(SERVER, text.encode(errors="surrogateescape"), is_content=True)


def _as_head(lines: list[str]) -> bytes:
    lines[0] = _NEW_VERSION.sub("HTTP/1.1", lines[0])
    return ("\r\n".join(lines) + "\r\n\r\n").encode(errors="surrogateescape")


# -- heads that a browser shows --------------------------------------------------------------

_FIELD: Final = re.compile(r"(:?[!#$%&'*+.^_`|~0-9A-Za-z-]+):(?:[ \t]+(.*)|)")
_NAME: Final = re.compile(r":?[\w-]+:?[ \t]*")
_OF_ANSWERS: Final = frozenset(
    "age etag location sec-websocket-accept server set-cookie vary www-authenticate".split()
)


class Head(NamedTuple):
    """A head of HTTP/1.1, and what had to be added to make it one."""

    data: bytes
    added: str


def of_fields(text: str) -> Head | None:
    """Lines of a head without the first one of HTTP/1.1; None if they are something else."""
    if len(text) > _MOST_OF_A_HEAD:
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    if all(map(_NAME.fullmatch, lines[::2])) and len(lines) % 2 == 0:  # and values below them
        lines = [
            f"{name.rstrip(': ')}: {value}"
            for name, value in zip(lines[::2], lines[1::2], strict=True)
        ]
    found = [_FIELD.fullmatch(line) for line in lines]
    pairs = [(one[1], (one[2] or "").strip()) for one in found if one is not None]
    known = sum(name.startswith(":") or _is_known(name) for name, _ in pairs)
    if not found or len(pairs) < len(found) or 2 * known < len(pairs):
        return None
    pseudo = {name: value for name, value in pairs if name.startswith(":")}
    fields = [(name, value) for name, value in pairs if not name.startswith(":")]
    names = {name.lower() for name, _ in fields}
    if ":status" in pseudo or (not pseudo and names & _OF_ANSWERS):
        status = pseudo.get(":status") or ("101" if "sec-websocket-accept" in names else "200")
        first = f"HTTP/1.1 {status} "
    else:
        first = f"{pseudo.get(':method', 'GET')} {pseudo.get(':path', '/')} HTTP/1.1"
        if "host" not in names:
            fields.insert(0, ("Host", pseudo.get(":authority", "localhost")))
    head = [first, *(f"{name}: {value}" for name, value in fields)]
    return Head(_as_head(head), "" if pseudo else f"'{first.strip()}'")


_MOST_OF_A_HEAD: Final = 100_000  # characters


def _is_known(name: str) -> bool:
    return name.lower() in FIELDS or name.lower().startswith(("sec-", "x-", "access-control-"))


# -- messages of a WebSocket -----------------------------------------------------------------

_MESSAGE: Final = re.compile(
    r"(?:([<>](?= )|[\u2190-\u2193\u25b2\u25bc\u2b06\u2b07\u21e7\u21e9])\ufe0f?\s*)?([0-6b].*?)"
    r"(\t[\d.]+ ?k?B?\t[\d:.]+\s*)?"
)
_UP: Final = ">\u2191\u2192\u25b2\u2b06\u21e7"  # arrows of what is sent


def of_lines(text: str) -> list[Said] | None:
    """Packets line by line, maybe with arrows; None if it is something else."""
    # Not splitlines(): for that U+001E, which parts the packets of a payload, ends a line.
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    found = [one for one in map(_MESSAGE.fullmatch, lines) if one is not None]
    if any(one[1] for one in found):
        found = [one for one in found if one[1]]  # and what the tool itself says
    elif len(found) < len(lines) or not found:
        return None
    if len(found) == 1 and not found[0][1] and not found[0][3]:
        return None
    return [Said(_sent(one[1]), one[2]) for one in found]


def _sent(arrow: str | None) -> Sender | None:
    if arrow is None:
        return None
    return CLIENT if arrow in _UP else SERVER
