"""A client that passes descriptors whose close would wait: pass_descriptor.py PATH [oob] [after]
[kept] [last] [lines | http | goridge]

PATH may be @name for an abstract socket. Says `refused` if the kernel refuses them, or `passed`. Either way it
sends "hello\\n" and then waits until it is killed. `oob` sends the byte with the descriptor out of band, and
`after` sends it after the request; `kept` with the second request of its connection, and with `last` not with the
first byte of that but with its last, once all before was read. Then it says what the server has to say."""

import array
import errno
import fcntl
import socket
import struct
import sys
import termios
import time
import zlib

LINGER = 90


def lingering():
    """A TCP connection with bytes to send that the other end never takes, so that its close lingers."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER))
    sender.setblocking(False)
    try:
        while True:
            sender.send(bytes(16384))
    except BlockingIOError:
        return sender, receiver


def goridge(method, body):
    """A call of Goridge RPC, with a body in JSON: see docs/protocols.md."""
    start = struct.pack("<BBI", 0x15, 0x08, len(method) + len(body))
    return start + struct.pack("<IHII", zlib.crc32(start), 0, 7, len(method)) + method + body


def await_read(client):
    """Until the server has read all: what it can read at once with a descriptor, it leaves unread."""
    unread = array.array("i", [1])
    while unread[0]:
        time.sleep(0.001)
        fcntl.ioctl(client, termios.TIOCOUTQ, unread)


def main():
    path, flags = sys.argv[1], socket.MSG_OOB if "oob" in sys.argv[2:] else 0
    address = "\0" + path[1:] if path.startswith("@") else path
    client = socket.socket(socket.AF_UNIX)
    client.connect(address)
    request = b"hello\n"
    if "http" in sys.argv[2:]:
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    if "goridge" in sys.argv[2:]:
        request = goridge(b"S.m", b"hello")
    if "kept" in sys.argv[2:]:
        client.sendall(request)
        client.recv(4096)
    passed, _other_end = lingering()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()]))]
    first, rest = request[:1], request[1:]
    if "after" in sys.argv[2:]:
        client.sendall(request)
        first, rest = b"more", b"and more"
    if "last" in sys.argv[2:]:
        client.sendall(request[:-1])
        await_read(client)
        first, rest = request[-1:], b""
    try:
        client.sendmsg([first], rights, flags)
        said = "passed"
    except OSError as error:
        said = "refused" if error.errno == errno.EPERM else str(error)
        rest = first + rest
        passed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    try:
        client.sendall(rest)
    except OSError:
        # The server has closed already.
        pass
    print(said, flush=True)
    if "kept" in sys.argv[2:]:
        try:
            answer = client.recv(4096)
        except ConnectionResetError:
            # What came with a descriptor is left unread.
            answer = b""
        print("told", answer or "nothing", flush=True)
    # The close waits in the process that has the last copy: let that be the server.
    passed.close()
    time.sleep(600)


main()
