"""The classes of hang as a Python program makes them: hang.py ROLE PATH. The roles are those of
tests/programs/hang.rs, with one thread each; all end when they are killed, and those they forked with them."""
import os
import select
import signal
import socket
import sys
import time

REQUEST = b"request\n"


def listen(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready")
    return listener


def connect(path, request=REQUEST):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(request)
    print("ready")
    return client


def drain(stream):
    while stream.recv(100):
        pass


def flood(stream):
    while True:
        stream.sendall(b"x" * 4096)


def crowd(path):
    """A thousand clients in one event loop."""
    clients = [connect(path) for _ in range(1000)]
    loop = select.epoll()
    for client in clients:
        client.recv(100)
        loop.register(client, select.EPOLLIN)
    print("all of them")
    loop.poll()


def queue(path):
    """More clients than the kernel names, which is some eight thousand; they are this process, too."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(20_000)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(9_000)]
    for client in clients:
        client.connect(path)
    print("ready")
    sleep()


def sleep():
    while True:
        time.sleep(3600)


def event_loop(stream, events, at_once):
    loop = select.epoll()
    loop.register(stream, events)
    while True:
        loop.poll()
        stream.recv(at_once)
        stream.sendall(b".")
        if events == select.EPOLLIN:
            loop.modify(stream, select.EPOLLPRI)


def bind_and_leave(path):
    """Gives its name within a directory that it then leaves, as daemons do."""
    os.chdir(os.path.dirname(path))
    listener = listen(os.path.basename(path))
    os.chdir("/")
    listener.accept()


def bind_below_a_root(path):
    """Has a root of its own, and in that a link that begins at it."""
    root = os.path.dirname(path) + "/root"
    os.makedirs(root + "/run")
    os.symlink("/run", root + "/link")
    os.chroot(root)
    listen("/link/s").accept()


def fork(listener, stream, child):
    """A child of the same program inherits the connection; this one answers and closes it."""
    read, write = os.pipe()
    parent = os.getpid()
    if os.fork() == 0:
        os.close(write)
        child(listener, read, parent)
        os._exit(0)
    stream.sendall(b"OK\n")
    stream.close()
    listener.accept()


def await_work(listener, pipe, _parent):
    listener.close()
    os.read(pipe, 1)


def await_work_beside_the_listener(_listener, pipe, _parent):
    os.read(pipe, 1)


def linger(listener, _pipe, parent):
    listener.close()
    while os.getppid() == parent:
        time.sleep(0.5)


def fork_late(listener, stream):
    """Its child alone has the connection, once it is told to by a signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    signal.sigwait([signal.SIGUSR1])
    fork(listener, stream, linger)


def compute():
    while True:
        pass


def forget(listener, stream):
    kept = [stream]
    while True:
        stream.sendall(b"OK\n")
        stream = listener.accept()[0]
        kept.append(stream)


AFTER_A_REQUEST = {
    "serve-sleep": lambda *_: sleep(),
    "serve-compute": lambda *_: compute(),
    "serve-forget": forget,
    "serve-flood": lambda _, stream: flood(stream),
    "serve-reply": lambda _, stream: (stream.sendall(b"OK\n"), drain(stream)),
    "serve-close": lambda _, stream: (stream.close(), sleep()),
    "serve-fork": lambda *both: fork(*both, await_work),
    "serve-fork-all": lambda *both: fork(*both, await_work_beside_the_listener),
    "serve-fork-asleep": lambda *both: fork(*both, linger),
    "serve-fork-late": fork_late,
}
AFTER_AN_ACCEPT = {
    "serve-unread": lambda _: sleep(),
    "serve-read": drain,
    "serve-oneshot": lambda stream: event_loop(stream, select.EPOLLIN | select.EPOLLONESHOT, 64),
    "serve-edge": lambda stream: event_loop(stream, select.EPOLLIN | select.EPOLLET, 1),
    "serve-paused": lambda stream: event_loop(stream, select.EPOLLIN, 64),
}
CLIENTS = {
    "call": drain,
    "call-hold": lambda _: sleep(),
    "call-twice": lambda stream: (stream.recv(1), stream.sendall(b"again, and more"), drain(stream)),
    "call-flood": flood,
    "call-leave": lambda _: None,
}


def main(role, path):
    if role in CLIENTS:
        CLIENTS[role](connect(path))
    elif role == "call-crowd":
        crowd(path)
    elif role == "serve-long-queue":
        queue(path)
    elif role == "serve-relative":
        bind_and_leave(path)
    elif role == "serve-chroot":
        bind_below_a_root(path)
    elif role == "call-mute":
        drain(connect(path, b""))
    else:
        listener = listen(path)
        if role == "serve-mute":
            sleep()
        stream = listener.accept()[0]
        if role in AFTER_AN_ACCEPT:
            AFTER_AN_ACCEPT[role](stream)
        else:
            stream.recv(100)
            AFTER_A_REQUEST[role](listener, stream)


try:
    main(*sys.argv[1:])
except OSError:
    pass  # The other side was killed: the test is over.
