"""`wsproto` alone: what goes in, what comes out, with no connection anywhere.

Every input is fed whole and a byte at a time, by `segments`. The wire examples
are in vectors/wsproto.json: what the client sends (hexadecimal), the events that
it makes, the close code of the fault that ends them, or null, and the frames
that the server must answer with by itself (the close frame of a fault apart).
Where "deflate" is true, that had been agreed on.
"""

from __future__ import annotations

import functools
import json
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from segments import same_verdict

from redbarrel_lite import wsproto
from redbarrel_lite.deflate import Agreement, Inflater
from redbarrel_lite.errors import LocalProtocolError, RemoteProtocolError
from redbarrel_lite.wsproto import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    GOING_AWAY,
    INVALID_PAYLOAD,
    MAX_CONTROL_BYTES,
    MESSAGE_TOO_BIG,
    NO_STATUS_RECEIVED,
    NORMAL_CLOSURE,
    PING,
    PONG,
    PROTOCOL_ERROR,
    RSV1,
    TEXT,
    Close,
    Connection,
    Event,
    Ping,
    Pong,
    State,
    binary_frame,
    message_frame,
    ping_frame,
    text_frame,
    unmask,
)

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "wsproto.json").read_text(encoding="utf-8")
)
KEY = bytes.fromhex("37fa213d")


def masked(payload: bytes, key: bytes = KEY) -> bytes:
    """RFC 6455 5.3, to the letter and a byte at a time."""
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def header(opcode: int, length: int, *, final: bool = True, key: bytes = KEY) -> bytes:
    first = bytes([opcode | (FIN if final else 0)])
    if length < 126:
        return first + bytes([0x80 | length]) + key
    if length < 1 << 16:
        return first + b"\xfe" + length.to_bytes(2, "big") + key
    return first + b"\xff" + length.to_bytes(8, "big") + key


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, key: bytes = KEY) -> bytes:
    """A client's frame."""
    return header(opcode, len(payload), final=final, key=key) + masked(payload, key)


def close_payload(frames: list[bytes]) -> tuple[int, bytes]:
    """Code and reason of the only frame there is, which must be a server's close frame."""
    (only,) = frames
    assert only[0] == FIN | CLOSE
    assert only[1] == len(only) - 2 <= MAX_CONTROL_BYTES
    return int.from_bytes(only[2:4], "big"), only[4:]


def judge(
    pieces: Iterable[bytes], limit: int = 1_000_000, fragments: int = 1024, *, deflate: bool = False
) -> tuple[list[object], list[str]]:
    """What a server sees: events in the words of the vectors, and its replies."""
    connection = Connection(limit, fragments, Inflater if deflate else None)
    seen: list[object] = []
    for piece in pieces:
        events = connection.receive(piece)
        while connection.behind:
            events += connection.receive(b"")
        for event in events:
            assert not (seen and isinstance(seen[-1], int)), "an event after a fault"
            seen.append(in_words(event))
    return seen, [reply.hex() for reply in connection.replies]


def in_words(event: Event) -> object:
    if isinstance(event, str):
        return {"text": event}
    if isinstance(event, bytes):
        return {"binary": event.hex()}
    if isinstance(event, Ping):
        return {"ping": event.payload.hex()}
    if isinstance(event, Pong):
        return {"pong": event.payload.hex()}
    if isinstance(event, Close):
        return {"close": event.code, "reason": event.reason}
    return event.code


def verdict(
    data: bytes, limit: int = 1_000_000, fragments: int = 1024, *, deflate: bool = False
) -> list[object]:
    """The events, after the replies were found to be the same in all segmentations too."""

    def events(pieces: list[bytes]) -> list[object]:
        return judge(pieces, limit, fragments, deflate=deflate)[0]

    def replies(pieces: list[bytes]) -> list[str]:
        return judge(pieces, limit, fragments, deflate=deflate)[1]

    trailing = frame(TEXT, b"trailing")
    same_verdict(replies, data, trailing)
    return same_verdict(events, data, trailing)


# -- the wire examples ---------------------------------------------------------------


