"""Hostile Socket.IO clients: packets that no client would send, on a running server.

Section "I" (Socket.IO 5): each row goes over a WebSocket, each byte by itself too, and in
one POST; after each, the rules of `siege` must hold.
"""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
from conftest import Serve
from siege import Attacker, InProcess, Optimized, Siege, frame, text

POLL = "/socket.io/?EIO=4&transport=polling"
SOCKET = "/socket.io/?EIO=4&transport=websocket"
END = '42["echo","end"]'

# A message is what Engine.IO carries: text, or bytes.
Message = str | bytes


def framed(*messages: Message) -> bytes:
    """Messages as frames; a text is a packet of type 4."""
    return b"".join(
        frame(0x82, message) if isinstance(message, bytes) else text("4" + message)
        for message in messages
    )


def connected(siege: Siege, client: Attacker, namespace: str = "/") -> None:
    """Open a WebSocket and enter a namespace, if one is named."""
    client.upgrade(SOCKET)
    assert client.message().startswith("text 0{")
    if namespace:
        client.send(framed("0" if namespace == "/" else f"0{namespace},"))
        assert client.message().startswith("text 40")


def over_websocket(siege: Siege, pieces: list[bytes], namespace: str = "/") -> list[str]:
    """What comes of frames, up to the answer to one more event, or to the end."""
    with Attacker(siege) as client:
        connected(siege, client, namespace)
        client.send(*pieces)
        client.send(text(END))
        said = client.messages(f"text {END}")
        return ["close"] if said[-1].startswith("close") else said


def over_polling(siege: Siege, messages: tuple[Message, ...]) -> tuple[int, bool]:
    """How a POST with these messages is answered, and whether the session lives on."""
    packets = [
        b"b" + base64.b64encode(one) if isinstance(one, bytes) else b"4" + one.encode()
        for one in messages
    ]
    with Attacker(siege) as client:
        _, body = client.ask("GET", POLL)
        target = f"{POLL}&sid={json.loads(body[1:])['sid']}"
        assert client.ask("POST", target, b"40")[0] == 200
        assert client.ask("GET", target)[1].startswith(b"40{")
        status, _ = client.ask("POST", target, b"\x1e".join(packets))
        return status, client.ask("POST", target, b"1")[0] == 200


# -- packets that are refused ------------------------------------------------------------

PLACEHOLDER = '{"_placeholder":true,"num":0}'

