"""One session of Engine.IO 3 on real connections: what it does otherwise than one of 4.

What it implements: binary packets on a WebSocket, payloads in bytes and in forms, and
answers that are scripts (JSONP). What it leaves out: how they are spelt, which
`engineio_v3` knows, and all the rest, which is `transports`'.

In one line::

    connection = Connection3(endpoint, request, session, revision, now)
"""

from __future__ import annotations

from . import engineio, engineio_v3
from .errors import RemoteProtocolError
from .forms import parse_urlencoded
from .outgoing import Outgoing
from .request import Request
from .transports import EngineConnection, Owner
from .websocket import Exchange, WebSocket


class Connection3(EngineConnection):
    """A session whose client speaks revision 3."""

    __slots__ = ("_revision",)

    def __init__(
        self,
        owner: Owner,
        request: Request,
        session: engineio.Session,
        revision: engineio_v3.Revision3,
        now: float,
    ) -> None:
        self._revision = revision
        super().__init__(owner, request, session, now)

    # -- over WebSocket ----------------------------------------------------------

    def send(self, outgoing: Outgoing) -> None:
        websocket = self._websocket
        if websocket is None or all(isinstance(one, str) for one in outgoing.messages):
            super().send(outgoing)
            return
        for message in outgoing.messages:
            packet = engineio.MESSAGE + message if isinstance(message, str) else message
            websocket.send_message(self._revision.pack(packet))

    def receive_frame(self, websocket: WebSocket, packet: engineio.Packet) -> None:
        try:
            packet = self._revision.unpack(packet)
        except RemoteProtocolError as error:
            self._receive_fault(websocket, error)
        else:
            super().receive_frame(websocket, packet)

    def _send_packets(self) -> None:
        if self._websocket is not None:
            for packet in self.session.take_packets():
                self._websocket.send_message(self._revision.pack(packet))

    # -- over polling --------------------------------------------------------------

    def _payload(self, request: Request) -> engineio.Packet:
        if self._revision.script is None:
            return super()._payload(request)
        forms = [value for name, value in parse_urlencoded(request.body) if name == "d"]
        if len(forms) != 1:
            raise RemoteProtocolError("a form without one field d", engineio.BAD_REQUEST)
        return engineio_v3.from_form(forms[0])

    def _answer(self, poll: Exchange, payload: engineio.Packet) -> None:
        script = self._revision.script
        if script is None or isinstance(payload, bytes):
            super()._answer(poll, payload)
        else:
            code = engineio_v3.script_of(payload, script)
            poll.respond(self._owner.script(poll.request, code))
