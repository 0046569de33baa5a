"""The client's side of Socket.IO without I/O, alone and against the server's side."""

from __future__ import annotations

from typing import Any

import pytest

from redbarrel_lite import socketio
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.socketio_client import (
    CLIENT_DISCONNECT,
    SERVER_DISCONNECT,
    Acknowledgement,
    Connected,
    ConnectError,
    Decoder,
    Disconnected,
    Event,
    Happening,
    Namespace,
    State,
)


def told(namespace: Namespace, *messages: str | bytes) -> Happening | None:
    """What a packet in these messages means to a namespace."""
    decoder = Decoder()
    packets = [packet for packet in map(decoder.receive, messages) if packet is not None]
    assert len(packets) == 1
    assert packets[0].namespace == namespace.name
    return namespace.receive(packets[0])


def connected(name: str = "/", **data: str) -> Namespace:
    namespace = Namespace(name)
    namespace.connect()
    answer = socketio.Packet(socketio.CONNECT, name, None, {"sid": "abc", **data})
    assert isinstance(namespace.receive(answer), Connected)
    return namespace


# -- the codec ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "name", "data"),
    [
        ('44{"message":"no"}', "/", {"message": "no"}),
        ('44/a,{"message":"no","data":[1]}', "/a", {"message": "no", "data": [1]}),
        ("44/a,{}", "/a", {}),
        ('44"no"', "/", {"message": "no"}),
        (r'44/a,"\"no\""', "/a", {"message": '"no"'}),
    ],
)
def test_connect_error_is_read(message: str, name: str, data: dict[str, Any]) -> None:
    packet = Decoder().receive(message[1:])
    assert packet == socketio.Packet(socketio.CONNECT_ERROR, name, None, data)


@pytest.mark.parametrize(
    "message", ["4", "4/a", '4"no', '4"a","b":"c"', "4[]", "4{", "41-{}", "45{}"]
)
def test_connect_error_that_is_none_is_told_of(message: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Decoder().receive(message)


def test_fault_says_what_came_as_far_as_one_wants_to_read() -> None:
    with pytest.raises(RemoteProtocolError) as told:
        Decoder().receive(f"4/{'a' * 100}")
    assert str(told.value).startswith(f"bad CONNECT_ERROR: '4/{'a' * 75}...' (Socket.IO 5, Conn")


def test_other_packets_are_read_as_on_the_server() -> None:
    decoder = Decoder()
    assert decoder.receive('51-["a",{"_placeholder":true,"num":0}]') is None
    packet = decoder.receive(b"x")
    assert packet is not None
    assert packet.data == ["a", b"x"]


# -- connecting --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "auth", "message"),
    [
        ("/", None, "0"),
        ("/a", None, "0/a,"),
        ("/", {"token": "é"}, '0{"token":"é"}'),
        ("/a", {}, "0/a,{}"),
    ],
)
def test_connect_says_who_it_is(name: str, auth: Any, message: str) -> None:
    namespace = Namespace(name, auth)
    assert namespace.sid == ""
    assert namespace.connect() == (message,)
    assert namespace.state is State.CONNECTING


def test_connect_is_answered_with_a_sid() -> None:
    namespace = Namespace()
    namespace.connect()
    assert told(namespace, '0{"sid":"abc"}') == Connected("abc", recovered=False)
    assert (namespace.sid, namespace.state) == ("abc", State.CONNECTED)


def test_connect_is_refused_with_words_and_data() -> None:
    namespace = Namespace("/a")
    namespace.connect()
    refusal = '4/a,{"message":"not you","data":{"code":1}}'
    assert told(namespace, refusal) == ConnectError("not you", {"code": 1})
    assert namespace.state is State.DISCONNECTED


@pytest.mark.parametrize("answer", ["0", "0{}", '0{"sid":""}', '0{"sid":5}'])
def test_answer_without_a_sid_is_told_of(answer: str) -> None:
    namespace = Namespace()
    namespace.connect()
    with pytest.raises(RemoteProtocolError, match="sid"):
        told(namespace, answer)


@pytest.mark.parametrize("packet", ['2["early"]', "30[]", "1"])
def test_nothing_may_come_before_the_answer(packet: str) -> None:
    namespace = Namespace()
    namespace.connect()
    with pytest.raises(RemoteProtocolError, match=r"packet of type \d before CONNECT was answered"):
        told(namespace, packet)


