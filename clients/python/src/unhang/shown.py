"""How bytes of a stranger, and seconds, are shown in a message. Pure."""

from __future__ import annotations

import unicodedata

# Of a reason that may be megabytes: enough to read, too little to fill a log.
SHOWN_BYTES = 300

ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control, format (the bidi ones turn a line around), line and paragraph separators.
HIDDEN = {"Cc", "Cf", "Zl", "Zp"}


def one_line(text: bytes) -> str:
    """At most 300 bytes of `text`, on one line, harmless to a terminal and a log. No character and no escape is cut."""
    pieces = []
    room = SHOWN_BYTES
    # Each byte of text needs at least a byte of room, and a character has at most 4.
    for character in text[: SHOWN_BYTES + 4].decode("utf-8", "surrogateescape"):
        piece = escaped(character)
        room -= len(piece.encode())
        if room < 0:
            break
        pieces.append(piece)
    else:
        if len(text) <= SHOWN_BYTES + 4:
            return "".join(pieces)
    return "".join(pieces) + f"… ({len(text)} bytes)"


def escaped(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in HIDDEN:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:x}}}"


def seconds(duration: float) -> str:
    return f"{round(duration, 3):g} s"
