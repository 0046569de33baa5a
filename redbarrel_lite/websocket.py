"""The TCP connection of one WebSocket: reads, writes once a turn of the loop, ends in time.

What it implements: the I/O of RFC 6455, with its closing handshake, and the limits of what
waits for a client that does not read. What it leaves out: the rules of the protocol,
which `wsproto` knows, and what its messages mean, which is its `Layer`'s.

In one line::

    websocket = WebSocket(layer, 1_000_000, 1024, None); exchange.switch(headers, websocket)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from . import wsproto
from .deflate import Agreement, Inflater
from .errors import RemoteProtocolError
from .outgoing import Outgoing
from .presence import has_ended
from .request import Request
from .response import Response
from .wsproto import message_frame

log = logging.getLogger("redbarrel_lite")

# What waits for a client that does not read. Above the mark, senders that can
# wait are made to; above the limit the client is dropped, for what waits is
# memory, and a broadcast waits for nobody.
QUEUE_HIGH_BYTES: Final = 64 * 1024
MAX_QUEUE_BYTES: Final = 1024 * 1024
# The peer owes a close frame, and the end of the TCP connection.
CLOSE_TIMEOUT_S: Final = 5.0
# The peer owes that end alone, and has nothing more to read.
LINGER_S: Final = 1.0
# While we don't read from a client we can't see it go; so we look, now and then.
LOOK_EVERY_S: Final = 1.0


class Exchange(Protocol):
    """One HTTP request that waits for its answer."""

    request: Request

    def respond(self, response: Response) -> None:
        """Answer; to a client that has gone it does nothing."""

    def on_abort(self, callback: Callable[[], object]) -> None:
        """Call back if the client goes before the answer."""

    def is_receiving(self, request: Request) -> bool:
        """Whether the body of this request is still on its way."""

    def switch(self, headers: list[tuple[str, str]], protocol: WebSocket) -> None:
        """Answer 101 and give the connection to another protocol."""


class Writer(Protocol):
    """Who has something to write."""

    def flush(self) -> None:
        """Write it."""


class Flusher:
    """Gathers who has something to write, so that each writes once in a turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # For others too: to ask for it costs a call of the system before Python 3.12.
        self.loop = loop
        self._waiting: list[Writer] = []

    def add(self, writer: Writer) -> None:
        """Have ``writer.flush`` called at the end of this turn."""
        if not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append(writer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            writer.flush()


class Layer(Protocol):
    """What a WebSocket carries messages for: a session of Engine.IO, or a socket itself."""

    who: str  # for the log
    prefix: str  # what each text message of a packet begins with
    flusher: Flusher

    def receive_frame(self, websocket: WebSocket, message: str | bytes) -> None:
        """A message has come."""

    def drained(self) -> None:
        """The queue is below its mark."""

    def lost(self, websocket: WebSocket, reason: str) -> None:
        """It is at its end; may be called again."""

    def note(self, what: str) -> None:
        """Count something that happens seldom."""


class WebSocket(asyncio.Protocol):
    """The TCP connection of one WebSocket, after its handshake."""

    __slots__ = (
        "_close_timer",
        "_deflate",
        "_dirty",
        "_has_ended",
        "_is_paused",
        "_layer",
        "_out",
        "_queued",
        "_transport",
        "_ws",
        "close_code",
        "close_reason",
        "congested",
        "heard",
        "when_lost",
    )

    def __init__(
        self, layer: Layer, max_message: int, max_fragments: int, deflate: Agreement | None
    ) -> None:
        self._layer = layer
        self._ws = wsproto.Connection(
            max_message, max_fragments, None if deflate is None else Inflater
        )
        self._deflate = deflate
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._queued = 0  # bytes in it
        self._dirty = False  # flush will be called
        self._close_timer: asyncio.TimerHandle | None = None
        self._has_ended = False  # nothing may be written any more
        self._is_paused = False  # the layer can't take more
        self.congested = False
        self.heard = False  # set by whatever comes
        # How it has ended: what the close frame says that came, or the one about a
        # fault; 1006, if it ended without (RFC 6455 7.1.5 and 7.1.6).
        self.close_code = wsproto.ABNORMAL_CLOSURE
        self.close_reason = ""
        self.when_lost: Callable[[WebSocket], None] | None = None

    # -- asyncio's calls -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(QUEUE_HIGH_BYTES)
        self.flush()  # what was sent before there was a connection

    def data_received(self, data: bytes) -> None:
        layer = self._layer
        self.heard = True
        self._dirty = True  # what the messages make us send is written once, below
        for event in self._ws.receive(data):
            if isinstance(event, (str, bytes)):
                layer.receive_frame(self, event)
            else:
                self._obey(event)
        self.flush()
        if self._ws.behind:
            self._catch_up()

    def _catch_up(self) -> None:
        """Read no more until the messages that are there have been taken, some in each turn."""
        if self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._is_paused or self._transport is None:
            return  # `resume` will, or nobody
        if self._ws.behind:
            self.data_received(b"")
        if not self._ws.behind:
            self.resume()

    def _obey(
        self, event: wsproto.Ping | wsproto.Pong | wsproto.Close | RemoteProtocolError
    ) -> None:
        """What is no message; its answer goes behind what the messages before it made us send."""
        replies = self._ws.replies
        if replies and not isinstance(event, wsproto.Pong):
            if self._ws.state is wsproto.State.CLOSING:  # by now: nothing follows our close frame
                replies.clear()
            else:
                self._out.append(replies.pop(0))
        if isinstance(event, RemoteProtocolError):
            log.info("%s: %s", self._layer.who, event)
            self.close_code, self.close_reason = event.code, str(event)
            self._finish("parse error")
        elif isinstance(event, wsproto.Close):
            self.close_code, self.close_reason = event
            self._finish("transport close")

    def _finish(self, reason: str) -> None:
        """The closing handshake is done, or pointless: flush, then close TCP."""
        self._layer.lost(self, reason)
        asyncio.get_running_loop().call_soon(self._close_tcp)

    def _close_tcp(self) -> None:
        """The server closes first (RFC 6455 7.1.1), as far as it can without loss.

        While bytes of the peer come that nobody reads, to close would be to reset the
        connection: the peer could lose our last frame, or fail to send what it has on
        its way. So we say that nothing more will come, and wait for the peer to close.
        """
        transport = self._transport
        if transport is None:
            return
        self._has_ended = True
        try:
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()
        except OSError:  # the peer has reset the connection, and we are yet to read so
            transport.abort()
        self._abort_in(CLOSE_TIMEOUT_S if transport.get_write_buffer_size() else LINGER_S)

    def eof_received(self) -> bool:
        return False  # closes: there is no half-open WebSocket

    def pause_writing(self) -> None:
        self.congested = True

    def resume_writing(self) -> None:
        self.congested = False
        self._layer.drained()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._out = []
        if self.when_lost is not None:
            self.when_lost(self)
        self._layer.lost(self, "transport error" if error else "transport close")

    # -- our calls -------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes that the system does not take yet, and those that it has yet to be asked for."""
        if self._transport is None:
            return 0
        return self._queued + self._transport.get_write_buffer_size()

    @property
    def ready(self) -> bool:
        """Whether the system takes what we send, at once."""
        return self._transport is not None and self._transport.get_write_buffer_size() == 0

    def send_outgoing(self, outgoing: Outgoing) -> None:
        """Queue a packet; its frames are made once for all who get them."""
        deflate = self._deflate
        if deflate is None:
            frames = outgoing.frames
            if frames is None:
                frames = outgoing.frames = self._frames(outgoing)
        else:
            if outgoing.deflated is None:  # most packets are never compressed
                outgoing.deflated = {}
            frames = outgoing.deflated.get(deflate.window_bits)
            if frames is None:
                frames = outgoing.deflated[deflate.window_bits] = self._frames(outgoing)
        self.send(frames)

    def _frames(self, outgoing: Outgoing) -> bytes:
        prefix = self._layer.prefix
        compress = None if self._deflate is None else self._deflate.compress
        frames = [
            message_frame(prefix + message if isinstance(message, str) else message, compress)
            for message in outgoing.messages
        ]
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def send_message(self, message: str | bytes) -> None:
        """Queue one message of this client alone."""
        self.send(message_frame(message, self._deflate and self._deflate.compress))

    def send(self, frames: bytes) -> None:
        """Queue frames for the end of this turn of the loop."""
        self._out.append(frames)
        self._queued += len(frames)
        if self._queued > QUEUE_HIGH_BYTES:
            # A sender that awaits between its packets must learn of congestion now.
            self.flush()
        elif not self._dirty:
            self._dirty = True
            self._layer.flusher.add(self)

    def flush(self) -> None:
        """Write what has gathered, at once."""
        self._dirty = False
        out = self._out
        if not out:
            return
        transport = self._transport
        if transport is None:
            return
        self._out = []
        self._queued = 0
        if self._has_ended or transport.is_closing():
            return
        # What waits from before counts, not what is to be written: one message may be
        # larger than the limit, and its client reads all the same.
        if self.congested and transport.get_write_buffer_size() > MAX_QUEUE_BYTES:
            log.warning("%s does not read: dropped", self._layer.who)
            self._layer.note("slow client")
            transport.abort()
            self._layer.lost(self, "transport error")
        else:
            transport.write(out[0] if len(out) == 1 else b"".join(out))

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake, behind what is queued."""
        frame = self._ws.close(code, reason)
        if frame:
            self.send(frame)
            self._abort_in(CLOSE_TIMEOUT_S)

    def _abort_in(self, seconds: float) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._close_timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """Drop the connection without another byte."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading."""
        self._is_paused = True
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again, behind what is there already."""
        self._is_paused = False
        if self._transport is None:
            return
        if self._ws.behind:
            self._catch_up()
        elif not self._transport.is_reading():
            self._transport.resume_reading()

    def peer_has_gone(self) -> bool:
        """Whether the peer has closed, behind bytes that we don't read (Linux only)."""
        return self._transport is not None and has_ended(self._transport)
