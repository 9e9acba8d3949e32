"""Servers that write half of a reply, and the rest once something wakes them that is no client: helped.py KIND PATH."""

import ctypes
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

kind, path = sys.argv[1:3]
# Several looks of a front that begins with one after 5 ms.
PAUSE = 0.15
# What Python would close as nobody uses it.
kept = []
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


def helps(wait, go):
    """Starts a process that waits to be asked, and takes its time for the answer. It ends with this one."""
    if os.fork() == 0:
        ends_with_parent()
        while True:
            wait()
            time.sleep(PAUSE)
            go()


def ends_with_parent():
    """PR_SET_PDEATHSIG, prctl(2)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def ask(ask, answered):
    ask()
    answered()


def by_queue():
    asked, answered = multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
    helps(asked.get, lambda: answered.put(1))
    return lambda: ask(lambda: asked.put(1), answered.get)


def by_semaphore():
    asked, answered = multiprocessing.Semaphore(0), multiprocessing.Semaphore(0)
    helps(asked.acquire, answered.release)
    return lambda: ask(asked.release, answered.acquire)


def by_eventfd():
    asked, answered = os.eventfd(0), os.eventfd(0)
    helps(lambda: os.eventfd_read(asked), lambda: os.eventfd_write(answered, 1))
    return lambda: ask(lambda: os.eventfd_write(asked, 1), lambda: os.eventfd_read(answered))


def by_pair():
    ours, its = socket.socketpair()
    kept.append(its)
    helps(lambda: its.recv(1), lambda: its.send(b"x"))
    return lambda: ask(lambda: ours.send(b"x"), lambda: ours.recv(1))


def by_orphan():
    """The helper is nobody's child any more: it was started by one that has ended."""
    ours, its = socket.socketpair()
    first = os.fork()
    if first == 0:
        if os.fork() == 0:
            ours.close()
            while its.recv(1):
                time.sleep(PAUSE)
                its.send(b"x")
        os._exit(0)
    kept.append(its)
    os.waitpid(first, 0)
    return lambda: ask(lambda: ours.send(b"x"), lambda: ours.recv(1))


def by_child():
    """It is told of the child's end by a pipe of its own, into which Python writes the signal."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    def wait():
        child = subprocess.Popen(["sleep", str(PAUSE)])
        loop = select.epoll()
        loop.register(reads, select.EPOLLIN)
        loop.poll()
        os.read(reads, 100)
        child.wait()

    return wait


def by_alarm():
    signal.signal(signal.SIGALRM, lambda *_: None)
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes)

    def wait():
        signal.setitimer(signal.ITIMER_REAL, PAUSE)
        os.read(reads, 100)

    return wait


def by_named_socket():
    """It asks a server, by a socket that has a name of its own."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(path + ".helper")
    server.listen()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            client, _ = server.accept()
            while client.recv(1):
                time.sleep(PAUSE)
                client.send(b"x")
        os._exit(0)
    server.close()
    os.wait()
    helper = socket.socket(socket.AF_UNIX)
    helper.bind(path + ".own")
    helper.connect(path + ".helper")
    return lambda: ask(lambda: helper.send(b"x"), lambda: helper.recv(1))


def by_thread():
    return lambda: time.sleep(PAUSE)


def answers(connection, wait, head=b""):
    try:
        connection.sendall(head + b"half ")
        wait()
        connection.sendall(b"done\n")
    except BrokenPipeError:
        print("the client has left", flush=True)


def reads_on(connection, wait):
    """Each request is answered by a thread, and the next one read meanwhile."""
    while connection.recv(4096):
        threading.Thread(target=answers, args=(connection, wait), daemon=True).start()


wait = globals()["by_" + ("queue" if kind == "http" else kind)]()
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    if kind == "thread":
        threading.Thread(target=reads_on, args=(client, wait), daemon=True).start()
        continue
    client.recv(4096)
    answers(client, wait, HEAD if kind == "http" else b"")
    client.close()
