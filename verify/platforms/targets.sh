#!/bin/sh
# Builds or checks the core for processors and systems without tests here, and, where there is no
# compare-and-swap, with the features that make up for it. `--list` names the targets whose library
# rustup must have.
set -eu
cd "$(dirname "$0")/../.."

built="thumbv6m-none-eabi thumbv7em-none-eabihf thumbv8m.main-none-eabihf
    riscv32imc-unknown-none-elf riscv32imac-unknown-none-elf riscv64gc-unknown-none-elf
    aarch64-unknown-none x86_64-unknown-none wasm32-unknown-unknown"
checked="thumbv7m-none-eabi riscv32i-unknown-none-elf i686-unknown-linux-gnu
    powerpc-unknown-linux-gnu s390x-unknown-linux-gnu"
# Its library is not on every mirror of rustup's. Where it is missing, it is checked from the source
# that nightly has, which takes half a minute of a core.
apart=thumbv8m.base-none-eabi
if [ "${1:-}" = --list ]; then
    echo $built $checked
    exit
fi

# core COMMAND FEATURES TARGET...
core() {
    command=$1 features=$2
    shift 2
    for target in "$@"; do set -- "$@" --target "$target" && shift; done
    cargo "$command" --release -p aqueduct-core --features "$features" "$@"
}

# shellcheck disable=SC2086
core build "" $built
# shellcheck disable=SC2086
core check "" $checked
if rustc --print target-libdir --target $apart | xargs test -d || timeout 60 rustup target add $apart 2>/dev/null; then
    core build "" $apart
else
    cargo +nightly check -p aqueduct-core -Z build-std=core --target $apart
fi
core check critical-section,async,crc-small thumbv6m-none-eabi riscv32i-unknown-none-elf
core check critical-section,async,crc-hook riscv32imc-unknown-none-elf
# What the crates of the ecosystem ask for, with compare-and-swap and without.
core check async,embedded-io,postcard,defmt thumbv7em-none-eabihf
core check critical-section,embedded-io,postcard,defmt thumbv6m-none-eabi
