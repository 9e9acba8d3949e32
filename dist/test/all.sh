#!/usr/bin/env bash
# What script/package --test runs: all.sh DIRECTORY, with the packages that script/package has made. Needs root.

set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(dirname "$(dirname "$here")")
# shellcheck source-path=SCRIPTDIR source=../../script/lib.sh
source "$root/script/lib.sh"

[[ $EUID -eq 0 ]] || die 'needs root, for chroot and debootstrap: run script/package --test as root'
[[ $# -eq 1 && -d $1 ]] || die 'expected the directory that script/package has written'
[[ $(uname -m) == x86_64 ]] || die 'runs the x86_64 packages, so it needs an x86_64 machine'
made=$1
install_missing debootstrap=debootstrap lintian=lintian rpm=rpm rpm2cpio=rpm2cpio cpio=cpio zsh=zsh fish=fish mandoc=mandoc col=bsdextrautils \
    systemd-analyze=systemd bash-completion

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
export work

# The README names them by a pattern, and people paste it.
while read -r pattern; do
    # shellcheck disable=SC2206 # a pattern
    files=("$made"/${pattern#target/dist/})
    [[ ${#files[@]} -eq 1 && -f ${files[0]} ]] || die "the README names $pattern, which is not one file: ${files[*]}"
done < <(grep -o 'target/dist/[^ `]*' "$root/README.md")

say chroot 'the file alone, in a directory without a C library'
"$here/chroot.sh" "$made"/unhang-*-x86_64-linux
say pages 'mandoc, bash, zsh and fish'
"$here/pages.sh" "$made"/unhang_*_amd64.deb

say deb 'lintian, and a fresh Debian'
# A build that nobody signs names an address that nobody has, and it is no upload to Debian, which wants a bug's number.
lintian --fail-on error,warning --allow-root \
    --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs \
    "$made"/unhang_*_amd64.deb
debootstrap --variant=minbase stable "$work/debian" > "$work/debootstrap.log" 2>&1 \
    || die "debootstrap failed: $(tail -n 3 "$work/debootstrap.log")"
"$root/script/package" --arch x86_64 --revision 2 --out "$work/next" > "$work/next.log"
"$here/deb.sh" "$work/debian" "$made"/unhang_*_amd64.deb "$work"/next/unhang_*_amd64.deb

say units 'in a systemd that runs'
chroot "$work/debian" sh -ec 'apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install systemd-sysv dbus' \
    > "$work/systemd-install.log" 2>&1 || die "apt-get install systemd-sysv failed: $(tail -n 3 "$work/systemd-install.log")"
"$here/systemd.sh" "$work/debian" "$made"/unhang_*_amd64.deb "$work"/next/unhang_*_amd64.deb

say rpm 'what is in it, and that it runs'
"$here/rpm.sh" "$made"/unhang-*.x86_64.rpm

say again 'the same bytes from another directory'
"$here/reproducible.sh" "$made"
say passed 'the packages'
