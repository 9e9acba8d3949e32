"""How the server shows that its reply is complete. Pure: bytes in, the end out."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Union

from . import json_end
from .errors import InvalidArgument


class Found(NamedTuple):
    """A whole reply, the first `used` bytes of what came. Not `keep`: the connection serves no other request."""

    reply: Any
    used: int
    keep: bool = True


class Malformed(Exception):
    """The bytes break the rule."""


class TooLarge(Exception):
    """The reply says itself that it is longer than allowed."""


class ErrorLine(Exception):
    """`ERR reason` and a newline came in place of the reply."""


class Scanner:
    """Looks for the end in the bytes of one reply. It is asked again each time more have come."""

    # Bytes of the wire beside the reply's own, before the reply counts as too large.
    overhead = 0
    # Seconds of silence that end the reply.
    patience: Optional[float] = None
    # What did not come, for a message.
    awaited = "end"

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        raise NotImplementedError


class Ends:
    """A rule; each reply gets a scanner of its own."""

    def scanner(self, max_reply: int) -> Scanner:
        raise NotImplementedError


class AtClose(Ends):
    """The server closes or half-closes: the reply is every byte until then. The default."""

    def scanner(self, max_reply: int) -> Scanner:
        return CloseScanner()


class CloseScanner(Scanner):
    awaited = "close"

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        # No bytes at all look the same as a server that died.
        return Found(bytes(buffer), len(buffer), keep=False) if closed and buffer else None


class AtDelimiter(Ends):
    """The reply is everything up to and with the first `delimiter`."""

    def __init__(self, delimiter: bytes) -> None:
        if not isinstance(delimiter, bytes) or not delimiter:
            raise InvalidArgument(f"a delimiter must be bytes, at least one, but it is {delimiter!r}", 'Say b"\\0".')
        self.delimiter = delimiter

    def scanner(self, max_reply: int) -> Scanner:
        return DelimiterScanner(self.delimiter)


class AtNewline(AtDelimiter):
    """The reply is one line, up to and with its newline. ``ERR reason`` is an error, whether the server closes or not."""

    def __init__(self) -> None:
        super().__init__(b"\n")


class DelimiterScanner(Scanner):
    def __init__(self, delimiter: bytes, keep_it: bool = True) -> None:
        self.delimiter = delimiter
        self.keep_it = keep_it
        self.overhead = 0 if keep_it else len(delimiter)
        self.seen = 0
        self.awaited = "newline" if delimiter == b"\n" else f"delimiter ({delimiter!r})"

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        # The delimiter may have begun in the bytes that were looked at before.
        at = buffer.find(self.delimiter, max(0, self.seen - len(self.delimiter) + 1))
        self.seen = len(buffer)
        if at < 0:
            return None
        used = at + len(self.delimiter)
        if self.delimiter == b"\n" and buffer.startswith(b"ERR "):
            raise ErrorLine(bytes(buffer[:used]))
        return Found(bytes(buffer[: used if self.keep_it else at]), used)


class AtLength(Ends):
    """The reply's length comes first, as an unsigned number of 1, 2, 4 or 8 bytes. It is not part of the reply."""

    def __init__(self, size: int = 4, order: str = "big") -> None:
        if size not in (1, 2, 4, 8) or order not in ("big", "little"):
            raise InvalidArgument(
                f"a length has 1, 2, 4 or 8 bytes, and is big or little, but it is {size!r} and {order!r}",
                'Most protocols have AtLength(4, "big").',
            )
        self.size = size
        self.order = order

    def scanner(self, max_reply: int) -> Scanner:
        return LengthScanner(self.size, self.order, max_reply)


class LengthScanner(Scanner):
    def __init__(self, size: int, order: str, max_reply: int) -> None:
        self.size = self.overhead = size
        self.order: Any = order
        self.max_reply = max_reply
        self.awaited = "end that its length promised"

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        if len(buffer) < self.size:
            return None
        length = int.from_bytes(buffer[: self.size], self.order)
        if length > self.max_reply:
            if not begins_error_line(buffer):
                raise TooLarge
            return None
        used = self.size + length
        return Found(bytes(buffer[self.size : used]), used) if len(buffer) >= used else None


class AtJson(Ends):
    """The reply is one JSON value. Brackets and strings are followed; whether it is valid inside is for a parser to say."""

    def scanner(self, max_reply: int) -> Scanner:
        return JsonScanner()


class JsonScanner(Scanner):
    awaited = "end of its JSON"

    def __init__(self) -> None:
        self.json = json_end.JsonEnd()

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        if buffer[:1] == b"E" and begins_error_line(buffer):
            return None
        try:
            used = self.json.find(buffer, closed)
        except ValueError as error:
            raise Malformed(str(error)) from None
        return None if used is None else Found(bytes(buffer[:used]), used)


class AtPredicate(Ends):
    """`whole` gets all bytes so far, each time more have come; it returns how many the reply has, or None for not yet."""

    def __init__(self, whole: Callable[[bytes], Optional[int]]) -> None:
        if not callable(whole):
            raise InvalidArgument(f"a predicate must be callable, but it is {whole!r}", "Give a function of bytes.")
        self.whole = whole

    def scanner(self, max_reply: int) -> Scanner:
        return PredicateScanner(self.whole)


class PredicateScanner(Scanner):
    awaited = "end, says the predicate"

    def __init__(self, whole: Callable[[bytes], Optional[int]]) -> None:
        self.whole = whole

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        used: Union[int, bool, None] = self.whole(bytes(buffer))
        if used is None or used is False:
            return None
        if used is True:
            used = len(buffer)
        if not isinstance(used, int) or not 0 <= used <= len(buffer):
            raise InvalidArgument(
                f"the predicate must return None or a number up to {len(buffer)}, but it returned {used!r}",
                "It says how many of the bytes are the reply.",
            )
        return Found(bytes(buffer[:used]), used)


class AtSilence(Ends):
    """A guess, for servers that show no end: so many seconds without a byte, after the first one. A slow reply is cut."""

    def __init__(self, seconds: float) -> None:
        if not isinstance(seconds, (int, float)) or not 0 < seconds <= 600:
            raise InvalidArgument(
                f"the silence must be more than 0 and at most 600 seconds, but it is {seconds!r}",
                "It is not in milliseconds.",
            )
        self.seconds = seconds

    def scanner(self, max_reply: int) -> Scanner:
        scanner = CloseScanner()
        scanner.patience = self.seconds
        scanner.awaited = "silence that would end it"
        return scanner


def begins_error_line(buffer: bytearray) -> bool:
    """Whether this may become an error line. Raises ErrorLine if it is one, for rules that no such line can fulfil."""
    if not b"ERR ".startswith(bytes(buffer[:4])):
        return False
    newline = buffer.find(b"\n")
    if newline >= 0:
        raise ErrorLine(bytes(buffer[: newline + 1]))
    return True


def error_reason(reply: bytes) -> Optional[bytes]:
    """The reason, if the whole reply is an error line: "ERR ", the reason, one newline, the end."""
    if reply.startswith(b"ERR ") and reply.find(b"\n") == len(reply) - 1:
        return reply[4:-1]
    return None
