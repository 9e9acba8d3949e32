#!/bin/sh
# Asks a server on a Unix socket: client.sh SOCKET MESSAGE
# Needs socat or OpenBSD's nc (Debian: netcat-openbsd), and timeout from the coreutils.
# Both take a broken connection for the end of the reply; `unhang call` tells them apart.

if command -v socat >/dev/null; then
    # -t 5: at the end of our message socat half-closes, and would wait only half a second for the reply.
    printf '%s' "$2" | timeout 5 socat -t 5 - "UNIX-CONNECT:$1"
else
    # -N: half-close at the end of our message. Without it nc leaves its side open.
    printf '%s' "$2" | timeout 5 nc -N -U "$1"
fi
status=$?

# What timeout exits with when it had to end the command. It says nothing itself.
[ $status -ne 124 ] || echo "$1: no end of the reply within 5 s" >&2
exit $status
