"""Everything this package raises. Each error says whose fault it was, what to do next, and whether the request may have run."""

from __future__ import annotations

from typing import Any, Dict, Optional, Type

from .shown import one_line, seconds


class UnhangError(Exception):
    """The base of all: catch this to catch everything.

    ``kind``: one word for logs and metrics; the same in the clients of all languages.
    ``fault``: "caller" (this code), "setup" (path, permissions, limits), "server", or "unclear".
    ``may_have_run``: False only if the server cannot have seen the request; then repeating it is safe.
    ``address``: the socket, escaped if its name needs it. ``reply``: the bytes that had come. ``errno``: the system's, or None.
    ``advice``: what to do next; part of the message, too.
    """

    kind = "error"
    fault = "unclear"
    errno: Any  # int or None; the base classes of the standard library say int

    def __init__(
        self,
        message: str,
        advice: str,
        *,
        address: str = "",
        may_have_run: bool = True,
        reply: bytes = b"",
        errno: Optional[int] = None,
    ) -> None:
        super().__init__(f"{message}. {advice}")
        self.advice = advice
        self.address = address
        self.may_have_run = may_have_run
        self.reply = reply
        self.errno = errno

    def __reduce__(self) -> Any:
        """For multiprocessing, whose pools hang on an exception that cannot be rebuilt."""
        return rebuilt, (type(self), self.args, {**self.__dict__, "errno": self.errno})


def rebuilt(kind: Type[UnhangError], args: Any, state: Dict[str, Any]) -> UnhangError:
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class InvalidArgument(UnhangError, ValueError):
    """This package was given something that it cannot work with. Nothing was sent."""

    kind = "invalid_argument"
    fault = "caller"

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message, advice, may_have_run=False)


class ConnectError(UnhangError, ConnectionError):
    """No connection, so the server saw nothing: repeating is safe. ``kind`` is one of ``KINDS``; ``elapsed``: seconds."""

    KINDS = {
        "no_such_file": "setup",
        "nobody_listens": "setup",
        "permission_denied": "setup",
        "not_a_stream_socket": "setup",
        "queue_full": "server",
        "no_descriptors": "setup",
        "cannot_connect": "setup",
    }

    def __init__(
        self, kind: str, found: str, advice: str, *, address: str, errno: Optional[int], elapsed: float = 0.0
    ) -> None:
        super().__init__(
            f"cannot connect to {address} ({found})", advice, address=address, may_have_run=False, errno=errno
        )
        self.kind = kind
        self.fault = self.KINDS[kind]
        self.elapsed = elapsed


class Timeout(UnhangError, TimeoutError):
    """No whole reply in time. ``phase``: "send" or "receive"; ``timeout``: the seconds allowed. ``reply``: a part, or nothing."""

    kind = "timeout"

    def __init__(
        self,
        message: str,
        advice: str,
        *,
        address: str,
        reply: bytes,
        phase: str,
        timeout: float,
        may_have_run: bool = True,
    ) -> None:
        super().__init__(message, advice, address=address, reply=reply, may_have_run=may_have_run)
        self.phase = phase
        self.timeout = timeout
        self.fault = "server" if phase == "send" or reply else "unclear"


class NotClosed(UnhangError, TimeoutError):
    """A reply came, and the server had not closed at the deadline. ``silent_for``: seconds since the last byte of ``reply``."""

    kind = "not_closed"
    fault = "server"

    # Silent for less than this part of the timeout, the server may have been sending still.
    SHORT = 0.1

    def __init__(self, advice: str, *, address: str, reply: bytes, silent_for: float, timeout: float) -> None:
        if silent_for < self.SHORT * timeout:
            message = (
                f"the server at {address} sent {len(reply)} bytes, the last of them {seconds(silent_for)} before the"
                f" timeout of {seconds(timeout)}, and never closed the connection"
            )
            advice = f"The reply may still have been coming: raise the timeout. If it was whole: {advice}"
        else:
            message = (
                f"the server at {address} sent {len(reply)} bytes, then nothing for {seconds(silent_for)}, and never"
                f" closed the connection within {seconds(timeout)}"
            )
        super().__init__(message, advice, address=address, reply=reply)
        self.silent_for = silent_for
        self.timeout = timeout


class ConnectionLost(UnhangError, ConnectionError):
    """The server closed or reset the connection before a whole reply. An empty reply counts as none."""

    kind = "connection_lost"
    fault = "server"


class RequestNotTaken(UnhangError, ConnectionError):
    """The server took ``taken`` of ``total`` bytes of the request, and closed; ``reply`` is what it answered to that part."""

    kind = "request_not_taken"
    fault = "server"

    def __init__(self, *, address: str, reply: bytes, taken: int, total: int, errno: Optional[int]) -> None:
        super().__init__(
            f"the server at {address} took {taken} of {total} bytes of the request, answered {len(reply)} bytes and"
            " read no more",
            "Its answer, if any, is to that part. A server must read the whole request, or refuse it in words.",
            address=address,
            reply=reply,
            errno=errno,
        )
        self.taken = taken
        self.total = total


class ReplyTooLarge(UnhangError):
    """The reply is longer than ``limit`` bytes."""

    kind = "reply_too_large"

    def __init__(self, *, address: str, limit: int, reply: bytes = b"") -> None:
        super().__init__(
            f"the reply of the server at {address} is longer than the {limit} bytes allowed",
            "If it may be, give the client a greater max_reply.",
            address=address,
            reply=reply,
        )
        self.limit = limit


class ServerError(UnhangError):
    """The server answered ``ERR reason``. ``reason`` is the server's text as it came; the message shows it escaped and short."""

    kind = "server_error"
    fault = "server"

    def __init__(self, reason: bytes, *, address: str, reply: bytes) -> None:
        super().__init__(
            f"the server at {address} answered with an error: {one_line(reason)}",
            "It is the server's own word: see its log. Unless the reason says otherwise, the request may have run.",
            address=address,
            reply=reply,
        )
        self.reason = reason.decode("utf-8", "replace")


class MalformedReply(UnhangError):
    """What the server sent cannot be read by the rule that the caller chose (JSON, HTTP)."""

    kind = "malformed_reply"
    fault = "server"


class DescriptorsPassed(UnhangError):
    """The server passed file descriptors along. Taking or closing such a stream could block for as long as the server likes."""

    kind = "descriptors_passed"
    fault = "server"
