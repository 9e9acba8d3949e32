"""Looks at real programs with `unhang why`, again and again, and fails if it finds a fault where nothing hangs, or misses a
hang."""

import argparse
import collections
import concurrent.futures
import contextlib
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import time

from hangs import HANGS
from programs import SITUATIONS, is_alive
from stage import PATIENCE, Missing, Stage

# What a look may take with all of the matrix running, and how often it is tried.
MOST_SECONDS, TOGETHER = 1.5, 10
# The machine is at work while it is looked at: what is not reached in three seconds is no fault of a verdict.
GENEROUS = ["--deadline", "20s"]
UNSEEN = "owner_not_visible"
# In the environment of a run that has processes and a network of its own.
ALONE = "UNHANG_REAL_ALONE"


def look(unhang, *arguments):
    began = time.monotonic()
    done = subprocess.run([unhang, "why", "--json", *arguments], capture_output=True, timeout=120)
    took = time.monotonic() - began
    try:
        seen = json.loads(done.stdout)
    except ValueError:
        seen = {"findings": [{"code": "no answer", "certainty": "-", "fault": True, "headline": done.stderr.decode()}]}
    return done.returncode, seen, took


def key_of(finding):
    return f"{finding['code']} · {finding['certainty']}" + (" · FAULT" if finding["fault"] else "")


def play(name, unhang, looks):
    """What was said of a situation in which nothing hangs, how often, and whether that is all right."""
    said, headlines, faults, longest = collections.Counter(), {}, 0, 0.0
    with Stage() as stage:
        paths = SITUATIONS[name](stage)
        for _ in range(looks):
            for path in paths:
                code, seen, took = look(unhang, *GENEROUS, path)
                longest = max(longest, took)
                faults += code != 0
                said.update(f"not looked at: {one['why']}" for one in seen.get("not_looked_at", []))
                for finding in seen["findings"]:
                    said[key_of(finding)] += 1
                    headlines.setdefault(key_of(finding), finding)
        alive, ended = is_alive(stage)
        if not alive:
            raise RuntimeError(f"ended meanwhile: {ended}: {stage.log()}")
    total = ", ".join(f"{key} ×{count}" for key, count in sorted(said.items()))
    return "FAULT" if faults else "green", f"{faults}/{looks * len(paths)} with a fault; {total}; {longest:.2f} s at most", headlines


def places(value):
    """Every `FILE:LINE` in a finding."""
    if isinstance(value, dict):
        if isinstance(value.get("file"), str):
            yield f"{value['file']}:{value.get('line')}"
        for one in value.values():
            yield from places(one)
    elif isinstance(value, list):
        for one in value:
            yield from places(one)


def fits(expected, finding):
    text = json.dumps(finding, ensure_ascii=False)
    lines = re.escape(expected.at) + (r"$" if ":" in expected.at else r":\d+$")
    return (
        finding["code"] in expected.code.split("|")
        and expected.fault in (None, finding["fault"])
        and expected.says in text
        and (not expected.at or any(re.search(r"(^|/)" + lines, place) for place in places(finding)))
    )


def play_hang(name, unhang, looks):
    """Whether each look at a hang says what it is, where, and what cures it."""
    make, wanted = HANGS[name]
    missed, headlines, longest = collections.Counter(), {}, 0.0
    with Stage() as stage:
        paths = make(stage)
        began, done, is_there = time.monotonic(), 0, False
        while done < looks:
            found = []
            for path in paths:
                code, seen, took = look(unhang, *GENEROUS, path)
                found += seen["findings"]
                longest = max(longest, took)
            absent = [one for one in wanted if not any(fits(one, finding) for finding in found)]
            # On a loaded machine its clients take a while to come to where they hang.
            is_there = is_there or not absent or time.monotonic() > began + PATIENCE
            if is_there:
                done += 1
                missed.update(map(str, absent))
                headlines.update({key_of(finding): finding for finding in found})
    text = "".join(f"missed ×{count}: {expected}; " for expected, count in missed.items())
    return "MISSED" if missed else "green", f"{text}{looks} looks; {longest:.2f} s at most", headlines


def safely(run, *arguments):
    try:
        return run(*arguments)
    except Missing as missing:
        return "skipped", f"{missing} is not installed", {}
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return "broken", str(error), {}


