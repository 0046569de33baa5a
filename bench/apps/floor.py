"""Answers the same bytes to whatever it reads: what no server on asyncio's own loop can save."""

import asyncio
import sys

ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\n"
    b"date: Thu, 26 Nov 2026 00:00:00 GMT\r\ncontent-length: 11\r\n\r\nHello World"
)


class Floor(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(ANSWER)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Floor, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
