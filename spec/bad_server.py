#!/usr/bin/env python3
"""A server that misbehaves in one chosen way. The tests of every client run against it.

    bad_server.py MODE PATH [ARGUMENT]      serve PATH (or @name) in this mode
    bad_server.py --cases FILE DIRECTORY    serve each case of FILE (vectors/calls.json) at DIRECTORY/NUMBER.sock
    bad_server.py --list                    every mode, with what it does

It prints "ready" when clients can connect. It ends when its standard input ends, or after LIFE seconds. Python's
standard library alone; Linux.
"""

import errno
import hashlib
import json
import os
import random
import select
import socket
import struct
import sys
import threading
import time

LIFE = 120  # seconds: longer than any test, so a test that is killed leaves no server for ever
LINGER = 30  # seconds that the close of a passed descriptor blocks
MODES = {}
KEPT = []  # connections that a handler forgot: open until this process ends


def mode(handler):
    """The handler's name, with dashes, is the mode. Its docstring is what --list prints."""
    MODES[handler.__name__.replace("_", "-")] = handler
    return handler


def read_to_end(peer):
    pieces = []
    while True:
        piece = peer.recv(65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def await_byte(peer):
    """Waits until the client has sent something, and leaves it unread."""
    peer.recv(1, socket.MSG_PEEK)


# One exchange on a connection


@mode
def echo(peer, argument):
    """reads to the end, answers the same bytes, closes"""
    peer.sendall(read_to_end(peer))


@mode
def digest(peer, argument):
    """reads to the end, answers the MD5 of the request, closes"""
    peer.sendall(hashlib.md5(read_to_end(peer)).hexdigest().encode())


@mode
def echo_as_it_reads(peer, argument):
    """answers each piece while the request is still coming"""
    while True:
        piece = peer.recv(8192)
        if not piece:
            return
        peer.sendall(piece)


@mode
def answer(peer, argument):
    """reads to the end, answers ARGUMENT (with \\n, \\0, \\xNN), closes"""
    read_to_end(peer)
    peer.sendall(unescaped(argument))


@mode
def answer_and_stay(peer, argument):
    """answers ARGUMENT after the first bytes, and never closes"""
    KEPT.append(peer)
    peer.recv(65536)
    peer.sendall(unescaped(argument))


@mode
def never_closes(peer, argument):
    """answers and never closes"""
    KEPT.append(peer)
    read_to_end(peer)
    peer.sendall(b"the reply")


@mode
def never_answers(peer, argument):
    """reads the request and says nothing"""
    KEPT.append(peer)
    read_to_end(peer)


@mode
def never_reads(peer, argument):
    """accepts, and neither reads nor answers"""
    KEPT.append(peer)


@mode
def half_an_answer(peer, argument):
    """sends a part of a line and closes"""
    read_to_end(peer)
    peer.sendall(b"half a l")


@mode
def closes(peer, argument):
    """reads the request and closes without a reply"""
    read_to_end(peer)


@mode
def closes_before_reading(peer, argument):
    """closes at once, with or without a request in its queue"""


@mode
def resets(peer, argument):
    """sends a part of a reply and closes with the request unread: the client gets ECONNRESET"""
    await_byte(peer)
    peer.sendall(b"half a r")


@mode
def drips(peer, argument):
    """one byte of reply every ARGUMENT seconds (1), for ever"""
    pause = float(argument or 1)
    while True:
        peer.sendall(b"x")
        time.sleep(pause)


@mode
def drips_and_closes(peer, argument):
    """forty bytes, one every 2 ms, then the close: slow, but whole"""
    read_to_end(peer)
    for _ in range(40):
        peer.sendall(b"x")
        time.sleep(0.002)


@mode
def drips_pieces(peer, argument):
    """sends ARGUMENT byte by byte, 2 ms apart, and never closes"""
    KEPT.append(peer)
    peer.recv(65536)
    for byte in unescaped(argument):
        peer.sendall(bytes([byte]))
        time.sleep(0.002)


@mode
def floods(peer, argument):
    """sends without end"""
    while True:
        peer.sendall(b"x" * 65536)


@mode
def takes_a_part(peer, argument):
    """takes 1,000 bytes of the request, shuts its input, answers, closes"""
    peer.recv(1000, socket.MSG_WAITALL)
    peer.shutdown(socket.SHUT_RD)
    # Take and throw away the bytes that the kernel already holds: unread bytes at the close would be a reset instead.
    peer.setblocking(False)
    try:
        while peer.recv(65536):
            pass
    except BlockingIOError:
        pass
    peer.setblocking(True)
    peer.sendall(b"done")


@mode
def answers_before_it_reads(peer, argument):
    """answers and half-closes, and reads the request afterwards"""
    peer.sendall(b"early")
    peer.shutdown(socket.SHUT_WR)
    time.sleep(0.1)
    read_to_end(peer)


@mode
def takes_half_close_for_the_end(peer, argument):
    """answers a line, unless the client has half-closed (Node.js, asyncio)"""
    with peer.makefile("rb") as lines:
        lines.readline()
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    if not poll.poll(100):
        peer.sendall(b"still there")


@mode
def refuses(peer, argument):
    """reads to the end and answers "ERR ARGUMENT" in one line"""
    read_to_end(peer)
    peer.sendall(b"ERR " + unescaped(argument or "busy") + b"\n")


@mode
def refuses_in_the_middle(peer, argument):
    """reads 1,000 bytes, refuses, closes with the rest unread"""
    peer.recv(1000)
    peer.sendall(b"ERR the request is longer than 1000 bytes\n")


@mode
def refuses_at_length(peer, argument):
    """an ERR line of 2 MB, full of escape sequences and bidi characters"""
    read_to_end(peer)
    peer.sendall(b"ERR " + ("\x1b[31m\u202ered\u2066" * 160_000).encode()[: 2 << 20] + b"\n")


@mode
def quotes_an_error(peer, argument):
    """a reply that begins like an ERR line and is none"""
    read_to_end(peer)
    peer.sendall(b"ERR is how an error begins,\nbut this is a reply\n")


@mode
def passes_descriptors(peer, argument):
    """passes a TCP socket whose close blocks for LINGER seconds along with its reply; says "not passed" if it may not"""
    KEPT.append(peer)
    await_byte(peer)
    ours, theirs = lingering_socket()
    KEPT.append(theirs)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", ours.fileno()))]
    try:
        peer.sendmsg([b"passed\n"], rights)
    except PermissionError:  # the client has switched SO_PASSRIGHTS off (Linux 6.16)
        peer.sendall(b"not passed\n")
    # The client holds the last reference, so it is the client that the close blocks.
    ours.close()


def lingering_socket():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    ours.setblocking(False)
    try:
        while ours.send(b"x" * 65536):
            pass
    except BlockingIOError:
        pass
    ours.setblocking(True)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    return ours, theirs


# Several exchanges on a connection: lines


def lines_of(peer):
    with peer.makefile("rb") as lines:
        while True:
            line = lines.readline()
            if not line:
                return
            yield line


@mode
def lines(peer, argument):
    """answers each line with itself"""
    for line in lines_of(peer):
        peer.sendall(line)


@mode
def lines_twice(peer, argument):
    """answers each line with itself, twice, in one piece"""
    for line in lines_of(peer):
        peer.sendall(line + line)


@mode
def lines_twice_late(peer, argument):
    """answers each line with itself, and 50 ms later once more"""
    for line in lines_of(peer):
        peer.sendall(line)
        time.sleep(0.05)
        peer.sendall(line)


@mode
def lines_late(peer, argument):
    """answers a line that begins with "slow" after ARGUMENT seconds (0.5), every other line at once"""
    for line in lines_of(peer):
        if line.startswith(b"slow"):
            time.sleep(float(argument or 0.5))
        peer.sendall(line)


@mode
def lines_one_each(peer, argument):
    """answers one line and closes"""
    for line in lines_of(peer):
        peer.sendall(line)
        return


@mode
def lines_die_at_second(peer, argument):
    """answers one line, reads the second, closes without answering it"""
    for count, line in enumerate(lines_of(peer)):
        if count:
            return
        peer.sendall(line)


@mode
def lines_refuse(peer, argument):
    """answers each line with "ERR busy" and stays open"""
    for _ in lines_of(peer):
        peer.sendall(b"ERR busy\n")


@mode
def lines_unasked(peer, argument):
    """says a line before it was asked, then answers each line with itself"""
    peer.sendall(b"welcome\n")
    lines(peer, argument)


@mode
def lines_idle_end(peer, argument):
    """answers a line and shuts its input, as unhang ends an idle connection: the next send fails with EPIPE"""
    for line in lines_of(peer):
        peer.sendall(line)
        peer.shutdown(socket.SHUT_RD)
        # Its close would be seen by a look before the send.
        KEPT.append(peer)
        return


@mode
def lines_chaos(peer, argument):
    """answers each line with itself, at random late, in pieces, cut short, with "ERR", closed before or after, or never"""
    for line in lines_of(peer):
        if not chaos(peer, line, b"ERR busy\n"):
            return


def chaos(peer, reply, refusal):
    """Sends the reply in a random bad way; False: the connection is to be closed."""
    way = random.randrange(10)
    if way == 0:
        return False
    if way == 1:
        peer.sendall(reply[: random.randrange(len(reply))])
        return False
    if way == 2:
        peer.sendall(reply)
        return False
    if way == 3:
        peer.sendall(refusal)
        return True
    if way == 4:
        time.sleep(random.uniform(0, 0.2))
    if way == 5:
        for byte in reply:
            peer.sendall(bytes([byte]))
            time.sleep(random.uniform(0, 0.01))
        return True
    if way == 6:
        at = random.randrange(len(reply))
        peer.sendall(reply[:at])
        time.sleep(random.uniform(0, 0.2))
        reply = reply[at:]
    peer.sendall(reply)
    return True


# Several exchanges on a connection: HTTP/1.1


def http_requests(peer):
    """Yields method, target and body of each request. It knows Content-Length, and nothing else."""
    with peer.makefile("rb") as stream:
        while True:
            first = stream.readline().decode("latin-1").split()
            if not first:
                return
            length = 0
            while True:
                header = stream.readline().decode("latin-1").strip()
                if not header:
                    break
                name, _, value = header.partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            yield first[0], first[1], stream.read(length)


def http_reply(body, status="200 OK", more=""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def said(method, target, body):
    return f"{method} {target} ".encode() + body


@mode
def http(peer, argument):
    """answers "METHOD TARGET BODY"; HEAD without the body"""
    for method, target, body in http_requests(peer):
        reply = http_reply(said(method, target, body))
        peer.sendall(reply[: reply.index(b"\r\n\r\n") + 4] if method == "HEAD" else reply)


@mode
def http_raw(peer, argument):
    """answers each request with the bytes of ARGUMENT and stays open"""
    for _ in http_requests(peer):
        peer.sendall(unescaped(argument))


@mode
def http_raw_and_close(peer, argument):
    """answers one request with the bytes of ARGUMENT and closes"""
    for _ in http_requests(peer):
        peer.sendall(unescaped(argument))
        return


@mode
def http_chunked(peer, argument):
    """answers in chunks of three bytes, each in a write of its own"""
    for method, target, body in http_requests(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        text = said(method, target, body)
        for start in range(0, len(text), 3):
            piece = text[start : start + 3]
            peer.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        peer.sendall(b"0\r\nX-Trailer: yes\r\n\r\n")


@mode
def http_until_close(peer, argument):
    """answers without a length: the close is the end"""
    for method, target, body in http_requests(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + said(method, target, body))
        return


@mode
def http_half_body(peer, argument):
    """promises 100 bytes, sends 4, closes"""
    for _ in http_requests(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return


@mode
def http_never_ends(peer, argument):
    """promises 100 bytes, sends 4, and no more"""
    KEPT.append(peer)
    for _ in http_requests(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


@mode
def http_twice(peer, argument):
    """answers each request twice in one piece: the second is nobody's"""
    for method, target, body in http_requests(peer):
        peer.sendall(2 * http_reply(said(method, target, body)))


@mode
def http_late(peer, argument):
    """answers a target with "slow" after ARGUMENT seconds (0.5), every other at once"""
    for method, target, body in http_requests(peer):
        if "slow" in target:
            time.sleep(float(argument or 0.5))
        peer.sendall(http_reply(said(method, target, body)))


@mode
def http_one_each(peer, argument):
    """answers one request as if it stayed open, and closes"""
    for method, target, body in http_requests(peer):
        peer.sendall(http_reply(said(method, target, body)))
        return


@mode
def http_unasked(peer, argument):
    """answers, and 50 ms later sends a 408 that nobody asked for"""
    for method, target, body in http_requests(peer):
        peer.sendall(http_reply(said(method, target, body)))
        time.sleep(0.05)
        peer.sendall(http_reply(b"idle", "408 Request Timeout"))


@mode
def http_idle_end(peer, argument):
    """the same for HTTP"""
    for method, target, body in http_requests(peer):
        peer.sendall(http_reply(said(method, target, body)))
        peer.shutdown(socket.SHUT_RD)
        KEPT.append(peer)
        return


@mode
def http_chaos(peer, argument):
    """answers "METHOD TARGET BODY" as lines-chaos does, with 503 in place of the ERR line"""
    for method, target, body in http_requests(peer):
        if not chaos(peer, http_reply(said(method, target, body)), http_reply(b"busy\n", "503 Busy")):
            return


# What is wrong before any connection: these run in place of the accept loop


def queue_full(listener, path, argument):
    """never accepts; its queue is full"""
    KEPT.append(listener)
    KEPT.extend(fill(path))
    ready()


def queue_full_until_told(listener, path, argument):
    """its queue is full until a line comes on standard input; then it answers "accepted" each time"""
    fillers = fill(path)
    ready()
    if not sys.stdin.readline():
        os._exit(0)
    # Long enough that a client which is called right after telling finds the queue still full.
    time.sleep(0.3)
    for filler in fillers:
        filler.close()
    start(accept_all, listener, answer, "accepted")


WITHOUT_ACCEPT = {"queue-full": queue_full, "queue-full-until-told": queue_full_until_told}


def fill(path):
    fillers = []
    while True:
        filler = socket.socket(socket.AF_UNIX)
        filler.setblocking(False)
        try:
            filler.connect(kernel_name(path))
        except BlockingIOError:
            filler.close()
            return fillers
        fillers.append(filler)


# The server


def unescaped(text):
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def kernel_name(path):
    return "\0" + path[1:] if path.startswith("@") else path


def start(work, *arguments):
    threading.Thread(target=work, args=arguments, daemon=True).start()


def listen(path, backlog=64):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(kernel_name(path))
    listener.listen(backlog)
    return listener


def accept_all(listener, handler, argument):
    while True:
        start(handle, handler, listener.accept()[0], argument)


def handle(handler, peer, argument):
    try:
        handler(peer, argument)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
            raise
    if peer not in KEPT:
        peer.close()


def ready():
    # In one write: with PYTHONUNBUFFERED, print() makes two, and a reader that left after the first breaks the second.
    os.write(1, b"ready\n")


def end_with_stdin():
    """Not by sys.stdin: a thread that reads it would hold its lock while the process ends."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    deadline = time.monotonic() + LIFE
    while time.monotonic() < deadline:
        if poll.poll(1000) and not os.read(0, 65536):
            break
    os._exit(0)


def serve_cases(file, directory):
    with open(file, encoding="utf-8") as cases:
        for number, case in enumerate(json.load(cases)["cases"]):
            listener = listen(os.path.join(directory, f"{number}.sock"))
            start(accept_all, listener, MODES[case["mode"]], case.get("argument", ""))
    ready()
    end_with_stdin()


def serve_one(name, path, argument=""):
    if name in WITHOUT_ACCEPT:
        WITHOUT_ACCEPT[name](listen(path, backlog=0), path, argument)
    else:
        start(accept_all, listen(path), MODES[name], argument)
        ready()
    end_with_stdin()


def main(arguments):
    known = {**MODES, **WITHOUT_ACCEPT}
    if arguments == ["--list"]:
        for name, behaviour in sorted(known.items()):
            print(f"{name:30}{behaviour.__doc__}")
    elif len(arguments) == 3 and arguments[0] == "--cases":
        serve_cases(*arguments[1:])
    elif len(arguments) in (2, 3) and arguments[0] in known:
        serve_one(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
