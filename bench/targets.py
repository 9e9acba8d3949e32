"""What was promised, and whether this run shows it."""

from dataclasses import dataclass

from stats import NOISE, failed, figures, quiet, ratio, spread


@dataclass(frozen=True)
class Target:
    """`row` to `base`, or `row` alone where there is none. `sign` is 1 for at most, -1 for at least."""

    says: str
    table: str
    figure: str
    row: str
    base: str
    limit: float
    sign: int = 1
    # "No worse than" is not to be missed by chance.
    slack: float = 0.0

    @property
    def bound(self):
        return f"{'≤' if self.sign > 0 else '≥'} {self.limit:g}"


def both(says, table, figure, base, limit, alone=""):
    """For the library, and for the command."""
    return [Target(f"{label}: {says}", table, figure, row + alone, base, limit)
            for row, label in (("unhang", "library"), ("serve", "`serve --quiet`"))]


TARGETS = (
    Target("`serve --quiet`, one worker: CPU to the version before", "drain", "cpu", "serve-1", "serve-1-before", 0.97),
    Target("`serve`, one worker, with its log: CPU to the version before", "drain", "cpu", "serve-log", "serve-log-before", 0.97),
    *(
        Target("`serve --quiet`: CPU to the version before", f"clients-{n}", "cpu", "serve", "serve-before", 1, 1, NOISE)
        for n in (1, 8, 64)
    ),
    *both("one worker, CPU to C's", "drain", "cpu", "c", 1.15, "-1"),
    Target("library, with peer credentials and a log: CPU to C's", "drain", "cpu", "unhang-log", "c", 1.15),
    Target("`serve`, with its log: CPU to C's", "drain", "cpu", "serve-log", "c", 1.15),
    *both("one worker, CPU to Go's as usually written", "drain", "cpu", "go", 0.47, "-1"),
    *both("one worker, CPU to tokio's as usually written", "drain", "cpu", "tokio", 0.58, "-1"),
    Target("library: CPU to Go's as usually written", "clients-64", "cpu", "unhang", "go", 0.70),
    Target("library: CPU to tokio's as usually written", "clients-64", "cpu", "unhang", "tokio", 0.85),
    Target("library: throughput to C's", "clients-64", "rate", "unhang", "c", 1, -1, NOISE),
    Target("library: median latency to C's", "clients-1", "p50", "unhang", "c", 1, 1, NOISE),
    Target("throughput, 2 workers to 1", "threads", "rate", "workers-2", "workers-1", 1.6, -1),
    Target("CPU, 8 workers to 2", "threads", "cpu", "workers-8", "workers-2", 1.15),
    Target("library: CPU to tokio's", "slow", "cpu", "unhang", "tokio", 0.95),
    *(
        target
        for table in ("kept-16", "kept-64")
        for target in (
            Target("lines: CPU to our own one-shot's", table, "cpu", "lines", "oneshot", 0.45),
            Target("HTTP: CPU to our own one-shot's", table, "cpu", "http", "oneshot", 0.5),
            Target("lines: CPU to C's", table, "cpu", "lines", "c-lines", 1.6),
            Target("HTTP: CPU to C's", table, "cpu", "http", "c-http", 1.6),
            Target("HTTP: CPU to hyper's", table, "cpu", "http", "hyper", 0.45),
        )
    ),
    Target("lines: CPU to our own one-shot's", "kept-deep", "cpu", "lines", "oneshot", 0.06),
    Target("lines: CPU to C's", "kept-deep", "cpu", "lines", "c-lines", 1.6),
    Target("HTTP: CPU to C's", "kept-deep", "cpu", "http", "c-http", 1.6),
    Target("lines: throughput, 2 workers to 1", "kept-workers", "rate", "lines-2", "lines-1", 1.6, -1),
    Target("library: bytes of user memory for one", "memory", "bytes", "unhang", "", 256),
    Target("library: throughput to that of a plain loop in C", "stream", "rate", "unhang", "c", 0.9, -1),
    Target("library: MiB of memory more than at rest", "stream", "mib", "unhang", "", 4),
    Target("library: throughput to that of TCP in C", "large", "rate", "unhang", "c-tcp", 1, -1),
    Target("library: throughput to that of TCP in tokio", "large", "rate", "unhang", "tokio-tcp", 1, -1),
    Target("library: throughput to that without", "beside", "rate", "unhang-beside", "unhang", 0.95, -1),
    Target("library: 99th percentile to that without", "beside", "p99", "unhang-beside", "unhang", 2),
)


def judge(target, result):
    """What was measured, the verdict, and where it was missed the reason if the figures know one."""
    table = result["tables"].get(target.table, {})
    rounds = table.get("rounds", [])
    if target.base:
        found = ratio(rounds, target.row, target.base, target.figure)
    else:
        found = spread(figures(rounds, target.row, target.figure))
    if found is None:
        return None, "not measured", ""
    if wrong := sum(failed(rounds, target.row).values()):
        return found, "**missed**", f"{wrong:,} exchanges went wrong"
    if not quiet(table, target.figure):
        return found, "too noisy, no verdict", ""
    if (found.middle - target.limit) * target.sign <= target.slack * target.limit:
        return found, "met", ""
    return found, "**missed**", reason(target, result)


def reason(target, result):
    """More system calls than the other, by name: where the CPU of a short exchange goes."""
    if target.figure not in ("cpu", "rate", "p50") or not target.base:
        return ""
    clients = "1" if target.table == "clients-1" else "64"
    ours, theirs = (result.get("calls", {}).get(row, {}).get(clients) for row in (target.row, target.base))
    if not ours or not theirs:
        return ""
    more = {name: count - theirs.get(name, 0) for name, count in ours.items()}
    told = [f"{name} {extra:+.1f}" for name, extra in sorted(more.items(), key=lambda of: -of[1]) if extra >= 0.1]
    whole = f"{sum(ours.values()):.1f} system calls against {sum(theirs.values()):.1f}"
    return f"{whole}: {', '.join(told)}" if told else whole
