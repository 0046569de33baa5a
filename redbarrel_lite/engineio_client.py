r"""Engine.IO, the client's side, without I/O: what our tests' client and `connect` speak.

What it implements: the other half of Engine.IO protocol 4: the handshake read, packets
and polling payloads both ways, the answers to pings, the two steps of an upgrade. What
it leaves out: protocol 3. It is as strict as `engineio`: a server that breaks the
document is told of, not understood.

In one line::

    session = Session(POLLING); messages = session.receive_payload('0{"sid":...}', now)

The client's part of a move from polling to WebSocket, which loses nothing because
neither side speaks on both transports at once::

    start_probe    -> 2probe    on the new WebSocket
    receive_probe  <- 3probe    from here on `may_poll` and `may_post` are False: what is
                                under way is awaited (the server answers it with 6)
    finish_upgrade -> 5         and what has been queued meanwhile behind it

Like the server's half it owns no clock: the calls that depend on the time are told it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from .engineio import (
    BINARY,
    CLOSE,
    MESSAGE,
    NOOP,
    OPEN,
    PING,
    POLLING,
    PONG,
    PROBE,
    REVISION_4,
    SEPARATOR,
    UPGRADE,
    WEBSOCKET,
    Packet,
    Upgrade,
    decode_binary,
    encode_for_polling,
)
from .errors import LocalProtocolError, RemoteProtocolError, show

# Why a session has ended, in the words of the reference client.
TRANSPORT_CLOSE: Final = "transport close"
TRANSPORT_ERROR: Final = "transport error"
PING_TIMEOUT: Final = "ping timeout"
PARSE_ERROR: Final = "parse error"
FORCED_CLOSE: Final = "forced close"

_HANDSHAKE: Final = "Engine.IO 4, Handshake"


class Handshake(NamedTuple):
    """What the server's first packet says (section "Handshake"), in seconds and bytes."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int


