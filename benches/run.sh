#!/bin/sh
# Everything: builds Aqueduct, its C reader and the peers, measures all of it by turns, and writes
# results/DATE.json, the plots and the tables of README.md. Run: benches/run.sh            about six
# minutes after the first build, on a machine that does nothing else benches/run.sh trips idle  only
# these parts, printed as a directory of JSON files; nothing in the repository changes. Parts:
# threads throughput trips idle mappings growth instructions AQUEDUCT_BENCH_ROUNDS and
# AQUEDUCT_BENCH_ROUND_MS make rounds more and longer; AQUEDUCT_BENCH_LIMIT_S ends it (default 720).
# CC and CARGO_TARGET_DIR as usual.
set -eu
benches=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$benches/../target}
mkdir -p "$target"
target=$(CDPATH='' cd -- "$target" && pwd)
limit_s=${AQUEDUCT_BENCH_LIMIT_S:-720}
cc=${CC:-cc}

need() {
    echo "run.sh: installing $*" >&2
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq && $sudo apt-get install -qq -y "$@" >/dev/null
}
echo '#include <zmq.h>' | "$cc" -E - >/dev/null 2>&1 || need libzmq3-dev
command -v valgrind >/dev/null || need valgrind

# The ring's own programs come from the workspace; the peers have a package and a lock file of their
# own.
cargo build --quiet --manifest-path "$benches/Cargo.toml" --target-dir "$target" --release --bins
cargo build --quiet --manifest-path "$benches/peers/Cargo.toml" --target-dir "$target" --locked --release --bins --bench threads
c=$target/bench-c
mkdir -p "$c"
make --silent -C "$benches/../c" BUILD="$c" OPT=-O2 CC="$cc" "$c/libaqueduct.a"
strict="-std=c11 -O2 -Wall -Wextra -Wpedantic -Wconversion -Werror"
# shellcheck disable=SC2086
"$cc" $strict -I"$benches/../c/include" -o "$c/reader_bench" "$benches/c/reader_bench.c" "$c/libaqueduct.a"
# shellcheck disable=SC2086
"$cc" $strict -pthread -o "$c/peers" "$benches"/c/peers/*.c -lzmq -lrt
parts=$target/bench-parts
rm -rf "$parts"
mkdir -p "$parts"
began=$(date +%s)
load_before=$(cut -d' ' -f1 /proc/loadavg)
left() { echo $((limit_s - ($(date +%s) - began))); }
wanted() {
    [ "$all" = 1 ] && return
    for part in $only; do [ "$part" = "$1" ] && return; done
    return 1
}
all=$([ $# = 0 ] && echo 1 || echo 0)
only=$*
for part in throughput trips idle instructions mappings growth; do
    if wanted "$part"; then
        timeout "$(left)" "$target/release/measure" "$parts" "$target/release" "$c" "$part" ||
            echo "run.sh: $part failed or took too long; its tables stay empty" >&2
    fi
done
if wanted threads; then
    AQUEDUCT_BENCH_PARTS=$parts timeout "$(left)" cargo bench --quiet --manifest-path "$benches/peers/Cargo.toml" --target-dir "$target" \
        --locked --bench threads >"$target/bench-threads.txt" || echo "run.sh: threads failed or took too long; its tables stay empty" >&2
fi
echo "measured in $(($(date +%s) - began)) s, load $load_before before and $(cut -d' ' -f1 /proc/loadavg) after" >&2
if [ "$all" = 0 ]; then
    echo "$parts"
    exit
fi

version() { sed -n "/^name = \"$1\"\$/{n;s/version = \"\(.*\)\"/\1/p;}" "$benches/peers/Cargo.lock"; }
set --
for peer in rtrb bbqueue heapless crossbeam-channel thingbuf iceoryx2; do
    set -- "$@" "peer $peer=$(version "$peer" | tail -1)"
done
"$target/release/report" "$parts" "$benches" "date=$(date -u +%Y-%m-%d)" "command=benches/run.sh" \
    "cores=$(nproc) of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "Linux=$(uname -r | cut -d- -f1)" "rustc=$(rustc --version | cut -d' ' -f2)" \
    "cc=$("$cc" --version | head -1)" "load before and after=$load_before and $(cut -d' ' -f1 /proc/loadavg)" \
    "glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" "peer libzmq=$(sed -n 's/#define ZMQ_VERSION_M[AI][JN]OR //p;s/#define ZMQ_VERSION_PATCH //p' \
        "$(echo '#include <zmq.h>' | "$cc" -E - | sed -n 's/^# 1 "\(.*zmq.h\)".*/\1/p' | head -1)" | paste -sd.)" "$@"