REFUSED: dict[str, tuple[Message, ...]] = {
    "I2 a packet for a namespace not joined": ('2/other,["x"]',),
    "I2 an acknowledgement for one": ("3/other,0[]",),
    "I2 a DISCONNECT of one": ("1/other,",),
    "I3 a second CONNECT": ("0",),
    "I3 with auth": ('0{"a":1}',),
    "I5 auth that is a list": ("0/lines,[1]",),
    "I5 auth that is text": ('0/lines,"x"',),
    "I5 auth that is null": ("0/lines,null",),
    "I5 auth that is no JSON": ("0/lines,{bad",),
    "I5 auth that goes on": ("0/lines,{}x",),
    "I6 a long namespace": ("0/" + "x" * 5000 + ",",),
    "I6 a namespace of 900 KB": ("0/" + "x" * 900_000 + ",",),
    "I7 an unknown type": ("7",),
    "I7 another": ('9["x"]',),
    "I7 a letter": ("a",),
    "I7 nothing": ("",),
    "I7 a blank": (' 2["x"]',),
    "I7 a wide digit": ('４["x"]',),  # noqa: RUF001
    "I7 CONNECT_ERROR from a client": ('4{"message":"x"}',),
    "I9 event connect": ('2["connect"]',),
    "I9 event connect_error": ('2["connect_error"]',),
    "I9 event disconnect": ('2["disconnect","x"]',),
    "I9 event disconnecting": ('2["disconnecting"]',),
    "I9 event newListener": ('2["newListener"]',),
    "I9 event removeListener": ('2["removeListener"]',),
    "I10 an id of letters": ('2abc["x"]',),
    "I10 a negative id": ('2-1["x"]',),
    "I10 a fraction": ('21.5["x"]',),
    "I10 21 digits": ('299999999999999999999["x"]',),
    "I10 5,000 digits": ("2" + "9" * 5000 + '["x"]',),
    "I10 a wide digit": ('2１["x"]',),  # noqa: RUF001
    "I10 digits with a blank": ('21 2["x"]',),
    "I10 an underscore": ('21_2["x"]',),
    "I11 an acknowledgement of nothing": ("31",),
    "I11 one without an id": ("3[]",),
    "I11 one that is an object": ("31{}",),
    "I13 text where bytes are due": (f'51-["x",{PLACEHOLDER}]', '2["x"]'),
    "I14 bytes for nothing": (b"x",),
    "I15 far too many attachments": ('5999999999-["x"]',),
    "I15 eleven": ('511-["x"]',),
    "I15 attachments without a dash": ('51["x"]',),
    "I15 a fraction of one": ('51.5-["x"]',),
    "I15 in an ordinary event": ('21-["x"]',),
    "I17 none": ('50-["x"]',),
    "I17 none, acknowledged": ("60-1[]",),
    **{
        f"I18 placeholder {num}": (f'51-["x",{{"_placeholder":true,"num":{num}}}]', b"x")
        for num in ("-1", "1", "1.5", '"0"', "null", '"length"', "true", "1e9", "0.0", "[]", "{}")
    },
    "I18 a placeholder without a number": ('51-["x",{"_placeholder":true}]', b"x"),
    "I21 too many bytes in all": (
        '52-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        b"x" * 600_000,
        b"x" * 600_000,
    ),
    "one attachment in a thousand places": (
        '51-["echo",' + ",".join([PLACEHOLDER] * 1000) + "]",
        b"x" * 2000,
    ),
    "I23 deep lists": ('2["x",' + "[" * 50_000 + "]" * 50_000 + "]",),
    "I23 deep lists that never end": ('2["x",' + "[" * 900_000,),
    "I23 deep objects": ('2["x",' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "]",),
    "I23 deep around a placeholder": (
        '51-["x",' + "[" * 1000 + PLACEHOLDER + "]" * 1000 + "]",
        b"x",
    ),
    "an event that is an object": ('2{"x":1}',),
    "an event of nothing": ("2[]",),
    "an event without data": ("2",),
    "an event that is null": ("2null",),
    "an event whose name is an object": ('2[{"toString":"x"}]',),
    "an event whose name is a list": ('2[["x"]]',),
    "an event whose name is true": ("2[true]",),
    "an event whose name is null": ("2[null]",),
    "JSON that goes on": ('2["x"]]',),
    "JSON with NaN": ('2["x",NaN]',),
    "JSON with an infinity": ('2["x",1e400]',),
    "JSON in single quotes": ("2['x']",),
    "JSON with a comma too many": ('2["x",]',),
    "JSON with a control character": ('2["\x01"]',),
    "JSON with a number of 5,000 digits": ('2["x",' + "1" * 5000 + "]",),
    "a DISCONNECT with data": ('1{"a":1}',),
    "a DISCONNECT of a namespace with data": ('1/lines,["x"]',),
}  # fmt: skip


@pytest.mark.parametrize("row", REFUSED)
def test_packet_that_is_none_closes_the_connection(siege: InProcess, row: str) -> None:
    siege.heard.clear()
    data = framed(*REFUSED[row])
    verdict = siege.verdict(lambda pieces: over_websocket(siege, pieces), data, cut_before=b"\x82")
    assert verdict == ["close"]
    if sum(map(len, REFUSED[row])) < 700_000:
        assert over_polling(siege, REFUSED[row]) == (400, False)
    assert siege.heard == []
    siege.holds()


@pytest.mark.parametrize("first", ['2["x"]', "30[]", "1", f'51-["x",{PLACEHOLDER}]', "9", "4{}"])
def test_nothing_comes_before_a_connect(siege: InProcess, first: str) -> None:
    siege.heard.clear()
    data = framed(first) + (frame(0x82, b"x") if first.startswith("5") else b"")
    verdict = siege.verdict(lambda pieces: over_websocket(siege, pieces, ""), data)
    assert verdict == ["close"]
    assert siege.heard == []
    siege.holds()


