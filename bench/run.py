"""Runs the servers in turn and writes down what it saw. script/bench builds them, and calls this."""

import argparse
import json
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import inside
import load
import machine
import memory
import results
import rivals
import stream
from rivals import RIVALS, Places
from server import Failed, Server
from tables import CROWD, GIB, TABLES

ROOT = Path(__file__).resolve().parent.parent
# Descriptors: a crowd, the load beside it, and what a program has open anyway.
ENOUGH = CROWD + 2_000


def main():
    args = arguments()
    # A server is stopped in a `finally`: a signal must be an exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with tempfile.TemporaryDirectory(prefix="unhang-bench.") as directory:
        places = Places(args.build, args.unhang, args.go, args.node, args.python, args.base, directory)
        missing = {name: why for name, rival in RIVALS.items() if (why := places.missing(rival))}
        if args.rivals:
            asked = {"c", "unhang", "lines", "http", "c-lines", "c-http", "tokio", "before", *args.rivals}
            missing |= {name: "it was not asked for" for name in RIVALS if name not in asked and name not in missing}
        for name, why in missing.items():
            say("skip", f"{RIVALS[name].label}: {why}")
        result = {
            "machine": machine.facts(ROOT),
            "quick": args.quick,
            "seed": args.seed,
            "versions": rivals.versions(places),
            "skipped": {RIVALS[name].label: why for name, why in missing.items()},
            "tables": {},
        }
        chance = random.Random(args.seed)
        for table in TABLES:
            if args.only and table.name not in args.only:
                continue
            if hard < ENOUGH and needs_crowd(table):
                result["tables"][table.name] = {"skipped": f"it wants {ENOUGH} descriptors, the limit is {hard}"}
                continue
            result["tables"][table.name] = measure(places, table, missing, args.quick, chance)
        watched = [row for row in TABLES[0].rows if row.key in inside.WATCHED and row.rival not in missing]
        result["labels"] = {row.key: row.label or RIVALS[row.rival].label for row in watched}
        if not args.only or "calls" in args.only:
            say("calls", "strace")
            result["calls"] = inside.system_calls(places, watched)
        if args.profile:
            say("profile", "callgrind")
            result["instructions"] = inside.instructions(places, watched)

    if args.into:
        earlier = json.loads(args.into.read_text())
        earlier["tables"] |= result["tables"]
        result = earlier
    args.out.write_text(results.text(result))


def measure(places, table, missing, quick, chance):
    """Rounds in which every row has its turn, in another order each time."""
    begun, moment = time.monotonic(), machine.moment(ROOT)
    rows = {row.key: row for row in table.rows if row.rival not in missing}
    dropped, rounds, servers = {}, [], {}
    try:
        # All of them live all the time: one that waits costs nothing, one that starts does.
        if table.measure == "load":
            for key in list(rows):
                with drop(rows, dropped, key):
                    servers[key] = Server(places, rows[key], f"{table.name}-{key}")
                    servers[key].ready()
        # The first round warms them up.
        for number in range(table.rounds[quick] + (table.measure == "load")):
            turns = {}
            for key in chance.sample(list(rows), len(rows)):
                with drop(rows, dropped, key):
                    turns[key] = turn(places, table, rows[key], servers.get(key))
            if number or table.measure != "load":
                rounds.append(turns)
    finally:
        for server in servers.values():
            server.stop()
    say(table.name, f"{len(rounds)} rounds of {len(rows)} servers in {time.monotonic() - begun:.0f} s")
    return {
        "base": table.base,
        "again": table.again,
        "load": table.load,
        "moment": moment,
        "labels": {row.key: row.label or RIVALS[row.rival].label for row in table.rows if row.rival not in missing},
        "dropped": dropped,
        "rounds": rounds,
    }


def turn(places, table, row, server):
    if table.measure == "load":
        return load.turn(places.unhang, server, (*table.load, *row.load), table.reply_bytes)
    # The server's allocator keeps memory of the last crowd, which would hide the next one.
    server = Server(places, row, f"{table.name}-{row.key}")
    try:
        return stream.turn(server.ready(), GIB) if table.measure == "stream" else memory.turn(server.ready(), CROWD)
    finally:
        server.stop()


class drop:
    """A server that fails leaves the table, with the reason, and the others go on."""

    def __init__(self, rows, dropped, key):
        self.rows, self.dropped, self.key = rows, dropped, key

    def __enter__(self):
        return self

    def __exit__(self, kind, why, trace):
        if isinstance(why, (Failed, OSError)):
            del self.rows[self.key]
            self.dropped[self.key] = str(why)
            say("drop", f"{self.key}: {why}")
            return True
        return False


def needs_crowd(table):
    return table.measure == "memory" or any(str(CROWD) in (*table.load, *row.load) for row in table.rows)


def say(label, text):
    print(f"{label:<13} {text}", file=sys.stderr, flush=True)


def arguments():
    """script/bench says what they mean; here they come from it alone."""
    parser = argparse.ArgumentParser()
    for name in ("build", "unhang", "go", "node", "python"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--base", default="")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--profile", action="store_true")
    known = {"only": [table.name for table in TABLES] + ["calls"], "rivals": list(RIVALS)}
    for name in known:
        parser.add_argument(f"--{name}", type=lambda names: names.split(","), default=[])
    args = parser.parse_args()
    for name, names in known.items():
        if unknown := set(getattr(args, name)) - set(names):
            parser.error(f"--{name}: no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return args


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
