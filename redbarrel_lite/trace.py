"""``--trace``: what goes over the connections of a server, layer by layer, as it happens.

What it implements: a watcher (`tap`) that prints a line for each layer, or with ``explain``
the picture of its bytes too, or JSON. Secrets are not shown: cookies, authorizations, the
auth payload of a CONNECT, contents of requests that are not Engine.IO's; of a sid only its
beginning. What it leaves out: what bytes mean (`anatomy_connection`) and pictures (`drawing`).

In one line::

    server.tap = Tap(Tracer(print, "lines", Pen()))
"""

from __future__ import annotations

import json
import logging
import re
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Final

from .anatomy import Layer, as_json, counted, hidden, printable
from .anatomy_connection import Connection
from .anatomy_engineio import SHOWN_OF_SID
from .drawing import Pen, draw, lacking
from .tap import Tapped

log = logging.getLogger("redbarrel_lite")

# The forms of it.
LINES: Final = "lines"
EXPLAIN: Final = "explain"
JSON: Final = "json"

_ARROWS: Final = {"client": "→", "server": "←"}
_STYLES: Final = {"client": "in", "server": "out"}
_NAME_COLUMNS: Final = 27  # of a layer's name, and what it is indented by
_MOST: Final = 200  # characters of a summary; cut only when its secrets are out
_NO_SID: Final = ""
_STARS: Final = re.compile(r"\*{4,}")  # a line is short; how long a secret is helps nobody


class _Traced:
    """One connection: its layers, and the session that it speaks for now."""

    def __init__(self) -> None:
        self.anatomy = Connection()
        self.sid = _NO_SID

    def note_session(self, layer: Layer) -> None:
        """A request names its session; an answer may tell of a new one."""
        if layer.name == "HTTP request":
            self.sid = _NO_SID
        for deep in layer.walk():
            if deep.name in ("Engine.IO query", "Engine.IO packet"):
                for one in deep.fields:
                    if one.name == "sid" and one.secret == SHOWN_OF_SID:
                        self.sid = deep.data[one.start : one.end][:SHOWN_OF_SID].decode("latin-1")


class Tracer:
    """Prints what it is told of connections, by ``write``, which gets whole lines."""

    def __init__(
        self, write: Callable[[str], None], form: str = LINES, pen: Pen | None = None
    ) -> None:
        self._write = write
        self._form = form
        self._pen = pen or Pen()
        self._traced: dict[int, _Traced] = {}
        self._began = time.monotonic()

    # -- the watcher -----------------------------------------------------------------

    def opened(self, connection: Tapped) -> None:
        """A connection begins."""
        self._traced[connection.number] = _Traced()
        self._say(connection, f"connected: {connection.peer}")

    def received(self, connection: Tapped, data: bytes) -> None:
        """The client has sent this."""
        self._show(connection, lambda traced: traced.anatomy.from_client(data))

    def sent(self, connection: Tapped, data: bytes) -> None:
        """We have sent this."""
        self._show(connection, lambda traced: traced.anatomy.from_server(data))

    def closed(self, connection: Tapped, error: Exception | None) -> None:
        """The connection has ended."""
        self._show(connection, lambda traced: traced.anatomy.end())
        if self._traced.pop(connection.number, None) is not None:
            self._say(connection, f"closed: {error}" if error else "closed")

    def _show(self, connection: Tapped, layers_of: Callable[[_Traced], list[Layer]]) -> None:
        """Print the layers of one read or write. A fault of ours ends the trace, and no more."""
        traced = self._traced.get(connection.number)
        if traced is None:
            return
        try:
            for layer in layers_of(traced):
                traced.note_session(layer)
                (shown,) = hidden([layer])
                for line in self._lines(connection.number, traced.sid, shown):
                    self._write(line)
        except Exception:
            log.exception("connection %d can't be traced any further", connection.number)
            del self._traced[connection.number]

    # -- the forms -------------------------------------------------------------------

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 6)

    def _say(self, connection: Tapped, what: str) -> None:
        """What happens to a connection as such."""
        if self._form == JSON:
            said = {"time": self._now(), "connection": connection.number, "event": what}
            self._write(json.dumps(said))
        else:
            self._write(f"#{connection.number} ·      {self._pen.paint('rule', printable(what))}")

    def _lines(self, number: int, sid: str, layer: Layer) -> Iterator[str]:
        if self._form == JSON:
            said = {"time": self._now(), "connection": number, "session": sid, **as_json(layer)}
            yield json.dumps(said)
            return
        lead = f"#{number} {self._pen.paint(_STYLES[layer.sender], _ARROWS[layer.sender])} "
        for depth, deep in _with_depth(layer):
            yield f"{lead}{printable(sid):4} {self._line(deep, depth)}"
            if deep.fault is not None:
                wrong = f"! {printable(deep.fault.reason)}, at byte {deep.fault.at}"
                yield f"{lead}     {self._pen.paint('fault', '  ' * depth + wrong)}"
            elif deep.missing:
                yield f"{lead}     {self._pen.paint('fault', '  ' * depth + lacking(deep))}"
        if self._form == EXPLAIN:
            yield textwrap.indent(draw([layer], self._pen), "   ")

    def _line(self, layer: Layer, depth: int) -> str:
        name = f"{'  ' * depth}{layer.name}".ljust(_NAME_COLUMNS)
        summary = _STARS.sub("…", printable(layer.summary))
        summary = summary if len(summary) <= _MOST else f"{summary[:_MOST]}…"
        size = "" if depth or "byte" in summary else f" ({counted(len(layer.data), 'byte')})"
        return f"{self._pen.paint('name', name)}{summary}{self._pen.paint('rule', size)}"


def _with_depth(layer: Layer, depth: int = 0) -> Iterator[tuple[int, Layer]]:
    yield depth, layer
    for inner in layer.inner:
        yield from _with_depth(inner, depth + 1)


class ClientTracer(Tracer):
    """The same at the other end: what comes is the server's, what goes out the client's."""

    def received(self, connection: Tapped, data: bytes) -> None:
        """The server has sent this."""
        super().sent(connection, data)

    def sent(self, connection: Tapped, data: bytes) -> None:
        """We have sent this."""
        super().received(connection, data)
