"""Python's asyncio as its documentation writes it. Only the queue is longer than its 100, so that the drain fits."""

import asyncio
import sys


async def handle(reader, writer):
    request = await reader.read(1024)
    writer.write(b"pong:" + request)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    server = await asyncio.start_unix_server(handle, sys.argv[1], backlog=4096)
    await server.serve_forever()


asyncio.run(main())
