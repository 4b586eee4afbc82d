#!/usr/bin/env bash
# Mutants of the core: changes one operator, arm or result at a time.
#
#   verify/mutants/core.sh [--record] [FILE...]    FILE: as in core/src, such as read/walk.rs;
#                                                  default: all, some hours on two cores
#
# Goes on where an earlier run ended: the outcome of each file is kept in target/mutants for as long
# as the crate and its tests do not change. --record also writes a row for each file, as soon as it
# is judged, in verify/mutants/README.md; a file whose row is of that state and names nothing
# unexplained is not judged again. Ends with 1 if the tests miss one that is not explained in
# verify/mutants/core.txt. A mutant that hangs counts as caught, so on a machine so loaded that the
# tests need SECONDS_EACH (120) too few are seen. JOBS files at a time (all processors). Installs
# cargo-mutants if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
explained=$PWD/verify/mutants/core.txt
record=
[ "${1:-}" != --record ] || { record=1 && shift; }
state=$(git ls-files -z core/src core/tests core/Cargo.toml | xargs -0 sha256sum |
    sha256sum | cut -c1-16)
kept=$PWD/target/mutants/core-$state
results=$PWD/verify/documents/results.py
page=$PWD/verify/mutants/README.md
commit=$(git rev-parse --short HEAD)
mkdir -p "$kept"
copy=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$copy"' EXIT

command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants

