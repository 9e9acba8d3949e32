"""Real hangs: `HANGS` maps a name to a function that makes one on a stage, and to what `unhang why` has to say of it."""

import os
import subprocess
import time
from dataclasses import dataclass

from programs import GO, SERVERS, JAVA, before, build_go, nginx, node, php, php_fpm, postgres, redis
from stage import HERE, Missing, sockets_at

HANGS = {}


@dataclass(frozen=True)
class Expected:
    """A finding that has to be among those of one look."""

    # Of several, with `|` between, it depends on where the server's threads are.
    code: str
    # Somebody waits in vain, for certain or likely. False: it may be on purpose, and the exit code is 0.
    fault: bool = True
    # The line of code, as `app.py:13`, of either end or of a process behind.
    at: str = ""
    # Words of the cure, or of what it rests on.
    says: str = ""


def hang(name, *expected):
    def add(make):
        HANGS[name] = (make, expected)
        return make

    return add


def asks(stage, path, target, count=1):
    for _ in range(count):
        stage.start("curl", "-s", "--unix-socket", path, f"http://localhost{target}")
    return [path]


# --- PHP --------------------------------------------------------------------------------------------------------------

SLEEPS = """import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    client, _ = listener.accept()
    client.recv(100)
    time.sleep(1e6)
"""

ASKS = """<?php
$server = stream_socket_client('unix://' . $_SERVER['BEHIND']);
fwrite($server, "ask\\n");
echo fgets($server);
"""


@hang(
    "nginx → php-fpm · all workers in a page that sleeps",
    Expected("not_accepted", says="request_terminate_timeout"),
    Expected("handler_blocked", at="page.php:5", says="a deadline for what it waits for"),
)
def _(stage):
    front, fpm = php(stage, children=2)
    asks(stage, front, "/never", 3)
    return [fpm]


@hang(
    "nginx → php-fpm → a server that sleeps",
    Expected("handler_waits_backend", at="ask.php:4", says="sleeps"),
    Expected("handler_waits_backend", at="behind.py:8", says="the end of the chain"),
)
def _(stage):
    behind = stage.path("behind")
    stage.start("/usr/bin/python3", stage.write("behind.py", SLEEPS), behind)
    stage.await_socket(behind)
    os.chmod(behind, 0o666)
    fpm, page = php_fpm(stage), stage.write("ask.php", ASKS)
    front = nginx(stage, {"location": f"fastcgi_pass unix:{fpm}; fastcgi_param SCRIPT_FILENAME {page}; "
                          f"fastcgi_param REQUEST_METHOD GET; fastcgi_param BEHIND {behind};"})
    return asks(stage, front, "/")


# --- Python -----------------------------------------------------------------------------------------------------------


@hang(
    "gunicorn sync · all workers in a handler that never answers",
    Expected("not_accepted", says="find what its workers wait for"),
    Expected("handler_blocked", at="app.py:13"),
)
def _(stage):
    return asks(stage, SERVERS["gunicorn sync"](stage), "/never", 3)


@hang("gunicorn gthread · a handler that never answers", Expected("handler_blocked", at="app.py:13"))
def _(stage):
    return asks(stage, SERVERS["gunicorn gthread"](stage), "/never")


@hang(
    "uWSGI · all workers in a handler that never answers",
    Expected("not_accepted", says="find what its workers wait for"),
    Expected("handler_blocked", at="app.py:13"),
)
def _(stage):
    return asks(stage, SERVERS["uWSGI"](stage), "/never", 3)


@hang("uvicorn · a handler that never answers", Expected("both_waiting", fault=False, says="still at the answer"))
def _(stage):
    return asks(stage, SERVERS["uvicorn"](stage), "/never")


@hang(
    "gunicorn sync · its workers held by silent clients",
    Expected("not_accepted", says="is silent"),
    Expected("not_accepted", says="a deadline for reading"),
)
def _(stage):
    path = SERVERS["gunicorn sync"](stage)
    for _ in range(2):
        stage.python("client.py", "silent", path)
    stage.await_accepted(path, 2)
    return asks(stage, path, "/")


# --- databases --------------------------------------------------------------------------------------------------------


@hang("PostgreSQL · a statement that waits for a lock", Expected("handler_blocked", says="pg_blocking_pids"))
def _(stage):
    sockets, _, path = postgres(stage)
    psql = ["psql", "-q", "-h", sockets, "-U", "postgres", "-c"]
    stage.run(*psql, "create table t (n int)")
    stage.start(*psql, "begin; lock table t; select pg_sleep(100000)")
    locks = "select count(*) from pg_locks where relation = 't'::regclass and granted"
    stage.await_that("the table is locked", lambda: stage.said(*psql, locks, "-tA") == "1")
    stage.start(*psql, "select * from t")
    return [path]


