"""@socket.io/redis-emitter, all that it can do, against two of our servers on a real Redis.

The listing of docs/redis.md is the one that runs here.
"""

from __future__ import annotations

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis_server
from conftest import ROOT, START_S, Serve
from peers import APPS, HERE, Peer, node, node_environment
from redis_server import RedisServer, found_by

from redbarrel_lite.testing import Client

pytestmark = pytest.mark.interop

VECTORS = json.loads((ROOT / "tests/vectors/emitter.json").read_text("utf-8"))
PAGE = (ROOT / "docs" / "redis.md").read_text("utf-8")
BAKERY = re.findall(
    r"^```\w+\n(?:#|//) (bakery\.rbr|bakery\.py|mixer\.js)\n(.*?)^```$", PAGE, re.M | re.S
)

redis, stack = redis_server.redis, redis_server.stack


class Program:
    """A process of Node.js with an emitter."""

    def __init__(self, stack: ExitStack, redis: RedisServer, key: str = "") -> None:
        path = redis.url.removeprefix("unix://")
        self._peer = Peer(["node", str(HERE / "emitter.cjs"), path, key])
        stack.callback(self._peer.end)

    def does(self, *lines: str) -> None:
        for line in lines:
            self._peer.tell(line)
            assert self._peer.next() is True


def heard(socket: Any) -> list[Any]:
    """What a client has heard until the event that ends it: names and arguments."""
    events = []
    while (event := socket.recv()).event != "end":
        events.append([event.event, *event])
    return events


def test_vectors_are_what_the_packages_write() -> None:
    assert node("emitter_vectors.cjs") == {
        "values": [row["hex"] for row in VECTORS["values"]],
        "emits": VECTORS["emits"],
    }


def test_each_operation_reaches_who_is_meant_on_both_servers(
    serve: Serve, redis: RedisServer, stack: ExitStack
) -> None:
    options = ("--redis", redis.url, "--redis-emitter", "socket.io")
    # Each worker hears the emitter itself, and tells the others nothing of it.
    servers = [
        found_by(serve(APPS / "cluster.rbr", *options)),
        found_by(serve(APPS / "cluster.rbr", *options, "--workers", "2"), workers=2),
    ]
    one, two = (stack.enter_context(Client(server.url, timeout=START_S)) for server in servers)
    a, b, c = (stack.enter_context(client.socket()) for client in (one, two, two))
    chat = stack.enter_context(two.socket("/chat"))
    raw = stack.enter_context(one.websocket("/raw"))
    program = Program(stack, redis)
    a.call("join", "red")
    b.call("join", "red")
    b.call("join", "blue")
    program.does(
        "io.emit('all', { a: 1 }, null, undefined, 1.5, -1, 2 ** 40, 'é€🐟', [true, []])",
        "io.to('red').emit('red', 'x')",
        "io.in('red').in('blue').emit('red or blue, once')",
        "io.to(['blue', 'nobody']).emit('blue')",
        "io.except('blue').emit('not blue')",
        "io.to('red').except(['blue', 'x']).emit('red and not blue')",
        f"io.to('{c.sid}').emit('c alone')",
        f"io.except('{c.sid}').emit('all but c')",
        "io.volatile.emit('volatile')",
        "io.compress(true).to('red').emit('compressed')",
        "io.emit('binary', { b: Buffer.from([0, 1]), n: [Buffer.alloc(300, 7)] })",
        "io.emit('when', new Date(1500000000001))",
        "io.of('/chat').emit('in chat')",
        "io.of('raw').emit('message', 'to raw')",
        "io.of('raw').emit('message', Buffer.from([255]))",
        "io.of('/nowhere').emit('nobody')",
        "io.in('blue').socketsJoin(['green', 'grey'])",
        "io.to('green').emit('green')",
        "io.in('green').socketsLeave('grey')",
        "io.to('grey').emit('grey')",
        "io.socketsJoin('everybody')",
        "io.to('everybody').emit('everybody')",
        "io.serverSideEmit('ping', 1)",
        "io.emit('end')",
        "io.of('/chat').emit('end')",
    )
    text = ["all", {"a": 1}, None, None, 1.5, -1, 2**40, "é€🐟", [True, []]]
    binary = ["binary", {"b": b"\0\1", "n": [b"\7" * 300]}]
    late = [["volatile"], binary, ["when", "2017-07-14T02:40:00.001Z"], ["everybody"]]
    assert heard(a) == [
        *(text, ["red", "x"], ["red or blue, once"], ["not blue"], ["red and not blue"]),
        *(["all but c"], ["volatile"], ["compressed"], *late[1:]),
    ]
    assert heard(b) == [
        *(text, ["red", "x"], ["red or blue, once"], ["blue"], ["all but c"], ["volatile"]),
        *(["compressed"], *late[1:3], ["green"], *late[3:]),
    ]
    assert heard(c) == [text, ["not blue"], ["c alone"], *late]
    assert heard(chat) == [["in chat"]]
    assert [raw.recv(), raw.recv()] == ["to raw", b"\xff"]

    also = c.also("/chat")
    program.does("io.in('green').disconnectSockets()", f"io.in('{c.sid}').disconnectSockets(true)")
    assert b.wait_disconnected() == "io server disconnect"
    assert c.wait_disconnected() == "io server disconnect"
    also.wait_disconnected()
    program.does("io.emit('end')")
    assert heard(a) == []
    for server in servers:
        assert "dropped" not in server.said()


