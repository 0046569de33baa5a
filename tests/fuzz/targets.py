"""All targets by their names."""

from __future__ import annotations

from typing import Final

from .in_rbr import Rbr
from .in_requests import Fields, Forms
from .laws import Target
from .over_engineio import Payloads
from .over_http import Answers, Chunked, Head
from .over_redis import Msgpack, Resp
from .over_socketio import Packets
from .over_websocket import Deflate, Frames

TARGETS: Final[dict[str, Target]] = {
    target.name: target
    for target in (
        Head(),
        Chunked(),
        Answers(),
        Forms(),
        Fields(),
        Frames(),
        Deflate(),
        Payloads(),
        Packets(),
        Resp(),
        Msgpack(),
        Rbr(),
    )
}
