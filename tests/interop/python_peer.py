"""python python_peer.py URL Client|AsyncClient|SimpleClient|AsyncSimpleClient

What people do with python-socketio, with each of its four clients, over each transport, at
tests/apps/scenarios.rbr: prints what came of each thing; pytest judges. It runs under the
Python that RBL_PEERS_PYTHON names, or pytest's own.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import socketio

MODES = {
    "polling": ["polling"],
    "websocket": ["websocket"],
    "upgrade": ["polling", "websocket"],
}
MESSAGES = range(300)
DEADLINE_S = 60  # for each mode, and for each step of a client


class Person:
    """A client of any of the four kinds; what a blocking one does is done in threads."""

    def __init__(self, kind: str, namespace: str = "/", **options: Any) -> None:
        self.simple = "Simple" in kind
        self.client = getattr(socketio, kind)(
            reconnection=False, request_timeout=DEADLINE_S, **options
        )
        self.namespace = namespace
        self.refusal: Any = None
        self._heard: asyncio.Queue[list[Any]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        if not self.simple:
            self._listen()

    def _listen(self) -> None:
        """A blocking client calls a def in a thread of its own, an async one a coroutine."""
        blocking = not inspect.iscoroutinefunction(self.client.connect)

        def heard(event: str, *args: Any) -> None:
            self._loop.call_soon_threadsafe(self._heard.put_nowait, [event, *args])

        def answer(question: Any) -> tuple[Any, bytes]:
            return question, b"\x07"

        def refuse(data: Any) -> None:
            self.refusal = data

        def disconnected(*reason: Any) -> None:
            heard("disconnect", *reason)

        handlers: dict[str, Callable[..., Any]] = {
            "*": heard, "question": answer, "connect_error": refuse, "disconnect": disconnected,
        }  # fmt: skip
        for event, handler in handlers.items():
            self.client.on(event, handler if blocking else _async(handler), self.namespace)

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        function = getattr(self.client, method)
        if not self.simple and method in ("emit", "call"):
            options["namespace"] = self.namespace
        if inspect.iscoroutinefunction(function):
            return await function(*args, **options)
        return await asyncio.to_thread(function, *args, **options)

    async def connect(self, url: str, mode: str, **options: Any) -> Person:
        where = {"namespace" if self.simple else "namespaces": self.namespace}
        await self.call(
            "connect",
            url,
            transports=MODES[mode],
            wait_timeout=DEADLINE_S,
            **where,
            **options,
        )
        return self

    async def next(self, wanted: str) -> list[Any]:
        """The arguments of the next event of that name."""
        while True:
            event, *args = await (self._receive() if self.simple else self._heard.get())
            if event == wanted:
                return args

    async def _receive(self) -> list[Any]:
        """A simple client that waits does not see that it is disconnected: it is asked again."""
        while True:
            try:
                event: list[Any] = await self.call("receive", timeout=0.2)
                return event
            except socketio.exceptions.TimeoutError:
                pass
            except socketio.exceptions.DisconnectedError:
                return ["disconnect"]

    @property
    def sid(self) -> str:
        sid: str = self.client.sid if self.simple else self.client.get_sid(self.namespace)
        return sid

    @property
    def transport(self) -> str:
        name: str = self.client.transport if self.simple else self.client.transport()
        return name


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    async def handler(*args: Any) -> Any:
        return function(*args)

    return handler


def plain(value: Any) -> Any:
    """As JSON has it: bytes are shown."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return value


async def scenario(url: str, mode: str, kind: str) -> dict[str, Any]:
    async def enter(namespace: str = "/", **options: Any) -> Person:
        return await Person(kind, namespace).connect(url, mode, **options)

    seen: dict[str, Any] = {}
    a = await enter(auth={"token": "é"})
    seen["auth"] = (await a.next("hello"))[0]["auth"]
    namespace, sid = await a.call("call", "who")
    seen["connected"] = [namespace, sid == a.sid]
    await a.call("emit", "echo", ("é 🐟 \u2028", {"nested": [1, None, True]}))
    seen["event"] = await a.next("echo")
    await a.call("emit", "echo", (b"\0\xff", {"deep": ["€🐟".encode()]}, b""))
    seen["bytes"] = plain(await a.next("echo"))
    seen["answer"] = plain(await a.call("call", "echo", (1, {"two": b"\2"})))
    await a.call("emit", "ask me", "why?")
    seen["answered"] = plain(await a.next("answered"))

    for number in MESSAGES:
        await a.call("emit", "message", number)
    seen["order"] = [(await a.next("message"))[0] for _ in MESSAGES]
    seen["transport"] = a.transport

    room = await enter("/room")
    seen["namespace"] = (await room.call("call", "who"))[0]
    await room.call("call", "join", "den")
    other = await enter("/room")
    await other.call("emit", "tell room", ("den", {"psst": b"\1"}))
    seen["room"] = plain(await room.next("told"))

    for name, what in (("/nowhere", "unknown"), ("/closed", "refused")):
        outsider = Person(kind, name)
        try:
            await outsider.connect(url, mode)
        except socketio.exceptions.ConnectionError as error:
            seen[what] = outsider.refusal or str(error)
    insider = await enter("/closed", auth={"ticket": "valid"})

    await a.call("call", "join", "witnesses")
    leaver = await enter()
    leavers_sid = leaver.sid
    await leaver.call("disconnect")
    [[who, reason]] = await a.next("left")
    seen["left"] = [who == leavers_sid, reason]

    await a.call("emit", "go", True)
    seen["out"] = await a.next("disconnect")
    for person in (room, other, insider):
        await person.call("disconnect")
    return seen


async def main(url: str, kind: str) -> None:
    seen = {}
    for mode in MODES:
        async with asyncio.timeout(DEADLINE_S):
            seen[mode] = await scenario(url, mode, kind)
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
