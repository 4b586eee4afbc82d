#!/usr/bin/env bash
# Accidents seen in the field, put back one at a time, each of which the test that it names must
# notice.
#
#   verify/mutants/accidents.sh [NAME...]    default: all of verify/mutants/accidents; an hour
#   verify/mutants/accidents.sh --check      only that each applies, and has its row in README.md
#
# Each is a patch; "Fault:" says what is wrong, "Test:" which test must fail: PACKAGE FILE NAME,
# with `lib` for the tests of the library itself and PACKAGE+FEATURES for one that needs features,
# or `c PROGRAM NAME`. It must apply; without it the test passes; with it this very test must fail,
# and not a program that does not compile or does not end.
# Works on a copy of the tree, and keeps what was built in target/seeded, and what was caught there
# for as long as neither the sources nor the patch change. BUDGET: stops after so many seconds with
# status 3; the next run goes on there. Ends with 1 if a fault is not caught. Needs patch(1).
set -euo pipefail
cd "$(dirname "$0")/../.."
[ "${CONTAINED:-}" = $$ ] || exec verify/contained verify/mutants/accidents.sh "$@"
patches=$PWD/verify/mutants/accidents

# said FAULT|TEST PATCH
said() { sed -n "s/^$1: //p" "$patches/$2.patch"; }

if [ "${1:-}" = --check ]; then
    stale=0
    # Without the two lines of the head.
    rows=$(sed -n '/^## Accidents seen/,/^## Results/s/^|/|/p' "$patches/../README.md" | tail -n +3)
    for patch in "$patches"/*.patch; do
        patch --quiet --strip=1 --dry-run --force --fuzz=0 <"$patch" || { echo "FAIL $patch does not apply" && stale=1; }
        name=$(basename -s .patch "$patch")
        test=$(said Test "$name") fault=$(said Fault "$name")
        row="| ${fault%.} | \`${test##*[: ]}\` ("
        grep -qF -- "$row" <<<"$rows" || { echo "FAIL README.md has no row of $name: $row" && stale=1; }
    done
    [ "$(wc -l <<<"$rows")" = "$(ls "$patches" | wc -l)" ] || { echo "FAIL README.md has a row without a patch" && stale=1; }
    exit $stale
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
case $target in /*) ;; *) target=$PWD/$target ;; esac
export CARGO_TARGET_DIR=$target/seeded
work=$target/seeded/accidents before=$target/seeded/before
log=$(mktemp)
trap 'rm -f "$log"' EXIT

rm -rf "$work"
mkdir -p "$work"
git ls-files -z --cached --others --exclude-standard | (while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done) |
    xargs -0 cp --parents -t "$work"
cd "$work"
# Of all but documents and this folder: what a verdict depends on, beside its patch.
state=$(find . -type f ! -name '*.md' ! -path './verify/mutants/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
caught=$target/seeded/caught-$state
touch "$caught"
key() { sha256sum <"$patches/$1.patch" | cut -c1-64; }
kept() { grep -q "^$(key "$1")$" "$caught"; }
in_time() { [ -z "${BUDGET:-}" ] || [ $SECONDS -lt "$BUDGET" ] || { echo "out of time: run it again"; exit 3; }; }

# verdict PACKAGE FILE NAME: passes, fails, or neither
verdict() {
    local failed passed
    if [ "$1" = c ]; then
        local words=${3//_/ }
        make -s -C c "build/$2" >"$log" 2>&1 || { echo "does not compile" && return; }
        (cd c && timeout 120 "build/$2") </dev/null >"$log" 2>&1 || true
        passed="^ok - $words$" failed="^not ok - $words$"
    else
        local package=aqueduct which=(--test "$2")
        [ "${1%%+*}" = shell ] || package=aqueduct-${1%%+*}
        [ "$2" != lib ] || which=(--lib)
        [ "$1" = "${1%%+*}" ] || which+=(--features "${1#*+}")
        timeout 600 cargo test --package "$package" "${which[@]}" -- --exact "$3" </dev/null >"$log" 2>&1 || true
        passed="^test $3 \.\.\. ok$" failed="^test $3 \.\.\. FAILED$"
    fi
    if grep -q "$passed" "$log"; then echo passes; elif grep -q "$failed" "$log"; then echo fails; else echo "does neither"; fi
}

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(basename -s .patch -a "$patches"/*.patch)
while read -r test; do
    in_time
    # shellcheck disable=SC2086 # three words
    grep -q "^passes $test$" "$caught" && continue
    # shellcheck disable=SC2086
    if [ "$(verdict $test)" != passes ]; then
        tail -n 40 "$log"
        echo "FAIL $test does not pass without a fault"
        exit 1
    fi
    echo "passes $test" >>"$caught"
done < <(for name in "${names[@]}"; do kept "$name" || said Test "$name"; done | sort -u)
failed=0 caught_before=0
for name in "${names[@]}"; do
    test=$(said Test "$name")
    if kept "$name"; then
        caught_before=$((caught_before + 1))
        echo "caught by $test: $(said Fault "$name")"
        continue
    fi
    in_time
    # Kept, and not made by the patch reversed: that may find another place for what it puts back.
    mapfile -t files < <(sed -n 's|^+++ b/||p' "$patches/$name.patch")
    rm -rf "$before" && mkdir "$before"
    cp --parents -t "$before" "${files[@]}"
    if ! patch --quiet --strip=1 --forward --fuzz=0 --no-backup-if-mismatch --reject-file=- <"$patches/$name.patch" >"$log" 2>&1; then
        cat "$log"
        echo "FAIL $name does not apply"
        exit 1
    fi
    # shellcheck disable=SC2086
    found=$(verdict $test)
    if [ "$found" = fails ]; then
        echo "caught by $test: $(said Fault "$name")"
        key "$name" >>"$caught"
    else
        echo "FAIL $test $found: $name: $(said Fault "$name")"
        tail -n 20 "$log"
        failed=$((failed + 1))
    fi
    cp -R -t . "$before"/*
done
echo "accidents: $((${#names[@]} - failed)) caught, $failed not; $caught_before of them by earlier runs, on the same sources"
[ $failed = 0 ]
