"""Workers that talk to each other over real sockets, all in this process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from wire import run, until

from redbarrel_lite import channel as channel_room
from redbarrel_lite.channel import Channel, Kind, frame
from redbarrel_lite.mesh import Mesh, Seat


class Workers:
    """Places for workers, and who is at each; what the supervisor is otherwise."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.count = count
        self.doors: list[socket.socket] = []
        for number in range(count):
            door = socket.socket(socket.AF_UNIX)
            door.bind(str(folder / str(number)))
            door.listen()
            self.doors.append(door)
        self.meshes: dict[int, Mesh] = {}
        self.heard: dict[int, list[Any]] = {number: [] for number in range(count)}

    def begin(self, number: int, *there: int, **answers: Any) -> Mesh:
        mesh = self.meshes[number] = Mesh(answers)
        mesh.receive = self.heard[number].append
        door = self.doors[number].dup()
        mesh.seat = Seat(number, self.count, self.folder, door, frozenset(there))
        mesh.open()
        return mesh

    def die(self, number: int) -> None:
        self.meshes.pop(number).close()

    async def know_each_other(self) -> None:
        others = len(self.meshes) - 1
        await until(lambda: all(len(one.others) == others for one in self.meshes.values()))


@contextlib.asynccontextmanager
async def workers(count: int) -> AsyncIterator[Workers]:
    with tempfile.TemporaryDirectory() as folder:  # that of pytest is too long for a socket
        there = Workers(Path(folder), count)
        try:
            yield there
        finally:
            for mesh in there.meshes.values():
                mesh.close()
            for door in there.doors:
                door.close()


def test_all_others_hear_what_one_says_in_its_order() -> None:
    async def test() -> None:
        async with workers(3) as there:
            first, second, third = (there.begin(number) for number in range(3))
            await there.know_each_other()
            said = [{"n": n, "long": "x" * n * 1000} for n in range(100)]
            for message in said:
                second.publish(message)
            await until(lambda: len(there.heard[0]) == len(there.heard[2]) == 100)
            assert there.heard == {0: said, 1: [], 2: said}
            assert [first.prefix, third.prefix] == ["0.", "2."]
            assert second.missed == 0

    run(test())


def test_who_begins_meets_those_who_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with workers(3) as there:
            first = there.begin(0)
            await first.meet()
            second = there.begin(1)
            await second.meet()
            assert ([*first.others], [*second.others]) == ([1], [0])
            there.die(0)
            successor = there.begin(0, 1)
            await successor.meet()
            assert ([*successor.others], [*second.others]) == ([1], [0])
            there.die(1)
            monkeypatch.setattr("redbarrel_lite.mesh.MEET_S", 0.01)
            third = there.begin(2)
            await third.meet()  # and does not wait for ever
            assert 1 not in third.others

    run(test())


def test_who_is_alone_says_nothing_and_asks_nobody() -> None:
    async def test() -> None:
        mesh = Mesh({"what": lambda details: details})
        mesh.publish({"a": 1})
        mesh.relay("a", b"1")
        assert await mesh.ask("what", 1) == []
        assert (mesh.prefix, mesh.missed, [*mesh.others]) == ("", 0, [])
        mesh.close()

    run(test())


def test_question_is_answered_by_functions_and_by_coroutines_of_the_others() -> None:
    async def later(details: Any) -> Any:
        await asyncio.sleep(0)
        return {"got": details}

    async def test() -> None:
        async with workers(3) as there:
            asking = there.begin(0)
            there.begin(1, what=lambda details: details + 1)
            there.begin(2, what=later)
            await there.know_each_other()
            found = await asking.ask("what", 6)
            assert len(found) == 2
            assert 7 in found
            assert {"got": 6} in found

    run(test())


