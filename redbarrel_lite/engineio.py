"""Engine.IO, the server's side, without I/O: one session over two transports.

What it implements: Engine.IO protocol 4 (packets, polling payloads, handshake,
heartbeat, upgrade from polling to WebSocket, closing). What it leaves out: what a
request says in its query (`engineio_query`), how revision 3 spells its packets, for
which it takes a `Revision`, and WebTransport.
Where the document is silent, it does as the reference server does, since clients
rely on that.

In one line::

    for message in session.receive_payload("4hello\\x1e4world", now): ...

A session is one conversation. It starts over either transport and may move once,
from polling to WebSocket, while messages flow::

    client                                    server
    GET  ?transport=polling             ->
                                        <-    0{"sid": ..., "upgrades": ["websocket"], ...}
    GET  ?transport=polling&sid=...     ->    waits
    POST ?transport=polling&sid=...     ->    4hello
    WebSocket ?transport=websocket&sid= ->    `start_probe`
              2probe                    ->
                                        <-    3probe
                                        <-    6 answers the waiting GET, so that the
                                              client knows: nothing is under way there
              5                         ->    from here on `transport` is "websocket"

The session owns no socket and no clock: each call that may depend on the time is
told it, in seconds; `wake_at` says when `tick` wants to be called. What it wants
written waits in it, `poll_answer` for a waiting GET and `take_packets` for the
WebSocket, and the caller asks after each call.
"""

from __future__ import annotations

import base64
import contextlib
import enum
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from .errors import RemoteProtocolError, show
from .strictjson import brief

PROTOCOL: Final = "4"  # the value of the query parameter EIO
OLD_PROTOCOL: Final = "3"  # that of socket.io-client 1 and 2

# "Packet types", in the order of the document.
OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"
BINARY: Final = "b"  # over polling: a message, in base64

PROBE: Final = "probe"
SEPARATOR: Final = "\x1e"  # between the packets of a polling payload
_NEXT_IS_BINARY: Final = SEPARATOR + BINARY

POLLING: Final = "polling"
WEBSOCKET: Final = "websocket"
TRANSPORTS: Final = (POLLING, WEBSOCKET)

# The reference server's code for what is no packet; the others are in `engineio_query`.
BAD_REQUEST: Final = 3

# A payload is short, but each packet of it costs a call: 1,000,000 bytes of "3"
# and separators would be half a million calls in one turn of the loop.
MAX_PACKETS_IN_PAYLOAD: Final = 1000
# python-engineio refuses a payload of more than 16 packets.
MAX_PACKETS_OUT: Final = 16
# How long a client that has probed may be kept waiting for the end of its poll.
# Shorter, and the reference client may have sent its next poll already.
NOOP_DELAY_S: Final = 0.1

Packet: TypeAlias = str | bytes  # bytes: a binary message


class Options(NamedTuple):
    """What the author of a path may choose; the defaults are the reference's."""

    ping_interval: float = 25.0  # seconds between two pings
    ping_timeout: float = 20.0  # seconds that a pong may take
    max_payload: int = 1_000_000  # bytes of one POST, or of one WebSocket message
    max_fragments: int = 1024  # that one WebSocket message may come in
    compression: bool = False  # of WebSocket messages, for clients that offer it
    upgrade_timeout: float = 10.0  # seconds from a WebSocket to its upgrade packet
    transports: tuple[str, ...] = TRANSPORTS
    allow_eio3: bool = False  # whether clients of revision 3 may come


class Upgrade(enum.Enum):
    """How far a second transport has come (section "Upgrade")."""

    NONE = "none"
    STARTED = "a WebSocket is there"
    PROBED = "it was probed"


class Revision(Protocol):
    """What a revision of the protocol does in its own way."""

    @property
    def version(self) -> str:
        """The value of the query parameter EIO."""

    @property
    def encoding(self) -> str:
        """The section that says what a packet is."""

    @property
    def client_pings(self) -> bool:
        """Whether the client asks and the server answers, as it was before revision 4."""

    @property
    def ready_to_upgrade(self) -> tuple[Upgrade, ...]:
        """How far an upgrade must have come before it may be finished."""

    @property
    def script(self) -> str | None:
        """The index of the function that a script calls with each payload (JSONP)."""

    def split(self, payload: Packet) -> Iterable[Packet]:
        """The packets of a payload, in order.

        Raises `RemoteProtocolError`, now or when they are gone through, for what is none.
        """

    def join(self, packets: Sequence[Packet]) -> Packet:
        """The payload of these packets."""


