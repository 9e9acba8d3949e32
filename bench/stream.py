"""What a long reply costs that a server makes in pieces: how fast it comes, and how much memory it takes."""

import time

from memory import anonymous
from server import Failed, plain

# The first exchange makes what lasts: threads, pools.
WARM = 3
# How much is taken between two looks at the server's memory.
LOOK = 32 << 20


def turn(server, length):
    """MiB per second, and the most memory of its own that it had beyond what it has at rest, in MiB."""
    rest = 0
    for _ in range(WARM):
        rest = max(rest, take(server, 1 << 20, length)[1])
    before = anonymous(server.pid)
    begun = time.monotonic()
    taken, most = take(server, length, length)
    seconds = time.monotonic() - begun
    if taken != length:
        raise Failed(f"expected {length} bytes, got {taken}")
    return {"rate": length / seconds / 2**20, "mib": max(0, most - before) / 2**20, "failed": {}}


def take(server, most, length):
    """How many bytes came, and the most memory that the server had meanwhile. Leaves when it has had enough."""
    buffer, taken, looked, memory = bytearray(1 << 18), 0, 0, 0
    with server.connect() as client:
        client.sendall(plain(server.rival.request))
        while taken < most or most == length:
            count = client.recv_into(buffer)
            if not count:
                break
            taken += count
            if taken - looked >= LOOK:
                looked, memory = taken, max(memory, anonymous(server.pid))
    return taken, memory
