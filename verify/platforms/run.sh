#!/bin/sh
# The core's tests on other machines and under other referees. Each part installs what it needs
# (rustup, apt as root) and prints PASS or FAIL; ends with 1 if any part failed.
#
#   verify/platforms/run.sh miri [SEEDS]   Miri, weak memory included: unit tests, and SEEDS
#                                          schedules (default 4) of the threaded ones; ALL=1: all
#                                          tests, going on where an earlier run of the same sources
#                                          and compiler ended; LIMIT seconds (600) for each file
#   verify/platforms/run.sh i686           32-bit words, run natively
#   verify/platforms/run.sh s390x          big-endian, under qemu-user
#   verify/platforms/run.sh aarch64        another instruction set, not its weak memory
#   verify/platforms/run.sh tsan           ThreadSanitizer over the threaded tests, fences unseen
#   verify/platforms/run.sh tsan-c         the same, Rust producer and C reader in one process; CC
#                                          chooses the compiler
#   verify/platforms/run.sh all            everything
#
# LOG=1 shows the output of what passes, too.
set -u
cd "$(dirname "$0")/../.." || exit 2
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
work=$target/platforms
mkdir -p "$work"
failed=0
host=x86_64-unknown-linux-gnu

# report NAME COMMAND...: runs it, prints a line, keeps its output to show if it fails. With $passed
# (a file of lines that begin with a key): prints the line of $key that is there, or keeps it.
report() {
    name=$1
    shift
    if [ -n "${passed:-}" ] && grep -qsF "$key PASS $name (" "$passed"; then
        grep -F "$key PASS $name (" "$passed" | head -n 1 | cut -d ' ' -f 2-
        return
    fi
    started=$(date +%s)
    if "$@" >"$work/$$.log" 2>&1; then
        line="PASS $name ($(($(date +%s) - started)) s, $(awk '/^test result: ok/ {n += $4} END {print n + 0}' "$work/$$.log") tests)"
        echo "$line"
        [ -z "${passed:-}" ] || echo "$key $line" >>"$passed"
        [ -z "${LOG:-}" ] || cat "$work/$$.log"
    else
        status=$?
        echo "FAIL $name (status $status$([ $status -ne 124 ] || echo ', out of time'), $(($(date +%s) - started)) s)"
        tail -n 60 "$work/$$.log"
        failed=1
    fi
    rm -f "$work/$$.log"
}

packages() {
    for package; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
        apt-get update -qq && apt-get install -qq -y "$package" >/dev/null || return 1
    done
}

need() {
    "$@" >"$work/install.log" 2>&1 && return
    echo "FAIL install: $*"
    tail -n 20 "$work/install.log"
    exit 1
}

nightly() {
    rustup toolchain list | grep -q '^nightly' || need rustup toolchain install nightly --profile minimal
    need rustup component add "$@" --toolchain nightly
}

# The golden image needs `heap` of this package and nothing else; the rest of it (loom) does not
# exist everywhere.
golden() {
    crate=$work/golden-$1
    mkdir -p "$crate/src"
    ln -sfn "$root/core" "$work/core"
    cat >"$crate/Cargo.toml" <<TOML
[package]
name = "aqueduct-verify"
version = "0.0.0"
edition = "2024"
[dependencies]
aqueduct-core = { path = "$root/core", features = ["std"] }
[[test]]
name = "golden"
path = "$root/verify/models/golden.rs"
[workspace]
TOML
    printf '#[path = "%s/verify/src/heap.rs"]\npub mod heap;\n' "$root" >"$crate/src/lib.rs"
    cp "$root/Cargo.lock" "$crate/Cargo.lock"
    (cd "$crate" && CARGO_TARGET_DIR=$work cargo test --quiet --target "$1" --test golden)
}

