"""What one may type to a server, and what is shown of its answers: one class a protocol.

What it implements: the commands of `connect`, for Socket.IO, Engine.IO, WebSocket and HTTP.
What it leaves out: the terminal (`connect`), and the protocols, which the dialling rooms
speak as they do for the tests' client.

In one line::

    talk = SocketIO(Way("http://127.0.0.1:8000/socket.io/"), print); await talk.open()
"""

from __future__ import annotations

import asyncio
import difflib
import json
import re
import ssl
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

from .anatomy import counted
from .dial import Exchange, Fields, Port, Visitor
from .dial_engine import Engine
from .dial_inbox import time_limit
from .dial_raw import AsyncEngine, AsyncWebSocket
from .dial_socket import TIMEOUT_S, UPGRADE, AsyncSocket, Line, Received
from .dial_websocket import WebSocket
from .dumps import from_hex, literal
from .engineio_client import FORCED_CLOSE
from .errors import LocalProtocolError, SocketClosed
from .socketio_client import CLIENT_DISCONNECT, SERVER_DISCONNECT
from .tap import Tap
from .wsproto import MAX_CONTROL_BYTES, NO_STATUS_RECEIVED, NORMAL_CLOSURE

FOREVER_S: Final = float("inf")
# A poll has its answer when somebody speaks, or with the ping, after 25 seconds by default.
POLL_S: Final = 60.0
# Of what came and no /wait has asked for: a server may talk all night.
MAX_HEARD: Final = 1000
# A body that nobody wants to scroll through.
MAX_SHOWN_CHARACTERS: Final = 10_000
MAX_SHOWN_BYTES: Final = 64

# Reasons for which a session ends in order: our own, and the server's.
_GOODBYES: Final = (None, FORCED_CLOSE, CLIENT_DISCONNECT, SERVER_DISCONNECT)
_OF_SOCKETIO: Final = ("/emit", "/call", "/ack")
_NO_ASCII: Final = re.compile(r"[^\x00-\x7f]+")  # in a target it is encoded, as browsers do
_FORM: Final = re.compile(r"[\w.%+*-]+=")
_WS: Final = re.compile(r"\Aws(?=s?:)", re.IGNORECASE)

Command: TypeAlias = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Way:
    """Where to connect, and how."""

    url: str
    transport: str = UPGRADE
    namespace: str = "/"
    auth: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    subprotocols: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None  # None: the system's
    tap: Tap | None = None  # for who watches
    timeout: float = TIMEOUT_S  # for each thing that a server has to do, in seconds


class Mistyped(Exception):
    """What was typed can't be done; the text says why."""


class Conversation(ABC):
    """What they have in common: a line without a slash is sent, one with it is a command."""

    says = ""  # what becomes of a line without a slash

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        """``show`` is called with each line for the terminal. Raises ValueError for a bad url."""
        parts = urlsplit(way.url)
        self.way = way
        self.show = show
        self.is_over = False
        self.has_quit = False
        self.has_left = False  # by a command, and the end is what was wanted
        self.visitor = Visitor(Port(way.url, way.tls, way.tap))
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.headers: Fields = list(way.headers)
        self._heard: deque[str] = deque(maxlen=MAX_HEARD)
        self._news = asyncio.Event()
        self.commands: dict[str, tuple[Command, str]] = {
            "/wait": (self._wait, "[NAME]  until the next message has come, or that event"),
            "/help": (self._help, "what can be typed"),
            "/quit": (self._quit, "end, as the end of the input does"),
        }

    # -- for each kind to say ------------------------------------------------------

    @abstractmethod
    async def open(self) -> str:
        """Connect; return what to greet with. Raises OSError, of which there are many kinds."""

    @abstractmethod
    async def say(self, text: str) -> None:
        """Send a line that was typed."""

    @abstractmethod
    async def hear(self) -> tuple[str, str]:
        """Wait for what comes: the name of its kind, and how to show it. Raises SocketClosed."""

    @abstractmethod
    async def close(self) -> None:
        """End it in order. Raises TimeoutError if the server does not let go."""

    def ended_well(self) -> bool:
        """After the end: whether we wanted it, or the server has said goodbye.

        Else what was sent last may not have been received.
        """
        return True

    # -- what is typed ---------------------------------------------------------------

    async def take(self, line: str) -> None:
        """Do what was typed. Raises `Mistyped`, and OSError or SocketClosed for a server's part."""
        if not line.startswith("/"):
            await self.say(line)
            return
        name, _, rest = line.partition(" ")
        if name not in self.commands:
            if name in _OF_SOCKETIO:
                url = urljoin(_WS.sub("http", self.way.url), "socket.io/")
                raise Mistyped(f"{name} is for Socket.IO: connect to {url} instead")
            near = difflib.get_close_matches(name, self.commands, 1)
            hint = f"did you mean {near[0]}?" if near else self.hint(line)
            raise Mistyped(f"there is no command {name}; {hint}")
        await self.commands[name][0](rest.strip())

    def hint(self, _line: str) -> str:
        """For a line with a slash that is not even nearly a command."""
        return "/help says what there is"

    async def _help(self, _: str) -> None:
        self.show(f"  a line without a slash   {self.says}")
        for name, (_command, words) in self.commands.items():
            usage, _, meaning = words.rpartition("  ")
            self.show(f"  {f'{name} {usage}'.strip():24} {meaning}")

    async def _quit(self, _: str) -> None:
        self.is_over = self.has_quit = True

    async def _wait(self, name: str) -> None:
        async with time_limit(self.way.timeout, f"no {name or 'message'}"):
            while not self._has_heard(name):
                if self.is_over:
                    raise Mistyped("the connection has ended: nothing will come")
                self._news.clear()
                await self._news.wait()

    def _has_heard(self, name: str) -> bool:
        while self._heard:
            if self._heard.popleft() == name or not name:
                return True
        return False

    # -- what comes ------------------------------------------------------------------

    async def listen(self) -> None:
        """Show what comes, until the connection ends."""
        try:
            while True:
                name, words = await self.hear()
                self.show(f"< {visible(words)}")
                self.note(name)
        except SocketClosed as error:
            self.is_over = True
            if self.has_quit and self.ended_well():
                return
            # Behind the reason stands what was not received: nothing, it is all shown.
            self.show(f"! {str(error).partition(';')[0].removeprefix('no message: ')}")
            self._news.set()

    def note(self, name: str) -> None:
        """Something has come: for who waits for it."""
        self._heard.append(name)
        self._news.set()