@pytest.mark.parametrize("claim", {row["claim"]: None for row in VECTORS})
def test_wire_examples_get_one_verdict_however_they_are_cut(claim: str) -> None:
    for row in (row for row in VECTORS if row["claim"] == claim):
        data = bytes.fromhex(row["frames"])
        deflate = row.get("deflate", False)
        fault = [] if row["fault"] is None else [row["fault"]]
        assert verdict(data, deflate=deflate) == row["events"] + fault, row
        replies = [bytes.fromhex(reply) for reply in judge([data], deflate=deflate)[1]]
        if fault:
            assert close_payload(replies[-1:])[0] == row["fault"], row
            del replies[-1]
        assert replies == [bytes.fromhex(reply) for reply in row["replies"]], row


# -- lengths and limits ----------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 4095, 4096, 4097, 65535, 65536])
def test_every_form_of_length_is_read(length: int) -> None:
    """RFC 6455 5.2."""
    payload = bytes(index % 127 for index in range(length))
    for cut in (0, 1, 3, 7, 13, len(payload) // 2):
        for opcode, message in ((BINARY, {"binary": payload.hex()}), (TEXT, payload.decode())):
            data = frame(opcode, payload)
            expected = message if isinstance(message, dict) else {"text": message}
            assert judge([data[:cut], data[cut:]]) == ([expected], [])


@pytest.mark.parametrize(
    ("length", "head"), [(125, "817d"), (126, "817e007e"), (65535, "817effff")]
)
def test_every_form_of_length_is_written(length: int, head: str) -> None:
    assert text_frame("x" * length) == bytes.fromhex(head) + b"x" * length
    assert binary_frame(b"x" * length)[1:] == bytes.fromhex(head)[1:] + b"x" * length


def test_longest_form_of_length_is_written() -> None:
    assert text_frame("x" * 65536)[:10] == bytes.fromhex("817f0000000000010000")
    assert binary_frame(b"")[:10] == bytes.fromhex("8200")


@pytest.mark.parametrize("limit", [0, 1, 10, 125, 126, 200])
def test_message_of_exactly_the_limit_passes(limit: int) -> None:
    text = {"text": "x" * limit}
    assert verdict(frame(TEXT, b"x" * limit), limit) == [text]
    halves = frame(TEXT, b"x" * (limit // 2), final=False) + frame(
        CONTINUATION, b"x" * (limit - limit // 2)
    )
    assert verdict(halves, limit)[0] == text


@pytest.mark.parametrize("limit", [0, 1, 10, 125, 126, 200])
def test_message_over_the_limit_is_1009(limit: int) -> None:
    """RFC 6455 7.4.1."""
    assert verdict(frame(TEXT, b"x" * (limit + 1)), limit) == [MESSAGE_TOO_BIG]
    assert verdict(header(BINARY, limit + 1)[:-4], limit) == [MESSAGE_TOO_BIG]
    parts = frame(TEXT, b"x" * limit, final=False) + frame(CONTINUATION, b"x", final=False)
    assert verdict(parts, limit) == [MESSAGE_TOO_BIG]


def test_limit_is_for_each_message_by_itself() -> None:
    data = (frame(TEXT, b"xx", final=False) + frame(CONTINUATION, b"x")) * 3
    assert verdict(data, 3) == [{"text": "xxx"}] * 3


def test_as_many_fragments_as_the_limit_pass() -> None:
    data = frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 2 + frame(CONTINUATION)
    assert verdict(data * 2, fragments=4) == [{"text": ""}] * 2


def test_one_fragment_too_many_is_1009() -> None:
    """A million empty ones cost work, and no message ever comes of them."""
    data = frame(TEXT, final=False) + frame(CONTINUATION, final=False) * 4
    assert verdict(data, fragments=4) == [MESSAGE_TOO_BIG]


def test_trickled_message_is_kept_once() -> None:
    """One bytearray, not a list with an object for each byte."""
    size = 10_000
    data = frame(BINARY, bytes(size))
    connection = Connection()
    pieces = [data[at : at + 1] for at in range(len(data) - 1)]
    tracemalloc.start()
    for piece in pieces:
        assert connection.receive(piece) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 2 * size
    assert connection.receive(data[-1:]) == [bytes(size)]


def test_message_that_will_not_end_is_let_go() -> None:
    connection = Connection()
    connection.receive(frame(BINARY, bytes(100_000), final=False))
    connection.receive(frame(CLOSE))
    assert not connection._message


# -- compressed messages (RFC 7692 6) -----------------------------------------------------


def deflated(data: bytes, level: int = 6) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_limit_is_for_what_a_compressed_message_was() -> None:
    for payload in (b"x" * 2000, random.Random(0).randbytes(2000)):
        data = frame(BINARY | RSV1, deflated(payload))
        assert verdict(data, 2000, deflate=True) == [{"binary": payload.hex()}]
        assert verdict(data, 1999, deflate=True) == [MESSAGE_TOO_BIG]


def test_limit_stops_a_compressed_message_in_fragments() -> None:
    data = deflated(bytes(1_000_000))
    frames = frame(BINARY | RSV1, data[:50], final=False)
    frames += b"".join(frame(CONTINUATION, bytes([one]), final=False) for one in data[50:500])
    assert verdict(frames, 100_000, deflate=True) == [MESSAGE_TOO_BIG]
    assert verdict(frames, deflate=True, fragments=40) == [MESSAGE_TOO_BIG]


def test_no_more_is_decompressed_at_once_than_a_message_may_have() -> None:
    connection = Connection(1000, inflater=Inflater)
    bombs = frame(BINARY | RSV1, deflated(bytes(900))) * 50 + frame(TEXT, b"end")
    events = connection.receive(bombs)
    taken = [*events]
    while connection.behind:
        assert events == [bytes(900)] * 2  # which is over the limit, and one less would not be
        events = connection.receive(b"")
        taken += events
    assert taken == [bytes(900)] * 50 + ["end"]
    assert connection.receive(frame(TEXT, b"on")) == ["on"]


def test_first_fault_of_a_compressed_text_is_the_one_that_counts() -> None:
    """However the network has cut it: bad UTF-8 stands before the limit, or behind it."""
    for text, code in ((b"\xff" + b"x" * 5000, 1007), (b"x" * 5000 + b"\xff", 1009)):
        data = frame(TEXT | RSV1, deflated(text))
        assert verdict(data, 1000, deflate=True) == [code]


def test_compressed_frame_that_can_only_be_too_large_is_1009_at_once() -> None:
    """Its header says so: nothing of it need be kept."""
    allowed = 1000 + 125 + 64
    assert verdict(header(BINARY | RSV1, allowed), 1000, deflate=True) == []
    assert verdict(header(BINARY | RSV1, allowed + 1)[:-4], 1000, deflate=True) == [MESSAGE_TOO_BIG]
    assert verdict(header(BINARY | RSV1, 1 << 40)[:-4], deflate=True) == [MESSAGE_TOO_BIG]
    parts = frame(TEXT | RSV1, deflated(b"x"), final=False) + header(CONTINUATION, allowed + 1)
    assert verdict(parts, 1000, deflate=True) == [MESSAGE_TOO_BIG]


def test_message_is_compressed_if_that_pays() -> None:
    compress = Agreement().compress
    for message in ("é" * 2000, b"x" * 4000):
        sent = message_frame(message, compress)
        assert sent[0] == FIN | RSV1 | (TEXT if isinstance(message, str) else BINARY)
        assert len(sent) < 100
        assert sent[1] == len(sent) - 2
        client = sent[:1] + bytes([sent[1] | 0x80]) + KEY + masked(sent[2:])
        assert Connection(inflater=Inflater).receive(client) == [message]
    for message in ("short", b"short", random.Random(0).randbytes(4000)):
        assert message_frame(message, compress) == message_frame(message)
    assert message_frame("a\ud800b" * 1000, compress) == message_frame("a\ufffdb" * 1000, compress)


def test_message_frame_is_that_of_its_type() -> None:
    assert message_frame("é") == text_frame("é")
    assert message_frame(b"e") == binary_frame(b"e")


# -- text --------------------------------------------------------------------------------


def test_bad_utf8_is_refused_at_its_first_byte() -> None:
    """RFC 6455 8.1, as early as can be: long before the frame, or the message, is over."""
    good, bad = "κόσμε".encode(), b"\xf4\x90\x80\x80"
    data = header(TEXT, 100) + masked(good + bad)
    connection = Connection()
    for at in range(len(header(TEXT, 100) + good) + 1):
        assert connection.receive(data[at : at + 1]) == []
    (fault,) = connection.receive(data[len(header(TEXT, 100) + good) + 1 :][:1])
    assert isinstance(fault, RemoteProtocolError)
    assert fault.code == INVALID_PAYLOAD


def test_fault_is_explained_in_the_close_frame() -> None:
    connection = Connection()
    (fault,) = connection.receive(b"\x81\x00")
    assert close_payload(connection.replies) == (PROTOCOL_ERROR, str(fault).encode())
    assert str(fault) == "client frame is not masked (RFC 6455 5.1)"


def test_lone_surrogate_is_sent_as_a_replacement() -> None:
    """As a browser does: one bad text of a handler must not end the connection."""
    assert text_frame("a\ud800b") == b"\x81\x05a\xef\xbf\xbdb"
    assert text_frame("\ud83d\ude00") == text_frame("\U0001f600")


# -- control frames ------------------------------------------------------------------------


def test_ping_has_at_most_125_bytes() -> None:
    """RFC 6455 5.5."""
    assert ping_frame(b"x" * 125) == b"\x89\x7d" + b"x" * 125
    assert ping_frame() == b"\x89\x00"
    with pytest.raises(LocalProtocolError, match=r"^ping of 126 bytes \(RFC 6455 5\.5\)$"):
        ping_frame(b"x" * 126)


def test_control_frame_waits_until_it_is_whole() -> None:
    connection = Connection()
    data = frame(PING, b"hello")
    assert connection.receive(data[:-1]) == []
    assert connection.receive(data[-1:]) == [Ping(b"hello")]


# -- the closing handshake (RFC 6455 7) -------------------------------------------------------


def test_peers_close_ends_the_reading() -> None:
    connection = Connection()
    assert connection.receive(frame(CLOSE, b"\x03\xe8bye")) == [Close(NORMAL_CLOSURE, "bye")]
    assert connection.state is State.CLOSED
    for late in (frame(TEXT, b"a"), frame(PING), frame(CLOSE), b"\xff\xff"):
        assert connection.receive(late) == []
    assert connection.replies == [b"\x88\x02\x03\xe8"]


def test_our_close_is_said_once() -> None:
    connection = Connection()
    assert connection.close(GOING_AWAY, "bye") == b"\x88\x05\x03\xe9bye"
    assert connection.state is State.CLOSING
    assert connection.close() == b""


def test_answer_to_our_close_is_not_answered() -> None:
    """RFC 6455 5.5.1: one close frame each."""
    connection = Connection()
    connection.close()
    assert connection.receive(frame(CLOSE, b"\x03\xe8")) == [Close(NORMAL_CLOSURE, "")]
    assert connection.state is State.CLOSED
    assert connection.replies == []


def test_messages_are_read_until_the_peer_closes_too() -> None:
    connection = Connection()
    connection.close()
    assert connection.receive(frame(TEXT, b"a") + frame(PING, b"b")) == ["a", Ping(b"b")]
    assert connection.replies == []  # nothing follows our close frame (RFC 6455 5.5.1)


def test_fault_after_our_close_sends_nothing() -> None:
    connection = Connection()
    connection.close()
    (fault,) = connection.receive(frame(0x3))
    assert isinstance(fault, RemoteProtocolError)
    assert connection.state is State.ERROR
    assert connection.replies == []


def test_nothing_is_said_or_read_after_a_fault() -> None:
    connection = Connection()
    connection.receive(frame(0x3))
    assert connection.state is State.ERROR
    assert connection.receive(frame(TEXT, b"a")) == []
    assert connection.close() == b""
    assert len(connection.replies) == 1


def test_close_without_a_code_is_echoed_without_one() -> None:
    """RFC 6455 7.1.5: 1005 stands for it, and never travels."""
    connection = Connection()
    assert connection.receive(frame(CLOSE)) == [Close(NO_STATUS_RECEIVED, "")]
    assert connection.replies == [b"\x88\x00"]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_code_that_must_not_travel_is_not_sent(code: int) -> None:
    """RFC 6455 7.4."""
    connection = Connection()
    with pytest.raises(LocalProtocolError, match=rf"^close code {code} must not be sent \(RFC"):
        connection.close(code)
    assert connection.state is State.OPEN


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, "x" * 123),
        ("x" * 200, "x" * 123),
        ("x" + "é" * 61, "x" + "é" * 61),
        ("é" * 62, "é" * 61),
        ("€" * 42, "€" * 41),
        ("xx" + "\U0001f600" * 31, "xx" + "\U0001f600" * 30),
        ("\ud800", "?"),
    ],
)
def test_reason_is_cut_between_two_characters(reason: str, sent: str) -> None:
    """RFC 6455 5.5: 125 bytes, two of which are the code."""
    assert close_payload([Connection().close(NORMAL_CLOSURE, reason)])[1] == sent.encode()


