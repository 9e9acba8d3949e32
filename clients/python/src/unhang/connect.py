"""Opens the connection. On a Unix socket this succeeds or fails at once; only a full accept queue is worth a wait."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from typing import Optional

from .address import Address
from .deadline import Deadline
from .errors import ConnectError, DescriptorsPassed
from .shown import seconds
from .steps import Steps, Wait

# Seconds. A busy server takes the next connection within about a millisecond.
FIRST_PAUSE = 0.001
# Seconds. Twenty attempts a second cost nothing, and a free place is still found soon.
LONGEST_PAUSE = 0.05
# include/uapi/asm-generic/socket.h, Linux 6.16: what is passed to us fails at the sender.
SO_PASSRIGHTS = 83
# A call needs no more than this at a time; a long reply comes in few system calls.
READ_SIZE = 64 * 1024


class Connection:
    """A connected, non-blocking socket that no passed descriptor can block."""

    def __init__(self, sock: socket.socket, address: Address, takes_descriptors: bool) -> None:
        self.sock = sock
        self.address = address
        self.takes_descriptors = takes_descriptors
        self.drained = False
        # A child of fork() has our descriptors: both would talk on one connection.
        self.pid = os.getpid()

    def receive(self) -> bytes:
        """Raises BlockingIOError if nothing is there."""
        size = READ_SIZE
        if self.takes_descriptors:
            size = self.without_descriptors()
        # Not just "nothing came": a stream's end.
        data = self.sock.recv(size) if size else b""
        self.drained = not data
        return data

    def without_descriptors(self) -> int:
        """How many bytes can be read without closing a descriptor that was passed along with them.

        Its close blocks for as long as its sender has set (SO_LINGER). A peek without room for descriptors shows them
        by MSG_CTRUNC, and closes none.
        """
        data, _, flags, _ = self.sock.recvmsg(READ_SIZE, 0, socket.MSG_PEEK)
        if flags & socket.MSG_CTRUNC:
            raise DescriptorsPassed(
                f"the server at {self.address.shown} passed file descriptors, which nobody asked for",
                "Its reply was left unread.",
                address=self.address.shown,
            )
        return len(data)

    def send(self, data: memoryview) -> int:
        # MSG_NOSIGNAL: the application may have given SIGPIPE its default action, which ends the process.
        return self.sock.send(data, socket.MSG_NOSIGNAL)

    def is_quiet(self) -> bool:
        """Whether it is open and holds nothing: no end, no byte that nobody asked for."""
        if self.pid != os.getpid():
            return False
        try:
            self.sock.recvmsg(1, 0, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def close(self) -> None:
        if self.pid == os.getpid():
            # A child of fork() may have the descriptor, too: without this the server would see no end until it exits.
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the server has gone
        if self.takes_descriptors and not self.drained:
            # Unread bytes may hold descriptors; closing them may block. Nobody waits for this thread.
            try:
                threading.Thread(target=self.sock.close, daemon=True).start()
            except RuntimeError:  # no thread to be had: better a lost descriptor than a blocked caller
                self.sock.detach()
        else:
            self.sock.close()


def connect(address: Address, deadline: Deadline) -> Steps[Connection]:
    pause = FIRST_PAUSE
    while True:
        try:
            return attempt(address)
        except OSError as error:
            if error.errno != errno.EAGAIN or deadline.passed():
                raise failure(address, error, deadline.elapsed()) from None
        # A random share of the pause, or all the clients that wait would come back in step.
        yield Wait(min(pause * random.uniform(0.5, 1), deadline.remaining()))
        pause = min(2 * pause, LONGEST_PAUSE)


def attempt(address: Address) -> Connection:
    # Close-on-exec, as Python makes all descriptors: a child must not keep the connection open.
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        takes_descriptors = not refuse_descriptors(sock)
        sock.connect(address.kernel_name)
    except BaseException:
        sock.close()
        raise
    return Connection(sock, address, takes_descriptors)


def refuse_descriptors(sock: socket.socket) -> bool:
    """Before connect(): whatever the server passes is then refused to the server. False: this kernel cannot."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        return True
    except OSError:
        return False


def failure(address: Address, error: OSError, elapsed: float) -> ConnectError:
    # The kernel says "refused" for a file that is no socket, too.
    impostor: Optional[str] = address.impostor() if error.errno == errno.ECONNREFUSED else None
    found = f"it is {impostor}" if impostor else f"{error.strerror or error}"

    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        kind = "no_such_file"
        advice = "Start the server, or correct the path. A service with PrivateTmp=yes has a /tmp of its own."
        if address.is_abstract:
            advice = "Start the server, or correct the name."
    elif impostor or error.errno == errno.EPROTOTYPE:
        kind, advice = "not_a_stream_socket", "Only a stream socket can be called: correct the path."
    elif error.errno == errno.ECONNREFUSED:
        kind, advice = "nobody_listens", "Nobody listens on it: start the server."
        if address.is_deleted():
            advice = (
                "This is a mount of a deleted file (link count 0): the server has made a new one. Mount the directory,"
                " not the file."
            )
        elif not address.is_abstract:
            advice += " The file of a server that was killed stays behind."
    elif error.errno == errno.EACCES:
        kind = "permission_denied"
        advice = "The user who calls needs write permission on the socket, and x on every directory above it."
    elif error.errno == errno.EAGAIN:
        kind = "queue_full"
        advice = (
            f"The server listens, but its queue of waiting connections stayed full for {seconds(elapsed)}: it is stuck"
            " or overloaded."
        )
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        kind = "no_descriptors"
        advice = "This process (EMFILE) or machine (ENFILE) has no file descriptor left: look for a leak, or raise ulimit -n."
    else:
        kind, advice = "cannot_connect", "The fault is probably on this side."
    return ConnectError(kind, found, advice, address=address.shown, errno=error.errno, elapsed=elapsed)