class _Socket(Protocol):
    """What the three sockets of the dialling rooms have in common."""

    def send(self, message: str | bytes, /) -> Awaitable[None]: ...

    async def recv(self, *, timeout: float | None = None) -> Any: ...

    async def close(self) -> None: ...

    def drop(self) -> None: ...


class _WithFrames(Conversation):
    """Over a WebSocket there are pings, and bytes that are no frames."""

    socket: _Socket

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        self.commands |= {
            "/ping": (self._ping, "[TEXT]  a ping of the WebSocket; its pong is shown"),
            "/raw": (self._raw, "HEX  these bytes, frames or not, to see what a server says"),
            "/drop": (self._drop, "break the connection without a word"),
        }

    async def say(self, text: str) -> None:
        self.socket.send(text)

    async def hear(self) -> tuple[str, str]:
        return "message", shown(await self.socket.recv(timeout=FOREVER_S))

    async def close(self) -> None:
        await self.socket.close()

    async def _binary(self, text: str) -> None:
        self.socket.send(bytes_of(text) if text else b"")

    async def _drop(self, _: str) -> None:
        self.has_left = True
        self.socket.drop()

    @abstractmethod
    def frames(self) -> WebSocket | None:
        """The WebSocket, if there is one now."""

    def _frames(self) -> WebSocket:
        websocket = self.frames()
        if websocket is None or not websocket.is_open:
            raise Mistyped("this goes over a WebSocket only, and here is none")
        websocket.ponged = self._ponged
        return websocket

    async def _ping(self, text: str) -> None:
        payload = text.encode()
        if len(payload) > MAX_CONTROL_BYTES:
            room = MAX_CONTROL_BYTES
            raise Mistyped(f"a ping has room for {room} bytes, these are {len(payload)}")
        self._frames().ping(payload)

    def _ponged(self, payload: bytes) -> None:
        self.show(visible(f"< pong {payload.decode(errors='replace')}".rstrip()))
        self.note("pong")

    async def _raw(self, text: str) -> None:
        self._frames().write(bytes_of(text))


class OverWebSocket(_WithFrames):
    """A WebSocket without Socket.IO: texts and bytes."""

    says = "is sent as a text message"

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        self._socket = self.socket = AsyncWebSocket(
            self.visitor, self.target, self.headers, way.subprotocols, way.timeout
        )
        self.commands |= {
            "/binary": (self._binary, "HEX  a binary message"),
            "/close": (self._close, "[CODE [REASON]]  the closing handshake"),
        }

    def frames(self) -> WebSocket | None:
        return self._socket.websocket

    async def open(self) -> str:
        await self._socket.connect()
        chosen = f", subprotocol {self._socket.subprotocol}" if self._socket.subprotocol else ""
        return f"WebSocket {self.way.url}{chosen}"

    async def _close(self, text: str) -> None:
        code, _, reason = text.partition(" ")
        if code and not (code.isdecimal() and 1000 <= int(code) <= 4999):
            raise Mistyped(f"{code!r} is no close code: they are numbers from 1000 to 4999")
        size, room = len(reason.encode()), MAX_CONTROL_BYTES - 2  # for the code
        if size > room:
            raise Mistyped(f"a reason has room for {room} bytes, these are {size} (RFC 6455 5.5)")
        try:
            await self._socket.close(int(code or NORMAL_CLOSURE), reason)
        except LocalProtocolError as error:
            raise Mistyped(f"{error}; a frame of your own: /raw BYTES") from None
        self.has_left = True

    def ended_well(self) -> bool:
        return self.has_left or self._socket.close_code in (NORMAL_CLOSURE, NO_STATUS_RECEIVED)


