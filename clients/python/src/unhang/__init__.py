"""Calls a server on a Unix socket and never hangs: the whole reply or an error, within one deadline."""

from . import ends
from .client import Client, HttpClient, LineClient
from .errors import (
    ConnectError,
    ConnectionLost,
    DescriptorsPassed,
    InvalidArgument,
    MalformedReply,
    NotClosed,
    ReplyTooLarge,
    RequestNotTaken,
    ServerError,
    Timeout,
    UnhangError,
)
from .http import Response

__all__ = [
    "Client",
    "LineClient",
    "HttpClient",
    "Response",
    "ends",
    "UnhangError",
    "InvalidArgument",
    "ConnectError",
    "Timeout",
    "NotClosed",
    "ConnectionLost",
    "RequestNotTaken",
    "ReplyTooLarge",
    "ServerError",
    "MalformedReply",
    "DescriptorsPassed",
]
__version__ = "0.1.0"