# -- masking and properties ---------------------------------------------------------------------


@pytest.fixture
def chance() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize("length", [*range(10), 125, 126, 4095, 4096, 4097, 8192, 10_001])
def test_masking_is_what_the_rfc_says(length: int, chance: random.Random) -> None:
    """RFC 6455 5.3."""
    payload = chance.randbytes(length)
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", chance.randbytes(4)):
        assert unmask(payload, key) == masked(payload, key)
        assert unmask(unmask(payload, key), key) == payload


def any_text(chance: random.Random) -> str:
    return "".join(chance.choices("aé€\U0001f600\0\ufeff", k=chance.randrange(60)))


def any_message(chance: random.Random) -> tuple[bytes, str | bytes]:
    """A message in frames, with control frames between them."""
    message = any_text(chance) if chance.random() < 0.5 else chance.randbytes(chance.randrange(300))
    rest = message.encode() if isinstance(message, str) else message
    opcode = TEXT if isinstance(message, str) else BINARY
    data = b""
    while True:
        key = chance.randbytes(4)
        if chance.random() < 0.5:
            return data + frame(opcode, rest, key=key), message
        size = chance.randrange(len(rest) + 1)
        data += frame(opcode, rest[:size], final=False, key=key)
        data += frame(chance.choice([PING, PONG]), rest[:10], key=key)
        opcode, rest = CONTINUATION, rest[size:]


