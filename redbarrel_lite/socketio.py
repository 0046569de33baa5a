"""Socket.IO packets: the codec, and the rules of a connection, without I/O.

What it implements: Socket.IO protocol 5: CONNECT, DISCONNECT, EVENT, ACK,
CONNECT_ERROR and the two binary kinds with their attachments, for any number of
namespaces. What it leaves out: connection state recovery, but for its place in CONNECT.

In one line::

    Decoder().receive('2["message","hello"]')  # Packet(EVENT, "/", None, ["message", "hello"])

A packet is one text message of the layer below, followed by one binary message
for each attachment (section "Packet encoding")::

    2                     ["hello",1]                      EVENT
    2 /admin, 456         ["project:delete",123]           ... of a namespace, wants an ACK
    5 1- /admin, 456      ["file",{"_placeholder":true,"num":0}]   + 1 binary message
    |  |   |      |            |
    |  |   |      |            JSON
    |  |   |      acknowledgement id
    |  |   namespace, if not "/"
    |  number of attachments
    type
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed lacks it
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, TypeAlias

from . import strictjson
from .errors import RemoteProtocolError, show

# "Packet types", in the order of the document.
CONNECT: Final = "0"
DISCONNECT: Final = "1"
EVENT: Final = "2"
ACK: Final = "3"
CONNECT_ERROR: Final = "4"
BINARY_EVENT: Final = "5"
BINARY_ACK: Final = "6"

# Each attachment is a message of its own below us, where the size limit holds for
# each: without these two, one packet could make us keep any number of them.
MAX_ATTACHMENTS: Final = 10
MAX_ATTACHED_BYTES: Final = 1_000_000
# Of one argument; the array of all of them is one level more.
MAX_DEPTH: Final = strictjson.MAX_DEPTH
# Ten digits are ten thousand million acknowledgements; int() is slow on many more.
_MAX_ID_DIGITS: Final = 10
MAX_NAMESPACE: Final = 256  # characters of its name

# Names that the reference's sockets emit about themselves: an event of that name
# from the peer would be taken for the real thing. The protocol's document has no list of
# them, the reference's has ("Emit cheatsheet").
RESERVED_EVENTS: Final = frozenset(
    "connect connect_error disconnect disconnecting newListener removeListener".split()
)

_ENCODING: Final = "Socket.IO 5, Packet encoding"
_RESERVED: Final = "Socket.IO documentation, Reserved events"
# What the payload of each type is, the document says where it says what the type is for.
_OF_TYPE: Final = {
    CONNECT: "Socket.IO 5, Connection to a namespace",
    DISCONNECT: "Socket.IO 5, Disconnection from a namespace",
    EVENT: "Socket.IO 5, Sending and receiving data",
    ACK: "Socket.IO 5, Acknowledgement",
    CONNECT_ERROR: "Socket.IO 5, Connection to a namespace",
    BINARY_EVENT: "Socket.IO 5, Sending and receiving data",
    BINARY_ACK: "Socket.IO 5, Acknowledgement",
}

Message: TypeAlias = str | bytes  # what the layer below carries


class Packet(NamedTuple):
    """One packet. ``data`` is the decoded JSON: a list for EVENT and ACK.

    ``type`` is EVENT or ACK for the binary kinds too: once the attachments are in
    place there is no difference.
    """

    type: str
    namespace: str = "/"
    ack_id: int | None = None
    data: Any = None


# -- text in -----------------------------------------------------------------

HEAD: Final = re.compile(
    r"([0-6])"
    r"(?:([0-9]+)-)?"
    r"(?:(/[^,]*)(?:,|\Z))?"
    rf"([0-9]{{0,{_MAX_ID_DIGITS}}}+)"
)


class Decoder:
    """Joins the messages of one connection into packets.

    It has a state: the packet whose attachments are still to come. All attachments
    of a packet together may have ``max_attached`` bytes.
    """

    __slots__ = ("_attachments", "_max_attached", "_missing", "_packet")

    def __init__(self, max_attached: int = MAX_ATTACHED_BYTES) -> None:
        self._packet: Packet | None = None
        self._missing = 0
        self._attachments: list[bytes] = []
        self._max_attached = max_attached

    def receive(self, message: Message) -> Packet | None:
        """Take one message; return the packet it completes, if it does.

        Raises `RemoteProtocolError` for all that the reference's parser refuses,
        and for names that only a server may use; the connection is to be closed.
        """
        if isinstance(message, bytes):
            return self._attachment(message)
        if self._missing:
            raise _violation("text message while attachments are missing")
        return _usual_packet(message) or self._packet_of(message)

    def _packet_of(self, message: str) -> Packet | None:
        match = HEAD.match(message)
        if match is None:
            raise _violation(f"no Socket.IO packet: {show(message, 20)}")
        kind, attachments, namespace, number = match.groups()
        if kind == CONNECT_ERROR:
            raise _violation("only a server sends a packet of type 4", kind)
        if namespace and len(namespace) > MAX_NAMESPACE:
            raise RemoteProtocolError(f"namespace of {len(namespace)} characters")
        is_binary = kind in (BINARY_EVENT, BINARY_ACK)
        count = _count(attachments) if is_binary else 0
        rest = message[match.end() :]
        ack_id = int(number) if number else None
        packet = Packet(kind, namespace or "/", ack_id, _data(kind, rest))
        if is_binary:
            packet = packet._replace(type=EVENT if kind == BINARY_EVENT else ACK)
            self._packet, self._missing = _checked(packet), count
            return None
        if attachments is not None:
            raise _violation(f"attachments in a packet of type {kind}")
        return _checked(packet)

    def _attachment(self, message: bytes) -> Packet | None:
        if self._packet is None:
            raise _violation("binary message without a packet that announced it")
        self._attachments.append(message)
        if sum(map(len, self._attachments)) > self._max_attached:
            raise RemoteProtocolError(f"attachments of over {self._max_attached} bytes")
        self._missing -= 1
        if self._missing:
            return None
        packet, attachments = self._packet, self._attachments
        self._packet, self._attachments = None, []
        placed: list[bytes] = []
        data = fill(packet.data, attachments, placed)
        # An attachment may stand in many places, and whoever sends the data on sends it for each:
        # a megabyte and as many placeholders as a message holds would be thirty gigabytes.
        if sum(map(len, placed)) > self._max_attached:
            raise RemoteProtocolError(f"attachments of over {self._max_attached} bytes, repeated")
        return packet._replace(data=data)


def _usual_packet(message: str) -> Packet | None:
    """A short way for the usual packet, an event with one string; None: take the long one.

    The scanner is the one that the JSON decoder itself uses.
    """
    if message.startswith('2["'):
        start, namespace = 3, "/"
    elif message.startswith("2/"):
        comma = message.find(',["')
        start, namespace = comma + 3, message[1:comma]
        if comma < 0 or "," in namespace or comma > MAX_NAMESPACE:
            return None
    else:
        return None
    try:
        name, end = scanstring(message, start)
        if message.startswith(',"', end):
            text, end = scanstring(message, end + 2)
            if message[end:] == "]" and name not in RESERVED_EVENTS:
                return Packet(EVENT, namespace, None, [name, text])
    except ValueError:
        pass  # the long way says what is wrong
    return None


def _count(attachments: str | None) -> int:
    count = int(attachments) if attachments and len(attachments) < 3 else 0
    if not 0 < count <= MAX_ATTACHMENTS:
        told = (attachments or "no")[:20]
        raise _violation(f"{told} attachments, not 1 to {MAX_ATTACHMENTS}")
    return count


def _checked(packet: Packet) -> Packet:
    """Hold a packet against the table of what each type may carry."""
    kind, data = packet.type, packet.data
    if kind == CONNECT:
        valid = data is None or isinstance(data, dict)
    elif kind == DISCONNECT:
        valid = data is None
    elif kind == EVENT:
        valid = isinstance(data, list) and bool(data) and _is_event_name(data[0])
    else:
        valid = isinstance(data, list)
    if packet.ack_id is not None and kind not in (EVENT, ACK):
        raise _violation(f"acknowledgement id in a packet of type {kind}", kind)
    if packet.ack_id is None and kind == ACK:
        raise _violation(f"packet of type {kind} without an acknowledgement id", kind)
    if not valid:
        quoted = "" if kind == CONNECT else f": {ascii(data)[:40]}"  # it lets its sender in
        raise _violation(f"bad data in a packet of type {kind}{quoted}", kind)
    if kind == EVENT and data[0] in RESERVED_EVENTS:
        raise RemoteProtocolError(f"event name {data[0]!r} is reserved ({_RESERVED})")
    return packet


def _is_event_name(name: object) -> bool:
    return type(name) in (str, int, float)  # the reference takes numbers, and not True


def _violation(message: str, kind: str = "") -> RemoteProtocolError:
    return RemoteProtocolError(f"{message} ({_OF_TYPE.get(kind, _ENCODING)})")


def _data(kind: str, text: str) -> Any:
    if not text:
        if kind in (CONNECT, DISCONNECT):
            return None
        raise _violation(f"packet of type {kind} without data", kind)
    if text[0] in "0123456789":
        raise _violation(f"acknowledgement id of over {_MAX_ID_DIGITS} digits")
    if text[0] not in "[{":
        quoted = "" if kind == CONNECT else f": {show(text, 20)}"
        raise _violation(f"data is neither an array nor an object{quoted}")
    try:
        return strictjson.loads_text(text, MAX_DEPTH + 1)
    except ValueError as error:
        raise RemoteProtocolError(f"bad JSON ({_ENCODING}): {str(error)[:80]}") from None


def fill(data: Any, attachments: list[bytes], placed: list[bytes]) -> Any:
    """Put the attachments where their placeholders stand (section "Binary"), and note each.

    In place: a megabyte of small lists, made anew, would hold everybody up.
    """
    parts: Iterable[tuple[Any, Any]] = enumerate(data)
    if isinstance(data, dict):
        if data.get("_placeholder") is True:
            number = data.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise _violation(f"placeholder for attachment {ascii(number)[:20]}")
            placed.append(attachments[number])
            return attachments[number]
        parts = data.items()
    for key, value in parts:
        if value and isinstance(value, (list, dict)):
            data[key] = fill(value, attachments, placed)
    return data


# -- text out ------------------------------------------------------------------


def encode_event(
    event: str, args: Sequence[Any], namespace: str = "/", ack_id: int | None = None
) -> tuple[Message, ...]:
    """The messages of an EVENT.

    Raises TypeError or ValueError for what is no JSON, and ValueError for a name
    that a client would take for its own: it would close the connection.
    """
    if not isinstance(event, str):
        raise TypeError(f"the name of an event is a str, not {type(event).__name__}: {event!r:.80}")
    if event in RESERVED_EVENTS:
        raise ValueError(f"{event!r} is the name of an event that Socket.IO itself makes")
    if len(args) == 1 and type(args[0]) is str and ack_id is None:
        # The short way again; a lone surrogate is for the long one.
        head = "2" if namespace == "/" else f"2{namespace},"
        text = f"{head}[{encode_basestring(event)},{encode_basestring(args[0])}]"
        if strictjson.is_utf8(text):
            return (text,)
    return _encode(EVENT, BINARY_EVENT, namespace, ack_id, [event, *args])


def encode_ack(ack_id: int, args: Sequence[Any], namespace: str = "/") -> tuple[Message, ...]:
    """The messages of an ACK. Raises TypeError or ValueError for what is no JSON."""
    return _encode(ACK, BINARY_ACK, namespace, ack_id, list(args))


def encode_connect(sid: str, namespace: str = "/", pid: str | None = None) -> tuple[Message, ...]:
    """The answer to a CONNECT: the Socket.IO sid, which is not the Engine.IO one.

    With connection state recovery it has a ``pid``, too.
    """
    data = {"sid": sid} if pid is None else {"sid": sid, "pid": pid}
    return _encode(CONNECT, "", namespace, None, data)


def encode_connect_error(
    message: str, data: Any = None, namespace: str = "/"
) -> tuple[Message, ...]:
    """The refusal of a CONNECT."""
    error = {"message": message} if data is None else {"message": message, "data": data}
    return _encode(CONNECT_ERROR, "", namespace, None, error)


def encode_error(data: Any, namespace: str = "/") -> tuple[Message, ...]:
    """The refusal of a CONNECT as protocol 4 had it: any JSON. Raises TypeError or ValueError."""
    return _encode(CONNECT_ERROR, "", namespace, None, data)


def encode_auth(auth: Any, namespace: str = "/") -> tuple[Message, ...]:
    """A client's CONNECT, with what it wants to be known by, or None."""
    if auth is None:
        return (CONNECT + ("" if namespace == "/" else namespace + ","),)
    return _encode(CONNECT, "", namespace, None, auth)


