"""Applications of a few files, and what they answer when they are asked without a server."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable
from pathlib import Path

import pytest
from wire import run

from redbarrel_lite.app import App
from redbarrel_lite.errors import RbrError
from redbarrel_lite.request import Request
from redbarrel_lite.response import Response
from redbarrel_lite.targets import SocketPath


def write(folder: Path, **files: str) -> Path:
    """Files by name, ``app_rbr`` being ``app.rbr``; returns that one."""
    for name, text in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(textwrap.dedent(text))
    return folder / "app.rbr"


async def get(app: App, target: str, method: str = "GET", **headers: str) -> Response:
    """Ask an application without a server."""
    pairs = [(name.lower().replace("_", "-"), value) for name, value in headers.items()]
    request = Request(method, target, pairs, host="a")
    found, request.match = app.find(request)
    assert not isinstance(found, SocketPath)
    answer: Response | Awaitable[Response] = found(request)
    return answer if isinstance(answer, Response) else await answer


def answers(app: App, *targets: str) -> list[bytes]:
    """What an application answers, between its start and its end."""
    found: list[bytes] = []

    async def test() -> None:
        await app.start()
        found.extend([(await get(app, target)).body for target in targets])
        await app.stop()

    run(test())
    return found


def faults(file: Path) -> str:
    """What is wrong with it."""
    with pytest.raises(RbrError) as raised:
        App.load(file)
    return str(raised.value)
