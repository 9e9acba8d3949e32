#!/usr/bin/env bash
# pages.sh DEB: man pages that mandoc reads, and completions that the shells run.

# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

place=$work/pages
dpkg-deb -x "$1" "$place"
pages=("$place"/usr/share/man/man1/*.gz)
for command in '' -serve -call -why -bench; do
    [[ -f $place/usr/share/man/man1/unhang$command.1.gz ]] || fail "there is no page unhang$command(1)"
done
for page in "${pages[@]}"; do
    # clap_mangen writes blank lines in a way that mandoc passes over; nothing else may be wrong.
    said=$(zcat "$page" | mandoc -T lint -W warning | grep -v 'skipping paragraph macro: br' || true)
    expect "mandoc on ${page##*/}" '' "$said"
    zcat "$page" | mandoc -T utf8 | col -bx > "$work/page.txt"
    # "unhang-why" is the page of `unhang why`.
    command=$(basename "$page" .1.gz)
    command=${command#unhang}
    # shellcheck disable=SC2086 # without a subcommand: no argument
    "$place/usr/bin/unhang" ${command#-} --help > "$work/help.txt"
    while read -r option; do
        grep -qF -- "$option" "$work/page.txt" || fail "${page##*/} lacks $option"
    done < <(grep -o '^ *\(-., \)\?--[a-z-]*' "$work/help.txt" | grep -o -- '--.*')
    # A line of exit codes, or of what signals do, stays a line.
    grep -qF -- "$(tail -n 1 "$work/help.txt")" "$work/page.txt" || fail "${page##*/} lacks the end of --help"
done

said=$(PATH=$place/usr/bin:$PATH bash -c '
    source /usr/share/bash-completion/bash_completion
    source "$1/usr/share/bash-completion/completions/unhang"
    COMP_WORDS=(unhang se) COMP_CWORD=1; _unhang unhang se unhang; printf "%s," "${COMPREPLY[@]}"
    COMP_WORDS=(unhang why --pro) COMP_CWORD=2; _unhang unhang --pro why; printf "%s," "${COMPREPLY[@]}"
' _ "$place")
expect 'what bash completes' 'serve,--probe,' "$said"
zsh -n "$place/usr/share/zsh/vendor-completions/_unhang"
said=$(HOME=$work fish --no-config -c "source '$place/usr/share/fish/vendor_completions.d/unhang.fish'; complete -C 'unhang se'" | cut -f1)
expect 'what fish completes' serve "$said"
