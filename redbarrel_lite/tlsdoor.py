"""A connection before it speaks HTTP: the TLS handshake, and what the log is told if it fails.

What it implements: the handshake with a time limit, among the connections that are
counted, and one line for what is no TLS, or none of ours. What it leaves out: TLS, which
`ssl` and asyncio know, and certificates, which `serving` reads.

In one line::

    loop.create_server(lambda: TlsDoor(server, context, lambda: HttpConnection(server)), ...)
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from .gate import Gate
from .patience import TimeLimits

log = logging.getLogger("redbarrel_lite")

# OpenSSL's names for faults, and what they mean to who reads the log. Its version decides
# which of several it says.
_MEANT: Final = {
    "HTTP_REQUEST": "this is plain HTTP, and the port speaks TLS: its urls begin with https://",
    "HTTPS_PROXY_REQUEST": "this is plain HTTP for a proxy, and the port speaks TLS",
    "WRONG_VERSION_NUMBER": "this is no TLS, and the port speaks nothing else",
    "UNSUPPORTED_PROTOCOL": "the client knows no TLS as new as 1.2",
    "TLSV1_ALERT_UNKNOWN_CA": "the client does not trust our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the client does not trust our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the client does not trust our certificate",
    "NO_SHARED_CIPHER": "the client has no cipher that we have",
}


class Host(Protocol):
    """What the door needs of the server that it belongs to."""

    limits: TimeLimits
    gate: Gate

    def arrive(self, door: TlsDoor, address: str) -> bool:
        """Somebody has come; False: there is no room."""

    def leave(self, door: TlsDoor) -> None:
        """And is in, or has gone."""

    def track(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something until it is done, and wait for it at the end."""


class TlsDoor(asyncio.Protocol):
    """One TCP connection up to the end of its handshake.

    asyncio would do without: but it tells nobody of a handshake that fails.
    """

    def __init__(
        self, server: Host, context: ssl.SSLContext, inside: Callable[[], asyncio.Protocol]
    ) -> None:
        self._server = server
        self._context = context
        self._inside = inside
        self._transport: asyncio.Transport | None = None
        self.has_failed = False  # the handshake, whoever's fault that was

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.arrive(self, address):
            transport.abort()  # nothing can be said before the handshake, which is dear
            return
        self._transport = transport
        transport.pause_reading()  # what comes is for TLS
        self._server.track(self._shake_hands(transport, address or "unix"))

    def close(self) -> None:
        """Let nobody in any more: the server goes away."""
        if self._transport is not None:
            self._transport.abort()

    async def _shake_hands(self, transport: asyncio.Transport, who: str) -> None:
        early = _Early()
        limits = self._server.limits
        try:
            secure = await asyncio.get_running_loop().start_tls(
                transport,
                early,
                self._context,
                server_side=True,
                ssl_handshake_timeout=max(limits.head, 0.001),
                ssl_shutdown_timeout=max(limits.linger, 0.001),
            )
        except OSError as error:
            self.has_failed = True
            log.info("%s: %s", who, _said(error, limits.head))
            # Or the frame of start_tls in it, the future there, and 256 KiB would hold each other.
            error.__traceback__ = None
            return
        finally:
            self._transport = None
            self._server.leave(self)
        if secure is None or early.has_gone or secure.is_closing():
            return
        protocol = self._inside()
        secure.set_protocol(protocol)
        protocol.connection_made(secure)
        if early.data:
            protocol.data_received(bytes(early.data))


def _said(error: OSError, seconds: float) -> str:
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        return _MEANT.get(reason, f"TLS failed: {reason.lower().replace('_', ' ')}")
    if isinstance(error, ConnectionAbortedError):
        return f"no TLS handshake within {seconds:g} s"
    return "gone before the end of the TLS handshake"


class _Early(asyncio.Protocol):
    """Keeps what comes right behind the handshake, until somebody is there to take it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_gone = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.has_gone = True
