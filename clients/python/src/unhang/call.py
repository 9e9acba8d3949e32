"""A whole call, as steps: connect, exchange, and close or keep."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Optional

from .address import Address, PathLike
from .connect import Connection, connect
from .deadline import Deadline, checked_timeout
from .ends import AtClose, DelimiterScanner, Ends, Scanner
from .errors import InvalidArgument, MalformedReply
from .exchange import Exchange
from .http import Headers, HttpScanner, request_bytes
from .steps import Steps

# Enough for most replies, and little beside any machine's memory.
MAX_REPLY = 16 * 1024 * 1024
# Connections that wait for their next request; more calls at a time than that are rare, and each costs a descriptor.
MAX_IDLE = 32


class Settings:
    """What every client has: checked once, used by each call."""

    def __init__(self, path: PathLike, timeout: float, max_reply: int) -> None:
        self.address = Address(path)
        self.timeout = checked_timeout(timeout)
        if isinstance(max_reply, bool) or not isinstance(max_reply, int) or max_reply < 1:
            raise InvalidArgument(
                f"the longest allowed reply must be at least 1 byte, but it is {max_reply!r}",
                f"Leave max_reply out for {MAX_REPLY}.",
            )
        self.max_reply = max_reply

    def deadline(self, timeout: Optional[float]) -> Deadline:
        return Deadline(self.timeout if timeout is None else checked_timeout(timeout))


class OneShot(Settings):
    """One connection for each call."""

    def __init__(self, path: PathLike, timeout: float, ends: Optional[Ends], half_close: bool, max_reply: int) -> None:
        super().__init__(path, timeout, max_reply)
        self.ends = AtClose() if ends is None else ends
        if not isinstance(self.ends, Ends):
            raise InvalidArgument(f"ends must be a rule of unhang.ends, but it is {ends!r}", "Say ends.AtNewline().")
        self.half_close = half_close

    def steps(self, message: Any, timeout: Optional[float]) -> Steps[bytes]:
        request = as_bytes(message)
        deadline = self.deadline(timeout)
        connection = yield from connect(self.address, deadline)
        try:
            scanner = self.ends.scanner(self.max_reply)
            exchange = Exchange(connection, request, scanner, deadline, self.half_close, self.max_reply)
            found = yield from exchange.run()
            reply: bytes = found.reply
            return reply
        finally:
            # Never used twice: a late reply would be taken for the answer to the next call.
            connection.close()


class Kept(Settings):
    """Connections that are kept between calls.

    A connection is taken out of `idle` before its first byte is sent, and comes back only after a whole reply with
    nothing behind it. So however a call ends (a deadline, a cancelled task, a signal handler that raises), a connection
    with an answer outstanding is closed, and no answer can reach another call.
    """

    def __init__(self, path: PathLike, timeout: float, max_reply: int) -> None:
        super().__init__(path, timeout, max_reply)
        # Its append and pop are atomic. A lock could be held by another thread at the moment of a fork, for ever.
        self.idle: Deque[Connection] = deque()

    def steps(self, request: bytes, scanner: Callable[[], Scanner], deadline: Deadline) -> Steps[Any]:
        while True:
            connection = self.quiet_connection()
            is_reused = connection is not None
            if connection is None:
                connection = yield from connect(self.address, deadline)
            exchange = Exchange(connection, request, scanner(), deadline, False, self.max_reply, is_reused)
            is_clean = False
            try:
                if not is_reused and not connection.is_quiet():
                    self.check_unasked(connection)
                found = yield from exchange.run()
                is_clean = exchange.is_clean()
                return found.reply
            except ConnectionError:
                # The server had closed the idle connection, and got nothing of this request: not a repetition.
                if not exchange.not_delivered():
                    raise
            finally:
                if is_clean and len(self.idle) < MAX_IDLE:
                    self.idle.append(connection)
                else:
                    connection.close()

    def quiet_connection(self) -> Optional[Connection]:
        while True:
            try:
                connection = self.idle.pop()
            except IndexError:
                return None
            if connection.is_quiet():
                return connection
            connection.close()

    def check_unasked(self, connection: Connection) -> None:
        try:
            said = connection.receive()
        except OSError:
            return
        if said:
            raise_unasked(self.address, said)

    def close(self) -> None:
        """Closes the idle connections. Later calls open new ones."""
        while self.idle:
            self.idle.pop().close()


def raise_unasked(address: Address, said: bytes) -> None:
    error = MalformedReply(
        f"the server at {address.shown} sent {len(said)} bytes before it was asked",
        "They would be taken for the answer: this is no server that answers one request after another.",
        address=address.shown,
        reply=said,
        may_have_run=False,
    )
    raise error


class Lines(Kept):
    def line(self, message: Any, timeout: Optional[float]) -> Steps[bytes]:
        request = as_bytes(message)
        if request.endswith(b"\n"):
            request = request[:-1]
        if b"\n" in request:
            raise InvalidArgument(
                "the request has a newline inside, which would make two requests of it", "Escape it, or send two."
            )
        return self.steps(request + b"\n", lambda: DelimiterScanner(b"\n", keep_it=False), self.deadline(timeout))


class Http(Kept):
    def http(
        self, method: str, target: str, headers: Optional[Headers], body: Any, timeout: Optional[float]
    ) -> Steps[Any]:
        content = None if body is None else as_bytes(body)
        request = request_bytes(method, target, headers or (), content)
        return self.steps(request, lambda: HttpScanner(method, self.max_reply), self.deadline(timeout))


def as_bytes(message: Any) -> bytes:
    """Text is sent as UTF-8. A copy: what the caller does to a buffer meanwhile is not sent."""
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, (bytes, bytearray, memoryview)):
        return bytes(message)
    raise InvalidArgument(f"a request is bytes or str, but it is {type(message).__name__}", "Encode it.")
