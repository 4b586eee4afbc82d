#!/bin/sh
# Two processes over one ring: the Rust and the C reader against each other, and against a UNIX stream and a pipe.
# Run: benches/cross.sh. Longer: AQUEDUCT_BENCH_ROUNDS=101 AQUEDUCT_BENCH_ROUND_MS=50 benches/cross.sh
# AQUEDUCT_C names the directory of the C library; without one the C column stays empty. CC, CARGO_TARGET_DIR: as usual.
set -eu
benches=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$benches/../target}
c=${AQUEDUCT_C:-$benches/../c}
cargo build --manifest-path "$benches/Cargo.toml" --target-dir "$target" --release --bin cross
target=$(CDPATH='' cd -- "$target" && pwd)

if [ ! -f "$c/include/aqueduct/reader.h" ]; then
    echo "cross.sh: no C library in $c; measuring the Rust reader alone" >&2
    exec "$target/release/cross"
fi
out=$target/bench-c
mkdir -p "$out"
make --silent -C "$c" BUILD="$out" OPT=-O2 "$out/libaqueduct.a"
"${CC:-cc}" -std=c11 -O2 -Wall -Wextra -Wpedantic -Wconversion -Werror -I"$c/include" -o "$out/reader_bench" \
    "$benches/c/reader_bench.c" "$out/libaqueduct.a"
exec "$target/release/cross" "$out/reader_bench"
