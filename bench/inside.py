"""What a server does for an exchange: its system calls, counted by strace, and its instructions, by callgrind.

Both slow it down, so nothing is timed here.
"""

import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import load
from server import Failed, Server, tree

WATCHED = ("c", "unhang-1", "unhang", "unhang-log", "serve-1", "serve-log", "tokio", "go")
CLIENTS = (1, 64)
COUNT = 2_000


def system_calls(places, rows):
    """For each row and number of clients: calls per exchange by name; or why there are none."""
    if not shutil.which("strace"):
        return {"skipped": "strace is not there"}
    found = {}
    for row in rows:
        server = Server(places, row, f"strace-{row.key}")
        try:
            server.ready()
            found[row.key] = {str(clients): traced(places, server, clients) for clients in CLIENTS}
        except (Failed, OSError) as why:
            found[row.key] = {"failed": str(why)}
        finally:
            server.stop()
    return found


def traced(places, server, clients):
    ask(places, server, clients, COUNT // 4)
    with tempfile.NamedTemporaryFile("r", dir=places.directory) as table:
        watched = [word for pid in tree(server.pid) for word in ("-p", str(pid))]
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-o", table.name, *watched], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            # It says so when it has attached, or why it cannot.
            said = tracer.stderr.readline()
            if "attached" not in said:
                raise Failed(f"strace: {said.strip()}")
            # The last of many threads a moment after the first.
            time.sleep(0.2)
            ask(places, server, clients, COUNT)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=10)
        return per_exchange(calls(table.read()), COUNT)


def calls(text):
    """From the table that `strace -c` prints: time, seconds, µs a call, calls, perhaps errors, name."""
    rows = (line.split() for line in text.splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def per_exchange(counts, exchanges):
    """What is done now and then (a clock, a look at the file) is left out."""
    shares = {name: round(count / exchanges, 2) for name, count in counts.items()}
    return {name: share for name, share in sorted(shares.items(), key=lambda of: -of[1]) if share >= 0.02}


def instructions(places, rows):
    """For each row, instructions of its own per exchange: the difference of a long and a short run. Go is no matter for
    valgrind."""
    if not shutil.which("valgrind"):
        return {"skipped": "valgrind is not there"}
    found = {}
    for row in rows:
        if row.rival == "go":
            continue
        try:
            short, long = (counted(places, row, count) for count in (COUNT // 4, COUNT))
            found[row.key] = (long - short) / (COUNT - COUNT // 4)
        except (Failed, OSError) as why:
            found[row.key] = str(why)
    return found


def counted(places, row, exchanges):
    out = Path(places.directory, f"callgrind.{row.key}.{exchanges}")
    under = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    server = Server(places, row, f"callgrind-{row.key}-{exchanges}", under)
    try:
        server.ready()
        ask(places, server, 64, exchanges)
    finally:
        server.stop()
    total = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE) if out.exists() else None
    if not total:
        raise Failed("callgrind left no total")
    return int(total[1])


def ask(places, server, clients, count):
    return load.turn(places.unhang, server, ("--clients", str(clients), "--count", str(count), "--warm-up", "0s"))
