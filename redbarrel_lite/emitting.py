"""Emitting from outside: what ``POST /__emit__`` does for a program that is no part of the server.

What it implements: the order that a body is, and who may give one; the emit itself, how many
clients it reached, and what they acknowledge it with. What it leaves out: where it is
listened for (`server`), and the command that asks for it (`emit`).

In one line::

    app = App.load(file, pages=[Desk(token).route])

Whoever is let in here may say anything to anybody. So over TCP a token is always needed
(RFC 6750): without it a page in a visitor's browser could post here as well as `curl` can,
whatever name its host has. A Unix socket has its owner instead, and no browser finds it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import difflib
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from . import strictjson
from .cluster import Cluster
from .hub import Hub
from .request import Request
from .response import Response, error_response
from .routes import Route, compile_template
from .sockets import Socket
from .targets import Owner, Target, WebPath

URL: Final = "/__emit__"
# An event that is longer is better a link to what it tells of.
MAX_BODY_BYTES: Final = 1024 * 1024
# For how long acknowledgements may be waited for, in seconds.
MAX_ACK_S: Final = 300
# Each has a packet of its own, to be made. Behind so many the rest of the server has its turn.
ASKED_A_TURN: Final = 100
# Of all clients together: each may answer as much as `max-payload` lets it.
MAX_ANSWERS_BYTES: Final = 8 * 1024 * 1024
# Fewer could be tried out.
MIN_TOKEN_CHARACTERS: Final = 16
MAX_TOKEN_BYTES: Final = 4096  # more would not fit into a header
# What other workers are asked, and how long they may count; so much later than at the limit
# of the order they may say what they were answered.
QUESTION: Final = "emit"
COUNT_S: Final = 2.0

_EXAMPLE: Final = '{"event": "news", "args": ["hello"]}'
# What curl says of what it is given by -d, whatever that is, among them.
_TYPES: Final = ("", "application/json", "application/x-www-form-urlencoded")


def read_token(path: Path) -> bytes:
    """The token in a file. Raises OSError, if it has none, too."""
    with path.open("rb") as file:
        token = file.read(MAX_TOKEN_BYTES + 1).strip()
    is_plain = all(0x21 <= byte <= 0x7E for byte in token)
    if not MIN_TOKEN_CHARACTERS <= len(token) <= MAX_TOKEN_BYTES or not is_plain:
        size = f"{MIN_TOKEN_CHARACTERS} to {MAX_TOKEN_BYTES} letters, digits and signs"
        # Without a number: `dial.why` would tell the system's words for it.
        raise OSError(0, f"no token, which has {size}: openssl rand -hex 32", str(path))
    return token


# -- what is asked for -------------------------------------------------------------------


class BadOrder(ValueError):
    """A body that asks for nothing that could be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a body asks for; the names are those of `Hub.emit`."""

    event: str
    args: Sequence[Any] = ()
    room: str | None = None
    to: str | None = None
    exceptions: Sequence[str] = ()
    namespace: str = "/"
    volatile: bool = False
    ack: float = 0  # seconds to wait for acknowledgements; 0: none are asked for

    @classmethod
    def read(cls, body: bytes) -> Order:
        """Raises `BadOrder`."""
        try:
            data = strictjson.loads(body)
        except ValueError as error:
            raise BadOrder(f"the body is not JSON: {str(error)[:200]}; send {_EXAMPLE}") from None
        if not isinstance(data, dict):
            raise BadOrder(f"the body is no object; send {_EXAMPLE}")
        for key, value in data.items():
            _check(key, value)
        data = {key: value for key, value in data.items() if value is not None or key == "data"}
        if "event" not in data:
            raise BadOrder(f"there is no 'event'; send {_EXAMPLE}")
        if "data" in data:
            if "args" in data:
                raise BadOrder("'data' is the only argument, 'args' is the list of all: give one")
            data["args"] = [data.pop("data")]
        if "to" in data and not {"room", "exceptions"}.isdisjoint(data):
            raise BadOrder("'to' means one client: it goes with neither 'room' nor 'exceptions'")
        return cls(**data)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_name(value: object) -> bool:
    return _is_text(value) and value != ""


def _is_time(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 < value <= MAX_ACK_S  # type: ignore[operator]  # it is a number


# What each member of an order has to be: a test, and how it is called.
_MEMBERS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "event": (_is_name, "a text that is not empty"),
    "args": (lambda value: isinstance(value, list), "a list: of all arguments"),
    "data": (lambda _: True, "anything"),
    "room": (_is_text, "a text"),
    # An empty one is of a variable that nobody has set, and everybody is not what is meant.
    "to": (_is_name, "a text that is not empty: the sid of a client"),
    "exceptions": (
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of texts: the sids of clients",
    ),
    "namespace": (_is_text, "a text"),
    "volatile": (lambda value: isinstance(value, bool), "true or false"),
    "ack": (_is_time, f"a number of seconds, more than 0 and up to {MAX_ACK_S}"),
}


def _check(key: str, value: Any) -> None:
    """Raises `BadOrder`. null stands for what is left out, but for the argument."""
    if key not in _MEMBERS:
        near = difflib.get_close_matches(key, _MEMBERS, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(_MEMBERS)}"
        raise BadOrder(f"unknown member '{key[:40]}'; {hint}")
    is_right, what = _MEMBERS[key]
    if not is_right(value) and (value is not None or key == "event"):
        raise BadOrder(f"'{key}' is {what}")


# -- doing it ----------------------------------------------------------------------------


async def emit(hubs: Iterable[Hub], order: Order) -> dict[str, Any]:
    """Emit, and say how many clients that reached. Raises `BadOrder`."""
    there = _recipients(hubs, order)
    with _as_bad_order():
        for hub in there:
            hub.emit(
                order.event,
                *order.args,
                room=order.room,
                to=order.to,
                exceptions=order.exceptions,
                namespace=order.namespace,
                volatile=order.volatile,
            )
    counts, word = await _of_workers(there, order, COUNT_S)
    reached = sum(map(len, there.values())) + sum(counts)
    return {"reached": reached, **_beyond(there), **word}


async def ask(hubs: Iterable[Hub], order: Order) -> dict[str, Any]:
    """Emit, wait for acknowledgements, and say what they are. Raises `BadOrder`."""
    there = _recipients(hubs, order)
    with _as_bad_order():
        for hub in there:
            _tell_servers(hub, order)
        elsewhere = asyncio.ensure_future(_of_workers(there, order, order.ack + COUNT_S))
        try:
            acks, silent = await _ask_here(there, order)
            answers, word = await elsewhere
            for more_acks, more_silent in answers:
                acks |= more_acks
                silent += more_silent
        finally:
            elsewhere.cancel()
    told = {"reached": len(acks) + len(silent), "acks": acks, "silent": silent}
    return {**told, **_beyond(there), **word}


@contextlib.contextmanager
def _as_bad_order() -> Iterator[None]:
    """What can't be sent is the fault of who has ordered it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise BadOrder(str(error)) from None