def test_who_fails_knows_no_answer_or_dies_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[str] = []

    async def never(_details: Any) -> Any:
        asked.append("never")
        await asyncio.Event().wait()

    def fail(_details: Any) -> Any:
        raise ValueError("failed")

    async def test() -> None:
        async with workers(4) as there:
            asking = there.begin(0)
            there.begin(1, what=lambda _: object())
            there.begin(2, what=fail)
            there.begin(3, what=never)
            await there.know_each_other()
            question = asyncio.create_task(asking.ask("what", None))
            await until(lambda: bool(asked))
            there.die(3)
            assert await question == []
            assert await asking.ask("unknown", None) == []
            assert await asking.ask("what", None, 0.0) == []

    run(test())
    assert "a question of another worker has no answer: 'what'" in caplog.text


def test_one_that_dies_is_missed_until_another_takes_its_place() -> None:
    async def test() -> None:
        async with workers(3) as there:
            meshes = [there.begin(number) for number in range(3)]
            await there.know_each_other()
            for number in (1, 0, 2):
                there.die(number)
                others = [mesh for n, mesh in enumerate(meshes) if n != number]
                await until(lambda: all(len(one.others) == 1 for one in others))  # noqa: B023
                others[0].publish({"lost": number})
                assert others[0].missed
                meshes[number] = there.begin(number)
                await there.know_each_other()
                others[0].publish({"heard": number})
                await until(lambda: {"heard": number} in there.heard[number])  # noqa: B023
                assert {"lost": number} not in there.heard[number]

    run(test())


def test_connection_and_what_was_read_of_it_go_to_its_owner() -> None:
    async def test() -> None:
        async with workers(2) as there:
            one, other = there.begin(0), there.begin(1)
            await there.know_each_other()
            welcomed: list[tuple[socket.socket, bytes]] = []
            other.welcome = lambda sock, content: welcomed.append((sock, content))
            pairs = [socket.socketpair() for _ in range(20)]
            for number, (ours, theirs) in enumerate(pairs):
                one.publish({"between": number})
                assert one.hand(1, theirs.fileno(), b"read %d" % number)
                theirs.close()
                ours.sendall(b"more %d" % number)
            await until(lambda: len(welcomed) == 20)
            for number, ((ours, _), (sock, content)) in enumerate(
                zip(pairs, welcomed, strict=True)
            ):
                assert content == b"read %d" % number
                assert sock.recv(100) == b"more %d" % number
                assert not os.get_inheritable(sock.fileno())
                ours.close()
                sock.close()
            assert len(there.heard[1]) == 20
            assert not one.hand(7, 0, b"")

    run(test())


def test_connection_waits_while_too_many_are_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """ETOOMANYREFS, which root is spared; and what is said behind it waits, too."""
    offered: list[int] = []

    def send_fds(sock: socket.socket, buffers: Any, fds: list[int]) -> int:
        offered.extend(fds)
        if len(offered) < 3:
            raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
        return really(sock, buffers, fds)

    really = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", send_fds)

    async def test() -> None:
        async with workers(2) as there:
            one, other = there.begin(0), there.begin(1)
            await there.know_each_other()
            welcomed: list[socket.socket] = []
            other.welcome = lambda sock, _content: welcomed.append(sock)
            ours, theirs = socket.socketpair()
            with ours, theirs:
                one.hand(1, theirs.fileno(), b"read")
                one.publish({"behind": "it"})
                await until(lambda: there.heard[1] == [{"behind": "it"}])
                assert len(offered) == 3
                with welcomed[0] as sock:
                    ours.sendall(b"more")
                    assert sock.recv(100) == b"more"

    run(test())


def test_connection_without_a_descriptor_is_lost_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with workers(2) as there:
            one, other = there.begin(0), there.begin(1)
            await there.know_each_other()
            other.welcome = lambda _sock, _content: pytest.fail("nothing is there")
            ours, theirs = socket.socketpair()
            for _ in range(3):
                assert one.hand(1, theirs.fileno(), b"lost")
            theirs.close()
            one.publish({"behind": "them"})
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                await until(lambda: there.heard[1] == [{"behind": "them"}])
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert ours.recv(1) == b""
            ours.close()

    with caplog.at_level(logging.WARNING):
        run(test())
    assert caplog.messages == [
        "a connection of another worker is lost: there is no descriptor for it"
    ]


