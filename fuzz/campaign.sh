#!/usr/bin/env bash
# Long run of every target, one after the other: fuzz/campaign.sh [seconds per target]. Prints a
# dated table for README.md. What the corpora grew to stays in fuzz/work/ and is taken up again;
# findings are in fuzz/artifacts/. CC=clang instruments the C reader too.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-600}
if [ -z "${CC:-}" ] && command -v clang >/dev/null; then export CC=clang; fi

rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz

cargo +nightly fuzz build
echo "$(date -u +%F), $seconds s each, $(rustc +nightly --version), C by ${CC:-cc}"
echo
echo "| target | executions | edges covered | inputs kept | findings |"
echo "|---|---|---|---|---|"
found=0
for file in fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    mkdir -p "work/$target"
    log="work/$target.log"
    finding=none
    if ! cargo +nightly fuzz run "$target" "work/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -max_len=600 -print_final_stats=1 >"$log" 2>&1; then
        finding=$(grep -oE 'artifacts/[^ ]*' "$log" | tail -n 1 || true)
        finding=${finding:-"see $log"}
        found=1
    fi
    executions=$(awk '/stat::number_of_executed_units/ {print $2}' "$log")
    last=$(grep -E '^#[0-9]+.* cov: ' "$log" | tail -n 1 || true)
    edges=$(sed -E 's/.* cov: ([0-9]+).*/\1/' <<<"$last")
    kept=$(sed -E 's/.* corp: ([0-9]+).*/\1/' <<<"$last")
    echo "| \`$target\` | $executions | $edges | $kept | $finding |"
done
exit "$found"
