"""What a connection that says nothing costs a server in memory of its own."""

import time
from contextlib import ExitStack
from pathlib import Path

from server import Failed, tree

# A server has made its lasting things (threads, pools) by then.
WARM = 200


def turn(server, crowd):
    """Bytes of anonymous memory per idle connection; the kernel's own are not in it."""
    for _ in range(WARM):
        server.ask()
    before = anonymous(server.pid)
    with ExitStack() as clients:
        for _ in range(crowd):
            clients.enter_context(server.connect())
        until = time.monotonic() + 8
        # Each costs it a descriptor: then it has accepted them, but for a handful.
        while descriptors(server.pid) < crowd:
            if time.monotonic() > until:
                raise Failed(f"did not accept {crowd} connections within 8 s")
            time.sleep(0.02)
        # That handful it has, and what it does with them at once it has done, a moment later.
        time.sleep(0.3)
        after = anonymous(server.pid)
    return {"bytes": (after - before) / crowd}


def anonymous(pid):
    """In bytes, with its children."""
    lines = (line for at in tree(pid) for line in Path(f"/proc/{at}/status").read_text().splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def descriptors(pid):
    """How many are open, in its children, too."""
    return sum(len(list(Path(f"/proc/{at}/fd").iterdir())) for at in tree(pid))