def _recipients(hubs: Iterable[Hub], order: Order) -> dict[Hub, list[Socket]]:
    """Whom it will reach of each file that has the namespace. Raises `BadOrder` if none has.

    What can't be said there is refused even if nobody is: somebody may be elsewhere.
    """
    there: dict[Hub, list[Socket]] = {}
    faults: dict[str, None] = {}
    for hub in hubs:
        try:
            found = _of_hub(hub, order)
            hub.words(order.namespace).encode(order.event, order.args, 0 if order.ack else None)
        except (TypeError, ValueError) as error:
            faults[str(error)] = None
        else:
            there[hub] = found
    if not there:
        raise BadOrder("; ".join(faults))
    return there


def _of_hub(hub: Hub, order: Order) -> list[Socket]:
    if order.to is None:
        found = hub.sockets(order.namespace, order.room)
    else:
        one = hub.by_sid.get(order.to)
        found = [one] if one is not None and one.is_in else []
    skip = frozenset(order.exceptions)
    return [
        one
        for one in found
        if one.session.session_id not in skip and (one.connection.ready or not order.volatile)
    ]


async def _ask_here(
    there: Mapping[Hub, Sequence[Socket]], order: Order
) -> tuple[dict[str, Any], list[str]]:
    """What clients of this process answer, and who does not."""
    answers = Answers([one for sockets in there.values() for one in sockets])
    await answers.wait(order.event, tuple(order.args), order.ack)
    return answers.of, answers.silent


# -- other processes ---------------------------------------------------------------------


async def _of_workers(
    there: Mapping[Hub, Sequence[Socket]], order: Order, seconds: float
) -> tuple[list[Any], dict[str, Any]]:
    """What the other workers of this server say of their clients, who hear it, too.

    And a word on those who say nothing: one may be held, and its clients hear it late.
    """
    if order.to is not None and any(there.values()):  # nobody else has that one
        return [], {}
    details = {name: getattr(order, name) for name in order.__slots__}
    known = max((len(hub.workers) for hub in there), default=0)
    asked = [one.others.ask_workers(QUESTION, details, seconds) for one in there if one.others]
    told = await asyncio.gather(*asked)
    silent = max((known - len(answers) for answers in told), default=0)
    word = {"workers": {"silent": silent, "of": known + 1}} if silent > 0 else {}
    return [one for answers in told for one in answers], word


