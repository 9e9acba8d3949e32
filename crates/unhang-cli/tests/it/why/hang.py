"""The classes of hang as a Python program makes them: hang.py ROLE PATH. The roles are those of
tests/programs/hang.rs, with one thread each; all end when they are killed, and those they forked with them."""
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

REQUEST = b"request\n"
SHORT = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello"


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


def poll(stream):
    """Sees again and again whether there is an answer, as a program that draws how far it is."""
    answer = select.poll()
    answer.register(stream, select.POLLIN)
    while not answer.poll(10):
        pass


def watch(stream):
    """An event loop that waits for what the other side says."""
    loop = select.epoll()
    loop.register(stream, select.EPOLLIN)
    loop.poll()


def tick(stream):
    """An event loop with a timer."""
    loop = select.epoll()
    loop.register(stream, select.EPOLLIN)
    while not loop.poll(0.03):
        pass


def ask_itself(path):
    """A server and its client in one process, a thread each."""
    listener = listen(path)

    def serve():
        stream = listener.accept()[0]
        stream.recv(100)
        sleep()

    threading.Thread(target=serve, daemon=True).start()
    drain(connect(path))


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


def bind_and_link(path):
    """Its first name goes, and another in another directory stays."""
    listener = listen(path)
    directory = os.path.dirname(path) + "/elsewhere"
    os.mkdir(directory)
    os.link(path, directory + "/s")
    os.unlink(path)
    print("linked")
    kept = listener.accept()
    sleep()


def mounts_above(path):
    """A view of the files of its own, made after bind(), in which something else lies over its directory."""
    listener = listen(path)
    unshare(NEW_MOUNTS)
    mount("tmpfs", os.path.dirname(path), "tmpfs", 0)
    print("mounted")
    kept = listener.accept()
    sleep()


def many_mounts(path):
    """A view of the files of its own with three thousand mounts."""
    unshare(NEW_MOUNTS)
    directory = os.path.dirname(path) + "/mounts"
    os.mkdir(directory)
    mount("tmpfs", directory, "tmpfs", 0)
    for number in range(3000):
        place = f"{directory}/{number}"
        os.mkdir(place)
        mount(directory, place, None, BIND)
    listener = listen(path)
    stream = listener.accept()[0]
    stream.recv(100)
    sleep()


# CLONE_NEWNS of sched.h, MS_BIND, MS_REC and MS_PRIVATE of sys/mount.h.
NEW_MOUNTS, BIND, RECURSIVE, PRIVATE = 0x20000, 4096, 1 << 14, 1 << 18


def unshare(what):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    # What is mounted here is to be seen by nobody else.
    mount("none", "/", None, RECURSIVE | PRIVATE)


def mount(source, target, kind, flags):
    libc = ctypes.CDLL(None, use_errno=True)
    encoded = [text and text.encode() for text in (source, target, kind)]
    if libc.mount(*encoded, ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), target)


def pool(path):
    """Two processes that accept, each for itself, and read without a deadline."""
    listener = listen(path)
    parent = os.getpid()
    for _ in range(2):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(0)
            stream = listener.accept()[0]
            print("held")
            drain(stream)
            os._exit(0)
    sleep()


def spin(stream):
    """It never takes EPOLLOUT away."""
    stream.recv(100)
    loop = select.epoll()
    loop.register(stream, select.EPOLLIN | select.EPOLLOUT)
    while True:
        loop.poll()


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


def answer_but_a_newline(path):
    """Reads as much as it needs, answers, and keeps the connection."""
    listener = listen(path)
    stream = listener.accept()[0]
    stream.recv(len(REQUEST) - 1)
    stream.sendall(b"OK\n")
    listener.accept()


# It answers when it is told to by a signal.
HANDLER = 'open my $c, "+<&=", $ENV{FD}; $SIG{USR1} = sub { $told = 1 }; %s until $told; syswrite $c, "OK\\n"'


def give(listener, stream, *program):
    """Another program has the connection, given on purpose or not; this one closes its own descriptor."""
    environment = {**os.environ, "FD": str(stream.fileno())}
    end_with_parent = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    child = subprocess.Popen(
        program, pass_fds=[stream.fileno()], env=environment, preexec_fn=end_with_parent
    )
    stream.close()
    listener.accept()


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
    "serve-watch": lambda _, stream: watch(stream),
    "serve-rest": lambda listener, _: listener.accept(),
    "serve-forget": forget,
    "serve-flood": lambda _, stream: flood(stream),
    "serve-reply": lambda _, stream: (stream.sendall(b"OK\n"), drain(stream)),
    "serve-close": lambda _, stream: (stream.close(), sleep()),
    "serve-fork": lambda *both: fork(*both, await_work),
    "serve-fork-all": lambda *both: fork(*both, await_work_beside_the_listener),
    "serve-fork-asleep": lambda *both: fork(*both, linger),
    "serve-fork-late": fork_late,
    "serve-give": lambda *both: give(*both, "perl", "-e", HANDLER % "sleep 3600"),
    "serve-give-busy": lambda *both: give(*both, "perl", "-e", HANDLER % "1"),
    "serve-inherited": lambda *both: give(*both, "sleep", "3600"),
}
AFTER_AN_ACCEPT = {
    "serve-but-a-newline-asleep": lambda stream: (stream.recv(len(REQUEST) - 1), sleep()),
    "serve-unread": lambda _: sleep(),
    "serve-read": drain,
    "serve-spin": spin,
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
    "call-poll": poll,
    "call-watch": watch,
    "call-tick": tick,
}

ALONE = {
    "serve-long-queue": queue,
    "serve-relative": bind_and_leave,
    "serve-chroot": bind_below_a_root,
    "serve-linked": bind_and_link,
    "serve-mounted-over": mounts_above,
    "serve-many-mounts": many_mounts,
    "serve-pool": pool,
    "serve-but-a-newline": answer_but_a_newline,
    "serve-itself": ask_itself,
}


def main(role, path):
    if role in CLIENTS:
        CLIENTS[role](connect(path))
    elif role == "call-crowd":
        crowd(path)
    elif role in ALONE:
        ALONE[role](path)
    elif role == "call-mute":
        drain(connect(path, b""))
    elif role == "call-short":
        drain(connect(path, SHORT))
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
