"""One turn of the load generator, `unhang bench`, and the figures that are kept of what it says."""

import json
import subprocess

from server import Failed


def turn(unhang, server, load, reply_bytes=0):
    """Asks the server for a moment; the figures are per exchange."""
    rival = server.rival
    words = [unhang, "bench", server.address, *load, "--pid", str(server.pid), "--request", rival.request, "--json"]
    if reply_bytes:
        words += ["--reply-bytes", str(reply_bytes)]
    elif rival.expect:
        words += ["--expect", rival.expect]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired as slow:
        raise Failed("the load generator did not end within 60 s") from slow
    if not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        raise Failed(said[-1] if said else f"the load generator ended with {done.returncode}")
    return kept(json.loads(done.stdout))


def kept(said):
    """Times in µs. A turn in which nothing ended has no figures, and is told."""
    if not said["exchanges"]:
        return {"exchanges": 0, "failed": {"turns without an exchange": 1}}
    if said["server"] is None:
        raise Failed(f"its processor time is not known: {said['server_unknown']}")
    drained = said["drain"]
    if drained:
        exchanges = len(drained["rounds"]) * said["clients"]
        cpu = sum(one["cpu_ns"] for one in drained["rounds"]) / exchanges / 1e3
        rate = exchanges / sum(one["time_ns"] for one in drained["rounds"]) * 1e9
    else:
        cpu, rate = said["server"]["cpu_ns_per_exchange"] / 1e3, said["per_second"]
    latency = said["latency_ns"] or {}
    percentiles = {name: latency[name] / 1e3 for name in ("p50", "p99") if name in latency}
    failed = {how: count for how, count in said["ended"].items() if count and how != "answered"}
    return {"cpu": cpu, "rate": rate, **percentiles, "exchanges": said["exchanges"], "failed": failed}
