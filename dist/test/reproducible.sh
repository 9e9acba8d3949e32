#!/usr/bin/env bash
# reproducible.sh DIRECTORY: another build, of a copy in another directory, makes the same bytes as those in DIRECTORY.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

root=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
copy="$work/a copy, elsewhere"
mkdir "$copy"
(cd "$root" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --no-dereference --parents -t "$copy")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
env -u CARGO_TARGET_DIR "$copy/script/package" --arch x86_64 > "$work/again.log"
expect 'the second build' "$(grep x86_64 "$1/SHA256SUMS"; grep amd64 "$1/SHA256SUMS")" \
    "$(grep x86_64 "$copy/target/dist/SHA256SUMS"; grep amd64 "$copy/target/dist/SHA256SUMS")"
