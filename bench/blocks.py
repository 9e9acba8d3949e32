"""The generated parts of docs/performance.md, each under the name of its place."""

import re

from losses import OURS, losses
from stats import NOISE, failed, figures, quiet, ratio, spread
from tables import CLIENTS, CROWD, DRAIN
from targets import TARGETS, judge

NAMES = {
    "drain": f"{DRAIN:,} at once",
    "threads": "threads",
    "slow": "a handler that waits",
    "large": "replies of 1 MiB",
    "stream": "a reply of 1 GiB in pieces",
    "beside": f"beside {CROWD:,} idle",
    "memory": "idle connections",
    "kept-16": "kept, 16 clients",
    "kept-64": "kept, 64 clients",
    "kept-deep": "kept, 16 clients, 16 requests at once",
    "kept-workers": "kept, workers",
    **{f"clients-{n}": f"{n:,} client{'s' * (n > 1)}" for n in CLIENTS},
}


def time(micros):
    return f"{micros:.1f} µs" if micros < 1000 else f"{micros / 1000:.1f} ms"


BYTES = "{:,.0f}".format
CPU = ("cpu", "CPU per exchange", time)
PER_SECOND = ("rate", "exchanges per second", "{:,.0f}".format)
P50 = ("p50", "median latency", time)
P99 = ("p99", "99th percentile", time)
MEMORY = ("bytes", "bytes per connection", BYTES)
STREAMED = ("rate", "MiB per second", "{:,.0f}".format)
MORE = ("mib", "MiB of memory more than at rest", "{:.1f}".format)
LABELS = {figure: label for figure, label, _ in (CPU, PER_SECOND, P50, P99, MEMORY, MORE)}


def all_of(result):
    return {
        "machine": machine(result),
        "how": how(result),
        "drain": table(result, "drain", (CPU, PER_SECOND)),
        "clients": by_clients(result),
        "others": table(result, "clients-64", (CPU, PER_SECOND, P50, P99)),
        "threads": table(result, "threads", (PER_SECOND, CPU)),
        "slow": table(result, "slow", (CPU, PER_SECOND, P50)),
        "large": table(result, "large", (PER_SECOND, CPU)),
        "stream": table(result, "stream", (STREAMED, MORE)),
        "beside": table(result, "beside", (PER_SECOND, CPU, P99)),
        "kept-16": table(result, "kept-16", (CPU, PER_SECOND, P50, P99)),
        "kept-64": table(result, "kept-64", (CPU, PER_SECOND, P50, P99)),
        "kept-deep": table(result, "kept-deep", (CPU, PER_SECOND)),
        "kept-workers": table(result, "kept-workers", (PER_SECOND, CPU)),
        "memory": table(result, "memory", (MEMORY,)),
        "calls": calls(result),
        "targets": targets(result),
        "losses": lost(result),
        "skipped": skipped(result),
    }


def machine(result):
    at = result["machine"]
    versions = ", ".join(f"{name} {number(said)}" for name, said in result["versions"].items())
    changed = ", with changes" if at["changed"] else ""
    quick = "**A quick run: too few rounds to judge by.**\n\n" if result["quick"] else ""
    return (
        f"{quick}{at['when']}, commit {at['commit']}{changed}. {at['cpu']}, {at['cores']} cores, "
        f"{at['memory'] / 2**30:.0f} GiB; Linux {at['kernel']}, net.core.somaxconn {at['somaxconn']}; "
        f"load {at['load']:.1f} before the run.\n\n{versions}."
    )


def number(said):
    """The version alone, of what a program says of itself."""
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else said


def how(result):
    rounds = {name: len(data["rounds"]) for name, data in result["tables"].items() if "rounds" in data}
    loads = {name: " ".join(data["load"]) for name, data in result["tables"].items() if data.get("load")}
    lines = [f"- {NAMES[name]}: {rounds[name]} rounds of `unhang bench {load}`" for name, load in loads.items()]
    told = f"Too noisy is: off itself by more than {NOISE:.0%}. The turns of this run:"
    return "\n".join([told, "", *lines]) if lines else told


