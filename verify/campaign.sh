#!/bin/sh
# The seeded and random checks, for longer than a test run: crash points, hostile memory, both state
# machines, the kill loop; and every loom model, of which a debug build leaves out the longest.
# campaign.sh [FACTOR]   FACTOR times what `cargo test` does (default 50; about 5 minutes). Ends
# with 1 if anything failed.
set -u
cd "$(dirname "$0")/.." || exit 2
factor=${1:-50}
failed=0

part() {
    name=$1
    shift
    started=$(date +%s)
    if output=$("$@" 2>&1); then
        echo "PASS $name ($(($(date +%s) - started)) s)"
        echo "$output" | grep -E 'crash points:|creation:|reader:|hostile:|state machine:|kill_loop:'
    else
        echo "FAIL $name"
        echo "$output" | tail -n 60
        failed=1
    fi
}

test() {
    cargo test --release -p aqueduct-verify --test "$1" -- --nocapture
}

export AQUEDUCT_CRASH_LIVES=$((60 * factor)) AQUEDUCT_HOSTILE_CASES=$((6000 * factor)) PROPTEST_CASES=$((256 * factor))
part "models" cargo test --release -p aqueduct-verify --test 'loom_*'
part "crash points" test crash_points
part "hostile memory" test hostile
part "state machine" test state_machine
part "recovery state machine" test state_machine_recovery
# Another seed each time: processes are not repeatable anyway.
part "kill loop" cargo run --release -p aqueduct-verify --bin kill_loop -- $((12 * factor)) "$(date +%s)"
exit $failed
