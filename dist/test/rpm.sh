#!/usr/bin/env bash
# rpm.sh RPM: what is in it, its scripts, and that its program runs.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

listed=$(rpm -qpl "$1")
for file in /usr/bin/unhang /etc/default/unhang /usr/lib/systemd/system/unhang.service /usr/lib/systemd/system/unhang.socket \
    /usr/share/man/man1/unhang.1.gz /usr/share/man/man1/unhang-why.1.gz /usr/share/zsh/site-functions/_unhang \
    /usr/share/bash-completion/completions/unhang /usr/share/fish/vendor_completions.d/unhang.fish /usr/share/doc/unhang/LICENSE-MIT; do
    grep -qxF "$file" <<< "$listed" || fail "$file is not in it: $listed"
done
expect 'its configuration' /etc/default/unhang "$(rpm -qp --configfiles "$1")"
expect 'owners' root:root "$(rpm -qp --queryformat '[%{FILEUSERNAME}:%{FILEGROUPNAME}\n]' "$1" | sort -u)"
# A static program wants no library of the machine.
said=$(rpm -qp --requires "$1" | grep -v '^rpmlib\|^/bin/sh$\|^config(\|^shadow-utils$' || true)
expect 'what it requires' '' "$said"
for script in PREIN POSTIN PREUN POSTUN; do
    rpm -qp --queryformat "%{$script}" "$1" > "$work/$script"
    [[ -s $work/$script ]] || fail "the script $script is missing"
    sh -n "$work/$script"
done
mkdir "$work/rpm"
(cd "$work/rpm" && rpm2cpio "$1" | cpio --quiet -id)
"$work/rpm/usr/bin/unhang" --version | grep -q '^unhang ' || fail 'expected a version'
grep -q '^ExecStart=/usr/bin/unhang ' "$work/rpm/usr/lib/systemd/system/unhang.service" || fail 'the unit names another program'
