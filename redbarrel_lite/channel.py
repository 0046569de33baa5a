"""A Unix stream socket between two processes of one server: frames, and open files with them.

What it implements: frames of a kind and a length, written at once where the system takes
them and later where it does not, a limit for what waits, and descriptors that travel with a
frame (SCM_RIGHTS, unix(7)). What it leaves out: what a frame means, which `mesh` knows.

In one line::

    channel = Channel(sock, receive, lost); channel.send(frame(Kind.MESSAGE, b"{}"))

A frame is four bytes of length, in network order, one of its kind, and its content. Not
asyncio's transport: that has no way to send a descriptor, nor to receive one.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

log = logging.getLogger("redbarrel_lite")

_HEAD: Final = struct.Struct("!IB")
_READ_BYTES: Final = 64 * 1024
_FLUSH_BYTES: Final = 64 * 1024
# What may wait for a process that does not read. Without this, one whose loop is held
# fills the memory of all others with what they broadcast meanwhile.
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
# Until a descriptor is offered again that the system has not taken.
_AGAIN_S: Final = 0.05


class Kind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1  # who speaks: the first one of either side
    MESSAGE = 2  # for the cluster
    QUESTION = 3
    ANSWER = 4
    CONNECTION = 5  # a client's, with its descriptor
    PACKET = 6  # for clients


_KINDS: Final = {int(kind): kind for kind in Kind}  # an enum's own way is slow


def frame(kind: Kind, content: bytes) -> bytes:
    """The bytes of a frame."""
    return _HEAD.pack(len(content), kind) + content


class _Waiting(NamedTuple):
    """What the other side is still to read: a part of some frames, maybe with a descriptor."""

    data: memoryview
    descriptor: int  # or -1
    frames: int  # so many


class Channel:
    """One side of it."""

    def __init__(
        self,
        sock: socket.socket,
        receive: Callable[[Channel, Kind, bytes, socket.socket | None], object],
        lost: Callable[[Channel], object],
    ) -> None:
        """``receive`` gets each frame, and ``lost`` is called once, at the end."""
        sock.settimeout(0)
        self._socket = sock
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()  # that have come; -1: one is lost
        self._owed: list[bytes] = []  # frames of this turn of the loop
        self._owed_bytes = 0
        self._waiting: deque[_Waiting] = deque()
        self.waiting = 0  # bytes of them
        self.unread = 0  # how many there were when it was cut: the other side did not read
        self.is_open = True
        self._loop.add_reader(sock.fileno(), self._read)

    # -- out ---------------------------------------------------------------------------

    def send(self, data: bytes, descriptor: int = -1) -> None:
        """Send one frame, as soon as the other side reads; to one that is lost, nothing.

        What is said in one turn of the loop goes out together, and so it is heard: what comes
        of it there goes out together, too. The descriptor stays the caller's.
        """
        if not self.is_open:
            return
        if descriptor >= 0:
            self._flush()
            self._send([data], descriptor)
            return
        if not self._owed:
            self._loop.call_soon(self._flush)
        self._owed.append(data)
        self._owed_bytes += len(data)
        if self._owed_bytes > _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        owed, self._owed, self._owed_bytes = self._owed, [], 0
        if owed and self.is_open:
            self._send(owed, -1)

    def _send(self, frames: list[bytes], descriptor: int) -> None:
        rest = memoryview(b"".join(frames))
        if not self._waiting:
            sent = self._write(rest, descriptor)
            if sent == len(rest) or not self.is_open:
                return
            rest = rest[sent:]
            descriptor = -1 if sent else descriptor
            self._loop.add_writer(self._socket.fileno(), self._go_on)
        kept = os.dup(descriptor) if descriptor >= 0 else -1
        self._waiting.append(_Waiting(rest, kept, len(frames)))
        self.waiting += len(rest)
        if self.waiting > MAX_WAITING_BYTES:
            self.unread = sum(one.frames for one in self._waiting)
            self.close()

    def _write(self, data: memoryview, descriptor: int) -> int:
        try:
            if descriptor < 0:
                return self._socket.send(data)
            return socket.send_fds(self._socket, [data], [descriptor])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if error.errno == errno.ETOOMANYREFS:
                self._loop.call_soon(self._pause)  # when whoever calls has its writer
            else:
                self.close()
            return 0

    def _pause(self) -> None:
        """So many descriptors are on their way that the system takes no more (unix(7)).

        The socket is writable all the same: who waits for that alone asks without end.
        """
        if self.is_open:
            self._loop.remove_writer(self._socket.fileno())
            self._loop.call_later(_AGAIN_S, self._try_again)

    def _try_again(self) -> None:
        if self.is_open:
            self._loop.add_writer(self._socket.fileno(), self._go_on)

    def _go_on(self) -> None:
        """The other side has read."""
        while self._waiting:
            data, descriptor, frames = self._waiting[0]
            sent = self._write(data, descriptor)
            if not self.is_open or not sent:
                return
            self.waiting -= sent
            if descriptor >= 0:  # it travels with the first byte
                os.close(descriptor)
            if sent < len(data):
                self._waiting[0] = _Waiting(data[sent:], -1, frames)
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._socket.fileno())

    # -- in ----------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data, descriptors, flags, _ = socket.recv_fds(self._socket, _READ_BYTES, 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close()
            return
        for one in descriptors:
            os.set_inheritable(one, False)  # noqa: FBT003  # its name, and its only argument
        if flags & socket.MSG_CTRUNC:  # we have no descriptor left to receive it as
            descriptors = [*descriptors, -1]
        self._descriptors += descriptors
        if not data:
            self.close()
            return
        self._buffer += data
        self._take_frames()

    def _take_frames(self) -> None:
        buffer = self._buffer
        start = 0
        while self.is_open and len(buffer) - start >= _HEAD.size:
            length, kind = _HEAD.unpack_from(buffer, start)
            end = start + _HEAD.size + length
            if len(buffer) < end:
                break
            content = bytes(buffer[start + _HEAD.size : end])
            start = end
            try:
                self._receive(self, _KINDS[kind], content, self._socket_of(kind))
            except Exception:  # its fault is not that of the frames behind it
                log.exception("what another worker has said is not understood")
        del buffer[:start]

    def _socket_of(self, kind: int) -> socket.socket | None:
        """What came with a frame; None: nothing did, or it is lost."""
        if kind != Kind.CONNECTION or not self._descriptors:
            return None
        descriptor = self._descriptors.popleft()
        return socket.socket(fileno=descriptor) if descriptor >= 0 else None

    # -- the end -----------------------------------------------------------------------

    def close(self) -> None:
        """Close, with what waits: connections among it are at their end."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        for one in (*(waiting.descriptor for waiting in self._waiting), *self._descriptors):
            if one >= 0:
                os.close(one)
        self._waiting.clear()
        self._descriptors.clear()
        self._lost(self)
