"""Every client in use against our server: each does over each transport all that it can.

socket.io-client 4, 3 and 2 (official.cjs) and python-socketio's four (python_peer.py) speak to
one application, tests/apps/scenarios.rbr, which serves them all at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from conftest import Serve, serving
from fronts import free_port
from peers import (
    APPS,
    HERE,
    MODES,
    Peer,
    Seen,
    finished,
    node,
    node_command,
    node_environment,
    peers_python,
)

pytestmark = pytest.mark.interop

PYTHON_CLIENTS = ["Client", "AsyncClient", "SimpleClient", "AsyncSimpleClient"]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as serve:
        yield serve(APPS / "scenarios.rbr").url


def transport(mode: str) -> str:
    return "polling" if mode == "polling" else "websocket"


SEEN_BY_ALL: Seen = {
    "event": ["é 🐟 \u2028", {"nested": [1, None, True]}],
    "bytes": [{"hex": "00ff"}, {"deep": [{"hex": "€🐟".encode().hex()}]}, {"hex": ""}],
    "answer": [1, {"two": {"hex": "02"}}],
    "order": list(range(300)),
    "room": [{"psst": {"hex": "01"}}],
}
REFUSAL: Seen = {"code": 7, "why": ["no", "card"]}


@pytest.mark.parametrize("version", ["4", "3", "2"])
@pytest.mark.parametrize("mode", MODES)
def test_official_client_does_all_that_it_can(url: str, mode: str, version: str) -> None:
    assert node("official.cjs", url, version, mode) == SEEN_BY_ALL | {
        "auth": "é",
        "connected": ["/", True, True],
        "empty": [],
        "answered": [["why?", {"hex": "07"}]],
        "transport": transport(mode),
        "namespace": ["/room", True],
        "unknown": ["Invalid namespace"],
        # To version 2 a refusal is its data.
        "refused": REFUSAL if version == "2" else ["members only", REFUSAL],
        "left": [True, "client namespace disconnect"],
        "out": "io server disconnect",
    }


@pytest.mark.parametrize("kind", PYTHON_CLIENTS)
def test_python_socketio_does_all_that_it_can(url: str, kind: str) -> None:
    simple = "Simple" in kind
    seen = finished([peers_python(), str(HERE / "python_peer.py"), url, kind], dict(os.environ))
    for mode in MODES:
        this = seen[mode]
        # A client that is not simple starts a thread or task for each message, in no order.
        if not simple:
            this["order"].sort()
        # Over a websocket it hangs up on its own farewell at times.
        assert this["left"][1] in ("client namespace disconnect", "transport close")
        assert this == SEEN_BY_ALL | {
            "auth": {"token": "é"},
            "connected": ["/", True],
            # A simple client can't be asked for anything: it acknowledges for itself.
            "answered": [[]] if simple else [["why?", {"hex": "07"}]],
            "transport": transport(mode),
            "namespace": "/room",
            "unknown": not_told(simple, "/nowhere", {"message": "Invalid namespace"}),
            "refused": not_told(simple, "/closed", {"message": "members only", "data": REFUSAL}),
            "left": [True, this["left"][1]],
            "out": [] if simple else ["server disconnect"],
        }, mode


def not_told(simple: bool, namespace: str, why: Seen) -> Seen:
    """A simple client is not told why it may not connect."""
    return f"One or more namespaces failed to connect: {namespace}" if simple else why


# --- the server goes, and is back -----------------------------------------------------------


@pytest.fixture
def start() -> Iterator[Callable[..., Peer]]:
    started: list[Peer] = []

    def start(*command: str) -> Peer:
        started.append(Peer(list(command)))
        return started[-1]

    yield start
    for peer in started:
        peer.kill()


def are_back(peer: Peer, count: int) -> None:
    """Each was answered as whom it takes itself for, and is a new session."""
    back = peer.next()
    assert len(back["answers"]) == count
    for kind, (by_server, by_client) in back["answers"].items():
        assert by_server == by_client != back["first"][kind], kind


def test_official_clients_are_told_of_the_end_and_come_back(
    serve: Serve, start: Callable[..., Peer]
) -> None:
    node_environment()
    server = serve(APPS / "scenarios.rbr", "--port", str(free_port()))
    clients = start(*node_command("reconnect.cjs", server.url))
    assert clients.next() == {"step": "connected"}
    server.stop()
    reasons = clients.next()["reasons"]
    assert {reason for reason, _ in reasons.values()} == {"transport close"}
    # A close packet to the poller; 1001, "going away", to the others (RFC 6455 7.4.1).
    codes = [reasons[f"4 {mode}"][1] for mode in MODES]
    assert codes == ["transport closed by the server", 1001, 1001]
    serve(APPS / "scenarios.rbr", "--port", str(server.port))
    are_back(clients, 9)


def test_clients_of_every_kind_come_back_after_a_crash(
    serve: Serve, start: Callable[..., Peer]
) -> None:
    """Such as are told of the end need not: python-socketio takes a close packet for a farewell."""
    node_environment()
    server = serve(APPS / "scenarios.rbr", "--port", str(free_port()))
    official = start(*node_command("reconnect.cjs", server.url))
    python = start(peers_python(), str(HERE / "reconnect_peer.py"), server.url)
    assert official.next() == python.next() == {"step": "connected"}
    server.kill()
    reasons = official.next()["reasons"]
    assert {reason for reason, _ in reasons.values()} <= {"transport close", "transport error"}
    serve(APPS / "scenarios.rbr", "--port", str(server.port))
    are_back(official, 9)
    are_back(python, 12)