files=("$@")
[ $# -gt 0 ] || mapfile -t files < <(cd core/src && find . -name '*.rs' -printf '%P\n' | sort)
for file in "${files[@]}"; do
    [ -f "core/src/$file" ] || { echo "no such file: core/src/$file"; exit 2; }
done

# unexplained OUTCOME: what the tests of a file missed and core.txt does not explain. A line
# explains one mutant: of two that look alike the second needs its own.
unexplained() {
    comm -23 <(tail -n +2 "$1" | sort) <(grep -v '^#' "$explained" | sed 's/ => .*//' | sort)
}

# row FILE OUTCOME: the line of the table.
row() {
    local all hung bad
    read -r all hung bad <"$2"
    echo "| \`$1\` | $(date -u +%F), $commit, \`$state\` | $all | $hung | $bad" \
        "| $(tail -n +2 "$2" | wc -l) | $(unexplained "$2" | wc -l) |"
}

# recorded FILE: whether a row says that this file, as it is, has nothing unexplained.
recorded() { grep -F "| \`$1\` |" "$page" | grep -q "\`$state\` .*| 0 |\$"; }

if [ -n "$record" ]; then
    open=()
    for file in "${files[@]}"; do recorded "$file" || open+=("$file"); done
    echo "$((${#files[@]} - ${#open[@]})) of ${#files[@]} files are on record"
    files=("${open[@]}")
    [ ${#files[@]} -gt 0 ] || exit 0
fi

# The core alone, without debug information, and all its tests in a single program: linking would
# take longer than everything else. Left out are `threads`, which spins, so that what it finds
# depends on the moment, and `formats`, whose frames need a linker script of `defmt`. With the
# features that an ordinary processor's tests need.
features=std,async,embedded-io,postcard
mkdir "$copy/1"
cp -r core Cargo.toml Cargo.lock "$copy/1"
cd "$copy/1"
sed -i -e 's/^members = .*/members = ["core"]/' -e '/^exclude = /d' Cargo.toml
printf '\n[profile.dev]\ndebug = 0\nopt-level = 1\n' >>Cargo.toml
sed -i '/^\[\[test\]\]/,/^$/d' core/Cargo.toml
rm core/tests/threads.rs core/tests/formats.rs
mkdir core/tests/all
for file in core/tests/*.rs; do
    sed 's/^mod common;$/use super::common;/' "$file" >"core/tests/all/$(basename "$file")"
    rm "$file"
done
mv core/tests/common core/tests/golden core/tests/all
(cd core/tests/all && for module in common *.rs; do echo "mod ${module%.rs};"; done) >"$copy/main.rs"
mv "$copy/main.rs" core/tests/all/main.rs
if ! cargo test -q --features "$features" --lib --tests >"$copy/log" 2>&1; then
    tail -n 40 "$copy/log"
    echo "the tests fail without a mutant"
    exit 2
fi

# The quick tests judge first, and what they miss is judged by all.
slow=(hostile_words_and_bytes every_length_at_every lengths_about_every forged_headers_with
    loss_is_exact_over overwriting_keeps_oldest copies_on_the_way every_order_of_commits
    every_flipped_bit_cuts pieces_of_any_length control_words_may_be nothing_that_was_cut
    whole_records_are_read)

# mutants FILE ARGUMENT...: one run; what came out is in ./mutants.out.
mutants() {
    local status=0
    cargo mutants --in-place --no-shuffle --no-times --baseline skip --timeout "${SECONDS_EACH:-120}" \
        --features "$features" --file "core/src/$1" "${@:2}" >log 2>&1 || status=$?
    # 2: some were missed; 3: some hang. 0 without a list: there is nothing to change in this file.
    case $status in 0 | 2 | 3) ;; *) tail -n 20 log; return "$status" ;; esac
}

# judge FILE: a line of counts, then what all tests miss.
judge() {
    local file=$1 result again=() name
    rm -rf mutants.out
    mutants "$file" -- --lib --tests -- "${slow[@]/#/--skip=}"
    if [ ! -f mutants.out/outcomes.json ]; then
        echo 0 0 0
        return
    fi
    result=$(counts)
    if [ -s mutants.out/missed.txt ]; then
        while read -r name; do
            again+=(--re "^$(printf '%s' "$name" | sed 's/[][\.*^$+?(){}|]/\\&/g')\$")
        done <mutants.out/missed.txt
        mutants "$file" "${again[@]}" -- --lib --tests
    fi
    echo "$result"
    # `path:line:column: replace A with B in F` as `path: F: replace A with B`, and
    # `replace F -> T with V` as `path: F: replace with V`: lines move.
    sed -E -e 's/^([^:]+):[0-9]+:[0-9]+: (.*) in (.*)$/\1: \3: \2/; t' \
        -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) -> .* with (.*)$/\1: \2: replace with \3/; t' \
        -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) with (.*)$/\1: \2: replace with \3/' mutants.out/missed.txt
}

# counts: all mutants, those that hang, those that do not compile.
counts() {
    python3 -c 'import json; o = json.load(open("mutants.out/outcomes.json"))
print(o["total_mutants"], o["timeout"], o["unviable"])'
}

# Each worker has a tree of its own and takes the next file that nobody has taken.
worker() {
    cd "$copy/$1"
    local file name
    for file in "${files[@]}"; do
        name=$kept/${file//\//.}
        mkdir "$copy/${file//\//.}.taken" 2>/dev/null || continue
        [ ! -f "$name" ] || continue
        judge "$file" >"$name.part" || { cat "$name.part"; return 1; }
        mv "$name.part" "$name"
        [ -z "$record" ] || row "$file" "$name" |
            flock "$copy" "$results" verify/mutants/README.md operators "\`$file\`"
        echo "$file: $(head -n 1 "$name" | cut -d' ' -f1) mutants, $(tail -n +2 "$name" | wc -l) missed"
    done
}
workers=()
for number in $(seq "${JOBS:-$(nproc)}"); do
    [ "$number" = 1 ] || cp -r "$copy/1" "$copy/$number"
done
for number in $(seq "${JOBS:-$(nproc)}"); do
    worker "$number" &
    workers+=($!)
done
for pid in "${workers[@]}"; do wait "$pid"; done

of_all() { for file in "${files[@]}"; do "$@" "$kept/${file//\//.}"; done; }
of_all head -qn 1 | awk '{all += $1; hung += $2; bad += $3}
    END {print all " mutants of '"${#files[@]}"' files, " hung " that hung, " bad " that do not compile"}'
missed=$(of_all tail -qn +2 | wc -l)
left=$(of_all unexplained)
echo "$missed missed, $(grep -c . <<<"$left") of them not explained"
if [ -n "$left" ]; then
    sed 's/^/NOT EXPLAINED /' <<<"$left"
    exit 1
fi