def test_who_never_connects_is_closed_in_time(siege: Siege) -> None:
    began = time.monotonic()
    with Attacker(siege) as client:
        client.upgrade("/hasty/?EIO=4&transport=websocket")
        said = client.messages("")
        assert said[-1].startswith("close")
    assert time.monotonic() - began > 0.3
    siege.holds()


def test_namespaces_asked_for_have_a_limit(siege: Siege) -> None:
    with Attacker(siege) as client:
        connected(siege, client, "")
        client.send(framed(*(f'0/a{number},{{"x":1}}' for number in range(10_000))))
        said = client.messages("")
        assert len(said) < 1000  # 17, unless a busy machine takes seconds for so few
        assert all("Invalid namespace" in one for one in said[:-1])
        assert said[-1].startswith("close")
    siege.holds()


@pytest.mark.parametrize("name", ["/a?x=1,", "/", "/,", "//", "/lines/../other,", "/%2e,", "/é,"])
def test_odd_namespaces_are_refused_or_what_they_say(siege: Siege, name: str) -> None:
    def attempt(pieces: list[bytes]) -> list[str]:
        with Attacker(siege) as client:
            connected(siege, client, "")
            client.send(*pieces)
            said = client.message()
            return ["joined" if said.startswith('text 40{"sid') else said]

    verdict = siege.verdict(attempt, framed(f"0{name}"))
    if name in ("/", "/,"):
        assert verdict == ["joined"]
    else:
        assert verdict[0].startswith("text 44/")
        assert "Invalid namespace" in verdict[0]
    siege.holds()


# -- packets that are odd, and legal -----------------------------------------------------

TAKEN: dict[str, tuple[tuple[Message, ...], list[object]]] = {
    "an event with an empty name": (('2[""]',), [[""]]),
    "an event whose name is a number": (('2[1,"a"]',), [["1", "a"]]),
    "I9 event __init__": (('2["__init__"]',), [["__init__"]]),
    "I9 event __class__": (('2["__class__","x"]',), [["__class__", "x"]]),
    "I9 event recv": (('2["recv"]',), [["recv"]]),
    "I10 ten digits": (('29999999999["x"]',), [["x"]]),
    "I10 a zero before": (('2007["x"]',), [["x"]]),
    "I11 an acknowledgement that nobody waits for": (('3999["x"]', '2["y"]'), [["y"]]),
    "I18 a placeholder twice": (
        (f'51-["x",{PLACEHOLDER},{PLACEHOLDER}]', b"b"),
        [["x", b"b", b"b"]],
    ),
    "I18 placeholders the other way round": (
        ('52-["x",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]', b"0", b"1"),
        [["x", b"1", b"0"]],
    ),
    "I18 an attachment that nobody wants": (('51-["x"]', b"b"), [["x"]]),
    "an attachment of no bytes": ((f'51-["x",{PLACEHOLDER}]', b""), [["x", b""]]),
    "I22 a placeholder in an ordinary event": (
        (f'2["x",{PLACEHOLDER}]',),
        [["x", {"_placeholder": True, "num": 0}]],
    ),
    "a placeholder that is none": (
        ('51-["x",{"_placeholder":false,"num":0},{"_placeholder":1}]', b"x"),
        [["x", {"_placeholder": False, "num": 0}, {"_placeholder": 1}]],
    ),
    "I26 an event with 100,000 arguments": (
        ('2["x"' + ",1" * 100_000 + "]",),
        [["x", *[1] * 100_000]],
    ),
    "JSON with blanks": (('2["x" ,\r\n\t1 ] ',), [["x", 1]]),
    "a lone surrogate": ((r'2["x","\ud800"]',), [["x", "\ud800"]]),
    "a NUL": ((r'2["x","\u0000"]',), [["x", "\0"]]),
    "a key twice": (('2["x",{"a":1,"a":2}]',), [["x", {"a": 2}]]),
    "a key __proto__": (('2["x",{"__proto__":{"a":1}}]',), [["x", {"__proto__": {"a": 1}}]]),
    "nested 60 deep": (
        ('2["x",' + "[" * 60 + "]" * 60 + "]",),
        [["x", json.loads("[" * 60 + "]" * 60)]],
    ),
}


