"""The clients for code that blocks. Each may be used by many threads at a time."""

from __future__ import annotations

from types import TracebackType
from typing import Optional, Type, TypeVar, Union

from .address import PathLike
from .call import MAX_REPLY, Http, Kept, Lines, OneShot
from .ends import Ends
from .http import Headers, Response
from .steps import run

Message = Union[bytes, bytearray, memoryview, str]
Self = TypeVar("Self", bound="Keeping")

# Seconds. Short enough that a person still waits, long enough for a healthy server under load.
TIMEOUT = 5.0


class Client:
    """Calls a server that answers once: one connection and one deadline for each call.

    ``path``: the socket, or ``@name`` for an abstract one. ``timeout``: seconds for connecting, sending and receiving
    together. ``ends``: how the reply shows its end (unhang.ends); the close, unless given. ``half_close``: tell the
    server that the request is complete by closing the sending side; False for a server that takes this for the end of
    everything. ``max_reply``: bytes.
    """

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

    def call(self, message: Message, *, timeout: Optional[float] = None) -> bytes:
        """The whole reply, or an UnhangError. Text is sent as UTF-8."""
        return run(self._calls.steps(message, timeout))


class Keeping:
    """A client that keeps its connections between calls: close it, or use ``with``."""

    _calls: Kept

    def close(self) -> None:
        """Closes the idle connections. The client may still be used."""
        self._calls.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()


class LineClient(Keeping):
    """Calls a server that answers each line with a line, as often as asked."""

    def __init__(self, path: PathLike, *, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._calls: Lines = Lines(path, timeout, max_reply)

    def call(self, line: Message, *, timeout: Optional[float] = None) -> bytes:
        """The line that answers, without its newline. ``line`` may have its newline or not, and none inside."""
        return run(self._calls.line(line, timeout))


class HttpClient(Keeping):
    """Calls an HTTP/1.1 server. An error status is a Response like any other."""

    def __init__(self, path: PathLike, *, timeout: float = TIMEOUT, max_reply: int = MAX_REPLY) -> None:
        self._calls: Http = Http(path, timeout, max_reply)

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Optional[Headers] = None,
        body: Optional[Message] = None,
        timeout: Optional[float] = None,
    ) -> Response:
        """The whole response, or an UnhangError. Nothing is repeated by itself, nor is a redirect followed."""
        response: Response = run(self._calls.http(method, target, headers, body, timeout))
        return response
