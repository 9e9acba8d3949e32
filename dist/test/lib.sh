# shellcheck shell=bash
# For the tests beside this file to source.

set -euo pipefail

work=${work:?all.sh names a directory to work in}

# fail TEXT: ends the test.
fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# expect WHAT EXPECTED GOT
expect() {
    [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

# await TEXT FILE: until the file contains the text. Half a minute, for a machine with much else to do.
await() {
    local tries
    for ((tries = 0; tries < 600; tries++)); do
        grep -qs -- "$1" "$2" && return
        sleep 0.05
    done
    fail "expected '$1' within 30 s in $2, got: $(cat "$2")"
}
