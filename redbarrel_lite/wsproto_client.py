r"""WebSocket, the client's side, without I/O: what tests and tools speak to servers.

What it implements: the other half of RFC 6455: the opening handshake (section 4.1), and
frames, which a client masks and a server must not (5.1). It is the machine of
`wsproto`, and as strict. What it leaves out: extensions, of which its handshake offers none.

In one line::

    client = Connection(lambda: secrets.token_bytes(4)); data = client.message_frame("Hello")

The handshake is a request and its answer, which whoever speaks HTTP (`http1_client`)
sends and receives::

    fields = request_fields(nonce, ["chat"])         # with GET, and a Host
    subprotocol = check_answer(status, answer, nonce, ["chat"])

Chance comes from the caller: sixteen bytes of it are the handshake's nonce, and four are
the masking key of each frame. They are there for the sake of the proxies on the way, so
they need not be good, only not the server's to foretell (RFC 6455 10.3).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from . import wsproto
from .errors import RemoteProtocolError
from .wsproto import LENGTH_IN_16_BITS, LENGTH_IN_64_BITS, MASK, unmask
from .wsproto_handshake import accept_key

VERSION: Final = "13"


def request_fields(nonce: bytes, subprotocols: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The header fields that make a GET an opening handshake, Host and Origin apart.

    ``nonce`` is 16 bytes of chance; ``subprotocols`` are offered in this order.
    """
    fields = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", base64.b64encode(nonce).decode()),
        ("sec-websocket-version", VERSION),
    ]
    if subprotocols:
        fields.append(("sec-websocket-protocol", ", ".join(subprotocols)))
    return fields


def check_answer(
    status: int,
    headers: Iterable[tuple[str, str]],
    nonce: bytes,
    subprotocols: Sequence[str] = (),
) -> str:
    """The subprotocol that the server has chosen, "" for none.

    Raises `RemoteProtocolError` for what is no answer to our request; its ``code`` is
    the status. ``headers`` have names in lower case.
    """
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    if status != 101:
        raise RemoteProtocolError(f"the server answers {status}, not 101 (RFC 6455 4.1)", status)
    wanted = accept_key(base64.b64encode(nonce).decode())
    chosen = fields.get("sec-websocket-protocol", [])
    for holds, rule in (
        (_is_one(fields, "upgrade", "websocket"), "Upgrade is not websocket"),
        (_is_one(fields, "connection", "upgrade"), "Connection is not Upgrade"),
        (fields.get("sec-websocket-accept") == [wanted], "Sec-WebSocket-Accept is not of our key"),
        ("sec-websocket-extensions" not in fields, "an extension that was not offered"),
        (not chosen or chosen[0] in subprotocols, "a subprotocol that was not offered"),
        (len(chosen) < 2, "two subprotocols"),
    ):
        if not holds:
            raise RemoteProtocolError(f"{rule} (RFC 6455 4.1)", status)
    return chosen[0] if chosen else ""


def _is_one(fields: dict[str, list[str]], name: str, token: str) -> bool:
    return [value.strip("\t ").lower() for value in fields.get(name, [])] == [token]


class Connection(wsproto.Connection):
    """One WebSocket, after its handshake, as its client sees it.

    ``new_key`` gives the masking key of each frame, four bytes of chance.
    """

    __slots__ = ("_new_key",)

    _mask = 0  # a server's frames have none

    def __init__(
        self,
        new_key: Callable[[], bytes],
        max_message: int = wsproto.MAX_MESSAGE_BYTES,
        max_fragments: int = wsproto.MAX_FRAGMENTS,
        inflater: Callable[[int], wsproto.Inflater] | None = None,
    ) -> None:
        super().__init__(max_message, max_fragments, inflater)
        self._new_key = new_key
        self._short = -1  # the short way is for masked frames

    def message_frame(self, message: str | bytes) -> bytes:
        """A whole message in one frame, masked."""
        return masked_frame(wsproto.message_frame(message), self._new_key())

    def ping_frame(self, payload: bytes = b"") -> bytes:
        """A ping of at most 125 bytes, masked."""
        return masked_frame(wsproto.ping_frame(payload), self._new_key())

    def _own_frame(self, frame: bytes) -> bytes:
        return masked_frame(frame, self._new_key())


def masked_frame(frame: bytes, key: bytes) -> bytes:
    """A server's frame, with a mask put on: what a client sends (RFC 6455 5.3)."""
    extended = {LENGTH_IN_16_BITS: 2, LENGTH_IN_64_BITS: 8}.get(frame[1], 0)
    start = 2 + extended
    head = bytes((frame[0], frame[1] | MASK)) + frame[2:start]
    return head + key + unmask(frame[start:], key)