class End:
    """One end of a channel whose other end is read by hand."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.theirs.settimeout(0)
        self.lost = 0
        self.channel = Channel(self.ours, self._receive, self._lose)

    def _receive(self, *_: object) -> None:
        raise AssertionError("nobody has said anything")

    def _lose(self, _channel: Channel) -> None:
        self.lost += 1

    def close(self) -> None:
        self.channel.close()
        self.theirs.close()


async def is_closed(channel: Channel) -> None:
    await until(lambda: not channel.is_open)


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_what_is_not_read_waits_with_its_descriptors_in_order() -> None:
    async def test() -> None:
        end = End()
        before = descriptors()
        with contextlib.ExitStack() as stack:
            reading: list[int] = []
            for number in range(50):
                read, write = os.pipe()
                os.write(write, b"%d" % number)
                os.close(write)
                end.channel.send(frame(Kind.CONNECTION, b"%d " % number * 5000), read)
                os.close(read)
            assert end.channel.waiting
            content = bytearray()
            while end.channel.waiting or len(reading) < 50:
                with contextlib.suppress(BlockingIOError):
                    data, found, _, _ = socket.recv_fds(end.theirs, 1 << 20, 8)
                    content += data
                    for one in found:
                        stack.callback(os.close, one)
                    reading += found
                await asyncio.sleep(0)
            with contextlib.suppress(BlockingIOError):
                while data := end.theirs.recv(1 << 20):
                    content += data
            expected = [frame(Kind.CONNECTION, b"%d " % number * 5000) for number in range(50)]
            assert content == b"".join(expected)
            assert [os.read(one, 10) for one in reading] == [b"%d" % n for n in range(50)]
        assert descriptors() == before
        end.close()

    run(test())


def test_one_that_does_not_read_is_cut_and_what_waited_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channel_room, "MAX_WAITING_BYTES", 1_000_000)

    async def test() -> None:
        end = End()
        before = descriptors()
        while end.channel.is_open:
            end.channel.send(frame(Kind.CONNECTION, b"x" * 10_000), end.theirs.fileno())
            assert end.channel.waiting <= 1_010_005
        assert end.lost == 1
        assert end.channel.unread > 90
        end.channel.send(b"nothing comes of it")
        assert descriptors() == before - 1
        end.close()
        async with workers(2) as there:
            one = there.begin(0)
            there.begin(1)
            await there.know_each_other()
            for number in range(1000):  # in one turn of the loop, in which nobody reads
                one.publish({"n": number, "x": "x" * 10_000})
            assert one.missed > 90
            await there.know_each_other()
            there.heard[1].clear()
            one.publish({"again": True})
            await until(lambda: {"again": True} in there.heard[1])

    with caplog.at_level(logging.WARNING):
        run(test())
    (said,) = [line for line in caplog.messages if "does not read" in line]
    assert said.startswith("worker 1 does not read: ")


def test_frames_are_the_same_however_they_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[tuple[Kind, bytes]] = []

    def receive(_: Channel, kind: Kind, content: bytes, sock: socket.socket | None) -> None:
        assert sock is None
        heard.append((kind, content))
        if content == b"bad":
            raise ValueError(content)

    async def test() -> None:
        said = [
            (Kind.MESSAGE, b"one"),
            (Kind.HELLO, b""),
            (Kind.MESSAGE, b"bad"),
            (Kind.ANSWER, b"x"),
        ]
        data = b"".join(frame(kind, content) for kind, content in said)
        for size in (1, 3, 7, len(data)):
            heard.clear()
            ours, theirs = socket.socketpair()
            channel = Channel(ours, receive, lambda _: None)
            for start in range(0, len(data), size):
                theirs.sendall(data[start : start + size])
                await asyncio.sleep(0)
            await until(lambda: len(heard) == 4)
            assert heard == said
            theirs.close()
            await is_closed(channel)

    run(test())
    assert caplog.text.count("ValueError: b'bad'") == 4
