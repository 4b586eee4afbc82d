#!/bin/sh
# Instructions per record of 64 bytes by each CRC path that the processor has, counted step by step,
# against the bounds in instructions.txt.
#
#   benches/ring/instructions.sh            fails if a count is more than 3 % above its bound
#   benches/ring/instructions.sh --record   writes the counts as the new bounds, of the paths that
#                                           are here; commit them with the reason
set -eu
benches=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$benches/../target}
bounds=$benches/ring/instructions.txt
records=256
tolerance_percent=3

cargo build --manifest-path "$benches/ring/Cargo.toml" --target-dir "$target" --release --bin count
steps=$target/release/steps
${CC:-cc} -std=c11 -O2 -Wall -Wextra -Wpedantic -Wconversion -Werror -o "$steps" "$benches/c/steps.c"

# per_record PATH WHAT: tenths of an instruction
per_record() {
    counted=$(AQUEDUCT_CRC_PATH=$1 AQUEDUCT_COUNT_STOPS=1 "$steps" "$target/release/count" "$2" "$records") || return 1
    echo $((counted * 10 / records))
}

tenths() { echo "$(($1 / 10)).$(($1 % 10))"; }

has() { grep -qw "$1" /proc/cpuinfo; }
paths=portable
has pclmulqdq && paths="$paths pclmul"
has avx2 && has vpclmulqdq && paths="$paths avx2"
has avx512vl && has vpclmulqdq && paths="$paths avx512"

[ "${1:-}" = --record ] && recorded=$(cat "$bounds")
above=0
for path in $paths; do
    publish=$(per_record "$path" publish)
    publish16=$(per_record "$path" publish16)
    both=$(per_record "$path" read)
    verify=$(per_record "$path" verify)
    read=$((both - publish))
    for what in publish publish16 read verify; do
        eval "counted=\$$what"
        if [ "${1:-}" = --record ]; then
            recorded=$(printf '%s\n' "$recorded" | sed "s/^$path $what .*/$path $what $(tenths "$counted")/")
            printf '%s\n' "$recorded" | grep -q "^$path $what " || recorded=$(printf '%s\n%s' "$recorded" "$path $what $(tenths "$counted")")
            continue
        fi
        bound=$(sed -n "s/^$path $what \([0-9]*\)\.\([0-9]\)\$/\1\2/p" "$bounds")
        if [ -z "$bound" ]; then
            echo "$path $what: no bound in $bounds"
            above=1
        elif [ "$((counted * 100))" -gt "$((bound * (100 + tolerance_percent)))" ]; then
            echo "$path $what: $(tenths "$counted") instructions per record, ABOVE the bound of $(tenths "$bound") by more than $tolerance_percent %"
            above=1
        else
            echo "$path $what: $(tenths "$counted") instructions per record, bound $(tenths "$bound")"
        fi
    done
done
if [ "${1:-}" = --record ]; then
    printf '%s\n' "$recorded" >"$bounds"
    cat "$bounds"
elif [ "$above" = 1 ]; then
    echo "If that is the price of something worth it: benches/ring/instructions.sh --record, and say in the commit what it is." >&2
    exit 1
fi
