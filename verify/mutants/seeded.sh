#!/usr/bin/env bash
# Faults in what ships, each of which the tests named with it must catch: that the models and
# property tests run the shipped copies, and not some other way to the same bytes.
#
#   verify/mutants/seeded.sh [NAME...]    default: all of verify/mutants/seeded
#
# Each fault is a sed script whose first line says "# FILE: TEST TEST...: what is wrong". It must
# change the file; without it the tests pass; with it each of them must fail by itself, not by a
# program that does not compile or does not end. Works on a copy of core and verify, and keeps what
# was built in target/seeded. Ends with 1 if a fault is not caught.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "${CONTAINED:-}" = $$ ] || exec verify/contained verify/mutants/seeded.sh "$@"
seeds=$PWD/verify/mutants/seeded
target=${CARGO_TARGET_DIR:-$PWD/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR=$target/seeded PROPTEST_CASES=${PROPTEST_CASES:-256}
# What a failed case was is of no interest, and must not be kept for the next run.
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=1
work=$target/seeded/tree
log=$(mktemp)
trap 'rm -f "$log"' EXIT

rm -rf "$work"
mkdir -p "$work"
cp -r core verify Cargo.toml Cargo.lock "$work"
cp -r c "$work/c"
sed -i -e 's/^members = .*/members = ["core", "verify"]/' -e '/^exclude = /d' "$work/Cargo.toml"

tests() { sed -n '1s/^# [^:]*: \([^:]*\): .*/\1/p' "$1"; }

# verdict TEST: passes, fails, or neither
verdict() {
    (cd "$work" && timeout 600 cargo test --quiet --package aqueduct-verify --test "$1") >"$log" 2>&1 && echo passes && return
    if grep -q '^test result: FAILED' "$log"; then echo fails; else echo "does neither"; fi
}

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(basename -s .sed -a "$seeds"/*.sed)
failed=0
for test in $(for name in "${names[@]}"; do tests "$seeds/$name.sed"; done | tr ' ' '\n' | sort -u); do
    if [ "$(verdict "$test")" != passes ]; then
        tail -n 40 "$log"
        echo "FAIL $test does not pass without a fault"
        exit 1
    fi
done
for name in "${names[@]}"; do
    seed=$seeds/$name.sed
    file=$(sed -n '1s/^# \([^:]*\): .*/\1/p' "$seed")
    what=$(sed -n '1s/^# [^:]*: [^:]*: //p' "$seed")
    sed -i -f "$seed" "$work/$file"
    if cmp -s "$file" "$work/$file"; then
        echo "FAIL $name changes nothing in $file"
        failed=1
        continue
    fi
    for test in $(tests "$seed"); do
        found=$(verdict "$test")
        if [ "$found" = fails ]; then
            echo "caught by $test: $name: $what"
        else
            echo "FAIL $test $found: $name: $what"
            tail -n 20 "$log"
            failed=1
        fi
    done
    cp "$file" "$work/$file"
done
exit $failed