@pytest.mark.parametrize("packet", ['0{"sid":"x"}', '4{"message":"x"}'])
def test_one_connect_has_one_answer(packet: str) -> None:
    with pytest.raises(RemoteProtocolError, match="second answer"):
        told(connected(), packet)


# -- events ------------------------------------------------------------------------


def test_events_and_acknowledgements_come() -> None:
    namespace = connected("/a")
    assert told(namespace, '2/a,["x",1,null]') == Event("x", [1, None], None)
    assert told(namespace, '2/a,7["x"]') == Event("x", [], 7)
    assert told(namespace, "2/a,[1]") == Event("1", [], None)
    assert told(namespace, '3/a,0["y"]') == Acknowledgement(0, ["y"])
    assert told(namespace, '3/a,12["y"]') == Acknowledgement(12, ["y"])
    binary = '51-/a,["b",{"_placeholder":true,"num":0}]'
    assert told(namespace, binary, b"\x00") == Event("b", [b"\x00"], None)


def test_events_go_and_ids_count_what_wants_an_answer() -> None:
    namespace = connected("/a")
    assert namespace.emit("x", [1]) == (('2/a,["x",1]',), None)
    assert namespace.emit("x", [], ack=True) == (('2/a,0["x"]',), 0)
    assert namespace.emit("x", [b"y"], ack=True) == (
        ('51-/a,1["x",{"_placeholder":true,"num":0}]', b"y"),
        1,
    )
    assert namespace.acknowledge(5, ["ok"]) == ('3/a,5["ok"]',)


def test_event_that_cannot_be_sent_takes_no_id() -> None:
    namespace = connected()
    with pytest.raises(TypeError):
        namespace.emit("x", [object()], ack=True)
    with pytest.raises(ValueError, match="connect"):
        namespace.emit("connect", [])
    assert namespace.emit("x", [], ack=True)[1] == 0


# -- the end -----------------------------------------------------------------------


def test_server_turns_out() -> None:
    namespace = connected()
    assert told(namespace, "1") == Disconnected()
    assert namespace.state is State.DISCONNECTED


def test_client_leaves_and_hears_no_more() -> None:
    namespace = connected("/a")
    assert namespace.disconnect() == ("1/a,",)
    assert told(namespace, '2/a,["late"]') is None


def test_end_of_the_connection_is_the_end() -> None:
    namespace = connected()
    namespace.lost()
    assert namespace.state is State.DISCONNECTED
    assert told(namespace, '2["late"]') is None


def test_ends_have_the_words_of_the_reference() -> None:
    assert (SERVER_DISCONNECT, CLIENT_DISCONNECT) == (
        "io server disconnect",
        "io client disconnect",
    )


# -- recovery ----------------------------------------------------------------------


def test_offsets_are_kept_and_offered_to_the_next_connection() -> None:
    namespace = connected(pid="p")
    assert told(namespace, '2["x",1,"o1"]') == Event("x", [1], None)
    assert told(namespace, '27["x","no offset"]') == Event("x", ["no offset"], 7)
    assert told(namespace, '2["x",2]') == Event("x", [2], None)
    namespace.lost()
    assert namespace.connect() == ('0{"pid":"p","offset":"o1"}',)
    assert told(namespace, '2["missed","o2"]') == Event("missed", [], None)
    assert told(namespace, '0{"sid":"abc","pid":"p"}') == Connected("abc", recovered=True)
    assert namespace.offset == "o2"


def test_recovery_goes_along_with_auth() -> None:
    namespace = Namespace("/a", {"token": 1})
    namespace.pid = "p"
    assert namespace.connect() == ('0/a,{"pid":"p","offset":"","token":1}',)


def test_session_that_is_not_recovered_begins_anew() -> None:
    namespace = connected(pid="p")
    told(namespace, '2["x","o1"]')
    namespace.lost()
    namespace.connect()
    assert told(namespace, '0{"sid":"new","pid":"q"}') == Connected("new", recovered=False)
    assert (namespace.pid, namespace.offset) == ("q", None)


def test_who_leaves_or_is_turned_out_is_not_recovered() -> None:
    for leave in (lambda one: one.disconnect(), lambda one: told(one, "1")):
        namespace = connected(pid="p")
        leave(namespace)
        assert namespace.connect() == ("0",)
