"""``/__wire__``: the connections of a server, and what is said on them, in a browser.

What it implements: a watcher (`tap`) that remembers the last of each connection, step by
step if a learner wants that, and the handlers of ``static/wire.rbr``, which is an application
as any other: the page hears of the wire by our own socket. What it leaves out: what bytes mean
(`anatomy`), and the looks, which are ``static/wire.html``, ``.css`` and ``.js``.

In one line::

    show(server, trust(["127.0.0.0/8"]))

It is served with ``--debug`` only, to this machine only unless told, and leaves itself out: a
page that showed its own messages would have one more to show for each.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeGuard

from .anatomy import SERVER, Layer, as_json, hidden, no_layers
from .anatomy_connection import Connection
from .anatomy_websocket import Frames
from .errors import Refused
from .gate import Gate
from .globs import Globals
from .packed import path_at
from .request import Request
from .response import Response
from .server import Server
from .tap import Tapped

FOLDER: Final = path_at(__file__).parent / "static"
FILE: Final = FOLDER / "wire.rbr"
ROOT: Final = "/__wire__"

# What is remembered of one connection: its last parts, and of each so many bytes.
MAX_ITEMS: Final = 400
MAX_ITEM_BYTES: Final = 4096
# And of how many that have ended.
MAX_ENDED: Final = 60
# News are sent together: a page need not be drawn more often.
NEWS_EVERY_S: Final = 0.05

_OURS: Final = re.compile(rb"[A-Z]+ (?:https?://[^/ ]*)?" + ROOT.encode() + rb"[/? ]")
_REQUEST: Final = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r\n")
_SID: Final = re.compile(rb"[?&]sid=([\w-]+)")
_OPEN: Final = re.compile(rb'0\{"sid":"([\w-]+)"')
_KEY: Final = re.compile(r"[cs][0-9]{1,9}")  # of a connection or a session; and its room
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HANDSHAKE: Final = re.compile(rb"GET [^ ]*[?&]EIO=[0-9](?![^ ]*[?&]sid=)")
NEXT: Final = "s0"

Json: TypeAlias = dict[str, Any]


class Session:
    """An Engine.IO session: what is said in it may come over many connections."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_held = False


class Record:
    """One connection as the page knows it."""

    def __init__(self, tapped: Tapped) -> None:
        self.tapped = tapped
        self.number = tapped.number
        self.items: deque[Json] = deque(maxlen=MAX_ITEMS)
        self.bytes = {"client": 0, "server": 0}
        self.label = ""  # its last request
        self.speaks = "TCP"
        self.is_open = True
        self.is_ours = False  # the page's own exchange, as of now
        self.is_held = False
        self.session: Session | None = None  # of the request in hand
        self.anatomy = Connection()
        self.ahead: deque[list[Layer]] = deque()  # layers of what is held, in its order

    def told(self) -> Json:
        """What the list of connections shows."""
        return {
            "number": self.number,
            "session": self.session.number if self.session is not None else 0,
            "peer": self.tapped.peer,
            "label": self.label,
            "speaks": self.speaks,
            "in": self.bytes["client"],
            "out": self.bytes["server"],
            "open": self.is_open,
        }


