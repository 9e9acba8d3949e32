"""Where the server listens, checked before any system call."""

from __future__ import annotations

import os
import re
import stat
from typing import Optional, Union

from .errors import InvalidArgument
from .shown import one_line

PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

# unix(7): sun_path has 108 bytes, one of them a NUL: behind a path, in front of an abstract name.
MAX_BYTES = 107


class Address:
    """A socket's path, or ``@name`` for an abstract socket."""

    def __init__(self, path: PathLike) -> None:
        written = os.fsencode(path)
        # A file may have any name: what is not UTF-8 or would harm a terminal is escaped.
        self.shown = one_line(written)
        self.is_abstract = written.startswith(b"@")
        name = written[1:] if self.is_abstract else written
        if not name:
            raise InvalidArgument(
                "the socket's path is empty",
                'Give the path the server listens on, or "@name" for an abstract socket.',
            )
        if b"\0" in name:
            raise InvalidArgument(
                "the socket's path contains a NUL byte, which no path can",
                'For an abstract socket write "@name".',
            )
        if re.match(rb"[a-z0-9+.-]+://", name, re.IGNORECASE):
            raise InvalidArgument(
                f'the socket\'s path must be a plain path, but it is the URL "{self.shown}"', "Leave out its scheme."
            )
        if len(name) > MAX_BYTES:
            raise InvalidArgument(
                f'the socket\'s path may have at most {MAX_BYTES} bytes, but "{self.shown}" has {len(name)}',
                "Use a shorter one, or a path relative to the working directory.",
            )
        self.kernel_name = b"\0" + name if self.is_abstract else name

    def impostor(self) -> Optional[str]:
        """What is at the path in place of a socket that somebody could serve; None if nothing else is known."""
        if self.is_abstract:
            return None
        try:
            found = os.stat(self.kernel_name)
        except OSError:
            return None
        if stat.S_ISREG(found.st_mode):
            return "a regular file"
        if stat.S_ISDIR(found.st_mode):
            return "a directory"
        return None if stat.S_ISSOCK(found.st_mode) else "no socket"

    def is_deleted(self) -> bool:
        """Whether the file has no name left: a container has the old file mounted, and the server made a new one."""
        try:
            return not self.is_abstract and os.stat(self.kernel_name).st_nlink == 0
        except OSError:
            return False
