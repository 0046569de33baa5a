r"""The anatomy of Socket.IO packets: type, namespace, acknowledgement id, and the event.

What it implements: the fields of Socket.IO protocol 5, "Packet encoding", attachments
told by the packet that announced them, and where a packet is wrong. What it leaves
out: the verdict, which is that of `socketio` and `socketio_client`.

In one line::

    layer = Packets(CLIENT).receive('2["hello",1]')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Final

from . import socketio, socketio_client
from .anatomy import (
    CLIENT,
    MAX_SEARCHED,
    MAX_SHOWN,
    SERVER,
    Fault,
    Field,
    Layer,
    Sender,
    counted,
    guilty,
    json_endings,
    json_parts,
    offset,
    printable,
    shown,
    utf8,
)
from .errors import RemoteProtocolError
from .socketio import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    HEAD,
    MAX_ATTACHED_BYTES,
    RESERVED_EVENTS,
    Packet,
)

ENCODING: Final = "Socket.IO 5, Packet encoding"
_BINARY: Final = "Socket.IO 5, Sending and receiving data"
_CONNECTION: Final = "Socket.IO 5, Connection to a namespace"

TYPES: Final = {
    CONNECT: ("CONNECT", "asks to enter a namespace, or says that one is in"),
    DISCONNECT: ("DISCONNECT", "leaves the namespace"),
    EVENT: ("EVENT", "an event, with its arguments"),
    ACK: ("ACK", "the answer to an event that asked for one"),
    CONNECT_ERROR: ("CONNECT_ERROR", "the server does not let the client in"),
    BINARY_EVENT: ("BINARY_EVENT", "an event with bytes, which follow as messages of their own"),
    BINARY_ACK: ("BINARY_ACK", "an answer with bytes, which follow"),
}

MAX_PARTS: Final = 40  # arguments, or members, that are shown one by one

_IN_JSON: Final = re.compile(r"^bad JSON .*\(char ([0-9]+)\)$")

# Members of a CONNECT that only who they belong to should see. A sid is known by its
# beginning, as in the trace of the layer below.
_SHOWN_OF_SID: Final = 4


class Packets:
    """The packets of one direction of a connection, in order."""

    def __init__(
        self, sender: Sender, max_attached: int = MAX_ATTACHED_BYTES, *, is_old: bool = False
    ) -> None:
        self._sender = sender
        self._max_attached = max_attached
        self._is_old = is_old  # protocol 4, of Socket.IO 1 and 2
        self._decoder = _decoder(sender, max_attached)
        self._announced: Layer | None = None  # the packet whose attachments are coming
        self._count = self._attached = 0  # of its attachments: all, and those that have come

    @property
    def is_waiting(self) -> bool:
        """Whether attachments are to come."""
        return self._announced is not None

    def receive(self, message: str | bytes) -> Layer:
        """Take one message of the layer below; return what it is."""
        if self._is_old_refusal(message):
            return packet_layer(str(message), self._sender)
        try:
            packet = self._decoder.receive(message)
        except RemoteProtocolError as error:
            return self._refused(message, error)
        if isinstance(message, bytes):
            return self._attachment(message, packet)
        layer = packet_layer(message, self._sender)
        if packet is None:
            self._announced = layer
            self._count, self._attached = _attachments(message), 0
            layer.summary += ", of which the attachments follow"
            layer.awaits = _to_come(self._count)
        # Some is wrong whatever comes next, and some only to the room above.
        if (wrong := self._error(message)) is not None:
            layer.awaits = ""
            layer.fault = self._fault(message, wrong)
        return layer

    def _is_old_refusal(self, message: str | bytes) -> bool:
        """Protocol 4 has any JSON in it, and no room of ours reads it."""
        is_told = self._is_old and self._sender == SERVER and not self.is_waiting
        return is_told and isinstance(message, str) and message.startswith(CONNECT_ERROR)

    def _refused(self, message: str | bytes, error: RemoteProtocolError) -> Layer:
        if isinstance(message, bytes):
            layer = self._attachment(message, None) if self.is_waiting else self._bytes(message)
            layer.fault = Fault(0, str(error), error.code)
            return layer
        layer = packet_layer(message, self._sender)
        if self.is_waiting:  # for bytes: then no text is right
            layer.fault = Fault(0, str(error), error.code)
        else:
            layer.fault = self._fault(message, error)
        return layer

    def _fault(self, message: str, error: RemoteProtocolError) -> Fault:
        at = guilty(message, lambda start: self._error(start) is None, _endings)
        head = HEAD.match(message)
        if at == MAX_SEARCHED and head and (found := _IN_JSON.search(str(error))):
            at = min(head.end() + int(found[1]), len(message))  # the room says it
        return Fault(offset(message, at), str(error), error.code)

    def _error(self, message: str) -> RemoteProtocolError | None:
        """What the rooms say of a packet, if its attachments come, and are empty."""
        decoder = _decoder(self._sender, self._max_attached)
        try:
            packet = decoder.receive(message)
            while packet is None:
                packet = decoder.receive(b"")
            if self._sender == SERVER and packet.type == CONNECT and not self._is_old:
                namespace = socketio_client.Namespace(packet.namespace)
                namespace.connect()
                namespace.receive(packet)
        except RemoteProtocolError as error:
            return error
        return None

    def _bytes(self, message: bytes) -> Layer:
        """Those that nothing has announced."""
        summary = counted(len(message), "byte")
        what = Field(0, len(message), "bytes", shown(message), "no packet wants them", _BINARY)
        name = "Socket.IO message"
        return Layer(name, message, self._sender, summary, _BINARY, [what], is_text=False)

    def _attachment(self, message: bytes, packet: Packet | None) -> Layer:
        number, self._attached = self._attached, self._attached + 1
        summary = f"attachment {number}: {counted(len(message), 'byte')}"
        means = f'takes the place of {{"_placeholder":true,"num":{number}}}'
        layer = Layer(
            "Socket.IO attachment",
            message,
            self._sender,
            summary,
            _BINARY,
            [Field(0, len(message), f"attachment {number}", shown(message), means, _BINARY)],
            is_text=False,
        )
        if packet is not None:
            layer.summary += f", completes {_in_short(packet)}"
        if self._announced is not None:
            left = self._count - self._attached
            self._announced.awaits = "" if self._announced.fault else _to_come(left)
            if left == 0:
                self._announced = None
        return layer


def _decoder(sender: Sender, max_attached: int) -> socketio.Decoder:
    side = socketio.Decoder if sender == CLIENT else socketio_client.Decoder
    return side(max_attached)


def _attachments(message: str) -> int:
    """How many a packet announces, which the room has taken."""
    head = HEAD.match(message)
    return int(head[2]) if head and head[2] else 0


def _to_come(count: int) -> str:
    return f"{counted(count, 'attachment')} {'is' if count == 1 else 'are'} to come" * bool(count)


def _in_short(packet: Packet) -> str:
    name = shown(str(packet.data[0])) if packet.type == EVENT else f"id {packet.ack_id}"
    return f"{TYPES[packet.type][0]} {name}"


def _endings(start: str) -> list[str]:
    """What may make a packet of its beginning."""
    rest = json_endings(start)
    if '"num":' in start[start.rfind("{") :]:  # to say it again, and better, mends nothing
        rest = [one for one in rest if ',"num"' not in one]
    if start.startswith(CONNECT) and "{" in start:  # that of a server has a sid
        rest += [f'{one[:-1]}{mark}"sid":"x"}}' for one in rest for mark in ("", ",")]
    if "[" in start or "{" in start:
        return rest
    heads = ("", '["x"]', "[]", "{}", '0["x"]', ',["x"]', ',0["x"]', ',{"x":0}', "/")
    kinds = ('2["x"]', '-["x"]', '1-["x"]', '-0["x"]', '-/,["x"]', '1-0["x"]')
    connects = ('{"sid":"x"}', ',{"sid":"x"}')
    return [*heads, *kinds, *connects, *rest]


# -- the fields of one packet ----------------------------------------------------------------


def packet_layer(message: str, sender: Sender) -> Layer:
    """A packet, or what should be one, as what its characters say."""
    layer = Layer("Socket.IO packet", utf8(message), sender, shown(message), ENCODING)
    head = HEAD.match(message)
    if head is None:
        what = "no packet: it does not begin with a type from 0 to 6"
        layer.fields.append(Field(0, len(layer.data), "text", shown(message), what, ENCODING))
        return layer
    for one in (*_head_fields(message, head), *_data_fields(message, head, sender)):
        start, end = offset(message, one.start), offset(message, one.end)
        layer.fields.append(one._replace(start=start, end=end))
    layer.summary = _summary(message, head)
    return layer


def _head_fields(message: str, head: re.Match[str]) -> Iterator[Field]:
    """What stands before the data; offsets count characters."""
    kind, attachments, namespace, number = head.groups()
    name, means = TYPES[kind]
    yield Field(0, 1, "packet type", kind, f"{name}: {means}", ENCODING)
    if attachments is not None:
        means = "messages of bytes that follow, one for each placeholder"
        yield Field(1, head.end(2) + 1, "attachments", attachments, means, _BINARY)
    if namespace:
        name, mark, query = namespace.partition("?")
        end = head.start(3) + len(name)
        if not mark:
            end += message.startswith(",", end)
        means = "one of several in a connection"
        data = re.search(r'["[{]', name)  # where no comma ends it
        yield Field(
            head.start(3),
            end,
            "namespace",
            shown(name)[1:-1],
            means,
            ENCODING,
            secret=data.start() if data and kind in (CONNECT, CONNECT_ERROR) else None,
        )
        if query:
            means = "what old clients say of themselves"
            yield Field(end + 1, head.end(3), "query", shown(query), means, "", secret=0)
    if number:
        means = "the sender wants an ACK with this id"
        if kind in (ACK, BINARY_ACK):
            means = "of the event that is answered"
        yield Field(*head.span(4), "ack id", number, means, ENCODING)


def _data_fields(message: str, head: re.Match[str], sender: Sender) -> Iterator[Field]:
    """The parts of the data; offsets count characters."""
    at, kind = head.end(), head[1]
    known: Callable[[str, int, int, str], Field] | None = None
    if kind in (EVENT, BINARY_EVENT):
        known = _of_event
    elif kind in (ACK, BINARY_ACK):
        known = _of_ack
    elif kind in (CONNECT, CONNECT_ERROR):
        known = partial(_of_connect, kind, sender)
    parts = list(islice(json_parts(message, at), MAX_PARTS + 1)) if known else []
    for name, start, end in parts[:MAX_PARTS]:
        assert known is not None
        yield known(name, start, end, message[start:end])
    if len(parts) > MAX_PARTS:
        start = parts[MAX_PARTS][1]
        yield Field(start, len(message), "more", "…", "and so on", ENCODING)
    else:
        start = parts[-1][2] if parts else at
        if message[start:].strip(" \t\r\n]}"):  # what can't be read, or an array without anything
            means = "JSON: an array, or an object"
            secret = 0 if kind == CONNECT and sender == CLIENT else None
            value = shown(message[start:])
            yield Field(start, len(message), "data", value, means, ENCODING, secret=secret)


def _of_event(name: str, start: int, end: int, text: str) -> Field:
    if name == "0":
        means = "what its listeners wait for"
        if text[1:-1] in RESERVED_EVENTS:
            means = f"reserved, as are all of {', '.join(sorted(RESERVED_EVENTS))}"
        return Field(start, end, "event name", _in_part(text), means, ENCODING)
    means = _argument_means(text)
    return Field(start, end, f"argument {name}", _in_part(text), means, ENCODING)


def _of_ack(name: str, start: int, end: int, text: str) -> Field:
    number = int(name) + 1 if name.isdecimal() else 0
    means = _argument_means(text)
    return Field(start, end, f"argument {number}", _in_part(text), means, ENCODING)


def _of_connect(kind: str, sender: Sender, name: str, start: int, end: int, text: str) -> Field:
    means, secret = _member_means(name, kind, sender)
    # The quotes are no part of a secret.
    quote = int(secret is not None and text.startswith('"'))
    name = printable(name[:20]) or "(no name)"
    value = _in_part(text)
    return Field(start + quote, end - quote, name, value, means, _CONNECTION, secret=secret)


def _in_part(text: str) -> str:
    return printable(text[:MAX_SHOWN]) + "…" * (len(text) > MAX_SHOWN)


def _argument_means(text: str) -> str:
    if '"_placeholder"' in text:
        return "an attachment stands where the placeholder is"
    kinds = {'"': "a text", "{": "an object", "[": "an array", "t": "true", "f": "false"}
    return f"JSON: {kinds.get(text[0], 'null' if text == 'null' else 'a number')}"


def _member_means(name: str, kind: str, sender: Sender) -> tuple[str, int | None]:
    if kind == CONNECT_ERROR:
        return ("why, for people" if name == "message" else "what the server adds"), None
    if sender == SERVER:
        if name == "sid":
            return "the id of this socket, which is not the one of Engine.IO", _SHOWN_OF_SID
        return "for connection state recovery: who knows it may come back", 0
    if name == "offset":
        return "for connection state recovery: the last event that has come", None
    if name == "pid":
        return "for connection state recovery: who the client was before", 0
    return "of the auth payload: what the client wants to be known by", 0


def _summary(message: str, head: re.Match[str]) -> str:
    kind, _, namespace, number = head.groups()
    words = [TYPES[kind][0]]
    if namespace:
        words.append(shown(namespace.partition("?")[0])[1:-1])
    if number:
        words.append(f"id={number}")
    if kind in (CONNECT, CONNECT_ERROR):
        parts = islice(json_parts(message, head.end()), 8)
        names = ", ".join(printable(name[:20]) for name, _, _ in parts)
        words += [f"with {names}"] * bool(names)
    elif data := message[head.end() :]:
        words.append(_in_part(data))
    return " ".join(words)
