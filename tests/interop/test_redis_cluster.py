"""Several servers on a real Redis: ours, python-socketio's, and processes without a server.

The listings of docs/redis.md are those that run here.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import redis_server
from conftest import ROOT, START_S, Serve, serving
from peers import APPS, HERE, Peer, peers_python
from redis_server import RedisServer, found_by

from redbarrel_lite.testing import Client

pytestmark = pytest.mark.interop

TEXT = (ROOT / "docs" / "redis.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", TEXT, re.M | re.S)
LISTED_URL = "redis://127.0.0.1:6379"

redis, stack = redis_server.redis, redis_server.stack


class Place:
    """A server, ours or theirs, and who is there."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        self.stack = stack
        self.client = stack.enter_context(Client(url, timeout=START_S))

    def socket(self, namespace: str = "/") -> Any:
        return self.stack.enter_context(self.client.socket(namespace))


def peer(stack: ExitStack, role: str, url: str) -> Peer:
    one = Peer([peers_python(), str(HERE / "cluster_peer.py"), role, url])
    stack.callback(one.end)
    return one


def do(socket: Any, method: str, *args: Any, **options: Any) -> Any:
    return socket.call("do", method, args, options)


# -- the page ----------------------------------------------------------------------------------


def test_listings_of_the_page(
    serve: Serve, redis: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    for name, code in BLOCKS:
        (tmp_path / name).write_text(code.replace(LISTED_URL, redis.url), encoding="utf-8")
    command = tmp_path / "bakery.rbr", "--redis", redis.url
    servers = [found_by(serve(*command)) for _ in range(2)]
    one, two = (Place(stack, server.url) for server in servers)
    a, b = one.socket(), two.socket()
    for socket, what in ((a, "bread"), (b, "cakes"), (b, "bread")):
        socket.call("follow", what)
    urllib.request.urlopen(servers[0].url + "/bell", b"the cakes").close()
    assert b.recv() == ["the cakes"]
    subprocess.run([peers_python(), str(tmp_path / "oven.py")], check=True)
    for socket in (a, b):
        assert socket.recv("ready") == [{"what": "bread", "picture": b"\x00\x01"}]
    servers[0].wait_for_line(f"^Redis at {re.escape(redis.url)} is there$")


def test_user_of_the_page_may_do_what_it_needs(
    serve: Serve, stack: ExitStack, tmp_path: Path
) -> None:
    redis = stack.enter_context(RedisServer(tmp_path))
    (line,) = re.findall(r"^ACL SETUSER .*$", TEXT, re.M)
    command = ["redis-cli", "-s", redis.url.removeprefix("unix://"), *line.split()]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"OK\n"
    url = f"{redis.url}?username=chat&password=PASSWORD"
    servers = [found_by(serve(APPS / "cluster.rbr", "--redis", url)) for _ in range(2)]
    a, b = (Place(stack, server.url).socket() for server in servers)
    do(a, "emit", "heard")
    assert b.recv("heard") == []
    for server in servers:
        assert server.said().count("Redis at ") == server.said().count(" is there") == 1
        assert "PASSWORD" not in server.said()


# -- processes without a server ------------------------------------------------------------------


def test_all_that_a_process_without_a_server_can_do(
    serve: Serve, redis: RedisServer, stack: ExitStack
) -> None:
    """RedisManager(write_only=True), as a web application or a worker of Celery has it."""
    servers = [found_by(serve(APPS / "cluster.rbr", "--redis", redis.url)) for _ in range(2)]
    one, two = (Place(stack, server.url) for server in servers)
    a, b, chat = one.socket(), two.socket(), two.socket("/chat")
    raw = stack.enter_context(two.client.websocket("/raw"))
    writer = peer(stack, "writer", redis.url)

    def order(method: str, *args: Any, **options: Any) -> None:
        writer.tell([method, args, options])
        assert writer.next() is True

    order("emit", "all", {"a": 1})
    order("emit", "none", None)
    order("emit", "two", ["x", 2], tuple=True)
    order("emit", "list", ["x", 2])
    order("emit", "binary", {"n": [{"base64": "AAE="}, {"base64": ""}]})
    order("enter_room", b.sid, "/", "red")
    order("emit", "red", 1, room="red")
    order("emit", "sid", 2, to=a.sid)
    order("emit", "several", 3, room=["red", a.sid, b.sid])
    order("emit", "not b", 4, skip_sid=b.sid)
    order("emit", "neither", 5, skip_sid=[a.sid, b.sid])
    order("leave_room", b.sid, "/", "red")
    order("emit", "nobody", 6, room="red")
    order("enter_room", a.sid, "/", "blue")
    order("enter_room", b.sid, "/", "blue")
    order("emit", "blue", 7, room="blue")
    order("close_room", "blue")
    order("emit", "nobody", 8, room="blue")
    order("emit", "chat", "in chat", namespace="/chat")
    order("emit", "message", {"base64": "/w=="}, namespace="/raw")
    order("emit", "nowhere", 9, namespace="/nowhere")
    order("emit", "end", None)
    assert heard(a) == [
        ("all", [{"a": 1}]),
        ("none", []),
        ("two", ["x", 2]),
        ("list", [["x", 2]]),
        ("binary", [{"n": [b"\x00\x01", b""]}]),
        ("sid", [2]),
        ("several", [3]),
        ("not b", [4]),
        ("blue", [7]),
    ]
    assert heard(b)[5:] == [("red", [1]), ("several", [3]), ("blue", [7])]
    assert chat.recv("chat") == ["in chat"]
    assert raw.recv() == b"\xff"
    for server in servers:
        assert "dropped" not in server.said()


def heard(socket: Any) -> list[tuple[str, list[Any]]]:
    """Until the event that ends it."""
    events = []
    while (event := socket.recv()).event != "end":
        events.append((event.event, list(event)))
    return events


# -- one cluster with servers of python-socketio ---------------------------------------------------


@pytest.fixture(scope="module")
def mixed(redis: RedisServer) -> Iterator[tuple[str, str]]:
    """The urls of two servers that hear each other: ours, and theirs."""
    with ExitStack() as stack:
        theirs = peer(stack, "server", redis.url)
        ours = stack.enter_context(serving())(APPS / "cluster.rbr", "--redis", redis.url)
        urls = ours.url, f"http://127.0.0.1:{theirs.next()}"
        here, there = (Place(stack, url).socket() for url in urls)
        # It subscribes when it has its first client, and says nothing about it.
        for number in itertools.count():
            do(here, "emit", "probe", number)
            with suppress(TimeoutError):
                while there.recv("probe", timeout=0.2) != [number]:
                    pass  # one that was late: none is to be on its way any more
                break
        for one in (here, there):
            one.close()
        yield urls


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
def test_connect_talks_to_both(mixed: tuple[str, str], transport: str) -> None:
    for url in mixed:
        command = [sys.executable, "-m", "redbarrel_lite", "connect", f"{url}/socket.io/"]
        said = subprocess.run(
            [*command, "--transport", transport],
            cwd=ROOT,
            input='/call join "connected"\n',
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, "acknowledgement" in said.stdout) == (0, True), said


@pytest.fixture
def both(mixed: tuple[str, str], stack: ExitStack) -> tuple[Any, Any]:
    """A client here, and one there."""
    here, there = (Place(stack, url).socket() for url in mixed)
    return here, there


def test_servers_of_both_kinds_are_one(both: tuple[Any, Any]) -> None:
    here, there = both
    for socket in both:
        assert socket.call("join", "red") == [True]
    for one, other in ((here, there), (there, here)):
        do(one, "emit", "all", {"a": ["\u65e5"]})
        do(one, "emit", "red", b"\x00\xff", room="red")
        do(one, "emit", "nobody", 1, room="blue")
        do(one, "emit", "private", 2, to=other.sid)
        do(one, "emit", "end", 3)
        for socket, private in ((one, []), (other, [("private", [2])])):
            assert heard(socket) == [("all", [{"a": ["\u65e5"]}]), ("red", [b"\x00\xff"]), *private]
    do(here, "emit", "several", "x", "y", exceptions=[here.sid])
    do(here, "emit", "end", 0)
    assert heard(there) == [("several", ["x", "y"])]
    assert heard(here) == []


def test_acknowledgements_go_both_ways(both: tuple[Any, Any], stack: ExitStack) -> None:
    here, there = both
    threads = stack.enter_context(ThreadPoolExecutor())
    for one, other in ((here, there), (there, here)):
        asked = threads.submit(do, one, "call", "question", {"n": 1}, to=other.sid)
        question = other.recv("question")
        assert question == [{"n": 1}]
        question.reply("answer", 2)
        assert asked.result() in ([["answer", 2]], ["answer", 2])  # as a list; as a tuple


def test_clients_are_turned_out_both_ways(both: tuple[Any, Any]) -> None:
    here, there = both
    more = here.also("/chat")
    do(there, "disconnect", more.sid, namespace="/chat")
    assert more.wait_disconnected() == "io server disconnect"
    do(here, "disconnect", there.sid)
    assert there.wait_disconnected() == "io server disconnect"


# -- several workers each --------------------------------------------------------------------------


def test_workers_of_two_servers_are_one(serve: Serve, redis: RedisServer, stack: ExitStack) -> None:
    """Each worker hears Redis by itself, and the others of its server by their own channel."""
    options = ("--redis", redis.url, "--redis-channel", "workers", "--workers", "2")
    servers = [found_by(serve(APPS / "cluster.rbr", *options), workers=2) for _ in range(2)]
    places = [Place(stack, server.url) for server in servers]
    sockets = [place.socket() for place in places for _ in range(4)]
    threads = stack.enter_context(ThreadPoolExecutor())
    for number, socket in enumerate(sockets):
        socket.call("join", f"room {number % 2}")
    for one in (sockets[0], sockets[-1]):
        do(one, "emit", "all", 1)
        do(one, "emit", "room", 2, room="room 1")
        for other in sockets:
            asked = threads.submit(do, one, "call", "question", to=other.sid)
            other.recv("question").reply(other.sid)
            assert asked.result() == [[other.sid]]
        do(one, "emit", "end")
        for number, socket in enumerate(sockets):
            assert heard(socket) == [("all", [1]), ("room", [2])][: 1 + number % 2]
    for socket in sockets[1:]:
        do(sockets[0], "disconnect", socket.sid)
        assert socket.wait_disconnected() == "io server disconnect"


# -- when Redis is away ----------------------------------------------------------------------------


def test_server_goes_on_without_redis_and_is_back_with_it(
    serve: Serve, stack: ExitStack, tmp_path: Path
) -> None:
    with RedisServer(tmp_path) as redis:
        servers = [found_by(serve(APPS / "cluster.rbr", "--redis", redis.url)) for _ in range(2)]
        a, b = (Place(stack, server.url).socket() for server in servers)
        do(a, "emit", "one")
        assert b.recv("one") == []
        redis.stop()
        servers[0].wait_for_line("is away: ")
        do(a, "emit", "two")
        do(a, "emit", "three")
        assert (a.recv("two"), a.recv("three")) == ([], [])
        redis.start()
        servers[0].wait_for_line(r"is back after \d+ s; 2 messages were not published$")
        servers[1].wait_for_line(r"is back after \d+ s$")
        do(a, "emit", "four")
        assert b.recv() == []
        assert b.received == []


def test_server_begins_without_redis(serve: Serve, stack: ExitStack, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    server = serve(APPS / "cluster.rbr", "--redis", redis.url)
    a = Place(stack, server.url).socket()
    do(a, "emit", "here")
    assert a.recv() == []
    server.wait_for_line("is away: ")
    assert server.said().count("is away: ") == 1
    with redis:
        server.wait_for_line("is back after .*; 1 message was not published$")


# -- from outside --------------------------------------------------------------------------------


def test_order_from_outside_is_heard_by_all_and_acknowledged_here(
    serve: Serve, redis: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    path = tmp_path / "emit.sock"
    of_two = ("--workers", "2", "--emit-uds", str(path))
    file, on_redis = APPS / "cluster.rbr", ("--redis", redis.url)
    one = Place(stack, found_by(serve(file, *on_redis, *of_two), workers=2).url)
    two = Place(stack, found_by(serve(file, *on_redis)).url)
    here, there = [one.socket() for _ in range(4)], two.socket()
    command = [sys.executable, "-m", "redbarrel_lite", "emit", "--uds", str(path), "news", "1"]
    not_counted = "the clients of other servers are not counted"
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["reached 4 clients", not_counted]
    command += ["--ack", "60"]
    asking = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for socket in (*here, there):
        assert socket.recv("news") == [1]
        asked = socket.recv("news")
        assert (asked == [1], asked.wants_reply) == (True, socket is not there)
        asked.reply("yes")
    said = asking.communicate()[0]
    told = sorted(f'{socket.sid}: ["yes"]' for socket in here)
    first, *acks, last = said.splitlines()
    assert (first, sorted(acks), last) == ("reached 4 clients", told, not_counted)
