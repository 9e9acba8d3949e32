# shellcheck shell=bash
# For the scripts beside this file to source: how they speak, and how they install what is missing.

# Colour is for people: not for files and pipes, and not if NO_COLOR is set (https://no-color.org).
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    label_style=$'\e[1;36m' plain_style=$'\e[0m'
else
    label_style='' plain_style=''
fi

# rustup puts cargo here, and not every shell that runs a script has read the profile that says so.
if [[ -n ${HOME:-} && -d $HOME/.cargo/bin ]]; then
    PATH=$PATH:$HOME/.cargo/bin
fi

# say LABEL TEXT: one aligned line about what is being done.
say() {
    printf '%s%-10s%s %s\n' "$label_style" "$1" "$plain_style" "$2"
}

# die TEXT: what went wrong and what to do about it; the script ends with 1.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# usage_error TEXT: the script was called in a way that it does not know; it ends with 2.
usage_error() {
    printf '%s: %s\nTry: %s --help\n' "${0##*/}" "$1" "$0" >&2
    exit 2
}

# install_missing [COMMAND=]PACKAGE…: installs those Debian packages whose command is missing, and leaves alone a command that came another way.
# A package without a command (a library) counts as there when dpkg says so.
install_missing() {
    local wanted package missing=() as_root=()
    for wanted in "$@"; do
        package=${wanted#*=}
        if [[ $wanted == *=* ]]; then
            command -v "${wanted%%=*}" >/dev/null || missing+=("$package")
        else
            dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' \
                || missing+=("$package")
        fi
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0

    command -v apt-get >/dev/null \
        || die "missing: ${missing[*]} (Debian's names), and there is no apt-get: install them your system's way"
    if [[ $EUID -ne 0 ]]; then
        command -v sudo >/dev/null || die "missing: ${missing[*]}. As root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi

    say install "${missing[*]}"
    # Asking nothing: a question would wait for ever where nobody sits. env, because sudo drops variables.
    as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    # A new machine has no package lists, or has old ones that name versions which are gone.
    "${as_root[@]}" update >/dev/null || die "apt-get update failed: its reason is above"
    "${as_root[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null \
        || die "apt-get could not install ${missing[*]}: its reason is above"
}

# need_cargo: cargo is the one thing that is not ours to install: people have it from rustup, in a version they chose.
need_cargo() {
    command -v cargo >/dev/null || die 'cargo is missing: install Rust from https://rustup.rs and run this again'
}