class _WithPackets(_WithFrames):
    """Over Engine.IO there are two transports, and packets."""

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        self.commands |= {
            "/packet": (self._packet, "TEXT  an Engine.IO packet as it is"),
            "/upgrade": (self._upgrade, "from polling to a WebSocket"),
            "/close": (self._close, "end the session"),
        }

    @abstractmethod
    def session(self) -> Engine | None:
        """The session, if there is one now."""

    def frames(self) -> WebSocket | None:
        session = self.session()
        return session.websocket if session is not None else None

    def _session(self) -> Engine:
        session = self.session()
        if session is None:
            raise Mistyped("the session has ended")
        return session

    async def _packet(self, text: str) -> None:
        self._session().send_packet(text)

    async def _upgrade(self, _: str) -> None:
        try:
            async with time_limit(self.way.timeout, "no upgrade"):
                await self._session().upgrade()
        except LocalProtocolError as error:
            raise Mistyped(str(error)) from None
        self.show("  over websocket now")

    async def _close(self, _: str) -> None:
        self.has_left = True
        await self.close()

    def ended_well(self) -> bool:
        return self.has_left or self.reason() in _GOODBYES

    @abstractmethod
    def reason(self) -> str | None:
        """Why the session has ended."""


class EngineIO(_WithPackets):
    """An Engine.IO session without Socket.IO: texts and bytes over either transport."""

    says = "is sent as a message"

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        self._socket = self.socket = AsyncEngine(
            self.visitor, self.target, self.headers, way.transport, way.timeout
        )
        self.commands["/binary"] = (self._binary, "HEX  a binary message")

    def session(self) -> Engine | None:
        return self._socket.engine if self._socket.connected else None

    def reason(self) -> str | None:
        return self._socket.disconnect_reason

    async def open(self) -> str:
        await self._socket.connect()
        where = f"sid {self._socket.sid}, over {self._socket.transport}"
        return f"Engine.IO session at {self.way.url}, {where}"


class SocketIO(_WithPackets):
    """A namespace of Socket.IO: events, and acknowledgements both ways."""

    says = 'is sent as the event "message"'

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        line = Line(self.visitor, self.target, self.headers, way.transport, way.timeout)
        self._socket = self.socket = AsyncSocket(line, way.namespace, way.auth)
        self._owed: Received | None = None  # what asks for an acknowledgement
        self.commands = {
            "/emit": (self._emit, "NAME [JSON ...]  an event with its arguments"),
            "/call": (self._call, "NAME [JSON ...]  the same; wait for its acknowledgement"),
            "/ack": (self._ack, "[JSON ...]  acknowledge the last event that asks for it"),
            "/binary": (self._binary, 'HEX  the event "message" with these bytes'),
            **self.commands,
        }

    def session(self) -> Engine | None:
        return self._socket.engine

    def reason(self) -> str | None:
        return self._socket.disconnect_reason

    async def open(self) -> str:
        await self._socket.connect()
        where = f"sid {self._socket.sid}, over {self._socket.transport}"
        return f"Socket.IO at {self.way.url}, namespace {self._socket.namespace}, {where}"

    async def hear(self) -> tuple[str, str]:
        received = await self._socket.recv(timeout=FOREVER_S)
        words = " ".join((received.event, *map(as_json, received)))
        if received.wants_reply:
            self._owed = received
            words += "   (to be acknowledged: /ack)"
        return received.event, words

    async def _emit(self, text: str) -> None:
        self._socket.emit(*_event_of(text))

    async def _call(self, text: str) -> None:
        answer = await self._socket.call(*_event_of(text))
        self.show(visible(" ".join(("< acknowledgement", *map(as_json, answer)))))

    async def _ack(self, text: str) -> None:
        owed, self._owed = self._owed, None
        if owed is None:
            raise Mistyped("no event has asked for an acknowledgement, or it has its own")
        owed.reply(*values_of(text))


