#!/usr/bin/env bash
# chroot.sh BINARY: it runs where there is no C library, and knows users by name.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

empty=$work/empty
mkdir -p "$empty"/{etc,dev,run,proc}
cp "$1" "$empty/unhang"
printf 'root:x:0:0::/:/\nanna:x:4711:4711::/:/\n' > "$empty/etc/passwd"
printf 'root:x:0:\nfriends:x:4712:\n' > "$empty/etc/group"
mknod -m 666 "$empty/dev/null" c 1 3
# The kernel's own view: a socket gets its mode by way of it.
mount -t proc proc "$empty/proc"
trap 'umount --lazy "$empty/proc"' EXIT

chroot "$empty" /unhang --version | grep -q '^unhang ' || fail 'expected a version'
chroot "$empty" /unhang serve /run/s --owner anna --group friends --allow-uid anna --allow-uid root \
    > "$work/chroot.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; umount --lazy "$empty/proc"' EXIT
await 'listening on' "$work/chroot.log"
expect 'owner and group of the socket' 4711:4712 "$(stat -c %u:%g "$empty/run/s")"
chroot "$empty" /unhang call /run/s hello | grep -q '^OK+ at ' || fail 'expected an answer'

# A name that nobody has: glibc must not look for modules that are not there.
said=$(chroot "$empty" /unhang serve /run/t --owner nobody-has-it 2>&1) && fail 'a user that does not exist was taken'
[[ $said == *nobody-has-it* ]] || fail "expected the name of the user, got: $said"

kill -TERM "$server"
wait "$server" || fail "expected the server to end with 0, got $?"
trap 'umount --lazy "$empty/proc"' EXIT
[[ ! -e $empty/run/s ]] || fail 'the socket was left behind'
