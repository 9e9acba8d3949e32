"""Where and when it was measured, for whoever compares two reports."""

import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path


def moment(root):
    """When, of which commit, and how busy the machine was."""
    return {
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": git(root, "rev-parse", "--short=12", "HEAD"),
        "load": os.getloadavg()[0],
    }


def facts(root):
    """The machine and the moment."""
    return moment(root) | {
        "changed": bool(git(root, "status", "--porcelain", "--untracked-files=no")),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "memory": next(int(line.split()[1]) * 1024 for line in lines("/proc/meminfo") if line.startswith("MemTotal")),
        "somaxconn": int(lines("/proc/sys/net/core/somaxconn")[0]),
    }


def cpu():
    named = (line.split(":", 1)[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name"))
    return next(named, platform.machine())


def lines(path):
    return Path(path).read_text().splitlines()


def git(root, *words):
    done = subprocess.run(("git", "-C", root, *words), capture_output=True, text=True)
    return done.stdout.strip()
