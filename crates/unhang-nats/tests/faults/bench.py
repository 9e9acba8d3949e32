"""What a call over NATS costs beside the same answer on the socket itself, and by a door to a server on this machine. `script/nats-faults --bench` starts it.

Both are measured in turn, so that what else the machine does is the same for both. The answer is the time of day, which
costs next to nothing: the rest is the way.
"""

import argparse
import json
import statistics
import subprocess

from stage import Stage, await_true


def measure(unhang, socket, processes, clients, seconds):
    command = [unhang, "bench", socket, "--json", "--clients", str(clients), "--for", f"{seconds}s", "--warm-up", "300ms"]
    for process in processes:
        command += ["--pid", str(process.popen.pid)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def p50(seen):
    return seen["latency_ns"]["p50"] / 1000


def cpu(seen):
    return seen["server"]["cpu_ns_per_exchange"] / 1000


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--unhang", required=True)
    arguments.add_argument("--server", required=True)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    given = arguments.parse_args()
    stage = Stage(given.unhang, given.server, nodes=1)
    try:
        direct_socket = str(stage.directory / "direct.sock")
        direct = stage.process([given.unhang, "serve", direct_socket, "--quiet"], "direct")
        stage.time_service()
        stage.open_door("--quiet")
        await_true("the direct one serves", lambda: direct.popen.poll() is None and stage.answers(direct_socket))
        await_true("the door serves", lambda: stage.answers(stage.socket))
        front_socket = str(stage.directory / "front.sock")
        front = stage.process([given.unhang, "serve", front_socket, "--to", direct_socket, "--quiet"], "front")
        await_true("the direct door serves", lambda: stage.answers(front_socket))
        names = ("socket p50", "direct door p50", "door p50", "socket CPU", "direct door CPU", "door CPU", "nats CPU")
        rows = {name: [] for name in (*names, "service CPU")}
        ways = (
            ("socket", direct_socket, direct),
            ("direct door", front_socket, front),
            ("door", stage.socket, stage.door),
            ("nats", stage.socket, stage.nodes[0]),
            ("service", stage.socket, stage.services[0]),
        )
        for _ in range(given.rounds):
            for name, path, process in ways[:3]:
                rows[f"{name} p50"].append(p50(measure(given.unhang, path, [process], 1, given.seconds)))
            for name, path, process in ways:
                rows[f"{name} CPU"].append(cpu(measure(given.unhang, path, [process], 16, given.seconds)))
        middle = {name: statistics.median(values) for name, values in rows.items()}
        for name, values in rows.items():
            print(f"  {name:<15} median {middle[name]:7.1f} µs   of {[round(one, 1) for one in values]}")
        added = middle["door p50"] - middle["socket p50"]
        print(f"  added p50 {added / 1000:.3f} ms; CPU of the door {middle['door CPU'] / middle['direct door CPU']:.2f} of a direct door, "
              f"{middle['door CPU'] / middle['socket CPU']:.2f} of the socket alone")
    finally:
        stage.close()


main()
