#!/bin/sh
# Instructions per record of 64 bytes, counted by callgrind, against the bounds in instructions.txt.
#
#   benches/ring/instructions.sh            fails if a count is more than 3 % above its bound
#   benches/ring/instructions.sh --record   writes the counts as the new bounds; commit them with
#                                           the reason
#
# Each is counted for two numbers of records: the difference holds only what every record costs.
set -eu
benches=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$benches/../target}
bounds=$benches/ring/instructions.txt
few=4096
many=69632
tolerance_percent=3

if ! command -v valgrind >/dev/null; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq && $sudo apt-get install -qq -y valgrind
fi
cargo build --manifest-path "$benches/ring/Cargo.toml" --target-dir "$target" --release --bin count

# count WHAT RECORDS: instructions of the whole run
count() {
    log=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$target/release/count" "$1" "$2" 2>&1) || {
        echo "$log" >&2
        return 1
    }
    echo "$log" | sed -n 's/.*Collected : *\([0-9]*\).*/\1/p'
}

# per_record WHAT: tenths of an instruction
per_record() {
    low=$(count "$1" "$few")
    high=$(count "$1" "$many")
    echo $(((high - low) * 10 / (many - few)))
}

tenths() { echo "$(($1 / 10)).$(($1 % 10))"; }

publish=$(per_record publish)
publish16=$(per_record publish16)
both=$(per_record read)
verify=$(per_record verify)
read=$((both - publish))

if [ "${1:-}" = --record ]; then
    sed '/^#/!d' "$bounds" >"$bounds.new"
    {
        echo "publish $(tenths "$publish")"
        echo "publish16 $(tenths "$publish16")"
        echo "read $(tenths "$read")"
        echo "verify $(tenths "$verify")"
    } >>"$bounds.new"
    mv "$bounds.new" "$bounds"
    cat "$bounds"
    exit
fi

above=0
for what in publish publish16 read verify; do
    eval "counted=\$$what"
    bound=$(sed -n "s/^$what \([0-9]*\)\.\([0-9]\)\$/\1\2/p" "$bounds")
    if [ -z "$bound" ]; then
        echo "$what: no bound in $bounds"
        above=1
    elif [ "$((counted * 100))" -gt "$((bound * (100 + tolerance_percent)))" ]; then
        echo "$what: $(tenths "$counted") instructions per record, ABOVE the bound of $(tenths "$bound") by more than $tolerance_percent %"
        above=1
    else
        echo "$what: $(tenths "$counted") instructions per record, bound $(tenths "$bound")"
    fi
done
if [ "$above" = 1 ]; then
    echo "If that is the price of something worth it: benches/ring/instructions.sh --record, and say in the commit what it is." >&2
    exit 1
fi