def markdown(head, rows, words=()):
    """The first column, and those that are named, are words; the others are numbers."""
    lines = [head, ["---"] + ["---" if label in words else "--:" for label in head[1:]], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rows_of(data):
    return [row for row in data["labels"] if row not in data["dropped"]]


def middle(data, row, figure):
    found = spread(figures(data["rounds"], row, figure))
    return found.middle if found else None


def table(result, name, columns):
    """A row per server, the best first, with the ratio of its first figure to the base."""
    data = result["tables"].get(name)
    if not data or "skipped" in data:
        return f"Not measured{': ' + data['skipped'] if data else ''}."
    first = columns[0][0]
    rows = [row for row in rows_of(data) if middle(data, row, first) is not None]
    rows.sort(key=lambda row: middle(data, row, first) * (-1 if first == "rate" else 1))
    base = data["labels"][data["base"]]
    body = [
        [data["labels"][row]]
        + [shown(data, row, figure, form) for figure, _, form in columns]
        + [times(ratio(data["rounds"], row, data["base"], first))]
        for row in rows
    ]
    head = ["", *(label for _, label, _ in columns), f"{columns[0][1]}, {base} = 1"]
    notes = [noise(data, [figure for figure, _, _ in columns]), *later(data, result), *left(data), *spoilt(data)]
    return markdown(head, body) + "\n\n" + " ".join(notes)


def shown(data, row, figure, form):
    value = middle(data, row, figure)
    return "–" if value is None else form(value)


def times(found):
    """A ratio with its quartiles."""
    return f"{found.middle:.2f} ({found.low:.2f}–{found.high:.2f})" if found else "–"


def noise(data, names):
    """What the server that ran twice says of the others."""
    label = data["labels"][data["base"]]
    twice = {name: ratio(data["rounds"], data["again"], data["base"], name) for name in names}
    told = ", ".join(f"{LABELS[name]} {times(found)}" for name, found in twice.items() if found)
    loud = [LABELS[name] for name in names if not quiet(data, name)]
    line = f"{label}, run twice, to itself: {told or 'not measured'}."
    verdict = f" **Too noisy, no verdict on {', '.join(loud)}.**" if loud else ""
    return f"{line}{verdict} {len(data['rounds'])} rounds."


def later(data, result):
    """When a table was measured that is not of the run of the others."""
    moment = data.get("moment")
    if moment and moment["commit"] != result["machine"]["commit"]:
        yield f"Measured on {moment['when'][:10]}, commit {moment['commit']}; load {moment['load']:.1f} before."


def left(data):
    return [f"{data['labels'][row]} was left out: {why.rstrip('.')}." for row, why in data["dropped"].items()]


def spoilt(data):
    """An exchange that did not end with the right answer is not a fast one."""
    for row in rows_of(data):
        ends = failed(data["rounds"], row)
        if ends:
            told = ", ".join(f"{count:,} {how.replace('_', ' ')}" for how, count in ends.items())
            yield f"**{data['labels'][row]}: exchanges that went wrong: {told}.**"


def by_clients(result):
    """Three tables: a row per server, a column per number of clients."""
    there = {n: data for n in CLIENTS if "rounds" in (data := result["tables"].get(f"clients-{n}", {}))}
    if not there:
        return "Not measured."
    # Every server that is in all of them.
    shared = [row for row in next(iter(there.values()))["labels"] if all(row in rows_of(data) for data in there.values())]
    parts = []
    for figure, label, form in (CPU, PER_SECOND, P50, P99):
        labels = next(iter(there.values()))["labels"]
        body = [[labels[row], *(shown(data, row, figure, form) for data in there.values())] for row in shared]
        loud = [f"{n:,}" for n, data in there.items() if not quiet(data, figure)]
        note = f"\n\n**Too noisy, no verdict with {', '.join(loud)}.**" if loud else ""
        parts.append(markdown([f"{label}, clients:", *(f"{n:,}" for n in there)], body) + note)
    flat = [middle(data, "unhang", "cpu") for n, data in there.items() if n > 1]
    if len(flat) > 1 and all(flat):
        parts.append(f"From {min(n for n in there if n > 1):,} to {max(there):,} clients the library's dearest exchange costs "
                     f"{max(flat) / min(flat):.2f} times its cheapest.")
    notes = [note for data in there.values() for note in (*left(data), *spoilt(data))]
    return "\n\n".join(parts + notes)


def calls(result):
    """System calls and, where they were counted, instructions."""
    found = result.get("calls", {})
    if not found or "skipped" in found:
        return f"Not measured{': ' + found['skipped'] if found else ''}."
    labels = result.get("labels", {})
    instructions = result.get("instructions", {})
    body = []
    for row, counted in found.items():
        label = labels.get(row, row)
        if "failed" in counted:
            body.append([label, counted["failed"], "", ""])
            continue
        for clients, names in counted.items():
            each = ", ".join(f"{name} {count:.1f}" for name, count in names.items() if count >= 0.05)
            body.append([label, clients, f"{sum(names.values()):.1f}", each])
            label = ""
    text = markdown(["", "clients", "in all", "which"], body, ("which",))
    counted = [f"{labels.get(row, row)} {count:,.0f}" for row, count in instructions.items() if isinstance(count, (int, float))]
    return text + (f"\n\nInstructions of its own per exchange, 64 clients: {'; '.join(counted)}." if counted else "")


def targets(result):
    body = []
    for target in TARGETS:
        found, verdict, why = judge(target, result)
        value = "–" if found is None else times(found) if target.base else BYTES(found.middle)
        body.append([f"{NAMES[target.table]}: {target.says}", target.bound, value, verdict, why])
    return markdown(["", "target", "measured", "verdict", "why"], body, ("verdict", "why"))


def lost(result):
    found = losses(result)
    if not found:
        return f"In this run, nothing by more than {NOISE:.0%}, in the tables that are not too noisy to tell."
    lines = [
        f"- {NAMES[name]}, {label}: " + ", ".join(f"{who} {share:.2f}" for who, share in better) for name, label, better in found
    ]
    return "The library being 1:\n\n" + "\n".join(lines)


def skipped(result):
    if not result["skipped"]:
        return "Nothing was skipped."
    return "Skipped: " + "; ".join(f"{label} ({why})" for label, why in result["skipped"].items()) + "."


def chart_rows(result):
    """What chart.bars wants, of the drain."""
    data = result["tables"].get("drain", {})
    if "rounds" not in data:
        return []
    rows = [(row, middle(data, row, "cpu")) for row in rows_of(data) if row != data["again"]]
    return [
        (data["labels"][row].replace("`", ""), value, f"{value:.1f}", row.startswith(OURS))
        for row, value in sorted((of for of in rows if of[1] is not None), key=lambda of: of[1])
    ]
