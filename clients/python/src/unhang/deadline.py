"""A moment on the monotonic clock: setting the system's time moves it neither way."""

from __future__ import annotations

import time

from .errors import InvalidArgument

# Seconds. A longer wait is a hang in all but name; more likely the number was meant as milliseconds.
LONGEST = 600.0


class Deadline:
    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.start = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self.start

    def remaining(self) -> float:
        return max(0.0, self.timeout - self.elapsed())

    def passed(self) -> bool:
        return self.elapsed() >= self.timeout


def checked_timeout(timeout: float) -> float:
    # Written so that NaN, which is neither greater nor smaller than anything, is refused, too.
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= LONGEST:
        raise InvalidArgument(
            f"the timeout must be more than 0 and at most {LONGEST:g} seconds, but it is {timeout!r}",
            "It is not in milliseconds.",
        )
    return float(timeout)
