#!/usr/bin/env bash
# Mutants of the core: changes one operator, arm or result at a time.
#
#   verify/mutants/core.sh [FILE...]    FILE: as in core/src, such as read/walk.rs; default: all,
#                                       some hours on two cores
#
# Ends with 1 if the tests miss one that is not explained in verify/mutants/core.txt. A mutant that
# hangs counts as caught, so on a machine so loaded that the tests need SECONDS_EACH (120) too few
# are seen. JOBS: all processors. Installs cargo-mutants if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
explained=$PWD/verify/mutants/core.txt
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants

# The core alone, without debug information, and all its tests but one in a single program: linking
# would take longer than everything else. `threads` is left out: it spins, and what it finds depends
# on the moment. With the features that an ordinary processor's tests need.
mkdir "$copy/src"
cp -r core Cargo.toml Cargo.lock "$copy/src"
cd "$copy/src"
sed -i -e 's/^members = .*/members = ["core"]/' -e '/^exclude = /d' Cargo.toml
printf '\n[profile.dev]\ndebug = 0\nopt-level = 1\n' >>Cargo.toml
sed -i '/^\[\[test\]\]/,/^$/d' core/Cargo.toml
rm core/tests/threads.rs
mkdir core/tests/all
for file in core/tests/*.rs; do
    sed 's/^mod common;$/use super::common;/' "$file" >"core/tests/all/$(basename "$file")"
    rm "$file"
done
mv core/tests/common core/tests/golden core/tests/all
(cd core/tests/all && for module in common *.rs; do echo "mod ${module%.rs};"; done) >"$copy/main.rs"
mv "$copy/main.rs" core/tests/all/main.rs

files=()
for file in "$@"; do
    [ -f "core/src/$file" ] || { echo "no such file: core/src/$file"; exit 2; }
    files+=(--file "core/src/$file")
done
# mutants ARGUMENT...: one run; what is missed is in $copy/mutants.out/missed.txt.
mutants() {
    local status=0
    cargo mutants --no-times --features std,async --jobs "${JOBS:-$(nproc)}" \
        --timeout "${SECONDS_EACH:-120}" --output "$copy" "$@" || status=$?
    # 2: some were missed; 3: some hang. Anything else, such as tests that fail without a mutant, is
    # no answer.
    case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac
}
# The quick tests judge first, and what they miss is judged by all.
slow=(hostile_words_and_bytes every_length_at_every forged_headers_with loss_is_exact_over overwriting_keeps_oldest copies_on_the_way)
mutants "${files[@]}" -- --lib --tests -- "${slow[@]/#/--skip=}"
if [ -s "$copy/mutants.out/missed.txt" ]; then
    again=()
    while read -r name; do
        again+=(--re "^$(printf '%s' "$name" | sed 's/[][\.*^$+?(){}|]/\\&/g')\$")
    done <"$copy/mutants.out/missed.txt"
    mutants "${files[@]}" "${again[@]}" -- --lib --tests
fi

# `path:line:column: replace A with B in F` as `path: F: replace A with B`, and
# `replace F -> T with V` as `path: F: replace with V`: lines move.
sed -E -e 's/^([^:]+):[0-9]+:[0-9]+: (.*) in (.*)$/\1: \3: \2/; t' \
    -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) -> .* with (.*)$/\1: \2: replace with \3/; t' \
    -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) with (.*)$/\1: \2: replace with \3/' "$copy/mutants.out/missed.txt" | sort >"$copy/missed"
# A line explains one mutant: of two that look alike the second needs its own.
grep -v '^#' "$explained" | sed 's/ => .*//' | sort >"$copy/explained"
comm -23 "$copy/missed" "$copy/explained" >"$copy/unexplained"
echo "$(wc -l <"$copy/missed") missed, $(wc -l <"$copy/unexplained") of them not explained"
if [ -s "$copy/unexplained" ]; then
    sed 's/^/NOT EXPLAINED /' "$copy/unexplained"
    exit 1
fi