def cut_at_random(chance: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(20)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def test_messages_survive_any_cutting(chance: random.Random) -> None:
    for _ in range(60):
        messages = [any_message(chance) for _ in range(chance.randrange(1, 6))]
        data = b"".join(data for data, _ in messages)
        connection = Connection()
        events = [e for piece in cut_at_random(chance, data) for e in connection.receive(piece)]
        got = [event for event in events if isinstance(event, (str, bytes))]
        assert got == [message for _, message in messages]


def test_what_we_send_is_what_a_client_reads(chance: random.Random) -> None:
    """A server's frame, with a mask put on, is a client's frame: so we can read our own."""
    for length in (0, 1, 125, 126, 1000, 65535, 65536):
        text, payload = "é" * (length // 2), chance.randbytes(length)
        for sent, message in ((text_frame(text), text), (binary_frame(payload), payload)):
            size = len(message.encode() if isinstance(message, str) else message)
            data = sent[-size:] if size else b""
            head = sent[: len(sent) - size]
            client = head[:1] + bytes([head[1] | 0x80]) + head[2:] + KEY + masked(data)
            assert Connection().receive(client) == [message]


def test_truncated_message_is_never_complete_and_never_a_fault(chance: random.Random) -> None:
    data, message = any_message(chance)
    for end in range(len(data)):
        assert not [e for e in Connection().receive(data[:end]) if not isinstance(e, (Ping, Pong))]
    assert Connection().receive(data)[-1] == message


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ("83", "reserved opcode 3 (RFC 6455 5.2)"),
        ("c1", "text frame with a reserved bit set (RFC 6455 5.2, RFC 7692 6)"),
        ("8105", "client frame is not masked (RFC 6455 5.1)"),
        ("89fe", "ping frame is fragmented or over 125 bytes (RFC 6455 5.5)"),
        ("0a80", "pong frame is fragmented or over 125 bytes (RFC 6455 5.5)"),
        ("81fe007d", "length 125 is not in its shortest form (RFC 6455 5.2)"),
        ("82ff000000000000ffff", "length 65535 is not in its shortest form (RFC 6455 5.2)"),
        ("82ff8000000000000000", "length with its top bit set (RFC 6455 5.2)"),
        ("8080", "continuation frame without a message (RFC 6455 5.4)"),
        ("0180000000008180", "text frame inside a fragmented message (RFC 6455 5.4)"),
        ("c0", "continuation frame with a reserved bit set (RFC 6455 5.2, RFC 7692 6)"),
        ("0880", "close frame is fragmented or over 125 bytes (RFC 6455 5.5)"),
        ("88810000000003", "close frame with half a code (RFC 6455 5.5.1)"),
        ("88820000000003ed", "close code 1005 must not be sent (RFC 6455 7.4)"),
    ],
)
def test_fault_names_the_frame_and_the_rule(frames: str, fault: str) -> None:
    (told,) = Connection().receive(bytes.fromhex(frames))
    assert isinstance(told, RemoteProtocolError)
    assert (str(told), told.code) == (fault, 1002)


