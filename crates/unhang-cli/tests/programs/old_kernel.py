"""Runs a program as on a kernel before 6.16, which has no SO_PASSRIGHTS: old_kernel.py PROGRAM [ARGUMENT]...

A filter (seccomp(2)) lets setsockopt() and getsockopt() fail with ENOPROTOOPT for that option alone."""

import ctypes
import os
import struct
import sys

SYSCALLS = {"x86_64": (54, 55), "aarch64": (208, 209)}
SOL_SOCKET, SO_PASSRIGHTS, ENOPROTOOPT = 1, 83, 92
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
# The fields of `struct seccomp_data`: the number of the call, and the low words of its arguments.
NUMBER, LEVEL, OPTION = 0, 24, 32
LOAD, IS, RETURN = 0x20, 0x15, 0x06


def main():
    set_call, get_call = SYSCALLS[os.uname().machine]
    program = [
        (LOAD, 0, 0, NUMBER),
        (IS, 1, 0, set_call),
        (IS, 0, 5, get_call),
        (LOAD, 0, 0, LEVEL),
        (IS, 0, 3, SOL_SOCKET),
        (LOAD, 0, 0, OPTION),
        (IS, 0, 1, SO_PASSRIGHTS),
        (RETURN, 0, 0, ERRNO | ENOPROTOOPT),
        (RETURN, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    # `struct sock_fprog`: how many, and where.
    filters = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, filters, 0, 0)):
        if libc.prctl(*call) != 0:
            sys.exit(f"old_kernel.py: {os.strerror(ctypes.get_errno())}")
    os.execvp(sys.argv[1], sys.argv[1:])


main()
