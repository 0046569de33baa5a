"""What processes that share sockets tell each other, and what of it is believed.

What it implements: the JSON objects that the servers of python-socketio publish for each
other, from its version 5.14 on: ``emit``, with binary data, and what the others have in
common. What it leaves out: who is told, and what is done (`cluster`).

In one line::

    said = Emit.of(loads(b'{"method":"emit","event":"hi","data":["you"]}'))

A broadcast of ``"hi"`` and two bytes to the room ``red``; the braces at its end are ours,
and python-socketio reads over them::

    {"method":"emit","event":"message","namespace":"/","room":"red","skip_sid":null,
     "binary":true,"data":[["hi",{"_placeholder":true,"num":0}],"AAE="],
     "callback":null,"host_id":"0b0f8d7c...","redbarrel":{"home":"chat.rbr"}}
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from . import socketio, strictjson
from .errors import RemoteProtocolError
from .groups import Group, Namespace
from .outgoing import Wire
from .raw import MESSAGE

Message: TypeAlias = dict[str, Any]

# A text is held in memory several times while it is read.
MAX_TEXT_BYTES: Final = 16 * 1024 * 1024
# A message is an object with a list in it, and of binary data in one more.
MAX_DEPTH: Final = socketio.MAX_DEPTH + 3
# What a placeholder stands for, all of them together: an attachment may stand in many places.
MAX_PLACED_BYTES: Final = 4 * MAX_TEXT_BYTES

# The name of what we say beyond python-socketio.
OURS: Final = "redbarrel"


# -- text ------------------------------------------------------------------------


def dumps(message: Message) -> bytes:
    """The text of a message."""
    return strictjson.brief(message).encode()


def loads(text: bytes) -> Any:
    """What a text stands for. Raises ValueError, with the reason."""
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"it has {len(text)} bytes, over {MAX_TEXT_BYTES}")
    if not text.startswith(b"{"):
        # Whoever unpickles what a stranger sends runs what the stranger wants.
        raise NoObject("it begins with no brace: its sender may be python-socketio before 5.14")
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    return strictjson.loads_text(decoded, MAX_DEPTH)


class NoObject(ValueError):
    """It is no JSON object, but maybe what Python's pickle makes of one."""


# -- out -------------------------------------------------------------------------


def emit(
    group: Group, messages: tuple[Wire, ...], room: str | None, skip: Collection[str]
) -> Message:
    """What the others are told of a packet that was encoded for the clients of a group.

    It is read back from that. What user code has given may have changed meanwhile, in its
    own thread, and would not be what the clients here are sent.
    """
    event, data, attachments = MESSAGE, list[Any](messages), list[str]()
    if isinstance(group, Namespace):
        (event, *data), attachments = _read_back(messages)
    elif isinstance(messages[0], bytes):
        data, attachments = [{"_placeholder": True, "num": 0}], _base64(messages)
    return {
        "method": "emit",
        "event": event,
        "data": [data, *attachments] if attachments else data,
        "binary": bool(attachments),
        "namespace": group.name,
        "room": name_of(room),
        "skip_sid": sorted(map(str, skip)) or None,
        "callback": None,
    }


def name_of(room: str | None) -> str | None:
    """The name of a room, as others are told. Raises TypeError if it is no str."""
    if room is None:
        return None
    if not isinstance(room, str):
        # A tuple would become a list, which is several rooms.
        raise TypeError(f"the name of a room is a str, not {type(room).__name__}")
    return str.__str__(room)  # a member of an enum is one, for whom has only texts


def answer(args: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """The arguments of an acknowledgement, with placeholders for bytes, and these."""
    return _read_back(socketio.encode_ack(0, args))


def _read_back(messages: Sequence[Wire]) -> tuple[list[Any], list[str]]:
    text, *attachments = messages
    assert isinstance(text, str)
    head = socketio.HEAD.match(text)
    assert head is not None
    return json.loads(text[head.end() :]), _base64(attachments)


def _base64(attachments: Iterable[Wire]) -> list[str]:
    return [base64.b64encode(one).decode() for one in attachments if isinstance(one, bytes)]


# -- in --------------------------------------------------------------------------


class Emit(NamedTuple):
    """An event for others, as it was told."""

    event: str
    args: list[Any]
    namespace: str
    room: str | frozenset[str] | None  # as `Group.members` has it
    skip: Collection[str]
    callback: list[Any] | None  # what is told with an acknowledgement
    to: str | None  # the one session id, in whichever namespace that is
    volatile: bool

    @classmethod
    def of(cls, message: Message) -> Emit:
        """Raises ValueError, with the reason, for what is none."""
        callback = message.get("callback")
        if callback is not None and not (isinstance(callback, list) and len(callback) == 3):
            raise ValueError("its callback is no list of three")
        own = ours(message)
        return cls(
            text(message, "event"),
            _args(message),
            text(message, "namespace", "/"),
            # Who has sent it knows what is a room, or does not know such a difference.
            _room(message) if "home" in own else _names(message, "room"),
            _names(message, "skip_sid") or (),
            callback,
            text(own, "to") if "to" in own else None,
            bool(own.get("volatile")),
        )


def text(message: Message, key: str, default: str | None = None) -> str:
    """A text of a message. Raises ValueError if it has no such."""
    value = message.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"its {key} is no text")
    return value


def ours(message: Message) -> Message:
    """What we say beyond python-socketio. Raises ValueError if it is no object."""
    found = message.get(OURS, {})
    if not isinstance(found, dict):
        raise ValueError(f"its {OURS} is no object")
    return found


def _room(message: Message) -> str | None:
    return None if message.get("room") is None else text(message, "room")


def _names(message: Message, key: str) -> frozenset[str] | None:
    value = message.get(key)
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {key} is neither a text nor a list of them")
    return frozenset(names)


def answered(message: Message) -> list[Any]:
    """The arguments of an acknowledgement. Raises ValueError if there are none."""
    args = message.get("args")
    attachments = ours(message).get("attachments")
    if attachments is not None:
        args = _filled([args, *attachments]) if isinstance(attachments, list) else None
    if not isinstance(args, list):
        raise ValueError("its args are no list")
    return args


def _args(message: Message) -> list[Any]:
    data = message.get("data")
    if message.get("binary"):
        data = _filled(data)
    if not isinstance(data, list):  # as old versions have it
        data = [data]
    # For python-socketio None is no argument; for us it is one.
    return [] if data == [None] and OURS not in message else data


def _filled(data: Any) -> Any:
    """The data of a binary event, with its attachments in their places."""
    if not isinstance(data, list) or not data:
        raise ValueError("its binary data is no list")
    args, *encoded = data
    if not isinstance(args, (list, dict)):
        raise ValueError("its binary data has no place for an attachment")
    try:
        attachments = [base64.b64decode(one, validate=True) for one in encoded]
    except (binascii.Error, TypeError, ValueError):
        raise ValueError("an attachment of it is not base64") from None
    placed: list[bytes] = []
    try:
        filled = socketio.fill(args, attachments, placed)
    except RemoteProtocolError as error:
        raise ValueError(str(error)) from None
    if sum(map(len, placed)) > MAX_PLACED_BYTES:
        raise ValueError(f"attachments of over {MAX_PLACED_BYTES} bytes, repeated")
    return filled