def test_text_that_is_no_utf8_is_1007_and_says_why() -> None:
    (told,) = Connection().receive(bytes.fromhex("818100000000ff"))
    assert isinstance(told, RemoteProtocolError)
    said = str(told), told.code
    assert said == ("text is not UTF-8: invalid start byte (RFC 6455 8.1)", 1007)


def test_names_of_close_codes_are_those_of_the_registry() -> None:
    """IANA, WebSocket Close Code Number Registry, which RFC 6455 7.4.1 begins."""
    assert (wsproto.NORMAL_CLOSURE, wsproto.GOING_AWAY, wsproto.PROTOCOL_ERROR) == (
        1000,
        1001,
        1002,
    )
    assert (wsproto.UNSUPPORTED_DATA, wsproto.INVALID_PAYLOAD) == (1003, 1007)
    assert (wsproto.NO_STATUS_RECEIVED, wsproto.ABNORMAL_CLOSURE) == (1005, 1006)
    assert (wsproto.POLICY_VIOLATION, wsproto.MESSAGE_TOO_BIG) == (1008, 1009)
    assert (wsproto.INTERNAL_ERROR, wsproto.SERVICE_RESTART) == (1011, 1012)


def test_limits_are_a_megabyte_and_1024_fragments_if_nobody_says() -> None:
    connection = Connection()
    assert connection.receive(header(BINARY, 1_000_000)) == []
    (told,) = Connection().receive(header(BINARY, 1_000_001))
    assert isinstance(told, RemoteProtocolError)
    connection = Connection()
    fragments = header(BINARY, 0, final=False) + 1022 * header(CONTINUATION, 0, final=False)
    assert connection.receive(fragments + header(CONTINUATION, 0)) == [b""]
    one_more = header(CONTINUATION, 0, final=False) + header(CONTINUATION, 0)
    (told,) = Connection().receive(fragments + one_more)
    assert isinstance(told, RemoteProtocolError)
    assert told.code == MESSAGE_TOO_BIG


