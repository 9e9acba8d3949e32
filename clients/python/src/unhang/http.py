"""HTTP/1.1 for one client: how a request is written, and where a reply ends. Pure.

RFC 9112. Bytes that two readers could read in two ways are refused: two lengths, length and chunks, folded headers, bare newlines.
"""

from __future__ import annotations

import re
from typing import Iterable, List, Mapping, NamedTuple, Optional, Tuple, Union

from .ends import Found, Malformed, Scanner, TooLarge, begins_error_line
from .errors import InvalidArgument

Headers = Union[Mapping[str, str], Iterable[Tuple[str, str]]]

MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
MAX_CHUNK_LINE = 4096

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?\Z")
DIGITS = re.compile(rb"[0-9]+\Z")
HEX_DIGITS = re.compile(rb"[0-9A-Fa-f]+\Z")
# They say where the request ends, or change what the connection is: this client's business.
OURS = {b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"te", b"trailer"}


class Response(NamedTuple):
    """An HTTP reply. An error status is an answer like any other, not an exception."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes

    def header(self, name: str) -> Optional[str]:
        """The first of this name, in any case."""
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


def request_bytes(method: str, target: str, headers: Headers, body: Optional[bytes]) -> bytes:
    """Raises InvalidArgument for what would be read as something else than one request."""
    if not TOKEN.match(latin1(method, "method")) or method == "CONNECT":
        raise InvalidArgument(f"no HTTP method for this client: {method!r}", 'Say "GET" or "POST".')
    if not re.match(rb"[!-~]+\Z", latin1(target, "target")):
        raise InvalidArgument(
            f"an HTTP target has only visible ASCII, but it is {target!r}", "Encode it by urllib.parse.quote()."
        )
    lines = [f"{method} {target} HTTP/1.1".encode()]
    pairs = [
        (latin1(name, "header's name"), latin1(value, "header's value"))
        for name, value in (headers.items() if isinstance(headers, Mapping) else headers)
    ]
    if not any(name.lower() == b"host" for name, _ in pairs):
        lines.append(b"Host: localhost")
    for name, value in pairs:
        if not TOKEN.match(name) or name.lower() in OURS:
            raise InvalidArgument(f"not a header to be set here: {name!r}", "The client says itself how long the body is.")
        if re.search(rb"[\r\n\0]", value):
            raise InvalidArgument(f"a header's value cannot have a line break or NUL: {value!r}", "Encode it.")
        lines.append(name + b": " + value)
    if body is not None or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % len(body or b""))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def latin1(text: str, what: str) -> bytes:
    try:
        return text.encode("latin-1")
    except (UnicodeEncodeError, AttributeError):
        raise InvalidArgument(f"an HTTP {what} is text of Latin-1, but it is {text!r}", "Encode it.") from None


class Head(NamedTuple):
    status: int
    headers: List[Tuple[str, str]]
    keep: bool
    length: Optional[int]
    chunked: bool


class HttpScanner(Scanner):
    """The reply to a request of `method`."""

    awaited = "end of its HTTP reply"

    def __init__(self, method: str, max_reply: int) -> None:
        self.method = method
        self.max_reply = max_reply
        # The head, and what frames the body, have limits of their own.
        self.overhead = 1 << 62
        self.at = 0  # where the next thing begins
        self.looked = 0  # for the end of the head, up to here
        self.head: Optional[Head] = None
        self.body = bytearray()
        self.in_trailer = False

    def look(self, buffer: bytearray, closed: bool) -> Optional[Found]:
        while self.head is None:
            head = self.read_head(buffer)
            if head is None:
                return None
            # 1xx comes before the reply.
            if head.status >= 200:
                self.head = head
        if self.head.chunked:
            return self.chunks(buffer, self.head)
        if self.head.length is None:
            if len(buffer) - self.at > self.max_reply:
                raise TooLarge
            return self.found(self.head, bytes(buffer[self.at :]), len(buffer)) if closed else None
        end = self.at + self.head.length
        return self.found(self.head, bytes(buffer[self.at : end]), end) if len(buffer) >= end else None

    def found(self, head: Head, body: bytes, used: int) -> Found:
        return Found(Response(head.status, head.headers, body), used, head.keep)

    def read_head(self, buffer: bytearray) -> Optional[Head]:
        prefix = bytes(buffer[self.at : self.at + 7])
        if prefix != b"HTTP/1."[: len(prefix)]:
            if self.at == 0 and begins_error_line(buffer):
                return None
            raise Malformed(f"no HTTP reply begins with {prefix!r}")
        end = buffer.find(b"\r\n\r\n", max(self.at, self.looked - 3))
        self.looked = len(buffer)
        if (end if end >= 0 else len(buffer)) > MAX_HEAD:
            raise TooLarge
        raw = bytes(buffer[self.at : end if end >= 0 else len(buffer)])
        if b"\n" in raw.replace(b"\r\n", b""):
            raise Malformed("the lines of its head end by a bare newline")
        if end < 0:
            return None
        self.at = self.looked = end + 4
        return parse_head(raw, self.method, self.max_reply)

    def chunks(self, buffer: bytearray, head: Head) -> Optional[Found]:
        while True:
            line_end = buffer.find(b"\n", self.at)
            if (line_end if line_end >= 0 else len(buffer)) - self.at > MAX_CHUNK_LINE:
                raise Malformed("a chunk's line is too long")
            if line_end < 0:
                return None
            if line_end == self.at or buffer[line_end - 1] != ord("\r"):
                raise Malformed("a chunk's line ends by a bare newline")
            line = bytes(buffer[self.at : line_end - 1])
            if self.in_trailer:
                self.looked += len(line) + 2
                if self.looked > MAX_HEAD:
                    raise TooLarge
                self.at = line_end + 1
                if not line:
                    return self.found(head, bytes(self.body), self.at)
                continue
            digits = line.split(b";", 1)[0].rstrip(b" \t")
            if not HEX_DIGITS.match(digits):
                raise Malformed(f"no size of a chunk: {digits[:40]!r}")
            size = int(digits, 16)
            if len(self.body) + size > self.max_reply:
                raise TooLarge
            start = line_end + 1
            if size == 0:
                self.in_trailer = True
                self.looked = 0
                self.at = start
                continue
            tail = bytes(buffer[start + size : start + size + 2])
            if tail != b"\r\n"[: len(tail)]:
                raise Malformed("a chunk is longer than its size")
            if len(tail) < 2:
                return None
            self.body += buffer[start : start + size]
            self.at = start + size + 2


def parse_head(raw: bytes, method: str, max_reply: int) -> Head:
    first, *lines = raw.split(b"\r\n")
    status_line = STATUS_LINE.match(first)
    if not status_line:
        raise Malformed(f"no status line: {first[:80]!r}")
    if len(lines) > MAX_HEADERS:
        raise Malformed(f"more than {MAX_HEADERS} headers")
    headers = [parse_header(line) for line in lines]
    status = int(status_line[2])
    if status == 101:
        raise Malformed("101 Switching Protocols, which was not asked for")

    lengths = values(headers, b"content-length")
    codings = values(headers, b"transfer-encoding")
    if len(lengths) > 1 or (lengths and codings):
        raise Malformed("its length is said twice")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise Malformed(f"a transfer coding other than chunked: {codings!r}")
    if lengths and not DIGITS.match(lengths[0]):
        raise Malformed(f"no length: {lengths[0][:40]!r}")

    closes = any(b"close" in [t.strip() for t in v.lower().split(b",")] for v in values(headers, b"connection"))
    keep = status_line[1] == b"1" and not closes
    text = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    if method == "HEAD" or status < 200 or status in (204, 304):
        return Head(status, text, keep, 0, False)
    if codings:
        return Head(status, text, keep, None, True)
    if not lengths:
        return Head(status, text, False, None, False)
    # More than 18 digits are too many for anybody, and int() of thousands is slow.
    if len(lengths[0]) > 18 or int(lengths[0]) > max_reply:
        raise TooLarge
    return Head(status, text, keep, int(lengths[0]), False)


def parse_header(line: bytes) -> Tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    # A name with a space at either end, or a line that begins with one (folded), is no token.
    if not colon or not TOKEN.match(name) or re.search(rb"[\r\n\0]", value):
        raise Malformed(f"no header: {line[:80]!r}")
    return name, value.strip(b" \t")


def values(headers: List[Tuple[bytes, bytes]], name: bytes) -> List[bytes]:
    return [value for found, value in headers if found.lower() == name]