class Revision4:
    """Section "Packet encoding", "HTTP long-polling"."""

    __slots__ = ()

    version: Final = PROTOCOL
    encoding: Final = "Engine.IO 4, Packet encoding"
    client_pings: Final = False
    ready_to_upgrade: Final = (Upgrade.PROBED,)
    script: Final = None

    def split(self, payload: Packet) -> Iterable[Packet]:
        if isinstance(payload, bytes):
            what = "binary payloads belong to protocol 3 (Engine.IO 4, HTTP long-polling)"
            raise RemoteProtocolError(what, BAD_REQUEST)
        count = payload.count(SEPARATOR) + 1
        if count > MAX_PACKETS_IN_PAYLOAD:
            raise RemoteProtocolError(f"a payload of {count} packets", BAD_REQUEST)
        packets = payload.split(SEPARATOR)
        if not payload.startswith(BINARY) and _NEXT_IS_BINARY not in payload:
            return packets
        # One by one: those before a bad one have come.
        return (_from_base64(one) if one.startswith(BINARY) else one for one in packets)

    def join(self, packets: Sequence[Packet]) -> Packet:
        return SEPARATOR.join(map(encode_for_polling, packets))


REVISION_4: Final = Revision4()


class State(enum.Enum):
    """A session's life. CLOSING: what waits is still handed over, then comes CLOSED."""

    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Session:
    """One client's session, whatever carries it.

    ``closed_because`` is None until the session is CLOSED; then it is the reason,
    in the words of the reference server ("transport close", "ping timeout", ...).
    """

    __slots__ = (
        "_ping_at",
        "_pong_by",
        "_noop_at",
        "_outbox",
        "_upgrade_by",
        "closed_because",
        "options",
        "poll_waits",
        "queued",
        "revision",
        "sid",
        "state",
        "transport",
        "upgrade",
    )

    def __init__(
        self,
        sid: str,
        transport: str,
        options: Options,
        now: float,
        revision: Revision = REVISION_4,
    ) -> None:
        self.sid = sid
        self.revision = revision
        self.transport = transport
        self.state = State.OPEN
        self.upgrade = Upgrade.NONE
        self.closed_because: str | None = None
        self.poll_waits = False
        self.queued = 0  # characters and bytes in the outbox
        self.options = options
        self._outbox: list[Packet] = []
        self._ping_at = now + options.ping_interval
        self._pong_by = 0.0  # 0: no pong is owed
        if revision.client_pings:
            self._expect_ping(now)
        self._upgrade_by = 0.0
        self._noop_at = 0.0  # 0: no poll must be ended for the sake of an upgrade
        self._queue(self._open_packet())

    def _open_packet(self) -> str:
        options = self.options
        may_upgrade = self.transport == POLLING and WEBSOCKET in options.transports
        handshake = {
            "sid": self.sid,
            "upgrades": [WEBSOCKET] if may_upgrade else [],
            "pingInterval": round(options.ping_interval * 1000),
            "pingTimeout": round(options.ping_timeout * 1000),
            "maxPayload": options.max_payload,
        }
        return OPEN + brief(handshake)

    # -- from the peer -------------------------------------------------------

    def receive(self, packet: Packet, now: float) -> Packet | None:
        """Take one packet from the current transport; return its message, if it is one.

        Raises `RemoteProtocolError`, and closes the session, for what is no packet.
        """
        if self.state is not State.OPEN:
            return None
        if type(packet) is bytes:
            return packet
        kind = packet[:1]
        if kind == MESSAGE:
            return packet[1:]
        if len(packet) == 1:
            if kind == (PING if self.revision.client_pings else PONG):
                self._receive_heartbeat(now)
                return None
            if kind == CLOSE:
                self.end("transport close")
                return None
        if kind == BINARY:
            # In a WebSocket message: from a client that was told to do without binary
            # ones. The document has no word of it, the reference server reads it.
            with contextlib.suppress(ValueError):
                return decode_binary(str(packet[len(BINARY) :]))
        self.end("parse error")
        rule = self.revision.encoding
        raise RemoteProtocolError(f"bad Engine.IO packet {show(packet, 20)} ({rule})", BAD_REQUEST)

    def receive_payload(self, payload: Packet, now: float) -> list[Packet]:
        """Take the body of a POST; return the messages in it.

        The messages before a bad packet have been received: the error raised for
        it carries them, in ``messages``.
        """
        messages: list[Packet] = []
        try:
            for packet in self.revision.split(payload):
                message = self.receive(packet, now)
                if message is not None:
                    messages.append(message)
                elif self.state is not State.OPEN:
                    break
        except RemoteProtocolError as error:
            self.end("parse error")
            raise BadPayload(str(error), messages) from None
        return messages

    def _receive_heartbeat(self, now: float) -> None:
        if self.revision.client_pings:
            self._expect_ping(now)
            # One answer says as much as many, to a client that pings but does not poll.
            if self._outbox[-1:] != [PONG]:
                self._queue(PONG)
        elif self._pong_by:
            self._pong_by = 0.0
            self._ping_at = now + self.options.ping_interval

    def _expect_ping(self, now: float) -> None:
        """Of a client that pings: we owe it nothing before, and it owes us the next in time."""
        self._pong_by = now + self.options.ping_interval + self.options.ping_timeout

    @property
    def waiting(self) -> int:
        """Packets in the outbox."""
        return len(self._outbox)

    # -- to the peer -----------------------------------------------------------

    def send(self, messages: Iterable[Packet]) -> None:
        """Queue messages for a transport that can't take them now."""
        if self.state is State.OPEN:
            for message in messages:
                self._queue(message if type(message) is bytes else MESSAGE + message)  # type: ignore[operator]

    def _queue(self, packet: Packet) -> None:
        self._outbox.append(packet)
        self.queued += len(packet)

    def take_packets(self) -> list[Packet]:
        """What the WebSocket has to carry now."""
        packets, self._outbox = self._outbox, []
        self.queued = 0
        self._end_if_told()
        return packets

    def _say_only(self, packet: Packet) -> None:
        """Drop what waits for this one packet."""
        self._outbox.clear()
        self.queued = 0
        self._queue(packet)

    def _end_if_told(self) -> None:
        if self.state is State.CLOSING and not self._outbox:
            self.end("forced close")

    # -- polling -----------------------------------------------------------------

    def start_poll(self) -> None:
        """A GET has come. Raises `RemoteProtocolError` if one is waiting already.

        Two clients, or one in disorder, use this session: it is closed, and the
        GET that waits is told so.
        """
        if self.poll_waits:
            self._say_only(CLOSE)
            self.end("transport error")
            raise RemoteProtocolError("a GET is waiting already", BAD_REQUEST)
        self.poll_waits = True

    def poll_answer(self) -> Packet | None:
        """The payload to answer the waiting GET with, or None: let it wait."""
        if not self.poll_waits:
            return None
        if self.transport == WEBSOCKET:
            # The client sent its upgrade packet without waiting for this poll to
            # end. What is queued belongs to the WebSocket.
            self.poll_waits = False
            return self.revision.join([NOOP])
        if not self._outbox:
            if self.state is State.OPEN:
                return None
            self._say_only(NOOP if self.closed_because == "transport close" else CLOSE)
        self.poll_waits = False
        return self._take_payload()

    def abort_poll(self) -> None:
        """The client dropped its waiting GET: it has gone."""
        self.poll_waits = False
        self.end("transport close")

    def _take_payload(self) -> Packet:
        """As many queued packets as one payload may carry, oldest first."""
        taken = self._outbox[:MAX_PACKETS_OUT]
        if len(taken) > 1:
            del taken[self._how_many_fit(taken) :]
        self.queued -= sum(map(len, taken))
        del self._outbox[: len(taken)]
        self._end_if_told()
        return self.revision.join(taken)

    def _how_many_fit(self, packets: Sequence[Packet]) -> int:
        """How many of these the largest payload may carry; one goes however large it is."""
        size = -len(SEPARATOR)
        for count, packet in enumerate(packets):
            size += len(SEPARATOR) + _polled_size(packet)
            if count and size > self.options.max_payload:
                return count
        return len(packets)

    # -- upgrade ---------------------------------------------------------------

    def start_probe(self, now: float) -> bool:
        """A WebSocket has come with this sid. False: it is not wanted, close it."""
        busy = self.transport != POLLING or self.upgrade is not Upgrade.NONE
        if busy or self.state is not State.OPEN:
            return False
        self.upgrade = Upgrade.STARTED
        self._upgrade_by = now + self.options.upgrade_timeout
        return True

    def receive_probe(self, packet: Packet, now: float) -> Packet | None:
        """Take a packet from the WebSocket that is no transport yet; return the answer.

        After UPGRADE, `transport` is "websocket". Raises `RemoteProtocolError` for
        any other packet than the two that an upgrade consists of, and for those two
        in a session that closes: then only that WebSocket is to be closed, the
        session goes on, or to its end, over polling.
        """
        step = self.upgrade if self.state is State.OPEN else Upgrade.NONE
        if packet == PING + PROBE and step is Upgrade.STARTED:
            self.upgrade = Upgrade.PROBED
            self._noop_at = now + NOOP_DELAY_S
            return PONG + PROBE
        if packet == UPGRADE and step in self.revision.ready_to_upgrade:
            self.upgrade = Upgrade.NONE
            self.transport = WEBSOCKET
            self._noop_at = 0.0
            return None
        what = f"bad packet in an upgrade: {show(packet, 20)} (Engine.IO 4, Upgrade)"
        raise RemoteProtocolError(what, BAD_REQUEST)

    def stop_probe(self) -> None:
        """The WebSocket has gone before it became the transport: back to polling."""
        self.upgrade = Upgrade.NONE
        self._noop_at = 0.0

    # -- time and end ------------------------------------------------------------

    def wake_at(self) -> float:
        """When `tick` wants to be called, on the caller's clock."""
        times = [self._pong_by or self._ping_at]
        if self._noop_at:
            times.append(self._noop_at)
        if self.upgrade is not Upgrade.NONE:
            times.append(self._upgrade_by)
        return min(times)

    def tick(self, now: float, *, fair: bool = True) -> None:
        """Do what is due: send a ping, end a silent session, release a poll, drop a probe.

        ``fair``: nothing of the peer's can be there that has not been received, so its
        silence says something.
        """
        if self._pong_by and now >= self._pong_by:
            if fair:
                self.end("ping timeout")
        elif not self._pong_by and now >= self._ping_at:
            self._pong_by = now + self.options.ping_timeout
            if self.state is State.OPEN:
                # Before what waits, for it is no message: a poll carries some packets
                # only, and behind a long queue it would come too late for a client that
                # does nothing but read.
                self._outbox.insert(0, PING)
                self.queued += len(PING)
        if self._noop_at and now >= self._noop_at:
            self._noop_at = now + NOOP_DELAY_S
            if self.poll_waits and not self._outbox:
                self._queue(NOOP)
        if fair and self.upgrade is not Upgrade.NONE and now >= self._upgrade_by:
            self.stop_probe()

    @property
    def deadline(self) -> float:
        """When the client's silence ends the session, on the caller's clock.

        What comes later is too late, even if it comes before `tick` has been called.
        """
        return self._pong_by or self._ping_at + self.options.ping_timeout

    def forgive(self, now: float) -> None:
        """We don't read, so a pong may be there unread: take it as having come.

        Called now and then while nothing is read, it keeps the pings going, which
        the client wants to see; its silence says nothing about it.
        """
        if self.revision.client_pings:
            self._expect_ping(now)
            return
        if self._pong_by:
            self._pong_by = 0.0
            self._ping_at += self.options.ping_interval
        self._ping_at = max(self._ping_at, now)

    def close(self) -> None:
        """Close from our side: queue the close packet behind what waits."""
        if self.state is State.OPEN:
            self.state = State.CLOSING
            self._queue(CLOSE)

    def end(self, reason: str) -> None:
        """Note that the session is over, now and without another word."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.closed_because = reason


class BadPayload(RemoteProtocolError):
    """A payload with a bad packet; ``messages`` are those that came before it."""

    def __init__(self, message: str, messages: list[Packet]) -> None:
        super().__init__(message, BAD_REQUEST)
        self.messages = messages


def encode_for_polling(packet: Packet) -> str:
    """A packet as a polling payload spells it: text as it is, bytes as base64."""
    if isinstance(packet, bytes):
        return BINARY + base64.b64encode(packet).decode()
    return packet


def _polled_size(packet: Packet) -> int:
    """How many characters `encode_for_polling` makes of a packet."""
    size = len(packet)
    return size if isinstance(packet, str) else 1 + (size + 2) // 3 * 4


def _from_base64(packet: str) -> bytes:
    try:
        return decode_binary(packet[len(BINARY) :])
    except ValueError:
        what = "bad base64 in a binary packet (Engine.IO 4, HTTP long-polling)"
        raise RemoteProtocolError(what, BAD_REQUEST) from None


def decode_binary(text: str) -> bytes:
    """What a binary packet's base64 stands for. Raises ValueError for what is none.

    The reference accepts base64 without its padding.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
