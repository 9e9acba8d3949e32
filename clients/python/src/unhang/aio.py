"""The same clients for asyncio: ``from unhang.aio import Client``. A cancelled task closes its connection at once."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Optional, Type, TypeVar

from .address import PathLike
from .call import MAX_REPLY, Http, Kept, Lines, OneShot
from .client import TIMEOUT, Message
from .ends import Ends
from .http import Headers, Response
from .steps import Steps, Wait

T = TypeVar("T")
Self = TypeVar("Self", bound="Keeping")

__all__ = ["Client", "LineClient", "HttpClient"]


async def run(steps: Steps[T]) -> T:
    try:
        while True:
            await wait_for(next(steps))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


async def wait_for(wait: Wait) -> None:
    if wait.sock is None:
        await asyncio.sleep(wait.seconds)
        return
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        # The descriptor and the timer may both come in one turn of the loop.
        if not ready.done():
            ready.set_result(None)

    timer = loop.call_later(wait.seconds, wake)
    if wait.read:
        loop.add_reader(wait.sock, wake)
    if wait.write:
        loop.add_writer(wait.sock, wake)
    try:
        await ready
    finally:
        timer.cancel()
        if wait.read:
            loop.remove_reader(wait.sock)
        if wait.write:
            loop.remove_writer(wait.sock)


class Client:
    """As unhang.Client."""

    def __init__(
        self,
        path: PathLike,
        *,
        timeout: float = TIMEOUT,
        ends: Optional[Ends] = None,
        half_close: bool = True,
        max_reply: int = MAX_REPLY,
    ) -> None:
        self._calls = OneShot(path, timeout, ends, half_close, max_reply)

    async def call(self, message: Message, *, timeout: Optional[float] = None) -> bytes:
        return await run(self._calls.steps(message, timeout))


class Keeping:
    _calls: Kept

    def close(self) -> None:
        """Closes the idle connections. The client may still be used."""
        self._calls.close()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class LineClient(Keeping):
    """As unhang.LineClient."""

    def __init__(self, path: PathLike, *, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._calls: Lines = Lines(path, timeout, max_reply)

    async def call(self, line: Message, *, timeout: Optional[float] = None) -> bytes:
        return await run(self._calls.line(line, timeout))


class HttpClient(Keeping):
    """As unhang.HttpClient."""

    def __init__(self, path: PathLike, *, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._calls: Http = Http(path, timeout, max_reply)

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Optional[Headers] = None,
        body: Optional[Message] = None,
        timeout: Optional[float] = None,
    ) -> Response:
        response: Response = await run(self._calls.http(method, target, headers, body, timeout))
        return response
