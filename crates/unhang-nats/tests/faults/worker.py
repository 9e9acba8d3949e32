"""A worker for `unhang serve --workers`: notes each call before it does it, waits as long as it says, and answers."""

import os
import sys
import time

# Opened for appending: each note is one write, whole also if the process is killed behind it.
notes = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for line in sys.stdin:
    number, _, request = line.rstrip("\n").partition(" ")
    call, milliseconds, *size = request.split(" ")
    os.write(notes, f"{call} {time.time():.3f}\n".encode())
    time.sleep(int(milliseconds) / 1000)
    print(number, "x" * int(size[0]) if size else f"done-{call}", flush=True)
