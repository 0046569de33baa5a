"""The Socket.IO side of one connection: each statement of the protocol, and hostile clients.

The headings are those of the protocol's document, version 5. What its packets look like
is in `test_socketio`; what becomes of an event, in `test_sockets` and `test_handlers`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_handlers import lines
from test_sockets import Peer, World

from redbarrel_lite import socketio
from redbarrel_lite.client import MAX_REFUSALS_A_SECOND
from redbarrel_lite.doors import Door, Doors
from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.routes import compile_template


def placeholder(number: str) -> str:
    return f'{{"_placeholder":true,"num":{number}}}'


# -- Connection to a namespace -------------------------------------------------------------


def test_client_that_asks_for_a_namespace_is_told_its_sid() -> None:
    peer = World("/", "/woot").connect("/woot", '{"token":"123"}')
    assert peer.hears() == [f'0/woot,{{"sid":"{peer.sid}"}}']
    assert peer.socket.auth == {"token": "123"}


def test_client_that_says_nothing_of_itself_has_no_auth() -> None:
    assert World().connect().socket.auth is None


def test_client_that_may_not_come_in_is_told_why() -> None:
    peer = Peer(World())
    peer.request.refused = {"/": 401}
    peer.say("0")
    assert peer.hears() == ['4{"message":"refused by a rule","data":{"status":401}}']
    with pytest.raises(RemoteProtocolError):
        peer.say('2["x"]')


@pytest.mark.parametrize("packet", ['2["x"]', "30[]", "1", '51-["x"]', '61-0["x"]'])
def test_connection_is_closed_if_something_else_comes_first(packet: str) -> None:
    peer = Peer(World())
    with pytest.raises(RemoteProtocolError, match="for a namespace not connected"):
        peer.say(packet, b"x")
    assert peer.world.runners == []


def test_connection_has_a_time_limit_until_the_client_has_joined() -> None:
    peer = Peer(World())
    assert peer.client.connect_by == 45.0
    peer.say("0/none,")
    assert peer.client.connect_by == 45.0
    peer.say("0")
    peer.say("1")
    assert peer.client.connect_by is None


def test_client_may_be_in_several_namespaces() -> None:
    world = World("/", "/a", "/b")
    peer = world.connect()
    peer.say("0/a,", "0/b,", '2/b,["to b"]', '2["to /"]', '2/a,["to a"]')
    heard = {r.socket.namespace: [m.event for m in r.news[1:]] for r in world.runners}
    assert heard == {"/": ["to /"], "/a": ["to a"], "/b": ["to b"]}
    assert len({runner.socket.session.session_id for runner in world.runners}) == 3


def test_question_mark_is_a_letter_of_a_namespace_like_any_other() -> None:
    peer = Peer(World("/a"))
    peer.say("0/a?x=1,")
    assert peer.hears() == ['4/a?x=1,{"message":"Invalid namespace"}']
    peer = World("/a?x=1").connect("/a?x=1")
    assert peer.hears() == [f'0/a?x=1,{{"sid":"{peer.sid}"}}']


# -- Sending and receiving data --------------------------------------------------------------


def test_event_is_for_the_namespace_that_it_names() -> None:
    world = World("/", "/a")
    peer = world.connect()
    with pytest.raises(RemoteProtocolError, match="'/a'"):
        peer.say('2/a,["x"]')


def test_binary_event_is_an_event_with_its_attachments() -> None:
    peer = World().connect()
    peer.say(f'52-["x",{{"b":{placeholder("1")}}},{placeholder("0")}]', b"\x00", b"\x01")
    message = peer.socket.recv()
    assert (message.event, list(message)) == ("x", [{"b": b"\x01"}, b"\x00"])
    assert message.size > 2


# -- Acknowledgement ----------------------------------------------------------------------------


def test_event_with_an_id_is_acknowledged_with_that_id() -> None:
    peer = World("/a").connect("/a")
    peer.hears()
    peer.say('2/a,12["x"]')
    message = peer.socket.recv()
    message.reply("bar", b"\x01")
    assert peer.hears() == [f'61-/a,12["bar",{placeholder("0")}]', b"\x01"]


def test_binary_acknowledgement_arrives_whole() -> None:
    peer = World().connect()
    answers: list[Any] = []
    peer.socket.emit("ask", ack=lambda *args: answers.append(args))
    peer.say(f"61-0[{placeholder('0')},1]", b"\x01")
    assert answers == [(b"\x01", 1)]


# -- Disconnection from a namespace --------------------------------------------------------------


def test_client_leaves_one_namespace_and_is_not_answered() -> None:
    world = World("/", "/a")
    peer = world.connect()
    peer.say("0/a,")
    peer.hears()
    peer.say("1/a,")
    assert peer.hears() == []
    assert [runner.socket.connected() for runner in world.runners] == [True, False]
    peer.say('2["still"]')
    with pytest.raises(RemoteProtocolError):
        peer.say('2/a,["no more"]')


def test_server_turns_a_client_out_of_one_namespace() -> None:
    world = World("/", "/a")
    peer = world.connect()
    peer.say("0/a,")
    peer.hears()
    peer.socket.close()
    assert peer.hears() == ["1/a,"]
    peer.say('2["still"]')


# -- hostile clients ------------------------------------------------------------------------------

_HOSTILE = {
    "a second CONNECT": ["0"],
    "auth that is a list": ["0/a,[1]"],
    "auth that is a text": ['0/a,"x"'],
    "auth that is no JSON": ["0/a,{bad"],
    "auth of null": ["0/a,null"],
    "a name of a mebibyte": ["0/" + "n" * 1024 * 1024],
    "type 7": ["7"],
    "type 9": ["9"],
    "type a": ["a"],
    "nothing": [""],
    "a blank in front": [' 2["x"]'],
    "a full-width digit": ["\uff14"],
    "an Arabic digit": ["\u0662[]"],
    "connect as an event": ['2["connect"]'],
    "disconnect as an event": ['2["disconnect"]'],
    "connect_error as an event": ['2["connect_error"]'],
    "disconnecting as an event": ['2["disconnecting"]'],
    "newListener as an event": ['2["newListener"]'],
    "removeListener as an event": ['2["removeListener"]'],
    "an id of letters": ['2abc["x"]'],
    "a negative id": ['2-1["x"]'],
    "an id with a point": ['21.5["x"]'],
    "an id of 20 digits": ['299999999999999999999["x"]'],
    "an id of 5000 digits": ["2" + "9" * 5000 + '["x"]'],
    "an id in full width": ['2\uff11["x"]'],
    "an acknowledgement without a payload": ["31"],
    "an acknowledgement without an id": ["3[]"],
    "an acknowledgement that is an object": ["31{}"],
    "text while an attachment is missing": [f'51-["x",{placeholder("0")}]', '2["x"]'],
    "binary that nothing announced": [b"x"],
    "very many attachments": ['5999999999-["x"]'],
    "eleven attachments": ['511-["x"]'],
    "no attachments": ['50-["x"]'],
    "a placeholder of -1": [f'51-["x",{placeholder("-1")}]', b"x"],
    "a placeholder of 1, of 1": [f'51-["x",{placeholder("1")}]', b"x"],
    "a placeholder of 1.5": [f'51-["x",{placeholder("1.5")}]', b"x"],
    "a placeholder of text": [f'51-["x",{placeholder(chr(34) + "0" + chr(34))}]', b"x"],
    "a placeholder of null": [f'51-["x",{placeholder("null")}]', b"x"],
    "a placeholder of length": [f'51-["x",{placeholder(chr(34) + "length" + chr(34))}]', b"x"],
    "a placeholder of true": [f'51-["x",{placeholder("true")}]', b"x"],
    "a placeholder of 1e9": [f'51-["x",{placeholder("1e9")}]', b"x"],
    "a placeholder without a number": ['51-["x",{"_placeholder":true}]', b"x"],
    "attachments over the limit": ['52-["x"]', bytes(600), bytes(600)],
    "a bomb of depth": ['2["x",' + "[" * 50_000],
    "a bomb of depth, closed": ['2["x",' + "[" * 50_000 + "]" * 50_000 + "]"],
    "a bomb of depth for attachments": ['51-["x",' + "[" * 50_000 + "]" * 50_000 + "]", b"x"],
    "an error from a client": ['4{"message":"x"}'],
    "a payload behind a DISCONNECT": ['1{"x":1}'],
    "no payload": ["2"],
    "no event": ["2[]"],
    "an event that is no name": ['2[{"toString":"x"}]'],
    "two payloads": ['2["x"]["y"]'],
    "NaN": ['2["x",NaN]'],
    "a number without end": ['2["x",' + "9" * 100_000 + "]"],
}


@pytest.mark.parametrize("messages", _HOSTILE.values(), ids=_HOSTILE)
def test_hostile_messages_close_the_connection_and_disturb_nobody(
    messages: list[socketio.Message],
) -> None:
    world = World("/", "/a")
    witness = world.connect()
    peer = world.connect()
    peer.say('2["before"]')
    with pytest.raises(RemoteProtocolError) as fault:
        peer.say(*messages)
    assert len(str(fault.value)) < 300
    assert str(fault.value).isprintable()
    peer.client.end("parse error")
    assert [getattr(one, "event", one) for one in peer.runner.news] == ["start", "before", "finish"]
    assert world.hub.sockets() == [witness.socket]
    assert list(world.hub.by_sid) == [witness.sid]
    assert set(world.hub.namespaces) == {"/"}
    witness.hears()
    witness.say('20["ask"]')
    witness.socket.recv().reply("yes")
    assert witness.hears() == ['30["yes"]']


@pytest.mark.parametrize(
    "name",
    [
        "__init__",
        "__class__",
        "recv",
        "close",
        "_gone",
        "toString",
        "",
        "*",
        "error",
        "ping",
        "a\n",
    ],
)
def test_name_of_an_event_is_a_key_and_never_an_attribute(name: str) -> None:
    peer = World().connect()
    peer.say(f'20["{name}"]'.replace("\n", "\\n"))
    message = peer.socket.recv()
    assert (message.event, list(message)) == (name, [])
    world = World()
    doors = Doors(world.hub)
    doors.add(Door("/", compile_template(["/"]), None, lines(known=lambda _request: None)))
    world.doors = doors
    peer = world.connect()
    peer.hears()
    peer.say('20["' + name.replace("\n", "\\n") + '"]')
    (answer,) = peer.hears()
    assert json.loads(str(answer)[2:]) == [{"error": f"nothing takes the event {name!r}"}]
    assert world.runners == []


def test_ten_thousand_names_are_refused_at_the_limit() -> None:
    peer = Peer(World())
    with pytest.raises(RemoteProtocolError, match="refused 16 times"):
        peer.say(*(f'0/{number},{{"x":1}}' for number in range(10_000)))
    assert len(peer.hears()) == MAX_REFUSALS_A_SECOND
    assert peer.world.hub.namespaces == {}


def test_acknowledgements_that_nobody_waits_for_are_ignored_and_keep_nothing() -> None:
    peer = World().connect()
    answers: list[Any] = []
    peer.socket.emit("ask", ack=answers.append)
    peer.say(*(f'3{number}["x"]' for number in range(2000)))
    peer.say('30["x"]', '30["x"]')
    assert answers == ["x"]
    assert not peer.socket._acks


def test_placeholder_in_an_event_without_attachments_is_data() -> None:
    peer = World().connect()
    peer.say(f'2["x",{placeholder("0")}]')
    assert peer.socket.recv() == [{"_placeholder": True, "num": 0}]


def test_one_attachment_may_stand_in_two_places() -> None:
    peer = World().connect()
    peer.say(f'51-["x",{placeholder("0")},{placeholder("0")}]', b"x")
    assert peer.socket.recv() == [b"x", b"x"]


def test_client_can_not_join_a_room_by_saying_so() -> None:
    world = World()
    peer, other = world.connect(), world.connect()
    peer.say(f'2["join","{other.sid}"]', '2["join","' + "r" * 1000 + '"]')
    assert world.hub.namespace("/").rooms == {}
    peer.hears()
    world.hub.emit("secret", to=other.sid)
    assert peer.hears() == []


def test_separator_of_payloads_is_always_escaped_in_what_we_say() -> None:
    """Over polling, a bare U+001E would end the packet in the midst of its JSON."""
    peer = World().connect()
    peer.hears()
    peer.say('20["x","a\\u001eb"]')
    message = peer.socket.recv()
    assert message == ["a\x1eb"]
    peer.socket.send(message[0])
    message.reply({message[0]: [message[0]]})
    said = peer.hears()
    assert said == ['2["message","a\\u001eb"]', '30[{"a\\u001eb":["a\\u001eb"]}]']
