"""A call is a generator that never waits: it does what can be done at once, then yields what it waits for.

So there is one call, and two ways to wait: poll() here, and the event loop in aio.py.
"""

from __future__ import annotations

import math
import select
import socket
import time
from typing import Generator, NamedTuple, Optional, TypeVar

T = TypeVar("T")


class Wait(NamedTuple):
    """Until `sock` can be read or written, and no longer than `seconds`; without a socket just as long."""

    seconds: float
    sock: Optional[socket.socket] = None
    read: bool = False
    write: bool = False


Steps = Generator[Wait, None, T]


def run(steps: Steps[T]) -> T:
    """Runs `steps` to the end, blocking this thread."""
    try:
        while True:
            wait_for(next(steps))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        # A signal handler may have raised while we waited: the generator closes its socket.
        steps.close()


def wait_for(wait: Wait) -> None:
    if wait.sock is None:
        time.sleep(wait.seconds)
        return
    # Not select(): it cannot take descriptors from 1,024 on.
    poll = select.poll()
    poll.register(wait.sock, (select.POLLIN if wait.read else 0) | (select.POLLOUT if wait.write else 0))
    # Rounded up: rounded down, the last fraction of a millisecond would be spent spinning.
    poll.poll(math.ceil(wait.seconds * 1000))
