"""Many clients with `def` handlers: each has a thread of its own, from its start to its end."""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import TAKES_A_MINUTE, Serve
from wire import WebSocket, run, socketio, until

resource = pytest.importorskip("resource")  # Windows has none
ECHO = Path(__file__).parent / "apps/echo.py"
AT_ONCE = 50  # that connect: the system keeps no more waiting than it likes


# Nobody is pinged before it has been answered, however long two thousand take.
RBR = "path echo ( method SOCKETIO, ping-interval 600, use python:echo.echo );"


def threads_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("\nThreads:")[2].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="threads of a process are counted in /proc")
@pytest.mark.parametrize("clients", [100, pytest.param(2000, marks=TAKES_A_MINUTE)])
def test_each_of_a_crowd_is_served_by_a_thread_that_ends_with_it(
    serve: Serve, tmp_path: Path, clients: int
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    (tmp_path / "echo.py").write_bytes(ECHO.read_bytes())
    (tmp_path / "app.rbr").write_text(RBR, encoding="utf-8")
    server = serve(tmp_path / "app.rbr", "--log", "off")
    pid = server.process.pid
    with urllib.request.urlopen(f"{server.url}/__health__", timeout=30):
        pass  # it has begun: the watchdog has its thread
    before = threads_of(pid)

    async def test() -> None:
        crowd: list[WebSocket] = []
        while len(crowd) < clients:
            crowd += await asyncio.gather(*(socketio(server.url) for _ in range(AT_ONCE)))
        assert threads_of(pid) >= before + clients
        for turn in range(2):
            for number, client in enumerate(crowd):
                await client.text(f'42["message","{turn} of {number}"]')
            for number, client in enumerate(crowd):
                assert await client.read() == f'42["message","{turn} of {number}"]'
        first, *rest = crowd
        for client in rest:
            client.close()
        await until(lambda: threads_of(pid) <= before + 1)
        await first.text('42["message","alone"]')
        assert await first.read() == '42["message","alone"]'

    run(test())
    server.stop()
