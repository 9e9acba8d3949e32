"""What a call from PHP costs with a connection of its own and with one that is kept.

    python3 bench/kept_php.py UNHANG [ROUNDS]

UNHANG is the command, built with --release. Medians over the rounds, in µs, and in brackets the ratio to the one-shot call of the
same round: the time of a call, and the processor time that the client and the server take for it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stats import spread

SCRIPT = Path(__file__).resolve().parent / "rivals/php/kept.php"
CALLS = 2000
SERVERS = {"oneshot": (), "lines": ("--wire", "lines"), "http": ("--wire", "http")}
KINDS = {"oneshot": "oneshot", "lines kept": "lines", "lines kept by the worker": "lines", "http kept": "http"}


def main():
    unhang, rounds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "25"
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="unhang-bench.") as directory:
        servers = {}
        try:
            for name, flags in SERVERS.items():
                command = [unhang, "serve", f"{directory}/{name}", "--quiet", "--threads", "1", *flags]
                servers[name] = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--", *command], stdout=subprocess.DEVNULL)
            await_all(f"{directory}/{name}" for name in SERVERS)
            asked = [word for kind, name in KINDS.items() for word in (kind, f"{directory}/{name}", str(servers[name].pid))]
            said = subprocess.run(["php", SCRIPT, rounds, str(CALLS), *asked], capture_output=True, text=True, check=True).stdout
        finally:
            for server in servers.values():
                server.terminate()
                server.wait()
    report([json.loads(line) for line in said.splitlines()], load)


def await_all(paths):
    until = time.monotonic() + 10
    for path in paths:
        while not os.path.exists(path):
            if time.monotonic() > until:
                sys.exit(f"no server at {path} within 10 s")
            time.sleep(0.02)


def report(rounds, load):
    print(f"{len(rounds)} rounds of {CALLS} calls each; load {load:.1f} before")
    for kind in KINDS:
        words = []
        for figure in ("wall", "client", "server"):
            here = spread(of[kind][figure] / 1e3 for of in rounds)
            to = spread(of[kind][figure] / of["oneshot"][figure] for of in rounds)
            words.append(f"{figure} {here.middle:.1f} ({to.middle:.2f}, {to.low:.2f}–{to.high:.2f})")
        print(f"{kind:<26}{'  '.join(words)}")


if __name__ == "__main__":
    main()
