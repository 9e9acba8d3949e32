"""A server that hangs nobody: python3 server.py /tmp/s.sock"""
import asyncio
import os
import sys

DEADLINE = 5  # seconds for the whole exchange


async def serve(reader, writer):
    try:
        async with asyncio.timeout(DEADLINE):
            request = await reader.readline()  # to a newline, or the end
            writer.write(request.rstrip(b"\n").upper() + b"\n")
            await writer.drain()
    except (TimeoutError, ConnectionError, ValueError):
        pass  # late, gone, or longer than 64 KiB
    finally:
        writer.close()  # whatever happens: this is the end of the reply


async def main(path):
    if os.path.exists(path):
        os.unlink(path)  # what the last run has left; with two servers at once, use a lock
    server = await asyncio.start_unix_server(serve, path)
    print("ready", flush=True)
    await server.serve_forever()


asyncio.run(main(sys.argv[1]))