def alone():
    """Root begins again with processes and a network of its own: a machine in which there is nothing else, and nothing
    that may not be looked into, as the first process of a sandbox."""
    if os.geteuid() == 0 and not os.environ.get(ALONE):
        os.environ[ALONE] = "yes"
        apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net"]
        os.execvp(apart[0], [*apart, sys.executable, "-B", *sys.argv])
    if os.environ.get(ALONE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            # netdevice(7): SIOCSIFFLAGS with IFF_UP | IFF_RUNNING.
            fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x1 | 0x40))


def together(unhang, names):
    """All situations in which nothing hangs at once, and a look at every socket of the machine. What the machine hides
    before, it hides then."""
    alone()
    usual, seen, _ = look(unhang, *GENEROUS)
    hidden = {finding["id"] for finding in seen["findings"] if finding["code"] == UNSEEN}
    print(f"before: exit {usual}, {len(hidden)} connections of processes that may not be looked into", flush=True)
    with contextlib.ExitStack() as stack:
        count = 0
        for name in names:
            stage = stack.enter_context(Stage())
            result, text, _ = safely(lambda name=name, stage=stage: (SITUATIONS[name](stage), "", {}))
            if result in ("skipped", "broken"):
                print(f"{result:8} {name}\n         {text}", flush=True)
            else:
                count += 1
        time.sleep(5)
        worst, codes, amiss = 0.0, collections.Counter(), 0
        for _ in range(TOGETHER):
            code, seen, took = look(unhang)
            worst = max(worst, took)
            codes[code] += 1
            is_amiss = lambda one: one["fault"] or one["code"] == UNSEEN and one["id"] not in hidden
            faults = [key_of(one) + ": " + json.dumps(one, ensure_ascii=False) for one in seen["findings"] if is_amiss(one)]
            passed = len(seen.get("not_looked_at", []))
            amiss += len(faults) + passed
            print(f"exit {code}, {took:.2f} s, {seen.get('visibility', {}).get('sockets')} sockets, {passed} not looked at", *faults, sep="\n         ", flush=True)
    is_green = set(codes) == {3 if hidden else 0} and worst <= MOST_SECONDS and not amiss
    print(f"{'green' if is_green else 'FAULT'}: {count} situations at once, {worst:.2f} s at most (wanted: {MOST_SECONDS} s, exit 0)")
    return 0 if is_green else 1


def main():
    parser = argparse.ArgumentParser(prog="script/real", description=__doc__)
    parser.add_argument("unhang", help="the program under test")
    parser.add_argument("--looks", type=int, default=20, help="so many at each situation; three at each hang")
    parser.add_argument("--jobs", type=int, default=2, help="so many situations at a time")
    parser.add_argument("--only", default="", help="only situations with this in their name")
    parser.add_argument("--hangs", action="store_true", help="only the hangs")
    parser.add_argument("--healthy", action="store_true", help="only what does not hang")
    parser.add_argument("--together", action="store_true", help="all that does not hang at once, and the look at all timed")
    parser.add_argument("--details", action="store_true", help="what each finding rests on")
    arguments = parser.parse_args()
    wanted = lambda name: arguments.only.lower() in name.lower()
    healthy = [name for name in SITUATIONS if wanted(name) and not arguments.hangs]
    hangs = [name for name in HANGS if wanted(name) and not arguments.healthy]
    if not healthy and not hangs:
        parser.error(f"no situation has {arguments.only!r} in its name; there are: {', '.join([*SITUATIONS, *HANGS])}")
    if arguments.together:
        return together(arguments.unhang, healthy)
    results = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = {pool.submit(safely, play, name, arguments.unhang, arguments.looks): name for name in healthy}
        jobs.update({pool.submit(safely, play_hang, name, arguments.unhang, min(arguments.looks, 3)): name for name in hangs})
        for job in concurrent.futures.as_completed(jobs):
            name, (result, text, headlines) = jobs[job], job.result()
            results[result] += 1
            print(f"{result:8} {name}\n         {text}", flush=True)
            for key, finding in headlines.items():
                if not key.startswith("ok"):
                    print(f"         {key}: {finding['headline']}", flush=True)
                    if arguments.details or result == "MISSED":
                        print(json.dumps(finding, indent=1, ensure_ascii=False), flush=True)
    print(", ".join(f"{count} {result}" for result, count in sorted(results.items())))
    return 1 if {"FAULT", "MISSED", "broken"} & set(results) else 0


if __name__ == "__main__":
    sys.exit(main())
