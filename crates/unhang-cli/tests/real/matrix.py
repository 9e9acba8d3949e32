"""Looks at real programs with `unhang why`, again and again, and fails if it finds a fault where nothing hangs."""

import argparse
import collections
import concurrent.futures
import json
import subprocess
import sys
import time

from programs import SITUATIONS, is_alive
from stage import Missing, Stage


def look(unhang, target):
    began = time.monotonic()
    done = subprocess.run([unhang, "why", "--json", target], capture_output=True, timeout=120)
    took = time.monotonic() - began
    try:
        seen = json.loads(done.stdout)
    except ValueError:
        seen = {"findings": [{"code": "no answer", "certainty": "-", "fault": True, "headline": done.stderr.decode()}]}
    return done.returncode, seen, took


def play(name, unhang, looks):
    """One line of the table: what was said, how often, and whether that is all right."""
    said, headlines, faults, longest = collections.Counter(), {}, 0, 0.0
    try:
        with Stage() as stage:
            paths = SITUATIONS[name](stage)
            # The clients come to what they do.
            time.sleep(2)
            for _ in range(looks):
                for path in paths:
                    code, seen, took = look(unhang, path)
                    longest = max(longest, took)
                    faults += code != 0
                    for finding in seen["findings"]:
                        key = f"{finding['code']} · {finding['certainty']}" + (" · FAULT" if finding["fault"] else "")
                        said[key] += 1
                        headlines.setdefault(key, (finding["headline"], finding.get("because"), finding.get("clients"), finding.get("server")))
            alive, ended = is_alive(stage)
            if not alive:
                return name, "broken", f"ended meanwhile: {ended}: {stage.log()}", {}, 0
    except Missing as missing:
        return name, "skipped", f"{missing} is not installed", {}, 0
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return name, "broken", str(error), {}, 0
    total = ", ".join(f"{key} ×{count}" for key, count in sorted(said.items()))
    return name, "FAULT" if faults else "green", f"{faults}/{looks * len(paths)} with a fault; {total}; {longest:.2f} s at most", headlines, faults


def main():
    parser = argparse.ArgumentParser(prog="script/real", description=__doc__)
    parser.add_argument("unhang", help="the program under test")
    parser.add_argument("--looks", type=int, default=20, help="so many at each situation")
    parser.add_argument("--jobs", type=int, default=2, help="so many situations at a time")
    parser.add_argument("--only", default="", help="only situations with this in their name")
    parser.add_argument("--details", action="store_true", help="what each finding rests on")
    arguments = parser.parse_args()
    names = [name for name in SITUATIONS if arguments.only.lower() in name.lower()]
    if not names:
        parser.error(f"no situation has {arguments.only!r} in its name; there are: {', '.join(SITUATIONS)}")
    results = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [pool.submit(play, name, arguments.unhang, arguments.looks) for name in names]
        for job in concurrent.futures.as_completed(jobs):
            name, result, text, headlines, _ = job.result()
            results[result] += 1
            print(f"{result:8} {name}\n         {text}", flush=True)
            for key, (headline, because, clients, server) in headlines.items():
                if not key.startswith("ok"):
                    print(f"         {key}: {headline}", flush=True)
                    if arguments.details:
                        print(json.dumps([because, clients, server], indent=1), flush=True)
    print(", ".join(f"{count} {result}" for result, count in sorted(results.items())))
    return 1 if results["FAULT"] or results["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
