"""A server whose thread polls a table on a page of a file system that never answers: mute_page.py SOCKET DIRECTORY page.
With `names` instead, the file system does not even tell what is in it.
Whoever reads that page sleeps until the file system is gone, and no signal helps. Root only."""
import ctypes
import mmap
import os
import socket
import struct
import sys

LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, INTERRUPT = 1, 2, 3, 14, 15, 26, 36
ENOENT, ENOSYS = 2, 38
SIZE = 4096


def attributes(node):
    mode = 0o40755 if node == 1 else 0o100644
    return struct.pack("<6Q3I7I", node, SIZE, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, SIZE, 0)


def answer(device, unique, error, body=b""):
    os.write(device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)


def serve(device, silent):
    """The kernel's requests, until it asks to read the file: to that there is no answer."""
    while True:
        request = os.read(device, 1 << 17)
        _, operation, unique, node = struct.unpack_from("<IIQQ", request)
        if operation == INIT:
            answer(device, unique, 0, struct.pack("<4I2H2I2HI7I", 7, 31, 0, 0, 0, 0, SIZE, 1, 0, 0, 0, *[0] * 7))
        elif operation == LOOKUP and silent:
            continue
        elif operation == LOOKUP:
            answer(device, unique, 0, struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2))
        elif operation == GETATTR:
            answer(device, unique, 0, struct.pack("<Q2I", 60, 0, 0) + attributes(node))
        elif operation == OPEN:
            answer(device, unique, 0, struct.pack("<Q2I", 0, 0, 0))
        elif operation not in (READ, FORGET, INTERRUPT):
            answer(device, unique, ENOSYS)


def main(path, directory, what):
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"mute", directory.encode(), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    # When this one ends, so does the file system, and the child that waits for it.
    if what == "names":
        print("ready", flush=True)
        serve(device, True)
    if os.fork() != 0:
        serve(device, False)
    os.close(device)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(8)
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    _accepted = listener.accept()
    with open(os.path.join(directory, "page"), "rb") as file:
        page = mmap.mmap(file.fileno(), SIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    table = ctypes.addressof(ctypes.c_char.from_buffer(page))
    print("ready", flush=True)
    libc.poll(ctypes.c_void_p(table), 1, -1)


main(*sys.argv[1:])
