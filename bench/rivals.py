"""The servers that are compared, and how each is started."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent / "rivals"
PING = "ping\\n"
# What a server that keeps its connections is asked to see that it answers; the load says its requests itself.
POST = "POST / HTTP/1.1\\r\\nHost: rival\\r\\nContent-Length: 5\\r\\n\\r\\nping\\n"
GET = "GET / HTTP/1.1\\r\\nHost: rival\\r\\nConnection: close\\r\\n\\r\\n"


@dataclass(frozen=True)
class Rival:
    """`command` has places for what script/bench has built and found; options go before the address."""

    label: str
    command: tuple
    request: str = PING
    expect: str = "pong:ping\\n"
    tcp: bool = False
    # It does not end its reply by the close.
    kept: bool = False
    # What it is asked first, if that is not `request`.
    hello: str = ""


RIVALS = {
    "c": Rival("C, epoll", ("{build}/epoll",)),
    "c-tcp": Rival("C, epoll, TCP loopback", ("{build}/epoll",), tcp=True),
    "unhang": Rival("unhang, the library", ("{build}/unhang_lib",)),
    "lines": Rival("unhang, lines", ("{build}/unhang_lib", "--wire", "lines"), kept=True),
    "http": Rival("unhang, HTTP", ("{build}/unhang_lib", "--wire", "http"), kept=True, hello=POST),
    "c-lines": Rival("C, epoll, lines", ("{build}/kept",), kept=True),
    "c-http": Rival("C, epoll, HTTP", ("{build}/kept", "-h"), kept=True, hello=POST),
    "hyper": Rival("hyper, HTTP", ("{build}/hyper_kept",), kept=True, hello=POST),
    "serve": Rival("`unhang serve`", ("{unhang}", "serve"), expect=""),
    "before": Rival("`unhang serve`, the version before", ("{before}", "serve"), expect=""),
    "tokio": Rival("tokio, as usually written", ("{build}/tokio_usual",)),
    "tokio-tcp": Rival("tokio, TCP loopback", ("{build}/tokio_usual",), tcp=True),
    "axum": Rival("axum (hyper), HTTP", ("{build}/axum_uds",), request=GET, expect=""),
    "go": Rival("Go, as usually written", ("{build}/go-usual",)),
    "go-tuned": Rival("Go, tuned", ("{build}/go-tuned",)),
    "nginx": Rival("nginx, HTTP", ("nginx", "-e", "stderr", "-c"), request=GET, expect=""),
    "node": Rival("Node", ("{node}", "{here}/node/server.mjs")),
    "asyncio": Rival("Python, asyncio", ("{python}", "{here}/python/asyncio_usual.py")),
    "threads": Rival("Python, threads", ("{python}", "{here}/python/threads.py")),
    "php": Rival("PHP, a plain loop", ("php", "{here}/php/server.php")),
}


@dataclass(frozen=True)
class Places:
    """Where things are: what was built, the command under test, another build of it, interpreters, room for sockets."""

    build: str
    unhang: str
    go: str
    node: str
    python: str
    before: str
    directory: str

    def command(self, rival, options, address, name):
        """The words that start it."""
        words = [word.format(here=HERE, **vars(self)) for word in rival.command]
        if words[0] == "nginx":
            return words + [self.nginx(address, name)]
        if rival.command[0] == "{before}":
            options = self.as_before(options)
        return words + [*options, address]

    def as_before(self, options):
        """The version before may have had another name for its threads."""
        asked = subprocess.run((self.before, "serve", "--help"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        known = "--threads" if "--threads" in asked.stdout else "--shards"
        return [known if option == "--threads" else option for option in options]

    def nginx(self, address, name):
        """nginx wants its address in a file."""
        room = Path(self.directory, name)
        room.mkdir(exist_ok=True)
        text = (HERE / "nginx/nginx.conf").read_text().replace("SOCKET", address).replace("DIRECTORY", str(room))
        (room / "nginx.conf").write_text(text)
        return str(room / "nginx.conf")

    def missing(self, rival):
        """What is not there for it, or None."""
        program = rival.command[0].format(here=HERE, **vars(self))
        if not program and rival.command[0] == "{before}":
            return "no --base was given"
        return None if program and shutil.which(program) else f"{os.path.basename(program) or 'its program'} is not there"


def versions(places):
    """Which compilers, interpreters and libraries this was."""
    asked = {
        "C": ("cc", "--version"),
        "Rust": ("rustc", "--version"),
        "Go": (places.go, "version"),
        "Node": (places.node, "--version"),
        "Python": (places.python, "--version"),
        "PHP": ("php", "--version"),
        "nginx": ("nginx", "-v"),
    }
    return {name: said for name, words in asked.items() if (said := first_line(words))} | crates()


def first_line(words):
    """What a program says of itself, or None."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout + done.stderr).splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def crates():
    """The versions of the libraries that are compared, from the lock file."""
    lines = (HERE / "rust/Cargo.lock").read_text().splitlines()
    pairs = zip(lines, lines[1:])
    named = {one.split('"')[1]: two.split('"')[1] for one, two in pairs if one.startswith("name = ")}
    return {name: named[name] for name in ("tokio", "axum", "hyper") if name in named}
