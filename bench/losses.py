"""What the library loses: every figure of every table in which another server is better, by more than chance."""

from stats import NOISE, quiet, ratio

OURS = ("unhang", "serve", "workers", "oneshot", "lines", "http")
# What another is compared with, if that is not the library's one-shot.
BESIDE = {"c-lines": "lines", "c-http": "http", "hyper": "http"}
# Name, and whether more is better.
FIGURES = {
    "cpu": ("CPU per exchange", False),
    "rate": ("throughput", True),
    "p50": ("median latency", False),
    "p99": ("99th percentile of latency", False),
    "bytes": ("memory per idle connection", False),
    "mib": ("memory while it streams", False),
}


def losses(result):
    """A table's name, a figure's, and who is better, each with by how much: best first."""
    found = []
    for name, table in result["tables"].items():
        for figure, (label, more) in FIGURES.items():
            if "rounds" in table and quiet(table, figure):
                better = sorted(ahead(table, figure, more), reverse=more, key=lambda of: of[1])
                if better:
                    found.append((name, label, better))
    return found


def ahead(table, figure, more):
    """Other servers' figures, ours being 1."""
    for row, label in table["labels"].items():
        if row.startswith(OURS) or row.endswith(("-again", "-beside")):
            continue
        theirs = ratio(table["rounds"], row, BESIDE.get(row, "unhang"), figure)
        if theirs and (theirs.middle - 1) * (1 if more else -1) > NOISE:
            yield label, theirs.middle
