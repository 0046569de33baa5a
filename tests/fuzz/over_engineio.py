"""Engine.IO payloads: the bodies of a client's POSTs, in both revisions.

The laws: a payload gives what its parts give one after the other; what is written is
read as it was; a session that has ended says nothing more; what a session is given to
send comes out of its polls, all of it, in order, in payloads of the agreed size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from typing import ClassVar, Final

from redbarrel_lite.engineio import (
    MAX_PACKETS_IN_PAYLOAD,
    MESSAGE,
    POLLING,
    SEPARATOR,
    WEBSOCKET,
    BadPayload,
    Options,
    Packet,
    Revision,
    Revision4,
    Session,
    State,
)
from redbarrel_lite.engineio_v3 import Revision3, from_form, script_of
from redbarrel_lite.errors import RemoteProtocolError

from .laws import Target, blamed, chance_of, gist, hold, same, vectors

Outcome = tuple[list[Packet], "tuple[str, int] | None", State]

REVISIONS: Final[list[Revision]] = [Revision4(), Revision3(), Revision3(base64=True)]
SMALL: Final = Options(max_payload=60)


class Payloads(Target):
    """The body of a POST."""

    name: ClassVar[str] = "payloads"
    tokens = (
        *(b"\x1e", b"4", b"b", b"2", b"3", b"1", b"5", b"6", b"0", b"4a", b"bAAE=", b"bAAE", b"b4"),
        *(b"\x1e4", b"\x1eb", "2:🐟".encode(), "4€".encode(), b"\xef\xbc\x94", b"\xed\xa0\x80"),
        *(b"2probe", b"3probe", b"=", b"==", b"-", b"_", b"+", b"/", b"\n", b" ", b"\\n", b"\\\\n"),
        *(b"1:4", b"2:4a", b"0:", b"3:b4", b"99:", b"10:b4AQIDBA==", b"00000000001:4"),
        *(b"\x00\x02\xff4a", b"\x01\x05\xff\x04\x01\x02\x03\x04", b"\x00\x09\x09\xff", b"\xff"),
        b"4\x1e" * 600,
    )
    rooms = "engineio engineio_v3"

    def seeds(self) -> Iterator[bytes]:
        new, old = vectors("engineio"), vectors("engineio_v3")
        for row in [*new["payloads"], *new["refused_payloads"], *new["encoded"]]:
            yield row["payload"].encode()
        for rows in old.values():
            for row in rows if isinstance(rows, list) else ():
                yield from (bytes.fromhex(row["hex"]),) if "hex" in row else ()
                yield from (row["text"].encode(),) if "text" in row else ()

    def shape(self, chance: random.Random, parts: Callable[[], bytes]) -> bytes:
        """Some payload of some packets."""
        packets = some_packets(parts(), chance)
        revision = chance.choice(REVISIONS)
        payload = revision.join(packets)
        return payload if isinstance(payload, bytes) else payload.encode(errors="replace")

    def check(self, data: bytes) -> Hashable:
        outcomes: list[Outcome] = [received(Revision3(), data)]
        try:
            text = data.decode()
        except UnicodeDecodeError:
            pass  # the transport refuses it
        else:
            outcomes += [received(Revision3(), text), received(Revision4(), text)]
            check_parts(text, outcomes[-1])
            check_form(text)
        check_written(data)
        check_polls(data)
        return tuple((len(got) > 0, fault and gist(fault[0])) for got, fault, _ in outcomes)


def received(revision: Revision, payload: Packet) -> Outcome:
    """Messages, fault and state of a session that gets a payload."""
    session = Session("sid", POLLING, Options(), 0.0, revision)
    fault = None
    try:
        messages = session.receive_payload(payload, 1.0)
    except BadPayload as bad:
        messages, fault = bad.messages, blamed(bad)
        hold(session.state is State.CLOSED, "a bad payload ends the session")
    if session.state is not State.OPEN:
        same(
            session.receive_payload(revision.join(["4again"]), 2.0),
            [],
            "nothing is received after the end",
        )
        same(session.state, State.CLOSED, "the end is for good")
    hold(sum(map(len, messages)) <= len(payload), "messages are no longer than their payload")
    return messages, fault, session.state


def check_parts(text: str, outcome: Outcome) -> None:
    """Cut between two packets, and sent as two payloads, it comes to the same."""
    marks = [at for at, one in enumerate(text) if one == SEPARATOR]
    if not marks or len(marks) >= MAX_PACKETS_IN_PAYLOAD:
        return
    cut = chance_of(text.encode()).choice(marks)
    first = received(Revision4(), text[:cut])
    if first[2] is State.OPEN:
        rest, fault, state = received(Revision4(), text[cut + 1 :])
        first = first[0] + rest, fault, state
    same(first, outcome, "two payloads are worth one")


def check_form(text: str) -> None:
    """What a script hands over, and what a form holds."""
    script = script_of(text, "0")
    hold(script.isascii() and "\n" not in script, "a script is one line of ASCII")
    escaped = text.replace("\\n", "\\\\n").replace("\n", "\\n")
    if "\\\\n" not in text and "\\\n" not in text:
        same(from_form(escaped), text, "a form holds the payload")


def some_packets(data: bytes, chance: random.Random) -> list[Packet]:
    """Messages made of some bytes."""
    packets: list[Packet] = []
    while data and len(packets) < 30:
        size = chance.choice([0, 1, 2, 9, 10, 100])
        part, data = data[:size], data[max(1, size) :]
        is_text = chance.random() < 0.6
        packets.append(MESSAGE + part.decode(errors="replace") if is_text else part)
    return packets or [MESSAGE]


def content_of(packets: list[Packet]) -> list[Packet]:
    return [one if isinstance(one, bytes) else one[1:] for one in packets]


def check_written(data: bytes) -> None:
    """What is written is read as it was."""
    packets = some_packets(data, chance_of(data))
    wanted = content_of(packets), None, State.OPEN
    for revision in (Revision3(), Revision3(base64=True)):
        same(received(revision, revision.join(packets)), wanted, "revision 3 is read as written")
        for packet in packets:
            same(revision.unpack(revision.pack(packet)), packet, "a packet is read as written")
    # In text of revision 4, the separator has no place: JSON escapes it.
    apart: list[Packet] = [
        one.replace(SEPARATOR, "") if isinstance(one, str) else one for one in packets
    ]
    wanted = content_of(apart), None, State.OPEN
    same(received(Revision4(), Revision4().join(apart)), wanted, "revision 4 is read as written")


def check_polls(data: bytes) -> None:
    """All that is sent comes, in order, in payloads that are not too large."""
    chance = chance_of(data)
    sent = [
        one.replace(SEPARATOR, "") if isinstance(one, str) else one
        for one in content_of(some_packets(data, chance))
    ]
    session = Session("sid", POLLING, SMALL, 0.0)
    session.start_poll()
    session.poll_answer()  # the handshake
    session.send(sent)
    kept = sum(len(one) + isinstance(one, str) for one in sent)
    got: list[Packet] = []
    while session._outbox:
        same(session.queued, kept, "what waits is counted")
        session.start_poll()
        payload = session.poll_answer()
        hold(isinstance(payload, str), "a poll is answered with a text")
        packets = received(Revision4(), str(payload))[0]
        hold(len(str(payload)) <= SMALL.max_payload or len(packets) == 1, "a payload has its size")
        kept -= sum(len(one) + isinstance(one, str) for one in packets)
        got += packets
    same(got, sent, "all that is sent comes")
    check_websocket(data)


def check_websocket(data: bytes) -> None:
    """Over a WebSocket each packet comes by itself, and a bad one is the last."""
    session = Session("sid", WEBSOCKET, Options(), 0.0)
    try:
        session.receive(data.decode(errors="replace"), 1.0)
    except RemoteProtocolError as error:
        blamed(error)
        hold(session.state is State.CLOSED, "a bad packet ends the session")
