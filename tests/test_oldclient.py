"""Clients of Socket.IO 4 at their connection: what differs from those of 5."""

from __future__ import annotations

import pytest
from test_sockets import Peer, World

from redbarrel_lite.errors import RemoteProtocolError
from redbarrel_lite.oldclient import OldClient


class OldPeer(Peer):
    """An old client, whose Engine.IO session has the sid "abc"."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.client: OldClient = OldClient(
            world.doors, self.connection, self.request, 45.0, 1000, "abc"
        )
        self.client.begin()


def test_root_is_open_before_the_client_says_a_word() -> None:
    peer = OldPeer(World("/", "/chat"))
    assert peer.hears() == ["0"]
    assert (peer.sid, peer.socket.auth) == ("abc", None)
    assert peer.client.connect_by is None
    peer.say('2["hello"]')
    assert peer.runner.news[1].event == "hello"


def test_client_of_a_file_without_root_has_to_join_in_time() -> None:
    peer = OldPeer(World("/chat"))
    assert peer.hears() == []
    assert peer.client.connect_by == 45.0
    peer.say("0/chat")
    assert peer.hears() == ["0/chat,"]
    assert peer.sid == "/chat#abc"
    assert peer.client.connect_by is None


def test_second_connect_closes() -> None:
    peer = OldPeer(World())
    with pytest.raises(RemoteProtocolError, match="second CONNECT"):
        peer.say("0")


@pytest.mark.parametrize(
    ("packet", "auth"),
    [
        ("0/chat", None),
        ("0/chat,", None),
        ("0/chat?,", None),
        ("0/chat?token=abc", {"token": "abc"}),
        ("0/chat?token=abc&b=%2C&c=+,", {"token": "abc", "b": ",", "c": " "}),
        ("0/chat?a=1&a=2,", {"a": "2"}),
        ("0/chat?token=" + "a" * 3000 + ",", {"token": "a" * 3000}),
        ("0/chat?" + "a" * 5000 + ",", None),
        ("0/chat?" + "a&" * 200 + ",", None),
        ('0/chat,{"token":"?x"}', {"token": "?x"}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_query_of_a_namespace_is_the_auth(packet: str, auth: object) -> None:
    peer = OldPeer(World("/chat"))
    peer.say(packet)
    assert peer.hears() == ["0/chat,"]
    assert peer.socket.auth == auth


def test_query_is_no_part_of_the_name_in_any_packet() -> None:
    peer = OldPeer(World("/chat"))
    peer.say("0/chat", '2/chat?x=1,["a,b?"]', '51-/chat?x,["c",{"_placeholder":true,"num":0}]', b"")
    heard = [(message.event, list(message)) for message in peer.runner.news[1:]]
    assert heard == [("a,b?", []), ("c", [b""])]
    peer.say("1/chat?x=1,")
    assert peer.runner.news[-1] == "finish"


def test_unknown_namespace_is_refused_with_a_bare_text() -> None:
    peer = OldPeer(World())
    peer.hears()
    peer.say("0/nowhere?x=1,")
    assert peer.hears() == ['4/nowhere,"Invalid namespace"']
