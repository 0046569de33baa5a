r"""The anatomy of a conversation that somebody has copied: a capture, a transcript, messages.

What it implements: who of the two sides is the client, what answers what, and what has been
captured twice. What it leaves out: how it was written (`dumps`, `transcripts`), and the
layers, each in a room of its own.

In one line::

    layers = heads([Said(CLIENT, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")])
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from .anatomy import CLIENT, SERVER, Field, Layer, Sender, first_fault, shown, utf8
from .anatomy_connection import Connection
from .anatomy_engineio import is_query
from .anatomy_http import Requests, Responses, content_layer
from .anatomy_packet import segment_of
from .anatomy_stack import Stack
from .transcripts import Said
from .wsproto import MASK

_REQUEST: Final = re.compile(rb"(?:\r\n)*[!-~]+ [^\r\n]*HTTP/1")
_MESSAGE: Final = "RFC 6455 5.6"


# -- heads ---------------------------------------------------------------------------------


def heads(talk: Iterable[Said]) -> Iterator[Layer]:
    """Heads, each for itself, and contents, which may be payloads: how they came, nobody knows."""
    method, query = "GET", "EIO="  # what is asked may be missing: then it may be that
    for one in talk:
        data = one.what if isinstance(one.what, bytes) else utf8(one.what)
        if one.is_content:
            layer = content_layer(data, SERVER)
            payload = Stack(SERVER).payload(data) if is_query(query) else []
            layer.inner += payload if first_fault(payload) is None else []
            yield layer
        elif one.sender == CLIENT:
            words = data.decode("latin-1").split(" ", 2)
            method, query = words[0], words[1].partition("?")[2] if len(words) > 2 else ""
            yield from _whole(Requests(), data)
        else:
            responses = Responses()
            responses.expect(method, upgrade=True)
            yield from _whole(responses, data)


def _whole(messages_of: Requests | Responses, data: bytes) -> Iterator[Layer]:
    yield from messages_of.receive(data)
    rest = messages_of.rest()
    if rest is not None:
        yield rest


# -- bytes ---------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Some bytes of a connection, and the headers that stood before them."""

    who: str
    data: bytes
    headers: Layer | None


def stream(
    talk: Iterable[Said],
    of_bytes: Callable[[bytes, Sender], list[Layer]],
    *,
    is_known: bool = False,
) -> list[Layer]:
    """What went over a connection; ``of_bytes`` tells what those of one side are.

    ``is_known``: which side is the client's, and not only that there are two.
    """
    pieces = list(_pieces(talk))
    client = CLIENT if is_known else _client_of(pieces)
    senders: dict[str, Sender] = {
        one.who: CLIENT if one.who == client else SERVER for one in pieces
    }
    first = next((one for one in pieces if one.data), None)
    layers: list[Layer] = []
    connection = Connection() if first and _REQUEST.match(first.data) else None
    for one in pieces:
        sender = senders[one.who]
        if one.headers is not None:
            layers.append(replace(one.headers, sender=sender))
        if connection is not None and one.data:
            layers += (connection.from_client if sender == CLIENT else connection.from_server)(
                one.data
            )
    if connection is not None:
        return layers + connection.end()
    for who, sender in senders.items():
        data = b"".join(one.data for one in pieces if one.who == who)
        layers += of_bytes(data, sender) if data else []
    return layers


def _pieces(talk: Iterable[Said]) -> Iterator[_Piece]:
    seen: set[tuple[str, int, int]] = set()
    for one in talk:
        data = one.what if isinstance(one.what, bytes) else utf8(one.what)
        segment = segment_of(data)
        if segment is None:
            yield _Piece(one.sender or "", data, None)
            continue
        payload = segment.payload
        mark = (segment.source, segment.sequence, len(payload))
        if payload and mark in seen:
            segment.headers.summary += ", sent again"
            payload = b""
        seen.add(mark)
        yield _Piece(segment.source, payload, segment.headers)


def _client_of(pieces: list[_Piece]) -> str:
    """The name of the side that has spoken first, as a client does, or the other one."""
    first = next((one for one in pieces if one.data), None)
    if first is None:
        return pieces[0].who
    is_answer = first.data.startswith(b"HTTP/")
    is_masked = len(first.data) > 1 and bool(first.data[1] & MASK)
    if is_answer or not (_REQUEST.match(first.data) or is_masked):
        return next((one.who for one in pieces if one.who != first.who), CLIENT)
    return first.who


# -- messages --------------------------------------------------------------------------------


def messages(talk: Iterable[Said], *, is_engine: bool | None = None) -> Iterator[Layer]:
    """Messages of a WebSocket, which are packets of Engine.IO if they look so."""
    stacks = {
        one: Stack(one, is_engine=is_engine, is_socketio=is_engine) for one in (CLIENT, SERVER)
    }
    for one in talk:
        if one.sender is not None:
            yield from stacks[one.sender].message(one.what) or [_plain(one.what, one.sender)]
            continue
        tried = [
            Stack(sender, is_engine=is_engine).message(one.what) for sender in (CLIENT, SERVER)
        ]
        yield from next((found for found in tried if first_fault(found) is None), tried[0])


def _plain(message: str | bytes, sender: Sender) -> Layer:
    is_text = isinstance(message, str)
    data = utf8(message) if isinstance(message, str) else message
    what = Field(0, len(data), "message", "", "the message, for the application", _MESSAGE)
    name = "WebSocket message"
    return Layer(name, data, sender, shown(message), _MESSAGE, [what], is_text=is_text)