@pytest.mark.parametrize("row", TAKEN)
def test_packet_that_is_odd_is_taken(siege: InProcess, row: str) -> None:
    messages, heard = TAKEN[row]

    def attempt(pieces: list[bytes]) -> list[object]:
        siege.heard.clear()
        said = over_websocket(siege, pieces)
        assert said[-1] == f"text {END}", said
        return siege.heard[:-1]

    assert siege.verdict(attempt, framed(*messages), cut_before=b"\x82") == heard
    siege.holds()


def test_surrogate_that_comes_back_breaks_nobody(siege: Siege) -> None:
    with Attacker(siege) as client:
        connected(siege, client)
        client.send(framed(r'2["echo","\ud800","é"]', r'27["echo","\udfff"]', '2["echo",1]'))
        said = [client.message() for _ in range(4)]
        assert [json.loads(one[one.index("[") :])[0] for one in said] == [
            "echo",
            "echo",
            "\udfff",
            "echo",
        ]
    siege.holds()


def test_bytes_behind_the_last_attachment_are_for_nobody(siege: InProcess) -> None:
    data = framed(f'51-["x",{PLACEHOLDER}]', b"a", b"b")

    def attempt(pieces: list[bytes]) -> list[object]:
        siege.heard.clear()
        return [*over_websocket(siege, pieces), *siege.heard]

    assert siege.verdict(attempt, data, cut_before=b"\x82") == ["close", ["x", b"a"]]
    siege.holds()


def test_separator_inside_of_text_comes_back_whole_over_polling(siege: Siege) -> None:
    with Attacker(siege) as client:
        _, body = client.ask("GET", POLL)
        target = f"{POLL}&sid={json.loads(body[1:])['sid']}"
        client.ask("POST", target, b"40")
        client.ask("GET", target)
        assert client.ask("POST", target, rb'42["echo","a\u001eb"]')[0] == 200
        assert client.ask("GET", target)[1] == rb'42["echo","a\u001eb"]'
        # Raw, it ends a packet: both halves are none.
        assert client.ask("POST", target, b'42["echo","a\x1eb"]')[0] == 400
    siege.holds()


# -- acknowledgements --------------------------------------------------------------------


def test_answer_counts_once_and_only_if_it_was_asked_for(siege: InProcess) -> None:
    siege.heard.clear()
    with Attacker(siege) as client:
        connected(siege, client)
        client.send(framed('2["ask"]'))
        assert client.message() == 'text 420["asked"]'
        client.send(framed("31[2]", '30["yes"]', '30["again"]', '3999999999["no"]', '2["echo",1]'))
        assert client.message() == 'text 42["echo",1]'
    assert siege.heard == [["ask"], ["answered", "yes"], ["echo", 1]]
    siege.holds()


def test_event_is_acknowledged_with_its_id_whatever_it_is(siege: Siege) -> None:
    with Attacker(siege) as client:
        connected(siege, client)
        client.send(framed('20["x",1]', '29999999999["y"]', f'51-3["z",{PLACEHOLDER}]', b"b"))
        assert client.message() == "text 430[1]"
        assert client.message() == "text 439999999999[]"
        assert client.message() == f"text 461-3[{PLACEHOLDER}]"
        assert client.message() == "binary b"
    siege.holds()


# -- on lines ----------------------------------------------------------------------------


def test_line_with_the_wrong_number_of_arguments_is_an_error_and_no_more(
    siege: InProcess,
) -> None:
    with Attacker(siege) as client:
        connected(siege, client, "/lines")
        client.send(framed('2/lines,1["two",1,2]'))
        assert client.message() == "text 43/lines,1[[1,2]]"
        for args in ("", ",1", "," + ",".join("1" * 50_000)):
            client.send(framed(f'2/lines,2["two"{args}]'))
        client.send(framed('2/lines,3["two",3,4]'))
        said = client.messages("text 43/lines,3[[3,4]]")
        assert said[-1] == "text 43/lines,3[[3,4]]"
    assert siege.forget_errors() <= 3
    siege.holds()