class Recorder:
    """The global of ``wire.rbr``: watches all connections, and tells the page."""

    def __init__(self, globs: Globals) -> None:
        self.viewers: Container[str] = ()  # the addresses that may see it
        self.gate = Gate()  # which knows by what names
        self._server = globs.server
        self._records: dict[int, Record] = {}
        self._sessions: dict[bytes, Session] = {}  # by sid
        self._ids = itertools.count()
        self._began = time.monotonic()
        self._changed: set[int] = set()
        self._news: dict[str, list[Json]] = {}  # by room
        self._held: deque[Record] = deque()  # whose part is next, for each that is held
        self._timer: asyncio.TimerHandle | None = None
        self._holds_next = False  # the session that begins next, from its first answer

    # -- the watcher -----------------------------------------------------------------

    def opened(self, tapped: Tapped) -> None:
        self._records[tapped.number] = Record(tapped)

    def received(self, tapped: Tapped, data: bytes) -> None:
        record = self._records.get(tapped.number)
        if record is None:
            return
        if not record.anatomy.is_websocket and _REQUEST.match(data):
            record.is_ours = _OURS.match(data) is not None
            sid = _SID.search(data.partition(b"\r\n")[0])
            record.session = self._sessions.get(sid[1]) if sid else None
            if self._holds_next and not record.is_ours and _HANDSHAKE.match(data):
                self._holds_next, record.is_held = False, True
        if record.is_ours:
            return
        record.bytes["client"] += len(data)
        self._hold_if_asked(record)
        self._add(record, record.anatomy.from_client(data))

    def sent(self, tapped: Tapped, data: bytes) -> None:
        record = self._records.get(tapped.number)
        if record is None or record.is_ours:
            return
        record.bytes["server"] += len(data)
        ahead = record.ahead
        self._add(record, ahead.popleft() if ahead else record.anatomy.from_server(data))

    def closed(self, tapped: Tapped, error: Exception | None) -> None:
        record = self._records.get(tapped.number)
        if record is None:
            return
        record.is_open = False
        if not record.is_ours:
            self._add(record, record.anatomy.end())
        if not record.items:
            del self._records[record.number]  # it was ours, or said nothing
            return
        if not record.is_ours:
            self._note(record, {"end": str(error) if error else "closed"})
        ended = [one for one in self._records.values() if not one.is_open]
        for one in ended[:-MAX_ENDED]:
            del self._records[one.number]

    def _add(self, record: Record, layers: Iterable[Layer]) -> None:
        layers = list(layers)
        self._look_for_session(record, layers)
        for layer in hidden(layers):
            if layer.name == "HTTP request":
                record.label = layer.summary.removesuffix(" HTTP/1.1")
            if not layer.name.startswith("HTTP") or record.speaks == "TCP":
                record.speaks = layer.name.split(" ")[0]
            size, told = len(layer.data), _as_told(layer)
            self._note(record, {"from": layer.sender, "size": size, "layer": told})

    def _look_for_session(self, record: Record, layers: list[Layer]) -> None:
        """The first packet of a session has its id: from then on it has a number, for the page."""
        for layer in layers:
            sid = _OPEN.search(layer.data) if layer.sender == SERVER else None
            if sid is None or record.session is not None:
                continue
            session = Session(len(self._sessions) + 1)
            record.session = self._sessions[sid[1]] = session
            self._adopt(record, session)
            if record.is_held:  # what is held is the session, from now on
                record.is_held, session.is_held = False, True
                self._server.emit("stepping", f"s{session.number}")

    def _adopt(self, record: Record, session: Session) -> None:
        """What led to a session belongs to it, too: the request that is being answered."""
        for item in reversed(record.items):
            if item["session"]:
                break
            item["session"] = session.number
            if item.get("layer", {}).get("layer") == "HTTP request":
                break

    def _note(self, record: Record, item: Json) -> None:
        session = record.session
        item |= {
            "id": next(self._ids),
            "at": round((time.monotonic() - self._began) * 1000, 1),
            "connection": record.number,
            "session": session.number if session is not None else 0,
        }
        record.items.append(item)
        self._changed.add(record.number)
        self._news.setdefault(f"c{record.number}", []).append(item)
        if session is not None:
            self._news.setdefault(f"s{session.number}", []).append(item)
        self._tell_soon()

    # -- holding -----------------------------------------------------------------------

    def _hold_if_asked(self, record: Record) -> None:
        session = record.session
        wanted = record.is_held or (session is not None and session.is_held)
        transport = record.tapped.transport
        if transport is None or transport.is_holding == wanted:
            return
        if wanted:
            transport.hold(lambda data: self._parts(record, data))
        else:
            transport.flow()

    def _parts(self, record: Record, data: bytes) -> list[bytes]:
        """Cut what is to be held: frame by frame, or an answer of HTTP as it is written."""
        if record.is_ours:
            return [data]
        parts = [data]
        if record.anatomy.is_websocket:
            parts = [layer.data for layer in Frames(SERVER, no_layers).receive(data)]
        for part in parts:
            layers = record.anatomy.from_server(part)
            self._look_for_session(record, layers)
            record.ahead.append(layers)
            self._held.append(record)
        self._tell_soon()
        return parts

    def hold(self, key: str, *, on: bool) -> None:
        """Hold what goes out of a connection (``c5``) or a session (``s2``), or let it flow.

        ``s0`` is the session that begins next.
        """
        number = int(key[1:])
        if key == NEXT:
            self._holds_next = on
        for session in self._sessions.values():
            if key[0] == "s" and session.number == number:
                session.is_held = on
        for record in self._records.values():
            if key[0] == "c" and record.number == number:
                record.is_held = on
            self._hold_if_asked(record)
        self._forget_sent()
        self._tell_soon()

    def flow(self) -> None:
        """Hold nothing any more."""
        self._holds_next = False
        for session in self._sessions.values():
            session.is_held = False
        for record in self._records.values():
            record.is_held = False
            self._hold_if_asked(record)
        self._forget_sent()

    def let_go(self, key: str) -> bool:
        """Send the next part that is held; False if there is none."""
        for record in tuple(self._held):
            if _fits(key, record):
                self._held.remove(record)
                if record.tapped.transport is not None and record.is_open:
                    record.tapped.transport.let_go(1)
                self._tell_soon()
                return True
        return False

    def _forget_sent(self) -> None:
        """A connection that flows, or has ended, has nothing in the queue."""
        self._held = deque(
            one for one in self._held if one.is_open and one.tapped.transport is not None
            and one.tapped.transport.held
        )  # fmt: skip

    def _waiting(self, key: str) -> list[Json]:
        """What is held, as the page shows it: first what goes out next."""
        waiting: list[Json] = []
        layers = {id(record): iter(tuple(record.ahead)) for record in self._held}
        for record in self._held:
            part = next(layers[id(record)], [])
            if _fits(key, record):
                number = record.number
                waiting += [
                    {"connection": number, "from": SERVER, "size": len(one.data), "layer": one}
                    for one in hidden(part)
                ]
        return [item | {"layer": _as_told(item["layer"])} for item in waiting]

    # -- the page ------------------------------------------------------------------------

    def timeline(self, key: str) -> list[Json]:
        """What is remembered of a connection or of a session, oldest first."""
        number = int(key[1:])
        kind = "connection" if key[0] == "c" else "session"
        found = [
            item
            for record in self._records.values()
            for item in record.items
            if item[kind] == number
        ]
        return sorted(found, key=lambda item: int(item["id"]))[-MAX_ITEMS:]

    def connections(self) -> list[Json]:
        """Those that have said something."""
        return [record.told() for record in self._records.values() if record.items]

    def holds(self, key: str) -> Json:
        """Whether it is held, by itself or as a connection of its session; and what waits."""
        ways = {key}
        record = self._records.get(int(key[1:])) if key[0] == "c" else None
        if record is not None and record.session is not None:
            ways.add(f"s{record.session.number}")
        holding = [f"s{one.number}" for one in self._sessions.values() if one.is_held]
        holding += [f"c{one.number}" for one in self._records.values() if one.is_held]
        by = next(filter(ways.__contains__, holding), "")
        return {"key": key, "on": by != "", "by": by, "waiting": self._waiting(key)}

    def _tell_soon(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(NEWS_EVERY_S, self._tell)

    def _tell(self) -> None:
        self._timer = None
        news, self._news = self._news, {}
        changed, self._changed = self._changed, set()
        self._forget_sent()
        told = [self._records[one].told() for one in sorted(changed) if one in self._records]
        if told:
            self._server.emit("connections", told)
        for room, items in news.items():
            self._server.emit("items", items[-MAX_ITEMS:], room=room)
        for key in filter(
            _KEY.fullmatch, {key for one in self._server.sockets() for key in one.rooms}
        ):
            self._server.emit("held", self.holds(key), room=key)


def _fits(key: str, record: Record) -> bool:
    if key[0] == "c":
        return record.number == int(key[1:])
    return record.session is not None and record.session.number == int(key[1:])


def _as_told(layer: Layer) -> Json:
    """A layer without what nobody would look at, and its size: the page is no file viewer."""
    fields = [one for one in layer.fields if one.start < MAX_ITEM_BYTES]
    told = as_json(replace(layer, data=layer.data[:MAX_ITEM_BYTES], fields=fields, inner=[]))
    inner = [_as_told(one) for one in layer.inner]
    return told | {"size": len(layer.data), "inner": inner}


# -- what wire.rbr names ---------------------------------------------------------------------


def page(globs: Globals, request: Request) -> Response:
    """The page itself."""
    if fault := _refusal(globs, request):
        return Response(f"403 {fault}\n".encode(), 403)
    content = (FOLDER / "wire.html").read_bytes()
    headers = [("content-security-policy", _POLICY), ("cache-control", "no-store")]
    return Response(content, 200, headers, "text/html; charset=utf-8")


async def connect(globs: Globals, request: Request) -> None:
    """A page has come."""
    if fault := _refusal(globs, request):
        raise Refused(fault)
    request.socketio.emit("connections", globs["recorder"].connections())


def _refusal(globs: Globals, request: Request) -> str:
    recorder = globs["recorder"]
    if request.remote_addr not in recorder.viewers:
        return "this page is for the server's own machine: --wire-to"
    if not recorder.gate.is_sure_of(request.host):
        return "this page is for who asks for an address, or for a name of --allow-host"
    return ""


async def watch(globs: Globals, request: Request, key: object) -> Json:
    """It wants to see one connection or session from now on; what has been, it is told."""
    if not _is_key(key):
        return {"error": "that names neither a connection, as c5 does, nor a session, as s2 does"}
    socket = request.socketio
    for room in filter(_is_key, socket.rooms):
        socket.leave(room)
    socket.join(key)
    recorder: Recorder = globs["recorder"]
    return {"items": recorder.timeline(key), "held": recorder.holds(key)}


async def hold(globs: Globals, _request: Request, key: object, on: object) -> bool:
    """Hold it, or let it flow."""
    if _is_key(key):
        globs["recorder"].hold(key, on=on is True)
    return _is_key(key)


async def let_go(globs: Globals, _request: Request, key: object) -> bool:
    """The next packet, please."""
    return _is_key(key) and globs["recorder"].let_go(key)


async def gone(globs: Globals, request: Request) -> None:
    """A page is closed: if it was the last, nobody is left to ask for the next packet."""
    if all(one is request.socketio for one in globs.server.sockets()):
        globs["recorder"].flow()


def _is_key(key: object) -> TypeGuard[str]:
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


# -- where it is served ----------------------------------------------------------------------


# To whom it is shown unless told: to this machine.
LOOPBACK: Final = ("127.0.0.0/8", "::1")


def show(server: Server, viewers: Container[str]) -> None:
    """Let the page see the connections of a server that has started with `FILE` in its app."""
    for home in server.app.homes:
        recorder = home.globs.values.get("recorder")
        if isinstance(recorder, Recorder) and server.tap is not None:
            recorder.viewers, recorder.gate = viewers, server.gate
            server.tap.watchers.append(recorder)
