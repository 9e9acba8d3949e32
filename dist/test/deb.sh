#!/usr/bin/env bash
# deb.sh DEBIAN DEB NEXT_DEB: installs, serves, upgrades under load without losing a call, and purges clean. DEBIAN is
# a fresh root (debootstrap --variant=minbase), NEXT_DEB a newer package.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

debian=$1
cp "$2" "$debian/root/first.deb"
cp "$3" "$debian/root/next.deb"
inside() { chroot "$debian" "$@"; }
# Everything but dpkg's own books, the logs, and the copies that account tools keep of what they change.
files() { (cd "$debian" && find . -path ./proc -prune -o -path ./var/lib/dpkg -prune -o -path ./var/log -prune -o -name '*-' -prune \
    -o -path ./run -prune -o -path ./var/cache -prune -o -print | sort); }
accounts() { (cd "$debian/etc" && cat passwd group gshadow | sort); }
end() {
    touch "$work/stop"
    local server
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
    done
    # Detached at once, though a server may still end.
    umount --lazy "$debian/proc"
}
servers=()
mount -t proc proc "$debian/proc"
trap end EXIT

files > "$work/before"
accounts > "$work/accounts-before"
inside dpkg -i /root/first.deb > "$work/install.log" 2>&1 || fail "dpkg -i: $(cat "$work/install.log")"
inside unhang --version | grep -q '^unhang ' || fail 'expected a version'
inside getent group unhang > "$work/group" || fail 'the group unhang was not made'
# A second time: the scripts must stand that.
inside dpkg -i /root/first.deb > "$work/install.log" 2>&1 || fail "dpkg -i again: $(cat "$work/install.log")"
expect 'the group after a second time' "$(cat "$work/group")" "$(inside getent group unhang)"
said=$(inside dpkg --verify unhang)
# A minimal system leaves documents and man pages out.
said=$(grep -v '^missing' <<< "$said" || true)
expect 'dpkg --verify' '' "$said"
# By the systemd of this machine, as a minimal root has none.
mkdir "$work/units"
sed "s#/usr/bin/unhang#$debian&#" "$debian/usr/lib/systemd/system/unhang.service" > "$work/units/unhang.service"
cp "$debian/usr/lib/systemd/system/unhang.socket" "$work/units/"
said=$(systemd-analyze verify --man=no "$work"/units/* 2>&1 | grep 'unhang\.' | grep -v AcceptFileDescriptors || true)
expect 'systemd-analyze verify' '' "$said"

# An administrator's change, and a server that callers use all the while.
echo 'UNHANG_OPTIONS="--quiet"' > "$debian/etc/default/unhang"
# Not by `inside`: a signal would end the shell that runs the function, and not the server.
chroot "$debian" unhang serve /run/app.sock > "$work/old.log" 2>&1 &
servers+=($!) old=$!
await 'listening on' "$work/old.log"
callers=()
for caller in 1 2 3 4; do
    (
        until [[ -e $work/stop ]]; do
            if ! inside unhang call --deadline 30s /run/app.sock hello > "$work/reply-$caller" 2>&1 \
                || ! grep -q '^OK+ at ' "$work/reply-$caller"; then
                cp "$work/reply-$caller" "$work/lost-$caller"
                break
            fi
            echo called > "$work/calls-$caller"
        done
    ) &
    callers+=($!)
done
for caller in 1 2 3 4; do await called "$work/calls-$caller"; done

inside dpkg -i /root/next.deb > "$work/upgrade.log" 2>&1 || fail "the upgrade: $(cat "$work/upgrade.log")"
expect 'the configuration after the upgrade' 'UNHANG_OPTIONS="--quiet"' "$(cat "$debian/etc/default/unhang")"
kill -0 "$old" || fail 'the upgrade ended a server that was not the package'\''s'
chroot "$debian" unhang serve /run/app.sock --replace > "$work/new.log" 2>&1 &
servers+=($!) new=$!
await 'listening on' "$work/new.log"
wait "$old" || fail "the old server ended with $?: $(cat "$work/old.log")"
# Each caller has two more calls answered: the second of them began after the old server was gone.
for caller in 1 2 3 4 1 2 3 4; do
    echo > "$work/calls-$caller"
    await called "$work/calls-$caller"
done
touch "$work/stop"
wait "${callers[@]}"
lost=("$work"/lost-*)
[[ ! -e ${lost[0]} ]] || fail "a call was lost: $(cat "${lost[@]}")"
kill -TERM "$new"
wait "$new" || fail "the new server ended with $?"
expect 'the owner of the program that ran' 'unhang: /usr/bin/unhang' "$(inside dpkg -S /usr/bin/unhang)"

inside dpkg -r unhang > "$work/remove.log" 2>&1 || fail "dpkg -r: $(cat "$work/remove.log")"
[[ -e $debian/etc/default/unhang ]] || fail 'the removal took the configuration, which only a purge may'
inside dpkg -P unhang > "$work/purge.log" 2>&1 || fail "dpkg -P: $(cat "$work/purge.log")"
files > "$work/after"
diff "$work/before" "$work/after" > "$work/left" || fail "the purge left: $(cat "$work/left")"
accounts > "$work/accounts-after"
diff "$work/accounts-before" "$work/accounts-after" > "$work/left" || fail "the purge left: $(cat "$work/left")"
