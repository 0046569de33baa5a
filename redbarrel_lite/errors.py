"""The error tree: one root, few children, named for who must act.

Floor 0 of the house: this room imports nothing of ours, and every other room
may import it.

    RedBarrelError
    ├── RbrError             the author of the .rbr file must act
    ├── RemoteProtocolError  the peer broke a protocol
    ├── LocalProtocolError   our caller broke a protocol
    ├── AppError             user code, or what a location names, does not work
    ├── Refused              user code turns a connection away, on purpose
    └── SocketClosed         the client has gone, and the handler may end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


def show(value: str | bytes, most: int = 60) -> str:
    """A value from a peer for a message: escaped, and no longer than ``most`` and its quotes.

    An escape may be ten characters long, so what counts is what will be read.
    """
    text = value[:most].decode("latin-1") if isinstance(value, bytes) else value[:most]
    shown = ascii(text)
    if len(value) <= most and len(shown) <= most + 2:
        return shown
    return f"{shown[: most - 2]}...{shown[0]}"


class RedBarrelError(Exception):
    """Root of every error that this package raises on purpose."""


class Span(NamedTuple):
    """Where something stands in a text: from offset ``start`` up to, not with, ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing to say about an .rbr file, for people (`picture`) and for editors (the rest).

    Lines and columns count from 1, columns in characters, a tab being one: what
    editors show. ``picture`` is the message as it is printed, source line and
    carets included; it is drawn when the diagnostic is made, so that nothing
    here holds on to the text.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    filename: str
    span: Span
    line: int
    column: int
    end_line: int
    end_column: int
    help: str
    notes: tuple[str, ...]
    picture: str

    def __str__(self) -> str:
        return self.picture


class RbrError(RedBarrelError):
    """The text of an .rbr file is wrong; its author must mend it.

    ``diagnostics`` holds every error that was found (up to a limit), in the
    order of the text; ``str()`` of the error is what a terminal shows.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(diagnostic.picture for diagnostic in diagnostics))
        self.diagnostics = tuple(diagnostics)


class RemoteProtocolError(RedBarrelError):
    """The peer sent what its protocol forbids.

    ``code`` is the number that the protocol itself answers with: an HTTP
    status (RFC 9110 section 15) from `http1`, a WebSocket close code (RFC 6455
    section 7.4) from `wsproto`, an Engine.IO error code from `engineio`, and 0
    where the protocol has none (`socketio` simply closes). The message is
    meant for the peer: it names role, offending value and rule.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class LocalProtocolError(RedBarrelError):
    """Our own caller asked for what the protocol forbids now."""


class AppError(RedBarrelError):
    """What the .rbr file names cannot be found, imported, called or served.

    ``hint`` says what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Refused(RedBarrelError):
    """Raised by user code to refuse a connection: ``Refused(reason, data)``.

    The client gets a CONNECT_ERROR packet with ``{"message": reason}`` and,
    if it is not None, ``"data": data`` (Socket.IO protocol 5, "Connection to a
    namespace").
    """

    def __init__(self, reason: str = "refused", data: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data = data


class SocketClosed(RedBarrelError):
    """`recv` was called again after it had said that the client has gone.

    Ends a handler quietly: a loop without an exit needs no other.
    """
