"""Programs, workers and a front beside what does the same: processor time per exchange of whole trees of processes, by turns.

script/bench --behind builds what it needs and calls this. Each figure is the median of the rounds' ratios to the first row.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from server import tree

HERE = Path(__file__).resolve().parent / "rivals" / "behind"
MIB = 1 << 20
TICK = os.sysconf("SC_CLK_TCK")


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="unhang-behind-") as directory:
        stage = Stage(args, Path(directory))
        try:
            chosen = {name: table for name, table in TABLES.items() if not args.only or name in args.only}
            missed = [name for name, table in chosen.items() if not table(stage)]
        finally:
            stage.stop()
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nall targets are met")
    sys.exit(bool(missed))


class Stage:
    """Servers at sockets of their own, ended together."""

    def __init__(self, args, directory):
        self.args, self.directory, self.running = args, directory, []

    def path(self, name):
        return str(self.directory / f"{name}.sock")

    def start(self, name, *command, environment=()):
        """The server that the command starts; waits until it listens at `path(name)`."""
        said = open(self.directory / f"{name}.out", "wb")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | dict(environment),
        )
        self.running.append(process)
        until = time.monotonic() + 20
        while not os.path.exists(self.path(name)):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"{name} did not start: {(self.directory / f'{name}.out').read_text()[-500:]}")
            time.sleep(0.02)
        return process.pid

    def serve(self, name, *flags, environment=()):
        return self.start(name, self.args.unhang, "serve", "--quiet", self.path(name), *flags, environment=environment)

    def stop(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def programs(stage):
    """A process per request: a static program in C."""
    shout = f"{stage.args.build}/shout"
    base = stage.start("spawn", f"{stage.args.build}/spawn", shout, stage.path("spawn"))
    serve = stage.serve("program", "--", shout)
    large = {"LD_PRELOAD": f"{stage.args.build}/resident.so", "RESIDENT": str(1 << 30)}
    big = stage.serve("program-1gib", "--", shout, environment=large)
    rows = {
        "C, posix_spawn": ("spawn", [base]),
        "the same again": ("spawn", [base]),
        "unhang": ("program", [serve]),
        "unhang, 1 GiB resident": ("program-1gib", [big]),
    }
    found = measure(stage, "programs", rows)
    return all([
        judge("CPU to C", found["unhang"]["cpu"], 1.3),
        judge("CPU with 1 GiB to without", found["unhang, 1 GiB resident"]["cpu"] / found["unhang"]["cpu"], 1.1),
    ])


def workers(stage):
    """Workers in PHP beside php-fpm, two of each, with the same function."""
    fpm = next((name for name in ("php-fpm", "php-fpm8.2", "php-fpm8.3", "php-fpm8.4") if shutil.which(name)), None)
    if fpm is None:
        print("workers: php-fpm is not there")
        return True
    user = "user = root\ngroup = root\n" if os.geteuid() == 0 else ""
    file = stage.directory / "fpm.conf"
    file.write_text(
        f"[global]\ndaemonize = no\nerror_log = {stage.directory}/fpm.log\n[www]\n{user}listen = {stage.path('fpm')}\n"
        "listen.backlog = 4096\npm = static\npm.max_children = 2\n"
    )
    base = stage.start("fpm", fpm, "-R", "-F", "-y", str(file), "-d", "opcache.enable=1")
    ours = stage.serve("workers", "--workers", "2", "--", "php", str(HERE / "worker.php"))
    rows = {
        "php-fpm": ("fpm", [base], fastcgi(HERE / "shout.php")),
        "the same again": ("fpm", [base], fastcgi(HERE / "shout.php")),
        "unhang, 2 workers": ("workers", [ours]),
    }
    found = measure(stage, "workers", rows)["unhang, 2 workers"]
    return all([
        judge("throughput to php-fpm's", found["rate"], 1.1, at_least=True),
        judge("99th percentile", found["p99"], 0.5),
        judge("CPU", found["cpu"], 0.9),
    ])


def front(stage):
    """A front and the server behind it together, to that server alone."""
    return fronted(stage, "front", (), 4.2, 8, ())


def front_large(stage):
    """The same with replies of 10 MiB."""
    size = str(10 * MIB)
    met = fronted(stage, "front-large", ("-r", size), 2.0, 2, ("--reply-bytes", size))
    anonymous = max(own_memory(process.pid) for process in stage.running if process.args[4:6] == [stage.args.unhang, "serve"])
    return judge("memory of its own, MiB", anonymous / MIB, 4) and met


def fronted(stage, name, options, limit, clients, load):
    behind, base = stage.path(f"{name}-c"), stage.start(f"{name}-c", f"{stage.args.build}/epoll", stage.path(f"{name}-c"), *options)
    ours = stage.serve(f"{name}-unhang", "--to", behind)
    rows = {
        "C, epoll, alone": (f"{name}-c", [base]),
        "the same again": (f"{name}-c", [base]),
        "unhang --to": (f"{name}-unhang", [base, ours]),
    }
    if shutil.which("haproxy"):
        file = stage.directory / f"{name}-haproxy.cfg"
        file.write_text(
            f"global\n  nbthread 2\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 10s\n  timeout server 10s\n"
            f"listen l\n  bind unix@{stage.path(f'{name}-haproxy')}\n  server s unix@{behind}\n"
        )
        rows["haproxy"] = (f"{name}-haproxy", [base, stage.start(f"{name}-haproxy", "haproxy", "-db", "-f", str(file))])
    module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if shutil.which("nginx") and module.exists():
        file = stage.directory / f"{name}-nginx.conf"
        file.write_text(
            f"{'user root; ' if os.geteuid() == 0 else ''}daemon off; worker_processes 2; error_log stderr; pid {stage.directory}/{name}-nginx.pid; load_module {module};\n"
            f"events {{ worker_connections 4096; }}\n"
            f"stream {{ server {{ listen unix:{stage.path(f'{name}-nginx')}; proxy_pass unix:{behind}; }} }}\n"
        )
        rows["nginx, stream"] = (f"{name}-nginx", [base, stage.start(f"{name}-nginx", "nginx", "-e", "stderr", "-c", str(file))])
    found = measure(stage, name, rows, clients, load)
    return judge("CPU to the server alone", found["unhang --to"]["cpu"], limit)


TABLES = {"programs": programs, "workers": workers, "front": front, "front-large": front_large}


def measure(stage, name, rows, clients=8, load=()):
    """The medians of each row's ratios to the first, after they were printed."""
    rounds = []
    for number in range(stage.args.rounds + 1):
        turns = {row: turn(stage, *rows[row], clients=clients, load=load) for row in random.sample(list(rows), len(rows))}
        # The first round warms them up.
        rounds += [turns] if number else []
    first = next(iter(rows))
    found = {row: {figure: middle(one[row][figure] / one[first][figure] for one in rounds) for figure in ("cpu", "rate", "p99")} for row in rows}
    print(f"\n{name}: {stage.args.rounds} rounds, {clients} clients")
    print(f"{'':<24}{'CPU µs':>10}{'ratio':>8}{'per s':>10}{'ratio':>8}{'p99 µs':>10}{'ratio':>8}")
    for row in rows:
        cells = "".join(f"{middle(one[row][figure] for one in rounds):>10.0f}{found[row][figure]:>8.2f}" for figure in ("cpu", "rate", "p99"))
        print(f"{row:<24}{cells}", flush=True)
    return found


