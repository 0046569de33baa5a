"""Gives the monitor something to show: a busy machine, and busy sockets, for a while.

    python3 examples/monitor/melt.py [--seconds 20] [--cores 1] [--sockets 40] [URL]

It ends by itself, and at once with Ctrl-C. Each core is kept busy by a process;
half of the sockets talk over WebSocket, half over polling, to the namespace /echo
of `monitor.rbr`, which acknowledges what they say. It is at the same time what a
client of Socket.IO comes to when it may use nothing but the standard library.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from urllib.parse import urlsplit

WORDS = "is it melting down?"
PAUSE_S = 0.05  # between two messages of a socket
PATIENCE_S = 5.0  # for the last answers


def burn(until):
    """Keep a core busy; each process ends itself, even if nobody is left to end it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word
    while time.time() < until:
        sum(number * number for number in range(10_000))


# -- a socket of each kind -----------------------------------------------------------------


class Connection:
    """A connection over HTTP, to the folder of urls where the application is."""

    @classmethod
    async def open(cls, url, transport):
        self = cls()
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self.host = parts.netloc
        self.target = f"{parts.path.rstrip('/')}/socket.io/?EIO=4&transport={transport}"
        self.reader, self.writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        return self

    async def ask(self, method, body="", more=""):
        """Status and body of the answer."""
        content = body.encode()
        self.writer.write(
            f"{method} {self.target} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Content-Length: {len(content)}\r\n{more}\r\n".encode()
            + content
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].split("\r\n")[0]
        return int(head.split()[1]), (await self.reader.readexactly(int(length or 0))).decode()

    def close(self):
        self.writer.close()


class Polling:
    """Packets in the bodies of requests: one connection asks for them, one brings ours."""

    async def open(self, url):
        self.getting = await Connection.open(url, "polling")
        self.posting = await Connection.open(url, "polling")
        _, packet = await self.getting.ask("GET")
        sid = json.loads(packet[1:])["sid"]
        self.getting.target += f"&sid={sid}"
        self.posting.target += f"&sid={sid}"

    async def send(self, packet):
        await self.posting.ask("POST", packet)

    async def receive(self):
        status, body = await self.getting.ask("GET")
        if status != 200:
            raise ConnectionError(body)
        return body.split("\x1e")

    async def close(self):
        """Say goodbye: the server would wait for the next request for a while."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self.send("1")
        self.getting.close()
        self.posting.close()


class WebSocket:
    """Packets in frames (RFC 6455), none of which is long here."""

    async def open(self, url):
        self.connection = await Connection.open(url, "websocket")
        key = base64.b64encode(os.urandom(16)).decode()
        status, _ = await self.connection.ask(
            "GET",
            more="Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n",
        )
        if status != 101:
            raise ConnectionError(f"no WebSocket but {status}")
        await self.receive()  # the handshake

    async def send(self, packet):
        payload, mask = packet.encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self.connection.writer.write(bytes((0x81, 0x80 | len(payload))) + mask + masked)

    async def receive(self):
        first, length = await self.connection.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.connection.reader.readexactly(2), "big")
        payload = await self.connection.reader.readexactly(length)
        if first != 0x81:  # the server says goodbye
            raise ConnectionError("closed by the server")
        return [payload.decode()]

    async def close(self):
        self.connection.close()


async def chatter(transport, url, until, counts):
    """Say something, wait until it is acknowledged, and again."""
    try:
        await transport.open(url)
        await transport.send("40/echo,")
        number = 0
        while time.time() < until:
            for packet in await transport.receive():
                if packet == "2":  # ping
                    await transport.send("3")
                elif packet.startswith(("40/echo", "43/echo")):
                    counts["answered"] += packet[1] == "3"
                    await asyncio.sleep(PAUSE_S)
                    await transport.send(f'42/echo,{number}["say","{WORDS}"]')
                    number += 1
        await transport.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        counts[str(error) or type(error).__name__] += 1


async def talk(url, sockets, until):
    """Let so many sockets talk at a time; returns what came of it."""
    counts = Counter(answered=0)
    kinds = [(WebSocket, Polling)[number % 2] for number in range(sockets)]
    talking = [chatter(kind(), url, until, counts) for kind in kinds]
    # A server that does not answer any more shall not keep us.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*talking), until + PATIENCE_S - time.time())
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--cores", type=int, default=max(1, (os.cpu_count() or 1) - 1))
    parser.add_argument("--sockets", type=int, default=40)
    options = parser.parse_args()
    until = time.time() + options.seconds
    burners = [
        multiprocessing.Process(target=burn, args=(until,), daemon=True)
        for _ in range(options.cores)
    ]
    for burner in burners:
        burner.start()
    print(f"melting {options.cores} cores, {options.sockets} sockets, {options.seconds:g} s")
    counts = asyncio.run(talk(options.url, options.sockets, until))
    for burner in burners:
        burner.join()
    print(", ".join(f"{count} {what}" for what, count in counts.items()))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