def encode_disconnect(namespace: str = "/") -> tuple[Message, ...]:
    """Either side leaves a namespace, or turns the other one out."""
    return (DISCONNECT + ("" if namespace == "/" else namespace + ","),)


def _encode(
    kind: str, binary_kind: str, namespace: str, ack_id: int | None, data: Any
) -> tuple[Message, ...]:
    attachments: list[bytes] = []
    try:
        text = strictjson.brief(data)
    except TypeError:
        if not binary_kind:
            raise
        text = _with_places(data, attachments)
    except RecursionError:
        raise _too_deep() from None
    if binary_kind and strictjson.nests_over(text, MAX_DEPTH + 1):
        raise _too_deep()
    head = f"{binary_kind}{len(attachments)}-" if attachments else kind
    if namespace != "/":
        head += namespace + ","
    if ack_id is not None:
        head += str(ack_id)
    return (head + text, *attachments)


def _with_places(data: Any, attachments: list[bytes]) -> str:
    """The JSON of data with bytes in it: placeholders, for what becomes ``attachments``."""

    def place(value: Any) -> dict[str, Any]:
        if not isinstance(value, (bytes, bytearray, memoryview)):
            raise TypeError(f"{type(value).__name__} is not JSON") from None
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}

    try:
        return strictjson.brief(data, place)
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> ValueError:
    return ValueError(f"data nested over {MAX_DEPTH} levels deep")