@hang("Redis · DEBUG SLEEP", Expected("handler_blocked", says="sleeps"))
def _(stage):
    path = redis(stage, "--enable-debug-command", "yes")
    sleeper = stage.start("redis-cli", "-s", path, "DEBUG", "SLEEP", "100000")
    stage.await_that("redis sleeps", lambda: sleeps(stage, path) or sleeper.poll() is not None)
    return [path]


def sleeps(stage, path):
    """Whether redis does not answer."""
    try:
        return stage.said("redis-cli", "-s", path, "PING", timeout=0.5) != "PONG"
    except subprocess.TimeoutExpired:
        return True


# --- other languages --------------------------------------------------------------------------------------------------


@hang(
    "Node · a handler that never answers",
    Expected("both_waiting", fault=False, says="still at the answer"),
    Expected("both_waiting", fault=False, says="node inspect"),
)
def _(stage):
    return asks(stage, node(stage), "/never")


@hang("Go net/http · a handler that never answers", Expected("handler_blocked", at="server.go:7"))
def _(stage):
    path = stage.path("go")
    stage.start(build_go(stage, "server", GO), path)
    return asks(stage, stage.await_socket(path), "/never")


@hang("nginx → Go net/http · a handler that never answers", Expected("handler_waits_backend", at="server.go:7"))
def _(stage):
    path = stage.path("go")
    stage.start(build_go(stage, "server", GO), path)
    return asks(stage, before(stage, stage.await_socket(path)), "/never")


@hang(
    "OpenJDK · a handler that never answers",
    Expected("handler_blocked", fault=None, says="jstack"),
    Expected("handler_blocked", fault=None, says="pool-1-thread-1"),
)
def _(stage):
    path = stage.path("java")
    stage.start("java", "-Xmx64m", stage.write("Serve.java", JAVA.replace("Thread.sleep(250)", "Thread.sleep(1L << 40)")), path)
    return asks(stage, stage.await_socket(path), "/slow")


@hang("puma · a handler that never answers", Expected("both_waiting|handler_blocked", fault=None, says="rbspy"))
def _(stage):
    path = stage.path("puma")
    stage.write("config.ru", "run ->(env) { sleep }")
    stage.start("puma", "-b", f"unix://{path}", "-t", "4:4", "-C", "-", "config.ru")
    return asks(stage, stage.await_socket(path), "/")


# --- the system -------------------------------------------------------------------------------------------------------


def freeze(stage, pid):
    """Into a control group of its own, which is frozen: as `docker pause` and `systemctl freeze` do it."""
    v1 = "/sys/fs/cgroup/freezer"
    v2 = next((at for at in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(f"{at}/cgroup.controllers")), None)
    name = os.path.basename(stage.directory)
    if os.geteuid() != 0:
        raise Missing("root, to freeze a control group,")
    if os.path.isdir(v1):
        at, file, frozen, thawed = f"{v1}/{name}", "freezer.state", "FROZEN", "THAWED"
    elif v2 is not None:
        at, file, frozen, thawed = f"{v2}/{name}", "cgroup.freeze", "1", "0"
    else:
        raise Missing("a control group that can be frozen")
    os.mkdir(at)

    def thaw():
        write(f"{at}/{file}", thawed)

    def remove():
        for _ in range(100):
            try:
                return os.rmdir(at)
            except OSError:
                time.sleep(0.1)

    stage.at_end(thaw, remove)
    write(f"{at}/cgroup.procs", str(pid))
    write(f"{at}/{file}", frozen)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


@hang("Node · its control group is frozen", Expected("server_stopped", says="frozen"))
def _(stage):
    path = node(stage)
    freeze(stage, stage.processes[-1].pid)
    return asks(stage, path, "/")


LEFTOVER = """import os, socket, subprocess, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.set_inheritable(listener.fileno(), True)
subprocess.Popen(['sleep', '100000'], close_fds=False, stdin=-3, stdout=-3, stderr=-3)
"""


@hang(
    "a program that was left over, and holds the listener of a server that has ended",
    Expected("not_accepted", says="inherited the listener of a server that has ended"),
    Expected("not_accepted", says="SOCK_CLOEXEC"),
)
def _(stage):
    path = stage.path("leftover")
    stage.run("/usr/bin/python3", stage.write("leftover.py", LEFTOVER), path)
    stage.python("client.py", "line", path, "ask")
    return [path]


SPINS = """import select, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
client, _ = listener.accept()
loop = select.epoll()
loop.register(client, select.EPOLLIN)
while True:
    for fd, events in loop.poll():
        if client.recv(100, socket.MSG_DONTWAIT):
            client.setblocking(False)
"""


@hang("a loop that spins on a half-close that it ignores", Expected("handler_cpu", at="spins.py", says="read to the end"))
def _(stage):
    path = stage.path("spins")
    stage.start("/usr/bin/python3", stage.write("spins.py", SPINS), path)
    # Without a connection: it accepts one.
    stage.await_that("it listens", lambda: any(words[1] == "LISTEN" for words in sockets_at(path)))
    stage.python("client.py", "half-closed", path)
    return [path]