def turn(stage, name, pids, request="ping\\n", clients=8, load=()):
    """One turn of the load generator. All that ended otherwise than with an answer ends the run."""
    before = used(pids)
    words = [stage.args.unhang, "bench", stage.path(name), "--clients", str(clients), "--for", stage.args.turn, "--warm-up", "0s"]
    done = subprocess.run([*words, "--request", request, "--json", *load], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if not done.stdout.strip():
        sys.exit(f"{name}: {done.stderr}")
    said = json.loads(done.stdout)
    if wrong := {how: count for how, count in said["ended"].items() if count and how != "answered"}:
        sys.exit(f"{name}: {wrong}")
    # A process reaped after the reply counts, too.
    time.sleep(0.05)
    return {"cpu": (used(pids) - before) / said["exchanges"] * 1e6, "rate": said["per_second"], "p99": said["latency_ns"]["p99"] / 1e3}


def used(pids):
    """Seconds of processor time of these, of all that descend from them, and of what these have reaped. The kernel counts that of
    threads in nanoseconds (schedstat), and that of reaped children in ticks: `proc_pid_stat(5)`."""
    seconds = 0.0
    for pid in {one for root in pids for one in tree(root)}:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
            seconds += sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
            columns = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
            seconds += sum(map(int, columns[13:15])) / TICK
        except OSError:
            continue
    return seconds


def own_memory(pid):
    """Bytes that are no file's: `proc_pid_status(5)`, RssAnon."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def fastcgi(script):
    """A request for php-fpm, as the load generator takes bytes; the server closes after it. FastCGI 1.0, sections 3 and 5."""
    body = b"ping\n"
    said = {"SCRIPT_FILENAME": str(script), "REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "text/plain"}
    pairs = b"".join(bytes([len(name), len(value)]) + name.encode() + value.encode() for name, value in said.items())

    def record(kind, content):
        return struct.pack("!BBHHBB", 1, kind, 1, len(content), 0, 0) + content

    whole = record(1, struct.pack("!HB5x", 1, 0)) + record(4, pairs) + record(4, b"") + record(5, body) + record(5, b"")
    return "".join(f"\\x{byte:02x}" for byte in whole)


def judge(what, value, limit, at_least=False):
    met = value >= limit if at_least else value <= limit
    print(f"  {what}: {value:.2f}, target {'≥' if at_least else '≤'} {limit}: {'met' if met else 'MISSED'}")
    return met


def middle(values):
    return statistics.median(values)


def arguments():
    """script/bench says what they mean; here they come from it alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--unhang", required=True)
    parser.add_argument("--only", type=lambda names: names.split(","), default=[])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--turn", default="2s")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
