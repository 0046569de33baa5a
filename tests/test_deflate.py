"""`deflate` alone: what is agreed on, and what a compressed message may be.

Messages are fed whole, a byte at a time and in halves, by `segments`.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
import tracemalloc
import zlib

import pytest
from segments import same_verdict

from redbarrel_lite.deflate import MIN_BYTES, Agreement, Inflater, accept
from redbarrel_lite.errors import RemoteProtocolError

TAIL = b"\x00\x00\xff\xff"
# RFC 7692 7.2.3.1 to 7.2.3.6, in their order.
HELLO = bytes.fromhex("f248cdc9c90700")
HELLO_STORED = bytes.fromhex("000500faff48656c6c6f00")
HELLO_FINAL = bytes.fromhex("f348cdc9c9070000")
HELLO_IN_TWO_BLOCKS = bytes.fromhex("f248050000 00ffff cac9c90700")
EMPTY = b"\x00"


def compressed(data: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def judge(pieces: list[bytes], limit: int = 1000) -> list[object]:
    """The message, or the close code of its fault."""
    inflater, message = Inflater(limit), b""
    for piece in pieces[:-1]:
        message += inflater.inflate(piece, final=False)
    message += inflater.inflate(pieces[-1] if pieces else b"", final=True)
    return [message if inflater.fault is None else inflater.fault.code]


def verdict(data: bytes, limit: int = 1000) -> object:
    """The same however the frames cut it; the end of a message is never in doubt."""
    (whole,) = judge([data], limit)
    (halves,) = judge([data[: len(data) // 2], data[len(data) // 2 :]], limit)
    assert halves == whole
    (trickled,) = same_verdict(lambda pieces: judge(pieces, limit), data)
    assert trickled == whole
    return whole


# -- the negotiation ---------------------------------------------------------------

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def answer(*values: str) -> str | None:
    agreement = accept(values)
    return None if agreement is None else agreement.response


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=8",
        'permessage-deflate; client_max_window_bits="15"',
        "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
        "\t permessage-deflate \t;\t client_max_window_bits \t=\t 10 ",
        "permessage-deflate; client_no_context_takeover; client_max_window_bits",
    ],
)
def test_no_context_outlives_a_message(offer: str) -> None:
    """RFC 7692 7.1.1: the answer may say so to any offer, and of the client's window
    it need not speak."""
    assert answer(offer) == PLAIN


@pytest.mark.parametrize("bits", range(9, 16))
def test_window_that_a_client_asks_for_is_kept(bits: int) -> None:
    """RFC 7692 7.1.2.1."""
    for value in (
        f"{bits}",
        f'"{bits}"',
        f'"\\{bits // 10 or bits}{bits % 10 if bits > 9 else ""}"',
    ):
        agreement = accept([f"permessage-deflate; server_max_window_bits={value}"])
        assert agreement is not None
        assert agreement.window_bits == bits
        assert agreement.response == f"{PLAIN}; server_max_window_bits={bits}"


@pytest.mark.parametrize(
    "parameters",
    [
        "server_max_window_bits",  # needs a value
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=+9",
        "server_max_window_bits=abc",
        "server_max_window_bits=99999999999999999999",
        "server_max_window_bits=8",  # valid, but zlib has no such window
        "client_max_window_bits=7",
        "client_max_window_bits=16",
        "client_max_window_bits=abc",
        'client_max_window_bits="08"',
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_max_window_bits; client_max_window_bits",
        "client_max_window_bits=9; client_max_window_bits=10",
        "unknown",
        "SERVER_NO_CONTEXT_TAKEOVER",
        "__proto__",
        "constructor=1",
    ],
)
def test_terms_that_are_not_ours_are_declined(parameters: str) -> None:
    """RFC 7692 7.1: declined, not refused: the client goes on without compression."""
    assert answer(f"permessage-deflate; {parameters}") is None


def test_first_offer_that_can_be_kept_is_taken() -> None:
    """RFC 7692 5: a client says what it likes best, and what it would put up with."""
    best = "permessage-deflate; server_max_window_bits=8"
    second = "permessage-deflate; server_max_window_bits=10"
    assert answer(f"{best}, {second}, permessage-deflate") == f"{PLAIN}; server_max_window_bits=10"
    assert answer(best, "x-unknown; a=b", "permessage-deflate", second) == PLAIN


@pytest.mark.parametrize(
    "value",
    ["", " ", ",,, ,", "x-webkit-deflate-frame", "__proto__; constructor", "PerMessage-Deflate"],
)
def test_without_an_offer_of_it_nothing_is_agreed(value: str) -> None:
    assert answer(value) is None
    assert answer(value, "permessage-deflate") == PLAIN


def test_nothing_offered_is_nothing_agreed() -> None:
    assert answer() is None


@pytest.mark.parametrize(
    "value",
    [
        ";",
        "permessage-deflate;",
        "permessage-deflate;;",
        "permessage-deflate; =9",
        "permessage-deflate; client_max_window_bits=",
        'permessage-deflate; client_max_window_bits=""',
        'permessage-deflate; client_max_window_bits="9',
        'permessage-deflate; client_max_window_bits="15',
        'permessage-deflate; client_max_window_bits=19"',
        'permessage-deflate; client_max_window_bits="',
        'permessage-deflate; client_max_window_bits="9\\"',
        'permessage-deflate; client_max_window_bits="1 5"',
        "permessage deflate",
        "permessage-deflate; a b",
        "permessage-deflate; a=b=c",
        'permessage-deflate; a="x,y"',
        "permessage-deflate/1",
        "permessage-d\xe9flate",
        "permessage-deflate\x0b",
        ", ;" * 2000,
    ],
)
def test_what_is_no_list_of_extensions_is_a_bad_request(value: str) -> None:
    """RFC 6455 9.1."""
    for values in ([value], ["permessage-deflate", value]):
        with pytest.raises(RemoteProtocolError, match=r"RFC 6455 9.1") as caught:
            accept(values)
        assert caught.value.code == 400
        assert len(str(caught.value)) < 200


def test_bad_request_says_what_is_wrong_with_it() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        accept(["permessage deflate" + "e" * 40])
    start = "permessage deflate" + "e" * 20
    assert str(caught.value) == f"no list of extensions: '{start[:37]}...' (RFC 6455 9.1)"


@pytest.mark.parametrize(
    "value",
    [
        "," * 8000,
        " " * 8000,
        "a;" + "b;" * 4000 + "c",
        "permessage-deflate," * 400,
        'a="' + "\\" * 8000 + '"',
        "permessage-deflate" + "; a" * 2000,
    ],
)
def test_long_offers_cost_little(value: str) -> None:
    start = time.process_time()
    for _ in range(10):
        with contextlib.suppress(RemoteProtocolError):
            accept([value])
    assert time.process_time() - start < 1.0


# -- messages out ------------------------------------------------------------------


def inflated(data: bytes, bits: int = 15) -> bytes:
    """By the book, with a window of no more than was agreed on."""
    return zlib.decompressobj(-bits).decompress(data + TAIL)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("size", [MIN_BYTES, MIN_BYTES + 1, 4096, 40_000, 100_000])
def test_window_is_no_larger_than_was_agreed_on(bits: int, size: int) -> None:
    """What repeats itself over a larger distance is not referred to."""
    line = bytes(random.Random(bits).choices(b"abcdefgh", k=700))
    message = (line * (size // len(line) + 1))[:size]
    data = Agreement(bits).compress(message)
    assert data is not None
    assert len(data) < size
    assert inflated(data, bits) == message
    assert judge([data], size) == [message]


def test_whole_of_the_usual_window_is_used() -> None:
    line = bytes(random.Random(1).choices(b"0123456789abcdef", k=20_000))
    agreement = accept(["permessage-deflate"])
    assert agreement is not None
    data = agreement.compress(line * 2)
    assert data is not None
    assert len(data) < 15_000
    assert judge([data], 40_000) == [line * 2]


def test_short_message_is_sent_as_it_is() -> None:
    assert Agreement().compress(b"x" * 1023) is None
    assert Agreement().compress(b"x" * 1024) is not None


def test_long_message_is_judged_by_its_middle() -> None:
    noise = random.Random(1).randbytes(50_000)
    assert Agreement().compress(noise + bytes(10_000) + noise) is not None
    assert Agreement().compress(bytes(10_000) + noise + noise) is None


def test_message_of_16_kib_is_compressed_without_a_trial() -> None:
    noise, zeros = random.Random(1).randbytes(8192), bytes(8192)
    assert Agreement().compress(zeros + noise) is not None
    assert Agreement().compress(zeros + noise + b"x") is None


def test_trial_is_whether_4096_bytes_lose_a_quarter() -> None:
    noise, outcomes = random.Random(1).randbytes(4000), set()
    for count in range(3000, 3100):
        sample = noise[:count] + bytes(4095 - count) + b"x"
        is_tried = len(zlib.compress(sample, 1)) < 3072
        data = Agreement().compress(bytes(10_000) + sample + bytes(10_000 - len(sample)))
        assert (data is not None) is is_tried
        outcomes.add(is_tried)
    assert outcomes == {True, False}


def test_message_that_would_get_longer_is_sent_as_it_is() -> None:
    assert Agreement().compress(random.Random(1).randbytes(10_000)) is None


def test_message_is_compressed_if_that_saves_a_byte_with_all_that_ends_it() -> None:
    noise, saved = random.Random(1).randbytes(2000), []
    for zeros in range(50, 80):
        message = noise + bytes(zeros)
        data = Agreement().compress(message)
        if data is not None:
            assert inflated(data) == message
            saved.append(len(message) - len(data + TAIL))
    assert min(saved) == 1


def test_long_message_is_tried_in_its_middle() -> None:
    """An image with a long head is not compressed for the sake of its head."""
    noise, words = random.Random(1).randbytes(100_000), b"words and words " * 6000
    assert Agreement().compress(words[:40_000] + noise + words[:40_000]) is None
    data = Agreement().compress(noise[:40_000] + words + noise[:40_000])
    assert data is not None
    assert len(data) < 90_000


def test_messages_are_compressed_each_by_itself() -> None:
    """So that the same bytes are right for every client, whatever it got before."""
    first, second = (Agreement().compress(b"the same again" * 100) for _ in range(2))
    assert first == second


def test_agreements_hold_nothing_for_an_idle_client() -> None:
    tracemalloc.start()
    agreements = [Agreement() for _ in range(1000)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 200 * len(agreements)


# -- messages in -------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [HELLO, HELLO_STORED, HELLO_FINAL, HELLO_IN_TWO_BLOCKS, compressed(b"Hello", 0)]
)
def test_examples_of_the_rfc_are_read(data: bytes) -> None:
    """RFC 7692 7.2.3."""
    assert verdict(data) == b"Hello"


def test_empty_message_is_an_empty_block() -> None:
    """RFC 7692 7.2.3.6."""
    assert verdict(EMPTY) == b""
    assert verdict(EMPTY + b"\x00\x00\xff\xff" * 3 + EMPTY) == 1007
    assert verdict((EMPTY + TAIL) * 5 + EMPTY) == b""


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_messages_of_any_compressor_are_read(level: int) -> None:
    chance = random.Random(level)
    for message in (b"", b"a", b"abc" * 300, chance.randbytes(1000), bytes(1000)):
        for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED):
            assert verdict(compressed(message, level, strategy) or EMPTY) == message


def test_streams_behind_a_final_block_are_read() -> None:
    """RFC 7692 7.2.3.4: the final block of DEFLATE is not that of the message."""
    final = HELLO_FINAL[:-1]
    assert verdict(final + HELLO) == b"HelloHello"
    assert verdict(final * 3 + EMPTY) == b"Hello" * 3
    assert verdict(final + HELLO_STORED) == b"HelloHello"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff\xff",
        b"Hello",
        HELLO[:-1] + b"\xff",
        HELLO[:3],
        HELLO_STORED[:4],
        HELLO_STORED[:-1],  # its last block is not there
        HELLO_FINAL[:-1],
        HELLO + TAIL,  # the four bytes are left out, not sent
        compressed(b"abc" * 300)[:-2],
        b"\x06",  # a block of the reserved type (RFC 1951 3.2.3)
        b"\x00\x05\x00\x00\x00Hello",  # its length and the complement of it differ
        HELLO_FINAL[:-1] + b"garbage",
    ],
)
def test_what_is_no_deflate_is_1007(data: bytes) -> None:
    assert verdict(data) == 1007


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x06", r"compressed message is no DEFLATE: .*block.* \(RFC 7692 7\.2\.2\)"),
        (HELLO_STORED[:5], r".* no DEFLATE: it is not complete \(RFC 7692 7\.2\.2\)"),
        (compressed(bytes(1001)), "message over 1000 bytes"),
        (b"\x01" + TAIL + (b"\x01" + TAIL) * 1024, "message in over 1024 streams"),
    ],
)
def test_fault_says_what_is_wrong(data: bytes, reason: str) -> None:
    inflater = Inflater(1000)
    inflater.inflate(data, final=True)
    assert re.fullmatch(reason, str(inflater.fault))


@pytest.mark.parametrize("size", range(1, 40))
def test_what_stands_before_a_fault_is_handed_out(size: int) -> None:
    """The caller looks at it first: it may be no UTF-8, or over the limit."""
    message = random.Random(size).randbytes(size)
    data = compressed(message, 0) + b"\x06"
    for limit in (size - 1, size, 1000):
        inflater = Inflater(limit)
        assert inflater.inflate(data + b"more", final=True) == message
        assert inflater.fault is not None
        assert inflater.fault.code == (1009 if limit < size else 1007)


def test_one_byte_over_the_limit_is_asked_for_and_no_more() -> None:
    bomb = compressed(bytes(1_000_000))
    for data in (bomb, HELLO_FINAL[:-1] * 150 + bomb):
        assert len(Inflater(1000).inflate(data, final=True)) == 1001


def test_message_may_have_exactly_its_limit() -> None:
    for message in (b"a" * 1000, random.Random(0).randbytes(1000)):
        data = compressed(message)
        assert verdict(data, 1000) == message
        assert verdict(data, 999) == 1009


def test_bomb_is_stopped_at_the_limit() -> None:
    """A gibibyte of zeros in a mebibyte, whose decompression is never asked for."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = bytes(1 << 20)
    bomb = b"".join(compressor.compress(mebibyte) for _ in range(64))
    bomb += compressor.flush(zlib.Z_SYNC_FLUSH).removesuffix(TAIL)
    assert len(bomb) < 70_000
    tracemalloc.start()
    for pieces in ([bomb], [bomb[at : at + 100] for at in range(0, len(bomb), 100)]):
        assert judge(pieces, 1_000_000) == [1009]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


def test_blocks_of_nothing_cost_little() -> None:
    """As many as a message of the usual limit can bring."""
    start = time.process_time()
    assert judge([(EMPTY + TAIL) * 200_000 + EMPTY]) == [b""]
    final = b"\x01" + TAIL
    assert judge([final * 1023 + EMPTY]) == [b""]
    assert judge([final * 1024 + EMPTY]) == [1009]
    assert judge([final * 200_000]) == [1009]
    assert time.process_time() - start < 2.0


def test_garbage_gives_faults_only() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        data = bytearray(compressed(chance.randbytes(chance.randrange(40)) * 5) or EMPTY)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        outcome = verdict(bytes(data))
        assert outcome in (1007, 1009) or isinstance(outcome, bytes)
