"""Asks a server on a Unix socket: python3 client.py SOCKET MESSAGE"""

import socket
import sys
import time


def ask(path: str, message: bytes, seconds: float = 5.0) -> bytes:
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(seconds)
        server.connect(path)
        server.sendall(message)
        server.shutdown(socket.SHUT_WR)  # our message is complete
        reply = b""
        while (left := end - time.monotonic()) > 0:
            server.settimeout(left)  # holds for one recv() only: a dripping server would renew it
            if not (piece := server.recv(65536)):
                return reply
            reply += piece
    raise TimeoutError("timed out")


try:
    sys.stdout.buffer.write(ask(sys.argv[1], sys.argv[2].encode()))
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error}")