def test_another_key_is_another_program(serve: Serve, redis: RedisServer, stack: ExitStack) -> None:
    options = ("--redis", redis.url, "--redis-emitter", "my[app]")
    client = stack.enter_context(
        Client(found_by(serve(APPS / "cluster.rbr", *options)).url, timeout=START_S)
    )
    socket = stack.enter_context(client.socket())
    Program(stack, redis).does("io.emit('usual')")
    Program(stack, redis, "my[app]").does("io.emit('ours')", "io.emit('end')")
    assert heard(socket) == [["ours"]]


def test_broadcasts_of_a_server_of_node_are_heard_and_its_questions_are_not_disturbed(
    serve: Serve, redis: RedisServer, stack: ExitStack
) -> None:
    theirs = Peer(["node", str(HERE / "node_cluster.cjs"), redis.url.removeprefix("unix://")])
    stack.callback(theirs.end)
    port = theirs.next()
    options = ("--redis", redis.url, "--redis-emitter", "socket.io")
    ours = found_by(serve(APPS / "cluster.rbr", *options))
    a = stack.enter_context(stack.enter_context(Client(ours.url, timeout=START_S)).socket())
    b = stack.enter_context(
        stack.enter_context(Client(f"http://127.0.0.1:{port}", timeout=START_S)).socket()
    )
    a.call("join", "red")
    for line in (
        "io.emit('all', { a: [1] }, Buffer.from('zz'))",
        "io.to('red').emit('red')",
        "io.except('red').emit('not red')",
        "io.local.emit('theirs alone')",
        "io.sockets.sockets.values().next().value.broadcast.emit('all but b')",
    ):
        theirs.tell(line)
        theirs.next()
    # How many servers there are they count by their subscriptions, and wait for so many answers.
    theirs.tell("io.fetchSockets().then((all) => all.map(({ id }) => id))")
    assert theirs.next() == [b.sid]
    theirs.tell("io.emit('end') && io.in('red').disconnectSockets()")
    theirs.next()
    everything = ["all", {"a": [1]}, b"zz"]
    assert heard(a) == [everything, ["red"], ["all but b"]]
    assert heard(b) == [everything, ["not red"], ["theirs alone"]]
    a.wait_disconnected()
    assert b.connected
    assert "dropped" not in ours.said()


def test_listing_of_the_page(
    serve: Serve, redis: RedisServer, stack: ExitStack, tmp_path: Path
) -> None:
    for name, code in BAKERY:
        (tmp_path / name).write_text(code.replace('url: "redis://127.0.0.1:6379"', "%s"), "utf-8")
    mixer = tmp_path / "mixer.js"
    path = json.dumps({"path": redis.url.removeprefix("unix://")})
    mixer.write_text(mixer.read_text("utf-8") % f"socket: {path}", "utf-8")
    options = ("--redis", redis.url, "--redis-emitter", "socket.io")
    client = stack.enter_context(
        Client(found_by(serve(tmp_path / "bakery.rbr", *options)).url, timeout=START_S)
    )
    bread, cakes = (stack.enter_context(client.socket()) for _ in range(2))
    bread.call("follow", "bread")
    cakes.call("follow", "cakes")
    subprocess.run(["node", str(mixer)], env=node_environment(), check=True)
    for socket in (bread, cakes):
        dough = {"what": "dough", "at": "1970-01-01T00:00:00.000Z"}
        assert socket.recv("ready") == [dough]
