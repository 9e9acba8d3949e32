"""One request and its reply on a connection."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Optional

from . import advice
from .connect import Connection
from .deadline import Deadline
from .ends import CloseScanner, ErrorLine, Found, Malformed, Scanner, TooLarge, error_reason
from .errors import (
    ConnectionLost,
    MalformedReply,
    NotClosed,
    ReplyTooLarge,
    RequestNotTaken,
    ServerError,
    Timeout,
    UnhangError,
)
from .http import HttpScanner
from .shown import seconds
from .steps import Steps, Wait

# Little more than a socket takes at a time.
WRITE_SIZE = 256 * 1024
# Pieces sent or received before the clock is looked at again: a server that floods must not put the deadline off.
PIECES = 64


class Exchange:
    """Sends and receives at the same time: a server that answers while it reads would wait for us as we wait for it."""

    def __init__(
        self,
        connection: Connection,
        request: bytes,
        scanner: Scanner,
        deadline: Deadline,
        half_close: bool,
        max_reply: int,
        is_reused: bool = False,
    ) -> None:
        self.connection = connection
        self.address = connection.address.shown
        self.request = memoryview(request)
        self.scanner = scanner
        self.deadline = deadline
        self.half_close = half_close
        self.max_reply = max_reply
        self.is_reused = is_reused
        self.sent = 0
        self.sending = True
        self.send_errno: Optional[int] = None
        self.reply = bytearray()
        self.heard_at = 0.0
        self.closed = False
        self.reset_errno: Optional[int] = None
        self.found: Optional[Found] = None

    def run(self) -> Steps[Found]:
        while True:
            # First what can be done at once, even when the time is up: perhaps this thread, or its event loop, was held
            # up while the reply came.
            if self.sending:
                self.send()
            if self.not_delivered():
                raise self.without_reply()
            if not self.ended():
                self.receive()
            self.look()
            if self.found is not None:
                return self.found
            if self.ended() and not self.sending:
                raise self.without_reply()
            if self.deadline.passed():
                raise self.late()
            yield self.wait()

    def is_clean(self) -> bool:
        """Whether the connection may serve another request: all was sent, and nothing came behind the reply."""
        return (
            self.found is not None
            and self.found.keep
            and self.found.used == len(self.reply)
            and not self.sending
            and self.send_errno is None
            and not self.ended()
        )

    def not_delivered(self) -> bool:
        """Whether the server had ended an idle connection before it was sent a byte: so it cannot have run the request.

        What it may have said meanwhile answers nobody.
        """
        return self.is_reused and self.nothing_taken()

    def nothing_taken(self) -> bool:
        return self.sent == 0 and self.send_errno is not None

    def send(self) -> None:
        for _ in range(PIECES):
            if self.sent == len(self.request):
                self.sending = False
                if self.half_close:
                    self.shut()
                return
            try:
                self.sent += self.connection.send(self.request[self.sent : self.sent + WRITE_SIZE])
            except BlockingIOError:
                return
            except OSError as error:
                # The server reads no more, but what it said before is still there to be received.
                self.sending = False
                self.send_errno = error.errno
                return

    def shut(self) -> None:
        try:
            self.connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server is gone; receiving will tell

    def receive(self) -> None:
        for _ in range(PIECES):
            try:
                data = self.connection.receive()
            except BlockingIOError:
                return
            except OSError as error:
                self.reset_errno = error.errno
                self.sending = False
                return
            if not data:
                self.closed = True
                # A clean end is no reason to stop sending: a server may finish its reply and still read. If it closed
                # both ways, the next write fails.
                if error_reason(self.reply) is not None:
                    self.sending = False
                return
            self.reply += data
            self.heard_at = time.monotonic()
            self.look()
            if self.found is not None:
                return

    def ended(self) -> bool:
        return self.closed or self.reset_errno is not None

    def look(self) -> None:
        if self.found is not None:
            return
        is_end = self.closed and not self.sending and self.send_errno is None
        if is_end and error_reason(self.reply) is not None:
            return  # without_reply() raises it
        try:
            self.found = self.scanner.look(self.reply, is_end)
        except Malformed as error:
            raise MalformedReply(
                f"the reply of the server at {self.address} breaks its rule: {error}",
                "The server and this client do not speak the same protocol, or its reply is damaged.",
                address=self.address,
                reply=bytes(self.reply),
            ) from None
        except ErrorLine as line:
            raise self.server_error(line.args[0]) from None
        except TooLarge:
            raise self.too_large() from None
        if self.found is None and self.silent_long_enough():
            self.found = Found(bytes(self.reply), len(self.reply), keep=False)
        length = len(self.found.reply) if self.found and isinstance(self.found.reply, bytes) else 0
        if length > self.max_reply or (
            self.found is None and len(self.reply) > self.max_reply + self.scanner.overhead
        ):
            raise self.too_large()

    def silent_long_enough(self) -> bool:
        patience = self.scanner.patience
        return bool(patience and self.reply and not self.sending and time.monotonic() - self.heard_at >= patience)

    def wait(self) -> Wait:
        left = self.deadline.remaining()
        if self.scanner.patience and self.reply and not self.sending:
            left = min(left, max(0.0, self.heard_at + self.scanner.patience - time.monotonic()))
        return Wait(left, self.connection.sock, read=not self.ended(), write=self.sending)

    # Why there is no reply

    def server_error(self, line: bytes) -> ServerError:
        return ServerError(line[4:-1], address=self.address, reply=line)

    def too_large(self) -> ReplyTooLarge:
        return ReplyTooLarge(address=self.address, limit=self.max_reply)

    def without_reply(self) -> UnhangError:
        """The server has ended the conversation."""
        reply = bytes(self.reply)
        if error_reason(reply) is not None:
            return self.server_error(reply)
        total = len(self.request)
        if self.send_errno is not None and self.sent and self.reset_errno is None:
            return RequestNotTaken(
                address=self.address, reply=reply, taken=self.sent, total=total, errno=self.send_errno
            )

        # An empty request is complete as soon as the connection is.
        may_have_run = self.sent > 0 or total == 0
        number = self.reset_errno if self.reset_errno is not None else self.send_errno
        if self.reset_errno is not None:
            how = f"ended, or closed the connection without having read all that it was sent ({os.strerror(self.reset_errno)})"
        elif not reply:
            how = "closed the connection without a reply"
        else:
            how = f"closed the connection before the {self.scanner.awaited}"
        received = f", after {len(reply)} bytes of reply" if reply else ""
        next_step = (
            "The request may have run: repeat it only if that does no harm."
            if may_have_run
            else "The request has not run: repeating it is safe."
        )
        if self.half_close and not reply and number is None:
            next_step = f"{advice.HALF_CLOSE}. Else see the server's log. {next_step}"
        return ConnectionLost(
            f"the server at {self.address} {how}{received}",
            next_step,
            address=self.address,
            may_have_run=may_have_run,
            reply=reply,
            errno=number,
        )

    def late(self) -> UnhangError:
        """The deadline has passed."""
        reply = bytes(self.reply)
        timeout = self.deadline.timeout
        within = f"within {seconds(timeout)}"
        if self.sending or self.send_errno is not None:
            return Timeout(
                f"the server at {self.address} did not take the whole request {within}: {self.sent} of"
                f" {len(self.request)} bytes",
                "It reads too slowly, or not at all.",
                address=self.address,
                reply=reply,
                phase="send",
                timeout=timeout,
                may_have_run=not self.nothing_taken(),
            )
        if reply and isinstance(self.scanner, CloseScanner) and self.scanner.patience is None:
            return NotClosed(
                f"The server must close or half-close the connection after its reply. {advice.matching_end(reply)}",
                address=self.address,
                reply=reply,
                silent_for=time.monotonic() - self.heard_at,
                timeout=timeout,
            )
        if reply:
            message = f"the server at {self.address} sent {len(reply)} bytes, but no {self.scanner.awaited} {within}"
            next_step = "Its reply is still coming, or it is shorter than it says."
            if not isinstance(self.scanner, HttpScanner):
                next_step = f"Its reply may have another end. {advice.matching_end(reply)}"
        else:
            message = f"the server at {self.address} took the request and sent nothing {within}"
            next_step = "It is still working, or it waits for more than it was sent, such as a newline."
            if self.half_close:
                next_step += f" {advice.HALF_CLOSE}."
        return Timeout(message, next_step, address=self.address, reply=reply, phase="receive", timeout=timeout)
