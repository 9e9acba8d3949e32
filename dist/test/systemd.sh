#!/usr/bin/env bash
# systemd.sh DEBIAN DEB NEXT_DEB: the units of the package in a running systemd. They start at the first call, serve the
# group alone, are upgraded under load without losing a call, and a purge while they serve leaves nothing. DEBIAN is a
# root with systemd and dbus; it is booted in namespaces of its own.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export debian=$1
cp "$2" "$debian/root/first.deb"
cp "$3" "$debian/root/next.deb"

# boot: systemd as process 1. `container` tells it that it has no machine of its own.
boot() {
    local node name major minor
    mount --make-rprivate /
    mount --bind "$debian" "$debian"
    mount -t proc proc "$debian/proc"
    mount -t sysfs -o ro sysfs "$debian/sys"
    mount -t cgroup2 cgroup2 "$debian/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 tmpfs "$debian/run"
    mount -t tmpfs -o mode=755 tmpfs "$debian/dev"
    for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
        IFS=: read -r name major minor <<< "$node"
        mknod -m 666 "$debian/dev/$name" c "$major" "$minor"
    done
    mkdir "$debian/dev/pts" "$debian/dev/shm"
    ln -s pts/ptmx "$debian/dev/ptmx"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$debian/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$debian/dev/shm"
    cd "$debian"
    exec chroot . env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
}
export -f boot
unshare --pid --mount --ipc --uts --net --cgroup --fork --kill-child bash -euc boot > "$work/boot.log" 2>&1 &
booted=$!
trap 'kill -KILL "$booted" 2>/dev/null || true' EXIT

# inside COMMAND…: in the booted system.
inside() { nsenter --target "$(pgrep -P "$booted")" --pid --mount --ipc --uts --net --root --wd "$@"; }
for ((tries = 0; tries < 600; tries++)); do
    state=$(inside systemctl is-system-running 2>/dev/null || true)
    # Some unit fails in any container: that one is not ours.
    [[ $state != running && $state != degraded ]] || break
    sleep 0.1
done
[[ $state == running || $state == degraded ]] || fail "systemd did not start: $state, $(cat "$work/boot.log")"

inside dpkg -i /root/first.deb > "$work/systemd.log" 2>&1 || fail "dpkg -i: $(cat "$work/systemd.log")"
expect 'the socket after the installation' disabled "$(inside systemctl is-enabled unhang.socket || true)"
inside systemctl enable --now unhang.socket > "$work/systemd.log" 2>&1 || fail "enable: $(cat "$work/systemd.log")"
call() { inside setpriv --reuid 65534 --regid 65534 "$@" unhang call --deadline 60s /run/unhang.sock hello 2>&1; }
# Regression: the service could not start, as its user would have had the name of the package's group.
said=$(call --groups "$(inside getent group unhang | cut -d: -f3)") || fail "a member of the group: $said, $(inside systemctl status --no-pager unhang.service)"
[[ $said == 'OK+ at '* ]] || fail "expected an answer, got: $said"
said=$(call --clear-groups) && fail "a user outside of the group was answered: $said"
[[ $said == *'permission denied'* ]] || fail "expected the permission to be missing, got: $said"

callers=()
for caller in 1 2 3; do
    (
        until [[ -e $work/upgraded ]]; do
            said=$(inside unhang call --deadline 60s /run/unhang.sock hello 2>&1 || true)
            if [[ $said != 'OK+ at '* ]]; then
                printf '%s\n' "$said" > "$work/lost-unit-$caller"
                break
            fi
            echo called > "$work/unit-calls-$caller"
        done
    ) &
    callers+=($!)
done
for caller in 1 2 3; do await called "$work/unit-calls-$caller"; done
old=$(inside systemctl show --property MainPID --value unhang.service)
inside dpkg -i /root/next.deb > "$work/systemd.log" 2>&1 || fail "the upgrade: $(cat "$work/systemd.log")"
new=$(inside systemctl show --property MainPID --value unhang.service)
[[ $new != 0 && $new != "$old" ]] || fail "expected the upgrade to restart the service, its process was $old and is $new"
# Each caller has two more calls answered: the second of them began after the restart.
for caller in 1 2 3 1 2 3; do
    echo > "$work/unit-calls-$caller"
    await called "$work/unit-calls-$caller"
done
touch "$work/upgraded"
wait "${callers[@]}"
lost=("$work"/lost-unit-*)
[[ ! -e ${lost[0]} ]] || fail "a call was lost: $(cat "${lost[@]}")"

inside dpkg -P unhang > "$work/systemd.log" 2>&1 || fail "dpkg -P: $(cat "$work/systemd.log")"
for unit in unhang.socket unhang.service; do
    expect "$unit after the purge" inactive "$(inside systemctl is-active "$unit" || true)"
done
# Regression: the socket stayed.
! inside test -e /run/unhang.sock || fail 'the purge left the socket'
! inside getent group unhang || fail 'the purge left the group'
left=$(inside find /etc /usr /var/lib/systemd -name '*unhang*')
expect 'files left by the purge' '' "$left"
