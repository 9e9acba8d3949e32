"""The same small application for every server of Python's: `/` answers, `/slow` after a quarter of a second, `/stream` begins
a reply that it does not end, `/never` does not answer."""

import asyncio
import time


def wsgi(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(0.25)
    if path == "/never":
        time.sleep(1e6)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello\n"]


application = wsgi


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(0.25)
    if path == "/never":
        await asyncio.sleep(1e6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello\n", "more_body": path == "/stream"})
    if path == "/stream":
        await asyncio.sleep(1e6)