# cross TARGET GCC RUNNER (empty: none): the core's tests, then the golden image, then the C
# reader's tests built by the same compiler.
cross() {
    need rustup target add "$1"
    upper=$(echo "$1" | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${upper}_LINKER=$2"
    [ -z "$3" ] || export "CARGO_TARGET_${upper}_RUNNER=$3"
    report "$1: core" env CARGO_TARGET_DIR="$work" cargo test -p aqueduct-core --features std --target "$1" --tests
    report "$1: core without std" env CARGO_TARGET_DIR="$work" cargo test -p aqueduct-core --target "$1" --lib
    report "$1: golden image" golden "$1"
    report "$1: C reader" env -u MAKEFLAGS make -C c check CC="$2" RUN="$3" BUILD="$work/c-$1"
}

# Miri runs some thousand times slower than the machine: LIMIT seconds (default 600) for each test
# file, and what takes longer is said so.
miri() {
    seeds=$1
    nightly miri rust-src
    export CARGO_TARGET_DIR="$work/miri" MIRIFLAGS="-Zmiri-disable-isolation"
    limit=${LIMIT:-600}
    if [ -n "${ALL:-}" ]; then
        passed=$work/miri-passed
        sources=$(git ls-files -z core/src core/Cargo.toml core/tests/common | xargs -0 cat |
            { cat && rustc +nightly --version; } | sha256sum | cut -c1-16)
        key=$sources
    fi
    report "miri: lib" timeout "$limit" cargo +nightly miri test -p aqueduct-core --lib
    # The kernels, for which Miri's processor must have the instructions.
    report "miri: CRC kernels" env RUSTFLAGS="-Ctarget-feature=+pclmulqdq,+sse4.1,+ssse3,+avx2,+vpclmulqdq" CARGO_TARGET_DIR="$work/miri-clmul" \
        timeout "$limit" cargo +nightly miri test -p aqueduct-core --lib every_stride
    for file in core/tests/*.rs; do
        test=$(basename "$file" .rs)
        [ -z "${ALL:-}" ] || key=$(echo "$sources" | cat - "$file" | sha256sum | cut -c1-16)
        case $test in
        threads | shared)
            MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-many-seeds=0..$seeds"
            report "miri: $test, $seeds schedules" timeout "$limit" cargo +nightly miri test -p aqueduct-core --test "$test"
            MIRIFLAGS="-Zmiri-disable-isolation"
            ;;
        misuse)
            # What a debug build refuses by an assertion, a release build must survive.
            for profile in "" --release; do
                # shellcheck disable=SC2086
                report "miri: $test $profile" timeout "$limit" cargo +nightly miri test $profile -p aqueduct-core --test "$test"
            done
            ;;
        static_ring) report "miri: $test" timeout "$limit" cargo +nightly miri test -p aqueduct-core --test "$test" ;;
        filled)
            # One thread. Miri's weak memory panics where plain bytes and atomic words meet.
            MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-disable-weak-memory-emulation"
            report "miri: $test" timeout "$limit" cargo +nightly miri test -p aqueduct-core --test "$test"
            MIRIFLAGS="-Zmiri-disable-isolation"
            ;;
        ecosystem) [ -z "${ALL:-}" ] || report "miri: $test" timeout "$limit" cargo +nightly miri test -p aqueduct-core --features embedded-io,postcard --test "$test" ;;
        formats) ;; # nothing of ours but derives; the sections that defmt asks for are a linker's
        waiters) [ -z "${ALL:-}" ] || report "miri: $test" timeout "$limit" cargo +nightly miri test -p aqueduct-core --features async,std --test "$test" ;;
        *) [ -z "${ALL:-}" ] || report "miri: $test" timeout "$limit" cargo +nightly miri test -p aqueduct-core --test "$test" ;;
        esac
    done
    unset CARGO_TARGET_DIR MIRIFLAGS passed
}

# The standard library is built anew: one that is not instrumented hides what its channels and locks
# order.
tsan() {
    nightly rust-src
    report "tsan: core" env CARGO_TARGET_DIR="$work/tsan" RUSTFLAGS="-Zsanitizer=thread --cfg aqueduct_no_asm" \
        cargo +nightly test -Zbuild-std -p aqueduct-core --features std --target $host --tests
}

# The C objects call the same __tsan_ functions that rustc's runtime defines; the compiler's own
# runtime is not linked.
tsan_c() {
    nightly rust-src
    cc=${CC:-cc}
    command -v "$cc" >/dev/null || need packages gcc
    objects=$work/tsan-c
    mkdir -p "$objects"
    flags="-std=c11 -O1 -g -fsanitize=thread -Ic/include"
    # gcc warns that fences are not seen; that is known.
    "$cc" --version | grep -qi clang || flags="$flags -Wno-tsan"
    rm -f "$objects/libaqueduct_tsan.a"
    rm -f "$objects"/*.o
    for source in crc32/table crc32/clmul crc32/arm record_load ring reader_init reader reader_sleep; do
        # shellcheck disable=SC2086
        report "tsan-c: $cc $source.c" "$cc" $flags -c -o "$objects/${source##*/}.o" "c/src/$source.c"
    done
    need ar rcs "$objects/libaqueduct_tsan.a" "$objects"/*.o
    report "tsan-c: race" env CARGO_TARGET_DIR="$work/tsan" TSAN_OPTIONS=halt_on_error=1 \
        RUSTFLAGS="-Zsanitizer=thread --cfg aqueduct_no_asm -Lnative=$objects -lstatic=aqueduct_tsan" \
        cargo +nightly run -Zbuild-std --quiet -p aqueduct-verify --features c-reader --bin race --target $host
}

part() {
    case $1 in
    miri) miri "${2:-4}" ;;
    i686)
        need packages gcc-i686-linux-gnu libc6-dev-i386-cross libc6-i386 lib32gcc-s1
        cross i686-unknown-linux-gnu i686-linux-gnu-gcc ""
        ;;
    s390x)
        need packages gcc-s390x-linux-gnu qemu-user
        cross s390x-unknown-linux-gnu s390x-linux-gnu-gcc "qemu-s390x -L /usr/s390x-linux-gnu"
        ;;
    aarch64)
        need packages gcc-aarch64-linux-gnu qemu-user
        cross aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc "qemu-aarch64 -L /usr/aarch64-linux-gnu"
        ;;
    tsan) tsan ;;
    tsan-c) tsan_c ;;
    all) for each in i686 s390x aarch64 tsan tsan-c miri; do part $each "${2:-}"; done ;;
    *)
        sed -n '2,/^set/s/^# \{0,1\}//p' verify/platforms/run.sh
        exit 2
        ;;
    esac
}

part "${1:-help}" "${2:-}"
exit $failed