def test_limits_of_lengths_are_within_them() -> None:
    for head, size in (("89fd", 125), ("82fe007e", 126), ("82ff0000000000010000", 65536)):
        (event,) = Connection().receive(bytes.fromhex(head) + bytes(4) + bytes(size))
        assert event == (Ping(bytes(size)) if size == 125 else bytes(size))


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("kind", ["random bytes", "changed frames"])
def test_garbage_gives_faults_only(chance: random.Random, kind: str, deflate: bool) -> None:
    """One verdict whatever the segments, and no other error."""
    for _ in range(200):
        if kind == "random bytes":
            data = chance.randbytes(chance.randrange(1, 60))
        else:
            changed = bytearray(any_message(chance)[0])
            if deflate:
                text = deflated(any_text(chance).encode() * 3)
                changed += frame(TEXT | RSV1, text, key=chance.randbytes(4))
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            data = bytes(changed)
        trickled = [data[at : at + 1] for at in range(len(data))]
        expected, replies = judge([data], 500, 4, deflate=deflate)
        for pieces in (cut_at_random(chance, data), trickled):
            events, others = judge(pieces, 500, 4, deflate=deflate)
            assert events == expected
            # Where two rules are broken at once, 1007 may tell of either.
            assert deflate or others == replies


# -- cost: far above what a busy machine needs, far below quadratic ------------------------------


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.parametrize(
    "data",
    [frame(TEXT, b"x") * 10_000, frame(PING) * 10_000, frame(BINARY, b"x" * 900_000)],
    ids=["texts", "pings", "one long message"],
)
def test_bursts_cost_little(data: bytes) -> None:
    assert cpu_seconds(functools.partial(Connection().receive, data)) < 0.5