class Session:
    """One session as its client sees it.

    ``handshake`` is None until the server's first packet, ``closed_because`` until the end.
    """

    __slots__ = (
        "_is_closing",
        "_outbox",
        "_ping_by",
        "closed_because",
        "handshake",
        "transport",
        "upgrade",
    )

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.handshake: Handshake | None = None
        self.upgrade = Upgrade.NONE
        self.closed_because: str | None = None
        self._outbox: list[Packet] = []
        self._ping_by = 0.0
        self._is_closing = False

    # -- from the server -------------------------------------------------------

    def receive(self, packet: Packet, now: float) -> Packet | None:
        """Take one packet of the transport; return its message, if it is one.

        Raises `RemoteProtocolError`, and ends the session, for what no server may send.
        """
        if self.closed_because is not None:
            return None
        if self.handshake is None:
            self._open(packet, now)
            return None
        if isinstance(packet, bytes):
            return packet
        kind = packet[:1]
        if kind == MESSAGE:
            return packet[1:]
        if kind == BINARY and self.transport == POLLING:
            return self._binary(packet[1:])
        if packet == PING:
            self._ping_by = now + self._patience(self.handshake)
            self._outbox.append(PONG)
        elif packet == CLOSE:
            self.end(TRANSPORT_CLOSE)
        elif packet != NOOP:
            raise self._bad(f"bad Engine.IO packet {show(packet, 20)} ({REVISION_4.encoding})")
        return None

    def receive_payload(self, payload: str, now: float) -> list[Packet]:
        """Take the answer to a poll; return the messages in it."""
        received = (self.receive(packet, now) for packet in payload.split(SEPARATOR))
        return [message for message in received if message is not None]

    def _open(self, packet: Packet, now: float) -> None:
        if not isinstance(packet, str) or packet[:1] != OPEN:
            what = f"the first packet is no handshake: {show(packet, 40)}"
            raise self._bad(f"{what} ({_HANDSHAKE})")
        try:
            self.handshake = handshake_of(json.loads(packet[1:]))
        except (ValueError, RecursionError) as error:
            what = f"bad handshake {show(packet, 200)}: {error} ({_HANDSHAKE})"
            raise self._bad(what) from None
        self._ping_by = now + self._patience(self.handshake)

    def _binary(self, text: str) -> bytes:
        try:
            return decode_binary(text)
        except ValueError:
            what = "bad base64 in a binary packet (Engine.IO 4, HTTP long-polling)"
            raise self._bad(what) from None

    def _bad(self, message: str) -> RemoteProtocolError:
        self.end(PARSE_ERROR)
        return RemoteProtocolError(message)

    # -- to the server ---------------------------------------------------------

    def send(self, messages: Iterable[Packet]) -> None:
        """Queue messages, for the next POST or for the WebSocket.

        Raises ValueError for a text that would come apart in a payload, which has no
        escape for the separator of its packets.
        """
        for message in messages:
            if isinstance(message, bytes):
                self._outbox.append(message)
            elif SEPARATOR in message:
                raise ValueError("U+001E parts the packets of a POST: send it in bytes, or escaped")
            else:
                self._outbox.append(MESSAGE + message)

    def send_packet(self, packet: Packet) -> None:
        """Queue a packet as it is, right or wrong: for who wants to see what a server says."""
        self._outbox.append(packet)

    def close(self) -> None:
        """Queue the packet that ends the session, behind what waits, and ask for no more."""
        self._outbox.append(CLOSE)
        self._is_closing = True

    @property
    def may_poll(self) -> bool:
        """Whether a GET may be sent now (one at a time, and none during an upgrade)."""
        return self._may_ask() and not self._is_closing

    @property
    def may_post(self) -> bool:
        """Whether there is something for a POST now (one at a time)."""
        return self._may_ask() and bool(self._outbox)

    def _may_ask(self) -> bool:
        is_open = self.handshake is not None and self.closed_because is None
        return is_open and self.transport == POLLING and self.upgrade is not Upgrade.PROBED

    def take_payload(self) -> str:
        """The body of a POST: as many packets as the server takes, oldest first."""
        assert self.handshake is not None
        taken: list[str] = []
        size = -len(SEPARATOR)
        for packet in self._outbox:
            text = encode_for_polling(packet)
            size += len(SEPARATOR) + len(text.encode())
            # What is too large by itself goes out all the same: the server's no is its own.
            if taken and size > self.handshake.max_payload:
                break
            taken.append(text)
        del self._outbox[: len(taken)]
        return SEPARATOR.join(taken)

    def take_packets(self) -> list[Packet]:
        """What the WebSocket has to carry now; nothing before it is the transport."""
        if self.transport != WEBSOCKET:
            return []
        packets, self._outbox = self._outbox, []
        return packets

    # -- upgrade -----------------------------------------------------------------

    def start_probe(self) -> str:
        """A WebSocket with this sid is open: its first packet.

        Raises `LocalProtocolError` where the server's handshake offers no upgrade.
        """
        offered = self.handshake is not None and WEBSOCKET in self.handshake.upgrades
        if not offered or self.transport != POLLING or self.upgrade is not Upgrade.NONE:
            raise LocalProtocolError("this session offers no upgrade to a WebSocket now")
        self.upgrade = Upgrade.STARTED
        return PING + PROBE

    def receive_probe(self, packet: Packet) -> None:
        """Take the answer to the probe. Raises `RemoteProtocolError` for any other packet."""
        if packet != PONG + PROBE or self.upgrade is not Upgrade.STARTED:
            what = f"bad answer to a probe: {show(packet, 20)} (Engine.IO 4, Upgrade)"
            raise RemoteProtocolError(what)
        self.upgrade = Upgrade.PROBED

    def finish_upgrade(self) -> str:
        """Neither GET nor POST is under way any more: the packet that moves the session."""
        self.upgrade = Upgrade.NONE
        self.transport = WEBSOCKET
        return UPGRADE

    def stop_probe(self) -> None:
        """The WebSocket has gone before it became the transport: back to polling."""
        self.upgrade = Upgrade.NONE

    # -- time and end ------------------------------------------------------------

    @staticmethod
    def _patience(handshake: Handshake) -> float:
        return handshake.ping_interval + handshake.ping_timeout

    def wake_at(self) -> float:
        """When `tick` wants to be called; before the handshake, never."""
        return self._ping_by if self.handshake is not None else float("inf")

    def tick(self, now: float) -> None:
        """End a session whose server is silent: it owes a ping every so often."""
        if now >= self.wake_at():
            self.end(PING_TIMEOUT)

    def end(self, reason: str) -> None:
        """Note that the session is over; the first reason stays."""
        if self.closed_because is None:
            self.closed_because = reason


_NUMBERS: Final = ("pingInterval", "pingTimeout", "maxPayload")


def handshake_of(data: Any) -> Handshake:
    """The handshake in the JSON of an OPEN packet.

    Raises ValueError for one that lacks what the document promises.
    """
    if not isinstance(data, dict):
        raise ValueError("it is no object")
    sid, upgrades = data.get("sid"), data.get("upgrades")
    if not isinstance(sid, str) or not sid:
        raise ValueError("sid is missing, or no text")
    if not isinstance(upgrades, list):
        raise ValueError("upgrades is missing, or no list")
    numbers: dict[str, Any] = {name: data.get(name) for name in _NUMBERS}
    for name, number in numbers.items():
        if type(number) not in (int, float) or not 0 <= number < math.inf:
            raise ValueError(f"{name} is missing, or no number from 0 up")
    interval, timeout, most = numbers.values()
    return Handshake(sid, tuple(upgrades), interval / 1000, timeout / 1000, int(most))
