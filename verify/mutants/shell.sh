#!/usr/bin/env bash
# Mutants of the listener: changes one operator, arm or result at a time.
#
#   verify/mutants/shell.sh [FILE...]    FILE: as in shell/src, a path or a pattern, such as
#                                        limits.rs or 'ring/*.rs'; default: all, most of a day on
#                                        two cores
#
# Judged by the tests of the library and the integration tests that take seconds (TESTS). Ends with
# 1 if they miss one that is not explained in verify/mutants/shell.txt. SHARD=K/N: the Kth of N
# parts, K from 0. JOBS: 1, for the tests measure times. A mutant that hangs for SECONDS_EACH (120)
# counts as caught. Installs cargo-mutants if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
explained=$PWD/verify/mutants/shell.txt
tests=${TESTS:-http full readers config lifecycle batches}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

command -v cargo-mutants >/dev/null || cargo install --locked cargo-mutants

# Without debug information, and what is not judged by: linking takes longer than most tests.
mkdir "$copy/src"
cp -r core shell Cargo.toml Cargo.lock README.md "$copy/src"
cd "$copy/src"
sed -i -e 's/^members = .*/members = ["core", "shell", "shell\/client"]/' -e '/^exclude = /d' Cargo.toml
printf '\n[profile.dev]\ndebug = 0\n' >>Cargo.toml
judges=(--lib)
for file in shell/tests/*.rs; do
    name=$(basename "$file" .rs)
    case " $tests " in
    *" $name "*) judges+=(--test "$name") ;;
    *) rm "$file" ;;
    esac
done

files=()
for file in "$@"; do files+=(--file "shell/src/$file"); done
status=0
cargo mutants --no-times --package aqueduct --jobs "${JOBS:-1}" --timeout "${SECONDS_EACH:-120}" ${SHARD:+--shard "$SHARD"} \
    --output "$copy" "${files[@]}" -- "${judges[@]}" || status=$?
# 2: some were missed; 3: some hang. Anything else, such as tests that fail without a mutant, is no
# answer.
case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac

# `path:line:column: replace A with B in F` as `path: F: replace A with B`, and
# `replace F -> T with V` as `path: F: replace with V`: lines move.
sed -E -e 's/^([^:]+):[0-9]+:[0-9]+: (.*) in (.*)$/\1: \3: \2/; t' \
    -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) -> .* with (.*)$/\1: \2: replace with \3/; t' \
    -e 's/^([^:]+):[0-9]+:[0-9]+: replace (.*) with (.*)$/\1: \2: replace with \3/' "$copy/mutants.out/missed.txt" | sort >"$copy/missed"
# A line explains one mutant: of two that look alike the second needs its own.
{ grep -v '^#' "$explained" || true; } | sed 's/ => .*//' | sort >"$copy/explained"
comm -23 "$copy/missed" "$copy/explained" >"$copy/unexplained"
echo "$(wc -l <"$copy/missed") missed, $(wc -l <"$copy/unexplained") of them not explained"
if [ -s "$copy/unexplained" ]; then
    sed 's/^/NOT EXPLAINED /' "$copy/unexplained"
    exit 1
fi