async def answer_for_worker(cluster: Cluster, question: Any) -> Any:
    """What we say of ours, to another worker that has such an order."""
    home, details = question
    order = Order(**details)
    hub = cluster.hub(home)
    # Its file may have a namespace more than ours, as yet.
    with contextlib.suppress(BadOrder), _as_bad_order():
        there = {} if hub is None else _recipients([hub], order)
        if not order.ack:
            return sum(map(len, there.values()))
        return json.loads(_json(await _ask_here(there, order)))
    return [{}, []] if order.ack else 0


def _tell_servers(hub: Hub, order: Order) -> None:
    """Let clients of other servers hear it: nobody can wait for what they say."""
    if hub.others is not None and hub.others.has_servers:
        group = hub.words(order.namespace)
        messages = group.encode(order.event, order.args)
        skip = frozenset(order.exceptions)
        hub.others.tell_servers(group, messages, order.room, skip, order.to, order.volatile)


def _beyond(there: Iterable[Hub]) -> dict[str, Any]:
    """A word on whom we can't count."""
    if any(hub.others is not None and hub.others.has_servers for hub in there):
        return {"others": "the clients of other servers are not counted"}
    return {}


class Answers:
    """The acknowledgements of one emit, as they come."""

    def __init__(self, sockets: Sequence[Socket]) -> None:
        self.of: dict[str, Any] = {}  # by sid: the arguments, or None where they are too much
        self._sockets = sockets
        self._missing = len(sockets)
        self._room = MAX_ANSWERS_BYTES
        self._all = asyncio.Event()

    async def wait(self, event: str, args: tuple[Any, ...], seconds: float) -> None:
        """Ask all, and wait until the last has answered, or has gone; but not for ever."""
        forget = []
        try:
            for count, one in enumerate(self._sockets, 1):
                take = partial(self._take, one.session.session_id)
                forget.append(one.ask_for_server(event, args, take))
                if not count % ASKED_A_TURN:
                    await asyncio.sleep(0)
            async with asyncio.timeout(seconds):
                if self._missing:
                    await self._all.wait()
        except TimeoutError:
            pass
        finally:
            for end in forget:
                end()

    def _take(self, sid: str, given: Any) -> None:
        """One has answered with these arguments; or never will, if this is an exception."""
        if isinstance(given, list):
            self._room -= len(_json(given))
            self.of[sid] = given if self._room >= 0 else None
        self._missing -= 1
        if not self._missing:
            self._all.set()

    @property
    def silent(self) -> list[str]:
        """Those who have not answered."""
        sids = (one.session.session_id for one in self._sockets)
        return [sid for sid in sids if sid not in self.of]


# -- by HTTP -----------------------------------------------------------------------------


class Desk:
    """Where orders are taken: with a token, or, if there is none, from whoever comes."""

    def __init__(self, token: bytes | None) -> None:
        self._token = token

    def route(self, root: str, homes: Sequence[Owner]) -> Route[Target]:
        """That of a root, for the files at it or below it."""
        hubs = [home.hub for home in homes]
        target = WebPath(homes[0], partial(self._answer, hubs), MAX_BODY_BYTES, given_up=("POST",))
        return Route("", root + URL, ("POST",), compile_template([root + URL]), target)

    def _answer(self, hubs: Sequence[Hub], request: Request) -> Any:
        fault = self._not_admitted(request) or _wrong_type(request)
        if fault is not None:
            return fault
        return _answer_later(hubs, request.body)

    def _not_admitted(self, request: Request) -> Response | None:
        """RFC 6750 section 3: what to bring, and that what was brought is wrong."""
        if self._token is None:
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            what = "bring the token: Authorization: Bearer TOKEN"
            return error_response(401, what, [("www-authenticate", 'Bearer realm="emit"')])
        # Of digests: to compare takes the same time then, however long what was given is.
        if not hmac.compare_digest(_digest(given.strip().encode()), _digest(self._token)):
            challenge = 'Bearer realm="emit", error="invalid_token"'
            return error_response(401, "this is not the token", [("www-authenticate", challenge)])
        return None


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _wrong_type(request: Request) -> Response | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _TYPES or kind.endswith("+json"):
        return None
    return error_response(415, "the body is JSON: Content-Type: application/json")


async def _answer_later(hubs: Sequence[Hub], body: bytes) -> Response:
    try:
        order = Order.read(body)
        told = await (ask(hubs, order) if order.ack else emit(hubs, order))
    except BadOrder as error:
        return error_response(400, str(error))
    answer = (_json(told) + "\n").encode()
    return Response(answer, 200, {"cache-control": "no-store"}, "application/json")


def _json(data: Any) -> str:
    return strictjson.brief(data, _in_base64)


def _in_base64(x: Any) -> Any:
    """What a client sends in bytes, which JSON has not."""
    return {"base64": base64.b64encode(x).decode()}