@pytest.mark.parametrize("what", ["set", "object", "nan"])
def test_line_that_returns_what_is_no_json_is_an_error_and_no_more(
    siege: InProcess, what: str
) -> None:
    with Attacker(siege) as client:
        connected(siege, client, "/lines")
        client.send(framed(f'2/lines,1["give","{what}"]', '2/lines,2["two",1,2]'))
        said = client.messages("text 43/lines,2[[1,2]]")
        assert said[-1] == "text 43/lines,2[[1,2]]"
    assert siege.forget_errors() == 1
    siege.holds()


def test_line_that_returns_bytes_is_acknowledged_with_them(siege: Siege) -> None:
    with Attacker(siege) as client:
        connected(siege, client, "/lines")
        client.send(framed('2/lines,1["give","bytes"]'))
        assert client.message() == f"text 461-/lines,1[{PLACEHOLDER}]"
        assert client.message() == "binary x"
    siege.holds()


@pytest.mark.parametrize("room", ['"a"', '"' + "x" * 900_000 + '"', "null", "[1]", "{}"])
def test_client_joins_no_room_by_itself(siege: InProcess, room: str) -> None:
    with Attacker(siege) as client:
        connected(siege, client, "/lines")
        client.send(framed(f'2/lines,1["join",{room}]'))
        assert client.message() in ("text 43/lines,1[[]]", "text 43/lines,1[]")
    siege.forget_errors()
    siege.holds()


@pytest.mark.parametrize("behind", ["", '2/lines,["two",1,2]', "1/lines,", "0/lines,"])
def test_refused_client_was_never_there(siege: InProcess, behind: str) -> None:
    siege.gone.clear()
    with Attacker(siege) as client:
        connected(siege, client, "")
        client.send(framed('0/lines,{"no":1}', *([behind] if behind else [])))
        if not behind:
            assert client.message().startswith("text 44/lines,{")
    siege.holds()
    assert siege.gone == []


def test_client_that_goes_while_it_is_let_in_goes_once(siege: InProcess) -> None:
    siege.gone.clear()
    for _ in range(20):
        with Attacker(siege) as client:
            client.upgrade(SOCKET)
            client.send(framed("0/lines,", "1/lines,", "0/lines,", "1/lines,"))
    with Attacker(siege) as client:
        connected(siege, client, "/lines")
        client.send(framed("1/lines,"))
    siege.holds()
    assert siege.gone.count("client namespace disconnect") <= 41
    assert set(siege.gone) <= {"client namespace disconnect", "transport close", "transport error"}


# -- what is left lying about ------------------------------------------------------------


def test_half_a_packet_is_freed_with_its_connection(siege: Siege) -> None:
    with Attacker(siege) as client:
        connected(siege, client)
        client.send(framed('510-["x"]', *[b"x" * 90_000] * 9))
        client.leave("reset")
    siege.holds()


def test_blocking_handler_of_a_flood_gets_it_all_in_order(siege: InProcess) -> None:
    siege.heard.clear()
    with Attacker(siege) as client:
        connected(siege, client, "/blocking")
        client.send(framed(*(f'2/blocking,["n",{number}]' for number in range(3000))))
        last = 'text 42/blocking,["echo",2999]'
        assert client.messages(last)[-1] == last
    siege.holds()
    assert siege.heard == [["n", number] for number in range(3000)]


# -- and without assertions ---------------------------------------------------------------


def test_server_without_assertions_refuses_the_same_packets(
    serve: Serve, optimized_python: Path
) -> None:
    siege = Optimized(serve, optimized_python)
    for row, messages in REFUSED.items():
        assert over_websocket(siege, [framed(*messages)]) == ["close"], row
    siege.holds()
    siege.end()
