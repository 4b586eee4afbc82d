#!/usr/bin/env bash
# Bounded run of every target for CI: fuzz/run.sh [executions per target], always from the same
# seed. Starts from the committed corpora and leaves them alone. Installs cargo-fuzz and the nightly
# toolchain if they are missing. CC=clang instruments the C reader too.
set -euo pipefail
cd "$(dirname "$0")"

runs=${1:-10000}
if [ -z "${CC:-}" ] && command -v clang >/dev/null; then export CC=clang; fi

rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz

cargo +nightly fuzz build
grown=$(mktemp -d)
trap 'rm -rf "$grown"' EXIT
for file in fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    mkdir "$grown/$target"
    if ! cargo +nightly fuzz run "$target" "$grown/$target" "corpus/$target" -- \
        -seed=1 -runs="$runs" -max_len=600 -print_final_stats=1 >"$grown/log" 2>&1; then
        grep -m 1 -A 4 -E 'panicked|ERROR:' "$grown/log" || tail -n 60 "$grown/log"
        echo "FAILED: $target; the input is in fuzz/artifacts/$target/"
        exit 1
    fi
    executions=$(awk '/stat::number_of_executed_units/ {print $2}' "$grown/log")
    echo "$target: $executions executions, no finding"
done