class OverHTTP(Conversation):
    """Requests, one after the other, each on a connection of its own; cookies are kept."""

    says = "is a request: GET /path, or POST /path and a body"

    def __init__(self, way: Way, show: Callable[[str], None]) -> None:
        super().__init__(way, show)
        self.commands["/header"] = (self._header, "NAME: VALUE  goes along from now on")

    def hint(self, line: str) -> str:
        return f"a request begins with its method: GET {line}"

    async def open(self) -> str:
        if self.way.tap is not None:
            self.show(
                "* whether anybody is there: a connection without a request, given up at once"
            )
        (await self.visitor.dial.open(Exchange())).close()
        return f"HTTP to {self.way.url}; type a request, such as GET {self.target}"

    async def say(self, text: str) -> None:
        method, _, rest = text.partition(" ")
        target, _, body = rest.strip().partition(" ")
        if not (method.isalpha() and target.startswith("/")):
            raise Mistyped("that is no request: write a method and a path, such as GET /")
        if not method.isupper():
            raise Mistyped(f"methods are written in capitals: {method.upper()} {rest}")
        target = _NO_ASCII.sub(lambda found: quote(found[0], errors="surrogateescape"), target)
        async with time_limit(max(self.way.timeout, POLL_S), "no answer"):
            fields = [*self.headers, *_kind_of_content(body, self.headers)]
            head, content = await self.visitor.ask(method, target, fields, body.encode())
        self.show(f"< {head.status}")
        for name, value in head.headers:
            self.show(f"< {name}: {visible(value)}")
        if content:
            self.show("\n" + visible(content.decode(errors="replace")))

    async def hear(self) -> tuple[str, str]:
        await asyncio.Event().wait()  # a server says nothing that it was not asked
        raise AssertionError

    async def close(self) -> None:
        """Each request has closed its own."""

    async def _header(self, text: str) -> None:
        self.headers.append(header_of(text))


KINDS: Final[dict[str, type[Conversation]]] = {
    "socketio": SocketIO,
    "engineio": EngineIO,
    "websocket": OverWebSocket,
    "http": OverHTTP,
}


def kind_of(url: str) -> str:
    """Which of `KINDS` a url looks like: by its scheme, and by the usual paths."""
    parts = urlsplit(url)
    if parts.scheme in ("ws", "wss"):
        return "websocket"
    last = parts.path.rstrip("/").rpartition("/")[2]
    return {"socket.io": "socketio", "engine.io": "engineio"}.get(last, "http")


# -- what is typed, and what is shown --------------------------------------------------------


def bytes_of(text: str) -> bytes:
    """Bytes in one of the ways in which `explain` reads them. Raises `Mistyped`."""
    if not text:
        raise Mistyped("which bytes? They are written so: 81 05 68 65 6c 6c 6f")
    try:
        found = literal(text)
        return from_hex(text) if found is None else found
    except ValueError as error:
        raise Mistyped(f"{error}; bytes are written so: 81 05 68 65 6c 6c 6f") from None


def header_of(text: str) -> tuple[str, str]:
    """A header field. Raises `Mistyped`."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise Mistyped(f"{text!r} is no header field: write NAME: VALUE")
    return name.strip().lower(), value.strip()


def _kind_of_content(body: str, headers: Fields) -> Fields:
    """What content looks like, unless the headers say it: JSON, or a form."""
    if any(name == "content-type" for name, _ in headers):
        return []
    if body[:1] in ("{", "["):
        return [("content-type", "application/json")]
    is_form = _FORM.match(body) is not None
    return [("content-type", "application/x-www-form-urlencoded")] if is_form else []


def values_of(text: str) -> list[Any]:
    """Values of JSON, one after the other, with spaces between them. Raises `Mistyped`."""
    decoder = json.JSONDecoder()
    values = []
    rest = text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            raise Mistyped(f'{rest!r} is no JSON; text is in quotes: "hello"') from None
        values.append(value)
        rest = rest[end:].lstrip(" ,")
    return values


def _event_of(text: str) -> tuple[Any, ...]:
    name, _, rest = text.partition(" ")
    if not name:
        raise Mistyped('which event? /emit NAME and its arguments: /emit news {"id": 7}')
    return name, *values_of(rest)


def as_json(value: Any) -> str:
    """One argument of an event; bytes in it as `shown` has them."""
    return json.dumps(value, ensure_ascii=False, default=shown)


def shown(message: str | bytes) -> str:
    """A message: text as it is, bytes in hexadecimal."""
    if isinstance(message, str):
        return message
    more = "..." if len(message) > MAX_SHOWN_BYTES else ""
    return f"{counted(len(message), 'byte')}: {message[:MAX_SHOWN_BYTES].hex(' ')}{more}"


def visible(text: str) -> str:
    """Text for a terminal: nothing in it moves the cursor, or rings a bell, and it has an end."""
    cut = text[:MAX_SHOWN_CHARACTERS]
    safe = "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in cut)
    return safe if len(text) == len(cut) else f"{safe}... ({len(text)} characters)"
