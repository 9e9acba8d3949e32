"""Where a JSON value ends. Pure."""

from __future__ import annotations

import re
from typing import Optional

SPACE = b" \t\r\n"
# What can matter outside of a string, and inside.
OUTSIDE = re.compile(rb'["\[\]{}]')
INSIDE = re.compile(rb'["\\]')
SCALAR = re.compile(rb"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)\Z")
BEGINS_SCALAR = b"-0123456789tfn"
CLOSES = {ord("["): ord("]"), ord("{"): ord("}")}


class JsonEnd:
    """Follows brackets and strings, and never looks at a byte twice."""

    def __init__(self) -> None:
        self.at = 0  # the next byte to look at
        self.open: list[int] = []  # the bracket that closes each open one
        self.in_string = False
        self.scalar_from: Optional[int] = None

    def find(self, buffer: bytearray, closed: bool) -> Optional[int]:
        """How many bytes the value has; None if it is not complete. ValueError: it is no JSON."""
        if not self.open and not self.in_string and self.scalar_from is None and not self.begin(buffer):
            return None
        if self.scalar_from is not None:
            return self.scalar(buffer, closed, self.scalar_from)
        return self.nested(buffer)

    def begin(self, buffer: bytearray) -> bool:
        while self.at < len(buffer) and buffer[self.at] in SPACE:
            self.at += 1
        if self.at == len(buffer):
            return False
        first = buffer[self.at]
        if first in BEGINS_SCALAR:
            self.scalar_from = self.at
        elif first not in b'"[{':
            raise ValueError(f"no JSON begins with {bytes([first])!r}")
        return True

    def scalar(self, buffer: bytearray, closed: bool, start: int) -> Optional[int]:
        while self.at < len(buffer) and buffer[self.at] not in SPACE + b',:]}"[{':
            self.at += 1
        # A number may go on: only a byte behind it, or the close, ends it.
        if self.at == len(buffer) and not closed:
            return None
        if not SCALAR.match(bytes(buffer[start : self.at])):
            if self.at == len(buffer):
                return None  # cut short by the close
            raise ValueError(f"no JSON value: {bytes(buffer[start : min(self.at, start + 40)])!r}")
        return self.at

    def nested(self, buffer: bytearray) -> Optional[int]:
        while True:
            found = (INSIDE if self.in_string else OUTSIDE).search(buffer, self.at)
            if found is None:
                # Perhaps already one more, if the byte behind a backslash has not come yet.
                self.at = max(self.at, len(buffer))
                return None
            self.at = found.end()
            byte = buffer[found.start()]
            if byte == ord("\\"):
                self.at += 1  # whatever is escaped, also when it has not come yet
            elif byte == ord('"'):
                self.in_string = not self.in_string
            elif byte in CLOSES:
                self.open.append(CLOSES[byte])
            elif self.open.pop() != byte:
                raise ValueError(f"a bracket is closed by {chr(byte)!r}")
            if not self.open and not self.in_string:
                return self.at
