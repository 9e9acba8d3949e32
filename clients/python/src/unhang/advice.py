"""What a reply that never ended looks like: so which rule would have seen its end."""

from __future__ import annotations

from .json_end import JsonEnd

# Every way to take a half-close for the end that was met so far.
HALF_CLOSE = (
    "The request was half-closed; a server that takes this for the end of everything (Node.js, asyncio and Go's net/http"
    " do) wants half_close=False"
)


def matching_end(reply: bytes) -> str:
    """A sentence that names the rule, or an empty one."""
    if reply.startswith(b"HTTP/1."):
        return "It speaks HTTP: use HttpClient."
    if reply.endswith(b"\n") and reply.count(b"\n") == 1:
        return "If each reply ends with a newline, use ends.AtNewline()."
    if is_json(reply):
        return "The reply is whole JSON: use ends.AtJson()."
    if reply.endswith(b"\0"):
        return 'If each reply ends with a NUL, use ends.AtDelimiter(b"\\0").'
    for size in (4, 2, 8):
        for order in ("big", "little"):
            if len(reply) > size and int.from_bytes(reply[:size], order) == len(reply) - size:  # type: ignore[arg-type]
                return f'It begins with its length: use ends.AtLength({size}, "{order}").'
    return "If something else marks the end, see unhang.ends."


def is_json(reply: bytes) -> bool:
    try:
        return reply[:1] in (b"{", b"[") and JsonEnd().find(bytearray(reply), True) == len(reply)
    except ValueError:
        return False
